//! Gradle's HTTP build cache, and whatever else speaks its protocol.
//!
//! ```text
//! GET HEAD PUT  /gradle[/ns…]/{32 hex}    the outputs of one task; HEAD for those who look
//! ```
//!
//! Observed with Gradle 4.4.1, read in the source of 8 and 9. A hit is any 2xx, a miss is 404, and the first answer of
//! another kind switches the remote cache off for the rest of the build, reads and writes. So nothing that is ours is
//! ever such an answer, and a body over `entry_max` is taken with 200 and shed: a 413 is no exception in Gradle's code,
//! whatever its manual says. A key that is none, or a bad namespace, is refused: that is a URL to be corrected.

use std::borrow::Borrow;
use std::ops::Range;
use std::sync::Arc;

use hyper::StatusCode;
use hyper::header::HeaderValue;

use super::http::{Entries, Rules, Target};
use super::{Context, WHOLE_BYTES_MAX};
use crate::key::{Layout, Name, Naming, Space};

/// Task outputs, by the hash of everything that went into the task.
pub const GRADLE: Space =
    Space::new("gradle", Naming::Immutable, Layout::Namespaced).whole_up_to(WHOLE_BYTES_MAX);

/// Bytes of an MD5 in hex: what Gradle calls a cache key.
const KEY_BYTES: usize = 32;
/// What Gradle asks for since 5.0; 4 stores `.v1`, which comes back as it was sent.
const ARTIFACT: HeaderValue = HeaderValue::from_static("application/vnd.gradle.build-cache-artifact.v2");
const NO_KEY: &str = "a path ends in a cache key of 32 lower-case hex digits: /gradle[/ns]/{key}; the URL to give to \
                      Gradle ends before it";

/// The frontend over `context`.
pub fn frontend(context: Arc<Context>) -> Entries {
    let rules = Rules {
        space: GRADLE,
        allow: "GET, HEAD, PUT",
        untyped: ARTIFACT,
        never_empty: None,
        nothing_deleted: StatusCode::NOT_FOUND,
    };
    Entries::new(context, rules)
}

/// What a path names, and which of its segments are the namespace. `None`: not a path of this frontend.
pub fn parse<S: Borrow<str>>(segments: &[S]) -> Option<(Range<usize>, Target)> {
    let (first, rest) = segments.split_first()?;
    if first.borrow() != "gradle" {
        return None;
    }
    let key: &str = rest.last().map_or("", Borrow::borrow);
    let is_hex = |byte: u8| matches!(byte, b'0'..=b'9' | b'a'..=b'f');
    if key.len() != KEY_BYTES || !key.bytes().all(is_hex) {
        return Some((0..0, Target::refused(NO_KEY)));
    }
    Some((1..segments.len() - 1, Target::of(Name::parse(key))))
}
