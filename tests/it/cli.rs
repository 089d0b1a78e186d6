//! The command line against a daemon that is well or in trouble: what it says, where, and with which exit code.

mod fakes;

use std::fs;
use std::io::{BufRead, BufReader, Read};
use std::process::{Child, Output, Stdio};

use rustix::process::{Pid, Signal, kill_process};
use serde_json::Value;

use crate::support::daemon::Daemon;
use crate::support::fault::Fault;
use crate::support::http::Request;
use crate::support::proxy::FaultProxy;
use crate::support::setup::Setup;
use crate::support::weed::{self, Keys, Weed};
use crate::support::{PATIENCE, eventually, until};

/// A setup that no full disk of the test machine makes need a person.
fn well() -> Setup {
    Setup::new().config("disk_keep_free = 0\ninodes_keep_free = 0")
}

fn stdout(output: &Output) -> String {
    String::from_utf8_lossy(&output.stdout).into_owned()
}

fn stderr(output: &Output) -> String {
    String::from_utf8_lossy(&output.stderr).into_owned()
}

fn status(daemon: &Daemon) -> (Option<i32>, String) {
    let output = daemon.cli(&["status"]);
    assert_eq!(stderr(&output), "");
    (output.status.code(), stdout(&output))
}

fn json(output: &Output) -> Value {
    serde_json::from_slice(&output.stdout).unwrap_or_else(|error| panic!("{error}: {output:?}"))
}

/// A command that goes on, against this daemon.
fn spawned(daemon: &Daemon, arguments: &[&str]) -> Child {
    let mut command = daemon.setup().plain();
    command.args(arguments).arg("--dir").arg(daemon.setup().dir());
    command.stdin(Stdio::null()).stdout(Stdio::piped()).stderr(Stdio::piped());
    command.spawn().expect("the binary starts")
}

fn signal(id: u32, signal: Signal) {
    let id = i32::try_from(id).ok().and_then(Pid::from_raw).expect("a child has an id");
    kill_process(id, signal).expect("our own child");
}

#[test]
fn status_tells_up_from_down_from_denied() {
    let keys = Keys::new("one");
    let weed = Weed::start(&[&keys]);
    let way = FaultProxy::to(weed.addr());
    let daemon = well().upstream(weed::url(way.addr(), "")).keys(&keys).start();
    assert_eq!(daemon.put("/blob/x/first", vec![7; 100_000]).status(), 200);
    daemon.flush();
    assert_eq!(daemon.get("/blob/x/first").status(), 200);
    assert_eq!(daemon.get("/blob/x/absent").status(), 404);
    let (code, text) = status(&daemon);
    assert_eq!(code, Some(0), "{text}");
    for words in [
        "healthy\n",
        "  read           up since ",
        "  write          up since ",
        "queue            empty",
        "\nblob ",
    ] {
        assert!(text.contains(words), "{words:?} is not in:\n{text}");
    }
    let page = json(&daemon.cli(&["status", "--json"]));
    assert!(page["queue"]["bytes_per_s"].as_u64() > Some(0), "100 kB went up just now: {page:#}");
    assert_eq!(page["queue"]["empty_in_s"], 0);

    way.set(Fault::Refuse);
    until("writes are down", PATIENCE, || {
        daemon.put("/blob/x/second", "second");
        daemon.upstream("write").0 == "down"
    });
    let (code, text) = status(&daemon);
    assert_eq!(code, Some(0), "down needs nobody: {text}");
    for words in
        ["healthy\n", "  write          down since ", "it is asked again by itself", "the oldest for "]
    {
        assert!(text.contains(words), "{words:?} is not in:\n{text}");
    }
    let page = json(&daemon.cli(&["status", "--json"]));
    assert!(page["queue"]["entries"].as_u64() > Some(0) && page["queue"]["oldest_ms"].is_u64(), "{page:#}");

    way.set(Fault::ACCESS_DENIED);
    daemon.until_upstream("write", &["denied"]);
    let (code, text) = status(&daemon);
    assert_eq!(code, Some(1), "{text}");
    for words in
        ["needs attention\n", "  write          denied since ", "AccessDenied", "give the keys the right"]
    {
        assert!(text.contains(words), "{words:?} is not in:\n{text}");
    }
    let page = json(&daemon.cli(&["status", "--json"]));
    assert_eq!((&page["running"], &page["healthy"]), (&true.into(), &false.into()));
    let remedy = page["upstreams"][0]["write"]["remedy"].as_str().unwrap_or_default();
    assert!(remedy.starts_with("give the keys the right"), "{page:#}");
    let name = page["upstreams"][0]["name"].as_str().unwrap_or_default();
    assert!(page["warnings"][format!("upstream.{name}.write")]["words"].is_string(), "{page:#}");

    way.set(Fault::None);
    daemon.flush();
    let (code, text) = status(&daemon);
    assert_eq!(code, Some(0), "{text}");
}

#[test]
fn the_json_has_every_documented_field() {
    let daemon = well().start();
    daemon.put("/blob/x/one", "one");
    daemon.get("/blob/x/one");
    let output = daemon.cli(&["status", "--json"]);
    assert_eq!((output.status.code(), stderr(&output)), (Some(0), String::new()));
    let page = json(&output);
    for pointer in [
        "/running",
        "/healthy",
        "/version",
        "/pid",
        "/started_ms",
        "/uptime_s",
        "/ready",
        "/connections",
        "/configuration/file",
        "/configuration/applied_ms",
        "/configuration/applied",
        "/configuration/problems",
        "/configuration/problems_since_ms",
        "/configuration/needs_restart",
        "/listeners/0/endpoint",
        "/listeners/0/only",
        "/listeners/0/gate",
        "/listeners/0/adopted",
        "/memory/bound_bytes",
        "/disk/entries",
        "/disk/bytes",
        "/disk/bound_bytes",
        "/disk/draft_bytes",
        "/disk/corrupt",
        "/disk/evictions",
        "/outbox/bound_bytes",
        "/free_bytes",
        "/keep_free_bytes",
        "/free_inodes",
        "/inodes",
        "/keep_free_inodes",
        "/queue/entries",
        "/queue/bytes",
        "/queue/bound_entries",
        "/queue/bound_bytes",
        "/queue/oldest_ms",
        "/queue/known",
        "/queue/bytes_per_s",
        "/queue/entries_per_s",
        "/queue/empty_in_s",
        "/upstreams",
        "/protocols/blob/hits/memory",
        "/protocols/blob/misses",
        "/protocols/blob/puts",
        "/partial_uploads/count",
        "/partial_uploads/bytes",
        "/partial_uploads/live",
        "/sheds/queue_bytes",
        "/sheds_lately/within_s",
        "/sheds_lately/sheds/queue_bytes",
        "/totals/uploads",
        "/fills",
        "/facts",
        "/absences",
        "/warnings",
    ] {
        assert!(page.pointer(pointer).is_some(), "{pointer} is not in {page:#}");
    }
    assert_eq!(page["pid"], daemon.id());
    let gates: Vec<&str> = page["listeners"]
        .as_array()
        .expect("a list")
        .iter()
        .map(|one| one["gate"].as_str().unwrap_or_default())
        .collect();
    assert_eq!(gates, ["users", "users", "admin"]);
    assert!(page["listeners"].as_array().expect("a list").iter().all(|one| one["adopted"] == false));

    // By the admin socket only, and every answer says who gives it.
    for (path, code) in [("/-/status", 403), ("/-/stats", 200), ("/-/nothing", 404)] {
        let answer = daemon.get(path);
        assert_eq!(
            (answer.status(), answer.header("larder-version")),
            (code, page["version"].as_str()),
            "{path}"
        );
    }
    let answer = Request::get("/-/status").send(&daemon.admin()).expect("an answer");
    assert_eq!(answer.status(), 200);
}

#[test]
fn what_is_shed_needs_a_person() {
    let daemon = well().config("entry_max = \"1 KiB\"").start();
    assert_eq!(daemon.put("/blob/x/large", vec![0; 2048]).status(), 200, "it is taken calmly");
    let (code, text) = status(&daemon);
    assert_eq!(code, Some(1), "{text}");
    assert!(
        text.contains("shed since start 1 entry_max") && text.contains("`entry_max`; raise it"),
        "{text}"
    );
}

#[test]
fn a_watch_goes_on_over_a_restart_and_ends_well_by_ctrl_c() {
    let daemon = well().start();
    let mut watch = spawned(&daemon, &["status", "--watch", "--json", "--interval", "100 ms"]);
    let mut lines = BufReader::new(watch.stdout.take().expect("it is piped")).lines();
    let mut until_running = |running: bool| {
        eventually("the watch sees it", PATIENCE, || {
            let line = lines.next().expect("it goes on").expect("text");
            let page: Value = serde_json::from_str(&line).expect("one object a line");
            (page["running"] == running).then_some(page)
        })
    };
    until_running(true);
    let setup = daemon.kill();
    until_running(false);
    let daemon = setup.start();
    let page = until_running(true);
    assert_eq!(page["pid"], daemon.id());
    signal(watch.id(), Signal::INT);
    let output = watch.wait_with_output().expect("it ends");
    assert_eq!((output.status.code(), stderr(&output)), (Some(0), String::new()));
}

#[test]
fn a_watch_for_people_ends_with_its_reader() {
    let daemon = well().start();
    let mut watch = spawned(&daemon, &["status", "--watch", "--interval", "100 ms"]);
    let mut lines = BufReader::new(watch.stdout.take().expect("it is piped")).lines().map_while(Result::ok);
    for _ in 0..2 {
        assert!(lines.any(|line| line.starts_with("larder ") && line.ends_with("healthy")), "a block");
        assert!(lines.any(|line| line.is_empty()), "and its end");
    }
    drop(lines);
    let output = watch.wait_with_output().expect("it ends");
    assert_eq!((output.status.code(), stderr(&output)), (Some(0), String::new()));
}

#[test]
fn ctrl_c_ends_a_flush_and_leaves_the_queue() {
    let way = FaultProxy::to(crate::support::free_addr());
    way.set(Fault::Refuse);
    let keys = Keys::new("one");
    let daemon = well().upstream(weed::url(way.addr(), "")).keys(&keys).start();
    assert_eq!(daemon.put("/blob/x/one", "one").status(), 200);
    let mut flush = spawned(&daemon, &["flush"]);
    let mut said = BufReader::new(flush.stderr.take().expect("it is piped"));
    let mut line = String::new();
    said.read_line(&mut line).expect("progress");
    assert!(line.starts_with("1 entry, 3 B"), "{line:?}");
    signal(flush.id(), Signal::INT);
    let mut rest = String::new();
    said.read_to_string(&mut rest).expect("its last words");
    assert_eq!(flush.wait().expect("it ends").code(), Some(130));
    assert!(rest.contains("what is queued stays queued"), "{rest:?}");
    assert_eq!(daemon.queued(), 1);
}

#[test]
fn colours_are_for_terminals_and_a_closed_pipe_is_no_failure() {
    let daemon = well().start();
    let with = |name: &str| {
        let mut command = daemon.setup().plain();
        command.env(name, "1").arg("status").arg("--dir").arg(daemon.setup().dir()).stdin(Stdio::null());
        stdout(&command.output().expect("it starts"))
    };
    assert!(!with("UNRELATED").contains('\x1b') && !with("NO_COLOR").contains('\x1b'));
    assert!(with("CLICOLOR_FORCE").contains('\x1b'));
    for arguments in
        [&["status"] as &[&str], &["status", "--json"], &["queue"], &["man"], &["completions", "bash"]]
    {
        let (reader, writer) = std::io::pipe().expect("a pipe");
        drop(reader);
        let mut command = daemon.setup().plain();
        command.args(arguments).stdout(writer);
        if matches!(arguments[0], "status" | "queue") {
            command.arg("--dir").arg(daemon.setup().dir());
        }
        let output = command.output().expect("it starts");
        assert_eq!((output.status.code(), stderr(&output)), (Some(0), String::new()), "{arguments:?}");
    }
}

#[test]
fn manual_pages_and_completions_come_from_the_binary() {
    let setup = Setup::new();
    let folder = tempfile::tempdir().expect("a folder");
    let pages = folder.path().join("a b/man1");
    let output = setup.plain().args(["man", "--dir"]).arg(&pages).output().expect("it starts");
    assert!(output.status.success() && output.stdout.is_empty(), "{output:?}");
    let page = fs::read_to_string(pages.join("larder-status.1")).expect("a page");
    assert!(page.contains("EXIT STATUS") && page.contains("\\-\\-watch"), "{page}");
    for shell in ["bash", "zsh", "fish", "elvish", "powershell"] {
        let output = setup.plain().args(["completions", shell]).output().expect("it starts");
        assert!(output.status.success() && stdout(&output).contains("status"), "{shell}");
    }
    let output = setup.plain().args(["completions", "tcsh"]).output().expect("it starts");
    assert_eq!(output.status.code(), Some(2), "{output:?}");
    let output = setup.plain().args(["status", "--interval", "1 s"]).output().expect("it starts");
    assert!(output.status.code() == Some(2) && stderr(&output).contains("--watch"), "{output:?}");
}
