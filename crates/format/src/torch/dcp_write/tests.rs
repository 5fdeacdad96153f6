use proptest::prelude::*;

use super::*;
use crate::contents::Contents;
use crate::dtype::Dtype;
use crate::source::MemoryFolder;
use crate::tensor::{Stored, Tensor};
use crate::torch::state::Key;
use crate::written::{any_tensors, assert_same, folder, nested, source, zeros};

const HELD: &[Dtype] = &[Dtype::Bool, Dtype::U8, Dtype::U16, Dtype::BF16, Dtype::F32, Dtype::C64, Dtype::F8E4M3];

fn read(folder: &MemoryFolder) -> Contents {
    crate::torch::dcp::read(folder, "", &Limits::default()).unwrap()
}

fn state(tensors: &[OutputTensor]) -> State {
    State::named(tensors.iter().map(|tensor| tensor.name.as_str()))
}

#[test]
fn large_tensors_are_cut_along_their_rows_and_small_ones_are_spread() {
    let tensors =
        zeros(&[("w", Dtype::F32, &[5, 2]), ("a", Dtype::F32, &[1]), ("b", Dtype::F32, &[1]), ("s", Dtype::F32, &[])]);
    let (planned, files) = cut_above(&state(&tensors), &tensors, 3, 16).unwrap();
    let names: Vec<&str> = planned.iter().map(|tensor| tensor.name.as_str()).collect();
    assert_eq!(names, ["w", "a", "b", "s", "w[0..2]", "w[2..4]", "w[4..5]"]);
    assert_eq!(planned[6].shape, [1, 2]);
    let paths: Vec<&str> = files.iter().map(|file| file.path.as_str()).collect();
    assert_eq!(paths, ["__0_0.distcp", "__1_0.distcp", "__2_0.distcp", ".metadata"]);
    let held = |file: &OutputFile| {
        let numbers = file.parts.iter().filter_map(|part| match part {
            Part::Tensor(number) => Some(*number),
            _ => None,
        });
        numbers.collect::<Vec<_>>()
    };
    assert_eq!(files.iter().map(held).collect::<Vec<_>>(), [vec![4, 1], vec![5, 2], vec![6, 3], vec![]]);
    let back = folder(&source(Vec::new()), &planned, &files);
    assert_same((&tensors, &source(Vec::new())), (&read(&back), &back));
}

#[test]
fn rows_in_another_order_are_cut_in_that_order() {
    let bytes: Vec<u8> = (0..12).collect();
    let stored = Stored::File { file: "source".into(), begin: 0, end: 12 };
    let mut tensor = OutputTensor::same(&Tensor::plain("w", Dtype::U8, vec![6, 2], stored));
    tensor.recipe.rows = Some([5u64, 3, 1, 0, 2, 4].as_slice().into());
    let tensors = [tensor];
    let from = source(bytes);
    let (planned, files) = cut_above(&state(&tensors), &tensors, 4, 1).unwrap();
    let back = folder(&from, &planned, &files);
    assert_same((&tensors, &from), (&read(&back), &back));
    assert_eq!(planned[1].recipe.rows.as_deref(), Some(&[5u64, 3][..]));
}

#[test]
fn tied_weights_and_nested_values_come_back() {
    let tensors = zeros(&[("w", Dtype::F32, &[8, 2]), ("v", Dtype::F16, &[0, 3])]);
    let model = State::OrderedDict(vec![
        ("w".into(), State::Tensor(0)),
        ("v".into(), State::Tensor(1)),
        ("tied".into(), State::Tensor(0)),
    ]);
    let (planned, files) = cut_above(&nested(&model, 2), &tensors, 2, 16).unwrap();
    let contents = read(&folder(&source(Vec::new()), &planned, &files));
    assert_eq!(contents.warnings, []);
    let names: Vec<&str> = contents.tensors.iter().map(|tensor| tensor.name.as_str()).collect();
    assert_eq!(names, ["w", "v", "tied"]);
    assert_eq!(contents.tensors[0].pieces, contents.tensors[2].pieces);
    let optimizer = contents.optimizer.unwrap();
    assert_eq!(optimizer.groups[0]["betas"][1], 0.999);
    assert_eq!(optimizer.tensors.len(), 2);
    assert_eq!(contents.metadata["many"].as_array().unwrap().len(), 2001);
}

#[test]
fn what_cannot_be_flat_is_refused() {
    let tensors = zeros(&[("w", Dtype::F32, &[1])]);
    let plan = |state: &State, ranks| plan(state, &tensors, ranks).unwrap_err();
    assert!(matches!(plan(&State::Tensor(0), 1), FormatError::Rule { .. }));
    assert!(matches!(plan(&state(&tensors), 0), FormatError::Rule { .. }));
    assert!(matches!(plan(&state(&tensors), u32::MAX), FormatError::TooLarge { .. }));
    assert!(matches!(plan(&State::Dict(vec![("x".into(), State::Tensor(9))]), 1), FormatError::NoFile { .. }));
    let twice =
        State::Dict(vec![("a.b".into(), State::None), ("a".into(), State::Dict(vec![("b".into(), State::None)]))]);
    assert!(matches!(plan(&twice, 1), FormatError::DuplicateKey { key } if key == "a.b"));
    let deep = (0..200).fold(State::Tensor(0), |inner, _| State::List(vec![inner]));
    let deep = State::Dict(vec![(Key::Int(1), deep)]);
    assert!(matches!(plan(&deep, 1), FormatError::TooLarge { limit: 128, .. }));
    let quantised = zeros(&[("w", Dtype::Q40, &[32])]);
    let error = super::plan(&state(&quantised), &quantised, 1).unwrap_err().to_string();
    assert!(error.contains("tensor `w` is Q4_0"), "{error}");
}

proptest! {
    #[test]
    fn what_is_written_for_any_ranks_is_read_back((tensors, from) in any_tensors(HELD), ranks in 1u32..5, cut in 0u64..40) {
        let from = source(from);
        let (planned, files) = cut_above(&state(&tensors), &tensors, ranks, cut).unwrap();
        prop_assert_eq!(&planned[..tensors.len()], &tensors);
        let back = folder(&from, &planned, &files);
        if !tensors.is_empty() {
            assert_same((&tensors, &from), (&read(&back), &back));
        }
    }
}
