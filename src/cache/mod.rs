//! The policy: tiers, coalescing, puts, the outbox, being offline. All that a protocol may know.
//!
//! A look-up goes memory, outbox or cache store (whichever has the later commit), then upstream by a *fill* that
//! belongs to the daemon and not to the client who asked first (`fill.rs`). A put is acknowledged once it is in the
//! outbox (route with an upstream) or in the cache store, and the uploader of that upstream drains the outbox behind
//! (`uploader.rs`). Every request has one first-byte deadline that covers all of it; past it, and whenever the
//! upstream is in trouble, the answer is a miss. Nothing here returns an error because an upstream is in trouble.
//!
//! # Generations
//! Every commit and delete takes the next generation, whichever store it lands in. The later one is what counts. A
//! fill publishes only if its key had neither since the fill began; a put always wins.

mod canary;
mod check;
mod clock;
mod config;
mod content;
mod fill;
mod freshen;
mod get;
mod lately;
mod list;
mod outbox;
mod permits;
mod publish;
mod put;
mod receive;
mod recent;
mod reload;
mod remotes;
mod resume;
mod route;
mod stage;
mod status;
mod tail;
#[cfg(test)]
pub(crate) mod tests;
mod upload;
mod uploader;
mod verify;

use std::sync::Arc;

use tokio_util::sync::CancellationToken;
use tokio_util::task::TaskTracker;

pub use canary::canaries;
pub use config::Settings;
pub use lately::{Lately, SHEDS_WINDOW};
pub use list::Listed;
pub use put::{Committed, Outcome, Put};
pub use stage::{Part, PartialUpload, Resumed, Staged, StagedPart, Stream};
pub use status::{
    CacheStatus, DirectionStatus, PartialUploads, QueueBounds, QueueItem, QueueSummary, TierStatus,
    UpstreamStatus,
};

use crate::entry::{Meta, Precondition, Tier};
use crate::error::{Error, Kind, Result};
use crate::key::{EntryId, Key, ObjectName, Scope, Space};
use crate::memory::Memory;
use crate::stats::{Shed, Stats, noted};
use crate::store::{Generation, Record, Store};
use crate::swap::{Read, Swap};
use crate::upstream::Remote;
use clock::now_ms;
use remotes::Known;

/// The cache. Cheap to clone.
#[derive(Clone)]
pub struct Cache {
    inner: Arc<Inner>,
}

/// What a cache is made of.
#[derive(Debug)]
pub struct Parts {
    /// The cache store, in the cache folder.
    pub cache: Store,
    /// The outbox store, in the state folder.
    pub outbox: Store,
    /// The configured upstreams, by [`crate::key::UpstreamId`].
    pub remotes: Vec<Remote>,
    /// The spaces whose entries have siblings upstream.
    pub siblings: Vec<Space>,
    /// The counters.
    pub stats: Arc<Stats>,
}

struct Inner {
    settings: Swap<Settings>,
    memory: Memory,
    cache: Store,
    outbox: Store,
    remotes: remotes::Remotes,
    siblings: Vec<Space>,
    stats: Arc<Stats>,
    fills: fill::Fills,
    checks: check::Checks,
    queue: Arc<outbox::Queue>,
    facts: check::Facts,
    touches: get::Touches,
    lists: tokio::sync::Semaphore,
    partials: Arc<stage::Partials>,
    sheds: status::ShedLog,
    samples: lately::Samples,
    /// Tasks of the daemon: fills, checks, uploads. They end when `stop` is cancelled.
    tasks: TaskTracker,
    stop: CancellationToken,
}

/// A request's key in all the forms in which it is needed.
#[derive(Debug, Clone)]
struct Asked {
    scope: Scope,
    key: Key,
    canonical: Arc<[u8]>,
    id: EntryId,
}

// === impl Cache ===

impl Cache {
    /// A cache over its parts. Spawns the uploaders; no network is needed or waited for.
    pub fn new(settings: Settings, parts: Parts) -> Self {
        let inner = Arc::new(Inner {
            memory: Memory::new(&settings.memory),
            fills: fill::Fills::new(settings.fills, settings.fill_bytes),
            checks: check::Checks::default(),
            queue: outbox::Queue::new(settings.queue_bytes, settings.queue_entries),
            facts: check::Facts::new(&settings),
            touches: get::Touches::default(),
            lists: tokio::sync::Semaphore::new(list::LISTS_MAX),
            partials: stage::Partials::new(&settings),
            sheds: status::ShedLog::default(),
            samples: lately::Samples::default(),
            settings: Swap::new(settings),
            cache: parts.cache,
            outbox: parts.outbox,
            remotes: remotes::Remotes::new(parts.remotes),
            siblings: parts.siblings,
            stats: parts.stats,
            tasks: TaskTracker::new(),
            stop: CancellationToken::new(),
        });
        let cache = Self { inner };
        cache.spawn(get::flush_touches(cache.clone()));
        cache.spawn(uploader::run(cache.clone()));
        cache.spawn(stage::expire(cache.clone()));
        cache.spawn(lately::watch(cache.clone()));
        cache
    }

    /// Waits until both stores have replayed their logs.
    ///
    /// # Errors
    /// When a folder can't be read.
    pub async fn ready(&self) -> Result<()> {
        self.inner.outbox.ready().await?;
        self.inner.cache.ready().await
    }

    /// Stops uploads and fills, and makes the next start quick. What is queued stays queued.
    pub async fn close(&self) {
        self.inner.stop.cancel();
        self.inner.tasks.close();
        self.inner.tasks.wait().await;
        get::flush_touches_once(self);
        self.inner.partials.clear();
        self.inner.cache.close().await;
        self.inner.outbox.close().await;
    }

    /// As `kill -9` would leave it: nothing is flushed.
    #[cfg(test)]
    async fn abandon(&self) {
        self.inner.stop.cancel();
        self.inner.tasks.close();
        self.inner.tasks.wait().await;
    }

    /// What is known of an entry, without its bytes.
    ///
    /// # Errors
    /// None today that a client could cause; a sick disk or upstream is a miss.
    pub async fn head(&self, scope: &Scope, key: &Key) -> Result<Option<(Arc<Meta>, Tier)>> {
        let asked = Asked::new(scope, key);
        let found = self.head_of(&asked).await?;
        if let Some((_, from)) = &found {
            self.count_hit(&asked, *from);
        }
        Ok(found)
    }

    /// Removes an entry, here and, behind, upstream. `false` when there was none here.
    ///
    /// # Errors
    /// `Precondition`, or the disk's when the delete can't be queued.
    pub async fn delete(&self, scope: &Scope, key: &Key, condition: Precondition) -> Result<bool> {
        let asked = Asked::new(scope, key);
        if condition != Precondition::None {
            let current = self.head_of(&asked).await?;
            if !condition.holds(current.as_ref().map(|(meta, _)| &*meta.etag)) {
                return Err(Error::new(Kind::Precondition, "the condition doesn't hold for what is stored"));
            }
        }
        self.remove(&asked).await
    }

    /// The counters.
    pub fn stats(&self) -> &Arc<Stats> {
        &self.inner.stats
    }

    /// The bounds in force.
    pub fn settings(&self) -> Read<Settings> {
        self.inner.settings.read()
    }

    /// Counts a PUT that was acknowledged and not kept as asked, and warns of it at most once a minute.
    pub fn shed(&self, reason: Shed) {
        self.inner.stats.shed(reason).one();
        self.inner.sheds.note(reason);
    }

    fn spawn(&self, task: impl Future<Output = ()> + Send + 'static) {
        let stop = self.inner.stop.clone();
        self.inner.tasks.spawn(async move {
            tokio::select! {
                () = stop.cancelled() => {}
                () = task => {}
            }
        });
    }

    /// An upstream gave what was asked for.
    fn count_hit(&self, asked: &Asked, from: Tier) {
        if from != Tier::Upstream {
            return;
        }
        self.note_upstream(asked);
        if let Some(id) = asked.scope.upstream {
            self.inner.remotes.count_hit(id);
        }
    }

    /// What is asked for comes from its route's upstream, or goes there.
    fn note_upstream(&self, asked: &Asked) {
        if noted::is_on()
            && let Some(remote) = self.remote(asked)
        {
            noted::upstream(remote.name());
        }
    }

    /// The route's upstream.
    fn remote(&self, asked: &Asked) -> Option<Known> {
        self.inner.remotes.find(asked.scope.upstream?)
    }

    /// The route's upstream and the name there, if the upstream answers reads now and can carry the name.
    fn readable(&self, asked: &Asked) -> Option<(Remote, ObjectName)> {
        let remote = self.remote(asked).filter(|remote| remote.readable())?;
        let name = asked.object_name(&remote)?;
        Some((remote.clone(), name))
    }

    /// The later of the two stores' commits of an entry, queued deletes included.
    fn current(&self, id: EntryId) -> Option<Generation> {
        self.inner.outbox.generation(id).max(self.inner.cache.generation(id))
    }
}

impl std::fmt::Debug for Cache {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        write!(f, "Cache({:?})", self.inner.memory)
    }
}

// === impl Asked ===

impl Asked {
    fn new(scope: &Scope, key: &Key) -> Self {
        noted::asked(key);
        Self::unnoted(scope, key)
    }

    /// What a request comes upon, and is not about.
    fn unnoted(scope: &Scope, key: &Key) -> Self {
        let canonical: Arc<[u8]> = key.canonical(scope).into();
        Self { id: EntryId::of(&canonical), canonical, scope: scope.clone(), key: key.clone() }
    }

    /// The name there; `None` when the upstream can't carry it.
    fn object_name(&self, remote: &Remote) -> Option<ObjectName> {
        self.key.object_name(&self.scope, remote.names()).filter(|name| remote.carries(name))
    }

    fn space(&self) -> Option<&Space> {
        match &self.key {
            Key::Content(_) => None,
            Key::Named { space, .. } => Some(space),
        }
    }

    /// Whether a body of this length is better answered when it is whole.
    fn is_whole_first(&self, len: u64) -> bool {
        self.space().is_some_and(|space| len <= space.whole_bytes_max)
    }

    fn is_linked(&self) -> bool {
        self.space().is_some_and(|space| space.linked)
    }

    /// The same request for another key.
    fn other(&self, key: Key) -> Self {
        Self::unnoted(&self.scope, &key)
    }

    fn record(&self, meta: Meta, links: Option<crate::links::Links>) -> Record {
        Record { id: self.id, key: Arc::clone(&self.canonical), meta, links, queue: None }
    }
}
