//! Which frontend a path belongs to: one match on its segments, from which nothing falls through.
//!
//! What can't be a path of anyone is refused here, in the words of the frontend that it would have been for.

use std::borrow::Cow;
use std::future::Future;
use std::net::IpAddr;
use std::pin::Pin;
use std::sync::Arc;
use std::task::{self, Poll};

use hyper::header::{AUTHORIZATION, HeaderValue, WWW_AUTHENTICATE};
use hyper::{Request, Response, StatusCode, Version};

use super::access::{Ticket, Uploading};
use super::admin::{Admin, Content, Page};
use super::guard::Guard;
use super::identity::{Access, Caller};
use super::listen::Gate;
use super::path::with_segments;
use super::routes::Routes;
use super::tokens::Tokens;
use super::wire::Socket;
use crate::error::{Error, Kind, Result};
use crate::key::{Namespace, Scope};
use crate::protocol::http::{self, Answer, Dialect as _, Entries, Reply, Target, Upload};
use crate::protocol::{Context, bazel, blob, ccache, gradle, maven, nx, turborepo};

/// A refused upload is read up to here, so that the client comes to read the answer.
const DRAIN_BYTES_MAX: u64 = 64 << 20;

/// The map, in the words of a 404.
const MAP: &str = "not a path of this cache, which serves [/ns]/cas/{64 hex}, [/ns]/ac/{64 hex} and [/ns]/status \
                   (Bazel, moon), [/ns]/v8/artifacts (Turborepo), [/ns]/v1/cache/{hash} (Nx), /gradle[/ns]/{key}, \
                   /blob/{ns}/{name} (Rush, Please, anything), /ccache[/ns]/…, /maven[/ns]/v1.2/…, /-/healthz, \
                   /-/readyz, /-/stats\n";

/// What every request comes through.
#[derive(Debug)]
pub(super) struct Door {
    pub(super) access: Access,
    pub(super) guard: Guard,
    pub(super) tokens: Tokens,
    pub(super) admin: Arc<Admin>,
    pub(super) frontends: Frontends,
}

/// All that answer, and the scope of a path without a namespace.
#[derive(Debug)]
pub(super) struct Frontends {
    bazel: bazel::Frontend,
    turborepo: turborepo::Frontend,
    nx: nx::Frontend,
    gradle: gradle::Frontend,
    blob: Entries,
    ccache: Entries,
    maven: Entries,
    scope: Scope,
    routes: Routes,
}

/// Those of the frontends that answer for named entries alike.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum Named {
    Blob,
    Ccache,
    Maven,
}

/// Who is at the other end of a connection, and by which socket.
#[derive(Debug)]
pub(super) struct Visit {
    pub(super) caller: Caller,
    pub(super) unix: bool,
    /// The address that it came to.
    pub(super) local: Option<IpAddr>,
    pub(super) gate: Gate,
}

/// An answer in the making.
pub(super) enum Answering {
    /// It is here: what memory has, and short refusals.
    Now(Option<Answer>),
    /// It takes something that is waited for.
    Later(Pin<Box<dyn Future<Output = Response<Reply>> + Send>>),
}

/// Who answers a path, and with what.
#[derive(Debug)]
enum Route<'a> {
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
type Spot = Option<Scope>;

/// Whose words a refusal has.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum Dialect {
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
    fn route<'a>(&self, segments: &'a [&'a str]) -> Result<Route<'a>> {
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

    fn scope<'a>(&'a self, spot: &'a Spot) -> &'a Scope {
        spot.as_ref().unwrap_or(&self.scope)
    }

    fn named(&self, which: Named) -> &Entries {
        match which {
            Named::Blob => &self.blob,
            Named::Ccache => &self.ccache,
            Named::Maven => &self.maven,
        }
    }

    /// Refuses in the words of the frontend that the path looks meant for.
    async fn refuse(&self, dialect: Dialect, error: &Error, request: Request<Uploading>) -> Answer {
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

/// Answers one request.
pub(super) fn answer(
    door: &Arc<Door>,
    visit: &Visit,
    ticket: &mut Ticket,
    request: Request<Uploading>,
) -> Answering {
    if let Caller::Stranger(words) = &visit.caller {
        // Not even read from: the connection ends.
        let words = http::text(StatusCode::FORBIDDEN, format!("{words}\n"));
        return Answering::Now(Some(http::closing(words, request.version())));
    }
    if let Err(words) = door.guard.check(request.uri(), request.version(), request.headers(), visit) {
        return Answering::later(plain(StatusCode::FORBIDDEN, format!("{words}\n").into(), request));
    }
    if visit.gate == Gate::Tokens && !door.tokens.admits(request.headers().get(AUTHORIZATION)) {
        return Answering::later(unauthorized(request));
    }
    let frontends = &door.frontends;
    let routed = with_segments(request.uri().path(), |segments| {
        Ok(match frontends.route(segments)? {
            Route::Admin(rest) => {
                Routed::Admin(Page::parse(rest, request.uri().query(), visit.gate == Gate::Admin))
            }
            Route::Bazel(spot, route) => Routed::Bazel(spot, route),
            Route::Turborepo(spot, route) => Routed::Turborepo(spot, route),
            Route::Nx(spot, route) => Routed::Nx(spot, route),
            Route::Gradle(spot, route) => Routed::Gradle(spot, route),
            Route::Named(which, spot, target) => Routed::Named(which, spot, target),
            Route::Unserved(name) => Routed::Missing(
                format!("/{name} is a route that this version of larder doesn't serve yet\n").into(),
            ),
            Route::Unknown => Routed::Missing(MAP.into()),
        })
    });
    match routed {
        Ok(Routed::Bazel(spot, route)) => {
            ticket.answered_by("bazel");
            if let Some(answer) = frontends.bazel.answer_now(frontends.scope(&spot), &route, &request) {
                return Answering::Now(Some(answer));
            }
            let door = Arc::clone(door);
            Answering::later(async move {
                let frontends = &door.frontends;
                frontends.bazel.answer(frontends.scope(&spot), route, request).await
            })
        }
        Ok(Routed::Turborepo(spot, route)) => {
            ticket.answered_by("turborepo");
            if let Some(answer) = frontends.turborepo.answer_now(frontends.scope(&spot), &route, &request) {
                return Answering::Now(Some(answer));
            }
            let door = Arc::clone(door);
            Answering::later(async move {
                let frontends = &door.frontends;
                frontends.turborepo.answer(frontends.scope(&spot), route, request).await
            })
        }
        Ok(Routed::Nx(spot, route)) => {
            ticket.answered_by("nx");
            if let Some(answer) = frontends.nx.answer_now(frontends.scope(&spot), &route, &request) {
                return Answering::Now(Some(answer));
            }
            let door = Arc::clone(door);
            Answering::later(async move {
                let frontends = &door.frontends;
                frontends.nx.answer(frontends.scope(&spot), route, request).await
            })
        }
        Ok(Routed::Gradle(spot, route)) => {
            ticket.answered_by("gradle");
            if let Some(answer) = frontends.gradle.answer_now(frontends.scope(&spot), &route, &request) {
                return Answering::Now(Some(answer));
            }
            let door = Arc::clone(door);
            Answering::later(async move {
                let frontends = &door.frontends;
                frontends.gradle.answer(frontends.scope(&spot), route, request).await
            })
        }
        Ok(Routed::Named(which, spot, target)) => {
            let entries = frontends.named(which);
            ticket.answered_by(entries.protocol());
            if let Some(answer) = entries.answer_now(frontends.scope(&spot), &target, &request) {
                return Answering::Now(Some(answer));
            }
            let door = Arc::clone(door);
            Answering::later(async move {
                let frontends = &door.frontends;
                frontends.named(which).answer(frontends.scope(&spot), target, request).await
            })
        }
        Ok(Routed::Admin(Ok(page))) => {
            ticket.answered_by("admin");
            let admin = Arc::clone(&door.admin);
            Answering::later(async move { show(&admin, page, request).await })
        }
        Ok(Routed::Admin(Err((status, words)))) => {
            ticket.answered_by("admin");
            Answering::later(plain(status, format!("{words}\n").into(), request))
        }
        Ok(Routed::Missing(words)) => Answering::later(plain(StatusCode::NOT_FOUND, words, request)),
        Err(error) => {
            let dialect = Dialect::of(request.uri().path());
            let door = Arc::clone(door);
            Answering::later(async move { door.frontends.refuse(dialect, &error, request).await })
        }
    }
}

/// A [`Route`] without the segments.
enum Routed {
    Bazel(Spot, bazel::Route),
    Turborepo(Spot, turborepo::Route),
    Nx(Spot, nx::Route),
    Gradle(Spot, gradle::Route),
    Named(Named, Spot, Target),
    Admin(std::result::Result<Page, (StatusCode, &'static str)>),
    Missing(Cow<'static, str>),
}

// === impl Answering ===

impl Answering {
    fn later(answer: impl Future<Output = Answer> + Send + 'static) -> Self {
        Self::Later(Box::pin(answer))
    }
}

impl Future for Answering {
    type Output = Answer;

    fn poll(mut self: Pin<&mut Self>, cx: &mut task::Context<'_>) -> Poll<Answer> {
        match &mut *self {
            Self::Now(answer) => Poll::Ready(answer.take().expect("not polled again after it was ready")),
            Self::Later(answer) => answer.as_mut().poll(cx),
        }
    }
}

// === impl Door ===

impl Door {
    pub(super) fn caller(&self, socket: &Socket) -> Caller {
        self.access.caller(socket)
    }
}

// === impl Dialect ===

impl Dialect {
    /// Judged by the path as it came: it may be one that doesn't decode.
    fn of(raw: &str) -> Self {
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
async fn plain(status: StatusCode, words: Cow<'static, str>, request: Request<Uploading>) -> Answer {
    let (_, upload) = Upload::of(request);
    upload.finish(http::text(status, words), DRAIN_BYTES_MAX).await
}

/// Asks for a token. Little is read of what comes without one.
async fn unauthorized(request: Request<Uploading>) -> Answer {
    const STRANGERS_BYTES_MAX: u64 = 1 << 20;
    let (_, upload) = Upload::of(request);
    let words =
        "this listener needs a token: Authorization: Bearer TOKEN, or Basic with its name and TOKEN\n";
    let mut answer = http::text(StatusCode::UNAUTHORIZED, words);
    let schemes = HeaderValue::from_static("Basic realm=\"larder\", Bearer realm=\"larder\"");
    answer.headers_mut().insert(WWW_AUTHENTICATE, schemes);
    upload.finish(answer, STRANGERS_BYTES_MAX).await
}

async fn show(admin: &Admin, page: Page, request: Request<Uploading>) -> Answer {
    let (head, upload) = Upload::of(request);
    let answer = match admin.show(page, &head.method).await {
        (status, Content::Text(words)) => http::text(status, words),
        (status, Content::Json(bytes)) => http::json(status, bytes),
    };
    upload.finish(answer, DRAIN_BYTES_MAX).await
}

/// What HTTP/1 is told when the daemon stops.
pub(super) fn last_on_its_connection(answer: Answer) -> Answer {
    http::closing(answer, Version::HTTP_11)
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
