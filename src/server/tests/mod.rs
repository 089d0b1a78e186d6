//! The server over real sockets and a real cache: what clients of every temper get to see.

mod clients;
mod crowd;
mod refusals;
mod stop;

use std::net::SocketAddr;
use std::path::PathBuf;
use std::sync::Arc;
use std::time::Duration;

use bytes::Bytes;
use tempfile::TempDir;
use tokio::io::{AsyncRead, AsyncReadExt as _, AsyncWrite, AsyncWriteExt as _};
use tokio::net::{TcpStream, UnixStream};

use super::{Bound, Endpoint, Server, Settings, Wanted};
use crate::cache::{self, Cache, Parts};
use crate::entry::{Attrs, Claim, Precondition};
use crate::key::{Key, Name, Namespace, Owner, Policy, Scope};
use crate::protocol::blob::BLOB;
use crate::protocol::{self, Context};
use crate::stats::Stats;
use crate::store::{self, Generations, Role, Store};

/// Longer than any of this takes on a machine that is busy with other things.
const PATIENCE: Duration = Duration::from_secs(30);

/// A server on a free port and a unix socket, with a cache of its own.
struct House {
    server: Server,
    cache: Cache,
    address: SocketAddr,
    socket: PathBuf,
    _folder: TempDir,
}

/// One end of a connection, in bytes.
struct Talk<S> {
    stream: S,
    /// Read, but not yet taken.
    ahead: Vec<u8>,
}

/// An answer as it came.
#[derive(Debug)]
struct Heard {
    status: u16,
    head: String,
    body: Vec<u8>,
}

// === impl House ===

impl House {
    async fn open() -> Self {
        Self::with(|_| {}).await
    }

    async fn with(change: impl FnOnce(&mut Settings)) -> Self {
        let folder = tempfile::tempdir().expect("a folder");
        let generations = Generations::default();
        let store = |role, name: &str| {
            let settings = store::Settings { disk_keep_free: 0, disk_floor: 0, ..store::Settings::default() };
            let folder = folder.path().join(name);
            std::fs::create_dir(&folder).expect("made");
            Store::open(&folder, role, settings, generations.clone()).expect("opens")
        };
        let parts = Parts {
            cache: store(Role::Cache, "cache"),
            outbox: store(Role::Outbox, "state"),
            remotes: Vec::new(),
            siblings: Vec::new(),
            stats: Arc::new(Stats::default()),
        };
        let cache = Cache::new(cache::Settings::default(), parts);
        cache.ready().await.expect("replays");
        let socket = folder.path().join("larder.sock");
        let wanted = Wanted {
            endpoint: "127.0.0.1:0".parse().expect("an endpoint"),
            optional: false,
            only: None,
            tls: None,
        };
        let bound = Bound::bind(&[wanted], &[], &socket, None).expect("binds");
        let tcp = bound.endpoints().find_map(|endpoint| match endpoint {
            Endpoint::Tcp(address) => Some(*address),
            Endpoint::Unix(_) => None,
        });
        let mut settings = Settings::default();
        change(&mut settings);
        let context = Context::new(cache.clone(), protocol::Settings::default());
        let server = Server::start(settings, bound, context);
        Self { server, cache, address: tcp.expect("one is TCP"), socket, _folder: folder }
    }

    async fn tcp(&self) -> Talk<TcpStream> {
        let stream = TcpStream::connect(self.address).await.expect("connects");
        Talk { stream, ahead: Vec::new() }
    }

    async fn unix(&self) -> Talk<UnixStream> {
        let stream = UnixStream::connect(&self.socket).await.expect("connects");
        Talk { stream, ahead: Vec::new() }
    }

    /// Has `/blob/x/{name}` in the cache, without a connection.
    async fn keep(&self, name: &str, body: Bytes) {
        let owner = Owner(rustix::process::geteuid().as_raw());
        let scope = Scope {
            owner,
            namespace: Namespace::parse("x").expect("a namespace"),
            upstream: None,
            policy: Policy::default(),
        };
        let key = Key::Named { space: BLOB, name: Name::parse(name).expect("a name") };
        let put = self.cache.put(&scope, key, Claim::default(), Attrs::default(), Precondition::None);
        let mut put = put.await.expect("let in");
        put.write(body).await.expect("written");
        put.commit().await.expect("committed");
    }

    /// Every connection ended, within our patience.
    async fn emptied(&self) {
        patiently("all connections end", self.server.registry.all_ended()).await;
    }
}

// === impl Talk ===

impl<S: AsyncRead + AsyncWrite + Unpin> Talk<S> {
    async fn say(&mut self, text: impl AsRef<[u8]>) {
        patiently("the server reads", self.stream.write_all(text.as_ref())).await.expect("sent");
    }

    /// The next answer; `None` when the connection ended instead.
    async fn hear(&mut self) -> Option<Heard> {
        let end = loop {
            if let Some(at) = self.ahead.windows(4).position(|window| window == b"\r\n\r\n") {
                break at + 4;
            }
            self.read().await?;
        };
        let head = String::from_utf8(self.ahead.drain(..end).collect()).expect("text");
        let status = head.split(' ').nth(1).expect("a status").parse().expect("a number");
        let announced = head.lines().find_map(|line| line.strip_prefix("content-length: "));
        let len: usize = announced.map_or(0, |len| len.parse().expect("a length"));
        while self.ahead.len() < len {
            self.read().await?;
        }
        Some(Heard { status, head, body: self.ahead.drain(..len).collect() })
    }

    /// Sends a request and hears its answer.
    async fn ask(&mut self, text: impl AsRef<[u8]>) -> Heard {
        self.say(text).await;
        self.hear().await.expect("an answer")
    }

    /// Nothing more comes, and the connection ends.
    async fn ended(&mut self) {
        assert!(self.read().await.is_none(), "more came: {}", String::from_utf8_lossy(&self.ahead));
    }

    async fn read(&mut self) -> Option<()> {
        let mut buffer = [0; 4096];
        // A connection that is cut with unread bytes ends in a reset.
        let read =
            patiently("the server speaks or hangs up", self.stream.read(&mut buffer)).await.unwrap_or(0);
        self.ahead.extend_from_slice(&buffer[..read]);
        (read > 0).then_some(())
    }
}

// === impl Heard ===

impl Heard {
    fn text(&self) -> &str {
        std::str::from_utf8(&self.body).expect("text")
    }

    fn closes(&self) -> bool {
        self.head.contains("connection: close")
    }
}

/// A request without a body.
fn get(path: &str) -> String {
    format!("GET {path} HTTP/1.1\r\nhost: 127.0.0.1\r\n\r\n")
}

/// A request with a body.
fn put(path: &str, body: &str) -> String {
    format!("PUT {path} HTTP/1.1\r\nhost: 127.0.0.1\r\ncontent-length: {}\r\n\r\n{body}", body.len())
}

/// Waits for something that must come.
async fn patiently<F: Future>(what: &str, future: F) -> F::Output {
    tokio::time::timeout(PATIENCE, future).await.unwrap_or_else(|_| panic!("waited in vain: {what}"))
}
