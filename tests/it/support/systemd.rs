//! A real systemd: a user's manager in name spaces of its own, where the machine lets us have them.

use std::fs;
use std::path::PathBuf;
use std::process::{Command, Stdio};

use tempfile::TempDir;

use super::process::Process;
use super::{PATIENCE, until};

/// A manager that runs. Killed when dropped, and with it everything that it started.
#[derive(Debug)]
pub(crate) struct Systemd {
    home: TempDir,
    process: Process,
    /// The manager in our process name space.
    inner: u32,
    cgroup: String,
}

/// systemd wants a control group that is its own, a `/run` that says that systemd runs, and a user's runtime folder; a
/// user's refuses to be process 1.
const BEGIN: &str = "for group in /sys/fs/cgroup /sys/fs/cgroup/unified /sys/fs/cgroup/systemd; do
  [ -f $group/cgroup.procs ] || continue
  mkdir $group/$CGROUP
  echo $$ >$group/$CGROUP/cgroup.procs
done
exec unshare --mount --pid --fork --mount-proc --cgroup --kill-child sh -ec '
  mount -t tmpfs none /run
  mkdir -p /run/systemd/system
  SYSTEMD_LOG_TARGET=console /usr/lib/systemd/systemd --user --unit=basic.target
  exit $?'";

const FORGET: &str = "for group in /sys/fs/cgroup /sys/fs/cgroup/unified /sys/fs/cgroup/systemd; do
  [ -d $group/$CGROUP ] && find $group/$CGROUP -depth -type d -exec rmdir {} + 2>/dev/null
done; true";

// === impl Systemd ===

impl Systemd {
    /// Starts it with these units; `None` where it can't be had, and why.
    pub(crate) fn start(units: &[(&str, &str)]) -> Result<Self, String> {
        if !rustix::process::geteuid().is_root() {
            return Err("only root makes name spaces and control groups".into());
        }
        let home = TempDir::new().expect("a temporary folder");
        let folder = home.path().join(".config/systemd/user");
        fs::create_dir_all(&folder).expect("a temporary folder");
        fs::create_dir(home.path().join("run")).expect("a temporary folder");
        let mode = std::os::unix::fs::PermissionsExt::from_mode(0o700);
        fs::set_permissions(home.path().join("run"), mode).expect("our own folder");
        for (name, text) in units {
            fs::write(folder.join(name), text).expect("a temporary file");
        }
        let cgroup = format!("larder-it-{:x}", super::random());
        let mut command = Command::new("sh");
        command.args(["-ec", BEGIN]).env("CGROUP", &cgroup);
        Self::environment(&mut command, &home);
        let process = Process::spawn(&mut command, &home.path().join("log"));
        let mut systemd = Self { home, process, inner: 0, cgroup };
        let deadline = std::time::Instant::now() + PATIENCE;
        while !systemd.is_up() {
            if !systemd.process.runs() || std::time::Instant::now() > deadline {
                return Err(systemd.process.said());
            }
            std::thread::park_timeout(super::POLL);
        }
        Ok(systemd)
    }

    fn environment(command: &mut Command, home: &TempDir) {
        let run = home.path().join("run");
        command
            .env("HOME", home.path())
            .env("DBUS_SESSION_BUS_ADDRESS", format!("unix:path={}", run.join("bus").display()))
            .env("XDG_RUNTIME_DIR", run)
            .env_remove("XDG_CONFIG_HOME")
            .env_remove("NOTIFY_SOCKET");
    }

    /// Whether it answers. Finds it first: the child of `unshare`.
    fn is_up(&mut self) -> bool {
        let id = self.process.id();
        let children = fs::read_to_string(format!("/proc/{id}/task/{id}/children")).unwrap_or_default();
        self.inner = children.trim().parse().unwrap_or(0);
        self.inner != 0 && self.ctl(&["is-active", "basic.target"]) == "active"
    }

    /// `systemctl --user`, and what it prints.
    pub(crate) fn ctl(&self, arguments: &[&str]) -> String {
        let mut command = Command::new("nsenter");
        command.args(["--target", &self.inner.to_string(), "--mount", "--pid", "systemctl", "--user"]);
        Self::environment(&mut command, &self.home);
        let output = command.args(arguments).stdin(Stdio::null()).output().expect("nsenter starts");
        let both = [output.stdout, output.stderr].concat();
        String::from_utf8_lossy(&both).trim().to_owned()
    }

    /// One property of a unit.
    pub(crate) fn property(&self, unit: &str, name: &str) -> String {
        self.ctl(&["show", "--value", "-p", name, unit])
    }

    #[track_caller]
    pub(crate) fn until_property(&self, unit: &str, name: &str, is_it: impl Fn(&str) -> bool) {
        until(&format!("{name} of {unit}"), PATIENCE, || is_it(&self.property(unit, name)));
    }

    /// What it and its units said.
    pub(crate) fn said(&self) -> String {
        self.process.said()
    }
}

impl Drop for Systemd {
    fn drop(&mut self) {
        self.process.kill();
        let forget = || {
            // Its processes may take a moment to be gone.
            let _ = Command::new("sh").args(["-c", FORGET]).env("CGROUP", &self.cgroup).status();
        };
        for _ in 0..100 {
            forget();
            let left = ["", "unified/", "systemd/"]
                .iter()
                .any(|group| PathBuf::from(format!("/sys/fs/cgroup/{group}{}", self.cgroup)).exists());
            if !left {
                break;
            }
            std::thread::park_timeout(super::POLL);
        }
    }
}
