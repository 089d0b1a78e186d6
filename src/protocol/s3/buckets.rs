//! Buckets, which exist by being named.

use hyper::header::{HeaderValue, LOCATION};
use hyper::http::request::Parts;
use hyper::{Method, StatusCode};

use super::headers::iso;
use super::refusal::document;
use super::sigv4::Caller;
use super::write::XMLNS;
use super::{Done, Frontend, Refusal, no_such_method};
use crate::key::Scope;
use crate::protocol::http::{self, Answer, Incoming, Upload};
use crate::protocol::objects::query::Query;
use crate::protocol::objects::xml::Writer;

/// What a bucket may be asked for that no plain one has, and what S3 says then.
const ABSENT: [(&str, &str); 9] = [
    ("policy", "NoSuchBucketPolicy"),
    ("tagging", "NoSuchTagSet"),
    ("lifecycle", "NoSuchLifecycleConfiguration"),
    ("cors", "NoSuchCORSConfiguration"),
    ("website", "NoSuchWebsiteConfiguration"),
    ("encryption", "ServerSideEncryptionConfigurationNotFoundError"),
    ("object-lock", "ObjectLockConfigurationNotFoundError"),
    ("replication", "ReplicationConfigurationNotFoundError"),
    ("publicAccessBlock", "NoSuchPublicAccessBlockConfiguration"),
];

/// The list of buckets: that of the key, for others are nobody's to know.
pub(super) fn service(caller: &Caller, method: &Method) -> Result<Answer, Refusal> {
    if *method != Method::GET {
        return Err(no_such_method(method));
    }
    let mut writer = Writer::new();
    writer.open_with("ListAllMyBucketsResult", &[("xmlns", XMLNS)]);
    writer.open("Owner").text("ID", "larder").text("DisplayName", "larder").close();
    writer.open("Buckets");
    if let Caller::Key(signed) = caller {
        writer
            .open("Bucket")
            .text("Name", &signed.grant.place)
            .text("CreationDate", &iso(CREATED_MS))
            .close();
    }
    Ok(document(writer))
}

/// A bucket never changes: 2026-01-01.
const CREATED_MS: u64 = 1_767_225_600_000;

/// No object has tags.
pub(super) fn no_tags() -> Answer {
    let mut writer = Writer::new();
    writer.open_with("Tagging", &[("xmlns", XMLNS)]).open("TagSet");
    document(writer)
}

impl Frontend {
    pub(super) async fn of_bucket<B: Incoming>(
        &self,
        bucket: &str,
        scope: &Scope,
        caller: &Caller,
        head: &Parts,
        query: &Query,
        upload: &mut Upload<B>,
    ) -> Done {
        let has = |name: &str| query.get(name).is_some();
        let whole = |answer: Answer| Ok((answer, 0));
        if let Some((what, code)) = ABSENT.into_iter().find(|(what, _)| has(what)) {
            return Err(match head.method {
                Method::GET => Refusal::missing(code, format!("a bucket of this cache has no {what}")),
                _ => Refusal::unserved(&format!("`?{what}`")),
            });
        }
        match head.method {
            Method::HEAD => whole(http::empty(StatusCode::OK)),
            Method::GET if has("location") => whole(empty_document("LocationConstraint")),
            Method::GET if has("versioning") => whole(empty_document("VersioningConfiguration")),
            Method::GET if has("uploads") => whole(self.uploads(bucket, scope, query)),
            Method::GET if has("acl") || has("versions") || has("notification") || has("logging") => {
                Err(Refusal::unserved("this part of a bucket"))
            }
            Method::GET => whole(self.list(bucket, scope, query).await?),
            Method::POST if has("delete") => self.delete_several(scope, caller, &head.headers, upload).await,
            Method::PUT if query.pairs().iter().all(|(name, _)| name == "x-id") => {
                let mut answer = http::empty(StatusCode::OK);
                if let Ok(location) = HeaderValue::try_from(format!("/{bucket}")) {
                    answer.headers_mut().insert(LOCATION, location);
                }
                whole(answer)
            }
            Method::PUT => Err(Refusal::unserved("this part of a bucket")),
            Method::DELETE => {
                let words = "a bucket is a namespace here and is not deleted; delete its objects";
                Err(Refusal::new(StatusCode::METHOD_NOT_ALLOWED, "MethodNotAllowed", words))
            }
            ref method => Err(no_such_method(method)),
        }
    }
}

fn empty_document(name: &'static str) -> Answer {
    let mut writer = Writer::new();
    writer.open_with(name, &[("xmlns", XMLNS)]);
    document(writer)
}
