//! Credentials that are stored under a name, and that several upstreams may use.
//!
//! ```text
//! larder login ─> place: a file, the keychain, systemd ─> document: kind and fields
//!                                                             └─> keeper ─> provide: keys, and until when
//!                                                                   └─> signers and senders of upstreams
//! ```
//! Each kind is in the file of whoever gives its keys: [`amazon`] and [`profile`], [`google`], [`azure`], a [`command`].

mod amazon;
mod ask;
mod azure;
mod command;
mod document;
mod entry;
mod google;
mod held;
mod keep;
mod keeper;
mod keychain;
mod place;
mod profile;
mod provide;
#[cfg(test)]
mod tests;

use std::collections::HashMap;
use std::fmt;
use std::sync::{Arc, Weak};
use std::time::{Duration, SystemTime};

use futures_util::FutureExt as _;
use futures_util::future::BoxFuture;
use parking_lot::Mutex;

use super::super::runtime::Spawner;
use super::super::surroundings::since_boot;
use super::Credentials;
use crate::error::{Error, Result};

pub use self::document::{Document, Field, KINDS, Kind};
pub use self::held::Outlook;
pub use self::keep::Placed;
pub(in super::super) use self::keeper::Keeper;
use self::keeper::Source;
pub use self::place::{Kept, Places, Row, check_name};
use self::place::{Missing, Stamp};
pub(in super::super) use self::provide::Material;
use self::provide::{Context, Issued};

/// A credential by its name. Two of one name are the same.
#[derive(Clone)]
pub struct Stored {
    name: Arc<str>,
    /// `None`: of a configuration that nobody has opened.
    keeper: Option<Arc<Keeper>>,
}

/// The keepers of all credentials that are used.
#[derive(Clone)]
pub(in super::super) struct Vault(Arc<Inner>);

struct Inner {
    context: Context,
    /// By name. Leaf mutex.
    keepers: Mutex<HashMap<String, Weak<Keeper>>>,
}

/// What the keeper of one credential asks.
struct Shelf {
    name: String,
    context: Context,
}

// === impl Stored ===

impl Stored {
    /// That of this name, which need not be stored.
    pub fn new(name: &str) -> Self {
        Self { name: name.into(), keeper: None }
    }

    /// Its name.
    pub fn name(&self) -> &str {
        &self.name
    }

    /// What is known of its keys as they are now; `None`: there are none that live.
    pub fn outlook(&self) -> Option<Outlook> {
        self.keeper.as_ref().and_then(|keeper| keeper.outlook())
    }

    /// Who has its keys.
    ///
    /// # Errors
    /// `Invalid`: it belongs to no runtime.
    pub(in super::super) fn keeper(&self) -> Result<&Arc<Keeper>> {
        self.keeper.as_ref().ok_or_else(|| Error::invalid("use a stored credential without a runtime"))
    }
}

impl PartialEq for Stored {
    fn eq(&self, other: &Self) -> bool {
        self.name == other.name
    }
}

impl Eq for Stored {}

impl fmt::Debug for Stored {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "Stored({})", self.name)
    }
}

// === impl Vault ===

impl Vault {
    /// Of credentials that are kept in these places.
    pub(in super::super) fn new(places: Places) -> Self {
        let context = Context { places: Arc::new(places), asker: Arc::default() };
        Self(Arc::new(Inner { context, keepers: Mutex::default() }))
    }

    /// The same credentials with their keeper, if they have a name.
    pub(in super::super) fn attach(&self, credentials: &Credentials, spawner: &Spawner) -> Credentials {
        let Credentials::Stored(stored) = credentials else { return credentials.clone() };
        let mut keepers = self.0.keepers.lock();
        keepers.retain(|_, keeper| keeper.strong_count() > 0);
        let known = keepers.get(stored.name()).and_then(Weak::upgrade);
        let keeper = known.unwrap_or_else(|| {
            let shelf = Shelf { name: stored.name().to_owned(), context: self.0.context.clone() };
            let keeper = Keeper::new(stored.name(), Arc::new(shelf), spawner.surroundings(), |task| {
                spawner.spawn(task)
            });
            keepers.insert(stored.name().to_owned(), Arc::downgrade(&keeper));
            keeper
        });
        Credentials::Stored(Stored { name: Arc::clone(&stored.name), keeper: Some(keeper) })
    }
}

impl fmt::Debug for Vault {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "Vault({:?})", self.0.context.places)
    }
}

// === impl Shelf ===

impl Source for Shelf {
    fn stamp(&self) -> BoxFuture<'_, Stamp> {
        let (places, name) = (Arc::clone(&self.context.places), self.name.clone());
        async move { tokio::task::spawn_blocking(move || places.stamp(&name)).await.unwrap_or_default() }
            .boxed()
    }

    fn read(&self) -> BoxFuture<'_, Result<Document, Missing>> {
        self.context.places.read(&self.name).boxed()
    }

    fn provide<'a>(&'a self, document: &'a Document) -> BoxFuture<'a, Result<Issued, String>> {
        provide::provide(&self.name, document, &self.context).boxed()
    }

    fn clocks(&self) -> (SystemTime, Duration) {
        (SystemTime::now(), since_boot())
    }
}
