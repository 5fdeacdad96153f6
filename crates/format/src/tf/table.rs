//! Tables of LevelDB.
//!
//! ```text
//!   block │ block │ … │ metaindex block │ index block │ footer (48 bytes)
//!   block  = entries, restart offsets (u32 each), their number (u32), then: kind (u8), masked crc32c (u32)
//!   entry  = varints: bytes shared with the key before, bytes of its own, bytes of the value; the key's end; the value
//!   footer = handle of the metaindex, handle of the index (offset and length as varints), zeros, magic
//! ```
//!
//! Source: `table_format.md` of LevelDB; TensorFlow's copy has the same layout and masks.

use std::sync::Arc;

use crate::error::FormatError;
use crate::limits::Limits;
use crate::protobuf::{broken, varint};
use crate::source::Section;
use crate::tensor::{Filter, Piece, Region, Stored};

/// The last eight bytes.
pub(super) const MAGIC: [u8; 8] = 0xdb47_7524_8b80_fb57u64.to_le_bytes();
const FOOTER_BYTES: u64 = 48;
/// Kind and checksum behind each block.
const TRAILER_BYTES: u64 = 5;
/// Blocks up to this length are read whole and their checksum compared. Larger ones hold tensors of the first saver, and
/// are walked by reading keys only.
const CHECKED_BYTES: u64 = 4 << 20;
/// Three bytes of snappy give 64 at most.
const SNAPPY_RATIO: u64 = 22;
/// Lengths of an entry: three varints of up to five bytes.
const LENGTHS_BYTES: u64 = 15;

/// A value of the table: a range of the file, or of a block that was decoded.
pub(super) struct Value {
    /// The bytes. In a compressed block, a section of the decoded block.
    pub(super) section: Section,
    /// The compressed block.
    packed: Option<Stored>,
}

impl Value {
    /// A piece for `part` of the value.
    pub(super) fn piece(&self, region: Region, part: &Section) -> Result<Piece, FormatError> {
        let len = part.len();
        Ok(match &self.packed {
            None => Piece::plain(region, part.stored("table value", 0, len)?),
            Some(block) => Piece {
                region,
                stored: block.clone(),
                filters: vec![Filter::Snappy],
                decoded_bytes: part.begin() + len,
                first_byte: part.begin(),
                strides: None,
            },
        })
    }

    /// Whether the value lies in a compressed block.
    pub(super) const fn is_packed(&self) -> bool {
        self.packed.is_some()
    }
}

/// What is done with a key and its value.
pub(super) type Visit<'a> = dyn FnMut(&[u8], Value) -> Result<(), FormatError> + 'a;

/// Hands every key and its value to `visit`, in the order of the keys.
pub(super) fn entries(file: &Section, limits: &Limits, visit: &mut Visit<'_>) -> Result<(), FormatError> {
    if file.len() < FOOTER_BYTES || !super::is_table(file) {
        return Err(FormatError::BadMagic { what: "table of tensors" });
    }
    let body = file.slice("table", 0, file.len() - FOOTER_BYTES)?;
    let footer = file.tail("table footer", FOOTER_BYTES)?;
    let at = file.begin() + body.len();
    let (_, used) = handle(&footer, at)?;
    let (index, _) = handle(footer.get(used..).unwrap_or_default(), at)?;

    // Blocks do not overlap, so that a small file cannot be read a million times.
    let (mut end, mut count) = (0u64, 0u64);
    Block::open(&body, index, limits)?.entries(limits, &mut |_, value| {
        let at = value.section.begin();
        let bytes = value.section.head("block handle", 20)?;
        let (block, _) = handle(&bytes, at)?;
        if block.0 < end {
            return Err(broken("table index", at, format!("block at `{}` overlaps the one before", block.0)));
        }
        let block_end = block.0.checked_add(block.1);
        end = block_end.ok_or_else(|| broken("table index", at, format!("length `{}` overflows", block.1)))?;
        Block::open(&body, block, limits)?.entries(limits, &mut |key, value| {
            count += 1;
            Limits::at_most("number of table entries", count, limits.tensors)?;
            visit(key, value)
        })
    })
}

/// Offset and length of a block, and the bytes that they take.
fn handle(bytes: &[u8], at: u64) -> Result<((u64, u64), usize), FormatError> {
    let two = || {
        let (offset, first) = varint(bytes)?;
        let (len, second) = varint(bytes.get(first..)?)?;
        Some(((offset, len), first + second))
    };
    two().ok_or_else(|| broken("block handle", at, "a varint does not end"))
}

/// A block: where its bytes can be read, and where they are stored.
struct Block {
    data: Section,
    /// The bytes of a block that is small or compressed.
    memory: Option<Section>,
    packed: Option<Stored>,
}

impl Block {
    fn open(body: &Section, (offset, len): (u64, u64), limits: &Limits) -> Result<Self, FormatError> {
        let data = body.slice("table block", offset, len)?;
        let at = data.begin() + len;
        let trailer = body.slice("table block trailer", offset + len, TRAILER_BYTES)?.head("table block trailer", 5)?;
        let [kind, sum @ ..] = trailer.as_slice() else {
            return Err(FormatError::Truncated { what: "table block trailer", needed: TRAILER_BYTES, got: 0 });
        };
        let expected = unmask(sum.first_chunk().map_or(0, |bytes| u32::from_le_bytes(*bytes)));
        let check = |bytes: &[u8]| {
            let actual = crc_fast::crc32_iscsi(&[bytes, &[*kind]].concat());
            let wrong = FormatError::ChecksumMismatch { what: "table block", expected, actual };
            if actual == expected || cfg!(fuzzing) { Ok(()) } else { Err(wrong) }
        };
        match kind {
            0 if len > CHECKED_BYTES => Ok(Self { data, memory: None, packed: None }),
            0 => {
                let bytes = data.read("table block", 0, len)?;
                check(&bytes)?;
                let memory = Some(Section::of_bytes(Arc::clone(data.file()), bytes));
                Ok(Self { data, memory, packed: None })
            }
            1 => {
                Limits::at_most("compressed table block in bytes", len, limits.decoded_bytes)?;
                let bytes = data.read("table block", 0, len)?;
                check(&bytes)?;
                let memory = Section::of_bytes(Arc::clone(data.file()), snappy(&bytes, at, limits)?);
                Ok(Self {
                    data: memory.clone(),
                    memory: Some(memory),
                    packed: Some(data.stored("table block", 0, len)?),
                })
            }
            kind => Err(FormatError::Unsupported { what: "table block", detail: format!("compression `{kind}`") }),
        }
    }

    fn entries(&self, limits: &Limits, visit: &mut Visit<'_>) -> Result<(), FormatError> {
        let memory = self.memory.as_ref().unwrap_or(&self.data);
        let place = |at: u64| self.data.begin() + at;
        let count = memory.tail("table block", 4)?;
        let count = count.first_chunk().map_or(0, |bytes| u64::from(u32::from_le_bytes(*bytes)));
        let end = memory.len().checked_sub(4 + 4 * count);
        let end = end.ok_or_else(|| {
            broken("table block", place(memory.len()), format!("`{count}` restarts do not fit in it"))
        })?;
        let (mut at, mut key) = (0, Vec::new());
        while at < end {
            let lengths = memory.read("table entry", at, LENGTHS_BYTES.min(end - at))?;
            let parse = || {
                let (shared, one) = varint(&lengths)?;
                let (own, two) = varint(lengths.get(one..)?)?;
                let (value, three) = varint(lengths.get(one + two..)?)?;
                Some((shared, own, value, (one + two + three) as u64))
            };
            let (shared, own, value, used) =
                parse().ok_or_else(|| broken("table entry", place(at), "a varint does not end"))?;
            let room = end - at - used;
            if own > room || value > room - own {
                return Err(FormatError::Truncated {
                    what: "table entry",
                    needed: own.saturating_add(value),
                    got: room,
                });
            }
            if shared > key.len() as u64 {
                let detail = format!("`{shared}` bytes are shared with a key of {}", key.len());
                return Err(broken("table entry", place(at), detail));
            }
            // A slice's key spells the name with escapes, and adds extents.
            Limits::at_most("table key in bytes", shared + own, limits.name_bytes.saturating_mul(4))?;
            key.truncate(usize::try_from(shared).unwrap_or(0));
            key.extend(memory.read("table key", at + used, own)?);
            let section = self.data.slice("table value", at + used + own, value)?;
            visit(&key, Value { section, packed: self.packed.clone() })?;
            at += used + own + value;
        }
        Ok(())
    }
}

/// Decodes a snappy block whose claimed length is one that its bytes can give.
fn snappy(bytes: &[u8], at: u64, limits: &Limits) -> Result<Vec<u8>, FormatError> {
    let bad = |error: snap::Error| broken("snappy block", at, error.to_string());
    let claimed = snap::raw::decompress_len(bytes).map_err(bad)? as u64;
    let possible = (bytes.len() as u64).saturating_mul(SNAPPY_RATIO).min(limits.decoded_bytes);
    Limits::at_most("decoded snappy block in bytes", claimed, possible)?;
    snap::raw::Decoder::new().decompress_vec(bytes).map_err(bad)
}

/// Undoes the mask that LevelDB puts on checksums.
pub(super) const fn unmask(masked: u32) -> u32 {
    masked.wrapping_sub(0xa282_ead8).rotate_left(15)
}
