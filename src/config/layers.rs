//! The file, the environment and the flags, one over the other.
//!
//! Every key outside of the tables is also a variable: `LARDER_` and its name in capitals, a dot as `_`. Lists are
//! separated by commas there. The log's filter is `LARDER_LOG`.

use std::io::ErrorKind;
use std::path::{Path, PathBuf};

use toml::Value;

use super::file::Reading;
use super::keys::{Kind, TOP};
use super::place::{Problem, Source};
use super::section::Said;
use super::{Environment, Flags, Folders, file as files};

/// Everything that was said.
pub(super) fn read(
    flags: &Flags,
    environment: &Environment,
    reading: Reading,
    problems: &mut Vec<Problem>,
) -> Said {
    let mut said = Said::nothing();
    if let Some(path) = file(flags, environment) {
        files::read(&path, reading, &mut said, problems);
    }
    for (key, text) in &environment.settings {
        let Some(known) = TOP.iter().find(|known| known.doc.name == *key) else { continue };
        let value = value(known.doc.kind, text);
        said.top.set(known.doc.name, value, Source::Environment(variable(key)));
    }
    if !flags.listen.is_empty() {
        let list = flags.listen.iter().map(|text| Value::from(text.as_str())).collect();
        said.top.set("listen", Value::Array(list), Source::Flag("--listen"));
    }
    if let Some(dir) = &flags.dir {
        said.top.set("dir", path_value(dir), Source::Flag("--dir"));
    }
    if let Some(url) = &flags.upstream {
        said.top.set("upstream", Value::from(url.as_str()), Source::Flag("--upstream"));
    }
    said
}

/// The file that is read: the one that is named, which has to be there; else the default one, if it is there.
pub(super) fn file(flags: &Flags, environment: &Environment) -> Option<PathBuf> {
    let is_named = flags.config.is_some() || environment.config.is_some();
    place(flags, environment).filter(|path| is_named || is_there(path))
}

/// Where that is, or would be.
pub(super) fn place(flags: &Flags, environment: &Environment) -> Option<PathBuf> {
    let named = flags.config.as_ref().or(environment.config.as_ref());
    named.cloned().or_else(|| Folders::config(environment))
}

/// Whether something has the name: also what can't be read, or points nowhere, which is then a problem.
fn is_there(path: &Path) -> bool {
    match path.symlink_metadata() {
        Ok(_) => true,
        Err(error) => !matches!(error.kind(), ErrorKind::NotFound | ErrorKind::NotADirectory),
    }
}

/// The variable of a key.
pub(super) fn variable(key: &str) -> String {
    match key {
        "log.filter" => "LARDER_LOG".into(),
        key => format!("LARDER_{}", key.replace('.', "_").to_uppercase()),
    }
}

/// A text of the environment as the file would have it.
fn value(kind: Kind, text: &str) -> Value {
    match kind {
        Kind::Texts | Kind::Users => {
            let items = text.split(',').map(str::trim).filter(|item| !item.is_empty());
            Value::Array(
                items
                    .map(|item| one(if kind == Kind::Users { Kind::Count } else { Kind::Text }, item))
                    .collect(),
            )
        }
        kind => one(kind, text),
    }
}

fn one(kind: Kind, text: &str) -> Value {
    let number =
        matches!(kind, Kind::Count | Kind::Size | Kind::Percent).then(|| text.trim().parse().ok()).flatten();
    match (kind, number, text.trim()) {
        (_, Some(number), _) => Value::Integer(number),
        (Kind::Truth, None, "true") => Value::Boolean(true),
        (Kind::Truth, None, "false") => Value::Boolean(false),
        _ => Value::from(text),
    }
}

fn path_value(path: &Path) -> Value {
    Value::from(path.to_string_lossy().into_owned())
}
