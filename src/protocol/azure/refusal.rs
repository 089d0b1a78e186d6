//! Refusals in the service's words: a status, a code in a header and in XML, and a sentence.

use hyper::StatusCode;
use hyper::header::{CONTENT_RANGE, CONTENT_TYPE, HeaderName, HeaderValue};

use crate::error::{Error, Kind};
use crate::protocol::http::{self, Answer};
use crate::protocol::objects::xml::Writer;

/// What is answered instead of what was asked for.
#[derive(Debug, Clone)]
pub(super) struct Refusal {
    pub(super) status: StatusCode,
    /// As Azure has it.
    pub(super) code: &'static str,
    pub(super) message: String,
    /// Of a 416, how long the blob is.
    len: Option<u64>,
}

pub(super) const ERROR_CODE: HeaderName = HeaderName::from_static("x-ms-error-code");
const XML: HeaderValue = HeaderValue::from_static("application/xml");

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

    /// A signature, or its lack.
    pub(super) fn unauthenticated(message: impl Into<String>) -> Self {
        Self::denied("AuthenticationFailed", message)
    }

    /// It is not here, and as far as is known not upstream.
    pub(super) fn absent() -> Self {
        Self::new(StatusCode::NOT_FOUND, "BlobNotFound", "the specified blob does not exist")
    }

    /// A range without a byte of the blob.
    pub(super) fn outside(len: u64) -> Self {
        let message = format!("the range is outside the blob of {len} bytes");
        let refusal = Self::new(StatusCode::RANGE_NOT_SATISFIABLE, "InvalidRange", message);
        Self { len: Some(len), ..refusal }
    }

    /// A condition that doesn't hold.
    pub(super) fn unmet() -> Self {
        let message = "the condition in the request's headers doesn't hold for the blob";
        Self::new(StatusCode::PRECONDITION_FAILED, "ConditionNotMet", message)
    }

    /// What a failure that the client caused is; `None`: it is ours.
    pub(super) fn of(error: &Error) -> Option<Self> {
        let message = error.message();
        Some(match error.kind() {
            Kind::Invalid => Self::bad("InvalidHeaderValue", message),
            Kind::Mismatch => Self::bad("Md5Mismatch", message),
            Kind::TooLarge => Self::new(StatusCode::PAYLOAD_TOO_LARGE, "RequestBodyTooLarge", message),
            Kind::Denied => Self::denied("AuthorizationPermissionMismatch", message),
            Kind::Precondition => Self::unmet(),
            Kind::Unsupported => Self::bad("UnsupportedHeader", message),
            Kind::NoSpace | Kind::Unavailable | Kind::Corrupt | Kind::Internal => return None,
        })
    }

    /// The body of an answer.
    pub(super) fn document(&self) -> String {
        let mut writer = Writer::new();
        writer.open("Error").text("Code", self.code).text("Message", &self.message);
        writer.finish()
    }

    pub(super) fn answer(&self) -> Answer {
        let mut answer = http::text(self.status, self.document());
        let headers = answer.headers_mut();
        headers.insert(CONTENT_TYPE, XML);
        headers.insert(ERROR_CODE, HeaderValue::from_static(self.code));
        if let Some(range) = self.len.and_then(http::unsatisfied_range) {
            headers.insert(CONTENT_RANGE, range);
        }
        answer
    }
}

/// A document as an answer.
pub(super) fn document(writer: Writer) -> Answer {
    let mut answer = http::text(StatusCode::OK, writer.finish());
    answer.headers_mut().insert(CONTENT_TYPE, XML);
    answer
}
