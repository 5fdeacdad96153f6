//! Exact rules for turning an element of one float type into another, rounding to nearest even as torch and NumPy do.

use std::borrow::Cow;

use weighthouse_format::Dtype;

/// Casts a block; `None` when there is no rule for the two types. Equal types are copied.
pub fn cast(raw: &[u8], from: Dtype, to: Dtype) -> Option<Cow<'_, [u8]>> {
    let half = u16::from_le_bytes;
    let cast = match (from, to) {
        _ if from == to => return Some(raw.into()),
        (Dtype::BF16, Dtype::F32) => each(raw, |word| bf16_to_single(half(word)).to_le_bytes()),
        (Dtype::F16, Dtype::F32) => each(raw, |word| half_to_single(half(word)).to_le_bytes()),
        (Dtype::BF16, Dtype::F16) => each(raw, |word| single_to_half(bf16_to_single(half(word))).to_le_bytes()),
        (Dtype::F16, Dtype::BF16) => each(raw, |word| single_to_bf16(half_to_single(half(word))).to_le_bytes()),
        (Dtype::F32, Dtype::BF16) => each(raw, |word| single_to_bf16(u32::from_le_bytes(word)).to_le_bytes()),
        (Dtype::F32, Dtype::F16) => each(raw, |word| single_to_half(u32::from_le_bytes(word)).to_le_bytes()),
        (Dtype::F32, Dtype::F64) => each(raw, |word| widened(f32::from_le_bytes(word)).to_le_bytes()),
        (Dtype::F64, Dtype::F32) => each(raw, |word| narrowed(f64::from_le_bytes(word)).to_le_bytes()),
        _ => return None,
    };
    Some(cast.into())
}

/// Casts element by element. No rule has a branch, so that the compiler takes several at once.
fn each<const FROM: usize, const TO: usize>(raw: &[u8], rule: impl Fn([u8; FROM]) -> [u8; TO]) -> Vec<u8> {
    let words = raw.as_chunks::<FROM>().0;
    let mut cast = vec![0; words.len() * TO];
    for (cast, word) in cast.as_chunks_mut::<TO>().0.iter_mut().zip(words) {
        *cast = rule(*word);
    }
    cast
}

/// What a NaN becomes is not laid down for `as`, and must be the same everywhere.
fn widened(value: f32) -> f64 {
    if value.is_nan() { f64::from_bits(0x7ff8 << 48) } else { value.into() }
}

fn narrowed(value: f64) -> f32 {
    if value.is_nan() { f32::from_bits(0x7fc0 << 16) } else { value as f32 }
}

fn bf16_to_single(bits: u16) -> u32 {
    u32::from(bits) << 16
}

/// Rounds to the upper half; NaNs become the quiet one that torch writes.
fn single_to_bf16(bits: u32) -> u16 {
    let rounded = bits.wrapping_add(0x7fff + (bits >> 16 & 1)) >> 16;
    if bits & 0x7fff_ffff > 0x7f80_0000 { 0x7fc0 } else { rounded as u16 }
}

fn half_to_single(half: u16) -> u32 {
    let half = u32::from(half);
    let (sign, rest) = ((half & 0x8000) << 16, half & 0x7fff);
    let normal = (rest << 13) + (112 << 23);
    let special = rest << 13 | 0x7f80_0000;
    // An i32, which processors turn into several floats at once.
    let subnormal = (rest as i32 as f32 / (1 << 24) as f32).to_bits();
    let finite = if rest < 0x0400 { subnormal } else { normal };
    sign | if rest < 0x7c00 { finite } else { special }
}

fn single_to_half(bits: u32) -> u16 {
    let (sign, rest) = (bits >> 16 & 0x8000, bits & 0x7fff_ffff);
    // From 2⁻¹⁴ on the exponent's offset differs by 112; what rounds up may go over into it.
    let normal = rest.wrapping_sub(112 << 23).wrapping_add(0x0fff + (rest >> 13 & 1)) >> 13;
    // The last place of a half is 2⁻²⁴, as that of subnormal halves: the addition rounds.
    let subnormal = (f32::from_bits(rest) + 0.5).to_bits().wrapping_sub(0x3f00_0000);
    let finite = if rest < 0x3880_0000 { subnormal } else { normal };
    let number = if rest < 0x477f_f000 { finite } else { 0x7c00 };
    (sign | if rest > 0x7f80_0000 { 0x7e00 } else { number }) as u16
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn every_half_goes_to_single_and_back() {
        for half in 0..=u16::MAX {
            let nan = half & 0x7fff > 0x7c00;
            assert_eq!(single_to_half(half_to_single(half)), if nan { half & 0x8000 | 0x7e00 } else { half });
            let bf16_nan = half & 0x7fff > 0x7f80;
            assert!(bf16_nan || single_to_bf16(u32::from(half) << 16) == half);
        }
    }

    /// The nearest half by comparing with all of them; of two the even one.
    fn nearest_half(halves: &[f64], value: f64) -> u16 {
        // Beyond the largest stands what infinity would be.
        let at = halves.partition_point(|half| *half < value);
        let Some(below) = at.checked_sub(1) else { return 0 };
        let (down, up) = (value - halves[below], halves[at.min(halves.len() - 1)] - value);
        if down < up || down == up && below % 2 == 0 { below as u16 } else { at as u16 }
    }

    #[test]
    fn singles_become_the_nearest_half() {
        let mut halves: Vec<f64> = (0..0x7c00).map(|half| f64::from(f32::from_bits(half_to_single(half)))).collect();
        halves.push(65536.0);
        let mut low = 1u32;
        for high in 0..=0x7f7fu32 {
            for rest in [0, 1, 0x0fff, 0x1000, 0x1001, 0x2fff, 0x3000, 0x7fff, 0x8000, 0xffff, low & 0xffff] {
                let bits = high << 16 | rest;
                let value = f64::from(f32::from_bits(bits));
                let expected = if value >= 65520.0 { 0x7c00 } else { nearest_half(&halves, value) };
                assert_eq!(single_to_half(bits), expected, "{value:e}");
                assert_eq!(single_to_half(bits | 0x8000_0000), expected | 0x8000, "-{value:e}");
            }
            low = low.wrapping_mul(0x9e37_79b1).rotate_left(7);
        }
        for nan in [0x7f80_0001, 0x7fc0_0000, 0x7fff_ffff] {
            assert_eq!([nan, nan | 0x8000_0000].map(single_to_half), [0x7e00, 0xfe00]);
            assert_eq!([nan, nan | 0x8000_0000].map(single_to_bf16), [0x7fc0; 2]);
        }
        assert_eq!(single_to_half(0x7f80_0000), 0x7c00);
        assert_eq!([0x7c00, 0xfc01, 0x7e01].map(half_to_single), [0x7f80_0000, 0xff80_2000, 0x7fc0_2000]);
    }

    #[test]
    fn halves_are_rounded_to_the_even_neighbour() {
        for (value, half) in [
            (1.0 + 1.0 / 2048.0, 0x3c00),
            (1.0 + 3.0 / 2048.0, 0x3c02),
            (65519.99, 0x7bff),
            (65520.0, 0x7c00),
            (2f32.powi(-25), 0x0000),
            (2f32.powi(-25) * 1.5, 0x0001),
            (2f32.powi(-24) * 1.5, 0x0002),
        ] {
            assert_eq!(single_to_half(f32::to_bits(value)), half, "{value}");
        }
        assert_eq!(single_to_bf16(0x3f80_8000), 0x3f80);
        assert_eq!(single_to_bf16(0x3f81_8000), 0x3f82);
        assert_eq!(single_to_bf16(f32::MAX.to_bits()), 0x7f80);
    }

    #[test]
    fn types_without_a_rule_are_refused() {
        assert_eq!(cast(&[0; 8], Dtype::F32, Dtype::I8), None);
        assert_eq!(cast(&[0, 0, 0x80, 0x3f], Dtype::F32, Dtype::BF16), Some(vec![0x80, 0x3f].into()));
        assert_eq!(cast(&[0x80, 0x3f], Dtype::BF16, Dtype::F16), Some(vec![0x00, 0x3c].into()));
    }
}
