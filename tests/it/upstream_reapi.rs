//! Caches of the Remote Execution API as upstreams: a Larder behind a Larder, by TLS and with a token, and casd.

use std::io::{Read as _, Write as _};
use std::net::{Shutdown, SocketAddr, TcpListener, TcpStream};
use std::time::Duration;

use serde_json::Value;

use crate::product::check;
use crate::support::daemon::Daemon;
use crate::support::grpc::{Code, Grpc};
use crate::support::setup::Setup;
use crate::support::tls::Pki;
use crate::support::tools::bazel::{Bazel, Version};
use crate::support::tools::casd::Casd;
use crate::support::tools::moon::Moon;
use crate::support::tools::{Run, Tool};
use crate::support::wire::Addr;
use crate::support::{Rng, free_addr, sha256, until};

/// How long a queue may take to drain by itself: a probe goes every 60 s at worst.
const DRAIN: Duration = Duration::from_secs(150);

/// A Larder that others may reach who have a token; where it listens for them, and the token.
pub(crate) fn far() -> (Daemon, String, String) {
    let open = free_addr();
    let listener = format!("[[listeners]]\naddress = \"0.0.0.0:{}\"\ninsecure = true\n", open.port());
    let far = Setup::new().config(&listener).start();
    let token = far.token(&["--bearer", "laptops"]);
    (far, format!("grpc://{open}/team"), token)
}

/// The same by TLS, with what `larder tls init` makes.
fn far_by_tls(pki: &Pki) -> (Daemon, String, String) {
    let open = free_addr();
    let everywhere = SocketAddr::from(([0, 0, 0, 0], open.port()));
    let far = Setup::new().config(&pki.listener(everywhere, "")).start();
    let token = far.token(&["--bearer", "laptops"]);
    (far, format!("grpcs://localhost:{}/team?ca={}", open.port(), pki.ca().display()), token)
}

/// A web server that has a page for everything. It ends with the test's process.
fn portal() -> SocketAddr {
    let listener = TcpListener::bind("127.0.0.1:0").expect("a free port");
    let addr = listener.local_addr().expect("it is bound");
    std::thread::spawn(move || {
        for stream in listener.incoming() {
            let Ok(mut stream) = stream else { return };
            // Who hangs up doesn't see the page.
            let _ = stream.read(&mut [0; 4096]);
            let _ = stream
                .write_all(b"HTTP/1.1 200 OK\r\ncontent-type: text/html\r\ncontent-length: 5\r\n\r\nlogin");
        }
    });
    addr
}

/// Over both protocols: what an HTTP client asks for has no size, and is found all the same.
struct Callers {
    moon: Moon,
    zstd: Moon,
    http: Moon,
    bazel: Bazel,
    bazel_http: Bazel,
}

impl Callers {
    fn of(version: &str) -> Self {
        Self {
            moon: Moon::checkout(version).grpc(),
            zstd: Moon::big(&format!("{version} with zstd")).grpc().zstd(),
            http: Moon::big(&format!("{version} over HTTP")).http(),
            bazel: Bazel::checkout(version).by(Version::V4).grpc(),
            bazel_http: Bazel::checkout(&format!("{version} over HTTP")),
        }
    }

    #[track_caller]
    fn build(&self, daemon: &Daemon, expected: fn(usize) -> Run, when: &str) {
        let base = daemon.url();
        check(daemon, "moon", &self.moon.build(&base), &expected(Moon::TASKS), when);
        check(daemon, "moon with zstd", &self.zstd.build(&base), &expected(Moon::TASKS), when);
        check(daemon, "moon over HTTP", &self.http.build(&base), &expected(Moon::TASKS), when);
        check(daemon, "Bazel 4.2.3", &self.bazel.build(&base), &expected(Bazel::TASKS), when);
        check(daemon, "Bazel over HTTP", &self.bazel_http.build(&base), &expected(Bazel::TASKS), when);
    }

    fn wipe(&self) {
        for moon in [&self.moon, &self.zstd, &self.http] {
            moon.wipe();
        }
        self.bazel.wipe();
        self.bazel_http.wipe();
    }

    fn outputs(&self) -> Vec<Vec<String>> {
        let moons = [&self.moon, &self.zstd, &self.http].map(Tool::outputs);
        let bazels = [&self.bazel, &self.bazel_http].map(Tool::outputs);
        moons.into_iter().chain(bazels).collect()
    }
}

#[test]
fn two_machines_behind_a_larder_that_goes_away() {
    let pki = Pki::new(&[]);
    let (far, url, token) = far_by_tls(&pki);
    // A test's daemon takes long over TLS when other tests run beside it.
    let patient = "connect = \"5 s\"\nfirst_byte = \"10 s\"";
    let machine = || Setup::new().config(patient).upstream(&url).keys(&token).start();
    let (desk, laptop) = (machine(), machine());
    let on_desk = Callers::of("v1");
    on_desk.build(&desk, Run::all_ran, "first build ever");
    desk.flush();

    let on_laptop = Callers::of("v1");
    on_laptop.build(&laptop, Run::all_remote, "what desk has built");
    assert_eq!(on_laptop.outputs(), on_desk.outputs());
    laptop.flush();

    let far = far.kill();
    on_laptop.wipe();
    on_laptop.build(&laptop, Run::all_remote, "the upstream is gone, the disk is not");
    let second = Callers::of("v2");
    second.build(&laptop, Run::all_ran, "new sources, no upstream");
    assert!(laptop.queued() > 0, "what was built waits");

    let far = far.start();
    until("the queue drains by itself", DRAIN, || laptop.queued() == 0);
    until("desk reads again", DRAIN, || desk.upstream("read").0 == "up");
    let on_desk = Callers::of("v2");
    on_desk.build(&desk, Run::all_remote, "what laptop has built");
    assert_eq!(on_desk.outputs(), second.outputs());
    assert!(!laptop.log().contains(&token) && !far.log().contains(&token), "nobody says the token");
    assert_eq!(laptop.stat("/totals/uploads_ended"), 0, "nothing is given up");
}

/// A body of a few megabytes, whole and from an offset; and one of which nobody has said the size.
#[test]
fn what_is_large_is_streamed() {
    let (_far, url, token) = far();
    let machine = || Setup::new().upstream(&url).keys(&token).start();
    let (desk, laptop) = (machine(), machine());
    let large = Rng::new(7).bytes(5_000_000);
    let words = b"larder ".repeat(700_000);
    for body in [&large, &words] {
        assert_eq!(desk.put(format!("/cas/{}", sha256(body)), body.clone()).status(), 200);
    }
    desk.flush();

    let at = Grpc::to(&laptop.addr());
    assert_eq!(at.read(&large, 4_000_000).data(), large[4_000_000..], "from an offset");
    assert!(at.read(&large, 0).data() == large, "whole");
    let target = format!("/cas/{}", sha256(&words));
    assert_eq!(laptop.get(&target).status(), 404, "nobody knows how long it is");
    assert!(at.read(&words, 0).data() == words, "who knows gets it");
    until("what was read is here", DRAIN, || laptop.get(&target).status() == 200);
}

/// The connection breaks in the middle of a long body: the rest of it goes by another one.
#[test]
fn a_write_that_breaks_off_goes_on() {
    let (far, url, token) = far();
    let open: SocketAddr =
        url["grpc://".len()..].split('/').next().expect("a host").parse().expect("an address");
    let cut = cut_once(open, 12_000_000);
    let desk = Setup::new().upstream(format!("grpc://{cut}/team")).keys(&token).start();
    let long = Rng::new(11).bytes(24_000_000);
    let target = format!("/cas/{}", sha256(&long));
    assert_eq!(desk.put(&target, long.clone()).status(), 200);
    desk.flush();
    assert!(far.get(&target).body == long);
    let asked = far.access().iter().filter(|call| call.path.ends_with("QueryWriteStatus")).count();
    assert_eq!(asked, 1, "{}", desk.log());
    assert_eq!(desk.stat("/totals/uploads"), 1);
}

/// Passes connections on to `target`, of which the first is cut after so many bytes. It ends with the test's process.
fn cut_once(target: SocketAddr, bytes: u64) -> SocketAddr {
    let listener = TcpListener::bind("127.0.0.1:0").expect("a free port");
    let addr = listener.local_addr().expect("it is bound");
    std::thread::spawn(move || {
        let mut limit = bytes;
        for near in listener.incoming() {
            let (Ok(near), Ok(far)) = (near, TcpStream::connect(target)) else { return };
            let max = std::mem::replace(&mut limit, u64::MAX);
            let ends = [near.try_clone(), far.try_clone()].map(|end| end.expect("a descriptor is free"));
            std::thread::spawn(move || pass(near, far, max));
            let [near, far] = ends;
            std::thread::spawn(move || pass(far, near, u64::MAX));
        }
    });
    addr
}

fn pass(from: TcpStream, mut to: TcpStream, max: u64) {
    // Either end may go at any time: then so does the other.
    let _ = std::io::copy(&mut (&from).take(max), &mut to);
    let _ = from.shutdown(Shutdown::Both);
    let _ = to.shutdown(Shutdown::Both);
}

/// Names of other protocols stay here, and keep nobody waiting.
#[test]
fn what_such_a_cache_has_not_is_kept_here() {
    let (far, url, token) = far();
    let laptop = Setup::new().upstream(&url).keys(&token).start();
    for target in ["/v8/artifacts/0123456789abcdef?slug=team", "/blob/ns/a"] {
        assert!((200..300).contains(&laptop.put(target, "kept here").status()), "{target}");
        assert_eq!(laptop.get(target).status(), 200, "{target}");
    }
    assert_eq!(laptop.queued(), 0);
    assert_eq!(laptop.get("/blob/ns/other").status(), 404);
    assert_eq!(laptop.upstream("read").0, "up");
    let content = sha256(b"content");
    assert_eq!(laptop.put(format!("/cas/{content}"), "content").status(), 200);
    laptop.flush();
    assert_eq!(far.get(format!("/cas/{content}")).status(), 200);
    // What is no action result goes nowhere, and ends.
    let answer = laptop.put(format!("/ac/{content}"), "cCrS, as ccache has it");
    assert_eq!(answer.status(), 200);
    until("it is given up", DRAIN, || laptop.queued() == 0);
    assert_eq!(laptop.get(format!("/ac/{content}")).status(), 200, "and is still here");
}

/// Without a token, with a wrong one, with the right one at last.
#[test]
fn a_token_that_is_not_taken_is_said_with_the_remedy() {
    let (far, url, token) = far();
    let setup = Setup::new().upstream(&url).keys(&"something-else".to_owned());
    let laptop = setup.start();
    let content = sha256(b"content");
    assert_eq!(laptop.put(format!("/cas/{content}"), "content").status(), 200);
    let words = laptop.until_upstream("write", &["denied"]);
    assert!(words.contains(&setup.keys_path().display().to_string()), "{words}");
    assert!(!words.contains("something-else"), "{words}");
    assert_eq!(laptop.queued(), 1);
    crate::support::write_secret(&setup.keys_path(), &token);
    until("it drains by itself", DRAIN, || laptop.queued() == 0);
    assert_eq!(far.get(format!("/cas/{content}")).status(), 200);

    let nobody = Setup::new().upstream(&url).start();
    assert_eq!(nobody.put(format!("/cas/{content}"), "content").status(), 200);
    let words = nobody.until_upstream("write", &["denied"]);
    assert!(words.contains("LARDER_UPSTREAM_TOKEN"), "{words}");
}

/// A web server, and one that speaks something else, are no caches that have nothing.
#[test]
fn who_speaks_no_grpc_has_no_absences() {
    let web = portal();
    for (addr, word) in [(web, "GetCapabilities"), (free_addr(), "connect to 127.0.0.1")] {
        let laptop = Setup::new().upstream(format!("grpc://{addr}/x")).start();
        for _ in 0..3 {
            assert_eq!(laptop.get(format!("/ac/{}", sha256(b"a"))).status(), 404);
        }
        let words = laptop.until_upstream("read", &["down"]);
        assert!(words.contains(word), "{words}");
    }
}

/// What one machine put is what another finds, through a casd that both are in front of.
#[test]
fn casd_keeps_what_it_is_given() {
    let casd = Casd::alone();
    let Addr::Tcp(addr) = casd.addr() else { panic!("casd listens by TCP") };
    let machine = || Setup::new().upstream(format!("grpc://{addr}")).start();
    let mut rng = Rng::new(43);
    let (small, large) = (rng.bytes(1_000), rng.bytes(5_000_000));
    let (action, output) = (rng.bytes(32), rng.bytes(2_000));
    let desk = machine();
    let at = Grpc::to(&desk.addr());
    for answer in at.update(&[&small, &output, &action]).one().responses {
        assert_eq!(answer.status.expect("a status").code, 0);
    }
    assert_eq!(at.write(&large).one().committed_size, 5_000_000);
    assert_eq!(at.store_result(&action, &output).code, Code::Ok);
    desk.flush();
    assert_eq!(desk.stat("/totals/uploads_ended"), 0, "{}\n{}", desk.log(), casd.said());

    let laptop = machine();
    let at = Grpc::to(&laptop.addr());
    let found = at.result(&action);
    assert_eq!(found.code, Code::Ok, "{}\n{}\n{}", found.words, laptop.log(), casd.said());
    for answer in at.batch(&[&small, &output]).one().responses {
        assert_eq!(answer.status.expect("a status").code, 0, "{}", casd.said());
        assert!(answer.data == small || answer.data == output);
    }
    assert!(at.read(&large, 0).data() == large, "{}", casd.said());
    assert_eq!(at.result(&rng.bytes(32)).code, Code::NotFound);
    // An HTTP client, which knows no sizes, finds the result, and by it what that names.
    let other = machine();
    assert_eq!(other.get(format!("/ac/{}", sha256(&action))).status(), 200, "{}", casd.said());
    assert!(other.get(format!("/cas/{}", sha256(&output))).body == output, "{}", casd.said());
}

/// `larder doctor` looks the canary up, writes it and reads it back.
#[test]
fn the_doctor_flies_its_canary() {
    let (_far, url, token) = far();
    let laptop = Setup::new().upstream(&url).keys(&token).start();
    let said: Value = serde_json::from_slice(&laptop.cli(&["doctor", "--json"]).stdout).expect("JSON");
    let findings = said["findings"].as_array().expect("a list");
    let upstream = findings.iter().find(|finding| finding["check"] == "upstream").expect("it is looked at");
    assert_eq!(upstream["level"], "ok", "{upstream:#}");
    assert!(upstream["words"].as_str().is_some_and(|words| words.contains("written, read")), "{upstream:#}");
}

/// Who may only read there is told so, and not refused result by result: what is queued waits for the right to write.
#[test]
fn a_reader_keeps_its_results_until_it_may_write() {
    let pki = Pki::new(&["laptop"]);
    let open = free_addr();
    let listener = pki.listener(open, &format!("{}\nreaders = [\"laptop\"]", pki.client_ca()));
    let far = Setup::new().config(&listener).start();
    let (action, output) = (b"the action".as_slice(), b"the output".as_slice());
    Grpc::to(&far.addr()).update(&[action, output]).one();

    let own = pki.client("laptop");
    let url = format!(
        "grpcs://localhost:{}?ca={}&certificate={}&key={}",
        open.port(),
        pki.ca().display(),
        own.certificate.display(),
        own.key.display()
    );
    let laptop = Setup::new().upstream(url).start();
    let at = Grpc::to(&laptop.addr());
    for body in [action, output] {
        assert_eq!(at.read(body, 0).data(), body, "it reads");
    }
    assert_eq!(at.store_result(action, output).code, Code::Ok);
    let words = laptop.until_upstream("write", &["denied"]);
    assert!(words.contains("takes no action results from us"), "{words}");
    assert_eq!((laptop.queued(), laptop.stat("/totals/uploads_ended")), (1, 0), "{}", laptop.log());
    assert_eq!(laptop.upstream("read").0, "up");

    let text = std::fs::read_to_string(far.setup().config_path()).expect("its file");
    std::fs::write(far.setup().config_path(), text.replace("readers", "clients")).expect("its file");
    until("it drains by itself", DRAIN, || laptop.queued() == 0);
    assert_eq!(Grpc::to(&far.addr()).result(action).code, Code::Ok);
}
