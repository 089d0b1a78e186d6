//! sccache and Rush at the doors: hits of what was built, the upstream gone, keys of somebody else's, a real crate.

use std::path::{Path, PathBuf};
use std::process::Command;

use crate::support::daemon::Daemon;
use crate::support::fault::Fault;
use crate::support::proxy::FaultProxy;
use crate::support::setup::Setup;
use crate::support::tools::rush::Rush;
use crate::support::tools::sccache::{Sccache, Store};
use crate::support::tools::{Run, Tool};
use crate::support::weed::{self, Keys, Weed};

/// A store behind a way that can break.
fn gone(fault: Fault) -> (Weed, FaultProxy, Daemon) {
    let keys = Keys::new("one");
    let weed = Weed::start(&[&keys]);
    let proxy = FaultProxy::to(weed.addr());
    proxy.set(fault);
    let daemon = Setup::new().s3_root().upstream(weed::url(proxy.addr(), "")).keys(&keys).start();
    (weed, proxy, daemon)
}

fn cold_then_warm(daemon: &Daemon, store: &Store, name: &str) {
    let plain: String = name.chars().filter(|char| char.is_ascii_alphanumeric()).collect();
    let checkout = |version: &str| Sccache::checkout(&format!("{plain} {version}")).at(store.clone());
    let first = checkout("v1");
    let tasks = Sccache::TASKS;
    assert_eq!(first.build(&daemon.url()), Run::all_ran(tasks), "{name}: cold");
    let built = first.outputs();
    first.wipe();
    assert_eq!(first.build(&daemon.url()), Run::all_remote(tasks), "{name}: warm");
    assert_eq!(first.outputs(), built, "{name}");
    assert_eq!(checkout("v1").build(&daemon.url()), Run::all_remote(tasks), "{name}: elsewhere");
    assert_eq!(checkout("v2").build(&daemon.url()), Run::all_ran(tasks), "{name}: other sources");
    let refused: Vec<_> =
        daemon.access().into_iter().filter(|line| line.status >= 400 && line.status != 404).collect();
    assert!(refused.is_empty(), "{name}: {refused:?}");
}

/// Every way that sccache can be given its keys in.
fn stores(daemon: &Daemon) -> Vec<(&'static str, Store)> {
    let issued = daemon.token(&["--s3", "sccache", "--read-write"]);
    let value = |name: &str| {
        let line = issued.lines().find_map(|line| line.strip_prefix(name)?.strip_prefix('='));
        line.expect("both are printed").to_owned()
    };
    let ours = Store::Signed { id: value("AWS_ACCESS_KEY_ID"), secret: value("AWS_SECRET_ACCESS_KEY") };
    let foreign = Store::Signed { id: "AKIAIOSFODNN7EXAMPLE".into(), secret: "of something else".into() };
    let azure = |arguments: &[&str]| Store::Azure(daemon.token(arguments));
    vec![
        ("S3, unsigned", Store::S3),
        ("S3, signed", ours),
        ("S3, keys of another place", foreign),
        ("Azure, by key", azure(&["--azure", "sccache", "--read-write"])),
        ("Azure, by signature", azure(&["--azure", "sccache", "--read-write", "--sas"])),
    ]
}

#[test]
fn sccache_hits_what_it_built() {
    let daemon = Setup::new().start();
    for (name, store) in stores(&daemon) {
        cold_then_warm(&daemon, &store, name);
    }
}

/// It starts, compiles and hits its own, whatever is wrong upstream: no request of it fails.
#[test]
fn sccache_starts_and_compiles_while_the_upstream_is_gone() {
    let failing = Fault::Status { code: 500, word: "InternalError" };
    for fault in [Fault::Refuse, Fault::Silent, failing, Fault::ACCESS_DENIED] {
        let (_weed, _proxy, daemon) = gone(fault);
        for (name, store) in stores(&daemon) {
            cold_then_warm(&daemon, &store, &format!("{fault:?}, {name}"));
        }
        assert!(daemon.queued() > 0, "{fault:?}: what was compiled waits");
    }
}

/// Keys that may only read: it starts, says once that it can't write, and compiles.
#[test]
fn sccache_compiles_with_keys_that_only_read() {
    let daemon = Setup::new().start();
    let writer = Sccache::checkout("v1");
    assert_eq!(writer.build(&daemon.url()), Run::all_ran(2));
    let store = Store::Azure(daemon.token(&["--azure", "sccache", "--read-only"]));
    // Another door is another place: what is there is not here.
    let reader = Sccache::checkout("v1").at(store);
    assert_eq!(reader.build(&daemon.url()), Run::all_ran(2));
    let issued = daemon.token(&["--s3", "sccache", "--read-only"]);
    let (id, secret) = issued.split_once('\n').expect("two lines");
    let value = |line: &str| line.split_once('=').expect("a variable").1.to_owned();
    let store = Store::Signed { id: value(id), secret: value(secret) };
    let reader = Sccache::checkout("v1").at(store.clone());
    assert_eq!(reader.build(&daemon.url()), Run::all_remote(2), "it reads");
    let changed = Sccache::checkout("v2").at(store);
    assert_eq!(changed.build(&daemon.url()), Run::all_ran(2));
    changed.wipe();
    assert_eq!(changed.build(&daemon.url()), Run::all_ran(2), "it did not write");
}

/// A crate that somebody wrote, and that is here because Larder depends on it.
fn package(name: &str) -> PathBuf {
    let cargo = PathBuf::from(std::env::var_os("CARGO").expect("cargo runs the tests"));
    let rustc = Command::new(cargo.with_file_name("rustc")).arg("-vV").output().expect("rustc starts");
    let rustc = String::from_utf8_lossy(&rustc.stdout).into_owned();
    let host = rustc.lines().find_map(|line| line.strip_prefix("host: ")).expect("rustc says where it is");
    // Of other platforms not everything is here.
    let output = Command::new(cargo)
        .args(["metadata", "--format-version=1", "--offline", "--locked", "--filter-platform", host])
        .current_dir(env!("CARGO_MANIFEST_DIR"))
        .output()
        .expect("cargo starts");
    assert!(output.status.success(), "{output:?}");
    let metadata: serde_json::Value = serde_json::from_slice(&output.stdout).expect("JSON");
    let packages = metadata["packages"].as_array().expect("packages");
    let found = packages.iter().find(|package| package["name"] == name);
    let manifest = found.and_then(|package| package["manifest_path"].as_str()).expect("it is depended on");
    Path::new(manifest).parent().expect("a file lies in a folder").to_owned()
}

/// Over both doors, with the upstream there, and then gone: the disk has it.
#[test]
fn a_crate_is_compiled_once() {
    let package = package("percent-encoding");
    let (_weed, proxy, daemon) = gone(Fault::None);
    for store in [Store::S3, Store::Azure(daemon.token(&["--azure", "sccache", "--read-write"]))] {
        proxy.set(Fault::None);
        let checkout = Sccache::checkout("v1").at(store);
        assert_eq!(checkout.compile_crate(&daemon.url(), &package), Run::all_ran(1));
        assert_eq!(checkout.compile_crate(&daemon.url(), &package), Run::all_remote(1));
        daemon.flush();
        proxy.set(Fault::Refuse);
        assert_eq!(
            checkout.compile_crate(&daemon.url(), &package),
            Run::all_remote(1),
            "the upstream is gone"
        );
    }
}

fn rush_cold_then_warm(daemon: &Daemon) {
    let root = daemon.s3_root();
    let checkout = |version: &str| Rush::checkout(version).s3();
    let first = checkout("v1");
    assert_eq!(first.build(&root), Run::all_ran(2), "cold");
    let built = first.outputs();
    first.wipe();
    assert_eq!(first.build(&root), Run::all_remote(2), "warm");
    assert_eq!(first.outputs(), built);
    assert_eq!(checkout("v1").build(&root), Run::all_remote(2), "elsewhere");
    assert_eq!(checkout("v2").build(&root), Run::all_ran(2), "other sources");
}

#[test]
fn rush_hits_what_it_built_by_its_s3_plugin() {
    rush_cold_then_warm(&Setup::new().s3_root().start());
}

#[test]
fn rush_hits_what_it_built_by_its_s3_plugin_while_the_upstream_is_gone() {
    let (_weed, _proxy, daemon) = gone(Fault::Refuse);
    rush_cold_then_warm(&daemon);
}
