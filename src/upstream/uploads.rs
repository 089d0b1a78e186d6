//! Begun multipart uploads, noted before their first part, so that the next process can abort what this one left.
//!
//! A note is a file named by a hash, with the upload's id and the object's name on two lines. A folder belongs to one
//! upstream. Losing a note costs space in the bucket until its lifecycle rule comes, nothing else: no note is synced.

use std::path::{Path, PathBuf};

use crate::digest::hex;
use crate::error::{Error, Result};
use crate::key::ObjectName;

/// More notes than this are not read at start; a folder with more is a defect, not a workload.
const NOTES_MAX: usize = 10_000;

/// The notes of one upstream.
#[derive(Debug)]
pub(super) struct Uploads {
    folder: PathBuf,
}

/// One begun upload.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(super) struct Upload {
    pub(super) id: String,
    pub(super) name: ObjectName,
}

// === impl Uploads ===

impl Uploads {
    /// Notes in `folder`, which is made with the first of them.
    pub(super) fn new(folder: PathBuf) -> Self {
        Self { folder }
    }

    /// Notes that `upload` has begun.
    pub(super) fn begun(&self, upload: &Upload) -> Result<()> {
        let path = self.path(upload);
        std::fs::create_dir_all(&self.folder).map_err(|e| Error::io("make", &self.folder, e))?;
        let text = format!("{}\n{}\n", upload.id, upload.name);
        std::fs::write(&path, text).map_err(|e| Error::io("note an upload in", &path, e))
    }

    /// `upload` was completed or aborted.
    pub(super) fn ended(&self, upload: &Upload) {
        // A note that stays is one abort too many at the next start: answered with NoSuchUpload.
        let _ = std::fs::remove_file(self.path(upload));
    }

    /// What earlier processes began and did not end.
    pub(super) fn left(&self) -> Vec<Upload> {
        let Ok(files) = std::fs::read_dir(&self.folder) else {
            return Vec::new();
        };
        files.flatten().take(NOTES_MAX).filter_map(|file| read(&file.path())).collect()
    }

    fn path(&self, upload: &Upload) -> PathBuf {
        let mut hasher = blake3::Hasher::new();
        hasher.update(upload.id.as_bytes());
        hasher.update(b"\n");
        hasher.update(upload.name.as_str().as_bytes());
        self.folder.join(hex(&hasher.finalize().as_bytes()[..16]))
    }
}

/// A torn note names no upload.
fn read(path: &Path) -> Option<Upload> {
    let text = std::fs::read_to_string(path).ok()?;
    let (id, name) = text.strip_suffix('\n')?.split_once('\n')?;
    Some(Upload { id: id.into(), name: ObjectName::parse(name)? })
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn what_is_begun_and_not_ended_is_left() {
        let folder = tempfile::tempdir().unwrap();
        let uploads = Uploads::new(folder.path().join("uploads"));
        assert_eq!(uploads.left(), []);
        let upload = |id: &str| Upload { id: id.into(), name: ObjectName::parse("cas/ab/x y").unwrap() };
        uploads.begun(&upload("1")).unwrap();
        uploads.begun(&upload("2/=+")).unwrap();
        uploads.ended(&upload("1"));
        std::fs::write(folder.path().join("uploads/torn"), "3\ncas").unwrap();
        assert_eq!(uploads.left(), [upload("2/=+")]);
    }
}
