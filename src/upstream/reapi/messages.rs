//! Messages whose bytes are shared, not copied: else as the API's own.

use bazel_remote_apis::build::bazel::remote::execution::v2 as wire;
use bytes::Bytes;
use prost::Message;

use super::Blob;

/// `google.rpc.Status`.
#[derive(Clone, PartialEq, Message)]
pub(super) struct Verdict {
    #[prost(int32, tag = "1")]
    pub(super) code: i32,
    #[prost(string, tag = "2")]
    pub(super) message: String,
    #[prost(message, repeated, tag = "3")]
    pub(super) details: Vec<Detail>,
}

/// `google.protobuf.Any`.
#[derive(Clone, PartialEq, Message)]
pub(super) struct Detail {
    #[prost(string, tag = "1")]
    pub(super) kind: String,
    #[prost(bytes = "bytes", tag = "2")]
    pub(super) value: Bytes,
}

/// `BatchUpdateBlobsRequest`.
#[derive(Clone, PartialEq, Message)]
pub(super) struct Updates {
    #[prost(string, tag = "1")]
    pub(super) instance: String,
    #[prost(message, repeated, tag = "2")]
    pub(super) blobs: Vec<Update>,
    #[prost(int32, tag = "5")]
    pub(super) function: i32,
}

/// `BatchUpdateBlobsRequest.Request`.
#[derive(Clone, PartialEq, Message)]
pub(super) struct Update {
    #[prost(message, optional, tag = "1")]
    pub(super) digest: Option<wire::Digest>,
    #[prost(bytes = "bytes", tag = "2")]
    pub(super) data: Bytes,
    #[prost(int32, tag = "3")]
    pub(super) compressor: i32,
}

/// `BatchUpdateBlobsResponse`.
#[derive(Clone, PartialEq, Message)]
pub(super) struct Updated {
    #[prost(message, repeated, tag = "1")]
    pub(super) blobs: Vec<UpdatedBlob>,
}

/// `BatchUpdateBlobsResponse.Response`.
#[derive(Clone, PartialEq, Message)]
pub(super) struct UpdatedBlob {
    #[prost(message, optional, tag = "1")]
    pub(super) digest: Option<wire::Digest>,
    #[prost(message, optional, tag = "2")]
    pub(super) status: Option<Verdict>,
}

/// `BatchReadBlobsResponse`.
#[derive(Clone, PartialEq, Message)]
pub(super) struct Reads {
    #[prost(message, repeated, tag = "1")]
    pub(super) blobs: Vec<ReadBlob>,
}

/// `BatchReadBlobsResponse.Response`.
#[derive(Clone, PartialEq, Message)]
pub(super) struct ReadBlob {
    #[prost(message, optional, tag = "1")]
    pub(super) digest: Option<wire::Digest>,
    #[prost(bytes = "bytes", tag = "2")]
    pub(super) data: Bytes,
    #[prost(message, optional, tag = "3")]
    pub(super) status: Option<Verdict>,
    #[prost(int32, tag = "4")]
    pub(super) compressor: i32,
}

/// `UpdateActionResultRequest`, whose result stays the bytes that it is.
#[derive(Clone, PartialEq, Message)]
pub(super) struct ResultUpdate {
    #[prost(string, tag = "1")]
    pub(super) instance: String,
    #[prost(message, optional, tag = "2")]
    pub(super) action: Option<wire::Digest>,
    #[prost(bytes = "bytes", tag = "3")]
    pub(super) result: Bytes,
    #[prost(int32, tag = "5")]
    pub(super) function: i32,
}

/// `google.bytestream.WriteRequest`.
#[derive(Clone, PartialEq, Message)]
pub(super) struct Write {
    #[prost(string, tag = "1")]
    pub(super) resource_name: String,
    #[prost(int64, tag = "2")]
    pub(super) write_offset: i64,
    #[prost(bool, tag = "3")]
    pub(super) finish_write: bool,
    #[prost(bytes = "bytes", tag = "10")]
    pub(super) data: Bytes,
}

/// `google.bytestream.ReadResponse`.
#[derive(Clone, PartialEq, Message)]
pub(super) struct Piece {
    #[prost(bytes = "bytes", tag = "10")]
    pub(super) data: Bytes,
}

/// SHA-256, by its number in the API.
pub(super) const SHA256: i32 = wire::digest_function::Value::Sha256 as i32;

/// How bytes are packed, likewise: as they are, and by zstd.
pub(super) const AS_IT_IS: i32 = wire::compressor::Value::Identity as i32;
pub(super) const ZSTD: i32 = wire::compressor::Value::Zstd as i32;

// === impl Blob ===

impl Blob {
    /// As the API names it.
    pub(super) fn wire(self) -> wire::Digest {
        wire::Digest { hash: self.digest.hex(), size_bytes: i64::try_from(self.len).unwrap_or(i64::MAX) }
    }
}
