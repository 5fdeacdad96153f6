use proptest::prelude::*;

use super::*;
use crate::contents::{CodeWay, WarningKind};
use crate::dtype::Dtype;
use crate::identity::Format;
use crate::source::{MemoryFolder, ReadAt};
use crate::tensor::{Filter, Stored, Tensor};
use crate::zip::made::{Lies, Made};

/// A tensor over storage `key`, in opcodes of protocol 2.
fn tensor(key: &str, class: &str, count: u32, offset: u32, shape: &[u32], strides: &[u32]) -> Vec<u8> {
    let mut out = b"ctorch._utils\n_rebuild_tensor_v2\n((X\x07\0\0\0storagectorch\n".to_vec();
    out.extend(format!("{class}\nU").bytes());
    out.push(key.len() as u8);
    out.extend(key.bytes());
    out.extend(b"U\x03cpu");
    number(&mut out, count);
    out.extend(b"tQ");
    number(&mut out, offset);
    for numbers in [shape, strides] {
        out.push(b'(');
        numbers.iter().for_each(|&value| number(&mut out, value));
        out.push(b't');
    }
    out.extend(b"\x89ccollections\nOrderedDict\n)RtR");
    out
}

fn number(out: &mut Vec<u8>, value: u32) {
    out.push(b'J');
    out.extend(value.to_le_bytes());
}

/// A dictionary of values in opcodes.
fn dict(entries: &[(&str, Vec<u8>)]) -> Vec<u8> {
    let mut out = b"}(".to_vec();
    for (key, value) in entries {
        out.push(b'X');
        out.extend((key.len() as u32).to_le_bytes());
        out.extend(key.bytes());
        out.extend(value);
    }
    out.push(b'u');
    out
}

fn pickled(body: &[u8]) -> Vec<u8> {
    [b"\x80\x02", body, b"."].concat()
}

fn file(body: &[u8], storages: &[(&str, &[u8])]) -> Vec<u8> {
    let mut made = Made::default().add("m/data.pkl", &pickled(body)).add("m/version", b"3\n");
    for (key, data) in storages {
        made = made.add(&format!("m/data/{key}"), data);
    }
    made.finish()
}

fn open(bytes: Vec<u8>) -> Result<Contents, FormatError> {
    read(&Section::of_bytes("m.pt", bytes), &Limits::default())
}

fn floats(count: u8) -> Vec<u8> {
    (0..count).flat_map(|value| f32::from(value).to_le_bytes()).collect()
}

fn names(tensors: &[Tensor]) -> Vec<&str> {
    tensors.iter().map(|tensor| tensor.name.as_str()).collect()
}

fn kinds(contents: &Contents) -> Vec<WarningKind> {
    contents.warnings.iter().map(|warning| warning.kind).collect()
}

#[test]
fn a_state_dict_is_read_in_place() {
    let bytes = file(
        &dict(&[
            ("a.weight", tensor("0", "FloatStorage", 6, 0, &[2, 3], &[3, 1])),
            ("a.t", tensor("0", "FloatStorage", 6, 0, &[3, 2], &[1, 3])),
            ("b", tensor("0", "FloatStorage", 6, 4, &[2], &[1])),
        ]),
        &[("0", &floats(6))],
    );
    let contents = open(bytes.clone()).unwrap();
    assert_eq!(names(&contents.tensors), ["a.weight", "a.t", "b"]);
    assert_eq!((contents.code.len(), contents.warnings.len()), (0, 0), "{:?}", contents.warnings);
    let [weight, transposed, part] = contents.tensors.as_slice() else { panic!("three") };
    assert_eq!((weight.dtype, &*weight.shape), (Dtype::F32, &[2, 3][..]));
    let (_, begin) = weight.place().unwrap();
    assert_eq!(bytes[begin as usize..][..24], floats(6));
    // An alias has the same stored range.
    assert_eq!(transposed.pieces[0].stored, weight.pieces[0].stored);
    assert_eq!(transposed.pieces[0].strides.as_deref(), Some(&[1, 3][..]));
    assert_eq!(part.place().unwrap().1, begin + 16);
}

#[test]
fn views_stay_inside_their_storage() {
    let inside = |offset, shape: &[u32], strides: &[u32]| {
        let bytes = file(&dict(&[("x", tensor("0", "FloatStorage", 6, offset, shape, strides))]), &[("0", &floats(6))]);
        open(bytes).unwrap().tensors.len() == 1
    };
    assert!(inside(0, &[6], &[1]) && inside(5, &[1], &[1]) && inside(0, &[4, 6], &[0, 1]) && inside(6, &[0], &[1]));
    assert!(!inside(1, &[6], &[1]) && !inside(0, &[2, 3], &[4, 1]) && !inside(6, &[1], &[1]));
    assert!(!inside(0, &[2], &[i32::MAX as u32]) && !inside(i32::MAX as u32, &[2], &[1]));
    // Negative numbers, and shapes without strides.
    assert!(!inside(u32::MAX, &[1], &[1]) && !inside(0, &[2], &[u32::MAX]) && !inside(0, &[2, 3], &[1]));
}

#[test]
fn sizes_that_disagree_and_storages_that_are_missing_are_told() {
    let body = dict(&[("x", tensor("0", "FloatStorage", 6, 0, &[6], &[1]))]);
    let short = open(file(&body, &[("0", &floats(5))])).unwrap();
    assert_eq!((short.tensors.len(), kinds(&short)), (0, vec![WarningKind::Disagreement, WarningKind::Unreadable]));
    let none = open(file(&body, &[])).unwrap();
    assert_eq!((none.tensors.len(), kinds(&none)), (0, vec![WarningKind::Missing, WarningKind::Unreadable]));
    let lies = Lies { deflate: true, ..Lies::default() };
    let made = Made::default().add("m/data.pkl", &pickled(&body)).lie("m/data/0", &floats(6), &lies);
    assert_eq!(open(made.finish()).unwrap().tensors.len(), 0);
}

#[test]
fn big_endian_files_get_a_filter() {
    let body = dict(&[
        ("x", tensor("0", "FloatStorage", 6, 0, &[6], &[1])),
        ("y", tensor("1", "ByteStorage", 2, 0, &[2], &[1])),
    ]);
    let made = Made::default().add("m/data.pkl", &pickled(&body)).add("m/byteorder", b"big");
    let contents = open(made.add("m/data/0", &floats(6)).add("m/data/1", b"ab").finish()).unwrap();
    assert_eq!(contents.tensors[0].pieces[0].filters, [Filter::SwapBytes { width: 4 }]);
    assert_eq!(contents.tensors[1].pieces[0].filters, []);
}

#[test]
fn the_model_is_found_under_its_wrapper_and_the_rest_is_metadata() {
    let weight = || tensor("0", "FloatStorage", 6, 0, &[6], &[1]);
    let model = dict(&[("layer.weight", weight())]);
    let slots = dict(&[("step", b"K\x03".to_vec()), ("exp_avg", weight()), ("exp_avg_sq", weight())]);
    let mut state = b"}(K\x00".to_vec();
    state.extend(slots);
    state.push(b'u');
    let group = dict(&[("lr", b"G\x3f\xf0\0\0\0\0\0\0".to_vec()), ("params", b"]K\x00a".to_vec())]);
    let optimizer = dict(&[("state", state), ("param_groups", [b"]".to_vec(), group, b"a".to_vec()].concat())]);
    for wrapper in ["state_dict", "model", "model_state_dict", "module", "ema"] {
        let body = dict(&[
            ("epoch", b"K\x07".to_vec()),
            ("rng_state", tensor("1", "ByteStorage", 4, 0, &[4], &[1])),
            (wrapper, model.clone()),
            ("optimizer", optimizer.clone()),
        ]);
        let contents = open(file(&body, &[("0", &floats(6)), ("1", b"seed")])).unwrap();
        assert_eq!(names(&contents.tensors), ["layer.weight"], "{wrapper}");
        assert_eq!(contents.metadata.get("epoch"), Some(&serde_json::json!(7)));
        let optimizer = contents.optimizer.unwrap();
        assert_eq!(names(&optimizer.tensors), ["layer.weight.exp_avg", "layer.weight.exp_avg_sq"]);
        assert_eq!((optimizer.kind.as_deref(), optimizer.step), (Some("Adam"), Some(3)));
        assert_eq!(serde_json::json!(optimizer.groups), serde_json::json!([{"lr": 1.0, "params": 1}]));
    }
    // A part of a model that happens to be called `model`.
    let body = dict(&[("model", model.clone()), ("head", dict(&[("weight", weight())]))]);
    let contents = open(file(&body, &[("0", &floats(6))])).unwrap();
    assert_eq!(names(&contents.tensors), ["model.layer.weight", "head.weight"]);
}

#[test]
fn names_for_parameters_are_given_only_where_shapes_prove_them() {
    let of = |key: &str, shape: &[u32]| {
        let strides: Vec<u32> = (0..shape.len()).map(|axis| shape[axis + 1..].iter().product()).collect();
        tensor(key, "FloatStorage", 6, 0, shape, &strides)
    };
    let build = |model: &[(&'static str, &[u32])], slots: &[&[u32]]| {
        let own = |(index, &(name, shape)): (usize, &(&'static str, &[u32]))| (name, of(&index.to_string(), shape));
        let weights: Vec<_> = model.iter().enumerate().map(own).collect();
        let mut state = b"}(".to_vec();
        let mut params = b"](".to_vec();
        for (index, shape) in slots.iter().enumerate() {
            state.extend([b'K', index as u8]);
            state.extend(dict(&[("momentum_buffer", of("1", shape))]));
            params.extend([b'K', index as u8]);
        }
        state.push(b'u');
        params.push(b'e');
        let groups = [b"]".to_vec(), dict(&[("params", params)]), b"a".to_vec()].concat();
        let optimizer = dict(&[("state", state), ("param_groups", groups)]);
        let body = dict(&[("model", dict(&weights)), ("optimizer", optimizer)]);
        let storages = ["0", "1", "2"].map(|key| (key, floats(6)));
        let contents = open(file(&body, &storages.each_ref().map(|(key, data)| (*key, data.as_slice())))).unwrap();
        let names = contents.optimizer.unwrap().tensors.into_iter().map(|tensor| tensor.name);
        names.map(|name| name.trim_end_matches(".momentum_buffer").to_owned()).collect::<Vec<_>>()
    };
    // In the order of the model.
    assert_eq!(build(&[("w", &[2, 3]), ("b", &[3])], &[&[2, 3], &[3]]), ["w", "b"]);
    // Trainer's order: matrices first.
    assert_eq!(build(&[("b", &[3]), ("w", &[2, 3])], &[&[2, 3], &[3]]), ["w", "b"]);
    // A buffer between, and only one way to leave it out.
    assert_eq!(build(&[("w", &[2, 3]), ("buffer", &[4]), ("b", &[3])], &[&[2, 3], &[3]]), ["w", "b"]);
    // Two ways: numbers stay.
    assert_eq!(build(&[("w", &[2, 3]), ("buffer", &[2]), ("b", &[2])], &[&[2, 3], &[2]]), ["0", "1"]);
    // Shapes that fit nothing.
    assert_eq!(build(&[("w", &[2, 3]), ("b", &[3])], &[&[3, 2], &[3]]), ["0", "1"]);
}

#[test]
fn code_is_named_and_not_run() {
    let body = dict(&[("x", b"cposix\nsystem\n(S'id'\ntR".to_vec())]);
    let contents = open(file(&body, &[])).unwrap();
    let [code] = contents.code.as_slice() else { panic!("one") };
    assert_eq!((code.file.as_str(), code.name.as_str()), ("m.pt!m/data.pkl", "posix.system"));
    assert_eq!(code.way, CodeWay::PickleCall);
    // What stands before an error has run.
    let broken = Made::default().add("m/data.pkl", b"\x80\x02cposix\nsystem\n(S'id'\ntR\xff").finish();
    let contents = open(broken).unwrap();
    assert_eq!(contents.code[0].name, "posix.system");
    assert!(kinds(&contents).contains(&WarningKind::Unreadable));
    // State set on a class changes it for everyone.
    let altered = open(file(b"ccollections\nOrderedDict\n}b", &[])).unwrap();
    assert_eq!(altered.code[0].name, "collections.OrderedDict");
}

#[test]
fn members_that_are_described_twice_and_differently_are_told() {
    let body = pickled(&dict(&[]));
    let lies = Lies { local_name: Some("m/other.pkl".into()), ..Lies::default() };
    let contents = open(Made::default().lie("m/data.pkl", &body, &lies).finish()).unwrap();
    assert_eq!(kinds(&contents), [WarningKind::Disagreement]);
    let lies = Lies { local_crc: Some(7), ..Lies::default() };
    let contents = open(Made::default().lie("m/data.pkl", &body, &lies).finish()).unwrap();
    assert_eq!(kinds(&contents), [WarningKind::Disagreement]);
    let extra = Made::default().add("m/data.pkl", &body).add("m/extra.bin", b"x").add("elsewhere", b"x");
    assert_eq!(kinds(&open(extra.finish()).unwrap()), [WarningKind::Extra, WarningKind::Extra]);
}

/// The five pickles and the storages of the old format.
fn legacy(object: &[u8], keys: &[(&str, u64, &[u8])]) -> Vec<u8> {
    let mut out = b"\x80\x02\x8a\x0a\x6c\xfc\x9c\x46\xf9\x20\x6a\xa8\x50\x19.\x80\x02M\xe9\x03.".to_vec();
    out.extend(pickled(&dict(&[("little_endian", b"\x88".to_vec())])));
    out.extend(pickled(object));
    let mut list = b"](".to_vec();
    for (key, _, _) in keys {
        list.extend([b'U', key.len() as u8]);
        list.extend(key.bytes());
    }
    list.push(b'e');
    out.extend(pickled(&list));
    for (_, count, data) in keys {
        out.extend(count.to_le_bytes());
        out.extend(*data);
    }
    out
}

#[test]
fn the_legacy_stream_is_read_and_its_ends_are_checked() {
    let object = dict(&[
        ("a", tensor("7", "HalfStorage", 2, 0, &[2], &[1])),
        ("b", tensor("9", "FloatStorage", 3, 0, &[3], &[1])),
    ]);
    let good = legacy(&object, &[("9", 3, &floats(3)), ("7", 2, b"abcd")]);
    let contents = open(good.clone()).unwrap();
    assert_eq!((contents.formats[0], names(&contents.tensors)), (Format::TorchLegacy, vec!["a", "b"]));
    let (_, begin) = contents.tensors[0].place().unwrap();
    assert_eq!(&good[begin as usize..], b"abcd");
    // Counts that lie.
    assert!(open(legacy(&object, &[("9", 1 << 62, &floats(3)), ("7", 2, b"abcd")])).is_err());
    assert!(open(legacy(&object, &[("9", 4, &floats(3)), ("7", 9, b"abcd")])).is_err());
    let unknown = open(legacy(&object, &[("9", 3, &floats(3)), ("8", 2, b"abcd")])).unwrap();
    assert_eq!(names(&unknown.tensors), ["b"]);
    let more = open([good.clone(), b"more".to_vec()].concat()).unwrap();
    assert_eq!(kinds(&more), [WarningKind::Extra]);
    for cut in 0..good.len() {
        let _ = open(good[..cut].to_vec());
    }
}

#[test]
fn the_oldest_format_is_named_and_refused() {
    let mut tar = vec![0; 1024];
    tar[..8].copy_from_slice(b"sys_info");
    assert!(matches!(open(tar), Err(FormatError::Unsupported { .. })));
    assert!(matches!(open(Made::default().add("x", b"y").finish()), Err(FormatError::Unsupported { .. })));
    assert!(open(Vec::new()).is_err());
}

#[test]
fn shared_values_do_not_multiply_and_cycles_end() {
    // Thirty levels of two references to the level below: 2^30 names.
    let mut bomb = tensor("0", "FloatStorage", 6, 0, &[6], &[1]);
    bomb.extend(b"2\x86".repeat(30));
    let contents = open(file(&bomb, &[("0", &floats(6))]));
    match contents {
        Ok(contents) => assert!(kinds(&contents).contains(&WarningKind::Unreadable)),
        Err(error) => assert!(matches!(error, FormatError::TooLarge { .. })),
    }
    let cycle = open(file(b"}q\x00X\x01\0\0\0ah\x00s", &[])).unwrap();
    assert_eq!(cycle.tensors.len(), 0);
    // Deep nesting, in names and in metadata.
    let mut deep = b"]".repeat(5000);
    deep.extend(tensor("0", "FloatStorage", 6, 0, &[6], &[1]));
    deep.extend(b"a".repeat(5000));
    let contents = open(file(&deep, &[("0", &floats(6))])).unwrap();
    assert_eq!((contents.tensors.len(), kinds(&contents)), (0, vec![WarningKind::Unreadable]));
}

#[test]
fn what_is_shared_a_hundred_thousand_times_costs_once() {
    // One large dictionary under a hundred thousand keys: 10^10 entries when it is spelled out.
    let mut big = b"}q\x01(".to_vec();
    let mut many = b"}(".to_vec();
    for index in 0..100_000u32 {
        big.push(b'J');
        big.extend(index.to_le_bytes());
        big.extend(b"K\x01");
        many.push(b'J');
        many.extend(index.to_le_bytes());
        many.extend(b"h\x01");
    }
    big.push(b'u');
    many.push(b'u');
    let weight = tensor("0", "FloatStorage", 6, 0, &[6], &[1]);
    let keep = [&big[..], b"0"].concat();
    let optimizer = dict(&[("state", many.clone()), ("param_groups", b"]".to_vec())]);
    let body = dict(&[("model", dict(&[("w", weight)])), ("other", many), ("optimizer", optimizer)]);
    let began = std::time::Instant::now();
    let _ = open(file(&[keep, body].concat(), &[("0", &floats(6))]));
    assert!(began.elapsed().as_secs() < 60, "{:?}", began.elapsed());
}

#[test]
fn layouts_inside_torch_files_are_recognised() {
    let weight = || tensor("0", "FloatStorage", 6, 0, &[6], &[1]);
    let dims = dict(&[("n_mels", b"K\x50".to_vec()), ("n_audio_state", b"M\x80\x01".to_vec())]);
    let body = dict(&[("dims", dims), ("model_state_dict", dict(&[("encoder.conv1.weight", weight())]))]);
    let contents = open(file(&body, &[("0", &floats(6))])).unwrap();
    assert_eq!(contents.formats, [Format::TorchZip, Format::OpenAiWhisper]);
    assert_eq!(contents.architecture.sizes.get("hidden_size"), Some(&384));
    let version = b"X\x05\0\0\x002.6.6".to_vec();
    let body = dict(&[("state_dict", dict(&[("w", weight())])), ("pytorch-lightning_version", version)]);
    let contents = open(file(&body, &[("0", &floats(6))])).unwrap();
    assert_eq!(contents.formats, [Format::TorchZip, Format::Lightning]);
}

#[test]
fn settings_of_stable_baselines_are_looked_at_and_never_loaded() {
    // `cposix\nsystem\n(S'id'\ntR.` in base64.
    let data = br#"{"gamma": 0.5, "policy_class": {":type:": "x", ":serialized:": "Y3Bvc2l4CnN5c3RlbQooUydpZCcKdFIu", "n": "1"}}"#;
    let made = Made::default().add("data", data).add("_stable_baselines3_version", b"2.0");
    let contents = open(made.finish()).unwrap();
    assert_eq!(contents.formats, [Format::StableBaselines3]);
    assert_eq!(contents.code[0].name, "posix.system");
    assert_eq!(contents.metadata.get("gamma"), Some(&serde_json::json!(0.5)));
    assert_eq!(contents.metadata.get("policy_class"), Some(&serde_json::json!({":type:": "x", "n": "1"})));
}

#[test]
fn arrays_of_numpy_are_tensors() {
    // `_codecs.encode` carries bytes as text in protocol 2.
    let mut array =
        b"cnumpy.core.multiarray\n_reconstruct\n(cnumpy\nndarray\nK\x00\x85U\x01btR(K\x01K\x02\x85cnumpy\ndtype\n"
            .to_vec();
    array.extend(b"(U\x02f4K\x00K\x01tR(K\x03U\x01<NNNJ\xff\xff\xff\xffJ\xff\xff\xff\xffK\x00tb\x89");
    array.extend(b"c_codecs\nencode\n(X\x09\0\0\0\0\0\xc2\x80?\0\0\0@U\x06latin1tRtb");
    let contents = open(pickled(&dict(&[("a", array)]))).unwrap();
    let [tensor] = contents.tensors.as_slice() else { panic!("{contents:?}") };
    assert_eq!((tensor.dtype, &*tensor.shape), (Dtype::F32, &[2][..]));
    assert_eq!(tensor.pieces[0].stored, Stored::inline(&[0, 0, 128, 63, 0, 0, 0, 64]));
}

/// A source that panics when much of it is read.
struct Huge;

impl ReadAt for Huge {
    fn len(&self) -> u64 {
        5_000_000_030
    }

    fn read_at(&self, offset: u64, buffer: &mut [u8]) -> std::io::Result<()> {
        assert!(buffer.len() <= 1 << 21, "{} bytes at {offset}", buffer.len());
        // `BINBYTES8` of five billion bytes, in a tuple.
        let head = [&b"\x80\x04\x8e"[..], &5_000_000_000u64.to_le_bytes()].concat();
        for (byte, at) in buffer.iter_mut().zip(offset..) {
            *byte = match at {
                0..=10 => head[at as usize],
                11..5_000_000_011 => 0,
                5_000_000_011 => 0x85,
                _ => b'.',
            };
        }
        Ok(())
    }
}

#[test]
fn a_pickle_of_five_gigabytes_is_not_loaded() {
    let section = Section::new("huge", std::sync::Arc::new(Huge));
    let pickle = crate::pickle::read(&section, 0, &Limits::default());
    assert_eq!(pickle.trace.ops, 4);
    assert!(pickle.root.is_some());
}

#[test]
fn folders_that_lie_are_refused() {
    let limits = Limits::default();
    let folder = MemoryFolder::new(vec![
        Section::of_bytes("latest", "../elsewhere"),
        Section::of_bytes("x_model_states.pt", ""),
    ]);
    assert!(deepspeed::read(&folder, "", &limits).is_err() || !deepspeed::is(&folder, "sub/"));
    let empty = MemoryFolder::new(Vec::new());
    assert!(!deepspeed::is(&empty, "") && !megatron::is(&empty, "") && !dcp::is(&empty, "") && !fsdp::is(&empty, ""));
    for read in [deepspeed::read, megatron::read, dcp::read, fsdp::read] {
        assert!(matches!(read(&empty, "", &limits), Err(FormatError::BadMagic { .. })));
    }
    let noise = vec![Section::of_bytes(".metadata", "noise"), Section::of_bytes("__0_0.distcp", "noise")];
    let noise = MemoryFolder::new(noise);
    assert!(dcp::is(&noise, "") && dcp::read(&noise, "", &limits).is_err());
}

proptest! {
    #![proptest_config(ProptestConfig::with_cases(64))]

    #[test]
    fn damaged_files_end_without_a_panic(changes in proptest::collection::vec((any::<usize>(), any::<u8>()), 1..8), old: bool) {
        let object = dict(&[
            ("model", dict(&[("a", tensor("0", "FloatStorage", 6, 0, &[2, 3], &[3, 1]))])),
            ("optimizer", dict(&[("state", b"}".to_vec()), ("param_groups", b"]".to_vec())])),
        ]);
        let mut bytes = match old {
            true => legacy(&object, &[("0", 6, &floats(6))]),
            false => file(&object, &[("0", &floats(6))]),
        };
        let len = bytes.len();
        for (at, value) in changes {
            bytes[at % len] = value;
        }
        if let Ok(contents) = open(bytes) {
            for tensor in &contents.tensors {
                for piece in &tensor.pieces {
                    prop_assert!(piece.stored.size_bytes() <= len as u64);
                }
            }
        }
    }
}

#[test]
fn buffers_are_those_that_the_file_names() {
    let one = || tensor("0", "FloatStorage", 6, 0, &[6], &[1]);
    let module = |parts: &[(&str, Vec<u8>)]| [b"c__main__\nNet\n)\x81".to_vec(), dict(parts), b"b".to_vec()].concat();
    let inner = module(&[
        ("_parameters", dict(&[("scale", one())])),
        ("_buffers", dict(&[("mean", one())])),
        ("_modules", dict(&[])),
    ]);
    let outer = module(&[
        ("_parameters", dict(&[("w", one())])),
        ("_buffers", dict(&[("offset", one())])),
        ("_modules", dict(&[("inner", inner)])),
    ]);
    let contents = open(file(&outer, &[("0", &floats(6))])).unwrap();
    assert_eq!(names(&contents.tensors), ["w", "offset", "inner.scale", "inner.mean"]);
    assert!(contents.buffers.iter().eq(["inner.mean", "offset"]), "{:?}", contents.buffers);

    let object = [b"c__torch__.a.b\nNet\n)\x81".to_vec(), dict(&[("w", one()), ("offset", one())]), b"b".to_vec()];
    let script = |program: &str| {
        let made = Made::default().add("m/data.pkl", &pickled(&object.concat())).add("m/data/0", &floats(6));
        open(made.add("m/code/__torch__/a/b.py", program.as_bytes()).finish()).unwrap()
    };
    let contents =
        script("class Net(Module):\n  __parameters__ = [\"w\", ]\n  __buffers__ = [\"offset\", ]\n  w : Tensor\n");
    assert!(contents.buffers.iter().eq(["offset"]), "{:?}", contents.buffers);
    assert!(script("class Other(Module):\n  __buffers__ = [\"w\", ]\n").buffers.is_empty());
    assert!(script("  __buffers__ = [\"w\n__buffers__ = [").buffers.is_empty());
}

#[test]
fn compressors_that_we_do_not_have_are_named_and_no_error() {
    for (begin, name) in
        [(&b"\xfd7zXZ\0\0\x04"[..], "xz"), (b"BZh91AY&SY", "bzip2"), (b"]\0\0\x80\0\xff\xff\xff", "lzma")]
    {
        let contents = open(begin.to_vec()).unwrap();
        assert_eq!(contents.formats, [Format::Joblib]);
        assert_eq!(
            (kinds(&contents), contents.metadata["compression"].as_str()),
            (vec![WarningKind::Unreadable], Some(name))
        );
    }
}
