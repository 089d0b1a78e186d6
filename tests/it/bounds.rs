//! Every bound of the configuration, set small and driven past: the behaviour at the bound is the stated one.
//!
//! `entry_max` is also in `bad_input`, the connections' clocks too; deadlines are in `faults`.

use std::time::{Duration, Instant};

use crate::support::daemon::Daemon;
use crate::support::fault::Fault;
use crate::support::proxy::FaultProxy;
use crate::support::routes::{Entry, Route};
use crate::support::setup::Setup;
use crate::support::weed::{self, Keys, Weed};
use crate::support::{PATIENCE, Rng, free_addr, sha256, until};

fn blobs(rng: &mut Rng, count: usize, len: usize) -> Vec<Entry> {
    (0..count).map(|_| Route::Blob.entry(rng, len)).collect()
}

#[track_caller]
fn put_all(daemon: &Daemon, entries: &[Entry]) {
    for entry in entries {
        assert_eq!(daemon.send(entry.put()).status(), entry.route.taken(), "{entry:?}");
    }
}

fn is_hit(daemon: &Daemon, entry: &Entry) -> bool {
    let answer = daemon.send(entry.get());
    assert!(answer.status() == 404 || answer.whole() == Some(&entry.body), "{entry:?}: {}", answer.head.line);
    answer.status() == 200
}

fn hits(daemon: &Daemon, entries: &[Entry]) -> usize {
    entries.iter().filter(|entry| is_hit(daemon, entry)).count()
}

/// An S3 upstream that nobody answers for, so that everything stays queued.
fn nowhere() -> String {
    weed::url(free_addr(), "")
}

#[test]
fn entry_max_sheds_or_refuses() {
    let daemon = Setup::new().config("entry_max = \"10 KiB\"").start();
    let mut rng = Rng::new(41);
    let (fits, over) = (Route::Cas.entry(&mut rng, 10 << 10), Route::Cas.entry(&mut rng, (10 << 10) + 1));
    assert_eq!(daemon.send(fits.put()).status(), 200);
    assert!(is_hit(&daemon, &fits));
    let refused = daemon.send(over.put());
    assert_eq!(refused.status(), 413);
    assert!(refused.text().contains("entry_max"), "the words name the bound: {}", refused.text());
    assert!(!is_hit(&daemon, &over));
}

#[test]
fn memory_admits_what_fits_and_stays_within() {
    let daemon = Setup::new().config("memory = \"64 KiB\"\nmemory_entry_max = \"4 KiB\"").start();
    let mut rng = Rng::new(42);
    let (small, large) = (blobs(&mut rng, 100, 3_000), blobs(&mut rng, 3, 5_000));
    put_all(&daemon, &small);
    put_all(&daemon, &large);
    let tier = |daemon: &Daemon, tier: &str| daemon.stat(&format!("/protocols/blob/hits/{tier}"));
    for _ in 0..3 {
        assert_eq!(hits(&daemon, &large), 3);
    }
    assert_eq!(tier(&daemon, "memory"), 0, "over memory_entry_max: never from memory");
    assert!((0..10).any(|_| is_hit(&daemon, &small[99]) && tier(&daemon, "memory") > 0), "small ones are");
    assert_eq!(hits(&daemon, &small), 100);
    until("memory is within its bound", PATIENCE, || daemon.stat("/memory/bytes") <= 64 << 10);
}

#[test]
fn disk_evicts_the_oldest() {
    let daemon = Setup::new().config("disk = \"4 MiB\"\nmemory = 0\nmemory_entry_max = 0").start();
    let mut rng = Rng::new(43);
    // Both kinds of places: in the log, and as files.
    for len in [30_000, 100_000] {
        let entries = blobs(&mut rng, 120, len);
        for (number, entry) in entries.iter().enumerate() {
            assert_eq!(daemon.send(entry.put()).status(), entry.route.taken());
            // A little over it is evicted behind.
            assert!(daemon.stat("/disk/bytes") <= (4 << 20) * 17 / 16 + len as u64, "at entry {number}");
        }
        until("the bound is kept", PATIENCE, || daemon.stat("/disk/bytes") <= 4 << 20);
        let expected = (4 << 20) / (len + 8_192);
        assert!(hits(&daemon, &entries[120 - expected / 2..]) >= expected / 2, "the newest are there");
        assert_eq!(hits(&daemon, &entries[..10]), 0, "the oldest are not");
    }
    assert!(daemon.stat("/disk/evictions") > 100);
    let files = daemon.files("cache");
    let on_disk: u64 = files.iter().filter_map(|path| path.metadata().ok()).map(|meta| meta.len()).sum();
    assert!(on_disk <= 12 << 20, "dead bytes are bounded too: {on_disk}");
}

#[test]
fn disk_keep_free_evicts_down_to_nothing() {
    let setup = Setup::new()
        .config("disk = \"20 MiB\"\nentry_max = \"1 MiB\"\ndisk_keep_free = \"16 MiB\"\ndisk_floor = 0")
        .config("memory = 0\nmemory_entry_max = 0")
        .mounts("mount -t tmpfs -o size=32m,mode=700 none \"$DIR\"");
    let daemon = setup.start();
    let mut rng = Rng::new(44);
    let entries = blobs(&mut rng, 100, 300_000);
    put_all(&daemon, &entries);
    until("16 MiB are kept free", PATIENCE, || daemon.stat("/free_bytes") >= 15 << 20);
    assert!(is_hit(&daemon, &entries[99]));
    daemon.inside("dd if=/dev/zero of=\"$DIR/ballast\" bs=4k 2>/dev/null || true");
    until("the cache evicts down to nothing", PATIENCE, || {
        // Space is looked at when something is written.
        put_all(&daemon, &blobs(&mut rng, 1, 1_000));
        daemon.stat("/disk/entries") <= 2
    });
    assert_eq!(hits(&daemon, &entries), 0);
}

#[test]
fn inodes_keep_free_evicts() {
    let setup = Setup::new()
        .config("disk = \"200 MiB\"\ndisk_keep_free = 0\ninodes_keep_free = \"50 %\"\ndisk_floor = 0")
        .mounts("mount -t tmpfs -o size=200m,nr_inodes=1600,mode=700 none \"$DIR\"");
    let daemon = setup.start();
    let mut rng = Rng::new(45);
    // Large bodies are a file each.
    put_all(&daemon, &blobs(&mut rng, 1_000, 66_000));
    until("half of the inodes are free", PATIENCE, || {
        put_all(&daemon, &blobs(&mut rng, 1, 66_000));
        daemon.stat("/disk/evictions") > 0 && daemon.files("cache").len() <= 800
    });
    let last = blobs(&mut rng, 1, 66_000);
    put_all(&daemon, &last);
    assert_eq!(hits(&daemon, &last), 1);
    assert!(daemon.stat("/disk/entries") > 100, "and no more than that is evicted");
}

#[test]
fn disk_floor_sheds_puts() {
    let setup = Setup::new()
        .config(
            "disk = \"8 MiB\"\ndisk_keep_free = 0\ndisk_floor = \"16 MiB\"\nmemory = 0\nmemory_entry_max = 0",
        )
        .mounts("mount -t tmpfs -o size=32m,mode=700 none \"$DIR\"");
    let daemon = setup.start();
    let mut rng = Rng::new(46);
    let before = blobs(&mut rng, 2, 100_000);
    put_all(&daemon, &before);
    daemon.inside("dd if=/dev/zero of=\"$DIR/ballast\" bs=1M count=20 2>/dev/null");
    until("PUTs are shed", PATIENCE, || {
        put_all(&daemon, &blobs(&mut rng, 1, 100_000));
        daemon.stat("/sheds/disk_floor") > 0
    });
    let shed = blobs(&mut rng, 3, 1_000);
    put_all(&daemon, &shed);
    assert_eq!(hits(&daemon, &shed), 0, "nothing more is written");
    daemon.inside("rm \"$DIR/ballast\"");
    until("PUTs are kept again", PATIENCE, || {
        let entry = Route::Blob.entry(&mut rng, 1_000);
        put_all(&daemon, std::slice::from_ref(&entry));
        is_hit(&daemon, &entry)
    });
}

#[test]
fn queue_entries_sheds_but_keeps() {
    let daemon = Setup::new().config("queue_entries = 5").upstream(nowhere()).start();
    let entries = blobs(&mut Rng::new(47), 12, 1_000);
    put_all(&daemon, &entries);
    assert_eq!((daemon.queued(), daemon.stat("/sheds/queue_entries")), (5, 7));
    assert_eq!(hits(&daemon, &entries), 12, "not queued, but kept");
}

#[test]
fn queue_bytes_sheds_but_keeps() {
    let daemon = Setup::new().config("queue_bytes = \"300 KiB\"").upstream(nowhere()).start();
    let entries = blobs(&mut Rng::new(48), 12, 100_000);
    put_all(&daemon, &entries);
    assert!(daemon.stat("/queue/bytes") <= 300 << 10);
    let (queued, shed) = (daemon.queued(), daemon.stat("/sheds/queue_bytes"));
    assert!((2..=3).contains(&queued), "{queued}");
    assert_eq!(queued + shed, 12);
    assert_eq!(hits(&daemon, &entries), 12, "not queued, but kept");
}

/// A bucket with `entries` in it, its proxy, and a setup that reads through it.
fn filled(entries: &[Entry], config: &str) -> (Weed, FaultProxy, Setup) {
    let keys = Keys::new("one");
    let weed = Weed::start(&[&keys]);
    let desk = Setup::new().upstream(weed::url(weed.addr(), "")).keys(&keys).start();
    put_all(&desk, entries);
    desk.flush();
    let way = FaultProxy::to(weed.addr());
    let setup = Setup::new().config(config).upstream(weed::url(way.addr(), "")).keys(&keys);
    (weed, way, setup)
}

/// Holds a fill of the first of `entries` open, asks for another: that one must wait, miss, and come later. `first_byte`
/// is 2 s.
fn a_second_fill_waits(entries: &[Entry], config: &str, asks: usize) {
    let (_weed, way, setup) = filled(entries, config);
    let daemon = setup.start();
    way.set(Fault::Stall { after: 300_000 });
    std::thread::scope(|scope| {
        // The deadline lets it go with what has come by then, or with a miss; the fill goes on.
        let first = scope.spawn(|| daemon.send(entries[0].get()));
        // Not that it has asked: until it has its answer, and with it its room, the other could overtake it.
        until("the first fill receives", PATIENCE, || !daemon.drafts().is_empty());
        let began = Instant::now();
        assert_eq!(daemon.send(entries[1].get()).status(), 404, "it waits in order, until first_byte");
        assert!(began.elapsed() >= Duration::from_millis(1_900), "{:?}", began.elapsed());
        assert_eq!(way.count("GET", &entries[1].target[9..]), asks, "what it asks upstream");
        way.set(Fault::None);
        first.join().expect("the daemon answers");
    });
    until("both come when there is room", PATIENCE, || hits(&daemon, &entries[..2]) == 2);
}

#[test]
fn fills_wait_for_their_turn() {
    let entries = blobs(&mut Rng::new(49), 2, 2_000_000);
    a_second_fill_waits(&entries, "fills = 1\nfirst_byte = \"2 s\"\nstall = \"20 s\"", 0);
}

#[test]
fn fill_bytes_admits_one_of_any_size_and_no_second() {
    let entries = blobs(&mut Rng::new(50), 2, 2_000_000);
    // Its length is in the head of the upstream's answer; the body waits.
    a_second_fill_waits(&entries, "fill_bytes = \"1 MiB\"\nfirst_byte = \"2 s\"\nstall = \"20 s\"", 1);
}

#[test]
fn absences_are_remembered_within_their_bounds() {
    let (_weed, way, setup) =
        filled(&[], "absent_memory_entries = 1\nabsent_memory_age = \"1 h\"\nfirst_byte = \"30 s\"");
    let daemon = setup.start();
    let mut rng = Rng::new(51);
    let [one, two] = [Route::Cas.entry(&mut rng, 10), Route::Cas.entry(&mut rng, 10)];
    let asked = |entry: &Entry| {
        let name = &entry.target[entry.target.len() - 64..];
        assert_eq!(daemon.send(entry.get()).status(), 404);
        way.seen().iter().filter(|seen| seen.target.contains(name)).count()
    };
    let first = asked(&one);
    assert!(first >= 1);
    assert_eq!(asked(&one), first, "remembered");
    asked(&two);
    assert!(asked(&one) > first, "the oldest of one went");

    let blob = Route::Blob.entry(&mut rng, 10);
    let asked = |times: usize| {
        let before = way.count("GET", &blob.target[9..]) + way.count("HEAD", &blob.target[9..]);
        for _ in 0..times {
            assert_eq!(daemon.send(blob.get()).status(), 404);
        }
        way.count("GET", &blob.target[9..]) + way.count("HEAD", &blob.target[9..]) - before
    };
    assert!(asked(3) >= 3, "a name whose bytes may change is asked for each time");
}

#[test]
fn absences_are_forgotten_with_age() {
    let (_weed, way, setup) = filled(&[], "absent_memory_age = \"1 s\"\nfirst_byte = \"30 s\"");
    let daemon = setup.start();
    let entry = Route::Cas.entry(&mut Rng::new(52), 10);
    let name = &entry.target[entry.target.len() - 64..];
    let asked = || way.seen().iter().filter(|seen| seen.target.contains(name)).count();
    assert_eq!(daemon.send(entry.get()).status(), 404);
    let first = asked();
    until("it is asked for again", PATIENCE, || {
        assert_eq!(daemon.send(entry.get()).status(), 404);
        asked() > first
    });
}

/// An action result that names one output file.
fn action_result(hash: &str, len: usize) -> Vec<u8> {
    fn field(number: u8, bytes: &[u8]) -> Vec<u8> {
        let len = u8::try_from(bytes.len()).expect("short");
        // A length over 127 takes two bytes.
        let mut out = vec![number << 3 | 2];
        if len < 128 {
            out.push(len)
        } else {
            out.extend([len & 0x7f | 0x80, len >> 7])
        }
        out.extend_from_slice(bytes);
        out
    }
    let mut size = vec![2 << 3];
    let mut left = len;
    while left >= 128 {
        size.push(u8::try_from(left & 0x7f).expect("seven bits") | 0x80);
        left >>= 7;
    }
    size.push(u8::try_from(left).expect("seven bits"));
    let digest = [field(1, hash.as_bytes()), size].concat();
    field(2, &[field(1, b"out.bin"), field(2, &digest)].concat())
}

#[test]
fn facts_are_remembered_within_their_bounds() {
    let mut rng = Rng::new(53);
    // Over what is fetched beside an action result, so that it stays upstream only.
    let content = Route::Cas.entry(&mut rng, 5 << 20);
    let mut action = Route::Ac.entry(&mut rng, 1);
    action.body = action_result(&sha256(&content.body), content.body.len());
    let entries = [content.clone(), action.clone()];
    let name = &content.target[content.target.len() - 64..];

    for (config, remembered) in [
        ("first_byte = \"30 s\"", true),
        ("first_byte = \"30 s\"\nfact_memory_age = \"1 s\"", false),
        ("first_byte = \"30 s\"\nfact_memory_entries = 1", true),
    ] {
        let (_weed, way, setup) = filled(&entries, config);
        let daemon = setup.start();
        assert!(is_hit(&daemon, &action), "{config}");
        let asked = || way.count("HEAD", name);
        let first = asked();
        assert_eq!(first, 1, "{config}: the link is checked");
        if remembered {
            assert!(is_hit(&daemon, &action) && is_hit(&daemon, &action), "{config}");
            assert_eq!(asked(), first, "{config}: and known from then on");
        } else {
            until("the fact is forgotten, and asked for again", PATIENCE, || {
                assert!(is_hit(&daemon, &action), "{config}");
                asked() > first
            });
        }
    }
}

#[test]
fn connections_close_the_longest_idle() {
    let daemon = Setup::new().config("connections = 4").start();
    assert_eq!(daemon.put("/blob/ns/x", "y").status(), 200);
    let idle: Vec<_> = (0..12).map(|_| daemon.addr().connect().expect("it is accepted")).collect();
    for _ in 0..20 {
        assert_eq!(daemon.get("/blob/ns/x").whole(), Some(&b"y"[..]), "a newcomer gets in");
    }
    assert!(daemon.stat("/connections") <= 4);
    let closed = idle.into_iter().filter(|socket| {
        socket.patience(Duration::from_millis(100)).expect("a timeout can be set");
        let mut twin = socket.twin().expect("a descriptor");
        matches!(std::io::Read::read(&mut twin, &mut [0; 1]), Ok(0))
    });
    assert!(closed.count() >= 8, "who was idle longest is closed");
}

#[test]
fn connections_are_half_of_the_descriptors_by_default() {
    let daemon = Setup::new().nofile(300).start();
    let idle: Vec<_> = (0..200).map(|_| daemon.addr().connect().expect("it is accepted")).collect();
    assert_eq!(daemon.put("/blob/ns/x", vec![1; 300_000]).status(), 200);
    until("the bound is kept", PATIENCE, || daemon.stat("/connections") <= 150);
    assert!(daemon.stat("/connections") >= 140, "and used");
    drop(idle);
}

#[test]
fn quarantine_keeps_the_newest_within_its_bounds() {
    for (config, most) in
        [("quarantine_entries = 2", 2), ("quarantine_bytes = \"250 kB\"", 2), ("quarantine_age = \"1 s\"", 5)]
    {
        let setup = Setup::new().config("memory = 0\nmemory_entry_max = 0").config(config);
        let daemon = setup.start();
        let entries = blobs(&mut Rng::new(54), 6, 100_000);
        put_all(&daemon, &entries);
        for path in
            daemon.files("cache").iter().filter(|path| path.metadata().is_ok_and(|meta| meta.len() > 90_000))
        {
            let file = std::fs::File::options().write(true).open(path).expect("a file of the store");
            std::os::unix::fs::FileExt::write_all_at(&file, b"damaged", 50_000).expect("inside the file");
        }
        for entry in &entries {
            until("the damaged entry is a miss", PATIENCE, || daemon.send(entry.get()).status() == 404);
        }
        assert!(daemon.stat("/disk/corrupt") >= 6, "{config}");
        let set_aside = || {
            let files = daemon.files("cache");
            files.iter().filter(|path| path.components().any(|part| part.as_os_str() == "quarantine")).count()
        };
        until(&format!("the quarantine is within {config}"), PATIENCE, || set_aside() <= most);
    }
}
