//! The Maven build cache extension's remote cache.
//!
//! ```text
//! GET HEAD PUT DELETE  /maven[/ns…]/v1.2/{groupId}/{artifactId}/{checksum}/buildinfo.xml
//!                      /maven[/ns…]/v1.2/{groupId}/{artifactId}/{checksum}/{artifact file}
//!                      /maven[/ns…]/v1.2/{groupId}/{artifactId}/{buildId}/build-cache-report.xml
//! OPTIONS              any of these: no WebDAV
//! ```
//!
//! Observed with Maven 3.9.9 and the extension's 1.2.0 and 1.2.1, which say `v1.1`; its source says `v1.2`. A path is
//! parsed from its right end: the five segments that begin with the layout's version, whichever it is, are the name;
//! what is before them is the namespace.
//!
//! A build of the same inputs may be saved again, unless the extension was told that the first is final; so names may
//! change what they mean. The extension takes any failure for a miss or an upload that didn't happen, and says so. A
//! transport with WebDAV asks OPTIONS before its first PUT, and would make folders first of a server that has it.

use std::borrow::Borrow;
use std::ops::Range;
use std::sync::Arc;
use std::time::Duration;

use hyper::StatusCode;

use super::http::{Entries, OCTETS, Rules, Target, path_name};
use super::{Context, WHOLE_BYTES_MAX};
use crate::key::{Layout, Naming, Space};

/// Build infos, artifacts and reports.
pub const MAVEN: Space =
    Space::new("maven", Naming::Mutable { max_age: Duration::from_secs(60) }, Layout::Namespaced)
        .whole_up_to(WHOLE_BYTES_MAX);

/// Version, group, artifact, checksum, file.
const NAME_SEGMENTS: usize = 5;
const NO_NAME: &str = "not a path of the Maven build cache, which asks for \
                       /maven[/ns]/v1.2/{groupId}/{artifactId}/{checksum}/{file} (or v1.1)";

/// The frontend over `context`.
pub fn frontend(context: Arc<Context>) -> Entries {
    let rules = Rules {
        space: MAVEN,
        allow: "GET, HEAD, PUT, DELETE",
        untyped: OCTETS,
        never_empty: None,
        nothing_deleted: StatusCode::NOT_FOUND,
    };
    Entries::new(context, rules)
}

/// What a path names, and which of its segments are the namespace. `None`: not a path of this frontend.
pub fn parse<S: Borrow<str>>(segments: &[S]) -> Option<(Range<usize>, Target)> {
    if segments.first()?.borrow() != "maven" {
        return None;
    }
    let start = segments.len().saturating_sub(NAME_SEGMENTS);
    if start == 0 || !is_version(segments[start].borrow()) {
        return Some((0..0, Target::refused(NO_NAME)));
    }
    Some((1..start, Target::of(path_name(&segments[start..]))))
}

/// `v1`, `v1.1`, `v1.2`, …
fn is_version(segment: &str) -> bool {
    let number = |part: &str| !part.is_empty() && part.bytes().all(|byte| byte.is_ascii_digit());
    segment.strip_prefix('v').is_some_and(|version| version.split('.').all(number))
}
