//! Single precision to quantised blocks.
//!
//! The blocks are those of ggml's reference quantisers, to the last bit: the operations are the same and in the same
//! order, each rounded by itself. gguf-py 0.19 gives the same blocks for `Q4_0`, `Q4_1`, `Q5_0`, `Q5_1` and `Q8_0`, the
//! only ones of these types that it makes.
//!
//! No number is refused. NaN is left out where scales are sought and becomes some level; infinity makes an infinite scale,
//! which loaders refuse. Where ggml's behaviour is undefined (the integer of a number that is too large or NaN) the
//! integer is 0, as x86 has it.
//!
//! # Source
//! The block definitions of ggml. Scales of `Q4_K`, `Q5_K` and `Q6_K` are found by trying some twenty and keeping the
//! one with the least weighted square error (`search.rs`).

mod basic;
mod k;
mod search;
#[cfg(test)]
mod tests;

use crate::cast::float::{to_bf16, to_f16};
use crate::dtype::Dtype;
use crate::error::FormatError;

/// Whether [`quantise`] makes blocks of a type.
#[must_use]
pub const fn can_quantise(dtype: Dtype) -> bool {
    matches!(
        dtype,
        Dtype::F32
            | Dtype::F16
            | Dtype::BF16
            | Dtype::Q40
            | Dtype::Q41
            | Dtype::Q50
            | Dtype::Q51
            | Dtype::Q80
            | Dtype::Q4K
            | Dtype::Q5K
            | Dtype::Q6K
    )
}

/// Appends blocks of `numbers`. Besides the block types this takes `F32`, `F16` and `BF16`.
///
/// # Errors
/// [`FormatError::Unsupported`] for types of which [`can_quantise`] says no; [`FormatError::LengthMismatch`] when the
/// numbers do not fill whole blocks. Nothing is appended then.
pub fn quantise(dtype: Dtype, numbers: &[f32], out: &mut Vec<u8>) -> Result<(), FormatError> {
    match dtype {
        Dtype::F32 => each(numbers, out, |&[number]: &[f32; 1], block: &mut [u8; 4]| *block = number.to_le_bytes()),
        Dtype::F16 => each(numbers, out, |&[number]: &[f32; 1], block: &mut [u8; 2]| {
            *block = to_f16(number).to_le_bytes();
        }),
        Dtype::BF16 => each(numbers, out, |&[number]: &[f32; 1], block: &mut [u8; 2]| {
            *block = to_bf16(number).to_le_bytes();
        }),
        Dtype::Q40 => each(numbers, out, basic::q4_0),
        Dtype::Q41 => each(numbers, out, basic::q4_1),
        Dtype::Q50 => each(numbers, out, basic::q5_0),
        Dtype::Q51 => each(numbers, out, basic::q5_1),
        Dtype::Q80 => each(numbers, out, basic::q8_0),
        Dtype::Q4K => each(numbers, out, k::q4_k),
        Dtype::Q5K => each(numbers, out, k::q5_k),
        Dtype::Q6K => each(numbers, out, k::q6_k),
        other => {
            let possible: Vec<_> =
                Dtype::ALL.iter().filter(|&&dtype| can_quantise(dtype)).map(|dtype| dtype.as_str()).collect();
            let detail = format!("to `{other}`; possible are {}", possible.join(", "));
            Err(FormatError::Unsupported { what: "quantisation", detail })
        }
    }
}

/// Encodes block by block.
fn each<const ELEMENTS: usize, const BYTES: usize>(
    numbers: &[f32],
    out: &mut Vec<u8>,
    encode: impl Fn(&[f32; ELEMENTS], &mut [u8; BYTES]),
) -> Result<(), FormatError> {
    let (elements, rest) = numbers.as_chunks::<ELEMENTS>();
    if !rest.is_empty() {
        let (expected, actual) = (ELEMENTS as u64, rest.len() as u64);
        return Err(FormatError::LengthMismatch { what: "last block in elements", expected, actual });
    }
    let at = out.len();
    out.resize(at.saturating_add(elements.len().saturating_mul(BYTES)), 0);
    let (blocks, _) = out.get_mut(at..).unwrap_or_default().as_chunks_mut::<BYTES>();
    for (elements, block) in elements.iter().zip(blocks) {
        encode(elements, block);
    }
    Ok(())
}

/// Added to a number of less than 2^22, this leaves the nearest integer, ties to even, in the low bits of the sum.
const SHIFTER: f32 = 12_582_912.0;

/// The nearest integer, ties to even, as a float. What is not finite stays that.
#[inline]
fn nearest(number: f32) -> f32 {
    (number + SHIFTER) - SHIFTER
}

/// The low eight bits of an integer of less than 2^22; 0 for what is not finite.
#[inline]
fn low_byte(integer: f32) -> u8 {
    (integer + SHIFTER).to_bits() as u8
}

/// The reciprocal, or 0 of 0.
#[inline]
fn inverse(number: f32) -> f32 {
    if number == 0.0 { 0.0 } else { 1.0 / number }
}
