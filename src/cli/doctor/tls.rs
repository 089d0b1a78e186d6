//! TLS: the certificates of our listeners, whom they let in, and a handshake with each upstream that has it.
//!
//! What a listener can't be made of (a key of another certificate, one that others can read, a CA that is none) is the
//! configuration's fault, and told with it.

use std::path::{Path, PathBuf};
use std::time::{Duration, SystemTime, UNIX_EPOCH};

use futures_util::future::join_all;

use super::finding::Finding;
use super::machine::{self, Seen};
use crate::config::Config;
use crate::regular;
use crate::server::{Endpoint, TlsRemark, certificate_day, certificate_end};
use crate::upstream::{Handshake, Location};

/// What was seen.
#[derive(Debug)]
pub(super) struct Facts {
    listeners: Vec<Listener>,
    upstreams: Vec<Upstream>,
    /// Seconds since the epoch.
    now: i64,
}

#[derive(Debug)]
struct Listener {
    endpoint: String,
    ends: String,
    remarks: Vec<TlsRemark>,
}

#[derive(Debug)]
struct Upstream {
    name: String,
    peer: String,
    /// The certificates that it has shown: what each is called, and when it ends.
    shown: Result<Vec<(String, i64)>, String>,
    own: Option<Own>,
}

/// Our certificate for an upstream.
#[derive(Debug)]
struct Own {
    certificate: PathBuf,
    key: PathBuf,
    ends: Result<i64, String>,
    /// The key's file.
    found: Option<Seen>,
}

const CHECK: &str = "tls";

/// A handshake takes far less.
const WITHIN: Duration = Duration::from_secs(5);

/// What ends within so many seconds is told.
const SOON: i64 = 30 * 24 * 3600;

/// A file of certificates is not longer.
const FILE_BYTES_MAX: u64 = 1 << 20;

// === impl Facts ===

impl Facts {
    /// Looks at each listener with TLS, and shakes hands with each upstream, all at once.
    pub(super) async fn look(config: &Config) -> Self {
        let listeners = config.tls().map(|(endpoint, tls)| {
            let address = match endpoint {
                Endpoint::Tcp(address) => Some(address.ip().to_canonical()),
                Endpoint::Unix(_) => None,
            };
            Listener { endpoint: endpoint.to_string(), ends: tls.ends(), remarks: tls.remarks(address, SOON) }
        });
        let listeners = listeners.collect();
        let mut handshakes: Vec<(String, Handshake)> = Vec::new();
        for place in &config.routes.places {
            let location = Location::parse(&place.upstream.url).ok();
            let Some(handshake) = location.and_then(|location| location.handshake()) else { continue };
            if !handshakes.iter().any(|(name, _)| *name == place.name) {
                handshakes.push((place.name.clone(), handshake));
            }
        }
        let upstreams = join_all(handshakes.into_iter().map(Upstream::look)).await;
        let now =
            SystemTime::now().duration_since(UNIX_EPOCH).map_or(0, |since| since.as_secs().cast_signed());
        Self { listeners, upstreams, now }
    }

    pub(super) fn findings(&self) -> Vec<Finding> {
        let listeners = self.listeners.iter().flat_map(Listener::findings);
        listeners.chain(self.upstreams.iter().flat_map(|upstream| upstream.findings(self.now))).collect()
    }
}

// === impl Listener ===

impl Listener {
    fn findings(&self) -> Vec<Finding> {
        let Self { endpoint, ends, remarks } = self;
        if remarks.is_empty() {
            return vec![Finding::ok(CHECK, format!("the certificate of {endpoint} holds until {ends}"))];
        }
        let finding = |remark: &TlsRemark| {
            let find = if remark.refuses { Finding::problem } else { Finding::warning };
            find(CHECK, format!("{endpoint}: {}", remark.words), remark.remedy.clone())
        };
        remarks.iter().map(finding).collect()
    }
}

// === impl Upstream ===

impl Upstream {
    async fn look((name, handshake): (String, Handshake)) -> Self {
        let own = handshake.own().map(|(certificate, key)| (certificate.to_path_buf(), key.to_path_buf()));
        let own =
            tokio::task::spawn_blocking(move || own.map(|(certificate, key)| Own::look(certificate, key)));
        let within = async { tokio::time::timeout(WITHIN, own).await.ok()?.ok()? };
        let (shown, own) = tokio::join!(handshake.make(WITHIN), within);
        let shown = shown.and_then(|chain| {
            let end = |certificate: &Vec<u8>| certificate_end(certificate);
            chain.iter().map(end).collect::<Result<_, _>>()
        });
        Self { name, peer: handshake.peer(), shown, own }
    }

    fn findings(&self, now: i64) -> Vec<Finding> {
        let Self { name, peer, shown, own } = self;
        let mut findings: Vec<Finding> = own.iter().flat_map(|own| own.findings(name, now)).collect();
        let chain = match shown {
            Ok(chain) => chain,
            Err(words) => {
                findings.push(Finding::problem(
                    CHECK,
                    format!("no handshake with {name} ({peer}): {words}"),
                    remedy(words),
                ));
                return findings;
            }
        };
        let ends_first = chain.iter().min_by_key(|(_, end)| *end);
        findings.push(match ends_first {
            Some((called, end)) if end - now < SOON => Finding::warning(
                CHECK,
                format!(
                    "the certificate {called} of {name} ({peer}) expires on {}: it is refused from then on",
                    certificate_day(*end)
                ),
                "have whoever runs that server renew it",
            ),
            Some((_, end)) => Finding::ok(
                CHECK,
                format!(
                    "{name} ({peer}) is known by its certificate, which holds until {}",
                    certificate_day(*end)
                ),
            ),
            None => Finding::ok(CHECK, format!("{name} ({peer}) shakes hands")),
        });
        findings
    }
}

/// What helps, by what rustls and the server said.
fn remedy(words: &str) -> &'static str {
    let has = |part: &str| words.contains(part);
    if has("UnknownIssuer") || has("UnknownCa") && !has("alert") {
        "name the CA that issued its certificate: ca=FILE in the URL of the upstream"
    } else if has("NotValidForName") || has("not valid for name") {
        "call it in the URL by a name that its certificate has"
    } else if has("expired") && has("peer certificate") {
        "have whoever runs that server renew its certificate; is the clock right here?"
    } else if has("CertificateRequired") {
        "it asks for a client's certificate: certificate=FILE and key=FILE in the URL of the upstream"
    } else if has("received fatal alert") {
        "it refuses our certificate: have its CA issue one for this machine, and name it with certificate=FILE and key=FILE"
    } else if has("the ca file") || has("the certificate file") || has("the key") {
        "put the files in place that the URL of the upstream names, readable by the daemon's user, who runs this"
    } else {
        "see that the URL is right, that the server runs and speaks TLS there, and that this machine reaches it"
    }
}

// === impl Own ===

impl Own {
    fn look(certificate: PathBuf, key: PathBuf) -> Self {
        let ends = read(&certificate).and_then(|bytes| certificate_end(&bytes).map(|(_, end)| end));
        Self { found: machine::look(&key), certificate, key, ends }
    }

    fn findings(&self, upstream: &str, now: i64) -> Vec<Finding> {
        let (path, key) = (self.certificate.display(), self.key.display());
        let mut findings = Vec::new();
        match &self.ends {
            Ok(end) if end - now < SOON => {
                let day = certificate_day(*end);
                let remedy =
                    "have its CA issue a new one, and put it and its key in place: no restart is needed";
                let expires = format!("our certificate {path} for {upstream} expires on {day}");
                findings.push(match end - now {
                    ..0 => Finding::problem(
                        CHECK,
                        format!(
                            "our certificate {path} for {upstream} expired on {day}, so that it refuses us"
                        ),
                        remedy,
                    ),
                    _ => Finding::warning(CHECK, expires, remedy),
                });
            }
            Ok(_) => {}
            Err(words) => findings.push(Finding::problem(
                CHECK,
                format!("our certificate {path} for {upstream} can't be read: {words}"),
                "put it there in PEM, readable by the daemon's user, who runs this; or name another",
            )),
        }
        if let Some(mode) = self.found.as_ref().map(|found| found.mode).filter(|mode| mode & 0o077 != 0) {
            findings.push(Finding::warning(
                CHECK,
                format!("the key {key} for {upstream} has mode {mode:04o}: others can be this machine there"),
                format!("`chmod 0600 {key}`, and replace what others may have read"),
            ));
        }
        findings
    }
}

fn read(path: &Path) -> Result<Vec<u8>, String> {
    regular::read(path, FILE_BYTES_MAX).map_err(|error| error.to_string())
}

#[cfg(test)]
mod tests {
    use super::super::finding::Level;
    use super::*;

    const DAY: i64 = 24 * 3600;

    fn upstream(shown: Result<Vec<(String, i64)>, String>) -> Upstream {
        Upstream { name: "team".into(), peer: "h:443".into(), shown, own: None }
    }

    #[test]
    fn what_ends_is_told_before_and_what_fails_with_its_remedy() {
        let chain = |days: &[i64]| Ok(days.iter().map(|days| ("`h`".to_owned(), days * DAY)).collect());
        for (days, level) in [(&[60, 400][..], Level::Ok), (&[400, 29], Level::Warning), (&[], Level::Ok)] {
            let found = upstream(chain(days)).findings(0);
            assert!(found.len() == 1 && found[0].level == level, "{days:?}: {found:?}");
        }
        for (words, helps) in [
            ("TLS: invalid peer certificate: UnknownIssuer", "ca=FILE"),
            (
                "TLS: invalid peer certificate: certificate not valid for name \"h\"",
                "a name that its certificate has",
            ),
            ("TLS: invalid peer certificate: certificate expired: 1", "renew its certificate"),
            ("TLS: received fatal alert: CertificateRequired", "certificate=FILE"),
            ("TLS: received fatal alert: UnknownCA", "refuses our certificate"),
            ("the ca file /x: gone", "put the files in place"),
            ("Connection refused", "the server runs"),
        ] {
            let found = upstream(Err(words.into())).findings(0).remove(0);
            assert_eq!(found.level, Level::Problem, "{found:?}");
            assert!(found.remedy.as_ref().is_some_and(|remedy| remedy.contains(helps)), "{found:?}");
        }
    }

    #[test]
    fn our_own_certificate_has_an_end_and_a_key_that_is_ours_alone() {
        let own = |days: i64, mode| {
            let found = Some(Seen { is_dir: false, is_socket: false, mode, uid: 7, device: 1 });
            let own = Own { certificate: "/c".into(), key: "/k".into(), ends: Ok(days * DAY), found };
            own.findings("team", 0).into_iter().map(|found| found.level).collect::<Vec<_>>()
        };
        assert_eq!(own(60, 0o600), []);
        assert_eq!(own(29, 0o400), [Level::Warning]);
        assert_eq!(own(-1, 0o600), [Level::Problem]);
        assert_eq!(own(60, 0o640), [Level::Warning]);
        let gone = Own { certificate: "/c".into(), key: "/k".into(), ends: Err("gone".into()), found: None };
        assert_eq!(gone.findings("team", 0)[0].level, Level::Problem);
    }

    #[test]
    fn listeners_say_what_is_to_be_known_of_them() {
        let listener = |remarks| Listener { endpoint: "0.0.0.0:5274".into(), ends: "2027".into(), remarks };
        assert_eq!(listener(Vec::new()).findings()[0].level, Level::Ok);
        let remark = |refuses| TlsRemark { words: "it ends".into(), remedy: "renew it".into(), refuses };
        let found = listener(vec![remark(true), remark(false)]).findings();
        assert_eq!((found[0].level, found[1].level), (Level::Problem, Level::Warning));
        assert!(found[0].words.contains("0.0.0.0:5274: it ends"), "{found:?}");
    }
}
