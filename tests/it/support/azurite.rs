//! Azurite as the container: Azure's own emulator, which checks signatures, conditions and shared access signatures.

use std::net::SocketAddr;
use std::process::Command;

use sha2::{Digest, Sha256};
use tempfile::TempDir;

use super::http::{Payload, Request};
use super::process::Process;
use super::wire::Addr;
use super::{PATIENCE, base64, free_addr, tool, until};

/// One account with one container, on a port that stays the same over a restart.
pub(crate) struct Azurite {
    folder: TempDir,
    addr: SocketAddr,
    process: Option<Process>,
}

/// The account that every emulator here has.
pub(crate) const ACCOUNT: &str = "acme";

/// The container in it.
pub(crate) const CONTAINER: &str = "team";

// === impl Azurite ===

impl Azurite {
    /// An empty container in an account whose keys, two at most, are made of `secrets`.
    pub(crate) fn start(secrets: &[&str]) -> Self {
        let folder = TempDir::new().expect("a temporary folder");
        let mut azurite = Self { folder, addr: free_addr(), process: None };
        azurite.restart(secrets);
        let sas = sas(secrets[0], "rwdlac", "2099-01-01T00:00:00Z");
        let container = format!("/{ACCOUNT}/{CONTAINER}?restype=container&{sas}");
        let made = Request::new("PUT", container).payload(Payload::Sized(Vec::new()));
        let made = made.send(&Addr::Tcp(azurite.addr)).expect("an answer");
        assert_eq!(made.status(), 201, "the container is made");
        azurite
    }

    /// Ends it in good order, for it keeps its tables in memory, and starts it again with other keys.
    pub(crate) fn restart(&mut self, secrets: &[&str]) {
        if let Some(mut process) = self.process.take() {
            process.terminate();
            process.ended(PATIENCE);
        }
        let keys: Vec<String> = secrets.iter().map(|secret| key(secret)).collect();
        let mut command = Command::new(tool("azurite"));
        command
            .current_dir(self.folder.path())
            .env("HOME", self.folder.path())
            .env("AZURITE_ACCOUNTS", format!("{ACCOUNT}:{}", keys.join(":")))
            .args(["--silent", "--skipApiVersionCheck", "--disableTelemetry", "--blobHost", "127.0.0.1"])
            .args(["--blobPort", &self.addr.port().to_string()])
            .arg("--location")
            .arg(self.folder.path().join("data"));
        self.process = Some(Process::spawn(&mut command, &self.folder.path().join("azurite.log")));
        let to = Addr::Tcp(self.addr);
        until("azurite answers", PATIENCE, || Request::get(format!("/{ACCOUNT}")).send(&to).is_ok());
    }

    pub(crate) fn addr(&self) -> SocketAddr {
        self.addr
    }
}

/// The upstream URL of the container, or of a part of it, behind `addr`.
pub(crate) fn url(addr: SocketAddr, prefix: &str) -> String {
    let slash = if prefix.is_empty() { "" } else { "/" };
    format!("azure://{CONTAINER}{slash}{prefix}?account={ACCOUNT}&endpoint=http://{addr}/{ACCOUNT}")
}

/// An account key.
pub(crate) fn key(secret: &str) -> String {
    base64(secret.as_bytes())
}

/// What goes into a client that talks to it directly.
pub(crate) fn connection_string(addr: SocketAddr, secret: &str) -> String {
    let key = key(secret);
    format!(
        "DefaultEndpointsProtocol=http;AccountName={ACCOUNT};AccountKey={key};BlobEndpoint=http://{addr}/{ACCOUNT};"
    )
}

/// A shared access signature of the whole account, with `rights` such as `rl`, until `end`.
pub(crate) fn sas(secret: &str, rights: &str, end: &str) -> String {
    let version = "2018-11-09";
    let signed = format!("{ACCOUNT}\n{rights}\nb\nsco\n\n{end}\n\n\n{version}\n");
    let signature = base64(&hmac_sha256(secret.as_bytes(), signed.as_bytes()));
    let escaped = signature.replace('+', "%2B").replace('/', "%2F").replace('=', "%3D");
    format!("sv={version}&ss=b&srt=sco&sp={rights}&se={}&sig={escaped}", end.replace(':', "%3A"))
}

/// For keys of up to 64 bytes.
fn hmac_sha256(key: &[u8], message: &[u8]) -> Vec<u8> {
    let pad = |with: u8| (0..64).map(|at| key.get(at).copied().unwrap_or(0) ^ with).collect::<Vec<u8>>();
    let inner = Sha256::new().chain_update(pad(0x36)).chain_update(message).finalize();
    Sha256::new().chain_update(pad(0x5c)).chain_update(inner).finalize().to_vec()
}
