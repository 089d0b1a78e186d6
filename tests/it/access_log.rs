//! The access log: what a request's line says, by every protocol, and what it never says.

use std::path::Path;
use std::time::Duration;

use object_store::aws::AmazonS3Builder;
use object_store::signer::Signer as _;
use serde_json::Value;
use tempfile::TempDir;

use crate::doors_golden::pair;
use crate::support::daemon::Daemon;
use crate::support::grpc::Grpc;
use crate::support::http::Request;
use crate::support::routes::Route;
use crate::support::setup::Setup;
use crate::support::wire::Addr;
use crate::support::{PATIENCE, Rng, eventually, free_addr, sha256, until, write_secret};

/// A daemon that logs in JSON, with an upstream called `team` in a folder.
fn in_json(upstream: &Path) -> Daemon {
    let url = upstream.display();
    Setup::new()
        .config(&format!(
            "upstream = \"team\"\nlog.format = \"json\"\n[upstreams.team]\nurl = \"file://{url}\""
        ))
        .start()
}

/// The lines of requests for which `is` holds, once there are so many of them.
#[track_caller]
fn lines(daemon: &Daemon, count: usize, is: impl Fn(&Value) -> bool) -> Vec<Value> {
    eventually("the lines are there", PATIENCE, || {
        let log = daemon.log();
        let entries = log.lines().map(|line| serde_json::from_str::<Value>(line).expect("it is JSON"));
        let found: Vec<Value> =
            entries.filter(|entry| entry["target"] == "larder::access" && is(entry)).collect();
        (found.len() >= count).then_some(found)
    })
}

/// What the one line of a protocol's requests with this method and path says: whose, what, and from or to where.
#[track_caller]
fn said(daemon: &Daemon, count: usize, (method, path): (&str, &str)) -> Vec<[String; 6]> {
    let found = lines(daemon, count, |entry| entry["method"] == method && entry["path"] == path);
    assert_eq!(found.len(), count, "{method} {path}");
    let text = |value: &Value| value.as_str().map_or_else(|| value.to_string(), str::to_owned);
    let fields = ["protocol", "namespace", "key", "tier", "upstream", "outcome"];
    found.iter().map(|line| fields.map(|field| text(&line[field]))).collect()
}

#[test]
fn a_line_says_whose_entry_it_was_and_where_it_came_from_or_goes() {
    let upstream = TempDir::new().expect("a temporary folder");
    let daemon = in_json(upstream.path());
    let hash = sha256(b"larder");
    let cas = format!("/web/cas/{hash}");
    let gradle = "0123456789abcdef0123456789abcdef";
    let cases: [(&str, &str, &str, &str); 5] = [
        ("/blob/ns/one/two", "blob", "ns", "one/two"),
        (&format!("/gradle/{gradle}"), "gradle", "-", gradle),
        (&cas, "bazel", "web", &hash),
        ("/s3/bkt/dir/a%20name", "s3", "bkt", "dir/a name"),
        ("/larder/box/dir/name", "azure", "box", "dir/name"),
    ];
    for (path, protocol, namespace, key) in cases {
        let put = Request::put(path, "larder").header("x-ms-blob-type", "BlockBlob");
        assert!(matches!(daemon.send(put).status(), 200..300), "{path}");
        assert_eq!(daemon.get(path).text(), "larder");
        assert_eq!(
            said(&daemon, 1, ("PUT", path)),
            [[protocol, namespace, key, "-", "team", "done"]],
            "what is put is queued for it"
        );
        assert_eq!(said(&daemon, 1, ("GET", path)), [[protocol, namespace, key, "memory", "-", "hit"]]);
    }
    daemon.flush();

    // Another desk: all of it comes from upstream.
    let other = in_json(upstream.path());
    for (path, protocol, namespace, key) in cases {
        assert_eq!(other.get(path).text(), "larder");
        assert_eq!(said(&other, 1, ("GET", path)), [[protocol, namespace, key, "upstream", "team", "hit"]]);
    }
    assert_eq!(other.get("/blob/ns/none").status(), 404);
    assert_eq!(said(&other, 1, ("GET", "/blob/ns/none")), [["blob", "ns", "none", "-", "-", "miss"]]);
    let gone = Request::new("DELETE", "/s3/bkt/dir/a%20name");
    assert_eq!(other.send(gone).status(), 204);
    assert_eq!(
        said(&other, 1, ("DELETE", "/s3/bkt/dir/a%20name")),
        [["s3", "bkt", "dir/a name", "-", "team", "done"]]
    );
    // What is about no entry says so.
    assert_eq!(other.get("/-/healthz").status(), 200);
    assert_eq!(said(&other, 1, ("GET", "/-/healthz"))[0][..3], ["admin", "-", "-"]);
}

#[test]
fn a_line_of_a_call_names_what_is_in_its_messages() {
    let upstream = TempDir::new().expect("a temporary folder");
    let daemon = in_json(upstream.path());
    let (one, two, action) = (b"one".as_slice(), b"two".as_slice(), b"action".as_slice());
    let calls = |at: &Grpc| {
        at.write(one).one();
        assert_eq!(at.update(&[one, two]).one().responses.len(), 2);
        at.store_result(action, one).one();
        assert_eq!(at.missing(&[two, one]), 0);
    };
    calls(&Grpc::to(&daemon.addr()));
    daemon.flush();
    let method = |service: &str, method: &str| format!("/{service}/{method}");
    let stream = |name: &str| method("google.bytestream.ByteStream", name);
    let content = |name: &str| method("build.bazel.remote.execution.v2.ContentAddressableStorage", name);
    let results = |name: &str| method("build.bazel.remote.execution.v2.ActionCache", name);
    let line = |daemon: &Daemon, path: &str| {
        let line = lines(daemon, 1, |entry| entry["path"] == path).remove(0);
        let text = |field: &str| line[field].as_str().expect("it is text").to_owned();
        (text("key"), line["others"] == true, text("tier"), text("upstream"))
    };
    let expect = |daemon: &Daemon, path: &str, key: &[u8], others: bool, tier: &str, upstream: &str| {
        assert_eq!(line(daemon, path), (sha256(key), others, tier.into(), upstream.into()), "{path}");
    };
    expect(&daemon, &stream("Write"), one, false, "-", "team");
    expect(&daemon, &content("BatchUpdateBlobs"), one, true, "-", "team");
    expect(&daemon, &results("UpdateActionResult"), action, false, "-", "team");
    expect(&daemon, &content("FindMissingBlobs"), two, true, "-", "-");

    let other = in_json(upstream.path());
    let at = Grpc::to(&other.addr());
    at.result(action).one();
    assert_eq!(at.read(one, 0).data(), one);
    assert_eq!(at.batch(&[two, one]).one().responses.len(), 2);
    expect(&other, &results("GetActionResult"), action, false, "upstream", "team");
    let (key, others, tier, _) = line(&other, &stream("Read"));
    assert_eq!((key, others), (sha256(one), false));
    assert_ne!(tier, "-");
    expect(&other, &content("BatchReadBlobs"), two, true, "upstream", "team");
}

#[test]
fn every_way_to_an_entry_names_it() {
    let daemon = Setup::new().config("log.format = \"json\"").start();
    let mut rng = Rng::new(63);
    for route in Route::ALL {
        let entry = route.entry(&mut rng, 300);
        assert_eq!(daemon.send(entry.put()).status(), route.taken(), "{entry:?}");
        assert_eq!(daemon.send(entry.get()).status(), 200, "{entry:?}");
        let path = entry.target.split('?').next().expect("a path");
        for method in ["PUT", "GET"] {
            let line = lines(&daemon, 1, |line| line["method"] == method && line["path"] == path).remove(0);
            let key = line["key"].as_str().expect("it is text");
            assert!(key.len() > 1 && path.contains(key.split('/').next_back().expect("one")), "{line}");
        }
    }
}

/// The path and query that a client of S3 makes for others.
fn presigned(daemon: &Daemon, id: &str, secret: &str, method: hyper::Method) -> String {
    let store = AmazonS3Builder::new()
        .with_endpoint(format!("{}/s3", daemon.url()))
        .with_allow_http(true)
        .with_region("us-east-1")
        .with_bucket_name("bkt")
        .with_access_key_id(id)
        .with_secret_access_key(secret)
        .build()
        .expect("a client");
    let runtime = tokio::runtime::Builder::new_current_thread().build().expect("a runtime");
    let path = "a".into();
    let url =
        runtime.block_on(store.signed_url(method, &path, Duration::from_secs(60))).expect("it is signed");
    format!("{}?{}", url.path(), url.query().expect("a query"))
}

/// Of what opens something, in whatever way it comes.
#[test]
fn no_query_no_token_and_no_signature_is_logged() {
    let other = free_addr();
    let folder = TempDir::new().expect("a temporary folder");
    let tokens = folder.path().join("tokens");
    write_secret(&tokens, "ci:0123456789abcdef\n");
    let config = format!(
        "access.tokens = \"{}\"\n[[listeners]]\naddress = \"0.0.0.0:{}\"\ninsecure = true",
        tokens.display(),
        other.port()
    );
    for format in ["text", "json"] {
        let daemon = Setup::new().config(&format!("log.format = \"{format}\"\n{config}")).start();
        assert!(daemon.cli(&["log", "debug"]).status.success());
        let mut secrets = vec!["0123456789abcdef".to_owned(), "aGVyZSBpdCBpcw".to_owned()];
        let sas = daemon.token(&["--azure", "box", "--read-write", "--sas"]);
        let sas = sas.split_once("SharedAccessSignature=").expect("a signature").1;
        secrets.push(sas.rsplit_once("sig=").expect("a signature").1.to_owned());
        let keys = pair(&daemon.token(&["--s3", "bkt", "--read-write"]));
        let (id, secret) = keys.split_once(':').expect("a pair");
        secrets.push(secret.to_owned());
        let presigned = [hyper::Method::PUT, hyper::Method::GET].map(|method| {
            let url = presigned(&daemon, id, secret, method);
            secrets.push(url.rsplit_once("Signature=").expect("a signature").1.to_owned());
            url
        });
        let host = daemon.url().split_once("//").expect("a scheme").1.to_owned();
        let bearer =
            |request: Request, token: &str| request.header("authorization", format!("Bearer {token}"));
        let answers = [
            daemon.send(
                Request::put(format!("/larder/box/a?{sas}"), "x").header("x-ms-blob-type", "BlockBlob"),
            ),
            daemon.get(format!("/larder/box/a?{sas}")),
            daemon.get(format!("/larder/other/a?{sas}")),
            daemon.send(Request::put(presigned[0].clone(), "x").header("host", &*host)),
            daemon.send(Request::get(presigned[1].clone()).header("host", &*host)),
            daemon.send(Request::get(presigned[1].replace("/a?", "/b?")).header("host", &*host)),
            daemon.send(bearer(Request::get("/blob/ns/x"), "aGVyZSBpdCBpcw")),
            bearer(Request::get("/blob/ns/x?token=aGVyZSBpdCBpcw"), "0123456789abcdef")
                .send(&Addr::Tcp(other))
                .expect("an answer"),
            bearer(Request::get("/blob/ns/x?sig=aGVyZSBpdCBpcw"), "aGVyZSBpdCBpcw")
                .send(&Addr::Tcp(other))
                .expect("an answer"),
        ];
        let statuses = answers.each_ref().map(|answer| answer.status());
        assert_eq!(statuses, [201, 200, 403, 200, 200, 403, 404, 404, 401]);
        until("all of them are logged", PATIENCE, || {
            daemon.log().lines().filter(|line| line.contains("larder::access")).count() >= answers.len()
        });
        let log = daemon.log();
        for secret in secrets.iter().map(String::as_str).chain(["sig=", "Signature", "token=", "Bearer"]) {
            assert!(!log.contains(secret), "{secret} in\n{log}");
        }
    }
}
