//! Pieces as boxes with strides.

use std::ops::Range;

use crate::dtype::Dtype;
use crate::error::FormatError;
use crate::tensor::{Piece, Region, Stored, Tensor};

/// A box of a tensor, and how its elements lie in the decoded bytes.
#[derive(Clone, Debug)]
pub(super) struct Boxed {
    offsets: Vec<u64>,
    shape: Vec<u64>,
    /// Distances between neighbours along each axis, in elements.
    strides: Vec<u64>,
    piece: Piece,
}

/// Some axes of a box after they were reshaped.
struct Part {
    /// Distance of its first element from that of the box, in elements.
    skip: u64,
    offsets: Vec<u64>,
    shape: Vec<u64>,
    strides: Vec<u64>,
}

/// All pieces of a tensor as boxes; a run may become several.
///
/// # Errors
/// As [`Boxed::of`].
pub(super) fn of(tensor: &Tensor) -> Result<Vec<Boxed>, FormatError> {
    let mut all = Vec::new();
    for piece in &tensor.pieces {
        all.extend(Boxed::of(tensor, piece)?);
    }
    Ok(all)
}

impl Boxed {
    /// A piece as boxes, none of them empty.
    ///
    /// # Errors
    /// [`FormatError::Broken`] when it leaves the tensor; [`FormatError::Unsupported`] for packed elements.
    pub(super) fn of(tensor: &Tensor, piece: &Piece) -> Result<Vec<Self>, FormatError> {
        let (dtype, rank) = (tensor.dtype, tensor.shape.len());
        if dtype.block_elements() > 1 {
            let detail = format!("elements of {dtype} can only be cut or joined in whole rows of the first axis");
            return Err(super::refused(tensor, detail));
        }
        let misfit = || super::misfit(tensor);
        let (offsets, shape) = match &piece.region {
            Region::Whole => (vec![0; rank], tensor.shape.clone()),
            Region::Box { offsets, shape } => (offsets.clone(), shape.clone()),
            Region::Run { .. } if piece.strides.is_some() => return Err(misfit()),
            Region::Run { first, len } => {
                let end = first.checked_add(*len).filter(|end| *end <= tensor.elements()).ok_or_else(misfit)?;
                let one = |(at, offsets, shape): (u64, Vec<u64>, Vec<u64>)| {
                    let bytes = (at - first).checked_mul(dtype.block_bytes()).ok_or_else(misfit)?;
                    let piece = shifted(piece.clone(), bytes).ok_or_else(misfit)?;
                    let strides = row_major(&shape).ok_or_else(misfit)?;
                    Ok(Self { offsets, shape, strides, piece })
                };
                return cut(*first, end, &tensor.shape).into_iter().map(one).collect();
            }
        };
        let fits = offsets.len() == rank && shape.len() == rank;
        let mut axes = offsets.iter().zip(&shape).zip(&tensor.shape);
        if !fits || !axes.all(|((offset, len), whole)| offset.checked_add(*len).is_some_and(|end| end <= *whole)) {
            return Err(misfit());
        }
        if shape.contains(&0) {
            return Ok(Vec::new());
        }
        let strides = match &piece.strides {
            Some(strides) if strides.len() == rank => strides.clone(),
            Some(_) => return Err(misfit()),
            None => row_major(&shape).ok_or_else(misfit)?,
        };
        let piece = piece.clone();
        let boxed = Self { offsets, shape, strides, piece };
        // From here on no sum of strides overflows: every element that is ever named is one of these.
        boxed.reach().and_then(|reach| reach.checked_mul(dtype.block_bytes())).ok_or_else(misfit)?;
        Ok(vec![boxed])
    }

    /// Distance from the first to the last element, in elements, plus one.
    fn reach(&self) -> Option<u64> {
        let axes = self.shape.iter().zip(&self.strides);
        axes.into_iter().try_fold(1u64, |sum, (len, stride)| sum.checked_add(stride.checked_mul(len.checked_sub(1)?)?))
    }

    /// The part with these indices along an axis, counted from the first one; `None` when there is none.
    ///
    /// # Errors
    /// [`FormatError::Broken`] when an offset overflows.
    pub(super) fn slice(
        mut self,
        tensor: &Tensor,
        axis: usize,
        range: &Range<u64>,
    ) -> Result<Option<Self>, FormatError> {
        let misfit = || super::misfit(tensor);
        let places = (self.offsets.get_mut(axis), self.shape.get_mut(axis), self.strides.get(axis));
        let (Some(offset), Some(len), Some(stride)) = places else { return Err(misfit()) };
        let (begin, end) = ((*offset).max(range.start), (*offset + *len).min(range.end));
        if begin >= end {
            return Ok(None);
        }
        let bytes =
            (begin - *offset).checked_mul(*stride).and_then(|skip| skip.checked_mul(tensor.dtype.block_bytes()));
        self.piece = bytes.and_then(|bytes| shifted(self.piece, bytes)).ok_or_else(misfit)?;
        (*offset, *len) = (begin - range.start, end - begin);
        Ok(Some(self))
    }

    /// The box `distance` further along an axis.
    pub(super) fn moved(mut self, axis: usize, distance: u64) -> Self {
        if let Some(offset) = self.offsets.get_mut(axis) {
            *offset += distance;
        }
        self
    }

    /// The box under a new order of the axes.
    pub(super) fn permuted(self, axes: &[usize]) -> Self {
        Self {
            offsets: reordered(&self.offsets, axes),
            shape: reordered(&self.shape, axes),
            strides: reordered(&self.strides, axes),
            piece: self.piece,
        }
    }

    /// The box in a tensor of another shape, cut where it has to be.
    ///
    /// Axes are taken in groups of equal size on both sides, so that an axis that stays costs nothing. Within a group
    /// the box is cut into runs of even stride, and those into boxes of the new axes.
    ///
    /// # Errors
    /// [`FormatError::Unsupported`] above the number of pieces that we keep.
    pub(super) fn reshaped(self, tensor: &Tensor, shape: &[u64]) -> Result<Vec<Self>, FormatError> {
        let misfit = || super::misfit(tensor);
        let start = Self { offsets: Vec::new(), shape: Vec::new(), strides: Vec::new(), piece: self.piece.clone() };
        let mut done = vec![start];
        for (old, new) in groups(&tensor.shape, shape).ok_or_else(misfit)? {
            let parts = self.group(tensor, old.clone(), shape.get(new.clone()).unwrap_or_default())?;
            if (done.len() as u64).saturating_mul(parts.len() as u64) > super::CUT_PIECES {
                return Err(self.too_many(tensor, shape));
            }
            let mut next = Vec::with_capacity(done.len() * parts.len());
            for one in &done {
                for part in &parts {
                    let mut one = one.clone();
                    one.offsets.extend(&part.offsets);
                    one.shape.extend(&part.shape);
                    one.strides.extend(&part.strides);
                    let bytes = part.skip.checked_mul(tensor.dtype.block_bytes());
                    one.piece = bytes.and_then(|bytes| shifted(one.piece, bytes)).ok_or_else(misfit)?;
                    next.push(one);
                }
            }
            done = next;
        }
        Ok(done)
    }

    /// The box along some axes, in new axes.
    fn group(&self, tensor: &Tensor, axes: Range<usize>, shape: &[u64]) -> Result<Vec<Part>, FormatError> {
        let misfit = || super::misfit(tensor);
        fn part(list: &[u64], axes: &Range<usize>) -> Vec<u64> {
            list.get(axes.clone()).unwrap_or_default().to_vec()
        }
        let whole = part(&tensor.shape, &axes);
        let (offsets, lens, strides) =
            (part(&self.offsets, &axes), part(&self.shape, &axes), part(&self.strides, &axes));
        let inner = row_major(&whole).ok_or_else(misfit)?;
        // The innermost axes that make one run of even stride.
        let (mut run_len, mut run_stride, mut is_full, mut outer) = (1u64, 1u64, true, whole.len());
        for (((len, stride), whole), place) in lens.iter().zip(&strides).zip(&whole).zip(0..whole.len()).rev() {
            if *len > 1 {
                if !is_full || (run_len > 1 && Some(*stride) != run_stride.checked_mul(run_len)) {
                    break;
                }
                if run_len == 1 {
                    run_stride = *stride;
                }
                run_len = run_len.checked_mul(*len).ok_or_else(misfit)?;
            }
            is_full &= len == whole;
            outer = place;
        }
        let outer_lens = lens.get(..outer).unwrap_or_default();
        let count = Tensor::checked_elements(outer_lens).filter(|count| *count <= super::CUT_PIECES);
        let count = count.ok_or_else(|| self.too_many(tensor, shape))?;
        let base: u64 = offsets.iter().zip(&inner).map(|(offset, distance)| offset * distance).sum();
        let new_inner = row_major(shape).ok_or_else(misfit)?;
        let mut parts = Vec::new();
        for mut number in 0..count {
            let (mut first, mut skip) = (base, 0u64);
            for ((len, stride), distance) in outer_lens.iter().zip(&strides).zip(&inner).rev() {
                first += number % len * distance;
                skip += number % len * stride;
                number /= len;
            }
            for (at, offsets, extents) in cut(first, first + run_len, shape) {
                let skip = skip + (at - first) * run_stride;
                // Along an axis of one nobody steps, and the distance may be larger than anything.
                let stride =
                    |(distance, len): (&u64, &u64)| if *len > 1 { distance.saturating_mul(run_stride) } else { 1 };
                let strides = new_inner.iter().zip(&extents).map(stride).collect();
                parts.push(Part { skip, offsets, shape: extents, strides });
            }
        }
        Ok(parts)
    }

    fn too_many(&self, tensor: &Tensor, shape: &[u64]) -> FormatError {
        let most = super::CUT_PIECES;
        let detail = format!("as {shape:?} a piece of {:?} would be cut into more than {most} parts", self.shape);
        super::refused(tensor, detail)
    }

    /// The box as a piece of a tensor of this shape.
    pub(super) fn into_piece(self, dtype: Dtype, whole: &[u64]) -> Piece {
        let reach = self.reach().and_then(|reach| reach.checked_mul(dtype.block_bytes()));
        let Self { offsets, shape, strides, piece } = self;
        let is_whole = shape == whole;
        let is_fill = matches!(piece.stored, Stored::Fill(_));
        let even = row_major(&shape);
        // The stride of an axis of one says nothing.
        let mut axes = shape.iter().zip(&strides).zip(even.iter().flatten());
        let is_even = even.is_some() && axes.all(|((len, stride), even)| *len == 1 || stride == even);
        let piece = match reach {
            Some(reach) => super::narrowed(piece.clone(), 0, reach).unwrap_or(piece),
            None => piece,
        };
        let region = if is_whole { Region::Whole } else { Region::Box { offsets, shape } };
        Piece { region, strides: (!is_even && !is_fill).then_some(strides), ..piece }
    }
}

/// A list in a new order.
pub(super) fn reordered(list: &[u64], axes: &[usize]) -> Vec<u64> {
    axes.iter().filter_map(|axis| list.get(*axis).copied()).collect()
}

/// A piece that begins `bytes` later.
fn shifted(mut piece: Piece, bytes: u64) -> Option<Piece> {
    if !matches!(piece.stored, Stored::Fill(_)) {
        piece.first_byte = piece.first_byte.checked_add(bytes)?;
    }
    Some(piece)
}

/// Cuts a run of elements into boxes, at most two for each axis: first element, offsets, extents.
fn cut(first: u64, end: u64, shape: &[u64]) -> Vec<(u64, Vec<u64>, Vec<u64>)> {
    let Some(inner) = row_major(shape) else { return Vec::new() };
    let mut boxes = Vec::new();
    let mut at = first;
    while at < end {
        let mut rest = at;
        let offsets: Vec<u64> = inner
            .iter()
            .map(|distance| {
                let index = rest / distance;
                rest %= distance;
                index
            })
            .collect();
        // The outermost axis along which whole steps can be made from here.
        let axis = inner.iter().position(|distance| at.is_multiple_of(*distance) && end - at >= *distance);
        let Some(axis) = axis else {
            // A scalar.
            boxes.push((at, Vec::new(), Vec::new()));
            break;
        };
        let (mut extents, mut taken) = (shape.to_vec(), 0);
        for (place, (extent, (distance, offset))) in extents.iter_mut().zip(inner.iter().zip(&offsets)).enumerate() {
            if place < axis {
                *extent = 1;
            } else if place == axis {
                *extent = (*extent - offset).min((end - at) / distance);
                taken = *extent * distance;
            }
        }
        boxes.push((at, offsets, extents));
        at += taken;
    }
    boxes
}

/// Axes of two shapes with the same number of elements, in the smallest groups that have as many on both sides.
fn groups(old: &[u64], new: &[u64]) -> Option<Vec<(Range<usize>, Range<usize>)>> {
    let mut groups = Vec::new();
    let (mut i, mut j) = (0, 0);
    while i < old.len() && j < new.len() {
        let (begin_i, begin_j) = (i, j);
        let (mut size_i, mut size_j) = (*old.get(i)?, *new.get(j)?);
        (i, j) = (i + 1, j + 1);
        while size_i != size_j {
            if size_i < size_j {
                size_i = size_i.checked_mul(*old.get(i)?)?;
                i += 1;
            } else {
                size_j = size_j.checked_mul(*new.get(j)?)?;
                j += 1;
            }
        }
        groups.push((begin_i..i, begin_j..j));
    }
    // What is left on one side are axes of one.
    groups.push((i..old.len(), j..new.len()));
    Some(groups)
}

/// Distances between neighbours along each axis, row-major; `None` on overflow.
pub(super) fn row_major(shape: &[u64]) -> Option<Vec<u64>> {
    let mut strides = vec![1; shape.len()];
    let mut product = 1u64;
    for (stride, extent) in strides.iter_mut().zip(shape).rev() {
        *stride = product;
        product = product.checked_mul((*extent).max(1))?;
    }
    Some(strides)
}
