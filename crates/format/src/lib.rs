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

pub mod arrange;
pub mod base64;
pub mod cast;
pub mod checkpoint;
pub mod compressed;
pub mod contents;
mod cursor;
pub mod data;
pub mod difference;
pub mod dtype;
pub mod error;
pub mod flax;
pub mod gguf;
pub mod h5;
pub mod identity;
pub mod keras;
pub mod limits;
pub mod number;
pub mod numpy;
pub mod onnx;
pub mod optimizer;
pub mod orbax;
pub mod other;
pub mod output;
pub mod pickle;
pub mod protobuf;
pub mod remap;
pub mod safetensors;
pub mod source;
pub mod spectrum;
pub mod stats;
pub mod tensor;
pub mod tf;
pub mod tflite;
pub mod torch;
#[cfg(test)]
mod written;
pub mod xet;
pub mod yaml;
pub mod zip;

pub use contents::Contents;
pub use dtype::Dtype;
pub use error::{ErrorKind, FormatError};
pub use identity::Format;
pub use limits::Limits;
pub use source::{Folder, ReadAt, Section};
pub use tensor::Tensor;
