use proptest::prelude::*;
use sha2::{Digest, Sha256};

use super::float::{from_f16, to_bf16, to_e4m3, to_e5m2, to_e8m0, to_f16, to_fnuz};
use super::*;

/// Sets of numbers, target types, and digests of what torch 2.15.0 makes of them (`B11` ones: ml_dtypes 0.6.0); written by
/// `tests/golden/cast.py`.
const GOLDEN: &str = include_str!("../../tests/golden/cast.txt");

fn to(from: Dtype, bytes: &[u8], dtype: Dtype) -> Vec<u8> {
    let mut out = Vec::new();
    cast(from, bytes, &[], dtype, &mut out).unwrap();
    out
}

fn after(from: Dtype, bytes: &[u8], steps: &[Step], dtype: Dtype) -> Vec<u8> {
    let mut out = Vec::new();
    cast(from, bytes, steps, dtype, &mut out).unwrap();
    out
}

fn singles(numbers: &[f32]) -> Vec<u8> {
    numbers.iter().flat_map(|number| number.to_le_bytes()).collect()
}

/// SplitMix64, as the script has it.
fn words(count: usize) -> Vec<u64> {
    let mut seed = 1u64;
    (0..count)
        .map(|_| {
            seed = seed.wrapping_add(0x9E37_79B9_7F4A_7C15);
            let word = (seed ^ seed >> 30).wrapping_mul(0xBF58_476D_1CE4_E5B9);
            let word = (word ^ word >> 27).wrapping_mul(0x94D0_49BB_1331_11EB);
            word ^ word >> 31
        })
        .collect()
}

/// The numbers that the script calls `name`, and their type.
fn source(name: &str) -> (Dtype, Vec<u8>) {
    let words = words(20_000);
    let near = words.iter().enumerate().map(|(place, &word)| {
        let bits = word as u32;
        let bits = bits & 0x807F_FFFF | (96 + (bits >> 23 & 63)) << 23;
        f32::from_bits(bits & [!0, !0, 0xFFFF_F000, 0xFFFF_8000][place % 4])
    });
    let every = || (0..=u16::MAX).flat_map(u16::to_le_bytes).collect();
    let (dtype, mut bytes): (_, Vec<u8>) = match name {
        "every-f16" => (Dtype::F16, every()),
        "every-bf16" => (Dtype::BF16, every()),
        "near" => (Dtype::F32, near.flat_map(f32::to_le_bytes).collect()),
        "any" => (Dtype::F32, words.iter().flat_map(|&word| (word as u32).to_le_bytes()).collect()),
        "near-f64" => {
            let doubles = near.map(|number| f64::from(number) * (1.0 + 2f64.powi(-40)));
            (Dtype::F64, doubles.flat_map(f64::to_le_bytes).collect())
        }
        "signed" => {
            (Dtype::F32, words.iter().flat_map(|&word| (f32::from(word as i16) / 256.0).to_le_bytes()).collect())
        }
        "unsigned" => {
            (Dtype::F32, words.iter().flat_map(|&word| (f32::from(word as u16) / 256.0).to_le_bytes()).collect())
        }
        other => {
            let (kind, dtype) = other.split_once('-').unwrap();
            let dtype = Dtype::parse(dtype).unwrap();
            let width = dtype.block_bytes() as usize;
            let bytes = match kind {
                "every" => (0..=255).collect(),
                _ => words.iter().flat_map(|word| word.to_le_bytes().into_iter().take(width)).collect(),
            };
            (dtype, bytes)
        }
    };
    // NaN is replaced by zero.
    let mut doubles = Vec::new();
    cast(dtype, &bytes, &[], Dtype::F64, &mut doubles).unwrap();
    let width = dtype.block_bytes() as usize;
    for (element, double) in bytes.chunks_exact_mut(width).zip(doubles.as_chunks::<8>().0) {
        if f64::from_le_bytes(*double).is_nan() {
            element.fill(0);
        }
    }
    (dtype, bytes)
}

#[test]
fn every_cast_gives_the_bits_of_torch() {
    let mut last = (String::new(), (Dtype::F32, Vec::new()));
    for line in GOLDEN.lines() {
        let [name, target, digest] = line.split(' ').collect::<Vec<_>>()[..] else { panic!("{line}") };
        if last.0 != name {
            last = (name.to_owned(), source(name));
        }
        let (from, bytes) = &last.1;
        let found = Sha256::digest(to(*from, bytes, Dtype::parse(target).unwrap()));
        let found: String = found.iter().take(8).map(|byte| format!("{byte:02x}")).collect();
        assert_eq!(found, digest, "{name} to {target}");
    }
    assert_eq!(GOLDEN.lines().count(), 295);
}

#[test]
fn nan_stays_nan_and_keeps_what_fits_of_its_payload() {
    // Sign, quiet bit, payload. torch 2.15, `torch.tensor(bits).view(torch.float32).to(torch.float16)`.
    for (single, half) in [
        (0x7f80_0001, 0x7e00),
        (0xff80_0001, 0xfe00),
        (0x7fff_ffff, 0x7fff),
        (0x7fa5_a5a5, 0x7f2d),
        (0xffe5_4321, 0xff2a),
    ] {
        assert_eq!(to_f16(f32::from_bits(single)), half, "{single:#x}");
    }
    // gguf-py 0.19, `quantize(bits, GGMLQuantizationType.BF16)`.
    for (single, upper) in [(0x7f80_0001, 0x7fc0), (0xff80_0001, 0xffc0), (0x7fa5_a5a5, 0x7fe5), (0xffe5_4321, 0xffe5)]
    {
        assert_eq!(to_bf16(f32::from_bits(single)), upper, "{single:#x}");
    }
    assert_eq!(from_f16(0x7c01).to_bits(), 0x7fc0_2000);
    for nan in [f32::from_bits(0x7f80_0001), f32::NAN, f32::from_bits(u32::MAX)] {
        let sign = (nan.to_bits() >> 24) as u8 & 0x80;
        assert_eq!((to_e4m3(nan), to_e5m2(nan)), (0x7f | sign, 0x7f | sign));
        assert_eq!((to_fnuz::<3, 8>(nan), to_fnuz::<2, 16>(nan), to_e8m0(nan)), (0x80, 0x80, 0xff));
        for &dtype in Dtype::ALL.iter().filter(|&&dtype| lanes::can_write(dtype)) {
            let integer = !to(dtype, &to(Dtype::F32, &singles(&[0.5]), dtype), Dtype::F32).eq(&singles(&[0.5]));
            let back = to(dtype, &to(Dtype::F32, &nan.to_le_bytes(), dtype), Dtype::F32);
            let back = f32::from_le_bytes(back.try_into().unwrap());
            match dtype {
                Dtype::Bool => assert_eq!(back, 1.0),
                _ if integer => assert_eq!(back, 0.0, "{dtype}"),
                _ => assert!(back.is_nan(), "{dtype}"),
            }
        }
    }
}

#[test]
fn what_is_too_large_becomes_what_torch_makes_of_it() {
    let bytes = singles(&[464.0, 1e9, f32::INFINITY, -f32::INFINITY]);
    assert_eq!(to(Dtype::F32, &bytes, Dtype::F8E4M3), [0x7e, 0x7e, 0x7e, 0xfe]);
    assert_eq!(to(Dtype::F32, &bytes, Dtype::F8E5M2), [0x5f, 0x7c, 0x7c, 0xfc]);
    assert_eq!(to(Dtype::F32, &bytes, Dtype::F8E4M3Fnuz), [0x80; 4]);
    assert_eq!(to(Dtype::F32, &bytes, Dtype::F8E8M0), [0x88, 0x9d, 0xff, 0xff]);
    assert_eq!(to_f16(65519.0), 0x7bff);
    assert_eq!(to_f16(65520.0), 0x7c00);
    assert_eq!(to(Dtype::F64, &1e300f64.to_le_bytes(), Dtype::F32), f32::INFINITY.to_le_bytes());
}

#[test]
fn integers_saturate_where_torch_leaves_them_open_and_wrap_among_themselves() {
    let bytes = singles(&[1.9, -1.9, 300.0, 1e20, -1e20]);
    assert_eq!(to(Dtype::F32, &bytes, Dtype::U8), [1, 0, 255, 255, 0]);
    assert_eq!(to(Dtype::F32, &bytes, Dtype::I8), [1, 255, 127, 127, 128]);
    assert_eq!(to(Dtype::I16, &300i16.to_le_bytes(), Dtype::U8), [44]);
    assert_eq!(to(Dtype::U64, &u64::MAX.to_le_bytes(), Dtype::F64), 18_446_744_073_709_551_615f64.to_le_bytes());
    assert_eq!(to(Dtype::Bool, &[0, 1, 2, 255], Dtype::U8), [0, 1, 1, 1]);
    assert_eq!(to(Dtype::U64, &(1u64 << 63).to_le_bytes(), Dtype::Bool), [1]);
}

#[test]
fn packed_and_quantised_elements_are_read() {
    assert_eq!(to(Dtype::F4, &[0x17, 0xf8], Dtype::F32), singles(&[6.0, 0.5, -0.0, -6.0]));
    assert_eq!(to(Dtype::I4, &[0x8f], Dtype::I8), [255, 248]);
    assert_eq!(to(Dtype::U2, &[0b11_10_01_00], Dtype::I16), [0, 0, 1, 0, 2, 0, 3, 0]);
    let mut block = vec![0x00, 0x3c];
    block.extend(0..32u8);
    let numbers: Vec<f32> = (0..32u8).map(f32::from).collect();
    assert_eq!(to(Dtype::Q80, &block, Dtype::F32), singles(&numbers));
    assert_eq!(to(Dtype::Q80, &block, Dtype::Q80), block);
    assert_eq!(
        to(Dtype::F32, &singles(&[1.0; 32]), Dtype::Q80),
        to(Dtype::F64, &to(Dtype::F32, &singles(&[1.0; 32]), Dtype::F64), Dtype::Q80)
    );
    let mut out = Vec::new();
    assert!(matches!(cast(Dtype::F32, &[0; 124], &[], Dtype::Q80, &mut out), Err(FormatError::LengthMismatch { .. })));
    assert!(matches!(cast(Dtype::Q80, &[0; 33], &[], Dtype::F32, &mut out), Err(FormatError::LengthMismatch { .. })));
    assert!(matches!(cast(Dtype::F32, &[0; 5], &[], Dtype::F32, &mut out), Err(FormatError::LengthMismatch { .. })));
}

#[test]
fn complex_numbers_are_cast_part_by_part() {
    assert_eq!(to(Dtype::C64, &singles(&[1.0, -2.0]), Dtype::C32), [0x00, 0x3c, 0x00, 0xc0]);
    assert_eq!(
        to(Dtype::C32, &[0x00, 0x3c, 0x00, 0xc0], Dtype::C128),
        [1f64.to_le_bytes(), (-2f64).to_le_bytes()].concat()
    );
}

#[test]
fn steps_are_taken_in_order_before_the_cast() {
    let bytes = singles(&[1.0, -0.5]);
    let steps = [Step::Add(1.0), Step::Scale(3.0)];
    assert_eq!(after(Dtype::F32, &bytes, &steps, Dtype::F32), singles(&[6.0, 1.5]));
    assert_eq!(after(Dtype::BF16, &to(Dtype::F32, &bytes, Dtype::BF16), &steps, Dtype::I8), [6, 1]);
    // In single precision the one is lost, in double it is not.
    let large = 16_777_216i64.to_le_bytes();
    assert_eq!(after(Dtype::I64, &large, &[Step::Add(1.0)], Dtype::I64), 16_777_217i64.to_le_bytes());
    assert_eq!(after(Dtype::F32, &singles(&[16_777_216.0]), &[Step::Add(1.0)], Dtype::I64), large);
    let there = after(Dtype::F32, &singles(&[0.0, 1.5]), &[Step::NegatedExp], Dtype::F32);
    assert_eq!(there, singles(&[-1.0, -4.481_689]));
    assert_eq!(after(Dtype::F32, &there, &[Step::LogOfNegated], Dtype::F32), singles(&[0.0, 1.5]));
    assert_eq!(after(Dtype::F32, &bytes, &[Step::Add(0.0)], Dtype::F32), bytes);
}

#[test]
fn what_is_impossible_is_refused_and_says_what_is_possible() {
    for (from, steps, to, says) in [
        (Dtype::Text, false, Dtype::Text, "text is not cast"),
        (Dtype::C64, false, Dtype::F32, "becomes `C32`, `C64` or `C128`"),
        (Dtype::F32, false, Dtype::C64, "made of complex ones only"),
        (Dtype::C64, true, Dtype::C64, "not changed by steps"),
        (Dtype::F128, false, Dtype::F64, "it can stay `F128`"),
        (Dtype::QI8, false, Dtype::F32, "scale and zero point stand elsewhere"),
        (Dtype::QI8, true, Dtype::QI8, "scale and zero point stand elsewhere"),
        (Dtype::F32, false, Dtype::F4, "becomes BOOL, U8, I8, F8_E5M2"),
        (Dtype::F32, false, Dtype::IQ2XS, "Q8_0, Q4_K, Q5_K, Q6_K"),
    ] {
        let error = can_cast(from, steps, to).unwrap_err();
        assert!(matches!(error, FormatError::Unsupported { .. }));
        assert!(error.to_string().contains(says), "{error}");
    }
    for &dtype in Dtype::ALL.iter().filter(|&&dtype| dtype != Dtype::Text) {
        can_cast(dtype, false, dtype).unwrap();
        // Whatever is allowed is done.
        for &target in Dtype::ALL {
            let bytes = vec![0x11; dtype.block_bytes() as usize * 256];
            let mut out = Vec::new();
            let done = cast(dtype, &bytes, &[], target, &mut out);
            assert_eq!(done.is_ok(), can_cast(dtype, false, target).is_ok(), "{dtype} to {target}");
            if done.is_ok() {
                assert_eq!(
                    Some(out.len() as u64),
                    target.size_bytes(dtype.block_elements() * 256),
                    "{dtype} to {target}"
                );
            }
        }
    }
}

#[test]
fn rows_must_be_whole_blocks() {
    rows_fit(Dtype::Q80, &[3, 64]).unwrap();
    rows_fit(Dtype::F4, &[3, 5]).unwrap();
    rows_fit(Dtype::Q4K, &[0, 3]).unwrap();
    for (dtype, shape) in [(Dtype::Q80, &[64, 3][..]), (Dtype::Q4K, &[32]), (Dtype::Q80, &[])] {
        let error = rows_fit(dtype, shape).unwrap_err();
        assert!(error.to_string().contains("has blocks of"), "{error}");
    }
}

proptest! {
    #[test]
    fn wider_and_back_is_the_same(halves in prop::collection::vec(any::<u16>(), 0..9000)) {
        let bytes: Vec<u8> = halves.iter().flat_map(|half| half.to_le_bytes()).collect();
        for (narrow, wides) in [
            (Dtype::F16, &[Dtype::F32, Dtype::F64][..]),
            (Dtype::BF16, &[Dtype::F32, Dtype::F64]),
            (Dtype::I16, &[Dtype::I32, Dtype::I64, Dtype::F32, Dtype::F64]),
            (Dtype::U16, &[Dtype::I32, Dtype::U64, Dtype::F32]),
            (Dtype::F8E4M3, &[Dtype::F16, Dtype::BF16, Dtype::F32]),
            (Dtype::F8E5M2, &[Dtype::F16, Dtype::BF16, Dtype::F32]),
            (Dtype::F8E4M3Fnuz, &[Dtype::F16, Dtype::BF16]),
            (Dtype::F8E5M2Fnuz, &[Dtype::BF16, Dtype::F64]),
        ] {
            for &wide in wides {
                let back = to(wide, &to(narrow, &bytes, wide), narrow);
                let width = narrow.block_bytes() as usize;
                let nan = |bytes: &[u8]| -> Vec<bool> {
                    to(narrow, bytes, Dtype::F64).as_chunks::<8>().0.iter().map(|&b| f64::from_le_bytes(b).is_nan()).collect()
                };
                // A NaN may have become quiet.
                let (before, after) = (nan(&bytes), nan(&back));
                let elements = bytes.chunks(width).zip(back.chunks(width)).zip(before.iter().zip(&after));
                for ((one, two), (before, after)) in elements {
                    prop_assert!(one == two || *before && *after, "{narrow} {wide} {one:?} {two:?}");
                }
            }
        }
    }

    #[test]
    fn parts_give_what_the_whole_gives(bytes in prop::collection::vec(any::<u8>(), 8192 * 4..8192 * 5), cut in 0usize..8192) {
        let bytes = &bytes[..bytes.len() / 4 * 4];
        for target in [Dtype::F16, Dtype::I64, Dtype::F8E4M3] {
            let mut parts = Vec::new();
            for part in [&bytes[..cut * 4], &bytes[cut * 4..]] {
                cast(Dtype::F32, part, &[], target, &mut parts).unwrap();
            }
            prop_assert_eq!(parts, to(Dtype::F32, bytes, target));
        }
    }

    #[test]
    fn no_bytes_make_a_cast_panic(bytes in prop::collection::vec(any::<u8>(), 0..1200), from in 0..Dtype::ALL.len(),
                                  target in 0..Dtype::ALL.len(), term in any::<f64>()) {
        let (from, target) = (Dtype::ALL[from], Dtype::ALL[target]);
        for steps in [&[][..], &[Step::Add(term), Step::NegatedExp, Step::Scale(term), Step::LogOfNegated]] {
            let mut out = Vec::new();
            let _ = cast(from, &bytes, steps, target, &mut out);
            let whole = bytes.len() as u64 / from.block_bytes().max(1) * from.block_bytes();
            let _ = cast(from, &bytes[..whole as usize], steps, target, &mut out);
        }
    }
}
