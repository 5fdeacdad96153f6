//! HDF5 files, read-only.
//!
//! Our own reader of what h5py and Keras write, by default and with `libver="latest"`: superblocks 0 to 3 (also behind a
//! user block), object headers of both versions, groups of all three kinds, attributes, contiguous, compact and chunked
//! datasets with any chunk index. Elements are not read: a dataset is a [`Tensor`](crate::Tensor) whose pieces say where
//! its bytes lie and which filters they went through.
//!
//! What would open another file is a warning and never followed: external links, external storage, virtual datasets.
//! Soft links are not followed either.
//!
//! # Bounds
//! Everything that is read for structure is charged to one account per file, a small multiple of the file's length, so
//! that structures which point at each other cost no more than an error.
//!
//! Source: *HDF5 File Format Specification Version 3.0*; layouts were checked on files of h5py 3.16.

mod attribute;
mod btree1;
mod btree2;
mod bytes;
mod chunks;
mod dataset;
mod datatype;
mod extensible;
mod fixed;
mod fractal;
mod group;
mod header;
mod heap;
mod layout;
mod space;
mod superblock;
mod walk;

#[cfg(test)]
mod tests;

use std::cell::{Cell, RefCell};
use std::collections::HashMap;
use std::rc::Rc;

pub use attribute::Attribute;
pub use group::{Link, Target};
pub use header::Object;
pub use walk::Tree;

use crate::contents::Contents;
use crate::error::FormatError;
use crate::identity::Format;
use crate::limits::Limits;
use crate::source::Section;

use bytes::Bytes;

/// An open file: its structure is read when it is asked for.
pub struct File {
    /// From the superblock on: addresses count from there.
    section: Section,
    offset_bytes: usize,
    length_bytes: usize,
    root: u64,
    limits: Limits,
    budget: Cell<u64>,
    collections: RefCell<HashMap<u64, Rc<heap::Collection>>>,
}

/// Whether there is a superblock at one of the places where it may be.
#[must_use]
pub fn is_h5(section: &Section) -> bool {
    superblock::find(section).is_some()
}

/// Describes a file with all its datasets, named by their paths without the first `/`.
///
/// # Errors
/// [`FormatError::BadMagic`] and its kin when the bytes are no such file, [`FormatError::Unsupported`] for features that
/// are not read, [`FormatError::TooLarge`] beyond the limits. A dataset of a type that is no tensor's is a warning.
pub fn read(section: &Section, limits: &Limits) -> Result<Contents, FormatError> {
    let file = File::open(section, limits)?;
    let mut contents = Contents::of(Format::Hdf5);
    let attributes = file.attributes(&file.object(file.root())?)?;
    contents.metadata.extend(file.json(&attributes));
    let tree = file.walk(&mut contents.warnings)?;
    contents.tensors = tree.tensors;
    if !tree.attributes.is_empty() {
        contents.metadata.insert("attributes".into(), serde_json::Value::Object(tree.attributes));
    }
    Ok(contents)
}

impl File {
    /// Opens the file that the section is.
    ///
    /// # Errors
    /// [`FormatError::BadMagic`], [`FormatError::UnknownVersion`], [`FormatError::Broken`] for a superblock that lies.
    pub fn open(section: &Section, limits: &Limits) -> Result<Self, FormatError> {
        superblock::open(section, limits)
    }

    /// Address of the root group.
    #[must_use]
    pub const fn root(&self) -> u64 {
        self.root
    }

    /// Reads a structure and charges it.
    fn read(&self, what: &'static str, at: u64, len: u64) -> Result<Bytes, FormatError> {
        // Looking at a place costs something even when it is short.
        let cost = len.saturating_add(16);
        let left = self.budget.get().checked_sub(cost);
        self.budget
            .set(left.ok_or(FormatError::Rule { what: "hdf5 file", rule: "its structures do not share bytes" })?);
        let data = self.section.read(what, at, len)?;
        Ok(Bytes::new(what, data, at, self.offset_bytes, self.length_bytes))
    }

    /// Reads a structure that may end before `len` bytes at the end of the file.
    fn read_up_to(&self, what: &'static str, at: u64, len: u64) -> Result<Bytes, FormatError> {
        self.read(what, at, len.min(self.section.len().saturating_sub(at)))
    }

    /// Bytes over bytes that were read already.
    fn over(&self, what: &'static str, data: &[u8], at: u64) -> Bytes {
        Bytes::new(what, data.to_vec(), at, self.offset_bytes, self.length_bytes)
    }
}

/// An address that is none.
const fn is_defined(address: u64) -> bool {
    address != u64::MAX
}

use crate::protobuf::broken;
