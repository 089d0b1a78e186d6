//! `larder doctor`: what is wrong with this machine's cache, and what helps.
//!
//! ```text
//! configuration ─> daemon, by its socket ─┬─> listeners, upstreams' canaries            at once, each with a deadline
//!                                         └─> folders, permissions, limits, environment …
//! ```
//! Each check looks first (`Facts::look`) and judges then (`Facts::findings`), which asks the machine nothing: so every
//! judgement has its test without a machine in that state. One that hangs or fails hides no other.

mod ask;
mod daemon;
mod finding;
mod folders;
mod limits;
mod machine;
mod permissions;
mod ports;
mod service;
mod socket;
mod stats;
mod tls;
mod traps;
mod upstreams;

use std::io::{self, IsTerminal as _, Write as _};
use std::path::Path;
use std::process::ExitCode;
use std::sync::Arc;
use std::time::Duration;

use clap::Args;
use hyper::Method;
use serde::Deserialize;

use super::complain;
use crate::config::{Config, Environment, Flags, Problem};
use crate::upstream::Canary;
use finding::{Finding, Report};

/// The flags of `larder doctor`.
#[derive(Debug, Args)]
pub(super) struct DoctorFlags {
    #[command(flatten)]
    flags: Flags,

    /// Print JSON
    #[arg(long)]
    json: bool,
}

/// The page `/-/canary`.
#[derive(Debug, Deserialize)]
struct Flown {
    canaries: Vec<Canary>,
}

/// What only looks at files and the kernel's tables is done by then, unless a disk or a network share hangs.
const LOOKING: Duration = Duration::from_secs(5);
/// Four steps of five seconds, and some.
const FLYING: Duration = Duration::from_secs(25);

/// Looks at everything, and says what was found.
pub(super) fn doctor(flags: &DoctorFlags, environment: &Environment) -> ExitCode {
    let runtime = match tokio::runtime::Builder::new_current_thread().enable_all().build() {
        Ok(runtime) => runtime,
        Err(error) => return complain(&format!("failed to start: {error}")),
    };
    let report = Report::new(runtime.block_on(examine(flags.flags.clone(), environment.clone())));
    // What still hangs in a dead mount is not waited for.
    runtime.shutdown_background();
    let mut out = io::stdout().lock();
    let written = if flags.json {
        serde_json::to_writer_pretty(&mut out, &report).map_err(io::Error::from).and_then(|()| writeln!(out))
    } else {
        report.write(&mut out, shows_colours(environment))
    };
    // A reader that went away (`| head`) has what it wanted, but not what the code says.
    if report.has_problems() || written.is_err() { ExitCode::FAILURE } else { ExitCode::SUCCESS }
}

async fn examine(flags: Flags, environment: Environment) -> Vec<Finding> {
    let environment = Arc::new(environment);
    let read = {
        let environment = Arc::clone(&environment);
        looking("configuration", move || Config::read_anyway(&flags, &environment)).await
    };
    let (config, mut findings) = match read {
        Ok((config, problems)) => {
            let findings = configuration(config.as_ref(), &problems);
            (config.map(Arc::new), findings)
        }
        Err(hangs) => (None, vec![hangs]),
    };
    if let Some(config) = &config {
        findings.extend(examine_with(config).await);
    }
    let traps = {
        let environment = Arc::clone(&environment);
        looking("environment", move || traps::Facts::look(&environment).findings())
    };
    let unit = looking("service", move || service::Facts::look(environment.home.as_deref()).findings());
    let (traps, unit) = tokio::join!(traps, unit);
    findings.extend(found(traps));
    findings.extend(found(unit));
    findings
}

/// All that hangs on where the daemon and its upstreams are.
async fn examine_with(config: &Arc<Config>) -> Vec<Finding> {
    let folders = &config.folders;
    let daemon = daemon::Facts::look(&folders.socket, &folders.state, config.file.clone()).await;
    let used = daemon.stats().map(|stats| stats.disk.bytes);
    let pid = daemon.stats().map(|stats| stats.pid);
    let folders = {
        let config = Arc::clone(config);
        looking("folder", move || folders::Facts::look(&config.folders, &config.bounds, used).findings())
    };
    let permissions = {
        let config = Arc::clone(config);
        looking("permissions", move || permissions::Facts::look(&config).findings())
    };
    let limits = {
        let config = Arc::clone(config);
        looking("limits", move || limits::Facts::look(&config.bounds, pid).findings())
    };
    let (ports, folders, upstreams, tls, permissions, limits) = tokio::join!(
        ports::Facts::look(config, &daemon),
        folders,
        canaries(config, &daemon),
        tls::Facts::look(config),
        permissions,
        limits
    );
    let mut findings = daemon.findings();
    findings.extend(ports.findings());
    findings.extend(found(folders));
    findings.extend(upstreams.findings());
    findings.extend(tls.findings());
    findings.extend(found(permissions));
    findings.extend(found(limits));
    findings
}

/// Whether the configuration is right, and all that isn't.
fn configuration(config: Option<&Config>, problems: &[Problem]) -> Vec<Finding> {
    const CHECK: &str = "configuration";
    let problems = problems.iter().map(|problem| {
        Finding::problem(
            CHECK,
            problem.to_string(),
            "correct it: a daemon doesn't start with it, and one that runs goes on with what it had; `larder config \
             example` shows every key",
        )
    });
    let mut findings: Vec<Finding> = problems.collect();
    if findings.is_empty() {
        let file = config.and_then(|config| config.file.as_ref());
        findings.push(Finding::ok(
            CHECK,
            match file {
                Some(file) => format!("{} is right", file.display()),
                None => "no file: defaults, this environment and these flags, which are right".into(),
            },
        ));
    }
    findings
}

/// Flown by the daemon, which alone has its keys; where none runs, by this process.
async fn canaries(config: &Arc<Config>, daemon: &daemon::Facts) -> upstreams::Facts {
    let by_daemon = daemon.runs();
    let flown = if by_daemon {
        match daemon.stats() {
            Some(_) => ask_for_canaries(&config.folders.socket).await,
            None => Err("the daemon doesn't answer".into()),
        }
    } else {
        let flying = tokio::time::timeout(FLYING, crate::daemon::canaries(config)).await;
        match flying {
            Ok(flown) => flown.map_err(|error| error.to_string()),
            Err(_) => Err(format!("no answer within {} s", FLYING.as_secs())),
        }
    };
    let (canaries, grounded) = match flown {
        Ok(canaries) => (canaries, None),
        Err(words) => (Vec::new(), Some(words)),
    };
    let in_force = daemon.stats().map(|stats| stats.upstreams.clone()).unwrap_or_default();
    upstreams::Facts { grounded, canaries, by_daemon, in_force }
}

async fn ask_for_canaries(socket: &Path) -> Result<Vec<Canary>, String> {
    let (_, reply) = ask::unix(socket, Method::POST, "/-/canary", FLYING).await;
    match reply {
        Ok(reply) if reply.status == 200 => serde_json::from_slice::<Flown>(&reply.body)
            .map(|flown| flown.canaries)
            .map_err(|error| format!("the daemon's answer can't be read, of another version? {error}")),
        Ok(reply) if reply.status == 404 => {
            Err("the daemon is of a version that has no canaries; restart it with this one".into())
        }
        Ok(reply) => Err(format!("the daemon answers {}: {}", reply.status, reply.words())),
        Err(ask::Silence::Hangs) => Err(format!("the daemon gives no answer within {} s", FLYING.as_secs())),
        Err(silence) => Err(format!("the daemon gives no answer ({silence:?})")),
    }
}

/// Runs what may hang beside the others, and says so if it does.
async fn looking<T: Send + 'static>(
    check: &'static str,
    look: impl FnOnce() -> T + Send + 'static,
) -> Result<T, Finding> {
    within(LOOKING, check, look).await
}

async fn within<T: Send + 'static>(
    deadline: Duration,
    check: &'static str,
    look: impl FnOnce() -> T + Send + 'static,
) -> Result<T, Finding> {
    match tokio::time::timeout(deadline, tokio::task::spawn_blocking(look)).await {
        Ok(Ok(found)) => Ok(found),
        Ok(Err(_)) => Err(Finding::problem(
            check,
            "this could not be looked at, by a defect of larder's",
            "report it, with what `larder --version` says",
        )),
        Err(_) => Err(Finding::problem(
            check,
            format!("no answer within {} s: a disk or a network share hangs", deadline.as_secs_f32()),
            "see to the filesystems of the daemon's folders and of its configuration (`df`, `dmesg`)",
        )),
    }
}

fn found(findings: Result<Vec<Finding>, Finding>) -> Vec<Finding> {
    findings.unwrap_or_else(|hangs| vec![hangs])
}

fn shows_colours(environment: &Environment) -> bool {
    let tools = &environment.tools;
    io::stdout().is_terminal()
        && !tools.contains_key("NO_COLOR")
        && tools.get("TERM").is_none_or(|terminal| terminal != "dumb")
}

#[cfg(test)]
mod tests {
    use super::*;

    #[tokio::test]
    async fn what_hangs_is_said_and_hides_nothing() {
        let (held, release) = std::sync::mpsc::channel::<()>();
        let hangs = within(Duration::from_millis(50), "folder", move || release.recv().is_err());
        let (hangs, well) = tokio::join!(hangs, looking("limits", || 7));
        assert_eq!(well, Ok(7));
        let finding = hangs.expect_err("it hangs");
        assert!(finding.check == "folder" && finding.words.contains("0.05 s"), "{finding:?}");
        drop(held);
    }
}
