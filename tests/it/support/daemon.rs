//! The daemon as users have it: the built binary as a process, its sockets, its log.

use std::fs;
use std::io::ErrorKind;
use std::net::SocketAddr;
use std::path::{Path, PathBuf};
use std::process::{Command, ExitStatus, Output, Stdio};
use std::sync::Arc;
use std::time::Duration;

use serde_json::Value;
use tempfile::TempDir;

use super::http::{Answer, Request};
use super::process::Process;
use super::weed::Keys;
use super::wire::Addr;
use super::{PATIENCE, eventually, free_addr, until};

/// How a daemon is started; the folder outlives every one of its processes.
#[derive(Debug, Clone)]
pub(crate) struct Setup {
    home: Arc<TempDir>,
    addr: SocketAddr,
    config: String,
    upstream: Option<String>,
    /// A shell command that runs first, as root of a mount name space of the daemon's own. `$DIR` is its folder.
    mounts: Option<String>,
    nofile: Option<u64>,
}

/// A daemon that answered once. Killed when dropped.
#[derive(Debug)]
pub(crate) struct Daemon {
    setup: Setup,
    process: Process,
}

/// One line of the access log. The daemon's own pages, which tests poll, are left out.
#[derive(Debug, Clone)]
pub(crate) struct Access {
    pub(crate) method: String,
    pub(crate) path: String,
    pub(crate) status: u16,
    /// From the request's head to the answer's first byte; `None` when it never came.
    pub(crate) first_byte: Option<Duration>,
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
            config: String::new(),
            upstream: None,
            mounts: None,
            nofile: None,
        }
    }

    /// Adds lines to the configuration file.
    #[must_use]
    pub(crate) fn config(mut self, lines: &str) -> Self {
        self.config.push_str(lines);
        self.config.push('\n');
        self
    }

    /// The upstream of every route.
    #[must_use]
    pub(crate) fn upstream(mut self, url: impl Into<String>) -> Self {
        self.upstream = Some(url.into());
        self
    }

    /// The upstream's keys, in a file that can be replaced while the daemon runs.
    #[must_use]
    pub(crate) fn keys(self, keys: &Keys) -> Self {
        keys.write(&self.keys_path());
        self
    }

    /// Runs `script` before the daemon, as root of a mount name space of its own.
    #[must_use]
    pub(crate) fn mounts(mut self, script: &str) -> Self {
        self.mounts = Some(script.into());
        self
    }

    /// How many descriptors it may have.
    #[must_use]
    pub(crate) fn nofile(mut self, count: u64) -> Self {
        self.nofile = Some(count);
        self
    }

    /// Where its keys are read from.
    pub(crate) fn keys_path(&self) -> PathBuf {
        self.home.path().join("keys")
    }

    /// `--dir`: cache and state lie below it.
    pub(crate) fn dir(&self) -> PathBuf {
        self.home.path().join("dir")
    }

    /// A second TCP-less way in.
    pub(crate) fn unix_path(&self) -> PathBuf {
        self.home.path().join("tools.sock")
    }

    fn log_path(&self) -> PathBuf {
        self.home.path().join("log")
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
        let config = self.home.path().join("larder.toml");
        fs::write(&config, &self.config).expect("a temporary file");
        let mut command = self.binary();
        command
            .env("LARDER_LOG", "info,larder::access=debug")
            .arg("serve")
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
                upstream.push_str(&format!("&credentials={}", self.keys_path().display()));
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
        let process = Process::spawn(&mut self.serve(), &self.log_path());
        let mut daemon = Daemon { setup: self.clone(), process };
        until("the daemon is ready", PATIENCE, || {
            assert!(daemon.process.runs(), "the daemon ended at its start:\n{}", daemon.process.said());
            Request::get("/-/readyz").send(&daemon.addr()).is_ok_and(|answer| answer.status() == 200)
        });
        daemon
    }
}

// === impl Daemon ===

impl Daemon {
    pub(crate) fn setup(&self) -> &Setup {
        &self.setup
    }

    /// Its TCP listener.
    pub(crate) fn addr(&self) -> Addr {
        Addr::Tcp(self.setup.addr)
    }

    pub(crate) fn unix(&self) -> Addr {
        Addr::Unix(self.setup.unix_path())
    }

    /// The socket that the command line uses.
    pub(crate) fn admin(&self) -> Addr {
        Addr::Unix(self.setup.dir().join("larder.sock"))
    }

    /// What goes into a build tool.
    pub(crate) fn url(&self) -> String {
        format!("http://{}", self.setup.addr)
    }

    pub(crate) fn id(&self) -> u32 {
        self.process.id()
    }

    pub(crate) fn runs(&mut self) -> bool {
        self.process.runs()
    }

    /// One request by TCP. A connection that breaks before the head of an answer is an answer without a status.
    ///
    /// # Panics
    /// When there is no connection, or what comes back is not HTTP.
    #[track_caller]
    pub(crate) fn send(&self, request: Request) -> Answer {
        match request.send(&self.addr()) {
            Ok(answer) => answer,
            Err(error) if matches!(error.kind(), ErrorKind::UnexpectedEof | ErrorKind::ConnectionReset) => {
                Answer::broken(error.kind())
            }
            Err(error) => panic!("no answer to {request:?}: {error}\n{}", self.log_tail()),
        }
    }

    #[track_caller]
    pub(crate) fn get(&self, target: impl Into<String>) -> Answer {
        self.send(Request::get(target))
    }

    #[track_caller]
    pub(crate) fn put(&self, target: impl Into<String>, body: impl Into<Vec<u8>>) -> Answer {
        self.send(Request::put(target, body))
    }

    /// `/-/stats`.
    #[track_caller]
    pub(crate) fn stats(&self) -> Value {
        let answer = self.get("/-/stats");
        serde_json::from_slice(&answer.body).expect("stats are JSON")
    }

    /// One number of `/-/stats`, by JSON pointer.
    #[track_caller]
    pub(crate) fn stat(&self, pointer: &str) -> u64 {
        let stats = self.stats();
        let value = stats.pointer(pointer).and_then(Value::as_u64);
        value.unwrap_or_else(|| panic!("no number at {pointer} of {stats:#}"))
    }

    /// One direction, `read` or `write`, of its upstream, as `/-/stats` says it: the state's word, and the sentence.
    #[track_caller]
    pub(crate) fn upstream(&self, direction: &str) -> (String, String) {
        let stats = self.stats();
        let place = &stats["upstreams"][0][direction];
        let text = |name: &str| place[name].as_str().unwrap_or_default().to_owned();
        (text("state"), text("words"))
    }

    /// Waits until one direction of its upstream is in one of `states`; returns the sentence.
    #[track_caller]
    pub(crate) fn until_upstream(&self, direction: &str, states: &[&str]) -> String {
        let what = format!("{direction} of the upstream is {}", states.join(" or "));
        eventually(&what, PATIENCE, || {
            let (state, words) = self.upstream(direction);
            states.contains(&state.as_str()).then_some(words)
        })
    }

    /// Waits until the access log has `count` lines.
    #[track_caller]
    pub(crate) fn until_access(&self, count: usize) -> Vec<Access> {
        eventually("the access log has its lines", PATIENCE, || {
            Some(self.access()).filter(|lines| lines.len() >= count)
        })
    }

    /// Entries that are not yet upstream.
    #[track_caller]
    pub(crate) fn queued(&self) -> u64 {
        self.stat("/queue/entries")
    }

    /// Waits until everything is upstream, by the user's own command.
    #[track_caller]
    pub(crate) fn flush(&self) {
        let output = self.cli(&["flush", "--timeout", "60 s"]);
        assert!(output.status.success(), "flush: {output:?}\n{}", self.log_tail());
        assert_eq!(self.queued(), 0, "after flush");
    }

    /// A command of the binary against this daemon.
    pub(crate) fn cli(&self, arguments: &[&str]) -> Output {
        let setup = Setup { mounts: None, nofile: None, ..self.setup.clone() };
        let mut command = setup.binary();
        command.args(arguments).arg("--dir").arg(self.setup.dir()).stdin(Stdio::null());
        command.output().expect("the binary starts")
    }

    /// `kill -9`.
    pub(crate) fn kill(mut self) -> Setup {
        self.process.kill();
        self.setup.clone()
    }

    /// SIGTERM, and how it ended.
    pub(crate) fn stop(mut self) -> (Setup, ExitStatus) {
        self.process.terminate();
        let status = self.process.ended(PATIENCE);
        (self.setup.clone(), status)
    }

    /// SIGTERM, without waiting.
    pub(crate) fn terminate(&self) {
        self.process.terminate();
    }

    /// Descriptors that it holds.
    pub(crate) fn descriptors(&self) -> usize {
        fs::read_dir(format!("/proc/{}/fd", self.id())).expect("our own child").count()
    }

    /// Runs a shell command in its mount name space; `$DIR` is its folder there.
    #[track_caller]
    pub(crate) fn inside(&self, script: &str) {
        let output = Command::new("nsenter")
            .args(["--target", &self.id().to_string(), "--mount"])
            .args((!rustix::process::geteuid().is_root()).then_some("--user"))
            .args(["sh", "-ec", script])
            .env("DIR", self.setup.dir())
            .output()
            .expect("nsenter starts");
        assert!(output.status.success(), "{script}: {output:?}");
    }

    /// What lies below a folder of its own, as it sees it itself: paths below it, folders left out.
    pub(crate) fn files(&self, below: &str) -> Vec<PathBuf> {
        let root = PathBuf::from(format!("/proc/{}/root", self.id()));
        let dir = self.setup.dir();
        let folder = root.join(dir.strip_prefix("/").unwrap_or(&dir)).join(below);
        files(&folder)
    }

    /// All it said, of all its lives.
    pub(crate) fn log(&self) -> String {
        self.process.said()
    }

    fn log_tail(&self) -> String {
        let log = self.log();
        let lines: Vec<&str> = log.lines().collect();
        lines[lines.len().saturating_sub(40)..].join("\n")
    }

    /// The access log of all its lives. A request's line is written when its answer has ended, so a test that reads
    /// it waits for what it looks for.
    pub(crate) fn access(&self) -> Vec<Access> {
        self.log().lines().filter_map(Access::parse).collect()
    }
}

// === impl Access ===

impl Access {
    fn parse(line: &str) -> Option<Self> {
        let (_, fields) = line.split_once("larder::access: ")?;
        let field = |name: &str| {
            let (_, rest) = fields.split_once(&format!("{name}="))?;
            Some(match rest.strip_prefix('"') {
                Some(quoted) => quoted.split('"').next()?.to_owned(),
                None => rest.split(' ').next()?.to_owned(),
            })
        };
        let us: i64 = field("first_byte_us")?.parse().ok()?;
        let path = field("path").filter(|path| !path.starts_with("/-/"))?;
        Some(Self {
            method: field("method")?,
            path,
            status: field("status")?.parse().ok()?,
            first_byte: u64::try_from(us).ok().map(Duration::from_micros),
        })
    }
}

/// All files below a folder.
pub(crate) fn files(folder: &Path) -> Vec<PathBuf> {
    let mut found = Vec::new();
    let mut folders = vec![folder.to_path_buf()];
    while let Some(folder) = folders.pop() {
        // It may vanish while we look.
        for entry in fs::read_dir(&folder).into_iter().flatten().flatten() {
            match entry.file_type() {
                Ok(kind) if kind.is_dir() => folders.push(entry.path()),
                Ok(kind) if kind.is_file() => found.push(entry.path()),
                Ok(_) | Err(_) => {}
            }
        }
    }
    found
}
