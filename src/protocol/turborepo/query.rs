//! The two POSTs: which hashes are there, and what turbo has to report.

use std::collections::BTreeMap;

use futures_util::StreamExt as _;
use futures_util::stream;
use hyper::{Request, StatusCode};
use serde::{Deserialize, Serialize};
use tokio::time::{Instant, timeout_at};

use super::artifact::{DURATION_ATTR, duration_ms};
use super::{Frontend, TAG_ATTR, check_hash};
use crate::entry::Meta;
use crate::error::{Error, Kind, Result};
use crate::key::Scope;
use crate::protocol::Intent;
use crate::protocol::http::{self, Answer, Dialect as _, Incoming, Upload};
use crate::stats::Reported;

/// A query over this is refused: 16 hex digits and their quotes make 50,000 hashes.
const QUERY_BYTES_MAX: u64 = 1 << 20;
/// Hashes of one query; turbo asks for the tasks of one run.
const QUERY_HASHES_MAX: usize = 10_000;
/// Looked up at once.
const QUERY_AT_ONCE: usize = 64;
/// An event has about 150 bytes.
const EVENTS_BYTES_MAX: u64 = 16 << 20;

#[derive(Deserialize)]
struct Query {
    hashes: Vec<String>,
}

/// What is known of an artifact. `null` in its place is a miss.
#[derive(Serialize)]
#[serde(rename_all = "camelCase")]
struct Artifact {
    size: u64,
    task_duration_ms: u64,
    #[serde(skip_serializing_if = "Option::is_none")]
    tag: Option<String>,
}

/// Of an event, what is counted. New fields, sources and events are nobody's fault.
#[derive(Deserialize)]
struct Event {
    #[serde(default)]
    source: String,
    #[serde(default)]
    event: String,
}

impl Frontend {
    pub(super) async fn query<B: Incoming>(&self, scope: &Scope, request: Request<B>) -> Answer {
        let (head, mut upload) = Upload::of(request);
        let answer = match upload.collect(QUERY_BYTES_MAX).await.and_then(|body| parse_query(&body)) {
            Ok(hashes) => match self.look_up(scope, hashes, &head.uri).await {
                Ok(found) => http::json(StatusCode::OK, found),
                Err(error) => self.refuse(&error, Intent::Read),
            },
            Err(error) => self.refuse(&error, Intent::Read),
        };
        upload.finish(answer, self.context.settings.drain_bytes_max).await
    }

    /// All of them within one first-byte deadline; what isn't known by then is a miss.
    async fn look_up(&self, scope: &Scope, hashes: Vec<String>, uri: &hyper::Uri) -> Result<Vec<u8>> {
        let deadline = Instant::now() + self.context.cache.settings().first_byte;
        let mut found: BTreeMap<String, Option<Artifact>> = BTreeMap::new();
        let mut keys = Vec::with_capacity(hashes.len());
        for hash in hashes {
            keys.push((self.key(&hash, uri)?, hash.clone()));
            found.insert(hash, None);
        }
        let mut answers = stream::iter(keys)
            .map(async |(key, hash)| (hash, self.context.cache.head(scope, &key).await))
            .buffer_unordered(QUERY_AT_ONCE);
        while let Ok(Some((hash, answer))) = timeout_at(deadline, answers.next()).await {
            match answer {
                Ok(Some((meta, from))) => {
                    self.stats.hit(from);
                    found.insert(hash, Some(Artifact::of(&meta)));
                }
                Ok(None) | Err(_) => self.stats.misses.one(),
            }
        }
        drop(answers);
        serde_json::to_vec(&found).map_err(|error| Error::new(Kind::Internal, "write JSON").because(error))
    }

    /// Events are taken without a token: after a preflight turbo sends none with them.
    pub(super) async fn note_events<B: Incoming>(&self, request: Request<B>) -> Answer {
        let (_, mut upload) = Upload::of(request);
        let events = upload.collect(EVENTS_BYTES_MAX).await.and_then(|body| {
            serde_json::from_slice::<Vec<Event>>(&body)
                .map_err(|error| Error::invalid(format!("the body is no JSON array of events: {error}")))
        });
        let answer = match events {
            Ok(events) => {
                events.iter().for_each(|event| event.count(&self.stats.reported));
                http::json(StatusCode::OK, "{}")
            }
            Err(error) => self.refuse(&error, Intent::Write),
        };
        upload.finish(answer, self.context.settings.drain_bytes_max).await
    }
}

fn parse_query(body: &[u8]) -> Result<Vec<String>> {
    let query: Query = serde_json::from_slice(body)
        .map_err(|error| Error::invalid(format!("the body is not {{\"hashes\":[…]}}: {error}")))?;
    if query.hashes.len() > QUERY_HASHES_MAX {
        let message = format!("{} hashes at once, at most {QUERY_HASHES_MAX} are taken", query.hashes.len());
        return Err(Error::new(Kind::TooLarge, message));
    }
    query.hashes.iter().try_for_each(|hash| check_hash(hash))?;
    Ok(query.hashes)
}

// === impl Artifact ===

impl Artifact {
    fn of(meta: &Meta) -> Self {
        Self {
            size: meta.len,
            task_duration_ms: meta.attrs.get(DURATION_ATTR).and_then(duration_ms).unwrap_or(0),
            tag: meta.attrs.get(TAG_ATTR).map(str::to_owned),
        }
    }
}

// === impl Event ===

impl Event {
    fn count(&self, reported: &Reported) {
        match (self.source.as_str(), self.event.as_str()) {
            ("LOCAL", "HIT") => reported.local_hits.one(),
            ("LOCAL", "MISS") => reported.local_misses.one(),
            ("REMOTE", "HIT") => reported.remote_hits.one(),
            ("REMOTE", "MISS") => reported.remote_misses.one(),
            _ => {}
        }
    }
}
