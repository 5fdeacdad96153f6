//! Blocks of 256 elements, with scales that are quantised themselves.

use super::basic::nibbles;
use super::half;
use super::tables::NONLINEAR;

/// Where the two bits of elements `16 · part ..` begin, and how far up: a byte of 32 columns holds four rows.
const fn crumbs(part: usize) -> (usize, usize) {
    (part / 8 * 32 + part % 2 * 16, part % 8 / 2 * 2)
}

/// 16 pairs of scale and least value, quants, then what the pairs are scaled by.
pub(super) fn q2_k(block: &[u8; 84], out: &mut [f32; 256]) {
    let (scale, least) = (half([block[80], block[81]]), half([block[82], block[83]]));
    for (part, out) in out.as_chunks_mut::<16>().0.iter_mut().enumerate() {
        let (scale, least) = (scale * f32::from(block[part] & 0x0F), least * f32::from(block[part] >> 4));
        let (begin, shift) = crumbs(part);
        for (out, quant) in out.iter_mut().zip(&block[16 + begin..]) {
            *out = scale * f32::from(quant >> shift & 3) - least;
        }
    }
}

/// High bits, low bits, 16 scales of six bits, then the scale of scales.
pub(super) fn q3_k(block: &[u8; 110], out: &mut [f32; 256]) {
    let scale = half([block[108], block[109]]);
    let packed = &block[96..108];
    for (part, out) in out.as_chunks_mut::<16>().0.iter_mut().enumerate() {
        let low = packed[part % 8] >> (part / 8 * 4) & 0x0F;
        let high = packed[8 + part % 4] >> (part / 4 * 2) & 3;
        let scale = scale * (f32::from(low | high << 4) - 32.0);
        let (begin, shift) = crumbs(part);
        for ((out, low), high) in out.iter_mut().zip(&block[32 + begin..]).zip(&block[part % 2 * 16..]) {
            // Where the high bit is not set, four is taken away.
            let quant = (low >> shift & 3) | (high >> (part / 2) & 1) << 2;
            *out = scale * (f32::from(quant) - 4.0);
        }
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

/// What the pairs are scaled by, eight pairs, then nibbles: a byte of 32 columns holds two rows.
pub(super) fn q4_k(block: &[u8; 144], out: &mut [f32; 256]) {
    let (scale, least) = (half([block[0], block[1]]), half([block[2], block[3]]));
    for (part, out) in out.as_chunks_mut::<32>().0.iter_mut().enumerate() {
        let pair = six_bit_pair(&block[4..16], part);
        let (scale, least) = (scale * pair.0, least * pair.1);
        for (out, quant) in out.iter_mut().zip(&block[16 + part / 2 * 32..]) {
            *out = scale * f32::from(quant >> (part % 2 * 4) & 0x0F) - least;
        }
    }
}

/// As `Q4_K`, with a plane of fifth bits before the nibbles: a byte of 32 columns holds eight rows.
pub(super) fn q5_k(block: &[u8; 176], out: &mut [f32; 256]) {
    let (scale, least) = (half([block[0], block[1]]), half([block[2], block[3]]));
    for (part, out) in out.as_chunks_mut::<32>().0.iter_mut().enumerate() {
        let pair = six_bit_pair(&block[4..16], part);
        let (scale, least) = (scale * pair.0, least * pair.1);
        for ((out, low), high) in out.iter_mut().zip(&block[48 + part / 2 * 32..]).zip(&block[16..48]) {
            let quant = (low >> (part % 2 * 4) & 0x0F) | (high >> part & 1) << 4;
            *out = scale * f32::from(quant) - least;
        }
    }
}

/// Low nibbles, high crumbs, 16 scales of eight bits, then the scale of scales.
pub(super) fn q6_k(block: &[u8; 210], out: &mut [f32; 256]) {
    let scale = half([block[208], block[209]]);
    for (part, out) in out.as_chunks_mut::<16>().0.iter_mut().enumerate() {
        let scale = scale * f32::from(block[192 + part].cast_signed());
        // Here a nibble's row has 64 columns.
        let (nibbles, up) = (part / 8 * 64 + part % 4 * 16, part % 8 / 4 * 4);
        let (begin, shift) = crumbs(part);
        for ((out, low), high) in out.iter_mut().zip(&block[nibbles..]).zip(&block[128 + begin..]) {
            let quant = (low >> up & 0x0F) | (high >> shift & 3) << 4;
            *out = scale * (f32::from(quant) - 32.0);
        }
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
    for (part, out) in out.as_chunks_mut::<16>().0.iter_mut().enumerate() {
        let (begin, shift) = crumbs(part);
        for (out, quant) in out.iter_mut().zip(&block[begin..]) {
            *out = scale * (f32::from(quant >> shift & 3) - 1.0);
        }
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
        nibbles(&block[8 + part * 16..], out, |_, index| scale * f32::from(NONLINEAR[usize::from(index)]));
    }
}
