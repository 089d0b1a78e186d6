//! Real build tools of two machines whose upstream is a server: another Larder, npm `turborepo-remote-cache`, nginx.

use std::net::SocketAddr;
use std::process::Command;

use tempfile::TempDir;

use crate::support::daemon::Daemon;
use crate::support::http::Request;
use crate::support::nginx::{self, Nginx};
use crate::support::process::Process;
use crate::support::setup::KeyFile;
use crate::support::tools::bazel::Bazel;
use crate::support::tools::ccache::Ccache;
use crate::support::tools::gradle::Gradle;
use crate::support::tools::nx::Nx;
use crate::support::tools::{Run, Tool, Turbo};
use crate::support::wire::Addr;
use crate::support::{PATIENCE, free_addr, tool, until};
use crate::upstream_http::{Hub, machine};

/// npm `turborepo-remote-cache` with a folder of its own. It keeps its port over a restart.
struct RemoteCache {
    folder: TempDir,
    addr: SocketAddr,
    process: Option<Process>,
}

const TOKEN: &str = "a-token-of-the-team";

// === impl RemoteCache ===

impl RemoteCache {
    fn start() -> Self {
        let folder = TempDir::new().expect("a temporary folder");
        let mut cache = Self { folder, addr: free_addr(), process: None };
        cache.restart();
        cache
    }

    fn stop(&mut self) {
        if let Some(mut process) = self.process.take() {
            process.kill();
        }
    }

    fn restart(&mut self) {
        let mut command = Command::new(tool("turborepo-remote-cache"));
        command
            .current_dir(self.folder.path())
            .env_clear()
            .envs(std::env::var_os("PATH").map(|path| ("PATH", path)))
            .env("HOME", self.folder.path())
            .env("NODE_ENV", "production")
            .env("HOST", self.addr.ip().to_string())
            .env("PORT", self.addr.port().to_string())
            .env("TURBO_TOKEN", TOKEN)
            // Without it, it keeps no signatures.
            .env("TURBO_REMOTE_CACHE_SIGNATURE_KEY", "any")
            .env("STORAGE_PROVIDER", "local")
            .env("STORAGE_PATH", self.folder.path().join("artifacts"));
        let mut process = Process::spawn(&mut command, &self.folder.path().join("log"));
        until("the cache answers", PATIENCE, || {
            assert!(process.runs(), "it ended at its start:\n{}", process.said());
            Request::get("/v8/artifacts/status")
                .header("authorization", format!("Bearer {TOKEN}"))
                .send(&Addr::Tcp(self.addr))
                .is_ok_and(|answer| answer.status() == 200)
        });
        self.process = Some(process);
    }

    fn url(&self) -> String {
        format!("http://{}?dialect=turborepo", self.addr)
    }
}

/// Builds on one machine and restores on another.
#[track_caller]
fn restored<T: Tool>(checkout: &T, desk: &Daemon, laptop: &str) {
    assert_eq!(checkout.build(&desk.url()), Run::all_ran(T::TASKS), "on the desk");
    let built = checkout.outputs();
    desk.flush();
    checkout.wipe();
    assert_eq!(checkout.build(laptop), Run::all_remote(T::TASKS), "on the laptop");
    assert_eq!(checkout.outputs(), built);
}

#[test]
fn builds_are_restored_through_a_larder_behind_two_and_straight_from_it() {
    let hub = Hub::start();
    let (desk, laptop) = (hub.machine(), hub.machine());
    for checkout in ["v1", "v2"] {
        let from = if checkout == "v1" { laptop.url() } else { hub.daemon.url() };
        restored(&Turbo::checkout(checkout), &desk, &from);
        restored(&Nx::checkout(checkout), &desk, &from);
        restored(&Bazel::checkout(checkout), &desk, &from);
        restored(&Gradle::checkout(checkout), &desk, &from);
    }
}

#[test]
fn builds_are_restored_through_turborepo_remote_cache_with_its_signatures() {
    let mut cache = RemoteCache::start();
    let desk = machine(&cache.url(), TOKEN);
    let signed = |version| {
        let checkout = Turbo::checkout(version);
        checkout.sign();
        checkout
    };
    restored(&signed("v1"), &desk, &machine(&cache.url(), TOKEN).url());
    // And by turbo, straight.
    let there = format!("http://{}", cache.addr);
    let ask = |path: &str| {
        let request = Request::get(path.to_owned()).header("authorization", format!("Bearer {TOKEN}"));
        request.send(&Addr::Tcp(cache.addr)).expect("an answer")
    };
    let put = desk.access().into_iter().find(|access| access.method == "PUT").expect("it was built");
    let answer = ask(&format!("{}?slug=team", put.path));
    assert_eq!(answer.status(), 200, "{there}{}", put.path);
    assert!(answer.header("x-artifact-tag").is_some(), "its signature is there");

    // Away: what is built is kept and queued, and arrives when it is back.
    cache.stop();
    let checkout = signed("v2");
    assert_eq!(checkout.build(&desk.url()), Run::all_ran(Turbo::TASKS), "while it is away");
    let built = checkout.outputs();
    desk.until_upstream("write", &["down"]);
    cache.restart();
    desk.flush();
    checkout.wipe();
    let laptop = machine(&cache.url(), TOKEN);
    assert_eq!(checkout.build(&laptop.url()), Run::all_remote(Turbo::TASKS));
    assert_eq!(checkout.outputs(), built);
}

#[test]
fn turborepo_remote_cache_that_does_not_let_us_in_is_a_state_and_loses_nothing() {
    let cache = RemoteCache::start();
    let desk = machine(&cache.url(), "not-a-token-of-it");
    let checkout = Turbo::checkout("v1");
    checkout.sign();
    assert_eq!(checkout.build(&desk.url()), Run::all_ran(Turbo::TASKS), "a denial fails no build");
    let words = desk.until_upstream("write", &["denied"]);
    assert!(words.contains("correct the token in") && !words.contains("not-a-token-of-it"), "{words}");
    assert_eq!(desk.queued(), Turbo::TASKS as u64);
    TOKEN.to_owned().write(&desk.setup().keys_path());
    desk.flush();
    checkout.wipe();
    let laptop = machine(&cache.url(), TOKEN);
    assert_eq!(checkout.build(&laptop.url()), Run::all_remote(Turbo::TASKS));
}

#[test]
fn bazel_is_restored_through_nginx() {
    let nginx = Nginx::start();
    let url = format!("http://{}?dialect=bazel", nginx.addr());
    let (desk, laptop) = (machine(&url, nginx::TOKEN), machine(&url, nginx::TOKEN));
    restored(&Bazel::checkout("v1"), &desk, &laptop.url());
}

/// What was built on one machine is restored by the same tool from the server that is behind it, which it asks itself.
#[track_caller]
fn is_found_there<T: Tool>(checkout: &T, desk: &Daemon, there: impl FnOnce(&T) -> Run) {
    assert_eq!(checkout.build(&desk.url()), Run::all_ran(T::TASKS), "on the desk");
    let built = checkout.outputs();
    desk.flush();
    checkout.wipe();
    assert_eq!(there(checkout), Run::all_remote(T::TASKS), "straight");
    assert_eq!(checkout.outputs(), built);
}

#[test]
fn nx_finds_on_a_server_of_nx_what_was_built_before_it_and_the_other_way_round() {
    let hub = Hub::start();
    let there = |daemon: &Daemon| format!("{}/team", daemon.url());
    let desk = machine(&format!("http://{}/team?dialect=nx", hub.open), &hub.token);
    is_found_there(&Nx::checkout("v1"), &desk, |checkout| checkout.build(&there(&hub.daemon)));

    let checkout = Nx::checkout("v2");
    assert_eq!(checkout.build(&there(&hub.daemon)), Run::all_ran(Nx::TASKS), "straight");
    let built = checkout.outputs();
    checkout.wipe();
    assert_eq!(checkout.build(&desk.url()), Run::all_remote(Nx::TASKS), "on the desk");
    assert_eq!(checkout.outputs(), built);
}

#[test]
fn gradle_and_ccache_find_on_a_server_of_theirs_what_was_built_before_it() {
    let nginx = Nginx::start();
    let addr = nginx.addr();
    let account = format!("Authorization: Basic {}", nginx::ACCOUNT);
    let (user, password) = nginx::ACCOUNT.split_once(':').expect("a user and a password");
    let desk = |options: &str| machine(&format!("http://{addr}/{options}"), &account);

    let gradle = desk("gradle?dialect=gradle");
    is_found_there(&Gradle::checkout("v1"), &gradle, |checkout| {
        checkout.build_at(&format!("http://{addr}/gradle/"), Some((user, password)))
    });

    // A client whose layout is one, before a server of another; keys in base 32 and in hex.
    let straight = |folder: &str| format!("http://{}@{addr}/{folder}", nginx::ACCOUNT);
    let subdirs = desk("subdirs?dialect=ccache");
    is_found_there(&Ccache::<0, 0>::checkout("v1"), &subdirs, |ccache| ccache.build_at(&straight("subdirs")));
    let flat = desk("flat?dialect=ccache&layout=flat");
    ccache_finds::<1, 2, 1>(&flat, &straight("flat"));
    let bazel = desk("bazel?dialect=ccache&layout=bazel");
    ccache_finds::<0, 0, 2>(&bazel, &straight("bazel"));
    ccache_finds::<1, 1, 2>(&bazel, &straight("bazel"));
    for desk in [&gradle, &subdirs, &flat, &bazel] {
        assert_eq!(desk.stat("/sheds/name"), 0, "all of it has a place there");
        assert!(!desk.log().contains(password), "{}", desk.log());
    }
}

/// A ccache of the layout `BEFORE` builds; the same with the layout `BEHIND` finds it at `url`.
#[track_caller]
fn ccache_finds<const VERSION: usize, const BEFORE: usize, const BEHIND: usize>(desk: &Daemon, url: &str) {
    let checkout = Ccache::<VERSION, BEFORE>::checkout("v1");
    is_found_there(&checkout, desk, |checkout| checkout.build_in_layout::<BEHIND>(url));
}
