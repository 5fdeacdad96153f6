//! `.zarray`, the metadata of version 2.

use serde_json::Value;

use super::{Array, Codec, Keys, axes, broken, extents, fill, object, unsupported};
use crate::error::FormatError;
use crate::flax::by_name;
use crate::limits::Limits;
use crate::numpy::number_type;
use crate::tensor::Filter;

/// Reads the metadata of an array.
pub(in crate::orbax) fn parse(bytes: &[u8], limits: &Limits) -> Result<Array, FormatError> {
    let json = object(bytes)?;
    let get = |key: &str| json.get(key).unwrap_or(&Value::Null);
    if get("zarr_format") != 2 {
        return Err(broken(format!("`zarr_format` is `{}`", get("zarr_format"))));
    }
    let shape = extents(json.get("shape"), "shape", limits.rank)?;
    let chunk = extents(json.get("chunks"), "chunks", limits.rank)?;
    let Value::String(name) = get("dtype") else { return Err(unsupported("zarr type", get("dtype"))) };
    let (dtype, swapped, odd) = match by_name(name) {
        Some((dtype, odd)) => (dtype, None, odd.then(|| name.clone())),
        None => match number_type(name)? {
            Some((dtype, swapped)) => (dtype, swapped, None),
            None => return Err(unsupported("zarr type", get("dtype"))),
        },
    };
    let order = match get("order") {
        Value::String(order) if order == "F" => (0..shape.len()).rev().collect(),
        Value::Null => (0..shape.len()).collect(),
        Value::String(order) if order == "C" => (0..shape.len()).collect(),
        other => return Err(unsupported("zarr order", other)),
    };
    let separator = match get("dimension_separator") {
        Value::Null => '.',
        Value::String(text) if text == "." => '.',
        Value::String(text) if text == "/" => '/',
        other => return Err(unsupported("zarr key separator", other)),
    };
    let mut filters = compressor(get("compressor"))?;
    if let Value::Array(list) = get("filters") {
        // They were applied in their order, before compression.
        for filter in list.iter().rev() {
            filters.push(undo(filter)?);
        }
    }
    filters.extend(swapped.map(|width| Filter::SwapBytes { width }));
    let fill = fill::bytes(dtype, get("fill_value"))?;
    let codec = Codec { axes: axes(order, shape.len())?, filters };
    Array { dtype, odd, shape, chunk, fill, keys: Keys { prefix: "", separator }, codec, shard: None }.check()
}

fn compressor(value: &Value) -> Result<Vec<Filter>, FormatError> {
    Ok(match value.get("id").and_then(Value::as_str) {
        None if value.is_null() => Vec::new(),
        Some("zstd") => vec![Filter::Zstd],
        Some("zlib") => vec![Filter::Zlib],
        Some("gzip") => vec![Filter::Gzip],
        Some("blosc") => vec![Filter::Blosc],
        Some("lz4") => vec![Filter::Lz4],
        _ => return Err(unsupported("zarr compression", value)),
    })
}

fn undo(filter: &Value) -> Result<Filter, FormatError> {
    let width = filter.get("elementsize").and_then(Value::as_u64).and_then(|width| u32::try_from(width).ok());
    match (filter.get("id").and_then(Value::as_str), width) {
        (Some("shuffle"), Some(width)) if width > 0 => Ok(Filter::Unshuffle { width }),
        (Some("crc32" | "crc32c" | "adler32"), _) => {
            // numcodecs puts these checksums before the data, where none of our filters looks.
            Err(unsupported("zarr filter", filter))
        }
        (Some("zstd" | "zlib" | "gzip" | "blosc" | "lz4"), _) => {
            compressor(filter)?.pop().ok_or_else(|| unsupported("zarr filter", filter))
        }
        _ => Err(unsupported("zarr filter", filter)),
    }
}

#[cfg(test)]
mod tests {
    use super::parse;
    use crate::dtype::Dtype;
    use crate::limits::Limits;
    use crate::tensor::Filter;

    const GOOD: &str = r#"{"zarr_format":2,"shape":[4,6],"chunks":[2,3],"dtype":">f4","order":"F","fill_value":"NaN",
        "compressor":{"id":"blosc","cname":"lz4"},"filters":[{"id":"shuffle","elementsize":4}],"dimension_separator":"/"}"#;

    #[test]
    fn metadata_is_read() {
        let array = parse(GOOD.as_bytes(), &Limits::default()).unwrap();
        assert_eq!((array.dtype, &array.shape[..], &array.chunk[..]), (Dtype::F32, &[4, 6][..], &[2, 3][..]));
        assert_eq!(array.codec.axes, Some(vec![1, 0]));
        let filters = [Filter::Blosc, Filter::Unshuffle { width: 4 }, Filter::SwapBytes { width: 4 }];
        assert_eq!(array.codec.filters, filters);
        assert_eq!((array.keys.prefix, array.keys.separator), ("", '/'));
        assert_eq!(array.fill, [0, 0, 0xC0, 0x7F]);
    }

    #[test]
    fn hostile_metadata_gives_its_own_error() {
        for (from, to, expected) in [
            (r#""zarr_format":2"#, r#""zarr_format":3"#, "zarr metadata at byte 0: `zarr_format` is `3`"),
            ("[4,6]", "[4]", "zarr metadata at byte 0: chunks of 2 axes in an array of 1"),
            ("[4,6]", "[4,-6]", "zarr metadata at byte 0: `shape` has the extent `-6`"),
            ("[2,3]", "[2,0]", "zarr metadata at byte 0: a chunk has no elements"),
            ("[2,3]", "[9223372036854775807,3]", "zarr metadata at byte 0: the size of a chunk overflows"),
            ("[4,6]", "[9223372036854775807,9]", "zarr metadata at byte 0: the size of the array overflows"),
            (r#"">f4""#, r#"[["a","<i4"]]"#, r#"zarr type is not supported: `[["a","<i4"]]`"#),
            (r#"">f4""#, r#""|O""#, r#"zarr type is not supported: `"|O"`"#),
            ("blosc", "bz2", r#"zarr compression is not supported: `{"id":"bz2","cname":"lz4"}`"#),
            ("shuffle", "delta", r#"zarr filter is not supported: `{"id":"delta","elementsize":4}`"#),
            (r#""order":"F""#, r#""order":"K""#, r#"zarr order is not supported: `"K"`"#),
            (r#""NaN""#, r#""x""#, r#"fill value is not supported: `"x"`"#),
        ] {
            let error = parse(GOOD.replace(from, to).as_bytes(), &Limits::default()).unwrap_err();
            assert_eq!(error.to_string(), expected);
        }
        let nested = format!("{{\"a\":{}", "[".repeat(100_000));
        assert!(parse(nested.as_bytes(), &Limits::default()).is_err());
    }
}
