//! TLS on our listeners: who gets in, who is told why not, and what becomes of certificates that are replaced.

use std::fs;
use std::io::{Read as _, Write as _};
use std::net::{SocketAddr, TcpStream};
use std::os::unix::fs::PermissionsExt as _;
use std::path::Path;
use std::sync::Barrier;
use std::sync::atomic::{AtomicBool, AtomicUsize, Ordering};

use serde_json::Value;

use crate::support::daemon::Daemon;
use crate::support::http::Request;
use crate::support::setup::Setup;
use crate::support::tls::{Odd, Pki, curl, curl_with};
use crate::support::wire::Addr;
use crate::support::{PATIENCE, eventually, free_addr, until, write_secret};
use crate::tls_material::keep;

/// A daemon with a listener at which each client shows a certificate.
pub(crate) fn with_clients(pki: &Pki, more: &str) -> (Daemon, SocketAddr) {
    let addr = free_addr();
    let daemon = Setup::new().config(&pki.listener(addr, &format!("{}\n{more}", pki.client_ca()))).start();
    (daemon, addr)
}

pub(crate) fn url(addr: SocketAddr, path: &str) -> String {
    format!("https://localhost:{}{path}", addr.port())
}

/// `/-/status`, which the command line reads.
pub(crate) fn status(daemon: &Daemon) -> Value {
    let answer = Request::get("/-/status").send(&daemon.admin()).expect("an answer");
    serde_json::from_slice(&answer.body).expect("JSON")
}

#[test]
fn a_client_with_a_certificate_is_served_over_both_versions_of_both_protocols() {
    let pki = Pki::new(&["desk"]);
    let (daemon, addr) = with_clients(&pki, "");
    let desk = pki.client("desk");
    let body = pki.path("body");
    fs::write(&body, vec![7; 3 << 20]).expect("a temporary file");
    for (number, (tls, http)) in
        [("1.3", "--http2"), ("1.3", "--http1.1"), ("1.2", "--http2"), ("1.2", "--http1.1")]
            .iter()
            .enumerate()
    {
        let target = url(addr, &format!("/blob/tls/{number}"));
        let put = ["--tls-max", tls, http, "--upload-file", body.to_str().expect("UTF-8"), &target];
        let version = if *http == "--http2" { "2" } else { "1.1" };
        let put = curl_with(&pki.ca(), Some(&desk), &put);
        assert_eq!((put.code, &*put.status), (0, &*format!("200 {version}")), "{put:?}");
        let got = curl_with(&pki.ca(), Some(&desk), &["--tls-max", tls, http, &target]);
        assert_eq!((got.code, &*got.status), (0, &*format!("200 {version}")), "{}", got.said);
        assert_eq!(got.body.len(), 3 << 20);
    }
    assert_eq!(daemon.get("/blob/tls/0").body.len(), 3 << 20, "it is the same cache");
    let listeners = status(&daemon)["listeners"].clone();
    let listeners = listeners.as_array().expect("a list");
    let ours = listeners.iter().find(|one| one["endpoint"] == addr.to_string()).expect("ours");
    assert_eq!((&ours["gate"], &ours["tls"]), (&"certificates".into(), &true.into()));
    assert!(!daemon.log().contains("PRIVATE KEY"));
}

#[test]
fn who_is_not_let_in_is_told_why_on_both_sides() {
    let (pki, other) = (Pki::new(&["desk"]), Pki::new(&["desk"]));
    let (daemon, addr) = with_clients(&pki, "clients = [\"ci\"]");
    let expired = pki.issue(Odd::Expired, "old");
    let own = pki.issue(Odd::SelfSigned, "self");
    let server = pki.issue(Odd::Server, "server-only");
    let foreign = other.client("desk");
    let target = url(addr, "/blob/tls/x");
    for (identity, curl_says, log_says) in [
        (None, "certificate required", "it has shown no client certificate"),
        (Some(&expired), "certificate expired", "its client certificate expired on 2021-01-01"),
        (Some(&foreign), "unknown ca", "its client certificate is of another CA than"),
        (Some(&own), "unknown ca", "its client certificate is of another CA than"),
        (Some(&server), "alert", "its certificate is none of a client"),
    ] {
        let answer = curl_with(&pki.ca(), identity, &[&target]);
        assert!(answer.code != 0 && answer.said.contains(curl_says), "{log_says}: {answer:?}");
        until(log_says, PATIENCE, || daemon.log().contains(log_says));
    }
    // Of the CA, and not named.
    let answer = curl_with(&pki.ca(), Some(&pki.client("desk")), &[&target]);
    let words = "the client certificate `desk` is not let in: `clients` of this listener doesn't name it";
    assert_eq!((answer.code, &*answer.status), (0, "403 2"), "{answer:?}");
    assert!(answer.body.contains(words), "{answer:?}");
    until("the log says so, too", PATIENCE, || daemon.log().contains(words));
    // And one that doesn't trust us.
    let answer = curl_with(&other.ca(), None, &[&target]);
    assert!(answer.code == 60 && answer.said.contains("certificate"), "{answer:?}");
    until("the log says it", PATIENCE, || daemon.log().contains("it doesn't trust"));
}

#[test]
fn who_is_taken_from_the_list_is_refused_on_an_open_connection_too() {
    let pki = Pki::new(&["desk", "laptop"]);
    let (daemon, addr) = with_clients(&pki, "clients = [\"desk\", \"laptop\"]");
    let desk = pki.client("desk");
    let mut open = pki.connect(addr, Some(&desk));
    assert_eq!(open.send("PUT", "/blob/tls/x", b"x").expect("an answer").status(), 200);

    let change = |from: &str, to: &str| {
        let text = fs::read_to_string(daemon.setup().config_path()).expect("its file");
        assert!(text.contains(from), "{text}");
        fs::write(daemon.setup().config_path(), text.replace(from, to)).expect("its file");
    };
    change("clients = [\"desk\", \"laptop\"]", "clients = [\"laptop\"]\nreaders = [\"desk\"]");
    let refused = eventually("it may not write any more", PATIENCE, || {
        Some(open.send("PUT", "/blob/tls/x", b"y").expect("an answer"))
            .filter(|answer| answer.status() == 403)
    });
    assert!(refused.text().contains("may read here and not write"), "{}", refused.text());
    assert_eq!(open.get("/blob/tls/x").expect("an answer").status(), 200, "it reads on");
    for (host, method, path, status) in [
        ("localhost", "DELETE", "/blob/tls/x", 403),
        // Turborepo asks by POST; at a door the same path is an upload.
        ("localhost", "POST", "/v8/artifacts", 200),
        ("localhost", "POST", "/s3/bucket/v8/artifacts?uploads", 403),
        ("bucket.s3.localhost", "POST", "/v8/artifacts?uploads", 403),
    ] {
        let body = if path == "/v8/artifacts" { &b"{\"hashes\":[]}"[..] } else { b"" };
        let answer = open.send_to(host, method, path, body).expect("an answer");
        assert_eq!(answer.status(), status, "{method} {host} {path}: {}", answer.text());
        let is_ours = answer.text().contains("may read here and not write");
        assert_eq!(is_ours, status == 403, "{method} {host} {path}: {}", answer.text());
    }

    change("readers = [\"desk\"]", "");
    let refused = eventually("it may nothing any more", PATIENCE, || {
        Some(open.get("/blob/tls/x").expect("an answer")).filter(|answer| answer.status() == 403)
    });
    assert!(refused.text().contains("`desk` is not let in"), "{}", refused.text());
    assert_eq!(refused.header("connection"), Some("close"));
    until("the log says so", PATIENCE, || daemon.log().contains("`desk` is not let in"));
    let laptop = pki.connect(addr, Some(&pki.client("laptop"))).get("/blob/tls/x").expect("an answer");
    assert_eq!(laptop.status(), 200);
    assert!(!daemon.log().contains("counts from the next start"), "{}", daemon.log());
}

#[test]
fn certificates_are_replaced_under_running_connections() {
    const CONNECTIONS: usize = 50;
    let pki = Pki::new(&["desk"]);
    let (daemon, addr) = with_clients(&pki, "");
    let desk = pki.client("desk");
    assert_eq!(daemon.put("/blob/tls/x", vec![1; 4096]).status(), 200);
    let (over, answered) = (AtomicBool::new(false), AtomicUsize::new(0));
    let begun = Barrier::new(CONNECTIONS + 1);
    std::thread::scope(|scope| {
        for _ in 0..CONNECTIONS {
            scope.spawn(|| {
                let mut connection = pki.connect(addr, Some(&desk));
                begun.wait();
                while !over.load(Ordering::Relaxed) {
                    let answer = connection.get("/blob/tls/x").expect("the connection goes on");
                    assert_eq!((answer.status(), answer.body.len()), (200, 4096));
                    answered.fetch_add(1, Ordering::Relaxed);
                }
            });
        }
        begun.wait();
        for _ in 0..3 {
            let before = answered.load(Ordering::Relaxed);
            pki.renew();
            pki.until_served(addr, Some(&desk));
            until("all go on", PATIENCE, || answered.load(Ordering::Relaxed) > before + CONNECTIONS);
        }
        over.store(true, Ordering::Relaxed);
    });
    let log = daemon.log();
    assert!(log.contains("listeners.1.certificate") && !log.contains("counts from the next start"), "{log}");
}

#[test]
fn a_client_ca_that_is_replaced_counts_for_open_connections_too() {
    let (pki, other) = (Pki::new(&["desk"]), Pki::new(&["laptop"]));
    let (daemon, addr) = with_clients(&pki, "");
    let mut open = pki.connect(addr, Some(&pki.client("desk")));
    assert_eq!(open.get("/blob/tls/x").expect("an answer").status(), 404);
    let (old, new) = (fs::read(pki.ca()).expect("a file"), fs::read(other.ca()).expect("a file"));
    // Both, as during a change of CA: nobody is thrown out.
    write_secret(&pki.path("both.pem"), &String::from_utf8([old, new.clone()].concat()).expect("PEM"));
    fs::rename(pki.path("both.pem"), pki.ca()).expect("renamed");
    eventually("the new CA's client is let in", PATIENCE, || {
        pki.connect(addr, Some(&other.client("laptop"))).get("/blob/tls/x").ok()
    });
    assert_eq!(open.get("/blob/tls/x").expect("an answer").status(), 404);
    fs::write(pki.path("new.pem"), new).expect("written");
    fs::rename(pki.path("new.pem"), pki.ca()).expect("renamed");
    let refused = eventually("the old CA's client is refused", PATIENCE, || {
        Some(open.get("/blob/tls/x").expect("an answer")).filter(|answer| answer.status() == 403)
    });
    assert!(refused.text().contains("is not of the CA that this listener has by now"), "{}", refused.text());
    drop(daemon);
}

#[test]
fn off_loopback_and_without_client_certificates_a_token_lets_in() {
    let pki = Pki::new(&[]);
    let addr = free_addr();
    let everywhere = SocketAddr::from(([0, 0, 0, 0], addr.port()));
    let daemon = Setup::new().config(&pki.listener(everywhere, "")).start();
    let token = daemon.token(&["--bearer", "ci"]);
    let target = url(addr, "/blob/tls/x");
    let answer = curl_with(&pki.ca(), None, &[&target]);
    assert_eq!((answer.code, &*answer.status), (0, "401 2"), "{answer:?}");
    let authorization = format!("authorization: Bearer {token}");
    let answer =
        curl_with(&pki.ca(), None, &["-H", &authorization, "--data-binary", "x", "-X", "PUT", &target]);
    assert_eq!((answer.code, &*answer.status), (0, "200 2"), "{answer:?}");
    let answer = curl_with(&pki.ca(), None, &["-H", &authorization, &target]);
    assert_eq!((&*answer.body, &*answer.status), ("x", "200 2"));
}

#[test]
fn a_host_that_the_certificate_names_needs_no_word_of_the_configuration() {
    let pki = Pki::new(&["desk"]);
    for name in ["server.pem", "server-key.pem"] {
        fs::remove_file(pki.path(name)).expect("ours");
    }
    assert!(pki.init(&["--name", "cache.test"]).status.success());
    let (_daemon, addr) = with_clients(&pki, "");
    let ask = |host: &str| {
        let resolve = format!("cache.test:{}:127.0.0.1", addr.port());
        let target = format!("https://cache.test:{}/-/healthz", addr.port());
        let host = format!("host: {host}");
        let arguments = ["--resolve", &resolve, "-H", &host, &target];
        curl_with(&pki.ca(), Some(&pki.client("desk")), &arguments).status
    };
    assert_eq!(ask("cache.test"), "200 2");
    assert_eq!(ask("evil.test"), "403 2");
}

#[test]
fn who_takes_a_port_for_the_other_kind_is_told() {
    let pki = Pki::new(&["desk"]);
    let (daemon, addr) = with_clients(&pki, "");
    let plain = curl(&[&format!("http://localhost:{}/blob/tls/x", addr.port())]);
    assert_eq!((plain.code, &*plain.status), (0, "400 1.1"), "{plain:?}");
    assert_eq!(plain.body, format!("this port speaks TLS: https://{addr}\n"));
    let big = pki.path("big");
    fs::write(&big, vec![1; 1 << 16]).expect("a temporary file");
    let put =
        curl(&["-T", big.to_str().expect("UTF-8"), &format!("http://localhost:{}/blob/tls/x", addr.port())]);
    assert_eq!(&*put.status, "400 1.1", "{put:?}");

    let mut http2 = TcpStream::connect(addr).expect("it listens");
    http2.write_all(b"PRI * HTTP/2.0\r\n\r\nSM\r\n\r\n\0\0\0\x04\0\0\0\0\0").expect("sent");
    let mut said = Vec::new();
    http2.read_to_end(&mut said).expect("an end");
    let words = format!("this port speaks TLS: grpcs://{addr}");
    assert!(said.windows(words.len()).any(|window| window == words.as_bytes()), "{said:?}");

    let target = format!("https://{}/blob/tls/x", daemon.setup().addr());
    let tls = curl_with(&pki.ca(), None, &[&target]);
    assert_ne!(tls.code, 0, "{tls:?}");
    for words in ["refused a plain connection from", "it speaks TLS, and this listener doesn't"] {
        until(words, PATIENCE, || daemon.log().contains(words));
    }
    assert_eq!(daemon.get("/-/healthz").status(), 200);
}

#[test]
fn who_says_nothing_in_a_handshake_has_as_long_as_for_a_head() {
    let pki = Pki::new(&["desk"]);
    let addr = free_addr();
    let listener = pki.listener(addr, &pki.client_ca());
    let daemon = Setup::new().config(&format!("head = \"300 ms\"\n{listener}")).start();
    let mut half = TcpStream::connect(addr).expect("it listens");
    half.set_read_timeout(Some(PATIENCE)).expect("a socket");
    half.write_all(&[0x16, 3, 1, 2, 0, 1]).expect("sent");
    let mut end = Vec::new();
    // An end or a reset, and not for ever.
    let ended = half.read_to_end(&mut end);
    assert!(ended.is_ok() || ended.is_err_and(|error| error.kind() == std::io::ErrorKind::ConnectionReset));
    // After the handshake, a client may be idle for longer than that.
    let mut open = pki.connect(addr, Some(&pki.client("desk")));
    assert_eq!(open.get("/-/healthz").expect("an answer").status(), 200);
    until("more than a head's time is over", PATIENCE, || {
        let begun = daemon.stat("/uptime_s");
        begun >= 2
    });
    assert_eq!(open.get("/-/healthz").expect("an answer").status(), 200);
}

#[test]
fn a_second_run_adds_a_client_and_writes_nothing_over() {
    let pki = Pki::new(&["desk"]);
    let before = keep(&pki);
    let mode = |name: &str| pki.path(name).metadata().expect("there").permissions().mode() & 0o777;
    for name in ["ca-key.pem", "server-key.pem", "client-desk-key.pem"] {
        assert_eq!(mode(name), 0o600, "{name}");
    }
    let refused = |arguments: &[&str], words: &str| {
        let output = pki.init(arguments);
        let said = String::from_utf8_lossy(&output.stderr).into_owned();
        assert!(output.status.code() == Some(1) && said.contains(words), "{arguments:?}: {said}");
    };
    refused(&["--client", "laptop", "--client", "desk"], "client-desk.pem is there already");
    assert!(!pki.path("client-laptop.pem").exists(), "nothing was begun");
    refused(&["--name", "new.test"], "server.pem is there, and not for that name");
    let added = pki.init(&["--client", "laptop"]);
    assert!(added.status.success(), "{added:?}");
    assert_eq!(keep(&pki), before);
    let page = String::from_utf8_lossy(&added.stdout).into_owned();
    assert!(
        page.contains("client-laptop-key.pem") && page.contains("clients = [\"desk\", \"laptop\"]"),
        "{page}"
    );
    let (_daemon, addr) = with_clients(&pki, "");
    for name in ["desk", "laptop"] {
        let answer = pki.connect(addr, Some(&pki.client(name))).get("/-/healthz").expect("an answer");
        assert_eq!(answer.status(), 200);
    }
    fs::remove_file(pki.path("ca-key.pem")).expect("ours");
    refused(&["--client", "third"], "ca-key.pem is not");
}

/// What is printed for curl is what a shell takes.
#[test]
fn the_lines_for_the_daemon_and_for_curl_are_taken_as_they_are() {
    let pki = Pki::new(&["desk"]);
    let addr = free_addr();
    let listener = section(&pki.page, "# larder.toml").replace("0.0.0.0:5274", &addr.to_string());
    let _daemon = Setup::new().config(&listener).start();
    let line = section(&pki.page, "# curl").replace(":5274", &format!(":{}", addr.port()));
    let output = std::process::Command::new("sh").args(["-c", &line]).output().expect("a shell");
    assert!(output.status.success(), "{line}: {output:?}");
    assert!(Path::new(&pki.ca()).is_absolute());
    assert_eq!(Request::get("/-/healthz").send(&Addr::Tcp(addr)).expect("an answer").status(), 400);
}

/// The lines below a heading of what `larder tls init` prints.
pub(crate) fn section(page: &str, heading: &str) -> String {
    let lines = page.lines().skip_while(|line| !line.starts_with(heading)).skip(1);
    lines.take_while(|line| !line.is_empty()).map(|line| format!("{line}\n")).collect()
}
