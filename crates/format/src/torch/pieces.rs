//! Tensors put together from parts that lie in several files.

use crate::error::FormatError;
use crate::tensor::{Piece, Region, Stored, Tensor};

/// Most pieces of a tensor that are compared with each other.
const COMPARED: usize = 2048;

/// Pieces of a part, moved to where the part lies in the whole tensor.
///
/// `None` when the part is cut into runs, which no box can hold.
pub(super) fn placed(part: Tensor, offsets: &[u64]) -> Option<Vec<Piece>> {
    let Tensor { shape, pieces, .. } = part;
    let move_one = |piece: Piece| {
        let region = match piece.region {
            Region::Whole => Region::Box { offsets: offsets.to_vec(), shape: shape.clone() },
            Region::Box { offsets: inner, shape } => {
                let sums = inner.iter().zip(offsets).map(|(inner, outer)| inner.checked_add(*outer));
                Region::Box { offsets: sums.collect::<Option<_>>()?, shape }
            }
            Region::Run { .. } => return None,
        };
        Some(Piece { region, ..piece })
    };
    pieces.into_iter().map(move_one).collect()
}

/// Rows `begin..begin + len` along `axis` of a tensor that is one whole piece, as a part of its own.
pub(super) fn band(tensor: &Tensor, axis: usize, begin: u64, len: u64) -> Option<Tensor> {
    let [piece] = tensor.pieces.as_slice() else { return None };
    if piece.region != Region::Whole || tensor.dtype.block_elements() > 1 {
        return None;
    }
    let strides = match &piece.strides {
        Some(strides) => strides.clone(),
        None => row_major(&tensor.shape)?,
    };
    let step = strides.get(axis)?.checked_mul(begin)?.checked_mul(tensor.dtype.block_bytes())?;
    let mut part = tensor.clone();
    *part.shape.get_mut(axis)? = len;
    let mut piece = piece.clone();
    piece.first_byte = piece.first_byte.checked_add(step)?;
    piece.strides = Some(strides);
    part.pieces = vec![piece];
    Some(part)
}

/// Strides of row-major elements without gaps.
fn row_major(shape: &[u64]) -> Option<Vec<u64>> {
    let mut strides = vec![1u64; shape.len()];
    for axis in (1..shape.len()).rev() {
        let next = strides.get(axis)?.checked_mul(*shape.get(axis)?)?;
        *strides.get_mut(axis - 1)? = next;
    }
    Some(strides)
}

/// A flat vector cut over several tensors, one after the other.
#[derive(Debug, Default)]
pub(super) struct Flat {
    parts: Vec<Tensor>,
    /// Where each part ends, in elements.
    ends: Vec<u64>,
}

impl Flat {
    /// Puts a tensor at the end; its shape does not count, only its elements in order.
    ///
    /// # Errors
    /// [`FormatError::Unsupported`] when its elements do not lie in order.
    pub(super) fn push(&mut self, part: Tensor) -> Result<(), FormatError> {
        let in_order = part.pieces.iter().all(|piece| piece.strides.is_none() && piece.region == Region::Whole);
        if !in_order || part.dtype.block_elements() > 1 {
            let detail = format!("`{}` does not lie in order", part.name);
            return Err(FormatError::Unsupported { what: "partition of a flat group", detail });
        }
        let end = self.len().checked_add(part.elements());
        self.ends.push(end.ok_or_else(|| FormatError::SizeOverflow { tensor: part.name.clone() })?);
        self.parts.push(part);
        Ok(())
    }

    /// Puts another vector at the end.
    ///
    /// # Errors
    /// As [`Flat::push`].
    pub(super) fn append(&mut self, other: Self) -> Result<(), FormatError> {
        other.parts.into_iter().try_for_each(|part| self.push(part))
    }

    /// Number of elements.
    pub(super) fn len(&self) -> u64 {
        self.ends.last().copied().unwrap_or(0)
    }

    /// The element type of the first part.
    pub(super) fn dtype(&self) -> Option<crate::dtype::Dtype> {
        self.parts.first().map(|part| part.dtype)
    }

    /// Pieces that give elements `first..first + len` of a tensor out of elements `from..` of the vector.
    ///
    /// # Errors
    /// [`FormatError::OutOfBounds`] when the vector ends first.
    pub(super) fn cut(&self, name: &str, from: u64, len: u64, first: u64) -> Result<Vec<Piece>, FormatError> {
        let end = from.checked_add(len).filter(|&end| end <= self.len()).ok_or_else(|| FormatError::OutOfBounds {
            tensor: name.to_owned(),
            begin: from,
            end: from.saturating_add(len),
            len: self.len(),
        })?;
        let mut pieces = Vec::new();
        let start = self.ends.partition_point(|&part_end| part_end <= from);
        let mut part_begin = start.checked_sub(1).and_then(|at| self.ends.get(at)).copied().unwrap_or(0);
        for (part, &part_end) in self.parts.iter().zip(&self.ends).skip(start) {
            if part_begin >= end {
                break;
            }
            let (cut_begin, cut_end) = (from.max(part_begin), end.min(part_end));
            if let (true, Some(piece)) = (cut_end > cut_begin, part.pieces.first()) {
                let width = part.dtype.block_bytes();
                let region = Region::Run { first: first + (cut_begin - from), len: cut_end - cut_begin };
                let (begin_byte, len_bytes) = ((cut_begin - part_begin) * width, (cut_end - cut_begin) * width);
                pieces.push(run(piece, region, begin_byte, len_bytes));
            }
            part_begin = part_end;
        }
        Ok(pieces)
    }
}

/// A part of a piece that lies in order.
fn run(piece: &Piece, region: Region, begin: u64, len: u64) -> Piece {
    let mut cut = Piece { region, ..piece.clone() };
    match &mut cut.stored {
        // Filters that work on single numbers need only those.
        Stored::File { begin: file_begin, end, .. } if cut.first_byte == 0 => {
            *file_begin += begin;
            *end = *file_begin + len;
            cut.decoded_bytes = len;
        }
        _ => cut.first_byte += begin,
    }
    cut
}

/// Whether two boxes of a tensor share an element.
fn overlap(one: &Piece, other: &Piece, whole: &[u64]) -> bool {
    let zeros = vec![0; whole.len()];
    fn span<'a>(piece: &'a Piece, zeros: &'a [u64], whole: &'a [u64]) -> Option<(&'a [u64], &'a [u64])> {
        match &piece.region {
            Region::Whole => Some((zeros, whole)),
            Region::Box { offsets, shape } => Some((offsets, shape)),
            Region::Run { .. } => None,
        }
    }
    let (Some(one), Some(other)) = (span(one, &zeros, whole), span(other, &zeros, whole)) else { return false };
    let axes = one.0.iter().zip(one.1).zip(other.0.iter().zip(other.1));
    axes.into_iter().all(|((a, a_len), (b, b_len))| *a < b.saturating_add(*b_len) && *b < a.saturating_add(*a_len))
}

/// Checks that boxes stay in the tensor and do not overlap.
///
/// # Errors
/// [`FormatError::Rule`].
pub(super) fn check(tensor: &Tensor) -> Result<(), FormatError> {
    let rule = |rule| Err(FormatError::Rule { what: "tensor in parts", rule });
    for piece in &tensor.pieces {
        if let Region::Box { offsets, shape } = &piece.region {
            let fits = offsets.len() == tensor.shape.len()
                && shape.len() == tensor.shape.len()
                && offsets
                    .iter()
                    .zip(shape)
                    .zip(&tensor.shape)
                    .all(|((offset, extent), whole)| offset.checked_add(*extent).is_some_and(|end| end <= *whole));
            if !fits {
                return rule("its parts lie inside");
            }
        }
    }
    let pieces = tensor.pieces.iter().take(COMPARED).enumerate();
    for (index, piece) in pieces {
        if tensor.pieces.iter().take(index).any(|other| overlap(piece, other, &tensor.shape)) {
            return rule("its parts do not overlap");
        }
    }
    Ok(())
}
