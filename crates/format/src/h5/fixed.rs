//! Fixed arrays: an index of chunks of datasets that cannot grow.

use crate::error::FormatError;
use crate::limits::Limits;

use super::chunks::Slot;
use super::{File, broken, is_defined};

impl File {
    /// Hands each element of the array at `address` to `take`, with its number.
    pub(super) fn fixed_array(&self, address: u64, take: &mut dyn FnMut(u64, Slot)) -> Result<(), FormatError> {
        let len = 8 + self.length_bytes + self.offset_bytes;
        let mut head = self.read("hdf5 fixed array", address, len as u64)?;
        head.mark(b"FAHD")?;
        head.version(&[0])?;
        let is_filtered = head.u8()? == 1;
        let element = u64::from(head.u8()?);
        let page_bits = head.u8()?;
        let count = head.length()?;
        let block = head.offset()?;
        if !is_defined(block) {
            return Ok(());
        }
        Limits::at_most("number of hdf5 chunks", count, self.limits.tensors)?;
        let page = 1u64.checked_shl(page_bits.into());
        let page =
            page.ok_or_else(|| broken("hdf5 fixed array", address, format!("pages of 2^`{page_bits}` chunks")))?;
        let prefix = 6 + self.offset_bytes as u64;
        let pages = if count > page { count.div_ceil(page) } else { 0 };
        let bitmap = pages.div_ceil(8);
        let mut bytes = self.read("hdf5 fixed array", block, prefix + bitmap)?;
        bytes.mark(b"FADB")?;
        bytes.version(&[0])?;
        bytes.skip(1 + self.offset_bytes)?;
        let bitmap = bytes.take_long(bitmap)?.to_vec();
        let mut at = bytes.place();
        if pages == 0 {
            return self.slots("hdf5 fixed array", at, element, is_filtered, 0, count, take);
        }
        at = at.saturating_add(4);
        for number in 0..pages {
            let first = number * page;
            let len = page.min(count - first);
            if is_set(&bitmap, number) {
                self.slots("hdf5 fixed array", at, element, is_filtered, first, len, take)?;
            }
            at = at.saturating_add(len * element + 4);
        }
        Ok(())
    }
}

/// A bit of a bitmap, counted from the high end of each byte.
pub(super) fn is_set(bitmap: &[u8], number: u64) -> bool {
    let byte = usize::try_from(number / 8).ok().and_then(|index| bitmap.get(index));
    byte.is_some_and(|byte| byte & 0x80 >> (number % 8) != 0)
}
