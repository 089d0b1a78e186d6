//! A body that goes on after a reset, under If-Match, as long as it still is the same object.

use std::sync::Arc;

use bytes::Bytes;
use futures_util::StreamExt as _;

use crate::body::Body;
use crate::entry::Meta;
use crate::error::{Error, Kind, Result};
use crate::key::ObjectName;
use crate::upstream::{GetOptions, Got, Remote};

/// How often a broken transfer is resumed.
const RESUMES_MAX: u32 = 2;

/// A body that goes on after a reset, twice, if it still is the same object.
pub(super) struct Resuming<'a> {
    remote: &'a Remote,
    name: &'a ObjectName,
    etag: Option<Arc<str>>,
    len: u64,
    taken: u64,
    body: Body,
    resumed: u32,
}

// === impl Resuming ===

impl<'a> Resuming<'a> {
    /// `body` is all of the object that `meta` is of.
    pub(super) fn new(remote: &'a Remote, name: &'a ObjectName, meta: &Meta, body: Body) -> Self {
        let etag = meta.origin_etag.clone();
        Self { remote, name, etag, len: meta.len, taken: 0, body, resumed: 0 }
    }

    /// The next bytes. Not to be dropped before its end while more are wanted: it may be resuming.
    pub(super) async fn next(&mut self) -> Result<Option<Bytes>> {
        loop {
            match self.body.next().await {
                Some(Ok(piece)) => {
                    self.taken += piece.len() as u64;
                    return Ok(Some(piece));
                }
                None if self.taken == self.len => return Ok(None),
                None => return Err(Error::new(Kind::Unavailable, "a body from upstream ended short")),
                Some(Err(error)) => self.resume(error).await?,
            }
        }
    }

    async fn resume(&mut self, error: Error) -> Result<()> {
        let (Some(etag), true) = (self.etag.clone(), self.resumed < RESUMES_MAX) else { return Err(error) };
        let rest = self.taken..self.len;
        let options = GetOptions { range: Some(rest.clone()), if_match: Some(etag), ..GetOptions::default() };
        let got = self.remote.get(self.name, options).await;
        self.resumed += 1;
        match got {
            Ok(Got::Object(object)) if object.range == rest => {
                self.body = object.body;
                Ok(())
            }
            Ok(_) | Err(_) => Err(error),
        }
    }
}
