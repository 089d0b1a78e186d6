//! The sizes of content lately heard of.

use std::collections::HashMap;

use parking_lot::Mutex;

use crate::digest::Digest;

/// So many in each half: with both full, about 12 MiB.
const HALF: usize = 1 << 16;

/// Sizes by digest: the last 65,536 that were said or asked for at least, twice as many at most.
#[derive(Debug, Default)]
pub(super) struct Sizes {
    /// A leaf mutex.
    halves: Mutex<Halves>,
}

#[derive(Debug, Default)]
struct Halves {
    new: HashMap<[u8; 32], u64>,
    old: HashMap<[u8; 32], u64>,
}

// === impl Sizes ===

impl Sizes {
    /// Content has so many bytes.
    pub(super) fn note(&self, digest: &Digest, len: u64) {
        // Whoever says that there is nothing in something doesn't know.
        if len > 0 && !digest.is_empty_blob() {
            self.halves.lock().put(*digest.hash(), len);
        }
    }

    /// What was last said of it.
    pub(super) fn of(&self, digest: &Digest) -> Option<u64> {
        let mut halves = self.halves.lock();
        if let Some(len) = halves.new.get(digest.hash()) {
            return Some(*len);
        }
        let len = *halves.old.get(digest.hash())?;
        halves.put(*digest.hash(), len);
        Some(len)
    }
}

impl Halves {
    fn put(&mut self, hash: [u8; 32], len: u64) {
        if self.new.len() >= HALF && !self.new.contains_key(&hash) {
            self.old = std::mem::take(&mut self.new);
        }
        self.new.insert(hash, len);
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::digest::Function;

    #[test]
    fn the_last_ones_are_known_and_what_is_asked_for_stays() {
        let digest = |number: usize| Digest::of(Function::Sha256, &number.to_le_bytes());
        let sizes = Sizes::default();
        sizes.note(&digest(0), 7);
        for number in 1..=2 * HALF {
            sizes.note(&digest(number), number as u64);
            if number % HALF == HALF / 2 {
                assert_eq!(sizes.of(&digest(0)), Some(7), "after {number}");
            }
        }
        assert_eq!(sizes.of(&digest(1)), None);
        assert_eq!(sizes.of(&digest(2 * HALF)), Some(2 * HALF as u64));
        let halves = sizes.halves.lock();
        assert!(halves.new.len() + halves.old.len() <= 2 * HALF);
    }

    #[test]
    fn only_nothing_has_no_bytes() {
        let sizes = Sizes::default();
        let something = Digest::of(Function::Sha256, b"something");
        sizes.note(&something, 0);
        assert_eq!(sizes.of(&something), None);
    }
}
