//! Where is listened, and what a listener off loopback needs.

use std::fs::File;
use std::io::Read as _;
use std::os::unix::fs::MetadataExt as _;
use std::path::Path;

use super::keys::{LISTENERS, Wishes};
use super::place::Problem;
use super::section::Said;
use crate::server::{Endpoint, Protocol, Tokens, Wanted};

/// The protocols that a listener may be for alone.
pub(super) const ONLY: &[&str] =
    &["azure", "bazel", "blob", "ccache", "gradle", "maven", "nx", "reapi", "s3", "turborepo"];

/// A file of tokens is not longer.
const TOKENS_BYTES_MAX: u64 = 1 << 20;

/// All listeners that are asked for; none for the defaults.
pub(super) fn listeners(said: &Said, wishes: &Wishes, problems: &mut Vec<Problem>) -> Vec<Wanted> {
    let mut found: Vec<Wanted> = Vec::new();
    for text in &wishes.listen {
        match text.parse::<Endpoint>() {
            Ok(endpoint) if endpoint.is_private() => found.push(wanted(endpoint, None)),
            Ok(endpoint) => {
                let words = format!(
                    "{endpoint} is not loopback: it needs a `[[listeners]]` table with `insecure = true`, and \
                     tokens (`larder token new`); or listen on 127.0.0.1, [::1] or unix:/path"
                );
                problems.push(said.top.problem("listen", words));
            }
            Err(words) => problems.push(said.top.problem("listen", words)),
        }
    }
    for section in &said.listeners {
        let wish = section.read(LISTENERS, problems);
        if wish.address.is_empty() {
            continue; // said to be missing already
        }
        match wish.address.parse::<Endpoint>() {
            Ok(endpoint) => {
                if !endpoint.is_private() && !wish.insecure {
                    let words = format!(
                        "{endpoint} is not loopback, and this version has no TLS: tokens and bytes could be read on \
                         the way; say `insecure = true` if that network is your own, or listen on loopback"
                    );
                    problems.push(section.problem("insecure", words));
                }
                if found.iter().any(|one| one.endpoint == endpoint) {
                    problems.push(
                        section
                            .problem("address", format!("{endpoint} is listened on already; leave it out")),
                    );
                }
                found.push(wanted(endpoint, wish.only));
            }
            Err(words) => problems.push(section.problem("address", words)),
        }
    }
    found
}

fn wanted(endpoint: Endpoint, only: Option<Protocol>) -> Wanted {
    Wanted { endpoint, optional: false, only }
}

/// The tokens of a file that nobody else can read.
pub(super) fn tokens(path: &Path) -> Result<Tokens, String> {
    let shown = path.display();
    let failed = |error: std::io::Error| format!("{shown} can't be read: {error}");
    let file = File::open(path).map_err(failed)?;
    // Of what was opened, so that nothing can be put in its place in between.
    let found = file.metadata().map_err(failed)?;
    if !found.is_file() {
        return Err(format!("{shown} is not a file"));
    }
    if found.mode() & 0o077 != 0 {
        let mode = found.mode() & 0o7777;
        return Err(format!("{shown} has mode {mode:04o}, so that others can read it; `chmod 0600 {shown}`"));
    }
    if found.len() > TOKENS_BYTES_MAX {
        return Err(format!("{shown} is over 1 MiB, which no file of tokens is"));
    }
    let mut text = String::new();
    file.take(TOKENS_BYTES_MAX).read_to_string(&mut text).map_err(failed)?;
    Tokens::parse(&text).map_err(|words| format!("{shown}: {words}"))
}
