use proptest::prelude::*;

use super::*;
use crate::limits::Limits;
use crate::source::{Folder, Section};
use crate::written::{any_tensors, assert_same, bytes, folder, source, zeros};

const HELD: &[Dtype] = &[
    Dtype::Bool,
    Dtype::U8,
    Dtype::I8,
    Dtype::I16,
    Dtype::U16,
    Dtype::I32,
    Dtype::U32,
    Dtype::I64,
    Dtype::U64,
    Dtype::F16,
    Dtype::F32,
    Dtype::F64,
    Dtype::C64,
    Dtype::C128,
];

#[test]
fn headers_are_those_of_numpy() {
    // NumPy 2.4: numpy.save.
    for (shape, expected) in [
        (&[][..], format!("v\0{{'descr': '<f4', 'fortran_order': False, 'shape': (), }}{:62}\n", "")),
        (&[3][..], format!("v\0{{'descr': '<f4', 'fortran_order': False, 'shape': (3,), }}{:60}\n", "")),
        (&[20, 0][..], format!("v\0{{'descr': '<f4', 'fortran_order': False, 'shape': (20, 0), }}{:57}\n", "")),
    ] {
        let tensors = zeros(&[("w", Dtype::F32, shape)]);
        let file = npy("w.npy", &tensors[0]).unwrap();
        let bytes = bytes(&source(Vec::new()), &tensors, &file);
        assert_eq!(&bytes[..8], b"\x93NUMPY\x01\0");
        assert_eq!(String::from_utf8_lossy(&bytes[8..128]), expected);
        assert_eq!(bytes.len() as u64, file.size_bytes(&tensors));
    }
}

#[test]
fn what_numpy_has_not_is_refused_with_a_way_out() {
    let text = |all: &[(&str, Dtype, &[u64])]| npz("m.npz", &zeros(all)).unwrap_err().to_string();
    assert!(text(&[("w", Dtype::BF16, &[1])]).contains("tensor `w` is BF16: give `--dtype` such as `F32`"));
    assert!(text(&[("w", Dtype::C32, &[1])]).contains("`C64`"));
    assert!(text(&[("w", Dtype::Q40, &[32])]).contains("tensor `w` is Q4_0"));
    assert!(text(&[("../w", Dtype::F32, &[1])]).contains("does not stay inside a folder"));
    assert!(text(&[("/w", Dtype::F32, &[1])]).contains("does not stay inside a folder"));
    assert!(text(&[("a\0", Dtype::F32, &[1])]).contains("does not stay inside a folder"));
    assert!(text(&[("w", Dtype::F32, &[1]), ("w.npy", Dtype::F32, &[1])]).contains("key `w.npy` appears twice"));
    assert!(text(&[(&"n".repeat(65_536), Dtype::F32, &[1])]).contains("name of a zip member"));
    assert!(text(&[("w", Dtype::F32, &[1 << 62, 2])]).contains("overflows"));
    assert!(npz("m.npz", &zeros(&[("a..b/c\n", Dtype::F32, &[1])])).is_ok());
}

#[test]
fn archives_above_four_gibibytes_have_64_bit_sizes() {
    let tensors = zeros(&[("a", Dtype::U8, &[u32::MAX as u64]), ("b", Dtype::U8, &[12])]);
    let file = npz("m.npz", &tensors).unwrap();
    let Part::Bytes(first) = &file.parts[0] else { panic!("a header is bytes") };
    assert_eq!(first[4..6], [45, 0]);
    assert_eq!(first[18..26], [0xff; 8]);
    let Part::Bytes(end) = file.parts.last().unwrap() else { panic!("the end is bytes") };
    assert!(end.windows(4).any(|window| window == b"PK\x06\x06"));
    assert!(end.ends_with(b"\xff\xff\xff\xff\0\0"));
}

proptest! {
    #[test]
    fn what_is_written_is_read_back((mut tensors, from) in any_tensors(HELD)) {
        tensors.retain(|tensor| npz("", std::slice::from_ref(tensor)).is_ok() && !tensor.name.is_empty());
        let from = source(from);
        let file = npz("m.npz", &tensors).unwrap();
        let len = file.size_bytes(&tensors);
        let back = folder(&from, &tensors, &[file]);
        let section = back.open("m.npz").unwrap();
        prop_assert_eq!(section.len(), len);
        if !tensors.is_empty() {
            let contents = crate::numpy::read_npz(&section, &Limits::default()).unwrap();
            assert_same((&tensors, &from), (&contents, &back));
        }
        for tensor in &tensors {
            let one = [tensor.clone()];
            let bytes = bytes(&from, &one, &npy("t.npy", tensor).unwrap());
            let contents = crate::numpy::read_npy(&Section::of_bytes("t.npy", bytes), &Limits::default()).unwrap();
            prop_assert_eq!((contents.tensors[0].dtype, &contents.tensors[0].shape), (tensor.dtype, &tensor.shape));
        }
    }
}
