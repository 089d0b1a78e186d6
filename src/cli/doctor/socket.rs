//! The file of the admin socket: whether it is one, whose, and who else can reach or replace it.

use super::daemon::Facts;
use super::finding::Finding;
use crate::server::user_name;

/// More than a path of a unix socket takes on every platform.
pub(super) const SOCKET_BYTES_MAX: usize = 103;

// === impl Facts ===

impl Facts {
    pub(super) fn socket(&self) -> Vec<Finding> {
        const CHECK: &str = "socket";
        let shown = self.socket.display();
        let mut findings = Vec::new();
        let length = self.socket.as_os_str().len();
        if length > SOCKET_BYTES_MAX {
            findings.push(Finding::problem(
                CHECK,
                format!("the path {shown} has {length} bytes, and a socket's takes {SOCKET_BYTES_MAX}"),
                "give a shorter --dir, or set XDG_RUNTIME_DIR",
            ));
        }
        match &self.found {
            None => {}
            Some(found) if !found.is_socket => findings.push(Finding::problem(
                CHECK,
                format!("{shown} is not a socket, so that no daemon can listen there"),
                "move it away",
            )),
            Some(_) if !self.runs() => findings.push(Finding::warning(
                CHECK,
                format!("{shown} is stale: the daemon that made it was killed"),
                "none by hand: the next `larder serve` replaces it",
            )),
            Some(found) if found.mode & 0o077 != 0 => findings.push(Finding::warning(
                CHECK,
                format!(
                    "{shown} has mode {:04o}: others can connect, and are refused by their uid alone",
                    found.mode
                ),
                format!("`chmod 0600 {shown}`"),
            )),
            Some(found) if found.uid != self.own_uid && self.own_uid != 0 => findings.push(Finding::warning(
                CHECK,
                format!("{shown} belongs to user {}", user_name(found.uid)),
                "run this as that user",
            )),
            Some(_) => {}
        }
        const STICKY: u32 = 0o1000;
        if let (Some(around), Some(folder)) = (&self.around, self.socket.parent())
            && around.mode & 0o022 != 0
            && around.mode & STICKY == 0
        {
            findings.push(Finding::problem(
                CHECK,
                format!(
                    "{} has mode {:04o}: others can put a socket of theirs in the daemon's place",
                    folder.display(),
                    around.mode
                ),
                format!("`chmod 0700 {}`", folder.display()),
            ));
        }
        if findings.is_empty() {
            let words = match &self.found {
                Some(found) => format!("{shown}, mode {:04o}", found.mode),
                None => format!("{shown} is made when the daemon starts"),
            };
            findings.push(Finding::ok(CHECK, words));
        }
        findings
    }
}
