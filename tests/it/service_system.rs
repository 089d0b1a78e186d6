//! The machine's daemon and the user's: which configuration, folders and socket each has, and who is let in.

use std::fs;
use std::path::Path;
use std::process::{Command, Output, Stdio};

use crate::support::http::Request;
use crate::support::process::Process;
use crate::support::setup::Setup;
use crate::support::wire::Addr;
use crate::support::{PATIENCE, say, until};

fn words(output: &Output) -> String {
    format!("{}{}", String::from_utf8_lossy(&output.stdout), String::from_utf8_lossy(&output.stderr))
}

/// A command as systemd would start it, with the folders that it made.
fn given(setup: &Setup, arguments: &[&str]) -> Command {
    let mut command = setup.plain();
    for (name, folder) in [
        ("CACHE_DIRECTORY", "c"),
        ("STATE_DIRECTORY", "s"),
        ("RUNTIME_DIRECTORY", "r"),
        ("CONFIGURATION_DIRECTORY", "etc"),
    ] {
        command.env(name, setup.path(folder));
    }
    command.args(arguments).stdin(Stdio::null());
    command
}

fn configure(setup: &Setup, text: &str) {
    fs::create_dir_all(setup.path("etc")).expect("a temporary folder");
    fs::write(setup.path("etc/larder.toml"), text).expect("a temporary file");
}

#[test]
fn the_machines_daemon_refuses_to_start_for_nobody() {
    let setup = Setup::new();
    let listen = format!("listen = [\"{}\"]\n", setup.addr);
    for text in [None, Some(""), Some("[access]\nusers = []\n")] {
        if let Some(text) = text {
            configure(&setup, &format!("{listen}{text}"));
        }
        for system in [&["serve", "--system"][..], &["serve"]] {
            let mut command = given(&setup, system);
            let output = command.env("LARDER_SYSTEM", "1").output().expect("it starts");
            let words = words(&output);
            assert_eq!(output.status.code(), Some(2), "{text:?}: {words}");
            let file = setup.path("etc/larder.toml").display().to_string();
            assert!(words.contains("`access.users`: names nobody"), "{words}");
            assert!(words.contains(&file) && words.contains("@builders"), "the remedy: {words}");
        }
    }
    assert!(!setup.path("c").exists() && !setup.path("s").exists(), "nothing was touched");
}

#[test]
fn the_machines_daemon_has_the_folders_that_its_manager_made_and_the_commands_find_it() {
    let setup = Setup::new();
    configure(&setup, &format!("listen = [\"{}\"]\n[access]\nusers = [\"root\"]\n", setup.addr));
    let mut command = given(&setup, &["serve", "--system"]);
    let _daemon = Process::spawn(&mut command, &setup.path("log"));
    until("it serves", PATIENCE, || {
        Request::get("/-/readyz").send(&Addr::Tcp(setup.addr)).is_ok_and(|answer| answer.status() == 200)
    });
    assert!(setup.path("c/CACHEDIR.TAG").exists() && setup.path("s/VERSION").exists());
    assert!(setup.path("r/larder.sock").exists());
    let queue = given(&setup, &["queue", "--system"]).output().expect("it starts");
    assert!(queue.status.success(), "{}", words(&queue));
    let own = given(&setup, &["queue"]).output().expect("it starts");
    if !Path::new("/run/larder/larder.sock").exists() {
        assert_eq!(own.status.code(), Some(3), "the user's daemon is another: {}", words(&own));
    }
}

#[test]
fn without_a_manager_the_machines_daemon_has_the_machines_folders() {
    let setup = Setup::new();
    let check = |command: &mut Command| {
        let output = command.env("LARDER_ACCESS_USERS", "root").output().expect("it starts");
        assert!(output.status.success(), "{}", words(&output));
        words(&output)
    };
    let machine = [
        "# cache: /var/cache/larder\n",
        "# state: /var/lib/larder\n",
        "# admin socket: /run/larder/larder.sock\n",
    ];
    let page = check(setup.plain().args(["check", "--system"]));
    // A shell that another service runs has that one's folders in its environment.
    let inherited = check(given(&setup, &["check", "--system"]).env("SYSTEMD_EXEC_PID", "1"));
    for line in machine {
        assert!(page.contains(line) && inherited.contains(line), "{page}\n{inherited}");
    }
    let page = check(&mut given(&setup, &["check"]));
    for (name, folder) in [("cache", "c"), ("state", "s")] {
        let line = format!("# {name}: {}\n", setup.path(folder).display());
        assert!(page.contains(&line), "a user's unit has folders, too: {page}");
    }
    let page = check(setup.plain().arg("check"));
    for (name, folder) in [("cache", "home/.cache/larder"), ("state", "home/.local/state/larder")] {
        let line = format!("# {name}: {}\n", setup.path(folder).display());
        assert!(
            page.contains(&line),
            "where CacheDirectory= and StateDirectory= of a user's unit are: {page}"
        );
    }
}

#[test]
fn the_users_own_file_is_read_where_none_is_named() {
    let setup = Setup::new();
    let check = |change: &dyn Fn(&mut Command)| {
        let mut command = setup.plain();
        change(command.arg("check"));
        let output = command.output().expect("it starts");
        (output.status.code(), words(&output))
    };
    let own = setup.path("home/.config/larder/larder.toml");
    let (code, page) = check(&|_| {});
    assert_eq!(code, Some(0), "{page}");
    let absent = format!("# file: none; {} would be read if it were there\n", own.display());
    assert!(page.contains(&absent), "{page}");

    fs::create_dir_all(own.parent().expect("in a folder")).expect("a temporary folder");
    fs::write(&own, "fills = 7\n").expect("a temporary file");
    let (code, page) = check(&|_| {});
    assert_eq!(code, Some(0), "{page}");
    assert!(page.contains("fills = 7") && page.contains(&format!("{}:1:9", own.display())), "{page}");
    assert!(page.contains(&format!("# file: {}\n", own.display())), "{page}");

    let other = setup.path("other.toml");
    fs::write(&other, "fills = 8\n").expect("a temporary file");
    let named: [&dyn Fn(&mut Command); 2] = [
        &|command| {
            command.arg("--config").arg(&other);
        },
        &|command| {
            command.env("LARDER_CONFIG", &other);
        },
    ];
    for named in named {
        let (_, page) = check(named);
        assert!(page.contains("fills = 8"), "{page}");
    }
    let xdg = setup.path("xdg");
    fs::create_dir_all(xdg.join("larder")).expect("a temporary folder");
    fs::rename(&other, xdg.join("larder/larder.toml")).expect("our own file");
    let (_, page) = check(&|command| {
        command.env("XDG_CONFIG_HOME", &xdg);
    });
    assert!(page.contains("fills = 8"), "{page}");

    fs::write(&own, "fils = 7\n").expect("a temporary file");
    let (code, page) = check(&|_| {});
    assert!(code == Some(2) && page.contains("is `fills` meant?"), "{page}");
    fs::remove_file(&own).expect("our own file");
    std::os::unix::fs::symlink("nowhere", &own).expect("our own folder");
    let (code, page) = check(&|_| {});
    assert!(code == Some(2) && page.contains("can't be read"), "a link to nowhere is a mistake: {page}");
}

#[test]
fn members_of_a_group_are_let_in_and_others_are_not() {
    if !rustix::process::geteuid().is_root() {
        return say("skipped: only root can be another user");
    }
    let daemon = Setup::new().config("[access]\nusers = [\"@daemon\"]").start();
    let port = daemon.url().rsplit_once(':').map(|(_, port)| port.to_owned()).expect("a port");
    let ask = |user: &str, group: &str| {
        let script = "exec 3<>/dev/tcp/127.0.0.1/$0; printf 'GET /-/stats HTTP/1.1\\r\\nhost: 127.0.0.1\\r\\n\
                      connection: close\\r\\n\\r\\n' >&3; head -n 1 <&3";
        let ids = [format!("--reuid={user}"), format!("--regid={group}")];
        let output = Command::new("setpriv")
            .args(ids)
            .args(["--clear-groups", "bash", "-c", script, &port])
            .output()
            .expect("setpriv and bash are there");
        words(&output)
    };
    let of_daemon = ask("daemon", "nogroup");
    assert!(
        of_daemon.starts_with("HTTP/1.1 200"),
        "whose own group it is, whatever the process runs as: {of_daemon}"
    );
    let other = ask("nobody", "daemon");
    assert!(other.starts_with("HTTP/1.1 403"), "who isn't in it, whatever the process runs as: {other}");
}

/// Commands of root and of somebody else, on a machine that has a daemon of its own.
const ON_THE_MACHINE: &str = "mount -t tmpfs none /run
mkdir -m 755 -p /run/larder
\"$LARDER\" serve --system &
daemon=$!
for n in $(seq 600); do
  \"$LARDER\" queue --system >/dev/null 2>&1 && break
  sleep 0.1
done
say() { echo \"$1: $?\"; }
\"$LARDER\" queue; say root
setpriv --reuid=nobody --regid=nogroup --clear-groups \"$LARDER\" queue; say nobody
\"$LARDER\" queue --dir \"$HOME\"; say own
kill $daemon; wait $daemon; say daemon";

#[test]
fn a_command_finds_the_machines_daemon_where_the_user_has_none() {
    if !rustix::process::geteuid().is_root() {
        return say("skipped: only root has a machine to itself");
    }
    let setup = Setup::new();
    // Somebody else must be able to start it.
    let program = setup.path("larder");
    fs::copy(env!("CARGO_BIN_EXE_larder"), &program).expect("a temporary file");
    let mode = std::os::unix::fs::PermissionsExt::from_mode(0o711);
    fs::set_permissions(program.parent().expect("in a folder"), mode).expect("our own folder");
    let mut command = Command::new("unshare");
    command.args(["--mount", "sh", "-c", ON_THE_MACHINE]);
    for (name, value) in setup.plain().get_envs() {
        command.env(name, value.unwrap_or_default());
    }
    command
        .env("LARDER", &program)
        .env("LARDER_LISTEN", setup.addr.to_string())
        .env("LARDER_ACCESS_USERS", "root")
        .env("CACHE_DIRECTORY", setup.path("c"))
        .env("STATE_DIRECTORY", setup.path("s"))
        .env_remove("LARDER_SYSTEM")
        .env_remove("XDG_RUNTIME_DIR");
    let output = command.stdin(Stdio::null()).output().expect("unshare starts");
    let words = words(&output);
    for line in ["root: 0\n", "nobody: 1\n", "own: 3\n", "daemon: 0\n"] {
        assert!(words.contains(line), "{line}{words}");
    }
    assert!(words.contains("/run/larder/larder.sock is for root and the daemon's own user"), "{words}");
}
