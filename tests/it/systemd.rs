//! The daemon under a real systemd: activation by the first request, status, watchdog, restart, kill.

use crate::support::http::Request;
use crate::support::load::{Load, TARGET};
use crate::support::setup::Setup;
use crate::support::systemd::Systemd;
use crate::support::wire::Addr;
use crate::support::{Rng, free_addr, say};

const UNIT: &str = "larder.service";

#[test]
fn systemd_starts_watches_and_restarts_it_and_nobody_notices() {
    let (setup, addr) = (Setup::new(), free_addr());
    let dir = setup.dir();
    let dir = dir.display();
    std::fs::create_dir_all(setup.dir()).expect("a temporary folder");
    let service = format!(
        "[Unit]\nStartLimitIntervalSec=0\n[Service]\nType=notify\nExecStart={} serve --dir {dir}\nRestart=always\n\
         RestartSec=100ms\nWatchdogSec=2s\nSockets=larder.socket larder-admin.socket\nStandardError=append:{}\n",
        env!("CARGO_BIN_EXE_larder"),
        setup.path("log").display(),
    );
    let socket = format!("[Socket]\nListenStream={addr}\nFileDescriptorName=larder\nBacklog=4096\n");
    let admin = format!(
        "[Socket]\nListenStream={dir}/larder.sock\nFileDescriptorName=admin\nSocketMode=0600\nService={UNIT}\n"
    );
    let units = [(UNIT, &*service), ("larder.socket", &*socket), ("larder-admin.socket", &*admin)];
    let systemd = match Systemd::start(&units) {
        Ok(systemd) => systemd,
        Err(words) => return say(&format!("skipped: no systemd can run here: {words}")),
    };
    let log = || std::fs::read_to_string(setup.path("log")).unwrap_or_default();
    let started = systemd.ctl(&["start", "larder.socket", "larder-admin.socket"]);
    assert_eq!(systemd.ctl(&["is-active", UNIT]), "inactive", "{started}\n{}", systemd.said());

    let body = Rng::new(7).bytes(4096);
    let put = Request::put(TARGET, body.clone()).send(&Addr::Tcp(addr)).map(|answer| answer.status());
    assert_eq!(
        put.ok(),
        Some(200),
        "the first request starts it\n{}\n{}",
        systemd.ctl(&["status", UNIT]),
        log()
    );
    assert_eq!(systemd.ctl(&["is-active", UNIT]), "active");
    systemd.until_property(UNIT, "StatusText", |text| text == "serving; 0 queued");
    let queue = setup.plain().args(["queue", "--dir"]).arg(setup.dir()).output().expect("it starts");
    assert!(queue.status.success(), "by the admin socket that systemd holds: {queue:?}");

    let load = Load::begin(addr, 16, &body);
    for _ in 0..3 {
        let words = systemd.ctl(&["restart", UNIT]);
        assert_eq!((systemd.ctl(&["is-active", UNIT]).as_str(), words.as_str()), ("active", ""));
    }
    let tally = load.end();
    say(&format!("systemd restarted it 3 times under load: {tally:?}"));
    assert!(tally.failures.is_empty() && tally.answered > 0, "{tally:#?}");
    assert_eq!(systemd.property(UNIT, "NRestarts"), "0", "it was fed: the watchdog had no reason");

    let answers = |what: &str| {
        let answer =
            Request::get(TARGET).send(&Addr::Tcp(addr)).unwrap_or_else(|error| panic!("{what}: {error}"));
        assert_eq!(answer.whole(), Some(&body[..]), "{what}");
    };
    systemd.ctl(&["kill", "--signal=KILL", UNIT]);
    systemd.until_property(UNIT, "NRestarts", |count| count == "1");
    answers("after a kill");
    systemd.until_property(UNIT, "ActiveState", |state| state == "active");
    // It hangs: nothing of it runs. The request waits until the watchdog has ended it and the next one serves.
    systemd.ctl(&["kill", "--signal=STOP", UNIT]);
    systemd.until_property(UNIT, "NRestarts", |count| count == "2");
    answers("after the watchdog");
    systemd.until_property(UNIT, "ActiveState", |state| state == "active");

    let stopped = systemd.ctl(&["stop", UNIT]);
    assert!(stopped.contains("can still be activated"), "{stopped}");
    assert_eq!(systemd.property(UNIT, "Result"), "success");
    assert_eq!(systemd.property(UNIT, "StatusText"), "stopping: what runs is answered");
    answers("after a stop the next request starts it again");
}
