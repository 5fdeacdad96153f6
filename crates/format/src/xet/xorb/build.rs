//! Gathering chunks into a xorb.

use super::encode::{ChunkEncoder, SchemeChoice};
use super::listing::{XorbChunk, XorbListing};
use super::{MAX_XORB_CHUNKS, MAX_XORB_RAW};
use crate::error::FormatError;
use crate::xet::hash::{HashTree, XetHash, chunk_hash};

/// A finished xorb.
#[derive(Clone, Debug, PartialEq, Eq)]
#[non_exhaustive]
pub struct Xorb {
    /// Chunk records back to back, without a footer: what a client uploads. Only what was not drained.
    pub body: Vec<u8>,
    /// What the body contains.
    pub listing: XorbListing,
}

/// Appends chunk records until the xorb is full.
///
/// # Example
/// ```
/// use weighthouse_format::xet::xorb::XorbBuilder;
///
/// let mut xorb = XorbBuilder::default();
/// if xorb.fits(5) {
///     xorb.push(b"chunk")?;
/// }
/// let xorb = xorb.finish()?;
/// assert_eq!(xorb.listing.raw_len, 5);
/// # Ok::<(), weighthouse_format::FormatError>(())
/// ```
#[derive(Default)]
pub struct XorbBuilder {
    encoder: ChunkEncoder,
    body: Vec<u8>,
    /// Body bytes that [`drain`](Self::drain) has handed out.
    drained: usize,
    chunks: Vec<XorbChunk>,
    tree: HashTree,
    raw_len: u64,
}

impl std::fmt::Debug for XorbBuilder {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        let chunks = self.chunks.len();
        f.debug_struct("XorbBuilder").field("chunks", &chunks).field("raw_len", &self.raw_len).finish_non_exhaustive()
    }
}

impl XorbBuilder {
    /// An empty xorb whose chunks are encoded by `choice`.
    #[must_use]
    pub fn new(choice: SchemeChoice) -> Self {
        Self { encoder: ChunkEncoder::new(choice), ..Self::default() }
    }

    /// Whether a chunk of `raw_len` bytes still fits.
    #[must_use]
    pub fn fits(&self, raw_len: usize) -> bool {
        self.chunks.len() < MAX_XORB_CHUNKS && self.raw_len + raw_len as u64 <= MAX_XORB_RAW
    }

    /// Appends a chunk and returns its hash.
    ///
    /// # Errors
    /// [`FormatError::TooLarge`] when the chunk does not fit; those of [`ChunkEncoder::encode`].
    pub fn push(&mut self, raw: &[u8]) -> Result<XetHash, FormatError> {
        let hash = chunk_hash(raw);
        self.push_hashed(hash, raw)?;
        Ok(hash)
    }

    /// Appends a chunk whose hash the caller has computed already.
    ///
    /// # Errors
    /// Those of [`XorbBuilder::push`].
    pub fn push_hashed(&mut self, hash: XetHash, raw: &[u8]) -> Result<(), FormatError> {
        if self.chunks.len() >= MAX_XORB_CHUNKS {
            return Err(FormatError::TooLarge {
                what: "number of chunks in the xorb",
                size: self.chunks.len() as u64 + 1,
                limit: MAX_XORB_CHUNKS as u64,
            });
        }
        if !self.fits(raw.len()) {
            return Err(FormatError::TooLarge {
                what: "raw xorb length in bytes",
                size: self.raw_len + raw.len() as u64,
                limit: MAX_XORB_RAW,
            });
        }
        let start = self.body.len();
        let header = self.encoder.encode(raw, &mut self.body)?;
        self.chunks.push(XorbChunk {
            hash,
            raw_len: header.raw_len() as u32,
            stored_len: header.record_len() as u32,
            offset: (self.drained + start) as u32,
            crc32c: crc_fast::crc32_iscsi(self.body.get(start..).unwrap_or_default()),
        });
        self.tree.push(hash, header.raw_len() as u64);
        self.raw_len += header.raw_len() as u64;
        Ok(())
    }

    /// Marks the start of another file, so that its first chunk decides on compression anew.
    pub const fn start_file(&mut self) {
        self.encoder.restart();
    }

    /// Chunks appended so far.
    #[must_use]
    pub fn chunks(&self) -> &[XorbChunk] {
        &self.chunks
    }

    /// Raw bytes appended so far.
    #[must_use]
    pub const fn raw_len(&self) -> u64 {
        self.raw_len
    }

    /// Hands out the body bytes encoded since the last call, so that a whole body need never be in memory.
    pub fn drain(&mut self) -> Vec<u8> {
        self.drained += self.body.len();
        std::mem::take(&mut self.body)
    }

    /// Seals the xorb.
    ///
    /// # Errors
    /// [`FormatError::Empty`] without chunks.
    pub fn finish(self) -> Result<Xorb, FormatError> {
        if self.chunks.is_empty() {
            return Err(FormatError::Empty { what: "xorb" });
        }
        let listing = XorbListing {
            hash: self.tree.root(),
            chunks: self.chunks,
            raw_len: self.raw_len as u32,
            body_len: (self.drained + self.body.len()) as u32,
            footer_len: 0,
        };
        Ok(Xorb { body: self.body, listing })
    }
}
