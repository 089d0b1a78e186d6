//! The Remote Execution API, by calls whose bodies can be cut, held and broken off anywhere.

mod broken;
mod calls;
mod faults;
mod refused;
mod results;
mod writers;

use std::io;
use std::time::Duration;

use bazel_remote_apis::build::bazel::remote::execution::v2 as wire;
use bazel_remote_apis::google::bytestream as bytes_wire;
use prost::Message;
use tokio::sync::{mpsc, watch};
use tokio::task::JoinHandle;
use tonic::{Code, Status};

use super::*;
use crate::cache::PartialUploads;
use crate::digest::{Digest, Function};
use crate::key::UpstreamId;
use crate::protocol::reapi::{Frontend, Route};
use crate::protocol::{Places, Routes, routes};

const CAS: &str = "/build.bazel.remote.execution.v2.ContentAddressableStorage";
const ACTIONS: &str = "/build.bazel.remote.execution.v2.ActionCache";
const STREAM: &str = "/google.bytestream.ByteStream";

/// The API beside the other frontends of a desk.
struct Api {
    desk: Desk,
    frontend: Frontend,
}

/// A call, read to its end.
#[derive(Debug)]
struct Called {
    status: Status,
    messages: Vec<Bytes>,
}

/// A call under way whose body comes when it is told to.
struct Held {
    pieces: mpsc::Sender<Result<Frame<Bytes>, io::Error>>,
    /// How often the server has asked for more.
    asked: watch::Receiver<usize>,
    sent: usize,
    call: JoinHandle<Called>,
}

// === impl Api ===

impl Api {
    fn new() -> Self {
        Self::over(Desk::new(), None)
    }

    /// Instances of `blake3` have digests of that.
    fn over(desk: Desk, upstream: Option<UpstreamId>) -> Self {
        let policy = Policy { digest: Function::Blake3, ..Policy::default() };
        let blake3 = routes::Route { policy, ..routes::Route::default() };
        let named = [(Namespace::parse("blake3").expect("a name"), blake3)];
        let default = routes::Route { upstream, ..routes::Route::default() };
        let places = Places::new(Owner(0), Routes::new(default, named));
        let frontend = Frontend::new(Arc::clone(&desk.context), Arc::new(places));
        Self { desk, frontend }
    }

    /// Makes a call with this body.
    async fn call<B: Incoming>(&self, path: &str, body: B) -> Called {
        let mut request = Request::post(path).body(body).expect("a request");
        *request.version_mut() = hyper::Version::HTTP_2;
        Called::read(self.frontend.answer(Route::parse(path), request).await).await
    }

    /// Makes a call of these messages.
    async fn send<M: Message>(&self, path: &str, messages: &[M]) -> Called {
        self.call(path, Full::new(framed(messages))).await
    }

    async fn write(&self, messages: &[bytes_wire::WriteRequest]) -> Called {
        self.send(&format!("{STREAM}/Write"), messages).await
    }

    /// The same, of which nothing has been sent.
    fn hold_write(&self) -> Held {
        let (pieces, body) = mpsc::channel(1);
        let (asking, asked) = watch::channel(0);
        let body = futures_util::stream::unfold((body, asking), async |(mut body, asking)| {
            asking.send_modify(|times| *times += 1);
            Some((body.recv().await?, (body, asking)))
        });
        let mut request = Request::new(StreamBody::new(Box::pin(body)));
        *request.version_mut() = hyper::Version::HTTP_2;
        let frontend = self.frontend.clone();
        let call =
            tokio::spawn(async move { Called::read(frontend.answer(Route::Write, request).await).await });
        Held { pieces, asked, sent: 0, call }
    }

    async fn status_of(&self, upload: &str) -> (i64, bool) {
        let request = bytes_wire::QueryWriteStatusRequest { resource_name: upload.to_owned() };
        let called = self.send(&format!("{STREAM}/QueryWriteStatus"), &[request]).await;
        let status: bytes_wire::QueryWriteStatusResponse = called.one();
        (status.committed_size, status.complete)
    }

    async fn read(&self, name: &str, offset: i64, limit: i64) -> Called {
        let request = bytes_wire::ReadRequest {
            resource_name: name.to_owned(),
            read_offset: offset,
            read_limit: limit,
        };
        self.send(&format!("{STREAM}/Read"), &[request]).await
    }

    /// Stores it as a client does that has one message to send.
    async fn store(&self, data: &[u8]) {
        let written = self.write(&[piece(&upload("store", data), 0, data, true)]).await;
        assert_eq!(written.committed(), data.len() as i64);
    }

    async fn has(&self, data: &[u8]) -> bool {
        let request = wire::FindMissingBlobsRequest {
            blob_digests: vec![digest(data)],
            ..wire::FindMissingBlobsRequest::default()
        };
        let called = self.send(&format!("{CAS}/FindMissingBlobs"), &[request]).await;
        called.one::<wire::FindMissingBlobsResponse>().missing_blob_digests.is_empty()
    }

    async fn batch_read(&self, blobs: &[&[u8]], compressors: &[i32]) -> wire::BatchReadBlobsResponse {
        let request = wire::BatchReadBlobsRequest {
            digests: blobs.iter().map(|data| digest(data)).collect(),
            acceptable_compressors: compressors.to_vec(),
            ..wire::BatchReadBlobsRequest::default()
        };
        self.send(&format!("{CAS}/BatchReadBlobs"), &[request]).await.one()
    }

    async fn get_result(&self, instance: &str, action: &[u8]) -> Called {
        let request = wire::GetActionResultRequest {
            instance_name: instance.to_owned(),
            action_digest: Some(digest(action)),
            ..wire::GetActionResultRequest::default()
        };
        self.send(&format!("{ACTIONS}/GetActionResult"), &[request]).await
    }

    /// With a result that is any bytes.
    async fn update_result(&self, instance: &str, action: &[u8], result: &[u8]) -> Called {
        let digest = digest(action).encode_to_vec();
        let request = raw(0, &[field(1, instance.as_bytes()), field(2, &digest), field(3, result)]);
        self.call(&format!("{ACTIONS}/UpdateActionResult"), Full::new(request)).await
    }

    /// Waits until nothing is left of what was not finished.
    async fn nothing_left(&self, what: &str) {
        self.eventually(what, PartialUploads::default(), None).await;
    }

    /// The same where nothing was ever stored.
    async fn nothing_stored(&self, what: &str) {
        self.eventually(what, PartialUploads::default(), Some(0)).await;
    }

    /// Waits until an upload of so many bytes rests.
    async fn rests(&self, bytes: u64) {
        self.eventually("it rests", PartialUploads { count: 1, bytes, live: 0 }, None).await;
    }

    async fn eventually(&self, what: &str, uploads: PartialUploads, entries: Option<u64>) {
        let began = std::time::Instant::now();
        loop {
            let status = self.desk.context.cache.status().await;
            let tiers = [status.memory, status.disk, status.outbox];
            let drafts: u64 = tiers.iter().map(|tier| tier.draft_bytes).sum();
            let stored: u64 = tiers.iter().map(|tier| tier.entries).sum();
            let is_clean = uploads.count > 0 || drafts == 0;
            if status.partial_uploads == uploads && is_clean && entries.is_none_or(|count| count == stored) {
                return;
            }
            assert!(began.elapsed() < Duration::from_secs(10), "{what}: {status:?}");
            tokio::task::spawn_blocking(std::thread::yield_now).await.expect("no panic");
        }
    }
}

// === impl Called ===

impl Called {
    async fn read(answer: Answer) -> Self {
        assert_eq!(answer.status(), 200, "gRPC tells failures its own way");
        assert_eq!(answer.headers()["content-type"], "application/grpc");
        let in_head = Status::from_header_map(answer.headers());
        let body = answer.into_body().collect().await.expect("a whole body");
        let in_trailers = body.trailers().and_then(Status::from_header_map);
        assert!(in_head.is_none() || in_trailers.is_none(), "a call ends once");
        let status = in_head.or(in_trailers).expect("a call has an end");
        let mut rest = body.to_bytes();
        let mut messages = Vec::new();
        while !rest.is_empty() {
            let prefix = rest.split_to(5);
            assert_eq!(prefix[0], 0, "not compressed");
            let len = u32::from_be_bytes([prefix[1], prefix[2], prefix[3], prefix[4]]);
            messages.push(rest.split_to(len as usize));
        }
        Self { status, messages }
    }

    /// The one message of a call that went well.
    fn one<M: Message + Default>(&self) -> M {
        assert_eq!((self.status.code(), self.messages.len()), (Code::Ok, 1), "{:?}", self.status);
        M::decode(self.messages[0].clone()).expect("the method's message")
    }

    /// What a write that went well committed.
    fn committed(&self) -> i64 {
        self.one::<bytes_wire::WriteResponse>().committed_size
    }

    /// The data of a read, however it ended.
    fn data(&self) -> Vec<u8> {
        let chunks = self
            .messages
            .iter()
            .map(|message| bytes_wire::ReadResponse::decode(message.clone()).expect("a chunk").data);
        chunks.collect::<Vec<_>>().concat()
    }

    fn assert_refused(&self, code: Code, words: &str) {
        assert_eq!(self.status.code(), code, "{:?}, not {words}", self.status);
        assert!(self.status.message().contains(words), "{:?}, not {words}", self.status);
        assert!(self.messages.is_empty());
    }
}

// === impl Held ===

impl Held {
    /// Sends this, and waits until the server has done with it all that can be done. `false`: the call has ended.
    async fn send(&mut self, bytes: impl Into<Bytes>) -> bool {
        let sent = self.pieces.send(Ok(Frame::data(bytes.into()))).await;
        self.sent += 1;
        sent.is_ok() && self.asked.wait_for(|asked| *asked > self.sent).await.is_ok()
    }

    /// The connection is lost.
    async fn break_off(self) -> Called {
        let reset = Err(io::ErrorKind::ConnectionReset.into());
        self.pieces.send(reset).await.expect("the call is under way");
        self.call.await.expect("no panic")
    }

    /// The client has reset its call: what the server does then is to drop it.
    async fn reset(self) {
        self.call.abort();
        assert!(self.call.await.expect_err("it was under way").is_cancelled());
    }

    /// The client has sent all that it will.
    async fn end(self) -> Called {
        drop(self.pieces);
        self.call.await.expect("no panic")
    }

    /// The end of a call that ends though the client could send more.
    async fn ended(self) -> Called {
        let called = self.call.await.expect("no panic");
        drop(self.pieces);
        called
    }
}

// === messages ===

/// Messages as they are sent.
fn framed<M: Message>(messages: &[M]) -> Bytes {
    let mut bytes = Vec::new();
    for message in messages {
        let message = message.encode_to_vec();
        bytes.push(0);
        bytes.extend_from_slice(&(message.len() as u32).to_be_bytes());
        bytes.extend_from_slice(&message);
    }
    bytes.into()
}

/// A field of bytes.
fn field(number: u8, bytes: &[u8]) -> Vec<u8> {
    let mut field = vec![number << 3 | 2];
    prost::encoding::encode_varint(bytes.len() as u64, &mut field);
    field.extend_from_slice(bytes);
    field
}

/// A message that no library would write, with its prefix.
fn raw(flag: u8, fields: &[Vec<u8>]) -> Bytes {
    let message = fields.concat();
    [&[flag][..], &(message.len() as u32).to_be_bytes(), &message].concat().into()
}

/// A body in frames of so many bytes.
fn cut(bytes: Bytes, len: usize) -> impl Incoming {
    let starts = (0..bytes.len()).step_by(len);
    let frames = starts.map(move |at| bytes.slice(at..bytes.len().min(at + len)));
    StreamBody::new(futures_util::stream::iter(frames.map(|frame| Ok::<_, Infallible>(Frame::data(frame)))))
}

/// A message of an upload.
fn piece(name: &str, offset: usize, data: &[u8], is_last: bool) -> bytes_wire::WriteRequest {
    bytes_wire::WriteRequest {
        resource_name: name.to_owned(),
        write_offset: offset as i64,
        finish_write: is_last,
        data: data.to_vec(),
    }
}

/// `data` from `offset` on, in messages of so many bytes, of which the first has the name.
fn pieces(name: &str, data: &[u8], offset: usize, len: usize) -> Vec<bytes_wire::WriteRequest> {
    let rest = &data[offset..];
    let one = |(at, part): (usize, &[u8])| {
        let name = if at == 0 { name } else { "" };
        piece(name, offset + at * len, part, (at + 1) * len >= rest.len())
    };
    rest.chunks(len).enumerate().map(one).collect()
}

fn digest(data: &[u8]) -> wire::Digest {
    wire::Digest { hash: Digest::of(Function::Sha256, data).hex(), size_bytes: data.len() as i64 }
}

/// The name by which `data` is read.
fn resource(data: &[u8]) -> String {
    format!("blobs/{}/{}", digest(data).hash, data.len())
}

/// The name by which `data` is written.
fn upload(id: &str, data: &[u8]) -> String {
    format!("uploads/{id}/{}", resource(data))
}

/// The name by which `data` is written compressed.
fn zstd_upload(id: &str, data: &[u8]) -> String {
    format!("uploads/{id}/compressed-{}", resource(data).replacen("blobs/", "blobs/zstd/", 1))
}

/// Bytes that don't compress, the same for the same seed.
fn noise(seed: &str, len: usize) -> Vec<u8> {
    let mut bytes = vec![0; len];
    blake3::Hasher::new().update(seed.as_bytes()).finalize_xof().fill(&mut bytes);
    bytes
}

fn compress(data: &[u8]) -> Vec<u8> {
    let mut compressed = Vec::with_capacity(zstd_safe::compress_bound(data.len()));
    zstd_safe::compress(&mut compressed, data, 1).expect("there is room");
    compressed
}
