//! Asks the running daemon, by its admin socket: within a deadline, and whoever it is that answers.

use std::cmp::Ordering;
use std::io;
use std::os::unix::fs::{FileTypeExt as _, MetadataExt as _};
use std::path::{Path, PathBuf};
use std::sync::atomic::{self, AtomicBool};
use std::time::Duration;

use bytes::Bytes;
use http_body_util::{BodyExt as _, Empty};
use hyper::header::HOST;
use hyper::{Method, Request, StatusCode};
use hyper_util::rt::TokioIo;
use serde::de::DeserializeOwned;
use tokio::net::UnixStream;
use tokio::time::{Instant, timeout_at};

use super::complain;
use crate::server::VERSION_HEADER;

/// The admin socket of a daemon.
#[derive(Debug)]
pub(super) struct Client {
    socket: PathBuf,
    timeout: Duration,
    /// It was said that the daemon is another version.
    told: AtomicBool,
}

/// Why there is no answer.
#[derive(Debug)]
pub(super) enum Failed {
    /// Nobody listens there.
    NotRunning(String),
    /// Anything else.
    Other(String),
}

/// An answer as it came.
struct Heard {
    status: StatusCode,
    /// What the daemon says that it is; `None`: it is none.
    version: Option<String>,
    body: Bytes,
}

/// An answer is here within this time, or the daemon hangs.
pub(super) const TIMEOUT: Duration = Duration::from_secs(5);

/// This command.
const OWN_VERSION: &str = env!("CARGO_PKG_VERSION");

/// An answer of the admin pages is never longer: the queue's rows are bounded.
const ANSWER_BYTES_MAX: usize = 64 << 20;

// === impl Client ===

impl Client {
    pub(super) fn new(socket: &Path) -> Self {
        Self { socket: socket.to_path_buf(), timeout: TIMEOUT, told: AtomicBool::new(false) }
    }

    /// With another deadline for each answer.
    #[must_use]
    pub(super) fn within(self, timeout: Duration) -> Self {
        Self { timeout, ..self }
    }

    /// Asks for a page. Says once, on standard error, if the daemon is another version.
    pub(super) async fn json<T: DeserializeOwned>(&self, path: &str) -> Result<T, Failed> {
        self.by(Method::GET, path).await
    }

    /// Asks for something to be done.
    pub(super) async fn post<T: DeserializeOwned>(&self, path: &str) -> Result<T, Failed> {
        self.by(Method::POST, path).await
    }

    async fn by<T: DeserializeOwned>(&self, method: Method, path: &str) -> Result<T, Failed> {
        let heard = self.ask(method, path).await?;
        let Some(version) = &heard.version else { return Err(self.stranger("answers without saying so")) };
        let mismatch = mismatch(version, OWN_VERSION);
        if let Some(words) = &mismatch
            && !self.told.swap(true, atomic::Ordering::Relaxed)
        {
            complain(words);
        }
        if heard.status != StatusCode::OK {
            let words = String::from_utf8_lossy(&heard.body);
            return Err(Failed::Other(match (heard.status, mismatch) {
                (StatusCode::NOT_FOUND, Some(_)) => {
                    format!(
                        "larder {version}, which runs, has no {path}; `larder service restart` runs this version"
                    )
                }
                (status, _) => format!("the daemon answered {status}: {}", words.trim()),
            }));
        }
        serde_json::from_slice(&heard.body).map_err(|error| {
            Failed::Other(format!(
                "failed to read the answer of larder {version}, this being {OWN_VERSION}: {error}; `larder service \
                 restart` runs this version"
            ))
        })
    }

    async fn ask(&self, method: Method, path: &str) -> Result<Heard, Failed> {
        let deadline = Instant::now() + self.timeout;
        let seconds = self.timeout.as_secs_f64();
        let socket = self.socket.display();
        let stream = timeout_at(deadline, self.connect()).await.unwrap_or_else(|_| {
            Err(Failed::Other(format!(
                "a daemon is at {socket}, and takes no connection within {seconds} s: it hangs, or is swamped; see its \
                 log, then `larder service restart`"
            )))
        })?;
        timeout_at(deadline, self.exchange(stream, method, path)).await.unwrap_or_else(|_| {
            Err(Failed::Other(format!(
                "the daemon at {socket} accepts, and does not answer within {seconds} s: it hangs, or is stopped; see \
                 its log, then `larder service restart`, or give it longer with --timeout"
            )))
        })
    }

    async fn connect(&self) -> Result<UnixStream, Failed> {
        /// The kernel's queue of connections is full: there is nothing to wait for but the next try.
        const AGAIN: Duration = Duration::from_millis(20);
        loop {
            match UnixStream::connect(&self.socket).await {
                Ok(stream) => return Ok(stream),
                Err(error) if error.kind() == io::ErrorKind::WouldBlock => tokio::time::sleep(AGAIN).await,
                Err(error) => return Err(self.no_connection(&error)),
            }
        }
    }

    async fn exchange(&self, stream: UnixStream, method: Method, path: &str) -> Result<Heard, Failed> {
        let broken = |error: hyper::Error| match error.is_parse() {
            true => self.stranger("doesn't speak HTTP"),
            false => Failed::Other(format!(
                "failed to ask the daemon at {}: {error}; it ended, or was told to",
                self.socket.display()
            )),
        };
        let (mut sender, connection) =
            hyper::client::conn::http1::handshake(TokioIo::new(stream)).await.map_err(broken)?;
        let driving = tokio::spawn(connection);
        let request =
            Request::builder().method(method).uri(path).header(HOST, "larder").body(Empty::<Bytes>::new());
        let request = request.map_err(|error| Failed::Other(format!("failed to ask for {path}: {error}")))?;
        let response = sender.send_request(request).await.map_err(broken)?;
        let status = response.status();
        let version = response.headers().get(VERSION_HEADER).and_then(|value| value.to_str().ok());
        let version = version.map(str::to_owned);
        let body = http_body_util::Limited::new(response.into_body(), ANSWER_BYTES_MAX).collect().await;
        let body =
            body.map_err(|error| Failed::Other(format!("failed to read the answer: {error}")))?.to_bytes();
        drop(sender);
        // It ends once its sender is gone; how, says nothing that the answer didn't.
        let _ = driving.await;
        Ok(Heard { status, version, body })
    }

    fn no_connection(&self, error: &io::Error) -> Failed {
        let socket = self.socket.display();
        let found = std::fs::symlink_metadata(&self.socket);
        match error.kind() {
            io::ErrorKind::ConnectionRefused if found.is_ok_and(|found| !found.file_type().is_socket()) => {
                Failed::Other(format!(
                    "{socket} is not a socket; say where the daemon is with --dir or --socket"
                ))
            }
            io::ErrorKind::NotFound | io::ErrorKind::ConnectionRefused => Failed::NotRunning(format!(
                "no daemon answers on {socket}; start it with `larder serve`, or say where it is with --dir or --socket"
            )),
            io::ErrorKind::PermissionDenied => {
                let owner = std::fs::metadata(&self.socket).map(|found| format!(", uid {}", found.uid()));
                Failed::Other(format!(
                    "{socket} is for root and the daemon's own user{}: ask as one of them, as by `sudo`, or say with \
                     --dir or --socket which daemon is meant",
                    owner.unwrap_or_default()
                ))
            }
            io::ErrorKind::InvalidInput => Failed::Other(format!(
                "{socket} can't be a socket ({error}): give the daemon a shorter --dir, of at most 90 bytes"
            )),
            _ => Failed::Other(format!("failed to connect to {socket}: {error}")),
        }
    }

    /// Who answers is not ours.
    fn stranger(&self, how: &str) -> Failed {
        Failed::Other(format!(
            "what listens on {} is not larder, for it {how}; see who it is (`ss -xlp`), or say where the daemon is with \
             --dir or --socket",
            self.socket.display()
        ))
    }
}

/// What is to be said of a daemon of another version.
fn mismatch(daemon: &str, own: &str) -> Option<String> {
    let numbers = |version: &str| -> Option<[u64; 3]> {
        let release = version.split(['-', '+']).next().unwrap_or_default();
        let numbers: Option<Vec<u64>> = release.split('.').map(|number| number.parse().ok()).collect();
        numbers?.try_into().ok()
    };
    if daemon == own {
        return None;
    }
    Some(match numbers(daemon).zip(numbers(own)).map(|(daemon, own)| daemon.cmp(&own)) {
        Some(Ordering::Less) => format!(
            "larder {daemon} runs, older than this command, {own}; `larder service restart` runs this version"
        ),
        Some(Ordering::Greater) => format!(
            "larder {daemon} runs, newer than this command, {own}; use the newer command, or `larder service restart` \
             runs this version"
        ),
        Some(Ordering::Equal) | None => {
            let daemon = daemon.escape_debug();
            format!("larder {daemon} runs, this command is {own}; `larder service restart` runs this version")
        }
    })
}

#[cfg(test)]
mod tests;
