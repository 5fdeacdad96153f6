use proptest::prelude::*;

use super::metadata::{self, Array, Value};
use super::read;
use super::write::{Options, plan};
use crate::dtype::Dtype;
use crate::gguf::made;
use crate::limits::Limits;
use crate::output::{OutputTensor, Part};
use crate::source::{MemoryFolder, Section};
use crate::tensor::{Stored, Tensor};

fn tensor(name: &str, dtype: Dtype, shape: &[u64]) -> OutputTensor {
    let tensor = Tensor::plain(name, Dtype::F32, shape.to_vec(), Stored::Fill([0, 0, 128, 63].as_slice().into()));
    OutputTensor { dtype, ..OutputTensor::same(&tensor) }
}

fn entry(key: &str, value: Value) -> (String, Value) {
    (key.to_owned(), value)
}

fn every_type() -> Vec<(String, Value)> {
    vec![
        entry("general.architecture", Value::text("llama")),
        entry("u8", Value::U8(200)),
        entry("i8", Value::I8(-3)),
        entry("u16", Value::U16(60_000)),
        entry("i16", Value::I16(-300)),
        entry("u32", Value::U32(7)),
        entry("i32", Value::I32(-7)),
        entry("f32", Value::F32(1e-5)),
        entry("bool", Value::Bool(true)),
        entry("u64", Value::U64(1 << 40)),
        entry("i64", Value::I64(-(1 << 40))),
        entry("f64", Value::F64(0.1)),
        entry("texts", Value::Array(Array::Text((0..200).map(|at| format!("t{at}")).collect()))),
        entry("floats", Value::Array(Array::F32(vec![0.5; 100]))),
        entry("flags", Value::Array(Array::Bool(vec![true, false]))),
        entry(
            "nested",
            Value::Array(Array::Array(vec![Array::U32(vec![1, 2]), Array::Array(vec![]), Array::I8(vec![])])),
        ),
        entry("empty", Value::Array(Array::Array(vec![]))),
        entry("bytes", Value::Array(Array::U8(vec![1, 2, 3]))),
    ]
}

#[test]
fn what_is_written_is_read_back_whole() {
    let tensors =
        [tensor("a.weight", Dtype::F32, &[3, 5]), tensor("b.weight", Dtype::BF16, &[2]), tensor("c", Dtype::F32, &[])];
    let files = plan(&every_type(), &tensors, &Options::new("m.gguf")).unwrap();
    let bytes = made::file(&MemoryFolder::default(), &files[0], &tensors);
    assert!(bytes.len().is_multiple_of(32));
    let section = Section::of_bytes("m.gguf", bytes);
    assert_eq!(metadata::read(&section, &Limits::default()).unwrap(), every_type());
    let contents = read(&section, &Limits::default()).unwrap();
    let found: Vec<_> = contents.tensors.iter().map(|tensor| (tensor.name.as_str(), tensor.shape.clone())).collect();
    assert_eq!(found, [("a.weight", vec![3, 5]), ("b.weight", vec![2]), ("c", vec![])]);
    assert_eq!(contents.warnings, []);
}

#[test]
fn the_bytes_are_those_of_the_format() {
    let metadata = [entry("k", Value::U32(7))];
    let tensors = [tensor("t", Dtype::F32, &[1, 2])];
    let files = plan(&metadata, &tensors, &Options::new("m.gguf")).unwrap();
    let bytes = made::file(&MemoryFolder::default(), &files[0], &tensors);
    let mut expected = b"GGUF\x03\0\0\0\x01\0\0\0\0\0\0\0\x01\0\0\0\0\0\0\0".to_vec();
    expected.extend(b"\x01\0\0\0\0\0\0\0k\x04\0\0\0\x07\0\0\0");
    expected.extend(b"\x01\0\0\0\0\0\0\0t\x02\0\0\0\x02\0\0\0\0\0\0\0\x01\0\0\0\0\0\0\0\0\0\0\0\0\0\0\0\0\0\0\0");
    expected.resize(96, 0);
    expected.extend([0, 0, 128, 63, 0, 0, 128, 63]);
    expected.resize(128, 0);
    assert_eq!(bytes, expected);
}

#[test]
fn parts_are_cut_before_they_are_too_long_and_read_as_one() {
    let tensors: Vec<OutputTensor> = (0..5).map(|at| tensor(&format!("t{at}"), Dtype::F32, &[4, 4])).collect();
    let mut options = Options::new("dir/m.gguf");
    options.split_bytes = Some(130);
    let files = plan(&every_type(), &tensors, &options).unwrap();
    let paths: Vec<&str> = files.iter().map(|file| file.path.as_str()).collect();
    assert_eq!(paths, ["dir/m-00001-of-00003.gguf", "dir/m-00002-of-00003.gguf", "dir/m-00003-of-00003.gguf"]);
    let sections = files
        .iter()
        .map(|file| Section::of_bytes(file.path.as_str(), made::file(&MemoryFolder::default(), file, &tensors)))
        .collect();
    let folder = MemoryFolder::new(sections);
    let whole = crate::gguf::read_split(&folder, paths[0], &Limits::default()).unwrap();
    assert_eq!(whole.warnings, []);
    assert_eq!(
        whole.tensors.iter().map(|tensor| tensor.name.as_str()).collect::<Vec<_>>(),
        ["t0", "t1", "t2", "t3", "t4"]
    );
    assert_eq!(whole.metadata["split.tensors.count"], 5);
    options.split_bytes = Some(1);
    assert_eq!(plan(&[], &tensors, &options).unwrap().len(), 5);
    options.split_bytes = Some(1 << 20);
    assert_eq!(plan(&[], &tensors, &options).unwrap()[0].path, "dir/m.gguf");
}

#[test]
fn what_gguf_cannot_hold_is_refused_by_name() {
    let error = |tensors: &[OutputTensor]| plan(&[], tensors, &Options::new("m.gguf")).unwrap_err().to_string();
    assert!(error(&[tensor(&"n".repeat(64), Dtype::F32, &[1])]).contains("has 64 bytes"));
    assert!(plan(&[], &[tensor(&"n".repeat(63), Dtype::F32, &[1])], &Options::new("m.gguf")).is_ok());
    assert!(error(&[tensor("five", Dtype::F32, &[1; 5])]).contains("`five` has 5 dimensions"));
    assert!(error(&[tensor("odd", Dtype::Q80, &[2, 40])]).contains("rows of 40 elements of tensor `odd`"));
    assert!(error(&[tensor("flag", Dtype::Bool, &[2])]).contains("`BOOL` of tensor `flag`"));
    assert!(error(&[tensor("big", Dtype::F32, &[1 << 40, 1 << 40])]).contains("`big` overflows"));
    assert!(
        error(&[tensor("big", Dtype::F32, &[1 << 61]), tensor("big2", Dtype::F32, &[1 << 61])]).contains("overflows")
    );
    assert!(error(&[tensor("a", Dtype::F32, &[1]), tensor("a", Dtype::F32, &[1])]).contains("`a` appears twice"));
    let twice = [entry("k", Value::U8(1)), entry("k", Value::U8(1))];
    assert!(plan(&twice, &[], &Options::new("m.gguf")).is_err());
}

#[test]
fn another_alignment_is_announced() {
    let mut options = Options::new("m.gguf");
    options.alignment = 4096;
    let tensors = [tensor("a", Dtype::F32, &[1]), tensor("b", Dtype::F32, &[1])];
    let files = plan(&[], &tensors, &options).unwrap();
    assert_eq!(files[0].size_bytes(&tensors), 3 * 4096);
    assert!(matches!(
        &files[0].parts[..],
        [Part::Bytes(_), Part::Tensor(0), Part::Bytes(_), Part::Tensor(1), Part::Bytes(_)]
    ));
    let section = Section::of_bytes("m.gguf", made::file(&MemoryFolder::default(), &files[0], &tensors));
    assert_eq!(metadata::read(&section, &Limits::default()).unwrap(), [entry("general.alignment", Value::U32(4096))]);
    assert_eq!(read(&section, &Limits::default()).unwrap().warnings, []);
    for wrong in [0, 4, 24, 48, 1 << 30] {
        options.alignment = wrong;
        assert!(plan(&[], &tensors, &options).is_err(), "{wrong}");
    }
}

#[test]
fn hostile_metadata_costs_an_error_and_no_memory() {
    let head = |entries: u64| [b"GGUF\x03\0\0\0".as_slice(), &0u64.to_le_bytes(), &entries.to_le_bytes()].concat();
    let key = |kind: u32| [1u64.to_le_bytes().as_slice(), b"k", &kind.to_le_bytes()].concat();
    let array = |kind: u32, count: u64| [kind.to_le_bytes().as_slice(), &count.to_le_bytes()].concat();
    let error =
        |bytes: Vec<u8>| metadata::read(&Section::of_bytes("m", bytes), &Limits::default()).unwrap_err().to_string();
    assert!(error(head(u64::MAX)).contains("needs"));
    for kind in [0, 6, 7, 8, 9, 12] {
        assert!(error([head(1), key(9), array(kind, u64::MAX)].concat()).contains("needs"), "{kind}");
    }
    assert!(error([head(1), key(9), array(13, 1)].concat()).contains("unknown value type `13`"));
    assert!(error([head(1), key(14), vec![0; 8]].concat()).contains("unknown value type `14`"));
    let deep = [head(1), key(9), array(9, 1).repeat(200), array(0, 0)].concat();
    assert!(error(deep).contains("nesting"));
    let long = [head(1), key(9), array(9, 5_000_000), vec![0; 70_000_000]].concat();
    assert!(error(long).contains("the limit is 4194304"));
    let text = [head(1), key(8), 1u64.to_le_bytes().to_vec(), vec![0xff]].concat();
    assert!(error(text).contains("not UTF-8"));
    assert!(error([head(2), key(0), vec![1], key(0), vec![1]].concat()).contains("`k` appears twice"));
}

proptest! {
    #[test]
    fn damaged_metadata_ends(at in 0usize..2000, byte: u8, len in 0usize..3000) {
        let files = plan(&every_type(), &[tensor("a", Dtype::F32, &[4])], &Options::new("m.gguf")).unwrap();
        let Part::Bytes(header) = &files[0].parts[0] else { panic!("no header") };
        let mut bytes = header.to_vec();
        let place = at % bytes.len();
        bytes[place] = byte;
        bytes.truncate(len.max(24));
        // Refused or not: what counts is that it ends.
        let _ = metadata::read(&Section::of_bytes("m.gguf", bytes), &Limits::default());
    }
}
