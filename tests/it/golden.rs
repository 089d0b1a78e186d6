//! Golden transcripts: what real clients ask of Larder and what they are answered, in files that a person can read,
//! recorded once with the real client and held against every build since.
//!
//! `tests/golden/{protocol}/{scenario}.txt` has every request of a scenario in order: the head as the client sent it,
//! and status and headers of the answer. The replay sends each to a fresh daemon on a raw socket, on as many
//! connections as the client had, and writes down what it is answered in the same way; the two texts must be equal.
//! [`transcript`] says what the lines mean and which few things are not compared.
//!
//! ```sh
//! LARDER_RECORD=1 tests/run --test it golden        # records all with the real clients, one after the other
//! LARDER_RECORD=nx tests/run --test it golden       # those whose name begins so
//! ```
//!
//! A recording is for a person to read before it is committed: what differs from the one before is a change of the
//! client, or of Larder towards it. Please has no package in a registry that the tests may use; its transcript is
//! scripted after its source, and says so.

mod exchange;
mod recorder;
mod scenarios;
mod transcript;

use std::collections::BTreeMap;
use std::fs;
use std::path::PathBuf;
use std::sync::Once;

use self::exchange::{Connection, Exchange};
use self::recorder::Recorder;
use self::scenarios::{SCENARIOS, Scenario};
use self::transcript::{Step, Writer, steps};
use crate::support::setup::Setup;

/// What all transcripts may weigh.
const BYTES_MAX: usize = 300 << 10;

fn folder() -> PathBuf {
    PathBuf::from(env!("CARGO_MANIFEST_DIR")).join("tests/golden")
}

fn path(name: &str) -> PathBuf {
    folder().join(format!("{name}.txt"))
}

/// Records what the environment asks for, before any test of this process reads a transcript.
fn record_what_is_wanted() {
    static ONCE: Once = Once::new();
    ONCE.call_once(|| {
        let Ok(names) = std::env::var("LARDER_RECORD") else { return };
        let names = if names == "1" { "" } else { &names };
        SCENARIOS.iter().filter(|scenario| scenario.name.starts_with(names)).for_each(record);
    });
}

fn recorded(name: &str) -> String {
    record_what_is_wanted();
    let path = path(name);
    fs::read_to_string(&path).unwrap_or_else(|error| panic!("{}: {error}; record it", path.display()))
}

/// Plays a scenario with its real client, and writes what was seen into its file.
fn record(scenario: &Scenario) {
    let daemon = Setup::new().config(scenario.config).start();
    let recorder = Recorder::before(daemon.addr());
    let addr = recorder.addr().to_string();
    let mut writer = Writer::new(&addr);
    writer.title(&format!("# {}.", scenario.client));
    (scenario.play)(&format!("http://{addr}"), &mut |did| {
        writer.title(&format!("## {did}"));
        for exchange in recorder.take() {
            writer.exchange(&exchange, &scenario.bodies.notation(&exchange.request, &exchange.body));
        }
    });
    let text = writer.finish();
    let host = fs::read_to_string("/etc/hostname").unwrap_or_default();
    let is_host = |word: &str| !word.is_empty() && word == host.trim();
    for told in told(&text) {
        let mut words = told.split(|c: char| !c.is_alphanumeric() && c != '-');
        assert!(!words.any(is_host), "{}: the transcript names this host: {told}", scenario.name);
    }
    let path = path(scenario.name);
    fs::create_dir_all(path.parent().expect("a file in a folder")).expect("a folder of ours");
    fs::write(path, text).expect("a file of ours");
}

/// Asks a fresh daemon what `transcript` asks, and writes down what is answered.
fn replay(config: &str, transcript: &str) -> String {
    let daemon = Setup::new().config(config).start();
    let host = daemon.url().replace("http://", "");
    let mut writer = Writer::new(&host);
    let mut connections = BTreeMap::new();
    let mut number = 0;
    for step in steps(transcript) {
        match step {
            Step::Title(line) => writer.title(&line),
            Step::Ask { connection, mut request, body: notation } => {
                number += 1;
                let body = transcript::body(&notation, number);
                for line in &mut request.0 {
                    *line = line.replace("{host}", &host);
                }
                let open = connections
                    .entry(connection)
                    .or_insert_with(|| Connection::to(&daemon.addr()).expect("the daemon takes connections"));
                let answer = open.ask(&request, &body).unwrap_or_else(|error| panic!("{number}: {error}"));
                writer.exchange(&Exchange { connection, request, body, answer }, &notation);
            }
        }
    }
    writer.finish()
}

/// What a transcript tells of where it was recorded, if anything: the heads and bodies of its requests.
fn told(transcript: &str) -> Vec<String> {
    let asked = steps(transcript).into_iter().filter_map(|step| match step {
        Step::Title(_) => None,
        Step::Ask { request, body, .. } => {
            let body = transcript::body(&body, 0);
            Some([request.0.join("\n"), String::from_utf8_lossy(&body).into_owned()])
        }
    });
    asked.flatten().collect()
}

/// The first lines by which two transcripts differ.
fn difference(recorded: &str, replayed: &str) -> Option<String> {
    let (mut before, mut now) = (recorded.lines(), replayed.lines());
    let mut exchange = "";
    loop {
        let (was, is) = (before.next(), now.next());
        if was != is {
            return Some(format!("{exchange}: recorded {was:?}, answered {is:?}"));
        }
        exchange = was.filter(|line| line.contains(" on connection ")).unwrap_or(exchange);
        was?;
    }
}

#[test]
fn real_clients_are_answered_as_they_were_when_recorded() {
    let wrong: Vec<String> = std::thread::scope(|scope| {
        let each = SCENARIOS.iter().map(|scenario| {
            scope.spawn(|| {
                let recorded = recorded(scenario.name);
                let found = difference(&recorded, &replay(scenario.config, &recorded))?;
                Some(format!("{} {found}", scenario.name))
            })
        });
        let each: Vec<_> = each.collect();
        each.into_iter().filter_map(|thread| thread.join().expect("a scenario panicked, see above")).collect()
    });
    assert!(wrong.is_empty(), "{}", wrong.join("\n"));
}

/// Each kind of change that a replay is there for is seen by one.
#[test]
fn a_replay_notices_what_is_answered_otherwise() {
    let recorded = recorded("nx/builds");
    let first = recorded.lines().position(|line| line.starts_with("< HTTP")).expect("an answer");
    let altered = |line: usize, to: &str| {
        let lines = recorded.lines().enumerate().filter_map(|(at, is)| match (at == line, to) {
            (true, "") => None,
            (true, to) => Some(to),
            (false, _) => Some(is),
        });
        lines.map(|line| format!("{line}\n")).collect::<String>()
    };
    let kind = recorded.lines().position(|line| line.starts_with("< content-type")).expect("a header");
    let back = recorded.lines().position(|line| line.starts_with("<= as sent")).expect("a hit");
    let replayed = replay("", &recorded);
    assert_eq!(difference(&recorded, &replayed), None);
    for (what, other) in [
        ("a status", altered(first, "< HTTP/1.1 204 No Content")),
        ("a header's value", altered(kind, "< content-type: text/plain; charset=utf-8")),
        ("a header that is missing", altered(kind, "")),
        ("a body", altered(back, "<= as sent in 1")),
    ] {
        assert!(difference(&other, &replayed).is_some(), "{what}");
    }
}

#[test]
fn transcripts_are_small_and_name_no_folder_of_a_machine() {
    let mut bytes = 0;
    for scenario in &SCENARIOS {
        let text = recorded(scenario.name);
        bytes += text.len();
        for told in told(&text) {
            for path in ["/tmp/", "/home/", "/root/", "/Users/"] {
                assert!(!told.contains(path), "{}: {path}", scenario.name);
            }
        }
    }
    assert!(bytes <= BYTES_MAX, "{bytes}");
    let known: Vec<PathBuf> = SCENARIOS.iter().map(|scenario| path(scenario.name)).collect();
    let beside = known.iter().filter_map(|path| path.parent()).flat_map(crate::support::daemon::files);
    let strangers: Vec<PathBuf> = beside.filter(|file| !known.contains(file)).collect();
    assert!(strangers.is_empty(), "no scenario has these: {strangers:?}");
}
