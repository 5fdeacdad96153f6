//! Quantising again what may have been quantised, to see whether the same bytes come out.
//!
//! A tensor may have been rounded to a half before: llama.cpp's own tool quantises a file of halves. So three ways are
//! tried, and dropped as soon as they fail.

use weighthouse_format::difference::Rounding;
use weighthouse_format::gguf::quantise::{can_quantise, quantise};
use weighthouse_format::number::{Numbers, numbers};
use weighthouse_format::{Dtype, FormatError};

use super::Proof;

/// What numbers may have been rounded to before.
const WAYS: [Option<Rounding>; 3] = [None, Some(Rounding::F16), Some(Rounding::BF16)];
/// Blocks after which a way is dropped that gave other bytes for most of them.
const TRIAL: u64 = 64;

/// Blocks of a quantised tensor that came out the same.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub(super) struct Recomputed {
    blocks: u64,
    /// For each way.
    same: [u64; WAYS.len()],
}

/// A quantised tensor under way.
pub(super) struct Recomputing {
    /// Type of the quantised side.
    dtype: Dtype,
    /// Type of the other side.
    from: Dtype,
    /// Whether the second side is the quantised one.
    forth: bool,
    open: [bool; WAYS.len()],
    found: Recomputed,
    out: Vec<u8>,
}

impl Recomputing {
    /// Prepares to quantise again, if there is a quantiser for the type of one side.
    pub(super) fn of(a: Dtype, b: Dtype) -> Option<Self> {
        let (from, dtype, forth) = if b.is_quantised() && a != b { (a, b, true) } else { (b, a, false) };
        (dtype.is_quantised() && a != b && can_quantise(dtype)).then(|| Self {
            dtype,
            from,
            forth,
            open: [true; WAYS.len()],
            found: Recomputed::default(),
            out: Vec::new(),
        })
    }

    /// Takes in a band of both sides.
    pub(super) fn band(&mut self, a: &[u8], b: &[u8]) -> Result<(), FormatError> {
        let (from, blocks) = if self.forth { (a, b) } else { (b, a) };
        let block_bytes = usize::try_from(self.dtype.block_bytes()).unwrap_or(usize::MAX).max(1);
        let wide = match numbers(self.from, from)? {
            Numbers::Single(numbers) => numbers,
            Numbers::Double(numbers) => numbers.into_iter().map(|number| number as f32).collect(),
        };
        self.found.blocks += (blocks.len() / block_bytes) as u64;
        let ways = WAYS.iter().zip(&mut self.open).zip(&mut self.found.same);
        for ((way, open), same) in ways.filter(|((_, open), _)| **open) {
            let rounded: Vec<f32>;
            let source = match way {
                Some(rounding) => {
                    rounded = wide.iter().map(|&number| rounding.round(number)).collect();
                    &rounded
                }
                None => &wide,
            };
            self.out.clear();
            // Numbers that are not finite have no block that could be compared.
            if quantise(self.dtype, source, &mut self.out).is_err() {
                *open = false;
                continue;
            }
            let pairs = self.out.chunks_exact(block_bytes).zip(blocks.chunks_exact(block_bytes));
            *same += pairs.filter(|(one, other)| one == other).count() as u64;
            *open = self.found.blocks < TRIAL || *same >= self.found.blocks / 2;
        }
        Ok(())
    }

    /// What was found.
    pub(super) fn end(self) -> Recomputed {
        self.found
    }
}

impl Recomputed {
    pub(super) fn and(mut self, other: Self) -> Self {
        self.blocks += other.blocks;
        self.same.iter_mut().zip(other.same).for_each(|(mine, theirs)| *mine += theirs);
        self
    }

    /// What that proves, if anything.
    pub(super) fn proof(&self) -> Option<Proof> {
        let (same, way) = self.same.iter().zip(WAYS).max_by_key(|(same, way)| (**same, way.is_none()))?;
        if self.blocks == 0 {
            return None;
        }
        if *same == self.blocks {
            return Some(Proof::Recomputed { through: way.map(Rounding::dtype) });
        }
        // Another build of the quantiser may round a tie in another way.
        (*same >= self.blocks - self.blocks / 50).then_some(Proof::Nearly { same: *same, blocks: self.blocks })
    }
}
