//! Keys for `object_store`: as given, or from a file that may change.

use std::future::Future;
use std::pin::Pin;
use std::sync::Arc;

use object_store::CredentialProvider;
use object_store::aws::AwsCredential;

use super::super::credentials::{KeyFile, Keys};
use super::service::Seen;
use crate::error::{Error, Kind, Result};

/// Asks the file before each request; see [`KeyFile`].
#[derive(Debug)]
pub(super) struct FromFile(Arc<KeyFile>);

// === impl FromFile ===

impl FromFile {
    pub(super) fn new(file: KeyFile) -> Self {
        Self(Arc::new(file))
    }

    async fn keys(&self) -> Result<Keys> {
        if let Some(keys) = self.0.fresh() {
            return Ok(keys);
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

/// Keys in the form that signs.
pub(super) fn credential(keys: Keys) -> AwsCredential {
    AwsCredential {
        key_id: keys.access_key_id,
        secret_key: keys.secret_access_key,
        token: keys.session_token,
    }
}
