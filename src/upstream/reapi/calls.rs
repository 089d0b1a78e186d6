//! Calls: what every one of them has in common.
//!
//! Each takes the connection that there is, the headers of the credentials as they are now, and a deadline, which the
//! server is told too. Every call can be repeated: one that fails because its connection had been closed by then is sent
//! once more on a new one.

use std::error::Error as _;
use std::sync::Arc;
use std::time::Duration;

use bytes::{Buf as _, BufMut as _, Bytes};
use futures_util::Stream;
use hyper::Uri;
use hyper::header::{HeaderMap, HeaderName, HeaderValue, USER_AGENT};
use hyper::http::uri::PathAndQuery;
use prost::Message;
use tonic::client::Grpc;
use tonic::codec::{Codec, DecodeBuf, Decoder, EncodeBuf, Encoder, Streaming};
use tonic::metadata::MetadataMap;
use tonic::{Code, Request, Status};

use super::super::credentials::{Sender, Watched as _};
use super::super::location::Service;
use super::super::runtime::Spawner;
use super::super::{Failure, Fault, Signal};
use super::channel::{Channel, Connection, Requests, remedy};
use super::wait::asked_wait;
use crate::error::deepest;

/// No answer has a longer message: batches are bounded by what the server takes, at most 4 MiB.
const MESSAGE_BYTES_MAX: usize = 32 << 20;

/// Of a server's message, this much is shown.
const MESSAGE_CHARS_MAX: usize = 200;

/// Makes calls to one server.
pub(super) struct Calls {
    pub(super) channel: Channel,
    sender: Sender,
    origin: Uri,
    /// It is spoken to by TLS, and not told who we are: some servers only hang up then.
    may_lack_certificate: bool,
    /// How long a call may go on, or stand still.
    pub(super) deadline: Duration,
}

/// A method, by the path of its URL.
#[derive(Debug, Clone, Copy)]
pub(super) struct Method(pub(super) &'static str);

/// Messages go as they are: who makes them encodes them, so that unknown fields and bytes survive.
#[derive(Debug, Clone, Copy, Default)]
pub(super) struct Raw;

// === impl Calls ===

impl Calls {
    pub(super) fn new(
        service: Service,
        sender: Sender,
        spawner: Spawner,
        connect: Duration,
        deadline: Duration,
    ) -> crate::error::Result<Self> {
        let scheme = if service.is_tls { "https" } else { "http" };
        let origin = format!("{scheme}://{}", service.authority())
            .parse()
            .map_err(|error| crate::error::Error::invalid(format!("an upstream that can't be: {error}")))?;
        let may_lack_certificate = service.is_tls && service.files.own.is_none();
        Ok(Self {
            may_lack_certificate,
            channel: Channel::new(service, connect, spawner),
            sender,
            origin,
            deadline,
        })
    }

    pub(super) fn has_other_keys(&self) -> bool {
        self.sender.has_changed()
    }

    /// One message there, one back.
    pub(super) async fn unary<A: Message + Default>(
        &self,
        method: Method,
        request: &impl Message,
    ) -> Result<A, Failed> {
        let answer = self.unary_bytes(method, request.encode_to_vec().into()).await?;
        A::decode(answer).map_err(|_| Failed::Fault(not_protobuf(method)))
    }

    /// The same with messages as they are on the wire.
    pub(super) async fn unary_bytes(&self, method: Method, request: Bytes) -> Result<Bytes, Failed> {
        let connection = self.channel.connection().await?;
        match self.send(&connection, method, request.clone()).await {
            Err(Failed::Status(status)) if is_closed(&status) => {
                self.channel.leave(&connection);
                let connection = self.channel.connection().await?;
                self.send(&connection, method, request).await
            }
            answer => answer,
        }
    }

    /// The same on this very connection.
    pub(super) async fn send(
        &self,
        connection: &Arc<Connection>,
        method: Method,
        request: Bytes,
    ) -> Result<Bytes, Failed> {
        let mut grpc = self.grpc(connection);
        let request = self.request(request, Some(self.deadline)).await?;
        let call = grpc.unary(request, PathAndQuery::from_static(method.0), Raw);
        let answer = tokio::time::timeout(self.deadline, call).await.map_err(|_| self.late(method))?;
        Ok(answer.map_err(Failed::Status)?.into_inner())
    }

    /// One message there, many back; the first of them has come.
    pub(super) async fn server_streaming(
        &self,
        method: Method,
        request: Bytes,
    ) -> Result<(Option<Bytes>, Streaming<Bytes>), Failed> {
        let connection = self.channel.connection().await?;
        match self.begin(&connection, method, request.clone()).await {
            Err(Failed::Status(status)) if is_closed(&status) => {
                self.channel.leave(&connection);
                let connection = self.channel.connection().await?;
                self.begin(&connection, method, request).await
            }
            answer => answer,
        }
    }

    async fn begin(
        &self,
        connection: &Arc<Connection>,
        method: Method,
        request: Bytes,
    ) -> Result<(Option<Bytes>, Streaming<Bytes>), Failed> {
        let mut grpc = self.grpc(connection);
        // How long it may take in all hangs on its length: who reads it waits for progress.
        let request = self.request(request, None).await?;
        let call = async {
            let mut stream =
                grpc.server_streaming(request, PathAndQuery::from_static(method.0), Raw).await?.into_inner();
            Ok::<_, Status>((stream.message().await?, stream))
        };
        let answer = tokio::time::timeout(self.deadline, call).await.map_err(|_| self.late(method))?;
        answer.map_err(Failed::Status)
    }

    /// Many messages there, one back. Whether they move is for the caller to see.
    pub(super) async fn client_streaming(
        &self,
        method: Method,
        requests: impl Stream<Item = Bytes> + Send + 'static,
    ) -> Result<Bytes, Failed> {
        let connection = self.channel.connection().await?;
        let mut grpc = self.grpc(&connection);
        let request = self.request(requests, None).await?;
        let answer = grpc.client_streaming(request, PathAndQuery::from_static(method.0), Raw).await;
        let answer = answer.inspect_err(|status| {
            if is_closed(status) {
                self.channel.leave(&connection);
            }
        });
        Ok(answer.map_err(Failed::Status)?.into_inner())
    }

    fn grpc(&self, connection: &Connection) -> Grpc<Requests> {
        Grpc::with_origin(connection.requests(), self.origin.clone())
            .max_decoding_message_size(MESSAGE_BYTES_MAX)
    }

    /// With the headers that the credentials are now.
    async fn request<T>(&self, message: T, deadline: Option<Duration>) -> Result<Request<T>, Fault> {
        let denied = |error: crate::error::Error| Fault::state(Signal::Denied, error.message().to_owned());
        let credentials = self.sender.headers().await.map_err(denied)?;
        let mut headers = HeaderMap::new();
        headers.insert(USER_AGENT, HeaderValue::from_static(concat!("larder/", env!("CARGO_PKG_VERSION"))));
        for (name, value) in credentials.iter() {
            let name = HeaderName::try_from(name);
            let value = HeaderValue::try_from(value);
            let (Ok(name), Ok(mut value)) = (name, value) else {
                return Err(Fault::state(Signal::Denied, "the credentials have a header that can't be sent"));
            };
            value.set_sensitive(true);
            headers.insert(name, value);
        }
        let mut request = Request::new(message);
        *request.metadata_mut() = MetadataMap::from_headers(headers);
        if let Some(deadline) = deadline {
            request.set_timeout(deadline);
        }
        Ok(request)
    }

    pub(super) fn late(&self, method: Method) -> Failed {
        let words = format!("no answer to {} within {} s", method.name(), self.deadline.as_secs());
        Failed::Fault(Fault::state(Signal::Deadline, words))
    }

    /// What a call that the server answered with an error means. `doing`: a read, or a write of an object, which it may
    /// refuse for good.
    pub(super) fn judge(&self, failed: Failed, method: Method, doing: Doing) -> Fault {
        let status = match failed {
            Failed::Fault(fault) => return fault,
            Failed::Status(status) => status,
        };
        let (words, retry_after) = (words(method, &status), asked_wait(&status));
        match status.code() {
            Code::Unauthenticated | Code::PermissionDenied => {
                Fault::state(Signal::Denied, format!("{words}; {}", self.sender.remedy()))
            }
            // Without a word about when, UNAVAILABLE is as good as no answer.
            Code::ResourceExhausted => Failure::Throttled { retry_after }.into(),
            Code::Unavailable if retry_after.is_some() => Failure::Throttled { retry_after }.into(),
            Code::InvalidArgument | Code::FailedPrecondition | Code::OutOfRange | Code::NotFound
                if doing == Doing::Write =>
            {
                Failure::Refused(words).into()
            }
            Code::DeadlineExceeded => Fault::state(Signal::Deadline, words),
            Code::InvalidArgument | Code::FailedPrecondition | Code::OutOfRange | Code::NotFound => {
                Fault::state(Signal::Neutral, words)
            }
            Code::Unimplemented => Fault::state(
                Signal::Fault,
                format!(
                    "{words}; is it a cache of the Remote Execution API, and not another server or a portal?"
                ),
            ),
            _ if self.may_lack_certificate && is_closed(&status) => {
                let hint = "if it asks for a client's certificate: certificate=FILE and key=FILE";
                Fault::state(Signal::Fault, format!("{words}; {hint}"))
            }
            _ => Fault::state(Signal::Fault, words),
        }
    }
}

/// How a call failed.
pub(super) enum Failed {
    /// The server's word, or that of what carries it.
    Status(Status),
    /// It was judged already.
    Fault(Fault),
}

/// What a call is for.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum Doing {
    Read,
    Write,
}

// === impl Failed ===

impl Failed {
    /// The server itself says so: of an answer without `grpc-status` no absence is made.
    pub(super) fn is_not_found(&self) -> bool {
        matches!(self, Self::Status(status) if status.code() == Code::NotFound)
    }

    /// The request as such was refused.
    pub(super) fn is_invalid(&self) -> bool {
        matches!(self, Self::Status(status) if status.code() == Code::InvalidArgument)
    }

    /// As some servers say of content that somebody else has written meanwhile.
    pub(super) fn is_already_there(&self) -> bool {
        matches!(self, Self::Status(status) if status.code() == Code::AlreadyExists)
    }

    /// The transfer broke off; nobody refused it.
    pub(super) fn is_broken_off(&self) -> bool {
        match self {
            Self::Status(status) => {
                is_closed(status) || matches!(status.code(), Code::Unavailable | Code::Aborted)
            }
            Self::Fault(_) => false,
        }
    }
}

impl From<Fault> for Failed {
    fn from(fault: Fault) -> Self {
        Self::Fault(fault)
    }
}

// === impl Method ===

impl Method {
    /// The last part of its path.
    pub(super) fn name(self) -> &'static str {
        self.0.rsplit('/').next().unwrap_or(self.0)
    }
}

// === impl Raw ===

impl Codec for Raw {
    type Encode = Bytes;
    type Decode = Bytes;
    type Encoder = Self;
    type Decoder = Self;

    fn encoder(&mut self) -> Self {
        Self
    }

    fn decoder(&mut self) -> Self {
        Self
    }
}

impl Encoder for Raw {
    type Item = Bytes;
    type Error = Status;

    fn encode(&mut self, message: Bytes, to: &mut EncodeBuf<'_>) -> Result<(), Status> {
        to.put(message);
        Ok(())
    }
}

impl Decoder for Raw {
    type Item = Bytes;
    type Error = Status;

    fn decode(&mut self, from: &mut DecodeBuf<'_>) -> Result<Option<Bytes>, Status> {
        Ok(Some(from.copy_to_bytes(from.remaining())))
    }
}

/// `{method}: {CODE}: {what was said}`, on one line.
fn words(method: Method, status: &Status) -> String {
    let said = match status.source() {
        Some(source) => deepest(source),
        None => status.message().to_owned(),
    };
    let said: String = said.chars().filter(|c| !c.is_control()).take(MESSAGE_CHARS_MAX).collect();
    format!("{}: {:?}: {said}{}", method.name(), status.code(), remedy(&said))
}

/// The connection had ended before the call could be answered.
fn is_closed(status: &Status) -> bool {
    let mut error = status.source();
    while let Some(source) = error {
        if let Some(error) = source.downcast_ref::<hyper::Error>() {
            return !error.is_timeout();
        }
        error = source.source();
    }
    false
}

pub(super) fn not_protobuf(method: Method) -> Fault {
    Fault::state(Signal::Fault, format!("{}: an answer that is not the API's own", method.name()))
}
