//! Get Blob and Get Blob Properties.

use hyper::StatusCode;
use hyper::header::{CONTENT_LENGTH, CONTENT_RANGE, HeaderMap, HeaderName, HeaderValue, RANGE};

use super::{Blob, Frontend, Refusal, headers};
use crate::body::Body;
use crate::entry::{ByteRange, Hit, Meta};
use crate::error::Kind;
use crate::protocol::http::{self, Answer, Verdict};
use crate::protocol::objects::conditions::conditions;
use crate::protocol::objects::md5::Sum;
use crate::protocol::{Intent, azure::headers::CONTENT_MD5};

/// Comes before `Range`.
const MS_RANGE: HeaderName = HeaderName::from_static("x-ms-range");
const WITH_MD5: HeaderName = HeaderName::from_static("x-ms-range-get-content-md5");

/// The MD5 of a longer range is not computed: the service's bound.
const MD5_BYTES_MAX: u64 = 4 << 20;

/// Whether the whole blob is asked for, whatever it is.
pub(super) fn is_plain(headers: &HeaderMap) -> bool {
    http::is_plain(headers) && !headers.contains_key(MS_RANGE) && !headers.contains_key(WITH_MD5)
}

fn range(headers: &HeaderMap) -> ByteRange {
    match headers.get(MS_RANGE) {
        Some(value) => http::range(&HeaderMap::from_iter([(RANGE, value.clone())])),
        None => http::range(headers),
    }
}

impl Frontend {
    pub(super) async fn get(&self, blob: &Blob<'_>) -> Result<Answer, Refusal> {
        blob.check(blob.rights.read, "read")?;
        let asked = range(&blob.head.headers);
        let with_md5 = blob.head.headers.get(WITH_MD5).is_some_and(|value| value == "true");
        if with_md5 && asked == ByteRange::Full {
            let words = "x-ms-range-get-content-md5 needs a range";
            return Err(Refusal::bad("InvalidHeaderValue", words));
        }
        let hit = match self.context.cache.get(&blob.scope, &blob.key, asked).await {
            Ok(Some(hit)) => hit,
            Ok(None) => return Err(Refusal::absent()),
            Err(error) if error.kind() == Kind::Invalid && asked != ByteRange::Full => {
                return Err(self.outside(blob).await);
            }
            Err(error) => return self.failed(&error, Intent::Read).map(|(answer, _)| answer),
        };
        if let Some(unmet) = judge(&blob.head.headers, &hit.meta) {
            self.stats.hit(hit.from);
            return unmet;
        }
        if asked == ByteRange::Full {
            return Ok(self.whole(hit));
        }
        self.part(hit, with_md5).await
    }

    pub(super) async fn head(&self, blob: &Blob<'_>) -> Result<Answer, Refusal> {
        blob.check(blob.rights.read, "read")?;
        let found = match self.context.cache.head(&blob.scope, &blob.key).await {
            Ok(found) => found,
            Err(error) => return self.failed(&error, Intent::Read).map(|(answer, _)| answer),
        };
        let Some((meta, from)) = found else { return Err(Refusal::absent()) };
        self.stats.hit(from);
        if let Some(unmet) = judge(&blob.head.headers, &meta) {
            return unmet;
        }
        let mut answer = http::empty(StatusCode::OK);
        headers::describe(&mut answer, &meta, false);
        answer.headers_mut().insert(CONTENT_LENGTH, meta.len.into());
        Ok(answer)
    }

    /// The whole blob.
    pub(super) fn whole(&self, hit: Hit) -> Answer {
        self.stats.hit(hit.from);
        self.stats.bytes_out.add(hit.body.len());
        let mut answer = http::hit(hit.body, hit.from);
        headers::describe(&mut answer, &hit.meta, false);
        answer
    }

    async fn part(&self, hit: Hit, with_md5: bool) -> Result<Answer, Refusal> {
        self.stats.hit(hit.from);
        self.stats.bytes_out.add(hit.body.len());
        let Hit { meta, range, mut body, from } = hit;
        let mut md5 = None;
        if with_md5 {
            if body.len() > MD5_BYTES_MAX {
                let words = "the MD5 of a range is computed up to 4 MiB; ask for less";
                return Err(Refusal::bad("OutOfRangeInput", words));
            }
            let bytes = body.collect(MD5_BYTES_MAX).await.map_err(|_broken| Refusal::absent())?;
            md5 = HeaderValue::try_from(Sum::of(&bytes).base64()).ok();
            body = Body::bytes(bytes);
        }
        let mut answer = http::hit(body, from);
        *answer.status_mut() = StatusCode::PARTIAL_CONTENT;
        headers::describe(&mut answer, &meta, true);
        let headers = answer.headers_mut();
        if let Some(part) = http::content_range(&range, meta.len) {
            headers.insert(CONTENT_RANGE, part);
        }
        if let Some(md5) = md5 {
            headers.insert(CONTENT_MD5, md5);
        }
        Ok(answer)
    }

    /// A range that has no byte of the blob.
    async fn outside(&self, blob: &Blob<'_>) -> Refusal {
        match self.context.cache.head(&blob.scope, &blob.key).await {
            Ok(Some((meta, _))) => Refusal::outside(meta.len),
            Ok(None) | Err(_) => Refusal::absent(),
        }
    }
}

/// The answer when the conditions don't let the blob be sent.
fn judge(asked: &HeaderMap, meta: &Meta) -> Option<Result<Answer, Refusal>> {
    match http::verdict(&conditions(asked, ""), meta) {
        Verdict::Answer => None,
        Verdict::NotModified => {
            let mut answer = http::empty(StatusCode::NOT_MODIFIED);
            headers::stamp(answer.headers_mut(), &meta.etag, meta.stored_ms);
            Some(Ok(answer))
        }
        Verdict::Failed => Some(Err(Refusal::unmet())),
    }
}
