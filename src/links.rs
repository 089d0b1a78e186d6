//! What an action result names: the blobs without which it is no hit.
//!
//! [`action_result`] and [`tree`] read the two messages of the Remote Execution API that name blobs. They are read
//! field by field rather than decoded into structures: two hostile bytes can stand for a message of a hundred, and
//! these bytes come from clients and from buckets that others write. Nothing is kept but the links found, at most
//! [`LINKS_MAX`] of them, from at most [`PARSED_BYTES_MAX`] bytes, without recursion.
//!
//! Reading is strict, because other tools keep other things under the same names (ccache's bazel layout): the whole
//! body must be well-formed, its known fields of their types, every digest 64 lower-case hex digits with a size, every
//! path relative and not empty. Unknown fields are allowed: the API grows. What fails any of this is not an error but
//! [`Links::Opaque`].
//!
//! Left out on purpose: `..` in a path is allowed (the API does not forbid it, some clients send it, and nothing is
//! ever written under these paths here), and so is the empty path of an output directory (the API's word for the
//! whole working directory).

pub(crate) mod fields;

use std::collections::HashMap;
use std::collections::hash_map::Entry;
use std::sync::Arc;

use crate::digest::{Digest, Function};
use fields::{Fields, Malformed, Parsed, Value};

/// One blob that an entry names.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash)]
pub struct Link {
    /// Its digest.
    pub digest: Digest,
    /// Its size, as the naming entry says.
    pub size: u64,
    /// Whether the blob is a `Tree` that itself names blobs (see [`tree`]).
    pub tree: bool,
}

/// What an entry of a linked space names.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Links {
    /// It doesn't parse strictly: bytes that are kept and returned, and name nothing.
    Opaque,
    /// These, each once, the empty blob left out. May be empty.
    Known(Arc<[Link]>),
}

/// An entry that names more blobs than this is opaque (a tree: unreadable).
pub const LINKS_MAX: usize = 100_000;

/// A body over this is opaque (a tree: unreadable) without being read. 100,000 outputs take about 12 MiB.
pub const PARSED_BYTES_MAX: usize = 16 << 20;

/// The blobs that a serialized `ActionResult` names: output files that are not inlined, trees, stdout and stderr. Its
/// digests are of `function`: they don't say so themselves.
///
/// An empty body, and one without a single field of an action result, are opaque: no executor writes them, and
/// nothing would tell them from bytes of another kind.
pub fn action_result(function: Function, bytes: &[u8]) -> Links {
    match parse_action_result(function, bytes) {
        Ok(links) => Links::Known(links.into()),
        Err(Malformed) => Links::Opaque,
    }
}

/// The files that a serialized `Tree` names, each once, the empty blob left out. The directories are in the tree
/// itself. `None` when it can't be read: then nobody can say that the tree is complete.
pub fn tree(function: Function, bytes: &[u8]) -> Option<Vec<Link>> {
    parse_tree(function, bytes).ok()
}

// === messages ===

fn parse_action_result(function: Function, bytes: &[u8]) -> Parsed<Vec<Link>> {
    let mut found = Found::of(function);
    let mut recognised = false;
    let mut seen = Once::default();
    let mut fields = Fields::of(bytes)?;
    while let Some((number, value)) = fields.next()? {
        match number {
            2 => output_file(value.bytes()?, &mut found)?,
            3 => output_directory(value.bytes()?, &mut found)?,
            10..=12 => output_symlink(value.bytes()?)?,
            // exit_code; the standard streams inlined.
            4 => drop(value.varint()?),
            5 | 7 => drop(value.bytes()?),
            // The standard streams as blobs.
            6 | 8 => {
                seen.mark(number)?;
                found.add(digest(found.function, value.bytes()?)?, false)?;
            }
            // execution_metadata: no part of it names a blob.
            9 => well_formed(value.bytes()?)?,
            _ => continue,
        }
        recognised = true;
    }
    if recognised { Ok(found.links) } else { Err(Malformed) }
}

fn output_file(bytes: &[u8], found: &mut Found) -> Parsed<()> {
    let (mut path, mut blob, mut inlined) = ("", None, false);
    let mut seen = Once::default();
    let mut fields = Fields::of(bytes)?;
    while let Some((number, value)) = fields.next()? {
        match number {
            1 => path = value.text()?,
            2 => {
                seen.mark(number)?;
                blob = Some(digest(found.function, value.bytes()?)?);
            }
            4 => drop(value.varint()?),
            5 => inlined = !value.bytes()?.is_empty(),
            7 => well_formed(value.bytes()?)?,
            _ => {}
        }
    }
    relative(path, false)?;
    match blob {
        _ if inlined => Ok(()),
        Some(blob) => found.add(blob, false),
        None => Err(Malformed),
    }
}

fn output_directory(bytes: &[u8], found: &mut Found) -> Parsed<()> {
    let (mut path, mut tree, mut root) = ("", None, None);
    let mut seen = Once::default();
    let mut fields = Fields::of(bytes)?;
    while let Some((number, value)) = fields.next()? {
        match number {
            1 => path = value.text()?,
            3 => {
                seen.mark(number)?;
                tree = Some(digest(found.function, value.bytes()?)?);
            }
            4 => drop(value.varint()?),
            5 => {
                seen.mark(number)?;
                root = Some(digest(found.function, value.bytes()?)?);
            }
            _ => {}
        }
    }
    relative(path, true)?;
    // A directory without a tree could only be followed blob by blob; what can't be shown complete is no hit.
    found.add(tree.ok_or(Malformed)?, true)?;
    root.map_or(Ok(()), |root| found.add(root, false))
}

fn output_symlink(bytes: &[u8]) -> Parsed<()> {
    let (mut path, mut target) = ("", "");
    let mut fields = Fields::of(bytes)?;
    while let Some((number, value)) = fields.next()? {
        match number {
            1 => path = value.text()?,
            2 => target = value.text()?,
            4 => well_formed(value.bytes()?)?,
            _ => {}
        }
    }
    relative(path, false)?;
    if target.is_empty() { Err(Malformed) } else { Ok(()) }
}

fn parse_tree(function: Function, bytes: &[u8]) -> Parsed<Vec<Link>> {
    let mut found = Found::of(function);
    let mut seen = Once::default();
    let mut fields = Fields::of(bytes)?;
    while let Some((number, value)) = fields.next()? {
        match number {
            1 => {
                seen.mark(number)?;
                directory(value.bytes()?, &mut found)?;
            }
            2 => directory(value.bytes()?, &mut found)?,
            _ => {}
        }
    }
    Ok(found.links)
}

fn directory(bytes: &[u8], found: &mut Found) -> Parsed<()> {
    let mut fields = Fields::of(bytes)?;
    while let Some((number, value)) = fields.next()? {
        match number {
            1 => found.add(node(found.function, value.bytes()?)?, false)?,
            // A directory node: its message is a child of the same tree.
            2 => drop(node(found.function, value.bytes()?)?),
            // A symlink node; node_properties.
            3 | 5 => well_formed(value.bytes()?)?,
            _ => {}
        }
    }
    Ok(())
}

/// A `FileNode` or a `DirectoryNode`: name 1, digest 2.
fn node(function: Function, bytes: &[u8]) -> Parsed<(Digest, u64)> {
    let (mut name, mut blob) = ("", None);
    let mut seen = Once::default();
    let mut fields = Fields::of(bytes)?;
    while let Some((number, value)) = fields.next()? {
        match number {
            1 => name = value.text()?,
            2 => {
                seen.mark(number)?;
                blob = Some(digest(function, value.bytes()?)?);
            }
            _ => {}
        }
    }
    if name.is_empty() { Err(Malformed) } else { blob.ok_or(Malformed) }
}

fn digest(function: Function, bytes: &[u8]) -> Parsed<(Digest, u64)> {
    let (mut hash, mut size) = ("", 0);
    let mut fields = Fields::of(bytes)?;
    while let Some((number, value)) = fields.next()? {
        match (number, value) {
            (1, value) => hash = value.text()?,
            (2, Value::Varint(bits)) => size = bits,
            (2, Value::Fixed | Value::Bytes(_)) => return Err(Malformed),
            _ => {}
        }
    }
    // The size is an int64: a negative one has the top bit set.
    i64::try_from(size).map_err(|_| Malformed)?;
    let digest = Digest::parse(function, hash).map_err(|_| Malformed)?;
    if digest.is_empty_blob() == (size == 0) { Ok((digest, size)) } else { Err(Malformed) }
}

fn relative(path: &str, empty_allowed: bool) -> Parsed<()> {
    let bad = path.starts_with('/') || path.contains('\0') || (path.is_empty() && !empty_allowed);
    if bad { Err(Malformed) } else { Ok(()) }
}

fn well_formed(bytes: &[u8]) -> Parsed<()> {
    let mut fields = Fields::of(bytes)?;
    while fields.next()?.is_some() {}
    Ok(())
}

// === impl Found ===

/// The links so far, each digest once.
#[derive(Default)]
struct Found {
    function: Function,
    links: Vec<Link>,
    places: HashMap<Digest, usize>,
}

impl Found {
    fn of(function: Function) -> Self {
        Self { function, links: Vec::new(), places: HashMap::new() }
    }

    fn add(&mut self, (digest, size): (Digest, u64), tree: bool) -> Parsed<()> {
        if size == 0 {
            return Ok(());
        }
        match self.places.entry(digest) {
            Entry::Occupied(place) => {
                let link = &mut self.links[*place.get()];
                link.tree |= tree;
                // One digest can't have two sizes; one of them is never served.
                if link.size == size { Ok(()) } else { Err(Malformed) }
            }
            Entry::Vacant(_) if self.links.len() == LINKS_MAX => Err(Malformed),
            Entry::Vacant(place) => {
                place.insert(self.links.len());
                self.links.push(Link { digest, size, tree });
                Ok(())
            }
        }
    }
}

// === impl Once ===

/// Message fields that may be given once. Decoders merge repeated ones, serializers never write them: what does is
/// taken for something else.
#[derive(Default)]
struct Once(u64);

impl Once {
    fn mark(&mut self, number: u32) -> Parsed<()> {
        let bit = 1 << number;
        if self.0 & bit != 0 {
            return Err(Malformed);
        }
        self.0 |= bit;
        Ok(())
    }
}

#[cfg(test)]
mod tests;
