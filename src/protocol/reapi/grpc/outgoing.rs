//! Messages on their way out: prefix and tags in a few bytes of their own, then the bytes that memory or disk gave.

use std::collections::VecDeque;
use std::pin::Pin;
use std::task::{Context, Poll, ready};

use bytes::{BufMut as _, Bytes, BytesMut};
use futures_util::Stream;
use http_body::Frame;
use hyper::Response;
use hyper::header::{CONTENT_TYPE, HeaderMap};
use tonic::{Code, Status};

use super::{GRPC, add};
use crate::entry::Tier;
use crate::error::Error;
use crate::protocol::http::{Answer, Reply};

/// A message in the pieces in which it is sent.
#[derive(Debug, Default)]
pub(crate) struct Frames(VecDeque<Bytes>);

/// Up to here bytes are copied behind what is before them: one frame of HTTP/2 costs more than the copy.
const COPIED_BYTES_MAX: usize = 8 << 10;

/// The body of an answer.
struct Outgoing<S> {
    ready: Frames,
    messages: Option<S>,
    /// How the call ended; said after all that is ready.
    end: Option<Status>,
    is_over: bool,
}

/// An answer of one message.
pub(crate) fn unary(message: Frames, from: Option<Tier>) -> Answer {
    let none: Option<futures_util::stream::Empty<Result<Frames, Status>>> = None;
    let end = Some(Status::new(Code::Ok, ""));
    answer(Outgoing { ready: message, messages: none, end, is_over: false }, from)
}

/// An answer of messages that are made as they are sent. An error ends it.
pub(crate) fn stream(
    messages: impl Stream<Item = Result<Frames, Status>> + Send + Unpin + 'static,
    from: Option<Tier>,
) -> Answer {
    let ready = Frames::default();
    answer(Outgoing { ready, messages: Some(messages), end: None, is_over: false }, from)
}

/// A message that is serialized already, in pieces.
pub(crate) fn message(pieces: impl IntoIterator<Item = Bytes>) -> Frames {
    let mut pieces: VecDeque<Bytes> = pieces.into_iter().collect();
    let len: usize = pieces.iter().map(Bytes::len).sum();
    let mut first = BytesMut::with_capacity(5 + len.min(COPIED_BYTES_MAX));
    first.put_u8(0);
    first.put_u32(u32::try_from(len).expect("no answer is longer than what may be asked for at once"));
    let mut frames = VecDeque::with_capacity(pieces.len() + 1);
    while let Some(piece) = pieces.pop_front() {
        if piece.len() + first.len() <= COPIED_BYTES_MAX {
            first.extend_from_slice(&piece);
            continue;
        }
        if !first.is_empty() {
            frames.push_back(std::mem::take(&mut first).freeze());
        }
        frames.push_back(piece);
    }
    if !first.is_empty() {
        frames.push_back(first.freeze());
    }
    Frames(frames)
}

fn answer<S>(outgoing: Outgoing<S>, from: Option<Tier>) -> Answer
where
    S: Stream<Item = Result<Frames, Status>> + Send + Unpin + 'static,
{
    let mut answer = Response::new(Reply::frames(outgoing, from));
    answer.headers_mut().insert(CONTENT_TYPE, GRPC);
    answer
}

impl<S: Stream<Item = Result<Frames, Status>> + Unpin> http_body::Body for Outgoing<S> {
    type Data = Bytes;
    type Error = Error;

    fn poll_frame(
        mut self: Pin<&mut Self>,
        cx: &mut Context<'_>,
    ) -> Poll<Option<Result<Frame<Bytes>, Error>>> {
        let this = &mut *self;
        loop {
            if let Some(bytes) = this.ready.0.pop_front() {
                return Poll::Ready(Some(Ok(Frame::data(bytes))));
            }
            if let Some(status) = this.end.take() {
                let mut trailers = HeaderMap::with_capacity(2);
                add(&status, &mut trailers);
                this.is_over = true;
                return Poll::Ready(Some(Ok(Frame::trailers(trailers))));
            }
            let Some(messages) = &mut this.messages else { return Poll::Ready(None) };
            match ready!(Pin::new(messages).poll_next(cx)) {
                Some(Ok(frames)) => this.ready = frames,
                Some(Err(status)) => (this.messages, this.end) = (None, Some(status)),
                None => (this.messages, this.end) = (None, Some(Status::new(Code::Ok, ""))),
            }
        }
    }

    fn is_end_stream(&self) -> bool {
        self.is_over
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use http_body_util::BodyExt as _;

    #[tokio::test]
    async fn a_message_is_its_prefix_and_its_pieces_and_large_ones_are_not_copied() {
        let large = Bytes::from(vec![7; COPIED_BYTES_MAX]);
        let frames = message([Bytes::from_static(b"ab"), Bytes::from_static(b"c"), large.clone()]);
        assert_eq!(frames.0[0], &b"\0\0\0\x20\x03abc"[..]);
        assert_eq!(frames.0[1].as_ptr(), large.as_ptr());
        assert_eq!(frames.0.len(), 2);
        assert_eq!(message([]).0, [&b"\0\0\0\0\0"[..]]);
    }

    #[tokio::test]
    async fn an_answer_ends_in_the_status_of_its_end() {
        let whole =
            unary(message([Bytes::from_static(b"x")]), None).into_body().collect().await.expect("sent");
        assert_eq!(whole.trailers().expect("trailers")["grpc-status"], "0");
        assert_eq!(whole.to_bytes(), &b"\0\0\0\0\x01x"[..]);
        let messages = [Ok(message([Bytes::from_static(b"y")])), Err(Status::aborted("100 % broken"))];
        let broken = stream(futures_util::stream::iter(messages), None).into_body().collect().await;
        let broken = broken.expect("the transport is well");
        let trailers = broken.trailers().expect("trailers");
        assert_eq!(trailers["grpc-status"], "10");
        assert_eq!(trailers["grpc-message"], "100%20%25%20broken");
    }
}
