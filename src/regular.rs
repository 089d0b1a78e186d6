//! Regular files whose names come from people: certificates, keys, tokens, what other tools keep.
//!
//! A name may as well lead to a pipe, and to open one waits until somebody writes to it, in a daemon for ever. Here
//! nothing is waited for, and what is no regular file is refused.

use std::fs::{File, Metadata, OpenOptions};
use std::io::{self, Read as _};
use std::os::unix::fs::OpenOptionsExt as _;
use std::path::Path;

use rustix::fs::OFlags;

/// Opens a regular file for reading, with what it is: of the open file, so that nothing can be put in its place between
/// a check and the reading.
///
/// # Errors
/// Of opening it; `InvalidInput` where it is a folder, a pipe, a device or a socket.
pub fn open(path: &Path) -> io::Result<(File, Metadata)> {
    // The flag means nothing to a regular file, and that a pipe is opened at once.
    let flags = i32::try_from(OFlags::NONBLOCK.bits()).map_err(io::Error::other)?;
    let file = OpenOptions::new().read(true).custom_flags(flags).open(path)?;
    let metadata = file.metadata()?;
    if metadata.is_file() {
        Ok((file, metadata))
    } else {
        Err(io::Error::new(io::ErrorKind::InvalidInput, "it is not a regular file"))
    }
}

/// The bytes of a regular file of at most `max` bytes.
///
/// # Errors
/// Those of [`open`], of reading; `InvalidInput` where it is larger.
pub fn read(path: &Path, max: u64) -> io::Result<Vec<u8>> {
    let (file, _) = open(path)?;
    let mut bytes = Vec::new();
    // Of what comes, not of what was announced: it may grow meanwhile.
    file.take(max.saturating_add(1)).read_to_end(&mut bytes)?;
    if bytes.len() as u64 > max {
        return Err(io::Error::new(io::ErrorKind::InvalidInput, format!("it has more than {max} bytes")));
    }
    Ok(bytes)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn only_regular_files_are_opened_and_nothing_is_waited_for() {
        let folder = tempfile::tempdir().expect("temporary");
        let (file, pipe, link) =
            (folder.path().join("file"), folder.path().join("pipe"), folder.path().join("link"));
        std::fs::write(&file, "text").expect("written");
        std::os::unix::fs::symlink(&file, &link).expect("linked");
        let made = std::process::Command::new("mkfifo").arg(&pipe).status().expect("mkfifo starts");
        assert!(made.success());

        assert_eq!(open(&file).expect("a file").1.len(), 4);
        assert_eq!(open(&link).expect("a link to one").1.len(), 4);
        // Nobody writes to the pipe: had it been waited for, the test would not end.
        for other in [pipe.as_path(), folder.path(), Path::new("/dev/null")] {
            assert_eq!(
                open(other).expect_err("no file").kind(),
                io::ErrorKind::InvalidInput,
                "{}",
                other.display()
            );
        }
        assert_eq!(read(&file, 4).expect("it has as many"), b"text");
        assert_eq!(read(&file, 3).expect_err("it has more").kind(), io::ErrorKind::InvalidInput);
        let nothing = open(&folder.path().join("nothing")).expect_err("nothing is there");
        assert_eq!(nothing.kind(), io::ErrorKind::NotFound);
    }
}
