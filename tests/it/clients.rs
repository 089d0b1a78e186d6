//! The real build tools against one daemon: what was built once is a remote hit after the tool has forgotten it.

use crate::support::daemon::Daemon;
use crate::support::free_addr;
use crate::support::setup::Setup;
use crate::support::tools::bazel::Bazel;
use crate::support::tools::ccache::Ccache;
use crate::support::tools::gradle::Gradle;
use crate::support::tools::maven::Maven;
use crate::support::tools::moon::Moon;
use crate::support::tools::nx::Nx;
use crate::support::tools::rush::Rush;
use crate::support::tools::{Run, Tool, Turbo};
use crate::support::weed;

/// Builds cold, forgets, builds warm: every task exactly once, then every task from the cache.
fn cold_then_warm<T: Tool>() {
    cold_then_warm_at::<T>(&Setup::new().start());
}

fn cold_then_warm_at<T: Tool>(daemon: &Daemon) {
    let checkout = T::checkout("v1");
    assert_eq!(checkout.build(&daemon.url()), Run::all_ran(T::TASKS), "cold");
    let built = checkout.outputs();
    checkout.wipe();
    assert_eq!(checkout.build(&daemon.url()), Run::all_remote(T::TASKS), "warm");
    assert_eq!(checkout.outputs(), built, "the outputs are the ones that were built first");

    let other = T::checkout("v1");
    assert_eq!(other.build(&daemon.url()), Run::all_remote(T::TASKS), "another checkout");
    let changed = T::checkout("v2");
    assert_eq!(changed.build(&daemon.url()), Run::all_ran(T::TASKS), "other sources");

    let refused: Vec<_> =
        daemon.access().into_iter().filter(|access| access.status >= 400 && access.status != 404).collect();
    assert!(refused.is_empty(), "{refused:?}");
}

/// A build with nobody at the daemon's address ends well, and ran everything.
fn without_a_daemon<T: Tool>() {
    let daemon = Setup::new().start();
    let url = daemon.url();
    daemon.kill();
    assert_eq!(T::checkout("v1").build(&url), Run::all_ran(T::TASKS));
}

#[test]
fn turbo_hits_what_it_built() {
    cold_then_warm::<Turbo>();
}

#[test]
fn moon_hits_what_it_built() {
    cold_then_warm::<Moon>();
}

#[test]
fn bazel_hits_what_it_built() {
    cold_then_warm::<Bazel>();
}

#[test]
fn nx_hits_what_it_built() {
    cold_then_warm::<Nx>();
}

// Where the upstream is gone all must be as it is without one, and more: these start so slowly that once is enough.
#[test]
fn nx_and_gradle_hit_what_they_built_while_the_upstream_is_gone() {
    let daemon = Setup::new().upstream(weed::url(free_addr(), "")).start();
    cold_then_warm_at::<Nx>(&daemon);
    cold_then_warm_at::<Gradle>(&daemon);
}

#[test]
fn rush_and_maven_hit_what_they_built_while_the_upstream_is_gone() {
    let daemon = Setup::new().upstream(weed::url(free_addr(), "")).start();
    cold_then_warm_at::<Rush>(&daemon);
    cold_then_warm_at::<Maven>(&daemon);
}

#[test]
fn ccache_hits_what_it_built_in_every_layout() {
    cold_then_warm::<Ccache<0, 0>>();
    cold_then_warm::<Ccache<0, 1>>();
    cold_then_warm::<Ccache<0, 2>>();
    cold_then_warm::<Ccache<1, 0>>();
    cold_then_warm::<Ccache<1, 1>>();
    cold_then_warm::<Ccache<1, 2>>();
}

#[test]
fn ccache_hits_what_it_built_while_the_upstream_is_gone() {
    let setup = Setup::new().upstream(weed::url(free_addr(), ""));
    cold_then_warm_at::<Ccache<0, 0>>(&setup.start());
    let setup = Setup::new().upstream(weed::url(free_addr(), ""));
    cold_then_warm_at::<Ccache<1, 2>>(&setup.start());
}

#[test]
fn ccache_compiles_without_a_daemon() {
    without_a_daemon::<Ccache<0, 0>>();
    without_a_daemon::<Ccache<1, 1>>();
}

#[test]
fn turbo_builds_without_a_daemon() {
    without_a_daemon::<Turbo>();
}

#[test]
fn moon_builds_without_a_daemon() {
    without_a_daemon::<Moon>();
}

#[test]
fn bazel_builds_without_a_daemon() {
    without_a_daemon::<Bazel>();
}

#[test]
fn gradle_builds_without_a_daemon() {
    without_a_daemon::<Gradle>();
}

#[test]
fn maven_builds_without_a_daemon() {
    without_a_daemon::<Maven>();
}

/// The build is whole, and yet Rush calls the write that failed a warning, and a warning a failure.
#[test]
fn rush_builds_without_a_daemon_and_exits_1() {
    let daemon = Setup::new().start();
    let url = daemon.url();
    daemon.kill();
    let checkout = Rush::checkout("v1");
    assert_eq!(checkout.attempt(&url).expect_err("a warning").code, Some(1));
    assert_eq!(checkout.outputs().len(), Rush::TASKS);
}
