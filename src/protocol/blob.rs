//! The generic blob route: anything with GET and PUT (Rush, Please, curl).
//!
//! ```text
//! GET HEAD                /blob/{ns}/{name…}    one range, ETag, conditions
//! PUT POST PATCH DELETE   /blob/{ns}/{name…}    conditions; POST and PATCH are whole bodies too (Rush's uploadMethod)
//! ```
//!
//! Names may change what they mean. How they are answered for is in [`super::http::Entries`].

use std::borrow::Borrow;
use std::ops::Range;
use std::sync::Arc;
use std::time::Duration;

use hyper::StatusCode;

use super::http::{Entries, OCTETS, Rules, Target, path_name};
use super::{Context, WHOLE_BYTES_MAX};
use crate::key::{Layout, Naming, Space};

/// Generic blobs. A minute is what their clients' own local copies outlive anyway.
pub const BLOB: Space =
    Space::new("blob", Naming::Mutable { max_age: Duration::from_secs(60) }, Layout::Namespaced)
        .whole_up_to(WHOLE_BYTES_MAX);

/// The frontend over `context`.
pub fn frontend(context: Arc<Context>) -> Entries {
    let rules = Rules {
        space: BLOB,
        allow: "GET, HEAD, PUT, POST, PATCH, DELETE",
        untyped: OCTETS,
        never_empty: None,
        nothing_deleted: StatusCode::NOT_FOUND,
    };
    Entries::new(context, rules)
}

/// What a path names, and which of its segments are the namespace. `None`: not a path of this frontend.
pub fn parse<S: Borrow<str>>(segments: &[S]) -> Option<(Range<usize>, Target)> {
    let (first, rest) = segments.split_first()?;
    if first.borrow() != "blob" {
        return None;
    }
    Some(match rest.split_first() {
        None => (0..0, Target::refused("the path needs a namespace: /blob/{ns}/{name}")),
        Some((_, [])) => (1..2, Target::refused("the path needs a name: /blob/{ns}/{name}")),
        Some((_, name)) => (1..2, Target::of(path_name(name))),
    })
}
