//! What is sent with every request to a cache that is no bucket: a token, headers.
//!
//! A file holds one token alone, or headers, one a line, as `curl -H @FILE` reads them:
//!
//! ```text
//! Authorization: Bearer …
//! x-buildbuddy-api-key: …
//! ```
//! A token alone is sent as `Authorization: Bearer TOKEN`. `Authorization: Basic USER:PASSWORD`, which no header is, is
//! sent as the base64 that is meant.

use std::fmt;
use std::sync::Arc;

use base64::Engine as _;
use base64::engine::general_purpose::STANDARD;

use super::stored::{Keeper, Material};
use super::{Credentials, KeyFile, Watched};
use crate::error::{Error, Kind, Result};

/// Names in lower case, and values. Nothing of it is shown.
#[derive(Clone, PartialEq, Eq, Default)]
pub(in super::super) struct Headers(Arc<[(String, String)]>);

/// Who says what is to be sent, before each request.
#[derive(Debug)]
pub(in super::super) enum Sender {
    Fixed(Headers),
    File(Arc<KeyFile<Headers>>),
    Stored(Arc<Keeper>),
}

/// What a request has of its own: sent twice, or by others' words, it would be another request.
const OURS: [&str; 9] = [
    "host",
    "content-length",
    "transfer-encoding",
    "connection",
    "te",
    "upgrade",
    "content-type",
    "content-encoding",
    "accept-encoding",
];

// === impl Headers ===

impl Headers {
    /// The one of a bearer token.
    pub(in super::super) fn bearer(token: &str) -> Result<Self, String> {
        let is_token = |byte: u8| byte.is_ascii_graphic();
        if token.is_empty() || !token.bytes().all(is_token) {
            return Err("holds no token: letters, digits and marks without a blank".into());
        }
        Ok(Self([("authorization".to_owned(), format!("Bearer {token}"))].into()))
    }

    /// The token of its `Authorization: Bearer`, if it has one.
    pub(in super::super) fn bearer_token(&self) -> Option<&str> {
        let authorization = self.iter().find(|(name, _)| *name == "authorization");
        authorization.and_then(|(_, value)| value.strip_prefix("Bearer "))
    }

    /// Names and values.
    pub(in super::super) fn iter(&self) -> impl Iterator<Item = (&str, &str)> {
        self.0.iter().map(|(name, value)| (&**name, &**value))
    }
}

impl super::Keys for Headers {
    fn parse(text: &str, _: &str) -> Result<Self, String> {
        let text = text.trim();
        if !text.contains(|mark: char| mark == ':' || mark.is_whitespace()) {
            return Self::bearer(text);
        }
        let lines = text.lines().map(str::trim).filter(|line| !line.is_empty() && !line.starts_with('#'));
        let headers = lines.enumerate().map(|(at, line)| header(line).map_err(|words| (at + 1, words)));
        let headers: Result<Vec<_>, _> = headers.collect();
        headers.map(|headers| Self(headers.into())).map_err(|(at, words)| format!("header {at} {words}"))
    }
}

impl fmt::Debug for Headers {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "Headers({} redacted)", self.0.len())
    }
}

/// One line. The error never quotes it.
fn header(line: &str) -> Result<(String, String), &'static str> {
    let (name, value) = line.split_once(':').ok_or("is not `Name: value`")?;
    let is_name = |byte: u8| byte.is_ascii_alphanumeric() || b"!#$%&'*+-.^_`|~".contains(&byte);
    if name.is_empty() || !name.bytes().all(is_name) {
        return Err("has a name that no header can have");
    }
    let (name, value) = (name.to_ascii_lowercase(), value.trim());
    if !value.bytes().all(|byte| byte == b' ' || byte.is_ascii_graphic()) {
        return Err("has a value that is not plain ASCII");
    }
    if OURS.contains(&&*name) {
        return Err("is one that belongs to the request itself: leave it out");
    }
    match value.strip_prefix("Basic ") {
        Some(account) if name == "authorization" && account.contains(':') => {
            Ok((name, format!("Basic {}", STANDARD.encode(account))))
        }
        _ => Ok((name, value.to_owned())),
    }
}

// === impl Sender ===

impl Sender {
    /// Of credentials that such an upstream takes.
    ///
    /// # Errors
    /// `Invalid`: they are a bucket's.
    pub(in super::super) fn new(credentials: &Credentials) -> Result<Self> {
        Ok(match credentials {
            Credentials::Anonymous => Self::Fixed(Headers::default()),
            Credentials::Token(token) => {
                let headers = Headers::bearer(token);
                Self::Fixed(
                    headers.map_err(|words| Error::invalid(format!("LARDER_UPSTREAM_TOKEN {words}")))?,
                )
            }
            Credentials::File { path, .. } => Self::File(Arc::new(KeyFile::new(path.clone(), ""))),
            Credentials::Stored(stored) => Self::Stored(Arc::clone(stored.keeper()?)),
            Credentials::Keys { .. }
            | Credentials::AccountKey(_)
            | Credentials::Sas(_)
            | Credentials::InstanceMetadata => {
                return Err(Error::invalid(
                    "a cache that is no bucket takes a token or headers, not a bucket's keys",
                ));
            }
        })
    }

    /// What is to be sent now. A file is looked at again at most once a second, off the calling thread.
    ///
    /// # Errors
    /// `Denied`, with the remedy.
    pub(in super::super) async fn headers(&self) -> Result<Headers> {
        match self {
            Self::Fixed(headers) => Ok(headers.clone()),
            Self::File(file) => {
                if let Some(known) = file.fresh() {
                    return known;
                }
                let file = Arc::clone(file);
                tokio::task::spawn_blocking(move || file.read()).await.map_err(|_ended| {
                    Error::new(Kind::Unavailable, "read the credentials file: the daemon stops")
                })?
            }
            Self::Stored(keeper) => {
                let (material, _) = keeper.now().await?;
                let words = match &*material {
                    Material::Headers(headers) => return Ok(headers.clone()),
                    Material::Bearer(token) => match Headers::bearer(token.expose()) {
                        Ok(headers) => return Ok(headers),
                        Err(words) => words,
                    },
                    Material::Aws(_) | Material::Azure(_) => {
                        "is a bucket's; a cache that is no bucket takes a token, headers or a helper".into()
                    }
                };
                Err(Error::new(Kind::Denied, format!("the credential `{}` {words}", keeper.name())))
            }
        }
    }

    /// What to do when the upstream doesn't let us in.
    pub(in super::super) fn remedy(&self) -> String {
        match self {
            Self::File(file) => {
                format!("correct the token in {}; a changed file is read by itself", file.path().display())
            }
            Self::Stored(keeper) => {
                let name = keeper.name();
                format!(
                    "the stored credential `{name}` is not let in: store the right one with `larder login {name}`"
                )
            }
            Self::Fixed(headers) if headers.0.is_empty() => {
                "give a token: credentials=FILE in the URL of the upstream, or LARDER_UPSTREAM_TOKEN".into()
            }
            Self::Fixed(_) => "correct LARDER_UPSTREAM_TOKEN, and start larder again".into(),
        }
    }
}

impl Watched for Sender {
    fn has_changed(&self) -> bool {
        match self {
            Self::Fixed(_) => false,
            Self::File(file) => file.has_changed(),
            Self::Stored(keeper) => keeper.has_changed(),
        }
    }
}

#[cfg(test)]
mod tests {
    use super::super::Keys as _;
    use super::*;

    fn parsed(text: &str) -> Result<Vec<(String, String)>, String> {
        let headers = Headers::parse(text, "")?;
        assert!(!format!("{headers:?}").contains("s3cret"));
        Ok(headers.iter().map(|(name, value)| (name.to_owned(), value.to_owned())).collect())
    }

    #[test]
    fn a_token_alone_or_headers_as_curl_reads_them() {
        let bearer = ("authorization".to_owned(), "Bearer s3cret".to_owned());
        assert_eq!(parsed("s3cret\n"), Ok(vec![bearer.clone()]));
        assert_eq!(parsed("# of the team\nAuthorization: Bearer s3cret\n\n"), Ok(vec![bearer.clone()]));
        let basic = ("authorization".to_owned(), "Basic dXNlcjpzM2NyZXQ=".to_owned());
        for text in ["Authorization: Basic user:s3cret", "authorization: Basic dXNlcjpzM2NyZXQ="] {
            assert_eq!(parsed(text), Ok(vec![basic.clone()]), "{text}");
        }
        let other = ("x-api-key".to_owned(), "s3cret two".to_owned());
        assert_eq!(parsed("Authorization:Bearer s3cret\r\nX-Api-Key:  s3cret two "), Ok(vec![bearer, other]));
    }

    #[tokio::test]
    async fn stored_ones_are_sent_as_they_are_now() {
        use crate::upstream::credentials::stored::{Document, Kept, Places, Stored};
        use crate::upstream::runtime::Runtime;
        let state = tempfile::tempdir().expect("a temporary folder");
        let places = Places::new(state.path());
        let runtime = Runtime::with(places.clone()).expect("threads");
        let credentials = runtime.keep(&Credentials::Stored(Stored::new("work")));
        let sender = Sender::new(&credentials).expect("a sender");
        let error = sender.headers().await.expect_err("not stored");
        assert!(error.message().contains("larder login work"), "{error}");
        let documents = [
            (r#"{"kind":"token","token":"s3cret"}"#, "Bearer s3cret"),
            (r#"{"kind":"headers","headers":"x-a: b\nauthorization: s3cret"}"#, "s3cret"),
        ];
        for (text, wanted) in documents {
            let document = Document::parse(text).expect("a document");
            places.store("work", &document, Some(Kept::File)).await.expect("it is stored");
            let is_sent = |headers: &Headers| {
                headers.iter().any(|(name, value)| name == "authorization" && value == wanted)
            };
            let deadline = std::time::Instant::now() + std::time::Duration::from_secs(30);
            while !sender.headers().await.is_ok_and(|headers| is_sent(&headers)) {
                assert!(std::time::Instant::now() < deadline, "{wanted} is never sent");
                tokio::task::yield_now().await;
            }
            assert!(sender.has_changed() && sender.remedy().contains("larder login work"));
        }
        runtime.stop(std::time::Duration::from_secs(1)).await;
    }

    #[test]
    fn what_is_wrong_is_said_and_never_quoted() {
        for (text, word) in [
            ("", "no token"),
            ("s3cret s3cret", "Name: value"),
            ("x y: s3cret", "no header can have"),
            ("x: s3crét", "ASCII"),
            ("x: 1\nHost: s3cret", "header 2 is one"),
        ] {
            let words = parsed(text).expect_err(text);
            assert!(words.contains(word) && !words.contains("s3cr"), "{text}: {words}");
        }
    }
}
