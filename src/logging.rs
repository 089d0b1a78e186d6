//! Logs: for people on a terminal, JSON where it is asked for; to standard error, which service managers collect.
//!
//! ERROR: a human must act. WARN: we coped. INFO: the daemon's life. DEBUG: one line a request (`larder::access`).

use std::io::IsTerminal as _;

use tracing_subscriber::EnvFilter;

use crate::error::{Error, Kind, Result};

/// How a line looks.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default)]
pub enum Format {
    /// For people.
    #[default]
    Text,
    /// One JSON object.
    Json,
}

/// Begins to log.
///
/// # Errors
/// `Invalid` when the filter doesn't parse.
pub(crate) fn begin(format: Format, filter: &str) -> Result<()> {
    let filter = EnvFilter::try_new(filter)
        .map_err(|error| Error::new(Kind::Invalid, "read the log's filter").because(error))?;
    let lines = tracing_subscriber::fmt()
        .with_env_filter(filter)
        .with_writer(std::io::stderr)
        .with_ansi(std::io::stderr().is_terminal());
    let begun = match format {
        Format::Text => lines.try_init(),
        Format::Json => lines.json().flatten_event(true).try_init(),
    };
    begun.map_err(|error| Error::new(Kind::Internal, format!("begin the log: {error}")))
}

/// Whether a filter can be read; else why not.
pub(crate) fn check(filter: &str) -> Result<(), String> {
    let words = |error| format!("{error}; write it as info,larder::access=debug");
    EnvFilter::builder().parse(filter).map(|_| ()).map_err(words)
}
