//! The runtime of all upstream work.
//!
//! Threads of its own, and a blocking pool of its own, which DNS look-ups use: a resolver that hangs, a network
//! share that does not answer, a thousand TLS handshakes never take a thread from a disk hit. Callers elsewhere
//! await a task's handle; dropping the handle cancels the task.
//!
//! Two numbers are global here, because memory is: the bytes of buffers that uploads hold, and the calls of the
//! blocking pool.

use std::future::Future;
use std::sync::Arc;
use std::time::Duration;

use parking_lot::Mutex;
use tokio::sync::{Semaphore, watch};
use tokio_util::sync::CancellationToken;
use tokio_util::task::{AbortOnDropHandle, TaskTracker};

use super::credentials::Credentials;
use super::credentials::stored::{Places, Vault};
use super::surroundings::{self, Machine};

use crate::error::{Error, Kind, Result};

/// Upload buffers take this many bytes at most, all upstreams together; a further part waits.
const BUFFER_BYTES_MAX: usize = 64 << 20;

/// DNS look-ups and calls of folders at one time; a further one waits. Threads that idle go away after 10 s.
const BLOCKING_MAX: usize = 64;

/// Transfers wait for the network, not for a processor: two threads sign, encrypt and copy for all of them.
const WORKERS: usize = 2;

/// Threads of their own for upstream work: DNS, TLS, credentials, transfers.
#[derive(Debug)]
pub struct Runtime {
    /// A leaf mutex.
    inner: Mutex<Option<tokio::runtime::Runtime>>,
    spawner: Spawner,
    vault: Vault,
}

/// Starts tasks on the upstream runtime. Cheap to clone.
#[derive(Debug, Clone)]
pub(super) struct Spawner {
    handle: tokio::runtime::Handle,
    tasks: TaskTracker,
    stop: CancellationToken,
    buffers: Arc<Semaphore>,
    surroundings: watch::Receiver<u64>,
}

/// Room for the bytes of one upload buffer; gives it back when dropped.
pub(super) struct BufferPermit {
    _permit: tokio::sync::OwnedSemaphorePermit,
}

// === impl Runtime ===

impl Runtime {
    /// Starts the threads. No credential is stored anywhere.
    ///
    /// # Errors
    /// `Internal` when the machine gives none.
    pub fn new() -> Result<Self> {
        Self::with(Places::default())
    }

    /// The same with credentials that are stored in these places.
    ///
    /// # Errors
    /// As [`Runtime::new`].
    pub fn with(places: Places) -> Result<Self> {
        let inner = tokio::runtime::Builder::new_multi_thread()
            .worker_threads(WORKERS)
            .max_blocking_threads(BLOCKING_MAX)
            .thread_name("larder-upstream")
            .enable_all()
            .build()
            .map_err(|e| Error::new(Kind::Internal, "start the upstream threads").because(e))?;
        let (changes, surroundings) = watch::channel(0);
        let spawner = Spawner {
            handle: inner.handle().clone(),
            tasks: TaskTracker::new(),
            stop: CancellationToken::new(),
            buffers: Arc::new(Semaphore::new(BUFFER_BYTES_MAX)),
            surroundings,
        };
        spawner.detach(async move { surroundings::watch(Machine::new(), changes).await });
        Ok(Self { inner: Mutex::new(Some(inner)), spawner, vault: Vault::new(places) })
    }

    /// Cancels what runs, waits up to `grace` for it to end, then lets go of it. Calls made later fail at once.
    pub async fn stop(&self, grace: Duration) {
        self.spawner.stop.cancel();
        self.spawner.tasks.close();
        // What doesn't end within its grace is a blocking call into a dead mount; nothing can wait for that.
        let _ = tokio::time::timeout(grace, self.spawner.tasks.wait()).await;
        self.release();
    }

    pub(super) fn spawner(&self) -> Spawner {
        self.spawner.clone()
    }

    /// The same credentials with who keeps them, if they are stored under a name.
    pub(super) fn keep(&self, credentials: &Credentials) -> Credentials {
        self.vault.attach(credentials, &self.spawner)
    }

    fn release(&self) {
        let inner = self.inner.lock().take();
        if let Some(inner) = inner {
            inner.shutdown_background();
        }
    }
}

impl Drop for Runtime {
    fn drop(&mut self) {
        self.spawner.stop.cancel();
        self.release();
    }
}

// === impl Spawner ===

impl Spawner {
    /// Runs `work` on the upstream runtime. `None` from the handle: the runtime stopped first. Dropping the handle
    /// cancels the work.
    pub(super) fn spawn<T: Send + 'static>(
        &self,
        work: impl Future<Output = T> + Send + 'static,
    ) -> AbortOnDropHandle<Option<T>> {
        let stop = self.stop.clone();
        let work = async move { stop.run_until_cancelled(work).await };
        AbortOnDropHandle::new(self.tasks.spawn_on(work, &self.handle))
    }

    /// Changes whenever idle connections may be dead: see [`surroundings`].
    pub(super) fn surroundings(&self) -> watch::Receiver<u64> {
        self.surroundings.clone()
    }

    /// Runs `work` to its end even if nobody waits for it, unless the runtime stops.
    pub(super) fn detach(&self, work: impl Future<Output = ()> + Send + 'static) {
        drop(self.spawn(work).detach());
    }

    /// Waits for room for an upload buffer. More than there is in all takes all.
    pub(super) async fn buffer(&self, bytes: u64) -> BufferPermit {
        let bytes = bytes.min(BUFFER_BYTES_MAX as u64) as u32;
        let permit = Arc::clone(&self.buffers).acquire_many_owned(bytes).await;
        BufferPermit { _permit: permit.expect("the semaphore is never closed") }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[tokio::test]
    async fn dropping_the_handle_cancels_the_work() {
        let runtime = Runtime::new().unwrap();
        let (held, released) = tokio::sync::oneshot::channel::<()>();
        let task = runtime.spawner().spawn(async move {
            std::future::pending::<()>().await;
            drop(held);
        });
        drop(task);
        assert!(released.await.is_err(), "the task's state was dropped");
        runtime.stop(Duration::from_secs(1)).await;
    }

    #[tokio::test]
    async fn stopping_ends_what_runs_and_refuses_what_comes_later() {
        let runtime = Runtime::new().unwrap();
        let spawner = runtime.spawner();
        let running = spawner.spawn(std::future::pending::<()>());
        runtime.stop(Duration::from_secs(5)).await;
        assert_eq!(running.await.unwrap_or(None), None);
        assert_eq!(spawner.spawn(async { 1 }).await.unwrap_or(None), None);
    }

    #[tokio::test]
    async fn buffers_are_bounded() {
        let runtime = Runtime::new().unwrap();
        let spawner = runtime.spawner();
        let all = spawner.buffer(u64::MAX).await;
        let mut next = Box::pin(spawner.buffer(1));
        assert!(futures_util::poll!(&mut next).is_pending());
        drop(all);
        next.await;
        runtime.stop(Duration::from_secs(1)).await;
    }
}
