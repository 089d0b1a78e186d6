//! The daemon as users have it: a process, its sockets, its commands, its log.

use std::fs;
use std::io::ErrorKind;
use std::path::{Path, PathBuf};
use std::process::{Command, ExitStatus, Output, Stdio};
use std::time::Duration;

use rustix::process::Signal;
use serde_json::Value;

use super::http::{Answer, Request};
use super::process::Process;
use super::setup::Setup;
use super::wire::Addr;
use super::{PATIENCE, eventually};

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

// === impl Daemon ===

impl Daemon {
    /// A daemon whose readiness was seen.
    pub(super) fn new(setup: Setup, process: Process) -> Self {
        Self { setup, process }
    }

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

    /// What goes into a tool that wants the S3 door at the root of an address.
    pub(crate) fn s3_root(&self) -> String {
        format!("http://{}", self.setup.s3.expect("the setup has such a listener"))
    }

    pub(crate) fn id(&self) -> u32 {
        self.process.id()
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
        let mut command = self.setup.plain();
        command.args(arguments).arg("--dir").arg(self.setup.dir()).stdin(Stdio::null());
        command.output().expect("the binary starts")
    }

    /// What `larder token new` prints: a credential, for this daemon's address where one goes into it.
    #[track_caller]
    pub(crate) fn token(&self, arguments: &[&str]) -> String {
        let url = self.url();
        let mut all = vec!["token", "new"];
        all.extend(arguments);
        if arguments.contains(&"--azure") {
            all.extend(["--endpoint", &url]);
        }
        let output = self.cli(&all);
        assert!(output.status.success(), "{output:?}");
        String::from_utf8_lossy(&output.stdout).trim_end().to_owned()
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

    /// SIGABRT, as an assertion of a library would, and how it ended.
    pub(crate) fn abort(mut self) -> (Setup, ExitStatus) {
        self.process.signal(Signal::ABORT);
        let status = self.process.ended(PATIENCE);
        (self.setup.clone(), status)
    }

    /// SIGTERM, without waiting.
    pub(crate) fn terminate(&self) {
        self.process.terminate();
    }

    /// SIGHUP: its configuration is read again.
    pub(crate) fn hang_up(&self) {
        self.process.signal(Signal::HUP);
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

    /// What lies below a folder of its own, as it sees it itself: files, not folders.
    pub(crate) fn files(&self, below: &str) -> Vec<PathBuf> {
        files(&self.seen_by_itself().join(below))
    }

    /// Files of drafts, published to nobody, in both of its folders.
    pub(crate) fn drafts(&self) -> Vec<PathBuf> {
        drafts(&self.seen_by_itself())
    }

    fn seen_by_itself(&self) -> PathBuf {
        let dir = self.setup.dir();
        PathBuf::from(format!("/proc/{}/root", self.id())).join(dir.strip_prefix("/").unwrap_or(&dir))
    }

    /// All it said, of all its lives.
    pub(crate) fn log(&self) -> String {
        self.process.said()
    }

    /// Where it says it.
    pub(crate) fn log_file(&self) -> &Path {
        self.process.log()
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

/// Files of drafts below a daemon's folder; the lock of the folder that they lie in is none.
pub(crate) fn drafts(dir: &Path) -> Vec<PathBuf> {
    let is_draft = |path: &PathBuf| {
        let within = path.strip_prefix(dir).expect("it was found there");
        within.components().any(|part| part.as_os_str() == "tmp") && !path.ends_with("lock")
    };
    files(dir).into_iter().filter(is_draft).collect()
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
