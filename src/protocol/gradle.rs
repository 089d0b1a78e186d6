//! Gradle's HTTP build cache, and whatever else speaks its protocol.
//!
//! ```text
//! GET HEAD PUT  /gradle[/ns…]/{32 hex}    the outputs of one task; HEAD for those who look
//! ```
//!
//! Observed with Gradle 4.4.1, read in the source of 8 and 9. A hit is any 2xx, a miss is 404, and the first answer of
//! another kind switches the remote cache off for the rest of the build, reads and writes. So nothing that is ours is
//! ever such an answer, and a body over `entry_max` is taken with 200 and shed: a 413 is no exception in Gradle's code,
//! whatever its manual says. A key that is none, or a bad namespace, is refused: that is a URL to be corrected.

use std::ops::Range;
use std::sync::Arc;

use hyper::header::{CONTENT_TYPE, HeaderMap, HeaderValue};
use hyper::{Method, Request};

use super::Context;
use super::http::{self, Answer, Dialect, Incoming, Upload};
use crate::entry::{Claim, Meta, Precondition};
use crate::error::{Error, Result};
use crate::key::{Key, Layout, Name, Naming, Scope, Space};
use crate::stats::ProtocolStats;

/// Gradle's protocol.
#[derive(Debug)]
pub struct Frontend {
    context: Arc<Context>,
    stats: Arc<ProtocolStats>,
}

/// What a path below `/gradle` names.
#[derive(Debug)]
pub enum Route {
    /// An entry.
    Entry(Name),
    /// A path that can't be served, and why.
    Refused(Error),
}

/// Task outputs, by the hash of everything that went into the task.
pub const ENTRIES: Space = Space::new("gradle", Naming::Immutable, Layout::Namespaced);

/// Bytes of an MD5 in hex: what Gradle calls a cache key.
const KEY_BYTES: usize = 32;
/// What Gradle asks for since 5.0; 4 stores `.v1`, which comes back as it was sent.
const ARTIFACT: HeaderValue = HeaderValue::from_static("application/vnd.gradle.build-cache-artifact.v2");

// === impl Route ===

impl Route {
    /// The route of a path, and which of its segments are the namespace. `None`: not a path of this protocol.
    pub fn parse<S: AsRef<str>>(segments: &[S]) -> Option<(Range<usize>, Self)> {
        let (first, rest) = segments.split_first()?;
        if first.as_ref() != "gradle" {
            return None;
        }
        let key = rest.last().map_or("", AsRef::as_ref);
        let is_hex = |byte: u8| byte.is_ascii_digit() || (b'a'..=b'f').contains(&byte);
        if key.len() != KEY_BYTES || !key.bytes().all(is_hex) {
            let words = "a path ends in a cache key of 32 lower-case hex digits: /gradle[/ns]/{key}; the URL to \
                         give to Gradle ends before it";
            return Some((0..0, Self::Refused(Error::invalid(words))));
        }
        Some((1..segments.len() - 1, Name::parse(key).map_or_else(Self::Refused, Self::Entry)))
    }
}

// === impl Frontend ===

impl Frontend {
    /// A frontend over `context`.
    pub fn new(context: Arc<Context>) -> Self {
        Self { stats: context.stats("gradle"), context }
    }

    /// The answer to a plain GET that the memory tier has.
    pub fn answer_now<B>(&self, scope: &Scope, route: &Route, request: &Request<B>) -> Option<Answer> {
        match route {
            Route::Entry(name) if *request.method() == Method::GET => {
                let key = Key::Named { space: ENTRIES, name: name.clone() };
                self.context.cache.get_now(scope, &key).map(|hit| self.hit(hit))
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
        let key = Key::Named { space: ENTRIES, name };
        match *request.method() {
            Method::GET => self.get(scope, &key).await,
            Method::HEAD => self.head(scope, &key).await,
            // Boxed, so that a GET isn't answered from a future with room for an upload.
            Method::PUT => Box::pin(self.put(scope, key, request)).await,
            _ => Box::pin(self.other_method("GET, HEAD, PUT", request)).await,
        }
    }

    async fn put<B: Incoming>(&self, scope: &Scope, key: Key, request: Request<B>) -> Answer {
        let (head, mut upload) = Upload::of(request);
        let result = self.store(scope, key, &head.headers, &mut upload).await;
        self.stored(result, upload).await
    }

    async fn store<B: Incoming>(
        &self,
        scope: &Scope,
        key: Key,
        headers: &HeaderMap,
        upload: &mut Upload<B>,
    ) -> Result<()> {
        http::identity_only(headers)?;
        let claim = Claim { len: upload.len(), digest: None };
        let attrs = http::kept_type(headers)?;
        let mut put = self.context.cache.put(scope, key, claim, attrs, Precondition::None).await?;
        upload.write_to(&mut put).await?;
        put.commit().await?;
        Ok(())
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
        headers.insert(CONTENT_TYPE, http::type_of(meta).unwrap_or(ARTIFACT));
    }
}
