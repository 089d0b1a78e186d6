//! Defaults, then the file, then the environment, then flags: everything a user can set, checked before anything is
//! touched, with all problems told at once.
//!
//! The environment is read here and nowhere else. No component sees [`Config`]: the daemon takes it apart into each
//! one's own settings.

mod clouds;
mod environment;
mod file;
mod flags;
mod upstream;
mod value;

use std::fmt;
use std::path::PathBuf;
use std::time::Duration;

pub use environment::Environment;
pub use file::keys;
pub use flags::Flags;
pub use upstream::{Keys, Upstream};
pub(crate) use value::parse_duration;

use crate::server::Endpoint;

/// The port that the defaults listen on.
pub const PORT: u16 = 5273;

/// A configuration that is right.
#[derive(Debug, Clone)]
pub struct Config {
    /// Where things lie.
    pub folders: Folders,
    /// Where clients connect; empty for the defaults.
    pub listen: Vec<Endpoint>,
    /// The shared store.
    pub upstream: Option<Upstream>,
    /// Names besides loopback that a `Host` may have.
    pub allow_hosts: Vec<String>,
    /// Uids let in besides root and the daemon's own.
    pub users: Vec<u32>,
    /// What an acknowledged PUT survives.
    pub durability: Durability,
    /// How logs look.
    pub log_format: LogFormat,
    /// What is logged; `None` for the default.
    pub log_filter: Option<String>,
    /// `entry_max`: bytes of one entry.
    pub entry_max: u64,
    /// The other bounds.
    pub bounds: Bounds,
}

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

/// What an acknowledged PUT survives.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Durability {
    /// The end of the process, `kill -9` included.
    Process,
    /// Loss of power.
    Power,
}

/// How a line of the log looks.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum LogFormat {
    /// For people.
    Text,
    /// One JSON object.
    Json,
}

/// The bounds; each field is a key of the same name.
#[derive(Debug, Clone)]
#[expect(missing_docs, reason = "the README's table of bounds describes each once")]
pub struct Bounds {
    pub memory: u64,
    pub memory_entry_max: u64,
    pub disk: u64,
    /// `None`: 5 % of the filesystem, at most 5 GiB.
    pub disk_keep_free: Option<u64>,
    pub inodes_keep_free: u8,
    pub disk_floor: u64,
    pub queue_bytes: u64,
    pub queue_entries: u64,
    pub fills: usize,
    pub fill_bytes: u64,
    pub connect: Duration,
    pub first_byte: Duration,
    pub stall: Duration,
    pub absent_memory_entries: usize,
    pub absent_memory_age: Duration,
    pub fact_memory_entries: usize,
    pub fact_memory_age: Duration,
    /// `None`: half of the descriptors that the process may have.
    pub connections: Option<usize>,
    pub head: Duration,
    pub body_stall: Duration,
    pub idle: Duration,
    pub partial_uploads_count: usize,
    /// `None`: half of `disk`.
    pub partial_uploads_bytes: Option<u64>,
    pub partial_uploads_age: Duration,
    pub quarantine_entries: usize,
    pub quarantine_bytes: u64,
    pub quarantine_age: Duration,
}

/// Something that is wrong with a configuration.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Problem {
    origin: String,
    key: String,
    words: String,
}

/// What is asked for, before it is checked.
#[derive(Debug)]
struct Wishes {
    listen: Vec<String>,
    dir: Option<PathBuf>,
    upstream: Option<String>,
    allow_hosts: Vec<String>,
    users: Vec<u32>,
    durability: Durability,
    log_format: LogFormat,
    log_filter: Option<String>,
    entry_max: Option<u64>,
    bounds: Bounds,
}

/// `entry_max` unless the disk is too small for it.
const ENTRY_MAX: u64 = 5 << 30;

// === impl Bounds ===

impl Default for Bounds {
    fn default() -> Self {
        const SECOND: Duration = Duration::from_secs(1);
        Self {
            memory: 256 << 20,
            memory_entry_max: 1 << 20,
            disk: 10 << 30,
            disk_keep_free: None,
            inodes_keep_free: 2,
            disk_floor: 256 << 20,
            queue_bytes: 5 << 30,
            queue_entries: 1_000_000,
            fills: 256,
            fill_bytes: 2 << 30,
            connect: Duration::from_millis(500),
            first_byte: Duration::from_millis(1500),
            stall: 10 * SECOND,
            absent_memory_entries: 100_000,
            absent_memory_age: 2 * SECOND,
            fact_memory_entries: 1_000_000,
            fact_memory_age: 3 * 3600 * SECOND,
            connections: None,
            head: 10 * SECOND,
            body_stall: 60 * SECOND,
            idle: 15 * 60 * SECOND,
            partial_uploads_count: 1000,
            partial_uploads_bytes: None,
            partial_uploads_age: 3600 * SECOND,
            quarantine_entries: 100,
            quarantine_bytes: 256 << 20,
            quarantine_age: 7 * 24 * 3600 * SECOND,
        }
    }
}

// === impl Wishes ===

impl Default for Wishes {
    fn default() -> Self {
        Self {
            listen: Vec::new(),
            dir: None,
            upstream: None,
            allow_hosts: Vec::new(),
            users: Vec::new(),
            durability: Durability::Process,
            log_format: LogFormat::Text,
            log_filter: None,
            entry_max: None,
            bounds: Bounds::default(),
        }
    }
}

// === impl Config ===

impl Config {
    /// Reads and checks everything.
    ///
    /// # Errors
    /// All problems, each with where it is.
    pub fn load(flags: Flags, environment: &Environment) -> Result<Self, Vec<Problem>> {
        let mut problems = Vec::new();
        let mut wishes = Wishes::default();
        let file = flags.config.clone();
        if let Some(path) = &file {
            file::read(path, &mut wishes, &mut problems);
        }
        let origin = file.map_or_else(|| "the configuration".to_owned(), |path| path.display().to_string());
        let said_by =
            |flag: bool, key: &str| -> String { if flag { format!("--{key}") } else { origin.clone() } };
        let listen_by = said_by(!flags.listen.is_empty(), "listen");
        let upstream_by = said_by(flags.upstream.is_some(), "upstream");
        if !flags.listen.is_empty() {
            wishes.listen = flags.listen;
        }
        wishes.dir = flags.dir.or(wishes.dir);
        wishes.upstream = flags.upstream.or(wishes.upstream);
        wishes.log_filter = environment.log.clone().or(wishes.log_filter);

        let mut listen = Vec::new();
        for text in &wishes.listen {
            match text.parse() {
                Ok(endpoint) => listen.push(endpoint),
                Err(words) => problems.push(Problem::new(&listen_by, "listen", words)),
            }
        }
        let upstream = Upstream::parse(wishes.upstream.as_deref().unwrap_or("none"), environment)
            .map_err(|words| problems.push(Problem::new(&upstream_by, "upstream", words)))
            .unwrap_or(None);
        let entry_max = wishes.entry_max.unwrap_or(ENTRY_MAX.min(wishes.bounds.disk / 4));
        problems.extend(
            wishes.contradictions().into_iter().map(|(key, words)| Problem::new(&origin, key, words)),
        );
        let folders = Folders::find(wishes.dir, environment)
            .map_err(|words| problems.push(Problem::new(&origin, "dir", words)));
        match (folders, problems.is_empty()) {
            (Ok(folders), true) => Ok(Self {
                folders,
                listen,
                upstream,
                allow_hosts: wishes.allow_hosts,
                users: wishes.users,
                durability: wishes.durability,
                log_format: wishes.log_format,
                log_filter: wishes.log_filter,
                entry_max,
                bounds: wishes.bounds,
            }),
            _ => Err(problems),
        }
    }
}

impl Wishes {
    /// Keys that don't go together.
    fn contradictions(&self) -> Vec<(&'static str, String)> {
        let bounds = &self.bounds;
        let mut found = Vec::new();
        if self.entry_max.is_some_and(|entry_max| entry_max > bounds.disk / 4) {
            found.push(("entry_max", "is over a quarter of `disk`: one entry would evict too much".into()));
        }
        if bounds.memory > 0 && bounds.memory_entry_max > bounds.memory {
            found.push(("memory_entry_max", "is over `memory`".into()));
        }
        for (key, time) in [
            ("connect", bounds.connect),
            ("first_byte", bounds.first_byte),
            ("stall", bounds.stall),
            ("head", bounds.head),
            ("body_stall", bounds.body_stall),
            ("idle", bounds.idle),
        ] {
            if time.is_zero() {
                found.push((key, "is zero, so that nothing would ever be in time".into()));
            }
        }
        found
    }
}

// === impl Folders ===

impl Folders {
    /// Below `dir`, else where the platform keeps such things.
    fn find(dir: Option<PathBuf>, environment: &Environment) -> Result<Self, String> {
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

    /// The admin socket of the daemon that `dir`, or its absence, means.
    ///
    /// # Errors
    /// Words, when this user has no folders.
    pub fn socket(dir: Option<PathBuf>, environment: &Environment) -> Result<PathBuf, String> {
        Self::find(dir, environment).map(|folders| folders.socket)
    }
}

// === impl Problem ===

impl Problem {
    fn new(origin: &str, key: &str, words: String) -> Self {
        Self { origin: origin.to_owned(), key: key.to_owned(), words }
    }
}

impl fmt::Display for Problem {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self.key.as_str() {
            "" => write!(f, "{}: {}", self.origin, self.words),
            key => write!(f, "{}: `{key}`: {}", self.origin, self.words),
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn load(text: &str, flags: Flags) -> Result<Config, Vec<String>> {
        let folder = tempfile::tempdir().expect("a folder");
        let path = folder.path().join("larder.toml");
        std::fs::write(&path, text).expect("writes");
        let flags = Flags { config: Some(path), dir: flags.dir.or(Some("/tmp/x".into())), ..flags };
        Config::load(flags, &Environment::default())
            .map_err(|problems| problems.iter().map(Problem::to_string).collect())
    }

    #[test]
    fn flags_come_before_the_file_and_the_file_before_defaults() {
        let config = load(
            "memory = \"1 MiB\"\nlisten = [\"127.0.0.1:1\"]\nupstream = \"file:///a\"",
            Flags { upstream: Some("file:///b".into()), ..Flags::default() },
        )
        .expect("right");
        assert_eq!(config.bounds.memory, 1 << 20);
        assert_eq!(config.bounds.disk, 10 << 30);
        assert_eq!(config.entry_max, 10 << 28, "a quarter of the disk, which is under 5 GiB");
        assert_eq!(config.listen, ["127.0.0.1:1".parse().expect("an endpoint")]);
        assert_eq!(config.upstream.map(|upstream| upstream.url).as_deref(), Some("file:///b"));
        assert_eq!(config.folders.socket, PathBuf::from("/tmp/x/larder.sock"));
    }

    #[test]
    fn all_problems_are_told_at_once_each_with_its_key() {
        let text =
            "memorry = 1\nfirst_byte = 5\nentry_max = \"9 GiB\"\n[access]\nuser = 1\n[log]\nformat = \"xml\"";
        let problems =
            load(text, Flags { listen: vec!["0.0.0.0:1".into()], ..Flags::default() }).expect_err("wrong");
        assert_eq!(problems.len(), 6, "{problems:#?}");
        for word in ["`memorry`", "`first_byte`", "`entry_max`", "`access.user`", "`log.format`", "--listen"]
        {
            assert!(problems.iter().any(|problem| problem.contains(word)), "{word} in {problems:#?}");
        }
    }

    #[test]
    fn the_bytes_of_partial_uploads_follow_the_disk_unless_said() {
        let config = load("disk = \"1 GiB\"", Flags::default()).expect("right");
        assert_eq!(config.bounds.partial_uploads_bytes, None);
        let text =
            "partial_uploads_count = 2\npartial_uploads_bytes = \"1 MiB\"\npartial_uploads_age = \"5 min\"";
        let bounds = load(text, Flags::default()).expect("right").bounds;
        assert_eq!(
            (bounds.partial_uploads_count, bounds.partial_uploads_bytes, bounds.partial_uploads_age),
            (2, Some(1 << 20), Duration::from_secs(300))
        );
    }

    #[test]
    fn text_that_is_not_toml_and_a_file_that_is_not_there_are_problems() {
        assert_eq!(load("memory = ", Flags::default()).expect_err("wrong").len(), 1);
        let flags = Flags { config: Some("/nonexistent/larder.toml".into()), ..Flags::default() };
        let problems = Config::load(flags, &Environment::default()).expect_err("absent");
        assert!(problems[0].to_string().contains("/nonexistent/larder.toml"), "{problems:?}");
    }
}
