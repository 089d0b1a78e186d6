//! What the end-to-end tests stand on: the daemon as a process, a real bucket, a proxy that breaks the way between
//! them, the real build tools, a client that can misbehave, and one way to wait.
//!
//! Nothing here knows what a test expects. Every server takes a free loopback port and a temporary folder and ends
//! with the value that stands for it, also when a test panics.

pub(crate) mod azurite;
pub(crate) mod bucket;
pub(crate) mod daemon;
pub(crate) mod desk;
pub(crate) mod fault;
pub(crate) mod gcs;
pub(crate) mod grpc;
pub(crate) mod http;
pub(crate) mod load;
pub(crate) mod machine;
pub(crate) mod manager;
pub(crate) mod moto;
pub(crate) mod nginx;
pub(crate) mod process;
pub(crate) mod proxy;
pub(crate) mod rotation;
pub(crate) mod routes;
pub(crate) mod setup;
pub(crate) mod systemd;
pub(crate) mod tls;
pub(crate) mod tools;
pub(crate) mod weed;
pub(crate) mod wire;

use std::collections::HashSet;
use std::net::{Ipv4Addr, SocketAddr, TcpListener};
use std::path::PathBuf;
use std::time::{Duration, Instant};

use parking_lot::Mutex;

/// How long a test waits for something that takes milliseconds on an idle machine: long, for the machine is noisy.
pub(crate) const PATIENCE: Duration = Duration::from_secs(60);

const POLL: Duration = Duration::from_millis(10);

/// The one way to wait: asks until there is an answer.
///
/// # Panics
/// After `deadline`, naming what was waited for.
#[track_caller]
pub(crate) fn eventually<T>(what: &str, deadline: Duration, mut condition: impl FnMut() -> Option<T>) -> T {
    let began = Instant::now();
    loop {
        if let Some(found) = condition() {
            return found;
        }
        assert!(began.elapsed() < deadline, "waited {deadline:?} in vain: {what}");
        std::thread::park_timeout(POLL);
    }
}

/// [`eventually`] for a condition without an answer.
#[track_caller]
pub(crate) fn until(what: &str, deadline: Duration, mut condition: impl FnMut() -> bool) {
    eventually(what, deadline, || condition().then_some(()));
}

/// A loopback address that nobody listens on and that no outgoing connection can take: it lies below the ephemeral
/// range, so a server that stops can come back to it.
pub(crate) fn free_addr() -> SocketAddr {
    static TAKEN: Mutex<Option<HashSet<u16>>> = Mutex::new(None);
    const FIRST: u16 = 11_000;
    const COUNT: u64 = 20_000;
    let mut taken = TAKEN.lock();
    let taken = taken.get_or_insert_default();
    for _ in 0..1_000 {
        let port = FIRST + u16::try_from(random() % COUNT).expect("20,000 fits");
        let addr = SocketAddr::from((Ipv4Addr::LOCALHOST, port));
        if !taken.contains(&port) && TcpListener::bind(addr).is_ok() {
            taken.insert(port);
            return addr;
        }
    }
    panic!("no free port between {FIRST} and {}", u64::from(FIRST) + COUNT);
}

/// Where `tests/run` installed the real tools.
pub(crate) fn tool(name: &str) -> PathBuf {
    let folder = std::env::var_os("LARDER_TEST_TOOLS")
        .map_or_else(|| PathBuf::from(env!("CARGO_MANIFEST_DIR")).join("tests/.tools"), PathBuf::from);
    let path = folder.join("bin").join(name);
    assert!(path.exists(), "{} is missing: `tests/run --tools` installs it", path.display());
    path
}

/// A random number, of the process's own hash keys: for names and ports, not for what a test does.
pub(crate) fn random() -> u64 {
    use std::hash::{BuildHasher, Hasher, RandomState};
    RandomState::new().build_hasher().finish()
}

/// Numbers that a seed determines (xorshift64*): what a test does comes from here, and the seed is printed.
#[derive(Debug, Clone)]
pub(crate) struct Rng(u64);

// === impl Rng ===

impl Rng {
    pub(crate) fn new(seed: u64) -> Self {
        Self(seed | 1)
    }

    pub(crate) fn next(&mut self) -> u64 {
        self.0 ^= self.0 >> 12;
        self.0 ^= self.0 << 25;
        self.0 ^= self.0 >> 27;
        self.0.wrapping_mul(0x2545_f491_4f6c_dd1d)
    }

    /// Bytes that don't compress.
    pub(crate) fn bytes(&mut self, count: usize) -> Vec<u8> {
        (0..count).map(|_| self.next().to_le_bytes()[4]).collect()
    }
}

/// Says something to whoever reads the run's output.
pub(crate) fn say(line: &str) {
    use std::io::Write;
    // A closed stderr is no reason to fail a test.
    let _ = writeln!(std::io::stderr(), "{line}");
}

/// The SHA-256 of `bytes`, as 64 hex digits.
pub(crate) fn sha256(bytes: &[u8]) -> String {
    use sha2::Digest;
    sha2::Sha256::digest(bytes).iter().map(|byte| format!("{byte:02x}")).collect()
}

/// `bytes` in padded base64.
pub(crate) fn base64(bytes: &[u8]) -> String {
    const DIGITS: &[u8] = b"ABCDEFGHIJKLMNOPQRSTUVWXYZabcdefghijklmnopqrstuvwxyz0123456789+/";
    let mut text = String::new();
    for chunk in bytes.chunks(3) {
        let held = chunk.iter().fold(0_usize, |held, byte| held << 8 | usize::from(*byte))
            << (8 * (3 - chunk.len()));
        for at in 0..4 {
            let digit = DIGITS[held >> (18 - 6 * at) & 63];
            text.push(if at <= chunk.len() { char::from(digit) } else { '=' });
        }
    }
    text
}

/// Replaces the file at `path` in one step by one that nobody else can read.
pub(crate) fn write_secret(path: &std::path::Path, text: &str) {
    use std::os::unix::fs::PermissionsExt;
    let new = path.with_extension("new");
    std::fs::write(&new, text).expect("a temporary file");
    std::fs::set_permissions(&new, std::fs::Permissions::from_mode(0o600)).expect("our own file");
    std::fs::rename(&new, path).expect("our own file");
}
