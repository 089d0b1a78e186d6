//! PUT and DELETE of a named entry.

use hyper::header::{CONTENT_RANGE, CONTENT_TYPE, ETAG, HeaderMap};
use hyper::{Request, StatusCode};

use super::Entries;
use crate::cache::Committed;
use crate::entry::{Attrs, Claim};
use crate::error::{Error, Kind, Result};
use crate::key::{Key, Scope};
use crate::protocol::Intent;
use crate::protocol::http::{self, Answer, Incoming, Upload};
use crate::stats::Shed;

impl Entries {
    pub(super) async fn put<B: Incoming>(&self, scope: &Scope, key: Key, request: Request<B>) -> Answer {
        let (head, mut upload) = Upload::of(request);
        let result = self.store(scope, key, &head.headers, &mut upload).await;
        let (answer, drain_bytes_max) = match result {
            Ok(committed) => {
                self.stats.puts.one();
                let mut answer = http::empty(StatusCode::OK);
                if let Some(etag) = http::quoted(&committed.etag) {
                    answer.headers_mut().insert(ETAG, etag);
                }
                (answer, 0)
            }
            Err(error) if error.kind() == Kind::TooLarge => {
                self.stats.puts.one();
                self.context.cache.shed(Shed::EntryMax);
                // Acknowledged, so read to its end: an answer that comes before it is a failure to its sender.
                (http::empty(StatusCode::OK), u64::MAX)
            }
            Err(error) => (self.refuse(&error, Intent::Write), self.context.settings.drain_bytes_max),
        };
        self.stats.bytes_in.add(upload.taken());
        upload.finish(answer, drain_bytes_max).await
    }

    pub(super) async fn delete<B: Incoming>(&self, scope: &Scope, key: &Key, request: Request<B>) -> Answer {
        let (head, upload) = Upload::of(request);
        let deleted = match http::precondition(&head.headers) {
            Ok(condition) => self.context.cache.delete(scope, key, condition).await,
            Err(error) => Err(error),
        };
        let answer = match deleted {
            Ok(true) => http::empty(StatusCode::NO_CONTENT),
            Ok(false) if self.rules.nothing_deleted.is_success() => http::empty(self.rules.nothing_deleted),
            Ok(false) => http::text(self.rules.nothing_deleted, super::MISS),
            Err(error) => self.refuse(&error, Intent::Write),
        };
        upload.finish(answer, self.context.settings.drain_bytes_max).await
    }

    async fn store<B: Incoming>(
        &self,
        scope: &Scope,
        key: Key,
        headers: &HeaderMap,
        upload: &mut Upload<B>,
    ) -> Result<Committed> {
        http::identity_only(headers)?;
        if headers.contains_key(CONTENT_RANGE) {
            return Err(Error::invalid(
                "a body can't be written in parts; leave out Content-Range and send it whole",
            ));
        }
        let condition = http::precondition(headers)?;
        let claim = Claim { len: upload.len(), digest: None };
        // What an entry without a type is answered with needn't be kept.
        let is_typed = headers.get(CONTENT_TYPE) != Some(&self.rules.untyped);
        let attrs = if is_typed { http::kept_type(headers)? } else { Attrs::default() };
        let mut put = self.context.cache.put(scope, key, claim, attrs, condition).await?;
        upload.write_to(&mut put).await?;
        match self.rules.never_empty.filter(|_| upload.taken() == 0) {
            Some(words) => Err(Error::invalid(words)),
            None => put.commit().await,
        }
    }
}
