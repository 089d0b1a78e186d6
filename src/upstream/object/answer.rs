//! What a store said: its answer, told apart from everybody else's, and what follows from it.
//!
//! An answer is the store's *own* when it carries a header that only a store sends (`x-amz-*` and its likes), an
//! ETag without HTML behind it, or an error document of a store. A captive portal, a proxy's login page, a web server
//! on the wrong port have none of that: their 200 is no body, their 404 is no absence. The dialects share no code
//! that means one thing here and another there, so all are read alike.

use std::time::{Duration, SystemTime};

use object_store::client::HttpResponse;

use super::super::{Failure, Fault, ObjectMeta, Signal, Stated};
use super::codes::{EXPIRED_SAS, denial, is_a_right, is_about_bucket, is_passing};
use crate::entry::Attrs;

/// Of an error document, this much is looked at.
pub(super) const ERROR_BYTES_MAX: usize = 64 << 10;

/// Of a store's message, this much is shown.
const MESSAGE_CHARS_MAX: usize = 200;

/// Headers that only object stores send. `x-amz-meta-` is among them: whoever stores metadata is a store.
const OWN_HEADERS: [&str; 9] = [
    "x-amz-",
    "x-goog-",
    "x-guploader-",
    "x-rgw-",
    "x-minio-",
    "x-ms-version",
    "x-ms-error-code",
    "x-ms-blob-",
    "x-ms-meta-",
];

/// On every answer of Azure's, and on Microsoft's login pages.
const MICROSOFTS: &str = "x-ms-request-id";

/// What user metadata is called, by dialect.
const META_HEADERS: [&str; 3] = ["x-amz-meta-", "x-ms-meta-", "x-goog-meta-"];

/// One answer.
#[derive(Debug, Clone, Default)]
pub(super) struct Answer {
    pub(super) status: u16,
    /// It is the store's own.
    pub(super) own: bool,
    /// The store's error code.
    pub(super) code: Option<String>,
    message: Option<String>,
    content_type: Option<String>,
    retry_after: Option<Duration>,
    region: Option<String>,
    /// What it says of the object; the length is that of this answer.
    pub(super) meta: ObjectMeta,
    /// `Content-Range`'s length of the whole object.
    pub(super) total: Option<u64>,
}

/// What was asked, as far as refusals differ.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum Call {
    Get,
    Head,
    Put,
    Delete,
    List,
}

// === impl Answer ===

impl Answer {
    /// Takes what matters of an answer's head.
    pub(super) fn of(response: &HttpResponse) -> Self {
        let status = response.status().as_u16();
        let text = |name: &str| response.headers().get(name).and_then(|value| value.to_str().ok());
        let owned = |name: &str| text(name).map(str::to_owned);
        let date = |name: &str| text(name).and_then(|text| httpdate::parse_http_date(text).ok());
        let etag = text("etag").map(|etag| etag.trim_start_matches("W/").trim_matches('"'));
        let html = text("content-type").is_some_and(is_html);
        let marked = response
            .headers()
            .keys()
            .any(|name| OWN_HEADERS.iter().any(|own| name.as_str().starts_with(own)));
        // What its bytes are encoded in is told to whoever gets them.
        let encoding =
            owned("content-encoding").filter(|coding| !matches!(&**coding, "" | "identity" | "aws-chunked"));
        let encoding = encoding.map(|coding| ("contentencoding".to_owned(), coding));
        let attrs = response.headers().iter().filter_map(|(name, value)| {
            let name = META_HEADERS.iter().find_map(|prefix| name.as_str().strip_prefix(prefix))?;
            Some((name.to_owned(), value.to_str().ok()?.to_owned()))
        });
        let hashes: Vec<&str> = response
            .headers()
            .get_all("x-goog-hash")
            .iter()
            .filter_map(|value| value.to_str().ok())
            .collect();
        let meta = ObjectMeta {
            len: text("content-length").and_then(|len| len.parse().ok()).unwrap_or(0),
            etag: etag.map(Into::into),
            last_modified: date("last-modified"),
            server_date: date("date"),
            attrs: attributes(unlike(attrs.collect(), encoding)),
            content_type: owned("content-type"),
            stated: Stated {
                md5: text("x-ms-blob-content-md5")
                    // Of a part, it would be that part's.
                    .or_else(|| text("content-md5").filter(|_| status != 206))
                    .or_else(|| goog_hash(&hashes, "md5", &text))
                    .and_then(base64),
                etag_md5: etag.filter(|_| !is_encrypted(&text)).and_then(md5_of_hex),
                crc32c: text("x-amz-checksum-crc32c")
                    .or_else(|| goog_hash(&hashes, "crc32c", &text))
                    .and_then(base64)
                    .map(u32::from_be_bytes),
            },
        };
        Self {
            status,
            own: marked || ((etag.is_some() || text(MICROSOFTS).is_some()) && !html),
            // Azure's says it here too, where an answer to HEAD has no body.
            code: owned("x-ms-error-code"),
            message: None,
            content_type: owned("content-type"),
            retry_after: text("retry-after").and_then(retry_after),
            region: owned("x-amz-bucket-region"),
            meta,
            total: text("content-range").and_then(|range| range.rsplit_once('/')?.1.parse().ok()),
        }
    }

    /// Adds what the body of an error says.
    pub(super) fn with_error(mut self, body: &[u8]) -> Self {
        let body = String::from_utf8_lossy(body);
        if body.contains("<Error") {
            let code = element(&body, "Code");
            self.own |= code.is_some();
            self.code = code.or(self.code);
            self.message = element(&body, "Message");
            if element(&body, "AuthenticationErrorDetail").is_some_and(|why| why.contains("time frame")) {
                // The same code as that of a wrong key.
                self.code = Some(EXPIRED_SAS.into());
            }
        }
        self
    }

    pub(super) fn is_success(&self) -> bool {
        (200..300).contains(&self.status)
    }

    /// It is XML: a listing, the one body that no portal sends.
    pub(super) fn is_xml(&self) -> bool {
        self.content_type.as_deref().is_some_and(|kind| {
            matches!(kind.split(';').next().unwrap_or("").trim(), "application/xml" | "text/xml")
        })
    }

    /// It names its reason.
    pub(super) fn says_why(&self) -> bool {
        self.code.is_some()
    }

    pub(super) fn has_code(&self, code: &str) -> bool {
        self.code.as_deref() == Some(code)
    }

    /// The store says that there is no such object: not that there is no such bucket, nor that it may not say.
    pub(super) fn is_absent(&self) -> bool {
        self.own && self.status == 404 && !self.is_about_bucket()
    }

    /// It is about the bucket, whatever was asked for.
    pub(super) fn is_about_bucket(&self) -> bool {
        self.code.as_deref().is_some_and(is_about_bucket)
    }

    /// What a refused call means.
    pub(super) fn fault(&self, call: Call) -> Fault {
        let state = |signal, remedy: &str| Fault::state(signal, self.words(remedy));
        if !self.own {
            return state(
                Signal::Fault,
                "not the store's own answer: a captive portal, a proxy, a wrong port?",
            );
        }
        let code = self.code.as_deref().unwrap_or("");
        if let Some(remedy) = denial(code) {
            return state(Signal::Denied, remedy);
        }
        match (self.status, code) {
            (429, _)
            | (_, "SlowDown" | "SlowDownRead" | "SlowDownWrite" | "TooManyRequests" | "ServerBusy") => {
                Failure::Throttled { retry_after: self.retry_after }.into()
            }
            (301 | 307 | 308, _)
            | (400, "AuthorizationHeaderMalformed" | "IllegalLocationConstraintException") => {
                let region = self.region.as_deref().unwrap_or("another");
                state(
                    Signal::Denied,
                    &format!("the bucket is in region {region}: correct region= of the upstream"),
                )
            }
            // Lists and deletes take rights of their own, which keys that get and put need not have.
            (401 | 403, code) if is_a_right(code) && matches!(call, Call::List | Call::Delete) => {
                state(Signal::Neutral, "the keys have no right to do this")
            }
            (401 | 403, _) => state(Signal::Denied, "give the keys the right to do this, or other keys"),
            (404 | 409, code) if is_about_bucket(code) => {
                state(Signal::Denied, "make the bucket, or correct the URL of the upstream")
            }
            (400 | 413, code) if call == Call::Put && !is_passing(code) => {
                Failure::Refused(self.words("")).into()
            }
            (501, _) => state(Signal::Neutral, ""),
            (500.., _) => state(Signal::Fault, ""),
            _ => state(Signal::Neutral, ""),
        }
    }

    /// `{code}: {message}; {remedy}`, or what there is of it.
    fn words(&self, remedy: &str) -> String {
        let mut words = self.code.clone().unwrap_or_else(|| format!("HTTP {}", self.status));
        if let Some(message) = &self.message {
            words.push_str(": ");
            // Azure's goes on with ids and times.
            let message = message.lines().next().unwrap_or_default();
            words.extend(message.chars().filter(|c| !c.is_control()).take(MESSAGE_CHARS_MAX));
        } else if let Some(content_type) = self.content_type.as_ref().filter(|_| !self.own) {
            words.push_str(&format!(" with {}", content_type.escape_debug()));
        }
        if !remedy.is_empty() {
            let end = words.trim_end_matches('.').len();
            words.truncate(end);
            words.push_str("; ");
            words.push_str(remedy);
        }
        words
    }
}

fn is_html(content_type: &str) -> bool {
    let kind = content_type.split(';').next().unwrap_or("").trim();
    kind.eq_ignore_ascii_case("text/html") || kind.eq_ignore_ascii_case("application/xhtml+xml")
}

/// With keys of its own, an object's ETag has the shape of an MD5 and isn't one.
fn is_encrypted<'a>(text: &impl Fn(&str) -> Option<&'a str>) -> bool {
    text("x-amz-server-side-encryption").is_some_and(|kind| kind != "AES256")
        || text("x-goog-encryption-kms-key-name").is_some()
        || text("x-goog-encryption-algorithm").is_some()
        || text("x-amz-server-side-encryption-customer-algorithm").is_some()
}

/// One of Google's hashes, `crc32c=…,md5=…`: of what is stored, which may be unpacked on its way.
fn goog_hash<'a>(hashes: &[&'a str], name: &str, text: &impl Fn(&str) -> Option<&'a str>) -> Option<&'a str> {
    if text("x-goog-stored-content-encoding").is_some_and(|encoding| encoding != "identity") {
        return None;
    }
    let pairs = hashes.iter().flat_map(|hashes| hashes.split(','));
    pairs.filter_map(|pair| pair.trim().split_once('=')).find_map(|(of, hash)| (of == name).then_some(hash))
}

/// The metadata that [`Attrs`] can carry; foreign names with dashes are none of ours.
/// All, and one more unless its name is among them.
fn unlike(
    mut pairs: Vec<(String, String)>,
    more: Option<(String, String)>,
) -> impl Iterator<Item = (String, String)> {
    pairs.extend(more.filter(|more| !pairs.iter().any(|pair| pair.0 == more.0)));
    pairs.into_iter()
}

/// Names that others chose and no attribute can have are kept as a client's own, where there is room for them.
fn attributes(pairs: impl Iterator<Item = (String, String)>) -> Attrs {
    let (kept, others): (Vec<_>, Vec<_>) = pairs.partition(|pair| Attrs::new([pair.clone()]).is_ok());
    let attrs = Attrs::new(kept).unwrap_or_default();
    attrs.with_user(others).unwrap_or(attrs)
}

/// The text of the first `<name>`, with XML's own escapes undone.
pub(in super::super) fn element(xml: &str, name: &str) -> Option<String> {
    let (_, rest) = xml.split_once(&format!("<{name}>"))?;
    let (text, _) = rest.split_once("</")?;
    let undone =
        [("&lt;", "<"), ("&gt;", ">"), ("&quot;", "\""), ("&apos;", "'"), ("&#34;", "\""), ("&amp;", "&")];
    Some(undone.iter().fold(text.trim().to_owned(), |text, (from, to)| text.replace(from, to)))
}

fn retry_after(text: &str) -> Option<Duration> {
    if let Ok(seconds) = text.trim().parse() {
        return Some(Duration::from_secs(seconds));
    }
    httpdate::parse_http_date(text).ok()?.duration_since(SystemTime::now()).ok()
}

fn md5_of_hex(etag: &str) -> Option<[u8; 16]> {
    let mut bytes = [0; 16];
    if etag.len() != 32 || !etag.bytes().all(|byte| matches!(byte, b'0'..=b'9' | b'a'..=b'f')) {
        return None;
    }
    for (byte, at) in bytes.iter_mut().zip((0..32).step_by(2)) {
        *byte = u8::from_str_radix(&etag[at..at + 2], 16).ok()?;
    }
    Some(bytes)
}

/// Exactly `N` bytes of padded base64. A checksum of parts (`…-3`) is none of the whole.
fn base64<const N: usize>(text: &str) -> Option<[u8; N]> {
    let digits = text.trim().trim_end_matches('=');
    if digits.len() != (N * 8).div_ceil(6) {
        return None;
    }
    let (mut bytes, mut at, mut held, mut bits) = ([0; N], 0, 0_u32, 0);
    for digit in digits.bytes() {
        let value = match digit {
            b'A'..=b'Z' => digit - b'A',
            b'a'..=b'z' => digit - b'a' + 26,
            b'0'..=b'9' => digit - b'0' + 52,
            b'+' => 62,
            b'/' => 63,
            _ => return None,
        };
        held = held << 6 | u32::from(value);
        bits += 6;
        if bits >= 8 {
            bits -= 8;
            *bytes.get_mut(at)? = (held >> bits) as u8;
            at += 1;
        }
    }
    (at == N).then_some(bytes)
}

#[cfg(test)]
mod tests;
