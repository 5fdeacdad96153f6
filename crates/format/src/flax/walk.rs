//! From msgpack to leaves with their paths.

use serde_json::{Value, json};

use super::by_name;
use super::msgpack::{Item, item, text};
use crate::cursor::Cursor;
use crate::dtype::Dtype;
use crate::error::FormatError;
use crate::limits::Limits;
use crate::source::Section;
use crate::tensor::{Stored, Tensor};

const WHAT: &str = "flax checkpoint";

/// What a path leads to.
#[derive(Clone, Debug, PartialEq)]
pub(crate) enum Leaf {
    /// An array, and where its bytes are.
    Array {
        /// Element type.
        dtype: Dtype,
        /// Extents.
        shape: Vec<u64>,
        /// Its elements, row-major and little-endian.
        stored: Stored,
        /// Name of a type that lies one a byte and has less than a byte, or none here.
        odd: Option<String>,
    },
    /// A number, text, or nothing.
    Scalar(Value),
}

/// A map or an array that is being read.
struct Open {
    /// Items to come: values of a map, elements of an array.
    left: u64,
    /// Number of the next element; maps have keys instead.
    index: Option<u64>,
}

/// Calls `each` for every leaf, with its path; the file is one item from end to end.
pub(crate) fn walk(
    section: &Section,
    limits: &Limits,
    mut each: impl FnMut(&[String], Leaf) -> Result<(), FormatError>,
) -> Result<(), FormatError> {
    let mut cursor = Cursor::new(section, WHAT);
    let (mut open, mut path) = (Vec::<Open>::new(), Vec::<String>::new());
    match item(&mut cursor)? {
        Item::Map(left) => open.push(Open { left, index: None }),
        _ => return Err(cursor.broken(0, "the outermost item is no map")),
    }
    while let Some(top) = open.last_mut() {
        if top.left == 0 {
            open.pop();
            path.pop();
            continue;
        }
        top.left -= 1;
        path.push(match &mut top.index {
            Some(index) => {
                *index += 1;
                (*index - 1).to_string()
            }
            None => key(&mut cursor, limits)?,
        });
        let name_bytes: usize = path.iter().map(|part| part.len() + 1).sum();
        Limits::at_most("tensor name length in bytes", name_bytes as u64 - 1, limits.name_bytes)?;
        let leaf = match item(&mut cursor)? {
            Item::Map(left) => {
                open.push(Open { left, index: None });
                None
            }
            Item::Array(left) => {
                open.push(Open { left, index: Some(0) });
                None
            }
            Item::Scalar(value) => Some(Leaf::Scalar(value)),
            Item::Text(len) => {
                Some(Leaf::Scalar(text(&mut cursor, len, "text length in bytes", limits.text_bytes)?.into()))
            }
            Item::Bytes(len) => {
                let at = cursor.at();
                let stored = section.stored(WHAT, at, len)?;
                cursor.skip(len)?;
                Some(Leaf::Array { dtype: Dtype::U8, shape: vec![len], stored, odd: None })
            }
            Item::Extension(kind, len) => Some(extension(&mut cursor, section, kind, len, limits)?),
        };
        match leaf {
            Some(leaf) => {
                each(&path, leaf)?;
                path.pop();
            }
            None => Limits::at_most("nesting of msgpack items", open.len() as u64, limits.depth)?,
        }
    }
    match cursor.remaining() {
        0 => Ok(()),
        len => Err(FormatError::TrailingBytes { what: WHAT, len }),
    }
}

fn key(cursor: &mut Cursor<'_>, limits: &Limits) -> Result<String, FormatError> {
    let at = cursor.at();
    match item(cursor)? {
        Item::Text(len) | Item::Bytes(len) => text(cursor, len, "tensor name length in bytes", limits.name_bytes),
        _ => Err(cursor.broken(at, "a key is no text")),
    }
}

/// Reads an array, or a complex number, and ends behind it.
fn extension(
    cursor: &mut Cursor<'_>,
    section: &Section,
    kind: i8,
    len: u64,
    limits: &Limits,
) -> Result<Leaf, FormatError> {
    let at = cursor.at();
    cursor.need(len)?;
    let end = at.saturating_add(len);
    let leaf = match kind {
        1 | 3 => array(cursor, section, limits)?,
        2 => match [item(cursor)?, item(cursor)?, item(cursor)?] {
            [Item::Array(2), Item::Scalar(real), Item::Scalar(imaginary)] => {
                Leaf::Scalar(json!({ "real": real, "imag": imaginary }))
            }
            _ => return Err(cursor.broken(at, "a complex number has not two parts")),
        },
        // What another library has put there is passed over.
        _ => {
            cursor.skip(len)?;
            Leaf::Scalar(json!({ "extension": kind, "bytes": len }))
        }
    };
    if cursor.at() != end {
        let actual = cursor.at().saturating_sub(at);
        return Err(FormatError::LengthMismatch { what: "flax array in bytes", expected: len, actual });
    }
    Ok(leaf)
}

fn array(cursor: &mut Cursor<'_>, section: &Section, limits: &Limits) -> Result<Leaf, FormatError> {
    let at = cursor.at();
    let odd = |cursor: &Cursor<'_>| cursor.broken(at, "an array is not shape, dtype and bytes");
    let (Item::Array(3), Item::Array(rank)) = (item(cursor)?, item(cursor)?) else { return Err(odd(cursor)) };
    Limits::at_most("rank of a tensor", rank, limits.rank)?;
    let mut shape = Vec::new();
    for _ in 0..rank {
        match item(cursor)? {
            Item::Scalar(extent) if extent.is_u64() => shape.extend(extent.as_u64()),
            _ => return Err(cursor.broken(at, "an extent is no number")),
        }
    }
    let name = match item(cursor)? {
        Item::Text(len) | Item::Bytes(len) => text(cursor, len, "dtype name length in bytes", 64)?,
        _ => return Err(odd(cursor)),
    };
    let Item::Bytes(len) = item(cursor)? else { return Err(odd(cursor)) };
    let Some((dtype, is_odd)) = by_name(&name) else {
        return Err(FormatError::Unsupported { what: "dtype of a flax array", detail: format!("`{name}`") });
    };
    let size = Tensor::checked_elements(&shape).and_then(|elements| dtype.size_bytes(elements));
    if size != Some(len) {
        let detail = format!("an array of `{name}` and shape {shape:?} has {len} bytes");
        return Err(cursor.broken(at, detail));
    }
    let stored = section.stored(WHAT, cursor.at(), len)?;
    cursor.skip(len)?;
    Ok(Leaf::Array { dtype, shape, stored, odd: is_odd.then_some(name) })
}
