//! The keys of `[upstreams.NAME]`, `[namespaces."NS"]` and `[[listeners]]`.

use super::Unset::{Follows, Is, Needed};
use super::{Key, Kind, Unset};
use std::time::Duration;

use crate::config::listeners::ONLY;
use crate::config::value::{duration, one_of, text, truth};
use crate::digest::Function;
use crate::key::Prefetch;
use crate::server::Protocol;

/// What an upstream is asked to be.
#[derive(Debug, Default)]
pub(in crate::config) struct UpstreamWish {
    pub(in crate::config) url: String,
    pub(in crate::config) read_only: bool,
    /// What is said beside the URL, and would be an option of it.
    pub(in crate::config) options: Vec<(&'static str, String)>,
}

/// Where a namespace is asked to go.
#[derive(Debug, Default)]
pub(in crate::config) struct NamespaceWish {
    pub(in crate::config) upstream: Option<String>,
    pub(in crate::config) prefix: String,
    pub(in crate::config) max_age: Option<Duration>,
    pub(in crate::config) digest: Option<Function>,
    pub(in crate::config) prefetch: Option<Prefetch>,
}

/// What a listener is asked to be.
#[derive(Debug, Default)]
pub(in crate::config) struct ListenerWish {
    pub(in crate::config) address: String,
    pub(in crate::config) insecure: bool,
    pub(in crate::config) only: Option<Protocol>,
}

/// The words of `mode`.
const MODES: &[&str] = &["read-write", "read-only"];
/// The words of `digest`.
const DIGESTS: &[&str] = &["sha256", "blake3"];
/// The words of `prefetch`.
const PREFETCHES: &[&str] = &["all", "small", "off"];

/// The keys of `[upstreams.NAME]`.
pub(in crate::config) const UPSTREAMS: &[Key<UpstreamWish>] = &[
    Key::new(
        "url",
        Kind::Url,
        Needed("\"s3://bucket/prefix?region=eu-central-1\""),
        "Where it is, as for `upstream`. It can't hold keys.",
        |to, value| text(value).map(|url| to.url = url),
    ),
    Key::new(
        "mode",
        Kind::Word(MODES),
        Is("\"read-write\""),
        "A read-only one is never written: what clients put is kept locally and acknowledged. Whoever may write can \
         make others run what they uploaded, so for a laptop `read-only` is the safer choice.",
        |to, value| one_of(value, MODES).map(|mode| to.read_only = mode == 1),
    ),
    Key::new(
        "credentials",
        Kind::Text,
        Follows("those of the environment", "\"/etc/larder/team.credentials\""),
        "A file with its keys, of a server by HTTP its token, that only this user can read, read again when it changes. \
         With several upstreams each has a file of its own, because the environment holds one set of keys.",
        |to, value| text(value).map(|path| to.options.push(("credentials", path))),
    ),
    Key::new(
        "profile",
        Kind::Text,
        Follows("the file's default", "\"ci\""),
        "Which section of that file.",
        |to, value| text(value).map(|profile| to.options.push(("profile", profile))),
    ),
    Key::new(
        "instance_metadata",
        Kind::Truth,
        Is("false"),
        "Keys from the machine's metadata service. Never by default: on a machine that has none the question takes \
         seconds.",
        |to, value| {
            if truth(value)? {
                to.options.push(("instance_metadata", "true".into()));
            }
            Ok(())
        },
    ),
];

/// The keys of `[namespaces."NS"]`.
pub(in crate::config) const NAMESPACES: &[Key<NamespaceWish>] = &[
    Key::new(
        "upstream",
        Kind::Text,
        Follows("that of the namespace around it, at last of the key `upstream`", "\"team\""),
        "The name of one of `[upstreams.NAME]`, or `none`: then it stays on this machine.",
        |to, value| text(value).map(|name| to.upstream = Some(name)),
    ),
    Key::new(
        "prefix",
        Kind::Text,
        Is("\"\""),
        "What its names there begin with, before a slash. Two namespaces with one upstream need different ones: who \
         writes to one must not be read by the other.",
        |to, value| text(value).map(|prefix| to.prefix = prefix),
    ),
    Key::new(
        "max_age",
        Kind::Time,
        Follows("60 s for ccache, Maven and blobs, or that of the namespace around it", "\"5 min\""),
        "How long a copy under a name that may change is served without asking the upstream. An older one is served \
         and checked behind the answer, so the next request has what is new. Names that never change (content, action \
         results, Turborepo, Nx, Gradle) are not asked for again, whatever this says.",
        |to, value| duration(value).map(|age| to.max_age = Some(age)),
    ),
    Key::new(
        "digest",
        Kind::Word(DIGESTS),
        Follows("sha256, or that of the namespace around it", "\"blake3\""),
        "What the hashes in Bazel's paths are of, which don't say it themselves: for clients with \
         `--digest_function=blake3`. Content is checked by it, and lies upstream below `cas-blake3`.",
        |to, value| one_of(value, DIGESTS).map(|at| to.digest = Function::named(DIGESTS[at])),
    ),
    Key::new(
        "prefetch",
        Kind::Word(PREFETCHES),
        Follows("small, or that of the namespace around it", "\"all\""),
        "Which of the blobs that an answered action result names are brought here behind it, before they are asked for: \
         `small` up to 4 MiB each and 64 MiB in all, `all` without a limit, `off` none, for builds without the bytes.",
        |to, value| {
            one_of(value, PREFETCHES).map(|at| {
                to.prefetch = Some([Prefetch::All, Prefetch::Small, Prefetch::Off][at]);
            })
        },
    ),
];

type SetListener = fn(&mut ListenerWish, &toml::Value) -> Result<(), String>;

/// Sockets are bound at start.
const fn listener(
    name: &'static str,
    kind: Kind,
    unset: Unset,
    reason: &'static str,
    set: SetListener,
) -> Key<ListenerWish> {
    Key::new(name, kind, unset, reason, set).at_start()
}

/// The keys of `[[listeners]]`.
pub(in crate::config) const LISTENERS: &[Key<ListenerWish>] = &[
    listener(
        "address",
        Kind::Text,
        Needed("\"0.0.0.0:5273\""),
        "An address with a port, or `unix:/path`.",
        |to, value| text(value).map(|address| to.address = address),
    ),
    listener(
        "insecure",
        Kind::Truth,
        Is("false"),
        "Off loopback, `true` says that tokens and bytes may cross the network unencrypted: for a network of containers \
         on this machine. This version has no TLS.",
        |to, value| truth(value).map(|insecure| to.insecure = insecure),
    ),
    listener(
        "only",
        Kind::Word(ONLY),
        Follows("every protocol, each at its own paths", "\"gradle\""),
        "One protocol alone, which has the root here: of `/gradle/web/{key}` only `/web/{key}` is left. For a client \
         that can't have a path in its address, and for a port that shall serve nothing else.",
        |to, value| one_of(value, ONLY).map(|at| to.only = Protocol::named(ONLY[at])),
    ),
];
