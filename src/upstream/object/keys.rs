//! Keys for `object_store`: as given, or from a file that may change.

use std::future::Future;
use std::pin::Pin;
use std::sync::Arc;

use object_store::aws::{AmazonS3Builder, AwsCredential};
use object_store::{CredentialProvider, StaticCredentialProvider};

use super::super::credentials::{Credentials, KeyFile, Keys};
use super::service::Seen;
use crate::error::{Error, Kind, Result};

/// Asks the file before each request; see [`KeyFile`].
#[derive(Debug)]
struct FromFile(Arc<KeyFile>);

// === impl FromFile ===

impl FromFile {
    async fn keys(&self) -> Result<Keys> {
        if let Some(keys) = self.0.fresh() {
            return keys;
        }
        let file = Arc::clone(&self.0);
        tokio::task::spawn_blocking(move || file.read())
            .await
            .unwrap_or_else(|_| Err(Error::new(Kind::Unavailable, "the upstream runtime has stopped")))
    }
}

impl CredentialProvider for FromFile {
    type Credential = AwsCredential;

    fn get_credential<'this, 'call>(
        &'this self,
    ) -> Pin<Box<dyn Future<Output = object_store::Result<Arc<AwsCredential>>> + Send + 'call>>
    where
        'this: 'call,
        Self: 'call,
    {
        Box::pin(async {
            match self.keys().await {
                Ok(keys) => Ok(Arc::new(credential(keys))),
                Err(error) => {
                    Seen::no_keys(error.to_string());
                    Err(object_store::Error::Generic { store: "credentials", source: Box::new(error) })
                }
            }
        })
    }
}

/// Tells `builder` how to sign.
pub(super) fn sign(
    builder: AmazonS3Builder,
    credentials: &Credentials,
    key_file: Option<&Arc<KeyFile>>,
) -> Result<AmazonS3Builder> {
    if let Some(file) = key_file {
        return Ok(builder.with_credentials(Arc::new(FromFile(Arc::clone(file)))));
    }
    Ok(match credentials {
        Credentials::Anonymous | Credentials::File { .. } => builder.with_skip_signature(true),
        Credentials::Keys { access_key_id, secret_access_key, session_token } => {
            let keys = Keys {
                access_key_id: access_key_id.clone(),
                secret_access_key: secret_access_key.clone(),
                session_token: session_token.clone(),
            };
            let provider = StaticCredentialProvider::new(credential(keys));
            builder.with_credentials(Arc::new(provider))
        }
        // `object_store`'s own provider, with a client of its own: it speaks plain HTTP, whatever the store does.
        Credentials::InstanceMetadata => {
            let store = builder.clone().build().map_err(super::invalid)?;
            builder.with_credentials(Arc::clone(store.credentials()))
        }
    })
}

/// Keys in the form that signs.
fn credential(keys: Keys) -> AwsCredential {
    AwsCredential {
        key_id: keys.access_key_id,
        secret_key: keys.secret_access_key,
        token: keys.session_token,
    }
}
