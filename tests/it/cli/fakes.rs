//! The command line where no daemon answers as it should: none there, one that hangs, other versions, strangers, another
//! user's.

use std::fs;
use std::io::{Read, Write};
use std::os::unix::net::UnixListener;
use std::path::Path;
use std::process::{Command, Output, Stdio};
use std::thread::JoinHandle;

use rustix::process::Signal;

use super::{json, signal, status, stderr, stdout, well};
use crate::support::setup::Setup;

/// Something that listens on a unix socket and answers each connection with the same bytes.
struct Fake {
    folder: tempfile::TempDir,
    serving: Option<JoinHandle<()>>,
}

// === impl Fake ===

impl Fake {
    fn says(bytes: impl Into<Vec<u8>>) -> Self {
        let bytes = bytes.into();
        let folder = tempfile::tempdir().expect("a folder");
        let listener = UnixListener::bind(folder.path().join("larder.sock")).expect("binds");
        let serving = std::thread::spawn(move || {
            let (mut stream, _) = listener.accept().expect("somebody asks");
            let mut head = [0; 1024];
            let read = stream.read(&mut head).expect("a request");
            assert!(read > 0, "the command asks first");
            stream.write_all(&bytes).expect("it is read");
        });
        Self { folder, serving: Some(serving) }
    }

    /// A larder of that version.
    fn version(version: &str, page: &str) -> Self {
        let head = format!("HTTP/1.1 200 OK\r\nlarder-version: {version}\r\ncontent-length: {}", page.len());
        Self::says(format!("{head}\r\n\r\n{page}"))
    }

    /// `larder` with these arguments, asking it.
    fn asked(mut self, arguments: &[&str]) -> Output {
        let output = run(arguments, &self.folder.path().join("larder.sock"));
        let serving = self.serving.take().expect("it is asked once");
        serving.join().expect("the fake did its part");
        output
    }
}

fn run(arguments: &[&str], socket: &Path) -> Output {
    let mut command = Setup::new().plain();
    command.args(arguments).arg("--socket").arg(socket).stdin(Stdio::null());
    command.output().expect("the binary starts")
}

#[test]
fn no_daemon_is_exit_code_3() {
    let setup = well();
    let ask = |arguments: &[&str]| {
        let mut command = setup.plain();
        command
            .args(arguments)
            .arg("--dir")
            .arg(setup.dir())
            .stdin(Stdio::null())
            .output()
            .expect("it starts")
    };
    for arguments in [&["status"] as &[&str], &["queue"], &["flush"]] {
        let output = ask(arguments);
        assert_eq!((output.status.code(), stdout(&output)), (Some(3), String::new()), "{arguments:?}");
        assert!(stderr(&output).contains("no daemon answers on") && stderr(&output).contains("larder serve"));
    }
    let output = ask(&["status", "--json"]);
    assert_eq!((output.status.code(), &json(&output)["running"]), (Some(3), &false.into()));
    // As `kill -9` leaves it: the socket's file is there.
    let setup = setup.start().kill();
    assert!(setup.dir().join("larder.sock").exists());
    assert_eq!(ask(&["status"]).status.code(), Some(3));
}

#[test]
fn a_daemon_that_hangs_is_said_to() {
    let daemon = well().start();
    signal(daemon.id(), Signal::STOP);
    for arguments in [&["status", "--timeout", "300 ms"] as &[&str], &["queue", "--timeout", "300 ms"]] {
        let output = daemon.cli(arguments);
        assert_eq!((output.status.code(), stdout(&output)), (Some(1), String::new()), "{arguments:?}");
        let words = stderr(&output);
        assert!(
            words.contains("does not answer within 0.3 s") && words.contains("larder service restart"),
            "{words}"
        );
    }
    let output = daemon.cli(&["status", "--json", "--timeout", "300 ms"]);
    assert!(json(&output)["running"].is_null(), "nobody can say: {output:?}");
    signal(daemon.id(), Signal::CONT);
    assert_eq!(status(&daemon).0, Some(0));
}

#[test]
fn other_versions_are_named_and_shown_as_far_as_they_go() {
    let older =
        r#"{ "version": "0.0.1", "pid": 7, "queue": { "entries": 0, "bytes": 0, "oldest_ms": null } }"#;
    let output = Fake::version("0.0.1", older).asked(&["status"]);
    assert_eq!(output.status.code(), Some(0), "{output:?}");
    assert!(stdout(&output).starts_with("larder 0.0.1  healthy\n"), "{output:?}");
    let words = stderr(&output);
    assert!(
        words.contains("0.0.1") && words.contains("older") && words.contains("larder service restart"),
        "{words}"
    );

    let newer = r#"{ "version": "99.0.0", "news": [{}], "queue": { "entries": 3, "bytes": 5, "news": 1 },
                     "warnings": { "news": { "words": "look here", "since_ms": 5, "news": {} } } }"#;
    let output = Fake::version("99.0.0", newer).asked(&["status"]);
    assert_eq!(output.status.code(), Some(1), "{output:?}");
    assert!(
        stdout(&output).contains("3 entries, 5 B") && stdout(&output).contains("look here"),
        "{output:?}"
    );
    assert!(stderr(&output).contains("newer"), "{output:?}");
    assert_eq!(stderr(&output).lines().count(), 1, "one line: {output:?}");
    let output = Fake::version("99.0.0", newer).asked(&["status", "--json"]);
    assert_eq!(json(&output)["news"], serde_json::json!([{}]), "what is unknown is kept");

    let output = Fake::version("99.0.0", r#"{ "items": [], "news": 1 }"#).asked(&["queue"]);
    assert_eq!(
        (output.status.code(), stdout(&output)),
        (Some(0), "the queue is empty\n".into()),
        "{output:?}"
    );
}

#[test]
fn who_is_not_larder_is_said_not_to_be() {
    for bytes in [
        &b"\x00\x01\x02garbage"[..],
        b"SSH-2.0-OpenSSH_9.2\r\n",
        b"HTTP/1.1 200 OK\r\ncontent-length: 2\r\n\r\n{}",
        b"HTTP/1.1 302 Found\r\nlocation: /login\r\ncontent-length: 0\r\n\r\n",
    ] {
        let output = Fake::says(bytes).asked(&["status"]);
        assert_eq!((output.status.code(), stdout(&output)), (Some(1), String::new()), "{output:?}");
        assert!(stderr(&output).contains("is not larder"), "{output:?}");
    }
    let folder = tempfile::tempdir().expect("a folder");
    let file = folder.path().join("file");
    fs::write(&file, "precious").expect("written");
    assert!(stderr(&run(&["status"], &file)).contains("is not a socket"));
}

#[test]
fn another_users_socket_is_said_to_be() {
    let daemon = well().start();
    let socket = daemon.setup().dir().join("larder.sock");
    if rustix::process::geteuid().is_root() {
        // Nobody, who may run the binary only where he can reach it.
        let folder = tempfile::Builder::new().permissions(world()).tempdir().expect("a folder");
        let binary = folder.path().join("larder");
        fs::copy(env!("CARGO_BIN_EXE_larder"), &binary).expect("copied");
        let mut command = Command::new("setpriv");
        command.args(["--reuid", "65534", "--regid", "65534", "--clear-groups"]).arg(&binary);
        let output = command.args(["status", "--socket"]).arg(&socket).output().expect("setpriv starts");
        assert_eq!(output.status.code(), Some(1), "{output:?}");
        assert!(stderr(&output).contains("is for root and the daemon's own user"), "{output:?}");
        return;
    }
    fs::set_permissions(&socket, std::os::unix::fs::PermissionsExt::from_mode(0o000)).expect("ours");
    let output = run(&["status"], &socket);
    assert_eq!(output.status.code(), Some(1), "{output:?}");
    assert!(stderr(&output).contains("is for root and the daemon's own user"), "{output:?}");
}

fn world() -> fs::Permissions {
    std::os::unix::fs::PermissionsExt::from_mode(0o755)
}
