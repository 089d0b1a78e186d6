//! The machine moves: its addresses change, in a network name space of the daemon's own, and the kernel itself tells.
//!
//! A sleep and a clock that is set can't be made without doing it to the whole machine; those are tested beside their
//! code, with senses and clocks that the tests have.

use std::fs::File;
use std::io::{BufRead, BufReader, Read, Write};
use std::net::{TcpListener, TcpStream};
use std::os::fd::AsFd;
use std::process::Command;
use std::sync::atomic::{AtomicBool, Ordering};
use std::sync::{Arc, mpsc};
use std::time::{Duration, Instant};

use crate::support::http::Request;
use crate::support::setup::Setup;
use crate::support::weed::{self, Keys};
use crate::support::{PATIENCE, say, until};

const UPSTREAM: &str = "10.9.0.1:8333";
const BODY: &str = "from upstream";

/// A store in the daemon's name space that has every object, until the machine moves: from then on it is silent on
/// the connections that it has, as what lies behind an address that is gone.
struct Store {
    connections: mpsc::Receiver<Connection>,
    moved: Arc<AtomicBool>,
}

/// One connection to it.
struct Connection {
    /// The heads of its requests' first lines.
    requests: mpsc::Receiver<String>,
    /// Ends with the connection.
    _serving: std::thread::JoinHandle<()>,
}

impl Store {
    fn in_the_network_of(process: u32) -> Self {
        let (tell, connections) = mpsc::channel();
        let moved = Arc::new(AtomicBool::new(false));
        let silent = Arc::clone(&moved);
        let listener = std::thread::spawn(move || {
            let network = File::open(format!("/proc/{process}/ns/net")).expect("our own child");
            let kind = Some(rustix::thread::LinkNameSpaceType::Network);
            rustix::thread::move_into_link_name_space(network.as_fd(), kind).expect("we are root");
            TcpListener::bind(UPSTREAM).expect("the address is there")
        });
        let listener = listener.join().expect("it binds");
        std::thread::spawn(move || {
            for stream in listener.incoming() {
                let Ok(stream) = stream else { return };
                let (tell_request, requests) = mpsc::channel();
                // Those that are made after the move are answered.
                let silent = (!silent.load(Ordering::SeqCst)).then(|| Arc::clone(&silent));
                let _serving = std::thread::spawn(move || serve(stream, &tell_request, silent));
                if tell.send(Connection { requests, _serving }).is_err() {
                    return;
                }
            }
        });
        Self { connections, moved }
    }
}

fn serve(stream: TcpStream, tell: &mpsc::Sender<String>, silent: Option<Arc<AtomicBool>>) {
    let mut reader = BufReader::new(stream.try_clone().expect("a descriptor"));
    let mut stream = stream;
    loop {
        let (mut first, mut line) = (String::new(), String::new());
        if !matches!(reader.read_line(&mut first), Ok(1..)) {
            return;
        }
        let mut length = 0;
        loop {
            line.clear();
            if !matches!(reader.read_line(&mut line), Ok(1..)) {
                return;
            }
            if let Some(value) = line.to_ascii_lowercase().strip_prefix("content-length:") {
                length = value.trim().parse().expect("a length");
            }
            if line == "\r\n" {
                break;
            }
        }
        let mut body = vec![0; length];
        if reader.read_exact(&mut body).is_err() || tell.send(first.clone()).is_err() {
            return;
        }
        if silent.as_ref().is_some_and(|silent| silent.load(Ordering::SeqCst)) {
            continue;
        }
        let body = if first.starts_with("GET ") { BODY } else { "" };
        let answer = format!(
            "HTTP/1.1 200 OK\r\nx-amz-request-id: 1\r\nServer: AmazonS3\r\nETag: \"1\"\r\n\
             Last-Modified: Sun, 01 Mar 2026 00:00:00 GMT\r\nContent-Length: {}\r\n\r\n{body}",
            body.len()
        );
        if stream.write_all(answer.as_bytes()).is_err() {
            return;
        }
    }
}

/// A command in the network of the daemon.
fn ip(process: u32, arguments: &str) {
    let status = Command::new("nsenter")
        .arg(format!("--net=/proc/{process}/ns/net"))
        .arg("ip")
        .args(arguments.split(' '))
        .env("PATH", format!("{}:/usr/sbin:/sbin", std::env::var("PATH").unwrap_or_default()))
        .status();
    assert!(status.is_ok_and(|status| status.success()), "ip {arguments}");
}

#[test]
fn after_a_change_of_addresses_nothing_waits_for_a_connection_that_died_with_them() {
    // Silence costs the whole deadline, and none of it may be seen.
    let setup = Setup::new()
        .network("ip link set lo up && ip link add x0 type ifb && ip addr add 10.9.0.1/24 dev x0 && ip link set x0 up")
        .config("first_byte = \"20 s\"\nconnect = \"20 s\"")
        .upstream(format!("{}&allow_http=true", weed::url(UPSTREAM.parse().expect("an address"), "")))
        .keys(&Keys::new("one"));
    if !setup.shell_in_mounts("true") {
        say("skipped: a network name space takes root and its modules");
        return;
    }
    let daemon = setup.start();
    let store = Store::in_the_network_of(daemon.id());
    let get = |name: &str| Request::get(format!("/blob/ns/{name}")).send(&daemon.unix());
    let first = get("first").expect("an answer");
    assert_eq!((first.status(), first.text().as_str()), (200, BODY));
    let old = store.connections.recv_timeout(PATIENCE).expect("it asked");
    old.requests.recv_timeout(PATIENCE).expect("it asked");
    assert!(store.connections.try_recv().is_err(), "one connection, idle now");

    store.moved.store(true, Ordering::SeqCst);
    let moved = Instant::now();
    ip(daemon.id(), "addr add 10.9.0.77/24 dev x0");
    // By itself, without a request of any client: the idle connection ends, and the store is asked over another.
    until("the idle connection is dropped", PATIENCE, || {
        matches!(old.requests.try_recv(), Err(mpsc::TryRecvError::Disconnected))
    });
    let new = store.connections.recv_timeout(PATIENCE).expect("it is asked over a new connection");
    new.requests.recv_timeout(PATIENCE).expect("at once");
    say(&format!("asked {} ms after the change", moved.elapsed().as_millis()));
    let asked = Instant::now();
    let second = get("second").expect("an answer");
    assert_eq!((second.status(), second.text().as_str()), (200, BODY));
    assert!(asked.elapsed() < Duration::from_secs(20), "a dead connection would have cost the deadline");
    assert!(daemon.log().contains("addresses or routes of the machine changed"), "and says why");
}
