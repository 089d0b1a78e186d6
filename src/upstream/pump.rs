//! Brings a body from the upstream runtime to a caller elsewhere, with backpressure.
//!
//! One task a body, on the upstream runtime, ended by dropping the body. It waits at most `stall` for the next bytes
//! and tells the breaker how the transfer went.

use std::sync::Arc;
use std::time::Duration;

use bytes::Bytes;
use futures_util::StreamExt as _;
use tokio::sync::mpsc;
use tokio_util::task::AbortOnDropHandle;

use super::breaker::Breaker;
use super::runtime::Spawner;
use super::{Fault, Signal};
use crate::body::Body;
use crate::error::{Error, Kind, Result};

/// Pieces on their way at one time. The network's own buffers are before them.
const PIECES: usize = 2;

/// `body`, to be read anywhere.
pub(super) fn pump(spawner: &Spawner, body: Body, stall: Duration, breaker: Arc<Breaker>) -> Body {
    if body.as_bytes().is_some() || body.is_empty() {
        breaker.success();
        return body;
    }
    let len = body.len();
    let (sender, receiver) = mpsc::channel(PIECES);
    let task = spawner.spawn(carry(body, sender, stall, breaker));
    let pieces = futures_util::stream::unfold((receiver, task, len), next);
    Body::stream(len, pieces)
}

type Pieces = (mpsc::Receiver<Result<Bytes>>, AbortOnDropHandle<Option<()>>, u64);

async fn next((mut receiver, task, left): Pieces) -> Option<(Result<Bytes>, Pieces)> {
    let piece = match receiver.recv().await {
        Some(piece) => piece,
        None if left == 0 => return None,
        None => Err(Error::new(Kind::Unavailable, "the upstream transfer was stopped")),
    };
    let got = piece.as_ref().map_or(left, |piece| piece.len() as u64);
    Some((piece, (receiver, task, left.saturating_sub(got))))
}

async fn carry(mut body: Body, sender: mpsc::Sender<Result<Bytes>>, stall: Duration, breaker: Arc<Breaker>) {
    loop {
        let piece = tokio::select! {
            biased;
            () = sender.closed() => return,
            piece = tokio::time::timeout(stall, body.next()) => piece,
        };
        let error = match piece {
            Ok(Some(Ok(piece))) => {
                if sender.send(Ok(piece)).await.is_err() {
                    return;
                }
                continue;
            }
            Ok(None) => return breaker.success(),
            Ok(Some(Err(error))) => {
                breaker.failed(&Fault::state(Signal::Fault, error.to_string()), None);
                error
            }
            Err(_) => {
                let words = format!("no byte of a body for {} s", stall.as_secs());
                breaker.failed(&Fault::state(Signal::Deadline, words.as_str()), None);
                Error::new(Kind::Unavailable, words)
            }
        };
        let _ = sender.send(Err(error)).await;
        return;
    }
}
