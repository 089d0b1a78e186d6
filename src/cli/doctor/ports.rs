//! The listeners: does our daemon answer there, is this user let in, and if not, who has the port.

use std::net::SocketAddr;
use std::time::Duration;

use futures_util::future::join_all;
use serde::Deserialize;

use super::ask::{self, Silence};
use super::daemon;
use super::finding::Finding;
use super::socket::SOCKET_BYTES_MAX;
use crate::config::Config;
use crate::daemon::default_endpoints;
use crate::server::{Endpoint, Wanted, listener_of};

/// An answer takes far less.
const WITHIN: Duration = Duration::from_secs(2);

const CHECK: &str = "port";

/// How a listener with TLS answers who doesn't speak it.
const SPEAKS_TLS: &str = "this port speaks TLS";

/// All listeners, as they were seen.
#[derive(Debug)]
pub(super) struct Facts {
    ports: Vec<Port>,
    /// Paths of unix sockets that are too long.
    long: Vec<(String, usize)>,
    /// The daemon that the admin socket leads to.
    daemon: Option<u32>,
    /// Somebody is behind the admin socket.
    runs: bool,
}

#[derive(Debug)]
struct Port {
    address: SocketAddr,
    /// It may be absent: `[::1]` on machines without IPv6.
    optional: bool,
    /// One protocol has the root there, and the daemon's own pages are not.
    only: bool,
    heard: Heard,
    /// Who listens there, where the machine says it.
    holder: Option<String>,
}

#[derive(Debug, Clone, PartialEq, Eq)]
enum Heard {
    Nobody,
    Hangs,
    /// A daemon, by its id.
    Larder(u32),
    /// It wants a token.
    Token,
    /// A daemon's, by TLS: [`super::tls`] looks at that.
    Tls,
    /// A daemon that doesn't let this user in, in its words.
    Stranger(String),
    /// Something else, in words.
    Other(String),
}

/// What tells a daemon from others.
#[derive(Debug, Deserialize)]
struct Page {
    pid: u32,
    #[serde(rename = "version")]
    _version: String,
}

// === impl Facts ===

impl Facts {
    /// Asks each listener of the configuration, all at once.
    pub(super) async fn look(config: &Config, daemon: &daemon::Facts) -> Self {
        let defaults = default_endpoints();
        let defaults = if config.listen_default { &defaults[..] } else { &[] };
        let wanted: Vec<&Wanted> = config.listen.iter().chain(defaults).collect();
        let tcp = wanted.iter().filter_map(|wanted| match &wanted.endpoint {
            Endpoint::Tcp(address) => Some((*address, wanted.optional, wanted.only.is_some())),
            Endpoint::Unix(_) => None,
        });
        let ports = tcp.map(|(address, optional, only)| async move {
            let heard = hear(address).await;
            // A walk over all processes: not on the thread that answers are waited for on.
            let holder = match heard {
                Heard::Nobody => None,
                _ => tokio::task::spawn_blocking(move || listener_of(address)).await.ok().flatten(),
            };
            Port { address, optional, only, heard, holder }
        });
        let long = wanted.iter().filter_map(|wanted| match &wanted.endpoint {
            Endpoint::Unix(path) if path.as_os_str().len() > SOCKET_BYTES_MAX => {
                Some((path.display().to_string(), path.as_os_str().len()))
            }
            _ => None,
        });
        Self {
            long: long.collect(),
            ports: join_all(ports).await,
            daemon: daemon.stats().map(|stats| stats.pid),
            runs: daemon.runs(),
        }
    }

    pub(super) fn findings(&self) -> Vec<Finding> {
        let long = self.long.iter().map(|(path, length)| {
            Finding::problem(
                CHECK,
                format!("the path unix:{path} has {length} bytes, and a socket's takes {SOCKET_BYTES_MAX}"),
                "choose a shorter one in `listen`",
            )
        });
        self.ports.iter().map(|port| self.finding(port)).chain(long).collect()
    }

    fn finding(&self, port: &Port) -> Finding {
        let address = port.address;
        let holder = port.holder.as_deref().unwrap_or("another process");
        let is_held_by_daemon = self.daemon.is_some_and(|pid| {
            port.holder.as_ref().is_some_and(|held| held.starts_with(&format!("pid {pid} ")))
        });
        match &port.heard {
            Heard::Nobody if !self.runs => Finding::ok(CHECK, format!("{address} is free for the daemon")),
            Heard::Nobody if port.optional => Finding::ok(
                CHECK,
                format!(
                    "{address} is not listened on: this machine had no such address when the daemon started"
                ),
            ),
            Heard::Nobody => Finding::problem(
                CHECK,
                format!("a daemon runs, and nobody listens on {address}"),
                "give --config and --listen as the daemon has them, or restart it with these",
            ),
            Heard::Larder(pid) if self.daemon == Some(*pid) => {
                Finding::ok(CHECK, format!("the daemon answers on {address}, and lets this user in"))
            }
            Heard::Larder(pid) => Finding::problem(
                CHECK,
                format!("on {address} another larder answers (pid {pid}), not the one of this folder"),
                "end one of them, or give them listeners of their own (`listen`, --listen); --dir says which is meant",
            ),
            Heard::Token => Finding::ok(CHECK, format!("{address} is for those who have a token")),
            Heard::Tls => Finding::ok(CHECK, format!("{address} speaks TLS")),
            Heard::Stranger(words) => Finding::problem(
                CHECK,
                format!("the daemon on {address} doesn't let this user in: {words}"),
                "name this user in `access.users` of the daemon's configuration",
            ),
            Heard::Other(_) | Heard::Hangs if port.only && is_held_by_daemon => {
                Finding::ok(CHECK, format!("the daemon has {address}, for one protocol alone"))
            }
            Heard::Hangs => Finding::problem(
                CHECK,
                format!("{address} is held by {holder}, which doesn't answer within {} s", WITHIN.as_secs()),
                "if that is the daemon, see above; else end it, or choose another address with `listen` or --listen",
            ),
            Heard::Other(words) => Finding::problem(
                CHECK,
                format!("{address} is taken by {holder}, which is no larder: {words}"),
                "end it, or choose another address with `listen` or --listen, and tell the tools",
            ),
        }
    }
}

async fn hear(address: SocketAddr) -> Heard {
    // Who listens on all addresses is asked at one of this machine's own.
    let mut at = address;
    if address.ip().is_unspecified() {
        at.set_ip(match address {
            SocketAddr::V4(_) => std::net::Ipv4Addr::LOCALHOST.into(),
            SocketAddr::V6(_) => std::net::Ipv6Addr::LOCALHOST.into(),
        });
    }
    match ask::tcp(at, "/-/stats", WITHIN).await {
        Err(Silence::Nobody) => Heard::Nobody,
        Err(Silence::Hangs) => Heard::Hangs,
        Err(Silence::Forbidden) => Heard::Other("the machine doesn't let this user connect".into()),
        Err(Silence::Broken(words)) => Heard::Other(format!("no HTTP ({words})")),
        Ok(reply) if reply.status == 401 => Heard::Token,
        Ok(reply) if reply.status == 400 && reply.words().starts_with(SPEAKS_TLS) => Heard::Tls,
        Ok(reply) if reply.status == 403 && reply.words().contains("larder") => {
            Heard::Stranger(reply.words())
        }
        Ok(reply) => match serde_json::from_slice::<Page>(&reply.body) {
            Ok(page) if reply.status == 200 => Heard::Larder(page.pid),
            // A web server's whole page is no help.
            _ => Heard::Other(format!("it answers HTTP {}", reply.status)),
        },
    }
}

#[cfg(test)]
mod tests {
    use super::super::finding::Level;
    use super::*;

    fn finding(heard: Heard, change: impl Fn(&mut Facts)) -> Finding {
        let port = Port {
            address: "127.0.0.1:5273".parse().expect("an address"),
            optional: false,
            only: false,
            heard,
            holder: Some("pid 12 (larder) of user me".into()),
        };
        let mut facts = Facts { ports: vec![port], long: Vec::new(), daemon: Some(12), runs: true };
        change(&mut facts);
        facts.findings().remove(0)
    }

    #[test]
    fn ours_free_and_optional_ones_are_fine() {
        let level = |heard, change: fn(&mut Facts)| finding(heard, change).level;
        assert_eq!(level(Heard::Larder(12), |_| ()), Level::Ok);
        assert_eq!(level(Heard::Token, |_| ()), Level::Ok);
        assert_eq!(level(Heard::Tls, |_| ()), Level::Ok);
        assert_eq!(level(Heard::Nobody, |facts| facts.runs = false), Level::Ok);
        assert_eq!(level(Heard::Nobody, |facts| facts.ports[0].optional = true), Level::Ok);
        assert_eq!(level(Heard::Other("HTTP 403".into()), |facts| facts.ports[0].only = true), Level::Ok);
    }

    #[test]
    fn what_is_wrong_is_named_with_who_it_is() {
        let found = finding(Heard::Other("it answers HTTP 200".into()), |facts| {
            facts.ports[0].holder = Some("pid 99 (nginx) of user www".into());
        });
        assert_eq!(found.level, Level::Problem);
        assert!(found.words.contains("pid 99 (nginx) of user www"), "{found:?}");
        let found = finding(Heard::Larder(13), |_| ());
        assert!(found.words.contains("another larder answers (pid 13)"), "{found:?}");
        let found = finding(Heard::Stranger("this larder belongs to uid 5".into()), |_| ());
        assert!(found.words.contains("uid 5") && found.remedy.is_some_and(|r| r.contains("access.users")));
        assert_eq!(finding(Heard::Nobody, |_| ()).level, Level::Problem);
        assert!(finding(Heard::Hangs, |_| ()).words.contains("doesn't answer"));
        let mut facts =
            Facts { ports: Vec::new(), long: vec![("/x".into(), 120)], daemon: None, runs: false };
        assert!(facts.findings().remove(0).words.contains("120 bytes"));
        facts.long.clear();
        assert!(facts.findings().is_empty());
    }
}
