//! The reader against an independent writer and decoder (prost), and against hostile bytes.

use proptest::prelude::*;
use prost::Message;

use super::*;

#[derive(Clone, PartialEq, Message)]
struct ActionResult {
    #[prost(message, repeated, tag = "2")]
    output_files: Vec<OutputFile>,
    #[prost(message, repeated, tag = "3")]
    output_directories: Vec<OutputDirectory>,
    #[prost(int32, tag = "4")]
    exit_code: i32,
    #[prost(bytes = "vec", tag = "5")]
    stdout_raw: Vec<u8>,
    #[prost(message, optional, tag = "6")]
    stdout_digest: Option<WireDigest>,
    #[prost(bytes = "vec", tag = "7")]
    stderr_raw: Vec<u8>,
    #[prost(message, optional, tag = "8")]
    stderr_digest: Option<WireDigest>,
    #[prost(message, repeated, tag = "12")]
    output_symlinks: Vec<OutputSymlink>,
    /// A field that no version of the API has.
    #[prost(string, tag = "900")]
    future: String,
}

#[derive(Clone, PartialEq, Message)]
struct OutputFile {
    #[prost(string, tag = "1")]
    path: String,
    #[prost(message, optional, tag = "2")]
    digest: Option<WireDigest>,
    #[prost(bytes = "vec", tag = "5")]
    contents: Vec<u8>,
}

#[derive(Clone, PartialEq, Message)]
struct OutputDirectory {
    #[prost(string, tag = "1")]
    path: String,
    #[prost(message, optional, tag = "3")]
    tree_digest: Option<WireDigest>,
    #[prost(message, optional, tag = "5")]
    root_directory_digest: Option<WireDigest>,
}

#[derive(Clone, PartialEq, Message)]
struct OutputSymlink {
    #[prost(string, tag = "1")]
    path: String,
    #[prost(string, tag = "2")]
    target: String,
}

#[derive(Clone, PartialEq, Message)]
struct WireDigest {
    #[prost(string, tag = "1")]
    hash: String,
    #[prost(int64, tag = "2")]
    size_bytes: i64,
}

#[derive(Clone, PartialEq, Message)]
struct Tree {
    #[prost(message, optional, tag = "1")]
    root: Option<Directory>,
    #[prost(message, repeated, tag = "2")]
    children: Vec<Directory>,
}

#[derive(Clone, PartialEq, Message)]
struct Directory {
    #[prost(message, repeated, tag = "1")]
    files: Vec<Node>,
    #[prost(message, repeated, tag = "2")]
    directories: Vec<Node>,
}

#[derive(Clone, PartialEq, Message)]
struct Node {
    #[prost(string, tag = "1")]
    name: String,
    #[prost(message, optional, tag = "2")]
    digest: Option<WireDigest>,
}

fn blob(seed: u8) -> Digest {
    Digest::of(Function::Sha256, &[seed])
}

fn wire(seed: u8, size: i64) -> Option<WireDigest> {
    Some(WireDigest { hash: blob(seed).hex(), size_bytes: size })
}

fn empty() -> Option<WireDigest> {
    Some(WireDigest { hash: Digest::of(Function::Sha256, b"").hex(), size_bytes: 0 })
}

fn file(path: &str, digest: Option<WireDigest>) -> OutputFile {
    OutputFile { path: path.into(), digest, contents: Vec::new() }
}

fn found(result: &ActionResult) -> Option<Vec<(Digest, u64, bool)>> {
    match action_result(Function::Sha256, &result.encode_to_vec()) {
        Links::Opaque => None,
        Links::Known(links) => Some(links.iter().map(|link| (link.digest, link.size, link.tree)).collect()),
    }
}

#[test]
fn everything_that_is_named_is_found_once_and_the_empty_blob_is_not() {
    let inlined = OutputFile { path: "inlined".into(), digest: wire(9, 1), contents: vec![9] };
    let result = ActionResult {
        output_files: vec![file("a", wire(1, 10)), file("../b", wire(1, 10)), file("c", empty()), inlined],
        output_directories: vec![OutputDirectory {
            path: String::new(),
            tree_digest: wire(2, 20),
            root_directory_digest: wire(3, 30),
        }],
        stdout_digest: wire(4, 40),
        stderr_digest: wire(5, 50),
        output_symlinks: vec![OutputSymlink { path: "l".into(), target: "/abs".into() }],
        future: "ok".into(),
        ..ActionResult::default()
    };
    let expected = [(2, 20, true), (3, 30, false), (4, 40, false), (5, 50, false), (1, 10, false)];
    let mut expected: Vec<_> =
        expected.map(|(seed, size, tree)| (blob(seed), size, tree)).into_iter().collect();
    let mut seen = found(&result).expect("strict");
    seen.sort();
    expected.sort();
    assert_eq!(seen, expected);
}

#[test]
fn a_failed_action_without_outputs_names_nothing() {
    assert_eq!(found(&ActionResult { exit_code: -1, ..ActionResult::default() }), Some(vec![]));
}

#[test]
fn what_is_not_strictly_an_action_result_is_opaque() {
    let result = |file: OutputFile| ActionResult { output_files: vec![file], ..ActionResult::default() };
    let bad = |hash: &str, size_bytes| Some(WireDigest { hash: hash.into(), size_bytes });
    let hex = blob(1).hex();
    let directory =
        |tree_digest| OutputDirectory { path: "d".into(), tree_digest, root_directory_digest: wire(1, 1) };
    for (name, result) in [
        ("an absolute path", result(file("/a", wire(1, 1)))),
        ("an empty path", result(file("", wire(1, 1)))),
        ("no digest", result(file("a", None))),
        ("an empty digest", result(file("a", bad("", 0)))),
        ("a short hash", result(file("a", bad(&hex[1..], 1)))),
        ("an upper-case hash", result(file("a", bad(&hex.to_uppercase(), 1)))),
        ("a negative size", result(file("a", bad(&hex, -1)))),
        ("a blob of no bytes that is not the empty blob", result(file("a", bad(&hex, 0)))),
        (
            "two sizes of one blob",
            ActionResult {
                output_files: vec![file("a", wire(1, 1)), file("b", wire(1, 2))],
                ..ActionResult::default()
            },
        ),
        (
            "a directory without a tree",
            ActionResult { output_directories: vec![directory(None)], ..ActionResult::default() },
        ),
        (
            "a symlink without a target",
            ActionResult {
                output_symlinks: vec![OutputSymlink { path: "l".into(), target: String::new() }],
                ..ActionResult::default()
            },
        ),
        ("only unknown fields", ActionResult { future: "x".into(), ..ActionResult::default() }),
        ("nothing", ActionResult::default()),
    ] {
        assert_eq!(found(&result), None, "{name}");
    }
    let good = ActionResult { stdout_digest: wire(1, 1), ..ActionResult::default() }.encode_to_vec();
    for (name, bytes) in [
        ("ccache 4.7", &b"cCrS\x01\x00\x01\x00result"[..]),
        ("ccache 4.14", b"\xcc\xac\x01\x01\x00\x02\x05ccache"),
        ("text", b"hello, this is not a message"),
        ("zeroes", &[0; 32]),
        ("gzip", b"\x1f\x8b\x08\x00\x00\x00\x00\x00"),
        ("zstd", b"\x28\xb5\x2f\xfd\x04\x00"),
        ("cut short", &good[..good.len() - 1]),
        ("given twice", &[&good[..], &good[..]].concat()),
        ("followed by something", &[&good[..], b"\0"].concat()),
    ] {
        assert_eq!(action_result(Function::Sha256, bytes), Links::Opaque, "{name}");
    }
}

#[test]
fn a_tree_names_the_files_of_all_its_directories() {
    let node = |name: &str, digest| Node { name: name.into(), digest };
    let message = Tree {
        root: Some(Directory {
            files: vec![node("a", wire(1, 10)), node("e", empty())],
            directories: vec![node("d", wire(7, 70))],
        }),
        children: vec![Directory {
            files: vec![node("b", wire(2, 20)), node("a", wire(1, 10))],
            directories: vec![],
        }],
    };
    let links = tree(Function::Sha256, &message.encode_to_vec()).expect("strict");
    assert_eq!(
        links.iter().map(|link| (link.digest, link.size, link.tree)).collect::<Vec<_>>(),
        [(blob(1), 10, false), (blob(2), 20, false)]
    );
    assert_eq!(tree(Function::Sha256, b""), Some(vec![]), "the empty tree");
    let nameless = Tree {
        root: Some(Directory { files: vec![node("", wire(1, 1))], directories: vec![] }),
        children: vec![],
    };
    assert_eq!(tree(Function::Sha256, &nameless.encode_to_vec()), None);
    assert_eq!(tree(Function::Sha256, b"not a tree"), None);
}

#[test]
fn more_links_than_the_bound_are_opaque_and_so_are_more_bytes() {
    let files = |count: u32| {
        let name = |n: u32| {
            Some(WireDigest { hash: Digest::of(Function::Sha256, &n.to_le_bytes()).hex(), size_bytes: 4 })
        };
        let output_files = (0..count).map(|n| file("f", name(n))).collect();
        found(&ActionResult { output_files, ..ActionResult::default() })
    };
    assert_eq!(files(LINKS_MAX as u32).map(|links| links.len()), Some(LINKS_MAX));
    assert_eq!(files(LINKS_MAX as u32 + 1), None);
    let long = ActionResult { stdout_raw: vec![0; PARSED_BYTES_MAX], ..ActionResult::default() };
    assert_eq!(found(&long), None);
}

proptest! {
    #[test]
    fn whatever_the_bytes_nothing_panics_and_prost_agrees(bytes in proptest::collection::vec(any::<u8>(), 0..200)) {
        let _ = tree(Function::Sha256, &bytes);
        if let Links::Known(links) = action_result(Function::Sha256, &bytes) {
            prop_assert!(ActionResult::decode(&bytes[..]).is_ok());
            prop_assert!(links.len() <= bytes.len());
        }
    }

    /// Near misses: a good message with one byte changed is read alike by us and by prost, or is opaque.
    #[test]
    fn a_damaged_message_is_opaque_or_reads_as_prost_reads_it(
        seeds in proptest::collection::vec(any::<u8>(), 1..5),
        place in any::<proptest::sample::Index>(),
        byte in any::<u8>(),
    ) {
        let result = ActionResult {
            output_files: seeds.iter().map(|seed| file("some/path", wire(*seed, 1 + i64::from(*seed)))).collect(),
            stderr_digest: wire(0, 7).filter(|_| !seeds.contains(&0)),
            ..ActionResult::default()
        };
        let mut bytes = result.encode_to_vec();
        let place = place.index(bytes.len());
        bytes[place] = byte;
        if let Links::Known(links) = action_result(Function::Sha256, &bytes) {
            let decoded = ActionResult::decode(&bytes[..]).expect("well-formed");
            let mut named: Vec<_> = decoded.output_files.iter()
                .filter(|file| file.contents.is_empty())
                .filter_map(|file| file.digest.clone())
                .chain(decoded.output_directories.iter().filter_map(|directory| directory.tree_digest.clone()))
                .chain(decoded.output_directories.iter().filter_map(|directory| directory.root_directory_digest.clone()))
                .chain(decoded.stdout_digest)
                .chain(decoded.stderr_digest)
                .filter(|digest| digest.size_bytes != 0)
                .map(|digest| (digest.hash, digest.size_bytes as u64))
                .collect();
            named.sort();
            named.dedup();
            let mut seen: Vec<_> = links.iter().map(|link| (link.digest.hex(), link.size)).collect();
            seen.sort();
            prop_assert_eq!(seen, named);
        }
    }
}
