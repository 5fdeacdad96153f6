//! Fill values: one element, spelled in JSON.

use serde_json::Value;

use super::unsupported;
use crate::dtype::Dtype;
use crate::error::FormatError;

/// The little-endian bytes of a fill value; zeros where there is none.
pub(super) fn bytes(dtype: Dtype, value: &Value) -> Result<Vec<u8>, FormatError> {
    let width = usize::try_from(dtype.block_bytes()).unwrap_or(0);
    let refuse = || unsupported("fill value", value);
    let found = match (dtype, value) {
        (_, Value::Null) => Some(vec![0; width]),
        (Dtype::Bool, Value::Bool(value)) => Some(vec![u8::from(*value)]),
        (Dtype::C64 | Dtype::C128, Value::Array(parts)) => {
            let part = if dtype == Dtype::C64 { Dtype::F32 } else { Dtype::F64 };
            match parts.as_slice() {
                [real, imaginary] => Some([bytes(part, real)?, bytes(part, imaginary)?].concat()),
                _ => None,
            }
        }
        (_, Value::String(text)) if text.starts_with("0x") => hex(text, width),
        (_, value) => float(value)
            .filter(|&number| number == 0.0 && number.is_sign_positive())
            .map_or_else(|| number(dtype, value, width), |_| Some(vec![0; width])),
    };
    found.ok_or_else(refuse)
}

/// Bits as they are, the highest first.
fn hex(text: &str, width: usize) -> Option<Vec<u8>> {
    let digits = text.strip_prefix("0x")?;
    let number = u64::from_str_radix(digits, 16).ok()?;
    let bytes = number.to_le_bytes();
    (digits.len() == 2 * width).then(|| bytes.get(..width).map(<[u8]>::to_vec))?
}

fn float(value: &Value) -> Option<f64> {
    match value.as_str() {
        Some("NaN") => Some(f64::NAN),
        Some("Infinity") => Some(f64::INFINITY),
        Some("-Infinity") => Some(f64::NEG_INFINITY),
        Some(_) => None,
        None => value.as_f64(),
    }
}

fn number(dtype: Dtype, value: &Value, width: usize) -> Option<Vec<u8>> {
    match dtype {
        Dtype::F64 => Some(float(value)?.to_le_bytes().to_vec()),
        Dtype::F32 => Some((float(value)? as f32).to_le_bytes().to_vec()),
        Dtype::BF16 => {
            // Only what needs no rounding.
            let number = float(value)? as f32;
            let [low, middle, bytes @ ..] = number.to_le_bytes();
            (number.is_nan() || (low, middle) == (0, 0)).then(|| bytes.to_vec())
        }
        Dtype::F16 => {
            let number = float(value)?;
            if number.is_nan() {
                return Some(vec![0, 0x7E]);
            }
            let sign = if number.is_sign_negative() { 0x80 } else { 0 };
            if number.is_infinite() {
                return Some(vec![0, 0x7C | sign]);
            }
            // Only what needs no rounding, and is no subnormal number.
            let bits = number.to_bits();
            let exponent = i64::try_from(bits >> 52 & 0x7FF).ok()? - 1023 + 15;
            let exact = bits & ((1 << 42) - 1) == 0 && (1..31).contains(&exponent);
            let half = u16::try_from(exponent << 10).ok()? | u16::try_from(bits >> 42 & 0x3FF).ok()?;
            exact.then(|| (half | u16::from(sign) << 8).to_le_bytes().to_vec())
        }
        Dtype::I8 | Dtype::I16 | Dtype::I32 | Dtype::I64 => {
            let number = value.as_i64()?;
            let limit = 63 - (8 * u32::try_from(width).ok()? - 1);
            (number << limit >> limit == number).then(|| number.to_le_bytes().get(..width).map(<[u8]>::to_vec))?
        }
        Dtype::U8 | Dtype::U16 | Dtype::U32 | Dtype::U64 => {
            let number = value.as_u64()?;
            let limit = 64 - 8 * u32::try_from(width).ok()?;
            (number << limit >> limit == number).then(|| number.to_le_bytes().get(..width).map(<[u8]>::to_vec))?
        }
        _ => None,
    }
}

#[cfg(test)]
mod tests {
    use serde_json::json;

    use super::bytes;
    use crate::dtype::Dtype;

    #[test]
    fn fill_values_become_the_bytes_of_one_element() {
        for (dtype, value, expected) in [
            (Dtype::F32, json!(null), vec![0, 0, 0, 0]),
            (Dtype::F32, json!(1.5), 1.5f32.to_le_bytes().to_vec()),
            (Dtype::F64, json!("-Infinity"), f64::NEG_INFINITY.to_le_bytes().to_vec()),
            (Dtype::F32, json!("0x7fc00001"), vec![1, 0, 0xC0, 0x7F]),
            (Dtype::F16, json!(-1.5), vec![0, 0xBE]),
            (Dtype::F16, json!("NaN"), vec![0, 0x7E]),
            (Dtype::BF16, json!(1), vec![0x80, 0x3F]),
            (Dtype::BF16, json!("NaN"), vec![0xC0, 0x7F]),
            (Dtype::I8, json!(-1), vec![0xFF]),
            (Dtype::U16, json!(65535), vec![0xFF, 0xFF]),
            (Dtype::I64, json!(i64::MIN), i64::MIN.to_le_bytes().to_vec()),
            (Dtype::Bool, json!(true), vec![1]),
            (Dtype::Bool, json!(0), vec![0]),
            (Dtype::C64, json!([1.0, 0]), vec![0, 0, 0x80, 0x3F, 0, 0, 0, 0]),
            (Dtype::F8E4M3, json!(0.0), vec![0]),
            (Dtype::F32, json!(-0.0), vec![0, 0, 0, 0x80]),
        ] {
            assert_eq!(bytes(dtype, &value).unwrap(), expected, "{dtype} {value}");
        }
        for (dtype, value) in [
            (Dtype::I8, json!(128)),
            (Dtype::U8, json!(-1)),
            (Dtype::F8E4M3, json!(1.0)),
            (Dtype::BF16, json!(1.001)),
            (Dtype::F32, json!("0x7fc0")),
            (Dtype::F32, json!([1])),
            (Dtype::C64, json!([1])),
            (Dtype::I32, json!("AAAA")),
        ] {
            assert!(bytes(dtype, &value).is_err(), "{dtype} {value}");
        }
    }
}
