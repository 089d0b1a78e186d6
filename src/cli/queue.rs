//! `larder queue` and `larder flush`: what waits to go upstream, and waiting for it.

use std::io::{self, IsTerminal as _, Write as _};
use std::process::ExitCode;
use std::time::{Duration, Instant};

use clap::Args;
use serde::{Deserialize, Serialize};

use super::client::{Client, Failed};
use super::units::{age, entries, size};
use super::{EXIT_INTERRUPTED, EXIT_NOT_RUNNING, Where, complain, written};
use crate::config::Environment;

/// The flags of `larder queue`.
#[derive(Debug, Args)]
pub(super) struct QueueFlags {
    #[command(flatten)]
    daemon: Where,

    /// Print JSON
    #[arg(long)]
    json: bool,

    /// Show this many entries, the oldest first
    #[arg(long, value_name = "N", default_value_t = 20)]
    limit: usize,

    /// Wait this long for the daemon's answer
    #[arg(long, value_name = "TIME", value_parser = crate::config::parse_duration, default_value = "5 s")]
    timeout: Duration,
}

/// The flags of `larder flush`.
#[derive(Debug, Args)]
pub(super) struct FlushFlags {
    #[command(flatten)]
    daemon: Where,

    /// Give up after this long, as in "30 s" or "5 min"; what is queued stays queued
    #[arg(long, value_name = "TIME", value_parser = crate::config::parse_duration)]
    timeout: Option<Duration>,
}

/// The page `/-/queue`. What a daemon of another version doesn't say is nothing.
#[derive(Debug, Default, Serialize, Deserialize)]
#[serde(default)]
struct Page {
    queue: Summary,
    upstreams: Vec<Upstream>,
    items: Vec<Item>,
}

#[derive(Debug, Default, Serialize, Deserialize)]
#[serde(default)]
struct Summary {
    entries: u64,
    bytes: u64,
    oldest_ms: Option<u64>,
}

#[derive(Debug, Default, Serialize, Deserialize)]
#[serde(default)]
struct Upstream {
    name: String,
    write: Direction,
}

#[derive(Debug, Default, Serialize, Deserialize)]
#[serde(default)]
struct Direction {
    state: String,
    words: String,
}

#[derive(Debug, Default, Serialize, Deserialize)]
#[serde(default)]
struct Item {
    object: String,
    bytes: u64,
    age_ms: u64,
    delete: bool,
    upstream: String,
}

/// Lists the queue.
pub(super) async fn queue(flags: QueueFlags, environment: &Environment) -> ExitCode {
    let path = format!("/-/queue?limit={}", flags.limit);
    let client = match client(flags.daemon, environment) {
        Ok(client) => client.within(flags.timeout),
        Err(code) => return code,
    };
    let page: Page = match client.json(&path).await {
        Ok(page) => page,
        Err(failed) => return told(failed),
    };
    let mut out = io::stdout().lock();
    let done = if flags.json {
        serde_json::to_writer_pretty(&mut out, &page).map_err(io::Error::from).and_then(|()| writeln!(out))
    } else {
        list(&mut out, &page)
    };
    written(done).map_or_else(|code| code, |()| ExitCode::SUCCESS)
}

/// Waits until the queue is empty, or for Ctrl-C.
pub(super) async fn flush(flags: FlushFlags, environment: &Environment) -> ExitCode {
    tokio::select! {
        code = until_empty(flags, environment) => code,
        interrupted = tokio::signal::ctrl_c() => match interrupted {
            Ok(()) => {
                Progress::new().end();
                complain("interrupted; what is queued stays queued, and goes on by itself");
                ExitCode::from(EXIT_INTERRUPTED)
            }
            Err(error) => complain(&format!("failed to watch for Ctrl-C: {error}")),
        }
    }
}

async fn until_empty(flags: FlushFlags, environment: &Environment) -> ExitCode {
    const LOOK_AGAIN: Duration = Duration::from_millis(1000);
    let begun = Instant::now();
    let client = match client(flags.daemon, environment) {
        Ok(client) => client,
        Err(code) => return code,
    };
    let mut page: Page = match client.json("/-/queue?limit=0").await {
        Ok(page) => page,
        Err(failed) => return told(failed),
    };
    let at_first = page.queue.entries;
    let mut progress = Progress::new();
    while page.queue.entries > 0 {
        let left = flags.timeout.map(|timeout| timeout.saturating_sub(begun.elapsed()));
        if left.is_some_and(|left| left.is_zero()) {
            progress.end();
            return complain(&format!("gave up waiting: {}; what is queued stays queued", words(&page)));
        }
        progress.show(&words(&page));
        let wait = left.map_or(LOOK_AGAIN, |left| left.min(LOOK_AGAIN));
        let path = format!("/-/queue?limit=0&wait_ms={}", wait.as_millis().max(1));
        match client.json(&path).await {
            Ok(next) => page = next,
            Err(failed) => {
                progress.end();
                return told(failed);
            }
        }
    }
    progress.show(&format!("the queue is empty ({at_first} entries waited when this began)"));
    progress.end();
    ExitCode::SUCCESS
}

fn client(daemon: Where, environment: &Environment) -> Result<Client, ExitCode> {
    let socket = daemon.socket(environment).map_err(|words| complain(&words))?;
    Ok(Client::new(&socket))
}

fn told(failed: Failed) -> ExitCode {
    match failed {
        Failed::NotRunning(words) => {
            complain(&words);
            ExitCode::from(EXIT_NOT_RUNNING)
        }
        Failed::Other(words) => complain(&words),
    }
}

fn list(out: &mut impl io::Write, page: &Page) -> io::Result<()> {
    for item in &page.items {
        let what = if item.delete { "delete".to_owned() } else { size(item.bytes) };
        writeln!(out, "{:>9}  {:>10}  {}  {}", age(item.age_ms), what, item.upstream, item.object)?;
    }
    let more = page.queue.entries.saturating_sub(page.items.len() as u64);
    if more > 0 && !page.items.is_empty() {
        writeln!(out, "… and {more} more")?;
    }
    writeln!(out, "{}", words(page))
}

/// The queue in one line.
fn words(page: &Page) -> String {
    let mut words = match page.queue.entries {
        0 => "the queue is empty".to_owned(),
        waiting => format!("{}, {}", entries(waiting), size(page.queue.bytes)),
    };
    if let Some(oldest_ms) = page.queue.oldest_ms {
        words += &format!(", the oldest for {}", age(oldest_ms));
    }
    for upstream in page.upstreams.iter().filter(|upstream| upstream.write.state != "up") {
        words += &format!("; {}: {}", upstream.name, upstream.write.words);
    }
    words
}

/// One line that changes, on a terminal; elsewhere a line whenever the words change, at most each few seconds.
struct Progress {
    terminal: bool,
    last: Option<(Instant, String)>,
}

// === impl Progress ===

impl Progress {
    fn new() -> Self {
        Self { terminal: io::stderr().is_terminal(), last: None }
    }

    fn show(&mut self, words: &str) {
        const QUIET: Duration = Duration::from_secs(5);
        let mut out = io::stderr().lock();
        // Progress that can't be shown stops nothing.
        let _ = if self.terminal {
            write!(out, "\r\x1b[K{words}").and_then(|()| out.flush())
        } else {
            let last = self.last.as_ref();
            if words.starts_with("the queue")
                || last.is_none_or(|(at, said)| at.elapsed() > QUIET && said != words)
            {
                self.last = Some((Instant::now(), words.to_owned()));
                writeln!(out, "{words}")
            } else {
                Ok(())
            }
        };
    }

    fn end(&self) {
        if self.terminal {
            let _ = writeln!(io::stderr());
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_queue_reads_as_a_sentence() {
        let page = Page {
            queue: Summary { entries: 2, bytes: 1536, oldest_ms: Some(61_000) },
            upstreams: vec![
                Upstream { name: "a".into(), write: Direction { state: "up".into(), words: "up".into() } },
                Upstream {
                    name: "s3://b".into(),
                    write: Direction { state: "denied".into(), words: "write denied since 14:02".into() },
                },
            ],
            items: vec![Item {
                object: "cas/aa/aa".into(),
                bytes: 512,
                age_ms: 90,
                delete: false,
                upstream: "a".into(),
            }],
        };
        let mut out = Vec::new();
        list(&mut out, &page).expect("a buffer");
        let text = String::from_utf8(out).expect("text");
        assert_eq!(
            text,
            "    90 ms       512 B  a  cas/aa/aa\n… and 1 more\n\
             2 entries, 1.5 KiB, the oldest for 61 s; s3://b: write denied since 14:02\n"
        );
    }
}
