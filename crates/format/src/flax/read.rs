//! A Flax checkpoint to [`Contents`].

use std::collections::BTreeMap;

use serde_json::Value;

use super::tree::{Entry, keep, name, sort_out};
use super::{Leaf, walk};
use crate::contents::{Contents, WarningKind};
use crate::dtype::Dtype;
use crate::error::FormatError;
use crate::identity::Format;
use crate::limits::Limits;
use crate::source::Section;
use crate::tensor::{Piece, Region, Stored, Tensor};

/// Marks a map as one array in chunks.
const CHUNKED: &str = "__msgpack_chunked_array__";

/// Reads a Flax checkpoint: names, shapes, and where the bytes lie.
///
/// # Errors
/// [`FormatError::Truncated`], [`FormatError::TrailingBytes`], [`FormatError::TooLarge`],
/// [`FormatError::DuplicateKey`], [`FormatError::Unsupported`] for dtypes that are not known, and
/// [`FormatError::Broken`] for what Flax does not write.
pub fn read(section: &Section, limits: &Limits) -> Result<Contents, FormatError> {
    let mut contents = Contents::of(Format::Flax);
    let mut leaves = Leaves::default();
    let mut name_bytes = 0u64;
    walk(section, limits, |path, leaf| {
        // Short leaves below long paths would be kept many times over.
        name_bytes = name_bytes.saturating_add(path.iter().map(|part| part.len() as u64 + 32).sum());
        Limits::at_most("length of all names in bytes", name_bytes, limits.header_bytes)?;
        leaves.add(path, leaf, limits)
    })?;
    for (path, odd) in &leaves.odd {
        contents.warn(
            WarningKind::Other,
            &**section.file(),
            format!("tensor `{path}` has the type `{odd}`; it is shown as the bytes that hold it"),
        );
    }
    let entries = leaves.join()?;
    contents.metadata = leaves.scalars.into_iter().collect();
    let count = |tensor: &Tensor| {
        let (_, at) = tensor.place()?;
        let offset = at.checked_sub(section.begin())?;
        let bytes = section.read("flax step", offset, tensor.size_bytes()).ok()?;
        number(tensor.dtype, &bytes)
    };
    sort_out(entries, &mut contents, count)?;
    Ok(contents)
}

/// An unsigned number out of an integer element.
pub(crate) fn number(dtype: Dtype, bytes: &[u8]) -> Option<u64> {
    match dtype {
        Dtype::I32 => u64::try_from(i32::from_le_bytes(bytes.try_into().ok()?)).ok(),
        Dtype::I64 => u64::try_from(i64::from_le_bytes(bytes.try_into().ok()?)).ok(),
        Dtype::U32 => Some(u32::from_le_bytes(bytes.try_into().ok()?).into()),
        Dtype::U64 => Some(u64::from_le_bytes(bytes.try_into().ok()?)),
        _ => None,
    }
}

/// Leaves as they come, sorted by what they are.
#[derive(Default)]
struct Leaves {
    arrays: Vec<Entry>,
    scalars: BTreeMap<String, Value>,
    /// Types that are shown as bytes.
    odd: Vec<(String, String)>,
    /// Arrays in chunks, by their path.
    chunked: BTreeMap<Vec<String>, Chunked>,
}

/// An array in chunks.
#[derive(Default)]
struct Chunked {
    shape: BTreeMap<u64, u64>,
    chunks: BTreeMap<u64, (Dtype, u64, Stored)>,
}

impl Leaves {
    fn add(&mut self, path: &[String], leaf: Leaf, limits: &Limits) -> Result<(), FormatError> {
        // The marker comes first in its map; what follows below it is not of the tree.
        if let Some((CHUNKED, outer)) = path.split_last().map(|(last, outer)| (last.as_str(), outer)) {
            self.chunked.entry(outer.to_vec()).or_default();
            return Ok(());
        }
        if let [outer @ .., kind, index] = path
            && let Some(chunked) = self.chunked.get_mut(outer)
        {
            let Ok(index) = index.parse::<u64>() else { return Err(odd(outer)) };
            let repeated = match (kind.as_str(), leaf) {
                ("shape", Leaf::Scalar(extent)) if extent.is_u64() => {
                    chunked.shape.insert(index, extent.as_u64().unwrap_or_default()).is_some()
                }
                ("chunks", Leaf::Array { dtype, shape, stored, odd: None }) => match shape.as_slice() {
                    [len] => chunked.chunks.insert(index, (dtype, *len, stored)).is_some(),
                    _ => return Err(odd(outer)),
                },
                _ => return Err(odd(outer)),
            };
            return if repeated { Err(FormatError::DuplicateKey { key: name(path) }) } else { Ok(()) };
        }
        match leaf {
            Leaf::Scalar(value) => {
                Limits::at_most("number of metadata entries", self.scalars.len() as u64 + 1, limits.metadata_entries)?;
                keep(&mut self.scalars, path, value)
            }
            Leaf::Array { dtype, shape, stored, odd } => {
                Limits::at_most("number of tensors", self.arrays.len() as u64 + 1, limits.tensors)?;
                let tensor = Tensor::plain(name(path), dtype, shape, stored);
                self.odd.extend(odd.map(|odd| (tensor.name.clone(), odd)));
                self.arrays.push(Entry { path: path.to_vec(), tensor });
                Ok(())
            }
        }
    }

    /// All arrays, those in chunks joined.
    fn join(&mut self) -> Result<Vec<Entry>, FormatError> {
        let mut entries = std::mem::take(&mut self.arrays);
        for (path, chunked) in std::mem::take(&mut self.chunked) {
            let tensor = chunked.join(&path)?;
            entries.push(Entry { path, tensor });
        }
        Ok(entries)
    }
}

impl Chunked {
    fn join(self, path: &[String]) -> Result<Tensor, FormatError> {
        let in_order = |keys: Vec<u64>| keys.iter().enumerate().all(|(at, &key)| at as u64 == key);
        if !in_order(self.shape.keys().copied().collect()) || !in_order(self.chunks.keys().copied().collect()) {
            return Err(odd(path));
        }
        let shape: Vec<u64> = self.shape.into_values().collect();
        let Some(&(dtype, ..)) = self.chunks.values().next() else { return Err(odd(path)) };
        let mut pieces = Vec::new();
        let mut first = 0u64;
        for (chunk_dtype, len, stored) in self.chunks.into_values() {
            if chunk_dtype != dtype {
                return Err(odd(path));
            }
            pieces.push(Piece::plain(Region::Run { first, len }, stored));
            first = first.checked_add(len).ok_or_else(|| odd(path))?;
        }
        if Tensor::checked_elements(&shape) != Some(first) {
            return Err(odd(path));
        }
        Ok(Tensor { name: name(path), dtype, shape, pieces })
    }
}

fn odd(path: &[String]) -> FormatError {
    let detail = format!("`{}` is not shape and chunks of one array", name(path));
    FormatError::Broken { what: "array in chunks", at: 0, detail }
}
