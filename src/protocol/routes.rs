//! Which upstream and which policy a namespace has: those of the longest configured one that it is, or is below of.
//!
//! Found without an allocation: the namespace is looked up, then what is left of it before its last slash, and so on. A
//! tree rather than a table of hashes: a few comparisons of short texts cost less than one hash.

use std::collections::BTreeMap;
use std::ops::Deref;

use crate::error::Result;
use crate::key::{Namespace, Owner, Policy, Scope, UpstreamId};
use crate::swap::{Read, Swap};

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
    owner: Owner,
    known: Swap<Known>,
}

/// The routes in force.
#[derive(Debug)]
struct Known {
    /// Of a request without a namespace.
    unnamed: Scope,
    routes: Routes,
}

/// The scope of a request without a namespace, as it is at this moment. A request for what memory has reads it without
/// counting a reference.
#[derive(Debug)]
pub struct Unnamed(Read<Known>);

// === impl Places ===

impl Places {
    /// The places of `owner`.
    pub fn new(owner: Owner, routes: Routes) -> Self {
        Self { owner, known: Swap::new(Known::new(owner, routes)) }
    }

    /// From now on namespaces belong where these say. Requests that run keep the scope that they have.
    pub fn set(&self, routes: Routes) {
        self.known.replace(Known::new(self.owner, routes));
    }

    /// The scope of a request without a namespace.
    pub fn unnamed(&self) -> Unnamed {
        Unnamed(self.known.read())
    }

    /// The scope of a namespace.
    ///
    /// # Errors
    /// As [`Namespace::parse`].
    pub fn scope(&self, namespace: &str) -> Result<Scope> {
        let namespace = Namespace::parse(namespace)?;
        let known = self.known.read();
        let Route { upstream, policy } = *known.routes.of(namespace.as_str());
        Ok(Scope { owner: self.owner, namespace, upstream, policy })
    }
}

// === impl Known ===

impl Known {
    fn new(owner: Owner, routes: Routes) -> Self {
        let Route { upstream, policy } = *routes.of("");
        Self { unnamed: Scope { owner, namespace: Namespace::none(), upstream, policy }, routes }
    }
}

impl Deref for Unnamed {
    type Target = Scope;

    fn deref(&self) -> &Scope {
        &self.0.unnamed
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

    #[test]
    fn other_routes_are_for_requests_to_come() {
        let to = |number| Route { upstream: Some(UpstreamId(number)), ..Route::default() };
        let places = Places::new(Owner(7), Routes::new(to(0), []));
        let (running, of_web) = (places.unnamed(), places.scope("web").expect("a namespace"));
        let web = Namespace::parse("web").expect("a namespace");
        places.set(Routes::new(Route::default(), [(web, to(1))]));
        assert_eq!((running.upstream, of_web.upstream), (Some(UpstreamId(0)), Some(UpstreamId(0))));
        assert_eq!((places.unnamed().upstream, places.unnamed().owner), (None, Owner(7)));
        assert_eq!(places.scope("web").map(|scope| scope.upstream).ok(), Some(Some(UpstreamId(1))));
    }
}
