//! Orbax folders: zarr and OCDBT.
//!
//! ```text
//! manager/            steps, of which the newest finished one is the checkpoint
//! └─ 10/              a step: _CHECKPOINT_METADATA, commit_success.txt
//!    └─ default/      an item: a tree of arrays, or a JSON file `metadata`
//!       ├─ _METADATA  the tree: names, kinds of containers
//!       ├─ params.Dense_0.kernel/.zarray, 0.0, …          one zarr array per leaf, or
//!       ├─ manifest.ocdbt, d/…, ocdbt.process_0/…         all arrays in one OCDBT database, or
//!       └─ checkpoint                                     msgpack of small leaves, as old versions wrote
//! ```
//!
//! Any of the levels may be the root. Arrays are zarr 2 or 3; a chunk that is not stored is filled with the array's fill
//! value. Names are paths joined with dots, as in [`crate::flax`]; when several items of a step hold arrays, the name of
//! the item comes first.
//!
//! # Source
//! Folders written by Orbax 0.12; the zarr specifications, versions 2 and 3.1; the description of the OCDBT format in
//! TensorStore's documentation.

mod item;
mod layout;
mod ocdbt;
mod read;
mod store;
mod zarr;

pub use layout::is;
pub use read::read;

#[cfg(test)]
mod tests;
