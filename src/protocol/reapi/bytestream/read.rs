//! `Read`: each piece that memory or disk gives is a message.

use std::pin::Pin;
use std::task::{Context, Poll, ready};

use bazel_remote_apis::google::bytestream as wire;
use bytes::{Bytes, BytesMut};
use futures_util::Stream;
use tonic::Status;

use crate::body::Body;
use crate::entry::{ByteRange, Hit, Tier};
use crate::key::{Key, Scope};
use crate::protocol::http::{Answer, Incoming};
use crate::protocol::reapi::cas::put_bytes_head;
use crate::protocol::reapi::grpc::{Frames, Messages, message, stream, unary};
use crate::protocol::reapi::requests::{Blob, Compressor};
use crate::protocol::reapi::resource::Resource;
use crate::protocol::reapi::zstd::{self, Framer};
use crate::protocol::reapi::{Core, small};

/// Below what every client takes in one message.
const CHUNK_BYTES_MAX: usize = 1 << 20;

impl Core {
    pub(in crate::protocol::reapi) async fn read<B: Incoming>(
        &self,
        messages: Messages<B>,
    ) -> Result<Answer, Status> {
        let request: wire::ReadRequest = small(messages).await?;
        let resource = Resource::to_read(&request.resource_name)?;
        let scope = self.scope(resource.instance, 0)?;
        let blob = resource.blob(scope.policy.digest)?;
        let offset = not_negative(request.read_offset, "read_offset")?;
        let limit = not_negative(request.read_limit, "read_limit")?;
        if offset > blob.size {
            let words = format!("read_offset {offset} is past the {} bytes of the blob", blob.size);
            return Err(Status::out_of_range(words));
        }
        match resource.compressor {
            Compressor::Identity => self.read_identity(&scope, &blob, offset, limit).await,
            Compressor::Zstd if limit == 0 => self.read_zstd(&scope, &blob, offset).await,
            Compressor::Zstd => {
                Err(Status::invalid_argument("a compressed blob can't be read with a read_limit"))
            }
        }
    }

    async fn read_identity(
        &self,
        scope: &Scope,
        blob: &Blob,
        offset: u64,
        limit: u64,
    ) -> Result<Answer, Status> {
        let range = match limit {
            // All of it can be checked as it passes, on whatever way it comes.
            _ if offset == 0 && (limit == 0 || limit >= blob.size) => ByteRange::Full,
            0 => ByteRange::From(offset),
            limit => ByteRange::Span(offset, offset.saturating_add(limit - 1)),
        };
        let hit = self.found(scope, blob, offset, range).await?;
        Ok(answer(hit, None))
    }

    async fn read_zstd(&self, scope: &Scope, blob: &Blob, offset: u64) -> Result<Answer, Status> {
        let cache = &self.context.cache;
        if offset == 0 && cache.keeps_in_memory(blob.size) {
            if let Some(data) = cache.form(scope, blob.digest, zstd::FORM) {
                self.stats.hit(Tier::Memory);
                return Ok(self.whole(data, Tier::Memory));
            }
            let hit = self.found(scope, blob, 0, ByteRange::Full).await?;
            let from = hit.from;
            let data = hit.body.collect(blob.size).await.map_err(|error| broken(&error))?;
            if let Some(compressed) = self.compressed(scope, blob, &data).await {
                return Ok(self.whole(compressed, from));
            }
            return Ok(answer(
                Hit { body: Body::bytes(data), meta: hit.meta, range: hit.range, from },
                Some(Framer::new(blob.size)),
            ));
        }
        let range = if offset == 0 { ByteRange::Full } else { ByteRange::From(offset) };
        let hit = self.found(scope, blob, offset, range).await?;
        Ok(answer(hit, Some(Framer::new(blob.size - offset))))
    }

    /// The blob from this offset on, if it is here, and as long as was said.
    async fn found(&self, scope: &Scope, blob: &Blob, offset: u64, range: ByteRange) -> Result<Hit, Status> {
        let absent = || Status::not_found("not in the cache");
        let key = Key::Content(blob.digest);
        let cache = &self.context.cache;
        let hit = if offset == blob.size {
            // Of no byte there is a range.
            let (meta, from) = cache.head(scope, &key).await.ok().flatten().ok_or_else(absent)?;
            Hit { meta, range: offset..offset, body: Body::empty(), from }
        } else {
            let hit = match cache.get_now(scope, &key) {
                Some(hit) if range == ByteRange::Full => Some(hit),
                _ => {
                    cache.expect(scope, blob.digest, blob.size);
                    cache.get(scope, &key, range).await.ok().flatten()
                }
            };
            hit.ok_or_else(absent)?
        };
        if hit.meta.len != blob.size {
            return Err(absent());
        }
        self.stats.hit(hit.from);
        self.stats.bytes_out.add(hit.body.len());
        Ok(hit)
    }

    /// What is compressed already.
    fn whole(&self, data: Bytes, from: Tier) -> Answer {
        self.stats.bytes_out.add(data.len() as u64);
        stream(
            Chunks { body: Body::bytes(data), rest: Bytes::new(), framer: None, is_begun: true },
            Some(from),
        )
    }
}

fn answer(hit: Hit, framer: Option<Framer>) -> Answer {
    let from = Some(hit.from);
    if let (None, Some(bytes)) = (&framer, hit.body.as_bytes())
        && bytes.len() <= CHUNK_BYTES_MAX
        && !bytes.is_empty()
    {
        return unary(chunk([bytes.clone()], bytes.len()), from);
    }
    stream(Chunks { body: hit.body, rest: Bytes::new(), framer, is_begun: false }, from)
}

/// A `ReadResponse` whose data is these pieces.
fn chunk(pieces: impl IntoIterator<Item = Bytes>, len: usize) -> Frames {
    let mut head = BytesMut::with_capacity(8);
    put_bytes_head(&mut head, 10, len);
    message([head.freeze()].into_iter().chain(pieces))
}

/// A body as messages.
struct Chunks {
    body: Body,
    /// Of a piece that is too long for one message.
    rest: Bytes,
    framer: Option<Framer>,
    is_begun: bool,
}

impl Stream for Chunks {
    type Item = Result<Frames, Status>;

    fn poll_next(mut self: Pin<&mut Self>, cx: &mut Context<'_>) -> Poll<Option<Self::Item>> {
        let this = &mut *self;
        if this.rest.is_empty() {
            match ready!(Pin::new(&mut this.body).poll_next(cx)) {
                Some(Ok(piece)) => this.rest = piece,
                Some(Err(error)) => return Poll::Ready(Some(Err(broken(&error)))),
                // Of nothing, too, there is a frame.
                None if this.framer.is_some() && !this.is_begun => {}
                None => return Poll::Ready(None),
            }
        }
        this.is_begun = true;
        let piece = this.rest.split_to(this.rest.len().min(CHUNK_BYTES_MAX));
        let frames = match &mut this.framer {
            None => {
                let len = piece.len();
                chunk([piece], len)
            }
            Some(framer) => {
                let pieces = framer.frame(piece);
                let len = pieces.iter().map(Bytes::len).sum();
                chunk(pieces, len)
            }
        };
        Poll::Ready(Some(Ok(frames)))
    }
}

/// Clients read on from where they are.
fn broken(error: &crate::error::Error) -> Status {
    tracing::warn!(%error, "a read can't be completed");
    Status::aborted("the blob broke off; read on from the offset that was reached")
}

fn not_negative(number: i64, name: &str) -> Result<u64, Status> {
    u64::try_from(number).map_err(|_| Status::invalid_argument(format!("{name} {number} is negative")))
}
