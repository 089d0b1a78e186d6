//! The runtime of all upstream work.

use std::time::Duration;

use crate::error::Result;

/// Threads of their own for upstream work: DNS, TLS, credentials, transfers.
#[derive(Debug)]
pub struct Runtime {}

// === impl Runtime ===

impl Runtime {
    /// Starts the threads.
    ///
    /// # Errors
    /// `Internal` when the machine gives none.
    pub fn start() -> Result<Self> {
        unimplemented!()
    }

    /// Cancels what runs, waits up to `grace` for it to end, then lets go of it.
    pub async fn stop(self, grace: Duration) {
        let _ = grace;
        unimplemented!()
    }
}
