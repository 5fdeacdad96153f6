mod produce;

use std::sync::atomic::{AtomicU64, Ordering};

use proptest::prelude::*;

use super::filter::decode;
use super::*;
use crate::dtype::Dtype;
use crate::source::{MemoryFolder, ReadAt};
use crate::tensor::{Filter, Region};

fn folder(bytes: Vec<u8>) -> MemoryFolder {
    MemoryFolder::new(vec![Section::of_bytes("a", bytes)])
}

fn file(begin: u64, end: u64) -> Stored {
    Stored::File { file: "a".into(), begin, end }
}

fn tensor(dtype: Dtype, shape: &[u64], pieces: Vec<Piece>) -> Tensor {
    Tensor { name: "t".to_owned(), dtype, shape: shape.to_vec(), pieces }
}

fn strided(region: Region, stored: Stored, strides: &[u64]) -> Piece {
    Piece { strides: Some(strides.to_vec()), ..Piece::plain(region, stored) }
}

fn boxed(offsets: &[u64], shape: &[u64], stored: Stored) -> Piece {
    Piece::plain(Region::Box { offsets: offsets.to_vec(), shape: shape.to_vec() }, stored)
}

fn all(bytes: Vec<u8>, tensor: &Tensor) -> Result<Vec<u8>, FormatError> {
    Elements::new(&folder(bytes), tensor, &Limits::default())?.read_all()
}

#[test]
fn a_transposed_view_comes_out_row_major() {
    let view = tensor(Dtype::U8, &[3, 2], vec![strided(Region::Whole, file(0, 6), &[1, 3])]);
    assert_eq!(all(vec![0, 1, 2, 3, 4, 5], &view).unwrap(), [0, 3, 1, 4, 2, 5]);
    let expanded = tensor(Dtype::U8, &[2, 3], vec![strided(Region::Whole, file(0, 2), &[1, 0])]);
    assert_eq!(all(vec![7, 8], &expanded).unwrap(), [7, 7, 7, 8, 8, 8]);
}

#[test]
fn shards_are_put_together() {
    let pieces = vec![boxed(&[0, 0], &[2, 1], file(0, 2)), boxed(&[0, 1], &[2, 2], file(2, 6))];
    let whole = tensor(Dtype::U8, &[2, 3], pieces);
    assert_eq!(all(vec![0, 3, 1, 2, 4, 5], &whole).unwrap(), [0, 1, 2, 3, 4, 5]);
    let runs = vec![
        Piece::plain(Region::Run { first: 2, len: 2 }, file(0, 2)),
        Piece::plain(Region::Run { first: 0, len: 2 }, Stored::Fill([9u8].as_slice().into())),
    ];
    assert_eq!(all(vec![1, 2], &tensor(Dtype::U8, &[2, 2], runs)).unwrap(), [9, 9, 1, 2]);
}

#[test]
fn what_does_not_fit_is_refused() {
    let hole = tensor(Dtype::U8, &[4], vec![boxed(&[0], &[2], file(0, 2))]);
    let outside = tensor(Dtype::U8, &[4], vec![boxed(&[2], &[4], file(0, 4))]);
    let short = tensor(Dtype::F32, &[4], vec![Piece::plain(Region::Whole, file(0, 8))]);
    let missing = tensor(Dtype::U8, &[40], vec![Piece::plain(Region::Whole, file(0, 40))]);
    let far = tensor(Dtype::U8, &[2, 2], vec![strided(Region::Whole, file(0, 4), &[u64::MAX, u64::MAX])]);
    let rank = tensor(Dtype::U8, &[2, 2], vec![strided(Region::Whole, file(0, 4), &[1])]);
    let text = tensor(Dtype::Text, &[1], vec![Piece::plain(Region::Whole, file(0, 4))]);
    for (tensor, expected) in [
        (&hole, "some of its elements are in no file"),
        (&outside, "a piece leaves the tensor"),
        (&short, "its bytes end early"),
        (&missing, "its bytes end early"),
        (&far, "its strides overflow"),
        (&rank, "has not one stride for each axis"),
        (&text, "is text"),
    ] {
        let error = all(vec![0; 8], tensor).unwrap_err();
        let text = match &error {
            FormatError::In { source, .. } => source.to_string(),
            other => other.to_string(),
        };
        assert!(text.contains(expected) || text.contains("only 8 are there"), "{text}");
    }
}

#[test]
fn blosc_chunks_of_numcodecs_are_read() {
    let expected: Vec<u8> = (0..300u32).flat_map(|number| (number / 3 * 1001).to_le_bytes()).collect();
    for line in include_str!("blosc.txt").lines() {
        // numcodecs 0.16.6: Blosc(cname, clevel=9, shuffle, blocksize=1024) for each codec and kind of shuffling.
        let (name, digits) = line.split_once(' ').unwrap();
        let chunk = hex(digits);
        assert!(decode(chunk.clone(), &[Filter::Blosc], 1200).unwrap() == expected, "{name}");
        assert!(decode(chunk.clone(), &[Filter::Blosc], 1199).is_err(), "{name} is above the limit");
        for cut in 0..chunk.len() {
            assert!(decode(chunk[..cut].to_vec(), &[Filter::Blosc], 1200).is_err(), "{name} cut at {cut}");
        }
    }
}

fn hex(digits: &str) -> Vec<u8> {
    (0..digits.len() / 2).map(|at| u8::from_str_radix(&digits[2 * at..2 * at + 2], 16).unwrap()).collect()
}

#[test]
fn filters_undo_what_writers_do() {
    let one = |bytes: &[u8], filters: &[Filter]| decode(bytes.to_vec(), filters, 100).unwrap();
    assert_eq!(one(&[1, 2, 3, 4], &[Filter::SwapBytes { width: 2 }]), [2, 1, 4, 3]);
    assert_eq!(one(&[1, 2, 3, 4, 5], &[Filter::Unshuffle { width: 2 }]), [1, 3, 2, 4, 5]);
    assert_eq!(one(&[1, 0, 0, 0, 2, 0, 0, 0], &[Filter::Narrow { from: 4, to: 1 }]), [1, 2]);
    assert_eq!(one("aÿ".as_bytes(), &[Filter::Latin1]), [b'a', 255]);
    assert_eq!(one(&[0xac, 2, 1], &[Filter::Varint { width: 4 }]), [44, 1, 0, 0, 1, 0, 0, 0]);
    assert_eq!(one(&[0, 0, 0x80, 0x3f], &[Filter::Negate { width: 4 }]), [0, 0, 0x80, 0xbf]);
    let mut checked = miniz_oxide::deflate::compress_to_vec_zlib(&[5; 90], 6);
    checked.extend([0; 4]);
    assert_eq!(one(&checked, &[Filter::DropChecksum, Filter::Zlib]), [5; 90]);
}

#[test]
fn a_bomb_is_cut_or_refused_at_its_limit() {
    let zeros = vec![0; 1 << 20];
    let deflate = miniz_oxide::deflate::compress_to_vec(&zeros, 9);
    assert_eq!(decode(deflate, &[Filter::Deflate], 1000).unwrap().len(), 1000);
    let mut snappy = snap::raw::Encoder::new().compress_vec(&zeros).unwrap();
    assert!(decode(snappy.clone(), &[Filter::Snappy], 1000).is_err());
    snappy[2] = 0xff;
    assert!(decode(snappy, &[Filter::Snappy], 2 << 20).is_err());
    let lz4 = [0xff, 0xff, 0xff, 0x7f, 0];
    assert!(decode(lz4.to_vec(), &[Filter::Lz4], 1000).is_err());
    assert!(decode(vec![0xff; 20], &[Filter::Varint { width: 8 }], 1000).is_err());
}

/// Numbers that are their own places, as far as anybody asks for them.
struct Places {
    count: u64,
    reads: AtomicU64,
    bytes: AtomicU64,
}

impl ReadAt for Places {
    fn len(&self) -> u64 {
        self.count * 4
    }

    fn read_at(&self, offset: u64, buffer: &mut [u8]) -> std::io::Result<()> {
        self.reads.fetch_add(1, Ordering::Relaxed);
        self.bytes.fetch_add(buffer.len() as u64, Ordering::Relaxed);
        for (place, number) in (offset / 4..).zip(buffer.chunks_exact_mut(4)) {
            number.copy_from_slice(&(place as u32).to_le_bytes());
        }
        Ok(())
    }
}

/// Reads two bands of a tensor over [`Places`], and gives the reads and bytes that it took.
fn two_bands(shape: &[u64], strides: &[u64], filters: &[Filter], from: u64) -> (u64, u64) {
    let count = shape.iter().product();
    let places = Arc::new(Places { count, reads: AtomicU64::new(0), bytes: AtomicU64::new(0) });
    let folder = MemoryFolder::new(vec![Section::new("a", Arc::clone(&places) as Arc<dyn ReadAt>)]);
    let piece = Piece { filters: filters.to_vec(), ..strided(Region::Whole, file(0, count * 4), strides) };
    let view = tensor(Dtype::U32, shape, vec![piece]);
    let limits = Limits::default();
    let mut reader = Elements::new(&folder, &view, &limits).unwrap();
    let mut band = vec![0; 1 << 20];
    for first in [from, from + (1 << 18)] {
        reader.read(first, &mut band).unwrap();
        for (number, unit) in band.chunks_exact(4).zip(first..) {
            let mut rest = unit;
            let place: u64 = (0..shape.len())
                .rev()
                .map(|axis| {
                    let index = rest % shape[axis];
                    rest /= shape[axis];
                    index * strides[axis]
                })
                .sum();
            let expected = if filters.is_empty() { (place as u32).to_le_bytes() } else { (place as u32).to_be_bytes() };
            assert_eq!(number, expected, "unit {unit}");
        }
    }
    (places.reads.load(Ordering::Relaxed), places.bytes.load(Ordering::Relaxed))
}

#[test]
fn a_transposed_array_of_six_gigabytes_is_read_a_window_at_a_time() {
    let side = 40_000;
    let window = WINDOW_BYTES;
    // Column-major: one read for each column.
    let (reads, bytes) = two_bands(&[side, side], &[1, side], &[], 123_456_789);
    assert!(reads <= side && bytes <= window, "{reads} reads of {bytes} bytes");
    // Big-endian, and at the end.
    let swap = [Filter::SwapBytes { width: 4 }];
    let (reads, bytes) = two_bands(&[side, side], &[1, side], &swap, side * side - (1 << 19));
    assert!(reads <= side && bytes <= window, "{reads} reads of {bytes} bytes");
    // Of a short first axis the next one is read with what lies between.
    let (reads, bytes) = two_bands(&[4, 20_000, 20_000], &[1, 4, 80_000], &[], 20_000 * 20_000 - 1000);
    assert!(reads <= 80_000 && bytes <= 5 * window, "{reads} reads of {bytes} bytes");
}

prop_compose! {
    /// A shape, a permutation of its axes, and a run of elements.
    fn a_view()(shape in prop::collection::vec(1u64..5, 0..5))
        (order in Just((0..shape.len()).collect::<Vec<_>>()).prop_shuffle(), shape in Just(shape),
         from in 0f64..1.0, upto in 0f64..1.0)
    -> (Vec<u64>, Vec<usize>, f64, f64) {
        (shape, order, from, upto)
    }
}

proptest! {
    #[test]
    fn any_run_of_any_view_is_what_indexing_gives((shape, order, from, upto) in a_view()) {
        let elements: u64 = shape.iter().product();
        // Strides of a row-major array whose axes were permuted.
        let mut strides = vec![0; shape.len()];
        let mut product = 1;
        for &axis in order.iter().rev() {
            strides[axis] = product;
            product *= shape[axis];
        }
        let bytes: Vec<u8> = (0..elements as u16).flat_map(u16::to_le_bytes).collect();
        let piece = strided(Region::Whole, file(0, elements * 2), &strides);
        let view = tensor(Dtype::U16, &shape, vec![piece]);
        let folder = folder(bytes);
        let limits = Limits::default();
        let mut reader = Elements::new(&folder, &view, &limits).unwrap();
        let naive: Vec<u8> = (0..elements).flat_map(|mut number| {
            let mut at = 0;
            for axis in (0..shape.len()).rev() {
                at += number % shape[axis] * strides[axis];
                number /= shape[axis];
            }
            (at as u16).to_le_bytes()
        }).collect();
        let (one, two) = ((from * elements as f64) as u64, (upto * elements as f64) as u64);
        let (begin, end) = (one.min(two), one.max(two));
        let mut run = vec![0; ((end - begin) * 2) as usize];
        reader.read(begin, &mut run).unwrap();
        prop_assert_eq!(&run, &naive[begin as usize * 2..end as usize * 2]);
        // The same when it is too large to be held whole.
        let small = Limits { decoded_bytes: 1, ..Limits::default() };
        for window_bytes in [1, 6, 16, 1 << 20] {
            let mut gathered = Elements::new(&folder, &view, &small).unwrap();
            gathered.window_bytes = window_bytes;
            run.fill(0);
            gathered.read(begin, &mut run).unwrap();
            prop_assert_eq!(&run, &naive[begin as usize * 2..end as usize * 2]);
            let mut whole = Vec::new();
            gathered.bands(10, |band| { whole.extend_from_slice(band); Ok::<_, FormatError>(()) }).unwrap();
            prop_assert_eq!(&whole, &naive);
        }
        prop_assert_eq!(reader.read_all().unwrap(), naive);
    }

    #[test]
    fn any_split_into_boxes_gives_the_tensor(rows in 1u64..9, columns in 1u64..9, cut in 0u64..9, across in any::<bool>()) {
        let size = if across { columns } else { rows };
        let cut = cut.min(size);
        let whole: Vec<u8> = (0..(rows * columns) as u8).collect();
        let (mut bytes, mut pieces) = (Vec::new(), Vec::new());
        for (begin, end) in [(0, cut), (cut, size)] {
            let (offsets, shape) =
                if across { ([0, begin], [rows, end - begin]) } else { ([begin, 0], [end - begin, columns]) };
            let at = bytes.len() as u64;
            for row in offsets[0]..offsets[0] + shape[0] {
                let first = (row * columns + offsets[1]) as usize;
                bytes.extend_from_slice(&whole[first..first + shape[1] as usize]);
            }
            pieces.push(boxed(&offsets, &shape, file(at, bytes.len() as u64)));
        }
        prop_assert_eq!(all(bytes, &tensor(Dtype::U8, &[rows, columns], pieces)).unwrap(), whole);
    }

    #[test]
    fn no_filter_panics_or_grows(bytes in prop::collection::vec(any::<u8>(), 0..200), kind in 0usize..14) {
        let filter = [
            Filter::Deflate, Filter::Zlib, Filter::Gzip, Filter::Zstd, Filter::Snappy, Filter::Lz4, Filter::Blosc,
            Filter::Unshuffle { width: 3 }, Filter::DropChecksum, Filter::SwapBytes { width: 0 },
            Filter::Narrow { from: 4, to: 2 }, Filter::Latin1, Filter::Varint { width: 8 }, Filter::Conjugate { width: 4 },
        ][kind];
        if let Ok(decoded) = decode(bytes, &[filter], 300) {
            prop_assert!(decoded.len() <= 304);
        }
    }
}
