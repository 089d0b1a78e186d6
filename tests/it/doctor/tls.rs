//! Listeners with TLS, and upstreams that are reached by it.

use std::fs;
use std::os::unix::fs::PermissionsExt as _;

use super::ask;
use crate::support::free_addr;
use crate::support::setup::Setup;
use crate::support::tls::{Odd, Pki};
use crate::tls::with_clients;

#[test]
fn certificates_that_are_right_are_said_to_be_so() {
    let pki = Pki::new(&["desk"]);
    let (hub, addr) = with_clients(&pki, "clients = [\"desk\"]");
    let said = ask(hub.setup());
    said.without_problems();
    said.has("port", "ok", &[&addr.to_string(), "speaks TLS"], "");
    said.has("tls", "ok", &["the certificate of", &addr.to_string(), "holds until"], "");

    let desk = pki.client("desk");
    let options = format!(
        "ca={}&certificate={}&key={}",
        pki.ca().display(),
        desk.certificate.display(),
        desk.key.display()
    );
    for scheme in ["https", "grpcs"] {
        let url = format!("{scheme}://127.0.0.1:{}?{options}", addr.port());
        let said = ask(&Setup::new().upstream(url));
        assert!(!said.problems().contains(&"tls"), "{scheme}: {:#}", said.page);
        said.has("tls", "ok", &[&format!("(127.0.0.1:{})", addr.port()), "holds until"], "");
    }
}

#[test]
fn what_is_wrong_with_certificates_is_named_with_what_helps() {
    let pki = Pki::new(&["desk"]);
    let (_hub, addr) = with_clients(&pki, "");
    let upstream = |scheme: &str, options: &str| {
        ask(&Setup::new().upstream(format!("{scheme}://127.0.0.1:{}{options}", addr.port())))
    };
    let ca = format!("?ca={}", pki.ca().display());
    for scheme in ["https", "grpcs"] {
        let said = upstream(scheme, "");
        said.has("tls", "problem", &["no handshake with", "UnknownIssuer"], "name the CA");
        let said = upstream(scheme, &ca);
        said.has(
            "tls",
            "problem",
            &["no handshake with", "CertificateRequired"],
            "certificate=FILE and key=FILE",
        );
    }
    let shown = |odd, name| {
        let identity = pki.issue(odd, name);
        let files = format!("&certificate={}&key={}", identity.certificate.display(), identity.key.display());
        (upstream("https", &format!("{ca}{files}")), identity, files)
    };
    let (said, identity, files) = shown(Odd::Expired, "old");
    said.has("tls", "problem", &["our certificate", "old.pem", "expired on 2021-01-01"], "issue a new one");
    said.has("tls", "problem", &["no handshake with", "CertificateExpired"], "refuses our certificate");
    fs::set_permissions(&identity.key, fs::Permissions::from_mode(0o644)).expect("our own");
    let said = upstream("https", &format!("{ca}{files}"));
    said.has("tls", "warning", &["old-key.pem", "mode 0644"], "chmod 0600");
    let (said, ..) = shown(Odd::SelfSigned, "stranger");
    said.has("tls", "problem", &["no handshake with", "UnknownCA"], "refuses our certificate");

    // Of listeners nobody has started yet.
    let old = pki.issue(Odd::Expired, "server-old");
    let listener = format!(
        "[[listeners]]\naddress = \"{}\"\ncertificate = \"{}\"\nkey = \"{}\"\n{}\nclients = [\"*.example.com\"]\n",
        free_addr(),
        old.certificate.display(),
        old.key.display(),
        pki.client_ca()
    );
    let said = ask(&Setup::new().config(&listener));
    said.has(
        "tls",
        "problem",
        &["server-old.pem expired on 2021-01-01"],
        "put a new one and its key in place",
    );
    said.has("tls", "warning", &["`clients` has `*.example.com`"], "common name");
    // What can't be used at all is the configuration's.
    let listener = listener.replace("server-old-key.pem", "client-desk-key.pem");
    let said = ask(&Setup::new().config(&listener));
    said.has("configuration", "problem", &["client-desk-key.pem is not the key of"], "");
}
