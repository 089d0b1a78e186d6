//! The cache protocol of Bazel over HTTP, which Mill, moon (`api: http`) and bazel-remote's other clients speak too.
//!
//! ```text
//! GET HEAD PUT  [/ns…]/cas/{hash}      the bytes of that digest, verified; one for all namespaces
//! GET HEAD PUT  [/ns…]/ac/{hash}       an action result, opaque or not; JSON where the client asks for it
//! GET HEAD      [/ns…]/status          bazel-remote's keys; moon only looks at the status
//! ```
//!
//! A hash is of SHA-256; in a namespace that says so, of BLAKE3. A PUT is answered with 200: every client takes it. A
//! miss is a 404 with a length, without which Bazel fails the read. The empty blob is always there. 5xx never happens:
//! Bazel repeats those five times, for 3 s an action.

use std::ops::Range;
use std::sync::Arc;
use std::time::{SystemTime, UNIX_EPOCH};

use hyper::header::CONTENT_TYPE;
use hyper::{HeaderMap, Method, Request, StatusCode};

use super::http::{self, Answer, Dialect, Incoming, Upload};
use super::reapi::messages;
use super::{AC, Context, Intent};
use crate::digest::{Digest, Function};
use crate::entry::{Attrs, ByteRange, Claim, Meta, Precondition};
use crate::error::{Error, Result};
use crate::key::{Key, Name, Scope};
use crate::links::PARSED_BYTES_MAX;
use crate::stats::ProtocolStats;

/// Bazel's HTTP protocol.
#[derive(Debug)]
pub struct Frontend {
    context: Arc<Context>,
    stats: Arc<ProtocolStats>,
}

/// What a path of this protocol names.
#[derive(Debug)]
pub enum Route {
    /// `cas/{hash}`; of which function is for the namespace to say.
    Content([u8; 32]),
    /// `ac/{digest}`.
    Action(Name),
    /// `status`.
    Status,
    /// A path of this protocol that can't be served, and why.
    Refused(Error),
}

/// An action result in JSON may be longer than its binary form: names of fields, hex in both.
const JSON_BYTES_MAX: u64 = 2 * PARSED_BYTES_MAX as u64;

// === impl Route ===

impl Route {
    /// The route of a path, and which of its segments are the namespace. `None`: not a path of this protocol.
    pub fn parse<S: AsRef<str>>(segments: &[S]) -> Option<(Range<usize>, Self)> {
        let last = segments.len().checked_sub(1)?;
        let name = segments[last].as_ref();
        if name == "status" {
            return Some((0..last, Self::Status));
        }
        let folder = last.checked_sub(1)?;
        let route = match segments[folder].as_ref() {
            "cas" => Digest::parse(Function::default(), name).map(|digest| Self::Content(*digest.hash())),
            "ac" => {
                let checked = Digest::parse(Function::default(), name).and_then(|_| Name::parse(name));
                checked.map(Self::Action)
            }
            _ => return None,
        };
        Some((0..folder, route.unwrap_or_else(Self::Refused)))
    }
}

// === impl Frontend ===

impl Frontend {
    /// A frontend over `context`.
    pub fn new(context: Arc<Context>) -> Self {
        Self { stats: context.stats("bazel"), context }
    }

    /// The answer to a plain GET that the memory tier has.
    pub fn answer_now<B>(&self, scope: &Scope, route: &Route, request: &Request<B>) -> Option<Answer> {
        match route {
            // Action results are never answered from memory alone: what they name may be gone.
            Route::Content(hash) if *request.method() == Method::GET => {
                self.context.cache.get_now(scope, &content(scope, *hash)).map(|hit| self.hit(hit))
            }
            Route::Content(_) | Route::Action(_) | Route::Status | Route::Refused(_) => None,
        }
    }

    /// Answers a request.
    pub async fn answer<B: Incoming>(&self, scope: &Scope, route: Route, request: Request<B>) -> Answer {
        match route {
            Route::Content(hash) => self.answer_entry(scope, content(scope, hash), false, request).await,
            Route::Action(name) => {
                self.answer_entry(scope, Key::Named { space: AC, name }, true, request).await
            }
            Route::Status => match *request.method() {
                Method::GET => self.status().await,
                Method::HEAD => http::without_body(self.status().await),
                _ => self.other_method("GET, HEAD", request).await,
            },
            Route::Refused(error) => self.refuse_request(&error, request).await,
        }
    }

    async fn answer_entry<B: Incoming>(
        &self,
        scope: &Scope,
        key: Key,
        is_action: bool,
        request: Request<B>,
    ) -> Answer {
        let as_json = is_action && http::accepts_json(request.headers());
        match *request.method() {
            Method::GET if as_json => self.get_json(scope, &key).await,
            Method::GET => self.get(scope, &key).await,
            Method::HEAD if as_json => http::without_body(self.get_json(scope, &key).await),
            Method::HEAD => self.head(scope, &key).await,
            Method::PUT => self.put(scope, key, is_action, request).await,
            _ => self.other_method("GET, HEAD, PUT", request).await,
        }
    }

    async fn get_json(&self, scope: &Scope, key: &Key) -> Answer {
        let hit = match self.context.cache.get(scope, key, ByteRange::Full).await {
            Ok(Some(hit)) => hit,
            Ok(None) => return self.miss(),
            Err(error) => return self.refuse(&error, Intent::Read),
        };
        let from = hit.from;
        match hit.body.collect(PARSED_BYTES_MAX as u64).await {
            Ok(bytes) => match messages::to_json(scope.policy.digest, &bytes) {
                Some(json) => {
                    self.stats.hit(from);
                    self.stats.bytes_out.add(json.len() as u64);
                    http::json(StatusCode::OK, json)
                }
                None => self.miss(),
            },
            // Longer than any action result that is parsed, or it broke off: nothing of it has been sent.
            Err(_) => self.miss(),
        }
    }

    async fn put<B: Incoming>(
        &self,
        scope: &Scope,
        key: Key,
        is_action: bool,
        request: Request<B>,
    ) -> Answer {
        let (head, mut upload) = Upload::of(request);
        let result = self.store(scope, key, is_action, &head.headers, &mut upload).await;
        self.stats.bytes_in.add(upload.taken());
        let answer = match result {
            Ok(()) => {
                self.stats.puts.one();
                http::empty(StatusCode::OK)
            }
            Err(error) => self.refuse(&error, Intent::Write),
        };
        upload.finish(answer, self.context.settings.drain_bytes_max).await
    }

    async fn store<B: Incoming>(
        &self,
        scope: &Scope,
        key: Key,
        is_action: bool,
        headers: &HeaderMap,
        upload: &mut Upload<B>,
    ) -> Result<()> {
        http::identity_only(headers)?;
        let cache = &self.context.cache;
        if is_action && http::sends_json(headers) {
            let bytes = messages::from_json(scope.policy.digest, &upload.collect(JSON_BYTES_MAX).await?)?;
            let claim = Claim { len: Some(bytes.len() as u64), digest: None };
            let mut put = cache.put(scope, key, claim, Attrs::default(), Precondition::None).await?;
            put.write(bytes.into()).await?;
            put.commit().await?;
            return Ok(());
        }
        let claim = Claim { len: upload.len(), digest: None };
        let mut put = cache.put(scope, key, claim, Attrs::default(), Precondition::None).await?;
        upload.write_to(&mut put).await?;
        put.commit().await?;
        Ok(())
    }

    /// bazel-remote's keys, so that what watches one can watch the other. What Larder has no such number for is 0.
    async fn status(&self) -> Answer {
        let disk = self.context.cache.status().await.disk;
        let now = SystemTime::now().duration_since(UNIX_EPOCH).map_or(0, |since| since.as_secs());
        let status = serde_json::json!({
            "CurrSize": disk.bytes,
            "UncompressedSize": disk.bytes,
            "ReservedSize": disk.draft_bytes,
            "MaxSize": self.context.cache.settings().disk,
            "NumFiles": disk.entries,
            "ServerTime": now,
            "GitCommit": "",
            "GitTags": concat!("larder-", env!("CARGO_PKG_VERSION")),
            "NumGoroutines": 0,
        });
        http::json(StatusCode::OK, status.to_string())
    }
}

impl Dialect for Frontend {
    fn context(&self) -> &Context {
        &self.context
    }

    fn stats(&self) -> &ProtocolStats {
        &self.stats
    }

    fn describe(&self, headers: &mut HeaderMap, _: &Meta) {
        headers.insert(CONTENT_TYPE, http::OCTETS);
    }
}

fn content(scope: &Scope, hash: [u8; 32]) -> Key {
    Key::Content(Digest::new(scope.policy.digest, hash))
}
