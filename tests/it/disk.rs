//! The table of disk faults: what a client of each frontend must see while the daemon's own disk is full, without
//! inodes, read-only, deleted under it, damaged or littered. A sick disk never breaks an upstream hit, never fails a
//! PUT, never serves a wrong byte.

use std::fs;
use std::os::unix::fs::FileExt;
use std::path::{Path, PathBuf};

use crate::support::daemon::Daemon;
use crate::support::http::Answer;
use crate::support::routes::{Entry, Route};
use crate::support::setup::Setup;
use crate::support::weed::{self, Keys, Weed};
use crate::support::{PATIENCE, Rng, say, until};

/// How the disk is made sick while the daemon runs.
struct Row {
    name: &'static str,
    /// What makes its folder, before it starts.
    mounts: &'static str,
    config: &'static str,
    /// What makes it sick, in its mount name space.
    sicken: &'static str,
    sick_from_start: bool,
    /// What makes it well again, if anything can while it runs.
    heal: Option<&'static str>,
}

const TMPFS: &str = "mount -t tmpfs -o size=32m,nr_inodes=2000,mode=700 none \"$DIR\"";
/// Small bounds, and none that would stop writing before the filesystem itself does.
const NO_FLOOR: &str = "disk = \"16 MiB\"\ndisk_floor = 0\ndisk_keep_free = 0\ninodes_keep_free = 0\nmemory = 0\nmemory_entry_max = 0";
const DEFAULT_FLOOR: &str = "disk = \"16 MiB\"\nmemory = 0\nmemory_entry_max = 0";

const TABLE: [Row; 5] = [
    Row {
        name: "full",
        mounts: TMPFS,
        config: NO_FLOOR,
        sicken: "dd if=/dev/zero of=\"$DIR/ballast\" bs=4k 2>/dev/null || true",
        sick_from_start: false,
        heal: Some("rm \"$DIR/ballast\""),
    },
    Row {
        name: "below disk_floor",
        mounts: TMPFS,
        config: DEFAULT_FLOOR,
        sicken: "true",
        sick_from_start: true,
        heal: None,
    },
    Row {
        name: "out of inodes",
        mounts: TMPFS,
        config: NO_FLOOR,
        sicken: "mkdir \"$DIR/many\"; cd \"$DIR/many\"; seq 3000 | xargs touch 2>/dev/null || true",
        sick_from_start: false,
        heal: Some("rm -r \"$DIR/many\""),
    },
    Row {
        // As a kernel does it to a filesystem with errors: also for files that are open for writing.
        name: "read-only",
        mounts: "truncate -s 48M \"$DIR/../image\" && mkfs.ext4 -q \"$DIR/../image\" && \
                 mount -o loop \"$DIR/../image\" \"$DIR\"",
        config: NO_FLOOR,
        sicken: "mount -o remount,abort \"$DIR\"",
        sick_from_start: false,
        heal: None,
    },
    Row {
        name: "cache folder deleted",
        mounts: "true",
        config: NO_FLOOR,
        sicken: "rm -r \"$DIR/cache\"",
        sick_from_start: false,
        heal: Some("true"),
    },
];

const SMALL: usize = 1_000;
const LARGE: usize = 600_000;

fn right(answer: &Answer, entry: &Entry) -> bool {
    answer.status() == 200 && answer.whole() == Some(&entry.body)
}

/// Not a clean wrong answer: right, a miss, or broken off.
fn not_wrong(answer: &Answer, entry: &Entry) -> bool {
    right(answer, entry) || answer.status() == 404 || answer.broken.is_some()
}

/// Entries of every route and both sizes.
fn entries(rng: &mut Rng) -> Vec<Entry> {
    Route::ALL.into_iter().flat_map(|route| [SMALL, LARGE].map(|len| route.entry(rng, len))).collect()
}

fn put_all(daemon: &Daemon, entries: &[Entry]) {
    for entry in entries {
        assert_eq!(daemon.send(entry.put()).status(), entry.route.taken(), "{entry:?}");
    }
}

#[test]
fn a_sick_disk_breaks_neither_hits_nor_puts() {
    let keys = Keys::new("one");
    let weed = Weed::start(&[&keys]);
    let mut rng = Rng::new(21);
    let url = weed::url(weed.addr(), "");
    let desk = Setup::new().upstream(&url).keys(&keys).start();
    let mut wrong = Vec::new();
    for row in &TABLE {
        let (upstream, local, new, after) =
            (entries(&mut rng), entries(&mut rng), entries(&mut rng), entries(&mut rng));
        put_all(&desk, &upstream);
        desk.flush();
        let setup = Setup::new().config(row.config).mounts(row.mounts).upstream(&url).keys(&keys);
        if row.mounts.contains("loop") && !loops(&setup) {
            say("skipped: a read-only filesystem takes root and a loop device");
            continue;
        }
        let daemon = setup.start();
        put_all(&daemon, &local);
        until("the queue drains", PATIENCE, || daemon.queued() == 0);
        // What was shed by a disk that was sick from the beginning was never promised.
        let local: Vec<Entry> =
            local.into_iter().filter(|entry| right(&daemon.send(entry.get()), entry)).collect();
        assert_eq!(local.is_empty(), row.sick_from_start, "{}", row.name);
        daemon.inside(row.sicken);

        let mut note = |what: &str, entry: &Entry, answer: &Answer, held: bool| {
            if !held {
                wrong.push(format!(
                    "{} × {what} × {entry:?}: {} {:?}",
                    row.name, answer.head.line, answer.broken
                ));
            }
        };
        for entry in upstream.iter().chain(&local) {
            let head = daemon.send(entry.ask("HEAD"));
            note("HEAD", entry, &head, head.status() == 200);
            let mut answer = daemon.send(entry.get());
            if !right(&answer, entry) && not_wrong(&answer, entry) {
                // The first reader of a damaged large entry may see it break; it is fetched again.
                answer = daemon.send(entry.get());
            }
            note("GET", entry, &answer, right(&answer, entry));
        }
        for entry in &new {
            let answer = daemon.send(entry.put());
            note("PUT", entry, &answer, answer.status() == entry.route.taken());
            let answer = daemon.send(entry.get());
            note("GET of what was put", entry, &answer, not_wrong(&answer, entry));
        }
        if let Some(heal) = row.heal {
            daemon.inside(heal);
            until("the disk is used again", PATIENCE, || {
                put_all(&daemon, &after);
                after.iter().all(|entry| right(&daemon.send(entry.get()), entry))
            });
            until("the queue drains", PATIENCE, || daemon.queued() == 0);
        }
        for line in daemon.access().iter().filter(|line| line.status >= 500) {
            wrong.push(format!("{}: {line:?}", row.name));
        }
    }
    assert!(wrong.is_empty(), "{} wrong:\n{}", wrong.len(), wrong.join("\n"));
}

/// Whether a loop device can be had for the row that needs one.
fn loops(setup: &Setup) -> bool {
    setup.shell_in_mounts("true")
}

/// What is done to the files of a stopped or running daemon.
#[derive(Debug, Clone, Copy)]
pub(crate) enum Damage {
    Flip,
    Truncate,
    Litter,
}

impl Damage {
    pub(crate) fn to(self, folder: &Path) {
        const SPARED: [&str; 4] = ["VERSION", "lock", "CACHEDIR.TAG", "larder.sock"];
        let spared =
            |path: &PathBuf| path.file_name().is_some_and(|name| SPARED.iter().any(|spared| name == *spared));
        let files: Vec<_> = crate::support::daemon::files(folder);
        for path in files.iter().filter(|path| !spared(path)) {
            let len = fs::metadata(path).map_or(0, |meta| meta.len());
            match self {
                Self::Flip if len > 0 => {
                    let file =
                        fs::File::options().read(true).write(true).open(path).expect("a file of the store");
                    // Somewhere in what was written, for a segment may have room ahead of its end.
                    for at in [len / 3, len / 2, len - 1] {
                        let mut byte = [0];
                        file.read_exact_at(&mut byte, at).expect("inside the file");
                        file.write_all_at(&[byte[0] ^ 0x10], at).expect("inside the file");
                    }
                }
                Self::Truncate => {
                    let file = fs::File::options().write(true).open(path).expect("a file of the store");
                    file.set_len(len / 2).expect("it can be cut");
                }
                Self::Flip | Self::Litter => {}
            }
        }
        if let Self::Litter = self {
            let mut folders: Vec<PathBuf> =
                files.iter().filter_map(|path| path.parent()).map(Path::to_path_buf).collect();
            folders.push(folder.to_path_buf());
            folders.sort();
            folders.dedup();
            for folder in folders {
                for name in
                    ["Thumbs.db", ".DS_Store", "core", "0", "ffffffffffffffffffffffffffffffff-1", "a b\u{1}c"]
                {
                    fs::write(folder.join(name), b"not yours").expect("a file beside the store's");
                }
                fs::create_dir_all(folder.join("lost+found/deep")).expect("a folder beside the store's");
                let _ = std::os::unix::fs::symlink("/etc/passwd", folder.join("link"));
            }
        }
    }
}

/// After any damage to the cache folder, running or stopped, an upstream heals everything.
#[test]
fn a_damaged_cache_is_fetched_again() {
    let keys = Keys::new("one");
    let weed = Weed::start(&[&keys]);
    let mut rng = Rng::new(22);
    for damage in [Damage::Flip, Damage::Truncate, Damage::Litter] {
        for running in [true, false] {
            let entries = entries(&mut rng);
            let daemon =
                Setup::new().config(NO_FLOOR).upstream(weed::url(weed.addr(), "")).keys(&keys).start();
            put_all(&daemon, &entries);
            daemon.flush();
            let cache = daemon.setup().dir().join("cache");
            let daemon = if running {
                damage.to(&cache);
                daemon
            } else {
                let setup = daemon.kill();
                damage.to(&cache);
                setup.start()
            };
            for entry in &entries {
                let first = daemon.send(entry.get());
                assert!(
                    not_wrong(&first, entry),
                    "{damage:?}, running: {running}: {entry:?} {:?}",
                    first.head
                );
                until("the entry is healed", PATIENCE, || right(&daemon.send(entry.get()), entry));
            }
            put_all(&daemon, &entries);
            assert!(daemon.access().iter().all(|line| line.status < 500));
        }
    }
}

/// Without an upstream nothing heals what is damaged, but nothing wrong is served, and new entries are kept.
#[test]
fn a_damaged_folder_without_upstream_serves_nothing_wrong() {
    let mut rng = Rng::new(23);
    for damage in [Damage::Flip, Damage::Truncate, Damage::Litter] {
        for running in [true, false] {
            let (old, new) = (entries(&mut rng), entries(&mut rng));
            let daemon = Setup::new().config(NO_FLOOR).start();
            put_all(&daemon, &old);
            let dir = daemon.setup().dir();
            let daemon = if running {
                damage.to(&dir);
                daemon
            } else {
                let setup = daemon.kill();
                damage.to(&dir);
                setup.start()
            };
            for entry in &old {
                for _ in 0..2 {
                    let answer = daemon.send(entry.get());
                    assert!(
                        not_wrong(&answer, entry),
                        "{damage:?}, running: {running}: {entry:?} {:?}",
                        answer.head
                    );
                    if let Damage::Litter = damage {
                        assert!(right(&answer, entry), "litter damages nothing: {entry:?}");
                    }
                }
            }
            put_all(&daemon, &new);
            for entry in &new {
                assert!(right(&daemon.send(entry.get()), entry), "{damage:?}, running: {running}: {entry:?}");
            }
        }
    }
}
