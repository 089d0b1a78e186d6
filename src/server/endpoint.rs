//! Where clients connect: a TCP address, or the path of a unix socket.

use std::fmt;
use std::net::SocketAddr;
use std::path::{Path, PathBuf};
use std::str::FromStr;

/// Where clients connect.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Endpoint {
    /// A TCP address.
    Tcp(SocketAddr),
    /// The path of a unix socket.
    Unix(PathBuf),
}

/// A unix socket's path has room for so many bytes: 104 with the zero at its end on macOS, 108 on Linux.
const PATH_BYTES_MAX: usize = 103;

// === impl Endpoint ===

impl FromStr for Endpoint {
    type Err = String;

    fn from_str(text: &str) -> Result<Self, String> {
        if let Some(path) = text.strip_prefix("unix:") {
            return match path {
                "" => Err("`unix:` needs a path, as in unix:/run/larder.sock".into()),
                path => check_path(Path::new(path)).map(|()| Self::Unix(PathBuf::from(path))),
            };
        }
        let address: SocketAddr = text.parse().map_err(|_| {
            format!("`{text}` is not an address with a port (127.0.0.1:5273, [::1]:5273) or unix:/path")
        })?;
        Ok(Self::Tcp(address))
    }
}

impl Endpoint {
    /// Whether who listens here has that endpoint, too: the same, or all addresses of its port.
    pub(super) fn covers(&self, other: &Self) -> bool {
        match (self, other) {
            (Self::Tcp(own), Self::Tcp(other)) => {
                let is_all = own.ip().is_unspecified() && (own.is_ipv6() || other.is_ipv4());
                own == other || (own.port() == other.port() && is_all)
            }
            _ => self == other,
        }
    }

    /// Whether only this machine reaches it.
    pub fn is_private(&self) -> bool {
        match self {
            Self::Tcp(address) => address.ip().to_canonical().is_loopback(),
            Self::Unix(_) => true,
        }
    }
}

impl fmt::Display for Endpoint {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::Tcp(address) => write!(f, "{address}"),
            Self::Unix(path) => write!(f, "unix:{}", path.display()),
        }
    }
}

/// Whether a socket can have this path.
///
/// # Errors
/// Words that name the path, its length and the remedy.
pub(crate) fn check_path(path: &Path) -> Result<(), String> {
    let bytes = path.as_os_str().len();
    if bytes <= PATH_BYTES_MAX {
        return Ok(());
    }
    Err(format!(
        "unix:{} has a path of {bytes} bytes, and a unix socket's has {PATH_BYTES_MAX} at most; choose a shorter one",
        path.display()
    ))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn only_loopback_and_unix_paths_are_private() {
        let is_private = |text: &str| text.parse::<Endpoint>().expect(text).is_private();
        for good in
            ["127.0.0.1:5273", "127.9.9.9:1", "[::1]:5273", "[::ffff:127.0.0.1]:80", "unix:/run/x.sock"]
        {
            assert!(is_private(good), "{good}");
        }
        for open in ["0.0.0.0:5273", "[::]:5273", "192.168.1.2:5273"] {
            assert!(!is_private(open), "{open}");
        }
        for (bad, word) in
            [("5273", "not an address"), ("localhost:5273", "127.0.0.1:5273"), ("unix:", "needs a path")]
        {
            let words = bad.parse::<Endpoint>().expect_err(bad);
            assert!(words.contains(word), "{words}");
        }
    }

    #[test]
    fn all_addresses_of_a_port_cover_each() {
        let endpoint = |text: &str| text.parse::<Endpoint>().expect(text);
        let loopback = [endpoint("127.0.0.1:1"), endpoint("[::1]:1")];
        for (text, covered) in [
            ("127.0.0.1:1", [true, false]),
            ("0.0.0.0:1", [true, false]),
            ("[::]:1", [true, true]),
            ("0.0.0.0:2", [false, false]),
            ("unix:/x", [false, false]),
        ] {
            assert_eq!(loopback.clone().map(|one| endpoint(text).covers(&one)), covered, "{text}");
        }
    }
}
