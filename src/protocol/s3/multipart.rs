//! Uploads in parts.

use std::sync::Arc;

use hyper::StatusCode;

use super::body::{Plan, Sink};
use super::headers::{iso, now_ms};
use super::refusal::document;
use super::write::{XMLNS, attrs_of, condition, stored};
use super::{Done, Frontend, Object, Refusal};
use crate::cache::{PartialUpload, Staged};
use crate::entry::Claim;
use crate::error::{Error, Kind, Result};
use crate::key::Scope;
use crate::protocol::Intent;
use crate::protocol::http::{self, Answer, Incoming, Upload};
use crate::protocol::objects::listing::Wanted;
use crate::protocol::objects::md5::Sum;
use crate::protocol::objects::query::Query;
use crate::protocol::objects::xml::{Element, Writer};
use crate::stats::Shed;

const PARTS_MAX: u32 = 10_000;
/// A list of so many parts, with all that SDKs say of each, is shorter.
const LIST_BYTES_MAX: u64 = 8 << 20;
const PAGE_MAX: usize = 1000;
/// Hex digits of an upload's id that are its time.
const TIME_CHARS: usize = 12;

impl Frontend {
    pub(super) fn begin(&self, object: &Object<'_>) -> std::result::Result<Answer, Refusal> {
        let attrs = attrs_of(&object.head.headers)?;
        let id = new_id().map_err(|_no_random| Refusal::bad("InvalidRequest", "no upload can be begun"))?;
        let upload =
            self.context.cache.stage(&object.scope, &stage_id(object.bucket, &id, object.name.as_str()));
        match upload {
            Ok(upload) => upload.begin(attrs),
            Err(error) => return self.failed(error.into(), Intent::Write).map(|(answer, _)| answer),
        }
        let mut writer = Writer::new();
        writer.open_with("InitiateMultipartUploadResult", &[("xmlns", XMLNS)]);
        writer.text("Bucket", object.bucket).text("Key", object.name.as_str()).text("UploadId", &id);
        Ok(document(writer))
    }

    pub(super) async fn put_part<B: Incoming>(&self, object: &Object<'_>, upload: &mut Upload<B>) -> Done {
        let (number, (staged, _)) = (part_number(object.query)?, self.staged(object)?);
        let plan = Plan::of(&object.head.headers, object.caller, upload)?;
        let mut part = match staged.part(&part_name(number), plan.len).await {
            Ok(part) => part,
            Err(error) => return self.failed(error.into(), Intent::Write),
        };
        let taken = match plan.pour(upload, Sink::Part(&mut part)).await {
            Ok(taken) => taken,
            Err(trouble) => return self.failed(trouble, Intent::Write),
        };
        match part.finish(Some(taken.md5.hex().into())).await {
            Ok(Some(part)) => Ok((stored(&part.etag, Some(&taken)), 0)),
            Ok(None) => Err(no_such_upload()),
            Err(error) => self.failed(error.into(), Intent::Write),
        }
    }

    pub(super) async fn complete<B: Incoming>(&self, object: &Object<'_>, upload: &mut Upload<B>) -> Done {
        let condition = condition(&object.head.headers)?;
        let body = match self.small_body(&object.head.headers, object.caller, upload, LIST_BYTES_MAX).await {
            Ok(body) => body,
            Err(trouble) => return self.failed(trouble, Intent::Write),
        };
        let list = parse(&body)?;
        let etag = etag_of(&list);
        let (staged, parts) = match self.staged(object) {
            Ok((upload, staged)) => (upload, staged),
            Err(refusal) => {
                // Its answer was lost, and it is sent again.
                let there = self.context.cache.head(&object.scope, &object.key).await;
                let is_it = there.is_ok_and(|found| found.is_some_and(|(meta, _)| *meta.etag == *etag));
                return if is_it { Ok((completed(object, &etag), 0)) } else { Err(refusal) };
            }
        };
        for (number, etag) in &list {
            let part = parts.parts.iter().find(|part| *part.name == *part_name(*number));
            if part.is_none_or(|part| *part.etag != **etag) {
                let words = format!("part {number} was not uploaded, or with another ETag");
                return Err(Refusal::bad("InvalidPart", words));
            }
        }
        let names: Vec<String> = list.iter().map(|(number, _)| part_name(*number)).collect();
        let names: Vec<&str> = names.iter().map(String::as_str).collect();
        let (key, attrs) = (object.key.clone(), parts.attrs);
        let assembled =
            staged.assemble(&names, key, Claim::default(), attrs, condition, Some(Arc::from(&*etag))).await;
        match assembled {
            Ok(Some(_)) => {
                self.stats.puts.one();
                Ok((completed(object, &etag), 0))
            }
            Ok(None) => Err(no_such_upload()),
            Err(error) if error.kind() == Kind::TooLarge => {
                staged.end();
                self.stats.puts.one();
                self.context.cache.shed(Shed::EntryMax);
                Ok((completed(object, &etag), 0))
            }
            Err(error) => self.failed(error.into(), Intent::Write),
        }
    }

    pub(super) fn abort(&self, object: &Object<'_>) -> std::result::Result<Answer, Refusal> {
        let (upload, _) = self.staged(object)?;
        upload.end();
        Ok(http::empty(StatusCode::NO_CONTENT))
    }

    /// ListParts.
    pub(super) fn parts(&self, object: &Object<'_>) -> std::result::Result<Answer, Refusal> {
        let (_, staged) = self.staged(object)?;
        let number = |name: &str, default| match object.query.get(name) {
            None => Ok(default),
            Some(text) => {
                text.parse().map_err(|_| Refusal::bad("InvalidArgument", format!("{name} is not a number")))
            }
        };
        let (after, max) = (number("part-number-marker", 0)?, number("max-parts", PAGE_MAX)?.min(PAGE_MAX));
        let parts = staged.parts.iter().filter_map(|part| Some((part.name.parse::<usize>().ok()?, part)));
        let mut rest: Vec<_> = parts.filter(|(number, _)| *number > after).collect();
        let more = rest.len() > max;
        rest.truncate(max);
        let mut writer = Writer::new();
        writer.open_with("ListPartsResult", &[("xmlns", XMLNS)]);
        writer.text("Bucket", object.bucket).text("Key", object.name.as_str());
        writer.text("UploadId", object.query.text("uploadId")).text("StorageClass", "STANDARD");
        writer.text("PartNumberMarker", &after.to_string()).text("MaxParts", &max.to_string());
        let next = rest.last().map_or(0, |(number, _)| *number);
        writer.text("NextPartNumberMarker", &next.to_string()).text("IsTruncated", &more.to_string());
        for (number, part) in rest {
            writer.open("Part").text("PartNumber", &number.to_string());
            writer.text("LastModified", &iso(part.stored_ms)).text("ETag", &format!("\"{}\"", part.etag));
            writer.text("Size", &part.len.to_string()).close();
        }
        Ok(document(writer))
    }

    /// ListMultipartUploads: all of them at once, up to the most that S3 gives.
    pub(super) fn uploads(&self, bucket: &str, scope: &Scope, query: &Query) -> Answer {
        let wanted = Wanted { prefix: query.text("prefix"), ..Wanted::default() };
        let begin = format!("s3/{bucket}/");
        let ids = self.context.cache.staged_ids(scope, &begin);
        let mut found: Vec<(&str, &str)> = ids
            .iter()
            .filter_map(|id| id.strip_prefix(&begin)?.split_once('/'))
            .map(|(id, key)| (key, id))
            .filter(|(key, _)| key.starts_with(wanted.prefix))
            .collect();
        found.sort_unstable();
        let more = found.len() > PAGE_MAX;
        found.truncate(PAGE_MAX);
        let mut writer = Writer::new();
        writer.open_with("ListMultipartUploadsResult", &[("xmlns", XMLNS)]).text("Bucket", bucket);
        writer.text("KeyMarker", "").text("UploadIdMarker", "").text("Prefix", wanted.prefix);
        writer.text("MaxUploads", &PAGE_MAX.to_string()).text("IsTruncated", &more.to_string());
        for (key, id) in found {
            writer.open("Upload").text("Key", key).text("UploadId", id).text("StorageClass", "STANDARD");
            let begun = id.get(..TIME_CHARS).and_then(|time| u64::from_str_radix(time, 16).ok());
            writer.text("Initiated", &iso(begun.unwrap_or_else(now_ms))).close();
        }
        document(writer)
    }

    /// The upload that a request is about, and what it has.
    pub(super) fn staged(
        &self,
        object: &Object<'_>,
    ) -> std::result::Result<(PartialUpload, Staged), Refusal> {
        let id = object.query.text("uploadId");
        let is_id = !id.is_empty() && id.bytes().all(|byte| byte.is_ascii_hexdigit());
        let id = stage_id(object.bucket, if is_id { id } else { "-" }, object.name.as_str());
        let upload = self.context.cache.stage(&object.scope, &id).map_err(|_too_long| no_such_upload())?;
        let staged = upload.staged().ok_or_else(no_such_upload)?;
        Ok((upload, staged))
    }
}

fn stage_id(bucket: &str, id: &str, key: &str) -> String {
    format!("s3/{bucket}/{id}/{key}")
}

/// Its time first, so that uploads of one key sort by it; the rest nobody guesses.
fn new_id() -> Result<String> {
    let mut random = [0; 12];
    getrandom::fill(&mut random)
        .map_err(|error| Error::new(Kind::Internal, "ask the kernel for random bytes").because(error))?;
    Ok(format!("{:0TIME_CHARS$x}{}", now_ms(), crate::digest::hex(&random)))
}

/// As parts are called, so that they sort by number.
pub(super) fn part_name(number: u32) -> String {
    format!("{number:05}")
}

pub(super) fn part_number(query: &Query) -> std::result::Result<u32, Refusal> {
    let number = query.text("partNumber").parse().ok().filter(|number| (1..=PARTS_MAX).contains(number));
    number.ok_or_else(|| Refusal::bad("InvalidArgument", "partNumber is a number from 1 to 10,000"))
}

pub(super) fn no_such_upload() -> Refusal {
    let words = "there is no such upload: never begun, completed, aborted, or without a byte for `partial_uploads_age`";
    Refusal::missing("NoSuchUpload", words)
}

fn completed(object: &Object<'_>, etag: &str) -> Answer {
    let mut writer = Writer::new();
    writer.open_with("CompleteMultipartUploadResult", &[("xmlns", XMLNS)]);
    writer.text("Location", object.head.uri.path()).text("Bucket", object.bucket);
    writer.text("Key", object.name.as_str()).text("ETag", &format!("\"{etag}\""));
    document(writer)
}

/// Part numbers and their ETags without quotes.
fn parse(body: &[u8]) -> std::result::Result<Vec<(u32, String)>, Refusal> {
    let malformed = |words: &str| Refusal::bad("MalformedXML", words);
    let root = Element::parse(body).map_err(|error| malformed(error.message()))?;
    let part = |child: &Element| {
        let number: u32 = child.child("PartNumber")?.text().parse().ok()?;
        Some((number, child.child("ETag")?.text().trim_matches('"').to_owned()))
    };
    let parts = root.children().iter().filter(|child| child.name == "Part");
    let list: Option<Vec<(u32, String)>> = parts.map(part).collect();
    let list = list.filter(|list| root.name == "CompleteMultipartUpload" && !list.is_empty());
    let list =
        list.ok_or_else(|| malformed("the body is not a CompleteMultipartUpload of Parts with their ETags"))?;
    if list.len() > PARTS_MAX as usize || list.windows(2).any(|pair| pair[0].0 >= pair[1].0) {
        let words = "the parts are not in the order of their numbers, each once";
        return Err(Refusal::bad("InvalidPartOrder", words));
    }
    Ok(list)
}

/// What S3 makes of the parts' ETags: the MD5 of their MD5s, and how many they are.
fn etag_of(list: &[(u32, String)]) -> String {
    let mut bytes = Vec::with_capacity(16 * list.len());
    for (_, etag) in list {
        let digits = etag.as_bytes().chunks(2).map(|pair| std::str::from_utf8(pair).unwrap_or_default());
        bytes.extend(digits.filter_map(|pair| u8::from_str_radix(pair, 16).ok()));
    }
    format!("{}-{}", Sum::of(&bytes).hex(), list.len())
}
