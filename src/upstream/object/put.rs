//! Writing to a bucket: up to 8 MiB one PUT, above a multipart upload.
//!
//! A multipart upload is noted before its first part and aborted when it fails or its caller goes away; what a kill
//! leaves is aborted by the next process (see [`super::super::uploads`]). Its condition is looked at before it
//! begins and again before it is completed: `object_store` completes without conditions. Azure's have no id: there is
//! nothing to note or to abort, and parts that nobody commits are gone after a week.

use std::time::Duration;

use futures_util::StreamExt as _;
use object_store::path::Path;
use object_store::{
    Attribute, Attributes, MultipartUpload, PutMode, PutMultipartOptions, PutPayload, UpdateVersion,
};

use super::super::times::in_time;
use super::super::uploads::Upload;
use super::super::{Failure, Fault, Looked, PutDone, PutIf, PutOptions, Signal, Source};
use super::{BucketKind, Call, Objects, PROBE, Seen, quoted};
use crate::key::ObjectName;

/// Larger bodies go in parts of this size. S3 takes 10,000 of them: 78 GiB.
const PART_BYTES: u64 = 8 << 20;

/// An upload slower than this has stalled.
const BYTES_PER_SECOND_MIN: u64 = 64 << 10;

/// An ETag that no object has: the probe's condition.
const NO_ETAG: &str = "larder-no-such-etag";

/// A generation that no object has: Google's are microseconds since 1970.
const NO_GENERATION: &str = "1";

/// A begun multipart upload. Dropped before its end, it is aborted in the background.
struct Begun<'a> {
    store: &'a Objects,
    path: Path,
    upload: Option<Upload>,
}

/// See [`super::super::Upstream::put`].
pub(super) async fn put(
    store: &Objects,
    name: &ObjectName,
    source: &dyn Source,
    options: &PutOptions,
) -> Result<PutDone, Fault> {
    if source.len() > PART_BYTES {
        in_parts(store, name, source, options).await
    } else {
        whole(store, name, source, options).await
    }
}

/// Asks whether writes are allowed by one that can't be done: over a version that isn't there. A store that ignores
/// the condition is left with an empty object by that name.
pub(super) async fn probe(store: &Objects, near: Option<&ObjectName>) -> Result<(), Fault> {
    let folder = near.and_then(|near| near.as_str().split_once('/')).map(|(folder, _)| folder);
    let path = store.path(&folder.map_or_else(|| PROBE.to_owned(), |folder| format!("{folder}/{PROBE}")))?;
    let impossible = match store.kind {
        BucketKind::Google => of_generation(NO_GENERATION.into()),
        BucketKind::S3 { .. } | BucketKind::Azure { .. } => of_etag(NO_ETAG),
    };
    match send(store, &path, PutPayload::new(), impossible, &PutOptions::default()).await {
        Ok(_) => Ok(()),
        Err(Fault { failure: Failure::Conflict, .. }) => Ok(()),
        // It knows no conditions, and said so: an empty object shows whether it takes one.
        Err(Fault { signal: Signal::Neutral, failure: Failure::State(_) }) => {
            send(store, &path, PutPayload::new(), PutMode::Overwrite, &PutOptions::default()).await.map(drop)
        }
        Err(fault) => Err(fault),
    }
}

async fn whole(
    store: &Objects,
    name: &ObjectName,
    source: &dyn Source,
    options: &PutOptions,
) -> Result<PutDone, Fault> {
    let path = store.path(name.as_str())?;
    let mode = match &options.condition {
        PutIf::Always => PutMode::Overwrite,
        PutIf::Absent => PutMode::Create,
        PutIf::Matches(etag) => match store.kind {
            BucketKind::Google => of_generation(generation(store, &path, etag).await?),
            BucketKind::S3 { .. } | BucketKind::Azure { .. } => of_etag(etag),
        },
    };
    let _room = store.spawner.buffer(source.len()).await;
    let payload = read(source, 0, source.len()).await?;
    send(store, &path, payload, mode, options).await
}

fn of_etag(etag: &str) -> PutMode {
    PutMode::Update(UpdateVersion { e_tag: Some(quoted(etag)), version: None })
}

fn of_generation(generation: String) -> PutMode {
    PutMode::Update(UpdateVersion { e_tag: None, version: Some(generation) })
}

/// The generation whose ETag this is, which must be there now. Who overwrites it meanwhile makes another.
async fn generation(store: &Objects, path: &Path, etag: &str) -> Result<String, Fault> {
    let seen = Seen::default();
    let head = object_store::GetOptions { head: true, ..object_store::GetOptions::default() };
    match seen.watch(in_time(store.stall, "HEAD", store.reads.get_opts(path, head))).await? {
        Ok(got) if got.meta.e_tag.as_deref().map(|etag| etag.trim_matches('"')) == Some(etag) => {
            got.meta.version.ok_or_else(|| Fault::state(Signal::Fault, "an object without a generation"))
        }
        Ok(_) => Err(Failure::Conflict.into()),
        Err(_) if seen.answer().is_some_and(|answer| answer.is_absent()) => Err(Failure::Conflict.into()),
        Err(error) => Err(seen.fault(Call::Put, &error)),
    }
}

/// One PUT.
async fn send(
    store: &Objects,
    path: &Path,
    payload: PutPayload,
    mode: PutMode,
    options: &PutOptions,
) -> Result<PutDone, Fault> {
    let (is_conditional, is_update) = (mode != PutMode::Overwrite, matches!(mode, PutMode::Update(_)));
    let deadline = allowed(store.stall, payload.content_length() as u64);
    let put = object_store::PutOptions { mode, attributes: attributes(options), ..Default::default() };
    let seen = Seen::default();
    let result = seen.watch(in_time(deadline, "PUT", store.writes.put_opts(path, payload, put))).await?;
    let answer = seen.answer().unwrap_or_default();
    match result {
        Ok(_) => {
            store.saw_bucket();
            Ok(PutDone { etag: answer.meta.etag, server_date: answer.meta.server_date })
        }
        Err(error) => Err(match answer.status {
            409 | 412 if answer.own && is_conditional && !answer.is_about_bucket() => {
                Failure::Conflict.into()
            }
            404 if answer.is_absent() && is_update => Failure::Conflict.into(),
            _ => seen.fault(Call::Put, &error),
        }),
    }
}

async fn in_parts(
    store: &Objects,
    name: &ObjectName,
    source: &dyn Source,
    options: &PutOptions,
) -> Result<PutDone, Fault> {
    check(store, name, &options.condition).await?;
    let (mut upload, begun) = begin(store, name, options).await?;
    let sent = send_parts(store, &mut *upload, source).await;
    let done = match sent {
        Ok(()) => match check(store, name, &options.condition).await {
            Ok(()) => complete(store, &mut *upload, source.len()).await,
            Err(fault) => Err(fault),
        },
        Err(fault) => Err(fault),
    };
    match done {
        Ok(done) => {
            begun.completed();
            Ok(done)
        }
        Err(fault) => {
            begun.abort().await;
            Err(fault)
        }
    }
}

/// Whether the condition of a write holds now.
async fn check(store: &Objects, name: &ObjectName, condition: &PutIf) -> Result<(), Fault> {
    if *condition == PutIf::Always {
        return Ok(());
    }
    let current = in_time(store.stall, "HEAD", store.look(name.as_str())).await??;
    let holds = match (condition, &current) {
        (PutIf::Always, _) | (PutIf::Absent, Looked::Absent { .. }) => true,
        (PutIf::Matches(etag), Looked::Found(meta)) => meta.etag.as_ref() == Some(etag),
        (PutIf::Absent, Looked::Found(_)) | (PutIf::Matches(_), Looked::Absent { .. }) => false,
    };
    if holds { Ok(()) } else { Err(Failure::Conflict.into()) }
}

async fn begin<'a>(
    store: &'a Objects,
    name: &ObjectName,
    options: &PutOptions,
) -> Result<(Box<dyn MultipartUpload>, Begun<'a>), Fault> {
    let path = store.path(name.as_str())?;
    let wanted = PutMultipartOptions { attributes: attributes(options), ..Default::default() };
    let seen = Seen::default();
    let call = store.writes.put_multipart_opts(&path, wanted);
    let result = seen.watch(in_time(store.stall, "POST", call)).await?;
    let upload = result.map_err(|error| seen.fault(Call::Put, &error))?;
    let noted = seen
        .upload_id()
        .filter(|id| !id.bytes().any(|byte| byte.is_ascii_control()))
        .map(|id| Upload { id, name: name.clone() });
    if let (Some(uploads), Some(noted)) = (&store.uploads, &noted)
        && let Err(error) = uploads.begun(noted)
    {
        // The upload is worth more than its note.
        tracing::warn!("{error}; a kill now would leave parts in the bucket");
    }
    Ok((upload, Begun { store, path, upload: noted }))
}

async fn send_parts(
    store: &Objects,
    upload: &mut dyn MultipartUpload,
    source: &dyn Source,
) -> Result<(), Fault> {
    let mut start = 0;
    while start < source.len() {
        let end = source.len().min(start + PART_BYTES);
        let _room = store.spawner.buffer(end - start).await;
        let payload = read(source, start, end).await?;
        let seen = Seen::default();
        let deadline = allowed(store.stall, end - start);
        let result = seen.watch(in_time(deadline, "PUT of a part", upload.put_part(payload))).await?;
        result.map_err(|error| seen.fault(Call::Put, &error))?;
        start = end;
    }
    Ok(())
}

async fn complete(store: &Objects, upload: &mut dyn MultipartUpload, len: u64) -> Result<PutDone, Fault> {
    let seen = Seen::default();
    // Stores put the parts together before they answer.
    let deadline = allowed(store.stall, len / 16);
    let result = seen.watch(in_time(deadline, "POST to complete", upload.complete())).await?;
    let done = result.map_err(|error| seen.fault(Call::Put, &error))?;
    Ok(PutDone {
        etag: done.e_tag.as_deref().map(|etag| etag.trim_matches('"').into()),
        server_date: seen.answer().and_then(|answer| answer.meta.server_date),
    })
}

/// Reads a part of what is to be uploaded, in the pieces that it comes in.
async fn read(source: &dyn Source, start: u64, end: u64) -> Result<PutPayload, Fault> {
    let failed = |error| Fault::from(Failure::Source(error));
    let mut body = source.open(start..end).await.map_err(failed)?;
    let mut pieces = Vec::new();
    while let Some(piece) = body.next().await {
        pieces.push(piece.map_err(failed)?);
    }
    Ok(pieces.into_iter().collect())
}

fn attributes(options: &PutOptions) -> Attributes {
    let mut attributes = Attributes::new();
    let content_type = options.content_type.as_deref().unwrap_or("application/octet-stream");
    attributes.insert(Attribute::ContentType, content_type.to_owned().into());
    for (name, value) in options.attrs.iter() {
        attributes.insert(Attribute::Metadata(name.to_owned().into()), value.to_owned().into());
    }
    attributes
}

/// How long a transfer of `bytes` may take.
fn allowed(stall: Duration, bytes: u64) -> Duration {
    stall + Duration::from_secs(bytes / BYTES_PER_SECOND_MIN)
}

// === impl Begun ===

impl Begun<'_> {
    fn completed(mut self) {
        self.forget();
    }

    /// Tells the store to forget the parts. Where that fails too, the note stays.
    async fn abort(mut self) {
        let Some(upload) = self.upload.take() else { return };
        let abort = self.store.writes.abort_multipart(&self.path, &upload.id);
        if let Ok(Ok(())) = in_time(self.store.stall, "abort", abort).await
            && let Some(uploads) = &self.store.uploads
        {
            uploads.ended(&upload);
        }
    }

    fn forget(&mut self) {
        if let (Some(uploads), Some(upload)) = (&self.store.uploads, self.upload.take()) {
            uploads.ended(&upload);
        }
    }
}

impl Drop for Begun<'_> {
    fn drop(&mut self) {
        let Some(upload) = self.upload.take() else { return };
        let (writes, path, stall) = (self.store.writes.clone(), self.path.clone(), self.store.stall);
        // The caller went away. The note stays for the next start, which then finds nothing to abort.
        self.store.spawner.detach(async move {
            let _ = in_time(stall, "abort", writes.abort_multipart(&path, &upload.id)).await;
        });
    }
}
