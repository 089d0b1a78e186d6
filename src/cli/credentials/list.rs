//! `larder credentials`: all that are stored or named by an upstream, by name. A running daemon is asked until when the
//! keys live that it got by them.

use std::collections::BTreeMap;
use std::io::{self, Write as _};
use std::path::Path;
use std::process::ExitCode;
use std::time::SystemTime;

use chrono::{DateTime, SecondsFormat, Utc};
use clap::Args;
use serde::Deserialize;
use serde_json::{Value, json};

use super::super::client::{Client, Failed};
use super::super::{complain, complain_of, of_system, written};
use super::given;
use crate::config::{Config, Environment, Flags};
use crate::upstream::{Credentials, Kept, Row};

/// The flags of `larder credentials`.
#[derive(Debug, Args)]
pub(in super::super) struct CredentialsFlags {
    #[command(flatten)]
    flags: Flags,

    /// Print JSON
    #[arg(long)]
    json: bool,
}

/// One line of the list.
struct Line {
    name: String,
    /// `None`: an upstream names it, and it is not stored.
    row: Option<Row>,
    /// Not all that are stored can be seen from here.
    is_part: bool,
    used_by: Vec<String>,
    /// What the daemon has, if it runs and uses it.
    running: Option<Running>,
}

/// The page `/-/status` as this command reads it: see the status's own.
#[derive(Debug, Default, Deserialize)]
#[serde(default)]
struct Page {
    upstreams: Vec<Upstream>,
}

#[derive(Debug, Default, Deserialize)]
#[serde(default)]
struct Upstream {
    credential: Option<Running>,
}

/// A credential as the daemon has it.
#[derive(Debug, Clone, Default, Deserialize)]
#[serde(default)]
struct Running {
    name: String,
    works: bool,
    ends_ms: Option<i64>,
    renews_ms: Option<i64>,
}

/// Lists all.
pub(in super::super) async fn credentials(flags: CredentialsFlags, environment: &Environment) -> ExitCode {
    let (config, problems) = Config::read_anyway(&flags.flags, environment);
    let Some(mut config) = config else { return complain_of(&problems) };
    let system = of_system(flags.flags.system, environment);
    let is_elsewhere = flags.flags.dir.is_some() || system.settings.iter().any(|(key, _)| *key == "dir");
    config.credentials.given = given(is_elsewhere, &system);
    let hidden = config.credentials.hidden();
    let mut lines = lines(&config, !hidden.is_empty());
    let running = running(&config.folders.socket).await;
    for line in &mut lines {
        line.running = running.iter().find(|running| running.name == line.name).cloned();
    }
    let mut out = io::stdout().lock();
    let printed = if flags.json {
        let rows: Vec<Value> = lines.iter().map(Line::json).collect();
        serde_json::to_writer_pretty(&mut out, &rows).map_err(io::Error::from).and_then(|()| writeln!(out))
    } else {
        print(&mut out, &lines)
    };
    for words in &hidden {
        complain(&format!("not all is shown: {words}; run this as root, or as the daemon's user"));
    }
    let code = if hidden.is_empty() { ExitCode::SUCCESS } else { ExitCode::FAILURE };
    written(printed).map_or_else(|code| code, |()| code)
}

/// What the daemon has. One that doesn't run has nothing; the list is whole without it.
async fn running(socket: &Path) -> Vec<Running> {
    match Client::new(socket).json::<Page>("/-/status").await {
        Ok(page) => page.upstreams.into_iter().filter_map(|upstream| upstream.credential).collect(),
        Err(Failed::NotRunning(_)) => Vec::new(),
        Err(Failed::Other(words)) => {
            complain(&words);
            Vec::new()
        }
    }
}

fn lines(config: &Config, is_part: bool) -> Vec<Line> {
    let mut users: BTreeMap<String, Vec<String>> = BTreeMap::new();
    for place in &config.routes.places {
        if let Credentials::Stored(stored) = &place.upstream.credentials {
            users.entry(stored.name().to_owned()).or_default().push(place.name.clone());
        }
    }
    let mut lines: Vec<Line> = config
        .credentials
        .list()
        .into_iter()
        .map(|row| {
            let used_by = users.remove(&row.name).unwrap_or_default();
            Line { name: row.name.clone(), row: Some(row), is_part, used_by, running: None }
        })
        .collect();
    lines.extend(users.into_iter().map(|(name, used_by)| Line {
        name,
        row: None,
        is_part,
        used_by,
        running: None,
    }));
    lines.sort_by(|one, other| one.name.cmp(&other.name));
    lines
}

fn print(out: &mut impl io::Write, lines: &[Line]) -> io::Result<()> {
    if lines.is_empty() {
        return writeln!(out, "nothing is stored");
    }
    let widest = |of: fn(&Line) -> usize| lines.iter().map(of).max().unwrap_or_default();
    let (name_width, kind_width) = (widest(|line| line.name.len()), widest(|line| line.kind().len()));
    for line in lines {
        let users = match line.used_by.is_empty() {
            true => "not used".to_owned(),
            false => format!("used by {}", line.used_by.join(", ")),
        };
        let (name, kind, state) = (&line.name, line.kind(), line.state());
        writeln!(out, "{name:name_width$}  {kind:kind_width$}  {state}  {users}")?;
    }
    Ok(())
}

fn time(time: SystemTime) -> String {
    DateTime::<Utc>::from(time).to_rfc3339_opts(SecondsFormat::Secs, true)
}

/// Of milliseconds since the epoch. `None`: no calendar has it.
fn time_ms(ms: i64) -> Option<String> {
    DateTime::<Utc>::from_timestamp_millis(ms).map(|time| time.to_rfc3339_opts(SecondsFormat::Secs, true))
}

// === impl Line ===

impl Line {
    fn kind(&self) -> &'static str {
        self.row.as_ref().and_then(|row| row.kind).map_or("-", |kind| kind.name)
    }

    fn state(&self) -> String {
        let Some(row) = &self.row else {
            return match self.is_part {
                true => "not to be seen from here".into(),
                false => format!("not stored: run `larder login {}`", self.name),
            };
        };
        let place = match row.kept {
            Kept::Keychain => "in the keychain".to_owned(),
            Kept::File => format!("in {}", row.path.display()),
            Kept::Systemd => format!("by systemd in {}", row.path.display()),
        };
        match (&row.fault, row.expires) {
            (Some(fault), _) => format!("{place}, and not used: {fault}"),
            (None, Some(end)) if end <= SystemTime::now() => format!("{place}, expired {}", time(end)),
            (None, Some(end)) => format!("{place}, until {}", time(end)),
            (None, None) => format!("{place}{}", self.keys()),
        }
    }

    /// What the daemon says of the keys that it got by it.
    fn keys(&self) -> String {
        let Some(running) = &self.running else { return String::new() };
        if !running.works {
            return ", no keys now: see `larder status`".into();
        }
        let [ends, renews] = [running.ends_ms, running.renews_ms].map(|ms| ms.and_then(time_ms));
        let ends = ends.map(|end| format!(", keys until {end}")).unwrap_or_default();
        let renews = renews.map(|next| format!(", renewed by {next}")).unwrap_or_default();
        format!("{ends}{renews}")
    }

    fn json(&self) -> Value {
        let row = self.row.as_ref();
        let expires = row.and_then(|row| row.expires);
        json!({
            "name": self.name,
            "stored": if row.is_none() && self.is_part { Value::Null } else { row.is_some().into() },
            "kind": row.and_then(|row| row.kind).map(|kind| kind.name),
            "expires": expires.map(time),
            "expired": expires.is_some_and(|end| end <= SystemTime::now()),
            "kept": row.map(|row| row.kept.name()),
            "path": row.map(|row| row.path.display().to_string()),
            "fault": row.and_then(|row| row.fault.as_deref()),
            "used_by": self.used_by,
            "works": self.running.as_ref().map(|running| running.works),
            "keys_until": self.running.as_ref().and_then(|running| running.ends_ms).and_then(time_ms),
            "renewed_by": self.running.as_ref().and_then(|running| running.renews_ms).and_then(time_ms),
        })
    }
}
