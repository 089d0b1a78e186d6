//! `ByteStream`: one blob of any size, from an offset, and broken off without loss.

mod read;
mod write;

use tonic::Status;

use super::capabilities::answer;
use super::grpc::Messages;
use super::requests::Compressor;
use super::resource::Resource;
use super::{Core, small};
use crate::protocol::http::{Answer, Incoming};
use bazel_remote_apis::google::bytestream as wire;

impl Core {
    pub(super) async fn query_write_status<B: Incoming>(
        &self,
        messages: Messages<B>,
    ) -> Result<Answer, Status> {
        let request: wire::QueryWriteStatusRequest = small(messages).await?;
        let resource = Resource::to_write(&request.resource_name)?;
        let scope = self.scope(resource.instance, 0)?;
        let blob = resource.blob(scope.policy.digest)?;
        if self.context.cache.known_len(&scope, blob.digest).await == Some(blob.size) {
            let committed_size = committed(resource.compressor, blob.size);
            return Ok(answer(&wire::QueryWriteStatusResponse { committed_size, complete: true }));
        }
        let upload = self.context.cache.stage(&scope, &request.resource_name);
        let upload = upload.map_err(|error| Status::invalid_argument(error.message().to_owned()))?;
        // Never heard of it: it is to be sent from its start.
        let received = upload.received().await.unwrap_or(0);
        let committed_size = i64::try_from(received).unwrap_or(i64::MAX);
        Ok(answer(&wire::QueryWriteStatusResponse { committed_size, complete: false }))
    }
}

/// What the end of a write is answered with: of a compressed one nobody but its client knows how long it was.
fn committed(compressor: Compressor, size: u64) -> i64 {
    match compressor {
        Compressor::Identity => i64::try_from(size).unwrap_or(i64::MAX),
        Compressor::Zstd => -1,
    }
}
