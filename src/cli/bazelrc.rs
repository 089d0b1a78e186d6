//! `larder bazelrc`: what a `.bazelrc` needs, by the version of Bazel.
//!
//! A cache that isn't there must be a slow build and never a failed one. Over HTTP it always is. Over gRPC it depends on
//! flags that came and changed with versions, and a flag that a version doesn't know fails the build too; so the lines
//! are made for one version, and for versions that have no such flag they say HTTP.

use std::net::SocketAddr;
use std::path::PathBuf;
use std::process::ExitCode;

use clap::Args;

use super::{complain, complain_of, print};
use crate::config::{Config, Environment, Flags};
use crate::daemon::default_endpoints;
use crate::key::Namespace;
use crate::server::Endpoint;

/// The flags of `larder bazelrc`.
#[derive(Debug, Args)]
pub(super) struct BazelrcFlags {
    /// The version of Bazel that the lines are for, as `bazel --version` has it (Debian's says none, and is 4.2.3): a
    /// flag that a version doesn't know ends its build
    #[arg(long, value_name = "VERSION", default_value = "9.0", value_parser = version)]
    bazel: Version,

    /// Over HTTP, also where gRPC is safe
    #[arg(long)]
    http: bool,

    /// Over the unix socket, which knows its callers on a shared host
    #[arg(long)]
    unix: bool,

    /// A namespace for action results, as in `web` or `team/web`
    #[arg(long, value_name = "NAME", value_parser = namespace)]
    instance: Option<String>,

    /// Build without the bytes: download what a local action reads, and nothing else
    #[arg(long)]
    minimal: bool,

    #[command(flatten)]
    daemon: Flags,
}

/// Major and minor.
type Version = (u32, u32);

/// Where the daemon is.
#[derive(Debug)]
struct Place {
    addr: Option<SocketAddr>,
    socket: PathBuf,
}

/// The first version in which a cache-only build goes on locally with both flags; 8.0 to 8.5 have no way.
const FALLBACK_AGAIN: Version = (8, 6);
const NO_FALLBACK: Version = (8, 0);
/// 2.1.0 ends its build with the flag and without; 4.2.3 doesn't.
const FALLBACK: Version = (4, 0);
/// From 8.0 on it is the default.
const EVICTION_RETRIES: std::ops::Range<Version> = (6, 2)..(8, 0);

/// Prints the lines.
pub(super) fn bazelrc(flags: &BazelrcFlags, environment: &Environment) -> ExitCode {
    let config = match Config::load(&flags.daemon, environment) {
        Ok(config) => config,
        Err(problems) => return complain_of(&problems),
    };
    match lines(flags, &Place::of(&config)) {
        Ok(lines) => print(&lines),
        Err(words) => complain(words),
    }
}

fn lines(flags: &BazelrcFlags, place: &Place) -> Result<String, &'static str> {
    let (major, minor) = flags.bazel;
    let fallback = fallback(flags.bazel);
    let grpc = !flags.http && fallback.is_some();
    let addr = match (&place.addr, flags.unix) {
        (Some(addr), _) => addr.to_string(),
        // Whom it asks is the socket's affair; this is what it calls him.
        (None, true) => "localhost".to_owned(),
        (None, false) => {
            return Err("the daemon listens on no port of loopback; say `--unix`, or add one to `listen`");
        }
    };
    let (scheme, path) = match (&flags.instance, grpc) {
        (Some(instance), false) => ("http", format!("/{instance}")),
        (_, true) => ("grpc", String::new()),
        (None, false) => ("http", String::new()),
    };
    let mut out = format!("# Larder, for Bazel {major}.{minor}: printed by `larder bazelrc`\n");
    let mut line = |text: &str| {
        out.push_str(text);
        out.push('\n');
    };
    line(&format!("build --remote_cache={scheme}://{addr}{path}"));
    if flags.unix {
        line(&format!("build --remote_proxy=unix:{}", place.socket.display()));
    }
    if let (Some(instance), true) = (&flags.instance, grpc) {
        line(&format!("build --remote_instance_name={instance}"));
    }
    line("# The PATH of whoever builds is no part of a key.");
    line("build --incompatible_strict_action_env");
    match (grpc, fallback) {
        (true, Some(fallback)) => {
            line("# Without a daemon it builds here.");
            fallback.iter().for_each(|flag| line(&format!("build {flag}")));
        }
        (false, None) => {
            line("# Over HTTP, for over gRPC this version can't build without a daemon.");
            line("build --remote_timeout=10");
        }
        _ => line("build --remote_timeout=10"),
    }
    if flags.minimal {
        line("# Only what a local action reads is downloaded.");
        line("build --remote_download_minimal");
    }
    if EVICTION_RETRIES.contains(&flags.bazel) {
        line("# What was evicted between two builds is built again.");
        line("build --experimental_remote_cache_eviction_retries=5");
    }
    Ok(out)
}

/// The flags with which a build over gRPC goes on without a cache; `None`: there are none.
fn fallback(version: Version) -> Option<&'static [&'static str]> {
    const ALONE: &str = "--remote_local_fallback";
    match version {
        version if version >= FALLBACK_AGAIN => {
            Some(&[ALONE, "--incompatible_remote_local_fallback_for_remote_cache"])
        }
        version if (FALLBACK..NO_FALLBACK).contains(&version) => Some(&[ALONE]),
        _ => None,
    }
}

fn version(text: &str) -> Result<Version, String> {
    let mut numbers = text.split('.').map(str::parse::<u32>);
    match (numbers.next(), numbers.next()) {
        (Some(Ok(major)), None) => Ok((major, 0)),
        (Some(Ok(major)), Some(Ok(minor))) => Ok((major, minor)),
        _ => Err("a version is two numbers or three, as in 4.2.3".to_owned()),
    }
}

fn namespace(text: &str) -> Result<String, String> {
    Namespace::parse(text).map(|_| text.to_owned()).map_err(|error| error.message().to_owned())
}

// === impl Place ===

impl Place {
    /// Where it listens for every protocol.
    fn of(config: &Config) -> Self {
        let defaults = config.listen_default.then(default_endpoints);
        let all = config
            .listen
            .iter()
            .filter(|one| one.only.is_none() && one.tls.is_none())
            .map(|one| &one.endpoint);
        let mut place = Self { addr: None, socket: config.folders.socket.clone() };
        let mut own_socket = None;
        for endpoint in all.chain(defaults.iter().flatten().map(|one| &one.endpoint)) {
            match endpoint {
                Endpoint::Tcp(addr) if endpoint.is_private() => place.addr = place.addr.or(Some(*addr)),
                Endpoint::Tcp(_) => {}
                Endpoint::Unix(path) => own_socket = own_socket.or(Some(path.clone())),
            }
        }
        place.socket = own_socket.unwrap_or(place.socket);
        place
    }
}

#[cfg(test)]
mod tests {
    use clap::Parser as _;

    use super::*;

    #[derive(clap::Parser)]
    struct Alone {
        #[command(flatten)]
        flags: BazelrcFlags,
    }

    fn printed(arguments: &str) -> String {
        let place = Place { addr: Some(([127, 0, 0, 1], 5273).into()), socket: "/run/larder.sock".into() };
        let alone = Alone::parse_from(std::iter::once("x").chain(arguments.split_whitespace()));
        lines(&alone.flags, &place).expect("it listens")
    }

    #[test]
    fn each_version_gets_the_flags_that_it_knows() {
        for (arguments, has, lacks) in [
            ("", "incompatible_remote_local_fallback_for_remote_cache", "http://"),
            ("--bazel 8.6.1", "incompatible_remote_local_fallback_for_remote_cache", "http://"),
            ("--bazel 8.5", "=http://127.0.0.1:5273\n", "fallback"),
            ("--bazel 7.4", "eviction_retries=5", "for_remote_cache"),
            ("--bazel 6.1", "=grpc://127.0.0.1:5273\n", "eviction_retries"),
            ("--bazel 4.2.3", "build --remote_local_fallback\n", "eviction_retries"),
            ("--bazel 2.1.0", "=http://127.0.0.1:5273\n", "fallback"),
            ("--http --instance a/b", "=http://127.0.0.1:5273/a/b\n", "instance_name"),
            ("--instance a/b", "--remote_instance_name=a/b\n", "5273/a"),
            ("--unix", "build --remote_proxy=unix:/run/larder.sock\n", "http://"),
            ("--minimal", "build --remote_download_minimal\n", "eviction_retries"),
        ] {
            let lines = printed(arguments);
            assert!(lines.contains(has), "{arguments}: {lines}");
            assert!(!lines.contains(lacks), "{arguments}: {lines}");
            for line in lines.lines() {
                assert!(line.starts_with("# ") || line.starts_with("build --"), "{line}");
            }
        }
    }

    #[test]
    fn what_is_no_version_or_namespace_is_refused_in_words() {
        assert!(version("four").is_err() && version("").is_err() && version("4.x").is_err());
        assert_eq!(version("7"), Ok((7, 0)));
        assert!(namespace("a/blobs/b").expect_err("reserved").contains("blobs"));
    }

    #[test]
    fn a_daemon_without_a_port_is_reached_by_its_socket() {
        let place = Place { addr: None, socket: "/run/larder.sock".into() };
        let flags = |arguments: &[&str]| Alone::parse_from([&["x"], arguments].concat()).flags;
        assert!(lines(&flags(&[]), &place).is_err());
        let lines = lines(&flags(&["--unix"]), &place).expect("it listens");
        assert!(lines.contains("=grpc://localhost\n"), "{lines}");
    }
}
