//! Puts: reserve, collect or draft while hashing, check, append, acknowledge.
//!
//! With an upstream the bytes go to the outbox and are acknowledged once they are there; the uploader does the rest.
//! Without one they go to the cache store. What can't be queued is shed: kept locally and evictable, or not kept at
//! all; either way the put is read to its end and succeeds, and the shedding is counted by reason.

use std::sync::Arc;

use bytes::{Bytes, BytesMut};

use super::receive::LINKED_BYTES_MAX;
use super::route::Route;
use super::verify::write_digest;
use super::{Asked, Cache, now_ms};
use crate::digest::{Digest, Function, Hasher};
use crate::entry::{Attrs, Claim, Meta, Precondition};
use crate::error::{Error, Kind, Result};
use crate::key::{Key, Scope};
use crate::stats::Shed;
use crate::store::{Draft, QueueTag};

/// An entry on its way in. Dropped, it never happened.
#[derive(Debug)]
pub struct Put {
    pub(super) cache: Cache,
    pub(super) asked: Asked,
    pub(super) claim: Claim,
    pub(super) attrs: Attrs,
    /// Of the caller's choice.
    pub(super) etag: Option<Arc<str>>,
    condition: Precondition,
    pub(super) hasher: Hasher,
    /// A content key's digest, or the claim's, if it is of another function than the hasher.
    pub(super) second: Option<(Hasher, Digest)>,
    pub(super) len: u64,
    /// Where it is to be uploaded, with its room in the queue.
    pub(super) route: Option<Route>,
    pub(super) taken: Taken,
    pub(super) shed: Option<Shed>,
}

/// The bytes so far.
#[derive(Debug)]
pub(super) enum Taken {
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
        let (taken, route, shed) = if own.is_some() && self.is_known(&asked) {
            (Taken::Dropped, None, None)
        } else {
            let capacity = claim.len.unwrap_or(0).min(self.inner.settings.read().inline_max);
            let taken = Taken::Collected(BytesMut::with_capacity(capacity as usize));
            match self.route(&asked, claim.len.unwrap_or(0)) {
                Ok(route) => (taken, route, None),
                Err(shed) => (taken, None, Some(shed)),
            }
        };
        Ok(Put {
            cache: self.clone(),
            asked,
            claim,
            attrs,
            etag: None,
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
        let max = self.inner.settings.read().entry_max;
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

    /// Whether these content bytes are here, and upstream or on their way there.
    pub(super) fn is_known(&self, asked: &Asked) -> bool {
        self.is_local(asked.id)
            && match self.remote(asked).filter(|remote| !remote.read_only()) {
                None => true,
                Some(remote) => {
                    self.inner.facts.present(asked.id, remote.id())
                        || self.inner.queue.holds(QueueTag(remote.tag()), asked.id)
                }
            }
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

    /// Gives the entry this ETag, without quotes, instead of one of our own making. Before [`Put::commit`].
    pub fn set_etag(&mut self, etag: impl Into<Arc<str>>) {
        self.etag = Some(etag.into());
    }

    /// Adds attributes that are only known now that the body was read. Before [`Put::commit`].
    ///
    /// # Errors
    /// As [`Attrs::new`].
    pub fn add_attrs(&mut self, attrs: impl IntoIterator<Item = (String, String)>) -> Result<()> {
        self.attrs = self.attrs.and(attrs)?;
        Ok(())
    }

    /// Publishes it.
    ///
    /// # Errors
    /// `Mismatch` when length or digest are not what was claimed, `Precondition` when somebody was faster.
    pub async fn commit(mut self) -> Result<Committed> {
        let digest = std::mem::replace(&mut self.hasher, Function::Blake3.hasher()).finish();
        let second = self.second.take().map(|(hasher, expected)| (hasher.finish(), expected));
        let (meta, created) = self.check(digest, second).await?;
        let etag = Arc::clone(&meta.etag);
        let outcome = self.finish(meta).await;
        if let Outcome::Shed(reason) = outcome {
            tracing::debug!(reason = reason.name(), "a put was shed");
        }
        Ok(Committed { etag, created, outcome })
    }

    /// Whether it may be published, and as what; also, whether there was no such entry before.
    pub(super) async fn check(
        &self,
        digest: Digest,
        second: Option<(Digest, Digest)>,
    ) -> Result<(Meta, bool)> {
        if let Some(claimed) = self.claim.len.filter(|claimed| *claimed != self.len) {
            let message = format!("the body has {} bytes, {claimed} were announced", self.len);
            return Err(Error::new(Kind::Mismatch, message));
        }
        let first = self.claim.digest.map(|expected| (digest, expected));
        for (actual, expected) in [first, second].into_iter().flatten() {
            if actual != expected {
                return Err(mismatch(&actual, &expected));
            }
        }
        let etag: Arc<str> = match (&self.etag, &self.asked.key) {
            (Some(etag), _) => Arc::clone(etag),
            (None, Key::Content(_)) => digest.hex().into(),
            (None, Key::Named { .. }) => digest.hex()[..32].into(),
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
            etag,
            attrs: self.attrs.clone(),
            stored_ms: now_ms(),
            origin_etag: before.and_then(|stored| stored.record.meta.origin_etag.clone()),
        };
        Ok((meta, created))
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
        let inline_max = self.cache.inner.settings.read().inline_max;
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
    pub(super) fn lose(&mut self, error: &Error) {
        tracing::debug!(%error, "a put can't be kept");
        self.taken = Taken::Dropped;
        self.route = None;
        self.shed = Some(shed_of(error));
    }
}

/// The reason that a disk's failure is.
pub(super) fn shed_of(error: &Error) -> Shed {
    if error.kind() == Kind::NoSpace { Shed::DiskFloor } else { Shed::DiskError }
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
