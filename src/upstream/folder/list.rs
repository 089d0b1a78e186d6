//! Listing a folder upstream, in the order of the names' bytes.

use super::super::{Fault, Listed};
use super::{OURS, Root, meta};
use crate::key::ObjectName;

/// What a walk looks for.
struct Wanted<'a> {
    prefix: &'a str,
    after: Option<&'a str>,
    limit: usize,
}

/// See [`super::super::Upstream::list`].
pub(super) fn list(
    root: &Root,
    prefix: &str,
    after: Option<&str>,
    limit: usize,
) -> Result<Vec<Listed>, Fault> {
    let mut found = Vec::new();
    walk(root, "", &Wanted { prefix, after, limit }, &mut found)?;
    Ok(found)
}

/// Visits the folder whose names begin with `base`, which is empty or ends in a slash.
fn walk(root: &Root, base: &str, wanted: &Wanted<'_>, found: &mut Vec<Listed>) -> Result<(), Fault> {
    let folder = root.path.join(base);
    let fault = |e| root.fault("list", &folder, &e);
    let entries = match std::fs::read_dir(&folder) {
        Ok(entries) => entries,
        // Removed since its parent was read.
        Err(e) if super::is_no_such_file(&e) => return Ok(()),
        Err(e) => return Err(fault(e)),
    };
    let mut names = Vec::new();
    for entry in entries {
        let entry = entry.map_err(fault)?;
        // A name that isn't UTF-8 was not put by us.
        let Ok(name) = entry.file_name().into_string() else { continue };
        if base.is_empty() && name == OURS {
            continue;
        }
        // A folder sorts as its names do: with its slash.
        let slash = if entry.path().is_dir() { "/" } else { "" };
        names.push(format!("{base}{name}{slash}"));
    }
    names.sort_unstable();
    for name in names {
        if found.len() >= wanted.limit {
            return Ok(());
        }
        if name.ends_with('/') {
            if wanted.may_be_under(&name) {
                walk(root, &name, wanted, found)?;
            }
        } else if wanted.is(&name) {
            found.extend(look(root, &name)?);
        }
    }
    Ok(())
}

fn look(root: &Root, name: &str) -> Result<Option<Listed>, Fault> {
    let Some(name) = ObjectName::parse(name) else {
        return Ok(None);
    };
    Ok(root.find(&name)?.map(|(_, found)| Listed {
        name,
        len: found.meta.len,
        etag: found.meta.etag,
        last_modified: found.meta.last_modified,
    }))
}

// === impl Wanted ===

impl Wanted<'_> {
    fn is(&self, name: &str) -> bool {
        name.starts_with(self.prefix)
            && self.after.is_none_or(|after| name > after)
            && !name.ends_with(meta::SUFFIX)
    }

    /// Whether a name that begins with `folder` can be wanted.
    fn may_be_under(&self, folder: &str) -> bool {
        let prefix = folder.starts_with(self.prefix) || self.prefix.starts_with(folder);
        prefix && self.after.is_none_or(|after| folder > after || after.starts_with(folder))
    }
}
