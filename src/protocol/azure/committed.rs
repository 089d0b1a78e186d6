//! Which blocks the last blobs were put together of.
//!
//! Azure keeps that with a blob. Here it is only needed for a list that is sent again because its answer was lost, and
//! for one that keeps some blocks of a blob and adds others; so it is kept in memory, for the last blobs, and a while.

use std::collections::{HashMap, VecDeque};
use std::sync::Arc;
use std::time::{Duration, Instant};

use parking_lot::Mutex;

/// The block lists of the last blobs. At the bounds the oldest goes.
#[derive(Debug, Default)]
pub(super) struct Committed(Mutex<Lists>);

#[derive(Debug, Default)]
struct Lists {
    all: HashMap<Arc<str>, Arc<BlockList>>,
    /// By age; of a blob that was committed again only the last counts.
    order: VecDeque<(Arc<str>, Arc<BlockList>)>,
    blocks: usize,
}

/// One of them.
#[derive(Debug)]
pub(super) struct BlockList {
    /// Of the blob that it made.
    pub(super) etag: Arc<str>,
    /// Block ids and lengths, in order.
    pub(super) blocks: Vec<(String, u64)>,
    since: Instant,
}

const LISTS_MAX: usize = 1000;
/// Of all lists together; an id has at most 88 characters.
const BLOCKS_MAX: usize = 100_000;
const AGE: Duration = Duration::from_secs(3600);

// === impl Committed ===

impl Committed {
    /// The list that made the blob of this ETag.
    pub(super) fn of(&self, blob: &str, etag: &str) -> Option<Arc<BlockList>> {
        let list = self.0.lock().all.get(blob).cloned()?;
        (*list.etag == *etag && list.since.elapsed() < AGE).then_some(list)
    }

    pub(super) fn note(&self, blob: &str, etag: Arc<str>, blocks: Vec<(String, u64)>) {
        if blocks.len() > BLOCKS_MAX {
            return;
        }
        let list = Arc::new(BlockList { etag, blocks, since: Instant::now() });
        let blob: Arc<str> = blob.into();
        let mut lists = self.0.lock();
        lists.blocks += list.blocks.len();
        lists.order.push_back((Arc::clone(&blob), Arc::clone(&list)));
        lists.all.insert(blob, list);
        while lists.order.len() > LISTS_MAX || lists.blocks > BLOCKS_MAX {
            let Some((blob, list)) = lists.order.pop_front() else { break };
            lists.blocks -= list.blocks.len();
            if lists.all.get(&blob).is_some_and(|last| Arc::ptr_eq(last, &list)) {
                lists.all.remove(&blob);
            }
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_last_lists_are_remembered_within_their_bounds() {
        let committed = Committed::default();
        let blocks = |count| (0..count).map(|number: usize| (number.to_string(), 1)).collect::<Vec<_>>();
        committed.note("a", "1".into(), blocks(2));
        committed.note("a", "2".into(), blocks(3));
        assert!(committed.of("a", "1").is_none(), "another blob than the one that is there");
        assert_eq!(committed.of("a", "2").map(|list| list.blocks.len()), Some(3));
        for number in 0..LISTS_MAX {
            committed.note(&number.to_string(), "e".into(), blocks(1));
        }
        assert!(committed.of("a", "2").is_none() && committed.of("0", "e").is_some());
        committed.note("large", "e".into(), blocks(BLOCKS_MAX));
        assert!(committed.of("large", "e").is_some() && committed.of("0", "e").is_none());
        committed.note("too large", "e".into(), blocks(BLOCKS_MAX + 1));
        assert!(committed.of("too large", "e").is_none() && committed.of("large", "e").is_some());
    }
}
