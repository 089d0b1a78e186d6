//! The names of entries: the index has none, so a listing reads the keys in the log.
//!
//! # What it costs
//! The footers of all segments (64 bytes a record, in one piece each), and of each entry that is here the first bytes
//! of its record, up to 2 KiB; records that lie close together are read at once. Bodies are not read, so nothing is
//! checksummed: an id is a hash of its key, and that is what a key is checked against. Memory is one footer (8 MiB at
//! most) however many entries there are. It runs on the disk pool, holds locks for batches of 512 records, and ends
//! when nobody waits for it any more.
//!
//! # What is seen
//! Every entry that was here all the while, though it be replaced or moved by compaction meanwhile: whatever moves goes
//! to where the scan has yet to look. An entry may be seen twice, or in an older commit than its last.

use std::collections::HashMap;
use std::sync::{Arc, Weak};

use super::footer::Row;
use super::index::Place;
use super::inner::Inner;
use super::record::{DELETED, What};
use super::segment::Segment;
use super::{Generation, Store, parse};
use crate::error::{Error, Result};
use crate::key::EntryId;

/// An entry that a scan has come by.
#[derive(Debug, Clone, Copy)]
pub struct Seen<'a> {
    /// The canonical key.
    pub key: &'a [u8],
    /// Its id.
    pub id: EntryId,
    /// Which commit of it.
    pub generation: Generation,
    /// Whether it is a queued delete.
    pub deleted: bool,
}

/// So many rows are looked up under the locks at once.
const BATCH: usize = 512;
/// What is read of a record: its key is within, however long.
const HEAD_BYTES: u64 = 2 << 10;
/// Records this close together are read at once,
const GAP_BYTES: u64 = 4 << 10;
/// up to so many bytes.
const RUN_BYTES: u64 = 256 << 10;
/// How often what was written meanwhile is looked at, too. Each round is as long as the writes of the one before.
const ROUNDS: usize = 4;

/// One scan.
struct Scan<'a> {
    inner: &'a Inner,
    prefix: &'a [u8],
    /// Gone when nobody waits for the scan.
    wanted: Weak<()>,
    /// Of each segment, how many rows were looked at; `usize::MAX` when it is sealed and was looked through.
    done: HashMap<u32, usize>,
    buffer: Vec<u8>,
}

impl Store {
    /// Shows `visit` every entry whose canonical key begins with `prefix`, in no order; see the module. What can't be
    /// read is left out.
    ///
    /// # Errors
    /// Replay could not read the folder.
    pub async fn scan<T: Send + 'static>(
        &self,
        prefix: &[u8],
        mut into: T,
        visit: impl Fn(&mut T, Seen<'_>) + Send + 'static,
    ) -> Result<T> {
        self.ready().await?;
        let (inner, prefix) = (Arc::clone(&self.0), prefix.to_vec());
        let waiting = Arc::new(());
        let wanted = Arc::downgrade(&waiting);
        let scanned = tokio::task::spawn_blocking(move || {
            let mut scan =
                Scan { inner: &inner, prefix: &prefix, wanted, done: HashMap::new(), buffer: Vec::new() };
            scan.run(&mut |seen| visit(&mut into, seen));
            Ok(into)
        });
        let scanned = super::draft::joined(scanned.await);
        drop(waiting);
        scanned
    }
}

// === impl Scan ===

impl Scan<'_> {
    fn run(&mut self, visit: &mut dyn FnMut(Seen<'_>)) {
        for _ in 0..ROUNDS {
            let mut any = false;
            // In order of number: what is replaced meanwhile is written to the last one.
            let segments = self.inner.index.lock().segments.by_number();
            for segment in segments {
                match self.segment(&segment, visit) {
                    Ok(rows) => any |= rows,
                    Err(error) => {
                        self.done.insert(segment.number, usize::MAX);
                        // Compaction moves what is in a segment before it unlinks it.
                        if self.inner.index.lock().segments.exists(segment.number) {
                            tracing::warn!(%error, "a listing leaves out what can't be read");
                        }
                    }
                }
            }
            if !any || self.wanted.strong_count() == 0 {
                return;
            }
        }
    }

    /// Looks at rows that are new since the last time; `false` when there are none.
    fn segment(&mut self, segment: &Arc<Segment>, visit: &mut dyn FnMut(Seen<'_>)) -> Result<bool> {
        let from = self.done.get(&segment.number).copied().unwrap_or(0);
        if from == usize::MAX {
            return Ok(false);
        }
        let mut next = from;
        loop {
            let rows = self.inner.tail.lock().rows(segment.number, next, BATCH);
            let Some(rows) = rows else { break };
            next += rows.len();
            self.done.insert(segment.number, next);
            if rows.is_empty() || !self.rows(segment, &rows, visit)? {
                return Ok(next > from);
            }
        }
        let footer = self.inner.footer_of(segment)?;
        let mut rows = footer.rows().skip(next).peekable();
        let any = rows.peek().is_some();
        while rows.peek().is_some() {
            let batch: Vec<Row> = rows.by_ref().take(BATCH).collect();
            if !self.rows(segment, &batch, visit)? {
                break;
            }
        }
        self.done.insert(segment.number, usize::MAX);
        Ok(any)
    }

    /// `false`: nobody waits any more.
    fn rows(&mut self, segment: &Segment, rows: &[Row], visit: &mut dyn FnMut(Seen<'_>)) -> Result<bool> {
        let here: Vec<&Row> = {
            let index = self.inner.index.lock();
            let is_here = |row: &&Row| {
                let place = Place { segment: segment.number, offset: row.offset, length: row.length };
                row.what == What::Put && index.peek(row.id).is_some_and(|slot| slot.place == place)
            };
            rows.iter().filter(is_here).collect()
        };
        let mut rest = &here[..];
        while let Some(first) = rest.first() {
            let start = u64::from(first.offset);
            let mut end = head_end(first);
            let near = rest.iter().take_while(|row| {
                let near = u64::from(row.offset) <= end + GAP_BYTES && head_end(row) - start <= RUN_BYTES;
                if near {
                    end = head_end(row);
                }
                near
            });
            let (run, others) = rest.split_at(near.count());
            rest = others;
            self.buffer.resize((end - start) as usize, 0);
            let read = super::read::read_up_to(&segment.file, &mut self.buffer, start);
            let read = read.map_err(|error| Error::io("read", &segment.path, error))?;
            for row in run {
                let record = self.buffer[..read].get((u64::from(row.offset) - start) as usize..);
                let key = record.and_then(parse::key).filter(|key| key.starts_with(self.prefix));
                if let Some(key) = key.filter(|key| EntryId::of(key) == row.id) {
                    let deleted = row.flags & DELETED != 0;
                    visit(Seen { key, id: row.id, generation: row.generation, deleted });
                }
            }
        }
        Ok(self.wanted.strong_count() > 0)
    }
}

/// Where what is read of a record ends.
fn head_end(row: &Row) -> u64 {
    u64::from(row.offset) + u64::from(row.length).min(HEAD_BYTES)
}
