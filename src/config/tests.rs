//! What is taken, what wins, and in the corpus every kind of mistake with the words that are said of it.

mod corpus;
mod pages;
mod urls;

use std::path::PathBuf;
use std::time::Duration;

use super::*;
use crate::digest::Function;
use crate::key::{Policy, Prefetch};
use crate::upstream::Credentials;

/// Loads a file with `text`; problems without the file's folder.
fn load_with(text: &str, flags: Flags, environment: &Environment) -> Result<Config, Vec<String>> {
    let folder = tempfile::tempdir().expect("a folder");
    let path = folder.path().join("larder.toml");
    std::fs::write(&path, text).expect("writes");
    let flags = Flags { config: Some(path), dir: flags.dir.or(Some("/tmp/x".into())), ..flags };
    let before = format!("{}/", folder.path().display());
    Config::load(&flags, environment)
        .map_err(|problems| problems.iter().map(|problem| problem.to_string().replace(&before, "")).collect())
}

fn load(text: &str) -> Result<Config, Vec<String>> {
    load_with(text, Flags::default(), &Environment::default())
}

fn right(text: &str) -> Config {
    load(text).unwrap_or_else(|problems| panic!("{text}\n{problems:#?}"))
}

fn endpoints(config: &Config) -> Vec<String> {
    config.listen.iter().map(|wanted| wanted.endpoint.to_string()).collect()
}

fn said(settings: &[(&'static str, &str)]) -> Environment {
    let settings = settings.iter().map(|(key, text)| (*key, (*text).to_owned())).collect();
    Environment { settings, ..Environment::default() }
}

#[test]
fn flags_come_before_the_environment_that_before_the_file_and_the_file_before_defaults() {
    let config = load_with(
        "memory = \"1 MiB\"\nfills = 3\nlisten = [\"127.0.0.1:1\"]\nupstream = \"file:///a\"",
        Flags { upstream: Some("file:///c".into()), ..Flags::default() },
        &said(&[
            ("upstream", "file:///b"),
            ("fills", "4"),
            ("allow_hosts", "a, b"),
            ("access.users", "0, root"),
        ]),
    )
    .expect("right");
    assert_eq!(config.bounds.memory, 1 << 20);
    assert_eq!(config.bounds.fills, 4);
    assert_eq!(config.bounds.disk, 10 << 30);
    assert_eq!(config.allow_hosts, ["a", "b"]);
    assert_eq!(config.users, [0, 0]);
    assert_eq!(config.entry_max, 10 << 28, "a quarter of the disk, which is under 5 GiB");
    assert_eq!(endpoints(&config), ["127.0.0.1:1"]);
    assert_eq!(config.routes.places[0].upstream.url, "file:///c");
    assert_eq!(config.folders.socket, PathBuf::from("/tmp/x/larder.sock"));
}

#[test]
fn defaults_are_those_of_the_design() {
    let config = right("");
    let bounds = &config.bounds;
    assert_eq!((bounds.memory, bounds.memory_entry_max, bounds.disk), (256 << 20, 1 << 20, 10 << 30));
    assert_eq!((bounds.inodes_keep_free, bounds.disk_floor), (2, 256 << 20));
    assert_eq!((bounds.queue_bytes, bounds.queue_entries), (5 << 30, 1_000_000));
    assert_eq!((bounds.fills, bounds.fill_bytes), (256, 2 << 30));
    let seconds = |seconds| Duration::from_secs(seconds);
    assert_eq!((bounds.connect, bounds.stall), (Duration::from_millis(500), seconds(10)));
    assert_eq!(bounds.first_byte, Duration::from_millis(1500));
    assert_eq!((bounds.absent_memory_entries, bounds.absent_memory_age), (100_000, seconds(2)));
    assert_eq!((bounds.fact_memory_entries, bounds.fact_memory_age), (1_000_000, seconds(3 * 3600)));
    assert_eq!((bounds.head, bounds.body_stall, bounds.idle), (seconds(10), seconds(60), seconds(900)));
    assert_eq!((bounds.partial_uploads_count, bounds.partial_uploads_age), (1000, seconds(3600)));
    assert_eq!((bounds.quarantine_entries, bounds.quarantine_bytes), (100, 256 << 20));
    assert_eq!(bounds.quarantine_age, seconds(7 * 24 * 3600));
    assert_eq!((bounds.disk_keep_free, bounds.connections, bounds.partial_uploads_bytes), (None, None, None));
    assert!(config.routes.places.is_empty() && config.routes.default.is_none());
    assert_eq!((config.durability, config.log_filter.as_str()), (Durability::Process, "info"));
}

#[test]
fn namespaces_go_to_places_of_their_own() {
    let config = right(
        "upstream = \"main\"\n\
         [upstreams.main]\nurl = \"s3://b/all\"\n\
         [upstreams.ro]\nurl = \"file:///mnt/x\"\nmode = \"read-only\"\n\
         [namespaces.web]\nupstream = \"main\"\nprefix = \"web\"\n\
         [namespaces.\"/web/app/\"]\nupstream = \"ro\"\n\
         [namespaces.scratch]\nupstream = \"none\"\n",
    );
    let routes = &config.routes;
    let mut names: Vec<&str> = routes.places.iter().map(|place| place.name.as_str()).collect();
    names.sort_unstable();
    assert_eq!(names, ["main", "main/web", "ro"]);
    let of = |namespace: &str| {
        let (_, route) =
            routes.namespaces.iter().find(|(name, _)| name.as_str() == namespace).expect(namespace);
        route.upstream.map(|id| &routes.places[usize::from(id.0)])
    };
    assert_eq!(of("web").map(|place| place.prefix.as_str()), Some("web"));
    assert!(of("web/app").is_some_and(|place| place.upstream.read_only && place.prefix.is_empty()));
    assert!(of("scratch").is_none());
    let default = routes.default.expect("one");
    assert_eq!(routes.places[usize::from(default.0)].name, "main");
}

#[test]
fn what_a_namespace_leaves_open_it_has_from_the_one_around_it() {
    let config = right(
        "upstream = \"main\"\n\
         [upstreams.main]\nurl = \"file:///main\"\n\
         [upstreams.team]\nurl = \"file:///team\"\n\
         [namespaces.\"web/app\"]\nmax_age = \"5 min\"\ndigest = \"sha256\"\n\
         [namespaces.web]\nupstream = \"team\"\ndigest = \"blake3\"\nprefetch = \"off\"\n\
         [namespaces.website]\nprefetch = \"all\"\n\
         [namespaces.\"web/app/scratch\"]\nupstream = \"none\"\n",
    );
    let routes = &config.routes;
    let of = |namespace: &str| {
        let (_, route) =
            routes.namespaces.iter().find(|(name, _)| name.as_str() == namespace).expect(namespace);
        let place = route.upstream.map(|id| routes.places[usize::from(id.0)].name.as_str());
        (place, route.policy)
    };
    let minutes = |minutes: u64| Some(Duration::from_secs(60 * minutes));
    let policy = |max_age, digest, prefetch| Policy { max_age, digest, prefetch };
    assert_eq!(of("web"), (Some("team"), policy(None, Function::Blake3, Prefetch::Off)));
    assert_eq!(of("web/app"), (Some("team"), policy(minutes(5), Function::Sha256, Prefetch::Off)));
    assert_eq!(of("web/app/scratch"), (None, policy(minutes(5), Function::Sha256, Prefetch::Off)));
    assert_eq!(of("website"), (Some("main"), policy(None, Function::Sha256, Prefetch::All)));
    assert_eq!(routes.places.len(), 2, "a namespace without an upstream of its own has no place of its own");
}

#[test]
fn a_listener_may_be_for_one_protocol_alone() {
    let config =
        right("listen = [\"127.0.0.1:1\"]\n[[listeners]]\naddress = \"127.0.0.1:2\"\nonly = \"gradle\"\n");
    let only: Vec<_> = config.listen.iter().map(|wanted| wanted.only.map(|only| only.name())).collect();
    assert_eq!(only, [None, Some("gradle")]);
    assert!(!config.listen_default, "`listen` replaces the defaults");
    let config = right("[[listeners]]\naddress = \"127.0.0.1:2\"\n");
    assert!(config.listen_default, "listeners of the other kind come on top");
    for name in listeners::ONLY {
        assert!(crate::server::Protocol::named(name).is_some(), "{name}");
    }
}

#[test]
fn what_is_said_beside_a_url_is_an_option_of_it() {
    let config = right(
        "[upstreams.team]\nurl = \"s3://b?region=eu\"\ncredentials = \"/etc/k y\"\nprofile = \"ci\"\n\
         [namespaces.web]\nupstream = \"team\"\n",
    );
    let upstream = &config.routes.places[0].upstream;
    assert_eq!(upstream.url, "s3://b?region=eu");
    assert_eq!(
        upstream.credentials,
        Credentials::File { path: "/etc/k y".into(), profile: Some("ci".into()) }
    );
    assert!(!upstream.read_only);
}

#[test]
fn off_loopback_takes_tokens_that_nobody_else_can_read() {
    use std::os::unix::fs::PermissionsExt as _;
    let folder = tempfile::tempdir().expect("a folder");
    let tokens = folder.path().join("tokens");
    std::fs::write(&tokens, "ci:0123456789abcdef\n").expect("writes");
    let text = format!(
        "access.tokens = {:?}\n[[listeners]]\naddress = \"0.0.0.0:5273\"\ninsecure = true\n",
        tokens.display().to_string()
    );
    let mode = |mode| std::fs::set_permissions(&tokens, std::fs::Permissions::from_mode(mode)).expect("set");
    mode(0o640);
    let problems = load(&text).expect_err("others can read it");
    assert!(problems[0].contains("has mode 0640") && problems[0].contains("chmod 0600"), "{problems:?}");
    mode(0o600);
    let config = right(&text);
    assert_eq!(endpoints(&config), ["0.0.0.0:5273"]);
    std::fs::write(&tokens, "ci:short").expect("writes");
    let problems = load(&text).expect_err("too short");
    assert!(problems[0].contains("line 1") && !problems[0].contains("short"), "{problems:?}");
}

#[test]
fn a_file_that_is_not_there_is_a_problem() {
    let flags = Flags { config: Some("/nonexistent/larder.toml".into()), ..Flags::default() };
    let problems = Config::load(&flags, &Environment::default()).expect_err("absent");
    assert!(problems[0].to_string().starts_with("/nonexistent/larder.toml: can't be read"), "{problems:?}");
}

#[test]
fn a_place_inside_another_is_known() {
    let inner = |text: &str| right(text).routes.inner();
    let nested = "upstream = \"t\"\n[upstreams.t]\nurl = \"s3://b\"\n[upstreams.u]\nurl = \"s3://b/x/y\"\n\
                  [namespaces.a]\nupstream = \"t\"\nprefix = \"x\"\n[namespaces.b]\nupstream = \"u\"\n\
                  [namespaces.c]\nupstream = \"t\"\nprefix = \"xz\"";
    assert_eq!(
        inner(nested),
        [vec!["x/".to_owned(), "x/y/".into(), "xz/".into()], vec!["y/".into()], vec![], vec![]]
    );
    let folders = "upstream = \"t\"\n[upstreams.t]\nurl = \"file:///mnt/a%20b\"\n\
                   [namespaces.a]\nupstream = \"t\"\nprefix = \"c d\"";
    assert_eq!(inner(folders), [vec!["c d/".to_owned()], vec![]]);
    let beside = "upstream = \"t\"\n[upstreams.t]\nurl = \"s3://b/x\"\n[upstreams.u]\nurl = \"s3://b/xy\"\n\
                  [upstreams.v]\nurl = \"s3://c/x/y\"\n[namespaces.a]\nupstream = \"u\"\n[namespaces.b]\nupstream = \"v\"";
    assert_eq!(inner(beside), [[""; 0]; 3]);
}
