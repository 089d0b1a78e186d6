//! What a cache may do to build tools, as it was measured with each of them, held against what Larder can come into.
//!
//! [`CELLS`] has a line for each thing that a server may do, and says of it in which [`Situation`]s Larder does it, or
//! that it never does. [`TABLE`] has a row for each situation, and says how the run of every real client ends in it.
//! The test plays the rows with the clients, and over every answer that it saw holds that none was one of those that
//! are never given.
//!
//! What is answered at the level of requests is in `faults`, `disk`, `bounds` and `bad_input`; here is what comes of it.

pub(crate) mod situations;

use std::time::Duration;

use self::situations::{Scene, Seeds, Situation};
use crate::support::tools::bazel::Bazel;
use crate::support::tools::ccache::Ccache;
use crate::support::tools::gradle::Gradle;
use crate::support::tools::maven::Maven;
use crate::support::tools::moon::Moon;
use crate::support::tools::nx::Nx;
use crate::support::tools::rush::Rush;
use crate::support::tools::{Run, Tool, Turbo};

/// Whether Larder does what a line of the contract's table of statuses is about.
#[derive(Debug)]
enum Cause {
    /// It does, in these.
    In(&'static [Situation]),
    /// It never gives this answer to such a request of a caller who is let in.
    Never(&'static [(&'static str, u16)]),
    /// Something else holds; where it is shown.
    Shown(&'static str),
}

use Cause::{In, Never, Shown};
use Situation::{
    Absent, DamagedAtRest, DiskFull, NoDaemon, OverEntryMax, UpstreamBreaksOff, UpstreamDenies,
    UpstreamGoneAndQueueFull, UpstreamIsAPortal, UpstreamIsReadOnly, UpstreamLies, UpstreamSilent,
};

const CELLS: [(&str, Cause); 16] = [
    (
        "GET 404",
        In(&[
            Absent,
            UpstreamGoneAndQueueFull,
            UpstreamSilent,
            UpstreamDenies,
            UpstreamIsAPortal,
            UpstreamIsReadOnly,
            DamagedAtRest,
            OverEntryMax,
        ]),
    ),
    ("GET 401", Never(&[("GET", 401)])),
    ("GET 403", Never(&[("GET", 403)])),
    ("GET 204", Never(&[("GET", 204)])),
    ("GET 5xx", Never(&[("GET", 500), ("GET", 502), ("GET", 503), ("GET", 504)])),
    ("connection closed without a reply", Shown("the crash test: only a daemon that is killed does it")),
    ("connection refused", In(&[NoDaemon])),
    ("accepts and stalls", Shown("here: every answer begins within `HUNG`")),
    ("200 with garbage", Shown("here: what is 404 in `UpstreamIsAPortal`, and `faults`")),
    ("200 truncated", In(&[UpstreamLies])),
    ("PUT 403", Never(&[("PUT", 403)])),
    ("PUT 409", Never(&[("PUT", 409)])),
    ("PUT 413", In(&[OverEntryMax])),
    ("PUT 500, 507", Never(&[("PUT", 500), ("PUT", 507)])),
    ("PUT 201, 202", Never(&[("PUT", 201), ("PUT", 202), ("PUT", 204)])),
    ("POST events 404, 5xx", Never(&[("POST", 404), ("POST", 500), ("POST", 503)])),
];

/// What nobody on the other side notices: a row of situations that [`CELLS`] has no line for.
const UNNOTICED: [Situation; 2] = [UpstreamBreaksOff, DiskFull];

/// How one run of a client ends.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum Ends {
    /// With 0, having run every task.
    Ran,
    /// With 0, every task from the cache.
    Remote,
    /// With 0, some from the cache and some not.
    Mixed,
    /// With 1: what a server that speaks this client's protocol can't keep from it.
    Fails,
    /// Not played. To the client it is a row above, and its runs take long.
    Like(Situation),
}

use Ends::{Fails, Like, Mixed, Ran, Remote};

/// A situation, and how two runs end in it: of sources whose outputs are upstream, and the same again after the client
/// has forgotten all.
struct Row {
    situation: Situation,
    first: [Ends; CLIENTS],
    second: Option<[Ends; CLIENTS]>,
}

/// turbo, Nx, ccache 4.7.5, ccache 4.14.2, moon; Gradle, Bazel; Rush, Maven.
const CLIENTS: usize = 9;

const fn row(situation: Situation, first: [Ends; CLIENTS], second: Option<[Ends; CLIENTS]>) -> Row {
    Row { situation, first, second }
}

const fn all(ends: Ends) -> [Ends; CLIENTS] {
    [ends; CLIENTS]
}

/// Gradle and Bazel bring a virtual machine of Java up for each run; Rush and Maven take longer still.
const fn by_weight(light: Ends, heavy: Ends, heaviest: Ends) -> [Ends; CLIENTS] {
    [light, light, light, light, light, heavy, heavy, heaviest, heaviest]
}

const TABLE: [Row; 12] = [
    row(Absent, all(Ran), None),
    // To Nx a server that isn't there is a mistake of whoever set it, to Rush a write that failed is a warning and so a
    // failure; the others go on alone.
    row(NoDaemon, [Ran, Fails, Ran, Ran, Ran, Ran, Ran, Fails, Ran], None),
    row(
        UpstreamGoneAndQueueFull,
        by_weight(Ran, Ran, Like(Absent)),
        Some(by_weight(Remote, Remote, Like(UpstreamBreaksOff))),
    ),
    row(UpstreamSilent, all(Ran), None),
    row(UpstreamDenies, by_weight(Ran, Like(Absent), Like(Absent)), None),
    row(UpstreamIsAPortal, by_weight(Ran, Like(Absent), Like(Absent)), None),
    row(UpstreamBreaksOff, all(Remote), None),
    // A body that can't be completed ends in a broken connection, for those who go on after one. To the others it is a
    // miss: Nx would fail, and Rush end in the middle of its run without a word.
    row(UpstreamLies, all(Ran), None),
    row(
        UpstreamIsReadOnly,
        by_weight(Ran, Like(Absent), Like(Absent)),
        Some(by_weight(Remote, Like(UpstreamGoneAndQueueFull), Like(UpstreamBreaksOff))),
    ),
    row(
        DamagedAtRest,
        by_weight(Ran, Like(Absent), Like(Absent)),
        Some(by_weight(Ran, Like(Absent), Like(Absent))),
    ),
    row(DiskFull, by_weight(Remote, Like(UpstreamBreaksOff), Like(UpstreamBreaksOff)), None),
    row(OverEntryMax, all(Ran), Some(by_weight(Ran, Like(Absent), Like(Absent)))),
];

/// The least patience of a client that was measured: what takes longer is given up by ccache.
const HUNG: Duration = Duration::from_secs(10);

/// What Larder answers in `situation`, of all that may be answered.
fn is_owed(situation: Situation, method: &str, status: u16) -> bool {
    match (method, status) {
        ("GET", 200 | 404) | ("PUT" | "POST", 200) => true,
        ("PUT", 413) => situation == OverEntryMax,
        _ => false,
    }
}

#[test]
fn every_cell_of_the_contract_has_its_place() {
    let played = |situation: &Situation| TABLE.iter().any(|row| row.situation == *situation);
    let named = |situation: Situation| {
        let mut cells = CELLS.iter();
        UNNOTICED.contains(&situation)
            || cells.any(|(_, cause)| matches!(cause, In(all) if all.contains(&situation)))
    };
    for (cell, cause) in &CELLS {
        match cause {
            In(situations) => assert!(situations.iter().all(played), "{cell}: a situation has no row"),
            Never(answers) => {
                let owed =
                    |row: &Row| answers.iter().any(|(what, status)| is_owed(row.situation, what, *status));
                assert!(!TABLE.iter().any(owed), "{cell}: a situation lets it be");
            }
            Shown(place) => assert!(!place.is_empty(), "{cell}"),
        }
    }
    for row in &TABLE {
        assert!(named(row.situation), "{:?}: no cell has it", row.situation);
    }
}

#[test]
fn each_client_ends_as_the_contract_says() {
    let seeds = Seeds::plant();
    let clients: [(&str, Play); CLIENTS] = [
        ("turbo", play::<Turbo>),
        ("Nx", play::<Nx>),
        ("ccache 4.7.5", play::<Ccache<0, 0>>),
        ("ccache 4.14.2", play::<Ccache<1, 1>>),
        ("moon", play::<Moon>),
        ("Gradle", play::<Gradle>),
        ("Bazel", play::<Bazel>),
        ("Rush", play::<Rush>),
        ("Maven", play::<Maven>),
    ];
    let wrong: Vec<String> = std::thread::scope(|scope| {
        let seeds = &seeds;
        let all = clients.iter().enumerate();
        let all = all.map(|(place, (name, play))| (name, scope.spawn(move || play(place, seeds))));
        let all: Vec<_> = all.collect();
        let wrong = all.into_iter().flat_map(|(name, thread)| {
            let wrong = thread.join().unwrap_or_else(|_| vec!["it panicked, see above".into()]);
            wrong.into_iter().map(move |wrong| format!("{name} × {wrong}"))
        });
        wrong.collect()
    });
    assert!(wrong.is_empty(), "{} wrong:\n{}", wrong.len(), wrong.join("\n"));
}

/// One client's column, played.
type Play = fn(usize, &Seeds) -> Vec<String>;

/// The table with one client, whose column is `place`; returns what was wrong.
fn play<T: Tool>(place: usize, seeds: &Seeds) -> Vec<String> {
    let mut wrong = Vec::new();
    let checkout = T::checkout(&seeds.sources);
    let mut run = |scene: &Scene, owed: Ends| {
        checkout.wipe();
        let found = ends(&checkout, scene.url());
        if found != Ok(owed) {
            wrong.push(format!("{:?}: must end {owed:?}: {found:?}", scene.situation()));
        }
        wrong.extend(never_given(scene));
    };
    for row in &TABLE {
        let first = row.first[place];
        if let Like(_) = first {
            continue;
        }
        let scene = row.situation.begin(seeds);
        run(&scene, first);
        if row.situation == Absent {
            // From here on everybody's upstream has it.
            scene.flush();
        }
        match row.second.map(|second| second[place]) {
            None | Some(Like(_)) => {}
            Some(second) => run(&scene.go_on(), second),
        }
    }
    wrong
}

fn ends<T: Tool>(checkout: &T, url: &str) -> Result<Ends, String> {
    match checkout.attempt(url) {
        Ok(Run { local: 0, remote: 0, .. }) => Ok(Ran),
        Ok(Run { local: 0, ran: 0, .. }) => Ok(Remote),
        Ok(Run { local: 0, .. }) => Ok(Mixed),
        Ok(run) => Err(format!("{run:?}")),
        Err(failed) if failed.code == Some(1) => Ok(Fails),
        Err(failed) => Err(format!("{failed:?}")),
    }
}

/// Answers that are not owed to anybody, or came too late.
fn never_given(scene: &Scene) -> Vec<String> {
    let Some(daemon) = scene.daemon() else { return Vec::new() };
    let mut lines = daemon.until_access(1);
    lines.retain(|line| {
        // moon takes a refusal before its other uploads have ended, and leaves them.
        let is_left = line.status == 0 && line.method == "PUT" && scene.situation() == OverEntryMax;
        let in_time = line.first_byte.is_some_and(|time| time < HUNG);
        !(is_left || in_time && is_owed(scene.situation(), &line.method, line.status))
    });
    lines.iter().map(|line| format!("{:?}: {line:?}", scene.situation())).collect()
}
