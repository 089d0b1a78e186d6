//! Names upstream, and the way back from them. Frozen: other machines and other tools find entries by them.

use std::fmt;
use std::sync::Arc;

use super::{Key, Layout, Name, Scope, Space};
use crate::digest::Function;

/// A name that every upstream carries unchanged: no empty, `.` or `..` segment, no trailing slash, no control byte,
/// at most 900 bytes (S3's 1,024 less a generous prefix).
#[derive(Debug, Clone, PartialEq, Eq, Hash, PartialOrd, Ord)]
pub struct ObjectName(Arc<str>);

/// In which form an upstream has its names.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Names {
    /// `cas/{hh}/{hash}`: with shard folders.
    Sharded,
    /// `cas/{hash}`: the same without.
    Flat,
    /// The paths of Larder's own URL map, with the namespaces: what a server is asked for by HTTP.
    Paths,
}

const OBJECT_NAME_BYTES_MAX: usize = 900;

// === impl ObjectName ===

impl ObjectName {
    /// The name, if every upstream can carry it unchanged.
    pub fn parse(text: &str) -> Option<Self> {
        let portable = !text.is_empty()
            && text.len() <= OBJECT_NAME_BYTES_MAX
            && text.split('/').all(|segment| !matches!(segment, "" | "." | ".."))
            && !text.bytes().any(|byte| byte.is_ascii_control());
        portable.then(|| Self(text.into()))
    }

    /// The text.
    pub fn as_str(&self) -> &str {
        &self.0
    }

    /// The name of an object kept beside this one.
    pub fn sibling(&self, suffix: &str) -> Option<Self> {
        Self::parse(&format!("{}{suffix}", self.0))
    }
}

impl fmt::Display for ObjectName {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(&self.0)
    }
}

// === impl Key ===

impl Key {
    /// The name upstream, in the form of `names`. `None` when no store would carry it unchanged: such an entry is kept
    /// locally only.
    pub fn object_name(&self, scope: &Scope, names: Names) -> Option<ObjectName> {
        match self {
            Self::Content(digest) => {
                let folder = match digest.function() {
                    Function::Sha256 => "cas",
                    Function::Blake3 => "cas-blake3",
                };
                ObjectName::parse(&in_shard(folder, &digest.hex(), names))
            }
            Self::Named { space, name } => {
                ObjectName::parse(&space.object_prefix(scope, name.as_str(), names))
            }
        }
    }
}

// === impl Space ===

impl Space {
    /// What the objects of all names with `prefix` begin with; of a whole name, its object. Objects sort as their
    /// names do, so this also says where in a listing a name would be.
    pub fn object_prefix(&self, scope: &Scope, prefix: &str, names: Names) -> String {
        match self.layout {
            Layout::Sharded | Layout::Verbatim if names == Names::Paths => {
                let (before, behind) = self.route;
                let namespace = scope.namespace.as_str();
                let folders = [before, namespace, behind].into_iter().filter(|part| !part.is_empty());
                folders.chain([prefix]).collect::<Vec<_>>().join("/")
            }
            Layout::Sharded => in_shard(self.protocol, prefix, names),
            Layout::Verbatim => prefix.into(),
            Layout::Namespaced => {
                let namespace = scope.namespace.as_str();
                let slash = if namespace.is_empty() { "" } else { "/" };
                format!("{}/{namespace}{slash}{prefix}", self.protocol)
            }
        }
    }

    /// The name whose object this is, if it is one of this space: the inverse of [`Key::object_name`].
    pub fn name_of(&self, scope: &Scope, object: &ObjectName, names: Names) -> Option<Name> {
        let object = object.as_str();
        if self.sibling.is_some_and(|sibling| object.ends_with(sibling.suffix)) {
            return None;
        }
        let rest = object.strip_prefix(&*self.object_prefix(scope, "", names))?;
        // Behind its shard, `hh/`, or without one: whichever leads here.
        let candidates = [rest.get(3..), Some(rest)].into_iter().flatten();
        let name = candidates.into_iter().find(|name| self.object_prefix(scope, name, names) == object)?;
        Name::parse(name).ok()
    }
}

fn in_shard(folder: &str, hash: &str, names: Names) -> String {
    match hash.get(..2).filter(|_| names == Names::Sharded) {
        Some(shard) => format!("{folder}/{shard}/{hash}"),
        None => format!("{folder}/{hash}"),
    }
}

#[cfg(test)]
mod tests {
    use std::time::Duration;

    use super::*;
    use crate::digest::Digest;
    use crate::key::{Namespace, Naming, Owner, Policy};

    const AC: Space = Space::new("ac", Naming::Immutable, Layout::Sharded).with_links();
    const BLOB: Space =
        Space::new("blob", Naming::Mutable { max_age: Duration::from_secs(60) }, Layout::Namespaced);
    const TURBO: Space = Space::new("turborepo", Naming::Immutable, Layout::Verbatim)
        .with_route("", "v8/artifacts")
        .with_sibling("artifacttag", ".tag");
    const S3: Space = Space::new("s3", Naming::Immutable, Layout::Verbatim).with_route("s3", "");

    fn scope(namespace: &str) -> Scope {
        Scope {
            owner: Owner(1000),
            namespace: Namespace::parse(namespace).expect("valid"),
            upstream: None,
            policy: Policy::default(),
        }
    }

    #[test]
    fn names_upstream_are_frozen() {
        let digest = Digest::of(Function::Sha256, b"");
        let hex = digest.hex();
        let content = Key::Content(digest);
        let object = |key: &Key, ns, names| key.object_name(&scope(ns), names).map(|name| name.to_string());
        assert_eq!(object(&content, "any", Names::Sharded), Some(format!("cas/e3/{hex}")));
        assert_eq!(object(&content, "any", Names::Flat), Some(format!("cas/{hex}")));
        let blake3 = Digest::of(Function::Blake3, b"");
        assert_eq!(
            object(&Key::Content(blake3), "", Names::Sharded),
            Some(format!("cas-blake3/{}/{}", &blake3.hex()[..2], blake3.hex()))
        );
        let action = Key::Named { space: AC, name: Name::parse(&hex).expect("valid") };
        assert_eq!(object(&action, "team", Names::Sharded), Some(format!("ac/e3/{hex}")));
        let blob = Key::Named { space: BLOB, name: Name::parse("a/b").expect("valid") };
        assert_eq!(object(&blob, "ns", Names::Sharded), Some("blob/ns/a/b".into()));
    }

    #[test]
    fn names_of_an_http_upstream_are_larders_own_paths() {
        let named = |space, name| Key::Named { space, name: Name::parse(name).expect("valid") };
        for (key, namespace, expected) in [
            (Key::Content(Digest::of(Function::Sha256, b"")), "web", None),
            (named(AC, "0f"), "", Some("ac/0f")),
            (named(AC, "0f"), "web/app", Some("web/app/ac/0f")),
            (named(TURBO, "team/0f"), "web", Some("web/v8/artifacts/team/0f")),
            (named(TURBO, "team/0f"), "", Some("v8/artifacts/team/0f")),
            (named(BLOB, "a/b"), "web", Some("blob/web/a/b")),
            (named(S3, "a/b"), "bucket", Some("s3/bucket/a/b")),
        ] {
            let name = key.object_name(&scope(namespace), Names::Paths).expect("portable");
            let content = format!("cas/{}", Digest::of(Function::Sha256, b"").hex());
            assert_eq!(name.as_str(), expected.unwrap_or(&content));
        }
    }

    #[test]
    fn a_name_that_no_store_carries_has_no_object() {
        for name in ["a//b", "a/./b", "../a", "a/", "/a", "a\u{1}b", &"x".repeat(901)] {
            let key = Key::Named { space: BLOB, name: Name::parse(name).expect("valid locally") };
            assert_eq!(key.object_name(&scope("ns"), Names::Sharded), None, "{name}");
        }
    }

    #[test]
    fn objects_lead_back_to_their_names_and_sort_as_they_do() {
        let scope = scope("ns");
        for space in [AC, BLOB, TURBO, S3] {
            for names in [Names::Sharded, Names::Flat, Names::Paths] {
                let mut given = ["a", "ab", "abc/d", "a-", "a0", "aé", "é", "éa", "b", "ab/ab/ab", "zz"];
                given.sort_unstable();
                let mut before = String::new();
                for name in given {
                    let name = Name::parse(name).expect("valid");
                    let key = Key::Named { space, name: name.clone() };
                    let object = key.object_name(&scope, names).expect("portable");
                    assert_eq!(space.name_of(&scope, &object, names).as_ref(), Some(&name), "{object}");
                    assert!(before.as_str() < object.as_str(), "{before} then {object}");
                    for end in (0..name.as_str().len()).filter(|end| name.as_str().is_char_boundary(*end)) {
                        let prefix = space.object_prefix(&scope, &name.as_str()[..end], names);
                        assert!(object.as_str().starts_with(&prefix), "{object} begins with {prefix}");
                    }
                    before = object.to_string();
                }
            }
        }
        for (space, object) in [
            (AC, "ac/ab/cd"),
            (AC, "ac/abc"),
            (AC, "cas/ab/abc"),
            (BLOB, "blob/other/x"),
            (BLOB, "blob/ns"),
            (TURBO, "team/0123.tag"),
        ] {
            let object = ObjectName::parse(object).expect("portable");
            assert_eq!(space.name_of(&scope, &object, Names::Sharded), None, "{object}");
        }
    }
}
