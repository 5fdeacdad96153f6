//! What a xorb contains, computed from its bytes.

use std::ops::Range;

use crate::xet::hash::{self, XetHash};

/// One chunk of a xorb.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct XorbChunk {
    /// Hash of the raw bytes.
    pub hash: XetHash,
    /// Raw bytes.
    pub raw_len: u32,
    /// Bytes of the record in the body, header included.
    pub stored_len: u32,
    /// Offset of the record in the body.
    pub offset: u32,
    /// CRC-32C (iSCSI) of the record, header included.
    pub crc32c: u32,
}

impl XorbChunk {
    /// Offset in the body after the record.
    #[must_use]
    pub const fn end(&self) -> u32 {
        self.offset.saturating_add(self.stored_len)
    }
}

/// The contents of a whole xorb.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct XorbListing {
    /// Hash of the xorb.
    pub hash: XetHash,
    /// Its chunks in order, 1 to 8,192 of them.
    pub chunks: Vec<XorbChunk>,
    /// Sum of the raw lengths in bytes, at most 64 MiB.
    pub raw_len: u32,
    /// Length of the body in bytes, without any footer.
    pub body_len: u32,
    /// Length in bytes of the footer that followed the body; 0 without one.
    pub footer_len: u32,
}

impl XorbListing {
    /// Chunks with the indices `range`, or `None` when it is empty, runs backwards or leaves the xorb.
    #[must_use]
    pub fn chunks(&self, range: Range<u32>) -> Option<&[XorbChunk]> {
        let chunks = self.chunks.get(range.start as usize..range.end as usize)?;
        (!chunks.is_empty()).then_some(chunks)
    }

    /// Raw bytes of a chunk range; `None` as for [`chunks`](Self::chunks).
    #[must_use]
    pub fn raw_len_of(&self, range: Range<u32>) -> Option<u32> {
        self.chunks(range)?.iter().try_fold(0u32, |sum, chunk| sum.checked_add(chunk.raw_len))
    }

    /// Bytes of the body that hold a chunk range, headers included; `None` as for [`chunks`](Self::chunks).
    #[must_use]
    pub fn body_range(&self, range: Range<u32>) -> Option<Range<u32>> {
        let chunks = self.chunks(range)?;
        Some(chunks.first()?.offset..chunks.last()?.end())
    }

    /// Range hash of a chunk range, as shards carry it; `None` as for [`chunks`](Self::chunks).
    #[must_use]
    pub fn range_hash(&self, range: Range<u32>) -> Option<XetHash> {
        Some(hash::range_hash(self.chunks(range)?.iter().map(|chunk| &chunk.hash)))
    }
}
