//! Files of the user that tools read: Bazel's, Maven's, Nix's.

use super::super::finding::Finding;
use super::{CHECK, Facts};

// === impl Facts ===

impl Facts {
    pub(super) fn files(&self, findings: &mut Vec<Finding>) {
        let mut warn = |words: &str, remedy: &str| findings.push(Finding::warning(CHECK, words, remedy));
        let bazel = self.bazelrc.as_deref().map(bazel_options).unwrap_or_default();
        let option = |name: &str| bazel.iter().find_map(|word| word.strip_prefix(name));
        let cache = option("--remote_cache=").unwrap_or_default();
        let is_here = ["127.0.0.1", "localhost", "[::1]"].iter().any(|name| cache.contains(name));
        if cache.starts_with("grpc") && is_here && option("--remote_local_fallback").is_none() {
            warn(
                "~/.bazelrc has a gRPC cache without --remote_local_fallback: builds fail when no daemon runs, and with \
                 2.1 and 8.0 to 8.5 whatever is said",
                "take the lines that `larder bazelrc --bazel VERSION` prints",
            );
        }
        if cache.starts_with("unix:") {
            warn(
                "~/.bazelrc has --remote_cache=unix:…, which Bazel 2.1.0 doesn't know and Debian's 4.2.3 ends with 37 over",
                "take the lines that `larder bazelrc --bazel VERSION --unix` prints, or use TCP",
            );
        }
        let maven = self.maven.as_deref().unwrap_or_default();
        if maven.contains("<proxy>") && !maven.contains("127.0.0.1") {
            warn(
                "~/.m2/settings.xml has a proxy, and <nonProxyHosts> doesn't name 127.0.0.1: Maven asks the proxy for this \
                 cache, and doesn't read NO_PROXY",
                "`<nonProxyHosts>127.0.0.1|localhost</nonProxyHosts>`",
            );
        }
        let nix = self.nix.lines().map(|line| line.split('#').next().unwrap_or_default());
        let nix: Vec<&str> = nix.collect();
        let is_asked = nix.iter().any(|line| line.contains("substituters") && line.contains("127.0.0.1"));
        if is_asked && !nix.iter().any(|line| line.contains("narinfo-cache-negative-ttl")) {
            warn(
                "Nix asks a cache of this machine and remembers for an hour what that hadn't got: a miss while the upstream \
                 was down outlives it",
                "`narinfo-cache-negative-ttl = 60` in nix.conf",
            );
        }
    }
}

/// The words of a .bazelrc that are in force for all builds.
fn bazel_options(text: &str) -> Vec<&str> {
    let lines = text.lines().map(|line| line.split('#').next().unwrap_or_default());
    lines
        .filter_map(|line| {
            let mut words = line.split_whitespace();
            matches!(words.next(), Some("build" | "common" | "test" | "run")).then_some(words)
        })
        .flatten()
        .collect()
}
