//! Blocks of 256 elements, with scales that are quantised themselves.

use super::half;
use super::tables::NONLINEAR;

/// Two bits of element `at`, where bytes of 32 columns hold four rows of elements each.
fn crumb(quants: &[u8], at: usize) -> u8 {
    quants[at / 128 * 32 + at % 32] >> (at % 128 / 32 * 2) & 3
}

/// Four bits of element `at`, where bytes of 32 columns hold two rows of elements each.
fn nibble(quants: &[u8], at: usize) -> u8 {
    quants[at / 64 * 32 + at % 32] >> (at % 64 / 32 * 4) & 0x0F
}

/// Bit `row` of the byte in the column of element `at`, with 8 rows of 32 columns.
fn plane(bits: &[u8], at: usize) -> u8 {
    bits[at % 32] >> (at / 32) & 1
}

/// 16 pairs of scale and least value, quants, then what the pairs are scaled by.
pub(super) fn q2_k(block: &[u8; 84], out: &mut [f32; 256]) {
    let (scale, least) = (half([block[80], block[81]]), half([block[82], block[83]]));
    for (at, out) in out.iter_mut().enumerate() {
        let pair = block[at / 16];
        let (scale, least) = (scale * f32::from(pair & 0x0F), least * f32::from(pair >> 4));
        *out = scale * f32::from(crumb(&block[16..80], at)) - least;
    }
}

/// High bits, low bits, 16 scales of six bits, then the scale of scales.
pub(super) fn q3_k(block: &[u8; 110], out: &mut [f32; 256]) {
    let scale = half([block[108], block[109]]);
    let packed = &block[96..108];
    for (at, out) in out.iter_mut().enumerate() {
        let part = at / 16;
        let low = packed[part % 8] >> (part / 8 * 4) & 0x0F;
        let high = packed[8 + part % 4] >> (part / 4 * 2) & 3;
        let scale = scale * (f32::from(low | high << 4) - 32.0);
        // The high bit says that nothing is taken away.
        let taken = if plane(block, at) == 1 { 0.0 } else { 4.0 };
        *out = scale * (f32::from(crumb(&block[32..96], at)) - taken);
    }
}

/// Scale and least value of part `part` of eight, six bits each, out of twelve bytes.
fn six_bit_pair(packed: &[u8], part: usize) -> (f32, f32) {
    let (low, high) = if part < 4 {
        (packed[part] & 0x3F, packed[4 + part] & 0x3F)
    } else {
        let shared = packed[4 + part];
        (shared & 0x0F | packed[part - 4] >> 2 & 0x30, shared >> 4 | packed[part] >> 2 & 0x30)
    };
    (f32::from(low), f32::from(high))
}

/// What the pairs are scaled by, eight pairs, then nibbles.
pub(super) fn q4_k(block: &[u8; 144], out: &mut [f32; 256]) {
    let (scale, least) = (half([block[0], block[1]]), half([block[2], block[3]]));
    for (part, out) in out.as_chunks_mut::<32>().0.iter_mut().enumerate() {
        let pair = six_bit_pair(&block[4..16], part);
        let (scale, least) = (scale * pair.0, least * pair.1);
        for (at, out) in out.iter_mut().enumerate() {
            *out = scale * f32::from(nibble(&block[16..], part * 32 + at)) - least;
        }
    }
}

/// As `Q4_K`, with a plane of fifth bits before the nibbles.
pub(super) fn q5_k(block: &[u8; 176], out: &mut [f32; 256]) {
    let (scale, least) = (half([block[0], block[1]]), half([block[2], block[3]]));
    for (part, out) in out.as_chunks_mut::<32>().0.iter_mut().enumerate() {
        let pair = six_bit_pair(&block[4..16], part);
        let (scale, least) = (scale * pair.0, least * pair.1);
        for (at, out) in out.iter_mut().enumerate() {
            let at = part * 32 + at;
            *out = scale * f32::from(nibble(&block[48..], at) | plane(&block[16..48], at) << 4) - least;
        }
    }
}

/// Low nibbles, high crumbs, 16 scales of eight bits, then the scale of scales.
pub(super) fn q6_k(block: &[u8; 210], out: &mut [f32; 256]) {
    let scale = half([block[208], block[209]]);
    for (at, out) in out.iter_mut().enumerate() {
        let scale = scale * f32::from(block[192 + at / 16].cast_signed());
        // Here a nibble's row has 64 columns.
        let low = block[at / 128 * 64 + at % 64] >> (at % 128 / 64 * 4) & 0x0F;
        *out = scale * (f32::from(low | crumb(&block[128..192], at) << 4) - 32.0);
    }
}

/// Scale in single precision, signed bytes, then sums that only products need.
pub(super) fn q8_k(block: &[u8; 292], out: &mut [f32; 256]) {
    let scale = f32::from_le_bytes([block[0], block[1], block[2], block[3]]);
    for (out, &quant) in out.iter_mut().zip(&block[4..260]) {
        *out = scale * f32::from(quant.cast_signed());
    }
}

/// Five base-3 digits in a byte, 48 bytes long; four in each of four more; then the scale.
pub(super) fn tq1_0(block: &[u8; 54], out: &mut [f32; 256]) {
    const POWERS: [u8; 5] = [1, 3, 9, 27, 81];
    let scale = half([block[52], block[53]]);
    for (at, out) in out.iter_mut().enumerate() {
        let (byte, digit) = match at {
            0..160 => (at % 32, at / 32),
            160..240 => (32 + (at - 160) % 16, (at - 160) / 16),
            _ => (48 + (at - 240) % 4, (at - 240) / 4),
        };
        // A byte is a fraction of 256: the digit wanted is shifted to the front, then carried out by three.
        let fraction = block[byte].wrapping_mul(POWERS[digit]);
        let digit = (u16::from(fraction) * 3) >> 8;
        *out = scale * (f32::from(digit) - 1.0);
    }
}

/// Crumbs less one, then the scale.
pub(super) fn tq2_0(block: &[u8; 66], out: &mut [f32; 256]) {
    let scale = half([block[64], block[65]]);
    for (at, out) in out.iter_mut().enumerate() {
        *out = scale * (f32::from(crumb(block, at)) - 1.0);
    }
}

/// Scale, high and low bits of eight scales of six bits, then indices of levels.
pub(super) fn iq4_xs(block: &[u8; 136], out: &mut [f32; 256]) {
    let scale = half([block[0], block[1]]);
    let high = u16::from_le_bytes([block[2], block[3]]);
    for (part, out) in out.as_chunks_mut::<32>().0.iter_mut().enumerate() {
        let low = block[4 + part / 2] >> (part % 2 * 4) & 0x0F;
        let six = u16::from(low) | (high >> (part * 2) & 3) << 4;
        let scale = scale * (f32::from(six) - 32.0);
        let quants = &block[8 + part * 16..];
        for (at, out) in out.iter_mut().enumerate() {
            let byte = quants[at % 16];
            let index = if at < 16 { byte & 0x0F } else { byte >> 4 };
            *out = scale * f32::from(NONLINEAR[usize::from(index)]);
        }
    }
}
