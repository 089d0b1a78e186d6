//! What the variables of Azure's and Google's own tools say of an upstream and its keys.
//!
//! A URL's own words come first. Keys are of one account: those of a connection string, or beside
//! `AZURE_STORAGE_ACCOUNT`, are not sent to another account that a URL names.

use std::path::PathBuf;

use percent_encoding::{NON_ALPHANUMERIC, percent_decode_str, utf8_percent_encode};

use super::Environment;
use crate::upstream::{ConnectionString, Credentials};

/// Below the home: what `gcloud auth application-default login` writes.
const GOOGLE_DEFAULT: &str = ".config/gcloud/application_default_credentials.json";

// === impl Environment ===

impl Environment {
    /// Azure's keys; `options` are those of the URL, to which account and endpoint are added where they are left out.
    pub(super) fn azure_keys(
        &self,
        options: &mut Vec<String>,
        file: Option<PathBuf>,
        metadata: bool,
    ) -> Result<Credentials, String> {
        let given = |name: &str, options: &[String]| {
            let value = options
                .iter()
                .find_map(|pair| pair.strip_prefix(name)?.strip_prefix('=').map(str::to_owned))?;
            Some(percent_decode_str(&value).decode_utf8_lossy().into_owned())
        };
        let add = |name: &str, value: &str, options: &mut Vec<String>| {
            options.push(format!("{name}={}", utf8_percent_encode(value, NON_ALPHANUMERIC)));
        };
        let wanted = given("account", options);
        let connection = match self.azure_connection.as_deref().filter(|_| file.is_none() && !metadata) {
            None => None,
            Some(text) => {
                let parsed = ConnectionString::parse(text)
                    .map_err(|error| format!("takes AZURE_STORAGE_CONNECTION_STRING: {}", error.message()))?;
                if let Some(wanted) = wanted.as_ref().filter(|wanted| **wanted != parsed.account) {
                    return Err(format!(
                        "is of the account {wanted}, and AZURE_STORAGE_CONNECTION_STRING of {}: unset it, or give \
                         credentials=FILE",
                        parsed.account
                    ));
                }
                Some(parsed)
            }
        };
        let account =
            connection.as_ref().map(|connection| &connection.account).or(self.azure_account.as_ref());
        if let (None, Some(account)) = (&wanted, account) {
            add("account", account, options);
        }
        let endpoint = connection.as_ref().and_then(|connection| connection.endpoint.as_ref());
        if let (None, Some(endpoint)) = (given("endpoint", options), endpoint) {
            add("endpoint", endpoint, options);
        }
        if metadata {
            return Ok(Credentials::InstanceMetadata);
        }
        if let Some(path) = file {
            return Ok(Credentials::File { path, profile: None });
        }
        if let Some(connection) = connection {
            match connection.keys {
                // It only says where: the other variables have the keys.
                Credentials::Anonymous => {}
                found => return Ok(found),
            }
        }
        let is_of_another =
            self.azure_account.as_ref().is_some_and(|own| wanted.as_ref().is_some_and(|w| w != own));
        Ok(match (&self.azure_key, &self.azure_sas) {
            _ if is_of_another => Credentials::Anonymous,
            (Some(key), _) => Credentials::AccountKey(key.clone()),
            (None, Some(token)) => Credentials::Sas(token.clone()),
            (None, None) => Credentials::Anonymous,
        })
    }

    /// Google's: the URL's file, the environment's, the application default of the user; the first of them.
    pub(super) fn google_keys(&self, file: Option<PathBuf>, metadata: bool) -> Credentials {
        if metadata {
            return Credentials::InstanceMetadata;
        }
        let own = self.home.as_ref().map(|home| home.join(GOOGLE_DEFAULT)).filter(|path| path.exists());
        match file.or_else(|| self.google_credentials.clone()).or(own) {
            Some(path) => Credentials::File { path, profile: None },
            None => Credentials::Anonymous,
        }
    }
}

#[cfg(test)]
mod tests {
    use super::super::Upstream;
    use super::*;

    fn parse(url: &str, environment: &Environment) -> Upstream {
        Upstream::parse(url, environment).expect("parses").expect("an upstream")
    }

    #[test]
    fn azures_variables_complete_the_url_and_come_in_the_order_of_its_tools() {
        let mut environment = Environment {
            azure_account: Some("acme".into()),
            azure_sas: Some("sv=1&sig=hush".into()),
            ..Environment::default()
        };
        let found = parse("azure://team/p", &environment);
        assert_eq!(
            (&*found.url, found.credentials),
            ("azure://team/p?account=acme", Credentials::Sas("sv=1&sig=hush".into()))
        );
        environment.azure_key = Some("hush".into());
        let found = parse("az://team?account=acme", &environment);
        assert_eq!(
            (&*found.url, found.credentials),
            ("az://team?account=acme", Credentials::AccountKey("hush".into()))
        );
        assert_eq!(
            parse("azure://team?account=other", &environment).credentials,
            Credentials::Anonymous,
            "not for others to see"
        );
        environment.azure_connection =
            Some("AccountName=acme;AccountKey=quiet;BlobEndpoint=http://127.0.0.1:1/acme".into());
        let found = parse("azure://team", &environment);
        assert_eq!(found.credentials, Credentials::AccountKey("quiet".into()));
        assert_eq!(found.url, "azure://team?account=acme&endpoint=http%3A%2F%2F127%2E0%2E0%2E1%3A1%2Facme");
        let other = Upstream::parse("azure://team?account=other", &environment).unwrap_err();
        assert!(other.contains("acme") && !other.contains("quiet"), "{other}");
        let file = parse("azure://team?account=other&credentials=/etc/k", &environment);
        assert_eq!(file.credentials, Credentials::File { path: "/etc/k".into(), profile: None });
        environment.azure_connection = Some("hush".into());
        let broken = Upstream::parse("azure://team", &environment).unwrap_err();
        assert!(broken.contains("AZURE_STORAGE_CONNECTION_STRING") && !broken.contains("hush"), "{broken}");
    }

    #[test]
    fn googles_file_comes_from_the_url_the_environment_or_the_home() {
        let home = tempfile::tempdir().expect("a temporary folder");
        let mut environment = Environment { home: Some(home.path().into()), ..Environment::default() };
        assert_eq!(parse("gs://team", &environment).credentials, Credentials::Anonymous);
        let own = home.path().join(GOOGLE_DEFAULT);
        std::fs::create_dir_all(own.parent().expect("below the home")).expect("a temporary folder");
        std::fs::write(&own, "{}").expect("a temporary file");
        assert_eq!(
            parse("gs://team", &environment).credentials,
            Credentials::File { path: own, profile: None }
        );
        environment.google_credentials = Some("/etc/g".into());
        assert_eq!(
            parse("gcs://team", &environment).credentials,
            Credentials::File { path: "/etc/g".into(), profile: None }
        );
        let found = parse("gs://team/p?credentials=/etc/k&read_only=true", &environment);
        assert_eq!(found.credentials, Credentials::File { path: "/etc/k".into(), profile: None });
        assert_eq!((&*found.url, found.read_only), ("gs://team/p", true));
        assert_eq!(
            parse("gs://team?instance_metadata=true", &environment).credentials,
            Credentials::InstanceMetadata
        );
    }
}
