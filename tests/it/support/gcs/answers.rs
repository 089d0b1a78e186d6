//! What the store says, in Google's words.

use std::time::SystemTime;

/// An answer before it is sent.
pub(super) struct Answer {
    status: u16,
    headers: Vec<(String, String)>,
    body: Vec<u8>,
    /// Of the answer to a HEAD, which has no body.
    announced: Option<usize>,
}

// === impl Answer ===

impl Answer {
    pub(super) fn new(status: u16) -> Self {
        Self { status, headers: Vec::new(), body: Vec::new(), announced: None }
            .header("x-guploader-uploadid", "ABC")
    }

    pub(super) fn xml(status: u16, body: String) -> Self {
        let body = format!("<?xml version='1.0' encoding='UTF-8'?>{body}");
        Self::new(status).header("content-type", "application/xml; charset=UTF-8").body(body.into_bytes())
    }

    pub(super) fn error(status: u16, code: &str, message: &str) -> Self {
        Self::xml(status, format!("<Error><Code>{code}</Code><Message>{message}</Message></Error>"))
    }

    pub(super) fn header(mut self, name: &str, value: impl Into<String>) -> Self {
        self.headers.push((name.into(), value.into()));
        self
    }

    pub(super) fn body(mut self, body: Vec<u8>) -> Self {
        self.body = body;
        self
    }

    pub(super) fn announce(mut self, len: usize) -> Self {
        self.announced = Some(len);
        self
    }

    pub(super) fn bytes(&self, is_head: bool) -> Vec<u8> {
        let date = httpdate::fmt_http_date(SystemTime::now());
        let len = self.announced.unwrap_or(self.body.len());
        let mut text = format!("HTTP/1.1 {} Word\r\nserver: UploadServer\r\ndate: {date}\r\n", self.status);
        if !matches!(self.status, 204 | 304) {
            text.push_str(&format!("content-length: {len}\r\n"));
        }
        for (name, value) in &self.headers {
            text.push_str(&format!("{name}: {value}\r\n"));
        }
        text.push_str("\r\n");
        let mut bytes = text.into_bytes();
        if !is_head && !matches!(self.status, 204 | 304) {
            bytes.extend_from_slice(&self.body);
        }
        bytes
    }
}

/// XML's own marks, escaped.
pub(super) fn escape(text: &str) -> String {
    text.replace('&', "&amp;").replace('<', "&lt;").replace('>', "&gt;").replace('"', "&quot;")
}
