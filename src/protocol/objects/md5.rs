//! MD5, as object stores use it: ETags in hex, `Content-MD5` in base64.

use base64::Engine as _;
use base64::engine::general_purpose::STANDARD;
use md5::{Digest as _, Md5};

use crate::digest::hex;
use crate::error::{Error, Kind, Result};

/// The MD5 of some bytes.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) struct Sum(pub(crate) [u8; 16]);

/// Computes one.
#[derive(Debug, Default, Clone)]
pub(crate) struct Hasher(Md5);

// === impl Hasher ===

impl Hasher {
    pub(crate) fn update(&mut self, bytes: &[u8]) {
        self.0.update(bytes);
    }

    pub(crate) fn finish(self) -> Sum {
        Sum(self.0.finalize().into())
    }
}

// === impl Sum ===

impl Sum {
    pub(crate) fn of(bytes: &[u8]) -> Self {
        Self(Md5::digest(bytes).into())
    }

    /// As ETags have it.
    pub(crate) fn hex(&self) -> String {
        hex(&self.0)
    }

    /// As `Content-MD5` has it.
    pub(crate) fn base64(&self) -> String {
        STANDARD.encode(self.0)
    }

    /// Reads a `Content-MD5`.
    ///
    /// # Errors
    /// `Invalid` for what is not the base64 of 16 bytes.
    pub(crate) fn parse(text: &str) -> Result<Self> {
        let bytes = STANDARD.decode(text.trim()).ok().and_then(|bytes| bytes.try_into().ok());
        bytes.map(Self).ok_or_else(|| Error::invalid("Content-MD5 is not the base64 of an MD5's 16 bytes"))
    }

    /// Compares with what a client announced.
    ///
    /// # Errors
    /// `Mismatch` when the bytes are others.
    pub(crate) fn check(&self, announced: Option<&Self>) -> Result<()> {
        match announced {
            Some(announced) if announced != self => Err(Error::new(
                Kind::Mismatch,
                format!("the body's MD5 is {}, not the announced {}", self.base64(), announced.base64()),
            )),
            _ => Ok(()),
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn sums_are_written_and_read() {
        let sum = Sum::of(b"larder");
        let mut hasher = Hasher::default();
        hasher.update(b"lar");
        hasher.update(b"der");
        assert_eq!(hasher.finish(), sum);
        assert_eq!(Sum::of(b"").hex(), "d41d8cd98f00b204e9800998ecf8427e");
        assert_eq!(Sum::parse(&sum.base64()).expect("ours"), sum);
        for bad in ["", "x", "AAAA", "d41d8cd98f00b204e9800998ecf8427e"] {
            assert!(Sum::parse(bad).is_err(), "{bad}");
        }
        assert!(sum.check(None).is_ok() && sum.check(Some(&sum)).is_ok());
        assert_eq!(sum.check(Some(&Sum::of(b""))).expect_err("another").kind(), Kind::Mismatch);
    }
}
