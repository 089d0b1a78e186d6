//! Canaries: whether each upstream can really be written and read, now.

use futures_util::stream::{self, StreamExt as _};

use super::Cache;
use crate::upstream::{Canary, Remote};

/// Flights at one time.
const AT_ONCE: usize = 16;

impl Cache {
    /// Flies one to each upstream, several at once; in the order of the configuration.
    pub async fn canaries(&self) -> Vec<Canary> {
        canaries(self.inner.remotes.all().into_iter().map(|(remote, _)| remote).collect()).await
    }
}

/// Flies one to each of `remotes`.
pub async fn canaries(remotes: Vec<Remote>) -> Vec<Canary> {
    let flights = remotes.into_iter().map(|remote| async move { remote.canary().await });
    stream::iter(flights).buffered(AT_ONCE).collect().await
}
