//! The blocks of one tensor in one piece, for what lies outside of packs: golden files, exchange, tests.
//!
//! | offset | size | field |
//! |---|---|---|
//! | 0 | 4 | `WHTC` |
//! | 4 | 1 | version, 1 |
//! | 5 | 3 | zero |
//! | 8 | 4 | number of blocks u32 |
//! | 12 | 16 n | descriptors, see [`super`] |
//! | | 4 | CRC-32C of all bytes above u32 |
//! | | | the bytes of the blocks, back to back |
//!
//! Integers are little-endian. Beside the blocks, none of which is larger than it was raw, this takes 16 bytes and 16 for
//! each block: at most 1.002 of a tensor of 16 KiB or more. Smaller tensors share a block in packs.

use super::error::CodecError;
use super::{Block, Descriptor};

const MAGIC: &[u8; 4] = b"WHTC";
const VERSION: u8 = 1;
const HEAD_BYTES: usize = 12;

/// Puts blocks together.
#[must_use]
pub fn write(blocks: &[Block]) -> Vec<u8> {
    let mut out = MAGIC.to_vec();
    out.extend([VERSION, 0, 0, 0]);
    out.extend((blocks.len() as u32).to_le_bytes());
    for block in blocks {
        out.extend(block.descriptor.to_bytes());
    }
    out.extend(crc_fast::crc32_iscsi(&out).to_le_bytes());
    for block in blocks {
        out.extend_from_slice(&block.bytes);
    }
    out
}

/// Descriptors of the blocks, each with its stored bytes.
///
/// # Errors
/// [`CodecError::Unknown`] when the layout is of a later version, [`CodecError::Checksum`] and
/// [`CodecError::Damaged`] when it is none.
pub fn read(data: &[u8]) -> Result<Vec<(Descriptor, &[u8])>, CodecError> {
    const DAMAGED: CodecError = CodecError::Damaged { what: "container" };
    let (head, _) = data.split_first_chunk::<HEAD_BYTES>().ok_or(DAMAGED)?;
    let [m0, m1, m2, m3, version, z0, z1, z2, count @ ..] = *head;
    if [m0, m1, m2, m3] != *MAGIC {
        return Err(DAMAGED);
    }
    if version != VERSION {
        return Err(CodecError::Unknown { what: "version", found: version.into() });
    }
    let count = u32::from_le_bytes(count) as usize;
    let table_end = count.checked_mul(Descriptor::BYTES).and_then(|bytes| bytes.checked_add(HEAD_BYTES));
    let (table, rest) = table_end.and_then(|end| data.split_at_checked(end)).ok_or(DAMAGED)?;
    let (stored, mut rest) = rest.split_first_chunk::<4>().ok_or(DAMAGED)?;
    let (stored, found) = (u32::from_le_bytes(*stored), crc_fast::crc32_iscsi(table));
    if stored != found {
        return Err(CodecError::Checksum { what: "container", stored, found });
    }
    let mut blocks = Vec::with_capacity(count);
    for descriptor in table[HEAD_BYTES..].as_chunks().0 {
        let descriptor = Descriptor::from_bytes(descriptor)?;
        let (bytes, after) = rest.split_at_checked(descriptor.stored_len as usize).ok_or(DAMAGED)?;
        blocks.push((descriptor, bytes));
        rest = after;
    }
    if [z0, z1, z2] == [0; 3] && rest.is_empty() { Ok(blocks) } else { Err(DAMAGED) }
}
