//! The two text formats of metrics: Prometheus' own, version 0.0.4, and OpenMetrics 1.0.

use std::fmt::{Display, Write as _};

use hyper::HeaderMap;
use hyper::header::ACCEPT;

/// Which of the two.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(in crate::server) enum Format {
    /// What every scraper reads.
    Prometheus,
    /// For who asks for it by name.
    OpenMetrics,
}

/// What a family counts.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum Kind {
    /// Only grows; its name ends with `_total`.
    Counter,
    /// Goes up and down.
    Gauge,
    /// Counts in buckets, and their sum.
    Histogram,
}

/// A page in the making.
pub(super) struct Writer {
    format: Format,
    text: String,
    name: &'static str,
}

// === impl Format ===

impl Format {
    /// What the client reads.
    pub(in crate::server) fn asked_for(headers: &HeaderMap) -> Self {
        let mut accepted = headers.get_all(ACCEPT).iter().filter_map(|value| value.to_str().ok());
        let by_name = accepted.any(|value| value.contains("application/openmetrics-text"));
        if by_name { Self::OpenMetrics } else { Self::Prometheus }
    }

    /// The media type of its pages.
    pub(in crate::server) fn content_type(self) -> &'static str {
        match self {
            Self::Prometheus => "text/plain; version=0.0.4; charset=utf-8",
            Self::OpenMetrics => "application/openmetrics-text; version=1.0.0; charset=utf-8",
        }
    }
}

// === impl Writer ===

impl Writer {
    pub(super) fn new(format: Format) -> Self {
        Self { format, text: String::with_capacity(16 << 10), name: "" }
    }

    /// Begins a family; the samples that follow are its own. There may be none.
    pub(super) fn family(&mut self, name: &'static str, kind: Kind, help: &str) -> &mut Self {
        self.name = name;
        let kind_name = match kind {
            Kind::Counter => "counter",
            Kind::Gauge => "gauge",
            Kind::Histogram => "histogram",
        };
        // OpenMetrics calls a counter without the end that its samples have.
        let family = match (self.format, kind) {
            (Format::OpenMetrics, Kind::Counter) => name.strip_suffix("_total").unwrap_or(name),
            _ => name,
        };
        self.put(format_args!("# HELP {family} {help}\n# TYPE {family} {kind_name}\n"));
        self
    }

    /// A sample of the family.
    pub(super) fn sample(&mut self, labels: &[(&str, &str)], value: impl Display) -> &mut Self {
        self.part("", labels, value)
    }

    /// A sample of the family whose name goes on: `_bucket`, `_sum`, `_count`.
    pub(super) fn part(&mut self, end: &str, labels: &[(&str, &str)], value: impl Display) -> &mut Self {
        let name = self.name;
        self.put(format_args!("{name}{end}"));
        for (at, (label, text)) in labels.iter().enumerate() {
            let before = if at == 0 { '{' } else { ',' };
            let text = text.replace('\\', r"\\").replace('"', "\\\"").replace('\n', r"\n");
            self.put(format_args!("{before}{label}=\"{text}\""));
        }
        let after = if labels.is_empty() { "" } else { "}" };
        self.put(format_args!("{after} {value}\n"));
        self
    }

    pub(super) fn end(mut self) -> String {
        if self.format == Format::OpenMetrics {
            self.put(format_args!("# EOF\n"));
        }
        self.text
    }

    fn put(&mut self, text: std::fmt::Arguments<'_>) {
        self.text.write_fmt(text).expect("a text takes all that is written to it");
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn names_and_values_that_need_it_are_escaped() {
        let mut page = Writer::new(Format::Prometheus);
        page.family("larder_x_total", Kind::Counter, "What.")
            .sample(&[("upstream", "a\"b\\c\nd"), ("direction", "read")], 3);
        assert_eq!(
            page.end(),
            "# HELP larder_x_total What.\n# TYPE larder_x_total counter\n\
             larder_x_total{upstream=\"a\\\"b\\\\c\\nd\",direction=\"read\"} 3\n"
        );
    }

    #[test]
    fn open_metrics_is_for_who_asks_for_it() {
        let headers = |accept: &str| HeaderMap::from_iter([(ACCEPT, accept.parse().expect("a header"))]);
        for (accept, format) in [
            ("*/*", Format::Prometheus),
            ("text/plain;version=0.0.4;q=0.5", Format::Prometheus),
            ("application/openmetrics-text;version=1.0.0,text/plain;q=0.5", Format::OpenMetrics),
        ] {
            assert_eq!(Format::asked_for(&headers(accept)), format, "{accept}");
        }
        let mut page = Writer::new(Format::OpenMetrics);
        page.family("larder_x_total", Kind::Counter, "What.").sample(&[], 1);
        assert_eq!(page.end(), "# HELP larder_x What.\n# TYPE larder_x counter\nlarder_x_total 1\n# EOF\n");
    }
}
