//! Counts by namespace, which cost a request what one count costs.
//!
//! Whoever polls a request [`enter`](Namespaces::enter)s its namespace on this thread, and what is then counted there
//! counts for it: no frontend passes namespaces along, and nothing is counted twice. Namespaces are numbered as they
//! are seen, the first hundred; the rest share a number, as whoever names namespaces at will must not fill memory.

use std::cell::Cell;
use std::sync::OnceLock;
use std::sync::atomic::{AtomicU64, AtomicUsize, Ordering};

use super::{ACCOUNTED, Spread, noted};

/// A number that only grows, of each namespace.
#[derive(Debug, Default)]
pub struct Tally(Spread<Cells>);

/// One number for each place.
#[derive(Debug)]
struct Cells([AtomicU64; PLACES]);

/// The namespaces that have numbers of their own: a table of hashes that only fills up, and is read without a lock.
#[derive(Debug)]
pub struct Namespaces {
    slots: [OnceLock<Box<str>>; SLOTS],
    taken: AtomicUsize,
}

/// Which namespace something is counted for.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default)]
pub struct Place(u8);

/// So many namespaces have numbers of their own.
pub const NAMESPACES_MAX: usize = 100;

/// What the namespace without a name is called, and all that share a number.
const UNNAMED: &str = "(default)";
const OTHERS: &str = "(other)";

/// A power of two, with room left so that looks are short.
const SLOTS: usize = 128;

/// The namespace without a name, each slot, and all others.
const PLACES: usize = SLOTS + 2;
const OTHER: Place = Place(SLOTS as u8 + 1);

thread_local! {
    static CURRENT: Cell<Place> = const { Cell::new(Place(0)) };
}

// === impl Place ===

impl Place {
    /// The one that this thread counts for.
    pub fn current() -> Self {
        if ACCOUNTED { CURRENT.get() } else { Self(0) }
    }

    /// From now on this thread counts for it.
    pub fn enter(self) {
        if ACCOUNTED {
            CURRENT.set(self);
        }
    }
}

// === impl Tally ===

impl Tally {
    /// One more.
    pub fn one(&self) {
        if !ACCOUNTED {
            return;
        }
        self.0.mine().0[usize::from(Place::current().0)].fetch_add(1, Ordering::Relaxed);
    }

    /// The number so far, of all namespaces.
    pub fn read(&self) -> u64 {
        self.0.all().flat_map(|cells| &cells.0).map(|cell| cell.load(Ordering::Relaxed)).sum()
    }

    /// That of one namespace.
    pub fn of(&self, place: Place) -> u64 {
        self.0.all().map(|cells| cells.0[usize::from(place.0)].load(Ordering::Relaxed)).sum()
    }
}

impl Default for Cells {
    fn default() -> Self {
        Self(std::array::from_fn(|_| AtomicU64::new(0)))
    }
}

// === impl Namespaces ===

impl Namespaces {
    /// From now on this thread counts for this namespace, and its request is one of it.
    pub fn enter(&self, name: &str) {
        noted::namespace(name);
        if ACCOUNTED {
            self.place(name).enter();
        }
    }

    /// All that were seen, with their names; `(default)` and `(other)` among them.
    pub fn all(&self) -> impl Iterator<Item = (&str, Place)> {
        let named = self.slots.iter().zip(1..).filter_map(|(slot, at)| Some((&**slot.get()?, Place(at))));
        [(UNNAMED, Place(0))].into_iter().chain(named).chain([(OTHERS, OTHER)])
    }

    fn place(&self, name: &str) -> Place {
        if name.is_empty() {
            return Place(0);
        }
        if matches!(name, UNNAMED | OTHERS) {
            return OTHER; // they are called so already
        }
        // FNV-1a: names are short.
        let hash = name.bytes().fold(0xcbf2_9ce4_8422_2325, |hash: u64, byte| {
            (hash ^ u64::from(byte)).wrapping_mul(0x0100_0000_01b3)
        });
        for step in 0..SLOTS {
            let at = (hash as usize).wrapping_add(step) % SLOTS;
            let slot = &self.slots[at];
            let found = match slot.get() {
                Some(found) => found,
                None if self.taken.fetch_add(1, Ordering::Relaxed) >= NAMESPACES_MAX => {
                    self.taken.fetch_sub(1, Ordering::Relaxed);
                    return OTHER;
                }
                None => {
                    let mut is_ours = false;
                    let found = slot.get_or_init(|| {
                        is_ours = true;
                        name.into()
                    });
                    if !is_ours {
                        // Another took it meanwhile, for this name or for another.
                        self.taken.fetch_sub(1, Ordering::Relaxed);
                    }
                    found
                }
            };
            if **found == *name {
                return Place(at as u8 + 1);
            }
        }
        OTHER
    }
}

impl Default for Namespaces {
    fn default() -> Self {
        Self { slots: std::array::from_fn(|_| OnceLock::new()), taken: AtomicUsize::new(0) }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_first_hundred_have_numbers_of_their_own() {
        let (namespaces, tally) = (Namespaces::default(), Tally::default());
        let names: Vec<String> = (0..NAMESPACES_MAX + 20).map(|number| format!("team/{number}")).collect();
        for _ in 0..3 {
            for name in &names {
                namespaces.enter(name);
                tally.one();
            }
        }
        namespaces.enter("");
        tally.one();
        let counts: Vec<(&str, u64)> =
            namespaces.all().map(|(name, place)| (name, tally.of(place))).collect();
        assert_eq!(counts.len(), NAMESPACES_MAX + 2);
        assert_eq!((counts[0], counts[counts.len() - 1]), (("(default)", 1), ("(other)", 60)));
        for name in &names[..NAMESPACES_MAX] {
            assert!(counts.contains(&(name, 3)), "{name}");
        }
        assert_eq!(tally.read(), 3 * names.len() as u64 + 1);
    }

    #[test]
    fn two_threads_that_see_a_name_first_give_it_one_place() {
        let namespaces = Namespaces::default();
        std::thread::scope(|scope| {
            for _ in 0..4 {
                scope.spawn(|| {
                    for number in 0..60 {
                        namespaces.enter(&format!("n{number}"));
                    }
                });
            }
        });
        let mut names: Vec<&str> = namespaces.all().map(|(name, _)| name).collect();
        assert_eq!(names.len(), 62);
        names.sort_unstable();
        names.dedup();
        assert_eq!(names.len(), 62);
    }
}
