//! Goes on to use what a reader describes, as `wh inspect --stats` would.

use weighthouse_format::checkpoint::{Checkpoint, fold_layers, is_buffer, module_of};
use weighthouse_format::data::Elements;
use weighthouse_format::stats::Stats;
use weighthouse_format::{Contents, Folder, FormatError, Limits, Tensor, torch};

/// Tensors of one input that are read.
const TENSORS: usize = 32;
/// Bytes that are read of each end of a tensor.
const BYTES: u64 = 4096;

/// Uses what was read of a file or a folder.
pub fn contents(folder: &dyn Folder, found: Result<Contents, FormatError>, limits: &Limits) {
    match found {
        Ok(mut contents) => {
            tensors(folder, &contents.tensors, limits);
            if let Some(optimizer) = &mut contents.optimizer {
                torch::name_parameters(optimizer, &contents.tensors);
                tensors(folder, &optimizer.tensors, limits);
            }
        }
        Err(error) => {
            let _ = (error.to_string(), error.kind());
        }
    }
}

/// Uses everything that is known of a checkpoint.
pub fn checkpoint(folder: &dyn Folder, checkpoint: &Checkpoint, limits: &Limits) {
    let _ = (checkpoint.parameters(), checkpoint.aliases(), checkpoint.size_bytes());
    tensors(folder, checkpoint.tensors(), limits);
}

/// Reads both ends of the first tensors.
pub fn tensors<'a>(folder: &dyn Folder, tensors: impl IntoIterator<Item = &'a Tensor>, limits: &Limits) {
    for tensor in tensors.into_iter().take(TENSORS) {
        let _ = (tensor.elements(), tensor.size_bytes(), tensor.place(), is_buffer(tensor));
        let _ = (fold_layers(&tensor.name), module_of(&tensor.name));
        let _ = ends(folder, tensor, limits);
    }
}

fn ends(folder: &dyn Folder, tensor: &Tensor, limits: &Limits) -> Result<(), FormatError> {
    let mut elements = Elements::new(folder, tensor, limits)?;
    let units = (BYTES / elements.unit_bytes()).max(1).min(elements.units());
    let mut buffer = vec![0; usize::try_from(units * elements.unit_bytes()).unwrap_or_default()];
    for first in [0, elements.units() - units] {
        elements.read(first, &mut buffer)?;
        let stats = Stats::of(tensor.dtype, &buffer)?;
        let _ = (stats.std(), stats.norm());
    }
    Ok(())
}
