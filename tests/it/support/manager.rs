//! A service manager played for one unit: it holds the sockets, starts the daemon with them, hears what it is told,
//! and starts it again. What systemd does, without one.

use std::fs;
use std::net::TcpListener;
use std::os::fd::OwnedFd;
use std::os::unix::net::{UnixDatagram, UnixListener};
use std::path::{Path, PathBuf};
use std::process::{Command, ExitStatus, Stdio};
use std::time::Duration;

use parking_lot::Mutex;

use super::http::Request;
use super::process::Process;
use super::setup::Setup;
use super::wire::Addr;
use super::{PATIENCE, eventually, until};

/// A unit and its sockets, which outlive every process of it.
#[derive(Debug)]
pub(crate) struct Manager {
    setup: Setup,
    /// At most three: they go over as standard input, output and error.
    sockets: Vec<(String, OwnedFd)>,
    program: PathBuf,
    ear: UnixDatagram,
    heard: Mutex<Vec<String>>,
    environment: Vec<(&'static str, String)>,
}

/// Moves the sockets to where systemd has them, and becomes the daemon.
const HAND_OVER: &str = "log=$1; pid=$2; shift 2
case $LISTEN_FDS in
1) exec 3<&0 ;;
2) exec 3<&0 4<&1 ;;
3) exec 3<&0 4<&1 5<&2 ;;
esac
exec </dev/null >>\"$log\" 2>&1
[ \"$LISTEN_FDS\" = 0 ] && unset LISTEN_FDS LISTEN_FDNAMES || export LISTEN_PID=$$
[ \"$pid\" = own ] && export WATCHDOG_PID=$$ || export WATCHDOG_PID=$pid
exec \"$@\"";

// === impl Manager ===

impl Manager {
    /// A unit of the setup's daemon without sockets.
    pub(crate) fn of(setup: &Setup) -> Self {
        let ear = UnixDatagram::bind(setup.path("notify")).expect("a temporary folder");
        ear.set_nonblocking(true).expect("our own socket");
        Self {
            setup: setup.clone(),
            sockets: Vec::new(),
            program: env!("CARGO_BIN_EXE_larder").into(),
            ear,
            heard: Mutex::default(),
            environment: Vec::new(),
        }
    }

    /// The unit as it is installed: the port, and the admin socket.
    pub(crate) fn installed(setup: &Setup) -> Self {
        Self::of(setup).tcp("larder").admin("admin", &setup.dir().join("larder.sock"))
    }

    /// Hands over the setup's port.
    pub(crate) fn tcp(self, name: &str) -> Self {
        let socket = TcpListener::bind(self.setup.addr).expect("it is free");
        rustix::net::listen(&socket, 4096).expect("Backlog=4096");
        self.socket(name, socket)
    }

    /// Hands over a unix socket.
    pub(crate) fn admin(self, name: &str, path: &Path) -> Self {
        fs::create_dir_all(path.parent().expect("it lies in a folder")).expect("a temporary folder");
        let socket = UnixListener::bind(path).expect("it is free");
        self.socket(name, socket)
    }

    /// Hands over whatever this is.
    pub(crate) fn socket(mut self, name: &str, socket: impl Into<OwnedFd>) -> Self {
        self.sockets.push((name.into(), socket.into()));
        self
    }

    /// `WATCHDOG_USEC`, for the process itself or another.
    pub(crate) fn watchdog(mut self, time: Duration, pid: &str) -> Self {
        self.environment.push(("WATCHDOG_USEC", time.as_micros().to_string()));
        self.environment.push(("PID", pid.into()));
        self
    }

    /// Another notify socket than the one in the setup's folder.
    pub(crate) fn hears_by(mut self, ear: UnixDatagram, name: &str) -> Self {
        ear.set_nonblocking(true).expect("our own socket");
        self.ear = ear;
        self.environment.push(("NOTIFY_SOCKET", name.into()));
        self
    }

    /// The daemon as a copy of the binary, that can be replaced.
    pub(crate) fn copied(mut self) -> Self {
        self.program = self.setup.path("larder");
        self.upgrade(0);
        self
    }

    /// Replaces the binary by one that is not the same, as a package manager does: by a rename.
    pub(crate) fn upgrade(&self, number: u8) {
        let mut bytes = fs::read(env!("CARGO_BIN_EXE_larder")).expect("it is built");
        bytes.extend([b'#', number]); // what follows an executable's sections is nobody's
        let new = self.setup.path("larder.new");
        fs::write(&new, bytes).expect("a temporary file");
        let mode = std::os::unix::fs::PermissionsExt::from_mode(0o755);
        fs::set_permissions(&new, mode).expect("our own file");
        fs::rename(&new, &self.program).expect("our own file");
    }

    /// Whether `process` runs the binary that is there now.
    pub(crate) fn is_current(&self, process: &Process) -> bool {
        use std::os::unix::fs::MetadataExt;
        let [own, now] = [format!("/proc/{}/exe", process.id()).into(), self.program.clone()]
            .map(|path: PathBuf| fs::metadata(&path).map(|found| found.ino()).unwrap_or_default());
        own == now && own != 0
    }

    /// Starts it, without waiting.
    pub(crate) fn spawn(&self) -> Process {
        let served = self.setup.serve();
        let log = self.setup.path("log");
        let names: Vec<&str> = self.sockets.iter().map(|(name, _)| name.as_str()).collect();
        let pid = self.environment.iter().find(|(name, _)| *name == "PID").map_or("own", |(_, pid)| pid);
        let mut command = Command::new("sh");
        command.args(["-c", HAND_OVER, "sh"]).arg(&log).arg(pid).arg(&self.program).args(served.get_args());
        command.env_clear().envs(served.get_envs().filter_map(|(name, value)| Some((name, value?))));
        command
            .env("NOTIFY_SOCKET", self.setup.path("notify"))
            .env("LISTEN_FDS", self.sockets.len().to_string())
            .env("LISTEN_FDNAMES", names.join(":"))
            .envs(self.environment.iter().map(|(name, value)| (*name, value)));
        let given = |at: usize| match self.sockets.get(at) {
            Some((_, socket)) => Stdio::from(socket.try_clone().expect("a descriptor is free")),
            None => Stdio::null(),
        };
        let child = command.stdin(given(0)).stdout(given(1)).stderr(given(2)).spawn().expect("sh starts");
        Process::of(child, log)
    }

    /// Starts it and waits until it says that it serves.
    #[track_caller]
    pub(crate) fn start(&self) -> Process {
        // What the one before said last is not this one's.
        self.heard();
        self.heard.lock().clear();
        let mut process = self.spawn();
        until("it says READY=1", PATIENCE, || {
            assert!(process.runs(), "it ended at its start:\n{}", process.said());
            self.has_heard("READY=1")
        });
        process
    }

    /// `systemctl restart`: the new one is started when the old one has ended.
    #[track_caller]
    pub(crate) fn restart(&self, process: Process) -> Process {
        process.terminate();
        self.restart_ended(process)
    }

    /// Starts the next once this one, that was told to, has ended.
    #[track_caller]
    pub(crate) fn restart_ended(&self, mut process: Process) -> Process {
        let status = process.ended(PATIENCE);
        assert!(status.success(), "{status}:\n{}", process.said());
        self.start()
    }

    /// Starts it and waits for its end.
    #[track_caller]
    pub(crate) fn refused(&self) -> (ExitStatus, String) {
        let mut process = self.spawn();
        let status = process.ended(PATIENCE);
        (status, process.said())
    }

    /// What was heard since the last start, a line each.
    pub(crate) fn heard(&self) -> Vec<String> {
        let mut heard = self.heard.lock();
        let mut bytes = [0; 4096];
        while let Ok(count) = self.ear.recv(&mut bytes) {
            heard.extend(String::from_utf8_lossy(&bytes[..count]).lines().map(str::to_owned));
        }
        heard.clone()
    }

    pub(crate) fn has_heard(&self, line: &str) -> bool {
        self.heard().iter().any(|heard| heard == line)
    }

    /// Waits for a line that `is_it`.
    #[track_caller]
    pub(crate) fn until_heard(&self, what: &str, is_it: impl Fn(&str) -> bool) -> String {
        eventually(what, PATIENCE, || self.heard().into_iter().rev().find(|line| is_it(line)))
    }

    /// A request by TCP.
    pub(crate) fn status_of(&self, target: &str) -> Option<u16> {
        Request::get(target).send(&Addr::Tcp(self.setup.addr)).ok().map(|answer| answer.status())
    }
}
