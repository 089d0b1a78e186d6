//! Azure Blob.

use std::sync::Arc;

use hyper::{Request, StatusCode};

use super::http::{self, Answer, Incoming, Upload};
use super::objects::Admission;
use super::{Context, Places};
use crate::error::Error;
use crate::keyring::Keyring;

/// The frontend.
#[derive(Debug)]
pub struct Frontend {
    context: Arc<Context>,
}

/// What a path names.
#[derive(Debug)]
pub struct Route;

// === impl Route ===

impl Route {
    /// What a path names, as it came.
    pub fn parse(_rest: &str) -> Self {
        Self
    }
}

// === impl Frontend ===

impl Frontend {
    /// The frontend over `context`.
    pub fn new(context: Arc<Context>, _places: Arc<Places>, _keyring: Keyring) -> Self {
        Self { context }
    }

    /// The answer to a GET that the memory tier has.
    pub fn answer_now<B>(
        &self,
        _admission: Admission,
        _route: &Route,
        _request: &Request<B>,
    ) -> Option<Answer> {
        None
    }

    /// Answers a request.
    pub async fn answer<B: Incoming>(
        &self,
        _admission: Admission,
        _route: Route,
        request: Request<B>,
    ) -> Answer {
        self.refuse_request(&Error::invalid("not served yet"), request).await
    }

    /// Refuses a whole request: its body is read before it is answered.
    pub async fn refuse_request<B: Incoming>(&self, error: &Error, request: Request<B>) -> Answer {
        let (_, upload) = Upload::of(request);
        let answer = http::text(StatusCode::NOT_FOUND, format!("{}\n", error.message()));
        upload.finish(answer, self.context.settings.drain_bytes_max).await
    }
}
