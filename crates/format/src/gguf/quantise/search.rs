//! The search for scales, in several groups of elements at once.
//!
//! Sums of floats depend on their order, and which scale wins depends on sums. So each group keeps the order of its
//! elements, and what runs side by side are the groups: number `i` of all groups lies together.

use super::nearest;

/// What a group is scaled by: an element stands for `scale · level - least`.
#[derive(Clone, Copy, Debug)]
pub(super) struct Found<const GROUPS: usize> {
    /// Scale of each group.
    pub scale: [f32; GROUPS],
    /// What is taken away in each group; never negative.
    pub least: [f32; GROUPS],
    /// What the elements were multiplied by for the levels of the best try, 0 where there was none.
    pub inverse: [f32; GROUPS],
    /// What was taken away before.
    pub origin: [f32; GROUPS],
}

/// Number `at` of each group, and so for each number.
pub(super) fn side_by_side<const GROUPS: usize, const LEN: usize>(numbers: &[f32; 256]) -> [[f32; GROUPS]; LEN] {
    let mut out = [[0.0; GROUPS]; LEN];
    for (group, numbers) in numbers.as_chunks::<LEN>().0.iter().enumerate() {
        for (out, &number) in out.iter_mut().zip(numbers) {
            if let Some(out) = out.get_mut(group) {
                *out = number;
            }
        }
    }
    out
}

/// Scales and least values for levels `0..=top`: tries `first`, `first + 0.1`, … more levels on the range of a group, fits
/// scale and least value to the levels by weighted least squares, and keeps the try with the least error.
pub(super) fn with_least<const GROUPS: usize>(
    numbers: &[[f32; GROUPS]; 32],
    weights: &[[f32; GROUPS]; 32],
    top: f32,
    first: f32,
    tries: u8,
) -> Found<GROUPS> {
    let (mut least, mut most) = (numbers[0], numbers[0]);
    let (mut sum_w, mut sum_x) = ([0.0; GROUPS], [0.0; GROUPS]);
    for (numbers, weights) in numbers.iter().zip(weights) {
        for group in 0..GROUPS {
            let (number, weight) = (numbers[group], weights[group]);
            least[group] = if number < least[group] { number } else { least[group] };
            most[group] = if number > most[group] { number } else { most[group] };
            sum_w[group] += weight;
            sum_x[group] += weight * number;
        }
    }
    for least in &mut least {
        *least = if *least > 0.0 { 0.0 } else { *least };
    }
    let inverse: [f32; GROUPS] = std::array::from_fn(|group| top / (most[group] - least[group]));
    let flat: [bool; GROUPS] = std::array::from_fn(|group| most[group] == least[group]);
    // From here on `least` is that of the best try, from which the next one goes on.
    let scale = inverse.map(f32::recip);
    let mut found = Found { scale, least, inverse: inverse.map(finite), origin: least };
    let mut best = errors(numbers, weights, &found, &found.scale, &least, top);
    for tried in 0..=tries {
        let levels = first + 0.1f32 * f32::from(tried) + top;
        let inverse = std::array::from_fn(|group| finite(levels / (most[group] - least[group])));
        let attempt = Found { inverse, origin: least, ..found };
        let (mut sum_l, mut sum_ll, mut sum_xl) = ([0.0; GROUPS], [0.0; GROUPS], [0.0; GROUPS]);
        for (numbers, weights) in numbers.iter().zip(weights) {
            for group in 0..GROUPS {
                let level = level(inverse[group], numbers[group] - least[group], top);
                let weighted = weights[group] * level;
                sum_l[group] += weighted;
                sum_ll[group] += weighted * level;
                sum_xl[group] += weighted * numbers[group];
            }
        }
        let (mut scale, mut low, mut solved) = ([0.0; GROUPS], [0.0; GROUPS], [false; GROUPS]);
        for group in 0..GROUPS {
            let determinant = sum_w[group] * sum_ll[group] - sum_l[group] * sum_l[group];
            solved[group] = determinant > 0.0;
            scale[group] = (sum_w[group] * sum_xl[group] - sum_x[group] * sum_l[group]) / determinant;
            low[group] = (sum_ll[group] * sum_x[group] - sum_l[group] * sum_xl[group]) / determinant;
            if low[group] > 0.0 {
                low[group] = 0.0;
                scale[group] = sum_xl[group] / sum_ll[group];
            }
        }
        let error = errors(numbers, weights, &attempt, &scale, &low, top);
        for group in 0..GROUPS {
            if solved[group] && error[group] < best[group] {
                best[group] = error[group];
                found.scale[group] = scale[group];
                found.inverse[group] = inverse[group];
                found.origin[group] = least[group];
                least[group] = low[group];
            }
        }
    }
    found.least = least.map(|least| -least);
    for ((scale, inverse), flat) in found.scale.iter_mut().zip(&mut found.inverse).zip(flat) {
        if flat {
            (*scale, *inverse) = (0.0, 0.0);
        }
    }
    found
}

/// Of a range that is too small to divide by, ggml's levels are all 0: so they are times 0.
fn finite(inverse: f32) -> f32 {
    if inverse.is_finite() { inverse } else { 0.0 }
}

/// The level of a number.
#[inline]
fn level(inverse: f32, number: f32, top: f32) -> f32 {
    let near = nearest(inverse * number);
    let near = if near > 0.0 { near } else { 0.0 };
    if near < top { near } else { top }
}

/// Weighted square error of each group, with levels found by the `inverse` and `origin` of `levels`.
fn errors<const GROUPS: usize>(
    numbers: &[[f32; GROUPS]; 32],
    weights: &[[f32; GROUPS]; 32],
    levels: &Found<GROUPS>,
    scale: &[f32; GROUPS],
    least: &[f32; GROUPS],
    top: f32,
) -> [f32; GROUPS] {
    let mut error = [0.0; GROUPS];
    for (numbers, weights) in numbers.iter().zip(weights) {
        for group in 0..GROUPS {
            let level = level(levels.inverse[group], numbers[group] - levels.origin[group], top);
            let off = scale[group] * level + least[group] - numbers[group];
            error[group] += weights[group] * (off * off);
        }
    }
    error
}

/// Below this the numbers of a group are zero.
pub(super) const TINY: f32 = 1e-15;

/// Scales for levels `-32..=31`, weighted by squares: the largest magnitude becomes -32, or up to 0.9 more or less.
pub(super) fn symmetric<const GROUPS: usize>(numbers: &[[f32; GROUPS]; 16]) -> Found<GROUPS> {
    let (mut largest, mut farthest) = ([0.0; GROUPS], [0.0; GROUPS]);
    for numbers in numbers {
        for group in 0..GROUPS {
            let magnitude = numbers[group].abs();
            if magnitude > largest[group] {
                largest[group] = magnitude;
                farthest[group] = numbers[group];
            }
        }
    }
    let mut found = Found { scale: [0.0; GROUPS], least: [0.0; GROUPS], inverse: [0.0; GROUPS], origin: [0.0; GROUPS] };
    let mut best = [0.0; GROUPS];
    // The plain scale first, then those around it.
    for tried in std::iter::once(0).chain((-9i8..=9).filter(|&tried| tried != 0)) {
        let inverse: [f32; GROUPS] = std::array::from_fn(|group| -(32.0 + 0.1f32 * f32::from(tried)) / farthest[group]);
        let (mut sum_xl, mut sum_ll) = ([0.0; GROUPS], [0.0; GROUPS]);
        for numbers in numbers {
            for group in 0..GROUPS {
                let number = numbers[group];
                let level = signed_level(inverse[group] * number);
                let weight = number * number;
                sum_xl[group] += weight * number * level;
                sum_ll[group] += weight * level * level;
            }
        }
        for group in 0..GROUPS {
            let (xl, ll) = (sum_xl[group], sum_ll[group]);
            if tried == 0 || ll > 0.0 && xl * xl > best[group] * ll {
                let scale = if ll == 0.0 { 0.0 } else { xl / ll };
                found.scale[group] = scale;
                found.inverse[group] = inverse[group];
                best[group] = scale * xl;
            }
        }
    }
    for ((scale, inverse), largest) in found.scale.iter_mut().zip(&mut found.inverse).zip(largest) {
        if largest < TINY {
            (*scale, *inverse) = (0.0, 0.0);
        }
    }
    found
}

/// The nearest of `-32..=31`.
#[inline]
pub(super) fn signed_level(number: f32) -> f32 {
    let near = nearest(number);
    let near = if near > -32.0 { near } else { -32.0 };
    if near < 31.0 { near } else { 31.0 }
}

/// The nearest of `0..=top`.
#[inline]
pub(super) fn unsigned_level(number: f32, top: f32) -> f32 {
    level(1.0, number, top)
}
