//! Listening sockets: TCP and unix, bound here or inherited ([`super::handed`]).
//!
//! Off loopback every request needs a token, or its client a certificate: else it would be a cache that the whole
//! network may poison. Whether such an address may be listened on at all is the configuration's to decide, inherited or
//! not. A stale unix socket file is replaced only when nobody answers on it.

use std::io;
use std::net::SocketAddr;
use std::os::unix::fs::{FileTypeExt as _, PermissionsExt as _};
use std::path::Path;
use std::sync::Arc;

use futures_util::FutureExt as _;
use tokio::net::{TcpListener, TcpSocket, UnixListener};

use super::endpoint::{Endpoint, check_path};
use super::frontends::Protocol;
use super::tls::{Served, Tls};
use super::wire::Socket;
use super::{handed, identity};
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

/// Everything that is listened on. Connections queue in the kernel until they are accepted.
#[derive(Debug)]
pub struct Bound {
    pub(super) listeners: Vec<Listener>,
    remarks: Vec<String>,
}

// === impl Bound ===

impl Bound {
    /// Adopts the sockets that a service manager handed over, and binds the others that are wanted and `admin`; the
    /// `defaults` only where none but `admin` was handed over. `names` is what the manager calls the sockets
    /// (`LISTEN_FDNAMES`): the one called `admin` is that, wherever it lies.
    ///
    /// # Errors
    /// `Unavailable` with the words for the person who started the daemon.
    pub fn bind(wanted: &[Wanted], defaults: &[Wanted], admin: &Path, names: Option<&str>) -> Result<Self> {
        Self::complete(handed::take(names)?, wanted, defaults, admin)
    }

    fn complete(
        mut listeners: Vec<Listener>,
        wanted: &[Wanted],
        defaults: &[Wanted],
        admin: &Path,
    ) -> Result<Self> {
        let mut remarks = Vec::new();
        let is_taken = |default: &Wanted| wanted.iter().any(|other| other.endpoint.covers(&default.endpoint));
        let admin = Endpoint::Unix(admin.to_path_buf());
        let is_named_admin = listeners.iter().any(|listener| listener.admin);
        for listener in &mut listeners {
            listener.admin |= !is_named_admin && listener.endpoint == admin;
            let endpoint = &listener.endpoint;
            if listener.admin && *endpoint != admin {
                remarks.push(format!(
                    "the admin socket that was handed over is {endpoint}: the commands find it with --socket; it \
                     would be found without at {admin}"
                ));
            }
            let is_wanted = wanted.iter().any(|wanted| wanted.endpoint == *endpoint);
            if defaults.is_empty() && !is_wanted && !listener.admin && endpoint.is_private() {
                remarks.push(format!(
                    "{endpoint} was handed over by the service manager and is served, though the configuration \
                     doesn't name it: leave it out of the socket unit, or name it in `listen`"
                ));
            }
            if !endpoint.is_private() && !wanted.iter().any(|wanted| wanted.endpoint == *endpoint) {
                let words = format!(
                    "adopt an inherited socket: {endpoint} is not loopback; name it in `[[listeners]]` if it is meant"
                );
                return Err(Error::new(Kind::Denied, words));
            }
        }
        let is_activated = listeners.iter().any(|listener| !listener.admin);
        for wanted in wanted.iter().filter(|_| is_activated) {
            if !listeners.iter().any(|listener| listener.endpoint == wanted.endpoint) {
                remarks.push(format!(
                    "{} is not among the sockets that the service manager holds, so that a restart refuses \
                     connections there: add ListenStream= for it to the socket unit",
                    wanted.endpoint
                ));
            }
        }
        let defaults = defaults.iter().filter(|default| !is_activated && !is_taken(default));
        for wanted in wanted.iter().chain(defaults) {
            if let Some(adopted) = listeners.iter_mut().find(|one| one.endpoint == wanted.endpoint) {
                adopted.serve(wanted);
                continue;
            }
            match Listener::bind(&wanted.endpoint) {
                Ok(mut listener) => {
                    listener.serve(wanted);
                    listeners.push(listener);
                }
                Err(error) if wanted.optional => tracing::warn!("going on without it: {error}"),
                Err(error) => return Err(error),
            }
        }
        match listeners.iter_mut().find(|listener| listener.admin || listener.endpoint == admin) {
            Some(listener) => listener.admin = true,
            None => {
                let mut listener = Listener::bind(&admin)?;
                listener.admin = true;
                listeners.push(listener);
            }
        }
        Ok(Self { listeners, remarks })
    }

    /// What the person who wrote the units and the configuration should know: where the two differ.
    pub fn remarks(&self) -> &[String] {
        &self.remarks
    }

    /// Where is listened, as bound: port 0 has become a real one.
    pub fn endpoints(&self) -> impl Iterator<Item = &Endpoint> {
        self.listeners.iter().map(|listener| &listener.endpoint)
    }
}

// === impl Listener ===

impl Listener {
    /// One that outlives us.
    pub(super) fn adopted(endpoint: Endpoint, admin: bool, accept: Accept) -> Self {
        Self { endpoint, admin, only: None, tls: None, accept, lives: Lives::Elsewhere }
    }

    /// What is wanted of it besides its address.
    fn serve(&mut self, wanted: &Wanted) {
        self.only = wanted.only;
        self.tls = wanted.tls.clone().map(|tls| Served::new(wanted.endpoint.clone(), tls));
    }

    fn bind(endpoint: &Endpoint) -> Result<Self> {
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

    #[test]
    fn what_was_handed_over_and_what_is_wanted_are_compared() {
        let runtime = tokio::runtime::Runtime::new().expect("threads");
        let _here = runtime.enter();
        let folder = tempfile::tempdir().expect("a folder");
        let admin = folder.path().join("larder.sock");
        let handed = || {
            let listener = std::net::TcpListener::bind("127.0.0.1:0").expect("binds");
            listener.set_nonblocking(true).expect("ours");
            let endpoint = Endpoint::Tcp(listener.local_addr().expect("bound"));
            let accept = Accept::Tcp(TcpListener::from_std(listener).expect("a socket"));
            (endpoint.clone(), Listener::adopted(endpoint, false, accept))
        };
        let wanted = |endpoint| Wanted { endpoint, optional: false, only: None, tls: None };
        let default = [wanted("127.0.0.1:0".parse().expect("an endpoint"))];

        let (_, listener) = handed();
        let bound = Bound::complete(vec![listener], &[], &default, &admin).expect("binds");
        assert_eq!((bound.endpoints().count(), bound.remarks().len()), (2, 0), "no default beside it");
        drop(bound);

        let (endpoint, listener) = handed();
        let bound = Bound::complete(vec![listener], &[wanted(endpoint)], &[], &admin).expect("binds");
        assert_eq!((bound.endpoints().count(), bound.remarks().len()), (2, 0), "what is wanted is there");
        drop(bound);

        let (endpoint, listener) = handed();
        let other = [wanted("127.0.0.1:0".parse().expect("an endpoint"))];
        let bound = Bound::complete(vec![listener], &other, &[], &admin).expect("binds");
        let remarks = bound.remarks();
        assert_eq!((bound.endpoints().count(), remarks.len()), (3, 2), "{remarks:?}");
        assert!(remarks[0].contains(&format!("{endpoint} was handed over")), "{remarks:?}");
        assert!(remarks[1].contains("add ListenStream="), "{remarks:?}");
        // Of those that come on top of the defaults, that they are not held is all that is to be said.
        drop(bound);
        let (_, listener) = handed();
        let bound = Bound::complete(vec![listener], &other, &default, &admin).expect("binds");
        assert_eq!(bound.remarks().len(), 1, "{:?}", bound.remarks());
    }

    #[tokio::test]
    async fn what_is_wanted_comes_on_top_of_the_defaults() {
        let folder = tempfile::tempdir().expect("a folder");
        let wanted = |endpoint| Wanted { endpoint, optional: false, only: None, tls: None };
        let own = [wanted(Endpoint::Unix(folder.path().join("own.sock")))];
        let default = [wanted("127.0.0.1:0".parse().expect("an endpoint"))];
        let bound = Bound::bind(&own, &default, &folder.path().join("larder.sock"), None).expect("binds");
        assert_eq!(bound.endpoints().count(), 3);
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

    #[tokio::test]
    async fn a_taken_port_names_its_holder_and_an_optional_one_is_gone_without() {
        let folder = tempfile::tempdir().expect("a folder");
        let taken = std::net::TcpListener::bind("127.0.0.1:0").expect("binds");
        let endpoint = Endpoint::Tcp(taken.local_addr().expect("bound"));
        let wanted = |optional| [Wanted { endpoint: endpoint.clone(), optional, only: None, tls: None }];
        let admin = folder.path().join("larder.sock");
        let error = Bound::bind(&wanted(false), &[], &admin, None).expect_err("taken");
        assert!(error.to_string().contains("--listen"), "{error}");
        #[cfg(target_os = "linux")]
        assert!(error.to_string().contains(&format!("pid {}", std::process::id())), "{error}");
        let bound = Bound::bind(&wanted(true), &[], &admin, None).expect("a warning only");
        assert_eq!(bound.endpoints().count(), 1);
    }
}
