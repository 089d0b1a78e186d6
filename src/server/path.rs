//! A request's path as segments.
//!
//! A path is percent-decoded once, whole, before it is split; so `%2F` separates like `/` does, and what a frontend
//! sees has no escape left. Empty segments collapse (moon sends `//`). A path with a dot segment or a NUL, or over
//! 8 KiB, is refused for all frontends.

use std::borrow::Cow;

use percent_encoding::percent_decode_str;

use crate::error::{Error, Result};

/// No client sends longer ones; the longest names of any frontend have 1 KiB.
const PATH_BYTES_MAX: usize = 8 << 10;

/// Decodes and splits a path.
pub(super) fn with_segments<T>(raw: &str, then: impl FnOnce(&[&str]) -> Result<T>) -> Result<T> {
    let path = decode(raw)?;
    let mut few = [""; 8];
    let many: Vec<&str>;
    let segments = match split(&path, &mut few) {
        Some(count) => &few[..count],
        None => {
            many = path.split('/').filter(|segment| !segment.is_empty()).collect();
            &many[..]
        }
    };
    if segments.iter().any(|segment| matches!(*segment, "." | "..")) {
        return Err(Error::invalid("a path can't have a `.` or `..` segment"));
    }
    then(segments)
}

/// The path without escapes.
fn decode(raw: &str) -> Result<Cow<'_, str>> {
    if raw.len() > PATH_BYTES_MAX {
        return Err(Error::invalid(format!(
            "the path has {} bytes, at most {PATH_BYTES_MAX} are taken",
            raw.len()
        )));
    }
    if !raw.contains('%') {
        return Ok(Cow::Borrowed(raw)); // a NUL comes escaped or not at all: hyper refuses it
    }
    let escapes = raw.bytes().enumerate().filter(|(_, byte)| *byte == b'%');
    let mut digits = escapes.map(|(at, _)| raw.as_bytes().get(at + 1..at + 3));
    if !digits.all(|digits| digits.is_some_and(|digits| digits.iter().all(u8::is_ascii_hexdigit))) {
        return Err(Error::invalid("the path has a `%` without two hex digits"));
    }
    let path = percent_decode_str(raw)
        .decode_utf8()
        .map_err(|_not_utf8| Error::invalid("the path is not UTF-8 once it is decoded"))?;
    if path.contains('\0') {
        return Err(Error::invalid("the path has a NUL byte"));
    }
    Ok(path)
}

/// The segments that aren't empty, if they are few enough for `segments`; so a usual path costs no allocation.
fn split<'a>(path: &'a str, segments: &mut [&'a str]) -> Option<usize> {
    let (mut count, mut start) = (0, 0);
    // Paths are short: looking at each byte takes less than setting up a search for each segment.
    for (at, byte) in path.bytes().chain([b'/']).enumerate() {
        if byte == b'/' {
            if start < at {
                *segments.get_mut(count)? = &path[start..at];
                count += 1;
            }
            start = at + 1;
        }
    }
    Some(count)
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::error::Kind;

    fn segments(path: &str) -> Result<Vec<String>> {
        with_segments(path, |segments| Ok(segments.iter().map(|segment| (*segment).to_owned()).collect()))
    }

    #[test]
    fn paths_decode_once() {
        assert_eq!(segments("/a/b").expect("plain"), ["a", "b"]);
        assert_eq!(segments("//a///b/").expect("collapses"), ["a", "b"]);
        assert_eq!(segments("/a%2fb%252e").expect("once"), ["a", "b%2e"]);
        let deep = "/x".repeat(100);
        assert_eq!(segments(&deep).expect("deep").len(), 100);
    }

    #[test]
    fn bad_paths_are_refused_in_words() {
        let long = format!("/{}", "a".repeat(PATH_BYTES_MAX));
        for (bad, word) in [
            ("/a%00b", "NUL"),
            ("/a%ff", "UTF-8"),
            ("/a%2", "two hex digits"),
            ("/a%zz", "two hex digits"),
            ("/a%", "two hex digits"),
            ("/cas/../x", "segment"),
            ("/cas/%2e%2e/x", "segment"),
            ("/cas/.%2E/x", "segment"),
            ("/cas%2f..%2fx", "segment"),
            ("/./x", "segment"),
            (&long, "bytes"),
        ] {
            let error = segments(bad).expect_err(bad);
            assert!(error.message().contains(word), "{bad}: {error}");
            assert_eq!(error.kind(), Kind::Invalid);
        }
    }
}
