//! How much a reader takes before it gives up.

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
    /// Longest Xet shard in bytes; 96 MiB by default: clients aim at 64 MiB, and older ones add lookup tables.
    pub shard_bytes: u64,
}

impl Default for Limits {
    fn default() -> Self {
        Self {
            header_bytes: 100_000_000,
            tensors: 1 << 20,
            name_bytes: 4096,
            rank: 64,
            metadata_entries: 1 << 16,
            shard_bytes: 96 << 20,
        }
    }
}
