//! A listening socket: TCP or unix, bound here or inherited ([`super::handed`]).
//!
//! A stale unix socket file is replaced only when nobody answers on it.

use std::io;
use std::net::SocketAddr;
use std::os::unix::fs::{FileTypeExt as _, PermissionsExt as _};
use std::path::Path;
use std::sync::Arc;

use futures_util::FutureExt as _;
use tokio::net::{TcpListener, TcpSocket, UnixListener};

use super::endpoint::{Endpoint, check_path};
use super::frontends::Protocol;
use super::identity;
use super::tls::{Served, Tls};
use super::wire::Socket;
use crate::error::{Error, Kind, Result};

/// The kernel's queue of connections that are not accepted yet: a build's burst fits.
const BACKLOG: u32 = 4096;

/// An endpoint that is wanted.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Wanted {
    /// Where.
    pub endpoint: Endpoint,
    /// Failing to bind it is a warning: `[::1]` on machines without IPv6.
    pub optional: bool,
    /// One protocol alone, which has the root there.
    pub only: Option<Protocol>,
    /// TLS, and nothing else.
    pub tls: Option<Tls>,
}

/// A bound socket.
#[derive(Debug)]
pub(super) struct Listener {
    pub(super) endpoint: Endpoint,
    /// The socket of the command line: it also answers what only the owner may ask.
    pub(super) admin: bool,
    pub(super) only: Option<Protocol>,
    pub(super) tls: Option<Arc<Served>>,
    accept: Accept,
    lives: Lives,
}

/// When a socket ends.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum Lives {
    /// With this process.
    Here,
    /// With this process, and so does its file, which we made.
    HereWithFile,
    /// When the service manager says so.
    Elsewhere,
}

/// Who comes in by a listener.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum Gate {
    /// Users of this machine who are let in.
    Users,
    /// They, by the command line's own socket.
    Admin,
    /// Whoever has a token.
    Tokens,
    /// Whoever has a client certificate.
    Certificates,
}

#[derive(Debug)]
pub(super) enum Accept {
    Tcp(TcpListener),
    Unix(UnixListener),
}

// === impl Listener ===

impl Listener {
    /// One that outlives us.
    pub(super) fn adopted(endpoint: Endpoint, admin: bool, accept: Accept) -> Self {
        Self { endpoint, admin, only: None, tls: None, accept, lives: Lives::Elsewhere }
    }

    /// What is wanted of it besides its address.
    pub(super) fn serve(&mut self, wanted: &Wanted) {
        self.only = wanted.only;
        self.tls = wanted.tls.clone().map(|tls| Served::new(wanted.endpoint.clone(), tls));
    }

    pub(super) fn bind(endpoint: &Endpoint) -> Result<Self> {
        match endpoint {
            Endpoint::Tcp(address) => bind_tcp(*address),
            Endpoint::Unix(path) => bind_unix(path),
        }
    }

    /// A service manager handed it over.
    pub(super) fn is_adopted(&self) -> bool {
        self.lives == Lives::Elsewhere
    }

    /// Who comes in by it.
    pub(super) fn gate(&self) -> Gate {
        let asks_clients = self.tls.as_ref().is_some_and(|tls| tls.asks_clients());
        match (self.admin, self.endpoint.is_private()) {
            (true, _) => Gate::Admin,
            (false, _) if asks_clients => Gate::Certificates,
            (false, true) => Gate::Users,
            (false, false) => Gate::Tokens,
        }
    }

    /// The next connection.
    pub(super) async fn accept(&self) -> io::Result<Socket> {
        match &self.accept {
            Accept::Tcp(listener) => {
                let (stream, peer) = listener.accept().await?;
                stream.set_nodelay(true)?;
                let local = stream.local_addr()?;
                Ok(Socket::Tcp(stream, local, peer))
            }
            Accept::Unix(listener) => Ok(Socket::Unix(listener.accept().await?.0)),
        }
    }

    /// Who has connected already, when nobody is waited for any more; `None` when the socket goes on without us, and
    /// they wait in it.
    pub(super) fn accept_last(&self) -> Option<io::Result<Socket>> {
        if self.lives == Lives::Elsewhere {
            return None;
        }
        self.accept().now_or_never()
    }
}

impl Drop for Listener {
    fn drop(&mut self) {
        if let (Endpoint::Unix(path), Lives::HereWithFile) = (&self.endpoint, self.lives) {
            // Gone already is as good.
            let _ = std::fs::remove_file(path);
        }
    }
}

fn bind_tcp(address: SocketAddr) -> Result<Listener> {
    let bind = || -> io::Result<TcpListener> {
        let socket = if address.is_ipv4() { TcpSocket::new_v4()? } else { TcpSocket::new_v6()? };
        socket.set_reuseaddr(true)?; // else a restart waits out TIME_WAIT
        socket.bind(address)?;
        socket.listen(BACKLOG)
    };
    let listener = bind().map_err(|error| {
        let words = if error.kind() == io::ErrorKind::AddrInUse {
            taken(address, identity::listener_of(address).as_deref())
        } else {
            format!("listen on {address}")
        };
        Error::new(Kind::Unavailable, words).because(error)
    })?;
    let address = listener.local_addr().unwrap_or(address);
    Ok(Listener {
        endpoint: Endpoint::Tcp(address),
        admin: false,
        only: None,
        tls: None,
        accept: Accept::Tcp(listener),
        lives: Lives::Here,
    })
}

fn taken(address: SocketAddr, holder: Option<&str>) -> String {
    let holder = holder.unwrap_or("another process");
    if holder.ends_with("(systemd)") {
        return format!(
            "listen on {address}: systemd holds it for a socket unit; start the service of that (`systemctl --user start \
             larder`, for the machine `systemctl start larder`), stop the unit, or choose another with --listen"
        );
    }
    format!("listen on {address}: it is taken by {holder}; end that or choose another with --listen")
}

fn bind_unix(path: &Path) -> Result<Listener> {
    check_path(path).map_err(|words| Error::new(Kind::Invalid, format!("listen: {words}")))?;
    let failed = |error: io::Error| {
        Error::new(Kind::Unavailable, format!("listen on unix:{}", path.display())).because(error)
    };
    match std::fs::symlink_metadata(path) {
        Ok(found) if !found.file_type().is_socket() => {
            return Err(failed(io::Error::other("there is a file that is not a socket")));
        }
        Ok(_) if std::os::unix::net::UnixStream::connect(path).is_ok() => {
            return Err(failed(io::Error::other("another process answers on it")));
        }
        Ok(_) => std::fs::remove_file(path).map_err(failed)?,
        Err(_) => {}
    }
    let listener = UnixListener::bind(path).map_err(failed)?;
    std::fs::set_permissions(path, std::fs::Permissions::from_mode(0o600)).map_err(failed)?;
    Ok(Listener {
        endpoint: Endpoint::Unix(path.to_path_buf()),
        admin: false,
        only: None,
        tls: None,
        accept: Accept::Unix(listener),
        lives: Lives::HereWithFile,
    })
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_port_that_systemd_holds_for_us_is_not_to_be_freed_by_ending_systemd() {
        let address = "127.0.0.1:5273".parse().expect("an address");
        let words = taken(address, Some("pid 1 (systemd)"));
        assert!(words.contains("start larder") && !words.contains("end that"), "{words}");
        assert!(taken(address, Some("pid 7 (nginx)")).contains("pid 7 (nginx); end that"));
        assert!(taken(address, None).contains("another process"));
    }

    #[tokio::test]
    async fn a_stale_socket_file_is_replaced_and_a_live_one_or_a_file_is_not() {
        let folder = tempfile::tempdir().expect("a folder");
        let path = folder.path().join("larder.sock");
        drop(std::os::unix::net::UnixListener::bind(&path).expect("binds")); // leaves its file
        let endpoint = Endpoint::Unix(path.clone());
        let live = Listener::bind(&endpoint).expect("replaces the stale file");
        assert_eq!(std::fs::metadata(&path).expect("there").permissions().mode() & 0o777, 0o600);
        let error = Listener::bind(&endpoint).expect_err("somebody answers");
        assert!(error.to_string().contains("answers"), "{error}");
        drop(live);
        assert!(!path.exists(), "the file goes with its listener");
        std::fs::write(&path, "precious").expect("writes");
        let error = Listener::bind(&endpoint).expect_err("not a socket");
        assert!(error.to_string().contains("not a socket"), "{error}");
    }
}
