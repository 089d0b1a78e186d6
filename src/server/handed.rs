//! Sockets that a service manager handed over: systemd's `LISTEN_FDS`, three and up.
//!
//! They outlive this process: it closes its own descriptor of them and nothing else, so that who connects while no
//! larder runs waits in their backlog, whose length is the unit's (`Backlog=`). What can't be listened on is refused
//! in words for whoever wrote the unit.

use std::io;
use std::net::SocketAddr;
use std::os::fd::AsFd;
use std::os::unix::net::UnixListener;
use std::path::{Path, PathBuf};

use listenfd::ListenFd;

use super::endpoint::Endpoint;
use super::listen::{Accept, Listener};
use crate::error::{Error, Kind, Result};

/// What `FileDescriptorName=` of the unit calls the socket of the command line.
const ADMIN_NAME: &str = "admin";

/// What is handed over, as the unit calls it.
struct Place<'a> {
    index: usize,
    name: Option<&'a str>,
}

/// Takes all of them. `names` is `LISTEN_FDNAMES`: a name each, between colons.
///
/// # Errors
/// `Unavailable` naming the socket and what its unit should say.
pub(super) fn take(names: Option<&str>) -> Result<Vec<Listener>> {
    let mut handed = ListenFd::from_env();
    let names: Vec<&str> = names.map(|names| names.split(':').collect()).unwrap_or_default();
    let mut listeners: Vec<Listener> = Vec::new();
    for index in 0..handed.len() {
        let place = Place { index, name: names.get(index).copied().filter(|name| !name.is_empty()) };
        let listener = place.adopt(&mut handed)?;
        if listeners.iter().any(|known| known.endpoint == listener.endpoint) {
            let words = format!("{} is handed over twice; one ListenStream= is enough", listener.endpoint);
            return Err(place.refuse(&words));
        }
        if listener.admin && listeners.iter().any(|known| known.admin) {
            return Err(place.refuse("it is the second of that name; there is one admin socket"));
        }
        listeners.push(listener);
    }
    Ok(listeners)
}

// === impl Place ===

impl Place<'_> {
    fn refuse(&self, words: &str) -> Error {
        let name = self.name.map_or_else(String::new, |name| format!(" (`{name}`)"));
        let words = format!("adopt the inherited socket {}{name}: {words}", self.index);
        Error::new(Kind::Unavailable, words)
    }

    fn adopt(&self, handed: &mut ListenFd) -> Result<Listener> {
        let failed = |error: io::Error| self.refuse("it can't be used").because(error);
        let admin = self.name == Some(ADMIN_NAME);
        if let Ok(Some(listener)) = handed.take_tcp_listener(self.index) {
            self.check_that_it_listens(&listener)?;
            if admin {
                return Err(
                    self.refuse("the admin socket is a unix socket: it asks for no token; give a path")
                );
            }
            listener.set_nonblocking(true).map_err(failed)?;
            let address: SocketAddr = listener.local_addr().map_err(failed)?;
            let accept = Accept::Tcp(tokio::net::TcpListener::from_std(listener).map_err(failed)?);
            return Ok(Listener::adopted(Endpoint::Tcp(address), false, accept));
        }
        if let Ok(Some(listener)) = handed.take_unix_listener(self.index) {
            self.check_that_it_listens(&listener)?;
            listener.set_nonblocking(true).map_err(failed)?;
            let endpoint = Endpoint::Unix(path_of(&listener).map_err(failed)?);
            let accept = Accept::Unix(tokio::net::UnixListener::from_std(listener).map_err(failed)?);
            return Ok(Listener::adopted(endpoint, admin, accept));
        }
        let datagram = matches!(handed.take_udp_socket(self.index), Ok(Some(_)))
            || matches!(handed.take_unix_datagram(self.index), Ok(Some(_)));
        Err(self.refuse(if datagram {
            "it is for datagrams; the unit must say ListenStream=, not ListenDatagram="
        } else {
            "it is neither a TCP nor a unix stream socket; the unit must say ListenStream="
        }))
    }

    fn check_that_it_listens(&self, socket: impl AsFd) -> Result<()> {
        #[cfg(target_os = "linux")]
        if !rustix::net::sockopt::socket_acceptconn(socket).unwrap_or(true) {
            return Err(self.refuse("it is a connection, not a listener; the unit must say Accept=no"));
        }
        #[cfg(not(target_os = "linux"))]
        let _ = socket;
        Ok(())
    }
}

/// The path it is bound to; of an abstract one its name behind an `@`, as tools write it.
fn path_of(listener: &UnixListener) -> io::Result<PathBuf> {
    let address = listener.local_addr()?;
    if let Some(path) = address.as_pathname() {
        return Ok(Path::to_path_buf(path));
    }
    #[cfg(target_os = "linux")]
    if let Some(name) = std::os::linux::net::SocketAddrExt::as_abstract_name(&address) {
        return Ok(PathBuf::from(format!("@{}", String::from_utf8_lossy(name))));
    }
    Ok(PathBuf::from("(unnamed)"))
}
