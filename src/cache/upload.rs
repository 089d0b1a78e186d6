//! One upload: from the outbox to its upstream, and from there into the cache store.
//!
//! # What ends a row
//! Success; the object itself refused for good (400, 413); something it names found nowhere; bytes that are damaged
//! here. Everything else is a state of the upstream, and the row stays.

use std::ops::Range;
use std::sync::Arc;
use std::time::{Duration, SystemTime, UNIX_EPOCH};

use bytes::Bytes;
use futures_util::future::BoxFuture;

use super::content::expect;
use super::verify::{DIGEST_ATTR, ETAG_ATTR, LEN_ATTR, write_digest};
use super::{Asked, Cache};
use crate::body::Body;
use crate::digest::{Digest, Function};
use crate::entry::{Attrs, Meta};
use crate::error::{Error, Kind, Result};
use crate::key::{Key, Namespace, ObjectName, Owner, Policy, Scope};
use crate::links::{self, Link, Links};
use crate::store::{Guard, QueueTag, Queued, Record, Store, Stored};
use crate::upstream::{Failure, Looked, ObjectMeta, PutDone, PutIf, PutOptions, Remote, Source};

/// How an upload went.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum Ending {
    /// It is upstream.
    Done,
    /// It will never be upstream; logged and counted.
    Ended,
    /// Something it names is on its way and must be there first.
    Blocked,
    /// To be tried again.
    Again {
        /// What the store asked to wait.
        after: Option<Duration>,
        /// Whether it asked for less at once.
        slower: bool,
    },
}

/// A `Tree` larger than this is not taken apart.
const TREE_BYTES_MAX: u64 = 64 << 20;

/// The attribute that is an object's media type.
pub(super) const CONTENT_TYPE_ATTR: &str = "contenttype";

/// Bytes of a stored entry, for an upload.
struct FromStore {
    store: Store,
    stored: Stored,
}

struct FromBytes(Bytes);

impl Cache {
    /// Uploads one row.
    pub(super) async fn upload(&self, remote: &Remote, row: Queued) -> Ending {
        let stored = match self.inner.outbox.get_by_id(row.id).await {
            Ok(Some(stored)) if stored.generation == row.generation => stored,
            // A newer commit took its place, or it was found damaged and set aside.
            Ok(_) => return Ending::Ended,
            Err(error) => {
                tracing::warn!(entry = %row.id, %error, "the outbox can't be read");
                return Ending::Again { after: None, slower: false };
            }
        };
        let name = match self.inner.outbox.object(row.id, row.generation, row.tag).await {
            Ok(Some(name)) => name,
            Ok(None) => return Ending::Ended,
            Err(error) => {
                tracing::warn!(entry = %row.id, %error, "the outbox can't be read");
                return Ending::Again { after: None, slower: false };
            }
        };
        let Some(name) = ObjectName::parse(&name) else {
            return self.ended(&stored, row, "its name can't be carried").await;
        };
        if stored.deleted {
            return match remote.delete(&name).await {
                Ok(()) => self.deleted(row).await,
                Err(failure) => self.failed(&stored, row, failure).await,
            };
        }
        let verdict = match self.is_action_upstream(remote, &name, &stored).await {
            Upstream::All => self.are_upstream(remote, &stored).await,
            verdict => verdict,
        };
        match verdict {
            Upstream::All => {}
            Upstream::Coming => return Ending::Blocked,
            Upstream::Unknown => return Ending::Again { after: None, slower: false },
            Upstream::Nowhere => return self.ended(&stored, row, "something that it names is nowhere").await,
        }
        match self.send(remote, &name, &stored).await {
            Ok(sent) => self.sent(remote, &stored, row, sent).await,
            Err(failure) => self.failed(&stored, row, failure).await,
        }
    }

    /// Sends the bytes. `None` when somebody's later object is there.
    async fn send(
        &self,
        remote: &Remote,
        name: &ObjectName,
        stored: &Stored,
    ) -> Result<Option<PutDone>, Failure> {
        let record = &stored.record;
        // Where it isn't carried, the attribute goes along with the entry.
        if let Some((name, value)) = self.sibling(name, record).filter(|(name, _)| remote.carries(name)) {
            let source = Arc::new(FromBytes(value));
            remote.put(&name, source, PutOptions::default()).await?;
        }
        let is_content = Key::content_of(&record.key).is_some();
        let condition = match &record.meta.origin_etag {
            _ if is_content => PutIf::Absent,
            Some(etag) => PutIf::Matches(Arc::clone(etag)),
            None => PutIf::Always,
        };
        let mut options = put_options(&record.meta).map_err(Failure::Source)?;
        let source: Arc<FromStore> =
            Arc::new(FromStore { store: self.inner.outbox.clone(), stored: stored.clone() });
        let unconditional = PutOptions { condition: PutIf::Always, ..options.clone() };
        options.condition = condition;
        match remote.put(name, Arc::clone(&source) as Arc<dyn Source>, options).await {
            Ok(done) => Ok(Some(done)),
            Err(Failure::Conflict) if is_content => Ok(Some(PutDone::default())),
            Err(Failure::Conflict) => match remote.head(name).await? {
                Looked::Found(object) if is_later(&object, record.meta.stored_ms) => Ok(None),
                Looked::Found(_) | Looked::Absent { .. } => {
                    remote.put(name, source, unconditional).await.map(Some)
                }
            },
            Err(failure) => Err(failure),
        }
    }

    async fn sent(&self, remote: &Remote, stored: &Stored, row: Queued, sent: Option<PutDone>) -> Ending {
        let Some(sent) = sent else {
            self.inner.stats.uploads_superseded.one();
            tracing::info!(entry = %row.id, "somebody's later object is upstream; ours is dropped");
            self.leave(stored, row, None, false).await;
            return Ending::Done;
        };
        self.inner.facts.note_present(row.id, remote.id());
        self.inner.facts.note_checked(row.id, remote.id());
        self.inner.stats.uploads.one();
        self.inner.stats.uploaded_bytes.add(stored.len());
        self.leave(stored, row, sent.etag, true).await;
        Ending::Done
    }

    /// Ends the row durably, and moves the entry to the cache store. Both in one step of the outbox, so that a crash
    /// leaves either the row, and it is uploaded once more, or neither.
    async fn leave(&self, stored: &Stored, row: Queued, etag: Option<Arc<str>>, keep: bool) {
        let outbox = &self.inner.outbox;
        if self.inner.queue.is_queued_elsewhere(row) {
            if let Err(error) = outbox.done(row.id, row.generation, row.tag).await {
                tracing::warn!(entry = %row.id, %error, "the end of an upload can't be noted");
            }
            return;
        }
        // Who overtakes the row, a delete or a later PUT, commits to the outbox and then supersedes what the cache store
        // has. Where the row is still the outbox's after the ticket was taken, the guard sees either.
        let ticket = self.inner.cache.begin(row.id);
        if keep && outbox.generation(row.id) == Some(row.generation) {
            let mut record = Record { queue: None, ..(*stored.record).clone() };
            record.meta.origin_etag = etag.or(record.meta.origin_etag);
            let guard = Guard::Unchanged(&ticket);
            if let Err(error) = self.inner.cache.adopt(outbox, stored, record, guard).await {
                tracing::debug!(entry = %row.id, %error, "an uploaded entry can't be kept here");
            }
        }
        // Nothing is left to remove where it was adopted.
        if let Err(error) = outbox.remove(row.id, Some(row.generation)).await {
            tracing::warn!(entry = %row.id, %error, "an uploaded entry can't be removed from the outbox");
        }
        if !keep {
            self.inner.memory.forget(row.id);
        }
    }

    async fn deleted(&self, row: Queued) -> Ending {
        if let Err(error) = self.inner.outbox.remove(row.id, Some(row.generation)).await {
            tracing::warn!(entry = %row.id, %error, "the end of a delete can't be noted");
        }
        Ending::Done
    }

    async fn failed(&self, stored: &Stored, row: Queued, failure: Failure) -> Ending {
        match failure {
            Failure::Refused(words) => self.ended(stored, row, &words).await,
            Failure::Throttled { retry_after } => Ending::Again { after: retry_after, slower: true },
            Failure::Source(error) if error.kind() == Kind::Corrupt => {
                self.ended(stored, row, "its bytes are damaged here").await
            }
            Failure::State(_) | Failure::Conflict | Failure::Source(_) => {
                tracing::debug!(entry = %row.id, %failure, "an upload failed and is tried again");
                Ending::Again { after: None, slower: false }
            }
        }
    }

    async fn ended(&self, stored: &Stored, row: Queued, why: &str) -> Ending {
        let object = stored.record.queue.as_ref().map_or("", |(_, name)| name);
        tracing::warn!(entry = %row.id, object, why, "an upload has ended without success");
        self.inner.stats.uploads_ended.one();
        self.inner.facts.note_given_up(row.id, row.tag);
        self.leave(stored, row, None, true).await;
        Ending::Ended
    }

    /// An attribute that other servers expect in an object of its own.
    fn sibling(&self, name: &ObjectName, record: &Record) -> Option<(ObjectName, Bytes)> {
        let protocol = Key::protocol_of(&record.key)?;
        let space = self.inner.siblings.iter().find(|space| space.protocol == protocol)?;
        let sibling = space.sibling?;
        let value = record.meta.attrs.get(sibling.attr)?;
        Some((name.sibling(sibling.suffix)?, Bytes::copy_from_slice(value.as_bytes())))
    }
}

/// Where an entry's links are.
enum Upstream {
    All,
    /// Here, and on their way.
    Coming,
    /// The upstream didn't say.
    Unknown,
    /// One is neither here nor upstream.
    Nowhere,
}

impl Cache {
    /// Whether what an entry names is upstream, so that it may follow. What is only here is queued.
    async fn are_upstream(&self, remote: &Remote, stored: &Stored) -> Upstream {
        let Some(Links::Known(links)) = &stored.record.links else { return Upstream::All };
        let mut named: Vec<Asked> = Vec::with_capacity(links.len());
        let mut name = |link: &Link| {
            let other = named_by(&stored.record, remote, link.digest);
            expect(remote, &other, link.size);
            named.push(other);
        };
        links.iter().for_each(&mut name);
        for link in links.iter().filter(|link| link.tree) {
            // What a tree names that isn't here was upstream when the entry was put.
            let tree = self.local_bytes(&named_by(&stored.record, remote, link.digest)).await;
            let tree = tree.as_deref().and_then(|bytes| links::tree(link.digest.function(), bytes));
            tree.unwrap_or_default().iter().for_each(&mut name);
        }
        let mut verdict = Upstream::All;
        for other in &named {
            match self.is_upstream(remote, other).await {
                Upstream::All => {}
                Upstream::Coming => verdict = Upstream::Coming,
                verdict @ (Upstream::Unknown | Upstream::Nowhere) => return verdict,
            }
        }
        verdict
    }

    /// Whether the action of a result is upstream, where that is asked for by its size and some servers take the result
    /// only then. One that isn't here is left to the server to miss: not every tool stores its actions.
    async fn is_action_upstream(&self, remote: &Remote, name: &ObjectName, stored: &Stored) -> Upstream {
        if !remote.asks_by_size() || !matches!(stored.record.links, Some(Links::Known(_))) {
            return Upstream::All;
        }
        let hash = name.as_str().rsplit('/').next().unwrap_or_default();
        let Ok(digest) = Digest::parse(Function::Sha256, hash) else { return Upstream::All };
        let action = named_by(&stored.record, remote, digest);
        match self.stored(&action).await {
            Some((_, stored, _)) if !stored.deleted => {
                expect(remote, &action, stored.record.meta.len);
                self.is_upstream(remote, &action).await
            }
            _ => Upstream::All,
        }
    }

    async fn is_upstream(&self, remote: &Remote, other: &Asked) -> Upstream {
        let tag = QueueTag(remote.tag());
        if self.inner.queue.holds(tag, other.id) {
            return Upstream::Coming;
        }
        let is_empty = Key::content_of(&other.canonical).is_some_and(|digest| digest.is_empty_blob());
        if is_empty || self.inner.facts.present(other.id, remote.id()) {
            return Upstream::All;
        }
        let Some(name) = other.object_name(remote) else { return Upstream::Nowhere };
        // Queued again for every entry that names it, it would be refused again, and keep that waiting.
        if self.is_local(other.id) && !self.inner.facts.was_given_up(other.id, tag) {
            return match self.queue_local(other).await {
                Ok(true) if self.inner.queue.holds(tag, other.id) => Upstream::Coming,
                Ok(_) => Upstream::All,
                Err(_) => Upstream::Unknown,
            };
        }
        match remote.head(&name).await {
            Ok(Looked::Found(_)) => {
                self.inner.facts.note_present(other.id, remote.id());
                Upstream::All
            }
            Ok(Looked::Absent { denied: false }) => Upstream::Nowhere,
            Ok(Looked::Absent { denied: true }) | Err(_) => Upstream::Unknown,
        }
    }

    async fn local_bytes(&self, asked: &Asked) -> Option<Bytes> {
        let (store, stored, _) = self.stored(asked).await?;
        let len = stored.record.meta.len;
        store.body(&stored, 0..len).ok()?.collect(TREE_BYTES_MAX).await.ok()
    }
}

/// A blob that a stored entry names: of the same owner, on the same upstream.
fn named_by(naming: &Record, remote: &Remote, digest: Digest) -> Asked {
    let owner = naming.key.first_chunk().map_or(0, |bytes| u32::from_le_bytes(*bytes));
    let upstream = Some(remote.id());
    let scope =
        Scope { owner: Owner(owner), namespace: Namespace::none(), upstream, policy: Policy::default() };
    Asked::new(&scope, &Key::Content(digest))
}

/// What is written besides the bytes.
fn put_options(meta: &Meta) -> Result<PutOptions> {
    let mut ours =
        vec![(ETAG_ATTR.to_owned(), meta.etag.to_string()), (LEN_ATTR.to_owned(), meta.len.to_string())];
    ours.extend(meta.digest.iter().map(|digest| (DIGEST_ATTR.to_owned(), write_digest(digest))));
    let attrs: Attrs = meta.attrs.and(ours)?;
    let content_type = meta.attrs.get(CONTENT_TYPE_ATTR).map(str::to_owned);
    Ok(PutOptions { attrs, content_type, condition: PutIf::Always })
}

/// Whether an object was written after our acknowledgement, by the store's own clock.
fn is_later(object: &ObjectMeta, acknowledged_ms: u64) -> bool {
    let (Some(modified), Some(date)) = (object.last_modified, object.server_date) else { return false };
    let age = date.duration_since(modified).unwrap_or_default();
    let acknowledged = UNIX_EPOCH + Duration::from_millis(acknowledged_ms);
    SystemTime::now().checked_sub(age).is_some_and(|modified| modified > acknowledged)
}

// === impl Source ===

impl Source for FromStore {
    fn len(&self) -> u64 {
        self.stored.record.meta.len
    }

    fn open(&self, range: Range<u64>) -> BoxFuture<'_, Result<Body>> {
        Box::pin(async move { self.store.body(&self.stored, range) })
    }
}

impl Source for FromBytes {
    fn len(&self) -> u64 {
        self.0.len() as u64
    }

    fn open(&self, range: Range<u64>) -> BoxFuture<'_, Result<Body>> {
        let bytes = self.0.clone();
        Box::pin(async move {
            let range = usize::try_from(range.start).unwrap_or(0)..usize::try_from(range.end).unwrap_or(0);
            if range.end > bytes.len() || range.start > range.end {
                return Err(Error::invalid("the range is outside the body"));
            }
            Ok(Body::bytes(bytes.slice(range)))
        })
    }
}
