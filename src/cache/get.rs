//! Look-ups in the local tiers, and who is asked when they have nothing.
//!
//! A sick disk is a miss of that tier, never of the cache: whatever a store fails with, the upstream is asked next.

use std::ops::Range;
use std::sync::Arc;
use std::time::Duration;

use bytes::Bytes;
use parking_lot::Mutex;
use tokio::time::Instant;

use super::freshen::is_fresh;
use super::{Asked, Cache};
use crate::body::Body;
use crate::entry::{Attrs, ByteRange, Hit, Meta, Tier};
use crate::error::Result;
use crate::key::{EntryId, Key, Scope};
use crate::links::Links;
use crate::memory::Held;
use crate::stats::{Spread, noted};
use crate::store::{Store, Stored};

/// What the local tiers say.
pub(super) enum Local {
    /// Here it is.
    Hit(Hit),
    /// It is deleted here, or names what can't be served: a miss, whatever the upstream has.
    Gone,
    /// Not here.
    Absent,
}

/// Recency of memory hits, noted in batches so that the hot path takes no index lock.
#[derive(Debug, Default)]
pub(super) struct Touches {
    /// Leaf mutexes.
    ids: Spread<Mutex<Vec<EntryId>>>,
}

/// A batch is handed to the store when it has this many ids, or every [`TOUCH_EVERY`].
const TOUCHES_AT_ONCE: usize = 1024;
const TOUCH_EVERY: Duration = Duration::from_secs(1);

impl Cache {
    /// An entry, from the memory tier only and without an await: the hot path. `None` says nothing; ask
    /// [`Cache::get`].
    pub fn get_now(&self, scope: &Scope, key: &Key) -> Option<Hit> {
        if self.inner.memory.is_off() {
            return None;
        }
        noted::asked(key);
        let id = EntryId::of(&key.canonical(scope));
        let held = self.inner.memory.get(id)?;
        if held.links.is_some() || !is_fresh(scope, key, held.checked) {
            return None;
        }
        self.inner.touches.note(self, id);
        let range = 0..held.meta.len;
        Some(held_hit(held, range))
    }

    /// An entry, from wherever it is.
    ///
    /// # Errors
    /// `Invalid` when there is an entry and no byte of it is in `range`. Nothing else: trouble is a miss.
    pub async fn get(&self, scope: &Scope, key: &Key, range: ByteRange) -> Result<Option<Hit>> {
        let deadline = Instant::now() + self.inner.settings.read().first_byte;
        let asked = Asked::new(scope, key);
        match self.local(&asked, range, deadline).await? {
            Local::Hit(hit) => Ok(Some(hit)),
            Local::Gone => Ok(None),
            // Boxed, so that hits are not answered from a future with room for a fill.
            Local::Absent => {
                let hit = Box::pin(self.ask_upstream(&asked, range, deadline)).await?;
                if let Some(hit) = &hit {
                    self.count_hit(&asked, hit.from);
                }
                Ok(hit)
            }
        }
    }

    pub(super) async fn head_of(&self, asked: &Asked) -> Result<Option<(Arc<Meta>, Tier)>> {
        let deadline = Instant::now() + self.inner.settings.read().first_byte;
        if let Some(hit) = empty_blob(&asked.key) {
            return Ok(Some((hit.meta, hit.from)));
        }
        if let Some(held) = self.inner.memory.get(asked.id)
            && self.are_servable(asked, held.links.as_ref(), deadline).await
            && is_fresh(&asked.scope, &asked.key, held.checked)
        {
            return Ok(Some((held.meta, Tier::Memory)));
        }
        if let Some((_, stored, from)) = self.stored(asked).await {
            if stored.deleted || !self.are_servable(asked, stored.record.links.as_ref(), deadline).await {
                return Ok(None);
            }
            return Ok(match self.freshen(asked, &stored, from, ByteRange::Full, deadline).await? {
                None => Some((Arc::new(stored.record.meta.clone()), from)),
                Some(Local::Hit(hit)) => Some((hit.meta, hit.from)),
                Some(Local::Gone | Local::Absent) => None,
            });
        }
        if asked.is_linked() {
            // Whether it is complete can only be told from its bytes.
            let hit = self.ask_upstream(asked, ByteRange::Full, deadline).await?;
            return Ok(hit.map(|hit| (hit.meta, hit.from)));
        }
        Ok(self.head_upstream(asked, deadline).await.map(|meta| (Arc::new(meta), Tier::Upstream)))
    }

    /// Whether `id` can be served now from here, or is known to be upstream.
    pub(super) fn is_servable(&self, asked: &Asked, id: EntryId) -> bool {
        self.is_local(id)
            || matches!(&asked.key, Key::Content(digest) if digest.is_empty_blob())
            || self
                .remote(asked)
                .is_some_and(|remote| remote.readable() && self.inner.facts.present(id, remote.id()))
    }

    /// Whether `id` lies in a local tier.
    pub(super) fn is_local(&self, id: EntryId) -> bool {
        self.inner.cache.contains(id).is_some() || self.inner.outbox.contains(id).is_some()
    }

    pub(super) async fn local(&self, asked: &Asked, range: ByteRange, deadline: Instant) -> Result<Local> {
        if let Some(hit) = empty_blob(&asked.key) {
            return Ok(Local::Hit(hit));
        }
        if let Some(held) = self.inner.memory.get(asked.id)
            && is_fresh(&asked.scope, &asked.key, held.checked)
        {
            if !self.are_servable(asked, held.links.as_ref(), deadline).await {
                return Ok(Local::Gone);
            }
            let range = range.resolve(held.meta.len)?;
            self.inner.touches.note(self, asked.id);
            self.used(asked, held.links.as_ref());
            return Ok(Local::Hit(held_hit(held, range)));
        }
        let Some((store, stored, from)) = self.stored(asked).await else {
            return Ok(Local::Absent);
        };
        if stored.deleted {
            return Ok(Local::Gone);
        }
        if !self.are_servable(asked, stored.record.links.as_ref(), deadline).await {
            return Ok(Local::Gone);
        }
        if let Some(newer) = self.freshen(asked, &stored, from, range, deadline).await? {
            return Ok(newer);
        }
        let range = range.resolve(stored.record.meta.len)?;
        self.used(asked, stored.record.links.as_ref());
        match self.read(asked, store, &stored, range.clone()).await {
            Ok(body) => {
                let meta = Arc::new(stored.record.meta.clone());
                Ok(Local::Hit(Hit { meta, range, body, from }))
            }
            Err(error) => {
                tracing::warn!(entry = %asked.id, %error, "an entry can't be read and is taken as a miss");
                Ok(Local::Absent)
            }
        }
    }

    /// The later of the two stores' entries. Twice, because an entry may move from the outbox to the cache store
    /// between being seen and being read.
    pub(super) async fn stored(&self, asked: &Asked) -> Option<(&Store, Stored, Tier)> {
        for _ in 0..2 {
            let inner = &*self.inner;
            let (here, cached) = (inner.outbox.generation(asked.id), inner.cache.generation(asked.id));
            let (store, from) = match (here, cached) {
                (None, None) => return None,
                (here, cached) if here >= cached => (&inner.outbox, Tier::Outbox),
                _ => (&inner.cache, Tier::Disk),
            };
            match store.get(asked.id, &asked.canonical).await {
                Ok(Some(stored)) => return Some((store, stored, from)),
                Ok(None) => {}
                Err(error) => {
                    tracing::warn!(entry = %asked.id, tier = from.name(), %error, "a tier can't be read");
                    return None;
                }
            }
        }
        None
    }

    /// The bytes of a stored entry; small ones whole, and from then on in memory.
    async fn read(&self, asked: &Asked, store: &Store, stored: &Stored, range: Range<u64>) -> Result<Body> {
        let len = stored.record.meta.len;
        if !self.inner.memory.admits(len) {
            // A first block that is damaged makes it a miss; a later one can only break the connection.
            return store.body(stored, range)?.begun().await;
        }
        let bytes = store.body(stored, 0..len)?.collect(len).await?;
        // What stays is just as long as the body: a record's buffer is longer, and goes back to its pool.
        let bytes =
            if len <= self.inner.settings.read().inline_max { Bytes::copy_from_slice(&bytes) } else { bytes };
        let checked = self.inner.facts.checked(asked, stored.record.meta.stored_ms);
        let meta = Arc::new(stored.record.meta.clone());
        let held = Held::new(stored.generation.0, meta, stored.record.links.clone(), bytes.clone(), checked);
        self.inner.memory.put(asked.id, held, || self.current(asked.id).map(|generation| generation.0));
        Ok(Body::bytes(bytes.slice(range.start as usize..range.end as usize)))
    }

    /// What an answered entry means for the order of eviction: itself before what it names.
    pub(super) fn used(&self, asked: &Asked, links: Option<&Links>) {
        if let Some(Links::Known(links)) = links
            && !links.is_empty()
        {
            let named: Vec<EntryId> =
                links.iter().map(|link| asked.other(Key::Content(link.digest)).id).collect();
            self.inner.cache.touch(&[asked.id]);
            self.inner.cache.touch(&named);
            self.inner.cache.protect(&named);
            self.prefetch(asked, links);
        }
    }
}

/// Ends with the daemon.
pub(super) async fn flush_touches(cache: Cache) {
    let mut every = tokio::time::interval(TOUCH_EVERY);
    loop {
        every.tick().await;
        flush_touches_once(&cache);
    }
}

pub(super) fn flush_touches_once(cache: &Cache) {
    for ids in cache.inner.touches.ids.all() {
        let ids = std::mem::take(&mut *ids.lock());
        if !ids.is_empty() {
            cache.inner.cache.touch(&ids);
        }
    }
}

fn held_hit(held: Held, range: Range<u64>) -> Hit {
    let Held { meta, body, .. } = held;
    let body = if range.end - range.start == meta.len {
        body
    } else {
        body.slice(range.start as usize..range.end as usize)
    };
    Hit { meta, range, body: Body::bytes(body), from: Tier::Memory }
}

/// The empty blob is always present: clients skip its upload.
fn empty_blob(key: &Key) -> Option<Hit> {
    let Key::Content(digest) = key else { return None };
    digest.is_empty_blob().then(|| Hit {
        meta: Arc::new(Meta {
            len: 0,
            digest: Some(*digest),
            etag: digest.hex().into(),
            attrs: Attrs::default(),
            stored_ms: 0,
            origin_etag: None,
        }),
        range: 0..0,
        body: Body::empty(),
        from: Tier::Memory,
    })
}

// === impl Touches ===

impl Touches {
    fn note(&self, cache: &Cache, id: EntryId) {
        let full = {
            let mut ids = self.ids.mine().lock();
            if ids.last() == Some(&id) {
                return;
            }
            ids.push(id);
            (ids.len() >= TOUCHES_AT_ONCE).then(|| std::mem::take(&mut *ids))
        };
        if let Some(ids) = full {
            cache.inner.cache.touch(&ids);
        }
    }
}
