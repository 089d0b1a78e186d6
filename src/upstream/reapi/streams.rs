//! Content that is streamed: `ByteStream`, compressed by zstd where the server offers that.
//!
//! ```text
//! read    [{instance}/]blobs/{hash}/{size}                 [{instance}/]compressed-blobs/zstd/{hash}/{size}
//! write   [{instance}/]uploads/{uuid}/blobs/{hash}/{size}, or with compressed-blobs/zstd
//! ```
//!
//! A read that breaks off is gone on with by who reads, from the offset that was reached. A write that breaks off is gone
//! on with here, once, from where the server says that it is; a compressed one begins anew when it is tried again, so that
//! long bodies are not compressed.

use std::ops::Range;

use bazel_remote_apis::google::bytestream as wire;
use bytes::Bytes;
use futures_util::{StreamExt as _, stream};
use prost::Message as _;
use tokio::sync::mpsc;
use tonic::codec::Streaming;

use super::super::{Failure, Fault, Signal, Source};
use super::calls::{Doing, Failed, Method, not_protobuf};
use super::messages::{Piece, Write};
use super::zstd::{Compressor, Decompressor};
use super::{Blob, Reapi};
use crate::body::Body;
use crate::error::{Error, Kind, Result};

const READ: Method = Method("/google.bytestream.ByteStream/Read");
const WRITE: Method = Method("/google.bytestream.ByteStream/Write");
const QUERY: Method = Method("/google.bytestream.ByteStream/QueryWriteStatus");

/// Bytes of one message of a write.
const PIECE_BYTES: usize = 256 << 10;

/// Longer bodies are written as they are: half of one is worth being gone on with.
const COMPRESSED_BYTES_MAX: u64 = 16 << 20;

/// Messages of a write that wait for the network.
const PIECES: usize = 2;

/// A body on its way here.
struct Receiving {
    stream: Streaming<Bytes>,
    /// The first message, which had to be there to know that there is a body.
    first: Option<Bytes>,
    /// Nothing, for a body that comes as it is.
    decompressor: Option<Decompressor>,
    left: u64,
}

// === reads ===

impl Reapi {
    /// These bytes of something; `None` if it isn't there.
    pub(super) async fn read_stream(&self, blob: Blob, range: Range<u64>) -> Result<Option<Body>, Fault> {
        let len = range.end - range.start;
        // Of a part, some servers have no compressed form.
        let zstd = range == (0..blob.len) && self.capabilities().await?.zstd;
        let limit = if range.end == blob.len { 0 } else { len };
        let request = wire::ReadRequest {
            resource_name: self.resource(blob, None, zstd),
            read_offset: int(range.start),
            read_limit: int(limit),
        };
        let begun = self.calls.server_streaming(READ, request.encode_to_vec().into()).await;
        let (first, stream) = match begun {
            Ok(begun) => begun,
            Err(failed) if failed.is_not_found() => return Ok(None),
            Err(failed) => return Err(self.calls.judge(failed, READ, Doing::Read)),
        };
        let decompressor = if zstd { Some(Decompressor::new().map_err(no_memory)?) } else { None };
        let receiving = Receiving { stream, first, decompressor, left: len };
        let pieces = stream::try_unfold(receiving, |mut receiving| async move {
            Ok(receiving.next().await?.map(|piece| (piece, receiving)))
        });
        Ok(Some(Body::stream(len, pieces)))
    }

    /// What `ByteStream` calls it.
    fn resource(&self, blob: Blob, upload: Option<&str>, zstd: bool) -> String {
        let mut name = String::new();
        if !self.instance.is_empty() {
            name.push_str(&self.instance);
            name.push('/');
        }
        if let Some(upload) = upload {
            name.push_str(&format!("uploads/{upload}/"));
        }
        let folder = if zstd { "compressed-blobs/zstd" } else { "blobs" };
        name.push_str(&format!("{folder}/{}/{}", blob.digest.hex(), blob.len));
        name
    }
}

impl Receiving {
    /// The next bytes, not empty; `None` once all have come.
    async fn next(&mut self) -> Result<Option<Bytes>> {
        loop {
            if let Some(decompressor) = &mut self.decompressor {
                let piece = decompressor.step().map_err(broken)?;
                if !piece.is_empty() {
                    return self.passed(piece).map(Some);
                }
            }
            let message = match self.first.take() {
                Some(message) => Some(message),
                None => self.stream.message().await.map_err(|status| broken(status.message()))?,
            };
            let Some(message) = message else {
                return match self.left {
                    0 => Ok(None),
                    left => Err(broken(format!("it ended {left} bytes before its end"))),
                };
            };
            let Piece { data } = Piece::decode(message).map_err(|_| broken("not a ReadResponse"))?;
            match &mut self.decompressor {
                Some(decompressor) => decompressor.feed(data),
                None if data.is_empty() => {}
                None => return self.passed(data).map(Some),
            }
        }
    }

    fn passed(&mut self, piece: Bytes) -> Result<Bytes> {
        let left = self.left.checked_sub(piece.len() as u64);
        self.left = left.ok_or_else(|| broken("more bytes came than were asked for"))?;
        Ok(piece)
    }
}

fn broken(why: impl AsRef<str>) -> Error {
    let why: String = why.as_ref().chars().filter(|c| !c.is_control()).take(200).collect();
    Error::new(Kind::Unavailable, format!("read from the upstream: {why}"))
}

fn no_memory(words: &'static str) -> Fault {
    Fault::state(Signal::Neutral, words)
}

// === writes ===

impl Reapi {
    /// Writes content of any length.
    pub(super) async fn write_stream(
        &self,
        blob: Blob,
        source: &dyn Source,
        zstd: bool,
    ) -> Result<(), Fault> {
        let zstd = zstd && blob.len <= COMPRESSED_BYTES_MAX;
        let name = self.resource(blob, Some(&uuid()?), zstd);
        let failed = match self.write_from(blob, source, &name, 0, zstd).await {
            Err(Sending::Call(failed)) if failed.is_broken_off() && !zstd => failed,
            done => return self.judge_write(blob, done, zstd),
        };
        let query = wire::QueryWriteStatusRequest { resource_name: name.clone() };
        let status: Result<wire::QueryWriteStatusResponse, Failed> = self.calls.unary(QUERY, &query).await;
        let reached = match status {
            Ok(status) if status.complete => return Ok(()),
            Ok(status) => u64::try_from(status.committed_size).ok(),
            Err(_) => None,
        };
        match reached.filter(|reached| *reached > 0 && *reached < blob.len) {
            Some(offset) => {
                let done = self.write_from(blob, source, &name, offset, false).await;
                self.judge_write(blob, done, false)
            }
            None => Err(self.calls.judge(failed, WRITE, Doing::Write)),
        }
    }

    /// One call of `Write`, which sends what begins at `offset`.
    async fn write_from(
        &self,
        blob: Blob,
        source: &dyn Source,
        name: &str,
        offset: u64,
        zstd: bool,
    ) -> Result<i64, Sending> {
        let (sender, receiver) = mpsc::channel::<Bytes>(PIECES);
        let requests =
            stream::unfold(receiver, |mut receiver| async move { Some((receiver.recv().await?, receiver)) });
        let call = self.calls.client_streaming(WRITE, requests);
        let mut call = std::pin::pin!(call);
        let fed = tokio::select! {
            // Somebody else has written it, or it was refused: the rest need not be sent.
            biased;
            answer = &mut call => return committed(answer),
            fed = self.feed(source, offset..blob.len, name, zstd, sender) => fed,
        };
        fed?;
        let answer = tokio::time::timeout(self.stall, call).await;
        committed(answer.unwrap_or_else(|_| Err(self.calls.late(WRITE))))
    }

    async fn feed(
        &self,
        source: &dyn Source,
        range: Range<u64>,
        name: &str,
        zstd: bool,
        sender: mpsc::Sender<Bytes>,
    ) -> Result<(), Sending> {
        let mut messages = Messages { name: name.to_owned(), at: range.start };
        let mut compressor = match zstd {
            true => Some(Compressor::new().map_err(|words| Sending::Call(no_memory(words).into()))?),
            false => None,
        };
        let mut body = source.open(range).await.map_err(Sending::Source)?;
        while let Some(piece) = body.next().await {
            let mut piece = piece.map_err(Sending::Source)?;
            while !piece.is_empty() {
                let part = piece.split_to(piece.len().min(PIECE_BYTES));
                let part = match &mut compressor {
                    Some(compressor) => compressor.step(&part).map_err(no_zstd)?,
                    None => part,
                };
                if !part.is_empty() {
                    self.push(&sender, messages.next(part, false)).await?;
                }
            }
        }
        let last = match compressor {
            Some(compressor) => compressor.finish().map_err(no_zstd)?,
            None => Bytes::new(),
        };
        self.push(&sender, messages.next(last, true)).await
    }

    async fn push(&self, sender: &mpsc::Sender<Bytes>, message: Bytes) -> Result<(), Sending> {
        match tokio::time::timeout(self.stall, sender.send(message)).await {
            Ok(Ok(())) => Ok(()),
            // The call has ended, and says why.
            Ok(Err(_)) => std::future::pending().await,
            Err(_) => {
                let words = format!("no byte of a body was taken for {} s", self.stall.as_secs());
                Err(Sending::Call(Fault::state(Signal::Deadline, words).into()))
            }
        }
    }

    fn judge_write(&self, blob: Blob, done: Result<i64, Sending>, zstd: bool) -> Result<(), Fault> {
        match done {
            Ok(committed) if is_whole(committed, blob.len, zstd) => Ok(()),
            Ok(committed) => Err(Fault::state(
                Signal::Fault,
                format!("Write: {committed} bytes are said to be written of {}", blob.len),
            )),
            Err(Sending::Source(error)) => Err(Failure::Source(error).into()),
            Err(Sending::Call(failed)) if failed.is_already_there() => Ok(()),
            Err(Sending::Call(failed)) => Err(self.calls.judge(failed, WRITE, Doing::Write)),
        }
    }
}

/// Why a write has ended.
enum Sending {
    /// The server, or the way there.
    Call(Failed),
    /// What was to be sent can't be read.
    Source(Error),
}

/// Makes the messages of a write.
struct Messages {
    /// In the first one only: taken.
    name: String,
    at: u64,
}

impl Messages {
    fn next(&mut self, data: Bytes, finish_write: bool) -> Bytes {
        let write_offset = int(self.at);
        self.at += data.len() as u64;
        let resource_name = std::mem::take(&mut self.name);
        Write { resource_name, write_offset, finish_write, data }.encode_to_vec().into()
    }
}

fn committed(answer: Result<Bytes, Failed>) -> Result<i64, Sending> {
    let answer = answer.map_err(Sending::Call)?;
    match wire::WriteResponse::decode(answer) {
        Ok(response) => Ok(response.committed_size),
        Err(_) => Err(Sending::Call(not_protobuf(WRITE).into())),
    }
}

/// Whether so many bytes, as the server counts them, are all. Of what is compressed it counts what was sent, which may be
/// more than was packed, or says -1 where somebody else has written it; and so Bazel takes it.
fn is_whole(committed: i64, len: u64, zstd: bool) -> bool {
    match zstd {
        true => committed != 0 && committed >= -1,
        false => committed == int(len),
    }
}

fn no_zstd(words: &'static str) -> Sending {
    Sending::Call(no_memory(words).into())
}

/// Of a length; longer ones than the API can say are refused by everybody.
fn int(number: u64) -> i64 {
    i64::try_from(number).unwrap_or(i64::MAX)
}

/// A name for one upload, of version 4.
fn uuid() -> Result<String, Fault> {
    let mut random = [0; 16];
    getrandom::fill(&mut random).map_err(|error| {
        Fault::state(Signal::Neutral, format!("ask the kernel for random bytes: {error}"))
    })?;
    random[6] = random[6] & 0x0f | 0x40;
    random[8] = random[8] & 0x3f | 0x80;
    let hex = crate::digest::hex(&random);
    let parts = [&hex[..8], &hex[8..12], &hex[12..16], &hex[16..20], &hex[20..]];
    Ok(parts.join("-"))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn an_upload_has_a_name_of_its_own() {
        let name = uuid().expect("random");
        let lens: Vec<usize> = name.split('-').map(str::len).collect();
        assert_eq!(lens, [8, 4, 4, 4, 12], "{name}");
        assert_ne!(name, uuid().expect("random"));
    }

    #[test]
    fn a_write_that_the_server_has_in_part_is_none() {
        for (committed, zstd, whole) in [
            (5, false, true),
            (4, false, false),
            (0, false, false),
            (-1, false, false),
            (6, false, false),
            // Packed, five bytes are eighteen.
            (18, true, true),
            (-1, true, true),
            (5, true, true),
            (0, true, false),
            (-2, true, false),
        ] {
            assert_eq!(is_whole(committed, 5, zstd), whole, "{committed} {zstd}");
        }
    }

    #[test]
    fn only_the_first_message_is_named_and_offsets_grow() {
        let mut messages = Messages { name: "n".into(), at: 5 };
        let first = Write::decode(messages.next(Bytes::from_static(b"abc"), false)).expect("a message");
        let last = Write::decode(messages.next(Bytes::new(), true)).expect("a message");
        assert_eq!((&*first.resource_name, first.write_offset, first.finish_write), ("n", 5, false));
        assert_eq!((&*last.resource_name, last.write_offset, last.finish_write), ("", 8, true));
    }
}
