//! What holds for every upstream, and what each makes of a world that breaks: the folder, a real S3, Azure's own
//! emulator and a small Google, called directly, without a daemon around them.
//!
//! `suite` is written once and run over each; `faults` puts a breaking proxy before the bucket; `folder` breaks the
//! folder; `clouds` is about the keys and the words of Azure and Google; `layout` about names.

#![expect(clippy::unwrap_used, reason = "a test may")]

mod clouds;
mod faults;
mod folder;
mod http;
mod http_words;
mod layout;
mod suite;

use std::path::PathBuf;
use std::sync::Arc;
use std::time::Duration;

use bytes::Bytes;
use futures_util::future::BoxFuture;
use larder::body::Body;
use larder::entry::Attrs;
use larder::error::{Error, Kind, Result};
use larder::key::{ObjectName, UpstreamId};
use larder::upstream::{
    Credentials, Failure, GetOptions, Got, Location, Looked, Object, PutDone, PutIf, PutOptions, Remote,
    RemoteSettings, Runtime, Source,
};

use crate::support::weed::Keys;

/// Bytes to put; read in pieces of 64 KiB. With `breaks_at`, reading fails there.
pub(super) struct Bytewise {
    bytes: Bytes,
    breaks_at: Option<u64>,
}

/// Remotes and the runtime that they live on; a block of a test runs on a runtime of its own.
pub(super) struct World {
    upstream: Option<Runtime>,
    callers: tokio::runtime::Runtime,
}

// === impl World ===

impl World {
    pub(super) fn new() -> Self {
        let callers = tokio::runtime::Builder::new_current_thread().enable_all().build().unwrap();
        Self { upstream: Some(Runtime::new().unwrap()), callers }
    }

    pub(super) fn remote(&self, url: &str, credentials: Credentials) -> Remote {
        self.remote_with(url, credentials, |_| {})
    }

    /// The words in which no remote is made.
    pub(super) fn refused(&self, url: &str, credentials: Credentials) -> String {
        match self.open(url, credentials, |_| {}) {
            Ok(remote) => panic!("{remote:?} is made"),
            Err(error) => error.to_string(),
        }
    }

    pub(super) fn remote_with(
        &self,
        url: &str,
        credentials: Credentials,
        change: impl FnOnce(&mut RemoteSettings),
    ) -> Remote {
        self.open(url, credentials, change).unwrap()
    }

    fn open(
        &self,
        url: &str,
        credentials: Credentials,
        change: impl FnOnce(&mut RemoteSettings),
    ) -> Result<Remote> {
        let mut settings = RemoteSettings {
            id: UpstreamId(0),
            name: "team".into(),
            location: Location::parse(url).unwrap(),
            credentials,
            read_only: false,
            connect: Duration::from_millis(500),
            // Longer than the default: the machine is noisy, and a fault must be the only reason.
            first_byte: Duration::from_secs(5),
            stall: Duration::from_secs(10),
            uploads: None,
        };
        change(&mut settings);
        Remote::open(settings, self.upstream.as_ref().unwrap())
    }

    pub(super) fn run<T>(&self, test: impl Future<Output = T>) -> T {
        self.callers.block_on(test)
    }
}

impl Drop for World {
    fn drop(&mut self) {
        if let Some(upstream) = self.upstream.take() {
            self.callers.block_on(upstream.stop(Duration::from_secs(5)));
        }
    }
}

// === impl Bytewise ===

impl Source for Bytewise {
    fn len(&self) -> u64 {
        self.bytes.len() as u64
    }

    fn open(&self, range: std::ops::Range<u64>) -> BoxFuture<'_, Result<Body>> {
        let len = range.end - range.start;
        let (bytes, breaks_at) = (self.bytes.clone(), self.breaks_at);
        let pieces = futures_util::stream::try_unfold(range, move |left| {
            let bytes = bytes.clone();
            async move {
                if left.start >= left.end {
                    return Ok(None);
                }
                if breaks_at.is_some_and(|at| left.start >= at) {
                    return Err(Error::new(Kind::Corrupt, "a block is damaged"));
                }
                let end = left.end.min(left.start + (64 << 10));
                let piece = bytes.slice(left.start as usize..end as usize);
                Ok(Some((piece, end..left.end)))
            }
        });
        Box::pin(async move { Ok(Body::stream(len, pieces)) })
    }
}

// === helpers of all ===

pub(super) fn credentials(keys: &Keys) -> Credentials {
    Credentials::Keys {
        access_key_id: keys.id.clone(),
        secret_access_key: keys.secret.clone(),
        session_token: None,
    }
}

pub(super) fn file(path: impl Into<PathBuf>) -> Credentials {
    Credentials::File { path: path.into(), profile: None }
}

pub(super) fn name(text: &str) -> ObjectName {
    ObjectName::parse(text).unwrap()
}

pub(super) fn attrs(pairs: &[(&str, &str)]) -> Attrs {
    Attrs::new(pairs.iter().map(|(name, value)| ((*name).to_owned(), (*value).to_owned()))).unwrap()
}

pub(super) async fn put(remote: &Remote, object: &str, bytes: impl Into<Bytes>) -> Result<PutDone, Failure> {
    put_if(remote, object, bytes, PutIf::Always).await
}

pub(super) async fn put_if(
    remote: &Remote,
    object: &str,
    bytes: impl Into<Bytes>,
    condition: PutIf,
) -> Result<PutDone, Failure> {
    put_with(remote, object, bytes, PutOptions { condition, ..PutOptions::default() }).await
}

pub(super) async fn put_with(
    remote: &Remote,
    object: &str,
    bytes: impl Into<Bytes>,
    options: PutOptions,
) -> Result<PutDone, Failure> {
    let source = Arc::new(Bytewise { bytes: bytes.into(), breaks_at: None });
    remote.put(&name(object), source, options).await
}

pub(super) async fn get(remote: &Remote, object: &str) -> Result<Got, Failure> {
    remote.get(&name(object), GetOptions::default()).await
}

/// The object, which must be there.
#[track_caller]
pub(super) fn there(got: Result<Got, Failure>) -> Object {
    match got {
        Ok(Got::Object(object)) => object,
        other => panic!("an object, not {other:?}"),
    }
}

/// The object's bytes, which must be there whole.
pub(super) async fn bytes(got: Result<Got, Failure>) -> Bytes {
    there(got).body.collect(1 << 30).await.unwrap()
}

pub(super) fn is_absent(got: &Result<Got, Failure>) -> bool {
    matches!(got, Ok(Got::Absent { denied: false }))
}

pub(super) fn is_not_found(looked: &Result<Looked, Failure>) -> bool {
    matches!(looked, Ok(Looked::Absent { denied: false }))
}

/// The words of a state, which the failure must be.
#[track_caller]
pub(super) fn words<T: std::fmt::Debug>(failed: Result<T, Failure>) -> String {
    match failed {
        Err(Failure::State(words)) => words.to_string(),
        other => panic!("a state of the upstream, not {other:?}"),
    }
}

/// Waits for the next state that is as `wanted`.
pub(super) async fn becomes(remote: &Remote, what: &str, wanted: impl Fn(&Remote) -> bool) {
    let mut changes = remote.changes();
    let wait = async {
        while !wanted(remote) {
            changes.changed().await.unwrap();
        }
    };
    let patience = tokio::time::timeout(crate::support::PATIENCE, wait).await;
    assert!(patience.is_ok(), "waited in vain: {what}; {:?}", remote.states());
}
