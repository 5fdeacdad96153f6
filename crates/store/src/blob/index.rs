//! The index of a xorb in a pack, and the cache of those in use.
//!
//! Of a xorb that lies as it arrived:
//!
//! | offset | size | field |
//! |---|---|---|
//! | 0 | 44 n | chunks: hash (32), raw length u32, stored length with its header u32, CRC-32C of the record u32 |
//! | 44 n | 4 | CRC-32C of the chunks above |
//!
//! Of a coded one see [`super::blocks`].

use std::sync::Arc;

use quick_cache::Weighter;
use quick_cache::sync::Cache;
use weighthouse_format::xet::hash::XetHash;
use weighthouse_format::xet::xorb::{XorbChunk, XorbListing};

use super::blocks::{Blocks, StoredBlock};
use crate::Store;
use crate::catalog::{PackId, XorbForm, XorbRecord};
use crate::error::StoreError;

pub(super) const CHUNK_BYTES: usize = 44;

/// Memory for cached indexes, in bytes: those of about 30 GiB of files.
const CACHE_BYTES: u64 = 24 << 20;

/// A xorb: where it lies and what is in it.
#[derive(Debug)]
pub struct Place {
    /// Where it lies.
    pub record: XorbRecord,
    /// What is in it. Of a coded xorb: what its chunk records are when they are made up on the way out.
    pub listing: XorbListing,
    /// How its bytes are coded.
    pub(super) blocks: Option<Blocks>,
}

pub(crate) type PlaceCache = Cache<XetHash, Arc<Place>, ByBytes>;

#[derive(Clone)]
pub(crate) struct ByBytes;

impl Weighter<XetHash, Arc<Place>> for ByBytes {
    fn weight(&self, _: &XetHash, place: &Arc<Place>) -> u64 {
        let blocks = place.blocks.as_ref().map_or(0, |blocks| blocks.blocks.len() * size_of::<StoredBlock>());
        (place.listing.chunks.len() * size_of::<XorbChunk>() + blocks + size_of::<Place>()) as u64
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
        self.fresh_place(hash).await
    }

    /// Place of a xorb as the catalog has it now, whatever this process remembers.
    pub(super) async fn fresh_place(&self, hash: &XetHash) -> Result<Option<Arc<Place>>, StoreError> {
        match self.catalog().packs().xorbs(&[*hash]).await?.pop() {
            Some(record) => Ok(Some(self.load_place(record).await?)),
            None => {
                self.places().remove(hash);
                Ok(None)
            }
        }
    }

    /// Place of a xorb in this very pack: where it lies, or where it lay before it was coded anew.
    pub async fn place_in(&self, hash: &XetHash, pack: &PackId) -> Result<Option<Arc<Place>>, StoreError> {
        let known = self.place(hash).await?.filter(|place| place.record.pack == *pack);
        if known.is_some() {
            return Ok(known);
        }
        let fresh = self.fresh_place(hash).await?.filter(|place| place.record.pack == *pack);
        if fresh.is_some() {
            return Ok(fresh);
        }
        match self.catalog().recodes().former(hash, pack).await? {
            Some(record) => Ok(Some(Arc::new(self.read_place(record).await?))),
            None => Ok(None),
        }
    }

    pub(crate) async fn load_place(&self, record: XorbRecord) -> Result<Arc<Place>, StoreError> {
        if let Some(place) = self.places().get(&record.hash).filter(|place| place.record == record) {
            return Ok(place);
        }
        let place = Arc::new(self.read_place(record).await?);
        self.places().insert(place.record.hash, Arc::clone(&place));
        Ok(place)
    }

    pub(super) async fn read_place(&self, record: XorbRecord) -> Result<Place, StoreError> {
        let end = record.index_offset.checked_add(record.index_len);
        let damaged = || StoreError::Corrupt {
            what: format!("index of xorb {} in pack {}", record.hash, record.pack),
            detail: "its checksum or its lengths are wrong".to_owned(),
        };
        // The longest index there can be: nothing else is read into memory on the word of the catalog.
        let end = end.filter(|_| record.index_len <= super::blocks::MAX_INDEX_BYTES).ok_or_else(damaged)?;
        let data = self.blobs().read(&record.pack.key(), record.index_offset..end).await?;
        let decoded = match record.form {
            XorbForm::Arrived => decode(&record, &data).map(|listing| (listing, None)),
            XorbForm::Coded => super::blocks::decode(&record, &data).map(|(listing, blocks)| (listing, Some(blocks))),
        };
        let (listing, blocks) = decoded.ok_or_else(damaged)?;
        Ok(Place { record, listing, blocks })
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
