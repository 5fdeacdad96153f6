//! Pieces as runs: elements that follow each other both in the tensor and in the bytes.

use std::ops::Range;

use crate::error::FormatError;
use crate::tensor::{Piece, Region, Tensor};

/// Elements `first..first + len` of a tensor in row-major order.
#[derive(Clone, Debug)]
pub(super) struct Run {
    first: u64,
    len: u64,
    piece: Piece,
}

/// All pieces of a tensor as runs; `None` when one is strided or a box.
///
/// # Errors
/// As [`Run::of`].
pub(super) fn of(tensor: &Tensor) -> Result<Option<Vec<Run>>, FormatError> {
    tensor.pieces.iter().map(|piece| Run::of(tensor, piece)).collect()
}

/// Runs of a tensor of `total` elements as pieces.
pub(super) fn pieces(runs: impl IntoIterator<Item = Run>, total: u64) -> Vec<Piece> {
    let piece = |run: Run| {
        let Run { first, len, piece } = run;
        let region = if first == 0 && len == total { Region::Whole } else { Region::Run { first, len } };
        Piece { region, ..piece }
    };
    runs.into_iter().filter(|run| run.len > 0).map(piece).collect()
}

impl Run {
    /// A piece as a run; `None` when it is strided or a box.
    ///
    /// # Errors
    /// [`FormatError::Broken`] when it leaves the tensor; [`FormatError::Unsupported`] for packed elements in boxes.
    pub(super) fn of(tensor: &Tensor, piece: &Piece) -> Result<Option<Self>, FormatError> {
        let total = tensor.elements();
        let (first, len) = match (&piece.region, &piece.strides) {
            (Region::Whole, None) => (0, total),
            (Region::Run { first, len }, None) => (*first, *len),
            (Region::Run { .. }, Some(_)) => return Err(super::misfit(tensor)),
            _ if tensor.dtype.block_elements() > 1 => {
                return Err(super::refused(tensor, "packed elements lie in strides or boxes".to_owned()));
            }
            _ => return Ok(None),
        };
        if first.checked_add(len).is_none_or(|end| end > total) {
            return Err(super::misfit(tensor));
        }
        Ok(Some(Self { first, len, piece: piece.clone() }))
    }

    /// The part within these elements of the tensor, counted from their first one; `None` when there is none.
    ///
    /// # Errors
    /// [`FormatError::Unsupported`] when a packed block would be cut.
    pub(super) fn slice(self, tensor: &Tensor, elements: &Range<u64>) -> Result<Option<Self>, FormatError> {
        let (begin, end) = (self.first.max(elements.start), (self.first + self.len).min(elements.end));
        if begin >= end {
            return Ok(None);
        }
        let (dtype, skip) = (tensor.dtype, begin - self.first);
        // Only the end of a tensor can be within a block, and stays the end.
        let ends = end == self.first + self.len || (end - begin).is_multiple_of(dtype.block_elements());
        if !ends || !skip.is_multiple_of(dtype.block_elements()) {
            return Err(cut(tensor));
        }
        let bytes = |elements: u64| dtype.size_bytes(elements);
        let piece = bytes(skip).zip(bytes(end - begin)).and_then(|(skip, len)| super::narrowed(self.piece, skip, len));
        let run = Self {
            first: begin - elements.start,
            len: end - begin,
            piece: piece.ok_or_else(|| super::misfit(tensor))?,
        };
        run.aligned(tensor).map(Some)
    }

    /// The run in a tensor where `elements` more come before.
    ///
    /// # Errors
    /// [`FormatError::Unsupported`] when a packed block would begin within another.
    pub(super) fn moved(self, tensor: &Tensor, elements: u64) -> Result<Self, FormatError> {
        Self { first: self.first + elements, ..self }.aligned(tensor)
    }

    fn aligned(self, tensor: &Tensor) -> Result<Self, FormatError> {
        if self.first.is_multiple_of(tensor.dtype.block_elements()) { Ok(self) } else { Err(cut(tensor)) }
    }
}

fn cut(tensor: &Tensor) -> FormatError {
    let (dtype, block) = (tensor.dtype, tensor.dtype.block_elements());
    super::refused(tensor, format!("a block of {block} elements of {dtype} would be cut"))
}
