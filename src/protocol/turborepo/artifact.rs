//! PUT of an artifact, and what a hit says of it.

use hyper::header::{CONTENT_TYPE, HeaderMap, HeaderName, HeaderValue};
use hyper::{Request, StatusCode};

use super::{Frontend, TAG_ATTR};
use crate::entry::{Attrs, Claim, Meta, Precondition};
use crate::error::{Error, Result};
use crate::key::{Key, Scope};
use crate::protocol::Intent;
use crate::protocol::http::{self, Answer, Dialect as _, Incoming, Upload};

/// How long the task took. turbo takes a value that is no number for a failed download.
const DURATION: HeaderName = HeaderName::from_static("x-artifact-duration");
/// turbo's signature. Without it, a client that signs takes a hit for a miss.
const TAG: HeaderName = HeaderName::from_static("x-artifact-tag");
/// The commit that it was built from.
const SHA: HeaderName = HeaderName::from_static("x-artifact-sha");

pub(super) const DURATION_ATTR: &str = "artifactduration";
const SHA_ATTR: &str = "artifactsha";

/// What is kept of a PUT's headers and given back with a hit.
const KEPT: [(HeaderName, &str); 3] = [(DURATION, DURATION_ATTR), (TAG, TAG_ATTR), (SHA, SHA_ATTR)];

impl Frontend {
    pub(super) async fn put<B: Incoming>(&self, scope: &Scope, key: Key, request: Request<B>) -> Answer {
        let (head, mut upload) = Upload::of(request);
        let urls = match &key {
            Key::Named { name, .. } => serde_json::json!({ "urls": [name.as_str()] }),
            Key::Content(_) => serde_json::json!({}),
        };
        let result = self.store(scope, key, &head.headers, &mut upload).await;
        self.stats.bytes_in.add(upload.taken());
        let answer = match result {
            Ok(()) => {
                self.stats.puts.one();
                http::json(StatusCode::OK, urls.to_string())
            }
            Err(error) => self.refuse(&error, Intent::Write),
        };
        upload.finish(answer, self.context.settings.drain_bytes_max).await
    }

    async fn store<B: Incoming>(
        &self,
        scope: &Scope,
        key: Key,
        headers: &HeaderMap,
        upload: &mut Upload<B>,
    ) -> Result<()> {
        http::identity_only(headers)?;
        let claim = Claim { len: upload.len(), digest: None };
        let cache = &self.context.cache;
        let mut put = cache.put(scope, key, claim, attrs(headers)?, Precondition::None).await?;
        upload.write_to(&mut put).await?;
        put.commit().await?;
        Ok(())
    }
}

fn attrs(headers: &HeaderMap) -> Result<Attrs> {
    let mut pairs = Vec::new();
    for (header, attr) in KEPT {
        let Some(value) = headers.get(&header) else { continue };
        let value = value.to_str().map_err(|_| Error::invalid(format!("{header} is not ASCII text")))?;
        if header == DURATION && duration_ms(value).is_none() {
            return Err(Error::invalid(format!("{header} is not a number of milliseconds")));
        }
        pairs.push((attr.to_owned(), value.to_owned()));
    }
    Attrs::new(pairs)
}

/// What was kept of the PUT. What came by another server, and isn't what turbo can read, is left out.
pub(super) fn describe(headers: &mut HeaderMap, meta: &Meta) {
    headers.insert(CONTENT_TYPE, http::OCTETS);
    for (header, attr) in KEPT {
        let Some(value) = meta.attrs.get(attr) else { continue };
        if header == DURATION && duration_ms(value).is_none() {
            continue;
        }
        if let Ok(value) = HeaderValue::from_str(value) {
            headers.insert(header, value);
        }
    }
}

pub(super) fn duration_ms(value: &str) -> Option<u64> {
    value.parse().ok()
}
