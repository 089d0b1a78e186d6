//! The flags of `larder serve` and `larder check`; each is also an environment variable, `LARDER_{FLAG}`.
//!
//! The variables are not clap's to read: a value is told where it came from.

use std::path::PathBuf;

use clap::Args;

/// What the command line says.
#[derive(Debug, Clone, Default, Args)]
pub struct Flags {
    /// Configuration file, TOML [env: LARDER_CONFIG]
    #[arg(long, value_name = "FILE")]
    pub config: Option<PathBuf>,

    /// Where clients connect: `127.0.0.1:5273`, `[::1]:5273` or `unix:/path`; may be given several times
    /// [env: LARDER_LISTEN]
    #[arg(long, value_name = "ADDR", value_delimiter = ',')]
    pub listen: Vec<String>,

    /// Folder for everything: cache, queue and admin socket lie below it [env: LARDER_DIR]
    #[arg(long, value_name = "DIR")]
    pub dir: Option<PathBuf>,

    /// The machine's daemon, not the user's: its configuration is /etc/larder/larder.toml, its folders are
    /// /var/cache/larder, /var/lib/larder and /run/larder; `access.users` must name who may use it
    /// [env: LARDER_SYSTEM]
    #[arg(long)]
    pub system: bool,

    /// Shared store behind this cache: none, file:///path, s3://bucket/prefix?endpoint=…&region=…,
    /// azure://container/prefix?account=…, gs://bucket/prefix, or the name of one of the file's [env: LARDER_UPSTREAM]
    #[arg(long, value_name = "URL")]
    pub upstream: Option<String>,
}
