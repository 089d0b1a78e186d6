//! Where a cache that speaks the Remote Execution API is.
//!
//! ```text
//! grpc://host[:port][/instance][?allow_http=true]
//! grpcs://host[:port][/instance][?ca=FILE][&certificate=FILE&key=FILE]
//! ```

use std::path::PathBuf;

use super::options::{is_host, is_secret, truth};
use super::{escape, is_this_machine, unescape};
use crate::error::{Error, Result};

/// A server, and an instance of it.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(in super::super) struct Service {
    pub(in super::super) is_tls: bool,
    /// A name or an address; of IPv6 without its brackets.
    pub(in super::super) host: String,
    pub(in super::super) port: u16,
    /// Without slashes around; empty for none.
    pub(in super::super) instance: String,
    allow_http: bool,
    pub(in super::super) files: Files,
}

/// What TLS takes besides the platform's roots. Read anew for each connection.
#[derive(Debug, Clone, PartialEq, Eq, Default)]
pub(in super::super) struct Files {
    /// Further roots, PEM.
    pub(in super::super) ca: Option<PathBuf>,
    /// Our own certificate and those above it, and its key; both PEM.
    pub(in super::super) own: Option<(PathBuf, PathBuf)>,
}

/// What an instance can't have in it: these begin what follows it in a resource name.
const RESERVED: [&str; 7] =
    ["blobs", "uploads", "actions", "actionResults", "operations", "capabilities", "compressed-blobs"];

const OPTIONS: &str = "credentials, ca, certificate, key, allow_http, read_only";

// === impl Service ===

impl Service {
    /// Parses what follows `grpc://` or `grpcs://`.
    pub(super) fn parse(is_tls: bool, rest: &str) -> Result<Self> {
        let (place, query) = rest.split_once('?').unwrap_or((rest, ""));
        if place.contains('@') {
            return Err(Error::invalid(
                "an upstream URL can't hold keys: give the token in LARDER_UPSTREAM_TOKEN or in a file, as \
                 credentials=FILE",
            ));
        }
        if rest.contains('#') {
            return Err(Error::invalid("an upstream URL has no fragment: write a `#` of a name as %23"));
        }
        let (authority, instance) = place.split_once('/').unwrap_or((place, ""));
        if !is_host(authority) {
            return Err(Error::invalid(
                "a grpc upstream is grpc://host:port or grpcs://host:port, and an instance behind it where the \
                 server has some: grpcs://cache.example.com:443/team",
            ));
        }
        let (host, port) = match authority.rsplit_once(':') {
            Some((host, port)) if !port.ends_with(']') => (host, port.parse().ok()),
            _ => (authority, Some(if is_tls { 443 } else { 80 })),
        };
        let port = port.ok_or_else(|| Error::invalid("the port of a grpc upstream is 1 to 65535"))?;
        let instance = unescape(instance.trim_matches('/'))?;
        let is_plain = |segment: &str| {
            !segment.is_empty()
                && !RESERVED.contains(&segment)
                && !segment.bytes().any(|b| b.is_ascii_control())
        };
        if instance.len() > 256 || !(instance.is_empty() || instance.split('/').all(is_plain)) {
            return Err(Error::invalid(format!(
                "the instance of a grpc upstream has an empty segment, a control character, one of {}, or is over 256 \
                 bytes",
                RESERVED.join(", ")
            )));
        }
        let host = host.trim_start_matches('[').trim_end_matches(']').to_ascii_lowercase();
        let mut service = Self { is_tls, host, port, instance, allow_http: false, files: Files::default() };
        service.options(query)?;
        service.check_transport()?;
        Ok(service)
    }

    fn options(&mut self, query: &str) -> Result<()> {
        let (mut certificate, mut key) = (None, None);
        for pair in query.split('&').filter(|pair| !pair.is_empty()) {
            let (name, value) = pair.split_once('=').unwrap_or((pair, ""));
            let value = unescape(value)?;
            let file = || {
                let path = Some(PathBuf::from(&value)).filter(|path| path.is_absolute());
                path.ok_or_else(|| {
                    Error::invalid(format!("`{name}` of an upstream is a file: {name}=/path.pem"))
                })
            };
            match name {
                "allow_http" if value.is_empty() => self.allow_http = true,
                "allow_http" => self.allow_http = truth(name, &value)?,
                "ca" => self.files.ca = Some(file()?),
                "certificate" => certificate = Some(file()?),
                "key" => key = Some(file()?),
                name if is_secret(name) => {
                    return Err(Error::invalid(format!(
                        "`{}` is a key, and an upstream URL can't hold keys: give it in the environment or in a file",
                        name.escape_debug()
                    )));
                }
                name => {
                    return Err(Error::invalid(format!(
                        "`{}` is no option of a URL that begins with grpc:// or grpcs://; take one of {OPTIONS}",
                        name.escape_debug()
                    )));
                }
            }
        }
        self.files.own = match (certificate, key) {
            (Some(certificate), Some(key)) => Some((certificate, key)),
            (None, None) => None,
            _ => {
                return Err(Error::invalid(
                    "`certificate` and `key` of an upstream go together: give both, or neither",
                ));
            }
        };
        Ok(())
    }

    fn check_transport(&mut self) -> Result<()> {
        if self.is_tls {
            return Ok(());
        }
        if self.files != Files::default() {
            return Err(Error::invalid(
                "`ca`, `certificate` and `key` are of TLS: begin the URL with grpcs://",
            ));
        }
        self.allow_http |= is_this_machine(&self.authority());
        if self.allow_http {
            return Ok(());
        }
        Err(Error::invalid(
            "a grpc:// upstream is plain: the token, names and bytes can be read and changed on the way; use grpcs://, \
             or say allow_http=true",
        ))
    }

    /// The same server, an instance below this one.
    pub(in super::super) fn below(&self, prefix: &str) -> Self {
        let slash = if self.instance.is_empty() || prefix.is_empty() { "" } else { "/" };
        Self { instance: format!("{}{slash}{prefix}", self.instance), ..self.clone() }
    }

    /// `host:port`.
    pub(in super::super) fn authority(&self) -> String {
        let Self { host, port, .. } = self;
        if host.contains(':') { format!("[{host}]:{port}") } else { format!("{host}:{port}") }
    }

    pub(super) fn url(&self) -> String {
        let scheme = if self.is_tls { "grpcs" } else { "grpc" };
        let slash = if self.instance.is_empty() { "" } else { "/" };
        let mut options = Vec::new();
        let mut file = |name: &str, path: &PathBuf| {
            options.push(format!("{name}={}", escape(&path.to_string_lossy())));
        };
        self.files.ca.iter().for_each(|ca| file("ca", ca));
        if let Some((certificate, key)) = &self.files.own {
            file("certificate", certificate);
            file("key", key);
        }
        if self.allow_http {
            options.push("allow_http=true".into());
        }
        let mark = if options.is_empty() { "" } else { "?" };
        format!("{scheme}://{}{slash}{}{mark}{}", self.authority(), escape(&self.instance), options.join("&"))
    }

    /// What makes it the same store: not how it is reached.
    pub(super) fn identity(&self) -> String {
        format!("reapi {} {}", self.authority(), self.instance)
    }
}

#[cfg(test)]
mod tests {
    use super::super::Location;
    use crate::key::Names;

    fn refused(url: &str) -> String {
        Location::parse(url).expect_err(url).to_string()
    }

    #[test]
    fn urls_and_what_they_are_called() {
        for (url, canonical, identity) in [
            ("grpcs://cache.depot.dev", "grpcs://cache.depot.dev:443", "reapi cache.depot.dev:443 "),
            (
                "grpc://127.0.0.1:9092/team/web/",
                "grpc://127.0.0.1:9092/team/web?allow_http=true",
                "reapi 127.0.0.1:9092 team/web",
            ),
            ("grpc://[::1]:1/", "grpc://[::1]:1?allow_http=true", "reapi [::1]:1 "),
            (
                "grpcs://Cache:1/i?ca=/a.pem&certificate=/b.pem&key=/c.pem",
                "grpcs://cache:1/i?ca=/a.pem&certificate=/b.pem&key=/c.pem",
                "reapi cache:1 i",
            ),
            ("grpc://far:1?allow_http", "grpc://far:1?allow_http=true", "reapi far:1 "),
        ] {
            let location = Location::parse(url).expect(url);
            assert_eq!((location.url(), location.identity()), (canonical.into(), identity.into()));
            assert_eq!(Location::parse(&location.url()).expect("canonical"), location);
            assert!(location.takes_credentials() && location.names() == Names::Flat);
        }
    }

    #[test]
    fn what_is_wrong_is_named() {
        for (url, word) in [
            ("grpc://far:1", "grpcs://"),
            ("grpcs://me:s3cret@far", "LARDER_UPSTREAM_TOKEN"),
            ("grpcs://", "grpcs://host:port"),
            ("grpcs://far:0", "grpcs://host:port"),
            ("grpcs://far/a//b", "empty segment"),
            ("grpcs://far/a/blobs", "compressed-blobs"),
            ("grpcs://far?token=s3cret", "can't hold keys"),
            ("grpcs://far?region=x", "no option"),
            ("grpcs://far?ca=x.pem", "ca=/path.pem"),
            ("grpcs://far?key=/x.pem", "go together"),
            ("grpc://localhost:1?ca=/x.pem", "of TLS"),
        ] {
            let words = refused(url);
            assert!(words.contains(word) && !words.contains("s3cret"), "{url}: {words}");
        }
    }
}
