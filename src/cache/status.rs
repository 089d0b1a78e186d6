//! What the admin pages and the command line show of the cache.

use std::collections::HashMap;
use std::time::{Duration, SystemTime, UNIX_EPOCH};

use parking_lot::Mutex;
use serde::Serialize;
use tokio::sync::watch;
use tokio::time::Instant;

use super::{Cache, now_ms};
use crate::stats::Shed;
use crate::store::Usage;
use crate::upstream::{Outlook, State};

/// The cache at one moment.
#[derive(Debug, Clone, Serialize)]
pub struct CacheStatus {
    /// The memory tier: entries and bytes, bookkeeping included.
    pub memory: TierStatus,
    /// The cache store.
    pub disk: TierStatus,
    /// The outbox store.
    pub outbox: TierStatus,
    /// Free bytes of the cache folder's filesystem.
    pub free_bytes: u64,
    /// With less free bytes the cache evicts: `disk_keep_free`.
    pub keep_free_bytes: u64,
    /// Free inodes of it; 0 of 0 where a filesystem doesn't count them.
    pub free_inodes: u64,
    /// All its inodes.
    pub inodes: u64,
    /// With less free inodes the cache evicts: `inodes_keep_free`.
    pub keep_free_inodes: u64,
    /// What waits to go upstream.
    pub queue: QueueSummary,
    /// Each upstream, in words.
    pub upstreams: Vec<UpstreamStatus>,
    /// What is being uploaded in pieces.
    pub partial_uploads: PartialUploads,
    /// Fills under way.
    pub fills: usize,
    /// Facts and absences remembered.
    pub facts: usize,
    /// Absences remembered.
    pub absences: usize,
}

/// A tier's content.
#[derive(Debug, Clone, Copy, Serialize)]
pub struct TierStatus {
    /// Entries.
    pub entries: u64,
    /// Bytes that count against the tier's bound.
    pub bytes: u64,
    /// The bound; of the outbox it is that of the queue.
    pub bound_bytes: u64,
    /// Bytes that drafts hold.
    pub draft_bytes: u64,
    /// Entries found damaged since start.
    pub corrupt: u64,
    /// Entries evicted since start.
    pub evictions: u64,
}

/// The queue in numbers.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize)]
pub struct QueueSummary {
    /// Entries, puts under way included.
    pub entries: u64,
    /// Their bytes.
    pub bytes: u64,
    /// How long the oldest has waited, in milliseconds.
    pub oldest_ms: Option<u64>,
}

/// The bounds of the queue that are in force.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize)]
pub struct QueueBounds {
    /// `queue_entries`.
    pub bound_entries: u64,
    /// `queue_bytes`.
    pub bound_bytes: u64,
}

/// What is being uploaded in pieces.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default, Serialize)]
pub struct PartialUploads {
    /// Uploads that nobody writes to now: what the bounds are about.
    pub count: usize,
    /// Their bytes.
    pub bytes: u64,
    /// Uploads that are being written to.
    pub live: usize,
}

/// An upstream in words.
#[derive(Debug, Clone, Serialize)]
pub struct UpstreamStatus {
    /// What it is called.
    pub name: String,
    /// Reads: `up`, `down` or `denied`, and in words.
    pub read: DirectionStatus,
    /// Writes.
    pub write: DirectionStatus,
    /// Whether it is never written.
    pub read_only: bool,
    /// Look-ups that it answered, because nothing nearer had the entry.
    pub hits: u64,
    /// The stored credential that it uses.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub credential: Option<CredentialStatus>,
}

/// A stored credential, as who uses it has it.
#[derive(Debug, Clone, PartialEq, Eq, Serialize)]
pub struct CredentialStatus {
    /// What it is called.
    pub name: String,
    /// Whether there are keys that live.
    pub works: bool,
    /// When they end, in milliseconds since the epoch, where that was said.
    pub ends_ms: Option<u64>,
    /// When others are asked for at the latest.
    pub renews_ms: Option<u64>,
}

/// One direction of an upstream.
#[derive(Debug, Clone, Serialize)]
pub struct DirectionStatus {
    /// In one word.
    pub state: String,
    /// For a person, with the remedy.
    pub words: String,
    /// Since when, in milliseconds since the epoch.
    pub since_ms: u64,
}

/// A row of the queue.
#[derive(Debug, Clone, Serialize)]
pub struct QueueItem {
    /// Its name upstream.
    pub object: String,
    /// Bytes of the body.
    pub bytes: u64,
    /// How long it has waited, in milliseconds.
    pub age_ms: u64,
    /// Whether it is a delete.
    pub delete: bool,
    /// Which upstream.
    pub upstream: String,
}

/// Warns of each reason at most once a minute.
#[derive(Debug, Default)]
pub(super) struct ShedLog {
    /// A leaf mutex.
    last: Mutex<HashMap<Shed, Instant>>,
}

const WARN_EVERY: Duration = Duration::from_secs(60);

impl Cache {
    /// Everything at a glance, once the queue is known.
    pub async fn status(&self) -> CacheStatus {
        let queue = self.queue_summary().await;
        self.status_with(queue)
    }

    /// Everything at a glance as far as it is known, with whether the queue is. It waits for no disk that hangs.
    pub async fn status_now(&self) -> (CacheStatus, bool) {
        const PATIENCE: Duration = Duration::from_millis(500);
        let (entries, bytes) = self.inner.queue.len();
        let is_known = self.inner.queue.is_replayed();
        let oldest = async { self.queue(1).await.first().map(|item| item.age_ms) };
        let oldest_ms = if is_known && entries > 0 {
            tokio::time::timeout(PATIENCE, oldest).await.unwrap_or_default()
        } else {
            None
        };
        (self.status_with(QueueSummary { entries, bytes, oldest_ms }), is_known)
    }

    /// The bounds of the queue.
    pub fn queue_bounds(&self) -> QueueBounds {
        let (bound_bytes, bound_entries) = self.inner.queue.bounds();
        QueueBounds { bound_entries, bound_bytes }
    }

    fn status_with(&self, queue: QueueSummary) -> CacheStatus {
        let inner = &self.inner;
        let (entries, bytes) = inner.memory.usage();
        let memory = TierStatus {
            entries,
            bytes,
            bound_bytes: inner.memory.bound(),
            draft_bytes: 0,
            corrupt: 0,
            evictions: 0,
        };
        let (disk, outbox) = (inner.cache.usage(), inner.outbox.usage());
        let (facts, absences) = inner.facts.len();
        let upstreams = inner.remotes.all().into_iter().map(|(remote, hits)| {
            let states = remote.states();
            UpstreamStatus {
                name: remote.name().to_owned(),
                read: states.read.into(),
                write: states.write.into(),
                read_only: remote.read_only(),
                hits,
                credential: remote.credential().map(|(name, outlook)| CredentialStatus::of(name, outlook)),
            }
        });
        CacheStatus {
            memory,
            free_bytes: disk.free_bytes,
            keep_free_bytes: disk.keep_free_bytes,
            free_inodes: disk.free_inodes,
            inodes: disk.inodes,
            keep_free_inodes: disk.keep_free_inodes,
            disk: disk.into(),
            outbox: TierStatus { bound_bytes: self.queue_bounds().bound_bytes, ..outbox.into() },
            queue,
            upstreams: upstreams.collect(),
            partial_uploads: inner.partials.usage(),
            fills: inner.fills.len(),
            facts,
            absences,
        }
    }

    /// The queue in numbers.
    pub async fn queue_summary(&self) -> QueueSummary {
        self.inner.queue.replayed().await;
        let (entries, bytes) = self.inner.queue.len();
        let oldest_ms = self.queue(1).await.first().map(|item| item.age_ms);
        QueueSummary { entries, bytes, oldest_ms }
    }

    /// The first rows of the queue, oldest first.
    pub async fn queue(&self, limit: usize) -> Vec<QueueItem> {
        self.inner.queue.replayed().await;
        let remotes = self.inner.remotes.all();
        let mut items = Vec::new();
        for row in self.inner.queue.first(limit) {
            let Ok(Some(stored)) = self.inner.outbox.get_by_id(row.id).await else { continue };
            let upstream = remotes.iter().map(|(remote, _)| remote).find(|remote| remote.tag() == row.tag.0);
            items.push(QueueItem {
                object: stored.record.queue.as_ref().map_or_else(String::new, |(_, name)| name.to_string()),
                bytes: row.bytes,
                age_ms: now_ms().saturating_sub(stored.record.meta.stored_ms),
                delete: stored.deleted,
                upstream: upstream
                    .map_or_else(|| "(not configured any more)".into(), |remote| remote.name().into()),
            });
        }
        items
    }

    /// Wakes at every change of the queue.
    pub fn queue_changes(&self) -> watch::Receiver<u64> {
        self.inner.queue.changes()
    }
}

// === impl CredentialStatus ===

impl CredentialStatus {
    fn of(name: &str, outlook: Option<Outlook>) -> Self {
        let ms = |time: SystemTime| {
            time.duration_since(UNIX_EPOCH).ok().and_then(|since| u64::try_from(since.as_millis()).ok())
        };
        Self {
            name: name.to_owned(),
            works: outlook.is_some(),
            ends_ms: outlook.and_then(|outlook| outlook.ends).and_then(ms),
            renews_ms: outlook.and_then(|outlook| outlook.renews).and_then(ms),
        }
    }
}

// === impl ShedLog ===

impl ShedLog {
    pub(super) fn note(&self, reason: Shed) {
        let now = Instant::now();
        let due = {
            let mut last = self.last.lock();
            let due = last.get(&reason).is_none_or(|last| now.duration_since(*last) >= WARN_EVERY);
            if due {
                last.insert(reason, now);
            }
            due
        };
        if due {
            tracing::warn!(
                reason = reason.name(),
                "uploads are accepted and not kept as asked (said once a minute)"
            );
        }
    }
}

impl From<Usage> for TierStatus {
    fn from(usage: Usage) -> Self {
        Self {
            entries: usage.entries,
            bytes: usage.bytes,
            bound_bytes: usage.bound_bytes,
            draft_bytes: usage.draft_bytes,
            corrupt: usage.corrupt,
            evictions: usage.evictions,
        }
    }
}

impl From<State> for DirectionStatus {
    fn from(state: State) -> Self {
        let since = state.since.duration_since(UNIX_EPOCH).unwrap_or_default();
        Self {
            state: format!("{:?}", state.word).to_lowercase(),
            words: state.words,
            since_ms: since.as_millis() as u64,
        }
    }
}
