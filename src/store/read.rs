//! Look-ups and reads.
//!
//! What the page cache has is read at once, on the worker (`preadv2` with `RWF_NOWAIT`): that is most reads, and a
//! hop to another thread would cost more than the read. What it hasn't is read by the disk pool. A filesystem that
//! doesn't know the flag is found out once for each store: tmpfs is read on the worker always, any other by the pool
//! always. The same goes for opening files (`openat2` with `RESOLVE_CACHED`).

use std::fs::File;
use std::io;
use std::path::{Path, PathBuf};
use std::sync::Arc;
use std::sync::atomic::{AtomicU8, Ordering};

use bytes::Bytes;

use super::index::{Place, Slot};
use super::inner::Inner;
use super::parse::{self, Put};
use super::quarantine::Damaged;
use super::record::{DELETED, LARGE, What};
use super::segment::Segment;
use super::{Found, Generation, QueueTag, Stored};
use crate::error::{Error, Result};
use crate::key::EntryId;

/// A file that is read from, as what can be shared with the disk pool.
#[derive(Debug)]
pub(super) struct Opened(pub(super) File);

/// How a store's filesystem is read; learnt by trying.
#[derive(Debug, Default)]
pub(super) struct Mode(AtomicU8);

/// As long as nothing else is known, 0, reads are tried without waiting. Here they never wait,
const INLINE: u8 = 1;
/// and here they may always.
const POOL: u8 = 2;

/// An entry that changes while it is looked up is looked up again, so often. Compaction and eviction can't outrun
/// that; if they do it is a miss.
const TRIES: usize = 4;

/// How far a read on the worker came.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum Came {
    /// All was there, or the file ends.
    Whole(usize),
    /// The rest would have to be waited for.
    Part(usize),
}

// === impl Inner ===

impl Inner {
    /// See `Store::get` (with a key, a use of the entry) and `Store::get_by_id` (without, and none).
    pub(super) async fn get(self: &Arc<Self>, id: EntryId, key: Option<&[u8]>) -> Result<Option<Stored>> {
        for _ in 0..TRIES {
            let found = {
                let mut index = self.index.lock();
                let slot = if key.is_some() { index.touch(id) } else { index.peek(id).copied() };
                slot.and_then(|slot| Some((slot, Arc::clone(index.segments.get(slot.place.segment)?))))
            };
            let Some((slot, segment)) = found else { return Ok(None) };
            let bytes = self.read_record(&segment, slot.place).await?;
            let parsed = parse::check(&bytes, segment.salt, slot.place.offset.into());
            let Some(put) = parsed.and_then(|checked| checked.put()).filter(|put| put.head.id == id) else {
                self.set_aside(id, slot.generation, Damaged::Record(bytes)).await;
                return Ok(None);
            };
            if key.is_some_and(|key| *put.record.key != *key) {
                return Ok(None);
            }
            if slot.is(DELETED) || !slot.is(LARGE) {
                let Put { head, record, body, .. } = put;
                let content = if slot.is(DELETED) { Found::Nothing } else { Found::Inline(body) };
                return Ok(Some(Stored::new(record, head.generation, content)));
            }
            let path = self.folders.file(id, slot.generation);
            match self.open_file(&path).await {
                Ok(file) if file.0.metadata().is_ok_and(|found| found.len() == put.record.meta.len) => {
                    let content = Found::File(Arc::new(file), put.crcs);
                    return Ok(Some(Stored::new(put.record, put.head.generation, content)));
                }
                Ok(_) => {
                    self.set_aside(id, slot.generation, Damaged::File(path)).await;
                    return Ok(None);
                }
                Err(error) if error.kind() == io::ErrorKind::NotFound => {
                    let same = |now: &Slot| now.generation == slot.generation;
                    if self.index.lock().peek(id).is_some_and(same) {
                        tracing::debug!(%id, "the file of an entry is missing: dropped");
                        self.forget(id, slot.generation);
                        return Ok(None);
                    }
                }
                Err(error) => return Err(Error::io("open", &path, error)),
            }
        }
        Ok(None)
    }

    /// The object name of a row of the queue.
    pub(super) async fn object(
        &self,
        id: EntryId,
        generation: Generation,
        tag: QueueTag,
    ) -> Result<Option<Arc<str>>> {
        let found = {
            let index = self.index.lock();
            let here = index.peek(id).is_some_and(|slot| slot.generation == generation);
            let place = index.row(id, tag).filter(|_| here);
            place.and_then(|place| Some((place, Arc::clone(index.segments.get(place.segment)?))))
        };
        let Some((place, segment)) = found else { return Ok(None) };
        let bytes = self.read_record(&segment, place).await?;
        let Some(checked) = parse::check(&bytes, segment.salt, place.offset.into()) else { return Ok(None) };
        Ok(match checked.what {
            What::Put => checked.put().and_then(|put| put.record.queue).map(|(_, object)| object),
            _ => checked.object(),
        })
    }

    /// A record lies in a pooled block for as long as it is answered from: a block is warm, needs no zeroing, and
    /// leaves no hole in the heap.
    async fn read_record(&self, segment: &Arc<Segment>, place: Place) -> Result<Bytes> {
        let (length, offset) = (place.length as usize, u64::from(place.offset));
        let failed = |error| Error::io("read", &segment.path, error);
        if let Some(buffer) = self.pool.take_for(length) {
            let (mut buffer, len, _) = self.mode.read(segment, buffer, offset).await.map_err(failed)?;
            buffer.truncate(len);
            return Ok(Bytes::from_owner(buffer));
        }
        let (mut buffer, len, _) = self.mode.read(segment, vec![0; length], offset).await.map_err(failed)?;
        buffer.truncate(len);
        Ok(buffer.into())
    }

    async fn open_file(&self, path: &Path) -> io::Result<Opened> {
        let opened = match self.mode.open_now(path) {
            Some(opened) => opened,
            None => {
                let path = PathBuf::from(path);
                pool(move || File::open(path)).await
            }
        };
        opened.map(Opened)
    }

    /// Drops an entry that turned out to be no more.
    pub(super) fn forget(&self, id: EntryId, generation: Generation) {
        if let Err(error) = self.remove(id, Some(generation)) {
            // It will be found missing again.
            tracing::debug!(%id, %error, "cannot drop an entry");
        }
    }
}

// === impl Mode ===

impl Mode {
    /// Reads into `buffer` from `offset` on; says how much there was, and whether the disk was waited for.
    pub(super) async fn read<F, B>(
        &self,
        file: &Arc<F>,
        mut buffer: B,
        offset: u64,
    ) -> io::Result<(B, usize, bool)>
    where
        F: AsRef<File> + Send + Sync + 'static,
        B: AsMut<[u8]> + Send + 'static,
    {
        let mut done = 0;
        match self.read_now(file.as_ref().as_ref(), buffer.as_mut(), offset)? {
            Came::Whole(len) => return Ok((buffer, len, false)),
            Came::Part(len) => done += len,
        }
        let file = Arc::clone(file);
        pool(move || {
            let rest = &mut buffer.as_mut()[done..];
            let len = done + read_up_to(file.as_ref().as_ref(), rest, offset + done as u64)?;
            Ok((buffer, len, true))
        })
        .await
    }

    /// Reads what can be read without waiting.
    fn read_now(&self, file: &File, buffer: &mut [u8], offset: u64) -> io::Result<Came> {
        let mut done = 0;
        loop {
            match self.0.load(Ordering::Relaxed) {
                INLINE => return read_up_to(file, buffer, offset).map(Came::Whole),
                POOL => return Ok(Came::Part(0)),
                _ => {}
            }
            if done == buffer.len() {
                return Ok(Came::Whole(done));
            }
            match read_nowait(file, &mut buffer[done..], offset + done as u64) {
                Ok(0) => return Ok(Came::Whole(done)),
                Ok(len) => done += len,
                Err(error) if error.kind() == io::ErrorKind::WouldBlock => return Ok(Came::Part(done)),
                Err(error) if error.kind() == io::ErrorKind::Interrupted => {}
                Err(error) if is_unsupported(&error) => self.0.store(fallback(file), Ordering::Relaxed),
                Err(error) => return Err(error),
            }
        }
    }

    /// Opens a file if that needs no waiting; `None`: ask the pool.
    fn open_now(&self, path: &Path) -> Option<io::Result<File>> {
        match self.0.load(Ordering::Relaxed) {
            INLINE => Some(File::open(path)),
            POOL => None,
            _ => open_cached(path),
        }
    }
}

impl AsRef<File> for Opened {
    fn as_ref(&self) -> &File {
        &self.0
    }
}

/// Runs blocking work on the disk pool.
pub(super) async fn pool<T: Send + 'static>(
    work: impl FnOnce() -> io::Result<T> + Send + 'static,
) -> io::Result<T> {
    match tokio::task::spawn_blocking(work).await {
        Ok(result) => result,
        Err(error) => Err(io::Error::other(error)),
    }
}

pub(super) fn read_up_to(file: &File, buffer: &mut [u8], offset: u64) -> io::Result<usize> {
    use std::os::unix::fs::FileExt as _;
    let mut done = 0;
    while done < buffer.len() {
        match file.read_at(&mut buffer[done..], offset + done as u64) {
            Ok(0) => break,
            Ok(len) => done += len,
            Err(error) if error.kind() == io::ErrorKind::Interrupted => {}
            Err(error) => return Err(error),
        }
    }
    Ok(done)
}

fn is_unsupported(error: &io::Error) -> bool {
    use rustix::io::Errno;
    let errno = error.raw_os_error();
    [Errno::OPNOTSUPP, Errno::NOSYS, Errno::INVAL].iter().any(|unknown| errno == Some(unknown.raw_os_error()))
}

#[cfg(target_os = "linux")]
fn read_nowait(file: &File, buffer: &mut [u8], offset: u64) -> io::Result<usize> {
    use rustix::io::{ReadWriteFlags, preadv2};
    let slice = io::IoSliceMut::new(buffer);
    Ok(preadv2(file, &mut [slice], offset, ReadWriteFlags::NOWAIT)?)
}

#[cfg(not(target_os = "linux"))]
fn read_nowait(_: &File, _: &mut [u8], _: u64) -> io::Result<usize> {
    Err(rustix::io::Errno::OPNOTSUPP.into())
}

#[cfg(target_os = "linux")]
fn fallback(file: &File) -> u8 {
    // `TMPFS_MAGIC`: its pages are memory, a read never waits.
    let is_memory = rustix::fs::fstatfs(file).is_ok_and(|stat| stat.f_type == 0x0102_1994);
    if is_memory { INLINE } else { POOL }
}

#[cfg(not(target_os = "linux"))]
fn fallback(_: &File) -> u8 {
    POOL
}

#[cfg(target_os = "linux")]
fn open_cached(path: &Path) -> Option<io::Result<File>> {
    use rustix::fs::{CWD, Mode, OFlags, ResolveFlags, openat2};
    let flags = OFlags::RDONLY | OFlags::CLOEXEC;
    match openat2(CWD, path, flags, Mode::empty(), ResolveFlags::CACHED) {
        Ok(file) => Some(Ok(File::from(file))),
        Err(rustix::io::Errno::NOENT) => Some(Err(io::ErrorKind::NotFound.into())),
        // Not cached, or a kernel before 5.12.
        Err(_) => None,
    }
}

#[cfg(not(target_os = "linux"))]
fn open_cached(_: &Path) -> Option<io::Result<File>> {
    None
}
