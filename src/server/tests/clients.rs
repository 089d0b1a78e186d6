//! Clients as they come: silent, slow, two requests at once, HTTP/2.

use std::time::Duration;

use bytes::Bytes;
use http_body_util::{BodyExt as _, Empty};
use hyper::Request;
use hyper_util::rt::{TokioExecutor, TokioIo};
use tokio::io::{AsyncRead, AsyncWrite};

use super::{House, get, patiently, put};

const SOON: Duration = Duration::from_millis(150);

#[tokio::test]
async fn a_silent_client_is_cut_when_it_was_idle_too_long() {
    let house = House::with(|settings| settings.limits.idle = SOON).await;
    let mut silent = house.tcp().await;
    let mut answered = house.tcp().await;
    assert_eq!(answered.ask(get("/-/healthz")).await.status, 200);
    silent.ended().await;
    answered.ended().await;
}

#[tokio::test]
async fn a_head_that_trickles_is_cut_and_an_idle_connection_is_not() {
    let house = House::with(|settings| settings.limits.head = SOON).await;
    let mut idle = house.unix().await;
    let mut slow = house.tcp().await;
    slow.say("GET /-/healthz HT").await;
    slow.ended().await;
    let mut later = house.tcp().await;
    assert_eq!(later.ask(get("/-/healthz")).await.status, 200);
    later.say("GET /-/heal").await; // the clock runs for later requests as well
    later.ended().await;
    assert_eq!(idle.ask(get("/-/healthz")).await.status, 200);
}

#[tokio::test]
async fn an_upload_that_stalls_is_cut_and_leaves_nothing() {
    let house = House::with(|settings| settings.limits.body_stall = SOON).await;
    for len in [100, 1 << 20] {
        let mut slow = house.tcp().await;
        let head = format!("PUT /blob/x/slow HTTP/1.1\r\nhost: localhost\r\ncontent-length: {len}\r\n\r\n");
        slow.say(head + "some").await;
        slow.ended().await;
    }
    house.emptied().await;
    assert_eq!(house.tcp().await.ask(get("/blob/x/slow")).await.status, 404);
    let status = house.cache.status().await;
    assert_eq!((status.disk.draft_bytes, status.disk.entries), (0, 0));
}

#[tokio::test]
async fn a_download_that_nobody_reads_is_cut() {
    let house = House::with(|settings| settings.limits.body_stall = SOON).await;
    house.keep("large", "x".repeat(16 << 20).into()).await; // more than loopback's buffers hold
    let mut client = house.tcp().await;
    client.say(get("/blob/x/large")).await;
    house.emptied().await;
}

#[tokio::test]
async fn pipelined_requests_are_answered_in_order_and_garbage_ends_it() {
    let house = House::open().await;
    let mut client = house.tcp().await;
    let three = [put("/blob/x/a", "larder"), get("/blob/x/a"), get("/-/healthz")].concat();
    client.say(three + "what is this\r\n\r\n").await;
    assert_eq!(client.hear().await.expect("first").status, 200);
    assert_eq!(client.hear().await.expect("second").text(), "larder");
    assert_eq!(client.hear().await.expect("third").text(), "ok\n");
    assert_eq!(client.hear().await.expect("a refusal").status, 400);
    client.ended().await;
}

#[tokio::test]
async fn head_and_body_of_a_hit_are_the_put_ones() {
    let house = House::open().await;
    for mut client in [house.tcp().await, house.tcp().await] {
        assert_eq!(client.ask(put("/blob/x/a", "larder")).await.status, 200);
        let hit = client.ask(get("//blob//x/%61")).await;
        assert_eq!((hit.status, hit.text()), (200, "larder"));
    }
}

async fn speaks_http2(stream: impl AsyncRead + AsyncWrite + Unpin + Send + 'static) {
    let (mut sender, connection) =
        hyper::client::conn::http2::handshake(TokioExecutor::new(), TokioIo::new(stream))
            .await
            .expect("a preface");
    let driving = tokio::spawn(connection);
    for path in ["/-/healthz", "/-/readyz"] {
        let request =
            Request::get(format!("http://127.0.0.1{path}")).body(Empty::<Bytes>::new()).expect("a request");
        let response = patiently("an answer", sender.send_request(request)).await.expect("an answer");
        assert_eq!(response.status(), 200);
        assert!(!response.into_body().collect().await.expect("a body").to_bytes().is_empty());
    }
    drop(sender);
    driving.await.expect("no panic").expect("a clean end");
}

#[tokio::test]
async fn http2_is_known_by_its_preface_on_both_kinds_of_socket() {
    let house = House::open().await;
    speaks_http2(house.tcp().await.stream).await;
    speaks_http2(house.unix().await.stream).await;
}

#[tokio::test]
async fn a_client_that_leaves_within_its_preface_is_let_go() {
    let house = House::open().await;
    for bytes in ["", "P", "PRI * HTTP/2.0\r\n\r\nS"] {
        let mut client = house.tcp().await;
        client.say(bytes).await;
        drop(client);
    }
    house.emptied().await;
}

#[tokio::test]
async fn a_client_that_asks_first_hears_continue_only_for_what_is_taken() {
    let house = House::open().await;
    let asking = |path: &str| {
        format!("PUT {path} HTTP/1.1\r\nhost: 127.0.0.1\r\nexpect: 100-continue\r\ncontent-length: 6\r\n\r\n")
    };
    let mut client = house.tcp().await;
    assert_eq!(client.ask(asking("/blob/x/asked")).await.status, 100);
    assert_eq!(client.ask("larder").await.status, 200);
    let refused = client.ask(asking("/cas/short")).await;
    assert!(refused.status == 400 && refused.closes(), "{refused:?}");
    client.ended().await;
}
