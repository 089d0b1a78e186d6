//! Which upstream and which policy a namespace has: those of the longest configured one that it is, or is below of.
//!
//! Found without an allocation: the namespace is looked up, then what is left of it before its last slash, and so on. A
//! tree rather than a table of hashes: a few comparisons of short texts cost less than one hash.

use std::collections::BTreeMap;

use crate::error::Result;
use crate::key::{Namespace, Owner, Policy, Scope, UpstreamId};

/// Where a namespace's names go, and what it sets for itself.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default)]
pub struct Route {
    /// Its upstream; `None`: its names stay on this machine.
    pub upstream: Option<UpstreamId>,
    /// What it sets for itself.
    pub policy: Policy,
}

/// The routes of all namespaces.
#[derive(Debug, Clone, Default)]
pub struct Routes {
    default: Route,
    namespaces: BTreeMap<Namespace, Route>,
}

/// The scope of each namespace, for an owner.
#[derive(Debug)]
pub struct Places {
    /// Of a request without a namespace.
    unnamed: Scope,
    routes: Routes,
}

// === impl Places ===

impl Places {
    /// The places of `owner`.
    pub fn new(owner: Owner, routes: Routes) -> Self {
        let route = routes.of("");
        let namespace = Namespace::none();
        let unnamed = Scope { owner, namespace, upstream: route.upstream, policy: route.policy };
        Self { unnamed, routes }
    }

    /// The scope of a request without a namespace.
    pub fn unnamed(&self) -> &Scope {
        &self.unnamed
    }

    /// The scope of a namespace.
    ///
    /// # Errors
    /// As [`Namespace::parse`].
    pub fn scope(&self, namespace: &str) -> Result<Scope> {
        let namespace = Namespace::parse(namespace)?;
        let route = self.routes.of(namespace.as_str());
        let (upstream, policy) = (route.upstream, route.policy);
        Ok(Scope { owner: self.unnamed.owner, namespace, upstream, policy })
    }
}

// === impl Routes ===

impl Routes {
    /// `default`: of every namespace that is not below one of `namespaces`.
    pub fn new(default: Route, namespaces: impl IntoIterator<Item = (Namespace, Route)>) -> Self {
        Self { default, namespaces: namespaces.into_iter().collect() }
    }

    /// The route of a namespace.
    fn of(&self, namespace: &str) -> &Route {
        let mut above = Some(namespace).filter(|_| !self.namespaces.is_empty());
        while let Some(name) = above {
            if let Some(route) = self.namespaces.get(name) {
                return route;
            }
            above = name.rfind('/').map(|end| &name[..end]);
        }
        &self.default
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_longest_prefix_of_segments_counts() {
        let to = |number| Route { upstream: Some(UpstreamId(number)), ..Route::default() };
        let parse = |text| Namespace::parse(text).expect("a namespace");
        let routes = Routes::new(
            to(0),
            [
                (parse("web"), to(1)),
                (parse("web/app/x"), to(2)),
                (parse("web/app"), Route::default()),
                (parse("w"), to(3)),
            ],
        );
        for (namespace, upstream) in [
            ("", Some(0)),
            ("web", Some(1)),
            ("web/a", Some(1)),
            ("web2", Some(0)),
            ("web/app", None),
            ("web/app/y", None),
            ("web/app/x/y", Some(2)),
            ("web/apple", Some(1)),
            ("w", Some(3)),
            ("other/web", Some(0)),
        ] {
            assert_eq!(routes.of(namespace).upstream, upstream.map(UpstreamId), "{namespace}");
        }
        assert_eq!(Routes::default().of("web").upstream, None);
    }
}
