//! How much a reader takes before it gives up.

use crate::error::FormatError;

/// Bounds on untrusted input.
///
/// Start from [`Limits::default`] and change single fields.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
#[non_exhaustive]
pub struct Limits {
    /// Longest header in bytes; 100,000,000 by default, as in the reference reader of safetensors.
    pub header_bytes: u64,
    /// Most tensors in one file; 1,048,576 by default.
    pub tensors: u64,
    /// Longest tensor name or metadata key in bytes; 4,096 by default.
    pub name_bytes: u64,
    /// Most dimensions of a tensor; 64 by default, as in NumPy.
    pub rank: u64,
    /// Most metadata entries; 65,536 by default.
    pub metadata_entries: u64,
    /// Most opcodes of one pickle; 50,000,000 by default.
    pub pickle_ops: u64,
    /// Deepest nesting of anything that nests: JSON, msgpack, arrays, groups, folders of a tree; 128 by default.
    pub depth: u64,
    /// Most members of an archive, groups of a file, or files of a folder; 262,144 by default.
    pub members: u64,
    /// Most bytes that are decoded at once: a compressed member, a chunk, a small file read whole; 256 MiB by default.
    pub decoded_bytes: u64,
    /// Largest ratio of decoded to stored bytes of one stream of more than 16 MiB; 1,100 by default, a little more than
    /// deflate can do.
    pub inflate_ratio: u64,
    /// Longest text of any kind that is kept (JSON configurations, templates, cards), in bytes; 64 MiB by default.
    pub text_bytes: u64,
    /// Longest Xet shard in bytes; 96 MiB by default: clients aim at 64 MiB, and older ones add lookup tables.
    pub shard_bytes: u64,
}

impl Limits {
    /// Checks a quantity against its limit.
    ///
    /// # Errors
    /// [`FormatError::TooLarge`].
    pub fn at_most(what: &'static str, size: u64, limit: u64) -> Result<(), FormatError> {
        if size > limit { Err(FormatError::TooLarge { what, size, limit }) } else { Ok(()) }
    }
}

impl Default for Limits {
    fn default() -> Self {
        Self {
            header_bytes: 100_000_000,
            tensors: 1 << 20,
            name_bytes: 4096,
            rank: 64,
            metadata_entries: 1 << 16,
            pickle_ops: 50_000_000,
            depth: 128,
            members: 1 << 18,
            decoded_bytes: 256 << 20,
            inflate_ratio: 1_100,
            text_bytes: 64 << 20,
            shard_bytes: 96 << 20,
        }
    }
}
