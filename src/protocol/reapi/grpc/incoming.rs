//! Messages on their way in: five bytes of prefix, then the message, cut anywhere into frames.

use bytes::{Buf as _, Bytes, BytesMut};
use http_body_util::BodyExt as _;
use tonic::Status;

use crate::protocol::http::Incoming;

/// The messages of one call. One may be taken whole, or field by field as its bytes come.
#[derive(Debug)]
pub(crate) struct Messages<B> {
    body: B,
    /// What has come and was not taken.
    piece: Bytes,
    /// Bytes of the message that are still to be taken.
    left: usize,
    taken: u64,
}

/// The head of a field, of a message that is read as it comes.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum Field {
    Varint(u64),
    /// So many bytes follow.
    Bytes(usize),
}

impl<B: Incoming> Messages<B> {
    pub(crate) fn of(body: B) -> Self {
        Self { body, piece: Bytes::new(), left: 0, taken: 0 }
    }

    /// Bytes of messages taken so far.
    pub(crate) fn taken(&self) -> u64 {
        self.taken
    }

    /// Goes on to the first message, of at most `max` bytes; how many those are.
    ///
    /// # Errors
    /// `INVALID_ARGUMENT` for none or a longer one.
    pub(crate) async fn first(&mut self, max: usize) -> Result<usize, Status> {
        if !self.next().await? {
            return Err(Status::invalid_argument("the call has no message"));
        }
        if self.left > max {
            let words =
                format!("the message has {} bytes, at most {max} are taken by this method", self.left);
            return Err(Status::invalid_argument(words));
        }
        Ok(self.left)
    }

    /// The message of `len` bytes, which must be the call's last.
    ///
    /// # Errors
    /// `INVALID_ARGUMENT` for half of one, or if there are more.
    pub(crate) async fn last(mut self, len: usize) -> Result<Bytes, Status> {
        let message = self.take(len).await?;
        if self.next().await? {
            return Err(Status::invalid_argument("the call has more than one message"));
        }
        Ok(message)
    }

    /// Goes on to the next message; `false` after the last. The one before must have been taken.
    pub(crate) async fn next(&mut self) -> Result<bool, Status> {
        debug_assert_eq!(self.left, 0, "the message before was left half read");
        let mut prefix = [0; 5];
        let mut have = 0;
        while have < prefix.len() {
            if self.piece.is_empty() && !self.more().await? {
                return if have == 0 { Ok(false) } else { Err(cut()) };
            }
            let count = self.piece.len().min(prefix.len() - have);
            self.piece.copy_to_slice(&mut prefix[have..have + count]);
            have += count;
        }
        if prefix[0] != 0 {
            return Err(Status::unimplemented("compressed messages are not taken: send them as they are"));
        }
        let [_, len @ ..] = prefix;
        self.left = u32::from_be_bytes(len) as usize;
        Ok(true)
    }

    /// The next field of the message, and its number; `None` at its end.
    pub(crate) async fn field(&mut self) -> Result<Option<(u32, Field)>, Status> {
        if self.left == 0 {
            return Ok(None);
        }
        let key = self.varint().await?;
        let number = u32::try_from(key).map_err(|_| garbage())? >> 3;
        let field = match key & 7 {
            0 => Field::Varint(self.varint().await?),
            1 => Field::Bytes(8),
            2 => Field::Bytes(usize::try_from(self.varint().await?).map_err(|_| garbage())?),
            5 => Field::Bytes(4),
            _ => return Err(garbage()),
        };
        match field {
            Field::Bytes(len) if len > self.left => Err(garbage()),
            _ if number == 0 => Err(garbage()),
            field => Ok(Some((number, field))),
        }
    }

    /// The next bytes of the message, as they came: at least one and at most `max` of them.
    pub(crate) async fn some(&mut self, max: usize) -> Result<Bytes, Status> {
        while self.piece.is_empty() {
            if !self.more().await? {
                return Err(cut());
            }
        }
        let count = self.piece.len().min(max).min(self.left);
        self.left -= count;
        self.taken += count as u64;
        Ok(self.piece.split_to(count))
    }

    /// Exactly `len` bytes of the message. In one piece where they came so.
    pub(crate) async fn take(&mut self, len: usize) -> Result<Bytes, Status> {
        if len == 0 {
            return Ok(Bytes::new());
        }
        let first = self.some(len).await?;
        if first.len() == len {
            return Ok(first);
        }
        let mut whole = BytesMut::with_capacity(len);
        whole.extend_from_slice(&first);
        while whole.len() < len {
            let piece = self.some(len - whole.len()).await?;
            whole.extend_from_slice(&piece);
        }
        Ok(whole.freeze())
    }

    async fn varint(&mut self) -> Result<u64, Status> {
        let mut value = 0;
        for shift in 0..10 {
            if self.left == 0 {
                return Err(garbage());
            }
            if self.piece.is_empty() && !self.more().await? {
                return Err(cut());
            }
            let byte = self.piece.get_u8();
            self.left -= 1;
            self.taken += 1;
            value |= u64::from(byte & 0x7f) << (7 * shift);
            if byte & 0x80 == 0 {
                // The tenth byte has room for one bit.
                return if shift == 9 && byte > 1 { Err(garbage()) } else { Ok(value) };
            }
        }
        Err(garbage())
    }

    /// Waits for more bytes; `false` at the end.
    async fn more(&mut self) -> Result<bool, Status> {
        loop {
            match self.body.frame().await {
                None => return Ok(false),
                Some(Ok(frame)) => {
                    // Trailers of a client say nothing that counts.
                    let Ok(piece) = frame.into_data() else { continue };
                    if !piece.is_empty() {
                        self.piece = piece;
                        return Ok(true);
                    }
                }
                Some(Err(error)) => return Err(Status::cancelled(format!("the call broke off: {error}"))),
            }
        }
    }
}

fn cut() -> Status {
    Status::invalid_argument("the call ends in the middle of a message")
}

/// Not a message of protobuf.
pub(crate) fn garbage() -> Status {
    Status::invalid_argument("the message is not protobuf, or not of this method")
}

#[cfg(test)]
mod tests {
    use super::*;
    use http_body_util::StreamBody;
    use hyper::body::Frame;
    use tonic::Code;

    fn messages(
        bytes: &[u8],
        cut: usize,
    ) -> Messages<
        StreamBody<impl futures_util::Stream<Item = Result<Frame<Bytes>, std::io::Error>> + Send + Unpin>,
    > {
        let pieces: Vec<_> =
            bytes.chunks(cut).map(|piece| Ok(Frame::data(Bytes::copy_from_slice(piece)))).collect();
        Messages::of(StreamBody::new(futures_util::stream::iter(pieces)))
    }

    const TWO: &[u8] = b"\0\0\0\0\x03abc\0\0\0\0\x02de";

    #[tokio::test]
    async fn messages_come_whole_however_they_are_cut() {
        for cut in 1..=TWO.len() {
            let mut messages = messages(TWO, cut);
            let mut all = Vec::new();
            while messages.next().await.expect("well-formed") {
                let len = messages.left;
                all.push(messages.take(len).await.expect("whole"));
            }
            assert_eq!(all, [&b"abc"[..], b"de"], "cut {cut}");
        }
    }

    #[tokio::test]
    async fn one_message_is_one() {
        async fn only(bytes: &[u8], cut: usize, max: usize) -> Result<Bytes, Status> {
            let mut messages = messages(bytes, cut);
            let len = messages.first(max).await?;
            messages.last(len).await
        }
        let one = &TWO[..8];
        assert_eq!(only(one, 3, 3).await.expect("one"), &b"abc"[..]);
        for (bytes, max, words) in [
            (&b""[..], 9, "no message"),
            (TWO, 9, "more than one"),
            (one, 2, "at most 2"),
            (&one[..7], 9, "middle"),
            (&one[..4], 9, "middle"),
        ] {
            let status = only(bytes, 2, max).await.expect_err(words);
            assert_eq!(status.code(), Code::InvalidArgument);
            assert!(status.message().contains(words), "{status}");
        }
        let compressed = b"\x01\0\0\0\x01x";
        let status = only(compressed, 9, 9).await.expect_err("compressed");
        assert_eq!(status.code(), Code::Unimplemented);
    }

    #[tokio::test]
    async fn fields_are_read_as_they_come() {
        // 1: "ab", 2: 300, 5: fixed32; then one that says it is longer than its message.
        let message = b"\0\0\0\0\x0c\x0a\x02ab\x10\xac\x02\x2d\x01\0\0\0";
        for cut in 1..message.len() {
            let mut messages = messages(message, cut);
            assert!(messages.next().await.expect("one"));
            assert_eq!(messages.field().await.expect("first"), Some((1, Field::Bytes(2))));
            assert_eq!(messages.take(2).await.expect("its bytes"), &b"ab"[..]);
            assert_eq!(messages.field().await.expect("second"), Some((2, Field::Varint(300))));
            assert_eq!(messages.field().await.expect("third"), Some((5, Field::Bytes(4))));
            messages.take(4).await.expect("its bytes");
            assert_eq!(messages.field().await.expect("the end"), None);
        }
        for bad in [
            &b"\0\0\0\0\x02\x0a\x05"[..],
            b"\0\0\0\0\x02\x0b\x00",
            b"\0\0\0\0\x02\x02\x00",
            b"\0\0\0\0\x01\xff",
        ] {
            let mut messages = messages(bad, 9);
            assert!(messages.next().await.expect("one"));
            assert_eq!(messages.field().await.expect_err("garbage").code(), Code::InvalidArgument);
        }
    }
}
