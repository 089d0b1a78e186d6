//! One request to whoever listens: the daemon, or somebody who has its place. Never longer than its deadline.

use std::io::{self, ErrorKind};
use std::net::SocketAddr;
use std::path::Path;
use std::time::Duration;

use bytes::Bytes;
use http_body_util::{BodyExt as _, Empty, Limited};
use hyper::header::HOST;
use hyper::{Method, Request};
use hyper_util::rt::TokioIo;
use tokio::io::{AsyncRead, AsyncWrite};
use tokio::net::{TcpStream, UnixStream};

use crate::error::deepest;

/// What came back.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(super) struct Reply {
    pub(super) status: u16,
    pub(super) body: Bytes,
}

/// Why nothing came back.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(super) enum Silence {
    /// Nobody listens there.
    Nobody,
    /// This user may not connect.
    Forbidden,
    /// Somebody listens, and didn't answer in time.
    Hangs,
    /// Anything else, in words.
    Broken(String),
}

/// An answer is not longer.
const BYTES_MAX: usize = 8 << 20;

/// Asks a TCP listener.
pub(super) async fn tcp(address: SocketAddr, path: &str, within: Duration) -> Result<Reply, Silence> {
    let asking = async {
        let stream = TcpStream::connect(address).await.map_err(silence)?;
        exchange(stream, Method::GET, path, &address.to_string()).await
    };
    tokio::time::timeout(within, asking).await.unwrap_or(Err(Silence::Hangs))
}

/// Asks a unix socket; also which process listens there, where the machine says it.
pub(super) async fn unix(
    socket: &Path,
    method: Method,
    path: &str,
    within: Duration,
) -> (Option<u32>, Result<Reply, Silence>) {
    let mut pid = None;
    let asking = async {
        let stream = UnixStream::connect(socket).await.map_err(silence)?;
        let peer = stream.peer_cred().ok().and_then(|peer| peer.pid());
        pid = peer.and_then(|pid| u32::try_from(pid).ok());
        exchange(stream, method, path, "larder").await
    };
    let reply = tokio::time::timeout(within, asking).await.unwrap_or(Err(Silence::Hangs));
    (pid, reply)
}

async fn exchange(
    stream: impl AsyncRead + AsyncWrite + Unpin + Send + 'static,
    method: Method,
    path: &str,
    host: &str,
) -> Result<Reply, Silence> {
    let broken = |error: &dyn std::error::Error| Silence::Broken(deepest(error));
    let shaken = hyper::client::conn::http1::handshake(TokioIo::new(stream)).await;
    let (mut sender, connection) = shaken.map_err(|error| broken(&error))?;
    let driving = tokio::spawn(connection);
    let request = Request::builder().method(method).uri(path).header(HOST, host).body(Empty::<Bytes>::new());
    let request = request.map_err(|error| broken(&error))?;
    let response = sender.send_request(request).await.map_err(|error| broken(&error))?;
    let status = response.status().as_u16();
    let body = Limited::new(response.into_body(), BYTES_MAX).collect().await;
    // What it still has to say belongs to no answer.
    driving.abort();
    Ok(Reply { status, body: body.map_err(|error| broken(&*error))?.to_bytes() })
}

fn silence(error: io::Error) -> Silence {
    match error.kind() {
        ErrorKind::NotFound | ErrorKind::ConnectionRefused => Silence::Nobody,
        // No such family of addresses, or none of them here.
        ErrorKind::AddrNotAvailable | ErrorKind::NetworkUnreachable | ErrorKind::HostUnreachable => {
            Silence::Nobody
        }
        // A path that is longer than a socket's can be.
        ErrorKind::InvalidInput => Silence::Nobody,
        ErrorKind::PermissionDenied => Silence::Forbidden,
        ErrorKind::WouldBlock => Silence::Hangs,
        _ => Silence::Broken(error.to_string()),
    }
}

// === impl Reply ===

impl Reply {
    /// The first words of what came.
    pub(super) fn words(&self) -> String {
        const CHARS_MAX: usize = 300;
        let text = String::from_utf8_lossy(&self.body);
        text.trim().chars().take(CHARS_MAX).collect()
    }
}
