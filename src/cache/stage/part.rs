//! Parts: staged in any order and at once, then put together into an entry.

use std::sync::Arc;

use bytes::Bytes;
use futures_util::StreamExt as _;

use super::{Hold, PartialUpload, check_id};
use crate::cache::put::{Committed, Outcome, Put, Taken, shed_of};
use crate::cache::{Cache, now_ms};
use crate::digest::{Digest, Function, Hasher};
use crate::entry::{Attrs, Claim, Precondition};
use crate::error::{Error, Kind, Result};
use crate::key::Key;
use crate::stats::Shed;
use crate::store::Draft;

/// A part on its way in. Dropped, it never happened.
#[derive(Debug)]
pub struct Part {
    cache: Cache,
    hold: Hold,
    name: Arc<str>,
    announced: Option<u64>,
    len: u64,
    len_max: u64,
    hasher: Hasher,
    kept: Kept,
    outbox: bool,
}

/// What an upload holds.
#[derive(Debug, Clone)]
pub struct Staged {
    /// The attributes it was begun with.
    pub attrs: Attrs,
    /// Its parts, in order of the bytes of their names.
    pub parts: Vec<StagedPart>,
}

/// A part that is whole.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct StagedPart {
    /// Its name in the upload.
    pub name: Arc<str>,
    /// Bytes.
    pub len: u64,
    /// What [`Part::finish`] was told, else of our own making.
    pub etag: Arc<str>,
    /// When it was finished, in milliseconds since the Unix epoch.
    pub stored_ms: u64,
}

/// The same with its bytes.
#[derive(Debug)]
pub(super) struct Whole {
    pub(super) len: u64,
    digest: Digest,
    etag: Arc<str>,
    stored_ms: u64,
    kept: Kept,
    /// Which store its draft is of.
    outbox: bool,
}

/// The bytes of a part.
#[derive(Debug)]
enum Kept {
    Draft(Box<Draft>),
    /// They could not be kept. The client is not told before the whole upload is shed.
    Lost(Shed),
}

impl PartialUpload {
    /// Begins a part, `len` bytes long if that is known. Finished, it takes the place of an earlier one of its name.
    ///
    /// # Errors
    /// `TooLarge` over `entry_max` or `partial_uploads_bytes`, `Invalid` for a name over 2,048 bytes. A disk that is
    /// full or sick is not an error: see [`PartialUpload::assemble`].
    pub async fn part(&self, name: &str, len: Option<u64>) -> Result<Part> {
        check_id(name)?;
        let inner = &self.cache.inner;
        let len_max = {
            let settings = inner.settings.read();
            settings.entry_max.min(settings.partial_bytes)
        };
        check_len(len.unwrap_or(0), len_max)?;
        let hold = self.hold();
        let outbox = self
            .scope
            .upstream
            .is_some_and(|upstream| inner.remotes.find(upstream).is_some_and(|remote| !remote.read_only()));
        let store = if outbox { &inner.outbox } else { &inner.cache };
        let kept = match store.draft(len).await {
            Ok(draft) => Kept::Draft(Box::new(draft)),
            Err(error) => Kept::lose(&error),
        };
        Ok(Part {
            cache: self.cache.clone(),
            hold,
            name: name.into(),
            announced: len,
            len: 0,
            len_max,
            hasher: Function::Blake3.hasher(),
            kept,
            outbox,
        })
    }

    /// What it holds; `None` when there is no such upload.
    pub fn staged(&self) -> Option<Staged> {
        let uploads = self.cache.inner.partials.uploads.lock();
        let upload = uploads.get(&self.ident)?;
        let parts = upload.parts().iter().map(|(name, whole)| whole.row(Arc::clone(name))).collect();
        Some(Staged { attrs: upload.attrs.clone(), parts })
    }

    /// Makes these parts, in this order, an entry; `None` when one of them is not here. Those that went into it are
    /// gone then, others stay, unless the upload was begun by [`PartialUpload::begin`]: then it has ended. On an error
    /// all is as it was. One part alone becomes the entry as it lies; of several, or of few bytes, a copy is written.
    /// `etag`: as [`Put::set_etag`].
    ///
    /// # Errors
    /// As [`Cache::put`] and [`Put::commit`]. Parts that could not be kept make it [`Outcome::Shed`].
    pub async fn assemble(
        &self,
        parts: &[&str],
        key: Key,
        claim: Claim,
        attrs: Attrs,
        condition: Precondition,
        etag: Option<Arc<str>>,
    ) -> Result<Option<Committed>> {
        let hold = self.hold_known();
        let known = hold.as_ref().and_then(|hold| {
            hold.with(|upload| {
                let part = |name: &&str| Some(((*name).to_owned(), Arc::clone(upload.parts().get(*name)?)));
                parts.iter().map(part).collect::<Option<Vec<_>>>()
            })
        });
        let Some(mut parts) = known.unwrap_or_else(|| parts.is_empty().then(Vec::new)) else {
            return Ok(None);
        };
        let len = parts.iter().map(|(_, part)| part.len).sum();
        if let Some(claimed) = claim.len.filter(|claimed| *claimed != len) {
            let message = format!("the parts have {len} bytes, {claimed} were announced");
            return Err(Error::new(Kind::Mismatch, message));
        }
        let claim = Claim { len: Some(len), ..claim };
        let mut put = self.cache.put(&self.scope, key, claim, attrs, condition).await?;
        put.etag = etag;
        let committed = match &hold {
            Some(hold) => self.publish(put, hold, &mut parts).await?,
            None => put.commit().await?,
        };
        if let Some(hold) = hold {
            self.used(&hold, parts);
        }
        Ok(Some(committed))
    }

    /// One part as it lies, if it can become this put; else a copy.
    async fn publish(
        &self,
        mut put: Put,
        hold: &Hold,
        parts: &mut Vec<(String, Arc<Whole>)>,
    ) -> Result<Committed> {
        if let [(name, part)] = &parts[..]
            && part.can_become(&put)
        {
            put.len = part.len;
            let (meta, created) = put.check(part.digest, None).await?;
            // Not while somebody else reads it: who may is told by this lock.
            let take = |upload: &mut super::Upload| {
                (Arc::strong_count(part) == 2).then(|| upload.take_part(name, part)).flatten()
            };
            let alone = hold.with(take).flatten().is_some();
            let part = parts.pop().filter(|_| alone).and_then(|(_, part)| Arc::try_unwrap(part).ok());
            if let Some(Whole { kept: Kept::Draft(draft), outbox, .. }) = part {
                put.taken = Taken::Drafted(draft, outbox);
                let etag = Arc::clone(&meta.etag);
                // A client that hangs up now finds the part gone: so it is published without it, too.
                let published = self.cache.inner.tasks.spawn(put.finish(meta)).await;
                let outcome =
                    published.map_err(|error| Error::new(Kind::Internal, "a put has died").because(error))?;
                return Ok(Committed { etag, created, outcome });
            }
            put.len = 0;
        }
        self.copy(put, parts).await
    }

    async fn copy(&self, mut put: Put, parts: &[(String, Arc<Whole>)]) -> Result<Committed> {
        let lost = parts.iter().find_map(|(_, part)| part.lost());
        if let Some(reason) = lost {
            return Ok(self.shed(reason, parts, put.etag.take()));
        }
        for (_, part) in parts {
            let Kept::Draft(draft) = &part.kept else { continue };
            let mut body = draft.body();
            while let Some(piece) = body.next().await {
                match piece {
                    Ok(piece) => put.write(piece).await?,
                    Err(error) => {
                        tracing::warn!(%error, "a part of an upload can't be read back");
                        return Ok(self.shed(shed_of(&error), parts, put.etag.take()));
                    }
                }
            }
        }
        put.commit().await
    }

    /// The client is told nothing of it, as of any put that can't be kept.
    fn shed(&self, reason: Shed, parts: &[(String, Arc<Whole>)], etag: Option<Arc<str>>) -> Committed {
        self.cache.shed(reason);
        let etag = etag.unwrap_or_else(|| {
            let mut hasher = Function::Blake3.hasher();
            parts.iter().for_each(|(_, part)| hasher.update(part.digest.hash()));
            hasher.finish().hex()[..32].into()
        });
        Committed { etag, created: true, outcome: Outcome::Shed(reason) }
    }

    /// What went into an entry is gone.
    fn used(&self, hold: &Hold, parts: Vec<(String, Arc<Whole>)>) {
        let take = |upload: &mut super::Upload| {
            parts.iter().for_each(|(name, part)| drop(upload.take_part(name, part)));
            upload.is_begun()
        };
        let begun = hold.with(take) == Some(true);
        self.cache.inner.partials.drop_behind(parts);
        if begun {
            self.end();
        }
    }
}

// === impl Part ===

impl Part {
    /// Takes the next bytes. A store that fails is not the client's concern.
    ///
    /// # Errors
    /// `TooLarge` as [`PartialUpload::part`], `Mismatch` over the announced length.
    pub async fn write(&mut self, piece: Bytes) -> Result<()> {
        let len = self.len + piece.len() as u64;
        if let Some(announced) = self.announced.filter(|announced| len > *announced) {
            let message = format!("the part is longer than the {announced} bytes announced");
            return Err(Error::new(Kind::Mismatch, message));
        }
        check_len(len, self.len_max)?;
        self.len = len;
        self.hasher.update(&piece);
        self.hold.touch();
        if let Kept::Draft(draft) = &mut self.kept
            && let Err(error) = draft.write(piece).await
        {
            self.kept = Kept::lose(&error);
        }
        Ok(())
    }

    /// Makes it a part of its upload, under an ETag of the caller's choice; `None` when the upload was ended meanwhile.
    ///
    /// # Errors
    /// `Mismatch` under the announced length, `TooLarge` when the upload would hold too much with it.
    pub async fn finish(mut self, etag: Option<Arc<str>>) -> Result<Option<StagedPart>> {
        if let Some(announced) = self.announced.filter(|announced| *announced != self.len) {
            let message = format!("the part has {} bytes, {announced} were announced", self.len);
            return Err(Error::new(Kind::Mismatch, message));
        }
        if let Kept::Draft(draft) = &mut self.kept
            && let Err(error) = draft.rest().await
        {
            self.kept = Kept::lose(&error);
        }
        let digest = self.hasher.finish();
        let whole = Arc::new(Whole {
            len: self.len,
            digest,
            etag: etag.unwrap_or_else(|| digest.hex()[..32].into()),
            stored_ms: now_ms(),
            kept: self.kept,
            outbox: self.outbox,
        });
        let row = whole.row(Arc::clone(&self.name));
        let partials = &self.cache.inner.partials;
        let put = self.hold.with(|upload| upload.put_part(self.name, whole, &partials.limits()));
        let Some(replaced) = put.transpose()? else { return Ok(None) };
        partials.drop_behind(replaced.into_iter().collect());
        Ok(Some(row))
    }
}

// === impl Whole ===

impl Whole {
    fn row(&self, name: Arc<str>) -> StagedPart {
        StagedPart { name, len: self.len, etag: Arc::clone(&self.etag), stored_ms: self.stored_ms }
    }

    fn lost(&self) -> Option<Shed> {
        match self.kept {
            Kept::Draft(_) => None,
            Kept::Lost(reason) => Some(reason),
        }
    }

    /// Whether its draft can be published as this put without a copy: it was hashed as the put would be, lies in the
    /// right store, and is too long for the log.
    fn can_become(&self, put: &Put) -> bool {
        self.lost().is_none()
            && self.len > put.cache.inner.settings.read().inline_max
            && matches!(put.taken, Taken::Collected(_))
            && matches!(put.hasher, Hasher::Blake3(_))
            && put.second.is_none()
            && !put.asked.is_linked()
            && (self.outbox || put.route.is_none())
    }
}

// === impl Kept ===

impl Kept {
    fn lose(error: &Error) -> Self {
        tracing::debug!(%error, "a part of an upload can't be kept");
        Self::Lost(shed_of(error))
    }
}

fn check_len(len: u64, max: u64) -> Result<()> {
    if len > max {
        let message =
            format!("a part of {len} bytes is over `entry_max` or `partial_uploads_bytes` ({max} bytes)");
        return Err(Error::new(Kind::TooLarge, message));
    }
    Ok(())
}
