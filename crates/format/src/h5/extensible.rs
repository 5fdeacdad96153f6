//! Extensible arrays: an index of chunks of datasets that grow along one axis.
//!
//! An index block holds the first elements, then addresses of data blocks, then addresses of secondary blocks, which hold
//! addresses of data blocks again. Blocks get longer: secondary block `u` has `2^(u/2)` data blocks of `2^((u+1)/2)` times
//! the smallest length.

use crate::error::FormatError;
use crate::limits::Limits;

use super::chunks::Slot;
use super::fixed::is_set;
use super::{File, broken, is_defined};

/// What the header says.
struct Head {
    is_filtered: bool,
    element: u64,
    page: u64,
    /// Bytes of a block's offset.
    offset_bytes: u64,
    /// Elements up to the last that was written.
    end: u64,
}

impl File {
    /// Hands each element of the array at `address` to `take`, with its number.
    pub(super) fn extensible_array(&self, address: u64, take: &mut dyn FnMut(u64, Slot)) -> Result<(), FormatError> {
        let len = 12 + 6 * self.length_bytes + self.offset_bytes;
        let mut bytes = self.read("hdf5 extensible array", address, len as u64)?;
        bytes.mark(b"EAHD")?;
        bytes.version(&[0])?;
        let is_filtered = bytes.u8()? == 1;
        let element = u64::from(bytes.u8()?);
        let bits = bytes.u8()?;
        let own = u64::from(bytes.u8()?);
        let (least, pointers, page_bits) = (u64::from(bytes.u8()?), u64::from(bytes.u8()?), bytes.u8()?);
        bytes.skip(4 * self.length_bytes)?;
        let end = bytes.length()?;
        bytes.length()?;
        let index = bytes.offset()?;
        let wrong = || broken("hdf5 extensible array", address, "its numbers are no array's");
        if !least.is_power_of_two() || !pointers.is_power_of_two() || bits > 64 || page_bits > 32 {
            return Err(wrong());
        }
        if !is_defined(index) {
            return Ok(());
        }
        Limits::at_most("number of hdf5 chunks", end, self.limits.tensors)?;
        let head = Head { is_filtered, element, page: 1 << page_bits, offset_bytes: u64::from(bits).div_ceil(8), end };

        let secondary = (1 + u64::from(bits)).saturating_sub(u64::from(least.ilog2()));
        // The first few have their data blocks in the index block itself.
        let direct = (2 * u64::from(pointers.ilog2())).min(secondary);
        let data_blocks = 2 * (pointers - 1);
        let prefix = 6 + self.offset_bytes as u64;
        let addresses = (data_blocks + secondary - direct) * self.offset_bytes as u64;
        let mut bytes = self.read("hdf5 extensible array", index, prefix + own * element + addresses)?;
        bytes.mark(b"EAIB")?;
        let at = index.saturating_add(prefix);
        self.slots("hdf5 extensible array", at, element, is_filtered, 0, own.min(end), take)?;
        bytes.skip(usize::try_from(prefix - 4 + own * element).map_err(|_| wrong())?)?;

        let mut first = own;
        for number in 0..secondary {
            if first >= end {
                break;
            }
            let (blocks, len) = (1u64.checked_shl(number as u32 / 2), least.checked_shl((number as u32).div_ceil(2)));
            let (Some(blocks), Some(len)) = (blocks, len) else { break };
            if number < direct {
                for _ in 0..blocks {
                    let block = bytes.offset()?;
                    self.data_block(block, &head, first, len, None, take)?;
                    first = first.saturating_add(len);
                }
            } else {
                let block = bytes.offset()?;
                if is_defined(block) {
                    self.secondary_block(block, &head, first, (blocks, len), take)?;
                }
                first = first.saturating_add(blocks.saturating_mul(len));
            }
        }
        Ok(())
    }

    fn secondary_block(
        &self,
        address: u64,
        head: &Head,
        mut first: u64,
        (blocks, len): (u64, u64),
        take: &mut dyn FnMut(u64, Slot),
    ) -> Result<(), FormatError> {
        let prefix = 6 + self.offset_bytes as u64 + head.offset_bytes;
        // One bitmap of pages for each data block that has pages.
        let bitmap = if len > head.page { (len / head.page).div_ceil(8) } else { 0 };
        let size = blocks.checked_mul(bitmap + self.offset_bytes as u64).and_then(|size| size.checked_add(prefix));
        let size = size.unwrap_or(u64::MAX);
        let mut bytes = self.read("hdf5 extensible array", address, size)?;
        bytes.mark(b"EASB")?;
        bytes.version(&[0])?;
        bytes.skip(1 + self.offset_bytes)?;
        bytes.take_long(head.offset_bytes)?;
        let bitmaps = bytes.take_long(blocks * bitmap)?.to_vec();
        let mut bitmaps = bitmaps.chunks(usize::try_from(bitmap.max(1)).unwrap_or(usize::MAX));
        for _ in 0..blocks {
            if first >= head.end {
                break;
            }
            let block = bytes.offset()?;
            let pages = if bitmap == 0 { None } else { bitmaps.next() };
            self.data_block(block, head, first, len, pages, take)?;
            first = first.saturating_add(len);
        }
        Ok(())
    }

    fn data_block(
        &self,
        address: u64,
        head: &Head,
        first: u64,
        len: u64,
        pages: Option<&[u8]>,
        take: &mut dyn FnMut(u64, Slot),
    ) -> Result<(), FormatError> {
        if !is_defined(address) || first >= head.end {
            return Ok(());
        }
        let what = "hdf5 extensible array";
        let prefix = 6 + self.offset_bytes as u64 + head.offset_bytes;
        self.read(what, address, prefix)?.mark(b"EADB")?;
        let mut at = address.saturating_add(prefix);
        let wanted = len.min(head.end - first);
        if len <= head.page {
            return self.slots(what, at, head.element, head.is_filtered, first, wanted, take);
        }
        at = at.saturating_add(4);
        for number in 0..wanted.div_ceil(head.page) {
            let begin = number * head.page;
            if pages.is_none_or(|pages| is_set(pages, number)) {
                let count = head.page.min(wanted - begin);
                self.slots(what, at, head.element, head.is_filtered, first + begin, count, take)?;
            }
            at = at.saturating_add(head.page * head.element + 4);
        }
        Ok(())
    }
}
