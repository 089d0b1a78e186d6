//! Signature Version 4, in a header or in a query (presigned).
//!
//! Region and service are whatever the client put into its scope: nothing here depends on them. A path is taken as it
//! came, and again with its escapes as S3 writes them: clients differ in what they leave unescaped.

use std::fmt::Write as _;
use std::time::{SystemTime, UNIX_EPOCH};

use chrono::NaiveDateTime;
use hmac::{Hmac, KeyInit as _, Mac as _};
use hyper::header::{AUTHORIZATION, HOST, HeaderMap};
use hyper::http::request::Parts;
use percent_encoding::{AsciiSet, NON_ALPHANUMERIC, percent_decode_str, utf8_percent_encode};
use sha2::{Digest as _, Sha256};

use super::refusal::Refusal;
use crate::digest::hex;
use crate::keyring::{Access, Grant, Keyring};
use crate::protocol::Admission;
use crate::protocol::objects::query::Query;

/// Who asks.
#[derive(Debug)]
pub(super) enum Caller {
    /// It is not signed, or with a key that isn't ours, by somebody who is let in anyway.
    Owner,
    /// Signed with a key of ours.
    Key(Box<Signed>),
}

/// A signature that was verified.
#[derive(Debug)]
pub(super) struct Signed {
    pub(super) grant: Grant,
    /// What further signatures of the same request are made with.
    pub(super) seed: Seed,
}

/// What the signatures of a body's chunks go on from.
#[derive(Debug, Clone)]
pub(super) struct Seed {
    pub(super) key: [u8; 32],
    pub(super) date: String,
    pub(super) scope: String,
    pub(super) signature: String,
}

/// A signature as it is said.
#[derive(Debug, Default)]
struct Claimed {
    key_id: String,
    /// `{day}/{region}/{service}/aws4_request`
    scope: String,
    signed_headers: String,
    signature: String,
    date: String,
    /// Seconds that a presigned URL lasts.
    expires: Option<u64>,
}

const ALGORITHM: &str = "AWS4-HMAC-SHA256";
const SKEW_SECONDS: i64 = 15 * 60;
/// A presigned URL lasts a week at most.
const EXPIRES_MAX: u64 = 7 * 24 * 3600;
/// What S3 leaves as it is in paths and queries.
const ESCAPED: &AsciiSet = &NON_ALPHANUMERIC.remove(b'-').remove(b'.').remove(b'_').remove(b'~');
const ESCAPED_PATH: &AsciiSet = &ESCAPED.remove(b'/');

/// Who asks, if he may at all.
pub(super) fn caller(
    keyring: &Keyring,
    admission: Admission,
    head: &Parts,
    query: &Query,
) -> Result<Caller, Refusal> {
    let now = SystemTime::now().duration_since(UNIX_EPOCH).map_or(0, |since| since.as_secs());
    caller_at(keyring, admission, head, query, i64::try_from(now).unwrap_or(i64::MAX))
}

pub(super) fn caller_at(
    keyring: &Keyring,
    admission: Admission,
    head: &Parts,
    query: &Query,
    now: i64,
) -> Result<Caller, Refusal> {
    let claimed = match Claimed::find(&head.headers, query) {
        None => None,
        Some(claimed) => Some(claimed?),
    };
    let grant = claimed.as_ref().and_then(|claimed| keyring.s3(&claimed.key_id));
    match (claimed, grant, admission) {
        (Some(claimed), Some(grant), _) => {
            let seed = claimed.verify(&grant, head, query, now)?;
            if grant.expires.is_some_and(|expires| i64::try_from(expires).unwrap_or(i64::MAX) <= now) {
                let words = "the access key has expired; `larder token new --s3` issues another";
                return Err(Refusal::denied("AccessDenied", words));
            }
            Ok(Caller::Key(Box::new(Signed { grant, seed })))
        }
        // Tools find keys for something else in their environment.
        (_, _, Admission::Owner) => Ok(Caller::Owner),
        (Some(_), None, Admission::Signed) => {
            let words = "the access key id is none that this cache issued; `larder token list` shows those";
            Err(Refusal::denied("InvalidAccessKeyId", words))
        }
        (None, _, Admission::Signed) => {
            let words =
                "this listener takes signed requests only; `larder token new --s3 BUCKET` issues a key";
            Err(Refusal::denied("AccessDenied", words))
        }
    }
}

// === impl Caller ===

impl Caller {
    /// Whether this may be done with a bucket.
    pub(super) fn check(&self, bucket: &str, writes: bool) -> Result<(), Refusal> {
        let Self::Key(signed) = self else { return Ok(()) };
        let grant = &signed.grant;
        if grant.place != bucket {
            let words = format!("the access key is for the bucket `{}`, not for `{bucket}`", grant.place);
            return Err(Refusal::denied("AccessDenied", words));
        }
        if writes && grant.access == Access::ReadOnly {
            let words = "the access key may only read; `larder token new --s3 BUCKET --read-write` issues one that may write";
            return Err(Refusal::denied("AccessDenied", words));
        }
        Ok(())
    }
}

// === impl Claimed ===

impl Claimed {
    /// The signature that a request shows, if it shows one of this version.
    fn find(headers: &HeaderMap, query: &Query) -> Option<Result<Self, Refusal>> {
        let authorization = headers.get(AUTHORIZATION).and_then(|value| value.to_str().ok());
        if let Some(rest) = authorization.and_then(|value| value.strip_prefix(ALGORITHM)) {
            return Some(Self::of_header(rest, headers));
        }
        (query.get("X-Amz-Algorithm") == Some(ALGORITHM)).then(|| Self::of_query(query))
    }

    fn of_header(fields: &str, headers: &HeaderMap) -> Result<Self, Refusal> {
        let malformed = |words: &str| Refusal::bad("AuthorizationHeaderMalformed", words);
        let mut claimed = Self::default();
        for field in fields.split(',') {
            match field.trim().split_once('=') {
                Some(("Credential", value)) => claimed.set_credential(value).ok_or_else(|| {
                    malformed("Credential is not `{access key id}/{day}/{region}/{service}/aws4_request`")
                })?,
                Some(("SignedHeaders", value)) => claimed.signed_headers = value.to_owned(),
                Some(("Signature", value)) => claimed.signature = value.to_owned(),
                _ => return Err(malformed("Authorization has a field that is none of SigV4's")),
            }
        }
        let date = headers.get("x-amz-date").and_then(|value| value.to_str().ok());
        let http_date = || {
            let date = headers.get(hyper::header::DATE)?.to_str().ok()?;
            let time = httpdate::parse_http_date(date).ok()?;
            Some(chrono::DateTime::<chrono::Utc>::from(time).format("%Y%m%dT%H%M%SZ").to_string())
        };
        claimed.date = date.map(str::to_owned).or_else(http_date).ok_or_else(|| {
            Refusal::denied("AccessDenied", "AWS authentication requires a valid Date or x-amz-date header")
        })?;
        claimed
            .complete()
            .ok_or_else(|| malformed("Authorization lacks one of Credential, SignedHeaders, Signature"))
    }

    fn of_query(query: &Query) -> Result<Self, Refusal> {
        let malformed = |words: &str| Refusal::bad("AuthorizationQueryParametersError", words);
        let mut claimed = Self {
            signed_headers: query.text("X-Amz-SignedHeaders").to_owned(),
            signature: query.text("X-Amz-Signature").to_owned(),
            date: query.text("X-Amz-Date").to_owned(),
            ..Self::default()
        };
        claimed.set_credential(query.text("X-Amz-Credential")).ok_or_else(|| {
            malformed("X-Amz-Credential is not `{access key id}/{day}/{region}/{service}/aws4_request`")
        })?;
        let expires =
            query.text("X-Amz-Expires").parse().ok().filter(|seconds| (1..=EXPIRES_MAX).contains(seconds));
        claimed.expires =
            Some(expires.ok_or_else(|| malformed("X-Amz-Expires is a number from 1 to 604800"))?);
        claimed
            .complete()
            .ok_or_else(|| malformed("the query lacks X-Amz-SignedHeaders, X-Amz-Signature or X-Amz-Date"))
    }

    /// The id may have slashes; the scope has none but its own.
    fn set_credential(&mut self, value: &str) -> Option<()> {
        let mut parts = value.rsplitn(5, '/');
        let (end, service, region, day) = (parts.next()?, parts.next()?, parts.next()?, parts.next()?);
        self.key_id = parts.next()?.to_owned();
        self.scope = format!("{day}/{region}/{service}/{end}");
        (end == "aws4_request").then_some(())
    }

    fn complete(self) -> Option<Self> {
        let is_whole = ![&self.key_id, &self.signed_headers, &self.signature, &self.date]
            .iter()
            .any(|text| text.is_empty());
        is_whole.then_some(self)
    }

    fn verify(&self, grant: &Grant, head: &Parts, query: &Query, now: i64) -> Result<Seed, Refusal> {
        self.check_clock(now)?;
        let day = self.scope.split('/').next().unwrap_or_default();
        if !self.date.starts_with(day) || day.is_empty() {
            let words = "the day of the credential's scope is not that of the request's date";
            return Err(Refusal::denied("SignatureDoesNotMatch", words));
        }
        if !self.signed_headers.split(';').any(|name| name == "host") {
            return Err(Refusal::denied("AccessDenied", "the header `host` must be signed"));
        }
        let key = self.signing_key(grant);
        let path = head.uri.path();
        let plain = percent_decode_str(path).decode_utf8_lossy();
        let written = utf8_percent_encode(&plain, ESCAPED_PATH).to_string();
        let mut paths = vec![path];
        paths.extend((written != path).then_some(written.as_str()));
        let signature = unhex(&self.signature);
        for path in paths {
            let text = self.string_to_sign(&self.canonical(path, head, query));
            if signature.as_ref().is_some_and(|signature| mac(&key, &text).verify_slice(signature).is_ok()) {
                let (date, scope) = (self.date.clone(), self.scope.clone());
                return Ok(Seed { key, date, scope, signature: self.signature.clone() });
            }
        }
        let words = "the signature is not the one that the secret access key makes of this request; check the secret, \
                     and that nothing between changes the request";
        Err(Refusal::denied("SignatureDoesNotMatch", words))
    }

    fn check_clock(&self, now: i64) -> Result<(), Refusal> {
        let time = NaiveDateTime::parse_from_str(&self.date, "%Y%m%dT%H%M%SZ");
        let Ok(time) = time.map(|time| time.and_utc().timestamp()) else {
            return Err(Refusal::denied(
                "AccessDenied",
                "the request's date is not of the form 20260101T000000Z",
            ));
        };
        let skewed = || {
            let words = "the request's time is over 15 minutes away from this machine's clock; set the clock";
            Refusal::denied("RequestTimeTooSkewed", words)
        };
        match self.expires {
            None if (now - time).abs() > SKEW_SECONDS => Err(skewed()),
            Some(_) if time - now > SKEW_SECONDS => Err(skewed()),
            Some(expires) if now - time > i64::try_from(expires).unwrap_or(i64::MAX) => {
                Err(Refusal::denied("AccessDenied", "Request has expired"))
            }
            _ => Ok(()),
        }
    }

    fn signing_key(&self, grant: &Grant) -> [u8; 32] {
        let start = [b"AWS4", grant.secret.bytes()].concat();
        self.scope
            .split('/')
            .fold(start, |key, part| sign(&key, part).to_vec())
            .try_into()
            .unwrap_or_default()
    }

    fn canonical(&self, path: &str, head: &Parts, query: &Query) -> String {
        let escaped = |text: &str| utf8_percent_encode(text, ESCAPED).to_string();
        let unsigned = |name: &str| self.expires.is_some() && name == "X-Amz-Signature";
        let mut parameters: Vec<(String, String)> = query
            .pairs()
            .iter()
            .filter(|(name, _)| !unsigned(name))
            .map(|(name, value)| (escaped(name), escaped(value)))
            .collect();
        parameters.sort();
        let parameters: Vec<String> =
            parameters.iter().map(|(name, value)| format!("{name}={value}")).collect();
        let mut text = format!("{}\n{path}\n{}\n", head.method, parameters.join("&"));
        for name in self.signed_headers.split(';') {
            // A text takes whatever is written.
            let _ = writeln!(text, "{name}:{}", header(name, head));
        }
        let payload = head.headers.get("x-amz-content-sha256").and_then(|value| value.to_str().ok());
        let unsigned = if self.expires.is_some() { "UNSIGNED-PAYLOAD" } else { EMPTY_SHA256 };
        let _ = write!(text, "\n{}\n{}", self.signed_headers, payload.unwrap_or(unsigned));
        text
    }

    fn string_to_sign(&self, canonical: &str) -> String {
        let hash = hex(&Sha256::digest(canonical.as_bytes()));
        format!("{ALGORITHM}\n{}\n{}\n{hash}", self.date, self.scope)
    }
}

/// The SHA-256 of nothing.
pub(super) const EMPTY_SHA256: &str = "e3b0c44298fc1c149afbf4c8996fb92427ae41e4649b934ca495991b7852b855";

/// A header's values as they are signed.
fn header(name: &str, head: &Parts) -> String {
    let values =
        head.headers.get_all(name).iter().map(|value| String::from_utf8_lossy(value.as_bytes()).into_owned());
    let mut values: Vec<String> =
        values.map(|value| value.split_ascii_whitespace().collect::<Vec<_>>().join(" ")).collect();
    if values.is_empty()
        && *name == *HOST.as_str()
        && let Some(authority) = head.uri.authority()
    {
        // HTTP/2 has it elsewhere.
        values.push(authority.as_str().to_owned());
    }
    values.join(",")
}

fn mac(key: &[u8], text: &str) -> Hmac<Sha256> {
    match Hmac::<Sha256>::new_from_slice(key) {
        Ok(mac) => mac.chain_update(text),
        Err(_) => unreachable!("HMAC takes keys of any length"),
    }
}

/// The HMAC of a text.
pub(super) fn sign(key: &[u8], text: &str) -> [u8; 32] {
    mac(key, text).finalize().into_bytes().into()
}

/// Whether a signature in hex is that of a text.
pub(super) fn is_signed(key: &[u8], text: &str, signature: &str) -> bool {
    unhex(signature).is_some_and(|signature| mac(key, text).verify_slice(&signature).is_ok())
}

/// 32 bytes in hex.
pub(super) fn unhex(text: &str) -> Option<[u8; 32]> {
    let mut bytes = [0; 32];
    if text.len() != 64 || !text.is_ascii() {
        return None;
    }
    for (at, byte) in bytes.iter_mut().enumerate() {
        *byte = u8::from_str_radix(text.get(2 * at..2 * at + 2)?, 16).ok()?;
    }
    Some(bytes)
}

#[cfg(any(fuzzing, test))]
pub(super) mod fuzzing;
#[cfg(test)]
mod tests;
