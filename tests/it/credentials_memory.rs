//! What a daemon holds is in no core file, and no other process of its user may read it.

use std::fs;
use std::os::unix::fs::PermissionsExt as _;
use std::process::{Command, Stdio};

use rustix::process::{Pid, Resource, Rlimit, prlimit};

use crate::credentials::{document, tell};
use crate::support::daemon::Daemon;
use crate::support::desk::words;
use crate::support::fault::Fault;
use crate::support::proxy::FaultProxy;
use crate::support::setup::Setup;
use crate::support::weed::{self, Keys, Weed};
use crate::support::{PATIENCE, say, until, write_secret};
use crate::upstream_http::Hub;

/// Planted as a variable, which no upstream takes.
const OF_ENVIRONMENT: &str = "planted-in-the-environment-4273";

/// Secrets of four kinds: keys, a token, a helper's answer, a variable.
struct Planted {
    _weed: Weed,
    way: FaultProxy,
    hub: Hub,
    keys: Keys,
    helped: String,
}

// === impl Planted ===

impl Planted {
    fn new() -> Self {
        let keys = Keys::new("core");
        let weed = Weed::start(&[&keys]);
        let (way, hub) = (FaultProxy::to(weed.addr()), Hub::start());
        let helped = hub.daemon.token(&["--bearer", "helped"]);
        Self { _weed: weed, way, hub, keys, helped }
    }

    fn all(&self) -> [&str; 4] {
        [&self.keys.secret, &self.hub.token, &self.helped, OF_ENVIRONMENT]
    }

    /// A daemon that has used all of them, whose queue holds an entry, and one of whose uploads hangs.
    fn daemon(&self, setup: Setup) -> Daemon {
        let hub = format!("http://{}?allow_http=true", self.hub.open);
        // Another by its name, as two of one place have one credential.
        let again = format!("http://localhost:{}?allow_http=true", self.hub.open.port());
        let helper = setup.path("helper");
        write_secret(
            &helper,
            &format!("printf '{{\"headers\":{{\"Authorization\":[\"Bearer {}\"]}}}}'", self.helped),
        );
        let of_helper = format!(r#"{{"kind":"helper","command":"sh {}","uri":"{again}"}}"#, helper.display());
        let of_token = format!(r#"{{"kind":"token","token":"{}"}}"#, self.hub.token);
        for (name, text) in [("keys", &document(&self.keys)), ("token", &of_token), ("helper", &of_helper)] {
            let output = tell(&setup, &["login", name, "--store", "file"], text);
            assert!(output.status.success(), "{output:?}");
        }
        let bucket = weed::url(self.way.addr(), "team");
        let mut lines = String::new();
        for (name, url) in [("keys", &bucket), ("token", &hub), ("helper", &again)] {
            lines += &format!("[upstreams.{name}]\nurl = \"{url}\"\ncredential = \"{name}\"\n");
            lines += &format!("[namespaces.{name}]\nupstream = \"{name}\"\n");
        }
        self.way.set(Fault::None);
        let daemon = setup
            .config(&lines)
            .with_env("LARDER_UPSTREAM_TOKEN", OF_ENVIRONMENT)
            .mounts("cd \"$DIR\"\nulimit -c unlimited")
            .start();
        for name in ["keys", "token", "helper"] {
            assert_eq!(daemon.put(format!("/blob/{name}/x"), "kept").status(), 200);
        }
        daemon.flush();
        self.way.set(Fault::Silent);
        let before = self.way.seen().len();
        assert_eq!(daemon.put("/blob/keys/y", "queued").status(), 200);
        until("its upload runs", PATIENCE, || self.way.seen().len() > before && daemon.queued() == 1);
        daemon
    }
}

/// Ends a daemon as a bug would; the core file that it leaves, if any, in its folder.
fn core_of(daemon: Daemon) -> Option<Vec<u8>> {
    let pid = i32::try_from(daemon.id()).ok().and_then(Pid::from_raw).expect("a child has an id");
    // Whatever it said itself, it may leave one of any size.
    let limit = Rlimit { current: None, maximum: None };
    prlimit(Some(pid), Resource::Core, limit).expect("our own child, whose limit was unlimited");
    let (setup, status) = daemon.abort();
    assert_eq!(std::os::unix::process::ExitStatusExt::signal(&status), Some(6), "{status:?}");
    let entries = fs::read_dir(setup.dir()).expect("its folder").flatten();
    let mut cores = entries.filter(|entry| entry.file_name().to_string_lossy().starts_with("core"));
    cores.next().map(|entry| fs::read(entry.path()).expect("our own file"))
}

fn has(core: &[u8], secret: &str) -> bool {
    let first = secret.as_bytes()[0];
    let starts = core.iter().enumerate().filter(|(_, byte)| **byte == first);
    starts.map(|(at, _)| at).any(|at| core[at..].starts_with(secret.as_bytes()))
}

#[test]
fn a_daemon_that_is_aborted_leaves_no_core_file_unless_it_was_asked_to() {
    let planted = Planted::new();
    let core = core_of(planted.daemon(Setup::new().with_env("LARDER_DUMPABLE", "")));
    assert!(core.is_none(), "{} bytes of core", core.unwrap_or_default().len());

    // The same, where the way back is taken: else this could not fail.
    let Some(core) = core_of(planted.daemon(Setup::new().with_env("LARDER_DUMPABLE", "1"))) else {
        return say("not shown: this machine writes core files elsewhere, see core_pattern");
    };
    for secret in planted.all() {
        assert!(has(&core, secret), "a daemon holds what it signs with: {secret}");
    }
}

/// Whether the daemon's environment, which its memory holds, can be read by a sibling: `$!` is the daemon.
const READ: &str = "
\"$LARDER\" serve --dir \"$AT\" --listen \"$ADDR\" >\"$AT.log\" 2>&1 &
for n in $(seq 600); do
  \"$LARDER\" queue --dir \"$AT\" >/dev/null 2>&1 && break
  sleep 0.1
done
# What doctor looks at is open to all.
cat /proc/$!/stat /proc/$!/limits >/dev/null && echo runs
grep -c planted-in /proc/$!/environ
kill $! && wait $!";

/// What a sibling sees that isn't root: a process that may read the memory of all needs no leave.
fn seen_by_a_sibling(dumpable: &str) -> String {
    let setup = Setup::new();
    let program = setup.path("larder");
    fs::copy(env!("CARGO_BIN_EXE_larder"), &program).expect("a temporary file");
    let home = program.parent().expect("in a folder");
    fs::set_permissions(home, fs::Permissions::from_mode(0o777)).expect("our own folder");
    let is_root = rustix::process::geteuid().is_root();
    let mut command = Command::new(if is_root { "setpriv" } else { "env" });
    if is_root {
        command.args(["--reuid=nobody", "--regid=nogroup", "--clear-groups"]);
    }
    let output = command
        .args(["sh", "-c", READ])
        .env("HOME", home)
        .env("LARDER", &program)
        .env("AT", setup.path("of"))
        .env("ADDR", setup.addr().to_string())
        .env("LARDER_UPSTREAM_TOKEN", OF_ENVIRONMENT)
        .env("LARDER_DUMPABLE", dumpable)
        .stdin(Stdio::null())
        .output()
        .expect("a shell starts");
    words(&output)
}

#[test]
fn no_other_process_of_its_user_may_look_into_it_unless_it_was_asked_to() {
    let seen = seen_by_a_sibling("1");
    assert!(seen.contains("runs\n1\n"), "else this could not fail: {seen}");
    let seen = seen_by_a_sibling("");
    assert!(seen.starts_with("runs\n") && seen.contains("Permission denied"), "{seen}");
}
