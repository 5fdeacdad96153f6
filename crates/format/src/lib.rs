//! Untrusted checkpoint bytes turned into typed views.
//!
//! Everything here is pure and synchronous: slices go in, checked values come out. There is no file system, no
//! network, no clock and no `unsafe`. Bytes from strangers are checked once, completely, and every reader is bounded by
//! [`Limits`] or by constants of its format, so a lying length costs an error and never memory.
//!
//! ```text
//!   bytes ──► safetensors::Header       names, dtypes, shapes, offsets
//!         ──► xet::chunker ──► xet::hash ──► xet::xorb, xet::shard
//! ```
//!
//! # Example
//! ```
//! use weighthouse_format::xet::{chunker::Chunker, hash};
//!
//! let data = vec![7u8; 300_000];
//! let mut chunker = Chunker::new();
//! let mut tree = hash::HashTree::new();
//! let mut rest = data.as_slice();
//! while let Some(len) = chunker.next_boundary(rest) {
//!     let (chunk, tail) = rest.split_at(len);
//!     tree.push(hash::chunk_hash(chunk), len as u64);
//!     rest = tail;
//! }
//! if chunker.finish().is_some() {
//!     tree.push(hash::chunk_hash(rest), rest.len() as u64);
//! }
//! assert_eq!(tree.file_hash().to_string().len(), 64);
//! ```

#![forbid(unsafe_code)]

pub mod dtype;
pub mod error;
pub mod limits;
pub mod safetensors;
pub mod xet;

pub use dtype::Dtype;
pub use error::{ErrorKind, FormatError};
pub use limits::Limits;
