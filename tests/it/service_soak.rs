//! Restarts, upgrades and kills while builds run in loops and 64 connections ask in a closed loop.
//!
//! What is shown: of a restart and of an upgrade, at any moment of a build, no build notices anything (each task a hit,
//! exit code 0) and no request of the load fails: no refused connect, no answer that breaks off, none reset that the
//! daemon has read a byte of. `kill -9` falls between two builds of every loop, because the requests that it cuts off
//! are cut off by the kernel, and Nx ends a build for one; the builds then begin while nobody runs, and wait in the
//! backlog. What it costs the load is counted apart: the requests that ran, and never a refused connect.

use std::sync::atomic::{AtomicBool, AtomicU64, Ordering};
use std::thread;
use std::time::Duration;

use parking_lot::RwLock;

use crate::support::http::Request;
use crate::support::load::{Load, TARGET};
use crate::support::manager::Manager;
use crate::support::process::Process;
use crate::support::setup::Setup;
use crate::support::tools::bazel::{Bazel, Version};
use crate::support::tools::nx::Nx;
use crate::support::tools::{Run, Tool, Turbo};
use crate::support::wire::Addr;
use crate::support::{PATIENCE, Rng, say, until};

/// What the loops of builds share.
struct Loops {
    url: String,
    stop: AtomicBool,
    builds: AtomicU64,
    /// Read by who builds.
    gate: RwLock<()>,
}

/// Longer than a build takes on a machine that runs others beside it.
const BUILD_PATIENCE: Duration = Duration::from_secs(240);

// === impl Loops ===

impl Loops {
    /// Builds once with every task run, then until the stop with every task a hit; how often that was.
    fn build<T: Tool>(&self, name: &str, checkout: &T) -> u64 {
        let mut hits = 0;
        while !self.stop.load(Ordering::Relaxed) {
            checkout.wipe();
            let _building = self.gate.read();
            assert_eq!(checkout.build(&self.url), Run::all_remote(T::TASKS), "{name}, build {hits}");
            hits += 1;
            self.builds.fetch_add(1, Ordering::Relaxed);
        }
        hits
    }

    /// Waits for `count` further builds of whatever tool.
    fn until_built(&self, count: u64) {
        let goal = self.builds.load(Ordering::Relaxed) + count;
        until("builds go on", BUILD_PATIENCE, || self.builds.load(Ordering::Relaxed) >= goal);
    }
}

/// A loop's end, well or not, ends the others.
struct Ending<'a>(&'a AtomicBool);

impl Drop for Ending<'_> {
    fn drop(&mut self) {
        self.0.store(true, Ordering::Relaxed);
    }
}

#[test]
fn restarts_upgrades_and_kills_go_unnoticed() {
    let restarts: u8 =
        std::env::var("LARDER_SOAK_RESTARTS").map_or(4, |text| text.parse().expect("a number"));
    let (upgrades, kills) = (restarts / 4, restarts / 4);
    let setup = Setup::new();
    let manager = Manager::installed(&setup).copied();
    let mut process = manager.start();
    let body = Rng::new(64).bytes(4096);
    let put = Request::put(TARGET, body.clone()).send(&Addr::Tcp(setup.addr)).map(|answer| answer.status());
    assert_eq!(put.ok(), Some(200));
    let loops = Loops {
        url: format!("http://{}", setup.addr),
        stop: AtomicBool::new(false),
        builds: AtomicU64::new(0),
        gate: RwLock::new(()),
    };
    // Cold, before anything happens.
    let (turbo, nx) = (Turbo::checkout("soak"), Nx::checkout("soak"));
    let bazel = Bazel::checkout("soak");
    let grpc = Bazel::checkout("soak over gRPC").by(Version::V4).grpc();
    assert_eq!(turbo.build(&loops.url), Run::all_ran(Turbo::TASKS));
    assert_eq!(nx.build(&loops.url), Run::all_ran(Nx::TASKS));
    assert_eq!(bazel.build(&loops.url), Run::all_ran(Bazel::TASKS));
    assert_eq!(grpc.build(&loops.url), Run::all_ran(Bazel::TASKS));
    let load = Load::begin(setup.addr, 64, &body);
    let (hits, process) = thread::scope(|scope| {
        let loops = &loops;
        let run = [
            scope.spawn(move || loops.build("turbo", &turbo)),
            scope.spawn(move || loops.build("nx", &nx)),
            scope.spawn(move || loops.build("bazel over HTTP", &bazel)),
            scope.spawn(move || loops.build("bazel over gRPC", &grpc)),
        ];
        {
            let _ending = Ending(&loops.stop);
            for _ in 0..restarts {
                loops.until_built(2);
                process = manager.restart(process);
            }
            for number in 1..=upgrades {
                loops.until_built(2);
                manager.upgrade(number);
                assert!(!manager.is_current(&process), "the old one runs on");
                process = manager.restart(process);
                assert!(manager.is_current(&process), "the new one runs");
            }
            loops.until_built(2);
            undisturbed(&load, &process, "restarts and upgrades");
            for _ in 0..kills {
                process = kill(&manager, loops, &load, process);
            }
            loops.until_built(4);
        }
        let hits = run.map(|thread| thread.join().expect("every build is whole, and every task of it a hit"));
        (hits, process)
    });
    undisturbed(&load, &process, "the end");
    drop(load.end());
    say(&format!(
        "{restarts} restarts, {upgrades} upgrades, {kills} kills; builds of hits only: turbo {}, nx {}, bazel {} over \
         HTTP and {} over gRPC",
        hits[0], hits[1], hits[2], hits[3]
    ));
}

/// Nothing failed since the last time this was asked.
fn undisturbed(load: &Load, process: &Process, what: &str) {
    let tally = load.take();
    say(&format!(
        "the load until {what}: {} answers, {} failures, the longest in {:?}; {} connections were closed idle",
        tally.answered,
        tally.failures.len(),
        tally.longest,
        tally.closed_while_idle
    ));
    assert!(tally.failures.is_empty(), "{:#?}", tally.failures);
    assert!(tally.answered > 500, "there was a load");
    let log = process.said();
    // So no connection was ended while a request was in it, and those that were closed idle had sent nothing.
    assert!(!log.contains("cut "), "{log}");
}

/// `kill -9` between two builds of every loop; the next ones begin while nobody runs.
fn kill(manager: &Manager, loops: &Loops, load: &Load, mut process: Process) -> Process {
    let builders = loops.gate.write();
    let before = load.take();
    assert!(before.failures.is_empty(), "{:#?}", before.failures);
    process.kill();
    drop(builders);
    let process = manager.start();
    loops.until_built(2);
    until("the load goes on", PATIENCE, || load.tally().answered > 256);
    let cut = load.take();
    say(&format!(
        "kill -9 ended 64 connections: {} new ones or in an answer, {} kept open, before the next answer's first byte",
        cut.failures.len(),
        cut.closed_while_idle
    ));
    assert!(!cut.failures.iter().any(|words| words.contains("Refused")), "{:#?}", cut.failures);
    assert!(cut.failures.len() <= 64, "one each at most: {:#?}", cut.failures);
    process
}
