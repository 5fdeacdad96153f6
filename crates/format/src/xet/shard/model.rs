//! What a shard says, as values.

use crate::xet::hash::XetHash;

/// Files and xorbs in the order of the shard.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Shard {
    /// Files and how to put them together.
    pub files: Vec<ShardFile>,
    /// Xorbs and what they contain.
    pub xorbs: Vec<ShardXorb>,
}

/// A file as a list of chunk ranges.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct ShardFile {
    /// File hash.
    pub file_hash: XetHash,
    /// Chunk ranges in file order; none for the empty file.
    pub terms: Vec<Term>,
    /// One range hash per term.
    pub range_hashes: Option<Vec<XetHash>>,
    /// SHA-256 of the whole file as its sender claims it, in the ordinary byte order.
    pub sha256: Option<[u8; 32]>,
}

/// A range of chunks of one xorb.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct Term {
    /// Hash of the xorb.
    pub xorb: XetHash,
    /// Raw bytes of the range.
    pub unpacked_bytes: u32,
    /// Index of the first chunk.
    pub start: u32,
    /// Index after the last chunk.
    pub end: u32,
}

/// A xorb and its chunks.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct ShardXorb {
    /// Hash of the xorb.
    pub hash: XetHash,
    /// Raw bytes of all chunks.
    pub raw_bytes: u32,
    /// Bytes of the stored body; 0 when the sender did not say.
    pub stored_bytes: u32,
    /// Chunks in order.
    pub chunks: Vec<ShardChunk>,
}

/// A chunk as listed in a shard.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct ShardChunk {
    /// Hash of the chunk; keyed in dedup answers with a key.
    pub hash: XetHash,
    /// Raw bytes of the xorb before this chunk.
    pub offset: u32,
    /// Raw bytes of this chunk.
    pub raw_len: u32,
    /// Whether the sender marked the chunk as worth a dedup query, such as the first chunk of a file.
    pub dedup_candidate: bool,
}

impl Shard {
    /// Raw bytes of all files, as their terms say.
    #[must_use]
    pub fn file_bytes(&self) -> u64 {
        self.files.iter().map(ShardFile::len_bytes).sum()
    }
}

impl ShardFile {
    /// Length of the file in bytes, as its terms say.
    #[must_use]
    pub fn len_bytes(&self) -> u64 {
        self.terms.iter().map(|term| u64::from(term.unpacked_bytes)).sum()
    }
}

impl ShardChunk {
    /// Whether clients may ask for this chunk across files: marked, or by its (unkeyed) hash.
    #[must_use]
    pub const fn is_eligible(&self) -> bool {
        self.dedup_candidate || self.hash.is_global_dedup_eligible()
    }
}
