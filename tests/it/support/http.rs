//! A client for one request on one connection, able to send what no library would.

use std::io::{self, BufReader, Write};
use std::time::{Duration, Instant};

use super::wire::{Addr, Head, read_body};

/// A request before it is sent.
#[derive(Debug, Clone)]
pub(crate) struct Request {
    method: String,
    target: String,
    headers: Vec<(String, String)>,
    payload: Payload,
}

/// What follows the head.
#[derive(Debug, Clone)]
pub(crate) enum Payload {
    /// Nothing, and no header that says so.
    Bare,
    /// Bytes, with their length announced.
    Sized(Vec<u8>),
    /// `announced` is what Content-Length says; then the bytes, then the end of our side.
    Lying { announced: u64, bytes: Vec<u8> },
    /// Bytes in chunks of 1,000.
    Chunked(Vec<u8>),
}

/// An answer, read to its end.
#[derive(Debug, Clone)]
pub(crate) struct Answer {
    pub(crate) head: Head,
    pub(crate) body: Vec<u8>,
    /// What ended the body early, if anything did.
    pub(crate) broken: Option<io::ErrorKind>,
    /// From the request's last byte to the answer's head.
    pub(crate) first_byte: Duration,
}

/// How long a client waits before it calls the daemon hung. Far above every deadline of the daemon's own.
const HUNG: Duration = Duration::from_secs(60);

// === impl Request ===

impl Request {
    pub(crate) fn new(method: &str, target: impl Into<String>) -> Self {
        Self { method: method.into(), target: target.into(), headers: Vec::new(), payload: Payload::Bare }
    }

    pub(crate) fn get(target: impl Into<String>) -> Self {
        Self::new("GET", target)
    }

    pub(crate) fn head(target: impl Into<String>) -> Self {
        Self::new("HEAD", target)
    }

    pub(crate) fn put(target: impl Into<String>, body: impl Into<Vec<u8>>) -> Self {
        Self::new("PUT", target).payload(Payload::Sized(body.into()))
    }

    #[must_use]
    pub(crate) fn header(mut self, name: &str, value: impl Into<String>) -> Self {
        self.headers.push((name.into(), value.into()));
        self
    }

    #[must_use]
    pub(crate) fn payload(mut self, payload: Payload) -> Self {
        self.payload = payload;
        self
    }

    /// The head as it goes out. A `host` header given by the test replaces ours.
    fn bytes(&self) -> Vec<u8> {
        let mut head =
            Head { line: format!("{} {} HTTP/1.1", self.method, self.target), headers: Vec::new() };
        let given = |name: &str| self.headers.iter().any(|(known, _)| known.eq_ignore_ascii_case(name));
        let mut add = |name: &str, value: String| head.headers.push((name.into(), value));
        if !given("host") {
            add("host", "127.0.0.1".into());
        }
        if !given("connection") {
            add("connection", "close".into());
        }
        match &self.payload {
            Payload::Bare => {}
            Payload::Sized(bytes) => add("content-length", bytes.len().to_string()),
            Payload::Lying { announced, .. } => add("content-length", announced.to_string()),
            Payload::Chunked(_) => add("transfer-encoding", "chunked".into()),
        }
        head.headers.extend(self.headers.iter().cloned());
        head.bytes()
    }

    /// Sends it on a connection of its own and reads the answer to its end.
    ///
    /// # Errors
    /// When there is no connection, or no complete head comes back.
    pub(crate) fn send(&self, addr: &Addr) -> io::Result<Answer> {
        let mut socket = addr.connect()?;
        socket.patience(HUNG)?;
        let mut reader = BufReader::new(socket.twin()?);
        let sent = socket.write_all(&self.bytes()).and_then(|()| match &self.payload {
            Payload::Bare => Ok(()),
            Payload::Sized(bytes) => socket.write_all(bytes),
            Payload::Lying { bytes, .. } => {
                socket.write_all(bytes)?;
                socket.end_writing()
            }
            Payload::Chunked(bytes) => {
                for chunk in bytes.chunks(1_000) {
                    write!(socket, "{:x}\r\n", chunk.len())?;
                    socket.write_all(chunk)?;
                    socket.write_all(b"\r\n")?;
                }
                socket.write_all(b"0\r\n\r\n")
            }
        });
        let began = Instant::now();
        // A refusal may come while we still send: what was answered counts, not that sending broke.
        let answer = read_answer(&mut reader, &self.method, began);
        match (answer, sent) {
            (Ok(answer), _) => Ok(answer),
            (Err(_), Err(error)) | (Err(error), Ok(())) => Err(error),
        }
    }
}

// === impl Answer ===

impl Answer {
    /// What a connection that ended without a word amounts to.
    pub(crate) fn broken(by: io::ErrorKind) -> Self {
        let head = Head { line: String::new(), headers: Vec::new() };
        Self { head, body: Vec::new(), broken: Some(by), first_byte: Duration::ZERO }
    }

    pub(crate) fn status(&self) -> u16 {
        self.head.status()
    }

    pub(crate) fn header(&self, name: &str) -> Option<&str> {
        self.head.header(name)
    }

    pub(crate) fn text(&self) -> String {
        String::from_utf8_lossy(&self.body).into_owned()
    }

    /// The body, if it came whole.
    pub(crate) fn whole(&self) -> Option<&[u8]> {
        self.broken.is_none().then_some(&self.body)
    }
}

/// Reads one answer to `method`; informational ones are passed over.
pub(crate) fn read_answer<R: io::Read>(
    reader: &mut BufReader<R>,
    method: &str,
    began: Instant,
) -> io::Result<Answer> {
    let head = loop {
        let head = Head::read(reader)?.ok_or(io::ErrorKind::UnexpectedEof)?;
        if head.status() >= 200 {
            break head;
        }
    };
    let first_byte = began.elapsed();
    let mut body = Vec::new();
    let framing = head.answer_framing(method);
    let ended = read_body(reader, framing, |piece| {
        body.extend_from_slice(piece);
        Ok(())
    });
    Ok(Answer { head, body, broken: ended.err().map(|error| error.kind()), first_byte })
}
