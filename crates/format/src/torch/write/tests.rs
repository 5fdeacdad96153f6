use proptest::prelude::*;

use super::*;
use crate::contents::Contents;
use crate::source::{Folder, MemoryFolder};
use crate::written::{any_tensors, assert_same, bytes, folder, nested, source, zeros};

const HELD: &[Dtype] = &[
    Dtype::Bool,
    Dtype::U8,
    Dtype::I16,
    Dtype::U16,
    Dtype::U32,
    Dtype::U64,
    Dtype::F16,
    Dtype::BF16,
    Dtype::F32,
    Dtype::F64,
    Dtype::C32,
    Dtype::C64,
    Dtype::C128,
    Dtype::F8E4M3,
    Dtype::F8E8M0,
    Dtype::F8E5M2Fnuz,
];

fn read(folder: &MemoryFolder) -> Contents {
    let section = folder.open(&folder.files()[0].path).unwrap();
    crate::torch::read(&section, &Limits::default()).unwrap()
}

fn state(tensors: &[OutputTensor]) -> State {
    State::named(tensors.iter().map(|tensor| tensor.name.as_str()))
}

#[test]
fn an_empty_dictionary_is_what_torch_writes() {
    // PyTorch 2.15: torch.save({}, "s.pt").
    let file = plan("s.pt", &State::Dict(Vec::new()), &[]).unwrap();
    let bytes = bytes(&source(Vec::new()), &[], &file);
    let id = format!("{:020}{:020}", 2_908_468_677_762_923_104u64, 103_495_851_195_097_541u64);
    assert!(bytes.windows(40).any(|window| window == id.as_bytes()));
    assert_eq!(&bytes[..40], b"PK\x03\x04\0\0\x08\x08\0\0\0\0\0\0\0\0\0\0\0\0\0\0\0\0\0\0\x0a\0\x18\0s/data.pkl");
    assert_eq!(&bytes[40..44], b"FB\x14\0");
    assert_eq!(&bytes[64..70], b"\x80\x02}q\0.");
    assert_eq!(&bytes[70..86], b"PK\x07\x08\xf2\x91\x02\xc5\x06\0\0\0\x06\0\0\0");
}

#[test]
fn tied_weights_are_stored_once() {
    let tensors = zeros(&[("a", Dtype::F32, &[4])]);
    let state = State::OrderedDict(vec![("a".into(), State::Tensor(0)), ("b".into(), State::Tensor(0))]);
    let from = source(Vec::new());
    let file = plan("m.pt", &state, &tensors).unwrap();
    assert_eq!(file.parts.iter().filter(|part| **part == Part::Tensor(0)).count(), 1);
    let contents = read(&folder(&from, &tensors, &[file]));
    assert_eq!(contents.tensors.len(), 2);
    assert_eq!(contents.tensors[0].pieces, contents.tensors[1].pieces);
}

#[test]
fn a_training_checkpoint_is_read_back_with_its_optimizer() {
    let tensors = zeros(&[("w", Dtype::F32, &[2, 2]), ("v", Dtype::F16, &[0])]);
    let file = plan("c.ckpt", &nested(&state(&tensors), 2), &tensors).unwrap();
    let contents = read(&folder(&source(Vec::new()), &tensors, &[file]));
    assert_eq!(contents.tensors.iter().map(|tensor| tensor.name.as_str()).collect::<Vec<_>>(), ["w", "v"]);
    let optimizer = contents.optimizer.unwrap();
    assert_eq!(optimizer.groups[0]["lr"], 1e-3);
    assert!(optimizer.tensors.len() >= 2, "{:?}", optimizer.tensors);
    assert_eq!(contents.metadata["many"].as_array().unwrap().len(), 2001);
    assert_eq!(contents.metadata["numbers"][7], i64::MIN);
    assert_eq!(contents.metadata["tuples"][1][4], "ü\u{0}\u{1f600}");
    assert_eq!(contents.warnings, []);
}

#[test]
fn the_folder_inside_is_named_as_torch_names_it() {
    let folders = ["a/pytorch_model.bin", "x.y.pt", "plain", "ü.pt", ".pt", "..", "a\nb.pt", "a\\b.pt"].map(folder_of);
    assert_eq!(folders, ["pytorch_model", "x.y", "plain", "archive", "archive", "archive", "archive", "b"]);
}

#[test]
fn what_torch_cannot_hold_is_refused_with_a_way_out() {
    let text = |all: &[(&str, Dtype, &[u64])]| {
        let tensors = zeros(all);
        plan("m.pt", &state(&tensors), &tensors).unwrap_err().to_string()
    };
    assert!(text(&[("w", Dtype::Q80, &[32])]).contains("tensor `w` is Q8_0: ask for a dtype such as `BF16`"));
    assert!(text(&[("w", Dtype::I4, &[32])]).contains("tensor `w` is I4: ask for a dtype such as `F32`"));
    assert!(text(&[("w", Dtype::F4, &[2, 3])]).contains("its rows do not fill whole bytes"));
    assert!(text(&[("w", Dtype::F32, &[1 << 62, 2])]).contains("overflows"));
    assert!(text(&[("w", Dtype::U8, &[0, 1 << 62, 1 << 62])]).contains("overflows"));
    assert!(matches!(plan("m", &State::Tensor(3), &[]), Err(FormatError::NoFile { .. })));
    let deep = (0..200).fold(State::None, |inner, _| State::List(vec![inner]));
    assert!(matches!(plan("m", &deep, &[]), Err(FormatError::TooLarge { limit: 128, .. })));
    let wide = State::List((0..200).map(|_| State::Tuple(vec![State::List(vec![])])).collect());
    assert!(plan("m", &wide, &[]).is_ok());
}

#[test]
fn sizes_above_four_gibibytes_are_written_with_64_bits() {
    let tensors = zeros(&[("a", Dtype::U8, &[u32::MAX as u64]), ("b", Dtype::U8, &[12])]);
    let file = plan("big.pt", &state(&tensors), &tensors).unwrap();
    let Part::Bytes(directory) = file.parts.last().unwrap() else { panic!("the end is bytes") };
    // PyTorch 2.15: the offset of the 64-bit end record, and what the last record says.
    assert!(directory.ends_with(b"\xff\xff\xff\xff\0\0"), "{directory:x?}");
    let all: Vec<u8> = file
        .parts
        .iter()
        .flat_map(|part| match part {
            Part::Bytes(bytes) => bytes.to_vec(),
            _ => Vec::new(),
        })
        .collect();
    let has = |bytes: &[u8]| all.windows(bytes.len()).any(|window| window == bytes);
    // The local header of the large member: its size, and a stored size that stays open.
    assert!(has(b"data/0\x01\0\x10\0\xff\xff\xff\xff\0\0\0\0\0\0\0\0\0\0\0\0FB"));
    // Behind 4 GiB: the offset in the local header, and sizes of 64 bits behind the bytes.
    assert!(has(b"data/1\x01\0\x08\0"));
    assert!(has(b"\x0c\0\0\0\0\0\0\0\x0c\0\0\0\0\0\0\0PK\x03\x04"));
    assert!(has(b"PK\x06\x07"));
}

#[test]
fn seventy_thousand_tensors_have_seventy_thousand_members() {
    let names: Vec<String> = (0..70_000).map(|number| format!("layer.{number}")).collect();
    let all: Vec<(&str, Dtype, &[u64])> = names.iter().map(|name| (name.as_str(), Dtype::U8, &[1][..])).collect();
    let tensors = zeros(&all);
    let file = plan("m.pt", &state(&tensors), &tensors).unwrap();
    let contents = read(&folder(&source(Vec::new()), &tensors, &[file]));
    assert_eq!((contents.tensors.len(), contents.warnings.len()), (70_000, 0));
}

proptest! {
    #[test]
    fn what_is_written_is_read_back((mut tensors, from) in any_tensors(HELD)) {
        // The reader takes a tensor without a name for one that stands alone.
        tensors.retain(|tensor| !tensor.name.is_empty());
        let from = source(from);
        let file = plan("model.pt", &state(&tensors), &tensors).unwrap();
        let len = file.size_bytes(&tensors);
        let back = folder(&from, &tensors, &[file]);
        prop_assert_eq!(back.files()[0].size_bytes, len);
        if !tensors.is_empty() {
            assert_same((&tensors, &from), (&read(&back), &back));
        }
    }

    #[test]
    fn integers_and_containers_of_any_size_come_back(numbers in prop::collection::vec(any::<i64>(), 0..40), len in 0usize..2100) {
        let list = State::List(numbers.iter().map(|number| State::Int(*number)).collect());
        let entries: Vec<(Key, State)> = (0..len).map(|key| (Key::Text(key.to_string()), State::Int(key as i64))).collect();
        let dicts = [State::Dict(entries.clone()), State::OrderedDict(entries)];
        for dict in dicts {
            let tensors = zeros(&[("w", Dtype::U8, &[1])]);
            let tree = State::Dict(vec![
                ("model".into(), state(&tensors)), ("list".into(), list.clone()), ("dict".into(), dict),
            ]);
            let contents = read(&folder(&source(Vec::new()), &tensors, &[plan("m.pt", &tree, &tensors).unwrap()]));
            let read: Vec<i64> = contents.metadata["list"].as_array().unwrap().iter().map(|one| one.as_i64().unwrap()).collect();
            prop_assert_eq!(&read, &numbers);
            prop_assert_eq!(contents.metadata["dict"].as_object().unwrap().len(), len);
        }
    }
}
