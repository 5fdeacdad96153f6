//! A dataset as a tensor.

use crate::dtype::Dtype;
use crate::error::FormatError;
use crate::limits::Limits;
use crate::tensor::{Filter, Piece, Region, Stored, Tensor};

use super::chunks::{Chunk, Grid};
use super::datatype::{Datatype, Kind};
use super::header::{DATASPACE, DATATYPE, EXTERNAL_FILES, LAYOUT, Object};
use super::layout::{Layout, Pipeline};
use super::space::Space;
use super::{File, broken, is_defined};

impl File {
    /// Describes the dataset. `kind` is the element type where the dataset's own says only how many bytes it has, as Keras
    /// stores bfloat16.
    ///
    /// # Errors
    /// [`FormatError::Unsupported`] for types, filters and layouts that are not read, [`FormatError::Broken`] and its kin
    /// for structures that lie.
    pub fn dataset(&self, object: &Object, name: &str, kind: Option<Dtype>) -> Result<Tensor, FormatError> {
        let missing = |what| FormatError::Empty { what };
        let mut datatype = self.first(object, DATATYPE)?.ok_or_else(|| missing("data type of an hdf5 dataset"))?;
        let mut datatype = Datatype::read(&mut datatype, &self.limits)?;
        let mut space = self.first(object, DATASPACE)?.ok_or_else(|| missing("dataspace of an hdf5 dataset"))?;
        let space = Space::read(&mut space, &self.limits)?;
        let mut layout = self.first(object, LAYOUT)?.ok_or_else(|| missing("layout of an hdf5 dataset"))?;
        let layout = Layout::read(&mut layout, &self.limits)?;

        let element_bytes = datatype.size;
        let mut inner = Vec::new();
        while let Kind::Array { extents, base } = datatype.kind {
            inner.extend(extents);
            datatype = *base;
        }
        let told = kind.filter(|kind| kind.block_bytes() == datatype.size && datatype.dtype().is_none());
        let (dtype, swap) = told.map(|kind| (kind, None)).or_else(|| datatype.dtype()).ok_or_else(|| {
            let detail = format!("`{name}` is {}", datatype.words());
            FormatError::Unsupported { what: "hdf5 data type", detail }
        })?;
        let mut shape = space.shape.clone();
        shape.extend(&inner);
        Limits::at_most("rank of an hdf5 dataset", shape.len() as u64, self.limits.rank)?;
        let overflow = || FormatError::SizeOverflow { tensor: name.to_owned() };
        let elements = if space.is_null { 0 } else { Tensor::checked_elements(&shape).ok_or_else(overflow)? };
        if space.is_null {
            shape = vec![0];
        }
        let size = elements.checked_mul(datatype.size).ok_or_else(overflow)?;
        let element =
            Element { dtype, swap, bytes: datatype.size, whole_bytes: element_bytes, fill: self.fill(object)? };
        let mut tensor = Tensor { name: name.to_owned(), dtype, shape, pieces: Vec::new() };
        if object.has(EXTERNAL_FILES) || matches!(layout, Layout::Virtual) {
            // Its elements are in other files, which are not opened: a hole.
            return Ok(tensor);
        }
        tensor.pieces = match layout {
            Layout::Compact { at, len } | Layout::Contiguous { at, len: Some(len) } if is_defined(at) => {
                if len < size {
                    let expected = elements.saturating_mul(datatype.size * 8);
                    return Err(FormatError::ShapeMismatch { tensor: name.to_owned(), expected, actual: len });
                }
                vec![self.plain(at, size, &element)?]
            }
            Layout::Contiguous { at, len: None } if is_defined(at) => vec![self.plain(at, size, &element)?],
            Layout::Compact { .. } | Layout::Contiguous { .. } => vec![element.fill(Region::Whole)],
            Layout::Chunked { chunk, at, index, plain_edges } => {
                let (_, chunk) = chunk.split_last().ok_or_else(|| missing("chunk of an hdf5 dataset"))?;
                if chunk.len() != space.shape.len() {
                    return Err(broken("hdf5 layout", 0, format!("chunks of `{name}` have another rank than it")));
                }
                let pipeline = self.pipeline(object, element_bytes)?;
                let chunk_bytes = Tensor::checked_elements(chunk).and_then(|count| count.checked_mul(element_bytes));
                let chunk_bytes = chunk_bytes.ok_or_else(overflow)?;
                let grid = Grid { space: &space, chunk, chunk_bytes, is_filtered: !pipeline.is_empty() };
                let found = if elements == 0 { Vec::new() } else { self.chunks(&grid, index, at)? };
                self.pieces(&grid, &found, &pipeline, plain_edges, &inner, &element)?
            }
            Layout::Virtual => Vec::new(),
        };
        Ok(tensor)
    }

    fn plain(&self, at: u64, len: u64, element: &Element) -> Result<Piece, FormatError> {
        let stored = self.section.stored("hdf5 dataset", at, len)?;
        Ok(Piece { filters: element.swap.into_iter().collect(), ..Piece::plain(Region::Whole, stored) })
    }

    /// A piece for every chunk, and for every one that is not stored the fill value.
    fn pieces(
        &self,
        grid: &Grid<'_>,
        found: &[Chunk],
        pipeline: &Pipeline,
        plain_edges: bool,
        inner: &[u64],
        element: &Element,
    ) -> Result<Vec<Piece>, FormatError> {
        let shape = &grid.space.shape;
        if found.is_empty() {
            return Ok(vec![element.fill(Region::Whole)]);
        }
        let count = grid.count().unwrap_or(u64::MAX);
        Limits::at_most("number of hdf5 chunks", count, self.limits.tensors)?;
        let row_major: Vec<u64> = strides(&[grid.chunk, inner].concat());
        let mut pieces = Vec::new();
        let mut stored = found.iter().peekable();
        let mut offsets = vec![0u64; shape.len()];
        for _ in 0..count {
            let axes = offsets.iter().zip(shape).zip(grid.chunk);
            let extents: Vec<u64> = axes.map(|((at, extent), chunk)| (*chunk).min(extent - at)).collect();
            let is_edge = extents != grid.chunk;
            let whole = |parts: &[u64], rest: &[u64]| [parts, rest].concat();
            let region = Region::Box { offsets: whole(&offsets, &vec![0; inner.len()]), shape: whole(&extents, inner) };
            match stored.next_if(|chunk| chunk.offsets == offsets) {
                Some(chunk) => {
                    let mut filters = if is_edge && plain_edges { Vec::new() } else { pipeline.undo(chunk.mask) };
                    filters.extend(element.swap);
                    let bytes = self.section.stored("hdf5 chunk", chunk.address, chunk.len)?;
                    let strides = is_edge.then(|| row_major.clone());
                    let decoded_bytes = grid.chunk_bytes;
                    pieces.push(Piece { region, stored: bytes, filters, decoded_bytes, first_byte: 0, strides });
                }
                None => pieces.push(element.fill(region)),
            }
            for axis in (0..offsets.len()).rev() {
                let (Some(at), Some(chunk), Some(extent)) =
                    (offsets.get_mut(axis), grid.chunk.get(axis), shape.get(axis))
                else {
                    break;
                };
                *at += chunk;
                if *at < *extent {
                    break;
                }
                *at = 0;
            }
        }
        Ok(pieces)
    }
}

/// What one element is.
struct Element {
    dtype: Dtype,
    swap: Option<Filter>,
    bytes: u64,
    /// With the extents that an array type adds.
    whole_bytes: u64,
    fill: Option<Vec<u8>>,
}

impl Element {
    /// Elements that were never written.
    fn fill(&self, region: Region) -> Piece {
        if self.dtype == Dtype::Text {
            return Piece::plain(region, Stored::inline(&[]));
        }
        let len = usize::try_from(self.bytes).unwrap_or(0);
        // The value of an array element would be an array; nobody writes one.
        let value = self.fill.as_ref().filter(|value| value.len() == len && self.whole_bytes == self.bytes);
        let mut value = value.cloned().unwrap_or_else(|| vec![0; len]);
        if let Some(Filter::SwapBytes { width }) = self.swap {
            value.chunks_mut(width as usize).for_each(<[u8]>::reverse);
        }
        Piece { decoded_bytes: self.bytes, ..Piece::plain(region, Stored::Fill(value.into())) }
    }
}

/// Distances between neighbours in a row-major block.
fn strides(shape: &[u64]) -> Vec<u64> {
    let mut strides = vec![1u64; shape.len()];
    let mut distance = 1u64;
    for (stride, extent) in strides.iter_mut().zip(shape).rev() {
        *stride = distance;
        distance = distance.saturating_mul(*extent);
    }
    strides
}
