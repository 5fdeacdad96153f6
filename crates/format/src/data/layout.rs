//! How the elements of a piece lie in a tensor, as rows of units.
//!
//! A *unit* is an element, or a block of packed or quantised ones. A *row* is a run of units that follow each other both
//! in the tensor's row-major order and, `step` units apart, in the bytes.

use crate::error::FormatError;
use crate::tensor::{Piece, Region, Tensor};

/// Units that follow each other.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) struct Row {
    /// First unit in the tensor.
    pub unit: u64,
    /// First unit in the bytes.
    pub source: u64,
    /// Number of units.
    pub len: u64,
    /// Distance in the bytes, in units.
    pub step: u64,
}

/// A piece as a box of rows.
#[derive(Clone, Debug)]
pub(super) struct Layout {
    /// First unit in the tensor.
    pub base: u64,
    /// One past the last unit in the tensor.
    end: u64,
    /// Extents of the axes before the last.
    pub outer: Vec<u64>,
    /// Distances in the tensor along them, in units.
    pub outer_unit: Vec<u64>,
    /// Distances in the bytes along them, in units.
    pub outer_source: Vec<u64>,
    /// Units of a row.
    pub row_len: u64,
    /// Distance in the bytes within a row.
    pub step: u64,
}

impl Layout {
    pub fn of(tensor: &Tensor, piece: &Piece) -> Result<Self, FormatError> {
        let misfit = |detail: &str| super::broken(tensor, detail);
        let block = tensor.dtype.block_elements();
        let total = tensor.elements().div_ceil(block);
        let run = |first: u64, len: u64| Self {
            base: first,
            end: first.saturating_add(len),
            outer: Vec::new(),
            outer_unit: Vec::new(),
            outer_source: Vec::new(),
            row_len: len,
            step: 1,
        };
        let (offsets, shape) = match (&piece.region, &piece.strides) {
            (Region::Whole, None) => return Ok(run(0, total)),
            (Region::Run { first, len }, None) => {
                if first.checked_add(*len).is_none_or(|end| end > tensor.elements()) {
                    return Err(misfit("a piece leaves the tensor"));
                }
                if !first.is_multiple_of(block) {
                    return Err(misfit("a piece begins within a packed block"));
                }
                return Ok(run(first / block, len.div_ceil(block)));
            }
            (Region::Run { .. }, Some(_)) => return Err(misfit("a run of elements has strides")),
            (Region::Whole, Some(_)) => (vec![0; tensor.shape.len()], tensor.shape.clone()),
            (Region::Box { offsets, shape }, _) => (offsets.clone(), shape.clone()),
        };
        if block != 1 {
            let detail = format!("tensor `{}` of packed elements is strided or sharded", tensor.name);
            return Err(FormatError::Unsupported { what: "this layout", detail });
        }
        let rank = tensor.shape.len();
        let fits = |axis: usize| {
            let (offset, extent) = (offsets.get(axis).copied()?, shape.get(axis).copied()?);
            offset.checked_add(extent).filter(|end| tensor.shape.get(axis).is_some_and(|whole| end <= whole))
        };
        if offsets.len() != rank || shape.len() != rank || !(0..rank).all(|axis| fits(axis).is_some()) {
            return Err(misfit("a piece leaves the tensor"));
        }
        let in_tensor = Tensor::row_major(&tensor.shape).ok_or_else(|| misfit("its size overflows"))?;
        let in_bytes = match &piece.strides {
            None => Tensor::row_major(&shape).ok_or_else(|| misfit("its size overflows"))?,
            Some(strides) if strides.len() == rank => strides.clone(),
            Some(_) => return Err(misfit("a piece has not one stride for each axis")),
        };
        if shape.contains(&0) {
            return Ok(run(0, 0));
        }
        let dot = |indices: &[u64], distances: &[u64]| {
            indices.iter().zip(distances).try_fold(0u64, |sum, (index, distance)| {
                index.checked_mul(*distance).and_then(|product| sum.checked_add(product))
            })
        };
        let last: Vec<u64> = shape.iter().map(|extent| extent - 1).collect();
        let base = dot(&offsets, &in_tensor).ok_or_else(|| misfit("its size overflows"))?;
        let reach = dot(&last, &in_tensor).and_then(|reach| base.checked_add(reach)?.checked_add(1));
        let end = reach.ok_or_else(|| misfit("its size overflows"))?;
        dot(&last, &in_bytes).ok_or_else(|| misfit("its strides overflow"))?;
        let mut layout =
            Self { base, end, outer: shape, outer_unit: in_tensor, outer_source: in_bytes, row_len: 1, step: 1 };
        layout.merge();
        Ok(layout)
    }

    /// Takes axes from the inside into the row, as long as they go on where it ends.
    fn merge(&mut self) {
        while let (Some(&extent), Some(&unit), Some(&source)) =
            (self.outer.last(), self.outer_unit.last(), self.outer_source.last())
        {
            if extent == 1 {
                // An axis of one has no neighbour; its stride says nothing.
            } else if self.row_len == 1 && unit == 1 {
                self.row_len = extent;
                self.step = source;
            } else if unit == self.row_len && Some(source) == self.row_len.checked_mul(self.step) {
                self.row_len *= extent;
            } else {
                break;
            }
            self.outer.pop();
            self.outer_unit.pop();
            self.outer_source.pop();
        }
    }

    /// First unit in the tensor.
    pub const fn begin(&self) -> u64 {
        self.base
    }

    /// One past the last unit in the tensor.
    pub const fn end(&self) -> u64 {
        self.end
    }

    /// Whether rows are long runs of neighbours, so that each may be read by itself.
    pub fn is_dense(&self) -> bool {
        self.step == 1 && (self.outer.is_empty() || self.row_len >= 1024)
    }

    /// The rows that touch units `first..end` of the tensor, cut to them.
    pub fn rows(&self, first: u64, end: u64) -> Rows {
        let count = self.outer.iter().product();
        let mut rows = Rows { layout: self.clone(), next: 0, count, first, end };
        // Rows are in the tensor's order: find the first that reaches into the run.
        let (mut low, mut high) = (0, count);
        while low < high {
            let middle = low + (high - low) / 2;
            let (unit, _) = rows.at(middle);
            if unit.saturating_add(self.row_len) <= first { low = middle + 1 } else { high = middle }
        }
        rows.next = low;
        rows
    }
}

/// Iterator of [`Layout::rows`].
pub(super) struct Rows {
    layout: Layout,
    next: u64,
    count: u64,
    first: u64,
    end: u64,
}

impl Rows {
    /// First unit of a row in the tensor and in the bytes.
    fn at(&self, mut row: u64) -> (u64, u64) {
        let (mut unit, mut source) = (self.layout.base, 0);
        let axes = self.layout.outer.iter().zip(&self.layout.outer_unit).zip(&self.layout.outer_source);
        for ((extent, in_tensor), in_bytes) in axes.rev() {
            let index = row % extent;
            row /= extent;
            unit += index * in_tensor;
            source += index * in_bytes;
        }
        (unit, source)
    }
}

impl Iterator for Rows {
    type Item = Row;

    fn next(&mut self) -> Option<Row> {
        if self.next >= self.count {
            return None;
        }
        let (unit, source) = self.at(self.next);
        if unit >= self.end {
            return None;
        }
        self.next += 1;
        let skip = self.first.saturating_sub(unit);
        let len = self.layout.row_len.min(self.end - unit).saturating_sub(skip);
        Some(Row { unit: unit + skip, source: source + skip * self.layout.step, len, step: self.layout.step })
    }
}
