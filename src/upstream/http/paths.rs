//! Where a name is on a server: paths, by dialect.
//!
//! Names come as [`Names::Paths`](crate::key::Names) has them, for `plain` as on a bucket without shard folders.
//!
//! ```text
//! name                              larder                                   bazel        turborepo
//! cas/{hash}                        /{prefix}/cas/{hash}                     the same     -
//! [{ns}/]ac/{hash}                  /{prefix}/[{ns}/]ac/{hash}               the same     -
//! [{ns}/]v8/artifacts/{team}/{hash} /{prefix}/[{ns}/]v8/artifacts/{hash}?…   -            /{prefix}/v8/artifacts/{hash}?…
//! [{ns}/]v1/cache/{hash}            /{prefix}/[{ns}/]v1/cache/{hash}         -            -
//! gradle|ccache|blob|maven|s3|larder/{ns}/…   /{protocol}/{prefix}/{ns}/…    -            -
//! others (BLAKE3 content, canaries)           /blob/{prefix}/larders/…        -            canaries, of a team `larders`
//! ```
//!
//! The dialects of one tool alone, Nx, Gradle, ccache and Maven, are in [`tools`].
//!
//! So the prefix of a Larder is the namespace around all others. What a dialect does not carry (`-`) stays on this
//! machine, and nothing is asked for it. A tag beside a Turborepo artifact is not carried: it goes with that as a header.

use percent_encoding::{AsciiSet, NON_ALPHANUMERIC, utf8_percent_encode};

use super::super::location::Dialect;
use super::tools;
use crate::digest::{Digest, Function};
use crate::key::ObjectName;

/// What a segment of a path, or a value of a query, holds as it is.
const ESCAPED: &AsciiSet = &NON_ALPHANUMERIC.remove(b'-').remove(b'.').remove(b'_').remove(b'~');

/// What canaries' names begin with.
const CANARY: &str = "larder-canary-";

/// An entry that nobody puts: what probes ask for.
const PROBE: &str = "larder-probe";

/// The team of artifacts, and the namespace of blobs, that are no client's.
const OWN_TEAM: &str = "larders";

/// Of one upstream.
#[derive(Debug)]
pub(super) struct Paths {
    pub(super) dialect: Dialect,
    /// Without slashes around; empty for none.
    prefix: String,
}

/// Where one name is.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(super) enum Spot {
    /// A path, and what headers carry there.
    At(String, Carries),
    /// A canary on a server that only has content: it is called by its digest.
    ByDigest,
    /// A canary on a server that only takes archives of Nx: it is what an archive without files is called.
    Packed(String),
    /// Nowhere: this dialect doesn't have such names.
    Nowhere,
}

/// The attributes that headers carry.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum Carries {
    /// Only the type of the bytes.
    Type,
    /// Turborepo's.
    Artifact,
    /// Type, encoding and user metadata, as S3 names them.
    S3,
    /// The same as Azure names them.
    Azure,
}

// === impl Paths ===

impl Paths {
    /// `prefixes`: without slashes around, some of them empty.
    pub(super) fn new(dialect: Dialect, prefixes: [&str; 2]) -> Self {
        let prefixes = prefixes.into_iter().filter(|prefix| !prefix.is_empty());
        Self { dialect, prefix: prefixes.collect::<Vec<_>>().join("/") }
    }

    /// Where `name` is.
    pub(super) fn spot(&self, name: &str) -> Spot {
        let plain = |name: &str| Spot::At(self.path(&[&self.prefix, name]), Carries::Type);
        let first = name.split('/').next().unwrap_or(name);
        let is_artifact = || artifact(name).filter(|_| !is_protocol(first));
        match self.dialect {
            Dialect::Plain => plain(name),
            Dialect::Bazel if name.starts_with(CANARY) => Spot::ByDigest,
            Dialect::Bazel if is_bazels(name) && !is_protocol(first) => plain(name),
            Dialect::Turborepo if name.starts_with(CANARY) => self.artifact("", OWN_TEAM, name),
            Dialect::Turborepo => match is_artifact() {
                Some((_, team, hash)) => self.artifact("", team, hash),
                None => Spot::Nowhere,
            },
            Dialect::Bazel => Spot::Nowhere,
            Dialect::Nx if name.starts_with(CANARY) => Spot::Packed(self.own(name)),
            Dialect::Gradle | Dialect::Ccache(_) | Dialect::Maven if name.starts_with(CANARY) => {
                Spot::At(self.own(name), Carries::Type)
            }
            dialect @ (Dialect::Nx | Dialect::Gradle | Dialect::Ccache(_) | Dialect::Maven) => {
                tools::place(dialect, name).map_or(Spot::Nowhere, |place| plain(&place))
            }
            Dialect::Larder => match is_artifact() {
                Some((namespace, team, hash)) => self.artifact(namespace, team, hash),
                None if is_protocol(first) => {
                    let rest = name.get(first.len() + 1..).unwrap_or_default();
                    let carries = match first {
                        "s3" => Carries::S3,
                        "larder" => Carries::Azure,
                        _ => Carries::Type,
                    };
                    Spot::At(self.path(&[first, &self.prefix, rest]), carries)
                }
                None if is_bazels(name) || is_nx(name) => plain(name),
                None => Spot::At(self.path(&["blob", &self.prefix, OWN_TEAM, name]), Carries::Type),
            },
        }
    }

    /// Content by its digest.
    pub(super) fn content(&self, bytes: &[u8]) -> String {
        let digest = Digest::of(Function::Sha256, bytes);
        self.path(&[&self.prefix, "cas", &digest.hex()])
    }

    /// What a probe asks for.
    pub(super) fn probe(&self) -> Spot {
        match self.dialect {
            Dialect::Larder | Dialect::Bazel => Spot::At(self.content(PROBE.as_bytes()), Carries::Type),
            Dialect::Turborepo => self.artifact("", OWN_TEAM, PROBE),
            Dialect::Plain => self.spot(PROBE),
            Dialect::Nx | Dialect::Gradle | Dialect::Ccache(_) | Dialect::Maven => {
                Spot::At(self.own(PROBE), Carries::Type)
            }
        }
    }

    /// What a probe of writes tries, beside the object whose call was denied.
    pub(super) fn probe_near(&self, near: Option<&ObjectName>) -> Spot {
        match near.and_then(|near| near.as_str().split_once('/')) {
            Some((folder, _)) if self.dialect == Dialect::Plain => self.spot(&format!("{folder}/{PROBE}")),
            _ => self.probe(),
        }
    }

    /// Where a Turborepo server says that it is there.
    pub(super) fn status(&self) -> String {
        self.path(&[&self.prefix, "v8/artifacts/status"])
    }

    /// What is Larder's own on a server of one tool.
    fn own(&self, word: &str) -> String {
        self.path(&[&self.prefix, &tools::own_place(self.dialect, word)])
    }

    /// An artifact. A team's id begins with `team_`; what else names it is its slug.
    fn artifact(&self, namespace: &str, team: &str, hash: &str) -> Spot {
        if hash.contains('.') {
            return Spot::Nowhere;
        }
        let path = self.path(&[&self.prefix, namespace, "v8/artifacts", hash]);
        let parameter = if team.starts_with("team_") { "teamId" } else { "slug" };
        Spot::At(format!("{path}?{parameter}={}", utf8_percent_encode(team, ESCAPED)), Carries::Artifact)
    }

    fn path(&self, parts: &[&str]) -> String {
        let segments = parts.iter().flat_map(|part| part.split('/')).filter(|segment| !segment.is_empty());
        segments.map(|segment| format!("/{}", utf8_percent_encode(segment, ESCAPED))).collect()
    }
}

/// Whether a name's first segment is of a protocol that has its namespace behind it.
pub(super) fn is_protocol(first: &str) -> bool {
    matches!(first, "gradle" | "ccache" | "blob" | "maven" | "s3" | "larder")
}

/// `cas/{hash}`, `[{ns}/]ac/{hash}`.
fn is_bazels(name: &str) -> bool {
    let mut segments = name.rsplit('/');
    let hash = segments.next().unwrap_or_default();
    let is_hash = hash.len() == 64 && hash.bytes().all(|byte| matches!(byte, b'0'..=b'9' | b'a'..=b'f'));
    is_hash && matches!(segments.next(), Some("ac" | "cas"))
}

/// `[{ns}/]v1/cache/{hash}`.
fn is_nx(name: &str) -> bool {
    let mut segments = name.rsplit('/');
    let hash = segments.next().unwrap_or_default();
    let is_hash = hash.bytes().all(|byte| byte.is_ascii_digit());
    is_hash && segments.next() == Some("cache") && segments.next() == Some("v1")
}

/// `[{ns}/]v8/artifacts/{team}/{hash}`: namespace, team and hash.
fn artifact(name: &str) -> Option<(&str, &str, &str)> {
    let (namespace, rest) = match name.strip_prefix("v8/artifacts/") {
        Some(rest) => ("", rest),
        None => name.split_once("/v8/artifacts/")?,
    };
    let (team, hash) = rest.split_once('/')?;
    (!hash.contains('/')).then_some((namespace, team, hash))
}

#[cfg(test)]
mod tests {
    use super::*;

    const HASH: &str = "e3b0c44298fc1c149afbf4c8996fb92427ae41e4649b934ca495991b7852b855";

    fn at(dialect: Dialect, prefixes: [&str; 2], name: &str) -> Option<String> {
        match Paths::new(dialect, prefixes).spot(name) {
            Spot::At(path, _) => Some(path),
            Spot::ByDigest => Some("by digest".into()),
            Spot::Packed(path) => Some(format!("packed at {path}")),
            Spot::Nowhere => None,
        }
    }

    #[test]
    fn a_larder_has_its_own_paths_and_the_prefix_around_all_namespaces() {
        for (name, plain, below) in [
            ("cas/HASH", "/cas/HASH", "/team/web/cas/HASH"),
            ("ac/HASH", "/ac/HASH", "/team/web/ac/HASH"),
            ("web/gradle/ac/HASH", "/web/gradle/ac/HASH", "/team/web/web/gradle/ac/HASH"),
            (
                "ns/v8/artifacts/team_1/0f",
                "/ns/v8/artifacts/0f?teamId=team_1",
                "/team/web/ns/v8/artifacts/0f?teamId=team_1",
            ),
            ("v8/artifacts/a b/0f", "/v8/artifacts/0f?slug=a%20b", "/team/web/v8/artifacts/0f?slug=a%20b"),
            ("ns/v1/cache/12", "/ns/v1/cache/12", "/team/web/ns/v1/cache/12"),
            ("gradle/ns/0f", "/gradle/ns/0f", "/gradle/team/web/ns/0f"),
            ("ccache/ac/HASH", "/ccache/ac/HASH", "/ccache/team/web/ac/HASH"),
            ("blob/ns/a?b/c%", "/blob/ns/a%3Fb/c%25", "/blob/team/web/ns/a%3Fb/c%25"),
            (
                "s3/bucket/v8/artifacts/a/b",
                "/s3/bucket/v8/artifacts/a/b",
                "/s3/team/web/bucket/v8/artifacts/a/b",
            ),
            ("cas-blake3/HASH", "/blob/larders/cas-blake3/HASH", "/blob/team/web/larders/cas-blake3/HASH"),
            ("larder-canary-0", "/blob/larders/larder-canary-0", "/blob/team/web/larders/larder-canary-0"),
        ] {
            let whole = |text: &str| text.replace("HASH", HASH);
            let name = whole(name);
            assert_eq!(at(Dialect::Larder, ["", ""], &name), Some(whole(plain)));
            assert_eq!(at(Dialect::Larder, ["team", "web"], &name), Some(whole(below)));
        }
    }

    #[test]
    fn what_a_dialect_does_not_carry_is_nowhere() {
        let ac = format!("ns/ac/{HASH}");
        let ccache = format!("ccache/ns/ac/{HASH}");
        for (name, bazel, turborepo) in [
            (&*ac, Some(format!("/p/{ac}")), None),
            (&ccache, None, None),
            ("ac/nothing", None, None),
            ("ns/v8/artifacts/web/0f", None, Some("/p/v8/artifacts/0f?slug=web".to_owned())),
            ("blob/ns/v8/artifacts/web/0f", None, None),
            ("v1/cache/1", None, None),
            (
                "larder-canary-0",
                Some("by digest".into()),
                Some("/p/v8/artifacts/larder-canary-0?slug=larders".into()),
            ),
        ] {
            assert_eq!(at(Dialect::Bazel, ["p", ""], name), bazel, "{name}");
            assert_eq!(at(Dialect::Turborepo, ["p", ""], name), turborepo, "{name}");
        }
        for dialect in [Dialect::Nx, Dialect::Gradle, Dialect::Maven] {
            assert_eq!(at(dialect, ["p", ""], &ac), None, "{dialect:?}");
        }
        assert_eq!(at(Dialect::Nx, ["p", "q"], "ns/v1/cache/1").as_deref(), Some("/p/q/v1/cache/1"));
        assert_eq!(at(Dialect::Gradle, ["p", "q"], "gradle/ns/0f").as_deref(), Some("/p/q/0f"));
        assert!(
            at(Dialect::Nx, ["p", ""], "larder-canary-0")
                .is_some_and(|at| at.starts_with("packed at /p/v1/cache/"))
        );
        for dialect in [Dialect::Larder, Dialect::Turborepo] {
            assert_eq!(at(dialect, ["", ""], "v8/artifacts/web/0f.tag"), None, "a header carries it");
        }
        assert_eq!(at(Dialect::Plain, ["p", "q"], "web/0f.tag").as_deref(), Some("/p/q/web/0f.tag"));
    }
}
