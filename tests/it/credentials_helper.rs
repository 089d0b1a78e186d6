//! A credential helper that does what helpers do: rotates its answer, hangs, fails, prints what it should not.

use std::time::{Duration, Instant};

use crate::credentials::{login, tell};
use crate::support::setup::Setup;
use crate::support::{PATIENCE, until, write_secret};
use crate::upstream_http::Hub;

/// A prober looks for other keys every few seconds, and probes every 60 s at worst.
const DRAIN: Duration = Duration::from_secs(150);

/// What is nowhere to be seen, whatever the helper does with it.
const SECRET: &str = "planted-with-the-helper-4273";

/// What the daemon says of it, and what the helper does; `$1` is the folder, in which `token` is. Each is by itself good
/// for 2 s, and so asked for again.
const BAD: [(&str, &str); 6] = [
    ("is not JSON", "echo planted-with-the-helper-4273"),
    ("ended with 1: token=…", "echo token=planted-with-the-helper-4273 >&2; exit 1"),
    ("ended with 3", "exit 3"),
    ("was ended by signal 9", "kill -9 $$"),
    ("printed more than 256 KiB", "yes planted-with-the-helper-4273 | head -c 10000000"),
    ("has no header: log in", "echo '{\"headers\":{}}'"),
];

const GOOD: &str = "printf '{\"headers\":{\"Authorization\":[\"Bearer %s\"]},\"expires\":\"%s\"}' \
                    \"$(cat $1/token)\" \"$(date -u -d '2 seconds' +%Y-%m-%dT%H:%M:%SZ)\"";

#[test]
fn a_helper_that_rotates_hangs_or_fails_harms_no_request_and_shows_nothing() {
    let hub = Hub::start();
    let url = format!("http://{}?allow_http=true", hub.open);
    let setup = Setup::new().config("log.filter = \"trace\"").upstream(format!("{url}&credential=work"));
    let does = |script: &str| write_secret(&setup.path("helper"), script);
    let is_token = |token: &str| write_secret(&setup.path("token"), token);
    let document = format!(
        r#"{{"kind":"helper","command":"sh {} {}","uri":"{url}"}}"#,
        setup.path("helper").display(),
        setup.path("").display()
    );
    let document = document.replace("/\",", "\",");
    does(GOOD);
    is_token(&hub.token);
    login(&setup, &document);
    let daemon = setup.start();
    let mut count = 0;
    let mut put = || {
        count += 1;
        let began = Instant::now();
        assert_eq!(daemon.put(format!("/blob/ns/{count}"), "kept").status(), 200);
        assert!(began.elapsed() < Duration::from_secs(3), "the helper is waited for by nobody");
    };
    put();
    daemon.flush();

    // It rotates: what it printed before is taken back.
    let second = hub.daemon.token(&["--bearer", "second"]);
    is_token(&second);
    let list = hub.daemon.cli(&["token", "list", "--json"]);
    let rows: Vec<serde_json::Value> = serde_json::from_slice(&list.stdout).expect("JSON");
    let first = rows.iter().find(|row| row["place"] == "team").expect("it is listed");
    assert!(hub.daemon.cli(&["token", "revoke", first["id"].as_str().expect("an id")]).status.success());
    put();
    until("the second is sent, and lets it in", DRAIN, || daemon.queued() == 0);

    for (words, script) in BAD {
        does(script);
        // Once more: it is asked at once.
        login(&setup, &document);
        until(words, PATIENCE, || {
            put();
            daemon.log().contains(words)
        });
    }
    does("sleep 100");
    login(&setup, &document);
    for _ in 0..5 {
        put();
    }
    assert!(daemon.queued() > 0);
    let said = tell(&setup, &["status"], "");
    assert!(said.status.code() == Some(1), "{said:?}");

    // What is stored again ends the wait for one that hangs.
    does(GOOD);
    login(&setup, &document);
    until("it works, and all goes upstream", DRAIN, || daemon.queued() == 0);
    let log = daemon.log();
    for secret in [SECRET, &hub.token, &second] {
        assert!(!log.contains(secret), "{secret}");
    }
}
