//! The requests that are read field by field, and the directories of trees.

use bazel_remote_apis::build::bazel::remote::execution::v2 as wire;
use bytes::Bytes;
use prost::Message as _;
use tonic::Status;

use super::{FUNCTIONS, is_calm};
use crate::digest::{Digest, Function};
use crate::protocol::reapi::requests::{Blob, BlobList, Compressor, ResultUpdate, Updates};
use crate::protocol::reapi::tree::children;

/// A request of any method: what is taken, the library reads alike; what the library reads and is in order is taken in
/// the form in which the library writes it.
///
/// # Panics
/// If that is not so.
pub fn batch(bytes: &[u8]) {
    find_missing(bytes);
    batch_read(bytes);
    batch_update(bytes);
    update_result(bytes);
    directory(bytes);
}

fn find_missing(bytes: &[u8]) {
    let theirs = wire::FindMissingBlobsRequest::decode(bytes);
    if let Some(ours) = taken(BlobList::find_missing(bytes)) {
        let theirs = theirs.as_ref().expect("protobuf");
        assert_eq!((&ours.instance, ours.function), (&theirs.instance_name, theirs.digest_function));
        assert!(!ours.takes_zstd);
        same(ours, &theirs.blob_digests, bytes);
    }
    if let Ok(theirs) = theirs {
        let ours = taken(BlobList::find_missing(&theirs.encode_to_vec()));
        assert_eq!(ours.is_some(), theirs.blob_digests.iter().all(is_in_order), "{theirs:?}");
    }
}

fn batch_read(bytes: &[u8]) {
    let theirs = wire::BatchReadBlobsRequest::decode(bytes);
    if let Some(ours) = taken(BlobList::batch_read(bytes)) {
        let theirs = theirs.as_ref().expect("protobuf");
        assert_eq!((&ours.instance, ours.function), (&theirs.instance_name, theirs.digest_function));
        assert_eq!(ours.takes_zstd, theirs.acceptable_compressors.contains(&1), "{theirs:?}");
        same(ours, &theirs.digests, bytes);
    }
    if let Ok(theirs) = theirs {
        let ours = taken(BlobList::batch_read(&theirs.encode_to_vec()));
        assert_eq!(ours.is_some(), theirs.digests.iter().all(is_in_order), "{theirs:?}");
    }
}

fn batch_update(bytes: &[u8]) {
    let theirs = wire::BatchUpdateBlobsRequest::decode(bytes);
    if let Some(ours) = taken(Updates::parse(&Bytes::copy_from_slice(bytes))) {
        let theirs = theirs.as_ref().expect("protobuf");
        assert_eq!((&ours.instance, ours.function), (&theirs.instance_name, theirs.digest_function));
        assert_eq!(ours.blobs.len(), theirs.requests.len());
        for (ours, theirs) in ours.blobs.iter().zip(&theirs.requests) {
            assert!(is_same(&ours.blob, theirs.digest.as_ref().expect("a digest")));
            assert_eq!((&ours.data[..], compressor(ours.compressor)), (&theirs.data[..], theirs.compressor));
        }
    }
    if let Ok(theirs) = theirs {
        let ours = taken(Updates::parse(&theirs.encode_to_vec().into()));
        let is_good = theirs.requests.iter().all(|request| {
            request.digest.as_ref().is_some_and(is_in_order) && (0..=1).contains(&request.compressor)
        });
        assert_eq!(ours.is_some(), is_good, "{theirs:?}");
    }
}

fn update_result(bytes: &[u8]) {
    let theirs = wire::UpdateActionResultRequest::decode(bytes);
    let ours = taken(ResultUpdate::parse(&Bytes::copy_from_slice(bytes)));
    // The result is not read here, nor is the policy, which says nothing to a cache: either may be no protobuf.
    if let (Some(ours), Ok(theirs)) = (ours, &theirs) {
        assert_eq!((&ours.instance, ours.function), (&theirs.instance_name, theirs.digest_function));
        assert!(is_same(&ours.action, theirs.action_digest.as_ref().expect("a digest")));
        let result = wire::ActionResult::decode(ours.result).expect("it was read as part of the request");
        assert_eq!(Some(&result), theirs.action_result.as_ref());
    }
    if let Ok(theirs) = theirs {
        let ours = taken(ResultUpdate::parse(&theirs.encode_to_vec().into()));
        let is_good =
            theirs.action_digest.as_ref().is_some_and(is_in_order) && theirs.action_result.is_some();
        assert_eq!(ours.is_some(), is_good, "{theirs:?}");
    }
}

fn directory(bytes: &[u8]) {
    let Ok(theirs) = wire::Directory::decode(bytes) else {
        // Files and symlinks are not looked at: some of these are taken.
        return FUNCTIONS.iter().for_each(|function| drop(children(*function, bytes)));
    };
    for function in FUNCTIONS {
        let named = |node: &wire::DirectoryNode| {
            let digest = node.digest.as_ref()?;
            Blob::named(function, &digest.hash, digest.size_bytes).ok()
        };
        let expected: Option<Vec<Blob>> = theirs.directories.iter().map(named).collect();
        if let Ok(ours) = children(function, bytes) {
            assert_eq!(Some(&ours), expected.as_ref(), "{theirs:?}");
        }
        assert_eq!(children(function, &theirs.encode_to_vec()).ok(), expected, "{theirs:?}");
    }
}

fn taken<T>(parsed: Result<T, Status>) -> Option<T> {
    parsed.inspect_err(is_calm).ok()
}

fn same(mut ours: BlobList, theirs: &[wire::Digest], bytes: &[u8]) {
    assert_eq!(ours.blobs.len(), theirs.len());
    assert!(ours.blobs.iter().zip(theirs).all(|(ours, theirs)| is_same(ours, theirs)), "{theirs:?}");
    // No blob is had for fewer bytes than its hash.
    assert!(ours.blobs.len() * 64 <= bytes.len());
    for function in FUNCTIONS {
        let is_named = |digest: &wire::Digest| Blob::named(function, &digest.hash, digest.size_bytes).is_ok();
        assert_eq!(ours.of(function).is_ok(), theirs.iter().all(is_named), "{theirs:?}");
    }
}

fn is_same(ours: &Blob, theirs: &wire::Digest) -> bool {
    ours.digest.hex() == theirs.hash && i64::try_from(ours.size) == Ok(theirs.size_bytes)
}

/// As far as it is known before its function is.
fn is_in_order(digest: &wire::Digest) -> bool {
    Digest::parse(Function::Sha256, &digest.hash).is_ok() && digest.size_bytes >= 0
}

fn compressor(compressor: Compressor) -> i32 {
    match compressor {
        Compressor::Identity => 0,
        Compressor::Zstd => 1,
    }
}
