//! The frontends: one wire protocol each.
//!
//! A frontend turns a request into a key, a claim and a body, asks the [`Cache`], and says in its own dialect what
//! came of it. It knows nothing of sockets, of who is calling, of tiers and upstreams, or of another frontend; what
//! several speak alike (HTTP itself) lies in [`http`].
//!
//! # What every frontend keeps
//! - Trouble of ours (upstream, disk, a damaged entry) is a miss on a read and a shed success on a write; never a
//!   5xx.
//! - A refusal says in its dialect what is wrong and what would be right, and leaves nothing stored.
//! - One function, `refuse`, turns an error's kind into a status, and decides every kind by name.
//! - Its routes are parsed once, from path segments that the server has percent-decoded: `Route::parse` (`parse`, where
//!   [`http::Entries`] does the rest) says which of them are the namespace, and `None` when the path is not this
//!   frontend's.
//! - `answer_now` is the hot path: a plain GET that the memory tier has is answered without a future. The server asks
//!   it first, and then `answer`, which does not look there again by itself.

pub mod azure;
pub mod bazel;
pub mod blob;
pub mod ccache;
pub mod gradle;
pub mod http;
pub mod maven;
pub mod nx;
mod objects;
pub mod reapi;
mod routes;
pub mod s3;
pub mod turborepo;

use std::sync::Arc;

pub use objects::Admission;
pub use routes::{Places, Route, Routes, Unnamed};

use crate::cache::Cache;
use crate::error::{Error, Kind};
use crate::key::{Layout, Naming, Space};
use crate::stats::{ProtocolStats, Shed};

/// All that a frontend may know.
#[derive(Debug, Clone)]
pub struct Context {
    /// The cache.
    pub cache: Cache,
    /// The bounds.
    pub settings: Settings,
}

/// The frontends' own numbers.
#[derive(Debug, Clone)]
pub struct Settings {
    /// A refused body is read up to this many bytes, so that its sender reads the answer; past it the connection is
    /// closed.
    pub drain_bytes_max: u64,
}

/// Action results, whichever protocol they come by. In the layout of bazel-remote, so that both can share a bucket.
pub(crate) const AC: Space = Space::new("ac", Naming::Immutable, Layout::Sharded).with_links();

/// [`crate::key::Space::whole_bytes_max`] of the protocols whose clients fail over a body that breaks off: nearly all
/// that tasks put out is shorter, and twice the way over loopback costs milliseconds.
const WHOLE_BYTES_MAX: u64 = 16 << 20;

/// Whether a request reads or writes: what decides how trouble of ours is answered.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum Intent {
    Read,
    Write,
}

// === impl Settings ===

impl Default for Settings {
    fn default() -> Self {
        Self { drain_bytes_max: 64 << 20 }
    }
}

// === impl Context ===

impl Context {
    /// A context over `cache`.
    pub fn new(cache: Cache, settings: Settings) -> Self {
        Self { cache, settings }
    }

    fn stats(&self, protocol: &'static str) -> Arc<ProtocolStats> {
        self.cache.stats().protocol(protocol)
    }

    /// Counts a write that is answered as if it had been kept, because what failed is ours.
    fn lose(&self, error: &Error) {
        tracing::debug!(%error, "a put was not kept");
        self.cache.shed(if error.kind() == Kind::NoSpace { Shed::DiskFloor } else { Shed::DiskError });
    }
}

#[cfg(test)]
mod testing;
