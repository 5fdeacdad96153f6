//! The shapes of the Xet protocol: hashes, chunks, xorbs and shards.
//!
//! All integers are little-endian. The lengths in [`chunker`] and [`xorb`] are constants of the protocol, not tunables:
//! two parties that disagree about them no longer find each other's data.
//!
//! # Source
//! The public Xet protocol as spoken by the clients from 1.1 to 1.8, restated in the design notes of this project.

pub mod chunker;
pub mod hash;
pub mod shard;
pub mod subtree;
pub mod xorb;

mod bytes;
