//! What the server says that it can do: asked once for each connection.

use bazel_remote_apis::build::bazel::remote::execution::v2 as wire;
use tonic::Code;

use super::super::{Fault, Signal};
use super::Reapi;
use super::calls::{Doing, Failed, Method};
use super::messages::ZSTD;

const GET: Method = Method("/build.bazel.remote.execution.v2.Capabilities/GetCapabilities");

/// What one message may have, prefix and names of blobs included: gRPC's own default.
const MESSAGE_BYTES: u64 = 4 << 20;

/// A digest in a batch has so many bytes, and some to spare.
pub(super) const DIGEST_BYTES: u64 = 200;

/// What counts here of the capabilities.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) struct Capabilities {
    /// Blobs of one batch, with their digests.
    pub(super) batch_bytes: u64,
    /// Longer blobs are refused.
    pub(super) blob_bytes_max: Option<u64>,
    /// `compressed-blobs/zstd` is served.
    pub(super) zstd: bool,
    /// What a batch brings may be packed by zstd, and what it gets.
    pub(super) zstd_batches: bool,
    /// Results are taken.
    pub(super) takes_results: bool,
}

impl Reapi {
    /// What the server can do. Asks it where it was not asked on this connection.
    pub(super) async fn capabilities(&self) -> Result<Capabilities, Fault> {
        let connection = self.calls.channel.connection().await?;
        connection.capabilities.get_or_try_init(|| self.ask()).await.copied()
    }

    async fn ask(&self) -> Result<Capabilities, Fault> {
        let request = wire::GetCapabilitiesRequest { instance_name: self.instance.clone() };
        match self.calls.unary(GET, &request).await {
            Ok(answer) => Capabilities::of(&answer),
            // Older than the method, or a proxy that passes on the others only.
            Err(Failed::Status(status)) if status.code() == Code::Unimplemented => {
                Ok(Capabilities::default())
            }
            Err(Failed::Status(status))
                if matches!(status.code(), Code::InvalidArgument | Code::NotFound) =>
            {
                let said: String = status.message().chars().filter(|c| !c.is_control()).take(200).collect();
                let words =
                    format!("the server has no instance `{}`: {said}; correct the URL", self.instance);
                Err(Fault::state(Signal::Denied, words))
            }
            Err(failed) => Err(self.calls.judge(failed, GET, Doing::Read)),
        }
    }
}

// === impl Capabilities ===

impl Capabilities {
    fn of(answer: &wire::ServerCapabilities) -> Result<Self, Fault> {
        let Some(cache) = &answer.cache_capabilities else {
            return Err(Fault::state(
                Signal::Fault,
                "the server says that it is no cache: a wrong port, or instance?",
            ));
        };
        let sha256 = wire::digest_function::Value::Sha256 as i32;
        if !cache.digest_functions.is_empty() && !cache.digest_functions.contains(&sha256) {
            return Err(Fault::state(
                Signal::Fault,
                "the cache keeps no content by SHA-256, the only one that it is asked by",
            ));
        }
        let positive = |number: i64| u64::try_from(number).ok().filter(|number| *number > 0);
        Ok(Self {
            batch_bytes: positive(cache.max_batch_total_size_bytes)
                .map_or(MESSAGE_BYTES, |max| max.min(MESSAGE_BYTES)),
            blob_bytes_max: positive(cache.max_cas_blob_size_bytes),
            zstd: cache.supported_compressors.contains(&ZSTD),
            zstd_batches: cache.supported_batch_update_compressors.contains(&ZSTD),
            takes_results: cache
                .action_cache_update_capabilities
                .as_ref()
                .is_none_or(|may| may.update_enabled),
        })
    }
}

impl Default for Capabilities {
    /// Of a server that doesn't say.
    fn default() -> Self {
        Self {
            batch_bytes: MESSAGE_BYTES,
            blob_bytes_max: None,
            zstd: false,
            zstd_batches: false,
            takes_results: true,
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn what_is_not_said_is_what_grpc_says() {
        let cache = wire::CacheCapabilities::default();
        let of = |cache| {
            Capabilities::of(&wire::ServerCapabilities { cache_capabilities: cache, ..Default::default() })
        };
        assert_eq!(of(Some(cache.clone())).expect("a cache"), Capabilities::default());
        let large = wire::CacheCapabilities {
            max_batch_total_size_bytes: 1 << 40,
            max_cas_blob_size_bytes: 10,
            supported_compressors: vec![0, 1],
            supported_batch_update_compressors: vec![1],
            digest_functions: vec![9, 1],
            action_cache_update_capabilities: Some(Default::default()),
            ..cache.clone()
        };
        let expected = Capabilities {
            batch_bytes: MESSAGE_BYTES,
            blob_bytes_max: Some(10),
            zstd: true,
            zstd_batches: true,
            takes_results: false,
        };
        assert_eq!(of(Some(large)).expect("a cache"), expected);
        assert!(of(None).is_err());
        assert!(of(Some(wire::CacheCapabilities { digest_functions: vec![9], ..cache })).is_err());
    }
}
