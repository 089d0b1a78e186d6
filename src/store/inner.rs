//! What all handles of a store share.

use std::path::Path;
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, AtomicU64, Ordering};
use std::time::Instant;

use parking_lot::{Condvar, Mutex};
use tokio::sync::{Semaphore, watch};

use super::blocks::Pool;
use super::evict::Goal;
use super::file::Folders;
use super::index::Index;
use super::log::Tail;
use super::quarantine::Quarantine;
use super::read::Mode;
use super::space::{Graves, Space};
use super::sync::Syncer;
use super::tend::Bell;
use super::{Generations, Role, Settings};
use crate::error::Result;
use crate::stats::Counter;

/// See the module.
#[derive(Debug)]
pub(super) struct Inner {
    /// As of the start; those that may change since are in `keep`, `space`, `tail` and `index`.
    pub(super) settings: Settings,
    /// A leaf.
    pub(super) keep: Mutex<Keep>,
    pub(super) generations: Generations,
    pub(super) folders: Folders,
    /// A leaf.
    pub(super) index: Mutex<Index>,
    /// Appends; see `log.rs`. Before `index`.
    pub(super) tail: Mutex<Tail>,
    pub(super) syncer: Option<Arc<Syncer>>,
    pub(super) replayed: Replayed,
    pub(super) space: Space,
    pub(super) graves: Graves,
    pub(super) bell: Arc<Bell>,
    pub(super) mode: Mode,
    pub(super) pool: Arc<Pool>,
    pub(super) draft_buffers: Arc<Semaphore>,
    pub(super) counts: Counts,
    /// The disk was too full for compaction: its dead bytes don't count as soon to be free.
    pub(super) cramped: AtomicBool,
    pub(super) compacting: Mutex<()>,
    opened: Instant,
}

/// Bounds that may change while the store is open.
#[derive(Debug, Clone, Copy)]
pub(super) struct Keep {
    pub(super) role: Role,
    /// Where the index's bound is on its way to.
    pub(super) disk: u64,
    pub(super) disk_keep_free: u64,
    pub(super) inodes_keep_free: u8,
    pub(super) quarantine: Quarantine,
}

/// Counters.
#[derive(Debug, Default)]
pub(super) struct Counts {
    pub(super) evictions: Counter,
    pub(super) corrupt: Counter,
    pub(super) compactions: Counter,
    pub(super) quarantined: AtomicU64,
}

/// Whether replay has ended, and how; for those who can wait and those who must.
#[derive(Debug)]
pub(super) struct Replayed {
    ended: AtomicBool,
    lock: Mutex<()>,
    wake: Condvar,
    result: watch::Sender<Option<Result<()>>>,
}

/// Draft buffers are at most so many, of 1 MiB each.
const DRAFT_BUFFERS: usize = 32;

// === impl Inner ===

impl Inner {
    pub(super) fn open(
        dir: &Path,
        role: Role,
        settings: Settings,
        generations: Generations,
    ) -> Result<Arc<Self>> {
        let folders = Folders::open(dir, role)?;
        let syncer = settings.sync.then(Syncer::start).transpose()?;
        let bell = Arc::new(Bell::default());
        let keep = Keep::of(role, &settings);
        let inner = Arc::new(Self {
            index: Mutex::new(Index::new(keep.disk)),
            keep: Mutex::new(keep),
            tail: Mutex::new(Tail::new(settings.segment_bytes, syncer.clone())),
            replayed: Replayed::new(),
            space: Space::new(settings.disk_floor),
            graves: Graves::new(!settings.background, Arc::clone(&bell)),
            mode: Mode::default(),
            pool: Arc::default(),
            draft_buffers: Arc::new(Semaphore::new(DRAFT_BUFFERS)),
            counts: Counts::default(),
            cramped: AtomicBool::new(false),
            compacting: Mutex::new(()),
            opened: Instant::now(),
            settings,
            generations,
            folders,
            syncer,
            bell,
        });
        super::tend::start(&inner)?;
        Ok(inner)
    }

    /// Other bounds; see [`super::Store::apply`].
    pub(super) fn bound(&self, settings: &Settings) {
        let keep = Keep::of(self.keep.lock().role, settings);
        *self.keep.lock() = keep;
        self.space.set_floor(settings.disk_floor);
        self.tail.lock().set_segment_bytes(settings.segment_bytes);
        {
            let mut index = self.index.lock();
            index.disk = index.disk.max(keep.disk);
        }
        if self.settings.background {
            self.bell.ring();
        } else {
            self.index.lock().disk = keep.disk;
        }
    }

    /// Brings a bound that became smaller nearer to where it shall be; whether it is there. Bit by bit, because a put
    /// that finds the store far over its bound evicts itself.
    pub(super) fn approach(&self) -> bool {
        let wanted = self.keep.lock().disk;
        let mut index = self.index.lock();
        if index.disk > wanted {
            let within = index.disk - index.room();
            index.disk = wanted.max(within.saturating_sub(within / 64 + 1));
        }
        index.disk <= wanted
    }

    /// Seconds since the store was opened, from 1.
    pub(super) fn now(&self) -> u32 {
        u32::try_from(self.opened.elapsed().as_secs() + 1).unwrap_or(u32::MAX)
    }

    /// With `durability = "power"`: waits until all is on the disk.
    pub(super) async fn synced(&self) -> Result<()> {
        match &self.syncer {
            Some(syncer) => syncer.synced().await,
            None => Ok(()),
        }
    }

    /// Whether entries are gone because somebody has deleted the folder.
    pub(super) fn look(&self) {
        let any = self.index.lock().segments.any().cloned();
        if any.is_some_and(|segment| !segment.is_linked()) {
            let mut tail = self.tail.lock();
            // Compaction may have unlinked that one.
            let any = self.index.lock().segments.any().cloned();
            if any.is_some_and(|segment| !segment.is_linked())
                && let Err(error) = tail.vanished(&self.folders, &self.index)
            {
                tracing::warn!(%error, "cannot make the folder again");
            }
        }
    }

    /// Writes the recency of entries used since the last time.
    pub(super) fn flush_touches(&self) {
        use super::log::Unplaced;
        use super::record::{self, HEADER_LEN, What};
        let touches = self.index.lock().take_dirty();
        // Far below the bound on a record.
        const BATCH: usize = 16 << 10;
        for batch in touches.chunks(BATCH) {
            let buffer = record::touched(batch);
            let length = record::length(buffer.len() - HEADER_LEN);
            let record = Unplaced { what: What::Touched, flags: 0, buffer, body: b"" };
            let mut tail = self.tail.lock();
            let written = tail.make_room(&self.folders, &self.index, length);
            if let Err(error) = written.and_then(|()| tail.append(&self.index, None, record).map(drop)) {
                tracing::debug!(%error, "recency is not written");
                return;
            }
        }
    }

    /// How much must go: over `disk`, or for what must stay free.
    fn goal(&self) -> Goal {
        let (over, dead, disk) = {
            let index = self.index.lock();
            (index.over(0), index.segments.totals().2, index.disk)
        };
        let keep = *self.keep.lock();
        let mut goal = Goal::default();
        if over > 0 {
            // A little more than need be, so that not every commit evicts.
            goal.bytes = over + (disk / 1024).min(4 << 20);
        }
        if disk < u64::MAX {
            let sample = self.space.sample(self.folders.root(), false);
            let soon = if self.cramped.load(Ordering::Relaxed) { 0 } else { dead };
            let short = keep.disk_keep_free.saturating_sub(sample.free.saturating_add(soon));
            goal.bytes = goal.bytes.max(short);
            let inodes = sample.inodes / 100 * u64::from(keep.inodes_keep_free);
            goal.files = inodes.saturating_sub(sample.free_inodes);
        }
        goal
    }

    /// Whether compaction should not wait its turn.
    pub(super) fn is_pressed(&self) -> bool {
        let keep_free = self.keep.lock().disk_keep_free;
        let index = self.index.lock();
        let free = self.space.sample(self.folders.root(), false).free;
        index.over(0) > 0 || (index.disk < u64::MAX && free < keep_free)
    }

    /// Evicts until the store is within its bounds. Says how many went.
    pub(super) fn evict(&self) -> u64 {
        /// So many at a time, so that nobody waits long for the locks.
        const BATCH: usize = 256;
        let mut evicted = 0;
        let mut goal = self.goal();
        while goal != Goal::default() {
            let victims = {
                let mut tail = self.tail.lock();
                let (victims, heads) = {
                    let mut index = self.index.lock();
                    let victims = index.victims(&mut goal, self.now(), BATCH);
                    let heads = victims.iter().map(|(id, slot)| slot.head(*id, index.next_tick())).collect();
                    (victims, heads)
                };
                tail.bury(&self.folders, &self.index, heads);
                victims
            };
            if victims.is_empty() {
                break;
            }
            evicted += victims.len() as u64;
            for (id, slot) in victims.iter().filter(|(_, slot)| slot.is(super::record::LARGE)) {
                super::file::unlink(&self.folders.file(*id, slot.generation));
            }
        }
        if evicted > 0 {
            self.space.sample(self.folders.root(), true);
            self.counts.evictions.add(evicted);
        }
        evicted
    }

    /// Evicts after a commit, if need be: behind, but at once when the bound is far behind already or nobody comes by.
    pub(super) async fn relieve(self: &Arc<Self>) {
        let (over, disk) = {
            let index = self.index.lock();
            (index.over(0), index.disk)
        };
        if over == 0 {
            return;
        }
        if self.settings.background && over <= disk / 16 {
            self.bell.ring();
            return;
        }
        let inner = Arc::clone(self);
        // A panic there has been reported; the next commit tries again.
        let _ = tokio::task::spawn_blocking(move || inner.evict()).await;
    }

    /// Removes files without a record and drafts of processes that are gone.
    pub(super) fn sweep(&self) {
        self.folders.sweep_drafts();
        let known =
            |id, generation| self.index.lock().peek(id).is_some_and(|slot| slot.generation == generation);
        for (path, id, generation) in self.folders.bodies() {
            if known(id, generation) {
                continue;
            }
            // A commit in progress has its file in place before its record; it holds the tail. A generation is never
            // given twice, so what is unknown after it will stay so.
            drop(self.tail.lock());
            if !known(id, generation) {
                super::file::unlink(&path);
            }
        }
    }
}

impl Drop for Inner {
    fn drop(&mut self) {
        self.bell.ring();
        if let Some(syncer) = &self.syncer {
            syncer.end();
        }
    }
}

// === impl Keep ===

impl Keep {
    fn of(role: Role, settings: &Settings) -> Self {
        Self {
            role,
            disk: match role {
                Role::Cache => settings.disk,
                Role::Outbox => u64::MAX,
            },
            disk_keep_free: settings.disk_keep_free,
            inodes_keep_free: settings.inodes_keep_free,
            quarantine: settings.quarantine,
        }
    }
}

// === impl Replayed ===

impl Replayed {
    fn new() -> Self {
        Self {
            ended: AtomicBool::new(false),
            lock: Mutex::new(()),
            wake: Condvar::new(),
            result: watch::channel(None).0,
        }
    }

    pub(super) fn end(&self, result: Result<()>) {
        self.result.send_replace(Some(result));
        let _locked = self.lock.lock();
        self.ended.store(true, Ordering::Release);
        self.wake.notify_all();
    }

    /// Blocks until replay has ended, well or not.
    pub(super) fn wait(&self) {
        if !self.ended.load(Ordering::Acquire) {
            let mut locked = self.lock.lock();
            while !self.ended.load(Ordering::Acquire) {
                self.wake.wait(&mut locked);
            }
        }
    }

    /// Waits until replay has ended.
    pub(super) async fn ready(&self) -> Result<()> {
        if self.ended.load(Ordering::Acquire) && matches!(*self.result.borrow(), Some(Ok(()))) {
            return Ok(());
        }
        let mut result = self.result.subscribe();
        let ended = result.wait_for(Option::is_some).await;
        match ended.as_deref() {
            Ok(Some(result)) => result.clone(),
            Ok(None) | Err(_) => Ok(()),
        }
    }
}
