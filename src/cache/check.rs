//! Facts about an upstream, and whether all that an entry names can be served.
//!
//! An entry that names others is a hit only if each of them can be served *now*: it is here, or its upstream answers
//! and is known to have it. What is not known is asked, 64 at a time; past the request's deadline the answer is a
//! miss and the check goes on behind, for the next request.

use std::collections::HashMap;
use std::sync::Arc;
use std::sync::atomic::{AtomicUsize, Ordering};

use futures_util::future::BoxFuture;
use futures_util::stream::{FuturesUnordered, StreamExt as _};
use parking_lot::Mutex;
use tokio::sync::watch;
use tokio::time::Instant;

use super::clock::{moment_of, now_moment, since_boot};
use super::config::Settings;
use super::content::expect;
use super::recent::Recent;
use super::{Asked, Cache, now_ms};
use crate::entry::{ByteRange, Hit, Meta};
use crate::error::Result;
use crate::key::{EntryId, Key, Naming, Prefetch, UpstreamId};
use crate::links::{self, Link, Links};
use crate::store::QueueTag;
use crate::upstream::{Looked, ObjectMeta};

/// What upstreams told us lately.
#[derive(Debug)]
pub(super) struct Facts {
    present: Recent<(EntryId, UpstreamId)>,
    absent: Recent<(EntryId, UpstreamId)>,
    /// What was given up on the way to the place of its queue.
    given_up: Recent<(EntryId, QueueTag)>,
    /// The moment when a mutable name was last found to be current.
    checked: Mutex<HashMap<(EntryId, UpstreamId), i64>>,
    checked_max: AtomicUsize,
}

/// Checks under way, so that one entry is checked once however many ask.
#[derive(Debug, Default)]
pub(super) struct Checks {
    /// A leaf mutex.
    running: Mutex<HashMap<EntryId, watch::Receiver<Option<bool>>>>,
}

/// A `Tree` larger than this is not taken apart; the entry that names it is a miss.
const TREE_BYTES_MAX: u64 = 64 << 20;

// === impl Facts ===

impl Facts {
    pub(super) fn new(settings: &Settings) -> Self {
        Self {
            present: Recent::new(settings.fact_entries, settings.fact_age),
            absent: Recent::new(settings.absent_entries, settings.absent_age),
            given_up: Recent::new(settings.absent_entries, settings.fact_age),
            checked: Mutex::default(),
            checked_max: AtomicUsize::new(settings.absent_entries),
        }
    }

    /// Whether the upstream is known to have it.
    pub(super) fn present(&self, id: EntryId, upstream: UpstreamId) -> bool {
        self.present.knows((id, upstream), since_boot())
    }

    /// The upstream has it.
    pub(super) fn note_present(&self, id: EntryId, upstream: UpstreamId) {
        self.absent.forget((id, upstream));
        self.present.note((id, upstream), since_boot());
    }

    /// Whether the upstream said a moment ago that it has it not.
    pub(super) fn absent(&self, id: EntryId, upstream: UpstreamId) -> bool {
        self.absent.knows((id, upstream), since_boot())
    }

    /// The upstream has it not. Remembered for names that don't change only.
    pub(super) fn note_absent(&self, asked: &Asked, upstream: UpstreamId) {
        self.present.forget((asked.id, upstream));
        if asked.key.naming() == Naming::Immutable {
            self.absent.note((asked.id, upstream), since_boot());
        }
    }

    /// It was put here, so no absence counts any more.
    pub(super) fn forget_absent(&self, id: EntryId, upstream: UpstreamId) {
        self.absent.forget((id, upstream));
    }

    /// Whether its upload was given up a while ago: what it was refused for is still so.
    pub(super) fn was_given_up(&self, id: EntryId, tag: QueueTag) -> bool {
        self.given_up.knows((id, tag), since_boot())
    }

    /// It will not be uploaded there.
    pub(super) fn note_given_up(&self, id: EntryId, tag: QueueTag) {
        self.given_up.note((id, tag), since_boot());
    }

    /// The moment when the local copy was last known to be current, at least that of `stored_ms`.
    pub(super) fn checked(&self, asked: &Asked, stored_ms: u64) -> i64 {
        let stored = moment_of(stored_ms);
        let Some(upstream) = asked.scope.upstream.filter(|_| asked.key.naming() != Naming::Immutable) else {
            return stored;
        };
        self.checked.lock().get(&(asked.id, upstream)).map_or(stored, |checked| stored.max(*checked))
    }

    /// The local copy is current.
    pub(super) fn note_checked(&self, id: EntryId, upstream: UpstreamId) {
        let mut checked = self.checked.lock();
        if checked.len() >= self.checked_max.load(Ordering::Relaxed) {
            // Forgetting costs one conditional request for each name.
            checked.clear();
        }
        checked.insert((id, upstream), now_moment());
    }

    /// Other bounds. Takes its time to forget what is over them; nobody waits for it.
    pub(super) fn bound(&self, settings: &Settings) {
        self.checked_max.store(settings.absent_entries, Ordering::Relaxed);
        self.present.bound(settings.fact_entries, settings.fact_age, since_boot());
        self.absent.bound(settings.absent_entries, settings.absent_age, since_boot());
        self.given_up.bound(settings.absent_entries, settings.fact_age, since_boot());
    }

    /// Facts and absences remembered.
    pub(super) fn len(&self) -> (usize, usize) {
        (self.present.len(), self.absent.len())
    }
}

impl Cache {
    /// Whether each of an entry's links can be served now.
    pub(super) async fn are_servable(&self, asked: &Asked, links: Option<&Links>, deadline: Instant) -> bool {
        let Some(Links::Known(links)) = links else { return true };
        if links.iter().all(|link| !link.tree && self.is_servable_link(asked, link)) {
            return true;
        }
        let mut verdict = self.check(asked, Arc::clone(links));
        let checked = tokio::time::timeout_at(deadline, verdict.wait_for(Option::is_some)).await;
        match checked {
            Ok(Ok(verdict)) => verdict.unwrap_or(false),
            Ok(Err(_)) => false,
            Err(_) => {
                self.inner.stats.deadline_misses.one();
                false
            }
        }
    }

    pub(super) fn is_servable_link(&self, asked: &Asked, link: &Link) -> bool {
        let other = asked.other(Key::Content(link.digest));
        self.is_servable(&other, other.id)
    }

    /// Joins or begins the check of an entry's links.
    fn check(&self, asked: &Asked, links: Arc<[Link]>) -> watch::Receiver<Option<bool>> {
        let mut running = self.inner.checks.running.lock();
        if let Some(verdict) = running.get(&asked.id).filter(|verdict| verdict.has_changed().is_ok()) {
            return verdict.clone();
        }
        let (tell, verdict) = watch::channel(None);
        running.insert(asked.id, verdict.clone());
        drop(running);
        let (cache, asked) = (self.clone(), asked.clone());
        self.spawn(async move {
            let complete = cache.find_all(&asked, &links).await;
            cache.inner.checks.running.lock().remove(&asked.id);
            tell.send_replace(Some(complete));
        });
        verdict
    }

    async fn find_all(&self, asked: &Asked, links: &[Link]) -> bool {
        if !self.find_each(asked, links).await {
            return false;
        }
        for link in links.iter().filter(|link| link.tree) {
            let key = Key::Content(link.digest);
            let Ok(Some(hit)) = self.get_unlinked(asked, &key).await else { return false };
            let Ok(bytes) = hit.body.collect(TREE_BYTES_MAX).await else { return false };
            let Some(named) = links::tree(link.digest.function(), &bytes) else { return false };
            self.prefetch(asked, &named);
            if !self.find_each(asked, &named).await {
                return false;
            }
        }
        true
    }

    /// Whether each of these blobs is here or upstream; stops at the first that is neither.
    async fn find_each(&self, asked: &Asked, links: &[Link]) -> bool {
        let unknown = links.iter().filter(|link| !self.is_servable_link(asked, link));
        let mut unknown = unknown.map(|link| (asked.other(Key::Content(link.digest)), link.size));
        let mut asking = FuturesUnordered::new();
        let at_once = self.inner.settings.read().links_at_once;
        loop {
            while asking.len() < at_once
                && let Some((other, len)) = unknown.next()
            {
                if let Some(remote) = self.remote(&other) {
                    expect(&remote, &other, len);
                }
                asking.push(async move { self.ask_for(&other).await });
            }
            match asking.next().await {
                Some(true) => {}
                Some(false) => return false,
                None => return true,
            }
        }
    }

    /// Whether the upstream has it, by asking. What it says is a fact from then on.
    pub(super) async fn ask_for(&self, other: &Asked) -> bool {
        let Some((remote, name)) = self.readable(other) else { return false };
        if self.inner.facts.absent(other.id, remote.id()) {
            return false;
        }
        match remote.head(&name).await {
            Ok(Looked::Found(_)) => {
                self.inner.facts.note_present(other.id, remote.id());
                true
            }
            Ok(Looked::Absent { denied }) => {
                self.note_absent(other, remote.id(), denied);
                false
            }
            Err(_) => false,
        }
    }

    /// Boxed, because a look-up can lead to a check and a check to a look-up; the second has no links.
    fn get_unlinked<'a>(&'a self, asked: &'a Asked, key: &'a Key) -> BoxFuture<'a, Result<Option<Hit>>> {
        Box::pin(self.get(&asked.scope, key, ByteRange::Full))
    }

    /// The upstream answered that it has it not. Remembered, unless it said so by denying the read.
    pub(super) fn note_absent(&self, asked: &Asked, upstream: UpstreamId, denied: bool) {
        if denied {
            self.inner.stats.denied_reads.one();
        } else {
            self.inner.facts.note_absent(asked, upstream);
        }
    }

    /// What the upstream says of an entry, within the deadline.
    pub(super) async fn head_upstream(&self, asked: &Asked, deadline: Instant) -> Option<Meta> {
        let (remote, name) = self.readable(asked)?;
        if self.inner.facts.absent(asked.id, remote.id()) {
            return None;
        }
        match tokio::time::timeout_at(deadline, remote.head(&name)).await {
            // Cut by somebody: a GET would find it too short, so a HEAD does not promise it.
            Ok(Ok(Looked::Found(object))) if !length_agrees(&object) => None,
            Ok(Ok(Looked::Found(object))) => {
                self.inner.facts.note_present(asked.id, remote.id());
                Some(meta_of(asked, &object))
            }
            Ok(Ok(Looked::Absent { denied })) => {
                self.note_absent(asked, remote.id(), denied);
                None
            }
            Ok(Err(_)) => None,
            Err(_) => {
                self.inner.stats.deadline_misses.one();
                None
            }
        }
    }

    /// Brings the links of an entry that a client asked for here, behind. What is asked of it next, its links, is on its
    /// way while it is still checked whether they are there: far away, one round trip and not two.
    pub(super) fn prefetch_links(&self, asked: &Asked, links: Option<&Links>) {
        if let Some(Links::Known(links)) = links {
            self.prefetch(asked, links);
        }
    }

    pub(super) fn prefetch(&self, asked: &Asked, links: &[Link]) {
        let settings = self.inner.settings.read();
        let (entry_max, max) = match asked.scope.policy.prefetch {
            Prefetch::Off => return,
            Prefetch::All => (u64::MAX, u64::MAX),
            Prefetch::Small => (settings.prefetch_entry_max, settings.prefetch_max),
        };
        let mut left = max;
        for link in links.iter().filter(|link| link.size <= entry_max) {
            let other = asked.other(Key::Content(link.digest));
            let Some((remote, _)) = self.readable(&other).filter(|_| !self.is_local(other.id)) else {
                continue;
            };
            expect(&remote, &other, link.size);
            let Some(rest) = left.checked_sub(link.size) else { return };
            left = rest;
            if !self.begin_behind(&other) {
                return;
            }
        }
    }
}

/// Whether an object is as long as whoever uploaded it said. Those of other tools say nothing.
fn length_agrees(object: &ObjectMeta) -> bool {
    let said = object.attrs.get(super::verify::LEN_ATTR).and_then(|len| len.parse::<u64>().ok());
    said.is_none_or(|len| len == object.len)
}

/// What an upstream's answer says of an entry.
pub(super) fn meta_of(asked: &Asked, object: &ObjectMeta) -> Meta {
    use super::upload::CONTENT_TYPE_ATTR;
    use super::verify::{DIGEST_ATTR, ETAG_ATTR, LEN_ATTR, parse_digest};

    let digest = match &asked.key {
        Key::Content(digest) => Some(*digest),
        Key::Named { .. } => object.attrs.get(DIGEST_ATTR).and_then(parse_digest),
    };
    let etag: Arc<str> = match (&asked.key, object.attrs.get(ETAG_ATTR), &object.etag) {
        (Key::Content(digest), _, _) => digest.hex().into(),
        (_, Some(ours), _) => ours.into(),
        (_, None, Some(theirs)) => Arc::clone(theirs),
        (_, None, None) => format!("{}-{}", object.len, now_ms()).into(),
    };
    let mut attrs = object.attrs.without(&[DIGEST_ATTR, ETAG_ATTR, LEN_ATTR]);
    // What others put there has its type where stores keep it; bytes are what is meant without one.
    let foreign = object.attrs.get(ETAG_ATTR).is_none() && attrs.get(CONTENT_TYPE_ATTR).is_none();
    let content_type =
        object.content_type.as_ref().filter(|kind| foreign && !kind.ends_with("/octet-stream"));
    if let Some(content_type) = content_type
        && let Ok(typed) = attrs.and([(CONTENT_TYPE_ATTR.to_owned(), content_type.clone())])
    {
        attrs = typed;
    }
    Meta { len: object.len, digest, etag, attrs, stored_ms: now_ms(), origin_etag: object.etag.clone() }
}
