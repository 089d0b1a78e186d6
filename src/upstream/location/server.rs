//! A server that is asked by plain HTTP.
//!
//! ```text
//! http(s)://host[:port][/prefix][?dialect=larder|bazel|turborepo|plain][&ca=FILE][&certificate=FILE&key=FILE]
//!          [&allow_http=true]
//! ```

use std::path::PathBuf;

use super::options::{is_host, is_secret, truth};
use super::{escape, is_this_machine, unescape};
use crate::error::{Error, Result};
use crate::key::{Names, ObjectName};

/// Where a server is, and what it speaks.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(in super::super) struct Server {
    pub(in super::super) is_plain: bool,
    /// `host[:port]`, in lower case, without the scheme's own port.
    pub(in super::super) host: String,
    /// Without slashes around; empty for none.
    pub(in super::super) prefix: String,
    pub(in super::super) dialect: Dialect,
    /// A certificate authority besides the system's, in PEM.
    pub(in super::super) ca: Option<PathBuf>,
    /// The client's certificate and its key, in PEM.
    pub(in super::super) identity: Option<(PathBuf, PathBuf)>,
    allow_http: bool,
}

/// Whose paths a server has.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(in super::super) enum Dialect {
    /// All of Larder's own.
    Larder,
    /// `/ac/` and `/cas/`: bazel-remote, nginx.
    Bazel,
    /// `/v8/artifacts/`.
    Turborepo,
    /// Every name is a path: a WebDAV folder.
    Plain,
}

/// Their words.
const DIALECTS: [(&str, Dialect); 4] = [
    ("larder", Dialect::Larder),
    ("bazel", Dialect::Bazel),
    ("turborepo", Dialect::Turborepo),
    ("plain", Dialect::Plain),
];

/// Hosts whose objects are not got and put by plain HTTP.
const CLOUDS: [&str; 3] = ["amazonaws.com", "blob.core.windows.net", "googleapis.com"];

/// The names below have room for themselves.
const PREFIX_BYTES_MAX: usize = 100;

// === impl Server ===

impl Server {
    /// Parses what follows `{scheme}://`.
    pub(super) fn parse(scheme: &str, rest: &str) -> Result<Self> {
        let (place, query) = rest.split_once('?').unwrap_or((rest, ""));
        if place.contains('@') {
            return Err(Error::invalid(
                "an upstream URL can't hold a user or a password: put the token, or the header `Authorization: Basic …`, \
                 into a file that only you can read, and say credentials=FILE; or set LARDER_UPSTREAM_TOKEN",
            ));
        }
        if rest.contains('#') {
            return Err(Error::invalid("an upstream URL has no fragment: write a `#` of a name as %23"));
        }
        let is_plain = scheme == "http";
        let (host, prefix) = place.split_once('/').unwrap_or((place, ""));
        let own_port = if is_plain { ":80" } else { ":443" };
        let host = host.to_ascii_lowercase();
        let host = host.strip_suffix(own_port).unwrap_or(&host).to_owned();
        if !is_host(&host) {
            return Err(Error::invalid(
                "an HTTP upstream is https://host[:port][/prefix], with a name or an address: \
                 https://cache.example.com:9090",
            ));
        }
        if CLOUDS.iter().any(|cloud| host.split(':').next().is_some_and(|name| name.ends_with(cloud))) {
            return Err(Error::invalid(format!(
                "`{host}` is a cloud's object store: write it as s3://bucket/prefix, \
                 azure://container/prefix?account=… or gs://bucket/prefix"
            )));
        }
        let prefix = unescape(prefix.trim_end_matches('/'))?;
        if !prefix.is_empty() && (ObjectName::parse(&prefix).is_none() || prefix.len() > PREFIX_BYTES_MAX) {
            return Err(Error::invalid(
                "the path of an HTTP upstream has an empty or a dot segment, a control character, or is over 100 bytes: \
                 name it by plain words, as in https://host/teams/web",
            ));
        }
        let dialect = Dialect::Larder;
        let server = Self { is_plain, host, prefix, dialect, ca: None, identity: None, allow_http: false };
        server.with(scheme, query)?.checked()
    }

    fn with(mut self, scheme: &str, query: &str) -> Result<Self> {
        let (mut certificate, mut key) = (None, None);
        for pair in query.split('&').filter(|pair| !pair.is_empty()) {
            let alone = if pair == "allow_http" { "true" } else { "" };
            let (name, value) = pair.split_once('=').unwrap_or((pair, alone));
            let value = unescape(value)?;
            match name {
                "dialect" => self.dialect = Dialect::parse(&value)?,
                "ca" => self.ca = Some(file(name, value)?),
                "certificate" => certificate = Some(file(name, value)?),
                "key" => key = Some(file(name, value)?),
                "allow_http" => self.allow_http = truth(name, &value)?,
                name if is_secret(name) => {
                    return Err(Error::invalid(format!(
                        "`{name}` is a key, and an upstream URL can't hold keys: give it in the environment or in a file"
                    )));
                }
                name => {
                    return Err(Error::invalid(format!(
                        "`{}` is no option of a URL that begins with {scheme}://; take one of dialect, ca, certificate, \
                         key, allow_http, credential, credentials, read_only",
                        name.escape_debug()
                    )));
                }
            }
        }
        self.identity = match (certificate, key) {
            (Some(certificate), Some(key)) => Some((certificate, key)),
            (None, None) => None,
            _ => {
                return Err(Error::invalid(
                    "a client certificate is two files: certificate=/path and key=/path",
                ));
            }
        };
        Ok(self)
    }

    fn checked(mut self) -> Result<Self> {
        if !self.is_plain {
            return Ok(self);
        }
        if self.ca.is_some() || self.identity.is_some() {
            return Err(Error::invalid(
                "plain HTTP has no certificates: take https, or leave out ca, certificate and key",
            ));
        }
        self.allow_http |= is_this_machine(&self.host);
        if self.allow_http {
            return Ok(self);
        }
        Err(Error::invalid(
            "the upstream is plain HTTP: names, bytes and tokens can be read and changed on the way; use https, or say \
             allow_http=true",
        ))
    }

    /// `http://host` or `https://host`.
    pub(in super::super) fn origin(&self) -> String {
        format!("{}://{}", if self.is_plain { "http" } else { "https" }, self.host)
    }

    pub(super) fn url(&self) -> String {
        let slash = if self.prefix.is_empty() { "" } else { "/" };
        let mut options = Vec::new();
        if self.dialect != Dialect::Larder {
            options.push(format!("dialect={}", self.dialect.name()));
        }
        let path = |path: &PathBuf| escape(&path.to_string_lossy());
        options.extend(self.ca.iter().map(|file| format!("ca={}", path(file))));
        if let Some((certificate, key)) = &self.identity {
            options.push(format!("certificate={}", path(certificate)));
            options.push(format!("key={}", path(key)));
        }
        if self.allow_http {
            options.push("allow_http=true".into());
        }
        let mark = if options.is_empty() { "" } else { "?" };
        format!("{}{slash}{}{mark}{}", self.origin(), escape(&self.prefix), options.join("&"))
    }

    /// What makes it the same place. Its names hang on the dialect.
    pub(super) fn identity(&self) -> String {
        format!("{} {} {}", self.dialect.name(), self.origin(), self.prefix)
    }

    pub(super) fn names(&self) -> Names {
        match self.dialect {
            Dialect::Larder | Dialect::Bazel | Dialect::Turborepo => Names::Paths,
            Dialect::Plain => Names::Flat,
        }
    }
}

// === impl Dialect ===

impl Dialect {
    fn parse(word: &str) -> Result<Self> {
        let found = DIALECTS.iter().find(|(name, _)| *name == word);
        found.map(|(_, dialect)| *dialect).ok_or_else(|| {
            Error::invalid(
                "the dialect of an HTTP upstream is larder, bazel, turborepo or plain: dialect=bazel",
            )
        })
    }

    pub(in super::super) fn name(self) -> &'static str {
        match self {
            Self::Larder => "larder",
            Self::Bazel => "bazel",
            Self::Turborepo => "turborepo",
            Self::Plain => "plain",
        }
    }
}

fn file(name: &str, value: String) -> Result<PathBuf> {
    if value.is_empty() || value == "true" {
        return Err(Error::invalid(format!("`{name}` of an upstream names a file: {name}=/path")));
    }
    Ok(value.into())
}
