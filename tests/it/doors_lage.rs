//! lage and the Azure Blob door: desk and laptop, both ways of configuration, a container that is filled without Larder
//! and one that is filled through it, and an upstream that is gone, silent or failing.

use std::time::Duration;

use crate::support::azurite::{self, Azurite};
use crate::support::bucket::Kind;
use crate::support::daemon::Daemon;
use crate::support::fault::Fault;
use crate::support::proxy::FaultProxy;
use crate::support::setup::Setup;
use crate::support::tools::lage::{Lage, VERSIONS, Way};
use crate::support::tools::{Run, Tool};

/// The default of `first_byte`, and what a loaded machine may add to it.
const FIRST_BYTE: Duration = Duration::from_millis(1_500 + 500);

/// A team's container, and the two machines that reach it.
struct Team {
    azurite: Azurite,
    /// What may read and write the container itself.
    string: String,
    desk: Daemon,
    laptop: Daemon,
    /// What desk's and laptop's lage are given.
    read_write: String,
    read_only: String,
}

// === impl Team ===

impl Team {
    fn new() -> Self {
        let keys = Kind::Azure.keys("one");
        let azurite = Azurite::start(&["one"]);
        let machine = || Setup::new().upstream(azurite::url(azurite.addr(), "")).keys(&keys).start();
        let (desk, laptop) = (machine(), machine());
        let read_write = desk.token(&["--azure", "cache", "--read-write", "--expires", "30d"]);
        let read_only = laptop.token(&["--azure", "cache", "--read-only"]);
        let string = azurite::connection_string(azurite.addr(), "one");
        Self { azurite, string, desk, laptop, read_write, read_only }
    }

    /// Each of them builds as expected: straight at the container.
    fn straight(&self, lage: Lage) -> Lage {
        lage.with(&*self.string, azurite::CONTAINER)
    }

    fn on_desk(&self, lage: Lage) -> Lage {
        lage.with(&*self.read_write, "cache")
    }

    /// Where a write switch is set as on CI, for the string alone must keep it from writing.
    fn on_laptop(&self, lage: Lage) -> Lage {
        lage.with(&*self.read_only, "cache")
    }
}

/// What lage's client says of itself.
fn requests(daemon: &Daemon) -> usize {
    daemon.access().len()
}

fn desk_and_laptop(way: Way, bytes: usize) {
    let team = Team::new();
    let checkout = |version: &str| Lage::big(version, bytes).told_by(way);
    let none = "http://127.0.0.1:1";

    // CI fills the container itself; it hits what it built, and so do both machines through Larder.
    let ci = team.straight(checkout("v1"));
    assert_eq!(ci.build(none), Run::all_ran(2), "{way:?}: straight, first");
    let built = ci.outputs();
    ci.wipe();
    assert_eq!(ci.build(none), Run::all_remote(2), "{way:?}: straight, again");
    let laptop = team.on_laptop(checkout("v1"));
    assert_eq!(laptop.build(none), Run::all_remote(2), "{way:?}: what CI has built");
    assert_eq!(laptop.outputs(), built);

    // Once it is here, it is here: what lage has itself it does not even ask for, and the rest comes from the disk.
    laptop.clean();
    let before = requests(&team.laptop);
    match way {
        Way::Environment => assert_eq!(laptop.build(none), Run::all_remote(2)),
        Way::File => {
            assert_eq!(laptop.build(none), Run { remote: 0, ran: 0, local: 2 }, "its own cache was filled");
            assert_eq!(requests(&team.laptop), before, "a hit of its own asks nobody");
        }
    }
    assert_eq!(laptop.outputs(), built);

    // Desk writes through Larder: laptop, and whoever goes straight to the container, hit it.
    let desk = team.on_desk(checkout("v2"));
    assert_eq!(desk.build(none), Run::all_ran(2), "{way:?}: new sources");
    let built = desk.outputs();
    desk.wipe();
    assert_eq!(desk.build(none), Run::all_remote(2), "{way:?}: it hits its own");
    team.desk.flush();
    let laptop = team.on_laptop(checkout("v2"));
    assert_eq!(laptop.build(none), Run::all_remote(2), "{way:?}: what desk has built");
    assert_eq!(laptop.outputs(), built);
    let straight = team.straight(checkout("v2"));
    assert_eq!(straight.build(none), Run::all_remote(2), "{way:?}: what desk has built, without Larder");
    assert_eq!(straight.outputs(), built);

    // A laptop's writes are refused, lage says nothing of it, and nothing of them is anywhere.
    let laptop = team.on_laptop(checkout("v3"));
    assert_eq!(laptop.build(none), Run::all_ran(2), "{way:?}: a laptop builds");
    let lines = team.laptop.access();
    let puts: Vec<_> = lines.iter().filter(|line| line.method == "PUT").collect();
    assert!(!puts.is_empty() && puts.iter().all(|line| line.status == 403), "{puts:?}");
    assert_eq!(team.laptop.queued(), 0);
    laptop.wipe();
    assert_eq!(laptop.build(none), Run::all_ran(2), "{way:?}: nothing was taken");
    let straight = team.straight(checkout("v3")).writes(Some(false)).told_by(Way::File);
    assert_eq!(straight.build(none), Run::all_ran(2), "{way:?}: nothing is in the container");

    for daemon in [&team.desk, &team.laptop] {
        let log = daemon.log();
        assert!(!log.contains("sig=") && !log.contains("SharedKey"), "a secret is in the log");
    }
    drop(team.azurite);
}

#[test]
fn desk_and_laptop_by_the_environment() {
    desk_and_laptop(Way::Environment, 0);
}

#[test]
fn desk_and_laptop_by_lage_config() {
    desk_and_laptop(Way::File, 0);
}

#[test]
fn desk_and_laptop_with_70_mib() {
    desk_and_laptop(Way::Environment, 70 << 20);
    desk_and_laptop(Way::File, 70 << 20);
}

/// Cold, warm, another checkout, other sources: by each version, by both ways; and what one version wrote, another
/// hits where both find the same hash.
#[test]
fn each_version_hits_what_it_built() {
    for program in VERSIONS {
        for way in [Way::Environment, Way::File] {
            let daemon = Setup::new().start();
            let string = daemon.token(&["--azure", "cache", "--read-write"]);
            let checkout =
                |version: &str| Lage::checkout(version).by(program).told_by(way).with(&*string, "cache");
            let first = checkout("v1");
            assert_eq!(first.build(""), Run::all_ran(2), "{program} {way:?}: cold");
            let built = first.outputs();
            first.wipe();
            assert_eq!(first.build(""), Run::all_remote(2), "{program} {way:?}: warm");
            assert_eq!(first.outputs(), built);
            assert_eq!(checkout("v1").build(""), Run::all_remote(2), "{program} {way:?}: elsewhere");
            assert_eq!(checkout("v2").build(""), Run::all_ran(2), "{program} {way:?}: other sources");
            let refused: Vec<_> = daemon
                .access()
                .into_iter()
                .filter(|access| access.status >= 400 && access.status != 404)
                .collect();
            assert!(
                refused.is_empty(),
                "{program} {way:?}: both of two uploads at once are taken: {refused:?}"
            );
        }
    }
}

/// What opens writing, as docs/lage.md says it.
#[test]
fn which_switch_opens_writing() {
    let daemon = Setup::new().start();
    let string = daemon.token(&["--azure", "cache", "--read-write"]);
    let mut number = 0;
    let mut written = |way: Way, writes: Option<bool>| {
        number += 1;
        let version = format!("v{number}");
        let checkout = Lage::checkout(&version).told_by(way).with(&*string, "cache").writes(writes);
        let before = daemon.access().iter().filter(|line| line.method == "PUT").count();
        assert_eq!(checkout.build(""), Run::all_ran(2));
        daemon.access().iter().filter(|line| line.method == "PUT").count() - before
    };
    // A block and a list for each target, by each layer that writes.
    assert_eq!(written(Way::File, None), 0);
    assert_eq!(written(Way::File, Some(false)), 0);
    assert_eq!(written(Way::File, Some(true)), 4);
    assert_eq!(written(Way::Environment, None), 4, "its own layer is the remote one");
    assert_eq!(written(Way::Environment, Some(false)), 4);
    assert_eq!(written(Way::Environment, Some(true)), 8);
}

#[test]
fn no_operation_waits_longer_than_the_first_byte_may_take() {
    let failing = Fault::Status { code: 500, word: "InternalError" };
    for fault in [Fault::Refuse, Fault::Silent, failing] {
        let azurite = Azurite::start(&["one"]);
        let proxy = FaultProxy::to(azurite.addr());
        proxy.set(fault);
        let laptop =
            Setup::new().upstream(azurite::url(proxy.addr(), "")).keys(&Kind::Azure.keys("one")).start();
        let string = laptop.token(&["--azure", "cache", "--read-write"]);
        for way in [Way::Environment, Way::File] {
            let checkout = Lage::checkout(&format!("{way:?}")).told_by(way).with(&*string, "cache");
            assert_eq!(checkout.build(""), Run::all_ran(2), "{fault:?} {way:?}: cold");
            checkout.wipe();
            assert_eq!(checkout.build(""), Run::all_remote(2), "{fault:?} {way:?}: warm");
        }
        // Of what is written twice at once, both may wait.
        assert!(laptop.queued() >= 4, "{fault:?}: what was built waits");
        let late: Vec<_> = laptop
            .access()
            .into_iter()
            .filter(|line| line.first_byte.is_none_or(|time| time > FIRST_BYTE))
            .collect();
        assert!(late.is_empty(), "{fault:?}: {late:#?}");
    }
}
