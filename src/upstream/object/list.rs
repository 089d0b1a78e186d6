//! Listing a bucket, page by page.
//!
//! Azure leaves out the one object whose name is the prefix itself; it is asked for. Its emulator, and older stores,
//! don't know where to begin and give what comes before as well; that is passed over here.

use object_store::list::PaginatedListOptions;

use super::super::times::in_time;
use super::super::{Fault, Listed, Looked};
use super::{BucketKind, Call, Objects, Seen};
use crate::key::ObjectName;

/// Keys of one page: what S3 gives at most.
const PAGE: usize = 1000;

/// See [`super::super::Upstream::list`].
pub(super) async fn list(
    store: &Objects,
    prefix: &str,
    after: Option<&str>,
    limit: usize,
) -> Result<Vec<Listed>, Fault> {
    let full = |name: &str| {
        let slash = if store.prefix.is_empty() { "" } else { "/" };
        format!("{}{slash}{name}", store.prefix)
    };
    let mut listed: Vec<Listed> = the_prefix_itself(store, prefix, after).await?.into_iter().collect();
    let mut page_token = None;
    let mut wanted = limit.min(PAGE);
    while listed.len() < limit {
        let options = PaginatedListOptions {
            offset: after.map(full),
            max_keys: Some(wanted),
            page_token: page_token.take(),
            ..PaginatedListOptions::default()
        };
        let seen = Seen::default();
        let whole = full(prefix);
        let call = store.reads.list_paginated(Some(&whole), options);
        let page = seen.watch(in_time(store.stall, "LIST", call)).await?;
        let page = page.map_err(|error| seen.fault(Call::List, &error))?;
        let before = listed.len();
        let rows = page.result.objects.into_iter().filter_map(|object| row(store, object));
        listed.extend(rows.filter(|row| after.is_none_or(|after| row.name.as_str() > after)));
        page_token = page.page_token;
        if page_token.is_none() {
            break;
        }
        // A page of nothing but what comes before: there may be many more.
        wanted =
            if listed.len() == before { PAGE } else { limit.saturating_sub(listed.len()).clamp(1, PAGE) };
    }
    // Stores that ignore `max-keys` give more.
    listed.truncate(limit);
    Ok(listed)
}

/// The object that Azure leaves out. It sorts before every other.
async fn the_prefix_itself(
    store: &Objects,
    prefix: &str,
    after: Option<&str>,
) -> Result<Option<Listed>, Fault> {
    let is_left_out =
        matches!(store.kind, BucketKind::Azure { .. }) && after.is_none_or(|after| after < prefix);
    let Some(name) = ObjectName::parse(prefix).filter(|_| is_left_out) else { return Ok(None) };
    Ok(match store.look(prefix).await? {
        Looked::Found(meta) => {
            Some(Listed { name, len: meta.len, etag: meta.etag, last_modified: meta.last_modified })
        }
        Looked::Absent { .. } => None,
    })
}

fn row(store: &Objects, object: object_store::ObjectMeta) -> Option<Listed> {
    let name = object.location.as_ref().strip_prefix(&store.prefix)?.trim_start_matches('/');
    Some(Listed {
        name: ObjectName::parse(name)?,
        len: object.size,
        etag: object.e_tag.as_deref().map(|etag| etag.trim_matches('"').into()),
        last_modified: Some(object.last_modified.into()),
    })
}
