//! Turborepo, by the requests of turbo 2.11.11.

use super::*;

const PATH: &str = "/v8/artifacts/0123456789abcdef?slug=team";

fn code(seen: &Seen) -> String {
    let error = &seen.json()["error"];
    assert!(error["message"].is_string(), "{seen:?}");
    error["code"].as_str().expect("a code").to_owned()
}

#[tokio::test]
async fn an_artifact_comes_back_with_its_tag_and_duration() {
    let desk = Desk::new();
    let miss = desk.get(PATH).await;
    assert_eq!((miss.status, code(&miss)), (404, "not_found".into()));
    let headers = [
        ("authorization", "Bearer token"),
        ("content-type", "application/octet-stream"),
        ("x-artifact-duration", "1234"),
        ("x-artifact-tag", "c2lnbmF0dXJl="),
        ("x-artifact-sha", "deadbeef"),
        ("x-artifact-client-ci", "GITHUB_ACTIONS"),
    ];
    let put = desk.send("PUT", PATH, &headers, b"tar.zst").await;
    assert_eq!((put.status, put.json()), (200, serde_json::json!({"urls": ["team/0123456789abcdef"]})));
    for (method, body) in [("GET", "tar.zst"), ("HEAD", "")] {
        let hit = desk.send(method, PATH, &[], b"").await;
        assert_eq!((hit.status, hit.text()), (200, body));
        assert_eq!(hit.header("x-artifact-duration"), Some("1234"));
        assert_eq!(hit.header("x-artifact-tag"), Some("c2lnbmF0dXJl="));
        assert_eq!(hit.header("x-artifact-sha"), Some("deadbeef"));
        assert_eq!(hit.header("x-artifact-client-ci"), None);
    }
    assert_eq!(desk.send("HEAD", PATH, &[], b"").await.header("content-length"), Some("7"));
    desk.put("/v8/artifacts/ffff?slug=team", b"bare").await;
    let bare = desk.get("/v8/artifacts/ffff?slug=team").await;
    assert_eq!((bare.text(), bare.header("x-artifact-duration")), ("bare", None));
}

#[tokio::test]
async fn an_artifact_belongs_to_a_team_and_a_namespace() {
    let desk = Desk::new();
    desk.put(PATH, b"x").await;
    for (path, status) in [
        ("/v8/artifacts/0123456789abcdef?teamId=team&slug=other", 200),
        ("/v8/artifacts/0123456789abcdef?teamId=&slug=te%61m", 200),
        ("/v8/artifacts/0123456789abcdef?team=team", 200),
        ("/v8/artifacts/0123456789abcdef?teamId=team_1&slug=team", 404),
        ("/v8/artifacts/0123456789abcdef?slug=other", 404),
        ("/ns/v8/artifacts/0123456789abcdef?slug=team", 404),
        ("/v8/artifacts/0123456789abcdef", 400),
        ("/v8/artifacts/0123456789abcdef?slug=", 400),
        ("/v8/artifacts/0123456789abcdef?slug=..", 400),
        ("/v8/artifacts/0123456789abcdef?slug=a%2Fb", 400),
        ("/v8/artifacts/0123456789abcdef?slug=a%00", 400),
        ("/v8/artifacts/0123456789abcdef.tag?slug=team", 400),
        ("/v8/artifacts/%2e%2e%2e?slug=team", 400),
    ] {
        let seen = desk.get(path).await;
        assert_eq!(seen.status, status, "{path}");
        if status == 400 {
            assert_eq!(code(&seen), "bad_request");
            assert_eq!(desk.put(path, b"x").await.status, 400);
        }
    }
    let long = format!("/v8/artifacts/{}?slug=team", "a".repeat(129));
    assert_eq!(desk.get(&long).await.status, 400);
}

#[tokio::test]
async fn bad_puts_are_refused_in_json_and_leave_nothing() {
    let desk = Desk::with(cache::Settings { entry_max: 10, ..cache::Settings::default() });
    for (headers, body, status, expected) in [
        (&[("x-artifact-duration", "soon")][..], &b"x"[..], 400, "bad_request"),
        (&[("content-encoding", "gzip")], b"x", 415, "unsupported_media_type"),
        (&[("x-artifact-tag", "t\u{e9}")], b"x", 400, "bad_request"),
        (&[], b"eleven byte", 413, "payload_too_large"),
    ] {
        let seen = desk.send("PUT", PATH, headers, body).await;
        assert_eq!((seen.status, code(&seen).as_str()), (status, expected), "{headers:?}");
    }
    let tag = "t".repeat(3000);
    assert_eq!(desk.send("PUT", PATH, &[("x-artifact-tag", &tag)], b"x").await.status, 400);
    assert_eq!(desk.send_body("PUT", PATH, &[], broken(&[b"x"])).await.status, 400);
    assert_eq!(desk.get(PATH).await.status, 404);
    let other = desk.send("DELETE", PATH, &[], b"").await;
    assert_eq!((other.status, code(&other)), (405, "method_not_allowed".into()));
    assert_eq!(other.header("allow"), Some("GET, HEAD, PUT, OPTIONS"));
}

#[tokio::test]
async fn a_query_says_what_is_there() {
    let desk = Desk::new();
    let headers = [("x-artifact-duration", "1234"), ("x-artifact-tag", "t=")];
    desk.send("PUT", "/v8/artifacts/aa?slug=team", &headers, b"tar.zst").await;
    desk.put("/v8/artifacts/bb?slug=team", b"x").await;
    let ask = async |body: &[u8]| desk.send("POST", "/v8/artifacts?slug=team", &[], body).await;
    let found = ask(br#"{"hashes": ["aa", "bb", "cc"]}"#).await;
    assert_eq!(found.status, 200);
    let expected = serde_json::json!({
        "aa": {"size": 7, "taskDurationMs": 1234, "tag": "t="},
        "bb": {"size": 1, "taskDurationMs": 0},
        "cc": null,
    });
    assert_eq!(found.json(), expected);
    assert_eq!(ask(br#"{"hashes": []}"#).await.json(), serde_json::json!({}));
    for bad in ["", "[]", "{}", r#"{"hashes": ["../x"]}"#, r#"{"hashes": [1]}"#] {
        assert_eq!(code(&ask(bad.as_bytes()).await), "bad_request", "{bad}");
    }
    assert_eq!(code(&ask(&vec![b' '; (1 << 20) + 1]).await), "payload_too_large");
    let many = serde_json::json!({"hashes": vec!["aa"; 10_001]}).to_string();
    assert_eq!(code(&ask(many.as_bytes()).await), "payload_too_large");
}

#[tokio::test]
async fn events_are_taken_without_a_token_and_counted() {
    let desk = Desk::new();
    let events = br#"[
        {"sessionId": "s", "source": "LOCAL", "event": "MISS", "hash": "aa", "duration": 0},
        {"sessionId": "s", "source": "REMOTE", "event": "HIT", "hash": "aa", "duration": 12},
        {"sessionId": "s", "source": "REMOTE", "event": "MISS", "hash": "bb"},
        {"source": "ELSEWHERE", "event": "MAYBE", "new": {}}
    ]"#;
    let taken = desk.send("POST", "/v8/artifacts/events?slug=team", &[], events).await;
    assert_eq!((taken.status, taken.text()), (200, "{}"));
    let stats = desk.context.cache.stats().protocol("turborepo");
    let counted = &stats.reported;
    let counts = [&counted.local_hits, &counted.local_misses, &counted.remote_hits, &counted.remote_misses];
    assert_eq!(counts.map(|count| count.read()), [0, 1, 1, 1]);
    assert_eq!(code(&desk.send("POST", "/v8/artifacts/events", &[], b"nonsense").await), "bad_request");
}

#[tokio::test]
async fn status_is_enabled_and_a_preflight_lets_the_token_come() {
    let desk = Desk::new();
    let status = desk.get("/v8/artifacts/status?slug=team").await;
    assert_eq!((status.status, status.json()), (200, serde_json::json!({"status": "enabled"})));
    assert_eq!(desk.send("HEAD", "/v8/artifacts/status", &[], b"").await.status, 200);
    assert_eq!(desk.put("/v8/artifacts/status", b"x").await.status, 405);
    for path in [PATH, "/v8/artifacts/events", "/v8/artifacts/status", "/v8/artifacts"] {
        let headers = [
            ("access-control-request-method", "GET"),
            ("access-control-request-headers", "Authorization, User-Agent"),
        ];
        let preflight = desk.send("OPTIONS", path, &headers, b"").await;
        assert_eq!(preflight.status, 200);
        let allowed = preflight.header("access-control-allow-headers").expect("a list");
        assert!(allowed.split(',').any(|name| name.trim() == "Authorization"), "{allowed}");
        assert_eq!(preflight.header("access-control-allow-origin"), None, "no web page is let in");
        assert_eq!(preflight.header("location"), None);
    }
}
