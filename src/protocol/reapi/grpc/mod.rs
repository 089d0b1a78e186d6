//! gRPC itself: messages in, messages out, how a call ended.
//!
//! Written over hyper's bodies, with `tonic` for statuses and their encoding only, and not over its server. A message
//! of a `Write` is never in memory as a whole there, but handed on as its bytes come: what fifty uploads take doesn't
//! depend on how large their clients make messages. Answers go out as the very `Bytes` that memory or disk gave,
//! behind a few bytes of prefix and tags. And what is too large is refused with the status that the API's clients
//! take calmly, which is not the library's.

mod incoming;
mod outgoing;

use hyper::header::{CONTENT_TYPE, HeaderMap, HeaderValue};
use hyper::{Method, Response, StatusCode};
use tonic::{Code, Status};

pub(super) use incoming::{Field, Messages, garbage};
pub(super) use outgoing::{Frames, message, stream, unary};

use crate::body::Body;
use crate::protocol::http::{Answer, Reply};

const GRPC: HeaderValue = HeaderValue::from_static("application/grpc");

/// Whether a request is a call. Every call is a POST: for all others nothing is looked up.
pub(crate) fn is_grpc(method: &Method, headers: &HeaderMap) -> bool {
    *method == Method::POST
        && headers.get(CONTENT_TYPE).is_some_and(|value| {
            let rest = value.as_bytes().strip_prefix(b"application/grpc");
            rest.is_some_and(|rest| matches!(rest.first(), None | Some(b'+' | b';')))
        })
}

/// The answer that is a failure alone.
pub(super) fn failed(status: &Status) -> Answer {
    let mut answer = Response::new(Reply::from(Body::empty()));
    answer.headers_mut().insert(CONTENT_TYPE, GRPC);
    add(status, answer.headers_mut());
    answer
}

/// What HTTP refuses with this status, as a call is refused.
pub(crate) fn refusal(status: StatusCode, words: impl Into<String>) -> Answer {
    let code = match status {
        StatusCode::UNAUTHORIZED => Code::Unauthenticated,
        StatusCode::FORBIDDEN => Code::PermissionDenied,
        StatusCode::NOT_FOUND => Code::Unimplemented,
        _ => Code::InvalidArgument,
    };
    failed(&Status::new(code, words))
}

/// No more words than this are sent: clients cap the headers that they take, and words can quote what a client sent.
const WORDS_BYTES_MAX: usize = 1 << 10;

/// Writes a status where the end of a call is told.
fn add(status: &Status, headers: &mut HeaderMap) {
    let words = status.message();
    if words.len() > WORDS_BYTES_MAX + "…".len() {
        let short = &words[..words.floor_char_boundary(WORDS_BYTES_MAX)];
        return add(&Status::new(status.code(), format!("{short}…")), headers);
    }
    if status.add_header(headers).is_err() {
        // Words that no header can carry, which `Status` encodes: none are known. The code alone is what counts.
        headers.insert(Status::GRPC_STATUS, HeaderValue::from(status.code() as i32));
    }
}
