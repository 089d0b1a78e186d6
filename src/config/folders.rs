//! Where things lie.

use std::path::PathBuf;

use super::Environment;

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
    /// Below `dir`, else where the platform keeps such things.
    pub(super) fn find(dir: Option<PathBuf>, environment: &Environment) -> Result<Self, String> {
        if let Some(dir) = dir {
            // Absolute, so that what is said in words and files holds wherever it is read.
            let dir = std::path::absolute(&dir).map_err(|error| format!("{}: {error}", dir.display()))?;
            let socket = dir.join("larder.sock");
            return Ok(Self { cache: dir.join("cache"), state: dir.join("state"), socket });
        }
        let platform = directories::ProjectDirs::from("", "", "larder")
            .ok_or("has no default, because this user has no home folder; give --dir")?;
        let state = platform.state_dir().unwrap_or_else(|| platform.data_local_dir()).to_path_buf();
        let socket = match &environment.runtime_dir {
            Some(runtime) => runtime.join("larder").join("larder.sock"),
            None => state.join("larder.sock"),
        };
        Ok(Self { cache: platform.cache_dir().to_path_buf(), state, socket })
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
