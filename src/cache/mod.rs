//! STUB, not to be merged: the cache's signatures over a map, so that the frontends can be written against them.

use std::collections::HashMap;
use std::sync::Arc;

use bytes::{Bytes, BytesMut};
use parking_lot::Mutex;

use crate::body::Body;
use crate::digest::{Digest, Function};
use crate::entry::{Attrs, ByteRange, Claim, Hit, Meta, Precondition, Tier};
use crate::error::{Error, Kind, Result};
use crate::key::{Key, Scope};
use crate::stats::{Shed, Stats};

#[derive(Debug, Clone)]
pub struct Settings {
    pub entry_max: u64,
    pub first_byte: std::time::Duration,
}
impl Default for Settings {
    fn default() -> Self {
        Self { entry_max: 5 << 30, first_byte: std::time::Duration::from_millis(1500) }
    }
}
#[derive(Debug, Clone)]
pub struct Cache {
    inner: Arc<Inner>,
}
#[derive(Debug)]
struct Inner {
    settings: Settings,
    map: Mutex<HashMap<Vec<u8>, (Arc<Meta>, Bytes)>>,
    stats: Arc<Stats>,
}
#[derive(Debug)]
pub struct Put {
    cache: Cache,
    scope: Scope,
    key: Key,
    claim: Claim,
    attrs: Attrs,
    condition: Precondition,
    bytes: BytesMut,
}
#[derive(Debug, Clone)]
pub struct Committed {
    pub etag: Arc<str>,
    pub created: bool,
    pub outcome: Outcome,
}
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Outcome {
    Queued,
    Kept,
    Known,
    Shed(Shed),
}
#[derive(Debug, Clone, serde::Serialize)]
pub struct CacheStatus {
    pub disk: TierStatus,
}
#[derive(Debug, Clone, Copy, serde::Serialize)]
pub struct TierStatus {
    pub entries: u64,
    pub bytes: u64,
    pub draft_bytes: u64,
}
impl Cache {
    pub fn stub(settings: Settings) -> Self {
        Self { inner: Arc::new(Inner { settings, map: Mutex::default(), stats: Arc::default() }) }
    }
    fn find(&self, scope: &Scope, key: &Key) -> Option<(Arc<Meta>, Bytes)> {
        if let Key::Content(digest) = key
            && digest.is_empty_blob()
        {
            let meta = Meta {
                len: 0,
                digest: Some(*digest),
                etag: digest.hex().into(),
                attrs: Attrs::default(),
                stored_ms: 0,
                origin_etag: None,
            };
            return Some((Arc::new(meta), Bytes::new()));
        }
        self.inner.map.lock().get(&key.canonical(scope)).cloned()
    }
    pub fn get_now(&self, scope: &Scope, key: &Key) -> Option<Hit> {
        let (meta, bytes) = self.find(scope, key)?;
        Some(Hit { range: 0..meta.len, meta, body: Body::bytes(bytes), from: Tier::Memory })
    }
    pub async fn get(&self, scope: &Scope, key: &Key, range: ByteRange) -> Result<Option<Hit>> {
        let Some((meta, bytes)) = self.find(scope, key) else { return Ok(None) };
        let range = range.resolve(meta.len)?;
        let body = Body::bytes(bytes.slice(range.start as usize..range.end as usize));
        Ok(Some(Hit { meta, range, body, from: Tier::Disk }))
    }
    pub async fn head(&self, scope: &Scope, key: &Key) -> Result<Option<(Arc<Meta>, Tier)>> {
        Ok(self.find(scope, key).map(|(meta, _)| (meta, Tier::Disk)))
    }
    pub async fn missing(&self, scope: &Scope, keys: Vec<Key>) -> Vec<Key> {
        keys.into_iter().filter(|key| self.find(scope, key).is_none()).collect()
    }
    pub async fn put(
        &self,
        scope: &Scope,
        key: Key,
        claim: Claim,
        attrs: Attrs,
        condition: Precondition,
    ) -> Result<Put> {
        if claim.len.is_some_and(|len| len > self.inner.settings.entry_max) {
            return Err(Error::new(Kind::TooLarge, "too large"));
        }
        let put = Put {
            cache: self.clone(),
            scope: scope.clone(),
            key,
            claim,
            attrs,
            condition,
            bytes: BytesMut::new(),
        };
        put.check()?;
        Ok(put)
    }
    pub async fn delete(&self, scope: &Scope, key: &Key, condition: Precondition) -> Result<bool> {
        let found = self.find(scope, key);
        if !condition.holds(found.as_ref().map(|(meta, _)| &*meta.etag)) {
            return Err(Error::new(Kind::Precondition, "no"));
        }
        Ok(self.inner.map.lock().remove(&key.canonical(scope)).is_some())
    }
    pub fn stats(&self) -> &Arc<Stats> {
        &self.inner.stats
    }
    pub fn settings(&self) -> &Settings {
        &self.inner.settings
    }
    pub fn shed(&self, reason: Shed) {
        self.inner.stats.shed(reason).one();
    }
    pub async fn status(&self) -> CacheStatus {
        CacheStatus { disk: TierStatus { entries: 0, bytes: 0, draft_bytes: 0 } }
    }
}
impl Put {
    fn check(&self) -> Result<bool> {
        let found = self.cache.find(&self.scope, &self.key);
        if !self.condition.holds(found.as_ref().map(|(meta, _)| &*meta.etag)) {
            return Err(Error::new(Kind::Precondition, "no"));
        }
        Ok(found.is_none())
    }
    pub async fn write(&mut self, piece: Bytes) -> Result<()> {
        let len = (self.bytes.len() + piece.len()) as u64;
        if len > self.cache.inner.settings.entry_max {
            return Err(Error::new(Kind::TooLarge, "too large"));
        }
        if self.claim.len.is_some_and(|claimed| len > claimed) {
            return Err(Error::new(Kind::Mismatch, "longer"));
        }
        self.bytes.extend_from_slice(&piece);
        Ok(())
    }
    pub async fn commit(self) -> Result<Committed> {
        if self.claim.len.is_some_and(|claimed| self.bytes.len() as u64 != claimed) {
            return Err(Error::new(Kind::Mismatch, "shorter"));
        }
        let digest = match &self.key {
            Key::Content(digest) => {
                if Digest::of(digest.function(), &self.bytes) != *digest {
                    return Err(Error::new(Kind::Mismatch, "the digest is another"));
                }
                *digest
            }
            Key::Named { .. } => Digest::of(Function::Blake3, &self.bytes),
        };
        let created = self.check()?;
        let etag: Arc<str> = digest.hex()[..32].into();
        let meta = Meta {
            len: self.bytes.len() as u64,
            digest: Some(digest),
            etag: etag.clone(),
            attrs: self.attrs,
            stored_ms: 1_700_000_000_000,
            origin_etag: None,
        };
        let key = self.key.canonical(&self.scope);
        self.cache.inner.map.lock().insert(key, (Arc::new(meta), self.bytes.freeze()));
        Ok(Committed { etag, created, outcome: Outcome::Kept })
    }
}
