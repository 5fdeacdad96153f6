//! Where the elements of a tensor lie in files: the runs of bytes that are coded as elements.
//!
//! A piece becomes a run when its stored bytes are its elements as they are: no filters, in the order of the tensor or
//! at least without gaps. Everything else is left to be coded as bytes. What a reader says is compared with the lengths
//! of the files once more, so that a reader that is wrong costs compression and nothing else.

use std::ops::Range;
use std::sync::Arc;

use weighthouse_format::tensor::{Piece, Region, Stored};
use weighthouse_format::{Dtype, Tensor};

/// A run of elements of a tensor in a file.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(super) struct Extent {
    /// Path below the folder that was read.
    pub file: Arc<str>,
    /// Bytes of the file.
    pub bytes: Range<u64>,
    /// Type of the elements.
    pub dtype: Dtype,
    /// Which elements they are.
    pub span: Span,
}

/// Which elements of a tensor a run has.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(super) enum Span {
    /// Units from this one on, in row-major order. A unit is an element, or a block of packed or quantised ones.
    Units(u64),
    /// All of a box that is no run of the tensor, or in an order of its own: the same elements only as those of a piece
    /// with the same box and strides.
    Box {
        /// First index along each axis.
        offsets: Vec<u64>,
        /// Extents.
        shape: Vec<u64>,
        /// Distances along each axis, in elements.
        strides: Vec<u64>,
    },
}

impl Extent {
    /// Bytes of a unit.
    pub fn unit_bytes(&self) -> u64 {
        self.dtype.block_bytes()
    }

    /// Number of units.
    pub fn units(&self) -> u64 {
        self.bytes.end.saturating_sub(self.bytes.start).checked_div(self.unit_bytes()).unwrap_or(0)
    }
}

/// The runs of a tensor, in the order of its pieces. `size` tells the length of a file, if there is such a file.
pub(super) fn extents(tensor: &Tensor, size: impl Fn(&str) -> Option<u64>) -> Vec<Extent> {
    tensor.pieces.iter().filter_map(|piece| extent(tensor, piece, &size)).collect()
}

fn extent(tensor: &Tensor, piece: &Piece, size: impl Fn(&str) -> Option<u64>) -> Option<Extent> {
    let Stored::File { file, begin, end } = &piece.stored else { return None };
    let (unit, block) = (tensor.dtype.block_bytes(), tensor.dtype.block_elements());
    if unit == 0 || !piece.filters.is_empty() {
        return None;
    }
    let (span, units) = span(tensor, piece, block)?;
    let first = begin.checked_add(piece.first_byte)?;
    let last = first.checked_add(units.checked_mul(unit)?)?;
    let fits = units > 0 && last <= *end && last <= size(file)? && last - begin <= piece.decoded_bytes;
    fits.then(|| Extent { file: Arc::clone(file), bytes: first..last, dtype: tensor.dtype, span })
}

/// The elements of a piece, and how many units they are.
fn span(tensor: &Tensor, piece: &Piece, block: u64) -> Option<(Span, u64)> {
    let elements = Tensor::checked_elements(&tensor.shape)?;
    match (&piece.region, &piece.strides) {
        (Region::Whole, None) => Some((Span::Units(0), elements.div_ceil(block))),
        (Region::Run { first, len }, None) => {
            let inside = first.checked_add(*len)? <= elements && first.is_multiple_of(block);
            inside.then(|| (Span::Units(first / block), len.div_ceil(block)))
        }
        (Region::Run { .. }, Some(_)) => None,
        _ if block != 1 => None,
        (Region::Whole, Some(strides)) => boxed(tensor, &vec![0; tensor.shape.len()], &tensor.shape, Some(strides)),
        (Region::Box { offsets, shape }, strides) => boxed(tensor, offsets, shape, strides.as_deref()),
    }
}

fn boxed(tensor: &Tensor, offsets: &[u64], shape: &[u64], strides: Option<&[u64]>) -> Option<(Span, u64)> {
    let rank = tensor.shape.len();
    let row_major = Tensor::row_major(shape)?;
    let strides = strides.unwrap_or(&row_major);
    if offsets.len() != rank || shape.len() != rank || strides.len() != rank {
        return None;
    }
    let axes = || offsets.iter().zip(shape).zip(&tensor.shape);
    for ((offset, extent), whole) in axes() {
        if offset.checked_add(*extent)? > *whole {
            return None;
        }
    }
    let elements = Tensor::checked_elements(shape)?;
    let same = |strides: &[u64], others: &[u64]| {
        shape.iter().zip(strides).zip(others).all(|((&extent, stride), other)| extent == 1 || stride == other)
    };
    let in_order = same(strides, &row_major);
    // A box is a run of the tensor when it is whole along all axes after the first along which it has more than one.
    let mut is_run = in_order;
    let mut inner = true;
    for ((_, extent), whole) in axes().rev() {
        is_run &= inner || *extent == 1;
        inner &= extent == whole;
    }
    if is_run {
        let distances = Tensor::row_major(&tensor.shape)?;
        let first = offsets
            .iter()
            .zip(&distances)
            .try_fold(0u64, |sum, (offset, distance)| sum.checked_add(offset.checked_mul(*distance)?))?;
        return Some((Span::Units(first), elements));
    }
    if !in_order && !is_dense(shape, strides) {
        return None;
    }
    let span = Span::Box { offsets: offsets.to_vec(), shape: shape.to_vec(), strides: strides.to_vec() };
    Some((span, elements))
}

/// Whether elements in some order of axes fill their bytes without gaps and without lying on each other.
fn is_dense(shape: &[u64], strides: &[u64]) -> bool {
    let mut axes: Vec<(u64, u64)> =
        strides.iter().copied().zip(shape.iter().copied()).filter(|axis| axis.1 != 1).collect();
    axes.sort_unstable();
    let mut expected = 1u64;
    for (stride, extent) in axes {
        if stride != expected {
            return false;
        }
        let Some(next) = expected.checked_mul(extent) else { return false };
        expected = next;
    }
    true
}

/// A part of a run, and where the same elements lie in a run of another tensor.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(super) struct Overlap {
    /// Bytes of the first run's file.
    pub bytes: Range<u64>,
    /// Byte of the other run's file at which the first of them lies.
    pub offset: u64,
}

/// The elements that two runs have in common.
pub(super) fn overlap(run: &Extent, other: &Extent) -> Option<Overlap> {
    let units = |count: u64, of: &Extent| count.checked_mul(of.unit_bytes());
    let (first, other_first) = match (&run.span, &other.span) {
        (Span::Units(first), Span::Units(other)) => (*first, *other),
        (one, two) if one == two => (0, 0),
        _ => return None,
    };
    let begin = first.max(other_first);
    let end = first.checked_add(run.units())?.min(other_first.checked_add(other.units())?);
    if begin >= end {
        return None;
    }
    let start = run.bytes.start.checked_add(units(begin - first, run)?)?;
    let stop = start.checked_add(units(end - begin, run)?)?;
    Some(Overlap { bytes: start..stop, offset: other.bytes.start.checked_add(units(begin - other_first, other)?)? })
}

#[cfg(test)]
mod tests {
    use super::*;

    fn file(begin: u64, end: u64) -> Stored {
        Stored::File { file: "w".into(), begin, end }
    }

    fn of(tensor: &Tensor) -> Vec<(Range<u64>, Span)> {
        extents(tensor, |_| Some(10_000)).into_iter().map(|extent| (extent.bytes, extent.span)).collect()
    }

    fn piece(region: Region, stored: Stored, strides: Option<Vec<u64>>) -> Piece {
        Piece { strides, ..Piece::plain(region, stored) }
    }

    #[test]
    fn plain_tensors_and_shards_by_rows_are_runs() {
        let plain = Tensor::plain("t", Dtype::F32, vec![4, 6], file(8, 104));
        assert_eq!(of(&plain), [(8..104, Span::Units(0))]);
        let shard = |row: u64, begin: u64| {
            let region = Region::Box { offsets: vec![row, 0], shape: vec![2, 6] };
            piece(region, file(begin, begin + 48), None)
        };
        let sharded = Tensor { pieces: vec![shard(2, 0), shard(0, 48)], ..plain.clone() };
        assert_eq!(of(&sharded), [(0..48, Span::Units(12)), (48..96, Span::Units(0))]);
        let whole = extents(&plain, |_| Some(10_000));
        let parts = extents(&sharded, |_| Some(10_000));
        assert_eq!(overlap(&whole[0], &parts[0]), Some(Overlap { bytes: 56..104, offset: 0 }));
        assert_eq!(overlap(&parts[1], &whole[0]), Some(Overlap { bytes: 48..96, offset: 8 }));
        assert_eq!(overlap(&parts[0], &parts[1]), None);
    }

    #[test]
    fn shards_by_columns_and_other_orders_are_runs_of_their_own() {
        let region = Region::Box { offsets: vec![0, 3], shape: vec![4, 3] };
        let columns = Tensor {
            pieces: vec![piece(region, file(0, 48), None)],
            ..Tensor::plain("t", Dtype::F32, vec![4, 6], file(0, 0))
        };
        let span = Span::Box { offsets: vec![0, 3], shape: vec![4, 3], strides: vec![3, 1] };
        assert_eq!(of(&columns), [(0..48, span)]);
        let whole = Tensor::plain("t", Dtype::F32, vec![4, 6], file(0, 96));
        let turned = Tensor { pieces: vec![piece(Region::Whole, file(0, 96), Some(vec![1, 4]))], ..whole.clone() };
        assert_eq!(of(&turned).len(), 1);
        let (one, other) = (extents(&whole, |_| Some(96)), extents(&turned, |_| Some(96)));
        assert_eq!(overlap(&one[0], &other[0]), None, "not in the same order");
        assert!(overlap(&other[0], &other[0]).is_some());
        let gaps = Tensor { pieces: vec![piece(Region::Whole, file(0, 400), Some(vec![12, 1]))], ..whole };
        assert_eq!(of(&gaps), []);
    }

    #[test]
    fn types_of_other_widths_overlap_by_elements() {
        let single = extents(&Tensor::plain("t", Dtype::F32, vec![5], file(4, 24)), |_| Some(24));
        let half = extents(&Tensor::plain("t", Dtype::BF16, vec![3], file(2, 8)), |_| Some(24));
        assert_eq!(overlap(&single[0], &half[0]), Some(Overlap { bytes: 4..16, offset: 2 }));
        assert_eq!(overlap(&half[0], &single[0]), Some(Overlap { bytes: 2..8, offset: 4 }));
    }

    #[test]
    fn what_a_reader_says_beyond_the_file_is_no_run() {
        let far = Tensor::plain("t", Dtype::F32, vec![4], file(9_990, 10_006));
        assert_eq!(of(&far), []);
        let short = Tensor::plain("t", Dtype::F32, vec![5], file(0, 16));
        assert_eq!(of(&short), []);
        let endless = Tensor::plain("t", Dtype::F64, vec![u64::MAX / 4, 2], file(0, u64::MAX));
        assert_eq!(of(&endless), []);
        let wide = Tensor::plain("t", Dtype::F32, vec![u64::MAX, u64::MAX], file(0, 8));
        assert_eq!(of(&wide), []);
        let mut shifted = Tensor::plain("t", Dtype::F32, vec![1], file(u64::MAX - 2, u64::MAX));
        shifted.pieces[0].first_byte = 9;
        assert_eq!(of(&shifted), []);
        let region = Region::Box { offsets: vec![3, 0], shape: vec![2, 6] };
        let outside = Tensor {
            pieces: vec![piece(region, file(0, 48), None)],
            ..Tensor::plain("t", Dtype::F32, vec![4, 6], file(0, 0))
        };
        assert_eq!(of(&outside), []);
        let mut text = Tensor::plain("t", Dtype::Text, vec![4], file(0, 16));
        assert_eq!(of(&text), []);
        text.dtype = Dtype::F32;
        text.pieces[0].filters.push(weighthouse_format::tensor::Filter::Zlib);
        assert_eq!(of(&text), []);
        assert_eq!(extents(&Tensor::plain("t", Dtype::F32, vec![4], file(0, 16)), |_| None), []);
    }

    #[test]
    fn packed_and_quantised_types_count_in_blocks() {
        let quantised = Tensor::plain("t", Dtype::Q80, vec![2, 64], file(0, 136));
        let found = extents(&quantised, |_| Some(136));
        assert_eq!((found[0].units(), found[0].bytes.clone()), (4, 0..136));
        let run = Tensor { pieces: vec![Piece::plain(Region::Run { first: 32, len: 64 }, file(0, 68))], ..quantised };
        assert_eq!(of(&run), [(0..68, Span::Units(1))]);
    }
}
