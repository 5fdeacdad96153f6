use proptest::prelude::*;

use super::read;
use crate::contents::{CodeWay, Contents, WarningKind};
use crate::dtype::Dtype;
use crate::error::FormatError;
use crate::limits::Limits;
use crate::protobuf::build::{bytes, fixed32, number, varint};
use crate::source::{MemoryFolder, Section};
use crate::tensor::{Filter, Stored};

fn model(graph: &[Vec<u8>]) -> Vec<u8> {
    [number(1, 8), bytes(2, "test"), bytes(8, number(2, 17)), bytes(7, graph.concat())].concat()
}

fn open(model: Vec<u8>, beside: &[(&str, Vec<u8>)]) -> Result<Contents, FormatError> {
    let mut sections = vec![Section::of_bytes("in/m.onnx", model)];
    sections.extend(beside.iter().map(|(path, bytes)| Section::of_bytes(*path, bytes.clone())));
    read(&MemoryFolder::new(sections), "in/m.onnx", &Limits::default())
}

fn tensor(name: &str, dims: &[u64], code: u64, rest: &[u8]) -> Vec<u8> {
    let dims = bytes(1, dims.iter().flat_map(|&dim| varint(dim)).collect::<Vec<_>>());
    [dims, number(2, code), bytes(8, name), rest.to_vec()].concat()
}

fn external(entries: &[(&str, &str)]) -> Vec<u8> {
    let entry = |(key, value): &(&str, &str)| bytes(13, [bytes(1, key), bytes(2, value)].concat());
    [number(14, 1), entries.iter().flat_map(entry).collect()].concat()
}

fn refused(rest: &[u8]) -> String {
    let made = model(&[bytes(5, tensor("w", &[2], 1, rest))]);
    open(made, &[("in/w.bin", vec![0; 8]), ("w.bin", vec![0; 8])]).unwrap_err().to_string()
}

#[test]
fn initialisers_are_ranges_of_the_file() {
    let raw = bytes(9, [1, 2, 3, 4, 5, 6, 7, 8]);
    let made = model(&[bytes(2, "g"), bytes(5, tensor("w", &[2], 1, &raw))]);
    let end = made.len() as u64;
    let contents = open(made, &[]).unwrap();
    let stored = Stored::File { file: "in/m.onnx".into(), begin: end - 8, end };
    assert_eq!(contents.tensors[0].pieces[0].stored, stored);
    assert_eq!(contents.metadata["graph"]["name"], "g");
    assert_eq!(contents.metadata["opset_import"]["ai.onnx"], 17);
}

#[test]
fn typed_numbers_name_their_filters() {
    let packed = bytes(5, [varint(1), varint(u64::MAX)].concat());
    let contents = open(model(&[bytes(5, tensor("w", &[2], 10, &packed))]), &[]).unwrap();
    let piece = &contents.tensors[0].pieces[0];
    assert_eq!(piece.filters, [Filter::Varint { width: 4 }, Filter::Narrow { from: 4, to: 2 }]);
    assert_eq!(piece.decoded_bytes, 4);
    let scattered = [number(7, 1), number(7, u64::MAX)].concat();
    let contents = open(model(&[bytes(5, tensor("w", &[2], 7, &scattered))]), &[]).unwrap();
    let inline = [1u64.to_le_bytes(), [0xff; 8]].concat();
    assert_eq!(contents.tensors[0].pieces[0].stored, Stored::inline(&inline));
    let floats = [fixed32(4, 1), fixed32(4, 2)].concat();
    let contents = open(model(&[bytes(5, tensor("w", &[2], 1, &floats))]), &[]).unwrap();
    assert_eq!(contents.tensors[0].pieces[0].stored, Stored::inline(&[1, 0, 0, 0, 2, 0, 0, 0]));
}

#[test]
fn external_data_stays_in_the_folder_and_in_its_file() {
    let location = |text| external(&[("location", text)]);
    for outside in ["../w.bin", "/in/w.bin", "a/../../w.bin", "c:\\w.bin", ""] {
        assert!(refused(&location(outside)).ends_with(&format!("location `{outside}` leaves the folder")), "{outside}");
    }
    assert!(refused(&external(&[])).ends_with("there is no location"));
    let long = external(&[("location", "w.bin"), ("offset", "4"), ("length", "8")]);
    assert_eq!(refused(&long), "`in/w.bin`: onnx external data needs 8 bytes; only 4 are there");
    let huge = external(&[("location", "w.bin"), ("offset", "18446744073709551615"), ("length", "2")]);
    assert_eq!(refused(&huge), "`in/w.bin`: onnx external data needs 2 bytes; only 0 are there");
    let short = external(&[("location", "w.bin"), ("offset", "4")]);
    assert_eq!(refused(&short), "tensor `w` occupies 4 bytes; its shape and dtype give 64 bits");
    assert!(refused(&external(&[("location", "w.bin"), ("offset", "-1")])).ends_with("offset `-1` is no number"));

    let made = model(&[bytes(5, tensor("w", &[2], 1, &external(&[("location", "./w.bin")])))]);
    let contents = open(made.clone(), &[("in/w.bin", vec![0; 8])]).unwrap();
    assert_eq!(contents.tensors[0].place().unwrap().0.as_ref(), "in/w.bin");
    let contents = open(made, &[]).unwrap();
    assert_eq!(contents.warnings[0].kind, WarningKind::Missing);
    assert!(!contents.tensors[0].is_complete());
}

#[test]
fn shapes_that_lie_are_refused() {
    let raw = bytes(9, [0; 8]);
    let made =
        |dims: &[u64], code| open(model(&[bytes(5, tensor("w", dims, code, &raw))]), &[]).unwrap_err().to_string();
    assert_eq!(made(&[3], 1), "tensor `w` occupies 8 bytes; its shape and dtype give 96 bits");
    assert_eq!(made(&[1 << 40, 1 << 40], 1), "the size of tensor `w` overflows");
    assert_eq!(made(&[u64::MAX], 1), "the size of tensor `w` overflows");
    assert_eq!(made(&[2], 99), "tensor `w` has the unknown dtype `99`");
    assert_eq!(made(&[1; 65], 1), "rank of an onnx tensor is 65; the limit is 64");
    assert_eq!(made(&[2], 8), "onnx tensor breaks the rule that strings are not stored as raw bytes");
}

#[test]
fn nested_graphs_are_bounded() {
    let mut graph = bytes(5, tensor("deep", &[1], 3, &bytes(9, [1])));
    for _ in 0..100 {
        graph = bytes(1, [bytes(4, "If"), bytes(5, bytes(6, graph))].concat());
    }
    let contents = open(model(&[graph.clone()]), &[]).unwrap();
    assert_eq!(contents.tensors[0].name, "deep");
    assert_eq!(contents.metadata["graph"]["operators"]["If"], 100);
    for _ in 0..100 {
        graph = bytes(1, [bytes(4, "If"), bytes(5, bytes(6, graph))].concat());
    }
    let error = open(model(&[graph]), &[]).unwrap_err();
    assert_eq!(error.to_string(), "nesting of onnx graphs is 129; the limit is 128");
}

#[test]
fn operators_of_other_domains_are_code_unless_the_model_defines_them() {
    let node = |domain: &str, name: &str| bytes(1, [bytes(4, name), bytes(7, domain)].concat());
    let graph = bytes(7, [node("", "Add"), node("evil", "Run"), node("mine", "F")].concat());
    let function = bytes(25, [bytes(1, "F"), bytes(10, "mine"), bytes(7, bytes(4, "Mul"))].concat());
    let contents = open([number(1, 8), graph, function].concat(), &[]).unwrap();
    let code: Vec<_> = contents.code.iter().map(|code| (code.name.as_str(), code.way)).collect();
    assert_eq!(code, [("evil::Run", CodeWay::Operator)]);
    assert_eq!(contents.metadata["graph"]["operators"]["Mul"], 1);
}

#[test]
fn repeated_names_are_told_apart() {
    let one = bytes(5, tensor("w", &[1], 3, &bytes(9, [1])));
    let contents = open(model(&[one.clone(), one]), &[]).unwrap();
    assert_eq!(contents.tensors.iter().map(|tensor| tensor.name.as_str()).collect::<Vec<_>>(), ["w", "w#2"]);
    assert_eq!(contents.warnings[0].kind, WarningKind::Duplicate);
    assert_eq!(contents.tensors[0].dtype, Dtype::I8);
}

#[test]
fn what_is_no_model_is_refused() {
    let error = |bytes: Vec<u8>| open(bytes, &[]).unwrap_err().to_string();
    assert_eq!(error(vec![]), "graph of the onnx model is empty");
    assert_eq!(error(bytes(7, "")), "onnx model breaks the rule that it has an ir_version");
    assert_eq!(error(number(99, 1)), "onnx model at byte 0: field `99` does not exist in a model");
}

fn good() -> Vec<u8> {
    let node = [
        bytes(2, "c"),
        bytes(4, "Constant"),
        bytes(5, [bytes(1, "value"), bytes(5, tensor("", &[1], 1, &bytes(4, [0; 4])))].concat()),
    ];
    let sparse = [
        bytes(1, tensor("s", &[1], 1, &bytes(9, [0; 4]))),
        bytes(2, tensor("", &[1], 7, &bytes(7, [3]))),
        number(3, 9),
    ];
    model(&[
        bytes(1, node.concat()),
        bytes(15, sparse.concat()),
        bytes(5, tensor("e", &[2], 1, &external(&[("location", "w.bin")]))),
        bytes(
            11,
            [bytes(1, "x"), bytes(2, bytes(1, [number(1, 1), bytes(2, bytes(1, number(1, 4)))].concat()))].concat(),
        ),
    ])
}

#[test]
fn constants_and_sparse_initialisers_are_tensors() {
    let contents = open(good(), &[("in/w.bin", vec![0; 8])]).unwrap();
    let names: Vec<_> = contents.tensors.iter().map(|tensor| tensor.name.as_str()).collect();
    assert_eq!(names, ["c", "s.values", "s.indices", "e"]);
    assert_eq!(contents.metadata["graph"]["inputs"][0]["shape"][0], 4);
    assert_eq!(contents.metadata["sparse"]["s"][0], 9);
}

proptest! {
    #[test]
    fn damaged_models_never_panic(changes in proptest::collection::vec((any::<prop::sample::Index>(), any::<u8>()), 1..6)) {
        let mut bytes = good();
        for (index, byte) in changes {
            let at = index.index(bytes.len());
            bytes[at] = byte;
        }
        let _ = open(bytes, &[("in/w.bin", vec![0; 8])]);
    }

    #[test]
    fn random_bytes_never_panic(bytes in proptest::collection::vec(any::<u8>(), 0..300)) {
        let _ = open(bytes, &[]);
    }
}
