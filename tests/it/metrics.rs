//! `/-/metrics` as scrapers read it: Prometheus' own checker takes it, the reference has exactly its names, and the
//! numbers are those of what happened.

use std::collections::BTreeSet;
use std::io::Write;
use std::process::{Command, Stdio};

use serde_json::Value;

use crate::support::daemon::Daemon;
use crate::support::http::Request;
use crate::support::routes::Route;
use crate::support::setup::Setup;
use crate::support::{PATIENCE, Rng, say, tool, until};

const GRADLE: &str = "/gradle/0123456789abcdef0123456789abcdef";

/// A daemon behind which there is an upstream.
fn daemon() -> (tempfile::TempDir, Daemon) {
    let upstream = tempfile::TempDir::new().expect("a temporary folder");
    let daemon = Setup::new().upstream(format!("file://{}", upstream.path().display())).start();
    (upstream, daemon)
}

fn page(daemon: &Daemon, accept: &str) -> (String, String) {
    let answer = daemon.send(Request::get("/-/metrics").header("Accept", accept));
    assert_eq!(answer.status(), 200);
    let content_type = answer.header("content-type").unwrap_or_default().to_owned();
    (String::from_utf8(answer.body).expect("text"), content_type)
}

/// The value of a sample, its labels as they are written.
fn value(page: &str, sample: &str) -> Option<f64> {
    page.lines().find_map(|line| line.strip_prefix(sample)?.strip_prefix(' ')?.parse().ok())
}

/// Some of everything: hits, misses, puts, a refusal, two namespaces, a way upstream.
fn work(daemon: &Daemon) {
    for path in ["/blob/ns/x", "/blob/ns/x", "/gradle/team/0123456789abcdef0123456789abcdef", GRADLE] {
        let status = daemon.put(path, "larder").status();
        assert!((200..300).contains(&status), "{path}: {status}");
    }
    for (path, status) in
        [("/blob/ns/x", 200), (GRADLE, 200), (GRADLE, 200), ("/blob/ns/none", 404), ("/blob/ns/%00", 400)]
    {
        assert_eq!(daemon.get(path).status(), status, "{path}");
    }
    daemon.flush();
}

#[test]
fn prometheus_own_checker_finds_nothing_to_say() {
    let (_upstream, daemon) = daemon();
    for when in ["before the first request", "after some"] {
        let (text, content_type) = page(&daemon, "text/plain;version=0.0.4");
        assert_eq!(content_type, "text/plain; version=0.0.4; charset=utf-8");
        let mut check = Command::new(tool("promtool"));
        check.args(["check", "metrics"]).stdin(Stdio::piped()).stdout(Stdio::piped()).stderr(Stdio::piped());
        let mut check = check.spawn().expect("it starts");
        check.stdin.take().expect("it is piped").write_all(text.as_bytes()).expect("it reads");
        let output = check.wait_with_output().expect("it ends");
        let words =
            format!("{}{}", String::from_utf8_lossy(&output.stdout), String::from_utf8_lossy(&output.stderr));
        assert!(output.status.success() && words.is_empty(), "{when}: {words}\n{text}");
        work(&daemon);
    }
}

#[test]
fn open_metrics_is_the_same_numbers_to_its_own_parser() {
    let (_upstream, daemon) = daemon();
    work(&daemon);
    let (text, content_type) = page(&daemon, "application/openmetrics-text;version=1.0.0,text/plain;q=0.1");
    assert_eq!(content_type, "application/openmetrics-text; version=1.0.0; charset=utf-8");
    let script = "import sys\n\
                  from prometheus_client.openmetrics.parser import text_string_to_metric_families as parse\n\
                  families = list(parse(sys.stdin.read()))\n\
                  samples = {(s.name, tuple(sorted(s.labels.items()))): s.value for f in families for s in f.samples}\n\
                  print(len(families), samples[('larder_puts_total', (('protocol', 'blob'),))])\n";
    let mut parse = Command::new(tool("../venv/bin/python"));
    parse.args(["-c", script]).stdin(Stdio::piped()).stdout(Stdio::piped());
    let mut parse = parse.spawn().expect("it starts");
    parse.stdin.take().expect("it is piped").write_all(text.as_bytes()).expect("it reads");
    let output = parse.wait_with_output().expect("it ends");
    let families = text.lines().filter(|line| line.starts_with("# TYPE ")).count();
    assert!(output.status.success(), "{output:?}\n{text}");
    assert_eq!(String::from_utf8_lossy(&output.stdout).trim(), format!("{families} 2"));
}

#[test]
fn the_reference_has_the_names_and_types_of_the_page_and_no_others() {
    let reference = std::fs::read_to_string(concat!(env!("CARGO_MANIFEST_DIR"), "/docs/metrics.md"));
    let reference = reference.expect("there is one");
    let documented: BTreeSet<(String, String)> = reference
        .lines()
        .filter_map(|line| line.strip_prefix("| `"))
        .filter_map(|row| row.split_once("` | "))
        .filter(|(name, _)| name.chars().all(|c| c.is_ascii_lowercase() || c == '_'))
        .map(|(name, rest)| (name.to_owned(), rest.split(' ').next().unwrap_or_default().to_owned()))
        .collect();
    let (_upstream, daemon) = daemon();
    work(&daemon);
    let (text, _) = page(&daemon, "*/*");
    let exported: BTreeSet<(String, String)> = text
        .lines()
        .filter_map(|line| line.strip_prefix("# TYPE "))
        .filter_map(|rest| rest.split_once(' '))
        .map(|(name, kind)| (name.to_owned(), kind.to_owned()))
        .collect();
    assert_eq!(exported, documented);
    // Every sample belongs to a family that is there, and every label to those that the row names.
    for line in text.lines().filter(|line| !line.starts_with('#')) {
        let (name, rest) = line.split_at(line.find(['{', ' ']).expect("a sample has a value"));
        let family = ["_bucket", "_sum", "_count"]
            .into_iter()
            .find_map(|end| name.strip_suffix(end).filter(|_| name.starts_with("larder_first_byte")))
            .unwrap_or(name);
        let row = reference.lines().find(|row| row.starts_with(&format!("| `{family}` |")));
        let row = row.unwrap_or_else(|| panic!("{family} is not in docs/metrics.md"));
        let labels = rest.split_once('}').map_or("", |(labels, _)| labels.trim_start_matches('{'));
        for label in labels.split("\",").filter_map(|pair| pair.split('=').next()) {
            let known = label.is_empty() || label == "le" || row.contains(&format!("`{label}`"));
            assert!(known, "docs/metrics.md doesn't name the label {label} of {family}");
        }
    }
}

#[test]
fn the_numbers_are_those_of_what_happened() {
    let (_upstream, daemon) = daemon();
    work(&daemon);
    let (text, _) = page(&daemon, "*/*");
    for (sample, expected) in [
        ("larder_hits_total{protocol=\"blob\",tier=\"memory\"}", 1.0),
        ("larder_hits_total{protocol=\"gradle\",tier=\"memory\"}", 2.0),
        ("larder_misses_total{protocol=\"blob\"}", 1.0),
        ("larder_puts_total{protocol=\"blob\"}", 2.0),
        ("larder_puts_total{protocol=\"gradle\"}", 2.0),
        ("larder_refused_total{protocol=\"blob\"}", 1.0),
        ("larder_received_bytes_total{protocol=\"blob\"}", 12.0),
        ("larder_sent_bytes_total{protocol=\"gradle\"}", 12.0),
        ("larder_first_byte_seconds_count{protocol=\"blob\",outcome=\"miss\"}", 1.0),
        ("larder_namespace_hits_total{namespace=\"ns\"}", 1.0),
        ("larder_namespace_hits_total{namespace=\"(default)\"}", 2.0),
        ("larder_namespace_misses_total{namespace=\"ns\"}", 1.0),
        ("larder_namespace_puts_total{namespace=\"team\"}", 1.0),
        ("larder_queue_entries", 0.0),
        ("larder_ready", 1.0),
    ] {
        assert_eq!(value(&text, sample), Some(expected), "{sample} in\n{text}");
    }
    let up = |text: &str| -> Vec<f64> {
        let samples = text.lines().filter(|line| line.starts_with("larder_upstream_up{"));
        samples.filter_map(|line| line.rsplit_once(' ')?.1.parse().ok()).collect()
    };
    assert_eq!(up(&text), [1.0, 1.0]);
    if cfg!(target_os = "linux") {
        let resident = value(&text, "process_resident_memory_bytes").expect("it is there");
        assert!((1e6..1e9).contains(&resident), "{resident}");
        assert!(value(&text, "process_open_fds").is_some_and(|count| count > 10.0));
    }
    say(&format!("{} bytes of metrics", text.len()));
}

#[test]
fn an_upstream_that_goes_away_is_seen_in_its_gauge() {
    let (upstream, daemon) = daemon();
    work(&daemon);
    std::fs::remove_dir_all(upstream.path()).expect("a temporary folder");
    until("its gauge is 0", PATIENCE, || {
        daemon.get("/blob/ns/another");
        let (text, _) = page(&daemon, "*/*");
        text.lines().any(|line| {
            line.starts_with("larder_upstream_up{")
                && line.contains("direction=\"read\"")
                && line.ends_with(" 0")
        })
    });
}

#[test]
fn the_page_takes_no_other_method() {
    let (_upstream, daemon) = daemon();
    assert_eq!(daemon.put("/-/metrics", "x").status(), 405);
    assert_eq!(daemon.get("/-/metrics/x").status(), 404);
}

#[test]
fn namespaces_are_counted_for_every_protocol_however_it_names_them() {
    let setup = Setup::new();
    let daemon = setup.start();
    let mut rng = Rng::new(61);
    let mut hits = 0;
    for route in Route::ALL {
        let entry = route.entry(&mut rng, 700);
        assert_eq!(daemon.get(&entry.target).status(), 404, "{entry:?}");
        assert_eq!(daemon.send(entry.put()).status(), route.taken(), "{entry:?}");
        assert_eq!(daemon.send(entry.get()).status(), 200, "{entry:?}");
        hits += 1;
    }
    let stats = daemon.stats();
    let protocols = stats["protocols"].as_object().expect("a map");
    let mut named = 0;
    for (name, protocol) in protocols {
        let sum = |of: &dyn Fn(&Value) -> u64| -> u64 {
            protocol["namespaces"].as_object().expect("a map").values().map(of).sum()
        };
        let tiers = |counts: &Value| -> u64 {
            let hits = counts["hits"].as_object().expect("a map");
            hits.values().filter_map(Value::as_u64).sum()
        };
        assert_eq!(sum(&tiers), tiers(protocol), "{name}: the parts are the whole");
        for count in ["misses", "puts"] {
            let whole = protocol[count].as_u64().expect("a number");
            assert_eq!(sum(&|counts| counts[count].as_u64().expect("a number")), whole, "{name} {count}");
        }
        named += tiers(protocol);
    }
    assert!(named >= hits, "{named} of {hits}: {stats:#}");
    say(&format!("{}", stats["protocols"]));
}
