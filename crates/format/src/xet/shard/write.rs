//! Values to shard bytes.

use super::footer::{FOOTER_LEN, FooterFields};
use super::model::{Shard, ShardFile, ShardXorb};
use super::{DEDUP_CANDIDATE, RECORD_LEN, TAG, VERSION, WITH_RANGE_HASHES, WITH_SHA256};
use crate::error::FormatError;
use crate::xet::hash::XetHash;

impl Shard {
    /// Bytes to upload: both sections, no footer.
    ///
    /// # Errors
    /// [`FormatError::LengthMismatch`] when a file has another number of range hashes than of terms,
    /// [`FormatError::TooLarge`] when a list is too long for its count, [`FormatError::Rule`] for a hash of all ones.
    pub fn to_upload(&self) -> Result<Vec<u8>, FormatError> {
        let mut out = Vec::new();
        write_header(0, &mut out);
        for file in &self.files {
            write_file(file, &mut out)?;
        }
        write_bookend(&mut out);
        for xorb in &self.xorbs {
            write_xorb(xorb, None, &mut out)?;
        }
        write_bookend(&mut out);
        Ok(out)
    }
}

/// How a dedup answer is written.
#[derive(Clone, Copy, Debug)]
#[non_exhaustive]
pub struct DedupOptions {
    /// Key that hides chunk hashes from those who do not hold the data; `None` or zero writes them openly.
    pub hmac_key: Option<[u8; 32]>,
    /// Creation in seconds since 1970; 0 when unknown. Clients evict their oldest answers first.
    pub created_s: u64,
    /// Seconds since 1970 after which clients no longer use the answer; `u64::MAX` for never.
    pub expires_s: u64,
    /// Whether lookup tables for xorbs and chunks are added; all known clients manage without, and 16 bytes a chunk are
    /// saved, but with them they need not read the listing to find a chunk. On by default.
    pub lookup_tables: bool,
}

impl Default for DedupOptions {
    fn default() -> Self {
        Self { hmac_key: None, created_s: 0, expires_s: u64::MAX, lookup_tables: true }
    }
}

/// Bytes of a dedup answer that lists `xorbs` and no file, with the footer that clients require.
///
/// Hashes in `xorbs` are the open ones; the key of the options is applied here.
///
/// # Errors
/// [`FormatError::TooLarge`] when the answer cannot be indexed in 32 bits, [`FormatError::Rule`] for a hash of all ones.
pub fn write_dedup(xorbs: &[ShardXorb], options: &DedupOptions) -> Result<Vec<u8>, FormatError> {
    let key = options.hmac_key.filter(|key| *key != [0; 32]);
    let mut out = Vec::new();
    let mut footer = FooterFields {
        hmac_key: key.unwrap_or_default(),
        created_s: options.created_s,
        expires_s: options.expires_s,
        ..FooterFields::default()
    };
    write_header(FOOTER_LEN as u64, &mut out);
    footer.file_section = out.len() as u64;
    write_bookend(&mut out);
    footer.xorb_section = out.len() as u64;

    let mut by_xorb = Vec::new();
    let mut by_chunk = Vec::new();
    let mut index = 0u32;
    for xorb in xorbs {
        by_xorb.push((xorb.hash.first_word(), index));
        for (position, chunk) in (0u32..).zip(&xorb.chunks) {
            let hash = key.map_or(chunk.hash, |key| chunk.hash.keyed(&key));
            by_chunk.push((hash.first_word(), index, position));
        }
        let records = write_xorb(xorb, key.as_ref(), &mut out)?;
        index = index.checked_add(records).ok_or(FormatError::TooLarge {
            what: "number of records in the shard",
            size: u64::from(index) + u64::from(records),
            limit: u32::MAX.into(),
        })?;
        footer.stored_bytes += u64::from(xorb.stored_bytes);
        footer.raw_bytes += u64::from(xorb.raw_bytes);
    }
    write_bookend(&mut out);

    if !options.lookup_tables {
        by_xorb.clear();
        by_chunk.clear();
    }
    by_xorb.sort_unstable();
    by_chunk.sort_unstable();
    let files_at = out.len() as u64;
    for (hash, record) in &by_xorb {
        out.extend(hash.to_le_bytes());
        out.extend(record.to_le_bytes());
    }
    let chunks_at = out.len() as u64;
    for (hash, record, position) in &by_chunk {
        out.extend(hash.to_le_bytes());
        out.extend(record.to_le_bytes());
        out.extend(position.to_le_bytes());
    }
    footer.tables = [(files_at, 0), (files_at, by_xorb.len() as u64), (chunks_at, by_chunk.len() as u64)];
    footer.write(&mut out);
    Ok(out)
}

fn write_header(footer_len: u64, out: &mut Vec<u8>) {
    out.extend(TAG);
    out.extend(VERSION.to_le_bytes());
    out.extend(footer_len.to_le_bytes());
}

fn write_record(hash: &XetHash, words: [u32; 4], out: &mut Vec<u8>) {
    out.extend(hash.as_bytes());
    for word in words {
        out.extend(word.to_le_bytes());
    }
}

/// Refuses the hash that would end the section.
fn not_bookend(hash: &XetHash) -> Result<(), FormatError> {
    if *hash == XetHash::BOOKEND {
        return Err(FormatError::Rule { what: "shard", rule: "no file or xorb hashes to all ones" });
    }
    Ok(())
}

fn write_bookend(out: &mut Vec<u8>) {
    write_record(&XetHash::BOOKEND, [0; 4], out);
}

fn count(len: usize, what: &'static str) -> Result<u32, FormatError> {
    let limit = u32::MAX - 1;
    u32::try_from(len).ok().filter(|&len| len <= limit).ok_or(FormatError::TooLarge {
        what,
        size: len as u64,
        limit: limit.into(),
    })
}

fn write_file(file: &ShardFile, out: &mut Vec<u8>) -> Result<(), FormatError> {
    not_bookend(&file.file_hash)?;
    let mut flags = 0;
    if let Some(hashes) = &file.range_hashes {
        flags |= WITH_RANGE_HASHES;
        if hashes.len() != file.terms.len() {
            return Err(FormatError::LengthMismatch {
                what: "number of range hashes",
                expected: file.terms.len() as u64,
                actual: hashes.len() as u64,
            });
        }
    }
    if file.sha256.is_some() {
        flags |= WITH_SHA256;
    }
    write_record(&file.file_hash, [flags, count(file.terms.len(), "number of terms")?, 0, 0], out);
    for term in &file.terms {
        write_record(&term.xorb, [0, term.unpacked_bytes, term.start, term.end], out);
    }
    for hash in file.range_hashes.iter().flatten() {
        write_record(hash, [0; 4], out);
    }
    if let Some(digest) = &file.sha256 {
        write_record(&XetHash::from_sha256(digest), [0; 4], out);
    }
    Ok(())
}

/// Appends a xorb and returns the number of records written.
fn write_xorb(xorb: &ShardXorb, key: Option<&[u8; 32]>, out: &mut Vec<u8>) -> Result<u32, FormatError> {
    not_bookend(&xorb.hash)?;
    let entries = count(xorb.chunks.len(), "number of chunks in the xorb")?;
    out.reserve((xorb.chunks.len() + 1) * RECORD_LEN);
    write_record(&xorb.hash, [0, entries, xorb.raw_bytes, xorb.stored_bytes], out);
    for chunk in &xorb.chunks {
        let hash = key.map_or(chunk.hash, |key| chunk.hash.keyed(key));
        let flags = if chunk.dedup_candidate { DEDUP_CANDIDATE } else { 0 };
        write_record(&hash, [chunk.offset, chunk.raw_len, flags, 0], out);
    }
    Ok(entries + 1)
}
