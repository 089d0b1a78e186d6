//! Deleting one Azure blob. `object_store` deletes in batches only: two requests, whose answer hides why the second was
//! refused, and which Azure's emulator answers with 500.

use std::error::Error as _;

use object_store::azure::{AzureAuthorizer, AzureCredentialProvider};
use object_store::client::{HttpClient, HttpRequest, HttpRequestBody};
use object_store::path::Path;
use object_store::{Error, HeaderValue};
use percent_encoding::{AsciiSet, NON_ALPHANUMERIC, utf8_percent_encode};

use super::service::Service;

/// What a path holds as it is.
const ESCAPED: &AsciiSet = &NON_ALPHANUMERIC.remove(b'/').remove(b'-').remove(b'.').remove(b'_').remove(b'~');

/// The blobs of a container.
pub(super) struct Blobs {
    /// The container's, without a slash behind.
    pub(super) url: String,
    pub(super) account: String,
    pub(super) credentials: AzureCredentialProvider,
    pub(super) service: Service,
}

// === impl Blobs ===

impl Blobs {
    /// Deletes a blob. What was answered is noted for the running call.
    pub(super) async fn delete(&self, path: &Path) -> object_store::Result<()> {
        let failed =
            |source: Box<dyn std::error::Error + Send + Sync>| Error::Generic { store: "azure", source };
        let credential = self.credentials.get_credential().await?;
        let mut request = HttpRequest::new(HttpRequestBody::empty());
        *request.method_mut() = "DELETE".parse().expect("a method");
        let url = format!("{}/{}", self.url, utf8_percent_encode(path.as_ref(), ESCAPED));
        *request.uri_mut() = url.parse().map_err(|_| failed("a name that no URL holds".into()))?;
        request.headers_mut().insert("content-length", HeaderValue::from_static("0"));
        AzureAuthorizer::new(&credential, &self.account).try_authorize(&mut request)?;
        let client = HttpClient::new(self.service.clone());
        let response = client.execute(request).await.map_err(|error| {
            let source = error.source().map_or_else(|| error.to_string(), ToString::to_string);
            failed(source.into())
        })?;
        let status = response.status();
        if status.is_success() { Ok(()) } else { Err(failed(format!("HTTP {}", status.as_u16()).into())) }
    }
}
