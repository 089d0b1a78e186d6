//! Named entries by GET, HEAD, PUT and DELETE, as RFC 9110 has them: what the frontends answer with whose clients have
//! no dialect of their own.
//!
//! One range, ETags, conditions. A PUT is answered with 200, for there are clients that take nothing else; one over
//! `entry_max` is read to its end, acknowledged and not kept, for there are clients (Rush, ccache) that punish a
//! refusal. The type of a body is kept and given back. In what frontends of this kind differ is their [`Rules`].

mod read;
mod write;

use std::borrow::Borrow;
use std::sync::Arc;

use hyper::header::HeaderValue;
use hyper::{Method, Request, StatusCode};

use super::{Answer, Incoming, Upload};
use super::{allowing, empty, no_such_method, text, without_body};
use crate::error::{Error, Kind, Result};
use crate::key::{Key, Name, Scope, Space};
use crate::protocol::{Context, Intent};
use crate::stats::ProtocolStats;

/// The frontend of one space of named entries.
#[derive(Debug)]
pub struct Entries {
    context: Arc<Context>,
    stats: Arc<ProtocolStats>,
    rules: Rules,
}

/// What a path names.
#[derive(Debug)]
pub enum Target {
    /// An entry.
    Entry(Name),
    /// Nothing: a path that can't be served, and why.
    Refused(Error),
}

/// In what frontends of this kind differ.
#[derive(Debug)]
pub(crate) struct Rules {
    /// Their family of names.
    pub(crate) space: Space,
    /// The methods, as `Allow` has them. POST and PATCH, where they are among them, are PUTs.
    pub(crate) allow: &'static str,
    /// The type of a body whose sender gave none.
    pub(crate) untyped: HeaderValue,
    /// Why an empty body is no entry of these clients; `None` where it is one.
    pub(crate) never_empty: Option<&'static str>,
    /// The answer to a DELETE of what isn't here, where DELETE is among the methods.
    pub(crate) nothing_deleted: StatusCode,
}

const MISS: &str = "not in the cache\n";

/// A name that is a path: what every upstream, and every client that normalizes its URLs, carries unchanged.
///
/// # Errors
/// `Invalid`, with the remedy.
pub(crate) fn path_name<S: Borrow<str>>(segments: &[S]) -> Result<Name> {
    if segments.iter().any(|segment| matches!(segment.borrow(), "" | "." | "..")) {
        return Err(Error::invalid("a name can't have an empty, `.` or `..` segment; give the plain path"));
    }
    let longer;
    let mut few = [0; 256];
    let joined = match segments {
        [one] => one.borrow(),
        several => match join(several, &mut few) {
            Some(joined) => joined,
            None => {
                longer = several.join("/");
                &longer
            }
        },
    };
    if joined.bytes().any(|byte| byte.is_ascii_control()) {
        return Err(Error::invalid("a name can't have a NUL or another control byte; leave it out"));
    }
    Name::parse(joined)
}

/// The segments as a path if `room` is enough, so that a usual one costs no allocation of its own.
fn join<'a, S: Borrow<str>>(segments: &[S], room: &'a mut [u8]) -> Option<&'a str> {
    let mut end = 0;
    for segment in segments {
        if end > 0 {
            *room.get_mut(end)? = b'/';
            end += 1;
        }
        let bytes = segment.borrow().as_bytes();
        room.get_mut(end..end + bytes.len())?.copy_from_slice(bytes);
        end += bytes.len();
    }
    std::str::from_utf8(&room[..end]).ok()
}

// === impl Target ===

impl Target {
    /// The entry of a name that parsed, or why it didn't.
    pub(crate) fn of(name: Result<Name>) -> Self {
        name.map_or_else(Self::Refused, Self::Entry)
    }

    /// A path that can't be served, for this reason.
    pub(crate) fn refused(words: &'static str) -> Self {
        Self::Refused(Error::invalid(words))
    }
}

// === impl Entries ===

impl Entries {
    /// Entries over `context`, counted under the protocol of their space.
    pub(crate) fn new(context: Arc<Context>, rules: Rules) -> Self {
        Self { stats: context.stats(rules.space.protocol), context, rules }
    }

    /// The protocol that it is, as stats and logs have it.
    pub fn protocol(&self) -> &'static str {
        self.rules.space.protocol
    }

    /// The answer to a plain GET that the memory tier has.
    pub fn answer_now<B>(&self, scope: &Scope, target: &Target, request: &Request<B>) -> Option<Answer> {
        match target {
            Target::Entry(name) if *request.method() == Method::GET => {
                self.get_now(scope, &self.key(name.clone()), request.headers())
            }
            Target::Entry(_) | Target::Refused(_) => None,
        }
    }

    /// Answers a request.
    pub async fn answer<B: Incoming>(&self, scope: &Scope, target: Target, request: Request<B>) -> Answer {
        let key = match target {
            Target::Entry(name) => self.key(name),
            Target::Refused(error) => return Box::pin(self.refuse_request(&error, request)).await,
        };
        match *request.method() {
            Method::GET => self.get(scope, &key, request.headers()).await,
            Method::HEAD => without_body(self.head(scope, &key, request.headers()).await),
            // Boxed, so that a GET isn't answered from a future with room for an upload.
            Method::PUT => Box::pin(self.put(scope, key, request)).await,
            Method::POST | Method::PATCH if self.allows(request.method()) => {
                Box::pin(self.put(scope, key, request)).await
            }
            Method::DELETE if self.allows(request.method()) => {
                Box::pin(self.delete(scope, &key, request)).await
            }
            _ => Box::pin(self.other_method(request)).await,
        }
    }

    fn key(&self, name: Name) -> Key {
        Key::Named { space: self.rules.space, name }
    }

    fn allows(&self, method: &Method) -> bool {
        self.rules.allow.split(", ").any(|known| known == method.as_str())
    }

    fn miss(&self) -> Answer {
        self.stats.misses.one();
        text(StatusCode::NOT_FOUND, MISS)
    }

    /// What a failure looks like. A write that failed because of us is acknowledged, and counted as shed.
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
                return empty(StatusCode::OK);
            }
        };
        self.stats.refused.one();
        text(status, format!("{}\n", error.message()))
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

    /// OPTIONS is answered with the methods: Maven's transport may ask it whether this is WebDAV.
    async fn other_method<B: Incoming>(&self, request: Request<B>) -> Answer {
        let (head, upload) = Upload::of(request);
        let allow = self.rules.allow;
        let answer = if head.method == Method::OPTIONS {
            empty(StatusCode::OK)
        } else {
            self.stats.refused.one();
            text(StatusCode::METHOD_NOT_ALLOWED, no_such_method(&head.method, allow) + "\n")
        };
        upload.finish(allowing(answer, allow), self.context.settings.drain_bytes_max).await
    }
}
