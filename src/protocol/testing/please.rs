//! Please on the blob route (`[cache] httpurl`), as a script of what its source does.
//!
//! `GET` and `PUT {url}/{hex key}`; what is stored is packed while it is sent, so that nobody knows its length; 20 at a
//! time. A 404 is a miss; another answer than 200 is a warning, and some are tried four times, with 1 to 30 s between.

use super::*;

const AT_ONCE: usize = 20;

fn path(number: usize) -> String {
    format!("/blob/please/{number:040x}")
}

#[tokio::test]
async fn targets_are_stored_while_they_are_packed_and_retrieved() {
    let desk = Desk::new();
    let store = |number| {
        let desk = &desk;
        async move {
            assert_eq!(desk.get(&path(number)).await.status, 404);
            let put = desk.send_body("PUT", &path(number), &[], chunked(&[b"tar", b".", b"gz"])).await;
            assert_eq!((put.status, put.body.len()), (200, 0));
        }
    };
    futures_util::future::join_all((0..AT_ONCE).map(store)).await;
    let hits = futures_util::future::join_all((0..AT_ONCE).map(|number| {
        let desk = &desk;
        async move { desk.get(&path(number)).await }
    }));
    for hit in hits.await {
        assert_eq!((hit.status, hit.text()), (200, "tar.gz"));
    }
}

/// What fails while it is packed ends its request early, and is no target.
#[tokio::test]
async fn a_target_that_could_not_be_packed_is_a_miss() {
    let desk = Desk::new();
    desk.send_body("PUT", &path(1), &[], broken(&[b"tar", b"."])).await;
    assert_eq!(desk.get(&path(1)).await.status, 404);
    let desk = Desk::with(cache::Settings { entry_max: 4, ..cache::Settings::default() });
    let shed = desk.send_body("PUT", &path(1), &[], chunked(&[b"tar", b".gz"])).await;
    assert_eq!((shed.status, desk.shed(Shed::EntryMax)), (200, 1), "no warning, nothing to try again");
    assert_eq!(desk.get(&path(1)).await.status, 404);
}
