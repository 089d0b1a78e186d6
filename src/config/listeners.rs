//! Where is listened, and what a listener off loopback needs.

use std::io::Read as _;
use std::os::unix::fs::MetadataExt as _;
use std::path::Path;

use super::keys::{LISTENERS, ListenerWish, Wishes};
use super::place::Problem;
use super::section::{Said, Section};
use crate::regular;
use crate::server::{Clients, Endpoint, Material, Tls, TlsFiles, Tokens, Wanted};

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
            Ok(endpoint) if endpoint.is_private() => found.push(wanted(endpoint)),
            Ok(endpoint) => {
                let words = format!(
                    "{endpoint} is not loopback: it needs a `[[listeners]]` table with `certificate` and \
                     `key` (`larder tls init`); or listen on 127.0.0.1, [::1] or unix:/path"
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
                let is_tls = wish.certificate.is_some() || wish.key.is_some();
                if !endpoint.is_private() && !wish.insecure && !is_tls {
                    let words = format!(
                        "{endpoint} is not loopback, and has no TLS: tokens and bytes could be read on the way; name a \
                         `certificate` and its `key` (`larder tls init` makes them), say `insecure = true` if that \
                         network is your own, or listen on loopback"
                    );
                    problems.push(section.problem("insecure", words));
                }
                let tls = tls(section, &wish, &endpoint, problems);
                if found.iter().any(|one| one.endpoint == endpoint) {
                    problems.push(
                        section
                            .problem("address", format!("{endpoint} is listened on already; leave it out")),
                    );
                }
                found.push(Wanted { only: wish.only, tls, ..wanted(endpoint) });
            }
            Err(words) => problems.push(section.problem("address", words)),
        }
    }
    found
}

fn wanted(endpoint: Endpoint) -> Wanted {
    Wanted { endpoint, optional: false, only: None, tls: None }
}

/// What a listener's keys for TLS say, and the files that they name.
fn tls(
    section: &Section,
    wish: &ListenerWish,
    endpoint: &Endpoint,
    problems: &mut Vec<Problem>,
) -> Option<Tls> {
    let mut refuse = |key: &str, words: &str| {
        problems.push(section.problem(key, words));
        None
    };
    let names_clients = wish.clients.is_some() || !wish.readers.is_empty();
    if wish.client_ca.is_none() && names_clients {
        let key = if wish.clients.is_some() { "clients" } else { "readers" };
        return refuse(
            key,
            "names client certificates, which are asked for where `client_ca` names their CA; say it",
        );
    }
    let (certificate, key) = match (&wish.certificate, &wish.key) {
        (Some(certificate), Some(key)) => (certificate.clone(), key.clone()),
        (Some(_), None) => return refuse("key", "is missing beside `certificate`; name the file of its key"),
        (None, Some(_)) => {
            return refuse("certificate", "is missing beside `key`; name the file of the certificate");
        }
        (None, None) if wish.client_ca.is_some() => {
            return refuse(
                "certificate",
                "is missing beside `client_ca`; name it and its `key`: `larder tls init`",
            );
        }
        (None, None) => return None,
    };
    if matches!(endpoint, Endpoint::Unix(_)) {
        return refuse("certificate", "is not for a unix socket, whose file says who comes in; leave it out");
    }
    if wish.insecure {
        return refuse("insecure", "is for a listener without TLS, and this one has it; leave it out");
    }
    let clients = Clients {
        // Whom the CA knows may do all, where nobody is named.
        writers: match &wish.clients {
            Some(names) => names.clone(),
            None if wish.readers.is_empty() => vec!["*".into()],
            None => Vec::new(),
        },
        readers: wish.readers.clone(),
    };
    match Material::load(TlsFiles { certificate, key, client_ca: wish.client_ca.clone() }) {
        Ok(material) => Some(Tls { material, clients }),
        Err(wrong) => refuse(wrong.key, &wrong.words),
    }
}

/// The tokens of a file that nobody else can read.
pub(super) fn tokens(path: &Path) -> Result<Tokens, String> {
    let shown = path.display();
    let failed = |error: std::io::Error| format!("{shown} can't be read: {error}");
    let (file, found) = regular::open(path).map_err(failed)?;
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
