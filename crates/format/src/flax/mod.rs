//! Flax msgpack checkpoints.
//!
//! The file is one msgpack map of maps, down to the arrays. An array is an extension (type 1) whose bytes are again
//! msgpack: `[shape, name of the dtype, bytes]`; type 2 is a complex number, type 3 an array without dimensions. Lists
//! and tuples were made maps with the keys `0`, `1`, … before they were written. An array above a gibibyte is a map of
//! `__msgpack_chunked_array__`, `shape` and `chunks`, which are cut from the flattened array.
//!
//! # Names
//! A tensor is named by its path, joined with dots: `params.Dense_0.kernel`, as `flatten_dict(sep=".")` and Orbax do. Of
//! the state of an optimizer, trees of the shape of the parameters become slots: `params.Dense_0.kernel.mu`.
//!
//! The file is walked with a stack of our own and never loaded: of an array only its place is kept.
//!
//! # Source
//! `flax.serialization` of Flax 0.12, and the msgpack specification.

mod dtype;
mod msgpack;
mod read;
pub(crate) mod tree;
mod walk;

pub(crate) use dtype::by_name;
pub(crate) use read::number;
pub use read::read;
pub(crate) use walk::{Leaf, walk};

#[cfg(test)]
mod tests;
