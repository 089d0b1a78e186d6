//! What people get to read.

use serde_json::{Value, json};

use super::super::super::paint::plain;
use super::*;

const NOW: u64 = 1_767_225_600_000;

fn shown(page: Value) -> String {
    plain(&show(&serde_json::from_value(page).expect("a page"), NOW))
}

fn full() -> Value {
    json!({
        "version": "0.1.0",
        "pid": 7,
        "started_ms": NOW - 180_000,
        "uptime_s": 180,
        "ready": true,
        "connections": 2,
        "configuration": { "file": "/etc/larder.toml", "applied_ms": NOW - 180_000, "applied": 1 },
        "listeners": [
            { "endpoint": "127.0.0.1:5273", "only": null, "gate": "users", "adopted": true },
            { "endpoint": "127.0.0.1:9000", "only": "s3", "gate": "users", "adopted": false },
            { "endpoint": "10.0.0.1:5273", "only": null, "gate": "tokens", "adopted": false },
            { "endpoint": "unix:/run/larder.sock", "only": null, "gate": "admin", "adopted": false },
        ],
        "memory": { "entries": 3, "bytes": 1 << 20, "bound_bytes": 256 << 20 },
        "disk": { "entries": 1, "bytes": 5_u64 << 30, "bound_bytes": 10_u64 << 30, "evictions": 4 },
        "outbox": { "entries": 0, "bytes": 0, "bound_bytes": 5_u64 << 30 },
        "free_bytes": 40_u64 << 30,
        "free_inodes": 97,
        "inodes": 100,
        "queue": {
            "entries": 2, "bytes": 1536, "oldest_ms": 61_000, "known": true,
            "bytes_per_s": 1024, "entries_per_s": 1.5, "empty_in_s": 2,
        },
        "partial_uploads": { "count": 1, "bytes": 1024, "live": 2 },
        "sheds": { "queue_bytes": 3, "entry_max": 0 },
        "upstreams": [
            {
                "name": "s3://b",
                "read": { "state": "up", "words": "read up", "since_ms": NOW },
                "write": {
                    "state": "denied",
                    "words": "write denied since 14:02: AccessDenied: no: really; give the keys the right",
                    "since_ms": NOW,
                    "remedy": "give the keys the right",
                },
                "read_only": false,
                "hits": 1,
            },
            {
                "name": "az://c",
                "read": {
                    "state": "down", "words": "read down since 14:02: refused", "since_ms": NOW,
                    "remedy": "it is asked again",
                },
                "read_only": true,
                "hits": 2,
            },
        ],
        "protocols": {
            "turborepo": {
                "hits": { "memory": 10, "outbox": 1, "disk": 2, "upstream": 3 }, "misses": 16, "puts": 5,
                "namespaces": {
                    "web": { "hits": { "memory": 10 }, "misses": 10, "puts": 5 },
                    "unused": { "hits": {}, "misses": 0, "puts": 0 },
                },
            },
            "nx": { "hits": { "memory": 0 }, "misses": 0, "puts": 0 },
        },
        "warnings": { "upstream.s3://b.write": { "words": "s3://b: write denied", "since_ms": NOW } },
    })
}

#[test]
fn a_full_page_says_all_of_it() {
    let text = shown(full());
    for line in [
        "larder 0.1.0  needs attention\n",
        "pid 7, 2 connections open\n",
        "configuration    /etc/larder.toml, applied ",
        "listening        127.0.0.1:5273, from the service manager\n",
        "                 127.0.0.1:9000, s3 alone\n",
        "                 10.0.0.1:5273, with a token\n",
        "                 unix:/run/larder.sock, for this command\n",
        "memory           1.0 MiB of 256.0 MiB, <1 %, 3 entries\n",
        "disk             5.0 GiB of 10.0 GiB, 50 %, 1 entry, 4 evicted since start, 40.0 GiB free, 97 % of inodes free\n",
        "queue            2 entries, 1.5 KiB, the oldest for 61 s; 1.0 KiB/s, 1.5 entries/s, empty in 2 s\n",
        "partial uploads  1 waiting, 1.0 KiB, 2 being sent\n",
        "shed since start 3 queue_bytes\n",
        "upstream         s3://b, 1 hit\n",
        "  read           up since ",
        ": AccessDenied: no: really; give the keys the right\n",
        "upstream         az://c, 2 hits\n",
        ": refused\n                 it is asked again\n",
        "  write          never: it is read-only\n",
        "turborepo               10         1         2         3        16      50 %         5\n",
        "  web                   10         0         0         0        10      50 %         5\n",
        "needs attention\n  s3://b: write denied  (since ",
    ] {
        assert!(text.contains(line), "{line:?} is not in:\n{text}");
    }
    for absent in ["nx", "unused", "entry_max", "\x1b"] {
        assert!(!text.contains(absent), "{absent:?} is in:\n{text}");
    }
    assert_eq!(text.matches("give the keys the right").count(), 1, "a remedy is said once:\n{text}");
}

#[test]
fn a_page_of_another_version_is_read_as_far_as_it_goes() {
    let text = shown(json!({}));
    assert!(text.starts_with("larder ?  healthy\n"), "{text}");
    let mut newer = full();
    newer["news"] = json!([1, { "a": 2 }]);
    newer["queue"]["news"] = true.into();
    newer["upstreams"][0]["write"]["news"] = 1.into();
    assert_eq!(shown(newer), shown(full()));
    let mut older = full();
    for gone in ["listeners", "configuration", "upstreams", "partial_uploads", "warnings", "ready"] {
        older.as_object_mut().expect("an object").remove(gone);
    }
    older["queue"].as_object_mut().expect("an object").remove("empty_in_s");
    let text = shown(older);
    assert!(text.starts_with("larder 0.1.0  healthy\n") && text.contains("nothing goes"), "{text}");
}

#[test]
fn a_refused_configuration_is_shown_with_its_problems() {
    let mut page = full();
    page["warnings"] = json!({});
    page["configuration"] = json!({
        "file": "larder.toml",
        "applied_ms": NOW,
        "problems": ["larder.toml:3:1: `disk`: is not a size"],
        "problems_since_ms": NOW,
        "needs_restart": ["listen", "dir"],
    });
    let text = shown(page);
    assert!(text.starts_with("larder 0.1.0  needs attention\n"), "{text}");
    for line in [
        "the newest is refused since ",
        "                 larder.toml:3:1: `disk`: is not a size\n",
        "                 from the next start on: listen, dir\n",
    ] {
        assert!(text.contains(line), "{line:?} is not in:\n{text}");
    }
}

#[test]
fn a_start_and_a_queue_that_is_being_read_are_said() {
    let text = shown(json!({ "ready": false, "queue": { "known": false } }));
    assert!(
        text.starts_with("larder ?  starting") && text.contains("queue            is being read\n"),
        "{text}"
    );
}

#[test]
fn colours_mark_what_is_up_denied_and_down() {
    let text = show(&serde_json::from_value(full()).expect("a page"), NOW);
    for piece in [format!("{GOOD}up{GOOD:#}"), format!("{BAD}denied{BAD:#}"), format!("{COPES}down{COPES:#}")]
    {
        assert!(text.contains(&piece), "{piece:?} is not in {text:?}");
    }
}
