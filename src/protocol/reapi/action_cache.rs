//! `ActionCache`: results of actions, shared with the HTTP protocol whatever form they came in.
//!
//! A result stays the bytes that came, unknown fields included. What is asked for beside it (standard streams and small
//! files inlined) is put in on the way out, field by field and without decoding it. Every answer has
//! `execution_metadata`: without one Buck2 fails.

use std::collections::HashSet;

use bazel_remote_apis::build::bazel::remote::execution::v2 as wire;
use bytes::{Bytes, BytesMut};
use tokio::time::Instant;
use tonic::Status;

use super::cas::put_bytes_head;
use super::grpc::{Messages, garbage, message, unary};
use super::requests::{Blob, ResultUpdate};
use super::{Core, Writing, small};
use crate::digest::Function;
use crate::entry::{Attrs, ByteRange, Claim, Precondition, Tier};
use crate::key::{Key, Name, Scope};
use crate::links::fields::{Fields, Malformed, Value};
use crate::links::{self, Links, PARSED_BYTES_MAX};
use crate::protocol::http::{Answer, Incoming};
use crate::protocol::{AC, Intent};

/// What is inlined in an answer, together: it and the rest stay below the 4 MiB that clients take by default.
const INLINED_BYTES_MAX: u64 = 3 << 20;

/// `ActionResult.execution_metadata`, empty.
const NO_METADATA: &[u8] = &[9 << 3 | 2, 0];

impl Core {
    pub(super) async fn get_action_result<B: Incoming>(
        &self,
        messages: Messages<B>,
    ) -> Result<Answer, Status> {
        let request: wire::GetActionResultRequest = small(messages).await?;
        let digest = request.action_digest.as_ref();
        let digest = digest.ok_or_else(|| Status::invalid_argument("the request has no action_digest"))?;
        let scope = self.scope(&request.instance_name, request.digest_function)?;
        let action = Blob::named(scope.policy.digest, &digest.hash, digest.size_bytes)?;
        let deadline = Instant::now() + self.context.cache.settings().first_byte;
        let (result, from) =
            self.result(&scope, &action).await.ok_or_else(|| Status::not_found("not in the cache"))?;
        let pieces = match Wishes::of(&request) {
            None => completed(result),
            Some(wishes) => self.inlined(&scope, result, &wishes, deadline).await?,
        };
        self.stats.hit(from);
        self.stats.bytes_out.add(pieces.iter().map(Bytes::len).sum::<usize>() as u64);
        Ok(unary(message(pieces), Some(from)))
    }

    /// A stored result; `None` for other things that tools keep under such names.
    async fn result(&self, scope: &Scope, action: &Blob) -> Option<(Bytes, Tier)> {
        self.context.cache.expect(scope, action.digest, action.size);
        let hit = self.context.cache.get(scope, &key(action).ok()?, ByteRange::Full).await.ok()??;
        let from = hit.from;
        let bytes = hit.body.collect(PARSED_BYTES_MAX as u64).await;
        let bytes =
            bytes.inspect_err(|error| tracing::debug!(%error, "an action result can't be answered")).ok()?;
        let is_result = links::action_result(scope.policy.digest, &bytes) != Links::Opaque;
        is_result.then_some((bytes, from))
    }

    pub(super) async fn update_action_result<B: Incoming>(
        &self,
        messages: Messages<B>,
    ) -> Result<Answer, Status> {
        let (request, _share) = self.large(messages).await?;
        let request = ResultUpdate::parse(&request)?;
        let scope = self.scope(&request.instance, request.function)?;
        let action = request.action.of(scope.policy.digest)?;
        let pieces = completed(request.result);
        let result = Bytes::from(pieces.concat());
        if links::action_result(scope.policy.digest, &result) == Links::Opaque {
            return Err(Status::invalid_argument(
                "the action_result is not well-formed: every digest needs 64 lower-case hex digits and its size, \
                 every path must be relative and not empty",
            ));
        }
        self.context.cache.expect(&scope, action.digest, action.size);
        match self.store_result(&scope, &action, &result).await {
            Ok(()) | Err(None) => self.stats.puts.one(),
            Err(Some(status)) => return Err(status),
        }
        Ok(unary(message([result]), None))
    }

    async fn store_result(&self, scope: &Scope, action: &Blob, result: &Bytes) -> Writing<()> {
        let claim = Claim { len: Some(result.len() as u64), digest: None };
        let key = key(action).map_err(Some)?;
        let put = self.context.cache.put(scope, key, claim, Attrs::default(), Precondition::None).await;
        let mut put = put.map_err(|error| self.refuse(&error, Intent::Write))?;
        put.write(result.clone()).await.map_err(|error| self.refuse(&error, Intent::Write))?;
        put.commit().await.map_err(|error| self.refuse(&error, Intent::Write))?;
        Ok(())
    }

    /// The result with what was wished for, as far as it is here in time and there is room for it.
    async fn inlined(
        &self,
        scope: &Scope,
        result: Bytes,
        wishes: &Wishes<'_>,
        deadline: Instant,
    ) -> Result<Vec<Bytes>, Status> {
        let mut room = INLINED_BYTES_MAX.saturating_sub(result.len() as u64);
        let parts = Parts::of(scope.policy.digest, &result, wishes).map_err(|Malformed| garbage())?;
        let mut found = Vec::new();
        for blob in parts.blobs() {
            found.push(self.inline(scope, blob, &mut room, deadline).await);
        }
        Ok(parts.put_in(&result, found))
    }

    /// The bytes of something to be inlined: a hint, which nothing fails over.
    async fn inline(&self, scope: &Scope, blob: &Blob, room: &mut u64, deadline: Instant) -> Option<Bytes> {
        let left = room.checked_sub(blob.size)?;
        let (bytes, _) = self.collect(scope, blob, deadline).await?;
        *room = left;
        Some(bytes)
    }
}

/// What is to be inlined.
pub(super) struct Wishes<'a> {
    pub(super) stdout: bool,
    pub(super) stderr: bool,
    /// By their paths. A set: results have many files, and requests may have many wishes.
    pub(super) files: HashSet<&'a str>,
}

/// What a result has of it.
pub(super) struct Parts {
    /// Where each file begins, tag and bytes, and where it ends.
    files: Vec<((usize, usize), usize, Blob)>,
    /// What becomes which field.
    streams: Vec<(u8, Blob)>,
    has_metadata: bool,
}

impl<'a> Wishes<'a> {
    fn of(request: &'a wire::GetActionResultRequest) -> Option<Self> {
        let (stdout, stderr) = (request.inline_stdout, request.inline_stderr);
        let files: HashSet<_> = request.inline_output_files.iter().map(String::as_str).collect();
        (stdout || stderr || !files.is_empty()).then_some(Self { stdout, stderr, files })
    }
}

impl Parts {
    pub(super) fn of(function: Function, result: &Bytes, wishes: &Wishes<'_>) -> Result<Self, Malformed> {
        let mut parts = Self { files: Vec::new(), streams: Vec::new(), has_metadata: false };
        let (mut has_stdout, mut has_stderr) = (false, false);
        let mut found = [None, None];
        let mut fields = Fields::of(result)?;
        let mut at = 0;
        while let Some((number, value)) = fields.next()? {
            let end = result.len() - fields.len();
            match (number, &value) {
                (2, Value::Bytes(file)) if !wishes.files.is_empty() => {
                    if let Some(blob) = wished(function, file, &wishes.files)? {
                        parts.files.push(((at, end - file.len()), end, blob));
                    }
                }
                (5, Value::Bytes(raw)) => has_stdout = !raw.is_empty(),
                (7, Value::Bytes(raw)) => has_stderr = !raw.is_empty(),
                (6, Value::Bytes(digest)) => found[0] = blob(function, digest)?,
                (8, Value::Bytes(digest)) => found[1] = blob(function, digest)?,
                (9, _) => parts.has_metadata = true,
                _ => {}
            }
            at = end;
        }
        let [out, err] = found;
        parts.streams.extend(out.filter(|_| wishes.stdout && !has_stdout).map(|blob| (5, blob)));
        parts.streams.extend(err.filter(|_| wishes.stderr && !has_stderr).map(|blob| (7, blob)));
        Ok(parts)
    }

    /// What is to be found, in the order in which it is put in.
    pub(super) fn blobs(&self) -> impl Iterator<Item = &Blob> {
        let files = self.files.iter().map(|(_, _, blob)| blob);
        files.chain(self.streams.iter().map(|(_, blob)| blob))
    }

    /// The result with as much of that as was found.
    pub(super) fn put_in(self, result: &Bytes, found: Vec<Option<Bytes>>) -> Vec<Bytes> {
        let mut found = found.into_iter();
        let mut pieces = Vec::new();
        let mut kept = 0;
        for (at, end, _) in self.files {
            let Some(contents) = found.next().flatten() else { continue };
            // The same field with its contents added at its end.
            let part = at.1..end;
            let mut contents_head = BytesMut::with_capacity(8);
            put_bytes_head(&mut contents_head, 5, contents.len());
            let mut head = BytesMut::with_capacity(16);
            put_bytes_head(&mut head, 2, part.len() + contents_head.len() + contents.len());
            pieces.extend([result.slice(kept..at.0), head.freeze(), result.slice(part)]);
            pieces.extend([contents_head.freeze(), contents]);
            kept = end;
        }
        pieces.push(result.slice(kept..));
        for (number, _) in self.streams {
            let Some(bytes) = found.next().flatten() else { continue };
            let mut head = BytesMut::with_capacity(8);
            put_bytes_head(&mut head, number, bytes.len());
            pieces.extend([head.freeze(), bytes]);
        }
        if !self.has_metadata {
            pieces.push(Bytes::from_static(NO_METADATA));
        }
        pieces
    }
}

/// The blob of an output file that is to be inlined and is not yet.
fn wished(function: Function, file: &[u8], files: &HashSet<&str>) -> Result<Option<Blob>, Malformed> {
    let (mut path, mut found, mut is_inlined) = ("", None, false);
    let mut fields = Fields::of(file)?;
    while let Some((number, value)) = fields.next()? {
        match number {
            1 => path = value.text()?,
            2 => found = blob(function, value.bytes()?)?,
            5 => is_inlined = !value.bytes()?.is_empty(),
            _ => {}
        }
    }
    Ok(found.filter(|_| !is_inlined && files.contains(path)))
}

/// A blob that is not empty.
fn blob(function: Function, digest: &[u8]) -> Result<Option<Blob>, Malformed> {
    let (mut hash, mut size) = ("", 0);
    let mut fields = Fields::of(digest)?;
    while let Some((number, value)) = fields.next()? {
        match number {
            1 => hash = value.text()?,
            2 => size = value.varint()?,
            _ => {}
        }
    }
    let blob = Blob::named(function, hash, size as i64).map_err(|_| Malformed)?;
    Ok(Some(blob).filter(|blob| blob.size > 0))
}

/// A result with `execution_metadata`.
pub(super) fn completed(result: Bytes) -> Vec<Bytes> {
    let mut has_metadata = false;
    if let Ok(mut fields) = Fields::of(&result) {
        while let Ok(Some((number, _))) = fields.next() {
            has_metadata |= number == 9;
        }
    }
    let metadata = if has_metadata { &[] } else { NO_METADATA };
    vec![result, Bytes::from_static(metadata)]
}

fn key(action: &Blob) -> Result<Key, Status> {
    let name = Name::parse(&action.digest.hex())
        .map_err(|error| Status::invalid_argument(error.message().to_owned()))?;
    Ok(Key::Named { space: AC, name })
}

#[cfg(test)]
mod tests {
    use super::*;
    use prost::Message as _;

    #[test]
    fn metadata_is_added_once() {
        let bare = wire::ActionResult { exit_code: 3, ..Default::default() };
        let once = Bytes::from(completed(bare.encode_to_vec().into()).concat());
        let read = wire::ActionResult::decode(once.clone()).expect("a result");
        assert_eq!((read.exit_code, read.execution_metadata.is_some()), (3, true));
        assert_eq!(completed(once.clone()).concat(), once);
        assert_eq!(completed(Bytes::new()).concat(), NO_METADATA);
    }
}
