//! CopyObject and UploadPartCopy, of what is here or upstream.

use futures_util::StreamExt as _;
use hyper::header::HeaderValue;

use super::headers::{iso, now_ms};
use super::multipart::{no_such_upload, part_name, part_number};
use super::refusal::document;
use super::write::{XMLNS, attrs_of, condition};
use super::{Frontend, Object, Refusal, Route, Target};
use crate::entry::{ByteRange, Claim, Hit};
use crate::error::{Kind, Result};
use crate::key::{Key, Scope};
use crate::protocol::Intent;
use crate::protocol::http::{self, Answer, Verdict};
use crate::protocol::objects::conditions::conditions;
use crate::protocol::objects::md5::Hasher;
use crate::protocol::objects::xml::Writer;

impl Frontend {
    pub(super) async fn copy(&self, object: &Object<'_>) -> std::result::Result<Answer, Refusal> {
        let (scope, key) = self.source(object)?;
        let directive = object.head.headers.get("x-amz-metadata-directive").map(HeaderValue::as_bytes);
        let replaces = directive.is_some_and(|directive| directive.eq_ignore_ascii_case(b"REPLACE"));
        if !replaces && key == object.key && scope == object.scope {
            let words = "an object is copied onto itself only to replace its metadata: x-amz-metadata-directive: REPLACE";
            return Err(Refusal::bad("InvalidRequest", words));
        }
        let condition = condition(&object.head.headers)?;
        let mut hit = self.found(object, &scope, &key, ByteRange::Full).await?;
        let attrs = if replaces { attrs_of(&object.head.headers)? } else { hit.meta.attrs.clone() };
        let claim = Claim { len: Some(hit.meta.len), digest: None };
        let copied: Result<_> = async {
            let put = self.context.cache.put(&object.scope, object.key.clone(), claim, attrs, condition);
            let (mut put, mut md5) = (put.await?, Hasher::default());
            while let Some(piece) = hit.body.next().await {
                let piece = piece?;
                md5.update(&piece);
                put.write(piece).await?;
            }
            put.set_etag(md5.finish().hex());
            put.commit().await
        }
        .await;
        match copied {
            Ok(committed) => {
                self.stats.puts.one();
                Ok(result("CopyObjectResult", &committed.etag))
            }
            Err(error) => self.failed(error.into(), Intent::Write).map(|(answer, _)| answer),
        }
    }

    pub(super) async fn copy_part(&self, object: &Object<'_>) -> std::result::Result<Answer, Refusal> {
        let (number, (staged, _)) = (part_number(object.query)?, self.staged(object)?);
        let (scope, key) = self.source(object)?;
        let range = match object.head.headers.get("x-amz-copy-source-range") {
            None => ByteRange::Full,
            Some(value) => {
                let asked = http::range(&[(hyper::header::RANGE, value.clone())].into_iter().collect());
                if asked == ByteRange::Full {
                    let words = "x-amz-copy-source-range is not of the form bytes=0-9";
                    return Err(Refusal::bad("InvalidArgument", words));
                }
                asked
            }
        };
        let mut hit = self.found(object, &scope, &key, range).await?;
        let copied: Result<_> = async {
            let mut part = staged.part(&part_name(number), Some(hit.range.end - hit.range.start)).await?;
            let mut md5 = Hasher::default();
            while let Some(piece) = hit.body.next().await {
                let piece = piece?;
                md5.update(&piece);
                part.write(piece).await?;
            }
            part.finish(Some(md5.finish().hex().into())).await
        }
        .await;
        match copied {
            Ok(Some(part)) => Ok(result("CopyPartResult", &part.etag)),
            Ok(None) => Err(no_such_upload()),
            Err(error) => self.failed(error.into(), Intent::Write).map(|(answer, _)| answer),
        }
    }

    /// What is to be copied, if the caller may read it.
    fn source(&self, object: &Object<'_>) -> std::result::Result<(Scope, Key), Refusal> {
        let refused = || Refusal::bad("InvalidArgument", "x-amz-copy-source is not `/{bucket}/{key}`");
        let source = object.head.headers.get("x-amz-copy-source").and_then(|value| value.to_str().ok());
        let source = source.ok_or_else(refused)?;
        let path = source.split_once("?versionId=").map_or(source, |(path, _)| path);
        let path = format!("/{}", path.trim_start_matches('/'));
        let Target::Object(bucket, name) = Route::parse(&path, None).0 else { return Err(refused()) };
        object.caller.check(&bucket, false)?;
        let scope = self.places.scope(&bucket);
        let scope = scope.map_err(|error| Refusal::bad("InvalidBucketName", error.message()))?;
        let key = self.key(&scope, name)?;
        Ok((scope, key))
    }

    /// What is to be copied, if it is as the copy wants it to be.
    async fn found(
        &self,
        object: &Object<'_>,
        scope: &Scope,
        key: &Key,
        range: ByteRange,
    ) -> std::result::Result<Hit, Refusal> {
        let hit = match self.context.cache.get(scope, key, range).await {
            Ok(Some(hit)) => hit,
            Err(error) if error.kind() == Kind::Invalid => {
                let len = self.context.cache.head(scope, key).await.ok().flatten().map(|(meta, _)| meta.len);
                return Err(len.map_or_else(Refusal::absent, Refusal::outside));
            }
            Ok(None) | Err(_) => return Err(Refusal::absent()),
        };
        let wanted = conditions(&object.head.headers, "x-amz-copy-source-");
        match http::verdict(&wanted, &hit.meta) {
            Verdict::Answer => Ok(hit),
            Verdict::NotModified | Verdict::Failed => Err(Refusal::unmet()),
        }
    }
}

fn result(name: &'static str, etag: &str) -> Answer {
    let mut writer = Writer::new();
    writer.open_with(name, &[("xmlns", XMLNS)]);
    writer.text("LastModified", &iso(now_ms())).text("ETag", &format!("\"{etag}\""));
    document(writer)
}
