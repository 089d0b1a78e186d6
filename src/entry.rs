//! The vocabulary of stored bytes: attributes, meta, claims, ranges, hits.

mod user;

use std::ops::Range;
use std::sync::Arc;

use crate::body::Body;
use crate::digest::Digest;
use crate::error::{Error, Kind, Result};

pub use user::CHECKSUM_PREFIX;

/// Small named strings that travel with an entry, here and upstream.
///
/// Names are `[a-z0-9]`, the form that every store carries as user metadata. Names and values together are at most
/// 2 KiB (S3's own limit). Sorted by name, each name once.
#[derive(Debug, Clone, PartialEq, Eq, Default)]
pub struct Attrs(Arc<[(String, String)]>);

/// What is known of a stored entry besides its bytes.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Meta {
    /// Bytes of the body.
    pub len: u64,
    /// The digest of the body: SHA-256 or BLAKE3 by key for content, BLAKE3 for what was put here by name; for a
    /// fill by name whatever digest its upstream attributes carried and was verified.
    pub digest: Option<Digest>,
    /// Without quotes. The same on every machine that shares an upstream.
    pub etag: Arc<str>,
    /// What the protocol and the client attached.
    pub attrs: Attrs,
    /// When it was put or fetched, in milliseconds since the Unix epoch.
    pub stored_ms: u64,
    /// The upstream's own ETag of these bytes, where known: what revalidation and overwriting compare with.
    pub origin_etag: Option<Arc<str>>,
}

/// What the sender says is coming. Checked before anything is published.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default)]
pub struct Claim {
    /// The announced length.
    pub len: Option<u64>,
    /// The announced digest, beyond what the key itself says.
    pub digest: Option<Digest>,
}

/// Which bytes of an entry are asked for.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default)]
pub enum ByteRange {
    /// All of them.
    #[default]
    Full,
    /// From this offset to the end.
    From(u64),
    /// From the first to the last offset, both included.
    Span(u64, u64),
    /// The last n bytes.
    Last(u64),
}

/// On what condition a write or a delete applies. The values are ETags without quotes.
#[derive(Debug, Clone, PartialEq, Eq, Default)]
pub enum Precondition {
    /// Always.
    #[default]
    None,
    /// Only over something that exists (`If-Match: *`).
    Exists,
    /// Only over one of these (`If-Match`).
    Matches(Vec<String>),
    /// Only if there is nothing (`If-None-Match: *`).
    Absent,
    /// Only if what is there is none of these (`If-None-Match`).
    Differs(Vec<String>),
}

/// Which tier answered.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash)]
pub enum Tier {
    /// The memory tier.
    Memory,
    /// The outbox: put here, not yet upstream.
    Outbox,
    /// The cache store.
    Disk,
    /// The upstream.
    Upstream,
}

/// An entry that is being answered. The ETag is fixed before the first byte.
#[derive(Debug)]
pub struct Hit {
    /// The entry.
    pub meta: Arc<Meta>,
    /// Which of its bytes the body yields.
    pub range: Range<u64>,
    /// The bytes; exactly `range` of them, or an error.
    pub body: Body,
    /// Who had it.
    pub from: Tier,
}

/// At most this many bytes of attribute names and values.
pub const ATTRS_BYTES_MAX: usize = 2048;

// === impl Attrs ===

impl Attrs {
    /// Checks and sorts.
    ///
    /// # Errors
    /// `Invalid` for a name outside `[a-z0-9]`, a value with a control or non-ASCII byte, a name given twice, or
    /// over 2 KiB in all.
    pub fn new(pairs: impl IntoIterator<Item = (String, String)>) -> Result<Self> {
        let mut pairs: Vec<(String, String)> = pairs.into_iter().collect();
        pairs.sort();
        let bytes: usize = pairs.iter().map(|(name, value)| name.len() + value.len()).sum();
        if bytes > ATTRS_BYTES_MAX {
            return Err(Error::invalid(format!(
                "attributes have {bytes} bytes, at most {ATTRS_BYTES_MAX} are taken"
            )));
        }
        for (name, value) in &pairs {
            if name.is_empty() || !name.bytes().all(|byte| byte.is_ascii_lowercase() || byte.is_ascii_digit())
            {
                return Err(Error::invalid(format!(
                    "attribute name `{}` is not [a-z0-9]",
                    name.escape_debug()
                )));
            }
            if !value.bytes().all(|byte| (b' '..=b'~').contains(&byte)) {
                return Err(Error::invalid(format!(
                    "attribute `{name}` has a byte that no header can carry"
                )));
            }
        }
        if let Some(pair) = pairs.windows(2).find(|pair| pair[0].0 == pair[1].0) {
            return Err(Error::invalid(format!("attribute `{}` is given twice", pair[0].0)));
        }
        Ok(Self(pairs.into()))
    }

    /// The value of this name.
    pub fn get(&self, name: &str) -> Option<&str> {
        self.0.iter().find(|(known, _)| known == name).map(|(_, value)| value.as_str())
    }

    /// The same without these names.
    #[must_use]
    pub fn without(&self, names: &[&str]) -> Self {
        let kept = self.0.iter().filter(|(name, _)| !names.contains(&name.as_str()));
        Self(kept.cloned().collect())
    }

    /// These and those; those win.
    ///
    /// # Errors
    /// As [`Attrs::new`].
    pub fn and(&self, those: impl IntoIterator<Item = (String, String)>) -> Result<Self> {
        let those: Vec<(String, String)> = those.into_iter().collect();
        let names: Vec<&str> = those.iter().map(|(name, _)| name.as_str()).collect();
        let kept = self.without(&names).0.to_vec();
        Self::new(kept.into_iter().chain(those))
    }

    /// All of them, by name.
    pub fn iter(&self) -> impl Iterator<Item = (&str, &str)> {
        self.0.iter().map(|(name, value)| (name.as_str(), value.as_str()))
    }

    /// Whether there are none.
    pub fn is_empty(&self) -> bool {
        self.0.is_empty()
    }
}

// === impl ByteRange ===

impl ByteRange {
    /// The offsets in a body of `len` bytes.
    ///
    /// # Errors
    /// `Invalid` when no byte of the body is in the range: HTTP's 416.
    pub fn resolve(self, len: u64) -> Result<Range<u64>> {
        let outside = || Error::new(Kind::Invalid, format!("the range is outside the body of {len} bytes"));
        match self {
            Self::Full => Ok(0..len),
            Self::From(first) if first < len => Ok(first..len),
            Self::Span(first, last) if first <= last && first < len => {
                Ok(first..len.min(last.saturating_add(1)))
            }
            Self::Last(count) if count > 0 && len > 0 => Ok(len.saturating_sub(count)..len),
            Self::From(_) | Self::Span(..) | Self::Last(_) => Err(outside()),
        }
    }
}

// === impl Precondition ===

impl Precondition {
    /// Whether it holds against what is there now.
    pub fn holds(&self, current_etag: Option<&str>) -> bool {
        match (self, current_etag) {
            (Self::None, _) | (Self::Exists, Some(_)) => true,
            (Self::Exists, None) | (Self::Absent, Some(_)) => false,
            (Self::Absent, None) => true,
            (Self::Matches(tags), Some(current)) => tags.iter().any(|tag| tag == current),
            (Self::Matches(_), None) => false,
            (Self::Differs(tags), Some(current)) => !tags.iter().any(|tag| tag == current),
            (Self::Differs(_), None) => true,
        }
    }
}

// === impl Tier ===

impl Tier {
    /// The word in logs, stats and metrics.
    pub fn name(self) -> &'static str {
        match self {
            Self::Memory => "memory",
            Self::Outbox => "outbox",
            Self::Disk => "disk",
            Self::Upstream => "upstream",
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn ranges_resolve_as_rfc_9110_says() {
        assert_eq!(ByteRange::Full.resolve(0).ok(), Some(0..0));
        assert_eq!(ByteRange::From(3).resolve(10).ok(), Some(3..10));
        assert_eq!(ByteRange::Span(3, 5).resolve(10).ok(), Some(3..6));
        assert_eq!(ByteRange::Span(3, u64::MAX).resolve(10).ok(), Some(3..10));
        assert_eq!(ByteRange::Last(4).resolve(10).ok(), Some(6..10));
        assert_eq!(ByteRange::Last(40).resolve(10).ok(), Some(0..10));
        for (range, len) in [
            (ByteRange::From(10), 10),
            (ByteRange::Span(10, 11), 10),
            (ByteRange::Span(5, 4), 10),
            (ByteRange::Last(0), 10),
            (ByteRange::Last(1), 0),
            (ByteRange::From(0), 0),
        ] {
            assert!(range.resolve(len).is_err(), "{range:?} of {len}");
        }
    }

    #[test]
    fn attributes_are_what_every_store_can_carry() {
        let attrs = Attrs::new([("b".into(), "2".into()), ("a".into(), "1".into())]).expect("valid");
        assert_eq!(attrs.iter().collect::<Vec<_>>(), [("a", "1"), ("b", "2")]);
        for (name, value) in
            [("A", "x"), ("a-b", "x"), ("", "x"), ("a", "x\n"), ("a", "é"), ("a", &"v".repeat(2048))]
        {
            assert!(Attrs::new([(name.into(), value.into())]).is_err(), "{name}={value}");
        }
        assert!(Attrs::new([("a".into(), "1".into()), ("a".into(), "2".into())]).is_err());
    }

    #[test]
    fn preconditions() {
        let matches = Precondition::Matches(vec!["x".into()]);
        let differs = Precondition::Differs(vec!["x".into()]);
        for (condition, none, x, y) in [
            (Precondition::None, true, true, true),
            (Precondition::Exists, false, true, true),
            (Precondition::Absent, true, false, false),
            (matches, false, true, false),
            (differs, true, false, true),
        ] {
            assert_eq!(
                [condition.holds(None), condition.holds(Some("x")), condition.holds(Some("y"))],
                [none, x, y],
                "{condition:?}"
            );
        }
    }
}
