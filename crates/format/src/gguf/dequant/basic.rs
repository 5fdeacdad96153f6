//! Blocks of 32 elements under one scale, and the two that are built like them.

use super::half;
use super::tables::{DOUBLED_E2M1, NONLINEAR};

/// Elements `0..16` in the low nibbles, `16..32` in the high ones.
fn nibble(quants: &[u8], at: usize) -> u8 {
    let byte = quants[at % 16];
    if at < 16 { byte & 0x0F } else { byte >> 4 }
}

/// A fifth bit for each nibble.
fn five_bits(high: &[u8], quants: &[u8], at: usize) -> u8 {
    nibble(quants, at) | (high[at / 8] >> (at % 8) & 1) << 4
}

/// Scale, then 32 nibbles less 8.
pub(super) fn q4_0(block: &[u8; 18], out: &mut [f32; 32]) {
    let scale = half([block[0], block[1]]);
    for (at, out) in out.iter_mut().enumerate() {
        *out = scale * (f32::from(nibble(&block[2..], at)) - 8.0);
    }
}

/// Scale, least value, then 32 nibbles.
pub(super) fn q4_1(block: &[u8; 20], out: &mut [f32; 32]) {
    let (scale, least) = (half([block[0], block[1]]), half([block[2], block[3]]));
    for (at, out) in out.iter_mut().enumerate() {
        *out = scale * f32::from(nibble(&block[4..], at)) + least;
    }
}

/// Scale, 32 high bits, then 32 nibbles, less 16.
pub(super) fn q5_0(block: &[u8; 22], out: &mut [f32; 32]) {
    let scale = half([block[0], block[1]]);
    for (at, out) in out.iter_mut().enumerate() {
        *out = scale * (f32::from(five_bits(&block[2..6], &block[6..], at)) - 16.0);
    }
}

/// Scale, least value, 32 high bits, then 32 nibbles.
pub(super) fn q5_1(block: &[u8; 24], out: &mut [f32; 32]) {
    let (scale, least) = (half([block[0], block[1]]), half([block[2], block[3]]));
    for (at, out) in out.iter_mut().enumerate() {
        *out = scale * f32::from(five_bits(&block[4..8], &block[8..], at)) + least;
    }
}

/// Scale, then 32 signed bytes.
pub(super) fn q8_0(block: &[u8; 34], out: &mut [f32; 32]) {
    let scale = half([block[0], block[1]]);
    for (out, &quant) in out.iter_mut().zip(&block[2..]) {
        *out = f32::from(quant.cast_signed()) * scale;
    }
}

/// Scale and sum in single precision, then 32 signed bytes.
///
/// ggml has halved the two since, but only in memory: in files the block has 40 bytes.
pub(super) fn q8_1(block: &[u8; 40], out: &mut [f32; 32]) {
    let scale = f32::from_le_bytes([block[0], block[1], block[2], block[3]]);
    for (out, &quant) in out.iter_mut().zip(&block[8..]) {
        *out = f32::from(quant.cast_signed()) * scale;
    }
}

/// Scale, then 128 signs.
pub(super) fn q1_0(block: &[u8; 18], out: &mut [f32; 128]) {
    let scale = half([block[0], block[1]]);
    for (at, out) in out.iter_mut().enumerate() {
        *out = if block[2 + at / 8] >> (at % 8) & 1 == 1 { scale } else { -scale };
    }
}

/// Scale, then 32 indices of levels that are not evenly spaced.
pub(super) fn iq4_nl(block: &[u8; 18], out: &mut [f32; 32]) {
    let scale = half([block[0], block[1]]);
    for (at, out) in out.iter_mut().enumerate() {
        *out = scale * f32::from(NONLINEAR[usize::from(nibble(&block[2..], at))]);
    }
}

/// A power of two, then 32 four-bit floats.
pub(super) fn mxfp4(block: &[u8; 17], out: &mut [f32; 32]) {
    let exponent = u32::from(block[0]);
    // Half the scale, since the table is doubled; the two smallest scales are subnormal.
    let bits = if exponent < 2 { 0x0020_0000 << exponent } else { (exponent - 1) << 23 };
    let scale = f32::from_bits(bits);
    for (at, out) in out.iter_mut().enumerate() {
        *out = scale * f32::from(DOUBLED_E2M1[usize::from(nibble(&block[1..], at))]);
    }
}

/// Four scales of eight bits, then four times 16 four-bit floats.
pub(super) fn nvfp4(block: &[u8; 36], out: &mut [f32; 64]) {
    let (scales, quants) = block.split_at(4);
    for (at, out) in out.iter_mut().enumerate() {
        let (part, within) = (at / 16, at % 16);
        let byte = quants[part * 8 + within % 8];
        let index = if within < 8 { byte & 0x0F } else { byte >> 4 };
        *out = unsigned_e4m3_halved(scales[part]) * f32::from(DOUBLED_E2M1[usize::from(index)]);
    }
}

/// Half of an eight-bit float without sign; the table it goes with is doubled.
fn unsigned_e4m3_halved(byte: u8) -> f32 {
    let (exponent, fraction) = (u32::from(byte >> 3 & 0x0F), f32::from(byte & 7));
    match (byte, exponent) {
        (0 | 0x7F, _) => 0.0,
        (_, 0) => fraction / 512.0 * 0.5,
        _ => (1.0 + fraction / 8.0) * f32::from_bits((exponent + 120) << 23) * 0.5,
    }
}
