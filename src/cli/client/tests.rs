//! Daemons that are none, or not as they should be.

use std::io::{Read as _, Write as _};
use std::os::unix::net::UnixListener;
use std::time::Duration;

use serde_json::Value;
use tempfile::TempDir;

use super::*;

/// What a fake daemon does with the first connection. It ends with its listener.
enum Fake {
    Hangs,
    Says(String),
}

fn answer(head: &str, body: &str) -> Fake {
    Fake::Says(format!("HTTP/1.1 {head}\r\ncontent-length: {}\r\n\r\n{body}", body.len()))
}

/// Asks a fake for a page.
async fn asked(fake: Fake) -> Result<Value, String> {
    let folder = TempDir::new().expect("a folder");
    let socket = folder.path().join("larder.sock");
    let listener = UnixListener::bind(&socket).expect("binds");
    let hangs = matches!(fake, Fake::Hangs);
    let (release, released) = std::sync::mpsc::channel::<()>();
    let serving = std::thread::spawn(move || {
        let (mut stream, _) = listener.accept().expect("somebody asks");
        let mut head = [0; 1024];
        let read = stream.read(&mut head).expect("a request");
        assert!(head[..read].starts_with(b"GET /-/status "));
        match fake {
            // It ends when the one who asked has had enough.
            Fake::Hangs => drop(released.recv()),
            Fake::Says(text) => stream.write_all(text.as_bytes()).expect("it is read"),
        }
    });
    let timeout = if hangs { Duration::from_millis(50) } else { Duration::from_secs(60) };
    let client = Client::new(&socket).within(timeout);
    let answer = client.json("/-/status").await.map_err(|failed| match failed {
        Failed::NotRunning(words) => panic!("it runs: {words}"),
        Failed::Other(words) => words,
    });
    drop(release);
    serving.join().expect("the fake did its part");
    answer
}

#[tokio::test]
async fn a_daemon_that_hangs_is_said_to() {
    let words = asked(Fake::Hangs).await.expect_err("it hangs");
    assert!(words.contains("does not answer within 0.05 s") && words.contains("restart"), "{words}");
}

#[tokio::test]
async fn who_does_not_speak_as_larder_does_is_not_larder() {
    for fake in [
        Fake::Says("SSH-2.0-OpenSSH_9.2\r\n\r\n".into()),
        answer("200 OK", "{}"),
        answer("404 Not Found\r\nserver: nginx", "nope"),
        answer("200 OK\r\ncontent-type: text/html", "<html>"),
    ] {
        let words = asked(fake).await.expect_err("a stranger");
        assert!(words.contains("is not larder") && words.contains("--socket"), "{words}");
    }
}

#[tokio::test]
async fn a_daemon_that_ends_while_asked_is_said_to() {
    let words = asked(Fake::Says(String::new())).await.expect_err("no answer");
    assert!(words.contains("ended"), "{words}");
}

#[tokio::test]
async fn other_versions_are_read_as_far_as_they_can_be() {
    for version in ["0.0.1", "99.0.0", OWN_VERSION] {
        let page = asked(answer(&format!("200 OK\r\nlarder-version: {version}"), "{\"new\": 1}"))
            .await
            .expect("JSON");
        assert_eq!(page["new"], 1);
    }
    let words =
        asked(answer("404 Not Found\r\nlarder-version: 0.0.1", "no")).await.expect_err("no such page");
    assert!(words.contains("0.0.1") && words.contains("has no /-/status"), "{words}");
    let words = asked(answer("200 OK\r\nlarder-version: 99.0.0", "<")).await.expect_err("not JSON");
    assert!(words.contains("99.0.0") && words.contains("restart"), "{words}");
    let refusal = format!("403 Forbidden\r\nlarder-version: {OWN_VERSION}");
    let words = asked(answer(&refusal, "not yours\n")).await.expect_err("refused");
    assert_eq!(words, "the daemon answered 403 Forbidden: not yours");
}

#[tokio::test]
async fn what_can_not_be_connected_to_is_told_apart() {
    let folder = TempDir::new().expect("a folder");
    let ask =
        async |path: &Path| Client::new(path).json::<Value>("/-/status").await.expect_err("nobody is there");
    let socket = folder.path().join("larder.sock");
    assert!(matches!(ask(&socket).await, Failed::NotRunning(words) if words.contains("larder serve")));
    drop(UnixListener::bind(&socket).expect("binds")); // leaves its file
    assert!(matches!(ask(&socket).await, Failed::NotRunning(_)));
    let file = folder.path().join("file");
    std::fs::write(&file, "precious").expect("written");
    assert!(matches!(ask(&file).await, Failed::Other(words) if words.contains("is not a socket")));
    let long = folder.path().join("x".repeat(120));
    assert!(matches!(ask(&long).await, Failed::Other(words) if words.contains("shorter --dir")));
}

#[tokio::test]
async fn a_full_backlog_is_a_daemon_that_hangs() {
    let folder = TempDir::new().expect("a folder");
    let socket = folder.path().join("larder.sock");
    let _listener = UnixListener::bind(&socket).expect("binds");
    rustix::net::listen(&_listener, 0).expect("it listens already");
    let _first = std::os::unix::net::UnixStream::connect(&socket).expect("there is room for one");
    let client = Client::new(&socket).within(Duration::from_millis(100));
    let failed = client.json::<Value>("/-/status").await.expect_err("nobody accepts");
    assert!(matches!(&failed, Failed::Other(words) if words.contains("takes no connection")), "{failed:?}");
}

#[test]
fn versions_are_compared_by_their_numbers() {
    let words = |daemon| mismatch(daemon, "0.10.0").unwrap_or_default();
    assert_eq!(words("0.10.0"), "");
    assert!(words("0.9.9").contains("older") && words("0.9.9").contains("`larder service restart`"));
    assert!(words("0.11.0").contains("newer") && words("1.0.0-rc.1").contains("newer"));
    for other in ["0.10.0-rc.1", "unknown", ""] {
        assert!(words(other).contains("restart"), "{other}");
    }
}
