//! What `larder doctor` has to do itself when no daemon runs, done as the daemon would.

use std::path::Path;
use std::time::Duration;

use super::parts;
use crate::cache;
use crate::config::Config;
use crate::error::Result;
use crate::upstream::{Canary, Runtime};

/// What still runs then is a blocking call into a dead mount.
const GRACE: Duration = Duration::from_millis(100);

/// Flies a canary to each upstream of a configuration, with the keys of this process.
///
/// # Errors
/// When an upstream can't be as it is configured.
pub(crate) async fn canaries(config: &Config) -> Result<Vec<Canary>> {
    let runtime = Runtime::with(config.credentials.clone())?;
    let remotes = parts::remotes(config, None, &runtime)?;
    let canaries = cache::canaries(remotes).await;
    runtime.stop(GRACE).await;
    Ok(canaries)
}

/// `disk_keep_free` of a store in this folder, where the configuration doesn't say it.
pub(crate) fn keep_free(folder: &Path) -> u64 {
    parts::keep_free(folder)
}
