//! The S3 door: this machine as a store of buckets.
//!
//! ```text
//! GET HEAD PUT DELETE  /s3/{bucket}/{key…}      objects: whole, in ranges, in parts, copies within a bucket
//! GET HEAD PUT POST    /s3/{bucket}             lists, uploads under way, deletes of several
//! ```
//! and the same at the root of a listener that is for S3 alone, or where the host names a bucket.
//!
//! Clients: sccache, Rush's S3 plugin, the SDKs, rclone, BuildKit, the cache programs of Go. An object upstream has the
//! client's own key.
//!
//! # Decisions
//! - A bucket is a namespace and exists by being named: looking at one and creating one succeed, deleting one is
//!   refused.
//! - A key that ends in `a/b/c/{64 hex}` with the hash's first three digits is sccache's and never changes what it means;
//!   others are compared with the upstream's when they are older than 5 s. Whatever the key, a write takes its place.
//! - Trouble of ours is `NoSuchKey` on a read and 200 on a write: sccache doesn't start over a 5xx, Rush fails a build
//!   over a write that is refused. So a body over `entry_max` is read, acknowledged and not kept.
//! - Parts have no least length; a list that completes an upload again, because the answer to it was lost, succeeds while
//!   the object is still the one that it made.
//! - Checksums are verified, kept, and given back for whole objects only; of an upload in parts there is none.

mod body;
mod buckets;
mod checksum;
mod chunked;
mod copy;
mod headers;
mod list;
mod multipart;
mod read;
mod refusal;
mod route;
mod sigv4;
mod write;

#[cfg(any(fuzzing, test))]
pub mod fuzzing;

use std::sync::Arc;
use std::time::Duration;

use hyper::http::request::Parts;
use hyper::{Method, Request, StatusCode};

use super::http::{self, Answer, Incoming, Upload};
use super::objects::attrs::Dialect;
use super::objects::query::Query;
use super::{Admission, Context, Intent, Places, WHOLE_BYTES_MAX};
use crate::error::Error;
use crate::key::{Key, Layout, Name, Naming, Scope, Space};
use crate::keyring::Keyring;
use crate::stats::{ProtocolStats, noted};
use refusal::{Refusal, Trouble};
pub use route::Route;
use route::Target;
use sigv4::Caller;

/// Objects of keys that may be written again.
pub const S3: Space = Space::new("s3", Naming::Mutable { max_age: Duration::from_secs(5) }, Layout::Verbatim)
    .with_route("s3", "")
    .asking_first()
    .whole_up_to(WHOLE_BYTES_MAX);

/// Those whose keys are hashes of all that went into them.
const HASHED: Space = Space { naming: Naming::Immutable, ..S3 };

const HEADERS: Dialect = Dialect { meta: "x-amz-meta-", own: "" };

/// The frontend.
#[derive(Debug)]
pub struct Frontend {
    context: Arc<Context>,
    stats: Arc<ProtocolStats>,
    places: Arc<Places>,
    keyring: Keyring,
}

/// One request for an object, as all operations need it.
#[derive(Debug)]
struct Object<'a> {
    bucket: &'a str,
    name: &'a Name,
    scope: Scope,
    key: Key,
    head: &'a Parts,
    query: &'a Query,
    caller: &'a Caller,
}

/// An answer, and how much of the body is still to be read before it.
type Done = Result<(Answer, u64), Refusal>;

/// What `name` is among the objects of a bucket.
fn space_of(name: &str) -> Space {
    const HASH_CHARS: usize = 64;
    let is_hex = |byte: u8| matches!(byte, b'0'..=b'9' | b'a'..=b'f');
    let hash = name.len().checked_sub(HASH_CHARS).and_then(|at| name.get(at..));
    let is_hashed = hash.filter(|hash| hash.bytes().all(is_hex)).is_some_and(|hash| {
        let folders = format!("{}/{}/{}/", &hash[..1], &hash[1..2], &hash[2..3]);
        let before = &name[..name.len() - HASH_CHARS];
        before.strip_suffix(&folders).is_some_and(|before| before.is_empty() || before.ends_with('/'))
    });
    if is_hashed { HASHED } else { S3 }
}

// === impl Frontend ===

impl Frontend {
    /// The frontend over `context`, with the keys of `keyring`.
    pub fn new(context: Arc<Context>, places: Arc<Places>, keyring: Keyring) -> Self {
        let stats = context.stats(S3.protocol);
        Self { context, stats, places, keyring }
    }

    /// The answer to a plain GET of an object that the memory tier has.
    pub fn answer_now<B>(&self, admission: Admission, route: &Route, request: &Request<B>) -> Option<Answer> {
        let Target::Object(bucket, name) = &route.0 else { return None };
        let is_plain = *request.method() == Method::GET && http::is_plain(request.headers());
        if !is_plain || !matches!(request.uri().query(), None | Some("" | "x-id=GetObject")) {
            return None;
        }
        let scope = self.places.scope(bucket).ok()?;
        self.stats.namespaces.enter(scope.namespace.as_str());
        let key = self.key(&scope, name.clone()).ok()?;
        // A signature is only worth its cost when there is something to answer.
        let hit = self.context.cache.get_now(&scope, &key)?;
        let headers = request.headers();
        if headers.contains_key(hyper::header::AUTHORIZATION) || admission == Admission::Signed {
            let mut head = Request::new(()).into_parts().0;
            (head.method, head.uri, head.headers) = (Method::GET, request.uri().clone(), headers.clone());
            let query = Query::parse(request.uri().query());
            let caller = sigv4::caller(&self.keyring, admission, &head, &query).ok()?;
            caller.check(bucket, false).ok()?;
        }
        Some(headers::dressed(self.whole(hit, headers), &headers::request_id()))
    }

    /// Answers a request.
    pub async fn answer<B: Incoming>(
        &self,
        admission: Admission,
        route: Route,
        request: Request<B>,
    ) -> Answer {
        let (head, mut upload) = Upload::of(request);
        let id = headers::request_id();
        let done = self.perform(admission, &route.0, &head, &mut upload).await;
        self.stats.bytes_in.add(upload.taken());
        let (answer, drain_bytes_max) = done.unwrap_or_else(|refusal| {
            (self.refused(&refusal, head.uri.path(), &id), self.context.settings.drain_bytes_max)
        });
        upload.finish(headers::dressed(answer, &id), drain_bytes_max).await
    }

    /// Refuses a whole request: its body is read before it is answered.
    pub async fn refuse_request<B: Incoming>(&self, error: &Error, request: Request<B>) -> Answer {
        let (head, upload) = Upload::of(request);
        let id = headers::request_id();
        let refusal = Refusal::bad("InvalidURI", error.message());
        let answer = headers::dressed(self.refused(&refusal, head.uri.path(), &id), &id);
        upload.finish(answer, self.context.settings.drain_bytes_max).await
    }

    async fn perform<B: Incoming>(
        &self,
        admission: Admission,
        target: &Target,
        head: &Parts,
        upload: &mut Upload<B>,
    ) -> Done {
        if let Target::Refused(code, error) = target {
            return Err(Refusal::bad(code, error.message()));
        }
        let query = Query::parse(head.uri.query());
        let caller = sigv4::caller(&self.keyring, admission, head, &query)?;
        let Some(bucket) = target.bucket() else {
            return buckets::service(&caller, &head.method).map(|answer| (answer, 0));
        };
        let deletes = head.method == Method::POST && query.get("delete").is_some();
        let writes = !matches!(head.method, Method::GET | Method::HEAD) || deletes;
        caller.check(bucket, writes)?;
        let scope = self.places.scope(bucket);
        let scope = scope.map_err(|error| Refusal::bad("InvalidBucketName", error.message()))?;
        self.stats.namespaces.enter(scope.namespace.as_str());
        match target {
            Target::Object(bucket, name) => {
                let key = self.key(&scope, name.clone())?;
                let object = Object { bucket, name, scope, key, head, query: &query, caller: &caller };
                self.of_object(&object, upload).await
            }
            _ => self.of_bucket(bucket, &scope, &caller, head, &query, upload).await,
        }
    }

    /// The key of a name in a bucket, if it is the bucket's.
    fn key(&self, scope: &Scope, name: Name) -> Result<Key, Refusal> {
        let checked = self.places.check(scope, name.as_str());
        checked.map_err(|error| Refusal::denied("AccessDenied", error.message()))?;
        let key = Key::Named { space: space_of(name.as_str()), name };
        // Here, because parts of uploads are no entries yet, and still of one.
        noted::asked(&key);
        Ok(key)
    }

    async fn of_object<B: Incoming>(&self, object: &Object<'_>, upload: &mut Upload<B>) -> Done {
        let has = |name: &str| object.query.get(name).is_some();
        let whole = |answer: Result<Answer, Refusal>| answer.map(|answer| (answer, 0));
        let copies = object.head.headers.contains_key("x-amz-copy-source");
        if let Some(what) = ["acl", "torrent", "retention", "legal-hold", "restore", "select", "attributes"]
            .into_iter()
            .find(|what| has(what))
        {
            return Err(Refusal::unserved(&format!("`?{what}`")));
        }
        match object.head.method {
            Method::GET if has("uploadId") => whole(self.parts(object)),
            Method::GET if has("tagging") => whole(Ok(buckets::no_tags())),
            Method::GET => whole(self.get(object).await),
            Method::HEAD => whole(self.head(object).await),
            Method::PUT if has("tagging") => Err(Refusal::unserved("`?tagging`")),
            Method::PUT if has("uploadId") && copies => whole(self.copy_part(object).await),
            Method::PUT if has("uploadId") => self.put_part(object, upload).await,
            Method::PUT if copies => whole(self.copy(object).await),
            Method::PUT => self.put(object, upload).await,
            Method::POST if has("uploads") => whole(self.begin(object)),
            Method::POST if has("uploadId") => self.complete(object, upload).await,
            Method::DELETE if has("uploadId") => whole(self.abort(object)),
            Method::DELETE => whole(self.delete(object).await),
            ref method => Err(no_such_method(method)),
        }
    }

    fn refused(&self, refusal: &Refusal, resource: &str, request_id: &str) -> Answer {
        if refusal.code == "NoSuchKey" {
            self.stats.misses.one();
        } else {
            self.stats.refused.one();
        }
        refusal.answer(resource, request_id)
    }

    /// What a failure is answered with. Trouble of ours is a miss, or a write that is acknowledged and counted.
    fn failed(&self, trouble: Trouble, intent: Intent) -> Done {
        let error = match trouble {
            Trouble::Refused(refusal) => return Err(refusal),
            Trouble::Failed(error) => error,
        };
        match (Refusal::of(&error), intent) {
            (Some(refusal), _) => Err(refusal),
            (None, Intent::Read) => Err(Refusal::absent()),
            (None, Intent::Write) => {
                self.stats.puts.one();
                self.context.lose(&error);
                Ok((http::empty(StatusCode::OK), u64::MAX))
            }
        }
    }
}

fn no_such_method(method: &Method) -> Refusal {
    let message = http::no_such_method(method, "GET, HEAD, PUT, POST, DELETE");
    Refusal::new(StatusCode::METHOD_NOT_ALLOWED, "MethodNotAllowed", message)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn sccaches_keys_never_change() {
        let hash = "abc".to_owned() + &"0".repeat(61);
        for (name, hashed) in [
            (format!("a/b/c/{hash}"), true),
            (format!("web/a/b/c/{hash}"), true),
            (format!("xa/b/c/{hash}"), false),
            (format!("a/b/d/{hash}"), false),
            (hash.clone(), false),
            (format!("a/b/c/{}", hash.to_uppercase()), false),
            (format!("a/b/c/{}", &hash[1..]), false),
            (format!("a/b/c/{hash}/x"), false),
            (format!("ä/{}", "ß".repeat(32)), false),
            (".sccache_check".into(), false),
        ] {
            assert_eq!(space_of(&name).naming == Naming::Immutable, hashed, "{name}");
        }
    }
}
