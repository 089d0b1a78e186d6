//! The queue: what is put here and not upstream yet, in the order in which it goes.
//!
//! The outbox store holds the bytes and, durably, each row of the queue. This file keeps the rows in memory: their
//! order, who is being uploaded, and the two bounds. A row ends only when its upload succeeded, the object itself was
//! refused for good, a link was found nowhere, or a newer commit of the same key took its place.

use std::collections::{BTreeMap, HashMap, HashSet};
use std::sync::Arc;
use std::sync::atomic::{AtomicU64, Ordering};

use parking_lot::Mutex;
use tokio::sync::{Notify, watch};

use crate::key::EntryId;
use crate::store::{Generation, QueueTag, Queued};

/// The rows of all upstreams, within `queue_bytes` and `queue_entries`.
#[derive(Debug)]
pub(super) struct Queue {
    bytes_max: AtomicU64,
    entries_max: AtomicU64,
    /// A leaf mutex.
    rows: Mutex<Rows>,
    /// Wakes the uploader of each upstream that there are, or were, rows for, whether it is configured or not. A leaf
    /// mutex.
    wake: Mutex<BTreeMap<QueueTag, Arc<Notify>>>,
    /// Counts every change, for those who wait until the queue is empty.
    changes: watch::Sender<u64>,
    replayed: watch::Sender<bool>,
}

#[derive(Debug, Default)]
struct Rows {
    waiting: BTreeMap<(QueueTag, Generation), Queued>,
    /// The newest waiting generation of a key.
    newest: HashMap<(QueueTag, EntryId), Generation>,
    uploading: HashMap<(QueueTag, EntryId), Queued>,
    /// Waiting, uploading and reserved.
    bytes: u64,
    entries: u64,
}

/// Room in the queue for a PUT that is on its way.
#[derive(Debug)]
pub(super) struct Room {
    queue: Arc<Queue>,
    bytes: u64,
}

/// Which bound is reached.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum Full {
    Bytes,
    Entries,
}

// === impl Queue ===

impl Queue {
    pub(super) fn new(bytes_max: u64, entries_max: u64) -> Arc<Self> {
        Arc::new(Self {
            bytes_max: AtomicU64::new(bytes_max),
            entries_max: AtomicU64::new(entries_max),
            rows: Mutex::default(),
            wake: Mutex::default(),
            changes: watch::Sender::new(0),
            replayed: watch::Sender::new(false),
        })
    }

    /// Other bounds. What is queued stays queued.
    pub(super) fn bound(&self, bytes_max: u64, entries_max: u64) {
        self.bytes_max.store(bytes_max, Ordering::Relaxed);
        self.entries_max.store(entries_max, Ordering::Relaxed);
    }

    /// Takes what the outbox held at start. Never refused: it was acknowledged.
    pub(super) fn replay(&self, rows: Vec<Queued>) {
        for row in rows {
            self.waker(row.tag);
            let mut known = self.rows.lock();
            known.bytes += row.bytes;
            known.entries += 1;
            known.insert(row);
        }
        self.replayed.send_replace(true);
        self.changed();
    }

    /// Waits until what the outbox held at start is known: an empty queue means nothing before.
    pub(super) async fn replayed(&self) {
        // The sender is ours, so the only end is the one that is waited for.
        let _ = self.replayed.subscribe().wait_for(|replayed| *replayed).await;
    }

    /// Room for one more entry of, so far, `bytes`.
    pub(super) fn reserve(self: &Arc<Self>, bytes: u64) -> Result<Room, Full> {
        let mut rows = self.rows.lock();
        if rows.entries >= self.entries_max.load(Ordering::Relaxed) {
            return Err(Full::Entries);
        }
        if rows.bytes.saturating_add(bytes) > self.bytes_max.load(Ordering::Relaxed) {
            return Err(Full::Bytes);
        }
        rows.entries += 1;
        rows.bytes += bytes;
        Ok(Room { queue: Arc::clone(self), bytes })
    }

    /// A commit of the outbox: its room becomes a row, which replaces a waiting one of the same key.
    pub(super) fn push(&self, row: Queued, room: Room) {
        {
            let mut rows = self.rows.lock();
            rows.bytes = (rows.bytes + row.bytes).saturating_sub(room.bytes);
            rows.insert(row);
        }
        // The room has become the row: nothing is given back.
        std::mem::forget(room);
        self.wake(row.tag);
        self.changed();
    }

    /// Wakes the uploader of this upstream.
    pub(super) fn wake(&self, tag: QueueTag) {
        self.waker(tag).notify_one();
    }

    fn waker(&self, tag: QueueTag) -> Arc<Notify> {
        Arc::clone(self.wake.lock().entry(tag).or_default())
    }

    /// Resolves when there may be something to upload.
    pub(super) async fn woken(&self, tag: QueueTag) {
        self.waker(tag).notified().await;
    }

    /// The oldest row that may be begun now and isn't in `skipped`; it counts as uploading until [`Queue::end`] or
    /// [`Queue::back`].
    pub(super) fn next(&self, tag: QueueTag, skipped: &HashSet<Generation>) -> Option<Queued> {
        let mut rows = self.rows.lock();
        let first = (tag, Generation(0));
        let last = (tag, Generation(u64::MAX));
        let row =
            rows.waiting.range(first..=last).map(|(_, row)| *row).find(|row| {
                !rows.uploading.contains_key(&(tag, row.id)) && !skipped.contains(&row.generation)
            })?;
        rows.waiting.remove(&(tag, row.generation));
        rows.newest.remove(&(tag, row.id));
        rows.uploading.insert((tag, row.id), row);
        Some(row)
    }

    /// An upload that is to be tried again. Dropped if a newer commit waits.
    pub(super) fn back(&self, row: Queued) -> bool {
        let kept = {
            let mut rows = self.rows.lock();
            rows.uploading.remove(&(row.tag, row.id));
            let newer = rows.newest.contains_key(&(row.tag, row.id));
            if newer {
                rows.take(&row);
            } else {
                rows.insert(row);
            }
            !newer
        };
        self.changed();
        kept
    }

    /// A row has ended.
    pub(super) fn end(&self, row: Queued) {
        {
            let mut rows = self.rows.lock();
            rows.uploading.remove(&(row.tag, row.id));
            rows.take(&row);
        }
        self.wake(row.tag);
        self.changed();
    }

    /// Whether an entry waits, or is on its way, to this upstream.
    pub(super) fn holds(&self, tag: QueueTag, id: EntryId) -> bool {
        let rows = self.rows.lock();
        rows.newest.contains_key(&(tag, id)) || rows.uploading.contains_key(&(tag, id))
    }

    /// Whether the same entry is also queued for another upstream, be that configured at the moment or not.
    pub(super) fn is_queued_elsewhere(&self, row: Queued) -> bool {
        let tags: Vec<QueueTag> = self.wake.lock().keys().copied().collect();
        tags.into_iter().any(|tag| tag != row.tag && self.holds(tag, row.id))
    }

    /// Whether what the outbox held at start is known.
    pub(super) fn is_replayed(&self) -> bool {
        *self.replayed.borrow()
    }

    /// The bounds in force: of bytes, of entries.
    pub(super) fn bounds(&self) -> (u64, u64) {
        (self.bytes_max.load(Ordering::Relaxed), self.entries_max.load(Ordering::Relaxed))
    }

    /// Rows and bytes, waiting and uploading.
    pub(super) fn len(&self) -> (u64, u64) {
        let rows = self.rows.lock();
        (rows.entries, rows.bytes)
    }

    /// The first rows in the order in which they came, those on their way included.
    pub(super) fn first(&self, limit: usize) -> Vec<Queued> {
        let rows = self.rows.lock();
        let mut first: Vec<Queued> = rows.uploading.values().copied().collect();
        // Of each upstream, no more than `limit` can be among them: a long queue is not walked.
        let mut from = Some((QueueTag(0), Generation(0)));
        while let Some(((tag, _), _)) = from.and_then(|from| rows.waiting.range(from..).next()) {
            let (begin, end) = ((*tag, Generation(0)), (*tag, Generation(u64::MAX)));
            first.extend(rows.waiting.range(begin..=end).take(limit).map(|(_, row)| *row));
            from = tag.0.checked_add(1).map(|next| (QueueTag(next), Generation(0)));
        }
        first.sort_by_key(|row| row.generation);
        first.truncate(limit);
        first
    }

    /// Wakes at every change.
    pub(super) fn changes(&self) -> watch::Receiver<u64> {
        self.changes.subscribe()
    }

    fn changed(&self) {
        self.changes.send_modify(|count| *count += 1);
    }
}

// === impl Rows ===

impl Rows {
    fn insert(&mut self, row: Queued) {
        if let Some(older) = self.newest.insert((row.tag, row.id), row.generation)
            && let Some(older) = self.waiting.remove(&(row.tag, older))
        {
            self.take(&older);
        }
        self.waiting.insert((row.tag, row.generation), row);
    }

    fn take(&mut self, row: &Queued) {
        self.bytes = self.bytes.saturating_sub(row.bytes);
        self.entries = self.entries.saturating_sub(1);
    }
}

// === impl Room ===

impl Room {
    /// Makes room for a body of `bytes` in all.
    pub(super) fn grow(&mut self, bytes: u64) -> Result<(), Full> {
        let more = bytes.saturating_sub(self.bytes);
        let mut rows = self.queue.rows.lock();
        if rows.bytes.saturating_add(more) > self.queue.bytes_max.load(Ordering::Relaxed) {
            return Err(Full::Bytes);
        }
        rows.bytes += more;
        drop(rows);
        self.bytes += more;
        Ok(())
    }
}

impl Drop for Room {
    fn drop(&mut self) {
        {
            let mut rows = self.queue.rows.lock();
            rows.bytes = rows.bytes.saturating_sub(self.bytes);
            rows.entries = rows.entries.saturating_sub(1);
        }
        self.queue.changed();
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    const TAG: QueueTag = QueueTag(7);

    fn row(tag: QueueTag, id: u128, generation: u64, bytes: u64) -> Queued {
        Queued { id: EntryId(id), generation: Generation(generation), tag, bytes }
    }

    fn push(queue: &Arc<Queue>, id: u128, generation: u64, bytes: u64) {
        let room = queue.reserve(bytes).expect("room");
        queue.push(row(TAG, id, generation, bytes), room);
    }

    fn next(queue: &Queue) -> Option<Queued> {
        queue.next(TAG, &HashSet::new())
    }

    #[test]
    fn in_order_of_arrival_and_the_newest_replaces_one_not_begun() {
        let queue = Queue::new(100, 10);
        push(&queue, 1, 1, 10);
        push(&queue, 2, 2, 10);
        push(&queue, 1, 3, 20);
        assert_eq!(queue.len(), (2, 30));
        assert_eq!(next(&queue).map(|row| row.generation), Some(Generation(2)));
        assert_eq!(next(&queue).map(|row| row.generation), Some(Generation(3)));
        assert_eq!(next(&queue), None);
    }

    #[test]
    fn the_first_rows_are_the_oldest_of_all_upstreams() {
        let queue = Queue::new(1000, 100);
        let push = |tag, generation| {
            let row = Queued {
                id: EntryId(generation),
                generation: Generation(generation as u64),
                tag: QueueTag(tag),
                bytes: 1,
            };
            queue.push(row, queue.reserve(1).expect("room"));
        };
        for (tag, generation) in [(7, 5), (u64::MAX, 2), (7, 1), (0, 4), (u64::MAX, 6), (7, 3)] {
            push(tag, generation);
        }
        assert_eq!(next(&queue).map(|row| row.generation), Some(Generation(1)), "it is on its way");
        let first = |limit| queue.first(limit).iter().map(|row| row.generation.0).collect::<Vec<_>>();
        assert_eq!(first(1), [1]);
        assert_eq!(first(4), [1, 2, 3, 4]);
        assert_eq!(first(100), [1, 2, 3, 4, 5, 6]);
        assert_eq!(first(0), [0; 0]);
    }

    #[test]
    fn uploads_of_one_key_are_serial() {
        let queue = Queue::new(100, 10);
        push(&queue, 1, 1, 10);
        let first = next(&queue).expect("one waits");
        push(&queue, 1, 2, 10);
        assert_eq!(next(&queue), None, "the first is still on its way");
        assert!(!queue.back(first), "a newer commit waits");
        assert_eq!(next(&queue).map(|row| row.generation), Some(Generation(2)));
        assert_eq!(queue.len(), (1, 10));
    }

    #[test]
    fn what_is_queued_for_an_upstream_that_is_gone_keeps_the_entry() {
        let queue = Queue::new(100, 10);
        queue.replay(vec![row(QueueTag(1), 7, 1, 10)]);
        push(&queue, 7, 1, 10);
        let ours = next(&queue).expect("one waits");
        assert!(queue.is_queued_elsewhere(ours));
        assert!(!queue.is_queued_elsewhere(row(QueueTag(1), 8, 1, 10)));
    }

    #[test]
    fn a_lower_bound_refuses_and_drops_nothing() {
        let queue = Queue::new(100, 10);
        push(&queue, 1, 1, 90);
        queue.bound(50, 10);
        assert_eq!(queue.reserve(0).err(), Some(Full::Bytes));
        assert_eq!(queue.len(), (1, 90));
        queue.bound(100, 1);
        assert_eq!(queue.reserve(0).err(), Some(Full::Entries));
        queue.bound(200, 2);
        assert!(queue.reserve(110).is_ok());
    }

    #[test]
    fn the_bounds_hold_and_unused_room_is_given_back() {
        let queue = Queue::new(100, 2);
        let room = queue.reserve(90).expect("room");
        assert_eq!(queue.reserve(11).err(), Some(Full::Bytes));
        drop(room);
        let mut room = queue.reserve(0).expect("room");
        assert_eq!(room.grow(100), Ok(()));
        assert_eq!(room.grow(101), Err(Full::Bytes));
        push(&queue, 1, 1, 0);
        assert_eq!(queue.reserve(0).err(), Some(Full::Entries));
        drop(room);
        assert_eq!(queue.len(), (1, 0));
    }
}
