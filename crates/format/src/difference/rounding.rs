//! Whether numbers are others rounded to a shorter type.

use std::fmt;

use crate::dtype::Dtype;

/// A way to round.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Hash)]
#[non_exhaustive]
pub enum Rounding {
    /// To the nearest `F32`, from wider ones.
    F32,
    /// To the nearest `F16`, ties to even.
    F16,
    /// To the nearest `BF16`, ties to even.
    BF16,
    /// To a `BF16` by leaving out the lower half of an `F32`.
    CutBF16,
    /// To the nearest 8-bit float with 4 exponent bits, the largest for what is larger.
    F8E4M3,
    /// To the nearest 8-bit float with 5 exponent bits.
    F8E5M2,
}

impl Rounding {
    /// All of them, the longest type first.
    pub const ALL: [Self; 6] = [Self::F32, Self::F16, Self::BF16, Self::CutBF16, Self::F8E4M3, Self::F8E5M2];

    /// The type that is rounded to.
    #[must_use]
    pub const fn dtype(self) -> Dtype {
        match self {
            Self::F32 => Dtype::F32,
            Self::F16 => Dtype::F16,
            Self::BF16 | Self::CutBF16 => Dtype::BF16,
            Self::F8E4M3 => Dtype::F8E4M3,
            Self::F8E5M2 => Dtype::F8E5M2,
        }
    }

    /// The rounded number; infinite beyond the largest of the type.
    #[must_use]
    #[inline]
    pub fn round(self, number: f32) -> f32 {
        match self {
            Self::F32 => number,
            Self::F16 => nearest(number, 10, -14, 65_504.0),
            Self::BF16 => nearest(number, 7, -126, f32::MAX),
            Self::CutBF16 => f32::from_bits(number.to_bits() & 0xffff_0000),
            Self::F8E4M3 => nearest(number, 3, -6, 448.0),
            Self::F8E5M2 => nearest(number, 2, -14, 57_344.0),
        }
    }

    /// Whether `to` is `from` rounded.
    #[inline]
    fn holds(self, from: f32, to: f32) -> bool {
        let rounded = self.round(from);
        // What is too large becomes the largest, an infinity or a NaN, as the library likes it.
        rounded == to || (rounded.is_nan() && to.is_nan()) || (rounded.is_infinite() && self.is_largest(to))
    }

    fn is_largest(self, number: f32) -> bool {
        let largest = match self {
            Self::F16 => 65_504.0,
            Self::F8E4M3 => 448.0,
            Self::F8E5M2 => 57_344.0,
            Self::F32 | Self::BF16 | Self::CutBF16 => return false,
        };
        number.is_nan() || number.abs() == largest
    }
}

impl fmt::Display for Rounding {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        fmt::Display::fmt(&self.dtype(), f)
    }
}

/// The nearest number with `kept` bits of mantissa, whose smallest normal one is `2^least`; infinite beyond `largest`.
fn nearest(number: f32, kept: u32, least: i32, largest: f32) -> f32 {
    if number.abs() < 2f32.powi(least) {
        // Of an `F32`'s own subnormals nothing shorter is left but its first bits.
        let unit = f64::from(2f32.powi(least)) / f64::from(1u32 << kept);
        return ((f64::from(number) / unit).round_ties_even() * unit) as f32;
    }
    if !number.is_finite() {
        return number;
    }
    let dropped = 23 - kept;
    let bits = number.to_bits();
    let half = (1 << (dropped - 1)) - 1 + (bits >> dropped & 1);
    let rounded = f32::from_bits((bits + half) >> dropped << dropped);
    if rounded.abs() > largest { f32::INFINITY.copysign(number) } else { rounded }
}

/// A set of ways to round, from which is taken what numbers disprove.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Roundings(u8);

impl Roundings {
    /// All ways.
    pub const ALL: Self = Self((1 << Rounding::ALL.len()) - 1);
    /// None.
    pub const NONE: Self = Self(0);

    /// Whether nothing spoke against a way.
    #[must_use]
    pub fn has(self, rounding: Rounding) -> bool {
        self.0 >> rounding as u8 & 1 == 1
    }

    /// The ways that nothing spoke against, the longest type first.
    pub fn iter(self) -> impl Iterator<Item = Rounding> {
        Rounding::ALL.into_iter().filter(move |rounding| self.has(*rounding))
    }

    /// Keeps what is in the other set, too.
    pub fn keep(&mut self, other: Self) {
        self.0 &= other.0;
    }

    /// Drops the ways for which some `to` is not the rounded `from`.
    pub fn check(&mut self, from: &[f32], to: &[f32]) {
        if *self == Self::NONE {
            return;
        }
        for rounding in Rounding::ALL {
            if self.has(rounding) && !from.iter().zip(to).all(|(&from, &to)| rounding.holds(from, to)) {
                self.0 &= !(1 << rounding as u8);
            }
        }
    }

    /// The same for a pair of wider numbers, which become `F32` first.
    pub fn check_wide(&mut self, from: f64, to: f64) {
        if *self == Self::NONE {
            return;
        }
        let short = to as f32;
        if f64::from(short) == to || to.is_nan() {
            self.check(&[from as f32], &[short]);
        } else {
            *self = Self::NONE;
        }
    }
}
