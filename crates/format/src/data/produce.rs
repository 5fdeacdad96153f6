//! The bytes of a tensor that is to be written, made of those of the tensor that was read.
//!
//! ```text
//!   Elements ──► rows in their new order ──► steps, cast, quantise ──► a band
//!                (one buffer of a band)                                (another one)
//! ```
//!
//! Rows in another order are read as they lie: those of a band are sorted by their place in the source, and what lies
//! together there is read together and then dealt out. So the interleaved rows of a Llama's Q and K cost a few reads for
//! each head, and a shuffled table one read for each of its rows.

use super::{Elements, broken};
use crate::cast::{can_cast, cast, rows_fit};
use crate::dtype::Dtype;
use crate::error::FormatError;
use crate::limits::Limits;
use crate::output::{OutputTensor, Recipe};
use crate::source::Folder;
use crate::tensor::Tensor;

/// Most rows of a band that are sorted.
const SORTED_ROWS: u64 = 1 << 16;
/// Rows between two that are wanted are read too, up to this many bytes of them.
const GAP_BYTES: u64 = 4096;

/// Reader of the bytes of one [`OutputTensor`].
pub struct Produce<'a> {
    recipe: &'a Recipe,
    to: Dtype,
    elements: Elements<'a>,
    /// Number of elements that are written.
    total: u64,
    /// Elements of a row of the source, where rows are put in another order.
    row: u64,
    /// The last band as it was read.
    source: Vec<u8>,
    /// Rows that lie together in the source, where they are dealt out.
    together: Vec<u8>,
}

impl<'a> Produce<'a> {
    /// Prepares to read; checks that the recipe gives the tensor.
    ///
    /// # Errors
    /// [`FormatError::Unsupported`] for casts and layouts that there are not; [`FormatError::Broken`] when the recipe gives
    /// another number of elements, or names rows that the source has not.
    pub fn new(folder: &'a dyn Folder, tensor: &'a OutputTensor, limits: &'a Limits) -> Result<Self, FormatError> {
        let recipe = &tensor.recipe;
        let source = &recipe.source;
        let misfit = |detail: String| broken(source, &format!("for `{}`, {detail}", tensor.name));
        can_cast(source.dtype, !recipe.steps.is_empty(), tensor.dtype)?;
        rows_fit(tensor.dtype, &tensor.shape)?;
        rows_fit(source.dtype, &source.shape)?;
        let sizes = Tensor::checked_elements(&tensor.shape).zip(Tensor::checked_elements(&source.shape));
        let Some((total, of_source)) = sizes.filter(|_| tensor.size_bytes().is_some()) else {
            return Err(FormatError::SizeOverflow { tensor: tensor.name.clone() });
        };
        let mut row = 0;
        let mut given = of_source;
        if let Some(rows) = &recipe.rows {
            let Some((&count, inner)) = source.shape.split_first() else {
                return Err(misfit("rows of a scalar are put in another order".to_owned()));
            };
            row = Tensor::checked_elements(inner).unwrap_or(u64::MAX);
            if !row.is_multiple_of(source.dtype.block_elements()) {
                let detail = format!("rows of {row} elements of `{}`, which share bytes", source.dtype);
                return Err(FormatError::Unsupported { what: "another order of rows", detail });
            }
            if let Some(outside) = rows.iter().find(|&&row| row >= count) {
                return Err(misfit(format!("row {outside} of {count} is written")));
            }
            given = (rows.len() as u64).saturating_mul(row);
        }
        if given != total {
            return Err(misfit(format!("{given} elements become {total}")));
        }
        let elements = Elements::new(folder, source, limits)?;
        let (to, together) = (tensor.dtype, Vec::new());
        Ok(Self { recipe, to, elements, total, row, source: Vec::new(), together })
    }

    /// Gives the tensor as it is written, row-major and little-endian, in bands of about `band_bytes`, in order.
    ///
    /// Memory: a band as it is read, one as it is written, one of rows where they are put in another order, and what
    /// [`Elements`] keeps.
    ///
    /// # Errors
    /// As [`Elements::read`], and whatever `each` answers.
    pub fn bands<E: From<FormatError>>(
        &mut self,
        band_bytes: u64,
        mut each: impl FnMut(&[u8]) -> Result<(), E>,
    ) -> Result<(), E> {
        let step = self.step(band_bytes);
        let mut out = Vec::new();
        let mut first = 0;
        while first < self.total {
            let count = step.min(self.total - first);
            self.read(first, count)?;
            if self.from() == self.to && self.recipe.steps.is_empty() {
                each(&self.source)?;
            } else {
                out.clear();
                cast(self.from(), &self.source, &self.recipe.steps, self.to, &mut out)?;
                // The last byte of packed elements may have had more than were wanted.
                out.truncate(bytes(self.to, count));
                each(&out)?;
            }
            first += count;
        }
        Ok(())
    }

    /// The type that is read.
    const fn from(&self) -> Dtype {
        self.recipe.source.dtype
    }

    /// Elements of a band: whole blocks of both types, and whole rows where they are sorted.
    fn step(&self, band_bytes: u64) -> u64 {
        // All block sizes are powers of two, so the larger is a multiple of the other.
        let grain = self.from().block_elements().max(self.to.block_elements());
        let of = |elements: u64| {
            let widest = bytes(self.from(), elements).max(bytes(self.to, elements)).max(1) as u64;
            elements.saturating_mul((band_bytes / widest).max(1))
        };
        if self.row == 0 {
            return of(grain);
        }
        let whole = self.row.saturating_mul(grain / greatest_divisor(self.row, grain));
        if bytes(self.from(), whole) as u64 > band_bytes {
            return of(grain);
        }
        // A multiple of `whole` elements, with no more rows than are sorted.
        let most = (SORTED_ROWS.saturating_mul(self.row) / whole).max(1).saturating_mul(whole);
        of(whole).min(most)
    }

    /// Fills the buffer with `count` elements from `first` of the written tensor on, as they are read.
    fn read(&mut self, first: u64, count: u64) -> Result<(), FormatError> {
        let (from, row) = (self.from(), self.row);
        self.source.resize(bytes(from, count), 0);
        let block = from.block_elements();
        let Some(rows) = self.recipe.rows.as_deref().filter(|_| row > 0) else {
            return self.elements.read(first / block, &mut self.source);
        };
        let (begin, end) = (first / row, (first + count).div_ceil(row));
        let wanted = usize::try_from(begin).ok().zip(usize::try_from(end).ok());
        let wanted = wanted.and_then(|(begin, end)| rows.get(begin..end)).unwrap_or_default();
        let runs = wanted.windows(2).filter(|pair| pair[0].checked_add(1) != Some(pair[1])).count() as u64 + 1;
        let whole = first.is_multiple_of(row) && count.is_multiple_of(row);
        if whole && runs > 1 && bytes(from, count) as u64 / runs < GAP_BYTES * 16 {
            return self.deal(wanted);
        }
        // Long runs, or parts of rows: read each where it goes.
        let (mut skip, mut left) = (first % row, count);
        let mut rest = self.source.as_mut_slice();
        let mut wanted = wanted.iter().copied().peekable();
        while let Some(begin) = wanted.next() {
            let mut len = 1;
            while wanted.next_if_eq(&(begin + len)).is_some() {
                len += 1;
            }
            let elements = (len.saturating_mul(row) - skip).min(left);
            let (part, after) = rest.split_at_mut_checked(bytes(from, elements)).unwrap_or_default();
            self.elements.read((begin.saturating_mul(row) + skip) / block, part)?;
            (rest, left, skip) = (after, left - elements, 0);
        }
        Ok(())
    }

    /// Fills the buffer with these rows: sorts them, reads what lies together, and deals it out.
    fn deal(&mut self, wanted: &[u64]) -> Result<(), FormatError> {
        let row_bytes = bytes(self.from(), self.row);
        let (gap, room) = (GAP_BYTES / (row_bytes as u64).max(1), self.source.len() as u64);
        let mut sorted: Vec<(u64, usize)> = wanted.iter().copied().zip(0..).collect();
        sorted.sort_unstable();
        let mut rest = sorted.as_slice();
        while let Some(&(begin, _)) = rest.first() {
            let mut last = begin;
            let mut count = 0;
            for &(row, _) in rest {
                let span = (row - begin + 1).saturating_mul(row_bytes as u64);
                if row - last > gap + 1 || count > 0 && span > room {
                    break;
                }
                last = row;
                count += 1;
            }
            let (group, after) = rest.split_at(count);
            rest = after;
            let span = usize::try_from(last - begin + 1).unwrap_or(usize::MAX);
            self.together.resize(span.saturating_mul(row_bytes), 0);
            self.elements.read(begin.saturating_mul(self.row) / self.from().block_elements(), &mut self.together)?;
            for &(row, place) in group {
                let at = usize::try_from(row - begin).unwrap_or(usize::MAX).saturating_mul(row_bytes);
                let to = place.saturating_mul(row_bytes);
                let from = self.together.get(at..).and_then(|from| from.get(..row_bytes));
                let to = self.source.get_mut(to..).and_then(|to| to.get_mut(..row_bytes));
                if let (Some(from), Some(to)) = (from, to) {
                    to.copy_from_slice(from);
                }
            }
        }
        Ok(())
    }
}

/// Bytes of elements; of packed ones up to the last byte.
fn bytes(dtype: Dtype, elements: u64) -> usize {
    dtype.size_bytes(elements).and_then(|bytes| usize::try_from(bytes).ok()).unwrap_or(usize::MAX)
}

/// The greatest common divisor.
const fn greatest_divisor(mut one: u64, mut other: u64) -> u64 {
    while other > 0 {
        (one, other) = (other, one % other);
    }
    one
}
