//! The frontends, and which of them a path belongs to: one match on its segments, from which nothing falls through.
//!
//! A listener may be for one protocol alone. Then the protocol has the root there: what its paths begin with on the map
//! (`/gradle/…`) is left out, and no other protocol answers.

use std::borrow::Cow;
use std::future::Future;
use std::ops::Range;
use std::pin::Pin;
use std::sync::Arc;

use hyper::{Request, StatusCode};

use super::access::Uploading;
use super::doors::{Doors, Entrance};
use crate::error::{Error, Kind, Result};
use crate::key::Scope;
use crate::keyring::Keyring;
use crate::protocol::http::{self, Answer, Dialect as _, Entries, Target, Upload};
use crate::protocol::{
    Admission, Context, Places, Routes, bazel, blob, ccache, gradle, maven, nx, reapi, turborepo,
};
use crate::stats::Stats;

/// A refused upload is read up to here, so that the client comes to read the answer.
pub(super) const DRAIN_BYTES_MAX: u64 = 64 << 20;

/// All that answer, and which namespace belongs where.
#[derive(Debug)]
pub(super) struct Frontends {
    bazel: bazel::Frontend,
    turborepo: turborepo::Frontend,
    nx: nx::Frontend,
    blob: Entries,
    ccache: Entries,
    gradle: Entries,
    maven: Entries,
    reapi: reapi::Frontend,
    doors: Doors,
    places: Arc<Places>,
    stats: Arc<Stats>,
}

/// A protocol that is served.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Protocol {
    /// Bazel's HTTP cache: Mill, moon.
    Bazel,
    /// Turborepo's.
    Turborepo,
    /// Nx's.
    Nx,
    /// The Remote Execution API over gRPC: moon, Bazel, Buck2, Pants.
    Reapi,
    /// Azure Blob's: lage, sccache.
    Azure,
    /// S3's: sccache, Rush, SDKs.
    S3,
    /// One of those that answer for named entries alike.
    Named(Named),
}

/// A protocol of named entries.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Named {
    /// Anything with GET and PUT.
    Blob,
    /// ccache over HTTP.
    Ccache,
    /// Gradle's HTTP build cache.
    Gradle,
    /// The Maven build cache extension.
    Maven,
}

/// Who answers a path, and what it names there.
#[derive(Debug)]
pub(super) enum Call {
    Bazel(bazel::Route),
    Turborepo(turborepo::Route),
    Nx(nx::Route),
    Reapi(reapi::Route),
    Door(Admission, Entrance),
    Named(Named, Target),
}

/// What a path is.
#[derive(Debug)]
pub(super) enum Found {
    Call(Spot, Call),
    /// On the map, but not in this version.
    Unserved(&'static str),
    Unknown,
}

/// The scope of a path with a namespace; `None` for the door's own. What every core counts references to slows all of
/// them, so that a request for what memory has counts none.
pub(super) type Spot = Option<Scope>;

type Answering = Pin<Box<dyn Future<Output = Answer> + Send>>;

/// In this order they are asked whether a path is theirs. ccache before Bazel: its bazel layout is told from action
/// results by its names.
const PROTOCOLS: [Protocol; 10] = [
    Protocol::Named(Named::Blob),
    Protocol::Named(Named::Maven),
    Protocol::Named(Named::Ccache),
    Protocol::Named(Named::Gradle),
    Protocol::Nx,
    Protocol::Turborepo,
    Protocol::Bazel,
    Protocol::Reapi,
    Protocol::Azure,
    Protocol::S3,
];

/// First segments that are on the map for later versions.
const UNSERVED: [&str; 3] = ["dav", "nix", "go"];

// === impl Protocol ===

impl Protocol {
    /// The protocol that stats, logs and the configuration call so.
    pub fn named(name: &str) -> Option<Self> {
        PROTOCOLS.into_iter().find(|protocol| protocol.name() == name)
    }

    /// What stats, logs and the configuration call it.
    pub fn name(self) -> &'static str {
        match self {
            Self::Bazel => "bazel",
            Self::Turborepo => "turborepo",
            Self::Nx => "nx",
            Self::Reapi => "reapi",
            Self::Azure => "azure",
            Self::S3 => "s3",
            Self::Named(which) => which.name(),
        }
    }

    /// What a path names for it, and which of the segments are the namespace.
    fn parse(self, segments: &[&str]) -> Option<(Range<usize>, Call)> {
        let named =
            |(namespace, target), which| -> (Range<usize>, Call) { (namespace, Call::Named(which, target)) };
        match self {
            Self::Bazel => bazel::Route::parse(segments).map(|(at, route)| (at, Call::Bazel(route))),
            Self::Turborepo => {
                turborepo::Route::parse(segments).map(|(at, route)| (at, Call::Turborepo(route)))
            }
            Self::Nx => nx::Route::parse(segments).map(|(at, route)| (at, Call::Nx(route))),
            // Told by its content type; told by paths as they came.
            Self::Reapi | Self::Azure | Self::S3 => None,
            Self::Named(which) => which.parse(segments).map(|parsed| named(parsed, which)),
        }
    }

    /// Whose words a refusal of this path has, as it came: it may be one that doesn't decode.
    pub(super) fn looks_meant(raw: &str) -> Option<Self> {
        let (first, _) = raw.strip_prefix('/').and_then(|rest| rest.split_once('/')).unwrap_or_default();
        if let Some(named @ Self::Named(_)) = Self::named(first) {
            Some(named)
        } else if raw.contains("/v1/cache/") {
            Some(Self::Nx)
        } else if raw.contains("/v8/artifacts") {
            Some(Self::Turborepo)
        } else if raw.contains("/cas/") || raw.contains("/ac/") {
            Some(Self::Bazel)
        } else {
            None
        }
    }
}

impl Named {
    /// Its name, which is also the first segment of its paths.
    fn name(self) -> &'static str {
        match self {
            Self::Blob => "blob",
            Self::Ccache => "ccache",
            Self::Gradle => "gradle",
            Self::Maven => "maven",
        }
    }

    fn parse(self, segments: &[&str]) -> Option<(Range<usize>, Target)> {
        match self {
            Self::Blob => blob::parse(segments),
            Self::Ccache => ccache::parse(segments),
            Self::Gradle => gradle::parse(segments),
            Self::Maven => maven::parse(segments),
        }
    }
}

// === impl Call ===

impl Call {
    pub(super) fn protocol(&self) -> Protocol {
        match self {
            Self::Bazel(_) => Protocol::Bazel,
            Self::Turborepo(_) => Protocol::Turborepo,
            Self::Nx(_) => Protocol::Nx,
            Self::Reapi(_) => Protocol::Reapi,
            Self::Door(_, entrance) => entrance.protocol(),
            Self::Named(which, _) => Protocol::Named(*which),
        }
    }
}

// === impl Frontends ===

impl Frontends {
    pub(super) fn new(context: Context, places: Places, keyring: &Keyring) -> Self {
        let (context, places) = (Arc::new(context), Arc::new(places));
        let stats = Arc::clone(context.cache.stats());
        Self {
            stats,
            bazel: bazel::Frontend::new(Arc::clone(&context)),
            turborepo: turborepo::Frontend::new(Arc::clone(&context)),
            nx: nx::Frontend::new(Arc::clone(&context)),
            blob: blob::frontend(Arc::clone(&context)),
            ccache: ccache::frontend(Arc::clone(&context)),
            gradle: gradle::frontend(Arc::clone(&context)),
            maven: maven::frontend(Arc::clone(&context)),
            doors: Doors::new(&context, &places, keyring),
            reapi: reapi::Frontend::new(context, Arc::clone(&places)),
            places,
        }
    }

    /// What all of them count in.
    pub(super) fn stats(&self) -> &Arc<Stats> {
        &self.stats
    }

    /// Whose a path is; of `only` one protocol where the listener is for that alone.
    pub(super) fn find(&self, only: Option<Protocol>, segments: &[&str]) -> Result<Found> {
        match only {
            None => self.find_on_map(segments),
            Some(Protocol::Named(which)) => {
                let whole: Vec<&str> = [which.name()].into_iter().chain(segments.iter().copied()).collect();
                self.found(Protocol::Named(which).parse(&whole), &whole)
            }
            Some(protocol) => self.found(protocol.parse(segments), segments),
        }
    }

    fn find_on_map(&self, segments: &[&str]) -> Result<Found> {
        if let Some(name) = UNSERVED.into_iter().find(|name| segments.first() == Some(name)) {
            return Ok(Found::Unserved(name));
        }
        self.found(PROTOCOLS.into_iter().find_map(|protocol| protocol.parse(segments)), segments)
    }

    fn found(&self, parsed: Option<(Range<usize>, Call)>, segments: &[&str]) -> Result<Found> {
        match parsed {
            Some((namespace, call)) => Ok(Found::Call(self.spot(&segments[namespace])?, call)),
            None => Ok(Found::Unknown),
        }
    }

    fn spot(&self, namespace: &[&str]) -> Result<Spot> {
        if namespace.is_empty() {
            return Ok(None);
        }
        let scope = match namespace {
            [one] => self.places.scope(one)?,
            several => self.places.scope(&several.join("/"))?,
        };
        self.stats.namespaces.enter(scope.namespace.as_str());
        Ok(Some(scope))
    }

    /// Other routes, for requests to come.
    pub(super) fn set_routes(&self, routes: Routes) {
        self.places.set(routes);
    }

    fn named(&self, which: Named) -> &Entries {
        match which {
            Named::Blob => &self.blob,
            Named::Ccache => &self.ccache,
            Named::Gradle => &self.gradle,
            Named::Maven => &self.maven,
        }
    }

    /// The answer to a plain GET that the memory tier has: the hot path.
    pub(super) fn answer_now(
        &self,
        spot: &Spot,
        call: &Call,
        request: &Request<Uploading>,
    ) -> Option<Answer> {
        let unnamed;
        let scope = match spot {
            Some(scope) => scope,
            None => {
                unnamed = self.places.unnamed();
                &*unnamed
            }
        };
        match call {
            Call::Bazel(route) => self.bazel.answer_now(scope, route, request),
            Call::Turborepo(route) => self.turborepo.answer_now(scope, route, request),
            Call::Nx(route) => self.nx.answer_now(scope, route, request),
            // What is asked for is in the body.
            Call::Reapi(_) => None,
            Call::Door(admission, entrance) => self.doors.answer_now(*admission, entrance, request),
            Call::Named(which, target) => self.named(*which).answer_now(scope, target, request),
        }
    }

    /// The answer to everything else. Boxed one by one: each is as large as it needs.
    pub(super) fn answer(self: &Arc<Self>, spot: Spot, call: Call, request: Request<Uploading>) -> Answering {
        let all = Arc::clone(self);
        // From here on it is the request's own, whatever is configured meanwhile.
        let scope = spot.unwrap_or_else(|| self.places.unnamed().clone());
        match call {
            Call::Bazel(route) => Box::pin(async move { all.bazel.answer(&scope, route, request).await }),
            Call::Turborepo(route) => {
                Box::pin(async move { all.turborepo.answer(&scope, route, request).await })
            }
            Call::Nx(route) => Box::pin(async move { all.nx.answer(&scope, route, request).await }),
            Call::Reapi(route) => Box::pin(async move { all.reapi.answer(route, request).await }),
            Call::Door(admission, entrance) => {
                Box::pin(async move { all.doors.answer(admission, entrance, request).await })
            }
            Call::Named(which, target) => {
                Box::pin(async move { all.named(which).answer(&scope, target, request).await })
            }
        }
    }

    /// Refuses in the words of the frontend that the path looks meant for.
    pub(super) async fn refuse(
        &self,
        meant_for: Option<Protocol>,
        error: &Error,
        request: Request<Uploading>,
    ) -> Answer {
        match meant_for {
            Some(Protocol::Bazel) => self.bazel.refuse_request(error, request).await,
            Some(Protocol::Turborepo) => self.turborepo.refuse_request(error, request).await,
            Some(Protocol::Nx) => self.nx.refuse_request(error, request).await,
            Some(Protocol::Reapi) => self.reapi.refuse_request(error),
            Some(door @ (Protocol::Azure | Protocol::S3)) => self.doors.refuse(door, error, request).await,
            Some(Protocol::Named(which)) => self.named(which).refuse_request(error, request).await,
            None => {
                let status = match error.kind() {
                    Kind::Denied => StatusCode::FORBIDDEN,
                    _ => StatusCode::BAD_REQUEST,
                };
                plain(status, format!("{}\n", error.message()).into(), request).await
            }
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
        for (path, meant) in [
            ("/blob/x/%00", Some(Protocol::Named(Named::Blob))),
            ("/ccache/x/%00", Some(Protocol::Named(Named::Ccache))),
            ("/maven/cas/..", Some(Protocol::Named(Named::Maven))),
            ("/ns/v8/artifacts/%2e%2e", Some(Protocol::Turborepo)),
            ("/ns/v1/cache/%zz", Some(Protocol::Nx)),
            ("/gradle/v1/cache/%zz", Some(Protocol::Named(Named::Gradle))),
            ("/gradlew/v1/cache/%zz", Some(Protocol::Nx)),
            ("/cas/%zz", Some(Protocol::Bazel)),
            ("/a/ac/..", Some(Protocol::Bazel)),
            ("/%00", None),
            ("", None),
        ] {
            assert_eq!(Protocol::looks_meant(path), meant, "{path}");
        }
    }

    #[test]
    fn a_protocol_is_called_as_its_paths_begin() {
        for protocol in PROTOCOLS {
            assert_eq!(Protocol::named(protocol.name()), Some(protocol));
        }
        assert_eq!(Protocol::named("larder"), None);
    }
}
