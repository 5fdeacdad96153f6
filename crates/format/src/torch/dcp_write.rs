//! Distributed checkpoints, planned: `.metadata` and one file for each rank.
//!
//! A large tensor is cut along its first axis as FSDP cuts it, and rank `r` has the `r`th part; a small one is whole in the
//! file that has the fewest bytes. What is no tensor is in the file of rank 0. Every item is a complete torch file. Two
//! names of one tensor point to the same bytes.
//!
//! Source: PyTorch 2.15, `torch/distributed/checkpoint/{filesystem,metadata,_nested_dict}.py`, and folders that it wrote.

use std::collections::HashMap;

use crate::arrange;
use crate::error::FormatError;
use crate::limits::Limits;
use crate::output::{OutputFile, OutputTensor, Part};
use crate::pickle::emit::{Fill, Pickler};

use super::flatten::{Step, leaves};
use super::state::State;
use super::write::{archive, dtype_global, refused, shape, size_bytes};

/// Tensors below this stay whole, in bytes.
const CUT_BYTES: u64 = 256 << 10;
/// Most ranks.
const RANKS: u64 = 1 << 16;
/// Classes of the metadata.
const METADATA: &str = "torch.distributed.checkpoint.metadata\nMetadata\n";
const TENSOR: &str = "torch.distributed.checkpoint.metadata\nTensorStorageMetadata\n";
const PROPERTIES: &str = "torch.distributed.checkpoint.metadata\nTensorProperties\n";
const MEMORY_FORMAT: &str = "torch.distributed.checkpoint.metadata\n_MEM_FORMAT_ENCODING\n";
const CHUNK: &str = "torch.distributed.checkpoint.metadata\nChunkStorageMetadata\n";
const BYTES: &str = "torch.distributed.checkpoint.metadata\nBytesStorageMetadata\n";
const INDEX: &str = "torch.distributed.checkpoint.metadata\nMetadataIndex\n";
const INFO: &str = "torch.distributed.checkpoint.filesystem\n_StorageInfo\n";

/// Plans a folder for so many ranks.
///
/// Answers the tensors that the files are of, and the files: first `tensors`, unchanged, then the parts of those that
/// were cut.
///
/// # Errors
/// As [`super::write::plan`]; [`FormatError::Rule`] when `state` is no dictionary or there are no ranks;
/// [`FormatError::DuplicateKey`] when two values get one name.
pub fn plan(
    state: &State,
    tensors: &[OutputTensor],
    ranks: u32,
) -> Result<(Vec<OutputTensor>, Vec<OutputFile>), FormatError> {
    cut_above(state, tensors, ranks, CUT_BYTES)
}

/// As [`plan`], where tensors of fewer bytes than `cut_bytes` stay whole.
pub(crate) fn cut_above(
    state: &State,
    tensors: &[OutputTensor],
    ranks: u32,
    cut_bytes: u64,
) -> Result<(Vec<OutputTensor>, Vec<OutputFile>), FormatError> {
    if ranks == 0 {
        return Err(FormatError::Rule { what: "distributed checkpoint", rule: "it has a rank" });
    }
    Limits::at_most("number of ranks", ranks.into(), RANKS)?;
    let mut folder = Folder { tensors: tensors.to_vec(), ranks: Vec::new(), placed: HashMap::new() };
    folder.ranks.resize_with(ranks as usize, Rank::default);
    let mut items = Vec::new();
    for leaf in leaves(state)? {
        let chunks = match leaf.value {
            State::Tensor(number) => folder.tensor(*number, cut_bytes)?,
            value => vec![Chunk { offsets: None, sizes: Vec::new(), place: folder.put(0, value)? }],
        };
        items.push(Item { name: leaf.name, path: leaf.path, tensor: tensor_of(leaf.value, tensors), chunks });
    }
    let mut files = Vec::new();
    for (rank, Rank { parts, len }) in folder.ranks.into_iter().enumerate() {
        if len > 0 {
            files.push(OutputFile { path: file_name(rank), parts });
        }
    }
    files.push(OutputFile { path: ".metadata".to_owned(), parts: vec![Part::bytes(metadata(&items)?)] });
    Ok((folder.tensors, files))
}

fn file_name(rank: usize) -> String {
    format!("__{rank}_0.distcp")
}

fn tensor_of<'a>(value: &State, tensors: &'a [OutputTensor]) -> Option<&'a OutputTensor> {
    match value {
        State::Tensor(number) => tensors.get(*number),
        _ => None,
    }
}

/// A named value, and where it lies.
struct Item<'a> {
    name: String,
    path: Vec<Step>,
    tensor: Option<&'a OutputTensor>,
    chunks: Vec<Chunk>,
}

/// A part of a tensor, or something else as a whole.
#[derive(Clone)]
struct Chunk {
    /// First index along each axis; `None` for what is no tensor.
    offsets: Option<Vec<u64>>,
    sizes: Vec<u64>,
    place: Place,
}

/// Bytes of a file.
#[derive(Clone)]
struct Place {
    rank: usize,
    offset: u64,
    len: u64,
}

/// The file of a rank, so far.
#[derive(Default)]
struct Rank {
    parts: Vec<Part>,
    len: u64,
}

struct Folder {
    tensors: Vec<OutputTensor>,
    ranks: Vec<Rank>,
    /// Chunks of the tensors that were placed, by number.
    placed: HashMap<usize, Vec<Chunk>>,
}

impl Folder {
    /// Puts a value as a torch file at the end of a rank's file.
    fn put(&mut self, rank: usize, value: &State) -> Result<Place, FormatError> {
        let overflow = || FormatError::SizeOverflow { tensor: String::new() };
        let file = self.ranks.get_mut(rank).ok_or_else(overflow)?;
        let (parts, len) = archive("archive", value, &self.tensors, file.parts.len())?;
        let offset = file.len;
        file.len = offset.checked_add(len).ok_or_else(overflow)?;
        file.parts.extend(parts);
        Ok(Place { rank, offset, len })
    }

    /// Places a tensor, cut or whole; one that is placed stays where it is.
    fn tensor(&mut self, number: usize, cut_bytes: u64) -> Result<Vec<Chunk>, FormatError> {
        if let Some(chunks) = self.placed.get(&number) {
            return Ok(chunks.clone());
        }
        let none = || FormatError::NoFile { path: format!("tensor {number}") };
        let tensor = self.tensors.get(number).ok_or_else(none)?.clone();
        let size = size_bytes(&tensor)?;
        let rows = if size >= cut_bytes.max(1) { tensor.shape.first().copied().unwrap_or(1) } else { 1 };
        let step = rows.div_ceil(self.ranks.len() as u64).max(1);
        let parts = if step < rows { cut(&tensor, rows, step) } else { None };
        let mut chunks = Vec::new();
        let shape = shape(&tensor)?;
        match parts {
            Some(parts) => {
                for ((part, rank), begin) in parts.into_iter().zip(0..).zip((0..rows).step_by(clamped(step))) {
                    let (mut offsets, sizes) = (vec![0; shape.len()], part.shape.clone());
                    offsets.splice(..1, [begin]);
                    let value = State::Tensor(self.tensors.len());
                    self.tensors.push(part);
                    chunks.push(Chunk { offsets: Some(offsets), sizes, place: self.put(rank, &value)? });
                }
            }
            None => {
                let rank = self.ranks.iter().enumerate().min_by_key(|(_, rank)| rank.len).map_or(0, |(rank, _)| rank);
                let place = self.put(rank, &State::Tensor(number))?;
                chunks.push(Chunk { offsets: Some(vec![0; shape.len()]), sizes: shape, place });
            }
        }
        self.placed.insert(number, chunks.clone());
        Ok(chunks)
    }
}

fn clamped(step: u64) -> usize {
    usize::try_from(step).unwrap_or(usize::MAX)
}

/// The tensor in parts of `step` rows; `None` when it cannot be cut, which is no reason to refuse it.
fn cut(tensor: &OutputTensor, rows: u64, step: u64) -> Option<Vec<OutputTensor>> {
    if tensor.dtype.block_elements() > 1 {
        return None;
    }
    let one = |begin: u64| {
        let end = (begin + step).min(rows);
        let mut part = tensor.clone();
        part.name = format!("{}[{begin}..{end}]", tensor.name);
        part.shape.splice(..1, [end - begin]);
        match &tensor.recipe.rows {
            // The order of rows is cut, and the source stays.
            Some(order) if order.len() as u64 == rows => {
                part.recipe.rows = Some(order.get(usize::try_from(begin).ok()?..usize::try_from(end).ok()?)?.into());
            }
            Some(_) => return None,
            None => {
                let name = &tensor.recipe.source.name;
                let shaped = arrange::reshape(&tensor.recipe.source, &tensor.shape, name).ok()?;
                part.recipe.source = arrange::slice(&shaped, 0, begin..end, name).ok()?;
            }
        }
        Some(part)
    };
    (0..rows).step_by(clamped(step)).map(one).collect()
}

/// The pickle that describes everything.
///
/// Properties of tensors have five parts: a sixth, the strides, came with later versions of PyTorch, which do without;
/// older ones do not take it.
fn metadata(items: &[Item<'_>]) -> Result<Vec<u8>, FormatError> {
    let mut pickler = Pickler::new();
    object(&mut pickler, METADATA);
    pickler.op(b'}');
    pickler.remember();
    pickler.op(b'(');
    pickler.text("state_dict_metadata")?;
    dictionary(&mut pickler, items, |pickler, item| {
        pickler.text(&item.name)?;
        description(pickler, item)
    })?;
    pickler.text("planner_data")?;
    dictionary(&mut pickler, items, |pickler, item| {
        pickler.text(&item.name)?;
        pickler.begin_tuple(item.path.len());
        for step in &item.path {
            match step {
                Step::Key(text) => drop(pickler.text(text)?),
                Step::Place(place) => pickler.int((*place).into()),
            }
        }
        pickler.end_tuple(item.path.len());
        Ok(())
    })?;
    pickler.text("storage_data")?;
    let places: Vec<(&str, usize, &Chunk)> = items
        .iter()
        .flat_map(|item| item.chunks.iter().enumerate().map(|(number, chunk)| (item.name.as_str(), number, chunk)))
        .collect();
    dictionary(&mut pickler, &places, |pickler, (name, number, chunk)| storage(pickler, name, *number, chunk))?;
    pickler.text("storage_meta")?;
    pickler.none();
    pickler.text("version")?;
    pickler.text("1.0.0")?;
    pickler.op(b'u');
    pickler.op(b'b');
    Ok(pickler.finish())
}

/// An object of a class, without attributes yet.
fn object(pickler: &mut Pickler, class: &'static str) {
    pickler.global(class);
    pickler.op(b')');
    pickler.op(0x81);
    pickler.remember();
}

/// An object with attributes.
fn with_attributes(
    pickler: &mut Pickler,
    class: &'static str,
    attributes: impl FnOnce(&mut Pickler) -> Result<(), FormatError>,
) -> Result<(), FormatError> {
    object(pickler, class);
    pickler.op(b'}');
    pickler.remember();
    pickler.op(b'(');
    attributes(pickler)?;
    pickler.op(b'u');
    pickler.op(b'b');
    Ok(())
}

fn dictionary<T>(
    pickler: &mut Pickler,
    entries: &[T],
    entry: impl Fn(&mut Pickler, &T) -> Result<(), FormatError>,
) -> Result<(), FormatError> {
    pickler.op(b'}');
    pickler.remember();
    for (at, one) in entries.iter().enumerate() {
        pickler.before(Fill::Entries, at, entries.len());
        entry(pickler, one)?;
        pickler.after(Fill::Entries, at, entries.len());
    }
    Ok(())
}

/// `torch.Size` of some extents.
fn size(pickler: &mut Pickler, extents: &[u64]) {
    pickler.global("torch\nSize\n");
    pickler.numbers(extents);
    pickler.end_tuple(1);
    pickler.op(b'R');
    pickler.remember();
}

fn description(pickler: &mut Pickler, item: &Item<'_>) -> Result<(), FormatError> {
    let Some(tensor) = item.tensor else {
        object(pickler, BYTES);
        return Ok(());
    };
    let dtype = dtype_global(tensor.dtype).ok_or_else(|| refused(tensor))?;
    let shape = shape(tensor)?;
    with_attributes(pickler, TENSOR, |pickler| {
        pickler.text("properties")?;
        object(pickler, PROPERTIES);
        pickler.op(b'(');
        pickler.global(dtype);
        pickler.global("torch.serialization\n_get_layout\n");
        pickler.text("torch.strided")?;
        pickler.end_tuple(1);
        pickler.op(b'R');
        pickler.remember();
        pickler.bool(false);
        pickler.global(MEMORY_FORMAT);
        pickler.numbers(&[0]);
        pickler.op(b'R');
        pickler.remember();
        pickler.bool(false);
        pickler.end_tuple(5);
        pickler.op(b'b');
        pickler.text("size")?;
        size(pickler, &shape);
        pickler.text("chunks")?;
        pickler.op(b']');
        pickler.remember();
        for (at, chunk) in item.chunks.iter().enumerate() {
            pickler.before(Fill::Items, at, item.chunks.len());
            with_attributes(pickler, CHUNK, |pickler| {
                pickler.text("offsets")?;
                size(pickler, chunk.offsets.as_deref().unwrap_or_default());
                pickler.text("sizes")?;
                size(pickler, &chunk.sizes);
                Ok(())
            })?;
            pickler.after(Fill::Items, at, item.chunks.len());
        }
        Ok(())
    })
}

/// Where a chunk lies.
fn storage(pickler: &mut Pickler, name: &str, number: usize, chunk: &Chunk) -> Result<(), FormatError> {
    with_attributes(pickler, INDEX, |pickler| {
        pickler.text("fqn")?;
        pickler.text(name)?;
        pickler.text("index")?;
        match &chunk.offsets {
            None => pickler.none(),
            Some(offsets) => {
                pickler.int(number as i128);
                pickler.text("offset")?;
                size(pickler, offsets);
            }
        }
        Ok(())
    })?;
    with_attributes(pickler, INFO, |pickler| {
        pickler.text("relative_path")?;
        pickler.text(&file_name(chunk.place.rank))?;
        pickler.text("offset")?;
        pickler.int(chunk.place.offset.into());
        pickler.text("length")?;
        pickler.int(chunk.place.len.into());
        Ok(())
    })
}

#[cfg(test)]
mod tests;
