//! Who is calling: the uid behind a connection, looked up once when it is accepted.
//!
//! Loopback is shared by every user of a machine, so a port there needs the same door that a unix socket's mode is.
//! Let in are the daemon's own uid, root, and whom `access.users` names, by itself or by a group; by the admin socket
//! the first two only. A caller that can't be told is refused: a connection that is already gone reads as uid 0 in the
//! kernel's tables, which must not open the door.
//!
//! Linux only for TCP; elsewhere loopback is all that is checked.

use std::net::SocketAddr;

use super::accounts::Members;
use super::listen::Gate;
use super::wire::Socket;

/// Whom the door lets in.
#[derive(Debug)]
pub(super) struct Access {
    own_uid: u32,
    users: Vec<u32>,
    members: Members,
}

/// The answer about one connection.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(super) enum Caller {
    /// Let in.
    Admitted,
    /// Refused, in words for the caller.
    Stranger(String),
}

// === impl Access ===

impl Access {
    pub(super) fn new(users: Vec<u32>, groups: Vec<u32>) -> Self {
        Self { own_uid: rustix::process::geteuid().as_raw(), users, members: Members::of(groups) }
    }

    /// The daemon's own.
    pub(super) fn own_uid(&self) -> u32 {
        self.own_uid
    }

    /// Looks up who holds the other end.
    pub(super) async fn caller(&self, socket: &Socket, gate: Gate) -> Caller {
        match uid_of(socket) {
            Ok(Some(uid)) => self.judge(uid, gate).await,
            Ok(None) => Caller::Admitted,
            Err(words) => Caller::Stranger(format!("the caller can't be told: {words}")),
        }
    }

    async fn judge(&self, uid: u32, gate: Gate) -> Caller {
        if uid == 0 || uid == self.own_uid {
            return Caller::Admitted;
        }
        if gate == Gate::Admin {
            return Caller::Stranger(format!(
                "the admin socket answers root and uid {} only; uid {uid} has /-/stats on the other listeners",
                self.own_uid
            ));
        }
        if self.users.contains(&uid) || self.members.has(uid).await {
            return Caller::Admitted;
        }
        Caller::Stranger(format!(
            "this larder belongs to uid {}; uid {uid} may use it once `access.users` in its configuration names it or \
             a group of it",
            self.own_uid
        ))
    }
}

/// The uid at the other end; `None` where the platform can't tell and loopback has to do.
#[cfg(target_os = "linux")]
fn uid_of(socket: &Socket) -> Result<Option<u32>, String> {
    match socket {
        // Not by `rustix`, which takes a caller of another process name space, who has no id here, for a failure.
        Socket::Unix(stream) => {
            stream.peer_cred().map(|peer| Some(peer.uid())).map_err(|error| error.to_string())
        }
        Socket::Tcp(_, local, peer) | Socket::Tls(_, local, peer) => diag::owner(*peer, *local)
            .or_else(|_unsupported| table::owner(*peer, *local))
            .map_err(|error| error.to_string())?
            .map(Some)
            .ok_or_else(|| "its end of the connection is gone".into()),
    }
}

#[cfg(not(target_os = "linux"))]
fn uid_of(socket: &Socket) -> Result<Option<u32>, String> {
    match socket {
        Socket::Unix(stream) => {
            stream.peer_cred().map(|peer| Some(peer.uid())).map_err(|error| error.to_string())
        }
        Socket::Tcp(..) | Socket::Tls(..) => Ok(None),
    }
}

/// The kernel's socket diagnostics: one question about one connection, some microseconds however many there are.
#[cfg(target_os = "linux")]
mod diag {
    use std::io;
    use std::net::{IpAddr, SocketAddr};

    use rustix::net::{AddressFamily, RecvFlags, SendFlags, SocketFlags, SocketType, netlink};

    const HEADER_BYTES: usize = 16;
    const REQUEST_BYTES: usize = HEADER_BYTES + 56;
    /// `inet_diag_msg` without its attributes.
    const ANSWER_BYTES: usize = HEADER_BYTES + 72;
    const SOCK_DIAG_BY_FAMILY: u16 = 20;
    const NLMSG_ERROR: u16 = 2;
    const NLM_F_REQUEST: u16 = 1;
    const ENOENT: i32 = 2;

    /// Who owns the socket bound to `own` and connected to `other`; `None` when there is no such socket any more.
    pub(super) fn owner(own: SocketAddr, other: SocketAddr) -> io::Result<Option<u32>> {
        let socket = rustix::net::socket_with(
            AddressFamily::NETLINK,
            SocketType::DGRAM,
            SocketFlags::CLOEXEC,
            Some(netlink::SOCK_DIAG),
        )?;
        let kernel = netlink::SocketAddrNetlink::new(0, 0);
        rustix::net::sendto(&socket, &request(own, other), SendFlags::empty(), &kernel)?;
        let mut answer = [0; 512];
        let (received, _) = rustix::net::recv(&socket, &mut answer, RecvFlags::DONTWAIT)?;
        parse(&answer[..received])
    }

    /// `nlmsghdr` and `inet_diag_req_v2`. Integers are the machine's own, addresses and ports the network's.
    fn request(own: SocketAddr, other: SocketAddr) -> [u8; REQUEST_BYTES] {
        const AF_INET: u8 = 2;
        const AF_INET6: u8 = 10;
        const IPPROTO_TCP: u8 = 6;
        let mut bytes = [0; REQUEST_BYTES];
        let mut put = |at: usize, value: &[u8]| bytes[at..at + value.len()].copy_from_slice(value);
        put(0, &(REQUEST_BYTES as u32).to_ne_bytes());
        put(4, &SOCK_DIAG_BY_FAMILY.to_ne_bytes());
        put(6, &NLM_F_REQUEST.to_ne_bytes());
        put(16, &[if own.is_ipv4() { AF_INET } else { AF_INET6 }, IPPROTO_TCP]);
        put(20, &u32::MAX.to_ne_bytes()); // any state
        put(24, &own.port().to_be_bytes());
        put(26, &other.port().to_be_bytes());
        for (at, address) in [(28, own.ip()), (44, other.ip())] {
            match address {
                IpAddr::V4(address) => put(at, &address.octets()),
                IpAddr::V6(address) => put(at, &address.octets()),
            }
        }
        put(64, &[0xff; 8]); // INET_DIAG_NOCOOKIE
        bytes
    }

    fn parse(answer: &[u8]) -> io::Result<Option<u32>> {
        let short = || io::Error::new(io::ErrorKind::UnexpectedEof, "a short answer of sock_diag");
        let word = |at: usize| -> io::Result<u32> {
            let bytes = answer.get(at..at + 4).ok_or_else(short)?;
            Ok(u32::from_ne_bytes(bytes.try_into().expect("four bytes")))
        };
        match (word(4)? & 0xffff) as u16 {
            SOCK_DIAG_BY_FAMILY if answer.len() >= ANSWER_BYTES => {
                let state = answer[HEADER_BYTES + 1];
                let (uid, inode) = (word(HEADER_BYTES + 64)?, word(HEADER_BYTES + 68)?);
                Ok(super::held_by_a_process(state, inode.into()).then_some(uid))
            }
            NLMSG_ERROR if word(HEADER_BYTES)? as i32 == -ENOENT => Ok(None),
            NLMSG_ERROR => Err(io::Error::from_raw_os_error(-(word(HEADER_BYTES)? as i32))),
            _ => Err(short()),
        }
    }
}

/// `/proc/net/tcp`, for kernels and sandboxes without socket diagnostics: slower with every connection.
#[cfg(target_os = "linux")]
mod table {
    use std::io;
    use std::net::{IpAddr, SocketAddr};

    pub(super) fn owner(own: SocketAddr, other: SocketAddr) -> io::Result<Option<u32>> {
        let path = if own.is_ipv4() { "/proc/net/tcp" } else { "/proc/net/tcp6" };
        Ok(find(&std::fs::read_to_string(path)?, own, other))
    }

    /// Columns: slot, local, remote, state, queues, timer, retransmits, uid, timeout, inode.
    pub(super) fn find(table: &str, own: SocketAddr, other: SocketAddr) -> Option<u32> {
        let (own, other) = (hex(own), hex(other));
        table.lines().skip(1).find_map(|line| {
            let columns: Vec<&str> = line.split_whitespace().collect();
            let (&local, &remote) = (columns.get(1)?, columns.get(2)?);
            if local != own || remote != other {
                return None;
            }
            let state = u8::from_str_radix(columns.get(3)?, 16).ok()?;
            let inode: u64 = columns.get(9)?.parse().ok()?;
            let uid: u32 = columns.get(7)?.parse().ok()?;
            super::held_by_a_process(state, inode).then_some(uid)
        })
    }

    /// As the kernel prints it: each 32 bits of the address as a number of the machine's own byte order.
    pub(super) fn hex(address: SocketAddr) -> String {
        let octets = match address.ip() {
            IpAddr::V4(ip) => ip.octets().to_vec(),
            IpAddr::V6(ip) => ip.octets().to_vec(),
        };
        let words: String = octets
            .chunks_exact(4)
            .map(|word| format!("{:08X}", u32::from_ne_bytes(word.try_into().expect("four bytes"))))
            .collect();
        format!("{words}:{:04X}", address.port())
    }
}

/// A socket in TIME_WAIT, one half open, or one whose process has closed it has no inode and reads as root's.
#[cfg(target_os = "linux")]
fn held_by_a_process(state: u8, inode: u64) -> bool {
    const ESTABLISHED: u8 = 1;
    const FIN_WAIT1: u8 = 4;
    const FIN_WAIT2: u8 = 5;
    const CLOSE_WAIT: u8 = 8;
    matches!(state, ESTABLISHED | FIN_WAIT1 | FIN_WAIT2 | CLOSE_WAIT) && inode != 0
}

/// Who listens on `address`, for the error that it is taken: "pid 123 (nginx) of user www-data"; without the right to
/// look into its process "a process of user www-data".
pub fn listener_of(address: SocketAddr) -> Option<String> {
    #[cfg(target_os = "linux")]
    {
        // One that listens on all addresses of both families is in the table of IPv6 alone.
        let tables = if address.is_ipv4() { ["tcp", "tcp6"] } else { ["tcp6", "tcp"] };
        let (uid, inode) = tables.iter().find_map(|table| {
            listener_in(&std::fs::read_to_string(format!("/proc/net/{table}")).ok()?, address.port())
        })?;
        let user = user_name(uid);
        let held = std::fs::read_dir("/proc").ok()?.flatten().find_map(|process| {
            let pid: u32 = process.file_name().to_str()?.parse().ok()?;
            let holds = std::fs::read_dir(process.path().join("fd")).ok()?.flatten().any(|file| {
                std::fs::read_link(file.path()).is_ok_and(|target| target.to_str() == Some(&inode))
            });
            let name = std::fs::read_to_string(process.path().join("comm")).unwrap_or_default();
            holds.then(|| format!("pid {pid} ({}) of user {user}", name.trim()))
        });
        Some(held.unwrap_or_else(|| format!("a process of user {user}")))
    }
    #[cfg(not(target_os = "linux"))]
    {
        let _ = address;
        None
    }
}

/// The user and the socket that listen on `port`.
#[cfg(target_os = "linux")]
fn listener_in(table: &str, port: u16) -> Option<(u32, String)> {
    const LISTEN: &str = "0A";
    let port = format!(":{port:04X}");
    table.lines().find_map(|line| {
        let columns: Vec<&str> = line.split_whitespace().collect();
        let listens = columns.get(1)?.ends_with(&port) && *columns.get(3)? == LISTEN;
        let found = || Some((columns.get(7)?.parse().ok()?, format!("socket:[{}]", columns.get(9)?)));
        if listens { found() } else { None }
    })
}

/// The name that `/etc/passwd` has for a user, else the number.
pub fn user_name(uid: u32) -> String {
    let passwd = std::fs::read_to_string("/etc/passwd").unwrap_or_default();
    let name = passwd.lines().find_map(|line| {
        let mut fields = line.split(':');
        let name = fields.next()?;
        (fields.nth(1)?.parse() == Ok(uid)).then(|| name.to_owned())
    });
    name.unwrap_or_else(|| uid.to_string())
}

#[cfg(all(test, target_os = "linux"))]
mod tests {
    use std::net::{TcpListener, TcpStream};

    use super::super::accounts::{group_id, user_id};
    use super::*;

    fn pair(address: &str) -> Option<(TcpStream, TcpStream)> {
        let listener = TcpListener::bind(address).ok()?;
        let client = TcpStream::connect(listener.local_addr().expect("bound")).expect("connects");
        let (server, _) = listener.accept().expect("accepts");
        Some((client, server))
    }

    #[test]
    fn both_ways_know_the_owner_of_a_live_connection_and_not_of_one_that_is_gone() {
        let own_uid = rustix::process::geteuid().as_raw();
        for address in ["127.0.0.1:0", "[::1]:0"] {
            let Some((client, server)) = pair(address) else { continue };
            let (peer, local) = (server.peer_addr().expect("connected"), server.local_addr().expect("bound"));
            assert_eq!(diag::owner(peer, local).expect("sock_diag"), Some(own_uid), "{address}");
            assert_eq!(table::owner(peer, local).expect("table"), Some(own_uid), "{address}");
            drop(client);
            assert_eq!(diag::owner(peer, local).expect("sock_diag"), None, "{address}");
            assert_eq!(table::owner(peer, local).expect("table"), None, "{address}");
        }
    }

    #[tokio::test]
    async fn a_stranger_is_told_whose_larder_it_is_and_what_would_help() {
        let access = Access { own_uid: 1000, users: vec![1001], members: Members::of(Vec::new()) };
        for uid in [0, 1000, 1001] {
            assert_eq!(access.judge(uid, Gate::Users).await, Caller::Admitted, "{uid}");
        }
        let Caller::Stranger(words) = access.judge(1002, Gate::Users).await else { panic!("let in") };
        assert!(words.contains("uid 1000") && words.contains("uid 1002") && words.contains("access.users"));
        assert_eq!(access.judge(1000, Gate::Admin).await, Caller::Admitted);
        let Caller::Stranger(words) = access.judge(1001, Gate::Admin).await else { panic!("let in") };
        assert!(words.contains("root and uid 1000 only"), "{words}");
    }

    #[tokio::test]
    async fn members_of_a_named_group_are_let_in() {
        let [uid, group] = [user_id("daemon"), group_id("daemon")].map(|id| id.expect("every system has it"));
        let access = Access { own_uid: 1000, users: Vec::new(), members: Members::of(vec![group]) };
        assert_eq!(access.judge(uid, Gate::Users).await, Caller::Admitted);
        assert!(matches!(access.judge(1002, Gate::Users).await, Caller::Stranger(_)));
    }

    #[test]
    fn who_holds_a_port_is_named() {
        let listener = TcpListener::bind("127.0.0.1:0").expect("binds");
        let words = listener_of(listener.local_addr().expect("bound")).expect("found");
        assert!(words.starts_with(&format!("pid {} (", std::process::id())), "{words}");
    }
}
