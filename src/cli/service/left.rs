//! What an uninstalled service leaves on the machine: data that nobody said to remove, and what is the person's own.

use std::path::{Path, PathBuf};

use super::site::Site;
use crate::upstream::{Kept, Places};

/// What is to be asked before anything is removed.
#[derive(Debug)]
pub(super) struct Before {
    /// Credentials that the platform's keychain has.
    in_keychain: Vec<String>,
}

// === impl Before ===

impl Before {
    pub(super) fn look(site: &Site) -> Self {
        let rows = Places::new(&site.state).list();
        let in_keychain = rows.into_iter().filter(|row| row.kept == Kept::Keychain);
        Self { in_keychain: in_keychain.map(|row| format!("`larder: {}`", row.name)).collect() }
    }

    /// What there is to say when all is done.
    pub(super) fn words(&self, site: &Site) -> String {
        let file = site.configuration();
        // Every daemon locks its own; without a lock it may be there for the configuration alone.
        let data = [&site.cache, &site.state].into_iter().filter(|folder| folder.join("lock").exists());
        let data: Vec<String> = data.map(|folder| folder.display().to_string()).collect();
        // On macOS the daemon's data may be in the same folder.
        let is_data = |path: &PathBuf| path.starts_with(&site.state) && *path != file;
        let own = files(file.parent().unwrap_or(&file));
        let own: Vec<String> =
            own.iter().filter(|path| !is_data(path)).map(|path| path.display().to_string()).collect();
        let mut parts = Vec::new();
        if !data.is_empty() {
            parts.push(format!("kept, as --purge was not said: {}", data.join(" and ")));
        }
        if !own.is_empty() {
            parts.push(format!("kept, as it is yours: {}", own.join(" and ")));
        }
        // The state says what is there: without it nobody but the keychain knows.
        if !site.state.join("credentials").exists() && !self.in_keychain.is_empty() {
            parts.push(format!(
                "kept in the keychain, where you may remove it: {}",
                self.in_keychain.join(" and ")
            ));
        }
        match parts.is_empty() {
            true => "uninstalled; nothing is left\n".to_owned(),
            false => format!("uninstalled; {}\n", parts.join("; ")),
        }
    }
}

/// What is in a folder, by name; nothing if there is no such folder.
fn files(folder: &Path) -> Vec<PathBuf> {
    let mut paths: Vec<PathBuf> =
        std::fs::read_dir(folder).into_iter().flatten().flatten().map(|entry| entry.path()).collect();
    paths.sort();
    paths
}
