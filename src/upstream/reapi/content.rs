//! Content: whether it is there, and what is small. The rest is in [`super::streams`].

use std::collections::{HashMap, HashSet};

use bazel_remote_apis::build::bazel::remote::execution::v2 as wire;
use bytes::Bytes;
use futures_util::future::join_all;
use prost::Message as _;
use tonic::{Code, Status};

use super::super::{Failure, Fault, Signal, Source};
use super::calls::{Doing, Failed, Method, not_protobuf};
use super::capabilities::{Capabilities, DIGEST_BYTES};
use super::messages::{AS_IT_IS, Reads, SHA256, Update, Updated, Updates, Verdict, ZSTD};
use super::{Blob, Reapi, zstd};

const FIND_MISSING: Method =
    Method("/build.bazel.remote.execution.v2.ContentAddressableStorage/FindMissingBlobs");
const BATCH_READ: Method =
    Method("/build.bazel.remote.execution.v2.ContentAddressableStorage/BatchReadBlobs");
const BATCH_UPDATE: Method =
    Method("/build.bazel.remote.execution.v2.ContentAddressableStorage/BatchUpdateBlobs");

/// Longer bodies are streamed. Some thirty of this length are a batch.
pub(super) const SMALL_BYTES_MAX: u64 = 128 << 10;

/// A batch of questions is as long as this many bytes of digests.
const FIND_BYTES_MAX: u64 = 1 << 20;

impl Reapi {
    /// Whether it is there: asked together with what others ask at this moment.
    pub(super) async fn is_there(&self, blob: Blob) -> Result<bool, Fault> {
        self.batches.finds.ask(self, blob, (), |this| async move { this.send_finds().await }).await
    }

    async fn send_finds(&self) {
        if let Err(fault) = self.capabilities().await {
            return self.batches.finds.fail(&fault);
        }
        let parts = self.batches.finds.take(FIND_BYTES_MAX, |_| DIGEST_BYTES);
        join_all(parts.into_iter().map(async |part| {
            let blobs: Vec<Blob> = part.iter().map(|asker| asker.blob).collect();
            let missing = self.find_missing(&blobs).await;
            for asker in part {
                let there = missing.as_ref().map(|missing| !missing.contains(&asker.blob.digest.hex()));
                asker.answer(there.map_err(Fault::clone));
            }
        }))
        .await;
    }

    /// The hashes of those that are not there.
    pub(super) async fn find_missing(&self, blobs: &[Blob]) -> Result<HashSet<String>, Fault> {
        let request = wire::FindMissingBlobsRequest {
            instance_name: self.instance.clone(),
            blob_digests: blobs.iter().map(|blob| blob.wire()).collect(),
            digest_function: SHA256,
        };
        let answer = self.calls.unary(FIND_MISSING, &request).await;
        let answer: wire::FindMissingBlobsResponse =
            answer.map_err(|failed| self.calls.judge(failed, FIND_MISSING, Doing::Read))?;
        Ok(answer.missing_blob_digests.into_iter().map(|digest| digest.hash).collect())
    }

    /// The bytes of something small; `None` if it isn't there.
    pub(super) async fn read_small(&self, blob: Blob) -> Result<Option<Bytes>, Fault> {
        if blob.len == 0 {
            return Ok(Some(Bytes::new()));
        }
        self.batches.reads.ask(self, blob, (), |this| async move { this.send_reads().await }).await
    }

    async fn send_reads(&self) {
        let reads = &self.batches.reads;
        let max = match self.capabilities().await {
            Ok(capabilities) => capabilities.batch_bytes,
            Err(fault) => return reads.fail(&fault),
        };
        let unanswered =
            || Err(Fault::state(Signal::Fault, "BatchReadBlobs: no answer for one of the blobs"));
        let parts = reads.take(max, |asker| asker.blob.len + DIGEST_BYTES);
        join_all(parts.into_iter().map(async |part| {
            // One blob may be asked for twice.
            let blobs: HashSet<Blob> = part.iter().map(|asker| asker.blob).collect();
            let found = self.batch_read(blobs).await;
            for asker in part {
                let answer = match &found {
                    Ok(found) => found.get(&asker.blob.digest.hex()).cloned().unwrap_or_else(unanswered),
                    Err(fault) => Err(fault.clone()),
                };
                asker.answer(answer);
            }
        }))
        .await;
    }

    async fn batch_read(
        &self,
        blobs: HashSet<Blob>,
    ) -> Result<HashMap<String, Result<Option<Bytes>, Fault>>, Fault> {
        let Capabilities { zstd_batches, .. } = self.capabilities().await?;
        let request = wire::BatchReadBlobsRequest {
            instance_name: self.instance.clone(),
            digests: blobs.iter().map(|blob| blob.wire()).collect(),
            digest_function: SHA256,
            acceptable_compressors: if zstd_batches { vec![AS_IT_IS, ZSTD] } else { Vec::new() },
        };
        let answer = self.calls.unary(BATCH_READ, &request).await;
        let answer: Reads = answer.map_err(|failed| self.calls.judge(failed, BATCH_READ, Doing::Read))?;
        let lens: HashMap<String, u64> = blobs.iter().map(|blob| (blob.digest.hex(), blob.len)).collect();
        let mut found = HashMap::new();
        for read in answer.blobs {
            let Some(digest) = read.digest else { return Err(not_protobuf(BATCH_READ)) };
            let len = lens.get(&digest.hash).copied();
            let bytes = match status(read.status) {
                Ok(()) => opened(read.data, read.compressor, len).map(Some),
                Err(failed) if failed.is_not_found() => Ok(None),
                Err(failed) => Err(self.calls.judge(failed, BATCH_READ, Doing::Read)),
            };
            found.insert(digest.hash, bytes);
        }
        Ok(found)
    }

    /// Writes content that is read again from `source`.
    pub(super) async fn write_content(&self, blob: Blob, source: &dyn Source) -> Result<(), Fault> {
        if blob.len <= SMALL_BYTES_MAX {
            let body = source.open(0..blob.len).await.map_err(Failure::Source)?;
            let bytes = body.collect(blob.len).await.map_err(Failure::Source)?;
            return self.write_small(blob, bytes).await;
        }
        let Capabilities { blob_bytes_max, zstd, .. } = self.capabilities().await?;
        if let Some(max) = blob_bytes_max.filter(|max| blob.len > *max) {
            let words = format!("the cache takes no content over {max} bytes");
            return Err(Failure::Refused(words).into());
        }
        // Most of what is written is there already: somebody else has built the same.
        if self.is_there(blob).await? {
            return Ok(());
        }
        self.write_stream(blob, source, zstd).await
    }

    /// Writes something small, together with what others write at this moment.
    pub(super) async fn write_small(&self, blob: Blob, bytes: Bytes) -> Result<(), Fault> {
        if blob.len == 0 {
            return Ok(());
        }
        self.batches.updates.ask(self, blob, bytes, |this| async move { this.send_updates().await }).await
    }

    async fn send_updates(&self) {
        let updates = &self.batches.updates;
        let max = match self.capabilities().await {
            Ok(capabilities) => capabilities.batch_bytes,
            Err(fault) => return updates.fail(&fault),
        };
        let parts = updates.take(max, |asker| asker.blob.len + DIGEST_BYTES);
        join_all(parts.into_iter().map(async |part| {
            let blobs = part.iter().map(|asker| (asker.blob, asker.said.clone())).collect();
            let done = self.update(blobs).await;
            for (at, asker) in part.into_iter().enumerate() {
                asker.answer(match &done {
                    Ok(done) => done.get(at).cloned().unwrap_or_else(|| Err(not_protobuf(BATCH_UPDATE))),
                    Err(fault) => Err(fault.clone()),
                });
            }
        }))
        .await;
    }

    /// Writes all of these in one call; how each of them went, in their order.
    pub(super) async fn update(&self, blobs: Vec<(Blob, Bytes)>) -> Result<Vec<Result<(), Fault>>, Fault> {
        let hashes: Vec<String> = blobs.iter().map(|(blob, _)| blob.digest.hex()).collect();
        let each = blobs.clone();
        let zstd = self.capabilities().await?.zstd_batches;
        let update = |(blob, bytes): (Blob, Bytes)| {
            // Not everything gets smaller.
            let packed = zstd.then(|| zstd::packed(&bytes)).flatten();
            let (data, compressor) = packed.map_or((bytes, AS_IT_IS), |packed| (packed, ZSTD));
            Update { digest: Some(blob.wire()), data, compressor }
        };
        let request = Updates {
            instance: self.instance.clone(),
            blobs: blobs.into_iter().map(update).collect(),
            function: SHA256,
        };
        let answer: Updated = match self.calls.unary(BATCH_UPDATE, &request).await {
            Ok(answer) => answer,
            // What of it was not taken is said of one alone only.
            Err(failed) if failed.is_invalid() && each.len() > 1 => return self.update_each(each).await,
            Err(failed) => return Err(self.calls.judge(failed, BATCH_UPDATE, Doing::Write)),
        };
        let mut done: HashMap<String, Result<(), Fault>> = HashMap::new();
        for updated in answer.blobs {
            let Some(digest) = updated.digest else { return Err(not_protobuf(BATCH_UPDATE)) };
            let judged =
                status(updated.status).map_err(|failed| self.calls.judge(failed, BATCH_UPDATE, Doing::Write));
            done.insert(digest.hash, judged);
        }
        let unanswered =
            || Err(Fault::state(Signal::Fault, "BatchUpdateBlobs: no answer for one of the blobs"));
        Ok(hashes.iter().map(|hash| done.get(hash).cloned().unwrap_or_else(unanswered)).collect())
    }

    async fn update_each(&self, blobs: Vec<(Blob, Bytes)>) -> Result<Vec<Result<(), Fault>>, Fault> {
        let mut all = Vec::with_capacity(blobs.len());
        for one in blobs {
            let done = Box::pin(self.update(vec![one])).await;
            all.push(done.and_then(|mut done| done.pop().unwrap_or_else(|| Err(not_protobuf(BATCH_UPDATE)))));
        }
        Ok(all)
    }
}

/// The bytes of a blob of so many, out of what came for it: packed as it was allowed to be, and not longer. That they
/// are those of its digest is for who reads them to see.
fn opened(data: Bytes, compressor: i32, len: Option<u64>) -> Result<Bytes, Fault> {
    let fault = |words: String| Fault::state(Signal::Fault, format!("BatchReadBlobs: {words}"));
    let len = len.ok_or_else(|| fault("a blob that nobody has asked for".into()))?;
    let bytes = match compressor {
        AS_IT_IS => data,
        ZSTD => zstd::unpacked(&data, len).map_err(|why| fault(format!("a blob's zstd: {why}")))?,
        other => return Err(fault(format!("a blob that is packed in a way not asked for ({other})"))),
    };
    match bytes.len() as u64 == len {
        true => Ok(bytes),
        false => Err(fault("a blob is not as long as its digest says".into())),
    }
}

/// What is said of one blob of a batch. Nothing is well.
fn status(verdict: Option<Verdict>) -> Result<(), Failed> {
    match verdict {
        Some(verdict) if verdict.code != Code::Ok as i32 => {
            let details = verdict.encode_to_vec().into();
            Err(Failed::Status(Status::with_details(Code::from_i32(verdict.code), verdict.message, details)))
        }
        _ => Ok(()),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn what_comes_packed_is_as_long_as_its_digest_says_or_nothing() {
        let bytes = Bytes::from(b"larder ".repeat(1000));
        let packed = zstd::packed(&bytes).expect("it gets smaller");
        assert_eq!(opened(packed.clone(), ZSTD, Some(7000)).expect("whole"), bytes);
        assert_eq!(opened(bytes.clone(), AS_IT_IS, Some(7000)).expect("whole"), bytes);
        // Longer, shorter, cut, not zstd, not what was allowed, not asked for.
        for (data, compressor, len) in [
            (packed.clone(), ZSTD, Some(6999)),
            (packed.clone(), ZSTD, Some(7001)),
            (packed.slice(..packed.len() - 1), ZSTD, Some(7000)),
            (bytes.clone(), ZSTD, Some(7000)),
            (bytes.slice(1..), AS_IT_IS, Some(7000)),
            (packed.clone(), 2, Some(7000)),
            (packed, ZSTD, None),
        ] {
            let fault = opened(data, compressor, len).expect_err("it is refused");
            assert_eq!(fault.signal, Signal::Fault, "{compressor} {len:?}");
        }
    }
}
