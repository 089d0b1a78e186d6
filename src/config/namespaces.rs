//! `[namespaces."NS"]`: the place and the policy of a namespace.
//!
//! What a namespace leaves open it has from the one around it, so that a key that is set for a part of a team's names
//! doesn't lead them away from the team's upstream.

use super::keys::NAMESPACES;
use super::near::nearest;
use super::place::Problem;
use super::routes::{Declared, Router, Routes};
use super::section::Section;
use crate::key::{Namespace, ObjectName, Policy, UpstreamId};
use crate::protocol::Route;

/// What may begin the names of a route: the names below it have room for themselves.
const PREFIX_BYTES_MAX: usize = 100;

impl Router<'_> {
    pub(super) fn namespaces(
        &mut self,
        sections: &[Section],
        declared: &[Declared],
        names: &[&str],
        routes: &mut Routes,
    ) {
        let mut found: Vec<(Namespace, &Section)> = Vec::new();
        for section in sections {
            match namespace(section) {
                Ok(new) if found.iter().any(|(old, _)| *old == new) => {
                    let words =
                        format!("is the namespace `{}` a second time; leave one of them out", new.as_str());
                    self.problems.push(of_whole(section, words));
                }
                Ok(new) => found.push((new, section)),
                Err(words) => self.problems.push(of_whole(section, words)),
            }
        }
        // Those around others first.
        found.sort_by_key(|(namespace, _)| namespace.as_str().len());
        for (namespace, section) in found {
            let around = around(&namespace, routes);
            if let Some(route) = self.namespace(section, around, declared, names, routes) {
                routes.namespaces.push((namespace, route));
            }
        }
    }

    /// `None` when there is a problem.
    fn namespace(
        &mut self,
        section: &Section,
        around: Route,
        declared: &[Declared],
        names: &[&str],
        routes: &mut Routes,
    ) -> Option<Route> {
        let wish = section.read(NAMESPACES, self.problems);
        let policy = Policy {
            max_age: wish.max_age.or(around.policy.max_age),
            digest: wish.digest.unwrap_or(around.policy.digest),
            prefetch: wish.prefetch.unwrap_or(around.policy.prefetch),
        };
        if !wish.prefix.is_empty() && !is_prefix(&wish.prefix) {
            let words = "has an empty or a dot segment, a slash at an end, or is over 100 bytes; name it by plain words, \
                         as in \"teams/web\"";
            self.problems.push(section.problem("prefix", words));
            return None;
        }
        let upstream = match wish.upstream.as_deref() {
            None if wish.prefix.is_empty() => around.upstream,
            None => {
                let words = "is for an `upstream` that is named beside it; name that";
                self.problems.push(section.problem("prefix", words));
                return None;
            }
            Some("none") if wish.prefix.is_empty() => None,
            Some("none") => {
                let words = "is not for a namespace without an upstream; leave it out";
                self.problems.push(section.problem("prefix", words));
                return None;
            }
            Some(name) => Some(self.own_place(section, name, &wish.prefix, declared, names, routes)?),
        };
        Some(Route { upstream, policy })
    }

    /// A place that no other route has.
    fn own_place(
        &mut self,
        section: &Section,
        name: &str,
        prefix: &str,
        declared: &[Declared],
        names: &[&str],
        routes: &mut Routes,
    ) -> Option<UpstreamId> {
        let Some(found) = declared.iter().find(|declared| declared.name == name) else {
            // One that is declared and not right has its problem already.
            if !names.contains(&name) {
                let words = match nearest(name, names.iter().copied()) {
                    Some(near) => format!("`{name}` is not declared; is `{near}` meant?"),
                    None => format!("`{name}` is not declared; add a table [upstreams.{name}]"),
                };
                self.problems.push(section.problem("upstream", words));
            }
            return None;
        };
        let place = found.place(prefix);
        if let Some(other) = routes.user_of(&place) {
            let words = format!(
                "collides: {other} go to the same place; give one a `prefix` of its own, or a common parent"
            );
            self.problems.push(section.problem("upstream", words));
            return None;
        }
        Some(routes.add(place))
    }
}

fn namespace(section: &Section) -> Result<Namespace, String> {
    match Namespace::parse(&section.name) {
        Ok(namespace) if namespace.as_str().is_empty() => {
            Err("is no namespace; what paths without one use is the key `upstream`".into())
        }
        Ok(namespace) => Ok(namespace),
        Err(error) => Err(format!("{}; name it by other segments", error.message())),
    }
}

fn of_whole(section: &Section, words: String) -> Problem {
    Problem::new(&section.source, section.path.trim_end_matches('.'), words)
}

/// The route of what is around a namespace.
fn around(namespace: &Namespace, routes: &Routes) -> Route {
    let holds = |outer: &Namespace| {
        namespace.as_str().strip_prefix(outer.as_str()).is_some_and(|rest| rest.starts_with('/'))
    };
    // The innermost is the last: they are sorted.
    let found = routes.namespaces.iter().rev().find(|(outer, _)| holds(outer));
    found.map_or(Route { upstream: routes.default, ..Route::default() }, |(_, route)| *route)
}

fn is_prefix(text: &str) -> bool {
    text.len() <= PREFIX_BYTES_MAX && ObjectName::parse(text).is_some()
}
