//! The rules of the house that no compiler knows: who may import whom, where each dependency lives, how long a file
//! gets, what every file begins with.

use std::collections::BTreeMap;
use std::fs;
use std::path::{Path, PathBuf};

/// The layers, from the bottom. A module imports from lower layers only; where a layer is open, from its own too.
const LAYERS: [(&[&str], Siblings); 6] = [
    (&["error", "key", "digest", "entry", "body", "links", "regular", "stats", "swap"], Siblings::See),
    (&["memory", "store", "upstream", "keyring"], Siblings::Apart),
    (&["cache"], Siblings::Apart),
    (&["protocol"], Siblings::Apart),
    (&["server"], Siblings::Apart),
    (&["main", "cli", "config", "daemon", "logging"], Siblings::See),
];

/// Inside `protocol`, what the frontends share; they don't see each other.
const PROTOCOL_SHARED: [&str; 4] = ["http", "objects", "reapi", "testing"];

/// Each dependency, and the only places that may name it.
const HOMES: &[(&str, &[&str])] = &[
    ("arc_swap", &["swap.rs"]),
    ("notify", &["daemon/reload"]),
    ("quick_cache", &["memory.rs"]),
    ("object_store", &["upstream/object", "upstream/credentials"]),
    ("prost", &["links", "protocol/reapi", "upstream/reapi"]),
    ("bazel_remote_apis", &["protocol/reapi", "upstream/reapi"]),
    ("tonic", &["protocol/reapi", "upstream/reapi"]),
    ("reqwest", &["upstream/http"]),
    ("secret_service", &["upstream/credentials/stored/keychain.rs"]),
    ("security_framework", &["upstream/credentials/stored/keychain.rs"]),
    ("zeroize", &["upstream/credentials"]),
    ("quick_xml", &["protocol/objects/xml.rs"]),
    ("zstd_safe", &["protocol/reapi/zstd.rs", "protocol/reapi/fuzzing/", "upstream/reapi/zstd.rs"]),
    ("hyper", &["server/", "protocol/", "cli/client.rs", "cli/doctor/", "upstream/http", "upstream/reapi"]),
    ("hyper_util", &["server/", "cli/client.rs", "cli/doctor/ask.rs", "upstream/http", "upstream/reapi"]),
    ("rustls", &["server/tls", "upstream/handshake.rs", "upstream/reapi"]),
    ("tokio_rustls", &["server/tls", "upstream/handshake.rs", "upstream/reapi"]),
    ("rustls_platform_verifier", &["upstream/reapi"]),
    ("listenfd", &["server/handed.rs"]),
    ("x509_parser", &["server/tls"]),
    ("rcgen", &["cli/tls"]),
    ("uzers", &["server/accounts.rs"]),
    ("directories", &["config/"]),
    ("toml", &["config/"]),
    ("clap", &["config/flags.rs", "cli/"]),
    ("clap_complete", &["cli/completions.rs"]),
    ("clap_mangen", &["cli/man.rs"]),
    ("anstream", &["cli/paint.rs"]),
    ("tracing_subscriber", &["logging/"]),
    ("tracing_journald", &["logging/journal.rs"]),
    ("std::env", &["config/environment.rs"]),
];

/// Lines of a file without its tests.
const LINES_MAX: usize = 400;

#[derive(Clone, Copy, PartialEq)]
enum Siblings {
    See,
    Apart,
}

/// A source file.
struct Source {
    /// Relative to its root.
    path: String,
    /// As it is.
    text: String,
    /// Without comments.
    code: String,
}

fn root() -> PathBuf {
    PathBuf::from(env!("CARGO_MANIFEST_DIR"))
}

/// Every Rust file below `folder`; none if there is no such folder.
fn sources(folder: &str) -> Vec<Source> {
    fn walk(folder: &Path, found: &mut Vec<PathBuf>) {
        let Ok(entries) = fs::read_dir(folder) else { return };
        for path in entries.map(|entry| entry.expect("readable").path()) {
            // What the tests install is not ours.
            if path.ends_with("tests/.tools") {
                continue;
            }
            if path.is_dir() {
                walk(&path, found);
            } else if path.extension().is_some_and(|extension| extension == "rs") {
                found.push(path);
            }
        }
    }
    let top = root().join(folder);
    let mut paths = Vec::new();
    walk(&top, &mut paths);
    paths.sort();
    let read = |path: PathBuf| {
        let text = fs::read_to_string(&path).expect("text");
        let code = text.lines().map(without_comment).collect::<Vec<_>>().join("\n");
        let path = path.strip_prefix(&top).expect("below the top").display().to_string();
        Source { path, text, code }
    };
    paths.into_iter().map(read).collect()
}

fn without_comment(line: &str) -> &str {
    match line.find("//") {
        Some(0) => "",
        Some(at) if line.as_bytes()[at - 1] != b':' => &line[..at],
        _ => line,
    }
}

impl Source {
    /// The module of the file, as segments: `store/index.rs` is `store::index`.
    fn module(&self) -> Vec<&str> {
        let path = self.path.trim_end_matches(".rs").trim_end_matches("/mod");
        path.split('/').filter(|segment| *segment != "lib").collect()
    }

    /// The code before the tests at the bottom.
    fn without_tests(&self) -> &str {
        let end = self.code.find("#[cfg(test)]\nmod ").or_else(|| self.code.find("#[cfg(all(test"));
        &self.code[..end.unwrap_or(self.code.len())]
    }

    fn is_test(&self) -> bool {
        self.path.split(['/', '.']).any(|segment| matches!(segment, "tests" | "testing"))
    }
}

/// Every path that the code begins with `crate::` or `super::`, from the crate's root; groups are taken apart.
fn imports(source: &Source) -> Vec<Vec<String>> {
    let module = source.module();
    let mut found = Vec::new();
    for (at, _) in source.code.match_indices("crate::") {
        if is_path_start(&source.code, at) {
            tree(&source.code[at + "crate::".len()..], &mut Vec::new(), &mut found);
        }
    }
    for (at, _) in source.code.match_indices("super::") {
        if !is_path_start(&source.code, at) {
            continue;
        }
        let mut rest = &source.code[at..];
        let mut base: Vec<String> = module.iter().map(|segment| (*segment).to_owned()).collect();
        while let Some(next) = rest.strip_prefix("super::") {
            base.pop();
            rest = next;
        }
        // In an inline `mod tests`, the first `super` is the file's own module: what it then names is at or below
        // where this points, so at worst a path is taken for a sibling's that is the file's own.
        tree(rest, &mut base, &mut found);
    }
    found
}

fn is_path_start(code: &str, at: usize) -> bool {
    !code[..at].ends_with(|before: char| before.is_alphanumeric() || before == '_' || before == ':')
}

/// Reads `a::b`, or `{a, b::{c, d}}`, up to its end; returns what follows.
fn tree<'a>(text: &'a str, base: &mut Vec<String>, found: &mut Vec<Vec<String>>) -> &'a str {
    let text = text.trim_start();
    if let Some(mut rest) = text.strip_prefix('{') {
        loop {
            rest = rest.trim_start_matches([',', ' ', '\n', '\t']);
            if rest.is_empty() || rest.starts_with('}') {
                return rest.strip_prefix('}').unwrap_or(rest);
            }
            let before = rest.len();
            rest = tree(rest, base, found);
            if rest.len() == before {
                return rest;
            }
        }
    }
    let end = text.find(|c: char| !c.is_alphanumeric() && c != '_').unwrap_or(text.len());
    let (name, rest) = text.split_at(end);
    if name.is_empty() {
        return text.strip_prefix('*').unwrap_or(text);
    }
    base.push(name.to_owned());
    let rest = match rest.strip_prefix("::") {
        Some(deeper) if deeper.starts_with(|c: char| c.is_alphanumeric() || matches!(c, '_' | '{' | '*')) => {
            tree(deeper, base, found)
        }
        _ => {
            found.push(base.clone());
            rest
        }
    };
    base.pop();
    rest
}

fn layer(module: &str) -> Option<usize> {
    LAYERS.iter().position(|(modules, _)| modules.contains(&module))
}

#[test]
fn imports_go_strictly_down() {
    let mut wrong = Vec::new();
    for source in sources("src") {
        let module = source.module();
        let Some(&own) = module.first() else { continue };
        let own_layer = layer(own).unwrap_or_else(|| panic!("{}: give the module a layer", source.path));
        for import in imports(&source) {
            let Some(to) = import.first() else { continue };
            let Some(to_layer) = layer(to) else { continue };
            let allowed = to == own
                || to_layer < own_layer
                || (to_layer == own_layer && LAYERS[own_layer].1 == Siblings::See);
            if !allowed {
                wrong.push(format!("{} imports {}", source.path, import.join("::")));
            }
            let frontends = (own == "protocol" && to == "protocol").then(|| (module.get(1), import.get(1)));
            if let Some((Some(from), Some(to))) = frontends
                && *from != to.as_str()
                && !PROTOCOL_SHARED.contains(from)
                && to.starts_with(char::is_lowercase)
                && !PROTOCOL_SHARED.contains(&to.as_str())
                && module.len() > 1
                && is_frontend(to)
            {
                wrong.push(format!("{} imports its sibling {}", source.path, import.join("::")));
            }
        }
    }
    assert!(wrong.is_empty(), "{wrong:#?}");
}

fn is_frontend(name: &str) -> bool {
    let folder = root().join("src/protocol");
    folder.join(format!("{name}.rs")).exists() || folder.join(name).exists()
}

#[test]
fn every_dependency_has_one_home() {
    let mut wrong = Vec::new();
    for source in sources("src") {
        for &(name, homes) in HOMES {
            let named = source.code.match_indices(&format!("{name}::")).any(|(at, _)| {
                is_path_start(&source.code, at) && !source.code[at..].starts_with("std::env::consts")
            });
            if named && !homes.iter().any(|home| source.path.starts_with(home)) && !source.is_test() {
                wrong.push(format!("{} names {name}, which lives in {homes:?}", source.path));
            }
        }
    }
    assert!(wrong.is_empty(), "{wrong:#?}");
}

#[test]
fn files_are_short_and_say_what_they_are_for() {
    let mut wrong = Vec::new();
    for folder in ["src", "tests", "benches"] {
        for source in sources(folder) {
            let lines = source.without_tests().lines().count();
            if lines > LINES_MAX {
                wrong.push(format!("{folder}/{}: {lines} lines; it is two ideas", source.path));
            }
            if !source.text.starts_with("//!") {
                wrong.push(format!("{folder}/{}: does not begin with `//!`", source.path));
            }
        }
    }
    assert!(wrong.is_empty(), "{wrong:#?}");
}

#[test]
fn tests_wait_for_events_and_nothing_is_left_to_do() {
    let sleep = concat!("sleep", "(");
    let marks = [concat!("TO", "DO"), concat!("FIX", "ME")];
    let mut wrong = Vec::new();
    for folder in ["src", "tests", "benches"] {
        for source in sources(folder) {
            let tests = match folder {
                "src" if !source.is_test() => &source.code[source.without_tests().len()..],
                "benches" => "",
                _ => source.code.as_str(),
            };
            let word =
                |at: usize| !tests[..at].ends_with(|before: char| before.is_alphanumeric() || before == '_');
            if tests.match_indices(sleep).any(|(at, _)| word(at)) {
                wrong.push(format!("{folder}/{}: a test sleeps", source.path));
            }
            for mark in marks {
                if source.text.contains(mark) {
                    wrong.push(format!("{folder}/{}: {mark}", source.path));
                }
            }
        }
    }
    assert!(wrong.is_empty(), "{wrong:#?}");
}

#[test]
fn spaces_have_names_of_their_own() {
    let mut spaces: BTreeMap<String, String> = BTreeMap::new();
    for source in sources("src").iter().filter(|source| !source.is_test()) {
        for (at, found) in source.without_tests().match_indices("Space::new(\"") {
            let name = source.code[at + found.len()..].split('"').next().unwrap_or_default().to_owned();
            if let Some(other) = spaces.insert(name.clone(), source.path.clone()) {
                panic!("the space `{name}` is in {other} and in {}", source.path);
            }
        }
    }
    assert!(!spaces.is_empty(), "no space was found: has the way to write them changed?");
}

#[test]
fn every_refusal_decides_every_kind_by_name() {
    let error = fs::read_to_string(root().join("src/error.rs")).expect("text");
    let body = error.split("pub enum Kind {").nth(1).and_then(|rest| rest.split("\n}").next()).expect("Kind");
    let kinds: Vec<&str> = body
        .lines()
        .map(str::trim)
        .filter(|line| !line.starts_with("//") && !line.is_empty())
        .map(|line| line.trim_end_matches(','))
        .collect();
    assert!(kinds.len() > 5, "{kinds:?}");
    let mut refusals = 0;
    for source in sources("src/protocol") {
        for (at, _) in source.without_tests().match_indices("fn refuse(") {
            refusals += 1;
            let rest = &source.code[at..];
            let end = rest.find("\n    }").or_else(|| rest.find("\n}")).expect("the end of the function");
            for kind in &kinds {
                let named = rest[..end].match_indices(&format!("Kind::{kind}")).next().is_some();
                assert!(named, "{}: refuse doesn't decide {kind}", source.path);
            }
        }
    }
    assert!(refusals >= 3, "{refusals} refusals were found: has the way to write them changed?");
}

#[test]
fn the_reference_names_every_key_of_the_configuration() {
    let page = fs::read_to_string(root().join("docs/configuration.md")).expect("there is a reference");
    let missing: Vec<String> = larder::config::keys()
        .filter(|key| {
            let name = key.rsplit('.').next().unwrap_or(key.as_str());
            !page.contains(&format!("`{key}`")) && !page.contains(&format!("`{name}`"))
        })
        .collect();
    assert!(missing.is_empty(), "docs/configuration.md doesn't name {missing:?}");
}

#[test]
fn paths_are_taken_apart() {
    let source =
        |code: &str| Source { path: "store/index.rs".into(), text: String::new(), code: code.into() };
    let found = |code: &str| {
        let mut all: Vec<String> = imports(&source(code)).iter().map(|path| path.join("::")).collect();
        all.sort();
        all
    };
    assert_eq!(
        found("use crate::{key::{Key, Name}, error::Result};"),
        ["error::Result", "key::Key", "key::Name"]
    );
    assert_eq!(found("fn f() -> crate::error::Result<()> {}"), ["error::Result"]);
    assert_eq!(found("use super::super::memory::{self, Held};"), ["memory::Held", "memory::self"]);
    assert_eq!(found("use super::log::Log; use mycrate::x;"), ["store::log::Log"]);
}
