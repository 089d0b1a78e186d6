//! `If-Match`, `If-None-Match`, `If-Modified-Since`, `If-Unmodified-Since`, `If-Range`: RFC 9110 section 13.
//!
//! A read is judged against what was found ([`verdict`]); a write carries its condition down to where it is decided
//! ([`precondition`]). The time of a copy is when it came here, so a date can only be trusted on the machine that
//! gave it; ETags are the same on every machine that shares an upstream.

use std::time::SystemTime;

use hyper::header::{HeaderMap, HeaderName, HeaderValue};
use hyper::header::{IF_MATCH, IF_MODIFIED_SINCE, IF_NONE_MATCH, IF_RANGE, IF_UNMODIFIED_SINCE, RANGE};

use super::modified;
use crate::entry::{Meta, Precondition};
use crate::error::{Error, Result};

/// What the conditions of a read come to.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum Verdict {
    /// Answer it.
    Answer,
    /// The client has it: 304.
    NotModified,
    /// What it expects is not what is there: 412.
    Failed,
}

/// The entity tags of one header.
enum Tags<'a> {
    Any,
    /// Weak or not, and the tag without its quotes.
    These(Vec<(bool, &'a str)>),
}

/// Whether a read asks for the whole entry whatever it is: the hot path, in one pass over what is mostly two headers.
pub(crate) fn is_plain(headers: &HeaderMap) -> bool {
    const ASKING: [HeaderName; 5] = [RANGE, IF_MATCH, IF_NONE_MATCH, IF_MODIFIED_SINCE, IF_UNMODIFIED_SINCE];
    !headers.keys().any(|name| ASKING.contains(name))
}

/// Judges a GET or HEAD against what was found, in the RFC's order.
pub(crate) fn verdict(headers: &HeaderMap, found: &Meta) -> Verdict {
    // A header that doesn't parse names no tag: If-Match then fails, If-None-Match answers.
    if let Some(value) = headers.get(IF_MATCH) {
        if !tags(value).is_some_and(|tags| tags.strongly_names(&found.etag)) {
            return Verdict::Failed;
        }
    } else if let Some(since) = date(headers, IF_UNMODIFIED_SINCE)
        && modified(found.stored_ms).is_some_and(|modified| modified > since)
    {
        return Verdict::Failed;
    }
    if let Some(value) = headers.get(IF_NONE_MATCH) {
        if tags(value).is_some_and(|tags| tags.names(&found.etag)) {
            return Verdict::NotModified;
        }
    } else if let Some(since) = date(headers, IF_MODIFIED_SINCE)
        && modified(found.stored_ms).is_some_and(|modified| modified <= since)
    {
        return Verdict::NotModified;
    }
    Verdict::Answer
}

/// Whether a `Range` counts: without `If-Range`, or when that still names what was found.
pub(crate) fn apply_range(headers: &HeaderMap, found: &Meta) -> bool {
    let Some(value) = headers.get(IF_RANGE) else { return true };
    match tags(value) {
        Some(tags) => tags.strongly_names(&found.etag),
        None => date(headers, IF_RANGE).is_some_and(|date| modified(found.stored_ms) == Some(date)),
    }
}

/// The condition of a write.
///
/// # Errors
/// `Invalid` for what doesn't parse, and for what can't be kept atomically: two conditions at once, or a date.
pub(crate) fn precondition(headers: &HeaderMap) -> Result<Precondition> {
    if headers.contains_key(IF_UNMODIFIED_SINCE) {
        return Err(Error::invalid("a write can't depend on a date; use If-Match with the ETag"));
    }
    let read = |name: HeaderName| match headers.get(&name) {
        None => Ok(None),
        Some(value) => {
            let words = || Error::invalid(format!("{name} is not `*` or a list of quoted entity tags"));
            tags(value).map(Some).ok_or_else(words)
        }
    };
    match (read(IF_MATCH)?, read(IF_NONE_MATCH)?) {
        (None, None) => Ok(Precondition::None),
        (Some(Tags::Any), None) => Ok(Precondition::Exists),
        (None, Some(Tags::Any)) => Ok(Precondition::Absent),
        (Some(Tags::These(tags)), None) => {
            // A weak tag never matches strongly.
            Ok(Precondition::Matches(owned(tags.into_iter().filter(|(weak, _)| !weak))))
        }
        (None, Some(Tags::These(tags))) => Ok(Precondition::Differs(owned(tags.into_iter()))),
        (Some(_), Some(_)) => Err(Error::invalid("a write takes If-Match or If-None-Match, not both")),
    }
}

fn owned<'a>(tags: impl Iterator<Item = (bool, &'a str)>) -> Vec<String> {
    tags.map(|(_, tag)| tag.to_owned()).collect()
}

fn date(headers: &HeaderMap, name: HeaderName) -> Option<SystemTime> {
    httpdate::parse_http_date(headers.get(name)?.to_str().ok()?).ok()
}

fn tags(value: &HeaderValue) -> Option<Tags<'_>> {
    let mut rest = value.to_str().ok()?.trim();
    if rest == "*" {
        return Some(Tags::Any);
    }
    let mut tags = Vec::new();
    loop {
        let weak = rest.strip_prefix("W/");
        let (tag, after) = weak.unwrap_or(rest).strip_prefix('"')?.split_once('"')?;
        tags.push((weak.is_some(), tag));
        rest = after.trim_start();
        if rest.is_empty() {
            return Some(Tags::These(tags));
        }
        rest = rest.strip_prefix(',')?.trim_start();
    }
}

// === impl Tags ===

impl Tags<'_> {
    fn names(&self, etag: &str) -> bool {
        match self {
            Self::Any => true,
            Self::These(tags) => tags.iter().any(|(_, tag)| *tag == etag),
        }
    }

    fn strongly_names(&self, etag: &str) -> bool {
        match self {
            Self::Any => true,
            Self::These(tags) => tags.contains(&(false, etag)),
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::entry::Attrs;

    const MINUTE_9: &str = "Sun, 06 Nov 1994 08:49:37 GMT";
    const BEFORE: &str = "Sun, 06 Nov 1994 08:49:36 GMT";

    fn found() -> Meta {
        Meta {
            len: 6,
            digest: None,
            etag: "x".into(),
            attrs: Attrs::default(),
            stored_ms: 784_111_777_900,
            origin_etag: None,
        }
    }

    fn headers(pairs: &[(HeaderName, &'static str)]) -> HeaderMap {
        pairs.iter().map(|(name, value)| (name.clone(), HeaderValue::from_static(value))).collect()
    }

    #[test]
    fn reads() {
        use Verdict::{Answer, Failed, NotModified};
        for (pairs, expected) in [
            (&[][..], Answer),
            (&[(IF_NONE_MATCH, "\"x\"")], NotModified),
            (&[(IF_NONE_MATCH, "W/\"x\"")], NotModified),
            (&[(IF_NONE_MATCH, "\"a,b\", \"x\"")], NotModified),
            (&[(IF_NONE_MATCH, "*")], NotModified),
            (&[(IF_NONE_MATCH, "\"y\"")], Answer),
            (&[(IF_NONE_MATCH, "x")], Answer),
            (&[(IF_MATCH, "\"x\"")], Answer),
            (&[(IF_MATCH, "*")], Answer),
            (&[(IF_MATCH, "W/\"x\"")], Failed),
            (&[(IF_MATCH, "\"y\"")], Failed),
            (&[(IF_MATCH, "\"x\""), (IF_NONE_MATCH, "\"x\"")], NotModified),
            (&[(IF_MODIFIED_SINCE, MINUTE_9)], NotModified),
            (&[(IF_MODIFIED_SINCE, BEFORE)], Answer),
            (&[(IF_MODIFIED_SINCE, "yesterday")], Answer),
            (&[(IF_NONE_MATCH, "\"y\""), (IF_MODIFIED_SINCE, MINUTE_9)], Answer),
            (&[(IF_UNMODIFIED_SINCE, MINUTE_9)], Answer),
            (&[(IF_UNMODIFIED_SINCE, BEFORE)], Failed),
        ] {
            assert_eq!(verdict(&headers(pairs), &found()), expected, "{pairs:?}");
        }
    }

    #[test]
    fn a_range_counts_while_the_entry_is_the_same() {
        for (value, counts) in [
            ("\"x\"", true),
            ("W/\"x\"", false),
            ("\"y\"", false),
            (MINUTE_9, true),
            (BEFORE, false),
            ("nonsense", false),
        ] {
            assert_eq!(apply_range(&headers(&[(IF_RANGE, value)]), &found()), counts, "{value}");
        }
        assert!(apply_range(&HeaderMap::new(), &found()));
    }

    #[test]
    fn writes() {
        for (pairs, expected) in [
            (&[][..], Precondition::None),
            (&[(IF_MATCH, "*")], Precondition::Exists),
            (&[(IF_NONE_MATCH, "*")], Precondition::Absent),
            (&[(IF_MATCH, "\"x\", W/\"y\"")], Precondition::Matches(vec!["x".into()])),
            (&[(IF_NONE_MATCH, "\"x\",W/\"y\"")], Precondition::Differs(vec!["x".into(), "y".into()])),
        ] {
            assert_eq!(precondition(&headers(pairs)).ok(), Some(expected), "{pairs:?}");
        }
        for pairs in [
            &[(IF_MATCH, "x")][..],
            &[(IF_MATCH, "\"x")],
            &[(IF_MATCH, "")],
            &[(IF_MATCH, "\"x\" \"y\"")],
            &[(IF_MATCH, "\"x\""), (IF_NONE_MATCH, "*")],
            &[(IF_UNMODIFIED_SINCE, MINUTE_9)],
        ] {
            assert!(precondition(&headers(pairs)).is_err(), "{pairs:?}");
        }
    }
}
