//! Measures the hot loops: `cargo test --release -p weighthouse-format --test throughput -- --ignored --nocapture`.

#![expect(clippy::print_stdout, reason = "figures are what this test is for")]

use std::hint::black_box;
use std::time::Instant;

use weighthouse_format::data::produce::Produce;
use weighthouse_format::output::OutputTensor;
use weighthouse_format::source::MemoryFolder;
use weighthouse_format::stats::Stats;
use weighthouse_format::tensor::{Piece, Region, Stored};
use weighthouse_format::xet::chunker::{Chunker, MAX_CHUNK};
use weighthouse_format::xet::hash::{HashTree, chunk_hash};
use weighthouse_format::xet::xorb::{ChunkDecoder, ChunkHeader, Scheme, SchemeChoice, XorbBuilder, XorbVerifier};
use weighthouse_format::{Dtype, FormatError, Limits, Section, Tensor, cast, pickle};

const LEN: usize = 60 << 20;

/// Best of three runs, in millions of `units` per second.
fn report(what: &str, units: usize, mut run: impl FnMut()) {
    let best = (0..3)
        .map(|_| {
            let start = Instant::now();
            run();
            start.elapsed()
        })
        .min()
        .unwrap_or_default();
    println!("{what:<40} {:>8.1} M/s", units as f64 / best.as_secs_f64() / 1e6);
}

fn noise(len: usize) -> Vec<u8> {
    let mut bytes = vec![0; len];
    blake3::Hasher::new().finalize_xof().fill(&mut bytes);
    bytes
}

/// Weights around zero (sums of four uniforms, deviation about 0.02) as `f32`, or cut to `bf16`.
fn weights(len: usize, bf16: bool) -> Vec<u8> {
    let noise = noise(len * 4);
    let mut bytes = Vec::with_capacity(len + 4);
    for quad in noise.as_chunks::<8>().0 {
        let pairs = quad.as_chunks::<2>().0;
        let sum: i32 = pairs.iter().map(|&pair| i32::from(i16::from_le_bytes(pair))).sum();
        let value = (sum as f32 / 65536.0 * 0.035).to_le_bytes();
        bytes.extend(if bf16 { &value[2..] } else { &value[..] });
        if bytes.len() >= len {
            break;
        }
    }
    bytes
}

fn chunks(data: &[u8]) -> Vec<&[u8]> {
    let mut chunker = Chunker::new();
    let mut found = Vec::new();
    let mut rest = data;
    while let Some(len) = chunker.next_boundary(rest) {
        let (chunk, tail) = rest.split_at(len);
        found.push(chunk);
        rest = tail;
    }
    if !rest.is_empty() {
        found.push(rest);
    }
    found
}

#[test]
#[ignore = "measures, asserts nothing"]
fn throughput() {
    let noise = noise(LEN);
    report("chunker, bytes", LEN, || {
        black_box(chunks(&noise));
    });
    let cut = chunks(&noise);
    report("chunk_hash, bytes", LEN, || {
        for chunk in &cut {
            black_box(chunk_hash(chunk));
        }
    });
    report("chunker + chunk_hash + tree, bytes", LEN, || {
        let mut tree = HashTree::new();
        for chunk in chunks(&noise) {
            tree.push(chunk_hash(chunk), chunk.len() as u64);
        }
        black_box(tree.root());
    });
    let count = 2_000_000;
    let hash = chunk_hash(b"");
    let hashes: Vec<_> = (0..count).map(|i: usize| chunk_hash(&i.to_le_bytes())).collect();
    report("tree, chunks", count, || {
        let mut tree = HashTree::new();
        for hash in &hashes {
            tree.push(*hash, MAX_CHUNK as u64);
        }
        black_box(tree.root());
    });

    let f32s = weights(LEN, false);
    let bf16s = weights(LEN, true);
    for (name, data) in [("noise", &noise), ("f32", &f32s), ("bf16", &bf16s)] {
        let cut = chunks(data);
        for choice in [SchemeChoice::Auto, SchemeChoice::Always(Scheme::Lz4), SchemeChoice::Always(Scheme::Bg4Lz4)] {
            let build = || {
                let mut builder = XorbBuilder::new(choice);
                for chunk in &cut {
                    // The hash is not what is measured.
                    builder.push_hashed(hash, chunk).unwrap();
                }
                builder.finish().unwrap()
            };
            let xorb = build();
            let share = 100.0 * xorb.body.len() as f64 / LEN as f64;
            println!("{name}, {choice:?}: {share:.1} % stored");
            report("  encode", LEN, || {
                black_box(build());
            });
            report("  decode", LEN, || {
                let mut decoder = ChunkDecoder::new();
                let mut raw = Vec::new();
                for chunk in &xorb.listing.chunks {
                    let record = &xorb.body[chunk.offset as usize..chunk.end() as usize];
                    let (head, stored) = record.split_first_chunk().unwrap();
                    let header = ChunkHeader::parse(*head).unwrap();
                    raw.clear();
                    decoder.decode(header, stored, &mut raw).unwrap();
                    black_box(&raw);
                }
            });
            report("  verify (decode, hash, crc32c)", LEN, || {
                let mut verifier = XorbVerifier::new();
                for piece in xorb.body.chunks(1 << 20) {
                    verifier.push(piece).unwrap();
                }
                black_box(verifier.finish_unnamed().unwrap());
            });
        }
    }
}

#[test]
#[ignore = "measures speed"]
fn statistics_are_taken() {
    for (dtype, data) in [(Dtype::F32, weights(LEN, false)), (Dtype::BF16, weights(LEN, true))] {
        report(&format!("statistics of {dtype}, bytes"), LEN, || {
            black_box(Stats::of(dtype, &data).unwrap());
        });
    }
}

#[test]
#[ignore = "measures speed"]
fn numbers_are_cast_and_quantised() {
    let targets = [
        Dtype::F32,
        Dtype::BF16,
        Dtype::F16,
        Dtype::F8E4M3,
        Dtype::Q80,
        Dtype::Q40,
        Dtype::Q50,
        Dtype::Q4K,
        Dtype::Q5K,
        Dtype::Q6K,
    ];
    let f32s = weights(LEN, false);
    let mut f16s = Vec::new();
    cast::cast(Dtype::F32, &f32s, &[], Dtype::F16, &mut f16s).unwrap();
    for (from, data) in [(Dtype::F32, f32s), (Dtype::BF16, weights(LEN, true)), (Dtype::F16, f16s)] {
        let whole = &data[..data.len() / 1024 * 1024];
        for to in targets {
            let mut out = Vec::new();
            report(&format!("{from} to {to}, bytes of input"), whole.len(), || {
                for band in whole.chunks(4 << 20) {
                    out.clear();
                    cast::cast(from, band, &[], to, &mut out).unwrap();
                    black_box(&out);
                }
            });
        }
    }
}

#[test]
#[ignore = "measures speed"]
fn large_tensors_are_produced_in_bands() {
    let (rows, columns) = (4096u64, 11_008);
    let bytes = rows * columns * 4;
    let folder = MemoryFolder::new(vec![Section::of_bytes("a", weights(bytes as usize, false))]);
    let stored = || Stored::File { file: "a".into(), begin: 0, end: bytes };
    let plain = Tensor::plain("w", Dtype::F32, vec![rows, columns], stored());
    let piece = Piece { strides: Some(vec![1, rows]), ..Piece::plain(Region::Whole, stored()) };
    let transposed = Tensor { pieces: vec![piece], ..plain.clone() };
    let heads = (0..rows).map(|row| row / 128 * 128 + row % 2 * 64 + row % 128 / 2).collect();
    let limits = Limits::default();
    for (what, source, order) in
        [("plain", &plain, None), ("transposed", &transposed, None), ("heads", &plain, Some(heads))]
    {
        for dtype in [Dtype::F32, Dtype::BF16, Dtype::Q80] {
            let mut tensor = OutputTensor { dtype, ..OutputTensor::same(source) };
            tensor.recipe.rows = order.clone();
            report(&format!("{what} [4096, 11008] to {dtype}, bytes of input"), bytes as usize, || {
                let mut produce = Produce::new(&folder, &tensor, &limits).unwrap();
                let mut written = 0;
                let each = |band: &[u8]| {
                    written += black_box(band).len() as u64;
                    Ok::<_, FormatError>(())
                };
                produce.bands(4 << 20, each).unwrap();
                assert_eq!(Some(written), tensor.size_bytes());
            });
        }
    }
}

/// A list of records as Python's protocol 4 writes them: keys from the memo, numbers, text, lists, tuples.
fn records(len: usize) -> Vec<u8> {
    let mut bytes = b"\x80\x04]\x94(\x8c\x02id\x94\x8c\x05score\x94\x8c\x04tags\x94\x8c\x04pair\x940000".to_vec();
    let noise = noise(len);
    for part in noise.as_chunks::<24>().0 {
        bytes.extend(b"}\x94(h\x01\x8a\x05");
        bytes.extend(&part[..4]);
        bytes.extend(b"\x01h\x02G\x3f");
        bytes.extend(&part[4..11]);
        bytes.extend(b"h\x03]\x94(");
        for tag in part[11..20].as_chunks::<3>().0 {
            bytes.extend(format!("\u{8}tag{:05x}", u32::from_le_bytes([tag[0], tag[1], tag[2], 0]) >> 4).bytes());
            let at = bytes.len() - 9;
            bytes.splice(at..=at, [0x8c, 8]);
            bytes.push(0x94);
        }
        bytes.extend(b"eh\x04K");
        bytes.push(part[20]);
        bytes.extend(b"N\x88\x87\x94u");
        if bytes.len() >= len {
            break;
        }
    }
    bytes.extend(b"e.");
    bytes
}

#[test]
#[ignore = "measures speed"]
fn pickles_are_read() {
    let given = std::env::var("WH_PICKLE").ok().and_then(|path| std::fs::read(path).ok());
    let bytes = given.unwrap_or_else(|| records(36 << 20));
    let len = bytes.len();
    let section = Section::of_bytes("records", bytes);
    let limits = Limits::default();
    let once = pickle::read(&section, 0, &limits);
    println!("{} opcodes, {} values, {} bytes, {:?}", once.trace.ops, once.graph.len(), len, once.trace.error);
    assert!(once.root.is_some());
    drop(once);
    report("pickle, bytes", len, || {
        black_box(pickle::read(&section, 0, &limits));
    });
}
