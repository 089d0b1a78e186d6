//! Listings: what is here and what is upstream, as one.

use super::fake::{AC, BLOB, Fake, TURBO, Weather};
use super::*;

impl Bench {
    async fn names(&self, space: Space, prefix: &str, after: Option<&str>, limit: usize) -> Vec<String> {
        let listed = self.cache.list(self.scope(), &space, prefix, after, limit).await.expect("listed");
        listed.into_iter().map(|row| row.name.as_str().to_owned()).collect()
    }

    /// Holds uploads and deletes back.
    fn deny_writes(&self) {
        *self.fake.weather.lock() = Weather::Denies;
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn a_listing_is_what_is_here_and_what_is_upstream_in_order() {
    let bench = Bench::new(|_| {});
    for (name, body) in [("b/uploaded", "1"), ("a/uploaded", "22"), ("c/large", &*"x".repeat(200_000))] {
        bench.put(&named(BLOB, name), body.as_bytes()).await;
    }
    bench.drained().await;
    bench.fake.set("blob/b/theirs", "theirs");
    bench.fake.set("ac/00/0011", "an action result");
    bench.fake.set("unrelated", "x");
    bench.deny_writes();
    bench.put(&named(BLOB, "b/waits"), b"queued").await;
    bench.put(&named(TURBO, "b/other-space"), b"queued").await;
    let all = ["a/uploaded", "b/theirs", "b/uploaded", "b/waits", "c/large"];
    assert_eq!(bench.names(BLOB, "", None, 100).await, all);
    assert_eq!(bench.names(BLOB, "b/", None, 100).await, &all[1..4]);
    assert_eq!(bench.names(BLOB, "", Some("b/theirs"), 2).await, &all[2..4]);
    assert_eq!(bench.names(BLOB, "", Some("b/u"), 100).await, &all[2..]);
    assert_eq!(bench.names(BLOB, "", Some("c/large"), 100).await, [""; 0]);
    assert_eq!(bench.names(BLOB, "", None, 0).await, [""; 0]);
    assert_eq!(bench.names(AC, "00", None, 100).await, ["0011"]);

    let rows = bench.cache.list(bench.scope(), &BLOB, "", None, 100).await.expect("listed");
    let (meta, _) =
        bench.cache.head(bench.scope(), &named(BLOB, "c/large")).await.expect("asked").expect("here");
    let row = &rows[4];
    assert_eq!((row.len, row.modified_ms), (200_000, Some(meta.stored_ms)));
    assert_eq!(row.etag.as_ref(), Some(&meta.etag));
    assert_eq!(rows[1].len, 6);
    assert!(rows[1].etag.is_some() && rows[1].modified_ms.is_some(), "{:?}", rows[1]);
}

#[tokio::test(flavor = "multi_thread")]
async fn a_listing_in_small_steps_is_the_same_listing() {
    let bench = Bench::new(|_| {});
    let mut all = Vec::new();
    for number in 0..60 {
        let name = format!("{:02}", number * 37 % 60);
        if number % 3 > 0 {
            bench.fake.set(&format!("blob/{name}"), "upstream");
        }
        if number % 3 < 2 {
            bench.put(&named(BLOB, &name), b"here").await;
        }
        all.push(name);
    }
    all.sort();
    for limit in [1, 7, 59, 60, 61] {
        let mut found: Vec<String> = Vec::new();
        loop {
            let page = bench.names(BLOB, "", found.last().map(String::as_str), limit).await;
            let last = page.len() < limit;
            found.extend(page);
            if last {
                break;
            }
        }
        assert_eq!(found, all, "in steps of {limit}");
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn a_queued_delete_hides_what_is_upstream_and_a_later_put_shows_it_again() {
    let bench = Bench::new(|_| {});
    for name in ["a", "b", "c"] {
        bench.put(&named(BLOB, name), name.as_bytes()).await;
    }
    bench.drained().await;
    bench.deny_writes();
    for name in ["a", "b"] {
        bench.cache.delete(bench.scope(), &named(BLOB, name), Precondition::None).await.expect("deleted");
    }
    assert!(bench.fake.body("blob/a").is_some());
    assert_eq!(bench.names(BLOB, "", None, 1).await, ["c"], "the deleted ones are not counted");
    bench.put(&named(BLOB, "b"), b"again").await;
    let rows = bench.cache.list(bench.scope(), &BLOB, "", None, 10).await.expect("listed");
    assert_eq!(rows.iter().map(|row| (row.name.as_str(), row.len)).collect::<Vec<_>>(), [("b", 5), ("c", 1)]);
}

#[tokio::test(flavor = "multi_thread")]
async fn more_deletes_than_are_kept_of_one_scan_hide_what_they_delete() {
    let bench = Bench::new(|_| {});
    bench.deny_writes();
    for number in 0..4300 {
        bench.fake.set(&format!("blob/{number:04}"), "upstream");
        if number < 4200 {
            let key = named(BLOB, &format!("{number:04}"));
            bench.cache.delete(bench.scope(), &key, Precondition::None).await.expect("deleted");
        }
    }
    assert_eq!(bench.names(BLOB, "", None, 3).await, ["4200", "4201", "4202"]);
    assert_eq!(bench.names(BLOB, "", None, 1000).await.len(), 100);
}

#[tokio::test(flavor = "multi_thread")]
async fn an_upstream_that_does_not_answer_adds_nothing() {
    let bench = Bench::new(|settings| settings.first_byte = std::time::Duration::from_millis(50));
    bench.fake.set("blob/theirs", "x");
    assert_eq!(bench.names(BLOB, "", None, 10).await, ["theirs"]);
    bench.fake.hold_answers();
    bench.put(&named(BLOB, "ours"), b"x").await;
    assert_eq!(bench.names(BLOB, "", None, 10).await, ["ours"]);
    bench.fake.answers.add_permits(1 << 20);
}

#[tokio::test(flavor = "multi_thread")]
async fn names_of_others_are_not_listed() {
    let bench = Bench::at(std::sync::Arc::new(tempfile::tempdir().expect("a folder")), Fake::new(), |_| {});
    let local = |owner, namespace| Scope {
        owner: crate::key::Owner(owner),
        namespace: crate::key::Namespace::parse(namespace).expect("valid"),
        upstream: None,
        policy: crate::key::Policy::default(),
    };
    for (owner, namespace) in [(0, ""), (0, "ns"), (1, ""), (1, "ns")] {
        let key = named(BLOB, &format!("{owner}{namespace}"));
        let scope = local(owner, namespace);
        let put = bench.cache.put(&scope, key, Claim::default(), Attrs::default(), Precondition::None);
        put.await.expect("let in").commit().await.expect("committed");
    }
    let rows = bench.cache.list(&local(1, "ns"), &BLOB, "", None, 10).await.expect("listed");
    assert_eq!(rows.iter().map(|row| row.name.as_str()).collect::<Vec<_>>(), ["1ns"]);
}
