//! What the manager says of the service, and what the daemon says of itself: one line each.

use std::collections::HashMap;
use std::time::{Duration, Instant};

use serde_json::Value;

use super::plan::Runner;
use super::site::{Manager, Site};
use super::systemd::{SERVICE, SOCKET};
use crate::cli::client::{Client, Failed};

/// What the manager says.
#[derive(Debug)]
pub(super) struct Unit {
    /// One line.
    pub(super) words: String,
    /// Asking the daemon starts it: the manager listens in its place.
    pub(super) asleep: bool,
    /// The manager has given up.
    pub(super) failed: bool,
    /// What to do about it.
    pub(super) remedy: Option<String>,
}

/// What the daemon says.
#[derive(Debug)]
pub(super) enum Daemon {
    /// It answers: one line.
    Answers(String),
    /// Nobody is there.
    Absent(String),
    /// Somebody is, and doesn't answer well.
    Sick(String),
}

/// Who doesn't answer a small question by then hangs.
const ANSWER_MAX: Duration = Duration::from_secs(5);

/// Asks the manager.
///
/// # Errors
/// Words, when it doesn't answer.
pub(super) fn unit(site: &Site) -> Result<Unit, String> {
    match site.manager {
        Manager::Systemd => systemd_unit(site),
        Manager::Launchd => launchd_unit(site),
    }
}

fn systemd_unit(site: &Site) -> Result<Unit, String> {
    let service = properties(&site.runner, site.flag(), SERVICE)?;
    let socket = properties(&site.runner, site.flag(), SOCKET)?;
    let of = |unit: &HashMap<String, String>, key: &str| unit.get(key).cloned().unwrap_or_default();
    if of(&service, "LoadState") != "loaded" {
        let words = match of(&service, "LoadState").as_str() {
            "masked" => "is masked (`systemctl unmask`)".to_owned(),
            "not-found" | "" => "is not installed".to_owned(),
            other => format!("can't be loaded: {other}"),
        };
        return Ok(Unit {
            words,
            asleep: false,
            failed: false,
            remedy: Some(format!("`{}`", site.command("install"))),
        });
    }
    let state = |unit: &HashMap<String, String>| {
        let (active, sub) = (of(unit, "ActiveState"), of(unit, "SubState"));
        let result = of(unit, "Result");
        let why = if matches!(result.as_str(), "" | "success") { sub } else { result };
        format!("{active} ({why}), {}", of(unit, "UnitFileState"))
    };
    let mut words = state(&service);
    if !matches!(of(&service, "MainPID").as_str(), "" | "0") {
        words += &format!(", pid {}", of(&service, "MainPID"));
    }
    if !matches!(of(&service, "NRestarts").as_str(), "" | "0") {
        words += &format!(", restarted {} times", of(&service, "NRestarts"));
    }
    if !of(&service, "StatusText").is_empty() {
        words += &format!(", “{}”", of(&service, "StatusText"));
    }
    words += &format!("; sockets {}", state(&socket));
    let active = |unit: &HashMap<String, String>| of(unit, "ActiveState") == "active";
    let failed = [&service, &socket].iter().any(|unit| of(unit, "ActiveState") == "failed");
    let remedy = if failed {
        Some(format!("{}; then `{}`", site.log_hint(), site.command("start")))
    } else if !active(&service) && !active(&socket) {
        Some(format!("`{}`", site.command("start")))
    } else {
        None
    };
    let asleep = active(&socket) && of(&service, "ActiveState") == "inactive";
    Ok(Unit { words, asleep, failed, remedy })
}

fn properties(runner: &Runner, flag: &str, unit: &str) -> Result<HashMap<String, String>, String> {
    const WANTED: &str =
        "--property=LoadState,ActiveState,SubState,Result,UnitFileState,MainPID,NRestarts,StatusText";
    let said = runner
        .ask(["systemctl", flag, "show", WANTED, unit])
        .map_err(|error| format!("failed to run systemctl: {error}"))?;
    if !said.success {
        return Err(format!("systemd doesn't answer: {}", said.err.trim()));
    }
    let pairs = said.out.lines().filter_map(|line| line.split_once('='));
    Ok(pairs.map(|(key, value)| (key.to_owned(), value.to_owned())).collect())
}

fn launchd_unit(site: &Site) -> Result<Unit, String> {
    let said = site
        .runner
        .ask(["launchctl", "print", &site.target()])
        .map_err(|error| format!("failed to run launchctl: {error}"))?;
    if !said.success {
        let remedy = Some(format!("`{}`, or `{}`", site.command("start"), site.command("install")));
        return Ok(Unit { words: "is not loaded".into(), asleep: false, failed: false, remedy });
    }
    let value = |key: &str| {
        let lines = said.out.lines().map(str::trim);
        lines
            .filter_map(|line| line.split_once(" = "))
            .find(|(found, _)| *found == key)
            .map(|(_, value)| value)
    };
    let mut words = value("state").unwrap_or("loaded").to_owned();
    if let Some(pid) = value("pid") {
        words += &format!(", pid {pid}");
    }
    if let Some(code) = value("last exit code").filter(|code| !code.starts_with("(never")) {
        words += &format!(", last exit code {code}");
    }
    Ok(Unit { words, asleep: false, failed: false, remedy: None })
}

/// Asks the daemon.
pub(super) async fn daemon(site: &Site) -> Daemon {
    let client = Client::new(&site.socket);
    match tokio::time::timeout(ANSWER_MAX, client.json::<Value>("/-/stats")).await {
        Ok(Ok(page)) => Daemon::Answers(words(&page)),
        Ok(Err(Failed::NotRunning(_))) => {
            Daemon::Absent(format!("no daemon answers on {}", site.socket.display()))
        }
        Ok(Err(Failed::Other(words))) => Daemon::Sick(words),
        Err(_) => Daemon::Sick(format!(
            "it takes connections and has not answered for {} s: it hangs; `{}`",
            ANSWER_MAX.as_secs(),
            site.command("restart")
        )),
    }
}

/// Waits until the daemon answers; its line.
///
/// # Errors
/// What was seen last, when it doesn't by the deadline or the manager has given up.
pub(super) async fn answering(site: &Site, deadline: Duration) -> Result<String, String> {
    const LOOK_AGAIN: Duration = Duration::from_millis(50);
    let begun = Instant::now();
    loop {
        match daemon(site).await {
            Daemon::Answers(words) => return Ok(words),
            Daemon::Absent(words) | Daemon::Sick(words) if begun.elapsed() >= deadline => {
                return Err(format!("the service was started, and after {} s {words}", deadline.as_secs()));
            }
            Daemon::Absent(_) | Daemon::Sick(_) => {}
        }
        match unit(site) {
            Ok(Unit { failed: true, words, remedy, .. }) => {
                return Err(format!("the service {words}; {}", remedy.unwrap_or_default()));
            }
            // Asked again with the daemon.
            Ok(_) | Err(_) => tokio::time::sleep(LOOK_AGAIN).await,
        }
    }
}

/// How much is queued, by the daemon's own words.
///
/// # Errors
/// Why it can't be told.
pub(super) async fn queued(site: &Site) -> Result<u64, String> {
    let client = Client::new(&site.socket);
    match tokio::time::timeout(ANSWER_MAX, client.json::<Value>("/-/queue?limit=0")).await {
        Ok(Ok(page)) => {
            page["queue"]["entries"].as_u64().ok_or_else(|| "the daemon is of another version".into())
        }
        Ok(Err(Failed::NotRunning(words) | Failed::Other(words))) => Err(words),
        Err(_) => Err("the daemon doesn't answer".into()),
    }
}

/// The daemon in one line.
fn words(page: &Value) -> String {
    let number = |key: &str| page[key].as_u64().unwrap_or(0);
    let ready = if page["ready"].as_bool() == Some(false) { "reading its index" } else { "ready" };
    let mut words = format!(
        "larder {}, {ready}, pid {}, up for {}, {} connections",
        page["version"].as_str().unwrap_or("of an unknown version"),
        number("pid"),
        span(number("uptime_s")),
        number("connections"),
    );
    if let Some(entries) = page["queue"]["entries"].as_u64() {
        words += &format!(", {entries} queued");
    }
    match page["warnings"].as_array().map_or(0, Vec::len) {
        0 => {}
        1 => words += ", 1 warning",
        count => words += &format!(", {count} warnings"),
    }
    words
}

fn span(seconds: u64) -> String {
    match seconds {
        0..120 => format!("{seconds} s"),
        120..7200 => format!("{} min", seconds / 60),
        7200..172_800 => format!("{} h", seconds / 3600),
        _ => format!("{} d", seconds / 86_400),
    }
}

#[cfg(test)]
mod tests {
    use serde_json::json;

    use super::*;

    #[test]
    fn the_daemon_is_one_line() {
        let page = json!({
            "version": "1.2.3", "ready": true, "pid": 7, "uptime_s": 7300, "connections": 3,
            "queue": { "entries": 5 }, "warnings": [{}, {}],
        });
        assert_eq!(
            words(&page),
            "larder 1.2.3, ready, pid 7, up for 2 h, 3 connections, 5 queued, 2 warnings"
        );
        let page = json!({ "ready": false });
        assert_eq!(
            words(&page),
            "larder of an unknown version, reading its index, pid 0, up for 0 s, 0 connections"
        );
    }
}
