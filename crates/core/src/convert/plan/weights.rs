//! Which tensors are written, under which names and types, and which of those that share their bytes.

use std::collections::{BTreeMap, BTreeSet};

use weighthouse_format::cast::can_cast;
use weighthouse_format::checkpoint::Checkpoint;
use weighthouse_format::output::OutputTensor;
use weighthouse_format::remap::ties;
use weighthouse_format::tensor::Stored;
use weighthouse_format::{Dtype, Tensor};

use crate::Error;
use crate::convert::options::is_floating;
use crate::convert::{Form, Options, WeightType};

/// The element type that a tensor is written with.
///
/// Floating-point weights take the type that was asked for; what GGUF quantises becomes `F32`, which holds it exactly,
/// in every other format. Integers stay what they are.
pub(super) fn dtype_of(dtype: Dtype, options: &Options) -> Dtype {
    match options.dtype {
        Some(WeightType::Dtype(wanted)) if is_floating(dtype) || dtype.is_quantised() => wanted,
        None if dtype.is_quantised() && options.to != Form::Gguf => Dtype::F32,
        _ => dtype,
    }
}

/// Gives every tensor its type, and refuses casts that cannot be.
pub(super) fn set_dtypes(tensors: &mut [OutputTensor], options: &Options) -> Result<(), Error> {
    for tensor in tensors {
        tensor.dtype = dtype_of(tensor.dtype, options);
        check_cast(tensor)?;
    }
    Ok(())
}

/// Refuses a cast that cannot be.
pub(super) fn check_cast(tensor: &OutputTensor) -> Result<(), Error> {
    let from = tensor.recipe.source.dtype;
    can_cast(from, !tensor.recipe.steps.is_empty(), tensor.dtype)
        .map_err(|error| Error::Unsupported(format!("tensor `{}`: {error}", tensor.name.escape_default())))
}

/// Refuses two tensors of one name.
pub(super) fn check_names(tensors: &[OutputTensor]) -> Result<(), Error> {
    let mut names = BTreeSet::new();
    for tensor in tensors {
        if !names.insert(tensor.name.as_str()) {
            let name = tensor.name.escape_default();
            return Err(Error::Unsupported(format!("two tensors would have the name `{name}`")));
        }
    }
    Ok(())
}

/// Groups of tensors that share all their bytes, by their places.
pub(super) fn shared(tensors: &[OutputTensor]) -> Vec<Vec<usize>> {
    let mut groups: Vec<Vec<usize>> = Vec::new();
    let mut first = std::collections::HashMap::new();
    for (number, tensor) in tensors.iter().enumerate() {
        let source = &tensor.recipe.source;
        // Numbers that stand in a description are equal, but nobody's copy.
        let stored = source.pieces.iter().all(|piece| matches!(piece.stored, Stored::File { .. }));
        if !stored || source.elements() == 0 || source.pieces.is_empty() || tensor.recipe.rows.is_some() {
            continue;
        }
        let group = *first.entry((&source.pieces, &tensor.shape, tensor.dtype)).or_insert_with(|| {
            groups.push(Vec::new());
            groups.len() - 1
        });
        if let Some(group) = groups.get_mut(group) {
            group.push(number);
        }
    }
    groups.retain(|group| group.len() > 1);
    groups
}

/// Keeps one of the tensors that share their bytes, for formats in which each tensor has its own.
///
/// Returns the names that are left out, each with the one that is kept.
pub(super) fn keep_one(tensors: &mut Vec<OutputTensor>, checkpoint: &Checkpoint) -> BTreeMap<String, String> {
    let groups: Vec<Vec<&str>> = shared(tensors)
        .iter()
        .map(|group| {
            group.iter().filter_map(|&number| tensors.get(number)).map(|tensor| tensor.name.as_str()).collect()
        })
        .collect();
    let mut dropped = BTreeMap::new();
    for choice in ties::keep(checkpoint.contents.architecture.class.as_deref(), &groups) {
        dropped.extend(choice.left_out.into_iter().map(|name| (name, choice.kept.clone())));
    }
    tensors.retain(|tensor| !dropped.contains_key(&tensor.name));
    dropped
}

/// The tensors of the weights as they are.
pub(super) fn all(tensors: &[Tensor]) -> Vec<OutputTensor> {
    tensors.iter().map(OutputTensor::same).collect()
}
