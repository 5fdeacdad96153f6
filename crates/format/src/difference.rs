//! Numbers of two tensors side by side: how many changed, by how much, and whether one is the other rounded.
//!
//! Sums of squares are taken in `f32` over runs that are short enough for it, in lanes that vectorise, and added in
//! `f64`. Pairs in which a number is not finite count, and are left out of the sums.

mod mixture;
mod rounding;

use crate::dtype::Dtype;
use crate::error::FormatError;
use crate::number::{Numbers, half, numbers};

pub use mixture::Mixture;
pub use rounding::{Rounding, Roundings};

/// Numbers that are summed in `f32`.
const RUN: usize = 512;
/// Elements of other types that become numbers together, about.
const PART: u64 = 16_384;
const LANES: usize = 8;

/// What can be said of pairs of numbers `(a, b)` without keeping them.
#[derive(Clone, Copy, Debug, PartialEq)]
pub struct Difference {
    /// Pairs.
    pub elements: u64,
    /// Pairs that are not the same number; `-0` is not `0`, and a NaN is a NaN.
    pub changed: u64,
    /// Pairs with a number that is not finite; left out of everything below.
    pub not_finite: u64,
    /// Pairs with `b = 0`.
    pub zeros: u64,
    /// Pairs with `b = 0` and `a ≠ 0`.
    pub new_zeros: u64,
    /// `Σ a²`.
    pub squares_a: f64,
    /// `Σ b²`.
    pub squares_b: f64,
    /// `Σ (b − a)²`.
    pub squares: f64,
    /// `Σ (b − a)`.
    pub sum: f64,
    /// Largest `|b − a|`.
    pub largest: f64,
    /// Types that every `b` is the rounded `a` of.
    pub forth: Roundings,
    /// Types that every `a` is the rounded `b` of.
    pub back: Roundings,
}

impl Default for Difference {
    fn default() -> Self {
        Self {
            elements: 0,
            changed: 0,
            not_finite: 0,
            zeros: 0,
            new_zeros: 0,
            squares_a: 0.0,
            squares_b: 0.0,
            squares: 0.0,
            sum: 0.0,
            largest: 0.0,
            forth: Roundings::ALL,
            back: Roundings::ALL,
        }
    }
}

impl Difference {
    /// Compares little-endian elements of two types, as many of the one as of the other; of packed elements the shorter
    /// run counts.
    ///
    /// # Errors
    /// [`FormatError::Unsupported`] for types that are no numbers.
    pub fn of(dtype_a: Dtype, a: &[u8], dtype_b: Dtype, b: &[u8]) -> Result<Self, FormatError> {
        let mut found = Self::default();
        let short = |dtype| matches!(dtype, Dtype::F32 | Dtype::F16 | Dtype::BF16);
        if short(dtype_a) && short(dtype_b) {
            let (width_a, width_b) = (width(dtype_a), width(dtype_b));
            let (mut numbers_a, mut numbers_b) = ([0f32; RUN], [0f32; RUN]);
            for (a, b) in a.chunks(RUN * width_a).zip(b.chunks(RUN * width_b)) {
                let len = decode(dtype_a, a, &mut numbers_a).min(decode(dtype_b, b, &mut numbers_b));
                if let (Some(a), Some(b)) = (numbers_a.get(..len), numbers_b.get(..len)) {
                    found.add_run(a, b);
                }
            }
            return Ok(found);
        }
        // Parts are whole blocks of both.
        let elements = PART.next_multiple_of(dtype_a.block_elements().max(dtype_b.block_elements()));
        let bytes = |dtype: Dtype| {
            let blocks = elements / dtype.block_elements();
            usize::try_from(blocks.saturating_mul(dtype.block_bytes())).unwrap_or(usize::MAX).max(1)
        };
        for (a, b) in a.chunks(bytes(dtype_a)).zip(b.chunks(bytes(dtype_b))) {
            found.add(&numbers(dtype_a, a)?, &numbers(dtype_b, b)?);
        }
        Ok(found)
    }

    /// Takes in numbers.
    pub fn add(&mut self, a: &Numbers, b: &Numbers) {
        match (a, b) {
            (Numbers::Single(a), Numbers::Single(b)) => {
                a.chunks(RUN).zip(b.chunks(RUN)).for_each(|(a, b)| self.add_run(a, b));
            }
            (Numbers::Double(a), Numbers::Double(b)) => {
                a.iter().zip(b).for_each(|(&a, &b)| self.add_pair(a, b, a.to_bits() == b.to_bits()));
            }
            (Numbers::Single(a), Numbers::Double(b)) => {
                a.iter().zip(b).for_each(|(&a, &b)| self.add_wide(f64::from(a), b));
            }
            (Numbers::Double(a), Numbers::Single(b)) => {
                a.iter().zip(b).for_each(|(&a, &b)| self.add_wide(a, f64::from(b)));
            }
        }
    }

    /// Takes in `elements` pairs of the same numbers, whose squares sum up to `squares`.
    pub fn add_same(&mut self, elements: u64, squares: f64) {
        self.elements += elements;
        self.squares_a += squares;
        self.squares_b += squares;
    }

    /// Takes in what is known of other pairs.
    pub fn merge(&mut self, other: &Self) {
        self.elements += other.elements;
        self.changed += other.changed;
        self.not_finite += other.not_finite;
        self.zeros += other.zeros;
        self.new_zeros += other.new_zeros;
        self.squares_a += other.squares_a;
        self.squares_b += other.squares_b;
        self.squares += other.squares;
        self.sum += other.sum;
        self.largest = self.largest.max(other.largest);
        self.forth.keep(other.forth);
        self.back.keep(other.back);
    }

    /// `‖b − a‖ / ‖a‖`; of numbers that were all zero, infinite.
    #[must_use]
    pub fn relative(&self) -> f64 {
        if self.squares == 0.0 { 0.0 } else { (self.squares / self.squares_a).sqrt() }
    }

    /// Cosine of the angle between `a` and `b`; `None` when one of them is zero.
    ///
    /// It is computed from the distance, which keeps its digits when the two are close.
    #[must_use]
    pub fn cosine(&self) -> Option<f64> {
        let product = (self.squares_a * self.squares_b).sqrt();
        let apart = self.squares_a.sqrt() - self.squares_b.sqrt();
        let away = (self.squares - apart * apart) / (2.0 * product);
        (product > 0.0 && away.is_finite()).then(|| (1.0 - away).clamp(-1.0, 1.0))
    }

    /// Standard deviation of `b − a`, over all pairs.
    #[must_use]
    pub fn spread(&self) -> f64 {
        let count = (self.elements - self.not_finite).max(1) as f64;
        (self.squares / count - (self.sum / count).powi(2)).max(0.0).sqrt()
    }

    fn add_run(&mut self, a: &[f32], b: &[f32]) {
        self.forth.check(a, b);
        self.back.check(b, a);
        let (chunks_a, rest_a) = a.as_chunks::<LANES>();
        let (chunks_b, rest_b) = b.as_chunks::<LANES>();
        let (mut squares_a, mut squares_b, mut squares, mut sum) =
            ([0f32; LANES], [0f32; LANES], [0f32; LANES], [0f32; LANES]);
        let mut largest = [0f32; LANES];
        let (mut changed, mut zeros, mut new_zeros) = ([0u32; LANES], [0u32; LANES], [0u32; LANES]);
        for (a, b) in chunks_a.iter().zip(chunks_b) {
            for lane in 0..LANES {
                let (a, b) = (a[lane], b[lane]);
                let distance = b - a;
                squares_a[lane] += a * a;
                squares_b[lane] += b * b;
                squares[lane] += distance * distance;
                sum[lane] += distance;
                let far = distance.abs();
                largest[lane] = if far > largest[lane] { far } else { largest[lane] };
                changed[lane] += u32::from(a.to_bits() != b.to_bits());
                zeros[lane] += u32::from(b == 0.0);
                new_zeros[lane] += u32::from((b == 0.0) & (a != 0.0));
            }
        }
        let total = |lanes: [f32; LANES]| lanes.iter().map(|&lane| f64::from(lane)).sum::<f64>();
        let count = |lanes: [u32; LANES]| lanes.iter().map(|&lane| u64::from(lane)).sum::<u64>();
        let (of_a, of_b, of_both, changes) = (total(squares_a), total(squares_b), total(squares), count(changed));
        // What is not finite makes a sum that is not; what is tiny leaves none.
        let lost = changes > 0 && (of_both < 1e-30 || of_a < 1e-30 || of_b < 1e-30);
        let (rest_a, rest_b) = if !(of_a + of_b + of_both).is_finite() || lost {
            (a, b)
        } else {
            self.elements += (chunks_a.len().min(chunks_b.len()) * LANES) as u64;
            self.changed += changes;
            self.zeros += count(zeros);
            self.new_zeros += count(new_zeros);
            self.squares_a += of_a;
            self.squares_b += of_b;
            self.squares += of_both;
            self.sum += total(sum);
            self.largest = largest.iter().fold(self.largest, |far, &lane| far.max(f64::from(lane)));
            (rest_a, rest_b)
        };
        for (&a, &b) in rest_a.iter().zip(rest_b) {
            self.add_pair(f64::from(a), f64::from(b), a.to_bits() == b.to_bits());
        }
    }

    fn add_wide(&mut self, a: f64, b: f64) {
        self.forth.check_wide(a, b);
        self.back.check_wide(b, a);
        self.add_pair(a, b, a.to_bits() == b.to_bits());
    }

    fn add_pair(&mut self, a: f64, b: f64, same: bool) {
        self.elements += 1;
        self.changed += u64::from(!(same || a.is_nan() && b.is_nan()));
        let distance = b - a;
        if !a.is_finite() || !b.is_finite() || !(distance * distance).is_finite() {
            self.not_finite += 1;
            return;
        }
        self.zeros += u64::from(b == 0.0);
        self.new_zeros += u64::from(b == 0.0 && a != 0.0);
        self.squares_a += a * a;
        self.squares_b += b * b;
        self.squares += distance * distance;
        self.sum += distance;
        self.largest = self.largest.max(distance.abs());
    }
}

/// `Σ x²` of the finite numbers among little-endian elements.
///
/// # Errors
/// [`FormatError::Unsupported`] for types that are no numbers.
pub fn squares(dtype: Dtype, bytes: &[u8]) -> Result<f64, FormatError> {
    let mut found = Difference { forth: Roundings::NONE, back: Roundings::NONE, ..Difference::default() };
    if matches!(dtype, Dtype::F32 | Dtype::F16 | Dtype::BF16) {
        let mut numbers = [0f32; RUN];
        let mut total = 0.0;
        for part in bytes.chunks(RUN * width(dtype)) {
            let len = decode(dtype, part, &mut numbers);
            let run = numbers.get(..len).unwrap_or_default();
            let sum = squares_of_run(run);
            total += if sum.is_finite() && sum > 1e-30 {
                sum
            } else {
                run.iter().map(|&x| f64::from(x)).filter(|x| x.is_finite()).map(|x| x * x).sum()
            };
        }
        return Ok(total);
    }
    let part = bytes_of_part(dtype);
    for part in bytes.chunks(part) {
        let found_numbers = numbers(dtype, part)?;
        found.add(&found_numbers, &found_numbers);
    }
    Ok(found.squares_a)
}

fn squares_of_run(run: &[f32]) -> f64 {
    let (chunks, rest) = run.as_chunks::<LANES>();
    let mut lanes = [0f32; LANES];
    for chunk in chunks {
        for (lane, x) in lanes.iter_mut().zip(chunk) {
            *lane += x * x;
        }
    }
    let total: f64 = lanes.iter().map(|&lane| f64::from(lane)).sum();
    total + rest.iter().map(|&x| f64::from(x) * f64::from(x)).sum::<f64>()
}

/// Bytes that differ between two runs of the same length.
#[must_use]
pub fn changed_bytes(a: &[u8], b: &[u8]) -> u64 {
    // At most 128 in a byte: that is counted sixteen at a time.
    let parts = a.chunks(128).zip(b.chunks(128));
    parts.map(|(a, b)| u64::from(a.iter().zip(b).map(|(a, b)| u8::from(a != b)).sum::<u8>())).sum()
}

fn bytes_of_part(dtype: Dtype) -> usize {
    let blocks = (PART / dtype.block_elements()).max(1);
    usize::try_from(blocks.saturating_mul(dtype.block_bytes())).unwrap_or(usize::MAX).max(1)
}

fn width(dtype: Dtype) -> usize {
    if dtype == Dtype::F32 { 4 } else { 2 }
}

/// Numbers of short floats; returns how many.
fn decode(dtype: Dtype, bytes: &[u8], out: &mut [f32; RUN]) -> usize {
    fn fill<const N: usize>(bytes: &[u8], out: &mut [f32; RUN], read: impl Fn([u8; N]) -> f32) -> usize {
        let (chunks, _) = bytes.as_chunks::<N>();
        for (out, &chunk) in out.iter_mut().zip(chunks) {
            *out = read(chunk);
        }
        chunks.len().min(RUN)
    }
    match dtype {
        Dtype::F32 => fill(bytes, out, f32::from_le_bytes),
        Dtype::BF16 => fill(bytes, out, |b| f32::from_bits(u32::from(u16::from_le_bytes(b)) << 16)),
        _ => fill(bytes, out, |b| half(u16::from_le_bytes(b))),
    }
}

#[cfg(test)]
mod tests;
