//! A machine that systemd runs: namespaces with it as PID 1, two users with a service manager each, and port 5273 free.

use std::fs;
use std::path::{Path, PathBuf};
use std::process::{Command, Output};
use std::time::Instant;

use tempfile::TempDir;

use super::process::Process;
use super::{PATIENCE, eventually, say, until};

const LARDER: &str = env!("CARGO_BIN_EXE_larder");

/// The first user's uid; the second's is the next one.
pub(crate) const ADA: u32 = 4273;
pub(crate) const BOB: u32 = 4274;

/// A running machine. Everything in it ends when this is dropped.
#[derive(Debug)]
pub(crate) struct Machine {
    process: Process,
    /// PID 1 of the machine, as this one numbers it.
    first: String,
    _folder: TempDir,
}

// === impl Machine ===

impl Machine {
    /// Boots it; says why not where that takes more than this machine gives.
    pub(crate) fn boot() -> Option<Self> {
        if !rustix::process::geteuid().is_root() {
            say("skipped: only root can boot a machine in namespaces");
            return None;
        }
        for path in ["/lib/systemd/systemd", "/usr/bin/unshare", "/usr/bin/nsenter", "/usr/bin/curl"] {
            if !Path::new(path).exists() {
                say(&format!("skipped: a machine of systemd's takes {path}"));
                return None;
            }
        }
        let folder = TempDir::new().expect("a temporary folder");
        let script = Path::new(env!("CARGO_MANIFEST_DIR")).join("tests/it/support/machine.sh");
        let log = folder.path().join("log");
        let mut process = Process::spawn(Command::new("bash").arg(script).arg(LARDER), &log);
        let children = format!("/proc/{0}/task/{0}/children", process.id());
        let first = eventually("the machine has a first process", PATIENCE, || {
            assert!(process.runs(), "it ended: {}", process.said());
            let children = fs::read_to_string(&children).ok()?;
            // Bash's own children come and go before it becomes `unshare`.
            let pid = children.split_whitespace().next()?;
            let name = fs::read_to_string(format!("/proc/{pid}/comm")).ok()?;
            (name.trim() == "systemd").then(|| pid.to_owned())
        });
        let machine = Self { process, first, _folder: folder };
        until("the machine is up", PATIENCE, || {
            machine.root(&["systemctl", "is-active", "basic.target"]).status.success()
        });
        until("the log is kept on disk", PATIENCE, || {
            machine.root(&["journalctl", "--flush"]).status.success()
        });
        Some(machine)
    }

    /// Runs a program as root.
    pub(crate) fn root(&self, args: &[&str]) -> Output {
        self.command(None, args).output().expect("nsenter starts")
    }

    /// Runs a program as a user, signed in: `XDG_RUNTIME_DIR` is not in the environment, as after `su`.
    pub(crate) fn user(&self, uid: u32, args: &[&str]) -> Output {
        self.command(Some(uid), args).output().expect("nsenter starts")
    }

    /// Starts a user's service manager.
    pub(crate) fn sign_in(&self, name: &str) {
        let output = self.root(&["systemctl", "start", name]);
        assert!(output.status.success(), "{}\n{}", words(&output), self.process.said());
    }

    /// What `curl` gets, as a user: the status and the body, or its exit code when nobody answered.
    pub(crate) fn curl(&self, uid: u32, args: &[&str]) -> Result<String, i32> {
        let all = [&["curl", "-sS", "-m", "20", "-w", " %{http_code}"], args].concat();
        let output = self.user(uid, &all);
        match output.status.code() {
            Some(0) => Ok(String::from_utf8_lossy(&output.stdout).into_owned()),
            code => Err(code.unwrap_or(-1)),
        }
    }

    fn command(&self, uid: Option<u32>, args: &[&str]) -> Command {
        let mut command = Command::new("nsenter");
        command.args(["-t", &self.first, "-m", "-p", "-n", "-i", "-u", "-C", "--"]);
        command.args(["env", "-i", "PATH=/usr/local/bin:/usr/sbin:/usr/bin:/sbin:/bin", "LC_ALL=C.UTF-8"]);
        match uid {
            Some(uid) => {
                let name = if uid == ADA { "ada" } else { "bob" };
                command.arg(format!("HOME=/home/{name}"));
                command.args(["setpriv", "--clear-groups"]);
                command.arg(format!("--reuid={uid}")).arg(format!("--regid={uid}"));
            }
            None => {
                command.arg("HOME=/root");
            }
        }
        command.args(args);
        command
    }
}

impl Drop for Machine {
    fn drop(&mut self) {
        let name = format!("larder-test-{}", self.process.id());
        self.process.kill();
        let began = Instant::now();
        // The kernel takes a moment to see that the last process is gone.
        while began.elapsed() < PATIENCE && groups(&name).iter().any(|group| !remove(group)) {
            std::thread::park_timeout(super::POLL);
        }
    }
}

/// The control groups of this name.
fn groups(name: &str) -> Vec<PathBuf> {
    let top = Path::new("/sys/fs/cgroup");
    let below = fs::read_dir(top).into_iter().flatten().flatten().map(|entry| entry.path().join(name));
    below.chain([top.join(name)]).filter(|group| group.is_dir()).collect()
}

/// Removes a control group with those below it.
fn remove(group: &Path) -> bool {
    for entry in fs::read_dir(group).into_iter().flatten().flatten() {
        if entry.path().is_dir() {
            remove(&entry.path());
        }
    }
    fs::remove_dir(group).is_ok()
}

fn words(output: &Output) -> String {
    super::desk::words(output)
}
