//! How a file is changed.

use std::fs;
use std::io::Write as _;
use std::os::unix::fs::symlink;

use super::{is_in_force, marked, replace, start, until_in_force};
use crate::support::{PATIENCE, until};

#[test]
fn every_way_to_change_the_file_is_noticed() {
    let daemon = start("start", "");
    let file = daemon.setup().config_path();
    let home = file.parent().expect("it lies in a folder").to_path_buf();

    replace(&file, &marked("renamed", ""));
    until_in_force(&daemon, "renamed");
    assert!(!is_in_force(&daemon, "start"));

    fs::write(&file, marked("truncated", "")).expect("a temporary file");
    until_in_force(&daemon, "truncated");

    let mut writer = fs::File::create(&file).expect("a temporary file");
    for piece in marked("pieces", "memory = \"64 MiB\"\n").as_bytes().chunks(7) {
        writer.write_all(piece).expect("a temporary file");
    }
    drop(writer);
    until_in_force(&daemon, "pieces");

    // A link to a file elsewhere, and then to another.
    for name in ["one", "two"] {
        fs::create_dir(home.join(name)).expect("a temporary folder");
        fs::write(home.join(name).join("larder.toml"), marked(name, "")).expect("a temporary file");
    }
    let link = |to: &str| {
        symlink(to, home.join("link")).expect("a temporary link");
        fs::rename(home.join("link"), &file).expect("our own link");
    };
    for name in ["one", "two"] {
        link(&format!("{name}/larder.toml"));
        until_in_force(&daemon, name);
    }
    fs::write(home.join("two/larder.toml"), marked("behind", "")).expect("a temporary file");
    until_in_force(&daemon, "behind");

    // A ConfigMap of Kubernetes: what is mounted changes by one link to a folder.
    fs::create_dir(home.join("mount")).expect("a temporary folder");
    symlink("../one", home.join("mount/..data")).expect("a temporary link");
    symlink("..data/larder.toml", home.join("mount/larder.toml")).expect("a temporary link");
    link("mount/larder.toml");
    until_in_force(&daemon, "one");
    symlink("../two", home.join("mount/..data_tmp")).expect("a temporary link");
    fs::rename(home.join("mount/..data_tmp"), home.join("mount/..data")).expect("our own link");
    until_in_force(&daemon, "behind");

    assert_eq!(daemon.get("/-/healthz").status(), 200);
}

#[test]
fn a_hangup_has_it_read_whether_it_changed_or_not() {
    let daemon = start("start", "");
    let applied = || daemon.stat("/configuration/applied");
    assert_eq!(applied(), 1);
    daemon.hang_up();
    until("it was read again", PATIENCE, || applied() == 2);
    // Two at once, and then some: each is a reload of its own or part of another, and none is lost.
    for _ in 0..20 {
        daemon.hang_up();
    }
    replace(&daemon.setup().config_path(), &marked("last", ""));
    daemon.hang_up();
    until_in_force(&daemon, "last");
    assert!(
        daemon.log().contains("the configuration is applied changed=\"allow_hosts\""),
        "{}",
        daemon.log()
    );
}
