//! nginx as a folder by WebDAV: what many teams have already.

use std::fs;
use std::net::{SocketAddr, TcpStream};
use std::path::PathBuf;
use std::process::Command;

use tempfile::TempDir;

use super::http::Request;
use super::process::Process;
use super::wire::Addr;
use super::{PATIENCE, free_addr, until};

/// A server of files, which lets in who has its token or its account.
pub(crate) struct Nginx {
    folder: TempDir,
    addr: SocketAddr,
    _process: Process,
}

/// What it lets in.
pub(crate) const TOKEN: &str = "a-token-of-the-nginx";

/// Likewise, a user and a password; and as a header has them.
pub(crate) const ACCOUNT: &str = "team:pass-of-nginx";
const ACCOUNT_BASE64: &str = "dGVhbTpwYXNzLW9mLW5naW54";

// === impl Nginx ===

impl Nginx {
    /// An empty folder.
    pub(crate) fn start() -> Self {
        Self::launch(TempDir::new().expect("a temporary folder"), "", "")
    }

    /// By TLS, to who shows a certificate of its authority. Beside its files lie `ca.pem`, and of `client` and a
    /// `foreign` one the certificate and the key.
    pub(crate) fn start_tls() -> Self {
        let folder = TempDir::new().expect("a temporary folder");
        let make = |name: &str, by: Option<&str>, extensions: &[&str]| {
            let path = |end: &str| folder.path().join(format!("{name}.{end}"));
            let mut command = Command::new("openssl");
            command.args(["req", "-x509", "-newkey", "ec", "-pkeyopt", "ec_paramgen_curve:P-256", "-nodes"]);
            command.args(["-days", "2", "-subj", &format!("/CN={name}")]);
            command.arg("-keyout").arg(path("key")).arg("-out").arg(path("pem"));
            if let Some(by) = by {
                command.arg("-CA").arg(folder.path().join(format!("{by}.pem")));
                command.arg("-CAkey").arg(folder.path().join(format!("{by}.key")));
            }
            for extension in extensions {
                command.args(["-addext", extension]);
            }
            let output = command.output().expect("openssl is installed");
            assert!(output.status.success(), "{}", String::from_utf8_lossy(&output.stderr));
        };
        make("ca", None, &[]);
        let leaf = "basicConstraints=CA:FALSE";
        make("server", Some("ca"), &[leaf, "subjectAltName=IP:127.0.0.1"]);
        make("client", Some("ca"), &[leaf, "extendedKeyUsage=clientAuth"]);
        make("foreign", None, &[]);
        let root = folder.path().display();
        let tls = format!(
            "ssl_certificate {root}/server.pem;\nssl_certificate_key {root}/server.key;\n\
             ssl_client_certificate {root}/ca.pem;\nssl_verify_client on;\n"
        );
        Self::launch(folder, " ssl", &tls)
    }

    /// `ssl` goes behind the address that it listens at, `more` into its one server.
    fn launch(folder: TempDir, ssl: &str, more: &str) -> Self {
        let addr = free_addr();
        let root = folder.path().display();
        for name in ["files", "temp"] {
            fs::create_dir(folder.path().join(name)).expect("a temporary folder");
        }
        // As root it would otherwise become somebody who can't write here.
        let user = if rustix::process::geteuid().is_root() { "user root;" } else { "" };
        let temp: String = ["client_body", "proxy", "fastcgi", "uwsgi", "scgi"]
            .iter()
            .map(|name| format!("{name}_temp_path {root}/temp/{name};\n"))
            .collect();
        let config = format!(
            "{user}\ndaemon off;\nworker_processes 1;\npid {root}/pid;\nerror_log {root}/error.log;\n\
             events {{ worker_connections 256; }}\n\
             http {{\naccess_log off;\n{temp}client_max_body_size 0;\n\
             server {{\nlisten {addr}{ssl};\n{more}\nroot {root}/files;\n\
             location / {{\n\
             if ($http_authorization !~ \"^(Bearer {TOKEN}|Basic {ACCOUNT_BASE64})$\") {{ return 401; }}\n\
             dav_methods PUT DELETE;\ncreate_full_put_path on;\n}}\n}}\n}}\n"
        );
        let path = folder.path().join("nginx.conf");
        fs::write(&path, config).expect("a temporary file");
        let mut command = Command::new("nginx");
        command.env("PATH", format!("{}:/usr/sbin:/sbin", std::env::var("PATH").unwrap_or_default()));
        command
            .arg("-c")
            .arg(&path)
            .arg("-p")
            .arg(folder.path())
            .arg("-e")
            .arg(folder.path().join("error.log"));
        let mut process = Process::spawn(&mut command, &folder.path().join("log"));
        until("nginx answers", PATIENCE, || {
            assert!(process.runs(), "nginx ended at its start:\n{}", process.said());
            match ssl {
                "" => Request::get("/").send(&Addr::Tcp(addr)).is_ok_and(|answer| answer.status() == 401),
                _ => TcpStream::connect(addr).is_ok(),
            }
        });
        Self { folder, addr, _process: process }
    }

    pub(crate) fn addr(&self) -> SocketAddr {
        self.addr
    }

    /// A file beside what it keeps.
    pub(crate) fn path(&self, name: &str) -> PathBuf {
        self.folder.path().join(name)
    }

    /// What it keeps.
    pub(crate) fn files(&self) -> PathBuf {
        self.folder.path().join("files")
    }
}
