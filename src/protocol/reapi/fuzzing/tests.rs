//! The short form: what clients send, damaged a little, and bytes of no kind at all.

use bazel_remote_apis::build::bazel::remote::execution::v2 as wire;
use bytes::Bytes;
use proptest::collection::vec;
use proptest::prelude::*;
use proptest::sample::{Index, select};
use prost::Message;

use super::*;
use crate::digest::Digest;
use crate::protocol::reapi::messages::to_json;
use crate::protocol::reapi::zstd::{Framer, compress};

/// What befalls a message on its way.
#[derive(Debug, Clone)]
enum Damage {
    Put(Index, u8),
    Insert(Index, Vec<u8>),
    Cut(Index, Index),
    Repeat(Index, Index),
}

fn damage() -> impl Strategy<Value = Damage> {
    prop_oneof![
        (any::<Index>(), any::<u8>()).prop_map(|(at, byte)| Damage::Put(at, byte)),
        (any::<Index>(), vec(any::<u8>(), 1..4)).prop_map(|(at, bytes)| Damage::Insert(at, bytes)),
        any::<(Index, Index)>().prop_map(|(from, to)| Damage::Cut(from, to)),
        any::<(Index, Index)>().prop_map(|(from, to)| Damage::Repeat(from, to)),
    ]
}

fn damaged(mut bytes: Vec<u8>, damages: &[Damage]) -> Vec<u8> {
    for damage in damages {
        let at = |index: &Index| index.index(bytes.len() + 1);
        match damage {
            Damage::Put(index, byte) => {
                let place = index.index(bytes.len().max(1));
                bytes.get_mut(place).into_iter().for_each(|place| *place = *byte);
            }
            Damage::Insert(index, more) => drop(bytes.splice(at(index)..at(index), more.iter().copied())),
            Damage::Cut(a, b) => drop(bytes.drain(at(a).min(at(b))..at(a).max(at(b)))),
            Damage::Repeat(a, b) => bytes.extend_from_within(at(a).min(at(b))..at(a).max(at(b))),
        }
    }
    bytes
}

/// Bytes as they should be, mostly with some damage, and now and then others.
fn hostile(good: impl Strategy<Value = Vec<u8>>) -> impl Strategy<Value = Vec<u8>> {
    prop_oneof![
        8 => (good, vec(damage(), 0..4)).prop_map(|(bytes, damages)| damaged(bytes, &damages)),
        1 => vec(any::<u8>(), 0..300),
    ]
}

// === messages ===

fn digest() -> impl Strategy<Value = wire::Digest> {
    prop_oneof![
        9 => (0..6u8).prop_map(|seed| (Digest::of(Function::Sha256, &[seed]).hex(), 1 + i64::from(seed))),
        1 => (0..6u8, any::<i64>()).prop_map(|(seed, size)| (Digest::of(Function::Sha256, &[seed]).hex(), size)),
        1 => select(&FUNCTIONS[..]).prop_map(|function| (Digest::of(function, b"").hex(), 0)),
        1 => ("[0-9a-fA-F]{0,64}", any::<i64>()),
    ]
    .prop_map(|(hash, size_bytes)| wire::Digest { hash, size_bytes })
}

fn path() -> impl Strategy<Value = String> {
    prop_oneof![8 => "[a-c](/[a-c]){0,2}", 1 => "/?[a\u{0}é]{0,2}"]
}

fn properties() -> impl Strategy<Value = Option<wire::NodeProperties>> {
    let properties = (0..4_102_444_800i64, 0..1_000_000_000i32, any::<u32>());
    proptest::option::of(properties.prop_map(|(seconds, nanos, value)| {
        // The types of time have no name here: JSON has them.
        let mtime = chrono::DateTime::from_timestamp(seconds, nanos as u32).map(|time| time.to_rfc3339());
        let json = serde_json::json!({"mtime": mtime, "unixMode": value});
        serde_json::from_value(json).expect("node properties")
    }))
}

fn output_file() -> impl Strategy<Value = wire::OutputFile> {
    let parts = (path(), proptest::option::weighted(0.9, digest()), any::<bool>(), "x{0,2}", properties());
    parts.prop_map(|(path, digest, is_executable, contents, node_properties)| wire::OutputFile {
        path,
        digest,
        is_executable,
        contents: contents.into(),
        node_properties,
    })
}

fn result() -> impl Strategy<Value = wire::ActionResult> {
    let directory =
        (path(), digest(), proptest::option::weighted(0.1, digest())).prop_map(|(path, tree, root)| {
            wire::OutputDirectory {
                path,
                tree_digest: Some(tree),
                root_directory_digest: root,
                ..Default::default()
            }
        });
    let streams = ("x{0,2}", proptest::option::of(digest()), "x{0,2}", proptest::option::of(digest()));
    let metadata = proptest::option::of("[a-z]{0,3}").prop_map(|worker| {
        worker.map(|worker| wire::ExecutedActionMetadata { worker, ..Default::default() })
    });
    (vec(output_file(), 0..3), vec(directory, 0..2), any::<i32>(), streams, metadata).prop_map(
        |(
            output_files,
            output_directories,
            exit_code,
            (out, stdout_digest, err, stderr_digest),
            metadata,
        )| {
            wire::ActionResult {
                output_files,
                output_directories,
                exit_code,
                stdout_raw: out.into(),
                stdout_digest,
                stderr_raw: err.into(),
                stderr_digest,
                execution_metadata: metadata,
                ..Default::default()
            }
        },
    )
}

fn directory() -> impl Strategy<Value = wire::Directory> {
    let file = ("[a-c]{0,2}", digest()).prop_map(|(name, digest)| wire::FileNode {
        name,
        digest: Some(digest),
        ..Default::default()
    });
    let child = ("[a-c]{0,2}", digest())
        .prop_map(|(name, digest)| wire::DirectoryNode { name, digest: Some(digest) });
    (vec(file, 0..3), vec(child, 0..3), properties()).prop_map(|(files, directories, node_properties)| {
        wire::Directory { files, directories, node_properties, ..Default::default() }
    })
}

fn tree() -> impl Strategy<Value = wire::Tree> {
    (proptest::option::of(directory()), vec(directory(), 0..3))
        .prop_map(|(root, children)| wire::Tree { root, children })
}

fn request() -> impl Strategy<Value = Vec<u8>> {
    let function = prop_oneof![Just(0), Just(1), Just(9), any::<i32>()];
    let one = (digest(), "x{0,9}", 0..3i32).prop_map(|(digest, data, compressor)| {
        wire::batch_update_blobs_request::Request { digest: Some(digest), data: data.into(), compressor }
    });
    let parts = (path(), vec(digest(), 0..4), vec(0..4i32, 0..3), vec(one, 0..3), result(), function, 0..4);
    parts.prop_map(|(instance_name, digests, compressors, requests, result, digest_function, method)| {
        match method {
            0 => wire::FindMissingBlobsRequest { instance_name, blob_digests: digests, digest_function }
                .encode_to_vec(),
            1 => wire::BatchReadBlobsRequest {
                instance_name,
                digests,
                acceptable_compressors: compressors,
                digest_function,
            }
            .encode_to_vec(),
            2 => wire::BatchUpdateBlobsRequest { instance_name, requests, digest_function }.encode_to_vec(),
            _ => wire::UpdateActionResultRequest {
                instance_name,
                action_digest: digests.into_iter().next(),
                action_result: Some(result),
                digest_function,
                ..Default::default()
            }
            .encode_to_vec(),
        }
    })
}

/// A result that has a form in JSON, in it.
fn json() -> impl Strategy<Value = Vec<u8>> {
    result().prop_map(|result| to_json(Function::Sha256, &result.encode_to_vec()).unwrap_or_default())
}

// === names and what is on its way ===

fn name() -> impl Strategy<Value = Vec<u8>> {
    const WORDS: [&str; 10] =
        ["blobs", "compressed-blobs", "uploads", "zstd", "sha256", "blake3", "7", "0", "", "main"];
    let hash = select(&FUNCTIONS[..]).prop_map(|function| Digest::of(function, b"").hex());
    let word = prop_oneof![4 => select(&WORDS[..]).prop_map(str::to_owned), 1 => hash];
    let any = vec(word, 0..8).prop_map(|words| words.join("/"));
    let hash = "[0-9a-f]{64}";
    let good = format!(
        "(a/){{0,2}}(uploads/u/)?(compressed-blobs/zstd|blobs)/((sha256|blake3)/)?{hash}/[0-9]{{1,20}}"
    );
    let good = proptest::string::string_regex(&good).expect("a pattern");
    prop_oneof![any, good].prop_map(String::into_bytes)
}

fn call() -> impl Strategy<Value = Vec<u8>> {
    let message = prop_oneof![request(), vec(any::<u8>(), 0..9)];
    (any::<u8>(), vec(message, 0..3)).prop_map(|(cut, messages)| {
        let mut call = vec![cut];
        for message in messages {
            call.push(0);
            call.extend_from_slice(&(message.len() as u32).to_be_bytes());
            call.extend_from_slice(&message);
        }
        call
    })
}

fn body() -> impl Strategy<Value = Vec<u8>> {
    let frame = (vec(any::<u8>(), 0..20), 1..40usize, any::<bool>()).prop_map(|(bytes, times, is_raw)| {
        let bytes = Bytes::from(bytes.repeat(times));
        match is_raw {
            true => Framer::new(bytes.len() as u64).frame(bytes).concat(),
            false => compress(&bytes).expect("memory").to_vec(),
        }
    });
    (0..2048u16, any::<u8>(), vec(frame, 0..3)).prop_map(|(declared, cut, frames)| {
        let [low, high] = declared.to_le_bytes();
        [vec![low, high, cut], frames.concat()].concat()
    })
}

fn encoded<M: Message>(message: impl Strategy<Value = M>) -> impl Strategy<Value = Vec<u8>> {
    message.prop_map(|message| message.encode_to_vec())
}

proptest! {
    #[test]
    fn resource_names_are_read_or_refused(bytes in hostile(name())) {
        resource_name(&bytes);
    }

    #[test]
    fn requests_are_read_as_the_library_reads_them(bytes in hostile(request())) {
        batch(&bytes);
    }

    #[test]
    fn directories_are_read_as_the_library_reads_them(bytes in hostile(encoded(directory()))) {
        batch(&bytes);
    }

    #[test]
    fn results_name_and_inline_what_they_should(bytes in hostile(encoded(result()))) {
        action_result(&bytes);
    }

    #[test]
    fn trees_name_what_they_should(bytes in hostile(encoded(tree()))) {
        action_result(&bytes);
    }

    #[test]
    fn json_comes_back(bytes in hostile(json())) {
        action_result_json(&bytes);
    }

    #[test]
    fn results_come_back_from_json(bytes in hostile(encoded(result()))) {
        action_result_json(&bytes);
    }

    #[test]
    fn calls_are_read_alike_however_they_are_cut(bytes in hostile(call())) {
        grpc(&bytes);
    }

    #[test]
    fn zstd_makes_what_it_should_however_it_is_cut(bytes in hostile(body())) {
        zstd(&bytes);
    }
}
