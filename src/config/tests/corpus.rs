//! Every kind of mistake, and the exact words said of it.

use super::super::{Environment, Flags};
use super::{load, load_with, said};

const OFF_LOOPBACK: &str = "is not loopback: it needs a `[[listeners]]` table with `insecure = true`, and \
                            tokens (`larder token new`); or listen on 127.0.0.1, [::1] or unix:/path";

/// A file, and all that is said of it.
const CORPUS: &[(&str, &[&str])] = &[
    // --- keys
    ("memorry = 1", &["larder.toml:1:1: `memorry`: is not a key; is `memory` meant?"]),
    ("\n  first-byte = 1", &["larder.toml:2:3: `first-byte`: is not a key; is `first_byte` meant?"]),
    (
        "colour = 1",
        &["larder.toml:1:1: `colour`: is not a key of this version; `larder config example` shows them all"],
    ),
    ("[access]\nuser = []", &["larder.toml:2:1: `access.user`: is not a key; is `access.users` meant?"]),
    ("[acces]\nusers = []", &["larder.toml:1:2: `acces`: is not a key; is `access` meant?"]),
    ("access = 1", &["larder.toml:1:1: `access`: is a section, written as [access]"]),
    ("upstreams = 1", &["larder.toml:1:1: `upstreams`: is a table, written as [upstreams.team]"]),
    (
        "[upstreams]\nteam = 1",
        &["larder.toml:2:1: `upstreams.team`: is a table, written as [upstreams.team]"],
    ),
    ("[listeners]\naddress = \"\"", &["larder.toml:1:2: `listeners`: is a table, written as [[listeners]]"]),
    (
        "[upstreams.a]\nurl = \"file:///x\"\nmod = \"\"",
        &["larder.toml:3:1: `upstreams.a.mod`: is not a key; is `mode` meant?"],
    ),
    // --- TOML
    ("memory = ", &["larder.toml:1:10: is not TOML: string values must be quoted, expected literal string"]),
    ("disk = 1\ndisk = 2", &["larder.toml:2:1: is not TOML: duplicate key"]),
    // --- values
    ("disk = \"lots\"", &["larder.toml:1:8: `disk`: `lots` is not a size, as in \"10 GiB\""]),
    ("disk = -1", &["larder.toml:1:8: `disk`: a size can't be negative"]),
    ("disk = true", &["larder.toml:1:8: `disk`: is not a size, as in \"10 GiB\""]),
    ("disk = \"99999999 TiB\"", &["larder.toml:1:8: `disk`: `99999999 TiB` is more than any disk has"]),
    ("stall = 5", &["larder.toml:1:9: `stall`: is not a duration with its unit, as in \"1.5 s\""]),
    ("stall = \"5\"", &["larder.toml:1:9: `stall`: `5` is not a duration, as in \"1.5 s\" or \"15 min\""]),
    ("fills = 0", &["larder.toml:1:9: `fills`: is not a number of at least 1"]),
    ("fills = 99999999999999999999", &["larder.toml:1:9: `fills`: is not a number of at least 1"]),
    (
        "inodes_keep_free = \"101 %\"",
        &["larder.toml:1:20: `inodes_keep_free`: is not a percentage, as in \"2 %\""],
    ),
    ("upstream = 1", &["larder.toml:1:12: `upstream`: is not a text in quotes"]),
    ("listen = 1", &["larder.toml:1:10: `listen`: is not a list of texts"]),
    ("durability = \"much\"", &["larder.toml:1:14: `durability`: is not one of \"process\", \"power\""]),
    (
        "log.format = \"xml\"",
        &["larder.toml:1:14: `log.format`: is not one of \"auto\", \"text\", \"json\", \"journald\""],
    ),
    (
        "log.filter = \"larder=loud\"",
        &[
            "larder.toml:1:14: `log.filter`: error parsing level filter: expected one of \"off\", \"error\", \"warn\", \
             \"info\", \"debug\", \"trace\", or a number 0-5; write it as info,larder::access=debug",
        ],
    ),
    (
        "access.users = [\"nobody-of-that-name\"]",
        &[
            "larder.toml:1:16: `access.users`: `nobody-of-that-name` is not a user of this machine; give the number that \
           `id -u` prints, or @ and a group",
        ],
    ),
    (
        "access.tokens = \"/nonexistent/t\"",
        &[
            "larder.toml:1:17: `access.tokens`: /nonexistent/t can't be read: No such file or directory (os error 2)",
        ],
    ),
    // --- values that contradict each other
    (
        "entry_max = \"9 GiB\"",
        &[
            "larder.toml:1:13: `entry_max`: is over a quarter of `disk`, so that one entry would evict too much; lower \
           it or raise `disk`",
        ],
    ),
    (
        "memory = \"64 KiB\"",
        &["larder.toml:1:10: `memory_entry_max`: is over `memory`; lower it or raise `memory`"],
    ),
    (
        "head = \"0 s\"",
        &["larder.toml:1:8: `head`: is zero, so that nothing would ever be in time; raise it"],
    ),
    // --- upstreams
    (
        "upstream = \"tema\"\n[upstreams.team]\nurl = \"file:///x\"",
        &["larder.toml:1:12: `upstream`: `tema` is not declared; is `team` meant?"],
    ),
    (
        "upstream = \"bucket\"",
        &[
            "larder.toml:1:12: `upstream`: `bucket` is not a URL, nor one of `[upstreams.NAME]`; none, file:///path, \
           s3://bucket/prefix, azure://container/prefix, gs://bucket/prefix and https://host/prefix are known",
        ],
    ),
    (
        "[upstreams.a]",
        &["larder.toml:1:12: `upstreams.a.url`: is missing; say it, as in \
                        \"s3://bucket/prefix?region=eu-central-1\""],
    ),
    (
        "[upstreams.a]\nurl = \"none\"",
        &["larder.toml:2:7: `upstreams.a.url`: is no place; say where it is, or leave the \
                                       table out"],
    ),
    (
        "[upstreams.a]\nurl = \"file:///x\"\nmode = \"ro\"",
        &["larder.toml:3:8: `upstreams.a.mode`: is not one of \"read-write\", \"read-only\""],
    ),
    (
        "[upstreams.a]\nurl = \"file:///x\"\ncredentials = \"/k\"",
        &[
            "larder.toml:3:15: `upstreams.a.credentials`: is not for a folder, which takes no keys; leave it out",
        ],
    ),
    (
        "[upstreams.a]\nurl = \"s3://b\"\ncredentials = \"/k\"\ninstance_metadata = true",
        &[
            "larder.toml:2:7: `upstreams.a.url`: names both a credentials file and instance_metadata; leave one out",
        ],
    ),
    (
        "[upstreams.\"a b\"]\nurl = \"file:///x\"",
        &[
            "larder.toml:1:12: `upstreams.\"a b\"`: is no name for an upstream; take letters, digits, `-` and `_`, and \
           not `none`",
        ],
    ),
    (
        "[upstreams.a]\nurl = \"s3://b/x?region=a\"\n[upstreams.b]\nurl = \"s3://b/x?region=b\"",
        &["larder.toml:4:7: `upstreams.b.url`: is the same place as that of `upstreams.a`; declare it once"],
    ),
    (
        "upstream = \"file:///x\"\n[upstreams.a]\nurl = \"file:///x/\"",
        &["larder.toml:1:12: `upstream`: is the same place as that of `upstreams.a`; say \"a\""],
    ),
    // --- namespaces
    (
        "[namespaces.\"../x\"]\nupstream = \"none\"",
        &[
            "larder.toml:1:13: `namespaces.\"../x\"`: a namespace can't have a dot segment; name it by other segments",
        ],
    ),
    (
        "[namespaces.blob]\nupstream = \"none\"",
        &[
            "larder.toml:1:13: `namespaces.blob`: a namespace can't begin with the reserved word `blob`; name it by other \
           segments",
        ],
    ),
    (
        "[namespaces.\"a/ac\"]\nupstream = \"none\"",
        &[
            "larder.toml:1:13: `namespaces.\"a/ac\"`: a namespace can't contain the reserved word `ac`; name it by other \
           segments",
        ],
    ),
    (
        "[namespaces.\"/\"]\nupstream = \"none\"",
        &[
            "larder.toml:1:13: `namespaces.\"/\"`: is no namespace; what paths without one use is the key `upstream`",
        ],
    ),
    (
        "[namespaces.a]\nprefix = \"x\"",
        &["larder.toml:2:10: `namespaces.a.prefix`: is for an `upstream` that is named beside it; name that"],
    ),
    (
        "[namespaces.a]\nmax_age = 5",
        &["larder.toml:2:11: `namespaces.a.max_age`: is not a duration with its unit, as in \"1.5 s\""],
    ),
    (
        "[namespaces.a]\ndigest = \"md5\"\nprefetch = \"some\"",
        &[
            "larder.toml:2:10: `namespaces.a.digest`: is not one of \"sha256\", \"blake3\"",
            "larder.toml:3:12: `namespaces.a.prefetch`: is not one of \"all\", \"small\", \"off\"",
        ],
    ),
    (
        "[namespaces.a]\nupstream = \"team\"",
        &["larder.toml:2:12: `namespaces.a.upstream`: `team` is not declared; add a table [upstreams.team]"],
    ),
    (
        "[namespaces.a]\nupstream = \"none\"\nprefix = \"x\"",
        &[
            "larder.toml:3:10: `namespaces.a.prefix`: is not for a namespace without an upstream; leave it out",
        ],
    ),
    (
        "[upstreams.t]\nurl = \"file:///x\"\n[namespaces.a]\nupstream = \"t\"\nprefix = \"../up\"",
        &[
            "larder.toml:5:10: `namespaces.a.prefix`: has an empty or a dot segment, a slash at an end, or is over 100 \
           bytes; name it by plain words, as in \"teams/web\"",
        ],
    ),
    (
        "[namespaces.\"a/b\"]\nupstream = \"none\"\n[namespaces.\"/a//b\"]\nupstream = \"none\"",
        &[
            "larder.toml:1:13: `namespaces.\"a/b\"`: is the namespace `a/b` a second time; leave one of them out",
        ],
    ),
    (
        "[upstreams.t]\nurl = \"file:///x\"\n[namespaces.a]\nupstream = \"t\"\n[namespaces.b]\nupstream = \"t\"",
        &[
            "larder.toml:6:12: `namespaces.b.upstream`: collides: names of the namespace `a` go to the same place; give \
           one a `prefix` of its own, or a common parent",
        ],
    ),
    (
        "upstream = \"t\"\n[upstreams.t]\nurl = \"file:///x\"\n[namespaces.a]\nupstream = \"t\"",
        &[
            "larder.toml:5:12: `namespaces.a.upstream`: collides: names without a namespace of their own go to the same \
           place; give one a `prefix` of its own, or a common parent",
        ],
    ),
    (
        "[upstreams.t]\nurl = \"s3://b\"\n[upstreams.u]\nurl = \"s3://b/p\"\n[namespaces.a]\nupstream = \"t\"\n\
         prefix = \"p\"\n[namespaces.b]\nupstream = \"u\"",
        &[
            "larder.toml:9:12: `namespaces.b.upstream`: collides: names of the namespace `a` go to the same place; give \
           one a `prefix` of its own, or a common parent",
        ],
    ),
    // --- listeners
    (
        "listen = [\"localhost:1\"]",
        &[
            "larder.toml:1:10: `listen`: `localhost:1` is not an address with a port (127.0.0.1:5273, [::1]:5273) or \
           unix:/path",
        ],
    ),
    (
        "[[listeners]]\naddress = \"127.0.0.1:1\"\nonly = \"dav\"",
        &[
            "larder.toml:3:8: `listeners.1.only`: is not one of \"azure\", \"bazel\", \"blob\", \"ccache\", \"gradle\", \
             \"maven\", \"nx\", \"reapi\", \"s3\", \"turborepo\"",
        ],
    ),
    (
        "[[listeners]]\naddress = \"127.0.0.1:1\"\n[[listeners]]\naddress = \"127.0.0.1:1\"",
        &["larder.toml:4:11: `listeners.2.address`: 127.0.0.1:1 is listened on already; leave it out"],
    ),
    (
        "[[listeners]]\naddress = \"0.0.0.0:1\"",
        &[
            "larder.toml:1:1: `listeners.1.insecure`: 0.0.0.0:1 is not loopback, and this version has no TLS: tokens \
             and bytes could be read on the way; say `insecure = true` if that network is your own, or listen on \
             loopback",
        ],
    ),
];

#[test]
fn every_mistake_is_told_with_its_place_and_its_remedy() {
    let mut wrong = Vec::new();
    for (text, words) in CORPUS {
        let problems = load(text).err().unwrap_or_default();
        if problems != *words {
            wrong.push(format!("{text}\n  said:   {problems:#?}\n  wanted: {words:#?}"));
        }
    }
    assert!(wrong.is_empty(), "{}", wrong.join("\n\n"));
}

#[test]
fn all_problems_are_told_at_once_in_the_order_of_the_file_then_environment_then_flags() {
    let text = "stall = 5\nmemorry = 1\n[log]\nformat = \"xml\"\n[upstreams.a]\nurl = \"gs:\"\n";
    let flags = Flags { listen: vec!["0.0.0.0:1".into()], ..Flags::default() };
    let problems = load_with(text, flags, &said(&[("fills", "none")])).expect_err("wrong");
    let starts: Vec<&str> =
        problems.iter().map(|problem| problem.split(": ").next().expect("a first part")).collect();
    assert_eq!(
        starts,
        [
            "larder.toml:1:9",
            "larder.toml:2:1",
            "larder.toml:4:10",
            "larder.toml:6:7",
            "LARDER_FILLS",
            "--listen"
        ],
        "{problems:#?}"
    );
    assert_eq!(problems[5], format!("--listen: `listen`: 0.0.0.0:1 {OFF_LOOPBACK}"));
}

#[test]
fn no_secret_is_in_a_message() {
    for url in ["s3://id:hush@b", "s3://b?secret=hush", "hush://b:hush@c", "https://u:hush@h/x"] {
        let problems =
            load_with("", Flags { upstream: Some(url.into()), ..Flags::default() }, &Environment::default())
                .expect_err(url);
        assert!(
            problems.iter().all(|problem| !problem.contains(":hush") && !problem.contains("=hush")),
            "{problems:?}"
        );
    }
}
