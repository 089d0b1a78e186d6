//! Servers as upstreams, asked by plain HTTP with a token: a Larder behind a Larder, nginx, and what becomes of entries
//! while the server is away or lets nobody in.
//!
//! *desk* and *laptop* are two machines of a team, *hub* is its server.

use std::net::SocketAddr;
use std::time::Duration;

use crate::support::daemon::Daemon;
use crate::support::fault::Fault;
use crate::support::http::Request;
use crate::support::nginx::{self, Nginx};
use crate::support::proxy::FaultProxy;
use crate::support::routes::{Entry, Route};
use crate::support::setup::{KeyFile, Setup};
use crate::support::tls::Pki;
use crate::support::{PATIENCE, Rng, free_addr, sha256, until};
use crate::tls::with_clients;

/// How long a queue may take to drain by itself: a probe goes every 60 s at worst.
const DRAIN: Duration = Duration::from_secs(150);

/// A Larder that others reach with a token.
pub(crate) struct Hub {
    pub(crate) daemon: Daemon,
    pub(crate) open: SocketAddr,
    pub(crate) token: String,
}

// === impl Hub ===

impl Hub {
    pub(crate) fn start() -> Self {
        let open = free_addr();
        let listener = format!("[[listeners]]\naddress = \"0.0.0.0:{}\"\ninsecure = true\n", open.port());
        let daemon = Setup::new().config(&listener).start();
        let token = daemon.token(&["--bearer", "team"]);
        Self { daemon, open, token }
    }

    /// A machine whose upstream it is.
    pub(crate) fn machine(&self) -> Daemon {
        machine(&format!("http://{}", self.open), &self.token)
    }
}

/// A machine whose upstream is a server.
pub(crate) fn machine(url: &str, token: &str) -> Daemon {
    Setup::new().upstream(url).keys(&token.to_owned()).start()
}

fn entries(seed: u64) -> Vec<Entry> {
    let mut rng = Rng::new(seed);
    let of_each = Route::ALL.into_iter().flat_map(|route| [(route, 2000), (route, 300_000)]);
    of_each.map(|(route, len)| route.entry(&mut rng, len)).collect()
}

#[track_caller]
fn put(daemon: &Daemon, entries: &[Entry]) {
    for entry in entries {
        let answer = daemon.send(entry.put());
        assert_eq!(answer.status(), entry.route.taken(), "{entry:?}: {}", answer.text());
    }
}

#[track_caller]
fn has(daemon: &Daemon, entries: &[Entry], whose: &str) {
    for entry in entries {
        let answer = daemon.send(entry.get());
        assert_eq!(answer.status(), 200, "{entry:?} of {whose}: {}", answer.text());
        assert!(answer.whole() == Some(&entry.body[..]), "{entry:?} of {whose}");
    }
}

#[test]
fn a_larder_behind_a_larder_serves_every_protocol_and_its_own_clients() {
    let hub = Hub::start();
    let (desk, laptop) = (hub.machine(), hub.machine());
    let entries = entries(71);
    put(&desk, &entries);
    let signed = Request::put("/web/v8/artifacts/0123456789abcdef?teamId=team_1", "artifact")
        .header("authorization", "Bearer any")
        .header("x-artifact-tag", "signed")
        .header("x-artifact-duration", "42");
    assert_eq!(desk.send(signed).status(), 200);
    let named = Request::put("/s3/cache/some/name", "object")
        .header("content-type", "text/css")
        .header("x-amz-meta-by-whom", "larder");
    assert_eq!(desk.send(named).status(), 200);
    let page =
        Request::put("/blob/ns/report/index.html", "<p>a report</p>").header("content-type", "text/html");
    assert_eq!(desk.send(page).status(), 200);
    desk.flush();

    has(&hub.daemon, &entries, "the hub");
    has(&laptop, &entries, "the laptop");
    for daemon in [&hub.daemon, &laptop] {
        let ask = Request::get("/web/v8/artifacts/0123456789abcdef?teamId=team_1");
        let answer = daemon.send(ask.header("authorization", "Bearer any"));
        assert_eq!((answer.status(), answer.text().as_str()), (200, "artifact"));
        assert_eq!(answer.header("x-artifact-tag"), Some("signed"));
        assert_eq!(answer.header("x-artifact-duration"), Some("42"));
        let answer = daemon.get("/s3/cache/some/name");
        assert_eq!((answer.status(), answer.text().as_str()), (200, "object"));
        assert_eq!(answer.header("x-amz-meta-by-whom"), Some("larder"));
        assert_eq!(answer.header("content-type"), Some("text/css"));
        let answer = daemon.get("/blob/ns/report/index.html");
        assert_eq!((answer.status(), answer.header("content-type")), (200, Some("text/html")));
    }

    // What may be deleted goes there, too, and what nobody has is nowhere.
    assert_eq!(desk.send(Request::new("DELETE", "/blob/ns/report/index.html")).status(), 204);
    desk.flush();
    assert_eq!(hub.daemon.get("/blob/ns/report/index.html").status(), 404);
    assert_eq!(laptop.get(format!("/ns/cas/{}", sha256(b"nowhere"))).status(), 404);
    assert_eq!(laptop.upstream("read").0, "up");
    let doctor = desk.setup().told("doctor").output().expect("the binary starts");
    let said = String::from_utf8_lossy(&doctor.stdout).into_owned();
    let upstream = said.lines().find(|line| line.starts_with("ok       upstream")).unwrap_or_default();
    assert!(upstream.contains("written, read and deleted"), "{said}");
    assert!(!said.contains(&hub.token), "{said}");
    for daemon in [&desk, &laptop] {
        assert!(!daemon.log().contains(&hub.token) && !daemon.stats().to_string().contains(&hub.token));
    }
}

#[test]
fn a_namespace_and_a_prefix_are_around_all_names_of_the_hub() {
    let hub = Hub::start();
    let desk = machine(&format!("http://{}/team", hub.open), &hub.token);
    let mut rng = Rng::new(5);
    for route in [Route::Ac, Route::Nx, Route::Gradle, Route::Ccache, Route::Maven, Route::Cas] {
        let entry = route.entry(&mut rng, 1000);
        put(&desk, std::slice::from_ref(&entry));
        desk.flush();
        let there = match entry.target.strip_prefix("/ns/") {
            Some(rest) => format!("/team/ns/{rest}"),
            None => entry.target.replacen("/ns/", "/team/ns/", 1),
        };
        let answer = hub.daemon.get(there.clone());
        assert_eq!(answer.status(), 200, "{there}");
        assert!(answer.whole() == Some(&entry.body[..]), "{there}");
    }
}

#[test]
fn hits_stay_and_misses_are_quick_while_the_hub_is_away_and_all_of_it_arrives_after() {
    let hub = Hub::start();
    let way = FaultProxy::to(hub.open);
    let desk = machine(&format!("http://{}", way.addr()), &hub.token);
    let before = entries(81);
    put(&desk, &before);
    desk.flush();

    way.set(Fault::Refuse);
    let during = entries(82);
    put(&desk, &during);
    desk.until_upstream("write", &["down"]);
    has(&desk, &before, "the desk");
    has(&desk, &during, "the desk");
    for _ in 0..3 {
        desk.get(format!("/cas/{}", sha256(b"not here")));
    }
    desk.until_upstream("read", &["down"]);
    let connections = way.connections();
    for number in 0..200_u32 {
        assert_eq!(desk.get(format!("/cas/{}", sha256(&number.to_le_bytes()))).status(), 404);
    }
    assert!(way.connections() <= connections + 2, "a miss asks nobody");
    assert_eq!(desk.queued(), during.len() as u64);

    way.set(Fault::None);
    until("the queue drains by itself", DRAIN, || desk.queued() == 0);
    has(&hub.daemon, &during, "the hub");
}

#[test]
fn a_wrong_token_is_a_state_in_words_and_a_right_one_in_its_file_is_enough() {
    let hub = Hub::start();
    let desk = machine(&format!("http://{}", hub.open), "not-a-token-of-the-hub");
    let entries = entries(91);
    put(&desk, &entries);
    let words = desk.until_upstream("write", &["denied"]);
    let path = desk.setup().keys_path();
    assert!(words.contains("correct the token in") && words.contains(&path.display().to_string()), "{words}");
    assert!(words.contains("HTTP 401: this listener needs a token"), "{words}");
    assert!(!words.contains("not-a-token-of-the-hub"), "{words}");
    assert_eq!(desk.get(format!("/cas/{}", sha256(b"not here"))).status(), 404, "a miss, not an error");
    desk.until_upstream("read", &["denied"]);
    has(&desk, &entries, "the desk");
    assert_eq!(desk.queued(), entries.len() as u64);

    hub.token.write(&path);
    until("the queue drains by itself", DRAIN, || desk.queued() == 0);
    has(&hub.daemon, &entries, "the hub");
    assert!(!desk.log().contains("not-a-token-of-the-hub") && !desk.log().contains(&hub.token));
}

#[test]
fn a_folder_of_nginx_keeps_every_name_and_a_bazel_cache_of_nginx_what_is_bazels() {
    let nginx = Nginx::start();
    let url = |path: &str| format!("http://{}/{path}", nginx.addr());
    let entries = entries(101);
    let (desk, laptop) = {
        let url = url("team?dialect=plain");
        (machine(&url, nginx::TOKEN), machine(&url, nginx::TOKEN))
    };
    put(&desk, &entries);
    desk.flush();
    has(&laptop, &entries, "the laptop");
    let content = entries.iter().find(|entry| entry.route == Route::Cas).expect("one of each");
    let name = content.target.trim_start_matches("/ns/");
    let kept = std::fs::read(nginx.files().join("team").join(name));
    assert!(kept.is_ok_and(|kept| kept == content.body), "{name}");

    let bazels: Vec<Entry> =
        entries.iter().filter(|entry| matches!(entry.route, Route::Ac | Route::Cas)).cloned().collect();
    let (desk, laptop) = {
        let url = url("bazel?dialect=bazel");
        (machine(&url, nginx::TOKEN), machine(&url, nginx::TOKEN))
    };
    put(&desk, &entries);
    desk.flush();
    has(&laptop, &bazels, "the laptop");
    let shed = desk.stat("/sheds/name");
    assert_eq!(shed, (entries.len() - bazels.len()) as u64, "what it doesn't carry is not queued");
    assert_eq!(desk.stat("/totals/uploads_ended"), 0);
    has(&desk, &entries, "the desk itself");
    for entry in entries.iter().filter(|entry| !bazels.contains(entry)) {
        assert_eq!(laptop.send(entry.get()).status(), 404, "{entry:?}");
    }
    assert_eq!(laptop.upstream("read").0, "up");
}

#[test]
fn a_server_of_one_tool_keeps_what_is_that_tools_and_nothing_else_goes_there() {
    let nginx = Nginx::start();
    let entries = entries(111);
    for (dialect, route, from) in [
        ("gradle", Route::Gradle, "/gradle/ns/"),
        ("ccache", Route::Ccache, "/ccache/ns/"),
        ("maven", Route::Maven, "/maven/ns/"),
    ] {
        let url = format!("http://{}/{dialect}?dialect={dialect}", nginx.addr());
        let (desk, laptop) = (machine(&url, nginx::TOKEN), machine(&url, nginx::TOKEN));
        put(&desk, &entries);
        desk.flush();
        let own: Vec<Entry> = entries.iter().filter(|entry| entry.route == route).cloned().collect();
        has(&laptop, &own, "the laptop");
        for entry in &own {
            let name = entry.target.strip_prefix(from).expect("of that route");
            let kept = std::fs::read(nginx.files().join(dialect).join(name));
            assert!(kept.is_ok_and(|kept| kept == entry.body), "{dialect}: {name}");
        }
        let others = (entries.len() - own.len()) as u64;
        assert_eq!(desk.stat("/sheds/name"), others, "{dialect}: what it doesn't carry is not queued");
        for entry in entries.iter().filter(|entry| entry.route != route) {
            assert_eq!(laptop.send(entry.get()).status(), 404, "{dialect}: {entry:?}");
        }
        assert_eq!((laptop.upstream("read").0, desk.queued()), ("up".into(), 0), "{dialect}");
    }
}

/// The certificate that we show is replaced in its files; then the server, which took both, refuses the old one. Nobody
/// here sees anything of it.
#[test]
fn a_certificate_that_is_replaced_is_shown_before_the_old_one_is_refused() {
    let pki = Pki::new(&["desk", "laptop"]);
    let (hub, addr) = with_clients(&pki, "clients = [\"desk\", \"laptop\"]");
    let own = [pki.path("own-key.pem"), pki.path("own.pem")];
    let show = |name: &str| {
        let identity = pki.client(name);
        for (from, to) in [identity.key, identity.certificate].iter().zip(&own) {
            let beside = to.with_extension("new");
            std::fs::copy(from, &beside).expect("copied");
            std::fs::rename(&beside, to).expect("renamed");
        }
    };
    show("desk");
    let [key, certificate] = own.each_ref().map(|path| path.display());
    let options = format!("ca={}&certificate={certificate}&key={key}", pki.ca().display());
    let url = format!("https://127.0.0.1:{}?{options}", addr.port());
    let machine = Setup::new().upstream(url).start();
    let mut number = 0;
    let mut put = || {
        number += 1;
        let path = format!("/blob/ns/{number}");
        assert_eq!(machine.send(Request::put(path.clone(), "entry")).status(), 200);
        machine.flush();
        path
    };
    put();
    show("laptop");
    until("it is read", PATIENCE, || {
        put();
        machine.log().contains("the certificates for an upstream are others: read again")
    });
    let config = hub.setup().config_path();
    let text = std::fs::read_to_string(&config).expect("its file");
    std::fs::write(&config, text.replace("[\"desk\", \"laptop\"]", "[\"laptop\"]")).expect("its file");
    let desk = pki.client("desk");
    until("the old one is refused", PATIENCE, || {
        let answer = pki.connect(addr, Some(&desk)).send("PUT", "/blob/ns/old", b"old");
        answer.is_ok_and(|answer| answer.status() == 403)
    });
    let path = put();
    assert_eq!(hub.get(path).text(), "entry");
    assert_eq!((machine.upstream("write").0, machine.upstream("read").0), ("up".into(), "up".into()));
    assert!(!machine.log().contains("denied"), "{}", machine.log());
}
