//! MLX: the names of transformers, channels last in convolutions, and linear layers in packed words.
//!
//! A quantised layer has `weight` (U32 words), `scales` and `biases`: each group of `group_size` numbers of a row is
//! `scale · q + bias`, with `q` of `bits` bits, the first in the lowest ones. A row is one stream of bits without gaps.

use std::collections::{BTreeSet, HashMap};

use serde_json::Value;

use crate::arrange;
use crate::dtype::Dtype;
use crate::error::FormatError;
use crate::tensor::Tensor;

use super::rules::{Made, refused, renamed};
use super::{Draft, Input};

/// How a weight is computed from packed words, which are the source of its recipe.
#[derive(Clone, Debug, PartialEq)]
pub struct Affine {
    /// One factor for each group: `[rows.., columns / group_size]`.
    pub scales: Tensor,
    /// One summand for each group, of the same shape.
    pub biases: Tensor,
    /// Bits of one number: 2, 3, 4, 5, 6 or 8.
    pub bits: u32,
    /// Numbers that share a scale.
    pub group_size: u64,
}

impl Affine {
    /// Element type of the computed weight: that of the scales.
    #[must_use]
    pub fn dtype(&self) -> Dtype {
        self.scales.dtype
    }

    /// Shape of the computed weight, where `words` are the packed ones.
    ///
    /// # Errors
    /// [`FormatError::Unsupported`] when words, bits, groups and scales do not fit together.
    pub fn shape(&self, words: &Tensor) -> Result<Vec<u64>, FormatError> {
        let misfit = || {
            let (words, scales) = (&words.shape, &self.scales.shape);
            let (bits, group) = (self.bits, self.group_size);
            let name = &self.scales.name;
            refused(format!("`{name}`: words {words:?}, scales {scales:?}, {bits} bits and groups of {group} disagree"))
        };
        let known = matches!(self.bits, 2 | 3 | 4 | 5 | 6 | 8) && self.group_size > 0;
        let ([rows @ .., packed], [scale_rows @ .., groups]) = (words.shape.as_slice(), self.scales.shape.as_slice())
        else {
            return Err(misfit());
        };
        let bits = packed.checked_mul(32).filter(|bits| known && bits.is_multiple_of(u64::from(self.bits)));
        let columns = bits.map(|bits| bits / u64::from(self.bits)).ok_or_else(misfit)?;
        let fits = rows == scale_rows
            && self.scales.shape == self.biases.shape
            && self.scales.dtype == self.biases.dtype
            && words.dtype == Dtype::U32
            && groups.checked_mul(self.group_size) == Some(columns);
        if !fits {
            return Err(misfit());
        }
        Ok(rows.iter().copied().chain([columns]).collect())
    }
}

/// Computes whole rows: `scale · q + bias` in `f32`.
///
/// # Shapes and units
/// - `words`: packed rows one after the other, little-endian, as many as give `out`
/// - `scales`, `biases`: one for each `group_size` numbers of `out`
/// - `out`: a whole number of groups
///
/// # Errors
/// [`FormatError::LengthMismatch`] when the lengths disagree.
///
/// # Source
/// MLX, `mx.quantize` in mode `affine`.
pub fn dequantise(
    words: &[u8],
    scales: &[f32],
    biases: &[f32],
    bits: u32,
    group_size: usize,
    out: &mut [f32],
) -> Result<(), FormatError> {
    let expected = (out.len() as u64).saturating_mul(u64::from(bits)) / 8;
    let what = "length of packed words, in bytes";
    if words.len() as u64 != expected || group_size == 0 || bits == 0 || bits > 8 {
        return Err(FormatError::LengthMismatch { what, expected, actual: words.len() as u64 });
    }
    let groups = (out.len() / group_size) as u64;
    if scales.len() as u64 != groups || biases.len() != scales.len() || !out.len().is_multiple_of(group_size) {
        let what = "number of scales of packed words";
        return Err(FormatError::LengthMismatch { what, expected: groups, actual: scales.len() as u64 });
    }
    let mask = (1u32 << bits) - 1;
    let (mut stream, mut held) = (0u32, 0u32);
    let mut bytes = words.iter();
    for ((group, scale), bias) in out.chunks_exact_mut(group_size).zip(scales).zip(biases) {
        for number in group {
            while held < bits {
                stream |= u32::from(bytes.next().copied().unwrap_or(0)) << held;
                held += 8;
            }
            *number = scale * (stream & mask) as f32 + bias;
            stream >>= bits;
            held -= bits;
        }
    }
    Ok(())
}

/// From MLX to transformers: floats, channels first.
pub(super) fn to_hf(input: &Input<'_>, made: Vec<Made>, family: &str, draft: &mut Draft) -> Result<(), FormatError> {
    let config = &input.contents.architecture.config;
    let quantization = config.get("quantization").or_else(|| input.contents.metadata.get("quantization"));
    let mut packed = BTreeSet::new();
    let names: HashMap<&str, &Tensor> = made.iter().map(|made| (made.tensor.name.as_str(), &made.tensor)).collect();
    for Made { tensor, .. } in &made {
        let Some(module) = tensor.name.strip_suffix(".weight") else { continue };
        let (scales, biases) = (format!("{module}.scales"), format!("{module}.biases"));
        let Some(&scale) = names.get(scales.as_str()).filter(|_| tensor.dtype == Dtype::U32) else { continue };
        let Some(&bias) = names.get(biases.as_str()) else {
            return Err(refused(format!(
                "`{}` has scales but no `{biases}`; only the affine mode is known",
                tensor.name
            )));
        };
        let (bits, group_size) = settings(quantization, module)
            .ok_or_else(|| refused(format!("`{}` is packed, and no configuration says its bits", tensor.name)))?;
        let affine = Affine { scales: scale.clone(), biases: bias.clone(), bits, group_size };
        affine.shape(tensor)?;
        draft.affine.insert(tensor.name.clone(), affine);
        packed.extend([scales, biases]);
    }
    let mut done = Vec::with_capacity(made.len());
    for Made { tensor, from } in &made {
        if packed.contains(&tensor.name) {
            continue;
        }
        let tensor = match tensor.shape.len() {
            3 if is_convolution(&tensor.name, family) => arrange::permute(tensor, &[0, 2, 1], &tensor.name)?,
            4 if is_convolution(&tensor.name, family) => arrange::permute(tensor, &[0, 3, 1, 2], &tensor.name)?,
            _ => tensor.clone(),
        };
        done.push(Made { tensor, from: from.clone() });
    }
    if !config.is_empty() {
        let mut config = config.clone();
        config.remove("quantization");
        config.remove("quantization_config");
        draft.documents.insert("config.json".to_owned(), Value::Object(config));
    }
    draft.whole(done);
    Ok(())
}

/// From transformers to MLX: channels last. Nothing is quantised.
pub(super) fn to_mlx(made: Vec<Made>, family: &str, draft: &mut Draft) -> Result<(), FormatError> {
    let mut done = Vec::with_capacity(made.len());
    for Made { tensor, from } in made {
        let tensor = match tensor.shape.len() {
            3 if is_convolution(&tensor.name, family) => arrange::permute(&tensor, &[0, 2, 1], &tensor.name)?,
            4 if is_convolution(&tensor.name, family) => arrange::permute(&tensor, &[0, 2, 3, 1], &tensor.name)?,
            _ => renamed(&tensor, &tensor.name),
        };
        done.push(Made { tensor, from });
    }
    draft.metadata.insert("format".to_owned(), "mlx".to_owned());
    draft.whole(done);
    Ok(())
}

/// Bits and group size of a module: its own, or those of all.
fn settings(quantization: Option<&Value>, module: &str) -> Option<(u32, u64)> {
    let all = quantization?.as_object()?;
    let own = all.get(module).and_then(Value::as_object);
    let number = |key: &str| own.and_then(|own| own.get(key)).or_else(|| all.get(key)).and_then(Value::as_u64);
    Some((u32::try_from(number("bits")?).ok()?, number("group_size")?))
}

/// Whether a weight is a convolution's: by its name, as stacks of experts have as many axes.
fn is_convolution(name: &str, family: &str) -> bool {
    let module = name.strip_suffix(".weight").unwrap_or("");
    let last = module.rsplit('.').next().unwrap_or_default();
    last.contains("conv")
        || last.contains("patch_embed")
        || module.ends_with("patch_embeddings.projection")
        || (family == "resnet" && !module.is_empty())
}
