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
    Nx,
    Gradle,
    Blob,
    Ccache,
    Maven,
    /// The Azure Blob door, without a signature.
    Azure,
    /// The S3 door, without a signature.
    S3,
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
    pub(crate) const ALL: [Self; 10] = [
        Self::Ac,
        Self::Cas,
        Self::Turbo,
        Self::Nx,
        Self::Gradle,
        Self::Blob,
        Self::Ccache,
        Self::Maven,
        Self::Azure,
        Self::S3,
    ];

    /// What a PUT that is taken is answered with.
    pub(crate) fn taken(self) -> u16 {
        if self == Self::Azure { 201 } else { 200 }
    }

    /// What a PUT over `entry_max` is answered with: a refusal only where the client takes it calmly.
    pub(crate) fn over_entry_max(self) -> u16 {
        match self {
            Self::Ac | Self::Cas | Self::Turbo => 413,
            Self::Nx | Self::Gradle | Self::Blob | Self::Ccache | Self::Maven | Self::Azure | Self::S3 => {
                self.taken()
            }
        }
    }

    /// An entry of `len` bytes that nothing else in the test has.
    pub(crate) fn entry(self, rng: &mut Rng, len: usize) -> Entry {
        let mut body = rng.bytes(len);
        match self {
            // No action result begins so: an opaque entry without links, which comes back as it went in.
            Self::Ac => body.iter_mut().take(1).for_each(|first| *first = 0xff),
            // Only what looks like gzip is stored, and the smallest has 18 bytes.
            Self::Nx => {
                body.resize(len.max(18), 0);
                body[..10].copy_from_slice(b"\x1f\x8b\x08\0\0\0\0\0\0\xff");
            }
            // None is empty.
            Self::Ccache => body.resize(len.max(1), 0),
            Self::Cas | Self::Turbo | Self::Gradle | Self::Blob | Self::Maven | Self::Azure | Self::S3 => {}
        }
        let number = rng.next();
        let name = sha256(&number.to_le_bytes());
        let target = match self {
            Self::Ac => format!("/ns/ac/{name}"),
            Self::Cas => format!("/ns/cas/{}", sha256(&body)),
            Self::Turbo => format!("/v8/artifacts/{}?slug=team", &name[..16]),
            Self::Nx => format!("/ns/v1/cache/{number}"),
            Self::Gradle => format!("/gradle/ns/{}", &name[..32]),
            Self::Blob => format!("/blob/ns/{name}"),
            Self::Ccache => format!("/ccache/ns/{}/{}", &name[..2], &name[2..40]),
            Self::Maven => format!("/maven/ns/v1.2/org.example/app/{}/app.jar", &name[..16]),
            // As lage and sccache call them: names whose bytes don't change.
            Self::Azure => format!("/larder/cache/{}", &name[..40]),
            Self::S3 => format!("/s3/cache/{}/{}/{}/{name}", &name[..1], &name[1..2], &name[2..3]),
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
            Route::Nx => request.header("content-type", "application/octet-stream"),
            Route::Gradle => request.header("content-type", "application/vnd.gradle.build-cache-artifact.v2"),
            Route::Azure => request.header("x-ms-blob-type", "BlockBlob"),
            Route::Ac | Route::Cas | Route::Blob | Route::Ccache | Route::Maven | Route::S3 => request,
        }
    }

    pub(crate) fn get(&self) -> Request {
        self.ask("GET")
    }

    pub(crate) fn ask(&self, method: &str) -> Request {
        let request = Request::new(method, self.target.clone());
        match self.route {
            Route::Turbo => request.header("authorization", "Bearer any"),
            Route::Ac
            | Route::Cas
            | Route::Nx
            | Route::Gradle
            | Route::Blob
            | Route::Ccache
            | Route::Maven
            | Route::Azure
            | Route::S3 => request,
        }
    }
}

impl fmt::Debug for Entry {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{:?} {} ({} bytes)", self.route, self.target, self.body.len())
    }
}
