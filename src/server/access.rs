//! The body of every answer on its way out, and the access log.
//!
//! A request lasts from its head until its [`Answer`] is dropped: handed over to its last byte, or given up. Then the
//! connection's clocks are told, and with `larder::access` at debug one line is written. Without it, a request costs
//! no time stamp and no allocation here.

use std::pin::Pin;
use std::sync::Arc;
use std::task::{Context, Poll, ready};
use std::time::Instant;

use bytes::Bytes;
use http_body::{Body as _, Frame, SizeHint};
use hyper::body::Incoming;
use hyper::header::CONTENT_LENGTH;
use hyper::{HeaderMap, Method, Request, Response, StatusCode};
use tracing::Level;

use super::clocks::Activity;
use crate::entry::Tier;
use crate::error::Error;
use crate::protocol::http::Reply;
use crate::stats::noted::{self, Noted};
use crate::stats::{Outcome, Stats};

/// The log's target.
const TARGET: &str = "larder::access";

/// A request's body on its way in: while some of it is awaited, the connection's clock for bodies runs.
#[derive(Debug)]
pub(super) struct Uploading {
    body: Incoming,
    awaited: Option<Arc<Activity>>,
}

/// A reply whose request ends with it.
#[derive(Debug)]
pub(super) struct Answer {
    reply: Reply,
    ticket: Ticket,
}

/// One request under way.
#[derive(Debug)]
pub(super) struct Ticket {
    activity: Arc<Activity>,
    waits: Option<Box<Wait>>,
    line: Option<Box<Line>>,
}

/// A request that memory alone can't answer. In a box, so that those that it can answer carry no room for it.
#[derive(Debug)]
struct Wait {
    since: Instant,
    protocol: &'static str,
    stats: Arc<Stats>,
}

/// What a line of the log is made of.
#[derive(Debug)]
struct Line {
    begun: Instant,
    method: Method,
    path: String,
    noted: Noted,
    protocol: &'static str,
    tier: Option<Tier>,
    /// `None`: the connection ended before there was an answer.
    status: Option<StatusCode>,
    /// How a call of gRPC ended: HTTP's status says nothing of it.
    call: Option<Call>,
    first_byte_us: Option<u128>,
    bytes_in: u64,
    bytes_out: u64,
    whole: bool,
}

// === impl Uploading ===

impl Uploading {
    pub(super) fn new(body: Incoming, activity: &Arc<Activity>) -> Self {
        let awaited = (!body.is_end_stream()).then(|| {
            activity.upload_began();
            Arc::clone(activity)
        });
        Self { body, awaited }
    }

    fn is_whole(&mut self) {
        if let Some(activity) = self.awaited.take() {
            activity.upload_ended();
        }
    }
}

impl Drop for Uploading {
    fn drop(&mut self) {
        self.is_whole();
    }
}

impl http_body::Body for Uploading {
    type Data = Bytes;
    type Error = hyper::Error;

    fn poll_frame(
        mut self: Pin<&mut Self>,
        cx: &mut Context<'_>,
    ) -> Poll<Option<Result<Frame<Bytes>, hyper::Error>>> {
        let frame = ready!(Pin::new(&mut self.body).poll_frame(cx));
        if frame.is_none() || self.body.is_end_stream() {
            self.is_whole();
        }
        Poll::Ready(frame)
    }

    fn is_end_stream(&self) -> bool {
        self.body.is_end_stream()
    }

    fn size_hint(&self) -> SizeHint {
        self.body.size_hint()
    }
}

// === impl Ticket ===

impl Ticket {
    /// A request's head is here.
    pub(super) fn new(activity: Arc<Activity>, request: &Request<Incoming>) -> Self {
        activity.request_began();
        let line = tracing::enabled!(target: TARGET, Level::DEBUG).then(|| {
            let announced =
                request.headers().get(CONTENT_LENGTH).and_then(|len| len.to_str().ok()?.parse().ok());
            Box::new(Line {
                begun: Instant::now(),
                method: request.method().clone(),
                path: request.uri().path().to_owned(),
                noted: Noted::default(),
                protocol: "-",
                tier: None,
                status: None,
                call: None,
                first_byte_us: None,
                bytes_in: announced.unwrap_or(0),
                bytes_out: 0,
                whole: false,
            })
        });
        Self { activity, waits: None, line }
    }

    /// Who answers.
    pub(super) fn answered_by(&mut self, protocol: &'static str) {
        if let Some(line) = &mut self.line {
            line.protocol = protocol;
        }
    }

    /// The answer takes more than a look into memory: its time is counted. What memory has is not worth a time stamp.
    pub(super) fn waits_for(&mut self, protocol: &'static str, stats: &Arc<Stats>) {
        self.waits = Some(Box::new(Wait { since: Instant::now(), protocol, stats: Arc::clone(stats) }));
    }

    /// Does a part of the request's work; what it turns out to be about is in its line.
    pub(super) fn noting<T>(&mut self, work: impl FnOnce(&mut Self) -> T) -> T {
        let Some(line) = &mut self.line else { return work(self) };
        let mut noted = std::mem::take(&mut line.noted);
        let done = noted::during(&mut noted, || work(self));
        if let Some(line) = &mut self.line {
            line.noted = noted;
        }
        done
    }

    /// Whether the daemon is stopping.
    pub(super) fn stopping(&self) -> bool {
        self.activity.stopping()
    }

    /// The answer to its request.
    pub(super) fn answer(mut self, response: Response<Reply>) -> Response<Answer> {
        if let Some(wait) = self.waits.take() {
            wait.stats.took(wait.protocol, outcome(&response), wait.since.elapsed());
        }
        if let Some(line) = &mut self.line {
            line.status = Some(response.status());
            line.tier = response.body().tier();
            line.call = Call::ended(response.headers());
            if response.body().is_end_stream() {
                line.first_byte();
                line.whole = true;
            }
        }
        response.map(|reply| Answer { reply, ticket: self })
    }
}

impl Drop for Ticket {
    fn drop(&mut self) {
        self.activity.request_ended();
        if let Some(line) = &self.line {
            line.write();
        }
    }
}

/// What an answer's head tells of how it went.
fn outcome(response: &Response<Reply>) -> Outcome {
    let is_absent = || match Call::ended(response.headers()) {
        Some(call) => call == Call::NotFound,
        None => response.status() == StatusCode::NOT_FOUND,
    };
    match response.body().tier() {
        Some(_) => Outcome::Hit,
        None if response.status() == StatusCode::NOT_MODIFIED => Outcome::Hit,
        None if is_absent() => Outcome::Miss,
        None => Outcome::Other,
    }
}

/// How a call of gRPC ended, as far as the log tells it apart.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum Call {
    Ok,
    NotFound,
    Other,
}

// === impl Call ===

impl Call {
    /// What these headers or trailers say of it, if they do.
    fn ended(headers: &HeaderMap) -> Option<Self> {
        headers.get("grpc-status").map(|code| match code.as_bytes() {
            b"0" => Self::Ok,
            b"5" => Self::NotFound,
            _ => Self::Other,
        })
    }
}

// === impl Line ===

impl Line {
    fn first_byte(&mut self) {
        self.first_byte_us.get_or_insert_with(|| self.begun.elapsed().as_micros());
    }

    /// What the client took it for.
    fn outcome(&self) -> &'static str {
        let reads = matches!(self.method, Method::GET | Method::HEAD);
        let Some(status) = self.status else { return "cut" };
        match (self.call, self.tier) {
            (Some(Call::Ok), Some(_)) => return "hit",
            (Some(Call::Ok), None) => return "done",
            (Some(Call::NotFound), _) => return "miss",
            (Some(Call::Other), _) => return "refused",
            (None, _) => {}
        }
        match status {
            StatusCode::NOT_FOUND if reads => "miss",
            StatusCode::NOT_MODIFIED => "hit",
            status if status.is_success() && reads => "hit",
            status if status.is_success() => "done",
            _ => "refused",
        }
    }

    fn write(&self) {
        tracing::debug!(
            target: TARGET,
            protocol = self.protocol,
            method = %self.method,
            path = self.path,
            namespace = self.noted.namespace.as_deref().unwrap_or("-"),
            key = self.noted.name().as_deref().unwrap_or("-"),
            others = self.noted.others,
            outcome = self.outcome(),
            tier = self.tier.map_or("-", Tier::name),
            upstream = self.noted.upstream.as_deref().unwrap_or("-"),
            status = self.status.map_or(0, |status| status.as_u16()),
            first_byte_us = self.first_byte_us.map_or(-1, |us| us as i64),
            us = self.begun.elapsed().as_micros() as u64,
            bytes_in = self.bytes_in,
            bytes_out = self.bytes_out,
            whole = self.whole,
        );
    }
}

// === impl Answer ===

impl http_body::Body for Answer {
    type Data = Bytes;
    type Error = Error;

    fn poll_frame(
        mut self: Pin<&mut Self>,
        cx: &mut Context<'_>,
    ) -> Poll<Option<Result<Frame<Bytes>, Error>>> {
        let Self { reply, ticket } = &mut *self;
        let frame = ready!(ticket.noting(|_| Pin::new(&mut *reply).poll_frame(cx)));
        let ended = reply.is_end_stream();
        if let Some(line) = &mut ticket.line {
            line.first_byte();
            match &frame {
                Some(Ok(frame)) => {
                    line.bytes_out += frame.data_ref().map_or(0, Bytes::len) as u64;
                    line.call = frame.trailers_ref().map_or(line.call, Call::ended);
                }
                Some(Err(error)) => {
                    tracing::debug!(target: TARGET, path = line.path, "an answer broke: {error}")
                }
                None => line.whole = true,
            }
            line.whole |= ended;
        }
        Poll::Ready(frame)
    }

    fn is_end_stream(&self) -> bool {
        self.reply.is_end_stream()
    }

    fn size_hint(&self) -> SizeHint {
        self.reply.size_hint()
    }
}
