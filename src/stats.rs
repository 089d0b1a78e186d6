//! Counters that every layer adds to and the admin pages read.
//!
//! Plain relaxed atomics: each number is right, no two are of exactly the same instant. What every request writes lies
//! [`Spread`] over several cache lines, because a line that all cores write is the slowest thing on a hot path.

use std::collections::BTreeMap;
use std::sync::Arc;
use std::sync::atomic::{AtomicU64, AtomicUsize, Ordering};

use parking_lot::RwLock;

use crate::entry::Tier;

/// A number that only grows.
#[derive(Debug, Default)]
pub struct Counter(Spread<AtomicU64>);

/// One value for each of a few groups of threads, each on a cache line of its own.
#[derive(Debug, Default)]
pub struct Spread<T>([Line<T>; LINES]);

/// 128 bytes: x86-64 fetches lines in pairs, and Apple's have that length.
#[derive(Debug, Default)]
#[repr(align(128))]
struct Line<T>(T);

/// A power of two; more threads than this share.
const LINES: usize = 8;

/// Why an accepted PUT was not queued, or not kept at all.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash)]
pub enum Shed {
    /// Over `entry_max`.
    EntryMax,
    /// Less than `disk_floor` is free.
    DiskFloor,
    /// The disk refused the write.
    DiskError,
    /// `queue_bytes` is reached.
    QueueBytes,
    /// `queue_entries` is reached.
    QueueEntries,
    /// It names another entry that is neither here nor known to be upstream.
    Incomplete,
    /// Its name is one that the store can't carry unchanged.
    Name,
}

/// What one protocol's clients saw.
#[derive(Debug, Default)]
pub struct ProtocolStats {
    /// Hits by tier, in the order of [`TIERS`].
    pub hits: [Counter; 4],
    /// Look-ups that found nothing.
    pub misses: Counter,
    /// Uploads that were accepted, shed ones included.
    pub puts: Counter,
    /// Requests refused: malformed, denied, too large.
    pub refused: Counter,
    /// Body bytes sent to clients.
    pub bytes_out: Counter,
    /// Body bytes taken from clients.
    pub bytes_in: Counter,
    /// What the clients themselves say they saw, where a protocol has a word for it.
    pub reported: Reported,
}

/// What clients report of their runs: their local cache included, which no request shows.
#[derive(Debug, Default)]
pub struct Reported {
    /// Hits in the client's local cache.
    pub local_hits: Counter,
    /// Misses in the client's local cache.
    pub local_misses: Counter,
    /// Hits here, as the client counts them: downloaded, and what it checks was right.
    pub remote_hits: Counter,
    /// Misses here, as the client counts them.
    pub remote_misses: Counter,
}

/// All counters of a daemon.
#[derive(Debug, Default)]
pub struct Stats {
    protocols: RwLock<BTreeMap<&'static str, Arc<ProtocolStats>>>,
    sheds: [Counter; SHEDS.len()],
    /// Entries that came from upstream and were published.
    pub fills: Counter,
    /// Requests that joined a fill that another had begun.
    pub fills_joined: Counter,
    /// Entries whose upload succeeded.
    pub uploads: Counter,
    /// Bytes of their bodies.
    pub uploaded_bytes: Counter,
    /// Uploads that ended for good without success: the object was refused, or a link was found nowhere.
    pub uploads_ended: Counter,
    /// Uploads whose target was overwritten by somebody later than our acknowledgement.
    pub uploads_superseded: Counter,
    /// Entries evicted.
    pub evictions: Counter,
    /// Entries found damaged and set aside.
    pub corrupt: Counter,
    /// Misses because the first-byte deadline passed.
    pub deadline_misses: Counter,
    /// Reads that the upstream denied one by one and that were taken as misses.
    pub denied_reads: Counter,
}

/// The tiers in the order of [`ProtocolStats::hits`].
pub const TIERS: [Tier; 4] = [Tier::Memory, Tier::Outbox, Tier::Disk, Tier::Upstream];

/// Every reason, in the order of the counters.
pub const SHEDS: [Shed; 7] = [
    Shed::EntryMax,
    Shed::DiskFloor,
    Shed::DiskError,
    Shed::QueueBytes,
    Shed::QueueEntries,
    Shed::Incomplete,
    Shed::Name,
];

// === impl Counter ===

impl Counter {
    /// One more.
    pub fn one(&self) {
        self.add(1);
    }

    /// `count` more.
    pub fn add(&self, count: u64) {
        self.0.mine().fetch_add(count, Ordering::Relaxed);
    }

    /// The number so far.
    pub fn read(&self) -> u64 {
        self.0.all().map(|line| line.load(Ordering::Relaxed)).sum()
    }
}

// === impl Spread ===

impl<T> Spread<T> {
    /// The value of this thread's group.
    pub fn mine(&self) -> &T {
        static NEXT: AtomicUsize = AtomicUsize::new(0);
        thread_local! {
            static MINE: usize = NEXT.fetch_add(1, Ordering::Relaxed) % LINES;
        }
        &self.0[MINE.with(|mine| *mine)].0
    }

    /// The values of all groups.
    pub fn all(&self) -> impl Iterator<Item = &T> {
        self.0.iter().map(|line| &line.0)
    }
}

// === impl Shed ===

impl Shed {
    /// The word in stats, metrics and logs.
    pub fn name(self) -> &'static str {
        match self {
            Self::EntryMax => "entry_max",
            Self::DiskFloor => "disk_floor",
            Self::DiskError => "disk_error",
            Self::QueueBytes => "queue_bytes",
            Self::QueueEntries => "queue_entries",
            Self::Incomplete => "incomplete",
            Self::Name => "name",
        }
    }
}

// === impl ProtocolStats ===

impl ProtocolStats {
    /// A look-up was answered by `tier`.
    pub fn hit(&self, tier: Tier) {
        self.hits[tier as usize].one();
    }
}

// === impl Stats ===

impl Stats {
    /// The counters of one protocol. A frontend asks once and keeps them.
    pub fn protocol(&self, name: &'static str) -> Arc<ProtocolStats> {
        if let Some(known) = self.protocols.read().get(name) {
            return Arc::clone(known);
        }
        Arc::clone(self.protocols.write().entry(name).or_default())
    }

    /// All protocols that were ever asked for, by name.
    pub fn protocols(&self) -> Vec<(&'static str, Arc<ProtocolStats>)> {
        self.protocols.read().iter().map(|(name, stats)| (*name, Arc::clone(stats))).collect()
    }

    /// The counter of one shed reason.
    pub fn shed(&self, reason: Shed) -> &Counter {
        &self.sheds[reason as usize]
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn what_all_threads_count_is_counted() {
        let counter = Counter::default();
        std::thread::scope(|scope| {
            for _ in 0..2 * LINES {
                scope.spawn(|| counter.add(3));
            }
        });
        assert_eq!(counter.read(), 6 * LINES as u64);
    }

    #[test]
    fn positions_are_the_discriminants() {
        for (position, tier) in TIERS.into_iter().enumerate() {
            assert_eq!(tier as usize, position);
        }
        for (position, shed) in SHEDS.into_iter().enumerate() {
            assert_eq!(shed as usize, position);
        }
    }
}
