//! What an entry is called: here, in the index, and upstream.
//!
//! A request's path is parsed into a [`Scope`] and a [`Key`] once, at the door. Below the frontends nobody checks a
//! name again, and nobody can build a bad one: [`Name`], [`Namespace`] and [`ObjectName`] have one constructor each.
//!
//! ```text
//! Scope { owner, namespace, … }         +  Key::Content(digest)            one entry for all namespaces of an owner
//!                                       |  Key::Named { space, name }      namespace and owner are part of the key
//!        -> canonical bytes (kept in the record, compared on every read)  -> EntryId, 128 bits (index, file names)
//!        -> ObjectName (upstream; frozen by golden tests)
//! ```

mod object;
mod scope;

use std::fmt;
use std::sync::Arc;
use std::time::Duration;

use crate::digest::{Digest, Function};
use crate::error::{Error, Result};

pub use object::{Names, ObjectName};
pub use scope::{Namespace, Owner, Policy, Prefetch, Scope, UpstreamId};

/// The name of a named entry within its space: 1 to 1,024 bytes without NUL.
#[derive(Debug, Clone, PartialEq, Eq, Hash, PartialOrd, Ord)]
pub struct Name(Arc<str>);

/// How the bytes under a name may change.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash)]
pub enum Naming {
    /// A local hit is final.
    Immutable,
    /// Older than `max_age`, a local hit is checked against the upstream.
    Mutable {
        /// How long a copy counts as fresh.
        max_age: Duration,
    },
}

/// How names of a space are laid out upstream.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash)]
pub enum Layout {
    /// `{protocol}/{hh}/{name}`, or `{protocol}/{name}` on stores without shard folders (bazel-remote's layout).
    Sharded,
    /// `{protocol}/{namespace}/{name}`.
    Namespaced,
    /// The name itself: the client's own key.
    Verbatim,
}

/// One protocol's family of names. A constant of its frontend.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash)]
pub struct Space {
    /// Unique among all spaces; part of the local key and, by [`Layout`], of the name upstream.
    pub protocol: &'static str,
    /// May the bytes change?
    pub naming: Naming,
    /// The shape of the name upstream.
    pub layout: Layout,
    /// What is before and what is behind the namespace in Larder's own URL map, where the layout doesn't say it.
    pub route: (&'static str, &'static str),
    /// Whether entries are action results that name other entries (see [`crate::links`]).
    pub linked: bool,
    /// An attribute that other tools keep in an object of its own beside the entry.
    pub sibling: Option<Sibling>,
    /// A copy that is older than `max_age` is compared with the upstream's before it is answered, as far as there is
    /// time for it; elsewhere it is answered, and compared behind.
    pub asks_first: bool,
    /// What comes from upstream with up to so many bytes is answered when it is whole and checked, as far as there is
    /// time for it. For clients that can't go on after a body that breaks off: to them trouble is better a miss.
    pub whole_bytes_max: u64,
}

/// An attribute kept upstream as an object of its own, `{object name}{suffix}`, so that other servers on the same
/// bucket find it and are found.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash)]
pub struct Sibling {
    /// The attribute's name in [`crate::entry::Attrs`].
    pub attr: &'static str,
    /// What follows the entry's own object name.
    pub suffix: &'static str,
}

/// What a request asks for.
#[derive(Debug, Clone, PartialEq, Eq, Hash)]
pub enum Key {
    /// Content-addressed bytes: the digest is the name, and is verified on every way in.
    Content(Digest),
    /// Named bytes.
    Named {
        /// The protocol's family of names.
        space: Space,
        /// The name in it.
        name: Name,
    },
}

/// The key as the index and file names know it: 128 bits of a keyed BLAKE3 of [`Key::canonical`].
#[derive(Clone, Copy, PartialEq, Eq, Hash, PartialOrd, Ord)]
pub struct EntryId(pub u128);

/// See [`Key::content_bytes`].
#[derive(Debug, Clone)]
pub struct ContentBytes([u8; CONTENT_BYTES]);

const NAME_BYTES_MAX: usize = 1024;

/// Of a content key: owner, function, hash.
const CONTENT_BYTES: usize = 4 + 1 + 32;

// === impl Name ===

impl Name {
    /// Checks length and bytes.
    ///
    /// # Errors
    /// `Invalid` when empty, over 1,024 bytes, or with a NUL.
    pub fn parse(text: &str) -> Result<Self> {
        if text.is_empty() {
            return Err(Error::invalid("the name is empty"));
        }
        if text.len() > NAME_BYTES_MAX {
            return Err(Error::invalid(format!("the name has {} bytes, at most 1024 are taken", text.len())));
        }
        if text.contains('\0') {
            return Err(Error::invalid("the name has a NUL byte"));
        }
        Ok(Self(text.into()))
    }

    /// The text.
    pub fn as_str(&self) -> &str {
        &self.0
    }
}

// === impl Space ===

impl Space {
    /// A space without links and siblings, whose entries are answered as they come.
    pub const fn new(protocol: &'static str, naming: Naming, layout: Layout) -> Self {
        let route = ("", protocol);
        Self {
            protocol,
            naming,
            layout,
            route,
            linked: false,
            sibling: None,
            asks_first: false,
            whole_bytes_max: 0,
        }
    }

    /// Its paths in Larder's own URL map: what is before the namespace, and behind it. The protocol behind it if this
    /// isn't said.
    #[must_use]
    pub const fn with_route(mut self, before: &'static str, behind: &'static str) -> Self {
        self.route = (before, behind);
        self
    }

    /// What is no longer than `bytes` is answered whole or not at all, where the time suffices.
    #[must_use]
    pub const fn whole_up_to(mut self, bytes: u64) -> Self {
        self.whole_bytes_max = bytes;
        self
    }

    /// An old copy is compared with the upstream's before it is answered.
    #[must_use]
    pub const fn asking_first(mut self) -> Self {
        self.asks_first = true;
        self
    }

    /// Entries of this space are action results.
    #[must_use]
    pub const fn with_links(mut self) -> Self {
        self.linked = true;
        self
    }

    /// What the canonical keys of this space in a scope begin with; the name is the rest.
    pub fn canonical(&self, scope: &Scope) -> Vec<u8> {
        let mut bytes = scope.owner.0.to_le_bytes().to_vec();
        self.write(scope, &mut bytes);
        bytes
    }

    fn write(&self, scope: &Scope, to: &mut Vec<u8>) {
        let namespace = scope.namespace.as_str();
        to.push(3);
        to.extend_from_slice(&(namespace.len() as u16).to_le_bytes());
        to.extend_from_slice(namespace.as_bytes());
        to.push(self.protocol.len() as u8);
        to.extend_from_slice(self.protocol.as_bytes());
    }

    /// `attr` lies upstream in an object of its own, too.
    #[must_use]
    pub const fn with_sibling(mut self, attr: &'static str, suffix: &'static str) -> Self {
        self.sibling = Some(Sibling { attr, suffix });
        self
    }
}

// === impl Key ===

impl Key {
    /// The whole key as bytes: what a record keeps and a read compares, so that a collision of ids is seen.
    ///
    /// ```text
    /// owner u32 | 1 or 2 (content: sha256, blake3) | hash[32]
    /// owner u32 | 3 | len u16, namespace | len u8, protocol | name
    /// ```
    pub fn canonical(&self, scope: &Scope) -> Vec<u8> {
        let mut bytes = Vec::with_capacity(64);
        bytes.extend_from_slice(&scope.owner.0.to_le_bytes());
        match self {
            Self::Content(digest) => {
                bytes.push(function_byte(digest.function()));
                bytes.extend_from_slice(digest.hash());
            }
            Self::Named { space, name } => {
                space.write(scope, &mut bytes);
                bytes.extend_from_slice(name.as_str().as_bytes());
            }
        }
        bytes
    }

    /// Where canonical bytes of an owner's content keys are made, one after the other and without an allocation each.
    pub fn content_bytes(owner: Owner) -> ContentBytes {
        let mut bytes = [0; CONTENT_BYTES];
        bytes[..4].copy_from_slice(&owner.0.to_le_bytes());
        ContentBytes(bytes)
    }

    /// The digest, if these canonical bytes are of a content key.
    pub fn content_of(canonical: &[u8]) -> Option<Digest> {
        let function = match canonical.get(4)? {
            1 => Function::Sha256,
            2 => Function::Blake3,
            _ => return None,
        };
        Some(Digest::new(function, canonical.get(5..)?.try_into().ok()?))
    }

    /// The protocol, if these canonical bytes are of a named key.
    pub fn protocol_of(canonical: &[u8]) -> Option<&str> {
        let namespace = match canonical.get(4..7)? {
            [3, low, high] => usize::from(u16::from_le_bytes([*low, *high])),
            _ => return None,
        };
        let rest = canonical.get(7 + namespace..)?;
        let (len, rest) = rest.split_first()?;
        std::str::from_utf8(rest.get(..usize::from(*len))?).ok()
    }

    /// How the bytes may change: content never does.
    pub fn naming(&self) -> Naming {
        match self {
            Self::Content(_) => Naming::Immutable,
            Self::Named { space, .. } => space.naming,
        }
    }
}

fn function_byte(function: Function) -> u8 {
    match function {
        Function::Sha256 => 1,
        Function::Blake3 => 2,
    }
}

// === impl ContentBytes ===

impl ContentBytes {
    /// [`Key::canonical`] of this content.
    pub fn of(&mut self, digest: &Digest) -> &[u8] {
        self.0[4] = function_byte(digest.function());
        self.0[5..].copy_from_slice(digest.hash());
        &self.0
    }
}

// === impl EntryId ===

impl EntryId {
    /// The id of a canonical key.
    pub fn of(canonical: &[u8]) -> Self {
        /// Separates these hashes from every other use of BLAKE3. Part of the disk format.
        const KEY: &[u8; 32] = b"larder: entry id of a key, 2026.";
        let hash = blake3::keyed_hash(KEY, canonical);
        let mut id = [0; 16];
        id.copy_from_slice(&hash.as_bytes()[..16]);
        Self(u128::from_le_bytes(id))
    }
}

impl fmt::Debug for EntryId {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{:032x}", self.0)
    }
}

impl fmt::Display for EntryId {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{:032x}", self.0)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    const BLOB: Space =
        Space::new("blob", Naming::Mutable { max_age: Duration::from_secs(60) }, Layout::Namespaced);

    fn scope(namespace: &str) -> Scope {
        Scope {
            owner: Owner(1000),
            namespace: Namespace::parse(namespace).expect("valid"),
            upstream: None,
            policy: Policy::default(),
        }
    }

    #[test]
    fn content_is_one_key_for_all_namespaces_and_names_are_not() {
        let content = Key::Content(Digest::of(Function::Sha256, b"x"));
        assert_eq!(content.canonical(&scope("a")), content.canonical(&scope("b")));
        assert_eq!(
            Key::content_of(&content.canonical(&scope("a"))),
            Some(Digest::of(Function::Sha256, b"x"))
        );
        assert_eq!(Key::protocol_of(&content.canonical(&scope("a"))), None);
        if let Key::Content(digest) = &content {
            assert_eq!(Key::content_bytes(Owner(1000)).of(digest), content.canonical(&scope("a")));
        }
        let named = Key::Named { space: BLOB, name: Name::parse("x").expect("valid") };
        assert_ne!(named.canonical(&scope("a")), named.canonical(&scope("b")));
        assert_eq!(Key::content_of(&named.canonical(&scope("a"))), None);
        assert_eq!(Key::protocol_of(&named.canonical(&scope("a"))), Some("blob"));
    }
}
