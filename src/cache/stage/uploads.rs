//! Which partial uploads there are, and which go at the bounds. Pure: no I/O, and callers say what time it is.

use std::collections::{BTreeMap, HashMap};
use std::sync::Arc;
use std::sync::atomic::AtomicU64;

use tokio::time::Instant;

use super::Ident;
use super::part::Whole;
use crate::cache::put::Put;
use crate::cache::status::PartialUploads;
use crate::entry::Attrs;
use crate::error::{Error, Kind, Result};
use crate::key::Owner;

/// All of them.
#[derive(Debug, Default)]
pub(super) struct Uploads {
    all: HashMap<Ident, Upload>,
    /// Those that nobody writes to, the one that has had no byte for longest first.
    idle: BTreeMap<(Instant, u64), Ident>,
    /// Of idle ones.
    bytes: u64,
    /// Of idle ones.
    parts: usize,
    numbers: u64,
}

/// One of them.
#[derive(Debug)]
pub(super) struct Upload {
    pub(super) number: u64,
    pub(super) attrs: Attrs,
    pub(super) flow: Flow,
    parts: BTreeMap<Arc<str>, Arc<Whole>>,
    /// It was begun by name: it is there even with nothing in it, and ends when it is put together.
    begun: bool,
    holders: usize,
    /// Of its parts, and of a stream at rest.
    bytes: u64,
    last: Instant,
}

/// The stream of an upload.
#[derive(Debug, Default)]
pub(super) enum Flow {
    /// There is none.
    #[default]
    None,
    /// Somebody writes; so much was received.
    Live(Arc<AtomicU64>),
    /// Nobody writes any more; what was received is on its way to the disk.
    Settling,
    /// It can be gone on with.
    Rests(Box<Put>),
}

/// What may be idle.
#[derive(Debug, Clone, Copy)]
pub(super) struct Limits {
    pub(super) uploads: usize,
    pub(super) bytes: u64,
    pub(super) parts: usize,
}

// === impl Uploads ===

impl Uploads {
    pub(super) fn get(&self, ident: &Ident) -> Option<&Upload> {
        self.all.get(ident)
    }

    /// Of an owner's.
    pub(super) fn ids(&self, owner: Owner) -> impl Iterator<Item = &Arc<str>> {
        self.all.keys().filter(move |(of, _)| *of == owner).map(|(_, id)| id)
    }

    pub(super) fn get_mut(&mut self, ident: &Ident) -> Option<&mut Upload> {
        self.all.get_mut(ident)
    }

    /// Makes an upload not idle; begins one if there is none. Returns its number.
    pub(super) fn hold(&mut self, ident: &Ident) -> u64 {
        if let Some(upload) = self.all.get(ident)
            && upload.holders == 0
        {
            let place = (upload.last, upload.number);
            self.idle.remove(&place);
            self.bytes -= upload.bytes;
            self.parts -= upload.parts.len();
        }
        let numbers = &mut self.numbers;
        let upload = self.all.entry(ident.clone()).or_insert_with(|| {
            *numbers += 1;
            Upload::new(*numbers)
        });
        upload.holders += 1;
        upload.number
    }

    /// Ends a hold. Returns what goes for it.
    pub(super) fn release(
        &mut self,
        ident: &Ident,
        number: u64,
        last: Instant,
        limits: &Limits,
    ) -> Vec<Upload> {
        let Some(upload) = self.all.get_mut(ident).filter(|upload| upload.number == number) else {
            return Vec::new();
        };
        upload.last = upload.last.max(last);
        upload.holders -= 1;
        if upload.holders > 0 {
            return Vec::new();
        }
        if upload.is_empty() && !upload.begun {
            return self.all.remove(ident).into_iter().collect();
        }
        self.idle.insert((upload.last, number), ident.clone());
        self.bytes += upload.bytes;
        self.parts += upload.parts.len();
        self.over(limits)
    }

    /// Takes out the oldest idle ones until the others are within the limits.
    pub(super) fn over(&mut self, limits: &Limits) -> Vec<Upload> {
        let mut dropped = Vec::new();
        while self.idle.len() > limits.uploads || self.bytes > limits.bytes || self.parts > limits.parts {
            let Some(oldest) = self.oldest() else { break };
            tracing::debug!(bytes = oldest.bytes, "a partial upload goes: a bound is reached");
            dropped.push(oldest);
        }
        dropped
    }

    /// Takes out those that have had no byte after `since`.
    pub(super) fn aged(&mut self, since: Instant) -> Vec<Upload> {
        let mut aged = Vec::new();
        while self.idle.first_key_value().is_some_and(|((last, _), _)| *last <= since) {
            aged.extend(self.oldest());
        }
        aged
    }

    /// Takes one out, whoever writes to it.
    pub(super) fn remove(&mut self, ident: &Ident) -> Option<Upload> {
        let upload = self.all.remove(ident)?;
        if upload.holders == 0 {
            self.idle.remove(&(upload.last, upload.number));
            self.bytes -= upload.bytes;
            self.parts -= upload.parts.len();
        }
        Some(upload)
    }

    fn oldest(&mut self) -> Option<Upload> {
        let ident = self.idle.first_key_value().map(|(_, ident)| ident.clone())?;
        self.remove(&ident)
    }

    pub(super) fn usage(&self) -> PartialUploads {
        let count = self.idle.len();
        PartialUploads { count, bytes: self.bytes, live: self.all.len() - count }
    }
}

// === impl Upload ===

// Only holders change an upload, so what is idle and counted doesn't change.
impl Upload {
    fn new(number: u64) -> Self {
        Self {
            number,
            attrs: Attrs::default(),
            flow: Flow::None,
            parts: BTreeMap::new(),
            begun: false,
            holders: 0,
            bytes: 0,
            last: Instant::now(),
        }
    }

    pub(super) fn begin(&mut self, attrs: Attrs) {
        self.begun = true;
        self.attrs = attrs;
    }

    pub(super) fn is_begun(&self) -> bool {
        self.begun
    }

    fn is_empty(&self) -> bool {
        self.parts.is_empty() && matches!(self.flow, Flow::None)
    }

    /// Its parts, by name.
    pub(super) fn parts(&self) -> &BTreeMap<Arc<str>, Arc<Whole>> {
        &self.parts
    }

    /// Adds a part. Returns the one that it takes the place of.
    pub(super) fn put_part(
        &mut self,
        name: Arc<str>,
        part: Arc<Whole>,
        limits: &Limits,
    ) -> Result<Option<Arc<Whole>>> {
        let old = self.parts.get(&name).map(|old| old.len);
        let bytes = self.bytes - old.unwrap_or(0) + part.len;
        if bytes > limits.bytes {
            let message = format!("the upload would hold {bytes} bytes, over `partial_uploads_bytes`");
            return Err(Error::new(Kind::TooLarge, message));
        }
        if old.is_none() && self.parts.len() >= limits.parts {
            let message = format!("the upload has {} parts, more are not taken", limits.parts);
            return Err(Error::new(Kind::TooLarge, message));
        }
        self.bytes = bytes;
        Ok(self.parts.insert(name, part))
    }

    /// Takes a part out, if it still is this one.
    pub(super) fn take_part(&mut self, name: &str, part: &Arc<Whole>) -> Option<Arc<Whole>> {
        self.parts.get(name).filter(|known| Arc::ptr_eq(known, part))?;
        self.bytes -= part.len;
        self.parts.remove(name)
    }

    /// The stream comes to rest, or ends. Returns what it takes the place of.
    pub(super) fn set_flow(&mut self, flow: Flow) -> Flow {
        let old = std::mem::replace(&mut self.flow, flow);
        self.bytes = self.bytes - old.bytes() + self.flow.bytes();
        old
    }
}

// === impl Flow ===

impl Flow {
    fn bytes(&self) -> u64 {
        match self {
            Self::None | Self::Live(_) | Self::Settling => 0,
            Self::Rests(put) => put.len,
        }
    }
}
