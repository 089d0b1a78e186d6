//! What a person should know of a listener's certificates: what has ended or will, whom they don't name, and names of
//! clients that no certificate has.

use std::net::IpAddr;

use super::leaf::{day, now};
use super::material::Material;
use super::peer::Clients;
use super::served::Tls;

/// One of them.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Remark {
    /// What is so.
    pub words: String,
    /// What helps.
    pub remedy: String,
    /// Clients are refused, or refuse, because of it.
    pub refuses: bool,
}

/// No name of a host is longer.
const NAME_BYTES_MAX: usize = 253;

// === impl Tls ===

impl Tls {
    /// What should be known of a listener at this address; of what ends within so many seconds as well.
    pub fn remarks(&self, address: Option<IpAddr>, soon: i64) -> Vec<Remark> {
        let mut remarks = self.material.remarks(address, soon);
        remarks.extend(self.clients.remarks());
        remarks
    }

    /// Until when its certificate holds, for people.
    pub fn ends(&self) -> String {
        day(self.material.leaf().not_after)
    }
}

// === impl Material ===

impl Material {
    /// That its certificate has expired, and what helps.
    pub fn expired(&self) -> Option<String> {
        self.end(0).filter(|remark| remark.refuses).map(|remark| remark.to_string())
    }

    fn end(&self, soon: i64) -> Option<Remark> {
        let (end, path) = (self.leaf().not_after, self.files().certificate.display());
        let (words, remedy) = match end - now() {
            ..0 => (
                format!("{path} expired on {}, so that clients refuse it", day(end)),
                "put a new one and its key in place",
            ),
            left if left < soon => (
                format!("{path} expires on {}", day(end)),
                "put a new one and its key in place, no restart is needed",
            ),
            _ => return None,
        };
        Some(Remark { words, remedy: remedy.into(), refuses: end < now() })
    }

    fn remarks(&self, address: Option<IpAddr>, soon: i64) -> Vec<Remark> {
        let (leaf, path) = (self.leaf(), self.files().certificate.display());
        let mut remarks: Vec<Remark> = self.end(soon).into_iter().collect();
        let mut add =
            |refuses, words, remedy: &str| remarks.push(Remark { words, remedy: remedy.into(), refuses });
        if leaf.not_before > now() {
            let from = day(leaf.not_before);
            add(
                true,
                format!("{path} holds from {from} on only, so that clients refuse it"),
                "is the clock right?",
            );
        }
        if let Some(address) = address.filter(|address| !address.is_unspecified() && !self.is_for(*address)) {
            add(
                true,
                format!(
                    "{path} names neither {address} nor a host (subject alternative names), so that clients which ask \
                     for one of them refuse it"
                ),
                "issue it with `larder tls init --name HOST`, or another way",
            );
        } else if leaf.alternative.is_empty() {
            add(
                true,
                format!(
                    "{path} has no subject alternative names, so that clients refuse it by whatever name they ask"
                ),
                "issue it with `larder tls init --name HOST`, or another way",
            );
        }
        let ca = self.files().client_ca.as_deref().unwrap_or_else(|| "-".as_ref()).display();
        for authority in self.authorities() {
            let (name, end) = (authority.shown(), authority.not_after);
            let remedy = "make a new CA, name it beside the old one in that file, and issue the clients' certificates by it";
            match end - now() {
                ..0 => add(
                    false,
                    format!(
                        "the CA {name} in {ca} expired on {}: Larder still lets its clients in, other servers don't",
                        day(end)
                    ),
                    remedy,
                ),
                left if left < soon => {
                    add(false, format!("the CA {name} in {ca} expires on {}", day(end)), remedy);
                }
                _ => {}
            }
        }
        remarks
    }

    /// Whether clients that come by this address can know it by a name of the certificate.
    fn is_for(&self, address: IpAddr) -> bool {
        let is_host = |name: &String| name.parse::<IpAddr>().is_err() && !name.contains(['@', '/']);
        let mut hosts = self.leaf().alternative.iter().filter(|name| is_host(name));
        let is_local = |name: &String| name == "localhost";
        self.names(&address.to_string())
            || if address.is_loopback() { hosts.next().is_some() } else { hosts.any(|name| !is_local(name)) }
    }
}

// === impl Clients ===

impl Clients {
    /// Names that no certificate can have, or that are not taken as they look.
    fn remarks(&self) -> Vec<Remark> {
        let lists = [("clients", &self.writers), ("readers", &self.readers)];
        let names = lists.into_iter().flat_map(|(list, names)| names.iter().map(move |name| (list, name)));
        let odd = names.filter_map(|(list, name)| {
            let why = odd(name)?;
            let shown: String = name.escape_debug().take(80).collect();
            Some(Remark {
                words: format!("`{list}` has `{shown}`, {why}: it lets nobody in"),
                remedy: "name a certificate by its common name, or by one of its subject alternative names; \
                         `openssl x509 -noout -subject -ext subjectAltName -in FILE` shows them"
                    .into(),
                refuses: false,
            })
        });
        odd.collect()
    }
}

/// Why no certificate is called so.
fn odd(name: &str) -> Option<&'static str> {
    if name.is_empty() {
        Some("which is no name")
    } else if name.trim() != name {
        Some("which begins or ends with a blank")
    } else if name.chars().any(char::is_control) {
        Some("which has a control character")
    } else if name.len() > NAME_BYTES_MAX {
        Some("which is longer than any name of a certificate")
    } else if name != "*" && name.contains('*') {
        Some("where only `*` alone stands for others")
    } else if name.to_ascii_uppercase().starts_with("CN=") || name.contains(",O=") || name.contains(", O=") {
        Some("which is a whole subject and no name")
    } else {
        None
    }
}

// === impl Remark ===

impl std::fmt::Display for Remark {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        write!(f, "{}; {}", self.words, self.remedy)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn names_that_let_nobody_in_are_told() {
        let names = |names: &[&str]| names.iter().map(|name| (*name).to_owned()).collect();
        let clients = Clients {
            writers: names(&["*", "ci", "desk.example.com", "a@b.test", "spiffe://team/ci", "Build Server"]),
            readers: names(&["", " ci", "a\nb", "*.example.com", "CN=ci", "cn=ci,O=team", &"x".repeat(254)]),
        };
        let remarks = clients.remarks();
        assert_eq!(remarks.len(), clients.readers.len(), "{remarks:#?}");
        assert!(remarks.iter().all(|remark| remark.words.starts_with("`readers` has `")), "{remarks:#?}");
    }
}
