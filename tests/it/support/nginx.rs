//! nginx as a folder by WebDAV: what many teams have already.

use std::fs;
use std::net::SocketAddr;
use std::path::PathBuf;
use std::process::Command;

use tempfile::TempDir;

use super::http::Request;
use super::process::Process;
use super::wire::Addr;
use super::{PATIENCE, free_addr, until};

/// A server of files, which lets in who has its token.
pub(crate) struct Nginx {
    folder: TempDir,
    addr: SocketAddr,
    _process: Process,
}

/// What it lets in.
pub(crate) const TOKEN: &str = "a-token-of-the-nginx";

// === impl Nginx ===

impl Nginx {
    /// An empty folder; `more` goes into its one location.
    pub(crate) fn start(more: &str) -> Self {
        let folder = TempDir::new().expect("a temporary folder");
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
             server {{\nlisten {addr};\nroot {root}/files;\n\
             location / {{\n\
             if ($http_authorization != \"Bearer {TOKEN}\") {{ return 401; }}\n\
             dav_methods PUT DELETE;\ncreate_full_put_path on;\n{more}\n}}\n}}\n}}\n"
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
            Request::get("/").send(&Addr::Tcp(addr)).is_ok_and(|answer| answer.status() == 401)
        });
        Self { folder, addr, _process: process }
    }

    pub(crate) fn addr(&self) -> SocketAddr {
        self.addr
    }

    /// What it keeps.
    pub(crate) fn files(&self) -> PathBuf {
        self.folder.path().join("files")
    }
}
