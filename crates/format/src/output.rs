//! What is to be written, before anything is: tensors as recipes, files as lists of parts.
//!
//! Nothing here holds weights. A remap turns the tensors of a checkpoint into [`OutputTensor`]s, a writer arranges them
//! in [`OutputFile`]s whose lengths are known to the byte, and whoever has a disk streams them part by part.

use std::ops::Range;
use std::sync::Arc;

use crate::dtype::Dtype;
use crate::tensor::Tensor;

/// A tensor of a checkpoint that is to be written.
#[derive(Clone, Debug, PartialEq)]
pub struct OutputTensor {
    /// Name in the written checkpoint.
    pub name: String,
    /// Element type, or GGUF block type, in the written checkpoint.
    pub dtype: Dtype,
    /// Extents, outermost first; as many elements as the recipe gives.
    pub shape: Vec<u64>,
    /// Where the elements come from.
    pub recipe: Recipe,
}

/// How elements are made from those of a checkpoint that was read. The steps stand in the order they are taken; the
/// last one, for all, is the cast to the type of the [`OutputTensor`].
#[derive(Clone, Debug, PartialEq)]
pub struct Recipe {
    /// A tensor that was read, or one put together from the pieces of several (transposed, sliced, joined, stacked).
    pub source: Tensor,
    /// Rows of the source in the order in which they are written: row `i` along the first axis is row `rows[i]` of the
    /// source.
    pub rows: Option<Arc<[u64]>>,
    /// What is done to each number.
    pub steps: Vec<Step>,
}

/// A change of each number by itself, in `f32` (`f64` for 64-bit sources).
#[derive(Clone, Copy, Debug, PartialEq)]
#[non_exhaustive]
pub enum Step {
    /// Adds a number: Gemma's norms.
    Add(f64),
    /// Multiplies by a number: the scale of a LoRA.
    Scale(f64),
    /// `-exp(x)`: the `A_log` of Mamba.
    NegatedExp,
    /// `ln(-x)`, its inverse.
    LogOfNegated,
}

/// A file that is to be written.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct OutputFile {
    /// Path below the destination, with `/` between the parts; never absolute, never `..`.
    pub path: String,
    /// What it consists of, in order.
    pub parts: Vec<Part>,
}

/// A run of bytes of a file that is to be written.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Part {
    /// These bytes.
    Bytes(Arc<[u8]>),
    /// The elements of the tensor of this number, row-major and little-endian.
    Tensor(usize),
    /// Four bytes: the CRC-32 (IEEE, as in zip) of the parts in this range, which come before.
    Crc32(Range<usize>),
    /// Forty decimal digits that name a torch file by what it holds, see [`torch_id`]: `names` and, combined with each
    /// other, the checksums of its members.
    TorchId {
        /// Hash of the members' names.
        names: u64,
        /// Checksums of the members.
        members: Arc<[Checksum]>,
    },
}

/// A CRC-32 (IEEE, as in zip), or what it is of.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Checksum {
    /// This one.
    Known(u32),
    /// That of the parts in this range, which come before.
    Of(Range<usize>),
}

impl OutputTensor {
    /// A tensor as it is.
    #[must_use]
    pub fn same(tensor: &Tensor) -> Self {
        Self {
            name: tensor.name.clone(),
            dtype: tensor.dtype,
            shape: tensor.shape.clone(),
            recipe: Recipe { source: tensor.clone(), rows: None, steps: Vec::new() },
        }
    }

    /// Number of elements.
    #[must_use]
    pub fn elements(&self) -> u64 {
        Tensor::checked_elements(&self.shape).unwrap_or(u64::MAX)
    }

    /// Length in bytes as written; `None` when it overflows or a quantised block would not be full.
    #[must_use]
    pub fn size_bytes(&self) -> Option<u64> {
        self.dtype.size_bytes(self.elements())
    }
}

impl Part {
    /// Bytes in memory.
    #[must_use]
    pub fn bytes(bytes: impl Into<Arc<[u8]>>) -> Self {
        Self::Bytes(bytes.into())
    }

    /// Length in bytes, where `tensors` are those that the file was planned for.
    #[must_use]
    pub fn size_bytes(&self, tensors: &[OutputTensor]) -> u64 {
        match self {
            Self::Bytes(bytes) => bytes.len() as u64,
            Self::Tensor(number) => tensors.get(*number).and_then(OutputTensor::size_bytes).unwrap_or(u64::MAX),
            Self::Crc32(_) => 4,
            Self::TorchId { .. } => 40,
        }
    }
}

impl OutputFile {
    /// Length in bytes, where `tensors` are those that the file was planned for.
    #[must_use]
    pub fn size_bytes(&self, tensors: &[OutputTensor]) -> u64 {
        self.parts.iter().fold(0, |sum: u64, part| sum.saturating_add(part.size_bytes(tensors)))
    }
}

/// The digits of [`Part::TorchId`], from the hash of the names and the CRC-32 of each member.
///
/// # Source
/// PyTorch 2.15, `PyTorchStreamWriter::writeSerializationId`, found out from files that it wrote.
#[must_use]
pub fn torch_id(names: u64, members: impl IntoIterator<Item = u32>) -> String {
    let sums = members.into_iter().fold(0, |sum, member| torch_combined(sum, member.into()));
    format!("{names:020}{sums:020}")
}

/// Two hashes as one, as PyTorch combines them.
pub(crate) const fn torch_combined(seed: u64, hash: u64) -> u64 {
    seed ^ hash.wrapping_add(0x9e37_79b9).wrapping_add(seed << 6).wrapping_add(seed >> 2)
}
