//! The frontends behind hyper itself: what only a real connection shows.

use futures_util::StreamExt as _;
use hyper::server::conn::{http1, http2};
use hyper::service::service_fn;
use hyper_util::rt::{TokioExecutor, TokioIo};
use tokio::io::{AsyncReadExt as _, AsyncWriteExt as _, DuplexStream};

use super::*;
use crate::body::Body;
use crate::error::{Error, Kind};
use crate::protocol::http::with_body;

const DUPLEX_BYTES: usize = 1 << 20;

/// A connection to the desk.
fn connect(desk: Arc<Desk>) -> DuplexStream {
    let (client, server) = tokio::io::duplex(DUPLEX_BYTES);
    tokio::spawn(async move {
        let service = service_fn(move |request| {
            let desk = Arc::clone(&desk);
            async move { Ok::<_, Infallible>(desk.answer(request).await.expect("a path of a frontend")) }
        });
        // How a connection ends is what the client sees.
        let _ = http1::Builder::new().serve_connection(TokioIo::new(server), service).await;
    });
    client
}

/// Sends `request` and reads what comes until the server closes. Requests say `connection: close` or are refused.
async fn talk(desk: &Arc<Desk>, request: &[u8]) -> String {
    let mut client = connect(Arc::clone(desk));
    client.write_all(request).await.expect("sent");
    read(client).await
}

async fn read(mut client: DuplexStream) -> String {
    let mut answer = Vec::new();
    client.read_to_end(&mut answer).await.expect("read");
    String::from_utf8_lossy(&answer).into_owned()
}

#[tokio::test]
async fn neither_length_nor_encoding_is_an_empty_body() {
    let desk = Arc::new(Desk::new());
    let answer = talk(&desk, b"PUT /blob/ns/empty HTTP/1.1\r\nhost: x\r\nconnection: close\r\n\r\n").await;
    assert!(answer.starts_with("HTTP/1.1 200"), "{answer}");
    let hit = desk.get("/blob/ns/empty").await;
    assert_eq!((hit.status, hit.body.len()), (200, 0));
}

#[tokio::test]
async fn a_body_shorter_than_announced_stores_nothing() {
    let desk = Arc::new(Desk::new());
    for request in [
        &b"PUT /blob/ns/short HTTP/1.1\r\nhost: x\r\ncontent-length: 10\r\n\r\nhalf"[..],
        b"PUT /blob/ns/short HTTP/1.1\r\nhost: x\r\ntransfer-encoding: chunked\r\n\r\n4\r\nhalf\r\n",
    ] {
        let mut client = connect(Arc::clone(&desk));
        client.write_all(request).await.expect("sent");
        client.shutdown().await.expect("shut down");
        let answer = read(client).await;
        assert!(!answer.contains(" 200 "), "{answer}");
        assert_eq!(desk.get("/blob/ns/short").await.status, 404);
    }
}

#[tokio::test]
async fn bytes_past_the_announced_length_are_no_part_of_the_body() {
    let desk = Arc::new(Desk::new());
    let request = b"PUT /blob/ns/x HTTP/1.1\r\nhost: x\r\ncontent-length: 4\r\n\r\nbodyand more\r\n\r\n";
    let answer = talk(&desk, request).await;
    assert!(answer.starts_with("HTTP/1.1 200"), "{answer}");
    assert!(answer.contains("HTTP/1.1 400"), "what follows is no request: {answer}");
    assert_eq!(desk.get("/blob/ns/x").await.text(), "body");
}

#[tokio::test]
async fn a_client_that_waits_to_be_told_is_told() {
    let desk = Arc::new(Desk::with(cache::Settings { entry_max: 10, ..cache::Settings::default() }));
    let mut client = connect(Arc::clone(&desk));
    let head = "PUT /blob/ns/x HTTP/1.1\r\nhost: x\r\ncontent-length: 4\r\nexpect: 100-continue";
    client.write_all(format!("{head}\r\nconnection: close\r\n\r\n").as_bytes()).await.expect("sent");
    let mut word = [0; 25];
    client.read_exact(&mut word).await.expect("a word");
    assert_eq!(&word, b"HTTP/1.1 100 Continue\r\n\r\n");
    client.write_all(b"body").await.expect("sent");
    let answer = read(client).await;
    assert!(answer.starts_with("HTTP/1.1 200"), "{answer}");
    assert_eq!(desk.get("/blob/ns/x").await.text(), "body");

    let refused =
        "/v8/artifacts/ff?slug=t HTTP/1.1\r\nhost: x\r\ncontent-length: 400\r\nexpect: 100-continue";
    let answer = talk(&desk, format!("PUT {refused}\r\n\r\n").as_bytes()).await;
    assert!(answer.starts_with("HTTP/1.1 413"), "told before the body was sent: {answer}");
    assert!(answer.contains("connection: close"), "{answer}");
}

#[tokio::test]
async fn a_refused_body_is_read_before_it_is_answered() {
    let desk = Arc::new(Desk::with(cache::Settings { entry_max: 10, ..cache::Settings::default() }));
    let mut client = connect(Arc::clone(&desk));
    let len = 4 * DUPLEX_BYTES;
    let head = format!("PUT /v8/artifacts/ff?slug=t HTTP/1.1\r\nhost: x\r\ncontent-length: {len}\r\n\r\n");
    client.write_all(head.as_bytes()).await.expect("sent");
    client.write_all(&vec![b'x'; len]).await.expect("all of it is read");
    let next = b"GET /v8/artifacts/status HTTP/1.1\r\nhost: x\r\nconnection: close\r\n\r\n";
    client.write_all(next).await.expect("sent");
    let answers = read(client).await;
    assert!(answers.starts_with("HTTP/1.1 413"), "{answers}");
    assert!(answers.contains("payload_too_large"), "{answers}");
    assert!(answers.ends_with(r#"{"status":"enabled"}"#), "the connection goes on: {answers}");
}

#[tokio::test]
async fn a_refused_body_is_read_up_to_the_bound_and_then_the_connection_ends() {
    let settings = cache::Settings { entry_max: 10, ..cache::Settings::default() };
    let own = Settings { drain_bytes_max: 1000 };
    let desk = Arc::new(Desk::with_both(settings, own));
    for (len, kept) in [(1000, true), (DUPLEX_BYTES / 2, false)] {
        let mut client = connect(Arc::clone(&desk));
        let head =
            format!("PUT /v8/artifacts/ff?slug=t HTTP/1.1\r\nhost: x\r\ncontent-length: {len}\r\n\r\n");
        client.write_all(head.as_bytes()).await.expect("sent");
        // Past the bound the server may be gone before all is written.
        let _ = client.write_all(&vec![b'x'; len]).await;
        if kept {
            let next = b"GET /v8/artifacts/status HTTP/1.1\r\nhost: x\r\nconnection: close\r\n\r\n";
            client.write_all(next).await.expect("sent");
        }
        let answers = read(client).await;
        assert!(answers.starts_with("HTTP/1.1 413"), "{answers}");
        assert_eq!(answers.contains("enabled"), kept, "{answers}");
        assert!(answers.contains("connection: close"), "{answers}");
    }
    // What is shed is acknowledged, so it is read to its end, however long.
    let body = vec![b'x'; 100_000];
    let shed = desk.put("/blob/ns/x", &body).await;
    assert_eq!((shed.status, shed.header("connection")), (200, None));
}

/// Four bytes of eight, and then a bad block, which is found when the four have gone out.
fn breaking_off() -> Answer {
    let pieces = [Ok(Bytes::from_static(b"half")), Err(Error::new(Kind::Corrupt, "a bad block"))];
    let pieces = futures_util::stream::iter(pieces).then(async |piece| {
        tokio::task::yield_now().await;
        piece
    });
    with_body(StatusCode::OK, Body::stream(8, pieces))
}

#[tokio::test]
async fn an_answer_that_breaks_off_breaks_the_connection() {
    let (mut client, server) = tokio::io::duplex(DUPLEX_BYTES);
    let service = service_fn(async |_: Request<hyper::body::Incoming>| Ok::<_, Infallible>(breaking_off()));
    let served = tokio::spawn(http1::Builder::new().serve_connection(TokioIo::new(server), service));
    client.write_all(b"GET / HTTP/1.1\r\nhost: x\r\n\r\n").await.expect("sent");
    let answer = read(client).await;
    assert!(answer.contains("content-length: 8\r\n"), "{answer}");
    assert!(answer.ends_with("half"), "{answer}");
    assert!(served.await.expect("it ends").is_err());
}

#[tokio::test]
async fn an_answer_that_breaks_off_resets_its_stream_of_http2() {
    let (client, server) = tokio::io::duplex(DUPLEX_BYTES);
    let service = service_fn(async |_: Request<hyper::body::Incoming>| Ok::<_, Infallible>(breaking_off()));
    tokio::spawn(http2::Builder::new(TokioExecutor::new()).serve_connection(TokioIo::new(server), service));
    let (mut sender, connection) =
        hyper::client::conn::http2::handshake(TokioExecutor::new(), TokioIo::new(client)).await.expect("h2");
    tokio::spawn(connection);
    for _ in 0..2 {
        let request = Request::get("http://x/").body(Full::new(Bytes::new())).expect("a request");
        let answer = sender.send_request(request).await.expect("a head");
        let error = answer.into_body().collect().await.expect_err("broken off");
        assert!(format!("{error:?}").contains("INTERNAL_ERROR"), "{error:?}");
    }
}
