//! A proxy in front of an upstream that counts what comes and breaks it on purpose.
//!
//! It speaks HTTP/1.1 and, unless it is told to, changes nothing of what it lets through, so signatures of the request
//! stay good. One thread
//! a connection. A change of plan wakes whatever an earlier plan keeps waiting, and ends its connection.

use std::io::{self, BufReader, Write};
use std::net::{Shutdown, SocketAddr, TcpListener, TcpStream};
use std::os::fd::OwnedFd;
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, AtomicUsize, Ordering};
use std::thread::JoinHandle;
use std::time::{Duration, Instant};

use parking_lot::{Condvar, Mutex};
use rustix::net::{AddressFamily, SocketFlags, SocketType, sockopt};

use super::fault::{Fault, Plan, Then, Toxic};
use super::wire::{Framing, Head, read_body};
use super::{PATIENCE, eventually, free_addr};

/// The proxy. It ends with this value, and every connection through it.
pub(crate) struct FaultProxy {
    shared: Arc<Shared>,
    port: Mutex<Port>,
}

/// One request as the proxy saw it.
#[derive(Debug, Clone)]
pub(crate) struct Seen {
    pub(crate) method: String,
    pub(crate) target: String,
}

struct Shared {
    addr: SocketAddr,
    target: SocketAddr,
    state: Mutex<State>,
    changed: Condvar,
    connections: AtomicUsize,
    seen: Mutex<Vec<Seen>>,
    /// Whether signatures are taken off.
    unsigned: AtomicBool,
}

struct State {
    plan: Plan,
    /// Grows with every change of plan.
    epoch: u64,
    /// Both ends of what is open, to be cut when the upstream goes away.
    open: Vec<TcpStream>,
}

/// What holds the port just now.
enum Port {
    Closed,
    Listening { stop: Arc<AtomicBool>, thread: JoinHandle<()> },
    Full { _listener: OwnedFd, _waiting: Vec<TcpStream> },
}

// === impl FaultProxy ===

impl FaultProxy {
    /// A proxy that lets everything through.
    pub(crate) fn to(target: SocketAddr) -> Self {
        let shared = Arc::new(Shared {
            addr: free_addr(),
            target,
            state: Mutex::new(State { plan: Plan::CLEAR, epoch: 0, open: Vec::new() }),
            changed: Condvar::new(),
            connections: AtomicUsize::new(0),
            seen: Mutex::new(Vec::new()),
            unsigned: AtomicBool::new(false),
        });
        let port = Mutex::new(Port::listening(&shared));
        Self { shared, port }
    }

    /// The same, which takes off what it lets through by whom it is signed.
    pub(crate) fn unsigned(self) -> Self {
        self.shared.unsigned.store(true, Ordering::SeqCst);
        self
    }

    pub(crate) fn addr(&self) -> SocketAddr {
        self.shared.addr
    }

    /// From now on, every request suffers `fault`.
    pub(crate) fn set(&self, fault: Fault) {
        self.plan(Plan { fault, strikes: |_| true });
    }

    /// From now on, `plan`. What an earlier plan keeps waiting is ended; when the upstream goes away, all that is open
    /// is cut (refused) or falls silent (black hole).
    pub(crate) fn plan(&self, plan: Plan) {
        let mut port = self.port.lock();
        let cut = {
            let mut state = self.shared.state.lock();
            state.plan = plan;
            state.epoch += 1;
            if plan.fault == Fault::Refuse { std::mem::take(&mut state.open) } else { Vec::new() }
        };
        self.shared.changed.notify_all();
        for stream in cut {
            reset(&stream);
        }
        if let (true, Port::Listening { .. }) = (plan.fault.listens(), &*port) {
            return;
        }
        std::mem::replace(&mut *port, Port::Closed).close(self.shared.addr);
        *port = match plan.fault {
            Fault::Refuse => Port::Closed,
            Fault::BlackHole => Port::full(self.shared.addr),
            Fault::None
            | Fault::Silent
            | Fault::Delay(_)
            | Fault::Status { .. }
            | Fault::Portal
            | Fault::Stall { .. }
            | Fault::Reset { .. }
            | Fault::Cut { .. }
            | Fault::Shorten { .. }
            | Fault::Flip { .. }
            | Fault::Clock { .. } => Port::listening(&self.shared),
        };
    }

    /// Connections taken so far.
    pub(crate) fn connections(&self) -> usize {
        self.shared.connections.load(Ordering::SeqCst)
    }

    /// Requests read so far.
    pub(crate) fn seen(&self) -> Vec<Seen> {
        self.shared.seen.lock().clone()
    }

    /// Requests of `method` whose target contains `part`.
    pub(crate) fn count(&self, method: &str, part: &str) -> usize {
        self.shared
            .seen
            .lock()
            .iter()
            .filter(|seen| seen.method == method && seen.target.contains(part))
            .count()
    }
}

impl Drop for FaultProxy {
    fn drop(&mut self) {
        self.set(Fault::Refuse);
    }
}

// === impl Port ===

impl Port {
    fn listening(shared: &Arc<Shared>) -> Self {
        let listener =
            eventually("the proxy's port is free again", PATIENCE, || TcpListener::bind(shared.addr).ok());
        let stop = Arc::new(AtomicBool::new(false));
        let thread = std::thread::spawn({
            let (stop, shared) = (Arc::clone(&stop), Arc::clone(shared));
            move || {
                for client in listener.incoming() {
                    if stop.load(Ordering::SeqCst) {
                        return;
                    }
                    let Ok(client) = client else { continue };
                    shared.connections.fetch_add(1, Ordering::SeqCst);
                    let shared = Arc::clone(&shared);
                    std::thread::spawn(move || shared.serve(&client));
                }
            }
        });
        Self::Listening { stop, thread }
    }

    /// A listener whose queue is full: the kernel drops what else comes.
    fn full(addr: SocketAddr) -> Self {
        let listener = eventually("the proxy's port is free again", PATIENCE, || {
            // A process that another test starts meanwhile must not inherit it: the port would stay full.
            let flags = SocketFlags::CLOEXEC;
            let socket =
                rustix::net::socket_with(AddressFamily::INET, SocketType::STREAM, flags, None).ok()?;
            sockopt::set_socket_reuseaddr(&socket, true).ok()?;
            rustix::net::bind(&socket, &addr).ok()?;
            rustix::net::listen(&socket, 0).ok()?;
            Some(socket)
        });
        let mut waiting = Vec::new();
        while let Ok(stream) = TcpStream::connect_timeout(&addr, Duration::from_millis(250)) {
            waiting.push(stream);
            assert!(waiting.len() < 64, "the queue of a listener without room takes ever more");
        }
        Self::Full { _listener: listener, _waiting: waiting }
    }

    fn close(self, addr: SocketAddr) {
        if let Self::Listening { stop, thread } = self {
            stop.store(true, Ordering::SeqCst);
            // Wakes the thread from its accept; where that fails it has ended already.
            let _ = TcpStream::connect(addr);
            thread.join().expect("the acceptor does not panic");
        }
    }
}

// === impl Shared ===

impl Shared {
    fn serve(&self, client: &TcpStream) {
        let mut upstream = None;
        // Broken connections are this proxy's trade. What is registered would hold both ends open, in silence.
        let _ = self.relay(client, &mut upstream);
        for end in [Some(client), upstream.as_ref()].into_iter().flatten() {
            let _ = end.shutdown(Shutdown::Both);
        }
    }

    fn relay(&self, mut client: &TcpStream, upstream: &mut Option<TcpStream>) -> io::Result<()> {
        client.set_nodelay(true)?;
        self.register(client)?;
        let mut reader = BufReader::new(client.try_clone()?);
        while let Some(mut request) = Head::read(&mut reader)? {
            let (method, target) = request.words();
            self.seen.lock().push(Seen { method: method.to_owned(), target: target.to_owned() });
            let (fault, epoch) = self.fault_for(&request);
            if let Some(answer) = fault.answer(&request) {
                read_body(&mut reader, request.request_framing(), |_| Ok(()))?;
                client.write_all(&answer)?;
                continue;
            }
            match fault {
                // A connection that was open when the hole appeared, or one that nobody will answer.
                Fault::Refuse => return Ok(()),
                Fault::BlackHole | Fault::Silent => {
                    self.wait(epoch, None);
                    return client.shutdown(Shutdown::Both);
                }
                Fault::Delay(time) => self.wait(epoch, Some(time)),
                _ => {}
            }
            if self.unsigned.load(Ordering::SeqCst) {
                let signs = |name: &str| {
                    ["authorization", "x-amz-security-token"]
                        .iter()
                        .any(|other| name.eq_ignore_ascii_case(other))
                };
                request.headers.retain(|(name, _)| !signs(name));
            }
            // A store closes what is idle, Azure's emulator after five seconds: that is no fault of the way.
            upstream.take_if(|server| has_ended(server));
            let server = match upstream {
                Some(server) => server,
                None => {
                    let server = TcpStream::connect(self.target)?;
                    server.set_nodelay(true)?;
                    self.register(&server)?;
                    upstream.insert(server)
                }
            };
            self.forward(&request, &mut reader, client, server, fault, epoch)?;
        }
        Ok(())
    }

    /// One request there and its answer back.
    fn forward(
        &self,
        request: &Head,
        from_client: &mut BufReader<TcpStream>,
        mut client: &TcpStream,
        mut server: &TcpStream,
        fault: Fault,
        epoch: u64,
    ) -> io::Result<()> {
        server.write_all(&request.bytes())?;
        let framing = request.request_framing();
        let mut toxic = Toxic::new(fault);
        let len = match framing {
            Framing::Length(len) => Some(len),
            Framing::None | Framing::Chunked | Framing::ToEnd => None,
        };
        read_body(from_client, framing, |piece| match toxic.pass(piece, len).1 {
            // An upload breaks as a download does; its bytes are signed, so they are never changed.
            Then::GoOn if framing == Framing::Chunked => write_chunk(server, piece),
            Then::GoOn => server.write_all(piece),
            then => self.end(client, epoch, then),
        })?;
        if framing == Framing::Chunked {
            server.write_all(b"0\r\n\r\n")?;
        }

        let mut from_server = BufReader::new(server.try_clone()?);
        let mut answer = Head::read(&mut from_server)?.ok_or(io::ErrorKind::UnexpectedEof)?;
        let framing = answer.answer_framing(request.words().0);
        let mut toxic = Toxic::new(fault);
        let len = match framing {
            Framing::Length(len) => Some(len),
            Framing::None | Framing::Chunked | Framing::ToEnd => None,
        };
        toxic.head(&mut answer);
        client.write_all(&answer.bytes())?;
        read_body(&mut from_server, framing, |piece| {
            let (bytes, then) = toxic.pass(piece, len);
            if framing == Framing::Chunked { write_chunk(client, &bytes) } else { client.write_all(&bytes) }?;
            match then {
                Then::GoOn => Ok(()),
                then => self.end(client, epoch, then),
            }
        })?;
        match framing {
            Framing::Chunked => client.write_all(b"0\r\n\r\n"),
            Framing::ToEnd => client.shutdown(Shutdown::Both),
            Framing::None | Framing::Length(_) => Ok(()),
        }
    }

    /// Ends a connection in the middle of a body; always an error, so that the thread ends too.
    fn end(&self, client: &TcpStream, epoch: u64, then: Then) -> io::Result<()> {
        match then {
            Then::GoOn => return Ok(()),
            Then::Stall => {
                self.wait(epoch, None);
                client.shutdown(Shutdown::Both)?;
            }
            Then::Reset => reset(client),
            Then::End => client.shutdown(Shutdown::Both)?,
        }
        Err(io::ErrorKind::ConnectionAborted.into())
    }

    fn fault_for(&self, request: &Head) -> (Fault, u64) {
        let (plan, epoch) = {
            let state = self.state.lock();
            (state.plan, state.epoch)
        };
        // Whoever decides may wait for something, and others don't wait for that.
        (plan.of(request), epoch)
    }

    /// Waits until the plan is another one than that of `epoch`, or `limit` has passed.
    fn wait(&self, epoch: u64, limit: Option<Duration>) {
        let mut state = self.state.lock();
        let end = limit.map(|limit| Instant::now() + limit);
        while state.epoch == epoch {
            match end {
                None => self.changed.wait(&mut state),
                Some(end) => {
                    if self.changed.wait_until(&mut state, end).timed_out() {
                        return;
                    }
                }
            }
        }
    }

    fn register(&self, stream: &TcpStream) -> io::Result<()> {
        let twin = stream.try_clone()?;
        let mut state = self.state.lock();
        // What has ended since need not be cut later.
        state.open.retain(|stream| stream.peer_addr().is_ok());
        state.open.push(twin);
        Ok(())
    }
}

/// Whether the peer of a connection that is idle has closed it.
fn has_ended(stream: &TcpStream) -> bool {
    let look = || {
        stream.set_nonblocking(true)?;
        let seen = stream.peek(&mut [0]);
        stream.set_nonblocking(false)?;
        seen
    };
    match look() {
        Ok(count) => count == 0,
        Err(error) => error.kind() != io::ErrorKind::WouldBlock,
    }
}

/// Ends a connection so that its peer sees a reset. Closing would not do: other threads hold the socket too.
fn reset(stream: &TcpStream) {
    // A socket that has ended by itself is as good as reset.
    let _ = rustix::net::connect_unspec(stream);
    let _ = stream.shutdown(Shutdown::Both);
}

fn write_chunk(mut to: &TcpStream, piece: &[u8]) -> io::Result<()> {
    if piece.is_empty() {
        return Ok(());
    }
    write!(to, "{:x}\r\n", piece.len())?;
    to.write_all(piece)?;
    to.write_all(b"\r\n")
}
