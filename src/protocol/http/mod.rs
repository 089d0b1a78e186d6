//! What the HTTP frontends share: answers, request bodies, ranges, conditions, headers, and all of it together for
//! entries by name.
//!
//! A [`Reply`] has an exact length and never ends cleanly short: what fails while it is sent breaks the connection
//! (HTTP/1) or resets the stream with `INTERNAL_ERROR` (HTTP/2), which every client takes for a failed download. A
//! request body is read to its end before anything is answered (see `Upload::finish`).

mod conditions;
mod dates;
mod dialect;
mod entries;
mod ranges;
mod upload;

use std::borrow::Cow;
use std::pin::Pin;
use std::task::{Context, Poll, ready};
use std::time::{Duration, SystemTime, UNIX_EPOCH};

use bytes::Bytes;
use futures_util::Stream as _;
use http_body::{Frame, SizeHint};
use hyper::header::{ACCEPT, ALLOW, CONNECTION, CONTENT_ENCODING, CONTENT_LENGTH, CONTENT_TYPE};
use hyper::header::{HeaderMap, HeaderValue};
use hyper::{Method, Response, StatusCode, Version};

pub(crate) use conditions::{Verdict, apply_range, is_plain, precondition, verdict};
pub(crate) use dialect::Dialect;
pub use entries::{Entries, Target};
pub(crate) use entries::{Rules, path_name};
pub(crate) use ranges::{content_range, range, unsatisfied_range};
pub use upload::Incoming;
pub(crate) use upload::Upload;

use crate::body::Body;
use crate::entry::{Attrs, Meta, Tier};
use crate::error::{Error, Kind, Result};

/// The body of an answer: exactly as many bytes as it says, or a broken connection.
#[derive(Debug)]
pub struct Reply {
    content: Content,
    from: Option<Tier>,
}

enum Content {
    Exact(Body),
    /// Of a protocol that has an end of its own: gRPC says in trailers how it went.
    Frames(Pin<Box<dyn http_body::Body<Data = Bytes, Error = Error> + Send>>),
}

/// What a frontend answers with.
pub type Answer = Response<Reply>;

pub(crate) const OCTETS: HeaderValue = HeaderValue::from_static("application/octet-stream");
const TEXT: HeaderValue = HeaderValue::from_static("text/plain; charset=utf-8");
/// Nx compares the whole value: with a charset it reports a misconfigured server instead of the text.
pub(crate) const BARE_TEXT: HeaderValue = HeaderValue::from_static("text/plain");
const JSON: HeaderValue = HeaderValue::from_static("application/json");
/// The attribute that keeps a body's `Content-Type`.
const CONTENT_TYPE_ATTR: &str = "contenttype";
/// A longer type is not kept: it would crowd out other attributes.
const CONTENT_TYPE_BYTES_MAX: usize = 256;

/// An answer without a body.
pub(crate) fn empty(status: StatusCode) -> Answer {
    with_body(status, Body::empty())
}

/// An answer with these bytes, and no header yet.
pub(crate) fn with_body(status: StatusCode, body: Body) -> Answer {
    let mut answer = Response::new(Reply::from(body));
    *answer.status_mut() = status;
    answer
}

/// An answer with the bytes of an entry, and no header yet.
pub(crate) fn hit(body: Body, from: Tier) -> Answer {
    Response::new(Reply { content: Content::Exact(body), from: Some(from) })
}

/// An answer in words, for a person who looks. They end with a line break.
pub(crate) fn text(status: StatusCode, words: impl Into<Cow<'static, str>>) -> Answer {
    let bytes = match words.into() {
        Cow::Borrowed(words) => Bytes::from_static(words.as_bytes()),
        Cow::Owned(words) => words.into(),
    };
    typed(status, TEXT, bytes)
}

/// An answer in JSON that is serialized already.
pub(crate) fn json(status: StatusCode, bytes: impl Into<Bytes>) -> Answer {
    typed(status, JSON, bytes.into())
}

fn typed(status: StatusCode, content_type: HeaderValue, bytes: Bytes) -> Answer {
    let mut answer = with_body(status, Body::bytes(bytes));
    answer.headers_mut().insert(CONTENT_TYPE, content_type);
    answer
}

/// An answer that says which methods there are.
pub(crate) fn allowing(mut answer: Answer, allow: &'static str) -> Answer {
    answer.headers_mut().insert(ALLOW, HeaderValue::from_static(allow));
    answer
}

/// The words for a method that a route doesn't have.
pub(crate) fn no_such_method(method: &Method, allow: &str) -> String {
    format!("{} is not served here, only {allow}", method.as_str().escape_debug())
}

/// The same head without the body, as `HEAD` is answered: a success keeps its length, an error has none.
pub(crate) fn without_body(answer: Answer) -> Answer {
    let (mut head, body) = answer.into_parts();
    if head.status.is_success() && !head.headers.contains_key(CONTENT_LENGTH) {
        head.headers.insert(CONTENT_LENGTH, body.len().into());
    }
    if !head.status.is_success() {
        head.headers.remove(CONTENT_TYPE);
    }
    Response::from_parts(head, Reply { content: Content::Exact(Body::empty()), ..body })
}

/// Ends the connection after this answer. HTTP/2 has no such header; there only the stream ends.
pub(crate) fn closing(mut answer: Answer, version: Version) -> Answer {
    if version < Version::HTTP_2 {
        answer.headers_mut().insert(CONNECTION, HeaderValue::from_static("close"));
    }
    answer
}

/// An ETag in its quotes.
pub(crate) fn quoted(etag: &str) -> Option<HeaderValue> {
    // Ours are digests in hex; others' may be longer.
    let mut short = [b'"'; 66];
    let Some(between) = short.get_mut(1..=etag.len()).filter(|_| etag.len() + 2 <= 66) else {
        return HeaderValue::try_from(format!("\"{etag}\"")).ok();
    };
    between.copy_from_slice(etag.as_bytes());
    HeaderValue::from_bytes(&short[..etag.len() + 2]).ok()
}

/// `Last-Modified` of what was stored then.
pub(crate) fn last_modified(stored_ms: u64) -> Option<HeaderValue> {
    HeaderValue::from_bytes(&dates::of_unix(is_dated(stored_ms)?)).ok()
}

/// The time in whole seconds, as HTTP's dates have it; `None` when it isn't known.
fn modified(stored_ms: u64) -> Option<SystemTime> {
    is_dated(stored_ms).map(|secs| UNIX_EPOCH + Duration::from_secs(secs))
}

/// The seconds of a time that is known. Years after 9999 have no date in HTTP.
fn is_dated(stored_ms: u64) -> Option<u64> {
    (1..253_402_300_800_000).contains(&stored_ms).then_some(stored_ms / 1000)
}

/// Whether the client asks for JSON by name. A wildcard is no such wish.
pub(crate) fn accepts_json(headers: &HeaderMap) -> bool {
    let mut accepted =
        headers.get_all(ACCEPT).iter().filter_map(|value| value.to_str().ok()).flat_map(|v| v.split(','));
    accepted.any(is_json)
}

/// Whether the body of a request is JSON by its own word.
pub(crate) fn sends_json(headers: &HeaderMap) -> bool {
    headers.get(CONTENT_TYPE).and_then(|value| value.to_str().ok()).is_some_and(is_json)
}

fn is_json(media_type: &str) -> bool {
    let name = media_type.split(';').next().unwrap_or_default();
    name.trim().eq_ignore_ascii_case("application/json")
}

/// The type of a body, as an attribute of its entry.
pub(crate) fn kept_type(headers: &HeaderMap) -> Result<Attrs> {
    let content_type = headers.get(CONTENT_TYPE).and_then(|value| value.to_str().ok());
    let kept = content_type.filter(|value| (1..=CONTENT_TYPE_BYTES_MAX).contains(&value.len()));
    Attrs::new(kept.map(|value| (CONTENT_TYPE_ATTR.to_owned(), value.replace('\t', " "))))
}

/// The type that was kept with an entry, if there is one.
pub(crate) fn type_of(meta: &Meta) -> Option<HeaderValue> {
    meta.attrs.get(CONTENT_TYPE_ATTR).and_then(|value| HeaderValue::from_str(value).ok())
}

/// Refuses a body that is compressed by a `Content-Encoding`: kept as it is, it would be served as what it isn't.
pub(crate) fn identity_only(headers: &HeaderMap) -> Result<()> {
    match headers.get(CONTENT_ENCODING).map(HeaderValue::as_bytes) {
        None | Some(b"" | b"identity") => Ok(()),
        Some(other) => {
            let name = other.escape_ascii();
            let message = format!("Content-Encoding `{name}` is not taken yet; send the body as it is");
            Err(Error::new(Kind::Unsupported, message))
        }
    }
}

/// The value of a query parameter, decoded as forms are. The first one counts.
pub(crate) fn query(query: Option<&str>, name: &str) -> Option<String> {
    let mut pairs = query?.split('&').map(|pair| pair.split_once('=').unwrap_or((pair, "")));
    let (_, value) = pairs.find(|(key, _)| *key == name)?;
    let value = value.replace('+', " ");
    Some(percent_encoding::percent_decode_str(&value).decode_utf8_lossy().into_owned())
}

// === impl Reply ===

impl Reply {
    /// An answer that is made as it goes out, and how it ends is said in its frames.
    pub(crate) fn frames(
        frames: impl http_body::Body<Data = Bytes, Error = Error> + Send + 'static,
        from: Option<Tier>,
    ) -> Self {
        Self { content: Content::Frames(Box::pin(frames)), from }
    }

    /// Whether all the bytes are here: such an answer goes out in one write.
    pub fn is_at_hand(&self) -> bool {
        matches!(&self.content, Content::Exact(body) if body.as_bytes().is_some())
    }

    /// The tier that had the entry, where one is answered: for the access log.
    pub fn tier(&self) -> Option<Tier> {
        self.from
    }

    fn len(&self) -> u64 {
        match &self.content {
            Content::Exact(body) => body.len(),
            Content::Frames(frames) => frames.size_hint().lower(),
        }
    }
}

impl From<Bytes> for Reply {
    fn from(bytes: Bytes) -> Self {
        Body::bytes(bytes).into()
    }
}

impl From<Body> for Reply {
    fn from(body: Body) -> Self {
        Self { content: Content::Exact(body), from: None }
    }
}

impl http_body::Body for Reply {
    type Data = Bytes;
    type Error = Error;

    fn poll_frame(
        mut self: Pin<&mut Self>,
        cx: &mut Context<'_>,
    ) -> Poll<Option<Result<Frame<Bytes>, Error>>> {
        let body = match &mut self.content {
            Content::Exact(body) => body,
            Content::Frames(frames) => return frames.as_mut().poll_frame(cx),
        };
        Poll::Ready(ready!(Pin::new(body).poll_next(cx)).map(|piece| match piece {
            Ok(bytes) => Ok(Frame::data(bytes)),
            Err(error) => {
                tracing::warn!(%error, "an answer can't be completed; its connection is broken off");
                Err(error)
            }
        }))
    }

    fn is_end_stream(&self) -> bool {
        match &self.content {
            Content::Exact(body) => body.is_empty(),
            Content::Frames(frames) => frames.is_end_stream(),
        }
    }

    fn size_hint(&self) -> SizeHint {
        match &self.content {
            Content::Exact(body) => SizeHint::with_exact(body.len()),
            Content::Frames(frames) => frames.size_hint(),
        }
    }
}

impl std::fmt::Debug for Content {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        match self {
            Self::Exact(body) => body.fmt(f),
            Self::Frames(_) => f.write_str("Frames(..)"),
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_head_answer_keeps_the_length_of_a_success_and_nothing_of_an_error() {
        let hit = without_body(with_body(StatusCode::OK, Body::bytes(Bytes::from_static(b"larder"))));
        assert_eq!(hit.headers()[CONTENT_LENGTH], "6");
        assert_eq!(hit.body().len(), 0);
        let miss = without_body(text(StatusCode::NOT_FOUND, "no\n"));
        assert!(miss.headers().is_empty() && miss.body().len() == 0);
    }

    #[test]
    fn json_is_asked_for_by_name_only() {
        for (accept, asked) in [
            ("application/json", true),
            ("text/html, Application/JSON;q=0.5", true),
            ("*/*", false),
            ("application/*", false),
            ("application/jsonl", false),
        ] {
            let headers = HeaderMap::from_iter([(ACCEPT, HeaderValue::from_static(accept))]);
            assert_eq!(accepts_json(&headers), asked, "{accept}");
        }
        assert!(!accepts_json(&HeaderMap::new()));
    }

    #[test]
    fn query_parameters_are_decoded_as_forms_are() {
        let text = Some("slug=a+b%2Fc&teamId=&x&slug=second");
        assert_eq!(query(text, "slug").as_deref(), Some("a b/c"));
        assert_eq!(query(text, "teamId").as_deref(), Some(""));
        assert_eq!(query(text, "x").as_deref(), Some(""));
        assert_eq!(query(text, "y"), None);
        assert_eq!(query(None, "y"), None);
    }

    #[test]
    fn only_bodies_as_they_are_are_taken() {
        let headers = |value| HeaderMap::from_iter([(CONTENT_ENCODING, HeaderValue::from_static(value))]);
        assert!(identity_only(&HeaderMap::new()).is_ok());
        assert!(identity_only(&headers("identity")).is_ok());
        for encoding in ["zstd", "gzip", "gzip, zstd", "aws-chunked"] {
            let error = identity_only(&headers(encoding)).expect_err("compressed");
            assert_eq!(error.kind(), Kind::Unsupported, "{encoding}");
        }
    }
}
