//! Questions to who issues credentials: metadata services, STS, SSO, OAuth. Not through the store's own client, which
//! would take their answers for a stranger's.

use std::time::Duration;

use bytes::{Bytes, BytesMut};
use futures_util::StreamExt as _;
use object_store::client::{HttpClient, HttpConnector as _, HttpRequest, HttpRequestBody, ReqwestConnector};
use object_store::{ClientOptions, HeaderValue};
use parking_lot::Mutex;
use percent_encoding::{AsciiSet, NON_ALPHANUMERIC, utf8_percent_encode};
use serde_json::Value;

use super::command::without_secrets;
use crate::error::deepest;

/// DNS, TCP and TLS together: metadata services answer at once, or aren't there.
const CONNECT: Duration = Duration::from_secs(4);

/// A whole answer.
const DEADLINE: Duration = Duration::from_secs(15);

/// A longer answer is none.
const BYTES_MAX: usize = 256 << 10;

/// What a form and a query can't hold unescaped.
const ESCAPED: &AsciiSet = &NON_ALPHANUMERIC.remove(b'-').remove(b'_').remove(b'.').remove(b'~');

/// Asks. Its client is made with the first question.
#[derive(Default)]
pub(super) struct Asker {
    /// Leaf mutex.
    client: Mutex<Option<HttpClient>>,
}

/// An answer.
pub(super) struct Reply {
    pub(super) status: u16,
    pub(super) body: Bytes,
}

/// A question without a body.
pub(super) fn get(url: &str, headers: &[(&'static str, &str)]) -> Result<HttpRequest, String> {
    request("GET", url, headers, HttpRequestBody::empty())
}

/// A question whose body is a form.
pub(super) fn form(url: &str, pairs: &[(&str, &str)]) -> Result<HttpRequest, String> {
    let pairs: Vec<String> =
        pairs.iter().map(|(name, value)| format!("{}={}", escape(name), escape(value))).collect();
    let headers = [("content-type", "application/x-www-form-urlencoded")];
    request("POST", url, &headers, pairs.join("&").into())
}

/// A question whose body is JSON.
pub(super) fn json(url: &str, headers: &[(&'static str, &str)], body: &Value) -> Result<HttpRequest, String> {
    let headers = [&[("content-type", "application/json")], headers].concat();
    request("POST", url, &headers, body.to_string().into())
}

/// A value of a query.
pub(super) fn escape(text: &str) -> String {
    utf8_percent_encode(text, ESCAPED).to_string()
}

/// Any question.
pub(super) fn request(
    method: &str,
    url: &str,
    headers: &[(&'static str, &str)],
    body: HttpRequestBody,
) -> Result<HttpRequest, String> {
    let mut request = HttpRequest::new(body);
    *request.method_mut() = method.parse().map_err(|_| "a method that is none")?;
    *request.uri_mut() = url.parse().map_err(|_| "an address to ask that is no URL")?;
    for (name, value) in headers {
        let mut value = HeaderValue::from_str(value)
            .map_err(|_| format!("a value for {name} that no header can have"))?;
        value.set_sensitive(true);
        request.headers_mut().insert(*name, value);
    }
    Ok(request)
}

/// Adds a header whose name is somebody else's.
pub(super) fn add(request: &mut HttpRequest, name: &str, value: &str) -> Result<(), String> {
    const NONE: &str = "a header that none can be";
    let value = HeaderValue::from_str(value).map_err(|_| NONE)?;
    request.headers_mut().try_entry(name).map_err(|_| NONE)?.or_insert(value);
    Ok(())
}

// === impl Asker ===

impl Asker {
    /// Sends a question.
    ///
    /// # Errors
    /// Words that name who was asked.
    pub(super) async fn send(&self, request: HttpRequest) -> Result<Reply, String> {
        let host = request.uri().authority().map(|host| host.as_str().to_owned()).unwrap_or_default();
        let failed = |error: &dyn std::error::Error| format!("ask {host}: {}", deepest(error));
        let client = self.client().await?;
        let answer = async {
            let response = client.execute(request).await.map_err(|error| failed(&error))?;
            let status = response.status().as_u16();
            let (mut pieces, mut body) = (response.into_body().bytes_stream(), BytesMut::new());
            while let Some(piece) = pieces.next().await {
                body.extend_from_slice(&piece.map_err(|error| failed(&error))?);
                if body.len() > BYTES_MAX {
                    return Err(format!("ask {host}: an answer of more than {} KiB", BYTES_MAX >> 10));
                }
            }
            Ok(Reply { status, body: body.freeze() })
        };
        tokio::time::timeout(DEADLINE, answer)
            .await
            .unwrap_or_else(|_| Err(format!("ask {host}: no answer within {} s", DEADLINE.as_secs())))
    }

    async fn client(&self) -> Result<HttpClient, String> {
        if let Some(client) = &*self.client.lock() {
            return Ok(client.clone());
        }
        // Reading the system's certificates takes a while.
        let made = tokio::task::spawn_blocking(|| {
            let options = ClientOptions::new()
                .with_allow_http(true)
                .with_connect_timeout(CONNECT)
                .with_timeout(DEADLINE)
                .with_pool_max_idle_per_host(0);
            ReqwestConnector::default().connect(&options).map_err(|error| deepest(&error))
        });
        let client = made.await.map_err(|_ended| "the daemon stops")??;
        *self.client.lock() = Some(client.clone());
        Ok(client)
    }
}

// === impl Reply ===

impl Reply {
    /// The body of a success, as JSON.
    ///
    /// # Errors
    /// `who` with the reason that the answer gives, without what looks like a secret.
    pub(super) fn json(&self, who: &str) -> Result<Value, String> {
        let said: Value = serde_json::from_slice(&self.body).unwrap_or_default();
        if (200..300).contains(&self.status) && said.is_object() {
            return Ok(said);
        }
        let parts = ["error", "error_description", "code", "Code", "message", "Message"];
        let why: Vec<&str> = parts.iter().filter_map(|part| said[*part].as_str()).collect();
        Err(format!("{who} answers HTTP {} {}", self.status, without_secrets(&why.join(": ")))
            .trim_end()
            .to_owned())
    }

    /// The body as text.
    pub(super) fn text(&self) -> String {
        String::from_utf8_lossy(&self.body).into_owned()
    }
}
