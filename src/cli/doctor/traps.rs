//! Traps of this shell's environment and of the user's files: what makes build tools pass by a daemon that is well.
//!
//! Each is one that a tool's contract has; docs/doctor.md says which tool does what.

mod files;
mod tools;

use std::collections::BTreeMap;
use std::path::Path;

use super::finding::Finding;
use crate::config::Environment;

/// What tools would read.
#[derive(Debug, Default)]
pub(super) struct Facts {
    tools: BTreeMap<String, String>,
    /// `~/.bazelrc`.
    bazelrc: Option<String>,
    /// `~/.m2/settings.xml`.
    maven: Option<String>,
    /// Nix's configuration: the machine's, the user's, and `NIX_CONFIG`.
    nix: String,
}

const CHECK: &str = "environment";

/// A file of settings is not longer.
const FILE_BYTES_MAX: u64 = 1 << 20;

/// Variables that name a proxy. Capitals count for some tools, small letters for others.
const PROXIES: [&str; 6] =
    ["HTTP_PROXY", "http_proxy", "HTTPS_PROXY", "https_proxy", "ALL_PROXY", "all_proxy"];

/// Variables that name this cache, and what a tool makes of `localhost` in them.
const ADDRESSES: [(&str, &str); 8] = [
    ("MOON_REMOTE_HOST", MOON_LOCALHOST),
    ("CCACHE_REMOTE_STORAGE", "ccache gives a connection 100 ms, and looks the name up first"),
    ("TURBO_API", LOCALHOST),
    ("NX_SELF_HOSTED_REMOTE_CACHE_SERVER", LOCALHOST),
    ("SCCACHE_ENDPOINT", LOCALHOST),
    ("SCCACHE_AZURE_CONNECTION_STRING", LOCALHOST),
    ("BACKFILL_CACHE_PROVIDER_OPTIONS", LOCALHOST),
    ("RUSH_BUILD_CACHE_OVERRIDE_JSON", LOCALHOST),
];
const LOCALHOST: &str = "it may be [::1] first, and NO_PROXY=127.0.0.1 doesn't cover it";
const MOON_LOCALHOST: &str =
    "moon then switches the remote off in CI, over SSH, and wherever its input or output is no terminal";

// === impl Facts ===

impl Facts {
    pub(super) fn look(environment: &Environment) -> Self {
        let home = environment.home.as_deref();
        let of_home = |name: &str| home.and_then(|home| read(&home.join(name)));
        let nix = [
            read(Path::new("/etc/nix/nix.conf")),
            of_home(".config/nix/nix.conf"),
            environment.tools.get("NIX_CONFIG").cloned(),
        ];
        Self {
            tools: environment.tools.clone(),
            bazelrc: of_home(".bazelrc"),
            maven: of_home(".m2/settings.xml"),
            nix: nix.into_iter().flatten().collect::<Vec<_>>().join("\n"),
        }
    }

    pub(super) fn findings(&self) -> Vec<Finding> {
        let mut findings = Vec::new();
        self.proxies(&mut findings);
        self.addresses(&mut findings);
        self.javascript(&mut findings);
        self.sccache(&mut findings);
        self.azure(&mut findings);
        self.files(&mut findings);
        if findings.is_empty() {
            findings.push(Finding::ok(CHECK, "no trap of the build tools is set in this shell"));
        }
        findings
    }

    fn get(&self, name: &str) -> Option<&str> {
        self.tools.get(name).map(String::as_str)
    }

    fn has(&self, name: &str) -> bool {
        self.tools.contains_key(name)
    }

    fn proxies(&self, findings: &mut Vec<Finding>) {
        let set: Vec<&str> = PROXIES.into_iter().filter(|name| self.has(name)).collect();
        if set.is_empty() {
            return;
        }
        let names = set.join(", ");
        let exempt = ["NO_PROXY", "no_proxy"].into_iter().filter_map(|name| self.get(name));
        if !exempt.flat_map(|list| list.split(',')).any(covers_loopback) {
            findings.push(Finding::problem(
                CHECK,
                format!(
                    "{names} is set, and NO_PROXY doesn't name 127.0.0.1: tools ask the proxy for this cache, which it \
                     can't reach (lage waits 16 s for each request)"
                ),
                "`export NO_PROXY=127.0.0.1`, besides what it has; Rush doesn't read it: `env -u HTTPS_PROXY -u HTTP_PROXY \
                 rush build`",
            ));
        } else if self.tools.keys().any(|name| name.starts_with("RUSH_"))
            && set.iter().any(|name| matches!(*name, "HTTP_PROXY" | "HTTPS_PROXY"))
        {
            findings.push(Finding::warning(
                CHECK,
                format!("{names} is set, and Rush takes it for every address: it doesn't read NO_PROXY"),
                "`env -u HTTPS_PROXY -u HTTP_PROXY rush build`; variables in small letters serve the other tools",
            ));
        }
    }

    fn addresses(&self, findings: &mut Vec<Finding>) {
        for (name, why) in ADDRESSES {
            let Some(value) = self.get(name) else { continue };
            let is_moons = name == "MOON_REMOTE_HOST";
            let wrong = if value.contains("localhost") {
                "localhost"
            } else if is_moons && value.contains("0.0.0.0") {
                "0.0.0.0"
            } else {
                continue;
            };
            let words = format!("{name} says `{wrong}`: {why}");
            let remedy = format!("write 127.0.0.1 in {name}");
            let find = if is_moons { Finding::problem } else { Finding::warning };
            findings.push(find(CHECK, words, remedy));
        }
        if let Some(named) = self.get("MOON_REMOTE_AUTH_TOKEN").filter(|named| !self.has(named)) {
            // A token in its place must not be shown.
            let is_name =
                named.bytes().all(|byte| byte.is_ascii_uppercase() || byte.is_ascii_digit() || byte == b'_');
            let named = if is_name { named } else { "a variable" };
            findings.push(Finding::problem(
                CHECK,
                format!(
                    "MOON_REMOTE_AUTH_TOKEN names {named}, which is not set: moon then switches the remote off (it is the \
                     name of a variable, not the token)"
                ),
                "on loopback unset MOON_REMOTE_AUTH_TOKEN; else set the variable that it names",
            ));
        }
    }
}

/// Whether an entry of `NO_PROXY` is one that every tool takes for 127.0.0.1.
fn covers_loopback(entry: &str) -> bool {
    matches!(entry.trim(), "*" | "127.0.0.1" | "127.0.0.1:5273")
}

fn read(path: &Path) -> Option<String> {
    use std::io::Read as _;
    let mut text = String::new();
    std::fs::File::open(path).ok()?.take(FILE_BYTES_MAX).read_to_string(&mut text).ok()?;
    Some(text)
}

#[cfg(test)]
mod tests {
    use super::super::finding::Level;
    use super::*;

    fn facts(tools: &[(&str, &str)]) -> Facts {
        let tools = tools.iter().map(|(name, value)| ((*name).to_owned(), (*value).to_owned())).collect();
        Facts { tools, ..Facts::default() }
    }

    #[test]
    fn a_shell_without_traps() {
        for good in [
            &[][..],
            &[("TURBO_API", "http://127.0.0.1:5273"), ("TURBO_TOKEN", "local"), ("TURBO_TEAM", "web")],
            &[("HTTP_PROXY", "http://proxy:3128"), ("NO_PROXY", "corp.test, 127.0.0.1")],
            &[("https_proxy", "http://proxy:3128"), ("no_proxy", "*")],
            &[("MOON_REMOTE_HOST", "grpc://127.0.0.1:5273")],
            &[("MOON_REMOTE_AUTH_TOKEN", "T"), ("T", "hush")],
            &[("SCCACHE_BUCKET", "b"), ("SCCACHE_ENDPOINT", "http://127.0.0.1:5273/s3")],
            &[
                ("SCCACHE_ENDPOINT", "http://127.0.0.1:5273/s3"),
                ("AWS_ACCESS_KEY_ID", "LARDERABCDEFGHIJKLMN"),
            ],
        ] {
            let found = facts(good).findings();
            assert!(found.iter().all(|one| one.level == Level::Ok), "{good:?}: {found:#?}");
        }
    }

    #[test]
    fn every_trap_is_named_with_its_remedy() {
        use Level::{Problem, Warning};
        type Row = (&'static [(&'static str, &'static str)], Level, &'static str, &'static str);
        let rows: [Row; 19] = [
            (&[("HTTP_PROXY", "http://p:1")], Problem, "HTTP_PROXY is set", "NO_PROXY=127.0.0.1"),
            (&[("ALL_PROXY", "x"), ("NO_PROXY", "localhost")], Problem, "ALL_PROXY", "NO_PROXY=127.0.0.1"),
            (
                &[("HTTPS_PROXY", "x"), ("NO_PROXY", "127.0.0.1"), ("RUSH_BUILD_CACHE_ENABLED", "1")],
                Warning,
                "Rush takes it",
                "env -u",
            ),
            (&[("MOON_REMOTE_HOST", "grpc://localhost:5273")], Problem, "moon then switches", "127.0.0.1"),
            (&[("MOON_REMOTE_HOST", "grpc://0.0.0.0:5273")], Problem, "0.0.0.0", "127.0.0.1"),
            (&[("CCACHE_REMOTE_STORAGE", "http://localhost:5273/ccache")], Warning, "100 ms", "127.0.0.1"),
            (&[("MOON_REMOTE_AUTH_TOKEN", "TOKEN_OF_MINE")], Problem, "TOKEN_OF_MINE", "unset"),
            (&[("TURBO_API", "x"), ("TURBO_TEAM", "w")], Warning, "TURBO_TOKEN", "TURBO_TOKEN=local"),
            (&[("TURBO_API", "x"), ("TURBO_TOKEN", "t")], Warning, "TURBO_TEAM", "TURBO_TEAM=web"),
            (&[("TURBO_TEAMID", "web")], Warning, "team_", "TURBO_TEAM"),
            (
                &[("NX_SELF_HOSTED_REMOTE_CACHE_SERVER", "x"), ("NX_CLOUD_ACCESS_TOKEN", "t")],
                Warning,
                "Nx Cloud",
                "NX_NO_CLOUD",
            ),
            (&[("RUSH_BUILD_CACHE_CREDENTIAL", "c")], Warning, "again and again", "unset"),
            (&[("LAGE_WRITE_REMOTE_CACHE", "true")], Warning, "no version of lage", "LAGE_WRITE_CACHE"),
            (&[("SCCACHE_BUCKET", "b")], Warning, "Amazon", "SCCACHE_ENDPOINT"),
            (
                &[("SCCACHE_ENDPOINT", "x"), ("AWS_ACCESS_KEY_ID", "AKIA1")],
                Warning,
                "AWS_ACCESS_KEY_ID",
                "NO_CREDENTIALS",
            ),
            (
                &[("AZURE_STORAGE_CONNECTION_STRING", "UseDevelopmentStorage=true")],
                Problem,
                "UseDevelopmentStorage",
                "endpoint",
            ),
            (&[("BACKFILL_CACHE_PROVIDER_OPTIONS", "{}")], Warning, "ignores", "azure-blob"),
            (
                &[("BACKFILL_CACHE_PROVIDER", "azure-blob"), ("BACKFILL_CACHE_PROVIDER_OPTIONS", "{")],
                Problem,
                "not JSON",
                "--azure",
            ),
            (
                &[
                    ("BACKFILL_CACHE_PROVIDER", "azure-blob"),
                    ("BACKFILL_CACHE_PROVIDER_OPTIONS", r#"{"connectionString":"AccountKey=k"}"#),
                ],
                Problem,
                "takes it for a SAS",
                "--azure",
            ),
        ];
        for (tools, level, words, remedy) in rows {
            let found = facts(tools).findings();
            assert_eq!(found.len(), 1, "{tools:?}: {found:#?}");
            assert_eq!(found[0].level, level, "{found:?}");
            assert!(found[0].words.contains(words), "{found:?}");
            assert!(found[0].remedy.as_ref().is_some_and(|found| found.contains(remedy)), "{found:?}");
        }
    }

    #[test]
    fn a_token_in_the_place_of_a_name_is_not_shown() {
        let found = facts(&[("MOON_REMOTE_AUTH_TOKEN", "s3cret-token")]).findings();
        assert!(!format!("{found:?}").contains("s3cret"), "{found:?}");
    }

    #[test]
    fn files_of_the_user() {
        let of = |facts: Facts| facts.findings().remove(0);
        let bazel = |text: &str| of(Facts { bazelrc: Some(text.into()), ..Facts::default() });
        assert!(
            bazel("build --remote_cache=grpc://127.0.0.1:5273").words.contains("--remote_local_fallback")
        );
        assert!(bazel("build --remote_cache=unix:/x").words.contains("unix:"));
        for good in [
            "build --remote_cache=grpc://127.0.0.1:5273 --remote_local_fallback",
            "build --remote_cache=http://127.0.0.1:5273",
            "# build --remote_cache=grpc://127.0.0.1:5273",
            "build:ci --remote_cache=grpc://127.0.0.1:5273",
            "build --remote_cache=grpcs://cache.corp.test",
        ] {
            assert_eq!(bazel(good).level, Level::Ok, "{good}");
        }
        let maven = |text: &str| of(Facts { maven: Some(text.into()), ..Facts::default() }).level;
        assert_eq!(maven("<proxy><host>p</host></proxy>"), Level::Warning);
        assert_eq!(maven("<proxy><nonProxyHosts>127.0.0.1|localhost</nonProxyHosts></proxy>"), Level::Ok);
        let nix = |text: &str| of(Facts { nix: text.into(), ..Facts::default() }).level;
        assert_eq!(nix("extra-substituters = http://127.0.0.1:5273/nix"), Level::Warning);
        assert_eq!(
            nix("substituters = http://127.0.0.1:5273/nix\nnarinfo-cache-negative-ttl = 0"),
            Level::Ok
        );
        assert_eq!(nix("substituters = https://cache.nixos.org"), Level::Ok);
    }
}
