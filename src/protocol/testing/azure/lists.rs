//! Containers, names, lists and copies.

use super::*;

#[tokio::test]
async fn containers_exist_by_being_named() {
    let door = Door::new();
    let container = "/larder/cache?restype=container";
    for (method, status) in [("GET", 200), ("HEAD", 200), ("PUT", 201), ("PUT", 201)] {
        let seen = door.send(method, container, &[], "").await;
        assert_eq!((seen.status, seen.header("etag")), (status, Some("\"0x1\"")), "{method}");
        assert!(seen.header("last-modified").is_some());
    }
    refused(&door.send("DELETE", container, &[], "").await, 405, "UnsupportedHttpVerb");
    refused(&door.get(&format!("{container}&comp=acl")).await, 400, "UnsupportedQueryParameter");
    door.put(BLOB, "x").await;
    refused(&door.get(&BLOB.replace("/cache/", "/other/")).await, 404, "BlobNotFound");
}

#[tokio::test]
async fn names_are_what_they_say() {
    let door = Door::new();
    let names =
        ["a", "/a", "a/", "a//b", "a/b", "a%20b", "%C3%A4", "a%2Fc", "a+b", "..%2Fx", "a%0Ab", "a%25"];
    for (number, name) in names.iter().enumerate() {
        assert_eq!(
            door.put(&format!("/larder/cache/{name}"), number.to_string()).await.status,
            201,
            "{name}"
        );
    }
    for (number, name) in names.iter().enumerate() {
        assert_eq!(door.get(&format!("/larder/cache/{name}")).await.text(), number.to_string(), "{name}");
    }
    assert_eq!(door.get("/larder/cache/a/c").await.text(), "7", "an escape is what it stands for");
    let list = door.get("/larder/cache?restype=container&comp=list").await;
    for name in
        ["<Name>/a</Name>", "<Name>a//b</Name>", "<Name>ä</Name>", "<Name Encoded=\"true\">a%0Ab</Name>"]
    {
        assert!(list.text().contains(name), "{name}: {list:?}");
    }
}

/// The names and prefixes of a page, and its marker.
fn page(seen: &Seen) -> (Vec<String>, String) {
    assert_eq!(seen.status, 200, "{seen:?}");
    let between = |text: &str, tag: &str| -> Vec<String> {
        text.split(&format!("<{tag}>"))
            .skip(1)
            .filter_map(|rest| rest.split("</").next().map(str::to_owned))
            .collect()
    };
    let marker = between(seen.text(), "NextMarker").pop().expect("an element");
    (between(seen.text(), "Name"), marker)
}

#[tokio::test]
async fn lists_come_in_pages() {
    let door = Door::new();
    for name in ["a/1", "a/2", "b", "c/1/x", "c/2", "d"] {
        door.put(&format!("/larder/cache/{name}"), "x").await;
    }
    let list = "/larder/cache?restype=container&comp=list";
    assert_eq!(page(&door.get(list).await).0, ["a/1", "a/2", "b", "c/1/x", "c/2", "d"]);
    assert_eq!(page(&door.get(&format!("{list}&prefix=a%2F")).await).0, ["a/1", "a/2"]);
    assert_eq!(page(&door.get(&format!("{list}&delimiter=%2F")).await).0, ["a/", "b", "c/", "d"]);
    assert_eq!(page(&door.get(&format!("{list}&delimiter=%2F&prefix=c%2F")).await).0, ["c/1/", "c/2"]);
    let (mut all, mut marker) = (Vec::new(), String::new());
    loop {
        let (names, next) =
            page(&door.get(&format!("{list}&delimiter=%2F&maxresults=1&marker={marker}")).await);
        assert_eq!(names.len(), 1, "{all:?}");
        all.extend(names);
        marker = next;
        if marker.is_empty() {
            break;
        }
    }
    assert_eq!(all, ["a/", "b", "c/", "d"]);
    for bad in ["maxresults=0", "maxresults=x", "marker=%21"] {
        let seen = door.get(&format!("{list}&{bad}")).await;
        assert!((seen.status, seen.header("x-ms-error-code").is_some()) == (400, true), "{bad}: {seen:?}");
    }
    door.send("DELETE", "/larder/cache/b", &[], "").await;
    assert_eq!(page(&door.get(list).await).0.len(), 5);
}

#[tokio::test(flavor = "multi_thread")]
async fn ten_thousand_names_are_listed_once_each() {
    let door = Door::new();
    for number in 0..10_050 {
        door.put(&format!("/larder/cache/n{number:05}/x"), "x").await;
    }
    for query in ["", "&delimiter=%2F"] {
        let (mut all, mut marker) = (Vec::new(), String::new());
        loop {
            let path = format!("/larder/cache?restype=container&comp=list{query}&marker={marker}");
            let (names, next) = page(&door.get(&path).await);
            all.extend(names);
            marker = next;
            if marker.is_empty() {
                break;
            }
        }
        assert_eq!(all.len(), 10_050, "{query}");
        assert!(all.is_sorted() && all.windows(2).all(|pair| pair[0] != pair[1]));
    }
}

#[tokio::test]
async fn a_copy_within_a_container_keeps_what_the_blob_is() {
    let door = Door::new();
    door.send("PUT", BLOB, &[BLOCK_BLOB, ("x-ms-meta-a", "1")], "bytes").await;
    let source = ("x-ms-copy-source", &*format!("http://127.0.0.1:1{BLOB}?sv=x"));
    let copied = door.send("PUT", "/larder/cache/copy", &[source], "").await;
    assert_eq!((copied.status, copied.header("x-ms-copy-status")), (202, Some("success")), "{copied:?}");
    let hit = door.get("/larder/cache/copy").await;
    assert_eq!((hit.text(), hit.header("x-ms-meta-a")), ("bytes", Some("1")));
    let elsewhere = ("x-ms-copy-source", "http://127.0.0.1:1/larder/other/x");
    refused(&door.send("PUT", "/larder/cache/y", &[elsewhere], "").await, 400, "CannotVerifyCopySource");
    let absent = ("x-ms-copy-source", "http://127.0.0.1:1/larder/cache/none");
    refused(&door.send("PUT", "/larder/cache/y", &[absent], "").await, 404, "CannotVerifyCopySource");
}
