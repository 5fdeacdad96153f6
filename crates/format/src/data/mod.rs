//! Elements of a tensor, out of its pieces.
//!
//! [`Elements`] gives any run of elements in row-major order, little-endian, whatever the layout in the file: strided
//! views, boxes of a shard, compressed chunks, byte-swapped numbers. It reads what the run needs and no more, and keeps a
//! bounded number of decoded chunks. Large transposed pieces are gathered in windows of the tensor.

mod blosc;
pub(crate) mod filter;
mod gather;
mod inflate;
pub(crate) use filter::decode;
mod layout;
pub mod produce;
#[cfg(test)]
mod tests;

use std::collections::VecDeque;
use std::sync::Arc;

use crate::error::FormatError;
use crate::limits::Limits;
use crate::source::{Folder, Section};
use crate::tensor::{Filter, Piece, Stored, Tensor};

use layout::{Layout, Row};

/// Decoded or gathered bytes that are kept for the next run, in bytes.
const KEPT_BYTES: usize = 64 << 20;
/// Transposed pieces up to this length are held whole, in bytes. Longer ones would not be faster: elements that lie far
/// apart miss every cache.
const WHOLE_BYTES: u64 = 64 << 20;
/// What is gathered at once of longer ones, in bytes.
const WINDOW_BYTES: u64 = 32 << 20;
const WHAT: &str = "tensor data";

/// Reader of one tensor's elements.
pub struct Elements<'a> {
    tensor: &'a Tensor,
    folder: &'a dyn Folder,
    limits: &'a Limits,
    layouts: Vec<Layout>,
    /// Bytes of one unit: an element, or a block of packed or quantised ones.
    unit_bytes: u64,
    /// Units of the whole tensor.
    units: u64,
    /// The last opened file.
    open: Option<Section>,
    /// Decoded pieces, by their number, oldest first.
    kept: VecDeque<(usize, Arc<Vec<u8>>)>,
    /// The long stream that was read last.
    inflated: Option<inflate::Inflated>,
    /// The last gathered part of a piece.
    window: Window,
    /// Most bytes of a window.
    window_bytes: u64,
}

/// Gathered units of a piece: those from `first` on.
#[derive(Default)]
struct Window {
    piece: usize,
    first: u64,
    bytes: Vec<u8>,
}

impl<'a> Elements<'a> {
    /// Prepares to read; checks that the pieces fit the tensor and give all of it.
    ///
    /// # Errors
    /// [`FormatError::Unsupported`] for text and for layouts that cut through packed elements, [`FormatError::Broken`]
    /// for pieces that do not fit.
    pub fn new(folder: &'a dyn Folder, tensor: &'a Tensor, limits: &'a Limits) -> Result<Self, FormatError> {
        let unit_bytes = tensor.dtype.block_bytes();
        if unit_bytes == 0 {
            let detail = format!("tensor `{}` is text, which has no numbers", tensor.name);
            return Err(FormatError::Unsupported { what: "reading text as numbers", detail });
        }
        if !tensor.is_complete() {
            return Err(broken(tensor, "some of its elements are in no file"));
        }
        let layouts = tensor.pieces.iter().map(|piece| Layout::of(tensor, piece)).collect::<Result<Vec<_>, _>>()?;
        let units = tensor.elements().div_ceil(tensor.dtype.block_elements());
        Ok(Self {
            tensor,
            folder,
            limits,
            layouts,
            unit_bytes,
            units,
            open: None,
            kept: VecDeque::new(),
            inflated: None,
            window: Window::default(),
            window_bytes: WINDOW_BYTES,
        })
    }

    /// Bytes of one unit: an element, or a block of packed or quantised ones.
    #[must_use]
    pub const fn unit_bytes(&self) -> u64 {
        self.unit_bytes
    }

    /// Units in the whole tensor.
    #[must_use]
    pub const fn units(&self) -> u64 {
        self.units
    }

    /// Fills `out` with the units from `first` on, row-major and little-endian; `out` is a whole number of units.
    ///
    /// # Errors
    /// What reading and decoding say; [`FormatError::Truncated`] past the end of the tensor.
    pub fn read(&mut self, first: u64, out: &mut [u8]) -> Result<(), FormatError> {
        let len = out.len() as u64 / self.unit_bytes;
        let end = first.checked_add(len).filter(|&end| end <= self.units && len * self.unit_bytes == out.len() as u64);
        let Some(end) = end else {
            let got = self.units.saturating_sub(first).saturating_mul(self.unit_bytes);
            return Err(FormatError::Truncated { what: WHAT, needed: out.len() as u64, got });
        };
        for number in 0..self.layouts.len() {
            let Some(layout) = self.layouts.get(number) else { continue };
            if layout.end() <= first || layout.begin() >= end {
                continue;
            }
            let rows = layout.rows(first, end);
            self.copy(number, rows, first, out).map_err(|error| self.explain(error))?;
        }
        Ok(())
    }

    /// The whole tensor at once.
    ///
    /// # Errors
    /// As [`Elements::read`]; [`FormatError::TooLarge`] above `limits.decoded_bytes`.
    pub fn read_all(&mut self) -> Result<Vec<u8>, FormatError> {
        let bytes = self.units.saturating_mul(self.unit_bytes);
        Limits::at_most("size of a tensor that is read at once, in bytes", bytes, self.limits.decoded_bytes)?;
        let mut out = vec![0; usize::try_from(bytes).unwrap_or(usize::MAX)];
        self.read(0, &mut out)?;
        Ok(out)
    }

    /// Gives the whole tensor in bands of about `band_bytes`, in order.
    ///
    /// # Errors
    /// As [`Elements::read`], and whatever `each` answers.
    pub fn bands<E: From<FormatError>>(
        &mut self,
        band_bytes: u64,
        mut each: impl FnMut(&[u8]) -> Result<(), E>,
    ) -> Result<(), E> {
        let step = (band_bytes / self.unit_bytes).max(1);
        let mut buffer = Vec::new();
        let mut first = 0;
        while first < self.units {
            let len = step.min(self.units - first);
            buffer.resize(usize::try_from(len * self.unit_bytes).unwrap_or(usize::MAX), 0);
            self.read(first, &mut buffer)?;
            each(&buffer)?;
            first += len;
        }
        Ok(())
    }

    /// Copies the rows of one piece into `out`, which begins at unit `first` of the tensor.
    fn copy(
        &mut self,
        number: usize,
        rows: impl Iterator<Item = Row>,
        first: u64,
        out: &mut [u8],
    ) -> Result<(), FormatError> {
        let tensor = self.tensor;
        let Some(piece) = tensor.pieces.get(number) else { return Ok(()) };
        let width = self.unit_bytes;
        let bytes = match &piece.stored {
            Stored::Fill(unit) => return fill(tensor, unit, rows, first, width, out),
            Stored::Inline(bytes) if piece.filters.is_empty() => Bytes::Slice(bytes),
            Stored::File { .. }
                if piece.filters.is_empty() && self.layouts.get(number).is_some_and(Layout::is_dense) =>
            {
                Bytes::Section(self.section(piece)?)
            }
            Stored::File { .. }
                if piece.decoded_bytes > WHOLE_BYTES.min(self.limits.decoded_bytes) && is_elementwise(piece, width) =>
            {
                return self.gather(number, piece, first, out);
            }
            Stored::File { .. }
                if piece.decoded_bytes > KEPT_BYTES as u64
                    && inflate::format(piece).is_some()
                    && self.layouts.get(number).is_some_and(Layout::is_dense) =>
            {
                return self.inflate(number, piece, rows, first, out);
            }
            _ => Bytes::Kept(self.decoded(number, piece)?),
        };
        for row in rows {
            let begin = usize::try_from((row.unit - first) * width).unwrap_or(usize::MAX);
            let len = usize::try_from(row.len * width).unwrap_or(usize::MAX);
            let target = begin.checked_add(len).and_then(|end| out.get_mut(begin..end));
            let target = target.ok_or_else(|| broken(tensor, "a piece leaves the tensor"))?;
            bytes.copy(&row, width, piece.first_byte, target)?;
        }
        Ok(())
    }

    /// Copies rows of a long compressed piece into `out`, decoding as far as they reach.
    fn inflate(
        &mut self,
        number: usize,
        piece: &Piece,
        rows: impl Iterator<Item = Row>,
        first: u64,
        out: &mut [u8],
    ) -> Result<(), FormatError> {
        let (tensor, width) = (self.tensor, self.unit_bytes);
        let limit = self.limits.decoded_bytes;
        Limits::at_most("decoded size of a piece of a tensor, in bytes", piece.decoded_bytes, limit)?;
        let Some(format) = inflate::format(piece) else { return Ok(()) };
        let mut stream = match self.inflated.take().filter(|stream| stream.piece == number) {
            Some(stream) => stream,
            None => inflate::Inflated::new(number, format, self.section(piece)?),
        };
        for row in rows {
            let begin = usize::try_from((row.unit - first) * width).unwrap_or(usize::MAX);
            let len = usize::try_from(row.len * width).unwrap_or(usize::MAX);
            let target = begin.checked_add(len).and_then(|end| out.get_mut(begin..end));
            let target = target.ok_or_else(|| broken(tensor, "a piece leaves the tensor"))?;
            let source = row.source.checked_mul(width).and_then(|bytes| bytes.checked_add(piece.first_byte));
            let source = source.filter(|begin| begin.saturating_add(len as u64) <= piece.decoded_bytes);
            stream.fill(source.ok_or_else(|| broken(tensor, "its bytes end early"))?, target)?;
        }
        self.inflated = Some(stream);
        Ok(())
    }

    /// Copies a piece into `out`, window by window.
    fn gather(&mut self, number: usize, piece: &Piece, first: u64, out: &mut [u8]) -> Result<(), FormatError> {
        let Some(layout) = self.layouts.get(number).cloned() else { return Ok(()) };
        let width = self.unit_bytes;
        let end = layout.end().min(first.saturating_add(out.len() as u64 / width));
        let mut next = first.max(layout.begin());
        while next < end {
            let upto = self.window.first.saturating_add(self.window.bytes.len() as u64 / width);
            if self.window.piece != number || next < self.window.first || next >= upto {
                let len = (self.window_bytes / width).max(1).min(layout.end() - next);
                let mut bytes = std::mem::take(&mut self.window.bytes);
                bytes.resize(usize::try_from(len * width).unwrap_or(usize::MAX), 0);
                let section = self.section(piece)?;
                gather::gather(&section, piece.first_byte, &layout, width, next, &mut bytes)?;
                let bytes = filter::decode(bytes, &piece.filters, len * width)?;
                self.window = Window { piece: number, first: next, bytes };
                continue;
            }
            let upto = upto.min(end);
            for row in layout.rows(next, upto) {
                let range = |begin: u64| {
                    let begin = usize::try_from((row.unit - begin) * width).ok()?;
                    Some(begin..begin.checked_add(usize::try_from(row.len * width).ok()?)?)
                };
                let from = range(self.window.first).and_then(|range| self.window.bytes.get(range));
                let to = range(first).and_then(|range| out.get_mut(range));
                let (Some(from), Some(to)) = (from, to) else {
                    return Err(broken(self.tensor, "a piece leaves the tensor"));
                };
                to.copy_from_slice(from);
            }
            next = upto;
        }
        Ok(())
    }

    /// The stored bytes of a piece, as a part of their file.
    fn section(&mut self, piece: &Piece) -> Result<Section, FormatError> {
        let Stored::File { file, begin, end } = &piece.stored else {
            return Err(broken(self.tensor, "a piece is in no file"));
        };
        let open = match &self.open {
            Some(open) if open.file() == file => open.clone(),
            _ => self.folder.open(file)?,
        };
        self.open = Some(open.clone());
        let len = end.checked_sub(*begin).ok_or_else(|| broken(self.tensor, "a piece ends before it begins"))?;
        open.slice(WHAT, *begin, len).map_err(|error| error.in_file(file))
    }

    /// The decoded bytes of a piece; kept for the next run while there is room.
    fn decoded(&mut self, number: usize, piece: &Piece) -> Result<Arc<Vec<u8>>, FormatError> {
        if let Some((_, bytes)) = self.kept.iter().find(|(kept, _)| *kept == number) {
            return Ok(Arc::clone(bytes));
        }
        let limit = self.limits.decoded_bytes;
        Limits::at_most("decoded size of a piece of a tensor, in bytes", piece.decoded_bytes, limit)?;
        let stored = match &piece.stored {
            Stored::Inline(bytes) | Stored::Fill(bytes) => bytes.to_vec(),
            Stored::File { .. } => {
                let section = self.section(piece)?;
                Limits::at_most("stored size of a piece of a tensor, in bytes", section.len(), limit)?;
                section.read(WHAT, 0, section.len())?
            }
        };
        let decoded = Arc::new(filter::decode(stored, &piece.filters, piece.decoded_bytes)?);
        let mut total: usize = decoded.len() + self.kept.iter().map(|(_, bytes)| bytes.len()).sum::<usize>();
        while total > KEPT_BYTES
            && let Some((_, old)) = self.kept.pop_front()
        {
            total -= old.len();
        }
        self.kept.push_back((number, Arc::clone(&decoded)));
        Ok(decoded)
    }

    fn explain(&self, error: FormatError) -> FormatError {
        match error {
            FormatError::Truncated { .. } => broken(self.tensor, "its bytes end early"),
            other => other,
        }
    }
}

/// Whether the filters change each element by itself, so that elements may be gathered before.
fn is_elementwise(piece: &Piece, unit_bytes: u64) -> bool {
    piece.filters.iter().all(|filter| element_width(filter).is_some_and(|width| unit_bytes.is_multiple_of(width)))
}

/// Bytes of the elements that a filter changes each by itself; `None` when it does not.
pub(crate) fn element_width(filter: &Filter) -> Option<u64> {
    let width = match filter {
        Filter::SwapBytes { width } | Filter::Negate { width } => u64::from(*width),
        Filter::Conjugate { width } => 2 * u64::from(*width),
        _ => return None,
    };
    (width > 0).then_some(width)
}

/// Bytes that rows are copied from.
enum Bytes<'a> {
    Slice(&'a [u8]),
    Kept(Arc<Vec<u8>>),
    Section(Section),
}

impl Bytes<'_> {
    fn copy(&self, row: &Row, width: u64, first_byte: u64, target: &mut [u8]) -> Result<(), FormatError> {
        let place = |at: u64| at.checked_mul(width).and_then(|bytes| bytes.checked_add(first_byte));
        let early = FormatError::Truncated { what: WHAT, needed: target.len() as u64, got: 0 };
        let Some(begin) = place(row.source) else { return Err(early) };
        let bytes: &[u8] = match self {
            Self::Section(section) => return section.read_into(WHAT, begin, target),
            Self::Slice(bytes) => bytes,
            Self::Kept(bytes) => bytes,
        };
        let width = usize::try_from(width).unwrap_or(usize::MAX);
        let mut from = usize::try_from(begin).unwrap_or(usize::MAX);
        let step = usize::try_from(row.step).ok().and_then(|step| step.checked_mul(width)).unwrap_or(usize::MAX);
        if step == width {
            let found = from.checked_add(target.len()).and_then(|end| bytes.get(from..end));
            target.copy_from_slice(found.ok_or(early)?);
            return Ok(());
        }
        for unit in target.chunks_exact_mut(width) {
            let Some(found) = from.checked_add(width).and_then(|end| bytes.get(from..end)) else { return Err(early) };
            unit.copy_from_slice(found);
            from = from.saturating_add(step);
        }
        Ok(())
    }
}

fn fill(
    tensor: &Tensor,
    unit: &[u8],
    rows: impl Iterator<Item = Row>,
    first: u64,
    width: u64,
    out: &mut [u8],
) -> Result<(), FormatError> {
    if unit.len() as u64 != width {
        return Err(broken(tensor, "its fill value has another width"));
    }
    for row in rows {
        let begin = usize::try_from((row.unit - first) * width).unwrap_or(usize::MAX);
        let len = usize::try_from(row.len * width).unwrap_or(usize::MAX);
        let target = begin.checked_add(len).and_then(|end| out.get_mut(begin..end));
        for place in target.ok_or_else(|| broken(tensor, "a piece leaves the tensor"))?.chunks_exact_mut(unit.len()) {
            place.copy_from_slice(unit);
        }
    }
    Ok(())
}

fn broken(tensor: &Tensor, detail: &str) -> FormatError {
    let at = tensor.place().map_or(0, |(_, at)| at);
    FormatError::Broken { what: "tensor", at, detail: format!("`{}`: {detail}", tensor.name) }
}
