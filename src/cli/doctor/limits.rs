//! What the machine lets a process have: descriptors, and watches of files.

use rustix::process::{Resource, getrlimit};

use super::finding::Finding;
use crate::config::Bounds;

/// The limits.
#[derive(Debug)]
pub(super) struct Facts {
    /// Descriptors that a daemon can take: this process's hard limit, or the running daemon's own.
    descriptors: u64,
    /// Of the running daemon.
    of_daemon: bool,
    connections: Option<usize>,
    /// `fs.inotify.max_user_watches` and `max_user_instances`, where there are such.
    watches: Option<u64>,
    instances: Option<u64>,
}

/// A build with many clients, the stores' files and the upstreams' connections fit.
const DESCRIPTORS_LOW: u64 = 4096;
/// A daemon needs a handful of each; editors and build tools of the same user take from the same number.
const WATCHES_LOW: u64 = 1024;
const INSTANCES_LOW: u64 = 16;

const CHECK: &str = "limits";

// === impl Facts ===

impl Facts {
    /// Of the daemon `pid`, or of one that this user would start here.
    pub(super) fn look(bounds: &Bounds, pid: Option<u32>) -> Self {
        let daemons = pid.and_then(|pid| std::fs::read_to_string(format!("/proc/{pid}/limits")).ok());
        let daemons = daemons.as_deref().and_then(open_files);
        let own = getrlimit(Resource::Nofile).maximum.unwrap_or(u64::MAX);
        let number = |name: &str| {
            std::fs::read_to_string(format!("/proc/sys/fs/inotify/{name}")).ok()?.trim().parse().ok()
        };
        Self {
            descriptors: daemons.unwrap_or(own),
            of_daemon: daemons.is_some(),
            connections: bounds.connections,
            watches: number("max_user_watches"),
            instances: number("max_user_instances"),
        }
    }

    pub(super) fn findings(&self) -> Vec<Finding> {
        let mut findings = Vec::new();
        let whose = if self.of_daemon { "the daemon has" } else { "a daemon started here could have" };
        let half = usize::try_from(self.descriptors / 2).unwrap_or(usize::MAX);
        let connections = self.connections.unwrap_or(half);
        if connections > half {
            findings.push(Finding::warning(
                CHECK,
                format!(
                    "`connections` is {connections}, and {whose} {} descriptors, of which files and upstreams need some",
                    self.descriptors
                ),
                "lower `connections` to half of that, or raise the limit (`ulimit -n`, LimitNOFILE= of the unit)",
            ));
        } else if self.descriptors < DESCRIPTORS_LOW {
            findings.push(Finding::warning(
                CHECK,
                format!(
                    "{whose} only {} descriptors, so that {connections} connections are served at once and others wait",
                    self.descriptors
                ),
                "raise the hard limit (`ulimit -Hn`, LimitNOFILE= of the unit) to 65536",
            ));
        }
        for (name, found, low) in [
            ("max_user_watches", self.watches, WATCHES_LOW),
            ("max_user_instances", self.instances, INSTANCES_LOW),
        ] {
            if let Some(found) = found.filter(|found| *found < low) {
                findings.push(Finding::warning(
                    CHECK,
                    format!(
                        "fs.inotify.{name} is {found}: when others have used them up, changes of the configuration are \
                         seen by a slow poll only"
                    ),
                    format!("`sysctl fs.inotify.{name}={}`", low * 8),
                ));
            }
        }
        if findings.is_empty() {
            let descriptors = match self.descriptors {
                u64::MAX => "any number of".into(),
                descriptors => descriptors.to_string(),
            };
            findings.push(Finding::ok(CHECK, format!("{whose} {descriptors} descriptors")));
        }
        findings
    }
}

/// The soft limit of open files in `/proc/PID/limits`: what a daemon has raised for itself.
fn open_files(limits: &str) -> Option<u64> {
    let line = limits.lines().find_map(|line| line.strip_prefix("Max open files"))?;
    let soft = line.split_whitespace().next()?;
    if soft == "unlimited" { Some(u64::MAX) } else { soft.parse().ok() }
}

#[cfg(test)]
mod tests {
    use super::super::finding::Level;
    use super::*;

    fn facts() -> Facts {
        Facts {
            descriptors: 65_536,
            of_daemon: true,
            connections: None,
            watches: Some(65_536),
            instances: Some(128),
        }
    }

    #[test]
    fn limits_that_are_low_are_told() {
        assert_eq!(facts().findings()[0].level, Level::Ok);
        let found = Facts { descriptors: 256, ..facts() }.findings();
        assert!(found[0].words.contains("256 descriptors, so that 128 connections"), "{found:?}");
        let found = Facts { connections: Some(60_000), ..facts() }.findings();
        assert!(found[0].words.contains("`connections` is 60000"), "{found:?}");
        let found = Facts { watches: Some(8), instances: Some(1), ..facts() }.findings();
        assert!(
            found[0].words.contains("max_user_watches is 8") && found[1].words.contains("instances is 1")
        );
        assert_eq!(Facts { watches: None, instances: None, ..facts() }.findings()[0].level, Level::Ok);
    }

    #[test]
    fn the_kernels_table_of_limits() {
        let table = "Limit                     Soft Limit           Hard Limit           Units\n\
                     Max open files            1024                 524288               files\n";
        assert_eq!(open_files(table), Some(1024));
        assert_eq!(open_files("Max open files  unlimited  unlimited files"), Some(u64::MAX));
        assert_eq!(open_files(""), None);
    }
}
