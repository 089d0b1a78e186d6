//! ListObjectsV2, and the list before it.

use base64::Engine as _;
use base64::engine::general_purpose::URL_SAFE_NO_PAD;
use percent_encoding::{AsciiSet, NON_ALPHANUMERIC, utf8_percent_encode};

use super::headers::iso;
use super::refusal::document;
use super::write::XMLNS;
use super::{Frontend, Refusal, S3};
use crate::key::Scope;
use crate::protocol::Intent;
use crate::protocol::http::Answer;
use crate::protocol::objects::listing::{self, Row, Wanted};
use crate::protocol::objects::query::Query;
use crate::protocol::objects::xml::Writer;

/// S3's own bound.
const PAGE_MAX: usize = 1000;
/// What `encoding-type=url` leaves as it is.
const URL: &AsciiSet = &NON_ALPHANUMERIC.remove(b'-').remove(b'.').remove(b'_').remove(b'/').remove(b'*');

impl Frontend {
    pub(super) async fn list(&self, bucket: &str, scope: &Scope, query: &Query) -> Result<Answer, Refusal> {
        let bad = |words: &str| Refusal::bad("InvalidArgument", words);
        let is_v2 = query.get("list-type") == Some("2");
        let max = match query.get("max-keys").filter(|text| !text.is_empty()).map(str::parse::<usize>) {
            None => PAGE_MAX,
            Some(Ok(max)) => max.min(PAGE_MAX),
            Some(Err(_)) => return Err(bad("max-keys is not a number")),
        };
        let encoded = match query.get("encoding-type") {
            None => false,
            Some("url") => true,
            Some(_) => return Err(bad("encoding-type is `url` or left out")),
        };
        let token = query.get("continuation-token").filter(|_| is_v2);
        let from = match token {
            Some(token) => {
                let name = URL_SAFE_NO_PAD.decode(token).ok().and_then(|bytes| String::from_utf8(bytes).ok());
                let name = name.filter(|name| !name.is_empty());
                Some(name.ok_or_else(|| bad("the continuation token is none that this service gave"))?)
            }
            None => {
                let start = query.get(if is_v2 { "start-after" } else { "marker" });
                start.filter(|start| !start.is_empty()).map(str::to_owned)
            }
        };
        let (prefix, delimiter) = (query.text("prefix"), query.get("delimiter"));
        let without = self.places.inner(scope);
        let wanted = Wanted { prefix, delimiter, after: from.as_deref(), max, without: &without };
        let page = match listing::page(&self.context.cache, scope, &S3, wanted).await {
            Ok(page) => page,
            Err(error) => return self.failed(error.into(), Intent::Read).map(|(answer, _)| answer),
        };
        let shown = |text: &str| match encoded {
            true => utf8_percent_encode(text, URL).to_string(),
            false => text.to_owned(),
        };
        let mut writer = Writer::new();
        writer.open_with("ListBucketResult", &[("xmlns", XMLNS)]).text("Name", bucket);
        writer.text("Prefix", &shown(prefix)).text("MaxKeys", &max.to_string());
        if let Some(delimiter) = delimiter {
            writer.text("Delimiter", &shown(delimiter));
        }
        if encoded {
            writer.text("EncodingType", "url");
        }
        writer.text("IsTruncated", &page.next.is_some().to_string());
        if is_v2 {
            writer.text("KeyCount", &page.rows.len().to_string());
            if let Some(start) = query.get("start-after") {
                writer.text("StartAfter", &shown(start));
            }
            if let Some(token) = token {
                writer.text("ContinuationToken", token);
            }
            if let Some(next) = &page.next {
                writer.text("NextContinuationToken", &URL_SAFE_NO_PAD.encode(next));
            }
        } else {
            writer.text("Marker", &shown(query.text("marker")));
            if let Some(next) = &page.next {
                writer.text("NextMarker", &shown(next));
            }
        }
        for row in &page.rows {
            match row {
                Row::Entry(listed) => {
                    writer.open("Contents").text("Key", &shown(listed.name.as_str()));
                    writer.text("LastModified", &iso(listed.modified_ms.unwrap_or(0)));
                    writer.text("ETag", &format!("\"{}\"", listed.etag.as_deref().unwrap_or_default()));
                    writer.text("Size", &listed.len.to_string()).text("StorageClass", "STANDARD").close();
                }
                Row::Prefix(prefix) => {
                    writer.open("CommonPrefixes").text("Prefix", &shown(prefix)).close();
                }
            }
        }
        Ok(document(writer))
    }
}
