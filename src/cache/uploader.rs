//! The uploaders: one for each upstream, draining the outbox behind.
//!
//! In order of arrival, what an entry names before the entry itself; 4 at once, up to 32 as long as all goes well,
//! half as many when the store asks for less. While the upstream refuses writes nothing is begun; what was on its
//! way goes back to its place. What one upload does is in [`super::upload`].
//!
//! Upstreams come, change and go while the daemon runs. An upload that was begun ends with the upstream that it was
//! begun with; what is queued for one that is gone, or is no longer written to, stays queued.

use std::collections::HashSet;
use std::time::Duration;

use tokio::sync::watch;
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

/// Rows that wait for what they name, until anything has ended.
#[derive(Debug, Default)]
struct Blocked {
    rows: HashSet<Generation>,
    /// Uploads that have ended so far.
    ends: u64,
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
    let mut running = HashSet::new();
    let mut changes = cache.inner.remotes.changes();
    loop {
        changes.borrow_and_update();
        for remote in cache.inner.remotes.written() {
            let tag = QueueTag(remote.tag());
            if running.insert(tag) {
                uploaders.spawn(drain(cache.clone(), tag));
            }
        }
        tokio::select! {
            ended = uploaders.join_next(), if !uploaders.is_empty() => {
                if let Some(Ok(tag)) = ended {
                    running.remove(&tag);
                }
            }
            // The sender is the cache's.
            _ = changes.changed() => {}
        }
    }
}

/// Uploads what is queued for one place, until that is not written to any more.
async fn drain(cache: Cache, tag: QueueTag) -> QueueTag {
    let mut pace = Pace::of(&cache);
    let mut slots = cache.inner.remotes.changes();
    let mut remote = cache.inner.remotes.written_as(tag);
    let mut states = remote.as_ref().map(Remote::changes);
    let mut uploads: JoinSet<(Queued, u64, Ending)> = JoinSet::new();
    let mut pauses: JoinSet<Queued> = JoinSet::new();
    let mut blocked = Blocked::default();
    let mut retry = RETRY_FIRST;
    loop {
        if remote.is_none() && uploads.is_empty() && pauses.is_empty() {
            return tag;
        }
        while let Some(remote) = remote.as_ref().filter(|remote| remote.writable())
            && uploads.len() < pace.at_once
            && let Some(row) = cache.inner.queue.next(tag, &blocked.rows)
        {
            let (cache, remote, ends) = (cache.clone(), remote.clone(), blocked.ends);
            uploads.spawn(async move {
                let ending = cache.upload(&remote, row).await;
                (row, ends, ending)
            });
        }
        tokio::select! {
            ended = uploads.join_next(), if !uploads.is_empty() => {
                let Some(Ok((row, ends, ending))) = ended else { continue };
                blocked.rows.clear();
                match ending {
                    Ending::Done | Ending::Ended => {
                        blocked.ends += 1;
                        cache.inner.queue.end(row);
                        pace.success();
                        retry = RETRY_FIRST;
                    }
                    Ending::Blocked => {
                        blocked.insert(row.generation, ends);
                        cache.inner.queue.back(row);
                    }
                    Ending::Again { after, slower } => {
                        if slower {
                            pace.slower();
                        }
                        // While the upstream refuses writes its own probes set the pace.
                        let well = remote.as_ref().is_some_and(Remote::writable);
                        let wait = after.unwrap_or(if well { retry } else { Duration::ZERO });
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
            () = cache.inner.queue.woken(tag) => blocked.rows.clear(),
            () = changed(&mut states) => retry = RETRY_FIRST,
            // The sender is the cache's.
            _ = slots.changed() => {
                let now = cache.inner.remotes.written_as(tag);
                let same = now.as_ref().zip(remote.as_ref()).is_some_and(|(now, old)| now.is(old));
                if !same {
                    states = now.as_ref().map(Remote::changes);
                    remote = now;
                    pace = Pace::of(&cache);
                    blocked.rows.clear();
                    retry = RETRY_FIRST;
                }
            }
        }
    }
}

/// Resolves when either state of the upstream has changed.
async fn changed(states: &mut Option<watch::Receiver<u64>>) {
    match states {
        // An upstream is held by who waits here, so the sender is there.
        Some(states) => _ = states.changed().await,
        None => std::future::pending().await,
    }
}

// === impl Blocked ===

impl Blocked {
    /// A row was found to wait by an upload that began after so many had ended. What it waits for may be among those
    /// that have ended since: then it is looked at again at once, for nothing may be left that would wake it.
    fn insert(&mut self, row: Generation, ends: u64) {
        if ends == self.ends {
            self.rows.insert(row);
        }
    }
}

// === impl Pace ===

impl Pace {
    fn of(cache: &Cache) -> Self {
        let settings = cache.inner.settings.read();
        Self { at_once: settings.uploads, max: settings.uploads_max, streak: 0 }
    }

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
    fn a_row_waits_only_while_nothing_has_ended_since_it_was_looked_at() {
        let mut blocked = Blocked::default();
        blocked.insert(Generation(1), 0);
        blocked.ends += 1;
        blocked.insert(Generation(2), 0);
        blocked.insert(Generation(3), 1);
        assert_eq!(blocked.rows, HashSet::from([Generation(1), Generation(3)]));
    }

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
