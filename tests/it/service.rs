//! The daemon under a service manager: what it tells it, which sockets it takes from it, how it stops and comes back.
//!
//! systemd's side is played by [`Manager`]; `systemd-socket-activate` is the real one.

use std::fs;
use std::io::{BufReader, Read, Write};
use std::net::{TcpListener, TcpStream, UdpSocket};
use std::os::linux::net::SocketAddrExt;
use std::os::unix::net::{SocketAddr, UnixDatagram};
use std::process::{Command, Stdio};
use std::time::{Duration, Instant};

use rustix::process::{Pid, Signal, kill_process};

use crate::support::http::{Request, read_answer};
use crate::support::manager::Manager;
use crate::support::process::Process;
use crate::support::setup::Setup;
use crate::support::weed;
use crate::support::wire::Addr;
use crate::support::{PATIENCE, free_addr, random, say, until};

fn signal(process: &Process, signal: Signal) {
    let id = i32::try_from(process.id()).ok().and_then(Pid::from_raw).expect("a child has an id");
    kill_process(id, signal).expect("our own child");
}

#[test]
fn systemd_hears_that_it_serves_what_it_does_and_that_it_stops() {
    let setup = Setup::new().upstream(weed::url(free_addr(), ""));
    let manager = Manager::installed(&setup);
    let mut process = manager.start();
    assert_eq!(manager.status_of("/-/healthz"), Some(200), "READY=1 is true");
    manager.until_heard("the status", |line| line.starts_with("STATUS=serving; 0 queued; "));
    let put = Request::put("/blob/ns/x", "y").send(&Addr::Tcp(setup.addr)).map(|answer| answer.status());
    assert_eq!(put.ok(), Some(200));
    let status = manager.until_heard("the queue", |line| line.starts_with("STATUS=serving; 1 queued; "));
    manager.until_heard("the upstream", |line| line.contains("writes down") || line.ends_with(": down"));
    assert!(!status.contains("WATCHDOG"), "{status}");
    process.terminate();
    assert!(process.ended(PATIENCE).success());
    let heard = manager.heard();
    assert!(heard.contains(&"STOPPING=1".into()), "{heard:?}");
    assert!(!heard.iter().any(|line| line.starts_with("WATCHDOG")), "nobody asked for it: {heard:?}");
    assert!(
        heard.iter().rposition(|line| line.starts_with("STATUS=serving"))
            < heard.iter().position(|line| line == "STOPPING=1")
    );
}

#[test]
fn a_reload_that_is_asked_for_is_told_from_its_begin_to_its_end() {
    let setup = Setup::new();
    let manager = Manager::installed(&setup);
    let process = manager.start();
    signal(&process, Signal::HUP);
    manager.until_heard("it reloads, since when by the clock of systemd", |line| {
        line.starts_with("MONOTONIC_USEC=")
    });
    until("it has reloaded", PATIENCE, || {
        let heard = manager.heard();
        let begun = heard.iter().position(|line| line == "RELOADING=1");
        begun.is_some_and(|begun| heard[begun..].iter().any(|line| line == "READY=1"))
    });
}

#[test]
fn an_abstract_notify_socket_is_one_too() {
    let name = format!("larder-it-{:x}", random());
    let address = SocketAddr::from_abstract_name(&name).expect("short");
    let ear = UnixDatagram::bind_addr(&address).expect("nobody has that name");
    let setup = Setup::new();
    let manager = Manager::installed(&setup).hears_by(ear, &format!("@{name}"));
    drop(manager.start());
}

#[test]
fn the_watchdog_is_fed_while_the_daemon_runs_and_only_by_whom_it_is_meant_for() {
    let setup = Setup::new();
    let manager = Manager::installed(&setup).watchdog(Duration::from_secs(1), "own");
    let process = manager.start();
    let feeds = || manager.heard().iter().filter(|line| *line == "WATCHDOG=1").count();
    let began = Instant::now();
    until("it is fed four times", PATIENCE, || feeds() >= 4);
    assert!(began.elapsed() >= Duration::from_millis(1200), "every half a second: {:?}", began.elapsed());
    signal(&process, Signal::STOP);
    let before = feeds();
    // Nothing can be waited for where nothing is to come: three times what it would have taken.
    let silence = Instant::now();
    until("a while has passed", PATIENCE, || silence.elapsed() >= Duration::from_millis(1500));
    assert!(feeds() <= before + 1, "a process that does nothing feeds nothing");
    signal(&process, Signal::CONT);
    until("it is fed again", PATIENCE, || feeds() >= before + 2);
    drop(process);

    let setup = Setup::new();
    let manager = Manager::installed(&setup).watchdog(Duration::from_millis(100), "1");
    let _process = manager.start();
    manager.until_heard("the status", |line| line.starts_with("STATUS=serving; 0 queued"));
    assert!(!manager.has_heard("WATCHDOG=1"), "it is another's");
}

#[test]
fn sockets_outlive_the_process_and_so_do_those_who_connected() {
    let setup = Setup::new();
    let manager = Manager::installed(&setup);
    let admin = setup.dir().join("larder.sock");
    let mut process = manager.start();
    let log = process.said();
    assert!(!log.contains("admin socket that was handed over"), "{log}");
    let asks = |addr: &Addr| {
        let mut socket = addr.connect().expect("the backlog takes it");
        socket.patience(PATIENCE).expect("a timeout can be set");
        socket.write_all(b"GET /-/healthz HTTP/1.1\r\nhost: 127.0.0.1\r\n\r\n").expect("taken");
        socket
    };
    let addrs = [Addr::Tcp(setup.addr), Addr::Unix(admin.clone())];
    for kill in [false, true] {
        if kill {
            process.kill();
        } else {
            process.terminate();
            assert!(process.ended(PATIENCE).success());
        }
        assert!(admin.exists(), "the file is systemd's, not ours to remove");
        let waiting = addrs.each_ref().map(asks);
        process = manager.start();
        for mut socket in waiting {
            let answer = read_answer(&mut BufReader::new(&mut socket), "GET", Instant::now());
            assert_eq!(answer.map(|answer| answer.status()).ok(), Some(200), "who came early is answered");
        }
    }
    let queue = setup.plain().args(["queue", "--dir"]).arg(setup.dir()).output().expect("it starts");
    assert!(queue.status.success(), "by the admin socket that was handed over: {queue:?}");
}

#[test]
fn the_admin_socket_is_known_by_its_name_and_the_defaults_are_bound_beside_it() {
    let setup = Setup::new();
    let odd = setup.path("odd.sock");
    let manager = Manager::of(&setup).admin("admin", &odd);
    let process = manager.start();
    assert_eq!(manager.status_of("/-/healthz"), Some(200), "what `listen` names is bound here");
    assert!(!setup.dir().join("larder.sock").exists(), "there is one admin socket");
    let queue = setup.plain().args(["queue", "--socket"]).arg(&odd).output().expect("it starts");
    assert!(queue.status.success(), "{queue:?}");
    assert!(process.said().contains("find it with --socket"), "{}", process.said());
}

#[test]
fn where_the_units_and_the_configuration_differ_is_said() {
    let setup = Setup::new();
    let other = TcpListener::bind("127.0.0.1:0").expect("a port");
    let address = other.local_addr().expect("bound");
    let manager = Manager::of(&setup).socket("larder", other);
    let process = manager.start();
    let answer = Request::get("/-/healthz").send(&Addr::Tcp(address)).map(|answer| answer.status());
    assert_eq!(answer.ok(), Some(200), "what is handed over is served");
    let log = process.said();
    let [handed, bound] = [format!("{address} was handed over"), format!("{} is not among", setup.addr)];
    assert!(log.contains(&handed) && log.contains(&bound), "{log}");
}

#[test]
fn what_cannot_be_listened_on_is_refused_in_words_for_who_wrote_the_unit() {
    let tcp = || TcpListener::bind("127.0.0.1:0").expect("a port");
    let setup = Setup::new();
    let refused = |manager: Manager, words: &[&str]| {
        let (status, said) = manager.refused();
        assert_eq!(status.code(), Some(1), "{said}");
        for words in words {
            assert!(said.contains(words), "`{words}` is in:\n{said}");
        }
        let _ = fs::remove_file(setup.path("notify"));
    };
    let udp = UdpSocket::bind("127.0.0.1:0").expect("a port");
    refused(Manager::of(&setup).socket("larder", udp), &["socket 0 (`larder`)", "ListenStream="]);
    let (datagram, _other) = UnixDatagram::pair().expect("a pair");
    refused(Manager::of(&setup).socket("", datagram), &["socket 0: ", "ListenStream="]);
    let listener = tcp();
    let connection = TcpStream::connect(listener.local_addr().expect("bound")).expect("connects");
    refused(Manager::of(&setup).socket("larder", connection), &["Accept=no"]);
    let file = fs::File::create(setup.path("file")).expect("a temporary file");
    refused(Manager::of(&setup).socket("larder", tcp()).socket("f", file), &["socket 1 (`f`)", "neither"]);
    let twin = tcp();
    let twins = Manager::of(&setup).socket("one", twin.try_clone().expect("a twin")).socket("two", twin);
    refused(twins, &["socket 1 (`two`)", "twice"]);
    refused(Manager::of(&setup).socket("admin", tcp()), &["(`admin`)", "unix socket"]);
    let open = TcpListener::bind("0.0.0.0:0").expect("a port");
    refused(Manager::of(&setup).socket("larder", open), &["not loopback", "[[listeners]]"]);
}

#[test]
fn systemds_own_activation_starts_it_at_the_first_request() {
    let (setup, addr) = (Setup::new(), free_addr());
    let dir = setup.dir();
    fs::create_dir_all(&dir).expect("a temporary folder");
    let admin = dir.join("larder.sock");
    let mut command = Command::new("systemd-socket-activate");
    command.arg(format!("--listen={addr}")).arg(format!("--listen={}", admin.display()));
    command.arg("--fdname=larder:admin");
    for (name, value) in setup.plain().get_envs() {
        if let Some(value) = value {
            command.arg("-E").arg(format!("{}={}", name.display(), value.display()));
        }
    }
    command.args([env!("CARGO_BIN_EXE_larder"), "serve", "--dir"]).arg(&dir);
    let log = setup.path("log");
    let process = Process::spawn(&mut command, &log);
    until("systemd-socket-activate listens", PATIENCE, || process.said().contains("Listening on"));
    assert!(!process.said().contains("serving"), "nobody has asked");
    let answer = Request::get("/-/healthz").send(&Addr::Tcp(addr)).expect("the first request starts it");
    assert_eq!(answer.status(), 200);
    let queue = setup.plain().args(["queue", "--dir"]).arg(&dir).output().expect("it starts");
    assert!(queue.status.success(), "{queue:?}");
}

/// Who hangs is cut at the end of the grace of 5 s, and who has connected meanwhile is answered within 200 ms more.
#[test]
fn a_restart_keeps_nobody_waiting_longer_than_its_grace() {
    // An upload hangs in an upstream that takes connections and says nothing: it is begun again after the restart.
    let silent = TcpListener::bind("127.0.0.1:0").expect("a port");
    let setup = Setup::new().upstream(weed::url(silent.local_addr().expect("bound"), ""));
    let setup = setup.keys(&weed::Keys::new("one"));
    let manager = Manager::installed(&setup);
    let process = manager.start();
    let put = Request::put("/blob/ns/queued", "y").send(&Addr::Tcp(setup.addr)).map(|answer| answer.status());
    assert_eq!(put.ok(), Some(200));
    let _uploading = silent.accept().expect("the upload comes");
    let mut hangs = TcpStream::connect(setup.addr).expect("it is accepted");
    hangs
        .write_all(b"PUT /blob/ns/x HTTP/1.1\r\nhost: 127.0.0.1\r\ncontent-length: 9\r\n\r\nab")
        .expect("taken");
    until("the upload has begun", PATIENCE, || {
        let stats = Request::get("/-/stats").send(&Addr::Tcp(setup.addr)).expect("an answer");
        let stats: serde_json::Value = serde_json::from_slice(&stats.body).expect("stats are JSON");
        stats["connections"].as_u64().is_some_and(|count| count >= 2)
    });
    process.terminate();
    manager.until_heard("it stops", |line| line == "STOPPING=1");
    let addr = setup.addr;
    let waits = std::thread::spawn(move || {
        let began = Instant::now();
        let answer = Request::get("/-/healthz").send(&Addr::Tcp(addr)).map(|answer| answer.status());
        (answer, began.elapsed())
    });
    let _next = manager.restart_ended(process);
    let (answer, waited) = waits.join().expect("no panic");
    say(&format!("a new connection waited {waited:?} for the next process, of a grace of 5 s"));
    assert_eq!(answer.ok(), Some(200));
    assert!(waited > Duration::from_secs(3), "the hanging upload had its grace: {waited:?}");
    assert!(waited < Duration::from_secs(15), "{waited:?}");
    assert_eq!(hangs.read(&mut [0; 1]).unwrap_or(0), 0, "it was cut");
}

#[test]
fn the_other_loopback_address_is_handed_over_or_not_there() {
    let Ok(socket) = TcpListener::bind("[::1]:0") else {
        return say("skipped: this machine has no IPv6");
    };
    let address = Addr::Tcp(socket.local_addr().expect("bound"));
    let setup = Setup::new();
    let manager = Manager::installed(&setup).socket("larder", socket);
    let process = manager.start();
    let answers = || Request::get("/-/healthz").send(&address).map(|answer| answer.status()).ok();
    assert_eq!((answers(), manager.status_of("/-/healthz")), (Some(200), Some(200)));
    let _next = manager.restart(process);
    assert_eq!((answers(), manager.status_of("/-/healthz")), (Some(200), Some(200)));
}

/// The same rule for halves: what has begun to come when the daemon stops is waited for and answered.
#[test]
fn a_request_of_which_a_byte_was_read_is_answered_by_a_daemon_that_stops() {
    let setup = Setup::new();
    let manager = Manager::installed(&setup);
    let mut process = manager.start();
    let open = |sent: &[u8]| {
        let mut stream = TcpStream::connect(setup.addr).expect("it is accepted");
        stream.set_read_timeout(Some(PATIENCE)).expect("a timeout can be set");
        stream.write_all(sent).expect("taken");
        stream
    };
    // New ones, of HTTP/1, of HTTP/2's first letters, and one that had an answer before.
    let mut halves = vec![open(b"GET /-/hea"), open(b"P")];
    // Before the one that is answered: once that is, these were accepted, and don't wait for the next daemon.
    let idle = open(b"");
    let mut kept = open(b"GET /-/healthz HTTP/1.1\r\nhost: 127.0.0.1\r\n\r\n");
    let first = read_answer(&mut BufReader::new(&kept), "GET", Instant::now()).expect("an answer");
    assert_eq!(first.status(), 200);
    kept.write_all(b"G").expect("taken");
    halves.push(kept);
    process.terminate();
    manager.until_heard("it stops", |line| line == "STOPPING=1");
    // Once an idle one is closed, a second has gone by, and the halves have outlived the order to close.
    idle.set_read_timeout(Some(PATIENCE)).expect("a timeout can be set");
    assert_eq!((&idle).read(&mut [0; 1]).ok(), Some(0));
    let rests: [&[u8]; 3] = [b"lthz", b"OST /-/healthz", b"ET /-/healthz"];
    for (stream, rest) in halves.iter_mut().zip(rests) {
        stream.write_all(rest).expect("taken");
        stream.write_all(b" HTTP/1.1\r\nhost: 127.0.0.1\r\ncontent-length: 0\r\n\r\n").expect("taken");
        let answer = read_answer(&mut BufReader::new(stream), "GET", Instant::now()).expect("it is answered");
        assert!([200, 405].contains(&answer.status()), "{:?}", answer.head);
        assert_eq!(answer.header("connection"), Some("close"));
    }
    assert!(process.ended(PATIENCE).success());
    assert!(!process.said().contains("cut "), "{}", process.said());
}

#[test]
fn a_socket_with_too_long_a_path_is_refused_before_anything_is_touched() {
    let setup = Setup::new();
    let long = setup.path(&"x".repeat(100));
    for arguments in [
        vec!["serve".into(), "--dir".into(), long.clone()],
        vec!["serve".into(), "--listen".into(), format!("unix:{}", long.display()).into()],
    ] {
        let output = setup.plain().args(&arguments).stdin(Stdio::null()).output().expect("it starts");
        let words = String::from_utf8_lossy(&output.stderr).into_owned();
        assert_eq!(output.status.code(), Some(2), "{words}");
        assert!(words.contains("103 at most") && words.contains("choose a shorter"), "{words}");
    }
    assert!(!long.exists());
}

#[test]
fn a_folder_that_cannot_be_written_is_named_with_what_to_do() {
    let setup = Setup::new();
    fs::write(setup.path("file"), "").expect("a temporary file");
    let output = setup.plain().args(["serve", "--dir"]).arg(setup.path("file")).output().expect("it starts");
    let words = String::from_utf8_lossy(&output.stderr).into_owned();
    assert!(words.contains("a file is in its way"), "{words}");
    let setup = setup.mounts("mkdir -p $DIR/state; mount -t tmpfs -o ro none $DIR/state");
    if !setup.shell_in_mounts("true") {
        return say("skipped: no mount name space can be had here");
    }
    let output = setup.serve().output().expect("it starts");
    let words = String::from_utf8_lossy(&output.stderr).into_owned();
    assert_eq!(output.status.code(), Some(1), "{words}");
    assert!(words.contains("state") && words.contains("read-only: mount it writable"), "{words}");
}
