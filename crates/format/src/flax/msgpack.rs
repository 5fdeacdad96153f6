//! Msgpack, one item at a time.

use serde_json::Value;

use crate::cursor::Cursor;
use crate::error::FormatError;
use crate::limits::Limits;

/// An item; of those with content only how much of it follows.
#[derive(Clone, Debug, PartialEq)]
pub(super) enum Item {
    /// Null, a boolean or a number.
    Scalar(Value),
    /// Text of so many bytes follows.
    Text(u64),
    /// So many bytes follow.
    Bytes(u64),
    /// So many items follow.
    Array(u64),
    /// So many keys and values follow.
    Map(u64),
    /// An extension of this type; so many bytes follow.
    Extension(i8, u64),
}

/// Reads the next item.
pub(super) fn item(cursor: &mut Cursor<'_>) -> Result<Item, FormatError> {
    let at = cursor.at();
    let byte = cursor.byte()?;
    Ok(match byte {
        0x00..=0x7F => Item::Scalar(byte.into()),
        0x80..=0x8F => map(cursor, u64::from(byte & 0x0F))?,
        0x90..=0x9F => array(cursor, u64::from(byte & 0x0F))?,
        0xA0..=0xBF => Item::Text(u64::from(byte & 0x1F)),
        0xC0 => Item::Scalar(Value::Null),
        0xC2 => Item::Scalar(false.into()),
        0xC3 => Item::Scalar(true.into()),
        0xC4..=0xC6 => Item::Bytes(length(cursor, byte - 0xC4)?),
        0xC7..=0xC9 => {
            let len = length(cursor, byte - 0xC7)?;
            Item::Extension(cursor.byte()?.cast_signed(), len)
        }
        0xCA => Item::Scalar(float(f32::from_be_bytes(cursor.array()?).into())),
        0xCB => Item::Scalar(float(f64::from_be_bytes(cursor.array()?))),
        0xCC => Item::Scalar(cursor.byte()?.into()),
        0xCD => Item::Scalar(u16::from_be_bytes(cursor.array()?).into()),
        0xCE => Item::Scalar(u32::from_be_bytes(cursor.array()?).into()),
        0xCF => Item::Scalar(u64::from_be_bytes(cursor.array()?).into()),
        0xD0 => Item::Scalar(cursor.byte()?.cast_signed().into()),
        0xD1 => Item::Scalar(i16::from_be_bytes(cursor.array()?).into()),
        0xD2 => Item::Scalar(i32::from_be_bytes(cursor.array()?).into()),
        0xD3 => Item::Scalar(i64::from_be_bytes(cursor.array()?).into()),
        0xD4..=0xD8 => Item::Extension(cursor.byte()?.cast_signed(), 1 << (byte - 0xD4)),
        0xD9..=0xDB => Item::Text(length(cursor, byte - 0xD9)?),
        0xDC | 0xDD => {
            let count = length(cursor, byte - 0xDC + 1)?;
            array(cursor, count)?
        }
        0xDE | 0xDF => {
            let count = length(cursor, byte - 0xDE + 1)?;
            map(cursor, count)?
        }
        0xE0..=0xFF => Item::Scalar(byte.cast_signed().into()),
        0xC1 => return Err(cursor.broken(at, "the byte `0xc1` begins no item")),
    })
}

/// Reads text of `len` bytes.
pub(super) fn text(cursor: &mut Cursor<'_>, len: u64, what: &'static str, limit: u64) -> Result<String, FormatError> {
    let at = cursor.at();
    cursor.need(len)?;
    Limits::at_most(what, len, limit)?;
    String::from_utf8(cursor.bytes(len)?).map_err(|_| cursor.broken(at, "text is not UTF-8"))
}

fn length(cursor: &mut Cursor<'_>, size: u8) -> Result<u64, FormatError> {
    Ok(match size {
        0 => cursor.byte()?.into(),
        1 => u16::from_be_bytes(cursor.array()?).into(),
        _ => u32::from_be_bytes(cursor.array()?).into(),
    })
}

/// Every item has a byte at least.
fn array(cursor: &Cursor<'_>, count: u64) -> Result<Item, FormatError> {
    cursor.need(count)?;
    Ok(Item::Array(count))
}

fn map(cursor: &Cursor<'_>, count: u64) -> Result<Item, FormatError> {
    cursor.need(count.saturating_mul(2))?;
    Ok(Item::Map(count))
}

fn float(number: f64) -> Value {
    if number.is_finite() { number.into() } else { number.to_string().into() }
}
