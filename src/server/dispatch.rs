//! One request, from who asks to who answers.
//!
//! What can't be a path of anyone is refused here, in the words of the frontend that it would have been for.

use std::borrow::Cow;
use std::future::Future;
use std::pin::Pin;
use std::sync::Arc;
use std::task::{self, Poll};

use hyper::header::{AUTHORIZATION, CONTENT_TYPE, HeaderValue, WWW_AUTHENTICATE};
use hyper::{Method, Request, Response, StatusCode, Version};

use super::access::{Ticket, Uploading};
use super::admin::{self, Admin, Content, Page};
use super::doors::Entrance;
use super::frontends::{Call, DRAIN_BYTES_MAX, Found, Frontends, Protocol, plain};
use super::guard::Guard;
use super::identity::{Access, Caller};
use super::listen::Gate;
use super::path::with_segments;
use super::tls::{Secure, Verdict};
use super::tokens::Tokens;
use super::visit::Visit;
use super::wire::Socket;
use crate::keyring::Keyring;
use crate::protocol::http::{self, Answer, Reply, Upload};
use crate::protocol::{Admission, reapi};
use crate::swap::Swap;

/// The map, in the words of a 404.
const MAP: &str = "not a path of this cache, which serves [/ns]/cas/{64 hex}, [/ns]/ac/{64 hex} and [/ns]/status \
                   (Bazel, moon), [/ns]/v8/artifacts (Turborepo), [/ns]/v1/cache/{hash} (Nx), /gradle[/ns]/{key}, \
                   /blob/{ns}/{name} (Rush, Please, anything), /ccache[/ns]/…, /maven[/ns]/v1.2/…, \
                   /larder/{container}/{blob} (Azure Blob: lage), /s3/{bucket}/{key} (S3), /-/healthz, \
                   /-/readyz, /-/stats, /-/metrics, and the Remote Execution API over gRPC (HTTP/2)\n";

const NO_TOKEN: &str = "this listener needs a token (`larder token new --bearer NAME` issues one): Authorization: Bearer TOKEN, or Basic with \
     its name and TOKEN";

/// What every request comes through.
#[derive(Debug)]
pub(super) struct Door {
    pub(super) policy: Swap<Policy>,
    pub(super) keyring: Keyring,
    pub(super) admin: Arc<Admin>,
    pub(super) frontends: Arc<Frontends>,
}

/// Who may come in: what a reload replaces.
#[derive(Debug)]
pub(super) struct Policy {
    /// Shared with those whose caller is being looked up.
    pub(super) access: Arc<Access>,
    pub(super) guard: Guard,
    pub(super) tokens: Tokens,
}

/// An answer in the making.
pub(super) enum Answering {
    /// It is here: what memory has, and short refusals.
    Now(Option<Answer>),
    /// It takes something that is waited for.
    Later(Pin<Box<dyn Future<Output = Response<Reply>> + Send>>),
}

/// Answers one request.
pub(super) fn answer(
    door: &Arc<Door>,
    visit: &Visit,
    ticket: &mut Ticket,
    request: Request<Uploading>,
) -> Answering {
    let is_grpc = reapi::is_grpc(request.method(), request.headers());
    let verdict = visit.verdict();
    if let Verdict::Refused(words) = verdict {
        if visit.secure.as_ref().is_some_and(Secure::is_first_refusal) {
            tracing::info!("refused a request: {words}");
        }
        // Not even read from: the connection ends. Nx shows the words of a 401, and of nothing else.
        let answer = match visit.only.or_else(|| Protocol::looks_meant(request.uri().path())) {
            _ if is_grpc => reapi::refusal(StatusCode::FORBIDDEN, words),
            Some(Protocol::Nx) => not_admitted(format!("{words}\n")),
            _ => http::text(StatusCode::FORBIDDEN, format!("{words}\n")),
        };
        return Answering::Now(Some(http::closing(answer, request.version())));
    }
    let policy = door.policy.read();
    let host = match policy.guard.check(request.uri(), request.version(), request.headers(), visit) {
        Ok(host) => host,
        Err(words) if is_grpc => return Answering::Now(Some(reapi::refusal(StatusCode::FORBIDDEN, words))),
        Err(words) => {
            return Answering::later(plain(StatusCode::FORBIDDEN, format!("{words}\n").into(), request));
        }
    };
    let entrance = Entrance::find(visit.only, request.uri().path(), host).filter(|_| !is_grpc);
    if let Verdict::Read(words) = verdict
        && writes(is_grpc, entrance.is_some(), &request)
    {
        if is_grpc {
            return Answering::Now(Some(reapi::refusal(StatusCode::FORBIDDEN, words)));
        }
        return Answering::later(plain(StatusCode::FORBIDDEN, format!("{words}\n").into(), request));
    }
    let is_admitted = visit.gate != Gate::Tokens
        || policy.tokens.admits(request.headers().get(AUTHORIZATION), &door.keyring);
    if let Some(entrance) = entrance {
        let admission = if is_admitted { Admission::Owner } else { Admission::Signed };
        return enter(door, ticket, Call::Door(admission, entrance), request);
    }
    if !is_admitted {
        if is_grpc {
            return Answering::Now(Some(reapi::refusal(StatusCode::UNAUTHORIZED, NO_TOKEN)));
        }
        return Answering::later(unauthorized(request));
    }
    if is_grpc {
        return call(door, visit, ticket, request);
    }
    let frontends = &door.frontends;
    let routed = with_segments(request.uri().path(), |segments| {
        Ok(match segments {
            ["-", rest @ ..] => {
                Routed::Page(Page::parse(rest, request.uri().query(), visit.gate == Gate::Admin))
            }
            _ => Routed::Frontend(frontends.find(visit.only, segments)?),
        })
    });
    match routed {
        Ok(Routed::Frontend(Found::Call(spot, call))) => {
            ticket.answered_by(call.protocol().name());
            if let Some(answer) = frontends.answer_now(&spot, &call, &request) {
                return Answering::Now(Some(answer));
            }
            ticket.waits_for(call.protocol().name(), frontends.stats());
            Answering::Later(frontends.answer(spot, call, request))
        }
        Ok(Routed::Frontend(Found::Unserved(name))) => {
            let words = format!("/{name} is a route that this version of larder doesn't serve yet\n");
            Answering::later(plain(StatusCode::NOT_FOUND, words.into(), request))
        }
        Ok(Routed::Frontend(Found::Unknown)) => {
            let words = match visit.only {
                None => MAP.into(),
                Some(only) => {
                    format!("not a path of {0}, and this listener is for {0} alone\n", only.name()).into()
                }
            };
            Answering::later(plain(StatusCode::NOT_FOUND, words, request))
        }
        Ok(Routed::Page(Ok(page))) => {
            ticket.answered_by("admin");
            let admin = Arc::clone(&door.admin);
            Answering::later(async move { show(&admin, page, request).await })
        }
        Ok(Routed::Page(Err((status, words)))) => {
            ticket.answered_by("admin");
            let refusal = plain(status, format!("{words}\n").into(), request);
            Answering::later(async move { of_this_version(refusal.await) })
        }
        Err(error) => {
            let meant_for = visit.only.or_else(|| Protocol::looks_meant(request.uri().path()));
            let frontends = Arc::clone(frontends);
            Answering::later(async move { frontends.refuse(meant_for, &error, request).await })
        }
    }
}

/// Whether a request would change what is stored. Turborepo asks, and tells of its hits, by POST; at a door its paths
/// are names of objects.
fn writes(is_grpc: bool, is_at_a_door: bool, request: &Request<Uploading>) -> bool {
    let path = request.uri().path();
    if is_grpc {
        return reapi::Route::parse(path).writes();
    }
    match *request.method() {
        Method::GET | Method::HEAD | Method::OPTIONS => false,
        Method::POST => {
            let is_question = path.ends_with("/v8/artifacts") || path.ends_with("/v8/artifacts/events");
            is_at_a_door || !is_question
        }
        _ => true,
    }
}

/// A door sees for itself who may come in.
fn enter(door: &Door, ticket: &mut Ticket, call: Call, request: Request<Uploading>) -> Answering {
    ticket.answered_by(call.protocol().name());
    match door.frontends.answer_now(&None, &call, &request) {
        Some(answer) => Answering::Now(Some(answer)),
        None => {
            ticket.waits_for(call.protocol().name(), door.frontends.stats());
            Answering::Later(door.frontends.answer(None, call, request))
        }
    }
}

/// gRPC is told by its content type; its paths are names of methods, and namespaces come in its messages.
fn call(door: &Arc<Door>, visit: &Visit, ticket: &mut Ticket, request: Request<Uploading>) -> Answering {
    if let Some(only) = visit.only.filter(|only| *only != Protocol::Reapi) {
        let words = format!("this listener is for {} alone, which is not gRPC", only.name());
        return Answering::Now(Some(reapi::refusal(StatusCode::NOT_FOUND, words)));
    }
    ticket.answered_by(Protocol::Reapi.name());
    ticket.waits_for(Protocol::Reapi.name(), door.frontends.stats());
    let mut route = reapi::Route::parse(request.uri().path());
    if route == reapi::Route::GetCapabilities && matches!(visit.verdict(), Verdict::Read(_)) {
        route = route.for_reader();
    }
    Answering::Later(door.frontends.answer(None, Call::Reapi(route), request))
}

/// Where a path leads.
enum Routed {
    Frontend(Found),
    Page(std::result::Result<Page, (StatusCode, &'static str)>),
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
    pub(super) async fn caller(&self, socket: &Socket, gate: Gate) -> Caller {
        let access = Arc::clone(&self.policy.read().access);
        access.caller(socket, gate).await
    }
}

/// A 401 in words, of the one type behind which Nx reads them.
fn not_admitted(words: impl Into<Cow<'static, str>>) -> Answer {
    let mut answer = http::text(StatusCode::UNAUTHORIZED, words);
    answer.headers_mut().insert(CONTENT_TYPE, http::BARE_TEXT);
    answer
}

/// Asks for a token. Little is read of what comes without one.
async fn unauthorized(request: Request<Uploading>) -> Answer {
    const STRANGERS_BYTES_MAX: u64 = 1 << 20;
    let (_, upload) = Upload::of(request);
    let mut answer = not_admitted(format!("{NO_TOKEN}\n"));
    let schemes = HeaderValue::from_static("Basic realm=\"larder\", Bearer realm=\"larder\"");
    answer.headers_mut().insert(WWW_AUTHENTICATE, schemes);
    upload.finish(answer, STRANGERS_BYTES_MAX).await
}

async fn show(admin: &Admin, page: Page, request: Request<Uploading>) -> Answer {
    let (head, upload) = Upload::of(request);
    let answer = match admin.show(page, &head.method, &head.headers).await {
        (status, Content::Text(words)) => http::text(status, words),
        (status, Content::Words(words)) => http::text(status, words),
        (status, Content::Json(bytes)) => http::json(status, bytes),
        (status, Content::Metrics(content_type, page)) => {
            let mut answer = http::text(status, page);
            answer.headers_mut().insert(CONTENT_TYPE, HeaderValue::from_static(content_type));
            answer
        }
    };
    of_this_version(upload.finish(answer, DRAIN_BYTES_MAX).await)
}

/// Says who answers.
fn of_this_version(mut answer: Answer) -> Answer {
    answer.headers_mut().insert(admin::VERSION_HEADER, HeaderValue::from_static(admin::VERSION));
    answer
}

/// What HTTP/1 is told when the daemon stops.
pub(super) fn last_on_its_connection(answer: Answer) -> Answer {
    http::closing(answer, Version::HTTP_11)
}
