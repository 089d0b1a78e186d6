//! The process: flags, environment and file, locks and versions, sockets of all kinds, who is let in, the order of a
//! stop, and the commands that talk to a running daemon.

use std::fs;
use std::io::{BufReader, Read, Write};
use std::net::{SocketAddr, TcpListener};
use std::os::fd::OwnedFd;
use std::os::unix::fs::PermissionsExt;
use std::process::{Command, Output, Stdio};
use std::time::{Duration, Instant};

use tempfile::TempDir;

use crate::support::fault::Fault;
use crate::support::http::{Request, read_answer};
use crate::support::process::Process;
use crate::support::proxy::FaultProxy;
use crate::support::routes::Route;
use crate::support::setup::Setup;
use crate::support::weed::{self, Keys, Weed};
use crate::support::wire::Addr;
use crate::support::{PATIENCE, Rng, free_addr, say, until};

const LARDER: &str = env!("CARGO_BIN_EXE_larder");

/// The binary in a clean environment, its home a temporary folder.
fn larder(home: &TempDir) -> Command {
    let mut command = Command::new(LARDER);
    command.env_clear().env("HOME", home.path()).stdin(Stdio::null());
    command
}

fn words(output: &Output) -> String {
    format!("{}{}", String::from_utf8_lossy(&output.stdout), String::from_utf8_lossy(&output.stderr))
}

fn home() -> TempDir {
    TempDir::new().expect("a temporary folder")
}

fn until_ready(addr: SocketAddr) {
    until("the daemon is ready", PATIENCE, || {
        Request::get("/-/readyz").send(&Addr::Tcp(addr)).is_ok_and(|answer| answer.status() == 200)
    });
}

#[test]
fn without_configuration_it_uses_the_platforms_folders() {
    let (home, addr) = (home(), free_addr());
    let mut command = larder(&home);
    command.args(["serve", "--listen", &addr.to_string()]);
    let _daemon = Process::spawn(&mut command, &home.path().join("log"));
    until_ready(addr);
    assert_eq!(Request::put("/blob/ns/x", "y").send(&Addr::Tcp(addr)).map(|a| a.status()).ok(), Some(200));
    let cache = home.path().join(".cache/larder");
    let state = home.path().join(".local/state/larder");
    assert!(cache.join("CACHEDIR.TAG").exists(), "backup tools leave the cache out");
    for folder in [&cache, &state] {
        let mode = fs::metadata(folder).expect("it is there").permissions().mode();
        assert_eq!(mode & 0o077, 0, "{} is for its owner only: {mode:o}", folder.display());
    }
}

#[test]
fn every_flag_is_an_environment_variable_and_flags_win() {
    let (home, addr, other) = (home(), free_addr(), free_addr());
    let file = home.path().join("larder.toml");
    // A folder upstream is a mount, or made on purpose: the daemon does not make it.
    fs::create_dir(home.path().join("up")).expect("a temporary folder");
    fs::write(&file, "disk = \"1 GiB\"\n").expect("a temporary file");
    let mut command = larder(&home);
    command
        .env("LARDER_CONFIG", &file)
        .env("LARDER_DIR", home.path().join("here"))
        .env("LARDER_LISTEN", other.to_string())
        .env("LARDER_UPSTREAM", format!("file://{}", home.path().join("up").display()))
        .args(["serve", "--listen", &addr.to_string()]);
    let _daemon = Process::spawn(&mut command, &home.path().join("log"));
    until_ready(addr);
    assert!(Addr::Tcp(other).connect().is_err(), "a flag replaces what the environment says");
    assert!(home.path().join("here/larder.sock").exists());
    let put = Request::put("/blob/ns/x", "y").send(&Addr::Tcp(addr)).map(|answer| answer.status());
    assert_eq!(put.ok(), Some(200));
    let flush = larder(&home)
        .args(["flush", "--timeout", "60 s"])
        .env("LARDER_DIR", home.path().join("here"))
        .output()
        .expect("it starts");
    assert!(flush.status.success(), "{}", words(&flush));
    assert_eq!(fs::read(home.path().join("up/blob/ns/x")).ok().as_deref(), Some(&b"y"[..]));
}

#[test]
fn all_problems_of_a_configuration_are_told_at_once() {
    let home = home();
    let file = home.path().join("larder.toml");
    fs::write(&file, "memorry = 1\nfirst_byte = 5\ndisk = \"lots\"\nqueue_entries = 0\n")
        .expect("a temporary file");
    let output = larder(&home)
        .args(["serve", "--config"])
        .arg(&file)
        .args(["--listen", "0.0.0.0:1", "--upstream", "ftp://x"])
        .output()
        .expect("it starts");
    let words = words(&output);
    assert_eq!(output.status.code(), Some(2), "{words}");
    for part in ["memorry", "`memory`", "first_byte", "disk", "queue_entries", "0.0.0.0:1", "ftp"] {
        assert!(words.contains(part), "`{part}` is in:\n{words}");
    }
    assert!(!home.path().join(".cache").exists(), "nothing was touched");
}

#[test]
fn a_second_daemon_on_the_same_folder_is_refused() {
    let first = Setup::new().start();
    let addr = free_addr();
    let output = larder(&home())
        .args(["serve", "--listen", &addr.to_string(), "--dir"])
        .arg(first.setup().dir())
        .output()
        .expect("it starts");
    let words = words(&output);
    assert_eq!(output.status.code(), Some(1), "{words}");
    assert!(words.contains(&first.id().to_string()), "it names the process that has it: {words}");
    assert!(words.contains(&first.setup().dir().display().to_string()), "and the folder: {words}");
    assert_eq!(first.put("/blob/ns/x", "y").status(), 200, "the first goes on");
}

#[test]
fn a_taken_port_is_an_error_and_nothing_is_left_locked() {
    let addr = free_addr();
    let taken = TcpListener::bind(addr).expect("it is free");
    let home = home();
    let output = larder(&home).args(["serve", "--listen", &addr.to_string()]).output().expect("it starts");
    assert_eq!(output.status.code(), Some(1), "{}", words(&output));
    assert!(words(&output).contains(&addr.to_string()), "{}", words(&output));
    drop(taken);
    let mut command = larder(&home);
    command.args(["serve", "--listen", &addr.to_string()]);
    let _daemon = Process::spawn(&mut command, &home.path().join("log"));
    until_ready(addr);
}

#[test]
fn a_newer_version_on_disk_is_refused_and_both_are_named() {
    let daemon = Setup::new().start();
    assert_eq!(daemon.put("/blob/ns/x", "y").status(), 200);
    let (setup, status) = daemon.stop();
    assert!(status.success());
    for folder in ["cache", "state"] {
        let path = setup.dir().join(folder).join("VERSION");
        let own = fs::read_to_string(&path).expect("VERSION is there");
        fs::write(&path, "4711\n").expect("our own file");
        let output = setup.serve().output().expect("it starts");
        let words = words(&output);
        assert_eq!(output.status.code(), Some(1), "{words}");
        assert!(words.contains("4711") && words.contains(own.trim()), "{folder}: {words}");
        fs::write(&path, own).expect("our own file");
    }
    assert_eq!(setup.start().get("/blob/ns/x").status(), 200, "nothing was harmed");
}

#[test]
fn inherited_sockets_are_adopted() {
    let home = home();
    let tcp = TcpListener::bind(("127.0.0.1", 0)).expect("a port");
    let addr = tcp.local_addr().expect("a bound socket");
    let early = std::net::TcpStream::connect(addr).expect("it queues before the daemon is there");
    let script = "exec 3<&0 0</dev/null; export LISTEN_FDS=1 LISTEN_PID=$$; exec \"$@\"";
    let mut command = Command::new("sh");
    command.args(["-c", script, "sh", LARDER, "serve", "--dir"]).arg(home.path().join("dir"));
    let log = fs::File::create(home.path().join("log")).expect("a temporary file");
    let mut child = command
        .env_clear()
        .env("HOME", home.path())
        .env("PATH", std::env::var_os("PATH").unwrap_or_default())
        .stdin(Stdio::from(OwnedFd::from(tcp)))
        .stdout(Stdio::null())
        .stderr(log)
        .spawn()
        .expect("it starts");
    (&early).write_all(b"GET /-/healthz HTTP/1.1\r\nhost: 127.0.0.1\r\n\r\n").expect("it is read");
    early.set_read_timeout(Some(PATIENCE)).expect("a timeout can be set");
    let answer = read_answer(&mut BufReader::new(&early), "GET", Instant::now());
    until_ready(addr);
    child.kill().expect("our own child");
    child.wait().expect("our own child");
    assert_eq!(answer.map(|answer| answer.status()).ok(), Some(200), "who came early is answered");
}

#[test]
fn one_daemon_serves_tcp_and_unix_alike() {
    let daemon = Setup::new().start();
    assert_eq!(daemon.put("/blob/ns/x", "by tcp").status(), 200);
    for addr in [daemon.unix(), daemon.admin()] {
        let answer = Request::get("/blob/ns/x").header("host", "any.name").send(&addr).expect("an answer");
        assert_eq!(answer.text(), "by tcp", "{addr:?}: any Host is right on a unix socket");
    }
    let mode = fs::metadata(daemon.setup().dir()).expect("it is there").permissions().mode();
    assert_eq!(mode & 0o077, 0, "around the admin socket: {mode:o}");
    assert_eq!(daemon.get("/-/healthz").status(), 200);
    assert_eq!(daemon.get("/-/queue").status(), 403, "the queue is for the admin socket");
}

#[test]
fn no_web_page_gets_in() {
    let daemon = Setup::new().config("allow_hosts = [\"cache.test\"]").start();
    assert_eq!(daemon.put("/blob/ns/x", "secret").status(), 200);
    for (name, value, status) in [
        ("host", "evil.example", 403),
        ("host", "127.0.0.1.evil.example", 403),
        ("host", "", 403),
        ("origin", "http://127.0.0.1:5273", 403),
        ("origin", "null", 403),
        ("sec-fetch-site", "cross-site", 403),
        ("sec-fetch-site", "same-site", 403),
        ("sec-fetch-site", "none", 200),
        ("sec-fetch-site", "same-origin", 200),
        ("host", "localhost:5273", 200),
        ("host", "cache.test", 200),
        ("host", "[::1]:5273", 200),
    ] {
        for target in ["/blob/ns/x", "/-/stats"] {
            let answer = daemon.send(Request::get(target).header(name, value));
            assert_eq!(answer.status(), status, "{name}: {value}, {target}");
        }
    }
    let rebound = Request::put("/blob/ns/x", "poison").header("origin", "http://evil.example");
    assert_eq!(daemon.send(rebound).status(), 403);
    assert_eq!(daemon.get("/blob/ns/x").text(), "secret");
}

#[test]
fn another_user_of_the_machine_is_not_let_in() {
    if !rustix::process::geteuid().is_root() {
        say("skipped: only root can be another user");
        return;
    }
    let ask = |setup: Setup| {
        let daemon = setup.start();
        let port = daemon.url().rsplit_once(':').map(|(_, port)| port.to_owned()).expect("a port");
        let script = "exec 3<>/dev/tcp/127.0.0.1/$0; printf 'GET /-/stats HTTP/1.1\\r\\nhost: 127.0.0.1\\r\\n\
                      connection: close\\r\\n\\r\\n' >&3; head -n 1 <&3";
        let output = Command::new("setpriv")
            .args(["--reuid=65534", "--regid=65534", "--clear-groups", "bash", "-c", script, &port])
            .output()
            .expect("setpriv and bash are there");
        words(&output)
    };
    assert!(ask(Setup::new()).starts_with("HTTP/1.1 403"), "nobody is not named");
    assert!(
        ask(Setup::new().config("[access]\nusers = [65534]")).starts_with("HTTP/1.1 200"),
        "nobody is named"
    );
}

#[test]
fn a_stop_answers_what_runs_and_ends_in_order() {
    let daemon = Setup::new().start();
    let body = Rng::new(61).bytes(200_000);
    let mut upload = daemon.addr().connect().expect("it is accepted");
    upload.patience(PATIENCE).expect("a timeout can be set");
    let idle = daemon.addr().connect().expect("it is accepted");
    idle.patience(PATIENCE).expect("a timeout can be set");
    write!(upload, "PUT /blob/ns/late HTTP/1.1\r\nhost: 127.0.0.1\r\ncontent-length: {}\r\n\r\n", body.len())
        .expect("it is read");
    upload.write_all(&body[..100_000]).expect("it is read");
    until("the upload has begun", PATIENCE, || daemon.stat("/connections") >= 2);

    let began = Instant::now();
    daemon.terminate();
    until("nobody new is accepted", PATIENCE, || daemon.addr().connect().is_err());
    upload.write_all(&body[100_000..]).expect("what runs is served");
    let answer =
        read_answer(&mut BufReader::new(&mut upload), "PUT", Instant::now()).expect("it is answered");
    assert_eq!(answer.status(), 200);
    assert_eq!(answer.header("connection"), Some("close"));
    let (setup, status) = daemon.stop();
    assert!(status.success(), "{status}");
    assert!(began.elapsed() < Duration::from_secs(10), "{:?}", began.elapsed());
    assert_eq!(
        std::io::Read::read(&mut { idle }, &mut [0; 1]).ok(),
        Some(0),
        "idle ones are closed in order"
    );
    assert_eq!(
        setup.start().get("/blob/ns/late").whole(),
        Some(&body[..]),
        "and what was acknowledged is there"
    );
}

#[test]
fn a_stop_cuts_who_hangs_after_the_grace() {
    let daemon = Setup::new().start();
    let mut hanging = daemon.addr().connect().expect("it is accepted");
    hanging
        .write_all(b"PUT /blob/ns/x HTTP/1.1\r\nhost: 127.0.0.1\r\ncontent-length: 9\r\n\r\nab")
        .expect("it is read");
    until("the upload has begun", PATIENCE, || daemon.stat("/connections") >= 2);
    let began = Instant::now();
    let (_, status) = daemon.stop();
    assert!(status.success(), "{status}");
    assert!(began.elapsed() < Duration::from_secs(15), "{:?}", began.elapsed());
}

#[test]
fn queue_lists_and_flush_waits() {
    let keys = Keys::new("one");
    let weed = Weed::start(&[&keys]);
    let way = FaultProxy::to(weed.addr());
    let daemon = Setup::new().upstream(weed::url(way.addr(), "team")).keys(&keys).start();
    let empty = daemon.cli(&["queue"]);
    assert!(empty.status.success() && words(&empty).contains("empty"), "{}", words(&empty));
    assert!(daemon.cli(&["flush", "--timeout", "60 s"]).status.success(), "nothing waits");

    way.set(Fault::Refuse);
    for n in 0..30 {
        assert_eq!(daemon.put(format!("/blob/ns/n{n}"), vec![1; n]).status(), 200);
    }
    let listed = words(&daemon.cli(&["queue", "--limit", "5"]));
    assert!(listed.contains("blob/ns/n0") && listed.contains("blob/ns/n4"), "the oldest first: {listed}");
    assert!(!listed.contains("blob/ns/n5") && listed.contains("25 more"), "{listed}");
    let json = daemon.cli(&["queue", "--json", "--limit", "100"]);
    let page: serde_json::Value = serde_json::from_slice(&json.stdout).expect("it is JSON");
    assert_eq!(page["items"].as_array().map(Vec::len), Some(30));

    let given_up = daemon.cli(&["flush", "--timeout", "1 s"]);
    assert_eq!(given_up.status.code(), Some(1), "{}", words(&given_up));
    assert_eq!(daemon.queued(), 30);
    way.set(Fault::None);
    daemon.flush();

    let setup = daemon.kill();
    let output = larder(&home())
        .args(["flush", "--timeout", "60 s", "--dir"])
        .arg(setup.dir())
        .output()
        .expect("it starts");
    assert_eq!(output.status.code(), Some(3), "no daemon runs: {}", words(&output));
}

#[test]
fn secrets_are_not_said() {
    let keys = Keys::new("hush");
    let weed = Weed::start(&[&Keys::new("other")]);
    let setup = Setup::new().upstream(weed::url(weed.addr(), "")).keys(&keys);
    let setup = setup.config("[log]\nfilter = \"trace\"");
    let daemon = setup.start();
    let mut rng = Rng::new(62);
    for route in Route::ALL {
        let request = route.entry(&mut rng, 10).put().header("authorization", "Bearer a-token-of-the-client");
        assert_eq!(daemon.send(request).status(), route.taken());
    }
    daemon.until_upstream("write", &["denied"]);
    let mut cmdline = String::new();
    fs::File::open(format!("/proc/{}/cmdline", daemon.id()))
        .and_then(|mut file| file.read_to_string(&mut cmdline))
        .expect("our own child");
    let queue = words(&daemon.cli(&["queue"]));
    for (place, text) in [
        ("log", daemon.log()),
        ("stats", daemon.stats().to_string()),
        ("command line", cmdline),
        ("queue", queue),
    ] {
        for secret in [keys.secret.as_str(), "a-token-of-the-client"] {
            assert!(!text.contains(secret), "{secret} is in the {place}");
        }
    }
}

#[test]
fn keys_that_others_can_read_are_refused() {
    let keys = Keys::new("open");
    let setup = Setup::new().upstream(weed::url(free_addr(), "")).keys(&keys);
    fs::set_permissions(setup.keys_path(), fs::Permissions::from_mode(0o644)).expect("our own file");
    let daemon = setup.start();
    assert_eq!(daemon.put("/blob/ns/x", "y").status(), 200);
    let words = daemon.until_upstream("write", &["denied"]);
    assert!(words.contains("chmod 600"), "the state says what to do: {words}");
    fs::set_permissions(setup.keys_path(), fs::Permissions::from_mode(0o600)).expect("our own file");
    daemon.until_upstream("write", &["down"]);
}
