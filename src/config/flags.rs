//! The flags of `larder serve`; each is also an environment variable, `LARDER_{FLAG}`.

use std::path::PathBuf;

use clap::Args;

/// What the command line says.
#[derive(Debug, Clone, Default, Args)]
pub struct Flags {
    /// Configuration file (TOML)
    #[arg(long, value_name = "FILE", env = "LARDER_CONFIG")]
    pub config: Option<PathBuf>,

    /// Where clients connect: `127.0.0.1:5273`, `[::1]:5273` or `unix:/path`; may be given several times
    #[arg(long, value_name = "ADDR", env = "LARDER_LISTEN", value_delimiter = ',')]
    pub listen: Vec<String>,

    /// Folder for everything: cache, queue and admin socket lie below it
    #[arg(long, value_name = "DIR", env = "LARDER_DIR")]
    pub dir: Option<PathBuf>,

    /// Shared store behind this cache: none, file:///path, s3://bucket/prefix?endpoint=…&region=…,
    /// azure://container/prefix?account=… or gs://bucket/prefix
    #[arg(long, value_name = "URL", env = "LARDER_UPSTREAM", hide_env_values = true)]
    pub upstream: Option<String>,
}
