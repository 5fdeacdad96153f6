//! Exact rules for turning an element of one float type into another, rounding to nearest even as torch and NumPy do.

use std::borrow::Cow;

use weighthouse_format::Dtype;

/// Casts a block; `None` when there is no rule for the two types. Equal types are copied.
pub fn cast(raw: &[u8], from: Dtype, to: Dtype) -> Option<Cow<'_, [u8]>> {
    if from == to {
        return Some(raw.into());
    }
    let single: fn(&[u8; 2]) -> u32 = match from {
        Dtype::BF16 => |bytes| u32::from(u16::from_le_bytes(*bytes)) << 16,
        Dtype::F16 => |bytes| half_to_single(u16::from_le_bytes(*bytes)),
        _ => |_| 0,
    };
    let half: fn(u32) -> u16 = match to {
        Dtype::BF16 => single_to_bf16,
        Dtype::F16 => single_to_half,
        _ => |_| 0,
    };
    let halves = raw.as_chunks::<2>().0;
    let cast: Vec<u8> = match (from, to) {
        (Dtype::BF16 | Dtype::F16, Dtype::F32) => halves.iter().flat_map(|word| single(word).to_le_bytes()).collect(),
        (Dtype::BF16, Dtype::F16) | (Dtype::F16, Dtype::BF16) => {
            halves.iter().flat_map(|word| half(single(word)).to_le_bytes()).collect()
        }
        (Dtype::F32, Dtype::BF16 | Dtype::F16) => {
            let words = raw.as_chunks::<4>().0;
            words.iter().flat_map(|word| half(u32::from_le_bytes(*word)).to_le_bytes()).collect()
        }
        (Dtype::F32, Dtype::F64) => {
            let words = raw.as_chunks::<4>().0;
            words.iter().flat_map(|word| widened(f32::from_le_bytes(*word)).to_le_bytes()).collect()
        }
        (Dtype::F64, Dtype::F32) => {
            let words = raw.as_chunks::<8>().0;
            words.iter().flat_map(|word| narrowed(f64::from_le_bytes(*word)).to_le_bytes()).collect()
        }
        _ => return None,
    };
    Some(cast.into())
}

/// What a NaN becomes is not laid down for `as`, and must be the same everywhere.
fn widened(value: f32) -> f64 {
    if value.is_nan() { f64::from_bits(0x7ff8 << 48) } else { value.into() }
}

fn narrowed(value: f64) -> f32 {
    if value.is_nan() { f32::from_bits(0x7fc0 << 16) } else { value as f32 }
}

/// Rounds to the upper half; NaNs become the quiet one that torch writes.
fn single_to_bf16(bits: u32) -> u16 {
    if bits & 0x7fff_ffff > 0x7f80_0000 {
        return 0x7fc0;
    }
    (bits.wrapping_add(0x7fff + (bits >> 16 & 1)) >> 16) as u16
}

fn half_to_single(half: u16) -> u32 {
    let half = u32::from(half);
    let (sign, exponent, mantissa) = ((half & 0x8000) << 16, half >> 10 & 0x1f, half & 0x3ff);
    let rest = match exponent {
        0 => (mantissa as f32 / (1 << 24) as f32).to_bits(),
        0x1f => 0x7f80_0000 | mantissa << 13,
        _ => (exponent + 112) << 23 | mantissa << 13,
    };
    sign | rest
}

fn single_to_half(bits: u32) -> u16 {
    let sign = (bits >> 16) as u16 & 0x8000;
    let rest = bits & 0x7fff_ffff;
    let rounded = |value: u32, shift: u32| (value + (1 << (shift - 1)) - 1 + (value >> shift & 1)) >> shift;
    let half = match rest {
        // NaN, then what rounds to infinity.
        0x7f80_0001.. => 0x7e00,
        0x477f_f000.. => 0x7c00,
        // From 2⁻¹⁴ on: the exponent's offset differs by 112.
        0x3880_0000.. => rounded(rest - (112 << 23), 13),
        // Subnormal halves; below 2⁻²⁵ all is zero.
        0x3300_0000.. => rounded(rest & 0x007f_ffff | 0x0080_0000, 126 - (rest >> 23)),
        _ => 0,
    };
    sign | half as u16
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
