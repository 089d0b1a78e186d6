//! What is stored of a credential: its kind and its fields, as JSON.
//!
//! ```text
//! {"kind": "s3", "access_key_id": "…", "secret_access_key": "…"}
//! {"kind": "aws-process", "command": "aws configure export-credentials --profile build"}
//! ```
//! Every value is a text. The table of kinds is the one source of what is asked for, of what is refused, and of what
//! `larder login` says of each.

use std::collections::BTreeMap;
use std::time::SystemTime;

use chrono::{DateTime, Utc};
use serde_json::{Map, Value};

use super::super::{Keys, Secret};

/// A kind of credential.
#[derive(Debug, PartialEq, Eq)]
pub struct Kind {
    /// The word in documents and flags.
    pub name: &'static str,
    /// What it is, in a few words.
    pub what: &'static str,
    /// What it takes, in the order in which it is asked for.
    pub fields: &'static [Field],
}

/// One field of a kind.
#[derive(Debug, PartialEq, Eq)]
pub struct Field {
    /// Its name.
    pub name: &'static str,
    /// Whether it is asked for without an echo.
    pub secret: bool,
    /// Whether it has to be there.
    pub needed: bool,
    /// Whether it may have several lines: then it is the whole of standard input.
    pub lines: bool,
}

/// A credential as it is stored.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Document {
    kind: &'static Kind,
    fields: BTreeMap<&'static str, Secret>,
}

const fn plain(name: &'static str) -> Field {
    Field { name, secret: false, needed: true, lines: false }
}

const fn maybe(name: &'static str) -> Field {
    Field { name, secret: false, needed: false, lines: false }
}

const fn secret(name: &'static str) -> Field {
    Field { name, secret: true, needed: true, lines: false }
}

const fn maybe_secret(name: &'static str) -> Field {
    Field { name, secret: true, needed: false, lines: false }
}

const fn lines(name: &'static str) -> Field {
    Field { name, secret: true, needed: true, lines: true }
}

const fn kind(name: &'static str, what: &'static str, fields: &'static [Field]) -> Kind {
    Kind { name, what, fields }
}

/// All kinds.
pub const KINDS: &[Kind] = &[
    kind(
        "s3",
        "an access key of S3, or of what speaks it",
        &[
            plain("access_key_id"),
            secret("secret_access_key"),
            maybe_secret("session_token"),
            maybe("expires"),
        ],
    ),
    kind(
        "aws-profile",
        "a profile of the AWS tools' files: keys, credential_process, role_arn with source_profile, SSO",
        &[
            plain("profile"),
            maybe("credentials_file"),
            maybe("config_file"),
            maybe("sts_endpoint"),
            maybe("sso_endpoint"),
        ],
    ),
    kind("aws-process", "a command that prints keys, as credential_process has it", &[plain("command")]),
    kind(
        "aws-assume-role",
        "a role, assumed with an access key",
        &[
            plain("role_arn"),
            plain("access_key_id"),
            secret("secret_access_key"),
            maybe_secret("session_token"),
            maybe("external_id"),
            maybe("session_name"),
            maybe("region"),
            maybe("sts_endpoint"),
        ],
    ),
    kind(
        "aws-web-identity",
        "a role, assumed with a token that somebody else keeps in a file",
        &[
            plain("role_arn"),
            plain("token_file"),
            maybe("session_name"),
            maybe("region"),
            maybe("sts_endpoint"),
        ],
    ),
    kind(
        "aws-container",
        "the role of a container: ECS, EKS Pod Identity",
        &[maybe("url"), maybe("token_file")],
    ),
    kind("aws-instance", "the role of an EC2 instance", &[maybe("endpoint")]),
    kind(
        "google",
        "Google's JSON: a service account's key, application default credentials, workload identity",
        &[lines("json")],
    ),
    kind("google-metadata", "the service account of a machine at Google", &[maybe("endpoint")]),
    kind("azure-key", "the key of a storage account", &[secret("key")]),
    kind("azure-sas", "a shared access signature", &[secret("sas"), maybe("expires")]),
    kind(
        "azure-connection-string",
        "a connection string with a key or a signature",
        &[secret("connection_string")],
    ),
    kind("azure-cli", "who is logged in to `az`", &[maybe("command")]),
    kind(
        "azure-managed-identity",
        "the identity of a machine at Azure",
        &[maybe("client_id"), maybe("endpoint")],
    ),
    kind(
        "azure-workload-identity",
        "an application, by a token that somebody else keeps in a file",
        &[maybe("tenant_id"), maybe("client_id"), maybe("token_file"), maybe("authority")],
    ),
    kind("token", "a bearer token", &[secret("token"), maybe("expires")]),
    kind("headers", "headers, one a line, as `curl -H @FILE` reads them", &[lines("headers")]),
    kind(
        "helper",
        "a command in the credential-helper protocol, as Bazel uses",
        &[plain("command"), plain("uri")],
    ),
];

// === impl Kind ===

impl Kind {
    /// That of this name.
    ///
    /// # Errors
    /// Words that name all kinds.
    pub fn named(name: &str) -> Result<&'static Self, String> {
        KINDS.iter().find(|kind| kind.name == name).ok_or_else(|| {
            let names: Vec<&str> = KINDS.iter().map(|kind| kind.name).collect();
            let shown: String = name.escape_debug().take(40).collect();
            format!("`{shown}` is no kind of credential; take one of {}", names.join(", "))
        })
    }

    /// Its one field that has to be there, if there is only one.
    pub fn only(&self) -> Option<&'static Field> {
        let mut needed = self.fields.iter().filter(|field| field.needed);
        needed.next().filter(|_| needed.next().is_none())
    }
}

// === impl Document ===

impl Document {
    /// Of these fields. Empty ones count as left out.
    ///
    /// # Errors
    /// Words that name the field that is missing, or isn't one; they never quote a value.
    pub fn new(
        kind: &'static Kind,
        given: impl IntoIterator<Item = (String, Secret)>,
    ) -> Result<Self, String> {
        let mut fields = BTreeMap::new();
        for (name, value) in given {
            let Some(field) = kind.fields.iter().find(|field| field.name == name) else {
                let known: Vec<&str> = kind.fields.iter().map(|field| field.name).collect();
                let shown: String = name.escape_debug().take(40).collect();
                return Err(format!(
                    "`{shown}` is no field of {}; it takes {}",
                    kind.name,
                    if known.is_empty() { "none".into() } else { known.join(", ") }
                ));
            };
            if value.expose().contains('\0') || (!field.lines && value.expose().contains(['\n', '\r'])) {
                return Err(format!("`{}` has more than one line; it is one", field.name));
            }
            if !value.expose().trim().is_empty() {
                fields.insert(field.name, Secret::new(value.expose().trim()));
            }
        }
        if let Some(missing) =
            kind.fields.iter().find(|field| field.needed && !fields.contains_key(field.name))
        {
            return Err(format!("{} has no `{}`; it has to", kind.name, missing.name));
        }
        let document = Self { kind, fields };
        document.expires_checked()?;
        super::provide::check(&document)?;
        Ok(document)
    }

    /// Reads one from its text.
    ///
    /// # Errors
    /// Words; they never quote the text.
    pub fn parse(text: &str) -> Result<Self, String> {
        let value: Value =
            serde_json::from_str(text).map_err(|_| "is not JSON, as `larder login` writes it")?;
        let Value::Object(mut fields) = value else { return Err("is not a JSON object".into()) };
        let Some(Value::String(kind)) = fields.remove("kind") else { return Err("has no `kind`".into()) };
        Self::of_object(Kind::named(&kind)?, fields)
    }

    /// Of the fields of a JSON object without its kind.
    ///
    /// # Errors
    /// Words; they never quote a value.
    pub fn of_object(kind: &'static Kind, object: Map<String, Value>) -> Result<Self, String> {
        let mut fields = Vec::new();
        for (name, value) in object {
            match value {
                Value::String(text) => fields.push((name, Secret::new(text))),
                Value::Null => {}
                Value::Bool(_) | Value::Number(_) | Value::Array(_) | Value::Object(_) => {
                    let shown: String = name.escape_debug().take(40).collect();
                    return Err(format!("`{shown}` is not a text"));
                }
            }
        }
        Self::new(kind, fields)
    }

    /// Its text. Whoever gets it gets the secrets.
    pub fn to_secret(&self) -> Secret {
        let mut object = Map::new();
        object.insert("kind".into(), self.kind.name.into());
        object.extend(self.fields.iter().map(|(name, value)| ((*name).to_owned(), value.expose().into())));
        let text = Value::Object(object).to_string();
        Secret::new(text)
    }

    /// Its kind.
    pub fn kind(&self) -> &'static Kind {
        self.kind
    }

    /// A field.
    pub(super) fn get(&self, name: &str) -> Option<&str> {
        self.fields.get(name).map(Secret::expose)
    }

    /// A field that has been seen to be there.
    pub(super) fn needed(&self, name: &str) -> &str {
        self.get(name).unwrap_or_default()
    }

    /// When it ends, where it says so itself.
    pub fn expires(&self) -> Option<SystemTime> {
        self.expires_checked().unwrap_or_default()
    }

    fn expires_checked(&self) -> Result<Option<SystemTime>, String> {
        let Some(text) = self.get("expires") else { return Ok(self.get("sas").and_then(end_of_sas)) };
        parse_time(text)
            .map(Some)
            .ok_or_else(|| "`expires` is no time such as 2030-01-31T12:00:00Z".to_owned())
    }
}

impl Keys for Document {
    fn parse(text: &str, _: &str) -> Result<Self, String> {
        Self::parse(text)
    }
}

/// The end that a shared access signature has in itself. One that points to a policy has none.
fn end_of_sas(sas: &str) -> Option<SystemTime> {
    let text = sas.trim_start_matches('?').split('&').find_map(|pair| pair.strip_prefix("se="))?;
    let text = percent_encoding::percent_decode_str(text).decode_utf8().ok()?;
    // Azure takes a day, and a time without seconds, too.
    let text = match text.len() {
        10 => format!("{text}T00:00:00Z"),
        17 => text.replace('Z', ":00Z"),
        _ => text.into_owned(),
    };
    parse_time(&text)
}

/// A time of RFC 3339.
pub(super) fn parse_time(text: &str) -> Option<SystemTime> {
    DateTime::parse_from_rfc3339(text.trim()).ok().map(|time| time.with_timezone(&Utc).into())
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn every_kind_goes_to_text_and_back() {
        for kind in KINDS {
            let value = |field: &Field| match (kind.name, field.name) {
                ("google", _) => {
                    r#"{"type":"service_account","client_email":"a","private_key_id":"1","private_key":"s3cret"}"#
                }
                (_, "expires") => "2030-01-31T12:00:00Z",
                (_, "headers") => "x: s3cret",
                (_, "connection_string") => "AccountName=acme;AccountKey=czNjcmV0",
                (_, "sas") => "sv=1&sig=s3cret",
                (_, "key") => "czNjcmV0",
                (_, "url" | "endpoint" | "sts_endpoint" | "sso_endpoint" | "authority") => {
                    "http://127.0.0.1:1"
                }
                (_, "uri") => "https://cache.example.com",
                _ => "s3cret",
            };
            let fields = kind.fields.iter().map(|field| (field.name.to_owned(), Secret::new(value(field))));
            let document =
                Document::new(kind, fields).unwrap_or_else(|words| panic!("{}: {words}", kind.name));
            assert!(!format!("{document:?}").contains("s3cret"), "{document:?}");
            let text = document.to_secret();
            assert_eq!(Document::parse(text.expose()), Ok(document), "{}", kind.name);
        }
    }

    #[test]
    fn a_signature_says_its_own_end() {
        let end = |sas: &str, more: &str| {
            Document::parse(&format!(r#"{{"kind":"azure-sas","sas":"{sas}&sig=s3cret"{more}}}"#))
                .expect("a document")
                .expires()
        };
        let noon = parse_time("2030-01-31T12:00:00Z");
        for sas in ["?sv=1&se=2030-01-31T12%3A00%3A00Z", "se=2030-01-31T12:00Z&sv=1"] {
            assert_eq!(end(sas, ""), noon, "{sas}");
        }
        assert_eq!(end("se=2030-01-31", ""), parse_time("2030-01-31T00:00:00Z"));
        assert_eq!(end("se=2031-01-31", r#","expires":"2030-01-31T12:00:00Z""#), noon, "what is said goes");
        for sas in ["sv=1", "se=", "se=s3cret", "se=%ff%ff%ff%ff%ff%ff%ff%ff%ff%ff"] {
            assert_eq!(end(sas, ""), None, "{sas}");
        }
    }

    #[test]
    fn what_is_wrong_is_named_and_no_value_quoted() {
        for (text, word) in [
            ("s3cret", "not JSON"),
            ("[]", "object"),
            ("{}", "kind"),
            (r#"{"kind":"S3"}"#, "take one of s3"),
            (r#"{"kind":"s3","access_key_id":"a"}"#, "secret_access_key"),
            (r#"{"kind":"token","token":"s3cret","tokn":"s3cret"}"#, "`tokn` is no field"),
            (r#"{"kind":"token","token":7}"#, "`token` is not a text"),
            (r#"{"kind":"token","token":"s3cret\ns3cret"}"#, "one line"),
            (r#"{"kind":"token","token":"s3cret s3cret"}"#, "without a blank"),
            (r#"{"kind":"token","token":"s3cret","expires":"s3cret"}"#, "2030-01-31"),
            (r#"{"kind":"azure-key","key":"s3cret!"}"#, "account key"),
            (r#"{"kind":"google","json":"s3cret"}"#, "not JSON"),
            (r#"{"kind":"helper","uri":"x","command":"x 's3cret"}"#, "quote"),
        ] {
            let words = Document::parse(text).expect_err(text);
            assert!(words.contains(word) && !words.contains("s3cret"), "{text}: {words}");
        }
    }
}
