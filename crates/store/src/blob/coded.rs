//! Reading coded xorbs: any range of raw bytes, decoding only the blocks that hold it.

use std::ops::Range;
use std::sync::Arc;

use bytes::{BufMut, Bytes, BytesMut};
use futures::future::BoxFuture;
use quick_cache::Weighter;
use quick_cache::sync::Cache;
use weighthouse_format::xet::shard::Term;
use weighthouse_format::xet::xorb::{CHUNK_HEADER_LEN, ChunkHeader, Scheme};

use super::blocks::{Blocks, StoredBlock};
use super::codec;
use super::index::Place;
use super::ingest::blocking;
use crate::Store;
use crate::catalog::{Content, MAX_DEPTH, PackId};
use crate::digest::Sha256;
use crate::error::StoreError;

/// Stored bytes that one read of the backend asks for, at most.
const READ_BYTES: u64 = 1 << 20;

/// Memory for decoded blocks, in bytes.
const BLOCK_CACHE_BYTES: u64 = 64 << 20;
/// Memory for the lists of chunks of bases, in bytes.
const CONTENT_CACHE_BYTES: u64 = 8 << 20;

/// Blocks by pack and place of their first stored byte: what lies there never changes.
pub(crate) type BlockCache = Cache<(PackId, u64), Bytes, ByBytes>;
pub(crate) type ContentCache = Cache<Sha256, Arc<Content>, ByBytes>;

#[derive(Clone)]
pub(crate) struct ByBytes;

impl Weighter<(PackId, u64), Bytes> for ByBytes {
    fn weight(&self, _: &(PackId, u64), block: &Bytes) -> u64 {
        block.len() as u64 + 128
    }
}

impl Weighter<Sha256, Arc<Content>> for ByBytes {
    fn weight(&self, _: &Sha256, content: &Arc<Content>) -> u64 {
        (content.terms.len() * size_of::<Term>() + 128) as u64
    }
}

pub(crate) fn block_cache() -> BlockCache {
    Cache::with_weighter(500, BLOCK_CACHE_BYTES, ByBytes)
}

pub(crate) fn content_cache() -> ContentCache {
    Cache::with_weighter(100, CONTENT_CACHE_BYTES, ByBytes)
}

/// A block that has to be decoded.
struct Wanted {
    number: usize,
    block: StoredBlock,
    stored: Bytes,
    /// What it is coded against: number of the run that is read for it, and the part of that.
    base: Option<(usize, Range<usize>)>,
}

/// A run of a base that neighbouring blocks need.
struct BaseRun {
    sha256: Sha256,
    range: Range<u64>,
}

impl Store {
    /// Raw bytes `range` of a coded xorb, in order.
    ///
    /// - `depth`: bases that are being read for each other already
    pub(super) fn read_blocks<'a>(
        &'a self,
        place: &'a Place,
        coded: &'a Blocks,
        range: Range<u64>,
        depth: u64,
    ) -> BoxFuture<'a, Result<Vec<Bytes>, StoreError>> {
        Box::pin(async move {
            let numbers = coded.over(&range);
            let mut decoded: Vec<Option<Bytes>> =
                numbers.clone().map(|number| self.cached(place, coded, number)).collect();
            let missing: Vec<usize> =
                numbers.clone().zip(&decoded).filter(|(_, found)| found.is_none()).map(|(number, _)| number).collect();
            let mut rest = missing.as_slice();
            while let Some(first) = rest.first() {
                // Neighbours are read together.
                let start = stored(coded, *first)?.start;
                let together = rest.iter().enumerate().take_while(|(i, number)| {
                    **number == first + i && stored(coded, **number).is_ok_and(|s| s.end <= start + READ_BYTES)
                });
                let (group, after) = rest.split_at(together.count().max(1));
                rest = after;
                for (number, raw) in self.decode_group(place, coded, group, depth).await? {
                    if let Some(slot) = decoded.get_mut(number - numbers.start) {
                        *slot = Some(raw);
                    }
                }
            }
            let mut pieces = Vec::with_capacity(decoded.len());
            for (number, raw) in numbers.zip(decoded) {
                let (Some(raw), Some(block)) = (raw, coded.blocks.get(number)) else {
                    return Err(corrupt(place, number, "it was not decoded".to_owned()));
                };
                let covered = block.raw();
                let from = range.start.saturating_sub(covered.start).min(raw.len() as u64) as usize;
                let to = range.end.min(covered.end).saturating_sub(covered.start).min(raw.len() as u64) as usize;
                pieces.push(raw.slice(from..to.max(from)));
            }
            Ok(pieces)
        })
    }

    fn cached(&self, place: &Place, coded: &Blocks, number: usize) -> Option<Bytes> {
        let block = coded.blocks.get(number)?;
        self.block_cache().get(&key(place, block))
    }

    /// Reads and decodes blocks that lie together.
    async fn decode_group(
        &self,
        place: &Place,
        coded: &Blocks,
        group: &[usize],
        depth: u64,
    ) -> Result<Vec<(usize, Bytes)>, StoreError> {
        let (Some(first), Some(last)) = (group.first(), group.last()) else { return Ok(Vec::new()) };
        let start = stored(coded, *first)?.start;
        let data = self.read_stored(place, start..stored(coded, *last)?.end).await?;
        let mut wanted = Vec::with_capacity(group.len());
        let mut runs: Vec<BaseRun> = Vec::new();
        for &number in group {
            let block =
                *coded.blocks.get(number).ok_or_else(|| corrupt(place, number, "it is not listed".to_owned()))?;
            let from = (block.stored().start - start) as usize;
            let bytes = data.slice(from..from + block.descriptor.stored_len as usize);
            let len = codec::base_len(&block.descriptor, &bytes).map_err(|e| corrupt(place, number, e.to_string()))?;
            let base = if len == 0 { None } else { Some(base_of(place, coded, number, len, &mut runs)?) };
            wanted.push(Wanted { number, block, stored: bytes, base });
        }
        if !runs.is_empty() && depth >= MAX_DEPTH {
            return Err(corrupt(place, *first, "its base needs a base that needs one".to_owned()));
        }
        let mut bases = Vec::with_capacity(runs.len());
        for run in &runs {
            let read = self.read_run(&run.sha256, run.range.clone(), depth + 1).await;
            bases.push(read.map_err(|error| match error {
                StoreError::Corrupt { what, detail } => {
                    corrupt(place, *first, format!("its base, content {}: {what} is damaged: {detail}", run.sha256))
                }
                other => other,
            })?);
        }
        let decoded = blocking(move || {
            let decode = |wanted: Wanted| {
                let base = wanted.base.and_then(|(run, part)| bases.get(run)?.get(part));
                let raw = codec::decode_block(&wanted.block.descriptor, &wanted.stored, base);
                (wanted.number, wanted.block, raw.map(Bytes::from))
            };
            wanted.into_iter().map(decode).collect::<Vec<_>>()
        })
        .await?;
        let mut blocks = Vec::with_capacity(decoded.len());
        for (number, block, raw) in decoded {
            let raw = raw.map_err(|error| corrupt(place, number, error.to_string()))?;
            if raw.len() != block.descriptor.raw_len as usize {
                return Err(corrupt(place, number, "it decodes to another length".to_owned()));
            }
            self.block_cache().insert(key(place, &block), raw.clone());
            blocks.push((number, raw));
        }
        Ok(blocks)
    }

    /// Bytes `range` of a content, at once.
    pub(super) async fn read_run(&self, sha256: &Sha256, range: Range<u64>, depth: u64) -> Result<Bytes, StoreError> {
        let content = self.content(sha256).await?.ok_or_else(|| StoreError::Corrupt {
            what: format!("content {sha256}"),
            detail: "it is not on record".to_owned(),
        })?;
        if range.start > range.end || range.end > content.record.size_bytes {
            return Err(StoreError::Corrupt {
                what: format!("content {sha256}"),
                detail: format!("bytes {}..{} are not in it", range.start, range.end),
            });
        }
        self.read_at_depth(&content, range, depth).await
    }

    /// A content on record; those used last are remembered.
    pub(super) async fn content(&self, sha256: &Sha256) -> Result<Option<Arc<Content>>, StoreError> {
        if let Some(content) = self.content_cache().get(sha256) {
            return Ok(Some(content));
        }
        let Some(content) = self.catalog().contents().get(sha256).await? else { return Ok(None) };
        let content = Arc::new(content);
        self.content_cache().insert(*sha256, Arc::clone(&content));
        Ok(Some(content))
    }

    /// Bytes `range` of the body that a coded xorb would have if nothing in it were compressed.
    pub(super) async fn virtual_body(
        &self,
        place: &Place,
        coded: &Blocks,
        range: Range<u64>,
    ) -> Result<Bytes, StoreError> {
        const HEADER: u64 = CHUNK_HEADER_LEN as u64;
        let chunks = &place.listing.chunks;
        let first = chunks.partition_point(|chunk| u64::from(chunk.end()) <= range.start);
        let end = chunks.partition_point(|chunk| u64::from(chunk.offset) < range.end);
        let Some(wanted) = chunks.get(first..end).filter(|wanted| !wanted.is_empty()) else { return Ok(Bytes::new()) };
        let raw_start = wanted.first().map_or(0, |chunk| u64::from(chunk.offset)) - first as u64 * HEADER;
        let raw_len: u64 = wanted.iter().map(|chunk| u64::from(chunk.raw_len)).sum();
        let mut raw = self.read_blocks(place, coded, raw_start..raw_start + raw_len, 0).await?.into_iter();
        let mut piece = Bytes::new();
        let mut body = BytesMut::with_capacity((raw_len + wanted.len() as u64 * HEADER) as usize);
        for chunk in wanted {
            let mut left = chunk.raw_len as usize;
            body.put_slice(&ChunkHeader::new(Scheme::None, left, left)?.to_bytes());
            while left > 0 {
                if piece.is_empty() {
                    piece = raw.next().ok_or_else(|| corrupt(place, 0, "bytes are missing at its end".to_owned()))?;
                }
                let part = piece.split_to(left.min(piece.len()));
                left -= part.len();
                body.put(part);
            }
        }
        let skip = range.start.saturating_sub(wanted.first().map_or(0, |chunk| u64::from(chunk.offset))) as usize;
        let mut body = body.freeze();
        let _ = body.split_to(skip.min(body.len()));
        body.truncate((range.end - range.start) as usize);
        Ok(body)
    }
}

/// Notes what a block is coded against: the run before is made longer where it goes on.
fn base_of(
    place: &Place,
    coded: &Blocks,
    number: usize,
    len: usize,
    runs: &mut Vec<BaseRun>,
) -> Result<(usize, Range<usize>), StoreError> {
    let wrong = || corrupt(place, number, "the base that it needs is not named".to_owned());
    let base = coded.blocks.get(number).and_then(|block| block.base).ok_or_else(wrong)?;
    let sha256 = *coded.bases.get(base.number as usize).ok_or_else(wrong)?;
    let range = base.offset..base.offset.checked_add(len as u64).ok_or_else(wrong)?;
    match runs.last_mut() {
        Some(run) if run.sha256 == sha256 && run.range.end == range.start => run.range.end = range.end,
        _ => runs.push(BaseRun { sha256, range: range.clone() }),
    }
    let at = runs.len() - 1;
    let from = runs.last().map_or(0, |run| (range.start - run.range.start) as usize);
    Ok((at, from..from + len))
}

fn key(place: &Place, block: &StoredBlock) -> (PackId, u64) {
    // A block that takes no bytes lies where the next one does; it is told apart by where its raw bytes begin.
    let at = place.record.body_offset + block.stored().start;
    (place.record.pack.clone(), at << 1 | u64::from(block.descriptor.stored_len == 0))
}

fn stored(coded: &Blocks, number: usize) -> Result<Range<u64>, StoreError> {
    let block = coded.blocks.get(number);
    block
        .map(StoredBlock::stored)
        .ok_or_else(|| StoreError::Task("a block that is not listed was asked for".to_owned()))
}

/// What is wrong with a block, and where.
pub(super) fn corrupt(place: &Place, number: usize, detail: String) -> StoreError {
    let at = place.blocks.as_ref().and_then(|coded| coded.blocks.get(number)).map_or(0, |block| block.raw_start);
    StoreError::Corrupt {
        what: format!("block {number} (bytes from {at}) of xorb {} in pack {}", place.record.hash, place.record.pack),
        detail,
    }
}
