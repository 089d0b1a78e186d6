//! The files that are written: marked, so that only what is ours and as we left it is replaced or removed.
//!
//! A file carries one line with a hash of its other lines. A file without the line is somebody else's; one whose hash
//! is another was edited by hand. Neither is touched unless it is forced.

use std::fs;
use std::io::{self, Write as _};
use std::os::unix::fs::OpenOptionsExt as _;
use std::path::Path;

/// What is at a path.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum Found {
    /// Nothing.
    Absent,
    /// Exactly what is wanted.
    Same,
    /// Ours, and as we left it.
    Ours,
    /// Ours, and edited since.
    Edited,
    /// Somebody else's; or a link, as a masked unit is.
    Foreign,
}

/// How a kind of file writes a comment.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum Comment {
    /// `# …`, as the first line.
    Hash,
    /// `<!-- … -->`, after the two lines that XML has first.
    Xml,
}

/// XML forbids two dashes in a comment.
const MARK: &str = "Written by `larder service install`, which replaces it only while this is its hash: ";

/// `text` with its mark.
pub(super) fn marked(text: &str, comment: Comment) -> String {
    let mark = format!("{MARK}{}", hash(text));
    match comment {
        Comment::Hash => format!("# {mark}\n{text}"),
        Comment::Xml => {
            let head = text.match_indices('\n').nth(1).map_or(0, |(at, _)| at + 1);
            format!("{}<!-- {mark} -->\n{}", &text[..head], &text[head..])
        }
    }
}

/// Compares what is at `path` with what is wanted there.
///
/// # Errors
/// Words, when it can't be read.
pub(super) fn look(path: &Path, wanted: &str) -> Result<Found, String> {
    let failed = |error: io::Error| format!("failed to read {}: {error}", path.display());
    let found = match fs::symlink_metadata(path) {
        Ok(found) => found,
        Err(error) if matches!(error.kind(), io::ErrorKind::NotFound | io::ErrorKind::NotADirectory) => {
            return Ok(Found::Absent);
        }
        Err(error) => return Err(failed(error)),
    };
    if !found.is_file() {
        return Ok(Found::Foreign);
    }
    let bytes = fs::read(path).map_err(failed)?;
    if bytes == wanted.as_bytes() {
        return Ok(Found::Same);
    }
    Ok(std::str::from_utf8(&bytes).map_or(Found::Foreign, whose))
}

/// Puts a file there in one step; it is never seen half written.
pub(super) fn write(path: &Path, text: &str) -> io::Result<()> {
    let folder = path.parent().unwrap_or(Path::new("/"));
    fs::create_dir_all(folder)?;
    let name = path.file_name().unwrap_or_default().to_string_lossy();
    let new = folder.join(format!(".{name}.{}.new", std::process::id()));
    let put = || -> io::Result<()> {
        let mut file = fs::OpenOptions::new().write(true).create_new(true).mode(0o644).open(&new)?;
        file.write_all(text.as_bytes())?;
        file.sync_all()?;
        fs::rename(&new, path)
    };
    put().inspect_err(|_| {
        // It may not have come to be.
        let _ = fs::remove_file(&new);
    })
}

fn whose(text: &str) -> Found {
    let Some((at, line)) = text.lines().enumerate().find(|(_, line)| line.contains(MARK)) else {
        return Found::Foreign;
    };
    let rest: String =
        text.split_inclusive('\n').enumerate().filter(|(n, _)| *n != at).map(|(_, line)| line).collect();
    let said = line.split(MARK).nth(1).unwrap_or_default();
    if said.trim_end_matches(" -->") == hash(&rest) { Found::Ours } else { Found::Edited }
}

fn hash(text: &str) -> String {
    blake3::hash(text.as_bytes()).to_hex()[..32].to_owned()
}

#[cfg(test)]
mod tests {
    use super::*;

    const PLIST: &str = "<?xml?>\n<!DOCTYPE plist>\n<plist>\n</plist>\n";

    #[test]
    fn only_what_is_ours_and_untouched_is_ours() {
        let folder = tempfile::tempdir().expect("a folder");
        for (comment, text) in [(Comment::Hash, "[Unit]\nA=1\n"), (Comment::Xml, PLIST)] {
            let path = folder.path().join("deep/file");
            let wanted = marked(text, comment);
            assert_eq!(look(&path, &wanted), Ok(Found::Absent));
            write(&path, &wanted).expect("writes");
            assert_eq!(look(&path, &wanted), Ok(Found::Same));
            assert_eq!(look(&path, &marked(&format!("{text}\n"), comment)), Ok(Found::Ours), "an older one");
            write(&path, &format!("{wanted}B=2\n")).expect("writes");
            assert_eq!(look(&path, &wanted), Ok(Found::Edited));
            write(&path, text).expect("writes");
            assert_eq!(look(&path, &wanted), Ok(Found::Foreign));
            fs::remove_dir_all(path.parent().expect("a folder")).expect("removes");
        }
    }

    #[test]
    fn a_link_and_a_folder_are_foreign_and_what_follows_a_file_is_absent() {
        let folder = tempfile::tempdir().expect("a folder");
        let masked = folder.path().join("masked");
        std::os::unix::fs::symlink("/dev/null", &masked).expect("links");
        assert_eq!(look(&masked, "x"), Ok(Found::Foreign));
        assert_eq!(look(folder.path(), "x"), Ok(Found::Foreign));
        let file = folder.path().join("file");
        fs::write(&file, [0xff]).expect("writes");
        assert_eq!(look(&file, "x"), Ok(Found::Foreign));
        assert_eq!(look(&file.join("below"), "x"), Ok(Found::Absent));
    }

    #[test]
    fn the_mark_of_a_property_list_comes_after_what_xml_has_first() {
        let text = marked(PLIST, Comment::Xml);
        let lines: Vec<&str> = text.lines().collect();
        assert_eq!((lines[0], lines[1], lines[3]), ("<?xml?>", "<!DOCTYPE plist>", "<plist>"));
        assert!(lines[2].starts_with("<!-- ") && !lines[2][4..lines[2].len() - 3].contains("--"), "{text}");
    }
}
