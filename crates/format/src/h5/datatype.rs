//! Data types, and which of them are elements of tensors.

use crate::dtype::Dtype;
use crate::error::FormatError;
use crate::limits::Limits;
use crate::tensor::Filter;

use super::broken;
use super::bytes::Bytes;

/// Compound in compound in array: deeper than this is nobody's data.
const DEEPEST: u64 = 16;

/// A data type.
#[derive(Clone, Debug, PartialEq)]
pub(super) struct Datatype {
    pub(super) kind: Kind,
    /// Bytes of one element.
    pub(super) size: u64,
    pub(super) is_big_endian: bool,
}

#[derive(Clone, Debug, PartialEq)]
pub(super) enum Kind {
    Integer {
        is_signed: bool,
        is_plain: bool,
    },
    Float {
        exponent: u8,
        mantissa: u8,
    },
    /// Text of one length.
    Text {
        is_space_padded: bool,
    },
    /// Text of differing lengths, in global heaps.
    Variable,
    Compound(Vec<(String, u64, Datatype)>),
    /// Numbers with names.
    Enumeration {
        base: Box<Datatype>,
        names: Vec<String>,
    },
    Array {
        extents: Vec<u64>,
        base: Box<Datatype>,
    },
    Opaque,
    Other(u8),
}

impl Datatype {
    pub(super) fn read(bytes: &mut Bytes, limits: &Limits) -> Result<Self, FormatError> {
        read(bytes, limits, 0)
    }

    /// The element type, with the filter that makes it little-endian.
    pub(super) fn dtype(&self) -> Option<(Dtype, Option<Filter>)> {
        let dtype = match (&self.kind, self.size) {
            (Kind::Integer { is_signed, is_plain: true }, size) => match (is_signed, size) {
                (true, 1) => Dtype::I8,
                (true, 2) => Dtype::I16,
                (true, 4) => Dtype::I32,
                (true, 8) => Dtype::I64,
                (false, 1) => Dtype::U8,
                (false, 2) => Dtype::U16,
                (false, 4) => Dtype::U32,
                (false, 8) => Dtype::U64,
                _ => return None,
            },
            (Kind::Float { exponent, mantissa }, size) => match (size, exponent, mantissa) {
                (1, 4, 3) => Dtype::F8E4M3,
                (1, 5, 2) => Dtype::F8E5M2,
                (2, 5, 10) => Dtype::F16,
                (2, 8, 7) => Dtype::BF16,
                (4, 8, 23) => Dtype::F32,
                (8, 11, 52) => Dtype::F64,
                (16, 15, _) => Dtype::F128,
                _ => return None,
            },
            (Kind::Text { .. } | Kind::Variable, _) => return Some((Dtype::Text, None)),
            // How h5py spells booleans.
            (Kind::Enumeration { names, base }, 1) if matches!(base.kind, Kind::Integer { .. }) && is_bool(names) => {
                Dtype::Bool
            }
            (Kind::Enumeration { base, .. }, _) => return base.dtype(),
            (Kind::Compound(members), _) => return complex(members, self.size),
            _ => return None,
        };
        let width = self.size as u32;
        Some((dtype, (self.is_big_endian && width > 1).then_some(Filter::SwapBytes { width })))
    }

    /// Words for a message.
    pub(super) fn words(&self) -> String {
        let name = match &self.kind {
            Kind::Integer { .. } => "integer",
            Kind::Float { .. } => "float",
            Kind::Text { .. } | Kind::Variable => "text",
            Kind::Compound(_) => "compound",
            Kind::Enumeration { .. } => "enumeration",
            Kind::Array { .. } => "array",
            Kind::Opaque => "opaque",
            Kind::Other(2) => "time",
            Kind::Other(4) => "bit field",
            Kind::Other(7) => "reference",
            Kind::Other(9) => "sequence",
            Kind::Other(_) => "unknown",
        };
        format!("{name} of {} bytes", self.size)
    }
}

fn is_bool(names: &[String]) -> bool {
    matches!(names, [no, yes] if no == "FALSE" && yes == "TRUE")
}

/// h5py's complex numbers: a compound of `r` and `i`.
fn complex(members: &[(String, u64, Datatype)], size: u64) -> Option<(Dtype, Option<Filter>)> {
    let [(real, 0, one), (imaginary, second, other)] = members else { return None };
    if real != "r" || imaginary != "i" || one != other || *second != one.size || size != 2 * one.size {
        return None;
    }
    let (part, swap) = one.dtype()?;
    let dtype = match part {
        Dtype::F16 => Dtype::C32,
        Dtype::F32 => Dtype::C64,
        Dtype::F64 => Dtype::C128,
        _ => return None,
    };
    Some((dtype, swap))
}

fn read(bytes: &mut Bytes, limits: &Limits, depth: u64) -> Result<Datatype, FormatError> {
    Limits::at_most("nesting of hdf5 data types", depth, DEEPEST)?;
    let at = bytes.place();
    let first = bytes.u8()?;
    let (class, version) = (first & 0xf, first >> 4);
    let bits = bytes.uint(3)?;
    let size = u64::from(bytes.u32()?);
    if size == 0 && class != 3 {
        return Err(broken("hdf5 data type", at, "an element has no bytes"));
    }
    let mut is_big_endian = matches!(class, 0 | 1 | 4) && bits & 1 == 1;
    let kind = match class {
        0 => {
            let (offset, precision) = (bytes.u16()?, bytes.u16()?);
            Kind::Integer { is_signed: bits & 8 != 0, is_plain: offset == 0 && u64::from(precision) == size * 8 }
        }
        1 => {
            bytes.skip(4)?;
            bytes.skip(1)?;
            let exponent = bytes.u8()?;
            bytes.skip(1)?;
            let mantissa = bytes.u8()?;
            bytes.skip(4)?;
            // Byte orders of the VAX have both bits.
            if bits & 0x41 == 0x41 { Kind::Other(1) } else { Kind::Float { exponent, mantissa } }
        }
        3 => Kind::Text { is_space_padded: bits & 0xf == 2 },
        5 => {
            let tag = bits & 0xff;
            bytes.skip(usize::try_from(tag).unwrap_or(0).next_multiple_of(8).min(bytes.left()))?;
            Kind::Opaque
        }
        6 => {
            let mut members = Vec::new();
            for _ in 0..bits & 0xffff {
                members.push(member(bytes, version, size, limits, depth)?);
            }
            Kind::Compound(members)
        }
        8 => {
            let base = read(bytes, limits, depth + 1)?;
            let count = bits & 0xffff;
            let mut names = Vec::new();
            for _ in 0..count {
                names.push(name(bytes, version)?);
            }
            let values = count.saturating_mul(base.size);
            let values = bytes.take_long(values)?;
            // Only the usual values make a boolean.
            if values != [0, 1] && is_bool(&names) {
                names.push(String::new());
            }
            is_big_endian = base.is_big_endian;
            Kind::Enumeration { base: Box::new(base), names }
        }
        9 if bits & 0xf == 1 => {
            read(bytes, limits, depth + 1)?;
            Kind::Variable
        }
        9 => {
            read(bytes, limits, depth + 1)?;
            Kind::Other(9)
        }
        10 => {
            let rank = u64::from(bytes.u8()?);
            Limits::at_most("rank of an hdf5 array", rank, limits.rank)?;
            bytes.skip(if version < 3 { 3 } else { 0 })?;
            let mut extents = Vec::new();
            for _ in 0..rank {
                extents.push(u64::from(bytes.u32()?));
            }
            for _ in 0..if version < 3 { rank } else { 0 } {
                bytes.u32()?;
            }
            Kind::Array { extents, base: Box::new(read(bytes, limits, depth + 1)?) }
        }
        class => Kind::Other(class),
    };
    Ok(Datatype { kind, size, is_big_endian })
}

fn member(
    bytes: &mut Bytes,
    version: u8,
    size: u64,
    limits: &Limits,
    depth: u64,
) -> Result<(String, u64, Datatype), FormatError> {
    let name = name(bytes, version)?;
    let offset = match version {
        3.. => bytes.uint(super::btree2::width(size))?,
        _ => u64::from(bytes.u32()?),
    };
    if version == 1 {
        // Rank, permutation and extents of an array member, which nobody writes.
        bytes.skip(28)?;
    }
    let kind = read(bytes, limits, depth + 1)?;
    Ok((name, offset, kind))
}

/// A name; padded to a multiple of eight from its own begin, before version 3.
fn name(bytes: &mut Bytes, version: u8) -> Result<String, FormatError> {
    let text = bytes.until_zero()?;
    if version < 3 {
        bytes.skip((text.len() + 1).next_multiple_of(8) - text.len() - 1)?;
    }
    Ok(String::from_utf8_lossy(&text).into_owned())
}
