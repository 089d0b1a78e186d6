//! The socket under a connection: TCP, TLS or unix, with the bytes that were read to tell HTTP/1 from HTTP/2 put back.
//!
//! Stamps the connection's clocks, and re-arms `TCP_QUICKACK` while a request body is awaited: a client that writes
//! head and body apart without `TCP_NODELAY` (cpp-httplib in ccache) waits for the acknowledgement of its head, which
//! the kernel would delay by 40 ms.

use std::io;
use std::net::SocketAddr;
use std::pin::Pin;
use std::sync::Arc;
use std::task::{Context, Poll};

use tokio::io::{AsyncRead, AsyncWrite, ReadBuf};
use tokio::net::{TcpStream, UnixStream};

use super::authority::Authority;
use super::clocks::{Activity, Order};
use super::tls;

/// A connected socket.
#[derive(Debug)]
pub(super) enum Socket {
    /// TCP, and where it was accepted and from.
    Tcp(TcpStream, SocketAddr, SocketAddr),
    /// TLS over TCP, after the handshake.
    Tls(tls::Stream, SocketAddr, SocketAddr),
    /// A unix socket.
    Unix(UnixStream),
}

/// A [`Socket`] with clocks.
#[derive(Debug)]
pub(super) struct Wire {
    socket: Socket,
    activity: Arc<Activity>,
    /// Read from the socket, not yet by the reader above.
    ahead: Vec<u8>,
    /// HTTP/2 over a unix socket.
    authority: Option<Authority>,
}

/// What the first bytes are.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum Version {
    Http1,
    Http2,
    /// Neither: a client that takes this port for one of TLS.
    Tls,
}

/// How an HTTP/2 client begins. No HTTP/1 request can begin so: `PRI` is reserved.
const PREFACE: &[u8; 24] = b"PRI * HTTP/2.0\r\n\r\nSM\r\n\r\n";

/// One read's worth of a first request: most heads are smaller.
const FIRST_READ_BYTES: usize = 2048;

// === impl Socket ===

impl Socket {
    /// The two ends of a TCP connection: ours, and the peer's.
    pub(super) fn ends(&self) -> Option<(SocketAddr, SocketAddr)> {
        match self {
            Self::Tcp(_, local, peer) | Self::Tls(_, local, peer) => Some((*local, *peer)),
            Self::Unix(_) => None,
        }
    }

    #[cfg(target_os = "linux")]
    fn tcp(&self) -> Option<&TcpStream> {
        match self {
            Self::Tcp(stream, ..) => Some(stream),
            Self::Tls(stream, ..) => Some(stream.get_ref().0),
            Self::Unix(_) => None,
        }
    }
}

// === impl Wire ===

impl Wire {
    pub(super) fn new(socket: Socket, activity: Arc<Activity>) -> Self {
        Self { socket, activity, ahead: Vec::new(), authority: None }
    }

    /// Waits for enough bytes to tell the version; they are read again by the reader above.
    ///
    /// `None` when the peer went away, or the connection was told to end, before that.
    pub(super) async fn version(&mut self) -> Option<Version> {
        std::future::poll_fn(|cx| self.poll_version(cx)).await
    }

    fn poll_version(&mut self, cx: &mut Context<'_>) -> Poll<Option<Version>> {
        self.activity.listen(cx.waker());
        loop {
            let mut bytes = [0; FIRST_READ_BYTES];
            let mut buffer = ReadBuf::new(&mut bytes);
            match self.poll_socket(cx, &mut buffer) {
                Poll::Ready(Ok(())) if !buffer.filled().is_empty() => {
                    self.activity.read();
                    self.ahead.extend_from_slice(buffer.filled());
                }
                Poll::Ready(_) => return Poll::Ready(None),
                Poll::Pending => {
                    // Asked after the read: who has sent something is answered.
                    let order = self.activity.order();
                    let ended = order == Order::Cut || (order == Order::Close && self.ahead.is_empty());
                    return if ended { Poll::Ready(None) } else { Poll::Pending };
                }
            }
            let told = self.ahead.len().min(PREFACE.len());
            if self.ahead.first() == Some(&tls::HANDSHAKE_BYTE) {
                return Poll::Ready(Some(Version::Tls));
            }
            if self.ahead[..told] != PREFACE[..told] {
                return Poll::Ready(Some(Version::Http1));
            }
            if told == PREFACE.len() {
                self.authority = matches!(self.socket, Socket::Unix(_)).then(Authority::new);
                return Poll::Ready(Some(Version::Http2));
            }
        }
    }

    fn poll_socket(&mut self, cx: &mut Context<'_>, buffer: &mut ReadBuf<'_>) -> Poll<io::Result<()>> {
        match &mut self.socket {
            Socket::Tcp(stream, ..) => Pin::new(stream).poll_read(cx, buffer),
            Socket::Tls(stream, ..) => Pin::new(stream).poll_read(cx, buffer),
            Socket::Unix(stream) => Pin::new(stream).poll_read(cx, buffer),
        }
    }

    /// What was read already, then what the socket has.
    fn poll_ahead(&mut self, cx: &mut Context<'_>, buffer: &mut ReadBuf<'_>) -> Poll<io::Result<()>> {
        if !self.ahead.is_empty() {
            let taken = self.ahead.len().min(buffer.remaining());
            buffer.put_slice(&self.ahead[..taken]);
            self.ahead.drain(..taken);
            if self.ahead.is_empty() {
                self.ahead = Vec::new(); // an idle connection holds no buffer of ours
            }
            return Poll::Ready(Ok(()));
        }
        if self.activity.uploading() {
            self.quickack();
        }
        let before = buffer.filled().len();
        let read = self.poll_socket(cx, buffer);
        if buffer.filled().len() > before {
            self.activity.read();
        }
        read
    }

    fn quickack(&self) {
        #[cfg(target_os = "linux")]
        if let Some(stream) = self.socket.tcp() {
            // A socket that refuses it is slower, not wrong.
            let _ = rustix::net::sockopt::set_tcp_quickack(stream, true);
        }
    }

    fn note_write(&self, written: &Poll<io::Result<usize>>) {
        match written {
            Poll::Ready(_) => self.activity.wrote(),
            Poll::Pending => self.activity.write_blocked(),
        }
    }
}

impl AsyncRead for Wire {
    fn poll_read(
        mut self: Pin<&mut Self>,
        cx: &mut Context<'_>,
        buffer: &mut ReadBuf<'_>,
    ) -> Poll<io::Result<()>> {
        let before = buffer.filled().len();
        let read = self.poll_ahead(cx, buffer);
        if let Some(authority) = &mut self.authority {
            authority.mend(&mut buffer.filled_mut()[before..]);
        }
        read
    }
}

impl AsyncWrite for Wire {
    fn poll_write(mut self: Pin<&mut Self>, cx: &mut Context<'_>, bytes: &[u8]) -> Poll<io::Result<usize>> {
        let written = match &mut self.socket {
            Socket::Tcp(stream, ..) => Pin::new(stream).poll_write(cx, bytes),
            Socket::Tls(stream, ..) => Pin::new(stream).poll_write(cx, bytes),
            Socket::Unix(stream) => Pin::new(stream).poll_write(cx, bytes),
        };
        self.note_write(&written);
        written
    }

    fn poll_write_vectored(
        mut self: Pin<&mut Self>,
        cx: &mut Context<'_>,
        pieces: &[io::IoSlice<'_>],
    ) -> Poll<io::Result<usize>> {
        let written = match &mut self.socket {
            Socket::Tcp(stream, ..) => Pin::new(stream).poll_write_vectored(cx, pieces),
            Socket::Tls(stream, ..) => Pin::new(stream).poll_write_vectored(cx, pieces),
            Socket::Unix(stream) => Pin::new(stream).poll_write_vectored(cx, pieces),
        };
        self.note_write(&written);
        written
    }

    fn is_write_vectored(&self) -> bool {
        true
    }

    fn poll_flush(mut self: Pin<&mut Self>, cx: &mut Context<'_>) -> Poll<io::Result<()>> {
        let Socket::Tls(stream, ..) = &mut self.socket else {
            return Poll::Ready(Ok(())); // sockets keep nothing back
        };
        let flushed = Pin::new(stream).poll_flush(cx);
        match &flushed {
            Poll::Ready(_) => self.activity.wrote(),
            Poll::Pending => self.activity.write_blocked(),
        }
        flushed
    }

    fn poll_shutdown(mut self: Pin<&mut Self>, cx: &mut Context<'_>) -> Poll<io::Result<()>> {
        match &mut self.socket {
            Socket::Tcp(stream, ..) => Pin::new(stream).poll_shutdown(cx),
            Socket::Tls(stream, ..) => Pin::new(stream).poll_shutdown(cx),
            Socket::Unix(stream) => Pin::new(stream).poll_shutdown(cx),
        }
    }
}

#[cfg(all(test, target_os = "linux"))]
mod tests {
    use std::task::Waker;

    use super::super::clocks::{Limits, Registry};
    use super::*;

    /// A connection on which nothing has come yet, and its client.
    async fn connection(activity: &Arc<Activity>) -> (Wire, TcpStream) {
        let listener = tokio::net::TcpListener::bind(("127.0.0.1", 0)).await.expect("loopback");
        let local = listener.local_addr().expect("it is bound");
        let client = TcpStream::connect(local).await.expect("loopback");
        let (stream, peer) = listener.accept().await.expect("it connected");
        (Wire::new(Socket::Tcp(stream, local, peer), Arc::clone(activity)), client)
    }

    /// Whether the kernel acknowledges at once, after a read for which nothing was there: with bytes there the kernel
    /// changes its mind by itself.
    fn acknowledges_after_a_read(wire: &mut Wire) -> bool {
        let socket = |wire: &Wire| match &wire.socket {
            Socket::Tcp(stream, ..) => {
                rustix::fd::AsFd::as_fd(stream).try_clone_to_owned().expect("a descriptor")
            }
            Socket::Tls(..) | Socket::Unix(_) => unreachable!("it is TCP"),
        };
        rustix::net::sockopt::set_tcp_quickack(socket(wire), false).expect("on Linux");
        let mut bytes = [0; 16];
        let mut cx = Context::from_waker(Waker::noop());
        let read = Pin::new(&mut *wire).poll_read(&mut cx, &mut ReadBuf::new(&mut bytes));
        assert!(read.is_pending(), "the client sent nothing");
        rustix::net::sockopt::tcp_quickack(socket(wire)).expect("on Linux")
    }

    #[tokio::test]
    async fn a_client_that_sends_head_and_body_apart_is_acknowledged_at_once() {
        let admitted = Registry::new(Limits::default()).admit().await;
        let (mut wire, _client) = connection(&admitted.0).await;
        assert!(!acknowledges_after_a_read(&mut wire), "an idle connection costs no call");
        admitted.0.request_began();
        admitted.0.upload_began();
        assert!(acknowledges_after_a_read(&mut wire), "its body is awaited");
        assert!(acknowledges_after_a_read(&mut wire), "and the rest of it: the kernel forgets");
        admitted.0.upload_ended();
        assert!(!acknowledges_after_a_read(&mut wire), "its body is here");
    }
}
