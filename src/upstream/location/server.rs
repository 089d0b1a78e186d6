//! A server that is asked by plain HTTP.
//!
//! ```text
//! http(s)://host[:port][/prefix][?dialect=larder|bazel|turborepo|nx|gradle|ccache|maven|plain]
//!          [&layout=subdirs|flat|bazel][&ca=FILE][&certificate=FILE&key=FILE][&allow_http=true]
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
    /// `/v1/cache/`, as Nx asks for it.
    Nx,
    /// Keys of Gradle right below the prefix.
    Gradle,
    /// Keys of ccache.
    Ccache(CcacheLayout),
    /// What the Maven build cache extension keeps.
    Maven,
    /// Every name is a path: a WebDAV folder.
    Plain,
}

/// How ccache writes a key into a path: its own option `layout`.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(in super::super) enum CcacheLayout {
    /// `{2}/{the rest}`, its default.
    Subdirs,
    /// The key.
    Flat,
    /// `ac/{64 hex}`.
    Bazel,
}

/// Their words.
const DIALECTS: [(&str, Dialect); 8] = [
    ("larder", Dialect::Larder),
    ("bazel", Dialect::Bazel),
    ("turborepo", Dialect::Turborepo),
    ("nx", Dialect::Nx),
    ("gradle", Dialect::Gradle),
    ("ccache", Dialect::Ccache(CcacheLayout::Subdirs)),
    ("maven", Dialect::Maven),
    ("plain", Dialect::Plain),
];

/// Likewise.
const LAYOUTS: [(&str, CcacheLayout); 3] =
    [("subdirs", CcacheLayout::Subdirs), ("flat", CcacheLayout::Flat), ("bazel", CcacheLayout::Bazel)];

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
        let (mut certificate, mut key, mut layout) = (None, None, None);
        for pair in query.split('&').filter(|pair| !pair.is_empty()) {
            let alone = if pair == "allow_http" { "true" } else { "" };
            let (name, value) = pair.split_once('=').unwrap_or((pair, alone));
            let value = unescape(value)?;
            match name {
                "dialect" => self.dialect = Dialect::parse(&value)?,
                "layout" => layout = Some(CcacheLayout::parse(&value)?),
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
                        "`{}` is no option of a URL that begins with {scheme}://; take one of dialect, layout, ca, \
                         certificate, key, allow_http, credential, credentials, read_only",
                        name.escape_debug()
                    )));
                }
            }
        }
        if let Some(layout) = layout {
            let Dialect::Ccache(_) = self.dialect else {
                return Err(Error::invalid(
                    "`layout` is how ccache writes its keys: say dialect=ccache, too",
                ));
            };
            self.dialect = Dialect::Ccache(layout);
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
        options.extend(self.dialect.layout().map(|layout| format!("layout={layout}")));
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
        let layout = self.dialect.layout().map(|layout| format!(" {layout}")).unwrap_or_default();
        format!("{}{layout} {} {}", self.dialect.name(), self.origin(), self.prefix)
    }

    pub(super) fn names(&self) -> Names {
        match self.dialect {
            Dialect::Plain => Names::Flat,
            Dialect::Larder
            | Dialect::Bazel
            | Dialect::Turborepo
            | Dialect::Nx
            | Dialect::Gradle
            | Dialect::Ccache(_)
            | Dialect::Maven => Names::Paths,
        }
    }
}

// === impl Dialect ===

impl Dialect {
    fn parse(word: &str) -> Result<Self> {
        let found = DIALECTS.iter().find(|(name, _)| *name == word);
        found.map(|(_, dialect)| *dialect).ok_or_else(|| {
            Error::invalid(
                "the dialect of an HTTP upstream is larder, bazel, turborepo, nx, gradle, ccache, maven or plain: \
                 dialect=bazel",
            )
        })
    }

    pub(in super::super) fn name(self) -> &'static str {
        match self {
            Self::Larder => "larder",
            Self::Bazel => "bazel",
            Self::Turborepo => "turborepo",
            Self::Nx => "nx",
            Self::Gradle => "gradle",
            Self::Ccache(_) => "ccache",
            Self::Maven => "maven",
            Self::Plain => "plain",
        }
    }

    /// That of ccache, where it isn't the default.
    fn layout(self) -> Option<&'static str> {
        match self {
            Self::Ccache(CcacheLayout::Flat) => Some("flat"),
            Self::Ccache(CcacheLayout::Bazel) => Some("bazel"),
            _ => None,
        }
    }

    /// Whether a server of files does, which has pages in HTML for what it hasn't.
    pub(in super::super) fn is_of_files(self) -> bool {
        match self {
            Self::Bazel | Self::Gradle | Self::Ccache(_) | Self::Maven | Self::Plain => true,
            Self::Larder | Self::Turborepo | Self::Nx => false,
        }
    }
}

// === impl CcacheLayout ===

impl CcacheLayout {
    fn parse(word: &str) -> Result<Self> {
        let found = LAYOUTS.iter().find(|(name, _)| *name == word);
        found.map(|(_, layout)| *layout).ok_or_else(|| {
            Error::invalid(
                "the layout of a ccache server is subdirs, flat or bazel, as ccache is told it: layout=flat",
            )
        })
    }
}

fn file(name: &str, value: String) -> Result<PathBuf> {
    if value.is_empty() || value == "true" {
        return Err(Error::invalid(format!("`{name}` of an upstream names a file: {name}=/path")));
    }
    Ok(value.into())
}
