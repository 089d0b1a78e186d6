//! What a server that is asked by plain HTTP makes of the contract, as far as it fits, and of a way that breaks: nginx as
//! a folder and as Bazel's cache, a Larder.

use std::time::Duration;

use larder::upstream::{Credentials, Failure, GetOptions, Got, Looked, PutIf, Remote, Word};

use super::suite::{a_broken_source_leaves_what_was_there, absent_is_an_answer, ranges_are_cut_and_refused};
use super::{World, becomes, bytes, get, is_absent, is_not_found, name, put, put_if, there, words};
use crate::support::fault::{Fault, Plan};
use crate::support::http::Request;
use crate::support::nginx::{self, Nginx};
use crate::support::proxy::FaultProxy;
use crate::support::setup::Setup;
use crate::support::{Rng, sha256};

/// nginx behind a proxy that breaks.
struct Broken {
    world: World,
    proxy: FaultProxy,
    nginx: Nginx,
}

impl Broken {
    fn new() -> Self {
        let nginx = Nginx::start();
        Self { world: World::new(), proxy: FaultProxy::to(nginx.addr()), nginx }
    }

    fn remote(&self) -> Remote {
        self.speaking("plain", nginx::TOKEN)
    }

    fn speaking(&self, dialect: &str, token: &str) -> Remote {
        let url = format!("http://{}/p?dialect={dialect}", self.proxy.addr());
        self.world.remote_with(&url, Credentials::Token(token.into()), |settings| {
            settings.first_byte = Duration::from_millis(1500);
            settings.stall = Duration::from_secs(2);
        })
    }
}

#[test]
fn a_folder_of_nginx_keeps_the_contract_as_far_as_http_goes() {
    let broken = Broken::new();
    broken.world.run(async {
        let remote = broken.remote();
        ranges_are_cut_and_refused(&remote).await;
        put(&remote, "attrs/x", "a folder beside").await.unwrap();
        absent_is_an_answer(&remote).await;
        a_broken_source_leaves_what_was_there(&remote).await;
        large_objects_and_odd_names_survive(&remote).await;
        reads_take_conditions(&remote).await;
        assert!(words(remote.list("", None, 10).await).contains("can't be listed"));
        assert!(remote.readable() && remote.writable());
        assert_eq!(remote.states().read.word, Word::Up);
    });
}

async fn large_objects_and_odd_names_survive(remote: &Remote) {
    let large = Rng::new(7).bytes(20 << 20);
    put(remote, "large/x", large.clone()).await.unwrap();
    let object = there(get(remote, "large/x").await);
    assert_eq!(object.meta.len, 20 << 20);
    assert!(object.body.collect(20 << 20).await.unwrap() == large, "20 MiB, byte for byte");
    // Who stops reading ends the transfer; the next read is not its victim.
    drop(there(get(remote, "large/x").await));
    let across = (8 << 20) - 5..(8 << 20) + 5;
    let options = GetOptions { range: Some(across.clone()), ..GetOptions::default() };
    let object = there(remote.get(&name("large/x"), options).await);
    assert_eq!(object.body.collect(10).await.unwrap(), &large[across.start as usize..across.end as usize]);
    for odd in [
        "a b",
        "a+b",
        "a%2Fb",
        "100%",
        "Grüße/日本語",
        "a#b?c&d=e",
        "q'\"`|\\",
        "{[<(~)>]}^",
        "a:b@c,d;e!f$g",
    ] {
        let odd = format!("names/{odd}");
        put(remote, &odd, odd.clone()).await.unwrap_or_else(|e| panic!("{odd}: {e}"));
        assert_eq!(bytes(get(remote, &odd).await).await, odd, "{odd}");
    }
}

/// nginx itself has ETags for reads, and none for writes.
async fn reads_take_conditions(remote: &Remote) {
    put(remote, "match/x", "one").await.unwrap();
    let Looked::Found(meta) = remote.head(&name("match/x")).await.unwrap() else { panic!("it was put") };
    assert!(meta.len == 3 && meta.last_modified.is_some() && meta.server_date.is_some(), "{meta:?}");
    let etag = meta.etag.expect("nginx has some");
    let read = async |if_match: Option<_>, if_none_match: Option<_>| {
        remote.get(&name("match/x"), GetOptions { range: None, if_match, if_none_match }).await
    };
    assert!(matches!(read(None, Some(etag.clone())).await, Ok(Got::NotModified)));
    assert!(matches!(read(Some("other".into()), None).await, Ok(Got::Changed)));
    assert_eq!(&bytes(read(Some(etag), None).await).await[..], b"one");
    assert_eq!(&bytes(read(None, Some("other".into())).await).await[..], b"one");
}

#[test]
fn a_larder_keeps_conditions_and_says_what_is_not_there() {
    let hub = Setup::new().start();
    let world = World::new();
    world.run(async {
        let remote = world.remote(&hub.url(), Credentials::Anonymous);
        let matches = |etag: &str| PutIf::Matches(etag.into());
        let conflicts = |done: Result<_, Failure>| matches!(done, Err(Failure::Conflict));
        let done = put_if(&remote, "blob/ns/x", "one", PutIf::Absent).await.unwrap();
        let etag = done.etag.unwrap();
        assert!(conflicts(put_if(&remote, "blob/ns/x", "two", PutIf::Absent).await));
        assert!(conflicts(
            put_if(&remote, "blob/ns/x", "two", matches("00000000000000000000000000000000")).await
        ));
        put_if(&remote, "blob/ns/x", "two", matches(&etag)).await.unwrap();
        assert_eq!(&bytes(get(&remote, "blob/ns/x").await).await[..], b"two");
        ranges_of_a_larder(&remote).await;
        for object in ["blob/ns/none", "v8/artifacts/web/0f", "v8/artifacts/web/0f.tag", "cas-blake3/0f"] {
            assert!(is_absent(&get(&remote, object).await), "{object}");
            assert!(is_not_found(&remote.head(&name(object)).await), "{object}");
        }
        let wrong = put(&remote, &format!("cas/{}", sha256(b"other")), "these").await;
        assert!(matches!(wrong, Err(Failure::Refused(_))), "{wrong:?}");
        let no_archive = put(&remote, "ns/v1/cache/12", "no archive of Nx").await;
        assert!(matches!(no_archive, Err(Failure::Refused(_))), "{no_archive:?}");
        assert!(remote.readable() && remote.writable(), "{:?}", remote.states());
    });
}

/// An action result is answered whole, whatever range is asked for.
async fn ranges_of_a_larder(remote: &Remote) {
    let content = format!("cas/{}", sha256(b"0123456789"));
    put(remote, &content, "0123456789").await.unwrap();
    for object in ["blob/ns/digits", content.as_str()] {
        if object != content {
            put(remote, object, "0123456789").await.unwrap();
        }
        for (asked, given) in [(0..1, 0..1), (3..7, 3..7), (8..100, 8..10), (4..u64::MAX, 4..10)] {
            let options = GetOptions { range: Some(asked), ..GetOptions::default() };
            let found = there(remote.get(&name(object), options).await);
            assert_eq!((found.range.clone(), found.meta.len), (given.clone(), 10), "{object}");
            let expected = &b"0123456789"[given.start as usize..given.end as usize];
            assert_eq!(&found.body.collect(10).await.unwrap()[..], expected, "{object}");
        }
        let behind = GetOptions { range: Some(10..11), ..GetOptions::default() };
        let got = remote.get(&name(object), behind).await;
        assert!(matches!(got, Ok(Got::Unsatisfiable(_))), "{object}: {got:?}");
    }
}

/// `remote` is refused in both directions, and comes back by itself.
async fn goes_down_and_comes_back(broken: &Broken, fault: Fault, says: &str) {
    let remote = broken.remote();
    put(&remote, "x", "1").await.unwrap();
    broken.proxy.set(fault);
    for _ in 0..3 {
        let said = words(get(&remote, "x").await);
        assert!(said.contains(says), "{fault:?}: {said}");
        let said = words(put(&remote, "x", "2").await);
        assert!(said.contains(says), "{fault:?}: {said}");
        words(remote.head(&name("x")).await);
    }
    assert!(!remote.readable() && !remote.writable(), "{fault:?}: {:?}", remote.states());
    assert!(!format!("{:?} {remote:?}", remote.states()).contains(nginx::TOKEN));
    broken.proxy.set(Fault::None);
    remote.nudge();
    becomes(&remote, "both ways are up", |remote| remote.readable() && remote.writable()).await;
    assert_eq!(&bytes(get(&remote, "x").await).await[..], b"1", "what failed has changed nothing");
}

#[test]
fn a_server_that_is_gone_or_is_somebody_else_is_a_state_and_never_a_body() {
    let broken = Broken::new();
    broken.world.run(async {
        goes_down_and_comes_back(&broken, Fault::Refuse, "connect to 127.0.0.1:").await;
        goes_down_and_comes_back(&broken, Fault::Silent, "").await;
        goes_down_and_comes_back(&broken, Fault::Portal, "captive portal").await;
        let code = |code, word| Fault::Status { code, word };
        goes_down_and_comes_back(&broken, code(302, "Found"), "no redirect is followed").await;
        goes_down_and_comes_back(&broken, code(511, "Login"), "wants a login").await;
        goes_down_and_comes_back(&broken, code(502, "BadGateway"), "HTTP 502").await;
    });
}

#[test]
fn throttled_refused_and_denied_are_told_apart() {
    let broken = Broken::new();
    broken.world.run(async {
        let remote = broken.remote();
        put(&remote, "x", "1").await.unwrap();
        broken.proxy.set(Fault::TOO_MANY);
        assert!(matches!(get(&remote, "x").await, Err(Failure::Throttled { .. })));
        assert!(matches!(put(&remote, "x", "2").await, Err(Failure::Throttled { .. })));
        for code in [400, 413] {
            broken.proxy.set(Fault::Status { code, word: "No" });
            let done = put(&remote, "x", "2").await;
            assert!(matches!(done, Err(Failure::Refused(_))), "{code}: {done:?}");
        }
        assert!(remote.readable() && remote.writable(), "{:?}", remote.states());
        for code in [404, 405] {
            let remote = broken.remote();
            broken.proxy.set(Fault::Status { code, word: "No" });
            assert!(words(put(&remote, "x", "2").await).contains("dialect"), "{code}");
            assert_eq!(remote.states().write.word, Word::Denied, "{code}");
        }
        broken.proxy.plan(Plan {
            fault: Fault::Status { code: 405, word: "No" },
            strikes: |request| request.words().0 != "GET",
        });
        let remote = broken.remote();
        let looked = remote.head(&name("x")).await;
        assert!(matches!(&looked, Ok(Looked::Found(meta)) if meta.len == 1), "by a GET: {looked:?}");
        assert!(is_not_found(&remote.head(&name("none")).await));
        assert!(words(remote.delete(&name("x")).await).contains("HTTP 405"));
        broken.proxy.set(Fault::None);

        let stranger = broken.speaking("plain", "wrong-token-of-nobody");
        let said = words(put(&stranger, "y", "1").await);
        assert!(said.contains("HTTP 401") && said.contains("LARDER_UPSTREAM_TOKEN"), "{said}");
        words(get(&stranger, "x").await);
        let states = stranger.states();
        assert_eq!((states.read.word, states.write.word), (Word::Denied, Word::Denied));
        assert!(!format!("{states:?}").contains("wrong-token"), "{states:?}");
    });
}

#[test]
fn a_broken_body_is_an_error_and_can_be_resumed() {
    let broken = Broken::new();
    broken.world.run(async {
        let body = Rng::new(3).bytes(3 << 20);
        let after = 1 << 20;
        for fault in [Fault::Reset { after }, Fault::Cut { after }, Fault::Stall { after }] {
            let remote = broken.remote();
            put(&remote, "x", body.clone()).await.unwrap();
            let Ok(Looked::Found(meta)) = remote.head(&name("x")).await else { panic!("it was put") };
            broken.proxy.set(fault);
            let object = there(get(&remote, "x").await);
            object.body.collect(3 << 20).await.expect_err("the body is broken");
            broken.proxy.set(Fault::None);
            let rest = GetOptions { range: Some(after..3 << 20), if_match: meta.etag, if_none_match: None };
            let object = there(remote.get(&name("x"), rest.clone()).await);
            assert_eq!(object.body.collect(3 << 20).await.unwrap(), &body[after as usize..], "{fault:?}");
            // It became another meanwhile. nginx makes its ETags of a time in seconds and the length.
            put(&remote, "x", "another").await.unwrap();
            assert!(matches!(remote.get(&name("x"), rest).await, Ok(Got::Changed)));
        }
    });
}

/// With its authority in a file, and a certificate of our own that becomes another.
#[test]
fn certificates_are_asked_for_said_and_read_again() {
    let nginx = Nginx::start_tls();
    let world = World::new();
    let at = |name: &str| nginx.path(name).display().to_string();
    let remote = |options: &str| {
        let url = format!("https://{}/p?dialect=plain{options}", nginx.addr());
        world.remote(&url, Credentials::Token(nginx::TOKEN.into()))
    };
    world.run(async {
        let said = words(put(&remote(""), "x", "1").await);
        assert!(said.contains("connect to 127.0.0.1:") && said.contains("certificate"), "{said}");
        let said = words(put(&remote("&ca=/no/such/file"), "x", "1").await);
        assert!(said.contains("the file /no/such/file: "), "{said}");
        let said = words(put(&remote(&format!("&ca={}", at("server.key"))), "x", "1").await);
        assert!(said.contains("no certificate in PEM; correct ca="), "{said}");
        let ca = format!("&ca={}", at("ca.pem"));
        let said = words(put(&remote(&ca), "x", "1").await);
        assert!(said.contains("is a client certificate missing"), "{said}");

        std::fs::copy(nginx.path("foreign.pem"), nginx.path("own.pem")).unwrap();
        std::fs::copy(nginx.path("foreign.key"), nginx.path("own.key")).unwrap();
        let own = format!("{ca}&certificate={}&key={}", at("own.pem"), at("own.key"));
        let remote = remote(&own);
        while remote.writable() {
            words(put(&remote, "x", "1").await);
        }
        std::fs::copy(nginx.path("client.pem"), nginx.path("own.pem")).unwrap();
        std::fs::copy(nginx.path("client.key"), nginx.path("own.key")).unwrap();
        becomes(&remote, "the certificate is read again", Remote::writable).await;
        put(&remote, "x", "1").await.unwrap();
        assert_eq!(&bytes(get(&remote, "x").await).await[..], b"1");
    });
}

#[test]
fn probes_leave_nothing_behind() {
    let broken = Broken::new();
    let cas = format!("cas/{}", sha256(b"x"));
    let gradle = format!("gradle/ns/{}", &sha256(b"x")[..32]);
    for (dialect, object, left) in [
        ("plain", &cas, None),
        ("gradle", &gradle, None),
        ("bazel", &cas, Some(format!("p/cas/{}", sha256(b"")))),
    ] {
        broken.world.run(async {
            let remote = broken.speaking(dialect, nginx::TOKEN);
            broken.proxy.set(Fault::Refuse);
            while remote.readable() || remote.writable() {
                words(get(&remote, object).await);
                words(put(&remote, object, "x").await);
            }
            broken.proxy.set(Fault::None);
            remote.nudge();
            becomes(&remote, "both ways are up", |remote| remote.readable() && remote.writable()).await;
        });
        let files = crate::support::daemon::files(&broken.nginx.files());
        let files: Vec<_> =
            files.iter().map(|path| path.strip_prefix(broken.nginx.files()).unwrap()).collect();
        assert_eq!(
            files.iter().map(|path| path.display().to_string()).collect::<Vec<_>>(),
            Vec::from_iter(left)
        );
    }
}

#[test]
fn a_canary_flies_to_each() {
    let nginx = Nginx::start();
    let hub = Setup::new().start();
    let world = World::new();
    let nginx_at = |dialect| format!("http://{}/p?dialect={dialect}", nginx.addr());
    for (url, deletes) in [
        (nginx_at("plain"), true),
        (nginx_at("bazel"), true),
        (nginx_at("gradle"), true),
        (nginx_at("ccache&layout=bazel"), true),
        (nginx_at("maven"), true),
        (hub.url(), true),
        (format!("{}?dialect=nx", hub.url()), false),
        (format!("{}?dialect=turborepo", hub.url()), false),
    ] {
        world.run(async {
            let remote = world.remote(&url, Credentials::Token(nginx::TOKEN.into()));
            let canary = remote.canary().await;
            let is_done = |step: &larder::upstream::Step| step.outcome == larder::upstream::Outcome::Done;
            assert!(
                is_done(&canary.look) && is_done(&canary.write) && is_done(&canary.read),
                "{url}: {canary:?}"
            );
            assert_eq!(is_done(&canary.delete), deletes, "{url}: {canary:?}");
            assert!(canary.clock_skew_s.is_some_and(|skew| skew.abs() < 60), "{url}: {canary:?}");
        });
    }
    assert!(
        crate::support::daemon::files(&nginx.files()).is_empty(),
        "nothing stays where it can be deleted"
    );
    assert_eq!(hub.send(Request::get("/blob/larders/larder-canary-0")).status(), 404);
}

/// 403 is said to who may not write, and by a Larder to what it doesn't take: another write tells them apart.
#[test]
fn a_server_of_nx_that_has_an_archive_is_content_and_what_it_refuses_is_told_from_whom() {
    let hub = Setup::new().start();
    let proxy = FaultProxy::to(hub.setup().addr());
    let world = World::new();
    let archive = |head: &[u8]| [head, &[0; 20]].concat();
    let good = archive(b"\x1f\x8b\x08\0\0\0\0\0\0\xff");
    world.run(async {
        let remote = world.remote(&format!("http://{}?dialect=nx", proxy.addr()), Credentials::Anonymous);
        put(&remote, "ns/v1/cache/12", good.clone()).await.unwrap();
        assert!(bytes(get(&remote, "other/v1/cache/12").await).await == good, "namespaces are left out");
        let Looked::Found(meta) = remote.head(&name("v1/cache/12")).await.unwrap() else {
            panic!("it was put")
        };
        assert_eq!(meta.len, 30);
        assert!(is_not_found(&remote.head(&name("v1/cache/13")).await));
        let refused = put(&remote, "v1/cache/13", archive(b"no archive")).await;
        let Err(Failure::Refused(said)) = refused else { panic!("{refused:?}") };
        assert!(said.contains("no gzip archive") && !said.contains("LARDER_UPSTREAM_TOKEN"), "{said}");
        let wrong = put(&remote, "gradle/0f", "x").await;
        assert!(matches!(wrong, Err(Failure::Refused(_))), "{wrong:?}");
        proxy.set(Fault::Status { code: 409, word: "Conflict" });
        put(&remote, "v1/cache/12", good.clone()).await.unwrap();
        assert!(remote.readable() && remote.writable(), "{:?}", remote.states());

        proxy.set(Fault::Status { code: 403, word: "Forbidden" });
        let said = words(put(&remote, "v1/cache/14", good.clone()).await);
        assert!(said.contains("HTTP 403") && said.contains("LARDER_UPSTREAM_TOKEN"), "{said}");
        assert_eq!(remote.states().write.word, Word::Denied);
        proxy.set(Fault::None);
        becomes(&remote, "writes are let in", Remote::writable).await;
    });
}
