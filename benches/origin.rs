//! An upstream far away: a small S3-like origin that holds one object, and before it a proxy that delays each
//! direction by half a round trip and counts what comes in.
//!
//! With `--to PORT` there is no origin: the proxy stands before a server that runs already, of whatever protocol.
//!
//! `--down` makes the proxy an upstream that is down: it counts a connection and cuts it. `GET /counts` on the
//! origin's own port tells, as JSON, the connections and requests that the proxy saw and when it passed on the first
//! bytes of each answer. The proxy also delays a connection's first bytes by the round trip that TCP's
//! handshake would have taken.

use std::convert::Infallible;
use std::io::{Result, Write};
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, AtomicU64, Ordering};
use std::time::Duration;

use bytes::Bytes;
use clap::Parser;
use http_body_util::Full;
use hyper::body::Incoming;
use hyper::{Method, Request, Response, StatusCode};
use hyper_util::rt::TokioIo;
use parking_lot::Mutex;
use tokio::io::{AsyncReadExt, AsyncWriteExt};
use tokio::net::tcp::{OwnedReadHalf, OwnedWriteHalf};
use tokio::net::{TcpListener, TcpStream};
use tokio::time::Instant;

/// Pieces on their way in one direction of one connection; far more than a round trip at loopback's speed needs.
const IN_FLIGHT_MAX: usize = 4096;

/// Of a request's first line, this much is told.
const HEAD_BYTES_MAX: usize = 1024;

#[derive(Parser)]
struct Args {
    /// Bytes of the one object; without a size or `--to` nothing runs (so that a runner of all targets passes by).
    #[arg(long)]
    size: Option<usize>,
    #[arg(long, default_value_t = 100)]
    rtt_ms: u64,
    /// Be the proxy alone, before this port.
    #[arg(long)]
    to: Option<u16>,
    /// Every connection is counted and cut.
    #[arg(long)]
    down: bool,
    /// What `cargo bench` says.
    #[arg(long, hide = true)]
    bench: bool,
}

#[derive(Default)]
struct Counts {
    connections: AtomicU64,
    requests: Mutex<Vec<Seen>>,
}

/// One request as the proxy saw it.
#[derive(Clone, serde::Serialize)]
struct Seen {
    head: String,
    first_byte_ns: Option<u64>,
}

#[tokio::main]
async fn main() -> Result<()> {
    let args = Args::parse();
    if args.size.is_none() && args.to.is_none() {
        return Ok(());
    }
    let size = args.size.unwrap_or_default();
    let counts = Arc::new(Counts::default());
    let proxy = TcpListener::bind("127.0.0.1:0").await?;
    let origin = TcpListener::bind("127.0.0.1:0").await?;
    let origin_port = origin.local_addr()?.port();
    let ports = serde_json::json!({ "proxy": proxy.local_addr()?.port(), "origin": origin_port });
    writeln!(std::io::stdout(), "{ports}")?;

    let object = Bytes::from((0..size).map(|at| (at / 4096) as u8).collect::<Vec<_>>());
    let serving = tokio::spawn(serve(origin, object, counts.clone()));
    let trip = Duration::from_millis(args.rtt_ms / 2);
    loop {
        let (client, _) = tokio::select! {
            accepted = proxy.accept() => accepted?,
            _ = tokio::signal::ctrl_c() => break,
        };
        counts.connections.fetch_add(1, Ordering::Relaxed);
        if args.down {
            continue;
        }
        client.set_nodelay(true)?;
        let server = TcpStream::connect(("127.0.0.1", args.to.unwrap_or(origin_port))).await?;
        server.set_nodelay(true)?;
        let (client_read, client_write) = client.into_split();
        let (server_read, server_write) = server.into_split();
        let waiting = Arc::new(AtomicBool::new(false));
        let up = Direction { up: true, trip, waiting: waiting.clone(), counts: counts.clone() };
        let down = Direction { up: false, trip, waiting, counts: counts.clone() };
        tokio::spawn(up.pass(client_read, server_write));
        tokio::spawn(down.pass(server_read, client_write));
    }
    serving.abort();
    Ok(())
}

/// One direction of one connection.
struct Direction {
    up: bool,
    trip: Duration,
    /// A request went up whose answer has not begun.
    waiting: Arc<AtomicBool>,
    counts: Arc<Counts>,
}

impl Direction {
    async fn pass(self, mut from: OwnedReadHalf, mut to: OwnedWriteHalf) {
        let (pieces, mut arrived) = tokio::sync::mpsc::channel::<(Instant, Bytes)>(IN_FLIGHT_MAX);
        let mut handshake = if self.up { self.trip * 2 } else { Duration::ZERO };
        let trip = self.trip;
        let (up, waiting, counts) = (self.up, self.waiting.clone(), self.counts.clone());
        let reader = tokio::spawn(async move {
            let mut due = Instant::now();
            loop {
                let mut piece = Vec::with_capacity(64 * 1024);
                if !matches!(from.read_buf(&mut piece).await, Ok(1..)) {
                    break;
                }
                if up && !waiting.swap(true, Ordering::Relaxed) {
                    counts.note(&piece);
                }
                // What follows never overtakes what was held back for the handshake.
                due = due.max(Instant::now() + trip + std::mem::take(&mut handshake));
                if pieces.send((due, piece.into())).await.is_err() {
                    break;
                }
            }
        });
        while let Some((due, piece)) = arrived.recv().await {
            tokio::time::sleep_until(due).await;
            if !self.up && self.waiting.swap(false, Ordering::Relaxed) {
                self.counts.note_answer();
            }
            if to.write_all(&piece).await.is_err() {
                break;
            }
        }
        reader.abort();
    }
}

async fn serve(listener: TcpListener, object: Bytes, counts: Arc<Counts>) -> Result<()> {
    loop {
        let (stream, _) = listener.accept().await?;
        stream.set_nodelay(true)?;
        let (object, counts) = (object.clone(), counts.clone());
        tokio::spawn(async move {
            let service = hyper::service::service_fn(|request| answer(request, &object, &counts));
            // A proxy that hangs up is the normal end of a connection.
            let _ = hyper::server::conn::http1::Builder::new()
                .serve_connection(TokioIo::new(stream), service)
                .await;
        });
    }
}

/// The object for every path that ends in `big`, 404 for any other; the headers that S3 puts on each answer.
async fn answer(
    request: Request<Incoming>,
    object: &Bytes,
    counts: &Counts,
) -> std::result::Result<Response<Full<Bytes>>, Infallible> {
    let path = request.uri().path();
    let mut response =
        Response::builder().header("x-amz-request-id", "0000000000000001").header("server", "AmazonS3");
    let mut body = Bytes::new();
    if path == "/counts" {
        body = counts.to_json().into();
    } else if path.ends_with("big") && [Method::GET, Method::HEAD].contains(request.method()) {
        response = response
            .header("etag", "\"0123456789abcdef0123456789abcdef-7\"")
            .header("last-modified", "Mon, 02 Nov 2026 10:00:00 GMT")
            .header("content-type", "application/octet-stream")
            .header("content-length", object.len());
        if request.method() == Method::GET {
            body = object.clone();
        }
    } else {
        response = response.status(StatusCode::NOT_FOUND).header("content-type", "application/xml");
        body = Bytes::from_static(b"<Error><Code>NoSuchKey</Code><Message>no such key</Message></Error>");
    }
    Ok(response.body(Full::new(body)).expect("the headers above are valid"))
}

// === impl Counts ===

impl Counts {
    fn note(&self, piece: &[u8]) {
        let line = piece.split(|byte| *byte == b'\r').next().unwrap_or_default();
        // What is no HTTP/1 has no lines.
        let head = String::from_utf8_lossy(&line[..line.len().min(HEAD_BYTES_MAX)]).into_owned();
        self.requests.lock().push(Seen { head, first_byte_ns: None });
    }

    /// The oldest request without an answer has its first bytes now. Enough for the one request that a run expects.
    fn note_answer(&self) {
        let now = rustix::time::clock_gettime(rustix::time::ClockId::Monotonic);
        let now_ns = now.tv_sec as u64 * 1_000_000_000 + now.tv_nsec as u64;
        if let Some(seen) = self.requests.lock().iter_mut().find(|seen| seen.first_byte_ns.is_none()) {
            seen.first_byte_ns = Some(now_ns);
        }
    }

    fn to_json(&self) -> String {
        let requests = self.requests.lock().clone();
        let connections = self.connections.load(Ordering::Relaxed);
        serde_json::json!({ "connections": connections, "requests": requests }).to_string()
    }
}
