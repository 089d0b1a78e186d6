//! Hundreds of random edits under load, a third of them broken: the last good one is always in force, and what is wrong
//! with a broken one is always said. `LARDER_RELOAD_EDITS` says how many.

use std::fs;
use std::os::unix::fs::symlink;
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, AtomicU64, Ordering};

use tempfile::TempDir;

use super::{is_in_force, marked, replace, start, until_in_force, until_refused};
use crate::support::daemon::Daemon;
use crate::support::http::Request;
use crate::support::wire::Addr;
use crate::support::{Rng, say};

const EDITS: u64 = 60;
const SEED: u64 = 20_261_128;

/// What is broken, the line of it that is to blame and where in that, and the words that are said of it.
const BROKEN: [(&str, u64, &str, &[&str]); 9] = [
    ("memory = \n", 0, "", &["is not TOML"]),
    ("[upstreams.team\n", 0, "", &["is not TOML"]),
    ("fills = 3\nqueue_entires = 3\n", 1, "1:", &["`queue_entires`", "`queue_entries` meant"]),
    ("first_byte = \"5\"\n", 0, "14:", &["`first_byte`", "\"1.5 s\""]),
    ("fills = 0\n", 0, "9:", &["`fills`", "at least 1"]),
    ("disk = \"1 GiB\"\nentry_max = \"1 GiB\"\n", 1, "13:", &["`entry_max`", "raise `disk`"]),
    ("upstream = \"nobody\"\n", 0, "12:", &["`nobody` is not a URL"]),
    ("[namespaces.web]\nprefix = \"x\"\n", 1, "10:", &["`namespaces.web.prefix`", "name that"]),
    ("durability = \"prower\"\n", 0, "14:", &["`durability`", "\"process\", \"power\""]),
];

/// A right configuration, with bounds that leave the load room.
fn right(rng: &mut Rng, home: &TempDir) -> String {
    let mut pick = |count: u64| rng.next() % count;
    let mut text = String::new();
    let mut say = |line: String| text.push_str(&line);
    for (key, unit, least, most) in [
        ("memory", " MiB", 0, 64),
        ("memory_entry_max", " KiB", 1, 512),
        ("disk", " GiB", 1, 20),
        ("queue_bytes", " MiB", 0, 100),
        ("fill_bytes", " MiB", 1, 100),
        ("quarantine_bytes", " MiB", 0, 10),
        ("partial_uploads_bytes", " MiB", 1, 100),
    ] {
        if pick(2) == 0 {
            say(format!("{key} = \"{}{unit}\"\n", least + pick(most - least)));
        }
    }
    for (key, most) in
        [("fills", 300), ("queue_entries", 200), ("fact_memory_entries", 5000), ("connections", 900)]
    {
        if pick(2) == 0 {
            say(format!("{key} = {}\n", 100 + pick(most)));
        }
    }
    for (key, least) in [("first_byte", 1000), ("idle", 60_000), ("absent_memory_age", 0), ("connect", 100)] {
        if pick(2) == 0 {
            say(format!("{key} = \"{} ms\"\n", least + pick(1000)));
        }
    }
    let folder = |number: u64| home.path().join(format!("up{number}")).display().to_string();
    if pick(3) > 0 {
        say(format!("upstream = \"file://{}\"\n", folder(0)));
    }
    for number in 1..4 {
        if pick(2) == 0 {
            let mode = ["read-write", "read-only"][usize::from(pick(3) == 0)];
            say(format!("[upstreams.u{number}]\nurl = \"file://{}\"\nmode = \"{mode}\"\n", folder(number)));
            say(format!("[namespaces.n{number}]\nupstream = \"u{number}\"\nprefix = \"p{}\"\n", pick(3)));
        }
    }
    // A memory tier smaller than what it shall hold is a contradiction.
    text.replace("memory = \"0 MiB\"", "memory = \"1 MiB\"")
}

/// Puts and gets until told to stop: each is answered, and what was put is got.
fn load(addr: &Addr, number: u64, stop: &AtomicBool, answered: &AtomicU64) -> Result<(), String> {
    let mut rng = Rng::new(number * 1000 + 7);
    while !stop.load(Ordering::Relaxed) {
        let path = format!("/blob/n{}/{number}-{}", rng.next() % 5, rng.next() % 500);
        let len = 64 + rng.next() % 3000;
        let body = rng.bytes(len as usize);
        let send = |request: Request, what: &str| {
            let answer = request.send(addr).map_err(|error| format!("{what} {path}: {error}"))?;
            match (answer.status(), answer.whole()) {
                (200, Some(_)) => Ok(answer),
                (status, _) => Err(format!("{what} {path}: {status} {}", answer.text())),
            }
        };
        send(Request::put(&*path, body.clone()), "PUT")?;
        if send(Request::get(&*path), "GET")?.body != body {
            return Err(format!("GET {path}: other bytes than were put"));
        }
        answered.fetch_add(2, Ordering::Relaxed);
    }
    Ok(())
}

/// Writes the file in one of the ways in which files are written.
fn edit(daemon: &Daemon, rng: &mut Rng, number: u64, text: &str) {
    let file = daemon.setup().config_path();
    let is_link = file.is_symlink();
    match rng.next() % 4 {
        0 if !is_link => fs::write(&file, text).expect("our own file"),
        1 => {
            let target = file.with_file_name(format!("version-{number}.toml"));
            fs::write(&target, text).expect("a temporary file");
            symlink(&target, file.with_file_name("link")).expect("a temporary link");
            fs::rename(file.with_file_name("link"), &file).expect("our own link");
        }
        2 => {
            replace(&file, text);
            daemon.hang_up();
        }
        _ => replace(&file, text),
    }
}

#[test]
fn random_edits_under_load() {
    let edits = std::env::var("LARDER_RELOAD_EDITS").ok().and_then(|text| text.parse().ok()).unwrap_or(EDITS);
    let home = TempDir::new().expect("a temporary folder");
    for number in 0..4 {
        // One of them is not there: it is down.
        if number != 3 {
            fs::create_dir(home.path().join(format!("up{number}"))).expect("a temporary folder");
        }
    }
    let daemon = start("e0", "");
    let (stop, answered) = (Arc::new(AtomicBool::new(false)), Arc::new(AtomicU64::new(0)));
    let loads: Vec<_> = (0..4)
        .map(|number| {
            let (addr, stop, answered) = (daemon.addr(), Arc::clone(&stop), Arc::clone(&answered));
            std::thread::spawn(move || load(&addr, number, &stop, &answered))
        })
        .collect();
    let mut rng = Rng::new(SEED);
    let (mut good, mut broken) = (String::from("e0"), 0);
    for number in 1..=edits {
        let name = format!("e{number}");
        if rng.next().is_multiple_of(3) {
            let (text, line, column, words) = BROKEN[(rng.next() % BROKEN.len() as u64) as usize];
            // In a line of its own each time, so that what was said of the edit before is not taken for what is said of
            // this one. The first line is that which lets in a `Host`.
            let text = format!("{}{text}", "#\n".repeat(number as usize));
            edit(&daemon, &mut rng, number, &marked(&name, &text));
            let place = format!("larder.toml:{}:{column}", 2 + number + line);
            until_refused(&daemon, &[&[&*place], words].concat());
            assert!(is_in_force(&daemon, &good), "edit {number}: {good} is no longer in force");
            assert!(!is_in_force(&daemon, &name), "edit {number}: {name} is broken and in force");
            broken += 1;
        } else {
            let text = right(&mut rng, &home);
            edit(&daemon, &mut rng, number, &marked(&name, &text));
            until_in_force(&daemon, &name);
            assert!(!is_in_force(&daemon, &good), "edit {number}: {good} is still in force");
            good = name;
        }
    }
    stop.store(true, Ordering::Relaxed);
    for load in loads {
        assert_eq!(load.join().expect("it doesn't panic"), Ok(()));
    }
    assert!(broken > 0 && edits > broken);
    let answered = answered.load(Ordering::Relaxed);
    say(&format!("{edits} edits, {broken} of them broken, with seed {SEED}: {answered} requests answered"));
}
