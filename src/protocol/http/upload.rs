//! A request body on its way in.
//!
//! What is answered before its body was read is often never seen: the client is still writing, and a closed socket
//! with unread bytes resets the connection under the answer. So a refused body is read, up to a bound, before it is
//! answered, and one that was shed to its very end. A client that waits for `100 Continue` has sent nothing, and is
//! answered at once.

use bytes::{Bytes, BytesMut};
use http_body_util::BodyExt as _;
use hyper::header::EXPECT;
use hyper::http::request::Parts;
use hyper::{Method, Request, Version};

use super::{Answer, closing, without_body};
use crate::cache::Put;
use crate::error::{Error, Kind, Result};

/// The body of a request, from hyper or from a test.
pub trait Incoming:
    http_body::Body<Data = Bytes, Error: std::error::Error + Send + Sync + 'static> + Send + Unpin
{
}

impl<B> Incoming for B where
    B: http_body::Body<Data = Bytes, Error: std::error::Error + Send + Sync + 'static> + Send + Unpin
{
}

/// A request body, and how much of it was read.
#[derive(Debug)]
pub(crate) struct Upload<B> {
    body: B,
    version: Version,
    /// The request was a `HEAD`: whatever answers it has no body.
    to_head: bool,
    /// The client waits for `100 Continue`, which the first read sends.
    waits: bool,
    taken: u64,
    state: State,
}

#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum State {
    /// More may come.
    Open,
    /// Read to its end.
    Whole,
    /// The client broke off.
    Broken,
}

impl<B: Incoming> Upload<B> {
    /// Splits a request. Nothing is read yet.
    pub(crate) fn of(request: Request<B>) -> (Parts, Self) {
        let (parts, body) = request.into_parts();
        let waits = parts
            .headers
            .get(EXPECT)
            .is_some_and(|value| value.as_bytes().eq_ignore_ascii_case(b"100-continue"));
        let state = if body.is_end_stream() { State::Whole } else { State::Open };
        let (version, to_head) = (parts.version, parts.method == Method::HEAD);
        (parts, Self { body, version, to_head, waits, taken: 0, state })
    }

    /// The announced length. Neither `Content-Length` nor `Transfer-Encoding` is an empty body; `None` is one whose
    /// length nobody said.
    pub(crate) fn len(&self) -> Option<u64> {
        self.body.size_hint().exact()
    }

    /// Bytes read so far.
    pub(crate) fn taken(&self) -> u64 {
        self.taken
    }

    /// Hands the whole body to `put`, one piece at a time: what the store can't take yet is not read.
    ///
    /// # Errors
    /// What `put` says, or `Invalid` when the client broke off.
    pub(crate) async fn write_to(&mut self, put: &mut Put) -> Result<()> {
        self.write_checked(put, |_| Ok(())).await
    }

    /// [`Upload::write_to`], where `check` sees each piece first: what it says of one ends it.
    ///
    /// # Errors
    /// Those of [`Upload::write_to`], or what `check` says.
    pub(crate) async fn write_checked(
        &mut self,
        put: &mut Put,
        mut check: impl FnMut(&[u8]) -> Result<()>,
    ) -> Result<()> {
        while let Some(piece) = self.next().await? {
            check(&piece)?;
            put.write(piece).await?;
        }
        Ok(())
    }

    /// The whole body as one, of at most `max` bytes.
    ///
    /// # Errors
    /// `TooLarge` over `max`, `Invalid` when the client broke off.
    pub(crate) async fn collect(&mut self, max: u64) -> Result<Bytes> {
        let over =
            || Error::new(Kind::TooLarge, format!("the body is over the {max} bytes that are taken here"));
        let announced = self.len().unwrap_or(0);
        if announced > max {
            return Err(over());
        }
        let mut buffer = BytesMut::with_capacity(announced as usize);
        while let Some(piece) = self.next().await? {
            if self.taken > max {
                return Err(over());
            }
            buffer.extend_from_slice(&piece);
        }
        Ok(buffer.freeze())
    }

    /// The answer to this request: the rest of a body is read first, up to `max` bytes; past them, or when the client
    /// broke off, the answer closes the connection. That to a `HEAD` loses its body.
    pub(crate) async fn finish(mut self, answer: Answer, max: u64) -> Answer {
        let enough = self.taken.saturating_add(max);
        while self.state == State::Open && !self.waits && self.taken < enough {
            if !matches!(self.next().await, Ok(Some(_))) {
                break;
            }
        }
        let answer = if self.to_head { without_body(answer) } else { answer };
        if self.state == State::Whole { answer } else { closing(answer, self.version) }
    }

    /// The next piece of the body; `None` at its end.
    ///
    /// # Errors
    /// `Invalid` when the client broke off.
    pub(crate) async fn next(&mut self) -> Result<Option<Bytes>> {
        self.waits = false;
        if self.state != State::Open {
            return Ok(None);
        }
        loop {
            match self.body.frame().await {
                None => {
                    self.state = State::Whole;
                    return Ok(None);
                }
                Some(Ok(frame)) => {
                    if self.body.is_end_stream() {
                        self.state = State::Whole;
                    }
                    // Trailers say nothing that is kept.
                    let Ok(piece) = frame.into_data() else { continue };
                    self.taken += piece.len() as u64;
                    return Ok(Some(piece));
                }
                Some(Err(error)) => {
                    self.state = State::Broken;
                    return Err(Error::invalid("the body broke off before its end").because(error));
                }
            }
        }
    }
}
