//! The Remote Execution API at the door: who is let in, by which socket, and what is said to who isn't. All of it in gRPC's
//! own words.

use crate::support::grpc::{Code, Grpc, framed, reapi};
use crate::support::setup::Setup;
use crate::support::wire::Addr;
use crate::support::{Rng, free_addr, write_secret};

use prost::Message as _;

fn capabilities(at: &Grpc, headers: &[(&'static str, &str)]) -> (Code, String) {
    let request = reapi::GetCapabilitiesRequest::default().encode_to_vec();
    let called = at.call_raw::<reapi::ServerCapabilities>("GetCapabilities", framed([request]), headers);
    (called.code, called.words)
}

#[test]
fn one_port_and_one_socket_serve_http_and_grpc() {
    let daemon = Setup::new().start();
    let body = Rng::new(1).bytes(5_000);
    for (at, addr) in [
        (Grpc::to(&daemon.addr()), "tcp"),
        (Grpc::to(&daemon.unix()), "unix"),
        (Grpc::to(&daemon.admin()), "admin"),
    ] {
        assert_eq!(at.write(&body).one().committed_size, 5_000, "{addr}");
        assert_eq!(at.read(&body, 0).data(), body, "{addr}");
    }
    let answer = daemon.get(format!("/cas/{}", crate::support::sha256(&body)));
    assert_eq!(answer.whole(), Some(&body[..]));
}

#[test]
fn web_pages_are_refused_in_words() {
    let daemon = Setup::new().start();
    let at = Grpc::to(&daemon.addr());
    for header in [("origin", "http://127.0.0.1"), ("sec-fetch-site", "cross-site")] {
        let (code, words) = capabilities(&at, &[header]);
        assert_eq!(code, Code::PermissionDenied, "{header:?}");
        assert!(words.contains("web page"), "{words}");
    }
}

#[test]
fn a_listener_with_tokens_asks_for_one() {
    let tokens = tempfile::tempdir().expect("a folder");
    let path = tokens.path().join("tokens");
    write_secret(&path, "ci:0123456789abcdef\n");
    let other = free_addr();
    let lines = format!(
        "access.tokens = \"{}\"\n[[listeners]]\naddress = \"0.0.0.0:{}\"\ninsecure = true",
        path.display(),
        other.port()
    );
    let daemon = Setup::new().config(&lines).start();
    let at = Grpc::to(&Addr::Tcp(other));
    for headers in [&[][..], &[("authorization", "Bearer wrong")]] {
        let (code, words) = capabilities(&at, headers);
        assert_eq!(code, Code::Unauthenticated, "{headers:?}");
        assert!(words.contains("Authorization: Bearer"), "{words}");
    }
    let (code, words) = capabilities(&at, &[("authorization", "Bearer 0123456789abcdef")]);
    assert_eq!(code, Code::Ok, "{words}");
    drop(daemon);
}

#[test]
fn listeners_of_one_protocol_serve_that_alone() {
    let (calls, nx) = (free_addr(), free_addr());
    let lines = format!(
        "[[listeners]]\naddress = \"{calls}\"\nonly = \"reapi\"\n[[listeners]]\naddress = \"{nx}\"\nonly = \"nx\""
    );
    let daemon = Setup::new().config(&lines).start();
    assert_eq!(capabilities(&Grpc::to(&Addr::Tcp(calls)), &[]).0, Code::Ok);
    let answer = crate::support::http::Request::get("/status").send(&Addr::Tcp(calls)).expect("an answer");
    assert_eq!(answer.status(), 404, "HTTP is not what it is for");
    let (code, words) = capabilities(&Grpc::to(&Addr::Tcp(nx)), &[]);
    assert_eq!(code, Code::Unimplemented);
    assert!(words.contains("nx alone"), "{words}");
    drop(daemon);
}

#[test]
fn what_is_not_served_says_so() {
    let daemon = Setup::new().start();
    let at = Grpc::to(&daemon.addr());
    let request = || framed([Vec::new()]);
    for method in [
        "SplitBlob",
        "build.bazel.remote.execution.v2.Execution/Execute",
        "build.bazel.remote.asset.v1.Fetch/FetchBlob",
        "no.such.Service/Method",
    ] {
        let called = at.call_raw::<reapi::Digest>(method, request(), &[]);
        assert_eq!(called.code, Code::Unimplemented, "{method}");
        assert!(called.words.contains("is not served"), "{}", called.words);
    }
    let over_http1 = crate::support::http::Request::new(
        "POST",
        "/build.bazel.remote.execution.v2.Capabilities/GetCapabilities",
    );
    let answer = daemon.send(over_http1.header("content-type", "application/grpc"));
    assert_eq!(answer.status(), 400);
    assert!(answer.text().contains("HTTP/2"), "{}", answer.text());
}

/// moon sends 150 calls at a time by one connection.
#[test]
fn a_connection_has_room_for_many_calls_at_once() {
    let daemon = Setup::new().start();
    let at = Grpc::to(&daemon.addr());
    let body = Rng::new(2).bytes(300_000);
    assert_eq!(at.write(&body).one().committed_size, 300_000);
    std::thread::scope(|scope| {
        for _ in 0..200 {
            scope.spawn(|| {
                let read = at.read(&body, 0);
                assert_eq!((read.code, read.data().len()), (Code::Ok, body.len()), "{}", read.words);
            });
        }
    });
}
