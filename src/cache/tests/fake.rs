//! An object store in memory whose answers a test can hold back, break or deny, and a cache over it.

use std::collections::BTreeMap;
use std::path::Path;
use std::sync::Arc;
use std::sync::atomic::{AtomicU64, Ordering};
use std::time::{Duration, SystemTime};

use bytes::Bytes;
use futures_util::future::BoxFuture;
use parking_lot::Mutex;
use tokio::sync::Semaphore;

use crate::body::Body;
use crate::cache::{Cache, Parts, Settings};
use crate::entry::Attrs;
use crate::error::{Error, Kind, Result};
use crate::key::{Layout, Namespace, Naming, ObjectName, Owner, Policy, Scope, Space, UpstreamId};
use crate::stats::Stats;
use crate::store::{self, Generations, Role, Store};
use crate::upstream::{
    Direction, Failure, Fault, GetOptions, Got, Listed, Looked, Object, ObjectMeta, PutDone, PutIf,
    PutOptions, Remote, Runtime, Source, Upstream,
};

/// An action-result space, as the Bazel frontend's.
pub(crate) const AC: Space = Space::new("ac", Naming::Immutable, Layout::Sharded).with_links();
/// A space whose names may change.
pub(crate) const BLOB: Space =
    Space::new("blob", Naming::Mutable { max_age: Duration::from_secs(60) }, Layout::Namespaced);
/// A space whose names don't, with a sibling.
pub(crate) const TURBO: Space =
    Space::new("turborepo", Naming::Immutable, Layout::Verbatim).with_sibling("artifacttag", ".tag");

#[derive(Debug, Clone)]
pub(crate) struct FakeObject {
    pub(crate) body: Bytes,
    pub(crate) attrs: Attrs,
    pub(crate) etag: Arc<str>,
    pub(crate) modified: SystemTime,
}

/// What the next calls meet.
#[derive(Debug, Clone, PartialEq, Eq, Default)]
pub(crate) enum Weather {
    #[default]
    Fine,
    /// Bodies break off after so many bytes, this many times.
    Resets { after: usize, times: u32 },
    /// Bodies have a flipped last byte.
    Lies,
    /// Writes are refused for good.
    Refuses,
    /// Writes fail, and the object is not to blame.
    Denies,
}

#[derive(Debug)]
pub(crate) struct Fake {
    pub(crate) objects: Mutex<BTreeMap<String, FakeObject>>,
    pub(crate) weather: Mutex<Weather>,
    pub(crate) gets: AtomicU64,
    pub(crate) heads: AtomicU64,
    /// Writes that have begun.
    pub(crate) begun: AtomicU64,
    /// The names written, in order.
    pub(crate) puts: Mutex<Vec<String>>,
    /// Every answer's head takes one.
    pub(crate) answers: Semaphore,
    /// Every 64 KiB of a body takes one.
    pub(crate) pieces: Arc<Semaphore>,
    versions: AtomicU64,
}

/// A daemon's cache in a folder of its own.
pub(crate) struct Bench {
    pub(crate) cache: Cache,
    pub(crate) fake: Arc<Fake>,
    pub(crate) dir: Arc<tempfile::TempDir>,
    scope: Scope,
    pub(super) runtime: Runtime,
}

const PLENTY: usize = 1 << 30;

impl Fake {
    pub(crate) fn new() -> Arc<Self> {
        Arc::new(Self {
            objects: Mutex::default(),
            weather: Mutex::default(),
            gets: AtomicU64::new(0),
            heads: AtomicU64::new(0),
            begun: AtomicU64::new(0),
            puts: Mutex::default(),
            answers: Semaphore::new(PLENTY),
            pieces: Arc::new(Semaphore::new(PLENTY)),
            versions: AtomicU64::new(1),
        })
    }

    /// From now on nothing is answered until [`Semaphore::add_permits`].
    pub(crate) fn hold_answers(&self) {
        self.answers.forget_permits(PLENTY);
    }

    pub(crate) fn hold_pieces(&self) {
        self.pieces.forget_permits(PLENTY);
    }

    pub(crate) fn set(&self, name: &str, body: impl Into<Bytes>) -> Arc<str> {
        self.write(name, body.into(), Attrs::default())
    }

    pub(crate) fn body(&self, name: &str) -> Option<Bytes> {
        self.objects.lock().get(name).map(|object| object.body.clone())
    }

    fn write(&self, name: &str, body: Bytes, attrs: Attrs) -> Arc<str> {
        let etag: Arc<str> = format!("v{}", self.versions.fetch_add(1, Ordering::Relaxed)).into();
        let object = FakeObject { body, attrs, etag: Arc::clone(&etag), modified: SystemTime::now() };
        self.objects.lock().insert(name.to_owned(), object);
        etag
    }

    async fn answer(&self) {
        self.answers.acquire().await.expect("never closed").forget();
    }

    fn find(&self, name: &ObjectName) -> Option<(FakeObject, ObjectMeta)> {
        let object = self.objects.lock().get(name.as_str()).cloned()?;
        let meta = ObjectMeta {
            len: object.body.len() as u64,
            etag: Some(Arc::clone(&object.etag)),
            last_modified: Some(object.modified),
            server_date: Some(SystemTime::now()),
            attrs: object.attrs.clone(),
            ..ObjectMeta::default()
        };
        Some((object, meta))
    }

    fn stream(&self, bytes: Bytes) -> Body {
        let mut bytes = bytes;
        let mut break_after = usize::MAX;
        {
            let mut weather = self.weather.lock();
            match &mut *weather {
                Weather::Lies => {
                    let mut wrong = bytes.to_vec();
                    if let Some(last) = wrong.last_mut() {
                        *last ^= 1;
                    }
                    bytes = wrong.into();
                }
                Weather::Resets { after, times } if *times > 0 => {
                    *times -= 1;
                    break_after = *after;
                }
                Weather::Resets { .. } | Weather::Fine | Weather::Refuses | Weather::Denies => {}
            }
        }
        let (len, pieces) = (bytes.len() as u64, Arc::clone(&self.pieces));
        Body::stream(
            len,
            futures_util::stream::try_unfold((bytes, 0), move |(mut bytes, sent)| {
                let pieces = Arc::clone(&pieces);
                async move {
                    if bytes.is_empty() {
                        return Ok(None);
                    }
                    if sent >= break_after {
                        return Err(Error::new(Kind::Unavailable, "connection reset"));
                    }
                    pieces.acquire().await.expect("never closed").forget();
                    let piece = bytes.split_to(bytes.len().min(64 << 10));
                    let sent = sent + piece.len();
                    Ok(Some((piece, (bytes, sent))))
                }
            }),
        )
    }
}

impl Upstream for Fake {
    fn get<'a>(&'a self, name: &'a ObjectName, options: &'a GetOptions) -> BoxFuture<'a, Result<Got, Fault>> {
        Box::pin(async move {
            self.gets.fetch_add(1, Ordering::Relaxed);
            self.answer().await;
            let Some((object, meta)) = self.find(name) else { return Ok(Got::Absent { denied: false }) };
            if options.if_none_match.as_deref() == Some(&*object.etag) {
                return Ok(Got::NotModified);
            }
            if options.if_match.as_deref().is_some_and(|etag| etag != &*object.etag) {
                return Ok(Got::Changed);
            }
            let range = options.range.clone().unwrap_or(0..meta.len);
            let range = range.start..range.end.min(meta.len);
            let body = self.stream(object.body.slice(range.start as usize..range.end as usize));
            Ok(Got::Object(Object { meta, range, body }))
        })
    }

    fn head<'a>(&'a self, name: &'a ObjectName) -> BoxFuture<'a, Result<Looked, Fault>> {
        Box::pin(async move {
            self.heads.fetch_add(1, Ordering::Relaxed);
            self.answer().await;
            Ok(self.find(name).map_or(Looked::Absent { denied: false }, |(_, meta)| Looked::Found(meta)))
        })
    }

    fn put<'a>(
        &'a self,
        name: &'a ObjectName,
        source: &'a dyn Source,
        options: &'a PutOptions,
    ) -> BoxFuture<'a, Result<PutDone, Fault>> {
        Box::pin(async move {
            self.begun.fetch_add(1, Ordering::Relaxed);
            self.answer().await;
            match *self.weather.lock() {
                Weather::Refuses => return Err(Failure::Refused("EntityTooLarge".into()).into()),
                Weather::Denies => return Err(Failure::State("write denied: AccessDenied".into()).into()),
                _ => {}
            }
            let body = source.open(0..source.len()).await.map_err(Failure::Source)?;
            let body = body.collect(u64::MAX).await.map_err(Failure::Source)?;
            let known = self.objects.lock().get(name.as_str()).map(|object| Arc::clone(&object.etag));
            let conflicts = match &options.condition {
                PutIf::Always => false,
                PutIf::Absent => known.is_some(),
                PutIf::Matches(etag) => known.as_ref() != Some(etag),
            };
            if conflicts {
                return Err(Failure::Conflict.into());
            }
            let etag = self.write(name.as_str(), body, options.attrs.clone());
            self.puts.lock().push(name.to_string());
            Ok(PutDone { etag: Some(etag), server_date: Some(SystemTime::now()) })
        })
    }

    fn delete<'a>(&'a self, name: &'a ObjectName) -> BoxFuture<'a, Result<(), Fault>> {
        Box::pin(async move {
            self.answer().await;
            if *self.weather.lock() == Weather::Denies {
                return Err(Failure::State("write denied: AccessDenied".into()).into());
            }
            self.objects.lock().remove(name.as_str());
            Ok(())
        })
    }

    fn list<'a>(
        &'a self,
        prefix: &'a str,
        after: Option<&'a str>,
        limit: usize,
    ) -> BoxFuture<'a, Result<Vec<Listed>, Fault>> {
        Box::pin(async move {
            self.answer().await;
            let objects = self.objects.lock();
            let wanted = objects.iter().filter(|(name, _)| {
                name.starts_with(prefix) && after.is_none_or(|after| name.as_str() > after)
            });
            let listed = wanted.filter_map(|(name, object)| {
                let (len, etag) = (object.body.len() as u64, Some(Arc::clone(&object.etag)));
                Some(Listed {
                    name: ObjectName::parse(name)?,
                    len,
                    etag,
                    last_modified: Some(object.modified),
                })
            });
            Ok(listed.take(limit).collect())
        })
    }

    fn probe<'a>(&'a self, _: Direction, _: Option<&'a ObjectName>) -> BoxFuture<'a, Result<(), Fault>> {
        Box::pin(async { Ok(()) })
    }
}

impl Bench {
    pub(crate) fn new(change: impl FnOnce(&mut Settings)) -> Self {
        Self::at(Arc::new(tempfile::tempdir().expect("a folder")), Fake::new(), change)
    }

    /// Another daemon on the same bucket.
    pub(crate) fn beside(&self) -> Self {
        Self::at(Arc::new(tempfile::tempdir().expect("a folder")), Arc::clone(&self.fake), |_| {})
    }

    pub(crate) fn at(
        dir: Arc<tempfile::TempDir>,
        fake: Arc<Fake>,
        change: impl FnOnce(&mut Settings),
    ) -> Self {
        let mut settings = Settings { first_byte: Duration::from_secs(5), ..Settings::default() };
        change(&mut settings);
        let runtime = Runtime::new().expect("a runtime");
        let remote = Remote::over(Arc::clone(&fake) as Arc<dyn Upstream>, UpstreamId(0), "fake", &runtime);
        let generations = Generations::default();
        let stores = |name: &str, role| open(&dir.path().join(name), role, &generations);
        let parts = Parts {
            cache: stores("cache", Role::Cache),
            outbox: stores("outbox", Role::Outbox),
            remotes: vec![remote],
            siblings: vec![TURBO],
            stats: Arc::new(Stats::default()),
        };
        let scope = Scope {
            owner: Owner(0),
            namespace: Namespace::none(),
            upstream: Some(UpstreamId(0)),
            policy: Policy::default(),
        };
        Self { cache: Cache::new(settings, parts), fake, dir, scope, runtime }
    }

    /// As after `kill -9`: nothing is closed. Then started again on the same folders.
    pub(crate) async fn killed(self, change: impl FnOnce(&mut Settings)) -> Self {
        let (dir, fake) = (Arc::clone(&self.dir), Arc::clone(&self.fake));
        self.cache.abandon().await;
        drop(self.cache);
        drop(self.runtime);
        Self::at(dir, fake, change)
    }

    pub(crate) fn scope(&self) -> &Scope {
        &self.scope
    }

    /// Waits until the queue that the outbox held at start is known.
    pub(crate) async fn replayed(&self) {
        self.cache.inner.queue.replayed().await;
    }

    /// Waits until every fill has ended, and is published or not.
    pub(crate) async fn filled(&self) {
        while self.cache.inner.fills.len() > 0 {
            tokio::task::yield_now().await;
        }
    }

    /// Waits until nothing is queued.
    pub(crate) async fn drained(&self) {
        let mut changes = self.cache.queue_changes();
        while self.cache.queue_summary().await.entries > 0 {
            changes.changed().await.expect("the cache lives");
        }
    }
}

fn open(dir: &Path, role: Role, generations: &Generations) -> Store {
    std::fs::create_dir_all(dir).expect("a folder");
    // Without threads of its own: a killed store must not go on beside the next one over the same folder.
    let settings = store::Settings {
        disk: 1 << 30,
        disk_keep_free: 0,
        disk_floor: 0,
        background: false,
        ..store::Settings::default()
    };
    Store::open(dir, role, settings, generations.clone()).expect("a store")
}
