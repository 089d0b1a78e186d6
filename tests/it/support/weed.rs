//! SeaweedFS as the bucket: a real S3 that checks signatures and conditions.

use std::net::SocketAddr;
use std::process::Command;

use tempfile::TempDir;

use super::process::Process;
use super::setup::KeyFile;
use super::wire::Addr;
use super::{PATIENCE, free_addr, tool, until};
use crate::support::http::Request;

/// One store with one bucket, on ports of its own.
pub(crate) struct Weed {
    folder: TempDir,
    /// S3, then its gRPC; master, volume, filer and admin likewise: all stay the same over a restart.
    ports: [u16; 10],
    process: Option<Process>,
}

/// What a store lets in.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(crate) struct Keys {
    pub(crate) id: String,
    pub(crate) secret: String,
    /// What the store lets them do, in SeaweedFS's words.
    pub(crate) rights: &'static [&'static str],
}

/// The bucket that every store here has.
pub(crate) const BUCKET: &str = "bkt";

// === impl Weed ===

impl Weed {
    /// An empty store that lets `keys` in.
    pub(crate) fn start(keys: &[&Keys]) -> Self {
        let mut weed = Self {
            folder: TempDir::new().expect("a temporary folder"),
            ports: [(); 10].map(|()| free_addr().port()),
            process: None,
        };
        weed.restart(keys);
        weed
    }

    /// Ends it, however it stands, and starts it on the same folder and ports, letting only `keys` in.
    pub(crate) fn restart(&mut self, keys: &[&Keys]) {
        self.stop();
        let iam = self.folder.path().join("keys.json");
        let identities: Vec<_> = keys.iter().map(|keys| keys.identity()).collect();
        let config = serde_json::json!({ "identities": identities });
        std::fs::write(&iam, config.to_string()).expect("a temporary file");
        let data = self.folder.path().join("data");
        std::fs::create_dir_all(&data).expect("a temporary folder");
        let mut command = Command::new(tool("weed"));
        command
            .current_dir(self.folder.path())
            .env("HOME", self.folder.path())
            .env_remove("AWS_ACCESS_KEY_ID")
            .env_remove("AWS_SECRET_ACCESS_KEY")
            .args(["mini", "-ip=127.0.0.1", "-ip.bind=127.0.0.1", "-webdav=false", "-admin.ui=false"])
            .args(["-s3.port.iceberg=0", "-s3.port.lance=0", "-s3.iam=false", "-master.telemetry=false"])
            // The first start makes the bucket; small volumes, for the disk of a test machine.
            .arg(format!("-bucket={BUCKET}"))
            .args(["-master.volumeSizeLimitMB=256"])
            .arg(format!("-dir={}", data.display()))
            .arg(format!("-s3.config={}", iam.display()));
        let names = ["s3", "master", "volume", "filer", "admin"];
        for (name, ports) in names.iter().zip(self.ports.chunks(2)) {
            command.arg(format!("-{name}.port={}", ports[0])).arg(format!("-{name}.port.grpc={}", ports[1]));
        }
        self.process = Some(Process::spawn(&mut command, &self.folder.path().join("weed.log")));
        let (s3, filer) = (Addr::Tcp(self.addr()), self.filer());
        // Strangers are refused before the bucket is made; the filer, which knows no keys, shows when it is there.
        let to_strangers = if keys.iter().any(|keys| keys.is_anybody()) { 200 } else { 403 };
        until("weed has its bucket", PATIENCE, || {
            let status = |addr, path: &str| Request::get(path).send(addr).map(|answer| answer.status()).ok();
            status(&filer, &format!("/buckets/{BUCKET}/?limit=1")) == Some(200)
                && status(&s3, &format!("/{BUCKET}")) == Some(to_strangers)
        });
    }

    /// Ends it. SIGTERM would leave it alive for seconds.
    pub(crate) fn stop(&mut self) {
        self.process = None;
    }

    pub(crate) fn addr(&self) -> SocketAddr {
        loopback(self.ports[0])
    }

    /// Another way to the same objects, at `/buckets/{bucket}/{name}`, which asks for no keys.
    pub(crate) fn filer(&self) -> Addr {
        Addr::Tcp(loopback(self.ports[6]))
    }
}

fn loopback(port: u16) -> SocketAddr {
    SocketAddr::from(([127, 0, 0, 1], port))
}

/// The upstream URL of the bucket, or of a part of it, behind `addr`.
pub(crate) fn url(addr: SocketAddr, prefix: &str) -> String {
    let slash = if prefix.is_empty() { "" } else { "/" };
    format!("s3://{BUCKET}{slash}{prefix}?endpoint=http://{addr}&region=us-east-1")
}

// === impl Keys ===

impl Keys {
    pub(crate) fn new(name: &str) -> Self {
        let rights = &["Admin", "Read", "Write", "List", "Tagging"];
        Self { id: format!("AK{name}"), secret: format!("secret-of-{name}"), rights }
    }

    /// Whoever signs nothing.
    pub(crate) fn anybody() -> Self {
        Self { id: "anonymous".into(), secret: String::new(), ..Self::new("anybody") }
    }

    fn is_anybody(&self) -> bool {
        self.id == "anonymous"
    }

    fn identity(&self) -> serde_json::Value {
        let mut identity = serde_json::json!({ "name": self.id, "actions": self.rights });
        if !self.is_anybody() {
            identity["credentials"] = serde_json::json!([{"accessKey": self.id, "secretKey": self.secret}]);
        }
        identity
    }
}

/// A shared-credentials file.
impl KeyFile for Keys {
    fn text(&self) -> String {
        format!("[default]\naws_access_key_id = {}\naws_secret_access_key = {}\n", self.id, self.secret)
    }
}
