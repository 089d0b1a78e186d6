//! Large bodies on their way in.
//!
//! Bytes are gathered to 1 MiB and written on the disk pool, one write at a time while the next is gathered. Gathered
//! bytes of all drafts are at most 32 MiB; with more drafts than that allows, the rest write each piece as it comes
//! (nobody waits for buffers that somebody else's slow client holds).
//!
//! A draft reserves its length, so that the bound `disk` holds while it grows, and gives back what it did not use. One
//! without a length reserves as it grows. Dropped, it never happened.

mod rest;

use std::fs::File;
use std::path::PathBuf;
use std::sync::atomic::{AtomicBool, AtomicU64, Ordering};
use std::sync::{Arc, OnceLock};

use bytes::Bytes;
use crc_fast::{CrcAlgorithm, Digest as Crc};
use tokio::sync::OwnedSemaphorePermit;
use tokio::task::JoinHandle;

use super::commit::{Commit, Content};
use super::inner::Inner;
use super::record::BLOCK_LEN;
use super::{Draft, Generation, Guard, Record, Room, Tail, disk};
use crate::error::{Error, Kind, Result};

/// A write is of this size.
const GATHER_LEN: usize = 1 << 20;
/// Or of so many pieces: how many clients send tiny ones must not grow the list.
const GATHER_PIECES: usize = 256;
/// A draft without a length reserves in steps of this size (of a small cache, 1/64).
const RESERVE_STEP: u64 = 16 << 20;

/// The state of a draft.
#[derive(Debug)]
pub(super) struct Writing {
    inner: Arc<Inner>,
    tmp: Arc<Tmp>,
    readable: Arc<Readable>,
    len: Option<u64>,
    reserved: u64,
    taken: u64,
    gathered: Gathered,
    sent: u64,
    crcs: Blocks,
    job: Option<JoinHandle<Result<()>>>,
    failed: Option<Error>,
}

/// The file while it is a draft: unlinked when the draft and its writes are over, if it is still there.
#[derive(Debug)]
struct Tmp {
    path: PathBuf,
    made: AtomicBool,
    installed: AtomicBool,
}

/// What tails read.
#[derive(Debug)]
pub(super) struct Readable {
    inner: Arc<Inner>,
    file: Arc<DraftFile>,
    flushed: AtomicU64,
}

/// Made by the first write.
#[derive(Debug, Default)]
struct DraftFile(OnceLock<File>);

#[derive(Debug, Default)]
struct Gathered {
    pieces: Vec<Bytes>,
    len: usize,
    permit: Option<OwnedSemaphorePermit>,
}

/// The checksums of the blocks so far.
#[derive(Debug, Clone)]
struct Blocks {
    done: Vec<u32>,
    current: Crc,
    filled: u64,
}

// === impl Draft ===

impl Draft {
    pub(super) async fn begin(inner: &Arc<Inner>, len: Option<u64>) -> Result<Self> {
        let writing = Writing {
            tmp: Arc::new(Tmp {
                path: inner.folders.draft(),
                made: AtomicBool::new(false),
                installed: AtomicBool::new(false),
            }),
            readable: Arc::new(Readable {
                inner: Arc::clone(inner),
                file: Arc::default(),
                flushed: AtomicU64::new(0),
            }),
            inner: Arc::clone(inner),
            len,
            reserved: 0,
            taken: 0,
            gathered: Gathered::default(),
            sent: 0,
            crcs: Blocks::default(),
            job: None,
            failed: None,
        };
        let mut draft = Self(writing);
        draft.0.reserve(len.unwrap_or(0)).await?;
        Ok(draft)
    }

    /// Takes the next bytes.
    ///
    /// # Errors
    /// `NoSpace`, or the disk's. A draft that has failed once goes on failing.
    pub async fn write(&mut self, bytes: Bytes) -> Result<()> {
        self.0.write(bytes).await
    }

    /// All bytes taken are readable by tails when this returns.
    ///
    /// # Errors
    /// `NoSpace`, or the disk's.
    pub async fn flush(&mut self) -> Result<()> {
        self.0.dispatch().await?;
        self.0.settle().await
    }

    /// Bytes taken.
    pub fn written(&self) -> u64 {
        self.0.taken
    }

    /// The announced length.
    pub fn len_hint(&self) -> Option<u64> {
        self.0.len
    }

    /// A reader of what is flushed.
    pub fn tail(&self) -> Tail {
        Tail(Arc::clone(&self.0.readable))
    }

    /// Makes the draft an entry; `None` when the guard refused. `record.meta.len` must be what was written. Visible
    /// and durable when it returns; a caller that stops waiting doesn't stop it.
    ///
    /// # Errors
    /// `Mismatch` for another length, `NoSpace`, or the disk's.
    pub async fn publish(self, record: Record, guard: Guard<'_>) -> Result<Option<Generation>> {
        self.commit(record, guard.state(), None).await
    }

    /// The same with a generation that the entry has already.
    pub(super) async fn commit(
        self,
        record: Record,
        unchanged: Option<u64>,
        generation: Option<Generation>,
    ) -> Result<Option<Generation>> {
        let mut writing = self.0;
        if record.meta.len != writing.taken {
            let message =
                format!("a body of {} bytes where {} were announced", writing.taken, record.meta.len);
            return Err(Error::new(Kind::Mismatch, message));
        }
        writing.settle().await?;
        let inner = Arc::clone(&writing.inner);
        let committed = tokio::task::spawn_blocking(move || {
            let gathered = std::mem::take(&mut writing.gathered);
            writing.job_of(gathered)()?;
            if let (true, Some(file)) = (writing.inner.settings.sync, writing.readable.file.0.get()) {
                file.sync_data().map_err(|error| Error::io("sync", &writing.tmp.path, error))?;
            }
            let crcs = std::mem::take(&mut writing.crcs).finish();
            let content = Content::Large(writing.tmp.path.clone(), crcs);
            let commit = Commit { record, content, unchanged, generation };
            let committed = writing.inner.commit(commit);
            writing.tmp.installed.store(matches!(committed, Ok(Some(_))), Ordering::Relaxed);
            committed
        });
        let committed = joined(committed.await)?;
        inner.synced().await?;
        inner.relieve().await;
        Ok(committed)
    }
}

// === impl Tail ===

impl Tail {
    /// Up to `max` flushed bytes from `offset` on; empty where nothing is flushed yet.
    ///
    /// # Errors
    /// The disk's.
    pub async fn read_at(&self, offset: u64, max: usize) -> Result<Bytes> {
        let Readable { inner, file, flushed } = &*self.0;
        let len = flushed.load(Ordering::Acquire).saturating_sub(offset).min(max as u64).min(BLOCK_LEN);
        if len == 0 {
            return Ok(Bytes::new());
        }
        let mut buffer = inner.pool.take();
        buffer.truncate(len as usize);
        let read = inner.mode.read(file, buffer, offset).await;
        let (mut buffer, len, _) =
            read.map_err(|error| Error::io("read a draft in", inner.folders.root(), error))?;
        buffer.truncate(len);
        Ok(Bytes::from_owner(buffer))
    }
}

// === impl Writing ===

impl Writing {
    async fn write(&mut self, bytes: Bytes) -> Result<()> {
        self.check()?;
        if bytes.is_empty() {
            return Ok(());
        }
        self.taken += bytes.len() as u64;
        if self.taken > self.reserved {
            let step = RESERVE_STEP.min(self.inner.keep.lock().disk / 64);
            self.reserve((self.taken - self.reserved).max(step)).await?;
        }
        self.crcs.update(&bytes);
        let gathered = &mut self.gathered;
        if gathered.permit.is_none() {
            gathered.permit = Arc::clone(&self.inner.draft_buffers).try_acquire_owned().ok();
        }
        gathered.len += bytes.len();
        gathered.pieces.push(bytes);
        if gathered.permit.is_none() || gathered.len >= GATHER_LEN || gathered.pieces.len() >= GATHER_PIECES {
            self.dispatch().await?;
        }
        Ok(())
    }

    /// Reserves more, and evicts for it.
    async fn reserve(&mut self, more: u64) -> Result<()> {
        let inner = Arc::clone(&self.inner);
        if inner.space.room(inner.folders.root()) == Room::Floor {
            return Err(inner.space.floor());
        }
        if more > inner.index.lock().disk {
            return Err(Error::new(
                Kind::NoSpace,
                format!("{more} bytes are more than the whole disk bound"),
            ));
        }
        let over = {
            let mut index = inner.index.lock();
            index.reserved += more;
            index.over(0)
        };
        self.reserved += more;
        if over > 0 {
            joined(tokio::task::spawn_blocking(move || Ok(inner.evict())).await)?;
            if self.inner.index.lock().over(0) > 0 {
                return Err(Error::new(
                    Kind::NoSpace,
                    "the disk bound is taken up by bodies on their way in",
                ));
            }
        }
        Ok(())
    }

    /// Sends what is gathered to the disk pool, after the write before.
    async fn dispatch(&mut self) -> Result<()> {
        self.settle().await?;
        if self.gathered.pieces.is_empty() {
            return Ok(());
        }
        let gathered = std::mem::take(&mut self.gathered);
        self.job = Some(tokio::task::spawn_blocking(self.job_of(gathered)));
        Ok(())
    }

    /// Waits for the write that is running.
    async fn settle(&mut self) -> Result<()> {
        self.check()?;
        if let Some(job) = &mut self.job {
            let done = joined(job.await);
            self.job = None;
            self.failed = done.err();
        }
        self.check()
    }

    fn check(&self) -> Result<()> {
        self.failed.clone().map_or(Ok(()), Err)
    }

    /// The write of what was gathered; also makes the file, if this is the first.
    fn job_of(&mut self, gathered: Gathered) -> impl FnOnce() -> Result<()> + Send + 'static {
        let (inner, tmp, readable) =
            (Arc::clone(&self.inner), Arc::clone(&self.tmp), Arc::clone(&self.readable));
        let offset = self.sent;
        self.sent += gathered.len as u64;
        move || {
            let file = match readable.file.0.get() {
                Some(file) => file,
                None => {
                    let made = tmp.make(&inner)?;
                    readable.file.0.get_or_init(|| made)
                }
            };
            let pieces: Vec<&[u8]> = gathered.pieces.iter().map(|piece| &piece[..]).collect();
            disk::write_all(file, &pieces, offset)
                .map_err(|error| Error::io("write to", &tmp.path, error))?;
            inner.space.wrote(gathered.len as u64);
            readable.flushed.store(offset + gathered.len as u64, Ordering::Release);
            Ok(())
        }
    }
}

impl Drop for Writing {
    fn drop(&mut self) {
        self.inner.index.lock().reserved -= self.reserved;
    }
}

// === impl Tmp ===

impl Tmp {
    fn make(&self, inner: &Inner) -> Result<File> {
        if self.made.swap(true, Ordering::Relaxed) {
            return Self::open(&self.path);
        }
        disk::create(&self.path).or_else(|_| {
            // Somebody has deleted the folder.
            inner.folders.make()?;
            if let Some(folder) = self.path.parent() {
                disk::create_folder(folder)?;
            }
            disk::create(&self.path)
        })
    }
}

impl Drop for Tmp {
    fn drop(&mut self) {
        if *self.made.get_mut() && !*self.installed.get_mut() {
            super::file::unlink(&self.path);
        }
    }
}

impl AsRef<File> for DraftFile {
    fn as_ref(&self) -> &File {
        self.0.get().expect("bytes were flushed, so the file is there")
    }
}

// === impl Blocks ===

impl Default for Blocks {
    fn default() -> Self {
        Self { done: Vec::new(), current: Crc::new(CrcAlgorithm::Crc32Iscsi), filled: 0 }
    }
}

impl Blocks {
    fn update(&mut self, mut bytes: &[u8]) {
        while !bytes.is_empty() {
            let room = (BLOCK_LEN - self.filled) as usize;
            let (now, later) = bytes.split_at(room.min(bytes.len()));
            self.current.update(now);
            self.filled += now.len() as u64;
            bytes = later;
            if self.filled == BLOCK_LEN {
                self.end_block();
            }
        }
    }

    fn end_block(&mut self) {
        self.done.push(self.current.finalize_reset() as u32);
        self.filled = 0;
    }

    fn finish(mut self) -> Vec<u32> {
        if self.filled > 0 {
            self.end_block();
        }
        self.done
    }
}

// === helpers ===

/// The result of work on the disk pool.
pub(super) fn joined<T>(result: Result<Result<T>, tokio::task::JoinError>) -> Result<T> {
    result.unwrap_or_else(|error| Err(Error::new(Kind::Internal, "disk work has died").because(error)))
}
