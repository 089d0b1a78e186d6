//! What a server said, told apart from what somebody on the way said, and what follows from it.
//!
//! A page in HTML is nobody's cache entry: as a 2xx it is a captive portal's, unless what was asked for is a page by
//! its name and has an ETag. A 404 in HTML is taken from servers of files only (nginx says it so); the others have their
//! own words for it. A redirect is never followed: the token is for this server alone.

use std::time::{Duration, SystemTime};

use base64::Engine as _;
use base64::engine::general_purpose::STANDARD;
use reqwest::Response;
use reqwest::header::HeaderMap;

use super::super::location::Dialect;
use super::super::{Failure, Fault, ObjectMeta, Signal, Stated};
use super::paths::Carries;
use crate::entry::Attrs;

/// Of an answer in words, this much is read.
const WORDS_BYTES_MAX: usize = 16 << 10;

/// Of them, this much is shown.
const WORDS_CHARS_MAX: usize = 200;

/// Turborepo's headers and the attributes that they are.
pub(super) const ARTIFACT: [(&str, &str); 3] = [
    ("x-artifact-tag", "artifacttag"),
    ("x-artifact-duration", "artifactduration"),
    ("x-artifact-sha", "artifactsha"),
];

/// Headers of an object and the attributes that they are.
pub(super) const OBJECT: [(&str, &str); 4] = [
    ("content-encoding", "contentencoding"),
    ("cache-control", "cachecontrol"),
    ("content-disposition", "contentdisposition"),
    ("content-language", "contentlanguage"),
];

/// The head of one answer.
#[derive(Debug)]
pub(super) struct Reply {
    pub(super) status: u16,
    /// In HTML.
    pub(super) is_page: bool,
    /// What it says of the entry. The length is that of this answer, if it says one.
    pub(super) meta: ObjectMeta,
    pub(super) len: Option<u64>,
    /// `Content-Range`: where the bytes begin, and how many there are in all.
    pub(super) starts: Option<u64>,
    pub(super) total: Option<u64>,
    location: Option<String>,
    retry_after: Option<Duration>,
    /// The first line of its words.
    said: String,
}

/// What was asked, as far as refusals differ.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum Call {
    Read,
    Put,
    Delete,
}

// === impl Carries ===

impl Carries {
    /// What user metadata begins with.
    pub(super) fn meta_prefix(self) -> Option<&'static str> {
        match self {
            Self::Type | Self::Artifact => None,
            Self::S3 => Some("x-amz-meta-"),
            Self::Azure => Some("x-ms-meta-"),
        }
    }

    fn attrs(self, headers: &HeaderMap) -> Attrs {
        let text = |name: &str| headers.get(name).and_then(|value| value.to_str().ok());
        let given = match self {
            Self::Artifact => &ARTIFACT[..],
            Self::Type => &OBJECT[..1],
            Self::S3 | Self::Azure => &OBJECT[..],
        };
        let pairs = given.iter().filter_map(|(header, attr)| {
            let value = text(header).filter(|value| *value != "identity")?;
            Some(((*attr).to_owned(), value.to_owned()))
        });
        let attrs = Attrs::new(pairs).unwrap_or_default();
        let Some(prefix) = self.meta_prefix() else { return attrs };
        let user = headers.iter().filter_map(|(name, value)| {
            let name = name.as_str().strip_prefix(prefix)?;
            Some((name.to_owned(), value.to_str().ok()?.to_owned()))
        });
        attrs.with_user(user).unwrap_or(attrs)
    }
}

// === impl Reply ===

impl Reply {
    pub(super) fn of(response: &Response, carries: Carries) -> Self {
        let headers = response.headers();
        let text = |name: &str| headers.get(name).and_then(|value| value.to_str().ok());
        let date = |name: &str| text(name).and_then(|text| httpdate::parse_http_date(text).ok());
        let status = response.status().as_u16();
        let range = text("content-range").and_then(|range| range.strip_prefix("bytes "));
        // A weak one says nothing of bytes.
        let etag = text("etag").filter(|etag| !etag.starts_with("W/")).map(|etag| etag.trim_matches('"'));
        let content_type = text("content-type").map(str::to_owned);
        let md5 = text("content-md5").filter(|_| status != 206);
        Self {
            status,
            is_page: content_type.as_deref().is_some_and(is_html),
            len: text("content-length").and_then(|len| len.parse().ok()),
            starts: range.and_then(|range| range.split_once('-')?.0.parse().ok()),
            total: range.and_then(|range| range.rsplit_once('/')?.1.parse().ok()),
            location: text("location").map(str::to_owned),
            retry_after: text("retry-after").and_then(retry_after),
            said: String::new(),
            meta: ObjectMeta {
                len: 0,
                etag: etag.filter(|etag| !etag.is_empty()).map(Into::into),
                last_modified: date("last-modified"),
                server_date: date("date"),
                attrs: carries.attrs(headers),
                content_type,
                stated: Stated {
                    md5: md5.and_then(|text| STANDARD.decode(text).ok()?.try_into().ok()),
                    etag_md5: None,
                    crc32c: None,
                },
            },
        }
    }

    /// Adds what its body says, which is read to its end, so that the connection can be used again.
    pub(super) async fn with_words(mut self, mut response: Response) -> Self {
        let mut words = Vec::new();
        // What breaks off has said what it has said.
        while let Ok(Some(piece)) = response.chunk().await {
            words.extend_from_slice(&piece);
            if words.len() > WORDS_BYTES_MAX {
                break;
            }
        }
        if !self.is_page {
            let words = String::from_utf8_lossy(&words);
            let line = words.lines().map(str::trim).find(|line| !line.is_empty()).unwrap_or_default();
            self.said = line.chars().filter(|c| !c.is_control()).take(WORDS_CHARS_MAX).collect();
        }
        self
    }

    /// Leaves out its words if one of `secrets` is in them: a server may quote what it was sent.
    pub(super) fn without<'a>(mut self, mut secrets: impl Iterator<Item = &'a str>) -> Self {
        // A scheme is no secret.
        let is_secret = |part: &&str| part.len() > 3 && !matches!(*part, "Bearer" | "Basic");
        let parts = |secret: &'a str| secret.split(' ').filter(is_secret);
        if secrets.any(|secret| parts(secret).any(|part| self.said.contains(part))) {
            self.said.clear();
        }
        self
    }

    pub(super) fn is_success(&self) -> bool {
        (200..300).contains(&self.status)
    }

    /// A 2xx that is the entry `name`, not somebody's page.
    pub(super) fn is_own(&self, name: &str) -> bool {
        let is_named = || [".html", ".htm", ".xhtml"].iter().any(|end| name.ends_with(end));
        !self.is_page || (self.meta.etag.is_some() && is_named())
    }

    /// The server says that it isn't there: not at `path`, where it may have a folder.
    pub(super) fn is_absent(&self, dialect: Dialect, path: &str) -> bool {
        let is_of_files = dialect.is_of_files();
        let leads_into = |to: &str| to.strip_suffix('/').is_some_and(|to| to.ends_with(path));
        match self.status {
            404 | 410 => !self.is_page || is_of_files,
            301 => is_of_files && self.location.as_deref().is_some_and(leads_into),
            _ => false,
        }
    }

    /// What a call that was answered otherwise than hoped means; `remedy` is for a server that doesn't let us in.
    pub(super) fn fault(&self, call: Call, remedy: &str) -> Fault {
        let state = |signal, remedy: &str| Fault::state(signal, self.words(remedy));
        match self.status {
            300..400 => {
                // Without its query, which may hold anything.
                let to =
                    self.location.as_deref().and_then(|to| to.split(['?', '#']).next()).unwrap_or("nowhere");
                let to: String = to.chars().filter(|c| !c.is_control() && *c != '@').take(100).collect();
                state(
                    Signal::Fault,
                    &format!(
                        "it leads to {to}, and no redirect is followed with a token: a captive portal, or correct the \
                         URL of the upstream"
                    ),
                )
            }
            401 | 403 => state(Signal::Denied, remedy),
            404 | 410 if self.is_page && call == Call::Read => {
                state(Signal::Fault, "not the server's own answer")
            }
            404 | 410 if call == Call::Put => state(
                Signal::Denied,
                "no such place: correct the path or the dialect in the URL of the upstream",
            ),
            405 if call == Call::Put => state(
                Signal::Denied,
                "it takes no PUT: let the server take some, correct the dialect, or say read_only=true",
            ),
            409 if call == Call::Put => {
                state(Signal::Denied, "it makes no folders: nginx does with `create_full_put_path on`")
            }
            // A server that is spoken to in the wrong way says so in a page.
            413 if call == Call::Put => Failure::Refused(self.words("")).into(),
            400 if call == Call::Put && !self.is_page => Failure::Refused(self.words("")).into(),
            400 if self.is_page => state(
                Signal::Fault,
                "it takes no such requests: is a client certificate missing or a foreign one, or is it https?",
            ),
            429 => Failure::Throttled { retry_after: self.retry_after }.into(),
            503 if self.retry_after.is_some() && !self.is_page => {
                Failure::Throttled { retry_after: self.retry_after }.into()
            }
            407 | 511 => state(Signal::Fault, "a proxy or a captive portal wants a login"),
            501 => state(Signal::Neutral, ""),
            500.. => state(Signal::Fault, ""),
            200..300 => {
                state(Signal::Fault, "not the server's own answer: a captive portal, a proxy, a wrong port?")
            }
            412 => state(Signal::Fault, "an answer to a condition that was not set"),
            _ => state(Signal::Neutral, ""),
        }
    }

    /// `HTTP {status}: {what it said}; {remedy}`, or what there is of it.
    fn words(&self, remedy: &str) -> String {
        let mut words = format!("HTTP {}", self.status);
        if self.is_page {
            words.push_str(" with a page in HTML");
        } else if !self.said.is_empty() {
            words.push_str(": ");
            words.push_str(self.said.trim_end_matches('.'));
        }
        if !remedy.is_empty() {
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

fn retry_after(text: &str) -> Option<Duration> {
    if let Ok(seconds) = text.trim().parse() {
        return Some(Duration::from_secs(seconds));
    }
    httpdate::parse_http_date(text).ok()?.duration_since(SystemTime::now()).ok()
}
