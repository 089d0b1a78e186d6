//! The keys of `[upstreams.NAME]`, `[namespaces."NS"]` and `[[listeners]]`.

use super::Unset::{Follows, Is, Needed};
use super::{Key, Kind, Unset};
use std::path::PathBuf;
use std::time::Duration;

use crate::config::listeners::ONLY;
use crate::config::value::{duration, one_of, text, texts, truth};
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
    pub(in crate::config) certificate: Option<PathBuf>,
    pub(in crate::config) key: Option<PathBuf>,
    pub(in crate::config) client_ca: Option<PathBuf>,
    pub(in crate::config) clients: Option<Vec<String>>,
    pub(in crate::config) readers: Vec<String>,
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
        "credential",
        Kind::Text,
        Follows("no stored one", "\"work\""),
        "The name of a credential that `larder login NAME` has stored, or that systemd gave the service; several \
         upstreams may name one. Renewed before it ends. Until it is stored the upstream is denied, and what is built \
         waits in the queue.",
        |to, value| text(value).map(|name| to.options.push(("credential", name))),
    ),
    Key::new(
        "credentials",
        Kind::Text,
        Follows("without a `credential`, those of the environment", "\"/etc/larder/team.credentials\""),
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
        "certificate",
        Kind::Text,
        Follows("no TLS", "\"/etc/larder/tls/server.pem\""),
        "TLS, 1.2 and 1.3: a PEM file with the certificate, and behind it those between it and its CA. `larder tls \
         init` makes one. It is read again when it changes, without a restart; what is wrong then leaves the old one \
         in force and is in `larder status`.",
        |to, value| text(value).map(|path| to.certificate = Some(path.into())),
    ),
    listener(
        "key",
        Kind::Text,
        Follows("no TLS", "\"/etc/larder/tls/server-key.pem\""),
        "The PEM file of the certificate's key. Its mode must be 0600.",
        |to, value| text(value).map(|path| to.key = Some(path.into())),
    ),
    listener(
        "client_ca",
        Kind::Text,
        Follows(
            "clients show no certificate; off loopback each request has a token",
            "\"/etc/larder/tls/ca.pem\"",
        ),
        "A PEM file of CAs: who connects shows a certificate of one of them, and needs no token. Who has none, or one \
         that has expired, or one of another CA, gets no connection. Read again when it changes.",
        |to, value| text(value).map(|path| to.client_ca = Some(path.into())),
    ),
    Key::new(
        "clients",
        Kind::Texts,
        Follows("every certificate of `client_ca`, unless `readers` is said", "[\"ci\", \"desk\"]"),
        "Whose client certificates may read and write, by common name or subject alternative name; `*` is everybody \
         of the CA. Who is named neither here nor in `readers` is refused, also on a connection that is open.",
        |to, value| texts(value).map(|list| to.clients = Some(list)),
    ),
    Key::new(
        "readers",
        Kind::Texts,
        Is("[]"),
        "Whose client certificates may read and not write, in the same words: CI fills the cache, laptops use it.",
        |to, value| texts(value).map(|list| to.readers = list),
    ),
    listener(
        "insecure",
        Kind::Truth,
        Is("false"),
        "Off loopback and without TLS, `true` says that tokens and bytes may cross the network unencrypted: for a \
         network of containers on this machine.",
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
