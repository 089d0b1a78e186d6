//! Rush's HTTP plugin on the blob route, as a script of what 5.179 does.
//!
//! A request is `{url}/{cacheKeyPrefix}{cacheId}` with whatever credential as the whole `Authorization`. Anything that
//! is not 2xx is tried three times with pauses; a write that still fails ends the build with exit code 1.

use super::*;

const ID: &str = "shop-web-_phase_build-0123456789abcdef0123456789abcdef01234567";

/// One task: restored, or built and stored by `upload`. `None` is a warning, and so exit code 1.
async fn task(desk: &Desk, upload: &str, id: &str, archive: &[u8]) -> Option<Bytes> {
    let path = format!("/blob/rush/main-{id}");
    let headers = [("authorization", "whatever the team's server takes"), ("user-agent", "rush node/v22")];
    let got = desk.send("GET", &path, &headers, b"").await;
    match got.status {
        200 => return Some(got.body),
        404 => {}
        _ => return None,
    }
    let put = desk.send(upload, &path, &headers, archive).await;
    (200..300).contains(&put.status).then(|| Bytes::copy_from_slice(archive))
}

#[tokio::test]
async fn a_task_is_restored_with_every_upload_method() {
    for upload in ["PUT", "POST", "PATCH"] {
        let desk = Desk::new();
        assert_eq!(task(&desk, upload, ID, b"built first").await.as_deref(), Some(&b"built first"[..]));
        assert_eq!(task(&desk, upload, ID, b"built again").await.as_deref(), Some(&b"built first"[..]));
    }
}

#[tokio::test]
async fn nothing_of_ours_makes_a_build_end_with_warnings() {
    let desk = Desk::with(cache::Settings { entry_max: 10, ..cache::Settings::default() });
    assert!(task(&desk, "PUT", ID, b"over the bound").await.is_some(), "shed, not refused");
    assert_eq!((desk.shed(Shed::EntryMax), desk.get("/blob/rush/main-x").await.status), (1, 404));
    // A 404 is the one miss that is no warning; a redirect or a 204 would be a hit or worse.
    let miss = desk.get(&format!("/blob/rush/main-{ID}")).await;
    assert_eq!((miss.status, miss.header("location"), miss.header("www-authenticate")), (404, None, None));
}
