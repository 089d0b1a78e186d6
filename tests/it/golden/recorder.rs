//! A proxy between a real client and the daemon that changes nothing and keeps what it saw.
//!
//! Whole requests go through one at a time, whatever the client does at once. So their order is one in which the
//! daemon gave these answers, and a replay that keeps to it owes the same.

use std::io::{self, BufReader, Write};
use std::net::{SocketAddr, TcpListener, TcpStream};
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, AtomicUsize, Ordering};
use std::thread::JoinHandle;

use parking_lot::Mutex;

use super::exchange::{Connection, Exchange, RawHead, whole};
use crate::support::free_addr;
use crate::support::wire::Addr;

/// The proxy. It takes connections for as long as this value lives.
pub(super) struct Recorder {
    shared: Arc<Shared>,
    acceptor: Option<JoinHandle<()>>,
}

struct Shared {
    addr: SocketAddr,
    daemon: Addr,
    connections: AtomicUsize,
    stop: AtomicBool,
    /// What was seen. Held while a request is on its way, which is what makes it one at a time.
    seen: Mutex<Vec<Exchange>>,
    /// What broke: a transcript with a hole is none.
    broken: Mutex<Vec<String>>,
}

// === impl Recorder ===

impl Recorder {
    pub(super) fn before(daemon: Addr) -> Self {
        let shared = Arc::new(Shared {
            addr: free_addr(),
            daemon,
            connections: AtomicUsize::new(0),
            stop: AtomicBool::new(false),
            seen: Mutex::new(Vec::new()),
            broken: Mutex::new(Vec::new()),
        });
        let listener = TcpListener::bind(shared.addr).expect("the port was free just now");
        let acceptor = std::thread::spawn({
            let shared = Arc::clone(&shared);
            move || {
                for client in listener.incoming().flatten() {
                    if shared.stop.load(Ordering::SeqCst) {
                        return;
                    }
                    let shared = Arc::clone(&shared);
                    std::thread::spawn(move || {
                        if let Err(error) = shared.serve(&client) {
                            shared.broken.lock().push(error.to_string());
                        }
                    });
                }
            }
        });
        Self { shared, acceptor: Some(acceptor) }
    }

    pub(super) fn addr(&self) -> SocketAddr {
        self.shared.addr
    }

    /// What was seen since this was asked last.
    pub(super) fn take(&self) -> Vec<Exchange> {
        let seen = std::mem::take(&mut *self.shared.seen.lock());
        let broken = self.shared.broken.lock();
        assert!(broken.is_empty(), "not all could be recorded: {broken:?}");
        seen
    }
}

impl Drop for Recorder {
    fn drop(&mut self) {
        self.shared.stop.store(true, Ordering::SeqCst);
        // Wakes the thread from its accept; where that fails it has ended already.
        let _ = TcpStream::connect(self.shared.addr);
        self.acceptor.take().map(JoinHandle::join);
    }
}

// === impl Shared ===

impl Shared {
    fn serve(&self, mut client: &TcpStream) -> io::Result<()> {
        client.set_nodelay(true)?;
        let mut reader = BufReader::new(client.try_clone()?);
        let mut to_daemon = None;
        loop {
            let request = match RawHead::read(&mut reader) {
                Ok(Some(request)) => request,
                Ok(None) => return Ok(()),
                // So do some clients end what they need no more.
                Err(error) if error.kind() == io::ErrorKind::ConnectionReset => return Ok(()),
                Err(error) => return Err(error),
            };
            let parsed = request.parsed();
            if parsed.header("expect").is_some() {
                // Whether the daemon says so too is in the transcript.
                client.write_all(b"HTTP/1.1 100 Continue\r\n\r\n")?;
            }
            let body = whole(&mut reader, parsed.request_framing())?;
            let mut seen = self.seen.lock();
            let (connection, open) = match &mut to_daemon {
                Some(known) => known,
                None => {
                    let number = self.connections.fetch_add(1, Ordering::SeqCst) + 1;
                    to_daemon.insert((number, Connection::to(&self.daemon)?))
                }
            };
            let answer = open.ask(&request, &body)?;
            let parsed = answer.head.parsed();
            let chunked = parsed.header("transfer-encoding").is_some();
            let mut bytes = answer.head.bytes();
            match answer.body.len() {
                0 if chunked => bytes.extend(b"0\r\n\r\n"),
                len if chunked => {
                    bytes.extend(format!("{len:x}\r\n").bytes());
                    bytes.extend(&answer.body);
                    bytes.extend(b"\r\n0\r\n\r\n");
                }
                _ => bytes.extend(&answer.body),
            }
            seen.push(Exchange { connection: *connection, request, body, answer });
            drop(seen);
            client.write_all(&bytes)?;
            if parsed.header("connection") == Some("close") {
                return Ok(());
            }
        }
    }
}
