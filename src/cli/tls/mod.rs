//! `larder tls`: a small private CA, and the certificates of a daemon and its clients.
//!
//! What is there is never written over: a second run makes what is missing, so that it adds a client. Standard output is
//! what goes into the configuration of the daemon, of moon and of Bazel; what was made goes to standard error.

mod folder;
mod issue;
mod page;

use std::io::{self, Write as _};
use std::path::PathBuf;
use std::process::ExitCode;

use clap::{Args, Subcommand};

use super::{complain, of_system, print};
use crate::config::{Environment, Folders};
use crate::server::certificate_names;
use folder::Folder;
use issue::Authority;
use page::Page;

/// The commands of `larder tls`.
#[derive(Debug, Subcommand)]
pub(super) enum TlsCommand {
    /// Make a CA, the daemon's certificate and those of clients; or add clients to those that there are
    #[command(
        after_help = "Examples:\n  larder tls init --name build.example --client ci --client desk\n  larder tls init --client laptop"
    )]
    Init(InitFlags),
}

/// The flags of `larder tls init`.
#[derive(Debug, Args)]
pub(super) struct InitFlags {
    /// Where the files are, or are made [default: `tls` beside the configuration file]
    #[arg(long, value_name = "DIR")]
    dir: Option<PathBuf>,

    /// The machine's daemon, not the user's [env: LARDER_SYSTEM]
    #[arg(long)]
    system: bool,

    /// A name or address by which clients reach the daemon, besides localhost, 127.0.0.1 and ::1
    #[arg(long, value_name = "HOST", value_parser = host)]
    name: Vec<String>,

    /// A client that gets a certificate: a machine, a person, CI
    #[arg(long, value_name = "NAME", value_parser = client)]
    client: Vec<String>,
}

/// Runs one of them.
pub(super) fn tls(command: TlsCommand, environment: &Environment) -> ExitCode {
    let TlsCommand::Init(flags) = command;
    match init(&flags, environment) {
        Ok(page) => print(&page),
        Err(words) => complain(&format!("failed to {words}")),
    }
}

fn init(flags: &InitFlags, environment: &Environment) -> Result<String, String> {
    let folder = Folder::open(match &flags.dir {
        Some(dir) => dir.clone(),
        None => Folders::config(&of_system(flags.system, environment))
            .and_then(|file| Some(file.parent()?.join("tls")))
            .ok_or("find a folder, because this user has no home; give --dir")?,
    })?;
    let mut clients = flags.client.clone();
    clients.sort_unstable();
    clients.dedup();
    // All that could be in the way is found before anything is made.
    let has_ca = folder.has("ca")?;
    let has_server = folder.has("server")?;
    for client in &clients {
        if folder.has(&folder::of_client(client))? {
            return Err(format!(
                "issue a certificate for `{client}`: {} is there already; choose another name, or move it and its key \
                 away",
                folder.certificate(&folder::of_client(client)).display()
            ));
        }
    }
    if has_server && !has_ca {
        return Err(format!(
            "add to {}: it has a server.pem and no ca.pem; put that and ca-key.pem back, or choose another --dir",
            folder.shown()
        ));
    }
    let names = names(&flags.name);
    if has_server && !flags.name.is_empty() {
        let path = folder.certificate("server");
        let known = certificate_names(folder.read(&path)?.as_bytes())
            .map_err(|words| format!("read {}: {words}", path.display()))?;
        if let Some(new) = flags.name.iter().find(|name| !known.contains(name)) {
            return Err(format!(
                "name the daemon `{new}`: {} is there, and not for that name; move it and server-key.pem away and run \
                 this again, clients keep their certificates",
                path.display()
            ));
        }
    }

    let authority = if has_ca {
        let (certificate, key) = folder.pair("ca")?;
        Authority::read(&certificate, &key)
            .map_err(|words| format!("use {}: {words}", folder.certificate("ca").display()))?
    } else {
        let made = issue::authority().map_err(|words| format!("make a CA: {words}"))?;
        folder.write("ca", &made)?;
        said("a CA", &folder, "ca");
        Authority::read(&made.certificate, &made.key).map_err(|words| format!("use the new CA: {words}"))?
    };
    if !has_server {
        let made =
            authority.server(&names).map_err(|words| format!("issue the daemon's certificate: {words}"))?;
        folder.write("server", &made)?;
        said("the daemon's certificate", &folder, "server");
    }
    for client in &clients {
        let made = authority
            .client(client)
            .map_err(|words| format!("issue a certificate for `{client}`: {words}"))?;
        folder.write(&folder::of_client(client), &made)?;
        said(&format!("a certificate for `{client}`"), &folder, &folder::of_client(client));
    }
    let known = folder.clients();
    let host = flags.name.first().cloned().or_else(|| host_of(&folder));
    // moon takes no cache at `localhost` where it believes to be in CI.
    let host = host.unwrap_or_else(|| "127.0.0.1".into());
    Ok(Page { folder: &folder, host: &host, client: clients.first().or(known.first()), clients: &known }
        .text())
}

/// What the daemon's certificate is for: this machine, and what was said.
fn names(said: &[String]) -> Vec<String> {
    let mut names: Vec<String> = ["localhost", "127.0.0.1", "::1"].map(str::to_owned).to_vec();
    names.extend(said.iter().cloned());
    let mut seen = std::collections::HashSet::new();
    names.retain(|name| seen.insert(name.clone()));
    names
}

/// The name that the daemon's certificate has besides this machine's own.
fn host_of(folder: &Folder) -> Option<String> {
    let hosts = certificate_names(folder.read(&folder.certificate("server")).ok()?.as_bytes()).ok()?;
    let own = names(&[]);
    hosts.into_iter().find(|host| !own.contains(host))
}

fn said(what: &str, folder: &Folder, stem: &str) {
    let (certificate, key) = (folder.certificate(stem), folder.key(stem));
    // Nobody is left to tell when standard error is closed.
    let _ = writeln!(io::stderr(), "made {what}: {} and {}", certificate.display(), key.display());
}

fn host(text: &str) -> Result<String, String> {
    if let Ok(address) = text.trim_start_matches('[').trim_end_matches(']').parse::<std::net::IpAddr>() {
        return Ok(address.to_string());
    }
    let label = |label: &str| {
        (1..=63).contains(&label.len())
            && label.bytes().all(|byte| byte.is_ascii_alphanumeric() || byte == b'-')
            && !label.starts_with('-')
            && !label.ends_with('-')
    };
    if text.len() <= 253 && text.strip_prefix("*.").unwrap_or(text).split('.').all(label) {
        return Ok(text.to_ascii_lowercase());
    }
    Err(format!("`{}` is neither the name of a host nor an address, without a port", text.escape_debug()))
}

/// It is a part of a file's name, too.
fn client(text: &str) -> Result<String, String> {
    let known = |byte: u8| byte.is_ascii_alphanumeric() || matches!(byte, b'-' | b'_' | b'.' | b'@');
    let is_name = (1..=64).contains(&text.len()) && text.bytes().all(known) && !text.starts_with(['.', '-']);
    if is_name && !text.ends_with("-key") {
        return Ok(text.to_owned());
    }
    Err(format!(
        "`{}` is no name of a client: 1 to 64 of [a-zA-Z0-9-_.@], no dot or dash first, no `-key` at the end",
        text.escape_debug()
    ))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn names_are_read_strictly() {
        for (good, read) in [
            ("Build.Example", "build.example"),
            ("10.0.0.5", "10.0.0.5"),
            ("[::1]", "::1"),
            ("*.example", "*.example"),
        ] {
            assert_eq!(host(good).as_deref(), Ok(read));
        }
        for bad in ["", "a b", "a:1", "https://a", "-a", "a..b", "*"] {
            assert!(host(bad).is_err(), "{bad}");
        }
        for good in ["ci", "desk-1", "eva@build.example"] {
            assert!(client(good).is_ok(), "{good}");
        }
        for bad in ["", ".x", "../x", "a/b", "a b", "x-key", "*"] {
            assert!(client(bad).is_err(), "{bad}");
        }
    }

    #[test]
    fn this_machine_is_always_among_the_names_and_none_is_there_twice() {
        let all = names(&["localhost".into(), "a.test".into(), "a.test".into()]);
        assert_eq!(all, ["localhost", "127.0.0.1", "::1", "a.test"]);
    }
}
