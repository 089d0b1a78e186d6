//! Defaults, then the file, then the environment, then flags: everything a user can set, checked before anything is
//! touched, with all problems told at once.
//!
//! ```text
//! file ─┐
//! env  ─┼─> Said: values by key, each with its place ─> table of keys: Wishes ─> routes, listeners, folders ─> Config
//! flags ┘   (section)                                    (keys)                   problems of all steps, in order
//! ```
//! The table of keys is the one source of the checks, of `larder check`, of the schema and of the example file. The
//! environment is read here and nowhere else. No component sees [`Config`]: the daemon takes it apart into each one's
//! own settings.

mod bounds;
mod check;
mod clouds;
mod environment;
mod example;
mod file;
mod flags;
mod folders;
mod keys;
mod layers;
mod listeners;
mod namespaces;
mod near;
mod place;
mod routes;
mod schema;
mod section;
mod stated;
#[cfg(test)]
mod tests;
mod upstream;
mod value;

pub use bounds::Bounds;
pub use check::check;
pub use environment::{Environment, Given, Manager};
pub use example::example;
pub use flags::Flags;
pub use folders::Folders;
pub use keys::keys;
pub use place::Problem;
pub use routes::{Place, Routes};
pub use schema::schema;
pub use stated::Stated;
pub use upstream::Upstream;
pub(crate) use value::parse_duration;

use std::path::PathBuf;

use crate::error::Error;
use crate::logging;
use crate::server::{Endpoint, Tls, Tokens, Wanted, check_path};
use crate::upstream::Places;
use file::Reading;
use keys::TOP;
use routes::Router;
use section::Said;

/// The port that the defaults listen on.
pub const PORT: u16 = 5273;

/// A configuration that is right.
#[derive(Debug, Clone)]
pub struct Config {
    /// What was said, by key.
    pub said: Stated,
    /// The file that it was read from, if there is one.
    pub file: Option<PathBuf>,
    /// Where things lie.
    pub folders: Folders,
    /// Where credentials are kept.
    pub credentials: Places,
    /// Where clients connect.
    pub listen: Vec<Wanted>,
    /// How many of these are of `listen`, and so the first.
    listen_plain: usize,
    /// Whether they connect at the defaults, too: where `listen` doesn't say otherwise.
    pub listen_default: bool,
    /// The shared stores, and who goes to which.
    pub routes: Routes,
    /// Names besides loopback that a `Host` may have.
    pub allow_hosts: Vec<String>,
    /// Uids let in besides root and the daemon's own.
    pub users: Vec<u32>,
    /// Gids whose members are let in.
    pub groups: Vec<u32>,
    /// What lets in off loopback.
    pub tokens: Tokens,
    /// What an acknowledged PUT survives.
    pub durability: Durability,
    /// How logs look.
    pub log_format: logging::Format,
    /// What is logged.
    pub log_filter: String,
    /// `entry_max`: bytes of one entry.
    pub entry_max: u64,
    /// The other bounds.
    pub bounds: Bounds,
    /// Who started the process.
    pub manager: Manager,
}

/// What an acknowledged PUT survives.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default)]
pub enum Durability {
    /// The end of the process, `kill -9` included.
    #[default]
    Process,
    /// Loss of power.
    Power,
}

/// `entry_max` unless the disk is too small for it.
const ENTRY_MAX: u64 = 5 << 30;

// === impl Config ===

impl Config {
    /// Reads and checks everything.
    ///
    /// # Errors
    /// All problems, each with where it is.
    pub fn load(flags: &Flags, environment: &Environment) -> Result<Self, Vec<Problem>> {
        Self::read(flags, environment, Reading::First).1
    }

    /// The same again, and which files were read, or would have been, whatever came of it.
    pub fn load_again(
        flags: &Flags,
        environment: &Environment,
    ) -> (Vec<PathBuf>, Result<Self, Vec<Problem>>) {
        let (said, config) = Self::read(flags, environment, Reading::Again);
        let own = layers::place(flags, &of_system(flags, environment));
        (own.into_iter().chain(said.tokens()).chain(said.of_tls()).collect(), config)
    }

    /// The files that this was read from, and the one that would be read if it were there: those whose changes change
    /// it.
    pub fn files(&self, flags: &Flags, environment: &Environment) -> Vec<PathBuf> {
        let own = layers::place(flags, &of_system(flags, environment));
        own.into_iter().chain(self.said.tokens()).chain(self.said.of_tls()).collect()
    }

    /// The listeners with TLS.
    pub fn tls(&self) -> impl Iterator<Item = (&Endpoint, &Tls)> {
        self.listen.iter().filter_map(|wanted| Some((&wanted.endpoint, wanted.tls.as_ref()?)))
    }

    /// The keys of what lies in files of TLS, and is other in `new` than here.
    ///
    /// # Errors
    /// `Invalid` when a certificate is to be replaced by one that has expired.
    pub fn replaced_certificates(&self, new: &Self) -> Result<Vec<String>, Error> {
        let mut keys = Vec::new();
        for (number, wanted) in new.listen.iter().enumerate() {
            let old = self.tls().find(|(endpoint, _)| **endpoint == wanted.endpoint);
            let (Some(tls), Some((_, old))) = (&wanted.tls, old) else { continue };
            if old.material == tls.material {
                continue;
            }
            if let Some(words) = tls.material.expired() {
                return Err(Error::invalid(format!(
                    "replace the certificate of {}: {words}",
                    wanted.endpoint
                )));
            }
            // Those of `listen` come before the tables.
            let table = number + 1 - new.listen_plain;
            keys.push(format!("listeners.{table}.certificate"));
        }
        Ok(keys)
    }

    /// The same, with what was said.
    fn read(
        flags: &Flags,
        environment: &Environment,
        reading: Reading,
    ) -> (Said, Result<Self, Vec<Problem>>) {
        let (said, config, problems) = Self::read_all(flags, environment, reading);
        let config = match (config, problems.is_empty()) {
            (Some(config), true) => Ok(config),
            _ => Err(problems),
        };
        (said, config)
    }

    /// What is right of it, and all problems: for who looks on. A value that was refused is its default here, and where
    /// there is no folder there is nothing.
    pub(crate) fn read_anyway(flags: &Flags, environment: &Environment) -> (Option<Self>, Vec<Problem>) {
        let (_, config, problems) = Self::read_all(flags, environment, Reading::First);
        (config, problems)
    }

    fn read_all(
        flags: &Flags,
        environment: &Environment,
        reading: Reading,
    ) -> (Said, Option<Self>, Vec<Problem>) {
        let mut problems = Vec::new();
        let environment = &of_system(flags, environment);
        let said = layers::read(flags, environment, reading, &mut problems);
        let config = Self::of(&said, environment, &mut problems)
            .map(|config| Self { file: layers::file(flags, environment), ..config });
        Problem::sort(&mut problems);
        (said, config, problems)
    }

    fn of(said: &Said, environment: &Environment, problems: &mut Vec<Problem>) -> Option<Self> {
        let top = &said.top;
        let wishes = top.read(TOP, problems);
        // For a value that was refused its default stands here, so that no problem has another behind it.
        problems.extend(wishes.bounds.contradictions(wishes.entry_max).into_iter().map(
            |(key, other, words)| {
                let said = if top.find(key).is_some() { key } else { other };
                Problem::new(top.source_of(said), key, words)
            },
        ));
        if let Err(words) = logging::check(&wishes.log_filter) {
            problems.push(top.problem("log.filter", words));
        }
        let tokens = match &wishes.tokens {
            Some(path) => listeners::tokens(path)
                .map_err(|words| problems.push(top.problem("access.tokens", words)))
                .unwrap_or_default(),
            None => Tokens::default(),
        };
        if environment.system && wishes.users.is_empty() && wishes.groups.is_empty() {
            // Where it is wrong already, that has been said.
            if said
                .top
                .find("access.users")
                .is_none_or(|said| said.value.as_array().is_some_and(Vec::is_empty))
            {
                problems.push(top.problem("access.users", no_users(environment)));
            }
        }
        let listen = listeners::listeners(said, &wishes, problems);
        let listen_plain = listen.len() - said.listeners.len().min(listen.len());
        let routes = Router { environment, problems }.routes(said, &wishes.upstream);
        let folders = Folders::find(wishes.dir, environment)
            .map_err(|words| problems.push(top.problem("dir", words)))
            .ok()?;
        if let Err(words) = check_path(&folders.socket) {
            problems.push(top.problem("dir", format!("the admin socket {words}, by --dir")));
        }
        Some(Self {
            said: said.stated(),
            file: None,
            credentials: folders.credentials(environment),
            folders,
            listen,
            listen_plain,
            listen_default: wishes.listen.is_empty(),
            routes,
            allow_hosts: wishes.allow_hosts,
            users: wishes.users,
            groups: wishes.groups,
            tokens,
            durability: wishes.durability,
            log_format: wishes.log_format.here(environment.journal_stream.as_deref()),
            log_filter: wishes.log_filter,
            entry_max: wishes.entry_max.unwrap_or(ENTRY_MAX.min(wishes.bounds.disk / 4)),
            bounds: wishes.bounds,
            manager: environment.manager.clone(),
        })
    }
}

/// Nobody could use the machine's daemon.
fn no_users(environment: &Environment) -> String {
    let file = Folders::config(environment).unwrap_or_default();
    format!(
        "names nobody, so that only root and the daemon's own user could use the machine's daemon; name users and \
         groups in {}, as in\n[access]\nusers = [\"alice\", \"@builders\"]",
        file.display()
    )
}

/// The environment of the machine's daemon, if that is meant.
fn of_system(flags: &Flags, environment: &Environment) -> Environment {
    Environment { system: flags.system || environment.system, ..environment.clone() }
}
