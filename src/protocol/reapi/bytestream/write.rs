//! `Write`: a blob as it comes, and on from where it was broken off.
//!
//! The data of a message is handed on in the frames in which it came. What a client calls the upload (its resource name,
//! whole) is what it goes on with: see [`crate::cache::PartialUpload`]. A blob that turns out to be here already, or comes to be
//! here meanwhile by somebody else, ends the call at once.

use bazel_remote_apis::google::bytestream as wire;
use bytes::Bytes;
use tonic::{Code, Status};

use super::committed;
use crate::cache::{Put, Resumed, Stream};
use crate::entry::{Attrs, Claim, Precondition};
use crate::error::Result as Done;
use crate::key::{Key, Scope};
use crate::protocol::Intent;
use crate::protocol::http::{Answer, Incoming};
use crate::protocol::reapi::capabilities::answer;
use crate::protocol::reapi::grpc::{Field, Messages, garbage};
use crate::protocol::reapi::requests::{Blob, Compressor};
use crate::protocol::reapi::resource::{NAME_BYTES_MAX, Resource};
use crate::protocol::reapi::zstd::Decoder;
use crate::protocol::reapi::{Core, Writing};

/// After so many bytes it is looked whether the blob has come by somebody else.
const LOOK_EVERY_BYTES: u64 = 1 << 20;

/// A call under way.
struct Writer<'a> {
    core: &'a Core,
    name: String,
    scope: Scope,
    blob: Blob,
    compressor: Compressor,
    /// Where the next message's data belongs.
    offset: u64,
    /// Bytes of the blob that are here, by all calls.
    received: u64,
    looked_at: u64,
    decoder: Option<Decoder>,
    sink: Sink,
}

enum Sink {
    /// It comes in one message, and is nothing to go on with.
    Put(Box<Put>),
    Stream(Stream),
    /// It failed because of us: the client sends on and is told that all is well.
    Lost,
    /// Over.
    None,
}

/// The fields of a message but its data.
#[derive(Default)]
struct Head {
    name: Option<String>,
    offset: u64,
    is_last: bool,
}

/// How a call goes on.
enum Next {
    More,
    Done,
}

impl Core {
    pub(in crate::protocol::reapi) async fn write<B: Incoming>(
        &self,
        mut messages: Messages<B>,
    ) -> Result<Answer, Status> {
        let written = self.take(&mut messages).await;
        self.stats.bytes_in.add(messages.taken());
        let committed_size = written?;
        self.stats.puts.one();
        Ok(answer(&wire::WriteResponse { committed_size }))
    }

    /// Takes a call's messages; what the answer says.
    async fn take<B: Incoming>(&self, messages: &mut Messages<B>) -> Result<i64, Status> {
        let mut writer = None;
        let taken = self.take_into(&mut writer, messages).await;
        let Some(mut writer) = writer else {
            return taken.and(Err(Status::invalid_argument("the call has no message")));
        };
        // A call that broke off is gone on with by another; one that was wrong is not.
        if taken.as_ref().is_err_and(|status| is_wrong(status.code())) {
            writer.forget();
        }
        taken.and_then(|()| writer.ended())
    }

    async fn take_into<'a, B: Incoming>(
        &'a self,
        writer: &mut Option<Writer<'a>>,
        messages: &mut Messages<B>,
    ) -> Result<(), Status> {
        while messages.next().await? {
            match message(self, writer, messages).await? {
                Next::More => {}
                Next::Done => return Ok(()),
            }
        }
        match writer {
            // It is all here, and some clients forget to say that it was.
            Some(writer) if writer.received == writer.blob.size => writer.commit().await,
            _ => Ok(()),
        }
    }
}

/// Whether a call that failed so would fail so again.
fn is_wrong(code: Code) -> bool {
    matches!(code, Code::InvalidArgument | Code::Unimplemented)
}

/// Takes one message; the data is not waited for. What is said of it (name, offset, whether it is the last) comes before it,
/// as every serializer writes it. Data of a call's first message that comes before the name is refused: it would have to
/// be held in memory by whoever sends it.
async fn message<'a, B: Incoming>(
    core: &'a Core,
    writer: &mut Option<Writer<'a>>,
    messages: &mut Messages<B>,
) -> Result<Next, Status> {
    let mut head = Head::default();
    let mut is_begun = false;
    while let Some((number, field)) = messages.field().await? {
        match (number, field) {
            (1, Field::Bytes(len)) => head.name = Some(name(messages, len).await?),
            (2, Field::Varint(offset)) => {
                head.offset = u64::try_from(offset as i64).map_err(|_| {
                    Status::invalid_argument(format!("write_offset {} is negative", offset as i64))
                })?;
            }
            (3, Field::Varint(flag)) => head.is_last = flag != 0,
            (10, Field::Bytes(mut left)) => {
                if !is_begun && begin(core, writer, &head).await? {
                    return Ok(Next::Done);
                }
                is_begun = true;
                let Some(writer) = writer else { return Err(garbage()) };
                while left > 0 {
                    let piece = messages.some(left).await?;
                    left -= piece.len();
                    writer.data(piece).await?;
                }
            }
            (_, Field::Bytes(mut left)) => {
                while left > 0 {
                    left -= messages.some(left).await?.len();
                }
            }
            (_, Field::Varint(_)) => {}
        }
    }
    if !is_begun && begin(core, writer, &head).await? {
        return Ok(Next::Done);
    }
    let Some(writer) = writer else { return Err(garbage()) };
    if head.is_last {
        writer.commit().await?;
        return Ok(Next::Done);
    }
    if writer.has_come().await? {
        return Ok(Next::Done);
    }
    Ok(Next::More)
}

/// A message begins, the call's first or a later one; `true` when there is nothing to be sent.
async fn begin<'a>(core: &'a Core, writer: &mut Option<Writer<'a>>, head: &Head) -> Result<bool, Status> {
    if let Some(writer) = writer {
        writer.goes_on(head)?;
        return Ok(false);
    }
    let name = head
        .name
        .clone()
        .ok_or_else(|| Status::invalid_argument("the first message has no resource_name before its data"))?;
    let begun = writer.insert(Writer::new(core, name)?);
    if begun.is_here().await? {
        return Ok(true);
    }
    begun.open(head).await?;
    Ok(false)
}

async fn name<B: Incoming>(messages: &mut Messages<B>, len: usize) -> Result<String, Status> {
    if len > NAME_BYTES_MAX {
        let words = format!("the resource_name has {len} bytes, at most {NAME_BYTES_MAX} are taken");
        return Err(Status::invalid_argument(words));
    }
    let bytes = messages.take(len).await?;
    String::from_utf8(bytes.to_vec()).map_err(|_| garbage())
}

impl<'a> Writer<'a> {
    fn new(core: &'a Core, name: String) -> Result<Self, Status> {
        let resource = Resource::to_write(&name)?;
        let scope = core.scope(resource.instance, 0)?;
        let blob = resource.blob(scope.policy.digest)?;
        let compressor = resource.compressor;
        Ok(Self {
            core,
            name,
            scope,
            blob,
            compressor,
            offset: 0,
            received: 0,
            looked_at: 0,
            decoder: None,
            sink: Sink::None,
        })
    }

    /// Whether the blob is here already: then there is nothing to be sent.
    async fn is_here(&mut self) -> Result<bool, Status> {
        let Some(len) = self.core.context.cache.known_len(&self.scope, self.blob.digest).await else {
            return Ok(false);
        };
        if len != self.blob.size {
            let words =
                format!("the blob {} has {len} bytes, not {}", self.blob.digest.hex(), self.blob.size);
            return Err(Status::invalid_argument(words));
        }
        self.received = len;
        self.forget();
        Ok(true)
    }

    /// Ends the upload: nothing of it is kept to go on with.
    fn forget(&mut self) {
        if let Sink::Stream(_) = std::mem::replace(&mut self.sink, Sink::None)
            && let Ok(upload) = self.core.context.cache.stage(&self.scope, &self.name)
        {
            upload.end();
        }
    }

    /// Somebody else may have been faster.
    async fn has_come(&mut self) -> Result<bool, Status> {
        if self.received - self.looked_at < LOOK_EVERY_BYTES {
            return Ok(false);
        }
        self.looked_at = self.received;
        self.is_here().await
    }

    /// The call's first message.
    async fn open(&mut self, head: &Head) -> Result<(), Status> {
        let (cache, key) = (&self.core.context.cache, Key::Content(self.blob.digest));
        let claim = Claim { len: Some(self.blob.size), digest: None };
        let (attrs, always) = (Attrs::default(), Precondition::None);
        let opened = if head.is_last && head.offset == 0 {
            cache.put(&self.scope, key, claim, attrs, always).await.map(|put| Sink::Put(Box::new(put)))
        } else {
            let upload = cache.stage(&self.scope, &self.name).map_err(|error| invalid(&error))?;
            match upload.resume(head.offset, key, claim, attrs, always).await {
                Ok(Resumed::Here(stream)) => Ok(Sink::Stream(stream)),
                Ok(Resumed::Busy) => {
                    return Err(Status::aborted(
                        "another call writes this upload; ask for its status and go on there",
                    ));
                }
                Ok(Resumed::At(received)) => {
                    let words = format!(
                        "write_offset is {}, and {received} bytes of this upload are here: ask for its status and go on there",
                        head.offset
                    );
                    return Err(Status::aborted(words));
                }
                Err(error) => Err(error),
            }
        };
        self.sink = match self.ours(opened)? {
            Some(sink) => sink,
            None => Sink::Lost,
        };
        (self.offset, self.received) = (head.offset, head.offset);
        if self.compressor == Compressor::Zstd {
            let rest = self.blob.size.saturating_sub(head.offset);
            self.decoder = Some(Decoder::new(rest, self.core.room.for_decoder())?);
        }
        Ok(())
    }

    /// A later message.
    fn goes_on(&self, head: &Head) -> Result<(), Status> {
        if head.name.as_ref().is_some_and(|name| !name.is_empty() && *name != self.name) {
            return Err(Status::invalid_argument("the resource_name changes within the call"));
        }
        if head.offset != self.offset {
            let words = format!("write_offset is {}, and {} bytes have come", head.offset, self.offset);
            return Err(Status::invalid_argument(words));
        }
        Ok(())
    }

    async fn data(&mut self, mut piece: Bytes) -> Result<(), Status> {
        self.offset += piece.len() as u64;
        let Some(mut decoder) = self.decoder.take() else { return self.keep(piece).await };
        loop {
            let decoded = decoder.step(&mut piece)?;
            if decoded.is_empty() {
                break;
            }
            self.keep(decoded).await?;
            tokio::task::consume_budget().await;
        }
        self.decoder = Some(decoder);
        Ok(())
    }

    async fn keep(&mut self, piece: Bytes) -> Result<(), Status> {
        self.received += piece.len() as u64;
        let kept = match &mut self.sink {
            Sink::Put(put) => put.write(piece).await,
            Sink::Stream(stream) => stream.write(piece).await,
            Sink::Lost | Sink::None => Ok(()),
        };
        if self.ours(kept)?.is_none() {
            self.sink = Sink::Lost;
        }
        Ok(())
    }

    async fn commit(&mut self) -> Result<(), Status> {
        if let Some(decoder) = &self.decoder {
            decoder.finish()?;
        }
        let done = match std::mem::replace(&mut self.sink, Sink::None) {
            Sink::Put(put) => put.commit().await.map(drop),
            Sink::Stream(stream) => stream.commit().await.map(drop),
            Sink::Lost | Sink::None => Ok(()),
        };
        self.ours(done).map(drop)
    }

    /// What the answer says of it.
    fn ended(self) -> Result<i64, Status> {
        match self.sink {
            Sink::None => Ok(committed(self.compressor, self.blob.size)),
            // The client may come back and go on.
            Sink::Put(_) | Sink::Stream(_) | Sink::Lost => {
                Ok(i64::try_from(self.received).unwrap_or(i64::MAX))
            }
        }
    }

    /// What of a failure is the client's to know. `None`: it is ours.
    fn ours<T>(&self, done: Done<T>) -> Result<Option<T>, Status> {
        let written: Writing<T> = done.map_err(|error| self.core.refuse(&error, Intent::Write));
        match written {
            Ok(done) => Ok(Some(done)),
            Err(None) => Ok(None),
            Err(Some(status)) => Err(status),
        }
    }
}

fn invalid(error: &crate::error::Error) -> Status {
    Status::new(Code::InvalidArgument, error.message().to_owned())
}
