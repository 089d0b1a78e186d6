//! The daemon's own pages: health, readiness, statistics; and for the command line, by its socket only, the queue.

use std::sync::Arc;
use std::time::Instant;

use hyper::body::Incoming;
use hyper::header::{CONTENT_TYPE, HeaderValue};
use hyper::{Method, Request, Response, StatusCode};

use super::dispatch::text;
use super::reply::Reply;
use crate::stats::{SHEDS, Stats, TIERS};

/// What the pages tell of.
#[derive(Debug)]
pub(super) struct Admin {
    pub(super) started: Instant,
    pub(super) stats: Arc<Stats>,
}

/// A page that exists.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum Page {
    Healthz,
    Readyz,
    Stats,
}

// === impl Page ===

impl Page {
    /// The page at `/-/{segments}`. `admin`: asked by the admin socket.
    pub(super) fn parse(segments: &[&str], _admin: bool) -> Result<Self, (StatusCode, String)> {
        match segments {
            ["healthz"] => Ok(Self::Healthz),
            ["readyz"] => Ok(Self::Readyz),
            ["stats"] => Ok(Self::Stats),
            _ => Err((StatusCode::NOT_FOUND, "under /-/ are healthz, readyz and stats".into())),
        }
    }
}

// === impl Admin ===

impl Admin {
    pub(super) async fn answer(&self, page: Page, request: Request<Incoming>) -> Response<Reply> {
        if !matches!(*request.method(), Method::GET | Method::HEAD) {
            return text(StatusCode::METHOD_NOT_ALLOWED, "only GET and HEAD are answered here".into());
        }
        match page {
            Page::Healthz => text(StatusCode::OK, "ok".into()),
            Page::Readyz => text(StatusCode::OK, "ready".into()),
            Page::Stats => json(&self.stats()),
        }
    }

    fn stats(&self) -> serde_json::Value {
        let protocols: serde_json::Map<String, serde_json::Value> = self
            .stats
            .protocols()
            .into_iter()
            .map(|(name, stats)| {
                let hits: serde_json::Map<String, serde_json::Value> = TIERS
                    .into_iter()
                    .zip(&stats.hits)
                    .map(|(tier, count)| (tier.name().to_owned(), count.read().into()))
                    .collect();
                let counts = serde_json::json!({
                    "hits": hits,
                    "misses": stats.misses.read(),
                    "puts": stats.puts.read(),
                    "refused": stats.refused.read(),
                    "bytes_in": stats.bytes_in.read(),
                    "bytes_out": stats.bytes_out.read(),
                });
                (name.to_owned(), counts)
            })
            .collect();
        let sheds: serde_json::Map<String, serde_json::Value> = SHEDS
            .into_iter()
            .map(|reason| (reason.name().to_owned(), self.stats.shed(reason).read().into()))
            .collect();
        serde_json::json!({
            "version": env!("CARGO_PKG_VERSION"),
            "pid": std::process::id(),
            "uptime_s": self.started.elapsed().as_secs(),
            "protocols": protocols,
            "sheds": sheds,
        })
    }
}

fn json(value: &serde_json::Value) -> Response<Reply> {
    let mut bytes = serde_json::to_vec_pretty(value).expect("strings and numbers only");
    bytes.push(b'\n');
    let mut response = Response::new(Reply::Full(bytes.into()));
    response.headers_mut().insert(CONTENT_TYPE, HeaderValue::from_static("application/json"));
    response
}
