//! The HTTP service under `object_store`: sees every answer as it came.
//!
//! `object_store` folds answers into coarse errors; here the raw ones are noted for the call that runs, so that the
//! store's own 404 is told from a portal's and `ExpiredToken` from `AccessDenied`. A call runs within
//! [`Seen::watch`]; requests and retries happen in its task.

use std::fmt;
use std::future::Future;
use std::pin::Pin;
use std::sync::Arc;
use std::time::SystemTime;

use bytes::{Bytes, BytesMut};
use futures_util::StreamExt as _;
use object_store::ClientOptions;
use object_store::client::{
    HttpClient, HttpConnector, HttpError, HttpErrorKind, HttpRequest, HttpResponse, HttpResponseBody,
    HttpService, ReqwestConnector,
};
use parking_lot::Mutex;

use super::super::times::seconds_ahead;
use super::super::{Fault, Signal};
use super::answer::{Answer, Call, ERROR_BYTES_MAX, element};
use crate::error::deepest;

tokio::task_local! {
    /// Where the running call notes what it sees.
    static SEEN: Seen;
}

/// What the last request of a call met.
#[derive(Debug, Clone, Default)]
pub(super) struct Seen(Arc<Mutex<Sight>>);

#[derive(Debug, Clone, Default)]
enum Sight {
    /// No request was sent yet.
    #[default]
    Nothing,
    Answer(Box<Answer>, Option<String>),
    /// No answer: what stood in the way. `true`: it took too long.
    Broken(String, bool),
    /// There were no keys to sign with.
    NoKeys(String),
}

/// The HTTP client of one store. Cheap to clone.
#[derive(Clone)]
pub(super) struct Service(Arc<Inner>);

struct Inner {
    options: ClientOptions,
    /// Made with the first request, as reading the system's certificates takes a while; dropped with its idle
    /// connections by [`Service::disconnect`]. Leaf mutex.
    client: Mutex<Option<HttpClient>>,
    /// The store's clock less ours, in seconds, at its last answer with a date. Leaf mutex.
    clock_skew: Mutex<Option<i64>>,
}

/// The answer isn't the store's own.
#[derive(Debug)]
struct NotTheStore;

// === impl Seen ===

impl Seen {
    /// Runs a call of `object_store`; what it met is noted here.
    pub(super) async fn watch<T>(&self, call: impl Future<Output = T>) -> T {
        SEEN.scope(self.clone(), call).await
    }

    /// The answer to its last request.
    pub(super) fn answer(&self) -> Option<Answer> {
        match &*self.0.lock() {
            Sight::Answer(answer, _) => Some((**answer).clone()),
            Sight::Nothing | Sight::Broken(..) | Sight::NoKeys(_) => None,
        }
    }

    /// The id of a multipart upload that has begun.
    pub(super) fn upload_id(&self) -> Option<String> {
        match &*self.0.lock() {
            Sight::Answer(_, id) => id.clone(),
            Sight::Nothing | Sight::Broken(..) | Sight::NoKeys(_) => None,
        }
    }

    /// What a failed call means.
    pub(super) fn fault(&self, call: Call, error: &object_store::Error) -> Fault {
        match &*self.0.lock() {
            Sight::Answer(answer, _) if !answer.is_success() || !answer.own => answer.fault(call),
            Sight::Answer(answer, _) => {
                let words = format!("HTTP {} that can't be used: {}", answer.status, deepest(error));
                Fault::state(Signal::Fault, words)
            }
            Sight::Broken(words, true) => Fault::state(Signal::Deadline, words.as_str()),
            Sight::Broken(words, false) => Fault::state(Signal::Fault, words.as_str()),
            Sight::NoKeys(words) => Fault::state(Signal::Denied, words.as_str()),
            Sight::Nothing => Fault::state(Signal::Fault, deepest(error)),
        }
    }

    /// There are no keys for the running call.
    pub(super) fn no_keys(words: String) {
        Self::note(Sight::NoKeys(words));
    }

    /// The running call could not be asked, or was not answered.
    pub(super) fn broken(host: &str, error: &HttpError) {
        Self::note(broken(host, error));
    }

    fn note(sight: Sight) {
        // Outside of a call nobody looks: a body that is read to its end later.
        let _ = SEEN.try_with(|seen| *seen.0.lock() = sight);
    }
}

// === impl Service ===

impl Service {
    pub(super) fn new(options: ClientOptions) -> Self {
        Self(Arc::new(Inner { options, client: Mutex::new(None), clock_skew: Mutex::new(None) }))
    }

    /// Lets go of idle connections; requests from now on make new ones.
    pub(super) fn disconnect(&self) {
        *self.0.client.lock() = None;
    }

    /// What [`super::super::Upstream::clock_skew`] says. Refusals count too: a store refuses who has another time.
    pub(super) fn clock_skew(&self) -> Option<i64> {
        *self.0.clock_skew.lock()
    }

    /// Makes the client, so that the first request needn't.
    pub(super) async fn warm_up(self) {
        // What fails now fails again, and is told, with the first request.
        let _ = tokio::task::spawn_blocking(move || self.client().map(drop)).await;
    }

    fn client(&self) -> Result<HttpClient, HttpError> {
        if let Some(client) = &*self.0.client.lock() {
            return Ok(client.clone());
        }
        // Two first requests may both make one; the later is kept.
        let client = ReqwestConnector::default()
            .connect(&self.0.options)
            .map_err(|e| HttpError::new(HttpErrorKind::Unknown, e))?;
        *self.0.client.lock() = Some(client.clone());
        Ok(client)
    }

    async fn answer(&self, request: HttpRequest) -> Result<HttpResponse, HttpError> {
        let begins_upload = request.method().as_str() == "POST" && request.uri().query() == Some("uploads=");
        let is_delete = request.method().as_str() == "DELETE";
        let host = request.uri().authority().map(|host| host.as_str().to_owned()).unwrap_or_default();
        let response = match self.client()?.execute(request).await {
            Ok(response) => response,
            Err(e) => {
                Seen::broken(&host, &e);
                return Err(e);
            }
        };
        let mut answer = Answer::of(&response);
        if let Some(date) = answer.meta.server_date {
            *self.0.clock_skew.lock() = Some(seconds_ahead(date, SystemTime::now()));
        }
        // Few stores mark an answer to DELETE, and no portal says 204 to one.
        answer.own |= is_delete && answer.status == 204;
        if answer.is_success() && !begins_upload {
            answer.own |= answer.is_xml();
            let own = answer.own;
            Seen::note(Sight::Answer(Box::new(answer), None));
            return if own { Ok(response) } else { Err(HttpError::new(HttpErrorKind::Unknown, NotTheStore)) };
        }
        let (parts, body) = response.into_parts();
        let body = read(body).await.inspect_err(|e| Seen::broken(&host, e))?;
        let id = begins_upload.then(|| element(&String::from_utf8_lossy(&body), "UploadId")).flatten();
        answer.own |= id.is_some();
        Seen::note(Sight::Answer(Box::new(answer.with_error(&body)), id));
        Ok(HttpResponse::from_parts(parts, HttpResponseBody::from(body)))
    }
}

impl HttpConnector for Service {
    /// The options are those that it was made with.
    fn connect(&self, _: &ClientOptions) -> object_store::Result<HttpClient> {
        Ok(HttpClient::new(self.clone()))
    }
}

impl HttpService for Service {
    fn call<'this, 'call>(
        &'this self,
        request: HttpRequest,
    ) -> Pin<Box<dyn Future<Output = Result<HttpResponse, HttpError>> + Send + 'call>>
    where
        'this: 'call,
        Self: 'call,
    {
        Box::pin(self.answer(request))
    }
}

impl fmt::Debug for Service {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        // Options may hold a proxy's password.
        f.write_str("Service")
    }
}

impl fmt::Display for NotTheStore {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("the answer is not the store's own")
    }
}

impl std::error::Error for NotTheStore {}

/// An answer that matters for its words; what is far too long for one is cut.
pub(super) async fn read(body: HttpResponseBody) -> Result<Bytes, HttpError> {
    let mut stream = body.bytes_stream();
    let mut bytes = BytesMut::new();
    while let Some(piece) = stream.next().await {
        bytes.extend_from_slice(&piece?);
        if bytes.len() > ERROR_BYTES_MAX {
            break;
        }
    }
    Ok(bytes.freeze())
}

fn broken(host: &str, error: &HttpError) -> Sight {
    let (doing, late) = match error.kind() {
        HttpErrorKind::Connect => ("connect to", false),
        HttpErrorKind::Timeout => ("connect in time to", true),
        _ => ("talk to", false),
    };
    Sight::Broken(format!("{doing} {host}: {}", deepest(error)), late)
}
