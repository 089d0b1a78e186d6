//! The headers that every answer has, and those that describe a blob.

use std::sync::OnceLock;
use std::sync::atomic::{AtomicU64, Ordering};
use std::time::{SystemTime, UNIX_EPOCH};

use hyper::header::{ACCEPT_RANGES, ETAG, HeaderMap, HeaderName, HeaderValue, LAST_MODIFIED};

use super::HEADERS;
use crate::entry::{CHECKSUM_PREFIX, Meta};
use crate::protocol::http::{self, Answer};
use crate::protocol::objects::attrs;

const REQUEST_ID: HeaderName = HeaderName::from_static("x-ms-request-id");
const CLIENT_REQUEST_ID: HeaderName = HeaderName::from_static("x-ms-client-request-id");
const VERSION: HeaderName = HeaderName::from_static("x-ms-version");
pub(super) const CONTENT_MD5: HeaderName = HeaderName::from_static("content-md5");
pub(super) const BLOB_CONTENT_MD5: HeaderName = HeaderName::from_static("x-ms-blob-content-md5");

/// Of clients that say none.
const DEFAULT_VERSION: HeaderValue = HeaderValue::from_static("2021-12-02");
/// A longer one is not given back.
const CLIENT_REQUEST_ID_BYTES_MAX: usize = 1024;

/// What every blob is, as far as clients ask.
const BLOCK_BLOB: [(HeaderName, HeaderValue); 4] = [
    (HeaderName::from_static("x-ms-blob-type"), HeaderValue::from_static("BlockBlob")),
    (HeaderName::from_static("x-ms-lease-status"), HeaderValue::from_static("unlocked")),
    (HeaderName::from_static("x-ms-lease-state"), HeaderValue::from_static("available")),
    (HeaderName::from_static("x-ms-server-encrypted"), HeaderValue::from_static("false")),
];

/// An answer with what all have: an id, the client's own, the version that it speaks.
pub(super) fn dressed(mut answer: Answer, asked: &HeaderMap) -> Answer {
    let headers = answer.headers_mut();
    if let Ok(id) = HeaderValue::try_from(request_id()) {
        headers.insert(REQUEST_ID, id);
    }
    headers.insert(VERSION, asked.get(&VERSION).cloned().unwrap_or(DEFAULT_VERSION));
    if let Some(id) = asked.get(&CLIENT_REQUEST_ID).filter(|id| id.len() <= CLIENT_REQUEST_ID_BYTES_MAX) {
        headers.insert(CLIENT_REQUEST_ID, id.clone());
    }
    answer
}

/// The version that a request speaks.
pub(super) fn version(asked: &HeaderMap) -> String {
    let version = asked.get(&VERSION).cloned().unwrap_or(DEFAULT_VERSION);
    String::from_utf8_lossy(version.as_bytes()).into_owned()
}

/// One that no other request of this process has, in the form of a GUID.
pub(super) fn request_id() -> String {
    static START: OnceLock<u64> = OnceLock::new();
    static NUMBER: AtomicU64 = AtomicU64::new(0);
    let start = START.get_or_init(|| {
        SystemTime::now().duration_since(UNIX_EPOCH).map_or(0, |since| since.as_nanos() as u64)
    });
    let number = NUMBER.fetch_add(1, Ordering::Relaxed);
    format!(
        "{:08x}-{:04x}-{:04x}-{:04x}-{:012x}",
        start >> 32,
        (start >> 16) & 0xffff,
        start & 0xffff,
        number >> 48,
        number & 0xffff_ffff_ffff
    )
}

/// What a blob is.
pub(super) fn describe(answer: &mut Answer, meta: &Meta, is_part: bool) {
    let headers = answer.headers_mut();
    attrs::give(headers, meta, HEADERS);
    stamp(headers, &meta.etag, meta.stored_ms);
    headers.insert(ACCEPT_RANGES, HeaderValue::from_static("bytes"));
    if let Some(time) = http::last_modified(meta.stored_ms) {
        headers.insert("x-ms-creation-time", time);
    }
    for (name, value) in BLOCK_BLOB {
        headers.insert(name, value);
    }
    if let Some(md5) = meta.attrs.get(&md5_attr()).and_then(|md5| HeaderValue::from_str(md5).ok()) {
        headers.insert(if is_part { BLOB_CONTENT_MD5 } else { CONTENT_MD5 }, md5);
    }
}

/// Which version of a blob it is.
pub(super) fn stamp(headers: &mut HeaderMap, etag: &str, stored_ms: u64) {
    if let Some(etag) = http::quoted(etag) {
        headers.insert(ETAG, etag);
    }
    if let Some(time) = http::last_modified(stored_ms) {
        headers.insert(LAST_MODIFIED, time);
    }
}

/// The attribute that keeps what a client said the MD5 of its blob is.
pub(super) fn md5_attr() -> String {
    format!("{CHECKSUM_PREFIX}md5")
}

/// Milliseconds since the Unix epoch.
pub(super) fn now_ms() -> u64 {
    SystemTime::now().duration_since(UNIX_EPOCH).map_or(0, |since| since.as_millis() as u64)
}
