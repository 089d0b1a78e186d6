//! The frontends, and which of them a path belongs to: one match on its segments, from which nothing falls through.

use std::borrow::Cow;
use std::sync::Arc;

use hyper::{Request, StatusCode};

use super::access::Uploading;
use super::routes::Routes;
use crate::error::{Error, Kind, Result};
use crate::key::{Namespace, Scope};
use crate::protocol::http::{self, Answer, Dialect as _, Entries, Target, Upload};
use crate::protocol::{Context, bazel, blob, ccache, gradle, maven, nx, turborepo};

/// A refused upload is read up to here, so that the client comes to read the answer.
pub(super) const DRAIN_BYTES_MAX: u64 = 64 << 20;

/// All that answer, and the scope of a path without a namespace.
#[derive(Debug)]
pub(super) struct Frontends {
    pub(super) bazel: bazel::Frontend,
    pub(super) turborepo: turborepo::Frontend,
    pub(super) nx: nx::Frontend,
    pub(super) gradle: gradle::Frontend,
    blob: Entries,
    ccache: Entries,
    maven: Entries,
    scope: Scope,
    routes: Routes,
}

/// Those of the frontends that answer for named entries alike.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum Named {
    Blob,
    Ccache,
    Maven,
}

/// Who answers a path, and with what.
#[derive(Debug)]
pub(super) enum Route<'a> {
    Bazel(Spot, bazel::Route),
    Turborepo(Spot, turborepo::Route),
    Nx(Spot, nx::Route),
    Gradle(Spot, gradle::Route),
    Named(Named, Spot, Target),
    Admin(&'a [&'a str]),
    /// On the map, but not in this version.
    Unserved(&'static str),
    Unknown,
}

/// The scope of a path with a namespace; `None` for the door's own. What every core counts references to slows all of
/// them, so that a request for what memory has counts none.
pub(super) type Spot = Option<Scope>;

/// Whose words a refusal has.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum Dialect {
    Bazel,
    Turborepo,
    Nx,
    Gradle,
    Named(Named),
    Plain,
}

// === impl Frontends ===

impl Frontends {
    pub(super) fn new(context: Context, scope: Scope, routes: Routes) -> Self {
        let context = Arc::new(context);
        Self {
            bazel: bazel::Frontend::new(Arc::clone(&context)),
            turborepo: turborepo::Frontend::new(Arc::clone(&context)),
            nx: nx::Frontend::new(Arc::clone(&context)),
            gradle: gradle::Frontend::new(Arc::clone(&context)),
            blob: blob::frontend(Arc::clone(&context)),
            ccache: ccache::frontend(Arc::clone(&context)),
            maven: maven::frontend(context),
            scope,
            routes,
        }
    }

    /// The one match on segments.
    pub(super) fn route<'a>(&self, segments: &'a [&'a str]) -> Result<Route<'a>> {
        let unserved = match segments {
            ["-", rest @ ..] => return Ok(Route::Admin(rest)),
            ["blob" | "ccache" | "gradle" | "maven", ..] => "",
            ["dav", ..] => "dav",
            ["nix", ..] => "nix",
            ["go", ..] => "go",
            ["larder", ..] => "larder",
            ["s3", ..] => "s3",
            _ => "",
        };
        if !unserved.is_empty() {
            return Ok(Route::Unserved(unserved));
        }
        if let Some((namespace, target)) = blob::parse(segments) {
            return Ok(Route::Named(Named::Blob, self.spot(&segments[namespace])?, target));
        }
        if let Some((namespace, target)) = maven::parse(segments) {
            return Ok(Route::Named(Named::Maven, self.spot(&segments[namespace])?, target));
        }
        // Before Bazel's: ccache's bazel layout is told from action results by its names.
        if let Some((namespace, target)) = ccache::parse(segments) {
            return Ok(Route::Named(Named::Ccache, self.spot(&segments[namespace])?, target));
        }
        if let Some((namespace, route)) = gradle::Route::parse(segments) {
            return Ok(Route::Gradle(self.spot(&segments[namespace])?, route));
        }
        if let Some((namespace, route)) = nx::Route::parse(segments) {
            return Ok(Route::Nx(self.spot(&segments[namespace])?, route));
        }
        if let Some((namespace, route)) = turborepo::Route::parse(segments) {
            return Ok(Route::Turborepo(self.spot(&segments[namespace])?, route));
        }
        if let Some((namespace, route)) = bazel::Route::parse(segments) {
            return Ok(Route::Bazel(self.spot(&segments[namespace])?, route));
        }
        Ok(Route::Unknown)
    }

    fn spot(&self, namespace: &[&str]) -> Result<Spot> {
        if namespace.is_empty() {
            return Ok(None);
        }
        let namespace = match namespace {
            [one] => Namespace::parse(one)?,
            several => Namespace::parse(&several.join("/"))?,
        };
        let upstream = self.routes.of(namespace.as_str());
        Ok(Some(Scope { owner: self.scope.owner, namespace, upstream }))
    }

    pub(super) fn scope<'a>(&'a self, spot: &'a Spot) -> &'a Scope {
        spot.as_ref().unwrap_or(&self.scope)
    }

    pub(super) fn named(&self, which: Named) -> &Entries {
        match which {
            Named::Blob => &self.blob,
            Named::Ccache => &self.ccache,
            Named::Maven => &self.maven,
        }
    }

    /// Refuses in the words of the frontend that the path looks meant for.
    pub(super) async fn refuse(
        &self,
        dialect: Dialect,
        error: &Error,
        request: Request<Uploading>,
    ) -> Answer {
        match dialect {
            Dialect::Bazel => self.bazel.refuse_request(error, request).await,
            Dialect::Turborepo => self.turborepo.refuse_request(error, request).await,
            Dialect::Nx => self.nx.refuse_request(error, request).await,
            Dialect::Gradle => self.gradle.refuse_request(error, request).await,
            Dialect::Named(which) => self.named(which).refuse_request(error, request).await,
            Dialect::Plain => {
                let status = match error.kind() {
                    Kind::Denied => StatusCode::FORBIDDEN,
                    _ => StatusCode::BAD_REQUEST,
                };
                plain(status, format!("{}\n", error.message()).into(), request).await
            }
        }
    }
}

// === impl Dialect ===

impl Dialect {
    /// Judged by the path as it came: it may be one that doesn't decode.
    pub(super) fn of(raw: &str) -> Self {
        if raw.starts_with("/blob/") {
            Self::Named(Named::Blob)
        } else if raw.starts_with("/ccache/") {
            Self::Named(Named::Ccache)
        } else if raw.starts_with("/maven/") {
            Self::Named(Named::Maven)
        } else if raw.starts_with("/gradle/") {
            Self::Gradle
        } else if raw.contains("/v1/cache/") {
            Self::Nx
        } else if raw.contains("/v8/artifacts") {
            Self::Turborepo
        } else if raw.contains("/cas/") || raw.contains("/ac/") {
            Self::Bazel
        } else {
            Self::Plain
        }
    }
}

/// A line of text for a request that no frontend answers, after what the client still sends has been read.
pub(super) async fn plain(
    status: StatusCode,
    words: Cow<'static, str>,
    request: Request<Uploading>,
) -> Answer {
    let (_, upload) = Upload::of(request);
    upload.finish(http::text(status, words), DRAIN_BYTES_MAX).await
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_refusal_has_the_words_of_whom_the_path_was_for() {
        for (path, dialect) in [
            ("/blob/x/%00", Dialect::Named(Named::Blob)),
            ("/ccache/x/%00", Dialect::Named(Named::Ccache)),
            ("/maven/cas/..", Dialect::Named(Named::Maven)),
            ("/ns/v8/artifacts/%2e%2e", Dialect::Turborepo),
            ("/ns/v1/cache/%zz", Dialect::Nx),
            ("/gradle/v1/cache/%zz", Dialect::Gradle),
            ("/cas/%zz", Dialect::Bazel),
            ("/a/ac/..", Dialect::Bazel),
            ("/%00", Dialect::Plain),
        ] {
            assert_eq!(Dialect::of(path), dialect, "{path}");
        }
    }
}
