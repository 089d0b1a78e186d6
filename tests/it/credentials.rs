//! Stored credentials with the real binary and a real bucket: stored, removed, stored again; whose eyes see them.

use std::fs;
use std::net::SocketAddr;
use std::os::unix::fs::PermissionsExt as _;
use std::path::PathBuf;
use std::process::{Child, ChildStdin, ChildStdout, Command, Output, Stdio};
use std::time::Duration;

use serde_json::Value;

use crate::support::azurite::{self, Azurite};
use crate::support::daemon::Daemon;
use crate::support::gcs::{self, Gcs, Role};
use crate::support::proxy::FaultProxy;
use crate::support::setup::Setup;
use crate::support::weed::{self, Keys, Weed};
use crate::support::{PATIENCE, until};
use crate::upstream_http::Hub;

/// A prober looks for other keys every few seconds, and probes every 60 s at worst.
const DRAIN: Duration = Duration::from_secs(150);

/// An upstream whose keys are the stored ones called `work`.
pub(crate) fn laptop(weed: &Weed) -> Setup {
    laptop_at(weed.addr())
}

/// The same, where the bucket is reached at `addr`.
pub(crate) fn laptop_at(addr: SocketAddr) -> Setup {
    Setup::new().upstream(format!("{}&credential=work", weed::url(addr, "team")))
}

/// What standard input says of keys.
pub(crate) fn document(keys: &Keys) -> String {
    let (id, secret) = (&keys.id, &keys.secret);
    format!(r#"{{"kind":"s3","access_key_id":"{id}","secret_access_key":"{secret}"}}"#)
}

/// A command for this setup's folder, told `input`.
pub(crate) fn tell(setup: &Setup, arguments: &[&str], input: &str) -> Output {
    let mut command = setup.plain();
    command.args(arguments).arg("--dir").arg(setup.dir());
    command.stdin(Stdio::piped()).stdout(Stdio::piped()).stderr(Stdio::piped());
    let mut child = command.spawn().expect("the binary starts");
    let mut stdin = child.stdin.take().expect("it is piped");
    // One that refuses its flags reads nothing.
    let _ = std::io::Write::write_all(&mut stdin, input.as_bytes());
    drop(stdin);
    child.wait_with_output().expect("it ends")
}

#[track_caller]
pub(crate) fn login(setup: &Setup, input: &str) {
    let output = tell(setup, &["login", "work", "--store", "file"], input);
    assert!(output.status.success() && output.stdout.is_empty(), "{output:?}");
}

fn file(setup: &Setup) -> PathBuf {
    setup.dir().join("state/credentials/work")
}

pub(crate) fn all_of(output: &Output) -> String {
    format!("{}{}", String::from_utf8_lossy(&output.stdout), String::from_utf8_lossy(&output.stderr))
}

/// Puts until the upstream refuses writes, and says in which words.
fn denied(daemon: &Daemon, name: &str) -> String {
    let mut n = 0;
    until("writes are denied", PATIENCE, || {
        n += 1;
        assert_eq!(daemon.put(format!("/blob/ns/{name}-{n}"), "kept").status(), 200);
        daemon.upstream("write").0 == "denied"
    });
    daemon.upstream("write").1
}

fn drains(daemon: &Daemon) {
    until("the queue drains by itself", DRAIN, || daemon.queued() == 0);
}

#[test]
fn stored_removed_and_stored_again_nothing_queued_is_lost() {
    let keys = Keys::new("stored");
    let weed = Weed::start(&[&keys]);
    let setup = laptop(&weed);
    let daemon = setup.start();
    let words = denied(&daemon, "before");
    assert!(words.contains("the credential `work`: is not stored: run `larder login work`"), "{words}");
    login(&setup, &document(&keys));
    drains(&daemon);
    assert_eq!(daemon.put("/blob/ns/with", "keys").status(), 200);
    daemon.flush();

    assert!(daemon.cli(&["logout", "work"]).status.success());
    let words = denied(&daemon, "after");
    assert!(words.contains("run `larder login work`"), "{words}");
    let status = daemon.cli(&["status"]);
    assert!(status.status.code() == Some(1) && all_of(&status).contains("larder login work"), "{status:?}");
    let doctor = setup.told("doctor").output().expect("the binary starts");
    assert!(all_of(&doctor).contains("larder login work"), "{doctor:?}");
    let queued = daemon.queued();
    assert!(queued > 0);

    let daemon = daemon.kill().start();
    assert_eq!(daemon.queued(), queued, "nor does kill -9 lose one");
    login(&setup, &document(&keys));
    drains(&daemon);
    let desk = laptop(&weed);
    login(&desk, &document(&keys));
    let desk = desk.start();
    for name in ["before-1", "with", "after-1"] {
        until("the other machine has it", PATIENCE, || desk.get(format!("/blob/ns/{name}")).status() == 200);
    }
}

#[test]
fn a_file_that_others_can_read_is_refused_until_it_is_theirs_no_more() {
    let keys = Keys::new("lax");
    let weed = Weed::start(&[&keys]);
    let setup = laptop(&weed);
    login(&setup, &document(&keys));
    let mode = |mode| fs::set_permissions(file(&setup), fs::Permissions::from_mode(mode)).expect("our own");
    assert_eq!(fs::metadata(file(&setup)).expect("it is there").permissions().mode() & 0o777, 0o600);
    mode(0o644);
    let daemon = setup.start();
    let words = denied(&daemon, "lax");
    assert!(words.contains("chmod 600") && words.contains("644"), "{words}");
    let list = all_of(&daemon.cli(&["credentials"]));
    assert!(list.contains("not used") && list.contains("chmod 600"), "{list}");
    mode(0o600);
    drains(&daemon);
}

#[test]
fn what_was_planted_is_nowhere_to_be_seen() {
    let keys = Keys::new("planted");
    let weed = Weed::start(&[&keys]);
    let way = FaultProxy::to(weed.addr());
    let setup = Setup::new()
        .config("log.filter = \"trace\"")
        .upstream(format!("{}&credential=work", weed::url(way.addr(), "team")));
    let mut said = vec![all_of(&tell(&setup, &["login", "work", "--store", "file"], &document(&keys)))];
    let daemon = setup.start();
    assert_eq!(daemon.put("/blob/ns/seen", "by all").status(), 200);
    daemon.flush();
    let proc = |name: &str| fs::read(format!("/proc/{}/{name}", daemon.id())).expect("our own child");
    said.extend(["cmdline", "environ"].map(|name| String::from_utf8_lossy(&proc(name)).into_owned()));
    for arguments in
        [&["credentials"][..], &["credentials", "--json"], &["status"], &["status", "--json"], &["queue"]]
    {
        said.push(all_of(&daemon.cli(arguments)));
    }
    said.push(all_of(&setup.told("check").output().expect("the binary starts")));
    said.push(all_of(&setup.told("doctor").output().expect("the binary starts")));
    said.push(daemon.stats().to_string());
    // Words about what is wrong, too: with a document that can't be read, and with one of another kind.
    fs::write(file(&setup), document(&keys).replace("{\"kind\"", "{kind")).expect("our own");
    said.push(denied(&daemon, "broken"));
    login(&setup, &format!(r#"{{"kind":"token","token":"{}"}}"#, keys.secret));
    until("the other kind is refused", PATIENCE, || {
        let _ = daemon.put("/blob/ns/other", "kind");
        daemon.upstream("write").1.contains("doesn't take")
    });
    for bad in ["secret-of-planted", "{\"kind\":\"s3\",\"secret_access_key\":\"secret-of-planted\"}"] {
        let output = tell(&setup, &["login", "work", "--kind", "s3"], bad);
        assert_eq!(output.status.code(), Some(1), "{output:?}");
        said.push(all_of(&output));
    }
    said.push(daemon.log());
    for said in &said {
        assert!(!said.contains(&keys.secret), "{said}");
    }
}

#[test]
fn the_list_says_what_is_where_and_for_whom() {
    let keys = Keys::new("list");
    let weed = Weed::start(&[]);
    let setup = Setup::new()
        .config("[upstreams.a]")
        .config(&format!("url = \"{}\"\ncredential = \"work\"", weed::url(weed.addr(), "a")))
        .config("[upstreams.b]")
        .config(&format!("url = \"{}\"\ncredential = \"work\"", weed::url(weed.addr(), "b")))
        .config("[upstreams.c]")
        .config(&format!("url = \"{}\"\ncredential = \"later\"", weed::url(weed.addr(), "c")))
        .config("[namespaces.one]\nupstream = \"a\"\n[namespaces.two]\nupstream = \"b\"\n[namespaces.three]\nupstream = \"c\"");
    login(&setup, &document(&keys).replace("{\"kind\"", "{\"expires\":\"2020-01-01T00:00:00Z\",\"kind\""));
    let daemon = setup.start();
    let mut command = setup.told("credentials");
    let output = command.arg("--json").output().expect("the binary starts");
    let list: Value =
        serde_json::from_slice(&output.stdout).unwrap_or_else(|error| panic!("{error}: {output:?}"));
    let find = |name: &str| {
        let rows = list.as_array().expect("a list");
        rows.iter().find(|row| row["name"] == name).unwrap_or_else(|| panic!("no {name} in {list:#}"))
    };
    let (work, later) = (find("work"), find("later"));
    assert!(work["kind"] == "s3" && work["kept"] == "file" && work["expired"] == true, "{work}");
    assert_eq!(work["used_by"], serde_json::json!(["a", "b"]));
    assert!(later["stored"] == false && later["used_by"] == serde_json::json!(["c"]), "{later}");
    let text = all_of(&setup.told("credentials").output().expect("the binary starts"));
    assert!(
        text.contains("expired 2020-01-01T00:00:00Z") && text.contains("run `larder login later`"),
        "{text}"
    );
    // One that is over says so before any request is signed with it.
    assert_eq!(daemon.put("/blob/one/x", "kept").status(), 200);
    until("it is denied in words", PATIENCE, || daemon.stats().to_string().contains("expired at 2020-01-01"));
}

/// A document of this kind, from the text alone, lets the upstream be written.
fn is_taken(url: &str, kind: &str, text: &str) {
    let setup = Setup::new().upstream(format!("{url}&credential=work"));
    let output = tell(&setup, &["login", "work", "--store", "file", "--kind", kind], text);
    assert!(output.status.success(), "{kind}: {output:?}");
    let daemon = setup.start();
    assert_eq!(daemon.put(format!("/blob/ns/{kind}"), "kept").status(), 200);
    daemon.flush();
}

#[test]
fn azure_takes_a_key_a_connection_string_or_a_signature() {
    let azurite = Azurite::start(&["one"]);
    let url = azurite::url(azurite.addr(), "team");
    is_taken(&url, "azure-key", &azurite::key("one"));
    let string = azurite::connection_string(azurite.addr(), "one");
    is_taken(&url, "azure-connection-string", &string);
    is_taken(&url, "azure-sas", &azurite::sas("one", "rcw", "2099-01-01T00:00:00Z"));
}

#[test]
fn a_server_by_http_is_sent_a_token_headers_or_what_a_helper_prints() {
    let hub = Hub::start();
    let url = format!("http://{}?allow_http=true", hub.open);
    is_taken(&url, "token", &hub.token);
    is_taken(&url, "headers", &format!("x-of: mine\nauthorization: Bearer {}", hub.token));
    let helper = tempfile::NamedTempFile::new().expect("a temporary file");
    let script = format!("printf '{{\"headers\":{{\"Authorization\":[\"Bearer {}\"]}}}}'", hub.token);
    fs::write(helper.path(), script).expect("a temporary file");
    let fields = format!("command = sh {}\nuri = {url}", helper.path().display());
    is_taken(&url, "helper", &fields);

    let setup = Setup::new().upstream(format!("{url}&credential=work"));
    login(&setup, r#"{"kind":"token","token":"not-of-the-hub"}"#);
    let daemon = setup.start();
    let words = denied(&daemon, "wrong");
    assert!(words.contains("`larder login work`") && !words.contains("not-of-the-hub"), "{words}");
    login(&setup, &format!(r#"{{"kind":"token","token":"{}"}}"#, hub.token));
    drains(&daemon);
}

#[test]
fn google_takes_a_service_account() {
    let gcs = Gcs::start(&[("ci@team", Role::Writer)]);
    is_taken(&gcs::url(gcs.addr(), "team"), "google", &gcs::key_file("ci@team"));
}

/// A command of the shell at a terminal of its own, whose both ends are ours.
fn at_a_terminal(command: &str) -> (Child, ChildStdin, ChildStdout) {
    let mut child = Command::new("script")
        .args(["--quiet", "--return", "--command", command, "/dev/null"])
        .stdin(Stdio::piped())
        .stdout(Stdio::piped())
        .spawn()
        .expect("script starts");
    let (stdin, stdout) = (child.stdin.take().expect("piped"), child.stdout.take().expect("piped"));
    (child, stdin, stdout)
}

#[test]
fn a_terminal_is_asked_without_an_echo() {
    let setup = Setup::new();
    let dir = setup.dir();
    let command = format!(
        "stty -a | grep -q ' echo ' && {} login work --store file --dir {} && stty -a | grep -q ' echo '",
        env!("CARGO_BIN_EXE_larder"),
        dir.display()
    );
    let (mut child, mut stdin, mut stdout) = at_a_terminal(&command);
    let mut shown = String::new();
    for (question, answer) in [
        ("kind: ", "s3"),
        ("access_key_id: ", "AKtyped"),
        ("secret_access_key: ", "s3cret"),
        ("session_token (may be left empty): ", ""),
        ("expires (may be left empty): ", ""),
    ] {
        while !shown.ends_with(question) {
            let mut byte = [0];
            std::io::Read::read_exact(&mut stdout, &mut byte)
                .unwrap_or_else(|error| panic!("{error}: {shown}"));
            shown.push(char::from(byte[0]));
        }
        std::io::Write::write_all(&mut stdin, format!("{answer}\n").as_bytes()).expect("it is read");
    }
    let mut rest = Vec::new();
    std::io::Read::read_to_end(&mut stdout, &mut rest).expect("it ends");
    shown.push_str(&String::from_utf8_lossy(&rest));
    assert!(child.wait().expect("it ends").success(), "{shown}");
    assert!(shown.contains("AKtyped") && !shown.contains("s3cret"), "{shown}");
    assert!(fs::read_to_string(file(&setup)).expect("it is stored").contains("s3cret"));
}

#[test]
fn a_secret_that_the_terminal_has_cut_is_not_stored() {
    let setup = Setup::new();
    let program = env!("CARGO_BIN_EXE_larder");
    let command = format!("{program} login work --kind token --store file --dir {}", setup.dir().display());
    let (mut child, mut stdin, mut stdout) = at_a_terminal(&command);
    let mut shown = Vec::new();
    while !shown.ends_with(b"token: ") {
        let mut byte = [0];
        std::io::Read::read_exact(&mut stdout, &mut byte).expect("it asks");
        shown.push(byte[0]);
    }
    std::io::Write::write_all(&mut stdin, format!("{}\n", "s3cret".repeat(1000)).as_bytes())
        .expect("it is read");
    std::io::Read::read_to_end(&mut stdout, &mut shown).expect("it ends");
    let shown = String::from_utf8_lossy(&shown);
    assert_eq!(child.wait().expect("it ends").code(), Some(1), "{shown}");
    assert!(shown.contains("give it on standard input") && !shown.contains("s3cret"), "{shown}");
    assert!(!file(&setup).exists());
}

#[test]
fn refusals_of_the_commands() {
    let setup = Setup::new();
    for (arguments, code, word) in [
        (&["login", "../x"][..], 2, "no name for a credential"),
        (&["login", "work", "--kind", "s4"], 2, "take one of s3"),
        (&["login", "work"], 1, "standard input is empty"),
        (&["login", "work", "--store", "file", "--kind", "token", "--token", "x"], 2, "--token"),
        (&["logout", "work"], 1, "not stored"),
    ] {
        let output = tell(&setup, arguments, "");
        assert_eq!(output.status.code(), Some(code), "{output:?}");
        assert!(all_of(&output).contains(word), "{output:?}");
    }
    let output = tell(&setup, &["credentials"], "");
    assert!(output.status.success() && all_of(&output).contains("nothing is stored"), "{output:?}");
}

/// Where only the configuration names the daemon's folder, its commands go there.
#[test]
fn commands_find_the_folder_that_the_configuration_names() {
    let setup = Setup::new();
    let file = setup.path("named.toml");
    let dir = setup.path("named");
    fs::write(&file, format!("dir = \"{}\"\n", dir.display())).expect("a temporary file");
    let said = |arguments: &[&str]| {
        let output =
            setup.plain().args(arguments).env("LARDER_CONFIG", &file).output().expect("the binary starts");
        (output.status.code(), all_of(&output))
    };
    let mut login = setup.plain();
    login.args(["login", "work", "--store", "file", "--kind", "token"]).env("LARDER_CONFIG", &file);
    let mut child = login.stdin(Stdio::piped()).spawn().expect("the binary starts");
    let mut stdin = child.stdin.take().expect("piped");
    std::io::Write::write_all(&mut stdin, b"s3cret").expect("it is read");
    drop(stdin);
    assert!(child.wait().expect("it ends").success());
    assert!(dir.join("state/credentials/work").exists());
    let (code, page) = said(&["credentials"]);
    assert!(code == Some(0) && page.contains("work"), "{page}");
    let (code, words) = said(&["status"]);
    assert!(code == Some(3) && words.contains(&dir.join("larder.sock").display().to_string()), "{words}");
    assert_eq!(said(&["logout", "work"]).0, Some(0));
    assert!(!dir.join("state/credentials/work").exists());
}

#[test]
fn systemd_gives_one_that_is_read_and_never_written() {
    let keys = Keys::new("given");
    let weed = Weed::start(&[&keys]);
    let setup = laptop(&weed);
    let given = setup.path("given");
    fs::create_dir(&given).expect("a temporary folder");
    fs::write(given.join("larder.work"), document(&keys)).expect("a temporary file");
    // As LoadCredential= gives it to a service of root's.
    fs::set_permissions(given.join("larder.work"), fs::Permissions::from_mode(0o440)).expect("our own");
    let daemon = setup.with_env("CREDENTIALS_DIRECTORY", &given).start();
    assert_eq!(daemon.put("/blob/ns/given", "keys").status(), 200);
    daemon.flush();
}
