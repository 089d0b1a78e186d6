//! Which upstream is meant, and with which keys: the URL's own options, then the environment's.
//!
//! ```text
//! none | file:///path | s3://bucket/prefix?endpoint=…&region=…&path_style=…   what the upstream layer reads
//!                                          &credential=NAME                   keys that are stored under a name
//!                                          &credentials=FILE&profile=NAME     keys from a file that others can't read
//!                                          &instance_metadata=true            keys from the machine's metadata service
//!                                          &read_only=true                    never written to
//! azure://container/prefix?account=…&endpoint=…   with credentials, instance_metadata and read_only as well
//! gs://bucket/prefix?endpoint=…                   likewise
//! http(s)://host/prefix?dialect=…                 with credentials (a token or headers), credential and read_only
//! grpc(s)://host:port/instance                    likewise
//! ```
//!
//! What Azure's and Google's own variables say is put together in [`super::clouds`].

use std::collections::HashSet;
use std::path::PathBuf;

use percent_encoding::percent_decode_str;

use super::Environment;
use crate::upstream::{Credentials, Stored, check_name};

/// A configured upstream.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Upstream {
    /// Its URL without the options that are read here.
    pub url: String,
    /// Where its keys come from.
    pub credentials: Credentials,
    /// Nothing is ever written to it.
    pub read_only: bool,
}

// === impl Upstream ===

impl Upstream {
    /// Takes a URL apart. `None` for `none`.
    pub(super) fn parse(url: &str, environment: &Environment) -> Result<Option<Self>, String> {
        if matches!(url, "none" | "") {
            return Ok(None);
        }
        let (base, query) = url.split_once('?').unwrap_or((url, ""));
        let Some((scheme, _)) = base.split_once("://") else {
            return Err(
                "is not a URL; none, file:///path, s3://bucket/prefix, azure://container/prefix?account=…, \
                        gs://bucket/prefix, https://host/prefix and grpcs://host/instance are known"
                    .into(),
            );
        };
        let takes_token = matches!(scheme, "http" | "https" | "grpc" | "grpcs");
        let (is_s3, is_azure, is_google) = match scheme {
            "file" => (false, false, false),
            "s3" => (true, false, false),
            "azure" | "az" => (false, true, false),
            "gs" | "gcs" => (false, false, true),
            _ if takes_token => (false, false, false),
            other => return Err(unknown_scheme(other)),
        };
        let is_cloud = is_s3 || is_azure || is_google;
        let (mut passed_on, mut file, mut profile) = (Vec::new(), None, None);
        let (mut metadata, mut read_only, mut stored) = (false, false, None);
        let mut names = HashSet::new();
        for pair in query.split('&').filter(|pair| !pair.is_empty()) {
            let (name, raw) = pair.split_once('=').unwrap_or((pair, "true"));
            if !names.insert(name) {
                return Err(format!("has the option `{}` twice; leave one out", name.escape_debug()));
            }
            let value = percent_decode_str(raw)
                .decode_utf8()
                .map_err(|_| format!("option `{}` is not UTF-8; write é as %C3%A9", name.escape_debug()))?;
            match name {
                "credentials" if (is_cloud || takes_token) && matches!(&*value, "" | "true") => {
                    return Err("names no credentials file; write it as credentials=/path".into());
                }
                "credentials" if is_cloud || takes_token => file = Some(PathBuf::from(&*value)),
                "profile" if is_s3 && matches!(&*value, "" | "true") => {
                    return Err("names no profile; write it as profile=ci".into());
                }
                "profile" if is_s3 => profile = Some(value.into_owned()),
                "credential" if scheme != "file" && matches!(&*value, "" | "true") => {
                    return Err("names no credential; write it as credential=work".into());
                }
                "credential" if scheme != "file" => {
                    check_name(&value).map_err(|words| format!("option `credential` {words}"))?;
                    stored = Some(Credentials::Stored(Stored::new(&value)));
                }
                "instance_metadata" if is_cloud => metadata = truth(name, &value)?,
                "read_only" => read_only = truth(name, &value)?,
                _ => passed_on.push(pair.to_owned()),
            }
        }
        if file.is_some() && metadata {
            return Err("names both a credentials file and instance_metadata; leave one out".into());
        }
        if stored.is_some() && (file.is_some() || metadata) {
            return Err("names a stored credential and another source of keys; leave one out".into());
        }
        if stored.is_some() {
            // Where it is may still be said by the environment; with which keys may not.
            file = Some(PathBuf::new());
        }
        let credentials = if is_s3 {
            environment.keys(file, profile, metadata)
        } else if is_azure {
            environment.azure_keys(&mut passed_on, file, metadata)?
        } else if is_google {
            environment.google_keys(file, metadata)
        } else if takes_token {
            environment.token(file)
        } else {
            Credentials::Anonymous
        };
        let credentials = stored.unwrap_or(credentials);
        if is_s3 {
            environment.complete(&mut passed_on);
        }
        let separator = if passed_on.is_empty() { "" } else { "?" };
        Ok(Some(Self { url: format!("{base}{separator}{}", passed_on.join("&")), credentials, read_only }))
    }
}

// === impl Environment ===

impl Environment {
    /// The URL's file, the environment's keys, its file, the user's own file, nothing: the first of them.
    fn keys(&self, file: Option<PathBuf>, profile: Option<String>, metadata: bool) -> Credentials {
        if metadata {
            return Credentials::InstanceMetadata;
        }
        let profile = profile.or_else(|| self.profile.clone());
        if let Some(path) = file {
            return Credentials::File { path, profile };
        }
        if let (Some(id), Some(secret)) = (&self.access_key_id, &self.secret_access_key) {
            return Credentials::Keys {
                access_key_id: id.clone(),
                secret_access_key: secret.clone(),
                session_token: self.session_token.clone(),
            };
        }
        let own = self.home.as_ref().map(|home| home.join(".aws/credentials")).filter(|path| path.exists());
        match self.credentials_file.clone().or(own) {
            Some(path) => Credentials::File { path, profile },
            None => Credentials::Anonymous,
        }
    }

    /// What is sent to a cache that is no bucket: the URL's file, the environment's token, nothing.
    fn token(&self, file: Option<PathBuf>) -> Credentials {
        match (file, &self.upstream_token) {
            (Some(path), _) => Credentials::File { path, profile: None },
            (None, Some(token)) => Credentials::Token(token.clone()),
            (None, None) => Credentials::Anonymous,
        }
    }

    /// Adds what the URL leaves out.
    fn complete(&self, options: &mut Vec<String>) {
        for (name, value) in [("region", &self.region), ("endpoint", &self.endpoint)] {
            let given = options.iter().any(|pair| pair.split('=').next() == Some(name));
            if let (Some(value), false) = (value, given) {
                let value = percent_encoding::utf8_percent_encode(value, percent_encoding::NON_ALPHANUMERIC);
                options.push(format!("{name}={value}"));
            }
        }
    }
}

/// Says what is known, and how what was most likely meant is written.
fn unknown_scheme(scheme: &str) -> String {
    let meant = match &*scheme.to_ascii_lowercase() {
        "abfs" | "abfss" | "wasb" | "wasbs" => "; Azure's is azure://container/prefix?account=…",
        "s3a" | "s3n" | "s3" => "; S3's is s3://bucket/prefix",
        _ => "",
    };
    format!(
        "has the scheme `{}`; none, file, s3, azure, gs, http(s) and grpc(s) are known{meant}",
        scheme.escape_debug().take(40).collect::<String>()
    )
}

fn truth(name: &str, value: &str) -> Result<bool, String> {
    match value {
        "true" | "1" => Ok(true),
        "false" | "0" => Ok(false),
        _ => Err(format!("option `{name}` is neither true nor false; write one of them")),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn parse(url: &str, environment: &Environment) -> Upstream {
        Upstream::parse(url, environment).expect("parses").expect("an upstream")
    }

    #[test]
    fn options_of_ours_leave_the_url() {
        let found = parse(
            "s3://bucket/team?endpoint=http%3A%2F%2F127.0.0.1%3A1&credentials=/etc/k&profile=ci&read_only=true",
            &Environment { region: Some("eu-1".into()), ..Environment::default() },
        );
        assert_eq!(found.url, "s3://bucket/team?endpoint=http%3A%2F%2F127.0.0.1%3A1&region=eu%2D1");
        assert_eq!(
            found.credentials,
            Credentials::File { path: "/etc/k".into(), profile: Some("ci".into()) }
        );
        assert!(found.read_only);
        let found = parse("file:///srv/cache", &Environment::default());
        assert_eq!((found.url.as_str(), found.credentials), ("file:///srv/cache", Credentials::Anonymous));
    }

    #[test]
    fn keys_in_the_environment_come_before_its_file_and_after_the_url() {
        let environment = Environment {
            access_key_id: Some("id".into()),
            secret_access_key: Some("hush".into()),
            credentials_file: Some("/etc/k".into()),
            ..Environment::default()
        };
        let keys = parse("s3://bucket", &environment).credentials;
        assert!(matches!(keys, Credentials::Keys { .. }));
        assert!(!format!("{keys:?}").contains("hush"), "secrets are never shown");
        assert_eq!(
            parse("s3://bucket?instance_metadata=true", &environment).credentials,
            Credentials::InstanceMetadata
        );
        let file_only = Environment { access_key_id: None, ..environment };
        assert!(matches!(parse("s3://bucket", &file_only).credentials, Credentials::File { .. }));
        assert_eq!(parse("s3://bucket", &Environment::default()).credentials, Credentials::Anonymous);
    }

    #[test]
    fn a_token_comes_from_the_urls_file_or_the_environment_and_goes_to_no_bucket() {
        let environment = Environment { upstream_token: Some("hush".into()), ..Environment::default() };
        let found = parse("https://cache.example.com/team?dialect=bazel&read_only=true", &environment);
        assert_eq!(found.url, "https://cache.example.com/team?dialect=bazel");
        assert_eq!((found.credentials, found.read_only), (Credentials::Token("hush".into()), true));
        let found = parse("http://localhost:1?credentials=/etc/t", &environment);
        assert_eq!(found.url, "http://localhost:1");
        assert_eq!(found.credentials, Credentials::File { path: "/etc/t".into(), profile: None });
        assert_eq!(parse("https://h", &Environment::default()).credentials, Credentials::Anonymous);
        assert_eq!(parse("s3://bucket", &environment).credentials, Credentials::Anonymous);
        let words = Upstream::parse("https://h?credentials=", &environment).expect_err("no file");
        assert!(words.contains("credentials=/path"), "{words}");
    }

    #[test]
    fn a_stored_credential_is_named_and_comes_before_all_others() {
        let environment = Environment {
            access_key_id: Some("id".into()),
            secret_access_key: Some("hush".into()),
            azure_account: Some("acme".into()),
            azure_key: Some("hush".into()),
            ..Environment::default()
        };
        for url in
            ["s3://bucket?credential=work", "azure://team?credential=work", "gs://team?credential=work"]
        {
            assert_eq!(
                parse(url, &environment).credentials,
                Credentials::Stored(Stored::new("work")),
                "{url}"
            );
        }
        assert_eq!(parse("azure://team?credential=work", &environment).url, "azure://team?account=acme");
        for (bad, word) in [
            ("s3://b?credential=a/b", "no name for a credential"),
            ("s3://b?credential", "credential=work"),
            ("s3://b?credential=a&credentials=/k", "leave one out"),
            ("s3://b?credential=a&instance_metadata=true", "leave one out"),
        ] {
            let words = Upstream::parse(bad, &environment);
            assert!(words.is_err_and(|words| words.contains(word)), "{bad}");
        }
    }

    #[test]
    fn refusals_name_what_is_known() {
        for bad in ["bucket", "ftp://bucket", "s3://b?instance_metadata=maybe"] {
            assert!(Upstream::parse(bad, &Environment::default()).is_err(), "{bad}");
        }
        for none in ["none", ""] {
            assert_eq!(Upstream::parse(none, &Environment::default()), Ok(None));
        }
    }
}
