//! Several upstreams in one daemon, listeners with tokens, and the commands that show the configuration.

use std::fs;
use std::os::unix::fs::PermissionsExt as _;
use std::path::Path;

use tempfile::TempDir;

use crate::support::http::Request;
use crate::support::setup::Setup;
use crate::support::wire::Addr;
use crate::support::{PATIENCE, free_addr, sha256, until};

const AC: &str = "/ac/0000000000000000000000000000000000000000000000000000000000000001";

/// Folders as upstreams, and what routes to them.
fn folders() -> (TempDir, String) {
    let home = TempDir::new().expect("a temporary folder");
    for name in ["main", "team", "shared"] {
        fs::create_dir(home.path().join(name)).expect("made");
    }
    let url = |name: &str| format!("file://{}", home.path().join(name).display());
    let config = format!(
        "upstream = \"main\"\n\
         [upstreams.main]\nurl = \"{}\"\n\
         [upstreams.team]\nurl = \"{}\"\n\
         [upstreams.shared]\nurl = \"{}\"\nmode = \"read-only\"\n\
         [namespaces.web]\nupstream = \"team\"\nprefix = \"teams/web\"\n\
         [namespaces.\"web/app\"]\nupstream = \"team\"\nprefix = \"app\"\n\
         [namespaces.ro]\nupstream = \"shared\"\n\
         [namespaces.local]\nupstream = \"none\"\n",
        url("main"),
        url("team"),
        url("shared")
    );
    (home, config)
}

fn has(folder: &Path, name: &str) -> bool {
    folder.join(name).is_file()
}

#[test]
fn each_namespace_writes_to_its_own_place_and_reads_from_it() {
    let (home, config) = folders();
    let daemon = Setup::new().config(&config).start();
    let put = |path: &str| assert_eq!(daemon.put(path, path).status(), 200, "{path}");
    for path in ["/blob/x/1", "/blob/web/1", "/blob/web/y/1", "/blob/local/1"] {
        put(path);
    }
    put(&format!("/web{AC}"));
    put(&format!("/web/app/x{AC}"));
    put(AC);
    daemon.flush();
    let (main, team) = (home.path().join("main"), home.path().join("team"));
    assert!(has(&main, "blob/x/1") && has(&main, &format!("ac/00{}", &AC[3..])));
    assert!(has(&team, "teams/web/blob/web/1") && has(&team, "teams/web/blob/web/y/1"));
    assert!(
        has(&team, &format!("teams/web/ac/00{}", &AC[3..])) && !has(&team, &format!("ac/00{}", &AC[3..]))
    );
    assert!(has(&team, &format!("app/ac/00{}", &AC[3..])), "the longest namespace counts");
    for folder in [&main, &team] {
        assert!(!folder.join("blob/local").exists(), "what has no upstream stays here");
    }
    // A second machine has from each place what lies there, and says from which.
    let second = Setup::new().config(&config).start();
    for path in ["/blob/x/1", "/blob/web/1", "/blob/web/y/1"] {
        assert_eq!(second.get(path).text(), path);
    }
    assert_eq!(second.get("/blob/local/1").status(), 404);
    let stats = second.stats();
    let hits = |name: &str| {
        let upstreams = stats["upstreams"].as_array().expect("a list");
        upstreams.iter().find(|one| one["name"] == name).map(|one| one["hits"].clone())
    };
    assert_eq!(hits("main"), Some(1.into()), "{stats:#}");
    assert_eq!(hits("team/teams/web"), Some(2.into()), "{stats:#}");
    assert_eq!(hits("shared"), Some(0.into()), "{stats:#}");
}

#[test]
fn a_read_only_upstream_is_read_and_never_written() {
    let (home, config) = folders();
    let shared = home.path().join("shared");
    fs::create_dir_all(shared.join("blob/ro")).expect("made");
    fs::write(shared.join("blob/ro/theirs"), "theirs").expect("written");
    let daemon = Setup::new().config(&config).start();
    assert_eq!(daemon.get("/blob/ro/theirs").text(), "theirs");
    for (name, body) in [("ours", "ours"), ("theirs", "changed here")] {
        assert_eq!(daemon.put(format!("/blob/ro/{name}"), body).status(), 200);
        assert_eq!(daemon.get(format!("/blob/ro/{name}")).text(), body);
    }
    assert_eq!(daemon.queued(), 0);
    let (setup, status) = daemon.stop();
    assert!(status.success());
    let daemon = setup.start();
    assert_eq!(daemon.get("/blob/ro/ours").text(), "ours", "it is kept here");
    assert!(!has(&shared, "blob/ro/ours"));
    assert_eq!(fs::read_to_string(shared.join("blob/ro/theirs")).ok().as_deref(), Some("theirs"));
    assert!(!shared.join(".larder").exists(), "not even a mark is made there");
}

#[test]
fn off_loopback_a_token_lets_in() {
    let home = TempDir::new().expect("a temporary folder");
    let tokens = home.path().join("tokens");
    fs::write(&tokens, "ci:0123456789abcdef\n").expect("written");
    fs::set_permissions(&tokens, fs::Permissions::from_mode(0o600)).expect("set");
    let open = free_addr();
    let daemon = Setup::new()
        .config(&format!(
            "access.tokens = \"{}\"\n[[listeners]]\naddress = \"0.0.0.0:{}\"\ninsecure = true\n",
            tokens.display(),
            open.port()
        ))
        .start();
    let ask = |request: Request| request.send(&Addr::Tcp(open)).expect("an answer");
    let with = |request: Request, value: &str| ask(request.header("Authorization", value));
    let answer = ask(Request::get("/blob/x/1"));
    assert_eq!(answer.status(), 401);
    assert!(answer.header("www-authenticate").is_some_and(|schemes| schemes.contains("Basic")));
    assert_eq!(answer.header("content-type"), Some("text/plain"), "else Nx speaks of a misconfigured server");
    assert_eq!(ask(Request::put("/blob/x/1", vec![0; 4 << 20])).status(), 401);
    assert_eq!(with(Request::get("/blob/x/1"), "Bearer 0123456789abcdeF").status(), 401);
    assert_eq!(with(Request::put("/blob/x/1", "y"), "Bearer 0123456789abcdef").status(), 200);
    // ci:0123456789abcdef
    assert_eq!(with(Request::get("/blob/x/1"), "Basic Y2k6MDEyMzQ1Njc4OWFiY2RlZg==").text(), "y");
    assert_eq!(daemon.get("/blob/x/1").text(), "y", "loopback asks for none");
    assert!(!daemon.log().contains("0123456789abcdef"));
}

#[test]
fn the_commands_show_and_check_the_configuration() {
    let daemon = Setup::new().config("memory = \"1 MiB\"").start();
    let text = |arguments: &[&str]| {
        let output = daemon.setup().plain().args(arguments).output().expect("it starts");
        (output.status.code(), String::from_utf8_lossy(&output.stdout).into_owned())
    };
    let (code, example) = text(&["config", "example"]);
    assert!(code == Some(0) && example.contains("\n#memory = \"256 MiB\"\n"), "{example}");
    let (code, schema) = text(&["config", "schema"]);
    let schema: serde_json::Value = serde_json::from_str(&schema).expect("JSON");
    assert_eq!((code, &schema["properties"]["memory"]["default"]), (Some(0), &"256 MiB".into()));
    let (code, page) = text(&["check", "--upstream", "file:///x"]);
    assert!(code == Some(0) && page.contains("upstream = \"file:///x\""), "{page}");
    assert_eq!(text(&["check", "--upstream", "x"]).0, Some(2));
}

#[test]
fn a_listener_for_one_protocol_has_its_root_and_serves_no_other() {
    let (gradle, bazel) = (free_addr(), free_addr());
    let daemon = Setup::new()
        .config(&format!(
            "[[listeners]]\naddress = \"{gradle}\"\nonly = \"gradle\"\n\
             [[listeners]]\naddress = \"{bazel}\"\nonly = \"bazel\"\n"
        ))
        .start();
    let at = |addr, request: Request| request.send(&Addr::Tcp(addr)).expect("an answer");
    let key = "0123456789abcdef0123456789abcdef";
    assert_eq!(at(gradle, Request::put(format!("/web/{key}"), "outputs")).status(), 200);
    assert_eq!(at(gradle, Request::get(format!("/web/{key}"))).text(), "outputs");
    assert_eq!(daemon.get(format!("/gradle/web/{key}")).text(), "outputs", "it is the same entry");
    assert_eq!(at(gradle, Request::get(format!("/{key}"))).status(), 404);
    let refused = at(gradle, Request::put("/blob/web/x", "y"));
    assert_eq!(refused.status(), 400);
    assert!(refused.text().contains("cache key of 32"), "in Gradle's own words: {}", refused.text());

    assert_eq!(daemon.put(AC, "\u{ff}").status(), 200);
    assert_eq!(at(bazel, Request::get(AC)).status(), 200);
    let refused = at(bazel, Request::get(format!("/gradle/web/{key}")));
    assert_eq!(refused.status(), 404);
    assert!(refused.text().contains("this listener is for bazel alone"), "{}", refused.text());
    for addr in [gradle, bazel] {
        assert_eq!(at(addr, Request::get("/-/healthz")).text(), "ok\n");
    }
}

#[test]
fn a_namespace_has_an_age_of_its_own() {
    let home = TempDir::new().expect("a temporary folder");
    let url = format!("file://{}", home.path().display());
    let daemon = Setup::new()
        .config("[namespaces.quick]\nmax_age = \"1 ms\"\n[namespaces.slow]\nmax_age = \"1 h\"\n")
        .upstream(url)
        .start();
    let write = |namespace: &str, text: &str| {
        let folder = home.path().join("blob").join(namespace);
        fs::create_dir_all(&folder).expect("made");
        fs::write(folder.join("x"), text).expect("written");
    };
    for namespace in ["quick", "slow"] {
        write(namespace, "first");
        assert_eq!(daemon.get(format!("/blob/{namespace}/x")).text(), "first");
        write(namespace, "second");
    }
    // The old copy is served while the upstream is asked behind.
    until("the new one is here", PATIENCE, || daemon.get("/blob/quick/x").text() == "second");
    assert_eq!(daemon.get("/blob/slow/x").text(), "first", "it is fresh for an hour");
}

#[test]
fn a_namespace_says_what_is_fetched_behind_its_action_results() {
    let home = TempDir::new().expect("a temporary folder");
    let url = format!("file://{}", home.path().display());
    let seed = Setup::new().upstream(&url).start();
    let blobs = ["for off", "for small", "for all"].map(|text| text.repeat(10));
    let large = "larger than small ones are, ".repeat(200_000);
    let results = |blob: &str, number: usize| {
        let hash = sha256(blob.as_bytes());
        // ActionResult { stdout_digest { hash, size_bytes } }, its size a varint of four bytes.
        let size = blob.len();
        let varint =
            [0, 7, 14, 21].map(|shift| (size >> shift & 0x7f) as u8 | if shift < 21 { 0x80 } else { 0 });
        let body = [&[0x32, 71, 0x0a, 64], hash.as_bytes(), &[0x10], &varint[..]].concat();
        (format!("/cas/{hash}"), format!("/ac/{}", sha256(&number.to_le_bytes())), body)
    };
    let namespaces = ["off", "small", "all"];
    let entries: Vec<_> = blobs
        .iter()
        .zip(namespaces)
        .enumerate()
        .map(|(at, (blob, namespace))| (namespace, blob, results(blob, at)))
        .chain([("small", &large, results(&large, 7))])
        .collect();
    for (_, blob, (cas, ac, body)) in &entries {
        assert_eq!(seed.put(cas, blob.as_bytes()).status(), 200);
        assert_eq!(seed.put(ac, body.clone()).status(), 200);
    }
    seed.flush();

    let daemon = Setup::new()
        .config("[namespaces.off]\nprefetch = \"off\"\n[namespaces.all]\nprefetch = \"all\"\n")
        .upstream(&url)
        .start();
    for (namespace, _, (_, ac, _)) in &entries {
        assert_eq!(daemon.get(format!("/{namespace}{ac}")).status(), 200, "{namespace}");
    }
    assert_eq!(daemon.get(format!("/all{}", entries[3].2.1)).status(), 200, "all, of a large one");
    // Five action results (one of them in two namespaces), and all blobs but that of `off`, which would have been the
    // first to be fetched.
    until("what is wanted is here", PATIENCE, || daemon.stat("/disk/entries") == 5 + 3);
    fs::rename(home.path().join("cas"), home.path().join("gone")).expect("our own folder");
    for (namespace, _, (cas, _, _)) in &entries {
        let expected = if *namespace == "off" { 404 } else { 200 };
        assert_eq!(daemon.get(cas).status(), expected, "{namespace}");
    }
}
