//! One configured upstream, as the cache sees it.
//!
//! Every call: is its breaker open, then refuse at once; else run it on the upstream runtime, within its deadline, and
//! tell the breaker how it went. Dropping a call's future, or a body, ends what it does upstream.

use std::fmt;
use std::path::PathBuf;
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, AtomicU32, Ordering};
use std::time::Duration;

use tokio::sync::watch;

use super::breaker::{Breaker, State};
use super::folder::Folder;
use super::http::Http;
use super::judge::Inner;
use super::location::{Location, Place};
use super::object::Objects;
use super::prefix::below;
use super::probe;
use super::pump::pump;
use super::reapi::Reapi;
use super::runtime::{Runtime, Spawner};
use super::surroundings::Wake;
use super::{
    Credentials, Direction, Failure, GetOptions, Got, Listed, Looked, Object, Outlook, PutDone, PutOptions,
    Source, Upstream,
};
use crate::error::{Error, Result};
use crate::key::{Names, ObjectName, UpstreamId};

/// What a [`Remote`] is made of.
#[derive(Debug, Clone, PartialEq, Eq)]
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
    /// `first_byte`: a read without its answer's head by then has failed.
    pub first_byte: Duration,
    /// `stall`: a transfer without progress for this long has failed.
    pub stall: Duration,
    /// A folder in which begun multipart uploads are noted, so that the next start can abort them; without it they
    /// are left to the bucket's own lifecycle rule.
    pub uploads: Option<PathBuf>,
}

/// One upstream: its store, a breaker for each direction, its tasks. Cheap to clone.
#[derive(Clone)]
pub struct Remote {
    pub(super) inner: Arc<Inner>,
}

/// The states of both directions.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct States {
    /// Of get, head, list.
    pub read: State,
    /// Of put and delete.
    pub write: State,
}

// === impl Remote ===

impl Remote {
    /// Makes it ready. No network, no file is touched; its tasks run on `runtime`.
    ///
    /// # Errors
    /// `Invalid` when the settings contradict each other.
    pub fn open(settings: RemoteSettings, runtime: &Runtime) -> Result<Self> {
        Self::open_below(settings, "", runtime)
    }

    /// The same with every name below `prefix`, which has no slashes around it.
    ///
    /// # Errors
    /// As [`Remote::open`].
    pub fn open_below(settings: RemoteSettings, prefix: &str, runtime: &Runtime) -> Result<Self> {
        let spawner = runtime.spawner();
        let credentials = runtime.keep(&settings.credentials);
        let settings = RemoteSettings { credentials, ..settings };
        let store: Arc<dyn Upstream> = match &settings.location.0 {
            Place::Folder(_) if !matches!(settings.credentials, Credentials::Anonymous) => {
                return Err(Error::invalid("a folder upstream takes no keys"));
            }
            Place::Folder(path) => Arc::new(Folder::new(path.clone())),
            Place::Bucket(bucket) => Arc::new(Objects::new(bucket, &settings, spawner.clone())?),
            Place::Reapi(service) => {
                // An instance below the instance: its names are digests, which nothing can be put before.
                let store = Arc::new(Reapi::new(service.below(prefix), &settings, spawner.clone())?);
                return Ok(Self::with(store, prefix, settings, spawner));
            }
            // Where a prefix goes in its paths is for its dialect to say.
            Place::Server(server) => {
                let store = Arc::new(Http::new(server, prefix, &settings, &spawner)?);
                return Ok(Self::with(store, prefix, settings, spawner));
            }
        };
        Ok(Self::with(below(store, prefix), prefix, settings, spawner))
    }

    /// Over any store, with the default deadlines: for tests of what is above.
    #[cfg(test)]
    pub(crate) fn over(store: Arc<dyn Upstream>, id: UpstreamId, name: &str, runtime: &Runtime) -> Self {
        let settings = RemoteSettings {
            id,
            name: name.into(),
            location: Location::parse(&format!("file:///{name}")).expect("a name without slashes"),
            credentials: Credentials::Anonymous,
            read_only: false,
            connect: Duration::from_millis(500),
            first_byte: Duration::from_millis(1500),
            // A busy machine is no stalled transfer.
            stall: Duration::from_secs(60),
            uploads: None,
        };
        Self::with(store, "", settings, runtime.spawner())
    }

    fn with(store: Arc<dyn Upstream>, prefix: &str, settings: RemoteSettings, spawner: Spawner) -> Self {
        let changes = watch::Sender::new(0);
        let name: Arc<str> = settings.name.as_str().into();
        let breaker = |direction| Arc::new(Breaker::new(direction, Arc::clone(&name), changes.clone()));
        let (read, write) = (breaker(Direction::Read), breaker(Direction::Write));
        let deadline = settings.connect + settings.first_byte;
        let prober = |breaker: &Arc<Breaker>, direction| {
            let (store, breaker) = (Arc::clone(&store), Arc::clone(breaker));
            spawner.spawn(probe::run(store, breaker, direction, deadline, spawner.surroundings()))
        };
        let mut probers = vec![prober(&read, Direction::Read)];
        if !settings.read_only {
            probers.push(prober(&write, Direction::Write));
        }
        let inner = Inner {
            tag: settings.location.tag_below(prefix),
            prefix: prefix.into(),
            settings,
            store,
            spawner,
            read,
            write,
            changes,
            wake: Wake::new(),
            recovered: AtomicBool::new(false),
            answered: AtomicBool::new(false),
            denied_reads: AtomicU32::new(0),
            _probers: probers,
        };
        Self { inner: Arc::new(inner) }
    }

    /// Whether the other is a handle of this very one.
    pub fn is(&self, other: &Self) -> bool {
        Arc::ptr_eq(&self.inner, &other.inner)
    }

    /// Whether one that is opened below `prefix` with these settings would be the same.
    pub fn is_as(&self, settings: &RemoteSettings, prefix: &str) -> bool {
        self.inner.settings == *settings && self.inner.prefix == prefix
    }

    /// Takes the place of `old`, an upstream of the same tag that may still be writing: what that one has begun is not
    /// what an earlier process has left half done.
    pub fn succeed(&self, old: &Self) {
        self.inner.recovered.store(old.inner.recovered.load(Ordering::Relaxed), Ordering::Relaxed);
    }

    /// Its place in the configuration's list.
    pub fn id(&self) -> UpstreamId {
        self.inner.settings.id
    }

    /// What people call it.
    pub fn name(&self) -> &str {
        &self.inner.settings.name
    }

    /// The stored credential that it uses, and what is known of its keys now.
    pub fn credential(&self) -> Option<(&str, Option<Outlook>)> {
        match &self.inner.settings.credentials {
            Credentials::Stored(stored) => Some((stored.name(), stored.outlook())),
            _ => None,
        }
    }

    /// A stable hash of where it is: what queue rows call it. Another region or way to address it is the same place.
    pub fn tag(&self) -> u64 {
        self.inner.tag
    }

    /// In which form it has its names.
    pub fn names(&self) -> Names {
        self.inner.settings.location.names()
    }

    /// Whether nothing is ever written to it.
    pub fn read_only(&self) -> bool {
        self.inner.settings.read_only
    }

    /// Whether a read would be sent now.
    pub fn readable(&self) -> bool {
        !self.inner.read.is_open()
    }

    /// Whether a write would be sent now.
    pub fn writable(&self) -> bool {
        !self.inner.settings.read_only && !self.inner.write.is_open()
    }

    /// Whether it can keep an object of this name.
    pub fn carries(&self, name: &ObjectName) -> bool {
        self.inner.store.carries(name)
    }

    /// Whether it asks for content by digest and size: then it is to be told of sizes before it is asked, and takes an
    /// action result only once the action is there.
    pub fn asks_by_size(&self) -> bool {
        self.inner.store.asks_by_size()
    }

    /// The content that this name is the digest of has so many bytes. A hint: it may be forgotten.
    pub fn expect(&self, name: &ObjectName, len: u64) {
        self.inner.store.expect(name, len);
    }

    /// Reads an object.
    ///
    /// # Errors
    /// See [`Failure`]; at once while reads are refused.
    pub async fn get(&self, name: &ObjectName, options: GetOptions) -> Result<Got, Failure> {
        let (inner, name) = (Arc::clone(&self.inner), name.clone());
        self.call(Direction::Read, async move {
            let got = inner.in_time(inner.store.get(&name, &options)).await;
            inner.judge_read(got, |got| matches!(got, Got::Absent { denied: true })).map(|got| match got {
                Got::Object(Object { meta, range, body }) => {
                    let body = pump(&inner.spawner, body, inner.settings.stall, Arc::clone(&inner.read));
                    Got::Object(Object { meta, range, body })
                }
                other => {
                    inner.read.success();
                    other
                }
            })
        })
        .await
    }

    /// Asks for what is known of an object.
    ///
    /// # Errors
    /// See [`Failure`]; at once while reads are refused.
    pub async fn head(&self, name: &ObjectName) -> Result<Looked, Failure> {
        let (inner, name) = (Arc::clone(&self.inner), name.clone());
        self.call(Direction::Read, async move {
            let looked = inner.in_time(inner.store.head(&name)).await;
            inner
                .judge_read(looked, |looked| matches!(looked, Looked::Absent { denied: true }))
                .inspect(|_| inner.read.success())
        })
        .await
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
        let (inner, name) = (Arc::clone(&self.inner), name.clone());
        self.call(Direction::Write, async move {
            let done = inner.store.put(&name, &*source, &options).await;
            inner.judge_write(done, Some(&name))
        })
        .await
    }

    /// Deletes an object. One that isn't there is a success.
    ///
    /// # Errors
    /// See [`Failure`]; at once while writes are refused.
    pub async fn delete(&self, name: &ObjectName) -> Result<(), Failure> {
        let (inner, name) = (Arc::clone(&self.inner), name.clone());
        self.call(Direction::Write, async move {
            let done = inner.store.delete(&name).await;
            inner.judge_write(done, Some(&name))
        })
        .await
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
        let inner = Arc::clone(&self.inner);
        let (prefix, after) = (prefix.to_owned(), after.map(str::to_owned));
        self.call(Direction::Read, async move {
            let listed = inner.store.list(&prefix, after.as_deref(), limit).await;
            match &listed {
                Ok(_) => inner.read.success(),
                Err(fault) => inner.failed(&inner.read, fault, None),
            }
            listed.map_err(|fault| fault.failure)
        })
        .await
    }

    /// How it is.
    pub fn states(&self) -> States {
        States { read: self.inner.read.state(), write: self.inner.write.state() }
    }

    /// Wakes at every change of either state.
    pub fn changes(&self) -> watch::Receiver<u64> {
        self.inner.changes.subscribe()
    }

    /// Something changed (addresses, keys, the clock jumped): drops idle connections and asks whether it is there.
    pub fn nudge(&self) {
        self.inner.nudge();
    }

    /// Runs `work` on the upstream runtime, unless its direction is refused.
    async fn call<T: Send + 'static>(
        &self,
        direction: Direction,
        work: impl Future<Output = Result<T, Failure>> + Send + 'static,
    ) -> Result<T, Failure> {
        let inner = &self.inner;
        match direction {
            Direction::Read => inner.read.admit()?,
            Direction::Write if inner.settings.read_only => {
                return Err(Failure::State("the upstream is configured to be read only".into()));
            }
            Direction::Write => inner.write.admit()?,
        }
        if inner.wake.slept() {
            inner.nudge();
        }
        match inner.spawner.spawn(work).await {
            Ok(Some(done)) => done,
            Ok(None) => Err(Failure::State("the upstream runtime has stopped".into())),
            Err(e) if e.is_panic() => std::panic::resume_unwind(e.into_panic()),
            Err(_) => Err(Failure::State("the upstream runtime has stopped".into())),
        }
    }
}

impl fmt::Debug for Remote {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Remote").field("settings", &self.inner.settings).finish_non_exhaustive()
    }
}
