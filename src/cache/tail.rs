//! Reading along with a fill: through the draft's own bytes, at the reader's own pace.

use std::ops::Range;
use std::sync::Arc;

use bytes::Bytes;
use futures_util::StreamExt as _;

use super::fill::{Growing, Reader};
use super::{Asked, Cache};
use crate::body::Body;
use crate::error::{Error, Kind, Result};
use crate::key::ObjectName;
use crate::upstream::Remote;

/// How much of a growing body may be read.
#[derive(Debug, Clone, Default)]
pub(super) struct Progress {
    /// Bytes that may be shown: of `first`, or written.
    pub(super) readable: u64,
    /// How it begins: in memory, so that nobody's first byte waits for the disk.
    pub(super) first: Bytes,
    /// How it ended.
    pub(super) end: Option<End>,
}

/// How a growing body ended.
#[derive(Debug, Clone)]
pub(super) enum End {
    /// Whole and checked.
    Done,
    /// The upstream failed, or sent wrong bytes: readers break off.
    Broken(Error),
    /// Our disk failed: readers go on with a request of their own.
    Disk,
}

/// A reader of a growing body.
pub(super) struct Tailing {
    pub(super) cache: Cache,
    pub(super) asked: Asked,
    pub(super) remote: Remote,
    pub(super) name: ObjectName,
    pub(super) growing: Arc<Growing>,
    /// Whether it has had its first piece.
    pub(super) begun: bool,
    /// Keeps the fill going.
    pub(super) _reader: Reader,
}

/// What is read from the draft at once.
const PIECE_BYTES: u64 = 256 << 10;

/// So much of a body's beginning is kept in memory while it grows.
pub(super) const FIRST_BYTES: usize = 16 << 10;

enum Source {
    Draft,
    Own(Body),
}

// === impl Tailing ===

impl Tailing {
    /// These bytes of it, as they come.
    pub(super) fn body(self, range: Range<u64>) -> Body {
        let len = range.end - range.start;
        let state = (self, range, Source::Draft);
        Body::stream(
            len,
            futures_util::stream::try_unfold(state, |(tailing, range, source)| tailing.step(range, source)),
        )
    }

    async fn step(
        mut self,
        range: Range<u64>,
        mut source: Source,
    ) -> Result<Option<(Bytes, (Self, Range<u64>, Source))>> {
        if range.is_empty() {
            return Ok(None);
        }
        if let Source::Draft = source {
            match self.draft_piece(&range).await? {
                Some(piece) => return Ok(Some(self.after(piece, range, source))),
                None => {
                    let meta = &self.growing.meta;
                    let rest = self.cache.rest(&self.asked, &self.remote, &self.name, meta, range.clone());
                    source = Source::Own(rest.await?);
                }
            }
        }
        let Source::Own(body) = &mut source else { return Ok(None) };
        match body.next().await {
            Some(piece) => Ok(Some(self.after(piece?, range, source))),
            None => Ok(None),
        }
    }

    fn after(self, piece: Bytes, range: Range<u64>, source: Source) -> (Bytes, (Self, Range<u64>, Source)) {
        let next = range.start + piece.len() as u64..range.end;
        (piece, (self, next, source))
    }

    /// The next bytes of the draft; `None` when the disk failed.
    async fn draft_piece(&mut self, range: &Range<u64>) -> Result<Option<Bytes>> {
        if std::mem::replace(&mut self.begun, true) {
            // Of a crowd that waits for one fill, nobody has a second piece before all have had a first byte.
            tokio::task::yield_now().await;
        }
        let mut progress = self.growing.progress.clone();
        let more = |progress: &Progress| progress.readable > range.start || progress.end.is_some();
        if progress.wait_for(more).await.is_err() {
            return Err(Error::new(Kind::Unavailable, "the fill was cut off as the daemon stops"));
        }
        let Progress { readable, first, end } = progress.borrow().clone();
        if readable > range.start {
            let first_end = range.end.min(first.len() as u64);
            if range.start < first_end {
                return Ok(Some(first.slice(range.start as usize..first_end as usize)));
            }
            let max = (readable.min(range.end) - range.start).min(PIECE_BYTES);
            return match self.growing.tail.read_at(range.start, max as usize).await {
                Ok(piece) if !piece.is_empty() => Ok(Some(piece)),
                Ok(_) | Err(_) => Ok(None),
            };
        }
        match end {
            Some(End::Broken(error)) => Err(error),
            Some(End::Disk) => Ok(None),
            Some(End::Done) | None => Err(Error::new(Kind::Internal, "a fill ended before its length")),
        }
    }
}
