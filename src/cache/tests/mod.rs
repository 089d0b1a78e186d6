//! What the cache promises, over a real store and a fake upstream.

pub(crate) mod fake;
mod fills;
mod freshen;
mod lists;
mod model;
mod puts;
mod reload;
mod stage;
mod streams;

use bytes::Bytes;

use super::*;
use crate::digest::{Digest, Function};
use crate::entry::{Attrs, ByteRange, Claim, Hit};
use crate::key::Name;
use fake::Bench;

fn named(space: Space, name: &str) -> Key {
    Key::Named { space, name: Name::parse(name).expect("a name") }
}

fn content(bytes: &[u8]) -> Key {
    Key::Content(Digest::of(Function::Sha256, bytes))
}

/// Bytes that don't repeat within a block.
fn noise(len: usize) -> Bytes {
    let mut bytes = vec![0; len];
    blake3::Hasher::new().finalize_xof().fill(&mut bytes);
    bytes.into()
}

impl Bench {
    async fn put(&self, key: &Key, body: &[u8]) -> Committed {
        self.put_with(key, body, Attrs::default()).await
    }

    async fn put_with(&self, key: &Key, body: &[u8], attrs: Attrs) -> Committed {
        let claim = Claim { len: Some(body.len() as u64), digest: None };
        let put = self.cache.put(self.scope(), key.clone(), claim, attrs, Precondition::None);
        let mut put = put.await.expect("it is let in");
        for piece in body.chunks(10_000) {
            put.write(Bytes::copy_from_slice(piece)).await.expect("it is taken");
        }
        put.commit().await.expect("it is committed")
    }

    async fn hit(&self, key: &Key) -> Option<Hit> {
        self.cache.get(self.scope(), key, ByteRange::Full).await.expect("no range, no error")
    }

    async fn get(&self, key: &Key) -> Option<Bytes> {
        let hit = self.hit(key).await?;
        Some(hit.body.collect(u64::MAX).await.expect("a whole body"))
    }
}
