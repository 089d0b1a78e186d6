//! The page `/-/status` as this version reads it. A daemon of another version may say less, or more: what is missing is
//! nothing, what is unknown is passed over.

use std::collections::BTreeMap;

use serde::Deserialize;

/// The page.
#[derive(Debug, Default, Deserialize)]
#[serde(default)]
pub(super) struct Page {
    pub(super) version: String,
    pub(super) pid: u32,
    pub(super) started_ms: u64,
    pub(super) uptime_s: u64,
    pub(super) ready: Option<bool>,
    pub(super) connections: u64,
    pub(super) configuration: Configuration,
    pub(super) listeners: Vec<Listener>,
    pub(super) memory: Tier,
    pub(super) disk: Tier,
    pub(super) outbox: Tier,
    pub(super) free_bytes: u64,
    pub(super) free_inodes: u64,
    pub(super) inodes: u64,
    pub(super) queue: Queue,
    pub(super) upstreams: Vec<Upstream>,
    pub(super) protocols: BTreeMap<String, Protocol>,
    pub(super) partial_uploads: PartialUploads,
    pub(super) sheds: BTreeMap<String, u64>,
    pub(super) warnings: BTreeMap<String, Warning>,
}

#[derive(Debug, Default, Deserialize)]
#[serde(default)]
pub(super) struct Configuration {
    pub(super) file: Option<String>,
    pub(super) applied_ms: u64,
    pub(super) problems: Vec<String>,
    pub(super) problems_since_ms: Option<u64>,
    pub(super) needs_restart: Vec<String>,
}

#[derive(Debug, Default, Deserialize)]
#[serde(default)]
pub(super) struct Listener {
    pub(super) endpoint: String,
    pub(super) only: Option<String>,
    pub(super) gate: String,
    pub(super) adopted: bool,
}

#[derive(Debug, Default, Deserialize)]
#[serde(default)]
pub(super) struct Tier {
    pub(super) entries: u64,
    pub(super) bytes: u64,
    pub(super) bound_bytes: u64,
    pub(super) evictions: u64,
}

#[derive(Debug, Default, Deserialize)]
#[serde(default)]
pub(super) struct Queue {
    pub(super) entries: u64,
    pub(super) bytes: u64,
    pub(super) oldest_ms: Option<u64>,
    pub(super) known: Option<bool>,
    pub(super) bytes_per_s: u64,
    pub(super) entries_per_s: f64,
    pub(super) empty_in_s: Option<u64>,
}

#[derive(Debug, Default, Deserialize)]
#[serde(default)]
pub(super) struct Upstream {
    pub(super) name: String,
    pub(super) read: Direction,
    pub(super) write: Direction,
    pub(super) read_only: bool,
    pub(super) hits: u64,
}

#[derive(Debug, Default, Deserialize)]
#[serde(default)]
pub(super) struct Direction {
    pub(super) state: String,
    pub(super) words: String,
    pub(super) since_ms: u64,
    pub(super) remedy: Option<String>,
}

/// Of a protocol, or of one of its namespaces.
#[derive(Debug, Default, Deserialize)]
#[serde(default)]
pub(super) struct Protocol {
    pub(super) hits: BTreeMap<String, u64>,
    pub(super) misses: u64,
    pub(super) puts: u64,
    pub(super) namespaces: BTreeMap<String, Protocol>,
}

#[derive(Debug, Default, Deserialize)]
#[serde(default)]
pub(super) struct PartialUploads {
    pub(super) count: u64,
    pub(super) bytes: u64,
    pub(super) live: u64,
}

#[derive(Debug, Default, Deserialize)]
#[serde(default)]
pub(super) struct Warning {
    pub(super) words: String,
    pub(super) since_ms: u64,
}

// === impl Page ===

impl Page {
    /// Nothing needs a person. Worked out from the warnings, for they are what an older daemon tells, too.
    pub(super) fn is_healthy(&self) -> bool {
        self.warnings.is_empty() && self.configuration.problems.is_empty()
    }
}

// === impl Protocol ===

impl Protocol {
    pub(super) fn was_used(&self) -> bool {
        self.all_hits() + self.misses + self.puts > 0
    }

    pub(super) fn all_hits(&self) -> u64 {
        self.hits.values().sum()
    }
}
