//! What is made of the table of keys: the example, the schema, the effective configuration.

use super::super::{Environment, Flags, check, example, keys, schema};
use super::{load, right};

/// The example with every setting in force.
fn uncommented() -> String {
    let is_setting = |line: &str| {
        line.strip_prefix('#')
            .is_some_and(|rest| rest.starts_with(|c: char| c.is_ascii_lowercase() || c == '['))
    };
    example()
        .lines()
        .map(|line| if is_setting(line) { &line[1..] } else { line })
        .collect::<Vec<_>>()
        .join("\n")
}

#[test]
fn the_example_in_docs_is_the_one_of_this_version() {
    let path = concat!(env!("CARGO_MANIFEST_DIR"), "/docs/larder.toml");
    let docs = std::fs::read_to_string(path).expect("it is there");
    assert!(docs == example(), "run `larder config example >docs/larder.toml`");
}

#[test]
fn the_example_sets_nothing_and_knows_every_key() {
    assert!(right(&example()).listen.is_empty());
    let text = uncommented();
    let table = text.parse::<toml::Table>().expect("TOML");
    for key in keys() {
        let mut parts = key.split('.');
        let first = &table[parts.next().expect("one")];
        let first = first.as_array().and_then(|list| list.first()).unwrap_or(first);
        let known = match parts.next() {
            None => true,
            Some(part) => {
                first.get(part).is_some()
                    || first.as_table().is_some_and(|table| table.values().any(|one| one.get(part).is_some()))
            }
        };
        assert!(known, "{key}");
    }
    // What is wrong with it on this machine is that there are no such tokens, and that it listens off loopback.
    let problems = load(&text).expect_err("no tokens");
    assert!(problems.iter().all(|problem| !problem.contains("is not a key")), "{problems:#?}");
}

#[test]
fn the_schema_has_every_key_with_its_reason() {
    let schema = schema();
    for key in keys() {
        let path: Vec<&str> = key.split('.').collect();
        let first = &schema["properties"][path[0]];
        let property = match path.get(1) {
            None => first,
            Some(name) => [
                &first["properties"],
                &first["additionalProperties"]["properties"],
                &first["items"]["properties"],
            ]
            .into_iter()
            .map(|properties| &properties[*name])
            .find(|property| property.is_object())
            .unwrap_or_else(|| panic!("{key}")),
        };
        assert!(property["description"].is_string(), "{key}: {property}");
    }
    assert_eq!(schema["properties"]["memory"]["default"], "256 MiB");
    assert_eq!(schema["additionalProperties"], false);
}

#[test]
fn check_shows_what_is_in_force_and_where_it_was_said() {
    let folder = tempfile::tempdir().expect("a folder");
    let path = folder.path().join("larder.toml");
    std::fs::write(&path, "memory = \"1 MiB\"\n\n[upstreams.team]\nurl = \"s3://b?region=eu\"\n")
        .expect("writes");
    let flags = Flags {
        config: Some(path.clone()),
        dir: Some("/tmp/x".into()),
        upstream: Some("team".into()),
        ..Flags::default()
    };
    let environment =
        Environment { settings: vec![("log.filter", "debug".into())], ..Environment::default() };
    let page = check(&flags, &environment).expect("right");
    let line = |start: &str| {
        let line =
            page.lines().find(|line| line.starts_with(start)).unwrap_or_else(|| panic!("{start} in {page}"));
        line.split_whitespace().collect::<Vec<_>>().join(" ")
    };
    assert_eq!(line("memory ="), format!("memory = \"1 MiB\" # {}:1:10", path.display()));
    assert_eq!(line("disk ="), "disk = \"10 GiB\" # default");
    assert_eq!(line("upstream ="), "upstream = \"team\" # --upstream");
    assert_eq!(line("log.filter"), "log.filter = \"debug\" # LARDER_LOG");
    assert_eq!(line("url ="), format!("url = \"s3://b?region=eu\" # {}:4:7", path.display()));
    assert_eq!(line("mode ="), "mode = \"read-write\" # default");
    assert_eq!(line("# entry_max"), "# entry_max: 5 GiB, at most a quarter of `disk` # default");
    assert!(page.contains("# cache: /tmp/x/cache"), "{page}");
    assert!(!page.contains("nothing goes to"), "{page}");
    page.parse::<toml::Table>().expect("the page is a file itself");
}

#[test]
fn check_says_where_nothing_goes() {
    let folder = tempfile::tempdir().expect("a folder");
    let path = folder.path().join("larder.toml");
    let text = "upstream = \"team\"\n\n[upstreams.team]\nurl = \"s3://a?region=eu\"\n\n[upstreams.spare]\nurl = \"s3://b?region=eu\"\n\n\
                [upstreams.other]\nurl = \"s3://c?region=eu\"\n\n[namespaces.n]\nupstream = \"other\"\n";
    std::fs::write(&path, text).expect("writes");
    let flags = Flags { config: Some(path), dir: Some("/tmp/x".into()), ..Flags::default() };
    let page = check(&flags, &Environment::default()).expect("right");
    let said: Vec<&str> = page.lines().filter(|line| line.contains("nothing goes to")).collect();
    assert_eq!(said.len(), 1, "{page}");
    assert!(said[0].contains("`upstreams.spare`") && said[0].contains("upstream = \"spare\""), "{page}");
    page.parse::<toml::Table>().expect("the page is a file itself");
}
