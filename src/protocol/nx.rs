//! Nx's self-hosted remote cache.
//!
//! ```text
//! GET HEAD PUT  [/ns…]/v1/cache/{hash}    one task's outputs, a tar in gzip; the hash is a u64 in decimal
//! ```
//!
//! Observed with Nx 24.0.6. No other client is as hard to please: a GET that isn't 200 or 404 ends its run, a PUT that
//! isn't 200 is sent six times and then fails the task; only 403 (and 409) it takes for "not stored", in silence. So
//! whatever can't be read is a 404 here, and whatever isn't stored is a 403, with the reason in words for whoever
//! looks; only a caller who isn't let in is told so, by the 401 whose text Nx shows. It reads such a text only behind
//! exactly `text/plain`.
//!
//! What isn't gzip is neither taken nor given: Nx ends its run over a 200 that it can't unpack. Nor does it go on after
//! one that breaks off, so that what comes from upstream is answered whole, if it is in time. Never a 409, which
//! would make a damaged entry stay for ever: a PUT overwrites.
//!
//! Upstream an archive is the object `{hash}`, as npm `@nx/s3-cache` 5.0.7 and the usual self-hosted servers have it.
//! What that package puts there is another archive, though: outputs below `outputs/`, `terminalOutputs`, the code in
//! decimal. Nx can't restore it by this protocol, so it is a miss.

use std::borrow::Cow;
use std::ops::Range;
use std::sync::Arc;

use hyper::header::{CONTENT_TYPE, HeaderMap};
use hyper::{Method, Request, StatusCode};

use super::http::{self, Answer, Dialect, Incoming, Upload};
use super::{Context, Intent, WHOLE_BYTES_MAX};
use crate::entry::{Attrs, ByteRange, Claim, Hit, Meta, Precondition};
use crate::error::{Error, Kind, Result};
use crate::key::{Key, Layout, Name, Naming, Scope, Space};
use crate::stats::ProtocolStats;

/// Nx's protocol.
#[derive(Debug)]
pub struct Frontend {
    context: Arc<Context>,
    stats: Arc<ProtocolStats>,
}

/// What a path of this protocol names.
#[derive(Debug)]
pub enum Route {
    /// `v1/cache/{hash}`.
    Archive(Name),
    /// A path of this protocol that can't be served, and why.
    Refused(Error),
}

/// A body as it comes, held against what every gzip file is.
#[derive(Debug, Default)]
struct Gzip {
    /// Bytes seen.
    len: u64,
}

/// Task outputs, under the names that npm `@nx/s3-cache` gives them.
pub const ARCHIVES: Space = Space::new("nx", Naming::Immutable, Layout::Verbatim)
    .with_route("", "v1/cache")
    .whole_up_to(WHOLE_BYTES_MAX);

/// The digits of the largest u64.
const HASH_BYTES_MAX: usize = 20;
/// How a gzip file begins: its mark, and the one method of compression that there is.
const GZIP: [u8; 3] = [0x1f, 0x8b, 8];
/// Where its head names the system that it was written on. Nx's own writer says it isn't known; Node's zlib, with
/// which npm `@nx/s3-cache` writes, names it.
const GZIP_SYSTEM: usize = 9;
const GZIP_SYSTEM_UNKNOWN: u8 = 0xff;
/// Its head and its trailer, with nothing between.
const GZIP_BYTES_MIN: u64 = 18;

// === impl Route ===

impl Route {
    /// The route of a path, and which of its segments are the namespace. `None`: not a path of this protocol.
    pub fn parse<S: AsRef<str>>(segments: &[S]) -> Option<(Range<usize>, Self)> {
        let at = segments.len().checked_sub(3)?;
        let [v1, cache, hash] = [0, 1, 2].map(|place| segments[at + place].as_ref());
        if (v1, cache) != ("v1", "cache") {
            return None;
        }
        Some((0..at, parse_hash(hash).map_or_else(Self::Refused, Self::Archive)))
    }
}

fn parse_hash(hash: &str) -> Result<Name> {
    if !(1..=HASH_BYTES_MAX).contains(&hash.len()) || !hash.bytes().all(|byte| byte.is_ascii_digit()) {
        return Err(Error::invalid("an Nx hash is 1 to 20 decimal digits"));
    }
    Name::parse(hash)
}

// === impl Frontend ===

impl Frontend {
    /// A frontend over `context`.
    pub fn new(context: Arc<Context>) -> Self {
        Self { stats: context.stats("nx"), context }
    }

    /// The answer to a plain GET that the memory tier has.
    pub fn answer_now<B>(&self, scope: &Scope, route: &Route, request: &Request<B>) -> Option<Answer> {
        match route {
            Route::Archive(name) if *request.method() == Method::GET => {
                let key = Key::Named { space: ARCHIVES, name: name.clone() };
                let hit = self.context.cache.get_now(scope, &key)?;
                is_archive(&hit).then(|| self.hit(hit))
            }
            Route::Archive(_) | Route::Refused(_) => None,
        }
    }

    /// Answers a request.
    pub async fn answer<B: Incoming>(&self, scope: &Scope, route: Route, request: Request<B>) -> Answer {
        let name = match route {
            Route::Archive(name) => name,
            Route::Refused(error) => return Box::pin(self.refuse_request(&error, request)).await,
        };
        let key = Key::Named { space: ARCHIVES, name };
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
        let mut put = self.context.cache.put(scope, key, claim, Attrs::default(), Precondition::None).await?;
        let mut gzip = Gzip::default();
        upload.write_checked(&mut put, |piece| gzip.check(piece)).await?;
        gzip.end()?;
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

    fn describe(&self, headers: &mut HeaderMap, _: &Meta) {
        headers.insert(CONTENT_TYPE, http::OCTETS);
    }

    fn line(&self, status: StatusCode, words: Cow<'static, str>) -> Answer {
        let mut answer = http::text(status, words);
        answer.headers_mut().insert(CONTENT_TYPE, http::BARE_TEXT);
        answer
    }

    async fn get(&self, scope: &Scope, key: &Key) -> Answer {
        match self.context.cache.get(scope, key, ByteRange::Full).await {
            Ok(Some(hit)) => match begun(hit).await {
                Some(hit) => self.hit(hit),
                None => self.miss(),
            },
            Ok(None) => self.miss(),
            Err(error) => self.refuse(&error, Intent::Read),
        }
    }

    fn refuse(&self, error: &Error, intent: Intent) -> Answer {
        let status = match (error.kind(), intent) {
            (Kind::NoSpace | Kind::Unavailable | Kind::Corrupt | Kind::Internal, Intent::Read) => {
                return self.miss();
            }
            (Kind::NoSpace | Kind::Unavailable | Kind::Corrupt | Kind::Internal, Intent::Write) => {
                return self.lost(error);
            }
            (Kind::Denied, Intent::Read) => StatusCode::UNAUTHORIZED,
            (
                Kind::Invalid | Kind::Mismatch | Kind::TooLarge | Kind::Precondition | Kind::Unsupported,
                Intent::Read,
            ) => StatusCode::NOT_FOUND,
            (
                Kind::Invalid
                | Kind::Mismatch
                | Kind::TooLarge
                | Kind::Denied
                | Kind::Precondition
                | Kind::Unsupported,
                Intent::Write,
            ) => StatusCode::FORBIDDEN,
        };
        self.refused(status, error)
    }
}

/// The hit, if it begins well, and as an archive does that Nx can restore.
async fn begun(hit: Hit) -> Option<Hit> {
    let Hit { meta, range, body, from } = hit;
    let body = match body.begun().await {
        Ok(body) => body,
        Err(error) => {
            tracing::debug!(%error, "an archive doesn't begin well and is taken as a miss");
            return None;
        }
    };
    let hit = Hit { meta, range, body, from };
    let is_archive = is_archive(&hit);
    if !is_archive {
        tracing::debug!("an entry is no archive of Nx's own and is taken as a miss");
    }
    is_archive.then_some(hit)
}

/// Whether it looks like an archive, as far as it is here. What another writer of the bucket has put under such a name
/// has no digest of ours, and may be npm `@nx/s3-cache`'s.
fn is_archive(hit: &Hit) -> bool {
    let head = hit.body.peek();
    let is_own = || head.get(GZIP_SYSTEM).is_none_or(|system| *system == GZIP_SYSTEM_UNKNOWN);
    hit.meta.len >= GZIP_BYTES_MIN
        && Gzip::default().check(head).is_ok()
        && (hit.meta.digest.is_some() || is_own())
}

// === impl Gzip ===

impl Gzip {
    /// Takes the next piece.
    fn check(&mut self, piece: &[u8]) -> Result<()> {
        let expected = GZIP.get(self.len as usize..).unwrap_or_default();
        self.len += piece.len() as u64;
        let count = expected.len().min(piece.len());
        if expected[..count] == piece[..count] { Ok(()) } else { Err(no_archive()) }
    }

    /// Says whether all of it was long enough.
    fn end(&self) -> Result<()> {
        if self.len >= GZIP_BYTES_MIN { Ok(()) } else { Err(no_archive()) }
    }
}

fn no_archive() -> Error {
    Error::invalid("the body is no gzip archive, and is not stored: Nx would end its run over it")
}

#[cfg(test)]
mod tests {
    use bytes::Bytes;

    use super::*;
    use crate::body::Body;
    use crate::digest::{Digest, Function};
    use crate::entry::Tier;

    /// The head that Nx's own writer makes, and that of Node's zlib, in a file long enough.
    #[test]
    fn what_the_npm_package_packs_is_no_archive_of_nx() {
        let ours = Some(Digest::of(Function::Blake3, b"ours"));
        for (system, digest, expected) in
            [(0xff, None, true), (0x03, None, false), (0x13, None, false), (0x03, ours, true)]
        {
            let mut file = [0; 40];
            file[..3].copy_from_slice(&GZIP);
            file[GZIP_SYSTEM] = system;
            let body = Body::bytes(Bytes::copy_from_slice(&file));
            let meta = Meta {
                len: 40,
                digest,
                etag: "etag".into(),
                attrs: Attrs::default(),
                stored_ms: 0,
                origin_etag: None,
            };
            let hit = Hit { meta: Arc::new(meta), range: 0..40, body, from: Tier::Upstream };
            assert_eq!(is_archive(&hit), expected, "{system:x} {digest:?}");
        }
    }
}
