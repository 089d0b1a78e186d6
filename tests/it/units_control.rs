//! `larder service` when something is in the way, and the commands that act on an installed service.

use std::fs;
use std::os::unix::fs::{DirBuilderExt as _, MetadataExt, PermissionsExt};
use std::path::Path;
use std::process::Command;

use crate::support::desk::{Desk, PROGRAM, install, tree, words};
use crate::support::http::Request;
use crate::support::process::Process;
use crate::support::wire::Addr;
use crate::support::{PATIENCE, free_addr, say, until, write_secret};

const LARDER: &str = env!("CARGO_BIN_EXE_larder");

#[test]
fn a_manager_that_fails_or_is_not_there_is_told_with_a_remedy() {
    let desk = Desk::new();
    let install = ["install", "--user", "--binary", PROGRAM];
    desk.stand_in("systemctl", "echo 'Failed to connect to bus' >&2; exit 1");
    let words = desk.refused(1, &install);
    let remedy = if Path::new("/run/systemd/system").exists() { "enable-linger" } else { "larder serve" };
    assert!(words.contains(remedy), "{words}");
    assert!(!desk.units().exists(), "nothing was written");
    fs::remove_file(desk.path("bin").join("systemctl")).expect("our own file");
    let output = desk.command(&install).env("PATH", desk.path("bin")).output().expect("it starts");
    assert_eq!(output.status.code(), Some(1));
    assert!(self::words(&output).contains("there is no systemctl"), "{}", self::words(&output));
    desk.stand_in("systemctl", "case \"$*\" in *start*) echo 'Job failed' >&2; exit 1;; esac");
    let words = desk.refused(1, &install);
    for part in ["Job failed", "journalctl --user -u larder.socket", "5273", "--system"] {
        assert!(words.contains(part), "`{part}` is in: {words}");
    }
    let words = desk.refused(1, &["start", "--user"]);
    assert!(words.contains("journalctl"), "{words}");
    desk.stand_in("systemctl", "exit 1");
    let words = desk.refused(1, &["uninstall", "--user"]);
    assert!(words.contains(remedy) && desk.units().join("larder.service").exists(), "{words}");
    desk.done(&["uninstall", "--user", "--force"]);
    assert!(!desk.units().exists(), "forced, the files go without a manager");
}

#[test]
fn root_says_which_service_is_meant_and_sudo_is_not_taken_for_the_user() {
    if !rustix::process::geteuid().is_root() {
        say("skipped: only root can be asked what root means");
        return;
    }
    let desk = Desk::new();
    let words = desk.refused(2, &["install", "--binary", PROGRAM]);
    assert!(words.contains("--system") && words.contains("--user"), "{words}");
    let mut command = desk.command(&["install", "--user", "--binary", PROGRAM]);
    let output = command.env("SUDO_USER", "ada").output().expect("it starts");
    assert_eq!(output.status.code(), Some(2));
    assert!(self::words(&output).contains("ada"), "{}", self::words(&output));
    assert!(!desk.units().exists());
    // Somebody else: can't install for the machine, nor into root's home.
    let larder = desk.path("larder");
    install(Path::new(LARDER), &larder);
    fs::set_permissions(desk.folder.path(), fs::Permissions::from_mode(0o755)).expect("our own folder");
    assert_eq!(fs::metadata(desk.path("home")).expect("it is there").uid(), 0);
    let as_other = |args: &[&str]| {
        let mut command = Command::new("setpriv");
        command
            .args(["--reuid=65534", "--regid=65534", "--clear-groups"])
            .arg(&larder)
            .args(args)
            .env_clear()
            .env("HOME", desk.path("home"))
            .env("PATH", format!("{}:/usr/bin:/bin", desk.path("bin").display()));
        let output = command.output().expect("it starts");
        (output.status.code(), self::words(&output))
    };
    let (code, words) = as_other(&["service", "install", "--system"]);
    assert_eq!(code, Some(1));
    assert!(words.contains("sudo"), "{words}");
    let (code, words) = as_other(&["service", "install"]);
    assert_eq!(code, Some(1));
    assert!(words.contains("uid 0") && words.contains("65534"), "{words}");
}

#[test]
fn start_waits_for_the_daemons_answer_and_status_is_a_line_each() {
    let desk = Desk::new();
    let asleep = "case \"$*\" in *show*) printf 'LoadState=loaded\\nActiveState=%s\\nSubState=x\\nResult=success\\n\
                  UnitFileState=enabled\\nMainPID=0\\nNRestarts=0\\n' $(case \"$*\" in *socket*) echo active;; \
                  *) echo inactive;; esac);; esac";
    desk.stand_in("systemctl", asleep);
    let words = desk.refused(3, &["status", "--user"]);
    assert!(words.contains("the next request starts it"), "{words}");
    let failed = "case \"$*\" in *show*) printf 'LoadState=loaded\\nActiveState=failed\\nSubState=failed\\n\
                  Result=exit-code\\nUnitFileState=enabled\\n';; esac";
    desk.stand_in("systemctl", failed);
    let words = desk.refused(3, &["status", "--user"]);
    assert!(words.contains("failed (exit-code)") && words.contains("journalctl --user -u larder"), "{words}");
    desk.stand_in("systemctl", "case \"$*\" in *show*) echo LoadState=not-found;; esac");
    let words = desk.refused(3, &["status", "--user"]);
    assert!(words.contains("is not installed") && words.contains("larder service install"), "{words}");

    let addr = free_addr();
    let mut serve = Command::new(LARDER);
    serve.env_clear().env("HOME", desk.path("home")).env("XDG_RUNTIME_DIR", desk.path("run"));
    serve.args(["serve", "--listen", &addr.to_string()]);
    // As a manager does: the process is begun, and when it answers is its own affair.
    let daemon = Process::spawn(&mut serve, &desk.path("log"));
    let line = desk.done(&["start", "--user"]);
    assert!(line.contains(&format!("pid {}", daemon.id())), "{line}");
    let active = "case \"$*\" in *show*) printf 'LoadState=loaded\\nActiveState=active\\nSubState=running\\n\
                  Result=success\\nUnitFileState=enabled\\nMainPID=5\\nNRestarts=2\\nStatusText=ready\\n';; esac";
    desk.stand_in("systemctl", active);
    let page = desk.done(&["status", "--user"]);
    let lines: Vec<&str> = page.lines().collect();
    assert_eq!(
        lines[0],
        "service: active (running), enabled, pid 5, restarted 2 times, “ready”; sockets active (running), enabled"
    );
    assert!(lines[1].starts_with("daemon:  larder ") && lines.len() == 2, "{page}");
}

#[test]
fn a_purge_asks_what_is_queued_and_spares_a_daemon_that_runs() {
    let desk = Desk::new();
    let home = desk.path("home");
    let before = tree(&home);
    desk.done(&["install", "--user", "--binary", PROGRAM]);
    // An upstream that isn't there: what is put stays queued.
    let addr = free_addr();
    let mut serve = Command::new(LARDER);
    serve.env_clear().env("HOME", &home).env("XDG_RUNTIME_DIR", desk.path("run"));
    serve.args(["serve", "--listen", &addr.to_string(), "--upstream", "file:///nowhere/mounted"]);
    let daemon = Process::spawn(&mut serve, &desk.path("log"));
    until("the daemon takes a PUT", PATIENCE, || {
        Request::put("/blob/ns/x", "y").send(&Addr::Tcp(addr)).is_ok_and(|answer| answer.status() == 200)
    });
    let purge = ["uninstall", "--user", "--purge"];
    let words = desk.refused(1, &purge);
    assert!(words.contains("1 entries wait") && words.contains("larder flush"), "{words}");
    // The manager that stands in stops nobody.
    let words = desk.refused(1, &[&purge[..], &["--force"]].concat());
    assert!(words.contains("end it first"), "{words}");
    drop(daemon);
    let words = desk.refused(1, &purge);
    assert!(words.contains("can't be told"), "{words}");
    assert!(home.join(".local/state/larder").exists());
    // What is the person's own stays, and so does what only the keychain can remove; both are said.
    let own = home.join(".config/larder/larder.toml");
    fs::create_dir_all(own.parent().expect("in a folder")).expect("a new folder");
    fs::write(&own, "fills = 7\n").expect("a new file");
    let stored = home.join(".local/state/larder/credentials");
    fs::DirBuilder::new().mode(0o700).create(&stored).expect("a new folder");
    write_secret(&stored.join("work"), r#"{"kind":"keychain","of":"token"}"#);
    let words = desk.done(&[&purge[..], &["--force"]].concat());
    let yours = format!("kept, as it is yours: {}; ", own.display());
    assert!(words.contains(&yours) && words.contains("kept in the keychain"), "{words}");
    assert!(words.contains("`larder: work`") && own.exists(), "{words}");
    fs::remove_dir_all(own.parent().expect("in a folder")).expect("our own");
    desk.done(&["install", "--user", "--binary", PROGRAM]);
    let words = desk.done(&[&purge[..], &["--force"]].concat());
    assert!(words.contains("nothing is left"), "{words}");
    let left: Vec<_> = tree(&home).into_iter().filter(|entry| !before.contains(entry)).collect();
    let below = |path: &Path| path.strip_prefix(&home).expect("below it").to_string_lossy().into_owned();
    assert!(left.iter().all(|(path, _)| !below(path).contains("larder")), "{left:?}");
}

#[test]
fn a_folder_that_is_not_a_daemons_is_not_purged() {
    let desk = Desk::new();
    let precious = desk.path("home").join(".cache/larder/precious");
    fs::create_dir_all(&precious).expect("a new folder");
    let words = desk.refused(1, &["uninstall", "--user", "--purge", "--force"]);
    assert!(words.contains("by hand"), "{words}");
    assert!(precious.exists());
}
