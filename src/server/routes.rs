//! Which upstream a namespace has: that of the longest configured one that it is, or is below of.
//!
//! Found without an allocation, and without a look at anything when no namespace is configured.

use crate::key::{Namespace, UpstreamId};

/// The upstreams of namespaces.
#[derive(Debug, Clone, Default)]
pub struct Routes {
    default: Option<UpstreamId>,
    /// Longest first.
    namespaces: Vec<(Namespace, Option<UpstreamId>)>,
}

// === impl Routes ===

impl Routes {
    /// `default`: of every namespace that is not below one of `namespaces`.
    pub fn new(default: Option<UpstreamId>, mut namespaces: Vec<(Namespace, Option<UpstreamId>)>) -> Self {
        namespaces.sort_by_key(|(namespace, _)| std::cmp::Reverse(namespace.as_str().len()));
        Self { default, namespaces }
    }

    /// The upstream of a namespace; `None` for a local one.
    pub(super) fn of(&self, namespace: &str) -> Option<UpstreamId> {
        for (route, upstream) in &self.namespaces {
            if let Some(rest) = namespace.strip_prefix(route.as_str())
                && (rest.is_empty() || rest.starts_with('/'))
            {
                return *upstream;
            }
        }
        self.default
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_longest_prefix_of_segments_counts() {
        let id = |number| Some(UpstreamId(number));
        let parse = |text| Namespace::parse(text).expect("a namespace");
        let routes = Routes::new(
            id(0),
            vec![
                (parse("web"), id(1)),
                (parse("web/app/x"), id(2)),
                (parse("web/app"), None),
                (parse("w"), id(3)),
            ],
        );
        for (namespace, upstream) in [
            ("", id(0)),
            ("web", id(1)),
            ("web/a", id(1)),
            ("web2", id(0)),
            ("web/app", None),
            ("web/app/y", None),
            ("web/app/x/y", id(2)),
            ("web/apple", id(1)),
            ("w", id(3)),
            ("other/web", id(0)),
        ] {
            assert_eq!(routes.of(namespace), upstream, "{namespace}");
        }
        assert_eq!(Routes::default().of("web"), None);
    }
}
