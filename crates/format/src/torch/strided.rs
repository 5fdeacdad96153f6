//! A tensor over a storage: offset, shape and strides checked against the bytes that are there.

use crate::dtype::Dtype;
use crate::error::FormatError;
use crate::limits::Limits;
use crate::source::Section;
use crate::tensor::{Filter, Piece, Region, Stored, Tensor};

use super::dtype;

/// Bytes of a storage.
#[derive(Clone, Debug)]
pub(super) enum Bytes {
    /// In a file.
    File(Section),
    /// In memory, because no file has them as they are.
    Memory(Vec<u8>),
}

/// What a tensor over a storage is made of. Offset and strides count elements.
#[derive(Clone, Debug)]
pub(super) struct Layout {
    pub(super) dtype: Dtype,
    pub(super) offset: u64,
    pub(super) shape: Vec<u64>,
    /// `None` is row-major.
    pub(super) strides: Option<Vec<u64>>,
    pub(super) big_endian: bool,
    pub(super) conjugate: bool,
    pub(super) negate: bool,
}

impl Bytes {
    pub(super) fn len(&self) -> u64 {
        match self {
            Self::File(section) => section.len(),
            Self::Memory(bytes) => bytes.len() as u64,
        }
    }

    fn stored(&self, begin: u64, len: u64) -> Result<Stored, FormatError> {
        match self {
            Self::File(section) => section.stored("storage", begin, len),
            Self::Memory(bytes) => {
                let part = bytes.get(begin as usize..(begin + len) as usize);
                let short = FormatError::Truncated { what: "storage", needed: len, got: bytes.len() as u64 };
                part.map(Stored::inline).ok_or(short)
            }
        }
    }

    pub(super) fn read(&self, begin: u64, len: u64) -> Result<Vec<u8>, FormatError> {
        match self {
            Self::File(section) => section.read("storage", begin, len),
            Self::Memory(bytes) => Section::of_bytes("", bytes.clone()).read("storage", begin, len),
        }
    }
}

/// Whether these strides are those of row-major elements without gaps. Axes of one element have any stride.
pub(super) fn is_row_major(shape: &[u64], strides: &[u64]) -> bool {
    let mut expected = 1u64;
    for (&extent, &stride) in shape.iter().zip(strides).rev() {
        if extent != 1 {
            if stride != expected {
                return false;
            }
            expected = expected.saturating_mul(extent);
        }
    }
    true
}

impl Layout {
    /// First and one past the last element that the tensor touches; `None` on overflow.
    fn reach(&self) -> Option<(u64, u64)> {
        let elements = Tensor::checked_elements(&self.shape)?;
        if elements == 0 {
            return Some((self.offset, self.offset));
        }
        let last = match &self.strides {
            None => elements - 1,
            Some(strides) => self.shape.iter().zip(strides).try_fold(0u64, |last, (&extent, &stride)| {
                last.checked_add(extent.saturating_sub(1).checked_mul(stride)?)
            })?,
        };
        Some((self.offset, self.offset.checked_add(last)?.checked_add(1)?))
    }

    /// The tensor, without a name yet. The stored range is exactly what the tensor touches, so that aliases are seen.
    ///
    /// # Errors
    /// [`FormatError::OutOfBounds`] when an element lies outside the storage, [`FormatError::TooLarge`] above
    /// `limits.rank`, [`FormatError::SizeOverflow`], [`FormatError::Unsupported`] for packed elements with gaps.
    pub(super) fn tensor(mut self, bytes: &Bytes, name: &str, limits: &Limits) -> Result<Tensor, FormatError> {
        Limits::at_most("rank of a tensor", self.shape.len() as u64, limits.rank)?;
        if let Some(strides) = &self.strides {
            if strides.len() != self.shape.len() {
                return Err(FormatError::LengthMismatch {
                    what: "number of strides",
                    expected: self.shape.len() as u64,
                    actual: strides.len() as u64,
                });
            }
            if is_row_major(&self.shape, strides) {
                self.strides = None;
            }
        }
        let overflow = || FormatError::SizeOverflow { tensor: name.to_owned() };
        if self.dtype == Dtype::F4 {
            self.pairs(name)?;
        }
        let (first, end) = self.reach().ok_or_else(overflow)?;
        let packed = self.dtype.block_elements() > 1;
        if packed && (self.strides.is_some() || !first.is_multiple_of(self.dtype.block_elements())) {
            let detail = format!("tensor `{name}` has `{}` elements with gaps", self.dtype);
            return Err(FormatError::Unsupported { what: "layout of packed elements", detail });
        }
        let begin = self.dtype.size_bytes(first).ok_or_else(overflow)?;
        let len = self.dtype.size_bytes(end - first).ok_or_else(overflow)?;
        let last = begin.checked_add(len).ok_or_else(overflow)?;
        if self.shape.contains(&0) {
            return Ok(Tensor { name: name.to_owned(), dtype: self.dtype, shape: self.shape, pieces: Vec::new() });
        }
        if last > bytes.len() {
            return Err(FormatError::OutOfBounds { tensor: name.to_owned(), begin, end: last, len: bytes.len() });
        }
        let piece = Piece {
            region: Region::Whole,
            stored: bytes.stored(begin, len)?,
            filters: self.filters(),
            decoded_bytes: len,
            first_byte: 0,
            strides: self.strides,
        };
        Ok(Tensor { name: name.to_owned(), dtype: self.dtype, shape: self.shape, pieces: vec![piece] })
    }

    pub(super) fn filters(&self) -> Vec<Filter> {
        let width = dtype::number_bytes(self.dtype);
        let mut filters = Vec::new();
        if self.big_endian && width > 1 {
            filters.push(Filter::SwapBytes { width });
        }
        if self.conjugate {
            filters.push(Filter::Conjugate { width });
        }
        if self.negate {
            filters.push(Filter::Negate { width });
        }
        filters
    }

    /// torch counts pairs of 4-bit floats; we count the floats, as safetensors does.
    fn pairs(&mut self, name: &str) -> Result<(), FormatError> {
        let overflow = || FormatError::SizeOverflow { tensor: name.to_owned() };
        self.offset = self.offset.checked_mul(2).ok_or_else(overflow)?;
        match self.shape.last_mut() {
            Some(last) => *last = last.checked_mul(2).ok_or_else(overflow)?,
            None => self.shape.push(2),
        }
        Ok(())
    }
}
