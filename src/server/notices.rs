//! What the daemon has to say of itself: its configuration, and what a person should look at.
//!
//! Written by those who find out, read by the admin pages. Nothing here is on a request's path.

use std::collections::BTreeMap;
use std::sync::Arc;
use std::time::{SystemTime, UNIX_EPOCH};

use parking_lot::Mutex;
use serde::Serialize;

/// A handle; cheap to clone.
#[derive(Debug, Clone, Default)]
pub struct Notices {
    /// A leaf mutex.
    inner: Arc<Mutex<Inner>>,
}

#[derive(Debug, Default)]
struct Inner {
    configuration: Configuration,
    warnings: BTreeMap<String, Warning>,
}

/// The configuration in force, and what became of the last change of it.
#[derive(Debug, Clone, Default, PartialEq, Eq, Serialize)]
pub struct Configuration {
    /// The file, if there is one.
    pub file: Option<String>,
    /// When what is in force was applied, in milliseconds since the epoch.
    pub applied_ms: u64,
    /// How often one was applied since start.
    pub applied: u64,
    /// Why the newest one is not in force, one problem each with file, line and remedy. Empty: it is.
    pub problems: Vec<String>,
    /// Since when there are problems, in milliseconds since the epoch.
    pub problems_since_ms: Option<u64>,
    /// Keys that were changed and count from the next start on.
    pub needs_restart: Vec<String>,
}

/// Something that a person should look at.
#[derive(Debug, Clone, PartialEq, Eq, Serialize)]
pub struct Warning {
    /// What, and the remedy.
    pub words: String,
    /// Since when, in milliseconds since the epoch.
    pub since_ms: u64,
}

// === impl Notices ===

impl Notices {
    /// A configuration is in force now.
    pub fn applied(&self, file: Option<String>, needs_restart: Vec<String>) {
        let mut inner = self.inner.lock();
        let applied = inner.configuration.applied + 1;
        inner.configuration = Configuration {
            file,
            applied_ms: now_ms(),
            applied,
            problems: Vec::new(),
            problems_since_ms: None,
            needs_restart,
        };
    }

    /// The newest configuration is refused; what was in force stays so.
    pub fn refused(&self, problems: Vec<String>) {
        let mut inner = self.inner.lock();
        let since = inner.configuration.problems_since_ms.unwrap_or_else(now_ms);
        inner.configuration.problems = problems;
        inner.configuration.problems_since_ms = Some(since);
    }

    /// Warns of one thing, or no more. The thing's name keeps it apart from others; the time is of its first warning.
    pub fn warn(&self, of: &str, words: Option<String>) {
        let mut inner = self.inner.lock();
        match words {
            Some(words) => {
                let since_ms = inner.warnings.get(of).map_or_else(now_ms, |known| known.since_ms);
                inner.warnings.insert(of.to_owned(), Warning { words, since_ms });
            }
            None => drop(inner.warnings.remove(of)),
        }
    }

    /// The configuration at this moment.
    pub fn configuration(&self) -> Configuration {
        self.inner.lock().configuration.clone()
    }

    /// All warnings at this moment, by name.
    pub fn warnings(&self) -> BTreeMap<String, Warning> {
        self.inner.lock().warnings.clone()
    }
}

fn now_ms() -> u64 {
    SystemTime::now().duration_since(UNIX_EPOCH).map_or(0, |since| since.as_millis() as u64)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_refused_configuration_leaves_the_one_in_force_and_its_time() {
        let notices = Notices::default();
        notices.applied(Some("larder.toml".into()), vec!["listen".into()]);
        let before = notices.configuration();
        assert_eq!(before.applied, 1);
        notices.refused(vec!["larder.toml:1:1: is not TOML".into()]);
        let refused = notices.configuration();
        assert_eq!((refused.applied_ms, refused.applied), (before.applied_ms, 1));
        assert_eq!((refused.problems.len(), refused.needs_restart), (1, before.needs_restart));
        let since = refused.problems_since_ms;
        assert!(since.is_some());
        notices.refused(vec!["another".into()]);
        assert_eq!(notices.configuration().problems_since_ms, since, "broken since the first");
        notices.applied(None, Vec::new());
        assert_eq!(notices.configuration().problems, Vec::<String>::new());
    }

    #[test]
    fn a_warning_keeps_its_time_and_ends() {
        let notices = Notices::default();
        notices.warn("clock", Some("is 20 minutes off".into()));
        let first = notices.warnings()["clock"].clone();
        notices.warn("clock", Some("is 21 minutes off".into()));
        let second = notices.warnings()["clock"].clone();
        assert_eq!((first.since_ms, &*second.words), (second.since_ms, "is 21 minutes off"));
        notices.warn("clock", None);
        assert!(notices.warnings().is_empty());
    }
}
