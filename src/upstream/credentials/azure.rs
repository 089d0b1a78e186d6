//! Keys of an Azure storage account, as Azure's own tools hand them out.
//!
//! A credentials file holds one of three, alone; lines that begin with `#` are skipped:
//!
//! ```text
//! DefaultEndpointsProtocol=https;AccountName=…;AccountKey=…;EndpointSuffix=core.windows.net     a connection string
//! sv=2024-11-04&ss=b&srt=co&sp=rwl&se=…&sig=…                                                   a SAS token
//! 9QbS…==                                                                                       an account key
//! ```

use std::fmt;

use super::Credentials;
use crate::error::{Error, Result};

/// The host of an account, where nothing says otherwise.
const SUFFIX: &str = "core.windows.net";

/// Keys that sign, or are shown.
#[derive(Clone, PartialEq, Eq)]
pub(in super::super) enum Keys {
    AccountKey(String),
    Sas(String),
}

/// What a connection string says.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct ConnectionString {
    /// The storage account.
    pub account: String,
    /// Where its blobs are, if it says so.
    pub endpoint: Option<String>,
    /// An account key or a SAS.
    pub keys: Credentials,
}

// === impl Keys ===

impl super::Keys for Keys {
    fn parse(text: &str, account: &str) -> Result<Self, String> {
        let mut lines = text.lines().map(str::trim).filter(|line| !line.is_empty() && !line.starts_with('#'));
        let (Some(line), None) = (lines.next(), lines.next()) else {
            return Err(
                "holds more or less than one line: a connection string, a SAS token or an account key".into(),
            );
        };
        if line.contains("AccountName=") || line.contains("SharedAccessSignature=") {
            let string = ConnectionString::parse(line).map_err(|error| error.message().to_owned())?;
            if string.account != account {
                return Err(format!("is of the account {}, and the upstream's is {account}", string.account));
            }
            return match string.keys {
                Credentials::AccountKey(key) => Ok(Self::AccountKey(key)),
                Credentials::Sas(token) => Ok(Self::Sas(token)),
                Credentials::Anonymous
                | Credentials::Keys { .. }
                | Credentials::Token(_)
                | Credentials::File { .. }
                | Credentials::Stored(_)
                | Credentials::InstanceMetadata => {
                    Err("is a connection string without AccountKey and SharedAccessSignature".into())
                }
            };
        }
        if is_base64(line) {
            return Ok(Self::AccountKey(line.into()));
        }
        if line.contains("sig=") {
            return Ok(Self::Sas(line.trim_start_matches('?').into()));
        }
        Err("is neither a connection string nor a SAS token nor an account key, which is base64".into())
    }
}

impl fmt::Debug for Keys {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("Keys(redacted)")
    }
}

// === impl ConnectionString ===

impl ConnectionString {
    /// Parses `Name=value;Name=value`.
    ///
    /// # Errors
    /// `Invalid`, naming the part that is wrong, and never quoting a value that may be secret.
    pub fn parse(text: &str) -> Result<Self> {
        let (mut account, mut key, mut sas, mut endpoint) = (None, None, None, None);
        let (mut protocol, mut suffix) = ("https", SUFFIX);
        for part in text.split(';').map(str::trim).filter(|part| !part.is_empty()) {
            let (name, value) = part
                .split_once('=')
                .ok_or_else(|| Error::invalid("a part of the connection string is not Name=value"))?;
            match name.to_ascii_lowercase().as_str() {
                "accountname" => account = Some(value),
                "accountkey" => key = Some(value),
                "sharedaccesssignature" => sas = Some(value.trim_start_matches('?')),
                "blobendpoint" => endpoint = Some(value.trim_end_matches('/').to_owned()),
                "endpointsuffix" => suffix = value,
                "defaultendpointsprotocol" => protocol = value,
                "usedevelopmentstorage" => {
                    return Err(Error::invalid(
                        "UseDevelopmentStorage names no account: give AccountName, AccountKey and BlobEndpoint of \
                         the emulator",
                    ));
                }
                // Queues, tables and files have endpoints of their own.
                _ => {}
            }
        }
        let account = account.or_else(|| endpoint.as_deref().and_then(account_of)).ok_or_else(|| {
            Error::invalid(
                "the connection string names no account: it has neither AccountName nor BlobEndpoint",
            )
        })?;
        let account = account.to_owned();
        if endpoint.is_none() && (protocol, suffix) != ("https", SUFFIX) {
            endpoint = Some(format!("{protocol}://{account}.blob.{suffix}"));
        }
        let keys = match (key, sas) {
            (Some(key), _) => Credentials::AccountKey(key.into()),
            (None, Some(sas)) => Credentials::Sas(sas.into()),
            (None, None) => Credentials::Anonymous,
        };
        Ok(Self { account, endpoint, keys })
    }
}

/// `https://{account}.blob.…`, or an emulator's `http://127.0.0.1:10000/{account}`.
fn account_of(endpoint: &str) -> Option<&str> {
    let (_, place) = endpoint.split_once("://")?;
    match place.split_once('/') {
        Some((_, path)) => path.split('/').next().filter(|account| !account.is_empty()),
        None => {
            place.split_once('.').filter(|(_, rest)| rest.starts_with("blob.")).map(|(account, _)| account)
        }
    }
}

fn is_base64(text: &str) -> bool {
    let digits = text.trim_end_matches('=');
    text.len().is_multiple_of(4)
        && text.len() - digits.len() <= 2
        && !digits.is_empty()
        && digits.bytes().all(|byte| byte.is_ascii_alphanumeric() || matches!(byte, b'+' | b'/'))
}

#[cfg(test)]
mod tests {
    use super::super::Keys as _;
    use super::*;

    #[test]
    fn connection_strings_as_the_portal_and_the_emulator_write_them() {
        for (text, account, endpoint, keys) in [
            (
                "DefaultEndpointsProtocol=https;AccountName=acme;AccountKey=a2V5==;EndpointSuffix=core.windows.net",
                "acme",
                None,
                Credentials::AccountKey("a2V5==".into()),
            ),
            (
                "AccountName=acme;AccountKey=a2V5;EndpointSuffix=core.chinacloudapi.cn",
                "acme",
                Some("https://acme.blob.core.chinacloudapi.cn"),
                Credentials::AccountKey("a2V5".into()),
            ),
            (
                "BlobEndpoint=https://acme.blob.core.windows.net/;SharedAccessSignature=?sv=1&sig=x%3D;\
                 QueueEndpoint=https://acme.queue.core.windows.net/",
                "acme",
                Some("https://acme.blob.core.windows.net"),
                Credentials::Sas("sv=1&sig=x%3D".into()),
            ),
            (
                "DefaultEndpointsProtocol=http; BlobEndpoint=http://127.0.0.1:10000/dev; accountkey=a2V5;",
                "dev",
                Some("http://127.0.0.1:10000/dev"),
                Credentials::AccountKey("a2V5".into()),
            ),
            ("AccountName=acme", "acme", None, Credentials::Anonymous),
        ] {
            let parsed = ConnectionString::parse(text).unwrap();
            assert_eq!((&*parsed.account, parsed.endpoint.as_deref()), (account, endpoint), "{text}");
            assert!(parsed.keys == keys, "{text}");
        }
        for (bad, word) in [
            ("UseDevelopmentStorage=true", "BlobEndpoint"),
            ("AccountKey=a2V5", "names no account"),
            ("s3cret", "Name=value"),
        ] {
            let error = ConnectionString::parse(bad).unwrap_err().to_string();
            assert!(error.contains(word) && !error.contains("s3cret"), "{error}");
        }
    }

    #[test]
    fn a_file_holds_one_of_three() {
        let parse = |text| Keys::parse(text, "acme");
        assert!(parse("# mine\n a2V5 \n") == Ok(Keys::AccountKey("a2V5".into())));
        assert!(parse("a2V5sig=") == Ok(Keys::AccountKey("a2V5sig=".into())), "which ends like a SAS");
        assert!(parse("?sv=1&sig=x") == Ok(Keys::Sas("sv=1&sig=x".into())));
        assert!(parse("AccountName=acme;AccountKey=a2V5") == Ok(Keys::AccountKey("a2V5".into())));
        for (bad, word) in [
            ("", "one line"),
            ("a2V5\na2V5", "one line"),
            ("not base64!", "neither"),
            ("AccountName=other;AccountKey=a2V5", "the account other"),
            ("AccountName=acme", "without AccountKey"),
        ] {
            let words = parse(bad).unwrap_err();
            assert!(
                words.contains(word) && !words.contains("a2V5") && !words.contains("not base64!"),
                "{words}"
            );
        }
    }
}
