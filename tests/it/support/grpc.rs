//! A client of gRPC that says exactly what it is told to, and what it was answered: messages, status, words.
//!
//! Messages are those of `bazel-remote-apis`; the calls are made on hyper's HTTP/2 and not on a client library, because
//! a library would repeat, rename and interpret.

use std::future::Future;

use bytes::{BufMut as _, Bytes, BytesMut};
use http_body_util::{BodyExt as _, Full};
use hyper::client::conn::http2::{self, SendRequest};
use hyper::header::{CONTENT_TYPE, TE};
use hyper::{HeaderMap, Request, Response, body::Incoming};
use hyper_util::rt::{TokioExecutor, TokioIo};
use prost::Message;
use tokio::net::{TcpStream, UnixStream};
use tokio::runtime::Runtime;

use super::wire::Addr;

pub(crate) use bazel_remote_apis::build::bazel::remote::execution::v2 as reapi;
pub(crate) use bazel_remote_apis::google::bytestream;

/// A connection.
pub(crate) struct Grpc {
    runtime: Runtime,
    sender: SendRequest<Full<Bytes>>,
}

/// What a call came to.
#[derive(Debug)]
pub(crate) struct Called<M> {
    pub(crate) code: Code,
    pub(crate) words: String,
    pub(crate) messages: Vec<M>,
}

/// The statuses that tests name.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum Code {
    Ok,
    InvalidArgument,
    NotFound,
    PermissionDenied,
    ResourceExhausted,
    Aborted,
    OutOfRange,
    Unimplemented,
    Unavailable,
    Unauthenticated,
    /// Another number.
    Other(u32),
    /// The stream was reset, or the connection ended, before there was a status.
    Broken,
}

/// Messages that are serialized already, each with its prefix.
pub(crate) fn framed(messages: impl IntoIterator<Item = Vec<u8>>) -> Bytes {
    let mut bytes = BytesMut::new();
    for message in messages {
        bytes.put_u8(0);
        bytes.put_u32(u32::try_from(message.len()).expect("a test's message is small"));
        bytes.put_slice(&message);
    }
    bytes.freeze()
}

/// A digest as the API has it.
pub(crate) fn digest(body: &[u8]) -> reapi::Digest {
    reapi::Digest { hash: super::sha256(body), size_bytes: i64::try_from(body.len()).expect("small") }
}

// === impl Grpc ===

impl Grpc {
    /// Connects.
    ///
    /// # Panics
    /// When nobody listens.
    #[track_caller]
    pub(crate) fn to(addr: &Addr) -> Self {
        let runtime = tokio::runtime::Builder::new_multi_thread().worker_threads(1).enable_all().build();
        let runtime = runtime.expect("threads");
        let sender = match addr {
            Addr::Tcp(addr) => {
                runtime.block_on(async { shake(TcpStream::connect(addr).await.expect("tcp")).await })
            }
            Addr::Unix(path) => {
                runtime.block_on(async { shake(UnixStream::connect(path).await.expect("unix")).await })
            }
        };
        Self { runtime, sender }
    }

    /// A call of one message, or of none.
    pub(crate) fn call<M: Message + Default>(&self, method: &str, request: &impl Message) -> Called<M> {
        self.call_raw(method, framed([request.encode_to_vec()]), &[])
    }

    /// A call whose body is these bytes.
    pub(crate) fn call_raw<M: Message + Default>(
        &self,
        method: &str,
        body: Bytes,
        headers: &[(&'static str, &str)],
    ) -> Called<M> {
        let path = match method.split_once('/') {
            Some(_) => format!("/{method}"),
            None => format!("/{}/{method}", service(method)),
        };
        let mut request = Request::post(format!("http://127.0.0.1{path}"))
            .header(CONTENT_TYPE, "application/grpc")
            .header(TE, "trailers");
        for (name, value) in headers {
            request = request.header(*name, *value);
        }
        let request = request.body(Full::new(body)).expect("a request");
        let mut sender = self.sender.clone();
        self.runtime.block_on(async move {
            let answered = sender.send_request(request).await;
            match answered {
                Ok(answer) => read(answer).await,
                Err(error) => Called { code: Code::Broken, words: error.to_string(), messages: Vec::new() },
            }
        })
    }

    /// Reads a blob, from an offset.
    pub(crate) fn read(&self, body: &[u8], offset: i64) -> Called<bytestream::ReadResponse> {
        let reapi::Digest { hash, size_bytes } = digest(body);
        let resource_name = format!("blobs/{hash}/{size_bytes}");
        self.call("Read", &bytestream::ReadRequest { resource_name, read_offset: offset, read_limit: 0 })
    }

    /// Writes a blob in messages of 1 MiB.
    pub(crate) fn write(&self, body: &[u8]) -> Called<bytestream::WriteResponse> {
        let reapi::Digest { hash, size_bytes } = digest(body);
        let resource_name = format!("uploads/{:x}/blobs/{hash}/{size_bytes}", super::random());
        let count = body.chunks(1 << 20).len();
        let messages = body.chunks(1 << 20).enumerate().map(|(at, data)| {
            bytestream::WriteRequest {
                resource_name: if at == 0 { resource_name.clone() } else { String::new() },
                write_offset: (at << 20) as i64,
                finish_write: at + 1 == count,
                data: data.to_vec(),
            }
            .encode_to_vec()
        });
        self.call_raw("Write", framed(messages), &[])
    }

    /// Writes small blobs.
    pub(crate) fn update(&self, bodies: &[&[u8]]) -> Called<reapi::BatchUpdateBlobsResponse> {
        let requests = bodies.iter().map(|body| reapi::batch_update_blobs_request::Request {
            digest: Some(digest(body)),
            data: body.to_vec(),
            compressor: 0,
        });
        let requests = requests.collect();
        self.call("BatchUpdateBlobs", &reapi::BatchUpdateBlobsRequest { requests, ..Default::default() })
    }

    /// Reads small blobs.
    pub(crate) fn batch(&self, bodies: &[&[u8]]) -> Called<reapi::BatchReadBlobsResponse> {
        let digests = bodies.iter().map(|body| digest(body)).collect();
        self.call("BatchReadBlobs", &reapi::BatchReadBlobsRequest { digests, ..Default::default() })
    }

    /// How many of these are missing.
    pub(crate) fn missing(&self, bodies: &[&[u8]]) -> usize {
        let blob_digests = bodies.iter().map(|body| digest(body)).collect();
        let request = reapi::FindMissingBlobsRequest { blob_digests, ..Default::default() };
        let called = self.call::<reapi::FindMissingBlobsResponse>("FindMissingBlobs", &request);
        called.one().missing_blob_digests.len()
    }

    /// Gets an action's result.
    pub(crate) fn result(&self, action: &[u8]) -> Called<reapi::ActionResult> {
        let action_digest = Some(digest(action));
        self.call("GetActionResult", &reapi::GetActionResultRequest { action_digest, ..Default::default() })
    }

    /// Stores an action's result, with one output of this body.
    pub(crate) fn store_result(&self, action: &[u8], output: &[u8]) -> Called<reapi::ActionResult> {
        let file =
            reapi::OutputFile { path: "out".into(), digest: Some(digest(output)), ..Default::default() };
        let request = reapi::UpdateActionResultRequest {
            action_digest: Some(digest(action)),
            action_result: Some(reapi::ActionResult { output_files: vec![file], ..Default::default() }),
            ..Default::default()
        };
        self.call("UpdateActionResult", &request)
    }
}

// === impl Called ===

impl<M> Called<M> {
    /// The message of a call that succeeded.
    ///
    /// # Panics
    /// When it did not.
    #[track_caller]
    pub(crate) fn one(mut self) -> M {
        assert_eq!((self.code, self.messages.len()), (Code::Ok, 1), "{}", self.words);
        self.messages.remove(0)
    }
}

impl Called<bytestream::ReadResponse> {
    /// What was read.
    pub(crate) fn data(&self) -> Vec<u8> {
        self.messages.iter().flat_map(|message| message.data.iter().copied()).collect()
    }
}

fn service(method: &str) -> &'static str {
    match method {
        "GetCapabilities" => "build.bazel.remote.execution.v2.Capabilities",
        "GetActionResult" | "UpdateActionResult" => "build.bazel.remote.execution.v2.ActionCache",
        "Read" | "Write" | "QueryWriteStatus" => "google.bytestream.ByteStream",
        "Check" => "grpc.health.v1.Health",
        _ => "build.bazel.remote.execution.v2.ContentAddressableStorage",
    }
}

async fn shake<I>(io: I) -> SendRequest<Full<Bytes>>
where
    I: tokio::io::AsyncRead + tokio::io::AsyncWrite + Unpin + Send + 'static,
{
    let (sender, connection) = http2::Builder::new(TokioExecutor::new())
        .initial_stream_window_size(4 << 20)
        .initial_connection_window_size(16 << 20)
        .handshake(TokioIo::new(io))
        .await
        .expect("HTTP/2");
    let serving: std::pin::Pin<Box<dyn Future<Output = ()> + Send>> = Box::pin(async move {
        // How a connection ends is seen by its calls.
        let _ = connection.await;
    });
    tokio::spawn(serving);
    sender
}

async fn read<M: Message + Default>(answer: Response<Incoming>) -> Called<M> {
    let headers = answer.headers().clone();
    let mut body = answer.into_body();
    let (mut bytes, mut trailers, mut broken) = (Vec::new(), HeaderMap::new(), None);
    while let Some(frame) = body.frame().await {
        match frame.map(hyper::body::Frame::into_data) {
            Ok(Ok(data)) => bytes.extend_from_slice(&data),
            Ok(Err(frame)) => trailers = frame.into_trailers().unwrap_or_default(),
            Err(error) => {
                broken = Some(error.to_string());
                break;
            }
        }
    }
    let said = if headers.contains_key("grpc-status") { &headers } else { &trailers };
    let text = |name: &str| said.get(name).and_then(|value| value.to_str().ok()).unwrap_or_default();
    let code = match (text("grpc-status").parse(), &broken) {
        (Ok(number), None) => Code::of(number),
        _ => Code::Broken,
    };
    let words = broken.unwrap_or_else(|| unescaped(text("grpc-message")));
    Called { code, words, messages: parted(&bytes) }
}

/// As many whole messages as there are.
fn parted<M: Message + Default>(mut bytes: &[u8]) -> Vec<M> {
    let mut messages = Vec::new();
    while let Some((prefix, rest)) = bytes.split_first_chunk::<5>() {
        let [compressed, len @ ..] = *prefix;
        assert_eq!(compressed, 0, "nobody asked for compressed messages");
        let Some((message, rest)) = rest.split_at_checked(u32::from_be_bytes(len) as usize) else { break };
        messages.push(M::decode(message).expect("a message of this method"));
        bytes = rest;
    }
    messages
}

fn unescaped(text: &str) -> String {
    let mut bytes = Vec::new();
    let mut rest = text.as_bytes();
    while let Some((&byte, after)) = rest.split_first() {
        rest = after;
        let hex =
            (byte == b'%').then(|| rest.get(..2)).flatten().and_then(|hex| std::str::from_utf8(hex).ok());
        match hex.and_then(|hex| u8::from_str_radix(hex, 16).ok()) {
            Some(escaped) => {
                bytes.push(escaped);
                rest = &rest[2..];
            }
            None => bytes.push(byte),
        }
    }
    String::from_utf8_lossy(&bytes).into_owned()
}

// === impl Code ===

impl Code {
    fn of(number: u32) -> Self {
        match number {
            0 => Self::Ok,
            3 => Self::InvalidArgument,
            5 => Self::NotFound,
            7 => Self::PermissionDenied,
            8 => Self::ResourceExhausted,
            10 => Self::Aborted,
            11 => Self::OutOfRange,
            12 => Self::Unimplemented,
            14 => Self::Unavailable,
            16 => Self::Unauthenticated,
            other => Self::Other(other),
        }
    }
}
