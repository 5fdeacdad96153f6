//! The superblock: where the root group is, and how wide addresses are.

use std::cell::{Cell, RefCell};
use std::collections::HashMap;

use crate::error::FormatError;
use crate::limits::Limits;
use crate::source::Section;

use super::bytes::Bytes;
use super::{File, broken, is_defined};

const MAGIC: [u8; 8] = *b"\x89HDF\r\n\x1a\n";
/// Longest superblock: version 1 with offsets and lengths of eight bytes.
const LONGEST_BYTES: u64 = 104;

/// Offset of the superblock: 0, or 512 and its doubles.
pub(super) fn find(section: &Section) -> Option<u64> {
    let places = std::iter::once(0).chain((9..63).map(|power| 1u64 << power));
    let mut places = places.take_while(|place| place + 8 <= section.len());
    places.find(|&place| section.read("hdf5 magic", place, 8).is_ok_and(|bytes| bytes == MAGIC))
}

pub(super) fn open(section: &Section, limits: &Limits) -> Result<File, FormatError> {
    let place = find(section).ok_or(FormatError::BadMagic { what: "hdf5 file" })?;
    let section = section.slice("hdf5 file", place, section.len() - place)?;
    let head = section.head("hdf5 superblock", LONGEST_BYTES)?;
    let mut bytes = Bytes::new("hdf5 superblock", head.clone(), 0, 0, 0);
    bytes.skip(8)?;
    let version = bytes.version(&[0, 1, 2, 3])?;
    if version < 2 {
        bytes.skip(4)?;
    }
    let (offset_bytes, length_bytes) = (usize::from(bytes.u8()?), usize::from(bytes.u8()?));
    for width in [offset_bytes, length_bytes] {
        if !matches!(width, 2 | 4 | 8) {
            return Err(broken("hdf5 superblock", bytes.place(), format!("numbers of `{width}` bytes do not exist")));
        }
    }
    // Again, now that the widths are known.
    let skipped = head.len() - bytes.left();
    let mut bytes = Bytes::new("hdf5 superblock", head, 0, offset_bytes, length_bytes);
    bytes.skip(skipped)?;
    let root = match version {
        0 | 1 => {
            bytes.skip(if version == 0 { 9 } else { 13 })?;
            // Base, free space, end of file, driver information; then the root's entry begins with a name.
            bytes.skip(5 * offset_bytes)?;
            bytes.offset()?
        }
        _ => {
            bytes.skip(1 + 3 * offset_bytes)?;
            bytes.offset()?
        }
    };
    if !is_defined(root) {
        return Err(FormatError::Rule { what: "hdf5 superblock", rule: "it has a root group" });
    }
    let budget = section.len().saturating_mul(16).saturating_add(1 << 20);
    Ok(File {
        section,
        offset_bytes,
        length_bytes,
        root,
        limits: *limits,
        budget: Cell::new(budget),
        collections: RefCell::new(HashMap::new()),
    })
}
