//! The product in small: two machines of one team, one bucket of each kind, real build tools; the bucket goes away, a
//! machine is killed, its cache is deleted. Builds never fail, report exactly the hits that are owed, and
//! nothing that was built is lost.
//!
//! All tools build at the one S3; at the others it is one of each way in, and all of them with `LARDER_PRODUCT=whole`.
//!
//! *desk* and *laptop* are two daemons with folders of their own. Each reaches the bucket through a proxy of its own,
//! which counts and breaks.

use std::fs;
use std::time::{Duration, Instant};

use crate::support::bucket::{Bucket, Kind};
use crate::support::daemon::Daemon;
use crate::support::fault::Fault;
use crate::support::proxy::FaultProxy;
use crate::support::routes::{Entry, Route};
use crate::support::setup::Setup;
use crate::support::tools::bazel::Bazel;
use crate::support::tools::ccache::Ccache;
use crate::support::tools::gradle::Gradle;
use crate::support::tools::lage::Lage;
use crate::support::tools::moon::Moon;
use crate::support::tools::nx::Nx;
use crate::support::tools::rush::Rush;
use crate::support::tools::sccache::Sccache;
use crate::support::tools::{Run, Tool, Turbo};
use crate::support::weed::{self, Keys, Weed};
use crate::support::{Rng, until};

/// The default of `first_byte`, and what a loaded machine may add to it.
const FIRST_BYTE: Duration = Duration::from_millis(1_500 + 500);

/// An answer that came later is worth a look when a build was not as expected.
const SLOW: Duration = Duration::from_millis(500);

/// How long a queue may take to drain by itself: a probe goes every 60 s at worst.
const DRAIN: Duration = Duration::from_secs(150);

type CurrentCcache = Ccache<1, 0>;

/// What a machine's people build with: a checkout for each tool.
pub(crate) trait Fleet {
    /// Fresh checkouts whose sources say `version`.
    fn of(version: &str) -> Self;

    /// Builds with each tool; all of them must report what `expected` makes of their number of tasks.
    fn build(&self, daemon: &Daemon, expected: fn(usize) -> Run, when: &str);

    /// Throws away outputs and the tools' own caches.
    fn wipe(&self);

    /// What the tasks wrote.
    fn outputs(&self) -> Vec<Vec<String>>;
}

/// The tools that speak HTTP.
struct Checkouts {
    turbo: Turbo,
    moon: Moon,
    bazel: Bazel,
    nx: Nx,
    gradle: Gradle,
    ccache: CurrentCcache,
    rush: Rush,
    lage: Lage,
    sccache: Sccache,
    /// Rush by its S3 plugin.
    rush_s3: Rush,
}

impl Fleet for Checkouts {
    fn of(version: &str) -> Self {
        Self {
            turbo: Turbo::checkout(version),
            moon: Moon::checkout(version),
            bazel: Bazel::checkout(version),
            nx: Nx::checkout(version),
            gradle: Gradle::checkout(version),
            ccache: CurrentCcache::checkout(version),
            rush: Rush::checkout(version),
            lage: Lage::checkout(version),
            sccache: Sccache::checkout(version),
            rush_s3: Rush::checkout(version).s3(),
        }
    }

    #[track_caller]
    fn build(&self, daemon: &Daemon, expected: fn(usize) -> Run, when: &str) {
        let url = daemon.url();
        let check = |tool: &str, run: Run, tasks: usize| check(daemon, tool, &run, &expected(tasks), when);
        check("turbo", self.turbo.build(&url), Turbo::TASKS);
        check("moon", self.moon.build(&url), Moon::TASKS);
        check("bazel", self.bazel.build(&url), Bazel::TASKS);
        check("nx", self.nx.build(&url), Nx::TASKS);
        check("gradle", self.gradle.build(&url), Gradle::TASKS);
        check("ccache", self.ccache.build(&url), CurrentCcache::TASKS);
        check("rush", self.rush.build(&url), Rush::TASKS);
        check("lage", self.lage.build(&url), Lage::TASKS);
        check("sccache", self.sccache.build(&url), Sccache::TASKS);
        check("rush over S3", self.rush_s3.build(&daemon.s3_root()), Rush::TASKS);
    }

    fn wipe(&self) {
        self.turbo.wipe();
        self.moon.wipe();
        self.bazel.wipe();
        self.nx.wipe();
        self.gradle.wipe();
        self.ccache.wipe();
        self.rush.wipe();
        self.lage.wipe();
        self.sccache.wipe();
        self.rush_s3.wipe();
    }

    fn outputs(&self) -> Vec<Vec<String>> {
        vec![
            self.turbo.outputs(),
            self.moon.outputs(),
            self.bazel.outputs(),
            self.nx.outputs(),
            self.gradle.outputs(),
            self.ccache.outputs(),
            self.rush.outputs(),
            self.lage.outputs(),
            self.sccache.outputs(),
            self.rush_s3.outputs(),
        ]
    }
}

/// One tool of each way in: HTTP, the Azure door, the S3 door.
struct Few {
    turbo: Turbo,
    lage: Lage,
    sccache: Sccache,
}

impl Fleet for Few {
    fn of(version: &str) -> Self {
        Self {
            turbo: Turbo::checkout(version),
            lage: Lage::checkout(version),
            sccache: Sccache::checkout(version),
        }
    }

    #[track_caller]
    fn build(&self, daemon: &Daemon, expected: fn(usize) -> Run, when: &str) {
        let url = daemon.url();
        check(daemon, "turbo", &self.turbo.build(&url), &expected(Turbo::TASKS), when);
        check(daemon, "lage", &self.lage.build(&url), &expected(Lage::TASKS), when);
        check(daemon, "sccache", &self.sccache.build(&url), &expected(Sccache::TASKS), when);
    }

    fn wipe(&self) {
        self.turbo.wipe();
        self.lage.wipe();
        self.sccache.wipe();
    }

    fn outputs(&self) -> Vec<Vec<String>> {
        vec![self.turbo.outputs(), self.lage.outputs(), self.sccache.outputs()]
    }
}

/// Whether every tool is to build at every store: the long form of these tests.
pub(crate) fn is_whole() -> bool {
    std::env::var_os("LARDER_PRODUCT").is_some_and(|form| form == "whole")
}

/// Whether a build of `tool` did what it had to.
#[track_caller]
pub(crate) fn check(daemon: &Daemon, tool: &str, run: &Run, expected: &Run, when: &str) {
    let slow = || daemon.access().into_iter().filter(|line| line.first_byte > Some(SLOW));
    assert_eq!(run, expected, "{tool}, {when}; slow: {:#?}", slow().collect::<Vec<_>>());
}

#[test]
fn two_machines_and_an_s3_that_goes_away() {
    two_machines_and_a_bucket_that_goes_away::<Checkouts>(Kind::S3);
}

#[test]
fn two_machines_and_an_azure_that_goes_away() {
    if is_whole() {
        two_machines_and_a_bucket_that_goes_away::<Checkouts>(Kind::Azure);
    } else {
        two_machines_and_a_bucket_that_goes_away::<Few>(Kind::Azure);
    }
}

#[test]
fn two_machines_and_a_google_that_goes_away() {
    if is_whole() {
        two_machines_and_a_bucket_that_goes_away::<Checkouts>(Kind::Google);
    } else {
        two_machines_and_a_bucket_that_goes_away::<Few>(Kind::Google);
    }
}

/// The whole story, with the tools of one fleet.
pub(crate) fn two_machines_and_a_bucket_that_goes_away<F: Fleet>(kind: Kind) {
    let keys = kind.keys("one");
    let bucket = Bucket::start(kind, &[&keys]);
    let (desk_way, laptop_way) = (FaultProxy::to(bucket.addr()), FaultProxy::to(bucket.addr()));
    let machine = |way: &FaultProxy| {
        Setup::new().s3_root().upstream(bucket.url(way.addr(), "team")).keys(&keys).start()
    };
    let (desk, laptop) = (machine(&desk_way), machine(&laptop_way));

    // Desk builds, and its queue drains.
    let on_desk = F::of("v1");
    on_desk.build(&desk, Run::all_ran, "first build ever");
    desk.flush();

    // Laptop builds the same: every task a remote hit, with desk's very bytes.
    let on_laptop = F::of("v1");
    on_laptop.build(&laptop, Run::all_remote, "what desk has built");
    assert_eq!(on_laptop.outputs(), on_desk.outputs());
    laptop.flush();

    // The bucket goes away: nobody listens any more.
    desk_way.set(Fault::Refuse);
    laptop_way.set(Fault::Refuse);
    on_laptop.wipe();
    on_laptop.build(&laptop, Run::all_remote, "the bucket is away, the disk is not");
    let second = F::of("v2");
    second.build(&laptop, Run::all_ran, "new sources, no bucket");
    assert!(laptop.queued() > 0, "what was built waits");
    second.wipe();
    second.build(&laptop, Run::all_remote, "what was built without the bucket");

    // It comes back in the worst form: connections are taken and nothing is answered, so that they can be counted.
    laptop_way.set(Fault::Silent);
    let third = F::of("v3");
    third.build(&laptop, Run::all_ran, "new sources, a silent bucket");
    laptop.until_upstream("read", &["down"]);
    laptop.until_upstream("write", &["down"]);
    no_client_request_goes_upstream(&laptop, &laptop_way);
    third.wipe();
    third.build(&laptop, Run::all_remote, "what was built with a silent bucket");

    // Laptop is killed, its cache is deleted, it starts again.
    let queued = laptop.queued();
    let setup = laptop.kill();
    fs::remove_dir_all(setup.dir().join("cache")).expect("the cache folder is where it is said to be");
    let laptop = setup.start();
    assert_eq!(laptop.queued(), queued, "the queue is not in the cache");
    for checkouts in [&second, &third] {
        checkouts.wipe();
        checkouts.build(&laptop, Run::all_remote, "what is queued is served from the queue");
    }
    let late: Vec<_> = laptop
        .access()
        .into_iter()
        .filter(|line| line.first_byte.is_none_or(|time| time > FIRST_BYTE))
        .collect();
    assert!(late.is_empty(), "answered later than the deadline: {late:#?}");

    // The bucket is back: the queue drains by itself, and desk hits what laptop built.
    desk_way.set(Fault::None);
    laptop_way.set(Fault::None);
    until("the queue drains by itself", DRAIN, || laptop.queued() == 0);
    desk.until_upstream("read", &["up"]);
    for (version, built) in [("v2", &second), ("v3", &third)] {
        let on_desk = F::of(version);
        on_desk.build(&desk, Run::all_remote, "what laptop has built");
        assert_eq!(on_desk.outputs(), built.outputs());
    }
}

/// While both breakers are open, requests of clients reach the upstream not at all: what reaches it are probes.
fn no_client_request_goes_upstream(daemon: &Daemon, way: &FaultProxy) {
    let mut rng = Rng::new(7);
    let before = way.seen().len();
    let began = Instant::now();
    for _ in 0..50 {
        for route in Route::ALL {
            let entry = route.entry(&mut rng, 64);
            assert_eq!(daemon.send(entry.get()).status(), 404, "{entry:?}");
            assert_eq!(daemon.send(entry.put()).status(), entry.route.taken(), "{entry:?}");
        }
    }
    let seen = way.seen();
    let since = &seen[before..];
    // Each direction probes at most once a second.
    let probes = 2 * (1 + usize::try_from(began.elapsed().as_secs()).expect("a short time"));
    assert!(since.len() <= probes, "{} requests went upstream, {probes} probes may: {since:#?}", since.len());
}

#[test]
fn at_the_moment_the_bucket_goes_only_what_is_in_flight_waits_for_it() {
    const AT_ONCE: usize = 20;
    let keys = Keys::new("one");
    let weed = Weed::start(&[&keys]);
    let way = FaultProxy::to(weed.addr());
    let laptop = Setup::new().upstream(weed::url(way.addr(), "")).keys(&keys).start();
    assert_eq!(laptop.get("/blob/ns/warm").status(), 404, "the upstream answers");
    way.set(Fault::Silent);
    let before = way.seen().len();
    let mut rng = Rng::new(8);
    let mut round = || {
        let entries: Vec<Entry> = (0..AT_ONCE).map(|_| Route::Blob.entry(&mut rng, 8)).collect();
        std::thread::scope(|scope| {
            for entry in &entries {
                scope.spawn(|| assert_eq!(laptop.send(entry.get()).status(), 404));
            }
        });
    };
    round();
    laptop.until_upstream("read", &["down"]);
    // Requests that were in flight, each retried once on a fresh connection at most, and first probes.
    let in_flight = way.seen().len() - before;
    assert!(in_flight <= 2 * AT_ONCE + 4, "{in_flight}");
    let began = Instant::now();
    let connections = way.connections();
    round();
    round();
    let probes = 1 + usize::try_from(began.elapsed().as_secs()).expect("a short time");
    assert!(way.connections() - connections <= probes);
    laptop.until_access(2 * AT_ONCE);
    let late: Vec<_> =
        laptop.access().into_iter().filter(|line| line.first_byte > Some(FIRST_BYTE)).collect();
    assert!(late.is_empty(), "{late:#?}");
}
