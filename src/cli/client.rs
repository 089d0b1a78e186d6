//! Asks the running daemon, by its admin socket.

use std::io;
use std::path::{Path, PathBuf};

use bytes::Bytes;
use http_body_util::{BodyExt as _, Empty};
use hyper::header::HOST;
use hyper::{Method, Request, StatusCode};
use hyper_util::rt::TokioIo;
use serde::de::DeserializeOwned;
use tokio::net::UnixStream;

/// The admin socket of a daemon.
#[derive(Debug)]
pub(super) struct Client {
    socket: PathBuf,
}

/// Why there is no answer.
#[derive(Debug)]
pub(super) enum Failed {
    /// Nobody listens there.
    NotRunning(String),
    /// Anything else.
    Other(String),
}

/// An answer of the admin pages is never longer: the queue's rows are bounded.
const ANSWER_BYTES_MAX: usize = 64 << 20;

// === impl Client ===

impl Client {
    pub(super) fn new(socket: &Path) -> Self {
        Self { socket: socket.to_path_buf() }
    }

    /// Asks for a page.
    pub(super) async fn json<T: DeserializeOwned>(&self, path: &str) -> Result<T, Failed> {
        self.by(Method::GET, path).await
    }

    /// Asks for something to be done.
    pub(super) async fn post<T: DeserializeOwned>(&self, path: &str) -> Result<T, Failed> {
        self.by(Method::POST, path).await
    }

    async fn by<T: DeserializeOwned>(&self, method: Method, path: &str) -> Result<T, Failed> {
        let stream = UnixStream::connect(&self.socket).await.map_err(|error| self.no_connection(&error))?;
        let broken = |error: hyper::Error| Failed::Other(format!("failed to ask the daemon: {error}"));
        let (mut sender, connection) =
            hyper::client::conn::http1::handshake(TokioIo::new(stream)).await.map_err(broken)?;
        let driving = tokio::spawn(connection);
        let request =
            Request::builder().method(method).uri(path).header(HOST, "larder").body(Empty::<Bytes>::new());
        let request = request.map_err(|error| Failed::Other(format!("failed to ask for {path}: {error}")))?;
        let response = sender.send_request(request).await.map_err(broken)?;
        let status = response.status();
        let body = http_body_util::Limited::new(response.into_body(), ANSWER_BYTES_MAX).collect().await;
        let bytes =
            body.map_err(|error| Failed::Other(format!("failed to read the answer: {error}")))?.to_bytes();
        drop(sender);
        // It ends once its sender is gone; how, says nothing that the answer didn't.
        let _ = driving.await;
        if status != StatusCode::OK {
            let words = String::from_utf8_lossy(&bytes);
            return Err(Failed::Other(format!("the daemon answered {status}: {}", words.trim())));
        }
        serde_json::from_slice(&bytes)
            .map_err(|error| Failed::Other(format!("failed to read the answer, of another version? {error}")))
    }

    fn no_connection(&self, error: &io::Error) -> Failed {
        let socket = self.socket.display();
        match error.kind() {
            io::ErrorKind::NotFound | io::ErrorKind::ConnectionRefused => Failed::NotRunning(format!(
                "no daemon answers on {socket}; start it with `larder serve`, or say where it is with --dir or --socket"
            )),
            _ => Failed::Other(format!("failed to connect to {socket}: {error}")),
        }
    }
}
