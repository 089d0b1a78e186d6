//! What a configuration says, key by key: what changed when it is read again.

use std::collections::BTreeMap;
use std::path::PathBuf;

use toml::Value;

use super::keys;
use super::section::{Said, Section};

/// Every key that was said, with its value. Those of tables are `upstreams.team.url`.
#[derive(Debug, Clone, PartialEq, Default)]
pub struct Stated(BTreeMap<String, Value>);

/// The keys of a listener that name files.
const TLS_FILES: [&str; 3] = ["certificate", "key", "client_ca"];

// === impl Stated ===

impl Stated {
    /// The keys that another says otherwise, or that only one of the two says; in order.
    pub fn changed(&self, other: &Self) -> Vec<String> {
        let mut keys: Vec<String> = self
            .0
            .keys()
            .chain(other.0.keys())
            .filter(|key| self.0.get(*key) != other.0.get(*key))
            .cloned()
            .collect();
        keys.sort_unstable();
        keys.dedup();
        keys
    }

    /// Those of them that count from the next start on.
    pub fn changed_for_start(&self, other: &Self) -> Vec<String> {
        self.changed(other).into_iter().filter(|key| keys::is_at_start(key)).collect()
    }

    /// The files of TLS.
    pub(super) fn of_tls(&self) -> impl Iterator<Item = PathBuf> {
        let of_listener = |key: &&String| key.starts_with("listeners.");
        let files = self
            .0
            .keys()
            .filter(of_listener)
            .filter(|key| TLS_FILES.contains(&key.rsplit('.').next().unwrap_or_default()));
        files.filter_map(|key| self.0.get(key)?.as_str().map(PathBuf::from))
    }

    /// The file of `access.tokens`.
    pub(super) fn tokens(&self) -> Option<PathBuf> {
        self.0.get("access.tokens").and_then(Value::as_str).map(PathBuf::from)
    }
}

// === impl Said ===

impl Said {
    /// The values, without their places.
    pub(super) fn stated(&self) -> Stated {
        let mut all = BTreeMap::new();
        let mut add = |section: &Section| {
            let path = section.path.clone();
            all.extend(section.values().map(|(name, value)| (format!("{path}{name}"), value.clone())));
        };
        add(&self.top);
        self.upstreams.iter().chain(&self.namespaces).chain(&self.listeners).for_each(add);
        Stated(all)
    }

    /// The files of TLS.
    pub(super) fn of_tls(&self) -> impl Iterator<Item = PathBuf> {
        self.listeners.iter().flat_map(|section| {
            TLS_FILES.iter().filter_map(|key| section.find(key)?.value.as_str().map(PathBuf::from))
        })
    }

    /// The file of `access.tokens`.
    pub(super) fn tokens(&self) -> Option<PathBuf> {
        self.top.find("access.tokens").and_then(|said| said.value.as_str()).map(PathBuf::from)
    }
}

#[cfg(test)]
mod tests {
    use super::super::{Config, Environment, Flags};

    #[test]
    fn what_changed_is_told_by_key_and_never_by_value() {
        let folder = tempfile::tempdir().expect("a temporary folder");
        let file = folder.path().join("larder.toml");
        let flags = Flags { config: Some(file.clone()), dir: Some(folder.path().into()), ..Flags::default() };
        let load = |text: &str| {
            std::fs::write(&file, text).expect("a temporary file");
            Config::load(&flags, &Environment::default()).expect("it is right")
        };
        let one = load("memory = \"1 MiB\"\nmemory_entry_max = 9\n[upstreams.team]\nurl = \"file:///a\"\n");
        let other = load(
            "memory = \"2 MiB\"\nmemory_entry_max = 9\ndurability = \"power\"\n[upstreams.team]\nurl = \"file:///b\"\n\
             [[listeners]]\naddress = \"127.0.0.1:1\"\n",
        );
        let changed = one.said.changed(&other.said);
        assert_eq!(changed, ["durability", "listeners.1.address", "memory", "upstreams.team.url"]);
        assert_eq!(one.said.changed_for_start(&other.said), ["durability", "listeners.1.address"]);
        assert!(one.said.changed(&one.said).is_empty());
        assert_eq!(one.files(&flags, &Environment::default()), [file]);
    }
}
