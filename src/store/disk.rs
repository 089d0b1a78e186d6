//! Every write and blocking read of the store goes through here: loops over short transfers, names the path in
//! errors, and lets tests make writes fail.

use std::fs::File;
use std::io::{self, IoSlice};
use std::os::unix::fs::{FileExt as _, OpenOptionsExt as _};
use std::path::Path;

use crate::error::{Error, Result};

/// Creates a file that must not exist yet, readable by its owner only.
pub(super) fn create(path: &Path) -> Result<File> {
    let create = || File::options().read(true).write(true).create_new(true).mode(0o600).open(path);
    fault::may_fail(path).and_then(|()| create()).map_err(|error| Error::io("create", path, error))
}

/// Creates a folder and its parents, for its owner only.
pub(super) fn create_folder(path: &Path) -> Result<()> {
    use std::os::unix::fs::DirBuilderExt as _;
    let made = std::fs::DirBuilder::new().recursive(true).mode(0o700).create(path);
    made.map_err(|error| Error::io("create", path, error))
}

/// Writes all pieces, one after the other, at `offset`.
pub(super) fn write_all(file: &File, pieces: &[&[u8]], mut offset: u64) -> io::Result<()> {
    fault::may_fail_on(file)?;
    let mut slices: Vec<IoSlice<'_>> = pieces.iter().map(|piece| IoSlice::new(piece)).collect();
    let mut rest = &mut slices[..];
    IoSlice::advance_slices(&mut rest, 0);
    while !rest.is_empty() {
        match rustix::io::pwritev(file, &rest[..rest.len().min(PIECES_MAX)], offset) {
            Ok(0) => return Err(io::ErrorKind::WriteZero.into()),
            Ok(written) => {
                offset += written as u64;
                IoSlice::advance_slices(&mut rest, written);
            }
            Err(rustix::io::Errno::INTR) => {}
            Err(error) => return Err(error.into()),
        }
    }
    Ok(())
}

/// Fills `buffer` from `offset` on; `false` when the file ends before.
pub(super) fn read_full(file: &File, buffer: &mut [u8], offset: u64) -> io::Result<bool> {
    match file.read_exact_at(buffer, offset) {
        Ok(()) => Ok(true),
        Err(error) if error.kind() == io::ErrorKind::UnexpectedEof => Ok(false),
        Err(error) => Err(error),
    }
}

/// Pieces that one system call takes (`UIO_MAXIOV`).
const PIECES_MAX: usize = 1024;

#[cfg(not(test))]
mod fault {
    pub(super) fn may_fail(_: &super::Path) -> std::io::Result<()> {
        Ok(())
    }

    pub(super) fn may_fail_on(_: &super::File) -> std::io::Result<()> {
        Ok(())
    }
}

/// Faults for tests, by filesystem path prefix so that tests that run side by side don't meet each other's.
#[cfg(test)]
pub(super) mod fault {
    use std::io;
    use std::path::{Path, PathBuf};

    use parking_lot::Mutex;

    static FAULTS: Mutex<Vec<(PathBuf, i32)>> = Mutex::new(Vec::new());

    /// While it lives, creating and writing files below a folder fails.
    #[derive(Debug)]
    pub(crate) struct Fault(PathBuf);

    impl Fault {
        pub(crate) fn new(folder: &Path, errno: rustix::io::Errno) -> Self {
            FAULTS.lock().push((folder.to_owned(), errno.raw_os_error()));
            Self(folder.to_owned())
        }
    }

    impl Drop for Fault {
        fn drop(&mut self) {
            FAULTS.lock().retain(|(folder, _)| *folder != self.0);
        }
    }

    pub(in super::super) fn may_fail(path: &Path) -> io::Result<()> {
        let fault =
            FAULTS.lock().iter().find(|(folder, _)| path.starts_with(folder)).map(|(_, errno)| *errno);
        fault.map_or(Ok(()), |errno| Err(io::Error::from_raw_os_error(errno)))
    }

    pub(super) fn may_fail_on(file: &std::fs::File) -> io::Result<()> {
        use std::os::fd::AsRawFd as _;
        if FAULTS.lock().is_empty() {
            return Ok(());
        }
        let link = std::fs::read_link(format!("/proc/self/fd/{}", file.as_raw_fd()))?;
        may_fail(&link)
    }
}
