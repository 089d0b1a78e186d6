//! The scenarios: whose transcript it is, how the daemon is set, and what the client does.

use std::net::SocketAddr;

use super::exchange::{Connection, RawHead};
use super::transcript::Bodies;
use crate::support::tools::bazel::Bazel;
use crate::support::tools::ccache::Ccache;
use crate::support::tools::gradle::Gradle;
use crate::support::tools::maven::Maven;
use crate::support::tools::moon::Moon;
use crate::support::tools::nx::Nx;
use crate::support::tools::rush::Rush;
use crate::support::tools::{Run, Tool, Turbo};
use crate::support::wire::Addr;

/// One transcript.
pub(super) struct Scenario {
    /// Its file, below `tests/golden` and without `.txt`.
    pub(super) name: &'static str,
    pub(super) client: &'static str,
    /// Lines of the daemon's configuration.
    pub(super) config: &'static str,
    pub(super) bodies: Bodies,
    pub(super) play: Play,
}

/// What the client at this URL does; it says each part when it has done it.
type Play = fn(&str, &mut dyn FnMut(&str));

/// No archive, object or action result that a build makes fits.
const NOTHING_FITS: &str = "entry_max = 16";

pub(super) const SCENARIOS: [Scenario; 23] = [
    builds("nx/builds", "Nx 24.0.6", Bodies::Gzip, cold_then_warm::<Nx>),
    sheds("nx/over-entry-max", "Nx 24.0.6", Bodies::Gzip, nothing_is_kept::<Nx>),
    builds("gradle/builds", "Gradle 4.4.1", Bodies::Length, cold_then_warm::<Gradle>),
    sheds("gradle/over-entry-max", "Gradle 4.4.1", Bodies::Length, nothing_is_kept::<Gradle>),
    builds(
        "ccache/4.7.5-subdirs",
        "ccache 4.7.5, layout subdirs",
        Bodies::Length,
        cold_then_warm::<Ccache<0, 0>>,
    ),
    builds("ccache/4.7.5-flat", "ccache 4.7.5, layout flat", Bodies::Length, cold_then_warm::<Ccache<0, 1>>),
    builds(
        "ccache/4.7.5-bazel",
        "ccache 4.7.5, layout bazel",
        Bodies::Length,
        cold_then_warm::<Ccache<0, 2>>,
    ),
    builds(
        "ccache/4.14.2-subdirs",
        "ccache 4.14.2, layout subdirs",
        Bodies::Length,
        cold_then_warm::<Ccache<1, 0>>,
    ),
    builds(
        "ccache/4.14.2-flat",
        "ccache 4.14.2, layout flat",
        Bodies::Length,
        cold_then_warm::<Ccache<1, 1>>,
    ),
    builds(
        "ccache/4.14.2-bazel",
        "ccache 4.14.2, layout bazel",
        Bodies::Length,
        cold_then_warm::<Ccache<1, 2>>,
    ),
    sheds(
        "ccache/over-entry-max",
        "ccache 4.14.2, layout subdirs",
        Bodies::Length,
        nothing_is_kept::<Ccache<1, 0>>,
    ),
    builds("turborepo/builds", "turbo 2.11.11", Bodies::Length, cold_then_warm::<Turbo>),
    sheds("turborepo/over-entry-max", "turbo 2.11.11", Bodies::Length, nothing_is_kept::<Turbo>),
    builds("bazel/builds", "Bazel 2.1.0", Bodies::Kept, cold_then_warm::<Bazel>),
    sheds("bazel/over-entry-max", "Bazel 2.1.0", Bodies::Kept, nothing_is_kept::<Bazel>),
    builds("moon/builds", "moon 2.5.5, api: http", Bodies::Kept, cold_then_warm::<Moon>),
    sheds("moon/over-entry-max", "moon 2.5.5, api: http", Bodies::Kept, nothing_is_kept::<Moon>),
    builds("rush/builds", "Rush 5.179.0 with its HTTP plugin", Bodies::Length, cold_then_warm::<Rush>),
    sheds(
        "rush/over-entry-max",
        "Rush 5.179.0 with its HTTP plugin",
        Bodies::Length,
        nothing_is_kept::<Rush>,
    ),
    builds(
        "maven/builds",
        "Maven 3.9.16 with the build cache extension 1.2.3",
        Bodies::Length,
        cold_then_warm::<Maven>,
    ),
    sheds(
        "maven/over-entry-max",
        "Maven 3.9.16 with the build cache extension 1.2.3",
        Bodies::Length,
        nothing_is_kept::<Maven>,
    ),
    builds("please/builds", "Please, scripted after its source", Bodies::Kept, please),
    sheds("please/over-entry-max", "Please, scripted after its source", Bodies::Kept, please),
];

const fn builds(name: &'static str, client: &'static str, bodies: Bodies, play: Play) -> Scenario {
    Scenario { name, client, config: "", bodies, play }
}

/// What builds make is over `entry_max`.
const fn sheds(name: &'static str, client: &'static str, bodies: Bodies, play: Play) -> Scenario {
    Scenario { name, client, config: NOTHING_FITS, bodies, play }
}

fn cold_then_warm<T: Tool>(url: &str, did: &mut dyn FnMut(&str)) {
    let checkout = T::checkout("v1");
    assert_eq!(checkout.build(url), Run::all_ran(T::TASKS));
    did("a cold build");
    checkout.wipe();
    assert_eq!(checkout.build(url), Run::all_remote(T::TASKS));
    did("a warm build: all from the cache");
}

fn nothing_is_kept<T: Tool>(url: &str, did: &mut dyn FnMut(&str)) {
    let checkout = T::checkout("v1");
    assert_eq!(checkout.build(url), Run::all_ran(T::TASKS));
    did("a build whose outputs are over entry_max");
    checkout.wipe();
    assert_eq!(checkout.build(url), Run::all_ran(T::TASKS));
    did("the next build: nothing was kept");
}

/// What Please's HTTP cache asks, by Go's client: a target is packed while it is sent, so nobody knows its length.
fn please(url: &str, did: &mut dyn FnMut(&str)) {
    let host = url.trim_start_matches("http://");
    let addr: SocketAddr = host.parse().expect("an address");
    let mut connection = Connection::to(&Addr::Tcp(addr)).expect("the recorder takes connections");
    let mut ask = |method: &str, number: usize, body: &[u8]| {
        let mut lines = vec![
            format!("{method} /blob/please/{number:040x} HTTP/1.1"),
            format!("Host: {host}"),
            "User-Agent: Go-http-client/1.1".to_owned(),
        ];
        lines.extend((method == "PUT").then(|| "Transfer-Encoding: chunked".to_owned()));
        lines.push("Accept-Encoding: gzip".to_owned());
        connection.ask(&RawHead(lines), body).expect("an answer");
    };
    for number in 1..=2 {
        ask("GET", number, b"");
        ask("PUT", number, format!("target {number} in tar and gzip").as_bytes());
    }
    did("two targets that are not there yet");
    for number in 1..=2 {
        ask("GET", number, b"");
    }
    did("two targets that were stored, as far as they fit");
}
