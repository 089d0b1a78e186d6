//! `GetTree`: a directory and all below it, each once, as they lie in the cache.
//!
//! What a client gets is the bytes of the directories themselves. One that is not here is left out, with all below it;
//! only without the root there is nothing to answer. The order is that of a breadth-first walk, so that a page token
//! needs to be no more than how many came before.

use std::collections::{HashSet, VecDeque};
use std::sync::Arc;

use bazel_remote_apis::build::bazel::remote::execution::v2 as wire;
use bytes::{Bytes, BytesMut};
use tokio::time::Instant;
use tonic::Status;

use super::cas::{all, put_bytes_head};
use super::grpc::{Frames, Messages, message, stream};
use super::requests::Blob;
use super::{Core, small};
use crate::digest::{Digest, Function};
use crate::key::Scope;
use crate::links::fields::{Fields, Malformed};
use crate::protocol::http::{Answer, Incoming};

/// No message of a tree is longer, but for a directory that is by itself.
const PAGE_BYTES_MAX: usize = 1 << 20;

/// A longer directory is none: 30,000 files have 3 MiB.
const DIRECTORY_BYTES_MAX: u64 = 16 << 20;

/// Trees of more directories end here.
const DIRECTORIES_MAX: usize = 100_000;

/// So many directories are read at a time.
const AT_ONCE: usize = 64;

/// A walk under way.
struct Walk {
    core: Arc<Core>,
    scope: Scope,
    seen: HashSet<Digest>,
    /// Found, and not read.
    ahead: VecDeque<Blob>,
    /// Read, and not sent.
    ready: VecDeque<Bytes>,
    /// Still to be left out: an earlier page had them.
    skip: usize,
    sent: usize,
    page_size: usize,
}

impl Core {
    pub(super) async fn get_tree<B: Incoming>(
        self: &Arc<Self>,
        messages: Messages<B>,
    ) -> Result<Answer, Status> {
        let request: wire::GetTreeRequest = small(messages).await?;
        let scope = self.scope(&request.instance_name, request.digest_function)?;
        let root =
            request.root_digest.ok_or_else(|| Status::invalid_argument("the request has no root_digest"))?;
        let root = Blob::named(scope.policy.digest, &root.hash, root.size_bytes)?;
        let page_size = usize::try_from(request.page_size)
            .map_err(|_| Status::invalid_argument(format!("page_size {} is negative", request.page_size)))?;
        let skip = match request.page_token.as_str() {
            "" => 0,
            token => token.parse().map_err(|_| {
                Status::invalid_argument(format!("page_token `{}` is none of ours", token.escape_debug()))
            })?,
        };
        let mut walk = Walk {
            core: Arc::clone(self),
            scope,
            seen: HashSet::from([root.digest]),
            ahead: [root].into(),
            ready: VecDeque::new(),
            skip,
            sent: skip,
            page_size: if page_size == 0 { usize::MAX } else { page_size },
        };
        if walk.read().await == 0 {
            return Err(Status::not_found("not in the cache"));
        }
        let pages = futures_util::stream::unfold(Some(walk), |walk| async move {
            let mut walk = walk?;
            let (page, is_last) = walk.page().await;
            Some((Ok(page), (!is_last).then_some(walk)))
        });
        Ok(stream(Box::pin(pages), None))
    }
}

impl Walk {
    /// Reads the next directories; how many there were of them.
    async fn read(&mut self) -> usize {
        let deadline = Instant::now() + self.core.context.cache.settings().first_byte;
        let next = self.next_read();
        let mut reads = Vec::with_capacity(next.len());
        for blob in next.iter().filter(|blob| blob.size <= DIRECTORY_BYTES_MAX) {
            reads.push(self.core.collect(&self.scope, blob, deadline));
        }
        let found = all(reads).await;
        let mut count = 0;
        for (bytes, _) in found.into_iter().flatten() {
            let Ok(children) = children(self.scope.policy.digest, &bytes) else { continue };
            count += 1;
            for child in children {
                if self.seen.len() < DIRECTORIES_MAX && self.seen.insert(child.digest) {
                    self.ahead.push_back(child);
                }
            }
            if self.skip > 0 {
                self.skip -= 1;
            } else {
                self.ready.push_back(bytes);
            }
        }
        count
    }

    /// The next directories that are read: some, and no more bytes than the longest one may have.
    fn next_read(&mut self) -> Vec<Blob> {
        let (mut next, mut bytes) = (Vec::new(), 0);
        while let Some(blob) = self.ahead.front()
            && next.len() < AT_ONCE
            && (next.is_empty() || bytes + blob.size <= DIRECTORY_BYTES_MAX)
        {
            bytes += blob.size;
            next.extend(self.ahead.pop_front());
        }
        next
    }

    /// The next page, and whether it is the last.
    async fn page(&mut self) -> (Frames, bool) {
        let (mut pieces, mut bytes, mut count) = (Vec::new(), 0, 0);
        while count < self.page_size && bytes < PAGE_BYTES_MAX {
            let Some(directory) = self.ready.pop_front() else {
                if self.ahead.is_empty() {
                    break;
                }
                self.read().await;
                continue;
            };
            let mut head = BytesMut::with_capacity(8);
            put_bytes_head(&mut head, 1, directory.len());
            bytes += directory.len();
            count += 1;
            pieces.extend([head.freeze(), directory]);
        }
        self.sent += count;
        let is_last = self.ready.is_empty() && self.ahead.is_empty();
        if !is_last {
            let token = self.sent.to_string();
            let mut head = BytesMut::with_capacity(16);
            put_bytes_head(&mut head, 2, token.len());
            head.extend_from_slice(token.as_bytes());
            pieces.push(head.freeze());
        }
        (message(pieces), is_last)
    }
}

/// The directories that a directory names.
pub(super) fn children(function: Function, directory: &[u8]) -> Result<Vec<Blob>, Malformed> {
    let mut children = Vec::new();
    let mut fields = Fields::of(directory)?;
    while let Some((number, value)) = fields.next()? {
        if number == 2 {
            children.push(child(function, value.bytes()?)?);
        }
    }
    Ok(children)
}

/// What a `DirectoryNode` names.
fn child(function: Function, node: &[u8]) -> Result<Blob, Malformed> {
    let mut digest = None;
    let mut fields = Fields::of(node)?;
    while let Some((number, value)) = fields.next()? {
        // Two of them would have to be merged, which no serializer asks for.
        if number == 2 && digest.replace(value.bytes()?).is_some() {
            return Err(Malformed);
        }
    }
    let (mut hash, mut size) = ("", 0);
    let mut fields = Fields::of(digest.ok_or(Malformed)?)?;
    while let Some((number, value)) = fields.next()? {
        match number {
            1 => hash = value.text()?,
            2 => size = value.varint()?,
            _ => {}
        }
    }
    Blob::named(function, hash, size as i64).map_err(|_| Malformed)
}
