//! `larder doctor` in set-ups that are really broken: each cause is named with its remedy, hides no other, and decides
//! the exit code.

mod tls;
mod upstreams;

use std::fs;
use std::net::TcpListener;
use std::os::unix::fs::PermissionsExt;
use std::os::unix::net::UnixListener;
use std::process::{Command, Output, Stdio};
use std::time::Instant;

use rustix::process::{Pid, Signal, kill_process};
use serde_json::Value;

use crate::support::daemon::Daemon;
use crate::support::setup::Setup;
use crate::support::{PATIENCE, free_addr, say, until, write_secret};

/// What a doctor said.
struct Said {
    code: Option<i32>,
    page: Value,
}

/// Asks with what `setup` tells a daemon, in an environment with `variables` besides.
fn ask_in(setup: &Setup, variables: &[(&str, &str)]) -> Said {
    let mut command = setup.told("doctor");
    command.arg("--json").envs(variables.iter().copied());
    Said::of(&run(&mut command))
}

fn ask(setup: &Setup) -> Said {
    ask_in(setup, &[])
}

fn run(command: &mut Command) -> Output {
    let begun = Instant::now();
    let output = command.stdin(Stdio::null()).output().expect("the binary starts");
    // The sum of its deadlines; what it takes when nothing hangs is far less.
    assert!(begun.elapsed() < PATIENCE, "{command:?} took {:?}", begun.elapsed());
    output
}

impl Said {
    #[track_caller]
    fn of(output: &Output) -> Self {
        let page =
            serde_json::from_slice(&output.stdout).unwrap_or_else(|error| panic!("{error}: {output:?}"));
        Self { code: output.status.code(), page }
    }

    fn findings(&self) -> impl Iterator<Item = [&str; 4]> {
        let rows = self.page["findings"].as_array().into_iter().flatten();
        rows.map(|row| ["check", "level", "words", "remedy"].map(|key| row[key].as_str().unwrap_or_default()))
    }

    /// The checks that found a problem, each once.
    fn problems(&self) -> Vec<&str> {
        let mut checks: Vec<&str> =
            self.findings().filter(|[_, level, ..]| *level == "problem").map(|[check, ..]| check).collect();
        checks.dedup();
        checks
    }

    /// One finding of `check` and `level` has these words, and that remedy.
    #[track_caller]
    fn has(&self, check: &str, level: &str, words: &[&str], remedy: &str) {
        let has = |[of, how, said, helps]: [&str; 4]| {
            of == check
                && how == level
                && words.iter().all(|word| said.contains(word))
                && helps.contains(remedy)
        };
        assert!(
            self.findings().any(has),
            "no {level} of {check} with {words:?} and {remedy:?}: {:#}",
            self.page
        );
    }

    /// A problem, which is the only check that has one but those of `besides`.
    #[track_caller]
    fn problem(&self, check: &str, words: &[&str], remedy: &str, besides: &[&str]) {
        self.has(check, "problem", words, remedy);
        assert_eq!(self.code, Some(1), "{:#}", self.page);
        let mut others = self.problems();
        others.retain(|other| *other != check && !besides.contains(other));
        assert!(others.is_empty(), "{others:?} besides: {:#}", self.page);
    }

    #[track_caller]
    fn without_problems(&self) {
        assert!(self.problems().is_empty() && self.code == Some(0), "{:#}", self.page);
    }
}

fn signal(daemon: &Daemon, signal: Signal) {
    let id = i32::try_from(daemon.id()).ok().and_then(Pid::from_raw).expect("a child has an id");
    kill_process(id, signal).expect("our own child");
}

#[test]
fn no_daemon_and_a_stale_socket() {
    let setup = Setup::new();
    let said = ask(&setup);
    said.problem("daemon", &["no daemon answers", "larder.sock"], "larder serve", &[]);
    said.has("port", "ok", &["is free"], "");
    said.has("folder", "ok", &["is made when the daemon starts"], "");

    let setup = setup.start().kill();
    let said = ask(&setup);
    said.problem("daemon", &["no daemon answers"], "larder serve", &[]);
    said.has("socket", "warning", &["stale"], "replaces it");
}

#[test]
fn a_port_that_another_process_has() {
    let setup = Setup::new();
    let _held = TcpListener::bind(setup.addr()).expect("free");
    let pid = format!("pid {}", std::process::id());
    // It never accepts, so it never answers either.
    ask(&setup).problem("port", &["is held by", &pid, "of user"], "--listen", &["daemon"]);

    let other = Setup::new().start();
    let here = Setup::new().at(other.setup().addr());
    let said = ask(&here);
    said.problem("port", &["another larder answers", &format!("pid {}", other.id())], "--dir", &["daemon"]);
}

#[test]
fn a_daemon_that_hangs() {
    let daemon = Setup::new().start();
    signal(&daemon, Signal::STOP);
    until("it is stopped", PATIENCE, || {
        let stat = fs::read_to_string(format!("/proc/{}/stat", daemon.id())).expect("our own child");
        stat.rsplit_once(')').is_some_and(|(_, state)| state.starts_with(" T"))
    });
    let said = ask(daemon.setup());
    let pid = format!("pid {}", daemon.id());
    said.problem(
        "daemon",
        &[&pid, "stopped by a signal"],
        &format!("kill -CONT {}", daemon.id()),
        &["port", "upstream"],
    );
    said.has("port", "problem", &[&pid, "doesn't answer"], "--listen");
    signal(&daemon, Signal::CONT);
    until("it answers again", PATIENCE, || ask(daemon.setup()).code == Some(0));
}

#[test]
fn something_else_behind_the_socket() {
    let setup = Setup::new();
    fs::create_dir(setup.dir()).expect("our own");
    let listener = UnixListener::bind(setup.dir().join("larder.sock")).expect("free");
    // It takes connections into its queue, and never answers.
    let said = ask(&setup);
    said.problem("daemon", &[&format!("pid {}", std::process::id()), "hangs"], "kill", &["port", "upstream"]);
    drop(listener);
    fs::remove_file(setup.dir().join("larder.sock")).expect("it stays behind");
    fs::write(setup.dir().join("larder.sock"), "precious").expect("our own");
    ask(&setup).problem("socket", &["is not a socket"], "move it", &["daemon"]);
}

#[test]
fn a_path_that_no_socket_can_have() {
    let setup = Setup::new();
    let mut command = setup.plain();
    command.args(["doctor", "--json", "--listen", &free_addr().to_string(), "--dir"]);
    command.arg(setup.dir().join("d".repeat(100)));
    let said = Said::of(&run(&mut command));
    said.problem("socket", &["bytes", "103"], "--dir", &["configuration", "daemon"]);
}

#[test]
fn a_configuration_that_is_broken() {
    let setup =
        Setup::new().config("memorry = \"1 GiB\"\ndisk = \"huge\"\n[upstreams.team]\nurl = \"ftp://x\"");
    let said = ask(&setup);
    said.problem(
        "configuration",
        &["larder.toml:1:1", "memorry", "is `memory` meant?"],
        "larder config example",
        &["daemon"],
    );
    said.has("configuration", "problem", &["larder.toml:2:8", "huge"], "");
    said.has("configuration", "problem", &["larder.toml:4:7", "ftp"], "");

    let daemon = Setup::new().start();
    let mut command = daemon.setup().plain();
    command.args(["doctor", "--json", "--dir"]).arg(daemon.setup().dir());
    command.args(["--listen", &daemon.setup().addr().to_string()]);
    let said = Said::of(&run(&mut command));
    said.has("configuration", "warning", &["the daemon runs with", "larder.toml", "no file"], "--config");
}

#[test]
fn tokens_that_others_can_read() {
    let setup = Setup::new();
    let tokens = setup.dir().with_file_name("tokens");
    write_secret(&tokens, "ci:0123456789abcdef0123456789abcdef\n");
    let setup = setup.config(&format!("[access]\ntokens = \"{}\"", tokens.display()));
    assert_eq!(ask(&setup).problems(), ["daemon"], "for its owner alone it is right");
    fs::set_permissions(&tokens, fs::Permissions::from_mode(0o644)).expect("our own");
    ask(&setup).problem("configuration", &["access.tokens", "0644"], "", &["daemon"]);
}

#[test]
fn files_and_folders_that_others_can_reach() {
    let setup = Setup::new().start().kill();
    let state = setup.dir().join("state");
    fs::set_permissions(&state, fs::Permissions::from_mode(0o755)).expect("our own");
    let said = ask(&setup);
    said.problem("folder", &["state", "0755"], &format!("chmod 0700 {}", state.display()), &["daemon"]);

    fs::set_permissions(&state, fs::Permissions::from_mode(0o700)).expect("our own");
    write_secret(&state.join("master.key"), "0123456789abcdef0123456789abcdef");
    fs::set_permissions(state.join("master.key"), fs::Permissions::from_mode(0o640)).expect("our own");
    ask(&setup).problem("permissions", &["master key", "0640"], "chmod 0600", &["daemon"]);
}

#[test]
fn a_folder_of_a_newer_larder() {
    let setup = Setup::new().start().kill();
    fs::write(setup.dir().join("state/VERSION"), "7\n").expect("our own");
    let said = ask(&setup);
    said.problem(
        "folder",
        &["state", "format 7", "up to 1", "a newer one wrote it"],
        "the newer larder",
        &["daemon"],
    );
}

#[test]
fn a_state_folder_that_is_read_only() {
    let setup = Setup::new().mounts(
        "mkdir -p \"$DIR/state\"; chmod 0700 \"$DIR/state\"; mount --bind \"$DIR/state\" \"$DIR/state\"; \
         mount -o remount,ro,bind \"$DIR/state\"",
    );
    if !setup.shell_in_mounts("true") {
        return say("skipped: a read-only mount takes a mount name space");
    }
    let said = ask(&setup);
    said.problem("folder", &["state", "mounted read-only"], "mount it writable", &["daemon"]);
}

#[test]
fn a_disk_that_is_all_but_full() {
    let setup = Setup::new().mounts("mount -t tmpfs -o size=32m,nr_inodes=2000,mode=700 none \"$DIR\"");
    if !setup.shell_in_mounts("true") {
        return say("skipped: a small disk takes a mount name space");
    }
    let said = ask(&setup);
    said.problem("space", &["disk_floor", "nothing more is written"], "lower `disk_floor`", &["daemon"]);
    said.has("folder", "warning", &["state", "in memory"], "on a disk");

    let inodes = setup.clone().config("disk_floor = 0\ndisk_keep_free = 0\ninodes_keep_free = 50");
    let many = inodes.mounts(
        "mount -t tmpfs -o size=32m,nr_inodes=2000,mode=700 none \"$DIR\"; mkdir \"$DIR/many\"; \
         (cd \"$DIR/many\"; seq 1500 | xargs touch)",
    );
    ask(&many).problem("space", &["inodes", "inodes_keep_free"], "small files", &["daemon"]);
}

#[test]
fn traps_of_the_environment() {
    let daemon = Setup::new().start();
    let said = ask_in(daemon.setup(), &[("HTTP_PROXY", "http://192.0.2.1:3128")]);
    said.problem("environment", &["HTTP_PROXY", "NO_PROXY"], "export NO_PROXY=127.0.0.1", &[]);
    let said = ask_in(
        daemon.setup(),
        &[
            ("https_proxy", "http://192.0.2.1:3128"),
            ("no_proxy", "corp.test,127.0.0.1"),
            ("MOON_REMOTE_HOST", "grpc://localhost:5273"),
            ("LAGE_WRITE_REMOTE_CACHE", "true"),
            ("TURBO_API", "http://127.0.0.1:5273"),
        ],
    );
    said.problem("environment", &["MOON_REMOTE_HOST", "localhost"], "127.0.0.1", &[]);
    said.has("environment", "warning", &["LAGE_WRITE_REMOTE_CACHE"], "LAGE_WRITE_CACHE");
    said.has("environment", "warning", &["TURBO_TOKEN"], "TURBO_TOKEN=local");
    assert!(!said.page.to_string().contains("https_proxy"), "NO_PROXY covers this machine");
}

#[test]
fn limits_that_are_low() {
    let setup = Setup::new().nofile(300);
    let said = ask(&setup);
    said.has("limits", "warning", &["300 descriptors", "150 connections"], "ulimit");
}

/// Somebody else on this machine.
#[test]
fn a_user_who_is_not_let_in() {
    let daemon = Setup::new().start();
    let larder = env!("CARGO_BIN_EXE_larder");
    let as_nobody = |arguments: &[&str]| {
        let mut command = Command::new("setpriv");
        command.args(["--reuid=65534", "--regid=65534", "--clear-groups", larder]).args(arguments);
        run(command.env_clear().env("PATH", "/usr/bin:/bin"))
    };
    if !rustix::process::geteuid().is_root() || !as_nobody(&["--version"]).status.success() {
        return say("skipped: another user takes root, and a binary that he can reach");
    }
    let (dir, addr) = (daemon.setup().dir().display().to_string(), daemon.setup().addr().to_string());
    let said = Said::of(&as_nobody(&["doctor", "--json", "--dir", &dir, "--listen", &addr]));
    let besides = ["daemon", "folder", "upstream"];
    said.problem("port", &["doesn't let this user in", "uid 65534"], "access.users", &besides);
    said.has("daemon", "problem", &["this user may not ask the daemon"], "run this as that user");
}
