//! Counters that every layer adds to and the admin pages read.
//!
//! Plain relaxed atomics: each number is right, no two are of exactly the same instant. What every request writes lies
//! [`Spread`] over several cache lines, because a line that all cores write is the slowest thing on a hot path.

mod namespaces;
pub mod noted;

use std::collections::BTreeMap;
use std::sync::Arc;
use std::sync::atomic::{AtomicU64, AtomicUsize, Ordering};
use std::time::Duration;

use parking_lot::RwLock;

use crate::entry::Tier;
pub use namespaces::{NAMESPACES_MAX, Namespaces, Place, Tally};

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

/// False in the twin of itself that `benches/run --row accounting` measures Larder against, and nowhere else: there
/// nothing is counted, and no namespace is looked up to count for.
const ACCOUNTED: bool = !cfg!(larder_unaccounted);

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
    pub hits: [Tally; 4],
    /// Look-ups that found nothing.
    pub misses: Tally,
    /// Uploads that were accepted, shed ones included.
    pub puts: Tally,
    /// Requests refused: malformed, denied, too large.
    pub refused: Counter,
    /// Body bytes sent to clients.
    pub bytes_out: Counter,
    /// Body bytes taken from clients.
    pub bytes_in: Counter,
    /// What the clients themselves say they saw, where a protocol has a word for it.
    pub reported: Reported,
    /// How long answers took that memory alone could not give, in the order of [`OUTCOMES`].
    pub first_byte: [Histogram; 3],
    /// Whom hits, misses and puts are counted for.
    pub namespaces: Arc<Namespaces>,
}

/// How a request ended, as far as its answer's head tells.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Outcome {
    /// An entry was answered.
    Hit,
    /// It wasn't there.
    Miss,
    /// Anything else: a write, a refusal, a call that is not about one entry.
    Other,
}

/// Times in buckets.
#[derive(Debug, Default)]
pub struct Histogram(Spread<Buckets>);

/// One number for each bound, one for what is above all, and the sum of all in nanoseconds.
#[derive(Debug, Default)]
struct Buckets {
    counts: [AtomicU64; BUCKETS.len() + 1],
    nanos: AtomicU64,
}

/// The upper bounds of a [`Histogram`]'s buckets, in microseconds: from what a disk answers in to the deadline.
pub const BUCKETS: [u64; 13] =
    [100, 250, 500, 1_000, 2_500, 5_000, 10_000, 25_000, 50_000, 100_000, 500_000, 1_500_000, 5_000_000];

/// Every outcome, in the order of [`ProtocolStats::first_byte`].
pub const OUTCOMES: [Outcome; 3] = [Outcome::Hit, Outcome::Miss, Outcome::Other];

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
    /// Whom hits, misses and puts are counted for, in all protocols.
    pub namespaces: Arc<Namespaces>,
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
    /// Fills whose bytes were not what their name or the store said.
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
        if !ACCOUNTED {
            return;
        }
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

// === impl Histogram ===

impl Histogram {
    /// One more that took this long.
    pub fn observe(&self, took: Duration) {
        if !ACCOUNTED {
            return;
        }
        let micros = took.as_micros();
        let at = BUCKETS.iter().position(|bound| micros <= u128::from(*bound)).unwrap_or(BUCKETS.len());
        let buckets = self.0.mine();
        buckets.counts[at].fetch_add(1, Ordering::Relaxed);
        buckets.nanos.fetch_add(took.as_nanos() as u64, Ordering::Relaxed);
    }

    /// How many took at most as long as each bound, all of them last; and the time of all together.
    pub fn read(&self) -> ([u64; BUCKETS.len() + 1], Duration) {
        let mut counts = [0; BUCKETS.len() + 1];
        let mut nanos = 0;
        for buckets in self.0.all() {
            for (sum, count) in counts.iter_mut().zip(&buckets.counts) {
                *sum += count.load(Ordering::Relaxed);
            }
            nanos += buckets.nanos.load(Ordering::Relaxed);
        }
        for at in 1..counts.len() {
            counts[at] += counts[at - 1];
        }
        (counts, Duration::from_nanos(nanos))
    }
}

// === impl Outcome ===

impl Outcome {
    /// The word in metrics.
    pub fn name(self) -> &'static str {
        match self {
            Self::Hit => "hit",
            Self::Miss => "miss",
            Self::Other => "other",
        }
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
        let new = || {
            let namespaces = Arc::clone(&self.namespaces);
            Arc::new(ProtocolStats { namespaces, ..ProtocolStats::default() })
        };
        Arc::clone(self.protocols.write().entry(name).or_insert_with(new))
    }

    /// All protocols that were ever asked for, by name.
    pub fn protocols(&self) -> Vec<(&'static str, Arc<ProtocolStats>)> {
        self.protocols.read().iter().map(|(name, stats)| (*name, Arc::clone(stats))).collect()
    }

    /// How long an answer took that memory alone could not give.
    pub fn took(&self, protocol: &'static str, outcome: Outcome, time: Duration) {
        if let Some(stats) = self.protocols.read().get(protocol) {
            stats.first_byte[outcome as usize].observe(time);
        }
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
    fn times_are_counted_at_and_above_their_bound() {
        let histogram = Histogram::default();
        for micros in [1, 100, 101, 5_000_000, 5_000_001] {
            histogram.observe(Duration::from_micros(micros));
        }
        let (counts, sum) = histogram.read();
        assert_eq!(&counts[..2], [2, 3]);
        assert_eq!(&counts[BUCKETS.len() - 1..], [4, 5]);
        assert_eq!(sum, Duration::from_micros(10_000_203));
    }

    #[test]
    fn positions_are_the_discriminants() {
        for (position, tier) in TIERS.into_iter().enumerate() {
            assert_eq!(tier as usize, position);
        }
        for (position, shed) in SHEDS.into_iter().enumerate() {
            assert_eq!(shed as usize, position);
        }
        for (position, outcome) in OUTCOMES.into_iter().enumerate() {
            assert_eq!(outcome as usize, position);
        }
    }
}
