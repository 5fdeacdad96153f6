//! Single precision to and from narrower floats: nearest, ties to even, without branches so that loops vectorise.

/// Half precision to single, exactly; a NaN becomes quiet and keeps its sign and payload.
///
/// Exponent and mantissa are moved to their place and scaled by 2^112, which is exact for subnormals too. Only infinities
/// and NaNs need their exponent filled up.
#[inline]
pub(crate) fn from_f16(bits: u16) -> f32 {
    let bits = u32::from(bits);
    let magnitude = (bits & 0x7fff) << 13;
    let scaled = (f32::from_bits(magnitude) * f32::from_bits(0x7780_0000)).to_bits();
    let quiet = if magnitude > 0x0f80_0000 { 0x0040_0000 } else { 0 };
    let found = if magnitude >= 0x0f80_0000 { 0x7f80_0000 | magnitude | quiet } else { scaled };
    f32::from_bits(found | (bits & 0x8000) << 16)
}

/// The upper half of an `F32` to all of it, exactly.
#[inline]
pub(crate) fn from_bf16(bits: u16) -> f32 {
    f32::from_bits(u32::from(bits) << 16)
}

/// To half precision; what is too large becomes infinite, a NaN quiet with its sign and the upper bits of its payload.
#[inline]
pub(crate) fn to_f16(number: f32) -> u16 {
    let (sign, magnitude) = parts(number);
    let finite = rounded::<10, 15>(magnitude).min(0x7c00);
    let found = if magnitude > INFINITE { 0x7e00 | (magnitude >> 13 & 0x01ff) } else { finite };
    (found | sign >> 16) as u16
}

/// To the upper half of an `F32`; a NaN becomes quiet and keeps its sign and the upper bits of its payload.
///
/// For NaN torch 2.15 gives `0x7fc0` or `0xffff`, by the vector unit that it finds; this is what gguf-py 0.19 and ggml do.
#[inline]
pub(crate) fn to_bf16(number: f32) -> u16 {
    let bits = number.to_bits();
    let nearest = bits.wrapping_add(0x7fff + (bits >> 16 & 1));
    let found = if bits & 0x7fff_ffff > INFINITE { bits | 0x0040_0000 } else { nearest };
    (found >> 16) as u16
}

/// To 4 exponent and 3 mantissa bits; there is no infinity, and what is too large becomes 448, infinity too.
///
/// This is what torch 2.15 does on every vector unit, and what older ones did not: they gave NaN from 464 on.
#[inline]
pub(super) fn to_e4m3(number: f32) -> u8 {
    let (sign, magnitude) = parts(number);
    let finite = rounded::<3, 7>(magnitude).min(0x7e);
    (if magnitude > INFINITE { 0x7f } else { finite } | sign >> 24) as u8
}

/// To 5 exponent and 2 mantissa bits; what is too large becomes infinite.
#[inline]
pub(super) fn to_e5m2(number: f32) -> u8 {
    let (sign, magnitude) = parts(number);
    let finite = rounded::<2, 15>(magnitude).min(0x7c);
    (if magnitude > INFINITE { 0x7f } else { finite } | sign >> 24) as u8
}

/// To 8 bits that spell NaN as negative zero, and what is too large or infinite, too.
#[inline]
pub(super) fn to_fnuz<const MANTISSA: u32, const BIAS: u32>(number: f32) -> u8 {
    let (sign, magnitude) = parts(number);
    let finite = rounded::<MANTISSA, BIAS>(magnitude);
    let signed = if finite == 0 { 0 } else { finite | sign >> 24 };
    (if finite > 0x7f || magnitude >= INFINITE { 0x80 } else { signed }) as u8
}

/// To a power of two, half way upwards; the sign goes, zero becomes 2^-127 and 255 is NaN.
///
/// As torch 2.15: half way between 2^-127 and 2^-126 alone goes to 2^-127.
#[inline]
pub(super) fn to_e8m0(number: f32) -> u8 {
    let (_, magnitude) = parts(number);
    let half = if magnitude == 0x0040_0000 { 0x003f_ffff } else { 0x0040_0000 };
    ((magnitude + half) >> 23).min(255) as u8
}

/// Bits of infinity.
const INFINITE: u32 = 0x7f80_0000;

/// Sign bit, and the others.
#[inline]
fn parts(number: f32) -> (u32, u32) {
    let bits = number.to_bits();
    (bits & 0x8000_0000, bits & 0x7fff_ffff)
}

/// A magnitude with fewer mantissa bits and another exponent bias, as if there were any number of exponent bits.
#[inline]
fn rounded<const MANTISSA: u32, const BIAS: u32>(magnitude: u32) -> u32 {
    // The sum with a power of two leaves the multiple of the least subnormal in its low bits, rounded.
    let shifter = (151 - BIAS - MANTISSA) << 23;
    let subnormal = (f32::from_bits(magnitude) + f32::from_bits(shifter)).to_bits().wrapping_sub(shifter);
    let odd = magnitude >> (23 - MANTISSA) & 1;
    let moved = magnitude.wrapping_sub((127 - BIAS) << 23);
    let normal = moved.wrapping_add((1 << (22 - MANTISSA)) - 1 + odd) >> (23 - MANTISSA);
    if magnitude < (128 - BIAS) << 23 { subnormal } else { normal }
}
