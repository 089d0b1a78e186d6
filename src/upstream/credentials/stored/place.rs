//! Where credentials are kept. The first that has one of the name has it:
//!
//! ```text
//! $CREDENTIALS_DIRECTORY/larder.NAME     systemd's LoadCredential=, LoadCredentialEncrypted=: read, never written
//! {state}/credentials/NAME               the document itself, mode 0600 in a folder of mode 0700
//!                                        or {"kind": "keychain", "of": "s3"}: the document is in the keychain
//! ```
//! So the keychain is asked for nothing that isn't in it, and a change of it is seen by a change of the file.

use std::collections::BTreeMap;
use std::fmt;
use std::fs::{DirBuilder, File, OpenOptions};
use std::io::{ErrorKind, Read as _, Write as _};
use std::os::unix::fs::{DirBuilderExt as _, MetadataExt as _, OpenOptionsExt as _};
use std::path::{Path, PathBuf};
use std::time::SystemTime;

use serde_json::{Value, json};

use super::super::{FILE_BYTES_MAX, KeyFile, Keys, Secret, Version, version};
use super::document::{Document, Kind, parse_time};
use super::keychain;
use crate::error::{Error, Kind as ErrorKindOf, Result};

/// Where to look, and for whom.
#[derive(Clone, Default, PartialEq, Eq)]
pub struct Places {
    /// `credentials` in the state folder.
    pub folder: PathBuf,
    /// `CREDENTIALS_DIRECTORY`: systemd's.
    pub given: Option<PathBuf>,
    /// `HOME`, below which the clouds' own tools keep theirs.
    pub home: Option<PathBuf>,
    /// What the environment says to the clouds' own tools. Some are secrets.
    pub variables: BTreeMap<String, String>,
}

/// Where one is kept.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Kept {
    /// systemd gave it.
    Systemd,
    /// In the platform's keychain.
    Keychain,
    /// In a file.
    File,
}

/// One that is stored. Nothing of it is secret.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Row {
    /// Its name.
    pub name: String,
    /// Its kind, as far as it can be read.
    pub kind: Option<&'static Kind>,
    /// When it ends, where it says so itself.
    pub expires: Option<SystemTime>,
    /// Where it is kept.
    pub kept: Kept,
    /// The file.
    pub path: PathBuf,
    /// Why it isn't used.
    pub fault: Option<String>,
}

/// Why there is no document.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(super) enum Missing {
    /// It is not stored.
    Nowhere,
    /// It is refused: what was read before is not used any more, either.
    Refused(String),
    /// The keychain doesn't give it just now.
    Withheld(String),
}

/// What differs when another is stored.
pub(super) type Stamp = [Option<Version>; 3];

/// What a file holds.
#[derive(Clone)]
enum Entry {
    Here(Box<Document>),
    Keychain { of: &'static Kind, expires: Option<SystemTime> },
}

/// The kind of an entry whose document is elsewhere.
const KEYCHAIN: &str = "keychain";

/// What a credential may be called.
///
/// # Errors
/// Words that complete "`NAME` …".
pub fn check_name(name: &str) -> Result<(), &'static str> {
    let is_good = |byte: u8| byte.is_ascii_alphanumeric() || b"-_.".contains(&byte);
    if (1..=64).contains(&name.len()) && name.bytes().all(is_good) && !name.starts_with(['.', '-']) {
        return Ok(());
    }
    Err("is no name for a credential; take up to 64 letters, digits, `-`, `_` and `.`")
}

// === impl Places ===

impl Places {
    /// Of the daemon with this state folder.
    pub fn new(state: &Path) -> Self {
        Self { folder: state.join("credentials"), ..Self::default() }
    }

    fn path(&self, name: &str) -> PathBuf {
        self.folder.join(name)
    }

    fn given(&self, name: &str) -> Option<PathBuf> {
        self.given.as_ref().map(|folder| folder.join(format!("larder.{name}")))
    }

    /// Looks at the files.
    pub(super) fn stamp(&self, name: &str) -> Stamp {
        let look = |path: PathBuf| std::fs::metadata(path).ok().as_ref().map(version);
        // The folder's own mode counts, too.
        [self.given(name).and_then(look), look(self.path(name)), look(self.folder.clone())]
    }

    /// Reads one. Only the keychain is waited for, and not for long.
    pub(super) async fn read(&self, name: &str) -> Result<Document, Missing> {
        let (places, owned) = (self.clone(), name.to_owned());
        let entry = tokio::task::spawn_blocking(move || places.entry(&owned)).await;
        let entry = entry.map_err(|_ended| Missing::Withheld("the daemon stops".into()))?;
        match entry? {
            (Entry::Here(document), _) => Ok(*document),
            (Entry::Keychain { .. }, path) => {
                let text = keychain::read(&self.folder, name).await.map_err(Missing::Withheld)?;
                Document::parse(text.expose()).map_err(|words| {
                    Missing::Withheld(format!("what the keychain has for {}: {words}", path.display()))
                })
            }
        }
    }

    fn entry(&self, name: &str) -> Result<(Entry, PathBuf), Missing> {
        if let Some(path) = self.given(name)
            && let Some(text) = read_given(&path)
        {
            let document = text.and_then(|text| Document::parse(text.expose()));
            let refused = |words| Missing::Refused(format!("the file {}: {words}", path.display()));
            return document.map_err(refused).map(|document| (Entry::Here(Box::new(document)), path.clone()));
        }
        let path = self.path(name);
        if !path.exists() {
            return Err(Missing::Nowhere);
        }
        check_folder(&self.folder).map_err(Missing::Refused)?;
        let entry = KeyFile::<Entry>::new(path.clone(), "").read();
        entry.map(|entry| (entry, path)).map_err(|error| Missing::Refused(error.message().to_owned()))
    }

    /// Stores one: in the keychain, or in a file; without `wanted` in the keychain if there is one. What had the name is
    /// replaced.
    ///
    /// # Errors
    /// Words, with the remedy; what was stored before is as it was.
    pub async fn store(&self, name: &str, document: &Document, wanted: Option<Kept>) -> Result<Kept> {
        check_name(name)
            .map_err(|words| Error::invalid(format!("store `{}`: it {words}", name.escape_debug())))?;
        self.prepare()?;
        let denied = |words: String| Error::new(ErrorKindOf::Unavailable, format!("store `{name}`: {words}"));
        let kept = match wanted {
            Some(Kept::Systemd) => {
                return Err(denied("systemd's credentials are written by nobody but systemd".into()));
            }
            Some(Kept::File) => Kept::File,
            Some(Kept::Keychain) => {
                keychain::write(&self.folder, name, &document.to_secret()).await.map_err(denied)?;
                Kept::Keychain
            }
            None => match keychain::write(&self.folder, name, &document.to_secret()).await {
                Ok(()) => Kept::Keychain,
                Err(_) => Kept::File,
            },
        };
        let text = match kept {
            Kept::Keychain => {
                let time = |end| chrono::DateTime::<chrono::Utc>::from(end).to_rfc3339();
                let expires = document.expires().map(time);
                Secret::new(
                    json!({"kind": KEYCHAIN, "of": document.kind().name, "expires": expires}).to_string(),
                )
            }
            Kept::File | Kept::Systemd => document.to_secret(),
        };
        let was_in_keychain = matches!(self.entry(name), Ok((Entry::Keychain { .. }, _)));
        self.write(name, &text)?;
        if was_in_keychain && kept == Kept::File {
            // It may be locked; then what it has is old, and nobody asks for it any more.
            let _ = keychain::remove(&self.folder, name).await;
        }
        Ok(kept)
    }

    /// Removes one; whether there was one.
    ///
    /// # Errors
    /// Words, with the remedy.
    pub async fn remove(&self, name: &str) -> Result<bool> {
        check_name(name)
            .map_err(|words| Error::invalid(format!("remove `{}`: it {words}", name.escape_debug())))?;
        let path = self.path(name);
        if self.given(name).is_some_and(|given| given.exists()) && !path.exists() {
            let words = format!("remove `{name}`: systemd gave it; take it out of the service's unit");
            return Err(Error::new(ErrorKindOf::Denied, words));
        }
        let in_keychain = matches!(self.entry(name), Ok((Entry::Keychain { .. }, _)));
        match std::fs::remove_file(&path) {
            Ok(()) => {}
            Err(error) if error.kind() == ErrorKind::NotFound => return Ok(false),
            Err(error) => return Err(Error::io("remove", &path, error)),
        }
        if in_keychain {
            keychain::remove(&self.folder, name).await.map_err(|words| {
                let words = format!(
                    "remove `{name}` from the keychain: {words}; the daemon doesn't use it any more, and it is called \
                     `larder: {name}` there"
                );
                Error::new(ErrorKindOf::Unavailable, words)
            })?;
        }
        Ok(true)
    }

    /// All that are stored, by name. The keychain is not asked.
    pub fn list(&self) -> Vec<Row> {
        let mut names = BTreeMap::new();
        let files = |folder: &Path| {
            let entries = std::fs::read_dir(folder).into_iter().flatten().flatten();
            entries.filter_map(|entry| entry.file_name().into_string().ok()).collect::<Vec<_>>()
        };
        names.extend(files(&self.folder).into_iter().map(|name| (name, Kept::File)));
        let given = self.given.as_deref().map(files).unwrap_or_default();
        names.extend(
            given.iter().filter_map(|name| Some((name.strip_prefix("larder.")?.to_owned(), Kept::Systemd))),
        );
        names.retain(|name, _| check_name(name).is_ok());
        names.into_iter().map(|(name, kept)| self.row(name, kept)).collect()
    }

    fn row(&self, name: String, kept: Kept) -> Row {
        let path = match kept {
            Kept::Systemd => self.given(&name).unwrap_or_default(),
            Kept::Keychain | Kept::File => self.path(&name),
        };
        let (kind, expires, kept, fault) = match self.entry(&name) {
            Ok((Entry::Here(document), _)) => (Some(document.kind()), document.expires(), kept, None),
            Ok((Entry::Keychain { of, expires }, _)) => (Some(of), expires, Kept::Keychain, None),
            Err(Missing::Nowhere) => (None, None, kept, Some("it is gone again".into())),
            Err(Missing::Refused(words) | Missing::Withheld(words)) => (None, None, kept, Some(words)),
        };
        Row { name, kind, expires, kept, path, fault }
    }

    /// Makes the folder, which is this user's alone.
    fn prepare(&self) -> Result<()> {
        let state = self.folder.parent().unwrap_or(&self.folder);
        let mut make = DirBuilder::new();
        make.recursive(true).mode(0o700);
        make.create(&self.folder).map_err(|error| Error::io("make the folder", &self.folder, error))?;
        let owner = std::fs::metadata(state).map_err(|error| Error::io("look at", state, error))?.uid();
        if owner != rustix::process::geteuid().as_raw() {
            let words = format!(
                "write {}: it belongs to uid {owner}, whose daemon could not read what you write; run this as that user",
                state.display()
            );
            return Err(Error::new(ErrorKindOf::Denied, words));
        }
        check_folder(&self.folder)
            .map_err(|words| Error::new(ErrorKindOf::Denied, format!("store it: {words}")))
    }

    /// Replaces the file in one step.
    fn write(&self, name: &str, text: &Secret) -> Result<()> {
        let (path, draft) = (self.path(name), self.folder.join(format!(".{name}.new")));
        // One that a killed command left may have another mode.
        let _ = std::fs::remove_file(&draft);
        let written = (|| {
            let mut file = OpenOptions::new().write(true).create_new(true).mode(0o600).open(&draft)?;
            file.write_all(text.expose().as_bytes())?;
            file.write_all(b"\n")?;
            file.sync_all()
        })();
        written.map_err(|error| Error::io("write", &draft, error))?;
        std::fs::rename(&draft, &path).map_err(|error| Error::io("replace", &path, error))
    }
}

impl fmt::Debug for Places {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "Places({})", self.folder.display())
    }
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

/// What systemd put there, whose modes are its own affair. `None`: nothing.
fn read_given(path: &Path) -> Option<Result<Secret, String>> {
    let file = match File::open(path) {
        Ok(file) => file,
        Err(error) if error.kind() == ErrorKind::NotFound => return None,
        Err(error) => return Some(Err(error.to_string())),
    };
    let mut text = String::new();
    let read = file.take(FILE_BYTES_MAX).read_to_string(&mut text);
    let text = Secret::new(text);
    Some(read.map(|_| text).map_err(|error| error.to_string()))
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

// === impl Kept ===

impl Kept {
    /// The word in lists.
    pub fn name(self) -> &'static str {
        match self {
            Self::Systemd => "systemd",
            Self::Keychain => "keychain",
            Self::File => "file",
        }
    }
}

#[cfg(test)]
mod tests {
    use std::os::unix::fs::PermissionsExt as _;

    use super::*;

    const TOKEN: &str = r#"{"kind":"token","token":"s3cret"}"#;

    #[tokio::test]
    async fn a_file_is_its_owners_alone_or_refused() {
        let state = tempfile::tempdir().expect("a temporary folder");
        let places = Places::new(state.path());
        assert_eq!(places.read("work").await, Err(Missing::Nowhere));
        let document = Document::parse(TOKEN).expect("a document");
        places.store("work", &document, Some(Kept::File)).await.expect("it is stored");
        let path = state.path().join("credentials/work");
        let mode = |path: &Path| std::fs::metadata(path).expect("it is there").mode() & 0o777;
        assert_eq!((mode(&path), mode(&places.folder)), (0o600, 0o700));
        assert_eq!(places.read("work").await, Ok(document));
        let chmod = |path: &Path, mode| {
            std::fs::set_permissions(path, std::fs::Permissions::from_mode(mode)).expect("our own");
        };
        for (path, bad, good, remedy) in
            [(&path, 0o644, 0o600, "chmod 600"), (&places.folder, 0o755, 0o700, "chmod 700")]
        {
            chmod(path, bad);
            let Err(Missing::Refused(words)) = places.read("work").await else { panic!("it is read") };
            assert!(words.contains(remedy) && !words.contains("s3cret"), "{words}");
            assert!(places.list()[0].fault.as_ref().is_some_and(|fault| fault.contains(remedy)));
            chmod(path, good);
        }
        assert!(places.remove("work").await.expect("it is removed") && places.list().is_empty());
        assert!(!places.remove("work").await.expect("it is gone"));
    }

    #[tokio::test]
    async fn systemds_comes_first_and_is_never_written() {
        let (state, given) = (tempfile::tempdir().expect("a folder"), tempfile::tempdir().expect("a folder"));
        let places = Places { given: Some(given.path().into()), ..Places::new(state.path()) };
        let file = given.path().join("larder.work");
        std::fs::write(&file, TOKEN.replace("s3cret", "given")).expect("a temporary file");
        let before = places.stamp("work");
        assert_eq!(places.read("work").await.expect("it is there").needed("token"), "given");
        assert!(places.remove("work").await.expect_err("not ours").message().contains("unit"));
        let row = places.list().remove(0);
        assert_eq!(
            (&*row.name, row.kept.name(), row.kind.map(|kind| kind.name)),
            ("work", "systemd", Some("token"))
        );
        let document = Document::parse(TOKEN).expect("a document");
        places.store("work", &document, Some(Kept::File)).await.expect("beside it");
        assert_ne!(places.stamp("work"), before);
        assert_eq!(places.read("work").await.expect("it is there").needed("token"), "given");
        std::fs::write(&file, "s3cret").expect("a temporary file");
        let Err(Missing::Refused(words)) = places.read("work").await else { panic!("it is read") };
        assert!(words.contains("not JSON") && !words.contains("s3cret"), "{words}");
    }

    #[test]
    fn names() {
        for good in ["work", "a", "team-1.eu_x"] {
            assert_eq!(check_name(good), Ok(()), "{good}");
        }
        for bad in ["", ".work", "-x", "a/b", "a b", "é", "..", &"a".repeat(65)] {
            assert!(check_name(bad).is_err(), "{bad}");
        }
    }
}
