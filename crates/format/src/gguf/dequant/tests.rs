use sha2::{Digest, Sha256};

use super::{dequantise, half};
use crate::dtype::Dtype;
use crate::error::FormatError;

/// Types, seeds, upper bytes of scales, and digests of what gguf-py makes of the blocks.
const GOLDEN: &str = include_str!("../../../tests/golden/gguf_dequantised.txt");
const BLOCKS: usize = 257;

/// SplitMix64, eight bytes a step, as the script that wrote [`GOLDEN`] has it.
fn random_bytes(mut seed: u64, count: usize) -> Vec<u8> {
    let mut out = Vec::new();
    while out.len() < count {
        seed = seed.wrapping_add(0x9E37_79B9_7F4A_7C15);
        let word = (seed ^ seed >> 30).wrapping_mul(0xBF58_476D_1CE4_E5B9);
        let word = (word ^ word >> 27).wrapping_mul(0x94D0_49BB_1331_11EB);
        out.extend((word ^ word >> 31).to_le_bytes());
    }
    out.truncate(count);
    out
}

#[test]
fn every_block_type_is_decoded_to_the_bits_of_gguf_py() {
    let mut covered = Vec::new();
    for line in GOLDEN.lines() {
        let [name, seed, scales, digest] = line.split(' ').collect::<Vec<_>>()[..] else { panic!("{line}") };
        let dtype = Dtype::parse(name).unwrap();
        let width = usize::try_from(dtype.block_bytes()).unwrap();
        let mut blocks = random_bytes(seed.parse().unwrap(), BLOCKS * width);
        for block in blocks.chunks_exact_mut(width) {
            for place in scales.split(',').filter(|place| *place != "-") {
                block[place.parse::<usize>().unwrap()] &= 0xBF;
            }
        }
        let mut out = vec![0.0; BLOCKS * usize::try_from(dtype.block_elements()).unwrap()];
        dequantise(dtype, &blocks, &mut out).unwrap();
        let bytes: Vec<u8> = out.iter().flat_map(|number| number.to_le_bytes()).collect();
        let found: String = Sha256::digest(&bytes).iter().map(|byte| format!("{byte:02x}")).collect();
        assert_eq!(found, digest, "{name}");
        covered.push(dtype);
    }
    for dtype in Dtype::ALL.iter().filter(|dtype| dtype.is_quantised()) {
        assert!(covered.contains(dtype), "{dtype}");
    }
}

#[test]
fn halves_become_singles_exactly() {
    for (bits, number) in [
        (0x0000, 0.0),
        (0x8000, -0.0),
        (0x0001, 2.0f32.powi(-24)),
        (0x83FF, -1023.0 * 2.0f32.powi(-24)),
        (0x0400, 2.0f32.powi(-14)),
        (0x3C00, 1.0),
        (0xC248, -3.140625),
        (0x7BFF, 65504.0),
        (0x7C00, f32::INFINITY),
        (0xFC00, f32::NEG_INFINITY),
    ] {
        assert_eq!(half(u16::to_le_bytes(bits)).to_bits(), f32::to_bits(number), "{bits:#06x}");
    }
    assert!(half([1, 0x7C]).is_nan());
}

#[test]
fn lengths_must_fit_and_other_types_are_refused() {
    let mut out = [0.0; 64];
    assert!(dequantise(Dtype::Q80, &[0; 68], &mut out).is_ok());
    assert!(dequantise(Dtype::Q80, &[], &mut []).is_ok());
    for (bytes, room) in [(67, 64), (34, 64), (68, 32), (68, 63)] {
        let error = dequantise(Dtype::Q80, &[0; 68][..bytes], &mut out[..room]).unwrap_err();
        assert!(matches!(error, FormatError::LengthMismatch { .. }), "{bytes} {room}");
    }
    assert!(matches!(dequantise(Dtype::I32, &[0; 4], &mut out[..1]), Err(FormatError::Unsupported { .. })));
}
