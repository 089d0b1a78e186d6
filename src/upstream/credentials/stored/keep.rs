//! How credentials are stored and removed.

use std::io::ErrorKind;

use super::document::Document;
use super::place::{Kept, Places, check_name};
use super::{entry, keychain};
use crate::error::{Error, Kind, Result};

/// Where one was stored.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Placed {
    /// Where.
    pub kept: Kept,
    /// Why the keychain doesn't have it, where it was to.
    pub declined: Option<String>,
}

// === impl Places ===

impl Places {
    /// Stores one: in the keychain, or in a file; without `wanted` in the keychain if there is one. What had the name is
    /// replaced.
    ///
    /// # Errors
    /// Words, with the remedy; what was stored before is as it was.
    pub async fn store(&self, name: &str, document: &Document, wanted: Option<Kept>) -> Result<Placed> {
        check_name(name)
            .map_err(|words| Error::invalid(format!("store `{}`: it {words}", name.escape_debug())))?;
        entry::prepare(&self.folder)?;
        let denied = |words: String| Error::new(Kind::Unavailable, format!("store `{name}`: {words}"));
        let text = document.to_secret();
        let placed = match wanted {
            Some(Kept::Systemd) => {
                return Err(denied("systemd's credentials are written by nobody but systemd".into()));
            }
            Some(Kept::File) => Placed { kept: Kept::File, declined: None },
            Some(Kept::Keychain) => {
                keychain::write(&self.folder, name, &text).await.map_err(denied)?;
                Placed { kept: Kept::Keychain, declined: None }
            }
            None => match keychain::write(&self.folder, name, &text).await {
                Ok(()) => Placed { kept: Kept::Keychain, declined: None },
                Err(words) => Placed { kept: Kept::File, declined: Some(words) },
            },
        };
        let was_in_keychain = entry::names_keychain(&self.path(name));
        let in_file = if placed.kept == Kept::Keychain { entry::in_keychain(document) } else { text };
        entry::write(&self.folder, name, &in_file)?;
        if was_in_keychain && placed.kept == Kept::File {
            // It may be locked; then what it has is old, and nobody asks for it any more.
            let _ = keychain::remove(&self.folder, name).await;
        }
        Ok(placed)
    }

    /// Removes one; whether there was one.
    ///
    /// # Errors
    /// Words, with the remedy.
    pub async fn remove(&self, name: &str) -> Result<bool> {
        check_name(name)
            .map_err(|words| Error::invalid(format!("remove `{}`: it {words}", name.escape_debug())))?;
        let path = self.path(name);
        if self.given(name).is_some_and(|given| given.exists()) && !path.exists() {
            let words = format!("remove `{name}`: systemd gave it; take it out of the service's unit");
            return Err(Error::new(Kind::Denied, words));
        }
        let in_keychain = entry::names_keychain(&path);
        match std::fs::remove_file(&path) {
            Ok(()) => {}
            Err(error) if error.kind() == ErrorKind::NotFound => return Ok(false),
            Err(error) => return Err(Error::io("remove", &path, error)),
        }
        if in_keychain {
            keychain::remove(&self.folder, name).await.map_err(|words| {
                let words = format!(
                    "remove `{name}` from the keychain: {words}; the daemon doesn't use it any more, and it is called \
                     `larder: {name}` there"
                );
                Error::new(Kind::Unavailable, words)
            })?;
        }
        Ok(true)
    }
}
