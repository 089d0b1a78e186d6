//! Changing what there is: put, publish, queue, done, remove, supersede.
//!
//! Each is one append under the tail's lock, between a look at the index and the change of it. The entry is visible
//! when the call returns and survives the end of the process from then on; with `sync`, that of the machine.

use std::path::PathBuf;

use bytes::Bytes;

use super::index::Slot;
use super::inner::Inner;
use super::log::Unplaced;
use super::record::{self, DELETED, HEADER_LEN, Head, LARGE, QUEUED, What};
use super::{Generation, QueueTag, Record, Room};
use crate::error::{Error, Kind, Result};
use crate::key::EntryId;

/// What is to become an entry.
#[derive(Debug)]
pub(super) struct Commit {
    pub(super) record: Record,
    pub(super) content: Content,
    /// The state that the id must still have.
    pub(super) unchanged: Option<u64>,
    /// Its generation, if it has one already. A newer entry refuses it.
    pub(super) generation: Option<Generation>,
}

/// Where its bytes are.
#[derive(Debug)]
pub(super) enum Content {
    /// Here.
    Small(Bytes),
    /// In a finished draft, with the checksums of its blocks.
    Large(PathBuf, Vec<u32>),
    /// There are none: a queued delete.
    Deleted,
}

/// A body is never longer: what the index can say.
const BODY_BYTES_MAX: u64 = 1 << 40;

impl Inner {
    /// Commits. `None`: refused, for it was to be unchanged and isn't, or there is a newer one.
    pub(super) fn commit(&self, commit: Commit) -> Result<Option<Generation>> {
        let Commit { record, content, unchanged, generation } = commit;
        let id = record.id;
        self.check(&record, &content)?;
        let (flags, crcs, body): (u8, &[u32], &[u8]) = match &content {
            Content::Small(body) => (0, &[], body),
            Content::Large(_, crcs) => (LARGE, crcs, b""),
            Content::Deleted => (DELETED, &[], b""),
        };
        let flags = flags | if record.queue.is_some() { QUEUED } else { 0 };
        let buffer = record::put(&record, crcs)?;
        let length = record::length(buffer.len() - HEADER_LEN + body.len());

        let mut tail = self.tail.lock();
        tail.make_room(&self.folders, &self.index, length)?;
        let head = {
            let mut index = self.index.lock();
            if unchanged.is_some_and(|state| !index.tickets.unchanged(id, state)) {
                return Ok(None);
            }
            let old = index.peek(id).copied();
            if let (Some(old), Some(given)) = (&old, generation)
                && old.generation >= given
            {
                return Ok((old.generation == given).then_some(given));
            }
            let segment = old.map_or(0, |old| old.place.segment);
            let generation = generation.unwrap_or_else(|| self.generations.next());
            Head { id, generation, tick: index.next_tick(), segment }
        };
        // Only large bodies have one: a small commit forms no path under the lock.
        let mut file = None;
        if let Content::Large(draft, _) = &content {
            let file = file.insert(self.folders.file(id, head.generation)).as_path();
            let installed = self.folders.install(draft, file);
            installed.map_err(|error| Error::io("rename to", file, error))?;
            if let (Some(syncer), Some(folder)) = (&self.syncer, file.parent()) {
                syncer.folder(folder);
            }
        }
        let unplaced = Unplaced { what: What::Put, flags, buffer, body };
        let old = match tail.append(&self.index, Some(head), unplaced) {
            Ok((mut index, place, Some(row))) => {
                index.tickets.change(id);
                index.insert(&row, place.segment)
            }
            Ok((_, _, None)) => None,
            Err(error) => {
                drop(tail);
                if let Some(file) = &file {
                    super::file::unlink(file);
                }
                return Err(error);
            }
        };
        drop(tail);
        self.space.wrote(length);
        self.bury_file(id, old);
        Ok(Some(head.generation))
    }

    fn check(&self, record: &Record, content: &Content) -> Result<()> {
        let len = match content {
            Content::Small(body) => body.len() as u64,
            Content::Large(..) => record.meta.len,
            Content::Deleted => 0,
        };
        if len != record.meta.len {
            let message = format!("a body of {len} bytes where {} were announced", record.meta.len);
            return Err(Error::new(Kind::Mismatch, message));
        }
        let small_max = self.settings.inline_max;
        if len > BODY_BYTES_MAX || (matches!(content, Content::Small(_)) && len > small_max) {
            return Err(Error::new(Kind::TooLarge, format!("a body of {len} bytes is over {small_max}")));
        }
        // A tombstone for an upstream, and what lies on the disk already, fit in below the floor.
        if matches!(content, Content::Small(_)) && self.space.room(self.folders.root()) == Room::Floor {
            return Err(self.space.floor());
        }
        Ok(())
    }

    /// Queues an entry that is here.
    pub(super) fn queue(
        &self,
        id: EntryId,
        generation: Generation,
        tag: QueueTag,
        object: &str,
    ) -> Result<bool> {
        let buffer = record::queue(tag, object)?;
        let length = record::length(buffer.len() - HEADER_LEN);
        let mut tail = self.tail.lock();
        tail.make_room(&self.folders, &self.index, length)?;
        let tick = {
            let mut index = self.index.lock();
            if index.peek(id).is_none_or(|slot| slot.generation != generation) {
                return Ok(false);
            }
            if index.row(id, tag).is_some() {
                return Ok(true);
            }
            index.next_tick()
        };
        let head = Head { id, generation, tick, segment: 0 };
        let unplaced = Unplaced { what: What::Queue, flags: 0, buffer, body: b"" };
        let (mut index, place, _) = tail.append(&self.index, Some(head), unplaced)?;
        Ok(index.queue(id, generation, tag, place))
    }

    /// Ends a row of the queue.
    pub(super) fn done(&self, id: EntryId, generation: Generation, tag: QueueTag) -> Result<bool> {
        let buffer = record::done(tag);
        let length = record::length(buffer.len() - HEADER_LEN);
        let mut tail = self.tail.lock();
        tail.make_room(&self.folders, &self.index, length)?;
        let head = {
            let mut index = self.index.lock();
            let here = index.peek(id).is_some_and(|slot| slot.generation == generation);
            let Some(place) = index.row(id, tag).filter(|_| here) else { return Ok(false) };
            Head { id, generation, tick: index.next_tick(), segment: place.segment }
        };
        let unplaced = Unplaced { what: What::Done, flags: 0, buffer, body: b"" };
        let (mut index, ..) = tail.append(&self.index, Some(head), unplaced)?;
        Ok(index.done(id, generation, tag).is_some())
    }

    /// Removes an entry; with `only`, not if it is of another generation.
    pub(super) fn remove(&self, id: EntryId, only: Option<Generation>) -> Result<bool> {
        let buffer = vec![0; HEADER_LEN + record::HEAD_LEN];
        let mut tail = self.tail.lock();
        tail.make_room(&self.folders, &self.index, buffer.len() as u64)?;
        let head = {
            let mut index = self.index.lock();
            let slot = index.peek(id).filter(|slot| only.is_none_or(|only| only == slot.generation)).copied();
            let Some(slot) = slot else {
                // A delete of what isn't here is a change all the same: a fill that began before must not bring it.
                if only.is_none() {
                    index.tickets.change(id);
                }
                return Ok(false);
            };
            slot.head(id, index.next_tick())
        };
        let unplaced = Unplaced { what: What::Deleted, flags: 0, buffer, body: b"" };
        let (mut index, ..) = tail.append(&self.index, Some(head), unplaced)?;
        index.tickets.change(id);
        let old = index.remove(id);
        drop(index);
        drop(tail);
        self.bury_file(id, old);
        Ok(true)
    }

    /// There is a newer commit elsewhere. What can't be written now is written later.
    pub(super) fn supersede(&self, id: EntryId, generation: Generation) {
        let mut tail = self.tail.lock();
        let (old, tick) = {
            let mut index = self.index.lock();
            index.tickets.change(id);
            if index.peek(id).is_none_or(|slot| slot.generation >= generation) {
                return;
            }
            (index.remove(id), index.next_tick())
        };
        if let Some(old) = &old {
            tail.bury(&self.folders, &self.index, vec![old.head(id, tick)]);
        }
        drop(tail);
        self.bury_file(id, old);
    }

    /// Unlinks the file of an entry that is gone, behind.
    pub(super) fn bury_file(&self, id: EntryId, old: Option<Slot>) {
        if let Some(old) = old.filter(|old| old.is(LARGE)) {
            self.graves.push(self.folders.file(id, old.generation));
        }
    }
}

impl Slot {
    /// The tombstone of the entry.
    pub(super) fn head(&self, id: EntryId, tick: u64) -> Head {
        Head { id, generation: self.generation, tick, segment: self.place.segment }
    }
}
