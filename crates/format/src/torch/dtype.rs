//! Names that torch has for element types.

use crate::dtype::Dtype;

/// The element type of `torch.NAME`.
pub(super) fn by_name(name: &str) -> Option<Dtype> {
    Some(match name {
        "float32" | "float" => Dtype::F32,
        "float64" | "double" => Dtype::F64,
        "float16" | "half" => Dtype::F16,
        "bfloat16" => Dtype::BF16,
        "int64" | "long" => Dtype::I64,
        "int32" | "int" => Dtype::I32,
        "int16" | "short" => Dtype::I16,
        "int8" => Dtype::I8,
        "uint8" | "bits8" => Dtype::U8,
        "uint16" | "bits16" => Dtype::U16,
        "uint32" => Dtype::U32,
        "uint64" => Dtype::U64,
        "bool" => Dtype::Bool,
        "complex32" | "chalf" => Dtype::C32,
        "complex64" | "cfloat" => Dtype::C64,
        "complex128" | "cdouble" => Dtype::C128,
        "float8_e4m3fn" => Dtype::F8E4M3,
        "float8_e5m2" => Dtype::F8E5M2,
        "float8_e4m3fnuz" => Dtype::F8E4M3Fnuz,
        "float8_e5m2fnuz" => Dtype::F8E5M2Fnuz,
        "float8_e8m0fnu" => Dtype::F8E8M0,
        "float4_e2m1fn_x2" => Dtype::F4,
        "qint8" => Dtype::QI8,
        "quint8" => Dtype::QU8,
        "qint32" => Dtype::QI32,
        "quint4x2" | "bits4x2" => Dtype::U4,
        "quint2x4" | "bits2x4" => Dtype::U2,
        _ => return None,
    })
}

/// What a storage class holds.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Held {
    /// Elements of this type.
    Elements(Dtype),
    /// Bytes: the tensor says of what type.
    Bytes,
}

/// What `torch.NAMEStorage` holds.
pub(super) fn by_storage(name: &str) -> Option<Held> {
    Some(Held::Elements(match name {
        "UntypedStorage" => return Some(Held::Bytes),
        "FloatStorage" => Dtype::F32,
        "DoubleStorage" => Dtype::F64,
        "HalfStorage" => Dtype::F16,
        "BFloat16Storage" => Dtype::BF16,
        "LongStorage" => Dtype::I64,
        "IntStorage" => Dtype::I32,
        "ShortStorage" => Dtype::I16,
        "CharStorage" => Dtype::I8,
        "ByteStorage" => Dtype::U8,
        "BoolStorage" => Dtype::Bool,
        "ComplexFloatStorage" => Dtype::C64,
        "ComplexDoubleStorage" => Dtype::C128,
        "QInt8Storage" => Dtype::QI8,
        "QUInt8Storage" => Dtype::QU8,
        "QInt32Storage" => Dtype::QI32,
        "QUInt4x2Storage" => Dtype::U4,
        "QUInt2x4Storage" => Dtype::U2,
        _ => return None,
    }))
}

/// The element type of PT2's number, as `torch/_export/serde/schema.py` has them.
pub(super) fn by_number(number: u64) -> Option<Dtype> {
    Some(match number {
        1 => Dtype::U8,
        2 => Dtype::I8,
        3 => Dtype::I16,
        4 => Dtype::I32,
        5 => Dtype::I64,
        6 => Dtype::F16,
        7 => Dtype::F32,
        8 => Dtype::F64,
        9 => Dtype::C32,
        10 => Dtype::C64,
        11 => Dtype::C128,
        12 => Dtype::Bool,
        13 => Dtype::BF16,
        28 => Dtype::U16,
        29 => Dtype::F8E4M3,
        30 => Dtype::F8E5M2,
        31 => Dtype::F8E4M3Fnuz,
        32 => Dtype::F8E5M2Fnuz,
        33 => Dtype::F8E8M0,
        _ => return None,
    })
}

/// Bytes of the numbers that an element is made of: the parts of a complex one, otherwise the element itself.
pub(super) fn number_bytes(dtype: Dtype) -> u32 {
    match dtype {
        Dtype::C32 | Dtype::C64 | Dtype::C128 => dtype.block_bytes() as u32 / 2,
        _ => dtype.block_bytes() as u32,
    }
}
