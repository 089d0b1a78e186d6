//! What the frontends do alike that have a dialect of their own: GET and HEAD of an entry, what is said when a PUT has
//! ended, and refusals that are sent when the whole request has been read.
//!
//! A [`Dialect`] says what is its own: the words, the headers of a hit, and what a failure looks like.

use std::borrow::Cow;

use hyper::header::{CONTENT_LENGTH, HeaderMap};
use hyper::{Method, Request, StatusCode};

use super::{Answer, Incoming, Upload, allowing, empty, hit, no_such_method, text, without_body};
use crate::entry::{ByteRange, Hit, Meta};
use crate::error::{Error, Kind, Result};
use crate::key::{Key, Scope};
use crate::protocol::{Context, Intent};
use crate::stats::{ProtocolStats, Shed};

/// One protocol's way to say it.
pub(crate) trait Dialect: Sync {
    /// What it works with.
    fn context(&self) -> &Context;

    /// What it counts.
    fn stats(&self) -> &ProtocolStats;

    /// The headers of a hit.
    fn describe(&self, headers: &mut HeaderMap, meta: &Meta);

    /// A line for a person who looks.
    fn line(&self, status: StatusCode, words: Cow<'static, str>) -> Answer {
        text(status, words)
    }

    /// A PUT has been taken.
    fn kept(&self) -> Answer {
        empty(StatusCode::OK)
    }

    /// It isn't here.
    fn miss(&self) -> Answer {
        self.stats().misses.one();
        self.line(StatusCode::NOT_FOUND, "not in the cache\n".into())
    }

    /// What a failure looks like.
    fn refuse(&self, error: &Error, intent: Intent) -> Answer {
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
                return self.lost(error);
            }
        };
        self.refused(status, error)
    }

    /// It is refused, and why.
    fn refused(&self, status: StatusCode, error: &Error) -> Answer {
        self.stats().refused.one();
        self.line(status, format!("{}\n", error.message()).into())
    }

    /// A write that failed because of us: acknowledged, and counted as shed.
    fn lost(&self, error: &Error) -> Answer {
        self.stats().puts.one();
        self.context().lose(error);
        self.kept()
    }

    /// Here it is.
    fn hit(&self, found: Hit) -> Answer {
        self.stats().hit(found.from);
        self.stats().bytes_out.add(found.body.len());
        let mut answer = hit(found.body, found.from);
        self.describe(answer.headers_mut(), &found.meta);
        answer
    }

    /// GET.
    async fn get(&self, scope: &Scope, key: &Key) -> Answer {
        match self.context().cache.get(scope, key, ByteRange::Full).await {
            Ok(Some(found)) => self.hit(found),
            Ok(None) => self.miss(),
            Err(error) => self.refuse(&error, Intent::Read),
        }
    }

    /// HEAD.
    async fn head(&self, scope: &Scope, key: &Key) -> Answer {
        let answer = match self.context().cache.head(scope, key).await {
            Ok(Some((meta, from))) => {
                self.stats().hit(from);
                let mut answer = empty(StatusCode::OK);
                self.describe(answer.headers_mut(), &meta);
                answer.headers_mut().insert(CONTENT_LENGTH, meta.len.into());
                answer
            }
            Ok(None) => self.miss(),
            Err(error) => self.refuse(&error, Intent::Read),
        };
        without_body(answer)
    }

    /// The answer to a PUT of which `result` came, to a client that punishes a refusal: a body over `entry_max` is read
    /// to its end, acknowledged and not kept.
    async fn stored<B: Incoming>(&self, result: Result<()>, upload: Upload<B>) -> Answer {
        self.stats().bytes_in.add(upload.taken());
        let (answer, drain_bytes_max) = match result {
            Ok(()) => {
                self.stats().puts.one();
                (self.kept(), 0)
            }
            Err(error) if error.kind() == Kind::TooLarge => {
                self.stats().puts.one();
                self.context().cache.shed(Shed::EntryMax);
                // Acknowledged, so read to its end: an answer that comes before it is a failure to its sender.
                (self.kept(), u64::MAX)
            }
            Err(error) => (self.refuse(&error, Intent::Write), self.context().settings.drain_bytes_max),
        };
        upload.finish(answer, drain_bytes_max).await
    }

    /// Refuses a whole request: its body is read before it is answered.
    async fn refuse_request<B: Incoming>(&self, error: &Error, request: Request<B>) -> Answer {
        let (head, upload) = Upload::of(request);
        let answer = match head.method {
            Method::GET | Method::HEAD => self.refuse(error, Intent::Read),
            _ => self.refuse(error, Intent::Write),
        };
        upload.finish(answer, self.context().settings.drain_bytes_max).await
    }

    /// Refuses a method that a path doesn't have.
    async fn other_method<B: Incoming>(&self, allow: &'static str, request: Request<B>) -> Answer {
        self.stats().refused.one();
        let (head, upload) = Upload::of(request);
        let words = no_such_method(&head.method, allow) + "\n";
        let answer = allowing(self.line(StatusCode::METHOD_NOT_ALLOWED, words.into()), allow);
        upload.finish(answer, self.context().settings.drain_bytes_max).await
    }
}
