//! The platform's keychain: the Secret Service of a Linux desktop, the Keychain of macOS.
//!
//! It may be locked, absent, slow, or killed; nothing here waits longer than a deadline, and only one that has answered
//! already is given the time that a person takes. Only `larder login` lets it ask
//! the user to unlock it; the daemon, which has nobody before it, doesn't. An item is called `larder: NAME`, and belongs
//! to one state folder: two daemons don't see each other's.

use std::future::Future;
use std::path::Path;
use std::time::Duration;

use super::super::Secret;

/// What an answer may take.
const DEADLINE: Duration = Duration::from_secs(5);

/// What it may take where a person may have to type a password.
const DEADLINE_WITH_PERSON: Duration = Duration::from_secs(60);

/// Reads an item.
///
/// # Errors
/// Words, with the remedy.
pub(super) async fn read(folder: &Path, name: &str) -> Result<Secret, String> {
    within(DEADLINE, platform::read(folder, name)).await
}

/// Writes an item, over one of its name.
///
/// # Errors
/// Words, with the remedy.
pub(super) async fn write(folder: &Path, name: &str, text: &Secret) -> Result<(), String> {
    within(DEADLINE_WITH_PERSON, platform::write(folder, name, text)).await
}

/// Removes an item. One that isn't there is a success.
///
/// # Errors
/// Words, with the remedy.
pub(super) async fn remove(folder: &Path, name: &str) -> Result<(), String> {
    within(DEADLINE_WITH_PERSON, platform::remove(folder, name)).await
}

async fn within<T>(deadline: Duration, asked: impl Future<Output = Result<T, String>>) -> Result<T, String> {
    tokio::time::timeout(deadline, asked)
        .await
        .unwrap_or_else(|_| Err(format!("the keychain gave no answer within {} s", deadline.as_secs())))
}

#[cfg(target_os = "linux")]
mod platform {
    use std::collections::HashMap;
    use std::path::Path;

    use secret_service::{EncryptionType, SecretService};

    use super::super::super::Secret;

    pub(super) async fn read(folder: &Path, name: &str) -> Result<Secret, String> {
        let service = connect().await?;
        let folder = folder.to_string_lossy();
        let found = service.search_items(attributes(&folder, name)).await.map_err(failed)?;
        let Some(item) = found.unlocked.first() else {
            return Err(match found.locked.is_empty() {
                true => format!("the keychain has it no more: run `larder login {name}`"),
                false => "the keychain is locked: log in to the desktop, or unlock it".into(),
            });
        };
        let bytes = item.get_secret().await.map_err(failed)?;
        String::from_utf8(bytes).map(Secret::new).map_err(|_| "what the keychain has is no text".into())
    }

    pub(super) async fn write(folder: &Path, name: &str, text: &Secret) -> Result<(), String> {
        let service = connect().await?;
        let collection = service.get_default_collection().await.map_err(failed)?;
        if collection.is_locked().await.map_err(failed)? {
            collection.unlock().await.map_err(failed)?;
        }
        let (folder, label) = (folder.to_string_lossy(), format!("larder: {name}"));
        let attributes = attributes(&folder, name);
        let made =
            collection.create_item(&label, attributes, text.expose().as_bytes(), true, "application/json");
        made.await.map(drop).map_err(failed)
    }

    pub(super) async fn remove(folder: &Path, name: &str) -> Result<(), String> {
        let service = connect().await?;
        let folder = folder.to_string_lossy();
        let found = service.search_items(attributes(&folder, name)).await.map_err(failed)?;
        for item in &found.locked {
            item.unlock().await.map_err(failed)?;
        }
        for item in found.unlocked.iter().chain(&found.locked) {
            item.delete().await.map_err(failed)?;
        }
        Ok(())
    }

    /// To the session's bus, where it may have to be started first. Nobody is asked anything yet, so that one that hangs
    /// is told from one that has a person before it.
    async fn connect() -> Result<SecretService<'static>, String> {
        let connected = async { SecretService::connect(EncryptionType::Dh).await.map_err(failed) };
        super::within(super::DEADLINE, connected).await
    }

    fn attributes<'a>(folder: &'a str, name: &'a str) -> HashMap<&'a str, &'a str> {
        HashMap::from([("application", "larder"), ("credential", name), ("folder", folder)])
    }

    fn failed(error: secret_service::Error) -> String {
        format!("the keychain can't be used: {error}")
    }
}

#[cfg(target_os = "macos")]
mod platform {
    use std::path::Path;

    use security_framework::passwords;

    use super::super::super::Secret;

    /// `errSecItemNotFound`.
    const NOT_FOUND: i32 = -25300;

    pub(super) async fn read(folder: &Path, name: &str) -> Result<Secret, String> {
        let (service, account) = (service(name), folder.to_string_lossy().into_owned());
        let login = format!("the keychain has it no more: run `larder login {name}`");
        blocking(move || {
            let bytes = passwords::get_generic_password(&service, &account)
                .map_err(|error| if error.code() == NOT_FOUND { login } else { failed(&error) })?;
            String::from_utf8(bytes).map(Secret::new).map_err(|_| "what the keychain has is no text".into())
        })
        .await
    }

    pub(super) async fn write(folder: &Path, name: &str, text: &Secret) -> Result<(), String> {
        let (service, account) = (service(name), folder.to_string_lossy().into_owned());
        let text = text.clone();
        blocking(move || {
            passwords::set_generic_password(&service, &account, text.expose().as_bytes())
                .map_err(|error| failed(&error))
        })
        .await
    }

    pub(super) async fn remove(folder: &Path, name: &str) -> Result<(), String> {
        let (service, account) = (service(name), folder.to_string_lossy().into_owned());
        blocking(move || match passwords::delete_generic_password(&service, &account) {
            Err(error) if error.code() != NOT_FOUND => Err(failed(&error)),
            _ => Ok(()),
        })
        .await
    }

    fn service(name: &str) -> String {
        format!("larder: {name}")
    }

    async fn blocking<T: Send + 'static>(
        work: impl FnOnce() -> Result<T, String> + Send + 'static,
    ) -> Result<T, String> {
        tokio::task::spawn_blocking(work).await.unwrap_or_else(|_| Err("the daemon stops".into()))
    }

    fn failed(error: &security_framework::base::Error) -> String {
        format!("the keychain can't be used: {error}")
    }
}

#[cfg(not(any(target_os = "linux", target_os = "macos")))]
mod platform {
    use std::path::Path;

    use super::super::super::Secret;

    const NONE: &str = "this platform has no keychain that larder knows";

    pub(super) async fn read(_: &Path, _: &str) -> Result<Secret, String> {
        Err(NONE.into())
    }

    pub(super) async fn write(_: &Path, _: &str, _: &Secret) -> Result<(), String> {
        Err(NONE.into())
    }

    pub(super) async fn remove(_: &Path, _: &str) -> Result<(), String> {
        Err(NONE.into())
    }
}
