use proptest::prelude::*;

use super::*;
use crate::cast::cast;
use crate::data::produce::Produce;
use crate::output::{OutputTensor, Recipe, Step};

fn output(source: Tensor, dtype: Dtype, shape: &[u64], rows: Option<&[u64]>) -> OutputTensor {
    let recipe = Recipe { source, rows: rows.map(Arc::from), steps: Vec::new() };
    OutputTensor { name: "out".to_owned(), dtype, shape: shape.to_vec(), recipe }
}

fn plain(dtype: Dtype, shape: &[u64]) -> Tensor {
    let bytes = dtype.size_bytes(shape.iter().product()).unwrap();
    tensor(dtype, shape, vec![Piece::plain(Region::Whole, file(0, bytes))])
}

/// What is written, in bands, and the length of the longest.
fn written(folder: &MemoryFolder, tensor: &OutputTensor, band_bytes: u64) -> Result<(Vec<u8>, usize), FormatError> {
    let limits = Limits::default();
    let (mut all, mut longest) = (Vec::new(), 0);
    Produce::new(folder, tensor, &limits)?.bands(band_bytes, |band| {
        assert!(!band.is_empty());
        longest = longest.max(band.len());
        all.extend_from_slice(band);
        Ok::<_, FormatError>(())
    })?;
    Ok((all, longest))
}

fn noise(len: usize) -> Vec<u8> {
    let mut state = 9u64;
    (0..len)
        .map(|_| {
            state = state.wrapping_mul(6_364_136_223_846_793_005).wrapping_add(1);
            (state >> 56) as u8
        })
        .collect()
}

#[test]
fn a_tensor_as_it_is_comes_out_as_it_is_in_bands_of_any_size() {
    let bytes = noise(24 * 34);
    for (dtype, shape) in
        [(Dtype::Q80, &[8, 96][..]), (Dtype::F32, &[4, 3, 17]), (Dtype::F4, &[2, 17]), (Dtype::F128, &[3])]
    {
        let same = OutputTensor::same(&plain(dtype, shape));
        let expected = &bytes[..same.size_bytes().unwrap() as usize];
        for band_bytes in [0, 1, 40, 100, 1 << 20] {
            let (found, longest) = written(&folder(bytes.clone()), &same, band_bytes).unwrap();
            assert_eq!(found, expected, "{dtype}");
            assert!(longest as u64 <= band_bytes.max(dtype.block_bytes()), "{longest}");
        }
    }
}

#[test]
fn packed_elements_leave_no_more_than_there_are() {
    let source = plain(Dtype::F4, &[5]);
    let (found, _) = written(&folder(vec![0x22, 0x44, 0xf6]), &output(source, Dtype::F32, &[5], None), 8).unwrap();
    let expected: Vec<u8> = [1.0, 1.0, 2.0, 2.0, 4.0f32].iter().flat_map(|number| number.to_le_bytes()).collect();
    assert_eq!(found, expected);
}

/// Where gguf has the rows of a Llama's query and key heads, of `dim` rows each.
fn interleaved(heads: u64, dim: u64) -> Vec<u64> {
    (0..heads * dim).map(|row| row / dim * dim + row % 2 * (dim / 2) + row % dim / 2).collect()
}

#[test]
fn interleaved_rows_of_heads_cost_two_reads_a_head_at_most() {
    let (heads, dim, columns) = (32, 128, 1024);
    let count = heads * dim * columns;
    let places = Arc::new(Places { count, reads: AtomicU64::new(0), bytes: AtomicU64::new(0) });
    let folder = MemoryFolder::new(vec![Section::new("a", Arc::clone(&places) as Arc<dyn ReadAt>)]);
    let rows = interleaved(heads, dim);
    let tensor = output(plain(Dtype::U32, &[heads * dim, columns]), Dtype::U32, &[heads * dim, columns], Some(&rows));
    // Bands of two heads and a half.
    let (found, longest) = written(&folder, &tensor, 5 * dim / 2 * columns * 4).unwrap();
    for (number, place) in found.as_chunks::<4>().0.iter().zip(0u64..) {
        assert_eq!(
            u64::from(u32::from_le_bytes(*number)),
            rows[(place / columns) as usize] * columns + place % columns
        );
    }
    assert!(longest as u64 <= 5 * dim / 2 * columns * 4);
    let (reads, bytes) = (places.reads.load(Ordering::Relaxed), places.bytes.load(Ordering::Relaxed));
    assert!(reads <= 2 * heads && bytes == count * 4, "{reads} reads of {bytes} bytes");
}

#[test]
fn a_shuffled_vector_is_read_in_runs() {
    let count = 1 << 18;
    let places = Arc::new(Places { count, reads: AtomicU64::new(0), bytes: AtomicU64::new(0) });
    let folder = MemoryFolder::new(vec![Section::new("a", Arc::clone(&places) as Arc<dyn ReadAt>)]);
    // An odd factor permutes all numbers below a power of two.
    let rows: Vec<u64> = (0..count).map(|row| row * 40_503 % count).collect();
    let tensor = output(plain(Dtype::U32, &[count]), Dtype::I64, &[count], Some(&rows));
    let (found, _) = written(&folder, &tensor, 4 << 20).unwrap();
    for (number, row) in found.as_chunks::<8>().0.iter().zip(&rows) {
        assert_eq!(u64::from_le_bytes(*number), *row);
    }
    let (reads, bytes) = (places.reads.load(Ordering::Relaxed), places.bytes.load(Ordering::Relaxed));
    assert!(reads <= 64 && bytes <= 4 * count * 4, "{reads} reads of {bytes} bytes");
}

#[test]
fn a_large_transposed_source_is_read_once() {
    // 80 MB: too long to be held whole.
    let (rows, columns) = (2048u64, 9765u64);
    let count = rows * columns;
    let places = Arc::new(Places { count, reads: AtomicU64::new(0), bytes: AtomicU64::new(0) });
    let folder = MemoryFolder::new(vec![Section::new("a", Arc::clone(&places) as Arc<dyn ReadAt>)]);
    let view = tensor(Dtype::U32, &[rows, columns], vec![strided(Region::Whole, file(0, count * 4), &[1, rows])]);
    let tensor = output(view, Dtype::U32, &[rows, columns], None);
    let (limits, mut next) = (Limits::default(), 0);
    let mut produce = Produce::new(&folder, &tensor, &limits).unwrap();
    let each = |band: &[u8]| {
        for number in band.as_chunks::<4>().0 {
            assert_eq!(u64::from(u32::from_le_bytes(*number)), next % columns * rows + next / columns);
            next += 1;
        }
        Ok::<_, FormatError>(())
    };
    produce.bands(4 << 20, each).unwrap();
    assert_eq!((next, places.bytes.load(Ordering::Relaxed)), (count, count * 4));
    assert!(places.reads.load(Ordering::Relaxed) <= 3 * columns);
}

#[test]
fn one_long_row_is_written_in_parts() {
    let bytes = noise(3 * 4096 * 4);
    let tensor = output(plain(Dtype::F32, &[3, 4096]), Dtype::Q80, &[3, 4096], Some(&[2, 0, 2]));
    let (found, longest) = written(&folder(bytes.clone()), &tensor, 1000).unwrap();
    let mut expected = Vec::new();
    for row in [2, 0, 2] {
        cast(Dtype::F32, &bytes[row * 16_384..][..16_384], &[], Dtype::Q80, &mut expected).unwrap();
    }
    assert_eq!(found, expected);
    assert!(longest <= 1000);
}

#[test]
fn steps_and_transposition_come_before_the_cast() {
    let view = tensor(Dtype::I8, &[3, 2], vec![strided(Region::Whole, file(0, 6), &[1, 3])]);
    let mut tensor = output(view, Dtype::F16, &[2, 2], Some(&[2, 0]));
    tensor.recipe.steps = vec![Step::Scale(0.5)];
    // Rows of the view are 0 3, 1 4 and 2 5.
    let (found, _) = written(&folder((0..6).collect()), &tensor, 4).unwrap();
    assert_eq!(found, [0x00, 0x3c, 0x00, 0x41, 0x00, 0x00, 0x00, 0x3e]);
}

#[test]
fn recipes_that_do_not_fit_are_refused_before_any_work() {
    let source = |shape: &[u64]| plain(Dtype::F32, shape);
    let huge = tensor(Dtype::F32, &[u64::MAX, 2], vec![Piece::plain(Region::Whole, file(0, 64))]);
    let out = |shape: &[u64], dtype, rows: Option<&[u64]>| output(source(shape), dtype, shape, rows);
    for (tensor, expected) in [
        (output(source(&[4, 4]), Dtype::F32, &[4, 5], None), "16 elements become 20"),
        (output(source(&[4, 4]), Dtype::F32, &[4, 4], Some(&[0, 1, 2])), "12 elements become 16"),
        (output(source(&[4, 4]), Dtype::F32, &[2, 4], Some(&[0, 4])), "row 4 of 4 is written"),
        (output(source(&[4, 4]), Dtype::F32, &[1, 4], Some(&[u64::MAX])), "of 4 is written"),
        (out(&[], Dtype::F32, Some(&[0])), "rows of a scalar"),
        (out(&[2, 33], Dtype::Q80, None), "rows of 33 do not fill"),
        (out(&[64, 2], Dtype::Q4K, None), "rows of 2 do not fill"),
        (out(&[2, 2], Dtype::C64, None), "is made of complex ones only"),
        (out(&[2, 2], Dtype::Text, None), "text is not cast"),
        (output(plain(Dtype::F4, &[4, 3]), Dtype::F32, &[4, 3], Some(&[0, 1, 2, 3])), "which share bytes"),
        (output(huge, Dtype::F32, &[u64::MAX, 2], None), "overflows"),
        (output(source(&[4]), Dtype::F32, &[u64::MAX, 2], None), "overflows"),
    ] {
        let error = Produce::new(&folder(vec![0; 64]), &tensor, &Limits::default()).err().unwrap();
        assert!(error.to_string().contains(expected), "{error}");
    }
    // Bytes that are not there show when they are read.
    let error = written(&folder(vec![0; 12]), &out(&[2, 2], Dtype::F16, None), 64).unwrap_err();
    assert!(matches!(error, FormatError::In { .. } | FormatError::Broken { .. }), "{error}");
    let empty = output(plain(Dtype::F32, &[0, 7]), Dtype::Q80, &[0, 7], Some(&[]));
    assert_eq!(written(&folder(Vec::new()), &empty, 64).unwrap(), (Vec::new(), 0));
}

proptest! {
    #[test]
    fn any_rows_of_any_types_are_what_indexing_gives(
        blocks in 1u64..4, inner in 1u64..4, count in 1u64..40, from in 0usize..7, to in 0usize..7, band_bytes in 0u64..5000,
        picks in prop::collection::vec(any::<prop::sample::Index>(), 0..60), order in 0usize..4,
    ) {
        let types = [Dtype::F32, Dtype::U8, Dtype::BF16, Dtype::Q80, Dtype::F64, Dtype::Q4K, Dtype::Q50];
        let (from, to) = (types[from], types[to]);
        let columns = blocks * from.block_elements().max(to.block_elements());
        let shape = [count, inner, columns];
        let rows: Option<Vec<u64>> = match order {
            0 => None,
            1 => Some(picks.iter().map(|pick| pick.index(count as usize) as u64).collect()),
            2 => Some((0..count).rev().collect()),
            _ => Some((0..count).map(|row| row / 2 + row % 2 * (count / 2)).collect()),
        };
        let source = plain(from, &shape);
        let bytes = noise(source.size_bytes() as usize);
        let written_rows = rows.as_ref().map_or(count, |rows| rows.len() as u64);
        let tensor = output(source, to, &[written_rows, inner, columns], rows.as_deref());
        let row_bytes = from.size_bytes(inner * columns).unwrap() as usize;
        let mut picked = Vec::new();
        for row in rows.unwrap_or_else(|| (0..count).collect()) {
            picked.extend_from_slice(&bytes[row as usize * row_bytes..][..row_bytes]);
        }
        let mut expected = Vec::new();
        cast(from, &picked, &[], to, &mut expected).unwrap();
        let (found, longest) = written(&folder(bytes), &tensor, band_bytes).unwrap();
        prop_assert_eq!(found.len() as u64, tensor.size_bytes().unwrap());
        prop_assert!(found == expected);
        prop_assert!(longest as u64 <= band_bytes.max(from.block_bytes().max(to.block_bytes()) * 256 * 8));
    }
}
