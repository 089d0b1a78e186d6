//! A build whose every action is cached, as Bazel has it over gRPC: so many actions at a time, each of which asks for its
//! result and then reads all that it names, at once and over one connection.
//!
//! Before it, with `--fill`, the server is given what the build will ask for.

use std::io::{Error, Result};
use std::rc::Rc;
use std::time::Instant;

use bazel_remote_apis::build::bazel::remote::execution::v2 as wire;
use bazel_remote_apis::google::bytestream;
use bytes::Bytes;
use futures_util::future::try_join_all;
use prost::Message;

use crate::blobs::Blobs;
use crate::grpc::{self, Answer, Call, Connection, Windows};
use crate::reapi::{framed, message};
use crate::tally::Tally;

#[derive(clap::Args, Clone)]
pub(crate) struct Work {
    #[arg(long, default_value = "127.0.0.1")]
    host: String,
    #[arg(long)]
    port: u16,
    /// Put the results and what they name, instead of building.
    #[arg(long)]
    fill: bool,
    /// Actions of the build.
    #[arg(long)]
    actions: u64,
    /// Builds, one after the other.
    #[arg(long, default_value_t = 1)]
    builds: u64,
    /// Actions at a time.
    #[arg(long, default_value_t = 8)]
    jobs: usize,
    /// Bytes of each action's outputs.
    #[arg(long, value_delimiter = ',', required = true)]
    sizes: Vec<usize>,
    /// Makes this run's blobs others than those of any other.
    #[arg(long, default_value_t = 0)]
    salt: u64,
    #[arg(long, default_value_t = 1 << 20)]
    stream_window: u32,
    #[arg(long, default_value_t = 1 << 20)]
    connection_window: u32,
}

/// All that an action's calls are made of.
struct Build {
    work: Work,
    /// One for each of an action's outputs.
    outputs: Vec<Blobs>,
}

const GET_RESULT: &str = "/build.bazel.remote.execution.v2.ActionCache/GetActionResult";
const UPDATE_RESULT: &str = "/build.bazel.remote.execution.v2.ActionCache/UpdateActionResult";
const BATCH_UPDATE: &str = "/build.bazel.remote.execution.v2.ContentAddressableStorage/BatchUpdateBlobs";
const READ: &str = "/google.bytestream.ByteStream/Read";

pub(crate) async fn run(work: Work) -> Result<serde_json::Value> {
    let windows = Windows { stream: work.stream_window, connection: work.connection_window };
    let connection = grpc::connect(&work.host, work.port, windows).await?;
    let tally = Rc::new(Tally::default());
    // No two outputs of an action are the same.
    let output = |(at, size): (usize, &usize)| Blobs::new(*size, work.salt.wrapping_add(at as u64));
    let outputs = work.sizes.iter().enumerate().map(output).collect();
    let build = Rc::new(Build { work, outputs });
    let begin = Instant::now();
    let tasks: Vec<_> = (0..build.work.jobs)
        .map(|_| tokio::task::spawn_local(build.clone().drive(connection.clone(), tally.clone())))
        .collect();
    for task in tasks {
        task.await.map_err(Error::other)?;
    }
    Ok(tally.report(begin))
}

impl Build {
    /// One action after the other, until there are no more.
    async fn drive(self: Rc<Self>, connection: Connection, tally: Rc<Tally>) {
        while let Some(index) = tally.next(self.work.actions * self.work.builds) {
            let (begin, number) = (Instant::now(), index % self.work.actions);
            let done = match self.work.fill {
                true => self.put(&connection, number).await,
                false => self.get(&connection, number).await,
            };
            tally.took(begin);
            if let Err(error) = done {
                tally.fail(format!("action {number}: {error}"));
            }
        }
    }

    async fn get(&self, connection: &Connection, number: u64) -> Result<()> {
        let action_digest = Some(self.outputs[0].action(number));
        let request = wire::GetActionResultRequest { action_digest, ..Default::default() };
        let result: wire::ActionResult = message(&self.call(connection, GET_RESULT, &request, true).await?)?;
        let digests = result.output_files.into_iter().filter_map(|file| file.digest);
        let reads = digests.map(async |digest| {
            let resource_name = format!("blobs/{}/{}", digest.hash, digest.size_bytes);
            let request = bytestream::ReadRequest { resource_name, ..Default::default() };
            let len = self.call(connection, READ, &request, false).await?.len;
            // Each message adds a few bytes of its own.
            let size = digest.size_bytes as u64;
            match (size..=size + size / 64 + 256).contains(&len) {
                true => Ok(()),
                false => Err(Error::other(format!("{len} bytes for a blob of {size}"))),
            }
        });
        let count = try_join_all(reads).await?.len();
        match count == self.outputs.len() {
            true => Ok(()),
            false => Err(Error::other(format!("a result of {count} files"))),
        }
    }

    async fn put(&self, connection: &Connection, number: u64) -> Result<()> {
        for output in &self.outputs {
            let update = wire::batch_update_blobs_request::Request {
                digest: Some(output.digest(number)),
                data: output.whole(number),
                ..Default::default()
            };
            let request = wire::BatchUpdateBlobsRequest { requests: vec![update], ..Default::default() };
            let answer: wire::BatchUpdateBlobsResponse =
                message(&self.call(connection, BATCH_UPDATE, &request, true).await?)?;
            if answer.responses.iter().any(|one| one.status.as_ref().is_some_and(|status| status.code != 0)) {
                return Err(Error::other("a blob was refused"));
            }
        }
        let file = |(at, output): (usize, &Blobs)| wire::OutputFile {
            path: format!("bazel-out/k8-fastbuild/bin/bench/action-{number}-output-{at}"),
            digest: Some(output.digest(number)),
            is_executable: true,
            ..Default::default()
        };
        let output_files = self.outputs.iter().enumerate().map(file).collect();
        let request = wire::UpdateActionResultRequest {
            action_digest: Some(self.outputs[0].action(number)),
            action_result: Some(wire::ActionResult { output_files, ..Default::default() }),
            ..Default::default()
        };
        self.call(connection, UPDATE_RESULT, &request, true).await.map(drop)
    }

    async fn call(
        &self,
        connection: &Connection,
        path: &str,
        request: &impl Message,
        wanted: bool,
    ) -> Result<Answer> {
        let head = grpc::head(&self.work.host, self.work.port, path)?;
        let parts: Vec<Bytes> = framed(request);
        grpc::call(connection, &Call { head, parts }, wanted, None).await
    }
}
