//! The service manager's unit, where one is installed: does it start this binary, and does it outlive a sign-out.

use std::path::{Path, PathBuf};

use super::finding::Finding;
use super::machine;
use crate::server::user_name;

/// The unit, if there is one.
#[derive(Debug)]
pub(super) struct Facts {
    unit: Option<Unit>,
    /// This binary.
    own: Option<PathBuf>,
    user: String,
    /// systemd keeps the user's services when nobody is signed in.
    lingers: bool,
}

#[derive(Debug)]
struct Unit {
    path: PathBuf,
    /// What it starts, links followed; `None` when that isn't there.
    starts: Option<PathBuf>,
    named: String,
    of_user: bool,
}

const CHECK: &str = "service";

/// Where units of the user lie, below the home.
const USER_UNIT: &str = ".config/systemd/user/larder.service";
const SYSTEM_UNITS: [&str; 2] =
    ["/etc/systemd/system/larder.service", "/usr/lib/systemd/system/larder.service"];

// === impl Facts ===

impl Facts {
    pub(super) fn look(home: Option<&Path>) -> Self {
        let user = user_name(machine::own_uid());
        let of_user = home.map(|home| (home.join(USER_UNIT), true));
        let of_system = SYSTEM_UNITS.into_iter().map(|path| (PathBuf::from(path), false));
        let unit = of_user.into_iter().chain(of_system).find_map(|(path, of_user)| {
            let named = starts(&std::fs::read_to_string(&path).ok()?)?.to_owned();
            Some(Unit { path, starts: std::fs::canonicalize(&named).ok(), named, of_user })
        });
        Self {
            unit,
            own: std::fs::read_link("/proc/self/exe").ok(),
            lingers: Path::new("/var/lib/systemd/linger").join(&user).exists(),
            user,
        }
    }

    /// None where no unit is installed.
    pub(super) fn findings(&self) -> Vec<Finding> {
        let Some(unit) = &self.unit else { return Vec::new() };
        let (path, named) = (unit.path.display(), &unit.named);
        let mut findings = Vec::new();
        match &unit.starts {
            None => findings.push(Finding::problem(
                CHECK,
                format!("{path} starts {named}, which is not there"),
                "`larder service install` again, with the binary where it is to stay",
            )),
            Some(starts) if self.own.as_ref().is_some_and(|own| own != starts) => {
                findings.push(Finding::warning(
                    CHECK,
                    format!("{path} starts {named}, and this is another binary"),
                    "`larder service install` with the one that is meant, and restart the service",
                ))
            }
            Some(_) => {}
        }
        if unit.of_user && !self.lingers {
            findings.push(Finding::warning(
                CHECK,
                format!("the service ends when {} signs out, and starts with the next sign-in", self.user),
                format!("`loginctl enable-linger {}`, if builds run then", self.user),
            ));
        }
        if findings.is_empty() {
            findings.push(Finding::ok(CHECK, format!("{path} starts this binary")));
        }
        findings
    }
}

/// The program of the last `ExecStart=`; an earlier one may have been cleared.
fn starts(unit: &str) -> Option<&str> {
    let line = unit.lines().filter_map(|line| line.trim().strip_prefix("ExecStart=")).next_back()?;
    let line = line.trim_start_matches(['-', '@', ':', '+', '!']);
    match line.strip_prefix('"') {
        Some(quoted) => quoted.split('"').next(),
        None => line.split_whitespace().next(),
    }
}

#[cfg(test)]
mod tests {
    use super::super::finding::Level;
    use super::*;

    fn facts() -> Facts {
        let unit = Unit {
            path: "/home/me/.config/systemd/user/larder.service".into(),
            starts: Some("/usr/bin/larder".into()),
            named: "/usr/bin/larder".into(),
            of_user: true,
        };
        Facts { unit: Some(unit), own: Some("/usr/bin/larder".into()), user: "me".into(), lingers: true }
    }

    #[test]
    fn units() {
        assert_eq!(facts().findings()[0].level, Level::Ok);
        assert!(Facts { unit: None, ..facts() }.findings().is_empty());
        let found = Facts { own: Some("/opt/larder".into()), ..facts() }.findings();
        assert!(found[0].level == Level::Warning && found[0].words.contains("another binary"), "{found:?}");
        let mut gone = facts();
        gone.unit.as_mut().expect("there").starts = None;
        assert_eq!(gone.findings()[0].level, Level::Problem);
        let found = Facts { lingers: false, ..facts() }.findings();
        assert_eq!(found[0].remedy.as_deref(), Some("`loginctl enable-linger me`, if builds run then"));
    }

    #[test]
    fn what_a_unit_starts() {
        assert_eq!(starts("[Service]\nExecStart=/usr/bin/larder serve --system\n"), Some("/usr/bin/larder"));
        assert_eq!(starts("ExecStart=-\"/opt/my tools/larder\" serve"), Some("/opt/my tools/larder"));
        assert_eq!(starts("ExecStart=/old\nExecStart=\nExecStart=/new serve"), Some("/new"));
        assert_eq!(starts("[Service]"), None);
    }
}
