//! What a request asks of the object before it is answered or written, as SDKs send it.

use hyper::HeaderMap;
use hyper::header::{
    HeaderName, HeaderValue, IF_MATCH, IF_MODIFIED_SINCE, IF_NONE_MATCH, IF_UNMODIFIED_SINCE,
};

const ALL: [HeaderName; 4] = [IF_MATCH, IF_NONE_MATCH, IF_MODIFIED_SINCE, IF_UNMODIFIED_SINCE];

/// The conditions among `headers` whose names begin with `prefix`, under their plain names, and with entity tags in
/// quotes: an SDK passes on what it is given, which is often the bare tag, and the stores take that, too.
pub(crate) fn conditions(headers: &HeaderMap, prefix: &str) -> HeaderMap {
    let mut found = HeaderMap::new();
    for name in ALL {
        if let Some(value) = headers.get(format!("{prefix}{name}")) {
            let is_tag = matches!(name, IF_MATCH | IF_NONE_MATCH);
            found.insert(name, if is_tag { in_quotes(value) } else { value.clone() });
        }
    }
    found
}

fn in_quotes(value: &HeaderValue) -> HeaderValue {
    let bare = value.to_str().ok().map(str::trim).filter(|tag| {
        let marks = |char: char| char == '"' || char == ',' || char.is_whitespace();
        *tag != "*" && !tag.is_empty() && !tag.contains(marks)
    });
    let quoted = bare.and_then(|tag| HeaderValue::from_str(&format!("\"{tag}\"")).ok());
    quoted.unwrap_or_else(|| value.clone())
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn bare_tags_are_tags_and_a_copy_has_its_own() {
        let mut headers = HeaderMap::new();
        headers.insert(IF_MATCH, HeaderValue::from_static("0x1"));
        headers.insert("x-amz-copy-source-if-none-match", HeaderValue::from_static("abc"));
        headers.insert("x-amz-copy-source", HeaderValue::from_static("abc"));
        let (own, copied) = (conditions(&headers, ""), conditions(&headers, "x-amz-copy-source-"));
        assert_eq!((own.len(), own.get(IF_MATCH)), (1, Some(&HeaderValue::from_static("\"0x1\""))));
        assert_eq!(
            (copied.len(), copied.get(IF_NONE_MATCH)),
            (1, Some(&HeaderValue::from_static("\"abc\"")))
        );
        for kept in ["*", "\"x\"", "W/\"x\"", "\"x\", \"y\"", "a b", "a,b", ""] {
            assert_eq!(in_quotes(&HeaderValue::from_static(kept)), kept, "{kept}");
        }
    }
}
