//! A strict server of the Remote Execution API, in Python over Google's own gRPC: a stand-in that refuses what Depot
//! refuses.

use std::net::SocketAddr;
use std::path::{Path, PathBuf};
use std::process::Command;

use tempfile::TempDir;

use super::tool;
use crate::support::process::Process;
use crate::support::{PATIENCE, free_addr, until, write_secret};

/// A running server with an empty cache, which goes with it.
pub(crate) struct Depot {
    pub(crate) addr: SocketAddr,
    process: Process,
    folder: TempDir,
}

/// A small authority: its certificate, one of a server on this machine, and one of a client.
pub(crate) struct Authority(TempDir);

// === impl Depot ===

impl Depot {
    /// Plain, and lets in who has this token.
    pub(crate) fn start(token: &str) -> Self {
        Self::with(token, &[])
    }

    /// By TLS, to clients with a certificate of this authority's.
    pub(crate) fn with_tls(token: &str, authority: &Authority) -> Self {
        Self::with(
            token,
            &[authority.path("server.pem"), authority.path("server.key"), authority.path("ca.pem")],
        )
    }

    fn with(token: &str, files: &[PathBuf]) -> Self {
        let folder = TempDir::new().expect("a temporary folder");
        let addr = free_addr();
        write_secret(&folder.path().join("token"), token);
        let script = Path::new(env!("CARGO_MANIFEST_DIR")).join("tests/it/support/tools/depot");
        let casd = tool("buildbox-casd");
        let tools = casd.parent().and_then(Path::parent).expect("two levels up");
        let mut command = Command::new(tools.join("venv/bin/python"));
        command.arg("-B").arg(script).arg(addr.to_string()).arg(folder.path().join("token")).args(files);
        let mut process = Process::spawn(&mut command, &folder.path().join("log"));
        until("the server listens", PATIENCE, || {
            assert!(process.runs(), "it ended at its start:\n{}", process.said());
            std::net::TcpStream::connect(addr).is_ok()
        });
        Self { addr, process, folder }
    }

    /// From now on it takes this token, and no other.
    pub(crate) fn take(&self, token: &str) {
        write_secret(&self.folder.path().join("token"), token);
    }

    /// From now on it answers batches in this way (see its script); as it should with nothing.
    pub(crate) fn behave(&self, mode: &str) {
        let path = self.folder.path().join("mode");
        std::fs::write(&path, mode).unwrap_or_else(|error| panic!("{}: {error}", path.display()));
    }

    /// Its calls so far: the method, how many blobs it was about, the status.
    pub(crate) fn calls(&self) -> Vec<(String, usize, String)> {
        let said = self.process.said();
        let call = |line: &str| {
            let mut words = line.split(' ');
            let (method, count, status) = (words.next()?, words.next()?, words.next()?);
            Some((method.to_owned(), count.parse().ok()?, status.to_owned()))
        };
        said.lines().filter_map(call).collect()
    }

    /// How many calls of a method ended with this status.
    pub(crate) fn count(&self, method: &str, status: &str) -> usize {
        self.calls().iter().filter(|call| call.0 == method && call.2 == status).count()
    }
}

// === impl Authority ===

impl Authority {
    pub(crate) fn new() -> Self {
        let this = Self(TempDir::new().expect("a temporary folder"));
        this.openssl(
            "req -x509 -newkey ec -pkeyopt ec_paramgen_curve:P-256 -nodes -days 2 -subj /CN=test-ca \
                      -keyout ca.key -out ca.pem",
        );
        for name in ["server", "client"] {
            this.openssl(&format!(
                "req -x509 -newkey ec -pkeyopt ec_paramgen_curve:P-256 -nodes -days 2 -subj /CN={name} -CA ca.pem \
                 -CAkey ca.key -addext subjectAltName=IP:127.0.0.1,DNS:localhost -addext basicConstraints=CA:FALSE \
                 -keyout {name}.key -out {name}.pem"
            ));
        }
        this
    }

    pub(crate) fn path(&self, name: &str) -> PathBuf {
        self.0.path().join(name)
    }

    #[track_caller]
    fn openssl(&self, arguments: &str) {
        let output = Command::new("openssl")
            .args(arguments.split_ascii_whitespace())
            .current_dir(self.0.path())
            .output()
            .expect("openssl is installed");
        assert!(output.status.success(), "{arguments}: {}", String::from_utf8_lossy(&output.stderr));
    }
}
