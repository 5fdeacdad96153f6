//! Words of one, two, four or eight bytes: their order, their differences, and the symbols these become.

use super::kind::{Kind, Number};

/// An unsigned word.
pub trait Word: Copy + Eq {
    /// Its width in bits.
    const BITS: u32;
    /// Bits below the leading one that a symbol keeps; chosen so that there are at most 256 symbols.
    const KEPT: u32;
    /// All whole words of little-endian bytes.
    fn read_all(bytes: &[u8]) -> Vec<Self>;
    /// Words from little-endian bytes, as many as there are of both.
    fn fill(words: &mut [Self], bytes: &[u8]);
    /// Words as little-endian bytes, as many as there are of both.
    fn spill(words: &[Self], bytes: &mut [u8]);
    /// The exponent above so many bits of mantissa, as a byte. Of eight-byte floats those that four-byte floats have, and
    /// the rest at the ends.
    fn exponent_above(self, mantissa: u32) -> u8;
    /// Wider than every word.
    fn wide(self) -> u64;
    /// The low bits of a wide one.
    fn narrow(wide: u64) -> Self;
    /// Of floats: a number that grows as the value does. Its own inverse is [`Word::unordered`].
    fn ordered(self) -> Self;
    /// The bits of which [`Word::ordered`] made `self`.
    fn unordered(self) -> Self;
    /// The zigzag of `self − base`: 0, −1, 1, −2, 2 become 0, 1, 2, 3, 4.
    fn difference(self, base: Self) -> Self;
    /// What has this difference to `base`.
    fn undo(self, base: Self) -> Self;
    /// Of a difference: how far that is, about.
    fn halved(self) -> f32;
}

macro_rules! words {
    ($($word:ty, $signed:ty, $kept:literal;)*) => {$(
        impl Word for $word {
            const BITS: u32 = <$word>::BITS;
            const KEPT: u32 = $kept;

            fn read_all(bytes: &[u8]) -> Vec<Self> {
                bytes.as_chunks().0.iter().map(|word| Self::from_le_bytes(*word)).collect()
            }

            #[inline(always)]
            fn fill(words: &mut [Self], bytes: &[u8]) {
                for (word, bytes) in words.iter_mut().zip(bytes.as_chunks().0) {
                    *word = Self::from_le_bytes(*bytes);
                }
            }

            #[inline(always)]
            fn spill(words: &[Self], bytes: &mut [u8]) {
                for (bytes, word) in bytes.as_chunks_mut().0.iter_mut().zip(words) {
                    *bytes = word.to_le_bytes();
                }
            }

            #[inline(always)]
            fn exponent_above(self, mantissa: u32) -> u8 {
                let exponent = (self << 1) >> (mantissa + 1);
                match Self::BITS {
                    64 => u64::from(exponent).saturating_sub(896).min(255) as u8,
                    _ => exponent as u8,
                }
            }

            #[inline(always)]
            fn wide(self) -> u64 {
                self.into()
            }

            #[inline(always)]
            fn narrow(wide: u64) -> Self {
                wide as Self
            }

            #[inline(always)]
            fn ordered(self) -> Self {
                let sign = (self as $signed >> (Self::BITS - 1)) as Self;
                self ^ (sign | 1 << (Self::BITS - 1))
            }

            #[inline(always)]
            fn unordered(self) -> Self {
                let sign = (!self as $signed >> (Self::BITS - 1)) as Self;
                self ^ (sign | 1 << (Self::BITS - 1))
            }

            #[inline(always)]
            fn difference(self, base: Self) -> Self {
                let difference = self.wrapping_sub(base);
                (difference << 1) ^ (difference as $signed >> (Self::BITS - 1)) as Self
            }

            #[inline(always)]
            fn undo(self, base: Self) -> Self {
                let difference = (self >> 1) ^ (self & 1).wrapping_neg();
                base.wrapping_add(difference)
            }

            #[inline(always)]
            fn halved(self) -> f32 {
                match Self::BITS {
                    // A conversion that processors have for several at once.
                    ..=16 => (self.wide() as i32 + 1 >> 1) as f32,
                    _ => self.wide().div_ceil(2) as i64 as f32,
                }
            }
        }
    )*};
}

words! {
    u8, i8, 7;
    u16, i16, 4;
    u32, i32, 3;
    u64, i64, 2;
}

/// The symbol of a word, and how many low bits of the word it leaves out.
#[inline(always)]
pub fn symbol<W: Word>(word: W) -> (u8, u32) {
    let wide = word.wide();
    let left_out = (wide | 1).ilog2().saturating_sub(W::KEPT);
    (((left_out << W::KEPT) + (wide >> left_out) as u32) as u8, left_out)
}

/// How many low bits a symbol leaves out, and the word without them.
pub fn value<W: Word>(symbol: u8) -> (u32, u64) {
    let symbol = u32::from(symbol);
    let left_out = (symbol >> W::KEPT).saturating_sub(1).min(W::BITS - 1 - W::KEPT);
    (left_out, u64::from(symbol - (left_out << W::KEPT)) << left_out)
}

/// The exponents of words; zeros for integers.
pub fn exponents<W: Word>(words: &[W], kind: Kind) -> Vec<u8> {
    match kind.number {
        Number::Float { mantissa } => words.iter().map(|word| word.exponent_above(mantissa)).collect(),
        Number::Integer => vec![0; words.len()],
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use weighthouse_format::Dtype;

    fn goes_back<W: Word + std::fmt::Debug>(a: u64, b: u64) {
        let (a, b) = (W::narrow(a), W::narrow(b));
        assert_eq!(a.ordered().unordered(), a);
        let difference = a.difference(b);
        assert_eq!(difference.undo(b), a);
        let (symbol, left_out) = symbol(difference);
        let (again, rest) = value::<W>(symbol);
        assert_eq!(again, left_out);
        assert_eq!(W::narrow(rest | difference.wide() & ((1 << left_out) - 1)), difference);
    }

    #[test]
    fn differences_and_symbols_go_back() {
        let mut state = 1u64;
        for _ in 0..20_000 {
            state = state.wrapping_mul(6_364_136_223_846_793_005).wrapping_add(1_442_695_040_888_963_407);
            let (a, b) = (state ^ state >> 29, state.rotate_left(31) >> (state >> 58));
            goes_back::<u8>(a, b);
            goes_back::<u16>(a, b);
            goes_back::<u32>(a, b);
            goes_back::<u64>(a, b);
        }
        goes_back::<u64>(0, u64::MAX);
        goes_back::<u64>(u64::MAX / 2, u64::MAX / 2 + 1);
    }

    #[test]
    fn ordered_floats_grow_with_their_values() {
        let values = [-f32::INFINITY, -2.0, -1e-40, -0.0, 0.0, 1e-40, 0.5, f32::MAX];
        assert!(values.map(|value| value.to_bits().ordered()).is_sorted());
    }

    #[test]
    fn exponents_are_those_of_the_type() {
        assert_eq!(exponents(&[(-1.5f32).to_bits()], Kind::of(Dtype::F32)), [127]);
        assert_eq!(exponents(&[0xbf80u16], Kind::of(Dtype::BF16)), [127]);
        assert_eq!(exponents(&[0xbc00u16], Kind::of(Dtype::F16)), [15]);
        assert_eq!(exponents(&[1.0f64.to_bits(), 1e-300f64.to_bits()], Kind::of(Dtype::F64)), [127, 0]);
        assert_eq!(exponents(&[0xb8u8], Kind::of(Dtype::F8E4M3)), [7]);
        assert_eq!(exponents(&[7u32], Kind::of(Dtype::I32)), [0]);
    }
}
