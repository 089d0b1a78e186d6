//! `ContentAddressableStorage`: many small blobs in one call.

use bytes::{BufMut as _, Bytes, BytesMut};
use futures_util::StreamExt as _;
use prost::encoding::encoded_len_varint;
use tokio::time::{Instant, timeout_at};
use tonic::Status;

use super::grpc::{Messages, message, unary};
use super::requests::{Blob, BlobList, Compressor, Update, Updates};
use super::zstd;
use super::{BATCH_BYTES_MAX, Core, Writing};
use crate::entry::{Attrs, ByteRange, Claim, Precondition, Tier};
use crate::key::{Key, Scope};
use crate::protocol::Intent;
use crate::protocol::http::{Answer, Incoming};

/// So many blobs of a batch are read or written at a time.
const AT_ONCE: usize = 64;

/// Shorter blobs are sent as they are: a frame of zstd has ten bytes of its own.
const COMPRESSED_FROM_BYTES: u64 = 128;

impl Core {
    pub(super) async fn find_missing_blobs<B: Incoming>(
        &self,
        messages: Messages<B>,
    ) -> Result<Answer, Status> {
        let (request, _share) = self.large(messages).await?;
        let mut list = BlobList::find_missing(&request)?;
        let scope = self.scope(&list.instance, list.function)?;
        list.of(scope.policy.digest)?;
        let digests: Vec<_> = list.blobs.iter().map(|blob| blob.digest).collect();
        let missing = self.context.cache.missing(&scope, &digests).await;
        let mut response = BytesMut::with_capacity(missing.len() * 80);
        for at in missing {
            put_digest(&mut response, 2, &list.blobs[at]);
        }
        Ok(unary(message([response.freeze()]), None))
    }

    pub(super) async fn batch_update_blobs<B: Incoming>(
        &self,
        messages: Messages<B>,
    ) -> Result<Answer, Status> {
        let (request, _share) = self.large(messages).await?;
        let updates = Updates::parse(&request)?;
        let scope = self.scope(&updates.instance, updates.function)?;
        let mut blobs = updates.blobs;
        for update in &mut blobs {
            update.blob = update.blob.of(scope.policy.digest)?;
        }
        check_batch(blobs.iter().map(|update| update.data.len() as u64))?;
        let mut writes = Vec::with_capacity(blobs.len());
        for update in &blobs {
            writes.push(self.update(&scope, update));
        }
        let statuses = all(writes).await;
        let mut response = BytesMut::with_capacity(blobs.len() * 80);
        for (update, status) in blobs.iter().zip(&statuses) {
            let mut one = BytesMut::with_capacity(80);
            put_digest(&mut one, 1, &update.blob);
            put_status(&mut one, 2, status.as_ref().err());
            put_bytes_head(&mut response, 1, one.len());
            response.extend_from_slice(&one);
        }
        Ok(unary(message([response.freeze()]), None))
    }

    async fn update(&self, scope: &Scope, update: &Update) -> Result<(), Status> {
        match self.store(scope, update).await {
            Ok(()) | Err(None) => {
                self.stats.puts.one();
                Ok(())
            }
            Err(Some(status)) => {
                self.stats.refused.one();
                Err(status)
            }
        }
    }

    async fn store(&self, scope: &Scope, update: &Update) -> Writing<()> {
        let Update { blob, data, compressor } = update;
        let claim = Claim { len: Some(blob.size), digest: None };
        let key = Key::Content(blob.digest);
        let put = self.context.cache.put(scope, key, claim, Attrs::default(), Precondition::None).await;
        let mut put = put.map_err(|error| self.refuse(&error, Intent::Write))?;
        match compressor {
            Compressor::Identity => {
                put.write(data.clone()).await.map_err(|error| self.refuse(&error, Intent::Write))?;
            }
            Compressor::Zstd => {
                let mut decoder = zstd::Decoder::new(blob.size, self.room.for_decoder())?;
                let mut data = data.clone();
                loop {
                    let piece = decoder.step(&mut data)?;
                    if piece.is_empty() {
                        break;
                    }
                    put.write(piece).await.map_err(|error| self.refuse(&error, Intent::Write))?;
                    tokio::task::consume_budget().await;
                }
                decoder.finish()?;
            }
        }
        put.commit().await.map_err(|error| self.refuse(&error, Intent::Write))?;
        Ok(())
    }

    pub(super) async fn batch_read_blobs<B: Incoming>(
        &self,
        messages: Messages<B>,
    ) -> Result<Answer, Status> {
        let (request, _share) = self.large(messages).await?;
        let mut list = BlobList::batch_read(&request)?;
        let scope = self.scope(&list.instance, list.function)?;
        list.of(scope.policy.digest)?;
        check_batch(list.blobs.iter().map(|blob| blob.size))?;
        let deadline = Instant::now() + self.context.cache.settings().first_byte;
        let mut reads = Vec::with_capacity(list.blobs.len());
        for blob in &list.blobs {
            reads.push(self.read_whole(&scope, blob, list.takes_zstd, deadline));
        }
        let found = all(reads).await;
        let mut pieces = Vec::with_capacity(2 * found.len());
        let mut tier = None;
        for (blob, found) in list.blobs.iter().zip(found) {
            let mut digest = BytesMut::with_capacity(80);
            put_digest(&mut digest, 1, blob);
            let mut tail = BytesMut::with_capacity(16);
            let data = match found {
                Ok(Whole { data, compressor, from }) => {
                    tier.get_or_insert(from);
                    if compressor == Compressor::Zstd {
                        tail.put_slice(&[4 << 3, 1]);
                    }
                    put_status(&mut tail, 3, None);
                    data
                }
                Err(status) => {
                    put_status(&mut tail, 3, Some(&status));
                    Bytes::new()
                }
            };
            let data_head = if data.is_empty() { 0 } else { 1 + encoded_len_varint(data.len() as u64) };
            let len = digest.len() + data_head + data.len() + tail.len();
            let mut head = BytesMut::with_capacity(100);
            put_bytes_head(&mut head, 1, len);
            head.extend_from_slice(&digest);
            if !data.is_empty() {
                put_bytes_head(&mut head, 2, data.len());
            }
            pieces.extend([head.freeze(), data, tail.freeze()]);
        }
        Ok(unary(message(pieces), tier))
    }

    /// A blob that is needed whole, within the deadline.
    async fn read_whole(
        &self,
        scope: &Scope,
        blob: &Blob,
        takes_zstd: bool,
        deadline: Instant,
    ) -> Result<Whole, Status> {
        let takes_zstd = takes_zstd && blob.size >= COMPRESSED_FROM_BYTES;
        if takes_zstd && let Some(data) = self.context.cache.form(scope, blob.digest, zstd::FORM) {
            self.stats.hit(Tier::Memory);
            self.stats.bytes_out.add(data.len() as u64);
            return Ok(Whole { data, compressor: Compressor::Zstd, from: Tier::Memory });
        }
        let (data, from) = self.collect(scope, blob, deadline).await.ok_or_else(|| {
            self.stats.misses.one();
            Status::not_found("not in the cache")
        })?;
        self.stats.hit(from);
        let compressed = if takes_zstd { self.compressed(scope, blob, &data).await } else { None };
        let (data, compressor) = match compressed {
            Some(compressed) => (compressed, Compressor::Zstd),
            None => (data, Compressor::Identity),
        };
        self.stats.bytes_out.add(data.len() as u64);
        Ok(Whole { data, compressor, from })
    }

    /// The bytes of a blob, if they can be had before the deadline and are as many as was said.
    pub(super) async fn collect(
        &self,
        scope: &Scope,
        blob: &Blob,
        deadline: Instant,
    ) -> Option<(Bytes, Tier)> {
        let key = Key::Content(blob.digest);
        self.context.cache.expect(scope, blob.digest, blob.size);
        let got = timeout_at(deadline, self.context.cache.get(scope, &key, ByteRange::Full)).await;
        let hit = got.ok()?.ok()??;
        if hit.meta.len != blob.size {
            return None;
        }
        let from = hit.from;
        let bytes = hit.body.collect(blob.size).await;
        Some((bytes.inspect_err(|error| tracing::warn!(%error, "a blob broke off")).ok()?, from))
    }

    /// The zstd form of a blob, made now and kept; `None` for what memory would not hold.
    pub(super) async fn compressed(&self, scope: &Scope, blob: &Blob, data: &Bytes) -> Option<Bytes> {
        let cache = &self.context.cache;
        if !cache.keeps_in_memory(blob.size) {
            return None;
        }
        let compressed = zstd::compress(data)?;
        cache.keep_form(scope, blob.digest, zstd::FORM, compressed.clone());
        tokio::task::consume_budget().await;
        Some(compressed)
    }
}

/// A blob with all its bytes.
struct Whole {
    data: Bytes,
    compressor: Compressor,
    from: Tier,
}

/// What these come to, in their order, some of them at a time.
pub(super) async fn all<F: Future>(futures: Vec<F>) -> Vec<F::Output> {
    futures_util::stream::iter(futures).buffered(AT_ONCE).collect().await
}

/// A whole batch is refused before any of it is stored.
fn check_batch(sizes: impl Iterator<Item = u64>) -> Result<(), Status> {
    let sum = sizes.fold(0, u64::saturating_add);
    if sum > BATCH_BYTES_MAX {
        let words = format!("the blobs of the batch have {sum} bytes, at most {BATCH_BYTES_MAX} are taken");
        return Err(Status::invalid_argument(words));
    }
    Ok(())
}

// === responses ===

/// A `Digest` in a field of this number.
fn put_digest(to: &mut BytesMut, number: u8, blob: &Blob) {
    let mut hex = [0; 64];
    for (pair, byte) in hex.chunks_exact_mut(2).zip(blob.digest.hash()) {
        pair.copy_from_slice(&[HEX[usize::from(byte >> 4)], HEX[usize::from(byte & 15)]]);
    }
    let size_len = if blob.size == 0 { 0 } else { 1 + encoded_len_varint(blob.size) };
    put_bytes_head(to, number, 2 + hex.len() + size_len);
    put_bytes_head(to, 1, hex.len());
    to.put_slice(&hex);
    if blob.size > 0 {
        to.put_u8(2 << 3);
        prost::encoding::encode_varint(blob.size, to);
    }
}

/// A `google.rpc.Status` in a field of this number. Always there: without one Pants takes the blob for failed.
fn put_status(to: &mut BytesMut, number: u8, status: Option<&Status>) {
    let Some(status) = status else { return put_bytes_head(to, number, 0) };
    let words = status.message();
    put_bytes_head(to, number, 2 + 1 + encoded_len_varint(words.len() as u64) + words.len());
    to.put_slice(&[1 << 3, status.code() as u8]);
    put_bytes_head(to, 2, words.len());
    to.put_slice(words.as_bytes());
}

/// What comes before the bytes of a field.
pub(super) fn put_bytes_head(to: &mut BytesMut, number: u8, len: usize) {
    to.put_u8(number << 3 | 2);
    prost::encoding::encode_varint(len as u64, to);
}

const HEX: &[u8; 16] = b"0123456789abcdef";

#[cfg(test)]
mod tests {
    use super::*;
    use crate::digest::{Digest, Function};
    use bazel_remote_apis::build::bazel::remote::execution::v2 as wire;
    use prost::Message as _;

    #[test]
    fn responses_are_what_the_library_reads() {
        let blob = Blob { digest: Digest::of(Function::Sha256, b"larder"), size: 300 };
        let empty = Blob { digest: Digest::of(Function::Sha256, b""), size: 0 };
        let mut response = BytesMut::new();
        put_digest(&mut response, 2, &blob);
        put_digest(&mut response, 2, &empty);
        let read = wire::FindMissingBlobsResponse::decode(response.freeze()).expect("a response");
        let named = |blob: &Blob| wire::Digest { hash: blob.digest.hex(), size_bytes: blob.size as i64 };
        assert_eq!(read.missing_blob_digests, [named(&blob), named(&empty)]);

        let words = "not here, ".repeat(30);
        let mut one = BytesMut::new();
        put_digest(&mut one, 1, &blob);
        put_status(&mut one, 2, Some(&Status::not_found(words.clone())));
        let mut response = BytesMut::new();
        put_bytes_head(&mut response, 1, one.len());
        response.extend_from_slice(&one);
        let read = wire::BatchUpdateBlobsResponse::decode(response.freeze()).expect("a response");
        let status = read.responses[0].status.as_ref().expect("a status");
        assert_eq!((status.code, &status.message), (5, &words));
    }
}
