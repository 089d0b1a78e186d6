//! What clients may get wrong: each is refused in its protocol's words, never with a 5xx, and leaves nothing behind:
//! no entry, no draft, no reservation, no descriptor.

use std::io::{Read, Write};
use std::net::TcpStream;
use std::time::{Duration, Instant};

use rustix::process::{Resource, Rlimit, getrlimit, setrlimit};

use crate::support::daemon::Daemon;
use crate::support::http::{Payload, Request};
use crate::support::routes::Route;
use crate::support::setup::Setup;
use crate::support::tools::{Run, Tool, Turbo};
use crate::support::wire::Addr;
use crate::support::{PATIENCE, Rng, say, sha256, until};

/// Everything that an accident could leave behind.
#[derive(Debug, PartialEq, Eq)]
struct Left {
    entries: u64,
    queued: u64,
    draft_bytes: u64,
    draft_files: usize,
}

impl Left {
    fn by(daemon: &Daemon) -> Self {
        let stats = daemon.stats();
        let sum = |name: &str| {
            ["disk", "outbox"].iter().map(|tier| stats[tier][name].as_u64().expect("a number")).sum::<u64>()
        };
        Self {
            entries: sum("entries"),
            queued: daemon.queued(),
            draft_bytes: sum("draft_bytes"),
            draft_files: daemon.drafts().len(),
        }
    }
}

/// Waits until the daemon holds no more than `before`.
#[track_caller]
fn nothing_left(daemon: &Daemon, before: &Left, descriptors: usize) {
    let mut last = String::new();
    let began = Instant::now();
    until("nothing is left behind", PATIENCE, || {
        let now = Left::by(daemon);
        let open = daemon.descriptors();
        last = format!("{now:?}, {open} descriptors; before {before:?}, {descriptors}");
        assert!(began.elapsed() < PATIENCE / 2, "left behind: {last}");
        // The look itself holds a connection; a segment of the log may have been opened meanwhile.
        now == *before && open <= descriptors + 2
    });
}

/// A daemon that has answered every kind of request once, and what it holds then.
fn warm(setup: Setup) -> (Daemon, Left, usize) {
    let daemon = setup.start();
    let mut rng = Rng::new(31);
    for route in Route::ALL {
        for len in [100, 300_000] {
            let entry = route.entry(&mut rng, len);
            assert_eq!(daemon.send(entry.put()).status(), entry.route.taken(), "{entry:?}");
            assert_eq!(daemon.send(entry.get()).whole(), Some(&entry.body[..]), "{entry:?}");
        }
    }
    let left = Left::by(&daemon);
    assert_eq!((left.draft_bytes, left.draft_files), (0, 0));
    let descriptors = daemon.descriptors();
    (daemon, left, descriptors)
}

#[test]
fn bad_names_are_refused_and_leave_nothing() {
    let (daemon, before, descriptors) = warm(Setup::new());
    let (long, hex) = ("x".repeat(10 << 10), sha256(b"x"));
    let bad = [
        "/blob/ns/../secret".into(),
        "/blob/../../etc/passwd".into(),
        "/blob/ns/%2e%2e/secret".into(),
        "/blob/ns/a/%2E%2e/%2e%2E/b".into(),
        "/blob/ns/a%2f..%2fb".into(),
        "/blob/ns/a%00b".into(),
        "/blob/ns/a%0ab".into(),
        "/blob/ns/%ff%fe".into(),
        "/blob/ns/%zz".into(),
        "/blob/ns/a%".into(),
        format!("/blob/ns/{long}"),
        format!("/blob/ns/{}", &long[..2_000]),
        "/blob/ns".into(),
        "/blob/ns/".into(),
        format!("/blob/{}/x", &long[..300]),
        format!("/cas/{}", &hex[..63]),
        format!("/cas/{hex}0"),
        format!("/cas/{}", hex.to_uppercase()),
        format!("/cas/{}g", &hex[..63]),
        format!("/cas/{}%00", &hex[..63]),
        format!("/ns/ac/{}", &hex[..40]),
        format!("/ns/ac/{}", hex.to_uppercase()),
        format!("/ns/../ac/{hex}"),
        format!("/%2e%2e/cas/{hex}"),
        format!("/{long}/cas/{hex}"),
        format!("/blob/cas/{hex}"),
        format!("/s3/ac/{hex}"),
        format!("/v1/ac/{hex}"),
        "/ccache/ns".into(),
        format!("/ccache/{}/{}", &hex[..3], &hex[2..40]),
        format!("/ccache/{}", &hex[..40].to_uppercase()),
        format!("/ccache/ns/{}%00", &hex[..40]),
        format!("/ccache/ac/{}", &hex[..40]),
        "/maven/v1.2/g/a/c".into(),
        "/maven/v1.2/g/a/c/%2e%2e".into(),
        "/maven/cas/v1.2/g/a/c/f".into(),
        "/v8/artifacts/..".into(),
        "/v8/artifacts/%2e%2e?slug=team".into(),
        "/v8/artifacts/a%00b".into(),
        "/v8/artifacts/a.b".into(),
        "/v8/artifacts/a%2fb".into(),
        format!("/v8/artifacts/{}", &long[..129]),
        format!("/v8/artifacts/{long}"),
        "/v8/artifacts/0123456789abcdef?slug=%2e%2e".into(),
        "/v8/artifacts/0123456789abcdef?slug=a%00b".into(),
        "/v1/cache/..".into(),
        "/v1/cache/%2e%2e".into(),
        "/v1/cache/0x1f".into(),
        "/v1/cache/1%00".into(),
        "/v1/cache/1%2f..%2f2".into(),
        format!("/v1/cache/{}", "1".repeat(21)),
        "/v1/cache".into(),
        "/../v1/cache/1".into(),
        "/cas/v1/cache/1".into(),
        "/gradle".into(),
        "/gradle/..".into(),
        format!("/gradle/{}", &hex[..31]),
        format!("/gradle/{hex}"),
        format!("/gradle/{}", hex[..32].to_uppercase()),
        format!("/gradle/{}%00", &hex[..31]),
        format!("/gradle/%2e%2e/{}", &hex[..32]),
        format!("/gradle/{long}/{}", &hex[..32]),
        format!("/gradle/v8/{}", &hex[..32]),
        "/".into(),
        "/favicon.ico".into(),
        "/-/secret".into(),
    ];
    for target in &bad {
        for (request, bodied) in [
            (Request::get(target.as_str()), true),
            (Request::head(target.as_str()), false),
            (Request::put(target.as_str(), "bytes"), true),
            (Request::put(target.as_str(), vec![7; 300_000]), true),
        ] {
            let answer = daemon.send(request);
            let what = &target[..target.len().min(80)];
            assert!((400..500).contains(&answer.status()), "{what}: {}", answer.head.line);
            assert!(!bodied || answer.header("content-length").is_some(), "{what}: Bazel needs a length");
        }
    }
    nothing_left(&daemon, &before, descriptors);
}

#[test]
fn a_path_by_which_nothing_is_served_names_the_map() {
    let daemon = Setup::new().start();
    let answer = daemon.get("/nothing/here");
    assert_eq!(answer.status(), 404);
    assert!(answer.text().contains("/blob/"), "{}", answer.text());
}

#[test]
fn unknown_methods_are_refused_and_leave_nothing() {
    let (daemon, before, descriptors) = warm(Setup::new());
    let mut rng = Rng::new(32);
    for route in Route::ALL {
        let entry = route.entry(&mut rng, 300_000);
        for method in ["TRACE", "BREW", "PROPFIND", "MKCOL", "LOCK", "get"] {
            let answer = daemon.send(entry.ask(method).payload(Payload::Sized(entry.body.clone())));
            assert!((400..500).contains(&answer.status()), "{method} {entry:?}: {}", answer.head.line);
        }
        assert_eq!(daemon.send(entry.get()).status(), 404);
    }
    for text in [
        "\r\n\r\n\r\n",
        "GET\r\n\r\n",
        "GET / HTTP/9.9\r\n\r\n",
        "GET / HTTP/1.1\r\n\r\n",
        "GET /blob/ns/x HTTP/1.1\r\nhost: 127.0.0.1\r\nbad header\r\n\r\n",
        "PUT /blob/ns/x HTTP/1.1\r\nhost: 127.0.0.1\r\ncontent-length: -1\r\n\r\n",
        "PUT /blob/ns/x HTTP/1.1\r\nhost: 127.0.0.1\r\ncontent-length: 3\r\ncontent-length: 4\r\n\r\nabcd",
        "PUT /blob/ns/x HTTP/1.1\r\nhost: 127.0.0.1\r\ntransfer-encoding: chunked\r\n\r\nzz\r\nabc\r\n",
        "PUT /blob/ns/x HTTP/1.1\r\nhost: 127.0.0.1\r\ncontent-length: 99999999999999999999999\r\n\r\n",
        "\u{16}\u{3}\u{1}\u{2}\u{0}\u{1}\u{0}\u{1}\u{fc}\u{3}\u{3}",
    ] {
        let mut stream = connect(&daemon);
        stream.write_all(text.as_bytes()).expect("the daemon reads");
        stream.shutdown(std::net::Shutdown::Write).expect("a connection");
        let mut answer = String::new();
        // A connection cut without a word is an answer to garbage, too.
        let _ = stream.read_to_string(&mut answer);
        assert!(!answer.contains("HTTP/1.1 5") && !answer.contains("HTTP/1.1 2"), "{text:?}: {answer}");
    }
    nothing_left(&daemon, &before, descriptors);
}

#[test]
fn bodies_that_are_not_what_was_announced_are_never_stored() {
    let (daemon, before, descriptors) = warm(Setup::new());
    let mut rng = Rng::new(33);
    for route in Route::ALL {
        for len in [100, 300_000] {
            let entry = route.entry(&mut rng, len);
            // Shorter, then the end: the sender is gone, whatever it is told.
            let short =
                entry.put().payload(Payload::Lying { announced: len as u64 + 50, bytes: entry.body.clone() });
            if let Ok(answer) = short.send(&daemon.addr()) {
                assert!((400..500).contains(&answer.status()), "{entry:?}: {}", answer.head.line);
            }
            assert_eq!(daemon.send(entry.get()).status(), 404, "short: {entry:?}");
        }
    }
    let body = rng.bytes(300_000);
    let wrong = format!("/ns/cas/{}", sha256(b"something else"));
    for payload in [
        Payload::Sized(body.clone()),
        Payload::Chunked(body.clone()),
        Payload::Sized(b"short".to_vec()),
        Payload::Bare,
    ] {
        let answer = daemon.send(Request::new("PUT", wrong.as_str()).payload(payload));
        assert_eq!(answer.status(), 400, "{}", answer.head.line);
        assert_eq!(daemon.get(wrong.as_str()).status(), 404);
    }
    // What is announced is a body; what follows it is not a part of it, and no request either.
    let longer = Request::put(format!("/ns/cas/{}", sha256(&body)), "")
        .payload(Payload::Lying { announced: 1_000, bytes: body });
    assert_eq!(daemon.send(longer).status(), 400);
    nothing_left(&daemon, &before, descriptors);
}

#[test]
fn a_body_without_a_length_is_chunked_or_empty() {
    let daemon = Setup::new().start();
    let mut rng = Rng::new(34);
    let empty = format!("/ns/cas/{}", sha256(b""));
    assert_eq!(daemon.get(empty.as_str()).status(), 200, "the empty blob is always there");
    for target in [empty.as_str(), "/blob/ns/empty"] {
        let answer = daemon.send(Request::new("PUT", target));
        assert_eq!(answer.status(), 200, "{target}: {}", answer.head.line);
        assert_eq!(daemon.get(target).whole(), Some(&b""[..]), "{target}");
    }
    for route in Route::ALL {
        for len in [0, 1, 65_536, 65_537, 700_000] {
            let entry = route.entry(&mut rng, len);
            let answer = daemon.send(entry.put().payload(Payload::Chunked(entry.body.clone())));
            assert_eq!(answer.status(), route.taken(), "{entry:?}");
            assert_eq!(daemon.send(entry.get()).whole(), Some(&entry.body[..]), "{entry:?}");
        }
    }
}

#[test]
fn broken_ranges_are_416_or_ignored() {
    let daemon = Setup::new().start();
    assert_eq!(daemon.put("/blob/ns/r", "0123456789").status(), 200);
    for (range, status, body) in [
        ("bytes=2-4", 206, "234"),
        ("bytes=7-", 206, "789"),
        ("bytes=-3", 206, "789"),
        ("bytes=8-100", 206, "89"),
        ("bytes=-100", 206, "0123456789"),
        ("bytes=10-", 416, ""),
        ("bytes=99999999999-", 416, ""),
        ("bytes=-0", 416, ""),
        ("bytes=5-2", 200, "0123456789"),
        ("bytes=a-b", 200, "0123456789"),
        ("bytes=", 200, "0123456789"),
        ("bytes=-", 200, "0123456789"),
        ("lines=1-2", 200, "0123456789"),
        ("bytes=99999999999999999999999999-", 200, "0123456789"),
    ] {
        let answer = daemon.send(Request::get("/blob/ns/r").header("range", range));
        if answer.status() == 416 {
            // Whoever reads the grammar strictly may refuse what another ignores.
            assert!(status == 416 || body == "0123456789", "{range}");
            assert_eq!(answer.header("content-range"), Some("bytes */10"), "{range}");
            continue;
        }
        assert_eq!((answer.status(), answer.text().as_str()), (status, body), "{range}");
    }
    let several = daemon.send(Request::get("/blob/ns/r").header("range", "bytes=0-1,4-5"));
    assert!(matches!(several.status(), 200 | 416), "{}", several.head.line);
}

#[test]
fn a_body_over_entry_max_is_refused_or_shed_and_not_stored() {
    let (daemon, before, descriptors) = warm(Setup::new().config("entry_max = \"500 KiB\""));
    let mut rng = Rng::new(35);
    for route in Route::ALL {
        let entry = route.entry(&mut rng, 600_000);
        let owed = route.over_entry_max();
        for payload in [Payload::Sized(entry.body.clone()), Payload::Chunked(entry.body.clone())] {
            let answer = daemon.send(entry.put().payload(payload));
            assert_eq!(answer.status(), owed, "{entry:?}: {}", answer.head.line);
            assert_eq!(daemon.send(entry.get()).status(), 404, "{entry:?}");
        }
    }
    let shed = Route::ALL.iter().filter(|route| route.over_entry_max() < 300).count();
    assert_eq!(daemon.stat("/sheds/entry_max"), 2 * shed as u64);
    nothing_left(&daemon, &before, descriptors);
}

fn connect(daemon: &Daemon) -> TcpStream {
    let Addr::Tcp(addr) = daemon.addr() else { unreachable!("a daemon under test listens on TCP") };
    let stream = TcpStream::connect(addr).expect("the daemon accepts");
    stream.set_read_timeout(Some(PATIENCE)).expect("a timeout can be set");
    stream
}

/// Waits until the daemon has closed a connection that says nothing more; what it said until then.
fn closed(mut stream: TcpStream) -> String {
    let mut said = Vec::new();
    match stream.read_to_end(&mut said) {
        Ok(_) => {}
        Err(error) => {
            assert_eq!(error.kind(), std::io::ErrorKind::ConnectionReset, "closed, one way or another")
        }
    }
    String::from_utf8_lossy(&said).into_owned()
}

#[test]
fn silent_and_slow_clients_are_cut_off() {
    let clocks = "head = \"1 s\"\nbody_stall = \"1 s\"\nidle = \"2 s\"\nmemory = 0\nmemory_entry_max = 0";
    let (daemon, before, descriptors) = warm(Setup::new().config(clocks));
    let big = Route::Blob.entry(&mut Rng::new(36), 20_000_000);
    assert_eq!(daemon.send(big.put()).status(), 200);
    let before = Left { entries: before.entries + 1, ..before };

    let silent = connect(&daemon);
    let half_a_head = connect(&daemon);
    (&half_a_head).write_all(b"GET /blob/ns/x HTTP/1.1\r\nhost: 127").expect("the daemon reads");
    let half_a_body = connect(&daemon);
    let head = "PUT /blob/ns/half HTTP/1.1\r\nhost: 127.0.0.1\r\ncontent-length: 300000\r\n\r\n";
    (&half_a_body).write_all(head.as_bytes()).expect("the daemon reads");
    (&half_a_body).write_all(&[1; 150_000]).expect("the daemon reads");
    let never_reads = connect(&daemon);
    let head = format!("GET {} HTTP/1.1\r\nhost: 127.0.0.1\r\n\r\n", big.target);
    (&never_reads).write_all(head.as_bytes()).expect("the daemon reads");

    for (what, stream) in [("silent", silent), ("half a head", half_a_head), ("half a body", half_a_body)] {
        let said = closed(stream);
        assert!(said.is_empty() || said.starts_with("HTTP/1.1 4"), "{what}: {said}");
    }
    // Only then read: the daemon must have given up on the one that never did.
    until("the reader that never reads is cut", PATIENCE, || daemon.stat("/connections") <= 1);
    let said = closed(never_reads);
    assert!(said.len() < big.body.len(), "the body is not whole");
    assert_eq!(daemon.get("/blob/ns/half").status(), 404);
    nothing_left(&daemon, &before, descriptors);
}

#[test]
fn ten_thousand_idle_connections_do_not_keep_a_build_out() {
    const CROWD: usize = 10_000;
    let limit = getrlimit(Resource::Nofile);
    let most = limit.maximum.unwrap_or(u64::MAX);
    // Room for this process's own ends, and for what the other tests hold meanwhile.
    setrlimit(Resource::Nofile, Rlimit { current: limit.maximum, maximum: limit.maximum })
        .expect("up to the maximum");
    let crowd = CROWD.min(usize::try_from(most.saturating_sub(4_000)).unwrap_or(CROWD));
    if crowd < CROWD {
        say(&format!("{crowd} connections instead of {CROWD}: this user may have {most} descriptors"));
    }
    let (daemon, before, descriptors) = warm(Setup::new());
    let idle: Vec<TcpStream> = (0..crowd).map(|_| connect(&daemon)).collect();
    until("all are accepted, or at their bound", PATIENCE, || {
        let bound = usize::try_from(most / 2).unwrap_or(usize::MAX);
        let open = usize::try_from(daemon.stat("/connections")).expect("it fits");
        open >= crowd.min(bound - 1)
    });

    let checkout = Turbo::checkout("crowd");
    assert_eq!(checkout.build(&daemon.url()), Run::all_ran(Turbo::TASKS));
    checkout.wipe();
    assert_eq!(checkout.build(&daemon.url()), Run::all_remote(Turbo::TASKS));
    let began = Instant::now();
    assert_eq!(daemon.get("/blob/ns/absent").status(), 404);
    assert!(began.elapsed() < Duration::from_secs(1), "{:?}", began.elapsed());

    drop(idle);
    let before = Left { entries: before.entries + Turbo::TASKS as u64, ..before };
    nothing_left(&daemon, &before, descriptors);
}
