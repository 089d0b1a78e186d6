//! The handshake: who may go on is let on, and who may not is told why, on both sides.
//!
//! Plain HTTP on a port that speaks TLS is answered in words; a client that fails gets an alert of TLS, and the log has
//! the reason. The connection is then read to its end for a moment: bytes that nobody read would make the kernel
//! throw away what we said last.

use std::fmt;
use std::future::Future;
use std::io;
use std::net::SocketAddr;
use std::pin::pin;
use std::sync::Arc;
use std::task::Poll;
use std::time::Duration;

use rustls::{AlertDescription, CertificateError, Error};
use tokio::io::{AsyncReadExt as _, AsyncWriteExt as _};
use tokio::net::TcpStream;
use tokio_rustls::TlsAcceptor;
use tokio_rustls::server::TlsStream;

use super::leaf::day;
use super::peer::{Peer, Secure};
use super::served::Served;
use crate::server::clocks::{Activity, Order};

/// A connection after its handshake. In a box: most listeners have none of them.
pub(in crate::server) type Stream = Box<TlsStream<TcpStream>>;

/// How TLS begins: the type of a record that is part of a handshake.
pub(in crate::server) const HANDSHAKE_BYTE: u8 = 0x16;

/// So much is read of a plain request, before it is answered.
const PLAIN_BYTES_MAX: usize = 8 << 10;

/// Who was refused is read from for so long, and so much.
const DRAIN: Duration = Duration::from_secs(1);
const DRAIN_BYTES_MAX: u64 = 64 << 10;

/// How a client of HTTP/2 begins that doesn't ask for TLS.
const PREFACE: &[u8] = b"PRI * HTTP/2.0";

/// Shakes hands on a connection at `local` with `peer`. `None`: it is over, and the log has said why.
pub(in crate::server) async fn accept(
    (stream, local, peer): (TcpStream, SocketAddr, SocketAddr),
    served: &Arc<Served>,
    activity: &Arc<Activity>,
) -> Option<(Stream, Secure)> {
    let mut first = [0];
    match obeying(activity, stream.peek(&mut first)).await? {
        Ok(1..) => activity.read(), // from here on the clock of a head runs
        Ok(0) | Err(_) => return None,
    }
    if first[0] != HANDSHAKE_BYTE {
        tracing::info!(
            "refused a plain connection from {peer}: {local} speaks TLS; say https:// or grpcs://"
        );
        obeying(activity, answer_plain(stream, local)).await;
        return None;
    }
    let (config, roots) = {
        let now = served.now();
        (now.material.config(), now.material.roots_id())
    };
    let handshake = TlsAcceptor::from(config).accept(stream).into_fallible();
    let stream = match obeying(activity, handshake).await? {
        Ok(stream) => stream,
        Err((error, stream)) => {
            match words(&error, served) {
                Some(words) => tracing::info!("refused a TLS connection from {peer} to {local}: {words}"),
                None => tracing::debug!("a TLS handshake with {peer} ended: {error}"),
            }
            obeying(activity, drain(stream)).await;
            return None;
        }
    };
    let shown = stream.get_ref().1.peer_certificates().map(|chain| Peer::of(chain, roots)).transpose();
    let peer = match shown {
        Ok(peer) => peer,
        Err(error) => {
            tracing::info!("refused a TLS connection from {peer} to {local}: its certificate: {error}");
            return None;
        }
    };
    activity.shook_hands();
    Some((Box::new(stream), Secure::new(Arc::clone(served), peer)))
}

/// The future's end; `None` when the connection is told to end before.
async fn obeying<F: Future>(activity: &Activity, future: F) -> Option<F::Output> {
    let mut future = pin!(future);
    std::future::poll_fn(|cx| {
        activity.listen(cx.waker());
        match future.as_mut().poll(cx) {
            Poll::Ready(end) => Poll::Ready(Some(end)),
            Poll::Pending if activity.order() >= Order::Close => Poll::Ready(None),
            Poll::Pending => Poll::Pending,
        }
    })
    .await
}

/// Why a handshake failed, and what helps; `None` where the client just went away.
fn words(error: &io::Error, served: &Served) -> Option<String> {
    let error = error.get_ref()?.downcast_ref::<Error>()?;
    let now = served.now();
    let files = now.material.files();
    let ca = files.client_ca.as_deref().unwrap_or_else(|| "-".as_ref()).display();
    Some(match error {
        Error::NoCertificatesPresented => format!(
            "it has shown no client certificate, and this listener asks for one of {ca}; `larder tls init --client \
             NAME` issues one"
        ),
        Error::InvalidCertificate(CertificateError::ExpiredContext { not_after, .. }) => format!(
            "its client certificate expired on {}; have a new one issued",
            day(not_after.as_secs().cast_signed())
        ),
        Error::InvalidCertificate(CertificateError::Expired) => {
            "its client certificate has expired; have a new one issued".into()
        }
        Error::InvalidCertificate(
            CertificateError::NotValidYet | CertificateError::NotValidYetContext { .. },
        ) => "its client certificate is not valid yet; is the clock right, here and there?".into(),
        Error::InvalidCertificate(CertificateError::UnknownIssuer | CertificateError::BadSignature) => {
            format!("its client certificate is of another CA than {ca}; have one issued by that")
        }
        Error::InvalidCertificate(
            CertificateError::InvalidPurpose | CertificateError::InvalidPurposeContext { .. },
        ) => "its certificate is none of a client; issue one for client authentication".into(),
        Error::InvalidCertificate(error) => format!("its client certificate is refused: {error}"),
        Error::AlertReceived(
            alert @ (AlertDescription::UnknownCA
            | AlertDescription::BadCertificate
            | AlertDescription::CertificateUnknown
            | AlertDescription::CertificateExpired),
        ) => format!(
            "it doesn't trust {} ({}); give it the CA that issued that, and call this host by a name in it",
            files.certificate.display(),
            Alert(*alert)
        ),
        Error::AlertReceived(alert) => format!("it ended the handshake: {}", Alert(*alert)),
        Error::PeerIncompatible(why) => {
            format!("it speaks no TLS that is spoken here (1.2 and 1.3, with AES-GCM or ChaCha20): {why:?}")
        }
        error => error.to_string(),
    })
}

struct Alert(AlertDescription);

impl fmt::Display for Alert {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self.0 {
            AlertDescription::UnknownCA => f.write_str("alert: unknown CA"),
            AlertDescription::CertificateExpired => f.write_str("alert: certificate expired"),
            other => write!(f, "alert: {other:?}"),
        }
    }
}

/// Says in words that this port speaks TLS.
async fn answer_plain(mut stream: TcpStream, local: SocketAddr) {
    let mut head = Vec::new();
    let is_http2 = |head: &[u8]| head.starts_with(PREFACE);
    let is_whole = |head: &[u8]| head.windows(4).any(|end| end == b"\r\n\r\n") || is_http2(head);
    while !is_whole(&head) && head.len() < PLAIN_BYTES_MAX {
        match stream.read_buf(&mut head).await {
            Ok(1..) => {}
            Ok(0) | Err(_) => break,
        }
    }
    let answer = if is_http2(&head) {
        goaway(&format!("this port speaks TLS: grpcs://{local} or https://{local}"))
    } else {
        let words = format!("this port speaks TLS: https://{local}\n");
        let head = "HTTP/1.1 400 Bad Request\r\ncontent-type: text/plain; charset=utf-8\r\nconnection: close";
        format!("{head}\r\ncontent-length: {}\r\n\r\n{words}", words.len()).into_bytes()
    };
    // Who has gone away needs no answer.
    if stream.write_all(&answer).await.is_ok() {
        drain(stream).await;
    }
}

/// The settings that a server of HTTP/2 owes, and its end of the connection, with words.
fn goaway(words: &str) -> Vec<u8> {
    const SETTINGS: [u8; 9] = [0, 0, 0, 4, 0, 0, 0, 0, 0];
    const GOAWAY: u8 = 7;
    const INADEQUATE_SECURITY: u8 = 0x0c;
    let len = u8::try_from(8 + words.len()).unwrap_or(u8::MAX);
    let words = &words.as_bytes()[..usize::from(len) - 8];
    let mut frames = SETTINGS.to_vec();
    frames.extend([0, 0, len, GOAWAY, 0, 0, 0, 0, 0]);
    frames.extend([0, 0, 0, 0, 0, 0, 0, INADEQUATE_SECURITY]);
    frames.extend(words);
    frames
}

/// Says no more, and reads what still comes, for a moment.
async fn drain(mut stream: TcpStream) {
    let draining = async {
        // What fails here has ended already.
        let _ = stream.shutdown().await;
        let _ = tokio::io::copy(&mut (&mut stream).take(DRAIN_BYTES_MAX), &mut tokio::io::sink()).await;
    };
    let _ = tokio::time::timeout(DRAIN, draining).await;
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_end_of_http2_is_two_whole_frames() {
        let frames = goaway("words");
        assert_eq!(frames.len(), 9 + 9 + 8 + 5);
        assert_eq!((usize::from(frames[9 + 2]), &frames[26..]), (8 + 5, &b"words"[..]));
    }
}
