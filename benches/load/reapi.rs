//! The calls of the Remote Execution API that a build makes, each as many times as asked for.

use std::io::{Error, Result};
use std::rc::Rc;
use std::time::{Duration, Instant};

use bazel_remote_apis::build::bazel::remote::execution::v2 as wire;
use bazel_remote_apis::google::bytestream;
use bytes::{BufMut, Bytes, BytesMut};
use clap::ValueEnum;
use prost::Message;
use prost::encoding::{WireType, encode_key, encode_varint};
use tokio::sync::Barrier;

use crate::blobs::Blobs;
use crate::grpc::{self, Answer, Call, PREFIX, Windows};
use crate::tally::Tally;

#[derive(clap::Args, Clone)]
pub(crate) struct Work {
    #[arg(value_enum)]
    kind: Kind,
    #[arg(long, default_value = "127.0.0.1")]
    host: String,
    #[arg(long)]
    port: u16,
    #[arg(long, default_value = "")]
    instance: String,
    #[arg(long, default_value_t = 4)]
    connections: usize,
    /// Calls at a time, over all connections.
    #[arg(long, default_value_t = 16)]
    streams: usize,
    #[arg(long)]
    count: u64,
    /// Bytes of each blob.
    #[arg(long)]
    size: usize,
    /// What writes: the numbers `first` to `first + count - 1`.
    #[arg(long, default_value_t = 0)]
    first: u64,
    /// What reads: the numbers 0 to `names - 1`, in a scattered order.
    #[arg(long, default_value_t = 1)]
    names: u64,
    /// Makes this run's blobs others than those of any other.
    #[arg(long, default_value_t = 0)]
    salt: u64,
    /// Read no answer before each has begun: all of them are in flight at one moment.
    #[arg(long)]
    together: bool,
    #[arg(long, default_value_t = 4 << 20)]
    stream_window: u32,
    #[arg(long, default_value_t = 64 << 20)]
    connection_window: u32,
}

#[derive(Clone, Copy, PartialEq, ValueEnum)]
enum Kind {
    /// BatchUpdateBlobs of one blob.
    BatchUpdate,
    /// BatchReadBlobs of one blob.
    BatchRead,
    /// ByteStream.Write.
    Write,
    /// ByteStream.Read.
    Read,
    /// FindMissingBlobs of all names.
    FindMissing,
    /// UpdateActionResult of a result that names `FILES` of the blobs.
    UpdateAction,
    /// GetActionResult.
    GetAction,
}

/// Files of an action result: with their paths and digests about 4 KiB.
const FILES: u64 = 31;

/// Bytes in a message of ByteStream.Write, as moon has it.
const WRITE_CHUNK: usize = 1 << 20;

/// A server that accepts fewer streams than it is asked to would be waited for without end.
const ALL_BEGUN_MAX: Duration = Duration::from_secs(120);

pub(crate) async fn run(work: Work) -> Result<serde_json::Value> {
    let work = Rc::new(work);
    let calls: Rc<[Call]> = work.calls()?.into();
    let tally = Rc::new(Tally::default());
    let windows = Windows { stream: work.stream_window, connection: work.connection_window };
    let mut connections = Vec::new();
    for _ in 0..work.connections {
        connections.push(grpc::connect(&work.host, work.port, windows).await?);
    }
    let barrier = work.together.then(|| Rc::new(Barrier::new(work.streams)));
    let (begin, cpu_before) = (Instant::now(), cpu_seconds());
    let tasks: Vec<_> = (0..work.streams)
        .map(|number| {
            let connection = connections[number % connections.len()].clone();
            drive(connection, work.clone(), calls.clone(), barrier.clone(), tally.clone())
        })
        .map(tokio::task::spawn_local)
        .collect();
    for task in tasks {
        task.await.map_err(Error::other)?;
    }
    let busy = (cpu_seconds() - cpu_before) / begin.elapsed().as_secs_f64();
    let mut report = tally.report(begin);
    report["busy"] = busy.into();
    Ok(report)
}

/// What this process has used of its one core: near all of it, the load is what was measured.
fn cpu_seconds() -> f64 {
    let used = rustix::time::clock_gettime(rustix::time::ClockId::ProcessCPUTime);
    used.tv_sec as f64 + used.tv_nsec as f64 / 1e9
}

/// Makes one call after the other until the run's number is used up.
async fn drive(
    connection: grpc::Connection,
    work: Rc<Work>,
    calls: Rc<[Call]>,
    mut together: Option<Rc<Barrier>>,
    tally: Rc<Tally>,
) {
    while let Some(index) = tally.next(work.count) {
        let begin = Instant::now();
        let call = &calls[work.place(index, calls.len())];
        // Only the first of each stream waits for the others: later ones end at different times.
        let barrier = together.take();
        let answer = grpc::call(&connection, call, work.kind.is_decoded(), barrier.as_deref());
        let answer = match barrier {
            None => answer.await,
            Some(_) => match tokio::time::timeout(ALL_BEGUN_MAX, answer).await {
                Ok(answer) => answer,
                Err(_) => Err(Error::other("not all streams were answered and read in time")),
            },
        };
        tally.took(begin);
        if let Err(error) = answer.and_then(|answer| work.check(&answer)) {
            tally.fail(format!("call {index}: {error}"));
        }
    }
}

// === impl Work ===

impl Work {
    /// Everything that is sent, made before the clock starts.
    fn calls(&self) -> Result<Vec<Call>> {
        let blobs = Blobs::new(self.size, self.salt);
        let numbers = match self.kind {
            Kind::BatchUpdate | Kind::Write | Kind::UpdateAction => self.first..self.first + self.count,
            Kind::BatchRead | Kind::Read | Kind::GetAction => 0..self.names,
            Kind::FindMissing => 0..1,
        };
        let head = grpc::head(&self.host, self.port, self.kind.path())?;
        Ok(numbers.map(|number| Call { head: head.clone(), parts: self.parts(&blobs, number) }).collect())
    }

    /// Which of the calls the one with this index is.
    fn place(&self, index: u64, calls: usize) -> usize {
        let writes = matches!(self.kind, Kind::BatchUpdate | Kind::Write | Kind::UpdateAction);
        // A fixed odd multiplier scatters the names without a random source to pay for.
        let index = if writes { index } else { index.wrapping_mul(0x9E37_79B9_7F4A_7C15) };
        (index % calls as u64) as usize
    }

    fn parts(&self, blobs: &Blobs, number: u64) -> Vec<Bytes> {
        let instance_name = self.instance.clone();
        match self.kind {
            Kind::BatchUpdate => {
                let digest = Some(blobs.digest(number));
                let request = wire::batch_update_blobs_request::Request {
                    digest,
                    data: blobs.whole(number),
                    ..Default::default()
                };
                framed(&wire::BatchUpdateBlobsRequest {
                    instance_name,
                    requests: vec![request],
                    ..Default::default()
                })
            }
            Kind::BatchRead => framed(&wire::BatchReadBlobsRequest {
                instance_name,
                digests: vec![blobs.digest(number)],
                ..Default::default()
            }),
            Kind::Write => self.write(blobs, number),
            Kind::Read => {
                let digest = blobs.digest(number);
                let resource_name = self.resource(&format!("blobs/{}/{}", digest.hash, digest.size_bytes));
                framed(&bytestream::ReadRequest { resource_name, ..Default::default() })
            }
            Kind::FindMissing => framed(&wire::FindMissingBlobsRequest {
                instance_name,
                blob_digests: (0..self.names).map(|number| blobs.digest(number)).collect(),
                ..Default::default()
            }),
            Kind::UpdateAction => framed(&wire::UpdateActionResultRequest {
                instance_name,
                action_digest: Some(blobs.action(number)),
                action_result: Some(self.result(blobs, number)),
                ..Default::default()
            }),
            Kind::GetAction => framed(&wire::GetActionResultRequest {
                instance_name,
                action_digest: Some(blobs.action(number)),
                ..Default::default()
            }),
        }
    }

    /// The messages of a write: the blob's bytes are shared by all.
    fn write(&self, blobs: &Blobs, number: u64) -> Vec<Bytes> {
        let digest = blobs.digest(number);
        let upload = format!("{:08x}-0000-4000-8000-{number:012x}", self.salt as u32);
        let name = format!("uploads/{upload}/blobs/{}/{}", digest.hash, digest.size_bytes);
        let mut resource_name = self.resource(&name);
        let mut parts = Vec::new();
        for at in (0..blobs.size()).step_by(WRITE_CHUNK) {
            let end = blobs.size().min(at + WRITE_CHUNK);
            let finish_write = end == blobs.size();
            let request = bytestream::WriteRequest {
                resource_name: std::mem::take(&mut resource_name),
                write_offset: at as i64,
                finish_write,
                data: Vec::new(),
            };
            // `data` is the last of the fields: its bytes follow as they are.
            let mut start = request.encode_to_vec();
            encode_key(10, WireType::LengthDelimited, &mut start);
            encode_varint((end - at) as u64, &mut start);
            let message = start.len() + end - at;
            parts.push(Bytes::from([&grpc::prefix(message)[..], &start].concat()));
            parts.push(blobs.common.slice(at.min(blobs.common.len())..end.min(blobs.common.len())));
            let tail_at = blobs.common.len();
            if end > tail_at {
                let tail = blobs.tail(number);
                parts.push(Bytes::copy_from_slice(&tail[at.saturating_sub(tail_at)..end - tail_at]));
            }
        }
        parts.retain(|part| !part.is_empty());
        parts
    }

    fn resource(&self, name: &str) -> String {
        if self.instance.is_empty() { name.to_owned() } else { format!("{}/{name}", self.instance) }
    }

    fn result(&self, blobs: &Blobs, number: u64) -> wire::ActionResult {
        let file = |at| wire::OutputFile {
            path: format!("target/debug/deps/bench-output-{at}"),
            digest: Some(blobs.digest((number + at) % self.names)),
            is_executable: true,
            ..Default::default()
        };
        wire::ActionResult { output_files: (0..FILES).map(file).collect(), ..Default::default() }
    }

    /// What has come must be what was asked for. Of data the length tells it.
    fn check(&self, answer: &Answer) -> Result<()> {
        let good = match self.kind {
            Kind::BatchUpdate => message::<wire::BatchUpdateBlobsResponse>(answer)?
                .responses
                .iter()
                .all(|one| one.status.as_ref().is_none_or(|status| status.code == 0)),
            Kind::Write => message::<bytestream::WriteResponse>(answer)?.committed_size == self.size as i64,
            Kind::FindMissing => {
                message::<wire::FindMissingBlobsResponse>(answer)?.missing_blob_digests.is_empty()
            }
            Kind::UpdateAction | Kind::GetAction => {
                message::<wire::ActionResult>(answer)?.output_files.len() as u64 == FILES
            }
            Kind::BatchRead | Kind::Read => {
                let size = self.size as u64;
                (size..=size + size / 64 + 256).contains(&answer.len)
            }
        };
        if good { Ok(()) } else { Err(Error::other(format!("another answer, of {} bytes", answer.len))) }
    }
}

/// The one message of an answer.
pub(crate) fn message<M: Message + Default>(answer: &Answer) -> Result<M> {
    let bytes = answer.bytes.get(PREFIX..).ok_or_else(|| Error::other("no message"))?;
    M::decode(bytes).map_err(Error::other)
}

pub(crate) fn framed(message: &impl Message) -> Vec<Bytes> {
    let len = message.encoded_len();
    let mut bytes = BytesMut::with_capacity(PREFIX + len);
    bytes.put_slice(&grpc::prefix(len));
    bytes.put_slice(&message.encode_to_vec());
    vec![bytes.freeze()]
}

// === impl Kind ===

impl Kind {
    fn path(self) -> &'static str {
        match self {
            Kind::BatchUpdate => {
                "/build.bazel.remote.execution.v2.ContentAddressableStorage/BatchUpdateBlobs"
            }
            Kind::BatchRead => "/build.bazel.remote.execution.v2.ContentAddressableStorage/BatchReadBlobs",
            Kind::FindMissing => {
                "/build.bazel.remote.execution.v2.ContentAddressableStorage/FindMissingBlobs"
            }
            Kind::UpdateAction => "/build.bazel.remote.execution.v2.ActionCache/UpdateActionResult",
            Kind::GetAction => "/build.bazel.remote.execution.v2.ActionCache/GetActionResult",
            Kind::Write => "/google.bytestream.ByteStream/Write",
            Kind::Read => "/google.bytestream.ByteStream/Read",
        }
    }

    /// Whether its answer is decoded, rather than measured.
    fn is_decoded(self) -> bool {
        !matches!(self, Kind::BatchRead | Kind::Read)
    }
}
