//! Which files are watched, and whether they have changed.
//!
//! Events only say *when* to look; whether a file is another is told by what is read from it. Watched are the folders
//! in which a file could be replaced: its own, and that of each link on the way to it. So whoever renames a new file
//! over the old one, truncates and writes, swaps a link, or mounts the folder as Kubernetes does, is noticed. Where a
//! filesystem has no events, and where the machine has no watches left, a look every few seconds has to do.

use std::collections::{BTreeMap, BTreeSet, HashSet, VecDeque};
use std::fs::File;
use std::io::Read as _;
use std::os::unix::fs::MetadataExt as _;
use std::path::{Component, Path, PathBuf};
use std::sync::Arc;
use std::time::Duration;

use notify::{RecommendedWatcher, RecursiveMode, Watcher as _};

use super::bell::{Bell, Call, Ear};

/// How often is looked without an event.
pub(super) const POLL: Duration = Duration::from_secs(5);

/// A change that no event told of is looked at again after this: it may be half of one.
const STILL: Duration = Duration::from_millis(200);
const STILL_LOOKS: usize = 5;

/// Of a larger file only length and time are looked at: it is refused anyway.
const FILE_BYTES_MAX: u64 = 1 << 20;

/// As many links on one way as the kernel follows.
const LINKS_MAX: usize = 40;

/// The files that a configuration is made of.
pub(super) struct Watch {
    bell: Arc<Bell>,
    poll: Duration,
    watcher: Option<RecommendedWatcher>,
    /// Folders, each with its device and inode: another folder may come to have the name.
    folders: BTreeMap<PathBuf, (u64, u64)>,
    /// `None`: not looked at yet.
    files: BTreeMap<PathBuf, Option<Seen>>,
    told: bool,
}

/// Why the files are to be read.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum Why {
    /// One is another than before.
    Changed,
    /// Somebody wants it.
    Asked,
    /// Not at all: the daemon stops.
    End,
}

/// A file at one moment.
#[derive(Debug, Clone, PartialEq, Eq)]
enum Seen {
    /// With its mode and its owner, which decide whether keys in it are taken.
    File(u32, u32, blake3::Hash),
    /// With its length and the time of its last write.
    Large(u64, i64, i64),
    /// Neither a file nor a link to one.
    Other(u32),
    /// Why not.
    Unreadable(Option<i32>),
}

// === impl Watch ===

impl Watch {
    /// Of these files, which have just been read. Without `events` it only looks, every `poll`.
    pub(super) fn new(bell: Arc<Bell>, files: Vec<PathBuf>, poll: Duration, events: bool) -> Self {
        let watcher = events.then(|| notify::recommended_watcher(Ear(Arc::clone(&bell))));
        let mut watch = Self {
            bell,
            poll,
            watcher: None,
            folders: BTreeMap::new(),
            files: files.into_iter().map(|path| (path, None)).collect(),
            told: false,
        };
        match watcher {
            Some(Ok(watcher)) => watch.watcher = Some(watcher),
            Some(Err(error)) => watch.tell(&error),
            None => {}
        }
        watch.follow();
        watch
    }

    /// Waits until the files are to be read. What they are at that moment is what is compared with from then on, so a
    /// change while they are read is not missed.
    pub(super) fn next(&mut self) -> Why {
        let (mut at_most, mut looks) = (self.poll, 0);
        // What a look without an event has found, until the next finds the same.
        let mut unsettled = None;
        loop {
            let call = self.bell.wait(at_most);
            if call == Call::End {
                return Why::End;
            }
            self.follow();
            let now = self.look();
            if call == Call::Asked {
                self.files = now;
                return Why::Asked;
            }
            if now == self.files {
                (at_most, looks, unsettled) = (self.poll, 0, None);
                continue;
            }
            if call == Call::Nothing && looks < STILL_LOOKS && unsettled.as_ref() != Some(&now) {
                (at_most, looks, unsettled) = (STILL, looks + 1, Some(now));
                continue;
            }
            self.files = now;
            return Why::Changed;
        }
    }

    /// It is these files from now on.
    pub(super) fn set(&mut self, files: Vec<PathBuf>) {
        let mut known = std::mem::take(&mut self.files);
        self.files = files.into_iter().map(|path| (path.clone(), known.remove(&path).flatten())).collect();
        self.follow();
    }

    fn look(&self) -> BTreeMap<PathBuf, Option<Seen>> {
        self.files.keys().map(|path| (path.clone(), Some(Seen::of(path)))).collect()
    }

    /// Watches the folders that the files lie in now.
    fn follow(&mut self) {
        if self.watcher.is_none() {
            return;
        }
        let (mut folders, mut names) = (BTreeSet::new(), HashSet::new());
        for path in self.files.keys() {
            way(path, &mut folders, &mut names);
        }
        names.extend(folders.iter().cloned());
        self.bell.set_names(names);
        let found: BTreeMap<PathBuf, (u64, u64)> = folders
            .into_iter()
            .filter_map(|folder| {
                let meta = folder.metadata().ok()?;
                Some((folder, (meta.dev(), meta.ino())))
            })
            .collect();
        let old: Vec<PathBuf> = self
            .folders
            .iter()
            .filter(|(folder, id)| found.get(*folder) != Some(id))
            .map(|(folder, _)| folder.clone())
            .collect();
        for folder in old {
            self.folders.remove(&folder);
            if let Some(watcher) = &mut self.watcher {
                // It may be gone, and its watch with it.
                let _ = watcher.unwatch(&folder);
            }
        }
        for (folder, id) in found {
            if self.folders.contains_key(&folder) {
                continue;
            }
            let Some(watcher) = &mut self.watcher else { return };
            match watcher.watch(&folder, RecursiveMode::NonRecursive) {
                Ok(()) => drop(self.folders.insert(folder, id)),
                Err(error) => self.tell(&error),
            }
        }
    }

    /// Says once that it can't be told at once.
    fn tell(&mut self, error: &notify::Error) {
        if !std::mem::replace(&mut self.told, true) {
            tracing::warn!(
                "changes of the configuration are noticed every {} s only: {error}; \
                 SIGHUP has it read at once",
                self.poll.as_secs()
            );
        }
    }
}

/// The folders in which a change could make `path` another file, and the names there that count.
fn way(path: &Path, folders: &mut BTreeSet<PathBuf>, names: &mut HashSet<PathBuf>) {
    let Ok(path) = std::path::absolute(path) else { return };
    let mut left: VecDeque<PathBuf> = parts(&path).collect();
    let (mut at, mut links) = (PathBuf::from("/"), 0);
    while let Some(part) = left.pop_front() {
        if part == Path::new("..") {
            at.pop();
            continue;
        }
        let here = at.join(part);
        let found = here.symlink_metadata();
        let is_link = found.as_ref().is_ok_and(std::fs::Metadata::is_symlink);
        if is_link || found.is_err() || left.is_empty() {
            folders.insert(at.clone());
            names.insert(here.clone());
        }
        match std::fs::read_link(&here) {
            Ok(target) if is_link && links < LINKS_MAX => {
                links += 1;
                parts(&target).collect::<Vec<_>>().into_iter().rev().for_each(|part| left.push_front(part));
            }
            _ if is_link || found.is_err() => return,
            _ => at = here,
        }
    }
}

fn parts(path: &Path) -> impl Iterator<Item = PathBuf> + '_ {
    path.components().filter(|part| *part != Component::CurDir).map(|part| part.as_os_str().into())
}

// === impl Seen ===

impl Seen {
    fn of(path: &Path) -> Self {
        Self::read(path).unwrap_or_else(|error| Self::Unreadable(error.raw_os_error()))
    }

    fn read(path: &Path) -> std::io::Result<Self> {
        let meta = path.metadata()?;
        if !meta.is_file() {
            // Nothing is read from it: a pipe would wait.
            return Ok(Self::Other(meta.mode()));
        }
        if meta.len() > FILE_BYTES_MAX {
            return Ok(Self::Large(meta.len(), meta.mtime(), meta.mtime_nsec()));
        }
        let mut bytes = Vec::new();
        File::open(path)?.take(FILE_BYTES_MAX).read_to_end(&mut bytes)?;
        Ok(Self::File(meta.mode(), meta.uid(), blake3::hash(&bytes)))
    }
}

#[cfg(test)]
mod tests;
