//! buildbox-casd as a client: a proxy whose remote is the daemon, or nobody's proxy.

use std::net::SocketAddr;
use std::process::Command;

use tempfile::TempDir;

use super::tool;
use crate::support::process::Process;
use crate::support::wire::Addr;
use crate::support::{PATIENCE, free_addr, until};

/// A running casd with an empty cache of its own.
pub(crate) struct Casd {
    addr: SocketAddr,
    process: Process,
    // The process ends before its folder goes.
    _folder: TempDir,
}

// === impl Casd ===

impl Casd {
    /// A cache between its clients and the daemon at `remote`, where its instance is called `instance`.
    pub(crate) fn before(remote: &str, instance: &str) -> Self {
        Self::start(&[format!("--remote={remote}"), format!("--instance={instance}")])
    }

    /// A cache of its own, before nobody.
    pub(crate) fn alone() -> Self {
        Self::start(&[])
    }

    fn start(arguments: &[String]) -> Self {
        let folder = TempDir::new().expect("a temporary folder");
        let addr = free_addr();
        let mut command = Command::new(tool("buildbox-casd"));
        command.args(arguments).arg(format!("--bind={addr}")).arg(folder.path().join("cas"));
        let mut process = Process::spawn(&mut command, &folder.path().join("log"));
        until("casd listens", PATIENCE, || {
            assert!(process.runs(), "casd ended at its start:\n{}", process.said());
            std::net::TcpStream::connect(addr).is_ok()
        });
        Self { addr, process, _folder: folder }
    }

    /// Where it is reached.
    pub(crate) fn addr(&self) -> Addr {
        Addr::Tcp(self.addr)
    }

    /// All it said so far.
    pub(crate) fn said(&self) -> String {
        self.process.said()
    }
}
