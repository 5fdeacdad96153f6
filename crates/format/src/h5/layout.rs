//! How a dataset's bytes lie, and which filters they went through.

use crate::error::FormatError;
use crate::limits::Limits;
use crate::tensor::Filter;

use super::File;
use super::broken;
use super::bytes::Bytes;
use super::header::{FILTERS, Object};

/// How the bytes lie.
#[derive(Debug)]
pub(super) enum Layout {
    /// In the header itself: address and length.
    Compact { at: u64, len: u64 },
    /// In one run.
    Contiguous { at: u64, len: Option<u64> },
    /// In chunks.
    Chunked { chunk: Vec<u64>, at: u64, index: Index, plain_edges: bool },
    /// In other datasets.
    Virtual,
}

/// How chunks are found.
#[derive(Clone, Copy, Debug)]
pub(super) enum Index {
    BtreeV1,
    /// One chunk; with filters, its length and the mask of skipped filters.
    Single(Option<(u64, u32)>),
    Implicit,
    Fixed,
    Extensible,
    BtreeV2,
}

impl Layout {
    pub(super) fn read(bytes: &mut Bytes, limits: &Limits) -> Result<Self, FormatError> {
        let version = bytes.version(&[1, 2, 3, 4, 5])?;
        if version < 3 {
            return Self::read_old(bytes, limits);
        }
        let at = bytes.place();
        Ok(match bytes.u8()? {
            0 => {
                let len = u64::from(bytes.u16()?);
                let at = bytes.place();
                bytes.take_long(len)?;
                Self::Compact { at, len }
            }
            1 => Self::Contiguous { at: bytes.offset()?, len: Some(bytes.length()?) },
            2 if version == 3 => {
                let rank = rank(bytes, limits)?;
                let at = bytes.offset()?;
                let chunk = extents(bytes, rank, 4)?;
                Self::Chunked { chunk, at, index: Index::BtreeV1, plain_edges: false }
            }
            2 => {
                let flags = bytes.u8()?;
                let rank = rank(bytes, limits)?;
                let width = usize::from(bytes.u8()?);
                let chunk = extents(bytes, rank, width)?;
                let kind = bytes.u8()?;
                let index = match kind {
                    1 if flags & 2 != 0 => Index::Single(Some((bytes.length()?, bytes.u32()?))),
                    1 => Index::Single(None),
                    2 => Index::Implicit,
                    3 => {
                        bytes.skip(1)?;
                        Index::Fixed
                    }
                    4 => {
                        bytes.skip(5)?;
                        Index::Extensible
                    }
                    5 => {
                        bytes.skip(6)?;
                        Index::BtreeV2
                    }
                    kind => return Err(broken("hdf5 layout", at, format!("chunk index `{kind}` does not exist"))),
                };
                Self::Chunked { chunk, at: bytes.offset()?, index, plain_edges: flags & 1 != 0 }
            }
            3 => Self::Virtual,
            class => return Err(broken("hdf5 layout", at, format!("layout `{class}` does not exist"))),
        })
    }

    /// Versions 1 and 2, which HDF5 1.4 wrote.
    fn read_old(bytes: &mut Bytes, limits: &Limits) -> Result<Self, FormatError> {
        let rank = u64::from(bytes.u8()?);
        Limits::at_most("rank of an hdf5 layout", rank, limits.rank + 1)?;
        let at = bytes.place();
        let class = bytes.u8()?;
        bytes.skip(5)?;
        let address = if class == 0 { 0 } else { bytes.offset()? };
        let extents = extents(bytes, rank, 4)?;
        Ok(match class {
            0 => {
                let len = u64::from(bytes.u32()?);
                let at = bytes.place();
                bytes.take_long(len)?;
                Self::Compact { at, len }
            }
            1 => Self::Contiguous { at: address, len: None },
            2 => {
                let (mut chunk, element) = (extents, u64::from(bytes.u32()?));
                // The last extent of later versions is the element's length.
                chunk.pop();
                chunk.push(element);
                Self::Chunked { chunk, at: address, index: Index::BtreeV1, plain_edges: false }
            }
            class => return Err(broken("hdf5 layout", at, format!("layout `{class}` does not exist"))),
        })
    }
}

/// Rank of chunks, which is one more than the dataset's.
fn rank(bytes: &mut Bytes, limits: &Limits) -> Result<u64, FormatError> {
    let rank = u64::from(bytes.u8()?);
    Limits::at_most("rank of an hdf5 chunk", rank, limits.rank + 1)?;
    Ok(rank)
}

fn extents(bytes: &mut Bytes, rank: u64, width: usize) -> Result<Vec<u64>, FormatError> {
    let at = bytes.place();
    let extents: Vec<u64> = (0..rank).map(|_| bytes.uint(width)).collect::<Result<_, _>>()?;
    if extents.contains(&0) {
        return Err(broken("hdf5 layout", at, "a chunk has no elements"));
    }
    Ok(extents)
}

/// The filters of a dataset, in the order in which they were applied.
#[derive(Debug, Default)]
pub(super) struct Pipeline {
    undoing: Vec<Filter>,
}

impl Pipeline {
    pub(super) const fn is_empty(&self) -> bool {
        self.undoing.is_empty()
    }

    /// The filters that undo the pipeline, without those that the chunk's mask says were skipped.
    pub(super) fn undo(&self, mask: u32) -> Vec<Filter> {
        let kept = |index: usize| index >= 32 || mask >> index & 1 == 0;
        let filters = self.undoing.iter().enumerate().rev();
        filters.filter(|(index, _)| kept(*index)).map(|(_, filter)| *filter).collect()
    }
}

impl File {
    /// The pipeline of a dataset.
    pub(super) fn pipeline(&self, object: &Object, element_bytes: u64) -> Result<Pipeline, FormatError> {
        let Some(mut bytes) = self.first(object, FILTERS)? else { return Ok(Pipeline::default()) };
        let version = bytes.version(&[1, 2])?;
        let count = bytes.u8()?;
        if version == 1 {
            bytes.skip(6)?;
        }
        let mut undoing = Vec::new();
        for _ in 0..count {
            let id = bytes.u16()?;
            let name = if version == 1 || id >= 256 { usize::from(bytes.u16()?) } else { 0 };
            bytes.skip(2)?;
            let values = usize::from(bytes.u16()?);
            bytes.skip(if version == 1 { name.next_multiple_of(8) } else { name })?;
            let values_read: Vec<u32> = (0..values).map(|_| bytes.u32()).collect::<Result<_, _>>()?;
            let first = values_read.first().copied();
            if version == 1 && values % 2 == 1 {
                bytes.skip(4)?;
            }
            let filter = match id {
                1 => Filter::Zlib,
                2 => Filter::Unshuffle { width: first.unwrap_or(element_bytes as u32) },
                3 => Filter::DropChecksum,
                32001 => Filter::Blosc,
                32015 => Filter::Zstd,
                id => {
                    let known = [(4, "szip"), (5, "nbit"), (6, "scaleoffset"), (32000, "lzf"), (32004, "lz4")];
                    let name = known.iter().find(|(known, _)| *known == id).map_or("unknown", |(_, name)| name);
                    let detail = format!("filter `{id}` ({name})");
                    return Err(FormatError::Unsupported { what: "hdf5 dataset", detail });
                }
            };
            undoing.push(filter);
        }
        Ok(Pipeline { undoing })
    }
}
