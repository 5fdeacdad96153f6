//! Reading the table at the end of a pack, for when the catalog is not enough.

use weighthouse_format::xet::hash::XetHash;

use super::blocks::{CHUNK_BYTES as CODED_CHUNK_BYTES, HEAD_BYTES, MAX_INDEX_BYTES};
use super::index::CHUNK_BYTES;
use crate::Store;
use crate::catalog::{MAX_DEPTH, PackId, XorbForm, XorbRecord};
use crate::error::StoreError;

/// Bytes of one line of the table.
const LINE: u64 = 60;
/// Number, checksum, magic.
const END: u64 = 16;
/// Bytes before the first body.
const START: u64 = 16;

/// Xorbs that a pack of `size_bytes` says it holds.
///
/// # Errors
/// [`StoreError::Corrupt`] when the end of the pack is not what it should be.
pub(crate) async fn read(store: &Store, pack: &PackId, size_bytes: u64) -> Result<Vec<XorbRecord>, StoreError> {
    let wrong = |detail: &str| StoreError::Corrupt { what: format!("pack {pack}"), detail: detail.to_owned() };
    let key = pack.key();
    let end_at = size_bytes.checked_sub(END).filter(|at| *at >= START).ok_or_else(|| wrong("it is too short"))?;
    let end = store.blobs().read(&key, end_at..size_bytes).await?;
    let start = store.blobs().read(&key, 0..START).await?;
    if !start.starts_with(b"WHPACK") || !end.ends_with(b"WHPACKED") {
        return Err(wrong("it does not begin or end as a pack does"));
    }
    let word = |at: usize| end.get(at..at + 4).and_then(|b| b.first_chunk()).map_or(0, |b| u32::from_le_bytes(*b));
    let (count, crc) = (word(0), word(4));
    let len = u64::from(count) * LINE;
    let at =
        end_at.checked_sub(len).filter(|at| *at >= START).ok_or_else(|| wrong("its table is longer than itself"))?;
    let table = store.blobs().read(&key, at..end_at + 4).await?;
    if crc_fast::crc32_iscsi(&table) != crc {
        return Err(wrong("the checksum of its table is wrong"));
    }
    let form = match start.get(7) {
        Some(0) => XorbForm::Arrived,
        Some(1) => XorbForm::Coded,
        _ => return Err(wrong("its form is unknown")),
    };
    // Indexes lie back to back, the last before the table.
    let lines = table.chunks_exact(LINE as usize);
    let starts: Vec<u64> = lines.map(|line| number(line, 48)).collect();
    let mut ends = starts.iter().copied().skip(1).chain(std::iter::once(at));
    let mut records = Vec::with_capacity(count as usize);
    for line in table.chunks_exact(LINE as usize) {
        let Some(hash) = line.first_chunk::<32>() else { break };
        let chunks = line.get(56..60).and_then(|b| b.first_chunk()).map_or(0, |b| u32::from_le_bytes(*b));
        let [body_offset, body_len, index_offset] = [number(line, 32), number(line, 40), number(line, 48)];
        let index_len = ends.next().unwrap_or(0).checked_sub(index_offset);
        let index_len =
            index_len.filter(|len| *len <= MAX_INDEX_BYTES).ok_or_else(|| wrong("its table is not in order"))?;
        let is_inside = |at: u64, len: u64| at.checked_add(len).is_some_and(|end| end <= size_bytes);
        if !is_inside(body_offset, body_len) || !is_inside(index_offset, index_len) {
            return Err(wrong("its table names bytes beyond its end"));
        }
        let index = store.blobs().read(&key, index_offset..index_offset + index_len).await?;
        records.push(XorbRecord {
            hash: XetHash::from_bytes(*hash),
            pack: pack.clone(),
            body_offset,
            body_len,
            index_offset,
            index_len,
            raw_len: raw_len(form, &index, chunks),
            form,
            // What it needs is not in the table: the most that there can be.
            depth: if form == XorbForm::Coded { MAX_DEPTH } else { 0 },
            encoder: 0,
            chunks: chunks.into(),
        });
    }
    Ok(records)
}

/// A number in a line.
fn number(line: &[u8], at: usize) -> u64 {
    line.get(at..at + 8).and_then(|b| b.first_chunk()).map_or(0, |b| u64::from_le_bytes(*b))
}

/// Bytes that the chunks of an index have when decoded.
fn raw_len(form: XorbForm, index: &[u8], chunks: u32) -> u64 {
    let (head, line) = match form {
        XorbForm::Arrived => (0, CHUNK_BYTES),
        XorbForm::Coded => (HEAD_BYTES, CODED_CHUNK_BYTES),
    };
    let lines = index.get(head..).unwrap_or_default().chunks_exact(line).take(chunks as usize);
    lines.filter_map(|line| line.get(32..36)?.first_chunk().map(|b| u64::from(u32::from_le_bytes(*b)))).sum()
}
