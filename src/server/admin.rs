//! The daemon's own pages: health, readiness, statistics; and for the command line, by its socket only, the queue,
//! the status and canaries.

mod counters;
mod status;

use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering};
use std::time::{Duration, Instant, SystemTime, UNIX_EPOCH};

use bytes::Bytes;
use hyper::header::HeaderName;
use hyper::{HeaderMap, Method, StatusCode};
use serde_json::{Value, json};
use tokio::sync::Semaphore;

use super::clocks::Registry;
use super::log::{Log, Wish};
use super::metrics;
use super::notices::Notices;
use crate::cache::Cache;
use crate::protocol::http;

use counters::counters;

pub(super) use status::ListenerStatus;

/// What the pages tell of.
#[derive(Debug)]
pub(super) struct Admin {
    started: Instant,
    /// The same by the wall clock.
    started_at: SystemTime,
    listeners: Vec<ListenerStatus>,
    cache: Cache,
    registry: Arc<Registry>,
    notices: Notices,
    log: Arc<Log>,
    ready: AtomicBool,
    /// Who may fly canaries.
    canary: Arc<Semaphore>,
}

/// A page that exists.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(super) enum Page {
    /// The process answers.
    Healthz,
    /// The stores have replayed their logs: look-ups don't wait.
    Readyz,
    /// All counters and states.
    Stats,
    /// All that `larder status` shows.
    Status,
    /// The same for Prometheus.
    Metrics,
    /// What is logged, and for how long. Without a filter: GET shows it, POST ends what is in force for a while.
    Log { filter: Option<String>, time: Duration },
    /// The first `limit` rows of the queue; answered when something changes, at the latest after `wait`.
    Queue { limit: usize, wait: Duration },
    /// Flies a canary to each upstream; asked for by POST.
    Canary,
}

/// What this daemon is. Every answer of these pages says it in [`VERSION_HEADER`].
pub(super) const VERSION: &str = env!("CARGO_PKG_VERSION");

/// The header by which the command line knows that it is a daemon of ours that answers, and which.
pub const VERSION_HEADER: HeaderName = HeaderName::from_static("larder-version");

/// Rows of the queue in one answer, at most.
const QUEUE_ROWS_MAX: usize = 10_000;

/// For how long a filter of the log is in force, where nobody says so.
const LOG_TIME: Duration = Duration::from_secs(600);

/// A wait for a change of the queue, at most.
const WAIT_MAX: Duration = Duration::from_secs(10);

// === impl Page ===

impl Page {
    /// The page at `/-/{segments}?{query}`. `admin`: asked by the admin socket.
    pub(super) fn parse(
        segments: &[&str],
        query: Option<&str>,
        admin: bool,
    ) -> Result<Self, (StatusCode, &'static str)> {
        match segments {
            ["healthz"] => Ok(Self::Healthz),
            ["readyz"] => Ok(Self::Readyz),
            ["stats"] => Ok(Self::Stats),
            ["status"] if admin => Ok(Self::Status),
            ["status"] => Err((StatusCode::FORBIDDEN, "the status is shown by the admin socket only")),
            ["metrics"] => Ok(Self::Metrics),
            ["queue"] if admin => {
                let number = |name: &str| {
                    let pairs = query.unwrap_or_default().split('&').filter_map(|pair| pair.split_once('='));
                    pairs
                        .clone()
                        .find(|(key, _)| *key == name)
                        .map(|(_, value)| value.parse::<u64>())
                        .transpose()
                };
                match (number("limit"), number("wait_ms")) {
                    (Ok(limit), Ok(wait_ms)) => Ok(Self::Queue {
                        limit: limit.map_or(100, |limit| (limit as usize).min(QUEUE_ROWS_MAX)),
                        wait: Duration::from_millis(wait_ms.unwrap_or(0)).min(WAIT_MAX),
                    }),
                    _ => Err((StatusCode::BAD_REQUEST, "`limit` and `wait_ms` are numbers")),
                }
            }
            ["log"] if admin => {
                let number = http::query(query, "for_ms").map(|text| text.parse::<u64>()).transpose();
                let time = number.map(|ms| ms.map_or(LOG_TIME, Duration::from_millis));
                let filter = http::query(query, "filter");
                time.map(|time| Self::Log { filter, time })
                    .map_err(|_| (StatusCode::BAD_REQUEST, "`for_ms` is a number"))
            }
            ["log"] => Err((StatusCode::FORBIDDEN, "the log is changed by the admin socket only")),
            ["queue"] => Err((StatusCode::FORBIDDEN, "the queue is shown by the admin socket only")),
            ["canary"] if admin => Ok(Self::Canary),
            ["canary"] => Err((StatusCode::FORBIDDEN, "canaries fly by the admin socket only")),
            _ => Err((StatusCode::NOT_FOUND, "under /-/ are healthz, readyz, stats and metrics")),
        }
    }
}

// === impl Admin ===

impl Admin {
    pub(super) fn new(
        cache: Cache,
        registry: Arc<Registry>,
        notices: Notices,
        log: Arc<Log>,
        listeners: Vec<ListenerStatus>,
    ) -> Self {
        Self {
            started: Instant::now(),
            started_at: SystemTime::now(),
            listeners,
            cache,
            registry,
            notices,
            log,
            ready: AtomicBool::new(false),
            canary: Arc::new(Semaphore::new(1)),
        }
    }

    /// Look-ups don't wait any more.
    pub(super) fn now_ready(&self) {
        self.ready.store(true, Ordering::Release);
    }

    /// The page's status and content; JSON where it isn't text.
    pub(super) async fn show(
        &self,
        page: Page,
        method: &Method,
        headers: &HeaderMap,
    ) -> (StatusCode, Content) {
        let asks = matches!(*method, Method::GET | Method::HEAD);
        match page {
            Page::Canary => self.canary(method).await,
            Page::Log { filter, time } => self.log(method, filter, time),
            _ if !asks => {
                (StatusCode::METHOD_NOT_ALLOWED, Content::Text("only GET and HEAD are answered here\n"))
            }
            Page::Healthz => (StatusCode::OK, Content::Text("ok\n")),
            Page::Readyz if self.is_ready() => (StatusCode::OK, Content::Text("ready\n")),
            Page::Readyz => {
                (StatusCode::SERVICE_UNAVAILABLE, Content::Text("starting: the index is being read\n"))
            }
            Page::Stats => (StatusCode::OK, Content::json(&self.stats().await)),
            Page::Status => (StatusCode::OK, Content::json(&self.status().await)),
            Page::Metrics => {
                let format = metrics::Format::asked_for(headers);
                (StatusCode::OK, Content::Metrics(format.content_type(), self.metrics(format).await))
            }
            Page::Queue { limit, wait } => (StatusCode::OK, Content::json(&self.queue(limit, wait).await)),
        }
    }

    /// One flock at a time. It flies to its end though the asker goes away: what was written is deleted.
    async fn canary(&self, method: &Method) -> (StatusCode, Content) {
        if *method != Method::POST {
            return (
                StatusCode::METHOD_NOT_ALLOWED,
                Content::Text("canaries write: only POST is answered here\n"),
            );
        }
        let Ok(permit) = Arc::clone(&self.canary).try_acquire_owned() else {
            return (
                StatusCode::CONFLICT,
                Content::Text("canaries are under way; ask again in some seconds\n"),
            );
        };
        let cache = self.cache.clone();
        let flown = tokio::spawn(async move {
            let _permit = permit;
            cache.canaries().await
        });
        match flown.await {
            Ok(canaries) => (StatusCode::OK, Content::json(&json!({ "canaries": canaries }))),
            Err(_) => (StatusCode::SERVICE_UNAVAILABLE, Content::Text("the daemon is stopping\n")),
        }
    }

    async fn queue(&self, limit: usize, wait: Duration) -> Value {
        let mut changes = self.cache.queue_changes();
        changes.borrow_and_update();
        if !wait.is_zero() && self.cache.queue_summary().await.entries > 0 {
            // Both outcomes mean "look again".
            let _ = tokio::time::timeout(wait, changes.changed()).await;
        }
        json!({
            "queue": self.cache.queue_summary().await,
            "upstreams": self.cache.status().await.upstreams,
            "items": self.cache.queue(limit).await,
        })
    }

    fn log(&self, method: &Method, filter: Option<String>, time: Duration) -> (StatusCode, Content) {
        let wish = match (method, filter) {
            (&Method::GET | &Method::HEAD, None) => Wish::Show,
            (&Method::POST, Some(filter)) => Wish::Set(filter, time),
            (&Method::POST, None) => Wish::Revert,
            _ => return (StatusCode::METHOD_NOT_ALLOWED, Content::Text("a filter is set by POST\n")),
        };
        match self.log.answer(wish) {
            Ok(page) => (StatusCode::OK, Content::json(&page)),
            Err(error) => (StatusCode::BAD_REQUEST, Content::Words(format!("{}\n", error.message()))),
        }
    }

    async fn metrics(&self, format: metrics::Format) -> String {
        let seen = metrics::Seen {
            stats: self.cache.stats(),
            cache: self.cache.status().await,
            configuration: self.notices.configuration(),
            warnings: self.notices.warnings().len(),
            connections: self.registry.count(),
            ready: self.ready.load(Ordering::Acquire),
            started: self.started_at,
        };
        metrics::page(&seen, format)
    }

    async fn stats(&self) -> Value {
        let mut page = self.head();
        let notices = json!({
            "configuration": self.notices.configuration(),
            "warnings": self.notices.warnings(),
        });
        let status = self.cache.status().await;
        let counters = counters(self.cache.stats(), &status);
        let status = serde_json::to_value(status).unwrap_or_default();
        for part in [notices, status, counters] {
            extend(&mut page, part);
        }
        page
    }

    /// What every page of numbers begins with.
    fn head(&self) -> Value {
        json!({
            "version": VERSION,
            "pid": std::process::id(),
            "uptime_s": self.started.elapsed().as_secs(),
            "ready": self.is_ready(),
            "connections": self.registry.count(),
        })
    }

    fn is_ready(&self) -> bool {
        self.ready.load(Ordering::Acquire)
    }
}

/// Adds the fields of a part to a page.
fn extend(page: &mut Value, part: Value) {
    if let (Value::Object(page), Value::Object(part)) = (page, part) {
        page.extend(part);
    }
}

/// Milliseconds since the epoch.
fn epoch_ms(time: SystemTime) -> u64 {
    time.duration_since(UNIX_EPOCH).map_or(0, |since| since.as_millis() as u64)
}

/// What a page is made of.
#[derive(Debug)]
pub(super) enum Content {
    Text(&'static str),
    Words(String),
    Json(Bytes),
    /// With its media type.
    Metrics(&'static str, String),
}

// === impl Content ===

impl Content {
    fn json(value: &Value) -> Self {
        let mut bytes = serde_json::to_vec_pretty(value).expect("maps with text keys serialize");
        bytes.push(b'\n');
        Self::Json(bytes.into())
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_queue_is_for_the_admin_socket() {
        let queue = |limit, wait_ms| Page::Queue { limit, wait: Duration::from_millis(wait_ms) };
        assert_eq!(Page::parse(&["queue"], None, true), Ok(queue(100, 0)));
        assert_eq!(Page::parse(&["queue"], Some("wait_ms=5&limit=0"), true), Ok(queue(0, 5)));
        assert_eq!(
            Page::parse(&["queue"], Some("limit=99999999&wait_ms=99999999"), true),
            Ok(queue(10_000, 10_000))
        );
        let status = |page: Result<Page, (StatusCode, &str)>| page.map_err(|(status, _)| status);
        assert_eq!(Page::parse(&["canary"], None, true), Ok(Page::Canary));
        assert_eq!(status(Page::parse(&["canary"], None, false)), Err(StatusCode::FORBIDDEN));
        assert_eq!(status(Page::parse(&["queue"], Some("limit=x"), true)), Err(StatusCode::BAD_REQUEST));
        assert_eq!(status(Page::parse(&["queue"], None, false)), Err(StatusCode::FORBIDDEN));
        for unknown in [&[] as &[&str], &["x"], &["stats", "x"]] {
            assert_eq!(status(Page::parse(unknown, None, true)), Err(StatusCode::NOT_FOUND), "{unknown:?}");
        }
    }
}
