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
use std::io::ErrorKind;
use std::path::{Path, PathBuf};
use std::time::SystemTime;

use super::super::{Version, version};
use super::document::{Document, Kind};
use super::entry::{self, Entry};
use super::keychain;

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
    /// The keychain doesn't give it just now, or the file is being written.
    Withheld(String),
}

/// What differs when another is stored.
pub(super) type Stamp = [Option<Version>; 3];

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

    pub(super) fn path(&self, name: &str) -> PathBuf {
        self.folder.join(name)
    }

    pub(super) fn given(&self, name: &str) -> Option<PathBuf> {
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
            Entry::Here(document) => Ok(*document),
            Entry::Keychain { .. } => {
                let text = keychain::read(&self.folder, name).await.map_err(Missing::Withheld)?;
                Document::parse(text.expose()).map_err(|words| {
                    let path = self.path(name);
                    Missing::Withheld(format!("what the keychain has for {}: {words}", path.display()))
                })
            }
        }
    }

    fn entry(&self, name: &str) -> Result<Entry, Missing> {
        let given = self.given(name).and_then(|path| entry::read_given(&path));
        given.unwrap_or_else(|| entry::read(&self.path(name)))
    }

    /// All that are stored, by name. The keychain is not asked.
    pub fn list(&self) -> Vec<Row> {
        let mut names = BTreeMap::new();
        names.extend(files(&self.folder).unwrap_or_default().into_iter().map(|name| (name, Kept::File)));
        let given = self.given.as_deref().map(files).unwrap_or(Ok(Vec::new())).unwrap_or_default();
        names.extend(
            given.iter().filter_map(|name| Some((name.strip_prefix("larder.")?.to_owned(), Kept::Systemd))),
        );
        names.retain(|name, _| check_name(name).is_ok());
        names.into_iter().map(|(name, kept)| self.row(name, kept)).collect()
    }

    /// Why the list may lack some: folders that are there, and that this process may not look into.
    pub fn hidden(&self) -> Vec<String> {
        let folders = [Some(&self.folder), self.given.as_ref()].into_iter().flatten();
        let words = |folder: &PathBuf| {
            let error = files(folder).err()?;
            Some(format!("the folder {} can't be looked into: {error}", folder.display()))
        };
        folders.filter_map(words).collect()
    }

    fn row(&self, name: String, kept: Kept) -> Row {
        let path = match kept {
            Kept::Systemd => self.given(&name).unwrap_or_default(),
            Kept::Keychain | Kept::File => self.path(&name),
        };
        let (kind, expires, kept, fault) = match self.entry(&name) {
            Ok(Entry::Here(document)) => (Some(document.kind()), document.expires(), kept, None),
            Ok(Entry::Keychain { of, expires }) => (Some(of), expires, Kept::Keychain, None),
            Err(Missing::Nowhere) => (None, None, kept, Some("it is gone again".into())),
            Err(Missing::Refused(words) | Missing::Withheld(words)) => (None, None, kept, Some(words)),
        };
        Row { name, kind, expires, kept, path, fault }
    }
}

impl fmt::Debug for Places {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "Places({})", self.folder.display())
    }
}

/// The names in a folder; none if there is no such folder.
fn files(folder: &Path) -> std::io::Result<Vec<String>> {
    match std::fs::read_dir(folder) {
        Ok(entries) => {
            Ok(entries.flatten().filter_map(|entry| entry.file_name().into_string().ok()).collect())
        }
        Err(error) if error.kind() == ErrorKind::NotFound => Ok(Vec::new()),
        Err(error) => Err(error),
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
    use std::os::unix::fs::{MetadataExt as _, PermissionsExt as _};

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
    async fn a_file_that_is_being_written_is_waited_for_and_then_refused() {
        let state = tempfile::tempdir().expect("a temporary folder");
        let places = Places::new(state.path());
        let document = Document::parse(TOKEN).expect("a document");
        places.store("work", &document, Some(Kept::File)).await.expect("it is stored");
        let path = state.path().join("credentials/work");
        for text in ["", &TOKEN[..20], "{"] {
            std::fs::write(&path, text).expect("our own");
            let Err(Missing::Withheld(words)) = places.read("work").await else { panic!("{text} is taken") };
            assert!(words.contains("not JSON") && !words.contains("s3cret"), "{words}");
            let written = SystemTime::now() - std::time::Duration::from_secs(5);
            let file = std::fs::File::options().append(true).open(&path).expect("our own");
            file.set_modified(written).expect("our own");
            assert!(
                matches!(places.read("work").await, Err(Missing::Refused(_))),
                "{text}: nobody writes it"
            );
            // A clock that was set back since is no reason to wait for a day.
            file.set_modified(SystemTime::now() + std::time::Duration::from_secs(86_400)).expect("our own");
            assert!(matches!(places.read("work").await, Err(Missing::Refused(_))), "{text}: of tomorrow");
        }
    }

    #[tokio::test]
    async fn what_is_not_seen_is_not_said_to_be_absent() {
        let state = tempfile::tempdir().expect("a temporary folder");
        // Not a folder at all, which no process may look into, be it root's.
        std::fs::write(state.path().join("credentials"), "").expect("our own");
        let places = Places { given: Some(state.path().join("absent")), ..Places::new(state.path()) };
        let hidden = places.hidden();
        assert!(places.list().is_empty() && hidden.len() == 1, "{hidden:?}");
        assert!(hidden[0].contains("credentials can't be looked into"), "{hidden:?}");
        assert!(matches!(places.read("work").await, Err(Missing::Refused(_))));
    }

    #[tokio::test]
    async fn that_the_keychain_has_one_is_known_whoever_else_could_read_that() {
        let state = tempfile::tempdir().expect("a temporary folder");
        let places = Places::new(state.path());
        let path = state.path().join("credentials/work");
        std::fs::create_dir(&places.folder).expect("our own");
        std::fs::write(&path, r#"{"kind":"keychain","of":"token"}"#).expect("our own");
        std::fs::set_permissions(&path, std::fs::Permissions::from_mode(0o644)).expect("our own");
        assert!(matches!(places.read("work").await, Err(Missing::Refused(_))));
        assert!(entry::names_keychain(&path), "else it would be left in the keychain by `larder logout`");
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
