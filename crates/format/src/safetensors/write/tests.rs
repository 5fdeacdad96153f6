use std::collections::BTreeMap;

use proptest::prelude::*;

use super::*;
use crate::contents::Contents;
use crate::limits::Limits;
use crate::source::{Folder, Section};
use crate::written::{any_tensors, assert_same, bytes, folder, source, zeros};

const HELD: &[Dtype] = &[
    Dtype::Bool,
    Dtype::U8,
    Dtype::I8,
    Dtype::F8E4M3,
    Dtype::F8E5M2,
    Dtype::I16,
    Dtype::BF16,
    Dtype::F32,
    Dtype::C64,
    Dtype::U64,
    Dtype::F4,
    Dtype::F6E2M3,
];

fn pt() -> BTreeMap<String, String> {
    [("format".to_owned(), "pt".to_owned())].into()
}

fn read(file: &OutputFile, bytes: Vec<u8>) -> Contents {
    crate::safetensors::read(&Section::of_bytes(file.path.as_str(), bytes), &Limits::default()).unwrap()
}

#[test]
fn a_file_is_what_the_reference_writes() {
    let tensors = zeros(&[
        ("z", Dtype::F32, &[2]),
        ("a\"\\\n\u{1}é\u{7f}/", Dtype::F32, &[]),
        ("b", Dtype::I64, &[0, 3]),
        ("c", Dtype::BF16, &[1, 2]),
        ("d", Dtype::Bool, &[3]),
    ]);
    let file = file("model.safetensors", &tensors, &pt()).unwrap();
    let bytes = bytes(&source(Vec::new()), &tensors, &file);
    // safetensors 0.8.0: save_file of the same tensors.
    let header = concat!(
        r#"{"__metadata__":{"format":"pt"},"b":{"dtype":"I64","shape":[0,3],"data_offsets":[0,0]},"#,
        r#""a\"\\\n\u0001é"#,
        "\u{7f}",
        r#"/":{"dtype":"F32","shape":[],"data_offsets":[0,4]},"z":{"dtype":"F32","shape":[2],"data_offsets":[4,12]},"#,
        r#""c":{"dtype":"BF16","shape":[1,2],"data_offsets":[12,16]},"d":{"dtype":"BOOL","shape":[3],"data_offsets":[16,19]}}"#,
    );
    let padded = header.len().next_multiple_of(8);
    assert_eq!(bytes[..8], (padded as u64).to_le_bytes());
    assert_eq!(
        String::from_utf8_lossy(&bytes[8..8 + padded]),
        format!("{header:padded$}", padded = header.chars().count() + padded - header.len())
    );
    assert_eq!(bytes.len() as u64, 8 + padded as u64 + 19);
    assert_eq!(file.size_bytes(&tensors), bytes.len() as u64);
}

#[test]
fn shards_are_filled_greedily_in_the_order_given() {
    // huggingface_hub: limit 10 and sizes 6, 6, 2, 6, 2, 2 give shards of 6, 6 + 2, 6 + 2 + 2.
    let tensors = zeros(&[
        ("a", Dtype::U8, &[6]),
        ("b", Dtype::U8, &[6]),
        ("c", Dtype::U8, &[2]),
        ("d", Dtype::U8, &[6]),
        ("e", Dtype::U8, &[2]),
        ("f", Dtype::U8, &[2]),
    ]);
    assert_eq!(shards(&tensors, 10).unwrap(), [vec![0], vec![1, 2], vec![3, 4, 5]]);
    // A tensor above the limit stands alone, and before what was open.
    assert_eq!(shards(&tensors, 5).unwrap(), [vec![0], vec![1], vec![3], vec![2, 4], vec![5]]);
    assert_eq!(shards(&[], 5).unwrap(), [Vec::<usize>::new()]);
    let empty =
        zeros(&[("a", Dtype::U8, &[0]), ("b", Dtype::U8, &[3]), ("c", Dtype::U8, &[3]), ("d", Dtype::U8, &[0])]);
    assert_eq!(shards(&empty, 4).unwrap(), [vec![0, 1, 3], vec![2]]);
}

#[test]
fn an_index_is_spelled_as_python_does() {
    let tensors = zeros(&[("b\u{7f}\"\u{1f600}", Dtype::F32, &[2]), ("a", Dtype::F16, &[3])]);
    let mut options = Options { max_shard_bytes: Some(8), ..Options::default() };
    let files = plan(&tensors, &pt(), &options).unwrap();
    let paths: Vec<&str> = files.iter().map(|file| file.path.as_str()).collect();
    assert_eq!(
        paths,
        ["model-00001-of-00002.safetensors", "model-00002-of-00002.safetensors", "model.safetensors.index.json"]
    );
    let index = String::from_utf8(bytes(&source(Vec::new()), &tensors, &files[2])).unwrap();
    let expected = r#"{
  "metadata": {
    "total_parameters": 5,
    "total_size": 14
  },
  "weight_map": {
    "a": "model-00002-of-00002.safetensors",
    "b\u007f\"\ud83d\ude00": "model-00001-of-00002.safetensors"
  }
}
"#;
    assert_eq!(index, expected);
    options.stem = "diffusion_pytorch_model".to_owned();
    let files = plan(&tensors, &pt(), &options).unwrap();
    assert_eq!(files[0].path, "diffusion_pytorch_model-00001-of-00002.safetensors");
    let index = String::from_utf8(bytes(&source(Vec::new()), &tensors, &files[2])).unwrap();
    assert!(index.starts_with("{\n  \"metadata\": {\n    \"total_size\": 14\n  },\n"), "{index}");
    options.max_shard_bytes = None;
    assert_eq!(plan(&tensors, &pt(), &options).unwrap()[0].path, "diffusion_pytorch_model.safetensors");
}

#[test]
fn what_no_reader_would_take_is_refused_with_a_way_out() {
    let text = |all: &[(&str, Dtype, &[u64])]| file("m", &zeros(all), &pt()).unwrap_err().to_string();
    assert!(text(&[("w", Dtype::Q40, &[32])]).contains("tensor `w` is Q4_0: ask for a dtype such as `BF16`"));
    assert!(text(&[("w", Dtype::C128, &[2])]).contains("tensor `w` is C128: ask for the dtype `C64`"));
    assert!(text(&[("w", Dtype::I4, &[2])]).contains("tensor `w` is I4: ask for"));
    assert!(text(&[("w", Dtype::F4, &[3])]).contains("3 elements of F4 do not fill whole bytes"));
    assert!(text(&[("w", Dtype::F32, &[2]), ("w", Dtype::F16, &[2])]).contains("key `w` appears twice"));
    assert!(text(&[("__metadata__", Dtype::F32, &[2])]).contains("it is not `__metadata__`"));
    assert!(text(&[("w", Dtype::F32, &[1 << 62, 2])]).contains("the size of tensor `w` overflows"));
    let long = "n".repeat(100_000_001);
    assert!(text(&[(&long, Dtype::F32, &[2])]).contains("header of a safetensors file in bytes"));
    let twice = zeros(&[("w", Dtype::U8, &[9]), ("w", Dtype::U8, &[9])]);
    let options = Options { max_shard_bytes: Some(9), ..Options::default() };
    assert!(matches!(plan(&twice, &pt(), &options), Err(FormatError::DuplicateKey { .. })));
}

proptest! {
    #[test]
    fn what_is_written_is_read_back((tensors, from) in any_tensors(HELD), most in prop::option::of(1u64..200)) {
        let from = source(from);
        let options = Options { max_shard_bytes: most, ..Options::default() };
        let files = plan(&tensors, &pt(), &options).unwrap();
        let back = folder(&from, &tensors, &files);
        let mut contents = Contents::default();
        for file in files.iter().filter(|file| file.path.ends_with(".safetensors")) {
            let shard = read(file, bytes(&from, &tensors, file));
            prop_assert_eq!(&shard.metadata["format"], "pt");
            contents.tensors.extend(shard.tensors);
            contents.warnings.extend(shard.warnings);
        }
        assert_same((&tensors, &from), (&contents, &back));
        for file in &files {
            prop_assert_eq!(back.open(&file.path).unwrap().len(), file.size_bytes(&tensors));
        }
    }
}
