//! What an S3 store said: its answer, told apart from everybody else's, and what follows from it.
//!
//! An answer is the store's *own* when it carries a header that only a store sends (`x-amz-*` and its likes), an
//! ETag without HTML behind it, or an error document of S3. A captive portal, a proxy's login page, a web server on
//! the wrong port have none of that: their 200 is no body, their 404 is no absence.

use std::time::{Duration, SystemTime};

use object_store::client::HttpResponse;

use super::super::{Failure, Fault, ObjectMeta, Signal, Stated};
use crate::entry::Attrs;

/// Of an error document, this much is looked at.
pub(super) const ERROR_BYTES_MAX: usize = 64 << 10;

/// Of a store's message, this much is shown.
const MESSAGE_CHARS_MAX: usize = 200;

/// Headers that only object stores send. `x-amz-meta-` is among them: whoever stores metadata is a store.
const OWN_HEADERS: [&str; 4] = ["x-amz-", "x-goog-", "x-rgw-", "x-minio-"];

/// One answer.
#[derive(Debug, Clone, Default)]
pub(super) struct Answer {
    pub(super) status: u16,
    /// It is the store's own.
    pub(super) own: bool,
    /// S3's error code.
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
        let attrs = response.headers().iter().filter_map(|(name, value)| {
            let name = name.as_str().strip_prefix("x-amz-meta-")?;
            Some((name.to_owned(), value.to_str().ok()?.to_owned()))
        });
        let meta = ObjectMeta {
            len: text("content-length").and_then(|len| len.parse().ok()).unwrap_or(0),
            etag: etag.map(Into::into),
            last_modified: date("last-modified"),
            server_date: date("date"),
            attrs: attributes(attrs),
            content_type: owned("content-type"),
            stated: Stated {
                md5: text("content-md5").and_then(base64),
                etag_md5: etag.filter(|_| !is_encrypted(&text)).and_then(md5_of_hex),
                crc32c: text("x-amz-checksum-crc32c").and_then(base64).map(u32::from_be_bytes),
            },
        };
        Self {
            status,
            own: marked || (etag.is_some() && !html),
            code: None,
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
            self.code = element(&body, "Code");
            self.message = element(&body, "Message");
            self.own |= self.code.is_some();
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

    pub(super) fn has_code(&self, code: &str) -> bool {
        self.code.as_deref() == Some(code)
    }

    /// The store says that there is no such object: not that there is no such bucket, nor that it may not say.
    pub(super) fn is_absent(&self) -> bool {
        self.own && self.status == 404 && self.code.as_deref().is_none_or(|code| !is_about_bucket(code))
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
            (429, _) | (_, "SlowDown" | "SlowDownRead" | "SlowDownWrite" | "TooManyRequests") => {
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
            (401 | 403, "AccessDenied") if matches!(call, Call::List | Call::Delete) => {
                state(Signal::Neutral, "the keys have no right to do this")
            }
            (401 | 403, _) => state(Signal::Denied, "give the keys the right to do this, or other keys"),
            (404, code) if is_about_bucket(code) => {
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

/// Codes that deny whatever is asked, with what to do about them.
fn denial(code: &str) -> Option<&'static str> {
    Some(match code {
        "ExpiredToken" | "ExpiredTokenException" | "TokenRefreshRequired" | "RequestExpired" => {
            "renew the keys; a changed credentials file is read by itself"
        }
        "InvalidToken"
        | "InvalidAccessKeyId"
        | "InvalidSecurity"
        | "NotSignedUp"
        | "AccountProblem"
        | "AllAccessDisabled"
        | "MissingSecurityHeader" => "replace the keys; a changed credentials file is read by itself",
        "SignatureDoesNotMatch" => "correct the secret key; a changed credentials file is read by itself",
        "RequestTimeTooSkewed" => "set this machine's clock",
        code if code.starts_with("KMS.") => "see to the bucket's encryption key",
        _ => return None,
    })
}

fn is_about_bucket(code: &str) -> bool {
    matches!(code, "NoSuchBucket" | "InvalidBucketName" | "NoSuchUpload")
}

/// Codes with status 400 that are about the way, not about the object.
fn is_passing(code: &str) -> bool {
    let way = ["RequestTimeout", "BadDigest", "InvalidDigest", "IncompleteBody", "XAmzContentSHA256Mismatch"];
    let bucket = ["InvalidRequest", "InvalidBucketName", "NoSuchBucket", "NoSuchUpload", "InvalidPart"];
    code.is_empty() || way.contains(&code) || bucket.contains(&code) || code.starts_with("Authorization")
}

fn is_html(content_type: &str) -> bool {
    let kind = content_type.split(';').next().unwrap_or("").trim();
    kind.eq_ignore_ascii_case("text/html") || kind.eq_ignore_ascii_case("application/xhtml+xml")
}

/// With keys of its own, an object's ETag has the shape of an MD5 and isn't one.
fn is_encrypted<'a>(text: &impl Fn(&str) -> Option<&'a str>) -> bool {
    text("x-amz-server-side-encryption").is_some_and(|kind| kind != "AES256")
        || text("x-amz-server-side-encryption-customer-algorithm").is_some()
}

/// The metadata that [`Attrs`] can carry; foreign names with dashes are none of ours.
fn attributes(pairs: impl Iterator<Item = (String, String)>) -> Attrs {
    let kept = pairs.filter(|pair| Attrs::new([pair.clone()]).is_ok());
    Attrs::new(kept).unwrap_or_default()
}

/// The text of the first `<name>`, with XML's own escapes undone.
pub(super) fn element(xml: &str, name: &str) -> Option<String> {
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
mod tests {
    use super::*;

    fn own(status: u16, code: &str) -> Answer {
        Answer { status, own: true, ..Answer::default() }
            .with_error(format!("<Error><Code>{code}</Code><Message>Words.</Message></Error>").as_bytes())
    }

    fn signal(status: u16, code: &str, call: Call) -> Signal {
        own(status, code).fault(call).signal
    }

    #[test]
    fn only_the_object_itself_is_refused_for_good() {
        for (status, code) in [(400, "EntityTooLarge"), (400, "InvalidArgument"), (413, "EntityTooLarge")] {
            let fault = own(status, code).fault(Call::Put);
            assert!(
                matches!(&fault.failure, Failure::Refused(words) if words.starts_with(code)),
                "{fault:?}"
            );
            assert_eq!(fault.signal, Signal::Success);
        }
        for (status, code, call) in [
            (400, "ExpiredToken", Call::Put),
            (400, "RequestTimeout", Call::Put),
            (400, "BadDigest", Call::Put),
            (400, "InvalidRequest", Call::Put),
            (400, "AuthorizationHeaderMalformed", Call::Put),
            (401, "Unauthorized", Call::Put),
            (403, "AccessDenied", Call::Put),
            (404, "NoSuchBucket", Call::Put),
            (405, "MethodNotAllowed", Call::Put),
            (407, "", Call::Put),
            (409, "OperationAborted", Call::Put),
            (500, "InternalError", Call::Put),
            (503, "ServiceUnavailable", Call::Put),
            (400, "InvalidArgument", Call::Get),
        ] {
            let fault = own(status, code).fault(call);
            assert!(matches!(fault.failure, Failure::State(_)), "{status} {code}: {fault:?}");
        }
        let proxy = Answer { status: 413, ..Answer::default() }.fault(Call::Put);
        assert!(matches!(proxy.failure, Failure::State(_)), "a proxy's limit is not the store's");
    }

    #[test]
    fn signals() {
        for (status, code, call, expected) in [
            (400, "ExpiredToken", Call::Get, Signal::Denied),
            (403, "InvalidAccessKeyId", Call::Get, Signal::Denied),
            (403, "SignatureDoesNotMatch", Call::List, Signal::Denied),
            (403, "RequestTimeTooSkewed", Call::Get, Signal::Denied),
            (403, "AccessDenied", Call::Put, Signal::Denied),
            (403, "AccessDenied", Call::List, Signal::Neutral),
            (403, "AccessDenied", Call::Delete, Signal::Neutral),
            (404, "NoSuchBucket", Call::Get, Signal::Denied),
            (301, "PermanentRedirect", Call::Get, Signal::Denied),
            (429, "", Call::Get, Signal::Neutral),
            (503, "SlowDown", Call::Put, Signal::Neutral),
            (503, "ServiceUnavailable", Call::Put, Signal::Fault),
            (500, "InternalError", Call::Get, Signal::Fault),
            (501, "NotImplemented", Call::Put, Signal::Neutral),
        ] {
            assert_eq!(signal(status, code, call), expected, "{status} {code} {call:?}");
        }
    }

    #[test]
    fn words_name_the_code_and_the_remedy() {
        let fault = own(400, "ExpiredToken").fault(Call::Put);
        assert_eq!(
            fault.failure.to_string(),
            "ExpiredToken: Words; renew the keys; a changed credentials file is read by itself"
        );
        let portal = Answer { status: 200, content_type: Some("text/html".into()), ..Answer::default() };
        assert!(
            portal
                .fault(Call::Get)
                .failure
                .to_string()
                .starts_with("HTTP 200 with text/html; not the store's")
        );
    }

    #[test]
    fn a_missing_bucket_is_not_an_absent_object() {
        assert!(own(404, "NoSuchKey").is_absent());
        assert!(!own(404, "NoSuchBucket").is_absent());
        assert!(
            !Answer { status: 404, ..Answer::default() }.with_error(b"<html>not found</html>").is_absent()
        );
    }

    #[test]
    fn checksums_are_parsed_strictly() {
        assert_eq!(base64::<4>("4waSgw=="), Some(0xe306_9283_u32.to_be_bytes()));
        assert_eq!(base64::<16>("1B2M2Y8AsgTpgAmY7PhCfg==").map(|md5| md5[0]), Some(0xd4));
        for bad in ["", "4waSgw==-3", "4waSg", "4waS!w==", "1B2M2Y8AsgTpgAmY7PhCfg=="] {
            assert_eq!(base64::<4>(bad), None, "{bad}");
        }
        assert!(md5_of_hex("d41d8cd98f00b204e9800998ecf8427e").is_some());
        assert!(md5_of_hex("d41d8cd98f00b204e9800998ecf8427e-2").is_none());
    }

    #[test]
    fn xml_is_read_as_far_as_needed() {
        assert_eq!(element("<a><Code> x&amp;lt;y </Code></a>", "Code").as_deref(), Some("x&lt;y"));
        assert_eq!(element("<Code>x", "Code"), None);
    }
}
