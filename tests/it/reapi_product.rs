//! The product in small (see `product`) over gRPC: moon with and without compression, Bazel in two versions; and what
//! an action result names taken away, here and upstream. At Azure it is one moon and one Bazel, and all with
//! `LARDER_PRODUCT=whole`.

use std::fs;

use crate::product::{Fleet, check, is_whole, two_machines_and_a_bucket_that_goes_away};
use crate::reapi_clients::warnings;
use crate::support::bucket::{Bucket, Kind};
use crate::support::daemon::Daemon;
use crate::support::http::Request;
use crate::support::setup::Setup;
use crate::support::tools::bazel::{Bazel, Version};
use crate::support::tools::moon::Moon;
use crate::support::tools::{Run, Tool};
use crate::support::weed::{self, Keys, Weed};

/// The tools that speak gRPC.
struct Callers {
    moon: Moon,
    /// Its second task writes more than a batch carries.
    zstd: Moon,
    bazel: Bazel,
    bazel4: Bazel,
}

/// A build that ends as expected, and says nothing of the cache: not even while the bucket is gone.
#[track_caller]
fn quietly<T: Tool>(daemon: &Daemon, name: &str, checkout: &T, expected: fn(usize) -> Run, when: &str) {
    check(daemon, name, &checkout.build(&daemon.url()), &expected(T::TASKS), when);
    assert_eq!(warnings(&checkout.said()), [""; 0], "{name}, {when}");
}

impl Fleet for Callers {
    fn of(version: &str) -> Self {
        Self {
            moon: Moon::checkout(version).grpc(),
            zstd: Moon::big(&format!("{version} with zstd")).grpc().zstd(),
            bazel: Bazel::checkout(version).grpc(),
            bazel4: Bazel::checkout(version).by(Version::V4).grpc(),
        }
    }

    #[track_caller]
    fn build(&self, daemon: &Daemon, expected: fn(usize) -> Run, when: &str) {
        quietly(daemon, "moon", &self.moon, expected, when);
        quietly(daemon, "moon with zstd", &self.zstd, expected, when);
        quietly(daemon, "Bazel 2.1.0", &self.bazel, expected, when);
        quietly(daemon, "Bazel 4.2.3", &self.bazel4, expected, when);
    }

    fn wipe(&self) {
        self.moon.wipe();
        self.zstd.wipe();
        self.bazel.wipe();
        self.bazel4.wipe();
    }

    fn outputs(&self) -> Vec<Vec<String>> {
        vec![self.moon.outputs(), self.zstd.outputs(), self.bazel.outputs(), self.bazel4.outputs()]
    }
}

/// One moon and one Bazel.
struct Pair {
    moon: Moon,
    bazel: Bazel,
}

impl Fleet for Pair {
    fn of(version: &str) -> Self {
        Self {
            moon: Moon::big(version).grpc().zstd(),
            bazel: Bazel::checkout(version).by(Version::V4).grpc(),
        }
    }

    #[track_caller]
    fn build(&self, daemon: &Daemon, expected: fn(usize) -> Run, when: &str) {
        quietly(daemon, "moon with zstd", &self.moon, expected, when);
        quietly(daemon, "Bazel 4.2.3", &self.bazel, expected, when);
    }

    fn wipe(&self) {
        self.moon.wipe();
        self.bazel.wipe();
    }

    fn outputs(&self) -> Vec<Vec<String>> {
        vec![self.moon.outputs(), self.bazel.outputs()]
    }
}

#[test]
fn two_machines_and_an_s3_that_goes_away_over_grpc() {
    two_machines_and_a_bucket_that_goes_away::<Callers>(Kind::S3);
}

#[test]
fn two_machines_and_an_azure_that_goes_away_over_grpc() {
    if is_whole() {
        two_machines_and_a_bucket_that_goes_away::<Callers>(Kind::Azure);
    } else {
        two_machines_and_a_bucket_that_goes_away::<Pair>(Kind::Azure);
    }
}

/// Results without their blobs: a rebuild, and from then on hits again. On the machine that built them, and on another.
#[test]
fn blobs_that_are_gone_are_built_again() {
    let keys = Keys::new("one");
    let weed = Weed::start(&[&keys]);
    let machine = || Setup::new().upstream(weed::url(weed.addr(), "team")).keys(&keys).start();
    let desk = machine();
    let on_desk = Callers::of("v1");
    on_desk.build(&desk, Run::all_ran, "first build ever");
    desk.flush();

    // All content goes, and all results stay.
    let content = format!("/buckets/{}/team/cas?recursive=true", weed::BUCKET);
    let answer = Request::new("DELETE", content).send(&weed.filer()).expect("the filer answers");
    assert!(answer.status() < 300, "{}", answer.head.line);
    let (setup, _) = desk.stop();
    fs::remove_dir_all(setup.dir().join("cache")).expect("the cache folder is where it is said to be");
    let desk = setup.start();

    for (daemon, name) in [(desk, "where it was built"), (machine(), "elsewhere")] {
        let checkouts = Callers::of("v1");
        if name == "where it was built" {
            checkouts.build(&daemon, Run::all_ran, name);
            daemon.flush();
        }
        checkouts.wipe();
        checkouts.build(&daemon, Run::all_remote, name);
    }
}

#[test]
fn two_machines_and_a_google_over_grpc() {
    let keys = Kind::Google.keys("one");
    let bucket = Bucket::start(Kind::Google, &[&keys]);
    let machine = || Setup::new().upstream(bucket.url(bucket.addr(), "team")).keys(&keys).start();
    let (desk, laptop) = (machine(), machine());
    let on_desk = Callers::of("v1");
    on_desk.build(&desk, Run::all_ran, "first build ever");
    desk.flush();
    let on_laptop = Callers::of("v1");
    on_laptop.build(&laptop, Run::all_remote, "what desk has built");
    assert_eq!(on_laptop.outputs(), on_desk.outputs());
}
