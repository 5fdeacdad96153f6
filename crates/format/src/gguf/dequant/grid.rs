//! Blocks of 256 elements that are points of a grid: eight or four neighbours share one index.

use super::grids::{IQ1, IQ2_S, IQ2_XS, IQ2_XXS, IQ3_S, IQ3_XXS, LEVELS_2, LEVELS_3_S, LEVELS_3_XXS};
use super::half;

/// What `IQ1` points are moved by.
const DELTA: f32 = 0.125;

fn u16_at(block: &[u8], at: usize) -> u16 {
    u16::from_le_bytes([block[at], block[at + 1]])
}

fn u32_at(block: &[u8], at: usize) -> u32 {
    u32::from_le_bytes([block[at], block[at + 1], block[at + 2], block[at + 3]])
}

/// Eight signs out of seven bits: the eighth makes their number even.
const fn signs(seven: u8) -> u8 {
    seven | ((seven.count_ones() as u8 & 1) << 7)
}

fn signed(value: f32, signs: u8, at: usize) -> f32 {
    value * if signs >> at & 1 == 0 { 1.0 } else { -1.0 }
}

/// Eight elements of an `IQ2` point.
fn eight(out: &mut [f32], scale: f32, point: u16, signs: u8) {
    for (at, out) in out.iter_mut().enumerate() {
        let level = LEVELS_2[usize::from(point >> (2 * at) & 3)];
        *out = signed(scale * f32::from(level), signs, at);
    }
}

/// Eight elements of two `IQ3` points.
fn twice_four(out: &mut [f32], scale: f32, points: [u16; 2], levels: [u8; 8], signs: u8) {
    for (at, out) in out.iter_mut().enumerate() {
        let level = levels[usize::from(points[at / 4] >> (4 * (at % 4)) & 7)];
        *out = signed(scale * f32::from(level), signs, at);
    }
}

/// Eight elements of an `IQ1` point.
fn eight_thirds(out: &mut [f32], scale: f32, point: u16, delta: f32) {
    for (at, out) in out.iter_mut().enumerate() {
        *out = scale * (f32::from(point >> (2 * at) & 3) - 1.0 + delta);
    }
}

/// Scale, then for each 32 elements four indices, and a word of four times seven signs and a scale.
pub(super) fn iq2_xxs(block: &[u8; 66], out: &mut [f32; 256]) {
    let scale = half([block[0], block[1]]);
    for (group, out) in out.as_chunks_mut::<8>().0.iter_mut().enumerate() {
        let (part, within) = (2 + group / 4 * 8, group % 4);
        let word = u32_at(block, part + 4);
        let scale = scale * (0.5 + (word >> 28) as f32) * 0.25;
        let seven = (word >> (7 * within) & 0x7F) as u8;
        eight(out, scale, IQ2_XXS[usize::from(block[part + within])], signs(seven));
    }
}

/// Scale, 32 words of nine index bits and seven signs, then 16 scales.
pub(super) fn iq2_xs(block: &[u8; 74], out: &mut [f32; 256]) {
    let scale = half([block[0], block[1]]);
    for (group, out) in out.as_chunks_mut::<8>().0.iter_mut().enumerate() {
        let word = u16_at(block, 2 + 2 * group);
        let four = block[66 + group / 4] >> (group / 2 % 2 * 4) & 0x0F;
        let scale = scale * (0.5 + f32::from(four)) * 0.25;
        eight(out, scale, IQ2_XS[usize::from(word & 511)], signs((word >> 9) as u8));
    }
}

/// Scale, low index bytes, signs, high index bits, then 16 scales.
pub(super) fn iq2_s(block: &[u8; 82], out: &mut [f32; 256]) {
    let scale = half([block[0], block[1]]);
    for (group, out) in out.as_chunks_mut::<8>().0.iter_mut().enumerate() {
        let high = block[66 + group / 4] >> (group % 4 * 2) & 3;
        let four = block[74 + group / 4] >> (group / 2 % 2 * 4) & 0x0F;
        let scale = scale * (0.5 + f32::from(four)) * 0.25;
        eight(out, scale, IQ2_S[usize::from(block[2 + group]) | usize::from(high) << 8], block[34 + group]);
    }
}

/// Scale, 64 indices, then for each 32 elements a word of four times seven signs and a scale.
pub(super) fn iq3_xxs(block: &[u8; 98], out: &mut [f32; 256]) {
    let scale = half([block[0], block[1]]);
    for (group, out) in out.as_chunks_mut::<8>().0.iter_mut().enumerate() {
        let word = u32_at(block, 66 + group / 4 * 4);
        let scale = scale * (0.5 + (word >> 28) as f32) * 0.5;
        let seven = (word >> (7 * (group % 4)) & 0x7F) as u8;
        let points = [2 + 2 * group, 3 + 2 * group].map(|at| IQ3_XXS[usize::from(block[at])]);
        twice_four(out, scale, points, LEVELS_3_XXS, signs(seven));
    }
}

/// Scale, low index bytes, high index bits, signs, then eight scales.
pub(super) fn iq3_s(block: &[u8; 110], out: &mut [f32; 256]) {
    let scale = half([block[0], block[1]]);
    for (group, out) in out.as_chunks_mut::<8>().0.iter_mut().enumerate() {
        let four = block[106 + group / 8] >> (group / 4 % 2 * 4) & 0x0F;
        let scale = scale * (1.0 + 2.0 * f32::from(four));
        let points = [2 * group, 2 * group + 1].map(|at| {
            let high = block[66 + at / 8] >> (at % 8) & 1;
            IQ3_S[usize::from(block[2 + at]) | usize::from(high) << 8]
        });
        twice_four(out, scale, points, LEVELS_3_S, block[74 + group]);
    }
}

/// Scale, low index bytes, then for each 32 elements a word of high index bits, a scale and the direction of the move.
pub(super) fn iq1_s(block: &[u8; 50], out: &mut [f32; 256]) {
    let scale = half([block[0], block[1]]);
    for (group, out) in out.as_chunks_mut::<8>().0.iter_mut().enumerate() {
        let word = u16_at(block, 34 + group / 4 * 2);
        let scale = scale * f32::from(2 * (word >> 12 & 7) + 1);
        let delta = if word & 0x8000 == 0 { DELTA } else { -DELTA };
        let high = word >> (3 * (group % 4)) & 7;
        eight_thirds(out, scale, IQ1[usize::from(block[2 + group]) | usize::from(high) << 8], delta);
    }
}

/// Low index bytes, nibbles of high index bits and direction, then words whose upper four bits are the scale in pieces.
pub(super) fn iq1_m(block: &[u8; 56], out: &mut [f32; 256]) {
    let words = [48, 50, 52, 54].map(|at| u16_at(block, at));
    let pieces = words.iter().enumerate().fold(0, |sum, (at, word)| sum | (word & 0xF000) >> (12 - 4 * at));
    let scale = half(pieces.to_le_bytes());
    for (group, out) in out.as_chunks_mut::<8>().0.iter_mut().enumerate() {
        let three = words[group / 8] >> (3 * (group / 2 % 4)) & 7;
        let scale = scale * f32::from(2 * three + 1);
        let nibble = block[32 + group / 2] >> (group % 2 * 4);
        let delta = if nibble & 8 == 0 { DELTA } else { -DELTA };
        eight_thirds(out, scale, IQ1[usize::from(block[group]) | usize::from(nibble & 7) << 8], delta);
    }
}
