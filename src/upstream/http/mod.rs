//! Servers as upstreams that are asked by plain HTTP: another Larder, bazel-remote, nginx, a cache of Turborepo, Nx,
//! Gradle, ccache or Maven. The home of `reqwest`.
//!
//! Which names a server has, and where, is in [`paths`]; what it said is judged in [`reply`]. What is sent to let us in
//! is asked for before each request. Nothing is tried twice here: who waits for a read would rather have a miss, and
//! writes are queued. Such a server can't be listed.
//!
//! Where a server knows less than a bucket: HEAD is asked again as a GET of one byte where there is none; of 200 to a
//! range the rest is passed over; an ETag that isn't the one asked for is another version, whatever the status; an
//! answer that doesn't say its length is taken in whole before it is given (see [`body`]).

mod body;
mod client;
mod paths;
mod put;
mod reply;
mod tools;

use std::fmt;
use std::ops::Range;
use std::sync::Arc;
use std::time::{Duration, SystemTime};

use futures_util::future::{BoxFuture, FutureExt as _};
use parking_lot::Mutex;
use reqwest::header::{ACCEPT_ENCODING, HeaderMap, HeaderName, HeaderValue, IF_MATCH, IF_NONE_MATCH, RANGE};
use reqwest::{Method, Response};

use self::body::Whole;
use self::client::Client;
use self::paths::{Carries, Paths, Spot};
use self::reply::{Call, Reply};
use super::credentials::{Sender, Watched as _};
use super::location::{Dialect, Server};
use super::remote::RemoteSettings;
use super::runtime::Spawner;
use super::times::{in_time, seconds_ahead};
use super::{
    Direction, Fault, GetOptions, Got, Listed, Looked, Object, ObjectMeta, PutDone, PutOptions, Signal,
    Source, Upstream,
};
use crate::error::Result;
use crate::key::ObjectName;

/// One server.
pub(super) struct Http {
    origin: String,
    paths: Paths,
    client: Client,
    sender: Sender,
    /// What to do when it doesn't let us in.
    remedy: String,
    whole: Whole,
    stall: Duration,
    /// The canary that was put by its digest, and that. Leaf mutex.
    canary: Mutex<Option<(ObjectName, String)>>,
    /// The server's clock less ours, in seconds, at its last answer with a date. Leaf mutex.
    clock_skew: Mutex<Option<i64>>,
}

// === impl Http ===

impl Http {
    /// Makes it ready, every name below `prefix`; no network, no file.
    pub(super) fn new(
        server: &Server,
        prefix: &str,
        settings: &RemoteSettings,
        spawner: &Spawner,
    ) -> Result<Self> {
        let client = Client::new(server, settings.connect);
        let sender = Sender::new(&settings.credentials)?;
        spawner.detach(client.warm_up());
        Ok(Self {
            origin: server.origin(),
            paths: Paths::new(server.dialect, [&server.prefix, prefix]),
            client,
            remedy: sender.remedy(),
            sender,
            whole: Whole::default(),
            stall: settings.stall,
            canary: Mutex::new(None),
            clock_skew: Mutex::new(None),
        })
    }

    /// Where `name` is to be read.
    fn spot(&self, name: &str) -> Option<(String, Carries)> {
        match self.paths.spot(name) {
            Spot::At(path, carries) => Some((path, carries)),
            Spot::Packed(path) => Some((path, Carries::Type)),
            Spot::ByDigest => {
                let canary = self.canary.lock();
                let put = canary.as_ref().filter(|(put, _)| put.as_str() == name);
                put.map(|(_, path)| (path.clone(), Carries::Type))
            }
            Spot::Nowhere => None,
        }
    }

    /// One request, and the head of its answer.
    async fn ask(
        &self,
        method: Method,
        path: &str,
        headers: HeaderMap,
        body: Option<reqwest::Body>,
    ) -> Result<Response, Fault> {
        let denied = |words: String| Fault::state(Signal::Denied, words);
        let secrets = self.sender.headers().await.map_err(|error| denied(error.message().to_owned()))?;
        let mut request = self.client.get().await?.request(method, format!("{}{path}", self.origin));
        for (name, value) in secrets.iter() {
            // Checked when they were read.
            let (Ok(name), Ok(mut value)) = (HeaderName::try_from(name), HeaderValue::try_from(value)) else {
                return Err(denied(format!("a header that can't be sent; {}", self.remedy)));
            };
            value.set_sensitive(true);
            request = request.header(name, value);
        }
        request = request.headers(headers).header(ACCEPT_ENCODING, "identity");
        if let Some(body) = body {
            request = request.body(body);
        }
        let response = request.send().await.map_err(|error| self.client.fault(&error))?;
        let date = response.headers().get("date").and_then(|date| date.to_str().ok());
        if let Some(date) = date.and_then(|date| httpdate::parse_http_date(date).ok()) {
            *self.clock_skew.lock() = Some(seconds_ahead(date, SystemTime::now()));
        }
        Ok(response)
    }

    /// What an answer that isn't the hoped one means.
    async fn refused(&self, reply: Reply, response: Response, call: Call) -> Fault {
        let reply = reply.with_words(response).await;
        let reply = match self.sender.headers().await {
            Ok(secrets) => reply.without(secrets.iter().map(|(_, value)| value)),
            Err(_) => reply,
        };
        reply.fault(call, &self.remedy)
    }

    async fn read(&self, name: &str, options: &GetOptions) -> Result<Got, Fault> {
        let Some((path, carries)) = self.spot(name) else { return Ok(Got::Absent { denied: false }) };
        let got = self.read_at(&path, carries, options).await?;
        match (self.paths.spot(name), got) {
            (Spot::Packed(_), Got::Object(object)) => self.unpacked(object).await,
            (_, got) => Ok(got),
        }
    }

    /// A canary out of its archive.
    async fn unpacked(&self, object: Object) -> Result<Got, Fault> {
        let bytes = object.body.collect(put::CANARY_BYTES_MAX).await;
        let bytes = bytes.map_err(|error| Fault::state(Signal::Fault, error.to_string()))?;
        let name = tools::archive_name(&bytes).map(|name| bytes.slice_ref(name)).unwrap_or(bytes);
        Ok(body::cut(object.meta, 0..u64::MAX, name))
    }

    async fn read_at(&self, path: &str, carries: Carries, options: &GetOptions) -> Result<Got, Fault> {
        let response = self.ask(Method::GET, path, conditions(options), None).await?;
        let reply = Reply::of(&response, carries);
        let got = match reply.status {
            200 | 206 if reply.is_own(path) => return self.found(reply, response, options).await,
            304 if options.if_none_match.is_some() => Got::NotModified,
            412 if options.if_match.is_some() => Got::Changed,
            416 if options.range.is_some() => Got::Unsatisfiable(reply.total),
            _ if reply.is_absent(self.paths.dialect, path) => Got::Absent { denied: false },
            _ => return Err(self.refused(reply, response, Call::Read).await),
        };
        // Read to its end, so that the connection can be used again.
        let _ = reply.with_words(response).await;
        Ok(got)
    }

    /// A 200 or 206, held against what was asked.
    async fn found(&self, reply: Reply, response: Response, options: &GetOptions) -> Result<Got, Fault> {
        // A server that knows no conditions has answered in spite of them.
        if options.if_match.as_ref().is_some_and(|etag| reply.meta.etag.as_ref() != Some(etag)) {
            return Ok(Got::Changed);
        }
        if options.if_none_match.is_some() && options.if_none_match == reply.meta.etag {
            return Ok(Got::NotModified);
        }
        let wanted = options.range.clone().unwrap_or(0..u64::MAX);
        if reply.status == 206 {
            let (Some(starts), Some(total), Some(len)) = (reply.starts, reply.total, reply.len) else {
                return Err(Fault::state(
                    Signal::Fault,
                    "HTTP 206 that doesn't say which bytes of how many it has",
                ));
            };
            if starts != wanted.start || len > wanted.end.saturating_sub(starts) {
                return Err(Fault::state(Signal::Fault, "HTTP 206 with other bytes than were asked for"));
            }
            let meta = ObjectMeta { len: total, ..reply.meta };
            let body = body::of_length(response, 0..len);
            return Ok(Got::Object(Object { meta, range: starts..starts + len, body }));
        }
        let Some(len) = reply.len else {
            let bytes = self.whole.take_in(response, self.stall).await?;
            return Ok(body::cut(reply.meta, wanted, bytes));
        };
        if wanted.start >= len && options.range.is_some() {
            return Ok(Got::Unsatisfiable(Some(len)));
        }
        let range = wanted.start..wanted.end.min(len);
        let meta = ObjectMeta { len, ..reply.meta };
        let body = body::of_length(response, range.clone());
        Ok(Got::Object(Object { meta, range, body }))
    }

    async fn look(&self, name: &str) -> Result<Looked, Fault> {
        let Some((path, carries)) = self.spot(name) else { return Ok(Looked::Absent { denied: false }) };
        // Neither tool ever asks so, and their servers may know nothing of it.
        if matches!(self.paths.dialect, Dialect::Nx | Dialect::Gradle) {
            return self.look_again(&path, carries, Some(0..1)).await;
        }
        let response = self.ask(Method::HEAD, &path, HeaderMap::new(), None).await?;
        let reply = Reply::of(&response, carries);
        match (reply.status, reply.len) {
            // npm `turborepo-remote-cache` says how long its empty answer is.
            (200, Some(len)) if reply.is_own(&path) && self.paths.dialect != Dialect::Turborepo => {
                Ok(Looked::Found(ObjectMeta { len, ..reply.meta }))
            }
            (200, _) if reply.is_own(&path) => self.look_again(&path, carries, None).await,
            (405 | 501, _) => self.look_again(&path, carries, Some(0..1)).await,
            _ if reply.is_absent(self.paths.dialect, &path) => Ok(Looked::Absent { denied: false }),
            _ => Err(self.refused(reply, response, Call::Read).await),
        }
    }

    async fn look_again(
        &self,
        path: &str,
        carries: Carries,
        range: Option<Range<u64>>,
    ) -> Result<Looked, Fault> {
        let options = GetOptions { range, ..GetOptions::default() };
        Ok(match self.read_at(path, carries, &options).await? {
            Got::Object(object) => Looked::Found(object.meta),
            Got::Absent { denied } => Looked::Absent { denied },
            // No byte of an empty entry is in any range.
            Got::Unsatisfiable(_) => Looked::Found(ObjectMeta::default()),
            Got::NotModified | Got::Changed => {
                return Err(Fault::state(Signal::Fault, "an answer to a condition that was not set"));
            }
        })
    }

    async fn remove(&self, name: &str) -> Result<(), Fault> {
        let Some((path, carries)) = self.spot(name) else { return Ok(()) };
        let response = in_time(self.stall, "DELETE", self.ask(Method::DELETE, &path, HeaderMap::new(), None));
        let response = response.await??;
        let reply = Reply::of(&response, carries);
        let is_gone = matches!(reply.status, 404 | 410) || (reply.is_success() && !reply.is_page);
        if is_gone {
            let _ = reply.with_words(response).await;
            return Ok(());
        }
        Err(self.refused(reply, response, Call::Delete).await)
    }

    async fn probe_reads(&self) -> Result<(), Fault> {
        let Spot::At(path, carries) = self.paths.probe() else { return Ok(()) };
        let one_byte = GetOptions { range: Some(0..1), ..GetOptions::default() };
        self.read_at(&path, carries, &one_byte).await.map(drop)
    }
}

impl Upstream for Http {
    fn get<'a>(&'a self, name: &'a ObjectName, options: &'a GetOptions) -> BoxFuture<'a, Result<Got, Fault>> {
        self.read(name.as_str(), options).boxed()
    }

    fn head<'a>(&'a self, name: &'a ObjectName) -> BoxFuture<'a, Result<Looked, Fault>> {
        self.look(name.as_str()).boxed()
    }

    fn put<'a>(
        &'a self,
        name: &'a ObjectName,
        source: &'a dyn Source,
        options: &'a PutOptions,
    ) -> BoxFuture<'a, Result<PutDone, Fault>> {
        put::put(self, name, source, options).boxed()
    }

    fn delete<'a>(&'a self, name: &'a ObjectName) -> BoxFuture<'a, Result<(), Fault>> {
        self.remove(name.as_str()).boxed()
    }

    fn list<'a>(
        &'a self,
        _: &'a str,
        _: Option<&'a str>,
        _: usize,
    ) -> BoxFuture<'a, Result<Vec<Listed>, Fault>> {
        let words = "a server that is asked by HTTP can't be listed: what is here is";
        std::future::ready(Err(Fault::state(Signal::Neutral, words))).boxed()
    }

    fn probe<'a>(
        &'a self,
        direction: Direction,
        near: Option<&'a ObjectName>,
    ) -> BoxFuture<'a, Result<(), Fault>> {
        match direction {
            Direction::Read => self.probe_reads().boxed(),
            Direction::Write => put::probe(self, near).boxed(),
        }
    }

    fn carries(&self, name: &ObjectName) -> bool {
        self.paths.spot(name.as_str()) != Spot::Nowhere
    }

    fn has_other_keys(&self) -> bool {
        self.sender.has_changed() || self.client.has_other_files()
    }

    fn disconnect(&self) {
        self.client.disconnect();
    }

    fn is_receiving(&self) -> bool {
        self.whole.is_receiving()
    }

    fn clock_skew(&self) -> Option<i64> {
        *self.clock_skew.lock()
    }
}

impl fmt::Debug for Http {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "Http({}, {:?})", self.origin, self.paths)
    }
}

fn conditions(options: &GetOptions) -> HeaderMap {
    let range = options.range.as_ref().map(|range| match range.end {
        end if end > i64::MAX as u64 => format!("bytes={}-", range.start),
        end => format!("bytes={}-{}", range.start, end.saturating_sub(1)),
    });
    let quoted = |etag: &Arc<str>| format!("\"{etag}\"");
    let if_match = options.if_match.as_ref().map(quoted);
    let if_none_match = options.if_none_match.as_ref().map(quoted);
    [(RANGE, range), (IF_MATCH, if_match), (IF_NONE_MATCH, if_none_match)]
        .into_iter()
        .filter_map(|(name, value)| Some((name, HeaderValue::try_from(value?).ok()?)))
        .collect()
}
