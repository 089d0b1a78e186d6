//! Action results and trees: what they name, what is put into them, and their form in JSON.

use std::collections::BTreeMap;

use bazel_remote_apis::build::bazel::remote::execution::v2 as wire;
use bytes::Bytes;
use prost::Message as _;

use super::FUNCTIONS;
use crate::digest::{Digest, Function};
use crate::error::Kind;
use crate::links::{self, Link, Links};
use crate::protocol::reapi::action_cache::{Parts, Wishes, completed};
use crate::protocol::reapi::messages::{from_json, to_json};
use crate::protocol::reapi::requests::Blob;

/// Blobs by their digests: how long, and whether a tree.
type Named = BTreeMap<Digest, (u64, bool)>;

/// A result, or a tree, names what it names when the library has read it, and what is put into a result is all that
/// changes of it.
///
/// # Panics
/// If that is not so.
pub fn action_result(bytes: &[u8]) {
    for function in FUNCTIONS {
        named_by_result(function, bytes);
        named_by_tree(function, bytes);
        inlined(function, bytes);
    }
}

/// JSON that is taken comes back, and is then taken as the very same bytes; a stored result that has a form in JSON is
/// the same result when it comes back.
///
/// # Panics
/// If that is not so.
pub fn action_result_json(bytes: &[u8]) {
    for function in FUNCTIONS {
        match from_json(function, bytes) {
            Ok(binary) => comes_back(function, &binary),
            Err(error) => assert_eq!(error.kind(), Kind::Invalid, "{error}"),
        }
        let Some(json) = to_json(function, bytes) else { continue };
        let mut read = wire::ActionResult::decode(bytes).expect("it has a form in JSON");
        if read == wire::ActionResult::default() {
            read.execution_metadata = Some(wire::ExecutedActionMetadata::default());
        }
        let binary = from_json(function, &json).expect("our own JSON");
        assert_eq!(wire::ActionResult::decode(&binary[..]).expect("protobuf"), read);
        comes_back(function, &binary);
    }
}

fn comes_back(function: Function, binary: &[u8]) {
    let json = to_json(function, binary).expect("what was taken can be had again");
    let again = from_json(function, &json).expect("our own JSON");
    assert_eq!(again, binary, "{}", String::from_utf8_lossy(&json));
}

// === what they name ===

fn named_by_result(function: Function, bytes: &[u8]) {
    let Ok(read) = wire::ActionResult::decode(bytes) else { return };
    let expected = result_names(function, &read);
    // Stricter than the library: what it merges or puts up with may be opaque, and nothing that is not.
    if let Links::Known(links) = links::action_result(function, bytes) {
        assert_eq!(Some(by_digest(&links)), expected, "{read:?}");
    }
    let written = read.encode_to_vec();
    let ours = match links::action_result(function, &written) {
        Links::Known(links) => Some(by_digest(&links)),
        Links::Opaque => None,
    };
    assert_eq!(ours, expected.filter(|_| !written.is_empty()), "{read:?}");
}

fn named_by_tree(function: Function, bytes: &[u8]) {
    let ours = links::tree(function, bytes);
    let Ok(read) = wire::Tree::decode(bytes) else { return };
    let expected = tree_names(function, &read);
    if let Some(links) = ours {
        assert_eq!(Some(by_digest(&links)), expected, "{read:?}");
    }
    let ours = links::tree(function, &read.encode_to_vec());
    assert_eq!(ours.map(|links| by_digest(&links)), expected, "{read:?}");
}

fn by_digest(links: &[Link]) -> Named {
    let named: Named = links.iter().map(|link| (link.digest, (link.size, link.tree))).collect();
    assert_eq!(named.len(), links.len(), "a blob is named twice");
    named
}

#[expect(deprecated, reason = "clients still write the fields of earlier versions")]
fn result_names(function: Function, result: &wire::ActionResult) -> Option<Named> {
    let mut named = Named::new();
    for file in &result.output_files {
        is_path(&file.path, false).then_some(())?;
        let blob = file.digest.as_ref().map(|digest| blob(function, digest));
        match blob {
            Some(blob) if file.contents.is_empty() => name(&mut named, blob?, false)?,
            Some(blob) => drop(blob?),
            None if file.contents.is_empty() => return None,
            None => {}
        }
    }
    for directory in &result.output_directories {
        is_path(&directory.path, true).then_some(())?;
        name(&mut named, blob(function, directory.tree_digest.as_ref()?)?, true)?;
        if let Some(digest) = &directory.root_directory_digest {
            name(&mut named, blob(function, digest)?, false)?;
        }
    }
    let symlinks = [&result.output_symlinks, &result.output_file_symlinks, &result.output_directory_symlinks];
    for link in symlinks.into_iter().flatten() {
        (is_path(&link.path, false) && !link.target.is_empty()).then_some(())?;
    }
    for digest in [&result.stdout_digest, &result.stderr_digest].into_iter().flatten() {
        name(&mut named, blob(function, digest)?, false)?;
    }
    Some(named)
}

fn tree_names(function: Function, tree: &wire::Tree) -> Option<Named> {
    let mut named = Named::new();
    for directory in tree.root.iter().chain(&tree.children) {
        for node in &directory.files {
            let blob = blob(function, node.digest.as_ref()?)?;
            (!node.name.is_empty()).then_some(())?;
            name(&mut named, blob, false)?;
        }
        for node in &directory.directories {
            blob(function, node.digest.as_ref()?)?;
            (!node.name.is_empty()).then_some(())?;
        }
    }
    Some(named)
}

fn name(named: &mut Named, blob: Blob, is_tree: bool) -> Option<()> {
    if blob.size == 0 {
        return Some(());
    }
    let (size, tree) = named.entry(blob.digest).or_insert((blob.size, false));
    *tree |= is_tree;
    (*size == blob.size).then_some(())
}

fn blob(function: Function, digest: &wire::Digest) -> Option<Blob> {
    Blob::named(function, &digest.hash, digest.size_bytes).ok()
}

fn is_path(path: &str, may_be_empty: bool) -> bool {
    !path.starts_with('/') && !path.contains('\0') && (may_be_empty || !path.is_empty())
}

// === what is put into them ===

/// The contents of a blob, as far as there is one.
fn found(blob: &Blob) -> Option<Bytes> {
    let is_here = blob.size <= 1000 && !blob.digest.hash()[0].is_multiple_of(4);
    is_here.then(|| Bytes::from(vec![b'x'; blob.size as usize]))
}

fn inlined(function: Function, bytes: &[u8]) {
    let bytes = Bytes::copy_from_slice(bytes);
    let read = wire::ActionResult::decode(&bytes[..]).ok();
    let is_known = links::action_result(function, &bytes) != Links::Opaque;
    let paths: Vec<&str> = read.iter().flat_map(|read| &read.output_files).map(|file| &*file.path).collect();
    for (stdout, stderr, step) in [(true, true, 1), (true, false, 2), (false, true, usize::MAX)] {
        let files = paths.iter().copied().step_by(step).collect();
        let wishes = Wishes { stdout, stderr, files };
        let parts = Parts::of(function, &bytes, &wishes);
        assert!(!is_known || parts.is_ok(), "a result that is a hit has no answer");
        let Ok(parts) = parts else { continue };
        let contents = parts.blobs().map(found).collect();
        let answer = parts.put_in(&bytes, contents).concat();
        let Some(read) = read.as_ref().filter(|_| is_known) else { continue };
        let expected = with_wishes(function, read.clone(), &wishes);
        assert_eq!(wire::ActionResult::decode(&answer[..]).expect("protobuf"), expected);
        assert_ne!(links::action_result(function, &answer), Links::Opaque);
    }
    let Some(mut read) = read else { return };
    read.execution_metadata.get_or_insert_default();
    let completed = completed(bytes).concat();
    assert_eq!(wire::ActionResult::decode(&completed[..]).expect("protobuf"), read);
}

fn with_wishes(
    function: Function,
    mut result: wire::ActionResult,
    wishes: &Wishes<'_>,
) -> wire::ActionResult {
    let contents = |digest: Option<&wire::Digest>| {
        let blob = blob(function, digest?)?;
        found(&blob).filter(|bytes| !bytes.is_empty())
    };
    for file in &mut result.output_files {
        if file.contents.is_empty() && wishes.files.contains(&*file.path) {
            file.contents = contents(file.digest.as_ref()).unwrap_or_default().into();
        }
    }
    if wishes.stdout && result.stdout_raw.is_empty() {
        result.stdout_raw = contents(result.stdout_digest.as_ref()).unwrap_or_default().into();
    }
    if wishes.stderr && result.stderr_raw.is_empty() {
        result.stderr_raw = contents(result.stderr_digest.as_ref()).unwrap_or_default().into();
    }
    result.execution_metadata.get_or_insert_default();
    result
}
