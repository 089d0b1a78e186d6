//! `larder service`: the daemon in the care of systemd or launchd.
//!
//! ```text
//! who and where (site) -> steps, by reading only (systemd, launchd: files by written, words by escape) -> shown or done (plan)
//! ```
//! Everything is planned before the first step is taken, so a refusal changes nothing, and `--print` shows the very
//! steps that are taken without it.

mod escape;
mod launchd;
mod left;
mod plan;
mod site;
mod state;
mod systemd;
mod written;

use std::path::PathBuf;
use std::process::ExitCode;
use std::time::Duration;

use clap::{Args, Subcommand};

use super::{EXIT_NOT_RUNNING, complain, print};
use crate::config::Environment;
use plan::Step;
use site::{Manager, Rights, Site, Whose};
use state::Daemon;

/// The commands of `larder service`.
#[derive(Debug, Subcommand)]
pub(super) enum ServiceCommand {
    /// Write the units and begin to listen; the first request starts the daemon
    Install(InstallFlags),
    /// Stop it, and remove what `install` wrote
    Uninstall(UninstallFlags),
    /// Start it, and wait until it answers
    Start(ControlFlags),
    /// Stop it, and no longer listen
    Stop(ControlFlags),
    /// Replace the running process, by a newer binary for one; the sockets stay
    Restart(ControlFlags),
    /// Show the service's state and the daemon's own, in a line each
    Status(StatusFlags),
}

/// The flags of `larder service install`.
#[derive(Debug, Args)]
pub(super) struct InstallFlags {
    #[command(flatten)]
    control: ControlFlags,

    /// The program that the service runs; this one unless it is said
    #[arg(long, value_name = "PATH")]
    binary: Option<PathBuf>,

    /// Replace units that somebody else wrote or edited
    #[arg(long)]
    force: bool,

    /// Don't ask that your services run while you are not signed in
    #[arg(long)]
    no_linger: bool,
}

/// The flags of `larder service uninstall`.
#[derive(Debug, Args)]
pub(super) struct UninstallFlags {
    #[command(flatten)]
    control: ControlFlags,

    /// Remove the cache, the queue and issued tokens, too; refused while something is queued
    #[arg(long)]
    purge: bool,

    /// Remove units that were edited, where no service manager answers, and what is queued
    #[arg(long)]
    force: bool,
}

/// The flags of the others that change something.
#[derive(Debug, Args)]
pub(super) struct ControlFlags {
    #[command(flatten)]
    whose: Whose,

    /// Show what would be written and run, and do nothing
    #[arg(long)]
    print: bool,
}

/// The flags of `larder service status`.
#[derive(Debug, Args)]
pub(super) struct StatusFlags {
    #[command(flatten)]
    whose: Whose,
}

/// Why nothing was done, and the exit code that says so.
#[derive(Debug)]
struct Refused {
    code: u8,
    words: String,
}

/// From the start of the process to its first answer, at most.
const START_MAX: Duration = Duration::from_secs(60);

/// Runs one of them.
pub(super) fn service(command: ServiceCommand, environment: &Environment) -> ExitCode {
    let done = match command {
        ServiceCommand::Install(flags) => install(&flags, environment),
        ServiceCommand::Uninstall(flags) => uninstall(&flags, environment),
        ServiceCommand::Start(flags) => control(&flags, environment, Verb::Start),
        ServiceCommand::Stop(flags) => control(&flags, environment, Verb::Stop),
        ServiceCommand::Restart(flags) => control(&flags, environment, Verb::Restart),
        ServiceCommand::Status(flags) => status(&flags, environment),
    };
    match done {
        Ok(code) => code,
        Err(Refused { code, words }) => {
            complain(&words);
            ExitCode::from(code)
        }
    }
}

fn install(flags: &InstallFlags, environment: &Environment) -> Result<ExitCode, Refused> {
    let site = flags.control.site(environment)?;
    let (binary, warning) = site::binary(&site, flags.binary.as_deref(), environment)?;
    let mut steps: Vec<Step> = warning.map(Step::Note).into_iter().collect();
    steps.extend(match site.manager {
        Manager::Systemd => {
            systemd::install(&site, systemd::units(&site, &binary)?, flags.force, !flags.no_linger)?
        }
        Manager::Launchd => launchd::install(&site, launchd::plist(&site, &binary)?, flags.force)?,
    });
    if site.system && !site.configuration().exists() {
        steps.push(Step::Note(format!(
            "the daemon doesn't start before {} names in `access.users` whom it serves: `access.users = [\"ci\"]`",
            site.configuration().display()
        )));
    }
    let is_new = steps.iter().any(|step| matches!(step, Step::Write { .. }));
    if flags.control.print {
        return Ok(show(&steps));
    }
    reach(&site)?;
    take(&site, &steps)?;
    let next = match (is_new, site.manager) {
        (false, _) => "the service is installed already, as wanted".to_owned(),
        (true, Manager::Systemd) => format!(
            "installed: the first request starts the daemon, or `{}`; one that runs is replaced by `{}`",
            site.command("start"),
            site.command("restart")
        ),
        (true, Manager::Launchd) => "installed and started".to_owned(),
    };
    Ok(print(&format!("{next}\n")))
}

fn uninstall(flags: &UninstallFlags, environment: &Environment) -> Result<ExitCode, Refused> {
    let site = flags.control.site(environment)?;
    let mut steps = match site.manager {
        Manager::Systemd => systemd::uninstall(&site, flags.force)?,
        Manager::Launchd => launchd::uninstall(&site, flags.force)?,
    };
    let is_installed = !steps.is_empty();
    if flags.purge {
        steps.extend(purge(&site)?);
        match site.manager {
            Manager::Systemd => steps.extend(systemd::purge_account(&site)),
            Manager::Launchd => steps.extend(launchd::purge_folder(&site)),
        }
    }
    if steps.is_empty() {
        return Ok(print("nothing is installed\n"));
    }
    if flags.control.print {
        return Ok(show(&steps));
    }
    if is_installed && !flags.force {
        reach(&site)?;
    }
    if flags.purge && !flags.force {
        nothing_queued(&site)?;
    }
    let before = left::Before::look(&site);
    take(&site, &steps)?;
    Ok(print(&before.words(&site)))
}

/// What removing the daemon's folders takes.
fn purge(site: &Site) -> Result<Vec<Step>, Refused> {
    let mut steps = Vec::new();
    for folder in [&site.cache, &site.state] {
        if !folder.exists() {
            continue;
        }
        // Whatever else a folder of this name may be, every daemon locks its own.
        if !folder.join("lock").is_file() || folder.is_symlink() {
            return Err(Refused::failed(format!(
                "{} doesn't look like a folder of larder's; look into it, and remove it by hand",
                folder.display()
            )));
        }
        let own = site.configuration();
        let spared = Some(own).filter(|own| own.parent() == Some(folder) && own.exists());
        steps.push(Step::RemoveData { folder: folder.clone(), spared });
    }
    Ok(steps)
}

/// A queue that is purged is lost.
fn nothing_queued(site: &Site) -> Result<(), Refused> {
    if !site.state.exists() {
        return Ok(());
    }
    match wait_for(state::queued(site))? {
        Ok(0) => Ok(()),
        Ok(entries) => Err(Refused::failed(format!(
            "{entries} entries wait to go upstream and would be lost: `larder flush` first, or say --force"
        ))),
        Err(words) => Err(Refused::failed(format!(
            "whether something is queued can't be told: {words}; or lose it with --force"
        ))),
    }
}

#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum Verb {
    Start,
    Stop,
    Restart,
}

fn control(flags: &ControlFlags, environment: &Environment, verb: Verb) -> Result<ExitCode, Refused> {
    let site = flags.site(environment)?;
    let steps = match (site.manager, verb) {
        (Manager::Systemd, Verb::Start) => systemd::start(&site),
        (Manager::Systemd, Verb::Stop) => systemd::stop(&site),
        (Manager::Systemd, Verb::Restart) => systemd::restart(&site),
        (Manager::Launchd, Verb::Start) => launchd::start(&site),
        (Manager::Launchd, Verb::Stop) => launchd::stop(&site),
        (Manager::Launchd, Verb::Restart) => launchd::restart(&site),
    };
    if flags.print {
        return Ok(show(&steps));
    }
    reach(&site)?;
    if verb == Verb::Stop {
        take(&site, &steps)?;
        return Ok(print(&format!("stopped; `{}` starts it again\n", site.command("start"))));
    }
    let answer = take(&site, &steps)
        .and_then(|()| wait_for(state::answering(&site, START_MAX))?.map_err(Refused::failed))
        .map_err(|refused| refused.with_last_words(&site))?;
    Ok(print(&format!("{answer}\n")))
}

fn status(flags: &StatusFlags, environment: &Environment) -> Result<ExitCode, Refused> {
    let site = Site::find(&flags.whose, environment, Rights::Look)?;
    let unit = state::unit(&site);
    let (service, asleep, remedy) = match unit {
        Ok(unit) => (unit.words, unit.asleep, unit.remedy),
        Err(words) => (words, false, None),
    };
    let daemon = if asleep {
        Daemon::Absent("not running; the next request starts it".into())
    } else {
        wait_for(state::daemon(&site))?
    };
    let (words, code) = match daemon {
        Daemon::Answers(words) => (words, ExitCode::SUCCESS),
        Daemon::Absent(words) => (words, ExitCode::from(EXIT_NOT_RUNNING)),
        Daemon::Sick(words) => (words, ExitCode::FAILURE),
    };
    let remedy = remedy.map(|remedy| format!("remedy:  {remedy}\n")).unwrap_or_default();
    print(&format!("service: {service}\ndaemon:  {words}\n{remedy}"));
    Ok(code)
}

fn reach(site: &Site) -> Result<(), Refused> {
    match site.manager {
        Manager::Systemd => systemd::reach(site),
        Manager::Launchd => launchd::reach(site),
    }
}

fn show(steps: &[Step]) -> ExitCode {
    print(&steps.iter().map(Step::show).collect::<String>())
}

fn take(site: &Site, steps: &[Step]) -> Result<(), Refused> {
    for step in steps {
        if let Some(words) = step.take(&site.runner).map_err(Refused::failed)? {
            print(&format!("{words}\n"));
        }
    }
    Ok(())
}

/// Runs what asks the daemon.
fn wait_for<T>(asking: impl Future<Output = T>) -> Result<T, Refused> {
    let runtime = tokio::runtime::Builder::new_current_thread().enable_all().build();
    runtime
        .map(|runtime| runtime.block_on(asking))
        .map_err(|error| Refused::failed(format!("failed to start: {error}")))
}

// === impl ControlFlags ===

impl ControlFlags {
    fn site(&self, environment: &Environment) -> Result<Site, Refused> {
        let rights = if self.print { Rights::Look } else { Rights::Change };
        Site::find(&self.whose, environment, rights)
    }
}

// === impl Refused ===

impl Refused {
    fn failed(words: impl Into<String>) -> Self {
        Self { code: 1, words: words.into() }
    }

    /// What the daemon said in the end is the cause more often than not.
    fn with_last_words(mut self, site: &Site) -> Self {
        if site.manager == Manager::Systemd
            && let Some(last) = systemd::last_words(site)
        {
            self.words += &format!("; it said last:{last}");
        }
        self
    }

    fn usage(words: impl Into<String>) -> Self {
        Self { code: 2, words: words.into() }
    }
}
