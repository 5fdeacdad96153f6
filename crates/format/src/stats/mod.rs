//! Statistics of tensors, streamed in one pass and in parallel.

mod bits;
mod read;
mod rows;

use crate::dtype::Dtype;
use crate::error::FormatError;
use crate::number::{Numbers, numbers};

pub use bits::Bits;
pub use read::{Read, Wanted, check_stored, read_all};
pub use rows::{Rows, extents};

/// Elements that become numbers together, about: as numbers they stay in the second cache.
const PART: u64 = 16_384;
/// Elements whose mean is taken together; they stay in the first cache.
const RUN: usize = 2048;

/// What can be said of numbers without keeping them. Values that are not finite count, and are left out of the rest.
#[derive(Clone, Copy, Debug, PartialEq)]
pub struct Stats {
    /// Finite numbers.
    pub finite: u64,
    /// Not a number.
    pub nan: u64,
    /// Positive and negative infinities.
    pub infinite: u64,
    /// Zeros, of either sign.
    pub zeros: u64,
    /// Smallest; positive infinity when there are none.
    pub min: f64,
    /// Largest; negative infinity when there are none.
    pub max: f64,
    /// Mean of the finite numbers.
    pub mean: f64,
    /// Sum of squared distances from the mean.
    squares: f64,
}

impl Default for Stats {
    fn default() -> Self {
        Self {
            finite: 0,
            nan: 0,
            infinite: 0,
            zeros: 0,
            min: f64::INFINITY,
            max: f64::NEG_INFINITY,
            mean: 0.0,
            squares: 0.0,
        }
    }
}

impl Stats {
    /// Statistics of little-endian elements.
    ///
    /// # Errors
    /// [`FormatError::Unsupported`] for types that are no numbers.
    pub fn of(dtype: Dtype, bytes: &[u8]) -> Result<Self, FormatError> {
        let mut stats = Self::default();
        each_part(dtype, bytes, |part| stats.take(part))?;
        Ok(stats)
    }

    /// Takes in numbers.
    fn take(&mut self, part: &Numbers) {
        match part {
            Numbers::Single(numbers) => numbers.chunks(RUN).for_each(|run| self.merge(&of_run(run))),
            Numbers::Double(numbers) => numbers.chunks(RUN).for_each(|run| self.merge(&of_run(run))),
        }
    }

    /// Takes in the statistics of other numbers (Chan, Golub and LeVeque 1979, equation 2.1).
    pub fn merge(&mut self, other: &Self) {
        let (mine, theirs) = (self.finite as f64, other.finite as f64);
        if other.finite > 0 {
            let distance = other.mean - self.mean;
            let share = theirs / (mine + theirs);
            self.mean += distance * share;
            self.squares += other.squares + distance * distance * mine * share;
        }
        self.finite += other.finite;
        self.nan += other.nan;
        self.infinite += other.infinite;
        self.zeros += other.zeros;
        self.min = self.min.min(other.min);
        self.max = self.max.max(other.max);
    }

    /// All numbers.
    #[must_use]
    pub const fn count(&self) -> u64 {
        self.finite + self.nan + self.infinite
    }

    /// Standard deviation of the finite numbers, of the population as NumPy takes it.
    #[must_use]
    pub fn std(&self) -> f64 {
        if self.finite == 0 { 0.0 } else { (self.squares / self.finite as f64).sqrt() }
    }

    /// Euclidean norm of the finite numbers.
    #[must_use]
    pub fn norm(&self) -> f64 {
        (self.squares + self.finite as f64 * self.mean * self.mean).sqrt()
    }
}

/// Makes numbers of elements, so few at a time that they stay near.
///
/// # Errors
/// [`FormatError::Unsupported`] for types that are no numbers.
fn each_part(dtype: Dtype, bytes: &[u8], mut each: impl FnMut(&Numbers)) -> Result<(), FormatError> {
    let part_bytes = (PART / dtype.block_elements()).max(1).saturating_mul(dtype.block_bytes());
    for part in bytes.chunks(usize::try_from(part_bytes).unwrap_or(usize::MAX).max(1)) {
        each(&numbers(dtype, part)?);
    }
    Ok(())
}

/// A number that statistics are taken of.
trait Number: Copy + Into<f64> {
    const LARGEST: Self;
    const SMALLEST: Self;
    fn smaller(self, other: Self) -> Self;
    fn larger(self, other: Self) -> Self;
    fn is_zero(self) -> bool;
}

macro_rules! number {
    ($type:ty) => {
        impl Number for $type {
            const LARGEST: Self = <$type>::INFINITY;
            const SMALLEST: Self = <$type>::NEG_INFINITY;
            fn smaller(self, other: Self) -> Self {
                if other < self { other } else { self }
            }
            fn larger(self, other: Self) -> Self {
                if other > self { other } else { self }
            }
            fn is_zero(self) -> bool {
                self == 0.0
            }
        }
    };
}
number!(f32);
number!(f64);

/// Statistics of a short run, in one pass. Sums go in lanes, so that they vectorise.
///
/// Distances are taken from the first number and not from zero. As that is one of the numbers, their squares are at most
/// `n + 1` times those of the distances from the mean, which bounds what is lost when one is computed from the other.
fn of_run<T: Number>(run: &[T]) -> Stats {
    const LANES: usize = 8;
    let first: f64 = run.first().map_or(0.0, |&first| first.into());
    let (chunks, rest) = run.as_chunks::<LANES>();
    let (mut sums, mut squares) = ([0f64; LANES], [0f64; LANES]);
    let (mut low, mut high) = ([T::LARGEST; LANES], [T::SMALLEST; LANES]);
    let mut zeros = [0u32; LANES];
    let mut take = |chunk: &[T]| {
        for (((((&value, sum), square), low), high), zeros) in
            chunk.iter().zip(&mut sums).zip(&mut squares).zip(&mut low).zip(&mut high).zip(&mut zeros)
        {
            let distance: f64 = value.into() - first;
            *sum += distance;
            *square += distance * distance;
            *low = low.smaller(value);
            *high = high.larger(value);
            *zeros += u32::from(value.is_zero());
        }
    };
    chunks.iter().for_each(|chunk| take(chunk));
    take(rest);
    let (sum, squares): (f64, f64) = (sums.iter().sum(), squares.iter().sum());
    if !sum.is_finite() || !squares.is_finite() {
        return one_by_one(run);
    }
    let away = sum / run.len().max(1) as f64;
    Stats {
        finite: run.len() as u64,
        nan: 0,
        infinite: 0,
        zeros: zeros.iter().map(|&zeros| u64::from(zeros)).sum(),
        min: low.iter().fold(f64::INFINITY, |min, &value| min.min(value.into())),
        max: high.iter().fold(f64::NEG_INFINITY, |max, &value| max.max(value.into())),
        mean: first + away,
        squares: (squares - sum * away).max(0.0),
    }
}

/// Statistics of a run that has numbers which are not finite, or that are so large that their sum is not.
fn one_by_one<T: Number>(run: &[T]) -> Stats {
    let mut stats = Stats::default();
    for &value in run {
        let value: f64 = value.into();
        if value.is_nan() {
            stats.nan += 1;
        } else if value.is_infinite() {
            stats.infinite += 1;
        } else {
            let one = Stats {
                finite: 1,
                zeros: u64::from(value == 0.0),
                min: value,
                max: value,
                mean: value,
                ..Stats::default()
            };
            stats.merge(&one);
        }
    }
    stats
}

#[cfg(test)]
mod tests {
    use super::*;
    use proptest::prelude::*;

    fn close(one: f64, other: f64) -> bool {
        (one - other).abs() <= 1e-9 * one.abs().max(other.abs()).max(1.0)
    }

    proptest! {
        #[test]
        fn one_pass_finds_what_two_passes_find(values in prop::collection::vec(-1e6f32..1e6, 1..6000), bad in 0usize..3) {
            let mut all = values.clone();
            let at = all.len() / 2;
            all.splice(at..at, [[].as_slice(), &[f32::NAN, 0.0], &[f32::INFINITY, f32::NEG_INFINITY]][bad].iter().copied());
            let bytes: Vec<u8> = all.iter().flat_map(|value| value.to_le_bytes()).collect();
            let stats = Stats::of(Dtype::F32, &bytes).unwrap();
            let finite: Vec<f64> = all.iter().filter(|value| value.is_finite()).map(|&value| f64::from(value)).collect();
            let mean = finite.iter().sum::<f64>() / finite.len() as f64;
            let variance = finite.iter().map(|value| (value - mean).powi(2)).sum::<f64>() / finite.len() as f64;
            prop_assert_eq!(stats.count(), all.len() as u64);
            prop_assert_eq!((stats.nan, stats.infinite), (u64::from(bad == 1), if bad == 2 { 2 } else { 0 }));
            prop_assert_eq!(stats.zeros, finite.iter().filter(|value| **value == 0.0).count() as u64);
            prop_assert_eq!(stats.min, finite.iter().copied().fold(f64::INFINITY, f64::min));
            prop_assert_eq!(stats.max, finite.iter().copied().fold(f64::NEG_INFINITY, f64::max));
            prop_assert!(close(stats.mean, mean), "{} {}", stats.mean, mean);
            prop_assert!(close(stats.std(), variance.sqrt()), "{} {}", stats.std(), variance.sqrt());
            prop_assert!(close(stats.norm(), finite.iter().map(|value| value * value).sum::<f64>().sqrt()));
        }
    }
}
