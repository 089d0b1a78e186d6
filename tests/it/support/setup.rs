//! How a daemon is started: its folder, its flags, its configuration, its keys, the machine that it believes to be on.

use std::fs;
use std::net::SocketAddr;
use std::path::{Path, PathBuf};
use std::process::{Command, Stdio};
use std::sync::Arc;

use tempfile::TempDir;

use super::daemon::Daemon;
use super::http::Request;
use super::process::Process;
use super::wire::Addr;
use super::{PATIENCE, free_addr, until, write_secret};

/// How a daemon is started; the folder outlives every one of its processes.
#[derive(Debug, Clone)]
pub(crate) struct Setup {
    home: Arc<TempDir>,
    pub(crate) addr: SocketAddr,
    /// A listener at whose root is the S3 door.
    pub(super) s3: Option<SocketAddr>,
    config: String,
    upstream: Option<String>,
    /// A shell command that runs first, as root of a mount name space of the daemon's own. `$DIR` is its folder.
    mounts: Option<String>,
    /// Whether it has a network of its own, too: there is nobody else in it, so that it is reached by sockets only.
    network: bool,
    nofile: Option<u64>,
    /// What its environment has besides.
    env: Vec<(String, PathBuf)>,
}

/// Keys as the file that a daemon reads them from.
pub(crate) trait KeyFile {
    /// In the form of the cloud's own tools.
    fn text(&self) -> String;

    /// Replaces the file at `path` by one that nobody else can read, in one step.
    fn write(&self, path: &Path) {
        write_secret(path, &self.text());
    }
}

impl KeyFile for String {
    fn text(&self) -> String {
        self.clone()
    }
}

// === impl Setup ===

impl Setup {
    /// A daemon with a folder of its own, no upstream, and the defaults that a test machine can afford.
    pub(crate) fn new() -> Self {
        let home = TempDir::new().expect("a temporary folder");
        fs::create_dir(home.path().join("home")).expect("a temporary folder");
        Self {
            home: Arc::new(home),
            addr: free_addr(),
            s3: None,
            config: String::new(),
            upstream: None,
            mounts: None,
            network: false,
            nofile: None,
            env: Vec::new(),
        }
    }

    /// A variable of its environment.
    #[must_use]
    pub(crate) fn with_env(mut self, name: &str, value: impl Into<PathBuf>) -> Self {
        self.env.push((name.into(), value.into()));
        self
    }

    /// Adds lines to the configuration file.
    #[must_use]
    pub(crate) fn config(mut self, lines: &str) -> Self {
        self.config.push_str(lines);
        self.config.push('\n');
        self
    }

    /// A listener of its own for the S3 door.
    #[must_use]
    pub(crate) fn s3_root(self) -> Self {
        let addr = free_addr();
        let listener = format!("[[listeners]]\naddress = \"{addr}\"\nonly = \"s3\"");
        Self { s3: Some(addr), ..self.config(&listener) }
    }

    /// The upstream of every route.
    #[must_use]
    pub(crate) fn upstream(mut self, url: impl Into<String>) -> Self {
        self.upstream = Some(url.into());
        self
    }

    /// The upstream's keys, in a file that can be replaced while the daemon runs.
    #[must_use]
    pub(crate) fn keys(self, keys: &impl KeyFile) -> Self {
        keys.write(&self.keys_path());
        self
    }

    /// Runs `script` before the daemon, as root of a mount name space of its own.
    #[must_use]
    pub(crate) fn mounts(mut self, script: &str) -> Self {
        self.mounts = Some(script.into());
        self
    }

    /// The same, as root of a network name space, too.
    #[must_use]
    pub(crate) fn network(self, script: &str) -> Self {
        Self { network: true, ..self.mounts(script) }
    }

    /// How many descriptors it may have.
    #[must_use]
    pub(crate) fn nofile(mut self, count: u64) -> Self {
        self.nofile = Some(count);
        self
    }

    /// Its configuration file, which is written at each start and may be changed after it.
    pub(crate) fn config_path(&self) -> PathBuf {
        self.home.path().join("larder.toml")
    }

    /// Listens at another address than its own.
    #[must_use]
    pub(crate) fn at(self, addr: SocketAddr) -> Self {
        Self { addr, ..self }
    }

    /// Its TCP listener.
    pub(crate) fn addr(&self) -> SocketAddr {
        self.addr
    }

    /// The same, to connect to.
    pub(crate) fn tcp(&self) -> Addr {
        Addr::Tcp(self.addr)
    }

    /// Where its keys are read from.
    pub(crate) fn keys_path(&self) -> PathBuf {
        self.home.path().join("keys")
    }

    /// `--dir`: cache and state lie below it.
    pub(crate) fn dir(&self) -> PathBuf {
        self.home.path().join("dir")
    }

    /// A name in its folder that outlives its processes.
    pub(crate) fn path(&self, name: &str) -> PathBuf {
        self.home.path().join(name)
    }

    /// A second TCP-less way in.
    pub(crate) fn unix_path(&self) -> PathBuf {
        self.home.path().join("tools.sock")
    }

    /// The binary with a clean environment, on the machine as it is.
    pub(crate) fn plain(&self) -> Command {
        Self { mounts: None, nofile: None, ..self.clone() }.binary()
    }

    /// The binary with a clean environment.
    fn binary(&self) -> Command {
        self.wrapped(env!("CARGO_BIN_EXE_larder"))
    }

    /// `program` with a clean environment, after the setup's limits and mounts.
    fn wrapped(&self, program: &str) -> Command {
        let mut command = match (&self.mounts, self.nofile) {
            (None, None) => Command::new(program),
            (mounts, nofile) => {
                let mut script = String::from("set -e\nmkdir -p \"$DIR\"\n");
                if let Some(count) = nofile {
                    script.push_str(&format!("ulimit -n {count}\n"));
                }
                script.push_str(mounts.as_deref().unwrap_or_default());
                script.push_str("\nexec \"$@\"");
                let mut command = Command::new(if mounts.is_some() { "unshare" } else { "sh" });
                if mounts.is_some() {
                    command.arg("--mount");
                    command.args(self.network.then_some("--net"));
                    command.args((!rustix::process::geteuid().is_root()).then_some("--map-root-user"));
                    command.arg("sh");
                }
                command.args(["-c", &script, "sh", program]);
                command
            }
        };
        command
            .env_clear()
            .env("PATH", format!("{}:/usr/sbin:/sbin", std::env::var("PATH").unwrap_or_default()))
            .env("HOME", self.home.path().join("home"))
            .env("DIR", self.dir());
        command
    }

    /// `larder serve` as a command not yet run.
    pub(crate) fn serve(&self) -> Command {
        let mut command = self.told("serve");
        command.env("LARDER_LOG", "info,larder::access=debug");
        if !rustix::process::geteuid().is_root() {
            // Tests look at its descriptors and its mounts, which is else for root only.
            command.env("LARDER_DUMPABLE", "1");
        }
        command.envs(self.env.iter().cloned());
        command
    }

    /// `verb`, told what `larder serve` is told.
    pub(crate) fn told(&self, verb: &str) -> Command {
        let config = self.config_path();
        fs::write(&config, &self.config).expect("a temporary file");
        let mut command = self.binary();
        command
            .arg(verb)
            .arg("--config")
            .arg(config)
            .arg("--dir")
            .arg(self.dir())
            .args(["--listen", &self.addr.to_string()])
            .arg("--listen")
            .arg(format!("unix:{}", self.unix_path().display()));
        if let Some(upstream) = &self.upstream {
            let mut upstream = upstream.clone();
            if self.keys_path().exists() {
                let mark = if upstream.contains('?') { '&' } else { '?' };
                upstream.push_str(&format!("{mark}credentials={}", self.keys_path().display()));
            }
            command.args(["--upstream", &upstream]);
        }
        command
    }

    /// Whether a shell command succeeds after the setup's mounts.
    pub(crate) fn shell_in_mounts(&self, script: &str) -> bool {
        let status = self.wrapped("sh").args(["-c", script]).stdin(Stdio::null()).status();
        status.is_ok_and(|status| status.success())
    }

    /// Starts it and waits until it is ready.
    #[track_caller]
    pub(crate) fn start(&self) -> Daemon {
        let mut process = Process::spawn(&mut self.serve(), &self.home.path().join("log"));
        until("the daemon is ready", PATIENCE, || {
            assert!(process.runs(), "the daemon ended at its start:\n{}", process.said());
            let by = if self.network { Addr::Unix(self.unix_path()) } else { Addr::Tcp(self.addr) };
            let answer = Request::get("/-/readyz").send(&by);
            answer.is_ok_and(|answer| answer.status() == 200)
        });
        Daemon::new(self.clone(), process)
    }
}
