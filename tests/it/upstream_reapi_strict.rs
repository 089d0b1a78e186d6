//! Behind a server that is as strict as Depot: its token, its TLS, its rules of results; and in how many calls.

use std::time::Duration;

use crate::support::daemon::Daemon;
use crate::support::grpc::{Code, Grpc, digest, reapi};
use crate::support::setup::Setup;
use crate::support::tools::bazel::{Bazel, Version};
use crate::support::tools::depot::{Authority, Depot};
use crate::support::tools::moon::Moon;
use crate::support::tools::{Run, Tool};
use crate::support::{PATIENCE, Rng, until};

/// How long a queue may take to drain by itself: a probe goes every 60 s at worst.
const DRAIN: Duration = Duration::from_secs(150);

fn token() -> String {
    format!("depot-{:x}", crate::support::random())
}

/// The most memory that it had.
fn peak_kib(daemon: &Daemon) -> u64 {
    let status = std::fs::read_to_string(format!("/proc/{}/status", daemon.id())).expect("it runs");
    let line = status.lines().find(|line| line.starts_with("VmHWM:")).expect("it is there");
    line.split_ascii_whitespace().nth(1).and_then(|kib| kib.parse().ok()).expect("a number")
}

/// moon and Bazel on two machines, over TLS with certificates on both sides.
#[test]
fn two_machines_behind_a_strict_server_by_tls() {
    let (authority, token) = (Authority::new(), token());
    let depot = Depot::with_tls(&token, &authority);
    let path = |name: &str| authority.path(name).display().to_string();
    let url = format!(
        "grpcs://localhost:{}/org?ca={}&certificate={}&key={}",
        depot.addr.port(),
        path("ca.pem"),
        path("client.pem"),
        path("client.key"),
    );
    let machine = || Setup::new().upstream(&url).keys(&token).start();
    let callers = || {
        (Moon::big("v1").grpc(), Moon::checkout("v2").http(), Bazel::checkout("v1").by(Version::V4).grpc())
    };
    let (desk, laptop) = (machine(), machine());
    let (moon, over_http, bazel) = callers();
    assert_eq!(moon.build(&desk.url()), Run::all_ran(Moon::TASKS));
    assert_eq!(over_http.build(&desk.url()), Run::all_ran(Moon::TASKS));
    assert_eq!(bazel.build(&desk.url()), Run::all_ran(Bazel::TASKS));
    desk.flush();
    assert_eq!(desk.stat("/totals/uploads_ended"), 0, "{}", desk.log());
    let stored = depot.count("UpdateActionResult", "OK");
    assert!(stored >= 2 * Moon::TASKS + Bazel::TASKS, "{:?}", depot.calls());

    // Two handshakes at once with a certificate each may take longer here than a miss is worth.
    until("the laptop is connected", PATIENCE, || {
        assert_eq!(Grpc::to(&laptop.addr()).result(b"nobody's action").code, Code::NotFound);
        laptop.upstream("read").0 == "up"
    });
    let (moon2, over_http2, bazel2) = callers();
    assert_eq!(moon2.build(&laptop.url()), Run::all_remote(Moon::TASKS), "{}", laptop.log());
    assert_eq!(over_http2.build(&laptop.url()), Run::all_remote(Moon::TASKS), "{}", laptop.log());
    assert_eq!(bazel2.build(&laptop.url()), Run::all_remote(Bazel::TASKS), "{}", laptop.log());
    assert_eq!(moon2.outputs(), moon.outputs());
    assert_eq!(bazel2.outputs(), bazel.outputs());

    // Without its own certificate, and without the authority's, a machine says what it lacks.
    for (options, word) in [(format!("ca={}", path("ca.pem")), "certificate"), (String::new(), "ca=FILE")] {
        let url = format!("grpcs://localhost:{}/org?{options}", depot.addr.port());
        let other = Setup::new().upstream(url.trim_end_matches('?')).keys(&token).start();
        for _ in 0..3 {
            assert_eq!(Grpc::to(&other.addr()).result(b"action").code, Code::NotFound);
        }
        let words = other.until_upstream("read", &["down"]);
        assert!(words.contains(word), "{words}");
    }
}

/// What clients of other servers inline is content of its own there; and the action comes before its result.
#[test]
fn results_are_as_the_server_takes_them() {
    let token = token();
    let depot = Depot::start(&token);
    let machine = || Setup::new().upstream(format!("grpc://{}/org", depot.addr)).keys(&token).start();
    let desk = machine();
    let at = Grpc::to(&desk.addr());
    let (action, output) = (b"the action".as_slice(), b"the output".as_slice());
    at.update(&[action]).one();
    let file = reapi::OutputFile {
        path: "out".into(),
        digest: Some(digest(output)),
        contents: output.to_vec(),
        ..Default::default()
    };
    let result = reapi::ActionResult {
        output_files: vec![file],
        stdout_raw: b"said".to_vec(),
        stderr_raw: vec![b'e'; 300_000],
        exit_code: 7,
        ..Default::default()
    };
    let request = reapi::UpdateActionResultRequest {
        action_digest: Some(digest(action)),
        action_result: Some(result),
        ..Default::default()
    };
    assert_eq!(at.call::<reapi::ActionResult>("UpdateActionResult", &request).code, Code::Ok);
    desk.flush();
    assert_eq!(depot.count("UpdateActionResult", "OK"), 1, "{:?}", depot.calls());
    assert_eq!(desk.stat("/totals/uploads_ended"), 0, "{}", desk.log());

    let laptop = machine();
    let found = Grpc::to(&laptop.addr()).result(action).one();
    assert_eq!((found.exit_code, found.stdout_digest), (7, Some(digest(b"said"))));
    assert!(found.stdout_raw.is_empty() && found.output_files[0].contents.is_empty());
    let at = Grpc::to(&laptop.addr());
    assert_eq!(at.read(output, 0).data(), output);
    assert_eq!(at.read(&vec![b'e'; 300_000], 0).data().len(), 300_000);
}

/// A result whose action nobody has stored is refused there, and given up here: it blocks nobody.
#[test]
fn a_result_without_its_action_ends() {
    let token = token();
    let depot = Depot::start(&token);
    let desk = Setup::new().upstream(format!("grpc://{}", depot.addr)).keys(&token).start();
    let at = Grpc::to(&desk.addr());
    at.update(&[b"output"]).one();
    assert_eq!(at.store_result(b"an action", b"output").code, Code::Ok);
    desk.flush();
    assert_eq!(depot.count("UpdateActionResult", "FAILED_PRECONDITION"), 1, "{:?}", depot.calls());
    assert_eq!(desk.stat("/totals/uploads_ended"), 1);
    assert_eq!(at.result(b"an action").code, Code::Ok, "it is still here");
}

/// Hundreds of blobs of one result are asked for, and read, in a few calls.
#[test]
fn many_are_asked_for_in_few_calls() {
    let token = token();
    let depot = Depot::start(&token);
    let machine = || Setup::new().upstream(format!("grpc://{}", depot.addr)).keys(&token).start();
    let mut rng = Rng::new(9);
    let outputs: Vec<Vec<u8>> = (0..300).map(|n| rng.bytes(500 + n)).collect();
    let bodies: Vec<&[u8]> = outputs.iter().map(Vec::as_slice).collect();
    let file = |body: &&[u8]| reapi::OutputFile {
        path: crate::support::sha256(body),
        digest: Some(digest(body)),
        ..Default::default()
    };
    let request = reapi::UpdateActionResultRequest {
        action_digest: Some(digest(b"action")),
        action_result: Some(reapi::ActionResult {
            output_files: bodies.iter().map(file).collect(),
            ..Default::default()
        }),
        ..Default::default()
    };
    let desk = machine();
    let at = Grpc::to(&desk.addr());
    at.update(&[b"action"]).one();
    at.update(&bodies).one();
    assert_eq!(at.call::<reapi::ActionResult>("UpdateActionResult", &request).code, Code::Ok);
    desk.flush();
    let wrote = depot.count("BatchUpdateBlobs", "OK");
    assert!(wrote <= 150, "300 blobs were written in {wrote} calls");

    let laptop = machine();
    let at = Grpc::to(&laptop.addr());
    let before = depot.calls().len();
    until("the result is found complete", DRAIN, || at.result(b"action").code == Code::Ok);
    let asked: Vec<_> = depot.calls().split_off(before);
    let finds = asked.iter().filter(|call| call.0 == "FindMissingBlobs").count();
    assert!((1..=60).contains(&finds), "300 blobs were asked for in {finds} calls");
    let answers = at.batch(&bodies).one().responses;
    assert!(answers.iter().all(|answer| answer.status.as_ref().is_none_or(|status| status.code == 0)));
    let reads = depot.count("BatchReadBlobs", "OK");
    assert!((1..=60).contains(&reads), "300 blobs were read in {reads} calls");
}

/// The token is taken back for a while: nothing is lost, and all of it goes there with the new one.
#[test]
fn a_replaced_token_drains_the_queue() {
    let (old, new) = (token(), token());
    let depot = Depot::start(&old);
    let setup = Setup::new().upstream(format!("grpc://{}", depot.addr)).keys(&old);
    let desk = setup.start();
    let at = Grpc::to(&desk.addr());
    at.update(&[b"with the first token"]).one();
    desk.flush();
    depot.take(&new);
    let mut rng = Rng::new(3);
    let outputs: Vec<Vec<u8>> = (0..100).map(|n| rng.bytes(100 + n)).collect();
    let bodies: Vec<&[u8]> = outputs.iter().map(Vec::as_slice).collect();
    at.update(&bodies).one();
    let words = desk.until_upstream("write", &["denied"]);
    assert!(words.contains(&setup.keys_path().display().to_string()), "{words}");
    assert_eq!(desk.queued(), 100, "nothing is given up");
    crate::support::write_secret(&setup.keys_path(), &new);
    until("all of it goes there by itself", DRAIN, || desk.queued() == 0);
    assert_eq!(desk.stat("/totals/uploads_ended"), 0);
    for secret in [&old, &new] {
        assert!(!desk.log().contains(secret), "nobody says the token");
    }
}

/// Where the server takes them so, blobs of a batch are packed; what it says that they are is looked at. A lie is a miss,
/// and the truth is a hit again.
#[test]
fn batches_are_packed_and_lies_are_misses() {
    let token = token();
    let depot = Depot::start(&token);
    let machine = || Setup::new().upstream(format!("grpc://{}", depot.addr)).keys(&token).start();
    let (words, noise) = (b"larder ".repeat(1000), Rng::new(5).bytes(5000));
    let desk = machine();
    Grpc::to(&desk.addr()).update(&[&words, &noise]).one();
    desk.flush();
    let packed: usize =
        depot.calls().iter().filter(|call| call.0 == "PackedUpdates").map(|call| call.1).sum();
    assert_eq!(packed, 1, "what gets smaller: {:?}", depot.calls());

    for lie in ["longer", "other", "bomb"] {
        // Each lie is one of its own to who hears it: three in a row would be a server that is down.
        let laptop = machine();
        let at = Grpc::to(&laptop.addr());
        depot.behave(lie);
        let before = peak_kib(&laptop);
        assert_eq!(
            at.batch(&[&words]).one().responses[0].status.as_ref().map(|said| said.code),
            Some(5),
            "{lie}"
        );
        let grown = peak_kib(&laptop) - before;
        assert!(grown < 64 << 10, "{lie}: {grown} KiB for a blob of 7,000 bytes");
        depot.behave("");
        for body in [&words, &noise] {
            let answer = at.batch(&[body]).one().responses.remove(0);
            assert!(answer.data == *body, "{lie}: {answer:?}\n{}", laptop.log());
        }
    }
    assert!(depot.count("PackedReads", "OK") >= 3, "{:?}", depot.calls());
}

/// A server that asks to wait is not down, and is not asked again before its time; what it takes goes there meanwhile.
#[test]
fn who_asks_to_wait_is_waited_for() {
    let token = token();
    let depot = Depot::start(&token);
    let desk = Setup::new().upstream(format!("grpc://{}", depot.addr)).keys(&token).start();
    let at = Grpc::to(&desk.addr());
    at.update(&[b"before"]).one();
    desk.flush();
    depot.behave("wait");
    // As many as would open the breaker, and one more.
    for number in 1..=4_usize {
        at.update(&[format!("blob {number}").as_bytes()]).one();
        until("it is asked to wait", DRAIN, || depot.count("BatchUpdateBlobs", "UNAVAILABLE") == number);
    }
    depot.behave("");
    at.update(&[b"after"]).one();
    until("what came later is there", DRAIN, || desk.queued() == 4);
    assert_eq!(desk.upstream("write").0, "up");
    assert_eq!(depot.count("BatchUpdateBlobs", "UNAVAILABLE"), 4, "{:?}", depot.calls());
    assert_eq!(desk.stat("/totals/uploads_ended"), 0);
}
