//! Credentials that end in the middle of something: of an upload in parts, of a shared access signature's use, of a
//! token's; and a command that hangs when it is asked for others, which no request waits for.

use std::fs;
use std::time::{Duration, SystemTime};

use parking_lot::{Condvar, Mutex};

use crate::credentials::{all_of, laptop_at, login, tell};
use crate::support::azurite::{self, Azurite};
use crate::support::daemon::Daemon;
use crate::support::fault::{Fault, Plan};
use crate::support::http::Request;
use crate::support::proxy::FaultProxy;
use crate::support::rotation::{self, Rotation};
use crate::support::setup::Setup;
use crate::support::weed::{self, Keys, Weed};
use crate::support::wire::{Addr, Head};
use crate::support::{PATIENCE, Rng, sha256, until};
use crate::upstream_reapi::far;

/// A prober looks for other keys every few seconds, and probes every 60 s at worst.
const DRAIN: Duration = Duration::from_secs(150);

/// More keys than the tests can use up.
const KEYS: usize = 60;

/// One part of an upload and the beginning of a second.
const TWO_PARTS: usize = (8 << 20) + 1_000;

fn drains(daemon: &Daemon) {
    until("the queue drains by itself", DRAIN, || daemon.queued() == 0);
}

/// Another machine of the team, whose keys don't end.
fn desk(weed: &Weed, keys: &Keys) -> Daemon {
    Setup::new().upstream(weed::url(weed.addr(), "team")).keys(keys).start()
}

#[track_caller]
fn put(daemon: &Daemon, target: &str, body: &[u8]) {
    assert_eq!(daemon.put(target, body).status(), 200, "{target}");
}

#[track_caller]
fn has(daemon: &Daemon, target: &str, body: &[u8]) {
    let answer = daemon.get(target);
    assert_eq!(answer.status(), 200, "{target}: {}", answer.text());
    assert!(answer.whole() == Some(body), "{target}");
}

/// Holds the first parts of uploads on their way.
struct Gate {
    state: Mutex<Held>,
    changed: Condvar,
}

#[derive(Clone, Copy, PartialEq)]
enum Held {
    /// Parts pass.
    Open,
    /// The next one is held.
    Shut,
    /// One is.
    Holds,
}

static GATE: Gate = Gate { state: Mutex::new(Held::Open), changed: Condvar::new() };

// === impl Gate ===

impl Gate {
    fn set(&self, held: Held) {
        *self.state.lock() = held;
        self.changed.notify_all();
    }

    fn pass(&self) {
        let mut state = self.state.lock();
        if *state == Held::Shut {
            *state = Held::Holds;
        }
        self.changed.wait_while(&mut state, |state| *state == Held::Holds);
    }

    fn until_holds(&self) {
        until("the first part is on its way", PATIENCE, || *self.state.lock() == Held::Holds);
    }
}

/// Refuses keys that are over, as they are when a request comes; a first part that is let in may be held.
fn midway(request: &Head) -> bool {
    if rotation::is_over(request) {
        return true;
    }
    let (method, target) = request.words();
    if method == "PUT" && target.contains("partNumber=1") {
        GATE.pass();
    }
    false
}

#[test]
fn an_upload_in_parts_goes_on_with_the_next_key_or_waits_for_it() {
    let keys = Rotation::keys("parts", KEYS);
    let of_desk = Keys::new("desk");
    let weed = Weed::start(&keys.iter().chain([&of_desk]).collect::<Vec<_>>());
    let way = FaultProxy::to(weed.addr());
    way.plan(Plan { fault: Fault::EXPIRED_TOKEN, strikes: midway });
    let setup = laptop_at(way.addr());
    let rotation = Rotation::new(&setup, "parts", Duration::from_secs(6));
    login(&setup, &rotation.document());
    let laptop = setup.start();
    let mut small = 0;
    let mut with_another_key = || {
        let before = rotation.used();
        until("another key is used", PATIENCE, || {
            small += 1;
            put(&laptop, &format!("/blob/ns/small-{small}"), b"small");
            rotation.used() != before
        });
    };
    with_another_key();

    // The first part is signed with a key that is over before the second is sent.
    let mut rng = Rng::new(17);
    let (first, second) = (rng.bytes(TWO_PARTS), rng.bytes(TWO_PARTS));
    GATE.set(Held::Shut);
    put(&laptop, "/blob/ns/first", &first);
    GATE.until_holds();
    let signed = rotation.used().into_iter().max().expect("a key was used");
    with_another_key();
    until("the key of the first part is over", PATIENCE, || rotation.is_over(signed));
    GATE.set(Held::Open);
    laptop.flush();
    let parts = way.seen().into_iter().filter(|seen| seen.target.contains("partNumber="));
    assert_eq!(parts.count(), 2, "the upload goes on and is not begun anew");
    assert_eq!(rotation.struck(), 0, "no request with a key that was over");
    assert!(!laptop.log().contains("denied since"));

    // The same, and there is no other key.
    with_another_key();
    rotation.break_it();
    GATE.set(Held::Shut);
    put(&laptop, "/blob/ns/second", &second);
    GATE.until_holds();
    until("the last key is over", PATIENCE, || rotation.last_is_over());
    GATE.set(Held::Open);
    let words = laptop.until_upstream("write", &["denied"]);
    assert!(words.contains("`sh` ended with 1: no session: run corp-login; token=…"), "{words}");
    assert!(laptop.queued() > 0, "it waits");
    has(&laptop, "/blob/ns/second", &second);
    rotation.mend_it();
    login(laptop.setup(), &rotation.document());
    drains(&laptop);
    let desk = desk(&weed, &of_desk);
    has(&desk, "/blob/ns/first", &first);
    has(&desk, "/blob/ns/second", &second);
    assert_eq!(laptop.stat("/totals/uploads_ended"), 0, "nothing is given up");
}

#[test]
fn a_command_that_hangs_is_waited_for_by_no_request() {
    let keys = Rotation::keys("hang", KEYS);
    let of_desk = Keys::new("desk");
    let weed = Weed::start(&keys.iter().chain([&of_desk]).collect::<Vec<_>>());
    let desk = desk(&weed, &of_desk);
    put(&desk, "/blob/ns/of-desk", b"of the desk");
    desk.flush();
    let way = FaultProxy::to(weed.addr());
    way.plan(rotation::ENFORCED);
    let setup = laptop_at(way.addr());
    let rotation = Rotation::new(&setup, "hang", Duration::from_secs(9));
    login(&setup, &rotation.document());
    let laptop = setup.start();
    put(&laptop, "/blob/ns/hit", b"here");
    laptop.flush();
    let list = || all_of(&setup.told("credentials").output().expect("the binary starts"));
    assert!(list().contains(", keys until 20") && list().contains(", renewed by 20"), "{}", list());

    // Stored again, it is asked again, and hangs: the keys that are here go on.
    rotation.hang_it();
    login(&setup, &rotation.document());
    until("the command hangs", PATIENCE, || {
        assert_eq!(laptop.get("/blob/ns/nothing-yet").status(), 404);
        rotation.hangs()
    });
    has(&laptop, "/blob/ns/hit", b"here");
    has(&laptop, "/blob/ns/of-desk", b"of the desk");
    assert_eq!(laptop.get("/blob/ns/nothing").status(), 404);
    put(&laptop, "/blob/ns/new", b"new");
    laptop.flush();
    assert!(rotation.hangs() && !rotation.last_is_over(), "all of it while the command hangs");
    assert!(!laptop.log().contains("denied since"));

    // The keys end, and it hangs still.
    until("the keys are over", PATIENCE, || rotation.last_is_over());
    put(&laptop, "/blob/ns/queued", b"queued");
    let words = laptop.until_upstream("write", &["denied"]);
    assert!(words.contains("its keys are being asked for, and have not come yet"), "{words}");
    has(&laptop, "/blob/ns/hit", b"here");
    has(&laptop, "/blob/ns/of-desk", b"of the desk");
    for n in 0..20 {
        assert_eq!(laptop.get(format!("/blob/ns/nothing-{n}")).status(), 404);
        put(&laptop, &format!("/blob/ns/queued-{n}"), b"queued");
    }
    assert!(list().contains(", no keys now: see `larder status`"), "{}", list());
    assert!(rotation.hangs(), "all of it while the command hangs");
    rotation.let_go();
    drains(&laptop);
    has(&desk, "/blob/ns/queued-19", b"queued");
}

/// A signature that ends this soon.
fn signature(life: Duration) -> String {
    let end = chrono::DateTime::<chrono::Utc>::from(SystemTime::now() + life);
    azurite::sas("one", "rwdlac", &end.format("%Y-%m-%dT%H:%M:%SZ").to_string())
}

#[test]
fn a_signature_that_ends_is_replaced_by_a_login() {
    let azurite = Azurite::start(&["one"]);
    let setup = Setup::new().upstream(format!("{}&credential=work", azurite::url(azurite.addr(), "team")));
    let store = |life| {
        let output = tell(
            &setup,
            &["login", "work", "--store", "file", "--kind", "azure-sas"],
            &signature(Duration::from_secs(life)),
        );
        assert!(output.status.success(), "{output:?}");
    };
    store(8);
    let laptop = setup.start();
    put(&laptop, "/blob/ns/first", b"with the first");
    laptop.flush();
    // In use until it is replaced, and from then on the other.
    store(6);
    let mut count = 0;
    let denied = || laptop.upstream("write").0 == "denied";
    until("the second is over", PATIENCE, || {
        count += 1;
        put(&laptop, &format!("/blob/ns/entry-{count}"), b"kept");
        denied()
    });
    // In the last second the store may be the first to know.
    let words = laptop.upstream("write").1;
    let by_end =
        words.contains("the credential `work`: expired at ") && words.contains("run `larder login work`");
    assert!(
        by_end || words.contains("correct the account key or the SAS, renew it if it is over"),
        "{words}"
    );
    until("it is said when it ended", PATIENCE, || laptop.log().contains("expired at "));
    let queued = laptop.queued();
    assert!(queued > 0 && queued < count, "{queued} of {count}: what came before it went upstream");
    let list = all_of(&setup.told("credentials").output().expect("the binary starts"));
    assert!(list.contains(", expired 20"), "{list}");
    has(&laptop, "/blob/ns/first", b"with the first");
    assert_eq!(laptop.get("/blob/ns/nothing").status(), 404);
    store(3600);
    drains(&laptop);
    let log = laptop.log();
    assert!(!log.contains("sig="), "no secret is said");
    let desk = Setup::new().upstream(format!("{}&credential=work", azurite::url(azurite.addr(), "team")));
    let output = tell(
        &desk,
        &["login", "work", "--store", "file", "--kind", "azure-sas"],
        &signature(Duration::from_secs(3600)),
    );
    assert!(output.status.success(), "{output:?}");
    let desk = desk.start();
    for n in 1..=count {
        has(&desk, &format!("/blob/ns/entry-{n}"), b"kept");
    }
}

#[test]
fn a_token_of_a_helper_is_replaced_before_a_cache_of_the_remote_execution_api() {
    let (far, url, first) = far();
    let setup = Setup::new().upstream(format!("{url}?credential=work"));
    let (token, broken, asked) = (setup.path("token"), setup.path("broken"), setup.path("asked"));
    fs::write(&token, &first).expect("a temporary file");
    fs::write(&asked, "").expect("a temporary file");
    let script = format!(
        r#"
[ "$1" = get ] || exit 2
grep -q '"uri":"https://far.example"' || exit 3
if [ -e {broken} ]; then echo "run corp-login" >&2; exit 1; fi
cat {token} >> {asked}; echo >> {asked}
printf '{{"headers":{{"Authorization":["Bearer %s"]}},"expires":"%s"}}' "$(cat {token})" \
    "$(date -u -d '+5 seconds' +%Y-%m-%dT%H:%M:%S.%3NZ)"
"#,
        broken = broken.display(),
        token = token.display(),
        asked = asked.display(),
    );
    let helper = setup.path("helper.sh");
    fs::write(&helper, script).expect("a temporary file");
    let document =
        format!(r#"{{"kind":"helper","command":"sh {}","uri":"https://far.example"}}"#, helper.display());
    login(&setup, &document);
    let near = setup.start();
    let put_next = |body: &str| {
        let target = format!("/cas/{}", sha256(body.as_bytes()));
        put(&near, &target, body.as_bytes());
        target
    };
    put_next("with the first token");
    near.flush();

    // Another token: it is used by itself, and the first is taken back.
    let second = far.token(&["--bearer", "laptops-later"]);
    fs::write(&token, &second).expect("a temporary file");
    until("the helper has given the second", PATIENCE, || {
        fs::read_to_string(&asked).is_ok_and(|asked| asked.contains(&second))
    });
    put_next("while both are good");
    near.flush();
    let list = far.cli(&["token", "list", "--json"]);
    let list: serde_json::Value = serde_json::from_slice(&list.stdout).expect("JSON");
    let ids: Vec<&str> =
        list.as_array().expect("a list").iter().filter_map(|row| row["id"].as_str()).collect();
    assert!(far.cli(&["token", "revoke", ids[0]]).status.success(), "{ids:?}");
    let open = url.trim_start_matches("grpc://").split('/').next().and_then(|open| open.parse().ok());
    let open = Addr::Tcp(open.expect("an address"));
    until("the far one refuses the first", PATIENCE, || {
        let ask = Request::get(format!("/cas/{}", sha256(b"nothing")));
        let answer = ask.header("authorization", format!("Bearer {first}")).send(&open);
        answer.is_ok_and(|answer| answer.status() == 401)
    });
    let target = put_next("with the second token");
    near.flush();
    has(&far, &target, b"with the second token");
    assert!(!near.log().contains("denied since"), "without a restart, and nobody saw it");

    fs::write(&broken, "").expect("a temporary file");
    let mut count = 0;
    until("the second is over, and that is said", PATIENCE, || {
        count += 1;
        put_next(&format!("entry {count}"));
        near.upstream("write").0 == "denied"
    });
    let words = near.upstream("write").1;
    assert!(words.contains("the credential `work`: `sh` ended with 1: run corp-login"), "{words}");
    fs::remove_file(&broken).expect("our own");
    login(&setup, &document);
    drains(&near);
    for n in 1..=count {
        let body = format!("entry {n}");
        has(&far, &format!("/cas/{}", sha256(body.as_bytes())), body.as_bytes());
    }
    for secret in [&first, &second] {
        assert!(!near.log().contains(secret.as_str()) && !far.log().contains(secret.as_str()));
    }
}
