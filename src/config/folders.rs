//! Where things lie.

use std::path::{Path, PathBuf};

use super::Environment;
use crate::upstream::Places;

/// Where the machine's daemon has its folders, unless its service manager says otherwise.
const SYSTEM_CACHE: &str = "/var/cache/larder";
const SYSTEM_STATE: &str = "/var/lib/larder";
const SYSTEM_RUNTIME: &str = "/run/larder";
const SYSTEM_CONFIG: &str = "/etc/larder";

/// What the configuration file is called in its folder, and the admin socket in its.
const CONFIG_NAME: &str = "larder.toml";
const SOCKET_NAME: &str = "larder.sock";

/// Where things lie.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Folders {
    /// What may be deleted at any time.
    pub cache: PathBuf,
    /// What is not upstream yet.
    pub state: PathBuf,
    /// The admin socket.
    pub socket: PathBuf,
}

// === impl Folders ===

impl Folders {
    /// Below `dir`, else where the service manager made folders, else where the platform keeps such things.
    pub(super) fn find(dir: Option<PathBuf>, environment: &Environment) -> Result<Self, String> {
        if let Some(dir) = dir {
            // Absolute, so that what is said in words and files holds wherever it is read.
            let dir = std::path::absolute(&dir).map_err(|error| format!("{}: {error}", dir.display()))?;
            let socket = dir.join(SOCKET_NAME);
            return Ok(Self { cache: dir.join("cache"), state: dir.join("state"), socket });
        }
        let given = &environment.given;
        if environment.system {
            let or = |given: &Option<PathBuf>, own: &str| given.clone().unwrap_or_else(|| own.into());
            return Ok(Self {
                cache: or(&given.cache, SYSTEM_CACHE),
                state: or(&given.state, SYSTEM_STATE),
                socket: or(&given.runtime, SYSTEM_RUNTIME).join(SOCKET_NAME),
            });
        }
        let platform = directories::ProjectDirs::from("", "", "larder")
            .ok_or("has no default, because this user has no home folder; give --dir")?;
        let own_state = || platform.state_dir().unwrap_or_else(|| platform.data_local_dir()).to_path_buf();
        let state = given.state.clone().unwrap_or_else(own_state);
        let cache = given.cache.clone().unwrap_or_else(|| platform.cache_dir().to_path_buf());
        // Not below `RUNTIME_DIRECTORY`: the commands look here, and have no service manager to tell them another.
        let socket = match &environment.runtime_dir {
            Some(runtime) => runtime.join("larder").join(SOCKET_NAME),
            None => state.join(SOCKET_NAME),
        };
        Ok(Self { cache, state, socket })
    }

    /// Where credentials are kept.
    pub fn credentials(&self, environment: &Environment) -> Places {
        Places {
            given: environment.given.credentials.clone(),
            home: environment.home.clone(),
            variables: environment.issuers.clone(),
            ..Places::new(&self.state)
        }
    }

    /// The file that is read where none is named. It need not be there.
    pub fn config(environment: &Environment) -> Option<PathBuf> {
        if !environment.system {
            return environment.own_config.clone();
        }
        let given = environment.given.configuration.as_deref();
        Some(given.unwrap_or(Path::new(SYSTEM_CONFIG)).join(CONFIG_NAME))
    }

    /// The admin socket of the machine's daemon.
    pub fn system_socket() -> PathBuf {
        Path::new(SYSTEM_RUNTIME).join(SOCKET_NAME)
    }

    /// The state folder of the daemon that `dir`, or its absence, means.
    ///
    /// # Errors
    /// Words, when this user has no folders.
    pub fn state(dir: Option<PathBuf>, environment: &Environment) -> Result<PathBuf, String> {
        Self::find(dir, environment).map(|folders| folders.state)
    }

    /// The cache folder of the daemon that `dir`, or its absence, means.
    ///
    /// # Errors
    /// Words, when this user has no folders.
    pub fn cache(dir: Option<PathBuf>, environment: &Environment) -> Result<PathBuf, String> {
        Self::find(dir, environment).map(|folders| folders.cache)
    }

    /// The admin socket of the daemon that `dir`, or its absence, means.
    ///
    /// # Errors
    /// Words, when this user has no folders.
    pub fn socket(dir: Option<PathBuf>, environment: &Environment) -> Result<PathBuf, String> {
        Self::find(dir, environment).map(|folders| folders.socket)
    }
}
