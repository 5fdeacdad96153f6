//! Element types by the names that NumPy and ml_dtypes have for them.

use crate::dtype::Dtype;

/// The type with this name.
///
/// Types below a byte lie one a byte in memory, and so in these files; they come out as the byte they are, and the
/// second value tells it.
pub(crate) fn by_name(name: &str) -> Option<(Dtype, bool)> {
    let dtype = match name {
        "bool" | "bool_" => Dtype::Bool,
        "int8" => Dtype::I8,
        "int16" => Dtype::I16,
        "int32" => Dtype::I32,
        "int64" => Dtype::I64,
        "uint8" => Dtype::U8,
        "uint16" => Dtype::U16,
        "uint32" => Dtype::U32,
        "uint64" => Dtype::U64,
        "float16" => Dtype::F16,
        "bfloat16" | "V2" => Dtype::BF16,
        "float32" => Dtype::F32,
        "float64" => Dtype::F64,
        "complex64" => Dtype::C64,
        "complex128" => Dtype::C128,
        "float8_e4m3fn" => Dtype::F8E4M3,
        "float8_e4m3fnuz" => Dtype::F8E4M3Fnuz,
        "float8_e4m3b11fnuz" => Dtype::F8E4M3B11Fnuz,
        "float8_e5m2" => Dtype::F8E5M2,
        "float8_e5m2fnuz" => Dtype::F8E5M2Fnuz,
        "float8_e8m0fnu" => Dtype::F8E8M0,
        "int2" | "int4" => return Some((Dtype::I8, true)),
        "uint2" | "uint4" | "float4_e2m1fn" | "float6_e2m3fn" | "float6_e3m2fn" | "float8_e3m4" | "float8_e4m3" => {
            return Some((Dtype::U8, true));
        }
        _ => return None,
    };
    Some((dtype, false))
}
