//! Listing keys.

use std::collections::BTreeMap;

use super::*;

impl Bench {
    /// All keys with `prefix`, with their generations and whether they are deletes.
    async fn scan(&self, prefix: &str) -> BTreeMap<String, (Generation, bool)> {
        let seen = self.store.scan(prefix.as_bytes(), BTreeMap::new(), |all, seen| {
            let key = String::from_utf8(seen.key.to_vec()).expect("a name");
            assert_eq!(seen.id, id(&key));
            all.insert(key, (seen.generation, seen.deleted));
        });
        seen.await.expect("scanned")
    }
}

#[tokio::test]
async fn a_scan_sees_what_is_here_and_nothing_else() {
    let bench = Bench::new(settings()).await;
    assert_eq!(bench.scan("").await, BTreeMap::new());
    let mut expected = BTreeMap::new();
    for number in 0..300 {
        let name = format!("{}/{number}", if number % 2 == 0 { "even" } else { "odd" });
        let body = bytes(number * 7, number as u64);
        let generation = if body.len() <= 1024 {
            bench.put(&name, &body).await
        } else {
            bench.put_large(&name, &body).await
        };
        expected.insert(name, (generation, false));
    }
    for number in (0..300).step_by(5) {
        let name = format!("{}/{number}", if number % 2 == 0 { "even" } else { "odd" });
        if number % 3 == 0 {
            expected.insert(name.clone(), (bench.put(&name, b"again").await, false));
        } else {
            bench.store.remove(id(&name), None).await.expect("removed");
            expected.remove(&name);
        }
    }
    let even: BTreeMap<_, _> =
        expected.clone().into_iter().filter(|(name, _)| name.starts_with("even")).collect();
    assert_eq!(bench.scan("").await, expected);
    assert_eq!(bench.scan("even").await, even);
    assert_eq!(bench.scan("evenly").await, BTreeMap::new());
    assert!(bench.segments().len() > 1, "or it tests too little");
    while bench.store.compact_once() {}
    assert_eq!(bench.scan("").await, expected);
    let bench = bench.kill().await;
    assert_eq!(bench.scan("").await, expected);
    let bench = bench.restart().await;
    assert_eq!(bench.scan("even").await, even);
}

#[tokio::test]
async fn a_scan_says_which_are_queued_deletes() {
    let bench = Bench::with_role(Role::Outbox, settings()).await;
    bench.put("here", b"x").await;
    bench.store.put_deleted(queued("gone", 0, QueueTag(1))).await.expect("queued");
    let deleted: Vec<bool> = bench.scan("").await.into_values().map(|(_, deleted)| deleted).collect();
    assert_eq!(deleted, [true, false], "gone, then here");
}

#[tokio::test]
async fn what_cannot_be_read_is_left_out() {
    let bench = Bench::new(settings()).await;
    for number in 0..200 {
        bench.put(&format!("{number}"), &bytes(1000, number)).await;
    }
    let all = bench.scan("").await.len();
    assert_eq!(all, 200);
    std::fs::remove_file(&bench.segments()[0]).expect("removed");
    let rest = bench.scan("").await.len();
    assert!(rest > 0 && rest < all, "{rest} of {all}");
}
