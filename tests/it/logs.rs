//! Logs: a filter that is changed while the daemon runs, and systemd's journal by its own protocol.

use std::collections::BTreeMap;
use std::os::unix::net::UnixDatagram;
use std::time::Duration;

use crate::support::daemon::Daemon;
use crate::support::http::Request;
use crate::support::setup::Setup;
use crate::support::{PATIENCE, say, until};

/// A command, and what it printed.
#[track_caller]
fn log(daemon: &Daemon, arguments: &[&str]) -> String {
    let mut all = vec!["log"];
    all.extend(arguments);
    let output = daemon.cli(&all);
    assert!(output.status.success(), "{output:?}");
    String::from_utf8_lossy(&output.stdout).trim_end().to_owned()
}

fn has_line_for(daemon: &Daemon, path: &str) -> bool {
    daemon.log().lines().any(|line| line.contains("larder::access") && line.contains(path))
}

#[test]
fn what_is_logged_is_changed_for_a_while() {
    // It is started with the access log on.
    let daemon = Setup::new().start();
    let warned = |daemon: &Daemon| daemon.stats()["warnings"].get("log").is_some();
    assert_eq!(log(&daemon, &[]), "info,larder::access=debug");
    let shown = log(&daemon, &["info", "--for", "1 h"]);
    assert!(shown.starts_with("info until ") && shown.ends_with("then info,larder::access=debug"), "{shown}");
    assert!(warned(&daemon));
    assert_eq!(daemon.get("/blob/ns/silent").status(), 404);
    assert_eq!(log(&daemon, &["--end"]), "info,larder::access=debug");
    assert!(!warned(&daemon));
    assert_eq!(daemon.get("/blob/ns/heard").status(), 404);
    until("the line is there", PATIENCE, || has_line_for(&daemon, "/blob/ns/heard"));
    assert!(!has_line_for(&daemon, "/blob/ns/silent"));
    log(&daemon, &["warn", "--for", "1 s"]);
    until("it ends by itself", PATIENCE, || !warned(&daemon));
    assert_eq!(log(&daemon, &[]), "info,larder::access=debug");
}

#[test]
fn a_bad_filter_or_a_stranger_changes_nothing() {
    let daemon = Setup::new().start();
    let output = daemon.cli(&["log", "info,larder::access=loud"]);
    let words = String::from_utf8_lossy(&output.stderr).into_owned();
    assert_eq!(output.status.code(), Some(1), "{words}");
    assert!(words.contains("write it as info,larder::access=debug"), "{words}");
    assert_eq!(log(&daemon, &[]), "info,larder::access=debug");
    for target in ["/-/log", "/-/log?filter=off"] {
        let answer = daemon.send(Request::new("POST", target));
        assert_eq!(answer.status(), 403, "only by the admin socket: {}", answer.text());
    }
    let by_get = Request::get("/-/log?filter=off").send(&daemon.admin()).expect("an answer");
    assert_eq!(by_get.status(), 405);
    let no_number = Request::new("POST", "/-/log?filter=off&for_ms=x").send(&daemon.admin());
    assert_eq!(no_number.expect("an answer").status(), 400);
    assert!(!log(&daemon, &[]).contains("until"));
}

/// What plays the journal: a socket that is put where the daemon looks for it.
struct Journal {
    socket: UnixDatagram,
}

/// The fields of one entry.
type Fields = BTreeMap<String, String>;

impl Journal {
    /// In a mount name space of the daemon's, with this before it.
    fn beside(setup: &Setup) -> Self {
        let path = setup.dir().parent().expect("it has one").join("journal.sock");
        let socket = UnixDatagram::bind(&path).expect("a temporary folder");
        socket.set_read_timeout(Some(PATIENCE)).expect("a socket");
        Self { socket }
    }

    /// The next entry for which `is` holds.
    fn next(&self, is: impl Fn(&Fields) -> bool) -> Fields {
        let mut datagram = vec![0; 1 << 20];
        loop {
            let len = self.socket.recv(&mut datagram).expect("an entry comes");
            let fields = fields(&datagram[..len]);
            if is(&fields) {
                return fields;
            }
        }
    }
}

/// The native protocol: `NAME=VALUE\n`, or `NAME\n`, eight bytes of length, the value, `\n`.
fn fields(mut datagram: &[u8]) -> Fields {
    let mut found = Fields::new();
    while !datagram.is_empty() {
        let end = datagram.iter().position(|byte| matches!(byte, b'=' | b'\n')).expect("a name ends");
        let name = String::from_utf8(datagram[..end].to_vec()).expect("a name is text");
        let rest = &datagram[end + 1..];
        let (value, rest) = if datagram[end] == b'=' {
            let len = rest.iter().position(|byte| *byte == b'\n').expect("a value ends");
            (&rest[..len], &rest[len + 1..])
        } else {
            let len = u64::from_le_bytes(rest[..8].try_into().expect("eight bytes")) as usize;
            assert_eq!(rest[8 + len], b'\n', "a value ends");
            (&rest[8..8 + len], &rest[8 + len + 1..])
        };
        found.insert(name, String::from_utf8_lossy(value).into_owned());
        datagram = rest;
    }
    found
}

fn is_serving(entry: &Fields) -> bool {
    entry.get("MESSAGE").is_some_and(|words| words.contains("serving"))
}

/// Puts the socket that plays the journal where the journal's is.
const AT_ITS_PLACE: &str = "mount -t tmpfs none /run && mkdir -p /run/systemd/journal && \
                            touch /run/systemd/journal/socket && \
                            mount --bind \"$DIR/../journal.sock\" /run/systemd/journal/socket";

#[test]
fn the_journal_gets_entries_with_priorities_and_fields() {
    let setup = Setup::new().mounts(AT_ITS_PLACE).config("log.format = \"journald\"");
    let journal = Journal::beside(&setup);
    if !setup.shell_in_mounts("true") {
        return say("skipped: a mount name space takes root");
    }
    let daemon = setup.start();
    let serving = journal.next(is_serving);
    assert_eq!((&*serving["PRIORITY"], &*serving["SYSLOG_IDENTIFIER"]), ("6", "larder"), "{serving:?}");
    assert_eq!(serving["LARDER_VERSION"], env!("CARGO_PKG_VERSION"));
    assert_eq!(daemon.get("/blob/ns/none?sig=secret").status(), 404);
    let access = journal.next(|entry| entry.get("LARDER_PROTOCOL").is_some_and(|name| name == "blob"));
    assert_eq!((&*access["PRIORITY"], &*access["LARDER_OUTCOME"]), ("7", "miss"), "{access:?}");
    assert!(!format!("{access:?}").contains("secret"));
    assert_eq!(daemon.log(), "", "nothing is said twice");
}

#[test]
fn by_itself_it_logs_to_the_journal_where_its_standard_error_is_the_journals() {
    let streams = [
        ("export JOURNAL_STREAM=$(stat -L -c %d:%i /proc/self/fd/2)", true),
        // Of a service from which it was started by hand, with a standard error of its own.
        ("export JOURNAL_STREAM=1:1", false),
        ("true", false),
    ];
    for (stream, is_journals) in streams {
        let setup = Setup::new().mounts(&format!("{AT_ITS_PLACE} && {stream}"));
        let journal = Journal::beside(&setup);
        if !setup.shell_in_mounts("true") {
            return say("skipped: a mount name space takes root");
        }
        let daemon = setup.start();
        if is_journals {
            journal.next(is_serving);
            assert_eq!(daemon.log(), "");
        } else {
            until("it says so itself", PATIENCE, || daemon.log().contains("serving"));
            journal.socket.set_read_timeout(Some(Duration::from_millis(1))).expect("a socket");
            assert!(journal.socket.recv(&mut [0; 16]).is_err(), "{stream}");
        }
    }
}

#[test]
fn without_a_journal_the_one_that_is_asked_for_by_name_is_an_error_with_its_remedy() {
    let setup = Setup::new().mounts("mount -t tmpfs none /run").config("log.format = \"journald\"");
    if !setup.shell_in_mounts("true") {
        return say("skipped: a mount name space takes root");
    }
    let output = setup.serve().output().expect("it starts");
    let words = String::from_utf8_lossy(&output.stderr).into_owned();
    assert_eq!(output.status.code(), Some(1), "{words}");
    assert!(words.contains("/run/systemd/journal/socket") && words.contains("log.format"), "{words}");
}
