//! Blob Batch: deletions of many blobs at once, each a request of its own in a part of a `multipart/mixed` body.
//!
//! Each is signed by itself and answered by itself; the whole, once it is let in, is a 202 whatever becomes of them.

use std::fmt::Write as _;

use hyper::header::{CONTENT_TYPE, HeaderName, HeaderValue};
use hyper::http::request::Parts;
use hyper::{Method, Request, StatusCode};

use super::auth::{self, ACCOUNT, Asked};
use super::headers::{request_id, version};
use super::{Blob, Done, Frontend, Query, Refusal, Route, Target, permitted};
use crate::protocol::http::{self, Incoming, Upload};
use crate::protocol::{Admission, Intent};

/// The service's own bounds.
const BODY_BYTES_MAX: u64 = 4 << 20;
const REQUESTS_MAX: usize = 256;

/// One request of a batch.
#[derive(Debug)]
struct Part {
    /// What the client calls it, if anything.
    id: Option<String>,
    head: Parts,
}

impl Frontend {
    /// `container`: the one that all requests must be about, if the batch is its own.
    pub(super) async fn batch<B: Incoming>(
        &self,
        admission: Admission,
        container: Option<&str>,
        head: &Parts,
        upload: &mut Upload<B>,
    ) -> Done {
        let content_type = head.headers.get(CONTENT_TYPE).and_then(|value| value.to_str().ok());
        let boundary = content_type.and_then(boundary).ok_or_else(|| {
            Refusal::bad("InvalidHeaderValue", "a batch is multipart/mixed with a boundary: Content-Type")
        })?;
        let body = match upload.collect(BODY_BYTES_MAX).await {
            Ok(body) => body,
            Err(error) => return self.failed(&error, Intent::Write),
        };
        let parts = parts(&body, boundary).map_err(|words| Refusal::bad("InvalidInput", words))?;
        let name = format!("batchresponse_{}", request_id());
        let mut text = String::new();
        for part in &parts {
            let done = self.in_batch(admission, container, &part.head).await;
            // A text takes whatever is written.
            let _ = write!(text, "--{name}\r\nContent-Type: application/http\r\n");
            if let Some(id) = &part.id {
                let _ = write!(text, "Content-ID: {id}\r\n");
            }
            let (status, refusal) = match &done {
                Ok(status) => (*status, None),
                Err(refusal) => (refusal.status, Some(refusal)),
            };
            let _ = write!(text, "\r\nHTTP/1.1 {status}\r\nx-ms-request-id: {}\r\n", request_id());
            let _ = write!(text, "x-ms-version: {}\r\n", version(&part.head.headers));
            match refusal {
                None => text.push_str("x-ms-delete-type-permanent: true\r\n\r\n"),
                Some(refusal) => {
                    let body = refusal.document();
                    let _ = write!(
                        text,
                        "x-ms-error-code: {}\r\nContent-Type: application/xml\r\n",
                        refusal.code
                    );
                    let _ = write!(text, "Content-Length: {}\r\n\r\n{body}\r\n", body.len());
                }
            }
        }
        let _ = write!(text, "--{name}--\r\n");
        let mut answer = http::text(StatusCode::ACCEPTED, text);
        if let Ok(value) = HeaderValue::try_from(format!("multipart/mixed; boundary={name}")) {
            answer.headers_mut().insert(CONTENT_TYPE, value);
        }
        Ok((answer, 0))
    }

    async fn in_batch(
        &self,
        admission: Admission,
        of: Option<&str>,
        head: &Parts,
    ) -> Result<StatusCode, Refusal> {
        let path = head.uri.path();
        let own = format!("/{ACCOUNT}/");
        let route = Route::parse(path.strip_prefix(own.as_str()).unwrap_or(path));
        let Target::Blob(container, name) = &route.0 else {
            return Err(Refusal::bad("InvalidUri", "a request of a batch is about a blob"));
        };
        if of.is_some_and(|of| of != container) {
            let words = "a request of this batch is about another container than the batch";
            return Err(Refusal::bad("InvalidInput", words));
        }
        let query = Query::parse(head.uri.query());
        let asked = Asked {
            method: &head.method,
            path,
            query: &query,
            headers: &head.headers,
            container: Some(container),
            blob: Some(name.as_str()),
        };
        let rights = auth::rights(&self.keyring, admission, &asked)?;
        if head.method != Method::DELETE || query.get("comp").is_some() {
            permitted(rights.write, "write")?;
            return Err(Refusal::bad("InvalidInput", "only deletions are served in a batch"));
        }
        let scope = self.places.scope(container);
        let scope = scope.map_err(|error| Refusal::bad("InvalidResourceName", error.message()))?;
        let key = self.key(&scope, name.clone())?;
        let blob = Blob { container, name, scope, key, head, query: &query, rights };
        self.delete(&blob).await.map(|answer| answer.status())
    }
}

/// The boundary of a `multipart/mixed`.
fn boundary(content_type: &str) -> Option<&str> {
    let (kind, parameters) = content_type.split_once(';')?;
    if !kind.trim().eq_ignore_ascii_case("multipart/mixed") {
        return None;
    }
    let value = parameters.split(';').find_map(|parameter| {
        let (name, value) = parameter.split_once('=')?;
        name.trim().eq_ignore_ascii_case("boundary").then_some(value)
    })?;
    Some(value.trim().trim_matches('"')).filter(|value| (1..=70).contains(&value.len()))
}

/// The requests of a body, or why it has none.
fn parts(body: &[u8], boundary: &str) -> Result<Vec<Part>, &'static str> {
    let text = std::str::from_utf8(body).map_err(|_| "the batch is not text")?;
    let text = format!("\n{}", text.replace("\r\n", "\n"));
    let mark = format!("\n--{boundary}");
    let (whole, _) = text.split_once(&format!("{mark}--")).ok_or("the batch has no last boundary")?;
    // What is before the first boundary is no part.
    let pieces: Vec<&str> = whole.split(&mark).skip(1).collect();
    if !(1..=REQUESTS_MAX).contains(&pieces.len()) {
        return Err("a batch has 1 to 256 requests");
    }
    pieces.into_iter().map(|piece| part(piece).ok_or("a part of the batch is no request")).collect()
}

fn part(piece: &str) -> Option<Part> {
    let piece = piece.strip_prefix('\n')?;
    let (outer, inner) = match piece.strip_prefix('\n') {
        Some(inner) => ("", inner),
        None => piece.split_once("\n\n")?,
    };
    let id = outer.lines().find_map(|line| {
        let (name, value) = line.split_once(':')?;
        name.trim().eq_ignore_ascii_case("content-id").then(|| value.trim().to_owned())
    });
    let head = inner.trim_start_matches('\n').split("\n\n").next()?;
    let mut lines = head.lines();
    let mut first = lines.next()?.split(' ');
    let (method, target) = (first.next()?, first.next()?);
    let request = Request::builder().method(method).uri(target).body(()).ok()?;
    let (mut head, ()) = request.into_parts();
    if !target.starts_with('/') {
        return None;
    }
    for line in lines.filter(|line| !line.is_empty()) {
        let (name, value) = line.split_once(':')?;
        let name = HeaderName::from_bytes(name.trim().as_bytes()).ok()?;
        head.headers.append(name, HeaderValue::from_str(value.trim()).ok()?);
    }
    Some(Part { id, head })
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn boundaries_are_found() {
        for (header, found) in [
            ("multipart/mixed; boundary=batch_1", Some("batch_1")),
            ("Multipart/Mixed; charset=utf-8; Boundary=\"a b\"", Some("a b")),
            ("multipart/form-data; boundary=x", None),
            ("multipart/mixed", None),
            ("multipart/mixed; boundary=", None),
        ] {
            assert_eq!(boundary(header), found, "{header}");
        }
    }

    #[test]
    fn requests_are_taken_apart() {
        let body = "--x\r\nContent-Type: application/http\r\nContent-ID: 7\r\n\r\nDELETE /larder/c/a%20b?sig=1 HTTP/1.1\r\n\
                    x-ms-date: now\r\nContent-Length: 0\r\n\r\n\r\n--x\r\n\r\nDELETE /larder/c/d HTTP/1.1\r\n\r\n--x--\r\n";
        let found = parts(body.as_bytes(), "x").expect("two requests");
        let seen: Vec<_> = found
            .iter()
            .map(|part| (part.id.as_deref(), part.head.uri.to_string(), part.head.headers.len()))
            .collect();
        assert_eq!(
            seen,
            [(Some("7"), "/larder/c/a%20b?sig=1".to_owned(), 2), (None, "/larder/c/d".to_owned(), 0)]
        );
        for bad in [
            "",
            "--x--",
            "--x\n\nGET\n--x--",
            "--x\n\nDELETE http://h/ HTTP/1.1\n\n--x--",
            "--x\n\nDELETE / HTTP/1.1\n\n",
        ] {
            assert!(parts(bad.as_bytes(), "x").is_err(), "{bad:?}");
        }
        let many = "--x\n\nDELETE /c/a HTTP/1.1\n\n".repeat(257) + "--x--";
        assert!(parts(many.as_bytes(), "x").is_err());
    }
}
