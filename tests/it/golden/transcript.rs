//! A transcript as text: written from exchanges, and read again for its requests.
//!
//! ```text
//! # whose it is
//!
//! ## what the client did
//!
//! 1 on connection 1
//! > PUT /gradle/ns/1111… HTTP/1.1        a request's head, as the client sent it
//! >= 512 bytes                           its body
//! < HTTP/1.1 200 OK                      what was answered
//! < date: {date}
//! <= as sent in 1                        the answer's body; no line if there is none
//! ```
//!
//! A body is written as `text …`, as `line …` if a newline follows, as `base64 …`, or as `N bytes`, for which a replay
//! sends other bytes of that length ([`Bodies`]). What no two runs or machines have in common is replaced by these
//! rules, and by no others:
//!
//! - `{host}`, in requests: the address that the client was given;
//! - `{kernel}`, in requests: the release of the kernel that Gradle's `User-Agent` names;
//! - `{date}`, in answers: a `Date` or `Last-Modified` that has the form of one;
//! - `{etag N}`, in answers: the `N`th ETag of the transcript. The same entry keeps its number;
//! - `{status}`, in answers: the page of Bazel's protocol that says how much there is, and the time.

use std::fmt::Write as _;

use super::exchange::{Exchange, RawHead};
use crate::support::{Rng, base64};

/// How the bodies of a scenario's requests are written. JSON is kept in every one.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum Bodies {
    /// By their length: nothing in them decides. They may tell where they were made, so nobody else shall have them.
    Length,
    /// By their length; what stands for them begins as gzip does.
    Gzip,
    /// As they are: names are their digests, or they are read.
    Kept,
}

/// One line of a transcript's request side, or of its titles.
#[derive(Debug, PartialEq, Eq)]
pub(super) enum Step {
    Title(String),
    Ask { connection: usize, request: RawHead, body: String },
}

/// Writes a transcript exchange by exchange.
#[derive(Debug)]
pub(super) struct Writer {
    text: String,
    host: String,
    kernel: String,
    exchanges: usize,
    etags: Vec<String>,
    /// What was sent last to each target, and in which exchange.
    sent: Vec<(String, usize, Vec<u8>)>,
}

/// A text of more bytes is written in base64, which is broken into lines.
const TEXT_BYTES_MAX: usize = 2_000;
const BASE64_LINE: usize = 108;
/// A gzip head as Nx writes it.
const GZIP: &[u8] = b"\x1f\x8b\x08\0\0\0\0\0\0\xff";

// === impl Bodies ===

impl Bodies {
    /// How `body` is written.
    pub(super) fn notation(self, request: &RawHead, body: &[u8]) -> String {
        let is_json = request.parsed().header("content-type").is_some_and(|kind| kind.contains("json"));
        match (self, body.len()) {
            (_, 0) => String::new(),
            (Self::Kept, _) => written(body),
            (Self::Length | Self::Gzip, _) if is_json => written(body),
            (Self::Length, len) => format!("{len} bytes"),
            (Self::Gzip, len) => format!("{len} bytes of gzip"),
        }
    }
}

/// The bytes that `notation` means; `number` makes those that only have a length differ from each other.
pub(super) fn body(notation: &str, number: usize) -> Vec<u8> {
    if let Some(text) = notation.strip_prefix("text ") {
        return text.into();
    }
    if let Some(text) = notation.strip_prefix("line ") {
        return format!("{text}\n").into();
    }
    if let Some(digits) = notation.strip_prefix("base64 ") {
        return from_base64(digits);
    }
    let Some((len, kind)) = notation.split_once(" bytes") else {
        assert_eq!(notation, "", "a body in words that nobody knows");
        return Vec::new();
    };
    let mut body = Rng::new(number as u64 + 1_000).bytes(len.parse().expect("a length"));
    if kind == " of gzip" {
        body[..GZIP.len()].copy_from_slice(GZIP);
    }
    body
}

fn written(body: &[u8]) -> String {
    let text = std::str::from_utf8(body).unwrap_or("\0");
    let (kind, text) = text.strip_suffix('\n').map_or(("text", text), |line| ("line", line));
    if body.len() > TEXT_BYTES_MAX || text.contains(|c: char| c.is_control()) {
        return format!("base64 {}", base64(body));
    }
    format!("{kind} {text}")
}

fn from_base64(digits: &str) -> Vec<u8> {
    const DIGITS: &str = "ABCDEFGHIJKLMNOPQRSTUVWXYZabcdefghijklmnopqrstuvwxyz0123456789+/";
    let mut bytes = Vec::new();
    let (mut held, mut bits) = (0_usize, 0);
    for digit in digits.chars().filter(|digit| *digit != '=') {
        held = held << 6 | DIGITS.find(digit).expect("base64");
        bits += 6;
        if bits >= 8 {
            bits -= 8;
            bytes.push((held >> bits).to_le_bytes()[0]);
            held &= (1 << bits) - 1;
        }
    }
    bytes
}

// === impl Writer ===

impl Writer {
    /// A transcript of what `host` was asked.
    pub(super) fn new(host: &str) -> Self {
        // Where nothing tells the release there is none to hide.
        let kernel = std::fs::read_to_string("/proc/sys/kernel/osrelease").unwrap_or_default();
        Self {
            text: String::new(),
            host: host.into(),
            kernel: kernel.trim().into(),
            exchanges: 0,
            etags: Vec::new(),
            sent: Vec::new(),
        }
    }

    pub(super) fn title(&mut self, line: &str) {
        let gap = if self.text.is_empty() { "" } else { "\n" };
        let _ = writeln!(self.text, "{gap}{line}");
    }

    /// Adds one exchange, its request's body as `notation` has it.
    pub(super) fn exchange(&mut self, exchange: &Exchange, notation: &str) {
        self.exchanges += 1;
        let _ = writeln!(self.text, "\n{} on connection {}", self.exchanges, exchange.connection);
        for line in &exchange.request.0 {
            let line = line.replace(&self.host, "{host}");
            let line = if self.kernel.is_empty() { line } else { line.replace(&self.kernel, "{kernel}") };
            let _ = writeln!(self.text, "> {line}");
        }
        self.body('>', notation);
        for line in exchange.answer.interim.iter().chain(&exchange.answer.head.0) {
            let line = self.without_what_changes(line);
            let _ = writeln!(self.text, "< {line}");
        }
        let target = exchange.request.parsed().words().1.to_owned();
        let known = self.sent.iter().rposition(|(to, _, _)| *to == target);
        match known.map(|at| &self.sent[at]) {
            _ if exchange.answer.body.is_empty() => {}
            Some((_, number, body)) if *body == exchange.answer.body => {
                let _ = writeln!(self.text, "<= as sent in {number}");
            }
            Some(_) | None => {
                let body = written(&exchange.answer.body);
                self.body('<', if body.contains("\"ServerTime\":") { "{status}" } else { &body });
            }
        }
        if !exchange.body.is_empty() {
            self.sent.push((target, self.exchanges, exchange.body.clone()));
        }
    }

    pub(super) fn finish(self) -> String {
        self.text
    }

    fn body(&mut self, side: char, notation: &str) {
        let mut rest = notation;
        while !rest.is_empty() {
            let is_digits = notation.starts_with("base64 ");
            let (line, next) =
                rest.split_at(if is_digits { rest.len().min(BASE64_LINE) } else { rest.len() });
            let _ = writeln!(self.text, "{side}= {line}");
            rest = next;
        }
    }

    /// An answer's line by the rules `{date}` and `{etag N}`.
    fn without_what_changes(&mut self, line: &str) -> String {
        let Some((name, value)) = line.split_once(": ") else { return line.to_owned() };
        match name {
            "date" | "last-modified" if is_date(value) => format!("{name}: {{date}}"),
            "etag" => {
                let at = self.etags.iter().position(|known| known == value).unwrap_or_else(|| {
                    self.etags.push(value.to_owned());
                    self.etags.len() - 1
                });
                format!("{name}: {{etag {}}}", at + 1)
            }
            _ => line.to_owned(),
        }
    }
}

/// Whether `value` has the one form of date that HTTP lets servers send: `Sun, 06 Nov 1994 08:49:37 GMT`.
fn is_date(value: &str) -> bool {
    const FORM: &str = "Aaa, 00 Aaa 0000 00:00:00 GMT";
    value.len() == FORM.len()
        && value.chars().zip(FORM.chars()).all(|(is, form)| match form {
            '0' => is.is_ascii_digit(),
            'A' => is.is_ascii_uppercase(),
            'a' => is.is_ascii_lowercase(),
            _ => is == form,
        })
}

/// What a transcript asks, in order.
///
/// # Panics
/// When the text is none.
pub(super) fn steps(text: &str) -> Vec<Step> {
    let mut steps = Vec::new();
    for line in text.lines() {
        if line.is_empty() || line.starts_with('<') {
        } else if line.starts_with('#') {
            steps.push(Step::Title(line.into()));
        } else if let Some((_, connection)) = line.split_once(" on connection ") {
            let connection = connection.parse().expect("a number");
            steps.push(Step::Ask { connection, request: RawHead(Vec::new()), body: String::new() });
        } else {
            let Some(Step::Ask { request, body, .. }) = steps.last_mut() else {
                panic!("what is asked here is asked on no connection: {line}");
            };
            match (line.strip_prefix(">= "), line.strip_prefix("> ")) {
                (Some(more), _) => body.push_str(more),
                (None, Some(line)) => request.0.push(line.into()),
                (None, None) => panic!("no line of a transcript: {line}"),
            }
        }
    }
    steps
}
