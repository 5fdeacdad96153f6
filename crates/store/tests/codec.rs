//! Sizes and speeds of the tensor codec on real arrays, for `cargo xtask bench store`: one line of JSON for each case.
//!
//! Every tensor is coded and every block decoded several times and the best run counts, since what else the machine does
//! comes in bursts longer than that. zstd does the same work in pieces of one megabyte beside it.
//!
//! `$WH_CODEC_FOLDER` holds `CASES.txt`, one case a line: name, file, and file of the base or `-`; the files are
//! safetensors that the bench made itself.

#![expect(clippy::unwrap_used, reason = "a fault of the arrays ends the test")]

use std::collections::BTreeMap;
use std::fmt::Write;
use std::hint::black_box;
use std::path::Path;
use std::time::Instant;

use weighthouse_format::Dtype;
use weighthouse_store::blob::codec::{self, Base, Block, Level, Plan};

const PIECE: usize = 1 << 20;

struct Tensor {
    dtype: Dtype,
    data: Vec<u8>,
}

type Tensors = BTreeMap<String, Tensor>;

#[test]
#[ignore = "measures; run by `cargo xtask bench store`"]
fn tensors_are_coded_small_and_fast() {
    let Ok(folder) = std::env::var("WH_CODEC_FOLDER") else { return };
    let folder = Path::new(&folder);
    let cases = std::fs::read_to_string(folder.join("CASES.txt")).unwrap();
    let runs: usize = std::env::var("WH_CODEC_RUNS").ok().and_then(|runs| runs.parse().ok()).unwrap_or(5);
    for case in cases.lines() {
        let [name, file, base] = case.split_whitespace().collect::<Vec<_>>()[..] else { panic!("{case}") };
        let tensors = load(&folder.join(file));
        let base = (base != "-").then(|| load(&folder.join(base)));
        let base = |tensor: &str| base.as_ref().and_then(|base| base.get(tensor));
        let raw: usize = tensors.values().map(|tensor| tensor.data.len()).sum();
        let mut line = format!("{{\"case\":\"{name}\",\"raw\":{raw}");
        ours(&tensors, &base, runs, &mut line);
        bounds(&tensors, &base, &mut line);
        zstd(&tensors, runs, &mut line);
        println!("{line}}}");
    }
}

/// Tensors of a safetensors file, by name.
fn load(path: &Path) -> Tensors {
    let file = std::fs::read(path).unwrap();
    let (len, _) = file.split_first_chunk::<8>().unwrap();
    let begin = 8 + u64::from_le_bytes(*len) as usize;
    let text = std::str::from_utf8(&file[8..begin]).unwrap();
    let mut tensors = BTreeMap::new();
    for part in text.split("},") {
        let Some((before, after)) = part.split_once(":{\"dtype\":\"") else { continue };
        let name = before.rsplit('"').nth(1).unwrap();
        let (dtype, rest) = after.split_once('"').unwrap();
        let offsets = rest.split_once("\"data_offsets\":[").unwrap().1;
        let (from, to) = offsets.split_once(']').unwrap().0.split_once(',').unwrap();
        let (from, to): (usize, usize) = (from.parse().unwrap(), to.parse().unwrap());
        let data = file[begin + from..begin + to].to_vec();
        tensors.insert(name.to_owned(), Tensor { dtype: Dtype::parse(dtype).unwrap(), data });
    }
    tensors
}

/// Seconds of the best of several runs.
fn best<T>(runs: usize, mut work: impl FnMut() -> T) -> f64 {
    let mut best = f64::MAX;
    for _ in 0..runs {
        let began = Instant::now();
        black_box(work());
        best = best.min(began.elapsed().as_secs_f64());
    }
    best
}

/// Stored bytes and megabytes per second at both levels.
fn ours<'a>(tensors: &'a Tensors, base: &impl Fn(&str) -> Option<&'a Tensor>, runs: usize, line: &mut String) {
    let raw: usize = tensors.values().map(|tensor| tensor.data.len()).sum();
    for (level, text) in [(Level::Fast, "fast"), (Level::Cold, "cold")] {
        let (mut stored, mut encode_s, mut decode_s) = (0, 0.0, 0.0);
        let mut codecs = BTreeMap::new();
        for (name, tensor) in tensors {
            let base = base(name).map(|base| Base { dtype: base.dtype, data: &base.data });
            let runs = if level == Level::Cold { 1 } else { runs };
            let choose = || Plan::of_tensor(tensor.dtype, &tensor.data, base, level).unwrap();
            encode_s += best(runs, choose);
            let (plan, step) = (choose(), codec::block_bytes(tensor.dtype));
            for (i, raw) in tensor.data.chunks(step).enumerate() {
                let base = base.and_then(|base| base.beside(tensor.dtype, i * step, raw.len()));
                encode_s += best(runs, || plan.encode_block(raw, base));
                let Block { descriptor, bytes } = &plan.encode_block(raw, base);
                let decode = || codec::decode_block(descriptor, bytes, base).unwrap();
                assert!(decode() == raw, "{name}");
                decode_s += best(runs, decode);
                *codecs.entry(format!("{:?}", descriptor.codec)).or_insert(0) += 1;
                stored += bytes.len() + codec::Descriptor::BYTES;
            }
        }
        let codecs = format!("{codecs:?}").replace('"', "");
        let (encode, decode) = (raw as f64 / encode_s / 1e6, raw as f64 / decode_s / 1e6);
        write!(line, ",\"{text}\":{stored},\"{text}_encode\":{encode:.1},\"{text}_decode\":{decode:.1}").unwrap();
        write!(line, ",\"{text}_codecs\":\"{codecs}\"").unwrap();
    }
}

/// What the ideal order-0 code of planes takes, and what zstd makes of the planes of the exclusive or with the base.
fn bounds<'a>(tensors: &'a Tensors, base: &impl Fn(&str) -> Option<&'a Tensor>, line: &mut String) {
    let (mut order0, mut xor) = (0.0, 0usize);
    for (name, tensor) in tensors {
        let word = tensor.dtype.block_bytes() as usize;
        order0 += entropy_of_planes(&tensor.data, word);
        if let Some(base) = base(name).filter(|base| base.data.len() == tensor.data.len()) {
            let mixed: Vec<u8> = tensor.data.iter().zip(&base.data).map(|(a, b)| a ^ b).collect();
            for at in 0..word {
                let plane: Vec<u8> = mixed.iter().skip(at).step_by(word).copied().collect();
                xor += zstd::bulk::compress(&plane, 3).unwrap().len();
            }
        }
    }
    write!(line, ",\"order0\":{order0:.0},\"xor\":{xor}").unwrap();
}

/// Stored bytes and megabytes per second of `zstd -1` and `zstd -d`.
fn zstd(tensors: &Tensors, runs: usize, line: &mut String) {
    let whole: Vec<u8> = tensors.values().flat_map(|tensor| &tensor.data).copied().collect();
    let (mut stored, mut encode_s, mut decode_s) = (0, 0.0, 0.0);
    let mut compressor = zstd::bulk::Compressor::new(1).unwrap();
    let mut decompressor = zstd::bulk::Decompressor::new().unwrap();
    let mut space = vec![0u8; PIECE];
    for piece in whole.chunks(PIECE) {
        let mut coded = Vec::with_capacity(2 * PIECE);
        encode_s += best(runs, || {
            coded.clear();
            compressor.compress_to_buffer(piece, &mut coded).unwrap()
        });
        decode_s += best(runs, || decompressor.decompress_to_buffer(&coded, &mut space[..]).unwrap());
        stored += coded.len();
    }
    let rate = |seconds: f64| whole.len() as f64 / seconds / 1e6;
    let (encode, decode) = (rate(encode_s), rate(decode_s));
    write!(line, ",\"zstd\":{stored},\"zstd_encode\":{encode:.1},\"zstd_decode\":{decode:.1}").unwrap();
}

/// Bytes that the planes take with the ideal code, the words rotated left by one bit.
fn entropy_of_planes(data: &[u8], word: usize) -> f64 {
    let mut counts = vec![[0u32; 256]; word];
    for word in data.chunks_exact(word) {
        let mut carry = word.last().map_or(0, |top| top >> 7);
        for (byte, counts) in word.iter().zip(&mut counts) {
            counts[usize::from(byte << 1 | carry)] += 1;
            carry = byte >> 7;
        }
    }
    let bits = |counts: &[u32; 256]| -> f64 {
        let total: f64 = counts.iter().copied().map(f64::from).sum();
        let own = counts.iter().filter(|&&count| count > 0).map(|&count| f64::from(count));
        own.map(|count| count * (total / count).log2()).sum()
    };
    counts.iter().map(bits).sum::<f64>() / 8.0
}
