//! An ordered stop loses no answer that can be given.

use std::time::Duration;

use super::{House, get, patiently};

#[tokio::test]
async fn an_idle_connection_is_answered_once_more_and_then_closed() {
    let house = House::open().await;
    let mut idle = house.tcp().await;
    assert_eq!(idle.ask(get("/-/healthz")).await.status, 200);
    let mut silent = house.tcp().await;
    let address = house.address;
    let stopping = tokio::spawn(house.server.stop());
    let last = idle.ask(get("/-/healthz")).await;
    // It may have been on its way before the stop was told.
    let last = if last.closes() { last } else { idle.ask(get("/-/healthz")).await };
    assert!(last.status == 200 && last.closes(), "{last:?}");
    idle.ended().await;
    silent.ended().await;
    patiently("the stop", stopping).await.expect("no panic");
    assert!(tokio::net::TcpStream::connect(address).await.is_err(), "nobody listens any more");
}

#[tokio::test]
async fn a_running_upload_is_finished_and_one_that_never_ends_is_cut() {
    let house = House::with(|settings| {
        settings.linger = Duration::from_millis(10);
        settings.grace = Duration::from_millis(1500);
    })
    .await;
    let head =
        "PUT /blob/x/late HTTP/1.1\r\nhost: 127.0.0.1\r\nexpect: 100-continue\r\ncontent-length: 6\r\n\r\n";
    let mut running = house.tcp().await;
    assert_eq!(running.ask(head).await.status, 100);
    let mut endless = house.tcp().await;
    assert_eq!(endless.ask(head).await.status, 100);
    let mut idle = house.tcp().await;
    assert_eq!(idle.ask(get("/-/healthz")).await.status, 200);
    let stopping = tokio::spawn(house.server.stop());
    idle.ended().await; // so the stop has begun, and its lingering is over
    let answer = running.ask("larder").await;
    assert!(answer.status == 200 && answer.closes(), "{answer:?}");
    running.ended().await;
    endless.ended().await;
    patiently("the stop", stopping).await.expect("no panic");
}

#[tokio::test]
async fn the_unix_socket_goes_with_the_server() {
    let house = House::open().await;
    let socket = house.socket.clone();
    assert!(socket.exists());
    house.server.stop().await;
    assert!(!socket.exists());
}
