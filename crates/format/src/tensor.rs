//! One model of a tensor for all formats: what it is, and where its elements lie.
//!
//! A reader describes; it never loads. A tensor is cut into [`Piece`]s, most often one: a region of the tensor, the
//! stored bytes, the filters that decode them, and how the elements of the region lie in the decoded bytes.
//! [`crate::data`] turns that into row-major little-endian elements.

use std::sync::Arc;

use crate::dtype::Dtype;

/// A tensor of a checkpoint.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Tensor {
    /// Name, unique in its checkpoint part.
    pub name: String,
    /// Element type, or block type of quantised elements.
    pub dtype: Dtype,
    /// Extents in elements, outermost first; `[]` is a scalar.
    pub shape: Vec<u64>,
    /// Where the elements lie. Regions do not overlap; elements in no region are absent (a hole, reported by
    /// [`Tensor::is_complete`]).
    pub pieces: Vec<Piece>,
}

/// A region of a tensor, and where its elements are.
#[derive(Clone, Debug, PartialEq, Eq, Hash)]
pub struct Piece {
    /// The elements of the tensor that this piece gives.
    pub region: Region,
    /// The bytes as they are stored.
    pub stored: Stored,
    /// Filters from stored bytes to decoded bytes, first applied first. Empty for plain bytes.
    pub filters: Vec<Filter>,
    /// Length of the decoded bytes that this piece may use, counted from their start; with no filters the length of
    /// the stored bytes.
    pub decoded_bytes: u64,
    /// Offset of the region's first element in the decoded bytes.
    pub first_byte: u64,
    /// Distance in elements between neighbours along each axis of the region; `None` is row-major without gaps.
    pub strides: Option<Vec<u64>>,
}

/// A part of a tensor's index space.
#[derive(Clone, Debug, PartialEq, Eq, Hash)]
pub enum Region {
    /// All of it.
    Whole,
    /// A box: `shape` elements from `offsets` on, along each axis.
    Box {
        /// First index along each axis.
        offsets: Vec<u64>,
        /// Extents.
        shape: Vec<u64>,
    },
    /// Elements `first..first + len` of the tensor in row-major order.
    Run {
        /// First element.
        first: u64,
        /// Number of elements.
        len: u64,
    },
}

/// Where stored bytes are.
#[derive(Clone, Debug, PartialEq, Eq, Hash)]
pub enum Stored {
    /// Bytes `begin..end` of a file.
    File {
        /// Path below the checkpoint's folder.
        file: Arc<str>,
        /// First byte.
        begin: u64,
        /// One past the last byte.
        end: u64,
    },
    /// A few bytes that are not to be found in any file as they are, such as numbers spelled in text.
    Inline(Arc<[u8]>),
    /// The same element everywhere; its little-endian bytes.
    Fill(Arc<[u8]>),
}

/// One step from stored bytes to elements.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
#[non_exhaustive]
pub enum Filter {
    /// Raw deflate stream (RFC 1951), as in zip members.
    Deflate,
    /// Zlib stream (RFC 1950), as in HDF5 and zarr.
    Zlib,
    /// Gzip stream (RFC 1952).
    Gzip,
    /// Zstandard frame (RFC 8878).
    Zstd,
    /// Raw snappy block.
    Snappy,
    /// LZ4 block after a u32 little-endian decoded length, as numcodecs writes it.
    Lz4,
    /// Blosc 1 chunk, the default compressor of zarr 2.
    Blosc,
    /// Byte planes of elements `width` bytes wide are put together again (HDF5 shuffle).
    Unshuffle {
        /// Bytes of one element.
        width: u32,
    },
    /// The last four bytes are a checksum, and dropped.
    DropChecksum,
    /// Big-endian numbers `width` bytes wide become little-endian.
    SwapBytes {
        /// Bytes of one number.
        width: u32,
    },
    /// The low `to` bytes of each little-endian number `from` bytes wide are kept.
    Narrow {
        /// Bytes of a stored number.
        from: u32,
        /// Bytes of a number that are kept.
        to: u32,
    },
    /// UTF-8 text of characters up to U+00FF becomes one byte each: how pickle protocol 2 carries bytes.
    Latin1,
    /// Base-128 varints (protocol buffers, packed) become little-endian numbers `width` bytes wide.
    Varint {
        /// Bytes of one decoded number.
        width: u32,
    },
    /// Real and imaginary parts follow each other, `width` bytes each; the imaginary part changes its sign.
    Conjugate {
        /// Bytes of one part.
        width: u32,
    },
    /// Floating-point numbers `width` bytes wide change their sign.
    Negate {
        /// Bytes of one number.
        width: u32,
    },
}

impl Tensor {
    /// A tensor that lies row-major and little-endian in one run of bytes.
    #[must_use]
    pub fn plain(name: impl Into<String>, dtype: Dtype, shape: Vec<u64>, stored: Stored) -> Self {
        Self { name: name.into(), dtype, shape, pieces: vec![Piece::plain(Region::Whole, stored)] }
    }

    /// A tensor of big-endian numbers `width` bytes wide, row-major in one run of bytes.
    ///
    /// A large one in a file is cut in runs, so that a part of it is read without swapping the rest.
    #[must_use]
    pub fn big_endian(name: impl Into<String>, dtype: Dtype, shape: Vec<u64>, stored: Stored, width: u32) -> Self {
        const RUN: u64 = 1 << 22;
        let mut tensor = Self::plain(name, dtype, shape, stored);
        let (elements, bytes) = (tensor.elements(), dtype.block_bytes());
        if let [Piece { stored: Stored::File { file, begin, end }, .. }] = tensor.pieces.as_slice()
            && elements > RUN
            && elements.checked_mul(bytes) == end.checked_sub(*begin)
        {
            let mut pieces = Vec::new();
            let mut first = 0;
            while first < elements {
                let len = RUN.min(elements - first);
                let from = begin + first * bytes;
                let stored = Stored::File { file: Arc::clone(file), begin: from, end: from + len * bytes };
                pieces.push(Piece::plain(Region::Run { first, len }, stored));
                first += len;
            }
            tensor.pieces = pieces;
        }
        for piece in &mut tensor.pieces {
            piece.filters.push(Filter::SwapBytes { width });
        }
        tensor
    }

    /// Number of elements; `None` when it overflows, which readers refuse.
    #[must_use]
    pub fn checked_elements(shape: &[u64]) -> Option<u64> {
        // An empty axis makes the product zero whatever the others claim.
        if shape.contains(&0) {
            return Some(0);
        }
        shape.iter().try_fold(1u64, |product, &extent| product.checked_mul(extent))
    }

    /// Distances in elements between neighbours along each axis, row-major; `None` on overflow.
    #[must_use]
    pub fn row_major(shape: &[u64]) -> Option<Vec<u64>> {
        let mut strides = vec![1; shape.len()];
        let mut product = 1u64;
        for (stride, extent) in strides.iter_mut().zip(shape).rev() {
            *stride = product;
            product = product.checked_mul((*extent).max(1))?;
        }
        Some(strides)
    }

    /// Number of elements.
    #[must_use]
    pub fn elements(&self) -> u64 {
        Self::checked_elements(&self.shape).unwrap_or(u64::MAX)
    }

    /// Length in bytes of the elements, row-major and without gaps; text has none.
    #[must_use]
    pub fn size_bytes(&self) -> u64 {
        self.dtype.size_bytes(self.elements()).unwrap_or(u64::MAX)
    }

    /// First file that holds bytes of the tensor, and the offset in it.
    #[must_use]
    pub fn place(&self) -> Option<(&Arc<str>, u64)> {
        self.pieces.iter().find_map(|piece| match &piece.stored {
            Stored::File { file, begin, .. } => {
                // A filter hides where in the stored bytes an element lies.
                Some((file, if piece.filters.is_empty() { begin.saturating_add(piece.first_byte) } else { *begin }))
            }
            _ => None,
        })
    }

    /// Whether the pieces give every element. Regions that overlap count twice: readers refuse them.
    #[must_use]
    pub fn is_complete(&self) -> bool {
        let covered = self.pieces.iter().try_fold(0u64, |sum, piece| sum.checked_add(piece.elements(&self.shape)?));
        covered == Some(self.elements())
    }
}

impl Piece {
    /// A piece whose stored bytes are its elements, row-major and little-endian.
    #[must_use]
    pub fn plain(region: Region, stored: Stored) -> Self {
        let decoded_bytes = stored.size_bytes();
        Self { region, stored, filters: Vec::new(), decoded_bytes, first_byte: 0, strides: None }
    }

    /// Number of elements, in a tensor of this shape; `None` on overflow.
    #[must_use]
    pub fn elements(&self, shape: &[u64]) -> Option<u64> {
        match &self.region {
            Region::Whole => Tensor::checked_elements(shape),
            Region::Box { shape, .. } => Tensor::checked_elements(shape),
            Region::Run { len, .. } => Some(*len),
        }
    }
}

impl Stored {
    /// Bytes that are stored.
    #[must_use]
    pub fn size_bytes(&self) -> u64 {
        match self {
            Self::File { begin, end, .. } => end.saturating_sub(*begin),
            Self::Inline(bytes) | Self::Fill(bytes) => bytes.len() as u64,
        }
    }

    /// Bytes in memory.
    #[must_use]
    pub fn inline(bytes: &[u8]) -> Self {
        Self::Inline(Arc::from(bytes))
    }
}

#[cfg(test)]
mod tests {
    use super::{Region, Stored, Tensor};
    use crate::dtype::Dtype;

    #[test]
    fn large_big_endian_tensors_are_cut_in_runs_that_give_all_of_them() {
        let stored = |elements: u64| Stored::File { file: "w".into(), begin: 64, end: 64 + 2 * elements };
        let small = Tensor::big_endian("w", Dtype::F16, vec![5], stored(5), 2);
        assert_eq!(small.pieces.len(), 1);
        let shape = vec![3, (1 << 22) - 1];
        let large = Tensor::big_endian("w", Dtype::F16, shape, stored(3 * ((1 << 22) - 1)), 2);
        assert!(large.is_complete());
        assert_eq!(large.pieces.len(), 3);
        assert_eq!(large.pieces[2].region, Region::Run { first: 2 << 22, len: (1 << 22) - 3 });
        assert_eq!(
            large.pieces[2].stored,
            Stored::File { file: "w".into(), begin: 64 + (4 << 22), end: 64 + 6 * ((1 << 22) - 1) }
        );
    }
}
