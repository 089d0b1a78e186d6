//! The store engine (skeleton: signatures are final, bodies are not there yet).

use std::ops::Range;
use std::path::Path;
use std::sync::Arc;
use std::sync::atomic::{AtomicU64, Ordering};
use std::time::Duration;

use bytes::Bytes;

use crate::body::Body;
use crate::entry::Meta;
use crate::error::Result;
use crate::key::EntryId;
use crate::links::Links;

/// What the engine is used for.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Role {
    /// Bounded by `disk`, evicts the least recently used.
    Cache,
    /// Bounded by its caller, never evicts.
    Outbox,
}

/// The engine's numbers.
#[derive(Debug, Clone)]
pub struct Settings {
    /// `disk`: bytes of the cache at most (ignored by an outbox).
    pub disk: u64,
    /// `disk_keep_free`: with less free bytes, the cache evicts.
    pub disk_keep_free: u64,
    /// `inodes_keep_free`: percent.
    pub inodes_keep_free: u8,
    /// `disk_floor`: with less free bytes nothing more is written.
    pub disk_floor: u64,
    /// Sync before acknowledging (`durability = "power"`).
    pub sync: bool,
    /// Bodies up to this go into the log.
    pub inline_max: u64,
    /// A segment is sealed at this size.
    pub segment_bytes: u64,
    /// How long what an answered action result named goes last.
    pub protect: Duration,
    /// Compaction copies at most this much a second, unless the cache is over its bound.
    pub compact_bytes_per_s: u64,
    /// Whether touches, eviction, compaction and sweeps run by themselves. Tests switch it off and call
    /// [`Store::flush_touches`], [`Store::evict_once`], [`Store::compact_once`] and [`Store::sweep_once`].
    pub background: bool,
}

impl Default for Settings {
    fn default() -> Self {
        Self {
            disk: 10 << 30,
            disk_keep_free: 5 << 30,
            inodes_keep_free: 2,
            disk_floor: 256 << 20,
            sync: false,
            inline_max: 64 << 10,
            segment_bytes: 80 << 20,
            protect: Duration::from_secs(600),
            compact_bytes_per_s: 64 << 20,
            background: true,
        }
    }
}

/// A change number. Every commit takes the next one; shared by the two stores of a daemon.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash, PartialOrd, Ord, Default)]
pub struct Generation(pub u64);

/// The counter of generations of a daemon.
#[derive(Debug, Clone, Default)]
pub struct Generations(Arc<AtomicU64>);

impl Generations {
    /// The next one, never given before.
    pub fn next(&self) -> Generation {
        Generation(self.0.fetch_add(1, Ordering::Relaxed) + 1)
    }

    /// The last one given.
    pub fn current(&self) -> Generation {
        Generation(self.0.load(Ordering::Relaxed))
    }
}

/// Which upstream a queue row is for: a stable 64-bit name of it.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash, PartialOrd, Ord)]
pub struct QueueTag(pub u64);

/// What a put row says besides the bytes.
#[derive(Debug, Clone)]
pub struct Record {
    /// The index key.
    pub id: EntryId,
    /// The canonical key, compared on read.
    pub key: Arc<[u8]>,
    /// Length, digest, ETag, attributes.
    pub meta: Meta,
    /// What it names; `None` for spaces without links.
    pub links: Option<Links>,
    /// Queued for this upstream under this object name.
    pub queue: Option<(QueueTag, Arc<str>)>,
}

/// On what condition a commit is published.
#[derive(Debug, Clone, Copy)]
pub enum Guard<'a> {
    /// Always: a PUT.
    Always,
    /// Only if its key had no commit, delete or supersede since the ticket was taken: a fill.
    Unchanged(&'a Ticket),
}

/// Taken when a fill begins; see [`Guard::Unchanged`].
#[derive(Debug)]
pub struct Ticket {
    _private: (),
}

/// An entry that was found.
#[derive(Debug, Clone)]
pub struct Stored {
    /// Its record.
    pub record: Arc<Record>,
    /// When it was committed.
    pub generation: Generation,
    /// A queued delete: the entry is absent here and is to be deleted upstream.
    pub deleted: bool,
}

/// A row of the queue.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Queued {
    /// Which entry.
    pub id: EntryId,
    /// Which commit of it.
    pub generation: Generation,
    /// For whom.
    pub tag: QueueTag,
    /// Bytes of the body.
    pub bytes: u64,
}

/// Whether there is room to write.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Room {
    /// There is.
    Ok,
    /// Less than `disk_floor` is free: nothing more is written.
    Floor,
}

/// What a store holds and did.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub struct Usage {
    /// Entries that a look-up finds (queued deletes included).
    pub entries: u64,
    /// What entries are charged against `disk`.
    pub bytes: u64,
    /// Bytes of bodies.
    pub live_bytes: u64,
    /// Bytes that drafts have reserved.
    pub draft_bytes: u64,
    /// Files of the log.
    pub segments: u64,
    /// Bytes of the log.
    pub log_bytes: u64,
    /// Bytes of the log that compaction could free.
    pub dead_bytes: u64,
    /// Free bytes of the filesystem, when last looked at.
    pub free_bytes: u64,
    /// Rows of the queue.
    pub queue_rows: u64,
    /// Entries evicted since start.
    pub evictions: u64,
    /// Entries found damaged since start.
    pub corrupt: u64,
    /// Entries lying in quarantine.
    pub quarantined: u64,
    /// Log segments compacted or deleted since start.
    pub compactions: u64,
}

/// One engine over one folder.
#[derive(Debug, Clone)]
pub struct Store {
    _private: (),
}

/// A body that is being written; dropped, it never happened.
#[derive(Debug)]
pub struct Draft {
    _private: (),
}

/// Reads what a draft has flushed; stays valid after publish, rename and unlink.
#[derive(Debug, Clone)]
pub struct Tail {
    _private: (),
}

// The lint is off while the bodies are missing.
#[expect(clippy::unused_async, unused_variables, reason = "skeleton")]
mod skeleton {
    use super::*;

    impl Stored {
        /// Bytes of the body.
        pub fn len(&self) -> u64 {
            self.record.meta.len
        }

        /// Whether the body has no bytes.
        pub fn is_empty(&self) -> bool {
            self.len() == 0
        }

        /// The body, if it lies in the log and so is here already.
        pub fn inline(&self) -> Option<&Bytes> {
            unimplemented!()
        }
    }

    impl Store {
        /// Opens a folder and starts replay on a thread of its own; look-ups wait for its end.
        ///
        /// # Errors
        /// The folder can't be made or read.
        pub fn open(dir: &Path, role: Role, settings: Settings, generations: Generations) -> Result<Self> {
            unimplemented!()
        }

        /// Waits for the end of replay.
        ///
        /// # Errors
        /// Replay could not read the folder.
        pub async fn ready(&self) -> Result<()> {
            unimplemented!()
        }

        /// The generation of an entry that is here and not a queued delete. No I/O, no touch.
        pub fn contains(&self, id: EntryId) -> Option<Generation> {
            unimplemented!()
        }

        /// Like [`Store::contains`], but also for queued deletes.
        pub fn generation(&self, id: EntryId) -> Option<Generation> {
            unimplemented!()
        }

        /// Looks an entry up, reads and checks its record, touches it.
        ///
        /// # Errors
        /// The disk can't be read. Damage is `Ok(None)`.
        pub async fn get(&self, id: EntryId, key: &[u8]) -> Result<Option<Stored>> {
            unimplemented!()
        }

        /// Like [`Store::get`] for callers that know the id only: an uploader, a listing. Not a use of it.
        ///
        /// # Errors
        /// The disk can't be read. Damage is `Ok(None)`.
        pub async fn get_by_id(&self, id: EntryId) -> Result<Option<Stored>> {
            let _ = id;
            unimplemented!()
        }

        /// The bytes of an entry.
        ///
        /// # Errors
        /// `Invalid` when `range` passes the end.
        pub fn body(&self, stored: &Stored, range: Range<u64>) -> Result<Body> {
            unimplemented!()
        }

        /// Commits a small entry; `None` when the guard refused.
        ///
        /// # Errors
        /// `NoSpace`, `TooLarge` over `inline_max`, or the disk's.
        pub async fn put(&self, record: Record, body: Bytes, guard: Guard<'_>) -> Result<Option<Generation>> {
            unimplemented!()
        }

        /// Begins a large body.
        ///
        /// # Errors
        /// `NoSpace` below `disk_floor`, or when `len` can't be made room for.
        pub async fn draft(&self, len: Option<u64>) -> Result<Draft> {
            unimplemented!()
        }

        /// Commits a queued delete.
        ///
        /// # Errors
        /// The disk's.
        pub async fn put_deleted(&self, record: Record) -> Result<Generation> {
            unimplemented!()
        }

        /// Queues an entry that is here for a further upstream; `false` when that generation is not here any more.
        ///
        /// # Errors
        /// The disk's.
        pub async fn queue(
            &self,
            id: EntryId,
            generation: Generation,
            tag: QueueTag,
            object: &str,
        ) -> Result<bool> {
            unimplemented!()
        }

        /// A row of the queue has ended; `false` when there was none.
        ///
        /// # Errors
        /// The disk's.
        pub async fn done(&self, id: EntryId, generation: Generation, tag: QueueTag) -> Result<bool> {
            unimplemented!()
        }

        /// The object name of a row of the queue; `None` when it has ended.
        ///
        /// # Errors
        /// The disk's.
        pub async fn object(
            &self,
            id: EntryId,
            generation: Generation,
            tag: QueueTag,
        ) -> Result<Option<Arc<str>>> {
            unimplemented!()
        }

        /// Removes an entry; with `only`, not if it is of another generation.
        ///
        /// # Errors
        /// The disk's.
        pub async fn remove(&self, id: EntryId, only: Option<Generation>) -> Result<bool> {
            unimplemented!()
        }

        /// A newer commit exists elsewhere: drops ours if it is older, and ends the tickets of `id`.
        pub fn supersede(&self, id: EntryId, generation: Generation) {
            unimplemented!()
        }

        /// Takes note of the state of `id`; see [`Guard::Unchanged`].
        pub fn begin(&self, id: EntryId) -> Ticket {
            unimplemented!()
        }

        /// Moves an entry of `from` here, generation kept, and removes it there. `None`: this store has a newer one,
        /// and nothing was moved.
        ///
        /// # Errors
        /// `NoSpace`, or the disk's; the entry is still in `from`.
        pub async fn adopt(
            &self,
            from: &Store,
            stored: &Stored,
            record: Record,
        ) -> Result<Option<Generation>> {
            unimplemented!()
        }

        /// All rows of the queue, by generation.
        pub fn queued(&self) -> Vec<Queued> {
            unimplemented!()
        }

        /// Marks entries as just used.
        pub fn touch(&self, ids: &[EntryId]) {
            unimplemented!()
        }

        /// Entries that go last for a while.
        pub fn protect(&self, ids: &[EntryId]) {
            unimplemented!()
        }

        /// What the store holds and did.
        pub fn usage(&self) -> Usage {
            unimplemented!()
        }

        /// Whether there is room to write.
        pub fn room(&self) -> Room {
            unimplemented!()
        }

        /// Ends: touches are written and the log is sealed, so that the next start is quick.
        pub async fn close(&self) {
            unimplemented!()
        }

        /// Writes the recency of entries touched since the last time.
        pub fn flush_touches(&self) {
            unimplemented!()
        }

        /// Evicts until the store is within its bounds; says how many went.
        pub fn evict_once(&self) -> u64 {
            unimplemented!()
        }

        /// Compacts or deletes one segment that is worth it; `false` when there is none.
        pub fn compact_once(&self) -> bool {
            unimplemented!()
        }

        /// Removes files without a record and drafts of processes that are gone.
        pub fn sweep_once(&self) {
            unimplemented!()
        }
    }

    impl Draft {
        /// Takes the next bytes.
        ///
        /// # Errors
        /// `NoSpace`, or the disk's.
        pub async fn write(&mut self, bytes: Bytes) -> Result<()> {
            unimplemented!()
        }

        /// All bytes taken are readable by tails when this returns.
        ///
        /// # Errors
        /// `NoSpace`, or the disk's.
        pub async fn flush(&mut self) -> Result<()> {
            unimplemented!()
        }

        /// Bytes taken.
        pub fn written(&self) -> u64 {
            unimplemented!()
        }

        /// The announced length.
        pub fn len_hint(&self) -> Option<u64> {
            unimplemented!()
        }

        /// A reader of what is flushed.
        pub fn tail(&self) -> Tail {
            unimplemented!()
        }

        /// Makes the draft an entry; `None` when the guard refused. `record.meta.len` must be what was written.
        ///
        /// # Errors
        /// `Mismatch` for another length, `NoSpace`, or the disk's.
        pub async fn publish(self, record: Record, guard: Guard<'_>) -> Result<Option<Generation>> {
            unimplemented!()
        }
    }

    impl Tail {
        /// Up to `max` flushed bytes from `offset` on; empty where nothing is flushed yet.
        ///
        /// # Errors
        /// The disk's.
        pub async fn read_at(&self, offset: u64, max: usize) -> Result<Bytes> {
            unimplemented!()
        }
    }
}
