//! Upstreams and bounds that change while the cache runs.

use super::fake::{BLOB, Fake, Weather};
use super::*;
use crate::key::UpstreamId;
use crate::store;
use crate::upstream::{Remote, Upstream};

fn stores() -> store::Settings {
    store::Settings {
        disk: 1 << 30,
        disk_keep_free: 0,
        disk_floor: 0,
        background: false,
        ..Default::default()
    }
}

impl Bench {
    /// Applies other upstreams and bounds, on a thread of its own as the daemon does.
    async fn apply(&self, remotes: Vec<Remote>, change: impl FnOnce(&mut Settings)) {
        let (cache, mut settings) = (self.cache.clone(), self.cache.settings().clone());
        change(&mut settings);
        let applied =
            tokio::task::spawn_blocking(move || cache.apply(settings, [&stores(), &stores()], remotes));
        applied.await.expect("it is applied");
    }

    /// The bench's bucket, opened anew: with the id of its slot.
    fn again(&self, id: UpstreamId) -> Remote {
        Remote::over(Arc::clone(&self.fake) as Arc<dyn Upstream>, id, "fake", &self.runtime)
    }

    fn remote(&self) -> Remote {
        self.cache.inner.remotes.find(UpstreamId(0)).map(|remote| remote.clone()).expect("it is configured")
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn what_is_queued_for_a_place_that_is_gone_waits_until_it_is_back() {
    let bench = Bench::new(|_| {});
    *bench.fake.weather.lock() = Weather::Denies;
    let tag = bench.remote().tag();
    assert_eq!(bench.put(&named(BLOB, "waits"), b"one").await.outcome, Outcome::Queued);
    bench.apply(Vec::new(), |_| {}).await;
    assert!(bench.cache.status().await.upstreams.is_empty());
    assert_eq!(
        bench.put(&named(BLOB, "local"), b"two").await.outcome,
        Outcome::Kept,
        "nothing new goes there"
    );
    *bench.fake.weather.lock() = Weather::Fine;
    assert_eq!(bench.get(&named(BLOB, "waits")).await, Some(Bytes::from_static(b"one")), "it is served");
    let rows = bench.cache.queue(9).await;
    assert_eq!(rows.len(), 1);
    assert_eq!(rows[0].upstream, "(not configured any more)");
    assert_eq!(bench.fake.body("blob/waits"), None);

    let (id, slot) = bench.cache.slot(tag).expect("its slot is kept");
    assert!(id == UpstreamId(0) && slot.is_none());
    bench.apply(vec![bench.again(id)], |_| {}).await;
    bench.drained().await;
    assert_eq!(bench.fake.body("blob/waits"), Some(Bytes::from_static(b"one")));
    assert_eq!(bench.fake.body("blob/local"), None);
    assert_eq!(bench.cache.slots(), 1);
}

#[tokio::test(flavor = "multi_thread")]
async fn a_replaced_upstream_goes_on_where_the_old_one_was() {
    let bench = Bench::new(|_| {});
    let old = bench.remote();
    for round in 0..20 {
        let key = named(BLOB, &format!("n{round}"));
        bench.put(&key, format!("{round}").as_bytes()).await;
        bench.apply(vec![bench.again(UpstreamId(0))], |_| {}).await;
    }
    bench.drained().await;
    assert!(!bench.remote().is(&old));
    for round in 0..20 {
        assert_eq!(bench.fake.body(&format!("blob/n{round}")), Some(Bytes::from(format!("{round}"))));
    }
    assert_eq!(bench.cache.stats().uploads.read(), 20, "each once");
}

#[tokio::test(flavor = "multi_thread")]
async fn a_new_place_has_a_slot_and_an_uploader_of_its_own() {
    let bench = Bench::new(|_| {});
    let beside = Fake::new();
    let second =
        Remote::over(Arc::clone(&beside) as Arc<dyn Upstream>, UpstreamId(1), "second", &bench.runtime);
    bench.apply(vec![bench.remote(), second], |_| {}).await;
    let scope = Scope { upstream: Some(UpstreamId(1)), ..bench.scope().clone() };
    let body = Bytes::from_static(b"for the second");
    let claim = Claim { len: Some(body.len() as u64), digest: None };
    let put = bench.cache.put(&scope, named(BLOB, "x"), claim, Attrs::default(), Precondition::None);
    let mut put = put.await.expect("it is let in");
    put.write(body.clone()).await.expect("it is taken");
    put.commit().await.expect("it is committed");
    bench.drained().await;
    assert_eq!((beside.body("blob/x"), bench.fake.body("blob/x")), (Some(body), None));
}

#[tokio::test(flavor = "multi_thread")]
async fn bounds_count_from_now_on() {
    let bench = Bench::new(|_| {});
    let same = || vec![bench.remote()];
    *bench.fake.weather.lock() = Weather::Denies;
    bench.apply(same(), |settings| (settings.queue_entries, settings.entry_max) = (1, 100)).await;
    assert_eq!(bench.put(&named(BLOB, "a"), b"a").await.outcome, Outcome::Queued);
    assert!(matches!(bench.put(&named(BLOB, "b"), b"b").await.outcome, Outcome::Shed(_)));
    bench.apply(same(), |settings| settings.queue_entries = 2).await;
    assert_eq!(bench.put(&named(BLOB, "c"), b"c").await.outcome, Outcome::Queued);
    assert_eq!(bench.cache.settings().entry_max, 100);
    assert!(bench.cache.status().await.memory.entries > 0);
    bench.apply(same(), |settings| settings.memory.memory = 0).await;
    assert_eq!(bench.cache.status().await.memory.entries, 0);
    assert_eq!(bench.get(&named(BLOB, "a")).await, Some(Bytes::from_static(b"a")), "it is on disk");
}
