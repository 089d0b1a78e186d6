//! Replay: the index from the log, at start.
//!
//! Footers of sealed segments, a scan of what was the tail. All rows and touches are put in order of their ticks and
//! applied to an empty index, as they once were. What is damaged costs what was in it and nothing else: a segment
//! without a readable header is moved to quarantine, one that can't be read is left alone.
//!
//! The last segment is appended to again if it is at most half full; any other that has no footer gets one.

use std::path::PathBuf;
use std::sync::Arc;
use std::sync::atomic::Ordering;

use super::Generation;
use super::file::{list, unlink};
use super::footer::{Row, Rows};
use super::inner::Inner;
use super::log::Active;
use super::record::What;
use super::segment::{Loaded, ROWS_MAX, Segment, number_of};
use crate::error::Kind;
use crate::key::EntryId;

/// What is applied to the index, in the order of ticks. The order is an array of its own, because the rows are large.
#[derive(Debug, Clone, Copy)]
struct Event {
    order: u64,
    segment: u32,
    /// Rows first, then touches.
    position: u32,
}

/// What an event is.
#[derive(Debug)]
enum Said {
    Row(Row),
    Touch(EntryId, u64),
}

// === impl Inner ===

impl Inner {
    /// Fills the index. Look-ups wait for its end.
    pub(super) fn replay(&self) {
        let began = std::time::Instant::now();
        let result = self.replay_log();
        match &result {
            Ok(()) => tracing::debug!(
                folder = %self.folders.root().display(),
                entries = self.index.lock().len(),
                ms = began.elapsed().as_millis() as u64,
                "replayed"
            ),
            Err(error) => tracing::error!(%error, "the store can't be read"),
        }
        self.replayed.end(result);
        if self.index.lock().over(0) > 0 {
            self.bell.ring();
        }
    }

    fn replay_log(&self) -> crate::error::Result<()> {
        let mut tail = self.tail.lock();
        let (loaded, next) = self.load();
        self.apply(&loaded);

        let last = loaded
            .iter()
            .filter(|loaded| loaded.segment.from.is_empty())
            .map(|loaded| loaded.segment.number)
            .max();
        let mut active = None;
        for Loaded { segment, footer, end, sealed } in loaded {
            let rows = if sealed && Some(segment.number) != last { Rows::default() } else { footer.unpack() };
            let half_full = end > self.settings.segment_bytes / 2 || rows.len() > ROWS_MAX / 2;
            if Some(segment.number) == last && !half_full {
                active = Some(Active { segment, end, rows, footer: sealed });
            } else if sealed {
                self.index.lock().segments.seal(segment.number, true);
            } else {
                // Cut what was torn off, so that the footer is the end of the file.
                let done = segment.file.set_len(end).and_then(|()| segment.seal(&rows, end));
                match done {
                    Ok(_) => self.index.lock().segments.seal(segment.number, true),
                    Err(error) => tracing::debug!(%error, "a segment stays without a footer"),
                }
            }
        }
        tail.resume(next, active);
        Ok(())
    }

    /// All segments that count, and the number of the next one.
    fn load(&self) -> (Vec<Loaded>, u32) {
        let mut paths: Vec<(u32, PathBuf)> =
            list(&self.folders.log).filter_map(|path| Some((number_of(&path)?, path))).collect();
        paths.sort_unstable();
        let next = paths.last().map_or(1, |(number, _)| number + 1);
        let mut opened = Vec::with_capacity(paths.len());
        for (number, path) in paths {
            match Segment::open(path.clone(), number) {
                Ok(segment) => opened.push(segment),
                Err(error) if error.kind() == Kind::Corrupt => self.set_segment_aside(number, &path),
                Err(error) => self.leave_segment(number, &error),
            }
        }
        let void: Vec<u32> = opened.iter().flat_map(|(segment, _)| segment.from.clone()).collect();
        let mut loaded = Vec::with_capacity(opened.len());
        for (segment, start) in opened {
            let number = segment.number;
            if void.contains(&number) {
                unlink(&segment.path);
                continue;
            }
            match segment.load(start) {
                Ok(segment) => loaded.push(segment),
                Err(error) => self.leave_segment(number, &error),
            }
        }
        (loaded, next)
    }

    fn apply(&self, loaded: &[Loaded]) {
        let counts = || loaded.iter().map(|loaded| loaded.footer.counts());
        let mut events = Vec::with_capacity(counts().map(|(rows, touches)| rows + touches).sum());
        let mut generation = Generation::default();
        for (segment, Loaded { footer, .. }) in loaded.iter().enumerate() {
            let rows = footer.rows().map(|row| {
                generation = generation.max(row.generation);
                match row.what {
                    What::Put => row.tick << 1,
                    // Ticks are unique but for the tombstone of a compacted put, which comes after it.
                    What::Deleted | What::Touched => row.tick << 1 | 1,
                    // Rows of the queue belong to one commit, whatever its tick is by now: when all of those are
                    // there.
                    What::Queue | What::Done => row.tick << 1 | 1 << 63,
                }
            });
            let orders = rows.chain(footer.touches().map(|(_, tick)| tick << 1));
            events.extend(orders.enumerate().map(|(position, order)| Event {
                order,
                segment: segment as u32,
                position: position as u32,
            }));
        }
        self.generations.raise(generation);
        // Stable, and quick on what is in order already, as most of a log is.
        events.sort_by_key(|event| event.order);

        let mut index = self.index.lock();
        index.expect(counts().map(|(rows, _)| rows).sum());
        for Loaded { segment, .. } in loaded {
            index.segments.add(Arc::clone(segment));
        }
        for Loaded { segment, footer, .. } in loaded {
            footer.rows().for_each(|row| index.segments.wrote(&row, segment.number));
            index.segments.wrote_touches(footer.counts().1, segment.number);
        }
        /// So many at a time: more than the processor can have under way.
        const WARM: usize = 64;
        let mut said = Vec::with_capacity(WARM);
        for events in events.chunks(WARM) {
            said.extend(events.iter().filter_map(|event| event.said(loaded)));
            index.warm(said.iter().map(|(_, said)| said.id()));
            for (segment, said) in said.drain(..) {
                match said {
                    Said::Row(row) => index.replay(&row, segment),
                    Said::Touch(id, tick) => index.replay_touch(id, tick),
                }
            }
        }
    }

    /// A segment without a header: nothing of it can be told from noise.
    fn set_segment_aside(&self, number: u32, path: &std::path::Path) {
        // Nothing was acknowledged before the header was written whole.
        if path.metadata().is_ok_and(|meta| meta.len() <= 32) {
            unlink(path);
            return;
        }
        self.counts.corrupt.one();
        let to = self.folders.quarantine.join(super::segment::file_name(number));
        let moved =
            std::fs::create_dir_all(&self.folders.quarantine).and_then(|()| std::fs::rename(path, &to));
        tracing::error!(path = %path.display(), ?moved, "a segment of the log is damaged: set aside");
        self.counts.quarantined.fetch_add(1, Ordering::Relaxed);
    }

    /// A segment that can't be read now, perhaps later: it stays, and what is known to be gone of it stays known.
    fn leave_segment(&self, number: u32, error: &crate::error::Error) {
        tracing::error!(%error, "a segment of the log can't be read");
        self.index.lock().segments.add_unreadable(number);
    }
}

// === impl Event ===

impl Event {
    /// What it is, and in which segment.
    fn said(&self, loaded: &[Loaded]) -> Option<(u32, Said)> {
        let Loaded { segment, footer, .. } = &loaded[self.segment as usize];
        let position = self.position as usize;
        let said = match footer.row(position) {
            Some(row) => Said::Row(row),
            None => footer.touch(position - footer.counts().0).map(|(id, tick)| Said::Touch(id, tick))?,
        };
        Some((segment.number, said))
    }
}

impl Said {
    fn id(&self) -> EntryId {
        match self {
            Self::Row(row) => row.id,
            Self::Touch(id, _) => *id,
        }
    }
}
