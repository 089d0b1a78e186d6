//! The uploaders: one for each upstream, draining the outbox behind.
//!
//! In order of arrival, what an entry names before the entry itself; 4 at once, up to 32 as long as all goes well,
//! half as many when the store asks for less. While the upstream refuses writes nothing is begun; what was on its
//! way goes back to its place. What one upload does is in [`super::upload`].

use std::collections::HashSet;
use std::time::Duration;

use tokio::task::JoinSet;

use super::Cache;
use super::upload::Ending;
use crate::store::{Generation, QueueTag, Queued};
use crate::upstream::Remote;

/// How an uploader paces itself.
#[derive(Debug)]
struct Pace {
    at_once: usize,
    max: usize,
    /// Successes since the last change.
    streak: usize,
}

/// An upload that failed although its upstream is well is tried again after this, doubling.
const RETRY_FIRST: Duration = Duration::from_secs(1);
const RETRY_MAX: Duration = Duration::from_secs(60);

/// Runs all uploaders. Ends with the daemon.
pub(super) async fn run(cache: Cache) {
    if let Err(error) = cache.inner.outbox.ready().await {
        tracing::error!(%error, "the outbox can't be read; nothing is uploaded");
        return;
    }
    cache.inner.queue.replay(cache.inner.outbox.queued());
    let mut uploaders = JoinSet::new();
    for remote in cache.inner.remotes.iter().filter(|remote| !remote.read_only()) {
        uploaders.spawn(drain(cache.clone(), remote.clone()));
    }
    while uploaders.join_next().await.is_some() {}
}

async fn drain(cache: Cache, remote: Remote) {
    let tag = QueueTag(remote.tag());
    let mut pace =
        Pace { at_once: cache.inner.settings.uploads, max: cache.inner.settings.uploads_max, streak: 0 };
    let mut states = remote.changes();
    let mut uploads: JoinSet<(Queued, Ending)> = JoinSet::new();
    let mut pauses: JoinSet<Queued> = JoinSet::new();
    // Rows that wait for what they name. Looked at again whenever an upload ends.
    let mut blocked: HashSet<Generation> = HashSet::new();
    let mut retry = RETRY_FIRST;
    loop {
        while remote.writable()
            && uploads.len() < pace.at_once
            && let Some(row) = cache.inner.queue.next(tag, &blocked)
        {
            let (cache, remote) = (cache.clone(), remote.clone());
            uploads.spawn(async move {
                let ending = cache.upload(&remote, row).await;
                (row, ending)
            });
        }
        tokio::select! {
            ended = uploads.join_next(), if !uploads.is_empty() => {
                let Some(Ok((row, ending))) = ended else { continue };
                blocked.clear();
                match ending {
                    Ending::Done | Ending::Ended => {
                        cache.inner.queue.end(row);
                        pace.success();
                        retry = RETRY_FIRST;
                    }
                    Ending::Blocked => {
                        blocked.insert(row.generation);
                        cache.inner.queue.back(row);
                    }
                    Ending::Again { after, slower } => {
                        if slower {
                            pace.slower();
                        }
                        // While the upstream refuses writes its own probes set the pace.
                        let wait = after.unwrap_or(if remote.writable() { retry } else { Duration::ZERO });
                        retry = (retry * 2).min(RETRY_MAX);
                        pauses.spawn(async move {
                            tokio::time::sleep(wait).await;
                            row
                        });
                    }
                }
            }
            paused = pauses.join_next(), if !pauses.is_empty() => {
                if let Some(Ok(row)) = paused {
                    cache.inner.queue.back(row);
                }
            }
            () = cache.inner.queue.woken(tag) => blocked.clear(),
            changed = states.changed() => {
                if changed.is_err() {
                    return;
                }
                retry = RETRY_FIRST;
            }
        }
    }
}

// === impl Pace ===

impl Pace {
    /// One more at once for every round without a complaint.
    fn success(&mut self) {
        self.streak += 1;
        if self.streak >= self.at_once {
            self.streak = 0;
            self.at_once = (self.at_once + 1).min(self.max);
        }
    }

    fn slower(&mut self) {
        self.streak = 0;
        self.at_once = (self.at_once / 2).max(1);
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_pace_grows_by_one_and_halves() {
        let mut pace = Pace { at_once: 4, max: 6, streak: 0 };
        (0..4).for_each(|_| pace.success());
        assert_eq!(pace.at_once, 5);
        (0..100).for_each(|_| pace.success());
        assert_eq!(pace.at_once, 6);
        pace.slower();
        pace.slower();
        pace.slower();
        assert_eq!(pace.at_once, 1);
    }
}
