//! The Remote Execution API, version 2, of a server that only caches: what moon, Bazel, Buck2 and Pants speak over
//! gRPC.
//!
//! ```text
//! Capabilities              GetCapabilities                                     answered here, whatever upstream does
//! ActionCache               GetActionResult UpdateActionResult
//! ContentAddressableStorage FindMissingBlobs BatchUpdateBlobs BatchReadBlobs GetTree
//! ByteStream                Read Write QueryWriteStatus                         compressed-blobs/zstd too
//! grpc.health.v1.Health     Check
//! ```
//!
//! An instance name is a namespace, and its action results are those that the HTTP protocol has under it. Content is
//! one for all instances. Digests are of SHA-256 or BLAKE3, and are verified; a request that names no function means
//! what its namespace says.
//!
//! # What clients are told of trouble
//! Of ours, nothing: a read is `NOT_FOUND`, a write is taken and shed. Never `UNAVAILABLE`, which Bazel repeats for 3 s
//! an action, and `RESOURCE_EXHAUSTED` only where trying again is right. A body that can't be completed ends in
//! `ABORTED`, after which clients read on from where they are.
//!
//! # Not served
//! `SplitBlob` and `SpliceBlob` (the capabilities say so), `Execute`, the Remote Asset API: `UNIMPLEMENTED`.

mod action_cache;
mod bytestream;
mod capabilities;
mod cas;
#[cfg(any(fuzzing, test))]
pub mod fuzzing;
mod grpc;
pub mod messages;
mod requests;
mod resource;
mod room;
mod tree;
mod zstd;

use std::sync::Arc;

use bytes::Bytes;
use hyper::{Request, StatusCode, Version};
use prost::Message;
use tonic::{Code, Status};

pub(crate) use grpc::{is_grpc, refusal};

use super::http::{self, Answer, Incoming};
use super::{Context, Intent, Places};
use crate::digest::Function;
use crate::error::{Error, Kind};
use crate::key::Scope;
use crate::stats::ProtocolStats;
use grpc::Messages;
use room::Room;

/// The Remote Execution API.
#[derive(Debug, Clone)]
pub struct Frontend {
    core: Arc<Core>,
}

#[derive(Debug)]
struct Core {
    context: Arc<Context>,
    places: Arc<Places>,
    stats: Arc<ProtocolStats>,
    room: Room,
}

/// What became of a write. `Err(None)`: it failed because of us, which is counted, and success to its client.
type Writing<T> = Result<T, Option<Status>>;

/// A method.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Route {
    /// What this server can do.
    GetCapabilities,
    /// The same, to a client that may read here and not write.
    GetReadersCapabilities,
    /// An action's result.
    GetActionResult,
    /// An action has this result.
    UpdateActionResult,
    /// Which blobs are not here?
    FindMissingBlobs,
    /// Small blobs, several at once.
    BatchUpdateBlobs,
    /// Small blobs, several at once.
    BatchReadBlobs,
    /// A directory and all below it.
    GetTree,
    /// A blob, from an offset.
    Read,
    /// A blob, from an offset.
    Write,
    /// How much of a blob has come.
    QueryWriteStatus,
    /// Are you well?
    Health,
    /// Not served.
    Unknown,
}

/// The sum of the blobs of one batch; also the size from which clients stream.
const BATCH_BYTES_MAX: u64 = 4 << 20;

/// A request that names no lists is short.
const SMALL_MESSAGE_BYTES_MAX: usize = 1 << 20;

/// A request that names lists, or has blobs in it: a full batch with its names, and far more digests than any client
/// sends at once.
const LARGE_MESSAGE_BYTES_MAX: usize = 16 << 20;

// === impl Route ===

impl Route {
    /// Whether it changes what is stored.
    pub fn writes(self) -> bool {
        matches!(self, Self::UpdateActionResult | Self::BatchUpdateBlobs | Self::Write)
    }

    /// The same for a client that may not write.
    #[must_use]
    pub fn for_reader(self) -> Self {
        if self == Self::GetCapabilities { Self::GetReadersCapabilities } else { self }
    }

    /// The method of a path.
    pub fn parse(path: &str) -> Self {
        let Some((service, method)) = path.strip_prefix('/').and_then(|path| path.split_once('/')) else {
            return Self::Unknown;
        };
        match (service, method) {
            ("build.bazel.remote.execution.v2.Capabilities", "GetCapabilities") => Self::GetCapabilities,
            ("build.bazel.remote.execution.v2.ActionCache", "GetActionResult") => Self::GetActionResult,
            ("build.bazel.remote.execution.v2.ActionCache", "UpdateActionResult") => Self::UpdateActionResult,
            ("build.bazel.remote.execution.v2.ContentAddressableStorage", method) => match method {
                "FindMissingBlobs" => Self::FindMissingBlobs,
                "BatchUpdateBlobs" => Self::BatchUpdateBlobs,
                "BatchReadBlobs" => Self::BatchReadBlobs,
                "GetTree" => Self::GetTree,
                _ => Self::Unknown,
            },
            ("google.bytestream.ByteStream", "Read") => Self::Read,
            ("google.bytestream.ByteStream", "Write") => Self::Write,
            ("google.bytestream.ByteStream", "QueryWriteStatus") => Self::QueryWriteStatus,
            ("grpc.health.v1.Health", "Check") => Self::Health,
            _ => Self::Unknown,
        }
    }
}

// === impl Frontend ===

impl Frontend {
    /// A frontend over `context`, whose instances belong where `places` says.
    pub fn new(context: Arc<Context>, places: Arc<Places>) -> Self {
        let stats = context.stats("reapi");
        Self { core: Arc::new(Core { context, places, stats, room: Room::default() }) }
    }

    /// Answers a call.
    pub async fn answer<B: Incoming>(&self, route: Route, request: Request<B>) -> Answer {
        if request.version() < Version::HTTP_2 {
            return http::text(StatusCode::BAD_REQUEST, "gRPC needs HTTP/2 (on a plain connection: h2c)\n");
        }
        let path = (route == Route::Unknown).then(|| request.uri().path().to_owned());
        let messages = Messages::of(request.into_body());
        let core = &self.core;
        let answered = match route {
            Route::GetCapabilities => core.get_capabilities(messages, true).await,
            Route::GetReadersCapabilities => core.get_capabilities(messages, false).await,
            Route::GetActionResult => core.get_action_result(messages).await,
            Route::UpdateActionResult => core.update_action_result(messages).await,
            Route::FindMissingBlobs => core.find_missing_blobs(messages).await,
            Route::BatchUpdateBlobs => core.batch_update_blobs(messages).await,
            Route::BatchReadBlobs => core.batch_read_blobs(messages).await,
            Route::GetTree => core.get_tree(messages).await,
            Route::Read => core.read(messages).await,
            Route::Write => Box::pin(core.write(messages)).await,
            Route::QueryWriteStatus => core.query_write_status(messages).await,
            Route::Health => core.health(messages).await,
            Route::Unknown => Err(Status::unimplemented(format!(
                "{} is not served: this is a cache of the Remote Execution API, without execution",
                path.unwrap_or_default().escape_debug()
            ))),
        };
        answered.unwrap_or_else(|status| core.failed(&status))
    }

    /// Refuses a call that can't be made here.
    pub fn refuse_request(&self, error: &Error) -> Answer {
        match self.core.refuse(error, Intent::Read) {
            Some(status) => self.core.failed(&status),
            None => self.core.failed(&Status::not_found(error.message())),
        }
    }
}

// === impl Core ===

impl Core {
    /// The answer that is this failure.
    fn failed(&self, status: &Status) -> Answer {
        match status.code() {
            Code::NotFound => self.stats.misses.one(),
            _ => self.stats.refused.one(),
        }
        grpc::failed(status)
    }

    /// What a failure looks like. `None`: it is ours, of a write, which its client need not know of.
    fn refuse(&self, error: &Error, intent: Intent) -> Option<Status> {
        let code = match (error.kind(), intent) {
            // Too large is the client's to know: the capabilities say how large a blob may be.
            (Kind::Invalid | Kind::Mismatch | Kind::TooLarge | Kind::Unsupported, _) => Code::InvalidArgument,
            (Kind::Denied, _) => Code::PermissionDenied,
            (Kind::Precondition, _) => Code::FailedPrecondition,
            (Kind::NoSpace | Kind::Unavailable | Kind::Corrupt | Kind::Internal, Intent::Read) => {
                Code::NotFound
            }
            (Kind::NoSpace | Kind::Unavailable | Kind::Corrupt | Kind::Internal, Intent::Write) => {
                self.context.lose(error);
                return None;
            }
        };
        Some(Status::new(code, error.message()))
    }

    /// Where the entries of an instance are, for digests of this function: 0 is what the namespace says.
    fn scope(&self, instance: &str, function: i32) -> Result<Scope, Status> {
        let mut scope = self.scope_of(instance)?;
        scope.policy.digest = requests::function(&scope, function)?;
        Ok(scope)
    }

    fn scope_of(&self, instance: &str) -> Result<Scope, Status> {
        if instance.is_empty() {
            return Ok(self.places.unnamed().clone());
        }
        let scope = self.places.scope(instance);
        scope.inspect(|scope| self.stats.namespaces.enter(scope.namespace.as_str())).map_err(|error| {
            Status::invalid_argument(format!(
                "instance name `{}`: {}",
                resource::shown(instance),
                error.message()
            ))
        })
    }

    /// The one message of a call, with its share of memory.
    async fn large<B: Incoming>(&self, mut messages: Messages<B>) -> Result<(Bytes, room::Share), Status> {
        let len = messages.first(LARGE_MESSAGE_BYTES_MAX).await?;
        let share = self.room.for_message(len as u64).await;
        let message = messages.last(len).await?;
        self.stats.bytes_in.add(message.len() as u64);
        Ok((message, share))
    }
}

/// The one message of a call whose requests are short.
async fn small<M: Message + Default, B: Incoming>(mut messages: Messages<B>) -> Result<M, Status> {
    let len = messages.first(SMALL_MESSAGE_BYTES_MAX).await?;
    let message = messages.last(len).await?;
    M::decode(message).map_err(|_| grpc::garbage())
}

/// Only those functions are served.
fn number_of(function: Function) -> i32 {
    match function {
        Function::Sha256 => 1,
        Function::Blake3 => 9,
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn methods_are_told_by_their_whole_path() {
        for (path, route) in [
            ("/build.bazel.remote.execution.v2.ActionCache/GetActionResult", Route::GetActionResult),
            ("/build.bazel.remote.execution.v2.ContentAddressableStorage/SplitBlob", Route::Unknown),
            ("/google.bytestream.ByteStream/Read", Route::Read),
            ("/google.bytestream.ByteStream/Read/", Route::Unknown),
            ("/prefix/google.bytestream.ByteStream/Read", Route::Unknown),
            ("/build.bazel.remote.execution.v2.Execution/Execute", Route::Unknown),
            ("", Route::Unknown),
        ] {
            assert_eq!(Route::parse(path), route, "{path}");
        }
    }
}
