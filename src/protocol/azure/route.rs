//! What a path and a query name.
//!
//! ```text
//! /{container}/{blob…}?comp=…      the account is the first segment, which the server has taken off
//! ```
//!
//! The rest of a path is the blob's name as it stands, with its double slashes, decoded once. Queries are additive: the
//! parameters of a SAS, `timeout` and whatever else comes along are looked over.

use crate::error::{Error, Result};
use crate::key::Name;
use crate::protocol::objects::query::decode;

/// What a path names.
#[derive(Debug)]
pub struct Route(pub(super) Target);

/// The same, taken apart.
#[derive(Debug)]
pub(super) enum Target {
    Account,
    Container(String),
    Blob(String, Name),
    /// Nothing that can be served.
    Refused(Error),
}

const PATH_BYTES_MAX: usize = 8 << 10;

// === impl Route ===

impl Route {
    /// What a path below the account names, as it came.
    pub fn parse(rest: &str) -> Self {
        Self(Target::parse(rest).unwrap_or_else(Target::Refused))
    }
}

// === impl Target ===

impl Target {
    fn parse(rest: &str) -> Result<Self> {
        if rest.len() > PATH_BYTES_MAX {
            return Err(Error::invalid(format!(
                "the path has {} bytes, at most {PATH_BYTES_MAX} are taken",
                rest.len()
            )));
        }
        let rest = rest.strip_prefix('/').unwrap_or(rest);
        let (container, blob) =
            rest.split_once('/').map_or((rest, ""), |(container, blob)| (container, blob));
        let container = decode(container)?;
        if container.is_empty() && blob.is_empty() {
            return Ok(Self::Account);
        }
        check_container(&container)?;
        if blob.is_empty() {
            return Ok(Self::Container(container));
        }
        Ok(Self::Blob(container, Name::parse(&decode(blob)?)?))
    }

    /// The container that is asked about.
    pub(super) fn container(&self) -> Option<&str> {
        match self {
            Self::Container(container) | Self::Blob(container, _) => Some(container),
            Self::Account | Self::Refused(_) => None,
        }
    }
}

/// Azure's rule, and `$root` and its likes, which no key of ours names.
fn check_container(name: &str) -> Result<()> {
    let known = |byte: u8| byte.is_ascii_lowercase() || byte.is_ascii_digit() || byte == b'-';
    if (3..=63).contains(&name.len()) && name.bytes().all(known) {
        return Ok(());
    }
    Err(Error::invalid(
        "a container has 3 to 63 lower-case letters, digits and dashes: /larder/{container}/{blob}",
    ))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn paths_name_what_they_say() {
        let parsed = |path: &str| match Route::parse(path).0 {
            Target::Account => "account".to_owned(),
            Target::Container(container) => container,
            Target::Blob(container, name) => format!("{container} {}", name.as_str()),
            Target::Refused(error) => format!("refused: {}", error.message()),
        };
        for (path, named) in [
            ("", "account"),
            ("/", "account"),
            ("/cache", "cache"),
            ("/cache/", "cache"),
            ("/cache/a", "cache a"),
            ("/cache/a//b/", "cache a//b/"),
            ("/cache//a", "cache /a"),
            ("/cache/a%2Fb%20c%2525", "cache a/b c%25"),
            ("/cache/%C3%A4", "cache ä"),
        ] {
            assert_eq!(parsed(path), named, "{path}");
        }
        let long = format!("/cache/{}", "x".repeat(1025));
        for bad in [
            "//a",
            "/Cache/a",
            "/ca/a",
            "/cache/%zz",
            "/cache/%",
            "/cache/%ff",
            "/cache/%00",
            "/a b/c",
            &long,
            "/$root/x",
        ] {
            assert!(parsed(bad).starts_with("refused"), "{bad}: {}", parsed(bad));
        }
    }
}
