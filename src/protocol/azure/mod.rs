//! The Azure Blob door: this machine as the storage account `larder`.
//!
//! ```text
//! GET HEAD PUT DELETE  /larder/{container}/{blob…}                   blobs: whole, in ranges, in blocks
//! GET HEAD PUT         /larder/{container}?restype=container         containers, and ?comp=list
//! POST                 /larder[/{container}]?comp=batch              deletions of many blobs
//! ```
//!
//! Clients: lage (backfill), sccache, Rush's Azure plugin, nx-remotecache-azure, BuildKit, the SDKs, `az`. Any
//! `x-ms-version` is taken. A blob upstream has the client's own name, so that a container which others fill serves this
//! machine and the other way round.
//!
//! # Decisions
//! - A container is a namespace and exists by being named: looking at one and creating one succeed, deleting one is
//!   refused.
//! - A blob named by 40 hex digits is lage's and never changes what it means; others are compared with the upstream's
//!   when they are older than 5 s. Whatever the name, a write takes its place.
//! - Trouble of ours is `BlobNotFound` on a read and 201 on a write: lage tries a 5xx for 16 s.
//! - A block stays until it is used or its upload has had no byte for `partial_uploads_age`, whatever others commit to
//!   the same blob: lage uploads one blob twice at once, and both succeed. So that a list whose answer was lost can be
//!   sent again, the lists of the last blobs that were put together here are remembered for an hour.
//! - What keys are there is the keyring's; how signatures are made is in `auth`.

mod auth;
mod batch;
mod blocks;
mod committed;
mod containers;
mod headers;
mod list;
mod read;
mod refusal;
mod route;
mod write;

#[cfg(any(fuzzing, test))]
pub mod fuzzing {
    //! What must hold of whatever bytes come at this door.
    pub use super::auth::fuzzing::signature;
}

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
use auth::{Asked, Rights};
use committed::Committed;
use refusal::Refusal;
pub use route::Route;
use route::Target;

/// Blobs of names that may be written again.
pub const AZURE: Space =
    Space::new("azure", Naming::Mutable { max_age: Duration::from_secs(5) }, Layout::Verbatim)
        .with_route("larder", "")
        .asking_first()
        .whole_up_to(WHOLE_BYTES_MAX);

/// Those whose names are hashes of all that went into them.
const HASHED: Space = Space { naming: Naming::Immutable, ..AZURE };

/// lage's names: a SHA-1 in hex.
const HASH_CHARS: usize = 40;

const HEADERS: Dialect = Dialect { meta: "x-ms-meta-", own: "x-ms-blob-" };

/// The frontend.
#[derive(Debug)]
pub struct Frontend {
    context: Arc<Context>,
    stats: Arc<ProtocolStats>,
    places: Arc<Places>,
    keyring: Keyring,
    committed: Committed,
}

/// One blob, as all operations need it.
#[derive(Debug)]
struct Blob<'a> {
    container: &'a str,
    name: &'a Name,
    scope: Scope,
    key: Key,
    head: &'a Parts,
    query: &'a Query,
    rights: Rights,
}

/// An answer, and how much of the body is still to be read before it.
type Done = Result<(Answer, u64), Refusal>;

/// What `name` is among the blobs of a container.
fn space_of(name: &str) -> Space {
    let is_hex = |byte: u8| matches!(byte, b'0'..=b'9' | b'a'..=b'f');
    if name.len() == HASH_CHARS && name.bytes().all(is_hex) { HASHED } else { AZURE }
}

// === impl Frontend ===

impl Frontend {
    /// The frontend over `context`, with the keys of `keyring`.
    pub fn new(context: Arc<Context>, places: Arc<Places>, keyring: Keyring) -> Self {
        let stats = context.stats(AZURE.protocol);
        Self { context, stats, places, keyring, committed: Committed::default() }
    }

    /// The answer to a plain GET of a blob that the memory tier has.
    pub fn answer_now<B>(&self, admission: Admission, route: &Route, request: &Request<B>) -> Option<Answer> {
        let Target::Blob(container, name) = &route.0 else { return None };
        if *request.method() != Method::GET || !read::is_plain(request.headers()) {
            return None;
        }
        let query = Query::parse(request.uri().query());
        if query.get("comp").is_some() {
            return None;
        }
        let scope = self.places.scope(container).ok()?;
        self.stats.namespaces.enter(scope.namespace.as_str());
        let key = self.key(&scope, name.clone()).ok()?;
        // A signature is only worth its cost when there is something to answer.
        let hit = self.context.cache.get_now(&scope, &key)?;
        let asked = Asked {
            method: request.method(),
            path: request.uri().path(),
            query: &query,
            headers: request.headers(),
            container: Some(container),
            blob: Some(name.as_str()),
        };
        match auth::rights(&self.keyring, admission, &asked) {
            Ok(rights) if rights.read => Some(headers::dressed(self.whole(hit), request.headers())),
            _ => None,
        }
    }

    /// Answers a request.
    pub async fn answer<B: Incoming>(
        &self,
        admission: Admission,
        route: Route,
        request: Request<B>,
    ) -> Answer {
        let (head, mut upload) = Upload::of(request);
        let done = self.perform(admission, &route.0, &head, &mut upload).await;
        self.stats.bytes_in.add(upload.taken());
        let (answer, drain_bytes_max) =
            done.unwrap_or_else(|refusal| (self.refused(&refusal), self.context.settings.drain_bytes_max));
        upload.finish(headers::dressed(answer, &head.headers), drain_bytes_max).await
    }

    /// Refuses a whole request: its body is read before it is answered.
    pub async fn refuse_request<B: Incoming>(&self, error: &Error, request: Request<B>) -> Answer {
        let (head, upload) = Upload::of(request);
        let refusal = Refusal::bad("InvalidUri", error.message());
        let answer = headers::dressed(self.refused(&refusal), &head.headers);
        upload.finish(answer, self.context.settings.drain_bytes_max).await
    }

    async fn perform<B: Incoming>(
        &self,
        admission: Admission,
        target: &Target,
        head: &Parts,
        upload: &mut Upload<B>,
    ) -> Done {
        if let Target::Refused(error) = target {
            return Err(Refusal::bad("InvalidResourceName", error.message()));
        }
        let query = Query::parse(head.uri.query());
        let asked = Asked {
            method: &head.method,
            path: head.uri.path(),
            query: &query,
            headers: &head.headers,
            container: target.container(),
            blob: match target {
                Target::Blob(_, name) => Some(name.as_str()),
                _ => None,
            },
        };
        let is_batch = head.method == Method::POST && query.get("comp") == Some("batch");
        if is_batch && !matches!(target, Target::Blob(..)) {
            // No key is of the whole account: what is in a batch of that is signed each by itself, as all is.
            if target.container().is_some() {
                auth::rights(&self.keyring, admission, &asked)?;
            }
            return self.batch(admission, target.container(), head, upload).await;
        }
        // Before the signature, which no key can have made for the account: that would be said of the key.
        let Some(container) = target.container() else {
            return Err(containers::no_account_operation(&head.method));
        };
        let rights = auth::rights(&self.keyring, admission, &asked)?;
        let scope = self.places.scope(container);
        let scope = scope.map_err(|error| Refusal::bad("InvalidResourceName", error.message()))?;
        self.stats.namespaces.enter(scope.namespace.as_str());
        match target {
            Target::Blob(container, name) => {
                let key = self.key(&scope, name.clone())?;
                let blob = Blob { container, name, scope, key, head, query: &query, rights };
                self.of_blob(&blob, upload).await
            }
            _ => self.of_container(container, &scope, rights, head, &query).await.map(|answer| (answer, 0)),
        }
    }

    /// The key of a name in a container, if it is the container's.
    fn key(&self, scope: &Scope, name: Name) -> Result<Key, Refusal> {
        let checked = self.places.check(scope, name.as_str());
        checked.map_err(|error| Refusal::denied("AuthorizationPermissionMismatch", error.message()))?;
        let key = Key::Named { space: space_of(name.as_str()), name };
        // Here, because parts of uploads are no entries yet, and still of one.
        noted::asked(&key);
        Ok(key)
    }

    async fn of_blob<B: Incoming>(&self, blob: &Blob<'_>, upload: &mut Upload<B>) -> Done {
        let headers = &blob.head.headers;
        let whole = |answer: Result<Answer, Refusal>| answer.map(|answer| (answer, 0));
        match (&blob.head.method, blob.query.text("comp")) {
            (&Method::GET, "") => whole(self.get(blob).await),
            (&Method::HEAD, "") | (&Method::GET | &Method::HEAD, "metadata") => whole(self.head(blob).await),
            (&Method::GET, "blocklist") => whole(self.blocks(blob).await),
            (&Method::PUT, "") if headers.contains_key("x-ms-copy-source") => whole(self.copy(blob).await),
            (&Method::PUT, "") => self.put(blob, upload).await,
            (&Method::PUT, "block") => self.put_block(blob, upload).await,
            (&Method::PUT, "blocklist") => self.put_block_list(blob, upload).await,
            (&Method::DELETE, "") => whole(self.delete(blob).await),
            (&Method::GET | &Method::HEAD | &Method::PUT | &Method::DELETE, comp) => {
                let words = format!("`comp={}` is not served for blobs", comp.escape_debug());
                Err(Refusal::bad("UnsupportedQueryParameter", words))
            }
            (method, _) => Err(no_such_method(method)),
        }
    }

    fn refused(&self, refusal: &Refusal) -> Answer {
        if refusal.code == "BlobNotFound" {
            self.stats.misses.one();
        } else {
            self.stats.refused.one();
        }
        refusal.answer()
    }

    /// What a failure is answered with. Trouble of ours is a miss, or a write that is acknowledged and counted.
    fn failed(&self, error: &Error, intent: Intent) -> Done {
        match (Refusal::of(error), intent) {
            (Some(refusal), _) => Err(refusal),
            (None, Intent::Read) => Err(Refusal::absent()),
            (None, Intent::Write) => {
                self.stats.puts.one();
                self.context.lose(error);
                Ok((http::empty(StatusCode::CREATED), u64::MAX))
            }
        }
    }
}

fn no_such_method(method: &Method) -> Refusal {
    let message = http::no_such_method(method, "GET, HEAD, PUT, DELETE");
    Refusal::new(StatusCode::METHOD_NOT_ALLOWED, "UnsupportedHttpVerb", message)
}

// === impl Blob ===

impl Blob<'_> {
    /// Whether the request may do this.
    fn check(&self, may: bool, what: &str) -> Result<(), Refusal> {
        permitted(may, what)
    }
}

/// What a signature must let do.
fn permitted(may: bool, what: &str) -> Result<(), Refusal> {
    if may {
        return Ok(());
    }
    let words = format!("what signs this request may not {what}; `larder token new` issues keys that may");
    Err(Refusal::denied("AuthorizationPermissionMismatch", words))
}
