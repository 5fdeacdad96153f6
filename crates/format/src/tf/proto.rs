//! The few messages that checkpoints of both versions share.

use crate::dtype::Dtype;
use crate::error::FormatError;
use crate::limits::Limits;
use crate::protobuf::{Message, Value, broken};
use crate::tensor::{Filter, Tensor};

use super::ordered::Extent;

/// Our type for a code of `DataType`; `None` for resources and variants.
///
/// TensorFlow keeps integers of less than a byte in a byte each, so they are bytes here.
pub(super) const fn dtype(code: u64) -> Option<Dtype> {
    Some(match code {
        1 => Dtype::F32,
        2 => Dtype::F64,
        3 | 13 => Dtype::I32,
        4 | 12 | 30 | 32 => Dtype::U8,
        5 | 15 => Dtype::I16,
        6 | 11 | 29 | 31 => Dtype::I8,
        7 => Dtype::Text,
        8 => Dtype::C64,
        9 => Dtype::I64,
        10 => Dtype::Bool,
        14 => Dtype::BF16,
        16 | 17 => Dtype::U16,
        18 => Dtype::C128,
        19 => Dtype::F16,
        22 => Dtype::U32,
        23 => Dtype::U64,
        24 => Dtype::F8E5M2,
        25 => Dtype::F8E4M3,
        26 => Dtype::F8E4M3Fnuz,
        27 => Dtype::F8E4M3B11Fnuz,
        28 => Dtype::F8E5M2Fnuz,
        _ => return None,
    })
}

/// The filter that makes big-endian elements little-endian, if they need one.
pub(super) fn swap(dtype: Dtype, is_big_endian: bool) -> Option<Filter> {
    let width = match dtype {
        Dtype::C64 => 4,
        Dtype::C128 => 8,
        _ => dtype.block_bytes(),
    };
    (is_big_endian && width > 1).then_some(Filter::SwapBytes { width: width as u32 })
}

/// Extents of a `TensorShapeProto`.
pub(super) fn shape(message: &Message, limits: &Limits) -> Result<Vec<u64>, FormatError> {
    let mut extents = Vec::new();
    for field in message.fields("tensor shape")? {
        let field = field?;
        if let (2, Some(dim)) = (field.number, field.value.message()) {
            let mut extent = 0;
            for part in dim.fields("tensor dimension")? {
                if let (1, Value::Varint(size)) = part.map(|part| (part.number, part.value))? {
                    extent = size;
                }
            }
            if extent > i64::MAX as u64 {
                return Err(broken("tensor shape", field.at, format!("extent `{}` is negative", extent as i64)));
            }
            extents.push(extent);
            Limits::at_most("rank of a tensor", extents.len() as u64, limits.rank)?;
        }
    }
    Ok(extents)
}

/// Extents of a `TensorSliceProto`.
pub(super) fn slice(message: &Message, limits: &Limits) -> Result<Vec<Extent>, FormatError> {
    let mut extents = Vec::new();
    for field in message.fields("tensor slice")? {
        let field = field?;
        if let (1, Some(extent)) = (field.number, field.value.message()) {
            let (mut start, mut length) = (0, -1);
            for part in extent.fields("slice extent")? {
                match part.map(|part| (part.number, part.value))? {
                    (1, Value::Varint(value)) => start = value as i64,
                    (2, Value::Varint(value)) => length = value as i64,
                    _ => {}
                }
            }
            extents.push((start, length));
            Limits::at_most("rank of a slice", extents.len() as u64, limits.rank)?;
        }
    }
    Ok(extents)
}

/// The box of a tensor that a slice is: offsets and extents.
pub(super) fn slice_box(name: &str, extents: &[Extent], shape: &[u64]) -> Result<(Vec<u64>, Vec<u64>), FormatError> {
    let outside = || broken("tensor slice", 0, format!("a slice of `{name}` leaves its shape"));
    if extents.len() != shape.len() {
        return Err(outside());
    }
    let axis = |(&(start, length), &whole): (&Extent, &u64)| {
        let offset = u64::try_from(start).ok()?;
        let len = if length < 0 { whole.checked_sub(offset)? } else { length as u64 };
        (offset.checked_add(len)? <= whole).then_some((offset, len))
    };
    let boxed: Option<(Vec<_>, Vec<_>)> = extents.iter().zip(shape).map(axis).collect();
    boxed.ok_or_else(outside)
}

/// Refuses slices of one tensor that overlap.
pub(super) fn check_disjoint(name: &str, boxes: &[(Vec<u64>, Vec<u64>)]) -> Result<(), FormatError> {
    // Each is compared with each: partitioners make tens of slices, so that thousands are a lie.
    Limits::at_most("number of slices of a tensor", boxes.len() as u64, 4096)?;
    for (index, one) in boxes.iter().enumerate() {
        for other in boxes.get(index + 1..).unwrap_or_default() {
            let mut axes = one.0.iter().zip(&one.1).zip(other.0.iter().zip(&other.1));
            let overlap = |((&a, &len_a), (&b, &len_b)): ((&u64, &u64), (&u64, &u64))| a < b + len_b && b < a + len_a;
            if axes.all(overlap) {
                return Err(broken("tensor slice", 0, format!("slices of `{name}` overlap")));
            }
        }
    }
    Ok(())
}

/// Number of elements and bytes of a tensor, or of a slice; text has no bytes.
pub(super) fn size(name: &str, dtype: Dtype, shape: &[u64]) -> Result<(u64, u64), FormatError> {
    let overflow = || FormatError::SizeOverflow { tensor: name.to_owned() };
    let elements = Tensor::checked_elements(shape).ok_or_else(overflow)?;
    Ok((elements, dtype.size_bytes(elements).ok_or_else(overflow)?))
}
