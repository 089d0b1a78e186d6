//! Logs: for people on a terminal, JSON where it is asked for, both to standard error; or to systemd's journal with
//! priorities and fields.
//!
//! ERROR: a human must act. WARN: we coped. INFO: the daemon's life. DEBUG: one line a request (`larder::access`).
//! What is logged may be changed while the daemon runs: by its configuration, or for a while by `larder log`.

mod filter;
mod journal;

use std::io::IsTerminal as _;

use tracing_subscriber::layer::SubscriberExt as _;
use tracing_subscriber::util::SubscriberInitExt as _;
use tracing_subscriber::{Layer as _, Registry, reload};

pub(crate) use filter::{check, configured, revert, set_filter, set_for_now};

use crate::error::{Error, Kind, Result};

/// How a line looks.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default)]
pub enum Format {
    /// To the journal where standard error is the journal's, else for people.
    #[default]
    Auto,
    /// For people.
    Text,
    /// One JSON object.
    Json,
    /// No line: an entry of systemd's journal with fields.
    Journald,
}

// === impl Format ===

impl Format {
    /// What `Auto` is in this process. `stream`: what `JOURNAL_STREAM` says, by which a service is told that its
    /// standard error goes to the journal.
    #[must_use]
    pub fn here(self, stream: Option<&str>) -> Self {
        match self {
            Self::Auto if stream.is_some_and(journal::is_standard_error) && journal::layer().is_ok() => {
                Self::Journald
            }
            Self::Auto => Self::Text,
            other => other,
        }
    }
}

/// Begins to log.
///
/// # Errors
/// `Invalid` when the filter doesn't parse; `Unavailable` when there is no journal and it is asked for by name.
pub(crate) fn begin(format: Format, filter: &str) -> Result<()> {
    let (layer, handle) = reload::Layer::new(filter::parse(filter)?);
    let lines = || {
        tracing_subscriber::fmt::layer::<_>()
            .with_writer(std::io::stderr)
            .with_ansi(std::io::stderr().is_terminal())
    };
    let lines: Box<dyn tracing_subscriber::Layer<_> + Send + Sync> = match format {
        Format::Auto | Format::Text => lines().boxed(),
        Format::Json => lines().json().flatten_event(true).boxed(),
        Format::Journald => journal::layer()
            .map_err(|error| {
                Error::new(
                    Kind::Unavailable,
                    "reach systemd's journal at /run/systemd/journal/socket; set `log.format` to \"text\" where there is none",
                )
                .because(error)
            })?
            .boxed(),
    };
    let begun = Registry::default().with(layer).with(lines).try_init();
    begun.map_err(|error| Error::new(Kind::Internal, format!("begin the log: {error}")))?;
    filter::begun(handle, filter);
    Ok(())
}
