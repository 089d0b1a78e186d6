//! User metadata: what clients of object stores attach under names of their own choosing.
//!
//! A name that every store carries (`[a-z0-9]`, and none of ours) is an attribute as it is, so that who reads the
//! bucket directly finds it. All others, and values that no header of every store carries, go into one attribute,
//! `lardermeta`, as a form has them: `name=value&name=value`.

use percent_encoding::{NON_ALPHANUMERIC, percent_decode_str, utf8_percent_encode};

use super::Attrs;
use crate::error::{Error, Kind, Result};

/// The attribute of what can't be one by itself.
const OTHERS_ATTR: &str = "lardermeta";

/// Attributes that have a meaning of their own.
const OURS: [&str; 8] = [
    "contenttype",
    "contentencoding",
    "cachecontrol",
    "contentdisposition",
    "contentlanguage",
    "artifacttag",
    "artifactduration",
    "artifactsha",
];

/// What all of them may have; the rest of an entry's attributes are ours: digest, ETag, length.
const USER_BYTES_MAX: usize = 1792;

/// Attributes that begin so are checksums which a client gave with the body.
pub const CHECKSUM_PREFIX: &str = "checksum";

// === impl Attrs ===

impl Attrs {
    /// These, and the user metadata of a client.
    ///
    /// # Errors
    /// `TooLarge` over 1,792 bytes, as they are kept; `Invalid` for a name given twice.
    pub fn with_user(&self, pairs: impl IntoIterator<Item = (String, String)>) -> Result<Self> {
        let (mut plain, mut others) = (Vec::new(), Vec::new());
        for (name, value) in pairs {
            let portable = !is_ours(&name) && Self::new([(name.clone(), value.clone())]).is_ok();
            if portable { &mut plain } else { &mut others }.push((name, value));
        }
        others.sort();
        if let Some(pair) = others.windows(2).find(|pair| pair[0].0 == pair[1].0) {
            return Err(Error::invalid(format!(
                "the metadata `{}` is given twice",
                pair[0].0.escape_debug()
            )));
        }
        let escaped = |text: &str| utf8_percent_encode(text, NON_ALPHANUMERIC).to_string();
        let form: Vec<String> =
            others.iter().map(|(name, value)| format!("{}={}", escaped(name), escaped(value))).collect();
        if !form.is_empty() {
            plain.push((OTHERS_ATTR.to_owned(), form.join("&")));
        }
        let bytes: usize = plain.iter().map(|(name, value)| name.len() + value.len()).sum();
        if bytes > USER_BYTES_MAX {
            let message = format!("the metadata takes {bytes} bytes, at most {USER_BYTES_MAX} are kept");
            return Err(Error::new(Kind::TooLarge, message));
        }
        Self::new(self.iter().map(|(name, value)| (name.to_owned(), value.to_owned())).chain(plain))
    }

    /// The user metadata among them, by name.
    pub fn user(&self) -> Vec<(String, String)> {
        let plain = self.iter().filter(|(name, _)| !is_ours(name));
        let mut all: Vec<_> = plain.map(|(name, value)| (name.to_owned(), value.to_owned())).collect();
        let others = self.get(OTHERS_ATTR).into_iter().flat_map(|form| form.split('&'));
        all.extend(others.filter_map(|pair| {
            let (name, value) = pair.split_once('=')?;
            let plain = |text| percent_decode_str(text).decode_utf8().ok().map(|text| text.into_owned());
            Some((plain(name)?, plain(value)?))
        }));
        all.sort();
        all
    }
}

fn is_ours(name: &str) -> bool {
    OURS.contains(&name) || name.starts_with("larder") || name.starts_with(CHECKSUM_PREFIX)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn metadata_comes_back_as_it_was_given() {
        let ours = Attrs::new([("contenttype".into(), "text/plain".into())]).expect("valid");
        let given: Vec<(String, String)> = [
            ("a-b", "dashes"),
            ("contenttype", "of the client's own"),
            ("larderetag", "no"),
            ("outputid", "0a1b"),
            ("umlaut", "größe & more=less"),
            ("with.dot_and", ""),
        ]
        .map(|(name, value)| (name.to_owned(), value.to_owned()))
        .into();
        let attrs = ours.with_user(given.clone()).expect("valid");
        assert_eq!(attrs.user(), given);
        assert_eq!(attrs.get("contenttype"), Some("text/plain"));
        assert_eq!(attrs.get("outputid"), Some("0a1b"));
        assert_eq!(attrs.get("larderetag"), None);
        assert!(ours.user().is_empty());
    }

    #[test]
    fn what_is_too_much_or_twice_is_refused() {
        let none = Attrs::default();
        let twice = |name: &str| none.with_user([(name.into(), "1".into()), (name.into(), "2".into())]);
        assert!(twice("a").is_err() && twice("a-b").is_err());
        let long = none.with_user([("a".into(), "v".repeat(USER_BYTES_MAX))]).expect_err("too much");
        assert_eq!(long.kind(), Kind::TooLarge);
        assert!(none.with_user([("a".into(), "v".repeat(USER_BYTES_MAX - 1))]).is_ok());
    }
}
