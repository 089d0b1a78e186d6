//! The situations that Larder can be in, each made for one client at a time.

use crate::disk::Damage;
use crate::support::Rng;
use crate::support::daemon::Daemon;
use crate::support::fault::{Fault, Plan};
use crate::support::proxy::FaultProxy;
use crate::support::setup::Setup;
use crate::support::weed::{self, Keys, Weed};
use crate::support::wire::Head;

/// What Larder, its disk or its upstream is in.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum Situation {
    /// Nobody has the entry: the upstream is there, and empty for this client.
    Absent,
    /// Nobody listens.
    NoDaemon,
    /// Nobody listens upstream, and the queue takes one entry.
    UpstreamGoneAndQueueFull,
    /// The upstream takes every request and answers none.
    UpstreamSilent,
    /// The upstream refuses what it is asked.
    UpstreamDenies,
    /// Everything that is asked upstream is answered with a page for people.
    UpstreamIsAPortal,
    /// Every body from upstream is reset midway, and comes when the rest is asked for.
    UpstreamBreaksOff,
    /// A byte midway in every body from upstream is another.
    UpstreamLies,
    /// The upstream has nothing and is never written.
    UpstreamIsReadOnly,
    /// What was put is damaged on the disk before it is asked for.
    DamagedAtRest,
    /// Nothing may be written any more; the upstream has what is asked for.
    DiskFull,
    /// What is put is larger than may be.
    OverEntryMax,
}

/// A bucket in which every client's entries for `sources` lie.
pub(crate) struct Seeds {
    weed: Weed,
    keys: Keys,
    /// The version of the checkouts: long, so that bodies are longer than what is read of them at once.
    pub(crate) sources: String,
}

/// A situation that has begun.
pub(crate) struct Scene {
    situation: Situation,
    daemon: Option<Daemon>,
    _way: FaultProxy,
    url: String,
}

/// Where the upstream is to be found wanting.
const QUICK: &str = "connect = \"200 ms\"\nfirst_byte = \"400 ms\"\nstall = \"1 s\"";
/// Where what is upstream must come, on however noisy a machine.
const PATIENT: &str = "connect = \"10 s\"\nfirst_byte = \"20 s\"\nstall = \"20 s\"";

/// Their tar in gzip is as long, since they don't compress beyond what their digits allow.
const SOURCE_BYTES: usize = 120_000;
/// Where bodies break: after the first bytes have gone out to the client, and before the end.
const MIDWAY: u64 = 100_000;

// === impl Seeds ===

impl Seeds {
    /// An empty bucket, and what is to be built.
    pub(crate) fn plant() -> Self {
        let keys = Keys::new("one");
        let weed = Weed::start(&[&keys]);
        let sources = Rng::new(71).bytes(SOURCE_BYTES).iter().map(|byte| format!("{byte:02x}")).collect();
        Self { weed, keys, sources }
    }
}

// === impl Situation ===

impl Situation {
    /// Brings a daemon into it.
    pub(crate) fn begin(self, seeds: &Seeds) -> Scene {
        let way = FaultProxy::to(seeds.weed.addr());
        let upstream = weed::url(way.addr(), "");
        let setup = Setup::new().keys(&seeds.keys);
        let setup = match self {
            Self::Absent | Self::UpstreamBreaksOff | Self::UpstreamLies => {
                setup.config(PATIENT).upstream(upstream)
            }
            Self::NoDaemon | Self::DamagedAtRest => setup,
            Self::UpstreamGoneAndQueueFull => {
                setup.config(QUICK).config("queue_entries = 1").upstream(upstream)
            }
            Self::UpstreamSilent | Self::UpstreamDenies | Self::UpstreamIsAPortal => {
                setup.config(QUICK).upstream(upstream)
            }
            Self::UpstreamIsReadOnly => {
                setup.config(PATIENT).upstream(format!("{}&read_only=true", weed::url(way.addr(), "empty")))
            }
            Self::DiskFull => setup.config(PATIENT).config("disk_floor = \"900 TiB\"").upstream(upstream),
            Self::OverEntryMax => setup.config("entry_max = 16"),
        };
        let strikes: fn(&Head) -> bool = match self {
            Self::UpstreamBreaksOff => |head| head.header("range").is_none(),
            _ => |_| true,
        };
        way.plan(Plan { fault: self.fault(), strikes });
        let daemon = setup.start();
        let url = daemon.url();
        let daemon = match self {
            Self::NoDaemon => {
                daemon.kill();
                None
            }
            _ => Some(daemon),
        };
        Scene { situation: self, daemon, _way: way, url }
    }

    /// What is wrong with the way to the upstream.
    fn fault(self) -> Fault {
        match self {
            Self::UpstreamGoneAndQueueFull => Fault::Refuse,
            Self::UpstreamSilent => Fault::Silent,
            Self::UpstreamDenies => Fault::ACCESS_DENIED,
            Self::UpstreamIsAPortal => Fault::Portal,
            Self::UpstreamBreaksOff => Fault::Reset { after: MIDWAY },
            Self::UpstreamLies => Fault::Flip { at: MIDWAY },
            Self::Absent
            | Self::NoDaemon
            | Self::UpstreamIsReadOnly
            | Self::DamagedAtRest
            | Self::DiskFull
            | Self::OverEntryMax => Fault::None,
        }
    }
}

// === impl Scene ===

impl Scene {
    pub(crate) fn situation(&self) -> Situation {
        self.situation
    }

    pub(crate) fn url(&self) -> &str {
        &self.url
    }

    pub(crate) fn daemon(&self) -> Option<&Daemon> {
        self.daemon.as_ref()
    }

    /// After the first run, before the second.
    pub(crate) fn go_on(self) -> Self {
        let daemon = match (self.situation, self.daemon) {
            (Situation::DamagedAtRest, Some(daemon)) => {
                let setup = daemon.kill();
                Damage::Flip.to(&setup.dir());
                Some(setup.start())
            }
            (_, daemon) => daemon,
        };
        Self { daemon, ..self }
    }

    /// Waits until what was put is upstream.
    pub(crate) fn flush(&self) {
        self.daemon.iter().for_each(Daemon::flush);
    }
}
