//! Blobs by number. They differ in their last bytes only, so that what they have in common is made, and hashed, once.

use bazel_remote_apis::build::bazel::remote::execution::v2::Digest;
use bytes::Bytes;
use sha2::{Digest as _, Sha256};

/// The run and the number.
const TAIL: usize = 16;

pub(crate) struct Blobs {
    /// All but the tail.
    pub(crate) common: Bytes,
    hashed: Sha256,
    salt: u64,
}

impl Blobs {
    /// Blobs of `size` bytes that no run with another `salt` has.
    pub(crate) fn new(size: usize, salt: u64) -> Self {
        let common = Bytes::from(vec![b'x'; size.saturating_sub(TAIL)]);
        let hashed = Sha256::new().chain_update(&common);
        Self { common, hashed, salt }
    }

    pub(crate) fn size(&self) -> usize {
        self.common.len() + TAIL
    }

    pub(crate) fn tail(&self, number: u64) -> [u8; TAIL] {
        let mut tail = [0; TAIL];
        tail[..8].copy_from_slice(&self.salt.to_le_bytes());
        tail[8..].copy_from_slice(&number.to_le_bytes());
        tail
    }

    pub(crate) fn whole(&self, number: u64) -> Vec<u8> {
        [&self.common[..], &self.tail(number)].concat()
    }

    pub(crate) fn digest(&self, number: u64) -> Digest {
        let hash = self.hashed.clone().chain_update(self.tail(number)).finalize();
        Digest { hash: hex(&hash), size_bytes: self.size() as i64 }
    }

    /// The digest of an action, of which nothing but its digest exists.
    pub(crate) fn action(&self, number: u64) -> Digest {
        let hash = Sha256::new().chain_update(b"action").chain_update(self.tail(number)).finalize();
        Digest { hash: hex(&hash), size_bytes: 142 }
    }
}

fn hex(bytes: &[u8]) -> String {
    bytes.iter().map(|byte| format!("{byte:02x}")).collect()
}
