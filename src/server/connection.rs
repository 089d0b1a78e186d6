//! One connection, from its first byte to its end: by TLS or not, HTTP/1.1 or HTTP/2, told apart by how the client begins.

use std::future::Future;
use std::net::SocketAddr;
use std::pin::Pin;
use std::sync::Arc;
use std::task::{Context, Poll, ready};

use hyper::body::Incoming;
use hyper::rt::Executor;
use hyper::server::conn::{http1, http2};
use hyper::service::Service;
use hyper::{Request, Response};
use hyper_util::rt::TokioIo;
use tokio_util::task::TaskTracker;

use super::access::{Answer, Ticket, Uploading};
use super::clocks::{Activity, Admitted, Order};
use super::dispatch::{self, Door};
use super::frontends::Protocol;
use super::identity::Caller;
use super::listen::Gate;
use super::tls::{self, Served, Verdict};
use super::visit::Visit;
use super::wire::{Socket, Version, Wire};
use crate::stats::Place;

/// One read of an upload takes at most this, and a head over it is 431.
pub(super) const HTTP1_BUFFER_BYTES: usize = 256 << 10;

/// HTTP/2 windows: loopback has no round trip worth more, and a stream that its handler doesn't read holds no more. All
/// of a connection's streams together fit into its own window, so that one which waits (for room, for the disk) never
/// keeps another from being read.
const HTTP2_STREAM_WINDOW_BYTES: u32 = 512 << 10;
const HTTP2_STREAMS_MAX: u32 = 256;
const HTTP2_CONNECTION_WINDOW_BYTES: u32 = HTTP2_STREAM_WINDOW_BYTES * HTTP2_STREAMS_MAX;

/// A frame costs the same whatever its length.
const HTTP2_FRAME_BYTES_MAX: u32 = 256 << 10;

/// Answers the requests of one connection.
#[derive(Debug, Clone)]
struct Frontdesk {
    door: Arc<Door>,
    visit: Arc<Visit>,
    activity: Arc<Activity>,
    multiplexed: bool,
}

/// An answer in the making.
struct Answering {
    ticket: Option<Ticket>,
    reply: dispatch::Answering,
    /// Whom its request is counted for.
    place: Place,
    multiplexed: bool,
}

/// Runs HTTP/2's streams as tasks of the server.
#[derive(Debug, Clone)]
struct Streams(TaskTracker);

/// A hyper connection that can be asked to finish.
trait Graceful: Future {
    fn graceful(self: Pin<&mut Self>);
}

/// Polls a connection and obeys orders.
struct Obedient<C> {
    connection: Pin<Box<C>>,
    activity: Arc<Activity>,
    /// The order that makes it finish what runs and end.
    finish_at: Order,
    /// The last order that was seen; a waker wakes once, so each new order needs one anew.
    seen: Option<Order>,
    finishing: bool,
}

/// Serves a connection to its end. A task of its own, because its waker must stay the same from order to order.
pub(super) async fn serve(
    socket: Socket,
    admitted: Admitted,
    gate: Gate,
    only: Option<Protocol>,
    tls: Option<Arc<Served>>,
    door: Arc<Door>,
    tasks: TaskTracker,
) {
    let activity = Arc::clone(&admitted.0);
    let unix = matches!(socket, Socket::Unix(_));
    let ends = socket.ends();
    let local = ends.map(|(local, _)| local.ip().to_canonical());
    // Who comes by the network has no uid here: each request is asked for its token, or the client for a certificate.
    let caller = match gate {
        Gate::Users | Gate::Admin => door.caller(&socket, gate).await,
        Gate::Tokens | Gate::Certificates => Caller::Admitted,
    };
    let (socket, secure) = match (socket, tls) {
        (Socket::Tcp(stream, local, peer), Some(served)) => {
            // Boxed, so that connections without it are as small as they were.
            let shaken = Box::pin(tls::accept((stream, local, peer), &served, &activity)).await;
            let Some((stream, secure)) = shaken else { return };
            (Socket::Tls(stream, local, peer), Some(secure))
        }
        (socket, _) => (socket, None),
    };
    let visit = Arc::new(Visit { caller, unix, local, gate, only, secure });
    if let Verdict::Refused(words) = visit.verdict() {
        tracing::info!("refused a connection{}: {words}", from(ends));
        if let Some(secure) = &visit.secure {
            secure.is_first_refusal(); // it is told now
        }
        activity.read(); // who isn't let in has no right to idle here: the clock of a head runs at once
    }
    let mut wire = Wire::new(socket, Arc::clone(&activity));
    let Some(version) = wire.version().await else { return };
    let multiplexed = version == Version::Http2;
    if multiplexed {
        activity.is_multiplexed();
    }
    let desk = Frontdesk { door, visit, activity: Arc::clone(&activity), multiplexed };
    let ended = match version {
        Version::Tls => {
            let words = "it speaks TLS, and this listener doesn't: say http:// or grpc://, or give the listener a \
                         `certificate`";
            tracing::info!("closed a connection{}: {words}", from(ends));
            return;
        }
        Version::Http1 => {
            let connection = http1::Builder::new()
                .header_read_timeout(None)
                .max_buf_size(HTTP1_BUFFER_BYTES)
                .serve_connection(TokioIo::new(wire), desk);
            Obedient::new(connection, activity, Order::Close).await
        }
        Version::Http2 => {
            let connection = http2::Builder::new(Streams(tasks))
                .initial_stream_window_size(HTTP2_STREAM_WINDOW_BYTES)
                .initial_connection_window_size(HTTP2_CONNECTION_WINDOW_BYTES)
                .max_concurrent_streams(HTTP2_STREAMS_MAX)
                .max_frame_size(HTTP2_FRAME_BYTES_MAX)
                .serve_connection(TokioIo::new(wire), desk);
            Obedient::new(connection, activity, Order::Finish).await
        }
    };
    if let Err(error) = ended {
        tracing::debug!("a connection ended: {error}");
    }
    drop(admitted);
}

/// Between whom a connection is, in words for the log.
fn from(ends: Option<(SocketAddr, SocketAddr)>) -> String {
    ends.map_or_else(String::new, |(local, peer)| format!(" from {peer} to {local}"))
}

// === impl Obedient ===

impl<C: Graceful> Obedient<C> {
    fn new(connection: C, activity: Arc<Activity>, finish_at: Order) -> Self {
        Self { connection: Box::pin(connection), activity, finish_at, seen: None, finishing: false }
    }
}

impl<C: Graceful<Output = hyper::Result<()>>> Future for Obedient<C> {
    type Output = hyper::Result<()>;

    fn poll(mut self: Pin<&mut Self>, cx: &mut Context<'_>) -> Poll<Self::Output> {
        let this = &mut *self;
        let mut order = this.activity.order();
        while this.seen != Some(order) {
            this.activity.listen(cx.waker());
            this.seen = Some(order);
            order = this.activity.order();
        }
        if order == Order::Cut {
            return Poll::Ready(Ok(()));
        }
        if order >= this.finish_at && !this.finishing {
            // What is here already is read first, and a request of which a byte was read is owed its answer: hyper
            // would drop half a head with the connection. Its answer closes the connection, or the grace ends.
            if let Poll::Ready(ended) = this.connection.as_mut().poll(cx) {
                return Poll::Ready(ended);
            }
            if this.activity.in_head() {
                return Poll::Pending;
            }
            this.finishing = true;
            this.connection.as_mut().graceful();
        }
        this.connection.as_mut().poll(cx)
    }
}

impl Graceful for http1::Connection<TokioIo<Wire>, Frontdesk> {
    fn graceful(self: Pin<&mut Self>) {
        self.graceful_shutdown();
    }
}

impl Graceful for http2::Connection<TokioIo<Wire>, Frontdesk, Streams> {
    fn graceful(self: Pin<&mut Self>) {
        self.graceful_shutdown();
    }
}

// === impl Frontdesk ===

impl Service<Request<Incoming>> for Frontdesk {
    type Response = Response<Answer>;
    type Error = std::convert::Infallible;
    type Future = Answering;

    fn call(&self, request: Request<Incoming>) -> Answering {
        let mut ticket = Ticket::new(Arc::clone(&self.activity), &request);
        let request = request.map(|body| Uploading::new(body, &self.activity));
        // Until it is known whom it is for.
        Place::default().enter();
        let reply = ticket.noting(|ticket| dispatch::answer(&self.door, &self.visit, ticket, request));
        Answering { ticket: Some(ticket), reply, place: Place::current(), multiplexed: self.multiplexed }
    }
}

impl Future for Answering {
    type Output = Result<Response<Answer>, std::convert::Infallible>;

    fn poll(mut self: Pin<&mut Self>, cx: &mut Context<'_>) -> Poll<Self::Output> {
        self.place.enter();
        let Self { ticket, reply, .. } = &mut *self;
        let ticket = ticket.as_mut().expect("not polled again after it was ready");
        let polled = ticket.noting(|_| Pin::new(reply).poll(cx));
        // Doors and gRPC come to know it while they answer.
        self.place = Place::current();
        let mut response = ready!(polled);
        let ticket = self.ticket.take().expect("not polled again after it was ready");
        if !self.multiplexed && ticket.stopping() {
            response = dispatch::last_on_its_connection(response);
        }
        Poll::Ready(Ok(ticket.answer(response)))
    }
}

// === impl Streams ===

impl<F: Future<Output: Send> + Send + 'static> Executor<F> for Streams {
    fn execute(&self, stream: F) {
        self.0.spawn(stream);
    }
}
