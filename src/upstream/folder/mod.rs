//! A folder as an upstream: a network share, a mounted bucket, a second disk.
//!
//! ```text
//! {root}/{name}         the bytes and nothing else; whoever reads the folder without Larder finds them by name
//! {root}/{name}.meta    attributes, ETag, CRC32C of those bytes (see `meta`), written before them
//! {root}/.larder/       drafts, locks of writers; its presence says that what is mounted here is this upstream
//! ```
//!
//! A folder that isn't there is a state of the upstream, never "absent": the share may not be mounted. It is never
//! made by us. Once `.larder` was seen in it, a folder without is taken for an empty mount point.
//!
//! A name that ends in `.meta`, begins with `.larder`, or needs a folder where there is a file can't be kept here: it
//! is absent on read and refused for good on write.

mod list;
mod meta;
mod put;

use std::fs::File;
use std::io::ErrorKind;
use std::ops::Range;
use std::os::unix::fs::FileExt as _;
use std::path::{Path, PathBuf};
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering};

use bytes::Bytes;
use futures_util::future::{BoxFuture, FutureExt as _};
use tokio::sync::Semaphore;

use self::meta::Found;
use super::{
    Direction, Failure, Fault, GetOptions, Got, Listed, Looked, Object, PutDone, PutOptions, Signal, Source,
    Upstream,
};
use crate::body::Body;
use crate::error::{Error, Kind};
use crate::key::ObjectName;

/// Our own things in the root.
const OURS: &str = ".larder";

/// Bytes read, and bytes written, in one call.
const BLOCK: u64 = 256 << 10;

/// Calls of one folder at one time. Below the runtime's blocking threads, so that a mount that hangs leaves some to
/// DNS.
const CALLS_MAX: usize = 16;

/// A folder upstream.
#[derive(Debug)]
pub(super) struct Folder {
    root: Arc<Root>,
    calls: Arc<Semaphore>,
}

/// What blocking calls need.
#[derive(Debug)]
struct Root {
    path: PathBuf,
    /// `.larder` was seen in it.
    marked: AtomicBool,
}

// === impl Folder ===

impl Folder {
    pub(super) fn new(path: PathBuf) -> Self {
        Self {
            root: Arc::new(Root { path, marked: AtomicBool::new(false) }),
            calls: Arc::new(Semaphore::new(CALLS_MAX)),
        }
    }

    /// Runs one blocking call.
    async fn call<T: Send + 'static>(
        &self,
        work: impl FnOnce(&Root) -> Result<T, Fault> + Send + 'static,
    ) -> Result<T, Fault> {
        let root = Arc::clone(&self.root);
        blocking(&self.calls, move || work(&root))
            .await
            .unwrap_or_else(|| Err(Fault::state(Signal::Neutral, "the upstream runtime has stopped")))
    }
}

impl Upstream for Folder {
    fn get<'a>(&'a self, name: &'a ObjectName, options: &'a GetOptions) -> BoxFuture<'a, Result<Got, Fault>> {
        let (name, options) = (name.clone(), options.clone());
        let calls = Arc::clone(&self.calls);
        self.call(move |root| root.get(&name, &options, calls)).boxed()
    }

    fn head<'a>(&'a self, name: &'a ObjectName) -> BoxFuture<'a, Result<Looked, Fault>> {
        let name = name.clone();
        self.call(move |root| {
            Ok(match root.find(&name)? {
                Some((_, found)) => Looked::Found(found.meta),
                None => Looked::Absent { denied: false },
            })
        })
        .boxed()
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
        let name = name.clone();
        self.call(move |root| put::delete(root, &name)).boxed()
    }

    fn list<'a>(
        &'a self,
        prefix: &'a str,
        after: Option<&'a str>,
        limit: usize,
    ) -> BoxFuture<'a, Result<Vec<Listed>, Fault>> {
        let (prefix, after) = (prefix.to_owned(), after.map(str::to_owned));
        self.call(move |root| {
            root.check()?;
            list::list(root, &prefix, after.as_deref(), limit)
        })
        .boxed()
    }

    fn probe<'a>(
        &'a self,
        direction: Direction,
        _near: Option<&'a ObjectName>,
    ) -> BoxFuture<'a, Result<(), Fault>> {
        self.call(move |root| {
            root.check()?;
            match direction {
                Direction::Read => Ok(()),
                Direction::Write => put::try_write(root),
            }
        })
        .boxed()
    }

    fn recover(&self) -> BoxFuture<'_, ()> {
        let sweep = |root: &Root| {
            put::sweep(root);
            Ok(())
        };
        // What can't be swept today can be tomorrow.
        self.call(sweep).map(drop).boxed()
    }
}

// === impl Root ===

impl Root {
    /// Where the bytes of `name` are; `None` for a name that can't be kept here.
    fn path_of(&self, name: &ObjectName) -> Option<PathBuf> {
        let text = name.as_str();
        let ours = text == OURS || text.strip_prefix(OURS).is_some_and(|rest| rest.starts_with('/'));
        (!ours && !text.ends_with(meta::SUFFIX)).then(|| self.path.join(text))
    }

    /// Whether the folder is there, and is the one that was there before.
    fn check(&self) -> Result<(), Fault> {
        let root = self.path.display();
        match std::fs::metadata(&self.path) {
            Ok(found) if found.is_dir() => {}
            Ok(_) => return Err(Fault::state(Signal::Fault, format!("{root} is not a folder"))),
            Err(e) if e.kind() == ErrorKind::NotFound => {
                let words =
                    format!("the folder {root} is not there: mount it, or make it once with mkdir -p");
                return Err(Fault::state(Signal::Fault, words));
            }
            Err(e) => return Err(self.fault("look at", &self.path, &e)),
        }
        if self.path.join(OURS).is_dir() {
            self.marked.store(true, Ordering::Relaxed);
        } else if self.marked.load(Ordering::Relaxed) {
            let words = format!("the folder {root} has lost its {OURS}: is it mounted?");
            return Err(Fault::state(Signal::Fault, words));
        }
        Ok(())
    }

    /// Opens the bytes of `name`, with what is known of them.
    fn find(&self, name: &ObjectName) -> Result<Option<(File, Found)>, Fault> {
        let Some(path) = self.path_of(name) else {
            return Ok(None);
        };
        match meta::find(self, name, &path) {
            Ok(Some(found)) => Ok(Some(found)),
            Ok(None) => self.check().map(|()| None),
            Err(e) if is_no_such_file(&e) => self.check().map(|()| None),
            Err(e) => Err(self.fault("read", &path, &e)),
        }
    }

    fn get(&self, name: &ObjectName, options: &GetOptions, calls: Arc<Semaphore>) -> Result<Got, Fault> {
        let Some((file, Found { meta, .. })) = self.find(name)? else {
            return Ok(Got::Absent { denied: false });
        };
        if options.if_match.is_some() && options.if_match != meta.etag {
            return Ok(Got::Changed);
        }
        if options.if_none_match.is_some() && options.if_none_match == meta.etag {
            return Ok(Got::NotModified);
        }
        let range = match &options.range {
            None => 0..meta.len,
            Some(range) if range.start < meta.len && range.start < range.end => {
                range.start..range.end.min(meta.len)
            }
            Some(_) => return Ok(Got::Unsatisfiable(Some(meta.len))),
        };
        let body = if range.end - range.start <= BLOCK {
            let bytes = read(&file, range.clone())
                .map_err(|e| self.fault("read", &self.path.join(name.as_str()), &e))?;
            Body::bytes(bytes)
        } else {
            stream(file, range.clone(), calls)
        };
        Ok(Got::Object(Object { meta, range, body }))
    }

    /// A failed file operation, as a state of the upstream.
    fn fault(&self, doing: &str, path: &Path, error: &std::io::Error) -> Fault {
        let words = format!("{doing} {}: {error}", path.display());
        match error.kind() {
            ErrorKind::PermissionDenied | ErrorKind::ReadOnlyFilesystem => {
                Fault::state(Signal::Denied, words)
            }
            ErrorKind::NotADirectory | ErrorKind::IsADirectory | ErrorKind::InvalidFilename => {
                Failure::Refused(words).into()
            }
            _ => Fault::state(Signal::Fault, words),
        }
    }
}

/// There is nothing by that name, nor could there be.
fn is_no_such_file(error: &std::io::Error) -> bool {
    matches!(error.kind(), ErrorKind::NotFound | ErrorKind::NotADirectory | ErrorKind::InvalidFilename)
}

/// Reads a small range whole. Short is an error: the file was cut after its length was taken.
fn read(file: &File, range: Range<u64>) -> std::io::Result<Bytes> {
    let mut bytes = vec![0; (range.end - range.start) as usize];
    file.read_exact_at(&mut bytes, range.start)?;
    Ok(bytes.into())
}

fn stream(file: File, range: Range<u64>, calls: Arc<Semaphore>) -> Body {
    let len = range.end - range.start;
    let file = Arc::new(file);
    let blocks = futures_util::stream::try_unfold(range, move |left| {
        let (file, calls) = (Arc::clone(&file), Arc::clone(&calls));
        async move {
            if left.start >= left.end {
                return Ok(None);
            }
            let block = left.start..left.end.min(left.start + BLOCK);
            let next = block.end..left.end;
            match blocking(&calls, move || read(&file, block)).await {
                Some(Ok(bytes)) => Ok(Some((bytes, next))),
                Some(Err(e)) => {
                    Err(Error::new(Kind::Unavailable, "read from the folder upstream").because(e))
                }
                None => Err(Error::new(Kind::Unavailable, "the upstream runtime has stopped")),
            }
        }
    });
    Body::stream(len, blocks)
}

/// Runs `work` on the blocking pool of the runtime that this is called on. `None`: it has stopped.
async fn blocking<T: Send + 'static>(
    calls: &Arc<Semaphore>,
    work: impl FnOnce() -> T + Send + 'static,
) -> Option<T> {
    let permit = Arc::clone(calls).acquire_owned().await.expect("the semaphore is never closed");
    let work = move || {
        let done = work();
        // A caller that gave up does not end a call that hangs: the place is free when the call is.
        drop(permit);
        done
    };
    match tokio::task::spawn_blocking(work).await {
        Ok(done) => Some(done),
        Err(e) if e.is_panic() => std::panic::resume_unwind(e.into_panic()),
        Err(_) => None,
    }
}
