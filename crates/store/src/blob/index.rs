//! The index of a xorb in a pack, and the cache of those in use.
//!
//! | offset | size | field |
//! |---|---|---|
//! | 0 | 44 n | chunks: hash (32), raw length u32, stored length with its header u32, CRC-32C of the record u32 |
//! | 44 n | 4 | CRC-32C of the chunks above |

use std::sync::Arc;

use quick_cache::Weighter;
use quick_cache::sync::Cache;
use weighthouse_format::xet::hash::XetHash;
use weighthouse_format::xet::xorb::{XorbChunk, XorbListing};

use crate::Store;
use crate::catalog::XorbRecord;
use crate::error::StoreError;

const CHUNK_BYTES: usize = 44;

/// Memory for cached indexes, in bytes: those of about 30 GiB of files.
const CACHE_BYTES: u64 = 24 << 20;

/// A xorb: where it lies and what is in it.
#[derive(Debug)]
pub struct Place {
    /// Where it lies.
    pub record: XorbRecord,
    /// What is in it.
    pub listing: XorbListing,
}

pub(crate) type PlaceCache = Cache<XetHash, Arc<Place>, ByBytes>;

#[derive(Clone)]
pub(crate) struct ByBytes;

impl Weighter<XetHash, Arc<Place>> for ByBytes {
    fn weight(&self, _: &XetHash, place: &Arc<Place>) -> u64 {
        (place.listing.chunks.len() * size_of::<XorbChunk>() + size_of::<Place>()) as u64
    }
}

pub(crate) fn place_cache() -> PlaceCache {
    Cache::with_weighter(500, CACHE_BYTES, ByBytes)
}

impl Store {
    /// Place of a xorb, if it is on record.
    pub async fn place(&self, hash: &XetHash) -> Result<Option<Arc<Place>>, StoreError> {
        if let Some(place) = self.places().get(hash) {
            return Ok(Some(place));
        }
        match self.catalog().packs().xorbs(&[*hash]).await?.pop() {
            Some(record) => Ok(Some(self.load_place(record).await?)),
            None => Ok(None),
        }
    }

    pub(crate) async fn load_place(&self, record: XorbRecord) -> Result<Arc<Place>, StoreError> {
        if let Some(place) = self.places().get(&record.hash) {
            return Ok(place);
        }
        let range = record.index_offset..record.index_offset + record.index_len;
        let data = self.blobs().read(&record.pack.key(), range).await?;
        let listing = decode(&record, &data).ok_or_else(|| StoreError::Corrupt {
            what: format!("index of xorb {} in pack {}", record.hash, record.pack),
            detail: "its checksum or its lengths are wrong".to_owned(),
        })?;
        let place = Arc::new(Place { record, listing });
        self.places().insert(place.record.hash, Arc::clone(&place));
        Ok(place)
    }
}

pub(super) fn encode(listing: &XorbListing) -> Vec<u8> {
    let mut out = Vec::with_capacity(listing.chunks.len() * CHUNK_BYTES + 4);
    for chunk in &listing.chunks {
        out.extend_from_slice(chunk.hash.as_bytes());
        for number in [chunk.raw_len, chunk.stored_len, chunk.crc32c] {
            out.extend_from_slice(&number.to_le_bytes());
        }
    }
    let crc = crc_fast::crc32_iscsi(&out);
    out.extend_from_slice(&crc.to_le_bytes());
    out
}

fn decode(record: &XorbRecord, data: &[u8]) -> Option<XorbListing> {
    let (data, crc) = data.split_last_chunk::<4>()?;
    if crc_fast::crc32_iscsi(data) != u32::from_le_bytes(*crc) {
        return None;
    }
    let (records, []) = data.as_chunks::<CHUNK_BYTES>() else { return None };
    let mut chunks = Vec::with_capacity(records.len());
    let (mut offset, mut raw_len) = (0u32, 0u32);
    for bytes in records {
        let (hash, rest) = bytes.split_first_chunk::<32>()?;
        let ([raw, stored, crc32c], []) = rest.as_chunks::<4>() else { return None };
        let chunk = XorbChunk {
            hash: XetHash::from_bytes(*hash),
            raw_len: u32::from_le_bytes(*raw),
            stored_len: u32::from_le_bytes(*stored),
            offset,
            crc32c: u32::from_le_bytes(*crc32c),
        };
        offset = offset.checked_add(chunk.stored_len)?;
        raw_len = raw_len.checked_add(chunk.raw_len)?;
        chunks.push(chunk);
    }
    let whole = u64::from(offset) == record.body_len && u64::from(raw_len) == record.raw_len;
    whole.then_some(XorbListing { hash: record.hash, chunks, raw_len, body_len: offset, footer_len: 0 })
}
