//! The end of a put: into the outbox or the cache store, and what became of it.

use std::sync::Arc;

use bytes::{Bytes, BytesMut};

use super::Cache;
use super::clock::now_moment;
use super::put::{Outcome, Put, Taken};
use crate::entry::Meta;
use crate::error::Result;
use crate::key::Key;
use crate::links::{self, Links};
use crate::memory::Held;
use crate::stats::Shed;
use crate::store::{Draft, Generation, Guard, Queued, Record, Store};

impl Cache {
    /// Writes a body that is all here, in the log or as a file.
    pub(super) async fn write_whole(
        &self,
        store: &Store,
        record: Record,
        body: Bytes,
        guard: Guard<'_>,
    ) -> Result<Option<Generation>> {
        if body.len() as u64 <= self.inner.settings.read().inline_max {
            return store.put(record, body, guard).await;
        }
        let mut draft = store.draft(Some(body.len() as u64)).await?;
        draft.write(body).await?;
        draft.publish(record, guard).await
    }
}

/// Without the room that a body of unknown length has grown: what stays in memory weighs what it is counted as.
fn exact(bytes: BytesMut) -> Bytes {
    if bytes.capacity() == bytes.len() { bytes.freeze() } else { Bytes::copy_from_slice(&bytes) }
}

impl Put {
    pub(super) async fn finish(mut self, meta: Meta) -> Outcome {
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
            Taken::Collected(bytes) => (Some(exact(bytes)), None),
            Taken::Drafted(draft, outbox) => (None, Some((draft, outbox))),
            Taken::Dropped => (None, None),
        };
        let links = match (&body, self.asked.is_linked()) {
            (Some(body), true) => Some(links::action_result(self.asked.scope.policy.digest, body)),
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
        inner.fills.part(id, self.asked.scope.upstream);
        // Without a route an older commit that is queued stays queued; look-ups take the later one.
        if let Some(route) = route {
            inner.cache.supersede(id, generation);
            if let Some(upstream) = self.asked.scope.upstream {
                inner.facts.forget_absent(id, upstream);
            }
            inner.queue.push(Queued { id, generation, tag: route.tag, bytes: meta.len }, route.room);
            self.cache.note_upstream(&self.asked);
        }
        match body {
            Some(body) => {
                let held = Held::new(generation.0, Arc::new(meta), links, body, now_moment());
                inner.memory.put(id, held, || self.cache.current(id).map(|current| current.0));
            }
            None => inner.memory.forget(id),
        }
        Ok(())
    }

    /// Moves what the outbox took over to the cache store.
    async fn keep_only(&self, record: Record) -> Result<()> {
        let inner = &self.cache.inner;
        if let Some(stored) = inner.outbox.get(self.asked.id, &self.asked.canonical).await? {
            inner.cache.adopt(&inner.outbox, &stored, record, Guard::Always).await?;
            inner.outbox.remove(self.asked.id, Some(stored.generation)).await?;
        }
        Ok(())
    }
}
