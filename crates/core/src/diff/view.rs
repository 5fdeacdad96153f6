//! A tensor with its axes in another order, without moving a byte.

use weighthouse_format::Tensor;
use weighthouse_format::tensor::{Piece, Region};

use super::Arrangement;

impl Arrangement {
    /// All axes in the opposite order.
    #[cfg(test)]
    pub(super) fn transposed(shape: &[u64]) -> Self {
        Self::Axes { shape: shape.to_vec(), axes: (0..shape.len()).rev().collect() }
    }

    /// Place of an element of the first tensor in the second.
    pub(super) fn place(&self, flat: u64) -> u64 {
        let Self::Axes { shape, axes } = self else { return flat };
        let mut rest = flat;
        let mut index = vec![0; shape.len()];
        for (index, extent) in index.iter_mut().zip(shape).rev() {
            *index = rest % (*extent).max(1);
            rest /= (*extent).max(1);
        }
        axes.iter().fold(0, |place, &axis| {
            let (extent, index) = (shape.get(axis).copied().unwrap_or(1), index.get(axis).copied().unwrap_or(0));
            place * extent + index
        })
    }

    /// The arrangement of the first tensor, seen from the second.
    pub(super) fn inverse(&self) -> Self {
        let Self::Axes { shape, axes } = self else { return self.clone() };
        let inverse = (0..axes.len()).filter_map(|axis| axes.iter().position(|&found| found == axis));
        Self::Axes {
            shape: axes.iter().filter_map(|&axis| shape.get(axis).copied()).collect(),
            axes: inverse.collect(),
        }
    }

    /// The first tensor with its elements in the order of the second; `None` when its pieces cannot be seen so.
    pub(super) fn view(&self, tensor: &Tensor) -> Option<Tensor> {
        let Self::Axes { shape, axes } = self else { return Some(tensor.clone()) };
        if tensor.dtype.block_elements() != 1 {
            return None;
        }
        let split = Split::of(&tensor.shape, shape)?;
        let pieces = tensor.pieces.iter().map(|piece| split.view(piece, &tensor.shape, shape, axes));
        let pieces = pieces.collect::<Option<Vec<Piece>>>()?;
        let shape = axes.iter().filter_map(|&axis| shape.get(axis).copied()).collect();
        Some(Tensor { name: tensor.name.clone(), dtype: tensor.dtype, shape, pieces })
    }
}

/// Which axes of a finer shape make up each axis of a coarser one.
struct Split(Vec<std::ops::Range<usize>>);

impl Split {
    fn of(coarse: &[u64], fine: &[u64]) -> Option<Self> {
        let mut at = 0;
        let mut ranges = Vec::new();
        for &extent in coarse {
            let begin = at;
            let mut product = 1u64;
            while product < extent || (at == begin && at < fine.len() && extent == 1 && fine.get(at) == Some(&1)) {
                product = product.checked_mul(*fine.get(at)?)?;
                at += 1;
            }
            if product != extent {
                return None;
            }
            ranges.push(begin..at);
        }
        (at == fine.len()).then_some(Self(ranges))
    }

    fn view(&self, piece: &Piece, coarse: &[u64], fine: &[u64], axes: &[usize]) -> Option<Piece> {
        let (offsets, extents) = match &piece.region {
            Region::Whole => (vec![0; coarse.len()], coarse.to_vec()),
            Region::Box { offsets, shape } => (offsets.clone(), shape.clone()),
            Region::Run { .. } => return None,
        };
        let strides = match &piece.strides {
            Some(strides) => strides.clone(),
            None => Tensor::row_major(&extents)?,
        };
        let (mut fine_offsets, mut fine_extents, mut fine_strides) = (Vec::new(), Vec::new(), Vec::new());
        let given = offsets.iter().zip(&extents).zip(&strides).zip(coarse);
        for (range, (((&offset, &extent), &stride), &whole)) in self.0.iter().zip(given) {
            if range.len() == 1 {
                fine_offsets.push(offset);
                fine_extents.push(extent);
                fine_strides.push(stride);
                continue;
            }
            // An axis that is cut into pieces cannot be split once more.
            if offset != 0 || extent != whole {
                return None;
            }
            let parts = fine.get(range.clone())?;
            for (part, step) in parts.iter().zip(Tensor::row_major(parts)?) {
                fine_offsets.push(0);
                fine_extents.push(*part);
                fine_strides.push(step.checked_mul(stride)?);
            }
        }
        let order = |of: &[u64]| axes.iter().filter_map(|&axis| of.get(axis).copied()).collect::<Vec<u64>>();
        let region = match &piece.region {
            Region::Whole => Region::Whole,
            _ => Region::Box { offsets: order(&fine_offsets), shape: order(&fine_extents) },
        };
        Some(Piece { region, strides: Some(order(&fine_strides)), ..piece.clone() })
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use weighthouse_format::data::Elements;
    use weighthouse_format::source::MemoryFolder;
    use weighthouse_format::tensor::Stored;
    use weighthouse_format::{Dtype, Limits, Section};

    #[test]
    fn a_view_reads_what_its_places_say() {
        let bytes: Vec<u8> = (0..48).collect();
        let folder = MemoryFolder::new(vec![Section::of_bytes("w", bytes.clone())]);
        let stored = Stored::File { file: "w".into(), begin: 0, end: 48 };
        let tensor = Tensor::plain("t", Dtype::U8, vec![8, 6], stored);
        let heads = Arrangement::Axes { shape: vec![2, 2, 2, 6], axes: vec![0, 2, 1, 3] };
        for arrangement in [Arrangement::Same, Arrangement::transposed(&[8, 6]), heads] {
            let view = arrangement.view(&tensor).unwrap();
            let limits = Limits::default();
            let read = Elements::new(&folder, &view, &limits).unwrap().read_all().unwrap();
            let mut wanted = vec![0; 48];
            for (at, byte) in bytes.iter().enumerate() {
                wanted[arrangement.place(at as u64) as usize] = *byte;
            }
            assert_eq!(read, wanted, "{arrangement:?}");
            let inverse = arrangement.inverse();
            assert!((0..48).all(|at| inverse.place(arrangement.place(at)) == at), "{arrangement:?}");
        }
        assert!(Arrangement::transposed(&[7, 7]).view(&tensor).is_none());
    }
}
