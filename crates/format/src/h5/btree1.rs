//! B-trees of the first version: they index the names of groups, and chunks.

use std::collections::HashSet;

use crate::error::FormatError;
use crate::limits::Limits;

use super::bytes::Bytes;
use super::{File, broken, is_defined};

/// A leaf entry: its key and the address of its child.
pub(super) type Entry = (Bytes, u64);

impl File {
    /// All leaf entries of the tree at `address`: its nodes have this type and keys of this length.
    pub(super) fn btree1(&self, address: u64, kind: u8, key_bytes: usize) -> Result<Vec<Entry>, FormatError> {
        let mut found = Vec::new();
        if !is_defined(address) {
            return Ok(found);
        }
        let mut seen = HashSet::new();
        // Address, and the level that the parent promises.
        let mut waiting = vec![(address, None)];
        while let Some((address, level)) = waiting.pop() {
            if !seen.insert(address) {
                return Err(broken("hdf5 b-tree", address, "its nodes go in a circle"));
            }
            let head = 8 + 2 * self.offset_bytes;
            let mut bytes = self.read("hdf5 b-tree", address, head as u64)?;
            bytes.mark(b"TREE")?;
            let (is, own) = (bytes.u8()?, bytes.u8()?);
            if is != kind {
                return Err(broken("hdf5 b-tree", address, format!("its type is `{is}`, not {kind}")));
            }
            if level.is_some_and(|level| level != own) {
                return Err(broken("hdf5 b-tree", address, format!("a node of level `{own}` is in the wrong place")));
            }
            let count = usize::from(bytes.u16()?);
            let entry = key_bytes + self.offset_bytes;
            let mut bytes = self.read("hdf5 b-tree", address.saturating_add(head as u64), (count * entry) as u64)?;
            let mut children = Vec::new();
            for _ in 0..count {
                let at = bytes.place();
                let key = self.over("hdf5 b-tree key", bytes.take(key_bytes)?, at);
                let child = bytes.offset()?;
                match own.checked_sub(1) {
                    None => found.push((key, child)),
                    Some(below) => children.push((child, Some(below))),
                }
            }
            // The last in is the first out.
            waiting.extend(children.into_iter().rev());
            let total = (found.len() + waiting.len()) as u64;
            Limits::at_most("number of entries of an hdf5 b-tree", total, self.limits.tensors)?;
        }
        Ok(found)
    }
}
