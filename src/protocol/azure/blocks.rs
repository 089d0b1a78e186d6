//! Put Block, Put Block List, Get Block List.

use std::collections::HashSet;
use std::sync::Arc;

use base64::Engine as _;
use base64::engine::general_purpose::STANDARD;
use futures_util::StreamExt as _;
use hyper::header::HeaderValue;

use super::committed::BlockList;
use super::headers::{CONTENT_MD5, now_ms, stamp};
use super::refusal::document;
use super::write::{attrs_of, condition, created, md5, stage};
use super::{Blob, Done, Frontend, Refusal};
use crate::cache::PartialUpload;
use crate::entry::{ByteRange, Claim, Meta};
use crate::error::Result;
use crate::protocol::Intent;
use crate::protocol::http::{Answer, Incoming, Upload};
use crate::protocol::objects::md5::{Hasher, Sum};
use crate::protocol::objects::xml::{Element, Writer};

/// The service's own bounds.
const BLOCKS_MAX: usize = 50_000;
const ID_BYTES_MAX: usize = 64;
/// So many blocks with the longest ids take less.
const LIST_BYTES_MAX: u64 = 16 << 20;
/// What blocks of the blob that is there are called while they are put together again: no id begins so.
const AGAIN: &str = "\u{1}";

/// Where a block of a list is looked for.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum From {
    Committed,
    Uncommitted,
    Latest,
}

impl Frontend {
    pub(super) async fn put_block<B: Incoming>(&self, blob: &Blob<'_>, upload: &mut Upload<B>) -> Done {
        self.check_write(blob).await?;
        let id = block_id(blob)?;
        let announced = md5(&blob.head.headers)?;
        match self.store_block(blob, id, announced, upload).await {
            Ok(sum) => {
                let mut answer = created();
                if let Some(sum) = sum.and_then(|sum| HeaderValue::try_from(sum.base64()).ok()) {
                    answer.headers_mut().insert(CONTENT_MD5, sum);
                }
                Ok((answer, 0))
            }
            Err(error) => self.failed(&error, Intent::Write),
        }
    }

    async fn store_block<B: Incoming>(
        &self,
        blob: &Blob<'_>,
        id: &str,
        announced: Option<Sum>,
        upload: &mut Upload<B>,
    ) -> Result<Option<Sum>> {
        let mut part = stage(&self.context.cache, &blob.scope, blob)?.part(id, upload.len()).await?;
        let mut hasher = announced.map(|_| Hasher::default());
        while let Some(piece) = upload.next().await? {
            if let Some(hasher) = &mut hasher {
                hasher.update(&piece);
            }
            part.write(piece).await?;
        }
        let sum = hasher.map(Hasher::finish);
        if let Some(sum) = &sum {
            sum.check(announced.as_ref())?;
        }
        part.finish(None).await?;
        Ok(sum)
    }

    pub(super) async fn put_block_list<B: Incoming>(&self, blob: &Blob<'_>, upload: &mut Upload<B>) -> Done {
        self.check_write(blob).await?;
        let condition = condition(&blob.head.headers)?;
        let attrs = attrs_of(&blob.head.headers, false)?;
        let announced =
            blob.head.headers.get(CONTENT_MD5).map(|value| Sum::parse(value.to_str().unwrap_or_default()));
        let announced = announced.transpose().map_err(|error| Refusal::bad("InvalidMd5", error.message()))?;
        let body = match upload.collect(LIST_BYTES_MAX).await {
            Ok(body) => body,
            Err(error) => return self.failed(&error, Intent::Write),
        };
        if let Err(error) = Sum::of(&body).check(announced.as_ref()) {
            return self.failed(&error, Intent::Write);
        }
        let list = parse(&body)?;
        let staged = match stage(&self.context.cache, &blob.scope, blob) {
            Ok(staged) => staged,
            Err(error) => return self.failed(&error, Intent::Write),
        };
        let current = self.current(blob).await;
        let remembered = current.as_deref().and_then(|meta| self.committed.of(&address(blob), &meta.etag));
        let Some(parts) = self.find(blob, &staged, &list, remembered.as_deref()).await else {
            let is_again = remembered.as_ref().is_some_and(|list_of| is_again(&list, list_of));
            return match current.filter(|_| is_again && condition == crate::entry::Precondition::None) {
                // Its answer was lost, and it is sent again.
                Some(meta) => {
                    let mut answer = created();
                    stamp(answer.headers_mut(), &meta.etag, meta.stored_ms);
                    Ok((answer, 0))
                }
                None => Err(invalid_list()),
            };
        };
        let names: Vec<&str> = parts.iter().map(|(name, _)| name.as_str()).collect();
        let assembled =
            staged.assemble(&names, blob.key.clone(), Claim::default(), attrs, condition.clone(), None).await;
        let committed = match assembled {
            // Gone between being seen and being used: another list of the same blocks was faster.
            Ok(None) => return Err(invalid_list()),
            Ok(Some(committed)) => Ok(committed),
            Err(error) => Err(error),
        };
        if let Ok(committed) = &committed {
            let blocks = list.into_iter().map(|(id, _)| id).zip(parts.iter().map(|(_, len)| *len)).collect();
            self.committed.note(&address(blob), Arc::clone(&committed.etag), blocks);
        }
        self.written(committed, &condition, |headers, committed| stamp(headers, &committed.etag, now_ms()))
    }

    /// The parts that a list names, and their lengths; blocks of the blob that is there are made parts again. `None`: one
    /// of them is nowhere.
    async fn find(
        &self,
        blob: &Blob<'_>,
        staged: &PartialUpload,
        list: &[(String, From)],
        remembered: Option<&BlockList>,
    ) -> Option<Vec<(String, u64)>> {
        let here = staged.staged().map(|staged| staged.parts).unwrap_or_default();
        let mut parts = Vec::with_capacity(list.len());
        let mut again = HashSet::new();
        for (id, from) in list {
            let part = here.iter().find(|part| *part.name == **id).filter(|_| *from != From::Committed);
            if let Some(part) = part {
                parts.push((id.clone(), part.len));
                continue;
            }
            let block = remembered.filter(|_| *from != From::Uncommitted)?;
            let at = block.blocks.iter().position(|(known, _)| known == id)?;
            let start = block.blocks[..at].iter().map(|(_, len)| len).sum();
            let (name, len) = (format!("{AGAIN}{id}"), block.blocks[at].1);
            if again.insert(name.clone()) && !self.take_again(blob, staged, &name, start, len).await {
                return None;
            }
            parts.push((name, len));
        }
        // Nothing new: then it is a list that was sent again, or one that asks for what is there.
        let is_all_again = !list.is_empty() && parts.iter().all(|(name, _)| name.starts_with(AGAIN));
        (!is_all_again || remembered.is_some_and(|known| !is_again(list, known))).then_some(parts)
    }

    /// Makes a block of the blob that is there a part.
    async fn take_again(
        &self,
        blob: &Blob<'_>,
        staged: &PartialUpload,
        name: &str,
        start: u64,
        len: u64,
    ) -> bool {
        let taken = async {
            let mut part = staged.part(name, Some(len)).await?;
            if len > 0 {
                let range = ByteRange::Span(start, start + len - 1);
                let Some(mut hit) = self.context.cache.get(&blob.scope, &blob.key, range).await? else {
                    return Ok(None);
                };
                while let Some(piece) = hit.body.next().await {
                    part.write(piece?).await?;
                }
            }
            part.finish(None).await
        };
        let taken: Result<_> = taken.await;
        matches!(taken, Ok(Some(_)))
    }

    pub(super) async fn blocks(&self, blob: &Blob<'_>) -> std::result::Result<Answer, Refusal> {
        blob.check(blob.rights.read, "read")?;
        let which = blob.query.get("blocklisttype").unwrap_or("committed").to_lowercase();
        let (committed, uncommitted) = match which.as_str() {
            "committed" => (true, false),
            "uncommitted" => (false, true),
            "all" => (true, true),
            _ => {
                let words = "blocklisttype is committed, uncommitted or all";
                return Err(Refusal::bad("InvalidQueryParameterValue", words));
            }
        };
        let current = self.current(blob).await;
        let staged = stage(&self.context.cache, &blob.scope, blob).ok().and_then(|upload| upload.staged());
        if current.is_none() && staged.is_none() {
            return Err(Refusal::absent());
        }
        let mut writer = Writer::new();
        writer.open("BlockList");
        if committed {
            writer.open("CommittedBlocks");
            let known = current.as_deref().and_then(|meta| self.committed.of(&address(blob), &meta.etag));
            for (id, len) in known.iter().flat_map(|list| &list.blocks) {
                block(&mut writer, id, *len);
            }
            writer.close();
        }
        if uncommitted {
            writer.open("UncommittedBlocks");
            let parts = staged.map(|staged| staged.parts).unwrap_or_default();
            for part in parts.iter().filter(|part| !part.name.starts_with(AGAIN)) {
                block(&mut writer, &part.name, part.len);
            }
            writer.close();
        }
        let mut answer = document(writer);
        if let Some(meta) = current {
            stamp(answer.headers_mut(), &meta.etag, meta.stored_ms);
            answer.headers_mut().insert("x-ms-blob-content-length", meta.len.into());
        }
        Ok(answer)
    }

    async fn current(&self, blob: &Blob<'_>) -> Option<Arc<Meta>> {
        let found = self.context.cache.head(&blob.scope, &blob.key).await;
        found.ok().flatten().map(|(meta, _)| meta)
    }
}

fn block(writer: &mut Writer, id: &str, len: u64) {
    writer.open("Block").text("Name", id).text("Size", &len.to_string()).close();
}

/// What a blob's block list is remembered by.
fn address(blob: &Blob<'_>) -> String {
    format!("{}/{}", blob.container, blob.name.as_str())
}

/// Whether a list is the one that made the blob that is there.
fn is_again(list: &[(String, From)], known: &BlockList) -> bool {
    let ids = known.blocks.iter().map(|(id, _)| id);
    list.iter().all(|(_, from)| *from != From::Uncommitted) && list.iter().map(|(id, _)| id).eq(ids)
}

fn invalid_list() -> Refusal {
    let words = "the block list names a block that is not here: never put, used by another list, or put over an hour ago";
    Refusal::bad("InvalidBlockList", words)
}

fn block_id<'a>(blob: &Blob<'a>) -> std::result::Result<&'a str, Refusal> {
    let id = blob.query.text("blockid");
    if is_block_id(id) {
        return Ok(id);
    }
    let words = "blockid is base64 of 1 to 64 bytes";
    let code = if STANDARD.decode(id).is_ok() && !id.is_empty() {
        "OutOfRangeInput"
    } else {
        "InvalidQueryParameterValue"
    };
    Err(Refusal::bad(code, words))
}

fn is_block_id(id: &str) -> bool {
    STANDARD.decode(id).is_ok_and(|bytes| (1..=ID_BYTES_MAX).contains(&bytes.len()))
}

fn parse(body: &[u8]) -> std::result::Result<Vec<(String, From)>, Refusal> {
    let root = Element::parse(body).map_err(|error| Refusal::bad("InvalidXmlDocument", error.message()))?;
    if root.name != "BlockList" {
        return Err(Refusal::bad("InvalidXmlDocument", "the body is not a BlockList"));
    }
    if root.children().len() > BLOCKS_MAX {
        let words = format!("the list has {} blocks, at most {BLOCKS_MAX} are taken", root.children().len());
        return Err(Refusal::bad("BlockListTooLong", words));
    }
    let entry = |child: &Element| {
        let from = match child.name.as_str() {
            "Committed" => From::Committed,
            "Uncommitted" => From::Uncommitted,
            "Latest" => From::Latest,
            other => {
                let words = format!("a block list has no `{}`", other.escape_debug());
                return Err(Refusal::bad("InvalidXmlDocument", words));
            }
        };
        if !is_block_id(child.text()) {
            return Err(Refusal::bad("InvalidBlockId", "a block id is base64 of 1 to 64 bytes"));
        }
        Ok((child.text().to_owned(), from))
    };
    root.children().iter().map(entry).collect()
}
