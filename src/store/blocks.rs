//! Bodies of large entries as streams: read in blocks of 256 KiB, each checked before any of it is handed out.
//!
//! # Memory
//! Blocks come from a pool and return to it. A stream holds the block being sent and, while the disk is waited for,
//! the one behind it. With more than [`BLOCKS_MAX`] blocks out, slow readers of large bodies hold a copy of 32 KiB
//! instead of a block, and read and check again for the next: slower, but memory stays in bounds and nobody waits for
//! somebody else's slow reader.

use std::io;
use std::ops::Range;
use std::sync::Arc;
use std::sync::atomic::{AtomicUsize, Ordering};

use bytes::Bytes;
use futures_util::stream::{self, Stream};
use parking_lot::Mutex;
use tokio::task::JoinHandle;

use super::Generation;
use super::inner::Inner;
use super::quarantine::Damaged;
use super::read::Opened;
use super::record::{BLOCK_LEN, crc32c};
use crate::error::{Error, Kind, Result};
use crate::key::EntryId;

/// So many blocks are out (64 MiB) before streams are held short.
const BLOCKS_MAX: usize = 256;
/// So many unused ones are kept.
const UNUSED_MAX: usize = 32;
/// What a stream that is held short keeps of a block.
const SHORT_LEN: u64 = 32 << 10;

/// Buffers of one block each.
#[derive(Debug, Default)]
pub(super) struct Pool {
    unused: Mutex<Vec<Box<[u8]>>>,
    out: AtomicUsize,
}

/// One of them. Returns to the pool when the last who reads it is done.
#[derive(Debug)]
pub(super) struct Buffer {
    bytes: Box<[u8]>,
    len: usize,
    pool: Arc<Pool>,
}

/// What a stream needs to know.
#[derive(Debug)]
pub(super) struct Blocks {
    pub(super) inner: Arc<Inner>,
    pub(super) id: EntryId,
    pub(super) generation: Generation,
    pub(super) file: Arc<Opened>,
    pub(super) crcs: Arc<[u32]>,
    /// Length of the whole body.
    pub(super) len: u64,
    /// What is still to be read.
    pub(super) range: Range<u64>,
}

type Ahead = JoinHandle<io::Result<(Buffer, usize)>>;

// === impl Blocks ===

impl Blocks {
    pub(super) fn stream(self) -> impl Stream<Item = Result<Bytes>> + Send + 'static {
        stream::try_unfold((self, None), |(mut blocks, mut ahead)| async move {
            Ok(blocks.next(&mut ahead).await?.map(|bytes| (bytes, (blocks, ahead))))
        })
    }

    async fn next(&mut self, ahead: &mut Option<Ahead>) -> Result<Option<Bytes>> {
        if self.range.is_empty() {
            return Ok(None);
        }
        let number = self.range.start / BLOCK_LEN;
        let block = self.block(number);
        let expected = (block.end - block.start) as usize;
        let read = match ahead.take() {
            Some(reading) => match reading.await {
                Ok(read) => read,
                Err(error) => Err(io::Error::other(error)),
            },
            None => self.read(number, ahead).await,
        };
        let path = || self.inner.folders.file(self.id, self.generation);
        let (mut buffer, len) = read.map_err(|error| Error::io("read", &path(), error))?;
        buffer.truncate(len);
        if len != expected || self.crcs.get(number as usize) != Some(&crc32c(&[buffer.as_ref()])) {
            self.inner.set_aside(self.id, self.generation, Damaged::File(path())).await;
            return Err(Error::new(Kind::Corrupt, "a block of a stored body is damaged"));
        }
        let held_short = self.inner.pool.out.load(Ordering::Relaxed) > BLOCKS_MAX;
        let room = if held_short { SHORT_LEN } else { BLOCK_LEN };
        let end = self.range.end.min(block.end).min(self.range.start + room);
        let within = (self.range.start - block.start) as usize..(end - block.start) as usize;
        self.range.start = end;
        Ok(Some(if held_short {
            Bytes::copy_from_slice(&buffer.as_ref()[within])
        } else {
            Bytes::from_owner(buffer).slice(within)
        }))
    }

    /// Reads a block; where that meant waiting for the disk, the next one is sent for meanwhile.
    async fn read(&self, number: u64, ahead: &mut Option<Ahead>) -> io::Result<(Buffer, usize)> {
        let block = self.block(number);
        let mut buffer = self.inner.pool.take();
        buffer.truncate((block.end - block.start) as usize);
        let (buffer, len, waited) = self.inner.mode.read(&self.file, buffer, block.start).await?;
        let pool = &self.inner.pool;
        if waited && block.end < self.range.end && pool.out.load(Ordering::Relaxed) <= BLOCKS_MAX {
            let (next, mut buffer, file) = (self.block(number + 1), pool.take(), Arc::clone(&self.file));
            buffer.truncate((next.end - next.start) as usize);
            *ahead = Some(tokio::task::spawn_blocking(move || {
                let len = super::read::read_up_to(&file.0, buffer.as_mut(), next.start)?;
                Ok((buffer, len))
            }));
        }
        Ok((buffer, len))
    }

    /// Where block `number` lies.
    fn block(&self, number: u64) -> Range<u64> {
        number * BLOCK_LEN..((number + 1) * BLOCK_LEN).min(self.len)
    }
}

// === impl Pool ===

impl Pool {
    pub(super) fn take(self: &Arc<Self>) -> Buffer {
        self.out.fetch_add(1, Ordering::Relaxed);
        let unused = self.unused.lock().pop();
        let bytes = unused.unwrap_or_else(|| vec![0; BLOCK_LEN as usize].into_boxed_slice());
        Buffer { bytes, len: BLOCK_LEN as usize, pool: Arc::clone(self) }
    }

    /// One for a record of this length. `None` for a longer one, and when streams of bodies need the rest.
    pub(super) fn take_for(self: &Arc<Self>, len: usize) -> Option<Buffer> {
        let fits = len <= BLOCK_LEN as usize && self.out.load(Ordering::Relaxed) < BLOCKS_MAX / 2;
        fits.then(|| {
            let mut buffer = self.take();
            buffer.truncate(len);
            buffer
        })
    }
}

impl Buffer {
    /// Only so much of it is used.
    pub(super) fn truncate(&mut self, len: usize) {
        self.len = len;
    }
}

impl AsRef<[u8]> for Buffer {
    fn as_ref(&self) -> &[u8] {
        &self.bytes[..self.len]
    }
}

impl AsMut<[u8]> for Buffer {
    fn as_mut(&mut self) -> &mut [u8] {
        &mut self.bytes[..self.len]
    }
}

impl Drop for Buffer {
    fn drop(&mut self) {
        self.pool.out.fetch_sub(1, Ordering::Relaxed);
        let mut unused = self.pool.unused.lock();
        if unused.len() < UNUSED_MAX {
            unused.push(std::mem::take(&mut self.bytes));
        }
    }
}
