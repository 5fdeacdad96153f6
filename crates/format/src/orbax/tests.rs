use proptest::prelude::*;
use serde_json::json;

use super::{is, read};
use crate::contents::{Contents, WarningKind};
use crate::data::Elements;
use crate::dtype::Dtype;
use crate::error::FormatError;
use crate::identity::Format;
use crate::limits::Limits;
use crate::source::{MemoryFolder, Section};
use crate::tensor::Tensor;

type Files = Vec<(String, Vec<u8>)>;

fn folder(files: &Files) -> MemoryFolder {
    MemoryFolder::new(files.iter().map(|(path, bytes)| Section::of_bytes(path.as_str(), bytes.clone())).collect())
}

fn of(files: &Files) -> Result<Contents, FormatError> {
    read(&folder(files), "", &Limits::default())
}

fn error(files: &Files) -> String {
    of(files).unwrap_err().to_string()
}

fn elements(files: &Files, tensor: &Tensor) -> Vec<u8> {
    let limits = Limits::default();
    Elements::new(&folder(files), tensor, &limits).unwrap().read_all().unwrap()
}

fn file(path: &str, bytes: impl Into<Vec<u8>>) -> (String, Vec<u8>) {
    (path.to_owned(), bytes.into())
}

fn zarray(shape: &str, chunks: &str, more: &str) -> String {
    format!(
        r#"{{"zarr_format":2,"shape":{shape},"chunks":{chunks},"dtype":"|u1","fill_value":9,"order":"C","filters":null,"compressor":null{more}}}"#
    )
}

/// The chunk of `extents` at `place`, of the array whose element (i, j) is 10 i + j; elements outside are 99.
fn chunk(shape: [u64; 2], extents: [u64; 2], place: [u64; 2], fortran: bool) -> Vec<u8> {
    let mut bytes = Vec::new();
    for outer in 0..extents[usize::from(fortran)] {
        for inner in 0..extents[usize::from(!fortran)] {
            let [row, column] = if fortran { [inner, outer] } else { [outer, inner] };
            let (i, j) = (place[0] * extents[0] + row, place[1] * extents[1] + column);
            bytes.push(if i < shape[0] && j < shape[1] { (10 * i + j) as u8 } else { 99 });
        }
    }
    bytes
}

/// The whole array; chunk (1, 1) is filled.
fn expected() -> Vec<u8> {
    let element = |i: u64, j: u64| if i >= 2 && j >= 3 { 9 } else { (10 * i + j) as u8 };
    (0..3).flat_map(|i| (0..5).map(move |j| element(i, j))).collect()
}

#[test]
fn chunks_are_joined_whatever_their_order_keys_and_compression() {
    for (fortran, separator, zlib) in [(false, '.', false), (true, '/', false), (false, '/', true), (true, '.', true)] {
        let mut meta = zarray("[3,5]", "[2,3]", &format!(r#","dimension_separator":"{separator}""#));
        if fortran {
            meta = meta.replace(r#""C""#, r#""F""#);
        }
        if zlib {
            meta = meta.replace(r#""compressor":null"#, r#""compressor":{"id":"zlib","level":1}"#);
        }
        let mut files = vec![file("params.w/.zarray", meta)];
        for place in [[0, 0], [0, 1], [1, 0]] {
            let bytes = chunk([3, 5], [2, 3], place, fortran);
            let bytes = if zlib { miniz_oxide::deflate::compress_to_vec_zlib(&bytes, 6) } else { bytes };
            files.push(file(&format!("params.w/{}{separator}{}", place[0], place[1]), bytes));
        }
        let contents = of(&files).unwrap();
        let [tensor] = &contents.tensors[..] else { panic!("{contents:?}") };
        assert_eq!((tensor.name.as_str(), tensor.dtype, &tensor.shape[..]), ("params.w", Dtype::U8, &[3, 5][..]));
        assert_eq!(elements(&files, tensor), expected(), "{fortran} {separator} {zlib}");
        assert_eq!(contents.formats, [Format::Zarr]);
        assert_eq!(contents.warnings.len(), 1);
        assert_eq!(contents.warnings[0].message, "1 chunks are not stored; their elements are the fill value");
    }
}

fn zarr3(codecs: &str) -> String {
    format!(
        r#"{{"zarr_format":3,"node_type":"array","shape":[3,5],"data_type":"uint8","fill_value":9,"codecs":{codecs},
        "chunk_grid":{{"name":"regular","configuration":{{"chunk_shape":[4,6]}}}},"chunk_key_encoding":{{"name":"default"}}}}"#
    )
}

fn crc(bytes: &[u8]) -> [u8; 4] {
    (crc_fast::checksum(crc_fast::CrcAlgorithm::Crc32Iscsi, bytes) as u32).to_le_bytes()
}

/// One shard of four chunks, the last of them not stored.
fn shard(index_first: bool) -> Vec<u8> {
    let chunks: Vec<u8> =
        [[0, 0], [0, 1], [1, 0]].iter().flat_map(|&place| chunk([3, 5], [2, 3], place, true)).collect();
    let begin = if index_first { 68 } else { 0 };
    let entries = [begin, begin + 6, begin + 12].map(|at| (at, 6)).into_iter().chain([(u64::MAX, u64::MAX)]);
    let mut index: Vec<u8> = entries.flat_map(|(at, len)| [at.to_le_bytes(), len.to_le_bytes()].concat()).collect();
    index.extend(crc(&index));
    if index_first { [index, chunks].concat() } else { [chunks, index].concat() }
}

fn sharded(index_first: bool, bytes: Vec<u8>) -> Files {
    let place = if index_first { "start" } else { "end" };
    let codecs = format!(
        r#"[{{"name":"sharding_indexed","configuration":{{"chunk_shape":[2,3],"index_location":"{place}",
        "codecs":[{{"name":"transpose","configuration":{{"order":[1,0]}}}},{{"name":"bytes"}}],
        "index_codecs":[{{"name":"bytes","configuration":{{"endian":"little"}}}},{{"name":"crc32c"}}]}}}}]"#
    );
    vec![file("w/zarr.json", zarr3(&codecs)), file("w/c/0/0", bytes)]
}

#[test]
fn shards_are_read_through_their_index() {
    for index_first in [false, true] {
        let files = sharded(index_first, shard(index_first));
        let contents = of(&files).unwrap();
        assert_eq!(elements(&files, &contents.tensors[0]), expected());
    }
    let plain = vec![
        file("zarr.json", r#"{"zarr_format":3,"node_type":"group"}"#),
        file("a/w/zarr.json", zarr3(r#"[{"name":"transpose","configuration":{"order":[1,0]}},{"name":"bytes"}]"#)),
        file("a/w/c/0/0", chunk([3, 5], [4, 6], [0, 0], true)),
    ];
    let contents = of(&plain).unwrap();
    assert_eq!(contents.tensors[0].name, "a.w");
    assert_eq!(elements(&plain, &contents.tensors[0])[..7], [0, 1, 2, 3, 4, 10, 11]);
}

#[test]
fn hostile_shards_and_grids_give_their_own_error() {
    let mut broken = shard(false);
    broken[20] ^= 1;
    assert!(error(&sharded(false, broken)).starts_with("`w`: index of a zarr shard has checksum 0x"));
    assert_eq!(error(&sharded(false, vec![0; 67])), "`w`: index of a zarr shard needs 68 bytes; only 67 are there");
    let mut outside = shard(false);
    outside[18..26].copy_from_slice(&u64::MAX.to_le_bytes());
    let sum = crc(&outside[18..82]);
    outside[82..].copy_from_slice(&sum);
    assert_eq!(
        error(&sharded(false, outside)),
        "`w`: index of a zarr shard at byte 18446744073709551615: chunk [0, 0] lies at 18446744073709551615, 6 bytes long, in a shard of 86"
    );
    let fine = |files: &[&str]| {
        let mut all = vec![file("w/.zarray", zarray("[1099511627776]", "[1]", ""))];
        all.extend(files.iter().map(|path| file(path, [0])));
        all
    };
    assert_eq!(error(&fine(&["w/0"])), "`w`: number of chunks of all arrays is 1099511627776; the limit is 65552");
    let empty = of(&fine(&[])).unwrap();
    assert_eq!(empty.tensors[0].pieces.len(), 1);
    assert!(empty.tensors[0].is_complete());
    let unknown = vec![
        file("w/.zarray", zarray("[2]", "[2]", "").replace("|u1", "|O")),
        file("v/.zarray", zarray("[0]", "[1]", "")),
    ];
    let contents = of(&unknown).unwrap();
    assert_eq!(contents.tensors.len(), 1);
    assert_eq!(contents.warnings[0].kind, WarningKind::Unreadable);
    assert_eq!(error(&vec![file("w/.zarray", "[")]), "`w/.zarray`: zarr metadata is not the expected JSON");
}

fn varint(mut number: u64) -> Vec<u8> {
    let mut bytes = Vec::new();
    while number >= 0x80 {
        bytes.push(number as u8 | 0x80);
        number >>= 7;
    }
    bytes.push(number as u8);
    bytes
}

fn varints(numbers: impl IntoIterator<Item = u64>) -> Vec<u8> {
    numbers.into_iter().flat_map(varint).collect()
}

fn frame(magic: [u8; 4], body: &[u8]) -> Vec<u8> {
    let len = (body.len() + 18) as u64;
    let mut bytes = [&magic[..], &len.to_le_bytes(), &[0, 0], body].concat();
    bytes.extend(crc(&bytes));
    bytes
}

/// A table of files without shared beginnings.
fn table(files: &[&str]) -> Vec<u8> {
    [
        varint(files.len() as u64),
        vec![0; files.len().saturating_sub(1)],
        varints(files.iter().map(|file| file.len() as u64)),
        vec![0; files.len()],
        files.concat().into_bytes(),
    ]
    .concat()
}

/// Keys with what they share with the one before; `between` stands before their bytes.
fn keys(keys: &[&str], between: &[u8]) -> Vec<u8> {
    let mut before = "";
    let (mut shared, mut rest) = (Vec::new(), Vec::new());
    for key in keys {
        let common = before.bytes().zip(key.bytes()).take_while(|(one, other)| one == other).count();
        shared.push(common as u64);
        rest.push(&key[common..]);
        before = key;
    }
    let lengths = rest.iter().map(|rest| rest.len() as u64);
    [varints(shared.into_iter().skip(1)), varints(lengths), between.to_vec(), rest.concat().into_bytes()].concat()
}

enum Place {
    Here(Vec<u8>),
    File(u64, u64, u64),
}

fn leaf(files: &[&str], entries: &[(&str, Place)]) -> Vec<u8> {
    let names: Vec<&str> = entries.iter().map(|(key, _)| *key).collect();
    let lengths = entries.iter().map(|(_, place)| match place {
        Place::Here(bytes) => bytes.len() as u64,
        Place::File(_, _, len) => *len,
    });
    let kinds: Vec<u8> = entries.iter().map(|(_, place)| u8::from(matches!(place, Place::File(..)))).collect();
    let column = |pick: fn(&Place) -> Option<u64>| varints(entries.iter().filter_map(|(_, place)| pick(place)));
    let inline = entries.iter().filter_map(|(_, place)| match place {
        Place::Here(bytes) => Some(bytes.clone()),
        Place::File(..) => None,
    });
    let body = [
        vec![0],
        table(files),
        varint(entries.len() as u64),
        keys(&names, &[]),
        varints(lengths),
        kinds,
        column(|place| if let Place::File(file, ..) = place { Some(*file) } else { None }),
        column(|place| if let Place::File(_, offset, _) = place { Some(*offset) } else { None }),
        inline.collect::<Vec<_>>().concat(),
    ]
    .concat();
    frame([0x0C, 0xDB, 0x20, 0xDE], &body)
}

/// An inner node: first keys, bytes that all keys of the subtree share, file, offset, length.
fn branch(height: u8, files: &[&str], below: &[(&str, u64, u64, u64, u64)]) -> Vec<u8> {
    let names: Vec<&str> = below.iter().map(|entry| entry.0).collect();
    let body = [
        vec![height],
        table(files),
        varint(below.len() as u64),
        keys(&names, &varints(below.iter().map(|entry| entry.1))),
        varints(below.iter().map(|entry| entry.2)),
        varints(below.iter().map(|entry| entry.3)),
        varints(below.iter().map(|entry| entry.4)),
        vec![0; 3 * below.len()],
    ]
    .concat();
    frame([0x0C, 0xDB, 0x20, 0xDE], &body)
}

fn configuration(kind: u8) -> Vec<u8> {
    [vec![7; 16], vec![kind, 100, 100, 4, 1], vec![0; 4]].concat()
}

/// A manifest with an old version, and the newest, whose root is at `offset` of `file`.
fn manifest(file: &str, offset: u64, len: u64, height: u8) -> Vec<u8> {
    let versions = [
        vec![2],
        vec![1, 2],
        vec![9, height],
        vec![0, 0],
        varints([77, offset]),
        varints([77, len]),
        vec![0; 6],
        vec![0; 16],
    ];
    frame([0x0C, 0xDB, 0x3A, 0x2A], &[configuration(0), table(&[file]), versions.concat(), vec![0]].concat())
}

/// A database of two leaves below a root, in one file; chunks are in another.
fn database() -> Files {
    let meta = zarray("[3,5]", "[2,3]", "").into_bytes();
    let chunks: Vec<u8> =
        [[0, 0], [0, 1], [1, 0]].iter().flat_map(|&place| chunk([3, 5], [2, 3], place, false)).collect();
    let one = leaf(
        &["d/chunks"],
        &[
            (".zarray", Place::Here(meta.clone())),
            ("0.0", Place::File(0, 0, 6)),
            ("0.1", Place::Here(chunks[6..12].to_vec())),
            ("1.0", Place::File(0, 12, 6)),
        ],
    );
    let two =
        leaf(&[], &[("v/.zarray", Place::Here(zarray("[1]", "[1]", "").into_bytes())), ("v/0", Place::Here(vec![4]))]);
    let (first, second) = (one.len() as u64, two.len() as u64);
    let root = branch(1, &["d/nodes"], &[("params.a/", 9, 0, 0, first), ("params.v/", 7, 0, first, second)]);
    let len = root.len() as u64;
    vec![
        file("d/chunks", chunks),
        file("d/nodes", [one, two, root].concat()),
        file("manifest.ocdbt", manifest("d/nodes", first + second, len, 1)),
    ]
}

#[test]
fn databases_are_read_through_their_tree() {
    let files = database();
    let contents = of(&files).unwrap();
    let names: Vec<_> = contents.tensors.iter().map(|tensor| tensor.name.as_str()).collect();
    assert_eq!(names, ["params.a", "params.v"]);
    assert_eq!(elements(&files, &contents.tensors[0]), expected());
    assert_eq!(elements(&files, &contents.tensors[1]), [4]);
    assert_eq!(contents.formats, [Format::Ocdbt, Format::Zarr]);

    let mut numbered = database();
    let newest = numbered.pop().unwrap().1;
    numbered.push(file("manifest.ocdbt.0000000000000002", newest));
    numbered.push(file("manifest.ocdbt.0000000000000001", b"old".to_vec()));
    numbered.push(file("manifest.ocdbt", frame([0x0C, 0xDB, 0x3A, 0x2A], &configuration(1))));
    assert_eq!(of(&numbered).unwrap().tensors.len(), 2);

    let unjoined: Files =
        database().into_iter().map(|(path, bytes)| (format!("ocdbt.process_0/{path}"), bytes)).collect();
    let contents = of(&unjoined).unwrap();
    assert_eq!(contents.tensors.len(), 2);
    assert_eq!(contents.warnings[0].kind, WarningKind::Missing);

    let holed: Files = database().into_iter().filter(|(path, _)| path != "d/chunks").collect();
    let contents = of(&holed).unwrap();
    assert_eq!(contents.warnings[0].message, "values lie in this file, and it is not there");
}

/// A database whose root is this node.
fn rooted(root: Vec<u8>, height: u8) -> Files {
    let len = root.len() as u64;
    vec![file("d", root), file("manifest.ocdbt", manifest("d", 0, len, height))]
}

#[test]
fn hostile_databases_give_their_own_error() {
    let empty = || leaf(&[], &[]);
    assert_eq!(of(&rooted(empty(), 0)).unwrap().tensors, []);
    let circle = branch(1, &["d"], &[("a", 0, 0, 0, 43), ("b", 0, 0, 0, 43)]);
    assert_eq!(circle.len(), 43);
    assert_eq!(error(&rooted(circle, 1)), "`d`: OCDBT node at byte 0: the tree comes back to byte 0 of `d`");
    let len = empty().len() as u64;
    let mut twice = rooted(branch(1, &["e"], &[("a", 0, 0, 0, len), ("b", 0, 0, 0, len)]), 1);
    twice.push(file("e", empty()));
    assert_eq!(error(&twice), "`e`: OCDBT node at byte 0: the tree comes back to byte 0 of `e`");
    assert_eq!(error(&rooted(empty(), 1)), "`d`: OCDBT node at byte 1: its height is 0; 1 was announced");
    let mut flipped = empty();
    flipped[14] ^= 0xFF;
    assert!(error(&rooted(flipped, 0)).starts_with("`d`: OCDBT node has checksum 0x"));
    let mut longer = empty();
    longer[4] += 1;
    assert_eq!(error(&rooted(longer, 0)), "`d`: OCDBT manifest or node in bytes is 21; 22 was announced");
    let body = |body: &[u8]| error(&rooted(frame([0x0C, 0xDB, 0x20, 0xDE], body), 0));
    let most = varint(1 << 63);
    assert_eq!(body(&[]), "`d`: OCDBT node needs 1 bytes; only 0 are there");
    assert_eq!(body(&[&[0], &most[..]].concat()), "`d`: OCDBT node needs 18446744073709551615 bytes; only 0 are there");
    assert_eq!(
        body(&[&[0, 0], &most[..]].concat()),
        "`d`: OCDBT node needs 18446744073709551615 bytes; only 0 are there"
    );
    assert_eq!(
        body(&[&[0, 0][..], &[0xFF; 10]].concat()),
        "`d`: OCDBT node at byte 12: a number is longer than 64 bits"
    );
    assert_eq!(body(&[0, 0, 1, 1, 0xFF, 0, 0]), "`d`: OCDBT node at byte 7: a key is not UTF-8");
    assert_eq!(body(&[0, 0, 1, 1, b'a', 0, 2]), "`d`: OCDBT node at byte 7: a value is neither here nor in a file");
    assert_eq!(body(&[0, 0, 1, 1, b'a', 0, 1, 3, 0]), "`d`: OCDBT node at byte 9: there is no file 3");
    assert_eq!(
        body(&[0, 0, 2, 5, 1, 1, b'a', b'b', 0, 0, 0, 0]),
        "`d`: OCDBT node at byte 7: a key shares more than there is"
    );
    assert_eq!(
        error(&rooted(leaf(&[], &[("b", Place::Here(vec![])), ("a", Place::Here(vec![]))]), 0)),
        "`d`: OCDBT node at byte 12: key `a` is not behind the one before it"
    );
    assert_eq!(
        error(&rooted(leaf(&["d"], &[("a", Place::File(0, u64::MAX, 2))]), 0)),
        "`d`: OCDBT node at byte 21: value `a` ends past any file"
    );
    let past = error(&rooted(leaf(&["d"], &[("a", Place::File(0, 10, 1000))]), 0));
    assert!(past.contains("value `a` ends at byte 1010 of"), "{past}");
    assert!(error(&vec![file("manifest.ocdbt", manifest("gone", 0, 9, 0))]).contains("there is no file `gone`"));
    assert!(
        error(&vec![file("manifest.ocdbt", b"\x0c\xdb\x3a\x2a".to_vec())]).contains("OCDBT manifest needs 18 bytes")
    );
    // Keys of 100 kB by sharing, a few bytes each.
    let long = "k".repeat(4000);
    let names: Vec<String> = (0..30_000).map(|at| format!("{long}{at:05}")).collect();
    let entries: Vec<(&str, Place)> = names.iter().map(|name| (name.as_str(), Place::Here(vec![]))).collect();
    let bomb = error(&rooted(leaf(&[], &entries), 0));
    assert!(bomb.contains("length of all names in bytes is 10000"), "{bomb}");
}

/// The tree of an item.
fn tree(leaves: &[&[&str]]) -> Vec<u8> {
    let leaf = |path: &&[&str]| {
        let keys: Vec<_> = path.iter().map(|key| json!({ "key": key, "key_type": 2 })).collect();
        (format!("{path:?}"), json!({ "key_metadata": keys, "value_metadata": { "value_type": "jax.Array" } }))
    };
    let leaves: serde_json::Map<_, _> = leaves.iter().map(leaf).collect();
    json!({ "tree_metadata": leaves }).to_string().into_bytes()
}

fn array(root: &str, name: &str, value: u8) -> Files {
    vec![file(&format!("{root}{name}/.zarray"), zarray("[1]", "[1]", "")), file(&format!("{root}{name}/0"), [value])]
}

fn names(contents: &Contents) -> Vec<&str> {
    contents.tensors.iter().map(|tensor| tensor.name.as_str()).collect()
}

#[test]
fn the_tree_tells_what_is_missing() {
    let mut files = [array("", "params.w", 1), array("", "extra", 2)].concat();
    files.push(file("_METADATA", tree(&[&["params", "w"], &["params", "gone"]])));
    files.push(file(
        "array_metadatas/process_0",
        r#"{"array_metadatas":[{"array_metadata":{"param_name":"params.w","write_shape":[2]}}]}"#,
    ));
    let contents = of(&files).unwrap();
    assert_eq!(names(&contents), ["extra", "params.w"]);
    assert_eq!(contents.formats, [Format::Orbax, Format::Zarr]);
    let messages: Vec<_> = contents.warnings.iter().map(|warning| (warning.kind, warning.message.as_str())).collect();
    assert_eq!(
        messages,
        [
            (WarningKind::Missing, "1 names of the tree have no array, `params.gone` first"),
            (WarningKind::Extra, "1 names have an array and are not in the tree, `extra` first"),
            (WarningKind::Disagreement, "1 names have another shape than was noted, `params.w` first"),
        ]
    );
}

#[test]
fn the_newest_finished_step_is_the_checkpoint() {
    let mut files = [
        array("4/default/", "w", 4),
        array("10/default/", "w", 10),
        array("11.orbax-checkpoint-tmp-3/default/", "w", 11),
    ]
    .concat();
    files.push(file(
        "10/_CHECKPOINT_METADATA",
        r#"{"item_handlers":"h","metrics":{"loss":1.5},"init_timestamp_nsecs":1}"#,
    ));
    assert!(is(&folder(&files), ""));
    let contents = of(&files).unwrap();
    assert_eq!(elements(&files, &contents.tensors[0]), [10]);
    assert_eq!(contents.metadata["step"], 10);
    assert_eq!(contents.metadata["steps"], json!([4, 10]));
    assert_eq!(contents.metadata["metrics"], json!({"loss": 1.5}));
    assert_eq!(contents.warnings.len(), 1);
    assert_eq!(contents.warnings[0].file, "11.orbax-checkpoint-tmp-3");
    // A folder within the folder.
    let inner = read(&folder(&files), "4", &Limits::default()).unwrap();
    assert_eq!(elements(&files, &inner.tensors[0]), [4]);
    let unfinished = vec![file("_CHECKPOINT_METADATA", r#"{"commit_timestamp_nsecs":null}"#)];
    assert_eq!(of(&unfinished).unwrap().warnings[0].message, "the save into this folder was not finished");
    assert!(!is(&folder(&vec![file("model.safetensors", []), file("a/b/c", [])]), ""));
    assert_eq!(error(&vec![file("x", [])]), "this is no orbax folder: its magic bytes are missing");
}

#[test]
fn items_keep_their_name_when_there_are_several() {
    let mut files =
        [array("params/", "w", 1), array("opt_state/", "0.mu.w", 2), array("opt_state/", "0.count", 3)].concat();
    files.push(file("meta/metadata", r#"{"a":3}"#));
    let contents = of(&files).unwrap();
    assert_eq!(names(&contents), ["params.w"]);
    assert_eq!(contents.metadata["meta"], json!({"a": 3}));
    let optimizer = contents.optimizer.unwrap();
    assert!(optimizer.tensors.iter().any(|tensor| tensor.name == "params.w.mu"), "{optimizer:?}");
}

#[test]
fn old_folders_have_small_leaves_in_one_file() {
    let text = |text: &str| [vec![0xA0 | text.len() as u8], text.as_bytes().to_vec()].concat();
    let small = [&[0xC7, 12, 1, 0x93, 0x91, 1][..], &text("int16"), &[0xC4, 2, 5, 6]].concat();
    let mut small = small;
    small[1] = (small.len() - 3) as u8;
    let long = |text: &str| [vec![0xD9, text.len() as u8], text.as_bytes().to_vec()].concat();
    let bytes = [
        vec![0x84],
        text("a"),
        small,
        text("w"),
        long("PLACEHOLDER://w"),
        text("gone"),
        long("PLACEHOLDER://gone"),
        text("step"),
        vec![3],
    ]
    .concat();
    let mut files = array("", "w", 1);
    files.push(file("checkpoint", bytes));
    let contents = of(&files).unwrap();
    assert_eq!(names(&contents), ["w", "a"]);
    assert_eq!(elements(&files, &contents.tensors[1]), [5, 6]);
    assert_eq!(contents.metadata["step"], 3);
    assert_eq!(contents.warnings[0].message, "1 names of the tree have no array, `gone` first");
    assert!(!is(&folder(&vec![file("checkpoint", b"model_checkpoint_path: \"x\"".to_vec())]), ""));
}

proptest! {
    #[test]
    fn any_node_ends_in_an_answer(bytes: Vec<u8>, height in 0u8..3) {
        let _ = of(&rooted(frame([0x0C, 0xDB, 0x20, 0xDE], &[&[height], &bytes[..]].concat()), height));
        let _ = of(&vec![file("manifest.ocdbt", frame([0x0C, 0xDB, 0x3A, 0x2A], &[configuration(0), bytes.clone()].concat()))]);
        let _ = of(&vec![file("manifest.ocdbt", bytes)]);
    }

    #[test]
    fn any_change_to_a_good_database_ends_in_an_answer(
        which in 1usize..3,
        changes in prop::collection::vec((any::<usize>(), any::<u8>()), 1..4),
        fix: bool,
    ) {
        let mut files = database();
        let bytes = &mut files[which].1;
        for (at, byte) in changes {
            let at = at % bytes.len();
            bytes[at] = byte;
        }
        // The checksum would hide most changes of the manifest.
        if fix && which == 2 {
            let end = bytes.len() - 4;
            let sum = crc(&bytes[..end]);
            bytes[end..].copy_from_slice(&sum);
        }
        if let Ok(contents) = of(&files) {
            let (limits, folder) = (Limits::default(), folder(&files));
            for tensor in &contents.tensors {
                let _ = Elements::new(&folder, tensor, &limits).and_then(|mut elements| elements.read_all());
            }
        }
    }

    #[test]
    fn any_change_to_zarr_metadata_ends_in_an_answer(
        changes in prop::collection::vec((any::<usize>(), any::<u8>()), 1..4),
    ) {
        for mut files in [sharded(false, shard(false)), vec![file("w/.zarray", zarray("[3,5]", "[2,3]", "")), file("w/0.0", [1; 6])]] {
            let bytes = &mut files[0].1;
            for (at, byte) in &changes {
                let at = at % bytes.len();
                bytes[at] = *byte;
            }
            let limits = Limits { decoded_bytes: 1 << 20, ..Limits::default() };
            let folder = folder(&files);
            for tensor in read(&folder, "", &limits).map(|contents| contents.tensors).unwrap_or_default() {
                let _ = Elements::new(&folder, &tensor, &limits).and_then(|mut elements| elements.read_all());
            }
        }
    }
}
