//! The property lists, as launchd documents them, and `larder service` where launchd is the manager.

use std::collections::BTreeSet;
use std::fs;
use std::path::Path;
use std::process::Command;

use crate::support::desk::{Desk, PROGRAM, Tree, install, tree, words};
use crate::support::free_addr;
use crate::support::process::Process;

const LARDER: &str = env!("CARGO_BIN_EXE_larder");

/// The keys of launchd.plist(5) that are used, or may come to be.
const LAUNCHD_KEYS: [&str; 20] = [
    "Label",
    "UserName",
    "GroupName",
    "ProgramArguments",
    "EnvironmentVariables",
    "KeepAlive",
    "RunAtLoad",
    "WorkingDirectory",
    "Umask",
    "ExitTimeOut",
    "ThrottleInterval",
    "StandardInPath",
    "StandardOutPath",
    "StandardErrorPath",
    "SoftResourceLimits",
    "HardResourceLimits",
    "ProcessType",
    "Nice",
    "Sockets",
    "LimitLoadToSessionType",
];

fn property_list(path: &Path) -> serde_json::Value {
    let script = "import json, plistlib, sys; json.dump(plistlib.load(open(sys.argv[1], 'rb')), sys.stdout)";
    let output =
        Command::new("python3").args(["-c", script]).arg(path).output().expect("python3 is installed");
    assert!(output.status.success(), "{}: {}", path.display(), words(&output));
    serde_json::from_slice(&output.stdout).expect("JSON")
}

#[test]
fn the_property_lists_have_only_keys_that_launchd_documents() {
    let folder = Path::new(env!("CARGO_MANIFEST_DIR")).join("launchd");
    for name in ["larder.agent.plist", "larder.daemon.plist"] {
        let list = property_list(&folder.join(name));
        let keys: BTreeSet<&str> =
            list.as_object().expect("a dictionary").keys().map(String::as_str).collect();
        let known = BTreeSet::from(LAUNCHD_KEYS);
        assert_eq!(keys.difference(&known).next(), None, "{name}");
        for key in ["SoftResourceLimits", "HardResourceLimits"] {
            assert_eq!(list[key], serde_json::json!({ "NumberOfFiles": 65_536 }), "{name}: {key}");
        }
        // Seconds that a stop may take, as docs/service.md says them.
        assert_eq!(list["ExitTimeOut"], 20, "{name}");
        assert_eq!(list["Umask"], 0o077, "{name}");
    }
}

#[test]
fn launchd_is_given_one_list_and_left_as_it_was() {
    let desk = Desk::new();
    let binary = desk.path("a & <b>");
    install(Path::new(PROGRAM), &binary);
    let binary = binary.to_str().expect("text");
    let before = tree(&desk.path("home"));
    let install = ["install", "--user", "--manager", "launchd", "--binary", binary];
    desk.done(&install);
    let uid = rustix::process::geteuid().as_raw();
    let plist = desk.path("home").join("Library/LaunchAgents/larder.plist");
    assert_eq!(
        desk.calls(),
        [
            format!("launchctl bootout gui/{uid}/larder"),
            format!("launchctl enable gui/{uid}/larder"),
            format!("launchctl bootstrap gui/{uid} {}", plist.display()),
            format!("launchctl kickstart gui/{uid}/larder"),
        ]
    );
    let list = property_list(&plist);
    assert_eq!(list["ProgramArguments"], serde_json::json!([binary, "serve"]));
    assert_eq!(
        list["StandardErrorPath"],
        desk.path("home").join("Library/Logs/larder.log").to_str().expect("text")
    );
    assert!(desk.done(&install).contains("as wanted"));
    assert_eq!(desk.calls().len(), 3, "it isn't unloaded");
    desk.done(&["uninstall", "--user", "--manager", "launchd"]);
    assert_eq!(desk.calls(), [format!("launchctl bootout gui/{uid}/larder")]);
    let files = |tree: Tree| tree.into_iter().filter(|(path, _)| path.is_file()).collect::<Tree>();
    assert_eq!(files(tree(&desk.path("home"))), files(before));
    let page = desk.done(&["install", "--system", "--manager", "launchd", "--print", "--binary", PROGRAM]);
    assert!(
        page.contains("<string>_larder</string>") && page.contains("==> run install -d -o _larder"),
        "{page}"
    );
}

#[test]
fn a_purge_where_data_and_configuration_share_a_folder_spares_what_is_the_persons_own() {
    let desk = Desk::new();
    // As they do on macOS.
    let support = desk.path("home/Library/Application Support");
    let (folder, own) = (support.join("larder"), support.join("larder/larder.toml"));
    fs::create_dir_all(folder.join("credentials")).expect("a new folder");
    fs::write(folder.join("lock"), "").expect("a new file");
    fs::write(&own, "fills = 7\n").expect("a new file");
    let run = |args: &[&str]| {
        let all = [&["uninstall", "--user", "--manager", "launchd"], args].concat();
        let output = desk.command(&all).env("XDG_STATE_HOME", &support).output().expect("it starts");
        assert!(output.status.success(), "{}", words(&output));
        words(&output)
    };
    let page = run(&["--purge", "--print"]);
    assert!(page.contains(&format!("but {}\n", own.display())), "{page}");
    let said = run(&["--purge", "--force"]);
    assert!(said.ends_with(&format!("uninstalled; kept, as it is yours: {}\n", own.display())), "{said}");
    let left: Vec<_> = fs::read_dir(&folder).expect("it stays").flatten().map(|entry| entry.path()).collect();
    assert_eq!(left, [own]);
}

#[test]
fn launchds_service_is_started_stopped_and_told_of() {
    let desk = Desk::new();
    let uid = rustix::process::geteuid().as_raw();
    let launchd = |verb| [verb, "--user", "--manager", "launchd"];
    let running = "case $1 in print) printf 'gui/1/larder = {\\n\\tstate = running\\n\\tpid = 5\\n\\t\
                   last exit code = 2\\n}\\n';; bootstrap) exit 5;; esac";
    desk.stand_in("launchctl", running);
    let words = desk.refused(3, &launchd("status"));
    assert!(words.contains("service: running, pid 5, last exit code 2\n"), "{words}");
    assert!(words.contains("daemon:  no daemon answers"), "{words}");
    desk.done(&launchd("stop"));
    assert_eq!(desk.calls(), [format!("launchctl bootout gui/{uid}/larder")]);
    let page = desk.done(&[&launchd("restart")[..], &["--print"]].concat());
    assert_eq!(page, format!("==> run launchctl kickstart -k gui/{uid}/larder\n"));

    let mut serve = Command::new(LARDER);
    serve.env_clear().env("HOME", desk.path("home")).env("XDG_RUNTIME_DIR", desk.path("run"));
    serve.args(["serve", "--listen", &free_addr().to_string()]);
    let daemon = Process::spawn(&mut serve, &desk.path("log"));
    let line = desk.done(&launchd("start"));
    assert!(line.contains(&format!("pid {}", daemon.id())), "though it was loaded already: {line}");
    desk.stand_in("launchctl", "exit 113");
    let words = desk.refused(1, &launchd("start"));
    assert!(words.contains("--system"), "nobody is signed in: {words}");
    let words = desk.done(&launchd("status"));
    assert!(words.contains("is not loaded") && words.contains("larder service start"), "{words}");
}
