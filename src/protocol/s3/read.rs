//! GetObject and HeadObject.

use hyper::StatusCode;
use hyper::header::{
    CACHE_CONTROL, CONTENT_DISPOSITION, CONTENT_ENCODING, CONTENT_LANGUAGE, CONTENT_LENGTH, CONTENT_RANGE,
    CONTENT_TYPE, ETAG, EXPIRES, HeaderMap, HeaderName, HeaderValue,
};

use super::sigv4::Caller;
use super::{Frontend, Object, Refusal, headers};
use crate::entry::{ByteRange, Hit, Meta};
use crate::error::Kind;
use crate::protocol::Intent;
use crate::protocol::http::{self, Answer, Verdict};
use crate::protocol::objects::conditions::conditions;

/// Headers that a signed request may set in its answer.
const OVERRIDES: [(&str, HeaderName); 6] = [
    ("response-content-type", CONTENT_TYPE),
    ("response-content-language", CONTENT_LANGUAGE),
    ("response-expires", EXPIRES),
    ("response-cache-control", CACHE_CONTROL),
    ("response-content-disposition", CONTENT_DISPOSITION),
    ("response-content-encoding", CONTENT_ENCODING),
];

impl Frontend {
    pub(super) async fn get(&self, object: &Object<'_>) -> Result<Answer, Refusal> {
        let asked = http::range(&object.head.headers);
        let hit = match self.context.cache.get(&object.scope, &object.key, asked).await {
            Ok(Some(hit)) => hit,
            Ok(None) => return Err(Refusal::absent()),
            Err(error) if error.kind() == Kind::Invalid && asked != ByteRange::Full => {
                return Err(self.outside(object).await);
            }
            Err(error) => return self.failed(error.into(), Intent::Read).map(|(answer, _)| answer),
        };
        if let Some(unmet) = judge(&object.head.headers, &hit.meta) {
            self.stats.hit(hit.from);
            return unmet;
        }
        let mut answer = if asked == ByteRange::Full {
            self.whole(hit, &object.head.headers)
        } else {
            self.part(hit, &object.head.headers)
        };
        overrides(&mut answer, object);
        Ok(answer)
    }

    pub(super) async fn head(&self, object: &Object<'_>) -> Result<Answer, Refusal> {
        let found = match self.context.cache.head(&object.scope, &object.key).await {
            Ok(found) => found,
            Err(error) => return self.failed(error.into(), Intent::Read).map(|(answer, _)| answer),
        };
        let Some((meta, from)) = found else { return Err(Refusal::absent()) };
        self.stats.hit(from);
        if let Some(unmet) = judge(&object.head.headers, &meta) {
            return unmet;
        }
        let asked = http::range(&object.head.headers);
        let range = asked.resolve(meta.len);
        let range = if meta.len == 0 { Ok(0..0) } else { range };
        let range = range.map_err(|_outside| Refusal::outside(meta.len))?;
        let mut answer = http::empty(StatusCode::OK);
        headers::describe(&mut answer, &meta, &object.head.headers, asked != ByteRange::Full);
        answer.headers_mut().insert(CONTENT_LENGTH, (range.end - range.start).into());
        if asked != ByteRange::Full
            && let Some(part) = http::content_range(&range, meta.len)
        {
            *answer.status_mut() = StatusCode::PARTIAL_CONTENT;
            answer.headers_mut().insert(CONTENT_RANGE, part);
        }
        overrides(&mut answer, object);
        Ok(answer)
    }

    /// The whole object.
    pub(super) fn whole(&self, hit: Hit, asked: &HeaderMap) -> Answer {
        self.stats.hit(hit.from);
        self.stats.bytes_out.add(hit.body.len());
        let mut answer = http::hit(hit.body, hit.from);
        headers::describe(&mut answer, &hit.meta, asked, false);
        answer
    }

    fn part(&self, hit: Hit, asked: &HeaderMap) -> Answer {
        self.stats.hit(hit.from);
        self.stats.bytes_out.add(hit.body.len());
        let mut answer = http::hit(hit.body, hit.from);
        *answer.status_mut() = StatusCode::PARTIAL_CONTENT;
        headers::describe(&mut answer, &hit.meta, asked, true);
        if let Some(part) = http::content_range(&hit.range, hit.meta.len) {
            answer.headers_mut().insert(CONTENT_RANGE, part);
        }
        answer
    }

    /// A range that has no byte of the object.
    async fn outside(&self, object: &Object<'_>) -> Refusal {
        match self.context.cache.head(&object.scope, &object.key).await {
            Ok(Some((meta, _))) => Refusal::outside(meta.len),
            Ok(None) | Err(_) => Refusal::absent(),
        }
    }
}

/// What a signed request sets by its query.
fn overrides(answer: &mut Answer, object: &Object<'_>) {
    if !matches!(object.caller, Caller::Key(_)) {
        return;
    }
    for (parameter, header) in OVERRIDES {
        let value = object.query.get(parameter).and_then(|value| HeaderValue::from_str(value).ok());
        if let Some(value) = value {
            answer.headers_mut().insert(header, value);
        }
    }
}

/// The answer when the conditions don't let the object be sent.
fn judge(asked: &HeaderMap, meta: &Meta) -> Option<Result<Answer, Refusal>> {
    match http::verdict(&conditions(asked, ""), meta) {
        Verdict::Answer => None,
        Verdict::NotModified => {
            let mut answer = http::empty(StatusCode::NOT_MODIFIED);
            if let Some(etag) = http::quoted(&meta.etag) {
                answer.headers_mut().insert(ETAG, etag);
            }
            Some(Ok(answer))
        }
        Verdict::Failed => Some(Err(Refusal::unmet())),
    }
}
