//! The options of an upstream's URL: what follows its `?`.

use super::unescape;
use crate::error::{Error, Result};

/// The parameters of a URL, before its kind says which of them it takes.
#[derive(Debug, Default)]
pub(super) struct Options {
    pub(super) endpoint: Option<String>,
    pub(super) allow_http: bool,
    pub(super) region: Option<String>,
    pub(super) path_style: Option<bool>,
    account: Option<String>,
}

// === impl Options ===

impl Options {
    pub(super) fn parse(scheme: &str, query: &str) -> Result<Self> {
        let mut options = Self::default();
        for pair in query.split('&').filter(|pair| !pair.is_empty()) {
            // Only what is true or false can be said by its name alone.
            let alone = if matches!(pair, "allow_http" | "path_style") { "true" } else { "" };
            let (key, value) = pair.split_once('=').unwrap_or((pair, alone));
            let value = unescape(value)?;
            match (key, scheme) {
                ("endpoint", _) => options.endpoint = Some(endpoint(&value)?),
                ("allow_http", _) => options.allow_http = truth(key, &value)?,
                ("region", "s3") => options.region = Some(region(value)?),
                ("path_style", "s3") => options.path_style = Some(truth(key, &value)?),
                ("account", "azure") => options.account = Some(value),
                (key, _) if is_secret(key) => {
                    return Err(Error::invalid(format!(
                        "`{key}` is a key, and an upstream URL can't hold keys: give it in the environment or in a file"
                    )));
                }
                _ => {
                    let known = match scheme {
                        "azure" => {
                            "account, endpoint, allow_http, credential, credentials, instance_metadata, read_only"
                        }
                        "gs" => "endpoint, allow_http, credential, credentials, instance_metadata, read_only",
                        _ => {
                            "endpoint, region, path_style, allow_http, credential, credentials, profile, \
                             instance_metadata, read_only"
                        }
                    };
                    return Err(Error::invalid(format!(
                        "`{}` is no option of a URL that begins with {scheme}://; take one of {known}",
                        key.escape_debug()
                    )));
                }
            }
        }
        Ok(options)
    }

    /// The storage account that Azure's names.
    pub(super) fn account(&self) -> Result<String> {
        let account = self.account.as_ref().ok_or_else(|| {
            Error::invalid("an azure upstream names its storage account: account=…, or AZURE_STORAGE_ACCOUNT")
        })?;
        let good = (3..=24).contains(&account.len())
            && account.bytes().all(|byte| byte.is_ascii_lowercase() || byte.is_ascii_digit());
        if good {
            Ok(account.clone())
        } else {
            Err(Error::invalid("the account of an azure upstream is 3 to 24 lower-case letters and digits"))
        }
    }
}

fn region(value: String) -> Result<String> {
    if !value.is_empty() && value.bytes().all(|byte| byte.is_ascii_alphanumeric() || byte == b'-') {
        return Ok(value);
    }
    Err(Error::invalid("the region of an s3 upstream is letters, digits and dashes: region=eu-central-1"))
}

/// What other tools have in their URLs, or in files of theirs.
pub(super) fn is_secret(key: &str) -> bool {
    let key = key.to_ascii_lowercase();
    matches!(&*key, "sig" | "sv" | "sas" | "password")
        || ["access_key", "account_key", "secret", "token"].iter().any(|part| key.contains(part))
}

fn endpoint(text: &str) -> Result<String> {
    let text = text.trim_end_matches('/');
    let rest = text.strip_prefix("https://").or_else(|| text.strip_prefix("http://"));
    let good = rest.is_some_and(|rest| {
        let host = rest.split('/').next().unwrap_or(rest);
        let plain = |byte: u8| byte.is_ascii_graphic() && !b"?#@%\\".contains(&byte);
        let dots = |part: &str| matches!(part, "" | "." | "..");
        is_host(host) && rest.bytes().all(plain) && !rest.split('/').any(dots)
    });
    if good {
        return Ok(text.into());
    }
    Err(Error::invalid(
        "the endpoint of an upstream is https://host[:port], with nothing but a path behind it, and no keys: \
         endpoint=https://cache.example.com:9000",
    ))
}

/// A name or an address, and a port where it has one.
pub(super) fn is_host(host: &str) -> bool {
    let (name, port) = match host.rsplit_once(':') {
        Some((name, port)) if !port.ends_with(']') => (name, Some(port)),
        _ => (host, None),
    };
    let is_name = name.bytes().all(|byte| byte.is_ascii_alphanumeric() || b"-._".contains(&byte));
    let is_address = name.strip_prefix('[').and_then(|name| name.strip_suffix(']'));
    let named = match is_address {
        Some(address) => address.parse::<std::net::Ipv6Addr>().is_ok(),
        None => !name.is_empty() && is_name,
    };
    named && port.is_none_or(|port| port.parse::<u16>().is_ok_and(|port| port > 0))
}

pub(super) fn truth(key: &str, value: &str) -> Result<bool> {
    match value {
        "true" | "1" => Ok(true),
        "false" | "0" => Ok(false),
        _ => Err(Error::invalid(format!("`{key}` of an upstream is true or false"))),
    }
}
