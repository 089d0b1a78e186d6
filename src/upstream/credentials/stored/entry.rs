//! The files in which credentials are kept: what they hold, whose they have to be, how they are replaced.

use std::fs::{DirBuilder, OpenOptions};
use std::io::{ErrorKind, Read as _, Write as _};
use std::os::unix::fs::{DirBuilderExt as _, MetadataExt as _, OpenOptionsExt as _};
use std::path::Path;
use std::time::SystemTime;

use serde_json::{Value, json};

use super::super::{FILE_BYTES_MAX, KeyFile, Keys, Secret, is_being_written};
use super::document::{Document, Kind, parse_time};
use super::place::Missing;
use crate::error::{Error, Kind as ErrorKindOf, Result};
use crate::regular;

/// What a file holds.
#[derive(Clone)]
pub(super) enum Entry {
    Here(Box<Document>),
    /// The document is in the keychain.
    Keychain {
        of: &'static Kind,
        expires: Option<SystemTime>,
    },
}

/// The kind of an entry whose document is elsewhere.
const KEYCHAIN: &str = "keychain";

/// Reads what `larder login` wrote.
pub(super) fn read(path: &Path) -> Result<Entry, Missing> {
    let refused = |words: String| Missing::Refused(words);
    let found = match std::fs::symlink_metadata(path) {
        Ok(found) => found,
        Err(error) if error.kind() == ErrorKind::NotFound => return Err(Missing::Nowhere),
        Err(error) => return Err(refused(format!("the file {}: {error}", path.display()))),
    };
    check_folder(path.parent().unwrap_or(path)).map_err(refused)?;
    KeyFile::<Entry>::new(path.into(), "").read().map_err(|error| {
        let words = error.message().to_owned();
        // `larder login` replaces it in one step, and what else writes it may not.
        if is_being_written(&found) { Missing::Withheld(words) } else { Missing::Refused(words) }
    })
}

/// Reads what systemd put there, whose modes are its own affair. `None`: nothing.
pub(super) fn read_given(path: &Path) -> Option<Result<Entry, Missing>> {
    let read = || {
        let mut text = String::new();
        let read = regular::open(path)?.0.take(FILE_BYTES_MAX + 1).read_to_string(&mut text);
        let text = Secret::new(text);
        read.map(|_| text)
    };
    let document = match read() {
        Err(error) if error.kind() == ErrorKind::NotFound => return None,
        Err(error) => Err(error.to_string()),
        Ok(text) if text.expose().len() as u64 > FILE_BYTES_MAX => {
            Err("is too large for a credential".into())
        }
        Ok(text) => Document::parse(text.expose()),
    };
    let refused = |words| Missing::Refused(format!("the file {}: {words}", path.display()));
    Some(document.map(|document| Entry::Here(Box::new(document))).map_err(refused))
}

/// Whether a file says that the keychain has it, whoever could read that.
pub(super) fn names_keychain(path: &Path) -> bool {
    let text = regular::read(path, FILE_BYTES_MAX).ok().and_then(|bytes| String::from_utf8(bytes).ok());
    let text = text.map(Secret::new).unwrap_or_default();
    matches!(Entry::parse(text.expose(), ""), Ok(Entry::Keychain { .. }))
}

/// What is in the file of one that is in the keychain.
pub(super) fn in_keychain(document: &Document) -> Secret {
    let of = document.kind().name;
    // Of a SAS that is what it says itself.
    let expires = document.expires().map(|end| chrono::DateTime::<chrono::Utc>::from(end).to_rfc3339());
    Secret::new(json!({"kind": KEYCHAIN, "of": of, "expires": expires}).to_string())
}

/// Makes the folder, which is this user's alone.
pub(super) fn prepare(folder: &Path) -> Result<()> {
    let state = folder.parent().unwrap_or(folder);
    let owner = match std::fs::metadata(state) {
        Ok(found) => Some(found.uid()),
        Err(error) if error.kind() == ErrorKind::NotFound => None,
        Err(error) => return Err(Error::io("look at", state, error)),
    };
    // Before anything is made: a folder of root's would be in the way of who owns the state.
    if let Some(owner) = owner.filter(|owner| *owner != rustix::process::geteuid().as_raw()) {
        let words = format!(
            "write {}: it belongs to uid {owner}, whose daemon could not read what you write; run this as that user",
            state.display()
        );
        return Err(Error::new(ErrorKindOf::Denied, words));
    }
    let mut make = DirBuilder::new();
    make.recursive(true).mode(0o700);
    make.create(folder).map_err(|error| Error::io("make the folder", folder, error))?;
    check_folder(folder).map_err(|words| Error::new(ErrorKindOf::Denied, format!("store it: {words}")))
}

/// Replaces a file of the folder in one step.
pub(super) fn write(folder: &Path, name: &str, text: &Secret) -> Result<()> {
    let (path, draft) = (folder.join(name), folder.join(format!(".{name}.new")));
    // One that a killed command left may have another mode.
    let _ = std::fs::remove_file(&draft);
    let written = (|| {
        let mut file = OpenOptions::new().write(true).create_new(true).mode(0o600).open(&draft)?;
        file.write_all(text.expose().as_bytes())?;
        file.write_all(b"\n")?;
        file.sync_all()
    })();
    let written = written.map_err(|error| Error::io("write", &draft, error));
    let replaced = written
        .and_then(|()| std::fs::rename(&draft, &path).map_err(|error| Error::io("replace", &path, error)));
    if replaced.is_err() {
        // Part of a secret that nobody would look for; where it can't be removed, what failed is said.
        let _ = std::fs::remove_file(&draft);
    }
    replaced
}

/// Who may write to the folder could put another's keys there.
fn check_folder(folder: &Path) -> Result<(), String> {
    let mode = std::fs::metadata(folder)
        .map_err(|error| format!("the folder {}: {error}", folder.display()))?
        .mode();
    if mode & 0o077 == 0 {
        return Ok(());
    }
    let (shown, mode) = (folder.display(), mode & 0o777);
    Err(format!("the folder {shown} can be read or changed by others (mode {mode:03o}): chmod 700 it"))
}

// === impl Entry ===

impl Keys for Entry {
    fn parse(text: &str, _: &str) -> Result<Self, String> {
        let value: Value = serde_json::from_str(text).unwrap_or_default();
        if value["kind"] != KEYCHAIN {
            return Document::parse(text).map(Box::new).map(Self::Here);
        }
        let of = value["of"].as_str().ok_or("names no kind")?;
        Ok(Self::Keychain { of: Kind::named(of)?, expires: value["expires"].as_str().and_then(parse_time) })
    }
}
