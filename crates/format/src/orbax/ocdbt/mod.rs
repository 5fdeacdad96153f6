//! OCDBT databases: a B-tree of keys, in files that are never changed.
//!
//! | part of a manifest or node | bytes |
//! |---|---|
//! | magic `0CDB3A2A` or `0CDB20DE` | 4 |
//! | length of all of it, little-endian | 8 |
//! | version 0; compression: 0 none, 1 zstd | varints |
//! | body, compressed | |
//! | CRC-32C of all before it | 4 |
//!
//! The manifest names the root of each version; the last one counts. A node has a table of the files that it points
//! into, then its keys, each without the bytes that it shares with the one before, column by column. Values lie in the
//! leaf or in a file.
//!
//! Heights fall by one at each level, no place is visited twice, and what is decoded is bounded in all: a tree that
//! turns in circles or unfolds without end is refused.

mod body;
mod tree;

pub(super) use tree::{missing_files, read};

/// Name of the file that says where everything is.
pub(super) const MANIFEST: &str = "manifest.ocdbt";
