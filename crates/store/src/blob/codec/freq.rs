//! Frequencies of symbols for the range coder, and how they are stored.
//!
//! A frequency is stored as a level of a quarter of an octave below the largest. What is lost by that is 0.002 bits for
//! a symbol, and a table takes three bits for a symbol that occurs instead of eleven.

use super::bits::{BitReader, BitWriter};
use super::error::CodecError;

/// Frequencies sum up to `1 << SCALE_BITS`.
pub const SCALE_BITS: u32 = 11;
/// Sum of all frequencies.
pub const SCALE: u32 = 1 << SCALE_BITS;

/// Level of the largest frequency; a symbol below level 1 gets level 1.
const TOP: u32 = 45;
/// `2^(l/4)` in units of 1/4096, for the parts of an octave.
const QUARTERS: [u64; 4] = [4096, 4871, 5793, 6889];
/// `2^((l + 1/2)/4)` in the same units: where a level ends.
const HALVES: [u64; 4] = [4467, 5312, 6317, 7512];

/// Frequencies of one class of symbols, as they are stored: levels, 0 where a symbol does not occur.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Levels([u8; 256]);

impl Levels {
    /// The levels nearest to these counts.
    pub fn of(counts: &[u32; 256]) -> Self {
        let top = u64::from(counts.iter().copied().max().unwrap_or(0));
        Self(counts.map(|count| if count == 0 { 0 } else { level(count.into(), top) }))
    }

    /// Appends the table: the number of symbols, then for each the zigzag of the difference to the level before, as
    /// Elias's gamma numbers.
    pub fn write(&self, bits: &mut BitWriter) {
        let used = self.0.iter().rposition(|&level| level > 0).map_or(0, |last| last + 1);
        bits.put(used as u64, 9);
        let mut before = TOP as i32;
        for &level in &self.0[..used] {
            let step = i32::from(level) - before;
            bits.put_gamma(((step << 1) ^ (step >> 31)) as u32);
            before = level.into();
        }
    }

    /// Reads a table; at least one symbol occurs.
    ///
    /// # Errors
    /// [`CodecError::Damaged`] when it is cut off or says what no writer says.
    pub fn read(bits: &mut BitReader) -> Result<Self, CodecError> {
        const DAMAGED: CodecError = CodecError::Damaged { what: "table of frequencies" };
        let used = bits.take(9)? as usize;
        let mut levels = [0u8; 256];
        let mut before = TOP as i64;
        for level in levels.get_mut(..used).ok_or(DAMAGED)? {
            let step = i64::from(bits.take_gamma()?);
            before += (step >> 1) ^ -(step & 1);
            *level = u8::try_from(before).ok().filter(|&level| u32::from(level) <= TOP).ok_or(DAMAGED)?;
        }
        if levels.iter().all(|&level| level == 0) {
            return Err(DAMAGED);
        }
        Ok(Self(levels))
    }

    /// Frequencies that sum up to [`SCALE`], the same wherever they are computed.
    pub fn frequencies(&self) -> [u16; 256] {
        let weight = |level: u8| match level {
            0 => 0,
            _ => QUARTERS[usize::from((level - 1) & 3)] << ((level - 1) >> 2),
        };
        let total: u64 = self.0.iter().map(|&level| weight(level)).sum();
        let mut frequencies = self.0.map(|level| match level {
            0 => 0,
            _ => (weight(level) * u64::from(SCALE) / total.max(1)).max(1) as u16,
        });
        let mut sum: i32 = frequencies.iter().map(|&frequency| i32::from(frequency)).sum();
        // What rounding left or took goes to the largest.
        while sum != SCALE as i32 {
            let largest = frequencies.iter_mut().max_by_key(|frequency| **frequency);
            let Some(largest) = largest else { break };
            let missing = (SCALE as i32 - sum).max(-i32::from(*largest) / 2);
            *largest = (i32::from(*largest) + missing) as u16;
            sum += missing;
        }
        frequencies
    }
}

/// The level whose weight is nearest to `count / top` of that of the topmost level.
fn level(count: u64, top: u64) -> u8 {
    // Octaves below the top: the power of two that brings the count up into [top, 2 top).
    let mut octaves = top.ilog2() - count.ilog2();
    if count << octaves < top {
        octaves += 1;
    }
    // In [4096, 8192): how far the count, brought up, is above the top.
    let ratio = (count << octaves) * 4096 / top.max(1);
    let quarter = HALVES.iter().position(|&end| ratio < end).unwrap_or(4) as u32;
    (TOP + quarter).saturating_sub(4 * octaves).clamp(1, TOP) as u8
}

/// Bits that symbols of these counts take with the ideal code.
pub fn entropy_bits(counts: &[u32; 256]) -> f64 {
    let total: u32 = counts.iter().sum();
    let total = f64::from(total).log2();
    counts.iter().filter(|&&count| count > 0).map(|&count| f64::from(count) * (total - f64::from(count).log2())).sum()
}

#[cfg(test)]
mod tests {
    use super::*;
    use proptest::prelude::*;

    proptest! {
        #[test]
        fn frequencies_sum_up_and_none_is_lost(
            symbols in proptest::collection::btree_map(0usize..256, 1u32..3_000_000, 1..256)
        ) {
            let mut counts = [0u32; 256];
            for (symbol, count) in symbols {
                counts[symbol] = count;
            }
            let levels = Levels::of(&counts);
            let frequencies = levels.frequencies();
            prop_assert_eq!(frequencies.iter().map(|&f| u32::from(f)).sum::<u32>(), SCALE);
            for (count, frequency) in counts.iter().zip(frequencies) {
                prop_assert_eq!(*count == 0, frequency == 0);
            }
            let mut bits = BitWriter::new();
            levels.write(&mut bits);
            prop_assert_eq!(Levels::read(&mut BitReader::new(&bits.finish())).unwrap(), levels);
        }

        #[test]
        fn any_bytes_are_a_table_or_an_error(data in proptest::collection::vec(any::<u8>(), 0..200)) {
            if let Ok(levels) = Levels::read(&mut BitReader::new(&data)) {
                prop_assert_eq!(levels.frequencies().iter().map(|&f| u32::from(f)).sum::<u32>(), SCALE);
            }
        }
    }

    #[test]
    fn levels_are_close_to_the_counts() {
        let mut counts = [0u32; 256];
        for (i, count) in counts.iter_mut().enumerate() {
            *count = (1e6 * (-(i as f64) / 40.0).exp()) as u32 + 1;
        }
        let total: u32 = counts.iter().sum();
        let frequencies = Levels::of(&counts).frequencies();
        let cost: f64 = counts
            .iter()
            .zip(frequencies)
            .map(|(&count, f)| f64::from(count) * (f64::from(SCALE) / f64::from(f)).log2())
            .sum();
        let loss = (cost - entropy_bits(&counts)) / f64::from(total);
        assert!(loss < 0.05, "{loss} bits for a symbol");
    }
}
