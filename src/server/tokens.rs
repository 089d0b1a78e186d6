//! Tokens: who is let in by listeners that the network reaches.
//!
//! Only hashes are kept, and compared in constant time; a token is in no log, error or `Debug`.

use std::fmt;

use base64::Engine as _;
use base64::engine::general_purpose::STANDARD;
use hyper::header::HeaderValue;

use crate::keyring::Keyring;

/// The tokens of a configuration. None by default: then nobody is let in.
#[derive(Clone, Default, PartialEq, Eq)]
pub struct Tokens {
    all: Vec<Token>,
}

/// One of them, as both schemes say it.
#[derive(Clone, PartialEq, Eq)]
struct Token {
    bearer: blake3::Hash,
    basic: blake3::Hash,
}

/// Shorter ones can be guessed by trying.
const TOKEN_CHARS_MIN: usize = 16;

// === impl Tokens ===

impl Tokens {
    /// Reads lines of `NAME:TOKEN`; empty ones and those that begin with `#` are passed over.
    ///
    /// # Errors
    /// What is wrong and in which line, without showing any of it.
    pub fn parse(text: &str) -> Result<Self, String> {
        let mut all = Vec::new();
        for (number, line) in text.lines().enumerate() {
            let (number, line) = (number + 1, line.trim());
            if line.is_empty() || line.starts_with('#') {
                continue;
            }
            let Some((name, token)) = line.split_once(':') else {
                return Err(format!("line {number} is not NAME:TOKEN"));
            };
            if name.is_empty() || !token.bytes().all(|byte| byte.is_ascii_graphic()) {
                return Err(format!("line {number} has no name, or a token with a space or a control byte"));
            }
            if token.len() < TOKEN_CHARS_MIN {
                return Err(format!(
                    "the token in line {number} has {} characters, at least {TOKEN_CHARS_MIN} are taken; \
                     `openssl rand -hex 32` makes one",
                    token.len()
                ));
            }
            all.push(Token {
                bearer: blake3::hash(token.as_bytes()),
                basic: blake3::hash(STANDARD.encode(format!("{name}:{token}")).as_bytes()),
            });
        }
        if all.is_empty() {
            return Err("there is no NAME:TOKEN in it".into());
        }
        Ok(Self { all })
    }

    /// Whether an `Authorization` header names one.
    pub(super) fn admits(&self, authorization: Option<&HeaderValue>, keyring: &Keyring) -> bool {
        let Some((scheme, credentials)) =
            authorization.and_then(|value| value.to_str().ok()).and_then(|value| value.split_once(' '))
        else {
            return false;
        };
        let hash = blake3::hash(credentials.trim().as_bytes());
        let (bearer, basic) = (scheme.eq_ignore_ascii_case("bearer"), scheme.eq_ignore_ascii_case("basic"));
        self.all.iter().any(|token| (bearer && token.bearer == hash) || (basic && token.basic == hash))
            || (bearer && keyring.bearer(credentials.trim()))
            || (basic && password(credentials.trim()).is_some_and(|password| keyring.bearer(&password)))
    }
}

/// What Basic says after the name, whoever that is: a token that was issued is told by itself.
fn password(credentials: &str) -> Option<String> {
    let pair = String::from_utf8(STANDARD.decode(credentials).ok()?).ok()?;
    pair.split_once(':').map(|(_, password)| password.to_owned())
}

impl fmt::Debug for Tokens {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "Tokens({})", self.all.len())
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    const SECRET: &str = "0123456789abcdef";

    fn admits(tokens: &Tokens, authorization: &str) -> bool {
        tokens.admits(Some(&HeaderValue::from_str(authorization).expect("a value")), &Keyring::none())
    }

    #[test]
    fn a_token_is_taken_as_bearer_and_as_password_of_its_name() {
        let tokens = Tokens::parse(&format!("# ours\n\nci:{SECRET}\nweb:{SECRET}{SECRET}\n")).expect("right");
        assert!(admits(&tokens, &format!("Bearer {SECRET}")));
        assert!(admits(&tokens, &format!("bearer {SECRET}{SECRET}")));
        assert!(admits(&tokens, &format!("Basic {}", STANDARD.encode(format!("ci:{SECRET}")))));
        for bad in [
            format!("Bearer {SECRET}0"),
            format!("Basic {SECRET}"),
            format!("Basic {}", STANDARD.encode(format!("web:{SECRET}"))),
            format!("Digest {SECRET}"),
            SECRET.into(),
            "Bearer".into(),
            "Bearer ".into(),
        ] {
            assert!(!admits(&tokens, &bad), "{bad}");
        }
        assert!(!tokens.admits(None, &Keyring::none()));
        assert!(!admits(&Tokens::default(), &format!("Bearer {SECRET}")));
        assert!(!format!("{tokens:?}").contains(SECRET));
    }

    #[test]
    fn a_bad_line_is_named_and_not_shown() {
        for (text, word) in [
            ("", "no NAME:TOKEN"),
            ("# only this", "no NAME:TOKEN"),
            ("ci:0123456789abcdef\nsecret-without-a-name", "line 2"),
            ("ci:short-secret", "line 1 has 12 characters"),
            (":0123456789abcdef", "no name"),
            ("ci:0123456789 secret", "a space"),
        ] {
            let words = Tokens::parse(text).expect_err(text);
            assert!(words.contains(word) && !words.contains("secret"), "{text}: {words}");
        }
    }
}
