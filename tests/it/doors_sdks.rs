//! Libraries and rclone at the doors: Amazon's and Azure's own clients for Python and JavaScript, and object_store, which
//! is what Larder itself is a client with.

use std::fs;
use std::sync::Arc;

use bytes::Bytes;
use futures_util::{StreamExt as _, TryStreamExt as _};
use object_store::aws::AmazonS3Builder;
use object_store::azure::MicrosoftAzureBuilder;
use object_store::path::Path;
use object_store::{
    Error, ObjectStore, ObjectStoreExt as _, PutMode, PutOptions, PutPayload, UpdateVersion, WriteMultipart,
};
use tempfile::TempDir;

use crate::doors_golden::pair;
use crate::support::Rng;
use crate::support::daemon::Daemon;
use crate::support::setup::Setup;
use crate::support::tools::doors::{node, python, rclone};
use crate::support::weed::{self, Weed};

/// With an upstream, so that lists and reads have two places to look in.
fn daemon() -> (Weed, Daemon) {
    let keys = weed::Keys::new("one");
    let weed = Weed::start(&[&keys]);
    let daemon = Setup::new().upstream(weed::url(weed.addr(), "")).keys(&keys).start();
    (weed, daemon)
}

/// A connection string that writes, and one that reads.
fn strings(daemon: &Daemon) -> (String, String) {
    (daemon.token(&["--azure", "cache", "--read-write"]), daemon.token(&["--azure", "cache", "--read-only"]))
}

fn endpoint(daemon: &Daemon) -> String {
    format!("{}/s3", daemon.url())
}

/// What was written is upstream, whole; and nothing half is left.
fn all_arrived(daemon: &Daemon) {
    daemon.flush();
    let left = daemon.drafts();
    assert!(left.is_empty(), "{left:?}");
}

#[test]
fn boto3() {
    let (_weed, daemon) = daemon();
    let keys = pair(&daemon.token(&["--s3", "bkt", "--read-write"]));
    python(&["boto", &endpoint(&daemon), &keys]);
    all_arrived(&daemon);
}

#[test]
fn azure_for_python() {
    let (_weed, daemon) = daemon();
    let (writer, reader) = strings(&daemon);
    python(&["blob", &writer, &reader]);
    all_arrived(&daemon);
}

#[test]
fn amazon_for_javascript() {
    let (_weed, daemon) = daemon();
    let keys = pair(&daemon.token(&["--s3", "bkt", "--read-write"]));
    let (id, secret) = keys.split_once(':').expect("a pair");
    node("s3.mjs", &[&endpoint(&daemon), id, secret]);
    all_arrived(&daemon);
}

#[test]
fn azure_for_javascript() {
    let (_weed, daemon) = daemon();
    let (writer, reader) = strings(&daemon);
    node("blob.mjs", &[&writer, &reader]);
    all_arrived(&daemon);
}

/// A folder goes up, is compared, comes back, and is deleted.
fn rclone_copies_checks_and_deletes(settings: &[(&str, &str)]) {
    let folder = TempDir::new().expect("a temporary folder");
    let (source, target) = (folder.path().join("source"), folder.path().join("target"));
    let mut rng = Rng::new(5);
    for (name, len) in [("a", 10), ("b c/d", 70_000), ("large", 9 << 20), ("empty", 0)] {
        let path = source.join(name);
        fs::create_dir_all(path.parent().expect("below the root")).expect("a temporary folder");
        fs::write(path, rng.bytes(len)).expect("a temporary file");
    }
    let (source, target) = (source.display().to_string(), target.display().to_string());
    rclone(settings, &["copy", &source, "store:cache/folder"]);
    rclone(settings, &["check", "--download", &source, "store:cache/folder"]);
    rclone(settings, &["copy", "store:cache/folder", &target]);
    rclone(settings, &["check", &source, &target]);
    let listed = rclone(settings, &["lsf", "--recursive", "--files-only", "store:cache/folder"]);
    assert_eq!(listed.lines().collect::<Vec<_>>(), ["a", "b c/d", "empty", "large"]);
    rclone(settings, &["delete", "store:cache/folder"]);
    assert_eq!(rclone(settings, &["lsf", "--recursive", "store:cache/folder"]), "");
}

#[test]
fn rclone_over_s3() {
    let (_weed, daemon) = daemon();
    let keys = pair(&daemon.token(&["--s3", "cache", "--read-write"]));
    let (id, secret) = keys.split_once(':').expect("a pair");
    rclone_copies_checks_and_deletes(&[
        ("TYPE", "s3"),
        ("PROVIDER", "Other"),
        ("ENDPOINT", &endpoint(&daemon)),
        ("ACCESS_KEY_ID", id),
        ("SECRET_ACCESS_KEY", secret),
        ("CHUNK_SIZE", "5Mi"),
        ("UPLOAD_CUTOFF", "5Mi"),
    ]);
    all_arrived(&daemon);
}

#[test]
fn rclone_over_azure() {
    let (_weed, daemon) = daemon();
    let (writer, _) = strings(&daemon);
    rclone_copies_checks_and_deletes(&[("TYPE", "azureblob"), ("CONNECTION_STRING", &writer)]);
    all_arrived(&daemon);
}

/// What Larder asks of an upstream, asked of Larder.
async fn object_store_keeps_its_contract(store: Arc<dyn ObjectStore>) {
    let at = |name: &str| Path::from(name);
    let made = store.put(&at("a/one"), PutPayload::from_static(b"hello")).await.expect("a put");
    assert!(made.e_tag.is_some());
    let found = store.get(&at("a/one")).await.expect("a hit");
    assert_eq!(found.meta.size, 5);
    assert_eq!(found.bytes().await.expect("a body"), "hello");
    assert_eq!(store.get_range(&at("a/one"), 1..4).await.expect("a range"), "ell");
    let parts = store.get_ranges(&at("a/one"), &[0..1, 4..5]).await.expect("ranges");
    assert_eq!(parts, [Bytes::from("h"), Bytes::from("o")]);
    assert_eq!(store.head(&at("a/one")).await.expect("a head").e_tag, made.e_tag);
    assert!(matches!(store.get(&at("never")).await, Err(Error::NotFound { .. })));
    assert!(matches!(store.head(&at("never")).await, Err(Error::NotFound { .. })));

    let again = |mode| {
        let (store, name) = (Arc::clone(&store), at("a/one"));
        let options = PutOptions { mode, ..PutOptions::default() };
        async move { store.put_opts(&name, PutPayload::from_static(b"again"), options).await }
    };
    assert!(matches!(again(PutMode::Create).await, Err(Error::AlreadyExists { .. })));
    let stale = UpdateVersion { e_tag: Some("\"0\"".into()), version: None };
    assert!(matches!(again(PutMode::Update(stale)).await, Err(Error::Precondition { .. })));
    let current = UpdateVersion { e_tag: made.e_tag, version: None };
    again(PutMode::Update(current)).await.expect("an update of what is there");

    let mut writer = WriteMultipart::new(store.put_multipart(&at("b/large")).await.expect("an upload"));
    let body = Rng::new(11).bytes((12 << 20) + 1);
    body.chunks(1 << 20).for_each(|piece| writer.write(piece));
    writer.finish().await.expect("it ends");
    let came = store.get(&at("b/large")).await.expect("a hit").bytes().await.expect("a body");
    assert!(came == body, "what came is not what went");

    let names = |listed: Vec<object_store::ObjectMeta>| {
        let mut names: Vec<String> = listed.into_iter().map(|meta| meta.location.to_string()).collect();
        names.sort();
        names
    };
    assert_eq!(names(store.list(None).try_collect().await.expect("a list")), ["a/one", "b/large"]);
    let folders = store.list_with_delimiter(None).await.expect("a list");
    assert_eq!(folders.common_prefixes, [at("a"), at("b")]);
    store.copy(&at("a/one"), &at("c/copy")).await.expect("a copy");
    assert_eq!(store.get(&at("c/copy")).await.expect("a hit").bytes().await.expect("a body"), "again");
    store.delete(&at("c/copy")).await.expect("a deletion");
    let all = futures_util::stream::iter([Ok(at("a/one")), Ok(at("b/large"))]).boxed();
    let gone: Vec<Path> = store.delete_stream(all).try_collect().await.expect("deletions");
    assert_eq!(gone.len(), 2);
    assert_eq!(names(store.list(None).try_collect().await.expect("a list")), [""; 0]);
}

fn run(task: impl Future<Output = ()>) {
    tokio::runtime::Builder::new_current_thread().enable_all().build().expect("a runtime").block_on(task);
}

#[test]
fn object_store_over_s3() {
    let (_weed, daemon) = daemon();
    let keys = pair(&daemon.token(&["--s3", "cache", "--read-write"]));
    let (id, secret) = keys.split_once(':').expect("a pair");
    let store = AmazonS3Builder::new()
        .with_endpoint(endpoint(&daemon))
        .with_allow_http(true)
        .with_region("us-east-1")
        .with_bucket_name("cache")
        .with_access_key_id(id)
        .with_secret_access_key(secret)
        .build()
        .expect("a client");
    run(object_store_keeps_its_contract(Arc::new(store)));
    all_arrived(&daemon);
}

#[test]
fn object_store_over_azure() {
    let (_weed, daemon) = daemon();
    let (writer, _) = strings(&daemon);
    let key = writer.split("AccountKey=").nth(1).and_then(|rest| rest.split(';').next()).expect("a key");
    let store = MicrosoftAzureBuilder::new()
        .with_endpoint(format!("{}/larder", daemon.url()))
        .with_allow_http(true)
        .with_account("larder")
        .with_container_name("cache")
        .with_access_key(key)
        .build()
        .expect("a client");
    run(object_store_keeps_its_contract(Arc::new(store)));
    all_arrived(&daemon);
}
