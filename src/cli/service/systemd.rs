//! The service under systemd: the files of `systemd/`, which are in this binary, and the calls of `systemctl`.

use std::path::{Path, PathBuf};

use super::Refused;
use super::escape::exec_word;
use super::plan::{Failing, Run, Step};
use super::site::Site;
use super::written::{Comment, Found, look, marked};

/// A file that is installed.
#[derive(Debug)]
pub(super) struct Wanted {
    pub(super) path: PathBuf,
    pub(super) text: String,
}

const USER_SERVICE: &str = include_str!("../../../systemd/user/larder.service");
const USER_SOCKET: &str = include_str!("../../../systemd/user/larder.socket");
const SYSTEM_SERVICE: &str = include_str!("../../../systemd/system/larder.service");
const SYSTEM_SOCKET: &str = include_str!("../../../systemd/system/larder.socket");
const SYSUSERS: &str = include_str!("../../../systemd/larder.sysusers");

/// The program in the files as they are in the repository, where packages have it.
const PACKAGED: &str = "/usr/bin/larder";
pub(super) const SERVICE: &str = "larder.service";
pub(super) const SOCKET: &str = "larder.socket";
const SYSUSERS_PATH: &str = "/etc/sysusers.d/larder.conf";
const LINGERING: &str = "# Lingering was turned on with the service, and is turned off with it.\n";

// === impl Site ===

impl Site {
    fn unit_folder(&self) -> PathBuf {
        if self.system { "/etc/systemd/system".into() } else { self.config_home.join("systemd/user") }
    }

    /// `systemctl`'s own flag.
    pub(super) fn flag(&self) -> &'static str {
        if self.system { "--system" } else { "--user" }
    }

    /// Says in a drop-in that lingering was turned on by us.
    fn linger_record(&self) -> PathBuf {
        self.unit_folder().join("larder.service.d/lingering.conf")
    }

    /// Why the log must be looked at, and how.
    pub(super) fn log_hint(&self) -> String {
        let command = if self.system { "journalctl -u larder" } else { "journalctl --user -u larder" };
        format!("`{command} -n 20` shows what it said")
    }
}

/// The units, for the program at `binary`.
///
/// # Errors
/// When no unit can name it.
pub(super) fn units(site: &Site, binary: &Path) -> Result<Vec<Wanted>, Refused> {
    let word = exec_word(binary).map_err(Refused::failed)?;
    let (service, socket) =
        if site.system { (SYSTEM_SERVICE, SYSTEM_SOCKET) } else { (USER_SERVICE, USER_SOCKET) };
    let service = service.replace(&format!("ExecStart={PACKAGED} "), &format!("ExecStart={word} "));
    let folder = site.unit_folder();
    let file = |name: &str, text: &str| Wanted { path: folder.join(name), text: marked(text, Comment::Hash) };
    Ok(vec![file(SOCKET, &without_missing_families(socket)), file(SERVICE, &service)])
}

/// A socket unit fails as a whole when one of its addresses is of a family that the kernel doesn't have.
fn without_missing_families(socket: &str) -> String {
    if cfg!(target_os = "linux") && !Path::new("/proc/net/if_inet6").exists() {
        return socket.replace("ListenStream=[::1]:5273\n", "");
    }
    socket.to_owned()
}

/// What installing takes; `files` are [`units`].
///
/// # Errors
/// When a file there isn't ours to replace.
pub(super) fn install(
    site: &Site,
    files: Vec<Wanted>,
    force: bool,
    linger: bool,
) -> Result<Vec<Step>, Refused> {
    let mut steps = Vec::new();
    if site.system {
        let wanted = Wanted { path: SYSUSERS_PATH.into(), text: marked(SYSUSERS, Comment::Hash) };
        steps.extend(writing(vec![wanted], force)?.1);
        let remedy = "make the account by hand: `useradd --system --home-dir /var/lib/larder larder`, and run this again";
        let failing = if account().is_some() { Failing::IsFine } else { Failing::Stops(remedy.to_owned()) };
        steps.push(Step::Run(Run::new(["systemd-sysusers", SYSUSERS_PATH], failing)));
        steps.push(Step::Folder("/etc/larder".into()));
    }
    let (changed, writes) = writing(files, force)?;
    steps.extend(writes);
    if linger && !site.system && !lingers(site) {
        let words = format!(
            "the daemon ends when {0} signs out, and starts when {0} signs in: `sudo loginctl enable-linger {0}` keeps it",
            site.name
        );
        steps.push(Step::RunAndRecord {
            run: Run::new(
                ["loginctl", "--no-ask-password", "enable-linger", &site.name],
                Failing::Warns(words),
            ),
            path: site.linger_record(),
            text: marked(LINGERING, Comment::Hash),
        });
    }
    let flag = site.flag();
    if changed {
        steps.push(Step::run(["systemctl", flag, "daemon-reload"], "run this again"));
    }
    let folder = site.unit_folder();
    let remedy = format!(
        "does the manager read {}? It doesn't, if XDG_CONFIG_HOME is set here only",
        folder.display()
    );
    steps.push(Step::run(["systemctl", flag, "enable", SOCKET, SERVICE], remedy));
    steps.push(Step::run(["systemctl", flag, "start", SOCKET], sockets_remedy(site)));
    Ok(steps)
}

fn sockets_remedy(site: &Site) -> String {
    let journal =
        if site.system { "journalctl -u larder.socket" } else { "journalctl --user -u larder.socket" };
    format!(
        "`{journal} -n 20` has the reason. Is the port taken, by another user's larder for one? `ss -ltn sport = :5273`; \
         one for all users is `sudo larder service install --system`"
    )
}

/// What writing these files takes, and whether anything changes.
pub(super) fn writing(files: Vec<Wanted>, force: bool) -> Result<(bool, Vec<Step>), Refused> {
    let mut changed = false;
    let mut steps = Vec::new();
    for Wanted { path, text } in files {
        match look(&path, &text).map_err(Refused::failed)? {
            Found::Same => {
                steps.push(Step::Note(format!("already as wanted: {}", path.display())));
                continue;
            }
            Found::Edited if !force => {
                return Err(Refused::failed(format!(
                    "{} was edited by hand; keep such changes in a drop-in (docs/service.md), or replace it with --force",
                    path.display()
                )));
            }
            Found::Foreign if !force => {
                return Err(Refused::failed(format!(
                    "{} was not written by `larder service install`; move it away, or replace it with --force",
                    path.display()
                )));
            }
            Found::Absent | Found::Ours | Found::Edited | Found::Foreign => {}
        }
        changed = true;
        steps.push(Step::Write { path, text });
    }
    Ok((changed, steps))
}

/// What removing these files takes; empty when none is there.
pub(super) fn removing(paths: &[PathBuf], force: bool) -> Result<Vec<Step>, Refused> {
    let mut steps = Vec::new();
    for path in paths {
        match look(path, "").map_err(Refused::failed)? {
            Found::Absent => continue,
            Found::Edited | Found::Foreign | Found::Same if !force => {
                return Err(Refused::failed(format!(
                    "{} is not as `larder service install` wrote it; remove it by hand, or here with --force",
                    path.display()
                )));
            }
            Found::Ours | Found::Edited | Found::Foreign | Found::Same => {}
        }
        steps.push(Step::Remove(path.clone()));
    }
    Ok(steps)
}

/// What uninstalling takes; nothing when nothing is installed.
///
/// # Errors
/// When a file there isn't ours to remove.
pub(super) fn uninstall(site: &Site, force: bool) -> Result<Vec<Step>, Refused> {
    let folder = site.unit_folder();
    let units = removing(&[folder.join(SOCKET), folder.join(SERVICE)], force)?;
    let record = site.linger_record();
    let lingering = removing(std::slice::from_ref(&record), force)?;
    let flag = site.flag();
    let mut steps = Vec::new();
    if !units.is_empty() {
        let call = ["systemctl", flag, "disable", "--now", SOCKET, SERVICE];
        steps.push(if force {
            Step::try_run(call)
        } else {
            Step::run(call, "with --force the files go all the same")
        });
        steps.extend(units);
        if force {
            // `disable` does it, where there is somebody who does.
            steps.push(Step::Remove(folder.join("sockets.target.wants").join(SOCKET)));
            let target = if site.system { "multi-user.target.wants" } else { "default.target.wants" };
            steps.push(Step::Remove(folder.join(target).join(SERVICE)));
        }
    }
    if !lingering.is_empty() {
        let words =
            format!("lingering of {0} stays on: `sudo loginctl disable-linger {0}` ends it", site.name);
        let call = ["loginctl", "--no-ask-password", "disable-linger", &site.name];
        steps.push(Step::Run(Run::new(call, Failing::Warns(words))));
        steps.extend(lingering);
    }
    if steps.is_empty() {
        return Ok(steps);
    }
    steps.push(Step::RemoveEmpty(folder.join("larder.service.d")));
    if site.system {
        steps.extend(removing(&[SYSUSERS_PATH.into()], force)?);
        steps.push(Step::RemoveEmpty("/run/larder".into()));
        steps.push(Step::RemoveEmpty("/etc/larder".into()));
    } else {
        let wants = ["sockets.target.wants", "default.target.wants"].map(|name| folder.join(name));
        steps.extend(wants.map(Step::RemoveEmpty));
        let above = folder.parent().map(Path::to_path_buf);
        steps.push(Step::RemoveEmpty(folder));
        steps.extend(above.map(Step::RemoveEmpty));
        steps.extend(
            site.socket
                .parent()
                .filter(|path| path.ends_with("larder"))
                .map(|path| Step::RemoveEmpty(path.to_path_buf())),
        );
    }
    steps.push(Step::try_run(["systemctl", flag, "daemon-reload"]));
    steps.push(Step::try_run(["systemctl", flag, "reset-failed", SOCKET, SERVICE]));
    Ok(steps)
}

/// What a purge takes besides the folders: the account, if we made it.
pub(super) fn purge_account(site: &Site) -> Option<Step> {
    let users = std::fs::read_to_string("/etc/passwd").unwrap_or_default();
    let is_ours =
        users.lines().any(|line| line.starts_with("larder:") && line.contains(":Larder build cache:"));
    (site.system && is_ours).then(|| {
        let words = "the account `larder` stays: `userdel larder` removes it".to_owned();
        Step::Run(Run::new(["userdel", "larder"], Failing::Warns(words)))
    })
}

/// The account of the machine's daemon, as `/etc/passwd` has it.
fn account() -> Option<String> {
    let users = std::fs::read_to_string("/etc/passwd").ok()?;
    users.lines().find(|line| line.starts_with("larder:")).map(str::to_owned)
}

/// What starting takes.
pub(super) fn start(site: &Site) -> Vec<Step> {
    let flag = site.flag();
    vec![
        Step::try_run(["systemctl", flag, "reset-failed", SOCKET, SERVICE]),
        Step::run(["systemctl", flag, "start", SOCKET], sockets_remedy(site)),
        Step::run(["systemctl", flag, "start", SERVICE], site.log_hint()),
    ]
}

/// What stopping takes; the sockets too, else the next request starts it again.
pub(super) fn stop(site: &Site) -> Vec<Step> {
    vec![Step::run(["systemctl", site.flag(), "stop", SOCKET, SERVICE], site.log_hint())]
}

/// What replacing the running process takes; the sockets stay.
pub(super) fn restart(site: &Site) -> Vec<Step> {
    let flag = site.flag();
    vec![
        Step::try_run(["systemctl", flag, "reset-failed", SOCKET, SERVICE]),
        Step::run(["systemctl", flag, "start", SOCKET], sockets_remedy(site)),
        Step::run(["systemctl", flag, "restart", SERVICE], site.log_hint()),
    ]
}

/// The last that the daemon said, where the log can be read.
pub(super) fn last_words(site: &Site) -> Option<String> {
    let call = ["journalctl", site.flag(), "--quiet", "--no-pager", "-o", "cat", "-n", "5", "-t", "larder"];
    let said = site.runner.ask(call).ok().filter(|said| said.success)?;
    let lines = said.out.lines().map(|line| format!("\n  {line}"));
    Some(lines.collect::<String>()).filter(|text| !text.is_empty())
}

/// Whether there is a manager that can be asked.
///
/// # Errors
/// Why not, and what would help.
pub(super) fn reach(site: &Site) -> Result<(), Refused> {
    const ELSEWHERE: &str =
        "run `larder serve` under what keeps processes running here (docs/service.md, Containers)";
    let said = match site.runner.ask(["systemctl", site.flag(), "show", "--property=Version"]) {
        Ok(said) if said.success => return Ok(()),
        Ok(said) => said.err.trim().to_owned(),
        Err(error) if error.kind() == std::io::ErrorKind::NotFound => {
            return Err(Refused::failed(format!("there is no systemctl, so no systemd: {ELSEWHERE}")));
        }
        Err(error) => return Err(Refused::failed(format!("failed to run systemctl: {error}"))),
    };
    if !Path::new("/run/systemd/system").exists() {
        let first = std::fs::read_to_string("/proc/1/comm").unwrap_or_default();
        return Err(Refused::failed(format!(
            "systemd doesn't run this machine (PID 1 is `{}`), as in most containers: {ELSEWHERE}",
            first.trim()
        )));
    }
    if site.system {
        return Err(Refused::failed(format!("systemd doesn't answer: {said}")));
    }
    Err(Refused::failed(format!(
        "the service manager of {0} doesn't answer: {said}; sign in as {0} (ssh, a desktop, `machinectl shell {0}@`), \
         not by su, or start it with `sudo loginctl enable-linger {0}`",
        site.name
    )))
}

/// Whether the user's manager runs while nobody is signed in.
fn lingers(site: &Site) -> bool {
    Path::new("/var/lib/systemd/linger").join(&site.name).exists()
}
