use proptest::prelude::*;
use sha2::{Digest, Sha256};

use super::*;
use crate::gguf::dequant::dequantise;

/// Sets of numbers, types, and digests of the blocks of gguf 0.19.0 (`Q4_0` to `Q8_0`) and of the ggml that
/// llama-cpp-python 0.3.36 builds (`Q4_K` to `Q6_K`); written by `tests/golden/gguf_quantised.py`.
const GOLDEN: &str = include_str!("../../../tests/golden/gguf_quantised.txt");
const COUNT: usize = 65_536;
const BLOCKS: [Dtype; 8] =
    [Dtype::Q40, Dtype::Q41, Dtype::Q50, Dtype::Q51, Dtype::Q80, Dtype::Q4K, Dtype::Q5K, Dtype::Q6K];

/// SplitMix64, as the script has it.
fn words() -> Vec<u64> {
    let mut seed = 7u64;
    (0..COUNT)
        .map(|_| {
            seed = seed.wrapping_add(0x9E37_79B9_7F4A_7C15);
            let word = (seed ^ seed >> 30).wrapping_mul(0xBF58_476D_1CE4_E5B9);
            let word = (word ^ word >> 27).wrapping_mul(0x94D0_49BB_1331_11EB);
            word ^ word >> 31
        })
        .collect()
}

/// The numbers that the script calls `name`.
fn source(name: &str, words: &[u64]) -> Vec<f32> {
    let bell = |word: u64| {
        let sum: i32 = [0, 16, 32, 48].map(|shift| i32::from((word >> shift) as i16)).iter().sum();
        sum as f32 / 65_536.0
    };
    let level = |word: u64| (word % 256) as f32 - 128.0;
    let number = |place: usize| {
        let word = words[place];
        let bits = word as u32 & 0x807F_FFFF;
        match name {
            "bell" => bell(word),
            "positive" => bell(word).abs(),
            "grouped" => bell(word) * 2f32.powi((words[place / 16 * 16] & 15) as i32 - 12),
            "levels" => level(word),
            "ties" => (level(word) + 0.5) / 2.0,
            "sparse" if (word >> 20).is_multiple_of(8) && !words[place / 64 * 64].is_multiple_of(3) => bell(word),
            "sparse" => 0.0,
            "subnormal" => f32::from_bits(bits),
            "huge" => f32::from_bits(bits | 0x7E00_0000),
            other => panic!("{other}"),
        }
    };
    (0..COUNT).map(number).collect()
}

fn blocks(dtype: Dtype, numbers: &[f32]) -> Vec<u8> {
    let mut out = Vec::new();
    quantise(dtype, numbers, &mut out).unwrap();
    out
}

/// The numbers that blocks stand for.
fn back(dtype: Dtype, numbers: &[f32]) -> Vec<f32> {
    let mut out = vec![0.0; numbers.len()];
    dequantise(dtype, &blocks(dtype, numbers), &mut out).unwrap();
    out
}

#[test]
fn every_block_is_that_of_the_reference_to_the_bit() {
    let words = words();
    let mut covered = 0;
    for line in GOLDEN.lines() {
        let [name, dtype, digest] = line.split(' ').collect::<Vec<_>>()[..] else { panic!("{line}") };
        let blocks = blocks(Dtype::parse(dtype).unwrap(), &source(name, &words));
        let found: String = Sha256::digest(&blocks).iter().map(|byte| format!("{byte:02x}")).collect();
        assert_eq!(found, digest, "{name} as {dtype}");
        covered += 1;
    }
    assert_eq!(covered, 8 * BLOCKS.len());
}

#[test]
fn more_bits_lose_less() {
    let numbers = source("bell", &words());
    let mut last = f64::MAX;
    for dtype in [Dtype::Q40, Dtype::Q4K, Dtype::Q50, Dtype::Q5K, Dtype::Q6K, Dtype::Q80, Dtype::F16] {
        let squares = numbers.iter().zip(back(dtype, &numbers)).map(|(one, two)| f64::from(one - two).powi(2));
        let error = (squares.sum::<f64>() / COUNT as f64).sqrt();
        assert!(error < last, "{dtype}: {error} {last}");
        last = error;
    }
}

#[test]
fn what_a_block_stands_for_is_quantised_to_the_same_levels() {
    let numbers = source("grouped", &words());
    for dtype in [Dtype::Q40, Dtype::Q50, Dtype::Q80] {
        let once = back(dtype, &numbers);
        let twice = back(dtype, &once);
        // The scale was rounded to half precision once; the second time it is found again.
        let close = once.iter().zip(&twice).filter(|(one, two)| one == two).count();
        assert!(close * 100 >= COUNT * 99, "{dtype}: {close}");
    }
}

#[test]
fn zeros_make_blocks_of_zeros() {
    for dtype in BLOCKS {
        for zero in [0.0, -0.0] {
            assert!(back(dtype, &[zero; 256]).iter().all(|&number| number == 0.0), "{dtype}");
        }
    }
    // gguf-py 0.19: `quantize(np.full(32, -0.0, "f4"), GGMLQuantizationType.Q4_0)[:2]`, and of 0.0.
    assert_eq!(blocks(Dtype::Q40, &[-0.0; 32])[..2], [0x00, 0x00]);
    assert_eq!(blocks(Dtype::Q40, &[0.0; 32])[..2], [0x00, 0x80]);
}

#[test]
fn nan_and_infinity_spoil_no_other_block() {
    for dtype in BLOCKS {
        let len = dtype.block_elements() as usize;
        let good: Vec<f32> = (0..len).map(|place| place as f32 - 7.5).collect();
        let expected = blocks(dtype, &good);
        for bad in [f32::NAN, -f32::NAN, f32::INFINITY, f32::NEG_INFINITY, f32::MAX, f32::MIN_POSITIVE] {
            let mut numbers = [&good[..], &good, &good].concat();
            numbers[len + 3] = bad;
            let found = blocks(dtype, &numbers);
            assert_eq!(found[..expected.len()], expected, "{dtype} {bad}");
            assert_eq!(found[2 * expected.len()..], expected, "{dtype} {bad}");
        }
    }
}

#[test]
fn odd_lengths_and_other_types_are_refused_and_leave_nothing() {
    let mut out = vec![1, 2];
    for (dtype, len) in [(Dtype::Q80, 31), (Dtype::Q4K, 128), (Dtype::Q6K, 257)] {
        let error = quantise(dtype, &vec![0.0; len], &mut out).unwrap_err();
        assert!(matches!(error, FormatError::LengthMismatch { .. }));
    }
    let error = quantise(Dtype::IQ2XS, &[0.0; 256], &mut out).unwrap_err();
    assert!(error.to_string().contains("possible are F16, BF16, F32, Q4_0"), "{error}");
    assert_eq!(out, [1, 2]);
    for &dtype in Dtype::ALL {
        assert_eq!(quantise(dtype, &[0.0; 256], &mut out).is_ok(), can_quantise(dtype), "{dtype}");
    }
}

proptest! {
    #[test]
    fn any_bits_give_whole_blocks_that_are_read(bits in prop::collection::vec(any::<u32>(), 512)) {
        let numbers: Vec<f32> = bits.iter().map(|&bits| f32::from_bits(bits)).collect();
        for dtype in BLOCKS {
            let found = blocks(dtype, &numbers);
            prop_assert_eq!(Some(found.len() as u64), dtype.size_bytes(512));
            let mut out = vec![0.0; 512];
            dequantise(dtype, &found, &mut out).unwrap();
        }
    }

    #[test]
    fn no_number_is_farther_off_than_a_level(numbers in prop::collection::vec(-100f32..100.0, 256)) {
        for (dtype, levels) in [(Dtype::Q40, 8.0), (Dtype::Q41, 15.0), (Dtype::Q50, 16.0), (Dtype::Q51, 31.0), (Dtype::Q80, 127.0)] {
            let found = back(dtype, &numbers);
            for (numbers, found) in numbers.chunks(32).zip(found.chunks(32)) {
                let most = numbers.iter().fold(0f32, |most, number| most.max(number.abs()));
                let step = if matches!(dtype, Dtype::Q41 | Dtype::Q51) { 2.0 * most } else { most } / levels;
                for (one, two) in numbers.iter().zip(found) {
                    prop_assert!((one - two).abs() <= step * 1.01 + most * 1e-3, "{} {} {} {}", dtype, one, two, step);
                }
            }
        }
    }
}
