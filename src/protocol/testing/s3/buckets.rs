//! Buckets, lists, deletes of several.

use super::*;

#[tokio::test]
async fn lists_come_in_pages_in_both_forms() {
    let door = Door::new();
    for name in ["a/1", "a/2", "b", "c/1/x", "c/2", "d%20e", "%2Ff", "g%2F%2Fh"] {
        door.put(&format!("/bucket/{name}"), "x").await;
    }
    let keys = async |query: &str| between(&door.get(&format!("/bucket?{query}")).await, "Key");
    let prefixes = async |query: &str| {
        let seen = door.get(&format!("/bucket?{query}")).await;
        let groups = seen.text().split("<CommonPrefixes><Prefix>").skip(1);
        groups.filter_map(|rest| rest.split("</").next().map(str::to_owned)).collect::<Vec<_>>()
    };
    let all = ["/f", "a/1", "a/2", "b", "c/1/x", "c/2", "d e", "g//h"];
    assert_eq!(keys("list-type=2").await, all);
    assert_eq!(keys("").await, all);
    assert_eq!(keys("list-type=2&encoding-type=url").await[6], "d%20e");
    assert_eq!(keys("list-type=2&prefix=a/").await, ["a/1", "a/2"]);
    assert_eq!(keys("list-type=2&start-after=c/1/x").await, ["c/2", "d e", "g//h"]);
    assert_eq!(keys("marker=c/1/x").await, ["c/2", "d e", "g//h"]);
    assert_eq!(keys("list-type=2&delimiter=/").await, ["b", "d e"]);
    assert_eq!(prefixes("list-type=2&delimiter=/").await, ["/", "a/", "c/", "g/"]);
    assert!(keys("list-type=2&max-keys=0").await.is_empty());
    let (mut found, mut token) = (Vec::new(), String::new());
    loop {
        let page = door.get(&format!("/bucket?list-type=2&delimiter=/&max-keys=1{token}")).await;
        assert_eq!(between(&page, "KeyCount"), ["1"], "{page:?}");
        found.extend(between(&page, "Key").into_iter().chain(between(&page, "Prefix").into_iter().skip(1)));
        match between(&page, "NextContinuationToken").pop() {
            Some(next) => token = format!("&continuation-token={next}"),
            None => break,
        }
    }
    assert_eq!(found, ["/", "a/", "b", "c/", "d e", "g/"]);
    for bad in ["max-keys=x", "max-keys=-1", "encoding-type=x", "list-type=2&continuation-token=!"] {
        refused(&door.get(&format!("/bucket?{bad}")).await, 400, "InvalidArgument");
    }
}

#[tokio::test]
async fn several_are_deleted_at_once() {
    let door = Door::new();
    for name in ["a", "b", "c"] {
        door.put(&format!("/bucket/{name}"), "x").await;
    }
    let delete = async |body: &str, headers: &[(&str, &str)]| {
        door.send("POST", "/bucket?delete", headers, body.to_owned()).await
    };
    let body = "<Delete><Object><Key>a</Key></Object><Object><Key>none</Key></Object></Delete>";
    assert_eq!(between(&delete(body, &[]).await, "Key"), ["a", "none"]);
    let quiet = delete("<Delete><Quiet>true</Quiet><Object><Key>b</Key></Object></Delete>", &[]).await;
    assert_eq!((quiet.status, between(&quiet, "Key").len()), (200, 0));
    assert_eq!(between(&door.get("/bucket?list-type=2").await, "Key"), ["c"]);
    refused(&delete(body, &[("content-md5", "1B2M2Y8AsgTpgAmY7PhCfg==")]).await, 400, "BadDigest");
    let bomb = "<!DOCTYPE l [<!ENTITY a \"aa\">]><Delete><Object><Key>&a;</Key></Object></Delete>";
    for bad in
        ["", "<Delete/>", "<Delete><Object/></Delete>", "<List><Object><Key>c</Key></Object></List>", bomb]
    {
        refused(&delete(bad, &[]).await, 400, "MalformedXML");
    }
    let many = format!("<Delete>{}</Delete>", "<Object><Key>c</Key></Object>".repeat(1001));
    refused(&delete(&many, &[]).await, 400, "MalformedXML");
    assert_eq!(door.get("/bucket/c").await.text(), "x");
}

#[tokio::test]
async fn buckets_exist_by_being_named() {
    let door = Door::new();
    for (method, path, status) in [
        ("HEAD", "/bucket", 200),
        ("PUT", "/bucket", 200),
        ("PUT", "/bucket", 200),
        ("GET", "/bucket?location", 200),
        ("GET", "/bucket?versioning", 200),
        ("GET", "/bucket?policy", 404),
        ("GET", "/", 200),
        ("DELETE", "/bucket", 405),
        ("GET", "/bucket?acl", 400),
        ("GET", "/bucket/x?acl", 400),
        ("BREW", "/bucket/x", 405),
        ("POST", "/bucket/x", 405),
        ("GET", "/Bucket/x", 400),
        ("GET", "/blobs/x", 400),
        ("PUT", "/bucket/%00", 400),
    ] {
        assert_eq!(door.send(method, path, &[], "").await.status, status, "{method} {path}");
    }
    door.put(OBJECT, "x").await;
    refused(&door.get(&OBJECT.replace("/bucket/", "/other/")).await, 404, "NoSuchKey");
}
