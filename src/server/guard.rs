//! No web page reaches the daemon: the check of `Host`, `Origin` and `Sec-Fetch-Site` before any frontend.
//!
//! A page in a browser can send requests to loopback, and with a name that it points there (DNS rebinding) can read
//! the answers. Such requests carry an `Origin`, a `Sec-Fetch-Site`, or that name as their `Host`; no build tool
//! sends one of these.

use std::net::IpAddr;

use hyper::header::{HOST, HeaderName, HeaderValue, ORIGIN};
use hyper::{HeaderMap, Uri, Version};

use super::listen::Gate;
use super::virtual_host::{self, S3Host};
use super::visit::Visit;

const SEC_FETCH_SITE: HeaderName = HeaderName::from_static("sec-fetch-site");

/// Which `Host`s are ours.
#[derive(Debug, Clone)]
pub(super) struct Guard {
    allow_hosts: Vec<String>,
}

// === impl Guard ===

impl Guard {
    /// `allow_hosts`: further names, without a port.
    pub(super) fn new(allow_hosts: Vec<String>) -> Self {
        Self { allow_hosts }
    }

    /// Whether a request may come in, and what its host stands for if that is one of S3's; else the words for the 403.
    /// By a unix socket, which no page reaches, clients name any host; by a listener off loopback also the address that
    /// they came to. By TLS also the names of the certificate: a page that points another name here gets no answer.
    pub(super) fn check<'a>(
        &self,
        uri: &'a Uri,
        version: Version,
        headers: &'a HeaderMap,
        visit: &Visit,
    ) -> Result<Option<S3Host<'a>>, String> {
        // One pass, because every request comes by here and look-ups by name hash the name each time.
        let (mut host, mut hosts) = (None, 0);
        for (name, value) in headers {
            if *name == HOST {
                (host, hosts) = (Some(value), hosts + 1);
            } else if *name == ORIGIN {
                return Err(
                    "a request with an Origin comes from a web page, which may not use this cache".into()
                );
            } else if *name == SEC_FETCH_SITE && !matches!(value.as_bytes(), b"none" | b"same-origin") {
                return Err("a request from another site's web page may not use this cache".into());
            }
        }
        let host = match (uri.authority(), host.map(HeaderValue::to_str), hosts) {
            (Some(authority), ..) => authority.host(),
            (None, Some(Ok(host)), 1) => without_port(host),
            (None, None, _) if version < Version::HTTP_11 => return Ok(None),
            _ if visit.unix => return Ok(None),
            _ => return Err("the request needs one Host header".into()),
        };
        if is_usual(host) {
            return Ok(None);
        }
        let s3 = virtual_host::of(host, &self.allow_hosts, visit.only);
        if visit.unix
            || s3.is_some()
            || is_loopback(host)
            || (is_open(visit.gate) && visit.local.is_some() && address_of(host) == visit.local)
            || visit.secure.as_ref().is_some_and(|secure| secure.names(host))
            || self.allow_hosts.iter().any(|allowed| allowed.eq_ignore_ascii_case(host))
        {
            return Ok(s3);
        }
        Err(format!(
            "host `{}` is not loopback; name it in `allow_hosts` if it is meant",
            host.escape_debug()
        ))
    }
}

/// Whether the network may come by it.
fn is_open(gate: Gate) -> bool {
    matches!(gate, Gate::Tokens | Gate::Certificates)
}

/// What all but a few say.
fn is_usual(host: &str) -> bool {
    matches!(host, "127.0.0.1" | "localhost")
}

/// `localhost`, or an address that is loopback: exactly the names that no DNS server answers for.
fn is_loopback(host: &str) -> bool {
    address_of(host).is_some_and(|ip| ip.is_loopback()) || host.eq_ignore_ascii_case("localhost")
}

fn address_of(host: &str) -> Option<IpAddr> {
    let address = host.strip_prefix('[').and_then(|rest| rest.strip_suffix(']')).unwrap_or(host);
    address.parse::<IpAddr>().ok().map(|ip| ip.to_canonical())
}

fn without_port(host: &str) -> &str {
    match host.rsplit_once(':') {
        Some((name, port)) if port.bytes().all(|byte| byte.is_ascii_digit()) && !name.ends_with(':') => name,
        _ => host,
    }
}

#[cfg(test)]
mod tests {
    use super::super::identity::Caller;
    use super::*;

    fn check(host: Option<&str>, header: Option<(HeaderName, &str)>, unix: bool) -> Result<(), String> {
        let mut headers = HeaderMap::new();
        if let Some(host) = host {
            headers.insert(HOST, host.parse().expect("a value"));
        }
        if let Some((name, value)) = header {
            headers.insert(name, value.parse().expect("a value"));
        }
        let guard = Guard::new(vec!["cache.test".into()]);
        let visit = Visit {
            caller: Caller::Admitted,
            unix,
            local: None,
            gate: Gate::Users,
            only: None,
            secure: None,
        };
        guard.check(&Uri::from_static("/cas/x"), Version::HTTP_11, &headers, &visit).map(drop)
    }

    #[test]
    fn off_loopback_the_address_that_was_come_to_is_a_host() {
        let local = Some("192.168.0.1".parse().expect("an address"));
        let check = |gate, host: &str| {
            let visit =
                Visit { caller: Caller::Admitted, unix: false, local, gate, only: None, secure: None };
            let headers = HeaderMap::from_iter([(HOST, host.parse().expect("a value"))]);
            Guard::new(Vec::new()).check(&Uri::from_static("/"), Version::HTTP_11, &headers, &visit).is_ok()
        };
        assert!(check(Gate::Tokens, "192.168.0.1:5273"));
        assert!(!check(Gate::Tokens, "192.168.0.2:5273") && !check(Gate::Tokens, "cache.test"));
        assert!(!check(Gate::Users, "192.168.0.1:5273"));
    }

    #[test]
    fn hosts() {
        for good in [
            "127.0.0.1",
            "127.0.0.1:5273",
            "127.1.2.3:1",
            "localhost",
            "LocalHost:5273",
            "[::1]:5273",
            "[::1]",
            "cache.test:80",
            "CACHE.test",
        ] {
            assert_eq!(check(Some(good), None, false), Ok(()), "{good}");
        }
        for bad in
            ["evil.test", "127.0.0.1.evil.test", "localhost.evil.test", "192.168.0.1:5273", "[::2]", ""]
        {
            assert!(check(Some(bad), None, false).is_err(), "{bad}");
            assert_eq!(check(Some(bad), None, true), Ok(()), "{bad} by a unix socket");
        }
        assert!(check(None, None, false).is_err());
        assert_eq!(check(None, None, true), Ok(()));
    }

    #[test]
    fn pages_are_refused_on_every_socket() {
        for unix in [false, true] {
            for (name, value) in [
                (ORIGIN, "null"),
                (ORIGIN, "http://127.0.0.1:5273"),
                (SEC_FETCH_SITE, "cross-site"),
                (SEC_FETCH_SITE, "same-site"),
            ] {
                assert!(check(Some("127.0.0.1"), Some((name, value)), unix).is_err(), "{value}");
            }
            for value in ["none", "same-origin"] {
                assert_eq!(check(Some("127.0.0.1"), Some((SEC_FETCH_SITE, value)), unix), Ok(()));
            }
        }
    }
}
