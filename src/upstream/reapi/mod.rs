//! Caches that speak the Remote Execution API as upstreams: Depot, BuildBuddy, NativeLink, bazel-remote, casd, another
//! Larder.
//!
//! ```text
//! cas/{hash}   FindMissingBlobs; BatchReadBlobs, BatchUpdateBlobs for what is small; ByteStream for the rest
//! ac/{hash}    GetActionResult, UpdateActionResult
//! ```
//!
//! Such a cache has no other names: those of other protocols, and content by BLAKE3, are absent there, and refused for
//! good if they are written all the same. Nothing can be deleted, so that what is deleted here comes back from there,
//! and nothing be listed. Conditions of a write are not known to the API: the last one counts.
//!
//! # Sizes
//! The API asks for content by its hash and its size; a name has the hash only. Sizes are what callers say
//! ([`Upstream::expect`]: clients of the same API, links of action results), what results from here name, and what was
//! written, kept for the last [`sizes`]. Where none is known nothing is asked: most servers refuse a size of 0 or -1, and
//! another than the true one finds nothing or worse. It is a state that says nothing about the object and is a miss to
//! who asks. So an HTTP client, which has no sizes, gets what a result that came through here has named: that is what
//! such clients ask for.
//!
//! The size in the name of a result is that of its *action*. For one that nobody said, a read has 1: servers
//! refuse 0 and -1, casd and Larder find results by their hash alone, and to one that looks at the size it is a miss.
//! A result is never written under such a name: it is refused.
//!
//! # Results as strict servers take them
//! What a result names is there before it, as for all upstreams, and so is its action. Standard streams and files that
//! are inlined in it become content of their own first: Depot refuses them.

mod batch;
mod calls;
mod capabilities;
mod channel;
mod content;
mod messages;
mod results;
mod sizes;
mod streams;
mod wait;
mod zstd;

pub(super) use channel::{config as tls_config, tls_words};

use std::fmt;
use std::sync::Arc;
use std::time::Duration;

use bytes::Bytes;
use futures_util::future::{BoxFuture, FutureExt as _};

use self::batch::Batches;
use self::calls::Calls;
use self::sizes::Sizes;
use super::credentials::Sender;
use super::location::Service;
use super::remote::RemoteSettings;
use super::runtime::Spawner;
use super::{
    Direction, Failure, Fault, GetOptions, Got, Listed, Looked, Object, ObjectMeta, PutDone, PutOptions,
    Signal, Source, Upstream,
};
use crate::body::Body;
use crate::digest::{Digest, Function};
use crate::error::Result;
use crate::key::ObjectName;

/// A cache of the Remote Execution API. Cheap to clone.
#[derive(Clone)]
pub(super) struct Reapi(Arc<Parts>);

pub(super) struct Parts {
    calls: Calls,
    /// As the API has it: empty for none.
    instance: String,
    url: String,
    sizes: Sizes,
    batches: Batches,
    spawner: Spawner,
    /// A transfer without progress for this long has failed.
    stall: Duration,
}

/// What an object is to such a cache.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum Kind {
    Content(Digest),
    /// The result of the action with this digest.
    Result(Digest),
}

/// Content, by all that the API asks for it by.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash)]
pub(super) struct Blob {
    digest: Digest,
    len: u64,
}

/// What a caller is told who asks for something that can't be asked for.
const NO_SIZE: &str = "its size isn't known here, and the Remote Execution API asks by hash and size";

// === impl Reapi ===

impl Reapi {
    /// Makes it ready; no network, no file.
    pub(super) fn new(service: Service, settings: &RemoteSettings, spawner: Spawner) -> Result<Self> {
        let sender = Sender::new(&settings.credentials)?;
        Ok(Self(Arc::new(Parts {
            instance: service.instance.clone(),
            url: service.authority(),
            calls: Calls::new(service, sender, spawner.clone(), settings.connect, settings.stall)?,
            sizes: Sizes::default(),
            batches: Batches::default(),
            spawner,
            stall: settings.stall,
        })))
    }

    /// Content of which the size is known.
    fn blob(&self, digest: Digest) -> Result<Blob, Fault> {
        if digest.is_empty_blob() {
            return Ok(Blob { digest, len: 0 });
        }
        let len = self.sizes.of(&digest).ok_or_else(|| Fault::state(Signal::Neutral, NO_SIZE))?;
        Ok(Blob { digest, len })
    }

    async fn read(&self, name: &ObjectName, options: &GetOptions) -> Result<Got, Fault> {
        match Kind::of(name) {
            None => Ok(Got::Absent { denied: false }),
            Some(Kind::Content(digest)) => self.read_content(self.blob(digest)?, options).await,
            Some(Kind::Result(action)) => Ok(match self.result(&action).await? {
                None => Got::Absent { denied: false },
                Some(bytes) => {
                    let etag = etag_of(&bytes);
                    answered(&etag, options).unwrap_or_else(|| cut(bytes, etag, options))
                }
            }),
        }
    }

    async fn read_content(&self, blob: Blob, options: &GetOptions) -> Result<Got, Fault> {
        let etag: Arc<str> = blob.digest.hex().into();
        match answered(&etag, options) {
            Some(Got::NotModified) if !self.is_there(blob).await? => {
                return Ok(Got::Absent { denied: false });
            }
            Some(got) => return Ok(got),
            None => {}
        }
        if blob.len <= content::SMALL_BYTES_MAX {
            return Ok(match self.read_small(blob).await? {
                Some(bytes) => cut(bytes, etag, options),
                None => Got::Absent { denied: false },
            });
        }
        let Some(range) = within(options, blob.len) else { return Ok(Got::Unsatisfiable(Some(blob.len))) };
        Ok(match self.read_stream(blob, range.clone()).await? {
            Some(body) => Got::Object(Object { meta: meta(blob.len, etag), range, body }),
            None => Got::Absent { denied: false },
        })
    }

    async fn look(&self, name: &ObjectName) -> Result<Looked, Fault> {
        let found = match Kind::of(name) {
            None => None,
            Some(Kind::Content(digest)) => {
                let blob = self.blob(digest)?;
                self.is_there(blob).await?.then(|| meta(blob.len, digest.hex().into()))
            }
            Some(Kind::Result(action)) => {
                let bytes = self.result(&action).await?;
                bytes.map(|bytes| meta(bytes.len() as u64, etag_of(&bytes)))
            }
        };
        Ok(found.map_or(Looked::Absent { denied: false }, Looked::Found))
    }

    async fn write(&self, name: &ObjectName, source: &dyn Source) -> Result<PutDone, Fault> {
        match Kind::of(name) {
            None => Err(Failure::Refused(
                "a cache of the Remote Execution API has content by SHA-256 and action results only".into(),
            )
            .into()),
            Some(Kind::Content(digest)) => {
                let blob = Blob { digest, len: source.len() };
                self.write_content(blob, source).await?;
                self.sizes.note(&digest, blob.len);
                Ok(PutDone { etag: Some(digest.hex().into()), server_date: None })
            }
            Some(Kind::Result(action)) => {
                let etag = self.write_result(&action, source).await?;
                Ok(PutDone { etag: Some(etag), server_date: None })
            }
        }
    }
}

impl std::ops::Deref for Reapi {
    type Target = Parts;

    fn deref(&self) -> &Parts {
        &self.0
    }
}

impl Upstream for Reapi {
    fn get<'a>(&'a self, name: &'a ObjectName, options: &'a GetOptions) -> BoxFuture<'a, Result<Got, Fault>> {
        self.read(name, options).boxed()
    }

    fn head<'a>(&'a self, name: &'a ObjectName) -> BoxFuture<'a, Result<Looked, Fault>> {
        self.look(name).boxed()
    }

    fn put<'a>(
        &'a self,
        name: &'a ObjectName,
        source: &'a dyn Source,
        _options: &'a PutOptions,
    ) -> BoxFuture<'a, Result<PutDone, Fault>> {
        self.write(name, source).boxed()
    }

    /// Nothing can be deleted there: it is gone here.
    fn delete<'a>(&'a self, _name: &'a ObjectName) -> BoxFuture<'a, Result<(), Fault>> {
        std::future::ready(Ok(())).boxed()
    }

    fn list<'a>(
        &'a self,
        _prefix: &'a str,
        _after: Option<&'a str>,
        _limit: usize,
    ) -> BoxFuture<'a, Result<Vec<Listed>, Fault>> {
        let fault = Fault::state(Signal::Neutral, "a cache of the Remote Execution API can't be listed");
        std::future::ready(Err(fault)).boxed()
    }

    fn probe<'a>(
        &'a self,
        direction: Direction,
        _near: Option<&'a ObjectName>,
    ) -> BoxFuture<'a, Result<(), Fault>> {
        let empty = Blob { digest: Digest::of(Function::Sha256, b""), len: 0 };
        async move {
            self.capabilities().await?;
            match direction {
                Direction::Read => self.find_missing(&[empty]).await.map(drop),
                // A batch of nothing much: the empty content is everywhere.
                Direction::Write => match self.update(vec![(empty, Bytes::new())]).await?.pop() {
                    // Whoever refuses nothing at all has answered.
                    Some(Err(fault)) if fault.signal != Signal::Success => Err(fault),
                    _ => self.takes_results().await,
                },
            }
        }
        .boxed()
    }

    fn carries(&self, name: &ObjectName) -> bool {
        Kind::of(name).is_some()
    }

    fn asks_by_size(&self) -> bool {
        true
    }

    fn expect(&self, name: &ObjectName, len: u64) {
        if let Some(Kind::Content(digest) | Kind::Result(digest)) = Kind::of(name) {
            self.sizes.note(&digest, len);
        }
    }

    fn has_other_keys(&self) -> bool {
        self.calls.has_other_keys()
    }

    fn disconnect(&self) {
        self.calls.channel.disconnect();
    }
}

impl fmt::Debug for Reapi {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "Reapi({} {})", self.url, self.instance)
    }
}

// === impl Kind ===

impl Kind {
    /// `None` for a name that such a cache has not.
    fn of(name: &ObjectName) -> Option<Self> {
        let (folder, hash) = name.as_str().split_once('/')?;
        let digest = Digest::parse(Function::Sha256, hash).ok()?;
        match folder {
            "cas" => Some(Self::Content(digest)),
            "ac" => Some(Self::Result(digest)),
            _ => None,
        }
    }
}

/// What a condition of the read comes to, if it is not its bytes.
fn answered(etag: &Arc<str>, options: &GetOptions) -> Option<Got> {
    if options.if_match.as_ref().is_some_and(|wanted| wanted != etag) {
        return Some(Got::Changed);
    }
    (options.if_none_match.as_ref() == Some(etag)).then_some(Got::NotModified)
}

/// Bytes that are all here, as far as they were asked for.
fn cut(bytes: Bytes, etag: Arc<str>, options: &GetOptions) -> Got {
    let len = bytes.len() as u64;
    let Some(range) = within(options, len) else { return Got::Unsatisfiable(Some(len)) };
    let body = Body::bytes(bytes.slice(range.start as usize..range.end as usize));
    Got::Object(Object { meta: meta(len, etag), range, body })
}

/// The wanted range of so many bytes; `None` when it begins past them.
fn within(options: &GetOptions, len: u64) -> Option<std::ops::Range<u64>> {
    match &options.range {
        None => Some(0..len),
        Some(range) if range.start < len && range.start < range.end => Some(range.start..range.end.min(len)),
        Some(_) => None,
    }
}

fn meta(len: u64, etag: Arc<str>) -> ObjectMeta {
    ObjectMeta { len, etag: Some(etag), ..ObjectMeta::default() }
}

fn etag_of(bytes: &[u8]) -> Arc<str> {
    Digest::of(Function::Sha256, bytes).hex().into()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn only_content_and_results_are_carried() {
        let hash = Digest::of(Function::Sha256, b"x").hex();
        let of = |name: String| ObjectName::parse(&name).and_then(|name| Kind::of(&name));
        assert!(matches!(of(format!("cas/{hash}")), Some(Kind::Content(_))));
        assert!(matches!(of(format!("ac/{hash}")), Some(Kind::Result(_))));
        for other in ["cas-blake3/", "team/", "cas/ab/", "ac/x", ""] {
            assert_eq!(of(format!("{other}{hash}")), None, "{other}");
        }
    }
}
