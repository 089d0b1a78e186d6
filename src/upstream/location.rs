//! Where an upstream is: its URL, parsed once.
//!
//! ```text
//! file:///mnt/team/larder
//! s3://bucket[/prefix][?endpoint=https://host[:port]][&region=eu-central-1][&path_style=true][&allow_http=true]
//! ```
//!
//! Without an endpoint it is AWS. With one, the bucket is in the path unless `path_style=false`. Plain HTTP takes
//! `allow_http=true`, except to this machine itself. Keys are never in the URL: it is shown, logged and hashed.

use std::path::{Path, PathBuf};

use percent_encoding::{AsciiSet, CONTROLS, percent_decode_str, utf8_percent_encode};

use crate::error::{Error, Result};
use crate::key::ObjectName;

/// What a path or a query value can't hold unescaped.
const ESCAPED: &AsciiSet = &CONTROLS.add(b' ').add(b'#').add(b'%').add(b'&').add(b'?').add(b'+');

/// Where an upstream is.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Location(pub(super) Place);

#[derive(Debug, Clone, PartialEq, Eq)]
pub(super) enum Place {
    Folder(PathBuf),
    S3(Bucket),
}

/// A bucket, or a part of one.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(super) struct Bucket {
    pub(super) name: String,
    /// Without slashes around; empty for none.
    pub(super) prefix: String,
    /// Without a slash behind; `None` for AWS.
    pub(super) endpoint: Option<String>,
    pub(super) region: String,
    pub(super) path_style: bool,
    pub(super) allow_http: bool,
}

// === impl Location ===

impl Location {
    /// Parses an upstream URL.
    ///
    /// # Errors
    /// `Invalid`, naming the part that is wrong.
    pub fn parse(url: &str) -> Result<Self> {
        let (scheme, rest) = url.split_once("://").ok_or_else(|| {
            Error::invalid("an upstream is a URL: file:///folder or s3://bucket/prefix?endpoint=…&region=…")
        })?;
        match scheme {
            "file" => folder(rest).map(Place::Folder).map(Self),
            "s3" => Bucket::parse(rest).map(Place::S3).map(Self),
            _ => Err(Error::invalid(format!(
                "`{}` is not a kind of upstream: file or s3",
                scheme.escape_debug()
            ))),
        }
    }

    /// The canonical URL; nothing in it is secret.
    pub fn url(&self) -> String {
        match &self.0 {
            Place::Folder(path) => format!("file://{}", escape(&path.to_string_lossy())),
            Place::S3(bucket) => bucket.url(),
        }
    }

    /// Whether it takes keys.
    pub fn takes_credentials(&self) -> bool {
        match self.0 {
            Place::Folder(_) => false,
            Place::S3(_) => true,
        }
    }

    /// Whether names have shard folders on it: all kinds so far do.
    pub fn sharded(&self) -> bool {
        match self.0 {
            Place::Folder(_) | Place::S3(_) => true,
        }
    }

    /// What makes it the same store: not its region, nor how it is addressed.
    pub(super) fn identity(&self) -> String {
        match &self.0 {
            Place::Folder(_) => self.url(),
            Place::S3(bucket) => format!(
                "s3 {} {} {}",
                bucket.endpoint.as_deref().unwrap_or("aws"),
                bucket.name,
                bucket.prefix
            ),
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
}

// === impl Bucket ===

impl Bucket {
    fn parse(rest: &str) -> Result<Self> {
        let (place, query) = rest.split_once('?').unwrap_or((rest, ""));
        if place.contains('@') || query.contains('@') {
            return Err(Error::invalid(
                "an upstream URL can't hold keys: give them in the environment or in a file",
            ));
        }
        let (name, prefix) = place.split_once('/').unwrap_or((place, ""));
        let label = |byte: u8| byte.is_ascii_alphanumeric() || matches!(byte, b'-' | b'.' | b'_');
        if !(1..=255).contains(&name.len()) || !name.bytes().all(label) {
            return Err(Error::invalid("an s3 upstream begins with the name of its bucket: s3://bucket"));
        }
        let prefix = unescape(prefix.trim_matches('/'))?;
        if !prefix.is_empty() && ObjectName::parse(&prefix).is_none_or(|_| prefix.len() > 100) {
            return Err(Error::invalid(
                "the prefix of an upstream has an empty or a dot segment, or is over 100 bytes",
            ));
        }
        let mut bucket = Self {
            name: name.into(),
            prefix,
            endpoint: None,
            region: "us-east-1".into(),
            path_style: false,
            allow_http: false,
        };
        let mut path_style = None;
        for pair in query.split('&').filter(|pair| !pair.is_empty()) {
            let (key, value) = pair.split_once('=').unwrap_or((pair, "true"));
            let value = unescape(value)?;
            match key {
                "endpoint" => bucket.endpoint = Some(endpoint(&value)?),
                "region" if !value.is_empty() => bucket.region = value,
                "path_style" => path_style = Some(truth(key, &value)?),
                "allow_http" => bucket.allow_http = truth(key, &value)?,
                _ => {
                    return Err(Error::invalid(format!(
                        "`{}` of an s3 upstream is not known: endpoint, region, path_style, allow_http",
                        key.escape_debug()
                    )));
                }
            }
        }
        bucket.path_style = path_style.unwrap_or(bucket.endpoint.is_some());
        bucket.check_transport()?;
        Ok(bucket)
    }

    /// Whether it is spoken to without TLS.
    pub(super) fn is_plain(&self) -> bool {
        self.endpoint.as_deref().is_some_and(|endpoint| endpoint.starts_with("http://"))
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
        let mut url =
            format!("s3://{}{slash}{}?region={}", self.name, escape(&self.prefix), escape(&self.region));
        if let Some(endpoint) = &self.endpoint {
            url.push_str("&endpoint=");
            url.push_str(&escape(endpoint));
        }
        if self.path_style != self.endpoint.is_some() {
            url.push_str(if self.path_style { "&path_style=true" } else { "&path_style=false" });
        }
        if self.allow_http {
            url.push_str("&allow_http=true");
        }
        url
    }
}

fn folder(rest: &str) -> Result<PathBuf> {
    let path = unescape(rest)?;
    let path = Path::new(&path);
    if !path.is_absolute() || rest.contains('?') || path.components().count() < 2 {
        return Err(Error::invalid("a folder upstream is file:// and an absolute path: file:///mnt/team"));
    }
    // Without `.`, doubled and trailing slashes.
    Ok(path.components().collect())
}

fn endpoint(text: &str) -> Result<String> {
    let text = text.trim_end_matches('/');
    let host = text.strip_prefix("https://").or_else(|| text.strip_prefix("http://"));
    match host {
        Some(host) if !host.is_empty() && !host.bytes().any(|byte| b"?#@ ".contains(&byte)) => {
            Ok(text.into())
        }
        _ => Err(Error::invalid("the endpoint of an upstream is https://host[:port]")),
    }
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

fn truth(key: &str, value: &str) -> Result<bool> {
    match value {
        "true" | "1" => Ok(true),
        "false" | "0" => Ok(false),
        _ => Err(Error::invalid(format!("`{key}` of an upstream is true or false"))),
    }
}

fn unescape(text: &str) -> Result<String> {
    percent_decode_str(text)
        .decode_utf8()
        .map(|text| text.into_owned())
        .map_err(|_| Error::invalid("an upstream URL is not UTF-8"))
}

fn escape(text: &str) -> String {
    utf8_percent_encode(text, ESCAPED).to_string()
}

#[cfg(test)]
mod tests {
    use super::*;

    fn bucket(url: &str) -> Bucket {
        match Location::parse(url).unwrap().0 {
            Place::S3(bucket) => bucket,
            Place::Folder(_) => panic!("{url} is a bucket"),
        }
    }

    #[test]
    fn canonical_urls_parse_to_themselves() {
        for (given, canonical) in [
            ("file:///mnt//team/./x/", "file:///mnt/team/x"),
            ("file:///a%20b", "file:///a%20b"),
            ("s3://b", "s3://b?region=us-east-1"),
            ("s3://b/", "s3://b?region=us-east-1"),
            ("s3://b/p/q/?region=eu", "s3://b/p/q?region=eu"),
            (
                "s3://b/p?endpoint=http://127.0.0.1:9/",
                "s3://b/p?region=us-east-1&endpoint=http://127.0.0.1:9&allow_http=true",
            ),
            (
                "s3://b?endpoint=https%3A%2F%2Fh&path_style=false",
                "s3://b?region=us-east-1&endpoint=https://h&path_style=false",
            ),
            ("s3://b?path_style", "s3://b?region=us-east-1&path_style=true"),
        ] {
            let location = Location::parse(given).unwrap();
            assert_eq!(location.url(), canonical);
            assert_eq!(Location::parse(canonical).unwrap(), location);
        }
    }

    #[test]
    fn what_is_wrong_is_named() {
        for (url, word) in [
            ("/mnt/x", "URL"),
            ("gs://b", "kind"),
            ("file://mnt", "absolute"),
            ("file:///", "absolute"),
            ("file:///x?y", "absolute"),
            ("s3://", "bucket"),
            ("s3://a b", "bucket"),
            ("s3://key:secret@b", "keys"),
            ("s3://b/a//c", "segment"),
            ("s3://b/../c", "segment"),
            ("s3://b?secret=x", "not known"),
            ("s3://b?region=", "not known"),
            ("s3://b?endpoint=host", "https"),
            ("s3://b?endpoint=http://host", "allow_http"),
            ("s3://b?endpoint=http://127.0.0.1.example.org", "allow_http"),
            ("s3://b?path_style=maybe", "true or false"),
            ("s3://b/%ff", "UTF-8"),
        ] {
            let error = Location::parse(url).expect_err(url).to_string();
            assert!(error.contains(word), "{url}: {error}");
        }
    }

    #[test]
    fn plain_http_is_for_this_machine_or_by_wish() {
        for endpoint in ["http://localhost:1", "http://127.0.0.9", "http://[::1]:1"] {
            assert!(bucket(&format!("s3://b?endpoint={endpoint}")).allow_http, "{endpoint}");
        }
        assert!(bucket("s3://b?endpoint=http://h&allow_http=true").allow_http);
        assert!(!bucket("s3://b?endpoint=https://h").allow_http);
    }

    #[test]
    fn a_region_does_not_make_it_another_store() {
        let identity = |url| Location::parse(url).unwrap().identity();
        assert_eq!(identity("s3://b/p?region=a"), identity("s3://b/p?region=b"));
        assert_ne!(identity("s3://b/p"), identity("s3://b/q"));
        assert_ne!(identity("s3://b/p"), identity("s3://b/p?endpoint=https://h"));
        let below = |url, prefix| Location::parse(url).unwrap().identity_below(prefix);
        for (url, prefix, same) in [
            ("s3://b", "p", "s3://b/p"),
            ("s3://b/p", "q r", "s3://b/p/q%20r"),
            ("file:///a", "b c", "file:///a/b%20c"),
        ] {
            assert_eq!(below(url, prefix), below(same, ""), "{same}");
        }
    }
}
