//! PutObject, DeleteObject, DeleteObjects.

use hyper::StatusCode;
use hyper::header::{ETAG, HeaderMap, HeaderName, HeaderValue};

use super::body::{Plan, Sink, Taken};
use super::refusal::{Trouble, document};
use super::sigv4::Caller;
use super::{Done, Frontend, HEADERS, Object, Refusal};
use crate::cache;
use crate::entry::{Attrs, Claim, Precondition};
use crate::error::{Error, Kind};
use crate::key::{Key, Name, Scope};
use crate::protocol::Intent;
use crate::protocol::http::{self, Answer, Incoming, Upload};
use crate::protocol::objects::attrs;
use crate::protocol::objects::conditions::conditions;
use crate::protocol::objects::xml::{Element, Writer};
use crate::stats::Shed;

/// As many names as S3 takes at once, at their longest, are no longer.
const DELETE_BYTES_MAX: u64 = 4 << 20;
const DELETES_MAX: usize = 1000;

impl Frontend {
    pub(super) async fn put<B: Incoming>(&self, object: &Object<'_>, upload: &mut Upload<B>) -> Done {
        let plan = Plan::of(&object.head.headers, object.caller, upload)?;
        let condition = condition(&object.head.headers)?;
        let attrs = attrs_of(&object.head.headers)?;
        let claim = Claim { len: plan.len, digest: None };
        let put = self.context.cache.put(&object.scope, object.key.clone(), claim, attrs, condition);
        let mut put = match put.await {
            Ok(put) => put,
            Err(error) if error.kind() == Kind::TooLarge => return self.shed(plan, upload).await,
            Err(error) => return self.failed(error.into(), Intent::Write),
        };
        match plan.pour(upload, Sink::Put(&mut put)).await {
            Ok(taken) => match commit(put, &taken).await {
                Ok(committed) => {
                    self.stats.puts.one();
                    Ok((stored(&committed.etag, Some(&taken)), 0))
                }
                Err(error) => self.failed(error.into(), Intent::Write),
            },
            Err(trouble) => self.written_too_much(trouble),
        }
    }

    /// A body over `entry_max`, announced: read to its end, so that it is answered with what it is.
    async fn shed<B: Incoming>(&self, plan: Plan, upload: &mut Upload<B>) -> Done {
        match plan.pour(upload, Sink::Nothing).await {
            Ok(taken) => {
                self.stats.puts.one();
                self.context.cache.shed(Shed::EntryMax);
                Ok((stored(&taken.md5.hex(), Some(&taken)), 0))
            }
            Err(trouble) => self.failed(trouble, Intent::Write),
        }
    }

    /// The same, where it shows only as it comes.
    pub(super) fn written_too_much(&self, trouble: Trouble) -> Done {
        match trouble {
            Trouble::Failed(error) if error.kind() == Kind::TooLarge => {
                self.stats.puts.one();
                self.context.cache.shed(Shed::EntryMax);
                Ok((http::empty(StatusCode::OK), u64::MAX))
            }
            trouble => self.failed(trouble, Intent::Write),
        }
    }

    pub(super) async fn delete(&self, object: &Object<'_>) -> Result<Answer, Refusal> {
        let condition = condition(&object.head.headers)?;
        self.delete_one(&object.scope, object.key.clone(), condition).await?;
        Ok(http::empty(StatusCode::NO_CONTENT))
    }

    async fn delete_one(&self, scope: &Scope, key: Key, condition: Precondition) -> Result<(), Refusal> {
        match self.context.cache.delete(scope, &key, condition).await {
            Ok(_) => Ok(()),
            Err(error) => match Refusal::of(&error) {
                Some(refusal) => Err(refusal),
                None => {
                    self.context.lose(&error);
                    Ok(())
                }
            },
        }
    }

    pub(super) async fn delete_several<B: Incoming>(
        &self,
        scope: &Scope,
        caller: &Caller,
        headers: &HeaderMap,
        upload: &mut Upload<B>,
    ) -> Done {
        let body = match self.small_body(headers, caller, upload, DELETE_BYTES_MAX).await {
            Ok(body) => body,
            Err(trouble) => return self.failed(trouble, Intent::Write),
        };
        let malformed = |words: &str| Refusal::bad("MalformedXML", words);
        let root = Element::parse(&body).map_err(|error| malformed(error.message()))?;
        let named = root.children().iter().filter(|child| child.name == "Object");
        let names: Option<Vec<&str>> =
            named.map(|child| child.child("Key").map(Element::whole_text)).collect();
        let names = names.filter(|names| root.name == "Delete" && (1..=DELETES_MAX).contains(&names.len()));
        let names = names
            .ok_or_else(|| malformed("the body is not a Delete of 1 to 1,000 Objects with a Key each"))?;
        let quiet = root.child("Quiet").is_some_and(|quiet| quiet.text() == "true");
        let mut writer = Writer::new();
        writer.open_with("DeleteResult", &[("xmlns", XMLNS)]);
        for text in names {
            let deleted = match Name::parse(text) {
                Ok(name) => match self.key(scope, name) {
                    Ok(key) => self.delete_one(scope, key, Precondition::None).await,
                    Err(refusal) => Err(refusal),
                },
                Err(error) => Err(Refusal::bad("InvalidURI", error.message())),
            };
            match deleted {
                Ok(()) if quiet => {}
                Ok(()) => {
                    writer.open("Deleted").text("Key", text).close();
                }
                Err(refusal) => {
                    writer.open("Error").text("Key", text).text("Code", refusal.code);
                    writer.text("Message", &refusal.message).close();
                }
            }
        }
        Ok((document(writer), 0))
    }

    /// A body of a request that is read whole, checked as any other.
    pub(super) async fn small_body<B: Incoming>(
        &self,
        headers: &HeaderMap,
        caller: &Caller,
        upload: &mut Upload<B>,
        max: u64,
    ) -> Result<Vec<u8>, Trouble> {
        let plan = Plan::of(headers, caller, upload)?;
        let mut body = Vec::new();
        plan.pour(upload, Sink::Memory(&mut body, max)).await?;
        Ok(body)
    }
}

pub(super) const XMLNS: &str = "http://s3.amazonaws.com/doc/2006-03-01/";

/// Publishes what was read, with what is known of it now.
async fn commit(mut put: cache::Put, taken: &Taken) -> Result<cache::Committed, Error> {
    put.set_etag(taken.md5.hex());
    if let Some((algorithm, sum)) = &taken.checksum {
        put.add_attrs([(algorithm.attr(), sum.clone())])?;
    }
    put.commit().await
}

/// The answer to a write.
pub(super) fn stored(etag: &str, taken: Option<&Taken>) -> Answer {
    let mut answer = http::empty(StatusCode::OK);
    if let Some(etag) = http::quoted(etag) {
        answer.headers_mut().insert(ETAG, etag);
    }
    if let Some((algorithm, sum)) = taken.and_then(|taken| taken.checksum.as_ref())
        && let Ok(sum) = HeaderValue::from_str(sum)
    {
        answer.headers_mut().insert(HeaderName::from_static(algorithm.header()), sum);
    }
    answer
}

/// On what condition a request writes.
pub(super) fn condition(asked: &HeaderMap) -> Result<Precondition, Refusal> {
    http::precondition(&conditions(asked, ""))
        .map_err(|error| Refusal::bad("InvalidArgument", error.message()))
}

/// What a request says of the object that it makes.
pub(super) fn attrs_of(asked: &HeaderMap) -> Result<Attrs, Refusal> {
    attrs::kept(asked, HEADERS, true).map_err(|error| match error.kind() {
        Kind::TooLarge => Refusal::bad("MetadataTooLarge", error.message()),
        _ => Refusal::bad("InvalidArgument", error.message()),
    })
}
