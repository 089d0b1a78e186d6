//! One request and its answer, their heads as they were sent: spelling, order and spaces.

use std::io::{self, BufRead, BufReader, Write};

use crate::support::PATIENCE;
use crate::support::wire::{Addr, Framing, Head, Socket, read_body};

/// A head as its lines, the start line first.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(super) struct RawHead(pub(super) Vec<String>);

/// What went over a connection, once there and once back.
#[derive(Debug)]
pub(super) struct Exchange {
    /// Which of its connections the client took, counted from 1.
    pub(super) connection: usize,
    pub(super) request: RawHead,
    pub(super) body: Vec<u8>,
    pub(super) answer: Answer,
}

/// What was answered.
#[derive(Debug)]
pub(super) struct Answer {
    /// The lines of the informational answer that came first, if one did.
    pub(super) interim: Vec<String>,
    pub(super) head: RawHead,
    pub(super) body: Vec<u8>,
}

/// A connection to the daemon on which one request follows the other.
pub(super) struct Connection {
    socket: Socket,
    reader: BufReader<Socket>,
}

// === impl RawHead ===

impl RawHead {
    /// Reads one. `None` when the peer ended before its first byte.
    pub(super) fn read(from: &mut impl BufRead) -> io::Result<Option<Self>> {
        let mut lines = Vec::new();
        loop {
            let mut line = Vec::new();
            if from.read_until(b'\n', &mut line)? == 0 {
                return if lines.is_empty() { Ok(None) } else { Err(io::ErrorKind::UnexpectedEof.into()) };
            }
            let line = String::from_utf8(line).map_err(|_| io::ErrorKind::InvalidData)?;
            match line.strip_suffix("\r\n").ok_or(io::ErrorKind::InvalidData)? {
                "" => return Ok(Some(Self(lines))),
                line => lines.push(line.to_owned()),
            }
        }
    }

    /// The same, taken apart.
    pub(super) fn parsed(&self) -> Head {
        let head = Head::read(&mut self.bytes().as_slice()).expect("it was read as a head");
        head.expect("a head has a first line")
    }

    pub(super) fn bytes(&self) -> Vec<u8> {
        format!("{}\r\n\r\n", self.0.join("\r\n")).into_bytes()
    }
}

// === impl Connection ===

impl Connection {
    pub(super) fn to(addr: &Addr) -> io::Result<Self> {
        let socket = addr.connect()?;
        socket.patience(PATIENCE)?;
        Ok(Self { reader: BufReader::new(socket.twin()?), socket })
    }

    /// Sends a request and reads its answer, which must be whole. A body that is announced with `Expect` is sent when
    /// the daemon says so, and not at all when it answers otherwise.
    pub(super) fn ask(&mut self, request: &RawHead, body: &[u8]) -> io::Result<Answer> {
        let parsed = request.parsed();
        self.socket.write_all(&request.bytes())?;
        let mut interim = Vec::new();
        let mut head = None;
        if parsed.header("expect").is_some() {
            let word = self.head()?;
            if word.parsed().status() < 200 {
                interim.extend(word.0);
                self.send(parsed.request_framing(), body)?;
            } else {
                head = Some(word);
            }
        } else {
            self.send(parsed.request_framing(), body)?;
        }
        let head = match head {
            Some(head) => head,
            None => self.head()?,
        };
        let framing = head.parsed().answer_framing(parsed.words().0);
        let body = whole(&mut self.reader, framing)?;
        Ok(Answer { interim, head, body })
    }

    fn head(&mut self) -> io::Result<RawHead> {
        RawHead::read(&mut self.reader)?.ok_or_else(|| io::ErrorKind::UnexpectedEof.into())
    }

    fn send(&mut self, framing: Framing, body: &[u8]) -> io::Result<()> {
        match framing {
            Framing::Chunked => {
                for chunk in body.chunks(1_000) {
                    write!(self.socket, "{:x}\r\n", chunk.len())?;
                    self.socket.write_all(chunk)?;
                    self.socket.write_all(b"\r\n")?;
                }
                self.socket.write_all(b"0\r\n\r\n")
            }
            Framing::None | Framing::Length(_) | Framing::ToEnd => self.socket.write_all(body),
        }
    }
}

/// A body, to its end.
pub(super) fn whole<R: io::Read>(from: &mut BufReader<R>, framing: Framing) -> io::Result<Vec<u8>> {
    let mut body = Vec::new();
    read_body(from, framing, |piece| {
        body.extend_from_slice(piece);
        Ok(())
    })?;
    Ok(body)
}
