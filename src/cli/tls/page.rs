//! What is printed: ready to be pasted into the configuration of the daemon, of moon, of Bazel, and into a shell.

use std::fmt::Write as _;
use std::net::IpAddr;

use serde_json::Value;

use super::folder::{Folder, of_client};

/// What it is made of.
pub(super) struct Page<'a> {
    pub(super) folder: &'a Folder,
    /// By which clients reach the daemon.
    pub(super) host: &'a str,
    /// For whom the lines are.
    pub(super) client: Option<&'a String>,
    /// All that have a certificate.
    pub(super) clients: &'a [String],
}

/// Beside the plain listener of loopback.
const PORT: u16 = 5274;

// === impl Page ===

impl Page<'_> {
    pub(super) fn text(&self) -> String {
        let mut page = String::new();
        // Writing to a text can't fail.
        let _ = self.write(&mut page);
        page
    }

    fn write(&self, page: &mut String) -> std::fmt::Result {
        let path = |path: std::path::PathBuf| path.display().to_string();
        let quoted = |text: &str| Value::from(text).to_string();
        let (ca, certificate) =
            (path(self.folder.certificate("ca")), path(self.folder.certificate("server")));
        let key = path(self.folder.key("server"));
        let host = match self.host.parse::<IpAddr>() {
            Ok(IpAddr::V6(address)) => format!("[{address}]"),
            _ => self.host.to_owned(),
        };
        // By the name that every such certificate has: moon has been seen with names, not with addresses.
        let domain = if self.host == "127.0.0.1" { "localhost" } else { self.host };
        writeln!(page, "# larder.toml: every client shows a certificate of this CA.")?;
        writeln!(page, "[[listeners]]\naddress = \"0.0.0.0:{PORT}\"")?;
        writeln!(page, "certificate = {}\nkey = {}", quoted(&certificate), quoted(&key))?;
        writeln!(page, "client_ca = {}", quoted(&ca))?;
        let clients = self.clients.iter().map(|client| quoted(client)).collect::<Vec<_>>().join(", ");
        if clients.is_empty() {
            writeln!(page, "# clients = [\"NAME\"]   # issue them: larder tls init --client NAME")?;
        } else {
            writeln!(page, "clients = [{clients}]   # may read and write; `readers` may read")?;
        }
        writeln!(
            page,
            "# Or without `client_ca` and `clients`: each request has a token (larder token new --bearer)."
        )?;

        let client = self.client.map_or("NAME", String::as_str);
        let own = path(self.folder.certificate(&of_client(client)));
        let own_key = path(self.folder.key(&of_client(client)));
        let shell = |text: &str| format!("'{}'", text.replace('\'', "'\\''"));
        writeln!(page, "\n# moon: the files of this machine, in the workspace and ignored by git")?;
        writeln!(
            page,
            "mkdir -p .larder && cp {} .larder/ca.pem && cp {} .larder/client.pem && cp {} .larder/client-key.pem",
            shell(&ca),
            shell(&own),
            shell(&own_key)
        )?;
        writeln!(page, "\n# .moon/workspace.yml is part of moon's hashes: the same on every machine")?;
        writeln!(page, "remote:\n  host: 'grpcs://{host}:{PORT}'")?;
        writeln!(page, "  mtls:\n    caCert: '.larder/ca.pem'\n    clientCert: '.larder/client.pem'")?;
        writeln!(page, "    clientKey: '.larder/client-key.pem'\n    domain: '{domain}'")?;
        writeln!(page, "# With a token instead of a certificate:")?;
        writeln!(page, "#  auth:\n#    token: 'LARDER_TOKEN'   # the variable that holds it")?;
        writeln!(page, "#  tls:\n#    cert: '.larder/ca.pem'\n#    domain: '{domain}'")?;

        let word = |flag: &str, text: &str| format!("--{flag}={text}");
        writeln!(page, "\n# Bazel, .bazelrc")?;
        for line in [
            word("remote_cache", &format!("grpcs://{host}:{PORT}")),
            word("tls_certificate", &ca),
            word("tls_client_certificate", &own),
            word("tls_client_key", &own_key),
        ] {
            let line = if line.contains(' ') { format!("'{line}'") } else { line };
            writeln!(page, "build {line}")?;
        }
        writeln!(page, "\n# curl")?;
        write!(page, "curl --cacert {} --cert {} --key {}", shell(&ca), shell(&own), shell(&own_key))?;
        writeln!(page, " https://{host}:{PORT}/-/healthz")
    }
}
