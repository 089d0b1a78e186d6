//! Put Blob, Copy Blob within a container, Delete Blob.

use futures_util::StreamExt as _;
use hyper::StatusCode;
use hyper::header::{HeaderMap, HeaderValue};

use super::headers::{BLOB_CONTENT_MD5, CONTENT_MD5, md5_attr, now_ms, stamp};
use super::route::{Route, Target};
use super::{Blob, Done, Frontend, HEADERS, Refusal};
use crate::cache::{self, Cache};
use crate::entry::{Attrs, ByteRange, Claim, Precondition};
use crate::error::{Error, Kind, Result};
use crate::key::Scope;
use crate::protocol::Intent;
use crate::protocol::http::{self, Answer, Incoming, Upload, Verdict};
use crate::protocol::objects::attrs;
use crate::protocol::objects::conditions::conditions;
use crate::protocol::objects::md5::{Hasher, Sum};
use crate::stats::Shed;

impl Frontend {
    pub(super) async fn put<B: Incoming>(&self, blob: &Blob<'_>, upload: &mut Upload<B>) -> Done {
        let asked = &blob.head.headers;
        match asked.get("x-ms-blob-type").map(HeaderValue::as_bytes) {
            Some(b"BlockBlob") => {}
            None => {
                let words = "Put Blob needs `x-ms-blob-type: BlockBlob`";
                return Err(Refusal::bad("MissingRequiredHeader", words));
            }
            Some(other) => {
                let words =
                    format!("blobs of the type `{}` are not kept, only BlockBlob", other.escape_ascii());
                return Err(Refusal::bad("InvalidHeaderValue", words));
            }
        }
        self.check_write(blob).await?;
        let condition = condition(asked)?;
        let announced = md5(asked)?;
        let attrs = attrs_of(asked, true)?;
        let claim = Claim { len: upload.len(), digest: None };
        let stored =
            store(&self.context.cache, blob, claim, attrs, condition.clone(), announced, upload).await;
        self.written(stored, &condition, |headers, committed| {
            stamp(headers, &committed.etag, now_ms());
        })
    }

    /// Within a container, by whoever may read and write it.
    pub(super) async fn copy(&self, blob: &Blob<'_>) -> std::result::Result<Answer, Refusal> {
        blob.check(blob.rights.read, "read what is to be copied")?;
        self.check_write(blob).await?;
        let condition = condition(&blob.head.headers)?;
        let source = source_of(blob)?;
        let key = self.key(&blob.scope, source)?;
        let found = match self.context.cache.get(&blob.scope, &key, ByteRange::Full).await {
            Ok(found) => found,
            Err(error) => return self.failed(&error, Intent::Read).map(|(answer, _)| answer),
        };
        let Some(mut hit) = found else {
            let words = "the blob that is to be copied does not exist";
            return Err(Refusal::new(StatusCode::NOT_FOUND, "CannotVerifyCopySource", words));
        };
        let wanted = conditions(&blob.head.headers, "x-ms-source-");
        if !matches!(http::verdict(&wanted, &hit.meta), Verdict::Answer) {
            let words = "the condition for the blob that is to be copied doesn't hold";
            return Err(Refusal::new(StatusCode::PRECONDITION_FAILED, "SourceConditionNotMet", words));
        }
        let own = attrs_of(&blob.head.headers, false)?;
        let attrs = if own.user().is_empty() { hit.meta.attrs.clone() } else { own };
        let claim = Claim { len: Some(hit.meta.len), digest: None };
        let copied = async {
            let put = self.context.cache.put(&blob.scope, blob.key.clone(), claim, attrs, condition.clone());
            let mut put = put.await?;
            while let Some(piece) = hit.body.next().await {
                put.write(piece?).await?;
            }
            put.commit().await
        };
        let done = self.written(copied.await, &condition, |headers, committed| {
            stamp(headers, &committed.etag, now_ms());
        })?;
        let mut answer = done.0;
        *answer.status_mut() = StatusCode::ACCEPTED;
        let id = format!("{:032x}", now_ms());
        answer.headers_mut().insert("x-ms-copy-status", HeaderValue::from_static("success"));
        if let Ok(id) = HeaderValue::try_from(id) {
            answer.headers_mut().insert("x-ms-copy-id", id);
        }
        Ok(answer)
    }

    pub(super) async fn delete(&self, blob: &Blob<'_>) -> std::result::Result<Answer, Refusal> {
        blob.check(blob.rights.delete, "delete")?;
        let condition = condition(&blob.head.headers)?;
        let cache = &self.context.cache;
        // What is only upstream is there as well, and its delete is queued.
        let known = cache.head(&blob.scope, &blob.key).await.is_ok_and(|found| found.is_some());
        match cache.delete(&blob.scope, &blob.key, condition).await {
            Ok(was) if was || known => Ok(http::empty(StatusCode::ACCEPTED)),
            Ok(_) => Err(Refusal::absent()),
            Err(error) => match Refusal::of(&error) {
                Some(refusal) => Err(refusal),
                None => {
                    self.context.lose(&error);
                    Ok(http::empty(StatusCode::ACCEPTED))
                }
            },
        }
    }

    /// A right to create only is one where there is nothing yet.
    pub(super) async fn check_write(&self, blob: &Blob<'_>) -> std::result::Result<(), Refusal> {
        if blob.rights.write || !blob.rights.create {
            return blob.check(blob.rights.write, "write");
        }
        let is_there =
            self.context.cache.head(&blob.scope, &blob.key).await.is_ok_and(|found| found.is_some());
        blob.check(!is_there, "write over a blob that is there")
    }

    /// What a write that ended so is answered with.
    pub(super) fn written(
        &self,
        stored: Result<cache::Committed>,
        condition: &Precondition,
        describe: impl FnOnce(&mut HeaderMap, &cache::Committed),
    ) -> Done {
        match stored {
            Ok(committed) => {
                self.stats.puts.one();
                let mut answer = created();
                describe(answer.headers_mut(), &committed);
                Ok((answer, 0))
            }
            Err(error) if error.kind() == Kind::TooLarge => {
                // Acknowledged, so read to its end: an answer that comes before it is a failure to its sender.
                self.stats.puts.one();
                self.context.cache.shed(Shed::EntryMax);
                Ok((created(), u64::MAX))
            }
            Err(error) if error.kind() == Kind::Precondition && *condition == Precondition::Absent => {
                let words = "there is a blob of this name already";
                Err(Refusal::new(StatusCode::CONFLICT, "BlobAlreadyExists", words))
            }
            Err(error) => self.failed(&error, Intent::Write),
        }
    }
}

async fn store<B: Incoming>(
    cache: &Cache,
    blob: &Blob<'_>,
    claim: Claim,
    attrs: Attrs,
    condition: Precondition,
    announced: Option<Sum>,
    upload: &mut Upload<B>,
) -> Result<cache::Committed> {
    let mut put = cache.put(&blob.scope, blob.key.clone(), claim, attrs, condition).await?;
    let mut hasher = announced.map(|_| Hasher::default());
    upload
        .write_checked(&mut put, |piece| {
            if let Some(hasher) = &mut hasher {
                hasher.update(piece);
            }
            Ok(())
        })
        .await?;
    if let Some(hasher) = hasher {
        hasher.finish().check(announced.as_ref())?;
    }
    put.commit().await
}

pub(super) fn created() -> Answer {
    let mut answer = http::empty(StatusCode::CREATED);
    answer.headers_mut().insert("x-ms-request-server-encrypted", HeaderValue::from_static("false"));
    answer
}

/// On what condition a request writes.
pub(super) fn condition(asked: &HeaderMap) -> std::result::Result<Precondition, Refusal> {
    http::precondition(&conditions(asked, ""))
        .map_err(|error| Refusal::bad("InvalidHeaderValue", error.message()))
}

/// The MD5 that the client states of the body.
pub(super) fn md5(asked: &HeaderMap) -> std::result::Result<Option<Sum>, Refusal> {
    let stated = asked.get(CONTENT_MD5).or_else(|| asked.get(BLOB_CONTENT_MD5));
    let parsed = stated.map(|value| Sum::parse(value.to_str().unwrap_or_default())).transpose();
    parsed.map_err(|error| Refusal::bad("InvalidMd5", error.message()))
}

/// What a request says of the blob that it makes.
pub(super) fn attrs_of(asked: &HeaderMap, plain: bool) -> std::result::Result<Attrs, Refusal> {
    let refused = |error: Error| match error.kind() {
        Kind::TooLarge => Refusal::bad("MetadataTooLarge", error.message()),
        _ => Refusal::bad("InvalidMetadata", error.message()),
    };
    let attrs = attrs::kept(asked, HEADERS, plain).map_err(refused)?;
    let stated = asked.get(BLOB_CONTENT_MD5).or_else(|| asked.get(CONTENT_MD5).filter(|_| plain));
    match stated.and_then(|value| value.to_str().ok()) {
        Some(md5) => attrs.and([(md5_attr(), md5.to_owned())]).map_err(refused),
        None => Ok(attrs),
    }
}

/// The blob that is to be copied: one of the same container.
fn source_of(blob: &Blob<'_>) -> std::result::Result<crate::key::Name, Refusal> {
    let refused = |words: &str| Refusal::bad("CannotVerifyCopySource", words);
    let source = blob.head.headers.get("x-ms-copy-source").and_then(|value| value.to_str().ok());
    let source = source.ok_or_else(|| refused("x-ms-copy-source is not a URL"))?;
    let path =
        source.split_once("://").map_or(Some(source), |(_, rest)| rest.find('/').map(|at| &rest[at..]));
    let path = path.and_then(|path| path.split(['?', '#']).next()).unwrap_or_default();
    let below = path.strip_prefix("/larder").unwrap_or(path);
    match Route::parse(below).0 {
        Target::Blob(container, name) if container == blob.container => Ok(name),
        _ => Err(refused("only blobs of the same container are copied")),
    }
}

/// Where the blocks of a blob are kept.
pub(super) fn stage(cache: &Cache, scope: &Scope, blob: &Blob<'_>) -> Result<cache::PartialUpload> {
    cache.stage(scope, &format!("azure/{}/{}", blob.container, blob.name.as_str()))
}
