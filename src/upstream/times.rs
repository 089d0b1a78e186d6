//! Times as all stores have them: a call that is not waited for for ever, and how far a store's clock is from ours.

use std::time::{Duration, SystemTime};

use super::{Fault, Signal};

/// Waits for `call`, but not for ever.
pub(super) async fn in_time<T>(
    deadline: Duration,
    doing: &str,
    call: impl Future<Output = T>,
) -> Result<T, Fault> {
    tokio::time::timeout(deadline, call).await.map_err(|_| {
        let words = format!("no answer to {doing} within {} s", deadline.as_secs());
        Fault::state(Signal::Deadline, words)
    })
}

/// How far `one` is ahead of `other`.
pub(super) fn seconds_ahead(one: SystemTime, other: SystemTime) -> i64 {
    let seconds = |between: Duration| i64::try_from(between.as_secs()).unwrap_or(i64::MAX);
    match one.duration_since(other) {
        Ok(ahead) => seconds(ahead),
        Err(behind) => -seconds(behind.duration()),
    }
}
