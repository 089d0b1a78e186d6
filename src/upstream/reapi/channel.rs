//! The connection: HTTP/2 over TCP, or over TLS. One for all calls of an upstream.
//!
//! It is made by the first call that needs it, within `connect`, while the others wait for it; made anew once it is
//! closed or was let go of; and asked by pings whether it still is one while calls are on it. The files of TLS are read
//! for each connection: a replaced certificate is the next one's.

use std::io::ErrorKind;
use std::path::Path;
use std::sync::Arc;
use std::task::{Context, Poll};
use std::time::Duration;

use futures_util::future::{BoxFuture, FutureExt as _};
use hyper::body::Incoming;
use hyper::client::conn::http2::{self, SendRequest};
use hyper::header::{CONTENT_TYPE, RETRY_AFTER};
use hyper::{Response, StatusCode};
use hyper_util::rt::{TokioExecutor, TokioIo, TokioTimer};
use parking_lot::Mutex;
use rustls::pki_types::pem::PemObject as _;
use rustls::pki_types::{CertificateDer, PrivateKeyDer, ServerName};
use rustls::{ClientConfig, crypto};
use rustls_platform_verifier::Verifier;
use tokio::io::{AsyncRead, AsyncWrite};
use tokio::net::TcpStream;
use tokio::sync::{OnceCell, Semaphore};
use tokio_rustls::TlsConnector;
use tonic::Code;
use tonic::client::GrpcService;

use super::super::location::{FILE_BYTES_MAX, Files, Service};
use super::super::runtime::Spawner;
use super::super::{Fault, Signal};
use super::capabilities::Capabilities;
use crate::error::deepest;
use crate::regular;

/// A connection with calls on it is pinged when it was silent for this long, and is dead without an answer.
const PING_EVERY: Duration = Duration::from_secs(20);
const PING_ANSWER: Duration = Duration::from_secs(10);

/// What may be on its way to us unread: at 50 ms and a gigabit that is 6 MiB.
const STREAM_WINDOW: u32 = 4 << 20;
const CONNECTION_WINDOW: u32 = 16 << 20;

/// Makes connections to one server and holds the last of them.
pub(super) struct Channel {
    service: Service,
    connect: Duration,
    spawner: Spawner,
    /// Leaf mutex.
    current: Mutex<Option<Arc<Connection>>>,
    /// One is made at a time.
    making: Semaphore,
}

/// One connection, and what the server said on it of what it can do.
pub(super) struct Connection {
    sender: SendRequest<tonic::body::Body>,
    pub(super) capabilities: OnceCell<Capabilities>,
}

/// What takes requests for a connection.
#[derive(Clone)]
pub(super) struct Requests(SendRequest<tonic::body::Body>);

trait Io: AsyncRead + AsyncWrite + Send + Unpin {}
impl<T: AsyncRead + AsyncWrite + Send + Unpin> Io for T {}

// === impl Channel ===

impl Channel {
    pub(super) fn new(service: Service, connect: Duration, spawner: Spawner) -> Self {
        Self { service, connect, spawner, current: Mutex::default(), making: Semaphore::new(1) }
    }

    /// The connection; a new one if there is none.
    pub(super) async fn connection(&self) -> Result<Arc<Connection>, Fault> {
        if let Some(connection) = self.open() {
            return Ok(connection);
        }
        let _making = self.making.acquire().await.expect("the semaphore is never closed");
        if let Some(connection) = self.open() {
            return Ok(connection);
        }
        let authority = self.service.authority();
        let failed = |words: String| Fault::state(Signal::Fault, format!("connect to {authority}: {words}"));
        // Before the clock starts: the platform has more than a hundred roots, and they lie here.
        let tls = self.tls().await.map_err(failed)?;
        let made = tokio::time::timeout(self.connect, self.make(tls)).await;
        let sender = match made {
            Ok(Ok(sender)) => sender,
            Ok(Err(words)) => return Err(failed(words)),
            Err(_) => {
                let words = format!("no connection to {authority} within {} ms", self.connect.as_millis());
                return Err(Fault::state(Signal::Deadline, words));
            }
        };
        let connection = Arc::new(Connection { sender, capabilities: OnceCell::new() });
        *self.current.lock() = Some(Arc::clone(&connection));
        Ok(connection)
    }

    /// The next call makes a new connection. Calls on the old one go on.
    pub(super) fn disconnect(&self) {
        *self.current.lock() = None;
    }

    /// The same, unless another one was made since.
    pub(super) fn leave(&self, connection: &Arc<Connection>) {
        let mut current = self.current.lock();
        if current.as_ref().is_some_and(|current| Arc::ptr_eq(current, connection)) {
            *current = None;
        }
    }

    fn open(&self) -> Option<Arc<Connection>> {
        self.current.lock().clone().filter(|connection| !connection.sender.is_closed())
    }

    /// What it speaks TLS by, if it does.
    async fn tls(&self) -> Result<Option<TlsConnector>, String> {
        if !self.service.is_tls {
            return Ok(None);
        }
        let files = self.service.files.clone();
        let config = tokio::task::spawn_blocking(move || config(&files)).await;
        let config = config.map_err(|_ended| "the upstream runtime has stopped".to_owned())??;
        Ok(Some(TlsConnector::from(Arc::new(config))))
    }

    async fn make(&self, tls: Option<TlsConnector>) -> Result<SendRequest<tonic::body::Body>, String> {
        let Service { host, port, .. } = &self.service;
        let tcp = TcpStream::connect((&**host, *port)).await.map_err(|error| error.to_string())?;
        tcp.set_nodelay(true).map_err(|error| error.to_string())?;
        let io: Box<dyn Io> = if let Some(tls) = tls {
            let name = ServerName::try_from(host.clone()).map_err(|error| error.to_string())?;
            let stream = tls.connect(name, tcp).await.map_err(tls_words)?;
            if stream.get_ref().1.alpn_protocol() != Some(b"h2") {
                return Err("its TLS doesn't speak HTTP/2: a wrong port?".into());
            }
            Box::new(stream)
        } else {
            Box::new(tcp)
        };
        let mut builder = http2::Builder::new(TokioExecutor::new());
        builder
            .timer(TokioTimer::new())
            .initial_stream_window_size(STREAM_WINDOW)
            .initial_connection_window_size(CONNECTION_WINDOW)
            .keep_alive_interval(PING_EVERY)
            .keep_alive_timeout(PING_ANSWER);
        let (sender, connection) = builder
            .handshake(TokioIo::new(io))
            .await
            .map_err(|error| format!("it doesn't speak HTTP/2: {}", deepest(&error)))?;
        self.spawner.detach(async move {
            if let Err(error) = connection.await {
                tracing::debug!(%error, "a connection to an upstream ended");
            }
        });
        Ok(sender)
    }
}

// === impl Connection ===

impl Connection {
    pub(super) fn requests(&self) -> Requests {
        Requests(self.sender.clone())
    }
}

// === impl Requests ===

impl GrpcService<tonic::body::Body> for Requests {
    type ResponseBody = tonic::body::Body;
    type Error = Box<dyn std::error::Error + Send + Sync>;
    type Future = BoxFuture<'static, Result<Response<Self::ResponseBody>, Self::Error>>;

    fn poll_ready(&mut self, context: &mut Context<'_>) -> Poll<Result<(), Self::Error>> {
        self.0.poll_ready(context).map_err(Into::into)
    }

    fn call(&mut self, request: hyper::Request<tonic::body::Body>) -> Self::Future {
        let answer = self.0.send_request(request);
        async move { own(answer.await?) }.boxed()
    }
}

/// An answer of gRPC, or one whose status alone says something: what others have in their bodies is no message.
fn own(
    answer: Response<Incoming>,
) -> Result<Response<tonic::body::Body>, Box<dyn std::error::Error + Send + Sync>> {
    let kind = answer.headers().get(CONTENT_TYPE).and_then(|kind| kind.to_str().ok()).unwrap_or_default();
    let status = answer.status();
    if kind.starts_with("application/grpc") {
        return Ok(answer.map(tonic::body::Body::new));
    }
    if status == StatusCode::OK || kind.starts_with("text/html") {
        let kind = kind.escape_debug();
        let words =
            format!("HTTP {status} with `{kind}` is not gRPC: a captive portal, a proxy, a wrong port?");
        return Err(words.into());
    }
    let (mut head, _) = answer.into_parts();
    let asks_to_wait = matches!(status, StatusCode::TOO_MANY_REQUESTS | StatusCode::SERVICE_UNAVAILABLE)
        && head.headers.contains_key(RETRY_AFTER);
    if asks_to_wait {
        // Of an answer without a status of gRPC's own, its headers would be lost.
        head.headers.insert("grpc-status", (Code::Unavailable as i32).into());
    }
    Ok(Response::from_parts(head, tonic::body::Body::empty()))
}

// === TLS ===

/// The platform's roots and those of `ca`; our certificate, if there is one. Reads files.
pub(in super::super) fn config(files: &Files) -> Result<ClientConfig, String> {
    let provider = Arc::new(crypto::aws_lc_rs::default_provider());
    let roots = match &files.ca {
        Some(path) => certificates("ca", path)?,
        None => Vec::new(),
    };
    let verifier = Verifier::new_with_extra_roots(roots, Arc::clone(&provider)).map_err(|error| {
        format!(
            "no roots to check its certificate by: {error}; install ca-certificates, or name its CA: ca=FILE"
        )
    })?;
    let builder = ClientConfig::builder_with_provider(provider)
        .with_safe_default_protocol_versions()
        .map_err(|error| error.to_string())?
        .dangerous()
        .with_custom_certificate_verifier(Arc::new(verifier));
    let mut config = match &files.own {
        None => builder.with_no_client_auth(),
        Some((certificate, key)) => {
            let chain = certificates("certificate", certificate)?;
            let secret = PrivateKeyDer::from_pem_slice(&read("key", key)?)
                .map_err(|_| format!("the key file {} has no private key in PEM", key.display()))?;
            builder.with_client_auth_cert(chain, secret).map_err(|error| {
                format!("the key {} is not that of {}: {error}", key.display(), certificate.display())
            })?
        }
    };
    config.alpn_protocols = vec![b"h2".to_vec()];
    Ok(config)
}

fn certificates(what: &str, path: &Path) -> Result<Vec<CertificateDer<'static>>, String> {
    let found: Result<Vec<_>, _> = CertificateDer::pem_slice_iter(&read(what, path)?).collect();
    let found = found.map_err(|error| format!("the {what} file {}: {error}", path.display()))?;
    if found.is_empty() {
        return Err(format!("the {what} file {} has no certificate in PEM", path.display()));
    }
    Ok(found)
}

fn read(what: &str, path: &Path) -> Result<Vec<u8>, String> {
    regular::read(path, FILE_BYTES_MAX).map_err(|error| {
        format!("the {what} file {}: {error}; correct the URL of the upstream", path.display())
    })
}

/// Why TLS failed, and what helps where that can be known.
pub(in super::super) fn tls_words(error: std::io::Error) -> String {
    let words = error.to_string();
    let remedy = match error.kind() {
        ErrorKind::InvalidData if words.contains("corrupt message") => {
            "; does it speak TLS? Without: grpc://"
        }
        _ => remedy(&words),
    };
    format!("TLS: {words}{remedy}")
}

/// What helps, where that can be known of what rustls and h2 say. A client's certificate may be asked for only after the
/// connection is made.
pub(super) fn remedy(words: &str) -> &'static str {
    if words.contains("UnknownIssuer") {
        "; name the CA of its certificate: ca=FILE"
    } else if words.contains("CertificateRequired") {
        "; it asks for a client's certificate: certificate=FILE and key=FILE"
    } else if words.contains("frame with invalid size") {
        "; what answers is no gRPC: a captive portal, a proxy, a wrong port?"
    } else {
        ""
    }
}
