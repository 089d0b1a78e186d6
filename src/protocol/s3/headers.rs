//! The headers that every answer has, and those that describe an object.

use std::sync::OnceLock;
use std::sync::atomic::{AtomicU64, Ordering};
use std::time::{SystemTime, UNIX_EPOCH};

use chrono::DateTime;
use hyper::header::{ACCEPT_RANGES, ETAG, HeaderMap, HeaderValue, LAST_MODIFIED};

use super::{HEADERS, checksum};
use crate::entry::Meta;
use crate::protocol::http::{self, Answer};
use crate::protocol::objects::attrs;

/// An answer with its id.
pub(super) fn dressed(mut answer: Answer, request_id: &str) -> Answer {
    if let Ok(id) = HeaderValue::from_str(request_id) {
        answer.headers_mut().insert("x-amz-request-id", id);
    }
    answer
}

/// One that no other request of this process has.
pub(super) fn request_id() -> String {
    static START: OnceLock<u64> = OnceLock::new();
    static NUMBER: AtomicU64 = AtomicU64::new(0);
    let start = START.get_or_init(now_ms);
    format!("{start:X}{:08X}", NUMBER.fetch_add(1, Ordering::Relaxed))
}

/// What an object is. `asked`: whether its checksum is wanted, which is of the whole.
pub(super) fn describe(answer: &mut Answer, meta: &Meta, asked: &HeaderMap, is_part: bool) {
    let headers = answer.headers_mut();
    attrs::give(headers, meta, HEADERS);
    if let Some(etag) = http::quoted(&meta.etag) {
        headers.insert(ETAG, etag);
    }
    if let Some(time) = http::last_modified(meta.stored_ms) {
        headers.insert(LAST_MODIFIED, time);
    }
    headers.insert(ACCEPT_RANGES, HeaderValue::from_static("bytes"));
    let wants =
        asked.get("x-amz-checksum-mode").is_some_and(|mode| mode.as_bytes().eq_ignore_ascii_case(b"enabled"));
    if wants && !is_part {
        checksum::give(headers, meta);
    }
}

/// A time as S3's documents have it.
pub(super) fn iso(ms: u64) -> String {
    let time = i64::try_from(ms).ok().and_then(DateTime::from_timestamp_millis).unwrap_or_default();
    time.format("%Y-%m-%dT%H:%M:%S%.3fZ").to_string()
}

/// Milliseconds since the Unix epoch.
pub(super) fn now_ms() -> u64 {
    SystemTime::now().duration_since(UNIX_EPOCH).map_or(0, |since| since.as_millis() as u64)
}
