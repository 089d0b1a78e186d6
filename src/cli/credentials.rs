//! `larder login`, `larder logout`, `larder credentials`: what upstreams sign with, stored under names.
//!
//! No flag holds a secret: process lists and histories show flags. The daemon needs not run, and sees what has changed
//! by itself. What systemd gives is in a folder of the running service, where these commands look for it.

use std::collections::BTreeMap;
use std::io::{self, IsTerminal as _, Write as _};
use std::path::{Path, PathBuf};
use std::process::ExitCode;
use std::time::SystemTime;

use chrono::{DateTime, SecondsFormat, Utc};
use clap::{Args, ValueEnum};
use serde::Deserialize;
use serde_json::{Map, Value, json};

use super::client::{Client, Failed};
use super::prompt::{self, Unanswered};
use super::token::Whose;
use super::{EXIT_INTERRUPTED, complain, complain_of, of_system, written};
use crate::config::{Config, Environment, Flags};
use crate::upstream::{CredentialKind, Credentials, Document, KINDS, Kept, Places, Row, Secret, check_name};

/// The flags of `larder login`.
#[derive(Debug, Args)]
pub(super) struct LoginFlags {
    #[command(flatten)]
    whose: Whose,

    /// What upstreams call it: `credential = "NAME"`
    #[arg(value_name = "NAME", value_parser = parse_name)]
    name: String,

    /// What it is; without it, it is asked for, or said by the JSON on standard input
    #[arg(long, value_name = "KIND", value_parser = parse_kind, long_help = kinds())]
    kind: Option<&'static CredentialKind>,

    /// Where it is kept; without it in the keychain where there is one, else in a file
    #[arg(long, value_name = "PLACE")]
    store: Option<Store>,
}

/// Where a credential can be stored.
#[derive(Debug, Clone, Copy, ValueEnum)]
enum Store {
    /// A file that only you can read
    File,
    /// The platform's keychain
    Keychain,
}

/// The flags of `larder logout`.
#[derive(Debug, Args)]
pub(super) struct LogoutFlags {
    #[command(flatten)]
    whose: Whose,

    /// As the list has it
    #[arg(value_name = "NAME", value_parser = parse_name)]
    name: String,
}

/// The flags of `larder credentials`.
#[derive(Debug, Args)]
pub(super) struct CredentialsFlags {
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

/// Stores one.
pub(super) async fn login(flags: LoginFlags, environment: &Environment) -> ExitCode {
    let document = match document(&flags) {
        Ok(document) => document,
        Err(Unanswered::Interrupted) => return ExitCode::from(EXIT_INTERRUPTED),
        Err(Unanswered::Failed(words)) => return complain(&format!("failed to {words}")),
    };
    let is_system = flags.whose.of(environment).system;
    let places = match places(flags.whose, environment) {
        Ok(places) => places,
        Err(words) => return complain(&format!("failed to {words}")),
    };
    let wanted = flags.store.map(|store| match store {
        Store::File => Kept::File,
        Store::Keychain => Kept::Keychain,
    });
    // The user's keychain is not the machine's daemon's.
    let wanted = wanted.or(is_system.then_some(Kept::File));
    let name = &flags.name;
    match places.store(name, &document, wanted).await {
        Ok(placed) => {
            if let Some(words) = placed.declined {
                complain(&format!("the keychain doesn't have it: {words}"));
            }
            let place = match placed.kept {
                Kept::Keychain => "the keychain".to_owned(),
                Kept::File | Kept::Systemd => places.folder.join(name).display().to_string(),
            };
            // It is stored; nobody needs to hear this.
            let _ = writeln!(
                io::stderr(),
                "larder: `{name}` ({}) is in {place}; `larder logout {name}` removes it",
                document.kind().name
            );
            ExitCode::SUCCESS
        }
        Err(error) => complain(&format!("failed to {error}")),
    }
}

/// Removes one.
pub(super) async fn logout(flags: LogoutFlags, environment: &Environment) -> ExitCode {
    let name = &flags.name;
    let removed = match places(flags.whose, environment) {
        Ok(places) => places.remove(name).await.map_err(|error| error.to_string()),
        Err(words) => Err(words),
    };
    match removed {
        Ok(true) => ExitCode::SUCCESS,
        Ok(false) => {
            complain(&format!("failed to remove `{name}`: it is not stored; `larder credentials` lists them"))
        }
        Err(words) => complain(&format!("failed to {words}")),
    }
}

/// Lists all.
pub(super) async fn credentials(flags: CredentialsFlags, environment: &Environment) -> ExitCode {
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

/// Where systemd gives credentials to the service: what its environment says, or what is the service's while it runs. A
/// daemon with a folder of its own is another one.
fn given(is_elsewhere: bool, environment: &Environment) -> Option<PathBuf> {
    let of_service = || {
        let run =
            if environment.system { Some(Path::new("/run")) } else { environment.runtime_dir.as_deref() };
        Some(run?.join("credentials/larder.service"))
    };
    environment.given.credentials.clone().or_else(|| of_service().filter(|_| !is_elsewhere))
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

/// What is to be stored: asked for at a terminal, else read from standard input.
fn document(flags: &LoginFlags) -> Result<Document, Unanswered> {
    if !io::stdin().is_terminal() {
        let text = prompt::input()?;
        return of_input(flags.kind, &text).map_err(|words| Unanswered::Failed(format!("log in: {words}")));
    }
    let failed = |words: String| Unanswered::Failed(format!("log in: {words}"));
    let kind = match flags.kind {
        Some(kind) => kind,
        None => {
            let answer = prompt::line(&format!("{}\nkind: ", kinds()))?;
            CredentialKind::named(answer.expose().trim()).map_err(failed)?
        }
    };
    let mut fields = Vec::new();
    for field in kind.fields {
        let optional = if field.needed { "" } else { " (may be left empty)" };
        let question = format!("{}{optional}: ", field.name);
        let value = match (field.secret, field.lines) {
            (true, true) => prompt::secret_lines(&format!("{}, then Ctrl-D:\n", field.name))?,
            (true, false) => prompt::secret(&question)?,
            (false, _) => prompt::line(&question)?,
        };
        fields.push((field.name.to_owned(), Secret::new(value.expose().trim())));
    }
    Document::new(kind, fields).map_err(failed)
}

/// A document; or, of a kind that is said, its fields as JSON or as lines `name = value`, or its one needed field alone.
fn of_input(kind: Option<&'static CredentialKind>, text: &Secret) -> Result<Document, String> {
    let text = text.expose().trim();
    if text.is_empty() {
        return Err("standard input is empty; it has the credential".into());
    }
    let object: Option<Map<String, Value>> = serde_json::from_str(text).ok();
    let of_document = object.as_ref().is_some_and(|object| object.get("kind").is_some_and(Value::is_string));
    let Some(kind) = kind else {
        return match of_document {
            true => Document::parse(text),
            false => {
                Err("standard input is no JSON with a `kind`; say --kind, or see docs/credentials.md".into())
            }
        };
    };
    if of_document {
        let document = Document::parse(text)?;
        return match document.kind() == kind {
            true => Ok(document),
            false => Err(format!("--kind says {}, and standard input {}", kind.name, document.kind().name)),
        };
    }
    let only = kind.only();
    if let Some(field) = only.filter(|field| field.lines) {
        return Document::new(kind, [(field.name.to_owned(), Secret::new(text))]);
    }
    if let Some(object) = object {
        return Document::of_object(kind, object);
    }
    let is_field = |line: &str| {
        line.split_once('=')
            .is_some_and(|(name, _)| kind.fields.iter().any(|field| field.name == name.trim()))
    };
    match only {
        Some(field) if !text.lines().next().is_some_and(is_field) => {
            Document::new(kind, [(field.name.to_owned(), Secret::new(text))])
        }
        _ => {
            let lines = text.lines().map(str::trim).filter(|line| !line.is_empty() && !line.starts_with('#'));
            let fields: Option<Vec<_>> = lines
                .map(|line| {
                    line.split_once('=').map(|(name, value)| (name.trim().to_owned(), Secret::new(value)))
                })
                .collect();
            Document::new(kind, fields.ok_or("a line is not `name = value`")?)
        }
    }
}

fn places(whose: Whose, environment: &Environment) -> Result<Places, String> {
    let (is_elsewhere, environment) = (whose.is_elsewhere(), &whose.of(environment));
    let state = whose.state(environment)?;
    Ok(Places { given: given(is_elsewhere, environment), ..Places::new(&state) })
}

fn parse_name(name: &str) -> Result<String, String> {
    check_name(name).map(|()| name.to_owned()).map_err(|words| format!("`{}` {words}", name.escape_debug()))
}

fn parse_kind(name: &str) -> Result<&'static CredentialKind, String> {
    CredentialKind::named(name)
}

/// All kinds, a line each.
fn kinds() -> String {
    let lines: Vec<String> = KINDS.iter().map(|kind| format!("{:24} {}", kind.name, kind.what)).collect();
    format!("What it is:\n{}", lines.join("\n"))
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

#[cfg(test)]
mod tests {
    use super::*;

    fn read(kind: Option<&str>, text: &str) -> Result<Document, String> {
        of_input(kind.map(|kind| CredentialKind::named(kind).expect("a kind")), &Secret::new(text))
    }

    #[test]
    fn standard_input_is_a_document_or_fields_or_the_one_field() {
        let token = read(Some("token"), "s3cret\n").expect("a token");
        assert_eq!(read(Some("token"), "token = s3cret\n").as_ref(), Ok(&token));
        assert_eq!(read(Some("token"), r#"{"token":"s3cret"}"#).as_ref(), Ok(&token));
        assert_eq!(read(None, r#"{"kind":"token","token":"s3cret"}"#).as_ref(), Ok(&token));
        assert_eq!(read(Some("token"), r#"{"kind":"token","token":"s3cret"}"#).as_ref(), Ok(&token));
        let keys = "# of mine\naccess_key_id = a\nsecret_access_key=b==\n";
        let json = r#"{"kind":"s3","access_key_id":"a","secret_access_key":"b=="}"#;
        assert_eq!(read(Some("s3"), keys), read(None, json));
        // Base64 ends in what divides a line.
        assert!(read(Some("azure-key"), "czNjcmV0cw==").is_ok());
        let google =
            r#"{"type":"service_account","client_email":"a","private_key_id":"1","private_key":"s3cret"}"#;
        assert!(read(Some("google"), google).is_ok());
        assert!(read(Some("headers"), "authorization: Bearer s3cret\nx-a: b").is_ok());
    }

    #[test]
    fn what_is_wrong_is_said_and_nothing_quoted() {
        for (kind, text, word) in [
            (None, "", "empty"),
            (None, "s3cret", "--kind"),
            (Some("s3"), r#"{"kind":"token","token":"s3cret"}"#, "--kind says s3"),
            (Some("s3"), "s3cret", "name = value"),
            (Some("s3"), "access_key_id = s3cret", "secret_access_key"),
            (Some("token"), "s3cret\ns3cret", "one line"),
        ] {
            let words = read(kind, text).expect_err(text);
            assert!(words.contains(word) && !words.contains("s3cret"), "{words}");
        }
    }
}
