//! A store below a prefix of another: what a namespace has that shares a bucket with others.
//!
//! The same for every kind of store, so that a folder's root stays what says whether the folder is mounted. A name
//! that would be too long with its prefix is absent on read and refused for good on write.

use std::sync::Arc;

use futures_util::future::{BoxFuture, FutureExt as _};

use super::{
    Direction, Failure, Fault, GetOptions, Got, Listed, Looked, PutDone, PutOptions, Source, Upstream,
};
use crate::error::Result;
use crate::key::ObjectName;

/// `store`, every name with `prefix` and a slash before it.
pub(super) fn below(store: Arc<dyn Upstream>, prefix: &str) -> Arc<dyn Upstream> {
    match prefix {
        "" => store,
        prefix => Arc::new(Below { store, prefix: format!("{prefix}/") }),
    }
}

#[derive(Debug)]
struct Below {
    store: Arc<dyn Upstream>,
    /// With its slash.
    prefix: String,
}

// === impl Below ===

impl Below {
    fn name(&self, name: &ObjectName) -> Option<ObjectName> {
        ObjectName::parse(&format!("{}{name}", self.prefix))
    }
}

impl Upstream for Below {
    fn get<'a>(&'a self, name: &'a ObjectName, options: &'a GetOptions) -> BoxFuture<'a, Result<Got, Fault>> {
        async move {
            match self.name(name) {
                Some(name) => self.store.get(&name, options).await,
                None => Ok(Got::Absent { denied: false }),
            }
        }
        .boxed()
    }

    fn head<'a>(&'a self, name: &'a ObjectName) -> BoxFuture<'a, Result<Looked, Fault>> {
        async move {
            match self.name(name) {
                Some(name) => self.store.head(&name).await,
                None => Ok(Looked::Absent { denied: false }),
            }
        }
        .boxed()
    }

    fn put<'a>(
        &'a self,
        name: &'a ObjectName,
        source: &'a dyn Source,
        options: &'a PutOptions,
    ) -> BoxFuture<'a, Result<PutDone, Fault>> {
        async move {
            match self.name(name) {
                Some(name) => self.store.put(&name, source, options).await,
                None => Err(Failure::Refused("the name is too long with its prefix".into()).into()),
            }
        }
        .boxed()
    }

    fn delete<'a>(&'a self, name: &'a ObjectName) -> BoxFuture<'a, Result<(), Fault>> {
        async move {
            match self.name(name) {
                Some(name) => self.store.delete(&name).await,
                None => Ok(()),
            }
        }
        .boxed()
    }

    fn list<'a>(
        &'a self,
        prefix: &'a str,
        after: Option<&'a str>,
        limit: usize,
    ) -> BoxFuture<'a, Result<Vec<Listed>, Fault>> {
        async move {
            let prefix = format!("{}{prefix}", self.prefix);
            let after = after.map(|after| format!("{}{after}", self.prefix));
            let listed = self.store.list(&prefix, after.as_deref(), limit).await?;
            let within = |row: Listed| {
                let name = ObjectName::parse(row.name.as_str().strip_prefix(&self.prefix)?)?;
                Some(Listed { name, ..row })
            };
            Ok(listed.into_iter().filter_map(within).collect())
        }
        .boxed()
    }

    fn probe<'a>(
        &'a self,
        direction: Direction,
        near: Option<&'a ObjectName>,
    ) -> BoxFuture<'a, Result<(), Fault>> {
        async move {
            // Rights may end with the prefix: nothing is asked of what lies beside it.
            let near = near.and_then(|near| self.name(near));
            let near = near.or_else(|| ObjectName::parse(&format!("{}probe", self.prefix)));
            self.store.probe(direction, near.as_ref()).await
        }
        .boxed()
    }

    fn recover(&self) -> BoxFuture<'_, ()> {
        self.store.recover()
    }

    fn carries(&self, name: &ObjectName) -> bool {
        self.name(name).is_some_and(|name| self.store.carries(&name))
    }

    fn has_other_keys(&self) -> bool {
        self.store.has_other_keys()
    }

    fn disconnect(&self) {
        self.store.disconnect();
    }

    fn clock_skew(&self) -> Option<i64> {
        self.store.clock_skew()
    }
}

#[cfg(test)]
mod tests {
    use super::super::folder::Folder;
    use super::*;

    #[tokio::test]
    async fn names_are_below_the_prefix_and_come_back_without_it() {
        let folder = tempfile::tempdir().expect("a folder");
        let whole: Arc<dyn Upstream> = Arc::new(Folder::new(folder.path().to_path_buf()));
        for name in ["team/a/x", "team/b", "other/a"] {
            let path = folder.path().join(name);
            std::fs::create_dir_all(path.parent().expect("below the root")).expect("made");
            std::fs::write(path, name).expect("written");
        }
        let team = below(Arc::clone(&whole), "team");
        let parse = |name: &str| ObjectName::parse(name).expect("a name");
        assert!(matches!(team.head(&parse("a/x")).await, Ok(Looked::Found(_))));
        assert!(matches!(team.head(&parse("other/a")).await, Ok(Looked::Absent { .. })));
        let names = async |after| {
            let listed = team.list("", after, 10).await.expect("listed");
            listed.iter().map(|row| row.name.to_string()).collect::<Vec<_>>()
        };
        assert_eq!(names(None).await, ["a/x", "b"]);
        assert_eq!(names(Some("a/x")).await, ["b"]);
        team.delete(&parse("b")).await.expect("deleted");
        assert!(!folder.path().join("team/b").exists() && folder.path().join("other/a").exists());
        let long = parse(&"n".repeat(900));
        assert!(matches!(team.get(&long, &GetOptions::default()).await, Ok(Got::Absent { .. })));
    }
}
