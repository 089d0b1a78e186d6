//! Where an upstream is: its URL, parsed once.
//!
//! ```text
//! file:///mnt/team/larder
//! s3://bucket[/prefix][?endpoint=https://host[:port]][&region=eu-central-1][&path_style=true][&allow_http=true]
//! azure://container[/prefix]?account=name[&endpoint=https://host[:port][/name]][&allow_http=true]      also az://
//! gs://bucket[/prefix][?endpoint=https://host[:port]][&allow_http=true]                                also gcs://
//! grpc://host:port[/instance], grpcs://host[:port][/instance]                                         see [`reapi`]
//! https://host[:port][/prefix][?dialect=larder][&ca=FILE][&certificate=FILE&key=FILE]                  see [`server`]
//! http://host[:port][/prefix][?dialect=larder][&allow_http=true]
//! ```
//!
//! Without an endpoint it is Amazon's, the account's own host at Microsoft, Google's. With one, an S3 bucket is in the
//! path unless `path_style=false`. Plain HTTP takes `allow_http=true`, except to this machine itself. Keys are never in
//! the URL: it is shown, logged and hashed.

mod options;
mod reapi;
mod server;

use std::path::{Component, Path, PathBuf};

use percent_encoding::{AsciiSet, CONTROLS, percent_decode_str, utf8_percent_encode};

use self::options::Options;
pub(super) use self::reapi::{Files, Service};
pub(super) use self::server::{CcacheLayout, Dialect, Server};
use crate::error::{Error, Result};
use crate::key::{Names, ObjectName};

/// What a path or a query value can't hold unescaped.
const ESCAPED: &AsciiSet = &CONTROLS.add(b' ').add(b'#').add(b'%').add(b'&').add(b'?').add(b'+');

/// Of a file of certificates, or of a key, that a location names: more than the roots of all authorities need.
pub(super) const FILE_BYTES_MAX: u64 = 4 << 20;

/// Where an upstream is.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Location(pub(super) Place);

#[derive(Debug, Clone, PartialEq, Eq)]
pub(super) enum Place {
    Folder(PathBuf),
    Bucket(Bucket),
    Reapi(Service),
    Server(Server),
}

/// A bucket (Azure: a container), or a part of one.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(super) struct Bucket {
    pub(super) kind: Kind,
    pub(super) name: String,
    /// Without slashes around; empty for none.
    pub(super) prefix: String,
    /// Without a slash behind; `None` for the cloud's own.
    pub(super) endpoint: Option<String>,
    pub(super) allow_http: bool,
}

/// Whose dialect a bucket speaks.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(super) enum Kind {
    S3 { region: String, path_style: bool },
    Azure { account: String },
    Google,
}

// === impl Location ===

impl Location {
    /// Parses an upstream URL.
    ///
    /// # Errors
    /// `Invalid`, naming the part that is wrong.
    pub fn parse(url: &str) -> Result<Self> {
        let (scheme, rest) = url.split_once("://").ok_or_else(|| {
            Error::invalid(
                "an upstream is a URL: file:///folder, s3://bucket/prefix?endpoint=…&region=…, \
                 azure://container/prefix?account=…, gs://bucket/prefix, https://host/prefix or grpcs://host/instance",
            )
        })?;
        let bucket = |scheme| Bucket::parse(scheme, rest).map(Place::Bucket).map(Self);
        match scheme {
            "file" => folder(rest).map(Place::Folder).map(Self),
            "s3" => bucket("s3"),
            "azure" | "az" => bucket("azure"),
            "gs" | "gcs" => bucket("gs"),
            "grpc" | "grpcs" => Service::parse(scheme == "grpcs", rest).map(Place::Reapi).map(Self),
            "http" | "https" => Server::parse(scheme, rest).map(Place::Server).map(Self),
            _ => Err(Error::invalid(format!(
                "`{}` is not a kind of upstream: file, s3, azure, gs, http, https, grpc or grpcs",
                scheme.escape_debug()
            ))),
        }
    }

    /// The canonical URL; nothing in it is secret.
    pub fn url(&self) -> String {
        match &self.0 {
            Place::Folder(path) => format!("file://{}", escape(&path.to_string_lossy())),
            Place::Bucket(bucket) => bucket.url(),
            Place::Reapi(service) => service.url(),
            Place::Server(server) => server.url(),
        }
    }

    /// Whether it takes keys.
    pub fn takes_credentials(&self) -> bool {
        match self.0 {
            Place::Folder(_) => false,
            Place::Bucket(_) | Place::Server(_) | Place::Reapi(_) => true,
        }
    }

    /// In which form it has its names: Google's buckets and what is asked by digest have no shard folders.
    pub fn names(&self) -> Names {
        match &self.0 {
            Place::Bucket(Bucket { kind: Kind::Google, .. }) | Place::Reapi(_) => Names::Flat,
            Place::Folder(_) | Place::Bucket(_) => Names::Sharded,
            Place::Server(server) => server.names(),
        }
    }

    /// What makes it the same store: not its region, nor how it is addressed.
    pub(super) fn identity(&self) -> String {
        match &self.0 {
            Place::Folder(_) => self.url(),
            Place::Reapi(service) => service.identity(),
            Place::Server(server) => server.identity(),
            Place::Bucket(Bucket { kind, name, prefix, endpoint, .. }) => {
                let at = |own| endpoint.as_deref().unwrap_or(own);
                match kind {
                    Kind::S3 { .. } => format!("s3 {} {name} {prefix}", at("aws")),
                    Kind::Azure { account } => format!("azure {} {account} {name} {prefix}", at("azure")),
                    Kind::Google => format!("gs {} {name} {prefix}", at("google")),
                }
            }
        }
    }

    /// The same of a place below it: one place has one, whichever way it is reached.
    pub fn identity_below(&self, prefix: &str) -> String {
        match &self.0 {
            Place::Folder(path) if !prefix.is_empty() => Self(Place::Folder(path.join(prefix))).identity(),
            _ if prefix.is_empty() => self.identity(),
            _ => {
                let identity = self.identity();
                let slash = if identity.ends_with([' ', '/']) { "" } else { "/" };
                format!("{identity}{slash}{prefix}")
            }
        }
    }

    /// A stable hash of that: what queue rows call the place.
    pub fn tag_below(&self, prefix: &str) -> u64 {
        let mut tag = [0; 8];
        tag.copy_from_slice(&blake3::hash(self.identity_below(prefix).as_bytes()).as_bytes()[..8]);
        u64::from_le_bytes(tag)
    }
}

// === impl Bucket ===

impl Bucket {
    /// Parses what follows `{scheme}://`.
    fn parse(scheme: &str, rest: &str) -> Result<Self> {
        let (place, query) = rest.split_once('?').unwrap_or((rest, ""));
        if place.contains('@') || query.contains('@') {
            return Err(Error::invalid(if scheme == "azure" {
                "an azure upstream URL can't hold keys, and has nothing before an `@`: give keys in the environment or \
                 in a file, and the account as in azure://container/prefix?account=acme"
            } else {
                "an upstream URL can't hold keys: give them in the environment or in a file"
            }));
        }
        if rest.contains('#') {
            return Err(Error::invalid("an upstream URL has no fragment: write a `#` of a name as %23"));
        }
        let (name, prefix) = place.split_once('/').unwrap_or((place, ""));
        check_name(scheme, name)?;
        let prefix = unescape(prefix.trim_matches('/'))?;
        if !prefix.is_empty() && ObjectName::parse(&prefix).is_none_or(|_| prefix.len() > 100) {
            return Err(Error::invalid(
                "the prefix of an upstream has an empty or a dot segment, a control character, or is over 100 bytes: \
                 name it by plain words, as in s3://bucket/teams/web",
            ));
        }
        let options = Options::parse(scheme, query)?;
        let mut bucket = Self {
            name: name.into(),
            prefix,
            allow_http: options.allow_http,
            kind: match scheme {
                "azure" => Kind::Azure { account: options.account()? },
                "gs" => Kind::Google,
                _ => Kind::S3 {
                    region: options.region.unwrap_or_else(|| "us-east-1".into()),
                    path_style: options.path_style.unwrap_or(options.endpoint.is_some()),
                },
            },
            endpoint: options.endpoint,
        };
        if bucket.own_endpoint().is_some_and(|own| bucket.endpoint.as_ref() == Some(&own)) {
            bucket.endpoint = None;
        }
        bucket.check_transport()?;
        Ok(bucket)
    }

    /// Whether it is spoken to without TLS.
    pub(super) fn is_plain(&self) -> bool {
        self.endpoint.as_deref().is_some_and(|endpoint| endpoint.starts_with("http://"))
    }

    /// What the cloud's own endpoint would be called. Amazon's are many.
    fn own_endpoint(&self) -> Option<String> {
        match &self.kind {
            Kind::S3 { .. } => None,
            Kind::Azure { account } => Some(format!("https://{account}.blob.core.windows.net")),
            Kind::Google => Some("https://storage.googleapis.com".into()),
        }
    }

    fn check_transport(&mut self) -> Result<()> {
        let Some(host) = self.endpoint.as_deref().and_then(|endpoint| endpoint.strip_prefix("http://"))
        else {
            return Ok(());
        };
        self.allow_http |= is_this_machine(host);
        if self.allow_http {
            return Ok(());
        }
        Err(Error::invalid(
            "the endpoint of an upstream is plain HTTP: names and bytes can be read and changed on the way; use \
             https, or say allow_http=true",
        ))
    }

    fn url(&self) -> String {
        let slash = if self.prefix.is_empty() { "" } else { "/" };
        let (scheme, mut options) = match &self.kind {
            Kind::S3 { region, .. } => ("s3", vec![format!("region={}", escape(region))]),
            Kind::Azure { account } => ("azure", vec![format!("account={account}")]),
            Kind::Google => ("gs", Vec::new()),
        };
        if let Some(endpoint) = &self.endpoint {
            options.push(format!("endpoint={}", escape(endpoint)));
        }
        if let Kind::S3 { path_style, .. } = self.kind
            && path_style != self.endpoint.is_some()
        {
            options.push(format!("path_style={path_style}"));
        }
        if self.allow_http {
            options.push("allow_http=true".into());
        }
        let mark = if options.is_empty() { "" } else { "?" };
        format!("{scheme}://{}{slash}{}{mark}{}", self.name, escape(&self.prefix), options.join("&"))
    }
}

/// What the cloud would refuse with words of its own, on the first request only.
fn check_name(scheme: &str, name: &str) -> Result<()> {
    let only = |marks: &[u8]| {
        name.bytes().all(|b| b.is_ascii_lowercase() || b.is_ascii_digit() || marks.contains(&b))
    };
    let ends = |byte: u8| byte.is_ascii_alphanumeric();
    let bounded = name.bytes().next().is_some_and(ends) && name.bytes().last().is_some_and(ends);
    let label = |byte: u8| byte.is_ascii_alphanumeric() || matches!(byte, b'-' | b'.' | b'_');
    // Two dots would climb out of an endpoint that has the bucket in its path.
    let bounded = bounded && !name.contains("..");
    let (good, words) = match scheme {
        "azure" => (
            (3..=63).contains(&name.len()) && only(b"-") && bounded && !name.contains("--"),
            "an azure upstream begins with the name of its container, 3 to 63 lower-case letters, digits and single \
             dashes: azure://container",
        ),
        "gs" => (
            (3..=222).contains(&name.len()) && only(b"-_.") && bounded,
            "a gs upstream begins with the name of its bucket, 3 to 222 lower-case letters, digits, dashes, dots and \
             underscores: gs://bucket",
        ),
        _ => (
            (1..=255).contains(&name.len()) && name.bytes().all(label) && bounded,
            "an s3 upstream begins with the name of its bucket, letters, digits, dashes, dots and underscores: \
             s3://bucket, and another host than Amazon's as endpoint=https://host",
        ),
    };
    if good { Ok(()) } else { Err(Error::invalid(words)) }
}

fn folder(rest: &str) -> Result<PathBuf> {
    if rest.contains('?') {
        return Err(Error::invalid(
            "a folder upstream takes no option but read_only: file:///mnt/team; write a `?` of its name as %3F",
        ));
    }
    let path = unescape(rest)?;
    let path = Path::new(&path);
    if !path.is_absolute() || path.components().count() < 2 {
        return Err(Error::invalid("a folder upstream is file:// and an absolute path: file:///mnt/team"));
    }
    // One folder has one name: behind a link, `..` is not what it seems.
    if path.components().any(|part| part == Component::ParentDir) || rest.contains("%00") {
        return Err(Error::invalid(
            "a folder upstream has a `..` or a zero byte in its path: say where it is, as in file:///mnt/team",
        ));
    }
    // Without `.`, doubled and trailing slashes.
    Ok(path.components().collect())
}

fn is_this_machine(host: &str) -> bool {
    let host = host.split('/').next().unwrap_or(host);
    let name = match host.rsplit_once(':') {
        Some((name, port)) if port.bytes().all(|byte| byte.is_ascii_digit()) => name,
        _ => host,
    };
    let name = name.trim_start_matches('[').trim_end_matches(']');
    name == "localhost" || name.parse::<std::net::IpAddr>().is_ok_and(|address| address.is_loopback())
}

fn unescape(text: &str) -> Result<String> {
    percent_decode_str(text)
        .decode_utf8()
        .map(|text| text.into_owned())
        .map_err(|_| Error::invalid("an upstream URL is not UTF-8: write é as %C3%A9"))
}

fn escape(text: &str) -> String {
    utf8_percent_encode(text, ESCAPED).to_string()
}

#[cfg(test)]
mod tests;
