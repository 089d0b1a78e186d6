//! `larder token`: issued, listed, taken back, with and without a daemon; what it opens, and that nothing says it.

use std::os::unix::fs::PermissionsExt;

use serde_json::Value;

use crate::support::daemon::Daemon;
use crate::support::free_addr;
use crate::support::http::Request;
use crate::support::setup::Setup;
use crate::support::wire::Addr;

/// What `larder token list --json` has.
fn listed(daemon: &Daemon) -> Vec<Value> {
    let output = daemon.cli(&["token", "list", "--json"]);
    assert!(output.status.success(), "{output:?}");
    serde_json::from_slice(&output.stdout).expect("a list in JSON")
}

/// The query of a connection string with a shared access signature.
fn signature(string: &str) -> &str {
    string.split_once("SharedAccessSignature=").expect("a signature").1
}

fn block_blob(path: String, body: &str) -> Request {
    Request::put(path, body).header("x-ms-blob-type", "BlockBlob")
}

#[test]
fn a_signature_opens_its_container_until_it_is_revoked() {
    let daemon = Setup::new().start();
    let writes = daemon.token(&["--azure", "cache", "--read-write", "--sas", "--expires", "30d"]);
    let reads = daemon.token(&["--azure", "cache", "--read-only"]);
    let (writes, reads) = (signature(&writes), signature(&reads));
    let blob = |query: &str| format!("/larder/cache/a?{query}");
    assert_eq!(daemon.send(block_blob(blob(writes), "x")).status(), 201);
    assert_eq!(daemon.get(blob(reads)).text(), "x");
    let refused = daemon.send(block_blob(blob(reads), "y"));
    assert_eq!(refused.status(), 403);
    assert_eq!(refused.header("x-ms-error-code"), Some("AuthorizationPermissionMismatch"));
    assert_eq!(daemon.get(format!("/larder/other/a?{reads}")).status(), 403, "another container");

    let rows = listed(&daemon);
    let find = |access: &str| {
        let row = rows.iter().find(|row| row["access"] == access).expect("both are listed");
        assert_eq!((row["kind"].as_str(), row["place"].as_str()), (Some("azure"), Some("cache")));
        row["id"].as_str().expect("an id").to_owned()
    };
    let (writer, reader) = (find("read-write"), find("read-only"));
    // Without a restart, and at once.
    assert!(daemon.cli(&["token", "revoke", &reader]).status.success());
    let refused = daemon.get(blob(reads));
    assert_eq!((refused.status(), refused.header("x-ms-error-code")), (403, Some("AuthenticationFailed")));
    assert_eq!(daemon.get(blob(writes)).text(), "x", "the other one still opens");
    let again = daemon.cli(&["token", "revoke", &reader, &writer]);
    assert!(!again.status.success(), "{again:?}");
    assert!(String::from_utf8_lossy(&again.stderr).contains(&reader), "{again:?}");
    assert_eq!(listed(&daemon).len(), 1, "who names one that is not there takes back none");

    // Not in what it keeps, and not in what it says.
    let hash = writes.rsplit_once("sig=").expect("a signature").1.to_owned();
    let (log, stats) = (daemon.log(), daemon.stats().to_string());
    assert!(!log.contains(&hash) && !stats.contains(&hash), "{log}");
    assert!(!log.contains("sig=") && !stats.contains("sig="), "no query string is logged");
    let state = daemon.setup().dir();
    for name in ["tokens.json", "master.key"] {
        let path = daemon.files("").into_iter().find(|path| path.ends_with(name));
        let path = path.unwrap_or_else(|| panic!("{name} below {}", state.display()));
        assert_eq!(path.metadata().expect("a file").permissions().mode() & 0o777, 0o600, "{name}");
    }
}

/// Before a daemon ever ran, and while it is away.
#[test]
fn tokens_need_no_daemon() {
    let setup = Setup::new();
    let run = |arguments: &[&str]| {
        let mut command = setup.plain();
        let output = command.args(arguments).arg("--dir").arg(setup.dir()).output().expect("it starts");
        (output.status.success(), String::from_utf8_lossy(&output.stdout).into_owned(), output.stderr)
    };
    let (listed, text, _) = run(&["token", "list"]);
    assert!(listed && text == "nothing is issued\n", "{text}");
    let (issued, string, said) = run(&["token", "new", "--azure", "cache", "--read-only"]);
    assert!(issued && string.lines().count() == 1, "one line, to be put into a variable: {string}");
    assert!(String::from_utf8_lossy(&said).contains("larder token revoke"), "how it is taken back");
    let query = signature(string.trim_end()).to_owned();
    let daemon = setup.start();
    assert_eq!(daemon.get(format!("/larder/cache/a?{query}")).status(), 404, "it is let in");
    let (setup, _) = daemon.stop();
    let (_, text, _) = {
        let mut command = setup.plain();
        let output =
            command.args(["token", "list", "--json", "--dir"]).arg(setup.dir()).output().expect("it starts");
        (output.status.success(), String::from_utf8_lossy(&output.stdout).into_owned(), output.stderr)
    };
    let rows: Vec<Value> = serde_json::from_str(&text).expect("JSON");
    let id = rows[0]["id"].as_str().expect("an id");
    let mut command = setup.plain();
    let revoked =
        command.args(["token", "revoke", id, "--dir"]).arg(setup.dir()).output().expect("it starts");
    assert!(revoked.status.success(), "{revoked:?}");
    let daemon = setup.start();
    assert_eq!(daemon.get(format!("/larder/cache/a?{query}")).status(), 403);
}

#[test]
fn what_can_not_be_issued_is_said_with_the_remedy() {
    let daemon = Setup::new().start();
    let said = |arguments: &[&str]| {
        let output = daemon.cli(&[&["token"], arguments].concat());
        assert!(!output.status.success() && output.stdout.is_empty(), "{output:?}");
        String::from_utf8_lossy(&output.stderr).into_owned()
    };
    for (arguments, words) in [
        (&["new", "--azure", "cache"][..], "--read-write"),
        (&["new", "--read-only"], "--azure"),
        (&["new", "--azure", "Cache", "--read-only"], "3 to 63 of [a-z0-9-]"),
        (&["new", "--s3", "a_b", "--read-only"], "3 to 63 of [a-z0-9-.]"),
        (&["new", "--s3", "cache", "--read-only", "--sas"], "--azure"),
        (&["new", "--azure", "cache", "--read-only", "--expires", "soon"], "12h, 30d or 8w"),
        (&["new", "--azure", "cache", "--read-only", "--endpoint", "127.0.0.1"], "http://127.0.0.1:5273"),
        (&["new", "--bearer", "a b"], "printable characters"),
        (&["revoke", "LKnothing"], "LKnothing"),
    ] {
        let text = said(arguments);
        assert!(text.contains(words), "{arguments:?}: {text}");
    }
    assert!(listed(&daemon).is_empty());
}

/// A bearer token of the keyring opens a listener off loopback, and is gone when it is revoked, without a restart.
#[test]
fn a_bearer_token_is_let_in_off_loopback() {
    let open = free_addr();
    let daemon = Setup::new()
        .config(&format!("[[listeners]]\naddress = \"0.0.0.0:{}\"\ninsecure = true\n", open.port()))
        .start();
    let ask = |request: Request| request.send(&Addr::Tcp(open)).expect("an answer").status();
    let token = daemon.token(&["--bearer", "ci"]);
    let with = |token: &str| Request::get("/blob/x/1").header("Authorization", format!("Bearer {token}"));
    assert_eq!(ask(Request::get("/blob/x/1")), 401);
    assert_eq!(ask(with("something-else")), 401);
    assert_eq!(ask(with(&token)), 404);

    // The doors ask for signatures there, and take no token in their place.
    let reads = daemon.token(&["--azure", "cache", "--read-only"]);
    assert_eq!(ask(Request::get("/larder/cache/a")), 403);
    assert_eq!(ask(Request::get("/larder/cache/a?token=local")), 403);
    assert_eq!(ask(Request::get(format!("/larder/cache/a?{}", signature(&reads)))), 404);
    assert_eq!(ask(Request::get("/s3/cache/a")), 403);

    let rows = listed(&daemon);
    let id = rows.iter().find(|row| row["kind"] == "bearer").and_then(|row| row["id"].as_str()).expect("it");
    assert!(daemon.cli(&["token", "revoke", id]).status.success());
    assert_eq!(ask(with(&token)), 401);
    assert!(!daemon.log().contains(&token));
}
