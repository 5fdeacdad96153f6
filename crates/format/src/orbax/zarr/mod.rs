//! Zarr arrays, versions 2 and 3.
//!
//! A folder with a JSON file (`.zarray` or `zarr.json`) and one file for each chunk of a regular grid. Chunks at the edge
//! are stored whole and cut off. In version 3 a chunk may be a *shard*: chunks of a finer grid, and an index of their
//! offsets and lengths.

mod chunks;
mod fill;
mod v2;
mod v3;

use serde_json::{Map, Value};

pub(super) use chunks::{Budget, pieces};
pub(super) use v2::parse as parse_v2;
pub(super) use v3::parse as parse_v3;

use crate::dtype::Dtype;
use crate::error::FormatError;
use crate::tensor::{Filter, Tensor};

/// An array as its JSON describes it.
#[derive(Clone, Debug, PartialEq)]
pub(super) struct Array {
    pub dtype: Dtype,
    /// Name of a type that is shown as the bytes that hold it.
    pub odd: Option<String>,
    pub shape: Vec<u64>,
    /// Extents of a chunk.
    pub chunk: Vec<u64>,
    /// The element of chunks that are not stored.
    pub fill: Vec<u8>,
    pub keys: Keys,
    pub codec: Codec,
    /// What a chunk is made of, when it is a shard.
    pub shard: Option<Shard>,
}

/// How the key of a chunk is made of its place in the grid.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) struct Keys {
    /// What keys begin with: nothing or `c`.
    pub prefix: &'static str,
    pub separator: char,
}

/// How the elements of a chunk become bytes.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub(super) struct Codec {
    /// Axes of the array in the order of the bytes; none when that is their own.
    pub axes: Option<Vec<usize>>,
    /// From stored bytes to little-endian elements.
    pub filters: Vec<Filter>,
}

/// A grid within each chunk.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(super) struct Shard {
    /// Extents of an inner chunk.
    pub chunk: Vec<u64>,
    pub codec: Codec,
    /// The index stands at the end, or at the start.
    pub index_last: bool,
    /// A checksum follows the index.
    pub index_checksum: bool,
    /// Numbers of the index are big-endian.
    pub index_big_endian: bool,
}

impl Array {
    /// Checks what both versions promise.
    fn check(self) -> Result<Self, FormatError> {
        let mut grids = vec![&self.chunk];
        grids.extend(self.shard.as_ref().map(|shard| &shard.chunk));
        for chunk in grids {
            if chunk.len() != self.shape.len() {
                return Err(broken(format!("chunks of {} axes in an array of {}", chunk.len(), self.shape.len())));
            }
            if chunk.contains(&0) && !self.shape.contains(&0) {
                return Err(broken("a chunk has no elements".to_owned()));
            }
            let size = Tensor::checked_elements(chunk).and_then(|elements| self.dtype.size_bytes(elements));
            size.ok_or_else(|| broken("the size of a chunk overflows".to_owned()))?;
        }
        let size = Tensor::checked_elements(&self.shape).and_then(|elements| self.dtype.size_bytes(elements));
        size.ok_or_else(|| broken("the size of the array overflows".to_owned()))?;
        if let Some(shard) = &self.shard
            && self.chunk.iter().zip(&shard.chunk).any(|(outer, inner)| outer.checked_rem(*inner).unwrap_or(0) != 0)
        {
            return Err(broken("a shard is not whole chunks".to_owned()));
        }
        Ok(self)
    }
}

fn broken(detail: String) -> FormatError {
    FormatError::Broken { what: "zarr metadata", at: 0, detail }
}

fn unsupported(what: &'static str, value: &Value) -> FormatError {
    FormatError::Unsupported { what, detail: format!("`{value}`") }
}

fn object(bytes: &[u8]) -> Result<Map<String, Value>, FormatError> {
    serde_json::from_slice(bytes).map_err(|source| FormatError::Json { what: "zarr metadata", source })
}

fn extents(value: Option<&Value>, key: &str, rank_limit: u64) -> Result<Vec<u64>, FormatError> {
    let Some(Value::Array(items)) = value else { return Err(broken(format!("`{key}` is no list"))) };
    crate::Limits::at_most("rank of a tensor", items.len() as u64, rank_limit)?;
    let extent = |item: &Value| item.as_u64().ok_or_else(|| broken(format!("`{key}` has the extent `{item}`")));
    items.iter().map(extent).collect()
}

/// A permutation of axes, or none when it changes nothing.
fn axes(order: Vec<usize>, rank: usize) -> Result<Option<Vec<usize>>, FormatError> {
    let mut sorted = order.clone();
    sorted.sort_unstable();
    if !sorted.iter().copied().eq(0..rank) {
        return Err(broken(format!("`{order:?}` is no order of {rank} axes")));
    }
    Ok((!order.is_sorted()).then_some(order))
}
