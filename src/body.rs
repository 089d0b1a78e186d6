//! Bodies: streams of bytes with an exact length.
//!
//! A [`Body`] ends after exactly its length, or in an error. It never ends cleanly short: an inner stream that stops
//! early becomes `Corrupt`, which a frontend turns into a broken connection.

use std::fmt;
use std::pin::Pin;
use std::task::{Context, Poll, ready};

use bytes::Bytes;
use futures_util::stream::{Stream, StreamExt as _};

use crate::error::{Error, Kind, Result};

/// A stream of exactly [`Body::len`] bytes.
pub struct Body {
    left: u64,
    /// A piece that was read ahead, see [`Body::begun`].
    first: Option<Bytes>,
    inner: Inner,
}

enum Inner {
    Bytes(Bytes),
    Stream(Pin<Box<dyn Stream<Item = Result<Bytes>> + Send>>),
    Ended,
}

// === impl Body ===

impl Body {
    /// No bytes.
    pub fn empty() -> Self {
        Self::bytes(Bytes::new())
    }

    /// Bytes that are all here.
    pub fn bytes(bytes: Bytes) -> Self {
        Self { left: bytes.len() as u64, first: None, inner: Inner::Bytes(bytes) }
    }

    /// A stream that will yield `len` bytes. More than `len` is an error, as is less.
    pub fn stream(len: u64, stream: impl Stream<Item = Result<Bytes>> + Send + 'static) -> Self {
        Self { left: len, first: None, inner: Inner::Stream(Box::pin(stream)) }
    }

    /// Bytes still to come.
    pub fn len(&self) -> u64 {
        self.left
    }

    /// Whether none are to come.
    pub fn is_empty(&self) -> bool {
        self.left == 0
    }

    /// The bytes, when all are here and none has been taken: what is answered in one write.
    pub fn as_bytes(&self) -> Option<&Bytes> {
        match &self.inner {
            Inner::Bytes(bytes) => Some(bytes),
            Inner::Stream(_) | Inner::Ended => None,
        }
    }

    /// The same with its first piece already read: whoever answers with it knows that it begins well.
    ///
    /// # Errors
    /// What the first piece fails with.
    pub async fn begun(mut self) -> Result<Self> {
        if let Inner::Stream(_) = self.inner
            && let Some(first) = self.next().await
        {
            let first = first?;
            self.left += first.len() as u64;
            self.first = Some(first);
        }
        Ok(self)
    }

    /// How it begins: the bytes that are here, or of a stream the piece that [`Body::begun`] has read.
    pub fn peek(&self) -> &[u8] {
        match (&self.first, &self.inner) {
            (Some(bytes), _) | (None, Inner::Bytes(bytes)) => bytes,
            (None, Inner::Stream(_) | Inner::Ended) => &[],
        }
    }

    /// Reads it all into one buffer of at most `max` bytes.
    ///
    /// # Errors
    /// `TooLarge` over `max`, or what the stream fails with.
    pub async fn collect(mut self, max: u64) -> Result<Bytes> {
        if self.left > max {
            return Err(Error::new(Kind::TooLarge, format!("a body of {} bytes is over {max}", self.left)));
        }
        if let Inner::Bytes(bytes) = self.inner {
            return Ok(bytes);
        }
        let mut buffer = Vec::with_capacity(self.left as usize);
        while let Some(piece) = self.next().await {
            buffer.extend_from_slice(&piece?);
        }
        Ok(buffer.into())
    }

    fn fail(&mut self, error: Error) -> Poll<Option<Result<Bytes>>> {
        self.inner = Inner::Ended;
        self.left = 0;
        Poll::Ready(Some(Err(error)))
    }
}

impl Stream for Body {
    type Item = Result<Bytes>;

    fn poll_next(mut self: Pin<&mut Self>, cx: &mut Context<'_>) -> Poll<Option<Self::Item>> {
        let this = &mut *self;
        if let Some(first) = this.first.take() {
            this.left -= first.len() as u64;
            return Poll::Ready(Some(Ok(first)));
        }
        let piece = match &mut this.inner {
            Inner::Ended => return Poll::Ready(None),
            Inner::Bytes(bytes) => {
                let bytes = std::mem::take(bytes);
                this.inner = Inner::Ended;
                this.left = 0;
                return Poll::Ready((!bytes.is_empty()).then_some(Ok(bytes)));
            }
            Inner::Stream(_) if this.left == 0 => {
                this.inner = Inner::Ended;
                return Poll::Ready(None);
            }
            Inner::Stream(stream) => loop {
                match ready!(stream.as_mut().poll_next(cx)) {
                    Some(Ok(piece)) if piece.is_empty() => {}
                    other => break other,
                }
            },
        };
        match piece {
            Some(Ok(piece)) if piece.len() as u64 > this.left => {
                this.fail(Error::new(Kind::Corrupt, "a body is longer than its length"))
            }
            Some(Ok(piece)) => {
                this.left -= piece.len() as u64;
                Poll::Ready(Some(Ok(piece)))
            }
            Some(Err(error)) => this.fail(error),
            None => {
                let message = format!("a body ended {} bytes short", this.left);
                this.fail(Error::new(Kind::Corrupt, message))
            }
        }
    }
}

impl fmt::Debug for Body {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let kind = match self.inner {
            Inner::Bytes(_) => "bytes",
            Inner::Stream(_) => "stream",
            Inner::Ended => "ended",
        };
        write!(f, "Body({kind}, {} left)", self.left)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn pieces(pieces: &'static [&'static [u8]]) -> impl Stream<Item = Result<Bytes>> + Send {
        futures_util::stream::iter(pieces.iter().map(|piece| Ok(Bytes::from_static(piece))))
    }

    #[tokio::test]
    async fn a_stream_of_the_right_length_is_collected() {
        let body = Body::stream(6, pieces(&[b"lar", b"", b"der"]));
        assert_eq!(body.collect(6).await.ok(), Some(Bytes::from_static(b"larder")));
    }

    #[tokio::test]
    async fn a_short_stream_and_a_long_one_are_errors_not_ends() {
        for (len, parts) in [(7, &[b"lar" as &[u8], b"der"][..]), (5, &[b"lar", b"der"])] {
            let error = Body::stream(len, pieces(parts)).collect(10).await.expect_err("wrong length");
            assert_eq!(error.kind(), Kind::Corrupt);
        }
    }

    #[tokio::test]
    async fn a_body_that_was_begun_is_still_whole_and_one_that_begins_badly_is_not_begun() {
        let body = Body::stream(6, pieces(&[b"lar", b"der"]));
        assert_eq!(body.peek(), b"");
        let body = body.begun().await.expect("it begins well");
        assert_eq!((body.len(), body.peek()), (6, &b"lar"[..]));
        assert_eq!(Body::bytes(Bytes::from_static(b"larder")).peek(), b"larder");
        assert_eq!(body.collect(6).await.ok(), Some(Bytes::from_static(b"larder")));
        assert_eq!(Body::empty().begun().await.map(|body| body.len()).ok(), Some(0));
        let bad = futures_util::stream::iter([Err(Error::new(Kind::Corrupt, "a bad block"))]);
        assert_eq!(Body::stream(3, bad).begun().await.expect_err("bad").kind(), Kind::Corrupt);
    }

    #[tokio::test]
    async fn over_the_limit_nothing_is_read() {
        let error = Body::stream(6, pieces(&[b"larder"])).collect(5).await.expect_err("too large");
        assert_eq!(error.kind(), Kind::TooLarge);
    }
}
