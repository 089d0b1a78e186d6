//! The configuration file: a table of keys, each with what it sets.
//!
//! The names of bounds are the names in the documentation, in `/-/stats` and in logs. A key that is not here is
//! refused: a misspelt bound that is silently not set is worse than a daemon that doesn't start.

use std::path::Path;

use toml::{Table, Value};

use super::value::{count, duration, percent, size, text, texts, users};
use super::{Durability, LogFormat, Problem, Wishes};

type Set = fn(&mut Wishes, &Value) -> Result<(), String>;

/// Every key, and what it does.
const KEYS: &[(&str, Set)] = &[
    ("listen", |to, value| texts(value).map(|list| to.listen = list)),
    ("dir", |to, value| text(value).map(|path| to.dir = Some(path.into()))),
    ("upstream", |to, value| text(value).map(|url| to.upstream = Some(url))),
    ("allow_hosts", |to, value| texts(value).map(|list| to.allow_hosts = list)),
    ("access.users", |to, value| users(value).map(|list| to.users = list)),
    ("durability", |to, value| {
        to.durability = match value.as_str() {
            Some("process") => Durability::Process,
            Some("power") => Durability::Power,
            _ => return Err("is neither \"process\" nor \"power\"".into()),
        };
        Ok(())
    }),
    ("log.format", |to, value| {
        to.log_format = match value.as_str() {
            Some("text") => LogFormat::Text,
            Some("json") => LogFormat::Json,
            _ => return Err("is neither \"text\" nor \"json\"".into()),
        };
        Ok(())
    }),
    ("log.filter", |to, value| text(value).map(|filter| to.log_filter = Some(filter))),
    ("entry_max", |to, value| size(value).map(|bytes| to.entry_max = Some(bytes))),
    ("memory", |to, value| size(value).map(|bytes| to.bounds.memory = bytes)),
    ("memory_entry_max", |to, value| size(value).map(|bytes| to.bounds.memory_entry_max = bytes)),
    ("disk", |to, value| size(value).map(|bytes| to.bounds.disk = bytes)),
    ("disk_keep_free", |to, value| size(value).map(|bytes| to.bounds.disk_keep_free = Some(bytes))),
    ("inodes_keep_free", |to, value| percent(value).map(|share| to.bounds.inodes_keep_free = share)),
    ("disk_floor", |to, value| size(value).map(|bytes| to.bounds.disk_floor = bytes)),
    ("queue_bytes", |to, value| size(value).map(|bytes| to.bounds.queue_bytes = bytes)),
    ("queue_entries", |to, value| count(value).map(|entries| to.bounds.queue_entries = entries)),
    ("fills", |to, value| count(value).map(|fills| to.bounds.fills = fills as usize)),
    ("fill_bytes", |to, value| size(value).map(|bytes| to.bounds.fill_bytes = bytes)),
    ("connect", |to, value| duration(value).map(|time| to.bounds.connect = time)),
    ("first_byte", |to, value| duration(value).map(|time| to.bounds.first_byte = time)),
    ("stall", |to, value| duration(value).map(|time| to.bounds.stall = time)),
    ("absent_memory_entries", |to, value| {
        count(value).map(|entries| to.bounds.absent_memory_entries = entries as usize)
    }),
    ("absent_memory_age", |to, value| duration(value).map(|age| to.bounds.absent_memory_age = age)),
    ("fact_memory_entries", |to, value| {
        count(value).map(|entries| to.bounds.fact_memory_entries = entries as usize)
    }),
    ("fact_memory_age", |to, value| duration(value).map(|age| to.bounds.fact_memory_age = age)),
    ("connections", |to, value| count(value).map(|count| to.bounds.connections = Some(count as usize))),
    ("head", |to, value| duration(value).map(|time| to.bounds.head = time)),
    ("body_stall", |to, value| duration(value).map(|time| to.bounds.body_stall = time)),
    ("idle", |to, value| duration(value).map(|time| to.bounds.idle = time)),
    ("partial_uploads_count", |to, value| {
        count(value).map(|uploads| to.bounds.partial_uploads_count = uploads as usize)
    }),
    ("partial_uploads_bytes", |to, value| {
        size(value).map(|bytes| to.bounds.partial_uploads_bytes = Some(bytes))
    }),
    ("partial_uploads_age", |to, value| duration(value).map(|age| to.bounds.partial_uploads_age = age)),
    ("quarantine_entries", |to, value| {
        count(value).map(|entries| to.bounds.quarantine_entries = entries as usize)
    }),
    ("quarantine_bytes", |to, value| size(value).map(|bytes| to.bounds.quarantine_bytes = bytes)),
    ("quarantine_age", |to, value| duration(value).map(|age| to.bounds.quarantine_age = age)),
];

/// Every key of the file; those of a section are `section.key`.
pub fn keys() -> impl Iterator<Item = &'static str> {
    KEYS.iter().map(|(key, _)| *key)
}

/// Reads the file at `path` into `wishes`, as far as it is right; the rest is added to `problems`.
pub(super) fn read(path: &Path, wishes: &mut Wishes, problems: &mut Vec<Problem>) {
    let origin = path.display().to_string();
    let text = match std::fs::read_to_string(path) {
        Ok(text) => text,
        Err(error) => return problems.push(Problem::new(&origin, "", format!("can't be read: {error}"))),
    };
    match text.parse::<Table>() {
        Ok(table) => apply(&table, "", &origin, wishes, problems),
        Err(error) => problems.push(Problem::new(&origin, "", error.to_string().trim_end().to_owned())),
    }
}

fn apply(table: &Table, section: &str, origin: &str, wishes: &mut Wishes, problems: &mut Vec<Problem>) {
    for (name, value) in table {
        let key = format!("{section}{name}");
        let result = match (KEYS.iter().find(|(known, _)| *known == key), value) {
            (Some((_, set)), value) => set(wishes, value),
            (None, Value::Table(inner)) if is_section(&key) => {
                apply(inner, &format!("{key}."), origin, wishes, problems);
                Ok(())
            }
            (None, _) => Err(unknown(&key)),
        };
        if let Err(words) = result {
            problems.push(Problem::new(origin, &key, words));
        }
    }
}

fn is_section(name: &str) -> bool {
    keys().any(|key| key.strip_prefix(name).is_some_and(|rest| rest.starts_with('.')))
}

fn unknown(key: &str) -> String {
    let nearest = keys().min_by_key(|known| distance(known, key)).filter(|known| distance(known, key) <= 3);
    match nearest {
        Some(nearest) => format!("is not a key; is `{nearest}` meant?"),
        None => "is not a key of this version".into(),
    }
}

/// Letters to insert, delete or change to make `b` of `a`.
fn distance(a: &str, b: &str) -> usize {
    let b: Vec<char> = b.chars().collect();
    let mut row: Vec<usize> = (0..=b.len()).collect();
    for (i, letter) in a.chars().enumerate() {
        let mut diagonal = row[0];
        row[0] = i + 1;
        for j in 0..b.len() {
            let changed = diagonal + usize::from(letter != b[j]);
            diagonal = row[j + 1];
            row[j + 1] = changed.min(row[j] + 1).min(diagonal + 1);
        }
    }
    row[b.len()]
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_misspelt_key_is_told_its_neighbour() {
        assert!(unknown("memorry").contains("`memory`"));
        assert!(unknown("first-byte").contains("`first_byte`"));
        assert!(!unknown("completely_different").contains('`'));
    }

    #[test]
    fn keys_are_unique() {
        let mut all: Vec<_> = keys().collect();
        all.sort_unstable();
        all.dedup();
        assert_eq!(all.len(), KEYS.len());
    }
}
