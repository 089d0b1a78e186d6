//! The bounds as numbers, and those that contradict each other.

use std::time::Duration;

/// The bounds; each field is a key of the same name, with its default and its reason in the table of keys.
#[derive(Debug, Clone, Default)]
#[expect(missing_docs, reason = "the table of keys describes each once")]
pub struct Bounds {
    pub memory: u64,
    pub memory_entry_max: u64,
    pub disk: u64,
    /// `None`: 5 % of the filesystem, at most 5 GiB.
    pub disk_keep_free: Option<u64>,
    pub inodes_keep_free: u8,
    pub disk_floor: u64,
    pub queue_bytes: u64,
    pub queue_entries: u64,
    pub fills: usize,
    pub fill_bytes: u64,
    pub connect: Duration,
    pub first_byte: Duration,
    pub stall: Duration,
    pub absent_memory_entries: usize,
    pub absent_memory_age: Duration,
    pub fact_memory_entries: usize,
    pub fact_memory_age: Duration,
    /// `None`: half of the descriptors that the process may have.
    pub connections: Option<usize>,
    pub head: Duration,
    pub body_stall: Duration,
    pub idle: Duration,
    pub partial_uploads_count: usize,
    /// `None`: half of `disk`.
    pub partial_uploads_bytes: Option<u64>,
    pub partial_uploads_age: Duration,
    pub quarantine_entries: usize,
    pub quarantine_bytes: u64,
    pub quarantine_age: Duration,
}

// === impl Bounds ===

impl Bounds {
    /// Those that contradict another (the second), or themselves, each with its remedy.
    pub(super) fn contradictions(
        &self,
        entry_max: Option<u64>,
    ) -> Vec<(&'static str, &'static str, &'static str)> {
        let mut found = Vec::new();
        if entry_max.is_some_and(|entry_max| entry_max > self.disk / 4) {
            found.push((
                "entry_max",
                "disk",
                "is over a quarter of `disk`, so that one entry would evict too much; lower it or raise `disk`",
            ));
        }
        if self.memory > 0 && self.memory_entry_max > self.memory {
            found.push(("memory_entry_max", "memory", "is over `memory`; lower it or raise `memory`"));
        }
        for (key, time) in [
            ("connect", self.connect),
            ("first_byte", self.first_byte),
            ("stall", self.stall),
            ("head", self.head),
            ("body_stall", self.body_stall),
            ("idle", self.idle),
        ] {
            if time.is_zero() {
                found.push((key, key, "is zero, so that nothing would ever be in time; raise it"));
            }
        }
        found
    }
}
