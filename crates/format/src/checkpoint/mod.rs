//! A checkpoint: all files of a folder, or one file, read and joined.
//!
//! ```text
//!   folder ──► sniff each file ──► readers ──► parts ──► choose, join ──► Checkpoint
//!                    └─► layouts of several files (DCP, DeepSpeed, Orbax, …) take theirs first
//! ```
//! A folder often holds the same weights several times: as safetensors, as a torch file, quantised. One set is *the*
//! weights, the others are listed beside it, so that nothing is counted twice.

mod config;
mod describe;
mod join;
mod names;
mod quantized;
mod readers;
mod shards;
mod sniff;
mod unusual;

use std::collections::BTreeMap;

use crate::contents::{Contents, Warning, WarningKind};
use crate::dtype::Dtype;
use crate::error::FormatError;
use crate::identity::Format;
use crate::limits::Limits;
use crate::source::Folder;
use crate::tensor::Tensor;

use quantized::{Packing, Role};

pub use names::{fold_layers, is_buffer, module_of};
pub use sniff::sniff;

/// Everything that is known of a checkpoint without reading its weights.
#[derive(Clone, Debug, Default)]
pub struct Checkpoint {
    /// Every file, sorted by path.
    pub files: Vec<FileReport>,
    /// The four parts, joined over all files.
    pub contents: Contents,
    /// Sets of weights beside the chosen one.
    pub others: Vec<OtherWeights>,
    /// Place of the model's `README.md`, if there is one.
    pub card: Option<String>,
    /// Whether any part was chosen as the weights.
    has_weights: bool,
    /// Whether the optimizer came from another file than the weights.
    optimizer_apart: bool,
}

/// A file of a checkpoint.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct FileReport {
    /// Path below the folder.
    pub path: String,
    /// Length in bytes.
    pub size_bytes: u64,
    /// Every format that its content matches; more than one is a polyglot.
    pub formats: Vec<Format>,
}

/// Weights in another form than the chosen one.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct OtherWeights {
    /// Their format.
    pub format: Format,
    /// Files that hold them.
    pub files: Vec<String>,
    /// Number of tensors.
    pub tensors: u64,
    /// Elements of all tensors.
    pub elements: u64,
}

/// Numbers of parameters.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Parameters {
    /// Elements of weights; what shares its bytes counts once, buffers do not count. Packed words of quantised weights
    /// count as what they stand for, where the configuration or the shapes tell it.
    pub total: u64,
    /// The same by element type.
    pub by_dtype: BTreeMap<Dtype, u64>,
    /// Elements of buffers: running means, position ids, counters, scales of quantised weights.
    pub buffers: u64,
    /// Elements that were left out because they share their bytes with others.
    pub shared: u64,
}

/// Reads every file of a folder.
///
/// Files that cannot be read become warnings, so that the rest is still seen.
///
/// # Errors
/// [`FormatError::TooLarge`] when there are more files than `limits.members`.
pub fn read(folder: &dyn Folder, limits: &Limits) -> Result<Checkpoint, FormatError> {
    let files = folder.files().len() as u64;
    Limits::at_most("number of files", files, limits.members)?;
    join::join(folder, None, limits)
}

/// Reads one file of a folder; files beside it are looked at only where it names them.
///
/// # Errors
/// [`FormatError::NoFile`], or why the file cannot be read.
pub fn read_file(folder: &dyn Folder, path: &str, limits: &Limits) -> Result<Checkpoint, FormatError> {
    join::join(folder, Some(path), limits)
}

impl Checkpoint {
    /// Counts the parameters.
    #[must_use]
    pub fn parameters(&self) -> Parameters {
        let mut count = Parameters::default();
        let mut seen = std::collections::HashSet::new();
        let packing = Packing::of(&self.contents);
        for tensor in &self.contents.tensors {
            let role = packing.as_ref().and_then(|packing| packing.role(tensor));
            let elements = match role {
                Some(Role::Packed(elements)) => elements,
                _ => tensor.elements(),
            };
            let named = || names::is_buffer(tensor) || self.contents.buffers.contains(&tensor.name);
            if role == Some(Role::Aid) || (role.is_none() && named()) {
                count.buffers = count.buffers.saturating_add(elements);
            } else if elements > 0 && !tensor.pieces.is_empty() && !seen.insert(&tensor.pieces) {
                count.shared = count.shared.saturating_add(elements);
            } else {
                let of_dtype = count.by_dtype.entry(tensor.dtype).or_default();
                *of_dtype = of_dtype.saturating_add(elements);
                count.total = count.total.saturating_add(elements);
            }
        }
        count
    }

    /// Names of tensors that share their bytes, in groups of two and more.
    #[must_use]
    pub fn aliases(&self) -> Vec<Vec<&str>> {
        let mut groups: BTreeMap<usize, Vec<&str>> = BTreeMap::new();
        let mut first = std::collections::HashMap::new();
        for (number, tensor) in self.contents.tensors.iter().enumerate() {
            if tensor.elements() > 0 && !tensor.pieces.is_empty() {
                let group = *first.entry((&tensor.pieces, &tensor.shape)).or_insert(number);
                groups.entry(group).or_default().push(&tensor.name);
            }
        }
        groups.into_values().filter(|group| group.len() > 1).collect()
    }

    /// Bytes of all files.
    #[must_use]
    pub fn size_bytes(&self) -> u64 {
        self.files.iter().fold(0, |sum, file| sum.saturating_add(file.size_bytes))
    }

    /// Tensors of the weights and of the optimizer.
    pub fn tensors(&self) -> impl Iterator<Item = &Tensor> {
        let of_optimizer = self.contents.optimizer.iter().flat_map(|optimizer| &optimizer.tensors);
        self.contents.tensors.iter().chain(of_optimizer)
    }

    fn warn(&mut self, kind: WarningKind, file: &str, message: impl Into<String>) {
        self.contents.warnings.push(Warning { kind, file: file.to_owned(), message: message.into() });
    }
}

#[cfg(test)]
mod tests;
