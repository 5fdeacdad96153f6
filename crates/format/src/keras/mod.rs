//! Keras checkpoints: `.h5`, `.weights.h5`, `.keras`.
//!
//! # Names
//! A tensor is called by the path of its dataset. In the legacy `.h5` the paths below `model_weights` count
//! (`first/sequential/first/kernel`), and below `optimizer_weights` for the optimizer's state. In Keras 3 files they are
//! whole (`layers/dense/vars/0`): the parts are classes with numbers, not the layers' own names, which stand in the
//! metadata under `layers`.
//!
//! # Code
//! A configuration names classes and functions that Keras imports, and may carry marshalled Python (`Lambda`). What is
//! not Keras' own is noted; see [`config`].

mod archive;
pub mod config;
mod weights;

#[cfg(test)]
mod tests;

pub(crate) use config::scan;

use crate::contents::Contents;
use crate::error::FormatError;
use crate::h5;
use crate::limits::Limits;
use crate::source::{Folder, Section};

/// Describes a Keras file of any kind. An HDF5 file of something else than Keras is described as such.
///
/// # Errors
/// Those of the zip and the HDF5 reader; [`FormatError::NoFile`] for an archive without weights.
pub fn read(section: &Section, limits: &Limits) -> Result<Contents, FormatError> {
    // Inside an archive, stored weights can lie where HDF5 looks for a superblock.
    let is_zip = section.head("magic", 4)? == b"PK\x03\x04";
    if !is_zip && h5::is_h5(section) { weights::read(section, limits) } else { archive::read(section, limits) }
}

/// Describes sharded weights by their index, `model.weights.json`, which lies beside the shards.
///
/// # Errors
/// As [`read`]; [`FormatError::Json`] when the index is none, [`FormatError::Rule`] when it names files elsewhere.
pub fn read_sharded(folder: &dyn Folder, index: &str, limits: &Limits) -> Result<Contents, FormatError> {
    let parent = index.rsplit_once('/').map(|(parent, _)| format!("{parent}/")).unwrap_or_default();
    let section = folder.open(index)?;
    Limits::at_most("index of shards in bytes", section.len(), limits.text_bytes)?;
    let text = section.read("index of shards", 0, section.len())?;
    weights::sharded(&text, limits, &mut |name| {
        let path = format!("{parent}{name}");
        if folder.has(&path) { folder.open(&path).map(Some) } else { Ok(None) }
    })
}
