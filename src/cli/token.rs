//! `larder token`: issues, lists and revokes the credentials of this machine's daemon.
//!
//! What is printed on standard output is the credential alone, so that it can be put into a variable; what it is goes to
//! standard error. The daemon needs not run, and sees what has changed by itself.

use std::io::{self, Write as _};
use std::path::PathBuf;
use std::process::ExitCode;
use std::time::{Duration, SystemTime, UNIX_EPOCH};

use base64::Engine as _;
use base64::engine::general_purpose::STANDARD;
use chrono::DateTime;
use clap::{Args, Subcommand};
use hmac::{Hmac, KeyInit as _, Mac as _};
use percent_encoding::{NON_ALPHANUMERIC, utf8_percent_encode};
use sha2::Sha256;

use super::{complain, described, of_system};
use crate::config::{Environment, Folders};
use crate::key::Namespace;
use crate::keyring::{self, Access, Door, Issued, Secret, Wish};

/// The commands of `larder token`.
#[derive(Debug, Subcommand)]
pub(super) enum TokenCommand {
    /// Issue a key or a token, and print it this once
    #[command(
        after_help = "Examples:\n  larder token new --s3 cache --read-write\n  larder token new --bearer ci --expires 30d"
    )]
    New(Box<NewFlags>),
    /// List what was issued
    List(ListFlags),
    /// Take back what was issued
    Revoke(RevokeFlags),
}

/// Whose daemon is meant.
#[derive(Debug, Args)]
pub(super) struct Whose {
    /// The daemon's folder, as it was given to `larder serve`
    #[arg(long, value_name = "DIR", env = "LARDER_DIR")]
    dir: Option<PathBuf>,

    /// The machine's daemon, not the user's [env: LARDER_SYSTEM]
    #[arg(long)]
    system: bool,
}

/// The flags of `larder token new`.
#[derive(Debug, Args)]
pub(super) struct NewFlags {
    #[command(flatten)]
    whose: Whose,

    /// A connection string for this container of the Azure Blob door: lage, sccache, the SDKs
    #[arg(long, value_name = "CONTAINER", conflicts_with_all = ["s3", "bearer"])]
    azure: Option<String>,

    /// An access key for this bucket of the S3 door: sccache, Rush, the SDKs
    #[arg(long, value_name = "BUCKET", conflicts_with = "bearer")]
    s3: Option<String>,

    /// A token for listeners off loopback, for whoever this is
    #[arg(long, value_name = "NAME", conflicts_with_all = ["read_only", "read_write", "sas", "endpoint"])]
    bearer: Option<String>,

    /// It may read and list
    #[arg(long, conflicts_with = "read_write")]
    read_only: bool,

    /// It may read, list, write and delete
    #[arg(long)]
    read_write: bool,

    /// It ends after this long: 12h, 30d, 8w
    #[arg(long, value_name = "TIME", value_parser = parse_age)]
    expires: Option<Duration>,

    /// A shared access signature instead of an account key; `--read-only` is one in any case
    #[arg(long, requires = "azure")]
    sas: bool,

    /// Where clients reach the daemon; goes into a connection string
    #[arg(long, value_name = "URL", default_value = "http://127.0.0.1:5273", value_parser = parse_endpoint)]
    endpoint: String,
}

/// The flags of `larder token list`.
#[derive(Debug, Args)]
pub(super) struct ListFlags {
    #[command(flatten)]
    whose: Whose,

    /// Print JSON
    #[arg(long)]
    json: bool,
}

/// The flags of `larder token revoke`.
#[derive(Debug, Args)]
pub(super) struct RevokeFlags {
    #[command(flatten)]
    whose: Whose,

    /// Ids, as the list has them
    #[arg(required = true, value_name = "ID")]
    ids: Vec<String>,
}

/// A SAS must end; that of a key without an end does so after this long.
const SAS_DEFAULT: Duration = Duration::from_secs(10 * 365 * DAY);
const DAY: u64 = 24 * 3600;
/// The version of the service by whose rules it is signed.
const SAS_VERSION: &str = "2021-12-02";

/// Runs one of them.
pub(super) fn token(command: TokenCommand, environment: &Environment) -> ExitCode {
    let done = match command {
        TokenCommand::New(flags) => new(*flags, environment),
        TokenCommand::List(flags) => list(flags, environment),
        TokenCommand::Revoke(flags) => flags
            .whose
            .state(environment)
            .and_then(|state| keyring::revoke(&state, &flags.ids).map_err(|error| error.to_string())),
    };
    match done {
        Ok(()) => ExitCode::SUCCESS,
        Err(words) => complain(&format!("failed to {words}")),
    }
}

fn new(flags: NewFlags, environment: &Environment) -> Result<(), String> {
    let (door, place) = match (&flags.azure, &flags.s3, &flags.bearer) {
        (Some(container), _, _) => (Door::Azure, check_place(container, "a container", "-")?),
        (_, Some(bucket), _) => (Door::S3, check_place(bucket, "a bucket", "-.")?),
        (_, _, Some(name)) => (Door::Bearer, check_name(name)?),
        (None, None, None) => {
            return Err("issue nothing; say --azure CONTAINER, --s3 BUCKET or --bearer NAME".into());
        }
    };
    if flags.sas && door != Door::Azure {
        return Err("issue a shared access signature for that; --sas goes with --azure".into());
    }
    if door != Door::Bearer && !flags.read_only && !flags.read_write {
        return Err("issue a key without rights; say --read-only or --read-write".into());
    }
    let access = if flags.read_only { Access::ReadOnly } else { Access::ReadWrite };
    let expires = flags.expires.map(|age| now() + age.as_secs());
    let state = flags.whose.state(environment)?;
    let wish = Wish { door, place, access, expires };
    let (issued, secret) = keyring::issue(&state, wish).map_err(|error| error.to_string())?;
    let credential = match door {
        Door::Azure if flags.sas || flags.read_only => sas_string(&flags.endpoint, &issued, &secret),
        Door::Azure => format!(
            "DefaultEndpointsProtocol={};AccountName=larder;AccountKey={};BlobEndpoint={}/larder;",
            flags.endpoint.split(':').next().unwrap_or("http"),
            STANDARD.encode(secret.bytes()),
            flags.endpoint,
        ),
        Door::S3 => {
            let secret = String::from_utf8_lossy(secret.bytes());
            format!("AWS_ACCESS_KEY_ID={}\nAWS_SECRET_ACCESS_KEY={secret}", issued.id)
        }
        Door::Bearer => String::from_utf8_lossy(secret.bytes()).into_owned(),
    };
    let written = writeln!(io::stdout(), "{credential}");
    // It can't be shown again: who couldn't read it should know.
    written.map_err(|error| format!("print what was issued as {}: {error}; revoke it", issued.id))?;
    let until =
        issued.wish.expires.map_or("until it is revoked".to_owned(), |end| format!("until {}", time(end)));
    let words = format!(
        "larder: {}, {} for {}, {until}. It is shown this once; `larder token revoke {}` takes it back.",
        issued.id,
        access.name(),
        issued.wish.place,
        issued.id
    );
    // The credential is out; nobody needs to hear this.
    let _ = writeln!(io::stderr(), "{words}");
    Ok(())
}

/// A connection string with a service SAS of a container, signed with its key.
fn sas_string(endpoint: &str, issued: &Issued, secret: &Secret) -> String {
    let end = time(issued.wish.expires.unwrap_or_else(|| now() + SAS_DEFAULT.as_secs()));
    let permissions = match issued.wish.access {
        Access::ReadOnly => "rl",
        Access::ReadWrite => "rcwdl",
    };
    let resource = format!("/blob/larder/{}", issued.wish.place);
    let fields = [permissions, "", &end, &resource, "", "", "", SAS_VERSION, "c", "", "", "", "", "", "", ""];
    let signature = Hmac::<Sha256>::new_from_slice(secret.bytes())
        .map(|mac| STANDARD.encode(mac.chain_update(fields.join("\n")).finalize().into_bytes()))
        .unwrap_or_default();
    let escaped = |text: &str| utf8_percent_encode(text, NON_ALPHANUMERIC).to_string();
    format!(
        "BlobEndpoint={endpoint}/larder;SharedAccessSignature=sv={SAS_VERSION}&sr=c&sp={permissions}&se={}&sig={}",
        escaped(&end),
        escaped(&signature)
    )
}

fn list(flags: ListFlags, environment: &Environment) -> Result<(), String> {
    let state = flags.whose.state(environment)?;
    let all = keyring::list(&state).map_err(|error| error.to_string())?;
    let mut out = io::stdout().lock();
    let written = if flags.json {
        let rows: Vec<_> = all.iter().map(row).collect();
        serde_json::to_writer_pretty(&mut out, &rows).map_err(io::Error::from).and_then(|()| writeln!(out))
    } else {
        print(&mut out, &all)
    };
    match written {
        // A reader that went away (`| head`) has what it wanted.
        Err(error) if error.kind() != io::ErrorKind::BrokenPipe => Err(format!("print the list: {error}")),
        _ => Ok(()),
    }
}

fn row(issued: &Issued) -> serde_json::Value {
    serde_json::json!({
        "id": issued.id,
        "kind": issued.wish.door.name(),
        "place": issued.wish.place,
        "access": issued.wish.access.name(),
        "created": time(issued.created),
        "expires": issued.wish.expires.map(time),
        "expired": has_ended(issued),
    })
}

fn print(out: &mut impl io::Write, all: &[Issued]) -> io::Result<()> {
    if all.is_empty() {
        return writeln!(out, "nothing is issued");
    }
    let widest = all.iter().map(|issued| issued.wish.place.len()).max().unwrap_or(0);
    for issued in all {
        let end = match issued.wish.expires {
            Some(_) if has_ended(issued) => "expired".to_owned(),
            Some(end) => format!("until {}", time(end)),
            None => "no end".to_owned(),
        };
        let (door, access) = (issued.wish.door.name(), issued.wish.access.name());
        let (id, place, created) = (&issued.id, &issued.wish.place, time(issued.created));
        writeln!(out, "{id:20}  {door:6}  {place:widest$}  {access:10}  issued {created}  {end}")?;
    }
    Ok(())
}

fn has_ended(issued: &Issued) -> bool {
    issued.wish.expires.is_some_and(|end| end <= now())
}

/// What the clients of a door take for a name, and Larder for a namespace.
fn check_place(name: &str, what: &str, marks: &str) -> Result<String, String> {
    let known =
        |byte: u8| byte.is_ascii_lowercase() || byte.is_ascii_digit() || marks.as_bytes().contains(&byte);
    let is_name = (3..=63).contains(&name.len())
        && name.bytes().all(known)
        && !name.starts_with(['-', '.'])
        && !name.ends_with(['-', '.']);
    if !is_name {
        return Err(format!(
            "issue a key for `{}`: {what} has 3 to 63 of [a-z0-9{marks}], with a letter or digit at both ends",
            name.escape_debug()
        ));
    }
    match Namespace::parse(name) {
        Ok(_) => Ok(name.to_owned()),
        Err(error) => Err(format!("issue a key for `{name}`: {}", error.message())),
    }
}

fn check_name(name: &str) -> Result<String, String> {
    if (1..=64).contains(&name.len()) && name.bytes().all(|byte| byte.is_ascii_graphic()) {
        return Ok(name.to_owned());
    }
    Err("issue a token: its name has 1 to 64 printable characters without spaces".into())
}

fn parse_age(text: &str) -> Result<Duration, String> {
    let words = || format!("`{text}` is no time such as 12h, 30d or 8w");
    let at = text.find(|char: char| !char.is_ascii_digit()).ok_or_else(words)?;
    let unit = match text[at..].trim() {
        "m" => 60,
        "h" => 3600,
        "d" => DAY,
        "w" => 7 * DAY,
        _ => return Err(words()),
    };
    let count: u64 = text[..at].parse().map_err(|_| words())?;
    match count.checked_mul(unit) {
        Some(seconds) if (1..=100 * 365 * DAY).contains(&seconds) => Ok(Duration::from_secs(seconds)),
        _ => Err(format!("`{text}` is nothing, or over a hundred years")),
    }
}

/// Scheme, host and port; a path would be lost.
fn parse_endpoint(text: &str) -> Result<String, String> {
    let words = || format!("`{text}` is not a URL such as http://127.0.0.1:5273, without a path");
    let origin = text.trim_end_matches('/');
    let host =
        origin.strip_prefix("http://").or_else(|| origin.strip_prefix("https://")).ok_or_else(words)?;
    let plain =
        |char: char| char.is_ascii_alphanumeric() || matches!(char, '.' | ':' | '-' | '_' | '[' | ']');
    if host.is_empty() || !host.chars().all(plain) {
        return Err(words());
    }
    Ok(origin.to_owned())
}

fn time(seconds: u64) -> String {
    let time = i64::try_from(seconds).ok().and_then(|seconds| DateTime::from_timestamp(seconds, 0));
    time.map_or_else(|| seconds.to_string(), |time| time.format("%Y-%m-%dT%H:%M:%SZ").to_string())
}

fn now() -> u64 {
    SystemTime::now().duration_since(UNIX_EPOCH).map_or(0, |since| since.as_secs())
}

// === impl Whose ===

impl Whose {
    /// Whether it is one with a folder of its own, and so no service.
    pub(super) fn is_elsewhere(&self) -> bool {
        self.dir.is_some()
    }

    /// The environment of its commands.
    pub(super) fn of(&self, environment: &Environment) -> Environment {
        of_system(self.system, environment)
    }

    /// The daemon's state folder.
    pub(super) fn state(self, environment: &Environment) -> Result<PathBuf, String> {
        match described(self.dir.as_deref(), self.system, environment) {
            Some(folders) => Ok(folders.state),
            None => Folders::state(self.dir, &of_system(self.system, environment))
                .map_err(|words| format!("find the state folder: it {words}")),
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn ages_and_endpoints_are_read_strictly() {
        for (text, seconds) in [("1m", 60), ("12h", 43_200), ("30d", 30 * DAY), ("8w", 56 * DAY)] {
            assert_eq!(parse_age(text).map(|age| age.as_secs()), Ok(seconds), "{text}");
        }
        for bad in ["", "30", "d", "0d", "-1d", "1y", "99999999999999999999d", "40000d", "1.5d"] {
            assert!(parse_age(bad).is_err(), "{bad}");
        }
        for good in ["http://127.0.0.1:5273", "https://cache.test", "http://[::1]:1/"] {
            assert!(parse_endpoint(good).is_ok(), "{good}");
        }
        for bad in ["", "127.0.0.1:1", "ftp://x", "http://", "http://x/larder", "http://x?y", "http://u:p@x;"]
        {
            assert!(parse_endpoint(bad).is_err(), "{bad}");
        }
    }

    #[test]
    fn places_are_what_clients_and_larder_take() {
        for bad in ["", "ab", "Cache", "-cache", "cache-", "ca_che", "blobs", "s3", "gradle", &"a".repeat(64)]
        {
            assert!(check_place(bad, "a container", "-").is_err(), "{bad}");
        }
        assert!(check_place("a.cache", "a container", "-").is_err());
        assert_eq!(check_place("a.cache", "a bucket", "-.").as_deref(), Ok("a.cache"));
    }

    #[test]
    fn times_are_written_as_the_service_has_them() {
        assert_eq!(time(1_767_225_600), "2026-01-01T00:00:00Z");
    }
}
