//! The environment, read in this file and nowhere else, handed down as values.

use std::path::PathBuf;

/// What the environment says.
#[derive(Clone, Default)]
pub struct Environment {
    /// `LARDER_CONFIG`: the configuration file.
    pub config: Option<PathBuf>,
    /// Keys of the configuration, each with what its variable says.
    pub settings: Vec<(&'static str, String)>,
    /// `XDG_RUNTIME_DIR`: the user's folder for sockets.
    pub runtime_dir: Option<PathBuf>,
    /// `JOURNAL_STREAM`: which stream goes to systemd's journal.
    pub journal_stream: Option<String>,
    /// `HOME`.
    pub home: Option<PathBuf>,
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
}

// === impl Environment ===

impl Environment {
    /// That of this process. An empty variable counts as not set.
    pub fn of_process() -> Self {
        let var = |name: &str| std::env::var(name).ok().filter(|value| !value.is_empty());
        let keys = super::keys::TOP.iter().map(|key| key.doc.name);
        Self {
            config: var("LARDER_CONFIG").map(PathBuf::from),
            settings: keys.filter_map(|key| Some((key, var(&super::layers::variable(key))?))).collect(),
            runtime_dir: var("XDG_RUNTIME_DIR").map(PathBuf::from),
            journal_stream: var("JOURNAL_STREAM"),
            home: var("HOME").map(PathBuf::from),
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
        }
    }
}

impl std::fmt::Debug for Environment {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        // The keys are secrets.
        f.debug_struct("Environment").field("config", &self.config).finish_non_exhaustive()
    }
}
