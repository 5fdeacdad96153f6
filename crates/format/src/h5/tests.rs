use proptest::prelude::*;

use super::{File, is_h5, read};
use crate::contents::{Contents, WarningKind};
use crate::dtype::Dtype;
use crate::error::FormatError;
use crate::limits::Limits;
use crate::source::Section;
use crate::tensor::{Filter, Region, Stored};

const NONE: u64 = u64::MAX;

/// A file with a superblock of version 2, built from the front.
struct Made {
    bytes: Vec<u8>,
}

impl Made {
    fn new() -> Self {
        let mut bytes = b"\x89HDF\r\n\x1a\n\x02\x08\x08\0".to_vec();
        bytes.extend([0u64.to_le_bytes(), NONE.to_le_bytes(), NONE.to_le_bytes(), NONE.to_le_bytes()].concat());
        bytes.extend([0; 4]);
        Self { bytes }
    }

    fn put(&mut self, bytes: &[u8]) -> u64 {
        let at = self.bytes.len() as u64;
        self.bytes.extend(bytes);
        at
    }

    fn object(&mut self, messages: &[(u8, Vec<u8>)]) -> u64 {
        let body: Vec<u8> = messages.iter().flat_map(|(kind, body)| message(*kind, body)).collect();
        self.put(&[&b"OHDR\x02\x02"[..], &(body.len() as u32).to_le_bytes(), &body, &[0; 4]].concat())
    }

    fn root(&mut self, address: u64) {
        self.bytes[36..44].copy_from_slice(&address.to_le_bytes());
    }

    /// A file whose root is a group of these.
    fn group(mut self, links: &[(&str, u64)]) -> Vec<u8> {
        let links: Vec<_> = links.iter().map(|(name, address)| (6, link(name, *address))).collect();
        let root = self.object(&links);
        self.root(root);
        self.bytes
    }
}

fn message(kind: u8, body: &[u8]) -> Vec<u8> {
    [&[kind][..], &(body.len() as u16).to_le_bytes(), &[0], body].concat()
}

fn link(name: &str, address: u64) -> Vec<u8> {
    [&[1, 0, name.len() as u8][..], name.as_bytes(), &address.to_le_bytes()].concat()
}

fn space(shape: &[u64]) -> (u8, Vec<u8>) {
    let extents: Vec<u8> = shape.iter().flat_map(|extent| extent.to_le_bytes()).collect();
    (1, [&[2, shape.len() as u8, 0, 1][..], &extents].concat())
}

fn f32_type() -> (u8, Vec<u8>) {
    (3, [&[0x11, 0x20, 31, 0][..], &4u32.to_le_bytes(), &[0, 0, 32, 0, 23, 8, 0, 23, 127, 0, 0, 0]].concat())
}

fn contiguous(at: u64, len: u64) -> (u8, Vec<u8>) {
    (8, [&[3, 1][..], &at.to_le_bytes(), &len.to_le_bytes()].concat())
}

fn chunked(at: u64, extents: &[u32]) -> (u8, Vec<u8>) {
    let extents: Vec<u8> = extents.iter().flat_map(|extent| extent.to_le_bytes()).collect();
    (8, [&[3, 2, extents.len() as u8 / 4][..], &at.to_le_bytes(), &extents].concat())
}

/// A leaf of a B-tree over chunks of one axis: length, first element, address.
fn leaf(chunks: &[(u32, u64, u64)]) -> Vec<u8> {
    let mut node = [&b"TREE\x01\0"[..], &(chunks.len() as u16).to_le_bytes(), &[0xff; 16]].concat();
    for (len, first, address) in chunks {
        node.extend([&len.to_le_bytes()[..], &[0; 4], &first.to_le_bytes(), &[0; 8], &address.to_le_bytes()].concat());
    }
    [node, vec![0; 24]].concat()
}

fn open(bytes: Vec<u8>) -> Result<Contents, FormatError> {
    read(&Section::of_bytes("w.h5", bytes), &Limits::default())
}

fn refused(bytes: Vec<u8>) -> String {
    open(bytes).unwrap_err().to_string()
}

fn one(messages: &[(u8, Vec<u8>)]) -> Vec<u8> {
    let mut file = Made::new();
    let dataset = file.object(messages);
    file.group(&[("w", dataset)])
}

#[test]
fn a_dataset_is_a_range_of_the_file() {
    let contents = open(one(&[space(&[2]), f32_type(), contiguous(8, 8)])).unwrap();
    assert_eq!((contents.tensors[0].name.as_str(), contents.tensors[0].dtype), ("w", Dtype::F32));
    assert_eq!(contents.tensors[0].pieces[0].stored, Stored::File { file: "w.h5".into(), begin: 8, end: 16 });
}

#[test]
fn a_superblock_is_found_behind_a_user_block() {
    let inner = one(&[space(&[2]), f32_type(), contiguous(8, 8)]);
    let file = [vec![7; 1024], inner].concat();
    assert!(is_h5(&Section::of_bytes("w", file.clone())));
    assert!(!is_h5(&Section::of_bytes("w", [vec![7; 1000], file.clone()].concat())));
    let stored = &open(file).unwrap().tensors[0].pieces[0].stored;
    assert_eq!(*stored, Stored::File { file: "w.h5".into(), begin: 1032, end: 1040 });
}

#[test]
fn datasets_that_leave_the_file_are_refused() {
    let made = |shape: &[u64], at, len| refused(one(&[space(shape), f32_type(), contiguous(at, len)]));
    assert_eq!(made(&[1 << 20], 8, 4 << 20), "hdf5 dataset needs 4194304 bytes; only 146 are there");
    assert_eq!(made(&[2], 1 << 60, 8), "hdf5 dataset needs 8 bytes; only 0 are there");
    assert_eq!(made(&[2], 8, 4), "tensor `w` occupies 4 bytes; its shape and dtype give 64 bits");
    assert_eq!(made(&[1 << 40, 1 << 40], 8, 8), "the size of tensor `w` overflows");
    assert_eq!(made(&[1 << 62], 8, 8), "the size of tensor `w` overflows");
}

#[test]
fn headers_in_a_circle_are_refused() {
    let mut file = Made::new();
    let at = file.bytes.len() as u64;
    let again = [at.to_le_bytes(), 40u64.to_le_bytes()].concat();
    file.put(&[&b"OCHK"[..], &message(0x10, &again), &[0; 16]].concat());
    let root = file.object(&[(0x10, again)]);
    file.root(root);
    assert_eq!(refused(file.bytes), "hdf5 object header at byte 48: its blocks go in a circle");
}

#[test]
fn trees_in_a_circle_are_refused() {
    let mut file = Made::new();
    let at = file.bytes.len() as u64;
    // A node of level 1 whose child is itself.
    let mut node = leaf(&[(4, 0, at)]);
    node[5] = 1;
    file.put(&node);
    let dataset = file.object(&[space(&[2]), f32_type(), chunked(at, &[2, 4])]);
    assert_eq!(refused(file.group(&[("w", dataset)])), "hdf5 b-tree at byte 48: its nodes go in a circle");
}

#[test]
fn chunks_that_overlap_are_refused() {
    let with = |chunks: &[(u32, u64, u64)]| {
        let mut file = Made::new();
        let tree = file.put(&leaf(chunks));
        let dataset = file.object(&[space(&[6]), f32_type(), chunked(tree, &[2, 4])]);
        open(file.group(&[("w", dataset)]))
    };
    let error = |chunks: &[(u32, u64, u64)]| with(chunks).unwrap_err().to_string();
    assert_eq!(error(&[(8, 0, 8), (8, 0, 16)]), "hdf5 chunk index at byte 16: the chunk at `[0]` overlaps another one");
    assert_eq!(error(&[(8, 1, 8)]), "hdf5 chunk index at byte 8: the chunk at `[1]` overlaps another one");
    assert_eq!(error(&[(8, 0, 8), (8, 2, 12)]), "hdf5 chunk at byte 12: its bytes are another chunk's too");
    assert_eq!(error(&[(9, 0, 8)]), "hdf5 chunk in bytes is 9; 8 was announced");
    assert_eq!(error(&[(8, 0, 1 << 50)]), "hdf5 chunk needs 8 bytes; only 0 are there");
    let tensor = &with(&[(8, 4, 8)]).unwrap().tensors[0];
    assert_eq!(tensor.pieces[2].region, Region::Box { offsets: vec![4], shape: vec![2] });
    assert!(matches!(tensor.pieces[0].stored, Stored::Fill(_)));
    assert!(tensor.is_complete());
}

#[test]
fn more_chunks_than_a_file_can_have_are_refused() {
    let mut file = Made::new();
    let tree = file.put(&leaf(&[(8, 0, 8)]));
    let dataset = file.object(&[space(&[1 << 40]), f32_type(), chunked(tree, &[2, 4])]);
    let error = refused(file.group(&[("w", dataset)]));
    assert_eq!(error, "number of hdf5 chunks is 549755813888; the limit is 1048576");
}

#[test]
fn names_outside_their_heap_are_refused() {
    let mut file = Made::new();
    let data = file.put(&[0; 8]);
    let heap = file.put(&[&b"HEAP\0\0\0\0"[..], &8u64.to_le_bytes(), &[0; 8], &data.to_le_bytes()].concat());
    let entry = [500u64.to_le_bytes(), 0u64.to_le_bytes(), [0; 8], [0; 8], [0; 8]].concat();
    let node = file.put(&[&b"SNOD\x01\0\x01\0"[..], &entry].concat());
    let tree = [&b"TREE\0\0\x01\0"[..], &[0xff; 16], &[0; 8], &node.to_le_bytes(), &[0; 8]].concat();
    let tree = file.put(&tree);
    let root = file.object(&[(0x11, [tree.to_le_bytes(), heap.to_le_bytes()].concat())]);
    file.root(root);
    let error = refused(file.bytes);
    assert_eq!(error, "hdf5 local heap at byte 48: there is no name at offset `500`");
}

#[test]
fn groups_in_a_circle_are_a_warning() {
    let mut file = Made::new();
    let root = file.bytes.len() as u64;
    file.object(&[(6, link("again", root))]);
    file.root(root);
    let contents = open(file.bytes).unwrap();
    assert_eq!(contents.warnings[0].message, "group `again` is another group, or inside itself");
}

#[test]
fn nothing_outside_the_file_is_followed() {
    let mut file = Made::new();
    let external = b"\0/etc/passwd\0/x\0";
    let outside = [&[1, 8, 64, 1, b'e'][..], &(external.len() as u16).to_le_bytes(), external].concat();
    let soft = [1, 8, 1, 1, b's', 2, 0, b'/', b'x'].to_vec();
    let away = file.object(&[space(&[2]), f32_type(), contiguous(8, 8), (7, vec![0; 16])]);
    let elsewhere = file.object(&[space(&[2]), f32_type(), (8, [&[4, 3][..], &[0; 12]].concat())]);
    let root = file.object(&[(6, outside), (6, soft), (6, link("away", away)), (6, link("virtual", elsewhere))]);
    file.root(root);
    let contents = open(file.bytes).unwrap();
    let messages: Vec<_> = contents.warnings.iter().map(|warning| warning.message.as_str()).collect();
    assert_eq!(
        messages,
        [
            "external link `e` to `/x` in `/etc/passwd` is not followed",
            "soft link `s` to `/x` is not followed",
            "`away` lies in other files, which are not opened",
            "`virtual` lies in other files, which are not opened",
        ]
    );
    assert!(contents.tensors.iter().all(|tensor| tensor.pieces.is_empty() && !tensor.is_complete()));
}

#[test]
fn types_that_are_no_tensors_are_a_warning() {
    let reference = (3, [&[0x17, 0, 0, 0][..], &8u32.to_le_bytes()].concat());
    let contents = open(one(&[space(&[2]), reference, contiguous(8, 16)])).unwrap();
    assert_eq!(contents.warnings[0].kind, WarningKind::Unreadable);
    assert_eq!(contents.warnings[0].message, "hdf5 data type is not supported: `w` is reference of 8 bytes");
    // A sequence of sequences of sequences …
    let nested = (3, [0x19u8, 0, 0, 0, 16, 0, 0, 0].repeat(100));
    assert_eq!(
        refused(one(&[space(&[2]), nested, contiguous(8, 16)])),
        "nesting of hdf5 data types is 17; the limit is 16"
    );
}

#[test]
fn structures_that_share_bytes_cost_an_error_and_no_time() {
    // Two hundred thousand names of one large header.
    let mut file = Made::new();
    let large = file.object(&[(0, vec![0; 60_000]), space(&[2]), f32_type(), contiguous(8, 8)]);
    let names: Vec<String> = (0..20_000).map(|number| number.to_string()).collect();
    let links: Vec<_> = names.iter().map(|name| (name.as_str(), large)).collect();
    assert_eq!(refused(file.group(&links)), "hdf5 file breaks the rule that its structures do not share bytes");
}

#[test]
fn attributes_hold_text_and_numbers() {
    let text =
        [&[3, 0, 2, 0, 8, 0, 4, 0, 0, b'a', 0][..], &[0x13, 0, 0, 0, 3, 0, 0, 0], &[2, 0, 0, 0], b"hi\0"].concat();
    let mut file = Made::new();
    let root = file.object(&[(0x0c, text)]);
    file.root(root);
    assert_eq!(open(file.bytes).unwrap().metadata["a"], "hi");
}

#[test]
fn filters_are_undone_from_the_last_to_the_first() {
    let pipeline = [2, 2, 2, 0, 1, 0, 1, 0, 4, 0, 0, 0, 1, 0, 0, 0, 0, 0].to_vec();
    let mut file = Made::new();
    let tree = file.put(&leaf(&[(5, 0, 8)]));
    let dataset = file.object(&[space(&[2]), f32_type(), (0x0b, pipeline), chunked(tree, &[2, 4])]);
    let contents = open(file.group(&[("w", dataset)])).unwrap();
    assert_eq!(contents.tensors[0].pieces[0].filters, [Filter::Zlib, Filter::Unshuffle { width: 4 }]);
    let lzf = [2, 1, 0, 0x7d, 0, 0, 0, 0, 0, 0].to_vec();
    let contents = open(one(&[space(&[2]), f32_type(), (0x0b, lzf), chunked(8, &[2, 4])])).unwrap();
    assert!(contents.warnings[0].message.ends_with("filter `32000` (lzf)"), "{:?}", contents.warnings);
}

fn good() -> Vec<u8> {
    let mut file = Made::new();
    let tree = file.put(&leaf(&[(8, 0, 8), (8, 2, 16)]));
    let chunks = file.object(&[space(&[3]), f32_type(), chunked(tree, &[2, 4])]);
    let plain = file.object(&[space(&[2]), f32_type(), contiguous(8, 8)]);
    file.group(&[("chunks", chunks), ("plain", plain)])
}

proptest! {
    #[test]
    fn damaged_files_never_panic(changes in proptest::collection::vec((any::<prop::sample::Index>(), any::<u8>()), 1..6)) {
        let mut bytes = good();
        for (index, byte) in changes {
            let at = index.index(bytes.len());
            bytes[at] = byte;
        }
        let _ = open(bytes);
    }

    #[test]
    fn random_bytes_behind_a_superblock_never_panic(mut bytes in proptest::collection::vec(any::<u8>(), 64..2_000), at in 0u64..2_000) {
        bytes[..48].copy_from_slice(&Made::new().bytes);
        bytes[36..44].copy_from_slice(&at.to_le_bytes());
        let section = Section::of_bytes("w", bytes);
        let _ = read(&section, &Limits::default());
        if let Ok(file) = File::open(&section, &Limits::default()) {
            for kind in 0..2 {
                let _ = file.btree1(at, kind, 8);
            }
            let _ = file.btree2(at);
            let _ = file.fractal_heap(at);
            let _ = file.fixed_array(at, &mut |_, _| {});
            let _ = file.extensible_array(at, &mut |_, _| {});
        }
    }
}
