//! The master key, and the secrets that are made of it.

use std::fs::{File, OpenOptions};
use std::io::{ErrorKind, Read as _, Write as _};
use std::os::unix::fs::OpenOptionsExt as _;
use std::path::Path;

use base64::Engine as _;
use base64::engine::general_purpose::STANDARD;

use super::Secret;
use super::file::check_private;
use crate::error::{Error, Kind, Result};

/// 32 random bytes. Whoever has them can make every key.
pub(super) struct Master([u8; 32]);

const NAME: &str = "master.key";
/// Part of what a secret is made of: they never change.
const AZURE: &str = "larder 2026-11-26 the account key of the Azure Blob door, by id";
const S3: &str = "larder 2026-11-26 the secret access key of the S3 door, by id";

/// Random bytes of the kernel's.
pub(super) fn random<const N: usize>() -> Result<[u8; N]> {
    let mut bytes = [0; N];
    getrandom::fill(&mut bytes)
        .map_err(|error| Error::new(Kind::Internal, "ask the kernel for random bytes").because(error))?;
    Ok(bytes)
}

// === impl Master ===

impl Master {
    pub(super) fn read(state: &Path) -> Result<Self> {
        let path = state.join(NAME);
        let mut file = File::open(&path).map_err(|error| Error::io("open the master key", &path, error))?;
        check_private(&file, &path)?;
        let mut bytes = Vec::new();
        (&mut file).take(64).read_to_end(&mut bytes).map_err(|error| Error::io("read", &path, error))?;
        let bytes = bytes.try_into().map_err(|_| {
            let words = format!(
                "read the master key {}: it has not 32 bytes; restore it, or delete it and tokens.json beside it and \
                 issue all keys anew",
                path.display()
            );
            Error::new(Kind::Corrupt, words)
        })?;
        Ok(Self(bytes))
    }

    /// Makes one where there is none. Under the lock of the list.
    pub(super) fn read_or_make(state: &Path) -> Result<Self> {
        let path = state.join(NAME);
        let new = OpenOptions::new().write(true).create_new(true).mode(0o600).open(&path);
        match new {
            Ok(mut file) => {
                let written = random::<32>().and_then(|bytes| {
                    let write = file.write_all(&bytes).and_then(|()| file.sync_all());
                    write.map_err(|error| Error::io("write", &path, error))
                });
                if written.is_err() {
                    // Half a key would be refused for ever; a failure to remove it is seen then.
                    let _ = std::fs::remove_file(&path);
                }
                written?;
            }
            Err(error) if error.kind() == ErrorKind::AlreadyExists => {}
            Err(error) => return Err(Error::io("make the master key", &path, error)),
        }
        Self::read(state)
    }

    /// The account key of an id.
    pub(super) fn azure(&self, id: &str) -> Secret {
        Secret::new(self.derive::<64>(AZURE, id))
    }

    /// The secret access key of an id.
    pub(super) fn s3(&self, id: &str) -> Secret {
        Secret::new(STANDARD.encode(self.derive::<30>(S3, id)))
    }

    fn derive<const N: usize>(&self, context: &str, id: &str) -> [u8; N] {
        let mut bytes = [0; N];
        let mut hasher = blake3::Hasher::new_derive_key(context);
        hasher.update(&self.0).update(id.as_bytes());
        hasher.finalize_xof().fill(&mut bytes);
        bytes
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn secrets_are_what_they_always_were() {
        let master = Master([7; 32]);
        let azure = master.azure("az-abcdefgh");
        assert_eq!(azure.bytes().len(), 64);
        assert_eq!(crate::digest::hex(&azure.bytes()[..8]), AZURE_BEGINS);
        assert_ne!(azure, master.azure("az-abcdefgi"));
        let s3 = String::from_utf8(master.s3("LARDERABCDEFGHIJKLMN").bytes().to_vec()).expect("text");
        assert_eq!((s3.len(), &s3[..8]), (40, S3_BEGINS));
    }

    const AZURE_BEGINS: &str = "2b9245f7de97b635";
    const S3_BEGINS: &str = "rQ4uU/AX";
}
