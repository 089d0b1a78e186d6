//! Where what is put or deleted here goes, and the ways into the queue.

use std::sync::Arc;

use super::outbox::{Full, Room};
use super::{Asked, Cache, now_ms};
use crate::entry::{Attrs, Meta, Tier};
use crate::error::{Error, Kind, Result};
use crate::key::ObjectName;
use crate::stats::Shed;
use crate::store::{Guard, QueueTag, Queued, Record};

/// An upstream, the name there, and room in the queue.
#[derive(Debug)]
pub(super) struct Route {
    pub(super) tag: QueueTag,
    pub(super) name: ObjectName,
    pub(super) room: Room,
}

impl Cache {
    /// Where a put of this key goes: room in the queue, nowhere (`None`), or why it is not queued.
    pub(super) fn route(&self, asked: &Asked, len: u64) -> Result<Option<Route>, Shed> {
        let Some(remote) = self.remote(asked).filter(|remote| !remote.read_only()) else { return Ok(None) };
        let name = asked.object_name(&remote).ok_or(Shed::Name)?;
        let room = self.inner.queue.reserve(len).map_err(|full| match full {
            Full::Bytes => Shed::QueueBytes,
            Full::Entries => Shed::QueueEntries,
        })?;
        Ok(Some(Route { tag: QueueTag(remote.tag()), name, room }))
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
        let generation = if from == Tier::Outbox {
            self.inner.outbox.queue(asked.id, stored.generation, route.tag, route.name.as_str()).await?;
            stored.generation
        } else {
            let queue = Some((route.tag, Arc::from(route.name.as_str())));
            let record = Record { queue, ..(*stored.record).clone() };
            let Some(generation) =
                self.inner.outbox.adopt(&self.inner.cache, &stored, record, Guard::Always).await?
            else {
                return Ok(true);
            };
            self.inner.cache.remove(asked.id, Some(stored.generation)).await?;
            generation
        };
        let row = Queued { id: asked.id, generation, tag: route.tag, bytes: len };
        self.inner.queue.push(row, route.room);
        self.note_upstream(asked);
        Ok(true)
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
                self.note_upstream(asked);
            }
            None => {
                self.inner.outbox.remove(asked.id, None).await?;
                self.inner.cache.remove(asked.id, None).await?;
            }
        }
        self.inner.fills.part(asked.id, asked.scope.upstream);
        self.inner.memory.forget(asked.id);
        Ok(was)
    }
}
