//! Results of actions, as they are on the wire; and what is made of one that a strict server would refuse.

use std::sync::Arc;

use bazel_remote_apis::build::bazel::remote::execution::v2 as wire;
use bytes::Bytes;
use prost::Message as _;

use super::super::{Failure, Fault, Signal, Source};
use super::calls::{Doing, Method};
use super::content::SMALL_BYTES_MAX;
use super::messages::{ResultUpdate, SHA256};
use super::{Blob, Reapi, etag_of};
use crate::body::Body;
use crate::digest::{Digest, Function};
use crate::error::{Error, Result};
use crate::links::{self, Links, PARSED_BYTES_MAX};

const GET: Method = Method("/build.bazel.remote.execution.v2.ActionCache/GetActionResult");
const UPDATE: Method = Method("/build.bazel.remote.execution.v2.ActionCache/UpdateActionResult");

/// Of an action that nobody said the size of: see the module's description.
const SOME_SIZE: u64 = 1;

/// Content that is all here.
struct Inlined(Bytes);

impl Reapi {
    /// The result of an action, as it came; `None` if there is none. What it names is known by size from then on.
    pub(super) async fn result(&self, action: &Digest) -> Result<Option<Bytes>, Fault> {
        self.capabilities().await?;
        let len = self.sizes.of(action).unwrap_or(SOME_SIZE);
        let request = wire::GetActionResultRequest {
            instance_name: self.instance.clone(),
            action_digest: Some(Blob { digest: *action, len }.wire()),
            digest_function: SHA256,
            ..wire::GetActionResultRequest::default()
        };
        let result = match self.calls.unary_bytes(GET, request.encode_to_vec().into()).await {
            Ok(result) => result,
            Err(failed) if failed.is_not_found() => return Ok(None),
            Err(failed) => return Err(self.calls.judge(failed, GET, Doing::Read)),
        };
        self.note_links(&result);
        Ok(Some(result))
    }

    /// Stores the result of an action, after what is inlined in it; the ETag of what was sent.
    pub(super) async fn write_result(&self, action: &Digest, source: &dyn Source) -> Result<Arc<str>, Fault> {
        let body = source.open(0..source.len()).await.map_err(Failure::Source)?;
        let bytes = body.collect(PARSED_BYTES_MAX as u64).await.map_err(Failure::Source)?;
        let refuse = |words: &str| Fault::from(Failure::Refused(words.into()));
        if links::action_result(Function::Sha256, &bytes) == Links::Opaque {
            return Err(refuse(
                "it is no action result, and the Remote Execution API keeps nothing else under `ac`",
            ));
        }
        let Some(len) = self.sizes.of(action) else {
            return Err(refuse(
                "the size of its action isn't known here, and the Remote Execution API asks by hash and size: the \
                 tool has not stored the action itself",
            ));
        };
        self.takes_results().await?;
        self.note_links(&bytes);
        let (result, inlined) = outlined(bytes).map_err(Failure::Source)?;
        for (blob, bytes) in inlined {
            match blob.len {
                0..=SMALL_BYTES_MAX => self.write_small(blob, bytes).await?,
                _ => self.write_content(blob, &Inlined(bytes)).await?,
            }
        }
        let etag = etag_of(&result);
        let request = ResultUpdate {
            instance: self.instance.clone(),
            action: Some(Blob { digest: *action, len }.wire()),
            result,
            function: SHA256,
        };
        let done = self.calls.unary_bytes(UPDATE, request.encode_to_vec().into()).await;
        done.map_err(|failed| self.calls.judge(failed, UPDATE, Doing::Write))?;
        Ok(etag)
    }

    /// Whether it takes results of ours. It says so once for each connection: the next call asks again.
    pub(super) async fn takes_results(&self) -> Result<(), Fault> {
        if self.capabilities().await?.takes_results {
            return Ok(());
        }
        self.calls.channel.disconnect();
        let words = "the cache says that it takes no action results from us: give credentials that may write, or \
                     configure it as read_only=true";
        Err(Fault::state(Signal::Denied, words))
    }

    fn note_links(&self, result: &[u8]) {
        if let Links::Known(links) = links::action_result(Function::Sha256, result) {
            links.iter().for_each(|link| self.sizes.note(&link.digest, link.size));
        }
    }
}

/// A result with nothing inlined, and what was. Bytes that have nothing inlined stay as they are.
fn outlined(bytes: Bytes) -> Result<(Bytes, Vec<(Blob, Bytes)>)> {
    let decode = wire::ActionResult::decode(bytes.clone());
    let mut result = decode.map_err(|_| Error::invalid("an action result that can't be read again"))?;
    let mut found = Vec::new();
    let mut outline = |inlined: &mut Vec<u8>| -> Option<wire::Digest> {
        let bytes = Bytes::from(std::mem::take(inlined));
        let blob = Blob { digest: Digest::of(Function::Sha256, &bytes), len: bytes.len() as u64 };
        found.push((blob, bytes));
        Some(blob.wire())
    };
    for file in result.output_files.iter_mut().filter(|file| !file.contents.is_empty()) {
        file.digest = outline(&mut file.contents);
    }
    if !result.stdout_raw.is_empty() {
        result.stdout_digest = outline(&mut result.stdout_raw);
    }
    if !result.stderr_raw.is_empty() {
        result.stderr_digest = outline(&mut result.stderr_raw);
    }
    let bytes = if found.is_empty() { bytes } else { result.encode_to_vec().into() };
    Ok((bytes, found))
}

// === impl Source ===

impl Source for Inlined {
    fn len(&self) -> u64 {
        self.0.len() as u64
    }

    fn open(&self, range: std::ops::Range<u64>) -> futures_util::future::BoxFuture<'_, Result<Body>> {
        let bounds = |at: u64| usize::try_from(at).unwrap_or(usize::MAX).min(self.0.len());
        let bytes = self.0.slice(bounds(range.start)..bounds(range.end));
        Box::pin(std::future::ready(Ok(Body::bytes(bytes))))
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn what_is_inlined_becomes_content_and_the_rest_stays_as_it_is() {
        let file = |contents: &[u8]| wire::OutputFile {
            path: "a".into(),
            digest: Some(Blob { digest: Digest::of(Function::Sha256, b"file"), len: 4 }.wire()),
            contents: contents.to_vec(),
            ..wire::OutputFile::default()
        };
        let mut plain =
            wire::ActionResult { output_files: vec![file(b"")], ..Default::default() }.encode_to_vec();
        // A field of a later version of the API.
        plain.extend_from_slice(&[0xfa, 0x07, 1, 7]);
        let (same, none) = outlined(plain.clone().into()).expect("a result");
        assert!(same == plain && none.is_empty());

        let inlined = wire::ActionResult {
            output_files: vec![file(b"file")],
            stdout_raw: b"out".to_vec(),
            stderr_raw: b"err".to_vec(),
            exit_code: 3,
            ..Default::default()
        };
        let (bytes, found) = outlined(inlined.encode_to_vec().into()).expect("a result");
        let result = wire::ActionResult::decode(bytes).expect("a result");
        let digest = |bytes: &[u8]| {
            Some(Blob { digest: Digest::of(Function::Sha256, bytes), len: bytes.len() as u64 }.wire())
        };
        assert_eq!(result.output_files, [file(b"")]);
        assert!(result.stdout_raw.is_empty() && result.stderr_raw.is_empty() && result.exit_code == 3);
        assert_eq!((result.stdout_digest, result.stderr_digest), (digest(b"out"), digest(b"err")));
        let bytes: Vec<&[u8]> = found.iter().map(|(_, bytes)| &bytes[..]).collect();
        assert_eq!(bytes, [&b"file"[..], b"out", b"err"]);
    }
}
