//! Checksums that clients send with a body: in a header, or behind the body in a trailer.

use base64::Engine as _;
use base64::engine::general_purpose::STANDARD;
use crc_fast::CrcAlgorithm;
use hyper::header::{HeaderMap, HeaderName, HeaderValue};
use sha1::Sha1;
use sha2::{Digest as _, Sha256};

use super::refusal::Refusal;
use crate::entry::{CHECKSUM_PREFIX, Meta};

/// One of S3's.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum Algorithm {
    Crc32,
    Crc32C,
    Crc64Nvme,
    Sha1,
    Sha256,
}

/// Computes one. A CRC's state is large; there are few of them.
pub(super) struct Summing {
    algorithm: Algorithm,
    state: State,
}

enum State {
    Crc(Box<crc_fast::Digest>),
    Sha1(Sha1),
    Sha256(Sha256),
}

const ALL: [Algorithm; 5] =
    [Algorithm::Crc32, Algorithm::Crc32C, Algorithm::Crc64Nvme, Algorithm::Sha1, Algorithm::Sha256];

// === impl Algorithm ===

impl Algorithm {
    /// The header of it.
    pub(super) fn header(self) -> &'static str {
        match self {
            Self::Crc32 => "x-amz-checksum-crc32",
            Self::Crc32C => "x-amz-checksum-crc32c",
            Self::Crc64Nvme => "x-amz-checksum-crc64nvme",
            Self::Sha1 => "x-amz-checksum-sha1",
            Self::Sha256 => "x-amz-checksum-sha256",
        }
    }

    fn bytes(self) -> usize {
        match self {
            Self::Crc32 | Self::Crc32C => 4,
            Self::Crc64Nvme => 8,
            Self::Sha1 => 20,
            Self::Sha256 => 32,
        }
    }

    /// That of a header's name.
    pub(super) fn named(header: &str) -> Option<Self> {
        ALL.into_iter().find(|algorithm| header.eq_ignore_ascii_case(algorithm.header()))
    }

    /// The attribute that keeps it.
    pub(super) fn attr(self) -> String {
        format!("{CHECKSUM_PREFIX}{}", &self.header()["x-amz-checksum-".len()..])
    }

    pub(super) fn summing(self) -> Summing {
        let crc = |algorithm| State::Crc(Box::new(crc_fast::Digest::new(algorithm)));
        let state = match self {
            Self::Crc32 => crc(CrcAlgorithm::Crc32IsoHdlc),
            Self::Crc32C => crc(CrcAlgorithm::Crc32Iscsi),
            Self::Crc64Nvme => crc(CrcAlgorithm::Crc64Nvme),
            Self::Sha1 => State::Sha1(Sha1::new()),
            Self::Sha256 => State::Sha256(Sha256::new()),
        };
        Summing { algorithm: self, state }
    }

    /// Reads what a client says it is.
    pub(super) fn parse(self, text: &str) -> Result<Vec<u8>, Refusal> {
        let bytes = STANDARD.decode(text.trim()).ok().filter(|bytes| bytes.len() == self.bytes());
        bytes.ok_or_else(|| {
            let words = format!("{} is not the base64 of {} bytes", self.header(), self.bytes());
            Refusal::bad("InvalidRequest", words)
        })
    }
}

/// The checksum that a request states in a header, and what it says.
pub(super) fn stated(headers: &HeaderMap) -> Result<Option<(Algorithm, Vec<u8>)>, Refusal> {
    let found = ALL.into_iter().find_map(|algorithm| Some((algorithm, headers.get(algorithm.header())?)));
    let Some((algorithm, value)) = found else { return Ok(None) };
    Ok(Some((algorithm, algorithm.parse(value.to_str().unwrap_or_default())?)))
}

/// Gives back what was kept of a whole object.
pub(super) fn give(headers: &mut HeaderMap, meta: &Meta) {
    for algorithm in ALL {
        let value = meta.attrs.get(&algorithm.attr()).and_then(|value| HeaderValue::from_str(value).ok());
        if let Some(value) = value {
            headers.insert(HeaderName::from_static(algorithm.header()), value);
            headers.insert("x-amz-checksum-type", HeaderValue::from_static("FULL_OBJECT"));
        }
    }
}

/// As headers and attributes have it.
pub(super) fn write(bytes: &[u8]) -> String {
    STANDARD.encode(bytes)
}

// === impl Summing ===

impl Summing {
    pub(super) fn algorithm(&self) -> Algorithm {
        self.algorithm
    }

    pub(super) fn update(&mut self, bytes: &[u8]) {
        match &mut self.state {
            State::Crc(crc) => crc.update(bytes),
            State::Sha1(sha) => sha.update(bytes),
            State::Sha256(sha) => sha.update(bytes),
        }
    }

    pub(super) fn finish(self) -> Vec<u8> {
        match self.state {
            State::Crc(crc) => {
                let sum = crc.finalize().to_be_bytes();
                sum[sum.len() - self.algorithm.bytes()..].to_vec()
            }
            State::Sha1(sha) => sha.finalize().to_vec(),
            State::Sha256(sha) => sha.finalize().to_vec(),
        }
    }
}

impl std::fmt::Debug for Summing {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        write!(f, "Summing({:?})", self.algorithm)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn sums_are_those_of_the_published_check_strings() {
        for (algorithm, expected) in [
            (Algorithm::Crc32, "cbf43926"),
            (Algorithm::Crc32C, "e3069283"),
            (Algorithm::Crc64Nvme, "ae8b14860a799888"),
            (Algorithm::Sha1, "f7c3bc1d808e04732adf679965ccc34ca7ae3441"),
            (Algorithm::Sha256, "15e2b0d3c33891ebb0f1ef609ec419420c20e320ce94c65fbc8c3312448eb225"),
        ] {
            let mut summing = algorithm.summing();
            summing.update(b"12345");
            summing.update(b"6789");
            assert_eq!(crate::digest::hex(&summing.finish()), expected, "{algorithm:?}");
            assert_eq!(Algorithm::named(algorithm.header()), Some(algorithm));
            assert!(algorithm.parse("AAAA").is_err() && algorithm.parse("!").is_err());
        }
    }
}
