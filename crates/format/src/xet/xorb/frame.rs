//! LZ4 frames around chunks.
//!
//! The frame layer is read here, not by the library's frame reader, so that decoding writes straight into a buffer of
//! the announced length: a frame that claims megabyte blocks or grows without end gets no memory for it.
//!
//! | part | bytes |
//! |---|---|
//! | magic | `04 22 4D 18` |
//! | flags | 1: version 01, blocks independent, block checksums, content size, content checksum, 0, dictionary |
//! | block size | 1: 4 to 7 in bits 4 to 6 for 64 KiB, 256 KiB, 1 MiB, 4 MiB |
//! | content size | 8, if flagged |
//! | header checksum | 1: second byte of the XXH32 over the bytes since the magic |
//! | blocks | length u32 (top bit: not compressed), bytes, XXH32 if flagged; a length of 0 ends them |
//! | content checksum | 4, if flagged |
//!
//! # Source
//! LZ4 Frame Format Description, version 1.6.

use lz4_flex::block::{self, CompressTable};
use twox_hash::XxHash32;

use crate::error::FormatError;
use crate::xet::bytes::{take, take_slice, take_u32, take_u64};

const MAGIC: [u8; 4] = 0x184D_2204_u32.to_le_bytes();
const WHAT: &str = "LZ4 frame";

const VERSION_MASK: u8 = 0b1100_0000;
const VERSION: u8 = 0b0100_0000;
const INDEPENDENT: u8 = 0b0010_0000;
const BLOCK_CHECKSUMS: u8 = 0b0001_0000;
const CONTENT_SIZE: u8 = 0b0000_1000;
const CONTENT_CHECKSUM: u8 = 0b0000_0100;
const RESERVED: u8 = 0b0000_0010;
const DICTIONARY: u8 = 0b0000_0001;

const NOT_COMPRESSED: u32 = 1 << 31;
/// How far back a linked block may refer.
const WINDOW: usize = 64 << 10;
/// Frame header, length of the only block, end mark.
const OVERHEAD: usize = 7 + 4 + 4;

/// Appends `raw` as a frame of one block to `out` and tells whether the frame is shorter than `raw`.
///
/// When it is not, or when `raw` is longer than a chunk, `out` is left as it was.
pub(super) fn write(raw: &[u8], table: &mut CompressTable, out: &mut Vec<u8>) -> Result<bool, FormatError> {
    let start = out.len();
    let block_size = if raw.len() <= 64 << 10 { 4 << 4 } else { 5 << 4 };
    let descriptor = [VERSION | INDEPENDENT, block_size];
    out.extend(MAGIC);
    out.extend(descriptor);
    out.push(header_checksum(&descriptor));
    let block_start = out.len() + 4;
    out.resize(block_start + block::get_maximum_output_size(raw.len()), 0);
    let room = out.get_mut(block_start..).unwrap_or_default();
    let len = match block::compress_into_with_table(raw, room, table) {
        Ok(len) => len,
        Err(source) => {
            out.truncate(start);
            return Err(FormatError::Lz4Encode { source });
        }
    };
    if len + OVERHEAD >= raw.len() {
        out.truncate(start);
        return Ok(false);
    }
    if let Some(field) = out.get_mut(block_start - 4..block_start) {
        field.copy_from_slice(&(len as u32).to_le_bytes());
    }
    out.truncate(block_start + len);
    out.extend([0; 4]);
    Ok(true)
}

/// Decodes `frame` into `raw`, which it must fill exactly; nothing may follow the frame.
pub(super) fn read(frame: &[u8], raw: &mut [u8]) -> Result<(), FormatError> {
    let mut input = frame;
    let header = Header::read(&mut input, raw.len())?;
    let mut filled = 0;
    loop {
        let word = take_u32(&mut input, WHAT)?;
        if word == 0 {
            break;
        }
        let block = take_slice(&mut input, (word & !NOT_COMPRESSED) as usize, WHAT)?;
        if header.flags & BLOCK_CHECKSUMS != 0 {
            check("LZ4 block", block, take_u32(&mut input, WHAT)?)?;
        }
        let (done, rest) = raw.split_at_mut(filled);
        let room = rest.len().min(header.block_len);
        let room = rest.get_mut(..room).unwrap_or_default();
        filled += if word & NOT_COMPRESSED != 0 {
            copy_block(block, room)?
        } else if header.flags & INDEPENDENT != 0 {
            block::decompress_into(block, room).map_err(|source| FormatError::Lz4 { source })?
        } else {
            let window = done.get(done.len().saturating_sub(WINDOW)..).unwrap_or_default();
            block::decompress_into_with_dict(block, room, window).map_err(|source| FormatError::Lz4 { source })?
        };
    }
    if filled != raw.len() {
        return Err(FormatError::LengthMismatch {
            what: "content of the LZ4 frame in bytes",
            expected: raw.len() as u64,
            actual: filled as u64,
        });
    }
    if header.flags & CONTENT_CHECKSUM != 0 {
        check("content of the LZ4 frame", raw, take_u32(&mut input, WHAT)?)?;
    }
    if !input.is_empty() {
        return Err(FormatError::TrailingBytes { what: WHAT, len: input.len() as u64 });
    }
    Ok(())
}

struct Header {
    flags: u8,
    /// Most bytes one block may decode to.
    block_len: usize,
}

impl Header {
    fn read(input: &mut &[u8], raw_len: usize) -> Result<Self, FormatError> {
        if take(input, WHAT)? != MAGIC {
            return Err(FormatError::BadMagic { what: WHAT });
        }
        let summed = *input;
        let [flags, size] = take(input, WHAT)?;
        if flags & VERSION_MASK != VERSION {
            return Err(FormatError::UnknownVersion { what: WHAT, version: u64::from(flags >> 6) });
        }
        if flags & (RESERVED | DICTIONARY) != 0 || size & 0b1000_1111 != 0 {
            return Err(FormatError::Rule { what: WHAT, rule: "reserved bits are zero and no dictionary is used" });
        }
        let block_len = match size >> 4 {
            code @ 4..=7 => 1 << (2 * code + 8),
            _ => {
                return Err(FormatError::Rule { what: WHAT, rule: "the block size code is 4 to 7" });
            }
        };
        if flags & CONTENT_SIZE != 0 {
            let claimed = take_u64(input, WHAT)?;
            if claimed != raw_len as u64 {
                return Err(FormatError::LengthMismatch {
                    what: "content size in the LZ4 frame",
                    expected: raw_len as u64,
                    actual: claimed,
                });
            }
        }
        let descriptor = summed.get(..summed.len() - input.len()).unwrap_or_default();
        let [announced] = take(input, WHAT)?;
        let computed = header_checksum(descriptor);
        if computed != announced && !cfg!(fuzzing) {
            return Err(FormatError::ChecksumMismatch {
                what: "LZ4 frame header",
                expected: announced.into(),
                actual: computed.into(),
            });
        }
        Ok(Self { flags, block_len })
    }
}

fn copy_block(block: &[u8], room: &mut [u8]) -> Result<usize, FormatError> {
    let Some(target) = room.get_mut(..block.len()) else {
        return Err(FormatError::TooLarge {
            what: "LZ4 block in bytes",
            size: block.len() as u64,
            limit: room.len() as u64,
        });
    };
    target.copy_from_slice(block);
    Ok(block.len())
}

fn header_checksum(descriptor: &[u8]) -> u8 {
    XxHash32::oneshot(0, descriptor).to_le_bytes()[1]
}

fn check(what: &'static str, bytes: &[u8], expected: u32) -> Result<(), FormatError> {
    let actual = XxHash32::oneshot(0, bytes);
    if actual == expected { Ok(()) } else { Err(FormatError::ChecksumMismatch { what, expected, actual }) }
}
