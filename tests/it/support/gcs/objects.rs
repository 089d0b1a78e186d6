//! The objects and the multipart uploads of a bucket, and what a request does to them.

use std::collections::{BTreeMap, HashMap};
use std::ops::Bound;
use std::time::SystemTime;

use md5::{Digest, Md5};
use percent_encoding::percent_decode_str;

use super::super::base64;
use super::super::wire::Head;
use super::answers::{Answer, escape};

/// What is in the bucket. Names are ordered by their bytes.
#[derive(Default)]
pub(super) struct Objects {
    objects: BTreeMap<String, Object>,
    uploads: HashMap<String, Upload>,
    /// Of the last write, plus what Google's begin at.
    writes: u64,
}

struct Object {
    body: Vec<u8>,
    etag: String,
    hash: String,
    generation: u64,
    written: SystemTime,
    /// Content type and user metadata.
    headers: Vec<(String, String)>,
}

struct Upload {
    name: String,
    headers: Vec<(String, String)>,
    parts: BTreeMap<usize, (String, Vec<u8>)>,
}

/// A target, taken apart.
struct Target {
    name: String,
    query: HashMap<String, String>,
}

// === impl Objects ===

impl Objects {
    pub(super) fn names(&self) -> Vec<String> {
        self.objects.keys().cloned().collect()
    }

    pub(super) fn uploads(&self) -> usize {
        self.uploads.len()
    }

    /// Whether a target's object is there.
    pub(super) fn has(&self, bucket: &str, target: &str) -> bool {
        Target::parse(bucket, target).is_some_and(|target| self.objects.contains_key(&target.name))
    }

    pub(super) fn answer(&mut self, bucket: &str, request: &Head, body: Vec<u8>) -> Answer {
        let (method, target) = request.words();
        let Some(target) = Target::parse(bucket, target) else {
            return Answer::error(404, "NoSuchBucket", "The specified bucket does not exist.");
        };
        match (method, target.query.get("uploadId")) {
            ("GET", None) if target.name.is_empty() => self.list(&target),
            ("GET" | "HEAD", None) => self.get(request, &target.name),
            ("PUT", None) => self.put(request, target.name, body),
            ("DELETE", None) => match self.objects.remove(&target.name) {
                Some(_) => Answer::new(204),
                None => no_such_key(),
            },
            ("POST", None) if target.query.contains_key("uploads") => self.begin(request, target.name),
            ("PUT", Some(id)) => self.part(id, &target, body),
            ("POST", Some(id)) => self.complete(id, &String::from_utf8_lossy(&body)),
            ("DELETE", Some(id)) => match self.uploads.remove(id) {
                Some(_) => Answer::new(204),
                None => no_such_upload(),
            },
            _ => Answer::error(405, "MethodNotAllowed", "The specified method is not allowed."),
        }
    }

    fn get(&self, request: &Head, name: &str) -> Answer {
        let Some(object) = self.objects.get(name) else { return no_such_key() };
        let quoted = format!("\"{}\"", object.etag);
        if request.header("if-match").is_some_and(|etag| etag != quoted) {
            return Answer::error(
                412,
                "PreconditionFailed",
                "At least one of the pre-conditions did not hold.",
            );
        }
        if request.header("if-none-match").is_some_and(|etag| etag == quoted) {
            return Answer::new(304).header("etag", quoted);
        }
        let len = object.body.len();
        let range = request.header("range").and_then(|range| range.strip_prefix("bytes=")?.split_once('-'));
        let (status, start, end) = match range {
            None => (200, 0, len),
            Some((start, end)) => {
                let start = start.parse().unwrap_or(0);
                let end = end.parse::<usize>().map_or(len, |end| len.min(end + 1));
                if start >= len {
                    return Answer::error(416, "InvalidRange", "The requested range cannot be satisfied.");
                }
                (206, start, end)
            }
        };
        let mut answer = Answer::new(status)
            .header("etag", quoted)
            .header("last-modified", httpdate::fmt_http_date(object.written))
            .header("x-goog-generation", object.generation.to_string())
            .header("x-goog-metageneration", "1")
            .header("x-goog-stored-content-encoding", "identity")
            .header("x-goog-hash", object.hash.clone())
            .announce(end - start)
            .body(object.body[start..end].to_vec());
        if status == 206 {
            answer = answer.header("content-range", format!("bytes {start}-{}/{len}", end - 1));
        }
        object.headers.iter().fold(answer, |answer, (name, value)| answer.header(name, value.clone()))
    }

    fn put(&mut self, request: &Head, name: String, body: Vec<u8>) -> Answer {
        let now = self.objects.get(&name).map_or(0, |object| object.generation);
        if request.header("x-goog-if-generation-match").is_some_and(|wanted| wanted.parse() != Ok(now)) {
            return Answer::error(
                412,
                "PreconditionFailed",
                "At least one of the pre-conditions did not hold.",
            );
        }
        let md5 = Md5::digest(&body);
        let hash = format!("{},md5={}", crc32c(&body), base64(&md5));
        let etag = md5.iter().map(|byte| format!("{byte:02x}")).collect();
        self.store(name, body, etag, hash, kept(request))
    }

    fn begin(&mut self, request: &Head, name: String) -> Answer {
        self.writes += 1;
        let id = format!("upload/{}=", self.writes);
        let answer = format!(
            "<InitiateMultipartUploadResult><Bucket>b</Bucket><Key>{}</Key><UploadId>{id}</UploadId>\
             </InitiateMultipartUploadResult>",
            escape(&name)
        );
        self.uploads.insert(id, Upload { name, headers: kept(request), parts: BTreeMap::new() });
        Answer::xml(200, answer)
    }

    fn part(&mut self, id: &str, target: &Target, body: Vec<u8>) -> Answer {
        let number = target.query.get("partNumber").and_then(|number| number.parse().ok());
        let (Some(upload), Some(number)) = (self.uploads.get_mut(id), number) else {
            return no_such_upload();
        };
        let etag: String = Md5::digest(&body).iter().map(|byte| format!("{byte:02x}")).collect();
        upload.parts.insert(number, (etag.clone(), body));
        Answer::new(200).header("etag", format!("\"{etag}\""))
    }

    fn complete(&mut self, id: &str, list: &str) -> Answer {
        let Some(upload) = self.uploads.remove(id) else { return no_such_upload() };
        let mut body = Vec::new();
        for part in list.split("<Part>").skip(1) {
            let number = between(part, "<PartNumber>", "</").and_then(|number| number.parse().ok());
            let etag = between(part, "<ETag>", "</").unwrap_or_default().replace("&quot;", "\"");
            match number.and_then(|number: usize| upload.parts.get(&number)) {
                Some((known, bytes)) if etag.trim_matches('"') == known => body.extend_from_slice(bytes),
                _ => return Answer::error(400, "InvalidPart", "A part is not there, or another."),
            }
        }
        let etag =
            format!("{}-{}", upload.parts.values().next().map_or("", |part| &part.0), upload.parts.len());
        // Of objects that were put together, Google knows no MD5.
        let hash = crc32c(&body);
        let name = upload.name.clone();
        self.store(upload.name, body, etag.clone(), hash, upload.headers);
        Answer::xml(
            200,
            format!(
                "<CompleteMultipartUploadResult><Key>{}</Key><ETag>&quot;{etag}&quot;</ETag>\
                 </CompleteMultipartUploadResult>",
                escape(&name)
            ),
        )
    }

    fn store(
        &mut self,
        name: String,
        body: Vec<u8>,
        etag: String,
        hash: String,
        headers: Vec<(String, String)>,
    ) -> Answer {
        self.writes += 1;
        let generation = 1_700_000_000_000_000 + self.writes;
        let answer = Answer::new(200)
            .header("etag", format!("\"{etag}\""))
            .header("x-goog-generation", generation.to_string())
            .header("x-goog-hash", hash.clone());
        let object = Object { body, etag, hash, generation, written: SystemTime::now(), headers };
        self.objects.insert(name, object);
        answer
    }

    fn list(&self, target: &Target) -> Answer {
        let text = |name: &str| target.query.get(name).map_or("", String::as_str);
        let after = text("start-after").max(text("continuation-token"));
        let from = if after.is_empty() { Bound::Unbounded } else { Bound::Excluded(after.to_owned()) };
        let found = self.objects.range((from, Bound::Unbounded));
        let mut found = found.filter(|(name, _)| name.starts_with(text("prefix"))).peekable();
        let limit = text("max-keys").parse().unwrap_or(1000).min(1000);
        let (mut rows, mut last) = (String::new(), None);
        for (name, object) in found.by_ref().take(limit) {
            let written = chrono::DateTime::<chrono::Utc>::from(object.written).to_rfc3339();
            rows.push_str(&format!(
                "<Contents><Key>{}</Key><Generation>{}</Generation><MetaGeneration>1</MetaGeneration>\
                 <LastModified>{written}</LastModified><ETag>&quot;{}&quot;</ETag><Size>{}</Size></Contents>",
                escape(name),
                object.generation,
                object.etag,
                object.body.len()
            ));
            last = Some(name);
        }
        if let (Some(last), Some(_)) = (last, found.peek()) {
            rows.push_str(&format!("<NextContinuationToken>{}</NextContinuationToken>", escape(last)));
        }
        Answer::xml(200, format!("<ListBucketResult>{rows}</ListBucketResult>"))
    }
}

// === impl Target ===

impl Target {
    /// `None` if it is of another bucket.
    fn parse(bucket: &str, target: &str) -> Option<Self> {
        let unescape =
            |text: &str| percent_decode_str(&text.replace('+', " ")).decode_utf8_lossy().into_owned();
        let (path, query) = target.split_once('?').unwrap_or((target, ""));
        let path = percent_decode_str(path).decode_utf8_lossy().into_owned();
        let rest = path.strip_prefix('/')?.strip_prefix(bucket)?;
        if !rest.is_empty() && !rest.starts_with('/') {
            return None;
        }
        let query = query.split('&').filter(|pair| !pair.is_empty()).map(|pair| {
            let (name, value) = pair.split_once('=').unwrap_or((pair, ""));
            (name.to_owned(), unescape(value))
        });
        Some(Self { name: rest.trim_start_matches('/').into(), query: query.collect() })
    }
}

/// What a write says that later reads are told.
fn kept(request: &Head) -> Vec<(String, String)> {
    let keep = |name: &str| name == "content-type" || name.starts_with("x-goog-meta-");
    request.headers.iter().filter(|(name, _)| keep(name)).cloned().collect()
}

fn crc32c(body: &[u8]) -> String {
    let crc = crc_fast::checksum(crc_fast::CrcAlgorithm::Crc32Iscsi, body) as u32;
    format!("crc32c={}", base64(&crc.to_be_bytes()))
}

fn between<'a>(text: &'a str, before: &str, after: &str) -> Option<&'a str> {
    text.split_once(before)?.1.split_once(after).map(|(found, _)| found)
}

fn no_such_key() -> Answer {
    Answer::error(404, "NoSuchKey", "The specified key does not exist.")
}

fn no_such_upload() -> Answer {
    Answer::error(404, "NoSuchUpload", "The requested upload was not found.")
}
