use proptest::prelude::*;
use serde_json::json;

use super::read;
use crate::contents::{Contents, WarningKind};
use crate::data::Elements;
use crate::dtype::Dtype;
use crate::error::FormatError;
use crate::limits::Limits;
use crate::source::{MemoryFolder, Section};
use crate::tensor::Region;

/// Bytes of msgpack.
fn text(text: &str) -> Vec<u8> {
    [vec![0xD9, text.len() as u8], text.as_bytes().to_vec()].concat()
}

fn map(entries: &[(&str, Vec<u8>)]) -> Vec<u8> {
    let mut bytes = [&[0xDE][..], &(entries.len() as u16).to_be_bytes()].concat();
    for (key, value) in entries {
        bytes.extend(text(key));
        bytes.extend(value);
    }
    bytes
}

fn packed(shape: &[u8], dtype: &str, data: &[u8]) -> Vec<u8> {
    let shape = [&[0x90 | shape.len() as u8][..], shape].concat();
    [&[0x93][..], &shape, &text(dtype), &[0xC5], &(data.len() as u16).to_be_bytes(), data].concat()
}

fn extension(kind: u8, body: &[u8]) -> Vec<u8> {
    [&[0xC8][..], &(body.len() as u16).to_be_bytes(), &[kind], body].concat()
}

fn array(shape: &[u8], dtype: &str, data: &[u8]) -> Vec<u8> {
    extension(1, &packed(shape, dtype, data))
}

fn of(bytes: Vec<u8>) -> Result<Contents, FormatError> {
    read(&Section::of_bytes("model.msgpack", bytes), &Limits::default())
}

fn error(bytes: Vec<u8>) -> String {
    of(bytes).unwrap_err().to_string()
}

fn f32s(numbers: &[f32]) -> Vec<u8> {
    numbers.iter().flat_map(|number| number.to_le_bytes()).collect()
}

/// A training state as `flax.serialization.to_bytes` writes it.
fn state() -> Vec<u8> {
    let layer = |value: f32| map(&[("Dense_0", map(&[("kernel", array(&[1, 2], "float32", &f32s(&[value, 2.0])))]))]);
    let adam = map(&[("count", array(&[], "int32", &7i32.to_le_bytes())), ("mu", layer(3.0)), ("nu", layer(4.0))]);
    map(&[
        ("step", vec![7]),
        ("params", layer(1.0)),
        ("batch_stats", map(&[("mean", array(&[2], "bfloat16", &[0, 1, 2, 3]))])),
        ("opt_state", map(&[("0", adam), ("1", map(&[])), ("2", map(&[("lr", array(&[], "float32", &[0; 4]))]))])),
    ])
}

#[test]
fn a_training_state_is_parted_into_model_and_optimizer() {
    let bytes = state();
    let contents = of(bytes.clone()).unwrap();
    let names = |tensors: &[crate::Tensor]| tensors.iter().map(|tensor| tensor.name.clone()).collect::<Vec<_>>();
    assert_eq!(names(&contents.tensors), ["params.Dense_0.kernel", "batch_stats.mean"]);
    let optimizer = contents.optimizer.unwrap();
    assert_eq!((optimizer.kind.as_deref(), optimizer.step), (Some("Adam"), Some(7)));
    assert_eq!(names(&optimizer.tensors), ["params.Dense_0.kernel.mu", "params.Dense_0.kernel.nu", "opt_state.2.lr"]);
    assert_eq!(contents.metadata["step"], 7);
    let folder = MemoryFolder::new(vec![Section::of_bytes("model.msgpack", bytes)]);
    let limits = Limits::default();
    let mut elements = Elements::new(&folder, &optimizer.tensors[1], &limits).unwrap();
    assert_eq!(elements.read_all().unwrap(), f32s(&[4.0, 2.0]));
}

#[test]
fn states_from_before_optax_are_parted_too() {
    let one = |value: u8| array(&[1], "uint8", &[value]);
    let slots = map(&[("grad_ema", one(2)), ("grad_sq_ema", one(3))]);
    let contents = of(map(&[
        ("target", map(&[("w", one(1))])),
        ("state", map(&[("step", array(&[], "int32", &5i32.to_le_bytes())), ("param_states", map(&[("w", slots)]))])),
        ("step", array(&[], "int64", &6i64.to_le_bytes())),
    ]))
    .unwrap();
    assert_eq!(contents.tensors.len(), 1);
    assert_eq!(contents.tensors[0].name, "target.w");
    assert_eq!(contents.metadata["step"], 6);
    let optimizer = contents.optimizer.unwrap();
    assert_eq!(optimizer.step, Some(5));
    let names: Vec<_> = optimizer.tensors.iter().map(|tensor| tensor.name.as_str()).collect();
    assert_eq!(names, ["target.w.grad_ema", "target.w.grad_sq_ema"]);
}

#[test]
fn leaves_of_all_kinds_are_kept() {
    let contents = of(map(&[
        ("scalar", extension(3, &packed(&[], "float16", &[0, 60]))),
        ("complex", extension(2, &[0x92, 0x01, 0x02])),
        ("list", [&[0x92][..], &array(&[1], "uint8", &[5]), &[0xC3]].concat()),
        ("none", vec![0xC0]),
        ("text", text("größe")),
        ("numbers", map(&[("a", vec![0xCB, 0x3F, 0xF8, 0, 0, 0, 0, 0, 0]), ("b", vec![0xD1, 0xFF, 0xFE])])),
        ("float", vec![0xCA, 0x7F, 0x80, 0, 0]),
        ("other", extension(9, &[1, 2, 3])),
        ("four", array(&[3], "int4", &[1, 2, 3])),
    ]))
    .unwrap();
    let names: Vec<_> = contents.tensors.iter().map(|tensor| (tensor.name.as_str(), tensor.dtype)).collect();
    assert_eq!(names, [("scalar", Dtype::F16), ("list.0", Dtype::U8), ("four", Dtype::I8)]);
    assert_eq!(
        serde_json::Value::Object(contents.metadata),
        json!({"complex": {"real": 1, "imag": 2}, "list.1": true, "none": null, "text": "größe", "numbers.a": 1.5,
               "numbers.b": -2, "float": "inf", "other": {"extension": 9, "bytes": 3}})
    );
    assert_eq!(contents.warnings.len(), 1);
    assert_eq!(contents.warnings[0].kind, WarningKind::Other);
}

fn chunked(shape: &[(&str, u8)], chunks: &[(&str, Vec<u8>)]) -> Vec<u8> {
    let shape: Vec<(&str, Vec<u8>)> = shape.iter().map(|(key, extent)| (*key, vec![*extent])).collect();
    map(&[("w", map(&[("__msgpack_chunked_array__", vec![0xC3]), ("shape", map(&shape)), ("chunks", map(chunks))]))])
}

#[test]
fn chunks_become_one_array() {
    let (one, two) = (array(&[4], "uint8", &[1, 2, 3, 4]), array(&[2], "uint8", &[5, 6]));
    let good = chunked(&[("0", 2), ("1", 3)], &[("0", one.clone()), ("1", two.clone())]);
    let contents = of(good).unwrap();
    let [tensor] = &contents.tensors[..] else { panic!("{contents:?}") };
    assert_eq!((tensor.name.as_str(), &tensor.shape[..]), ("w", &[2, 3][..]));
    assert_eq!(tensor.pieces[1].region, Region::Run { first: 4, len: 2 });
    assert!(tensor.is_complete());
    let expected = "array in chunks at byte 0: `w` is not shape and chunks of one array";
    for bytes in [
        chunked(&[("0", 2), ("1", 4)], &[("0", one.clone()), ("1", two.clone())]),
        chunked(&[("0", 2), ("2", 3)], &[("0", one.clone()), ("1", two.clone())]),
        chunked(&[("0", 6)], &[("0", one.clone()), ("2", two.clone())]),
        chunked(&[("0", 6)], &[("0", one.clone()), ("1", array(&[2], "int8", &[5, 6]))]),
        chunked(&[("0", 6)], &[("0", one.clone()), ("x", two.clone())]),
        chunked(&[("0", 4)], &[("0", array(&[2, 2], "uint8", &[0; 4]))]),
        chunked(&[], &[]),
    ] {
        assert_eq!(error(bytes), expected);
    }
    assert_eq!(error(chunked(&[("0", 8)], &[("0", one.clone()), ("0", one)])), "key `w.chunks.0` appears twice");
}

#[test]
fn hostile_files_give_their_own_error() {
    assert_eq!(error(vec![]), "flax checkpoint needs 1 bytes; only 0 are there");
    assert_eq!(error(vec![0x93]), "flax checkpoint needs 3 bytes; only 0 are there");
    assert_eq!(error(vec![0x01]), "flax checkpoint at byte 0: the outermost item is no map");
    assert_eq!(error(vec![0xC1]), "flax checkpoint at byte 0: the byte `0xc1` begins no item");
    assert_eq!(error(vec![0x80, 0]), "1 bytes follow the end of flax checkpoint");
    assert_eq!(
        error(vec![0xDF, 0xFF, 0xFF, 0xFF, 0xFF, 0]),
        "flax checkpoint needs 8589934590 bytes; only 1 are there"
    );
    let huge = |item: &[u8]| error([&[0x81, 0xA1, b'a'][..], item].concat());
    assert_eq!(huge(&[0xDD, 0xFF, 0xFF, 0xFF, 0xFF]), "flax checkpoint needs 4294967295 bytes; only 0 are there");
    assert_eq!(huge(&[0xDB, 0xFF, 0xFF, 0xFF, 0xFF]), "flax checkpoint needs 4294967295 bytes; only 0 are there");
    assert_eq!(huge(&[0xC6, 0xFF, 0xFF, 0xFF, 0xFF]), "flax checkpoint needs 4294967295 bytes; only 0 are there");
    assert_eq!(huge(&[0xC9, 0xFF, 0xFF, 0xFF, 0xFF, 1]), "flax checkpoint needs 4294967295 bytes; only 0 are there");
    assert_eq!(huge(&[0xA1, 0xFF]), "flax checkpoint at byte 4: text is not UTF-8");
    assert_eq!(error(vec![0x81, 0x01, 0x01]), "flax checkpoint at byte 1: a key is no text");
    assert_eq!(error(map(&[("a", vec![1]), ("a", vec![2])])), "key `a` appears twice");
    assert_eq!(
        error(map(&[("a.b", array(&[0], "int8", &[])), ("a", map(&[("b", array(&[0], "int8", &[]))]))])),
        "key `a.b` appears twice"
    );
    assert_eq!(
        error(map(&[("w", array(&[3], "float32", &[0; 8]))])),
        "flax checkpoint at byte 10: an array of `float32` and shape [3] has 8 bytes"
    );
    assert_eq!(
        error(map(&[("w", array(&[1], "object", &[0; 8]))])),
        "dtype of a flax array is not supported: `object`"
    );
    let wide = [&[0x93, 0x92][..], &[0xCF; 1], &[0x80; 8], &[0xCF; 1], &[0x80; 8], &text("int8"), &[0xC4, 0]].concat();
    assert!(error(map(&[("w", extension(1, &wide))])).contains("has 0 bytes"));
    let longer = [packed(&[1], "int8", &[1]), vec![0]].concat();
    assert_eq!(error(map(&[("w", extension(1, &longer))])), "flax array in bytes is 13; 14 was announced");
    assert_eq!(
        error(map(&[("w", extension(1, &[0x92, 0x90, 0x90]))])),
        "flax checkpoint at byte 10: an array is not shape, dtype and bytes"
    );
    let rank = [vec![0x93, 0xDC, 0, 65], vec![1; 65], text("int8"), vec![0xC4, 1, 0]].concat();
    assert_eq!(error(map(&[("w", extension(1, &rank))])), "rank of a tensor is 65; the limit is 64");
}

#[test]
fn nesting_and_names_are_bounded() {
    let nested = |depth: usize| [[0x81, 0xA1, b'a'].repeat(depth), vec![0x80]].concat();
    assert!(of(nested(127)).is_ok());
    assert_eq!(error(nested(129)), "nesting of msgpack items is 129; the limit is 128");
    assert_eq!(error(nested(1_000_000)), "nesting of msgpack items is 129; the limit is 128");
    let lists = [vec![0x81, 0xA1, b'a'], vec![0x91; 1_000_000]].concat();
    assert!(of(lists).is_err());
    let long = "n".repeat(250);
    let mut deep = map(&[("x", vec![1])]);
    for _ in 0..20 {
        deep = map(&[(&long, deep)]);
    }
    assert_eq!(error(deep), "tensor name length in bytes is 4266; the limit is 4096");
    // Many small leaves below one long path.
    let mut leaves = vec![0xDD, 0, 1, 0, 0];
    leaves.extend([1; 65536]);
    let mut deep = leaves;
    for _ in 0..15 {
        deep = map(&[(&long, deep)]);
    }
    let found = error(deep);
    assert!(found.starts_with("length of all names in bytes is 10000"), "{found}");
}

proptest! {
    #[test]
    fn any_bytes_end_in_an_answer(bytes: Vec<u8>) {
        let _ = of(bytes.clone());
        let _ = of([&[0x83][..], &bytes].concat());
        let _ = of(map(&[("w", extension(1, &bytes))]));
    }

    #[test]
    fn any_change_to_a_good_file_ends_in_an_answer(changes in prop::collection::vec((any::<usize>(), any::<u8>()), 1..4)) {
        let mut bytes = state();
        for (at, byte) in changes {
            let at = at % bytes.len();
            bytes[at] = byte;
        }
        let section = Section::of_bytes("model.msgpack", bytes);
        let folder = MemoryFolder::new(vec![section.clone()]);
        let limits = Limits::default();
        for tensor in read(&section, &limits).map(|contents| contents.tensors).unwrap_or_default() {
            prop_assert!(Elements::new(&folder, &tensor, &limits).and_then(|mut elements| elements.read_all()).is_ok());
        }
    }
}
