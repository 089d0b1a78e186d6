//! gRPC over the `h2` crate alone: connections with wide windows, and a call whose bytes are ready before it begins.

use std::io::{Error, Result};

use bytes::{Bytes, BytesMut};
use h2::client::SendRequest;
use hyper::header::{CONTENT_TYPE, TE, USER_AGENT};
use hyper::{HeaderMap, Method, Request, Version};
use tokio::net::TcpStream;
use tokio::sync::Barrier;

/// Compression flag and length, before each message.
pub(crate) const PREFIX: usize = 5;

/// What a connection offers the server. The size of frames stays at HTTP/2's 16 KiB, as in Bazel, moon and tonic.
#[derive(Clone, Copy)]
pub(crate) struct Windows {
    pub(crate) stream: u32,
    pub(crate) connection: u32,
}

/// A call, its messages framed and in parts as they are sent.
pub(crate) struct Call {
    pub(crate) head: Request<()>,
    pub(crate) parts: Vec<Bytes>,
}

pub(crate) struct Answer {
    /// Of all messages with their prefixes.
    pub(crate) len: u64,
    /// The messages themselves, if they were wanted.
    pub(crate) bytes: BytesMut,
}

pub(crate) type Connection = SendRequest<Bytes>;

pub(crate) async fn connect(host: &str, port: u16, windows: Windows) -> Result<Connection> {
    let stream = TcpStream::connect((host, port)).await?;
    stream.set_nodelay(true)?;
    let (sender, connection) = h2::client::Builder::new()
        .initial_window_size(windows.stream)
        .initial_connection_window_size(windows.connection)
        .enable_push(false)
        .handshake(stream)
        .await
        .map_err(Error::other)?;
    // Its end shows in the calls that it had.
    tokio::task::spawn_local(connection);
    Ok(sender)
}

pub(crate) fn head(host: &str, port: u16, path: &str) -> Result<Request<()>> {
    Request::builder()
        .method(Method::POST)
        .version(Version::HTTP_2)
        .uri(format!("http://{host}:{port}{path}"))
        .header(CONTENT_TYPE, "application/grpc")
        .header(TE, "trailers")
        .header(USER_AGENT, "larder-load")
        .body(())
        .map_err(Error::other)
}

/// The prefix of a message of `len` bytes.
pub(crate) fn prefix(len: usize) -> [u8; PREFIX] {
    let mut prefix = [0; PREFIX];
    prefix[1..].copy_from_slice(&u32::try_from(len).expect("a message is smaller").to_be_bytes());
    prefix
}

/// Calls and reads the answer to its end. With `together` no answer is read before each has begun.
pub(crate) async fn call(
    connection: &Connection,
    call: &Call,
    wanted: bool,
    together: Option<&Barrier>,
) -> Result<Answer> {
    let answered = begin(connection, call).await;
    if let Some(barrier) = together {
        barrier.wait().await;
    }
    let (head, mut body) = answered?.into_parts();
    if head.status != 200 {
        return Err(Error::other(format!("HTTP status {}", head.status)));
    }
    let mut answer = Answer { len: 0, bytes: BytesMut::new() };
    while let Some(chunk) = body.data().await {
        let chunk = chunk.map_err(Error::other)?;
        answer.len += chunk.len() as u64;
        body.flow_control().release_capacity(chunk.len()).map_err(Error::other)?;
        if wanted {
            answer.bytes.extend_from_slice(&chunk);
        }
    }
    let trailers = body.trailers().await.map_err(Error::other)?;
    // An answer without a message may have everything in its head.
    check(trailers.as_ref().unwrap_or(&head.headers))?;
    Ok(answer)
}

async fn begin(connection: &Connection, call: &Call) -> Result<hyper::Response<h2::RecvStream>> {
    let mut connection = connection.clone().ready().await.map_err(Error::other)?;
    let (answer, mut stream) = connection.send_request(call.head.clone(), false).map_err(Error::other)?;
    // Each part is a reference to shared bytes: h2 keeps what the windows don't let through yet.
    for (at, part) in call.parts.iter().enumerate() {
        stream.send_data(part.clone(), at + 1 == call.parts.len()).map_err(Error::other)?;
    }
    answer.await.map_err(Error::other)
}

fn check(trailers: &HeaderMap) -> Result<()> {
    match trailers.get("grpc-status") {
        Some(status) if status == "0" => Ok(()),
        Some(status) => Err(Error::other(format!(
            "grpc-status {status:?}, grpc-message {:?}",
            trailers.get("grpc-message")
        ))),
        None => Err(Error::other("no grpc-status")),
    }
}
