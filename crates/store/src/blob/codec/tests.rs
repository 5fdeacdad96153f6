//! What the codec promises, and what damage and strangers' bytes do to it.

use proptest::prelude::*;
use weighthouse_format::Dtype;

use super::drift::Drift;
use super::*;

/// A frame by itself.
pub fn framed(data: &[u8], style: frame::Style) -> Vec<u8> {
    let mut out = Vec::new();
    frame::compress_to(data, style, &mut out);
    out
}

/// Numbers that look like weights: normal, with a scale for each row of 384.
pub fn weights(count: usize, seed: u64) -> Vec<f32> {
    let mut state = seed.wrapping_mul(0x9e37_79b9_7f4a_7c15) | 1;
    let mut uniform = move || {
        state ^= state << 13;
        state ^= state >> 7;
        state ^= state << 17;
        (state >> 40) as f32 / (1u64 << 24) as f32
    };
    let mut scale = 0.05;
    (0..count)
        .map(|i| {
            if i % 384 == 0 {
                scale = 0.02 + 0.1 * uniform();
            }
            (0..6).map(|_| uniform() - 0.5).sum::<f32>() * scale
        })
        .collect()
}

/// The same after some steps of training; every third row stays as it was.
pub fn tuned(weights: &[f32], seed: u64) -> Vec<f32> {
    let steps = self::weights(weights.len(), seed);
    let moved =
        |(i, (&weight, step)): (usize, (&f32, f32))| if i / 384 % 3 == 0 { weight } else { weight + step * 1e-3 };
    weights.iter().zip(steps).enumerate().map(moved).collect()
}

/// Numbers as bytes of a type.
pub fn bytes(values: &[f32], dtype: Dtype) -> Vec<u8> {
    let single: Vec<u8> = values.iter().flat_map(|value| value.to_le_bytes()).collect();
    match dtype {
        Dtype::F64 => values.iter().flat_map(|&value| (f64::from(value) * 1.1).to_le_bytes()).collect(),
        Dtype::F32 | Dtype::BF16 | Dtype::F16 => cast::cast(&single, Dtype::F32, dtype).unwrap().into_owned(),
        Dtype::I32 => values.iter().flat_map(|&value| ((value * 1e4) as i32).to_le_bytes()).collect(),
        _ => values.iter().map(|&value| (value * 400.0) as i8 as u8).collect(),
    }
}

fn round_trip(dtype: Dtype, data: &[u8], base: Option<Base>, level: Level) -> Vec<Block> {
    let blocks = encode_tensor(dtype, data, base, level).unwrap();
    let mut at = 0;
    for block in &blocks {
        let end = at + block.descriptor.raw_len as usize;
        let words = |at: usize, base: &Base| at / Kind::of(dtype).word * Kind::of(base.dtype).word;
        let base = base.as_ref().map(|base| &base.data[words(at, base)..words(end, base)]);
        assert_eq!(Descriptor::from_bytes(&block.descriptor.to_bytes()).unwrap(), block.descriptor);
        let decoded = decode_block(&block.descriptor, &block.bytes, base).unwrap();
        assert!(decoded == data[at..end], "{dtype} at {at}");
        at = end;
    }
    assert_eq!(at, data.len());
    let stored = container::write(&blocks);
    let read = container::read(&stored).unwrap();
    assert!(read.iter().zip(&blocks).all(|(&(d, b), block)| d == block.descriptor && b == block.bytes));
    assert!(stored.len() as f64 <= (data.len().max(16 << 10)) as f64 * 1.002);
    blocks
}

fn stored(blocks: &[Block]) -> usize {
    blocks.iter().map(|block| block.bytes.len()).sum()
}

const LEVELS: [Level; 2] = [Level::Fast, Level::Cold];

#[test]
fn weights_of_every_float_type_come_back_smaller() {
    let values = weights(300_000, 1);
    for (dtype, share) in [(Dtype::F64, 0.97), (Dtype::F32, 0.87), (Dtype::BF16, 0.72), (Dtype::F16, 0.92)] {
        for level in LEVELS {
            let data = bytes(&values, dtype);
            let blocks = round_trip(dtype, &data, None, level);
            assert!((stored(&blocks) as f64) < data.len() as f64 * share, "{dtype} {level:?} {}", stored(&blocks));
        }
    }
}

#[test]
fn a_fine_tune_is_stored_as_its_difference() {
    let values = weights(300_000, 1);
    let tuned = tuned(&values, 2);
    for (dtype, share) in
        [(Dtype::F64, 0.75), (Dtype::F32, 0.55), (Dtype::BF16, 0.2), (Dtype::F16, 0.4), (Dtype::I32, 0.4)]
    {
        for level in LEVELS {
            let (base, data) = (bytes(&values, dtype), bytes(&tuned, dtype));
            let blocks = round_trip(dtype, &data, Some(Base { dtype, data: &base }), level);
            assert!(blocks.iter().all(|block| block.descriptor.codec == Codec::Delta), "{dtype}");
            assert!((stored(&blocks) as f64) < data.len() as f64 * share, "{dtype} {level:?} {}", stored(&blocks));
        }
    }
}

#[test]
fn an_exact_cast_is_stored_as_a_recipe() {
    let values = weights(200_000, 3);
    let pairs = [
        (Dtype::F32, Dtype::BF16),
        (Dtype::F32, Dtype::F16),
        (Dtype::BF16, Dtype::F32),
        (Dtype::F16, Dtype::F32),
        (Dtype::F32, Dtype::F32),
    ];
    for (from, to) in pairs {
        let base = bytes(&values, from);
        let data = cast::cast(&base, from, to).unwrap().into_owned();
        let blocks = round_trip(to, &data, Some(Base { dtype: from, data: &base }), Level::Fast);
        assert!(blocks.iter().all(|block| block.descriptor.codec == Codec::Derived), "{from} to {to}");
        assert_eq!(stored(&blocks), 5 * blocks.len());
    }
}

#[test]
fn a_master_is_stored_against_its_half_precision_copy() {
    let values = weights(200_000, 3);
    let data = bytes(&values, Dtype::F32);
    for dtype in [Dtype::BF16, Dtype::F16] {
        let base = bytes(&values, dtype);
        let blocks = round_trip(Dtype::F32, &data, Some(Base { dtype, data: &base }), Level::Fast);
        assert!(blocks.iter().all(|block| block.descriptor.codec == Codec::Delta));
        let share = stored(&blocks) as f64 / data.len() as f64;
        assert!(share < if dtype == Dtype::BF16 { 0.54 } else { 0.44 }, "{share}");
    }
}

#[test]
fn a_first_moment_is_coded_given_the_second_at_the_cold_level() {
    let scales = weights(200_000, 5);
    let second: Vec<f32> = scales.iter().map(|scale| (scale * 1e-4).powi(2)).collect();
    let first: Vec<f32> = weights(200_000, 6).iter().zip(&scales).map(|(x, scale)| x * scale * 1e-4).collect();
    let (first, second) = (bytes(&first, Dtype::F32), bytes(&second, Dtype::F32));
    let alone = round_trip(Dtype::F32, &first, None, Level::Cold);
    let given = round_trip(Dtype::F32, &first, Some(Base { dtype: Dtype::F32, data: &second }), Level::Cold);
    assert!(given.iter().all(|block| block.descriptor.codec == Codec::Given));
    assert!(stored(&given) * 100 < stored(&alone) * 99, "{} {}", stored(&given), stored(&alone));
}

#[test]
fn weights_that_only_decayed_are_foreseen() {
    let values = weights(200_000, 5);
    let mut decayed = values.clone();
    for _ in 0..160 {
        decayed.iter_mut().for_each(|value| *value *= 1.0 - 2e-7);
    }
    let (base, data) = (bytes(&values, Dtype::F32), bytes(&decayed, Dtype::F32));
    let blocks = round_trip(Dtype::F32, &data, Some(Base { dtype: Dtype::F32, data: &base }), Level::Fast);
    let mut plain = Vec::new();
    assert!(delta::encode(&data, Dtype::F32, (&base, Dtype::F32), &Drift::NONE, Level::Fast, &mut plain));
    assert!(stored(&blocks) < plain.len() / 100, "{} of {}", stored(&blocks), plain.len());
    // In doubles, where a single share says it well enough.
    let wide = |values: &[f32], share: f64| -> Vec<u8> {
        values.iter().flat_map(|&value| (f64::from(value) * share).to_le_bytes()).collect()
    };
    let (base, data) = (wide(&values, 1.1), wide(&values, 1.1 * (1.0 - 3e-5)));
    let blocks = round_trip(Dtype::F64, &data, Some(Base { dtype: Dtype::F64, data: &base }), Level::Fast);
    assert!(stored(&blocks) < data.len() / 4, "{} of {}", stored(&blocks), data.len());
}

#[test]
fn random_bytes_are_stored_as_they_are() {
    let mut state = 1u64;
    let data: Vec<u8> = (0..400_000)
        .map(|_| {
            state = state.wrapping_mul(6_364_136_223_846_793_005).wrapping_add(1);
            (state >> 56) as u8
        })
        .collect();
    for &dtype in Dtype::ALL {
        let whole = data.len() / block_bytes(dtype).min(1 << 12) * block_bytes(dtype).min(1 << 12);
        let whole = whole / Kind::of(dtype).unit() * Kind::of(dtype).unit();
        for level in LEVELS {
            let blocks = round_trip(dtype, &data[..whole], None, level);
            assert_eq!(stored(&blocks), whole, "{dtype}");
        }
    }
}

/// The header of a safetensors file, as it stands before its tensors.
fn header() -> Vec<u8> {
    let tensor = |i: usize| {
        format!(
            "\"model.layers.{i}.mlp.weight\":{{\"dtype\":\"BF16\",\"shape\":[{}],\"data_offsets\":[{i}00,{i}99]}},",
            i % 7
        )
    };
    (0..6000).map(tensor).collect::<String>().into_bytes()
}

#[test]
fn text_between_tensors_is_stored_with_its_repetitions() {
    let text = header();
    for level in LEVELS {
        let mut stored = 0;
        for raw in text.chunks(BLOCK_BYTES) {
            let block = Plan::bytes(level).encode_block(raw, None);
            assert_eq!(block.descriptor.codec, Codec::Zstd);
            assert!(decode_block(&block.descriptor, &block.bytes, None).unwrap() == raw);
            stored += block.bytes.len();
        }
        assert!(stored * 8 < text.len(), "{stored} of {}", text.len());
        for dtype in [Dtype::U8, Dtype::Text, Dtype::Bool] {
            let blocks = round_trip(dtype, &text, None, level);
            assert!(blocks.iter().all(|block| block.descriptor.codec == Codec::Zstd), "{dtype}");
        }
    }
}

#[test]
fn bytes_without_repetitions_are_stored_in_planes_or_raw() {
    let noise: Vec<u8> = weights(200_000, 8).iter().map(|value| (value * 400.0) as i8 as u8).collect();
    let block = Plan::bytes(Level::Fast).encode_block(&noise, None);
    assert_eq!(block.descriptor.codec, Codec::Planes);
    let block = Plan::bytes(Level::Fast).encode_block(b"{}", None);
    assert_eq!((block.descriptor.codec, &*block.bytes), (Codec::Raw, &b"{}"[..]));
}

#[test]
fn frames_that_hold_more_or_less_than_they_should_are_refused() {
    let text = header();
    // Far beyond the largest block, in a few kilobytes.
    let bomb = zstd::bulk::compress(&vec![0u8; 64 << 20], 19).unwrap();
    let short = framed(&text[..5000], frame::Style::Text(Level::Fast));
    // Says that it needs two gigabytes of window, and holds one byte.
    let window = [0x28, 0xb5, 0x2f, 0xfd, 0x00, 21 << 3, 0x09, 0x00, 0x00, b'x'];
    for (frame, raw_len) in [(&bomb[..], 1 << 20), (&short, 6000), (&short, 4999), (&window, 12), (b"no frame", 9)] {
        let descriptor = Descriptor { codec: Codec::Zstd, dtype: Dtype::U8, raw_len, stored_len: 0, crc32c: 0 };
        let refused = decode_damaged(&descriptor, frame, &[]);
        assert_eq!(refused, Err(CodecError::Damaged { what: "zstd frame" }), "{raw_len}");
    }
}

#[test]
fn a_base_of_another_length_is_refused() {
    let data = bytes(&weights(1000, 1), Dtype::BF16);
    let base = Base { dtype: Dtype::BF16, data: &data[2..] };
    let refused = encode_tensor(Dtype::BF16, &data, Some(base), Level::Fast);
    assert_eq!(refused, Err(CodecError::Base { wanted: 2000, found: 1998 }));
}

#[test]
fn another_base_is_found_by_the_checksum() {
    let values = weights(100_000, 1);
    let (base, data) = (bytes(&values, Dtype::BF16), bytes(&tuned(&values, 2), Dtype::BF16));
    let blocks =
        encode_tensor(Dtype::BF16, &data, Some(Base { dtype: Dtype::BF16, data: &base }), Level::Fast).unwrap();
    let mut other = base.clone();
    other[100] ^= 1;
    let Block { descriptor, bytes } = &blocks[0];
    let refused = decode_block(descriptor, bytes, Some(&other));
    assert!(refused.is_err() || refused == Ok(data.clone()), "{refused:?}");
    assert!(matches!(
        decode_block(descriptor, bytes, Some(&other)),
        Err(CodecError::Checksum { .. } | CodecError::Damaged { .. })
    ));
    assert!(matches!(decode_block(descriptor, bytes, None), Err(CodecError::Base { .. })));
}

/// Blocks of every codec.
fn some_of_each() -> Vec<(Block, Vec<u8>)> {
    let values = weights(3000, 1);
    let tuned = tuned(&values, 2);
    let mut all = Vec::new();
    for dtype in [Dtype::F64, Dtype::F32, Dtype::BF16, Dtype::F16, Dtype::I8, Dtype::F8E4M3] {
        for level in LEVELS {
            let (base, data) = (bytes(&values, dtype), bytes(&tuned, dtype));
            let kind = Kind::of(dtype);
            for codec in [Codec::Planes, Codec::Delta, Codec::Given, Codec::Zstd] {
                let mut stored = Vec::new();
                match codec {
                    Codec::Delta => {
                        assert!(delta::encode(&data, dtype, (&base, dtype), &Drift::decay(5, 300), level, &mut stored))
                    }
                    Codec::Given => assert!(given::encode(&data, dtype, Some((&base, dtype)), &mut stored)),
                    Codec::Zstd => stored = framed(&data, frame::Style::Text(level)),
                    _ => planes::encode(&data, kind, level, &mut stored),
                }
                let descriptor = Descriptor {
                    codec,
                    dtype,
                    raw_len: data.len() as u32,
                    stored_len: stored.len() as u32,
                    crc32c: crc_fast::crc32_iscsi(&stored),
                };
                if stored.len() <= data.len() {
                    assert!(decode_block(&descriptor, &stored, Some(&base)).unwrap() == data);
                    all.push((Block { descriptor, bytes: stored }, base.clone()));
                }
            }
        }
    }
    all
}

/// Decodes with a checksum that is right, so that damage reaches the decoders.
fn decode_damaged(descriptor: &Descriptor, bytes: &[u8], base: &[u8]) -> Result<Vec<u8>, CodecError> {
    let descriptor = Descriptor { stored_len: bytes.len() as u32, crc32c: crc_fast::crc32_iscsi(bytes), ..*descriptor };
    let decoded = decode_block(&descriptor, bytes, Some(base))?;
    assert_eq!(decoded.len(), descriptor.raw_len as usize);
    Ok(decoded)
}

#[test]
fn flipped_bits_and_cuts_are_errors_or_blocks_of_the_same_length() {
    for (block, base) in some_of_each() {
        let data = &block.bytes;
        let mut flipped = data.clone();
        for at in (0..data.len()).filter(|at| *at < 200 || at % 37 == 0) {
            flipped[at] ^= 1 << (at % 8);
            let _ = decode_damaged(&block.descriptor, &flipped, &base);
            flipped[at] = data[at];
            if at % 5 == 0 {
                assert!(decode_damaged(&block.descriptor, &data[..at], &base).is_err());
            }
        }
        let refused = decode_block(&block.descriptor, &flipped[1..], Some(&base));
        assert!(matches!(refused, Err(CodecError::Damaged { .. })));
    }
}

fn any_dtype() -> impl Strategy<Value = Dtype> {
    proptest::sample::select(Dtype::ALL)
}

proptest! {
    #[test]
    fn any_bytes_come_back(
        dtype in any_dtype(), mut data: Vec<u8>, flips in proptest::collection::vec((any::<proptest::sample::Index>(), any::<u8>()), 0..20), cold: bool
    ) {
        let unit = Kind::of(dtype).unit();
        data.truncate(data.len() / unit * unit);
        let mut base = data.clone();
        for (at, byte) in flips {
            if !base.is_empty() {
                let at = at.index(base.len());
                base[at] = byte;
            }
        }
        let level = if cold { Level::Cold } else { Level::Fast };
        round_trip(dtype, &data, None, level);
        round_trip(dtype, &data, Some(Base { dtype, data: &base }), level);
    }

    #[test]
    fn any_stored_bytes_are_decoded_or_refused(
        codec in 0u8..6, dtype in any_dtype(), raw_len in 0u32..5000, stored: Vec<u8>, base: Vec<u8>
    ) {
        let descriptor = Descriptor {
            codec: Codec::ALL[usize::from(codec)], dtype, raw_len, stored_len: 0, crc32c: 0,
        };
        let _ = decode_damaged(&descriptor, &stored, &base);
        let _ = container::read(&stored);
    }
}
