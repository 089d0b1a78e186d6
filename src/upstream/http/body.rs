//! The bytes of an answer.
//!
//! A body has a length from its beginning on. An answer that doesn't say one (npm `turborepo-remote-cache` never does)
//! is taken in whole before it is given, up to 64 MiB for all such answers of an upstream together. What ends by its
//! connection's end alone is not taken: nobody could tell it from one that broke off.

use std::ops::Range;
use std::sync::atomic::{AtomicU64, Ordering};
use std::time::Duration;

use bytes::Bytes;
use futures_util::{StreamExt as _, TryStreamExt as _};
use reqwest::header::TRANSFER_ENCODING;
use reqwest::{Response, Version};
use tokio::sync::Semaphore;
use tokio::time::Instant;

use super::super::{Fault, Got, Object, ObjectMeta, Signal};
use crate::body::Body;
use crate::error::{Error, Kind, deepest};

/// All answers without a length that are taken in at one time.
const WHOLE_BYTES_MAX: usize = 64 << 20;

/// Room for them is taken in such steps.
const STEP_BYTES: usize = 256 << 10;

/// After so long without a byte nothing is coming in.
const PAUSE: Duration = Duration::from_secs(2);

/// Answers without a length.
#[derive(Debug)]
pub(super) struct Whole {
    /// In [`STEP_BYTES`].
    room: Semaphore,
    begun: Instant,
    /// Milliseconds from `begun` to the last piece, plus one; 0 for none.
    last_ms: AtomicU64,
}

/// Those of its bytes; the answer's length is known.
pub(super) fn of_length(response: Response, range: Range<u64>) -> Body {
    let (mut skip, len) = (range.start, range.end.saturating_sub(range.start));
    let mut left = len;
    let pieces = response.bytes_stream().map_ok(move |mut piece: Bytes| {
        let skipped = skip.min(piece.len() as u64);
        skip -= skipped;
        let mut piece = piece.split_off(skipped as usize);
        piece.truncate(usize::try_from(left).unwrap_or(usize::MAX));
        left -= piece.len() as u64;
        piece
    });
    let pieces = pieces.map_err(|error| {
        Error::new(Kind::Unavailable, format!("read from the upstream: {}", deepest(&error)))
    });
    Body::stream(len, pieces.boxed())
}

/// What was wanted of what is all here.
pub(super) fn cut(meta: ObjectMeta, wanted: Range<u64>, bytes: Bytes) -> Got {
    let len = bytes.len() as u64;
    if wanted.start >= len && wanted.start > 0 {
        return Got::Unsatisfiable(Some(len));
    }
    let range = wanted.start..wanted.end.min(len);
    let body = Body::bytes(bytes.slice(range.start as usize..range.end as usize));
    Got::Object(Object { meta: ObjectMeta { len, ..meta }, range, body })
}

// === impl Whole ===

impl Whole {
    /// All bytes of an answer, which is given up after `stall` without one.
    pub(super) async fn take_in(&self, mut response: Response, stall: Duration) -> Result<Bytes, Fault> {
        let state = |signal, words: String| Err(Fault::state(signal, words));
        let is_framed =
            response.version() >= Version::HTTP_2 || response.headers().contains_key(TRANSFER_ENCODING);
        if !is_framed {
            return state(Signal::Fault, "an answer that says neither its length nor where it ends".into());
        }
        let (mut bytes, mut permits) = (Vec::new(), Vec::new());
        loop {
            let piece = match tokio::time::timeout(stall, response.chunk()).await {
                Ok(Ok(Some(piece))) => piece,
                Ok(Ok(None)) => return Ok(bytes.into()),
                Ok(Err(error)) => {
                    return state(Signal::Fault, format!("read from the upstream: {}", deepest(&error)));
                }
                Err(_) => {
                    return state(Signal::Deadline, format!("no byte of a body for {} s", stall.as_secs()));
                }
            };
            self.last_ms.store(self.begun.elapsed().as_millis() as u64 + 1, Ordering::Relaxed);
            while bytes.len() + piece.len() > permits.len() * STEP_BYTES {
                let Ok(permit) = self.room.try_acquire() else {
                    let mib = WHOLE_BYTES_MAX >> 20;
                    let words = format!("answers without a length take more than {mib} MiB: a miss");
                    return state(Signal::Neutral, words);
                };
                permits.push(permit);
            }
            bytes.extend_from_slice(&piece);
        }
    }

    /// Whether one is coming in.
    pub(super) fn is_receiving(&self) -> bool {
        let last = self.last_ms.load(Ordering::Relaxed);
        last != 0 && self.begun.elapsed() < Duration::from_millis(last) + PAUSE
    }
}

impl Default for Whole {
    fn default() -> Self {
        let room = Semaphore::new(WHOLE_BYTES_MAX / STEP_BYTES);
        Self { room, begun: Instant::now(), last_ms: AtomicU64::new(0) }
    }
}
