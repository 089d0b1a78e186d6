//! Puts: reserve, collect or draft while hashing, check, append, acknowledge.
//!
//! With an upstream the bytes go to the outbox and are acknowledged once they are there; the uploader does the rest.
//! Without one they go to the cache store. What can't be queued is shed: kept locally and evictable, or not kept at
//! all; either way the put is read to its end and succeeds, and the shedding is counted by reason.

use std::sync::Arc;

use bytes::{Bytes, BytesMut};

use super::outbox::{Full, Room};
use super::receive::LINKED_BYTES_MAX;
use super::verify::write_digest;
use super::{Asked, Cache, now_ms};
use crate::digest::{Digest, Function, Hasher};
use crate::entry::{Attrs, Claim, Meta, Precondition};
use crate::error::{Error, Kind, Result};
use crate::key::{Key, ObjectName, Scope};
use crate::links::{self, Links};
use crate::memory::Held;
use crate::stats::Shed;
use crate::store::{Draft, Generation, Guard, QueueTag, Queued, Record, Store};

/// An entry on its way in. Dropped, it never happened.
#[derive(Debug)]
pub struct Put {
    cache: Cache,
    asked: Asked,
    claim: Claim,
    attrs: Attrs,
    condition: Precondition,
    hasher: Hasher,
    /// A content key's digest, or the claim's, if it is of another function than the hasher.
    second: Option<(Hasher, Digest)>,
    len: u64,
    /// Where it is to be uploaded, with its room in the queue.
    route: Option<Route>,
    taken: Taken,
    shed: Option<Shed>,
}

#[derive(Debug)]
struct Route {
    tag: QueueTag,
    name: ObjectName,
    room: Room,
}

/// The bytes so far.
#[derive(Debug)]
enum Taken {
    Collected(BytesMut),
    /// A draft of the outbox (`true`) or of the cache store.
    Drafted(Box<Draft>, bool),
    /// Known already, or not kept: only hashed.
    Dropped,
}

/// A put that succeeded.
#[derive(Debug, Clone)]
pub struct Committed {
    /// The entry's ETag, without quotes.
    pub etag: Arc<str>,
    /// Whether there was none before.
    pub created: bool,
    /// What became of it.
    pub outcome: Outcome,
}

/// What became of an accepted put.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Outcome {
    /// It is in the outbox, on its way upstream.
    Queued,
    /// It is in the cache; its route has no upstream, or a read-only one.
    Kept,
    /// It was here and upstream, or on its way there.
    Known,
    /// It is not queued, for this reason.
    Shed(Shed),
}

impl Cache {
    /// Begins a put. The answer of a store that is full is not an error: see [`Outcome::Shed`].
    ///
    /// # Errors
    /// `TooLarge` for an announced length over `entry_max`, `Mismatch` for a claim that contradicts the key,
    /// `Precondition` when the condition doesn't hold.
    pub async fn put(
        &self,
        scope: &Scope,
        key: Key,
        claim: Claim,
        attrs: Attrs,
        condition: Precondition,
    ) -> Result<Put> {
        let asked = Asked::new(scope, &key);
        if let Some(len) = claim.len {
            self.check_len(&asked, len)?;
        }
        if condition != Precondition::None {
            let current = self.head_of(&asked).await?;
            check_condition(&condition, current.as_ref().map(|(meta, _)| &*meta.etag))?;
        }
        let own = match &key {
            Key::Content(digest) => Some(*digest),
            Key::Named { .. } => None,
        };
        let function = own.map_or(Function::Blake3, |digest| digest.function());
        let second = claim.digest.filter(|digest| digest.function() != function);
        let claimed = claim.digest.filter(|digest| digest.function() == function);
        if let (Some(own), Some(claimed)) = (own, claimed)
            && own != claimed
        {
            return Err(Error::new(Kind::Mismatch, "the claimed digest isn't the one in the name"));
        }
        let claim = Claim { digest: own.or(claimed), ..claim };
        let (route, shed) = match self.route(&asked, claim.len.unwrap_or(0)) {
            Ok(route) => (route, None),
            Err(shed) => (None, Some(shed)),
        };
        let taken = if own.is_some() && self.is_known(&asked) {
            Taken::Dropped
        } else {
            let capacity = claim.len.unwrap_or(0).min(self.inner.settings.inline_max);
            Taken::Collected(BytesMut::with_capacity(capacity as usize))
        };
        Ok(Put {
            cache: self.clone(),
            asked,
            claim,
            attrs,
            condition,
            hasher: function.hasher(),
            second: second.map(|digest| (digest.function().hasher(), digest)),
            len: 0,
            route,
            taken,
            shed,
        })
    }

    fn check_len(&self, asked: &Asked, len: u64) -> Result<()> {
        let max = self.inner.settings.entry_max;
        if len > max {
            let message = format!("a body of {len} bytes is over `entry_max` ({max} bytes)");
            return Err(Error::new(Kind::TooLarge, message));
        }
        if asked.is_linked() && len > LINKED_BYTES_MAX {
            let message = format!("an action result of {len} bytes is over {LINKED_BYTES_MAX} bytes");
            return Err(Error::new(Kind::TooLarge, message));
        }
        Ok(())
    }

    /// Where a put of this key goes: room in the queue, nowhere (`None`), or why it is not queued.
    fn route(&self, asked: &Asked, len: u64) -> Result<Option<Route>, Shed> {
        let Some(remote) = self.remote(asked).filter(|remote| !remote.read_only()) else { return Ok(None) };
        let name = asked.object_name(remote).ok_or(Shed::Name)?;
        let room = self.inner.queue.reserve(len).map_err(|full| match full {
            Full::Bytes => Shed::QueueBytes,
            Full::Entries => Shed::QueueEntries,
        })?;
        Ok(Some(Route { tag: QueueTag(remote.tag()), name, room }))
    }

    /// Whether these content bytes are here, and upstream or on their way there.
    fn is_known(&self, asked: &Asked) -> bool {
        self.is_local(asked.id)
            && match self.remote(asked).filter(|remote| !remote.read_only()) {
                None => true,
                Some(remote) => {
                    self.inner.facts.present(asked.id, remote.id())
                        || self.inner.queue.holds(QueueTag(remote.tag()), asked.id)
                }
            }
    }

    /// Queues the copy of a content entry that is here and neither upstream nor on its way. `false` when there is
    /// none here.
    pub(super) async fn queue_local(&self, asked: &Asked) -> Result<bool> {
        if self.is_known(asked) {
            return Ok(true);
        }
        let Some((_, stored, from)) = self.stored(asked).await else { return Ok(false) };
        if stored.deleted {
            return Ok(false);
        }
        let len = stored.record.meta.len;
        let route = self.route(asked, len).map_err(|shed| {
            Error::new(Kind::NoSpace, format!("queue a local entry again: {}", shed.name()))
        })?;
        let Some(route) = route else { return Ok(true) };
        let generation = if from == crate::entry::Tier::Outbox {
            self.inner.outbox.queue(asked.id, stored.generation, route.tag, route.name.as_str()).await?;
            stored.generation
        } else {
            let queue = Some((route.tag, Arc::from(route.name.as_str())));
            let record = Record { queue, ..(*stored.record).clone() };
            let Some(generation) = self.inner.outbox.adopt(&self.inner.cache, &stored, record).await? else {
                return Ok(true);
            };
            self.inner.cache.remove(asked.id, Some(stored.generation)).await?;
            generation
        };
        let row = Queued { id: asked.id, generation, tag: route.tag, bytes: len };
        self.inner.queue.push(row, route.room);
        Ok(true)
    }

    /// Writes a body that is all here, in the log or as a file.
    pub(super) async fn write_whole(
        &self,
        store: &Store,
        record: Record,
        body: Bytes,
        guard: Guard<'_>,
    ) -> Result<Option<Generation>> {
        if body.len() as u64 <= self.inner.settings.inline_max {
            return store.put(record, body, guard).await;
        }
        let mut draft = store.draft(Some(body.len() as u64)).await?;
        draft.write(body).await?;
        draft.publish(record, guard).await
    }

    /// Removes an entry here and queues its delete upstream.
    pub(super) async fn remove(&self, asked: &Asked) -> Result<bool> {
        let was = self.stored(asked).await.filter(|(_, stored, _)| !stored.deleted).is_some();
        let route = self.route(asked, 0).ok().flatten();
        match route {
            Some(route) => {
                let meta = Meta {
                    len: 0,
                    digest: None,
                    etag: "".into(),
                    attrs: Attrs::default(),
                    stored_ms: now_ms(),
                    origin_etag: None,
                };
                let mut record = asked.record(meta, None);
                record.queue = Some((route.tag, Arc::from(route.name.as_str())));
                let generation = self.inner.outbox.put_deleted(record).await?;
                self.inner.cache.supersede(asked.id, generation);
                let row = Queued { id: asked.id, generation, tag: route.tag, bytes: 0 };
                self.inner.queue.push(row, route.room);
            }
            None => {
                self.inner.outbox.remove(asked.id, None).await?;
                self.inner.cache.remove(asked.id, None).await?;
            }
        }
        self.inner.memory.forget(asked.id);
        Ok(was)
    }
}

// === impl Put ===

impl Put {
    /// Takes the next bytes. A store that fails is not the client's concern: the put is shed and goes on.
    ///
    /// # Errors
    /// `TooLarge` over `entry_max`, `Mismatch` over the claimed length.
    pub async fn write(&mut self, piece: Bytes) -> Result<()> {
        let len = self.len + piece.len() as u64;
        if let Some(claimed) = self.claim.len.filter(|claimed| len > *claimed) {
            return Err(Error::new(
                Kind::Mismatch,
                format!("the body is longer than the {claimed} bytes announced"),
            ));
        }
        self.cache.check_len(&self.asked, len)?;
        self.len = len;
        self.hasher.update(&piece);
        if let Some((hasher, _)) = &mut self.second {
            hasher.update(&piece);
        }
        self.make_room(len);
        if let Err(error) = self.keep(piece).await {
            self.lose(&error);
        }
        Ok(())
    }

    /// Publishes it.
    ///
    /// # Errors
    /// `Mismatch` when length or digest are not what was claimed, `Precondition` when somebody was faster.
    pub async fn commit(mut self) -> Result<Committed> {
        if let Some(claimed) = self.claim.len.filter(|claimed| *claimed != self.len) {
            let message = format!("the body has {} bytes, {claimed} were announced", self.len);
            return Err(Error::new(Kind::Mismatch, message));
        }
        let digest = std::mem::replace(&mut self.hasher, Function::Blake3.hasher()).finish();
        if let Some(expected) = self.claim.digest.filter(|expected| *expected != digest) {
            return Err(mismatch(&digest, &expected));
        }
        if let Some((hasher, expected)) = self.second.take() {
            let actual = hasher.finish();
            if actual != expected {
                return Err(mismatch(&actual, &expected));
            }
        }
        let etag: Arc<str> = match &self.asked.key {
            Key::Content(_) => digest.hex().into(),
            Key::Named { .. } => digest.hex()[..32].into(),
        };
        let before = self.cache.stored(&self.asked).await.map(|(_, stored, _)| stored);
        let before = before.filter(|stored| !stored.deleted);
        let current = before.as_ref().map(|stored| &*stored.record.meta.etag);
        // Checked against the upstream when the put began; again here against whoever was faster on this machine.
        if self.condition == Precondition::Absent || before.is_some() {
            check_condition(&self.condition, current)?;
        }
        let created = before.is_none();
        let meta = Meta {
            len: self.len,
            digest: Some(digest),
            etag: Arc::clone(&etag),
            attrs: self.attrs.clone(),
            stored_ms: now_ms(),
            origin_etag: before.and_then(|stored| stored.record.meta.origin_etag.clone()),
        };
        let outcome = self.finish(meta).await;
        if let Outcome::Shed(reason) = outcome {
            tracing::debug!(reason = reason.name(), "a put was shed");
        }
        Ok(Committed { etag, created, outcome })
    }

    async fn finish(mut self, meta: Meta) -> Outcome {
        let taken = std::mem::replace(&mut self.taken, Taken::Dropped);
        if matches!(taken, Taken::Dropped) {
            return self.finish_dropped().await;
        }
        let is_content = matches!(self.asked.key, Key::Content(_));
        if is_content && self.cache.is_local(self.asked.id) {
            // Somebody else was faster, or it is here and on its way to no upstream yet.
            if let Ok(true) = self.queue_again().await {
                return Outcome::Known;
            }
        }
        let (body, draft) = match taken {
            Taken::Collected(bytes) => (Some(bytes.freeze()), None),
            Taken::Drafted(draft, outbox) => (None, Some((draft, outbox))),
            Taken::Dropped => (None, None),
        };
        let links = match (&body, self.asked.is_linked()) {
            (Some(body), true) => Some(links::action_result(body)),
            _ => None,
        };
        if let Some(Links::Known(links)) = &links
            && self.route.is_some()
            && !self.queue_links(links).await
        {
            self.route = None;
            self.shed = Some(Shed::Incomplete);
        }
        let again = body.clone().filter(|_| self.route.is_some());
        if let Err(error) = self.publish(meta.clone(), links.clone(), body, draft).await {
            self.lose(&error);
            if again.is_some() {
                // Kept and not queued is better than not kept at all.
                if let Err(error) = self.publish(meta, links, again, None).await {
                    self.lose(&error);
                }
            }
        }
        self.outcome()
    }

    /// Known content: a use of it.
    async fn finish_dropped(self) -> Outcome {
        match self.shed {
            Some(reason) => {
                self.cache.shed(reason);
                Outcome::Shed(reason)
            }
            None => {
                self.cache.inner.cache.touch(&[self.asked.id]);
                Outcome::Known
            }
        }
    }

    async fn queue_again(&mut self) -> Result<bool> {
        self.route = None;
        self.cache.inner.cache.touch(&[self.asked.id]);
        self.cache.queue_local(&self.asked).await
    }

    fn outcome(&self) -> Outcome {
        match self.shed {
            Some(reason) => {
                self.cache.shed(reason);
                Outcome::Shed(reason)
            }
            None if self.cache.remote(&self.asked).is_some_and(|remote| !remote.read_only()) => {
                Outcome::Queued
            }
            None => Outcome::Kept,
        }
    }

    /// Local links are queued with the entry that names them. `false` when one is nowhere.
    async fn queue_links(&self, links: &[links::Link]) -> bool {
        for link in links {
            let other = self.asked.other(Key::Content(link.digest));
            let local = self.cache.queue_local(&other).await.unwrap_or(false);
            let upstream = self.asked.scope.upstream;
            if !local && !upstream.is_some_and(|upstream| self.cache.inner.facts.present(other.id, upstream))
            {
                return false;
            }
        }
        true
    }

    async fn publish(
        &mut self,
        meta: Meta,
        links: Option<Links>,
        body: Option<Bytes>,
        draft: Option<(Box<Draft>, bool)>,
    ) -> Result<()> {
        let inner = Arc::clone(&self.cache.inner);
        let id = self.asked.id;
        let mut record = self.asked.record(meta.clone(), links.clone());
        let route = self.route.take();
        record.queue = route.as_ref().map(|route| (route.tag, Arc::from(route.name.as_str())));
        let store = if route.is_some() { &inner.outbox } else { &inner.cache };
        let generation = match (&body, draft) {
            (_, Some((draft, outbox))) if outbox == route.is_some() => {
                draft.publish(record, Guard::Always).await?
            }
            (_, Some((draft, _))) => {
                // It was begun in the outbox, and the queue filled up on the way.
                let published = draft.publish(record.clone(), Guard::Always).await?;
                self.keep_only(record).await?;
                published
            }
            (Some(body), None) => self.cache.write_whole(store, record, body.clone(), Guard::Always).await?,
            (None, None) => None,
        };
        let Some(generation) = generation else { return Ok(()) };
        match route {
            Some(route) => {
                inner.cache.supersede(id, generation);
                if let Some(upstream) = self.asked.scope.upstream {
                    inner.facts.forget_absent(id, upstream);
                }
                inner.queue.push(Queued { id, generation, tag: route.tag, bytes: meta.len }, route.room);
            }
            // An older commit that is queued stays queued; look-ups take the later one.
            None => {}
        }
        match body {
            Some(body) => {
                inner.memory.put(id, Held::new(generation.0, Arc::new(meta), links, body, now_ms()));
            }
            None => inner.memory.forget(id),
        }
        Ok(())
    }

    /// Moves what the outbox took over to the cache store.
    async fn keep_only(&self, record: Record) -> Result<()> {
        let inner = &self.cache.inner;
        if let Some(stored) = inner.outbox.get(self.asked.id, &self.asked.canonical).await? {
            inner.cache.adopt(&inner.outbox, &stored, record).await?;
            inner.outbox.remove(self.asked.id, Some(stored.generation)).await?;
        }
        Ok(())
    }

    /// The queue's room for a body of unknown length grows as it comes; without room it is kept and not queued.
    fn make_room(&mut self, len: u64) {
        let full = self.route.as_mut().and_then(|route| route.room.grow(len).err());
        if full.is_some() {
            self.route = None;
            self.shed = Some(Shed::QueueBytes);
        }
    }

    async fn keep(&mut self, piece: Bytes) -> Result<()> {
        let inline_max = self.cache.inner.settings.inline_max;
        match &mut self.taken {
            Taken::Dropped => Ok(()),
            Taken::Drafted(draft, _) => draft.write(piece).await,
            Taken::Collected(bytes) if self.len <= inline_max || self.asked.is_linked() => {
                bytes.extend_from_slice(&piece);
                Ok(())
            }
            Taken::Collected(bytes) => {
                let first = std::mem::take(bytes).freeze();
                let inner = &self.cache.inner;
                let store = if self.route.is_some() { &inner.outbox } else { &inner.cache };
                let mut draft = store.draft(self.claim.len).await?;
                draft.write(first).await?;
                draft.write(piece).await?;
                self.taken = Taken::Drafted(Box::new(draft), self.route.is_some());
                Ok(())
            }
        }
    }

    /// The disk failed: nothing is kept, and the client is not told.
    fn lose(&mut self, error: &Error) {
        tracing::debug!(%error, "a put can't be kept");
        self.taken = Taken::Dropped;
        self.route = None;
        self.shed = Some(if error.kind() == Kind::NoSpace { Shed::DiskFloor } else { Shed::DiskError });
    }
}

fn check_condition(condition: &Precondition, current: Option<&str>) -> Result<()> {
    if condition.holds(current) {
        return Ok(());
    }
    Err(Error::new(Kind::Precondition, "the condition doesn't hold for what is stored"))
}

fn mismatch(actual: &Digest, expected: &Digest) -> Error {
    let message = format!("the body's digest is {}, not {}", write_digest(actual), write_digest(expected));
    Error::new(Kind::Mismatch, message)
}
