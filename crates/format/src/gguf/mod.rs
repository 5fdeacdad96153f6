//! GGUF files.
//!
//! | part | bytes |
//! |---|---|
//! | magic `GGUF`, version (1, 2 or 3) | 4 + 4 |
//! | number of tensors, number of metadata entries | 8 + 8, in version 1: 4 + 4 |
//! | metadata: key, type, value | |
//! | tensors: name, rank, extents (innermost first), type, offset in the data | |
//! | padding to the alignment | |
//! | data: each tensor at a multiple of the alignment | |
//!
//! Strings and arrays begin with their length, which is 8 bytes, in version 1 four. A big-endian file has its version
//! in the upper half of the word; everything but the magic is swapped then.
//!
//! Inspecting reads the header only. Long arrays (vocabularies) are counted and not kept; extents come out in torch's
//! order, outermost first. A model in several files is read through its folder.
//!
//! Writing goes the other way: [`families`] turns a model of transformers into metadata and recipes, and those of a GGUF
//! file into a model of transformers; [`mod@write`] arranges the bytes of a file.
//!
//! # Source
//! The specification in ggml's repository, and what `gguf` 0.19 reads and writes.

pub mod dequant;
pub mod families;
pub mod metadata;
pub mod quantise;
pub mod write;

mod file_type;
mod header;
#[cfg(test)]
mod made;
mod model;
mod read;
mod split;
mod tokenizer;
mod types;
mod value;

pub use file_type::FileType;
pub use read::read;
pub use split::read_split;

#[cfg(test)]
mod tests;
#[cfg(test)]
mod write_tests;
