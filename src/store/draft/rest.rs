//! Drafts that nobody writes to for a while, such as the parts of an upload in pieces: they hold no descriptor and no
//! buffer, however many there are.

use std::fs::File;
use std::ops::Range;
use std::path::Path;
use std::sync::Arc;
use std::sync::atomic::AtomicU64;

use bytes::Bytes;

use super::{BLOCK_LEN, Draft, Readable, Tmp};
use crate::body::Body;
use crate::error::{Error, Kind, Result};
use crate::store::inner::Inner;
use crate::store::read::{Opened, pool};
use crate::store::record::crc32c;

/// A draft that is read back.
struct Reading {
    inner: Arc<Inner>,
    /// Keeps the file.
    tmp: Arc<Tmp>,
    crcs: Vec<u32>,
    file: Option<Arc<Opened>>,
    rest: Range<u64>,
}

impl Draft {
    /// Writes what was taken and closes the file, until something is written again. Tails made before go on reading
    /// what there was then.
    ///
    /// # Errors
    /// `NoSpace`, or the disk's.
    pub async fn rest(&mut self) -> Result<()> {
        self.flush().await?;
        let writing = &mut self.0;
        writing.readable = Arc::new(Readable {
            inner: Arc::clone(&writing.inner),
            file: Arc::default(),
            flushed: AtomicU64::new(0),
        });
        Ok(())
    }

    /// The bytes of a draft that rests, through a descriptor of their own; each block is checked before it is handed
    /// out. They stay readable when the draft is dropped meanwhile.
    pub fn body(&self) -> Body {
        let writing = &self.0;
        let reading = Reading {
            inner: Arc::clone(&writing.inner),
            tmp: Arc::clone(&writing.tmp),
            crcs: writing.crcs.clone().finish(),
            file: None,
            rest: 0..writing.sent,
        };
        let pieces = futures_util::stream::try_unfold(reading, |mut reading| async move {
            Ok(reading.next().await?.map(|piece| (piece, reading)))
        });
        Body::stream(writing.sent, pieces)
    }
}

impl Tmp {
    /// Opens the file of a draft that rested.
    pub(super) fn open(path: &Path) -> Result<File> {
        let opened = File::options().read(true).write(true).open(path);
        opened.map_err(|error| Error::io("open", path, error))
    }
}

// === impl Reading ===

impl Reading {
    async fn next(&mut self) -> Result<Option<Bytes>> {
        if self.rest.is_empty() {
            return Ok(None);
        }
        let io = |error| Error::io("read a draft in", self.inner.folders.root(), error);
        let file = match &self.file {
            Some(file) => Arc::clone(file),
            None => {
                let path = self.tmp.path.clone();
                let file = Arc::new(Opened(pool(move || File::open(path)).await.map_err(io)?));
                Arc::clone(self.file.insert(file))
            }
        };
        let start = self.rest.start;
        let expected = (self.rest.end - start).min(BLOCK_LEN) as usize;
        let mut buffer = self.inner.pool.take();
        buffer.truncate(expected);
        let (mut buffer, len, _) = self.inner.mode.read(&file, buffer, start).await.map_err(io)?;
        buffer.truncate(len);
        let crc = self.crcs.get((start / BLOCK_LEN) as usize);
        if len != expected || crc != Some(&crc32c(&[buffer.as_ref()])) {
            return Err(Error::new(Kind::Corrupt, "a block of a draft is damaged"));
        }
        self.rest.start += len as u64;
        Ok(Some(Bytes::from_owner(buffer)))
    }
}
