//! Fractal heaps: where groups keep many links, and objects many attributes.

use std::collections::HashMap;

use crate::error::FormatError;
use crate::limits::Limits;

use super::btree2::width;
use super::bytes::Bytes;
use super::{File, broken, is_defined};

/// A heap: where its blocks are.
pub(super) struct FractalHeap {
    id_bytes: usize,
    offset_bytes: usize,
    length_bytes: usize,
    /// Address and length of each direct block, by its offset in the heap, in order.
    blocks: Vec<(u64, u64, u64)>,
    /// Objects too large for a block: address and length, by number.
    huge: HashMap<u64, (u64, u64)>,
}

/// What the header says of blocks.
struct Shape {
    width: u64,
    start: u64,
    max_direct: u64,
    block_offset_bytes: usize,
}

impl Shape {
    /// Length of the blocks in a row.
    fn block(&self, row: u64) -> Option<u64> {
        self.start
            .checked_shl(u32::try_from(row.saturating_sub(1)).ok()?)
            .filter(|len| len >> row.saturating_sub(1) == self.start)
    }
}

impl File {
    pub(super) fn fractal_heap(&self, address: u64) -> Result<FractalHeap, FormatError> {
        let len = 22 + 12 * self.length_bytes + 3 * self.offset_bytes;
        let mut head = self.read("hdf5 fractal heap", address, len as u64)?;
        head.mark(b"FRHP")?;
        head.version(&[0])?;
        let id_bytes = usize::from(head.u16()?);
        let filters = head.u16()?;
        head.skip(1)?;
        let max_managed = u64::from(head.u32()?);
        head.length()?;
        let huge = head.offset()?;
        head.length()?;
        head.offset()?;
        head.skip(8 * self.length_bytes)?;
        let width_of_table = u64::from(head.u16()?);
        let (start, max_direct) = (head.length()?, head.length()?);
        let max_heap = head.u16()?;
        head.skip(2)?;
        let root = head.offset()?;
        let rows = u64::from(head.u16()?);
        if filters > 0 {
            let detail = "a fractal heap with filters".to_owned();
            return Err(FormatError::Unsupported { what: "hdf5 fractal heap", detail });
        }
        if !start.is_power_of_two() || !max_direct.is_power_of_two() || max_direct < start || width_of_table == 0 {
            return Err(broken("hdf5 fractal heap", address, format!("blocks of `{start}` bytes are no table")));
        }
        let offset_bytes = usize::from(max_heap).div_ceil(8);
        let shape = Shape { width: width_of_table, start, max_direct, block_offset_bytes: offset_bytes };
        let mut heap = FractalHeap {
            id_bytes,
            offset_bytes,
            length_bytes: width(max_direct).min(width(max_managed)),
            blocks: Vec::new(),
            huge: HashMap::new(),
        };
        if is_defined(root) {
            if rows == 0 {
                heap.blocks.push((0, root, start));
            } else {
                self.indirect(root, rows, &shape, &mut heap.blocks)?;
            }
        }
        if is_defined(huge) {
            let tree = self.btree2(huge)?;
            // Type 1: objects that the heap's ids name by number, without filters.
            if tree.kind == 1 {
                for mut record in tree.records {
                    let (address, len, id) = (record.offset()?, record.length()?, record.length()?);
                    heap.huge.insert(id, (address, len));
                }
            }
        }
        Ok(heap)
    }

    /// Finds the direct blocks under an indirect one, in the order of the heap.
    fn indirect(
        &self,
        root: u64,
        rows: u64,
        shape: &Shape,
        blocks: &mut Vec<(u64, u64, u64)>,
    ) -> Result<(), FormatError> {
        let mut waiting = vec![(root, rows, 0u64, 0u64)];
        while let Some((address, rows, begin, depth)) = waiting.pop() {
            Limits::at_most("nesting of hdf5 heap blocks", depth, self.limits.depth)?;
            let wrong = || broken("hdf5 fractal heap", address, "its blocks are longer than the heap can be");
            let prefix = 5 + self.offset_bytes + shape.block_offset_bytes;
            let count = rows.checked_mul(shape.width).ok_or_else(wrong)?;
            let len = count.checked_mul(self.offset_bytes as u64).ok_or_else(wrong)?;
            let mut bytes = self.read("hdf5 fractal heap", address, prefix as u64 + len)?;
            bytes.mark(b"FHIB")?;
            bytes.version(&[0])?;
            bytes.skip(prefix - 5)?;
            let mut offset = begin;
            for row in 0..rows {
                let len = shape.block(row).ok_or_else(wrong)?;
                for _ in 0..shape.width {
                    let child = bytes.offset()?;
                    if is_defined(child) && len <= shape.max_direct {
                        blocks.push((offset, child, len));
                    } else if is_defined(child) {
                        // As many rows as make up that length.
                        let rows = (len / shape.width / shape.start).checked_ilog2().ok_or_else(wrong)? + 1;
                        waiting.push((child, u64::from(rows), offset, depth + 1));
                    }
                    offset = offset.checked_add(len).ok_or_else(wrong)?;
                }
            }
            let found = (blocks.len() + waiting.len()) as u64;
            Limits::at_most("number of hdf5 heap blocks", found, self.limits.members)?;
        }
        blocks.sort_unstable();
        Ok(())
    }

    /// The object that an id names.
    pub(super) fn heap_object(&self, heap: &FractalHeap, id: &[u8], at: u64) -> Result<Bytes, FormatError> {
        let wrong = |detail: String| broken("hdf5 heap id", at, detail);
        let mut bytes = self.over("hdf5 heap id", id, at);
        let first = bytes.u8()?;
        let (address, len) = match first >> 4 & 3 {
            0 => {
                let (offset, len) = (bytes.uint(heap.offset_bytes)?, bytes.uint(heap.length_bytes)?);
                let index = heap.blocks.partition_point(|block| block.0 <= offset);
                let block = index.checked_sub(1).and_then(|index| heap.blocks.get(index));
                let block = block.ok_or_else(|| wrong(format!("offset `{offset}` is in no block")))?;
                let inside = offset - block.0;
                if inside.checked_add(len).is_none_or(|end| end > block.2) {
                    return Err(wrong(format!("offset `{offset}` and length `{len}` leave their block")));
                }
                (block.1.checked_add(inside).ok_or_else(|| wrong(format!("offset `{offset}` overflows")))?, len)
            }
            1 => {
                let number = bytes.uint((heap.id_bytes - 1).min(8))?;
                *heap.huge.get(&number).ok_or_else(|| wrong(format!("there is no huge object `{number}`")))?
            }
            2 => {
                let len = usize::from(first & 0xf) + 1;
                return Ok(self.over("hdf5 heap object", bytes.take(len)?, at + 1));
            }
            kind => return Err(wrong(format!("kind `{kind}` does not exist"))),
        };
        self.read("hdf5 heap object", address, len)
    }
}
