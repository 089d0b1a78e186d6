//! Turborepo's remote cache, whole.
//!
//! ```text
//! GET HEAD PUT  [/ns…]/v8/artifacts/{hash}?teamId=…|slug=…   one task's outputs, with tag and duration
//! POST          [/ns…]/v8/artifacts                         which of these hashes are there (`turbo run --dry`)
//! POST          [/ns…]/v8/artifacts/events                  what turbo hit and missed; taken without a token
//! GET           [/ns…]/v8/artifacts/status                  always enabled
//! OPTIONS       any of these                                preflight (`TURBO_PREFLIGHT`)
//! ```
//!
//! Observed with turbo 2.11.11. A failure is JSON, `{"error":{"code","message"}}`: another 403 draws a warning for
//! every artifact. A PUT is answered with 200 and the reference's `urls`. Tags are opaque here: turbo signs and checks
//! them with a key that the daemon doesn't have; a hit without its tag is a miss to a signing client.
//!
//! Names and tags lie upstream as npm `turborepo-remote-cache` 2.12.0 has them: `{team}/{hash}`, and beside it
//! `{team}/{hash}.tag` with nothing but the tag. That server keeps no duration and no commit; ours are metadata.

mod artifact;
mod query;

use std::borrow::Cow;
use std::ops::Range;
use std::sync::Arc;

use hyper::header::{ACCESS_CONTROL_ALLOW_HEADERS, ACCESS_CONTROL_ALLOW_METHODS, HeaderMap, HeaderValue};
use hyper::{Method, Request, StatusCode, Uri};
use serde::Serialize;

use super::Context;
use super::http::{self, Answer, Dialect, Incoming, Upload};
use crate::entry::Meta;
use crate::error::{Error, Result};
use crate::key::{Key, Layout, Name, Naming, Scope, Space};
use crate::stats::ProtocolStats;

/// Turborepo's protocol.
#[derive(Debug)]
pub struct Frontend {
    context: Arc<Context>,
    stats: Arc<ProtocolStats>,
}

/// What a path of this protocol names.
#[derive(Debug)]
pub enum Route {
    /// `v8/artifacts/{hash}`.
    Artifact(String),
    /// `v8/artifacts`.
    Query,
    /// `v8/artifacts/events`.
    Events,
    /// `v8/artifacts/status`.
    Status,
    /// A path of this protocol that can't be served, and why.
    Refused(Error),
}

/// Artifacts, where npm `turborepo-remote-cache` looks for them.
pub const ARTIFACTS: Space = Space::new("turborepo", Naming::Immutable, Layout::Verbatim)
    .with_route("", "v8/artifacts")
    .with_sibling(TAG_ATTR, ".tag");

/// The attribute that keeps `x-artifact-tag`.
const TAG_ATTR: &str = "artifacttag";
/// turbo's hashes have 16 hex digits today. Letters, digits, `-` and `_` leave room for others, and none for a dot:
/// `{hash}.tag` is the tag's.
const HASH_BYTES_MAX: usize = 128;
const TEAM_BYTES_MAX: usize = 128;
/// What turbo sends, and has to find here before it sends its token after a preflight.
const ALLOW_HEADERS: HeaderValue = HeaderValue::from_static(
    "Authorization, Content-Type, Content-Length, User-Agent, x-artifact-duration, x-artifact-tag, x-artifact-sha, \
     x-artifact-dirty-hash, x-artifact-client-ci, x-artifact-client-interactive",
);

// === impl Route ===

impl Route {
    /// The route of a path, and which of its segments are the namespace. `None`: not a path of this protocol.
    pub fn parse<S: AsRef<str>>(segments: &[S]) -> Option<(Range<usize>, Self)> {
        let at = segments.iter().position(|segment| segment.as_ref() == "v8")?;
        let mut rest = segments[at + 1..].iter().map(AsRef::as_ref);
        if rest.next() != Some("artifacts") {
            return None;
        }
        let route = match (rest.next(), rest.next()) {
            (None, _) => Self::Query,
            (Some("events"), None) => Self::Events,
            (Some("status"), None) => Self::Status,
            (Some(hash), None) => match check_hash(hash) {
                Ok(()) => Self::Artifact(hash.to_owned()),
                Err(error) => Self::Refused(error),
            },
            (Some(_), Some(_)) => return None,
        };
        Some((0..at, route))
    }
}

fn check_hash(hash: &str) -> Result<()> {
    let plain = |byte: u8| byte.is_ascii_alphanumeric() || matches!(byte, b'-' | b'_');
    if (1..=HASH_BYTES_MAX).contains(&hash.len()) && hash.bytes().all(plain) {
        return Ok(());
    }
    Err(Error::invalid("an artifact's hash is 1 to 128 letters, digits, `-` or `_`"))
}

// === impl Frontend ===

impl Frontend {
    /// A frontend over `context`.
    pub fn new(context: Arc<Context>) -> Self {
        Self { stats: context.stats("turborepo"), context }
    }

    /// The answer to a plain GET that the memory tier has.
    pub fn answer_now<B>(&self, scope: &Scope, route: &Route, request: &Request<B>) -> Option<Answer> {
        match route {
            Route::Artifact(hash) if *request.method() == Method::GET => {
                let key = self.key(hash, request.uri()).ok()?;
                self.context.cache.get_now(scope, &key).map(|hit| self.hit(hit))
            }
            Route::Artifact(_) | Route::Query | Route::Events | Route::Status | Route::Refused(_) => None,
        }
    }

    /// Answers a request.
    pub async fn answer<B: Incoming>(&self, scope: &Scope, route: Route, request: Request<B>) -> Answer {
        if *request.method() == Method::OPTIONS {
            return self.preflight(request).await;
        }
        match (route, request.method()) {
            (Route::Artifact(hash), _) => match self.key(&hash, request.uri()) {
                Ok(key) => self.answer_artifact(scope, key, request).await,
                Err(error) => self.refuse_request(&error, request).await,
            },
            (Route::Query, &Method::POST) => self.query(scope, request).await,
            (Route::Query, _) => self.other_method("POST, OPTIONS", request).await,
            (Route::Events, &Method::POST) => self.note_events(request).await,
            (Route::Events, _) => self.other_method("POST, OPTIONS", request).await,
            (Route::Status, &Method::GET) => status(),
            (Route::Status, &Method::HEAD) => http::without_body(status()),
            (Route::Status, _) => self.other_method("GET, HEAD, OPTIONS", request).await,
            (Route::Refused(error), _) => self.refuse_request(&error, request).await,
        }
    }

    async fn answer_artifact<B: Incoming>(&self, scope: &Scope, key: Key, request: Request<B>) -> Answer {
        match *request.method() {
            Method::GET => self.get(scope, &key).await,
            Method::HEAD => self.head(scope, &key).await,
            Method::PUT => self.put(scope, key, request).await,
            _ => self.other_method("GET, HEAD, PUT, OPTIONS", request).await,
        }
    }

    /// `{team}/{hash}`: the team as turbo names it, by id where it has one.
    fn key(&self, hash: &str, uri: &Uri) -> Result<Key> {
        let mut name = team(uri)?;
        name.push('/');
        name.push_str(hash);
        Ok(Key::Named { space: ARTIFACTS, name: Name::parse(&name)? })
    }

    async fn preflight<B: Incoming>(&self, request: Request<B>) -> Answer {
        let (_, upload) = Upload::of(request);
        let mut answer = http::empty(StatusCode::OK);
        let methods = HeaderValue::from_static("GET, HEAD, PUT, POST, OPTIONS");
        answer.headers_mut().insert(ACCESS_CONTROL_ALLOW_METHODS, methods);
        answer.headers_mut().insert(ACCESS_CONTROL_ALLOW_HEADERS, ALLOW_HEADERS);
        upload.finish(answer, self.context.settings.drain_bytes_max).await
    }
}

impl Dialect for Frontend {
    fn context(&self) -> &Context {
        &self.context
    }

    fn stats(&self) -> &ProtocolStats {
        &self.stats
    }

    fn describe(&self, headers: &mut HeaderMap, meta: &Meta) {
        artifact::describe(headers, meta);
    }

    fn line(&self, status: StatusCode, words: Cow<'static, str>) -> Answer {
        failure(status, words.trim_end())
    }

    fn kept(&self) -> Answer {
        http::json(StatusCode::OK, "{}")
    }
}

/// turbo's banner. It gives this answer 250 ms, and goes on without it.
fn status() -> Answer {
    http::json(StatusCode::OK, r#"{"status":"enabled"}"#)
}

/// Its code is the status in words: `not_found`.
fn failure(status: StatusCode, message: &str) -> Answer {
    #[derive(Serialize)]
    struct Failure<'a> {
        error: Words<'a>,
    }
    #[derive(Serialize)]
    struct Words<'a> {
        code: String,
        message: &'a str,
    }
    let code = status.canonical_reason().unwrap_or("error").to_ascii_lowercase().replace(' ', "_");
    let body = serde_json::to_vec(&Failure { error: Words { code, message } });
    http::json(status, body.expect("strings serialize"))
}

/// The team of a request: `teamId`, else `team` (older clients), else `slug`.
fn team(uri: &Uri) -> Result<String> {
    let named = |parameter| http::query(uri.query(), parameter).filter(|value| !value.is_empty());
    let team = named("teamId").or_else(|| named("team")).or_else(|| named("slug"));
    let team = team.ok_or_else(|| {
        Error::invalid(
            "the request names no team: set TURBO_TEAM, or TURBO_TEAMID to one that begins with team_",
        )
    })?;
    let bad = team.len() > TEAM_BYTES_MAX
        || matches!(team.as_str(), "." | "..")
        || team.bytes().any(|byte| byte.is_ascii_control() || matches!(byte, b'/' | b'\\'));
    if bad {
        return Err(Error::invalid(
            "a team is at most 128 bytes without a slash, a control byte or a dot alone",
        ));
    }
    Ok(team)
}
