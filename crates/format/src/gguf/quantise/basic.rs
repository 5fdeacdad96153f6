//! Blocks of 32 elements under one scale.

use super::{inverse, low_byte, nearest};
use crate::cast::float::to_f16;

/// Numbers that are compared at once.
const LANES: usize = 8;

/// Scale, then 32 nibbles with 8 added. The largest magnitude becomes -8.
pub(super) fn q4_0(numbers: &[f32; 32], block: &mut [u8; 18]) {
    let scale = farthest(numbers) / -8.0;
    let levels = levels::<15>(numbers, 0.0, inverse(scale), 8.5);
    let (head, quants) = block.split_at_mut(2);
    head.copy_from_slice(&to_f16(scale).to_le_bytes());
    nibbles(&levels, quants);
}

/// Scale, least value, then 32 nibbles.
pub(super) fn q4_1(numbers: &[f32; 32], block: &mut [u8; 20]) {
    let (least, most) = range(numbers);
    let scale = (most - least) / 15.0;
    let levels = levels::<15>(numbers, least, inverse(scale), 0.5);
    let (head, quants) = block.split_at_mut(4);
    pair(scale, least, head);
    nibbles(&levels, quants);
}

/// Scale, 32 high bits, then 32 nibbles, with 16 added. The largest magnitude becomes -16.
pub(super) fn q5_0(numbers: &[f32; 32], block: &mut [u8; 22]) {
    let scale = farthest(numbers) / -16.0;
    let levels = levels::<31>(numbers, 0.0, inverse(scale), 16.5);
    let (head, rest) = block.split_at_mut(2);
    let (high, quants) = rest.split_at_mut(4);
    head.copy_from_slice(&to_f16(scale).to_le_bytes());
    fifth_bits(&levels, high);
    nibbles(&levels, quants);
}

/// Scale, least value, 32 high bits, then 32 nibbles.
pub(super) fn q5_1(numbers: &[f32; 32], block: &mut [u8; 24]) {
    let (least, most) = range(numbers);
    let scale = (most - least) / 31.0;
    let levels = levels::<31>(numbers, least, inverse(scale), 0.5);
    let (head, rest) = block.split_at_mut(4);
    let (high, quants) = rest.split_at_mut(4);
    pair(scale, least, head);
    fifth_bits(&levels, high);
    nibbles(&levels, quants);
}

/// Scale, then 32 signed bytes: the nearest integers, ties away from zero.
pub(super) fn q8_0(numbers: &[f32; 32], block: &mut [u8; 34]) {
    let scale = largest(numbers) / 127.0;
    let inverse = inverse(scale);
    let (head, quants) = block.split_at_mut(2);
    head.copy_from_slice(&to_f16(scale).to_le_bytes());
    for (quant, &number) in quants.iter_mut().zip(numbers) {
        let exact = number * inverse;
        let even = nearest(exact);
        // A tie that went to the even neighbour towards zero goes to the other one.
        let over = exact - even;
        let up = if over == 0.5 && exact > 0.0 { 1.0 } else { 0.0 };
        let down = if over == -0.5 && exact < 0.0 { 1.0 } else { 0.0 };
        *quant = low_byte(even + up - down);
    }
}

/// The largest magnitude; NaN is left out.
fn largest(numbers: &[f32; 32]) -> f32 {
    let mut found = [0f32; LANES];
    for lanes in numbers.as_chunks::<LANES>().0 {
        for (found, number) in found.iter_mut().zip(lanes) {
            let magnitude = number.abs();
            *found = if magnitude > *found { magnitude } else { *found };
        }
    }
    found.iter().fold(0.0, |most, &lane| if lane > most { lane } else { most })
}

/// The first number with the largest magnitude; 0 if there are only NaNs.
///
/// Of zeros too it is the first, as gguf-py has it: ggml makes a negative zero of a block of negative ones.
fn farthest(numbers: &[f32; 32]) -> f32 {
    let largest = largest(numbers);
    numbers.iter().copied().find(|number| number.abs() == largest).unwrap_or(0.0)
}

/// The least and the greatest number, the first of equals; NaN is left out.
///
/// Of zeros with both signs ggml takes the first. gguf-py takes one or the other, by the vector unit that NumPy finds.
fn range(numbers: &[f32; 32]) -> (f32, f32) {
    // As ggml, from the largest finite numbers on.
    let (mut least, mut most) = ([f32::MAX; LANES], [-f32::MAX; LANES]);
    for lanes in numbers.as_chunks::<LANES>().0 {
        for ((least, most), &number) in least.iter_mut().zip(&mut most).zip(lanes) {
            *least = if number < *least { number } else { *least };
            *most = if number > *most { number } else { *most };
        }
    }
    let least = least.iter().fold(f32::MAX, |least, &lane| if lane < least { lane } else { least });
    let most = most.iter().fold(-f32::MAX, |most, &lane| if lane > most { lane } else { most });
    // Of two zeros with different signs the lanes may have found the later one.
    let least =
        if least == 0.0 { numbers.iter().copied().find(|&number| number == 0.0).unwrap_or(least) } else { least };
    (least, most)
}

/// `(number - least) · inverse + bias`, cut to an integer of at most `TOP`.
fn levels<const TOP: u8>(numbers: &[f32; 32], least: f32, inverse: f32, bias: f32) -> [u8; 32] {
    let mut levels = [0; 32];
    for (level, &number) in levels.iter_mut().zip(numbers) {
        let exact = (number - least) * inverse + bias;
        let near = nearest(exact);
        let cut = if near > exact { near - 1.0 } else { near };
        *level = low_byte(cut).min(TOP);
    }
    levels
}

/// Two scales in half precision.
fn pair(scale: f32, least: f32, head: &mut [u8]) {
    for (byte, half) in head.iter_mut().zip([to_f16(scale), to_f16(least)].iter().flat_map(|half| half.to_le_bytes())) {
        *byte = half;
    }
}

/// Elements `0..16` in the low nibbles, `16..32` in the high ones.
fn nibbles(levels: &[u8; 32], quants: &mut [u8]) {
    let (low, high) = levels.split_at(16);
    for ((quant, low), high) in quants.iter_mut().zip(low).zip(high) {
        *quant = low & 0x0f | high << 4;
    }
}

/// The fifth bit of each level, of the first one lowest.
fn fifth_bits(levels: &[u8; 32], high: &mut [u8]) {
    for (byte, levels) in high.iter_mut().zip(levels.as_chunks::<8>().0) {
        *byte = levels.iter().rev().fold(0, |bits, level| bits << 1 | level >> 4 & 1);
    }
}
