//! Safetensors headers.
//!
//! | part | bytes |
//! |---|---|
//! | header length `n` | 8, u64 little-endian |
//! | header, JSON, padded with spaces | `n` |
//! | data section | the rest of the file |
//!
//! The header maps tensor names to `{"dtype", "shape", "data_offsets": [begin, end]}`, with offsets into the data
//! section; `__metadata__` maps strings to strings.
//!
//! **Invariant:** the tensors of a [`Header`] tile the data section: no gap, no overlap, no byte without an owner, so
//! that two readers cannot see different things in one file.

mod contents;
mod read;
pub mod write;

pub use contents::read;
pub use read::{Header, ParameterCount, TensorInfo, header_len};

#[cfg(test)]
mod tests;
