//! Who is asked for tokens: not the store, so not through its [`service`](super::service), which would take their
//! answers for a stranger's.

use std::fmt;
use std::future::Future;
use std::pin::Pin;
use std::sync::Arc;
use std::time::Duration;

use object_store::client::{
    HttpClient, HttpConnector, HttpError, HttpRequest, HttpRequestBody, HttpResponse, HttpResponseBody,
    HttpService, ReqwestConnector,
};
use object_store::gcp::GcpCredential;
use object_store::{ClientOptions, CredentialProvider, HeaderValue};
use parking_lot::Mutex;
use serde_json::Value;
use tokio::time::Instant;

use super::invalid;
use super::service::{Seen, read};
use crate::error::{Error, Kind, Result, deepest};

/// Google's metadata service, which only its machines can reach, and in plain.
const METADATA: &str =
    "http://metadata.google.internal/computeMetadata/v1/instance/service-accounts/default/token";

/// It answers at once, or isn't there.
const METADATA_TIMEOUT: Duration = Duration::from_secs(2);

/// A token is not used in its last minutes: the metadata service gives a new one then.
const TOKEN_MIN: Duration = Duration::from_secs(240);

/// Connects to who makes tokens, and notes for the running call who refused one.
#[derive(Debug)]
pub(super) struct Tokens;

#[derive(Debug)]
struct Asked(HttpClient);

/// Tokens of the machine itself.
pub(super) struct Metadata {
    url: String,
    client: HttpClient,
    /// Leaf mutex.
    known: Mutex<Option<(Arc<GcpCredential>, Instant)>>,
}

// === impl Tokens ===

impl HttpConnector for Tokens {
    fn connect(&self, options: &ClientOptions) -> object_store::Result<HttpClient> {
        let client = ReqwestConnector::default().connect(options)?;
        Ok(HttpClient::new(Asked(client)))
    }
}

impl Asked {
    async fn ask(&self, request: HttpRequest) -> Result<HttpResponse, HttpError> {
        let host = request.uri().authority().map(|host| host.as_str().to_owned()).unwrap_or_default();
        let response = self.0.execute(request).await.inspect_err(|error| Seen::broken(&host, error))?;
        if !response.status().is_client_error() {
            return Ok(response);
        }
        let (parts, body) = response.into_parts();
        let body = read(body).await.inspect_err(|error| Seen::broken(&host, error))?;
        let said: Value = serde_json::from_slice(&body).unwrap_or_default();
        let why = [&said["error"], &said["error_description"]].map(|part| part.as_str().unwrap_or_default());
        Seen::no_keys(format!(
            "{host} gives no token: HTTP {} {}; renew the credentials file",
            parts.status.as_u16(),
            why.join(" ").trim().escape_debug().take(200).collect::<String>()
        ));
        Ok(HttpResponse::from_parts(parts, HttpResponseBody::from(body)))
    }
}

impl HttpService for Asked {
    fn call<'this, 'call>(
        &'this self,
        request: HttpRequest,
    ) -> Pin<Box<dyn Future<Output = Result<HttpResponse, HttpError>> + Send + 'call>>
    where
        'this: 'call,
        Self: 'call,
    {
        Box::pin(self.ask(request))
    }
}

// === impl Metadata ===

impl Metadata {
    pub(super) fn new() -> Result<Self> {
        let options = ClientOptions::new()
            .with_allow_http(true)
            .with_no_system_certificates(true)
            .with_connect_timeout(METADATA_TIMEOUT)
            .with_timeout(METADATA_TIMEOUT);
        let client = Tokens.connect(&options).map_err(invalid)?;
        Ok(Self { url: METADATA.into(), client, known: Mutex::new(None) })
    }

    async fn token(&self) -> Result<Arc<GcpCredential>> {
        if let Some((token, until)) = &*self.known.lock()
            && Instant::now() < *until
        {
            return Ok(Arc::clone(token));
        }
        let failed = |words: String| {
            Error::new(Kind::Unavailable, format!("ask the machine's metadata service for a token: {words}"))
        };
        let mut request = HttpRequest::new(HttpRequestBody::empty());
        *request.uri_mut() = self.url.parse().expect("a URL of our own");
        request.headers_mut().insert("metadata-flavor", HeaderValue::from_static("Google"));
        let response = self.client.execute(request).await.map_err(|error| failed(deepest(&error)))?;
        let status = response.status();
        let body = read(response.into_body()).await.map_err(|error| failed(deepest(&error)))?;
        let said: Value = serde_json::from_slice(&body).unwrap_or_default();
        let (Some(bearer), Some(seconds)) = (said["access_token"].as_str(), said["expires_in"].as_u64())
        else {
            return Err(failed(format!("HTTP {}", status.as_u16())));
        };
        let token = Arc::new(GcpCredential { bearer: bearer.to_owned() });
        let until = Instant::now() + Duration::from_secs(seconds).saturating_sub(TOKEN_MIN);
        *self.known.lock() = Some((Arc::clone(&token), until));
        Ok(token)
    }
}

impl CredentialProvider for Metadata {
    type Credential = GcpCredential;

    fn get_credential<'this, 'call>(
        &'this self,
    ) -> Pin<Box<dyn Future<Output = object_store::Result<Arc<GcpCredential>>> + Send + 'call>>
    where
        'this: 'call,
        Self: 'call,
    {
        Box::pin(async {
            self.token()
                .await
                .map_err(|error| object_store::Error::Generic { store: "metadata", source: Box::new(error) })
        })
    }
}

impl fmt::Debug for Metadata {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("Metadata")
    }
}

#[cfg(test)]
mod tests {
    use tokio::io::{AsyncReadExt as _, AsyncWriteExt as _};
    use tokio::net::TcpListener;

    use super::*;

    #[tokio::test]
    async fn the_machines_token_is_asked_for_once() {
        let listener = TcpListener::bind("127.0.0.1:0").await.unwrap();
        let addr = listener.local_addr().unwrap();
        let served = tokio::spawn(async move {
            for said in ["{}", r#"{"access_token":"t0ken","expires_in":3600,"token_type":"Bearer"}"#] {
                let (mut client, _) = listener.accept().await.unwrap();
                let mut request = Vec::new();
                while !request.ends_with(b"\r\n\r\n") {
                    request.push(client.read_u8().await.unwrap());
                }
                let request = String::from_utf8(request).unwrap().to_ascii_lowercase();
                assert!(request.contains("metadata-flavor: google"), "{request}");
                let head = format!("HTTP/1.1 200 OK\r\nconnection: close\r\ncontent-length: {}", said.len());
                client.write_all(format!("{head}\r\n\r\n{said}").as_bytes()).await.unwrap();
            }
        });
        let metadata = Metadata { url: format!("http://{addr}/token"), ..Metadata::new().unwrap() };
        let error = metadata.token().await.unwrap_err();
        assert!(error.message().contains("HTTP 200"), "{error}");
        assert_eq!(metadata.token().await.unwrap().bearer, "t0ken");
        served.await.unwrap();
        assert_eq!(metadata.token().await.unwrap().bearer, "t0ken", "nobody is there to be asked");
    }
}
