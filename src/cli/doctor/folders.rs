//! The two folders: can the daemon make them, write them, keep them; and how much they can take.

use std::path::{Path, PathBuf};

use rustix::fs::{Access, AtFlags, CWD};

use super::finding::Finding;
use super::machine::{self, Filesystem, Seen, size};
use crate::config::{Bounds, Folders};
use crate::daemon;
use crate::server::user_name;

/// Both folders.
#[derive(Debug)]
pub(super) struct Facts {
    cache: Folder,
    state: Folder,
    own_uid: u32,
    disk: u64,
    disk_floor: u64,
    inodes_keep_free: u8,
    /// Bytes that the cache has already, where a daemon says it.
    used: Option<u64>,
}

#[derive(Debug, Clone)]
struct Folder {
    role: &'static str,
    path: PathBuf,
    found: Option<Seen>,
    /// The folder itself, or the nearest one above that is there.
    nearest: PathBuf,
    /// The filesystem's device.
    device: Option<u64>,
    /// Why nothing can be written into the nearest.
    refused: Option<rustix::io::Errno>,
    filesystem: Filesystem,
    /// What its VERSION says.
    version: Option<String>,
    tagged: bool,
    keep_free: u64,
    space: Option<Space>,
}

#[derive(Debug, Clone, Copy)]
struct Space {
    free: u64,
    inodes: u64,
    free_inodes: u64,
}

// === impl Facts ===

impl Facts {
    /// Looks at both; nothing is made or changed.
    pub(super) fn look(folders: &Folders, bounds: &Bounds, used: Option<u64>) -> Self {
        let folder = |role, path: &Path| Folder::look(role, path, bounds.disk_keep_free);
        Self {
            cache: folder("cache", &folders.cache),
            state: folder("state", &folders.state),
            own_uid: machine::own_uid(),
            disk: bounds.disk,
            disk_floor: bounds.disk_floor,
            inodes_keep_free: bounds.inodes_keep_free,
            used,
        }
    }

    pub(super) fn findings(&self) -> Vec<Finding> {
        let mut findings = Vec::new();
        for folder in [&self.cache, &self.state] {
            let wrong = folder.wrong(self.own_uid);
            if wrong.is_empty() {
                findings.push(folder.right(&self.cache, &self.state));
            }
            findings.extend(wrong);
        }
        for folder in [&self.cache, &self.state] {
            findings.extend(folder.space.map(|space| self.room(folder, space)));
        }
        findings
    }

    fn room(&self, folder: &Folder, space: Space) -> Finding {
        const CHECK: &str = "space";
        let (free, floor) = (space.free, self.disk_floor);
        let on = format!("on the filesystem of {} ({})", folder.path.display(), folder.role);
        let inodes = (space.free_inodes.saturating_mul(100)).checked_div(space.inodes);
        if free < floor {
            return Finding::problem(
                CHECK,
                format!(
                    "{} is free {on}, less than `disk_floor` ({}): nothing more is written, and what clients put is lost \
                     to the cache",
                    size(free),
                    size(floor)
                ),
                "free some space, move the folder with --dir, or lower `disk_floor`",
            );
        }
        if inodes.is_some_and(|percent| percent < u64::from(self.inodes_keep_free)) {
            return Finding::problem(
                CHECK,
                format!(
                    "{} of {} inodes are free {on}, less than `inodes_keep_free` ({} %): the cache shrinks for them",
                    space.free_inodes, space.inodes, self.inodes_keep_free
                ),
                "remove some of the many small files there, or move the folder with --dir",
            );
        }
        if free < folder.keep_free {
            return Finding::warning(
                CHECK,
                format!(
                    "{} is free {on}, less than `disk_keep_free` ({}): the cache evicts until that is free again",
                    size(free),
                    size(folder.keep_free)
                ),
                "free some space, or lower `disk_keep_free`",
            );
        }
        if folder.role != "cache" {
            return Finding::ok(CHECK, format!("{} free {on}", size(free)));
        }
        let takes = self.used.unwrap_or(0).saturating_add(free - folder.keep_free).min(self.disk);
        let besides = if self.used.is_some() { "" } else { ", besides what it has" };
        let words = format!(
            "{} free {on}; with `disk_keep_free` ({}) the cache can have {} of its `disk` of {}{besides}",
            size(free),
            size(folder.keep_free),
            size(takes),
            size(self.disk)
        );
        // Without a daemon nobody knows what of the disk is the cache itself.
        if self.used.is_some() && takes < self.disk / 2 {
            return Finding::warning(CHECK, words, "free some space, or lower `disk` to what there is");
        }
        Finding::ok(CHECK, words)
    }
}

// === impl Folder ===

impl Folder {
    fn look(role: &'static str, path: &Path, keep_free: Option<u64>) -> Self {
        let nearest = machine::nearest(path);
        // Asks for the effective user, and sees a mount that is read-only, too.
        let refused =
            rustix::fs::accessat(CWD, &nearest, Access::WRITE_OK | Access::EXEC_OK, AtFlags::EACCESS).err();
        let space = rustix::fs::statvfs(&nearest).ok().map(|found| Space {
            free: found.f_bavail.saturating_mul(found.f_frsize),
            inodes: found.f_files,
            free_inodes: found.f_favail,
        });
        Self {
            role,
            path: path.to_path_buf(),
            found: machine::look(path),
            device: machine::look(&nearest).map(|seen| seen.device),
            refused,
            filesystem: machine::filesystem(&nearest),
            version: std::fs::read_to_string(path.join("VERSION")).ok().map(|text| text.trim().to_owned()),
            tagged: path.join("CACHEDIR.TAG").exists(),
            keep_free: keep_free.unwrap_or_else(|| daemon::keep_free(&nearest)),
            space,
            nearest,
        }
    }

    fn right(&self, cache: &Self, state: &Self) -> Finding {
        let shown = self.path.display();
        let mut words = match self.found {
            Some(_) => format!("{}: {shown} can be written", self.role),
            None => format!("{}: {shown} is made when the daemon starts", self.role),
        };
        if self.role == "state" && cache.device != state.device {
            words += "; it is on another filesystem than the cache, so that entries are copied between them, not linked";
        }
        Finding::ok("folder", words)
    }

    fn wrong(&self, own_uid: u32) -> Vec<Finding> {
        const CHECK: &str = "folder";
        let shown = format!("{}: {}", self.role, self.path.display());
        let path = self.path.display();
        let mut findings = Vec::new();
        if let Some(found) = &self.found {
            if !found.is_dir {
                let words = format!("{shown} is not a folder");
                return vec![Finding::problem(CHECK, words, "move it away, or give another --dir")];
            }
            if found.uid != own_uid && own_uid != 0 {
                findings.push(Finding::problem(
                    CHECK,
                    format!("{shown} belongs to user {}", user_name(found.uid)),
                    format!(
                        "run the daemon as that user, `chown` it, or give another --dir (this is {})",
                        user_name(own_uid)
                    ),
                ));
            }
            if found.mode & 0o077 != 0 {
                findings.push(Finding::problem(
                    CHECK,
                    format!("{shown} has mode {:04o}: others can reach what is in it", found.mode),
                    format!("`chmod 0700 {path}`"),
                ));
            }
        }
        if let Some(refused) = self.refused {
            findings.push(self.unwritable(&shown, refused));
        }
        let known = daemon::VERSION;
        if let Some(version) = &self.version
            && !version.parse::<u32>().is_ok_and(|version| version <= known)
        {
            findings.push(Finding::problem(
                CHECK,
                format!(
                    "{shown} has format {}, and this larder ({}) knows formats up to {known}: a newer one wrote it",
                    version.escape_debug(),
                    env!("CARGO_PKG_VERSION")
                ),
                "run the newer larder, or give another --dir",
            ));
        }
        match (self.filesystem, self.role) {
            (Filesystem::Network(kind), _) => findings.push(Finding::warning(
                CHECK,
                format!(
                    "{shown} is on {kind}: each hit waits for the network, and locks there may not hold"
                ),
                "give a --dir on a disk of this machine; to share entries between machines configure an upstream",
            )),
            (Filesystem::Memory, "state") => findings.push(Finding::warning(
                CHECK,
                format!("{shown} is in memory: what is not upstream yet is lost when the machine stops"),
                "give a --dir on a disk",
            )),
            _ => {}
        }
        // Empty still, or made by somebody else, it has no index either.
        if self.role == "cache" && self.version.is_some() && !self.tagged {
            findings.push(Finding::warning(
                CHECK,
                format!("{shown} has no CACHEDIR.TAG, so that backups take the cache along"),
                "restart the daemon, which writes it",
            ));
        }
        findings
    }

    fn unwritable(&self, shown: &str, refused: rustix::io::Errno) -> Finding {
        let at = if self.found.is_some() { "it".to_owned() } else { self.nearest.display().to_string() };
        let (why, remedy) = match refused {
            rustix::io::Errno::ROFS => (
                format!("{at} is on a filesystem that is mounted read-only"),
                "mount it writable (after an error of the disk, see `dmesg` and check it first), or give another --dir",
            ),
            rustix::io::Errno::ACCESS | rustix::io::Errno::PERM => {
                (format!("this user may not write {at}"), "`chown` or `chmod` it, or give another --dir")
            }
            other => (format!("{at}: {other}"), "give another --dir"),
        };
        let verb = if self.found.is_some() { "can't be written" } else { "can't be made" };
        Finding::problem("folder", format!("{shown} {verb}: {why}"), remedy)
    }
}

#[cfg(test)]
mod tests {
    use rustix::io::Errno;

    use super::super::finding::Level;
    use super::*;

    fn folder(role: &'static str) -> Folder {
        let path = PathBuf::from(format!("/var/larder/{role}"));
        Folder {
            role,
            found: Some(Seen { is_dir: true, is_socket: false, mode: 0o700, uid: 4242, device: 1 }),
            nearest: path.clone(),
            path,
            device: Some(1),
            refused: None,
            filesystem: Filesystem::Local,
            version: Some("1".into()),
            tagged: true,
            keep_free: 1 << 30,
            space: Some(Space { free: 100 << 30, inodes: 1000, free_inodes: 900 }),
        }
    }

    fn facts() -> Facts {
        Facts {
            cache: folder("cache"),
            state: folder("state"),
            own_uid: 4242,
            disk: 20 << 30,
            disk_floor: 256 << 20,
            inodes_keep_free: 2,
            used: Some(0),
        }
    }

    /// The only finding that isn't ok, after a change.
    #[track_caller]
    fn one(change: impl Fn(&mut Facts)) -> Finding {
        let mut facts = facts();
        change(&mut facts);
        let mut all: Vec<_> = facts.findings().into_iter().filter(|one| one.level != Level::Ok).collect();
        assert_eq!(all.len(), 1, "{all:#?}");
        all.remove(0)
    }

    #[test]
    fn folders_as_they_should_be() {
        assert!(facts().findings().iter().all(|one| one.level == Level::Ok), "{:#?}", facts().findings());
        let mut apart = facts();
        apart.state.device = Some(2);
        assert!(apart.findings().iter().any(|one| one.level == Level::Ok && one.words.contains("copied")));
    }

    #[test]
    fn what_keeps_a_daemon_from_its_folders() {
        let found = one(|facts| facts.state.refused = Some(Errno::ROFS));
        assert!(found.words.contains("read-only") && found.words.contains("/var/larder/state"), "{found:?}");
        let found = one(|facts| {
            facts.cache.found = None;
            facts.cache.nearest = "/var".into();
            facts.cache.refused = Some(Errno::ACCESS);
        });
        assert!(found.words.contains("can't be made: this user may not write /var"), "{found:?}");
        let found = one(|facts| facts.state.found.as_mut().expect("there").is_dir = false);
        assert!(found.words.contains("not a folder"));
        let found = one(|facts| facts.state.found.as_mut().expect("there").uid = 4343);
        assert!(found.words.contains("user 4343"), "{found:?}");
        let found = one(|facts| facts.state.found.as_mut().expect("there").mode = 0o755);
        assert_eq!(found.remedy.as_deref(), Some("`chmod 0700 /var/larder/state`"));
        for version in ["2", "seven"] {
            let found = one(|facts| facts.state.version = Some(version.into()));
            assert!(found.words.contains(version) && found.words.contains("up to 1"), "{found:?}");
        }
    }

    #[test]
    fn what_makes_folders_worse_than_they_could_be() {
        let found = one(|facts| facts.cache.filesystem = Filesystem::Network("NFS"));
        assert!(found.level == Level::Warning && found.words.contains("NFS"));
        assert!(one(|facts| facts.state.filesystem = Filesystem::Memory).words.contains("in memory"));
        assert!(one(|facts| facts.cache.tagged = false).words.contains("CACHEDIR.TAG"));
    }

    #[test]
    fn space_is_weighed_against_every_bound() {
        let free = |bytes| move |facts: &mut Facts| facts.cache.space.as_mut().expect("seen").free = bytes;
        let found = one(free(1 << 20));
        assert!(found.level == Level::Problem && found.words.contains("disk_floor"), "{found:?}");
        let found = one(free(512 << 20));
        assert!(found.level == Level::Warning && found.words.contains("disk_keep_free"), "{found:?}");
        let found = one(free(5 << 30));
        assert!(found.words.contains("can have 4.0 GiB of its `disk` of 20.0 GiB"), "{found:?}");
        let mut used = facts();
        used.used = Some(18 << 30);
        free(5 << 30)(&mut used);
        assert!(used.findings().iter().all(|one| one.level == Level::Ok), "what it has counts");
        used.used = None;
        assert!(used.findings().iter().all(|one| one.level == Level::Ok), "nobody knows what it has");
        let found = one(|facts| facts.state.space.as_mut().expect("seen").free_inodes = 10);
        assert!(found.words.contains("10 of 1000 inodes"), "{found:?}");
        let mut without = facts();
        without.cache.space = Some(Space { free: 100 << 30, inodes: 0, free_inodes: 0 });
        assert!(
            without.findings().iter().all(|one| one.level == Level::Ok),
            "some filesystems count no inodes"
        );
    }
}
