//! A value that every request reads and few ever replace.
//!
//! A read waits for nobody and, unlike a clone of an `Arc`, counts no reference that all cores would write to. Who
//! still reads the old value when it is replaced reads on; it goes with its last reader.

use std::fmt;
use std::ops::Deref;
use std::sync::Arc;

use arc_swap::{ArcSwap, Guard};

/// A value that can be replaced while it is read.
pub struct Swap<T>(ArcSwap<T>);

/// The value as it was when it was read. Meant to be short-lived: a thread that holds many at once pays for counting.
pub struct Read<T>(Guard<Arc<T>>);

// === impl Swap ===

impl<T> Swap<T> {
    /// A value.
    pub fn new(value: T) -> Self {
        Self(ArcSwap::from_pointee(value))
    }

    /// The value at this moment.
    pub fn read(&self) -> Read<T> {
        Read(self.0.load())
    }

    /// From now on it is this one; returns the old one, which others may still read.
    pub fn replace(&self, value: T) -> Arc<T> {
        self.0.swap(Arc::new(value))
    }
}

impl<T: fmt::Debug> fmt::Debug for Swap<T> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        self.read().fmt(f)
    }
}

// === impl Read ===

impl<T> Deref for Read<T> {
    type Target = T;

    fn deref(&self) -> &T {
        &self.0
    }
}

impl<T: fmt::Debug> fmt::Debug for Read<T> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        (**self).fmt(f)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_reader_keeps_what_it_has_read() {
        let swap = Swap::new(1);
        let old = swap.read();
        assert_eq!(*swap.replace(2), 1);
        assert_eq!((*old, *swap.read()), (1, 2));
    }
}
