//! Files that were written once and must be read by every later version.
//!
//! Each holds blocks of one element type: the bytes as they are, those of the base as they are, and then the same bytes
//! by every codec that can take them. `WH_WRITE_GOLDEN=1` writes files that are missing and never one that exists.

use std::path::PathBuf;

use weighthouse_format::Dtype;

use super::drift::Drift;
use super::tests::{bytes, framed, tuned, weights};
use super::*;

const DTYPES: [Dtype; 14] = [
    Dtype::F64,
    Dtype::F32,
    Dtype::F16,
    Dtype::BF16,
    Dtype::F8E4M3,
    Dtype::F8E5M2,
    Dtype::I64,
    Dtype::I32,
    Dtype::I16,
    Dtype::I8,
    Dtype::U8,
    Dtype::F4,
    Dtype::Q80,
    Dtype::Q4K,
];

fn path(dtype: Dtype) -> PathBuf {
    let name = format!("v1-{}.whtc", dtype.as_str().to_lowercase());
    PathBuf::from(env!("CARGO_MANIFEST_DIR")).join("tests/golden/codec").join(name)
}

/// Blocks of every codec for a small tensor of this type.
fn blocks(dtype: Dtype) -> Vec<Block> {
    let kind = Kind::of(dtype);
    let values = weights(1224, 1);
    let whole = |mut data: Vec<u8>| {
        data.truncate(data.len() / kind.unit() * kind.unit());
        data
    };
    let (base, data) = (whole(bytes(&values, dtype)), whole(bytes(&tuned(&values, 2), dtype)));
    let block = |codec, bytes: Vec<u8>| {
        let (raw_len, stored_len) = (data.len() as u32, bytes.len() as u32);
        Block {
            descriptor: Descriptor { codec, dtype, raw_len, stored_len, crc32c: crc_fast::crc32_iscsi(&bytes) },
            bytes,
        }
    };
    let mut all = vec![block(Codec::Raw, data.clone()), block(Codec::Raw, base.clone())];
    for level in [Level::Fast, Level::Cold] {
        let mut planes = Vec::new();
        planes::encode(&data, kind, level, &mut planes);
        all.push(block(Codec::Planes, planes));
        all.push(block(Codec::Zstd, framed(&data, frame::Style::Text(level))));
    }
    for drift in [Drift::NONE, Drift::share(40_000), Drift::decay(3, 160)] {
        let mut delta = Vec::new();
        assert!(delta::encode(&data, dtype, (&base, dtype), &drift, Level::Fast, &mut delta));
        all.push(block(Codec::Delta, delta));
    }
    for base in [None, Some((&*base, dtype))] {
        let mut given = Vec::new();
        if given::encode(&data, dtype, base, &mut given) {
            all.push(block(Codec::Given, given));
        }
    }
    let half = match dtype {
        Dtype::F32 => Some(Dtype::BF16),
        Dtype::BF16 => Some(Dtype::F16),
        _ => None,
    };
    if let Some(half) = half {
        // The base of such a block is the cast of the raw one.
        let copy = cast::cast(&data, dtype, half).unwrap_or_default();
        let mut delta = Vec::new();
        assert!(delta::encode(&data, dtype, (&copy, half), &Drift::NONE, Level::Fast, &mut delta));
        all.push(block(Codec::Delta, delta));
    }
    let mut recipe = vec![kind::code(dtype)];
    recipe.extend(crc_fast::crc32_iscsi(&data).to_le_bytes());
    all.push(block(Codec::Derived, recipe));
    all.retain(|block| block.bytes.len() <= data.len());
    all
}

#[test]
fn files_of_the_first_version_are_read() {
    let mut seen = Vec::new();
    for dtype in DTYPES {
        let path = path(dtype);
        if std::env::var_os("WH_WRITE_GOLDEN").is_some() && !path.exists() {
            std::fs::create_dir_all(path.parent().unwrap()).unwrap();
            std::fs::write(&path, container::write(&blocks(dtype))).unwrap();
        }
        let file = std::fs::read(&path).unwrap();
        let stored = container::read(&file).unwrap();
        let (raw, base) = (stored[0].1, stored[1].1);
        assert!(stored.len() > 3, "{dtype}");
        for &(descriptor, bytes) in &stored[2..] {
            assert_eq!(descriptor.dtype, dtype);
            let other = match descriptor.codec {
                Codec::Derived => Some(dtype),
                Codec::Delta => Some(delta::base_dtype(bytes).unwrap()),
                _ => None,
            };
            let base = match (descriptor.codec, other) {
                (Codec::Derived, _) => raw.to_vec(),
                (_, Some(other)) if other != dtype => cast::cast(raw, dtype, other).unwrap().into_owned(),
                _ => base.to_vec(),
            };
            assert!(decode_block(&descriptor, bytes, Some(&base)).unwrap() == raw, "{dtype} {:?}", descriptor.codec);
            seen.push(descriptor.codec);
        }
    }
    assert!(Codec::ALL[1..].iter().all(|codec| seen.contains(codec)));
}
