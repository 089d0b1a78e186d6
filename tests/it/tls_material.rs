//! Certificates, keys and CAs that are wrong in every way: at the start, and in place of those that are served.

use std::fs;
use std::os::unix::fs::PermissionsExt as _;
use std::process::Command;

use crate::support::setup::Setup;
use crate::support::tls::{Odd, Pki, curl_with};
use crate::support::{PATIENCE, free_addr, until, write_secret};
use crate::tls::{status, url, with_clients};

/// Everything that can be wrong with the files of a listener: how it is made so, and what is said of it.
type Wrong = (&'static str, fn(&Pki), &'static [&'static str]);

const WRONGS: [Wrong; 10] = [
    (
        "half-written",
        |pki| {
            let whole = fs::read(pki.path("server.pem")).expect("a file");
            fs::write(pki.path("server.pem"), &whole[..whole.len() / 2]).expect("ours");
        },
        &["server.pem is not whole PEM", "put it in place again"],
    ),
    (
        "empty",
        |pki| fs::write(pki.path("server.pem"), "").expect("ours"),
        &["server.pem has no `BEGIN CERTIFICATE`"],
    ),
    (
        "DER",
        |pki| fs::write(pki.path("server.pem"), pki.server_certificate()).expect("ours"),
        &["server.pem has no `BEGIN CERTIFICATE`", "openssl x509 -inform der"],
    ),
    (
        "another's key",
        |pki| {
            fs::copy(pki.path("ca-key.pem"), pki.path("server-key.pem")).expect("ours");
        },
        &["server-key.pem is not the key of", "issued together"],
    ),
    (
        "open to others",
        |pki| {
            let mode = fs::Permissions::from_mode(0o644);
            fs::set_permissions(pki.path("server-key.pem"), mode).expect("ours");
        },
        &["server-key.pem has mode 0644", "chmod 0600"],
    ),
    (
        "gone",
        |pki| fs::remove_file(pki.path("server-key.pem")).expect("ours"),
        &["server-key.pem is not there"],
    ),
    (
        "a pipe",
        |pki| {
            // Who opened it in the ordinary way would wait until somebody writes to it.
            fs::remove_file(pki.path("server.pem")).expect("ours");
            let made = Command::new("mkfifo").arg(pki.path("server.pem")).status().expect("mkfifo starts");
            assert!(made.success());
        },
        &["server.pem: it is not a regular file", "name the PEM file that is meant"],
    ),
    (
        "no key",
        |pki| write_secret(&pki.path("server-key.pem"), "nothing\n"),
        &["server-key.pem has no `BEGIN PRIVATE KEY`"],
    ),
    (
        "expired",
        |pki| {
            let expired = pki.issue(Odd::Expired, "expired");
            fs::rename(expired.key, pki.path("server-key.pem")).expect("ours");
            fs::rename(expired.certificate, pki.path("server.pem")).expect("ours");
        },
        &["server.pem expired on 2021-01-01", "put a new one and its key in place"],
    ),
    (
        "no CA of clients",
        |pki| {
            fs::write(pki.ca(), "-----BEGIN CERTIFICATE-----\nAAAA\n-----END CERTIFICATE-----\n")
                .expect("ours")
        },
        &["ca.pem has a certificate that is no CA's"],
    ),
];

/// A copy of a file as it was, put back in one step.
fn restore(pki: &Pki, kept: &[(String, Vec<u8>)]) {
    for (name, bytes) in kept {
        write_secret(&pki.path(name), std::str::from_utf8(bytes).expect("PEM"));
    }
}

pub(crate) fn keep(pki: &Pki) -> Vec<(String, Vec<u8>)> {
    let names = ["ca.pem", "server.pem", "server-key.pem"];
    names.map(|name| (name.to_owned(), fs::read(pki.path(name)).expect("a file"))).to_vec()
}

#[test]
fn a_bad_replacement_leaves_the_old_certificate_and_is_said() {
    let pki = Pki::new(&["desk"]);
    let (daemon, addr) = with_clients(&pki, "");
    let desk = pki.client("desk");
    let (kept, served) = (keep(&pki), pki.server_certificate());
    let problems = || status(&daemon)["configuration"]["problems"].to_string();
    for (what, spoil, words) in WRONGS {
        spoil(&pki);
        until(what, PATIENCE, || words.iter().all(|words| problems().contains(words)));
        let log = daemon.log();
        assert!(words.iter().all(|words| log.contains(words)), "{what}: {log}");
        let shown = daemon.cli(&["status"]);
        assert!(String::from_utf8_lossy(&shown.stdout).contains(words[0]), "{what}: {shown:?}");
        // The CA is not read by the client here, only by the daemon.
        let ca = pki.path("client.pem");
        fs::write(&ca, &kept[0].1).expect("ours");
        let answer = curl_with(&ca, Some(&desk), &[&url(addr, "/-/healthz")]);
        assert_eq!((answer.code, &*answer.status), (0, "200 2"), "{what}: {answer:?}");
        restore(&pki, &kept);
        until("it is mended", PATIENCE, || problems() == "[]");
        assert_eq!(pki.served_at(addr, Some(&desk)).as_ref(), Some(&served), "{what}");
    }
}

#[test]
fn what_is_wrong_at_the_start_is_a_problem_of_the_configuration() {
    let pki = Pki::new(&["desk"]);
    let addr = free_addr();
    let setup = Setup::new().config(&pki.listener(addr, &pki.client_ca()));
    let kept = keep(&pki);
    let check = || {
        let output = setup.told("check").output().expect("the binary starts");
        (output.status.code(), String::from_utf8_lossy(&output.stderr).into_owned())
    };
    assert_eq!(check().0, Some(0), "{}", check().1);
    for (what, spoil, words) in WRONGS {
        spoil(&pki);
        let (code, said) = check();
        assert_eq!(code, Some(2), "{what}: {said}");
        assert!(words.iter().all(|words| said.contains(words)), "{what}: {said}");
        let key = if words[0].contains("ca.pem") { "client_ca" } else { "" };
        assert!(said.contains(&format!("`listeners.1.{key}")), "{what}: {said}");
        if what != "expired" {
            let served = setup.serve().output().expect("the binary starts");
            assert_eq!(served.status.code(), Some(2), "{what}: {served:?}");
        }
        restore(&pki, &kept);
    }
}

/// It may be the one way to reach a daemon, so it starts, and says so.
#[test]
fn a_daemon_starts_with_an_expired_certificate_and_says_so() {
    let pki = Pki::new(&["desk"]);
    let expired = pki.issue(Odd::Expired, "expired");
    fs::rename(expired.key, pki.path("server-key.pem")).expect("ours");
    fs::rename(expired.certificate, pki.path("server.pem")).expect("ours");
    let (daemon, addr) = with_clients(&pki, "");
    let words = "server.pem expired on 2021-01-01";
    until("the status says so", PATIENCE, || status(&daemon)["warnings"].to_string().contains(words));
    assert!(daemon.log().contains(words), "{}", daemon.log());
    assert_eq!(daemon.cli(&["status"]).status.code(), Some(1), "it needs a person");
    // A change of something else is not kept from counting.
    let text = fs::read_to_string(daemon.setup().config_path()).expect("its file");
    fs::write(daemon.setup().config_path(), format!("fills = 7\n{text}")).expect("its file");
    until("it is applied", PATIENCE, || {
        daemon.log().contains("\"fills\"") || daemon.log().contains("changed=fills")
    });
    pki.renew();
    pki.until_served(addr, Some(&pki.client("desk")));
    until("all is well", PATIENCE, || {
        status(&daemon)["warnings"].as_object().is_some_and(|all| all.is_empty())
    });
}
