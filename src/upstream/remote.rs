//! One configured upstream, as the cache sees it.

use std::fmt;
use std::path::PathBuf;
use std::sync::Arc;
use std::time::{Duration, SystemTime};

use tokio::sync::watch;

use super::{Failure, GetOptions, Got, Listed, Looked, PutDone, PutOptions, Runtime, Source};
use crate::error::Result;
use crate::key::{ObjectName, UpstreamId};

/// Where an upstream is: `file:///path` or `s3://bucket/prefix?endpoint=…&region=…&path_style=…&allow_http=…`.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Location {
    _private: (),
}

/// Where the keys of an upstream come from.
#[derive(Clone, Default)]
pub enum Credentials {
    /// There are none: requests are not signed.
    #[default]
    Anonymous,
    /// As given, usually from the environment.
    Keys {
        /// `AWS_ACCESS_KEY_ID`.
        access_key_id: String,
        /// `AWS_SECRET_ACCESS_KEY`.
        secret_access_key: String,
        /// `AWS_SESSION_TOKEN`.
        session_token: Option<String>,
    },
    /// A shared-credentials file, read again when it changes.
    File {
        /// Where.
        path: PathBuf,
        /// Which `[profile]`; `default` if none.
        profile: Option<String>,
    },
    /// The machine's instance metadata service.
    InstanceMetadata,
}

/// What a [`Remote`] is made of.
#[derive(Debug, Clone)]
pub struct RemoteSettings {
    /// Its place in the configuration's list.
    pub id: UpstreamId,
    /// What people call it.
    pub name: String,
    /// Where it is.
    pub location: Location,
    /// The keys.
    pub credentials: Credentials,
    /// Nothing is ever written to it.
    pub read_only: bool,
    /// `connect`: DNS, TCP and TLS together.
    pub connect: Duration,
    /// `first_byte`: a call without its answer's head by then has failed.
    pub first_byte: Duration,
    /// `stall`: a transfer without progress for this long has failed.
    pub stall: Duration,
    /// A folder in which begun multipart uploads are noted, so that the next start can abort them; without it they
    /// are left to the bucket's own lifecycle.
    pub uploads: Option<PathBuf>,
}

/// One upstream: its store, a breaker for each direction, its tasks. Cheap to clone.
#[derive(Clone)]
pub struct Remote {
    _inner: Arc<()>,
}

/// A direction in one word.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash)]
pub enum Word {
    /// Calls go there.
    Up,
    /// It doesn't answer: calls are refused here, it is probed.
    Down,
    /// It answers that we may not: calls are refused here, it is probed.
    Denied,
}

/// The state of one direction.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct State {
    /// In one word.
    pub word: Word,
    /// Since when.
    pub since: SystemTime,
    /// In words for a person: `write denied since 14:02: AccessDenied: …`; `up` when it is.
    pub words: String,
}

/// The states of both directions.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct States {
    /// Of get, head, list.
    pub read: State,
    /// Of put and delete.
    pub write: State,
}

// === impl Location ===

impl Location {
    /// Parses an upstream URL.
    ///
    /// # Errors
    /// `Invalid`, naming the part that is wrong.
    pub fn parse(url: &str) -> Result<Self> {
        let _ = url;
        unimplemented!()
    }

    /// The canonical URL, without anything secret.
    pub fn url(&self) -> String {
        unimplemented!()
    }

    /// Whether it takes keys.
    pub fn takes_credentials(&self) -> bool {
        unimplemented!()
    }
}

// === impl Credentials ===

impl fmt::Debug for Credentials {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("Credentials(..)")
    }
}

// === impl Remote ===

impl Remote {
    /// Makes it ready. No network, no file is touched; its tasks run on `runtime`.
    ///
    /// # Errors
    /// `Invalid` when the settings contradict each other.
    pub fn open(settings: RemoteSettings, runtime: &Runtime) -> Result<Self> {
        let _ = (settings, runtime);
        unimplemented!()
    }

    /// Its place in the configuration's list.
    pub fn id(&self) -> UpstreamId {
        unimplemented!()
    }

    /// What people call it.
    pub fn name(&self) -> &str {
        unimplemented!()
    }

    /// A stable hash of its canonical URL: what queue rows call it.
    pub fn tag(&self) -> u64 {
        unimplemented!()
    }

    /// Whether names have shard folders on it.
    pub fn sharded(&self) -> bool {
        unimplemented!()
    }

    /// Whether nothing is ever written to it.
    pub fn read_only(&self) -> bool {
        unimplemented!()
    }

    /// Whether a read would be sent now.
    pub fn readable(&self) -> bool {
        unimplemented!()
    }

    /// Whether a write would be sent now.
    pub fn writable(&self) -> bool {
        unimplemented!()
    }

    /// Reads an object.
    ///
    /// # Errors
    /// See [`Failure`]; at once while reads are refused.
    pub async fn get(&self, name: &ObjectName, options: GetOptions) -> Result<Got, Failure> {
        let _ = (name, options);
        unimplemented!()
    }

    /// Asks for what is known of an object.
    ///
    /// # Errors
    /// See [`Failure`]; at once while reads are refused.
    pub async fn head(&self, name: &ObjectName) -> Result<Looked, Failure> {
        let _ = name;
        unimplemented!()
    }

    /// Writes an object whole, or not at all.
    ///
    /// # Errors
    /// See [`Failure`]; at once while writes are refused.
    pub async fn put(
        &self,
        name: &ObjectName,
        source: Arc<dyn Source>,
        options: PutOptions,
    ) -> Result<PutDone, Failure> {
        let _ = (name, source, options);
        unimplemented!()
    }

    /// Deletes an object. One that isn't there is a success.
    ///
    /// # Errors
    /// See [`Failure`]; at once while writes are refused.
    pub async fn delete(&self, name: &ObjectName) -> Result<(), Failure> {
        let _ = name;
        unimplemented!()
    }

    /// Names that begin with `prefix`, after the name `after`, in order of their bytes, at most `limit`.
    ///
    /// # Errors
    /// See [`Failure`]; at once while reads are refused.
    pub async fn list(
        &self,
        prefix: &str,
        after: Option<&str>,
        limit: usize,
    ) -> Result<Vec<Listed>, Failure> {
        let _ = (prefix, after, limit);
        unimplemented!()
    }

    /// How it is.
    pub fn states(&self) -> States {
        unimplemented!()
    }

    /// Wakes at every change of either state.
    pub fn changes(&self) -> watch::Receiver<u64> {
        unimplemented!()
    }

    /// Something changed (addresses, keys, the clock jumped): drops idle connections and probes what is refused.
    pub fn nudge(&self) {
        unimplemented!()
    }
}

impl fmt::Debug for Remote {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("Remote")
    }
}
