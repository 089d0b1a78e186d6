//! Everything that is listened on: what a service manager handed over, and what the configuration wants besides.
//!
//! Off loopback every request needs a token, or its client a certificate: else it would be a cache that the whole
//! network may poison. Whether such an address may be listened on at all is the configuration's to decide, inherited or
//! not.

use std::path::Path;

use super::endpoint::Endpoint;
use super::handed;
use super::listen::{Listener, Wanted};
use crate::error::{Error, Kind, Result};

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

#[cfg(test)]
mod tests {
    use tokio::net::TcpListener;

    use super::super::listen::Accept;
    use super::*;

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
