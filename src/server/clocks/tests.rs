//! The clocks, on a registry whose time the tests tell.

use super::*;

fn limits(connections: usize) -> Limits {
    Limits { connections, ..Limits::default() }
}

async fn later(registry: &Registry, seconds: u64) {
    tokio::time::advance(Duration::from_secs(seconds)).await;
    registry.sweep();
}

#[tokio::test(start_paused = true)]
async fn each_state_has_its_own_limit() {
    let registry = Registry::new(limits(10));
    let idle = registry.admit().await;
    let head = registry.admit().await;
    let upload = registry.admit().await;
    let work = registry.admit().await;
    let download = registry.admit().await;
    head.0.read();
    upload.0.request_began();
    upload.0.upload_began();
    work.0.request_began();
    download.0.request_began();
    download.0.write_blocked();
    later(&registry, 9).await;
    head.0.read(); // a byte more does not help
    later(&registry, 1).await;
    assert_eq!(head.0.order(), Order::Cut);
    upload.0.read();
    later(&registry, 59).await;
    assert_eq!((upload.0.order(), download.0.order()), (Order::Run, Order::Cut));
    later(&registry, 1).await;
    assert_eq!((upload.0.order(), idle.0.order()), (Order::Cut, Order::Run));
    later(&registry, 15 * 60).await;
    assert_eq!((idle.0.order(), work.0.order()), (Order::Cut, Order::Run));
}

#[tokio::test(start_paused = true)]
async fn at_the_bound_the_longest_idle_is_closed() {
    let registry = Registry::new(limits(2));
    let busy = registry.admit().await;
    busy.0.request_began();
    later(&registry, 1).await;
    let idle = registry.admit().await;
    later(&registry, 1).await;
    let third = registry.admit().await;
    assert_eq!((busy.0.order(), idle.0.order(), third.0.order()), (Order::Run, Order::Cut, Order::Run));
    drop(idle);
    assert_eq!(registry.count(), 2);
}

#[tokio::test(start_paused = true)]
async fn while_all_are_busy_a_newcomer_waits_for_one_to_end() {
    let registry = Registry::new(limits(1));
    let busy = registry.admit().await;
    busy.0.request_began();
    let waiting = tokio::spawn({
        let registry = Arc::clone(&registry);
        async move { registry.admit().await }
    });
    later(&registry, 5).await;
    assert!(!waiting.is_finished());
    drop(busy);
    assert_eq!(waiting.await.expect("no panic").0.order(), Order::Run);
}
