//! The real clients of the Remote Execution API: moon, Bazel in two versions, casd. Over TCP and the unix socket, with
//! and without compression, over both protocols by turns; and what they print in every situation that Larder can be in.

use crate::contract::situations::{Seeds, Situation};
use crate::support::Rng;
use crate::support::grpc::{Code, Grpc, reapi};
use crate::support::setup::Setup;
use crate::support::tools::bazel::{Bazel, Version};
use crate::support::tools::casd::Casd;
use crate::support::tools::moon::Moon;
use crate::support::tools::{Run, Tool};
use crate::support::wire::Addr;

/// Builds cold, forgets, builds warm: every task exactly once, then every task from the cache, and nothing is said of it.
#[track_caller]
fn cold_then_warm<T: Tool>(checkout: &T, base: &str) {
    assert_eq!(checkout.build(base), Run::all_ran(T::TASKS), "cold: {}", checkout.said());
    let built = checkout.outputs();
    checkout.wipe();
    assert_eq!(checkout.build(base), Run::all_remote(T::TASKS), "warm: {}", checkout.said());
    assert_eq!(checkout.outputs(), built, "the outputs are the ones that were built first");
    assert_eq!(warnings(&checkout.said()), [""; 0]);
}

#[test]
fn moon_hits_what_it_built_over_grpc() {
    let daemon = Setup::new().start();
    cold_then_warm(&Moon::checkout("v1").grpc(), &daemon.url());
    cold_then_warm(&Moon::big("v2").grpc(), &daemon.url());
    cold_then_warm(&Moon::checkout("v3").grpc().zstd(), &daemon.url());
    cold_then_warm(&Moon::big("v4").grpc().zstd(), &daemon.url());
}

#[test]
fn moon_hits_what_it_built_over_the_unix_socket() {
    let daemon = Setup::new().start();
    let Addr::Unix(path) = daemon.unix() else { panic!("not a path") };
    let base = format!("unix://{}", path.display());
    cold_then_warm(&Moon::checkout("v1").grpc(), &base);
    cold_then_warm(&Moon::big("v2").grpc().zstd(), &base);
}

/// moon's entries are the same over both protocols, whichever stored them.
#[test]
fn moon_over_http_and_over_grpc_share_what_they_built() {
    let daemon = Setup::new().start();
    for (version, wrote, reads) in [
        ("v1", Moon::http as fn(Moon) -> Moon, Moon::grpc as fn(Moon) -> Moon),
        ("v2", Moon::grpc, Moon::http),
        ("v3", Moon::http, |moon: Moon| moon.grpc().zstd()),
        ("v4", |moon: Moon| moon.grpc().zstd(), Moon::http),
    ] {
        let checkout = wrote(Moon::big(version));
        assert_eq!(checkout.build(&daemon.url()), Run::all_ran(Moon::TASKS), "{version}");
        let built = checkout.outputs();
        let checkout = reads(checkout);
        checkout.wipe();
        assert_eq!(checkout.build(&daemon.url()), Run::all_remote(Moon::TASKS), "{version}");
        assert_eq!(checkout.outputs(), built, "{version}");
    }
}

#[test]
fn bazel_hits_what_it_built_over_grpc() {
    let daemon = Setup::new().start();
    for version in [Version::V2, Version::V4] {
        cold_then_warm(&Bazel::checkout("v1").by(version).grpc(), &format!("{}/", daemon.url()));
    }
}

/// Entries are shared between its protocols too: what 2.1.0 stored over HTTP is a hit over gRPC.
#[test]
fn bazel_over_http_and_over_grpc_share_what_they_built() {
    let daemon = Setup::new().start();
    for version in [Version::V2, Version::V4] {
        let over_http = Bazel::checkout("v1").by(version);
        assert_eq!(over_http.build(&daemon.url()), Run::all_ran(Bazel::TASKS), "{version:?}");
        let over_grpc = Bazel::checkout("v1").by(version).grpc();
        assert_eq!(over_grpc.build(&daemon.url()), Run::all_remote(Bazel::TASKS), "{version:?}");
        assert_eq!(over_grpc.outputs(), over_http.outputs(), "{version:?}");
    }
}

/// What `larder bazelrc` prints is all that a workspace needs: to hit, and to build without a daemon.
#[test]
fn bazel_does_with_the_lines_that_are_printed() {
    for (version, arguments) in [
        (Version::V2, &["--bazel", "2.1.0"][..]),
        (Version::V4, &["--bazel", "4.2.3"]),
        (Version::V4, &["--bazel", "4.2.3", "--instance", "team/web", "--minimal"]),
        // Debian's build of 4.2.3 ends with 37 over any unix socket.
        (Version::V2, &["--bazel", "2.1.0", "--unix"]),
    ] {
        let daemon = Setup::new().start();
        let listens = daemon.url().replace("http://", "");
        let printed = daemon.cli(&[&["bazelrc", "--listen", &listens], arguments].concat());
        assert!(printed.status.success(), "{printed:?}");
        let lines = String::from_utf8(printed.stdout).expect("text");
        let bazel = Bazel::checkout("v1").by(version).told(&lines);
        let what = format!("{version:?} {arguments:?}");
        assert_eq!(bazel.build("-"), Run::all_ran(Bazel::TASKS), "{what}, cold: {}", bazel.said());
        bazel.wipe();
        assert_eq!(bazel.build("-"), Run::all_remote(Bazel::TASKS), "{what}, warm: {}", bazel.said());
        daemon.kill();
        bazel.wipe();
        assert_eq!(bazel.build("-"), Run::all_ran(Bazel::TASKS), "{what}, alone: {}", bazel.said());
    }
}

/// Nothing is downloaded, until the second rule changes and has to read what the first one wrote.
#[test]
fn bazel_builds_without_the_bytes() {
    let daemon = Setup::new().start();
    for version in [Version::V2, Version::V4] {
        let bazel = Bazel::checkout("v1").by(version).grpc().minimal();
        assert_eq!(bazel.build(&daemon.url()), Run::all_ran(Bazel::TASKS), "{version:?}");
        bazel.wipe();
        let before = daemon.access().len();
        assert_eq!(bazel.build(&daemon.url()), Run::all_remote(Bazel::TASKS), "{version:?}");
        let calls = daemon.access().split_off(before);
        let read = calls.iter().find(|call| call.path.ends_with("ByteStream/Read"));
        assert!(read.is_none(), "{version:?}: {read:?}");
        bazel.edit("changed");
        // A process of its own, which has forgotten what it was told, but for what it wrote to disk.
        let run = bazel.build(&daemon.url());
        assert_eq!((run.ran, run.remote + run.local), (1, 1), "{version:?}");
    }
}

/// A cache on its way: what one casd was given, another one finds in Larder, and reads.
#[test]
fn casd_stores_and_finds() {
    let daemon = Setup::new().start();
    let mut rng = Rng::new(41);
    let (small, large) = (rng.bytes(1_000), rng.bytes(5_000_000));
    let (action, output) = (rng.bytes(32), rng.bytes(2_000));
    let near = Casd::before(&daemon.url(), "team/casd");
    let at = Grpc::to(&near.addr());
    for answer in at.update(&[&small, &output]).one().responses {
        assert_eq!(answer.status.expect("a status").code, 0, "{}", near.said());
    }
    assert_eq!(at.write(&large).one().committed_size, 5_000_000, "{}", near.said());
    assert_eq!(at.store_result(&action, &output).code, Code::Ok, "{}", near.said());

    let far = Casd::before(&daemon.url(), "team/casd");
    let at = Grpc::to(&far.addr());
    let found = at.result(&action);
    assert_eq!(found.code, Code::Ok, "{}\n{}", found.words, far.said());
    let read: reapi::BatchReadBlobsResponse = at.batch(&[&small, &output]).one();
    for answer in read.responses {
        assert_eq!(answer.status.expect("a status").code, 0, "{}", far.said());
        assert!(answer.data == small || answer.data == output);
    }
    assert!(at.read(&large, 0).data() == large, "{}", far.said());
    assert_eq!(at.result(&rng.bytes(32)).code, Code::NotFound);
}

/// The lines in which a tool says that something is wrong with the cache, each with the next one: there Bazel says what.
pub(crate) fn warnings(said: &str) -> Vec<&str> {
    let lines: Vec<&str> = said.lines().collect();
    let is_warning = |line: &str| ["WARN", "ERROR"].iter().any(|word| line.contains(word));
    let mut found = Vec::new();
    for (at, line) in lines.iter().enumerate().filter(|(_, line)| is_warning(line)) {
        found.push(*line);
        found.extend(lines.get(at + 1));
    }
    found
}

/// How a run ends, and what it says of the cache: nothing, or one line or more with these words.
struct Row {
    situation: Situation,
    moon: (Ends, &'static str),
    bazel: (Ends, &'static str),
}

#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum Ends {
    Ran,
    Remote,
    /// With this exit code.
    With(i32),
}

use Ends::{Ran, Remote, With};

const fn row(situation: Situation, moon: (Ends, &'static str), bazel: (Ends, &'static str)) -> Row {
    Row { situation, moon, bazel }
}

const QUIET: &str = "";

/// What is upstream after the first row is what the later ones ask for.
const TABLE: [Row; 11] = [
    row(Situation::Absent, (Ran, QUIET), (Ran, QUIET)),
    row(
        Situation::NoDaemon,
        (Ran, "Failed to connect to storage backend, disabling it"),
        (With(34), "Failed to query remote execution capabilities"),
    ),
    row(Situation::UpstreamGoneAndQueueFull, (Ran, QUIET), (Ran, QUIET)),
    row(Situation::UpstreamSilent, (Ran, QUIET), (Ran, QUIET)),
    row(Situation::UpstreamDenies, (Ran, QUIET), (Ran, QUIET)),
    row(Situation::UpstreamIsAPortal, (Ran, QUIET), (Ran, QUIET)),
    row(Situation::UpstreamBreaksOff, (Remote, QUIET), (Remote, QUIET)),
    row(Situation::DiskFull, (Remote, QUIET), (Remote, QUIET)),
    // A lie is found out when most of the body has been passed on: only what goes in one piece can be a miss instead.
    row(Situation::UpstreamLies, (Ran, "Integrity failure"), (Ran, "ABORTED: the blob broke off")),
    row(Situation::UpstreamIsReadOnly, (Ran, QUIET), (Ran, QUIET)),
    row(
        Situation::OverEntryMax,
        (Ran, "is over `entry_max` (16 bytes)"),
        (Ran, "over `entry_max` (16 bytes)"),
    ),
];

/// The table with one client; what was wrong.
fn play<T: Tool>(checkout: &T, seeds: &Seeds, owed: fn(&Row) -> (Ends, &'static str)) -> Vec<String> {
    let mut wrong = Vec::new();
    for row in &TABLE {
        let (owed, says) = owed(row);
        let scene = row.situation.begin(seeds);
        checkout.wipe();
        let (ends, said) = match checkout.attempt(scene.url()) {
            Ok(Run { remote: 0, local: 0, .. }) => (Ok(Ran), checkout.said()),
            Ok(Run { ran: 0, local: 0, .. }) => (Ok(Remote), checkout.said()),
            Ok(run) => (Err(run), checkout.said()),
            Err(failed) => (Ok(With(failed.code.unwrap_or(-1))), failed.text),
        };
        let warned = warnings(&said);
        let is_quiet = says == QUIET && warned.is_empty();
        let is_owed = says != QUIET && warned.iter().any(|line| line.contains(says));
        if ends != Ok(owed) || !(is_quiet || is_owed) {
            wrong.push(format!("{:?}: must be {owed:?} and `{says}`: {ends:?}\n{said}", row.situation));
        }
        if row.situation != Situation::NoDaemon && said.contains("UNAVAILABLE") {
            wrong.push(format!("{:?}: says UNAVAILABLE:\n{said}", row.situation));
        }
        if row.situation == Situation::Absent {
            scene.flush();
        }
    }
    wrong
}

#[test]
fn moon_ends_and_says_what_it_must() {
    let seeds = Seeds::plant();
    let wrong = play(&Moon::checkout(&seeds.sources).grpc(), &seeds, |row| row.moon);
    assert!(wrong.is_empty(), "{} wrong:\n{}", wrong.len(), wrong.join("\n"));
}

#[test]
fn bazel_ends_and_says_what_it_must() {
    let seeds = Seeds::plant();
    let wrong = play(&Bazel::checkout(&seeds.sources).grpc(), &seeds, |row| row.bazel);
    assert!(wrong.is_empty(), "{} wrong:\n{}", wrong.len(), wrong.join("\n"));
}

/// The later version in those situations in which it could go another way.
#[test]
fn bazel_4_ends_as_the_earlier_one() {
    let seeds = Seeds::plant();
    let bazel = Bazel::checkout(&seeds.sources).by(Version::V4).grpc();
    let wrong = play(&bazel, &seeds, |row| match row.situation {
        // It says that there were errors, and not which.
        Situation::OverEntryMax => (Ran, "errors during bulk transfer"),
        _ => row.bazel,
    });
    assert!(wrong.is_empty(), "{} wrong:\n{}", wrong.len(), wrong.join("\n"));
}
