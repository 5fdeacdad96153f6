//! Groups: names of objects, kept in three ways.
//!
//! Old files have a B-tree over a heap of names; new ones have messages in the header while there are few, and a heap of
//! messages with a B-tree when there are many.

use crate::error::FormatError;
use crate::limits::Limits;

use super::bytes::Bytes;
use super::header::{LINK, LINK_INFO, Object, SYMBOL_TABLE};
use super::{File, broken, is_defined};

/// A name in a group.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Link {
    /// Name, without `/`.
    pub name: String,
    /// What it stands for.
    pub target: Target,
}

/// What a name stands for.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Target {
    /// The object at an address of the file.
    Object(u64),
    /// A path in the file.
    Soft(String),
    /// A path in another file, and that file; it is never opened.
    External {
        /// File, as the link has it.
        file: String,
        /// Path in it.
        path: String,
    },
}

/// Type of B-trees over groups.
const GROUPS: u8 = 0;

impl File {
    /// Names in a group; nothing for what is no group.
    ///
    /// # Errors
    /// [`FormatError::Broken`] and its kin for structures that lie, [`FormatError::TooLarge`] beyond the limits.
    pub fn links(&self, object: &Object) -> Result<Vec<Link>, FormatError> {
        let mut links = Vec::new();
        if let Some(mut table) = self.first(object, SYMBOL_TABLE)? {
            self.symbols(table.offset()?, table.offset()?, &mut links)?;
        }
        for message in object.all(LINK) {
            links.push(self.link(&mut self.over("hdf5 link", &message.body, message.at))?);
        }
        if let Some(mut info) = self.first(object, LINK_INFO)? {
            info.version(&[0])?;
            let flags = info.u8()?;
            info.skip(if flags & 1 == 0 { 0 } else { 8 })?;
            let (heap, names) = (info.offset()?, info.offset()?);
            if is_defined(heap) && is_defined(names) {
                let heap = self.fractal_heap(heap)?;
                let tree = self.btree2(names)?;
                for mut record in tree.records {
                    // A hash of the name stands before the id.
                    record.skip(4)?;
                    let at = record.place();
                    let id = record.take(record.left())?.to_vec();
                    links.push(self.link(&mut self.heap_object(&heap, &id, at)?)?);
                }
            }
        }
        Limits::at_most("number of names in an hdf5 group", links.len() as u64, self.limits.members)?;
        Ok(links)
    }

    /// Names of a group of the first kind.
    fn symbols(&self, tree: u64, heap: u64, links: &mut Vec<Link>) -> Result<(), FormatError> {
        let heap = self.local_heap(heap)?;
        for (_, node) in self.btree1(tree, GROUPS, self.length_bytes)? {
            let mut head = self.read("hdf5 symbol table", node, 8)?;
            head.mark(b"SNOD")?;
            head.version(&[1])?;
            head.skip(1)?;
            let count = u64::from(head.u16()?);
            let entry = 2 * self.offset_bytes as u64 + 24;
            let mut bytes = self.read("hdf5 symbol table", node.saturating_add(8), count * entry)?;
            for _ in 0..count {
                let (name, address) = (bytes.offset()?, bytes.offset()?);
                let kind = bytes.u32()?;
                bytes.skip(4)?;
                let at = bytes.place();
                let mut scratch = self.over("hdf5 symbol", bytes.take(16)?, at);
                let target = match kind {
                    2 => Target::Soft(heap.name(u64::from(scratch.u32()?), &self.limits)?),
                    _ => Target::Object(address),
                };
                links.push(Link { name: heap.name(name, &self.limits)?, target });
            }
        }
        Ok(())
    }

    /// A link message.
    fn link(&self, bytes: &mut Bytes) -> Result<Link, FormatError> {
        bytes.version(&[1])?;
        let flags = bytes.u8()?;
        let kind = if flags & 0x08 == 0 { 0 } else { bytes.u8()? };
        bytes.skip(if flags & 0x04 == 0 { 0 } else { 8 })?;
        bytes.skip(if flags & 0x10 == 0 { 0 } else { 1 })?;
        let len = bytes.uint(1 << (flags & 3))?;
        Limits::at_most("hdf5 name in bytes", len, self.limits.name_bytes)?;
        let name = String::from_utf8_lossy(bytes.take_long(len)?).into_owned();
        let at = bytes.place();
        let target = match kind {
            0 => Target::Object(bytes.offset()?),
            1 => {
                let len = usize::from(bytes.u16()?);
                Target::Soft(String::from_utf8_lossy(bytes.take(len)?).into_owned())
            }
            64 => {
                let len = usize::from(bytes.u16()?);
                let mut value = self.over("hdf5 external link", bytes.take(len)?, at);
                value.skip(1)?;
                let text = |bytes: Vec<u8>| String::from_utf8_lossy(&bytes).into_owned();
                Target::External { file: text(value.until_zero()?), path: text(value.until_zero()?) }
            }
            kind => return Err(broken("hdf5 link", at, format!("links of kind `{kind}` are not known"))),
        };
        Ok(Link { name, target })
    }
}
