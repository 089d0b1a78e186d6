//! The shared-credentials file of the AWS tools.
//!
//! ```text
//! [default]
//! aws_access_key_id = …
//! aws_secret_access_key = …
//! aws_session_token = …          # if the keys are temporary
//! ```
//!
//! Lines before the first `[profile]` belong to `default`.

use std::fmt;

/// Keys that sign.
#[derive(Clone, PartialEq, Eq)]
pub(in super::super) struct Keys {
    pub(in super::super) access_key_id: String,
    pub(in super::super) secret_access_key: String,
    pub(in super::super) session_token: Option<String>,
}

// === impl Keys ===

impl super::Keys for Keys {
    /// Those of a profile.
    fn parse(text: &str, profile: &str) -> Result<Self, String> {
        parse(text, profile).map_err(|words| format!("profile {profile}: {words}"))
    }
}

impl fmt::Debug for Keys {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("Keys(redacted)")
    }
}

/// The keys of one profile. The error never quotes the file.
fn parse(text: &str, profile: &str) -> Result<Keys, &'static str> {
    let mut section = "default";
    let (mut id, mut secret, mut session_token) = (None, None, None);
    for line in text.lines().map(str::trim) {
        if line.is_empty() || line.starts_with(['#', ';']) {
            continue;
        }
        if let Some(name) = line.strip_prefix('[').and_then(|line| line.strip_suffix(']')) {
            section = name.trim();
            continue;
        }
        let Some((name, value)) = line.split_once('=') else {
            return Err("a line is neither a [profile] nor name = value");
        };
        if section != profile {
            continue;
        }
        let value = value.trim().trim_matches('"').to_owned();
        match name.trim() {
            "aws_access_key_id" => id = Some(value),
            "aws_secret_access_key" => secret = Some(value),
            "aws_session_token" => session_token = Some(value).filter(|token| !token.is_empty()),
            // The AWS tools keep other things here.
            _ => {}
        }
    }
    match (id.filter(|id| !id.is_empty()), secret.filter(|secret| !secret.is_empty())) {
        (Some(access_key_id), Some(secret_access_key)) => {
            Ok(Keys { access_key_id, secret_access_key, session_token })
        }
        (None, _) => Err("it has no aws_access_key_id"),
        (_, None) => Err("it has no aws_secret_access_key"),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn profiles_are_told_apart() {
        let text = "# shared\naws_access_key_id=A\naws_secret_access_key = \"B=\"\n[ci]\nregion = x\n\
                    aws_access_key_id = C\naws_secret_access_key = D\naws_session_token = E\n[empty]\n";
        let keys = parse(text, "default").unwrap();
        assert_eq!((&*keys.access_key_id, &*keys.secret_access_key, keys.session_token), ("A", "B=", None));
        let keys = parse(text, "ci").unwrap();
        assert_eq!((&*keys.access_key_id, keys.session_token.as_deref()), ("C", Some("E")));
        for bad in ["empty", "absent"] {
            assert!(parse(text, bad).is_err());
        }
        assert!(!parse("s3cret", "default").unwrap_err().contains("s3cret"));
    }
}
