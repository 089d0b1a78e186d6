//! What can go wrong between the daemon and its upstream, as values.

use std::time::{Duration, SystemTime};

use super::wire::Head;

/// How the way to the upstream is broken. Each is exact: no chance decides.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum Fault {
    /// Everything goes through.
    None,
    /// Nobody listens.
    Refuse,
    /// Packets to the port are dropped: a connection is never established. Open ones fall silent.
    BlackHole,
    /// Connections are taken, requests are read, nothing is ever answered.
    Silent,
    /// Each answer begins this much later: a round trip through the network.
    Delay(Duration),
    /// The store itself refuses, in the form of its own errors.
    Status { code: u16, word: &'static str },
    /// A captive portal: HTML with 200.
    Portal,
    /// A body stops after this many bytes; the connection stays.
    Stall { after: u64 },
    /// The connection is reset after this many bytes of a body.
    Reset { after: u64 },
    /// The connection ends in good order after this many bytes of a body.
    Cut { after: u64 },
    /// The body lacks its last bytes, and its Content-Length agrees with that.
    Shorten { by: u64 },
    /// One bit of the body is another.
    Flip { at: u64 },
    /// The store's clock is this far ahead of ours, in seconds; behind it if negative.
    Clock { ahead_s: i64 },
}

/// A fault and whom it strikes.
#[derive(Clone, Copy)]
pub(crate) struct Plan {
    pub(crate) fault: Fault,
    /// Which requests it strikes. Refused and black-holed connections strike all.
    pub(crate) strikes: fn(&Head) -> bool,
}

/// Whose words a refusal is in: those that the client expects.
#[derive(Debug, Clone, Copy)]
enum Store {
    S3,
    Azure,
    Google,
}

/// What is done to the bytes of one body on their way.
#[derive(Debug, Clone, Copy)]
pub(crate) struct Toxic {
    fault: Fault,
    passed: u64,
}

/// What [`Toxic::pass`] lets through, and what happens then.
pub(crate) enum Then {
    GoOn,
    Stall,
    Reset,
    End,
}

// === impl Fault ===

impl Fault {
    pub(crate) const ACCESS_DENIED: Self = Self::Status { code: 403, word: "AccessDenied" };
    pub(crate) const EXPIRED_TOKEN: Self = Self::Status { code: 403, word: "ExpiredToken" };
    pub(crate) const TOO_MANY: Self = Self::Status { code: 429, word: "TooManyRequests" };
    pub(crate) const SLOW_DOWN: Self = Self::Status { code: 503, word: "SlowDown" };

    /// Whether the port is one that takes connections.
    pub(crate) fn listens(self) -> bool {
        !matches!(self, Self::Refuse | Self::BlackHole)
    }

    /// The answer that replaces the upstream's, if this fault is of that kind.
    pub(crate) fn answer(self, request: &Head) -> Option<Vec<u8>> {
        let (code, kind, own_headers, text) = match self {
            Self::Status { code, word } => {
                let (headers, text) = Store::asked_by(request).error(word, request.words().1);
                (code, "application/xml", headers, text)
            }
            Self::Portal => (
                200,
                "text/html; charset=utf-8",
                "server: hotel\r\n".into(),
                "<!doctype html><title>Welcome</title><p>Please accept our terms.".into(),
            ),
            Self::None
            | Self::Refuse
            | Self::BlackHole
            | Self::Silent
            | Self::Delay(_)
            | Self::Stall { .. }
            | Self::Reset { .. }
            | Self::Cut { .. }
            | Self::Shorten { .. }
            | Self::Flip { .. }
            | Self::Clock { .. } => return None,
        };
        let head = format!(
            "HTTP/1.1 {code} Fault\r\ncontent-type: {kind}\r\n{own_headers}content-length: {}\r\n\r\n",
            text.len()
        );
        let body = if request.words().0 == "HEAD" { "" } else { &text };
        Some([head.as_bytes(), body.as_bytes()].concat())
    }
}

// === impl Store ===

impl Store {
    /// Each client signs in its own way.
    fn asked_by(request: &Head) -> Self {
        let bearer = request.header("authorization").is_some_and(|value| value.starts_with("Bearer "));
        match request.header("x-ms-version") {
            Some(_) => Self::Azure,
            None if bearer => Self::Google,
            None => Self::S3,
        }
    }

    /// Headers and document of an error.
    fn error(self, word: &str, target: &str) -> (String, String) {
        let own = format!("<Code>{word}</Code><Message>{word}, by the fault proxy");
        match self {
            Self::S3 => (
                "x-amz-request-id: F00D\r\nx-amz-id-2: cGFudHJ5\r\nserver: AmazonS3\r\n".into(),
                format!(
                    "<?xml version=\"1.0\" encoding=\"UTF-8\"?>\n<Error>{own}</Message><Resource>{target}</Resource>\
                     <RequestId>F00D</RequestId></Error>"
                ),
            ),
            // The one store that names its reason in the head too.
            Self::Azure => (
                format!(
                    "server: Windows-Azure-Blob/1.0 Microsoft-HTTPAPI/2.0\r\nx-ms-error-code: {word}\r\n\
                     x-ms-request-id: f00d\r\nx-ms-version: 2018-11-09\r\n"
                ),
                format!(
                    "\u{feff}<?xml version=\"1.0\" encoding=\"utf-8\"?><Error>{own}\nRequestId:f00d\n\
                     Time:2026-01-01T00:00:00.0000000Z</Message></Error>"
                ),
            ),
            Self::Google => (
                "x-guploader-uploadid: F00D\r\nserver: UploadServer\r\n".into(),
                format!("<?xml version='1.0' encoding='UTF-8'?><Error>{own}</Message></Error>"),
            ),
        }
    }
}

// === impl Plan ===

impl Plan {
    pub(crate) const CLEAR: Self = Self { fault: Fault::None, strikes: |_| true };

    pub(crate) fn of(self, request: &Head) -> Fault {
        if (self.strikes)(request) { self.fault } else { Fault::None }
    }
}

// === impl Toxic ===

impl Toxic {
    pub(crate) fn new(fault: Fault) -> Self {
        Self { fault, passed: 0 }
    }

    /// Changes an answer's head to agree with what is done to its body, where the fault is a consistent lie.
    pub(crate) fn head(&self, head: &mut Head) {
        for (name, value) in &mut head.headers {
            match (self.fault, name.as_str()) {
                (Fault::Shorten { by }, "content-length") => {
                    let len: u64 = value.parse().unwrap_or(0);
                    *value = len.saturating_sub(by).to_string();
                }
                (Fault::Clock { ahead_s }, "date") => {
                    let apart = Duration::from_secs(ahead_s.unsigned_abs());
                    let now = SystemTime::now();
                    *value = httpdate::fmt_http_date(if ahead_s < 0 { now - apart } else { now + apart });
                }
                _ => {}
            }
        }
    }

    /// What of `piece` goes out, `len` being the whole body's length where it is known.
    pub(crate) fn pass(&mut self, piece: &[u8], len: Option<u64>) -> (Vec<u8>, Then) {
        let from = self.passed;
        self.passed += piece.len() as u64;
        let until = |end: u64, then: Then| {
            let room = usize::try_from(end.saturating_sub(from)).unwrap_or(usize::MAX);
            if room < piece.len() { (piece[..room].to_vec(), then) } else { (piece.to_vec(), Then::GoOn) }
        };
        match self.fault {
            Fault::Stall { after } => until(after, Then::Stall),
            Fault::Reset { after } => until(after, Then::Reset),
            Fault::Cut { after } => until(after, Then::End),
            Fault::Shorten { by } => until(len.unwrap_or(u64::MAX).saturating_sub(by), Then::GoOn),
            Fault::Flip { at } => {
                let mut bytes = piece.to_vec();
                let place = at.checked_sub(from).and_then(|place| usize::try_from(place).ok());
                if let Some(byte) = place.and_then(|place| bytes.get_mut(place)) {
                    *byte ^= 1;
                }
                (bytes, Then::GoOn)
            }
            Fault::None
            | Fault::Refuse
            | Fault::BlackHole
            | Fault::Silent
            | Fault::Delay(_)
            | Fault::Status { .. }
            | Fault::Portal
            | Fault::Clock { .. } => (piece.to_vec(), Then::GoOn),
        }
    }
}
