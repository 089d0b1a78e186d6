//! Which upstream and which policy a namespace has: those of the longest configured one that it is, or is below of.
//!
//! Found without an allocation: the namespace is looked up, then what is left of it before its last slash, and so on. A
//! tree rather than a table of hashes: a few comparisons of short texts cost less than one hash.

use std::collections::BTreeMap;
use std::ops::Deref;

use crate::error::{Error, Kind, Result};
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
    /// By [`UpstreamId`]: what names begin with that lie in its place and are in another's, which is inside.
    inner: Vec<Vec<String>>,
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

    /// What names upstream begin with that lie in the place of a scope, and are another namespace's.
    pub fn inner(&self, scope: &Scope) -> Vec<String> {
        self.known.read().routes.inner(scope).to_vec()
    }

    /// Whether a name that clients choose freely, and that is the object's upstream, is the scope's own.
    ///
    /// # Errors
    /// `Denied` when it lies in another namespace's place.
    pub fn check(&self, scope: &Scope, name: &str) -> Result<()> {
        match self.known.read().routes.inner(scope).iter().find(|inner| name.starts_with(&***inner)) {
            None => Ok(()),
            Some(inner) => Err(Error::new(
                Kind::Denied,
                format!(
                    "`{inner}` is the place of another namespace, by the configuration; ask for it there"
                ),
            )),
        }
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
        Self { default, namespaces: namespaces.into_iter().collect(), inner: Vec::new() }
    }

    /// `inner`: by [`UpstreamId`], the prefixes, with their slash, of other places that lie inside.
    #[must_use]
    pub fn with_inner(self, inner: Vec<Vec<String>>) -> Self {
        Self { inner, ..self }
    }

    /// What begins with these in the place of a scope is another's.
    fn inner(&self, scope: &Scope) -> &[String] {
        let upstream = scope.upstream.map(|upstream| usize::from(upstream.0));
        upstream.and_then(|upstream| self.inner.get(upstream)).map_or(&[], Vec::as_slice)
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
    fn what_lies_in_a_place_inside_is_that_ones() {
        let to = |number| Route { upstream: Some(UpstreamId(number)), ..Route::default() };
        let parse = |text| Namespace::parse(text).expect("a namespace");
        let routes = Routes::new(to(0), [(parse("web"), to(1)), (parse("here"), Route::default())]);
        let places = Places::new(Owner(0), routes.with_inner(vec![vec!["web/".into()]]));
        let check = |namespace, name| places.check(&places.scope(namespace).expect("a scope"), name);
        assert_eq!(check("any", "web/x").expect_err("it is web's").kind(), Kind::Denied);
        for (namespace, name) in [("any", "web"), ("any", "website/x"), ("any", "a/web/x"), ("web", "web/x")]
        {
            assert!(check(namespace, name).is_ok(), "{namespace} {name}");
        }
        assert!(check("here", "web/x").is_ok(), "what has no upstream is in nobody's place");
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
