//! Keys that end every few seconds, printed by a command, before a store that refuses those that are over.

use std::fs;
use std::path::{Path, PathBuf};
use std::sync::atomic::{AtomicU64, Ordering};
use std::time::{Duration, SystemTime, UNIX_EPOCH};

use crate::credentials::login;
use crate::support::fault::{Fault, Plan};
use crate::support::proxy::FaultProxy;
use crate::support::routes::Route;
use crate::support::setup::Setup;
use crate::support::weed::{self, Keys, Weed};
use crate::support::wire::Head;
use crate::support::{PATIENCE, Rng, until};

/// The life of one key, in seconds.
const LIFE_S: u64 = 10;

/// How often it is replaced under load.
const ROTATIONS: u64 = 5;

/// Keys below this number are over.
static OVER_BELOW: AtomicU64 = AtomicU64::new(1);
/// Requests with keys that were over.
static STRUCK: AtomicU64 = AtomicU64::new(0);

/// Whether a request is signed with a key that is over.
fn is_over(head: &Head) -> bool {
    let number = head.header("authorization").and_then(|value| {
        let (_, rest) = value.split_once("AKrot")?;
        rest.split('/').next()?.parse::<u64>().ok()
    });
    let is_over = number.is_some_and(|number| number < OVER_BELOW.load(Ordering::SeqCst));
    if is_over {
        STRUCK.fetch_add(1, Ordering::SeqCst);
    }
    is_over
}

/// A command that prints the next key each time, and notes when it ends; while there is a file `broken` it fails.
fn command(setup: &Setup, log: &Path) -> PathBuf {
    let path = setup.path("keys.sh");
    let (log, broken) = (log.display(), setup.path("broken"));
    let script = format!(
        r#"
if [ -e {broken} ]; then echo "no session: run corp-login; token=secret-of-rot" >&2; exit 1; fi
n=$(($(wc -l < {log}) + 1)); end=$(($(date +%s) + {LIFE_S}))
echo "$n $end" >> {log}
printf '{{"Version":1,"AccessKeyId":"AKrot%s","SecretAccessKey":"secret-of-rot%s","Expiration":"%s"}}' \
    $n $n $(date -u -d @$end +%Y-%m-%dT%H:%M:%SZ)
"#,
        broken = broken.display()
    );
    fs::write(&path, script).expect("a temporary file");
    path
}

/// The keys that were given, and marks those as over that are.
fn look(log: &Path) -> u64 {
    let now = SystemTime::now().duration_since(UNIX_EPOCH).expect("after 1970").as_secs();
    let text = fs::read_to_string(log).unwrap_or_default();
    let rows = text.lines().filter_map(|line| line.split_once(' '));
    let rows: Vec<(u64, u64)> =
        rows.filter_map(|(number, end)| Some((number.parse().ok()?, end.parse().ok()?))).collect();
    for (number, _) in rows.iter().filter(|(_, end)| *end <= now) {
        OVER_BELOW.fetch_max(number + 1, Ordering::SeqCst);
    }
    rows.len() as u64
}

#[test]
fn keys_are_replaced_under_load_and_a_broken_command_loses_nothing() {
    let names: Vec<String> = (1..=40).map(|n| format!("rot{n}")).collect();
    let keys: Vec<Keys> = names.iter().map(|name| Keys::new(name)).collect();
    let weed = Weed::start(&keys.iter().collect::<Vec<_>>());
    let way = FaultProxy::to(weed.addr());
    way.plan(Plan { fault: Fault::EXPIRED_TOKEN, strikes: is_over });
    let setup = Setup::new().upstream(format!("{}&credential=work", weed::url(way.addr(), "team")));
    let log = setup.path("issued");
    fs::write(&log, "").expect("a temporary file");
    let script = command(&setup, &log);
    login(&setup, &format!(r#"{{"kind":"aws-process","command":"sh {}"}}"#, script.display()));
    let daemon = setup.start();

    let mut rng = Rng::new(77);
    let mut entries = Vec::new();
    let first = |given: u64| given >= 1;
    until("the first key is given", PATIENCE, || {
        let entry = Route::Blob.entry(&mut rng, 300);
        assert_eq!(daemon.send(entry.put()).status(), 200);
        first(look(&log))
    });
    while look(&log) <= ROTATIONS {
        for _ in 0..20 {
            let entry = Route::ALL[entries.len() % Route::ALL.len()].entry(&mut rng, 300);
            assert_eq!(daemon.send(entry.put()).status(), entry.route.taken(), "{entry:?}");
            assert_eq!(daemon.get(&entry.target).status(), 200);
            entries.push(entry);
        }
        look(&log);
        std::thread::park_timeout(Duration::from_millis(50));
    }
    daemon.flush();
    assert_eq!(STRUCK.load(Ordering::SeqCst), 0, "no request with a key that was over");
    assert!(!daemon.log().contains("denied since"), "the upstream was never denied");

    fs::write(setup.path("broken"), "").expect("a temporary file");
    until("the last key is over, and that is said", PATIENCE, || {
        look(&log);
        let entry = Route::Blob.entry(&mut rng, 300);
        assert_eq!(daemon.send(entry.put()).status(), 200, "offline is no failure at the tool");
        let denied = daemon.upstream("write").0 == "denied";
        entries.push(entry);
        denied
    });
    let words = daemon.upstream("write").1;
    assert!(words.contains("ended with 1: no session: run corp-login; token=…"), "{words}");
    assert!(daemon.queued() > 0);

    fs::remove_file(setup.path("broken")).expect("our own");
    until("all of it goes upstream", Duration::from_secs(150), || {
        look(&log);
        daemon.queued() == 0
    });
    assert!(!daemon.log().contains("secret-of-rot"));
}
