//! `/-/metrics`: the counters and states of `/-/stats` for Prometheus.
//!
//! Names, labels and meanings are in `docs/metrics.md` and don't change within a version of it; `tests/it` compares the
//! two. Times are in seconds, sizes in bytes. Every label has few values: protocols, tiers, reasons and directions are
//! fixed, upstreams are those of the configuration. Namespaces are no label of a histogram or of anything that is not
//! bounded in [`crate::stats`].
//!
//! Written by hand rather than by a metrics crate: the crates own the counters that they render, behind handles that
//! are looked up or behind locks, while ours are spread over cache lines for the hot path and read by `/-/stats` too.
//! What is left is text, and the formats' own parsers check it in the tests.

mod process;
mod text;

use std::time::{SystemTime, UNIX_EPOCH};

use super::notices::Configuration;
use crate::cache::{CacheStatus, DirectionStatus, TierStatus, UpstreamStatus};
use crate::entry::Tier;
use crate::stats::{BUCKETS, OUTCOMES, Place, ProtocolStats, SHEDS, Stats, TIERS};
pub(super) use text::Format;
use text::{Kind, Writer};

/// All that the page tells of, at one moment.
pub(super) struct Seen<'a> {
    pub(super) stats: &'a Stats,
    pub(super) cache: CacheStatus,
    pub(super) configuration: Configuration,
    pub(super) warnings: usize,
    pub(super) connections: usize,
    pub(super) ready: bool,
    pub(super) started: SystemTime,
}

/// One number of a protocol, and that of one namespace.
type Count = fn(&ProtocolStats) -> u64;
type CountOf = fn(&ProtocolStats, Place) -> u64;

/// The page.
pub(super) fn page(seen: &Seen<'_>, format: Format) -> String {
    let mut page = Writer::new(format);
    daemon(&mut page, seen);
    protocols(&mut page, seen.stats);
    totals(&mut page, seen.stats);
    tiers(&mut page, &seen.cache);
    queue(&mut page, &seen.cache);
    upstreams(&mut page, &seen.cache.upstreams);
    process::write(&mut page, seconds(seen.started));
    page.end()
}

fn daemon(page: &mut Writer, seen: &Seen<'_>) {
    page.family("larder_build_info", Kind::Gauge, "Always 1; the version is its label.")
        .sample(&[("version", env!("CARGO_PKG_VERSION"))], 1);
    page.family("larder_start_time_seconds", Kind::Gauge, "When the daemon began, since the Unix epoch.")
        .sample(&[], seconds(seen.started));
    page.family("larder_ready", Kind::Gauge, "1 when the index is read, so that look-ups don't wait.")
        .sample(&[], u8::from(seen.ready));
    page.family("larder_connections", Kind::Gauge, "Open connections of clients.")
        .sample(&[], seen.connections);
    page.family("larder_warnings", Kind::Gauge, "Warnings that larder status shows.")
        .sample(&[], seen.warnings);
    page.family(
        "larder_configuration_problems",
        Kind::Gauge,
        "Problems that keep the newest configuration from being in force.",
    )
    .sample(&[], seen.configuration.problems.len());
    page.family(
        "larder_configuration_applied_timestamp_seconds",
        Kind::Gauge,
        "When the configuration in force was applied, since the Unix epoch.",
    )
    .sample(&[], seen.configuration.applied_ms as f64 / 1000.0);
}

fn protocols(page: &mut Writer, stats: &Stats) {
    let protocols = stats.protocols();
    page.family(
        "larder_hits_total",
        Kind::Counter,
        "Look-ups that found the entry, by the tier that had it.",
    );
    for (name, protocol) in &protocols {
        for (tier, hits) in TIERS.into_iter().zip(&protocol.hits) {
            page.sample(&[("protocol", name), ("tier", tier.name())], hits.read());
        }
    }
    let counters: [(&str, &str, Count); 5] = [
        ("larder_misses_total", "Look-ups that found nothing.", |protocol| protocol.misses.read()),
        ("larder_puts_total", "Uploads that were acknowledged, shed ones included.", |protocol| {
            protocol.puts.read()
        }),
        ("larder_refused_total", "Requests refused: malformed, denied, too large.", |protocol| {
            protocol.refused.read()
        }),
        ("larder_received_bytes_total", "Bytes of bodies taken from clients.", |protocol| {
            protocol.bytes_in.read()
        }),
        ("larder_sent_bytes_total", "Bytes of bodies sent to clients.", |protocol| protocol.bytes_out.read()),
    ];
    for (family, help, counter) in counters {
        page.family(family, Kind::Counter, help);
        for (name, protocol) in &protocols {
            page.sample(&[("protocol", name)], counter(protocol));
        }
    }
    page.family(
        "larder_client_reported_total",
        Kind::Counter,
        "What clients say of their own runs, by the cache that they mean.",
    );
    for (name, protocol) in &protocols {
        let reported = &protocol.reported;
        for (cache, outcome, counter) in [
            ("local", "hit", &reported.local_hits),
            ("local", "miss", &reported.local_misses),
            ("remote", "hit", &reported.remote_hits),
            ("remote", "miss", &reported.remote_misses),
        ] {
            let count = counter.read();
            if count > 0 {
                page.sample(&[("protocol", name), ("cache", cache), ("outcome", outcome)], count);
            }
        }
    }
    namespaces(page, stats);
    first_byte(page, &protocols);
}

/// All protocols together: a hundred namespaces of each would be a thousand lines.
fn namespaces(page: &mut Writer, stats: &Stats) {
    let protocols = stats.protocols();
    let families: [(&str, &str, CountOf); 3] = [
        ("larder_namespace_hits_total", "Look-ups that found the entry, by namespace.", |protocol, place| {
            protocol.hits.iter().map(|hits| hits.of(place)).sum()
        }),
        ("larder_namespace_misses_total", "Look-ups that found nothing, by namespace.", |protocol, place| {
            protocol.misses.of(place)
        }),
        ("larder_namespace_puts_total", "Uploads acknowledged, by namespace.", |protocol, place| {
            protocol.puts.of(place)
        }),
    ];
    for (family, help, count) in families {
        page.family(family, Kind::Counter, help);
        for (name, place) in stats.namespaces.all() {
            let count = protocols.iter().map(|(_, protocol)| count(protocol, place)).sum::<u64>();
            page.sample(&[("namespace", name)], count);
        }
    }
}

fn first_byte(page: &mut Writer, protocols: &[(&'static str, std::sync::Arc<ProtocolStats>)]) {
    page.family(
        "larder_first_byte_seconds",
        Kind::Histogram,
        "Time to the head of the answer, of requests that a look into memory didn't answer.",
    );
    for (name, protocol) in protocols {
        for (outcome, histogram) in OUTCOMES.into_iter().zip(&protocol.first_byte) {
            let (counts, sum) = histogram.read();
            let all = counts[BUCKETS.len()];
            if all == 0 {
                continue;
            }
            let labels = [("protocol", *name), ("outcome", outcome.name())];
            for (bound, count) in BUCKETS.iter().zip(counts) {
                let bound = (*bound as f64 / 1e6).to_string();
                page.part("_bucket", &[labels[0], labels[1], ("le", &bound)], count);
            }
            page.part("_bucket", &[labels[0], labels[1], ("le", "+Inf")], all);
            page.part("_sum", &labels, sum.as_secs_f64());
            page.part("_count", &labels, all);
        }
    }
}

fn totals(page: &mut Writer, stats: &Stats) {
    page.family(
        "larder_sheds_total",
        Kind::Counter,
        "Uploads acknowledged and not kept as asked, by reason.",
    );
    for reason in SHEDS {
        page.sample(&[("reason", reason.name())], stats.shed(reason).read());
    }
    for (family, help, counter) in [
        ("larder_fills_total", "Entries that came from upstream and were kept.", &stats.fills),
        (
            "larder_fills_joined_total",
            "Requests that joined a fill which another had begun.",
            &stats.fills_joined,
        ),
        ("larder_corrupt_fills_total", "Fills whose bytes were wrong; none was kept.", &stats.corrupt),
        ("larder_uploads_total", "Entries whose upload succeeded.", &stats.uploads),
        ("larder_uploads_ended_total", "Uploads that ended for good without success.", &stats.uploads_ended),
        (
            "larder_uploads_superseded_total",
            "Uploads whose target somebody had overwritten later.",
            &stats.uploads_superseded,
        ),
        (
            "larder_deadline_misses_total",
            "Misses because the first-byte deadline passed.",
            &stats.deadline_misses,
        ),
        (
            "larder_denied_reads_total",
            "Reads that an upstream denied one by one, taken as misses.",
            &stats.denied_reads,
        ),
    ] {
        page.family(family, Kind::Counter, help).sample(&[], counter.read());
    }
}

fn tiers(page: &mut Writer, cache: &CacheStatus) {
    let tiers = [(Tier::Memory, cache.memory), (Tier::Outbox, cache.outbox), (Tier::Disk, cache.disk)];
    let mut family = |name, kind, help, value: fn(&TierStatus) -> u64| {
        page.family(name, kind, help);
        for (tier, status) in &tiers {
            page.sample(&[("tier", tier.name())], value(status));
        }
    };
    family("larder_tier_entries", Kind::Gauge, "Entries of a tier.", |tier| tier.entries);
    family("larder_tier_bytes", Kind::Gauge, "Bytes that count against a tier's bound.", |tier| tier.bytes);
    family("larder_tier_bound_bytes", Kind::Gauge, "The bound of a tier.", |tier| tier.bound_bytes);
    family("larder_tier_draft_bytes", Kind::Gauge, "Bytes that drafts hold in a tier.", |tier| {
        tier.draft_bytes
    });
    family("larder_evictions_total", Kind::Counter, "Entries evicted from a tier's disk.", |tier| {
        tier.evictions
    });
    family("larder_corrupt_entries_total", Kind::Counter, "Entries found damaged and set aside.", |tier| {
        tier.corrupt
    });
    for (family, help, value) in [
        ("larder_free_bytes", "Free bytes of the cache folder's filesystem.", cache.free_bytes),
        ("larder_fills_running", "Fills under way.", cache.fills as u64),
        ("larder_facts", "Facts about upstreams that are remembered, absences left out.", cache.facts as u64),
        ("larder_absences", "Absences that are remembered.", cache.absences as u64),
        (
            "larder_partial_uploads",
            "Uploads in pieces that nobody writes to now.",
            cache.partial_uploads.count as u64,
        ),
        (
            "larder_partial_upload_bytes",
            "Bytes of uploads in pieces that nobody writes to now.",
            cache.partial_uploads.bytes,
        ),
    ] {
        page.family(family, Kind::Gauge, help).sample(&[], value);
    }
}

fn queue(page: &mut Writer, cache: &CacheStatus) {
    let queue = &cache.queue;
    page.family("larder_queue_entries", Kind::Gauge, "Entries that wait to go upstream.")
        .sample(&[], queue.entries);
    page.family("larder_queue_bytes", Kind::Gauge, "Bytes that wait to go upstream.")
        .sample(&[], queue.bytes);
    page.family(
        "larder_queue_oldest_age_seconds",
        Kind::Gauge,
        "How long the oldest entry of the queue has waited; 0 when there is none.",
    )
    .sample(&[], queue.oldest_ms.unwrap_or(0) as f64 / 1000.0);
}

fn upstreams(page: &mut Writer, upstreams: &[UpstreamStatus]) {
    let mut states = |name, help, value: fn(&DirectionStatus) -> f64| {
        page.family(name, Kind::Gauge, help);
        for upstream in upstreams {
            for (direction, status) in [("read", &upstream.read), ("write", &upstream.write)] {
                page.sample(&[("upstream", &upstream.name), ("direction", direction)], value(status));
            }
        }
    };
    states("larder_upstream_up", "1 when calls of this direction go to the upstream.", |status| {
        f64::from(u8::from(status.state == "up"))
    });
    states(
        "larder_upstream_denied",
        "1 when the upstream answers that we may not: a person must act.",
        |status| f64::from(u8::from(status.state == "denied")),
    );
    states(
        "larder_upstream_state_timestamp_seconds",
        "Since when the upstream's direction is in its state, since the Unix epoch.",
        |status| status.since_ms as f64 / 1000.0,
    );
    page.family(
        "larder_upstream_read_only",
        Kind::Gauge,
        "1 when the upstream is configured to be never written.",
    );
    for upstream in upstreams {
        page.sample(&[("upstream", &upstream.name)], u8::from(upstream.read_only));
    }
    page.family(
        "larder_upstream_hits_total",
        Kind::Counter,
        "Look-ups that the upstream answered, because nothing nearer had the entry.",
    );
    for upstream in upstreams {
        page.sample(&[("upstream", &upstream.name)], upstream.hits);
    }
}

fn seconds(time: SystemTime) -> f64 {
    time.duration_since(UNIX_EPOCH).unwrap_or_default().as_secs_f64()
}
