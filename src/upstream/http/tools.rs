//! Servers of one tool alone: where that tool has its entries there, so that who asks the server without a Larder finds
//! them.
//!
//! ```text
//! name                                dialect   path below the prefix
//! [{ns}/]v1/cache/{hash}              nx        v1/cache/{hash}
//! gradle/[{ns}/]{key}                 gradle    {key}
//! ccache/[{ns}/]{2}/{31 or 38}        ccache    {2}/{31 or 38}, {33 or 40} or ac/{64}, by its layout
//! ccache/[{ns}/]ac/{64}                         that of the same key
//! maven/[{ns}/]{version}/…            maven     {version}/{group}/{artifact}/{checksum}/{file}
//! ```
//!
//! No such server knows namespaces: they are left out, so that those which share an upstream share its entries.

use super::super::location::{CcacheLayout, Dialect};
use crate::digest::{Digest, Function, hex};

/// Digits of a key of ccache in hex; the bazel layout repeats the first [`BAZEL_REPEATS`] of them behind it.
const CCACHE_HEX: usize = 40;
const BAZEL_REPEATS: usize = 24;

/// A key of older versions: four digits in hex, 29 in base 32.
const CCACHE_BASE32: usize = 33;
const BASE32_AT: usize = 4;

/// Version, group, artifact, checksum, file.
const MAVEN_SEGMENTS: usize = 5;

/// How an archive begins: gzip, with a name, of a system that isn't known, which is how Nx's own begin.
const ARCHIVE_HEAD: [u8; 10] = [0x1f, 0x8b, 8, 8, 0, 0, 0, 0, 0, 0xff];

/// And goes on behind the name and its NUL: a tar without files, packed; its CRC and its length.
const ARCHIVE_TAIL: [u8; 19] =
    [0x63, 0x60, 0x18, 5, 0xa3, 0x60, 0x14, 0x8c, 0x54, 0, 0, 0x2e, 0xaf, 0xb5, 0xef, 0, 4, 0, 0];

/// Where a server of `dialect` has the entry `name`; `None` where it has none of that kind.
pub(super) fn place(dialect: Dialect, name: &str) -> Option<String> {
    match dialect {
        Dialect::Nx => {
            let (before, hash) = name.rsplit_once('/')?;
            let is_nx = before == "v1/cache" || before.ends_with("/v1/cache");
            // What lies behind such a path in a protocol of its own is no archive.
            let is_foreign = super::paths::is_protocol(before.split('/').next().unwrap_or_default());
            let is_hash = !hash.is_empty() && hash.bytes().all(|byte| byte.is_ascii_digit());
            (is_nx && is_hash && !is_foreign).then(|| format!("v1/cache/{hash}"))
        }
        Dialect::Gradle => Some(name.strip_prefix("gradle/")?.rsplit('/').next()?.to_owned()),
        Dialect::Ccache(layout) => ccache(layout, name.strip_prefix("ccache/")?),
        Dialect::Maven => {
            let segments: Vec<_> = name.strip_prefix("maven/")?.split('/').collect();
            let start = segments.len().checked_sub(MAVEN_SEGMENTS)?;
            Some(segments[start..].join("/"))
        }
        Dialect::Larder | Dialect::Bazel | Dialect::Turborepo | Dialect::Plain => None,
    }
}

/// Where something of Larder's own, called `word`, may lie: a place that no tool asks for.
pub(super) fn own_place(dialect: Dialect, word: &str) -> String {
    let digits = Digest::of(Function::Sha256, word.as_bytes()).hex();
    match dialect {
        Dialect::Nx => {
            let hash = digits
                .bytes()
                .take(16)
                .fold(0_u64, |hash, digit| hash << 4 | (digit as char).to_digit(16).map_or(0, u64::from));
            format!("v1/cache/{hash}")
        }
        Dialect::Ccache(layout) => written(layout, &digits[..CCACHE_HEX]).unwrap_or_default(),
        Dialect::Maven => format!("v1/larders/larder/{}/{word}", &digits[..16]),
        Dialect::Gradle | Dialect::Larder | Dialect::Bazel | Dialect::Turborepo | Dialect::Plain => {
            digits[..32].to_owned()
        }
    }
}

/// An archive that Nx can unpack, without a file in it, called `name`, which has no NUL.
pub(super) fn archive(name: &[u8]) -> Vec<u8> {
    [&ARCHIVE_HEAD[..], name, &[0], &ARCHIVE_TAIL].concat()
}

/// What an [`archive`] is called; `None` of another.
pub(super) fn archive_name(bytes: &[u8]) -> Option<&[u8]> {
    bytes.strip_prefix(&ARCHIVE_HEAD)?.strip_suffix(&ARCHIVE_TAIL)?.strip_suffix(&[0])
}

/// An entry of ccache, whichever layout its client has.
fn ccache(layout: CcacheLayout, name: &str) -> Option<String> {
    let mut segments = name.rsplit('/');
    let (last, folder) = (segments.next()?, segments.next()?);
    if folder != "ac" {
        return written(layout, &format!("{folder}{last}"));
    }
    if layout == CcacheLayout::Bazel {
        return Some(format!("ac/{last}"));
    }
    let (key, repeated) = last.split_at_checked(CCACHE_HEX)?;
    (key.get(..BAZEL_REPEATS)? == repeated).then(|| written(layout, key))?
}

/// A key as `layout` has it.
fn written(layout: CcacheLayout, key: &str) -> Option<String> {
    match layout {
        CcacheLayout::Subdirs => Some(format!("{}/{}", key.get(..2)?, key.get(2..)?)),
        CcacheLayout::Flat => Some(key.to_owned()),
        CcacheLayout::Bazel => {
            let key = if key.len() == CCACHE_BASE32 { in_hex(key)? } else { key.to_owned() };
            Some(format!("ac/{key}{}", key.get(..BAZEL_REPEATS)?))
        }
    }
}

/// A key of an older version in hex, which it is in the bazel layout.
fn in_hex(key: &str) -> Option<String> {
    let (start, rest) = key.split_at_checked(BASE32_AT)?;
    let (mut bits, mut held, mut bytes) = (0_u32, 0, Vec::new());
    for digit in rest.chars() {
        bits = bits << 5 | digit.to_digit(32)?;
        held += 5;
        if held >= 8 {
            held -= 8;
            bytes.push((bits >> held) as u8);
            bits &= (1 << held) - 1;
        }
    }
    Some(format!("{start}{}", hex(&bytes)))
}

#[cfg(test)]
mod tests {
    use super::*;

    const SUBDIRS: Dialect = Dialect::Ccache(CcacheLayout::Subdirs);
    const FLAT: Dialect = Dialect::Ccache(CcacheLayout::Flat);
    const BAZEL: Dialect = Dialect::Ccache(CcacheLayout::Bazel);
    const KEY: &str = "0123456789abcdef0123456789abcdef01234567";

    #[test]
    fn each_has_the_entries_of_its_tool_where_the_tool_looks() {
        let (folder, rest) = KEY.split_at(2);
        let bazels = format!("ac/{KEY}{}", &KEY[..24]);
        let name = format!("ccache/a/b/{folder}/{rest}");
        for (dialect, name, place) in [
            (Dialect::Nx, "v1/cache/12", Some("v1/cache/12")),
            (Dialect::Nx, "a/b/v1/cache/12", Some("v1/cache/12")),
            (Dialect::Nx, "blob/a/v1/cache/12", None),
            (Dialect::Nx, "v1/cache/x", None),
            (Dialect::Nx, "gradle/12", None),
            (Dialect::Gradle, "gradle/0f", Some("0f")),
            (Dialect::Gradle, "gradle/a/b/0f", Some("0f")),
            (Dialect::Gradle, "a/gradle/ac/0f", None),
            (Dialect::Maven, "maven/a/b/v1.1/org/app/0f/app.jar", Some("v1.1/org/app/0f/app.jar")),
            (Dialect::Maven, "maven/v1.1/org/app/0f/app.jar", Some("v1.1/org/app/0f/app.jar")),
            (Dialect::Maven, "blob/v1.1/org/app/0f/app.jar", None),
            (SUBDIRS, &name, Some(&name[11..])),
            (FLAT, &name, Some(KEY)),
            (BAZEL, &name, Some(&bazels)),
            (SUBDIRS, &format!("ccache/{bazels}"), Some(&name[11..])),
            (FLAT, &format!("ccache/a/{bazels}"), Some(KEY)),
            (BAZEL, &format!("ccache/a/{bazels}"), Some(&bazels)),
            (SUBDIRS, &format!("ccache/ac/{}", "0".repeat(63) + "1"), None),
            (SUBDIRS, &bazels, None),
        ] {
            assert_eq!(super::place(dialect, name).as_deref(), place, "{dialect:?} {name}");
        }
    }

    /// As ccache 4.7 prints and sends one key.
    #[test]
    fn an_older_key_of_ccache_is_the_same_in_hex() {
        let bytes: Vec<u8> = (0..20).map(|at| at * 13).collect();
        let base32 = bytes[2..].iter().flat_map(|byte| (0..8).rev().map(move |bit| byte >> bit & 1));
        let bits: Vec<_> = base32.chain([0]).collect();
        let digits: String = bits
            .chunks(5)
            .map(|five| five.iter().fold(0, |digit, bit| digit << 1 | u32::from(*bit)))
            .map(|digit| char::from_digit(digit, 32).expect("of 32"))
            .collect();
        let key = format!("{}{digits}", hex(&bytes[..2]));
        assert_eq!((key.len(), in_hex(&key)), (CCACHE_BASE32, Some(hex(&bytes))));
        assert_eq!(in_hex("0000w"), None);
    }

    #[test]
    fn what_is_larders_own_is_called_as_the_tool_calls_its_entries() {
        for (dialect, len) in [(Dialect::Gradle, 32), (SUBDIRS, 41), (FLAT, 40), (BAZEL, 67)] {
            assert_eq!(own_place(dialect, "larder-probe").len(), len, "{dialect:?}");
        }
        let hash = own_place(Dialect::Nx, "larder-probe");
        assert!(place(Dialect::Nx, &hash).is_some_and(|place| place == hash), "{hash}");
        assert!(hash.len() > 20, "{hash}");
        assert_ne!(hash, own_place(Dialect::Nx, "larder-canary-0"));
        assert_eq!(own_place(Dialect::Maven, "larder-probe").split('/').count(), MAVEN_SEGMENTS);
        let archive = archive(b"0f");
        assert_eq!(archive_name(&archive), Some(&b"0f"[..]));
        assert_eq!(archive_name(&archive[1..]), None);
    }
}
