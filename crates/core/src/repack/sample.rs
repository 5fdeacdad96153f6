//! How well a tensor is coded given another: tried on samples of both with the codec itself.

use std::ops::Range;

use futures::TryStreamExt;
use weighthouse_format::Dtype;
use weighthouse_store::blob::codec::{Base, Codec, Level, encode_tensor};
use weighthouse_store::catalog::Content;

use super::map::{Extent, overlap};
use super::side::may_code;
use crate::{Error, ErrorKind, Hub};

/// Stretches of a sample, evenly over the tensor, and bytes of each.
const STRETCHES: u64 = 4;
const STRETCH_BYTES: u64 = 16 << 10;

/// What a sample came to.
#[derive(Clone, Copy, Debug, PartialEq)]
pub(super) struct Trial {
    /// Stored bytes of the sample, alone and given the base.
    pub alone: usize,
    pub given: usize,
    /// Whether all of the sample is the same as the base, or as its cast.
    pub exact: bool,
}

impl Trial {
    /// Whether the base is worth that it must be kept and read.
    pub fn pays(&self) -> bool {
        self.given * 100 < self.alone * 85
    }

    /// Stored bytes for each byte that the tensor takes alone.
    pub fn ratio(&self) -> f64 {
        self.given as f64 / self.alone.max(1) as f64
    }
}

/// Tries the elements of `run` given those of `base`; `None` when they have none in common, or the base is damaged.
pub(super) async fn try_base(
    hub: &Hub,
    (content, run): (&Content, &Extent),
    (base_content, base): (&Content, &Extent),
) -> Result<Option<Trial>, Error> {
    let (dtype, base_dtype) = (run.dtype, base.dtype);
    let Some(common) = overlap(run, base).filter(|_| may_code(dtype, base_dtype)) else { return Ok(None) };
    let (unit, base_unit) = (run.unit_bytes(), base.unit_bytes());
    let (mut raw, mut beside) = (Vec::new(), Vec::new());
    for Range { start, end } in stretches((common.bytes.end - common.bytes.start) / unit, unit) {
        raw.extend(read(hub, content, common.bytes.start + start * unit..common.bytes.start + end * unit).await?);
        let there = common.offset + start * base_unit..common.offset + end * base_unit;
        beside.extend(match read(hub, base_content, there).await {
            Err(error) if error.kind() == ErrorKind::Corrupt => return Ok(None),
            read => read?,
        });
    }
    Ok(trial(dtype, &raw, base_dtype, &beside))
}

fn trial(dtype: Dtype, raw: &[u8], base_dtype: Dtype, base: &[u8]) -> Option<Trial> {
    let size = |base| {
        let blocks = encode_tensor(dtype, raw, base, Level::Fast).ok()?;
        let exact = blocks.iter().all(|block| block.descriptor.codec == Codec::Derived);
        Some((blocks.iter().map(|block| block.bytes.len()).sum(), exact))
    };
    let (alone, _) = size(None)?;
    let (given, exact) = size(Some(Base { dtype: base_dtype, data: base }))?;
    Some(Trial { alone, given, exact })
}

/// Runs of units that are looked at, of so many.
fn stretches(units: u64, unit: u64) -> Vec<Range<u64>> {
    let len = (STRETCH_BYTES / unit.max(1)).max(1);
    if units <= len * STRETCHES {
        return std::iter::once(0..units).collect();
    }
    let place = |number: u64| (u128::from(units - len) * u128::from(number) / u128::from(STRETCHES - 1)) as u64;
    (0..STRETCHES).map(|number| place(number)..place(number) + len).collect()
}

async fn read(hub: &Hub, content: &Content, range: Range<u64>) -> Result<Vec<u8>, Error> {
    let mut bytes = Vec::with_capacity((range.end - range.start).min(STRETCHES * STRETCH_BYTES) as usize);
    let mut stream = hub.store().read(content, range);
    while let Some(piece) = stream.try_next().await? {
        bytes.extend_from_slice(&piece);
    }
    Ok(bytes)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn stretches_lie_in_the_tensor_and_reach_both_ends() {
        assert_eq!(stretches(10, 2).first(), Some(&(0..10)));
        let found = stretches(1 << 30, 2);
        assert_eq!((found.len(), found[0].clone(), found[3].end), (4, 0..8192, 1 << 30));
        assert_eq!(stretches(u64::MAX / 2, 1).last().unwrap().end, u64::MAX / 2);
        assert_eq!(stretches(5, 1 << 20), [0..1, 1..2, 2..3, 4..5]);
    }

    #[test]
    fn a_trial_tells_the_same_a_change_and_another() {
        let numbers = |seed: u32, step: f32| -> Vec<u8> {
            let value = |i: u32| ((i.wrapping_mul(2_654_435_761) ^ seed) >> 8) as f32 * 1e-7 - 0.8;
            (0..16_384).flat_map(|i| (value(i) * (1.0 + step)).to_le_bytes()).collect()
        };
        let (one, near, far) = (numbers(1, 0.0), numbers(1, 1e-4), numbers(0x5bd1_e995, 0.0));
        let of = |other: &[u8]| trial(Dtype::F32, &one, Dtype::F32, other).unwrap();
        assert!(of(&one).exact && of(&one).pays());
        assert!(!of(&near).exact && of(&near).pays(), "{:?}", of(&near));
        assert!(!of(&far).exact && !of(&far).pays(), "{:?}", of(&far));
        assert_eq!(trial(Dtype::F32, &one, Dtype::F32, &near[4..]), None, "another length");
    }
}
