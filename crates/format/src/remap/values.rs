//! Numbers and documents that a few remaps need.

use serde_json::{Map, Value};

use crate::data::Elements;
use crate::error::FormatError;
use crate::limits::Limits;
use crate::number::numbers;
use crate::tensor::Tensor;

use super::Input;
use super::rules::refused;

/// Bytes of two tensors that are compared at once.
const BAND_BYTES: u64 = 1 << 20;

/// The number that a tensor of one element holds.
///
/// # Errors
/// [`FormatError::Unsupported`] for more than one element; what reading says.
pub(super) fn scalar(input: &Input<'_>, tensor: &Tensor) -> Result<f64, FormatError> {
    if tensor.elements() != 1 {
        return Err(refused(format!("`{}` should be one number; its shape is {:?}", tensor.name, tensor.shape)));
    }
    let bytes = Elements::new(input.folder, tensor, input.limits)?.read_all()?;
    let number = numbers(tensor.dtype, &bytes)?.get(0).filter(|number| number.is_finite());
    number.ok_or_else(|| refused(format!("`{}` is no finite number", tensor.name)))
}

/// Whether two tensors have the same elements; reads them unless they lie in the same place.
///
/// # Errors
/// What reading says.
pub(super) fn equal(input: &Input<'_>, one: &Tensor, other: &Tensor) -> Result<bool, FormatError> {
    if one.dtype != other.dtype || one.shape != other.shape {
        return Ok(false);
    }
    if one.pieces == other.pieces {
        return Ok(true);
    }
    let mut first = Elements::new(input.folder, one, input.limits)?;
    let mut second = Elements::new(input.folder, other, input.limits)?;
    let step = (BAND_BYTES / first.unit_bytes()).max(1);
    let (mut a, mut b) = (Vec::new(), Vec::new());
    let mut at = 0;
    while at < first.units() {
        let len = usize::try_from(step.min(first.units() - at) * first.unit_bytes()).unwrap_or(usize::MAX);
        a.resize(len, 0);
        b.resize(len, 0);
        first.read(at, &mut a)?;
        second.read(at, &mut b)?;
        if a != b {
            return Ok(false);
        }
        at += step;
    }
    Ok(true)
}

/// A JSON object beside the weights; `None` when there is no such file.
///
/// # Errors
/// [`FormatError::TooLarge`], or when the file is no JSON object.
pub(super) fn document(input: &Input<'_>, path: &str) -> Result<Option<Map<String, Value>>, FormatError> {
    if !input.folder.has(path) {
        return Ok(None);
    }
    let section = input.folder.open(path)?;
    Limits::at_most("length of a JSON file, in bytes", section.len(), input.limits.text_bytes)?;
    let bytes = section.read("JSON file", 0, section.len())?;
    let source = |source| FormatError::Json { what: "the file", source }.in_file(path);
    serde_json::from_slice(&bytes).map(Some).map_err(source)
}
