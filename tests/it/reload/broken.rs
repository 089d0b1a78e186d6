//! What is wrong leaves the last good one in force, and is said with file, line and remedy.

use std::fs;
use std::os::unix::fs::{PermissionsExt as _, symlink};

use super::{change, is_in_force, marked, problems, replace, start, until_in_force, until_refused};
use crate::support::{PATIENCE, say, until};

#[test]
fn what_is_wrong_leaves_the_last_good_one_in_force() {
    let daemon = start("good", "");
    let file = daemon.setup().config_path();
    let (shown, tokens) = (file.display().to_string(), file.with_file_name("tokens"));
    fs::write(&tokens, "ci:0123456789abcdef\n").expect("a temporary file");
    fs::set_permissions(&tokens, fs::Permissions::from_mode(0o644)).expect("our own file");
    let long = "#".repeat(10 << 20);
    let tokens_key = format!("access.tokens = \"{}\"\n", tokens.display());
    for (number, (text, words)) in [
        ("memory = \"1 MiB\"\nfills = \n", &["larder.toml:3:", "is not TOML"][..]),
        ("[upstreams.team]\nurl = \"s3://buck", &["larder.toml:3:", "is not TOML"]),
        ("memorry = 1\n", &["larder.toml:2:1", "`memorry`", "is `memory` meant?"]),
        ("first_byte = 5\n", &["larder.toml:2:14", "`first_byte`", "\"1.5 s\""]),
        ("memory = 1\nmemory_entry_max = 2\n", &["larder.toml:3:", "`memory_entry_max`", "raise `memory`"]),
        ("upstream = \"ftp://x\"\n", &["larder.toml:2:12", "`upstream`", "s3"]),
        ("[namespaces.web]\nupstream = \"tem\"\n", &["larder.toml:3:", "add a table [upstreams.tem]"]),
        (&*tokens_key, &["larder.toml:2:", "has mode 0644", "chmod 0600"]),
        (&*long, &["larder.toml: is over 1 MiB"]),
    ]
    .into_iter()
    .enumerate()
    {
        replace(&file, &marked("bad", text));
        let said = until_refused(&daemon, words);
        assert!(said.contains(&shown), "{said}");
        assert!(is_in_force(&daemon, "good") && !is_in_force(&daemon, "bad"), "{said}");
        assert_eq!(daemon.log().matches(&said).count(), 1, "it is logged once: {said}");
        if number == 0 {
            // The same again is nothing new.
            replace(&file, &format!("{}\n", marked("bad", text)));
            daemon.hang_up();
            daemon.hang_up();
        }
    }
    assert_eq!(daemon.stat("/configuration/applied"), 1);
    change(&daemon, "mended", "");
    assert_eq!(problems(&daemon), Vec::<String>::new());
    let first = daemon.log().lines().filter(|line| line.contains("ERROR") && line.contains("fills")).count();
    assert!(first <= 1, "{}", daemon.log());
}

#[test]
fn what_is_no_readable_file_leaves_the_last_good_one_in_force() {
    let daemon = start("good", "");
    let file = daemon.setup().config_path();
    let refused = |words: &[&str]| {
        let said = until_refused(&daemon, words);
        assert!(said.contains(&file.display().to_string()) && is_in_force(&daemon, "good"), "{said}");
    };
    fs::remove_file(&file).expect("our own file");
    refused(&["can't be read", "No such file", "--config"]);
    fs::create_dir(&file).expect("a temporary folder");
    refused(&["is a folder; name the file in it"]);
    fs::remove_dir(&file).expect("our own folder");
    symlink("larder.toml", &file).expect("a temporary link");
    refused(&["can't be read", "symbolic links"]);
    fs::remove_file(&file).expect("our own link");
    fs::write(&file, b"allow_hosts = []\n# \xff\n").expect("a temporary file");
    refused(&["is not UTF-8 in line 2"]);
    let pipe = file.with_file_name("pipe");
    rustix::fs::mkfifoat(rustix::fs::CWD, &pipe, rustix::fs::Mode::RWXU).expect("a temporary pipe");
    fs::rename(&pipe, &file).expect("our own pipe");
    refused(&["is not a file that can be read again"]);
    if rustix::process::geteuid().is_root() {
        say("passed over: to root every file is readable");
    } else {
        replace(&file, &marked("hidden", ""));
        until_in_force(&daemon, "hidden");
        fs::set_permissions(&file, fs::Permissions::from_mode(0o000)).expect("our own file");
        until_refused(&daemon, &["can't be read", "Permission denied"]);
        assert!(is_in_force(&daemon, "hidden"));
    }
    // A byte order mark is none of that.
    replace(&file, &format!("\u{feff}{}", marked("marked", "")));
    until_in_force(&daemon, "marked");
    replace(&file, &format!("\u{feff}{}", marked("marked", "memorry = 1\n")));
    refused_at_line_2(&daemon);
}

#[track_caller]
fn refused_at_line_2(daemon: &crate::support::daemon::Daemon) {
    until_refused(daemon, &["larder.toml:2:1", "memorry"]);
    assert!(is_in_force(daemon, "marked"));
}

#[test]
fn what_waits_for_the_next_start_is_named() {
    let daemon = start("one", "memory = \"2 MiB\"\n");
    change(
        &daemon,
        "two",
        "durability = \"power\"\nlog.format = \"json\"\n[[listeners]]\naddress = \"127.0.0.1:1\"\n",
    );
    let named = || daemon.stats()["configuration"]["needs_restart"].clone();
    assert_eq!(named(), serde_json::json!(["durability", "listeners.1.address", "log.format"]));
    assert!(
        daemon.log().contains("counts from the next start on: durability, listeners.1.address, log.format")
    );
    change(&daemon, "three", "log.format = \"text\"\n");
    until("it is said", PATIENCE, || named() == serde_json::json!(["log.format"]));
    change(&daemon, "four", "");
    until("nothing is left to be said", PATIENCE, || named() == serde_json::json!([]));
}
