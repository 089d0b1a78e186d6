//! Writing to a server: one PUT, whatever the length, sent as it is read.
//!
//! A probe of writes leaves nothing behind where that can be: a Larder and bazel-remote are given the empty blob, which
//! they always have; a folder an object under a condition that can't hold, and one that was taken all the same is deleted
//! again; a Turborepo server is asked for its status, and given an artifact of a team `larders` only while it denies
//! writes. So is a server of Nx an archive without files; those of Gradle, ccache and Maven are tried as a folder is.

use std::sync::Arc;
use std::time::Duration;

use bytes::Bytes;
use futures_util::TryStreamExt as _;
use parking_lot::Mutex;
use reqwest::Method;
use reqwest::header::{
    CONTENT_LENGTH, CONTENT_TYPE, HeaderMap, HeaderName, HeaderValue, IF_MATCH, IF_NONE_MATCH,
};

use super::super::location::Dialect;
use super::super::times::in_time;
use super::super::{Failure, Fault, PutDone, PutIf, PutOptions, Signal, Source};
use super::paths::{Carries, Spot};
use super::reply::{ARTIFACT, Call, OBJECT, Reply};
use super::{Http, tools};
use crate::body::Body;
use crate::error::{Error, Result};
use crate::key::ObjectName;

/// An upload slower than this has stalled.
const BYTES_PER_SECOND_MIN: u64 = 64 << 10;

/// A canary is no longer.
pub(super) const CANARY_BYTES_MAX: u64 = 1024;

/// An ETag that no entry has: the probe's condition.
const NO_ETAG: &str = "larder-no-such-etag";

/// Some bytes for a server that takes no empty artifact.
const PROBE_BYTES: Bytes = Bytes::from_static(b"larder-probe");

/// See [`super::super::Upstream::put`].
pub(super) async fn put(
    http: &Http,
    name: &ObjectName,
    source: &dyn Source,
    options: &PutOptions,
) -> Result<PutDone, Fault> {
    let failed = |error: Error| Fault::from(Failure::Source(error));
    let body = source.open(0..source.len()).await.map_err(failed)?;
    match http.paths.spot(name.as_str()) {
        Spot::At(path, carries) => match send(http, &path, carries, body, options).await {
            Err(fault) if fault.signal == Signal::Denied && is_archive(name) => {
                Err(told_apart(http, name, fault).await)
            }
            done => done,
        },
        Spot::Packed(path) => {
            let bytes = body.collect(CANARY_BYTES_MAX).await.map_err(failed)?;
            let body = Body::bytes(tools::archive(&bytes).into());
            send(http, &path, Carries::Type, body, options).await
        }
        Spot::ByDigest => {
            let bytes = body.collect(CANARY_BYTES_MAX).await.map_err(failed)?;
            let path = http.paths.content(&bytes);
            *http.canary.lock() = Some((name.clone(), path.clone()));
            send(http, &path, Carries::Type, Body::bytes(bytes), options).await
        }
        Spot::Nowhere => {
            let words = format!("an upstream of the dialect {} doesn't carry it", http.paths.dialect.name());
            Err(Failure::Refused(words).into())
        }
    }
}

/// Whether it is one of Nx's.
fn is_archive(name: &ObjectName) -> bool {
    tools::place(Dialect::Nx, name.as_str()).is_some()
}

/// A denied archive. A server of Nx answers 403 to who may not write; a Larder answers so for what Nx shall not send
/// again, too: whether writes are allowed tells which it was.
async fn told_apart(http: &Http, name: &ObjectName, denied: Fault) -> Fault {
    let Failure::State(words) = &denied.failure else { return denied };
    match probe(http, Some(name)).await {
        Ok(()) => {
            let remedy = format!("; {}", http.remedy);
            Failure::Refused(words.strip_suffix(&*remedy).unwrap_or(words).to_owned()).into()
        }
        Err(_) => denied,
    }
}

/// Asks whether writes are allowed.
pub(super) async fn probe(http: &Http, near: Option<&ObjectName>) -> Result<(), Fault> {
    let anything = PutOptions::default();
    match http.paths.dialect {
        Dialect::Larder | Dialect::Bazel => {
            let path = http.paths.content(b"");
            send(http, &path, Carries::Type, Body::empty(), &anything).await.map(drop)
        }
        Dialect::Turborepo if near.is_none() => {
            let path = http.paths.status();
            let response = http.ask(Method::GET, &path, HeaderMap::new(), None).await?;
            let reply = Reply::of(&response, Carries::Type);
            if reply.is_success() && !reply.is_page {
                let _ = reply.with_words(response).await;
                return Ok(());
            }
            Err(http.refused(reply, response, Call::Put).await)
        }
        // It has nothing that says so: a read tells whether it is there.
        Dialect::Nx if near.is_none() => http.probe_reads().await,
        dialect => {
            let Spot::At(path, carries) = http.paths.probe_near(near) else { return Ok(()) };
            let is_folder = dialect.is_of_files();
            let body = match dialect {
                Dialect::Nx => tools::archive(&PROBE_BYTES).into(),
                Dialect::Plain => Bytes::new(),
                _ => PROBE_BYTES,
            };
            let body = Body::bytes(body);
            let impossible = PutOptions { condition: PutIf::Matches(NO_ETAG.into()), ..anything.clone() };
            let options = if is_folder { &impossible } else { &anything };
            match send(http, &path, carries, body, options).await {
                Err(Fault { failure: Failure::Conflict, .. }) => Ok(()),
                Ok(_) if is_folder => {
                    // Who may write and not delete leaves an empty object: what was asked is answered all the same.
                    let deleted = http.ask(Method::DELETE, &path, HeaderMap::new(), None).await;
                    if let Ok(response) = deleted {
                        let _ = Reply::of(&response, carries).with_words(response).await;
                    }
                    Ok(())
                }
                other => other.map(drop),
            }
        }
    }
}

/// One PUT.
async fn send(
    http: &Http,
    path: &str,
    carries: Carries,
    body: Body,
    options: &PutOptions,
) -> Result<PutDone, Fault> {
    let len = body.len();
    let mut headers = describe(carries, options);
    // Of an empty body it would be left out, and nginx answers that with 500.
    headers.insert(CONTENT_LENGTH, len.into());
    let broken: Arc<Mutex<Option<Error>>> = Arc::default();
    let body = match body.as_bytes() {
        Some(bytes) => bytes.clone().into(),
        None => {
            let broken = Arc::clone(&broken);
            reqwest::Body::wrap_stream(body.inspect_err(move |error| *broken.lock() = Some(error.clone())))
        }
    };
    let deadline = http.stall + Duration::from_secs(len / BYTES_PER_SECOND_MIN);
    let asked = in_time(deadline, "PUT", http.ask(Method::PUT, path, headers, Some(body))).await?;
    if let Some(error) = broken.lock().take() {
        return Err(Failure::Source(error).into());
    }
    let response = asked?;
    let reply = Reply::of(&response, carries);
    let is_conditional = options.condition != PutIf::Always;
    match reply.status {
        200..300 if !reply.is_page => {
            let done = PutDone { etag: reply.meta.etag.clone(), server_date: reply.meta.server_date };
            let _ = reply.with_words(response).await;
            Ok(done)
        }
        412 if is_conditional => Err(Failure::Conflict.into()),
        409 if is_conditional && carries == Carries::Azure => Err(Failure::Conflict.into()),
        // It has one, and never another.
        409 if http.paths.dialect == Dialect::Nx => {
            let _ = reply.with_words(response).await;
            Ok(PutDone::default())
        }
        _ => Err(http.refused(reply, response, Call::Put).await),
    }
}

/// The headers of a PUT.
fn describe(carries: Carries, options: &PutOptions) -> HeaderMap {
    let content_type = options.content_type.as_deref().unwrap_or("application/octet-stream");
    let mut headers = HeaderMap::new();
    let mut insert = |name: String, value: &str| {
        // What no header carries is left out.
        if let (Ok(name), Ok(value)) = (HeaderName::try_from(name), HeaderValue::try_from(value)) {
            headers.insert(name, value);
        }
    };
    insert(CONTENT_TYPE.to_string(), content_type);
    match &options.condition {
        PutIf::Always => {}
        PutIf::Absent => insert(IF_NONE_MATCH.to_string(), "*"),
        PutIf::Matches(etag) => insert(IF_MATCH.to_string(), &format!("\"{etag}\"")),
    }
    let (given, before) = match carries {
        Carries::Type => (&[][..], ""),
        Carries::Artifact => (&ARTIFACT[..], ""),
        Carries::S3 => (&OBJECT[..], ""),
        Carries::Azure => (&OBJECT[..], "x-ms-blob-"),
    };
    for (header, attr) in given {
        if let Some(value) = options.attrs.get(attr) {
            insert(format!("{before}{header}"), value);
        }
    }
    if carries == Carries::Azure {
        insert("x-ms-blob-type".into(), "BlockBlob");
        insert("x-ms-blob-content-type".into(), content_type);
    }
    if let Some(prefix) = carries.meta_prefix() {
        for (name, value) in options.attrs.user() {
            insert(format!("{prefix}{name}"), &value);
        }
    }
    headers
}
