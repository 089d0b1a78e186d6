//! `larder doctor` and upstreams: canaries that come back, and each way in which they don't.

use std::fs;
use std::os::unix::fs::PermissionsExt;

use super::{ask, run};
use crate::support::fault::{Fault, Plan};
use crate::support::http::Request;
use crate::support::proxy::FaultProxy;
use crate::support::setup::Setup;
use crate::support::weed::{self, Keys, Weed};

#[test]
fn a_daemon_that_is_well_has_no_problems_and_nothing_stays_of_its_canaries() {
    let keys = Keys::new("one");
    let weed = Weed::start(&[&keys]);
    let daemon = Setup::new().upstream(weed::url(weed.addr(), "team")).keys(&keys).start();
    let said = ask(daemon.setup());
    said.without_problems();
    said.has("daemon", "ok", &[&format!("pid {}", daemon.id()), env!("CARGO_PKG_VERSION")], "");
    said.has("port", "ok", &["lets this user in"], "");
    said.has("upstream", "ok", &["written, read and deleted", "by the daemon"], "");
    said.has("clock", "ok", &["within"], "");
    for check in ["configuration", "socket", "folder", "space", "permissions", "environment"] {
        said.has(check, "ok", &[], "");
    }
    let left = Request::get(format!("/buckets/{}/team/?limit=100", weed::BUCKET)).send(&weed.filer());
    let left = left.expect("the filer answers").text();
    assert!(!left.contains("larder-canary"), "{left}");
    assert_eq!((daemon.queued(), daemon.upstream("write").0.as_str()), (0, "up"));

    // For people: a line each, no colours into a pipe, the sum at the end.
    let output = run(&mut daemon.setup().told("doctor"));
    let text = String::from_utf8_lossy(&output.stdout);
    assert!(
        !text.contains('\x1b') && text.lines().any(|line| line.starts_with("ok       daemon ")),
        "{text}"
    );
    assert!(text.lines().last().is_some_and(|line| line.starts_with("no problems, ")), "{text}");
}

#[test]
fn canaries_fly_by_the_admin_socket_and_by_post_only() {
    let daemon = Setup::new().start();
    let post = Request::new("POST", "/-/canary");
    assert_eq!(daemon.send(post.clone()).status(), 403);
    let by_socket = |request: Request| request.send(&daemon.admin()).expect("an answer");
    assert_eq!(by_socket(Request::get("/-/canary")).status(), 405);
    let answer = by_socket(post.clone());
    assert_eq!(
        (answer.status(), answer.text().contains("\"canaries\": []")),
        (200, true),
        "{}",
        answer.text()
    );
    let page = post.header("origin", "http://127.0.0.1");
    assert_eq!(by_socket(page).status(), 403, "no web page makes them fly");
    assert_eq!(run(daemon.setup().plain().args(["doctor", "--no-such-flag"])).status.code(), Some(2));
}

/// The ways in which an upstream can be wrong, by the daemon and by the doctor itself.
#[test]
fn upstreams_that_are_wrong() {
    let (keys, reader, stranger) = (
        Keys::new("one"),
        Keys { rights: &["Read", "List"], ..Keys::new("reader") },
        Keys { secret: "another".into(), ..Keys::new("one") },
    );
    let weed = Weed::start(&[&keys, &reader]);
    let way = FaultProxy::to(weed.addr());
    let setup = || Setup::new().upstream(weed::url(way.addr(), ""));

    let wrong = setup().keys(&stranger).start();
    ask(wrong.setup()).problem(
        "upstream",
        &["refuses the keys", "SignatureDoesNotMatch"],
        "correct its credentials",
        &[],
    );

    let reading = setup().keys(&reader).start();
    let said = ask(reading.setup());
    said.problem("upstream", &["can be read and not written", "AccessDenied"], "read-only", &[]);
    assert_eq!(reading.upstream("write").0, "up", "a canary shuts no way that others still go");
    let told =
        Setup::new().upstream(format!("{}&read_only=true", weed::url(way.addr(), ""))).keys(&reader).start();
    ask(told.setup()).without_problems();

    let well = setup().keys(&keys).start();
    ask(well.setup()).without_problems();
    way.plan(Plan { fault: Fault::ACCESS_DENIED, strikes: |head| head.words().0 == "DELETE" });
    let said = ask(well.setup());
    said.without_problems();
    said.has("upstream", "warning", &["nothing can be deleted", "AccessDenied"], "larder-canary-");

    for (ahead_s, words) in [(1200, "behind"), (-1200, "ahead of")] {
        way.set(Fault::Clock { ahead_s });
        ask(well.setup()).problem("clock", &["this machine's clock is", words, "15 min"], "set-ntp", &[]);
    }
    way.set(Fault::Clock { ahead_s: 90 });
    let said = ask(well.setup());
    said.without_problems();
    said.has("clock", "warning", &["behind"], "set-ntp");

    way.set(Fault::Portal);
    ask(well.setup()).problem("upstream", &["can't be used", "captive portal"], "URL", &[]);
    way.set(Fault::Refuse);
    ask(well.setup()).problem("upstream", &["can't be used", "connect to"], "reaches it", &[]);
    way.set(Fault::Silent);
    ask(well.setup()).problem("upstream", &["can't be used", "no answer"], "reaches it", &[]);
    // While one is under way, and this one takes its whole deadline, nobody else sends any.
    let fly = || Request::new("POST", "/-/canary").send(&well.admin()).expect("an answer").status();
    let mut flown = std::thread::scope(|scope| {
        let flights = [scope.spawn(fly), scope.spawn(fly)];
        flights.map(|flight| flight.join().expect("no panic"))
    });
    flown.sort_unstable();
    assert_eq!(flown, [200, 409]);

    // Without a daemon the doctor goes itself, with what the configuration says.
    way.set(Fault::None);
    let setup = well.kill();
    let said = ask(&setup);
    said.problem("daemon", &["no daemon answers"], "larder serve", &[]);
    said.has("upstream", "ok", &["written, read and deleted", "by this command"], "");
    way.set(Fault::Refuse);
    ask(&setup).problem("upstream", &["can't be used"], "reaches it", &["daemon"]);
    let folder = Setup::new().upstream("file:///no/such/folder/of/larder");
    ask(&folder).problem("upstream", &["/no/such/folder/of/larder"], "URL", &["daemon"]);
    fs::set_permissions(setup.keys_path(), fs::Permissions::from_mode(0o644)).expect("our own");
    ask(&setup).has("permissions", "problem", &["credentials file", "0644"], "chmod 0600");
}
