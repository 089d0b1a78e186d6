//! The store engine: a log of records, plain files for large bodies, an index in memory. Used twice, as cache and as
//! outbox.
//!
//! # What it promises
//! - A commit is one append: when the call returns the entry is visible and survives `kill -9`; with `sync`, the loss
//!   of power. A draft that is dropped, a write that fails, a kill in between: nothing of it is seen.
//! - Every byte it hands out has been checked against a checksum first. What is damaged is set aside and is a miss.
//! - The newest commit of a key is the one that is found; a fill that was overtaken by a commit, a delete or a
//!   `supersede` is refused.
//! - A cache stays within its bounds: the least recently used go, exactly, across restarts too (a kill forgets the
//!   last ten seconds of uses). The log is compacted behind.
//! - The folder may be deleted while it runs: what was in it is gone, and it is made again.
//!
//! # What it leaves to others
//! Digests (its checksums find damage, not lies), the lock on the folder and its `VERSION`, and what belongs in the
//! queue. It never asks the network.
//!
//! # Where to look
//! `record`, `parse`, `segment` and `footer` are the format; `log` appends, `recover` replays, `compact` rewrites; `index`, `order`,
//! `evict` and `ledger` are what is known in memory; `commit` changes it, `read`, `blocks` and `scan` answer, `draft` takes
//! large bodies in; `uses` notes what is used; `tend` is the thread that keeps it in shape.

mod adopt;
mod blocks;
mod commit;
mod compact;
mod disk;
mod draft;
mod evict;
mod file;
mod footer;
mod index;
mod inner;
mod ledger;
mod log;
mod order;
mod parse;
mod quarantine;
mod read;
mod record;
mod recover;
mod scan;
mod segment;
mod space;
mod sync;
mod tend;
mod types;
mod uses;

use std::ops::Range;
use std::path::Path;
use std::sync::Arc;
use std::sync::atomic::Ordering;

use bytes::Bytes;

use crate::body::Body;
use crate::entry::Meta;
use crate::error::{Error, Kind, Result};
use crate::key::EntryId;

use self::commit::{Commit, Content};
use self::inner::Inner;
pub use self::quarantine::Quarantine;
pub use self::scan::Seen;
use self::types::Found;
pub use self::types::{
    Generation, Generations, Guard, QueueTag, Queued, Record, Role, Room, Settings, Stored, Usage,
};

/// Taken when a fill begins; see [`Guard::Unchanged`]. It is for one id of one store, and ends when dropped.
#[derive(Debug)]
pub struct Ticket {
    inner: Arc<Inner>,
    id: EntryId,
    state: u64,
}

/// One engine over one folder. A handle; cheap to clone.
#[derive(Debug, Clone)]
pub struct Store(Arc<Inner>);

/// A body that is being written; dropped, it never happened.
#[derive(Debug)]
pub struct Draft(draft::Writing);

/// Reads what a draft has flushed; stays valid after publish, rename and unlink.
#[derive(Debug, Clone)]
pub struct Tail(Arc<draft::Readable>);

// === impl Store: look ===

impl Store {
    /// Opens a folder and starts replay on a thread of its own; look-ups wait for its end.
    ///
    /// # Errors
    /// The folder can't be made or read.
    pub fn open(dir: &Path, role: Role, settings: Settings, generations: Generations) -> Result<Self> {
        Inner::open(dir, role, settings, generations).map(Self)
    }

    /// Waits for the end of replay.
    ///
    /// # Errors
    /// Replay could not read the folder.
    pub async fn ready(&self) -> Result<()> {
        self.0.replayed.ready().await
    }

    /// The generation of an entry that is here and not a queued delete. No I/O, no touch; blocks while replay runs.
    pub fn contains(&self, id: EntryId) -> Option<Generation> {
        self.0.replayed.wait();
        let index = self.0.index.lock();
        index.peek(id).filter(|slot| !slot.is(record::DELETED)).map(|slot| slot.generation)
    }

    /// Like [`Store::contains`], but also for queued deletes.
    pub fn generation(&self, id: EntryId) -> Option<Generation> {
        self.0.replayed.wait();
        self.0.index.lock().peek(id).map(|slot| slot.generation)
    }

    /// Looks an entry up, reads and checks its record, touches it. A queued delete is found too, and says so.
    ///
    /// # Errors
    /// The disk can't be read. Damage is `Ok(None)`, as is another key with the same id.
    pub async fn get(&self, id: EntryId, key: &[u8]) -> Result<Option<Stored>> {
        self.ready().await?;
        self.0.get(id, Some(key)).await
    }

    /// Like [`Store::get`] for those who know the id only: an uploader, a listing. Not a use of the entry.
    ///
    /// # Errors
    /// The disk can't be read. Damage is `Ok(None)`.
    pub async fn get_by_id(&self, id: EntryId) -> Result<Option<Stored>> {
        self.ready().await?;
        self.0.get(id, None).await
    }

    /// The bytes of an entry. A large body is read as it is polled; a damaged block ends it in `Corrupt`.
    ///
    /// # Errors
    /// `Invalid` when `range` passes the end.
    pub fn body(&self, stored: &Stored, range: Range<u64>) -> Result<Body> {
        let len = stored.len();
        if range.start > range.end || range.end > len {
            return Err(Error::invalid(format!("bytes {range:?} of a body of {len}")));
        }
        Ok(match &stored.found {
            Found::Nothing => Body::empty(),
            Found::Inline(bytes) => Body::bytes(bytes.slice(range.start as usize..range.end as usize)),
            Found::File(file, crcs) => {
                let blocks = blocks::Blocks {
                    inner: Arc::clone(&self.0),
                    id: stored.record.id,
                    generation: stored.generation,
                    file: Arc::clone(file),
                    crcs: Arc::clone(crcs),
                    len,
                    range: range.clone(),
                };
                Body::stream(range.end - range.start, blocks.stream())
            }
        })
    }

    /// All rows of the queue, by generation. Blocks while replay runs.
    pub fn queued(&self) -> Vec<Queued> {
        self.0.replayed.wait();
        self.0.index.lock().queued()
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
        self.ready().await?;
        self.0.object(id, generation, tag).await
    }

    /// What the store holds and did. While replay runs, what is known so far.
    pub fn usage(&self) -> Usage {
        let inner = &self.0;
        let sample = inner.space.sample(inner.folders.root(), false);
        let index = inner.index.lock();
        let (segments, log_bytes, dead_bytes) = index.segments.totals();
        Usage {
            entries: index.len() as u64,
            bytes: index.charged,
            bound_bytes: index.disk,
            live_bytes: index.body_bytes,
            draft_bytes: index.reserved,
            segments,
            log_bytes,
            dead_bytes,
            free_bytes: sample.free,
            free_inodes: sample.free_inodes,
            inodes: sample.inodes,
            keep_free_bytes: inner.settings.disk_keep_free,
            keep_free_inodes: sample.inodes / 100 * u64::from(inner.settings.inodes_keep_free),
            queue_rows: index.queue_rows,
            evictions: inner.counts.evictions.read(),
            corrupt: inner.counts.corrupt.read(),
            quarantined: inner.counts.quarantined.load(Ordering::Relaxed),
            compactions: inner.counts.compactions.read(),
        }
    }

    /// Whether there is room to write. Asks the filesystem at most once a second, or every 16 MiB.
    pub fn room(&self) -> Room {
        self.0.space.room(self.0.folders.root())
    }
}

// === impl Store: change ===

impl Store {
    /// Commits a small entry; `None` when the guard refused.
    ///
    /// # Errors
    /// `NoSpace`, `TooLarge` over `inline_max`, `Mismatch` when `record.meta.len` is not the body's, or the disk's.
    pub async fn put(&self, record: Record, body: Bytes, guard: Guard<'_>) -> Result<Option<Generation>> {
        self.ready().await?;
        let content = Content::Small(body);
        let commit = Commit { record, content, unchanged: guard.state(), generation: None };
        let committed = self.0.commit(commit)?;
        self.0.synced().await?;
        self.0.relieve().await;
        Ok(committed)
    }

    /// Commits a queued delete: the entry is absent here, and is to be deleted upstream.
    ///
    /// # Errors
    /// The disk's.
    pub async fn put_deleted(&self, record: Record) -> Result<Generation> {
        self.ready().await?;
        let record = Record { meta: Meta { len: 0, ..record.meta }, ..record };
        let commit = Commit { record, content: Content::Deleted, unchanged: None, generation: None };
        let committed = self.0.commit(commit)?;
        self.0.synced().await?;
        self.0.relieve().await;
        committed.ok_or_else(|| Error::new(Kind::Internal, "an unconditional commit was refused"))
    }

    /// Begins a large body.
    ///
    /// # Errors
    /// `NoSpace` below `disk_floor`, or when `len` can't be made room for.
    pub async fn draft(&self, len: Option<u64>) -> Result<Draft> {
        self.ready().await?;
        Draft::begin(&self.0, len).await
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
        self.ready().await?;
        let queued = self.0.queue(id, generation, tag, object)?;
        self.0.synced().await?;
        Ok(queued)
    }

    /// A row of the queue has ended; `false` when there was none.
    ///
    /// # Errors
    /// The disk's.
    pub async fn done(&self, id: EntryId, generation: Generation, tag: QueueTag) -> Result<bool> {
        self.ready().await?;
        let done = self.0.done(id, generation, tag)?;
        self.0.synced().await?;
        Ok(done)
    }

    /// Removes an entry and its rows of the queue; with `only`, not if it is of another generation.
    ///
    /// # Errors
    /// The disk's.
    pub async fn remove(&self, id: EntryId, only: Option<Generation>) -> Result<bool> {
        self.ready().await?;
        let removed = self.0.remove(id, only)?;
        self.0.synced().await?;
        Ok(removed)
    }

    /// A newer commit exists elsewhere: drops ours if it is older, and ends the tickets of `id`. Blocks while replay
    /// runs.
    pub fn supersede(&self, id: EntryId, generation: Generation) {
        self.0.replayed.wait();
        self.0.supersede(id, generation);
    }

    /// Takes note of the state of `id`; see [`Guard::Unchanged`].
    pub fn begin(&self, id: EntryId) -> Ticket {
        let state = self.0.index.lock().tickets.begin(id);
        Ticket { inner: Arc::clone(&self.0), id, state }
    }

    /// Moves an entry of `from` here, generation kept, and removes it and its rows of the queue there. `None`: this
    /// store has a newer one, or the guard refused, and nothing was moved.
    ///
    /// # Errors
    /// `NoSpace`, or the disk's; the entry is still in `from`.
    pub async fn adopt(
        &self,
        from: &Self,
        stored: &Stored,
        record: Record,
        guard: Guard<'_>,
    ) -> Result<Option<Generation>> {
        self.ready().await?;
        self.adopt_from(from, stored, record, guard.state()).await
    }
}

// === impl Store: keep in shape ===

impl Store {
    /// Ends: touches are written and the log is sealed, so that the next start is quick. Writes fail from then on.
    pub async fn close(&self) {
        if self.ready().await.is_err() {
            return;
        }
        let inner = Arc::clone(&self.0);
        let closed = tokio::task::spawn_blocking(move || {
            inner.flush_touches();
            inner.graves.fill();
            let mut tail = inner.tail.lock();
            if let Err(error) = tail.seal(&inner.index) {
                tracing::warn!(%error, "the log is not sealed; the next start reads more of it");
            }
            tail.close();
            inner.bell.ring();
        });
        // A panic there has been reported, and a store that isn't closed well is replayed all the same.
        let _ = closed.await;
        let _ = self.0.synced().await;
    }

    /// Other bounds from now on: `disk`, `disk_keep_free`, `inodes_keep_free`, `disk_floor`, `segment_bytes` and those of
    /// the quarantine; all else is as it was opened. What is over them goes behind.
    pub fn apply(&self, settings: &Settings) {
        self.0.bound(settings);
    }

    /// Writes the recency of entries used since the last time. See [`Settings::background`].
    pub fn flush_touches(&self) {
        self.0.replayed.wait();
        self.0.flush_touches();
    }

    /// Evicts until the store is within its bounds; says how many went. See [`Settings::background`].
    pub fn evict_once(&self) -> u64 {
        self.0.replayed.wait();
        self.0.evict()
    }

    /// Compacts or deletes one segment that is worth it; `false` when there is none. See [`Settings::background`].
    pub fn compact_once(&self) -> bool {
        self.0.replayed.wait();
        self.0.compact(false).is_some()
    }

    /// Removes files without a record and drafts of processes that are gone. See [`Settings::background`].
    pub fn sweep_once(&self) {
        self.0.replayed.wait();
        self.0.sweep();
    }
}

// === impl Ticket ===

impl Drop for Ticket {
    fn drop(&mut self) {
        self.inner.index.lock().tickets.end(self.id);
    }
}

#[cfg(test)]
mod tests;
