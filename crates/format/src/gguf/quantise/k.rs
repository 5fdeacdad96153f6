//! Blocks of 256 elements, with scales that are quantised themselves.

use super::search::{Found, TINY, side_by_side, signed_level, symmetric, unsigned_level, with_least};
use super::{low_byte, nearest};
use crate::cast::float::{from_f16, to_f16};

/// What the pairs are scaled by, eight pairs of six bits, then nibbles: a byte of 32 columns holds two rows.
pub(super) fn q4_k(numbers: &[f32; 256], block: &mut [u8; 144]) {
    let (head, quants) = block.split_at_mut(16);
    let levels = pairs(numbers, 15.0, -1.0, 20, head);
    two_rows(&levels, quants);
}

/// As `Q4_K`, with a plane of fifth bits before the nibbles: a byte of 32 columns holds eight rows.
pub(super) fn q5_k(numbers: &[f32; 256], block: &mut [u8; 176]) {
    let (head, rest) = block.split_at_mut(16);
    let (high, quants) = rest.split_at_mut(32);
    let levels = pairs(numbers, 31.0, -0.5, 15, head);
    for (row, levels) in levels.as_chunks::<32>().0.iter().enumerate() {
        for (byte, level) in high.iter_mut().zip(levels) {
            *byte |= (level >> 4 & 1) << row;
        }
    }
    two_rows(&levels, quants);
}

/// Finds eight pairs of scale and least value, writes them, and gives the levels.
fn pairs(numbers: &[f32; 256], top: f32, first: f32, tries: u8, head: &mut [u8]) -> [u8; 256] {
    let columns = side_by_side::<8, 32>(numbers);
    let mut sum = [0f32; 8];
    for column in &columns {
        for (sum, number) in sum.iter_mut().zip(column) {
            *sum += number * number;
        }
    }
    let mean = sum.map(|sum| (sum / 32.0).sqrt());
    let weights = columns.map(|column| std::array::from_fn(|group| mean[group] + column[group].abs()));
    let found = with_least(&columns, &weights, top, first, tries);
    let most = |numbers: &[f32]| numbers.iter().fold(0f32, |most, &number| if number > most { number } else { most });
    let (scale, least) = (most(&found.scale), most(&found.least));
    let six_bits = |numbers: [f32; 8], most: f32| {
        let inverse = if most > 0.0 { 63.0 / most } else { 0.0 };
        numbers.map(|number| low_byte(nearest(inverse * number)).min(63))
    };
    let (scales, leasts) = (six_bits(found.scale, scale), six_bits(found.least, least));
    let (scale, least) = (to_f16(scale / 63.0), to_f16(least / 63.0));
    head[..2].copy_from_slice(&scale.to_le_bytes());
    head[2..4].copy_from_slice(&least.to_le_bytes());
    pack_six_bits(scales, leasts, &mut head[4..16]);
    let (scale, least) = (from_f16(scale), from_f16(least));
    let mut levels = [0; 256];
    for (group, levels) in levels.as_chunks_mut::<32>().0.iter_mut().enumerate() {
        let numbers = &numbers[group * 32..][..32];
        let scale = scale * f32::from(scales[group]);
        let least = least * f32::from(leasts[group]);
        for (level, &number) in levels.iter_mut().zip(numbers) {
            *level = low_byte(if scale == 0.0 {
                // A scale that is lost leaves the levels of the search.
                unsigned_level(found.inverse[group] * (number - found.origin[group]), top)
            } else {
                unsigned_level((number + least) / scale, top)
            });
        }
    }
    levels
}

/// Eight pairs in twelve bytes: six bits of the first four scales, of the first four least values, then nibbles of the
/// others, whose upper two bits lie above the first eight.
fn pack_six_bits(scales: [u8; 8], leasts: [u8; 8], packed: &mut [u8]) {
    for part in 0..4 {
        packed[part] = scales[part] | scales[part + 4] >> 4 << 6;
        packed[part + 4] = leasts[part] | leasts[part + 4] >> 4 << 6;
        packed[part + 8] = scales[part + 4] & 0x0f | leasts[part + 4] << 4;
    }
}

/// Nibbles of rows of 32: the first row low, the second high, and so on.
fn two_rows(levels: &[u8; 256], quants: &mut [u8]) {
    for (quants, levels) in quants.as_chunks_mut::<32>().0.iter_mut().zip(levels.as_chunks::<64>().0) {
        let (low, high) = levels.split_at(32);
        for ((quant, low), high) in quants.iter_mut().zip(low).zip(high) {
            *quant = low & 0x0f | high << 4;
        }
    }
}

/// Low nibbles, high crumbs, 16 scales of eight bits, then the scale of scales.
pub(super) fn q6_k(numbers: &[f32; 256], block: &mut [u8; 210]) {
    let found: Found<16> = symmetric(&side_by_side::<16, 16>(numbers));
    let (mut largest, mut farthest) = (0f32, 0f32);
    for scale in found.scale {
        if scale.abs() > largest {
            (largest, farthest) = (scale.abs(), scale);
        }
    }
    if largest < TINY {
        block.fill(0);
        return;
    }
    let inverse = -128.0 / farthest;
    let scale = to_f16(1.0 / inverse);
    block[208..].copy_from_slice(&scale.to_le_bytes());
    let scale = from_f16(scale);
    let mut levels = [0; 256];
    for (group, levels) in levels.as_chunks_mut::<16>().0.iter_mut().enumerate() {
        let numbers = &numbers[group * 16..][..16];
        let near = nearest(inverse * found.scale[group]);
        // What is not finite becomes 0.
        let quantised = low_byte(if near > 127.0 && near.is_finite() { 127.0 } else { near });
        block[192 + group] = quantised;
        let scale = scale * f32::from(quantised.cast_signed());
        for (level, &number) in levels.iter_mut().zip(numbers) {
            *level = if scale.is_nan() {
                32
            } else if scale != 0.0 {
                low_byte(signed_level(number / scale) + 32.0)
            } else if found.inverse[group] == 0.0 {
                0
            } else {
                // A scale that is lost leaves the levels of the search.
                low_byte(signed_level(found.inverse[group] * number) + 32.0)
            };
        }
    }
    for (half, levels) in levels.as_chunks::<128>().0.iter().enumerate() {
        let (rows, _) = levels.as_chunks::<32>();
        let [a, b, c, d] = rows else { continue };
        for column in 0..32 {
            let (a, b, c, d) = (a[column], b[column], c[column], d[column]);
            block[half * 64 + column] = a & 0x0f | c << 4;
            block[half * 64 + 32 + column] = b & 0x0f | d << 4;
            block[128 + half * 32 + column] = a >> 4 | b >> 4 << 2 | c >> 4 << 4 | d >> 4 << 6;
        }
    }
}
