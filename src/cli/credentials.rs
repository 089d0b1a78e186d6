//! `larder login`, `larder logout`, `larder credentials`: what upstreams sign with, stored under names.
//!
//! No flag holds a secret: process lists and histories show flags. The daemon needs not run, and sees what has changed
//! by itself. What systemd gives is in a folder of the running service, where these commands look for it.

mod list;

use std::io::{self, IsTerminal as _, Write as _};
use std::path::{Path, PathBuf};
use std::process::ExitCode;

use clap::{Args, ValueEnum};
use serde_json::{Map, Value};

pub(super) use self::list::{CredentialsFlags, credentials};
use super::prompt::{self, Unanswered};
use super::token::Whose;
use super::{EXIT_INTERRUPTED, complain};
use crate::config::Environment;
use crate::upstream::{CredentialKind, Document, KINDS, Kept, Places, Secret, check_name};

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
