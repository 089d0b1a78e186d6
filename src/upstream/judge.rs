//! What one upstream's calls share, and what each answer says of it.

use std::sync::Arc;
use std::sync::atomic::{AtomicBool, AtomicU32, Ordering};
use std::time::Duration;

use futures_util::future::BoxFuture;
use tokio::sync::watch;
use tokio_util::task::AbortOnDropHandle;

use super::breaker::Breaker;
use super::remote::RemoteSettings;
use super::runtime::Spawner;
use super::surroundings::Wake;
use super::{Failure, Fault, Signal, Upstream};
use crate::error::Result;
use crate::key::ObjectName;

/// So many reads denied one by one, and none answered: the keys may read nothing at all.
const DENIED_READS_TOLD: u32 = 16;

/// While an answer is being taken in, it is looked at again whether it still is after this.
const RECEIVING: Duration = Duration::from_secs(1);

/// One upstream, behind all its handles.
pub(super) struct Inner {
    pub(super) settings: RemoteSettings,
    pub(super) tag: u64,
    /// What begins all names there.
    pub(super) prefix: String,
    pub(super) store: Arc<dyn Upstream>,
    pub(super) spawner: Spawner,
    pub(super) read: Arc<Breaker>,
    pub(super) write: Arc<Breaker>,
    pub(super) changes: watch::Sender<u64>,
    pub(super) wake: Wake,
    /// A write has succeeded: what the last process left half done is being finished.
    pub(super) recovered: AtomicBool,
    /// A read was answered with yes or no.
    pub(super) answered: AtomicBool,
    pub(super) denied_reads: AtomicU32,
    /// Ended with the last clone.
    pub(super) _probers: Vec<AbortOnDropHandle<Option<()>>>,
}

// === impl Inner ===

impl Inner {
    /// The head of an answer is due within `first_byte`: later it counts as a deadline, for the breaker. The call
    /// itself goes on until `stall`, because who waits behind (a fill, a check) still has a use for it; longer while the
    /// store is taking in an answer for it.
    pub(super) async fn in_time<T>(&self, call: BoxFuture<'_, Result<T, Fault>>) -> Result<T, Fault> {
        let (due, last) = (self.settings.first_byte, self.settings.stall.max(self.settings.first_byte));
        let late = |after: Duration| {
            let words = format!("no answer within {} ms", after.as_millis());
            Fault::state(Signal::Deadline, words)
        };
        let mut call = call;
        match tokio::time::timeout(due, &mut call).await {
            Ok(answer) => answer,
            Err(_) => {
                if !self.store.is_receiving() {
                    self.failed(&self.read, &late(due), None);
                }
                let mut wait = last - due;
                loop {
                    match tokio::time::timeout(wait, &mut call).await {
                        Ok(answer) => return answer,
                        Err(_) if self.store.is_receiving() => wait = RECEIVING,
                        Err(_) => return Err(late(last)),
                    }
                }
            }
        }
    }

    /// Tells the breaker of the head of an answer to a read.
    pub(super) fn judge_read<T>(
        &self,
        answer: Result<T, Fault>,
        is_denied: impl FnOnce(&T) -> bool,
    ) -> Result<T, Failure> {
        match &answer {
            Ok(got) => {
                self.read.answered();
                self.count_denied(is_denied(got));
            }
            Err(fault) => self.failed(&self.read, fault, None),
        }
        answer.map_err(|fault| fault.failure)
    }

    pub(super) fn failed(&self, breaker: &Breaker, fault: &Fault, name: Option<&ObjectName>) {
        breaker.failed(fault, name);
        if fault.signal == Signal::Deadline {
            // Who is silent may be gone: what is idle beside it is not to be the next call's deadline.
            self.store.disconnect();
        }
    }

    pub(super) fn judge_write<T>(
        &self,
        done: Result<T, Fault>,
        name: Option<&ObjectName>,
    ) -> Result<T, Failure> {
        match &done {
            Ok(_) => {
                self.write.success();
                if !self.recovered.swap(true, Ordering::Relaxed) {
                    let store = Arc::clone(&self.store);
                    self.spawner.detach(async move { store.recover().await });
                }
            }
            Err(fault) => self.failed(&self.write, fault, name),
        }
        done.map_err(|fault| fault.failure)
    }

    /// S3 denies reads of absent objects to keys without ListBucket. Keys that may read nothing look the same, one
    /// by one; said once.
    pub(super) fn count_denied(&self, denied: bool) {
        if !denied {
            self.answered.store(true, Ordering::Relaxed);
        } else if !self.answered.load(Ordering::Relaxed)
            && self.denied_reads.fetch_add(1, Ordering::Relaxed) + 1 == DENIED_READS_TOLD
        {
            tracing::warn!(
                upstream = self.settings.name,
                "every read is denied so far: if objects are there, give the keys the right to read them"
            );
        }
    }

    pub(super) fn nudge(&self) {
        self.store.disconnect();
        self.read.nudge();
        self.write.nudge();
    }
}
