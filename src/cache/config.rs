//! The bounds of the policy, with their defaults and reasons.

use std::time::Duration;

use crate::memory;

/// Numbers of the cache layer. The names of those a user sets are the configuration's keys.
#[derive(Debug, Clone)]
pub struct Settings {
    /// `entry_max`: bytes of one entry; over it a PUT is refused or shed, an upstream object streams through.
    pub entry_max: u64,
    /// `disk`, for pages that show it; nothing of the policy is measured against it.
    pub disk: u64,
    /// The memory tier's own.
    pub memory: memory::Settings,
    /// Bodies up to this are collected and written as one unit. The stores' `inline_max`.
    pub inline_max: u64,
    /// `queue_bytes`: bytes queued in all.
    pub queue_bytes: u64,
    /// `queue_entries`: entries queued in all.
    pub queue_entries: u64,
    /// `fills`: at once.
    pub fills: usize,
    /// `fill_bytes`: announced bytes of running fills.
    pub fill_bytes: u64,
    /// `first_byte`: from a request's head to its answer; past it a miss.
    pub first_byte: Duration,
    /// `absent_memory_entries`.
    pub absent_entries: usize,
    /// `absent_memory_age`.
    pub absent_age: Duration,
    /// `fact_memory_entries`.
    pub fact_entries: usize,
    /// `fact_memory_age`.
    pub fact_age: Duration,
    /// `partial_uploads_count`: idle ones at most.
    pub partial_uploads: usize,
    /// `partial_uploads_bytes`: of idle ones in all, and of any one.
    pub partial_bytes: u64,
    /// `partial_uploads_age`: since the last byte.
    pub partial_age: Duration,
    /// Parts of idle uploads in all, and of any one: what tiny parts cost is not their bytes.
    pub partial_parts: usize,
    /// What is withheld until a digest agrees: a client never has a whole body that is wrong.
    pub withheld: u64,
    /// A range that starts further past a fill's progress is a request of its own.
    pub range_ahead: u64,
    /// With no reader left, a fill with this much or less to come goes on.
    pub finish_below: u64,
    /// Links of one entry that are asked for at once.
    pub links_at_once: usize,
    /// Bytes of one prefetched link, at most, where a namespace prefetches small ones.
    pub prefetch_entry_max: u64,
    /// Bytes prefetched for one entry, at most, likewise.
    pub prefetch_max: u64,
    /// Uploads at once in the beginning.
    pub uploads: usize,
    /// Uploads at once at most.
    pub uploads_max: usize,
}

// === impl Settings ===

impl Default for Settings {
    fn default() -> Self {
        Self {
            entry_max: 5 << 30,
            disk: 10 << 30,
            memory: memory::Settings { memory: 256 << 20, memory_entry_max: 1 << 20 },
            inline_max: 64 << 10,
            queue_bytes: 5 << 30,
            queue_entries: 1_000_000,
            fills: 256,
            fill_bytes: 2 << 30,
            first_byte: Duration::from_millis(1500),
            absent_entries: 100_000,
            absent_age: Duration::from_secs(2),
            fact_entries: 1_000_000,
            fact_age: Duration::from_secs(3 * 3600),
            partial_uploads: 1000,
            partial_bytes: 5 << 30,
            partial_age: Duration::from_secs(3600),
            partial_parts: 100_000,
            withheld: 64 << 10,
            range_ahead: 8 << 20,
            finish_below: 16 << 20,
            links_at_once: 64,
            prefetch_entry_max: 4 << 20,
            prefetch_max: 64 << 20,
            uploads: 4,
            uploads_max: 32,
        }
    }
}
