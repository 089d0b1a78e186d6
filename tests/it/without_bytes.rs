//! Builds without the bytes: Bazel keeps in mind what an action result named, downloads it when a local action reads it,
//! and fails the build (34, 36, 39) when it is gone by then. Whatever was answered is still there; what is incomplete is
//! never answered.
//!
//! `LARDER_SOAK_BUILDS=200 tests/run --test it without_bytes` runs the long form.

use crate::support::bucket::{Bucket, Kind};
use crate::support::daemon::Daemon;
use crate::support::grpc::{Code, Grpc};
use crate::support::routes::Route;
use crate::support::setup::Setup;
use crate::support::tools::minimal::Minimal;
use crate::support::{Rng, say};

/// What one build puts into the cache, nearly all of it by the leaves.
const BUILD_BYTES: usize = Minimal::LEAVES * Minimal::LEAF_BYTES;
const DISK: usize = 3 * BUILD_BYTES;

/// So many builds in all, of which each second one asks for everything anew.
fn builds() -> usize {
    let asked = std::env::var("LARDER_SOAK_BUILDS").ok();
    asked.map_or(20, |count| count.parse().expect("LARDER_SOAK_BUILDS is a number"))
}

/// Others use the cache: a tenth of it with each build.
fn fill(daemon: &Daemon, rng: &mut Rng) {
    const PIECES: usize = 4;
    for _ in 0..PIECES {
        let entry = Route::Cas.entry(rng, DISK / 10 / PIECES);
        assert_eq!(daemon.send(entry.put()).status(), entry.route.taken());
    }
}

fn no_build_fails(setup: Setup) {
    let config = format!("disk = {DISK}\ndisk_keep_free = 0\nmemory = 0\nmemory_entry_max = 0");
    let daemon = setup.config(&config).start();
    let bazel = Minimal::checkout(&daemon.url());
    let mut rng = Rng::new(31);
    bazel.build("the first of all");
    let mut ran = 0;
    for round in 0..builds().div_ceil(2) {
        // As on a fresh checkout: nothing is here, and what is answered stays in the cache.
        bazel.clean();
        bazel.edit("first\n");
        ran += bazel.build(&format!("round {round}, from the cache"));
        fill(&daemon, &mut rng);
        // Only now are the bytes asked for, by names that were given before.
        bazel.edit(&format!("round {round}\n"));
        let here = bazel.build(&format!("round {round}, of what is in the cache"));
        assert!(here >= 1, "the last rule has changed");
        ran += here - 1;
        fill(&daemon, &mut rng);
    }
    let evictions = daemon.stat("/disk/evictions");
    say(&format!("{} builds: {ran} rules ran again, {evictions} entries were evicted", builds()));
    assert!(evictions > 0, "the store was never full: the test shows nothing");
    let codes: Vec<_> = daemon.access().into_iter().filter(|line| line.status != 200).collect();
    assert!(codes.is_empty(), "{codes:?}");
}

#[test]
fn no_build_fails_with_a_bucket() {
    let keys = Kind::S3.keys("one");
    let bucket = Bucket::start(Kind::S3, &[&keys]);
    no_build_fails(Setup::new().upstream(bucket.url(bucket.addr(), "")).keys(&keys));
}

#[test]
fn no_build_fails_without_any_upstream() {
    no_build_fails(Setup::new());
}

/// An action result whose blobs are gone is a miss: over gRPC, as over HTTP.
#[test]
fn a_result_is_no_hit_without_what_it_names() {
    let daemon = Setup::new().start();
    let at = Grpc::to(&daemon.addr());
    let mut rng = Rng::new(32);
    let (action, output) = (rng.bytes(32), rng.bytes(1_000));
    assert_eq!(at.store_result(&action, &output).code, Code::Ok, "taken: its blobs may be on their way");
    assert_eq!(at.result(&action).code, Code::NotFound);
    assert_eq!(at.update(&[&output]).code, Code::Ok);
    assert_eq!(at.result(&action).code, Code::Ok);
}
