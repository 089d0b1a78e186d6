//! Host names that are buckets: S3's virtual-host style.
//!
//! ```text
//! {bucket}.s3.localhost, s3.localhost     on every listener; so with each of `allow_hosts` in place of localhost
//! {bucket}.localhost                      on a listener that is for S3 alone, too
//! ```
//! Names below `localhost` are loopback by RFC 6761, and no DNS server of anybody's answers for them where resolvers
//! keep to it; where one doesn't, a page that got such a name to lead here would still send an `Origin` with all that
//! could change anything, and couldn't sign. So they are let in like `localhost` itself.

use super::frontends::Protocol;

/// What a host name stands for.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) struct S3Host<'a> {
    /// The bucket, if it names one; else paths begin with it.
    pub(super) bucket: Option<&'a str>,
}

/// What a host without its port stands for, if it is S3's.
pub(super) fn of<'a>(host: &'a str, allow_hosts: &[String], only: Option<Protocol>) -> Option<S3Host<'a>> {
    if !matches!(only, None | Some(Protocol::S3)) || !host.contains('.') {
        return None;
    }
    let names = std::iter::once("localhost").chain(allow_hosts.iter().map(String::as_str));
    names.into_iter().find_map(|name| {
        let before = strip_end(host, name)?;
        match strip_end(before, "s3") {
            Some(bucket) => Some(S3Host { bucket: Some(bucket) }),
            None if before.eq_ignore_ascii_case("s3") => Some(S3Host { bucket: None }),
            None => (only == Some(Protocol::S3)).then_some(S3Host { bucket: Some(before) }),
        }
    })
}

/// What is before `.{end}`.
fn strip_end<'a>(host: &'a str, end: &str) -> Option<&'a str> {
    let at = host.len().checked_sub(end.len() + 1)?;
    let (before, rest) = (host.get(..at)?, host.get(at..)?);
    let is_end = rest.starts_with('.') && rest[1..].eq_ignore_ascii_case(end);
    (is_end && !before.is_empty()).then_some(before)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn buckets_are_found_in_host_names() {
        let allowed = ["cache.test".to_owned()];
        let (shared, s3) = (None, Some(Protocol::S3));
        for (host, only, expected) in [
            ("b.s3.localhost", shared, Some(Some("b"))),
            ("a.b.s3.LOCALHOST", shared, Some(Some("a.b"))),
            ("s3.localhost", shared, Some(None)),
            ("b.s3.cache.test", shared, Some(Some("b"))),
            ("s3.cache.test", shared, Some(None)),
            ("b.localhost", shared, None),
            ("b.localhost", s3, Some(Some("b"))),
            ("b.s3.localhost", s3, Some(Some("b"))),
            ("b.cache.test", s3, Some(Some("b"))),
            ("localhost", s3, None),
            ("cache.test", s3, None),
            ("127.0.0.1", s3, None),
            ("b.s3.localhost", Some(Protocol::Azure), None),
            ("b.s3.localhost.evil.test", shared, None),
            ("evil.test", s3, None),
            (".s3.localhost", shared, None),
            ("xs3.localhost", shared, None),
        ] {
            let found = of(host, &allowed, only).map(|host| host.bucket);
            assert_eq!(found, expected, "{host} {only:?}");
        }
    }
}
