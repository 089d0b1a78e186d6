//! Logs: for people on a terminal, JSON where it is asked for; to standard error, which service managers collect.
//!
//! ERROR: a human must act. WARN: we coped. INFO: the daemon's life. DEBUG: one line a request (`larder::access`).
//! What is logged may be changed while the daemon runs.

use std::io::IsTerminal as _;
use std::sync::OnceLock;

use tracing_subscriber::layer::SubscriberExt as _;
use tracing_subscriber::util::SubscriberInitExt as _;
use tracing_subscriber::{EnvFilter, Layer as _, Registry, reload};

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

/// The filter in force. There is one log in a process.
static FILTER: OnceLock<reload::Handle<EnvFilter, Registry>> = OnceLock::new();

/// Begins to log.
///
/// # Errors
/// `Invalid` when the filter doesn't parse.
pub(crate) fn begin(format: Format, filter: &str) -> Result<()> {
    let (filter, handle) = reload::Layer::new(parse(filter)?);
    let lines = tracing_subscriber::fmt::layer()
        .with_writer(std::io::stderr)
        .with_ansi(std::io::stderr().is_terminal());
    let lines = match format {
        Format::Text => lines.boxed(),
        Format::Json => lines.json().flatten_event(true).boxed(),
    };
    let begun = tracing_subscriber::registry().with(filter).with(lines).try_init();
    begun.map_err(|error| Error::new(Kind::Internal, format!("begin the log: {error}")))?;
    // A second log of a process was refused above.
    let _ = FILTER.set(handle);
    Ok(())
}

/// From now on this is logged. Nothing happens in a process that hasn't begun to log.
///
/// # Errors
/// `Invalid` when the filter doesn't parse; the old one stays.
pub(crate) fn set_filter(filter: &str) -> Result<()> {
    let filter = parse(filter)?;
    match FILTER.get() {
        Some(handle) => handle
            .reload(filter)
            .map_err(|error| Error::new(Kind::Internal, format!("change the log's filter: {error}"))),
        None => Ok(()),
    }
}

/// Whether a filter can be read; else why not.
pub(crate) fn check(filter: &str) -> Result<(), String> {
    let words = |error| format!("{error}; write it as info,larder::access=debug");
    EnvFilter::builder().parse(filter).map(|_| ()).map_err(words)
}

fn parse(filter: &str) -> Result<EnvFilter> {
    EnvFilter::try_new(filter)
        .map_err(|error| Error::new(Kind::Invalid, "read the log's filter").because(error))
}
