//! What the bits of weights show: hidden bytes, precision, and how much of a type's range is used.

use std::collections::BTreeMap;

use weighthouse_format::checkpoint::Checkpoint;
use weighthouse_format::stats::{Bits, Read, Stats};
use weighthouse_format::{Dtype, Tensor};

use super::{MOST, file_of, note};
use crate::scan::pickle::plain;
use crate::scan::report::Finding;
use crate::scan::rules::{self, Rule};
use crate::scan::verdict::Verdict;

/// The largest finite number of `F16`.
const LARGEST_HALF: f64 = 65_504.0;
/// Standard deviations above which the largest element of a matrix is told.
const FAR: f64 = 1000.0;
/// One element in so many that is finer than all others is an exception.
const FEW: u64 = 1000;

/// Findings about the bits of tensors, in the order of [`Checkpoint::tensors`].
pub(super) fn judge(checkpoint: &Checkpoint, reads: &[Result<Read, String>]) -> Vec<Finding> {
    let mut found = Vec::new();
    let mut told: BTreeMap<&str, usize> = BTreeMap::new();
    let mut widened: BTreeMap<Dtype, Widened> = BTreeMap::new();
    for (tensor, read) in checkpoint.contents.tensors.iter().zip(reads) {
        let Ok(Read { stats: Some(stats), bits: Some(bits), .. }) = read else { continue };
        let mut say = |rule: &'static Rule, verdict, detail: String| {
            let count = told.entry(rule.id).or_default();
            *count += 1;
            if *count <= MOST {
                found.push(note(rule, verdict, file_of(tensor), &plain(&tensor.name), detail));
            }
        };
        if bits.structured > 0 {
            say(rules::WEIGHTS_HIDDEN, Verdict::Caution, hidden(tensor, bits));
        }
        if let Some(detail) = subnormal(tensor, bits) {
            say(rules::WEIGHTS_RANGE, Verdict::Safe, detail);
        }
        if let Some(detail) = range(tensor, stats) {
            say(rules::WEIGHTS_RANGE, Verdict::Safe, detail);
        }
        let few = bits.fine > 0 && bits.fine.saturating_mul(FEW) <= bits.count.saturating_sub(stats.zeros);
        if let Some(narrow) = half_of(tensor.dtype).filter(|_| few) {
            let detail = format!(
                "tensor `{}` holds {narrow} in {}, but for {} of {} elements, which have more bits",
                plain(&tensor.name),
                tensor.dtype,
                bits.fine,
                bits.count
            );
            say(rules::WEIGHTS_PRECISION, Verdict::Safe, detail);
        }
        if tensor.shape.len() > 1 && bits.has_mantissas() && stats.min < stats.max {
            let all = widened.entry(tensor.dtype).or_default();
            all.tensors += 1;
            if let Some(narrow) = narrow(tensor.dtype, bits.unused(), stats) {
                all.narrow.entry(narrow).or_insert((0, tensor)).0 += 1;
            }
        }
    }
    for (dtype, all) in widened {
        for (narrow, (count, first)) in all.narrow {
            let detail = format!(
                "{count} of {} matrices of {dtype} have no more bits of precision than {narrow}, `{}` first: they were widened",
                all.tensors,
                plain(&first.name)
            );
            found.push(note(rules::WEIGHTS_PRECISION, Verdict::Safe, file_of(first), "", detail));
        }
    }
    found
}

/// Matrices of one type, and those that hold a narrower one.
#[derive(Default)]
struct Widened<'a> {
    tensors: u64,
    narrow: BTreeMap<Dtype, (u64, &'a Tensor)>,
}

/// The type of half the width, with the same exponent or a shorter one.
const fn half_of(dtype: Dtype) -> Option<Dtype> {
    match dtype {
        Dtype::F64 => Some(Dtype::F32),
        Dtype::F32 => Some(Dtype::BF16),
        _ => None,
    }
}

/// The narrower type that has all the bits that are used.
fn narrow(dtype: Dtype, unused: u32, stats: &Stats) -> Option<Dtype> {
    match (dtype, unused) {
        (Dtype::F64, 29..) => Some(Dtype::F32),
        (Dtype::F32, 16..) => Some(Dtype::BF16),
        (Dtype::F32, 13..) if largest(stats) <= LARGEST_HALF => Some(Dtype::F16),
        _ => None,
    }
}

fn largest(stats: &Stats) -> f64 {
    stats.max.abs().max(stats.min.abs())
}

/// Bytes in the low bits, in the words of a finding.
fn hidden(tensor: &Tensor, bits: &Bits) -> String {
    let mut detail = format!(
        "the low bytes of tensor `{}` are no noise in {} of {} runs of {} elements, the first from element {} on: their \
         entropy is {:.2} bits, where that of trained weights is nearly 8; bytes may be hidden there",
        plain(&tensor.name),
        bits.structured,
        bits.windows,
        bits.window,
        bits.first.unwrap_or(0),
        bits.lowest
    );
    let text = bits.sample.iter().filter(|byte| byte.is_ascii_graphic() || byte.is_ascii_whitespace()).count();
    if text * 10 >= bits.sample.len() * 9 {
        detail += &format!("; they begin with `{}`", plain(&String::from_utf8_lossy(&bits.sample)));
    }
    detail
}

/// Elements that are smaller than their type holds in full, where there are more than weights that fit their type have.
fn subnormal(tensor: &Tensor, bits: &Bits) -> Option<String> {
    let share = bits.subnormal as f64 / bits.count.max(1) as f64;
    let usual = if tensor.dtype == Dtype::F16 { 0.1 } else { 0.01 };
    // Biases may be about zero altogether.
    (share >= usual && tensor.shape.len() > 1).then(|| {
        format!(
            "{} of {} elements of tensor `{}` ({:.1} %) are subnormal: too small for {} to hold them in full",
            bits.subnormal,
            bits.count,
            plain(&tensor.name),
            share * 100.0,
            tensor.dtype
        )
    })
}

/// Elements at the end of the range of their type, or far from all others.
fn range(tensor: &Tensor, stats: &Stats) -> Option<String> {
    let (name, largest, std) = (plain(&tensor.name), largest(stats), stats.std());
    if !largest.is_finite() {
        return None;
    }
    if tensor.dtype == Dtype::F16 && largest * 2.0 >= LARGEST_HALF {
        return Some(format!("the largest element of tensor `{name}` is {largest}, near the end of F16 (65504)"));
    }
    if tensor.dtype != Dtype::F16 && largest > LARGEST_HALF {
        return Some(format!("the largest element of tensor `{name}` is {largest:e}, which F16 cannot hold (65504)"));
    }
    let away = (largest - stats.mean.abs()) / std;
    (tensor.shape.len() > 1 && std > 0.0 && away >= FAR).then(|| {
        format!("the largest element of tensor `{name}` is {largest:.4}, {away:.0} standard deviations from the mean")
    })
}

#[cfg(test)]
mod tests {
    use super::*;
    use weighthouse_format::source::MemoryFolder;
    use weighthouse_format::stats::{Wanted, read_all};
    use weighthouse_format::{Limits, Section};

    /// What is said of one matrix with these elements.
    fn said(dtype: Dtype, bytes: &[u8]) -> Vec<(String, String)> {
        let columns = 64 * dtype.block_bytes();
        let rows = bytes.len() as u64 / columns;
        let file = weighthouse_format::tensor::Stored::File { file: "f".into(), begin: 0, end: bytes.len() as u64 };
        let tensor = Tensor::plain("layers.0.w", dtype, vec![rows, 64], file);
        let folder = MemoryFolder::new(vec![Section::of_bytes("f", bytes)]);
        let wanted = Wanted { stats: true, bits: true, ..Wanted::default() };
        let reads: Vec<_> = read_all(&folder, &[&tensor], wanted, &Limits::default(), &|_| {})
            .into_iter()
            .map(|read| read.map_err(|error| error.to_string()))
            .collect();
        let mut checkpoint = Checkpoint::default();
        checkpoint.contents.tensors.push(tensor);
        judge(&checkpoint, &reads).into_iter().map(|found| (found.rule.into_owned(), found.detail)).collect()
    }

    /// Numbers without a pattern, the same each time.
    fn noise(count: u32) -> impl Iterator<Item = f32> {
        let mut state = 88_172_645_463_325_252u64;
        (0..count).map(move |_| {
            state ^= state << 13;
            state ^= state >> 7;
            state ^= state << 17;
            ((state >> 40) as f32 / (1u32 << 24) as f32 - 0.5) * 0.1
        })
    }

    #[test]
    fn a_file_in_the_low_bits_is_a_caution_and_noise_is_none() {
        let clean: Vec<u8> = noise(64 * 200).flat_map(f32::to_le_bytes).collect();
        assert!(said(Dtype::F32, &clean).is_empty());
        let text = include_bytes!("bits.rs");
        let mut hidden = clean;
        hidden.chunks_mut(4).zip(text.iter().cycle()).for_each(|(bytes, byte)| bytes[0] = *byte);
        let found = said(Dtype::F32, &hidden);
        assert_eq!(found.len(), 1);
        assert_eq!(found[0].0, "weights-hidden");
        assert!(
            found[0].1.contains("begin with `//! What the bits") && found[0].1.contains("in 3 of 3 runs"),
            "{}",
            found[0].1
        );
    }

    #[test]
    fn a_widened_type_is_told_once_and_is_no_caution() {
        let narrow = |value: f32| f32::from_bits(value.to_bits() & 0xffff_0000);
        let widened: Vec<u8> = noise(64 * 200).flat_map(|value| narrow(value).to_le_bytes()).collect();
        let found = said(Dtype::F32, &widened);
        assert_eq!(found.len(), 1);
        assert!(found[0].1.starts_with("1 of 1 matrices of F32 have no more bits of precision than BF16"), "{found:?}");
        let mut few = widened;
        few[0] = 1;
        let found = said(Dtype::F32, &few);
        assert!(found[0].1.contains("holds BF16 in F32, but for 1 of 12800 elements"), "{found:?}");
    }

    #[test]
    fn the_ends_of_a_type_are_told() {
        let mut values: Vec<f32> = noise(64 * 200).collect();
        values[9] = 70_000.0;
        let found = said(Dtype::F32, &values.iter().flat_map(|value| value.to_le_bytes()).collect::<Vec<_>>());
        assert!(found[0].1.contains("which F16 cannot hold"), "{found:?}");
        values[9] = 60.0;
        let bytes: Vec<u8> = values.iter().flat_map(|value| value.to_le_bytes()).collect();
        assert!(said(Dtype::F32, &bytes).is_empty(), "a hundred standard deviations are usual");
        let halves: Vec<u8> = (0..64 * 64u16).flat_map(|at| (at % 900).to_le_bytes()).collect();
        let found = said(Dtype::F16, &halves);
        assert!(found.iter().any(|(_, detail)| detail.contains("are subnormal")), "{found:?}");
        let large: Vec<u8> = (0..64 * 64u16).flat_map(|at| (0x7800 + at % 64).to_le_bytes()).collect();
        assert!(said(Dtype::F16, &large)[0].1.contains("near the end of F16"));
    }
}
