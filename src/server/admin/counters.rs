//! The counters of `/-/stats`: by protocol, by tier, by namespace.

use serde_json::{Map, Value, json};

use crate::cache::CacheStatus;
use crate::entry::Tier;
use crate::stats::{Counter, ProtocolStats, SHEDS, Stats, TIERS, Tally};

/// The counters, and beside them what the stores count themselves.
pub(super) fn counters(stats: &Stats, status: &CacheStatus) -> Value {
    let evictions = status.disk.evictions + status.outbox.evictions;
    let named = |pairs: &[(&str, &Counter)]| -> Map<String, Value> {
        pairs.iter().map(|(name, counter)| ((*name).to_owned(), counter.read().into())).collect()
    };
    let protocols: Map<String, Value> = stats
        .protocols()
        .into_iter()
        .map(|(name, protocol)| {
            let mut counts = named(&[
                ("refused", &protocol.refused),
                ("bytes_in", &protocol.bytes_in),
                ("bytes_out", &protocol.bytes_out),
            ]);
            counts.insert("misses".into(), protocol.misses.read().into());
            counts.insert("puts".into(), protocol.puts.read().into());
            counts.insert("hits".into(), by_tier(&protocol.hits, Tally::read));
            counts.insert("namespaces".into(), namespaces(&protocol));
            let reported = named(&[
                ("local_hits", &protocol.reported.local_hits),
                ("local_misses", &protocol.reported.local_misses),
                ("remote_hits", &protocol.reported.remote_hits),
                ("remote_misses", &protocol.reported.remote_misses),
            ]);
            if reported.values().any(|count| count.as_u64() != Some(0)) {
                counts.insert("reported".into(), reported.into());
            }
            (name.to_owned(), counts.into())
        })
        .collect();
    let sheds: Vec<(&str, &Counter)> =
        SHEDS.into_iter().map(|reason| (reason.name(), stats.shed(reason))).collect();
    let mut totals = named(&[
        ("fills", &stats.fills),
        ("fills_joined", &stats.fills_joined),
        ("uploads", &stats.uploads),
        ("uploads_ended", &stats.uploads_ended),
        ("uploads_superseded", &stats.uploads_superseded),
        ("corrupt", &stats.corrupt),
        ("deadline_misses", &stats.deadline_misses),
        ("denied_reads", &stats.denied_reads),
    ]);
    totals.insert("evictions".into(), evictions.into());
    json!({ "protocols": protocols, "sheds": named(&sheds), "totals": totals })
}

fn by_tier(hits: &[Tally; 4], count: impl Fn(&Tally) -> u64) -> Value {
    let tiers = TIERS.into_iter().map(Tier::name).zip(hits);
    tiers.map(|(tier, hits)| (tier.to_owned(), count(hits).into())).collect::<Map<_, Value>>().into()
}

/// Those that the protocol's clients asked for.
fn namespaces(protocol: &ProtocolStats) -> Value {
    let counts = protocol.namespaces.all().filter_map(|(name, place)| {
        let (misses, puts) = (protocol.misses.of(place), protocol.puts.of(place));
        let hits: u64 = protocol.hits.iter().map(|hits| hits.of(place)).sum();
        let counts = json!({
            "hits": by_tier(&protocol.hits, |hits| hits.of(place)),
            "misses": misses,
            "puts": puts,
        });
        (hits + misses + puts > 0).then(|| (name.to_owned(), counts))
    });
    counts.collect::<Map<_, _>>().into()
}
