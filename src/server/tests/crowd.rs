//! Many connections, and the bound on them.

use super::{House, get, put};

#[tokio::test]
async fn the_longest_idle_connection_makes_room_at_the_bound() {
    let house = House::with(|settings| settings.limits.connections = 2).await;
    let mut first = house.tcp().await;
    assert_eq!(first.ask(get("/-/healthz")).await.status, 200);
    let mut second = house.tcp().await;
    assert_eq!(second.ask(get("/-/healthz")).await.status, 200);
    let mut third = house.tcp().await;
    assert_eq!(third.ask(get("/-/healthz")).await.status, 200);
    first.ended().await;
    assert_eq!(second.ask(get("/-/healthz")).await.status, 200);
}

#[tokio::test]
async fn a_crowd_of_idle_connections_leaves_the_daemon_at_work() {
    let wanted = 10_000;
    let limit = rustix::process::getrlimit(rustix::process::Resource::Nofile);
    let raised = rustix::process::Rlimit { current: limit.maximum, maximum: limit.maximum };
    rustix::process::setrlimit(rustix::process::Resource::Nofile, raised).expect("up to its maximum");
    // Both ends are ours, and other tests run beside this one.
    let crowd = limit.maximum.map_or(wanted, |most| (most as usize).saturating_sub(2000) / 2).min(wanted);
    let house = House::with(|settings| settings.limits.connections = crowd + 10).await;
    let mut idle = Vec::with_capacity(crowd);
    for number in 0..crowd {
        let mut client = house.tcp().await;
        if number % 2 == 0 {
            assert_eq!(client.ask(get("/-/healthz")).await.status, 200);
        }
        idle.push(client);
    }
    let mut client = house.tcp().await;
    assert_eq!(client.ask(put("/blob/x/a", "larder")).await.status, 200);
    assert_eq!(client.ask(get("/blob/x/a")).await.text(), "larder");
    assert_eq!(house.server.connections(), crowd + 1);
    drop(idle);
    drop(client);
    house.emptied().await;
}
