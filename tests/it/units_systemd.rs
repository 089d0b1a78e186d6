//! The installed service in the care of a real systemd: started by the first request, killed, restarted, broken and
//! mended, for a user and for the machine, and gone without a trace.

use std::process::Output;

use crate::support::desk::words;
use crate::support::machine::{ADA, BOB, Machine};
use crate::support::{PATIENCE, until};

const HEALTH: &str = "http://127.0.0.1:5273/-/healthz";
const ENTRY: &str = "http://127.0.0.1:5273/blob/ns/x";

#[track_caller]
fn done(output: &Output) -> String {
    assert!(output.status.success(), "{}", words(output));
    words(output)
}

#[track_caller]
fn refused(code: i32, output: &Output) -> String {
    assert_eq!(output.status.code(), Some(code), "{}", words(output));
    words(output)
}

/// Everything in these folders, but what `without` names.
fn tree(machine: &Machine, folders: &[&str], without: &[&str]) -> Vec<String> {
    let all = [&["find"], folders, &["-printf", "%y %m %U %p\\n"]].concat();
    let output = machine.root(&all);
    let text = String::from_utf8_lossy(&output.stdout).into_owned();
    let mut lines: Vec<String> = text
        .lines()
        .filter(|line| !without.iter().any(|part| line.contains(part)))
        .map(str::to_owned)
        .collect();
    lines.sort();
    lines
}

/// The pid that a manager has for the service.
fn main_pid(machine: &Machine, uid: Option<u32>) -> String {
    let output = match uid {
        Some(uid) => {
            let runtime = format!("XDG_RUNTIME_DIR=/run/user/{uid}");
            machine.user(uid, &["env", &runtime, "systemctl", "--user", "show", "-P", "MainPID", "larder"])
        }
        None => machine.root(&["systemctl", "show", "-P", "MainPID", "larder"]),
    };
    done(&output).trim().to_owned()
}

#[test]
fn a_users_service_is_started_by_a_request_outlives_kills_and_leaves_nothing() {
    let Some(machine) = Machine::boot() else { return };
    let larder = |args: &[&str]| machine.user(ADA, &[&["larder", "service"], args].concat());
    let no_manager = refused(1, &larder(&["install"]));
    assert!(no_manager.contains("enable-linger ada"), "nobody is signed in: {no_manager}");
    machine.sign_in("ada");
    let seen = || tree(&machine, &["/home/ada", "/run/user/4273"], &[".cache", ".local", "/systemd/units/"]);
    machine.user(ADA, &["mkdir", "/home/ada/.config"]);
    let before = seen();

    let page = done(&larder(&["install"]));
    assert!(page.contains("sudo loginctl enable-linger ada"), "no logind here: {page}");
    assert!(refused(3, &larder(&["status"])).contains("the next request starts it"));
    assert_eq!(main_pid(&machine, Some(ADA)), "0", "asking for its state doesn't start it");
    assert_eq!(machine.curl(ADA, &[HEALTH]), Ok("ok\n 200".into()));
    let status = done(&larder(&["status"]));
    assert!(
        status.contains("service: active (running), enabled") && status.contains("daemon:  larder "),
        "{status}"
    );
    assert!(done(&larder(&["install"])).contains("installed already, as wanted"));
    assert_eq!(
        machine.curl(ADA, &["-T", "/etc/machine-id", ENTRY]).map(|text| text.contains("200")),
        Ok(true)
    );

    for round in 0..5 {
        let pid = main_pid(&machine, Some(ADA));
        done(&machine.user(ADA, &["kill", "-9", &pid]));
        let answer = machine.curl(ADA, &[ENTRY]);
        assert!(answer.as_ref().is_ok_and(|text| text.ends_with(" 200")), "kill {round}: {answer:?}");
        until("it is another process", PATIENCE, || !["0", &pid].contains(&&*main_pid(&machine, Some(ADA))));
    }
    let pid = main_pid(&machine, Some(ADA));
    // The upgrade: another file of the same name.
    done(&machine.root(&["cp", "--remove-destination", "/usr/local/bin/larder", "/usr/local/bin/new"]));
    done(&machine.root(&["mv", "/usr/local/bin/new", "/usr/local/bin/larder"]));
    done(&larder(&["restart"]));
    assert_ne!(main_pid(&machine, Some(ADA)), pid);

    machine.sign_in("bob");
    let taken = refused(1, &machine.user(BOB, &["larder", "service", "install"]));
    assert!(taken.contains("5273") && taken.contains("--system"), "another user's: {taken}");
    let stranger = machine.curl(BOB, &[ENTRY]);
    assert!(
        stranger.as_ref().is_ok_and(|text| text.contains("403") && text.contains("access.users")),
        "{stranger:?}"
    );

    done(&larder(&["stop"]));
    assert_eq!(machine.curl(ADA, &[HEALTH]), Err(7), "refused at once");
    done(&larder(&["start"]));
    assert!(machine.curl(ADA, &[ENTRY]).is_ok_and(|text| text.ends_with(" 200")), "what was put is there");
    let kept = done(&larder(&["uninstall"]));
    assert!(kept.contains("kept, as --purge was not said: /home/ada/.cache/larder"), "{kept}");
    assert_eq!(seen(), before);
    assert_eq!(machine.curl(ADA, &[HEALTH]), Err(7));
}

#[test]
fn a_broken_configuration_is_said_and_tools_are_refused_until_it_is_mended() {
    let Some(machine) = Machine::boot() else { return };
    machine.sign_in("ada");
    let larder = |args: &[&str]| machine.user(ADA, &[&["larder", "service"], args].concat());
    let write = |name: &str, text: &str| {
        let script = format!("mkdir -p ~/.config/larder && printf '%s' '{text}' > ~/.config/larder/{name}");
        done(&machine.user(ADA, &["sh", "-c", &script]));
    };
    // Everything that a unit gives a meaning to.
    let binary = "/usr/local/lib/of mine; 100%h $HOME/larder";
    done(&machine.root(&["install", "-D", "/usr/local/bin/larder", binary]));
    done(&larder(&["install", "--binary", binary]));
    // A variable reaches the daemon by the unit's file of them.
    write("environment", "LARDER_CONFIG=/home/ada/.config/larder/larder.toml\n");
    write("larder.toml", "memorry = 1\n");
    // The log comes to journald by itself, in its own time.
    until("the words of the daemon are shown", PATIENCE, || {
        let words = refused(1, &larder(&["start"]));
        assert!(words.contains("journalctl --user -u larder"), "{words}");
        words.contains("memorry")
    });
    // The first requests try; then systemd gives up, and nobody waits for nothing.
    until("the sockets are closed", PATIENCE, || machine.curl(ADA, &["-m", "1", HEALTH]) == Err(7));
    let status = refused(3, &larder(&["status"]));
    assert!(status.contains("failed") && status.contains("larder service start"), "{status}");
    write("larder.toml", "memory = \"64 MiB\"\n");
    let line = done(&larder(&["start"]));
    assert!(line.contains("larder ") && line.contains("ready"), "{line}");
    assert_eq!(machine.curl(ADA, &[HEALTH]), Ok("ok\n 200".into()));
    done(&larder(&["uninstall", "--purge"]));
}

#[test]
fn the_machines_service_serves_whom_it_names_behind_its_hardening_and_leaves_nothing() {
    let Some(machine) = Machine::boot() else { return };
    let larder = |args: &[&str]| machine.root(&[&["larder", "service"], args, &["--system"]].concat());
    let folders = ["/etc", "/var/cache", "/var/lib", "/run"];
    let seen = || {
        let ours = |line: &String| line.contains("larder") && !line.contains("/run/over");
        tree(&machine, &folders, &[]).into_iter().filter(ours).collect::<Vec<_>>()
    };
    assert_eq!(seen(), [""; 0], "a machine without larder");
    assert!(refused(1, &machine.user(ADA, &["larder", "service", "install", "--system"])).contains("sudo"));

    let page = done(&larder(&["install"]));
    assert!(page.contains("access.users"), "{page}");
    until("the words of the daemon are shown", PATIENCE, || {
        let words = refused(1, &larder(&["start"]));
        assert!(words.contains("journalctl -u larder"), "{words}");
        words.contains("access.users")
    });
    done(&machine.root(&["groupadd", "--users", "ada", "builders"]));
    done(&machine.root(&["sh", "-c", "echo 'access.users = [\"@builders\"]' > /etc/larder/larder.toml"]));
    done(&larder(&["start"]));
    let status = done(&larder(&["status"]));
    assert!(status.contains("active (running), enabled"), "{status}");
    assert!(machine.curl(ADA, &["-T", "/etc/machine-id", ENTRY]).is_ok_and(|text| text.contains("200")));
    assert!(machine.curl(ADA, &[ENTRY]).is_ok_and(|text| text.ends_with(" 200")));
    let stranger = machine.curl(BOB, &[ENTRY]);
    assert!(stranger.as_ref().is_ok_and(|text| text.contains("403")), "{stranger:?}");
    assert_eq!(machine.curl(BOB, &["--unix-socket", "/run/larder/larder.sock", HEALTH]), Err(7), "root's");
    let pid = main_pid(&machine, None);
    // Its folder there is root's: nobody else may look into it.
    let uid = done(&machine.root(&["ps", "-o", "user=", "-p", &pid]));
    assert_eq!(uid.trim(), "larder");
    done(&machine.root(&["kill", "-9", &pid]));
    assert!(machine.curl(ADA, &[ENTRY]).is_ok_and(|text| text.ends_with(" 200")));
    done(&larder(&["restart"]));
    done(&machine.root(&["systemctl", "reload", "larder"]));
    assert!(machine.curl(ADA, &[ENTRY]).is_ok_and(|text| text.ends_with(" 200")));

    let words = done(&larder(&["uninstall", "--purge"]));
    assert!(words.contains("uninstalled; kept, as it is yours: /etc/larder/larder.toml\n"), "{words}");
    done(&machine.root(&["rm", "-r", "/etc/larder"]));
    assert_eq!(seen(), [""; 0]);
    let account = machine.root(&["getent", "passwd", "larder"]);
    assert!(!account.status.success(), "{}", self::words(&account));
}
