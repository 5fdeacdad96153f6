//! Elements as numbers: every dtype to `f32` or `f64`.

use crate::dtype::Dtype;
use crate::error::FormatError;
use crate::gguf;

/// Numbers out of bytes, in the narrowest type that holds each exactly (64-bit integers are rounded to `f64`).
#[derive(Clone, Debug, PartialEq)]
pub enum Numbers {
    /// From everything that fits 24 bits of mantissa.
    Single(Vec<f32>),
    /// From 32-bit and 64-bit integers and from `F64`.
    Double(Vec<f64>),
}

impl Numbers {
    /// Number of elements.
    #[must_use]
    pub fn len(&self) -> usize {
        match self {
            Self::Single(numbers) => numbers.len(),
            Self::Double(numbers) => numbers.len(),
        }
    }

    /// Whether there are none.
    #[must_use]
    pub fn is_empty(&self) -> bool {
        self.len() == 0
    }

    /// The number at `index`.
    #[must_use]
    pub fn get(&self, index: usize) -> Option<f64> {
        match self {
            Self::Single(numbers) => numbers.get(index).map(|&number| f64::from(number)),
            Self::Double(numbers) => numbers.get(index).copied(),
        }
    }
}

/// Reads little-endian elements, packed or quantised ones too. A complex number gives its two parts.
///
/// # Shapes and units
/// - `bytes`: a whole number of elements or blocks, as [`crate::data::Elements`] gives them
///
/// # Errors
/// [`FormatError::Unsupported`] for text and 128-bit floats.
pub fn numbers(dtype: Dtype, bytes: &[u8]) -> Result<Numbers, FormatError> {
    use Numbers::{Double, Single};
    Ok(match dtype {
        Dtype::F32 | Dtype::C64 => Single(map(bytes, f32::from_le_bytes)),
        Dtype::BF16 => Single(map(bytes, |b| f32::from_bits(u32::from(u16::from_le_bytes(b)) << 16))),
        Dtype::F16 | Dtype::C32 => Single(map(bytes, |b| half(u16::from_le_bytes(b)))),
        Dtype::F64 | Dtype::C128 => Double(map(bytes, f64::from_le_bytes)),
        Dtype::Bool | Dtype::U8 | Dtype::QU8 => Single(bytes.iter().map(|&byte| f32::from(byte)).collect()),
        Dtype::I8 | Dtype::QI8 => Single(bytes.iter().map(|&byte| f32::from(byte as i8)).collect()),
        Dtype::U16 => Single(map(bytes, |b| f32::from(u16::from_le_bytes(b)))),
        Dtype::I16 => Single(map(bytes, |b| f32::from(i16::from_le_bytes(b)))),
        Dtype::U32 => Double(map(bytes, |b| f64::from(u32::from_le_bytes(b)))),
        Dtype::I32 | Dtype::QI32 => Double(map(bytes, |b| f64::from(i32::from_le_bytes(b)))),
        Dtype::U64 => Double(map(bytes, |b| u64::from_le_bytes(b) as f64)),
        Dtype::I64 => Double(map(bytes, |b| i64::from_le_bytes(b) as f64)),
        Dtype::F8E4M3 => table(bytes, &minifloat::<4, 3>(7, Special::LastIsNan)),
        Dtype::F8E5M2 => table(bytes, &minifloat::<5, 2>(15, Special::Ieee)),
        Dtype::F8E4M3Fnuz => table(bytes, &minifloat::<4, 3>(8, Special::NegativeZeroIsNan)),
        Dtype::F8E5M2Fnuz => table(bytes, &minifloat::<5, 2>(16, Special::NegativeZeroIsNan)),
        Dtype::F8E4M3B11Fnuz => table(bytes, &minifloat::<4, 3>(11, Special::NegativeZeroIsNan)),
        Dtype::F8E8M0 => Double(bytes.iter().map(|&byte| scale(byte)).collect()),
        Dtype::F4 => packed::<4>(bytes, |bits| mini(bits, 2, 1, 1)),
        Dtype::I4 => packed::<4>(bytes, |bits| f32::from(((bits << 4) as i8) >> 4)),
        Dtype::U4 => packed::<4>(bytes, f32::from),
        Dtype::I2 => packed::<2>(bytes, |bits| f32::from(((bits << 6) as i8) >> 6)),
        Dtype::U2 => packed::<2>(bytes, f32::from),
        Dtype::F6E2M3 => sixes(bytes, |bits| mini(bits, 2, 3, 1)),
        Dtype::F6E3M2 => sixes(bytes, |bits| mini(bits, 3, 2, 3)),
        quantised if quantised.is_quantised() => {
            let blocks = bytes.len() as u64 / quantised.block_bytes();
            let mut out = vec![0.0; usize::try_from(blocks * quantised.block_elements()).unwrap_or(0)];
            gguf::dequant::dequantise(quantised, bytes, &mut out)?;
            Single(out)
        }
        other => {
            let detail = format!("elements of type `{other}`");
            return Err(FormatError::Unsupported { what: "reading as numbers", detail });
        }
    })
}

fn map<const N: usize, T>(bytes: &[u8], read: impl Fn([u8; N]) -> T) -> Vec<T> {
    bytes.as_chunks::<N>().0.iter().map(|&chunk| read(chunk)).collect()
}

/// IEEE half precision, without branches so that it vectorises.
///
/// Exponent and mantissa are moved to their place in an `f32` and scaled by 2^112; that is exact for subnormals too. Only
/// infinities and NaNs need their exponent filled up.
#[inline]
pub(crate) fn half(bits: u16) -> f32 {
    let bits = u32::from(bits);
    let magnitude = (bits & 0x7fff) << 13;
    let scaled = (f32::from_bits(magnitude) * f32::from_bits(0x7780_0000)).to_bits();
    let special = if magnitude >= 0x0f80_0000 { 0x7f80_0000 | magnitude } else { scaled };
    f32::from_bits(special | (bits & 0x8000) << 16)
}

/// How an 8-bit float spells what is no finite number.
enum Special {
    /// All ones in the exponent: infinity, or NaN with a mantissa.
    Ieee,
    /// Only all ones everywhere is NaN; there is no infinity.
    LastIsNan,
    /// What would be negative zero is NaN; there is no infinity.
    NegativeZeroIsNan,
}

fn minifloat<const E: u32, const M: u32>(bias: i32, special: Special) -> [f32; 256] {
    std::array::from_fn(|index| {
        let bits = index as u8;
        let (exponent, mantissa) = ((bits >> M) & ((1 << E) - 1), bits & ((1 << M) - 1));
        let full = exponent == (1 << E) - 1;
        match special {
            Special::Ieee if full && mantissa == 0 => {
                if bits & 0x80 == 0 {
                    f32::INFINITY
                } else {
                    f32::NEG_INFINITY
                }
            }
            Special::Ieee if full => f32::NAN,
            Special::LastIsNan if full && mantissa == (1 << M) - 1 => f32::NAN,
            Special::NegativeZeroIsNan if bits == 0x80 => f32::NAN,
            _ => {
                let sign = if bits & 0x80 == 0 { 1.0 } else { -1.0 };
                sign * magnitude(exponent, mantissa, M, bias)
            }
        }
    })
}

/// A sign bit, `exponent_bits`, `mantissa_bits`; every pattern is finite (OCP microscaling formats, section 5.3).
fn mini(bits: u8, exponent_bits: u32, mantissa_bits: u32, bias: i32) -> f32 {
    let (exponent, mantissa) =
        ((bits >> mantissa_bits) & ((1 << exponent_bits) - 1), bits & ((1 << mantissa_bits) - 1));
    let negative = bits >> (exponent_bits + mantissa_bits) & 1 == 1;
    let magnitude = magnitude(exponent, mantissa, mantissa_bits, bias);
    if negative { -magnitude } else { magnitude }
}

fn magnitude(exponent: u8, mantissa: u8, mantissa_bits: u32, bias: i32) -> f32 {
    let fraction = f32::from(mantissa) / (1u32 << mantissa_bits) as f32;
    match exponent {
        0 => fraction * 2f32.powi(1 - bias),
        _ => (1.0 + fraction) * 2f32.powi(i32::from(exponent) - bias),
    }
}

/// A power of two, from 2^-127 on; 255 is NaN.
fn scale(bits: u8) -> f64 {
    if bits == 255 { f64::NAN } else { 2f64.powi(i32::from(bits) - 127) }
}

fn table(bytes: &[u8], table: &[f32; 256]) -> Numbers {
    Numbers::Single(bytes.iter().filter_map(|&byte| table.get(usize::from(byte)).copied()).collect())
}

fn packed<const BITS: usize>(bytes: &[u8], read: impl Fn(u8) -> f32) -> Numbers {
    let table: Vec<f32> = (0..1u8 << BITS).map(read).collect();
    let mask = (1u8 << BITS) - 1;
    let elements = bytes.iter().flat_map(|&byte| (0..8 / BITS).map(move |at| byte >> (at * BITS) & mask));
    Numbers::Single(elements.filter_map(|bits| table.get(usize::from(bits)).copied()).collect())
}

/// Four elements of six bits in three bytes, low bits first.
fn sixes(bytes: &[u8], read: impl Fn(u8) -> f32) -> Numbers {
    let groups = bytes.as_chunks::<3>().0.iter();
    let elements = groups.flat_map(|&[a, b, c]| {
        let word = u32::from_le_bytes([a, b, c, 0]);
        [0, 6, 12, 18].map(|shift| (word >> shift & 0x3f) as u8)
    });
    Numbers::Single(elements.map(read).collect())
}

#[cfg(test)]
mod tests {
    use super::*;

    fn single(dtype: Dtype, bytes: &[u8]) -> Vec<f32> {
        match numbers(dtype, bytes).unwrap() {
            Numbers::Single(numbers) => numbers,
            Numbers::Double(_) => panic!("double"),
        }
    }

    #[test]
    fn every_half_is_what_its_definition_says() {
        for bits in 0..=u16::MAX {
            let (exponent, mantissa) = (i32::from(bits >> 10 & 31), f64::from(bits & 1023));
            let sign = if bits >> 15 == 1 { -1.0 } else { 1.0 };
            let expected = match exponent {
                0 => sign * mantissa * 2f64.powi(-24),
                31 if mantissa == 0.0 => sign * f64::INFINITY,
                31 => f64::NAN,
                _ => sign * (1.0 + mantissa / 1024.0) * 2f64.powi(exponent - 15),
            };
            let found = f64::from(half(bits));
            assert!(found == expected || (found.is_nan() && expected.is_nan()), "{bits:#06x}: {found} {expected}");
        }
    }

    #[test]
    fn small_floats_have_their_known_values() {
        // Largest, smallest and special values of arXiv:2209.05433, arXiv:2206.02915 and the OCP formats.
        assert_eq!(single(Dtype::F8E4M3, &[0x7e, 0x01, 0x38, 0xb8]), [448.0, 2f32.powi(-9), 1.0, -1.0]);
        assert_eq!(single(Dtype::F8E5M2, &[0x7b, 0x7c, 0x01]), [57344.0, f32::INFINITY, 2f32.powi(-16)]);
        assert_eq!(single(Dtype::F8E4M3Fnuz, &[0x7f, 0x01]), [240.0, 2f32.powi(-10)]);
        assert_eq!(single(Dtype::F8E5M2Fnuz, &[0x7f, 0x01]), [57344.0, 2f32.powi(-17)]);
        assert!(single(Dtype::F8E4M3, &[0x7f])[0].is_nan() && single(Dtype::F8E4M3Fnuz, &[0x80])[0].is_nan());
        assert_eq!(single(Dtype::F4, &[0x17, 0xf8]), [6.0, 0.5, -0.0, -6.0]);
        assert_eq!(single(Dtype::F6E2M3, &[0x1f, 0, 0])[0], 7.5);
        assert_eq!(single(Dtype::F6E3M2, &[0x1f, 0, 0])[0], 28.0);
        assert_eq!(single(Dtype::I4, &[0x8f]), [-1.0, -8.0]);
        assert_eq!(single(Dtype::U2, &[0b11_10_01_00]), [0.0, 1.0, 2.0, 3.0]);
        assert_eq!(numbers(Dtype::F8E8M0, &[127, 128]).unwrap(), Numbers::Double(vec![1.0, 2.0]));
        assert_eq!(numbers(Dtype::I64, &(-5i64).to_le_bytes()).unwrap(), Numbers::Double(vec![-5.0]));
        assert_eq!(single(Dtype::BF16, &[0x80, 0x3f]), [1.0]);
    }

    #[test]
    fn every_type_but_text_and_quadruple_is_read() {
        for &dtype in Dtype::ALL {
            let bytes = vec![0; dtype.block_bytes() as usize * 2];
            let found = numbers(dtype, &bytes);
            let none = matches!(dtype, Dtype::Text | Dtype::F128);
            assert_eq!(found.is_err(), none, "{dtype}");
        }
    }
}
