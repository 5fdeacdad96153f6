//! Local heaps, which hold names, and global heaps, which hold text of differing length.

use std::collections::HashMap;
use std::rc::Rc;

use crate::error::FormatError;
use crate::limits::Limits;

use super::{File, broken};

/// Names of a group of the first kind.
pub(super) struct LocalHeap {
    begin: u64,
    data: Vec<u8>,
}

impl LocalHeap {
    /// The name at an offset.
    pub(super) fn name(&self, offset: u64, limits: &Limits) -> Result<String, FormatError> {
        let rest = usize::try_from(offset).ok().and_then(|offset| self.data.get(offset..));
        let end = |rest: &[u8]| rest.iter().position(|&byte| byte == 0);
        let name = rest.and_then(|rest| rest.get(..end(rest)?));
        let at = self.begin;
        let name =
            name.ok_or_else(|| broken("hdf5 local heap", at, format!("there is no name at offset `{offset}`")))?;
        Limits::at_most("hdf5 name in bytes", name.len() as u64, limits.name_bytes)?;
        Ok(String::from_utf8_lossy(name).into_owned())
    }
}

/// A block of a global heap: objects by number.
pub(super) struct Collection {
    objects: HashMap<u16, Vec<u8>>,
}

impl File {
    pub(super) fn local_heap(&self, address: u64) -> Result<LocalHeap, FormatError> {
        let len = 8 + 2 * self.length_bytes + self.offset_bytes;
        let mut bytes = self.read("hdf5 local heap", address, len as u64)?;
        bytes.mark(b"HEAP")?;
        bytes.version(&[0])?;
        bytes.skip(3)?;
        let size = bytes.length()?;
        bytes.length()?;
        let begin = bytes.offset()?;
        let data = self.read("hdf5 local heap", begin, size)?.take_long(size)?.to_vec();
        Ok(LocalHeap { begin, data })
    }

    /// An object of a global heap.
    pub(super) fn global(&self, address: u64, index: u32) -> Result<Vec<u8>, FormatError> {
        let known = self.collections.borrow().get(&address).cloned();
        let collection = match known {
            Some(collection) => collection,
            None => {
                let collection = Rc::new(self.collection(address)?);
                self.collections.borrow_mut().insert(address, Rc::clone(&collection));
                collection
            }
        };
        let object = u16::try_from(index).ok().and_then(|index| collection.objects.get(&index)).cloned();
        object.ok_or_else(|| broken("hdf5 global heap", address, format!("there is no object `{index}`")))
    }

    fn collection(&self, address: u64) -> Result<Collection, FormatError> {
        let head = 8 + self.length_bytes;
        let mut bytes = self.read("hdf5 global heap", address, head as u64)?;
        bytes.mark(b"GCOL")?;
        bytes.version(&[1])?;
        bytes.skip(3)?;
        let size = bytes.length()?;
        let mut bytes = self.read("hdf5 global heap", address, size)?;
        bytes.skip(head)?;
        let mut objects = HashMap::new();
        while bytes.left() >= 8 + self.length_bytes {
            let index = bytes.u16()?;
            bytes.skip(6)?;
            let len = bytes.length()?;
            // Number 0 is the free space at the end.
            if index == 0 {
                break;
            }
            objects.insert(index, bytes.take_long(len)?.to_vec());
            bytes.align();
        }
        Ok(Collection { objects })
    }
}
