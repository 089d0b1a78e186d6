//! What is refused, in whose words, and that the connection serves on.

use super::{House, get, put};

#[tokio::test]
async fn bad_names_are_refused_in_the_frontends_words_and_the_connection_serves_on() {
    let house = House::open().await;
    let mut client = house.tcp().await;
    let long = format!("/blob/x/{}", "n".repeat(10 << 10));
    for (path, status, word) in [
        ("/cas/../../etc/passwd", 400, "segment"),
        ("/blob/x/%2e%2e/a", 400, "segment"),
        ("/blob/x/a%00b", 400, "NUL"),
        ("/v8/artifacts/%00", 400, "{\"error\":{\"code\""),
        ("/cas/abc", 400, "64 hex"),
        ("/ac/abc%zz", 400, "two hex digits"),
        ("/blob", 400, "namespace"),
        ("/gradle/web", 400, "32 lower-case hex"),
        ("/gradle/%zz", 400, "two hex digits"),
        ("/ccache/x/%2e%2e", 400, "segment"),
        ("/ccache/x", 400, "layout=subdirs"),
        ("/maven/v1.2/x", 400, "{artifactId}"),
        ("/go/cas/x/v8/artifacts/1", 404, "doesn't serve yet"),
        ("/anything/else", 404, "/blob/{ns}/{name}"),
        ("/-/nothing", 404, "healthz"),
        ("/-/queue", 403, "admin socket"),
        (long.as_str(), 400, "8192"),
    ] {
        for request in [get(path), put(path, "some bytes")] {
            let heard = client.ask(&request).await;
            assert_eq!(heard.status, status, "{request:.60}: {heard:?}");
            assert!(heard.text().contains(word), "{request:.60}: {heard:?}");
            assert!(!heard.closes(), "{request:.60}");
        }
    }
    assert_eq!(client.ask(get("/-/healthz")).await.status, 200);
    assert_eq!(house.cache.status().await.disk.entries, 0);
}

#[tokio::test]
async fn a_namespace_with_a_reserved_word_is_refused_by_name() {
    let house = House::open().await;
    let hash = "0".repeat(64);
    for path in [format!("/actions/cas/{hash}"), format!("/a/v1/cas/{hash}"), "/s/ac/v8/artifacts/1".into()] {
        let heard = house.tcp().await.ask(get(&path)).await;
        assert!(heard.status == 400 && heard.text().contains("reserved"), "{path}: {heard:?}");
    }
}

#[tokio::test]
async fn nx_is_refused_in_the_two_ways_that_it_takes_calmly() {
    let house = House::open().await;
    let mut client = house.tcp().await;
    for path in ["/v1/cache/abc", "/v1/cache/%00", "/v1/cache/%zz", "/s3x/v1/cache/1%2f..", "/cas/v1/cache/1"]
    {
        assert_eq!(client.ask(get(path)).await.status, 404, "{path}");
        let heard = client.ask(put(path, "some bytes")).await;
        assert_eq!(heard.status, 403, "{path}: {heard:?}");
        assert!(!heard.closes() && !heard.text().is_empty(), "{path}: {heard:?}");
    }
    assert_eq!(house.cache.status().await.disk.entries, 0);
}

#[tokio::test]
async fn unknown_methods_are_405_everywhere() {
    let house = House::open().await;
    let mut client = house.tcp().await;
    let hash = "0".repeat(64);
    let (cas, gradle) = (format!("/cas/{hash}"), format!("/gradle/{}", &hash[..32]));
    for path in [
        &cas,
        &gradle,
        "/v8/artifacts/1?slug=t",
        "/ns/v1/cache/1",
        "/blob/x/y",
        "/maven/v1.2/g/a/c/f",
        "/-/stats",
        "/status",
    ] {
        let request = format!("BREW {path} HTTP/1.1\r\nhost: 127.0.0.1\r\ncontent-length: 3\r\n\r\npot");
        let heard = client.ask(request).await;
        assert_eq!(heard.status, 405, "{path}: {heard:?}");
    }
    assert_eq!(client.ask(get("/-/healthz")).await.status, 200);
}

#[tokio::test]
async fn a_giant_head_is_431_and_a_body_without_length_is_empty() {
    let house = House::open().await;
    let mut many = house.tcp().await;
    let headers: String = (0..200).map(|number| format!("h{number}: x\r\n")).collect();
    many.say(format!("GET /-/healthz HTTP/1.1\r\nhost: 127.0.0.1\r\n{headers}\r\n")).await;
    assert_eq!(many.hear().await.expect("a refusal").status, 431);
    let mut long = house.tcp().await;
    let header = "x".repeat(super::super::connection::HTTP1_BUFFER_BYTES);
    long.say(format!("GET /-/healthz HTTP/1.1\r\nhost: 127.0.0.1\r\nlong: {header}")).await;
    assert_eq!(long.hear().await.expect("a refusal").status, 431);
    let mut client = house.tcp().await;
    assert_eq!(client.ask("PUT /blob/x/empty HTTP/1.1\r\nhost: 127.0.0.1\r\n\r\n").await.status, 200);
    let hit = client.ask(get("/blob/x/empty")).await;
    assert_eq!((hit.status, hit.body.len()), (200, 0));
}

#[tokio::test]
async fn web_pages_and_foreign_hosts_are_refused_before_a_frontend_sees_them() {
    let house = House::with(|settings| settings.allow_hosts = vec!["cache.test".into()]).await;
    let request = |host: &str, more: &str| format!("GET /blob/x/y HTTP/1.1\r\nhost: {host}\r\n{more}\r\n");
    let mut client = house.tcp().await;
    for (host, more, status) in [
        ("127.0.0.1:5273", "", 404),
        ("cache.test", "", 404),
        ("evil.test", "", 403),
        ("127.0.0.1", "origin: http://evil.test\r\n", 403),
        ("127.0.0.1", "sec-fetch-site: cross-site\r\n", 403),
        ("127.0.0.1", "sec-fetch-site: none\r\n", 404),
    ] {
        assert_eq!(client.ask(request(host, more)).await.status, status, "{host} {more}");
    }
    assert_eq!(house.unix().await.ask(request("anything", "")).await.status, 404);
    assert_eq!(house.unix().await.ask(get("/-/queue")).await.status, 200);
}

/// Needs root, to become another user.
#[cfg(target_os = "linux")]
#[tokio::test]
async fn another_user_of_the_machine_is_told_to_be_named() {
    use std::os::unix::process::CommandExt as _;
    if !rustix::process::geteuid().is_root() {
        return;
    }
    let ask = |port: u16, path: &str| {
        let script = format!(
            "exec 3<>/dev/tcp/127.0.0.1/{port}; printf 'GET {path} HTTP/1.1\\r\\nhost: 127.0.0.1\\r\\nconnection: close\\r\\n\\r\\n' >&3; \
             head -n 20 <&3"
        );
        let stranger =
            std::process::Command::new("bash").arg("-c").arg(script).uid(4711).output().expect("runs");
        String::from_utf8_lossy(&stranger.stdout).into_owned()
    };
    let house = House::open().await;
    let port = house.address.port();
    let heard = tokio::task::spawn_blocking(move || ask(port, "/blob/a/b")).await.expect("no panic");
    assert!(heard.starts_with("HTTP/1.1 403") && heard.contains("access.users"), "{heard}");
    let heard = tokio::task::spawn_blocking(move || ask(port, "/v1/cache/1")).await.expect("no panic");
    assert!(
        heard.starts_with("HTTP/1.1 401") && heard.contains("text/plain\r\n"),
        "Nx shows no other: {heard}"
    );
    let named = House::with(|settings| settings.users = vec![4711]).await;
    let port = named.address.port();
    let heard = tokio::task::spawn_blocking(move || ask(port, "/-/healthz")).await.expect("no panic");
    assert!(heard.starts_with("HTTP/1.1 200"), "{heard}");
}
