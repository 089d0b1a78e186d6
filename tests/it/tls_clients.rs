//! moon and Bazel over TLS and over mTLS, with the lines that `larder tls init` prints.

use std::net::SocketAddr;

use crate::support::daemon::Daemon;
use crate::support::setup::Setup;
use crate::support::tls::Pki;
use crate::support::tools::bazel::{Bazel, Version};
use crate::support::tools::moon::Moon;
use crate::support::tools::{Run, Tool};
use crate::support::{PATIENCE, free_addr, until};
use crate::tls::section;

fn with_clients(pki: &Pki) -> (Daemon, SocketAddr) {
    let addr = free_addr();
    (Setup::new().config(&pki.listener(addr, &pki.client_ca())).start(), addr)
}

/// A daemon of which each request over TLS asks for a token: it is on all addresses.
fn with_tokens(pki: &Pki) -> (Daemon, SocketAddr) {
    let addr = free_addr();
    let everywhere = SocketAddr::from(([0, 0, 0, 0], addr.port()));
    (Setup::new().config(&pki.listener(everywhere, "")).start(), addr)
}

/// The printed lines for a tool, at the port of a test.
fn printed(pki: &Pki, heading: &str, addr: SocketAddr) -> String {
    section(&pki.page, heading).replace(":5274", &format!(":{}", addr.port()))
}

/// The desk builds, and the laptop, another checkout with another certificate, hits all of it.
fn desk_builds_and_laptop_hits<T: Tool>(desk: &T, laptop: &T, daemon: &Daemon) {
    assert_eq!(desk.build("-"), Run::all_ran(T::TASKS), "{}\n{}", desk.said(), daemon.log());
    assert_eq!(laptop.build("-"), Run::all_remote(T::TASKS), "{}\n{}", laptop.said(), daemon.log());
    assert_eq!(laptop.outputs(), desk.outputs());
}

#[test]
fn moon_over_mtls() {
    let pki = Pki::new(&["desk", "laptop", "guest"]);
    let addr = free_addr();
    let who = "clients = [\"desk\", \"laptop\"]\nreaders = [\"guest\"]";
    let daemon = Setup::new().config(&pki.listener(addr, &format!("{}\n{who}", pki.client_ca()))).start();
    let moon = |client: &str| {
        let lines = printed(&pki, "# .moon", addr);
        let moon = Moon::big("v1").told(lines.split("# With a token").next().expect("the first part"));
        let moon = moon.once_greeted_in(daemon.log_file());
        let identity = pki.client(client);
        moon.with_file(".larder/ca.pem", &pki.ca())
            .with_file(".larder/client.pem", &identity.certificate)
            .with_file(".larder/client-key.pem", &identity.key)
    };
    desk_builds_and_laptop_hits(&moon("desk"), &moon("laptop"), &daemon);

    // Who may only read is told that its results are not taken, and hits all of it.
    let guest = moon("guest");
    assert_eq!(guest.build("-"), Run::all_remote(Moon::TASKS), "{}\n{}", guest.said(), daemon.log());

    // The server's CA alone lets nobody in; the build goes on.
    let alone = Moon::big("v1").told(&format!(
        "remote:\n  host: 'grpcs://127.0.0.1:{}'\n  tls:\n    cert: '.larder/ca.pem'\n    domain: 'localhost'\n",
        addr.port()
    ));
    let alone = alone.with_file(".larder/ca.pem", &pki.ca());
    // Which moon says in words, unless the alert has come before its first call is under way: then it says
    // `connection closed`, and is run again.
    until("moon says CertificateRequired", PATIENCE, || {
        alone.wipe();
        assert_eq!(alone.build("-"), Run::all_ran(Moon::TASKS), "{}", alone.said());
        let said = alone.said();
        assert!(said.contains("Failed to connect to storage backend, disabling it"), "{said}");
        said.contains("CertificateRequired")
    });
    let words = "it has shown no client certificate";
    until(words, PATIENCE, || daemon.log().contains(words));
}

#[test]
fn moon_over_tls_with_a_token() {
    let pki = Pki::new(&["desk"]);
    let (daemon, addr) = with_tokens(&pki);
    let token = daemon.token(&["--bearer", "team"]);
    let lines = printed(&pki, "# .moon", addr);
    // What is printed behind `#` is the other way.
    let (before, behind) = lines.split_once("  mtls:").expect("it is there");
    let behind = behind.split_once("# With a token").expect("it is there").1;
    let behind: String =
        behind.lines().filter_map(|line| line.strip_prefix('#')).map(|line| format!("{line}\n")).collect();
    let moon = || {
        let moon = Moon::big("v1").told(&format!("{before}{behind}")).once_greeted_in(daemon.log_file());
        moon.with_file(".larder/ca.pem", &pki.ca()).with_variable("LARDER_TOKEN", &token)
    };
    desk_builds_and_laptop_hits(&moon(), &moon(), &daemon);
}

/// The lines for Bazel without a client's certificate, which 2.1.0 can't have; 4.2.3, as Debian builds it, has no gRPC
/// over TLS at all.
fn for_bazel(pki: &Pki, addr: SocketAddr) -> String {
    let lines = printed(pki, "# Bazel", addr);
    lines.lines().filter(|line| !line.contains("tls_client")).map(|line| format!("{line}\n")).collect()
}

/// On loopback, where users are known: 2.1.0 asks what the cache can do without its headers, so that it can't show a
/// token.
#[test]
fn bazel_over_tls() {
    let pki = Pki::new(&["desk"]);
    let addr = free_addr();
    let daemon = Setup::new().config(&pki.listener(addr, "")).start();
    let bazel = || Bazel::checkout("v1").by(Version::V2).told(&for_bazel(&pki, addr));
    desk_builds_and_laptop_hits(&bazel(), &bazel(), &daemon);
}

#[test]
fn bazel_without_a_client_certificate_is_refused() {
    let pki = Pki::new(&["desk"]);
    let (daemon, addr) = with_clients(&pki);
    let bazel = Bazel::checkout("v1").by(Version::V2).told(&for_bazel(&pki, addr));
    let failed = bazel.attempt("-").expect_err("it has no certificate");
    assert!(failed.text.contains("Failed to query remote execution capabilities"), "{failed:?}");
    let words = "it has shown no client certificate";
    until(words, PATIENCE, || daemon.log().contains(words));
}
