use proptest::prelude::*;

use super::{bundles, is_table, latest, read_bundle, read_saved_model, read_v1, saved_models};
use crate::contents::{Contents, WarningKind};
use crate::error::FormatError;
use crate::limits::Limits;
use crate::protobuf::build::{bytes, number, varint};
use crate::source::{MemoryFolder, Section};
use crate::tensor::{Filter, Region, Stored};

fn masked(bytes: &[u8]) -> [u8; 4] {
    crc_fast::crc32_iscsi(bytes).rotate_right(15).wrapping_add(0xa282_ead8).to_le_bytes()
}

/// Body of a block: entries that share nothing, and one restart.
fn body(entries: &[(Vec<u8>, Vec<u8>)]) -> Vec<u8> {
    let entry = |(key, value): &(Vec<u8>, Vec<u8>)| {
        [vec![0], varint(key.len() as u64), varint(value.len() as u64), key.clone(), value.clone()].concat()
    };
    [entries.iter().flat_map(entry).collect(), vec![0; 4], vec![1, 0, 0, 0]].concat()
}

/// Adds a block and gives its handle.
fn push(file: &mut Vec<u8>, body: &[u8], kind: u8) -> Vec<u8> {
    let stored = if kind == 1 { snap::raw::Encoder::new().compress_vec(body).unwrap() } else { body.to_vec() };
    let handle = [varint(file.len() as u64), varint(stored.len() as u64)].concat();
    let stored = [stored, vec![kind]].concat();
    file.extend(&stored);
    file.extend(masked(&stored));
    handle
}

fn close(file: &mut Vec<u8>, handles: &[Vec<u8>]) {
    let meta = push(file, &body(&[]), 0);
    let entries: Vec<_> = handles.iter().map(|handle| (b"~".to_vec(), handle.clone())).collect();
    let index = push(file, &body(&entries), 0);
    let mut footer = [meta, index].concat();
    footer.resize(40, 0);
    file.extend(footer);
    file.extend(super::table::MAGIC);
}

fn table(entries: &[(Vec<u8>, Vec<u8>)], kind: u8) -> Vec<u8> {
    let mut file = Vec::new();
    let handle = push(&mut file, &body(entries), kind);
    close(&mut file, &[handle]);
    file
}

fn shape(extents: &[u64]) -> Vec<u8> {
    extents.iter().flat_map(|&extent| bytes(2, number(1, extent))).collect()
}

fn entry(code: u64, extents: &[u64], offset: u64, size: u64) -> Vec<u8> {
    [number(1, code), bytes(2, shape(extents)), number(4, offset), number(5, size)].concat()
}

fn header(order: u64) -> (Vec<u8>, Vec<u8>) {
    (Vec::new(), [number(1, 1), number(2, order)].concat())
}

fn bundle(index: Vec<u8>, data: Vec<u8>) -> Result<Contents, FormatError> {
    let data = Section::of_bytes("c.data-00000-of-00001", data);
    read_bundle(&MemoryFolder::new(vec![Section::of_bytes("c.index", index), data]), "c.index", &Limits::default())
}

fn refused(entries: Vec<(Vec<u8>, Vec<u8>)>) -> String {
    bundle(table(&[vec![header(0)], entries].concat(), 0), vec![0; 8]).unwrap_err().to_string()
}

#[test]
fn compressed_and_plain_indexes_say_the_same() {
    let entries = [header(0), (b"a/.ATTRIBUTES/VARIABLE_VALUE".to_vec(), entry(1, &[2], 0, 8))];
    for kind in [0, 1] {
        let contents = bundle(table(&entries, kind), vec![0; 8]).unwrap();
        assert_eq!(contents.tensors[0].name, "a");
        let stored = Stored::File { file: "c.data-00000-of-00001".into(), begin: 0, end: 8 };
        assert_eq!(contents.tensors[0].pieces[0].stored, stored);
    }
}

#[test]
fn big_endian_numbers_name_their_filter() {
    let entries = [header(1), (b"a".to_vec(), entry(8, &[], 0, 8)), (b"b".to_vec(), entry(4, &[8], 0, 8))];
    let contents = bundle(table(&entries, 0), vec![0; 8]).unwrap();
    assert_eq!(contents.tensors[0].pieces[0].filters, [Filter::SwapBytes { width: 4 }]);
    assert!(contents.tensors[1].pieces[0].filters.is_empty());
}

#[test]
fn slices_are_boxes_of_one_tensor() {
    let extent = |start, length| bytes(1, [number(1, start), number(2, length)].concat());
    let slice = |start| bytes(7, [extent(start, 1), bytes(1, "")].concat());
    let whole = [number(1, 1), bytes(2, shape(&[2, 1])), slice(0), slice(1)].concat();
    let key = |start| super::ordered::slice_key(b"w", &[(start, 1), (0, -1)]);
    let entries = |second: Vec<u8>| {
        [header(0), (key(0), entry(1, &[1, 1], 0, 4)), (key(1), second), (b"w".to_vec(), whole.clone())]
    };
    let contents = bundle(table(&entries(entry(1, &[1, 1], 4, 4)), 0), vec![0; 8]).unwrap();
    let region = Region::Box { offsets: vec![1, 0], shape: vec![1, 1] };
    assert_eq!(contents.tensors[0].pieces[1].region, region);
    assert!(contents.tensors[0].is_complete());
    let error = bundle(table(&entries(entry(2, &[1, 1], 0, 8)), 0), vec![0; 8]).unwrap_err().to_string();
    assert_eq!(error, "bundle index at byte 0: a slice of `w` has another shape or data type");
    let twice = [number(1, 1), bytes(2, shape(&[2, 1])), slice(0), slice(0)].concat();
    let entries = [header(0), (key(0), entry(1, &[1, 1], 0, 4)), (b"w".to_vec(), twice)];
    let error = bundle(table(&entries, 0), vec![0; 8]).unwrap_err().to_string();
    assert_eq!(error, "tensor slice at byte 0: slices of `w` overlap");
    let outside = [number(1, 1), bytes(2, shape(&[2, 1])), slice(2)].concat();
    assert_eq!(refused(vec![(b"w".to_vec(), outside)]), "tensor slice at byte 0: a slice of `w` leaves its shape");
}

#[test]
fn tensors_stay_in_their_shards() {
    let one = |bytes| refused(vec![(b"w".to_vec(), bytes)]);
    assert_eq!(one(entry(1, &[3], 0, 8)), "tensor `w` occupies 8 bytes; its shape and dtype give 96 bits");
    let file = "`c.data-00000-of-00001`";
    assert_eq!(one(entry(1, &[1], 6, 4)), format!("{file}: tensor in a shard needs 4 bytes; only 2 are there"));
    assert_eq!(one(entry(1, &[1], u64::MAX, 4)), format!("{file}: tensor in a shard needs 4 bytes; only 0 are there"));
    assert_eq!(one(entry(1, &[1 << 62, 1 << 62], 0, 4)), "the size of tensor `w` overflows");
    assert_eq!(
        one([entry(1, &[1], 0, 4), number(3, 7)].concat()),
        "bundle index at byte 0: shard `7` of 1 does not exist"
    );
    let negative = refused(vec![(b"w".to_vec(), entry(1, &[u64::MAX], 0, 4))]);
    assert!(negative.ends_with("extent `-1` is negative"), "{negative}");
}

#[test]
fn a_missing_shard_leaves_a_hole_and_a_warning() {
    let index = table(&[header(0), (b"w".to_vec(), entry(1, &[1], 0, 4))], 0);
    let folder = MemoryFolder::new(vec![Section::of_bytes("c.index", index)]);
    let contents = read_bundle(&folder, "c.index", &Limits::default()).unwrap();
    assert_eq!(contents.warnings[0].kind, WarningKind::Missing);
    assert!(!contents.tensors[0].is_complete());
}

#[test]
fn damaged_tables_are_refused_by_name() {
    let read = |file: Vec<u8>| bundle(file, Vec::new()).unwrap_err().to_string();
    let magic = "`c.index`: this is no table of tensors: its magic bytes are missing";
    assert_eq!(read(vec![0; 100]), magic);
    assert_eq!(read(super::table::MAGIC.to_vec()), magic);

    let good = table(&[header(0)], 0);
    let mut flipped = good.clone();
    flipped[4] ^= 1;
    assert!(read(flipped).starts_with("`c.index`: table block has checksum"));

    let mut file = Vec::new();
    close(&mut file, &[[varint(1 << 40), varint(5)].concat()]);
    assert_eq!(read(file), "`c.index`: table block needs 5 bytes; only 0 are there");

    let mut file = Vec::new();
    let handle = push(&mut file, &body(&[header(0)]), 0);
    close(&mut file, &[handle.clone(), handle]);
    assert!(read(file).ends_with("block at `0` overlaps the one before"));

    let mut file = Vec::new();
    let handle = push(&mut file, &[0, 0, 0, 0, 0xff, 0xff, 0xff, 0xff], 0);
    close(&mut file, &[handle]);
    assert!(read(file).ends_with("`4294967295` restarts do not fit in it"));

    let mut file = Vec::new();
    let handle = push(&mut file, &[9, 0, 0, 0, 0, 0, 0, 1, 0, 0, 0], 0);
    close(&mut file, &[handle]);
    assert!(read(file).ends_with("`9` bytes are shared with a key of 0"));

    let mut file = Vec::new();
    let handle = push(&mut file, &[0, 0, 0xff, 0xff, 0x7f, 0, 0, 0, 0, 1, 0, 0, 0], 0);
    close(&mut file, &[handle]);
    assert_eq!(read(file), "`c.index`: table entry needs 2097151 bytes; only 0 are there");
}

#[test]
fn a_snappy_bomb_is_refused_before_it_is_decoded() {
    let mut file = Vec::new();
    let stored = [varint(u64::from(u32::MAX)), vec![0, 0], vec![1]].concat();
    let handle = [varint(0), varint(stored.len() as u64 - 1)].concat();
    file.extend(&stored);
    file.extend(masked(&stored));
    close(&mut file, &[handle]);
    let error = bundle(file, Vec::new()).unwrap_err().to_string();
    assert_eq!(error, "`c.index`: decoded snappy block in bytes is 4294967295; the limit is 154");
}

fn v1(kind: u8, data: Vec<u8>) -> Vec<u8> {
    let extent = bytes(1, "");
    let meta = [bytes(1, "w"), bytes(2, shape(&[2])), number(3, 3), bytes(4, &extent)].concat();
    let slice = bytes(2, [bytes(1, "w"), bytes(2, &extent), bytes(3, data)].concat());
    let key = super::ordered::slice_key(b"w", &[(0, -1)]);
    table(&[(Vec::new(), bytes(1, bytes(1, meta))), (key, slice)], kind)
}

#[test]
fn the_first_savers_tensors_lie_in_the_table() {
    let limits = Limits::default();
    let read = |file: Vec<u8>| read_v1(&Section::of_bytes("m.ckpt", file), &limits).unwrap();
    let content = read(v1(0, bytes(4, [1, 0, 0, 0, 2, 0, 0, 0])));
    assert!(content.tensors[0].pieces[0].filters.is_empty());
    let packed = read(v1(1, bytes(4, [1, 0, 0, 0, 2, 0, 0, 0])));
    let piece = &packed.tensors[0].pieces[0];
    assert_eq!(piece.filters, [Filter::Snappy]);
    assert_eq!(piece.decoded_bytes - piece.first_byte, 8);
    let varints = read(v1(0, bytes(7, [1, 2])));
    assert_eq!(varints.tensors[0].pieces[0].stored, Stored::inline(&[1, 0, 0, 0, 2, 0, 0, 0]));
    let error = read_v1(&Section::of_bytes("m", v1(0, bytes(4, [0; 4]))), &limits).unwrap_err();
    assert_eq!(error.to_string(), "tensor `w` occupies 4 bytes; its shape and dtype give 64 bits");
}

#[test]
fn graphs_show_operators_that_reach_outside() {
    let node = |name: &str| bytes(1, bytes(2, name));
    let function = bytes(2, bytes(1, bytes(3, bytes(2, "WriteFile"))));
    let graph = bytes(2, [node("ReadFile"), node("Add"), node("SaveV2"), function].concat());
    let model = bytes(2, [bytes(1, [bytes(4, "serve"), bytes(5, "2.21")].concat()), graph].concat());
    let folder = MemoryFolder::new(vec![Section::of_bytes("m/saved_model.pb", model)]);
    assert_eq!(saved_models(&folder), ["m"]);
    let contents = read_saved_model(&folder, "m", &Limits::default()).unwrap();
    assert_eq!(contents.code.iter().map(|code| code.name.as_str()).collect::<Vec<_>>(), ["ReadFile", "WriteFile"]);
    assert_eq!(contents.metadata["graph"]["nodes"], 4);
    assert_eq!(contents.metadata["tags"][0], "serve");
}

#[test]
fn a_folder_names_its_latest_bundle() {
    let section = |path: &str, bytes: &[u8]| Section::of_bytes(path, bytes);
    let mut sections = vec![section("lonely.index", b"")];
    for name in ["a-1", "a-2"] {
        sections.push(section(&format!("{name}.index"), b""));
        sections.push(section(&format!("{name}.data-00000-of-00001"), b""));
    }
    let folder = MemoryFolder::new(sections.clone());
    assert_eq!(bundles(&folder), ["a-1.index", "a-2.index"]);
    assert_eq!(latest(&folder).as_deref(), Some("a-2.index"));
    sections.push(section("checkpoint", b"model_checkpoint_path: \"/elsewhere/a-1\"\n"));
    assert_eq!(latest(&MemoryFolder::new(sections)).as_deref(), Some("a-1.index"));
}

proptest! {
    #[test]
    fn damaged_checkpoints_never_panic(
        is_packed: bool,
        changes in proptest::collection::vec((any::<prop::sample::Index>(), any::<u8>()), 1..5),
    ) {
        let entries = [header(0), (b"w".to_vec(), entry(1, &[2], 0, 8)), (b"x".to_vec(), entry(7, &[1], 0, 8))];
        for mut file in [table(&entries, u8::from(is_packed)), v1(u8::from(is_packed), bytes(7, [1, 2]))] {
            for (index, byte) in &changes {
                let at = index.index(file.len());
                file[at] = *byte;
            }
            let _ = read_v1(&Section::of_bytes("m", file.clone()), &Limits::default());
            let _ = bundle(file, vec![0; 8]);
        }
    }

    // A checksum stops most damage; what lies behind it must stand on its own.
    #[test]
    fn damaged_blocks_with_right_checksums_never_panic(bytes in proptest::collection::vec(any::<u8>(), 4..200), kind in 0u8..2) {
        let mut file = Vec::new();
        let stored = [bytes, vec![kind]].concat();
        let handle = [varint(0), varint(stored.len() as u64 - 1)].concat();
        file.extend(&stored);
        file.extend(masked(&stored));
        close(&mut file, &[handle]);
        prop_assert!(is_table(&Section::of_bytes("m", file.clone())));
        let _ = read_v1(&Section::of_bytes("m", file.clone()), &Limits::default());
        let _ = bundle(file, vec![0; 8]);
    }
}
