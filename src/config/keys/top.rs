//! The keys outside of the tables, each with its default and why it is that.

use std::path::PathBuf;

use super::Kind::{Count, Percent, Size, Text, Texts, Time, Url, Users, Word};
use super::Unset::{Follows, Is};
use super::{Key, Kind, Unset};
use crate::config::Durability;
use crate::config::bounds::Bounds;
use crate::config::value::{count, duration, one_of, percent, size, text, texts, users};
use crate::logging::Format;

/// What is asked for outside of the tables.
#[derive(Debug, Default)]
pub(in crate::config) struct Wishes {
    pub(in crate::config) listen: Vec<String>,
    pub(in crate::config) dir: Option<PathBuf>,
    pub(in crate::config) upstream: String,
    pub(in crate::config) allow_hosts: Vec<String>,
    pub(in crate::config) users: Vec<u32>,
    pub(in crate::config) groups: Vec<u32>,
    pub(in crate::config) tokens: Option<PathBuf>,
    pub(in crate::config) durability: Durability,
    pub(in crate::config) log_format: Format,
    pub(in crate::config) log_filter: String,
    pub(in crate::config) entry_max: Option<u64>,
    pub(in crate::config) bounds: Bounds,
}

type Set = fn(&mut Wishes, &toml::Value) -> Result<(), String>;

const fn key(name: &'static str, kind: Kind, unset: Unset, reason: &'static str, set: Set) -> Key<Wishes> {
    Key::new(name, kind, unset, reason, set)
}

/// Every key outside of the tables.
pub(in crate::config) const TOP: &[Key<Wishes>] = &[
    key(
        "listen",
        Texts,
        Follows(
            "127.0.0.1:5273 and, where the machine has IPv6, [::1]:5273",
            "[\"127.0.0.1:5273\", \"[::1]:5273\"]",
        ),
        "Where clients connect: addresses with ports, or `unix:/path`. What is said here replaces the defaults. Only \
         loopback and unix sockets: other addresses need a `[[listeners]]` table. The admin socket is always there \
         besides.",
        |to, value| texts(value).map(|list| to.listen = list),
    )
    .at_start(),
    key(
        "dir",
        Text,
        Follows("the platform's folders for caches and for state", "\"/var/lib/larder\""),
        "One folder for everything: the cache below it in `cache`, what is not upstream yet in `state`, the admin \
         socket as `larder.sock`. The cache may be deleted at any time, the state not.",
        |to, value| text(value).map(|path| to.dir = Some(path.into())),
    )
    .at_start(),
    key(
        "upstream",
        Url,
        Is("\"none\""),
        "The shared store behind every namespace that has none of its own: `none`, the name of one of \
         `[upstreams.NAME]`, or a URL. None by default: a cache for this machine alone needs no credentials.",
        |to, value| text(value).map(|url| to.upstream = url),
    ),
    key(
        "allow_hosts",
        Texts,
        Is("[]"),
        "Names besides loopback that a request's `Host` may have. A web page can point a name of its own at loopback, \
         so a name is let in only when it is said here: that of a container's host, say.",
        |to, value| texts(value).map(|list| to.allow_hosts = list),
    ),
    key(
        "access.users",
        Users,
        Is("[]"),
        "Users of this machine, names or ids, who are let in besides the daemon's own and root; `@builders` is the \
         members of a group, `@1002` those of the one with this id. They can read and replace every entry, and don't \
         get at the admin socket. The machine's daemon (`--system`) starts only with somebody named here.",
        |to, value| users(value).map(|(users, groups)| (to.users, to.groups) = (users, groups)),
    ),
    key(
        "access.tokens",
        Text,
        Follows("no tokens but those that `larder token new --bearer` issued", "\"/etc/larder/tokens\""),
        "A file with a line `NAME:TOKEN` for each who may connect to a listener off loopback, as `Authorization: \
         Bearer TOKEN` or Basic with user NAME and password TOKEN. Its mode must be 0600. A \
         token has 16 characters or more: `openssl rand -hex 32` makes one.",
        |to, value| text(value).map(|path| to.tokens = Some(path.into())),
    ),
    key(
        "durability",
        Word(&["process", "power"]),
        Is("\"process\""),
        "What an acknowledged PUT survives. `process`: the daemon's death, `kill -9` included; a power cut may cost the \
         last seconds, never leaves a torn entry. `power`: a power cut too, for the price of waiting for the disk. A \
         cache's entries can be built again, hence the default.",
        |to, value| {
            to.durability = [Durability::Process, Durability::Power][one_of(value, &["process", "power"])?];
            Ok(())
        },
    )
    .at_start(),
    key(
        "log.format",
        Word(&["auto", "text", "json", "journald"]),
        Is("\"auto\""),
        "How the log looks: lines for people, or one JSON object each for what collects logs, both on standard error; or \
         entries of systemd's journal, with priorities and fields. `auto` is `journald` where standard error is the \
         journal's (systemd says so by JOURNAL_STREAM), else `text`.",
        |to, value| {
            let formats = [Format::Auto, Format::Text, Format::Json, Format::Journald];
            to.log_format = formats[one_of(value, &["auto", "text", "json", "journald"])?];
            Ok(())
        },
    )
    .at_start(),
    key(
        "log.filter",
        Text,
        Is("\"info\""),
        "What is logged: a level, or levels by part, as `info,larder::access=debug`, which adds a line for each \
         request. Without that part a request costs no time stamp. The variable is LARDER_LOG.",
        |to, value| text(value).map(|filter| to.log_filter = filter),
    ),
    key(
        "entry_max",
        Size,
        Follows("5 GiB, at most a quarter of `disk`", "\"2 GiB\""),
        "Bytes of one entry. A larger PUT is refused where the client takes that calmly, else read, acknowledged and \
         shed; a larger upstream object streams through. One entry must not evict most of the cache: hence the \
         quarter.",
        |to, value| size(value).map(|bytes| to.entry_max = Some(bytes)),
    ),
    key(
        "memory",
        Size,
        Is("\"256 MiB\""),
        "Bodies kept in memory; each weighs its bytes and 400 more. 0 switches it off. The kernel's page cache holds \
         what is on disk as well, so more than the hot part of a build gains little.",
        |to, value| size(value).map(|bytes| to.bounds.memory = bytes),
    ),
    key(
        "memory_entry_max",
        Size,
        Is("\"1 MiB\""),
        "Larger bodies are not kept in memory: from disk they are as fast.",
        |to, value| size(value).map(|bytes| to.bounds.memory_entry_max = bytes),
    ),
    key(
        "disk",
        Size,
        Is("\"10 GiB\""),
        "Bytes of the cache folder. At the bound the least recently used entries go. Ten are some weeks of a large \
         repository, and little of any current disk.",
        |to, value| size(value).map(|bytes| to.bounds.disk = bytes),
    ),
    key(
        "disk_keep_free",
        Size,
        Follows("5 % of the filesystem, at most 5 GiB", "\"5 GiB\""),
        "Bytes of the filesystem that the cache leaves free: it evicts, down to nothing. A cache must not be why a \
         build finds its disk full.",
        |to, value| size(value).map(|bytes| to.bounds.disk_keep_free = Some(bytes)),
    ),
    key(
        "inodes_keep_free",
        Percent,
        Is("\"2 %\""),
        "Share of the filesystem's inodes that the cache leaves free: it evicts, down to nothing.",
        |to, value| percent(value).map(|share| to.bounds.inodes_keep_free = share),
    ),
    key(
        "disk_floor",
        Size,
        Is("\"256 MiB\""),
        "With fewer bytes free, nothing more is written: PUTs are shed, fills stream through. Enough for the machine \
         to stay usable.",
        |to, value| size(value).map(|bytes| to.bounds.disk_floor = bytes),
    ),
    key(
        "queue_bytes",
        Size,
        Is("\"5 GiB\""),
        "Bytes that may wait to go upstream. At the bound a PUT is kept locally and not queued: shed. A day offline \
         fits.",
        |to, value| size(value).map(|bytes| to.bounds.queue_bytes = bytes),
    ),
    key(
        "queue_entries",
        Count,
        Is("1_000_000"),
        "Entries that may wait to go upstream. At the bound a PUT is kept locally and not queued: shed.",
        |to, value| count(value).map(|entries| to.bounds.queue_entries = entries),
    ),
    key(
        "fills",
        Count,
        Is("256"),
        "Upstream objects brought here at once. Those behind wait in order until `first_byte`, then are misses.",
        |to, value| count(value).map(|fills| to.bounds.fills = fills as usize),
    ),
    key(
        "fill_bytes",
        Size,
        Is("\"2 GiB\""),
        "Announced bytes of running fills. One fill is always admitted, whatever its size.",
        |to, value| size(value).map(|bytes| to.bounds.fill_bytes = bytes),
    ),
    key(
        "connect",
        Time,
        Is("\"500 ms\""),
        "DNS, TCP and TLS to an upstream together; past it a miss. Three round trips to the other side of the world.",
        |to, value| duration(value).map(|time| to.bounds.connect = time),
    ),
    key(
        "first_byte",
        Time,
        Is("\"1.5 s\""),
        "From a request's head to its answer, whatever happens upstream; past it a miss, and the fill goes on for next \
         time. Longer than a slow bucket's answer, shorter than the patience of any build tool.",
        |to, value| duration(value).map(|time| to.bounds.first_byte = time),
    ),
    key(
        "stall",
        Time,
        Is("\"10 s\""),
        "A transfer to or from an upstream without progress for this long has failed; a read is resumed, twice.",
        |to, value| duration(value).map(|time| to.bounds.stall = time),
    ),
    key(
        "absent_memory_entries",
        Count,
        Is("100_000"),
        "Names remembered as absent upstream; the oldest is forgotten.",
        |to, value| count(value).map(|entries| to.bounds.absent_memory_entries = entries as usize),
    ),
    key(
        "absent_memory_age",
        Time,
        Is("\"2 s\""),
        "How long a name counts as absent upstream without asking. Short: another machine may just be putting it.",
        |to, value| duration(value).map(|age| to.bounds.absent_memory_age = age),
    ),
    key(
        "fact_memory_entries",
        Count,
        Is("1_000_000"),
        "Entries remembered to be upstream; the oldest is forgotten, and asked for again.",
        |to, value| count(value).map(|entries| to.bounds.fact_memory_entries = entries as usize),
    ),
    key(
        "fact_memory_age",
        Time,
        Is("\"3 h\""),
        "How long an entry counts as being upstream without asking. Shorter than the age at which any sensible \
         lifecycle rule deletes.",
        |to, value| duration(value).map(|age| to.bounds.fact_memory_age = age),
    ),
    key(
        "connections",
        Count,
        Follows("half of the descriptors that the process may have", "4096"),
        "Connections of clients at once. At the bound the longest idle one is closed.",
        |to, value| count(value).map(|count| to.bounds.connections = Some(count as usize)),
    ),
    key(
        "head",
        Time,
        Is("\"10 s\""),
        "From a request's first byte to the end of its head; past it the connection is closed.",
        |to, value| duration(value).map(|time| to.bounds.head = time),
    ),
    key(
        "body_stall",
        Time,
        Is("\"60 s\""),
        "A body, either way, without progress for this long ends its connection.",
        |to, value| duration(value).map(|time| to.bounds.body_stall = time),
    ),
    key(
        "idle",
        Time,
        Is("\"15 min\""),
        "A connection without a request for this long is closed. Longer than any tool keeps one.",
        |to, value| duration(value).map(|time| to.bounds.idle = time),
    ),
    key(
        "partial_uploads_count",
        Count,
        Is("1000"),
        "Uploads in pieces that nobody is writing to. At the bound the oldest goes.",
        |to, value| count(value).map(|uploads| to.bounds.partial_uploads_count = uploads as usize),
    ),
    key(
        "partial_uploads_bytes",
        Size,
        Follows("half of `disk`", "\"5 GiB\""),
        "Their bytes, and those of any one upload in pieces. At the bound the oldest idle one goes.",
        |to, value| size(value).map(|bytes| to.bounds.partial_uploads_bytes = Some(bytes)),
    ),
    key(
        "partial_uploads_age",
        Time,
        Is("\"1 h\""),
        "An upload in pieces goes this long after its last byte.",
        |to, value| duration(value).map(|age| to.bounds.partial_uploads_age = age),
    ),
    key(
        "quarantine_entries",
        Count,
        Is("100"),
        "Damaged entries kept aside for a look at them; the oldest goes.",
        |to, value| count(value).map(|entries| to.bounds.quarantine_entries = entries as usize),
    ),
    key("quarantine_bytes", Size, Is("\"256 MiB\""), "Their bytes; the oldest goes.", |to, value| {
        size(value).map(|bytes| to.bounds.quarantine_bytes = bytes)
    }),
    key("quarantine_age", Time, Is("\"7 days\""), "How long a damaged entry is kept aside.", |to, value| {
        duration(value).map(|age| to.bounds.quarantine_age = age)
    }),
];
