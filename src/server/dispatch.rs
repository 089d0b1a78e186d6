//! Which frontend a path belongs to: one match on its segments, from which nothing falls through.
//!
//! A path is percent-decoded once, whole, before it is split; so `%2F` separates like `/` does, and what a frontend
//! sees has no escape left. Empty segments collapse (moon sends `//`). Dot segments, NUL and paths over 8 KiB are
//! refused here, for all frontends.

use std::borrow::Cow;
use std::future::Future;
use std::pin::Pin;
use std::sync::Arc;

use hyper::body::Incoming;
use hyper::header::{CONNECTION, CONTENT_TYPE, EXPECT, HeaderValue};
use hyper::{Request, Response, StatusCode};
use percent_encoding::percent_decode_str;

use super::access::Ticket;
use super::admin::{self, Admin};
use super::guard::Guard;
use super::identity::{Access, Caller};
use super::reply::Reply;
use super::wire::Socket;

/// No client sends longer ones; Turborepo, Bazel and the blob route have names of 1 KiB at most.
const PATH_BYTES_MAX: usize = 8 << 10;

/// A refused upload is read up to here, so that the client comes to read the answer.
const DRAIN_BYTES_MAX: u64 = 64 << 20;

/// The map, in the words of a 404.
const MAP: &str = "\
not a path of this cache. It serves [/ns](/ac|/cas)/{64 hex}, [/ns]/status (Bazel, moon), [/ns]/v8/artifacts \
(Turborepo), /blob/{ns}/{name}, /-/healthz, /-/readyz and /-/stats\n";

/// What every connection comes through.
#[derive(Debug)]
pub(super) struct Door {
    pub(super) access: Access,
    pub(super) guard: Guard,
    pub(super) admin: Arc<Admin>,
}

/// Who is at the other end of a connection, and by which socket.
#[derive(Debug)]
pub(super) struct Visit {
    pub(super) caller: Caller,
    pub(super) unix: bool,
    /// By the command line's own socket.
    pub(super) admin: bool,
}

/// Who answers a path.
#[derive(Debug, PartialEq, Eq)]
enum Route<'a> {
    Admin(&'a [&'a str]),
    /// On the map, but not in this version.
    Unserved(&'static str),
    Unknown,
}

/// A reply in the making.
pub(super) type Replying = Pin<Box<dyn Future<Output = Response<Reply>> + Send>>;

// === impl Door ===

impl Door {
    pub(super) fn caller(&self, socket: &Socket) -> Caller {
        self.access.caller(socket)
    }
}

/// Answers one request.
pub(super) fn answer(door: &Arc<Door>, visit: &Visit, ticket: &mut Ticket, request: Request<Incoming>) -> Replying {
    if let Caller::Stranger(words) = &visit.caller {
        let mut response = text(StatusCode::FORBIDDEN, words.clone());
        response.headers_mut().insert(CONNECTION, HeaderValue::from_static("close"));
        return Box::pin(std::future::ready(response));
    }
    let checked = door.guard.check(request.uri(), request.version(), request.headers(), visit.unix);
    if let Err(words) = checked {
        return refuse(request, StatusCode::FORBIDDEN, words);
    }
    let path = match decode(request.uri().path()) {
        Ok(path) => path,
        Err((status, words)) => return refuse(request, status, words.into()),
    };
    let mut few = [""; 32];
    let many: Vec<&str>;
    let segments = match split(&path, &mut few) {
        Some(count) => &few[..count],
        None => {
            many = path.split('/').filter(|segment| !segment.is_empty()).collect();
            &many[..]
        }
    };
    if segments.iter().any(|segment| matches!(*segment, "." | "..")) {
        return refuse(request, StatusCode::BAD_REQUEST, "a path can't have a dot segment".into());
    }
    match route(segments) {
        Route::Admin(rest) => {
            ticket.answered_by("admin");
            let page = admin::Page::parse(rest, visit.admin);
            let admin = Arc::clone(&door.admin);
            match page {
                Ok(page) => Box::pin(async move { admin.answer(page, request).await }),
                Err((status, words)) => refuse(request, status, words),
            }
        }
        Route::Unserved(name) => {
            let words = format!("/{name} is a route that this version of larder doesn't serve yet");
            refuse(request, StatusCode::NOT_FOUND, words)
        }
        Route::Unknown => refuse(request, StatusCode::NOT_FOUND, MAP.into()),
    }
}

/// The one match on segments.
fn route<'a>(segments: &'a [&'a str]) -> Route<'a> {
    match segments {
        ["-", rest @ ..] => Route::Admin(rest),
        ["gradle", ..] => Route::Unserved("gradle"),
        ["ccache", ..] => Route::Unserved("ccache"),
        ["dav", ..] => Route::Unserved("dav"),
        ["maven", ..] => Route::Unserved("maven"),
        ["nix", ..] => Route::Unserved("nix"),
        ["go", ..] => Route::Unserved("go"),
        ["larder", ..] => Route::Unserved("larder"),
        ["s3", ..] => Route::Unserved("s3"),
        [.., "v1", "cache", _] => Route::Unserved("v1/cache"),
        _ => Route::Unknown,
    }
}

/// The path without escapes.
fn decode(raw: &str) -> Result<Cow<'_, str>, (StatusCode, &'static str)> {
    if raw.len() > PATH_BYTES_MAX {
        return Err((StatusCode::URI_TOO_LONG, "the path is over 8 KiB"));
    }
    if !raw.contains('%') {
        return Ok(Cow::Borrowed(raw)); // hyper lets no NUL through unescaped
    }
    let whole = raw.bytes().enumerate().filter(|(_, byte)| *byte == b'%').all(|(at, _)| {
        raw.as_bytes().get(at + 1..at + 3).is_some_and(|hex| hex.iter().all(u8::is_ascii_hexdigit))
    });
    if !whole {
        return Err((StatusCode::BAD_REQUEST, "the path has a `%` without two hex digits"));
    }
    let path = percent_decode_str(raw)
        .decode_utf8()
        .map_err(|_| (StatusCode::BAD_REQUEST, "the path is not UTF-8 once decoded"))?;
    if path.contains('\0') {
        return Err((StatusCode::BAD_REQUEST, "the path has a NUL byte"));
    }
    Ok(path)
}

/// The segments that aren't empty, if they are few enough for `segments`; so a usual path costs no allocation.
fn split<'a>(path: &'a str, segments: &mut [&'a str]) -> Option<usize> {
    let mut count = 0;
    for segment in path.split('/').filter(|segment| !segment.is_empty()) {
        *segments.get_mut(count)? = segment;
        count += 1;
    }
    Some(count)
}

/// A refusal in words, after what the client still sends has been read.
fn refuse(request: Request<Incoming>, status: StatusCode, words: String) -> Replying {
    Box::pin(async move {
        let mut response = text(status, words);
        if !drain(request).await {
            response.headers_mut().insert(CONNECTION, HeaderValue::from_static("close"));
        }
        response
    })
}

/// Reads a request's body to its end. `false`: some of it is left, and the connection can't be used again.
async fn drain(request: Request<Incoming>) -> bool {
    use http_body_util::BodyExt as _;
    if request.headers().contains_key(EXPECT) {
        // The client waits for a word before it sends the body, and the refusal is that word.
        return false;
    }
    let mut body = request.into_body();
    let mut read = 0;
    while let Some(frame) = body.frame().await {
        let Ok(frame) = frame else { return false };
        read += frame.data_ref().map_or(0, bytes::Bytes::len) as u64;
        if read > DRAIN_BYTES_MAX {
            return false;
        }
    }
    true
}

/// A line of text.
pub(super) fn text(status: StatusCode, mut words: String) -> Response<Reply> {
    if !words.ends_with('\n') {
        words.push('\n');
    }
    let mut response = Response::new(Reply::Full(words.into()));
    *response.status_mut() = status;
    response.headers_mut().insert(CONTENT_TYPE, HeaderValue::from_static("text/plain; charset=utf-8"));
    response
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn paths_decode_once_or_not_at_all() {
        assert_eq!(decode("/a/b").as_deref(), Ok("/a/b"));
        assert_eq!(decode("/a%2fb%252e").as_deref(), Ok("/a/b%2e"));
        for (bad, status) in [
            ("/a%00b", StatusCode::BAD_REQUEST),
            ("/a%ff", StatusCode::BAD_REQUEST),
            ("/a%2", StatusCode::BAD_REQUEST),
            ("/a%zz", StatusCode::BAD_REQUEST),
            ("/a%", StatusCode::BAD_REQUEST),
        ] {
            assert_eq!(decode(bad).map_err(|(status, _)| status), Err(status), "{bad}");
        }
        let long = format!("/{}", "a".repeat(PATH_BYTES_MAX));
        assert_eq!(decode(&long).map_err(|(status, _)| status), Err(StatusCode::URI_TOO_LONG));
    }

    #[test]
    fn slashes_collapse_and_many_segments_are_said_to_be_many() {
        let mut few = [""; 3];
        assert_eq!(split("//a///b/", &mut few), Some(2));
        assert_eq!(&few[..2], ["a", "b"]);
        assert_eq!(split("/a/b/c/d", &mut few), None);
    }

    #[test]
    fn the_first_segment_decides() {
        for name in ["gradle", "ccache", "dav", "maven", "nix", "go", "larder", "s3"] {
            assert_eq!(route(&[name, "cas", "x"]), Route::Unserved(name));
        }
        assert_eq!(route(&["-", "stats"]), Route::Admin(&["stats"]));
        assert_eq!(route(&["ns", "v1", "cache", "1234"]), Route::Unserved("v1/cache"));
        assert_eq!(route(&[]), Route::Unknown);
        assert_eq!(route(&["anything"]), Route::Unknown);
    }
}
