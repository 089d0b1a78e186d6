//! The daemon and its admin socket: does it run, does it answer, is it this version, is its configuration the newest.

use std::path::{Path, PathBuf};
use std::time::Duration;

use hyper::Method;

use super::ask::{self, Silence};
use super::finding::Finding;
use super::machine::{self, Process, Seen};
use super::stats::Stats;
use crate::server::user_name;

/// An answer that takes no thought.
const HEALTH: Duration = Duration::from_secs(2);
/// One that waits for the index.
const STATS: Duration = Duration::from_secs(4);

/// What was seen.
#[derive(Debug)]
pub(super) struct Facts {
    pub(super) socket: PathBuf,
    pub(super) found: Option<Seen>,
    /// The folder around it.
    pub(super) around: Option<Seen>,
    pub(super) state: State,
    /// Who has the lock of the state folder.
    pub(super) holder: Option<Process>,
    pub(super) own_uid: u32,
    /// The configuration file that was looked at.
    pub(super) file: Option<PathBuf>,
}

/// How the daemon is.
#[derive(Debug)]
pub(super) enum State {
    Absent,
    /// This user may not ask.
    Forbidden,
    /// It took the connection, and nothing else.
    Hangs(Option<Process>),
    /// It answers, and doesn't say how it is.
    Busy(Option<Process>),
    /// Something else answers, in words.
    Other(String),
    Running(Box<Stats>),
}

// === impl Facts ===

impl Facts {
    /// Asks the daemon of these folders.
    pub(super) async fn look(socket: &Path, state: &Path, file: Option<PathBuf>) -> Self {
        let (pid, health) = ask::unix(socket, Method::GET, "/-/healthz", HEALTH).await;
        let process = pid.and_then(machine::process);
        let how = match health {
            Err(Silence::Nobody) => State::Absent,
            Err(Silence::Forbidden) => State::Forbidden,
            Err(Silence::Hangs) => State::Hangs(process),
            Err(Silence::Broken(words)) => State::Other(words),
            Ok(reply) if reply.status == 403 => State::Forbidden,
            Ok(reply) if reply.status == 200 => {
                match ask::unix(socket, Method::GET, "/-/stats", STATS).await.1 {
                    Ok(reply) => match serde_json::from_slice(&reply.body) {
                        Ok(stats) => State::Running(Box::new(stats)),
                        Err(error) => State::Other(format!("its statistics can't be read: {error}")),
                    },
                    Err(Silence::Hangs) => State::Busy(process),
                    Err(silence) => State::Other(format!("{silence:?}")),
                }
            }
            Ok(reply) => State::Other(format!("it answers {}: {}", reply.status, reply.words())),
        };
        Self {
            socket: socket.to_path_buf(),
            found: machine::look(socket),
            around: socket.parent().and_then(machine::look),
            state: how,
            holder: machine::lock_holder(state),
            own_uid: machine::own_uid(),
            file,
        }
    }

    /// Its statistics, if it answers.
    pub(super) fn stats(&self) -> Option<&Stats> {
        match &self.state {
            State::Running(stats) => Some(stats),
            _ => None,
        }
    }

    /// Whether somebody is behind the socket.
    pub(super) fn runs(&self) -> bool {
        !matches!(self.state, State::Absent)
    }

    pub(super) fn findings(&self) -> Vec<Finding> {
        let mut findings = vec![self.daemon()];
        if let State::Running(stats) = &self.state {
            findings.extend(stats.findings());
            findings.extend(stats.configuration.findings(self.file.as_deref()));
        }
        findings.extend(self.socket());
        findings
    }

    fn daemon(&self) -> Finding {
        const CHECK: &str = "daemon";
        let socket = self.socket.display();
        let who = |process: &Option<Process>| match process {
            Some(process) => format!("pid {} ({})", process.pid, process.program),
            None => "it".into(),
        };
        match &self.state {
            State::Absent => match &self.holder {
                Some(Process { pid, program, .. }) => Finding::problem(
                    CHECK,
                    format!("no daemon answers on {socket}, but pid {pid} ({program}) has the state folder"),
                    format!(
                        "if it is starting, wait; else end it (`kill {pid}`) and start `larder serve` again: without its \
                         socket no command reaches it"
                    ),
                ),
                None => Finding::problem(
                    CHECK,
                    format!("no daemon answers on {socket}"),
                    "start it with `larder serve`; or, if it has another folder, say so with --dir or --config",
                ),
            },
            State::Forbidden => Finding::problem(
                CHECK,
                format!("this user may not ask the daemon on {socket}, which belongs to {}", self.owner()),
                "run this as that user or root; to share the cache itself, name this user in `access.users`",
            ),
            State::Hangs(process) if process.as_ref().is_some_and(|process| process.stopped) => {
                Finding::problem(
                    CHECK,
                    format!(
                        "{} is stopped by a signal (SIGSTOP, or Ctrl-Z), so that it answers nothing",
                        who(process)
                    ),
                    match process {
                        Some(process) => format!("`kill -CONT {}`", process.pid),
                        None => "continue it".into(),
                    },
                )
            }
            State::Hangs(process) => Finding::problem(
                CHECK,
                format!(
                    "{} hangs: it takes the connection on {socket} and doesn't answer within {} s",
                    who(process),
                    HEALTH.as_secs()
                ),
                "look at its log and its folders' disk; then end it (`kill`, at last `kill -9`: nothing that is queued is \
                 lost) and start it again",
            ),
            State::Busy(process) => Finding::warning(
                CHECK,
                format!("{} lives, and doesn't say how it is within {} s", who(process), STATS.as_secs()),
                "if it has just started, wait until its index is read; else look at its log and its folders' disk",
            ),
            State::Other(words) => Finding::problem(
                CHECK,
                format!("what answers on {socket} is no daemon of this kind: {words}"),
                "end what has that socket, or give the daemon another --dir",
            ),
            State::Running(stats) => Finding::ok(
                CHECK,
                format!(
                    "pid {}, version {}, up for {}",
                    stats.pid,
                    stats.version,
                    machine::span(stats.uptime_s)
                ),
            ),
        }
    }

    fn owner(&self) -> String {
        let owner = self.found.as_ref().or(self.around.as_ref());
        owner.map_or_else(|| "another user".into(), |seen| format!("user {}", user_name(seen.uid)))
    }
}

#[cfg(test)]
mod tests {
    use super::super::finding::Level;
    use super::*;

    fn facts(state: State) -> Facts {
        let seen = |mode, is_dir| Seen { is_dir, is_socket: !is_dir, mode, uid: 4242, device: 1 };
        Facts {
            socket: "/run/user/4242/larder/larder.sock".into(),
            found: Some(seen(0o600, false)),
            around: Some(seen(0o700, true)),
            state,
            holder: None,
            own_uid: 4242,
            file: None,
        }
    }

    fn running(stats: serde_json::Value) -> Facts {
        facts(State::Running(Box::new(serde_json::from_value(stats).expect("statistics"))))
    }

    fn own(mut stats: serde_json::Value) -> serde_json::Value {
        stats["version"] = env!("CARGO_PKG_VERSION").into();
        stats["ready"] = true.into();
        stats
    }

    /// The only finding that isn't ok.
    #[track_caller]
    fn one(facts: &Facts) -> Finding {
        let mut all: Vec<_> = facts.findings().into_iter().filter(|one| one.level != Level::Ok).collect();
        assert_eq!(all.len(), 1, "{all:#?}");
        all.remove(0)
    }

    #[test]
    fn a_daemon_as_it_should_be() {
        let facts = running(own(serde_json::json!({"pid": 12, "uptime_s": 240})));
        assert!(facts.findings().iter().all(|one| one.level == Level::Ok), "{:#?}", facts.findings());
        assert!(facts.findings()[0].words.contains("pid 12") && facts.findings()[0].words.contains("4 min"));
    }

    #[test]
    fn versions_replays_warnings_and_configurations_are_told() {
        let of = |stats: serde_json::Value| one(&running(stats));
        let other = of(serde_json::json!({"version": "99.0.0", "ready": true}));
        assert!(other.words.contains("99.0.0") && other.words.contains(env!("CARGO_PKG_VERSION")));
        let mut starting = own(serde_json::json!({}));
        starting["ready"] = false.into();
        assert!(of(starting).words.contains("index"));
        let warns =
            of(own(serde_json::json!({"warnings": {"disk": {"words": "it is full", "since_ms": 1}}})));
        assert_eq!(warns.remedy.as_deref(), Some("it is full"));
        let refused =
            of(own(serde_json::json!({"configuration": {"problems": ["x.toml:3:1: `disk`: too small"]}})));
        assert_eq!((refused.check, refused.level), ("configuration", Level::Problem));
        assert!(refused.words.contains("x.toml:3:1"));
        let pending = of(own(serde_json::json!({"configuration": {"needs_restart": ["dir", "listen"]}})));
        assert!(pending.words.contains("dir, listen"));
        let another = of(own(serde_json::json!({"configuration": {"file": "/etc/larder.toml"}})));
        assert!(another.words.contains("/etc/larder.toml") && another.words.contains("no file"));
    }

    #[test]
    fn a_silent_daemon_is_named_and_a_stopped_one_continued() {
        let process = |stopped| Some(Process { pid: 44, program: "larder".into(), stopped });
        let stopped = one(&facts(State::Hangs(process(true))));
        assert_eq!(stopped.remedy.as_deref(), Some("`kill -CONT 44`"));
        let hangs = one(&facts(State::Hangs(process(false))));
        assert!(hangs.words.contains("pid 44 (larder) hangs"), "{hangs:?}");
        assert_eq!(one(&facts(State::Busy(process(false)))).level, Level::Warning);
        assert!(one(&facts(State::Other("it answers 200: hello".into()))).words.contains("hello"));
        let forbidden = one(&facts(State::Forbidden));
        assert!(
            forbidden.words.contains("user 4242")
                && forbidden.remedy.is_some_and(|r| r.contains("access.users"))
        );
    }

    #[test]
    fn who_has_the_folder_without_a_socket_is_named() {
        let mut facts = facts(State::Absent);
        facts.found = None;
        assert!(one(&facts).remedy.is_some_and(|remedy| remedy.contains("larder serve")));
        facts.holder = Some(Process { pid: 9, program: "larder".into(), stopped: false });
        assert!(one(&facts).words.contains("pid 9 (larder)"));
    }

    #[test]
    fn sockets() {
        let of = |change: fn(&mut Facts)| {
            let mut facts = running(own(serde_json::json!({})));
            change(&mut facts);
            one(&facts)
        };
        let seen = of(|facts| facts.socket = format!("/{}/larder.sock", "x".repeat(100)).into());
        assert!(seen.words.contains("113 bytes") && seen.words.contains("103"), "{seen:?}");
        let seen = of(|facts| facts.found.as_mut().expect("there").mode = 0o666);
        assert!(seen.words.contains("0666") && seen.remedy.is_some_and(|r| r.contains("chmod 0600")));
        let seen = of(|facts| facts.found.as_mut().expect("there").is_socket = false);
        assert_eq!(seen.level, Level::Problem);
        let seen = of(|facts| facts.around.as_mut().expect("there").mode = 0o777);
        assert!(seen.words.contains("in the daemon's place"));
        let mut sticky = running(own(serde_json::json!({})));
        sticky.around.as_mut().expect("there").mode = 0o1777;
        assert!(sticky.findings().iter().all(|one| one.level == Level::Ok));
        let stale = facts(State::Absent);
        assert!(stale.findings().iter().any(|one| one.check == "socket" && one.words.contains("stale")));
    }
}
