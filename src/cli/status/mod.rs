//! `larder status`: how the daemon is, once or again and again.

mod page;
mod show;

use std::io::{self, IsTerminal as _, Write as _};
use std::process::ExitCode;
use std::time::{Duration, SystemTime, UNIX_EPOCH};

use clap::Args;
use serde_json::{Value, json};

use super::client::{Client, Failed};
use super::paint::{for_stdout, plain};
use super::units::ms;
use super::{EXIT_NOT_RUNNING, Where, complain, written};
use crate::config::{Environment, parse_duration};
use page::Page;

/// The flags of `larder status`.
#[derive(Debug, Args)]
pub(super) struct StatusFlags {
    #[command(flatten)]
    daemon: Where,

    /// Print JSON: one object, with --watch one a line
    #[arg(long)]
    json: bool,

    /// Go on until Ctrl-C: on a terminal in place, elsewhere one below the other
    #[arg(long)]
    watch: bool,

    /// With --watch, wait this long in between [default: 1 s on a terminal, else 10 s]
    #[arg(long, value_name = "TIME", value_parser = parse_duration, requires = "watch")]
    interval: Option<Duration>,

    /// Wait this long for the daemon's answer
    #[arg(long, value_name = "TIME", value_parser = parse_duration, default_value = "5 s")]
    timeout: Duration,
}

/// How it is, at one moment.
struct Seen {
    /// For programs.
    json: Value,
    /// For people, with colours.
    text: String,
    /// Words for standard error, where this is all there is.
    failed: Option<String>,
    code: u8,
}

/// It runs, and something needs a person.
const EXIT_ATTENTION: u8 = 1;

const INTERVAL_ON_TERMINAL: Duration = Duration::from_secs(1);
const INTERVAL_ELSEWHERE: Duration = Duration::from_secs(10);

/// A watch that doesn't wait at all would be a load.
const INTERVAL_MIN: Duration = Duration::from_millis(100);

/// Shows the status.
pub(super) async fn status(flags: StatusFlags, environment: &Environment) -> ExitCode {
    let socket = match flags.daemon.socket(environment) {
        Ok(socket) => socket,
        Err(words) => return complain(&words),
    };
    let client = Client::new(&socket).within(flags.timeout);
    if flags.watch {
        return watch(&client, flags.json, flags.interval).await;
    }
    let seen = look(&client).await;
    if let Some(words) = &seen.failed {
        complain(words);
    }
    let page = match (flags.json, &seen.failed) {
        (true, _) => format!("{:#}\n", seen.json),
        (false, None) => for_stdout(&seen.text).into_owned(),
        (false, Some(_)) => return ExitCode::from(seen.code),
    };
    match written(io::stdout().write_all(page.as_bytes())) {
        Ok(()) => ExitCode::from(seen.code),
        Err(code) => code,
    }
}

/// Shows it until Ctrl-C.
async fn watch(client: &Client, as_json: bool, interval: Option<Duration>) -> ExitCode {
    let in_place = io::stdout().is_terminal() && !as_json;
    let usual = if in_place { INTERVAL_ON_TERMINAL } else { INTERVAL_ELSEWHERE };
    let mut ticks = tokio::time::interval(interval.unwrap_or(usual).max(INTERVAL_MIN));
    ticks.set_missed_tick_behavior(tokio::time::MissedTickBehavior::Delay);
    let watching = async {
        loop {
            ticks.tick().await;
            let seen = look(client).await;
            let page = if as_json {
                format!("{}\n", seen.json)
            } else if in_place {
                redrawn(&for_stdout(&seen.text), rows())
            } else {
                format!("{}\n", for_stdout(&seen.text))
            };
            let mut out = io::stdout().lock();
            let shown = out.write_all(page.as_bytes()).and_then(|()| out.flush());
            drop(out);
            match shown {
                Ok(()) => {}
                // A reader that went away has what it wanted.
                Err(error) if error.kind() == io::ErrorKind::BrokenPipe => return ExitCode::SUCCESS,
                Err(error) => return complain(&format!("failed to print: {error}")),
            }
        }
    };
    tokio::select! {
        code = watching => code,
        interrupted = tokio::signal::ctrl_c() => match interrupted {
            Ok(()) => ExitCode::SUCCESS,
            Err(error) => complain(&format!("failed to watch for Ctrl-C: {error}")),
        }
    }
}

async fn look(client: &Client) -> Seen {
    let page = match client.json::<Value>("/-/status").await {
        Ok(page) => page,
        Err(Failed::NotRunning(words)) => return Seen::failed(words, Some(false), EXIT_NOT_RUNNING),
        Err(Failed::Other(words)) => return Seen::failed(words, None, EXIT_ATTENTION),
    };
    match serde_json::from_value::<Page>(page.clone()) {
        Ok(read) => Seen::of(page, &read),
        Err(error) => {
            let words = format!(
                "failed to read the daemon's status, of another version? {error}; `larder service restart` runs this one"
            );
            Seen::failed(words, Some(true), EXIT_ATTENTION)
        }
    }
}

/// A page over the last one: without a flicker, and no longer than the terminal.
fn redrawn(page: &str, rows: usize) -> String {
    /// Home, and lines are cut at the right edge.
    const BEGIN: &str = "\x1b[H\x1b[?7l";
    /// The rest of the screen is old.
    const END: &str = "\x1b[J\x1b[?7h";
    let fit = rows.saturating_sub(1).max(1);
    let mut lines: Vec<&str> = page.lines().collect();
    if lines.len() > fit {
        lines.truncate(fit - 1);
        lines.push("… (a higher terminal shows the rest)");
    }
    let lines: String = lines.iter().map(|line| format!("{line}\x1b[K\r\n")).collect();
    format!("{BEGIN}{lines}{END}")
}

/// Rows of the terminal.
fn rows() -> usize {
    const USUAL: usize = 24;
    let size = rustix::termios::tcgetwinsize(io::stdout());
    size.map_or(USUAL, |size| if size.ws_row == 0 { USUAL } else { usize::from(size.ws_row) })
}

fn now_ms() -> u64 {
    ms(SystemTime::now().duration_since(UNIX_EPOCH).unwrap_or_default())
}

// === impl Seen ===

impl Seen {
    fn of(mut json: Value, page: &Page) -> Self {
        let code = if page.is_healthy() { 0 } else { EXIT_ATTENTION };
        json["running"] = true.into();
        Self { json, text: show::show(page, now_ms()), failed: None, code }
    }

    /// `running`: `None` where nobody can say.
    fn failed(words: String, running: Option<bool>, code: u8) -> Self {
        let json = json!({ "running": running, "healthy": false, "words": words });
        Self { json, text: format!("larder: {}\n", plain(&words)), failed: Some(words), code }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_page_is_redrawn_within_the_terminal() {
        let page = redrawn("one\ntwo\nthree\nfour\n", 4);
        assert_eq!(page.matches("\r\n").count(), 3);
        assert!(page.contains("one") && page.contains("two") && !page.contains("three"), "{page:?}");
        let page = redrawn("one\ntwo\n", 24);
        assert!(page.contains("two\x1b[K\r\n") && page.ends_with("\x1b[?7h"), "{page:?}");
    }

    #[test]
    fn what_there_is_no_answer_from_is_not_healthy() {
        let seen = Seen::failed("no daemon".into(), Some(false), EXIT_NOT_RUNNING);
        assert_eq!(seen.json, json!({ "running": false, "healthy": false, "words": "no daemon" }));
        assert_eq!(seen.code, 3);
    }
}
