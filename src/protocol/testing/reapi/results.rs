//! Action results and content, shared with the frontends of HTTP.

use super::*;
use crate::links::PARSED_BYTES_MAX;

/// `exit_code: 1`, and a field that no version of the API has.
const UNKNOWN: &[u8] = b"\x20\x01\xa2\x38\x01x";

/// `execution_metadata`, empty.
const METADATA: &[u8] = b"\x4a\x00";

const JSON: [(&str, &str); 2] = [("accept", "application/json"), ("content-type", "application/json")];

fn ac(instance: &str, action: &[u8]) -> String {
    format!("{instance}/ac/{}", digest(action).hash)
}

fn naming(data: &[u8]) -> Vec<u8> {
    wire::ActionResult { stdout_digest: Some(digest(data)), ..wire::ActionResult::default() }.encode_to_vec()
}

#[tokio::test]
async fn a_result_that_came_by_grpc_is_got_by_http_byte_for_byte() {
    let api = Api::new();
    for (instance, path) in [("", ""), ("main", "/main"), ("team/web", "/team/web")] {
        let stored = [UNKNOWN, METADATA].concat();
        let updated = api.update_result(instance, b"action", UNKNOWN).await;
        assert_eq!((updated.status.code(), &updated.messages[..]), (Code::Ok, &[stored.clone().into()][..]));
        assert_eq!(api.get_result(instance, b"action").await.messages[0], stored);
        assert_eq!(api.desk.get(&ac(path, b"action")).await.body, stored);
        let json = api.desk.send("GET", &ac(path, b"action"), &JSON, b"").await.json();
        assert_eq!(json, serde_json::json!({"exitCode": 1, "executionMetadata": {}}));
        api.get_result("other", b"action").await.assert_refused(Code::NotFound, "not in the cache");
    }
}

#[tokio::test]
async fn a_result_that_came_by_http_is_got_by_grpc() {
    let api = Api::new();
    for (instance, path) in [("", ""), ("team/web", "/team/web")] {
        assert_eq!(api.desk.put(&ac(path, b"bazel"), UNKNOWN).await.status, 200);
        let got = api.get_result(instance, b"bazel").await;
        assert_eq!(got.messages, [[UNKNOWN, METADATA].concat()], "Buck2 fails without the metadata");
        let json = br#"{"exitCode": 7, "executionMetadata": {"worker": "moon"}}"#;
        assert_eq!(api.desk.send("PUT", &ac(path, b"moon"), &JSON, json).await.status, 200);
        let got: wire::ActionResult = api.get_result(instance, b"moon").await.one();
        assert_eq!((got.exit_code, got.execution_metadata.expect("its own").worker.as_str()), (7, "moon"));
    }
}

#[tokio::test]
async fn content_is_one_for_both() {
    let api = Api::new();
    for len in [0, 100, 300_000] {
        let (by_http, by_grpc) = (noise("http", len), noise("grpc", len));
        let path = |data: &[u8]| format!("/any/cas/{}", digest(data).hash);
        assert_eq!(api.desk.put(&path(&by_http), &by_http).await.status, 200);
        assert!(api.has(&by_http).await);
        assert!(api.read(&resource(&by_http), 0, 0).await.data() == by_http);
        let name = format!("some/instance/{}", upload("u", &by_grpc));
        assert_eq!(api.write(&[piece(&name, 0, &by_grpc, true)]).await.committed(), len as i64);
        assert!(api.desk.get(&path(&by_grpc)).await.body == by_grpc);
    }
    api.nothing_left("all of it is whole").await;
}

#[tokio::test]
async fn a_result_is_a_hit_for_both_when_its_last_blob_has_come_and_not_before() {
    let api = Api::new();
    let tree = wire::Tree {
        root: Some(wire::Directory {
            files: vec![wire::FileNode {
                name: "f".into(),
                digest: Some(digest(b"leaf")),
                ..wire::FileNode::default()
            }],
            ..wire::Directory::default()
        }),
        children: Vec::new(),
    };
    let tree = tree.encode_to_vec();
    let result = wire::ActionResult {
        output_directories: vec![wire::OutputDirectory {
            path: "d".into(),
            tree_digest: Some(digest(&tree)),
            ..wire::OutputDirectory::default()
        }],
        stdout_digest: Some(digest(b"out")),
        ..wire::ActionResult::default()
    };
    let updated = api.update_result("", b"action", &result.encode_to_vec()).await;
    assert_eq!(updated.status.code(), Code::Ok, "some clients send the result first");
    for blob in [&b"out"[..], &tree, b"leaf"] {
        api.get_result("", b"action").await.assert_refused(Code::NotFound, "not in the cache");
        assert_eq!(api.desk.get(&ac("", b"action")).await.status, 404);
        api.store(blob).await;
    }
    let got: wire::ActionResult = api.get_result("", b"action").await.one();
    assert_eq!(got.output_directories, result.output_directories);
    assert_eq!(api.desk.get(&ac("", b"action")).await.status, 200);
}

#[tokio::test]
async fn what_other_tools_keep_under_such_names_is_no_result() {
    let api = Api::new();
    let body = b"cCrS, as ccache has it";
    assert_eq!(api.desk.put(&ac("", b"ccache"), body).await.status, 200);
    api.get_result("", b"ccache").await.assert_refused(Code::NotFound, "not in the cache");
    assert_eq!(api.desk.get(&ac("", b"ccache")).await.body, body[..], "it is left as it was");
    let updated = api.update_result("", b"ccache", UNKNOWN).await;
    assert_eq!(updated.status.code(), Code::Ok, "and may become one");
    assert_eq!(api.get_result("", b"ccache").await.status.code(), Code::Ok);
}

#[tokio::test]
async fn results_that_are_none_are_refused_and_not_stored() {
    let api = Api::new();
    let mut short = naming(b"out");
    short[4] = b'/';
    let absolute =
        wire::OutputFile { path: "/a".into(), digest: Some(digest(b"a")), ..wire::OutputFile::default() };
    let absolute = wire::ActionResult { output_files: vec![absolute], ..wire::ActionResult::default() };
    for (what, result) in [
        ("garbage", b"\xff\xff".to_vec()),
        ("no message", b"cCrS, as ccache has it".to_vec()),
        ("a hash that is none", short),
        ("an absolute path", absolute.encode_to_vec()),
        ("too long", field(5, &vec![b'x'; PARSED_BYTES_MAX])),
    ] {
        let refused = api.update_result("", b"action", &result).await;
        assert_eq!(refused.status.code(), Code::InvalidArgument, "{what}: {:?}", refused.status);
        api.get_result("", b"action").await.assert_refused(Code::NotFound, "not in the cache");
        api.nothing_stored(what).await;
    }
    for instance in ["a/blobs", "uploads", "../x"] {
        let refused = api.update_result(instance, b"action", UNKNOWN).await;
        refused.assert_refused(Code::InvalidArgument, "instance name");
        api.get_result(instance, b"action").await.assert_refused(Code::InvalidArgument, "instance name");
    }
    api.nothing_stored("a reserved name").await;
}

#[tokio::test]
async fn what_is_inlined_leaves_the_rest_of_a_result_as_it_was() {
    let api = Api::new();
    api.store(b"said").await;
    api.store(b"a file").await;
    // An output file with a field that is not known, as one may come to be.
    let file = [field(1, b"out/f"), field(2, &digest(b"a file").encode_to_vec()), field(15, b"new")].concat();
    let result = [&naming(b"said")[..], &field(2, &file), UNKNOWN].concat();
    assert_eq!(api.update_result("", b"action", &result).await.status.code(), Code::Ok);
    let request = wire::GetActionResultRequest {
        action_digest: Some(digest(b"action")),
        inline_stdout: true,
        inline_stderr: true,
        inline_output_files: vec!["out/f".into(), "none".into()],
        ..wire::GetActionResultRequest::default()
    };
    let called = api.send(&format!("{ACTIONS}/GetActionResult"), &[request]).await;
    let filled = [&file[..], &field(5, b"a file")].concat();
    let inlined = [&naming(b"said")[..], &field(2, &filled), UNKNOWN, METADATA, &field(5, b"said")].concat();
    assert_eq!(called.messages, [inlined]);
    assert_eq!(api.get_result("", b"action").await.messages, [[&result[..], METADATA].concat()]);
}

/// Under `blake3`, a digest that names no function is of that.
#[tokio::test]
async fn blake3_is_verified_and_kept_apart() {
    let api = Api::new();
    let data = noise("blake3", 300_000);
    let hash = Digest::of(Function::Blake3, &data).hex();
    for (name, is_right) in [
        (format!("blake3/uploads/u/blobs/{hash}/300000"), true),
        (format!("x/uploads/u/blobs/blake3/{hash}/300000"), true),
        (format!("uploads/u/blobs/{hash}/300000"), false),
        (format!("uploads/u/blobs/sha256/{hash}/300000"), false),
        (format!("blake3/{}", upload("u", &data)), false),
    ] {
        let called = api.write(&pieces(&name, &data, 0, 100_000)).await;
        match is_right {
            true => assert_eq!(called.committed(), 300_000, "{name}"),
            false => called.assert_refused(Code::InvalidArgument, "digest"),
        }
    }
    for (name, code) in [
        (format!("blake3/blobs/{hash}/300000"), Code::Ok),
        (format!("blobs/blake3/{hash}/300000"), Code::Ok),
        (format!("blobs/{hash}/300000"), Code::NotFound),
        (resource(&data), Code::NotFound),
    ] {
        let called = api.read(&name, 0, 0).await;
        assert_eq!(called.status.code(), code, "{name}");
        assert_eq!(called.data() == data, code == Code::Ok, "{name}");
    }
    api.nothing_left("it is whole, or was refused").await;
}
