//! The generic blob route: anything with GET and PUT (Rush, Please, curl).
//!
//! ```text
//! GET HEAD                /blob/{ns}/{name…}    one range, ETag, conditions
//! PUT POST PATCH DELETE   /blob/{ns}/{name…}    conditions; POST and PATCH are whole bodies too (Rush's uploadMethod)
//! ```
//!
//! Names may change what they mean. A body over `entry_max` is read to its end, acknowledged and not kept: tools of
//! this kind (Rush) end a build with an error when a PUT is refused. The type of a body is kept and given back.

mod read;
mod write;

use std::borrow::{Borrow, Cow};
use std::ops::Range;
use std::sync::Arc;
use std::time::Duration;

use hyper::{Method, Request, StatusCode};

use super::http::{self, Answer, Incoming, Upload};
use super::{Context, Intent};
use crate::error::{Error, Kind, Result};
use crate::key::{Key, Layout, Name, Naming, Scope, Space};
use crate::stats::ProtocolStats;

/// The generic blob route.
#[derive(Debug)]
pub struct Frontend {
    context: Arc<Context>,
    stats: Arc<ProtocolStats>,
}

/// What a path below `/blob` names.
#[derive(Debug)]
pub enum Route {
    /// An entry.
    Entry(Name),
    /// A path that can't be served, and why.
    Refused(Error),
}

/// Generic blobs. A minute is what their clients' own local copies outlive anyway.
pub const BLOB: Space =
    Space::new("blob", Naming::Mutable { max_age: Duration::from_secs(60) }, Layout::Namespaced);

/// The attribute that keeps a body's `Content-Type`.
const CONTENT_TYPE_ATTR: &str = "contenttype";
const MISS: &str = "not in the cache\n";
const ALLOW: &str = "GET, HEAD, PUT, POST, PATCH, DELETE";

// === impl Route ===

impl Route {
    /// The route of a path, and which of its segments are the namespace. `None`: not a path of this frontend.
    pub fn parse<S: Borrow<str>>(segments: &[S]) -> Option<(Range<usize>, Self)> {
        let (first, rest) = segments.split_first()?;
        if first.borrow() != "blob" {
            return None;
        }
        let Some((_, name)) = rest.split_first() else {
            return Some((
                0..0,
                Self::Refused(Error::invalid("the path needs a namespace: /blob/{ns}/{name}")),
            ));
        };
        Some((1..2, parse_name(name).map_or_else(Self::Refused, Self::Entry)))
    }
}

fn parse_name<S: Borrow<str>>(segments: &[S]) -> Result<Name> {
    if segments.is_empty() {
        return Err(Error::invalid("the path needs a name: /blob/{ns}/{name}"));
    }
    if segments.iter().any(|segment| matches!(segment.borrow(), "" | "." | "..")) {
        return Err(Error::invalid("a name can't have an empty, `.` or `..` segment; give the plain path"));
    }
    let joined: Cow<'_, str> = match segments {
        [one] => one.borrow().into(),
        several => several.join("/").into(),
    };
    if joined.bytes().any(|byte| byte.is_ascii_control()) {
        return Err(Error::invalid("a name can't have a NUL or another control byte; leave it out"));
    }
    Name::parse(&joined)
}

// === impl Frontend ===

impl Frontend {
    /// A frontend over `context`.
    pub fn new(context: Arc<Context>) -> Self {
        Self { stats: context.stats("blob"), context }
    }

    /// The answer to a plain GET that the memory tier has.
    pub fn answer_now<B>(&self, scope: &Scope, route: &Route, request: &Request<B>) -> Option<Answer> {
        match route {
            Route::Entry(name) if *request.method() == Method::GET => {
                let key = Key::Named { space: BLOB, name: name.clone() };
                self.get_now(scope, &key, request.headers())
            }
            Route::Entry(_) | Route::Refused(_) => None,
        }
    }

    /// Answers a request.
    pub async fn answer<B: Incoming>(&self, scope: &Scope, route: Route, request: Request<B>) -> Answer {
        let name = match route {
            Route::Entry(name) => name,
            Route::Refused(error) => return Box::pin(self.refuse_request(&error, request)).await,
        };
        let key = Key::Named { space: BLOB, name };
        match *request.method() {
            Method::GET => self.get(scope, &key, request.headers()).await,
            Method::HEAD => http::without_body(self.head(scope, &key, request.headers()).await),
            // Boxed, so that a GET isn't answered from a future with room for an upload.
            Method::PUT | Method::POST | Method::PATCH => Box::pin(self.put(scope, key, request)).await,
            Method::DELETE => Box::pin(self.delete(scope, &key, request)).await,
            _ => Box::pin(self.other_method(request)).await,
        }
    }

    fn miss(&self) -> Answer {
        self.stats.misses.one();
        http::text(StatusCode::NOT_FOUND, MISS)
    }

    /// What a failure looks like in this dialect. A write that failed because of us is acknowledged, and counted as
    /// shed.
    pub(crate) fn refuse(&self, error: &Error, intent: Intent) -> Answer {
        let status = match (error.kind(), intent) {
            (Kind::Invalid | Kind::Mismatch, _) => StatusCode::BAD_REQUEST,
            (Kind::TooLarge, _) => StatusCode::PAYLOAD_TOO_LARGE,
            (Kind::Denied, _) => StatusCode::FORBIDDEN,
            (Kind::Precondition, _) => StatusCode::PRECONDITION_FAILED,
            (Kind::Unsupported, _) => StatusCode::UNSUPPORTED_MEDIA_TYPE,
            (Kind::NoSpace | Kind::Unavailable | Kind::Corrupt | Kind::Internal, Intent::Read) => {
                return self.miss();
            }
            (Kind::NoSpace | Kind::Unavailable | Kind::Corrupt | Kind::Internal, Intent::Write) => {
                self.stats.puts.one();
                self.context.lose(error);
                return http::empty(StatusCode::OK);
            }
        };
        self.stats.refused.one();
        http::text(status, format!("{}\n", error.message()))
    }

    /// Refuses a whole request: its body is read before it is answered.
    pub(crate) async fn refuse_request<B: Incoming>(&self, error: &Error, request: Request<B>) -> Answer {
        let (head, upload) = Upload::of(request);
        let answer = match head.method {
            Method::GET | Method::HEAD => self.refuse(error, Intent::Read),
            _ => self.refuse(error, Intent::Write),
        };
        upload.finish(answer, self.context.settings.drain_bytes_max).await
    }

    async fn other_method<B: Incoming>(&self, request: Request<B>) -> Answer {
        self.stats.refused.one();
        let (head, upload) = Upload::of(request);
        let words = http::no_such_method(&head.method, ALLOW) + "\n";
        let answer = http::allowing(http::text(StatusCode::METHOD_NOT_ALLOWED, words), ALLOW);
        upload.finish(answer, self.context.settings.drain_bytes_max).await
    }
}
