//! Upstreams: the object stores behind this machine.
//!
//! [`Upstream`] is the one store trait; a folder, buckets (S3, Azure, Google), servers that are asked by plain HTTP and
//! caches that speak the Remote Execution API implement it. Nothing above this
//! layer calls it: the cache holds [`Remote`]s, each one store with its two breakers, its deadlines and its tasks on
//! the upstream [`Runtime`], so that a dead resolver or a hanging network share delays nothing that is here.
//!
//! ```text
//! cache -> Remote -> breaker open? refuse at once
//!                    else a task on the upstream runtime -> Upstream (folder | bucket | server | reapi)
//!                         -> Ok, or Fault { signal, failure }: the signal moves the breaker, the failure goes back
//! ```
//!
//! # Guarantees
//! - "Absent" is only what the store itself answered. A captive portal, a missing bucket, an unmounted folder are
//!   [`Failure::State`]s of the upstream.
//! - A body yields exactly the bytes of its range or fails. Whether they are the right bytes is for the caller to
//!   check, against what [`ObjectMeta`] passes on of what the store states.
//! - No secret is in an error, a log line or a `Debug`.

use std::fmt;
use std::ops::Range;
use std::sync::Arc;
use std::time::{Duration, SystemTime};

use futures_util::future::BoxFuture;

use crate::body::Body;
use crate::entry::Attrs;
use crate::error::{Error, Result};
use crate::key::ObjectName;

mod breaker;
mod canary;
mod credentials;
mod folder;
mod handshake;
mod http;
mod judge;
mod location;
mod object;
mod prefix;
mod probe;
mod pump;
mod reapi;
mod remote;
mod runtime;
mod surroundings;
mod times;
mod uploads;

pub use breaker::{State, Word};
pub use canary::{Canary, Outcome, Step};
pub use credentials::stored::{
    Document, Field, KINDS, Kept, Kind as CredentialKind, Outlook, Placed, Places, Row, check_name,
};
pub use credentials::{ConnectionString, Credentials, Secret, Stored};
pub use handshake::Handshake;
pub use location::Location;
pub use remote::{Remote, RemoteSettings, States};
pub use runtime::Runtime;

/// What an upstream says of an object.
#[derive(Debug, Clone, PartialEq, Eq, Default)]
pub struct ObjectMeta {
    /// Bytes of the whole object.
    pub len: u64,
    /// Its ETag without quotes.
    pub etag: Option<Arc<str>>,
    /// When it was last written, by the store's clock.
    pub last_modified: Option<SystemTime>,
    /// The store's clock when it answered: what corrects `last_modified`.
    pub server_date: Option<SystemTime>,
    /// User metadata, ours and the client's. Names that [`Attrs`] can't carry are left out.
    pub attrs: Attrs,
    /// Its media type.
    pub content_type: Option<String>,
    /// Checksums of the whole object.
    pub stated: Stated,
}

/// Checksums of a whole object that the store states. None of them has been checked.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default)]
pub struct Stated {
    /// `Content-MD5` of the whole, `x-ms-blob-content-md5`, or the MD5 of `x-goog-hash`.
    pub md5: Option<[u8; 16]>,
    /// An ETag of the shape of an MD5, of an object that isn't encrypted with a key of its own: on S3 the MD5 of a
    /// body that was put at once.
    pub etag_md5: Option<[u8; 16]>,
    /// `x-amz-checksum-crc32c`, unless it is one of parts, or that of `x-goog-hash`.
    pub crc32c: Option<u32>,
}

/// An object that is being read.
#[derive(Debug)]
pub struct Object {
    /// What the store says of it.
    pub meta: ObjectMeta,
    /// Which bytes the body yields.
    pub range: Range<u64>,
    /// The bytes, with backpressure. Dropping it ends the transfer.
    pub body: Body,
}

/// What a read asks for. ETags are without quotes.
#[derive(Debug, Clone, PartialEq, Eq, Default)]
pub struct GetOptions {
    /// Only these bytes; an end past the object's is cut.
    pub range: Option<Range<u64>>,
    /// Only of this version.
    pub if_match: Option<Arc<str>>,
    /// Only if it isn't this version any more.
    pub if_none_match: Option<Arc<str>>,
}

/// How a read was answered.
#[expect(clippy::large_enum_variant, reason = "there is one for each call, and it is taken apart at once")]
#[derive(Debug)]
pub enum Got {
    /// The bytes.
    Object(Object),
    /// It still is the version of `if_none_match`.
    NotModified,
    /// The store answered and has it not. `denied`: it said so by denying this one read, as S3 does to keys without
    /// ListBucket; not to be remembered.
    Absent {
        /// Whether the answer was `AccessDenied`.
        denied: bool,
    },
    /// It isn't the version of `if_match`.
    Changed,
    /// The range starts past its end; the length where the store said it.
    Unsatisfiable(Option<u64>),
}

/// How a question without a body was answered.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Looked {
    /// It is there.
    Found(ObjectMeta),
    /// It isn't; see [`Got::Absent`].
    Absent {
        /// Whether the answer was `AccessDenied`.
        denied: bool,
    },
}

/// On what condition an object is written. ETags are without quotes.
#[derive(Debug, Clone, PartialEq, Eq, Default)]
pub enum PutIf {
    /// Always.
    #[default]
    Always,
    /// Only if there is none.
    Absent,
    /// Only over this version.
    Matches(Arc<str>),
}

/// What a write says besides the bytes.
#[derive(Debug, Clone, PartialEq, Eq, Default)]
pub struct PutOptions {
    /// User metadata.
    pub attrs: Attrs,
    /// Media type, `application/octet-stream` if none.
    pub content_type: Option<String>,
    /// The condition.
    pub condition: PutIf,
}

/// Bytes to upload, which can be read again from any offset.
pub trait Source: Send + Sync {
    /// All bytes.
    fn len(&self) -> u64;
    /// Whether there are none.
    fn is_empty(&self) -> bool {
        self.len() == 0
    }
    /// Reads `range`.
    fn open(&self, range: Range<u64>) -> BoxFuture<'_, Result<Body>>;
}

/// A finished write.
#[derive(Debug, Clone, PartialEq, Eq, Default)]
pub struct PutDone {
    /// The ETag of what is there now, without quotes.
    pub etag: Option<Arc<str>>,
    /// The store's clock when it answered.
    pub server_date: Option<SystemTime>,
}

/// One row of a listing.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Listed {
    /// Its name.
    pub name: ObjectName,
    /// Its length.
    pub len: u64,
    /// Its ETag without quotes.
    pub etag: Option<Arc<str>>,
    /// When it was last written, by the store's clock.
    pub last_modified: Option<SystemTime>,
}

/// Why an upstream call did not succeed. Only the first two are about the object.
#[derive(Debug, Clone)]
pub enum Failure {
    /// This object is refused for good (400, 413), in the store's words.
    Refused(String),
    /// The condition of a write doesn't hold (412, 409 of a concurrent write).
    Conflict,
    /// Not now: 429, SlowDown.
    Throttled {
        /// What the store asked to wait.
        retry_after: Option<Duration>,
    },
    /// A state of the upstream, in words: unreachable, denied, no such bucket, 5xx, an answer that isn't its own.
    State(Arc<str>),
    /// The bytes to upload could not be read.
    Source(Error),
}

/// How a call that did not succeed counts for its direction's breaker.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Signal {
    /// The store itself answered, about this object: it is up.
    Success,
    /// Says nothing about the upstream, or not enough: throttled, 501, a denied listing.
    Neutral,
    /// Connect, DNS, TLS, reset, 5xx, an answer that isn't the store's own.
    Fault,
    /// No answer in time.
    Deadline,
    /// The store says that we may not, or that there is no such bucket.
    Denied,
}

/// A failure with what it says about the upstream.
#[derive(Debug, Clone)]
pub struct Fault {
    /// For the breaker.
    pub signal: Signal,
    /// For the caller.
    pub failure: Failure,
}

/// Which way bytes go; each has a breaker of its own.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash)]
pub enum Direction {
    /// get, head, list.
    Read,
    /// put, delete.
    Write,
}

/// One object store. Called on the upstream runtime only.
pub trait Upstream: Send + Sync + fmt::Debug {
    /// Reads an object.
    fn get<'a>(&'a self, name: &'a ObjectName, options: &'a GetOptions) -> BoxFuture<'a, Result<Got, Fault>>;
    /// Asks for what is known of an object.
    fn head<'a>(&'a self, name: &'a ObjectName) -> BoxFuture<'a, Result<Looked, Fault>>;
    /// Writes an object whole, or not at all.
    fn put<'a>(
        &'a self,
        name: &'a ObjectName,
        source: &'a dyn Source,
        options: &'a PutOptions,
    ) -> BoxFuture<'a, Result<PutDone, Fault>>;
    /// Deletes an object. One that isn't there is a success.
    fn delete<'a>(&'a self, name: &'a ObjectName) -> BoxFuture<'a, Result<(), Fault>>;
    /// Names that begin with `prefix`, after the name `after`, in order of their bytes, at most `limit`.
    fn list<'a>(
        &'a self,
        prefix: &'a str,
        after: Option<&'a str>,
        limit: usize,
    ) -> BoxFuture<'a, Result<Vec<Listed>, Fault>>;
    /// Asks whether calls of this direction would be answered, leaving nothing behind where the store allows it.
    /// `near` is the object whose call was denied: rights may hang on the first segment of a name.
    fn probe<'a>(
        &'a self,
        direction: Direction,
        near: Option<&'a ObjectName>,
    ) -> BoxFuture<'a, Result<(), Fault>>;
    /// Finishes what an earlier process left half done. Called once, when writes are first seen to work.
    fn recover(&self) -> BoxFuture<'_, ()> {
        Box::pin(std::future::ready(()))
    }
    /// Whether it can keep an object of this name. What it can't is absent on read and refused for good on write.
    fn carries(&self, _name: &ObjectName) -> bool {
        true
    }
    /// Whether it asks for content by digest and size, and so has a use for [`Upstream::expect`].
    fn asks_by_size(&self) -> bool {
        false
    }
    /// The content that this name is the digest of has so many bytes, as far as the caller knows.
    fn expect(&self, _name: &ObjectName, _len: u64) {}
    /// Whether its keys are others than those of its last call.
    fn has_other_keys(&self) -> bool {
        false
    }
    /// Lets go of idle connections: after a sleep, or a change of addresses, they may be dead.
    fn disconnect(&self) {}
    /// Whether it is taking in an answer whose end has to be seen before it is given: a call that is late then is none
    /// that nobody answers.
    fn is_receiving(&self) -> bool {
        false
    }
    /// The store's clock less this machine's, in seconds, when it last answered. `None`: it has not answered yet, or
    /// has no clock of its own.
    fn clock_skew(&self) -> Option<i64> {
        None
    }
}

// === impl Fault ===

impl Fault {
    /// A state of the upstream.
    fn state(signal: Signal, words: impl Into<Arc<str>>) -> Self {
        Self { signal, failure: Failure::State(words.into()) }
    }
}

impl From<Failure> for Fault {
    /// What is about the object is an answer of the store.
    fn from(failure: Failure) -> Self {
        let signal = match failure {
            Failure::Refused(_) | Failure::Conflict => Signal::Success,
            Failure::Throttled { .. } | Failure::Source(_) => Signal::Neutral,
            Failure::State(_) => Signal::Fault,
        };
        Self { signal, failure }
    }
}

// === impl Direction ===

impl Direction {
    /// The word in states and logs.
    pub fn name(self) -> &'static str {
        match self {
            Self::Read => "read",
            Self::Write => "write",
        }
    }
}

// === impl Failure ===

impl fmt::Display for Failure {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::Refused(words) => write!(f, "refused for good: {words}"),
            Self::Conflict => f.write_str("the condition of the write doesn't hold"),
            Self::Throttled { retry_after: None } => f.write_str("throttled"),
            Self::Throttled { retry_after: Some(wait) } => write!(f, "throttled for {} s", wait.as_secs()),
            Self::State(words) => f.write_str(words),
            Self::Source(error) => write!(f, "read what is to be uploaded: {error}"),
        }
    }
}
