//! What only content can be asked: many digests at once, whether a put would be for nothing, and other forms of the
//! same bytes.

use std::sync::Arc;

use bytes::Bytes;

use super::{Asked, Cache};
use crate::digest::Digest;
use crate::entry::{Attrs, Meta};
use crate::key::{EntryId, Key, Scope};
use crate::memory::Held;
use crate::stats::noted;
use crate::upstream::Remote;

/// So many digests are looked up under one lock: long enough to be worth it, short enough to keep nobody waiting.
const LOOKED_UP_AT_ONCE: usize = 256;

impl Cache {
    /// The places of those digests in the list that can't be served now. Never asks the network. Present ones count as
    /// used.
    pub async fn missing(&self, scope: &Scope, digests: &[Digest]) -> Vec<usize> {
        let inner = &*self.inner;
        let remote = scope.upstream.and_then(|upstream| inner.remotes.find(upstream));
        let remote = remote.filter(|remote| remote.readable());
        let mut missing = Vec::new();
        digests.iter().take(2).for_each(|digest| noted::asked(&Key::Content(*digest)));
        let mut key = Key::content_bytes(scope.owner);
        for (chunk, digests) in digests.chunks(LOOKED_UP_AT_ONCE).enumerate() {
            let ids: Vec<EntryId> = digests.iter().map(|digest| EntryId::of(key.of(digest))).collect();
            let here = inner.cache.used(&ids);
            for (at, digest) in digests.iter().enumerate().filter(|(at, _)| !here[*at]) {
                let id = ids[at];
                let is_servable = digest.is_empty_blob()
                    || inner.outbox.contains(id).is_some()
                    || remote.as_ref().is_some_and(|remote| inner.facts.present(id, remote.id()));
                if !is_servable {
                    missing.push(chunk * LOOKED_UP_AT_ONCE + at);
                }
            }
            // Ten thousand of them take milliseconds.
            tokio::task::consume_budget().await;
        }
        missing
    }

    /// A client says how long this content is, of which it has named the digest: what an upstream is asked with that
    /// asks by both.
    pub fn expect(&self, scope: &Scope, digest: Digest, len: u64) {
        let remote = scope.upstream.and_then(|upstream| self.inner.remotes.find(upstream));
        if let Some(remote) = remote.filter(|remote| remote.asks_by_size()) {
            expect(&remote, &Asked::unnoted(scope, &Key::Content(digest)), len);
        }
    }

    /// The length of content of which a put would be for nothing: it is here, and upstream or on its way there. Counts
    /// as a use of it.
    pub async fn known_len(&self, scope: &Scope, digest: Digest) -> Option<u64> {
        if digest.is_empty_blob() {
            return Some(0);
        }
        let asked = Asked::new(scope, &Key::Content(digest));
        if !self.is_known(&asked) {
            return None;
        }
        if let Some(held) = self.inner.memory.get(asked.id) {
            self.inner.cache.touch(&[asked.id]);
            return Some(held.meta.len);
        }
        let (_, stored, _) = self.stored(&asked).await?;
        (!stored.deleted).then_some(stored.record.meta.len)
    }

    /// Content in another form, if memory has that. `form` is whose it is: `zstd`.
    pub fn form(&self, scope: &Scope, digest: Digest, form: &str) -> Option<Bytes> {
        noted::asked(&Key::Content(digest));
        self.inner.memory.get(form_id(scope, digest, form)).map(|held| held.body)
    }

    /// Keeps content in another form, in memory only: made anew, it would be the same.
    pub fn keep_form(&self, scope: &Scope, digest: Digest, form: &str, body: Bytes) {
        /// No commit makes or replaces a form.
        const GENERATION: u64 = 0;
        let meta = Meta {
            len: body.len() as u64,
            digest: None,
            etag: "".into(),
            attrs: Attrs::default(),
            stored_ms: 0,
            origin_etag: None,
        };
        let held = Held::new(GENERATION, Arc::new(meta), None, body, 0);
        self.inner.memory.put(form_id(scope, digest, form), held, || Some(GENERATION));
    }

    /// Whether a body of this length can be kept in memory.
    pub fn keeps_in_memory(&self, len: u64) -> bool {
        self.inner.memory.admits(len)
    }
}

/// Tells an upstream that asks by digest and size how long this content is.
pub(super) fn expect(remote: &Remote, content: &Asked, len: u64) {
    if remote.asks_by_size()
        && let Some(name) = content.object_name(remote)
    {
        remote.expect(&name, len);
    }
}

fn form_id(scope: &Scope, digest: Digest, form: &str) -> EntryId {
    let mut key = Key::Content(digest).canonical(scope);
    key.extend_from_slice(form.as_bytes());
    EntryId::of(&key)
}
