//! Resource names: what a `ByteStream` reads or writes.
//!
//! ```text
//! Read   [{instance}/]blobs/[{function}/]{hash}/{size}[/…]
//!        [{instance}/]compressed-blobs/zstd/[{function}/]{hash}/{size}[/…]
//! Write  [{instance}/]uploads/{uuid}/ and either of these
//! ```
//!
//! The instance name is what comes before the first of the reserved words: it can't have one in it. What follows the
//! size is the client's own and says nothing here.

use tonic::Status;

use super::requests::{Blob, Compressor};
use crate::digest::Function;

/// A resource name, taken apart.
#[derive(Debug, PartialEq, Eq)]
pub(crate) struct Resource<'a> {
    pub(crate) instance: &'a str,
    pub(crate) compressor: Compressor,
    pub(super) function: Option<Function>,
    pub(super) hash: &'a str,
    pub(super) size: i64,
}

/// Longer names than any client's; they are kept while an upload is.
pub(crate) const NAME_BYTES_MAX: usize = 2048;

impl<'a> Resource<'a> {
    /// The name of something to be read.
    ///
    /// # Errors
    /// `INVALID_ARGUMENT`, in words that say what such a name looks like.
    pub(crate) fn to_read(name: &'a str) -> Result<Self, Status> {
        let (instance, rest) = split(name, &["blobs", "compressed-blobs"])?;
        Self::parse(instance, rest).ok_or_else(|| unreadable(name)).and_then(Self::checked)
    }

    /// The name of something to be written.
    ///
    /// # Errors
    /// `INVALID_ARGUMENT`, in words that say what such a name looks like.
    pub(crate) fn to_write(name: &'a str) -> Result<Self, Status> {
        let (instance, rest) = split(name, &["uploads"])?;
        let blob = rest.strip_prefix("uploads/").and_then(|rest| rest.split_once('/'));
        let Some((_, blob)) = blob.filter(|(uuid, _)| !uuid.is_empty()) else { return Err(unwritable(name)) };
        Self::parse(instance, blob).ok_or_else(|| unwritable(name)).and_then(Self::checked)
    }

    /// The blob, where digests that name no function are of `default`.
    pub(crate) fn blob(&self, default: Function) -> Result<Blob, Status> {
        Blob::named(self.function.unwrap_or(default), self.hash, self.size)
    }

    /// `blobs/…` or `compressed-blobs/…`.
    fn parse(instance: &'a str, rest: &'a str) -> Option<Parsed<'a>> {
        let mut segments = rest.split('/');
        let compressor = match segments.next()? {
            "blobs" => None,
            "compressed-blobs" => Some(segments.next()?),
            _ => return None,
        };
        let mut hash = segments.next()?;
        let mut function = None;
        // No function's name is as long as a hash, nor is a size a hash.
        if hash.len() < 32 {
            function = Some(hash);
            hash = segments.next()?;
        }
        let size = segments.next()?;
        let is_number = !size.is_empty() && size.bytes().all(|byte| byte.is_ascii_digit());
        let size = is_number.then(|| size.parse().ok())??;
        Some(Parsed { instance, compressor, function, hash, size })
    }

    fn checked(parsed: Parsed<'a>) -> Result<Self, Status> {
        let Parsed { instance, compressor, function, hash, size } = parsed;
        let compressor = match compressor {
            None => Compressor::Identity,
            Some("zstd") => Compressor::Zstd,
            Some(other) => {
                let words = format!("compressor `{}` is not served: zstd is", other.escape_debug());
                return Err(Status::invalid_argument(words));
            }
        };
        let function = match function.map(|name| (name, Function::named(name))) {
            None => None,
            Some((_, Some(function))) => Some(function),
            Some((name, None)) => {
                let name = name.escape_debug();
                let words = format!("digest function `{name}` is not served: sha256 and blake3 are");
                return Err(Status::invalid_argument(words));
            }
        };
        Ok(Self { instance, compressor, function, hash, size })
    }
}

/// A name in its parts, of which not all may be known here.
struct Parsed<'a> {
    instance: &'a str,
    compressor: Option<&'a str>,
    function: Option<&'a str>,
    hash: &'a str,
    size: i64,
}

/// The instance name, and the rest from the first of `words` on.
fn split<'a>(name: &'a str, words: &[&str]) -> Result<(&'a str, &'a str), Status> {
    if name.len() > NAME_BYTES_MAX {
        let words = format!("the resource name has {} bytes, at most {NAME_BYTES_MAX} are taken", name.len());
        return Err(Status::invalid_argument(words));
    }
    let mut start = 0;
    for segment in name.split('/') {
        if words.contains(&segment) {
            return Ok((name[..start].trim_matches('/'), &name[start..]));
        }
        start += segment.len() + 1;
    }
    Err(if words == ["uploads"] { unwritable(name) } else { unreadable(name) })
}

fn unreadable(name: &str) -> Status {
    let words = "is no [{instance}/]blobs/{hash}/{size} or [{instance}/]compressed-blobs/zstd/{hash}/{size}";
    Status::invalid_argument(format!("`{}` {words}", shown(name)))
}

fn unwritable(name: &str) -> Status {
    let words = "is no [{instance}/]uploads/{uuid}/blobs/{hash}/{size}, nor one with compressed-blobs/zstd";
    Status::invalid_argument(format!("`{}` {words}", shown(name)))
}

/// Names come from anybody: as much of one as helps, without what terminals obey.
pub(crate) fn shown(name: &str) -> String {
    name.chars().take(200).flat_map(char::escape_debug).collect()
}

#[cfg(test)]
mod tests {
    use super::*;

    const HASH: &str = "2c26b46b68ffc68ff99b453c1d30413413422d706483bfa0f98a5e886266e7ae";

    #[test]
    fn names_as_clients_write_them() {
        let cases = [
            (format!("blobs/{HASH}/3"), "", Compressor::Identity, None),
            (format!("i/blobs/{HASH}/3"), "i", Compressor::Identity, None),
            (
                format!("a/b/c/blobs/blake3/{HASH}/3/more/of/it"),
                "a/b/c",
                Compressor::Identity,
                Some(Function::Blake3),
            ),
            (format!("compressed-blobs/zstd/{HASH}/3"), "", Compressor::Zstd, None),
            (
                format!("a/compressed-blobs/zstd/sha256/{HASH}/3"),
                "a",
                Compressor::Zstd,
                Some(Function::Sha256),
            ),
        ];
        for (name, instance, compressor, function) in cases {
            let read = Resource::to_read(&name).expect("a name");
            assert_eq!(read, Resource { instance, compressor, function, hash: HASH, size: 3 });
            let upload = match instance {
                "" => format!("uploads/6d0e-x/{name}"),
                _ => name.replacen(&format!("{instance}/"), &format!("{instance}/uploads/6d0e-x/"), 1),
            };
            assert_eq!(Resource::to_write(&upload).expect("a name"), read, "{upload}");
        }
    }

    #[test]
    fn doubled_slashes_are_one() {
        let name = format!("a//blobs/{HASH}/3");
        assert_eq!(Resource::to_read(&name).expect("a name").instance, "a");
    }

    #[test]
    fn hostile_names_are_refused_in_words() {
        let long = format!("{}/blobs/{HASH}/3", "n".repeat(NAME_BYTES_MAX));
        for (name, words) in [
            ("", "is no"),
            ("blobs", "is no"),
            ("blobs/", "is no"),
            (&format!("blobs/{HASH}"), "is no"),
            (&format!("blobs/{HASH}/"), "is no"),
            (&format!("blobs/{HASH}/+3"), "is no"),
            (&format!("blobs/{HASH}/-3"), "is no"),
            (&format!("blobs/{HASH}/99999999999999999999"), "is no"),
            (&format!("x/{HASH}/3"), "is no"),
            (&format!("blobs/md5/{HASH}/3"), "md5"),
            (&format!("compressed-blobs/deflate/{HASH}/3"), "deflate"),
            (&format!("compressed-blobs/{HASH}/3"), "is no"),
            ("blobs/\u{1b}[2J/3", "is no"),
            (&long, "at most"),
        ] {
            let status = Resource::to_read(name).expect_err(name);
            assert!(status.message().contains(words), "{name}: {status}");
            assert!(!status.message().contains('\u{1b}'), "{status}");
        }
        for name in [
            &format!("blobs/{HASH}/3"),
            &format!("uploads/blobs/{HASH}/3"),
            &format!("uploads//blobs/{HASH}/3"),
        ] {
            assert!(Resource::to_write(name).is_err(), "{name}");
        }
        for (hash, size) in [(&HASH[1..], 3), (&HASH.to_uppercase()[..], 3), (HASH, 0)] {
            let name = format!("blobs/{hash}/{size}");
            let blob = Resource::to_read(&name).and_then(|resource| resource.blob(Function::Sha256));
            assert!(blob.is_err(), "{name}");
        }
    }
}
