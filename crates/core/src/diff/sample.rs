//! A few hundred elements of a tensor, to tell without reading all of it what it may be.

use weighthouse_format::data::Elements;
use weighthouse_format::number::numbers;
use weighthouse_format::stats::check_stored;
use weighthouse_format::{Folder, FormatError, Limits, Tensor};

/// Elements of a sample.
const SAMPLE: u64 = 256;
/// Elements of a sample that follow each other along an axis: fewer reads, in either order of the axes.
const SIDE: u64 = 8;
/// Bytes between two elements that are read along.
const GAP_BYTES: u64 = 512;

/// Places of a sample in a tensor of this shape, the same for all tensors of the shape; ascending.
pub(super) fn places(shape: &[u64]) -> Vec<u64> {
    let elements = Tensor::checked_elements(shape).unwrap_or(0);
    if elements <= SAMPLE {
        return (0..elements).collect();
    }
    let squeezed: Vec<u64> = shape.iter().copied().filter(|&extent| extent > 1).collect();
    let columns = squeezed.last().copied().unwrap_or(1);
    let rows = if squeezed.len() > 1 { squeezed.first().copied().unwrap_or(1) } else { 1 };
    // Elements between two rows, and between the columns of the axes in the middle.
    let row = elements / rows;
    let middle = row / columns;
    let (tall, wide) = (SIDE.min(rows), SIDE.min(columns));
    let mut random = Random(elements ^ columns.rotate_left(32));
    let mut places = Vec::new();
    for _ in 0..SAMPLE.div_ceil(tall * wide) {
        let (top, left) = (random.below(rows - tall + 1), random.below(columns - wide + 1));
        let between = random.below(middle);
        for down in 0..tall {
            for right in 0..wide {
                places.push((top + down) * row + between * columns + left + right);
            }
        }
    }
    places.sort_unstable();
    places.dedup();
    places
}

/// Numbers without order, the same in every run (splitmix64, Steele, Lea and Flood 2014).
pub(super) struct Random(pub u64);

impl Random {
    pub(super) fn below(&mut self, end: u64) -> u64 {
        self.0 = self.0.wrapping_add(0x9e37_79b9_7f4a_7c15);
        let mut mixed = self.0;
        mixed = (mixed ^ mixed >> 30).wrapping_mul(0xbf58_476d_1ce4_e5b9);
        mixed = (mixed ^ mixed >> 27).wrapping_mul(0x94d0_49bb_1331_11eb);
        (mixed ^ mixed >> 31) % end.max(1)
    }
}

/// The numbers at places of a tensor, in any order.
///
/// # Errors
/// When the tensor cannot be read as numbers.
pub(super) fn read(
    folder: &dyn Folder,
    tensor: &Tensor,
    places: &[u64],
    limits: &Limits,
) -> Result<Vec<f32>, FormatError> {
    check_stored(tensor)?;
    let mut elements = Elements::new(folder, tensor, limits)?;
    let block = tensor.dtype.block_elements();
    let unit_bytes = elements.unit_bytes();
    let mut order: Vec<usize> = (0..places.len()).collect();
    let place = |at: usize| places.get(at).copied().unwrap_or(0);
    order.sort_unstable_by_key(|&at| place(at));
    let mut out = vec![0f32; places.len()];
    let gap = (GAP_BYTES / unit_bytes).max(1);
    let mut rest = order.as_slice();
    let mut bytes = Vec::new();
    while let Some(&first) = rest.first() {
        let begin = place(first) / block;
        let mut end = begin + 1;
        let mut len = 1;
        while let Some(&next) = rest.get(len).filter(|&&next| place(next) / block < end + gap) {
            end = end.max(place(next) / block + 1);
            len += 1;
        }
        bytes.resize(usize::try_from((end - begin) * unit_bytes).unwrap_or(usize::MAX), 0);
        elements.read(begin, &mut bytes)?;
        let found = numbers(tensor.dtype, &bytes)?;
        // A complex number is two.
        let parts = (found.len() as u64).checked_div((end - begin) * block).unwrap_or(1).max(1);
        let (now, later) = rest.split_at(len);
        for &at in now {
            let index = usize::try_from((place(at) - begin * block) * parts).unwrap_or(usize::MAX);
            if let (Some(out), Some(number)) = (out.get_mut(at), found.get(index)) {
                *out = number as f32;
            }
        }
        rest = later;
    }
    Ok(out)
}

/// How alike two samples are.
#[derive(Clone, Copy, Debug, PartialEq)]
pub(super) struct Likeness {
    /// Pearson's correlation; `None` when one of the two has the same number everywhere.
    pub correlation: Option<f64>,
    /// Whether all numbers are the same, but for what rounding does to them.
    pub same: bool,
    /// Pairs.
    pub pairs: usize,
}

impl Likeness {
    pub(super) fn of(a: &[f32], b: &[f32]) -> Self {
        let pairs: Vec<(f64, f64)> = a
            .iter()
            .zip(b)
            .filter(|(a, b)| a.is_finite() && b.is_finite())
            .map(|(&a, &b)| (f64::from(a), f64::from(b)))
            .collect();
        let count = pairs.len() as f64;
        let mean = |of: fn(&(f64, f64)) -> f64| pairs.iter().map(of).sum::<f64>() / count;
        let (mean_a, mean_b) = (mean(|pair| pair.0), mean(|pair| pair.1));
        let (mut aa, mut bb, mut ab) = (0.0, 0.0, 0.0);
        for (a, b) in &pairs {
            aa += (a - mean_a) * (a - mean_a);
            bb += (b - mean_b) * (b - mean_b);
            ab += (a - mean_a) * (b - mean_b);
        }
        let correlation = ab / (aa * bb).sqrt();
        let close = |(a, b): &(f64, f64)| (a - b).abs() <= 0.01 * a.abs().max(b.abs()) + 1e-12;
        Self {
            correlation: correlation.is_finite().then_some(correlation),
            same: !pairs.is_empty() && pairs.iter().all(close),
            pairs: pairs.len(),
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use weighthouse_format::source::MemoryFolder;
    use weighthouse_format::tensor::Stored;
    use weighthouse_format::{Dtype, Section};

    #[test]
    fn a_sample_lies_in_its_tensor_and_is_read_in_the_order_asked_for() {
        for shape in [vec![], vec![3], vec![5000], vec![2, 3000], vec![3000, 2], vec![64, 3, 7, 7], vec![1, 9000, 1]] {
            let elements = Tensor::checked_elements(&shape).unwrap();
            let found = places(&shape);
            assert!(found.iter().all(|&place| place < elements), "{shape:?}");
            assert!(found.len() as u64 >= elements.min(128), "{shape:?} {}", found.len());
        }
        let bytes: Vec<u8> = (0..9000u32).flat_map(|n| (n as f32).to_le_bytes()).collect();
        let folder = MemoryFolder::new(vec![Section::of_bytes("w", bytes)]);
        let tensor =
            Tensor::plain("t", Dtype::F32, vec![90, 100], Stored::File { file: "w".into(), begin: 0, end: 36_000 });
        let wanted = [8999, 0, 17, 4242, 18];
        let read = read(&folder, &tensor, &wanted, &Limits::default()).unwrap();
        assert_eq!(read, wanted.map(|n| n as f32));
    }

    #[test]
    fn likeness_is_blind_to_scale_and_shift() {
        let a: Vec<f32> = (0..100).map(|n| (n as f32 * 0.7).sin()).collect();
        let b: Vec<f32> = a.iter().map(|x| 3.0 * x + 1.0).collect();
        assert!(Likeness::of(&a, &b).correlation.unwrap() > 0.999 && !Likeness::of(&a, &b).same);
        let ones = [1.0; 9];
        assert_eq!(Likeness::of(&ones, &ones), Likeness { correlation: None, same: true, pairs: 9 });
        assert!(!Likeness::of(&[f32::NAN], &[1.0]).same);
    }
}
