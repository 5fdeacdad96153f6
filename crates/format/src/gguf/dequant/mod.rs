//! Quantised blocks to single precision.
//!
//! A block stands for 32, 64, 128 or 256 elements; its bytes are scales and small integers. Every element comes out as
//! ggml and gguf-py compute it, to the last bit, because the operations are the same and in the same order.
//!
//! # Source
//! The block definitions of ggml, as `gguf` 0.19 publishes them; `Q8_1`, `Q8_K` and `Q1_0`, which it does not
//! dequantise, from the block structures themselves.

mod basic;
mod grid;
mod grids;
mod k;
mod tables;

use crate::dtype::Dtype;
use crate::error::FormatError;

/// Decodes whole blocks into `out`.
///
/// Blocks are little-endian. Besides the block types this takes `F32`, `F16` and `BF16`.
///
/// # Errors
/// [`FormatError::Unsupported`] for other types; [`FormatError::LengthMismatch`] when `blocks` is not whole blocks, or
/// `out` has not exactly their elements.
pub fn dequantise(dtype: Dtype, blocks: &[u8], out: &mut [f32]) -> Result<(), FormatError> {
    match dtype {
        Dtype::F32 => each(blocks, out, |block: &[u8; 4], out: &mut [f32; 1]| *out = [f32::from_le_bytes(*block)]),
        Dtype::F16 => each(blocks, out, |block: &[u8; 2], out: &mut [f32; 1]| *out = [half(*block)]),
        Dtype::BF16 => each(blocks, out, |&[low, high]: &[u8; 2], out: &mut [f32; 1]| {
            *out = [f32::from_le_bytes([0, 0, low, high])];
        }),
        Dtype::Q10 => each(blocks, out, basic::q1_0),
        Dtype::Q40 => each(blocks, out, basic::q4_0),
        Dtype::Q41 => each(blocks, out, basic::q4_1),
        Dtype::Q50 => each(blocks, out, basic::q5_0),
        Dtype::Q51 => each(blocks, out, basic::q5_1),
        Dtype::Q80 => each(blocks, out, basic::q8_0),
        Dtype::Q81 => each(blocks, out, basic::q8_1),
        Dtype::IQ4NL => each(blocks, out, basic::iq4_nl),
        Dtype::MXFP4 => each(blocks, out, basic::mxfp4),
        Dtype::NVFP4 => each(blocks, out, basic::nvfp4),
        Dtype::Q2K => each(blocks, out, k::q2_k),
        Dtype::Q3K => each(blocks, out, k::q3_k),
        Dtype::Q4K => each(blocks, out, k::q4_k),
        Dtype::Q5K => each(blocks, out, k::q5_k),
        Dtype::Q6K => each(blocks, out, k::q6_k),
        Dtype::Q8K => each(blocks, out, k::q8_k),
        Dtype::TQ10 => each(blocks, out, k::tq1_0),
        Dtype::TQ20 => each(blocks, out, k::tq2_0),
        Dtype::IQ4XS => each(blocks, out, k::iq4_xs),
        Dtype::IQ2XXS => each(blocks, out, grid::iq2_xxs),
        Dtype::IQ2XS => each(blocks, out, grid::iq2_xs),
        Dtype::IQ2S => each(blocks, out, grid::iq2_s),
        Dtype::IQ3XXS => each(blocks, out, grid::iq3_xxs),
        Dtype::IQ3S => each(blocks, out, grid::iq3_s),
        Dtype::IQ1S => each(blocks, out, grid::iq1_s),
        Dtype::IQ1M => each(blocks, out, grid::iq1_m),
        other => Err(FormatError::Unsupported { what: "dequantisation", detail: format!("of `{other}`") }),
    }
}

/// Decodes block by block.
fn each<const BYTES: usize, const ELEMENTS: usize>(
    blocks: &[u8],
    out: &mut [f32],
    decode: impl Fn(&[u8; BYTES], &mut [f32; ELEMENTS]),
) -> Result<(), FormatError> {
    let (blocks, rest) = blocks.as_chunks::<BYTES>();
    if !rest.is_empty() {
        let actual = rest.len() as u64;
        return Err(FormatError::LengthMismatch { what: "last block in bytes", expected: BYTES as u64, actual });
    }
    let (elements, odd) = out.as_chunks_mut::<ELEMENTS>();
    if !odd.is_empty() || elements.len() != blocks.len() {
        return Err(FormatError::LengthMismatch {
            what: "room for dequantised elements",
            expected: (blocks.len() as u64).saturating_mul(ELEMENTS as u64),
            actual: (elements.len() as u64).saturating_mul(ELEMENTS as u64).saturating_add(odd.len() as u64),
        });
    }
    for (block, elements) in blocks.iter().zip(elements) {
        decode(block, elements);
    }
    Ok(())
}

/// IEEE half precision to single, exactly.
fn half(bytes: [u8; 2]) -> f32 {
    let bits = u32::from(u16::from_le_bytes(bytes));
    let (sign, exponent, fraction) = ((bits & 0x8000) << 16, bits >> 10 & 0x1F, bits & 0x3FF);
    f32::from_bits(match exponent {
        // Subnormal numbers of half precision are normal ones here.
        0 => sign | (fraction as f32 * (1.0 / 16_777_216.0)).to_bits(),
        31 => sign | 0x7F80_0000 | fraction << 13,
        _ => sign | (exponent + 112) << 23 | fraction << 13,
    })
}

#[cfg(test)]
mod tests;
