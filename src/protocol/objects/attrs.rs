//! The headers that describe an object, as attributes of its entry and back.

use std::borrow::Cow;

use hyper::header::{
    CACHE_CONTROL, CONTENT_DISPOSITION, CONTENT_ENCODING, CONTENT_LANGUAGE, CONTENT_TYPE, HeaderMap,
    HeaderName, HeaderValue,
};

use crate::entry::{Attrs, Meta};
use crate::error::{Error, Kind, Result};

/// How a door's requests name them.
#[derive(Debug, Clone, Copy)]
pub(crate) struct Dialect {
    /// What user metadata begins with: `x-amz-meta-`.
    pub(crate) meta: &'static str,
    /// What is before the name of a header where the plain one describes the request (`x-ms-blob-`); empty for none.
    pub(crate) own: &'static str,
}

/// Headers that are kept and given back, and their attributes.
const KEPT: [(HeaderName, &str); 5] = [
    (CONTENT_TYPE, "contenttype"),
    (CONTENT_ENCODING, "contentencoding"),
    (CACHE_CONTROL, "cachecontrol"),
    (CONTENT_DISPOSITION, "contentdisposition"),
    (CONTENT_LANGUAGE, "contentlanguage"),
];

/// Longer ones are refused: with all of them an entry still has room for what is ours.
const VALUE_BYTES_MAX: usize = 256;

/// What a request says of the object that it writes. `plain`: its headers without a prefix describe the object, too.
///
/// # Errors
/// `TooLarge` for metadata over the bound, `Invalid` for what no store carries.
pub(crate) fn kept(headers: &HeaderMap, dialect: Dialect, plain: bool) -> Result<Attrs> {
    let mut own = Vec::new();
    for (header, attr) in KEPT {
        let prefixed = (!dialect.own.is_empty()).then(|| format!("{}{header}", dialect.own));
        let value =
            prefixed.and_then(|name| headers.get(name)).or_else(|| headers.get(&header).filter(|_| plain));
        let Some(value) = value else { continue };
        let text = text_of(&header, value)?;
        let text = if header == CONTENT_ENCODING { without_chunking(&text) } else { text.into_owned() };
        if text.len() > VALUE_BYTES_MAX {
            let message = format!("{header} has {} bytes, at most {VALUE_BYTES_MAX} are kept", text.len());
            return Err(Error::new(Kind::TooLarge, message));
        }
        if !text.is_empty() {
            own.push((attr.to_owned(), text));
        }
    }
    let mut user = Vec::new();
    for (name, value) in headers {
        if let Some(rest) = name.as_str().strip_prefix(dialect.meta) {
            user.push((rest.to_owned(), text_of(name, value)?.into_owned()));
        }
    }
    Attrs::new(own)?.with_user(user)
}

/// Gives back what was kept. An entry without a type is bytes.
pub(crate) fn give(headers: &mut HeaderMap, meta: &Meta, dialect: Dialect) {
    headers.insert(CONTENT_TYPE, HeaderValue::from_static("application/octet-stream"));
    for (header, attr) in KEPT {
        if let Some(value) = meta.attrs.get(attr).and_then(|value| HeaderValue::from_str(value).ok()) {
            headers.insert(header, value);
        }
    }
    for (name, value) in meta.attrs.user() {
        let name = HeaderName::try_from(format!("{}{name}", dialect.meta));
        if let (Ok(name), Ok(value)) = (name, HeaderValue::from_bytes(value.as_bytes())) {
            headers.insert(name, value);
        }
    }
}

fn text_of<'a>(name: &HeaderName, value: &'a HeaderValue) -> Result<Cow<'a, str>> {
    match std::str::from_utf8(value.as_bytes()) {
        Ok(text) => Ok(Cow::Borrowed(text)),
        Err(_) => Err(Error::invalid(format!("{name} is not UTF-8; send it as text"))),
    }
}

/// `aws-chunked` is of the request, not of the object.
fn without_chunking(encoding: &str) -> String {
    let codings = encoding.split(',').map(str::trim);
    codings.filter(|coding| !coding.eq_ignore_ascii_case("aws-chunked")).collect::<Vec<_>>().join(", ")
}

#[cfg(test)]
mod tests {
    use super::*;

    const S3: Dialect = Dialect { meta: "x-amz-meta-", own: "" };
    const AZURE: Dialect = Dialect { meta: "x-ms-meta-", own: "x-ms-blob-" };

    fn headers(pairs: &[(&'static str, &'static str)]) -> HeaderMap {
        let pair = |(name, value): &(&'static str, &'static str)| {
            (HeaderName::from_static(name), HeaderValue::from_static(value))
        };
        pairs.iter().map(pair).collect()
    }

    fn given(attrs: Attrs, dialect: Dialect) -> HeaderMap {
        let meta = Meta { len: 0, digest: None, etag: "".into(), attrs, stored_ms: 0, origin_etag: None };
        let mut headers = HeaderMap::new();
        give(&mut headers, &meta, dialect);
        headers
    }

    #[test]
    fn what_is_kept_is_given_back() {
        let asked = headers(&[
            ("content-type", "text/plain"),
            ("content-encoding", "aws-chunked, gzip"),
            ("x-amz-meta-a-b", "1"),
            ("x-amz-meta-outputid", "2"),
            ("x-ms-meta-not", "this door's"),
        ]);
        let back = given(kept(&asked, S3, true).expect("right"), S3);
        let expected = headers(&[
            ("content-type", "text/plain"),
            ("content-encoding", "gzip"),
            ("x-amz-meta-a-b", "1"),
            ("x-amz-meta-outputid", "2"),
        ]);
        assert_eq!(back, expected);
    }

    #[test]
    fn the_type_of_a_request_is_not_the_objects_where_that_has_a_header_of_its_own() {
        let asked = headers(&[("content-type", "application/xml"), ("x-ms-blob-content-type", "text/plain")]);
        assert_eq!(given(kept(&asked, AZURE, false).expect("right"), AZURE)[CONTENT_TYPE], "text/plain");
        let asked = headers(&[("content-type", "application/xml")]);
        let back = given(kept(&asked, AZURE, false).expect("right"), AZURE);
        assert_eq!(back[CONTENT_TYPE], "application/octet-stream");
        assert_eq!(given(kept(&asked, AZURE, true).expect("right"), AZURE)[CONTENT_TYPE], "application/xml");
        let only = headers(&[("content-encoding", "aws-chunked")]);
        assert!(!given(kept(&only, S3, true).expect("right"), S3).contains_key(CONTENT_ENCODING));
    }
}
