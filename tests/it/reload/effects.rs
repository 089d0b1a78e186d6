//! What can be said, and that it counts at once.

use std::fs;
use std::os::unix::fs::PermissionsExt as _;
use std::path::Path;
use std::process::Command;

use tempfile::TempDir;

use super::{change, marked, replace, start, until_in_force};
use crate::support::daemon::Daemon;
use crate::support::http::Request;
use crate::support::process::Process;
use crate::support::setup::{KeyFile as _, Setup};
use crate::support::weed::{self, Keys, Weed};
use crate::support::wire::Addr;
use crate::support::{PATIENCE, free_addr, say, until, write_secret};

fn home() -> TempDir {
    TempDir::new().expect("a temporary folder")
}

/// A namespace whose upstream is a folder.
fn namespace(name: &str, folder: &Path, prefix: &str) -> String {
    format!(
        "[upstreams.{name}]\nurl = \"file://{}\"\n[namespaces.web]\nupstream = \"{name}\"\nprefix = \"{prefix}\"\n",
        folder.display()
    )
}

fn put(daemon: &Daemon, path: &str) {
    assert_eq!(daemon.put(path, path).status(), 200, "{path}");
}

#[test]
fn what_is_queued_waits_for_an_upstream_that_is_gone_until_it_is_back() {
    let home = home();
    // A folder that is not there yet is an upstream that is down.
    let folder = home.path().join("team");
    let team = namespace("team", &folder, "");
    let daemon = start("with", &team);
    for n in 0..3 {
        put(&daemon, &format!("/blob/web/{n}"));
    }
    assert_eq!(daemon.queued(), 3);

    change(&daemon, "without", "");
    assert_eq!(daemon.stats()["upstreams"], serde_json::json!([]));
    put(&daemon, "/blob/web/3");
    assert_eq!(daemon.queued(), 3, "what is put now has nowhere to go");
    let list = daemon.cli(&["queue"]);
    let list = String::from_utf8_lossy(&list.stdout).into_owned();
    assert!(list.contains("not configured any more"), "{list}");
    assert_eq!(daemon.get("/blob/web/0").text(), "/blob/web/0");

    // Nor does a restart lose it.
    let daemon = daemon.kill();
    let daemon = daemon.config("").start();
    fs::write(daemon.setup().config_path(), marked("without", "")).expect("our own file");
    until_in_force(&daemon, "without");
    assert_eq!(daemon.queued(), 3);

    fs::create_dir(&folder).expect("a temporary folder");
    change(&daemon, "again", &team);
    until("what waited has gone there", PATIENCE, || daemon.queued() == 0);
    for n in 0..3 {
        let path = format!("blob/web/{n}");
        assert_eq!(fs::read_to_string(folder.join(&path)).ok(), Some(format!("/{path}")));
    }
    assert!(!folder.join("blob/web/3").exists());
    put(&daemon, "/blob/web/4");
    daemon.flush();
    assert!(folder.join("blob/web/4").exists());
}

#[test]
fn a_namespace_moves_and_its_mode_changes() {
    let home = home();
    let (one, two) = (home.path().join("one"), home.path().join("two"));
    for folder in [&one, &two] {
        fs::create_dir(folder).expect("a temporary folder");
    }
    let daemon = start("one", &namespace("one", &one, ""));
    put(&daemon, "/blob/web/a");
    daemon.flush();
    change(&daemon, "two", &namespace("two", &two, "below"));
    put(&daemon, "/blob/web/b");
    daemon.flush();
    assert!(one.join("blob/web/a").exists() && !one.join("blob/web/b").exists());
    assert!(two.join("below/blob/web/b").exists());
    assert_eq!(daemon.get("/blob/web/a").text(), "/blob/web/a", "what is here stays");

    let read_only =
        namespace("two", &two, "below").replace("[namespaces", "mode = \"read-only\"\n[namespaces");
    change(&daemon, "read_only", &read_only);
    put(&daemon, "/blob/web/c");
    assert_eq!(daemon.queued(), 0);
    change(&daemon, "written", &namespace("two", &two, "below"));
    put(&daemon, "/blob/web/d");
    daemon.flush();
    assert!(!two.join("below/blob/web/c").exists() && two.join("below/blob/web/d").exists());
    fs::create_dir_all(one.join("blob/web")).expect("a temporary folder");
    fs::write(one.join("blob/web/theirs"), "theirs").expect("a temporary file");
    assert_eq!(daemon.get("/blob/web/theirs").status(), 404);
    change(&daemon, "back", &namespace("one", &one, ""));
    until("it is read from there", PATIENCE, || daemon.get("/blob/web/theirs").text() == "theirs");
}

#[test]
fn other_keys_count_at_once() {
    let (good, bad) = (Keys::new("good"), Keys::new("bad"));
    let weed = Weed::start(&[&good]);
    let home = home();
    for (name, keys) in [("good", &good), ("bad", &bad)] {
        keys.write(&home.path().join(name));
    }
    let url = weed::url(weed.addr(), "team");
    let config = |name: &str| {
        let path = home.path().join(name);
        format!(
            "upstream = \"team\"\n[upstreams.team]\nurl = \"{url}\"\ncredentials = \"{}\"\n",
            path.display()
        )
    };
    let daemon = start("bad", &config("bad"));
    put(&daemon, "/blob/ns/x");
    daemon.until_upstream("write", &["denied"]);
    assert_eq!(daemon.queued(), 1);
    change(&daemon, "good", &config("good"));
    until("it goes upstream with the good keys", PATIENCE, || daemon.queued() == 0);
    assert_eq!(daemon.upstream("write").0, "up");
}

#[test]
fn bounds_count_at_once() {
    let home = home();
    // Never there: what is put waits.
    let upstream = format!("upstream = \"file://{}\"\n", home.path().join("absent").display());
    let daemon = start("start", &upstream);
    let sheds = |reason: &str| daemon.stat(&format!("/sheds/{reason}"));
    change(&daemon, "few", &format!("{upstream}queue_entries = 2\n"));
    (0..5).for_each(|n| put(&daemon, &format!("/blob/few/{n}")));
    assert_eq!((daemon.queued(), sheds("queue_entries")), (2, 3));
    change(&daemon, "more", &format!("{upstream}queue_entries = 4\n"));
    (0..5).for_each(|n| put(&daemon, &format!("/blob/more/{n}")));
    assert_eq!((daemon.queued(), sheds("queue_entries")), (4, 6));
    change(&daemon, "bytes", &format!("{upstream}queue_bytes = 100\n"));
    assert_eq!(daemon.put("/blob/bytes/x", vec![1; 200]).status(), 200);
    assert_eq!(sheds("queue_bytes"), 1);

    change(&daemon, "small", "entry_max = 100\nmemory = 0\n");
    daemon.put("/blob/small/x", vec![1; 200]);
    assert_eq!(daemon.get("/blob/small/x").status(), 404);
    assert_eq!(daemon.stat("/memory/entries"), 0);
    change(&daemon, "large", "entry_max = 1000\nmemory = \"10 MiB\"\n");
    assert_eq!(daemon.put("/blob/small/x", vec![1; 200]).status(), 200);
    assert_eq!(daemon.get("/blob/small/x").body.len(), 200);
    until("it is in memory", PATIENCE, || {
        daemon.get("/blob/small/x");
        daemon.stat("/memory/entries") > 0
    });

    for n in 0..20_u8 {
        assert_eq!(daemon.put(format!("/blob/disk/{n}"), vec![n; 900]).status(), 200);
    }
    change(&daemon, "disk", "disk = 4096\nentry_max = 1000\n");
    until("the cache has become small", PATIENCE, || daemon.stat("/disk/bytes") <= 4096);
    change(&daemon, "floor", "disk_floor = \"1000 TiB\"\n");
    put(&daemon, "/blob/floor/x");
    assert_eq!(daemon.get("/blob/floor/x").status(), 404, "nothing more is written");
    change(&daemon, "no_floor", "disk_floor = 0\ndisk_keep_free = 0\n");
    put(&daemon, "/blob/floor/x");
    assert_eq!(daemon.get("/blob/floor/x").status(), 200);
}

#[test]
fn bounds_on_connections_count_at_once() {
    let daemon = start("start", "");
    let idle: Vec<_> = (0..20).map(|_| daemon.addr().connect().expect("it is accepted")).collect();
    until("all are accepted", PATIENCE, || daemon.stat("/connections") > 20);
    change(&daemon, "few", "connections = 5\n");
    until("the idle ones over the bound are gone", PATIENCE, || daemon.stat("/connections") <= 5);
    drop(idle);
    let idle = daemon.addr().connect().expect("it is accepted");
    change(&daemon, "short", "idle = \"50 ms\"\n");
    until("who idles is gone", PATIENCE, || daemon.stat("/connections") <= 1);
    drop(idle);
}

#[test]
fn tokens_and_users_count_at_once() {
    let (home, open) = (home(), free_addr());
    let (one, two) = (home.path().join("one"), home.path().join("two"));
    write_secret(&one, "ci:0123456789abcdef\n");
    write_secret(&two, "ci:fedcba9876543210\n");
    let listener = format!("[[listeners]]\naddress = \"0.0.0.0:{}\"\ninsecure = true\n", open.port());
    let config = |tokens: &Path| format!("access.tokens = \"{}\"\n{listener}", tokens.display());
    let daemon = start("one", &config(&one));
    let lets_in = |token: &str| {
        let request = Request::get("/-/healthz").header("Authorization", format!("Bearer {token}"));
        request.send(&Addr::Tcp(open)).expect("an answer").status() == 200
    };
    assert!(lets_in("0123456789abcdef") && !lets_in("fedcba9876543210"));
    change(&daemon, "two", &config(&two));
    assert!(!lets_in("0123456789abcdef") && lets_in("fedcba9876543210"));
    // The file itself, in place.
    write_secret(&two, "ci:00112233445566778899\n");
    until("the new token is taken", PATIENCE, || lets_in("00112233445566778899"));
    assert!(!lets_in("fedcba9876543210"));
    assert!(daemon.log().contains("changed=\"access.tokens\""), "{}", daemon.log());
    assert!(!daemon.log().contains("00112233445566778899"), "and is not shown");
    fs::set_permissions(&two, fs::Permissions::from_mode(0o640)).expect("our own file");
    super::until_refused(&daemon, &["has mode 0640", "chmod 0600"]);
    assert!(lets_in("00112233445566778899"));
    fs::set_permissions(&two, fs::Permissions::from_mode(0o600)).expect("our own file");
    until_in_force(&daemon, "two");

    if !rustix::process::geteuid().is_root() {
        say("passed over: only root can be another user");
        return;
    }
    let port = daemon.url().rsplit_once(':').map(|(_, port)| port.to_owned()).expect("a port");
    let nobody = || {
        let script = "exec 3<>/dev/tcp/127.0.0.1/$0; printf 'GET /-/healthz HTTP/1.1\\r\\nhost: 127.0.0.1\\r\\n\
                      connection: close\\r\\n\\r\\n' >&3; head -n 1 <&3";
        let output = Command::new("setpriv")
            .args(["--reuid=65534", "--regid=65534", "--clear-groups", "bash", "-c", script, &port])
            .output()
            .expect("setpriv and bash are there");
        String::from_utf8_lossy(&output.stdout).into_owned()
    };
    assert!(nobody().starts_with("HTTP/1.1 403"));
    change(&daemon, "users", "access.users = [65534]\n");
    assert!(nobody().starts_with("HTTP/1.1 200"));
    change(&daemon, "no_users", "");
    assert!(nobody().starts_with("HTTP/1.1 403"));
}

#[test]
fn what_is_logged_counts_at_once() {
    let setup = Setup::new().config(&marked("start", ""));
    let mut command = setup.serve();
    // The environment would be over the file.
    command.env_remove("LARDER_LOG");
    let process = Process::spawn(&mut command, &setup.config_path().with_file_name("own-log"));
    let addr = setup.tcp();
    let get = |path: &str, host: &str| {
        Request::get(path).header("host", host).send(&addr).map_or(0, |answer| answer.status())
    };
    let change = |name: &str, filter: &str| {
        replace(&setup.config_path(), &marked(name, &format!("log.filter = \"{filter}\"\n")));
        until("it is in force", PATIENCE, || get("/-/healthz", &format!("{name}.test")) == 200);
    };
    until("it is ready", PATIENCE, || get("/-/readyz", "127.0.0.1") == 200);
    get("/blob/ns/before", "127.0.0.1");
    change("loud", "info,larder::access=debug");
    get("/blob/ns/loud", "127.0.0.1");
    until("the request is logged", PATIENCE, || process.said().contains("path=\"/blob/ns/loud\""));
    change("quiet", "info");
    let marks = process.said().matches("larder::access").count();
    get("/blob/ns/quiet", "127.0.0.1");
    change("quieter", "warn");
    assert_eq!(process.said().matches("larder::access").count(), marks);
    assert!(!process.said().contains("/blob/ns/before"));
}
