//! Moving an entry from one store to the other: from the outbox to the cache, once it is upstream.
//!
//! It is here before it is gone there, so that a look-up in between finds it. A large body is linked, or copied where
//! the two folders are on different filesystems; a small one is appended.

use std::sync::Arc;

use futures_util::StreamExt as _;

use super::commit::{Commit, Content};
use super::{Found, Generation, Record, Store, Stored};
use crate::error::{Error, Result};

impl Store {
    /// See [`Store::adopt`].
    pub(super) async fn adopt_from(
        &self,
        from: &Self,
        stored: &Stored,
        record: Record,
        unchanged: Option<u64>,
    ) -> Result<Option<Generation>> {
        let generation = Some(stored.generation);
        let adopted = match &stored.found {
            Found::Nothing => return Err(Error::invalid("a queued delete can't be kept")),
            Found::Inline(body) => {
                let content = Content::Small(body.clone());
                self.0.commit(Commit { record, content, unchanged, generation })?
            }
            Found::File(_, crcs) => {
                let source = from.0.folders.file(stored.record.id, stored.generation);
                match self.link(source, record.clone(), crcs, stored.generation, unchanged).await? {
                    Some(adopted) => adopted,
                    None => self.copy(from, stored, record, unchanged).await?,
                }
            }
        };
        self.0.synced().await?;
        if adopted.is_some() {
            from.remove(stored.record.id, generation).await?;
        }
        self.0.relieve().await;
        Ok(adopted)
    }

    /// `None`: it can't be linked.
    async fn link(
        &self,
        source: std::path::PathBuf,
        record: Record,
        crcs: &Arc<[u32]>,
        generation: Generation,
        unchanged: Option<u64>,
    ) -> Result<Option<Option<Generation>>> {
        let (inner, crcs) = (Arc::clone(&self.0), crcs.to_vec());
        let linked = tokio::task::spawn_blocking(move || {
            let draft = inner.folders.draft();
            if std::fs::hard_link(&source, &draft).is_err() {
                return Ok(None);
            }
            let content = Content::Large(draft.clone(), crcs);
            let commit = Commit { record, content, unchanged, generation: Some(generation) };
            let committed = inner.commit(commit);
            // Still there when it was not installed, or when it is here already under the same name.
            super::file::unlink(&draft);
            committed.map(Some)
        });
        super::draft::joined(linked.await)
    }

    async fn copy(
        &self,
        from: &Self,
        stored: &Stored,
        record: Record,
        unchanged: Option<u64>,
    ) -> Result<Option<Generation>> {
        let mut body = from.body(stored, 0..stored.len())?;
        let mut draft = self.draft(Some(stored.len())).await?;
        while let Some(piece) = body.next().await {
            draft.write(piece?).await?;
        }
        draft.commit(record, unchanged, Some(stored.generation)).await
    }
}
