//! `Range` and `Content-Range`, as RFC 9110 section 14 has them.
//!
//! One range is served. Several are answered with the whole body, which the RFC allows and every client takes; a
//! header that doesn't parse is as none. What parses and has no byte of the body is 416.

use std::ops::Range;

use bytes::Bytes;
use hyper::header::{HeaderMap, HeaderValue, RANGE};

use crate::entry::ByteRange;

/// Which bytes a request asks for; [`ByteRange::Full`] when it names no single range.
pub(crate) fn range(headers: &HeaderMap) -> ByteRange {
    let mut values = headers.get_all(RANGE).iter();
    match (values.next().map(HeaderValue::to_str), values.next()) {
        (Some(Ok(value)), None) => parse(value).unwrap_or_default(),
        _ => ByteRange::Full,
    }
}

/// `Content-Range` of a 206.
pub(crate) fn content_range(range: &Range<u64>, len: u64) -> Option<HeaderValue> {
    let last = range.end.checked_sub(1)?;
    value(format!("bytes {}-{last}/{len}", range.start))
}

/// `Content-Range` of a 416.
pub(crate) fn unsatisfied_range(len: u64) -> Option<HeaderValue> {
    value(format!("bytes */{len}"))
}

fn value(text: String) -> Option<HeaderValue> {
    HeaderValue::from_maybe_shared(Bytes::from(text)).ok()
}

fn parse(value: &str) -> Option<ByteRange> {
    let (unit, set) = value.split_once('=')?;
    if !unit.trim().eq_ignore_ascii_case("bytes") {
        return None;
    }
    let (first, last) = set.trim().split_once('-')?;
    match (first.trim(), last.trim()) {
        ("", last) => Some(ByteRange::Last(number(last)?)),
        (first, "") => Some(ByteRange::From(number(first)?)),
        (first, last) => {
            let (first, last) = (number(first)?, number(last)?);
            (first <= last).then_some(ByteRange::Span(first, last))
        }
    }
}

/// Digits only. A number that no body reaches is the largest there is.
fn number(digits: &str) -> Option<u64> {
    let well_formed = !digits.is_empty() && digits.bytes().all(|byte| byte.is_ascii_digit());
    well_formed.then(|| digits.parse().unwrap_or(u64::MAX))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn one_range_is_taken_and_everything_else_is_the_whole_body() {
        use ByteRange::{From, Full, Last, Span};
        for (value, expected) in [
            ("bytes=0-0", Span(0, 0)),
            ("bytes=5-", From(5)),
            ("bytes=-5", Last(5)),
            ("bytes=-0", Last(0)),
            ("Bytes = 1-2", Span(1, 2)),
            ("bytes=99999999999999999999-", From(u64::MAX)),
            ("bytes=0-99999999999999999999", Span(0, u64::MAX)),
            ("bytes=2-1", Full),
            ("bytes=0-1,3-4", Full),
            ("bytes=", Full),
            ("bytes=-", Full),
            ("bytes=a-b", Full),
            ("bytes=1", Full),
            ("bytes=+1-2", Full),
            ("bytes=--1", Full),
            ("bytes=0x1-2", Full),
            ("items=0-1", Full),
            ("0-1", Full),
            ("", Full),
        ] {
            let headers = HeaderMap::from_iter([(RANGE, HeaderValue::from_static(value))]);
            assert_eq!(range(&headers), expected, "{value}");
        }
        assert_eq!(range(&HeaderMap::new()), Full);
    }

    #[test]
    fn two_range_headers_are_none() {
        let mut headers = HeaderMap::new();
        headers.append(RANGE, HeaderValue::from_static("bytes=0-1"));
        headers.append(RANGE, HeaderValue::from_static("bytes=2-3"));
        assert_eq!(range(&headers), ByteRange::Full);
    }

    #[test]
    fn content_ranges() {
        assert_eq!(content_range(&(2..6), 10).as_ref().map(|v| v.as_bytes()), Some(&b"bytes 2-5/10"[..]));
        assert_eq!(unsatisfied_range(10).as_ref().map(|v| v.as_bytes()), Some(&b"bytes */10"[..]));
    }
}
