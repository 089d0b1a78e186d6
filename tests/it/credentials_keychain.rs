//! The platform's keychain: gnome-keyring on a bus of its own, locked, unlocked, killed, absent.

use std::fs;
use std::path::PathBuf;
use std::process::{Command, Stdio};
use std::time::{Duration, Instant};

use rustix::process::Signal;

use crate::credentials::document;
use crate::support::process::Process;
use crate::support::setup::Setup;
use crate::support::weed::{self, Keys, Weed};
use crate::support::{PATIENCE, eventually, until};

/// A bus with a keyring that is unlocked.
struct Session {
    home: tempfile::TempDir,
    _bus: Process,
    keyring: Option<Process>,
    address: String,
}

// === impl Session ===

impl Session {
    fn new() -> Self {
        let home = tempfile::TempDir::new().expect("a temporary folder");
        let socket = home.path().join("bus");
        let address = format!("unix:path={}", socket.display());
        // Nothing is started by the bus itself: what is killed stays away.
        let config = home.path().join("bus.conf");
        fs::write(
            &config,
            format!(
                "<busconfig><type>session</type><listen>{address}</listen><auth>EXTERNAL</auth>\
                 <policy context=\"default\"><allow send_destination=\"*\"/><allow receive_sender=\"*\"/>\
                 <allow own=\"*\"/></policy></busconfig>"
            ),
        )
        .expect("a temporary file");
        let mut bus = Command::new("dbus-daemon");
        bus.arg(format!("--config-file={}", config.display())).args([
            "--nofork",
            "--nopidfile",
            "--nosyslog",
        ]);
        let bus = Process::spawn(&mut bus, &home.path().join("bus.log"));
        until("the bus is there", PATIENCE, || socket.exists());
        let mut session = Self { home, _bus: bus, keyring: None, address };
        session.unlock();
        session
    }

    /// A keyring whose login collection is unlocked by its password.
    fn unlock(&mut self) {
        self.keyring = None;
        let log = self.home.path().join("keyring.log");
        let file = fs::File::options().create(true).append(true).open(&log).expect("a temporary file");
        let mut command = Command::new("gnome-keyring-daemon");
        let mut child = self
            .of(&mut command)
            .args(["--foreground", "--unlock", "--components=secrets"])
            .stdin(Stdio::piped())
            .stdout(file.try_clone().expect("a descriptor"))
            .stderr(file)
            .spawn()
            .expect("gnome-keyring-daemon starts: tests/run installs it");
        let mut stdin = child.stdin.take().expect("it is piped");
        std::io::Write::write_all(&mut stdin, b"password").expect("it is read");
        drop(stdin);
        self.keyring = Some(Process::of(child, log));
        until("the keyring is on the bus", PATIENCE, || self.has_keyring());
    }

    /// The same, not unlocked.
    fn lock(&mut self) {
        self.keyring = None;
        let mut command = Command::new("gnome-keyring-daemon");
        let command = self.of(&mut command).args(["--foreground", "--components=secrets"]);
        self.keyring = Some(Process::spawn(command, &self.home.path().join("keyring.log")));
        until("the keyring is on the bus", PATIENCE, || self.has_keyring());
    }

    fn kill(&mut self) {
        self.keyring = None;
    }

    /// It is there and answers nobody, until it is told to go on.
    fn hang(&self) {
        self.signal(Signal::STOP);
    }

    fn go_on(&self) {
        self.signal(Signal::CONT);
    }

    fn signal(&self, signal: Signal) {
        self.keyring.as_ref().expect("it runs").signal(signal);
    }

    fn has_keyring(&self) -> bool {
        let mut command = Command::new("dbus-send");
        let output = self
            .of(&mut command)
            .args(["--session", "--print-reply", "--dest=org.freedesktop.DBus", "/org/freedesktop/DBus"])
            .args(["org.freedesktop.DBus.NameHasOwner", "string:org.freedesktop.secrets"])
            .output()
            .expect("dbus-send starts");
        String::from_utf8_lossy(&output.stdout).contains("boolean true")
    }

    fn of<'a>(&self, command: &'a mut Command) -> &'a mut Command {
        command
            .env("HOME", self.home.path())
            .env("XDG_DATA_HOME", self.home.path().join("data"))
            .env("XDG_RUNTIME_DIR", self.home.path())
            .env("DBUS_SESSION_BUS_ADDRESS", &self.address)
    }
}

fn login(setup: &Setup, session: &Session, store: &[&str], input: &str) -> String {
    let mut command = setup.plain();
    command.env("DBUS_SESSION_BUS_ADDRESS", &session.address);
    command.args(["login", "work"]).args(store).arg("--dir").arg(setup.dir());
    command.stdin(Stdio::piped()).stdout(Stdio::piped()).stderr(Stdio::piped());
    let mut child = command.spawn().expect("the binary starts");
    let mut stdin = child.stdin.take().expect("it is piped");
    std::io::Write::write_all(&mut stdin, input.as_bytes()).expect("it is read");
    drop(stdin);
    let output = child.wait_with_output().expect("it ends");
    assert!(output.status.success(), "{output:?}");
    String::from_utf8_lossy(&output.stderr).into_owned()
}

fn file(setup: &Setup) -> PathBuf {
    setup.dir().join("state/credentials/work")
}

#[test]
fn a_keychain_keeps_it_and_may_be_locked_or_killed() {
    let mut session = Session::new();
    let (old, new) = (Keys::new("chain"), Keys::new("other"));
    let weed = Weed::start(&[&old, &new]);
    let setup = Setup::new()
        .upstream(format!("{}&credential=work", weed::url(weed.addr(), "team")))
        .with_env("DBUS_SESSION_BUS_ADDRESS", &session.address);
    let said = login(&setup, &session, &[], &document(&old));
    assert!(said.contains("in the keychain"), "{said}");
    let kept = fs::read_to_string(file(&setup)).expect("what says that it is there");
    assert!(kept.contains("keychain") && !kept.contains(&old.secret) && !kept.contains(&old.id), "{kept}");
    let daemon = setup.start();
    assert_eq!(daemon.put("/blob/ns/one", "by the keychain").status(), 200);
    daemon.flush();

    // What was read goes on.
    session.kill();
    assert_eq!(daemon.put("/blob/ns/two", "without it").status(), 200);
    daemon.flush();
    // A process that has read nothing says what is wrong.
    let daemon = daemon.kill().start();
    assert_eq!(daemon.put("/blob/ns/three", "kept").status(), 200);
    let words = daemon.until_upstream("write", &["denied"]);
    assert!(words.contains("the keychain can't be used"), "{words}");
    session.lock();
    eventually("that it is locked is said", Duration::from_secs(120), || {
        let words = daemon.upstream("write").1;
        words.contains("the keychain is locked").then_some(())
    });
    assert_eq!(daemon.queued(), 1);
    session.unlock();
    until("it is unlocked, and all goes upstream", Duration::from_secs(150), || daemon.queued() == 0);

    // Another, in a file: the keychain has it no more.
    login(&setup, &session, &["--store", "file"], &document(&new));
    assert!(fs::read_to_string(file(&setup)).expect("a document").contains(&new.id));
    login(&setup, &session, &["--store", "keychain"], &document(&new));
    let list = daemon.cli(&["credentials"]);
    let list = String::from_utf8_lossy(&list.stdout).into_owned();
    assert!(list.contains("in the keychain") && list.contains("s3"), "{list}");
    let mut logout = setup.plain();
    logout
        .env("DBUS_SESSION_BUS_ADDRESS", &session.address)
        .args(["logout", "work", "--dir"])
        .arg(setup.dir());
    assert!(logout.status().expect("the binary starts").success());
    assert!(!file(&setup).exists());
}

#[test]
fn one_that_answers_late_is_waited_for_by_nobody_and_heard_when_it_does() {
    let session = Session::new();
    let keys = Keys::new("late");
    let weed = Weed::start(&[&keys]);
    let setup = Setup::new()
        .upstream(format!("{}&credential=work", weed::url(weed.addr(), "team")))
        .with_env("DBUS_SESSION_BUS_ADDRESS", &session.address);
    login(&setup, &session, &["--store", "keychain"], &document(&keys));
    session.hang();
    let daemon = setup.start();
    assert_eq!(daemon.put("/blob/ns/one", "kept").status(), 200);
    assert_eq!(daemon.get("/blob/ns/one").status(), 200);
    // What is not here is asked of an upstream that has no keys: a miss, as when offline.
    let began = Instant::now();
    assert_eq!(daemon.get("/blob/ns/other").status(), 404);
    assert!(began.elapsed() < Duration::from_secs(4), "not the keychain's 5 s: {:?}", began.elapsed());
    eventually("that it doesn't answer is said", PATIENCE, || {
        daemon.upstream("write").1.contains("the keychain gave no answer within 5 s").then_some(())
    });
    let status = daemon.cli(&["status"]);
    let said = String::from_utf8_lossy(&status.stdout).into_owned();
    assert!(said.contains("gave no answer within 5 s"), "{said}");
    assert_eq!(daemon.queued(), 1);

    // Nobody sits before a keychain that hangs: `larder login` doesn't wait for one, and a file will do.
    let other = Setup::new();
    let began = Instant::now();
    let said = login(&other, &session, &[], &document(&keys));
    assert!(said.contains("state/credentials/work"), "{said}");
    assert!(began.elapsed() < Duration::from_secs(30), "{:?}", began.elapsed());

    session.go_on();
    until("it answers, and all goes upstream", Duration::from_secs(150), || daemon.queued() == 0);
    assert_eq!(daemon.upstream("write").0, "up");
}

#[test]
fn without_a_keychain_it_is_a_file_unless_a_keychain_was_asked_for() {
    let setup = Setup::new();
    let input = document(&Keys::new("none"));
    let output = crate::credentials::tell(&setup, &["login", "work"], &input);
    let said = String::from_utf8_lossy(&output.stderr).into_owned();
    assert!(output.status.success() && said.contains("state/credentials/work"), "{output:?}");
    fs::remove_file(file(&setup)).expect("our own");
    let output = crate::credentials::tell(&setup, &["login", "work", "--store", "keychain"], &input);
    let said = String::from_utf8_lossy(&output.stderr).into_owned();
    assert!(output.status.code() == Some(1) && said.contains("keychain can't be used"), "{output:?}");
    assert!(!file(&setup).exists());
}
