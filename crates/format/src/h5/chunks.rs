//! Chunks of a dataset, whatever index finds them.

use std::collections::HashSet;

use crate::error::FormatError;
use crate::limits::Limits;

use super::layout::Index;
use super::space::Space;
use super::{File, broken, is_defined};

/// Type of B-trees over chunks.
const CHUNKS: u8 = 1;

/// Where a chunk is: address, and when it is filtered its length and the mask of skipped filters.
#[derive(Clone, Copy, Debug)]
pub(super) struct Slot {
    pub(super) address: u64,
    pub(super) filtered: Option<(u64, u32)>,
}

/// A chunk that is stored.
#[derive(Clone, Debug)]
pub(super) struct Chunk {
    /// Index of its first element.
    pub(super) offsets: Vec<u64>,
    pub(super) address: u64,
    /// Bytes as they are stored.
    pub(super) len: u64,
    /// Filters that were skipped.
    pub(super) mask: u32,
}

/// The chunks of a dataset: extents of one, and of the table that they make.
pub(super) struct Grid<'a> {
    pub(super) space: &'a Space,
    /// Extents of a chunk, without the element's length.
    pub(super) chunk: &'a [u64],
    /// Bytes of a chunk before filters.
    pub(super) chunk_bytes: u64,
    pub(super) is_filtered: bool,
}

impl Grid<'_> {
    /// Number of chunks that the present extents need; `None` on overflow.
    pub(super) fn count(&self) -> Option<u64> {
        let axes = self.space.shape.iter().zip(self.chunk);
        axes.map(|(extent, chunk)| extent.div_ceil(*chunk)).try_fold(1u64, u64::checked_mul)
    }

    /// First element of the chunk with this number, counted over the largest extents; `None` outside the present ones.
    fn place(&self, number: u64, first_axis: usize) -> Option<Vec<u64>> {
        let rank = self.chunk.len();
        // The axis that grows counts slowest.
        let mut order: Vec<usize> = (0..rank).filter(|&axis| axis != first_axis).collect();
        order.insert(0, first_axis.min(rank));
        let mut offsets = vec![0; rank];
        let mut rest = number;
        for (place, &axis) in order.iter().enumerate().rev() {
            let chunk = *self.chunk.get(axis)?;
            let table = self.space.max.get(axis)?.div_ceil(chunk);
            // The first has no end.
            let index = if place == 0 { rest } else { rest.checked_rem(table)? };
            rest = if place == 0 { 0 } else { rest / table };
            *offsets.get_mut(axis)? = index.checked_mul(chunk)?;
        }
        self.is_inside(&offsets).then_some(offsets)
    }

    fn is_inside(&self, offsets: &[u64]) -> bool {
        offsets.len() == self.space.shape.len() && offsets.iter().zip(&self.space.shape).all(|(at, extent)| at < extent)
    }

    fn chunk(&self, offsets: Vec<u64>, slot: Slot) -> Chunk {
        let (len, mask) = slot.filtered.unwrap_or((self.chunk_bytes, 0));
        Chunk { offsets, address: slot.address, len, mask }
    }
}

impl File {
    /// Chunks that are stored, in the order of their offsets.
    pub(super) fn chunks(&self, grid: &Grid<'_>, index: Index, address: u64) -> Result<Vec<Chunk>, FormatError> {
        let mut found = Vec::new();
        if !is_defined(address) {
            return Ok(found);
        }
        let rank = grid.chunk.len();
        let grows = grid.space.max.iter().position(|&extent| extent == u64::MAX).unwrap_or(0);
        let mut take = |first_axis: usize, number: u64, slot: Slot| {
            if is_defined(slot.address)
                && let Some(offsets) = grid.place(number, first_axis)
            {
                found.push(grid.chunk(offsets, slot));
            }
        };
        match index {
            Index::Single(filtered) => found.push(grid.chunk(vec![0; rank], Slot { address, filtered })),
            Index::Implicit => {
                let count = grid.count().unwrap_or(u64::MAX);
                let mut table = grid.space.max.iter().zip(grid.chunk).map(|(extent, chunk)| extent.div_ceil(*chunk));
                let table = table.try_fold(1u64, u64::checked_mul).unwrap_or(u64::MAX);
                Limits::at_most("number of hdf5 chunks", count.max(table), self.limits.tensors)?;
                for number in 0..table {
                    let address = number.checked_mul(grid.chunk_bytes).and_then(|at| at.checked_add(address));
                    take(0, number, Slot { address: address.unwrap_or(u64::MAX), filtered: None });
                }
            }
            Index::Fixed => self.fixed_array(address, &mut |number, slot| take(0, number, slot))?,
            Index::Extensible => self.extensible_array(address, &mut |number, slot| take(grows, number, slot))?,
            Index::BtreeV1 => {
                for (mut key, address) in self.btree1(address, CHUNKS, 8 + 8 * (rank + 1))? {
                    let (len, mask) = (u64::from(key.u32()?), key.u32()?);
                    let offsets = (0..rank).map(|_| key.u64()).collect::<Result<Vec<_>, _>>()?;
                    if is_defined(address) && grid.is_inside(&offsets) {
                        found.push(Chunk { offsets, address, len, mask });
                    }
                }
            }
            Index::BtreeV2 => {
                let tree = self.btree2(address)?;
                for mut record in tree.records {
                    let address = record.offset()?;
                    let scaled = 8 * rank;
                    let filtered = match tree.kind {
                        10 => None,
                        11 => {
                            let width = record.left().saturating_sub(scaled + 4);
                            Some((record.uint(width)?, record.u32()?))
                        }
                        kind => {
                            return Err(broken(
                                "hdf5 chunk index",
                                record.place(),
                                format!("records of type `{kind}`"),
                            ));
                        }
                    };
                    let scaled = (0..rank).map(|_| record.u64()).collect::<Result<Vec<_>, _>>()?;
                    let offsets = scaled.iter().zip(grid.chunk).map(|(at, chunk)| at.checked_mul(*chunk));
                    let offsets: Option<Vec<u64>> = offsets.collect();
                    if let Some(offsets) = offsets.filter(|offsets| is_defined(address) && grid.is_inside(offsets)) {
                        found.push(grid.chunk(offsets, Slot { address, filtered }));
                    }
                }
            }
        }
        self.check(grid, &mut found)?;
        Ok(found)
    }

    /// Refuses chunks that overlap: in the dataset, or in the file, where a few bytes could be decoded a million times.
    fn check(&self, grid: &Grid<'_>, found: &mut [Chunk]) -> Result<(), FormatError> {
        found.sort_by_key(|chunk| chunk.address);
        let mut end = 0;
        let mut seen = HashSet::new();
        for chunk in found.iter() {
            let aligned = chunk.offsets.iter().zip(grid.chunk).all(|(at, extent)| at % extent == 0);
            if !aligned || !seen.insert(&chunk.offsets) {
                let detail = format!("the chunk at `{:?}` overlaps another one", chunk.offsets);
                return Err(broken("hdf5 chunk index", chunk.address, detail));
            }
            if chunk.address < end {
                return Err(broken("hdf5 chunk", chunk.address, "its bytes are another chunk's too"));
            }
            if !grid.is_filtered && chunk.len != grid.chunk_bytes {
                let (expected, actual) = (grid.chunk_bytes, chunk.len);
                return Err(FormatError::LengthMismatch { what: "hdf5 chunk in bytes", expected, actual });
            }
            end = chunk.address.saturating_add(chunk.len);
        }
        drop(seen);
        found.sort_by(|one, other| one.offsets.cmp(&other.offsets));
        Ok(())
    }

    /// Elements of an array of chunks that lie in a row from `at` on.
    #[expect(clippy::too_many_arguments, reason = "all of it is the place and shape of one row")]
    pub(super) fn slots(
        &self,
        what: &'static str,
        at: u64,
        element: u64,
        is_filtered: bool,
        first: u64,
        count: u64,
        take: &mut dyn FnMut(u64, Slot),
    ) -> Result<(), FormatError> {
        let len = count.saturating_mul(element);
        let mut bytes = self.read(what, at, len)?;
        let width = usize::try_from(element).unwrap_or(0).saturating_sub(self.offset_bytes + 4);
        for number in 0..count {
            let address = bytes.offset()?;
            let filtered = if is_filtered { Some((bytes.uint(width)?, bytes.u32()?)) } else { None };
            take(first + number, Slot { address, filtered });
        }
        Ok(())
    }
}
