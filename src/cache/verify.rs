//! Checking what an upstream sends against the strongest thing that is known of it.
//!
//! Content is checked against its key. Named bytes are checked against our own digest in the object's metadata, else
//! against what the store states (MD5, CRC32C), always against the length.

use std::collections::VecDeque;

use bytes::Bytes;
use futures_util::StreamExt as _;

use super::Asked;
use crate::body::Body;
use crate::digest::{Digest, Function, Hasher};
use crate::error::{Error, Kind, Result};
use crate::key::Key;
use crate::upstream::ObjectMeta;

/// The attribute under which our own digest of a body travels: `{function}:{hex}`.
pub(super) const DIGEST_ATTR: &str = "larderdigest";
/// The attribute under which an entry's ETag travels.
pub(super) const ETAG_ATTR: &str = "larderetag";
/// The attribute under which an entry's length travels.
pub(super) const LEN_ATTR: &str = "larderlen";

/// Computes what a body is checked against.
pub(super) enum Verifier {
    /// Against a digest.
    Digest(Hasher, Digest),
    /// Against an MD5 that the store states.
    Md5(md5::Md5, [u8; 16]),
    /// Against a CRC32C that the store states.
    Crc32c(crc_fast::Digest, u32),
    /// Only the length is known, and every body checks that.
    Length,
}

// === impl Verifier ===

impl Verifier {
    /// The strongest check for this object.
    pub(super) fn new(asked: &Asked, object: &ObjectMeta) -> Self {
        let digest = match &asked.key {
            Key::Content(digest) => Some(*digest),
            Key::Named { .. } => object.attrs.get(DIGEST_ATTR).and_then(parse_digest),
        };
        if let Some(digest) = digest {
            return Self::Digest(digest.function().hasher(), digest);
        }
        if let Some(md5) = object.stated.md5.or(object.stated.etag_md5) {
            return Self::Md5(md5::Md5::default(), md5);
        }
        match object.stated.crc32c {
            Some(crc) => Self::Crc32c(crc_fast::Digest::new(crc_fast::CrcAlgorithm::Crc32Iscsi), crc),
            None => Self::Length,
        }
    }

    pub(super) fn update(&mut self, bytes: &[u8]) {
        use md5::Digest as _;
        match self {
            Self::Digest(hasher, _) => hasher.update(bytes),
            Self::Md5(hasher, _) => hasher.update(bytes),
            Self::Crc32c(hasher, _) => hasher.update(bytes),
            Self::Length => {}
        }
    }

    /// Whether there is anything to wait for before the last bytes are shown.
    pub(super) fn withholds(&self) -> bool {
        !matches!(self, Self::Length)
    }

    /// The verdict on all bytes taken: the digest, where one was checked.
    pub(super) fn finish(self) -> Result<Option<Digest>> {
        use md5::Digest as _;
        let (agrees, digest, what) = match self {
            Self::Digest(hasher, expected) => (hasher.finish() == expected, Some(expected), "their digest"),
            Self::Md5(hasher, expected) => {
                (<[u8; 16]>::from(hasher.finalize()) == expected, None, "the MD5 that it states")
            }
            Self::Crc32c(hasher, expected) => {
                (hasher.finalize() as u32 == expected, None, "the CRC32C that it states")
            }
            Self::Length => (true, None, ""),
        };
        if !agrees {
            return Err(Error::new(Kind::Corrupt, format!("the upstream's bytes don't have {what}")));
        }
        Ok(digest)
    }
}

/// `sha256:{hex}` or `blake3:{hex}`.
pub(super) fn parse_digest(text: &str) -> Option<Digest> {
    let (function, hex) = text.split_once(':')?;
    Digest::parse(Function::named(function)?, hex).ok()
}

/// What [`parse_digest`] parses.
pub(super) fn write_digest(digest: &Digest) -> String {
    format!("{}:{}", digest.function().name(), digest.hex())
}

/// A body that passes on all but its last `withheld` bytes until the check agrees, and skips the first `skip`.
pub(super) fn verified(body: Body, verifier: Verifier, withheld: u64, skip: u64) -> Body {
    let len = body.len().saturating_sub(skip);
    let withheld = if verifier.withholds() { withheld } else { 0 };
    let state = Held { body, verifier: Some(verifier), skip, withheld, held: VecDeque::new(), held_bytes: 0 };
    Body::stream(
        len,
        futures_util::stream::unfold(Some(state), |state| async {
            let mut state = state?;
            match state.next().await {
                Ok(Some(piece)) => Some((Ok(piece), Some(state))),
                Ok(None) => None,
                Err(error) => Some((Err(error), None)),
            }
        }),
    )
}

struct Held {
    body: Body,
    /// Taken when the verdict has been asked for.
    verifier: Option<Verifier>,
    skip: u64,
    withheld: u64,
    held: VecDeque<Bytes>,
    held_bytes: u64,
}

impl Held {
    async fn next(&mut self) -> Result<Option<Bytes>> {
        loop {
            if self.verifier.is_none() {
                return Ok(self.held.pop_front());
            }
            if let Some(first) = self.held.front()
                && self.held_bytes - first.len() as u64 >= self.withheld
            {
                self.held_bytes -= first.len() as u64;
                return Ok(self.held.pop_front());
            }
            match self.body.next().await {
                Some(piece) => {
                    let mut piece = piece?;
                    if let Some(verifier) = &mut self.verifier {
                        verifier.update(&piece);
                    }
                    let skipped = self.skip.min(piece.len() as u64);
                    self.skip -= skipped;
                    let piece = piece.split_off(skipped as usize);
                    if !piece.is_empty() {
                        self.held_bytes += piece.len() as u64;
                        self.held.push_back(piece);
                    }
                }
                None => {
                    if let Some(verifier) = self.verifier.take() {
                        verifier.finish()?;
                    }
                }
            }
        }
    }
}
