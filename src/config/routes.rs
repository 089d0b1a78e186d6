//! Which namespace goes to which upstream, and under which prefix there.
//!
//! Every route has a place of its own: queue rows, facts and uploads hang on the place, so two routes with one would
//! take each other's. What would be two routes to one place is refused, and so is what would lead out of a place.

use std::collections::BTreeMap;

use super::Environment;
use super::keys::UPSTREAMS;
use super::near::nearest;
use super::place::Problem;
use super::section::{Said, Section};
use super::upstream::Upstream;
use crate::key::{Namespace, UpstreamId};
use crate::protocol::Route;
use crate::upstream::Location;

/// Where entries go and come from.
#[derive(Debug, Clone, Default)]
pub struct Routes {
    /// All places, by [`UpstreamId`].
    pub places: Vec<Place>,
    /// That of every namespace without a place of its own.
    pub default: Option<UpstreamId>,
    /// The others: below these namespaces.
    pub namespaces: Vec<(Namespace, Route)>,
    /// The upstreams that are declared and that nothing names, with that in words. One may well be kept for later: it is
    /// no problem.
    pub idle: BTreeMap<String, String>,
}

/// An upstream, and a prefix of all names there.
#[derive(Debug, Clone)]
pub struct Place {
    /// What people call it.
    pub name: String,
    /// The upstream.
    pub upstream: Upstream,
    /// Without slashes around it; empty for none.
    pub prefix: String,
    /// What makes it the same place as another.
    identity: String,
}

/// An upstream that was declared and is right.
pub(super) struct Declared {
    pub(super) name: String,
    upstream: Upstream,
    location: Location,
}

/// Builds [`Routes`].
pub(super) struct Router<'a> {
    pub(super) environment: &'a Environment,
    pub(super) problems: &'a mut Vec<Problem>,
}

// === impl Router ===

impl Router<'_> {
    /// `upstream`: the key of that name.
    pub(super) fn routes(mut self, said: &Said, upstream: &str) -> Routes {
        let mut declared: Vec<Declared> = Vec::new();
        for section in &said.upstreams {
            let Some(new) = self.declared(section) else { continue };
            match declared.iter().find(|old| old.identity("") == new.identity("")) {
                Some(old) => self.problems.push(section.problem(
                    "url",
                    format!("is the same place as that of `upstreams.{}`; declare it once", old.name),
                )),
                None => declared.push(new),
            }
        }
        let names: Vec<&str> = said.upstreams.iter().map(|section| section.name.as_str()).collect();
        let mut routes = Routes::default();
        if let Some(place) = self.default_place(&said.top, upstream, &declared, &names) {
            routes.default = Some(routes.add(place));
        }
        self.namespaces(&said.namespaces, &declared, &names, &mut routes);
        let is_idle = |name: &&str| routes.places.iter().all(|place| place.name != **name);
        let words = |name: &str| {
            format!(
                "nothing goes to `upstreams.{name}`, as no namespace names it, nor `upstream` at the top: say upstream = \
                 \"{name}\" there"
            )
        };
        routes.idle = names.into_iter().filter(is_idle).map(|name| (name.to_owned(), words(name))).collect();
        routes
    }

    fn declared(&mut self, section: &Section) -> Option<Declared> {
        let wish = section.read(UPSTREAMS, self.problems);
        if section.name == "none" || !super::file::is_bare(&section.name) {
            let words = "is no name for an upstream; take letters, digits, `-` and `_`, and not `none`";
            self.problems.push(Problem::new(&section.source, section.path.trim_end_matches('.'), words));
            return None;
        }
        let mut url = wish.url.clone();
        for (option, value) in &wish.options {
            if wish.url.starts_with("file:") {
                self.problems
                    .push(section.problem(option, "is not for a folder, which takes no keys; leave it out"));
                return None;
            }
            let separator = if url.contains('?') { '&' } else { '?' };
            let value = percent_encoding::utf8_percent_encode(value, percent_encoding::NON_ALPHANUMERIC);
            url.push_str(&format!("{separator}{option}={value}"));
        }
        if wish.url.is_empty() {
            return None; // said to be missing already
        }
        match self.parse(&url) {
            Ok(Some((mut upstream, location))) => {
                upstream.read_only |= wish.read_only;
                Some(Declared { name: section.name.clone(), upstream, location })
            }
            Ok(None) => {
                let words = "is no place; say where it is, or leave the table out";
                self.problems.push(section.problem("url", words));
                None
            }
            Err(words) => {
                self.problems.push(section.problem("url", words));
                None
            }
        }
    }

    /// An upstream, and where it is.
    fn parse(&self, url: &str) -> Result<Option<(Upstream, Location)>, String> {
        let Some(upstream) = Upstream::parse(url, self.environment)? else { return Ok(None) };
        let location = Location::parse(&upstream.url).map_err(|error| error.message().to_owned())?;
        Ok(Some((upstream, location)))
    }

    fn default_place(
        &mut self,
        top: &Section,
        text: &str,
        declared: &[Declared],
        names: &[&str],
    ) -> Option<Place> {
        if matches!(text, "none" | "") {
            return None;
        }
        if !text.contains("://") {
            if let Some(found) = declared.iter().find(|declared| declared.name == text) {
                return Some(found.place(""));
            }
            if !names.contains(&text) {
                let words = match nearest(text, names.iter().copied()) {
                    Some(near) => format!("`{text}` is not declared; is `{near}` meant?"),
                    None => format!(
                        "`{text}` is not a URL, nor one of `[upstreams.NAME]`; none, file:///path, \
                         s3://bucket/prefix, azure://container/prefix, gs://bucket/prefix and https://host/prefix are \
                         known"
                    ),
                };
                self.problems.push(top.problem("upstream", words));
            }
            return None;
        }
        match self.parse(text) {
            Ok(Some((upstream, location))) => {
                let identity = location.identity_below("");
                if let Some(same) = declared.iter().find(|declared| declared.identity("") == identity) {
                    let words =
                        format!("is the same place as that of `upstreams.{0}`; say \"{0}\"", same.name);
                    self.problems.push(top.problem("upstream", words));
                    return None;
                }
                let name = upstream.url.split('?').next().unwrap_or_default().to_owned();
                Some(Place { name, upstream, prefix: String::new(), identity })
            }
            Ok(None) => None,
            Err(words) => {
                self.problems.push(top.problem("upstream", words));
                None
            }
        }
    }
}

// === impl Routes ===

impl Routes {
    pub(super) fn add(&mut self, place: Place) -> UpstreamId {
        // More tables than that no file has.
        let id = UpstreamId(u16::try_from(self.places.len()).unwrap_or(u16::MAX));
        self.places.push(place);
        id
    }

    /// Of each place, what names there begin with that are in another place, which lies inside: prefixes with their
    /// slash.
    pub fn inner(&self) -> Vec<Vec<String>> {
        let inside = |outer: &Place| self.places.iter().filter_map(|inner| inner.within(outer)).collect();
        self.places.iter().map(inside).collect()
    }

    /// Who goes to that place already.
    pub(super) fn user_of(&self, wanted: &Place) -> Option<String> {
        let id = self.places.iter().position(|place| place.identity == wanted.identity)?;
        let mut users = self.namespaces.iter();
        let user = users.find(|(_, to)| to.upstream.is_some_and(|to| usize::from(to.0) == id));
        Some(match user {
            Some((namespace, _)) => format!("names of the namespace `{}`", namespace.as_str()),
            None => "names without a namespace of their own".into(),
        })
    }
}

// === impl Place ===

impl Place {
    /// What the names of this place begin with in `outer`, if it lies inside of that.
    fn within(&self, outer: &Self) -> Option<String> {
        let rest = self.identity.strip_prefix(&outer.identity)?;
        let rest = match outer.identity.ends_with([' ', '/']) {
            true => rest,
            false => rest.strip_prefix('/')?,
        };
        // A folder's identity is a URL.
        let rest = match outer.identity.starts_with("file:") {
            true => percent_encoding::percent_decode_str(rest).decode_utf8_lossy(),
            false => rest.into(),
        };
        (!rest.is_empty()).then(|| format!("{rest}/"))
    }
}

// === impl Declared ===

impl Declared {
    fn identity(&self, prefix: &str) -> String {
        self.location.identity_below(prefix)
    }

    pub(super) fn place(&self, prefix: &str) -> Place {
        let slash = if prefix.is_empty() { "" } else { "/" };
        Place {
            name: format!("{}{slash}{prefix}", self.name),
            upstream: self.upstream.clone(),
            prefix: prefix.to_owned(),
            identity: self.identity(prefix),
        }
    }
}
