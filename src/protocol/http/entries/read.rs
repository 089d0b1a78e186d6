//! GET and HEAD of a named entry.

use std::sync::Arc;

use hyper::header::{ACCEPT_RANGES, CONTENT_LENGTH, CONTENT_RANGE, CONTENT_TYPE, ETAG, LAST_MODIFIED};
use hyper::header::{HeaderMap, HeaderValue};
use hyper::{Response, StatusCode};

use super::Entries;
use crate::entry::{ByteRange, Hit, Meta, Tier};
use crate::error::{Kind, Result};
use crate::key::{Key, Scope};
use crate::protocol::Intent;
use crate::protocol::http::{self, Answer, Verdict};

impl Entries {
    pub(super) fn get_now(&self, scope: &Scope, key: &Key, headers: &HeaderMap) -> Option<Answer> {
        if !http::is_plain(headers) {
            return None;
        }
        let hit = self.context.cache.get_now(scope, key).filter(|hit| self.is_entry(&hit.meta))?;
        Some(self.hit(hit))
    }

    pub(super) async fn get(&self, scope: &Scope, key: &Key, headers: &HeaderMap) -> Answer {
        let asked = http::range(headers);
        match self.find(scope, key, asked).await {
            Ok(Some(hit)) if asked != ByteRange::Full && !http::apply_range(headers, &hit.meta) => {
                self.get_full(scope, key, headers).await
            }
            Ok(Some(hit)) => self.judge(hit, headers, asked != ByteRange::Full),
            Ok(None) => self.miss(),
            Err(error) if error.kind() == Kind::Invalid && asked != ByteRange::Full => {
                self.outside(scope, key, headers).await
            }
            Err(error) => self.refuse(&error, Intent::Read),
        }
    }

    pub(super) async fn head(&self, scope: &Scope, key: &Key, headers: &HeaderMap) -> Answer {
        match self.find_head(scope, key).await {
            Ok(Some((meta, from))) => {
                self.stats.hit(from);
                if let Some(answer) = unmet(http::verdict(headers, &meta), &meta) {
                    return answer;
                }
                let mut answer = http::empty(StatusCode::OK);
                self.describe(&mut answer, &meta);
                answer.headers_mut().insert(CONTENT_LENGTH, meta.len.into());
                answer
            }
            Ok(None) => self.miss(),
            Err(error) => self.refuse(&error, Intent::Read),
        }
    }

    async fn find(&self, scope: &Scope, key: &Key, range: ByteRange) -> Result<Option<Hit>> {
        let found = self.context.cache.get(scope, key, range).await?;
        Ok(found.filter(|hit| self.is_entry(&hit.meta)))
    }

    async fn find_head(&self, scope: &Scope, key: &Key) -> Result<Option<(Arc<Meta>, Tier)>> {
        let found = self.context.cache.head(scope, key).await?;
        Ok(found.filter(|(meta, _)| self.is_entry(meta)))
    }

    /// What somebody else put into the upstream may be what none of these clients would.
    fn is_entry(&self, meta: &Meta) -> bool {
        meta.len > 0 || self.rules.never_empty.is_none()
    }

    /// The whole entry, because a range was asked of another one than this (`If-Range`).
    async fn get_full(&self, scope: &Scope, key: &Key, headers: &HeaderMap) -> Answer {
        match self.find(scope, key, ByteRange::Full).await {
            Ok(Some(hit)) => self.judge(hit, headers, false),
            Ok(None) => self.miss(),
            Err(error) => self.refuse(&error, Intent::Read),
        }
    }

    /// A range that has no byte of the entry.
    async fn outside(&self, scope: &Scope, key: &Key, headers: &HeaderMap) -> Answer {
        let meta = match self.find_head(scope, key).await {
            Ok(Some((meta, _))) => meta,
            Ok(None) => return self.miss(),
            Err(error) => return self.refuse(&error, Intent::Read),
        };
        if let Some(answer) = unmet(http::verdict(headers, &meta), &meta) {
            return answer;
        }
        if !http::apply_range(headers, &meta) {
            return self.get_full(scope, key, headers).await;
        }
        self.stats.refused.one();
        let words = format!("the range is outside the body of {} bytes\n", meta.len);
        let mut answer = http::text(StatusCode::RANGE_NOT_SATISFIABLE, words);
        insert(&mut answer, CONTENT_RANGE, http::unsatisfied_range(meta.len));
        answer
    }

    fn judge(&self, hit: Hit, headers: &HeaderMap, partial: bool) -> Answer {
        if let Some(answer) = unmet(http::verdict(headers, &hit.meta), &hit.meta) {
            self.stats.hit(hit.from);
            return answer;
        }
        let part = partial.then(|| http::content_range(&hit.range, hit.meta.len));
        let mut answer = self.hit(hit);
        if let Some(part) = part {
            *answer.status_mut() = StatusCode::PARTIAL_CONTENT;
            insert(&mut answer, CONTENT_RANGE, part);
        }
        answer
    }

    fn hit(&self, hit: Hit) -> Answer {
        self.stats.hit(hit.from);
        self.stats.bytes_out.add(hit.body.len());
        let mut answer = http::hit(hit.body, hit.from);
        self.describe(&mut answer, &hit.meta);
        answer
    }

    fn describe(&self, answer: &mut Answer, meta: &Meta) {
        let headers = answer.headers_mut();
        headers.insert(CONTENT_TYPE, http::type_of(meta).unwrap_or_else(|| self.rules.untyped.clone()));
        headers.insert(ACCEPT_RANGES, HeaderValue::from_static("bytes"));
        insert(answer, ETAG, http::quoted(&meta.etag));
        insert(answer, LAST_MODIFIED, http::last_modified(meta.stored_ms));
    }
}

/// The answer when the conditions don't let the entry be sent.
fn unmet(verdict: Verdict, meta: &Meta) -> Option<Answer> {
    match verdict {
        Verdict::Answer => None,
        Verdict::NotModified => {
            let mut answer = http::empty(StatusCode::NOT_MODIFIED);
            insert(&mut answer, ETAG, http::quoted(&meta.etag));
            Some(answer)
        }
        Verdict::Failed => {
            let words = "what is stored is not what If-Match or If-Unmodified-Since expects\n";
            Some(http::text(StatusCode::PRECONDITION_FAILED, words))
        }
    }
}

fn insert<T>(answer: &mut Response<T>, name: hyper::header::HeaderName, value: Option<HeaderValue>) {
    if let Some(value) = value {
        answer.headers_mut().insert(name, value);
    }
}
