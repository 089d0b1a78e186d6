//! What the daemon says of itself on `/-/stats`: its version, its warnings, the configuration in force.

use std::collections::BTreeMap;
use std::path::Path;

use serde::Deserialize;

use super::finding::Finding;

/// What is used of `/-/stats`. A daemon of another version may lack any of it.
#[derive(Debug, Clone, Default, Deserialize)]
#[serde(default)]
pub(super) struct Stats {
    pub(super) version: String,
    pub(super) pid: u32,
    pub(super) uptime_s: u64,
    ready: bool,
    pub(super) configuration: InForce,
    warnings: BTreeMap<String, Warning>,
    pub(super) disk: Tier,
    pub(super) upstreams: Vec<Upstream>,
}

#[derive(Debug, Clone, Default, Deserialize)]
#[serde(default)]
pub(super) struct InForce {
    file: Option<String>,
    problems: Vec<String>,
    needs_restart: Vec<String>,
}

#[derive(Debug, Clone, Default, Deserialize)]
#[serde(default)]
struct Warning {
    words: String,
}

/// What a store holds.
#[derive(Debug, Clone, Default, Deserialize)]
#[serde(default)]
pub(super) struct Tier {
    pub(super) bytes: u64,
}

/// How the daemon sees an upstream.
#[derive(Debug, Clone, Default, Deserialize)]
#[serde(default)]
pub(super) struct Upstream {
    pub(super) name: String,
    pub(super) read: Direction,
    pub(super) write: Direction,
}

/// One direction of it.
#[derive(Debug, Clone, Default, Deserialize)]
#[serde(default)]
pub(super) struct Direction {
    pub(super) state: String,
    pub(super) words: String,
}

// === impl Stats ===

impl Stats {
    pub(super) fn findings(&self) -> Vec<Finding> {
        const OWN: &str = env!("CARGO_PKG_VERSION");
        let mut findings = Vec::new();
        if self.version != OWN {
            findings.push(Finding::warning(
                "daemon",
                format!("the daemon is version {}, this command {OWN}", self.version),
                "restart the daemon, so that both are of one installation",
            ));
        }
        if !self.ready {
            findings.push(Finding::warning(
                "daemon",
                "it is still reading its index: look-ups wait for it",
                "wait; a large index takes some seconds",
            ));
        }
        for (of, warning) in &self.warnings {
            findings.push(Finding::warning(
                "daemon",
                format!("the daemon warns of {of}"),
                warning.words.as_str(),
            ));
        }
        findings
    }
}

// === impl InForce ===

impl InForce {
    /// What differs between the configuration in force and the file.
    pub(super) fn findings(&self, file: Option<&Path>) -> Vec<Finding> {
        const CHECK: &str = "configuration";
        let mut findings = Vec::new();
        for problem in &self.problems {
            findings.push(Finding::problem(
                CHECK,
                format!("the daemon goes on with an earlier configuration, because the newest is refused: {problem}"),
                "correct it; `larder check` shows what is in force then",
            ));
        }
        if !self.needs_restart.is_empty() {
            findings.push(Finding::warning(
                CHECK,
                format!("changed, and not in force before the next start: {}", self.needs_restart.join(", ")),
                "restart the daemon",
            ));
        }
        let same = match (&self.file, file) {
            (Some(theirs), Some(ours)) => same_file(Path::new(theirs), ours),
            (None, None) => true,
            _ => false,
        };
        if !same {
            let name = |file: Option<String>| file.unwrap_or_else(|| "no file".into());
            findings.push(Finding::warning(
                CHECK,
                format!(
                    "the daemon runs with {}, and this looked at {}",
                    name(self.file.clone()),
                    name(file.map(|file| file.display().to_string()))
                ),
                "give --config as the daemon has it, or restart the daemon with this one",
            ));
        }
        findings
    }
}

fn same_file(one: &Path, other: &Path) -> bool {
    one == other
        || match (std::fs::canonicalize(one), std::fs::canonicalize(other)) {
            (Ok(one), Ok(other)) => one == other,
            _ => false,
        }
}
