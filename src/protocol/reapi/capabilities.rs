//! What this server says it can do, and whether it is well.

use bazel_remote_apis::build::bazel::remote::execution::v2 as wire;
use bazel_remote_apis::build::bazel::semver::SemVer;
use bytes::Bytes;
use prost::Message;
use tonic::Status;

use super::grpc::{Messages, message, unary};
use super::{BATCH_BYTES_MAX, Core, number_of, small};
use crate::digest::Function;
use crate::protocol::http::{Answer, Incoming};

/// `grpc.health.v1.HealthCheckRequest`.
#[derive(Clone, PartialEq, Message)]
struct HealthCheckRequest {
    #[prost(string, tag = "1")]
    service: String,
}

/// `grpc.health.v1.HealthCheckResponse`, whose status 1 is `SERVING`.
#[derive(Clone, PartialEq, Message)]
struct HealthCheckResponse {
    #[prost(int32, tag = "1")]
    status: i32,
}

const SERVING: i32 = 1;

/// What a health check may be of, besides all of it.
const SERVICES: [&str; 4] = [
    "build.bazel.remote.execution.v2.Capabilities",
    "build.bazel.remote.execution.v2.ActionCache",
    "build.bazel.remote.execution.v2.ContentAddressableStorage",
    "google.bytestream.ByteStream",
];

impl Core {
    /// Any instance has these, even one whose name is refused elsewhere: moon and Bazel give the cache up for good over
    /// a failure here.
    pub(super) async fn get_capabilities<B: Incoming>(
        &self,
        messages: Messages<B>,
        may_write: bool,
    ) -> Result<Answer, Status> {
        let request: wire::GetCapabilitiesRequest = small(messages).await?;
        let function =
            self.scope_of(&request.instance_name).unwrap_or_else(|_| self.places.unnamed().clone());
        Ok(answer(&self.capabilities(function.policy.digest, may_write)))
    }

    /// `first`: what digests are of whose function nobody names. `may_write`: the client may.
    fn capabilities(&self, first: Function, may_write: bool) -> wire::ServerCapabilities {
        let version = |major, minor| Some(SemVer { major, minor, ..SemVer::default() });
        let mut functions = vec![number_of(Function::Sha256), number_of(Function::Blake3)];
        functions.sort_by_key(|function| *function != number_of(first));
        let compressors = vec![wire::compressor::Value::Zstd as i32];
        let range = wire::priority_capabilities::PriorityRange { min_priority: 0, max_priority: 0 };
        wire::ServerCapabilities {
            cache_capabilities: Some(wire::CacheCapabilities {
                digest_functions: functions,
                // Told that it may not, a Larder keeps its results. Bazel 4 would fail the build where it wasn't told
                // itself not to upload, but can't show the certificate that makes a reader.
                action_cache_update_capabilities: Some(wire::ActionCacheUpdateCapabilities {
                    update_enabled: may_write,
                }),
                cache_priority_capabilities: Some(wire::PriorityCapabilities { priorities: vec![range] }),
                max_batch_total_size_bytes: BATCH_BYTES_MAX as i64,
                symlink_absolute_path_strategy: wire::symlink_absolute_path_strategy::Value::Allowed as i32,
                supported_compressors: compressors.clone(),
                supported_batch_update_compressors: compressors,
                max_cas_blob_size_bytes: i64::try_from(self.context.cache.settings().entry_max)
                    .unwrap_or(i64::MAX),
                ..wire::CacheCapabilities::default()
            }),
            low_api_version: version(2, 0),
            high_api_version: version(2, 3),
            ..wire::ServerCapabilities::default()
        }
    }

    pub(super) async fn health<B: Incoming>(&self, messages: Messages<B>) -> Result<Answer, Status> {
        let HealthCheckRequest { service } = small(messages).await?;
        if service.is_empty() || SERVICES.contains(&service.as_str()) {
            return Ok(answer(&HealthCheckResponse { status: SERVING }));
        }
        Err(Status::not_found(format!("service `{}` is not served", service.escape_debug())))
    }
}

/// An answer of one small message.
pub(super) fn answer(response: &impl Message) -> Answer {
    unary(message([Bytes::from(response.encode_to_vec())]), None)
}
