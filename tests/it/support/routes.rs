//! The frontends as rows of a table: where an entry lies, and what its client takes calmly.

use std::fmt;

use super::http::Request;
use super::{Rng, sha256};

/// One way in.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum Route {
    /// Bazel, action results.
    Ac,
    /// Bazel, content.
    Cas,
    Turbo,
    Blob,
}

/// An entry as a client of its route would have made it.
#[derive(Clone, PartialEq, Eq)]
pub(crate) struct Entry {
    pub(crate) route: Route,
    pub(crate) target: String,
    pub(crate) body: Vec<u8>,
}

// === impl Route ===

impl Route {
    pub(crate) const ALL: [Self; 4] = [Self::Ac, Self::Cas, Self::Turbo, Self::Blob];

    /// An entry of `len` bytes that nothing else in the test has.
    pub(crate) fn entry(self, rng: &mut Rng, len: usize) -> Entry {
        let mut body = rng.bytes(len);
        if let (Self::Ac, Some(first)) = (self, body.first_mut()) {
            // No action result begins so: an opaque entry without links, which comes back as it went in.
            *first = 0xff;
        }
        let name = sha256(&rng.next().to_le_bytes());
        let target = match self {
            Self::Ac => format!("/ns/ac/{name}"),
            Self::Cas => format!("/ns/cas/{}", sha256(&body)),
            Self::Turbo => format!("/v8/artifacts/{}?slug=team", &name[..16]),
            Self::Blob => format!("/blob/ns/{name}"),
        };
        Entry { route: self, target, body }
    }
}

// === impl Entry ===

impl Entry {
    pub(crate) fn put(&self) -> Request {
        let request = Request::put(self.target.clone(), self.body.clone());
        match self.route {
            Route::Turbo => request.header("authorization", "Bearer any").header("x-artifact-duration", "42"),
            Route::Ac | Route::Cas | Route::Blob => request,
        }
    }

    pub(crate) fn get(&self) -> Request {
        self.ask("GET")
    }

    pub(crate) fn ask(&self, method: &str) -> Request {
        let request = Request::new(method, self.target.clone());
        match self.route {
            Route::Turbo => request.header("authorization", "Bearer any"),
            Route::Ac | Route::Cas | Route::Blob => request,
        }
    }
}

impl fmt::Debug for Entry {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{:?} {} ({} bytes)", self.route, self.target, self.body.len())
    }
}
