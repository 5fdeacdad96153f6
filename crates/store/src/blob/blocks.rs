//! The index of a coded xorb: its chunks, and the blocks that its bytes lie in.
//!
//! | offset | size | field |
//! |---|---|---|
//! | 0 | 4 | number of chunks u32 |
//! | 4 | 4 | number of bases u32 |
//! | 8 | 4 | number of blocks u32 |
//! | 12 | 36 c | chunks: hash (32), raw length u32 |
//! | | 32 b | bases: SHA-256 of a content |
//! | | 28 n | blocks: descriptor (16, see [`super::codec`]), number of the base from 1 on or 0 u32, first byte in it u64 |
//! | | 4 | CRC-32C of all bytes above |
//!
//! Integers are little-endian. The blocks cover the raw bytes of all chunks, in order; their stored bytes lie back to back
//! in the body. Chunks and blocks are cut independently of each other: chunks by content, as names; blocks at the borders of
//! tensors, as units of storage.

use std::ops::Range;

use weighthouse_format::xet::hash::XetHash;
use weighthouse_format::xet::xorb::{CHUNK_HEADER_LEN, MAX_XORB_CHUNKS, MAX_XORB_RAW, XorbChunk, XorbListing};

use super::codec::Descriptor;
use crate::catalog::XorbRecord;
use crate::digest::Sha256;

pub(super) const HEAD_BYTES: usize = 12;
pub(super) const CHUNK_BYTES: usize = 36;
const BASE_BYTES: usize = 32;
const BLOCK_BYTES: usize = Descriptor::BYTES + 12;

/// Blocks of one xorb; more are never written and never read.
pub(super) const MAX_BLOCKS: usize = 1 << 16;
/// Bases of one xorb.
pub(super) const MAX_BASES: usize = 1 << 12;
/// Bytes of the longest index.
pub(super) const MAX_INDEX_BYTES: u64 =
    (HEAD_BYTES + MAX_XORB_CHUNKS * 44 + MAX_BASES * BASE_BYTES + MAX_BLOCKS * BLOCK_BYTES + 4) as u64;

/// How the bytes of a coded xorb lie.
#[derive(Debug, Default)]
pub(super) struct Blocks {
    /// Contents that blocks are coded against.
    pub bases: Vec<Sha256>,
    /// In the order of the raw bytes.
    pub blocks: Vec<StoredBlock>,
}

/// One block at rest.
#[derive(Clone, Copy, Debug)]
pub(super) struct StoredBlock {
    /// What is known of it.
    pub descriptor: Descriptor,
    /// First raw byte in the xorb.
    pub raw_start: u32,
    /// First stored byte in the body.
    pub stored_start: u32,
    /// What it is coded against.
    pub base: Option<BlockBase>,
}

/// Where the same elements lie elsewhere.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) struct BlockBase {
    /// Number in [`Blocks::bases`].
    pub number: u32,
    /// First byte in that content.
    pub offset: u64,
}

impl StoredBlock {
    /// Raw bytes in the xorb.
    pub fn raw(&self) -> Range<u64> {
        let start = u64::from(self.raw_start);
        start..start + u64::from(self.descriptor.raw_len)
    }

    /// Stored bytes in the body.
    pub fn stored(&self) -> Range<u64> {
        let start = u64::from(self.stored_start);
        start..start + u64::from(self.descriptor.stored_len)
    }
}

impl Blocks {
    /// Numbers of the blocks that hold any of these raw bytes.
    pub fn over(&self, raw: &Range<u64>) -> Range<usize> {
        let first = self.blocks.partition_point(|block| block.raw().end <= raw.start);
        let end = self.blocks.partition_point(|block| block.raw().start < raw.end);
        first..end.max(first)
    }
}

/// Chunk records as they are made up for clients: nothing in them is compressed.
pub(super) fn virtual_listing(hash: XetHash, chunks: impl Iterator<Item = (XetHash, u32)>) -> Option<XorbListing> {
    let (mut offset, mut raw_len) = (0u32, 0u32);
    let mut listed = Vec::new();
    for (hash, raw) in chunks {
        let stored_len = raw.checked_add(CHUNK_HEADER_LEN as u32)?;
        listed.push(XorbChunk { hash, raw_len: raw, stored_len, offset, crc32c: 0 });
        offset = offset.checked_add(stored_len)?;
        raw_len = raw_len.checked_add(raw)?;
    }
    Some(XorbListing { hash, chunks: listed, raw_len, body_len: offset, footer_len: 0 })
}

/// Bytes that an index takes.
pub(super) fn encoded_len(listing: &XorbListing, coded: &Blocks) -> usize {
    HEAD_BYTES
        + listing.chunks.len() * CHUNK_BYTES
        + coded.bases.len() * BASE_BYTES
        + coded.blocks.len() * BLOCK_BYTES
        + size_of::<u32>()
}

pub(super) fn encode(listing: &XorbListing, coded: &Blocks) -> Vec<u8> {
    let mut out = Vec::with_capacity(encoded_len(listing, coded));
    for count in [listing.chunks.len(), coded.bases.len(), coded.blocks.len()] {
        out.extend_from_slice(&(count as u32).to_le_bytes());
    }
    for chunk in &listing.chunks {
        out.extend_from_slice(chunk.hash.as_bytes());
        out.extend_from_slice(&chunk.raw_len.to_le_bytes());
    }
    for base in &coded.bases {
        out.extend_from_slice(&base.0);
    }
    for block in &coded.blocks {
        out.extend_from_slice(&block.descriptor.to_bytes());
        let (number, offset) = block.base.map_or((0, 0), |base| (base.number + 1, base.offset));
        out.extend_from_slice(&number.to_le_bytes());
        out.extend_from_slice(&offset.to_le_bytes());
    }
    let crc = crc_fast::crc32_iscsi(&out);
    out.extend_from_slice(&crc.to_le_bytes());
    out
}

/// Reads an index; `None` when it is not one of this xorb.
pub(super) fn decode(record: &XorbRecord, data: &[u8]) -> Option<(XorbListing, Blocks)> {
    let (data, crc) = data.split_last_chunk::<4>()?;
    if crc_fast::crc32_iscsi(data) != u32::from_le_bytes(*crc) {
        return None;
    }
    let (head, rest) = data.split_first_chunk::<HEAD_BYTES>()?;
    let ([chunks, bases, blocks], []) = head.as_chunks::<4>() else { return None };
    let count = |bytes: &[u8; 4], most: usize| Some(u32::from_le_bytes(*bytes) as usize).filter(|count| *count <= most);
    let chunks = count(chunks, MAX_XORB_CHUNKS)?;
    let bases = count(bases, MAX_BASES)?;
    let blocks = count(blocks, MAX_BLOCKS)?;
    let (chunks, rest) = rest.split_at_checked(chunks * CHUNK_BYTES)?;
    let (bases, blocks) =
        rest.split_at_checked(bases * BASE_BYTES).filter(|(_, rest)| rest.len() == blocks * BLOCK_BYTES)?;
    let chunk = |bytes: &[u8; CHUNK_BYTES]| {
        let (hash, raw) = bytes.split_first_chunk::<32>()?;
        Some((XetHash::from_bytes(*hash), u32::from_le_bytes(*raw.first_chunk()?)))
    };
    let chunks: Option<Vec<_>> = chunks.as_chunks::<CHUNK_BYTES>().0.iter().map(chunk).collect();
    let listing = virtual_listing(record.hash, chunks?.into_iter())?;
    let bases: Vec<Sha256> = bases.as_chunks::<BASE_BYTES>().0.iter().map(|bytes| Sha256(*bytes)).collect();
    let mut coded = Blocks { bases, blocks: Vec::with_capacity(blocks.len() / BLOCK_BYTES) };
    let (mut raw_start, mut stored_start) = (0u32, 0u32);
    for bytes in blocks.as_chunks::<BLOCK_BYTES>().0 {
        let (descriptor, rest) = bytes.split_first_chunk::<{ Descriptor::BYTES }>()?;
        let (number, offset) = rest.split_first_chunk::<4>()?;
        let descriptor = Descriptor::from_bytes(descriptor).ok()?;
        let base = match u32::from_le_bytes(*number) {
            0 => None,
            number if number as usize <= coded.bases.len() => {
                Some(BlockBase { number: number - 1, offset: u64::from_le_bytes(*offset.first_chunk()?) })
            }
            _ => return None,
        };
        coded.blocks.push(StoredBlock { descriptor, raw_start, stored_start, base });
        raw_start = raw_start.checked_add(descriptor.raw_len)?;
        stored_start = stored_start.checked_add(descriptor.stored_len)?;
    }
    let whole = raw_start == listing.raw_len
        && u64::from(raw_start) == record.raw_len
        && u64::from(raw_start) <= MAX_XORB_RAW
        && u64::from(stored_start) == record.body_len;
    whole.then_some((listing, coded))
}
