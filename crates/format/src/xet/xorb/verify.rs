//! Checking a xorb while it arrives.

use super::decode::ChunkDecoder;
use super::footer::FooterSkipper;
use super::header::{CHUNK_HEADER_LEN, ChunkHeader};
use super::listing::{XorbChunk, XorbListing};
use super::{FOOTER_IDENT, MAX_XORB_CHUNKS, MAX_XORB_RAW};
use crate::error::FormatError;
use crate::xet::hash::{HashTree, XetHash, chunk_hash};

/// Takes the bytes of an uploaded xorb in pieces of any size, decodes and hashes every chunk.
///
/// Memory: one stored chunk, two raw chunks and the listing. Everything [`push`](Self::push) assigned to the body can
/// be streamed to storage at once; it is proven only when [`finish`](Self::finish) succeeds.
///
/// # Example
/// ```
/// use weighthouse_format::xet::xorb::{XorbBuilder, XorbVerifier};
///
/// let mut xorb = XorbBuilder::default();
/// xorb.push(b"chunk")?;
/// let xorb = xorb.finish()?;
///
/// let mut verifier = XorbVerifier::new();
/// for piece in xorb.body.chunks(3) {
///     let body = verifier.push(piece)?;
///     assert_eq!(body, piece.len());
/// }
/// assert_eq!(verifier.finish(&xorb.listing.hash)?, xorb.listing);
/// # Ok::<(), weighthouse_format::FormatError>(())
/// ```
#[derive(Default)]
pub struct XorbVerifier {
    /// The beginning of a record that arrived in parts.
    pub(super) part: Vec<u8>,
    pub(super) raw: Vec<u8>,
    decoder: ChunkDecoder,
    chunks: Vec<XorbChunk>,
    tree: HashTree,
    body_len: u64,
    raw_len: u64,
    footer: Option<FooterSkipper>,
    /// Whether an earlier piece was refused; nothing after it counts.
    failed: bool,
}

impl std::fmt::Debug for XorbVerifier {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        let chunks = self.chunks.len();
        f.debug_struct("XorbVerifier")
            .field("chunks", &chunks)
            .field("body_len", &self.body_len)
            .finish_non_exhaustive()
    }
}

impl XorbVerifier {
    /// A verifier at the start of a body.
    #[must_use]
    pub fn new() -> Self {
        Self::default()
    }

    /// Takes the next bytes and returns how many of them, from the front, belong to the body.
    ///
    /// The rest, if any, belongs to a footer. After an error the upload is lost; further calls fail.
    ///
    /// # Errors
    /// Every fault that [`ChunkHeader::parse`] and [`ChunkDecoder::decode`] find, and [`FormatError::TooLarge`] for
    /// more than 64 MiB of raw bytes, more than 8,192 chunks or an endless footer.
    pub fn push(&mut self, bytes: &[u8]) -> Result<usize, FormatError> {
        if self.failed {
            return Err(FormatError::Rule { what: "xorb", rule: "nothing follows a refused piece" });
        }
        let taken = self.take(bytes);
        self.failed = taken.is_err();
        taken
    }

    fn take(&mut self, bytes: &[u8]) -> Result<usize, FormatError> {
        let mut rest = bytes;
        while !rest.is_empty() {
            if let Some(footer) = &mut self.footer {
                footer.push(rest, self.chunks.len())?;
                break;
            }
            rest = if self.part.is_empty() { self.take_record(rest)? } else { self.take_part(rest)? };
        }
        let body = bytes.len() - if self.footer.is_some() { rest.len() } else { 0 };
        Ok(body)
    }

    /// At the start of a record: takes a whole one, or begins a part, or finds the footer.
    fn take_record<'a>(&mut self, bytes: &'a [u8]) -> Result<&'a [u8], FormatError> {
        // The version of a chunk header is 0, so the first byte alone tells a footer from a chunk.
        if bytes.first() == FOOTER_IDENT.first() {
            self.footer = Some(FooterSkipper::default());
            return Ok(bytes);
        }
        if let Some((head, after)) = bytes.split_first_chunk::<CHUNK_HEADER_LEN>() {
            let header = self.check(*head)?;
            if let Some((stored, rest)) = after.split_at_checked(header.stored_len()) {
                let record = bytes.get(..header.record_len()).unwrap_or_default();
                self.accept(header, stored, record)?;
                return Ok(rest);
            }
        }
        self.part.extend_from_slice(bytes);
        Ok(&[])
    }

    /// Inside a record: takes what it still needs.
    fn take_part<'a>(&mut self, bytes: &'a [u8]) -> Result<&'a [u8], FormatError> {
        let Some(&head) = self.part.first_chunk::<CHUNK_HEADER_LEN>() else {
            let (more, rest) = bytes.split_at(bytes.len().min(CHUNK_HEADER_LEN - self.part.len()));
            self.part.extend_from_slice(more);
            if let Some(&head) = self.part.first_chunk::<CHUNK_HEADER_LEN>() {
                self.check(head)?;
            }
            return Ok(rest);
        };
        let header = ChunkHeader::parse(head)?;
        let (more, rest) = bytes.split_at(bytes.len().min(header.record_len().saturating_sub(self.part.len())));
        self.part.extend_from_slice(more);
        if self.part.len() == header.record_len() {
            let mut record = std::mem::take(&mut self.part);
            self.accept(header, record.get(CHUNK_HEADER_LEN..).unwrap_or_default(), &record)?;
            record.clear();
            self.part = record;
        }
        Ok(rest)
    }

    /// Parses a header and checks that its chunk still fits, before any of it is decoded.
    fn check(&self, head: [u8; CHUNK_HEADER_LEN]) -> Result<ChunkHeader, FormatError> {
        let header = ChunkHeader::parse(head)?;
        if self.chunks.len() >= MAX_XORB_CHUNKS {
            return Err(FormatError::TooLarge {
                what: "number of chunks in the xorb",
                size: self.chunks.len() as u64 + 1,
                limit: MAX_XORB_CHUNKS as u64,
            });
        }
        let raw_len = self.raw_len + header.raw_len() as u64;
        if raw_len > MAX_XORB_RAW {
            return Err(FormatError::TooLarge { what: "raw xorb length in bytes", size: raw_len, limit: MAX_XORB_RAW });
        }
        Ok(header)
    }

    fn accept(&mut self, header: ChunkHeader, stored: &[u8], record: &[u8]) -> Result<(), FormatError> {
        self.raw.clear();
        self.decoder.decode(header, stored, &mut self.raw)?;
        let hash = chunk_hash(&self.raw);
        self.chunks.push(XorbChunk {
            hash,
            raw_len: header.raw_len() as u32,
            stored_len: record.len() as u32,
            offset: self.body_len as u32,
            crc32c: crc_fast::crc32_iscsi(record),
        });
        self.tree.push(hash, header.raw_len() as u64);
        self.body_len += record.len() as u64;
        self.raw_len += header.raw_len() as u64;
        Ok(())
    }

    /// Chunks verified so far.
    #[must_use]
    pub fn chunks(&self) -> &[XorbChunk] {
        &self.chunks
    }

    /// Bytes of the body verified so far; a record that is still arriving does not count.
    #[must_use]
    pub const fn body_len(&self) -> u64 {
        self.body_len
    }

    /// Ends the upload and compares the computed hash with the one the client gave.
    ///
    /// # Errors
    /// [`FormatError::Truncated`] inside a record or footer, [`FormatError::Empty`] without chunks,
    /// [`FormatError::LengthMismatch`] when bytes follow the footer, [`FormatError::HashMismatch`].
    pub fn finish(self, expected: &XetHash) -> Result<XorbListing, FormatError> {
        let listing = self.finish_unnamed()?;
        if listing.hash != *expected {
            return Err(FormatError::HashMismatch { what: "xorb", expected: *expected, actual: listing.hash });
        }
        Ok(listing)
    }

    /// Ends a xorb whose hash nobody announced.
    ///
    /// # Errors
    /// Those of [`finish`](Self::finish), except for the comparison.
    pub fn finish_unnamed(self) -> Result<XorbListing, FormatError> {
        if self.failed {
            return Err(FormatError::Rule { what: "xorb", rule: "no piece of it was refused" });
        }
        if !self.part.is_empty() {
            let needed = match self.part.first_chunk::<CHUNK_HEADER_LEN>() {
                Some(&head) => ChunkHeader::parse(head)?.record_len(),
                None => CHUNK_HEADER_LEN,
            };
            let got = self.part.len() as u64;
            return Err(FormatError::Truncated { what: "chunk record", needed: needed as u64, got });
        }
        if self.chunks.is_empty() {
            return Err(FormatError::Empty { what: "xorb" });
        }
        let footer_len = self.footer.map_or(Ok(0), |footer| footer.finish())?;
        Ok(XorbListing {
            hash: self.tree.root(),
            chunks: self.chunks,
            raw_len: self.raw_len as u32,
            body_len: self.body_len as u32,
            footer_len: footer_len as u32,
        })
    }
}
