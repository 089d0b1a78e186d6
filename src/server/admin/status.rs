//! `/-/status`, by the admin socket only: all that `larder status` shows, with what a person should look at.
//!
//! What is public, `/-/stats`, is part of it under the same names.

use std::collections::BTreeMap;
use std::time::SystemTime;

use serde::Serialize;
use serde_json::{Value, json};

use super::super::listen::{Gate, Listener};
use super::super::notices::{Configuration, Warning};
use super::{Admin, counters, epoch_ms, extend};
use crate::cache::{
    CacheStatus, DirectionStatus, Lately, QueueBounds, QueueSummary, SHEDS_WINDOW, UpstreamStatus,
};
use crate::stats::Shed;

/// A socket that is listened on.
#[derive(Debug, Clone, Serialize)]
pub(in crate::server) struct ListenerStatus {
    endpoint: String,
    /// One protocol alone.
    only: Option<&'static str>,
    /// `users` of this machine, they by the `admin` socket, whoever has one of the `tokens`, or one of the
    /// `certificates`.
    gate: &'static str,
    tls: bool,
    /// A service manager's, which outlives the process.
    adopted: bool,
}

/// The queue, and how fast it empties.
#[derive(Debug, Serialize)]
struct Queue {
    #[serde(flatten)]
    summary: QueueSummary,
    #[serde(flatten)]
    bounds: QueueBounds,
    /// What was queued before the start is counted, too.
    known: bool,
    bytes_per_s: u64,
    entries_per_s: f64,
    /// At this rate; `null`: nothing goes.
    empty_in_s: Option<u64>,
}

/// From here on the queue is said to be nearly full.
const QUEUE_NEAR_PERCENT: u64 = 80;

/// Damage is spoken of for so long.
const DAMAGE_TOLD_MS: u64 = 24 * 3600 * 1000;

/// The index of a cache that is well is read by then.
const READY_WITHIN_S: u64 = 60;

impl Admin {
    pub(super) async fn status(&self) -> Value {
        let (status, known) = self.cache.status_now().await;
        let (now_ms, started_ms) = (epoch_ms(SystemTime::now()), epoch_ms(self.started_at));
        let lately = self.cache.lately();
        let configuration = self.notices.configuration();
        let bounds = self.cache.queue_bounds();
        let mut warnings = self.notices.warnings();
        let mut warn = |of: String, words: String, since_ms| {
            warnings.insert(of, Warning { words, since_ms });
        };
        of_configuration(&configuration, &mut warn);
        of_upstreams(&status.upstreams, &mut warn);
        of_sheds(&lately, now_ms, &mut warn);
        of_disk(&status, &lately, now_ms, &mut warn);
        of_queue(&status.queue, bounds, now_ms, &mut warn);
        if !self.is_ready() && self.started.elapsed().as_secs() > READY_WITHIN_S {
            let words = "the index is not read yet, so look-ups wait: see the log for what the disk says";
            warn("ready".into(), words.into(), started_ms);
        }
        // What went a moment ago says nothing of what is left where no upstream takes it now.
        let goes = status.upstreams.iter().any(|upstream| upstream.write.state == "up");
        let queue = Queue::new(status.queue, bounds, known, goes.then_some(&lately));
        let mut page = self.head();
        let counters = counters(self.cache.stats(), &status);
        let upstreams: Vec<Value> = status.upstreams.iter().map(upstream).collect();
        let cache = serde_json::to_value(&status).unwrap_or_default();
        for part in [
            cache,
            counters,
            json!({
                "healthy": warnings.is_empty(),
                "started_ms": started_ms,
                "configuration": configuration,
                "listeners": self.listeners,
                "queue": queue,
                "upstreams": upstreams,
                "sheds_lately": sheds_lately(&lately),
                "warnings": warnings,
            }),
        ] {
            extend(&mut page, part);
        }
        page
    }
}

// === impl ListenerStatus ===

impl ListenerStatus {
    pub(in crate::server) fn of(listener: &Listener) -> Self {
        Self {
            endpoint: listener.endpoint.to_string(),
            only: listener.only.map(|only| only.name()),
            gate: match listener.gate() {
                Gate::Users => "users",
                Gate::Admin => "admin",
                Gate::Tokens => "tokens",
                Gate::Certificates => "certificates",
            },
            tls: listener.tls.is_some(),
            adopted: listener.is_adopted(),
        }
    }
}

// === impl Queue ===

impl Queue {
    /// `lately`: `None` where nothing goes upstream.
    fn new(summary: QueueSummary, bounds: QueueBounds, known: bool, lately: Option<&Lately>) -> Self {
        let (bytes_per_s, entries_per_s) =
            lately.map_or((0.0, 0.0), |lately| (lately.bytes_per_s, lately.entries_per_s));
        let time = |left: u64, rate: f64| match left {
            0 => Some(0.0),
            left if rate > 0.0 => Some(left as f64 / rate),
            _ => None,
        };
        // Entries without bytes go, too: whichever takes longer.
        let by_bytes = time(summary.bytes, bytes_per_s);
        let by_entries = time(summary.entries, entries_per_s);
        Self {
            summary,
            bounds,
            known,
            bytes_per_s: bytes_per_s as u64,
            entries_per_s: (entries_per_s * 10.0).round() / 10.0,
            empty_in_s: by_bytes.zip(by_entries).map(|(bytes, entries)| bytes.max(entries).ceil() as u64),
        }
    }
}

/// As `/-/stats` has it, and for each direction the remedy by itself.
fn upstream(status: &UpstreamStatus) -> Value {
    let mut value = serde_json::to_value(status).unwrap_or_default();
    for (name, direction) in [("read", &status.read), ("write", &status.write)] {
        value[name]["remedy"] = remedy(direction).into();
    }
    value
}

/// What a person can do about a state.
fn remedy(direction: &DirectionStatus) -> Option<&str> {
    match direction.state.as_str() {
        "up" => None,
        "denied" => direction.words.rsplit_once("; ").map(|(_, remedy)| remedy),
        _ => Some(
            "builds go on with what is here, and it is asked again by itself, at the latest each minute; \
             `larder doctor` looks for the cause",
        ),
    }
}

fn sheds_lately(lately: &Lately) -> Value {
    let sheds: BTreeMap<&str, u64> =
        lately.sheds.iter().map(|(reason, count)| (reason.name(), *count)).collect();
    json!({ "within_s": SHEDS_WINDOW.as_secs(), "sheds": sheds })
}

fn of_configuration(configuration: &Configuration, warn: &mut impl FnMut(String, String, u64)) {
    if !configuration.problems.is_empty() {
        let since = configuration.problems_since_ms.unwrap_or_default();
        let words = format!(
            "the newest configuration is refused, and the last good one in force: {}",
            configuration.problems.join("; ")
        );
        warn("configuration".into(), words, since);
    }
    if !configuration.needs_restart.is_empty() {
        let words = format!(
            "changed, and in force from the next start on: {}; `larder service restart`",
            configuration.needs_restart.join(", ")
        );
        warn("needs_restart".into(), words, configuration.applied_ms);
    }
}

/// Denied is a person's to mend. Down mends itself.
fn of_upstreams(upstreams: &[UpstreamStatus], warn: &mut impl FnMut(String, String, u64)) {
    for upstream in upstreams {
        for (name, direction) in [("read", &upstream.read), ("write", &upstream.write)] {
            if direction.state == "denied" {
                let words = format!("{}: {}", upstream.name, direction.words);
                warn(format!("upstream.{}.{name}", upstream.name), words, direction.since_ms);
            }
        }
    }
}

fn of_sheds(lately: &Lately, now_ms: u64, warn: &mut impl FnMut(String, String, u64)) {
    for (reason, count) in lately.sheds.iter().filter(|(_, count)| *count > 0) {
        let minutes = SHEDS_WINDOW.as_secs() / 60;
        let (why, remedy) = shed_words(*reason);
        let uploads = if *count == 1 { "upload was" } else { "uploads were" };
        let words = format!(
            "{count} {uploads} accepted and not kept as asked in the last {minutes} min, for {why}; {remedy}"
        );
        warn(
            format!("sheds.{}", reason.name()),
            words,
            now_ms.saturating_sub(SHEDS_WINDOW.as_millis() as u64),
        );
    }
}

/// Why, and what to do about it.
fn shed_words(reason: Shed) -> (&'static str, &'static str) {
    match reason {
        Shed::EntryMax => ("they are over `entry_max`", "raise it if such entries are worth their room"),
        Shed::DiskFloor => ("less than `disk_floor` is free", "free space, or move the folder with `dir`"),
        Shed::DiskError => ("the disk refuses to be written", "the log has its words; see to the filesystem"),
        Shed::QueueBytes => ("`queue_bytes` is reached", "see to the upstream, or raise it"),
        Shed::QueueEntries => ("`queue_entries` is reached", "see to the upstream, or raise it"),
        Shed::Incomplete => (
            "they name entries that are neither here nor upstream",
            "see that the client uploads all outputs, and that no second cache takes some of them",
        ),
        Shed::Name => ("the upstream can't carry their names unchanged", "name them otherwise"),
    }
}

fn of_disk(status: &CacheStatus, lately: &Lately, now_ms: u64, warn: &mut impl FnMut(String, String, u64)) {
    if status.free_bytes < status.keep_free_bytes {
        let words = format!(
            "only {} MiB are free on the cache's disk, less than `disk_keep_free`, {} MiB: the cache gives way; free \
             space, or lower it",
            status.free_bytes >> 20,
            status.keep_free_bytes >> 20
        );
        warn("disk.keep_free".into(), words, now_ms);
    }
    if status.free_inodes < status.keep_free_inodes {
        let words = format!(
            "only {} of {} inodes are free on the cache's disk, less than `inodes_keep_free`, {}: the cache gives way; \
             remove small files, or lower it",
            status.free_inodes, status.inodes, status.keep_free_inodes
        );
        warn("disk.inodes".into(), words, now_ms);
    }
    let mut found = |at: Option<u64>, of: &str, words: &str| {
        if let Some(at) = at.filter(|at| now_ms.saturating_sub(*at) < DAMAGE_TOLD_MS) {
            warn(of.into(), words.into(), at);
        }
    };
    let words = "entries were found damaged on disk, set aside, and are fetched again; if it goes on, check the disk \
                 (`dmesg`, `smartctl`)";
    found(lately.damaged_ms, "damage", words);
    let words = "an upstream sent bodies that are not what was asked for; they were not served: look for a proxy on \
                 the way, or an object that another program overwrote";
    found(lately.wrong_ms, "upstream.wrong", words);
}

fn of_queue(
    queue: &QueueSummary,
    bounds: QueueBounds,
    now_ms: u64,
    warn: &mut impl FnMut(String, String, u64),
) {
    let percent = |now: u64, max: u64| now.saturating_mul(100).checked_div(max).unwrap_or(0);
    let full = [
        (percent(queue.bytes, bounds.bound_bytes), "queue_bytes"),
        (percent(queue.entries, bounds.bound_entries), "queue_entries"),
    ];
    if let Some((percent, bound)) = full.into_iter().max().filter(|(full, _)| *full >= QUEUE_NEAR_PERCENT) {
        let words = format!(
            "the queue is at {percent} % of `{bound}`, and beyond that uploads are not queued any more; see to the \
             upstream, or raise it"
        );
        warn("queue".into(), words, now_ms.saturating_sub(queue.oldest_ms.unwrap_or(0)));
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn queue(entries: u64, bytes: u64) -> QueueSummary {
        QueueSummary { entries, bytes, oldest_ms: Some(1000) }
    }

    const BOUNDS: QueueBounds = QueueBounds { bound_entries: 100, bound_bytes: 1000 };

    fn direction(state: &str, words: &str) -> DirectionStatus {
        DirectionStatus { state: state.into(), words: words.into(), since_ms: 5 }
    }

    #[test]
    fn the_time_to_empty_is_that_of_bytes_or_entries() {
        let empty_in = |entries, bytes, entries_per_s, bytes_per_s| {
            let lately = Lately { bytes_per_s, entries_per_s, ..Lately::default() };
            Queue::new(queue(entries, bytes), BOUNDS, true, Some(&lately)).empty_in_s
        };
        assert_eq!(empty_in(10, 1000, 5.0, 100.0), Some(10));
        assert_eq!(empty_in(100, 1000, 5.0, 100.0), Some(20));
        assert_eq!(empty_in(10, 0, 5.0, 0.0), Some(2), "deletes have no bytes");
        assert_eq!(empty_in(10, 1000, 0.0, 0.0), None);
        assert_eq!(empty_in(0, 0, 0.0, 0.0), Some(0));
        assert_eq!(Queue::new(queue(10, 1000), BOUNDS, true, None).empty_in_s, None, "nothing goes");
    }

    #[test]
    fn remedies_are_told_by_themselves() {
        let words = "write denied since 14:02: AccessDenied: no; give the keys the right to do this";
        assert_eq!(remedy(&direction("denied", words)), Some("give the keys the right to do this"));
        assert!(remedy(&direction("down", "read down since 14:02: refused")).is_some());
        assert_eq!(remedy(&direction("up", "read up")), None);
    }

    fn warned(tell: impl FnOnce(&mut dyn FnMut(String, String, u64))) -> Vec<(String, String)> {
        let mut all = Vec::new();
        tell(&mut |of, words, _| all.push((of, words)));
        all
    }

    #[test]
    fn a_refused_configuration_is_warned_of_with_its_place() {
        let configuration = Configuration {
            problems: vec!["larder.toml:3:1: `disk`: is not a size".into()],
            needs_restart: vec!["listen".into()],
            ..Configuration::default()
        };
        let all = warned(|mut warn| of_configuration(&configuration, &mut warn));
        assert_eq!(all[0].0, "configuration");
        assert!(all[0].1.contains("larder.toml:3:1"), "{all:?}");
        assert!(all[1].1.contains("listen") && all[1].1.contains("larder service restart"), "{all:?}");
        assert!(warned(|mut warn| of_configuration(&Configuration::default(), &mut warn)).is_empty());
    }

    #[test]
    fn denied_needs_a_person_and_down_does_not() {
        let upstream = |state: &str| UpstreamStatus {
            credential: None,
            name: "s3://b".into(),
            read: direction("up", "read up"),
            write: direction(state, "words"),
            read_only: false,
            hits: 0,
        };
        let all = warned(|mut warn| of_upstreams(&[upstream("down"), upstream("denied")], &mut warn));
        assert_eq!(all, [("upstream.s3://b.write".to_owned(), "s3://b: words".to_owned())]);
    }

    #[test]
    fn a_queue_near_its_bound_names_the_bound() {
        let all = warned(|mut warn| of_queue(&queue(79, 790), BOUNDS, 5000, &mut warn));
        assert!(all.is_empty(), "{all:?}");
        let all = warned(|mut warn| of_queue(&queue(10, 900), BOUNDS, 5000, &mut warn));
        assert!(all[0].1.contains("90 % of `queue_bytes`"), "{all:?}");
        let all = warned(|mut warn| of_queue(&queue(95, 900), BOUNDS, 5000, &mut warn));
        assert!(all[0].1.contains("95 % of `queue_entries`"), "{all:?}");
    }

    #[test]
    fn sheds_are_warned_of_by_reason_and_damage_for_a_day() {
        let lately = Lately {
            sheds: vec![(Shed::EntryMax, 0), (Shed::QueueBytes, 2)],
            damaged_ms: Some(1000),
            ..Lately::default()
        };
        let all = warned(|mut warn| of_sheds(&lately, 1 << 40, &mut warn));
        assert_eq!(all.len(), 1);
        assert!(all[0].0 == "sheds.queue_bytes" && all[0].1.starts_with("2 uploads were"), "{all:?}");
    }
}
