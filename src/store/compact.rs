//! Compaction: gives back the dead bytes of the log.
//!
//! The sealed segment with the largest share of dead bytes, if that is over 25 %, is copied without them into a new
//! segment of its own (what is old stays together, and the tail is left to what is new). Until the copy takes its name
//! nothing has happened; from then on it is the source that doesn't count, because the copy's header says so. So a
//! kill at any point leaves one of the two, never both and never neither.
//!
//! # What is copied
//! - records of entries and queue rows that are here; a put whose own row has ended loses the mark of it;
//! - tombstones, ended rows, and the same facts of dead puts, as long as the segment that they are about exists;
//! - touches that still say when an entry was used last.
//!
//! # What happens meanwhile
//! Copying takes no lock. An entry that dies while it is copied is dead in the copy, too, but what said so was said
//! about the source. So before the copy takes its name, under the tail's lock, it is said again about the copy.

use std::sync::Arc;
use std::sync::atomic::Ordering;

use super::file::unlink;
use super::footer::{Footer, Row, Rows};
use super::index::{Place, Slot};
use super::inner::Inner;
use super::ledger::Worst;
use super::log::{Active, Tail, Unplaced};
use super::record::{self, HEADER_LEN, Head, QUEUED, What};
use super::segment::Segment;
use super::{Generation, QueueTag, disk};
use crate::error::{Error, Kind, Result};
use crate::key::EntryId;

/// The dead share above which a segment is worth it,
const DEAD_PERCENT: u64 = 25;
/// and the one when bytes are short.
const DEAD_PERCENT_PRESSED: u64 = 5;
/// Touches and tombstones are copied in records of so many.
const BATCH: usize = 4096;

/// A record that was copied.
#[derive(Debug, Clone, Copy)]
struct Copied {
    id: EntryId,
    generation: Generation,
    what: What,
    tag: QueueTag,
    from: Place,
    to: Place,
    /// The put's own queue row was pending.
    queued: bool,
    /// Of the copy.
    tick: u64,
}

/// A segment that is being written.
#[derive(Debug)]
struct Copy {
    active: Active,
    copied: Vec<Copied>,
    /// Rows of records that turned out to be damaged.
    lost: Vec<Row>,
}

// === impl Inner ===

impl Inner {
    /// Compacts or deletes one segment. Says how many bytes were written for it; `None` when none is worth it.
    pub(super) fn compact(&self, pressed: bool) -> Option<u64> {
        // One at a time.
        let _compacting = self.compacting.try_lock()?;
        let percent = if pressed { DEAD_PERCENT_PRESSED } else { DEAD_PERCENT };
        let worst = self.index.lock().segments.worst(percent)?;
        match worst {
            Worst::Void(segment) => {
                let tail = self.tail.lock();
                self.index.lock().segments.remove(segment.number);
                drop(tail);
                self.retire(&segment);
                self.counts.compactions.one();
                Some(0)
            }
            Worst::Compact(segment) => match self.compact_segment(&segment) {
                Ok(bytes) => {
                    self.cramped.store(false, Ordering::Relaxed);
                    self.counts.compactions.one();
                    Some(bytes)
                }
                Err(error) => {
                    self.cramped.store(error.kind() == Kind::NoSpace, Ordering::Relaxed);
                    tracing::warn!(segment = segment.number, %error, "cannot compact");
                    None
                }
            },
        }
    }

    fn compact_segment(&self, source: &Arc<Segment>) -> Result<u64> {
        let source_rows = self.footer_of(source)?.unpack();
        let number = self.tail.lock().take_number();
        let draft = self.folders.draft();
        let copy = self.copy(source, &source_rows, number, draft.clone());
        let done = copy.and_then(|copy| self.replace(source, copy));
        if done.is_err() {
            unlink(&draft);
        }
        done
    }

    /// What the footer of a sealed segment says, or a scan of it.
    pub(super) fn footer_of(&self, source: &Segment) -> Result<Footer> {
        // Through a second descriptor: `load` takes the segment, and this one has readers.
        let (segment, start) = Segment::open(source.path.clone(), source.number)?;
        Ok(segment.load(start)?.footer)
    }

    fn copy(&self, source: &Segment, rows: &Rows, number: u32, draft: std::path::PathBuf) -> Result<Copy> {
        let (segment, end) = Segment::create(draft, number, vec![source.number])?;
        let active = Active { segment: Arc::new(segment), end, rows: Rows::default(), footer: false };
        let mut copy = Copy { active, copied: Vec::new(), lost: Vec::new() };
        let mut facts = Vec::new();
        for row in &rows.rows {
            let place = Place { segment: source.number, offset: row.offset, length: row.length };
            let (live, slot, fact) = {
                let index = self.index.lock();
                let slot = index.peek(row.id).copied();
                let live = match row.what {
                    What::Put => slot.is_some_and(|slot| slot.place == place),
                    What::Queue => index.row(row.id, row.tag) == Some(place),
                    What::Deleted | What::Done | What::Touched => false,
                };
                let fact = row.segment != source.number && index.segments.exists(row.segment);
                (live, slot, fact && row.segment != 0)
            };
            match (slot.filter(|_| live), row.what) {
                (Some(slot), _) => {
                    let head = Head {
                        id: row.id,
                        generation: row.generation,
                        tick: if row.what == What::Put { slot.tick } else { row.tick },
                        segment: if fact { row.segment } else { 0 },
                    };
                    let queued = row.what == What::Put && slot.is(QUEUED);
                    if !self.copy_record(source, row, head, queued, &mut copy)? {
                        copy.lost.push(*row);
                        facts.extend(fact.then_some(row.head()));
                    }
                }
                (None, What::Put | What::Deleted) if fact => facts.push(row.head()),
                (None, What::Done) if fact => copy.done(row.head(), row.tag)?,
                (None, _) => {}
            }
        }
        for batch in facts.chunks(BATCH) {
            copy.append(What::Deleted, 0, record::deleted(batch), b"")?;
        }
        let touches: Vec<_> = {
            let index = self.index.lock();
            // The touch of what was copied is in the copy.
            let current = |id: EntryId, tick| {
                index.peek(id).is_some_and(|slot| slot.tick == tick && slot.place.segment != source.number)
            };
            rows.touches.iter().copied().filter(|(id, tick)| current(*id, *tick)).collect()
        };
        for batch in touches.chunks(BATCH) {
            copy.append(What::Touched, 0, record::touched(batch), b"")?;
        }
        let Active { segment, end, rows, .. } = &copy.active;
        // Whatever the durability: what it takes the place of may be old, and so on the disk for long.
        let sealed = segment.seal(rows, *end).and_then(|_| segment.file.sync_data());
        sealed.map_err(|error| Error::io("seal", &segment.path, error))?;
        Ok(copy)
    }

    /// `false`: it is damaged, and so as good as gone.
    fn copy_record(
        &self,
        source: &Segment,
        row: &Row,
        head: Head,
        queued: bool,
        copy: &mut Copy,
    ) -> Result<bool> {
        let read =
            source.read(row.offset, row.length).map_err(|error| Error::io("read", &source.path, error))?;
        let Some(checked) = read else {
            self.counts.corrupt.one();
            tracing::warn!(id = %row.id, "a stored entry is damaged: dropped");
            return Ok(false);
        };
        let flags = if queued { checked.flags } else { checked.flags & !QUEUED };
        let mut buffer = vec![0; HEADER_LEN];
        buffer.extend_from_slice(&checked.payload);
        head.write(&mut buffer[HEADER_LEN..]);
        let to = copy.append(row.what, flags, buffer, b"")?;
        let from = Place { segment: source.number, offset: row.offset, length: row.length };
        let Row { id, generation, what, tag, .. } = *row;
        copy.copied.push(Copied { id, generation, what, tag, from, to, queued, tick: head.tick });
        Ok(true)
    }

    /// Puts the copy in the place of the source.
    fn replace(&self, source: &Arc<Segment>, copy: Copy) -> Result<u64> {
        let Copy { active: Active { segment, end, rows, .. }, copied, lost } = copy;
        let mut tail = self.tail.lock();
        if self.index.lock().segments.get(source.number).is_none() {
            return Err(Error::new(Kind::Internal, "the folder was deleted meanwhile"));
        }
        self.say_again(&mut tail, segment.number, &copied)?;
        let path = self.folders.segment(segment.number);
        std::fs::rename(&segment.path, &path).map_err(|error| Error::io("rename to", &path, error))?;
        let segment = segment.renamed(path);
        let mut index = self.index.lock();
        index.segments.add(Arc::clone(&segment));
        index.segments.wrote_all(&rows, segment.number);
        index.segments.seal(segment.number, true);
        for copied in &copied {
            match copied.what {
                What::Queue => index.repoint_row(copied.id, copied.from, copied.to),
                _ => index.repoint(copied.id, copied.from, copied.to),
            };
        }
        let mut files = Vec::new();
        for Row { id, generation, tag, what, offset, .. } in lost {
            let here = |slot: &Slot| slot.place.segment == source.number && slot.place.offset == offset;
            if what == What::Queue {
                index.done(id, generation, tag);
            } else if index.peek(id).is_some_and(here) {
                files.push((id, index.remove(id)));
            }
        }
        index.segments.remove(source.number);
        drop(index);
        drop(tail);
        files.into_iter().for_each(|(id, old)| self.bury_file(id, old));
        let synced = std::fs::File::open(&self.folders.log).and_then(|folder| folder.sync_all());
        synced.map_err(|error| Error::io("sync", &self.folders.log, error))?;
        self.retire(source);
        Ok(end)
    }

    /// What has died since it was copied is dead in the copy, too: says so in the tail.
    fn say_again(&self, tail: &mut Tail, copy: u32, copied: &[Copied]) -> Result<()> {
        let mut dead = Vec::new();
        let mut ended = Vec::new();
        {
            let index = self.index.lock();
            for copied in copied {
                let Copied { id, generation, tick, .. } = *copied;
                let slot = index.peek(id).filter(|slot| slot.generation == generation);
                match (slot, copied.what) {
                    // With the tick of the copy: it kills that, and nothing that came later.
                    (None, What::Put) => dead.push(Head { id, generation, tick, segment: copy }),
                    (Some(slot), What::Put) if copied.queued && !slot.is(QUEUED) => ended.push(*copied),
                    (Some(_), What::Queue) if index.row(id, copied.tag).is_none() => ended.push(*copied),
                    _ => {}
                }
            }
        }
        for batch in dead.chunks(BATCH) {
            let buffer = record::deleted(batch);
            self.append(tail, None, What::Deleted, buffer)?;
        }
        for Copied { id, generation, tag, .. } in ended {
            let head = Head { id, generation, tick: self.index.lock().next_tick(), segment: copy };
            self.append(tail, Some(head), What::Done, record::done(tag))?;
        }
        Ok(())
    }

    fn append(&self, tail: &mut Tail, head: Option<Head>, what: What, buffer: Vec<u8>) -> Result<()> {
        tail.make_room(&self.folders, &self.index, record::length(buffer.len() - HEADER_LEN))?;
        tail.append(&self.index, head, Unplaced { what, flags: 0, buffer, body: b"" }).map(drop)
    }

    /// Deletes the file of a segment that doesn't count any more.
    fn retire(&self, segment: &Segment) {
        if !unlink(&segment.path) {
            // It would count again after a restart, so what is gone of it must stay known.
            self.index.lock().segments.add_unreadable(segment.number);
        }
    }
}

// === impl Copy ===

impl Copy {
    fn append(&mut self, what: What, flags: u8, mut buffer: Vec<u8>, body: &[u8]) -> Result<Place> {
        let Active { segment, end, rows, .. } = &mut self.active;
        let offset = *end;
        record::finish(&mut buffer, what, flags, body, segment.salt, offset);
        let length = record::length(buffer.len() - HEADER_LEN);
        buffer.resize(length as usize, 0);
        let written = disk::write_all(&segment.file, &[&buffer], offset);
        written.map_err(|error| Error::io("write to", &segment.path, error))?;
        rows.add(what, flags, &buffer[HEADER_LEN..], offset, length);
        *end += length;
        Ok(Place { segment: segment.number, offset: offset as u32, length: length as u32 })
    }

    fn done(&mut self, head: Head, tag: QueueTag) -> Result<()> {
        let mut buffer = record::done(tag);
        head.write(&mut buffer[HEADER_LEN..]);
        self.append(What::Done, 0, buffer, b"").map(drop)
    }
}
