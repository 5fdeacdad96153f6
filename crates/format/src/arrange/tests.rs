use proptest::prelude::*;

use super::*;
use crate::data::Elements;
use crate::dtype::Dtype;
use crate::limits::Limits;
use crate::source::{MemoryFolder, Section};
use crate::tensor::{Filter, Region, Stored};

/// An array as a list: what the algebra must give.
#[derive(Clone, Debug, PartialEq)]
struct Naive {
    shape: Vec<u64>,
    values: Vec<u16>,
}

fn place(shape: &[u64], index: &[u64]) -> usize {
    shape.iter().zip(index).fold(0, |sum, (len, index)| sum * len + index) as usize
}

fn indices(shape: &[u64]) -> Vec<Vec<u64>> {
    let mut all = vec![Vec::new()];
    for len in shape {
        all = all.iter().flat_map(|index| (0..*len).map(move |next| [index.as_slice(), &[next]].concat())).collect();
    }
    all
}

impl Naive {
    fn build(shape: Vec<u64>, value: impl Fn(&[u64]) -> u16) -> Self {
        let values = indices(&shape).iter().map(|index| value(index)).collect();
        Self { shape, values }
    }

    fn at(&self, index: &[u64]) -> u16 {
        self.values[place(&self.shape, index)]
    }

    fn slice(&self, axis: usize, range: Range<u64>) -> Self {
        let mut shape = self.shape.clone();
        shape[axis] = range.end - range.start;
        Self::build(shape, |index| {
            let mut index = index.to_vec();
            index[axis] += range.start;
            self.at(&index)
        })
    }

    fn concat(axis: usize, all: &[Self]) -> Self {
        let mut shape = all[0].shape.clone();
        shape[axis] = all.iter().map(|one| one.shape[axis]).sum();
        Self::build(shape, |index| {
            let mut index = index.to_vec();
            for one in all {
                if index[axis] < one.shape[axis] {
                    return one.at(&index);
                }
                index[axis] -= one.shape[axis];
            }
            unreachable!()
        })
    }

    fn permute(&self, axes: &[usize]) -> Self {
        Self::build(axes.iter().map(|axis| self.shape[*axis]).collect(), |index| {
            let mut old = vec![0; index.len()];
            for (place, axis) in axes.iter().enumerate() {
                old[*axis] = index[place];
            }
            self.at(&old)
        })
    }
}

/// Random choices that a test makes on its way, so that a failure shrinks.
struct Dice(Vec<u32>);

impl Dice {
    fn below(&mut self, most: u64) -> u64 {
        u64::from(self.0.pop().unwrap_or(0)) % most.max(1)
    }

    fn order(&mut self, len: usize) -> Vec<usize> {
        let mut left: Vec<usize> = (0..len).collect();
        (0..len).map(|_| left.remove(self.below(left.len() as u64) as usize)).collect()
    }
}

/// Writes an array into files as some tensor: any cut into boxes or runs, any strides, any storage.
fn scattered(naive: &mut Naive, dice: &mut Dice, file: &str, bytes: &mut Vec<u8>) -> Tensor {
    let shape = naive.shape.clone();
    let total: u64 = shape.iter().product();
    let mut pieces = Vec::new();
    if dice.below(3) == 0 {
        let mut first = 0;
        while first < total {
            let len = 1 + dice.below(total - first);
            let all = indices(&shape)[first as usize..(first + len) as usize].to_vec();
            pieces.push(stored(naive, dice, file, bytes, &all, Region::Run { first, len }));
            first += len;
        }
    } else {
        let mut boxes = vec![(vec![0; shape.len()], shape.clone())];
        for _ in 0..dice.below(4) {
            if shape.is_empty() {
                break;
            }
            let (offsets, lens) = boxes.remove(dice.below(boxes.len() as u64) as usize);
            let axis = dice.below(shape.len() as u64) as usize;
            let at = dice.below(lens[axis] + 1);
            for (begin, len) in [(0, at), (at, lens[axis] - at)] {
                let (mut offsets, mut lens) = (offsets.clone(), lens.clone());
                (offsets[axis], lens[axis]) = (offsets[axis] + begin, len);
                boxes.push((offsets, lens));
            }
        }
        for (offsets, lens) in boxes {
            let order = if dice.below(2) == 0 { (0..shape.len()).collect() } else { dice.order(shape.len()) };
            let within = Naive::build(order.iter().map(|axis| lens[*axis]).collect(), |_| 0);
            let mut strides = vec![0; shape.len()];
            let even = boxes::row_major(&within.shape).unwrap();
            let all: Vec<Vec<u64>> = indices(&within.shape)
                .iter()
                .map(|index| {
                    let mut whole = offsets.clone();
                    for (place, axis) in order.iter().enumerate() {
                        whole[*axis] += index[place];
                    }
                    whole
                })
                .collect();
            for (place, axis) in order.iter().enumerate() {
                strides[*axis] = even[place];
            }
            let whole = lens == shape && dice.below(2) == 0;
            let region = if whole { Region::Whole } else { Region::Box { offsets, shape: lens } };
            let plain = order.is_sorted() && dice.below(2) == 0;
            let piece = stored(naive, dice, file, bytes, &all, region);
            pieces.push(Piece { strides: (!plain).then_some(strides), ..piece });
        }
    }
    Tensor { name: "t".to_owned(), dtype: Dtype::U16, shape, pieces }
}

/// Stores the values at some indices one after the other.
fn stored(
    naive: &mut Naive,
    dice: &mut Dice,
    file: &str,
    bytes: &mut Vec<u8>,
    all: &[Vec<u64>],
    region: Region,
) -> Piece {
    let kind = dice.below(6);
    if kind == 0 {
        for index in all {
            let at = place(&naive.shape, index);
            naive.values[at] = 7;
        }
        return Piece::plain(region, Stored::inline(&[7, 0])).filled();
    }
    let gap = 2 * dice.below(3);
    let mut plain = vec![0xee; gap as usize];
    for index in all {
        let value = naive.at(index);
        plain.extend(if kind == 1 { value.to_be_bytes() } else { value.to_le_bytes() });
    }
    let decoded_bytes = plain.len() as u64;
    let filters = match kind {
        1 => vec![Filter::SwapBytes { width: 2 }],
        2 => vec![Filter::Zlib],
        _ => Vec::new(),
    };
    if kind == 2 {
        plain = miniz_oxide::deflate::compress_to_vec_zlib(&plain, 6);
    }
    let stored = if kind == 3 {
        Stored::inline(&plain)
    } else {
        let begin = bytes.len() as u64;
        bytes.extend(&plain);
        Stored::File { file: file.into(), begin, end: bytes.len() as u64 }
    };
    Piece { filters, decoded_bytes, first_byte: gap, ..Piece::plain(region, stored) }
}

impl Piece {
    fn filled(mut self) -> Self {
        if let Stored::Inline(bytes) = &self.stored {
            self.stored = Stored::Fill(bytes.clone());
        }
        self
    }
}

fn read(tensor: &Tensor, bytes: &[u8]) -> Naive {
    let folder = MemoryFolder::new(vec![Section::of_bytes("a", bytes)]);
    let all = Elements::new(&folder, tensor, &Limits::default()).unwrap().read_all().unwrap();
    let values = all.as_chunks::<2>().0.iter().map(|pair| u16::from_le_bytes(*pair)).collect();
    Naive { shape: tensor.shape.clone(), values }
}

/// Another shape with as many elements, of which there are some.
fn another_shape(total: u64, dice: &mut Dice) -> Vec<u64> {
    let mut shape = Vec::new();
    let mut rest = total;
    for _ in 0..dice.below(6) {
        let divisors: Vec<u64> = (1..=rest).filter(|one| rest.is_multiple_of(*one)).collect();
        let one = divisors[dice.below(divisors.len() as u64) as usize];
        shape.push(one);
        rest /= one;
    }
    if rest > 1 {
        shape.push(rest);
    }
    shape
}

proptest! {
    #![proptest_config(ProptestConfig::with_cases(1500))]
    #[test]
    fn any_chain_of_cuts_and_turns_is_what_a_list_gives(
        shape in prop::collection::vec(1u64..6, 0..5),
        dice in prop::collection::vec(any::<u32>(), 0..120),
    ) {
        let mut dice = Dice(dice);
        let mut bytes = vec![0xdd; 3];
        let total: u64 = shape.iter().product();
        let mut naive = Naive { shape, values: (100..).take(total as usize).collect() };
        let mut tensor = scattered(&mut naive, &mut dice, "a", &mut bytes);
        prop_assert_eq!(&read(&tensor, &bytes), &naive);
        for _ in 0..4 {
            let rank = naive.shape.len();
            match dice.below(6) {
                0 if rank > 0 => {
                    let axis = dice.below(rank as u64) as usize;
                    let begin = dice.below(naive.shape[axis] + 1);
                    let end = begin + dice.below(naive.shape[axis] + 1 - begin);
                    tensor = slice(&tensor, axis, begin..end, "t").unwrap();
                    naive = naive.slice(axis, begin..end);
                }
                1 if rank > 0 => {
                    let axis = dice.below(rank as u64) as usize;
                    let mut shape = naive.shape.clone();
                    shape[axis] = dice.below(4);
                    let total: u64 = shape.iter().product();
                    let mut other = Naive { shape, values: (9000..).take(total as usize).collect() };
                    let second = scattered(&mut other, &mut dice, "a", &mut bytes);
                    tensor = concat(axis, &[&tensor, &second, &tensor], "t").unwrap();
                    naive = Naive::concat(axis, &[naive.clone(), other, naive]);
                }
                2 => {
                    tensor = stack(&[&tensor, &tensor], "t").unwrap();
                    naive.shape.insert(0, 1);
                    naive = Naive::concat(0, &[naive.clone(), naive]);
                }
                3 if rank > 1 => {
                    let mut axes: Vec<usize> = (0..rank).collect();
                    axes.swap(rank - 1, rank - 2);
                    tensor = transpose(&tensor, "t").unwrap();
                    naive = naive.permute(&axes);
                }
                4 if !naive.values.is_empty() => {
                    let shape = another_shape(naive.values.len() as u64, &mut dice);
                    tensor = reshape(&tensor, &shape, "t").unwrap();
                    naive.shape = shape;
                }
                _ => {
                    let axes = dice.order(rank);
                    tensor = permute(&tensor, &axes, "t").unwrap();
                    naive = naive.permute(&axes);
                }
            }
            if naive.values.len() > 2000 {
                break;
            }
            prop_assert!(tensor.is_complete());
            prop_assert_eq!(&read(&tensor, &bytes), &naive);
        }
    }

    #[test]
    fn no_description_of_a_tensor_makes_it_panic(
        shape in prop::collection::vec(prop::sample::select(vec![0, 1, 2, 3, 1 << 31, 1 << 62, u64::MAX]), 0..4),
        offsets in prop::collection::vec(prop::sample::select(vec![0, 1, 1 << 31, u64::MAX]), 0..4),
        lens in prop::collection::vec(prop::sample::select(vec![0, 1, 2, 1 << 31, u64::MAX]), 0..4),
        strides in prop::option::of(prop::collection::vec(prop::sample::select(vec![0, 1, 3, 1 << 40, u64::MAX]), 0..4)),
        first_byte in prop::sample::select(vec![0, 1, 1 << 40, u64::MAX]),
        run in any::<bool>(),
        dtype in prop::sample::select(vec![Dtype::U8, Dtype::F64, Dtype::Q40, Dtype::F4, Dtype::Text]),
    ) {
        let stored = Stored::File { file: "a".into(), begin: 5, end: 1 << 40 };
        let region = match (run, offsets.first(), lens.first()) {
            (true, Some(&first), Some(&len)) => Region::Run { first, len },
            (true, ..) => Region::Whole,
            _ => Region::Box { offsets, shape: lens },
        };
        let piece = Piece { strides, first_byte, ..Piece::plain(region, stored) };
        let tensor = Tensor { name: "t".to_owned(), dtype, shape: shape.clone(), pieces: vec![piece] };
        for (axis, &len) in shape.iter().enumerate() {
            let _ = slice(&tensor, axis, 0..len / 2, "x");
            let _ = slice(&tensor, axis, len.saturating_sub(1)..len, "x");
            let _ = slice(&tensor, axis, u64::MAX - 1..u64::MAX, "x");
            let _ = concat(axis, &[&tensor, &tensor], "x");
        }
        let _ = stack(&[&tensor, &tensor], "x");
        let _ = transpose(&tensor, "x");
        let _ = permute(&tensor, &(0..shape.len()).rev().collect::<Vec<_>>(), "x");
        for shape in [vec![], vec![1, 2, 1 << 31, 2], vec![3, 3], vec![u64::MAX, 2, 0]] {
            let _ = reshape(&tensor, &shape, "x");
        }
    }
}

fn rows(dtype: Dtype, shape: &[u64]) -> Tensor {
    let len = dtype.size_bytes(shape.iter().product()).unwrap();
    Tensor::plain("t", dtype, shape.to_vec(), Stored::File { file: "a".into(), begin: 10, end: 10 + len })
}

fn text(outcome: Result<Tensor, FormatError>) -> String {
    outcome.unwrap_err().to_string()
}

#[test]
fn quantised_rows_are_cut_and_joined_whole() {
    let tensor = rows(Dtype::Q40, &[4, 64]);
    let cut = slice(&tensor, 0, 1..3, "c").unwrap();
    let stored = Stored::File { file: "a".into(), begin: 10 + 36, end: 10 + 3 * 36 };
    assert_eq!(cut.pieces, [Piece::plain(Region::Whole, stored)]);
    let joined = concat(0, &[&cut, &tensor], "j").unwrap();
    assert_eq!(joined.shape, [6, 64]);
    assert_eq!(joined.pieces[1].region, Region::Run { first: 128, len: 256 });
    let expert = slice(&stack(&[&tensor, &tensor], "s").unwrap(), 0, 1..2, "e").unwrap();
    assert_eq!(reshape(&expert, &[4, 64], "t").unwrap(), tensor);
    assert!(text(slice(&tensor, 1, 0..32, "x")).contains("whole rows of the first axis"));
    assert!(text(transpose(&tensor, "x")).contains("elements of Q4_0"));
    assert!(text(concat(1, &[&tensor, &tensor], "x")).contains("`t`"));
    let odd = rows(Dtype::F4, &[3, 3]);
    assert!(text(slice(&odd, 0, 1..2, "x")).contains("a block of 2 elements of F4 would be cut"));
    assert!(text(concat(0, &[&odd, &odd], "x")).contains("would be cut"));
}

#[test]
fn only_the_bytes_that_are_needed_are_named() {
    let tensor = rows(Dtype::F32, &[8, 4]);
    let cut = slice(&tensor, 0, 2..4, "c").unwrap();
    let stored = Stored::File { file: "a".into(), begin: 10 + 32, end: 10 + 64 };
    assert_eq!(cut.pieces, [Piece::plain(Region::Whole, stored)]);
    let column = slice(&tensor, 1, 1..2, "c").unwrap();
    assert_eq!(column.pieces[0].stored, Stored::File { file: "a".into(), begin: 14, end: 14 + 7 * 16 + 4 });
    let mut compressed = tensor;
    compressed.pieces[0].filters.push(Filter::Zlib);
    let cut = slice(&compressed, 0, 2..4, "c").unwrap();
    assert_eq!((&cut.pieces[0].stored, cut.pieces[0].first_byte), (&compressed.pieces[0].stored, 32));
}

#[test]
fn what_does_not_fit_is_refused_with_names() {
    let (one, other) = (rows(Dtype::F32, &[2, 3]), rows(Dtype::F32, &[2, 4]));
    assert!(text(concat(0, &[&one, &other], "x")).contains("F32 [2, 3], which F32 [2, 4] cannot follow"));
    assert!(text(concat(0, &[&one, &rows(Dtype::F16, &[2, 3])], "x")).contains("F16 [2, 3] cannot follow"));
    assert!(text(stack(&[&one, &other], "x")).contains("cannot follow"));
    assert!(text(slice(&one, 0, 1..3, "x")).contains("1..3 leaves axis 0 of 2"));
    #[expect(clippy::reversed_empty_ranges, reason = "what a wrong caller could ask for")]
    let reversed = slice(&one, 0, 2..1, "x");
    assert!(text(reversed).contains("leaves axis"));
    assert!(text(slice(&one, 2, 0..1, "x")).contains("it has no axis 2"));
    assert!(text(permute(&one, &[0, 0], "x")).contains("no order of its 2 axes"));
    assert!(text(transpose(&rows(Dtype::F32, &[2]), "x")).contains("no two axes"));
    assert!(text(reshape(&one, &[5], "x")).contains("[2, 3] cannot become [5]"));
    assert!(matches!(concat::<Tensor>(0, &[], "x"), Err(FormatError::Empty { .. })));
    let turned = transpose(&rows(Dtype::F32, &[5000, 5000]), "t").unwrap();
    assert!(text(reshape(&turned, &[25_000_000], "x")).contains("more than 4096 parts"));
    let huge = Tensor { shape: vec![1 << 40, 1 << 40], ..one };
    assert!(matches!(slice(&huge, 0, 0..1, "x"), Err(FormatError::SizeOverflow { .. })));
}

#[test]
fn interleaved_heads_are_taken_apart() {
    // Three projections of two heads of two rows, interleaved by head, become three tensors.
    let fused = rows(Dtype::U16, &[12, 4]);
    let bytes: Vec<u8> = std::iter::repeat_n(0, 10).chain((0..48u16).flat_map(u16::to_le_bytes)).collect();
    let heads = reshape(&fused, &[2, 3, 2, 4], "h").unwrap();
    let keys = reshape(&slice(&heads, 1, 1..2, "k").unwrap(), &[4, 4], "k").unwrap();
    let expected: Vec<u16> = (8..16).chain(32..40).collect();
    assert_eq!(read(&keys, &bytes).values, expected);
    assert_eq!(keys.pieces.len(), 2);
}
