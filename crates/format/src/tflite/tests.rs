use proptest::prelude::*;

use super::read;
use crate::contents::{CodeWay, Contents};
use crate::error::FormatError;
use crate::limits::Limits;
use crate::source::Section;
use crate::tensor::Stored;

/// Writes tables from the front: fields that refer to others are filled in when those are written.
struct Made {
    bytes: Vec<u8>,
}

impl Made {
    fn new() -> Self {
        Self { bytes: b"\0\0\0\0TFL3".to_vec() }
    }

    /// A table whose fields have four bytes each; gives the place of each field.
    fn table(&mut self, fields: &[Option<u32>]) -> (usize, Vec<usize>) {
        let len = 4 + 4 * fields.iter().flatten().count();
        let vtable = self.bytes.len();
        self.bytes.extend((4 + 2 * fields.len() as u16).to_le_bytes());
        self.bytes.extend((len as u16).to_le_bytes());
        let mut offset = 4u16;
        for field in fields {
            let slot = if field.is_some() { offset } else { 0 };
            self.bytes.extend(slot.to_le_bytes());
            offset += if field.is_some() { 4 } else { 0 };
        }
        let at = self.bytes.len();
        self.bytes.extend(((at - vtable) as i32).to_le_bytes());
        let mut places = Vec::new();
        for field in fields {
            places.push(self.bytes.len());
            self.bytes.extend(field.iter().flat_map(|value| value.to_le_bytes()));
        }
        (at, places)
    }

    fn point(&mut self, field: usize, to: usize) {
        self.bytes[field..field + 4].copy_from_slice(&((to - field) as u32).to_le_bytes());
    }

    fn vector(&mut self, field: usize, len: u32, bytes: &[u8]) -> usize {
        let at = self.bytes.len();
        self.point(field, at);
        self.bytes.extend(len.to_le_bytes());
        self.bytes.extend(bytes);
        at + 4
    }
}

/// A model of one tensor `w` of this shape, with eight bytes, and one custom operator.
fn model(shape: &[u32]) -> Made {
    let mut made = Made::new();
    let (root, fields) = made.table(&[Some(3), Some(0), Some(0), None, Some(0)]);
    made.point(0, root);
    let codes = made.vector(fields[1], 1, &[0; 4]);
    let graphs = made.vector(fields[2], 1, &[0; 4]);
    let buffers = made.vector(fields[4], 2, &[0; 8]);
    let (code, custom) = made.table(&[Some(32), Some(0)]);
    made.point(codes, code);
    made.vector(custom[1], 4, b"Evil");
    let (graph, fields) = made.table(&[Some(0), None, None, Some(0)]);
    made.point(graphs, graph);
    let tensors = made.vector(fields[0], 1, &[0; 4]);
    let operators = made.vector(fields[3], 1, &[0; 4]);
    let (operator, _) = made.table(&[Some(0)]);
    made.point(operators, operator);
    let (tensor, fields) = made.table(&[Some(0), Some(0), Some(1), Some(0)]);
    made.point(tensors, tensor);
    let extents: Vec<u8> = shape.iter().flat_map(|extent| extent.to_le_bytes()).collect();
    made.vector(fields[0], shape.len() as u32, &extents);
    made.vector(fields[3], 1, b"w");
    let (empty, _) = made.table(&[]);
    made.point(buffers, empty);
    let (buffer, fields) = made.table(&[Some(0)]);
    made.point(buffers + 4, buffer);
    made.vector(fields[0], 8, &[1; 8]);
    made
}

fn open(bytes: Vec<u8>) -> Result<Contents, FormatError> {
    read(&Section::of_bytes("m.tflite", bytes), &Limits::default())
}

#[test]
fn constants_are_ranges_and_custom_operators_code() {
    let bytes = model(&[2]).bytes;
    let end = bytes.len() as u64;
    let contents = open(bytes).unwrap();
    assert_eq!(contents.tensors[0].name, "w");
    let stored = Stored::File { file: "m.tflite".into(), begin: end - 8, end };
    assert_eq!(contents.tensors[0].pieces[0].stored, stored);
    assert_eq!((contents.code[0].name.as_str(), contents.code[0].way), ("Evil", CodeWay::Operator));
    assert_eq!(contents.metadata["operators"]["Evil"], 1);
}

#[test]
fn shapes_that_lie_are_refused() {
    let error = |shape: &[u32]| open(model(shape).bytes).unwrap_err().to_string();
    assert_eq!(error(&[3]), "tensor `w` occupies 8 bytes; its shape and dtype give 96 bits");
    assert_eq!(error(&[u32::MAX; 3]), "the size of tensor `w` overflows");
    assert_eq!(error(&[1; 65]), "rank of a tflite tensor is 65; the limit is 64");
}

#[test]
fn offsets_that_lie_are_refused() {
    let with = |change: &dyn Fn(&mut Vec<u8>)| {
        let mut bytes = model(&[2]).bytes;
        change(&mut bytes);
        open(bytes).unwrap_err().to_string()
    };
    let root = model(&[2]).bytes[0] as usize;
    assert_eq!(with(&|bytes| bytes[0] = 0), "tflite model at byte 0: an offset refers to itself");
    assert_eq!(
        with(&|bytes| bytes[3] = 0xff),
        format!("tflite model at byte 0: offset `{}` leaves the file", 0xff00_0000u64 + root as u64)
    );
    // The vtable a gigabyte before the table.
    let far = with(&|bytes| bytes[root..root + 4].copy_from_slice(&(1i32 << 30).to_le_bytes()));
    assert_eq!(far, format!("tflite model at byte {root}: its vtable at `1073741824` before it is not in the file"));
    let behind = with(&|bytes| bytes[root..root + 4].copy_from_slice(&i32::MIN.to_le_bytes()));
    assert_eq!(behind, "tflite model needs 2 bytes; only 0 are there");
    let vtable = 8;
    assert_eq!(
        with(&|bytes| bytes[vtable..vtable + 2].copy_from_slice(&2u16.to_le_bytes())),
        format!("tflite model at byte {root}: its vtable has `2` bytes, and the table `20`")
    );
    let long = with(&|bytes| bytes[vtable..vtable + 2].copy_from_slice(&0xfffeu16.to_le_bytes()));
    assert!(long.starts_with("tflite model needs 65534 bytes"), "{long}");
    assert_eq!(
        with(&|bytes| bytes[vtable + 4..vtable + 6].copy_from_slice(&18u16.to_le_bytes())),
        format!("tflite model at byte {root}: field 0 at `18` leaves its table of 20 bytes")
    );
    // The vector of operator codes claims four billion.
    let codes = root + 20;
    let error = with(&|bytes| bytes[codes..codes + 4].copy_from_slice(&[0xff; 4]));
    assert!(error.starts_with("tflite model needs 17179869180 bytes"), "{error}");
    assert_eq!(
        open(b"xxxxTFL2".to_vec()).unwrap_err().to_string(),
        "this is no tflite model: its magic bytes are missing"
    );
}

proptest! {
    #[test]
    fn damaged_models_never_panic(changes in proptest::collection::vec((any::<prop::sample::Index>(), any::<u8>()), 1..6)) {
        let mut bytes = model(&[2]).bytes;
        for (index, byte) in changes {
            let at = index.index(bytes.len());
            bytes[at] = byte;
        }
        let _ = open(bytes);
    }

    #[test]
    fn random_bytes_never_panic(bytes in proptest::collection::vec(any::<u8>(), 0..500)) {
        let _ = open([&[16, 0, 0, 0][..], b"TFL3", &bytes].concat());
    }
}
