//! The frontends over a real cache, by the requests that clients send.

mod anything;
mod azure;
mod bazel;
mod blob;
mod ccache;
mod gradle;
mod maven;
mod nx;
mod please;
mod reapi;
mod rush;
mod s3;
mod turborepo;
mod wire;

use std::convert::Infallible;
use std::sync::Arc;

use bytes::Bytes;
use http_body_util::{BodyExt as _, Full, StreamBody};
use hyper::body::Frame;
use hyper::{HeaderMap, Request, StatusCode};

use super::http::{Answer, Dialect as _, Entries, Incoming};
use super::{Context, Settings, bazel as bazel_http, blob as blobs, turborepo as turbo};
use super::{ccache as ccaches, gradle as gradles, maven as mavens, nx as nx_http};
use crate::cache::{self, Cache, Parts};
use crate::error::Error;
use crate::key::{Namespace, Owner, Policy, Scope};
use crate::stats::{Shed, Stats};
use crate::store::{self, Generations, Role, Store};

/// The frontends of a daemon without an upstream, in a folder of its own.
struct Desk {
    context: Arc<Context>,
    bazel: bazel_http::Frontend,
    turborepo: turbo::Frontend,
    nx: nx_http::Frontend,
    gradle: Entries,
    blob: Entries,
    ccache: Entries,
    maven: Entries,
    dir: Arc<tempfile::TempDir>,
}

/// An answer, read to its end.
#[derive(Debug)]
struct Seen {
    status: u16,
    headers: HeaderMap,
    body: Bytes,
}

impl Desk {
    fn new() -> Self {
        Self::with(cache::Settings::default())
    }

    fn with(settings: cache::Settings) -> Self {
        Self::with_both(settings, Settings::default())
    }

    fn with_both(settings: cache::Settings, own: Settings) -> Self {
        Self::on(store::Settings::default(), settings, own)
    }

    /// On a disk like this.
    fn on(disk: store::Settings, settings: cache::Settings, own: Settings) -> Self {
        let dir = Arc::new(tempfile::tempdir().expect("a folder"));
        let generations = Generations::default();
        let open = |name, role| {
            let dir = dir.path().join(name);
            Store::open(&dir, role, disk.clone(), generations.clone()).expect("a store")
        };
        let parts = Parts {
            cache: open("cache", Role::Cache),
            outbox: open("outbox", Role::Outbox),
            remotes: Vec::new(),
            siblings: vec![turbo::ARTIFACTS],
            stats: Arc::new(Stats::default()),
        };
        Self::over(Cache::new(settings, parts), own, dir)
    }

    /// Over a cache whose stores are in `dir`.
    fn over(cache: Cache, own: Settings, dir: Arc<tempfile::TempDir>) -> Self {
        let context = Arc::new(Context::new(cache, own));
        Self {
            bazel: bazel_http::Frontend::new(Arc::clone(&context)),
            turborepo: turbo::Frontend::new(Arc::clone(&context)),
            nx: nx_http::Frontend::new(Arc::clone(&context)),
            gradle: gradles::frontend(Arc::clone(&context)),
            blob: blobs::frontend(Arc::clone(&context)),
            ccache: ccaches::frontend(Arc::clone(&context)),
            maven: mavens::frontend(Arc::clone(&context)),
            context,
            dir,
        }
    }

    /// What the server does: splits the path, finds whose it is, asks the hot path first.
    async fn answer<B: Incoming>(&self, request: Request<B>) -> Option<Answer> {
        let path = request.uri().path();
        let path = percent_encoding::percent_decode_str(path).decode_utf8().expect("text").into_owned();
        let segments: Vec<&str> = path.split('/').filter(|segment| !segment.is_empty()).collect();
        let scope = |namespace: &[&str]| {
            let namespace = Namespace::parse(&namespace.join("/"))?;
            Ok::<_, Error>(Scope { owner: Owner(0), namespace, upstream: None, policy: Policy::default() })
        };
        let named = [
            (&self.blob, blobs::parse(&segments)),
            (&self.maven, mavens::parse(&segments)),
            (&self.ccache, ccaches::parse(&segments)),
            (&self.gradle, gradles::parse(&segments)),
        ];
        if let Some((entries, (namespace, target))) =
            named.into_iter().find_map(|(entries, parsed)| Some((entries, parsed?)))
        {
            return Some(match scope(&segments[namespace]) {
                Ok(scope) => match entries.answer_now(&scope, &target, &request) {
                    Some(answer) => answer,
                    None => entries.answer(&scope, target, request).await,
                },
                Err(error) => entries.refuse_request(&error, request).await,
            });
        }
        if let Some((namespace, route)) = nx_http::Route::parse(&segments) {
            return Some(match scope(&segments[namespace]) {
                Ok(scope) => match self.nx.answer_now(&scope, &route, &request) {
                    Some(answer) => answer,
                    None => self.nx.answer(&scope, route, request).await,
                },
                Err(error) => self.nx.refuse_request(&error, request).await,
            });
        }
        if let Some((namespace, route)) = turbo::Route::parse(&segments) {
            return Some(match scope(&segments[namespace]) {
                Ok(scope) => match self.turborepo.answer_now(&scope, &route, &request) {
                    Some(answer) => answer,
                    None => self.turborepo.answer(&scope, route, request).await,
                },
                Err(error) => self.turborepo.refuse_request(&error, request).await,
            });
        }
        let (namespace, route) = bazel_http::Route::parse(&segments)?;
        Some(match scope(&segments[namespace]) {
            Ok(scope) => match self.bazel.answer_now(&scope, &route, &request) {
                Some(answer) => answer,
                None => self.bazel.answer(&scope, route, request).await,
            },
            Err(error) => self.bazel.refuse_request(&error, request).await,
        })
    }

    async fn send(&self, method: &str, path: &str, headers: &[(&str, &str)], body: &[u8]) -> Seen {
        let body = Full::new(Bytes::copy_from_slice(body));
        self.send_body(method, path, headers, body).await
    }

    async fn send_body<B: Incoming>(
        &self,
        method: &str,
        path: &str,
        headers: &[(&str, &str)],
        body: B,
    ) -> Seen {
        let mut request = Request::builder().method(method).uri(path);
        for (name, value) in headers {
            request = request.header(*name, *value);
        }
        let request = request.body(body).expect("a request");
        let answer = self.answer(request).await.expect("a path of a frontend");
        let (head, body) = answer.into_parts();
        let body = body.collect().await.expect("a whole body").to_bytes();
        Seen { status: head.status.as_u16(), headers: head.headers, body }
    }

    async fn get(&self, path: &str) -> Seen {
        self.send("GET", path, &[], b"").await
    }

    async fn put(&self, path: &str, body: &[u8]) -> Seen {
        self.send("PUT", path, &[], body).await
    }

    fn shed(&self, reason: Shed) -> u64 {
        self.context.cache.stats().shed(reason).read()
    }
}

impl Seen {
    fn header(&self, name: &str) -> Option<&str> {
        self.headers.get(name).and_then(|value| value.to_str().ok())
    }

    fn text(&self) -> &str {
        std::str::from_utf8(&self.body).expect("text")
    }

    fn json(&self) -> serde_json::Value {
        assert_eq!(self.header("content-type"), Some("application/json"));
        serde_json::from_slice(&self.body).expect("json")
    }

    /// Whatever it was, it was no fault of ours and said so in words.
    fn assert_refused(&self, status: StatusCode, words: &str) {
        assert_eq!(self.status, status.as_u16(), "{self:?}");
        assert!(self.text().contains(words), "{self:?}");
    }
}

/// A body whose length nobody announced.
fn chunked(pieces: &'static [&'static [u8]]) -> impl Incoming {
    let frames = pieces.iter().map(|piece| Ok::<_, Infallible>(Frame::data(Bytes::from_static(piece))));
    StreamBody::new(futures_util::stream::iter(frames))
}

/// A body that breaks off.
fn broken(pieces: &'static [&'static [u8]]) -> impl Incoming {
    let frames = pieces.iter().map(|piece| Ok(Frame::data(Bytes::from_static(piece))));
    let reset = std::io::Error::from(std::io::ErrorKind::ConnectionReset);
    StreamBody::new(futures_util::stream::iter(frames.chain([Err(reset)])))
}
