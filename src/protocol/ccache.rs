//! ccache's remote storage over HTTP.
//!
//! ```text
//! GET HEAD PUT DELETE  /ccache[/ns…]/{2}/{31 or 38}    layout=subdirs, ccache's default
//!                      /ccache[/ns…]/{33 or 40}        layout=flat
//!                      /ccache[/ns…]/ac/{64 hex}       layout=bazel
//!                      [/ns…]/ac/{64 hex}              the same, from a ccache that was given Bazel's address
//! ```
//!
//! Observed with ccache 4.7.5 (keys of 33 letters and digits) and 4.14.2 (40 hex). A path is parsed from its right end;
//! what is left of the key is the namespace. Subdirs and flat are two spellings of one key, so machines that differ in
//! the layout share entries. Names upstream are as subdirs has them.
//!
//! In the bazel layout a key of 40 hex is made up to the 64 of a SHA-256 by repeating its first 24, which no SHA-256
//! does by itself; by that its entries are told from action results, and they are never parsed as such.
//!
//! A manifest is written again as it grows, so names may change what they mean. ccache takes an answer other than 2xx
//! to a PUT or a DELETE for a broken backend and asks it nothing more in that process: what can't be kept is
//! acknowledged, and a DELETE of nothing succeeds. Since 4.13.3 an empty body is an error to it: there are none.

use std::borrow::Borrow;
use std::ops::Range;
use std::sync::Arc;
use std::time::Duration;

use hyper::StatusCode;

use super::http::{Entries, OCTETS, Rules, Target};
use super::{Context, WHOLE_BYTES_MAX};
use crate::key::{Layout, Name, Naming, Space};

/// Results and manifests.
pub const CCACHE: Space =
    Space::new("ccache", Naming::Mutable { max_age: Duration::from_secs(60) }, Layout::Namespaced)
        .whole_up_to(WHOLE_BYTES_MAX);

const NO_KEY: &str = "not a path of ccache, which asks for /ccache[/ns]/{2}/{31 or 38} (layout=subdirs), \
                      /ccache[/ns]/{33 or 40} (flat) or /ccache[/ns]/ac/{64 hex} (bazel)";

/// The frontend over `context`.
pub fn frontend(context: Arc<Context>) -> Entries {
    let rules = Rules {
        space: CCACHE,
        allow: "GET, HEAD, PUT, DELETE",
        untyped: OCTETS,
        never_empty: Some("an entry of ccache is never empty; send its bytes"),
        nothing_deleted: StatusCode::NO_CONTENT,
    };
    Entries::new(context, rules)
}

/// What a path names, and which of its segments are the namespace. `None`: not a path of this frontend.
pub fn parse<S: Borrow<str>>(segments: &[S]) -> Option<(Range<usize>, Target)> {
    let is_own = segments.first()?.borrow() == "ccache";
    if let Some(key) = bazel_layout(segments) {
        let start = segments.len() - 2;
        let entry = || Target::of(Name::parse(&format!("ac/{key}")));
        return (is_own || repeats_its_beginning(key)).then(|| (usize::from(is_own)..start, entry()));
    }
    if !is_own {
        return None;
    }
    let Some((folder, rest, start)) = plain_layout(segments) else {
        return Some((0..0, Target::refused(NO_KEY)));
    };
    Some((1..start, Target::of(Name::parse(&format!("{folder}/{rest}")))))
}

/// The key of `ac/{64 hex}` at the right end.
fn bazel_layout<S: Borrow<str>>(segments: &[S]) -> Option<&str> {
    let [.., folder, key] = segments else { return None };
    let is_hex = |byte: u8| matches!(byte, b'0'..=b'9' | b'a'..=b'f');
    let key: &str = key.borrow();
    (folder.borrow() == "ac" && key.len() == 64 && key.bytes().all(is_hex)).then_some(key)
}

/// A key at the right end, in one segment or two, as subdirs spells it; and the segment in which it begins.
fn plain_layout<S: Borrow<str>>(segments: &[S]) -> Option<(&str, &str, usize)> {
    // Older keys are base 32 (digits, `a` to `v`), newer ones hex.
    let is_of_a_key = |byte: u8| byte.is_ascii_digit() || byte.is_ascii_lowercase();
    let last: &str = segments.last()?.borrow();
    if !last.bytes().all(is_of_a_key) {
        return None;
    }
    match last.len() {
        33 | 40 => Some((&last[..2], &last[2..], segments.len() - 1)),
        31 | 38 => {
            let start = segments.len().checked_sub(2)?;
            let folder: &str = segments[start].borrow();
            (folder.len() == 2 && folder.bytes().all(is_of_a_key)).then_some((folder, last, start))
        }
        _ => None,
    }
}

/// Whether the last 24 of 64 digits are the first 24.
fn repeats_its_beginning(hex: &str) -> bool {
    hex.as_bytes()[40..] == hex.as_bytes()[..24]
}
