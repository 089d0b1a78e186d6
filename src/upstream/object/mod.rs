//! Buckets as upstreams: S3 and what speaks it, Azure Blob, Google Cloud Storage. The home of `object_store`.
//!
//! What is read here is not what `object_store` makes of an answer but the answer (see [`service`]); what it says is
//! judged in [`answer`]. A read is never repeated by `object_store`, a write twice at most: who waits for a read
//! would rather have a miss, a write has time.
//!
//! 403 to HEAD has no body, so it is asked again as a GET of one byte, whose body decides. 404 to HEAD could be a
//! missing bucket; it is believed if its head says why, as Azure's do, or the bucket was seen within the last minute,
//! else asked again as well.
//!
//! Where the dialects differ: Google compares generations, not ETags, before it writes (see [`put`]); Azure keeps
//! parts under the object's own name and forgets them by itself, so that no upload has an id to abort, is asked to
//! delete by us (see [`blob`]), and lists in its own way (see [`list`]).

mod answer;
mod blob;
mod build;
mod codes;
mod keys;
mod list;
mod put;
mod service;
mod tokens;

use std::fmt;
use std::ops::Range;
use std::sync::Arc;
use std::sync::atomic::{AtomicU64, Ordering};
use std::time::Duration;

use futures_util::future::{BoxFuture, FutureExt as _};
use futures_util::{StreamExt as _, TryStreamExt as _};
use object_store::path::Path;
use object_store::{ClientConfigKey, ClientOptions, GetRange, RetryConfig};
use tokio::time::Instant;

use self::answer::Call;
pub(super) use self::answer::element;
use self::blob::Blobs;
use self::build::Store;
use self::service::{Seen, Service};
use super::credentials::Watched;
use super::location::{Bucket, Kind as BucketKind};
use super::remote::RemoteSettings;
use super::runtime::Spawner;
use super::times::in_time;
use super::uploads::Uploads;
use super::{
    Direction, Failure, Fault, GetOptions, Got, Listed, Looked, Object, ObjectMeta, PutDone, PutOptions,
    Signal, Source, Upstream,
};
use crate::body::Body;
use crate::error::{Error, Kind, Result, deepest};
use crate::key::ObjectName;

/// An idle connection older than this is not used: stores close theirs after 20 s or so, and a request that meets
/// the close is a miss.
const IDLE_MAX: Duration = Duration::from_secs(15);

/// Retries of one request of a write, by `object_store`.
const WRITE_RETRIES: usize = 2;

/// No retry of a write begins later than this.
const WRITE_RETRY_TIME: Duration = Duration::from_secs(30);

/// For this long after an answer about an object, the bucket is taken to be there.
const BUCKET_SEEN: Duration = Duration::from_secs(60);

/// An object that nobody puts: what probes ask for.
const PROBE: &str = "larder-probe";

/// A bucket, or a part of one.
pub(super) struct Objects {
    kind: BucketKind,
    reads: Arc<dyn Store>,
    writes: Arc<dyn Store>,
    blobs: Option<Blobs>,
    service: Service,
    key_file: Option<Arc<dyn Watched>>,
    prefix: String,
    spawner: Spawner,
    uploads: Option<Uploads>,
    stall: Duration,
    begun: Instant,
    /// Milliseconds from `begun` to the last answer about an object, plus one; 0 for none.
    bucket_seen_ms: AtomicU64,
}

// === impl Objects ===

impl Objects {
    /// Makes it ready; no network, no file.
    pub(super) fn new(bucket: &Bucket, settings: &RemoteSettings, spawner: Spawner) -> Result<Self> {
        let options = ClientOptions::new()
            .with_allow_http(bucket.allow_http)
            .with_connect_timeout(settings.connect)
            .with_timeout_disabled()
            .with_pool_idle_timeout(IDLE_MAX)
            // They take a while to read, and a plain endpoint is only ever spoken to in plain.
            .with_no_system_certificates(bucket.is_plain())
            .with_config(ClientConfigKey::UserAgent, concat!("larder/", env!("CARGO_PKG_VERSION")));
        let service = Service::new(options.clone());
        spawner.detach(service.clone().warm_up());
        let built = build::build(bucket, &settings.credentials, options, &service)?;
        Ok(Self {
            kind: bucket.kind.clone(),
            reads: built.reads,
            writes: built.writes,
            blobs: built.blobs,
            service,
            key_file: built.key_file,
            prefix: bucket.prefix.clone(),
            spawner,
            uploads: settings.uploads.clone().map(Uploads::new),
            stall: settings.stall,
            begun: Instant::now(),
            bucket_seen_ms: AtomicU64::new(0),
        })
    }

    fn path(&self, name: &str) -> Result<Path, Fault> {
        let slash = if self.prefix.is_empty() { "" } else { "/" };
        Path::parse(format!("{}{slash}{name}", self.prefix))
            .map_err(|e| Failure::Refused(format!("a name that the store can't keep: {e}")).into())
    }

    async fn read(&self, name: &str, options: &GetOptions) -> Result<Got, Fault> {
        let wanted = object_store::GetOptions {
            range: options.range.clone().map(asked_range),
            if_match: options.if_match.as_deref().map(quoted),
            if_none_match: options.if_none_match.as_deref().map(quoted),
            ..object_store::GetOptions::default()
        };
        let path = self.path(name)?;
        let seen = Seen::default();
        let error = match seen.watch(self.reads.get_opts(&path, wanted)).await {
            Ok(got) => {
                self.saw_bucket();
                let meta = ObjectMeta { len: got.meta.size, ..seen.answer().unwrap_or_default().meta };
                let range = got.range.clone();
                let pieces = got.into_stream().map_err(|e| {
                    Error::new(Kind::Unavailable, format!("read from the upstream: {}", deepest(&e)))
                });
                let body = Body::stream(range.end - range.start, pieces.boxed());
                return Ok(Got::Object(Object { meta, range, body }));
            }
            Err(error) => error,
        };
        let answer = seen.answer().filter(|answer| answer.own).unwrap_or_default();
        let got = match answer.status {
            // A folder of a store that has some.
            200 if matches!(error, object_store::Error::NotFound { .. }) => Got::Absent { denied: false },
            // Azure's emulator takes a range that begins where the object ends.
            206 if begins_behind(options, answer.total) => Got::Unsatisfiable(answer.total),
            304 => Got::NotModified,
            404 if answer.is_absent() => Got::Absent { denied: false },
            403 if answer.has_code("AccessDenied") => Got::Absent { denied: true },
            412 => Got::Changed,
            416 => Got::Unsatisfiable(answer.total),
            _ => return Err(seen.fault(Call::Get, &error)),
        };
        self.saw_bucket();
        Ok(got)
    }

    async fn look(&self, name: &str) -> Result<Looked, Fault> {
        let path = self.path(name)?;
        let seen = Seen::default();
        let wanted = object_store::GetOptions { head: true, ..object_store::GetOptions::default() };
        let result = seen.watch(self.reads.get_opts(&path, wanted)).await;
        let answer = seen.answer().unwrap_or_default();
        let error = match result {
            Ok(got) => {
                self.saw_bucket();
                return Ok(Looked::Found(ObjectMeta { len: got.meta.size, ..answer.meta }));
            }
            Err(error) => error,
        };
        match answer.status {
            200 if answer.own && matches!(error, object_store::Error::NotFound { .. }) => {
                Ok(Looked::Absent { denied: false })
            }
            404 if answer.is_absent() && (answer.says_why() || self.is_bucket_seen()) => {
                Ok(Looked::Absent { denied: false })
            }
            // An error without a body: the store's reason is in the body of a GET.
            400..500 => self.look_again(name).await,
            _ => Err(seen.fault(Call::Head, &error)),
        }
    }

    async fn look_again(&self, name: &str) -> Result<Looked, Fault> {
        let one_byte = GetOptions { range: Some(0..1), ..GetOptions::default() };
        Ok(match self.read(name, &one_byte).await? {
            Got::Object(object) => Looked::Found(object.meta),
            Got::Absent { denied } => Looked::Absent { denied },
            // No byte of an empty object is in any range.
            Got::Unsatisfiable(_) => Looked::Found(ObjectMeta::default()),
            Got::NotModified | Got::Changed => {
                return Err(Fault::state(Signal::Fault, "an answer to a condition that was not set"));
            }
        })
    }

    async fn remove(&self, name: &ObjectName) -> Result<(), Fault> {
        let path = self.path(name.as_str())?;
        let seen = Seen::default();
        let delete = async {
            match &self.blobs {
                Some(blobs) => blobs.delete(&path).await,
                None => {
                    let one = futures_util::stream::once(std::future::ready(Ok(path.clone()))).boxed();
                    self.writes.delete_stream(one).try_for_each(|_| std::future::ready(Ok(()))).await
                }
            }
        };
        let result = seen.watch(in_time(self.stall, "DELETE", delete)).await?;
        match result {
            Ok(_) => Ok(()),
            Err(_) if seen.answer().is_some_and(|answer| answer.is_absent()) => Ok(()),
            Err(error) => Err(seen.fault(Call::Delete, &error)),
        }
    }

    async fn probe_reads(&self) -> Result<(), Fault> {
        let one_byte = GetOptions { range: Some(0..1), ..GetOptions::default() };
        self.read(PROBE, &one_byte).await.map(drop)
    }

    /// What the last process began and did not end is aborted.
    async fn abort_left(&self) {
        let Some(uploads) = &self.uploads else { return };
        for upload in uploads.left() {
            let Ok(path) = self.path(upload.name.as_str()) else { continue };
            let seen = Seen::default();
            let abort = self.writes.abort_multipart(&path, &upload.id);
            let aborted = seen.watch(in_time(self.stall, "abort", abort)).await;
            let gone = seen.answer().is_some_and(|answer| answer.own && answer.status == 404);
            if gone || matches!(aborted, Ok(Ok(()))) {
                uploads.ended(&upload);
            }
        }
    }

    fn saw_bucket(&self) {
        let ms = self.begun.elapsed().as_millis() as u64 + 1;
        self.bucket_seen_ms.store(ms, Ordering::Relaxed);
    }

    fn is_bucket_seen(&self) -> bool {
        let seen = self.bucket_seen_ms.load(Ordering::Relaxed);
        seen != 0 && self.begun.elapsed() < Duration::from_millis(seen) + BUCKET_SEEN
    }
}

impl Upstream for Objects {
    fn get<'a>(&'a self, name: &'a ObjectName, options: &'a GetOptions) -> BoxFuture<'a, Result<Got, Fault>> {
        self.read(name.as_str(), options).boxed()
    }

    fn head<'a>(&'a self, name: &'a ObjectName) -> BoxFuture<'a, Result<Looked, Fault>> {
        self.look(name.as_str()).boxed()
    }

    fn put<'a>(
        &'a self,
        name: &'a ObjectName,
        source: &'a dyn Source,
        options: &'a PutOptions,
    ) -> BoxFuture<'a, Result<PutDone, Fault>> {
        put::put(self, name, source, options).boxed()
    }

    fn delete<'a>(&'a self, name: &'a ObjectName) -> BoxFuture<'a, Result<(), Fault>> {
        self.remove(name).boxed()
    }

    fn list<'a>(
        &'a self,
        prefix: &'a str,
        after: Option<&'a str>,
        limit: usize,
    ) -> BoxFuture<'a, Result<Vec<Listed>, Fault>> {
        list::list(self, prefix, after, limit).boxed()
    }

    fn probe<'a>(
        &'a self,
        direction: Direction,
        near: Option<&'a ObjectName>,
    ) -> BoxFuture<'a, Result<(), Fault>> {
        match direction {
            Direction::Read => self.probe_reads().boxed(),
            Direction::Write => put::probe(self, near).boxed(),
        }
    }

    fn recover(&self) -> BoxFuture<'_, ()> {
        self.abort_left().boxed()
    }

    fn has_other_keys(&self) -> bool {
        self.key_file.as_ref().is_some_and(|file| file.has_changed())
    }

    fn disconnect(&self) {
        self.service.disconnect();
    }

    fn clock_skew(&self) -> Option<i64> {
        self.service.clock_skew()
    }
}

impl fmt::Debug for Objects {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        // `object_store` would show the id of the keys.
        write!(f, "Objects({})", self.reads)
    }
}

fn retries(max: usize) -> RetryConfig {
    RetryConfig { max_retries: max, retry_timeout: WRITE_RETRY_TIME, ..RetryConfig::default() }
}

/// To the end is said without a number: stores refuse those that no object has.
fn asked_range(range: Range<u64>) -> GetRange {
    if range.end > i64::MAX as u64 { GetRange::Offset(range.start) } else { GetRange::Bounded(range) }
}

fn begins_behind(options: &GetOptions, len: Option<u64>) -> bool {
    options.range.as_ref().zip(len).is_some_and(|(range, len)| range.start >= len)
}

fn quoted(etag: &str) -> String {
    format!("\"{etag}\"")
}

fn invalid(error: object_store::Error) -> Error {
    Error::invalid(format!("an upstream that can't be: {}", deepest(&error)))
}
