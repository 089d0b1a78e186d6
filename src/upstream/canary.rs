//! A canary: one small object that is really looked up, written, read back and deleted.
//!
//! It goes past both breakers and tells them nothing: rights may hang on the first segment of a name, so what becomes
//! of the canary's says little about the others'. Its name is frozen: `larder-canary-` and 32 random hex digits, below
//! the upstream's prefix and the place's. No protocol makes such a name, and no two flights share one, so nothing that
//! anybody stored is ever overwritten or deleted. Keys that may write and not delete leave an object of 64 bytes for
//! each flight. So does every cache of the Remote Execution API, where nothing can be deleted: there the canary is content
//! under its digest, the only name that such a cache carries.

use std::ops::Range;
use std::sync::Arc;
use std::time::{Duration, Instant};

use bytes::Bytes;
use futures_util::future::BoxFuture;
use serde::{Deserialize, Serialize};

use super::judge::Inner;
use super::{Failure, Fault, GetOptions, Got, PutOptions, Remote, Signal, Source};
use crate::body::Body;
use crate::digest::{Digest, Function, hex};
use crate::error::{Error, Kind, Result};
use crate::key::ObjectName;

/// One flight to one upstream.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct Canary {
    /// What the upstream is called.
    pub upstream: String,
    /// Nothing is written to it: only `look` was done.
    pub read_only: bool,
    /// The object's name, below the prefix.
    pub object: String,
    /// Asked for before it was there.
    pub look: Step,
    /// Written.
    pub write: Step,
    /// Read back and compared.
    pub read: Step,
    /// Deleted.
    pub delete: Step,
    /// The store's clock less this machine's, in seconds, where its answers have a date.
    pub clock_skew_s: Option<i64>,
}

/// One step of it.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct Step {
    /// How it ended.
    pub outcome: Outcome,
    /// Why it didn't end well, in the store's words with the remedy; empty if it did.
    pub words: String,
    /// How long it took, in milliseconds.
    pub ms: u64,
}

/// How a step ended.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum Outcome {
    /// Well.
    Done,
    /// The store says that we may not.
    Denied,
    /// No answer, or a wrong one.
    Failed,
    /// Not tried: a step before it failed, or the upstream is read only.
    Skipped,
}

/// A step without its answer by then has failed, whatever the transfers' own deadlines are: somebody waits for it.
const STEP: Duration = Duration::from_secs(5);

/// Bytes of a canary.
const BYTES: usize = 64;

struct Payload(Bytes);

// === impl Remote ===

impl Remote {
    /// Flies a canary. Ends within four steps of five seconds; when all went well and calls are refused here, they are
    /// probed at once.
    pub async fn canary(&self) -> Canary {
        let (inner, name) = (Arc::clone(&self.inner), self.name().to_owned());
        let read_only = inner.settings.read_only;
        let flown = match object() {
            Ok((object, payload)) => inner.spawner.spawn(fly(Arc::clone(&inner), object, payload)).await,
            Err(error) => return Canary::grounded(name, read_only, &error.to_string()),
        };
        match flown {
            Ok(Some(canary)) => canary,
            Ok(None) => Canary::grounded(name, read_only, "the upstream runtime has stopped"),
            Err(e) if e.is_panic() => std::panic::resume_unwind(e.into_panic()),
            Err(_) => Canary::grounded(name, read_only, "the upstream runtime has stopped"),
        }
    }
}

async fn fly(inner: Arc<Inner>, object: ObjectName, payload: Bytes) -> Canary {
    let (store, read_only) = (&*inner.store, inner.settings.read_only);
    let object = if store.carries(&object) { object } else { content_name(&payload).unwrap_or(object) };
    store.expect(&object, payload.len() as u64);
    let mut canary = Canary {
        upstream: inner.settings.name.clone(),
        read_only,
        object: object.to_string(),
        look: Step::skipped(),
        write: Step::skipped(),
        read: Step::skipped(),
        delete: Step::skipped(),
        clock_skew_s: None,
    };
    let options = GetOptions::default();
    canary.look = step(async {
        match store.get(&object, &options).await? {
            Got::Absent { denied: true } => Err(Fault::state(
                Signal::Denied,
                "AccessDenied for an object that isn't there: so it is for keys without the right to list, and for keys \
                 that may not read",
            )),
            Got::Object(_) | Got::NotModified | Got::Absent { denied: false } | Got::Changed => Ok(()),
            Got::Unsatisfiable(_) => Ok(()),
        }
    })
    .await;
    // Who may not read may well write. Who refuses the keys as such, or isn't there, refuses all.
    if !read_only && canary.look.outcome != Outcome::Failed {
        let (source, how) = (Payload(payload.clone()), PutOptions::default());
        canary.write = step(async { store.put(&object, &source, &how).await.map(drop) }).await;
    }
    if canary.write.outcome == Outcome::Done {
        canary.read = step(read_back(&inner, &object, &payload)).await;
        canary.delete = step(store.delete(&object)).await;
    }
    canary.clock_skew_s = store.clock_skew();
    if canary.is_well() && (inner.read.is_open() || inner.write.is_open()) {
        inner.nudge();
    }
    canary
}

async fn read_back(inner: &Inner, object: &ObjectName, payload: &Bytes) -> Result<(), Fault> {
    match inner.store.get(object, &GetOptions::default()).await? {
        Got::Object(found) => {
            let bytes = found.body.collect(BYTES as u64 + 1).await;
            let bytes = bytes.map_err(|error| Fault::state(Signal::Fault, error.to_string()))?;
            if bytes == payload {
                return Ok(());
            }
            Err(Fault::state(Signal::Fault, "what was read is not what was written a moment ago"))
        }
        Got::Absent { denied: true } => {
            Err(Fault::state(Signal::Denied, "AccessDenied; give the keys the right to read"))
        }
        Got::Absent { denied: false } | Got::NotModified | Got::Changed | Got::Unsatisfiable(_) => {
            Err(Fault::state(Signal::Fault, "what was written a moment ago isn't there"))
        }
    }
}

/// One step, within its deadline.
async fn step(call: impl Future<Output = Result<(), Fault>>) -> Step {
    let begun = Instant::now();
    let done = tokio::time::timeout(STEP, call).await.unwrap_or_else(|_| {
        Err(Fault::state(Signal::Deadline, format!("no answer within {} s", STEP.as_secs())))
    });
    let (outcome, words) = match done {
        Ok(()) => (Outcome::Done, String::new()),
        Err(fault) => match (fault.signal, &fault.failure) {
            (Signal::Denied, _) => (Outcome::Denied, fault.failure.to_string()),
            // A delete without the right to it.
            (Signal::Neutral, Failure::State(words)) => (Outcome::Denied, words.to_string()),
            _ => (Outcome::Failed, fault.failure.to_string()),
        },
    };
    Step { outcome, words, ms: u64::try_from(begun.elapsed().as_millis()).unwrap_or(u64::MAX) }
}

/// The name of content, on stores without shard folders.
fn content_name(payload: &[u8]) -> Option<ObjectName> {
    ObjectName::parse(&format!("cas/{}", Digest::of(Function::Sha256, payload).hex()))
}

/// A name that nobody has, and what goes there.
fn object() -> Result<(ObjectName, Bytes)> {
    let mut random = [0; BYTES / 2];
    getrandom::fill(&mut random)
        .map_err(|error| Error::new(Kind::Internal, "ask the kernel for random bytes").because(error))?;
    let digits = hex(&random);
    let name = ObjectName::parse(&format!("larder-canary-{}", &digits[..BYTES / 2]));
    let name = name.ok_or_else(|| Error::new(Kind::Internal, "name a canary"))?;
    Ok((name, Bytes::from(digits)))
}

// === impl Canary ===

impl Canary {
    /// Whether every step that was owed ended well.
    pub fn is_well(&self) -> bool {
        let is_done = |step: &Step| step.outcome == Outcome::Done;
        is_done(&self.look)
            && (self.read_only || [&self.write, &self.read, &self.delete].into_iter().all(is_done))
    }

    fn grounded(upstream: String, read_only: bool, words: &str) -> Self {
        let look = Step { outcome: Outcome::Failed, words: words.into(), ms: 0 };
        let [write, read, delete] = [Step::skipped(), Step::skipped(), Step::skipped()];
        Self { upstream, read_only, object: String::new(), look, write, read, delete, clock_skew_s: None }
    }
}

// === impl Step ===

impl Step {
    /// One that was not tried.
    pub fn skipped() -> Self {
        Self { outcome: Outcome::Skipped, words: String::new(), ms: 0 }
    }
}

// === impl Payload ===

impl Source for Payload {
    fn len(&self) -> u64 {
        self.0.len() as u64
    }

    fn open(&self, range: Range<u64>) -> BoxFuture<'_, Result<Body>> {
        let bounds = |at: u64| usize::try_from(at).unwrap_or(usize::MAX).min(self.0.len());
        let bytes = self.0.slice(bounds(range.start)..bounds(range.end));
        Box::pin(std::future::ready(Ok(Body::bytes(bytes))))
    }
}

#[cfg(test)]
mod tests {
    use super::super::{Location, RemoteSettings, Runtime};
    use super::*;
    use crate::key::UpstreamId;

    fn folder(path: &std::path::Path, read_only: bool, runtime: &Runtime) -> Remote {
        let url = format!("file://{}", path.display());
        let settings = RemoteSettings {
            id: UpstreamId(0),
            name: "team".into(),
            location: Location::parse(&url).expect("a folder"),
            credentials: super::super::Credentials::Anonymous,
            read_only,
            connect: Duration::from_secs(1),
            first_byte: Duration::from_secs(1),
            stall: Duration::from_secs(1),
            uploads: None,
        };
        Remote::open(settings, runtime).expect("opens")
    }

    fn objects(path: &std::path::Path) -> Vec<String> {
        let names = std::fs::read_dir(path).expect("a folder").flatten();
        names
            .filter_map(|file| file.file_name().into_string().ok())
            .filter(|name| !name.starts_with('.'))
            .collect()
    }

    #[tokio::test]
    async fn it_is_written_read_and_deleted_and_nothing_stays() {
        let (home, runtime) = (tempfile::tempdir().expect("a folder"), Runtime::new().expect("threads"));
        let canary = folder(home.path(), false, &runtime).canary().await;
        assert!(canary.is_well(), "{canary:?}");
        assert!(
            canary.object.starts_with("larder-canary-") && canary.object.len() == 46,
            "{}",
            canary.object
        );
        assert_eq!(objects(home.path()), Vec::<String>::new());
    }

    #[tokio::test]
    async fn a_read_only_upstream_is_only_asked() {
        let (home, runtime) = (tempfile::tempdir().expect("a folder"), Runtime::new().expect("threads"));
        let canary = folder(home.path(), true, &runtime).canary().await;
        assert!(canary.is_well() && canary.write == Step::skipped(), "{canary:?}");
    }

    #[tokio::test]
    async fn where_nothing_is_the_first_step_says_so_and_the_others_are_not_tried() {
        let (home, runtime) = (tempfile::tempdir().expect("a folder"), Runtime::new().expect("threads"));
        let canary = folder(&home.path().join("gone"), false, &runtime).canary().await;
        assert_eq!(canary.look.outcome, Outcome::Failed, "{canary:?}");
        assert!(canary.look.words.contains("gone") && canary.write == Step::skipped(), "{canary:?}");
    }

    #[test]
    fn no_two_share_a_name() {
        let (one, other) = (object().expect("random"), object().expect("random"));
        assert_ne!(one.0, other.0);
        assert_eq!(one.1.len(), BYTES);
    }
}
