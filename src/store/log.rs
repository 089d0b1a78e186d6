//! The tail of the log: where records are appended.
//!
//! One mutex around the [`Tail`] puts appends in order, and it *is* the end of the file: the positioned write happens
//! inside it, about 4 microseconds for a small record. Every durable change of the index is made while it is held, so
//! what a commit has read in the index is still so when it is applied. Lock order: tail, then index.
//!
//! A write that fails, or is cut short, doesn't move the end: the next record goes to the same place.

use std::sync::Arc;

use parking_lot::{Mutex, MutexGuard};

use super::disk;
use super::file::Folders;
use super::footer::{Row, Rows};
use super::index::{Index, Place};
use super::record::{self, HEADER_LEN, Head, RECORD_BYTES_MAX, What};
use super::segment::{ROWS_MAX, Segment};
use super::sync::Syncer;
use crate::error::{Error, Kind, Result};

/// Tombstones that could not be written wait in memory, at most so many. Of more, an evicted entry may be back after
/// the next start, to be evicted again.
const LOST_MAX: usize = 64 << 10;

/// See the module.
#[derive(Debug)]
pub(super) struct Tail {
    active: Option<Active>,
    /// The number of the next segment.
    next: u32,
    segment_bytes: u64,
    closed: bool,
    lost: Vec<Head>,
    syncer: Option<Arc<Syncer>>,
}

/// The segment that is appended to.
#[derive(Debug)]
pub(super) struct Active {
    pub(super) segment: Arc<Segment>,
    pub(super) end: u64,
    pub(super) rows: Rows,
    /// A footer of an earlier run lies behind the end, to be cut before the first append.
    pub(super) footer: bool,
}

/// A record but for what its place in the log decides.
#[derive(Debug)]
pub(super) struct Unplaced<'a> {
    pub(super) what: What,
    pub(super) flags: u8,
    pub(super) buffer: Vec<u8>,
    pub(super) body: &'a [u8],
}

/// Places in a segment are numbers of 32 bits.
const SEGMENT_BYTES_MAX: u64 = 1 << 31;

// === impl Tail ===

impl Tail {
    pub(super) fn new(segment_bytes: u64, syncer: Option<Arc<Syncer>>) -> Self {
        let segment_bytes = segment_bytes.min(SEGMENT_BYTES_MAX);
        Self { active: None, next: 1, segment_bytes, closed: false, lost: Vec::new(), syncer }
    }

    /// Segments are sealed at this size from now on.
    pub(super) fn set_segment_bytes(&mut self, bytes: u64) {
        self.segment_bytes = bytes.min(SEGMENT_BYTES_MAX);
    }

    /// Goes on where the log ended.
    pub(super) fn resume(&mut self, next: u32, active: Option<Active>) {
        self.next = next;
        self.active = active;
    }

    /// The number of a new segment.
    pub(super) fn take_number(&mut self) -> u32 {
        self.next += 1;
        self.next - 1
    }

    /// Makes sure that a record of this length can be appended.
    ///
    /// # Errors
    /// The disk's; `Internal` once the store is closed.
    pub(super) fn make_room(&mut self, folders: &Folders, index: &Mutex<Index>, length: u64) -> Result<()> {
        if self.closed {
            return Err(Error::new(Kind::Internal, "the store is closed"));
        }
        if length > RECORD_BYTES_MAX {
            return Err(Error::new(Kind::TooLarge, format!("a record of {length} bytes is over 16 MiB")));
        }
        if self.active.as_ref().is_some_and(|active| !active.segment.is_linked()) {
            self.vanished(folders, index)?;
        }
        let full =
            |active: &Active| active.end + length > self.segment_bytes || active.rows.len() >= ROWS_MAX;
        if self.active.as_ref().is_some_and(full) {
            self.seal(index)?;
        }
        match &mut self.active {
            Some(active) if active.footer => {
                let cut = active.segment.file.set_len(active.end);
                cut.map_err(|error| Error::io("cut the footer of", &active.segment.path, error))?;
                active.footer = false;
            }
            Some(_) => {}
            None => {
                let number = self.next;
                let (segment, end) = match Segment::create(folders.segment(number), number, Vec::new()) {
                    Ok(created) => created,
                    Err(_) => {
                        folders.make()?;
                        Segment::create(folders.segment(number), number, Vec::new())?
                    }
                };
                self.next += 1;
                let segment = Arc::new(segment);
                index.lock().segments.add(Arc::clone(&segment));
                if let Some(syncer) = &self.syncer {
                    syncer.folder(&folders.log);
                }
                self.active = Some(Active { segment, end, rows: Rows::default(), footer: false });
            }
        }
        Ok(())
    }

    /// Appends a record whose head, if it has one, is filled in here. Needs [`Tail::make_room`] before. Returns the
    /// index, which knows of the bytes but not yet of what they mean, with the record's row (of several, the last).
    ///
    /// # Errors
    /// The disk's; then nothing was appended.
    pub(super) fn append<'i>(
        &mut self,
        index: &'i Mutex<Index>,
        head: Option<Head>,
        mut record: Unplaced<'_>,
    ) -> Result<(MutexGuard<'i, Index>, Place, Option<Row>)> {
        let Some(active) = &mut self.active else {
            return Err(Error::new(Kind::Internal, "append without room made for it"));
        };
        if let Some(head) = head {
            head.write(&mut record.buffer[HEADER_LEN..]);
        }
        let Unplaced { what, flags, mut buffer, body } = record;
        let (segment, offset) = (&active.segment, active.end);
        record::finish(&mut buffer, what, flags, body, segment.salt, offset);
        let used = (buffer.len() + body.len()) as u64;
        let length = used.next_multiple_of(8);
        let padding = &[0; 8][..(length - used) as usize];
        if let Err(error) = disk::write_all(&segment.file, &[&buffer, body, padding], offset) {
            // What was written of it is cut off, so that the bytes don't count as used; without that it would be
            // overwritten, or skipped at start.
            let _ = segment.file.set_len(offset);
            return Err(Error::io("append to", &segment.path, error));
        }
        active.end += length;
        let before = active.rows.rows.len();
        let touches_before = active.rows.touches.len();
        active.rows.add(what, flags, &buffer[HEADER_LEN..], offset, length);
        if let Some(syncer) = &self.syncer {
            syncer.wrote(segment);
        }
        let mut index = index.lock();
        let rows = &active.rows.rows[before..];
        rows.iter().for_each(|row| index.segments.wrote(row, segment.number));
        index.segments.wrote_touches(active.rows.touches.len() - touches_before, segment.number);
        let place = Place { segment: segment.number, offset: offset as u32, length: length as u32 };
        Ok((index, place, rows.last().copied()))
    }

    /// Appends tombstones, and those that could not be written before. Never fails: what can't be written waits.
    pub(super) fn bury(&mut self, folders: &Folders, index: &Mutex<Index>, heads: Vec<Head>) {
        let mut all = std::mem::take(&mut self.lost);
        all.extend(heads);
        // Far below the bound on a record.
        const BATCH: usize = 4096;
        for batch in all.chunks(BATCH) {
            let buffer = record::deleted(batch);
            let length = record::length(buffer.len() - HEADER_LEN);
            let record = Unplaced { what: What::Deleted, flags: 0, buffer, body: b"" };
            let done = self.make_room(folders, index, length).and_then(|()| self.append(index, None, record));
            if let Err(error) = done {
                tracing::debug!(%error, "tombstones wait");
                let room = LOST_MAX - self.lost.len().min(LOST_MAX);
                self.lost.extend(batch.iter().take(room));
            }
        }
    }

    /// Ends the active segment with its footer.
    ///
    /// # Errors
    /// The disk's; then it goes on being the active one.
    pub(super) fn seal(&mut self, index: &Mutex<Index>) -> Result<()> {
        let Some(active) = self.active.take() else { return Ok(()) };
        if active.footer {
            index.lock().segments.seal(active.segment.number, true);
            return Ok(());
        }
        match active.segment.seal(&active.rows, active.end) {
            Ok(_) => {
                if let Some(syncer) = &self.syncer {
                    syncer.wrote(&active.segment);
                }
                index.lock().segments.seal(active.segment.number, true);
                Ok(())
            }
            Err(error) => {
                let _ = active.segment.file.set_len(active.end);
                let error = Error::io("seal", &active.segment.path, error);
                self.active = Some(active);
                Err(error)
            }
        }
    }

    /// Rows of a segment from position `from` on, if it is the one that is appended to.
    pub(super) fn rows(&self, number: u32, from: usize, max: usize) -> Option<Vec<Row>> {
        let rows = &self.active.as_ref().filter(|active| active.segment.number == number)?.rows.rows;
        Some(rows.iter().skip(from).take(max).copied().collect())
    }

    /// No more appends.
    pub(super) fn close(&mut self) {
        self.closed = true;
    }

    pub(super) fn is_closed(&self) -> bool {
        self.closed
    }

    /// Somebody has deleted the folder: all that was in it is forgotten, and it is made again.
    pub(super) fn vanished(&mut self, folders: &Folders, index: &Mutex<Index>) -> Result<()> {
        tracing::warn!(folder = %folders.root().display(), "the folder was deleted, starting afresh");
        self.active = None;
        self.lost.clear();
        index.lock().clear();
        folders.make()
    }
}
