//! For whom, by whom and where: what must be known before anything is planned.

use std::os::unix::fs::{MetadataExt as _, PermissionsExt as _};
use std::path::{Path, PathBuf};

use clap::{Args, ValueEnum};

use super::Refused;
use super::plan::Runner;
use crate::config::{Environment, Folders, Given};

/// Whose service is meant.
#[derive(Debug, Clone, Args)]
pub(super) struct Whose {
    /// The machine's: one daemon, of the account `larder`, for whom `access.users` names; as root
    #[arg(long, conflicts_with = "user")]
    pub(super) system: bool,

    /// Your own; this is so unless you are root
    #[arg(long)]
    user: bool,

    /// The service manager; that of this platform unless it is said
    #[arg(long, value_enum, value_name = "NAME", hide = true)]
    manager: Option<Manager>,
}

/// Who keeps services running.
#[derive(Debug, Clone, Copy, PartialEq, Eq, ValueEnum)]
pub(super) enum Manager {
    /// Linux.
    Systemd,
    /// macOS.
    Launchd,
}

/// Everything about a place that plans depend on.
#[derive(Debug)]
pub(super) struct Site {
    pub(super) manager: Manager,
    pub(super) system: bool,
    pub(super) uid: u32,
    /// The user's name, or else the number.
    pub(super) name: String,
    pub(super) home: PathBuf,
    /// `~/.config`.
    pub(super) config_home: PathBuf,
    /// Where the daemon of the service keeps things.
    pub(super) cache: PathBuf,
    pub(super) state: PathBuf,
    pub(super) socket: PathBuf,
    pub(super) runner: Runner,
}

/// What root's account is for.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum Rights {
    /// Nothing is changed: anybody may.
    Look,
    /// Something is.
    Change,
}

// === impl Site ===

impl Site {
    /// Finds out.
    ///
    /// # Errors
    /// When who asks can't have meant it, or may not.
    pub(super) fn find(whose: &Whose, environment: &Environment, rights: Rights) -> Result<Self, Refused> {
        let uid = rustix::process::geteuid().as_raw();
        let manager = whose.manager.unwrap_or(if cfg!(target_os = "macos") {
            Manager::Launchd
        } else {
            Manager::Systemd
        });
        if whose.system {
            if uid != 0 && rights == Rights::Change {
                return Err(Refused::failed("--system is for root: put `sudo` in front"));
            }
            return Self::of_machine(manager, uid);
        }
        if uid == 0 {
            match &environment.sudo_user {
                Some(name) => {
                    return Err(Refused::usage(format!(
                        "this is root: leave `sudo` away for the service of {name}, or say --system for the machine's"
                    )));
                }
                None if !whose.user => {
                    return Err(Refused::usage(
                        "this is root: say --system for the machine's service, or --user for root's own",
                    ));
                }
                None => {}
            }
        }
        Self::of_user(manager, uid, environment)
    }

    fn of_machine(manager: Manager, uid: u32) -> Result<Self, Refused> {
        // launchd has no folders for services: those of its property list.
        let of_list = |name: &str| Path::new("/var/db/larder").join(name);
        let (cache, state, socket) = match manager {
            Manager::Systemd => {
                let environment = Environment { system: true, ..Environment::default() };
                let no_folders = |words: String| Refused::failed(format!("the daemon's folder {words}"));
                (
                    Folders::cache(None, &environment).map_err(no_folders)?,
                    Folders::state(None, &environment).map_err(no_folders)?,
                    Folders::socket(None, &environment).map_err(no_folders)?,
                )
            }
            Manager::Launchd => (of_list("cache"), of_list("state"), of_list("run/larder.sock")),
        };
        Ok(Self {
            manager,
            system: true,
            uid,
            name: "root".into(),
            home: "/".into(),
            config_home: "/etc".into(),
            cache,
            state,
            socket,
            runner: Runner::default(),
        })
    }

    fn of_user(manager: Manager, uid: u32, environment: &Environment) -> Result<Self, Refused> {
        let home = environment.home.clone().filter(|home| home.is_absolute());
        let home =
            home.ok_or_else(|| Refused::failed("HOME is not set, so there is no place for a unit; set it"))?;
        if let Ok(found) = std::fs::metadata(&home)
            && found.uid() != uid
        {
            return Err(Refused::failed(format!(
                "HOME is {}, which is of uid {} and not yours ({uid}); sign in as who you are (`su -`, `machinectl shell`)",
                home.display(),
                found.uid()
            )));
        }
        let by_number = PathBuf::from(format!("/run/user/{uid}"));
        let runtime_dir = environment.runtime_dir.clone().or_else(|| by_number.is_dir().then_some(by_number));
        let environment = Environment {
            runtime_dir: runtime_dir.clone(),
            // Those of this command say nothing about the service.
            system: false,
            given: Given::default(),
            ..environment.clone()
        };
        let no_folders = |words: String| Refused::failed(format!("the daemon's folder {words}"));
        let socket = Folders::socket(None, &environment).map_err(no_folders)?;
        let state = Folders::state(None, &environment).map_err(no_folders)?;
        let cache = Folders::cache(None, &environment).map_err(no_folders)?;
        let config_home = environment.config_home.filter(|path| path.is_absolute());
        Ok(Self {
            manager,
            system: false,
            uid,
            name: name_of(uid).or(environment.user).unwrap_or_else(|| uid.to_string()),
            config_home: config_home.unwrap_or_else(|| home.join(".config")),
            home,
            cache,
            state,
            socket,
            runner: Runner { runtime_dir },
        })
    }

    /// How a command for this service is written.
    pub(super) fn command(&self, verb: &str) -> String {
        let (sudo, flag) = match (self.system, self.uid) {
            (true, _) => ("sudo ", " --system"),
            (false, 0) => ("", " --user"),
            (false, _) => ("", ""),
        };
        format!("{sudo}larder service {verb}{flag}")
    }

    /// Where its configuration is, for people.
    pub(super) fn configuration(&self) -> PathBuf {
        match (self.manager, self.system) {
            (Manager::Launchd, false) => self.home.join("Library/Application Support/larder/larder.toml"),
            _ => self.config_home.join("larder/larder.toml"),
        }
    }
}

/// The program that the service runs, and what there is to say about the choice.
///
/// # Errors
/// When the service could not run it.
pub(super) fn binary(
    site: &Site,
    named: Option<&Path>,
    environment: &Environment,
) -> Result<(PathBuf, Option<String>), Refused> {
    let path = match named {
        // As it was named: a link that an upgrade repoints is a good name.
        Some(path) => std::path::absolute(path).map_err(|error| failed_binary(path, &error.to_string()))?,
        None => {
            let own = environment.executable.as_deref();
            let own = own.ok_or_else(|| {
                Refused::failed("this program can't tell its own file; name it with --binary")
            })?;
            std::fs::canonicalize(own).map_err(|error| failed_binary(own, &error.to_string()))?
        }
    };
    let found = std::fs::metadata(&path).map_err(|error| failed_binary(&path, &error.to_string()))?;
    if !found.is_file() || found.permissions().mode() & 0o111 == 0 {
        return Err(failed_binary(&path, "it is no program"));
    }
    let real = std::fs::canonicalize(&path).unwrap_or_else(|_| path.clone());
    let hidden = ["/home", "/root", "/run/user", "/tmp", "/var/tmp"];
    if site.system && site.manager == Manager::Systemd && hidden.iter().any(|folder| real.starts_with(folder))
    {
        return Err(failed_binary(
            &real,
            "the machine's service sees neither homes nor folders for temporary files; install it to /usr/local/bin",
        ));
    }
    let fleeting =
        ["/tmp", "/var/tmp", "/private/tmp", "/dev/shm"].iter().any(|folder| real.starts_with(folder));
    let of_build = real.components().any(|part| part.as_os_str() == "target");
    let words = (fleeting || of_build).then(|| {
        format!(
            "{} is where programs don't stay; the service fails once it is gone: install it elsewhere first",
            real.display()
        )
    });
    Ok((path, words))
}

fn failed_binary(path: &Path, why: &str) -> Refused {
    Refused::failed(format!("the service can't run {}: {why}", path.display()))
}

fn name_of(uid: u32) -> Option<String> {
    let users = std::fs::read_to_string("/etc/passwd").ok()?;
    users.lines().find_map(|line| {
        let mut fields = line.split(':');
        let name = fields.next()?;
        (fields.nth(1)?.parse::<u32>().ok()? == uid).then(|| name.to_owned())
    })
}
