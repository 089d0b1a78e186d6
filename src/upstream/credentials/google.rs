//! Google's credentials files: the key of a service account, or what `gcloud auth application-default login` leaves
//! in `~/.config/gcloud/application_default_credentials.json`. Both are JSON with a `type`.

use std::fmt;
use std::sync::Arc;

use serde_json::Value;

/// A file's text, which has been seen to be one of these.
#[derive(Clone, PartialEq, Eq)]
pub(in super::super) enum Keys {
    /// Signs tokens itself.
    ServiceAccount(Arc<str>),
    /// A person's: asks Google for tokens.
    User(Arc<str>),
}

// === impl Keys ===

impl super::Keys for Keys {
    fn parse(text: &str, _: &str) -> Result<Self, String> {
        let file: Value = serde_json::from_str(text).map_err(|_| "is not JSON, as Google's key files are")?;
        let has = |names: &[&str]| {
            let missing = names.iter().find(|name| file[**name].as_str().is_none_or(str::is_empty));
            missing.map_or(Ok(()), |name| Err(format!("has no {name}")))
        };
        match file["type"].as_str() {
            Some("service_account") => has(&["client_email", "private_key_id", "private_key"])
                .map(|()| Self::ServiceAccount(text.into())),
            Some("authorized_user") => {
                has(&["client_id", "client_secret", "refresh_token"]).map(|()| Self::User(text.into()))
            }
            Some(other) => Err(format!(
                "is of type {}, which is not known: make a key of a service account",
                other.escape_debug().take(40).collect::<String>()
            )),
            None => Err("has no type: make a key of a service account".into()),
        }
    }
}

impl fmt::Debug for Keys {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("Keys(redacted)")
    }
}

#[cfg(test)]
mod tests {
    use super::super::Keys as _;
    use super::*;

    #[test]
    fn files_are_told_apart_and_what_is_missing_is_named() {
        let account =
            r#"{"type":"service_account","client_email":"a@b","private_key_id":"1","private_key":"s3cret"}"#;
        assert!(matches!(Keys::parse(account, ""), Ok(Keys::ServiceAccount(_))));
        let user =
            r#"{"type":"authorized_user","client_id":"a","client_secret":"b","refresh_token":"s3cret"}"#;
        assert!(matches!(Keys::parse(user, ""), Ok(Keys::User(_))));
        for (bad, word) in [
            ("s3cret", "not JSON"),
            ("{}", "no type"),
            ("[]", "no type"),
            (r#"{"type":"external_account","x":"s3cret"}"#, "external_account"),
            (r#"{"type":"service_account","private_key":"s3cret"}"#, "client_email"),
            (
                r#"{"type":"service_account","client_email":"a","private_key_id":"1","private_key":""}"#,
                "private_key",
            ),
            (r#"{"type":"authorized_user","client_id":"a","client_secret":"s3cret"}"#, "refresh_token"),
        ] {
            let words = Keys::parse(bad, "").unwrap_err();
            assert!(words.contains(word) && !words.contains("s3cret"), "{words}");
        }
    }
}
