//! What a path and a host name.
//!
//! ```text
//! /{bucket}/{key…}        path style; what is before the bucket, the server has taken off
//! /{key…}                 where the host names the bucket
//! ```
//! The rest of a path is the key as it stands, with its double slashes, decoded once.

use crate::error::{Error, Result};
use crate::key::Name;
use crate::protocol::objects::query::decode;

/// What a path names.
#[derive(Debug)]
pub struct Route(pub(super) Target);

/// The same, taken apart.
#[derive(Debug)]
pub(super) enum Target {
    /// The list of buckets.
    Service,
    Bucket(String),
    Object(String, Name),
    /// Nothing that can be served, and S3's code for it.
    Refused(&'static str, Error),
}

const PATH_BYTES_MAX: usize = 8 << 10;

// === impl Route ===

impl Route {
    /// What a path names, as it came.
    pub fn parse(rest: &str, bucket_of_host: Option<&str>) -> Self {
        Self(Target::parse(rest, bucket_of_host).unwrap_or_else(|(code, error)| Target::Refused(code, error)))
    }
}

// === impl Target ===

impl Target {
    fn parse(rest: &str, of_host: Option<&str>) -> Result<Self, (&'static str, Error)> {
        if rest.len() > PATH_BYTES_MAX {
            let words = format!("the path has {} bytes, at most {PATH_BYTES_MAX} are taken", rest.len());
            return Err(("KeyTooLongError", Error::invalid(words)));
        }
        let rest = rest.strip_prefix('/').unwrap_or(rest);
        let (bucket, key) = match of_host {
            Some(bucket) => (bucket, rest),
            None => rest.split_once('/').unwrap_or((rest, "")),
        };
        let uri = |error| ("InvalidURI", error);
        let bucket = decode(bucket).map_err(uri)?;
        if bucket.is_empty() && key.is_empty() {
            return Ok(Self::Service);
        }
        check_bucket(&bucket).map_err(|error| ("InvalidBucketName", error))?;
        if key.is_empty() {
            return Ok(Self::Bucket(bucket));
        }
        let key = decode(key).map_err(uri)?;
        let code = if key.len() > 1024 { "KeyTooLongError" } else { "InvalidURI" };
        Ok(Self::Object(bucket, Name::parse(&key).map_err(|error| (code, error))?))
    }

    /// The bucket that is asked about.
    pub(super) fn bucket(&self) -> Option<&str> {
        match self {
            Self::Bucket(bucket) | Self::Object(bucket, _) => Some(bucket),
            Self::Service | Self::Refused(..) => None,
        }
    }
}

/// S3's rule, as far as a path can be a bucket.
fn check_bucket(name: &str) -> Result<()> {
    let known = |byte: u8| byte.is_ascii_lowercase() || byte.is_ascii_digit() || matches!(byte, b'-' | b'.');
    let ends = |char: Option<char>| char.is_some_and(|char| char.is_ascii_alphanumeric());
    let is_name = (3..=63).contains(&name.len())
        && name.bytes().all(known)
        && ends(name.chars().next())
        && ends(name.chars().next_back());
    if is_name {
        return Ok(());
    }
    Err(Error::invalid("a bucket has 3 to 63 lower-case letters, digits, dashes and dots: {bucket}/{key}"))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn paths_name_what_they_say() {
        let parsed = |path: &str, host| match Route::parse(path, host).0 {
            Target::Service => "service".to_owned(),
            Target::Bucket(bucket) => bucket,
            Target::Object(bucket, name) => format!("{bucket} {}", name.as_str()),
            Target::Refused(code, _) => code.to_owned(),
        };
        let long = format!("/bkt/{}", "x".repeat(1025));
        for (path, host, named) in [
            ("", None, "service"),
            ("/", None, "service"),
            ("/bkt", None, "bkt"),
            ("/bkt/", None, "bkt"),
            ("/bkt/a", None, "bkt a"),
            ("/bkt/a//b/", None, "bkt a//b/"),
            ("/bkt//a", None, "bkt /a"),
            ("/bkt/a%2Fb%20c%2525", None, "bkt a/b c%25"),
            ("/bkt/a+b", None, "bkt a+b"),
            ("/", Some("bkt"), "bkt"),
            ("/a/b", Some("bkt"), "bkt a/b"),
            ("//a", None, "InvalidBucketName"),
            ("/Bkt/a", None, "InvalidBucketName"),
            ("/../a", None, "InvalidBucketName"),
            ("/-bkt/a", None, "InvalidBucketName"),
            ("/bkt/%zz", None, "InvalidURI"),
            ("/bkt/%ff", None, "InvalidURI"),
            ("/bkt/%00", None, "InvalidURI"),
            (&long, None, "KeyTooLongError"),
        ] {
            assert_eq!(parsed(path, host), named, "{path}");
        }
    }
}
