//! A changed configuration is applied while the daemon runs: whole, or not at all.
//!
//! ```text
//! events of the filesystem ─┐
//! a look every few seconds ─┼─> watch: has a file changed? ─> load and check all ─> build upstreams ─> apply
//! SIGHUP ───────────────────┘                                      └── a problem: the last good one stays ──┘
//! ```
//! On a thread of its own, so that a file on a dead mount delays nobody; one reload after the other, so that two at once
//! are two in a row. Up to the end of *build* nothing is touched, and from there on nothing can fail.

mod bell;
mod watch;

use std::sync::Arc;

use tokio::signal::unix::Signal;
use tokio_util::task::AbortOnDropHandle;

use super::parts;
use crate::cache::Cache;
use crate::config::{Config, Environment, Flags, Problem};
use crate::error::{Error, Kind, Result};
use crate::key::UpstreamId;
use crate::logging;
use crate::server::{Control, Notices, Settings};
use crate::upstream::Runtime;
use bell::Bell;
use watch::{POLL, Watch, Why};

/// What a reload needs: how the configuration was read, and what it is applied to.
pub(super) struct Parts {
    pub(super) flags: Flags,
    pub(super) environment: Environment,
    /// As of the start.
    pub(super) config: Config,
    pub(super) cache: Cache,
    pub(super) upstream: Arc<Runtime>,
    pub(super) server: Control,
    pub(super) notices: Notices,
    /// Descriptors that the process may have.
    pub(super) descriptors: u64,
}

/// Told by the thread that reloads, before and after each reload that somebody asked for and may wait for, however it
/// ends: what a service manager is to know. One by itself is nobody's business: most find nothing changed.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum Moment {
    /// A configuration is about to be read.
    Begun,
    /// It is in force, or the last good one still is.
    Ended,
}

/// Reloads as long as it lives.
pub(super) struct Reload {
    bell: Arc<Bell>,
    _hangups: AbortOnDropHandle<()>,
}

/// What is in force, and how another comes to be.
struct Applier {
    parts: Parts,
    /// What is in force.
    config: Config,
    /// Of the newest configuration; none if it is in force.
    problems: Vec<String>,
}

/// Begins to follow the files of a configuration, and to reload at each `hangup`. `tell` is called at each [`Moment`].
///
/// # Errors
/// When the machine gives no thread.
pub(super) fn begin(
    parts: Parts,
    mut hangup: Signal,
    tell: impl Fn(Moment) + Send + 'static,
) -> Result<Reload> {
    let failed = |error| Error::new(Kind::Internal, "follow the configuration").because(error);
    let bell = Arc::new(Bell::default());
    let asked = Arc::clone(&bell);
    let hangups = tokio::spawn(async move {
        while hangup.recv().await.is_some() {
            asked.ask();
        }
    });
    let rings = Arc::clone(&bell);
    let follow = move || {
        let mut watch =
            Watch::new(Arc::clone(&rings), parts.config.files(&parts.flags, &parts.environment), POLL, true);
        let config = parts.config.clone();
        let mut applier = Applier { parts, config, problems: Vec::new() };
        loop {
            let why = watch.next();
            if why == Why::End {
                return;
            }
            let is_awaited = why == Why::Asked;
            if is_awaited {
                tell(Moment::Begun);
            }
            applier.reload(&mut watch, why, &rings);
            if is_awaited {
                tell(Moment::Ended);
            }
        }
    };
    std::thread::Builder::new().name("larder-reload".into()).spawn(follow).map_err(failed)?;
    Ok(Reload { bell, _hangups: AbortOnDropHandle::new(hangups) })
}

// === impl Applier ===

impl Applier {
    fn reload(&mut self, watch: &mut Watch, why: Why, bell: &Bell) {
        let parts = &self.parts;
        // A default file that was read is one that is named: without it nothing falls back to the defaults.
        let config = parts.flags.config.clone().or_else(|| self.config.file.clone());
        let flags = Flags { config, ..parts.flags.clone() };
        let (files, loaded) = Config::load_again(&flags, &parts.environment);
        watch.set(files);
        if bell.has_ended() {
            return;
        }
        let applied = match loaded {
            Ok(config) => self.apply(config, why).map_err(|error| vec![error.to_string()]),
            Err(problems) => Err(problems.iter().map(Problem::to_string).collect()),
        };
        if let Err(problems) = applied {
            self.refuse(problems);
        }
    }

    /// What is wrong is said once, however often it is found.
    fn refuse(&mut self, problems: Vec<String>) {
        for problem in problems.iter().filter(|problem| !self.problems.contains(problem)) {
            tracing::error!(
                "the changed configuration is refused and the last good one stays in force: {problem}"
            );
        }
        self.parts.notices.refused(problems.clone());
        self.problems = problems;
    }

    fn apply(&mut self, mut config: Config, why: Why) -> Result<()> {
        let parts = &self.parts;
        let mut changed = self.config.said.changed(&config.said);
        if config.tokens != self.config.tokens && !changed.iter().any(|key| key == "access.tokens") {
            changed.push("access.tokens".into());
        }
        let replaced = self.config.replaced_certificates(&config)?;
        changed.extend(replaced.into_iter().filter(|key| !changed.contains(key)).collect::<Vec<_>>());
        if changed.is_empty() && self.problems.is_empty() && why == Why::Changed {
            return Ok(());
        }
        let needs_restart = parts.config.said.changed_for_start(&config.said);
        // These are as they were at start, whatever is said now.
        config.folders = parts.config.folders.clone();
        let remotes = parts::remotes(&config, Some(&parts.cache), &parts.upstream)?;
        logging::set_filter(&config.log_filter)?;

        let ids: Vec<UpstreamId> = remotes.iter().map(|remote| remote.id()).collect();
        let notices = parts.notices.clone();
        let server = Settings { notices, ..super::server_settings(&config, parts.descriptors, &ids) };
        let (cache, stores) = parts::bounds(&config);
        // What is new upstream is there before somebody is sent to it. What is gone is nowhere from then on.
        parts.cache.apply(cache, [&stores[0], &stores[1]], remotes);
        parts.server.apply(&server);
        parts
            .notices
            .applied(config.file.as_ref().map(|file| file.display().to_string()), needs_restart.clone());

        let changed = if changed.is_empty() { "nothing".into() } else { changed.join(", ") };
        tracing::info!(changed, "the configuration is applied");
        if !needs_restart.is_empty() {
            tracing::warn!("changed, and counts from the next start on: {}", needs_restart.join(", "));
        }
        super::warn_of_idle(&config);
        self.config = config;
        self.problems = Vec::new();
        Ok(())
    }
}

impl Drop for Reload {
    fn drop(&mut self) {
        self.bell.end();
    }
}
