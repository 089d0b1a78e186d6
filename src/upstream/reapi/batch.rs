//! Calls for many: what is asked for within a moment goes as one.
//!
//! The first who asks begins a batch, which is sent a moment later with all that came until then, cut where the server
//! takes no more. Each is answered on its own; who goes away leaves the batch as it is.

use std::time::Duration;

use bytes::Bytes;
use parking_lot::Mutex;
use tokio::sync::oneshot;

use super::super::{Fault, Signal};
use super::{Blob, Reapi};

/// How long the first one waits for more. A check sends its questions at once, an uploader its bodies.
const MOMENT: Duration = Duration::from_millis(1);

/// What waits to be sent.
#[derive(Default)]
pub(super) struct Batches {
    pub(super) finds: Batch<(), bool>,
    pub(super) reads: Batch<(), Option<Bytes>>,
    pub(super) updates: Batch<Bytes, ()>,
}

/// Those of one kind: a blob each, with what is said of it and what it is answered.
pub(super) struct Batch<I, A> {
    /// A leaf mutex.
    waiting: Mutex<Vec<Asker<I, A>>>,
}

/// One who waits.
pub(super) struct Asker<I, A> {
    pub(super) blob: Blob,
    pub(super) said: I,
    answer: oneshot::Sender<Result<A, Fault>>,
}

// === impl Batch ===

impl<I, A> Batch<I, A> {
    /// Waits for the answer to one of many. `send` sends what [`Batch::take`] then gives; it is called by the first.
    pub(super) async fn ask<F>(
        &self,
        reapi: &Reapi,
        blob: Blob,
        said: I,
        send: impl FnOnce(Reapi) -> F + Send + 'static,
    ) -> Result<A, Fault>
    where
        F: Future<Output = ()> + Send + 'static,
    {
        let (answer, answered) = oneshot::channel();
        let is_first = {
            let mut waiting = self.waiting.lock();
            waiting.push(Asker { blob, said, answer });
            waiting.len() == 1
        };
        if is_first {
            let this = reapi.clone();
            reapi.spawner.detach(async move {
                tokio::time::sleep(MOMENT).await;
                send(this).await;
            });
        }
        answered
            .await
            .unwrap_or_else(|_| Err(Fault::state(Signal::Neutral, "the upstream runtime has stopped")))
    }

    /// All that wait, in parts of at most `bytes`, one of which has at least one in it.
    pub(super) fn take(&self, bytes: u64, weight: impl Fn(&Asker<I, A>) -> u64) -> Vec<Vec<Asker<I, A>>> {
        let (mut parts, mut sum) = (Vec::new(), u64::MAX);
        for asker in std::mem::take(&mut *self.waiting.lock()) {
            let own = weight(&asker);
            if sum.saturating_add(own) > bytes {
                parts.push(Vec::new());
                sum = 0;
            }
            sum += own;
            if let Some(part) = parts.last_mut() {
                part.push(asker);
            }
        }
        parts
    }

    /// Tells all that wait that it can't be sent.
    pub(super) fn fail(&self, fault: &Fault) {
        for asker in std::mem::take(&mut *self.waiting.lock()) {
            asker.answer(Err(fault.clone()));
        }
    }
}

impl<I, A> Default for Batch<I, A> {
    fn default() -> Self {
        Self { waiting: Mutex::new(Vec::new()) }
    }
}

// === impl Asker ===

impl<I, A> Asker<I, A> {
    /// Says how it went. Who is gone doesn't hear it.
    pub(super) fn answer(self, answer: Result<A, Fault>) {
        let _gone = self.answer.send(answer);
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::digest::{Digest, Function};

    #[test]
    fn what_waits_is_cut_where_the_server_takes_no_more() {
        let batch: Batch<(), bool> = Batch::default();
        let digest = Digest::of(Function::Sha256, b"x");
        let mut answers = Vec::new();
        for len in [3, 3, 4, 11, 1] {
            let (answer, answered) = oneshot::channel();
            batch.waiting.lock().push(Asker { blob: Blob { digest, len }, said: (), answer });
            answers.push(answered);
        }
        let parts = batch.take(10, |asker| asker.blob.len);
        let lens: Vec<Vec<u64>> =
            parts.iter().map(|part| part.iter().map(|asker| asker.blob.len).collect()).collect();
        assert_eq!(lens, [vec![3, 3, 4], vec![11], vec![1]]);
        assert!(batch.take(10, |_| 1).is_empty());
    }
}
