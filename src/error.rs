//! The one error type of the layers below the protocols.
//!
//! A [`Kind`] exists only where some caller acts differently; everything else is words. A message is a lower-case
//! fragment that completes "failed to …", names the thing and, where there is one, the remedy. Absence is not an
//! error anywhere in Larder: it is `Ok(None)`, a fact about the world, while an `Err` is not knowing.

use std::borrow::Cow;
use std::fmt;
use std::sync::Arc;

/// What went wrong, as coarsely as callers tell it apart.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash)]
pub enum Kind {
    /// The request is malformed: a name, a range, a header.
    Invalid,
    /// The bytes are not what the sender said: digest or length differ from the claim.
    Mismatch,
    /// Over `entry_max`, or over what the protocol allows.
    TooLarge,
    /// No room on disk or in a bounded queue.
    NoSpace,
    /// The caller may not do this.
    Denied,
    /// A condition (`If-Match`, `If-None-Match`) does not hold.
    Precondition,
    /// Well-formed, but not something that is served here.
    Unsupported,
    /// Something that we depend on does not answer: an upstream, a deadline.
    Unavailable,
    /// Bytes at rest, or from upstream, are damaged.
    Corrupt,
    /// A defect of ours, or of the machine.
    Internal,
}

/// A failure: its [`Kind`], words for a person, and the cause.
///
/// Cloning is cheap; the readers of one fill all receive the same failure.
#[derive(Clone)]
pub struct Error {
    kind: Kind,
    message: Cow<'static, str>,
    source: Option<Arc<dyn std::error::Error + Send + Sync>>,
}

/// `Result` with this crate's [`Error`].
pub type Result<T, E = Error> = std::result::Result<T, E>;

// === impl Error ===

impl Error {
    /// An error without a cause.
    pub fn new(kind: Kind, message: impl Into<Cow<'static, str>>) -> Self {
        Self { kind, message: message.into(), source: None }
    }

    /// Attaches what caused it.
    #[must_use]
    pub fn because(mut self, source: impl std::error::Error + Send + Sync + 'static) -> Self {
        self.source = Some(Arc::new(source));
        self
    }

    /// The request is malformed.
    pub fn invalid(message: impl Into<Cow<'static, str>>) -> Self {
        Self::new(Kind::Invalid, message)
    }

    /// A file operation on `path` failed. "No space" and "no inodes" become [`Kind::NoSpace`].
    pub fn io(doing: &str, path: &std::path::Path, source: std::io::Error) -> Self {
        use std::io::ErrorKind as Io;
        let kind = match source.kind() {
            Io::StorageFull | Io::QuotaExceeded | Io::FileTooLarge => Kind::NoSpace,
            _ => Kind::Internal,
        };
        Self::new(kind, format!("{doing} {}", path.display())).because(source)
    }

    /// What went wrong, for callers that act on it.
    pub fn kind(&self) -> Kind {
        self.kind
    }

    /// The words without the cause. Safe to show to a client: no path of ours is in a message of the kinds that
    /// protocols answer with.
    pub fn message(&self) -> &str {
        &self.message
    }
}

impl fmt::Display for Error {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(&self.message)?;
        let mut cause: Option<&dyn std::error::Error> = std::error::Error::source(self);
        while let Some(error) = cause {
            write!(f, ": {error}")?;
            cause = error.source();
        }
        Ok(())
    }
}

impl fmt::Debug for Error {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{:?}({self})", self.kind)
    }
}

impl std::error::Error for Error {
    fn source(&self) -> Option<&(dyn std::error::Error + 'static)> {
        self.source.as_deref().map(|source| source as &(dyn std::error::Error + 'static))
    }
}

/// What is at the bottom of an error: the system's word, without the layers that quote one another.
pub fn deepest(error: &dyn std::error::Error) -> String {
    let mut deepest = error;
    while let Some(source) = deepest.source() {
        deepest = source;
    }
    deepest.to_string()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_full_disk_is_no_space_and_names_the_path() {
        let error = Error::io(
            "append to",
            std::path::Path::new("/var/cache/x"),
            std::io::Error::from(std::io::ErrorKind::StorageFull),
        );
        assert_eq!(error.kind(), Kind::NoSpace);
        assert!(error.to_string().starts_with("append to /var/cache/x: "), "{error}");
    }
}
