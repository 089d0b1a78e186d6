//! The service under launchd: the property lists of `launchd/`, which are in this binary, and the calls of `launchctl`.
//!
//! launchd hands sockets over by a call of its own library only, so the daemon binds them itself: while it is being
//! replaced, connections are refused.

use std::path::{Path, PathBuf};

use super::Refused;
use super::escape::xml_text;
use super::plan::Step;
use super::site::Site;
use super::systemd::{Wanted, removing, writing};
use super::written::{Comment, marked};

const AGENT: &str = include_str!("../../../launchd/larder.agent.plist");
const DAEMON: &str = include_str!("../../../launchd/larder.daemon.plist");

/// What stands in the files of the repository for what is filled in.
const PACKAGED: &str = "/usr/local/bin/larder";
const LOGS: &str = "/Users/you/Library/Logs";
const LABEL: &str = "larder";
/// The folder of the machine's service.
const FOLDER: &str = "/var/db/larder";
const ACCOUNT: &str = "_larder";

// === impl Site ===

impl Site {
    fn plist(&self) -> PathBuf {
        if self.system {
            "/Library/LaunchDaemons/larder.plist".into()
        } else {
            self.home.join("Library/LaunchAgents/larder.plist")
        }
    }

    fn domain(&self) -> String {
        if self.system { "system".into() } else { format!("gui/{}", self.uid) }
    }

    /// The service, as `launchctl` names it.
    pub(super) fn target(&self) -> String {
        format!("{}/{LABEL}", self.domain())
    }

    fn log(&self) -> PathBuf {
        if self.system {
            Path::new(FOLDER).join("larder.log")
        } else {
            self.home.join("Library/Logs/larder.log")
        }
    }

    fn launchd_hint(&self) -> String {
        format!("{} has what it said", self.log().display())
    }
}

/// The property list, for the program at `binary`.
///
/// # Errors
/// When no property list can name it.
pub(super) fn plist(site: &Site, binary: &Path) -> Result<Vec<Wanted>, Refused> {
    let text = |path: &Path| xml_text(path).map_err(Refused::failed);
    let template = if site.system { DAEMON } else { AGENT };
    let filled = template
        .replace(LOGS, &text(&site.home.join("Library/Logs"))?)
        .replace(&format!("<string>{PACKAGED}<"), &format!("<string>{}<", text(binary)?));
    Ok(vec![Wanted { path: site.plist(), text: marked(&filled, Comment::Xml) }])
}

/// What installing takes; `files` are [`plist`].
///
/// # Errors
/// When a file there isn't ours to replace.
pub(super) fn install(site: &Site, files: Vec<Wanted>, force: bool) -> Result<Vec<Step>, Refused> {
    let (changed, writes) = writing(files, force)?;
    let mut steps = Vec::new();
    if site.system {
        let remedy = "the account is missing? docs/service.md, macOS, says how it is made";
        let owned = ["", "/cache", "/state", "/run"].map(|folder| format!("{FOLDER}{folder}"));
        let [top, cache, state, run] = &owned;
        let call = ["install", "-d", "-o", ACCOUNT, "-g", ACCOUNT, "-m", "0700", top, cache, state, run];
        steps.push(Step::run(call, remedy));
        steps.push(Step::Folder("/etc/larder".into()));
    }
    steps.extend(writes);
    if changed {
        steps.push(Step::try_run(["launchctl", "bootout", &site.target()]));
    }
    steps.extend(start(site));
    Ok(steps)
}

/// What uninstalling takes; nothing when nothing is installed.
///
/// # Errors
/// When a file there isn't ours to remove.
pub(super) fn uninstall(site: &Site, force: bool) -> Result<Vec<Step>, Refused> {
    let files = removing(&[site.plist()], force)?;
    if files.is_empty() {
        return Ok(files);
    }
    let mut steps = vec![Step::try_run(["launchctl", "bootout", &site.target()])];
    steps.extend(files);
    steps.push(Step::Remove(site.log()));
    if site.system {
        steps.push(Step::RemoveEmpty(Path::new(FOLDER).join("run")));
        steps.push(Step::RemoveEmpty("/etc/larder".into()));
    }
    Ok(steps)
}

/// What a purge takes besides the daemon's folders: the one around them.
pub(super) fn purge_folder(site: &Site) -> Option<Step> {
    (site.system && Path::new(FOLDER).exists()).then(|| Step::RemoveEmpty(FOLDER.into()))
}

/// What starting takes. It may be loaded already, which `bootstrap` calls a failure.
pub(super) fn start(site: &Site) -> Vec<Step> {
    let plist = site.plist().display().to_string();
    vec![
        Step::try_run(["launchctl", "enable", &site.target()]),
        Step::try_run(["launchctl", "bootstrap", &site.domain(), &plist]),
        Step::run(["launchctl", "kickstart", &site.target()], site.launchd_hint()),
    ]
}

/// What stopping takes: unloading it, for launchd starts again what it keeps alive.
pub(super) fn stop(site: &Site) -> Vec<Step> {
    vec![Step::run(["launchctl", "bootout", &site.target()], "it may not have been started")]
}

/// What replacing the running process takes.
pub(super) fn restart(site: &Site) -> Vec<Step> {
    vec![Step::run(["launchctl", "kickstart", "-k", &site.target()], site.launchd_hint())]
}

/// Whether there is a manager that can be asked.
///
/// # Errors
/// Why not.
pub(super) fn reach(site: &Site) -> Result<(), Refused> {
    match site.runner.ask(["launchctl", "print", &site.domain()]) {
        Ok(said) if said.success => Ok(()),
        Ok(said) => Err(Refused::failed(format!(
            "launchd doesn't answer for {}: {}; sign in at the desktop, or install with --system",
            site.domain(),
            said.err.trim()
        ))),
        Err(error) => Err(Refused::failed(format!("failed to run launchctl, is this macOS? {error}"))),
    }
}
