//! Where a request belongs: whose entries it means, in which namespace, on which upstream, by which policy.

use std::borrow::Borrow;
use std::sync::Arc;
use std::time::Duration;

use crate::digest::Function;
use crate::error::{Error, Result};

/// Whose entry it is: a user id. Part of every key from the first format on, so that sharing one daemon between
/// users who don't trust each other needs no migration.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash, PartialOrd, Ord)]
pub struct Owner(pub u32);

/// Which configured upstream a route reads from and writes to: its place in the configuration's list.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash, PartialOrd, Ord)]
pub struct UpstreamId(pub u16);

/// A namespace: `/`-separated segments, empty for none.
#[derive(Debug, Clone, PartialEq, Eq, Hash, PartialOrd, Ord)]
pub struct Namespace(Arc<str>);

/// Where a request belongs. Resolved once at the door and taken by every call of the cache.
#[derive(Debug, Clone, PartialEq, Eq, Hash)]
pub struct Scope {
    /// Whose entries are meant.
    pub owner: Owner,
    /// The namespace of named keys.
    pub namespace: Namespace,
    /// The upstream of this route; `None` for a purely local one.
    pub upstream: Option<UpstreamId>,
    /// What the namespace sets for itself.
    pub policy: Policy,
}

/// What a namespace may set for itself.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash, Default)]
pub struct Policy {
    /// `max_age`: how long a copy under a name that may change counts as fresh; `None` for what its protocol says.
    pub max_age: Option<Duration>,
    /// `digest`: what a digest is of whose function nobody names.
    pub digest: Function,
    /// `prefetch`: which links of an answered entry are brought here behind.
    pub prefetch: Prefetch,
}

/// Which links of an answered entry are brought here behind.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash, Default)]
pub enum Prefetch {
    /// Up to `prefetch_entry_max` each and `prefetch_max` in all.
    #[default]
    Small,
    /// Every one.
    All,
    /// None.
    Off,
}

/// First segments of the URL map; a namespace can't begin with one.
fn is_reserved_first(segment: &str) -> bool {
    matches!(segment, "gradle" | "ccache" | "blob" | "dav" | "maven" | "nix" | "go" | "larder" | "s3" | "-")
}

/// Segments that end a namespace in some protocol; a namespace can't contain one.
fn is_reserved_anywhere(segment: &str) -> bool {
    matches!(
        segment,
        "ac" | "cas"
            | "v1"
            | "v8"
            | "status"
            | "blobs"
            | "uploads"
            | "actions"
            | "actionResults"
            | "operations"
            | "capabilities"
            | "compressed-blobs"
    )
}

const NAMESPACE_BYTES_MAX: usize = 256;

// === impl Namespace ===

impl Namespace {
    /// The empty namespace.
    pub fn none() -> Self {
        Self(Arc::from(""))
    }

    /// Parses `/`-separated segments. Leading, trailing and double slashes collapse.
    ///
    /// # Errors
    /// `Invalid` when it begins with a reserved first segment, has a reserved segment, a `.` or `..` segment, a
    /// control byte, or is over 256 bytes.
    pub fn parse(text: &str) -> Result<Self> {
        if text.len() > NAMESPACE_BYTES_MAX {
            return Err(Error::invalid(format!("namespace has {} bytes, at most 256 are taken", text.len())));
        }
        if text.bytes().any(|byte| byte.is_ascii_control()) {
            return Err(Error::invalid("a namespace can't have a control byte"));
        }
        if !text.is_empty() && !text.as_bytes().contains(&b'/') {
            check_segment(text, true)?; // what nearly all are, on the hot path
            return Ok(Self(text.into()));
        }
        let segments: Vec<&str> = text.split('/').filter(|segment| !segment.is_empty()).collect();
        for (at, segment) in segments.iter().enumerate() {
            check_segment(segment, at == 0)?;
        }
        Ok(Self(segments.join("/").into()))
    }

    /// The text, `""` for none.
    pub fn as_str(&self) -> &str {
        &self.0
    }
}

fn check_segment(segment: &str, is_first: bool) -> Result<()> {
    if is_first && is_reserved_first(segment) {
        return Err(Error::invalid(format!("a namespace can't begin with the reserved word `{segment}`")));
    }
    if is_reserved_anywhere(segment) {
        return Err(Error::invalid(format!("a namespace can't contain the reserved word `{segment}`")));
    }
    if matches!(segment, "." | "..") {
        return Err(Error::invalid("a namespace can't have a dot segment"));
    }
    Ok(())
}

/// So that a map of namespaces is asked for a part of a path as it is.
impl Borrow<str> for Namespace {
    fn borrow(&self) -> &str {
        &self.0
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn reserved_words_are_no_namespace() {
        for bad in ["blob/x", "x/ac", "x/cas/y", "-", "a/../b", "a/\u{7}", &"n".repeat(257)] {
            assert!(Namespace::parse(bad).is_err(), "{bad}");
        }
        assert_eq!(
            Namespace::parse("/team//web/").map(|ns| ns.as_str().to_owned()).ok(),
            Some("team/web".into())
        );
    }
}
