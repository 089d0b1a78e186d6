//! The table of keys: the one source of what is parsed and checked, of `larder check`, of the schema, of the example.
//!
//! A key that is not here is refused: a misspelt bound that is silently not set is worse than a daemon that doesn't
//! start. The names of bounds are the names in the documentation, in `/-/stats` and in logs.

mod tables;
mod top;

use toml::Value;

pub(super) use tables::{LISTENERS, ListenerWish, NAMESPACES, UPSTREAMS};
pub(super) use top::{TOP, Wishes};

/// A key: what is said of it, and what it sets.
#[derive(Debug)]
pub(super) struct Key<T> {
    pub(super) doc: Doc,
    pub(super) set: fn(&mut T, &Value) -> Result<(), String>,
}

/// What is said of a key.
#[derive(Debug, Clone, Copy)]
pub(super) struct Doc {
    /// Its name; of a section `section.key`.
    pub(super) name: &'static str,
    pub(super) kind: Kind,
    pub(super) unset: Unset,
    /// One paragraph: what it is for, what happens at it, why the default is what it is.
    pub(super) reason: &'static str,
    /// A change of it counts from the next start on; that of any other key at once.
    pub(super) at_start: bool,
}

/// What a value looks like.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum Kind {
    /// `"10 GiB"`, or a number of bytes.
    Size,
    /// `"1.5 s"`.
    Time,
    /// A number of at least 1.
    Count,
    /// `"2 %"`.
    Percent,
    Text,
    /// A URL; what may be secret in it is never shown.
    Url,
    /// A list of texts.
    Texts,
    /// A list of names and ids of users.
    Users,
    /// `true` or `false`.
    Truth,
    /// One of these.
    Word(&'static [&'static str]),
}

/// What holds when a key is not set. The values are written as in the file.
#[derive(Debug, Clone, Copy)]
pub(super) enum Unset {
    /// This value.
    Is(&'static str),
    /// What these words say; and an example.
    Follows(&'static str, &'static str),
    /// Nothing: it has to be said, as in this example.
    Needed(&'static str),
}

/// A table of the file with keys of its own.
#[derive(Debug)]
pub(super) struct TableDoc {
    /// Its name: `upstreams`.
    pub(super) name: &'static str,
    /// Its head in the example.
    pub(super) example: &'static str,
    pub(super) shape: Shape,
    pub(super) reason: &'static str,
    pub(super) keys: fn() -> Vec<Doc>,
}

/// How often a table is there.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum Shape {
    /// `[name.KEY]`.
    Named,
    /// `[[name]]`.
    Listed,
}

/// The tables, in the order of the example.
pub(super) static TABLES: [TableDoc; 3] = [
    TableDoc {
        name: "upstreams",
        example: "[upstreams.team]",
        shape: Shape::Named,
        reason: "Shared stores by name, for namespaces (below) or for `upstream` to point at. Credentials are this \
                 daemon's alone: no tool ever needs them.",
        keys: || UPSTREAMS.iter().map(|key| key.doc).collect(),
    },
    TableDoc {
        name: "namespaces",
        example: "[namespaces.\"web\"]",
        shape: Shape::Named,
        reason: "Paths that begin with this namespace have an upstream and a prefix there of their own; the longest \
                 of several counts. All other namespaces share `upstream`, where they are one trust domain.",
        keys: || NAMESPACES.iter().map(|key| key.doc).collect(),
    },
    TableDoc {
        name: "listeners",
        example: "[[listeners]]",
        shape: Shape::Listed,
        reason: "Listeners that need more than an address, beside those of `listen`. Off loopback every request \
                 needs one of `access.tokens` or what `larder token new` issued, or its client a certificate.",
        keys: || LISTENERS.iter().map(|key| key.doc).collect(),
    },
];

// === impl Key ===

impl<T> Key<T> {
    const fn new(
        name: &'static str,
        kind: Kind,
        unset: Unset,
        reason: &'static str,
        set: fn(&mut T, &Value) -> Result<(), String>,
    ) -> Self {
        Self { doc: Doc { name, kind, unset, reason, at_start: false }, set }
    }

    /// The same, read at start only.
    const fn at_start(mut self) -> Self {
        self.doc.at_start = true;
        self
    }
}

/// Every key of the file; those of a section are `section.key`, those of a table `table.key`.
pub fn keys() -> impl Iterator<Item = String> {
    let top = TOP.iter().map(|key| key.doc.name.to_owned());
    let tables = TABLES
        .iter()
        .flat_map(|table| (table.keys)().into_iter().map(move |doc| format!("{}.{}", table.name, doc.name)));
    top.chain(tables)
}

/// What is said of every key that is read at start only: in the example and in the schema.
pub(super) const AT_START: &str = "Counts from the next start on.";

/// Whether a key, `upstreams.team.url` for one of a table, counts from the next start on only.
pub(super) fn is_at_start(name: &str) -> bool {
    let of_table = name.split_once('.').and_then(|(table, rest)| {
        let table = TABLES.iter().find(|known| known.name == table)?;
        let key = rest.rsplit('.').next()?;
        (table.keys)().into_iter().find(|doc| doc.name == key)
    });
    let found = TOP.iter().map(|key| key.doc).find(|doc| doc.name == name).or(of_table);
    found.is_some_and(|doc| doc.at_start)
}

/// The sections whose keys are in [`TOP`]: `access`, `log`.
pub(super) fn is_section(name: &str) -> bool {
    TOP.iter().any(|key| key.doc.name.strip_prefix(name).is_some_and(|rest| rest.starts_with('.')))
}

/// A value as it is written in the file.
pub(super) fn literal(text: &str) -> Value {
    let table = format!("value = {text}").parse::<toml::Table>();
    table.ok().and_then(|mut table| table.remove("value")).expect("a test reads every literal of the table")
}

#[cfg(test)]
mod tests {
    use super::*;

    fn check<T: Default>(keys: &[Key<T>]) {
        for key in keys {
            let (Unset::Is(text) | Unset::Follows(_, text) | Unset::Needed(text)) = key.doc.unset;
            let set = (key.set)(&mut T::default(), &literal(text));
            // A file of tokens that isn't there is a matter of the machine.
            assert_eq!(set, Ok(()), "{} = {text}", key.doc.name);
            assert!(key.doc.reason.ends_with('.'), "{}: {}", key.doc.name, key.doc.reason);
        }
    }

    #[test]
    fn every_default_and_example_is_one_that_its_key_takes() {
        check(TOP);
        check(UPSTREAMS);
        check(NAMESPACES);
        check(LISTENERS);
    }

    #[test]
    fn what_has_to_be_bound_or_opened_counts_from_the_next_start_on() {
        let all: Vec<String> =
            keys().filter(|name| is_at_start(&name.replacen('.', ".x.", 1)) || is_at_start(name)).collect();
        let expected = [
            "listen",
            "dir",
            "durability",
            "log.format",
            "listeners.address",
            "listeners.certificate",
            "listeners.key",
            "listeners.client_ca",
            "listeners.insecure",
            "listeners.only",
        ];
        assert_eq!(all, expected);
        assert!(is_at_start("listeners.2.only") && !is_at_start("upstreams.listen.url") && !is_at_start("x"));
    }

    #[test]
    fn keys_are_unique() {
        let mut all: Vec<_> = keys().collect();
        let count = all.len();
        all.sort_unstable();
        all.dedup();
        assert_eq!(all.len(), count);
    }
}
