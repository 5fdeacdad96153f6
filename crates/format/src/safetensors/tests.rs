use proptest::prelude::*;

use super::{Header, header_len};
use crate::dtype::Dtype;
use crate::error::{ErrorKind, FormatError};
use crate::limits::Limits;

fn file(json: &str, data_len: u64) -> (Vec<u8>, u64) {
    let mut bytes = (json.len() as u64).to_le_bytes().to_vec();
    bytes.extend(json.as_bytes());
    let len = bytes.len() as u64 + data_len;
    (bytes, len)
}

fn parse(json: &str, data_len: u64) -> Result<Header, FormatError> {
    let (prefix, len) = file(json, data_len);
    Header::parse(&prefix, len, &Limits::default())
}

#[test]
fn a_header_is_read_whole() {
    let json = r#"{"__metadata__":{"format":"pt"},
        "b":{"dtype":"BF16","shape":[2,3],"data_offsets":[8,20]},
        "a":{"dtype":"F32","shape":[2],"data_offsets":[0,8]},
        "none":{"dtype":"F32","shape":[0,9],"data_offsets":[8,8]},
        "s":{"dtype":"I64","shape":[],"data_offsets":[20,28]},
        "f4":{"dtype":"F4","shape":[3,2],"data_offsets":[28,31]}}   "#;
    let header = parse(json, 31).unwrap();
    let names: Vec<_> = header.tensors.iter().map(|tensor| tensor.name.as_str()).collect();
    assert_eq!(names, ["a", "none", "b", "s", "f4"]);
    assert_eq!(header.metadata["format"], "pt");
    assert_eq!(header.data_offset, 8 + json.len() as u64);
    let count = header.parameters();
    assert_eq!(count.by_dtype[&Dtype::BF16], 6);
    assert_eq!(count.by_dtype[&Dtype::F32], 2);
    assert_eq!(count.total, 6 + 2 + 1 + 6);
}

#[test]
fn an_empty_header_has_no_data() {
    assert_eq!(parse("{}", 0).unwrap().tensors, []);
    assert!(matches!(parse("{}", 1), Err(FormatError::TrailingBytes { len: 1, .. })));
}

#[test]
fn the_needed_prefix_is_known_from_eight_bytes() {
    let limits = Limits::default();
    assert_eq!(header_len(&[5, 0, 0, 0, 0, 0, 0, 0, b'{'], &limits).unwrap(), 13);
    assert!(header_len(&[5, 0, 0], &limits).is_err());
    for length in [limits.header_bytes + 1, u64::MAX] {
        assert!(matches!(header_len(&length.to_le_bytes(), &limits), Err(FormatError::TooLarge { .. })));
    }
    assert!(Header::parse(&100u64.to_le_bytes(), 50, &limits).is_err());
    assert!(Header::parse(&100u64.to_le_bytes(), 500, &limits).is_err());
}

#[test]
fn repeated_keys_are_refused_wherever_they_stand() {
    let tensor = r#"{"dtype":"U8","shape":[0],"data_offsets":[0,0]}"#;
    for json in [
        format!(r#"{{"a":{tensor},"a":{tensor}}}"#),
        format!(r#"{{"a":{tensor},"\u0061":{tensor}}}"#),
        r#"{"__metadata__":{},"__metadata__":{}}"#.to_owned(),
        r#"{"__metadata__":{"k":"1","k":"2"}}"#.to_owned(),
    ] {
        assert!(matches!(parse(&json, 0), Err(FormatError::DuplicateKey { .. })), "{json}");
    }
    let inner = r#"{"a":{"dtype":"U8","dtype":"U8","shape":[0],"data_offsets":[0,0]}}"#;
    assert!(matches!(parse(inner, 0), Err(FormatError::Json { .. })));
}

#[test]
fn other_shapes_of_json_are_refused() {
    for json in [
        "",
        " {}",
        "[]",
        "{}{}",
        "{",
        r#"{"a":1}"#,
        r#"{"a":{"dtype":"U8","shape":[0],"data_offsets":[0,0],"more":1}}"#,
        r#"{"a":{"dtype":"U8","shape":[0],"data_offsets":[0]}}"#,
        r#"{"a":{"dtype":"U8","shape":[0],"data_offsets":[0,0,0]}}"#,
        r#"{"a":{"dtype":"U8","shape":[-1],"data_offsets":[0,0]}}"#,
        r#"{"a":{"dtype":"U8","shape":[0.0],"data_offsets":[0,0]}}"#,
        r#"{"a":{"dtype":"U8","shape":[0]}}"#,
        r#"{"__metadata__":{"k":1}}"#,
        r#"{"__metadata__":null}"#,
    ] {
        assert!(parse(json, 0).is_err(), "{json}");
    }
    let (mut bytes, len) = file(r#"{"__metadata__":{"k":"x"}}"#, 0);
    let at = bytes.iter().position(|&byte| byte == b'x').unwrap();
    bytes[at] = 0xFF;
    assert!(Header::parse(&bytes, len, &Limits::default()).is_err());
    assert!(parse(&"{\"a\":".repeat(10_000), 0).is_err());
}

#[test]
fn tensors_must_tile_the_data() {
    let two = |a: [u64; 2], b: [u64; 2]| {
        let tensor = |[begin, end]: [u64; 2]| {
            format!(r#"{{"dtype":"U8","shape":[{}],"data_offsets":[{begin},{end}]}}"#, end.saturating_sub(begin))
        };
        parse(&format!(r#"{{"a":{},"b":{}}}"#, tensor(a), tensor(b)), 10)
    };
    assert!(two([0, 4], [4, 10]).is_ok());
    assert!(two([4, 10], [0, 4]).is_ok());
    assert!(matches!(two([0, 4], [5, 10]), Err(FormatError::NotTiled { expected: 4, .. })));
    assert!(matches!(two([0, 4], [3, 10]), Err(FormatError::NotTiled { .. })));
    assert!(matches!(two([0, 10], [0, 10]), Err(FormatError::NotTiled { .. })));
    assert!(matches!(two([1, 4], [4, 10]), Err(FormatError::NotTiled { expected: 0, .. })));
    assert!(matches!(two([0, 4], [4, 9]), Err(FormatError::TrailingBytes { len: 1, .. })));
    assert!(matches!(two([0, 4], [4, 11]), Err(FormatError::OutOfBounds { .. })));
    assert!(matches!(two([0, 4], [10, 4]), Err(FormatError::OutOfBounds { .. })));
    assert!(matches!(two([0, 0], [5, 5]), Err(FormatError::NotTiled { .. })));
}

#[test]
fn sizes_must_agree_and_not_overflow() {
    let one = |dtype: &str, shape: &str| {
        parse(&format!(r#"{{"a":{{"dtype":"{dtype}","shape":{shape},"data_offsets":[0,8]}}}}"#), 8)
    };
    assert!(one("F32", "[2]").is_ok());
    assert!(matches!(one("F32", "[3]"), Err(FormatError::ShapeMismatch { .. })));
    assert!(matches!(one("F4", "[17]"), Err(FormatError::ShapeMismatch { .. })));
    assert!(matches!(one("F32", "[18446744073709551615]"), Err(FormatError::SizeOverflow { .. })));
    assert!(matches!(one("U8", "[4294967296,4294967296]"), Err(FormatError::SizeOverflow { .. })));
    assert!(matches!(one("U8", "[18446744073709551616]"), Err(FormatError::Json { .. })));
    assert_eq!(one("Q4", "[2]").unwrap_err().kind(), ErrorKind::Unsupported);
}

#[test]
fn limits_hold() {
    let tensor = r#"{"dtype":"U8","shape":[0,0,0],"data_offsets":[0,0]}"#;
    let (bytes, len) = file(&format!(r#"{{"__metadata__":{{"k":"v","l":"v"}},"aa":{tensor},"bb":{tensor}}}"#), 0);
    assert!(Header::parse(&bytes, len, &Limits::default()).is_ok());
    for tighten in [
        (|limits: &mut Limits| limits.tensors = 1) as fn(&mut Limits),
        |limits| limits.rank = 2,
        |limits| limits.name_bytes = 1,
        |limits| limits.metadata_entries = 1,
        |limits| limits.header_bytes = 20,
    ] {
        let mut limits = Limits::default();
        tighten(&mut limits);
        assert!(matches!(Header::parse(&bytes, len, &limits), Err(FormatError::TooLarge { .. })), "{limits:?}");
    }
}

proptest! {
    #[test]
    fn what_was_laid_out_is_found(
        tensors in prop::collection::vec(
            (prop::sample::select(Dtype::ALL.iter().copied().filter(|dtype| dtype.is_safetensors()).collect::<Vec<_>>()), prop::collection::vec(0u64..6, 0..4)), 0..12),
        order: prop::sample::Index,
    ) {
        let mut end = 0;
        let mut entries = Vec::new();
        let mut total = 0;
        for (i, (dtype, shape)) in tensors.iter().enumerate() {
            let elements: u64 = shape.iter().product();
            let bits = elements * dtype.bits();
            if !bits.is_multiple_of(8) {
                continue;
            }
            let begin = end;
            end += bits / 8;
            total += elements;
            entries.push(format!(
                r#""t{i}":{{"dtype":"{dtype}","shape":{shape:?},"data_offsets":[{begin},{end}]}}"#
            ));
        }
        if !entries.is_empty() {
            let middle = order.index(entries.len());
            entries.rotate_left(middle);
        }
        let header = parse(&format!("{{{}}}", entries.join(",")), end).unwrap();
        prop_assert_eq!(header.tensors.len(), entries.len());
        prop_assert_eq!(header.data_len, end);
        prop_assert_eq!(header.parameters().total, total);
    }

    #[test]
    fn arbitrary_bytes_never_panic(bytes: Vec<u8>, len: u64) {
        let _ = Header::parse(&bytes, len, &Limits::default());
    }

    #[test]
    fn damaged_headers_never_panic(
        damage in prop::collection::vec((any::<prop::sample::Index>(), any::<u8>()), 1..5),
        len in 0u64..300,
    ) {
        let json = r#"{"__metadata__":{"k":"v"},"a":{"dtype":"F32","shape":[2,2],"data_offsets":[0,16]}}"#;
        let (mut bytes, _) = file(json, 0);
        for (at, byte) in damage {
            *at.get_mut(&mut bytes) = byte;
        }
        let _ = Header::parse(&bytes, len, &Limits::default());
    }

    #[test]
    fn arbitrary_offsets_are_checked(begin: u64, end: u64, shape: Vec<u64>, len: u64) {
        let json = format!(r#"{{"a":{{"dtype":"F4","shape":{shape:?},"data_offsets":[{begin},{end}]}}}}"#);
        let (bytes, _) = file(&json, 0);
        let _ = Header::parse(&bytes, len, &Limits::default());
    }
}
