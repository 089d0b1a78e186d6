//! Where a value was said, and what is wrong with it.

use std::fmt;
use std::sync::Arc;

/// Where a value was said. Later ones win over earlier ones, and problems are told in this order.
#[derive(Debug, Clone, PartialEq, Eq, PartialOrd, Ord)]
pub(super) enum Source {
    /// Nowhere: it is the default, or what is wrong is that nothing was said.
    Default,
    /// In the file. Line and column begin at 1, the column counts characters; line 0 is the file as a whole.
    File { path: Arc<str>, line: usize, column: usize },
    /// In this variable.
    Environment(String),
    /// By this flag.
    Flag(&'static str),
}

/// Something that is wrong with a configuration.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Problem {
    source: Source,
    key: String,
    words: String,
}

/// The text of the file, for places in it.
#[derive(Debug)]
pub(super) struct Text<'a> {
    pub(super) path: Arc<str>,
    pub(super) text: &'a str,
}

// === impl Source ===

impl Source {
    /// The file as a whole.
    pub(super) fn file(path: Arc<str>) -> Self {
        Self::File { path, line: 0, column: 0 }
    }
}

impl fmt::Display for Source {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::Default => f.write_str("the configuration"),
            Self::File { path, line: 0, .. } => f.write_str(path),
            Self::File { path, line, column } => write!(f, "{path}:{line}:{column}"),
            Self::Environment(variable) => f.write_str(variable),
            Self::Flag(flag) => f.write_str(flag),
        }
    }
}

// === impl Problem ===

impl Problem {
    /// `words` complete "`key`: …", and end in the remedy.
    pub(super) fn new(source: &Source, key: impl Into<String>, words: impl Into<String>) -> Self {
        Self { source: source.clone(), key: key.into(), words: words.into() }
    }

    /// In the order in which a person goes through them.
    pub(super) fn sort(problems: &mut [Self]) {
        problems.sort_by(|one, other| one.source.cmp(&other.source));
    }
}

impl fmt::Display for Problem {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self.key.as_str() {
            "" => write!(f, "{}: {}", self.source, self.words),
            key => write!(f, "{}: `{key}`: {}", self.source, self.words),
        }
    }
}

// === impl Text ===

impl Text<'_> {
    /// The place of a byte of it.
    pub(super) fn at(&self, offset: usize) -> Source {
        let before = self.text.get(..offset).unwrap_or(self.text);
        let line_start = before.rfind('\n').map_or(0, |newline| newline + 1);
        Source::File {
            path: Arc::clone(&self.path),
            line: before.matches('\n').count() + 1,
            column: before[line_start..].chars().count() + 1,
        }
    }
}
