//! Shards: which chunk ranges make up a file, and which chunks a xorb lists.
//!
//! | part | bytes |
//! |---|---|
//! | tag, version u64 = 2, footer size u64 (0 in uploads) | 48 |
//! | per file: hash 32, flags u32, count u32, 8 unused | 48 |
//! | … count × term: xorb 32, flags u32, raw bytes u32, first chunk u32, end u32 | 48 each |
//! | … if flag 31: count × range hash 32, 16 unused | 48 each |
//! | … if flag 30: SHA-256 32 (word-swapped), 16 unused | 48 |
//! | bookend: 32 × `FF`, 16 zero bytes | 48 |
//! | per xorb: hash 32, flags u32, count u32, raw bytes u32, stored bytes u32 | 48 |
//! | … count × chunk: hash 32, raw offset u32, raw bytes u32, flags u32 (31: dedup candidate), 4 unused | 48 each |
//! | bookend | 48 |
//!
//! Dedup answers, and uploads of older clients, go on with lookup tables and a footer of 200 bytes.
//!
//! **Invariant:** a parsed [`Shard`] is consistent in itself; whether its xorbs exist and its hashes are true is for
//! the store to check.

mod footer;
mod model;
mod read;
mod write;

pub use footer::ShardFooter;
pub use model::{Shard, ShardChunk, ShardFile, ShardXorb, Term};
pub use write::{DedupOptions, write_dedup};

/// Length of every record in a shard, and of its header.
const RECORD_LEN: usize = 48;

const VERSION: u64 = 2;

const TAG: [u8; 32] = [
    b'H', b'F', b'R', b'e', b'p', b'o', b'M', b'e', b't', b'a', b'D', b'a', b't', b'a', 0, 85, 105, 103, 69, 106, 123,
    129, 87, 131, 165, 189, 217, 92, 205, 209, 74, 169,
];

/// In the flags of a file: range hashes follow its terms.
const WITH_RANGE_HASHES: u32 = 1 << 31;
/// In the flags of a file: its SHA-256 follows.
const WITH_SHA256: u32 = 1 << 30;
/// In the flags of a chunk: worth a dedup query whatever its hash.
const DEDUP_CANDIDATE: u32 = 1 << 31;

#[cfg(test)]
mod tests;
