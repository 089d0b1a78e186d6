//! Which frontend a path belongs to: one match on its segments, from which nothing falls through.
//!
//! A path is percent-decoded once, whole, before it is split; so `%2F` separates like `/` does, and what a frontend
//! sees has no escape left. Empty segments collapse (moon sends `//`). A path with a dot segment, NUL, or over 8 KiB
//! is refused here, in the words of the frontend that it would have been for.

use std::borrow::Cow;
use std::future::Future;
use std::pin::Pin;
use std::sync::Arc;

use hyper::{Request, Response, StatusCode, Version};
use percent_encoding::percent_decode_str;

use super::access::{Ticket, Uploading};
use super::admin::{Admin, Content, Page};
use super::guard::Guard;
use super::identity::{Access, Caller};
use super::wire::Socket;
use crate::error::{Error, Kind, Result};
use crate::key::{Namespace, Scope};
use crate::protocol::http::{self, Answer, Reply, Upload};
use crate::protocol::{Context, bazel, blob, turborepo};

/// No client sends longer ones; the longest names of any frontend have 1 KiB.
const PATH_BYTES_MAX: usize = 8 << 10;

/// A refused upload is read up to here, so that the client comes to read the answer.
const DRAIN_BYTES_MAX: u64 = 64 << 20;

/// The map, in the words of a 404.
const MAP: &str = "not a path of this cache, which serves [/ns]/cas/{64 hex}, [/ns]/ac/{64 hex} and [/ns]/status \
                   (Bazel, moon), [/ns]/v8/artifacts (Turborepo), /blob/{ns}/{name}, /-/healthz, /-/readyz, /-/stats\n";

/// What every request comes through.
#[derive(Debug)]
pub(super) struct Door {
    pub(super) access: Access,
    pub(super) guard: Guard,
    pub(super) admin: Arc<Admin>,
    pub(super) frontends: Frontends,
}

/// All that answer, and the scope of a path without a namespace.
#[derive(Debug)]
pub(super) struct Frontends {
    bazel: bazel::Frontend,
    turborepo: turborepo::Frontend,
    blob: blob::Frontend,
    scope: Scope,
}

/// Who is at the other end of a connection, and by which socket.
#[derive(Debug)]
pub(super) struct Visit {
    pub(super) caller: Caller,
    pub(super) unix: bool,
    /// By the command line's own socket.
    pub(super) admin: bool,
}

/// An answer in the making. Owned, because HTTP/2 runs it as a task.
pub(super) type Answering = Pin<Box<dyn Future<Output = Response<Reply>> + Send>>;

/// Who answers a path, and with what.
#[derive(Debug)]
enum Route<'a> {
    Bazel(Scope, bazel::Route),
    Turborepo(Scope, turborepo::Route),
    Blob(Scope, blob::Route),
    Admin(&'a [&'a str]),
    /// On the map, but not in this version.
    Unserved(&'static str),
    Unknown,
}

/// Whose words a refusal has.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum Dialect {
    Bazel,
    Turborepo,
    Blob,
    Plain,
}

// === impl Frontends ===

impl Frontends {
    pub(super) fn new(context: Context, scope: Scope) -> Self {
        let context = Arc::new(context);
        Self {
            bazel: bazel::Frontend::new(Arc::clone(&context)),
            turborepo: turborepo::Frontend::new(Arc::clone(&context)),
            blob: blob::Frontend::new(context),
            scope,
        }
    }

    /// The one match on segments.
    fn route<'a>(&self, segments: &'a [&'a str]) -> Result<Route<'a>> {
        let unserved = match segments {
            ["-", rest @ ..] => return Ok(Route::Admin(rest)),
            ["blob", ..] => "",
            ["gradle", ..] => "gradle",
            ["ccache", ..] => "ccache",
            ["dav", ..] => "dav",
            ["maven", ..] => "maven",
            ["nix", ..] => "nix",
            ["go", ..] => "go",
            ["larder", ..] => "larder",
            ["s3", ..] => "s3",
            [.., "v1", "cache", _] => "v1/cache",
            _ => "",
        };
        if !unserved.is_empty() {
            return Ok(Route::Unserved(unserved));
        }
        if let Some((namespace, route)) = blob::Route::parse(segments) {
            return Ok(Route::Blob(self.scope(&segments[namespace])?, route));
        }
        if let Some((namespace, route)) = turborepo::Route::parse(segments) {
            return Ok(Route::Turborepo(self.scope(&segments[namespace])?, route));
        }
        if let Some((namespace, route)) = bazel::Route::parse(segments) {
            return Ok(Route::Bazel(self.scope(&segments[namespace])?, route));
        }
        Ok(Route::Unknown)
    }

    fn scope(&self, namespace: &[&str]) -> Result<Scope> {
        if namespace.is_empty() {
            return Ok(self.scope.clone());
        }
        Ok(Scope { namespace: Namespace::parse(&namespace.join("/"))?, ..self.scope.clone() })
    }

    /// Refuses in the words of the frontend that the path looks meant for.
    async fn refuse(&self, dialect: Dialect, error: &Error, request: Request<Uploading>) -> Answer {
        match dialect {
            Dialect::Bazel => self.bazel.refuse_request(error, request).await,
            Dialect::Turborepo => self.turborepo.refuse_request(error, request).await,
            Dialect::Blob => self.blob.refuse_request(error, request).await,
            Dialect::Plain => {
                let status = match error.kind() {
                    Kind::Denied => StatusCode::FORBIDDEN,
                    _ => StatusCode::BAD_REQUEST,
                };
                plain(status, format!("{}\n", error.message()).into(), request).await
            }
        }
    }
}

/// Answers one request.
pub(super) fn answer(
    door: &Arc<Door>,
    visit: &Visit,
    ticket: &mut Ticket,
    request: Request<Uploading>,
) -> Answering {
    if let Caller::Stranger(words) = &visit.caller {
        // Not even read from: the connection ends.
        let words = http::text(StatusCode::FORBIDDEN, format!("{words}\n"));
        return Box::pin(std::future::ready(http::closing(words, request.version())));
    }
    if let Err(words) = door.guard.check(request.uri(), request.version(), request.headers(), visit.unix) {
        return Box::pin(plain(StatusCode::FORBIDDEN, format!("{words}\n").into(), request));
    }
    let routed = with_segments(request.uri().path(), |segments| match door.frontends.route(segments)? {
        Route::Admin(rest) => Ok(Routed::Admin(Page::parse(rest, request.uri().query(), visit.admin))),
        Route::Bazel(scope, route) => Ok(Routed::Bazel(scope, route)),
        Route::Turborepo(scope, route) => Ok(Routed::Turborepo(scope, route)),
        Route::Blob(scope, route) => Ok(Routed::Blob(scope, route)),
        Route::Unserved(name) => Ok(Routed::Missing(
            format!("/{name} is a route that this version of larder doesn't serve yet\n").into(),
        )),
        Route::Unknown => Ok(Routed::Missing(MAP.into())),
    });
    let door = Arc::clone(door);
    match routed {
        Ok(Routed::Bazel(scope, route)) => {
            ticket.answered_by("bazel");
            Box::pin(async move { door.frontends.bazel.answer(&scope, route, request).await })
        }
        Ok(Routed::Turborepo(scope, route)) => {
            ticket.answered_by("turborepo");
            Box::pin(async move { door.frontends.turborepo.answer(&scope, route, request).await })
        }
        Ok(Routed::Blob(scope, route)) => {
            ticket.answered_by("blob");
            Box::pin(async move { door.frontends.blob.answer(&scope, route, request).await })
        }
        Ok(Routed::Admin(Ok(page))) => {
            ticket.answered_by("admin");
            Box::pin(async move { show(&door.admin, page, request).await })
        }
        Ok(Routed::Admin(Err((status, words)))) => {
            ticket.answered_by("admin");
            Box::pin(plain(status, format!("{words}\n").into(), request))
        }
        Ok(Routed::Missing(words)) => Box::pin(plain(StatusCode::NOT_FOUND, words, request)),
        Err(error) => {
            let dialect = Dialect::of(request.uri().path());
            Box::pin(async move { door.frontends.refuse(dialect, &error, request).await })
        }
    }
}

/// A [`Route`] without the segments.
enum Routed {
    Bazel(Scope, bazel::Route),
    Turborepo(Scope, turborepo::Route),
    Blob(Scope, blob::Route),
    Admin(std::result::Result<Page, (StatusCode, &'static str)>),
    Missing(Cow<'static, str>),
}

// === impl Door ===

impl Door {
    pub(super) fn caller(&self, socket: &Socket) -> Caller {
        self.access.caller(socket)
    }
}

// === impl Dialect ===

impl Dialect {
    /// Judged by the path as it came: it may be one that doesn't decode.
    fn of(raw: &str) -> Self {
        if raw.starts_with("/blob/") {
            Self::Blob
        } else if raw.contains("/v8/artifacts") {
            Self::Turborepo
        } else if raw.contains("/cas/") || raw.contains("/ac/") {
            Self::Bazel
        } else {
            Self::Plain
        }
    }
}

/// Decodes and splits a path.
fn with_segments<T>(raw: &str, then: impl FnOnce(&[&str]) -> Result<T>) -> Result<T> {
    let path = decode(raw)?;
    let mut few = [""; 24];
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
    let mut count = 0;
    for segment in path.split('/').filter(|segment| !segment.is_empty()) {
        *segments.get_mut(count)? = segment;
        count += 1;
    }
    Some(count)
}

/// A line of text for a request that no frontend answers, after what the client still sends has been read.
async fn plain(status: StatusCode, words: Cow<'static, str>, request: Request<Uploading>) -> Answer {
    let (head, upload) = Upload::of(request);
    let answer = http::text(status, words);
    let answer = if head.method == hyper::Method::HEAD { http::without_body(answer) } else { answer };
    upload.finish(answer, DRAIN_BYTES_MAX).await
}

async fn show(admin: &Admin, page: Page, request: Request<Uploading>) -> Answer {
    let (head, upload) = Upload::of(request);
    let answer = match admin.show(page, &head.method).await {
        (status, Content::Text(words)) => http::text(status, words),
        (status, Content::Json(bytes)) => http::json(status, bytes),
    };
    let answer = if head.method == hyper::Method::HEAD { http::without_body(answer) } else { answer };
    upload.finish(answer, DRAIN_BYTES_MAX).await
}

/// What HTTP/1 is told when the daemon stops.
pub(super) fn last_on_its_connection(answer: Answer) -> Answer {
    http::closing(answer, Version::HTTP_11)
}

#[cfg(test)]
mod tests {
    use super::*;

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

    #[test]
    fn a_refusal_has_the_words_of_whom_the_path_was_for() {
        for (path, dialect) in [
            ("/blob/x/%00", Dialect::Blob),
            ("/ns/v8/artifacts/%2e%2e", Dialect::Turborepo),
            ("/cas/%zz", Dialect::Bazel),
            ("/a/ac/..", Dialect::Bazel),
            ("/%00", Dialect::Plain),
        ] {
            assert_eq!(Dialect::of(path), dialect, "{path}");
        }
    }
}
