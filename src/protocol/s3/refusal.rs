//! Refusals in S3's words: a status, a code in XML, and a sentence.

use hyper::StatusCode;
use hyper::header::{CONTENT_RANGE, CONTENT_TYPE, HeaderValue};

use crate::error::{Error, Kind};
use crate::protocol::http::{self, Answer};
use crate::protocol::objects::xml::Writer;

/// What is answered instead of what was asked for.
#[derive(Debug, Clone)]
pub(super) struct Refusal {
    pub(super) status: StatusCode,
    /// As S3 has it.
    pub(super) code: &'static str,
    pub(super) message: String,
    /// Of a 416, how long the object is.
    len: Option<u64>,
}

/// Why a body was not taken.
#[derive(Debug)]
pub(super) enum Trouble {
    /// The client's doing.
    Refused(Refusal),
    /// What a layer below says; it may be ours.
    Failed(Error),
}

pub(super) const XML: HeaderValue = HeaderValue::from_static("application/xml");

// === impl Refusal ===

impl Refusal {
    pub(super) fn new(status: StatusCode, code: &'static str, message: impl Into<String>) -> Self {
        Self { status, code, message: message.into(), len: None }
    }

    /// 400 with a code.
    pub(super) fn bad(code: &'static str, message: impl Into<String>) -> Self {
        Self::new(StatusCode::BAD_REQUEST, code, message)
    }

    /// 403 with a code.
    pub(super) fn denied(code: &'static str, message: impl Into<String>) -> Self {
        Self::new(StatusCode::FORBIDDEN, code, message)
    }

    /// 404 with a code.
    pub(super) fn missing(code: &'static str, message: impl Into<String>) -> Self {
        Self::new(StatusCode::NOT_FOUND, code, message)
    }

    /// It is not here, and as far as is known not upstream.
    pub(super) fn absent() -> Self {
        Self::missing("NoSuchKey", "The specified key does not exist.")
    }

    /// A range without a byte of the object.
    pub(super) fn outside(len: u64) -> Self {
        let message = format!("the range is outside the object of {len} bytes");
        let refusal = Self::new(StatusCode::RANGE_NOT_SATISFIABLE, "InvalidRange", message);
        Self { len: Some(len), ..refusal }
    }

    /// A condition that doesn't hold.
    pub(super) fn unmet() -> Self {
        let message = "At least one of the pre-conditions you specified did not hold";
        Self::new(StatusCode::PRECONDITION_FAILED, "PreconditionFailed", message)
    }

    /// A sub-resource, or a method, that is not served.
    pub(super) fn unserved(what: &str) -> Self {
        Self::bad("InvalidRequest", format!("{what} is not served by this cache"))
    }

    /// What a failure that the client caused is; `None`: it is ours.
    pub(super) fn of(error: &Error) -> Option<Self> {
        let message = error.message();
        Some(match error.kind() {
            Kind::Invalid => Self::bad("InvalidRequest", message),
            Kind::Mismatch => Self::bad("BadDigest", message),
            Kind::TooLarge => Self::bad("EntityTooLarge", message),
            Kind::Denied => Self::denied("AccessDenied", message),
            Kind::Precondition => Self::unmet(),
            Kind::Unsupported => Self::bad("InvalidRequest", message),
            Kind::NoSpace | Kind::Unavailable | Kind::Corrupt | Kind::Internal => return None,
        })
    }

    pub(super) fn answer(&self, resource: &str, request_id: &str) -> Answer {
        let mut writer = Writer::new();
        writer.open("Error").text("Code", self.code).text("Message", &self.message);
        writer.text("Resource", resource).text("RequestId", request_id);
        let mut answer = http::text(self.status, writer.finish());
        let headers = answer.headers_mut();
        headers.insert(CONTENT_TYPE, XML);
        if let Some(range) = self.len.and_then(http::unsatisfied_range) {
            headers.insert(CONTENT_RANGE, range);
        }
        answer
    }
}

impl From<Error> for Trouble {
    fn from(error: Error) -> Self {
        Self::Failed(error)
    }
}

impl From<Refusal> for Trouble {
    fn from(refusal: Refusal) -> Self {
        Self::Refused(refusal)
    }
}

/// A document as an answer.
pub(super) fn document(writer: Writer) -> Answer {
    let mut answer = http::text(StatusCode::OK, writer.finish());
    answer.headers_mut().insert(CONTENT_TYPE, XML);
    answer
}
