//! B-trees of the second version: records of one length in every node.

use std::collections::HashSet;

use crate::error::FormatError;
use crate::limits::Limits;

use super::bytes::Bytes;
use super::{File, broken, is_defined};

/// Mark, version, type; and the checksum at the end.
const PREFIX_BYTES: u64 = 6;
const CHECKSUM_BYTES: u64 = 4;

/// A tree's records.
pub(super) struct Tree {
    /// What kind of records they are.
    pub(super) kind: u8,
    /// The records, in the order of the tree's nodes.
    pub(super) records: Vec<Bytes>,
}

/// How many bytes hold a number up to this.
pub(super) const fn width(largest: u64) -> usize {
    (if largest == 0 { 0 } else { largest.ilog2() as usize / 8 }) + 1
}

impl File {
    pub(super) fn btree2(&self, address: u64) -> Result<Tree, FormatError> {
        let len = 16 + self.offset_bytes + 2 + self.length_bytes;
        let mut head = self.read("hdf5 b-tree", address, len as u64)?;
        head.mark(b"BTHD")?;
        head.version(&[0])?;
        let kind = head.u8()?;
        let node_bytes = u64::from(head.u32()?);
        let record = u64::from(head.u16()?);
        let depth = u64::from(head.u16()?);
        head.skip(2)?;
        let root = head.offset()?;
        let count = u64::from(head.u16()?);
        Limits::at_most("depth of an hdf5 b-tree", depth, self.limits.depth)?;
        if record == 0 || node_bytes < PREFIX_BYTES + CHECKSUM_BYTES + record {
            return Err(broken("hdf5 b-tree", address, format!("records of `{record}` bytes do not fit its nodes")));
        }
        let mut tree = Tree { kind, records: Vec::new() };
        if !is_defined(root) {
            return Ok(tree);
        }
        // Widths of the numbers that stand beside each child's address, by the depth of the node.
        let room = node_bytes - PREFIX_BYTES - CHECKSUM_BYTES;
        let leaf = room / record;
        let count_bytes = width(leaf);
        let (mut cumulative, mut total_bytes) = (leaf, vec![0]);
        for _ in 0..depth {
            let pointer = (self.offset_bytes + count_bytes + total_bytes.last().copied().unwrap_or(0)) as u64;
            let most = room.saturating_sub(pointer) / (record + pointer);
            cumulative = most.saturating_add(1).saturating_mul(cumulative).saturating_add(most);
            total_bytes.push(width(cumulative));
        }
        let mut seen = HashSet::new();
        let mut waiting = vec![(root, count, depth)];
        while let Some((address, count, depth)) = waiting.pop() {
            if !seen.insert(address) {
                return Err(broken("hdf5 b-tree", address, "its nodes go in a circle"));
            }
            let total = if depth == 0 { 0 } else { total_at(&total_bytes, depth - 1) };
            let pointers = if depth == 0 { 0 } else { (count + 1) * (self.offset_bytes + count_bytes + total) as u64 };
            let mut node = self.read("hdf5 b-tree", address, PREFIX_BYTES + count * record + pointers)?;
            node.mark(if depth == 0 { b"BTLF" } else { b"BTIN" })?;
            node.version(&[0])?;
            if node.u8()? != kind {
                return Err(broken("hdf5 b-tree", address, "a node has another type than its tree"));
            }
            for _ in 0..count {
                let at = node.place();
                let bytes = self.over("hdf5 b-tree record", node.take_long(record)?, at);
                tree.records.push(bytes);
            }
            if depth > 0 {
                for _ in 0..=count {
                    let child = node.offset()?;
                    let count = node.uint(count_bytes)?;
                    node.skip(total)?;
                    waiting.push((child, count, depth - 1));
                }
            }
            let found = (tree.records.len() + waiting.len()) as u64;
            Limits::at_most("number of records of an hdf5 b-tree", found, self.limits.tensors)?;
        }
        Ok(tree)
    }
}

fn total_at(widths: &[usize], depth: u64) -> usize {
    usize::try_from(depth).ok().and_then(|depth| widths.get(depth)).copied().unwrap_or(0)
}
