//! Disks and buckets that fail: what is ours, no client is told.

use wire::batch_update_blobs_request::Request as Update;

use super::*;
use crate::cache::tests::fake::{Bench, Weather};
use crate::error::Kind;

const MIB: usize = 1 << 20;

/// More than memory keeps of one entry.
const LARGE: usize = MIB + MIB / 2;

/// Of a daemon with a bucket.
fn api_of(bench: &Bench) -> Api {
    let desk = Desk::over(bench.cache.clone(), Settings::default(), Arc::clone(&bench.dir));
    Api::over(desk, Some(UpstreamId(0)))
}

fn naming(data: &[u8]) -> Vec<u8> {
    wire::ActionResult { stdout_digest: Some(digest(data)), ..wire::ActionResult::default() }.encode_to_vec()
}

/// Changes a byte in the middle of the one large file of a desk.
fn damage(desk: &Desk) {
    let shards = std::fs::read_dir(desk.dir.path().join("cache/files")).expect("a folder");
    let files = shards.flat_map(|shard| std::fs::read_dir(shard.expect("an entry").path()).expect("a shard"));
    let files: Vec<_> = files.map(|file| file.expect("an entry").path()).collect();
    let [file] = &files[..] else { panic!("{files:?}") };
    let mut bytes = std::fs::read(file).expect("read");
    let middle = bytes.len() / 2;
    bytes[middle] ^= 1;
    // In place: it is open already.
    std::fs::write(file, bytes).expect("written");
}

async fn update(api: &Api, blobs: &[&[u8]]) -> Vec<i32> {
    let one = |data: &&[u8]| Update { digest: Some(digest(data)), data: data.to_vec(), compressor: 0 };
    let requests = blobs.iter().map(one).collect();
    let request = wire::BatchUpdateBlobsRequest { requests, ..wire::BatchUpdateBlobsRequest::default() };
    let answer: wire::BatchUpdateBlobsResponse =
        api.send(&format!("{CAS}/BatchUpdateBlobs"), &[request]).await.one();
    answer.responses.iter().map(|one| one.status.as_ref().expect("always there").code).collect()
}

#[tokio::test]
async fn a_damaged_blob_breaks_off_before_the_damage_and_is_gone() {
    let data = noise("damaged", LARGE);
    let zstd = format!("compressed-{}", resource(&data).replacen("blobs/", "blobs/zstd/", 1));
    for way in ["read", "zstd", "batch"] {
        let api = Api::new();
        api.store(&data).await;
        assert_eq!(api.update_result("", b"action", &naming(&data)).await.status.code(), Code::Ok);
        damage(&api.desk);
        match way {
            "read" => {
                let called = api.read(&resource(&data), 0, 0).await;
                assert_eq!(called.status.code(), Code::Aborted, "{:?}", called.status);
                assert!(!called.data().is_empty() && data.starts_with(&called.data()));
            }
            "zstd" => assert_eq!(api.read(&zstd, 0, 0).await.status.code(), Code::Aborted),
            _ => {
                let answer = api.batch_read(&[&data, b""], &[]).await;
                let codes =
                    answer.responses.iter().map(|one| one.status.as_ref().expect("always there").code);
                assert_eq!(codes.collect::<Vec<_>>(), [Code::NotFound as i32, 0]);
                assert!(answer.responses[0].data.is_empty());
            }
        }
        api.read(&resource(&data), 0, 0).await.assert_refused(Code::NotFound, "not in the cache");
        api.get_result("", b"action").await.assert_refused(Code::NotFound, "not in the cache");
        assert!(!api.has(&data).await, "{way}");
        assert_eq!(
            api.write(&pieces(&upload("u", &data), &data, 0, MIB)).await.committed(),
            data.len() as i64
        );
        assert!(api.read(&resource(&data), 0, 0).await.data() == data);
        assert_eq!(api.get_result("", b"action").await.status.code(), Code::Ok);
        api.nothing_left(way).await;
    }
}

#[tokio::test]
async fn a_full_disk_takes_every_write_and_is_a_miss() {
    let disk = store::Settings { disk_floor: u64::MAX, ..store::Settings::default() };
    let api = Api::over(Desk::on(disk, cache::Settings::default(), Settings::default()), None);
    let large = noise("large", LARGE);
    let zipped = noise("zipped", LARGE);
    assert_eq!(
        api.write(&[piece(&upload("u", &large), 0, &large, true)]).await.committed(),
        large.len() as i64
    );
    assert_eq!(
        api.write(&pieces(&upload("u", &large), &large, 0, MIB)).await.committed(),
        large.len() as i64
    );
    let compressed = compress(&zipped);
    assert_eq!(api.write(&pieces(&zstd_upload("u", &zipped), &compressed, 0, MIB)).await.committed(), -1);
    assert_eq!(update(&api, &[&large, b"small"]).await, [0, 0]);
    let result = api.update_result("", b"action", &naming(&large)).await;
    assert_eq!(result.status.code(), Code::Ok);
    assert!(api.desk.shed(Shed::DiskFloor) >= 4);
    for data in [&large, &zipped] {
        assert!(!api.has(data).await);
        api.read(&resource(data), 0, 0).await.assert_refused(Code::NotFound, "not in the cache");
    }
    api.get_result("", b"action").await.assert_refused(Code::NotFound, "not in the cache");
    api.nothing_left("there was no room").await;
}

/// A client that breaks off there begins again, since nothing was kept: nothing it is told fails its build.
#[tokio::test]
async fn an_upload_to_a_full_disk_that_breaks_off_begins_again() {
    let disk = store::Settings { disk_floor: u64::MAX, ..store::Settings::default() };
    let api = Api::over(Desk::on(disk, cache::Settings::default(), Settings::default()), None);
    let data = noise("large", LARGE);
    let name = upload("u", &data);
    let mut held = api.hold_write();
    assert!(held.send(framed(&pieces(&name, &data, 0, MIB / 2)[..2])).await);
    held.break_off().await.assert_refused(Code::Cancelled, "broke off");
    let (committed, is_complete) = api.status_of(&name).await;
    assert!(!is_complete);
    let rest = api.write(&pieces(&name, &data, committed as usize, MIB)).await;
    assert_eq!(rest.committed(), data.len() as i64);
    api.nothing_left("there was no room").await;
}

#[tokio::test]
async fn what_is_over_entry_max_is_refused_before_it_is_sent() {
    let settings = cache::Settings { entry_max: 1000, ..cache::Settings::default() };
    let api = Api::over(Desk::with(settings), None);
    let data = noise("over", 1001);
    for name in [upload("u", &data), zstd_upload("u", &data)] {
        for is_last in [false, true] {
            let body = framed(&[piece(&name, 0, &data, is_last)]);
            let mut held = api.hold_write();
            assert!(!held.send(body.slice(..body.len() - data.len())).await, "no byte of it is asked for");
            held.ended().await.assert_refused(Code::InvalidArgument, "entry_max");
        }
    }
    assert_eq!(update(&api, &[&data, b"small"]).await, [Code::InvalidArgument as i32, 0]);
    assert!(!api.has(&data).await && api.has(b"small").await);
    api.nothing_left("it was refused").await;
}

#[tokio::test(flavor = "multi_thread")]
async fn a_bucket_that_doesnt_answer_is_a_miss_and_takes_every_write() {
    let bench = Bench::new(|settings| settings.first_byte = Duration::from_millis(50));
    let api = api_of(&bench);
    bench.fake.hold_answers();
    let data = noise("unknown", LARGE);
    assert!(!api.has(&data).await);
    api.get_result("", b"action").await.assert_refused(Code::NotFound, "not in the cache");
    api.read(&resource(&data), 0, 0).await.assert_refused(Code::NotFound, "not in the cache");
    api.read(&resource(&data), 1000, 5).await.assert_refused(Code::NotFound, "not in the cache");
    let root = wire::GetTreeRequest { root_digest: Some(digest(b"root")), ..wire::GetTreeRequest::default() };
    api.send(&format!("{CAS}/GetTree"), &[root]).await.assert_refused(Code::NotFound, "not in the cache");
    let answer = api.batch_read(&[b"one", b"two"], &[]).await;
    for one in answer.responses {
        assert_eq!(one.status.expect("always there").code, Code::NotFound as i32);
    }
    assert_eq!(api.write(&pieces(&upload("u", &data), &data, 0, MIB)).await.committed(), data.len() as i64);
    assert_eq!(update(&api, &[b"one"]).await, [0]);
    assert_eq!(api.update_result("", b"action", &naming(&data)).await.status.code(), Code::Ok);
    assert!(api.has(&data).await);
    assert_eq!(api.get_result("", b"action").await.status.code(), Code::Ok);
    assert_eq!(bench.cache.queue_summary().await.entries, 3);
}

#[tokio::test(flavor = "multi_thread")]
async fn what_a_bucket_garbles_is_never_handed_out_whole() {
    let first = Bench::new(|_| {});
    let (small, large) = (noise("small", 1000), noise("large", LARGE));
    let api = api_of(&first);
    api.store(&small).await;
    api.store(&large).await;
    first.drained().await;
    for weather in [Weather::Lies, Weather::Resets { after: 0, times: u32::MAX }] {
        *first.fake.weather.lock() = weather.clone();
        for data in [&small, &large] {
            let second = first.beside();
            let api = api_of(&second);
            let called = api.read(&resource(data), 0, 0).await;
            let code = called.status.code();
            assert!(matches!(code, Code::NotFound | Code::Aborted), "{weather:?}: {:?}", called.status);
            let got = called.data();
            assert!(got.len() < data.len() && data.starts_with(&got), "{weather:?}: {} bytes", got.len());
            let second = first.beside();
            let api = api_of(&second);
            let answer = api.batch_read(&[data], &[1]).await;
            let status = answer.responses[0].status.as_ref().expect("always there");
            assert_eq!(
                (status.code, answer.responses[0].data.len()),
                (Code::NotFound as i32, 0),
                "{weather:?}"
            );
        }
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn a_result_in_the_bucket_is_a_hit_only_with_its_blobs() {
    let first = Bench::new(|_| {});
    let api = api_of(&first);
    api.store(b"out").await;
    assert_eq!(api.update_result("", b"action", &naming(b"out")).await.status.code(), Code::Ok);
    first.drained().await;
    let second = first.beside();
    assert_eq!(api_of(&second).get_result("", b"action").await.status.code(), Code::Ok);
    first.fake.objects.lock().retain(|name, _| !name.contains(&digest(b"out").hash));
    let third = first.beside();
    let api = api_of(&third);
    api.get_result("", b"action").await.assert_refused(Code::NotFound, "not in the cache");
    assert_eq!(update(&api, &[b"out"]).await, [0]);
    assert_eq!(api.get_result("", b"action").await.status.code(), Code::Ok);
}

/// Bazel repeats `UNAVAILABLE` for three seconds an action; no trouble of ours may look like it.
#[tokio::test]
async fn trouble_of_ours_is_a_miss_to_who_reads() {
    let api = Api::new();
    for (kind, code) in [
        (Kind::Invalid, Code::InvalidArgument),
        (Kind::Mismatch, Code::InvalidArgument),
        (Kind::TooLarge, Code::InvalidArgument),
        (Kind::Unsupported, Code::InvalidArgument),
        (Kind::Denied, Code::PermissionDenied),
        (Kind::Precondition, Code::FailedPrecondition),
        (Kind::NoSpace, Code::NotFound),
        (Kind::Unavailable, Code::NotFound),
        (Kind::Corrupt, Code::NotFound),
        (Kind::Internal, Code::NotFound),
    ] {
        let answer = api.frontend.refuse_request(&Error::new(kind, "some words"));
        Called::read(answer).await.assert_refused(code, "some words");
    }
}
