//! `zarr.json`, the metadata of version 3.

use serde_json::{Map, Value};

use super::{Array, Codec, Keys, Shard, axes, broken, extents, fill, object, unsupported};
use crate::dtype::Dtype;
use crate::error::FormatError;
use crate::flax::by_name;
use crate::limits::Limits;
use crate::tensor::Filter;

/// Reads the metadata of an array; none when it is that of a group.
pub(in crate::orbax) fn parse(bytes: &[u8], limits: &Limits) -> Result<Option<Array>, FormatError> {
    let json = object(bytes)?;
    let get = |key: &str| json.get(key).unwrap_or(&Value::Null);
    if get("zarr_format") != 3 {
        return Err(broken(format!("`zarr_format` is `{}`", get("zarr_format"))));
    }
    match get("node_type").as_str() {
        Some("array") => {}
        Some("group") => return Ok(None),
        _ => return Err(broken(format!("`node_type` is `{}`", get("node_type")))),
    }
    let shape = extents(json.get("shape"), "shape", limits.rank)?;
    let (grid, grid_settings) = named(get("chunk_grid"));
    if grid != Some("regular") {
        return Err(unsupported("zarr chunk grid", get("chunk_grid")));
    }
    let chunk = extents(grid_settings.get("chunk_shape"), "chunk_shape", limits.rank)?;
    let (dtype, odd) = match get("data_type").as_str().and_then(|name| by_name(name).map(|found| (name, found))) {
        Some((name, (dtype, odd))) => (dtype, odd.then(|| name.to_owned())),
        None => return Err(unsupported("zarr type", get("data_type"))),
    };
    let (encoding, encoding_settings) = named(get("chunk_key_encoding"));
    let (prefix, usual) = match encoding {
        Some("default") => ("c", "/"),
        Some("v2") => ("", "."),
        _ => return Err(unsupported("zarr key encoding", get("chunk_key_encoding"))),
    };
    let separator = match encoding_settings.get("separator").map_or(Some(usual), Value::as_str) {
        Some(".") => '.',
        Some("/") => '/',
        _ => return Err(unsupported("zarr key encoding", get("chunk_key_encoding"))),
    };
    let Value::Array(codecs) = get("codecs") else { return Err(broken("`codecs` is no list".to_owned())) };
    let (codec, shard) = match codecs.as_slice() {
        [only] if named(only).0 == Some("sharding_indexed") => {
            (Codec::default(), Some(sharding(&named(only).1, dtype, shape.len(), limits)?))
        }
        codecs => (chain(codecs, dtype, shape.len())?, None),
    };
    if let Value::Array(transformers) = get("storage_transformers")
        && let Some(first) = transformers.first()
    {
        return Err(unsupported("zarr storage transformer", first));
    }
    let fill = fill::bytes(dtype, get("fill_value"))?;
    let keys = Keys { prefix, separator };
    Array { dtype, odd, shape, chunk, fill, keys, codec, shard }.check().map(Some)
}

/// Name and settings of an extension, which may be its bare name.
fn named(value: &Value) -> (Option<&str>, Map<String, Value>) {
    match value {
        Value::String(name) => (Some(name), Map::new()),
        _ => {
            let settings = value.get("configuration").and_then(Value::as_object).cloned();
            (value.get("name").and_then(Value::as_str), settings.unwrap_or_default())
        }
    }
}

/// Codecs from elements to bytes, turned around.
fn chain(codecs: &[Value], dtype: Dtype, rank: usize) -> Result<Codec, FormatError> {
    // Axes of the array in the order that the codecs so far have given them.
    let mut order: Vec<usize> = (0..rank).collect();
    let mut undo = Vec::new();
    let mut as_bytes = false;
    for codec in codecs {
        let (name, settings) = named(codec);
        match (name, as_bytes) {
            (Some("transpose"), false) => {
                let listed = match settings.get("order") {
                    Some(Value::Array(axes)) => axes.iter().map(|axis| axis.as_u64()?.try_into().ok()).collect(),
                    Some(Value::String(letter)) if letter == "C" => Some((0..rank).collect::<Vec<usize>>()),
                    Some(Value::String(letter)) if letter == "F" => Some((0..rank).rev().collect()),
                    _ => None,
                };
                let listed: Vec<usize> = listed.ok_or_else(|| unsupported("zarr codec", codec))?;
                axes(listed.clone(), rank)?;
                order = listed.iter().filter_map(|&axis| order.get(axis).copied()).collect();
            }
            (Some("bytes"), false) => {
                as_bytes = true;
                let width = match dtype {
                    Dtype::C64 => 4,
                    Dtype::C128 => 8,
                    _ => dtype.block_bytes(),
                };
                match settings.get("endian").map_or(Some("little"), Value::as_str) {
                    Some("little") => {}
                    Some("big") if width > 1 => {
                        undo.push(Filter::SwapBytes { width: u32::try_from(width).unwrap_or(1) });
                    }
                    Some("big") => {}
                    _ => return Err(unsupported("zarr codec", codec)),
                }
            }
            (Some("gzip"), true) => undo.push(Filter::Gzip),
            (Some("zstd"), true) => undo.push(Filter::Zstd),
            (Some("blosc"), true) => undo.push(Filter::Blosc),
            (Some("crc32c"), true) => undo.push(Filter::DropChecksum),
            _ => return Err(unsupported("zarr codec", codec)),
        }
    }
    if !as_bytes {
        return Err(broken("no codec makes bytes".to_owned()));
    }
    undo.reverse();
    Ok(Codec { axes: axes(order, rank)?, filters: undo })
}

fn sharding(settings: &Map<String, Value>, dtype: Dtype, rank: usize, limits: &Limits) -> Result<Shard, FormatError> {
    let chunk = extents(settings.get("chunk_shape"), "chunk_shape", limits.rank)?;
    let list = |key: &str| match settings.get(key) {
        Some(Value::Array(codecs)) => Ok(codecs.as_slice()),
        _ => Err(broken(format!("`{key}` is no list"))),
    };
    let codec = chain(list("codecs")?, dtype, rank)?;
    let index = list("index_codecs")?;
    let (mut index_big_endian, mut index_checksum) = (false, false);
    for (at, codec) in index.iter().enumerate() {
        let (name, settings) = named(codec);
        match (at, name, settings.get("endian").and_then(Value::as_str)) {
            (0, Some("bytes"), None | Some("little")) => {}
            (0, Some("bytes"), Some("big")) => index_big_endian = true,
            (1, Some("crc32c"), _) => index_checksum = true,
            _ => return Err(unsupported("zarr codec of an index", codec)),
        }
    }
    if index.is_empty() {
        return Err(broken("no codec makes bytes".to_owned()));
    }
    let index_last = match settings.get("index_location").map_or(Some("end"), Value::as_str) {
        Some("end") => true,
        Some("start") => false,
        _ => return Err(unsupported("place of a zarr index", settings.get("index_location").unwrap_or(&Value::Null))),
    };
    Ok(Shard { chunk, codec, index_last, index_checksum, index_big_endian })
}

#[cfg(test)]
mod tests {
    use super::parse;
    use crate::dtype::Dtype;
    use crate::limits::Limits;
    use crate::tensor::Filter;

    const GOOD: &str = r#"{"zarr_format":3,"node_type":"array","shape":[4,6,8],"data_type":"bfloat16","fill_value":0.0,
        "chunk_grid":{"name":"regular","configuration":{"chunk_shape":[2,3,4]}},"chunk_key_encoding":{"name":"default"},
        "codecs":[{"name":"transpose","configuration":{"order":[1,2,0]}},{"name":"transpose","configuration":{"order":[2,1,0]}},
        {"name":"bytes","configuration":{"endian":"big"}},{"name":"zstd","configuration":{"level":1}},{"name":"crc32c"}]}"#;

    #[test]
    fn metadata_is_read() {
        let array = parse(GOOD.as_bytes(), &Limits::default()).unwrap().unwrap();
        assert_eq!((array.dtype, &array.chunk[..]), (Dtype::BF16, &[2, 3, 4][..]));
        // [1, 2, 0] turned by [2, 1, 0].
        assert_eq!(array.codec.axes, Some(vec![0, 2, 1]));
        assert_eq!(array.codec.filters, [Filter::DropChecksum, Filter::Zstd, Filter::SwapBytes { width: 2 }]);
        let group = r#"{"zarr_format":3,"node_type":"group"}"#;
        assert_eq!(parse(group.as_bytes(), &Limits::default()).unwrap(), None);
    }

    #[test]
    fn hostile_metadata_gives_its_own_error() {
        for (from, to, expected) in [
            ("regular", "other", "zarr chunk grid is not supported"),
            ("[1,2,0]", "[1,1,0]", "zarr metadata at byte 0: `[1, 1, 0]` is no order of 3 axes"),
            ("[1,2,0]", "[1,2,99]", "zarr metadata at byte 0: `[1, 2, 99]` is no order of 3 axes"),
            (r#""bytes""#, r#""packbits""#, "zarr codec is not supported"),
            (r#""bfloat16""#, r#""string""#, r#"zarr type is not supported: `"string"`"#),
            (r#""default""#, r#""other""#, "zarr key encoding is not supported"),
            ("[2,3,4]", "[2,3]", "zarr metadata at byte 0: chunks of 2 axes in an array of 3"),
            (r#""array""#, r#""x""#, r#"zarr metadata at byte 0: `node_type` is `"x"`"#),
        ] {
            let error = parse(GOOD.replace(from, to).as_bytes(), &Limits::default()).unwrap_err().to_string();
            assert!(error.starts_with(expected), "{error}");
        }
    }
}
