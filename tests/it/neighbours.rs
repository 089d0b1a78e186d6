//! Other programs that write the team's bucket: what they put there and what Larder puts there under the same names.

use std::process::Command;

use tempfile::TempDir;

use crate::support::daemon::Daemon;
use crate::support::http::Request;
use crate::support::process::Process;
use crate::support::setup::Setup;
use crate::support::tools::nx::Nx;
use crate::support::tools::{Run, Tool, Turbo};
use crate::support::weed::{self, BUCKET, Keys, Weed};
use crate::support::wire::Addr;
use crate::support::{PATIENCE, free_addr, tool, until};

/// A bucket, and a Larder in front of it.
struct Team {
    weed: Weed,
    keys: Keys,
    daemon: Daemon,
}

/// npm `turborepo-remote-cache`, a Turborepo cache server of another make, on the same bucket.
struct Neighbour {
    url: String,
    _folder: TempDir,
    _process: Process,
}

// === impl Team ===

impl Team {
    fn start() -> Self {
        let keys = Keys::new("team");
        let weed = Weed::start(&[&keys]);
        let daemon = larder(&weed, &keys);
        Self { weed, keys, daemon }
    }

    /// The daemon of another machine, which has nothing yet.
    fn laptop(&self) -> Daemon {
        larder(&self.weed, &self.keys)
    }

    /// Its server. It stores and answers tags only where it is told that there are signatures, and then answers
    /// nothing without one.
    fn neighbour(&self, is_signing: bool) -> Neighbour {
        let folder = TempDir::new().expect("a temporary folder");
        let addr = free_addr();
        let mut command = Command::new(tool("turborepo-remote-cache"));
        command
            .current_dir(folder.path())
            .env_clear()
            .envs(std::env::var_os("PATH").map(|path| ("PATH", path)))
            .env("HOME", folder.path())
            .env("NODE_ENV", "production")
            .env("HOST", addr.ip().to_string())
            .env("PORT", addr.port().to_string())
            .env("TURBO_TOKEN", "any")
            .env("STORAGE_PROVIDER", "s3")
            .env("STORAGE_PATH", BUCKET)
            .env("S3_ACCESS_KEY", &self.keys.id)
            .env("S3_SECRET_KEY", &self.keys.secret)
            .env("S3_REGION", "us-east-1")
            .env("S3_ENDPOINT", format!("http://{}", self.weed.addr()))
            .envs(is_signing.then_some(("TURBO_REMOTE_CACHE_SIGNATURE_KEY", "any")));
        let mut process = Process::spawn(&mut command, &folder.path().join("log"));
        until("the neighbour answers", PATIENCE, || {
            assert!(process.runs(), "the neighbour ended at its start:\n{}", process.said());
            Request::get("/v8/artifacts/status")
                .header("authorization", "Bearer any")
                .send(&Addr::Tcp(addr))
                .is_ok_and(|answer| answer.status() == 200)
        });
        Neighbour { url: format!("http://{addr}"), _folder: folder, _process: process }
    }
}

fn larder(weed: &Weed, keys: &Keys) -> Daemon {
    Setup::new().upstream(weed::url(weed.addr(), "")).keys(keys).start()
}

/// Builds `checkout` through `writer` and restores it through `reader`.
#[track_caller]
fn restored_through(checkout: &Turbo, writer: &str, reader: &str, between: impl FnOnce()) {
    assert_eq!(checkout.build(writer), Run::all_ran(Turbo::TASKS), "through the one");
    let built = checkout.outputs();
    between();
    checkout.wipe();
    assert_eq!(checkout.build(reader), Run::all_remote(Turbo::TASKS), "through the other");
    assert_eq!(checkout.outputs(), built);
}

#[test]
fn turborepo_remote_cache_and_larder_read_each_other() {
    let team = Team::start();
    let neighbour = team.neighbour(false);
    restored_through(&Turbo::checkout("v1"), &neighbour.url, &team.daemon.url(), || ());
    restored_through(&Turbo::checkout("v2"), &team.daemon.url(), &neighbour.url, || team.daemon.flush());
}

#[test]
fn turborepo_remote_cache_and_larder_read_each_others_signatures() {
    let team = Team::start();
    let neighbour = team.neighbour(true);
    let signed = |version| {
        let checkout = Turbo::checkout(version);
        checkout.sign();
        checkout
    };
    restored_through(&signed("v1"), &neighbour.url, &team.daemon.url(), || ());
    restored_through(&signed("v2"), &team.daemon.url(), &neighbour.url, || team.daemon.flush());
}

/// npm `@nx/s3-cache` itself runs only with an activation key. The archive here is packed as its code says that it
/// packs, with a gzip that names its system as Node's does.
#[test]
fn an_archive_packed_as_nx_s3_cache_packs_is_a_miss_to_nx() {
    let team = Team::start();
    let checkout = Nx::checkout("v1");
    assert_eq!(checkout.build(&team.daemon.url()), Run::all_ran(Nx::TASKS));
    team.daemon.flush();
    assert_eq!(Nx::checkout("v1").build(&team.laptop().url()), Run::all_remote(Nx::TASKS), "ours");

    let folder = TempDir::new().expect("a temporary folder");
    let script = "mkdir -p outputs/packages/a/dist && echo theirs > outputs/packages/a/dist/out.txt && \
                  echo built > terminalOutputs && printf 0 > code && tar -czf ../theirs.tgz *";
    std::fs::create_dir(folder.path().join("w")).expect("a temporary folder");
    let packed = Command::new("sh").args(["-c", script]).current_dir(folder.path().join("w")).status();
    assert!(packed.is_ok_and(|status| status.success()), "tar and gzip are here");
    let archive = std::fs::read(folder.path().join("theirs.tgz")).expect("just written");

    let written = team.daemon.access().into_iter().filter(|access| access.method == "PUT");
    let hashes: Vec<_> =
        written.filter_map(|put| put.path.rsplit_once('/').map(|(_, hash)| hash.to_owned())).collect();
    assert_eq!(hashes.len(), Nx::TASKS);
    for hash in &hashes {
        let answer =
            Request::put(format!("/buckets/{BUCKET}/{hash}"), archive.clone()).send(&team.weed.filer());
        assert_eq!(answer.expect("the filer answers").status() / 100, 2);
    }

    assert_eq!(Nx::checkout("v1").build(&team.laptop().url()), Run::all_ran(Nx::TASKS), "theirs");
}
