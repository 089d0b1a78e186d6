//! `larder service` and the files it installs: as systemd and launchd read them, written once, replaced only while they
//! are ours, and removed to the last one.
//!
//! Where a service manager is called, a program of its name stands in that writes down how it was called; what real
//! ones make of it is in `units_systemd`.

use std::fs;
use std::os::unix::fs::PermissionsExt;
use std::path::Path;
use std::process::Command;

use tempfile::TempDir;

use crate::support::desk::{Desk, PROGRAM, install, printed, tree, words};

/// Whom `systemd-analyze verify` has nothing to say about.
fn verify(desk: &Desk, flag: &str, page: &str) -> String {
    let folder = TempDir::new_in(desk.folder.path()).expect("a temporary folder");
    let mut command = Command::new("systemd-analyze");
    command.args(["verify", "--man=no", flag]).env("XDG_RUNTIME_DIR", desk.path("run"));
    for (name, text) in printed(page) {
        if name.ends_with(".service") || name.ends_with(".socket") {
            let path = folder.path().join(name);
            fs::write(&path, text).expect("a new file");
            command.arg(path);
        }
    }
    let output = command.output().expect("systemd-analyze is installed");
    assert!(command.get_args().count() == 5, "a service and a socket: {command:?}");
    assert_eq!(output.status.success(), words(&output).is_empty(), "{}", words(&output));
    words(&output)
}

#[test]
fn systemd_has_nothing_to_say_about_the_units() {
    let desk = Desk::new();
    for flag in ["--user", "--system"] {
        let page = desk.done(&["install", flag, "--print", "--binary", PROGRAM]);
        assert_eq!(verify(&desk, flag, &page), "", "{flag}");
        assert!(page.contains(&format!("\nExecStart={PROGRAM} serve")), "{page}");
    }
    let broken =
        desk.done(&["install", "--user", "--print", "--binary", PROGRAM]).replace("Backlog=", "Baklog=");
    assert!(verify_says(&desk, &broken).contains("Baklog"), "it does look");
}

fn verify_says(desk: &Desk, page: &str) -> String {
    let path = desk.path("larder.socket");
    let socket = printed(page).into_iter().find(|(name, _)| name == "larder.socket").expect("a socket").1;
    fs::write(&path, socket).expect("a new file");
    let mut command = Command::new("systemd-analyze");
    command.args(["verify", "--man=no", "--user"]).arg(path).env("XDG_RUNTIME_DIR", desk.path("run"));
    words(&command.output().expect("systemd-analyze is installed"))
}

#[test]
fn the_machines_unit_is_hardened_and_each_remaining_point_is_explained() {
    let root = Path::new(env!("CARGO_MANIFEST_DIR"));
    let unit = root.join("systemd/system/larder.service");
    let security = |args: &[&str]| {
        let mut command = Command::new("systemd-analyze");
        command.args(["security", "--offline=true", "--no-pager"]).args(args).arg(&unit);
        command.output().expect("systemd-analyze is installed")
    };
    let output = security(&["--threshold=20"]);
    assert!(output.status.success(), "over 2.0: {}", words(&output));
    let page = fs::read_to_string(root.join("systemd/README.md")).expect("there is a page");
    let output = security(&["--json=short"]);
    let rows: Vec<serde_json::Value> = serde_json::from_slice(&output.stdout).expect("JSON");
    let exposed: Vec<&str> = rows
        .iter()
        .filter(|row| row["set"] == false && !row["exposure"].is_null())
        .filter_map(|row| row["json_field"].as_str().map(|_| row["name"].as_str().expect("a name")))
        .collect();
    assert!(exposed.len() > 5, "{exposed:?}");
    let silent: Vec<_> = exposed
        .iter()
        .filter(|name| !page.contains(&format!("| `{}` |", name.replace('|', "\\|"))))
        .collect();
    assert!(silent.is_empty(), "systemd/README.md doesn't explain {silent:?}");
}

#[test]
fn any_path_that_systemd_can_run_is_written_so_that_it_does() {
    let desk = Desk::new();
    for name in [
        "a b", "100%", "%h", "$HOME", "${x}", "ä", "a;b", "a#b", "a=b", "-x", "@x", "a\tb", "a\"b", "a'b",
        "a\\b", "a\nb",
    ] {
        let folder = desk.path(name);
        fs::create_dir(&folder).expect("a new folder");
        let binary = folder.join("larder of mine");
        install(Path::new(PROGRAM), &binary);
        let binary = binary.to_str().expect("text");
        let args = ["install", "--user", "--print", "--binary", binary];
        if name.contains(['"', '\'', '\\', '\n', '\t']) {
            let words = desk.refused(1, &args);
            assert!(words.contains("--binary") && words.contains("/usr/local/bin"), "{words}");
        } else {
            // It says so when the file that it reads from the unit isn't there.
            assert_eq!(verify(&desk, "--user", &desk.done(&args)), "", "{name}");
        }
    }
}

#[test]
fn a_program_that_can_not_be_run_is_not_installed() {
    let desk = Desk::new();
    let plain = desk.path("plain");
    fs::write(&plain, "text").expect("a new file");
    for path in [desk.path("missing"), plain.clone(), desk.path("home")] {
        let path = path.to_str().expect("text");
        let words = desk.refused(1, &["install", "--user", "--binary", path]);
        assert!(words.contains(path), "{words}");
    }
    fs::set_permissions(&plain, fs::Permissions::from_mode(0o755)).expect("our own file");
    let hidden = plain.to_str().expect("text");
    let words = desk.refused(1, &["install", "--system", "--print", "--binary", hidden]);
    assert!(words.contains("/usr/local/bin"), "the machine's service sees no temporary folder: {words}");
    let page = desk.done(&["install", "--user", "--print", "--binary", hidden]);
    assert!(page.contains("programs don't stay"), "{page}");
    assert_eq!(desk.calls(), [""; 0]);
}

#[test]
fn print_shows_what_is_then_done_and_does_nothing() {
    let desk = Desk::new();
    let before = tree(&desk.path("home"));
    let page = desk.done(&["install", "--user", "--print", "--binary", PROGRAM]);
    for verb in ["uninstall", "start", "stop", "restart"] {
        desk.done(&[verb, "--user", "--print"]);
    }
    assert_eq!(tree(&desk.path("home")), before);
    assert_eq!(desk.calls(), [""; 0]);
    desk.done(&["install", "--user", "--binary", PROGRAM]);
    for (name, text) in printed(&page) {
        let path = if name == "lingering.conf" {
            desk.units().join("larder.service.d").join(&name)
        } else {
            desk.units().join(&name)
        };
        assert_eq!(fs::read_to_string(path).ok().as_deref(), Some(text.as_str()), "{name}");
    }
    let shown: Vec<&str> = page.lines().filter_map(|line| line.strip_prefix("==> run ")).collect();
    assert_eq!(desk.calls(), shown);
}

#[test]
fn installing_twice_changes_nothing_and_uninstalling_leaves_nothing() {
    let desk = Desk::new();
    fs::create_dir(desk.path("home").join(".config")).expect("a new folder");
    let before = tree(&desk.path("home"));
    let first = desk.done(&["install", "--user", "--binary", PROGRAM]);
    assert!(first.contains("installed: the first request starts the daemon"), "{first}");
    assert!(desk.calls().contains(&"systemctl --user daemon-reload".to_owned()));
    let installed = tree(&desk.path("home"));
    let second = desk.done(&["install", "--user", "--binary", PROGRAM]);
    assert!(second.contains("installed already, as wanted"), "{second}");
    assert_eq!(tree(&desk.path("home")), installed);
    assert!(!desk.calls().contains(&"systemctl --user daemon-reload".to_owned()), "nothing to read again");
    desk.done(&["uninstall", "--user"]);
    assert_eq!(tree(&desk.path("home")), before);
    let calls = desk.calls();
    assert_eq!(calls[0], "systemctl --user disable --now larder.socket larder.service");
    assert!(
        calls.iter().any(|call| call.starts_with("loginctl --no-ask-password disable-linger")),
        "{calls:?}"
    );
    assert!(desk.done(&["uninstall", "--user"]).contains("nothing is installed"));
    assert_eq!(desk.calls(), [""; 0]);
}

#[test]
fn another_program_is_an_update_and_folders_of_others_stay() {
    let desk = Desk::new();
    let other = desk.units().join("other.service");
    fs::create_dir_all(desk.units()).expect("a new folder");
    fs::write(&other, "[Service]\n").expect("a new file");
    let before = tree(&desk.path("home"));
    desk.done(&["install", "--user", "--binary", PROGRAM]);
    desk.calls();
    let page = desk.done(&["install", "--user", "--binary", "/bin/sh"]);
    assert!(
        page.contains("wrote") && page.contains("already as wanted"),
        "the service, not the socket: {page}"
    );
    let unit = fs::read_to_string(desk.units().join("larder.service")).expect("it is there");
    assert!(unit.contains("\nExecStart=/bin/sh serve\n"), "{unit}");
    assert!(desk.calls().contains(&"systemctl --user daemon-reload".to_owned()));
    desk.done(&["uninstall", "--user"]);
    assert_eq!(tree(&desk.path("home")), before);
}

#[test]
fn what_others_wrote_or_edited_is_left_alone_unless_it_is_forced() {
    let desk = Desk::new();
    let unit = desk.units().join("larder.service");
    let install = ["install", "--user", "--binary", PROGRAM];
    fs::create_dir_all(desk.units()).expect("a new folder");
    fs::write(&unit, "[Service]\nExecStart=/opt/mine\n").expect("a new file");
    let before = tree(&desk.path("home"));
    for args in [&install[..], &["uninstall", "--user"]] {
        let words = desk.refused(1, args);
        assert!(words.contains("--force") && words.contains("larder.service"), "{words}");
    }
    assert_eq!(tree(&desk.path("home")), before, "all or nothing");
    assert_eq!(desk.calls(), [""; 0]);
    desk.done(&[&install[..], &["--force"]].concat());
    let mut edited = fs::read_to_string(&unit).expect("it is there");
    edited += "Nice=5\n";
    fs::write(&unit, &edited).expect("our own file");
    assert!(desk.refused(1, &install).contains("edited by hand"));
    assert!(desk.refused(1, &["uninstall", "--user"]).contains("--force"));
    assert_eq!(fs::read_to_string(&unit).ok(), Some(edited));
    fs::remove_file(&unit).expect("our own file");
    std::os::unix::fs::symlink("/dev/null", &unit).expect("a mask");
    assert!(desk.refused(1, &install).contains("was not written by"));
    desk.done(&["uninstall", "--user", "--force"]);
    assert!(!unit.is_symlink(), "forced");
}

#[test]
fn lingering_that_was_there_or_was_refused_is_not_turned_off() {
    let desk = Desk::new();
    desk.stand_in("loginctl", "echo 'Access denied' >&2; exit 1");
    let page = desk.done(&["install", "--user", "--binary", PROGRAM]);
    assert!(page.contains("sudo loginctl enable-linger") && page.contains("Access denied"), "{page}");
    desk.calls();
    desk.done(&["uninstall", "--user"]);
    assert!(!desk.calls().iter().any(|call| call.starts_with("loginctl")), "it wasn't ours");
    desk.done(&["install", "--user", "--binary", PROGRAM, "--no-linger"]);
    assert!(!desk.calls().iter().any(|call| call.starts_with("loginctl")), "not asked for");
}
