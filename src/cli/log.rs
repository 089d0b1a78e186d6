//! `larder log`: what the running daemon logs, changed for a while.

use std::io::{self, Write as _};
use std::process::ExitCode;
use std::time::Duration;

use clap::Args;
use percent_encoding::{NON_ALPHANUMERIC, utf8_percent_encode};
use serde::Deserialize;

use super::client::{Client, Failed};
use super::{EXIT_NOT_RUNNING, Where, complain};
use crate::config::Environment;

/// The flags of `larder log`.
#[derive(Debug, Args)]
pub(super) struct LogFlags {
    #[command(flatten)]
    daemon: Where,

    /// Log this, as `info,larder::access=debug`, which adds a line for each request; without it, show what is logged
    filter: Option<String>,

    /// For this long, as in "30 s" or "10 min"; then what is configured is logged again
    #[arg(
        long = "for",
        value_name = "TIME",
        value_parser = crate::config::parse_duration,
        default_value = "10 min",
        requires = "filter"
    )]
    time: Duration,

    /// Log what is configured again
    #[arg(long, conflicts_with_all = ["filter", "time"])]
    end: bool,
}

/// The page `/-/log`.
#[derive(Debug, Deserialize)]
struct Page {
    configured: String,
    temporary: Option<Temporary>,
}

#[derive(Debug, Deserialize)]
struct Temporary {
    filter: String,
    until_ms: u64,
}

/// Shows or changes what is logged.
pub(super) async fn log(flags: LogFlags, environment: &Environment) -> ExitCode {
    let client = match flags.daemon.socket(environment) {
        Ok(socket) => Client::new(&socket),
        Err(words) => return complain(&words),
    };
    let page = match (&flags.filter, flags.end) {
        (None, false) => client.json("/-/log").await,
        (None, true) => client.post("/-/log").await,
        (Some(filter), _) => {
            let filter = utf8_percent_encode(filter, NON_ALPHANUMERIC);
            client.post(&format!("/-/log?filter={filter}&for_ms={}", flags.time.as_millis())).await
        }
    };
    let page: Page = match page {
        Ok(page) => page,
        Err(Failed::NotRunning(words)) => {
            complain(&words);
            return ExitCode::from(EXIT_NOT_RUNNING);
        }
        Err(Failed::Other(words)) => return complain(&words),
    };
    match io::stdout().write_all(page.words().as_bytes()) {
        Ok(()) => ExitCode::SUCCESS,
        // Who reads has enough.
        Err(_) => ExitCode::FAILURE,
    }
}

// === impl Page ===

impl Page {
    fn words(&self) -> String {
        match &self.temporary {
            None => format!("{}\n", self.configured),
            Some(Temporary { filter, until_ms }) => {
                let until = std::time::UNIX_EPOCH + Duration::from_millis(*until_ms);
                let until = chrono::DateTime::<chrono::Local>::from(until).format("%H:%M:%S");
                format!("{filter} until {until}, then {}\n", self.configured)
            }
        }
    }
}
