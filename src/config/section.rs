//! What was said, before it is looked at: values by key, each with its place, in the sections of the file.
//!
//! File, environment and flags all write into the same shape, the later over the earlier; so every value has one
//! source, and the check of a value is the same wherever it was said.

use std::collections::BTreeMap;

use toml::Value;

use super::keys::{Key, Unset};
use super::place::{Problem, Source};

/// A value and where it was said.
#[derive(Debug, Clone)]
pub(super) struct Setting {
    pub(super) value: Value,
    pub(super) source: Source,
}

/// One table of the file, or all that is in none.
#[derive(Debug)]
pub(super) struct Section {
    /// What its keys are called before their own names: empty, or `upstreams.team.`.
    pub(super) path: String,
    /// The last part of that: `team`.
    pub(super) name: String,
    /// Where it begins.
    pub(super) source: Source,
    settings: BTreeMap<&'static str, Setting>,
}

/// Everything that was said.
#[derive(Debug)]
pub(super) struct Said {
    /// The keys outside of the tables below.
    pub(super) top: Section,
    /// `[upstreams.NAME]`.
    pub(super) upstreams: Vec<Section>,
    /// `[namespaces."NS"]`.
    pub(super) namespaces: Vec<Section>,
    /// `[[listeners]]`.
    pub(super) listeners: Vec<Section>,
}

// === impl Section ===

impl Section {
    pub(super) fn new(path: String, name: String, source: Source) -> Self {
        Self { path, name, source, settings: BTreeMap::new() }
    }

    pub(super) fn set(&mut self, name: &'static str, value: Value, source: Source) {
        self.settings.insert(name, Setting { value, source });
    }

    pub(super) fn find(&self, name: &str) -> Option<&Setting> {
        self.settings.get(name)
    }

    /// Everything that was said in it.
    pub(super) fn values(&self) -> impl Iterator<Item = (&'static str, &Value)> {
        self.settings.iter().map(|(name, setting)| (*name, &setting.value))
    }

    /// Where `name` was said; if it wasn't, where its section begins.
    pub(super) fn source_of(&self, name: &str) -> &Source {
        self.find(name).map_or(&self.source, |setting| &setting.source)
    }

    /// A problem with one of its keys.
    pub(super) fn problem(&self, name: &str, words: impl Into<String>) -> Problem {
        Problem::new(self.source_of(name), format!("{}{name}", self.path), words)
    }

    /// Defaults, and what was said over them.
    pub(super) fn read<T: Default>(&self, keys: &[Key<T>], problems: &mut Vec<Problem>) -> T {
        let mut to = T::default();
        for key in keys {
            if let Unset::Is(literal) = key.doc.unset {
                (key.set)(&mut to, &super::keys::literal(literal)).expect("a test sets every default");
            }
            match (self.find(key.doc.name), key.doc.unset) {
                (Some(said), _) => {
                    if let Err(words) = (key.set)(&mut to, &said.value) {
                        problems.push(self.problem(key.doc.name, words));
                    }
                }
                (None, Unset::Needed(example)) => {
                    problems.push(self.problem(key.doc.name, format!("is missing; say it, as in {example}")));
                }
                (None, Unset::Is(_) | Unset::Follows(..)) => {}
            }
        }
        to
    }
}

// === impl Said ===

impl Said {
    pub(super) fn nothing() -> Self {
        Self {
            top: Section::new(String::new(), String::new(), Source::Default),
            upstreams: Vec::new(),
            namespaces: Vec::new(),
            listeners: Vec::new(),
        }
    }
}
