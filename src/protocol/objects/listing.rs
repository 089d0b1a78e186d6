//! Listings with prefixes, delimiters and pages.

use crate::cache::{Cache, Listed};
use crate::error::Result;
use crate::key::{Scope, Space};

/// What a page should have.
#[derive(Debug, Clone, Copy, Default)]
pub(crate) struct Wanted<'a> {
    /// What all names begin with.
    pub(crate) prefix: &'a str,
    /// Names that have it after the prefix are shown as one, up to it.
    pub(crate) delimiter: Option<&'a str>,
    /// Only names and common prefixes after this one.
    pub(crate) after: Option<&'a str>,
    /// So many at most, both together.
    pub(crate) max: usize,
    /// Names that begin so are left out: they are another namespace's.
    pub(crate) without: &'a [String],
}

/// A page.
#[derive(Debug, Default)]
pub(crate) struct Page {
    /// In order, names and common prefixes among each other.
    pub(crate) rows: Vec<Row>,
    /// The last row of this page, if there are more: what the next one comes after.
    pub(crate) next: Option<String>,
}

/// One of them.
#[derive(Debug, PartialEq, Eq)]
pub(crate) enum Row {
    /// An entry.
    Entry(Listed),
    /// What several begin with, up to the delimiter.
    Prefix(String),
}

/// Sorts after every name that goes on here.
const LAST: char = char::MAX;

/// A page of the names of a space in a scope.
///
/// # Errors
/// As [`Cache::list`].
pub(crate) async fn page(cache: &Cache, scope: &Scope, space: &Space, wanted: Wanted<'_>) -> Result<Page> {
    let Wanted { prefix, delimiter, after, max, without } = wanted;
    let delimiter = delimiter.filter(|delimiter| !delimiter.is_empty());
    let group = |name: &str| {
        let delimiter = delimiter?;
        let at = name.strip_prefix(prefix)?.find(delimiter)?;
        Some(name[..prefix.len() + at + delimiter.len()].to_owned())
    };
    let others = |name: &str| without.iter().find(|begin| name.starts_with(&***begin)).cloned();
    let mut page = Page::default();
    if max == 0 {
        return Ok(page);
    }
    // Behind a common prefix, behind all that it stands for.
    let behind =
        |row: &str| if group(row).as_deref() == Some(row) { format!("{row}{LAST}") } else { row.into() };
    let mut after = after.map(behind);
    loop {
        let limit = max + 1 - page.rows.len();
        let names = cache.list(scope, space, prefix, after.as_deref(), limit).await?;
        let more = names.len() >= limit;
        after = names.last().map(|last| {
            let name = last.name.as_str();
            others(name).or_else(|| group(name)).map_or_else(|| name.to_owned(), |all| format!("{all}{LAST}"))
        });
        for listed in names {
            if others(listed.name.as_str()).is_some() {
                continue;
            }
            let row = match group(listed.name.as_str()) {
                Some(group) => Row::Prefix(group),
                None => Row::Entry(listed),
            };
            if page.rows.last() == Some(&row) {
                continue;
            }
            if page.rows.len() == max {
                page.next = page.rows.last().map(|row| row.name().to_owned());
                return Ok(page);
            }
            page.rows.push(row);
        }
        if !more {
            return Ok(page);
        }
    }
}

// === impl Row ===

impl Row {
    /// The name, or the prefix.
    pub(crate) fn name(&self) -> &str {
        match self {
            Self::Entry(listed) => listed.name.as_str(),
            Self::Prefix(prefix) => prefix,
        }
    }
}
