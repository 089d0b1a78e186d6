//! The connections to one server.
//!
//! The client is made with the first request, as reading the system's certificates takes a while, and made anew when
//! idle connections are to be dropped, or when a file of certificates is another: requests that are under way end with
//! what they began with, and the next one has a connection with the new. A file that is no good yet changes nothing.

use std::fs;
use std::os::unix::fs::MetadataExt as _;
use std::path::{Path, PathBuf};
use std::sync::Arc;
use std::time::{Duration, Instant, SystemTime};

use parking_lot::Mutex;
use reqwest::{Certificate, ClientBuilder, Identity};

use super::super::location::{FILE_BYTES_MAX, Server};
use super::super::{Fault, Signal};
use crate::error::deepest;
use crate::regular;

/// An idle connection older than this is not used: servers close theirs, and a request that meets the close is a miss.
const IDLE_MAX: Duration = Duration::from_secs(15);

/// See the module.
#[derive(Debug)]
pub(super) struct Client {
    host: String,
    inner: Arc<Inner>,
}

#[derive(Debug)]
struct Inner {
    is_plain: bool,
    connect: Duration,
    ca: Option<PathBuf>,
    /// Certificate and key.
    identity: Option<(PathBuf, PathBuf)>,
    /// Leaf mutex.
    made: Mutex<Option<Made>>,
}

#[derive(Debug, Clone)]
struct Made {
    client: reqwest::Client,
    /// Of which files, the last that could be used.
    files: Stamps,
    /// Those that were looked at last, and when.
    seen: Stamps,
    looked: Instant,
}

/// What tells each file from what was in its place before: when it was written, its length, its inode.
type Stamps = Vec<Option<(SystemTime, u64, u64)>>;

/// The files are looked at again no sooner.
const LOOK: Duration = Duration::from_secs(1);

// === impl Client ===

impl Client {
    pub(super) fn new(server: &Server, connect: Duration) -> Self {
        let inner = Inner {
            is_plain: server.is_plain,
            connect,
            ca: server.ca.clone(),
            identity: server.identity.clone(),
            made: Mutex::new(None),
        };
        Self { host: server.host.clone(), inner: Arc::new(inner) }
    }

    /// Makes it, so that the first request needn't.
    pub(super) fn warm_up(&self) -> impl Future<Output = ()> + Send + 'static {
        let inner = Arc::clone(&self.inner);
        async move {
            // What fails now fails again, and is told, with the first request.
            let _ = tokio::task::spawn_blocking(move || inner.make()).await;
        }
    }

    /// Makes it if need be.
    ///
    /// # Errors
    /// `Denied`, with the remedy: a certificate that can't be used.
    pub(super) async fn get(&self) -> Result<reqwest::Client, Fault> {
        let made = self.inner.made.lock().clone();
        let has_files = self.inner.ca.is_some() || self.inner.identity.is_some();
        if let Some(made) = made.filter(|made| !has_files || made.looked.elapsed() < LOOK) {
            return Ok(made.client);
        }
        let inner = Arc::clone(&self.inner);
        match tokio::task::spawn_blocking(move || inner.current()).await {
            Ok(made) => made.map_err(|words| Fault::state(Signal::Denied, words)),
            Err(_ended) => Err(Fault::state(Signal::Neutral, "the upstream runtime has stopped")),
        }
    }

    /// Lets go of idle connections.
    pub(super) fn disconnect(&self) {
        *self.inner.made.lock() = None;
    }

    /// Whether a certificate's file is another than the one that was read. Looks at it.
    pub(super) fn has_other_files(&self) -> bool {
        let made = self.inner.made.lock().clone();
        made.is_some_and(|made| made.files != self.inner.stamps())
    }

    /// A request that was not answered.
    pub(super) fn fault(&self, error: &reqwest::Error) -> Fault {
        let doing = match () {
            () if error.is_connect() && error.is_timeout() => "connect in time to",
            () if error.is_connect() => "connect to",
            () => "talk to",
        };
        let signal = if error.is_timeout() { Signal::Deadline } else { Signal::Fault };
        Fault::state(signal, format!("{doing} {}: {}", self.host, deepest(error)))
    }
}

// === impl Inner ===

impl Inner {
    /// The one that was made, unless a file is another since.
    fn current(&self) -> Result<reqwest::Client, String> {
        let stamps = self.stamps();
        let Some(made) = self.made.lock().clone() else { return self.make() };
        if stamps == made.seen {
            if let Some(made) = &mut *self.made.lock() {
                made.looked = Instant::now();
            }
            return Ok(made.client);
        }
        match self.make() {
            Ok(client) => {
                tracing::info!("the certificates for an upstream are others: read again");
                Ok(client)
            }
            Err(words) => {
                tracing::warn!("the upstream's certificates stay what they were: {words}");
                if let Some(made) = &mut *self.made.lock() {
                    (made.seen, made.looked) = (stamps, Instant::now());
                }
                Ok(made.client)
            }
        }
    }

    fn make(&self) -> Result<reqwest::Client, String> {
        let files = self.stamps();
        let client = self.built()?;
        let made = Made { client: client.clone(), seen: files.clone(), files, looked: Instant::now() };
        *self.made.lock() = Some(made);
        Ok(client)
    }

    fn built(&self) -> Result<reqwest::Client, String> {
        let mut builder = ClientBuilder::new()
            .user_agent(concat!("larder/", env!("CARGO_PKG_VERSION")))
            .connect_timeout(self.connect)
            .pool_idle_timeout(IDLE_MAX)
            .redirect(reqwest::redirect::Policy::none());
        if self.is_plain {
            // They take a while to read, and a plain server is only ever spoken to in plain.
            builder = builder.tls_certs_only([]);
        }
        if let Some(path) = &self.ca {
            let certificates = Certificate::from_pem_bundle(&read(path)?)
                .ok()
                .filter(|certificates| !certificates.is_empty())
                .ok_or_else(|| {
                    format!("the file {}: has no certificate in PEM; correct ca=", path.display())
                })?;
            builder = builder.tls_certs_merge(certificates);
        }
        if let Some((certificate, key)) = &self.identity {
            let pem = [read(certificate)?, read(key)?].join(&b'\n');
            let identity = Identity::from_pem(&pem).map_err(|error| {
                format!(
                    "the files {} and {}: are no certificate and its key in PEM ({}); correct certificate= and key=",
                    certificate.display(),
                    key.display(),
                    deepest(&error)
                )
            })?;
            builder = builder.identity(identity);
        }
        builder.build().map_err(|error| format!("make a client of TLS: {}", deepest(&error)))
    }

    fn stamps(&self) -> Stamps {
        let identity = self.identity.iter().flat_map(|(certificate, key)| [certificate, key]);
        let stamp = |path: &PathBuf| {
            let found = fs::metadata(path).ok()?;
            Some((found.modified().ok()?, found.len(), found.ino()))
        };
        self.ca.iter().chain(identity).map(stamp).collect()
    }
}

fn read(path: &Path) -> Result<Vec<u8>, String> {
    regular::read(path, FILE_BYTES_MAX)
        .map_err(|error| format!("the file {}: {error}; correct the URL of the upstream", path.display()))
}
