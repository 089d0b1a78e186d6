//! Paths and queries of object stores, decoded.

use percent_encoding::percent_decode_str;

use crate::error::{Error, Result};

/// A query, decoded.
#[derive(Debug, Default)]
pub(crate) struct Query(Vec<(String, String)>);

/// A part of a path, decoded once.
///
/// # Errors
/// `Invalid` for a `%` without its digits, and for what isn't UTF-8.
pub(crate) fn decode(text: &str) -> Result<String> {
    if !text.contains('%') {
        return Ok(text.to_owned());
    }
    let escapes = text.bytes().enumerate().filter(|(_, byte)| *byte == b'%');
    let mut digits = escapes.map(|(at, _)| text.as_bytes().get(at + 1..at + 3));
    if !digits.all(|digits| digits.is_some_and(|digits| digits.iter().all(u8::is_ascii_hexdigit))) {
        return Err(Error::invalid("the path has a `%` without two hex digits"));
    }
    let decoded = percent_decode_str(text).decode_utf8();
    Ok(decoded.map_err(|_not_utf8| Error::invalid("the path is not UTF-8 once it is decoded"))?.into_owned())
}

// === impl Query ===

impl Query {
    pub(crate) fn parse(text: Option<&str>) -> Self {
        let pairs = text.unwrap_or_default().split('&').filter(|pair| !pair.is_empty());
        // A `+` is a plus sign here: signatures have them.
        let plain = |text: &str| percent_decode_str(text).decode_utf8_lossy().into_owned();
        Self(
            pairs
                .map(|pair| {
                    let (name, value) = pair.split_once('=').unwrap_or((pair, ""));
                    (plain(name), plain(value))
                })
                .collect(),
        )
    }

    /// The first value of a parameter.
    pub(crate) fn get(&self, name: &str) -> Option<&str> {
        self.0.iter().find(|(known, _)| known.eq_ignore_ascii_case(name)).map(|(_, value)| value.as_str())
    }

    /// The same, where none is an empty one.
    pub(crate) fn text(&self, name: &str) -> &str {
        self.get(name).unwrap_or_default()
    }

    /// All of them.
    pub(crate) fn pairs(&self) -> &[(String, String)] {
        &self.0
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn queries_are_decoded_and_plus_signs_are_meant() {
        let query = Query::parse(Some("comp=block&BlockId=YQ%3D%3D&sig=a+b%2B&&flag&comp=list"));
        assert_eq!((query.get("comp"), query.get("blockid")), (Some("block"), Some("YQ==")));
        assert_eq!((query.text("sig"), query.get("flag"), query.text("none")), ("a+b+", Some(""), ""));
        assert!(Query::parse(None).pairs().is_empty());
    }
}
