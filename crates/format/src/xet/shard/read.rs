//! Shard bytes to values.

use super::model::{Shard, ShardChunk, ShardFile, ShardXorb, Term};
use super::{DEDUP_CANDIDATE, RECORD_LEN, TAG, VERSION, WITH_RANGE_HASHES, WITH_SHA256};
use crate::error::FormatError;
use crate::limits::Limits;
use crate::xet::bytes::{take, take_u64};
use crate::xet::chunker::MAX_CHUNK;
use crate::xet::hash::XetHash;
use crate::xet::xorb::{MAX_XORB_CHUNKS, MAX_XORB_RAW};

impl Shard {
    /// Reads a shard, with or without a footer; whatever follows the xorb section is ignored.
    ///
    /// Counts in the shard are compared with the bytes that are there before anything is stored for them, so memory is
    /// bounded by about the length of `bytes`.
    ///
    /// # Errors
    /// [`FormatError::TooLarge`] above `limits.shard_bytes`; [`FormatError::BadMagic`], [`FormatError::UnknownVersion`]
    /// and [`FormatError::Truncated`] for broken frames; [`FormatError::Rule`], [`FormatError::Empty`],
    /// [`FormatError::TooLarge`] and [`FormatError::LengthMismatch`] when entries contradict each other or the bounds
    /// of xorbs and chunks.
    pub fn parse(bytes: &[u8], limits: &Limits) -> Result<Self, FormatError> {
        at_most("shard length in bytes", bytes.len() as u64, limits.shard_bytes)?;
        let mut input = bytes;
        if take(&mut input, "shard header")? != TAG {
            return Err(FormatError::BadMagic { what: "shard" });
        }
        let version = take_u64(&mut input, "shard header")?;
        if version != VERSION {
            return Err(FormatError::UnknownVersion { what: "shard", version });
        }
        take_u64(&mut input, "shard header")?;

        let (records, _) = input.as_chunks::<RECORD_LEN>();
        let mut records = Records { rest: records };
        let mut shard = Self::default();
        while let Some(file) = read_file(&mut records)? {
            if shard.files.first().is_some_and(|first| first.range_hashes.is_some() != file.range_hashes.is_some()) {
                return Err(FormatError::Rule { what: "shard", rule: "all files have range hashes, or none" });
            }
            shard.files.push(file);
        }
        while let Some(xorb) = read_xorb(&mut records)? {
            shard.xorbs.push(xorb);
        }
        Ok(shard)
    }
}

/// A record: a hash and four words.
struct Record {
    hash: XetHash,
    words: [u32; 4],
}

struct Records<'a> {
    rest: &'a [[u8; RECORD_LEN]],
}

impl<'a> Records<'a> {
    fn next(&mut self, what: &'static str) -> Result<Record, FormatError> {
        let [record] = self.take(1, what)? else {
            return Err(FormatError::Empty { what });
        };
        Ok(split(record))
    }

    /// The next `count` records, of which all are there.
    fn take(&mut self, count: u32, what: &'static str) -> Result<&'a [[u8; RECORD_LEN]], FormatError> {
        let Some((taken, rest)) = self.rest.split_at_checked(count as usize) else {
            return Err(FormatError::Truncated {
                what,
                needed: u64::from(count) * RECORD_LEN as u64,
                got: (self.rest.len() * RECORD_LEN) as u64,
            });
        };
        self.rest = rest;
        Ok(taken)
    }
}

fn split(record: &[u8; RECORD_LEN]) -> Record {
    let mut hash = [0; 32];
    let mut words = [0; 4];
    let (head, tail) = record.split_at(32);
    hash.copy_from_slice(head);
    for (word, &bytes) in words.iter_mut().zip(tail.as_chunks::<4>().0) {
        *word = u32::from_le_bytes(bytes);
    }
    Record { hash: XetHash::from_bytes(hash), words }
}

fn read_file(records: &mut Records<'_>) -> Result<Option<ShardFile>, FormatError> {
    let Record { hash, words: [flags, count, ..] } = records.next("file section")?;
    if hash == XetHash::BOOKEND {
        return Ok(None);
    }
    let terms = records.take(count, "terms of a file")?.iter().map(read_term).collect::<Result<_, _>>()?;
    let range_hashes = (flags & WITH_RANGE_HASHES != 0)
        .then(|| {
            Ok::<_, FormatError>(records.take(count, "range hashes of a file")?.iter().map(|r| split(r).hash).collect())
        })
        .transpose()?;
    let sha256 = (flags & WITH_SHA256 != 0)
        .then(|| Ok::<_, FormatError>(records.next("SHA-256 of a file")?.hash.to_sha256()))
        .transpose()?;
    Ok(Some(ShardFile { file_hash: hash, terms, range_hashes, sha256 }))
}

fn read_term(record: &[u8; RECORD_LEN]) -> Result<Term, FormatError> {
    let Record { hash: xorb, words: [_, unpacked_bytes, start, end] } = split(record);
    if start >= end {
        return Err(FormatError::Empty { what: "chunk range of a term" });
    }
    at_most("end of the chunk range of a term", end.into(), MAX_XORB_CHUNKS as u64)?;
    at_most("raw length of a term in bytes", unpacked_bytes.into(), MAX_XORB_RAW)?;
    if unpacked_bytes < end - start {
        return Err(FormatError::Rule { what: "term", rule: "every chunk has at least one byte" });
    }
    Ok(Term { xorb, unpacked_bytes, start, end })
}

fn read_xorb(records: &mut Records<'_>) -> Result<Option<ShardXorb>, FormatError> {
    let Record { hash, words: [_, count, raw_bytes, stored_bytes] } = records.next("xorb section")?;
    if hash == XetHash::BOOKEND {
        return Ok(None);
    }
    at_most("number of chunks in the xorb", count.into(), MAX_XORB_CHUNKS as u64)?;
    at_most("raw xorb length in bytes", raw_bytes.into(), MAX_XORB_RAW)?;
    if count == 0 {
        return Err(FormatError::Empty { what: "listed xorb" });
    }
    let mut next = 0u32;
    let mut chunks = Vec::new();
    for record in records.take(count, "chunks of a xorb")? {
        let Record { hash, words: [offset, raw_len, flags, _] } = split(record);
        if raw_len == 0 {
            return Err(FormatError::Empty { what: "listed chunk" });
        }
        at_most("raw chunk length in bytes", raw_len.into(), MAX_CHUNK as u64)?;
        if offset != next {
            return Err(FormatError::LengthMismatch {
                what: "raw offset of a listed chunk",
                expected: next.into(),
                actual: offset.into(),
            });
        }
        // 8,192 chunks of 128 KiB are 1 GiB: no overflow.
        next += raw_len;
        chunks.push(ShardChunk { hash, offset, raw_len, dedup_candidate: flags & DEDUP_CANDIDATE != 0 });
    }
    if next != raw_bytes {
        return Err(FormatError::LengthMismatch {
            what: "sum of the listed chunks in bytes",
            expected: raw_bytes.into(),
            actual: next.into(),
        });
    }
    Ok(Some(ShardXorb { hash, raw_bytes, stored_bytes, chunks }))
}

fn at_most(what: &'static str, size: u64, limit: u64) -> Result<(), FormatError> {
    if size > limit { Err(FormatError::TooLarge { what, size, limit }) } else { Ok(()) }
}
