//! What the machine says of files, processes and filesystems.

use std::os::unix::fs::{MetadataExt as _, PermissionsExt as _};
use std::path::{Path, PathBuf};

/// A file or folder, as far as it can be seen.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(super) struct Seen {
    pub(super) is_dir: bool,
    pub(super) is_socket: bool,
    /// Without the type.
    pub(super) mode: u32,
    pub(super) uid: u32,
    pub(super) device: u64,
}

/// A process.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(super) struct Process {
    pub(super) pid: u32,
    pub(super) program: String,
    /// It was stopped by a signal.
    pub(super) stopped: bool,
}

/// This process's user.
pub(super) fn own_uid() -> u32 {
    rustix::process::geteuid().as_raw()
}

/// Looks without following a link at the end of `path`.
pub(super) fn look(path: &Path) -> Option<Seen> {
    use std::os::unix::fs::FileTypeExt as _;
    let found = std::fs::symlink_metadata(path).ok()?;
    // A folder may well be a link to one.
    let found = if found.is_symlink() { std::fs::metadata(path).ok()? } else { found };
    Some(Seen {
        is_dir: found.is_dir(),
        is_socket: found.file_type().is_socket(),
        mode: found.permissions().mode() & 0o7777,
        uid: found.uid(),
        device: found.dev(),
    })
}

/// `path`, or what of it there is.
pub(super) fn nearest(path: &Path) -> PathBuf {
    path.ancestors().find(|above| above.exists()).unwrap_or(path).to_path_buf()
}

/// A process that is there.
pub(super) fn process(pid: u32) -> Option<Process> {
    let stat = std::fs::read_to_string(format!("/proc/{pid}/stat")).ok()?;
    let (head, tail) = stat.rsplit_once(')')?;
    let program = head.split_once('(')?.1.to_owned();
    let state = tail.split_whitespace().next()?;
    Some(Process { pid, program, stopped: matches!(state, "T" | "t") })
}

/// Who has the lock of a folder of the daemon's. Nothing is locked to find out, so a daemon that starts isn't hindered.
pub(super) fn lock_holder(folder: &Path) -> Option<Process> {
    let path = folder.join("lock");
    let pid: u32 = std::fs::read_to_string(&path).ok()?.trim().parse().ok()?;
    let inode = std::fs::metadata(&path).ok()?.ino();
    let locks = std::fs::read_to_string("/proc/locks").ok()?;
    is_locked(&locks, pid, inode).then(|| process(pid))?
}

/// Whether a line of `/proc/locks` is of that process and file. The device is not compared: some filesystems show
/// another one there.
fn is_locked(locks: &str, pid: u32, inode: u64) -> bool {
    locks.lines().any(|line| {
        let columns: Vec<&str> = line.split_whitespace().collect();
        let (Some(&kind), Some(&holder), Some(&file)) = (columns.get(1), columns.get(4), columns.get(5))
        else {
            return false;
        };
        kind == "FLOCK" && holder == pid.to_string() && file.rsplit(':').next() == Some(&inode.to_string())
    })
}

/// What is peculiar of the filesystem that a folder is on.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum Filesystem {
    Local,
    /// Over a network, as it is called.
    Network(&'static str),
    /// Gone with the next start of the machine.
    Memory,
}

/// Which kind of filesystem `path` is on. What can't be told is taken for local.
pub(super) fn filesystem(path: &Path) -> Filesystem {
    kind_of(magic(path).unwrap_or(0))
}

#[cfg(target_os = "linux")]
fn magic(path: &Path) -> Option<u32> {
    // The type's width differs between machines; its numbers have 32 bits.
    rustix::fs::statfs(path).ok().map(|found| (found.f_type as u64 & 0xffff_ffff) as u32)
}

#[cfg(not(target_os = "linux"))]
fn magic(_: &Path) -> Option<u32> {
    None
}

/// The kernel's magic numbers.
fn kind_of(magic: u32) -> Filesystem {
    match magic {
        0x6969 => Filesystem::Network("NFS"),
        0x517b | 0xff53_4d42 | 0xfe53_4d42 => Filesystem::Network("SMB"),
        0x0102_1997 => Filesystem::Network("9p"),
        0x00c3_6400 => Filesystem::Network("Ceph"),
        0x5346_414f | 0x6b41_4653 => Filesystem::Network("AFS"),
        0x6573_5546 => Filesystem::Network("FUSE"),
        0x0102_1994 | 0x8584_58f6 => Filesystem::Memory,
        _ => Filesystem::Local,
    }
}

/// A size for people.
pub(super) fn size(bytes: u64) -> String {
    const UNITS: [&str; 5] = ["B", "KiB", "MiB", "GiB", "TiB"];
    let mut value = bytes as f64;
    let mut unit = 0;
    while value >= 1024.0 && unit + 1 < UNITS.len() {
        value /= 1024.0;
        unit += 1;
    }
    if unit == 0 { format!("{bytes} B") } else { format!("{value:.1} {}", UNITS[unit]) }
}

/// A length of time for people.
pub(super) fn span(seconds: u64) -> String {
    match seconds {
        0..120 => format!("{seconds} s"),
        120..7200 => format!("{} min", seconds / 60),
        7200..172_800 => format!("{} h", seconds / 3600),
        _ => format!("{} days", seconds / 86_400),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn locks_are_of_a_process_and_a_file() {
        let locks =
            "1: POSIX  ADVISORY  WRITE 7 00:2d:55 0 EOF\n2: FLOCK  ADVISORY  WRITE 8 fd:01:77 0 EOF\n";
        assert!(is_locked(locks, 8, 77));
        assert!(!is_locked(locks, 8, 7) && !is_locked(locks, 7, 55) && !is_locked("nonsense", 8, 77));
    }

    #[test]
    fn a_lock_is_seen_and_who_has_it() {
        let folder = tempfile::tempdir().expect("a folder");
        assert_eq!(lock_holder(folder.path()), None);
        let path = folder.path().join("lock");
        std::fs::write(&path, format!("{}\n", std::process::id())).expect("writes");
        assert_eq!(lock_holder(folder.path()), None, "its file alone is no lock");
        let file = std::fs::File::open(&path).expect("there");
        rustix::fs::flock(&file, rustix::fs::FlockOperation::NonBlockingLockExclusive).expect("free");
        let holder = lock_holder(folder.path()).expect("we have it");
        assert_eq!((holder.pid, holder.stopped), (std::process::id(), false));
    }

    #[test]
    fn network_filesystems_are_known_by_their_numbers() {
        assert_eq!(kind_of(0x6969), Filesystem::Network("NFS"));
        assert_eq!(kind_of(0xff53_4d42), Filesystem::Network("SMB"));
        assert_eq!(kind_of(0x0102_1994), Filesystem::Memory);
        assert_eq!(kind_of(0xef53), Filesystem::Local);
    }

    #[test]
    fn numbers_for_people() {
        assert_eq!([size(7), size(1536), size(5 << 30)], ["7 B", "1.5 KiB", "5.0 GiB"]);
        assert_eq!([span(5), span(1200), span(9000), span(200_000)], ["5 s", "20 min", "2 h", "2 days"]);
    }
}
