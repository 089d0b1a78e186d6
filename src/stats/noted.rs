//! What a request turned out to be about, for its line in the access log.
//!
//! As with namespaces, whoever polls a request does so [`during`] a note of it on this thread, and who comes to know
//! something writes it down there: no frontend passes it along. Without the log there is no note, and writing down is
//! a look at a flag. Tasks of the daemon's own have none.

use std::cell::{Cell, RefCell};

use crate::key::Key;

/// What is known of a request so far.
#[derive(Debug, Clone, PartialEq, Eq, Default)]
pub struct Noted {
    /// The namespace; `None` for the one without a name, and where there is none.
    pub namespace: Option<Box<str>>,
    /// The first entry that was asked for, put or deleted.
    pub key: Option<Key>,
    /// Whether there were others.
    pub others: bool,
    /// The name of the upstream that gave the entry, or that what was put or deleted here is queued for.
    pub upstream: Option<Box<str>>,
}

/// Takes the thread's note away, also where the work panics.
struct Leaving;

thread_local! {
    /// Beside the note, because this is read by every request.
    static IS_ON: Cell<bool> = const { Cell::new(false) };
    static NOTED: RefCell<Noted> = RefCell::default();
}

/// Does a part of a request's work, and adds to its note what is written down meanwhile.
pub fn during<T>(noted: &mut Noted, work: impl FnOnce() -> T) -> T {
    NOTED.set(std::mem::take(noted));
    IS_ON.set(true);
    let leaving = Leaving;
    let done = work();
    *noted = NOTED.take();
    drop(leaving);
    done
}

/// The request is about this entry.
pub fn asked(key: &Key) {
    write(|noted| match &noted.key {
        None => noted.key = Some(key.clone()),
        Some(first) => noted.others |= first != key,
    });
}

/// The request belongs to this namespace.
pub fn namespace(name: &str) {
    write(|noted| noted.namespace = Some(name).filter(|name| !name.is_empty()).map(Into::into));
}

/// This upstream gave the entry, or is to get it.
pub fn upstream(name: &str) {
    write(|noted| noted.upstream = Some(name.into()));
}

/// Whether anything is written down: what must be looked up for that needs no looking up otherwise.
pub fn is_on() -> bool {
    IS_ON.get()
}

fn write(what: impl FnOnce(&mut Noted)) {
    if is_on() {
        NOTED.with_borrow_mut(what);
    }
}

// === impl Noted ===

impl Noted {
    /// The entry's name in its protocol, without the namespace: of content, the digits of its hash.
    pub fn name(&self) -> Option<String> {
        self.key.as_ref().map(|key| match key {
            Key::Content(digest) => digest.hex(),
            Key::Named { name, .. } => name.as_str().to_owned(),
        })
    }
}

// === impl Leaving ===

impl Drop for Leaving {
    fn drop(&mut self) {
        IS_ON.set(false);
        NOTED.take();
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::digest::{Digest, Function};

    fn content(body: &[u8]) -> Key {
        Key::Content(Digest::of(Function::Sha256, body))
    }

    #[test]
    fn requests_that_take_turns_on_a_thread_have_notes_of_their_own() {
        let (mut one, mut other) = (Noted::default(), Noted::default());
        during(&mut one, || asked(&content(b"1")));
        during(&mut other, || {
            namespace("team");
            asked(&content(b"2"));
            asked(&content(b"2"));
        });
        during(&mut one, || upstream("far"));
        let digits = |body| Some(Digest::of(Function::Sha256, body).hex());
        assert_eq!((one.name(), one.others, one.upstream.as_deref()), (digits(b"1"), false, Some("far")));
        assert_eq!((other.name(), other.others, other.upstream), (digits(b"2"), false, None));
        assert_eq!((one.namespace, other.namespace.as_deref()), (None, Some("team")));
    }

    #[test]
    fn the_first_of_several_entries_is_named() {
        let mut noted = Noted::default();
        during(&mut noted, || [b"1", b"2", b"1"].iter().for_each(|body| asked(&content(*body))));
        assert_eq!((noted.key, noted.others), (Some(content(b"1")), true));
    }

    #[test]
    fn without_a_request_nothing_is_written_down() {
        let panicked = std::panic::catch_unwind(|| {
            during(&mut Noted::default(), || {
                namespace("left");
                panic!("a request panics");
            })
        });
        assert!(panicked.is_err() && !is_on());
        asked(&content(b"1"));
        namespace("nobody's");
        upstream("nobody's");
        assert_eq!(NOTED.take(), Noted::default());
    }
}
