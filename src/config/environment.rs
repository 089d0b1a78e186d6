//! The environment, read in this file and nowhere else, handed down as values.

use std::collections::BTreeMap;
use std::ffi::OsString;
use std::path::PathBuf;
use std::time::Duration;

/// What the service manager says to the process that it started.
///
/// The daemon starts no children but commands that print credentials, which don't inherit it.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub struct Manager {
    /// `NOTIFY_SOCKET`: where it wants to be told; a path, or a name behind `@`.
    pub notify_socket: Option<OsString>,
    /// `WATCHDOG_USEC`, if `WATCHDOG_PID` is this process or not said: how often it wants to hear that all is well.
    pub watchdog: Option<Duration>,
    /// `LISTEN_FDNAMES`: what it calls the sockets that it hands over.
    pub socket_names: Option<String>,
}

/// Folders that a service manager made for this process: `CacheDirectory=` and its like. Of several the first.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub struct Given {
    /// `CACHE_DIRECTORY`.
    pub cache: Option<PathBuf>,
    /// `STATE_DIRECTORY`.
    pub state: Option<PathBuf>,
    /// `RUNTIME_DIRECTORY`.
    pub runtime: Option<PathBuf>,
    /// `CONFIGURATION_DIRECTORY`.
    pub configuration: Option<PathBuf>,
    /// `CREDENTIALS_DIRECTORY`.
    pub credentials: Option<PathBuf>,
}

/// What the environment says.
#[derive(Clone, Default)]
pub struct Environment {
    /// `LARDER_CONFIG`: the configuration file.
    pub config: Option<PathBuf>,
    /// `LARDER_SYSTEM`: the machine's daemon is meant, not the user's.
    pub system: bool,
    /// `LARDER_DUMPABLE`: the process may leave core files, and be looked into by others of its user.
    pub dumpable: bool,
    /// What is read where neither a flag nor `LARDER_CONFIG` names a file: the user's own, which need not be there.
    pub own_config: Option<PathBuf>,
    /// The service manager's folders.
    pub given: Given,
    /// The service manager.
    pub manager: Manager,
    /// Keys of the configuration, each with what its variable says.
    pub settings: Vec<(&'static str, String)>,
    /// `XDG_RUNTIME_DIR`: the user's folder for sockets.
    pub runtime_dir: Option<PathBuf>,
    /// `JOURNAL_STREAM`: which stream goes to systemd's journal.
    pub journal_stream: Option<String>,
    /// `HOME`.
    pub home: Option<PathBuf>,
    /// `XDG_CONFIG_HOME`: the user's folder for configuration.
    pub config_home: Option<PathBuf>,
    /// `USER`.
    pub user: Option<String>,
    /// `SUDO_USER`: who became this user by sudo.
    pub sudo_user: Option<String>,
    /// This program's own file.
    pub executable: Option<PathBuf>,
    /// `AWS_ACCESS_KEY_ID`.
    pub access_key_id: Option<String>,
    /// `AWS_SECRET_ACCESS_KEY`.
    pub secret_access_key: Option<String>,
    /// `AWS_SESSION_TOKEN`.
    pub session_token: Option<String>,
    /// `AWS_SHARED_CREDENTIALS_FILE`.
    pub credentials_file: Option<PathBuf>,
    /// `AWS_PROFILE`.
    pub profile: Option<String>,
    /// `AWS_REGION`, else `AWS_DEFAULT_REGION`.
    pub region: Option<String>,
    /// `AWS_ENDPOINT_URL_S3`, else `AWS_ENDPOINT_URL`.
    pub endpoint: Option<String>,
    /// `AZURE_STORAGE_ACCOUNT`.
    pub azure_account: Option<String>,
    /// `AZURE_STORAGE_KEY`.
    pub azure_key: Option<String>,
    /// `AZURE_STORAGE_SAS_TOKEN`.
    pub azure_sas: Option<String>,
    /// `AZURE_STORAGE_CONNECTION_STRING`.
    pub azure_connection: Option<String>,
    /// `GOOGLE_APPLICATION_CREDENTIALS`.
    pub google_credentials: Option<PathBuf>,
    /// `LARDER_UPSTREAM_TOKEN`: of upstreams that are no bucket.
    pub upstream_token: Option<String>,
    /// What the kinds of stored credentials read that are the clouds' own: roles of containers, workload identity. Some
    /// are secrets.
    pub issuers: BTreeMap<String, String>,
    /// What the build tools of this shell would read: those that are set of what `larder doctor` looks at, and the one that
    /// `MOON_REMOTE_AUTH_TOKEN` names. Some are secrets.
    pub tools: BTreeMap<String, String>,
}

/// Variables by which a cloud tells its machines who issues their credentials.
const ISSUERS: [&str; 12] = [
    "AWS_SHARED_CREDENTIALS_FILE",
    "AWS_CONFIG_FILE",
    "AWS_CONTAINER_CREDENTIALS_RELATIVE_URI",
    "AWS_CONTAINER_CREDENTIALS_FULL_URI",
    "AWS_CONTAINER_AUTHORIZATION_TOKEN",
    "AWS_CONTAINER_AUTHORIZATION_TOKEN_FILE",
    "AZURE_TENANT_ID",
    "AZURE_CLIENT_ID",
    "AZURE_FEDERATED_TOKEN_FILE",
    "AZURE_AUTHORITY_HOST",
    "IDENTITY_ENDPOINT",
    "IDENTITY_HEADER",
];

/// Variables of build tools that `larder doctor` looks at; nothing else here does.
const TOOLS: [&str; 36] = [
    "ALL_PROXY",
    "all_proxy",
    "HTTP_PROXY",
    "http_proxy",
    "HTTPS_PROXY",
    "https_proxy",
    "NO_PROXY",
    "no_proxy",
    "NO_COLOR",
    "TERM",
    "CI",
    "AWS_ACCESS_KEY_ID",
    "AZURE_STORAGE_CONNECTION_STRING",
    "BACKFILL_CACHE_PROVIDER",
    "BACKFILL_CACHE_PROVIDER_OPTIONS",
    "CCACHE_REMOTE_STORAGE",
    "LAGE_WRITE_CACHE",
    "LAGE_WRITE_REMOTE_CACHE",
    "MOON_REMOTE_API",
    "MOON_REMOTE_AUTH_TOKEN",
    "MOON_REMOTE_HOST",
    "NIX_CONFIG",
    "NX_CLOUD_ACCESS_TOKEN",
    "NX_NO_CLOUD",
    "NX_SELF_HOSTED_REMOTE_CACHE_SERVER",
    "RUSH_BUILD_CACHE_CREDENTIAL",
    "RUSH_BUILD_CACHE_ENABLED",
    "RUSH_BUILD_CACHE_OVERRIDE_JSON",
    "SCCACHE_AZURE_CONNECTION_STRING",
    "SCCACHE_BUCKET",
    "SCCACHE_ENDPOINT",
    "SCCACHE_S3_NO_CREDENTIALS",
    "TURBO_API",
    "TURBO_TEAM",
    "TURBO_TEAMID",
    "TURBO_TOKEN",
];

// === impl Environment ===

impl Environment {
    /// That of this process. An empty variable counts as not set.
    pub fn of_process() -> Self {
        let var = |name: &str| std::env::var(name).ok().filter(|value| !value.is_empty());
        let mut tools: BTreeMap<String, String> =
            TOOLS.iter().filter_map(|name| Some(((*name).to_owned(), var(name)?))).collect();
        if let Some(named) = tools.get("MOON_REMOTE_AUTH_TOKEN").cloned()
            && let Some(token) = var(&named)
        {
            tools.insert(named, token);
        }
        let own = directories::ProjectDirs::from("", "", "larder");
        let keys = super::keys::TOP.iter().map(|key| key.doc.name);
        Self {
            config: var("LARDER_CONFIG").map(PathBuf::from),
            system: var("LARDER_SYSTEM").is_some_and(|value| is_yes(&value)),
            dumpable: var("LARDER_DUMPABLE").is_some_and(|value| is_yes(&value)),
            own_config: own.map(|own| own.config_dir().join("larder.toml")),
            given: Given::of_process(&var),
            manager: Manager::of_process(&var),
            settings: keys.filter_map(|key| Some((key, var(&super::layers::variable(key))?))).collect(),
            runtime_dir: var("XDG_RUNTIME_DIR").map(PathBuf::from),
            journal_stream: var("JOURNAL_STREAM"),
            home: var("HOME").map(PathBuf::from),
            config_home: var("XDG_CONFIG_HOME").map(PathBuf::from),
            user: var("USER"),
            sudo_user: var("SUDO_USER"),
            executable: std::env::current_exe().ok(),
            access_key_id: var("AWS_ACCESS_KEY_ID"),
            secret_access_key: var("AWS_SECRET_ACCESS_KEY"),
            session_token: var("AWS_SESSION_TOKEN"),
            credentials_file: var("AWS_SHARED_CREDENTIALS_FILE").map(PathBuf::from),
            profile: var("AWS_PROFILE"),
            region: var("AWS_REGION").or_else(|| var("AWS_DEFAULT_REGION")),
            endpoint: var("AWS_ENDPOINT_URL_S3").or_else(|| var("AWS_ENDPOINT_URL")),
            azure_account: var("AZURE_STORAGE_ACCOUNT"),
            azure_key: var("AZURE_STORAGE_KEY"),
            azure_sas: var("AZURE_STORAGE_SAS_TOKEN"),
            azure_connection: var("AZURE_STORAGE_CONNECTION_STRING"),
            google_credentials: var("GOOGLE_APPLICATION_CREDENTIALS").map(PathBuf::from),
            upstream_token: var("LARDER_UPSTREAM_TOKEN"),
            issuers: ISSUERS.iter().filter_map(|name| Some(((*name).to_owned(), var(name)?))).collect(),
            tools,
        }
    }
}

/// Whether a variable that is a switch is on: anything but `0`, `no`, `off` and `false`.
fn is_yes(value: &str) -> bool {
    !["0", "no", "off", "false"].contains(&value.to_ascii_lowercase().as_str())
}

// === impl Given ===

impl Given {
    fn of_process(var: &impl Fn(&str) -> Option<String>) -> Self {
        // A command in a shell that some other service runs has that one's folders in its environment.
        if var("SYSTEMD_EXEC_PID").is_some_and(|pid| pid != std::process::id().to_string()) {
            return Self::default();
        }
        let first = |name: &str| {
            let folders = var(name)?;
            folders.split(':').find(|folder| !folder.is_empty()).map(PathBuf::from)
        };
        Self {
            cache: first("CACHE_DIRECTORY"),
            state: first("STATE_DIRECTORY"),
            runtime: first("RUNTIME_DIRECTORY"),
            configuration: first("CONFIGURATION_DIRECTORY"),
            credentials: var("CREDENTIALS_DIRECTORY").map(PathBuf::from),
        }
    }
}

// === impl Manager ===

impl Manager {
    fn of_process(var: &impl Fn(&str) -> Option<String>) -> Self {
        let is_meant = var("WATCHDOG_PID").is_none_or(|pid| pid == std::process::id().to_string());
        let watchdog = var("WATCHDOG_USEC").filter(|_| is_meant).and_then(|usec| usec.parse().ok());
        Self {
            notify_socket: std::env::var_os("NOTIFY_SOCKET").filter(|socket| !socket.is_empty()),
            watchdog: watchdog.filter(|usec| *usec > 0).map(Duration::from_micros),
            socket_names: var("LISTEN_FDNAMES"),
        }
    }
}

impl std::fmt::Debug for Environment {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        // The keys are secrets.
        f.debug_struct("Environment").field("config", &self.config).finish_non_exhaustive()
    }
}
