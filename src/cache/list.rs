//! Listing the names of a space: what is here and what is upstream, as one.
//!
//! Of a name that is here the later of the two stores' commits counts, as in a look-up, and what is here goes before
//! what is upstream; a queued delete hides the upstream's object. An upstream that is in trouble, or doesn't answer
//! within `first_byte`, adds nothing; a store that can't be read adds nothing.
//!
//! # What it costs
//! The index has no names, so the stores' logs are scanned for them on the disk pool (see [`Store::scan`]): once for
//! every [`WINDOW`] names, or `limit` if that is more, that are looked at; mostly that is once. Names beyond them are
//! not kept, so memory is bounded by that, too. Two listings run at a time, others wait.
//!
//! # What it can't know
//! What is upstream only has the upstream's ETag and time; a look-up of an entry that another Larder put has the ETag
//! that is in its metadata. Listing metadata would cost a request for each name.

use std::collections::BTreeMap;
use std::sync::Arc;
use std::time::UNIX_EPOCH;

use tokio::time::Instant;

use super::Cache;
use crate::error::Result;
use crate::key::{EntryId, Name, Scope, Space};
use crate::store::{Generation, Store, Stored};
use crate::upstream::{self, Remote};

/// A name in a listing.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Listed {
    /// The name in its space.
    pub name: Name,
    /// Bytes of the body.
    pub len: u64,
    /// Without quotes; `None` when an upstream states none.
    pub etag: Option<Arc<str>>,
    /// When it was put or fetched here, else when it was last written upstream: milliseconds since the Unix epoch.
    pub modified_ms: Option<u64>,
}

/// So many names are kept of a scan, though fewer are asked for: some may turn out to be deleted.
const WINDOW: usize = 4096;

/// Objects asked for at once, though fewer names are wanted: not every object is a name.
const PAGE: usize = 1000;

/// Listings under way at once; further ones wait. Each may scan a whole log.
pub(super) const LISTS_MAX: usize = 2;

/// Which names are asked for.
#[derive(Debug, Clone, Copy)]
struct Wanted<'a> {
    scope: &'a Scope,
    space: &'a Space,
    prefix: &'a str,
    limit: usize,
}

/// A name that is known, and who knows it.
#[derive(Debug, Default)]
struct Known {
    here: Option<Here>,
    upstream: Option<upstream::Listed>,
}

/// What a scan says of a name.
#[derive(Debug, Clone, Copy)]
struct Here {
    id: EntryId,
    generation: Generation,
    deleted: bool,
}

/// The first names after some name, so many at most.
#[derive(Debug, Default)]
struct Window {
    names: BTreeMap<String, Here>,
    after: Option<String>,
    max: usize,
    /// Bytes of a canonical key before the name.
    skip: usize,
    /// There are more behind the last one.
    more: bool,
}

impl Cache {
    /// The names with `prefix` of a space in a scope, those after `after`, in order of their bytes, at most `limit`:
    /// fewer only if there are no more.
    ///
    /// # Errors
    /// None today that a client could cause; a sick disk or upstream is a listing of the rest.
    pub async fn list(
        &self,
        scope: &Scope,
        space: &Space,
        prefix: &str,
        after: Option<&str>,
        limit: usize,
    ) -> Result<Vec<Listed>> {
        let deadline = Instant::now() + self.inner.settings.read().first_byte;
        // It is never closed.
        let _turn = self.inner.lists.acquire().await;
        let wanted = Wanted { scope, space, prefix, limit };
        let mut after = after.map(str::to_owned);
        let asked = scope
            .upstream
            .and_then(|upstream| self.inner.remotes.find(upstream))
            .filter(|remote| remote.readable())
            .map(|remote| Remote::clone(&remote));
        let mut remote = asked.as_ref();
        let mut rows = Vec::new();
        while rows.len() < limit {
            let (known, end) = self.known(&wanted, after.as_deref(), &mut remote, deadline).await;
            for (name, known) in known {
                if rows.len() == limit || end.as_ref().is_some_and(|end| name > *end) {
                    break;
                }
                rows.extend(self.listed(&name, known).await);
            }
            match end {
                Some(end) => after = Some(end),
                None => break,
            }
        }
        Ok(rows)
    }

    /// The next names, complete up to the one returned with them; `None`: there are no more.
    async fn known(
        &self,
        wanted: &Wanted<'_>,
        after: Option<&str>,
        remote: &mut Option<&Remote>,
        deadline: Instant,
    ) -> (BTreeMap<String, Known>, Option<String>) {
        // The outbox first: what leaves it meanwhile is in the cache store, or upstream, when that is asked.
        let outbox = self.scan(&self.inner.outbox, wanted, after).await;
        let asking = async {
            let asking = self.ask_for_names((*remote)?, wanted, after);
            let asked = tokio::time::timeout_at(deadline, asking).await;
            asked.unwrap_or_else(|_| {
                self.inner.stats.deadline_misses.one();
                None
            })
        };
        let (cache, objects) = tokio::join!(self.scan(&self.inner.cache, wanted, after), asking);
        let mut ends = Vec::new();
        let mut known: BTreeMap<String, Known> = BTreeMap::new();
        for window in [outbox, cache] {
            ends.extend(window.end());
            for (name, here) in window.names {
                let known = known.entry(name).or_default();
                if known.here.is_none_or(|known| known.generation < here.generation) {
                    known.here = Some(here);
                }
            }
        }
        match objects {
            Some((objects, more)) => {
                ends.extend(objects.last().filter(|_| more).map(|(last, _)| last.clone()));
                for (name, object) in objects {
                    known.entry(name).or_default().upstream = Some(object);
                }
            }
            // It is not asked again for this listing.
            None => *remote = None,
        }
        (known, ends.into_iter().min())
    }

    /// The first names in a store; none if it can't be read.
    async fn scan(&self, store: &Store, wanted: &Wanted<'_>, after: Option<&str>) -> Window {
        let mut begin = wanted.space.canonical(wanted.scope);
        let window = Window {
            names: BTreeMap::new(),
            after: after.map(str::to_owned),
            max: wanted.limit.max(WINDOW),
            skip: begin.len(),
            more: false,
        };
        begin.extend_from_slice(wanted.prefix.as_bytes());
        let scanned = store.scan(&begin, window, |window, seen| {
            let here = Here { id: seen.id, generation: seen.generation, deleted: seen.deleted };
            window.add(&seen.key[window.skip..], here);
        });
        scanned.await.unwrap_or_else(|error| {
            tracing::warn!(%error, "a store can't be listed");
            Window::default()
        })
    }

    /// The upstream's objects that are names, and whether there are more; `None`: it is in trouble.
    async fn ask_for_names(
        &self,
        remote: &Remote,
        wanted: &Wanted<'_>,
        after: Option<&str>,
    ) -> Option<(Vec<(String, upstream::Listed)>, bool)> {
        let Wanted { scope, space, prefix, limit } = *wanted;
        let object = |name: &str| space.object_prefix(scope, name, remote.names());
        let (prefix, mut after) = (object(prefix), after.map(object));
        let mut names = Vec::new();
        loop {
            let page = remote.list(&prefix, after.as_deref(), limit.max(PAGE)).await;
            let page = page
                .inspect_err(
                    |failure| tracing::debug!(upstream = remote.name(), %failure, "a listing failed"),
                )
                .ok()?;
            let more = page.len() >= limit.max(PAGE);
            after = page.last().map(|last| last.name.to_string());
            names.extend(page.into_iter().filter_map(|object| {
                let name = space.name_of(scope, &object.name, remote.names())?;
                Some((name.as_str().to_owned(), object))
            }));
            if !more || names.len() >= limit {
                return Some((names, more));
            }
        }
    }

    /// The row of a name; `None` when it is deleted, or was evicted this moment and is nowhere else.
    async fn listed(&self, name: &str, known: Known) -> Option<Listed> {
        let name = Name::parse(name).ok()?;
        if known.here.is_some_and(|here| here.deleted) {
            return None;
        }
        if let Some(here) = known.here
            && let Some(stored) = self.look(here.id).await
        {
            let meta = &stored.record.meta;
            let (etag, modified_ms) = (Some(Arc::clone(&meta.etag)), Some(meta.stored_ms));
            return (!stored.deleted).then_some(Listed { name, len: meta.len, etag, modified_ms });
        }
        let object = known.upstream?;
        let modified = object.last_modified.and_then(|time| time.duration_since(UNIX_EPOCH).ok());
        let modified_ms = modified.map(|since| since.as_millis() as u64);
        Some(Listed { name, len: object.len, etag: object.etag, modified_ms })
    }

    /// The later of the two stores' entries, without using it.
    async fn look(&self, id: EntryId) -> Option<Stored> {
        let inner = &self.inner;
        let mut stores = [&inner.outbox, &inner.cache];
        stores.sort_by_key(|store| std::cmp::Reverse(store.generation(id)));
        for store in stores {
            match store.get_by_id(id).await {
                Ok(Some(stored)) => return Some(stored),
                Ok(None) => {}
                Err(error) => tracing::warn!(entry = %id, %error, "an entry can't be listed"),
            }
        }
        None
    }
}

// === impl Window ===

impl Window {
    /// The name up to which all are in it, if there are more.
    fn end(&self) -> Option<String> {
        self.names.last_key_value().filter(|_| self.more).map(|(last, _)| last.clone())
    }

    fn add(&mut self, name: &[u8], here: Here) {
        let Ok(name) = std::str::from_utf8(name) else { return };
        if self.after.as_deref().is_some_and(|after| name <= after) {
            return;
        }
        if let Some(known) = self.names.get_mut(name) {
            if known.generation <= here.generation {
                *known = here;
            }
            return;
        }
        let full = self.names.len() >= self.max;
        self.more |= full;
        if full && self.names.last_key_value().is_some_and(|(last, _)| name > last.as_str()) {
            return;
        }
        self.names.insert(name.to_owned(), here);
        if full {
            self.names.pop_last();
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_window_keeps_the_first_names_and_their_later_commits() {
        let here = |generation| Here { id: EntryId(0), generation: Generation(generation), deleted: false };
        let mut window = Window { after: Some("b".into()), max: 3, ..Window::default() };
        for (generation, name) in ["e", "a", "b", "g", "c", "f", "d", "c"].into_iter().enumerate() {
            window.add(name.as_bytes(), here(generation as u64));
        }
        window.add(b"d", here(0));
        window.add(b"\xff", here(0));
        let names: Vec<_> = window.names.iter().map(|(name, here)| (&**name, here.generation.0)).collect();
        assert_eq!(names, [("c", 7), ("d", 6), ("e", 0)]);
        assert_eq!(window.end().as_deref(), Some("e"));
    }
}
