//! List Blobs.

use base64::Engine as _;
use base64::engine::general_purpose::URL_SAFE_NO_PAD;
use hyper::header::HOST;
use hyper::http::request::Parts;
use percent_encoding::{NON_ALPHANUMERIC, utf8_percent_encode};

use super::refusal::document;
use super::{AZURE, Frontend, Query, Refusal};
use crate::cache::Listed;
use crate::key::Scope;
use crate::protocol::Intent;
use crate::protocol::http::{self, Answer};
use crate::protocol::objects::listing::{self, Row, Wanted};
use crate::protocol::objects::xml::Writer;

/// The service's own bound.
const PAGE_MAX: usize = 5000;

impl Frontend {
    pub(super) async fn list(
        &self,
        container: &str,
        scope: &Scope,
        head: &Parts,
        query: &Query,
    ) -> Result<Answer, Refusal> {
        let max = match query.get("maxresults").map(str::parse::<usize>) {
            None => PAGE_MAX,
            Some(Ok(max)) if max > 0 => max.min(PAGE_MAX),
            Some(_) => {
                let words = "maxresults is a number from 1 on; at most 5,000 are given at a time";
                return Err(Refusal::bad("OutOfRangeQueryParameterValue", words));
            }
        };
        let marker = query.get("marker").filter(|marker| !marker.is_empty());
        let after = marker.map(name_of).transpose()?;
        let (prefix, delimiter) = (query.text("prefix"), query.get("delimiter"));
        let without = self.places.inner(scope);
        let wanted = Wanted { prefix, delimiter, after: after.as_deref(), max, without: &without };
        let page = match listing::page(&self.context.cache, scope, &AZURE, wanted).await {
            Ok(page) => page,
            Err(error) => return self.failed(&error, Intent::Read).map(|(answer, _)| answer),
        };
        let host = head.headers.get(HOST).and_then(|host| host.to_str().ok()).unwrap_or("127.0.0.1");
        let endpoint = format!("http://{host}/larder/");
        let mut writer = Writer::new();
        writer
            .open_with("EnumerationResults", &[("ServiceEndpoint", &endpoint), ("ContainerName", container)]);
        writer.text("Prefix", prefix).text("Marker", marker.unwrap_or_default());
        writer.text("MaxResults", &max.to_string()).text("Delimiter", delimiter.unwrap_or_default());
        writer.open("Blobs");
        for row in &page.rows {
            match row {
                Row::Entry(listed) => blob(&mut writer, listed),
                Row::Prefix(prefix) => {
                    writer.open("BlobPrefix");
                    name(&mut writer, prefix);
                    writer.close();
                }
            }
        }
        writer.close();
        writer.text("NextMarker", &page.next.map(|next| URL_SAFE_NO_PAD.encode(next)).unwrap_or_default());
        Ok(document(writer))
    }
}

fn blob(writer: &mut Writer, listed: &Listed) {
    writer.open("Blob");
    name(writer, listed.name.as_str());
    writer.open("Properties");
    if let Some(time) = listed.modified_ms.and_then(http::last_modified) {
        let time = time.to_str().unwrap_or_default();
        writer.text("Creation-Time", time).text("Last-Modified", time);
    }
    writer.text("Etag", &format!("\"{}\"", listed.etag.as_deref().unwrap_or_default()));
    writer.text("Content-Length", &listed.len.to_string());
    writer.text("Content-Type", "application/octet-stream");
    writer.text("BlobType", "BlockBlob").text("LeaseStatus", "unlocked").text("LeaseState", "available");
    writer.text("ServerEncrypted", "false").close().close();
}

/// A name that XML can't carry goes encoded, and says so.
fn name(writer: &mut Writer, name: &str) {
    if name.chars().any(|char| char.is_control() || matches!(char, '\u{fffe}' | '\u{ffff}')) {
        let encoded = utf8_percent_encode(name, NON_ALPHANUMERIC).to_string();
        writer.text_with("Name", &[("Encoded", "true")], &encoded);
    } else {
        writer.text("Name", name);
    }
}

/// The name in a marker: what the page before ended with.
fn name_of(marker: &str) -> Result<String, Refusal> {
    let name = URL_SAFE_NO_PAD.decode(marker).ok().and_then(|bytes| String::from_utf8(bytes).ok());
    let words = "the marker is none that this service gave; begin without one";
    name.ok_or_else(|| Refusal::bad("OutOfRangeInput", words))
}
