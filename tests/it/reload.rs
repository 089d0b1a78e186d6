//! The configuration is changed while the daemon runs: in every way in which files are changed, to everything that can
//! be said in it, and to what is wrong.

mod broken;
mod effects;
mod random;
mod styles;

use std::fs;
use std::path::Path;

use crate::support::daemon::Daemon;
use crate::support::http::Request;
use crate::support::setup::Setup;
use crate::support::{PATIENCE, eventually, until};

/// A daemon with this configuration, and a name that shows which one is in force.
fn start(name: &str, text: &str) -> Daemon {
    Setup::new().config(&marked(name, text)).start()
}

/// A configuration that lets in a `Host` of its own.
fn marked(name: &str, text: &str) -> String {
    format!("allow_hosts = [\"{name}.test\"]\n{text}")
}

/// Whether the configuration of this name is in force.
fn is_in_force(daemon: &Daemon, name: &str) -> bool {
    daemon.send(Request::get("/-/healthz").header("host", format!("{name}.test"))).status() == 200
}

/// Replaces a file in one step, as most editors do.
fn replace(path: &Path, text: &str) {
    let new = path.with_extension("new");
    fs::write(&new, text).expect("a temporary file");
    fs::rename(&new, path).expect("our own file");
}

/// Changes the configuration and waits until it is in force, whole.
#[track_caller]
fn change(daemon: &Daemon, name: &str, text: &str) {
    replace(&daemon.setup().config_path(), &marked(name, text));
    until_in_force(daemon, name);
}

#[track_caller]
fn until_in_force(daemon: &Daemon, name: &str) {
    until(&format!("{name} is in force"), PATIENCE, || is_in_force(daemon, name));
    // The last that is said of it.
    until("it is said to be", PATIENCE, || problems(daemon).is_empty());
}

/// What is said to be wrong with the newest configuration.
#[track_caller]
fn problems(daemon: &Daemon) -> Vec<String> {
    let stats = daemon.stats();
    let list = stats.pointer("/configuration/problems").and_then(|list| list.as_array().cloned());
    list.unwrap_or_default().iter().filter_map(|words| words.as_str().map(str::to_owned)).collect()
}

/// Waits until a problem has these words, and returns it.
#[track_caller]
fn until_refused(daemon: &Daemon, words: &[&str]) -> String {
    eventually(&format!("{words:?} are said"), PATIENCE, || {
        problems(daemon).into_iter().find(|problem| words.iter().all(|word| problem.contains(word)))
    })
}
