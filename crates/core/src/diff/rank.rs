//! How many directions the difference of two matrices has.
//!
//! A LoRA that was merged leaves a difference of its rank, and the rounding of the sum. A part of a matrix has that rank,
//! too, if the part is larger: so singular values are taken of a few rows and columns, unless the matrix is small. Values
//! count when they stand out of what rounding leaves, and below a gap nothing but rounding may follow.

use weighthouse_format::Dtype;
use weighthouse_format::difference::Difference;
use weighthouse_format::spectrum::singular_values;

pub(super) use super::comparison::{Rank, Zeros};
use super::measure::Plan;

/// Matrices whose shorter side has so many rows are looked at whole.
const SMALL: u64 = 128;
/// And so many elements.
const SMALL_ELEMENTS: u64 = 1 << 18;
/// Rows and columns of the sample of larger ones.
const SAMPLE: u64 = 96;
/// Rows of a sample that follow each other: fewer reads.
const NEIGHBOURS: u64 = 12;
/// Factor between the last value that counts and the first that does not.
const GAP: f64 = 6.0;
/// Share of the squares that may be below the gap, beside those of rounding.
const BELOW: f64 = 0.02;

/// The rank of a pair's difference; `None` of vectors, of the smallest matrices, and of what cannot be read.
pub(super) fn of(plan: &Plan<'_>, difference: &Difference) -> Option<Rank> {
    let (_, b) = plan.tensors();
    let extents: Vec<u64> = b.shape.iter().copied().filter(|&extent| extent > 1).collect();
    let columns: u64 = extents.get(1..)?.iter().product();
    let rows = plan.elements().checked_div(columns)?;
    let side = rows.min(columns);
    if side < 4 || difference.not_finite > 0 {
        return None;
    }
    let exact = side <= SMALL && plan.elements() <= SMALL_ELEMENTS;
    let matrix = if exact { whole(plan) } else { sample(plan, rows, columns) }?;
    let taken = if exact { columns } else { columns.min(SAMPLE) };
    let values = singular_values(&matrix, usize::try_from(taken).ok()?);
    let sum: f64 = values.iter().sum();
    if sum <= 0.0 {
        return None;
    }
    let entropy: f64 =
        values.iter().map(|value| value / sum).filter(|share| *share > 0.0).map(|share| -share * share.ln()).sum();
    let noise = rounding(plan, difference);
    let low = low(&values, noise * noise * matrix.len() as f64);
    Some(Rank { low, effective: entropy.exp(), of: values.len() as u64, exact })
}

/// Standard deviation of what rounding to the shorter of both types does to a number.
fn rounding(plan: &Plan<'_>, difference: &Difference) -> f64 {
    let (a, b) = plan.tensors();
    let bits = |dtype: Dtype| match dtype {
        Dtype::F64 => 53,
        Dtype::F16 => 11,
        Dtype::BF16 => 8,
        Dtype::F32 => 24,
        _ => 4,
    };
    let size = (difference.squares_b / (difference.elements.max(1)) as f64).sqrt();
    size * 0.5f64.powi(bits(a.dtype).min(bits(b.dtype))) * 0.4
}

/// The number of values above a gap in the first half, if rounding explains what is below: its squares sum up to `noise`.
fn low(values: &[f64], noise: f64) -> Option<u64> {
    let total: f64 = values.iter().map(|value| value * value).sum();
    let mut below = total;
    let mut found = None;
    for (number, pair) in values.windows(2).enumerate().take(values.len() / 2) {
        let [value, next] = pair else { break };
        below -= value * value;
        if *value > GAP * next && below <= BELOW * total + 4.0 * noise {
            found = Some(number as u64 + 1);
        }
    }
    found
}

/// Where the zeros of the second side lie, by a sample of its rows.
pub(super) fn zeros(plan: &Plan<'_>) -> Option<Zeros> {
    let (_, b) = plan.tensors();
    let extents: Vec<u64> = b.shape.iter().copied().filter(|&extent| extent > 1).collect();
    let columns: u64 = extents.get(1..)?.iter().product();
    let rows = plan.elements().checked_div(columns)?;
    let wide = usize::try_from(columns).ok()?;
    let (mut seen, mut empty) = (0u32, 0u32);
    let mut full = vec![false; wide];
    let mut two_of_four = columns.is_multiple_of(4);
    for (top, tall) in groups(rows) {
        let (_, b) = plan.rows(top * columns, tall * columns).ok()?;
        for row in b.chunks_exact(wide) {
            seen += 1;
            empty += u32::from(row.iter().all(|&x| x == 0.0));
            full.iter_mut().zip(row).for_each(|(full, &x)| *full |= x != 0.0);
            two_of_four &= row.chunks_exact(4).all(|four| four.iter().filter(|&&x| x == 0.0).count() >= 2);
        }
    }
    let share = |part: usize, of: usize| part as f64 / of.max(1) as f64;
    Some(Zeros {
        rows: share(empty as usize, seen as usize),
        columns: share(full.iter().filter(|full| !**full).count(), wide),
        two_of_four,
    })
}

/// Small groups of rows at even distances: the first of each, and how many.
fn groups(rows: u64) -> impl Iterator<Item = (u64, u64)> {
    let groups = (rows.min(SAMPLE) / NEIGHBOURS).max(1);
    let tall = NEIGHBOURS.min(rows);
    (0..groups).map(move |group| ((rows - tall) * group / groups.saturating_sub(1).max(1), tall))
}

fn whole(plan: &Plan<'_>) -> Option<Vec<f32>> {
    let (a, b) = plan.rows(0, plan.elements()).ok()?;
    Some(a.iter().zip(&b).map(|(a, b)| b - a).collect())
}

/// Rows and columns at even distances, rows in small groups.
fn sample(plan: &Plan<'_>, rows: u64, columns: u64) -> Option<Vec<f32>> {
    let taken = columns.min(SAMPLE);
    let mut matrix = Vec::new();
    for (top, tall) in groups(rows) {
        let (a, b) = plan.rows(top * columns, tall * columns).ok()?;
        for (a, b) in a.chunks_exact(usize::try_from(columns).ok()?).zip(b.chunks_exact(usize::try_from(columns).ok()?))
        {
            for column in 0..taken {
                let at = usize::try_from(column * columns / taken).ok()?;
                matrix.push(b.get(at)? - a.get(at)?);
            }
        }
    }
    Some(matrix)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn values_count_as_few_only_before_a_gap_with_nothing_but_noise_behind() {
        let with = |head: &[f64], tail: f64| {
            head.iter().copied().chain(std::iter::repeat_n(tail, 64 - head.len())).collect::<Vec<f64>>()
        };
        assert_eq!(low(&with(&[9.0, 5.0, 3.0], 1e-4), 0.0), Some(3));
        // One direction that stands out of a full matrix.
        assert_eq!(low(&with(&[9.0], 1.0), 0.0), None);
        let fading: Vec<f64> = (0..64).map(|n| 0.8f64.powi(n)).collect();
        assert_eq!(low(&fading, 0.0), None);
        // A quiet adapter over the noise of a short type.
        assert_eq!(low(&with(&[1.0, 0.9], 0.05), 62.0 * 0.0025), Some(2));
    }
}
