//! Content digests: a function and a 32-byte hash, parsed once at the door.
//!
//! A [`Digest`] has no size. What a client says about size is a `Claim` (see [`crate::entry`]), checked against the
//! entry, because a content key must be one local entry whatever sizes clients attach to it.

use sha2::Digest as _;

use crate::error::{Error, Result};

/// A digest function that Larder really verifies.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash, PartialOrd, Ord, Default)]
pub enum Function {
    /// SHA-256, the default of every client.
    #[default]
    Sha256,
    /// BLAKE3, where a namespace or a resource name asks for it.
    Blake3,
}

/// A verified-by hash: 32 bytes, lower-case hex on the wire.
#[derive(Clone, Copy, PartialEq, Eq, Hash, PartialOrd, Ord)]
pub struct Digest {
    function: Function,
    hash: [u8; 32],
}

/// Computes a [`Digest`] piece by piece.
#[derive(Clone)]
pub enum Hasher {
    /// SHA-256 state.
    Sha256(sha2::Sha256),
    /// BLAKE3 state.
    Blake3(Box<blake3::Hasher>),
}

/// The hashes of nothing, asked for on every look-up of content.
const EMPTY_SHA256: [u8; 32] = [
    0xe3, 0xb0, 0xc4, 0x42, 0x98, 0xfc, 0x1c, 0x14, 0x9a, 0xfb, 0xf4, 0xc8, 0x99, 0x6f, 0xb9, 0x24, 0x27,
    0xae, 0x41, 0xe4, 0x64, 0x9b, 0x93, 0x4c, 0xa4, 0x95, 0x99, 0x1b, 0x78, 0x52, 0xb8, 0x55,
];
const EMPTY_BLAKE3: [u8; 32] = [
    0xaf, 0x13, 0x49, 0xb9, 0xf5, 0xf9, 0xa1, 0xa6, 0xa0, 0x40, 0x4d, 0xea, 0x36, 0xdc, 0xc9, 0x49, 0x9b,
    0xcb, 0x25, 0xc9, 0xad, 0xc1, 0x12, 0xb7, 0xcc, 0x9a, 0x93, 0xca, 0xe4, 0x1f, 0x32, 0x62,
];

// === impl Digest ===

impl Digest {
    /// A digest from its raw hash.
    pub fn new(function: Function, hash: [u8; 32]) -> Self {
        Self { function, hash }
    }

    /// Parses 64 lower-case hex digits.
    ///
    /// # Errors
    /// `Invalid` for another length or alphabet. Upper case is refused: two spellings of one key would be two
    /// entries upstream.
    pub fn parse(function: Function, hex: &str) -> Result<Self> {
        let bytes = hex.as_bytes();
        if bytes.len() != 64 {
            return Err(Error::invalid(format!("digest has {} characters, not 64 hex digits", bytes.len())));
        }
        // No branch for a digit: digits of a hash can't be foreseen, and a request can name 10,000 of them.
        let (mut hash, mut seen) = ([0; 32], 0);
        for (byte, pair) in hash.iter_mut().zip(bytes.chunks_exact(2)) {
            let (high, low) = (NIBBLES[usize::from(pair[0])], NIBBLES[usize::from(pair[1])]);
            seen |= high | low;
            *byte = high << 4 | low;
        }
        if seen & NO_DIGIT != 0 {
            return Err(Error::invalid("digest is not lower-case hex"));
        }
        Ok(Self { function, hash })
    }

    /// The digest of bytes that are all here.
    pub fn of(function: Function, bytes: &[u8]) -> Self {
        let hash = match function {
            Function::Sha256 => sha2::Sha256::digest(bytes).into(),
            Function::Blake3 => blake3::hash(bytes).into(),
        };
        Self { function, hash }
    }

    /// Which function it is of.
    pub fn function(&self) -> Function {
        self.function
    }

    /// The raw hash.
    pub fn hash(&self) -> &[u8; 32] {
        &self.hash
    }

    /// The 64 hex digits.
    pub fn hex(&self) -> String {
        hex(&self.hash)
    }

    /// Whether this is the digest of nothing, which every cache protocol treats as always present.
    pub fn is_empty_blob(&self) -> bool {
        self.hash
            == match self.function {
                Function::Sha256 => EMPTY_SHA256,
                Function::Blake3 => EMPTY_BLAKE3,
            }
    }
}

impl std::fmt::Debug for Digest {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        write!(f, "{}:{}", self.function.name(), self.hex())
    }
}

// === impl Function ===

impl Function {
    /// The name in resource names and attributes.
    pub fn name(self) -> &'static str {
        match self {
            Self::Sha256 => "sha256",
            Self::Blake3 => "blake3",
        }
    }

    /// The function with this name.
    pub fn named(name: &str) -> Option<Self> {
        match name {
            "sha256" => Some(Self::Sha256),
            "blake3" => Some(Self::Blake3),
            _ => None,
        }
    }

    /// A fresh hasher.
    pub fn hasher(self) -> Hasher {
        match self {
            Self::Sha256 => Hasher::Sha256(sha2::Sha256::new()),
            Self::Blake3 => Hasher::Blake3(Box::default()),
        }
    }
}

// === impl Hasher ===

impl Hasher {
    /// Takes the next bytes.
    pub fn update(&mut self, bytes: &[u8]) {
        match self {
            Self::Sha256(hasher) => hasher.update(bytes),
            Self::Blake3(hasher) => {
                hasher.update(bytes);
            }
        }
    }

    /// The digest of all bytes taken.
    pub fn finish(self) -> Digest {
        match self {
            Self::Sha256(hasher) => Digest::new(Function::Sha256, hasher.finalize().into()),
            Self::Blake3(hasher) => Digest::new(Function::Blake3, hasher.finalize().into()),
        }
    }
}

impl std::fmt::Debug for Hasher {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.write_str(match self {
            Self::Sha256(_) => "Hasher(sha256)",
            Self::Blake3(_) => "Hasher(blake3)",
        })
    }
}

/// Lower-case hex.
pub fn hex(bytes: &[u8]) -> String {
    const DIGITS: &[u8; 16] = b"0123456789abcdef";
    let mut text = String::with_capacity(bytes.len() * 2);
    for byte in bytes {
        text.push(DIGITS[usize::from(byte >> 4)] as char);
        text.push(DIGITS[usize::from(byte & 15)] as char);
    }
    text
}

/// What no digit has in [`NIBBLES`].
const NO_DIGIT: u8 = 0x80;

/// Of each byte the value as a lower-case hex digit.
const NIBBLES: [u8; 256] = {
    let mut values = [NO_DIGIT; 256];
    let mut value = 0;
    while value < 16 {
        values[b"0123456789abcdef"[value] as usize] = value as u8;
        value += 1;
    }
    values
};

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn known_answers() {
        let empty = Digest::of(Function::Sha256, b"");
        assert_eq!(empty.hex(), "e3b0c44298fc1c149afbf4c8996fb92427ae41e4649b934ca495991b7852b855");
        assert!(empty.is_empty_blob());
        assert!(Digest::of(Function::Blake3, b"").is_empty_blob());
        assert!(!Digest::of(Function::Blake3, b"x").is_empty_blob());
    }

    #[test]
    fn hashing_in_pieces_is_hashing_at_once() {
        for function in [Function::Sha256, Function::Blake3] {
            let mut hasher = function.hasher();
            hasher.update(b"lar");
            hasher.update(b"der");
            assert_eq!(hasher.finish(), Digest::of(function, b"larder"));
        }
    }

    #[test]
    fn only_64_lower_case_hex_digits_parse() {
        let good = Digest::of(Function::Sha256, b"x").hex();
        assert_eq!(Digest::parse(Function::Sha256, &good).map(|d| d.hex()).ok(), Some(good.clone()));
        for bad in [
            String::new(),
            good[1..].into(),
            format!("{good}0"),
            good.to_uppercase(),
            "é".repeat(32),
            "g".repeat(64),
        ] {
            assert!(Digest::parse(Function::Sha256, &bad).is_err(), "{bad}");
        }
    }
}
