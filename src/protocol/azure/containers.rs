//! Containers, which exist by being named.

use hyper::header::{CONTENT_LENGTH, ETAG, HeaderValue, LAST_MODIFIED};
use hyper::http::request::Parts;
use hyper::{Method, StatusCode};

use super::auth::Rights;
use super::{Frontend, Query, Refusal, no_such_method, permitted};
use crate::key::Scope;
use crate::protocol::http::{self, Answer};

/// A container never changes.
const TAG: HeaderValue = HeaderValue::from_static("\"0x1\"");
const CREATED: HeaderValue = HeaderValue::from_static("Thu, 01 Jan 2026 00:00:00 GMT");

/// What is asked of the account itself.
pub(super) fn no_account_operation(method: &Method) -> Refusal {
    match *method {
        Method::GET | Method::HEAD | Method::PUT | Method::DELETE => Refusal::bad(
            "InvalidUri",
            "nothing is served of the account itself: /larder/{container}/{blob}, or a container",
        ),
        _ => no_such_method(method),
    }
}

impl Frontend {
    pub(super) async fn of_container(
        &self,
        container: &str,
        scope: &Scope,
        rights: Rights,
        head: &Parts,
        query: &Query,
    ) -> Result<Answer, Refusal> {
        if query.get("restype") != Some("container") {
            let words = "a path without a blob is a container and needs `restype=container`";
            return Err(Refusal::bad("InvalidQueryParameterValue", words));
        }
        match (&head.method, query.text("comp")) {
            (&Method::GET, "list") => {
                permitted(rights.list, "list")?;
                self.list(container, scope, head, query).await
            }
            (&Method::GET | &Method::HEAD, "" | "metadata") => {
                permitted(rights.read || rights.list, "look at the container")?;
                let mut answer = described(StatusCode::OK);
                let headers = answer.headers_mut();
                headers.insert("x-ms-lease-status", HeaderValue::from_static("unlocked"));
                headers.insert("x-ms-lease-state", HeaderValue::from_static("available"));
                headers.insert("x-ms-has-immutability-policy", HeaderValue::from_static("false"));
                headers.insert("x-ms-has-legal-hold", HeaderValue::from_static("false"));
                Ok(answer)
            }
            (&Method::PUT, "") => {
                permitted(rights.create, "create containers")?;
                Ok(described(StatusCode::CREATED))
            }
            (&Method::DELETE, "") => {
                let words = "a container is a namespace here and is not deleted; delete its blobs";
                Err(Refusal::new(StatusCode::METHOD_NOT_ALLOWED, "UnsupportedHttpVerb", words))
            }
            (&Method::GET | &Method::HEAD | &Method::PUT | &Method::DELETE | &Method::POST, comp) => {
                let words = format!("`comp={}` is not served for containers", comp.escape_debug());
                Err(Refusal::bad("UnsupportedQueryParameter", words))
            }
            (method, _) => Err(no_such_method(method)),
        }
    }
}

fn described(status: StatusCode) -> Answer {
    let mut answer = http::empty(status);
    let headers = answer.headers_mut();
    headers.insert(ETAG, TAG);
    headers.insert(LAST_MODIFIED, CREATED);
    headers.insert(CONTENT_LENGTH, 0.into());
    answer
}
