//! What the bits of floats show and their values do not: subnormals, precision that is not used, and bytes that someone
//! wrote into the low bits.
//!
//! The low bits of trained weights are noise: the lowest byte of a mantissa has an entropy of nearly 8 bits. A file that is
//! hidden there, byte by byte (arXiv:2107.08590), has that of text or of machine code, 4 to 6 bits. What is compressed or
//! encrypted looks like noise too, and is not found here. Other things have a low entropy as well, and are told apart:
//! wider types that hold narrow values have no low bits at all; of values on a lattice (dequantised ones) the low byte
//! follows from the rest; and of all that arithmetic makes, the low byte of an element says nothing of that of the next,
//! or no more than of those behind it. In text and in machine code it says a lot.

use crate::dtype::Dtype;

/// Elements of wide floats whose low bytes are judged together.
const WIDE: usize = 4096;
/// Elements of narrow floats whose low bytes are judged together: more, since two histograms are compared.
const NARROW: usize = 8192;
/// Most windows of a tensor that are looked at closely.
const MOST_EXAMINED: u64 = 512;
/// Share of elements whose lowest bit is set, below which (or above one less that) precision is not used.
const ALIVE: f64 = 0.15;
/// Bits that a low byte says of the next one, beyond what it says of the fourth, from which on they are a text or a
/// program; those of scaled, mixed, rounded and dequantised weights say up to 0.23, text and code 0.3 to 2.
const SERIAL: f64 = 0.25;
/// Bytes of the low bits that are kept, to be shown.
const SAMPLE: usize = 48;

/// What the bits of floats show.
#[derive(Clone, Debug, PartialEq)]
pub struct Bits {
    /// Floats that were read.
    pub count: u64,
    /// Those that are subnormal: not zero, with the smallest exponent.
    pub subnormal: u64,
    /// Those with mantissa bits that the type of half the width has no place for (`BF16` in `F32`, `F32` in `F64`).
    pub fine: u64,
    /// Bits that are set in any mantissa.
    mantissas: u64,
    /// Windows of elements whose low bytes were judged.
    pub windows: u64,
    /// Those of them in which the low bytes are neither noise nor unused.
    pub structured: u64,
    /// Number of elements in a window.
    pub window: u64,
    /// The first element of the first structured window.
    pub first: Option<u64>,
    /// Entropy of the low bytes of the structured windows, the lowest; in bits.
    pub lowest: f64,
    /// The first low bytes of the first structured window.
    pub sample: Vec<u8>,
}

impl Default for Bits {
    fn default() -> Self {
        Self {
            count: 0,
            subnormal: 0,
            fine: 0,
            mantissas: 0,
            windows: 0,
            structured: 0,
            window: 0,
            first: None,
            lowest: 8.0,
            sample: Vec::new(),
        }
    }
}

impl Bits {
    /// Low bits of the mantissa that no element uses: 16 or more in an `F32` that holds `BF16`.
    #[must_use]
    pub const fn unused(&self) -> u32 {
        if self.mantissas == 0 { 0 } else { self.mantissas.trailing_zeros() }
    }

    /// Whether any mantissa has a bit.
    #[must_use]
    pub const fn has_mantissas(&self) -> bool {
        self.mantissas != 0
    }

    /// Takes in what other elements of the same tensor show.
    pub fn merge(&mut self, other: &Self) {
        self.count += other.count;
        self.subnormal += other.subnormal;
        self.fine += other.fine;
        self.mantissas |= other.mantissas;
        self.windows += other.windows;
        self.structured += other.structured;
        self.window = self.window.max(other.window);
        self.lowest = self.lowest.min(other.lowest);
        if other.first.is_some_and(|theirs| self.first.is_none_or(|mine| theirs < mine)) {
            self.first = other.first;
            self.sample.clone_from(&other.sample);
        }
    }
}

/// What a run of elements shows.
#[derive(Default)]
struct Survey {
    mantissas: u64,
    subnormal: u32,
    fine: u32,
    zeros: u32,
}

/// A float as its bits.
trait Float: Copy + Ord {
    /// Elements that are judged together.
    const WINDOW: usize;
    /// Entropy of the low bytes below which they are looked at closely, in bits.
    const LOW: f64;
    /// Whether values are too many to occur twice.
    const IS_WIDE: bool;
    fn low(self) -> u8;
    fn high(self) -> u8;
    fn is_zero(self) -> bool;
    fn survey(floats: &[Self]) -> Survey;
}

macro_rules! float {
    ($name:ident, $bits:ty, $exponent:expr, $mantissa:expr, $fine:expr, $window:expr, $low:expr) => {
        #[derive(Clone, Copy, PartialEq, Eq, PartialOrd, Ord)]
        struct $name($bits);

        impl $name {
            fn all(bytes: &[u8]) -> Vec<Self> {
                let (elements, _) = bytes.as_chunks::<{ size_of::<$bits>() }>();
                elements.iter().map(|&bytes| Self(<$bits>::from_le_bytes(bytes))).collect()
            }
        }

        impl Float for $name {
            const WINDOW: usize = $window;
            const LOW: f64 = $low;
            const IS_WIDE: bool = size_of::<$bits>() > 2;

            #[inline]
            fn low(self) -> u8 {
                self.0 as u8
            }

            #[inline]
            fn high(self) -> u8 {
                (self.0 >> 8) as u8
            }

            #[inline]
            fn is_zero(self) -> bool {
                self.0 & ($exponent | $mantissa) == 0
            }

            fn survey(floats: &[Self]) -> Survey {
                // Counts of a window fit the type itself, which keeps lanes as wide as the elements.
                let (mut mantissas, mut subnormal, mut fine, mut zeros): ($bits, $bits, $bits, $bits) = (0, 0, 0, 0);
                // None of a half's bits are.
                let fine_bits: $bits = $fine;
                for &Self(bits) in floats {
                    let (mantissa, smallest) = (bits & $mantissa, bits & $exponent == 0);
                    mantissas |= mantissa;
                    subnormal += <$bits>::from(smallest & (mantissa != 0));
                    zeros += <$bits>::from(smallest & (mantissa == 0));
                    fine += <$bits>::from(bits & fine_bits != 0);
                }
                Survey {
                    mantissas: mantissas.into(),
                    subnormal: subnormal as u32,
                    fine: fine as u32,
                    zeros: zeros as u32,
                }
            }
        }
    };
}
// The low byte of a BF16 has one bit of the exponent.
float!(Half, u16, 0x7c00, 0x03ff, 0, NARROW, 7.0);
float!(Brain, u16, 0x7f80, 0x007f, 0, NARROW, 6.5);
float!(Single, u32, 0x7f80_0000, 0x007f_ffff, 0xffff, WIDE, 7.0);
float!(Double, u64, 0x7ff0_0000_0000_0000, 0x000f_ffff_ffff_ffff, 0x1fff_ffff, WIDE, 7.0);

/// Reads the bits of one tensor's elements, in order.
pub(super) struct BitsReader {
    found: Bits,
    dtype: Dtype,
    /// Bytes of a window that is not full.
    pending: Vec<u8>,
    /// Number of the element that comes next.
    at: u64,
    examined: u64,
}

impl BitsReader {
    /// Begins at an element; `None` for types that are no floats of 16 bits or more.
    pub(super) fn new(dtype: Dtype, at: u64) -> Option<Self> {
        let window = match dtype {
            Dtype::F16 | Dtype::BF16 => NARROW,
            Dtype::F32 | Dtype::F64 => WIDE,
            _ => return None,
        };
        let found = Bits { window: window as u64, ..Bits::default() };
        Some(Self { found, dtype, pending: Vec::new(), at, examined: 0 })
    }

    /// Takes in the elements that follow.
    pub(super) fn feed(&mut self, mut bytes: &[u8]) {
        let window = usize::try_from(self.found.window * self.dtype.block_bytes()).unwrap_or(usize::MAX);
        if !self.pending.is_empty() {
            let (more, rest) = bytes.split_at(bytes.len().min(window - self.pending.len()));
            self.pending.extend_from_slice(more);
            bytes = rest;
            if self.pending.len() < window {
                return;
            }
            let full = std::mem::take(&mut self.pending);
            self.window(&full);
        }
        let mut windows = bytes.chunks_exact(window);
        windows.by_ref().for_each(|bytes| self.window(bytes));
        self.pending.extend_from_slice(windows.remainder());
    }

    pub(super) fn finish(mut self) -> Bits {
        let rest = std::mem::take(&mut self.pending);
        if !rest.is_empty() {
            self.window(&rest);
        }
        self.found
    }

    fn window(&mut self, bytes: &[u8]) {
        match self.dtype {
            Dtype::F16 => self.judge(&Half::all(bytes)),
            Dtype::BF16 => self.judge(&Brain::all(bytes)),
            Dtype::F32 => self.judge(&Single::all(bytes)),
            _ => self.judge(&Double::all(bytes)),
        }
    }

    fn judge<F: Float>(&mut self, floats: &[F]) {
        let Survey { mantissas, subnormal, fine, zeros } = F::survey(floats);
        // Neighbours are often alike, and one table would wait for itself.
        let mut tables = [[0u16; 256]; 4];
        let (fours, rest) = floats.as_chunks::<4>();
        let mut count = |four: &[F]| {
            for (table, float) in tables.iter_mut().zip(four) {
                if let Some(count) = table.get_mut(usize::from(float.low())) {
                    *count += 1;
                }
            }
        };
        fours.iter().for_each(|four| count(four));
        count(rest);
        let [one, two, three, four] = &tables;
        let mut low = [0u32; 256];
        for ((((sum, a), b), c), d) in low.iter_mut().zip(one).zip(two).zip(three).zip(four) {
            *sum = u32::from(*a) + u32::from(*b) + u32::from(*c) + u32::from(*d);
        }
        if let Some(zero) = low.first_mut() {
            *zero = zero.saturating_sub(zeros);
        }
        let at = self.at;
        let found = &mut self.found;
        self.at += floats.len() as u64;
        found.count += floats.len() as u64;
        found.subnormal += u64::from(subnormal);
        found.fine += u64::from(fine);
        found.mantissas |= mantissas;
        let judged = floats.len() - zeros as usize;
        // A few elements have no entropy to speak of.
        if judged < F::WINDOW / 2 {
            return;
        }
        found.windows += 1;
        let n = judged as f64;
        // The entropy is at least that of collisions, which is cheaper.
        let collisions: u64 = low.iter().map(|&count| u64::from(count) * u64::from(count)).sum();
        if -(collisions as f64 / (n * n)).log2() >= F::LOW {
            return;
        }
        let odd: u32 = low.iter().skip(1).step_by(2).sum();
        let odd = f64::from(odd) / n;
        if !(ALIVE..=1.0 - ALIVE).contains(&odd) || self.examined >= MOST_EXAMINED {
            return;
        }
        self.examined += 1;
        let entropy = entropy(&low.map(u64::from));
        if (2.0..F::LOW).contains(&entropy) && is_serial(floats) && !is_lattice(floats, entropy) {
            found.structured += 1;
            found.lowest = found.lowest.min(entropy);
            if found.first.is_none() {
                found.first = Some(at);
                found.sample = floats.iter().take(SAMPLE).map(|float| float.low()).collect();
            }
        }
    }
}

/// Whether a low byte says what the next one is: the entropy of pairs of neighbours is lower than that of pairs at some
/// distance. What changes from group to group, such as a scale, is the same for both.
fn is_serial<F: Float>(floats: &[F]) -> bool {
    let low: Vec<u8> = floats.iter().filter(|float| !float.is_zero()).map(|float| float.low()).collect();
    let pairs = |distance: usize| {
        let mut counts = vec![0u64; 1 << 16];
        for (one, other) in low.iter().zip(low.iter().skip(distance)) {
            if let Some(count) = counts.get_mut(usize::from(*one) << 8 | usize::from(*other)) {
                *count += 1;
            }
        }
        entropy(&counts)
    };
    pairs(4) - pairs(1) >= SERIAL
}

/// Whether the low bytes follow from the rest of the values, as those of dequantised and rounded values do; and not, as
/// foreign bytes, lie beside whatever stands above.
fn is_lattice<F: Float>(floats: &[F], low_entropy: f64) -> bool {
    let mut sorted: Vec<F> = floats.iter().filter(|float| !float.is_zero()).copied().collect();
    sorted.sort_unstable();
    let counts: Vec<u64> = sorted.chunk_by(|one, other| one == other).map(|same| same.len() as u64).collect();
    if F::IS_WIDE {
        return counts.len() * 2 < sorted.len();
    }
    let mut high = [0u64; 256];
    for float in &sorted {
        if let Some(count) = high.get_mut(usize::from(float.high())) {
            *count += 1;
        }
    }
    let high_entropy = entropy(&high);
    let cells = |counts: &[u64]| counts.iter().filter(|count| **count > 0).count() as f64;
    let mut low = [0u64; 256];
    for float in &sorted {
        if let Some(count) = low.get_mut(usize::from(float.low())) {
            *count += 1;
        }
    }
    // What a few samples share by chance is taken off (Miller 1955).
    let chance =
        (counts.len() as f64 - cells(&high) - cells(&low) + 1.0) / (2.0 * sorted.len() as f64 * std::f64::consts::LN_2);
    let shared = high_entropy + low_entropy - entropy(&counts) - chance.max(0.0);
    // Values that all lie close to each other have the same high byte, and their low bytes are what they are.
    high_entropy < 1.5 || shared > low_entropy / 4.0
}

/// Entropy of counts, in bits.
fn entropy(counts: &[u64]) -> f64 {
    let all: u64 = counts.iter().sum();
    if all == 0 {
        return 0.0;
    }
    let all = all as f64;
    counts.iter().filter(|count| **count > 0).map(|&count| count as f64 / all).map(|share| -share * share.log2()).sum()
}

#[cfg(test)]
mod tests {
    use super::*;

    /// Numbers of a bell curve, the same each time.
    fn weights(count: usize, seed: u64) -> Vec<f32> {
        let mut state = seed | 1;
        let mut next = move || {
            state = state.wrapping_mul(6_364_136_223_846_793_005).wrapping_add(1_442_695_040_888_963_407);
            (state >> 11) as f64 / (1u64 << 53) as f64
        };
        (0..count).map(|_| ((0..12).map(|_| next()).sum::<f64>() - 6.0) as f32 * 0.02).collect()
    }

    fn read(dtype: Dtype, bytes: &[u8], step: usize) -> Bits {
        let mut reader = BitsReader::new(dtype, 0).unwrap();
        bytes.chunks(step).for_each(|part| reader.feed(part));
        reader.finish()
    }

    fn single(values: &[f32]) -> Vec<u8> {
        values.iter().flat_map(|value| value.to_le_bytes()).collect()
    }

    fn brain(value: f32) -> u16 {
        (value.to_bits() >> 16) as u16
    }

    /// Rounds to half precision; exact enough for values in its normal range.
    fn half(value: f32) -> u16 {
        let bits = value.to_bits();
        let (sign, exponent) = ((bits >> 16) & 0x8000, ((bits >> 23) & 0xff) as i32 - 112);
        if exponent <= 0 { sign as u16 } else { (sign | (exponent as u32) << 10 | (bits >> 13) & 0x3ff) as u16 }
    }

    fn twos(values: impl Iterator<Item = u16>) -> Vec<u8> {
        values.flat_map(u16::to_le_bytes).collect()
    }

    /// A text.
    const TEXT: &[u8] = include_bytes!("bits.rs");

    #[test]
    fn bytes_that_are_hidden_in_the_low_bits_are_found() {
        let values = weights(100_000, 7);
        let hidden = |at: usize, byte: &mut u8| {
            if (40_000..70_000).contains(&at) {
                *byte = TEXT[at % TEXT.len()];
            }
        };
        let mut wide = single(&values);
        wide.chunks_mut(4).enumerate().for_each(|(at, bytes)| hidden(at, &mut bytes[0]));
        for step in [wide.len(), 4 << 10, 4 * 1000] {
            let found = read(Dtype::F32, &wide, step);
            assert!((6..=8).contains(&found.structured), "{}", found.structured);
            assert_eq!(found.first, Some(40_960));
            assert!(found.lowest < 5.7, "{}", found.lowest);
            assert!(found.sample.iter().all(u8::is_ascii));
        }
        for (dtype, round) in [(Dtype::F16, half as fn(f32) -> u16), (Dtype::BF16, brain)] {
            let mut bytes = twos(values.iter().map(|&value| round(value)));
            assert_eq!(read(dtype, &bytes, bytes.len()).structured, 0, "{dtype}");
            bytes.chunks_mut(2).enumerate().for_each(|(at, bytes)| hidden(at, &mut bytes[0]));
            let found = read(dtype, &bytes, bytes.len());
            assert!((2..=5).contains(&found.structured), "{dtype}: {}", found.structured);
        }
        let mut doubles: Vec<u8> = weights(9000, 3)
            .iter()
            .zip(weights(9000, 5))
            .flat_map(|(a, b)| (f64::from(*a) / f64::from(b)).to_le_bytes())
            .collect();
        assert_eq!(read(Dtype::F64, &doubles, 8000).structured, 0);
        doubles.chunks_mut(8).enumerate().for_each(|(at, bytes)| bytes[0] = TEXT[at % TEXT.len()]);
        assert_eq!(read(Dtype::F64, &doubles, 8000).structured, 2);
    }

    #[test]
    fn noise_and_everything_that_arithmetic_makes_raise_no_alarm() {
        let values = weights(60_000, 11);
        let other = weights(60_000, 13);
        let to_brain = |value: f32| f32::from_bits(u32::from(brain(value)) << 16);
        let to_half = |value: f32| crate::number::half(half(value));
        let step = |value: f32, scale: f32| (value / scale).round() * scale;
        let made: &[(&str, Vec<f32>)] = &[
            ("as they are", values.clone()),
            ("widened from BF16", values.iter().map(|&value| to_brain(value)).collect()),
            ("widened from F16", values.iter().map(|&value| to_half(value)).collect()),
            ("scaled BF16", values.iter().map(|&value| to_brain(value) * 0.7).collect()),
            ("scaled F16", values.iter().map(|&value| to_half(value) * 0.7).collect()),
            (
                "mean of two BF16",
                values.iter().zip(&other).map(|(a, b)| 0.5 * to_brain(*a) + 0.5 * to_brain(*b)).collect(),
            ),
            (
                "mix of two BF16",
                values.iter().zip(&other).map(|(a, b)| 0.3 * to_brain(*a) + 0.7 * to_brain(*b)).collect(),
            ),
            ("eight bits", values.iter().map(|&value| step(value, 0.000_773)).collect()),
            (
                "four bits in groups",
                values
                    .iter()
                    .enumerate()
                    .map(|(at, &value)| step(value, 0.011 + (at / 128 % 97) as f32 * 1e-5))
                    .collect(),
            ),
            ("ternary", values.iter().map(|&value| step(value, 0.0371)).collect()),
            ("ones", vec![1.0; 60_000]),
            (
                "waves",
                (0..60_000).map(|at| ((at / 64) as f32 / 10_000f32.powf((at % 64) as f32 / 64.0)).sin()).collect(),
            ),
            ("close to one", values.iter().map(|value| 1.0 + value / 10.0).collect()),
            ("pruned", values.iter().map(|&value| if value.abs() < 0.02 { 0.0 } else { value }).collect()),
            ("even", (0..60_000).map(|at| (at as f32 - 30_000.0) / 960_000.0).collect()),
        ];
        for (name, values) in made {
            let found = read(Dtype::F32, &single(values), 1 << 20);
            assert_eq!(found.structured, 0, "{name} in F32: {:.2} bits", found.lowest);
            for (dtype, round) in [(Dtype::F16, half as fn(f32) -> u16), (Dtype::BF16, brain)] {
                let found = read(dtype, &twos(values.iter().map(|&value| round(value))), 1 << 20);
                assert_eq!(found.structured, 0, "{name} in {dtype}: {:.2} bits", found.lowest);
            }
        }
    }

    #[test]
    fn precision_that_is_not_used_and_subnormals_are_counted() {
        let values = weights(5000, 17);
        let full = read(Dtype::F32, &single(&values), 999 * 4);
        assert_eq!((full.unused(), full.count, full.subnormal), (0, 5000, 0));
        assert!(full.fine > 4900);
        let widened: Vec<f32> = values.iter().map(|&value| f32::from_bits(value.to_bits() & 0xffff_0000)).collect();
        let narrow = read(Dtype::F32, &single(&widened), 4000);
        assert_eq!((narrow.unused(), narrow.fine), (16, 0));
        let mut one = widened;
        one[77] = f32::from_bits(one[77].to_bits() | 1);
        assert_eq!(read(Dtype::F32, &single(&one), 4000).fine, 1);
        let small = read(Dtype::F16, &twos([0u16, 1, 0x3ff, 0x8001, 0x400, 0x8000].into_iter()), 3);
        assert_eq!((small.count, small.subnormal), (6, 3));
        assert!(BitsReader::new(Dtype::I32, 0).is_none() && BitsReader::new(Dtype::Q40, 0).is_none());
    }

    #[test]
    fn the_low_bytes_of_weights_are_noise() {
        let values = weights(200_000, 29);
        let of = |low: &mut dyn Iterator<Item = u8>| {
            let mut counts = [0u64; 256];
            low.for_each(|byte| counts[usize::from(byte)] += 1);
            entropy(&counts)
        };
        assert!(of(&mut values.iter().map(|value| value.to_bits() as u8)) > 7.8);
        assert!(of(&mut values.iter().map(|&value| half(value) as u8)) > 7.8);
        let of_brain = of(&mut values.iter().map(|&value| brain(value) as u8));
        assert!((7.8..8.0).contains(&of_brain), "{of_brain}");
    }

    #[test]
    fn parts_of_a_tensor_are_the_whole() {
        let bytes = single(&weights(20_000, 23));
        let whole = read(Dtype::F32, &bytes, bytes.len());
        let (head, tail) = bytes.split_at(8192 * 4);
        let mut reader = BitsReader::new(Dtype::F32, 8192).unwrap();
        reader.feed(tail);
        let mut joined = reader.finish();
        joined.merge(&read(Dtype::F32, head, 100));
        assert_eq!(joined, whole);
    }
}
