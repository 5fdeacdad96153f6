use proptest::prelude::*;

use super::{coreml, executorch, ggml, lightgbm, litertlm, mediapipe, nemo, openvino, paddle, tar, xgboost};
use crate::contents::{CodeWay, WarningKind};
use crate::data::Elements;
use crate::dtype::Dtype;
use crate::error::FormatError;
use crate::limits::Limits;
use crate::protobuf::build::{bytes, number};
use crate::source::{MemoryFolder, Section};
use crate::zip::made::Made;

fn section(bytes: impl Into<Vec<u8>>) -> Section {
    Section::of_bytes("m", bytes)
}

fn folder(files: &[(&str, &[u8])]) -> MemoryFolder {
    MemoryFolder::new(files.iter().map(|(path, bytes)| Section::of_bytes(*path, *bytes)).collect())
}

fn limits() -> Limits {
    Limits::default()
}

/// A header and the data of a member.
fn member(name: &str, kind: u8, data: &[u8]) -> Vec<u8> {
    let mut header = vec![0u8; 512];
    header[..name.len()].copy_from_slice(name.as_bytes());
    header[124..135].copy_from_slice(format!("{:011o}", data.len()).as_bytes());
    header[156] = kind;
    header[257..262].copy_from_slice(b"ustar");
    header[148..156].fill(b' ');
    let sum: u64 = header.iter().map(|&byte| u64::from(byte)).sum();
    header[148..155].copy_from_slice(format!("{sum:06o}\0").as_bytes());
    let mut all = [header, data.to_vec()].concat();
    all.resize(all.len().next_multiple_of(512), 0);
    all
}

#[test]
fn tar_members_are_found_under_long_names() {
    let long = "x".repeat(150);
    let pax = format!("{} path={long}\n", 150 + 9);
    let archive = [
        member("a/b", b'0', b"hello"),
        member("././@LongLink", b'L', format!("{long}\0").as_bytes()),
        member("short", b'0', b"1"),
        member("pax", b'x', pax.as_bytes()),
        member("short", b'0', b"22"),
        member("d/", b'5', b""),
        vec![0; 1024],
    ];
    let members = tar::members(&section(archive.concat()), &limits()).unwrap();
    let names: Vec<_> = members.iter().map(|member| (member.name.as_str(), member.section.len())).collect();
    assert_eq!(names, [("a/b", 5), (&long, 1), (&long, 2), ("d/", 0)]);
    assert_eq!(members[0].section.begin(), 512);
}

#[test]
fn tar_headers_that_lie_are_refused() {
    let error = |bytes: Vec<u8>| tar::members(&section(bytes), &limits()).unwrap_err().to_string();
    assert_eq!(error(vec![0; 512]), "this is no tar archive: its magic bytes are missing");
    let mut bad = [member("a", b'0', b""), member("b", b'0', b"")].concat();
    bad[512] = b'c';
    assert_eq!(error(bad), "tar header at byte 512: its checksum is wrong");
    let mut cut = member("a", b'0', &[1; 600]);
    cut.truncate(700);
    assert_eq!(error(cut), "tar member needs 600 bytes; only 188 are there");
}

#[test]
fn nemo_members_stay_inside_and_are_files() {
    let config = b"target: nemo.collections.asr.Model\nloss:\n  - _target_: 'os.system'\n";
    let read = |name: &str, kind| {
        let archive = [member("./model_config.yaml", b'0', config), member(name, kind, b"")].concat();
        nemo::read(&section(archive), &limits())
    };
    let contents = read("./model_weights.ckpt", b'0').unwrap();
    assert_eq!(contents.architecture.class.as_deref(), Some("Model"));
    assert_eq!((contents.code[0].name.as_str(), contents.code[0].way), ("os.system", CodeWay::Configuration));
    let error = |name, kind| read(name, kind).unwrap_err().to_string();
    assert_eq!(error("../x", b'0'), "nemo archive at byte 1536: member `../x` leads elsewhere");
    assert_eq!(error("/x", b'0'), "nemo archive at byte 1536: member `/x` leads elsewhere");
    assert_eq!(error("x", b'2'), "nemo archive at byte 1536: member `x` is a link or no file");
    let none = nemo::read(&section(member("x", b'0', b"")), &limits()).unwrap_err().to_string();
    assert_eq!(none, "nemo archive breaks the rule that it has a model_config.yaml");
}

#[test]
fn nemo_weights_are_read_where_they_lie() {
    let pickle = b"\x80\x02}U\x01wctorch._utils\n_rebuild_tensor_v2\n((U\x07storagectorch\nByteStorage\nU\x010U\x03cpuK\x02tQK\0(K\x02t(K\x01t\x89ccollections\nOrderedDict\n)RtRs.";
    let weights = Made::default().add("m/data.pkl", pickle).add("m/version", b"3\n").add("m/data/0", &[7, 9]).finish();
    let config = b"sample_rate: 16000\nencoder: {_target_: evil.Class, d_model: 4}\ntarget: nemo.asr.Model\n";
    let archive =
        [member("./model_config.yaml", b'0', config), member("./model_weights.ckpt", b'0', &weights)].concat();
    let deflated = miniz_oxide::deflate::compress_to_vec(&archive, 6);
    let gzip = [&b"\x1f\x8b\x08\0\0\0\0\0\0\x03"[..], &deflated, &[0; 8]].concat();
    for bytes in [archive, gzip] {
        let contents = nemo::read(&section(bytes.clone()), &limits()).unwrap();
        assert_eq!(contents.warnings, []);
        assert_eq!(contents.metadata["sample_rate"], 16000);
        assert_eq!(contents.architecture.class.as_deref(), Some("Model"));
        assert_eq!(contents.code.iter().map(|code| code.name.as_str()).collect::<Vec<_>>(), ["evil.Class"]);
        let [tensor] = contents.tensors.as_slice() else { panic!("one tensor") };
        let files = MemoryFolder::new(vec![section(bytes)]);
        assert_eq!(Elements::new(&files, tensor, &limits()).unwrap().read_all().unwrap(), [7, 9]);
    }
    let hostile =
        nemo::read(&section(member("model_config.yaml", b'0', b"a: &a [*a]\n_target_: os.system")), &limits());
    let hostile = hostile.unwrap();
    assert_eq!(hostile.code[0].name, "os.system");
    assert!(hostile.warnings.iter().any(|warning| warning.kind == WarningKind::Unreadable));
}

fn xml(layers: &str) -> Vec<u8> {
    format!("<?xml version=\"1.0\"?><!-- <net> --><net name=\"n\" version=\"11\"><layers>{layers}</layers></net>")
        .into()
}

#[test]
fn openvino_constants_lie_in_the_weights() {
    let layer = |data: &str| {
        xml(&format!("<layer id='0' name=\"a&lt;b>\" type=\"Const\" version=\"opset1\"><data {data}/></layer>"))
    };
    let read = |graph: Vec<u8>| openvino::read(&folder(&[("m.xml", &graph), ("m.bin", &[0; 16])]), "m.xml", &limits());
    let contents = read(layer(r#"element_type="f32" shape="2, 1" offset="8" size="8""#)).unwrap();
    let tensor = &contents.tensors[0];
    assert_eq!((tensor.name.as_str(), tensor.dtype, tensor.shape.as_slice()), ("a<b>", Dtype::F32, &[2, 1][..]));
    assert_eq!(tensor.place().map(|(file, at)| (&**file, at)), Some(("m.bin", 8)));
    let error = |graph| read(graph).unwrap_err().to_string();
    let outside = layer(r#"element_type="f32" shape="2" offset="12" size="8""#);
    assert_eq!(error(outside), "`m.bin`: openvino weights needs 8 bytes; only 4 are there");
    let short = layer(r#"element_type="f32" shape="3" offset="0" size="8""#);
    assert_eq!(error(short), "tensor `a<b>` occupies 8 bytes; its shape and dtype give 96 bits");
    let wrong = layer(r#"element_type="f32" shape="-1" offset="0" size="8""#);
    assert!(error(wrong).ends_with("`-1` of `a<b>` is no number"));
    let entity = b"<!DOCTYPE x [<!ENTITY a \"aaaa\">]><net/>".to_vec();
    assert_eq!(error(entity), "openvino graph at byte 0: a document type is refused");
    assert_eq!(error(b"<net a=>".to_vec()), "openvino graph at byte 0: tag `net` has no proper attributes");
    assert_eq!(error(b"<net ".to_vec()), "openvino graph at byte 0: a tag does not end");
    let custom = read(xml("<layer type=\"Evil\" version=\"extension\"/>")).unwrap();
    assert_eq!(custom.code[0].name, "Evil");
}

#[test]
fn paddle_parameters_take_their_names_from_the_program() {
    let description = [number(1, 5), number(2, 2)].concat();
    let one =
        [vec![0; 12], vec![0; 4], (description.len() as u32).to_le_bytes().to_vec(), description, vec![1; 8]].concat();
    let variable = |name: &str| bytes(3, [bytes(1, name), number(3, 1)].concat());
    let program = bytes(1, [variable("w"), variable("feed"), bytes(4, bytes(3, "py_func"))].concat());
    let contents =
        paddle::read(&folder(&[("m.pdiparams", &one), ("m.pdmodel", &program)]), "m.pdiparams", &limits()).unwrap();
    assert_eq!(contents.tensors[0].name, "w");
    assert_eq!(contents.code[0].name, "py_func");
    let two = [one.clone(), one.clone()].concat();
    let contents =
        paddle::read(&folder(&[("m.pdiparams", &two), ("m.pdmodel", &program)]), "m.pdiparams", &limits()).unwrap();
    assert_eq!(contents.warnings[0].kind, WarningKind::Disagreement);
    let cut = &one[..one.len() - 1];
    let error = paddle::read(&folder(&[("m.pdiparams", cut)]), "m.pdiparams", &limits()).unwrap_err().to_string();
    assert_eq!(error, "paddle parameters needs 8 bytes; only 7 are there");
}

#[test]
fn core_ml_shows_type_and_code() {
    let model = [number(1, 7), bytes(2, bytes(1, bytes(1, "image"))), bytes(555, "")].concat();
    let contents = coreml::read(&section(model), &limits()).unwrap();
    assert_eq!(contents.metadata["type"], "customModel");
    assert_eq!(contents.metadata["inputs"][0], "image");
    assert_eq!(contents.code[0].name, "customModel");
    assert!(coreml::read(&section(number(5, 1)), &limits()).is_err());
}

#[test]
fn core_ml_packages_list_their_blobs() {
    let mut weights = vec![0u8; 192];
    weights[..8].copy_from_slice(&[1, 0, 0, 0, 2, 0, 0, 0]);
    weights[64..72].copy_from_slice(&[0xef, 0xbe, 0xad, 0xde, 1, 0, 0, 0]);
    weights[72..88].copy_from_slice(&[4, 0, 0, 0, 0, 0, 0, 0, 128, 0, 0, 0, 0, 0, 0, 0]);
    let package = |path: &str, weights: &[u8]| {
        let manifest = format!(r#"{{"itemInfoEntries": {{"a": {{"path": "{path}"}}}}}}"#);
        let files = [("Manifest.json", manifest.as_bytes()), ("Data/w/weight.bin", weights)];
        coreml::read_package(&folder(&files), "", &limits())
    };
    let contents = package("w", &weights).unwrap();
    assert_eq!((contents.tensors[0].dtype, contents.tensors[0].shape.as_slice()), (Dtype::F16, &[2][..]));
    let outside = package("../w", &weights).unwrap_err().to_string();
    assert_eq!(outside, "core ml manifest breaks the rule that items lie below Data");
    assert_eq!(package("x", &weights).unwrap().warnings[0].kind, WarningKind::Missing);
    weights[80..88].copy_from_slice(&0u64.to_le_bytes());
    let back = package("w", &weights).unwrap_err().to_string();
    assert!(back.ends_with("data of blob `0` at `0` lies before it"), "{back}");
}

#[test]
fn xgboost_is_read_in_both_spellings() {
    let json = br#"{"learner": {"objective": {"name": "reg"}, "gradient_booster": {"name": "gbtree", "model": {"trees": [{}, {}]}}}, "version": [3, 0, 0]}"#;
    let contents = xgboost::read(&section(&json[..]), &limits()).unwrap();
    assert_eq!((&contents.metadata["trees"], &contents.metadata["booster"]), (&2.into(), &"gbtree".into()));
    let key = |name: &str| [&b"L\0\0\0\0\0\0\0"[..], &[name.len() as u8], name.as_bytes()].concat();
    let inner = [&b"{"[..], &key("objective"), b"S", &key("reg"), &key("w"), b"[$d#L\0\0\0\0\0\0\0\x02", &[0; 8], b"}"]
        .concat();
    let ubj = [&b"{"[..], &key("learner"), &inner, b"}"].concat();
    let contents = xgboost::read(&section(ubj), &limits()).unwrap();
    assert_eq!(contents.metadata["objective"], "reg");
    let bomb = [&b"{"[..], &key("learner"), &b"[".repeat(1_000)].concat();
    assert_eq!(
        xgboost::read(&section(bomb), &limits()).unwrap_err().to_string(),
        "nesting of ubjson is 129; the limit is 128"
    );
    let lie = [&b"{"[..], &key("a"), b"[$d#L\x7f\xff\xff\xff\xff\xff\xff\xff"].concat();
    assert!(matches!(xgboost::read(&section(lie), &limits()), Err(FormatError::Truncated { .. })));
}

#[test]
fn lightgbm_shows_its_header() {
    let text = "tree\nversion=v4\nnum_class=1\n\nTree=0\nnum_leaves=3\n\nTree=1\n\nend of trees\n";
    let contents = lightgbm::read(&section(text), &limits()).unwrap();
    assert_eq!((&contents.metadata["version"], &contents.metadata["trees"]), (&"v4".into(), &2.into()));
    assert!(lightgbm::read(&section("treehouse"), &limits()).is_err());
}

/// A `ggjt` file with one word and one tensor.
fn legacy(magic: &[u8; 4], version: u32, kind: u32, data: &[u8]) -> Vec<u8> {
    let words = |words: &[u32]| words.iter().flat_map(|word| word.to_le_bytes()).collect::<Vec<_>>();
    let mut file =
        [magic.to_vec(), words(&[version, 1, 4, 0, 0, 0, 0, 0]), words(&[1]), b"a".to_vec(), vec![0; 4]].concat();
    file.extend(words(&[2, 1, kind, 32, 1]));
    file.push(b'w');
    file.resize(file.len().next_multiple_of(32), 0);
    [file, data.to_vec()].concat()
}

#[test]
fn legacy_ggml_lists_its_tensors() {
    let contents = ggml::read(&section(legacy(b"tjgg", 3, 2, &[0; 18])), &limits()).unwrap();
    assert_eq!((contents.tensors[0].dtype, contents.tensors[0].shape.as_slice()), (Dtype::Q40, &[1, 32][..]));
    assert!(contents.tensors[0].is_complete());
    let old = ggml::read(&section(legacy(b"tjgg", 1, 2, &[0; 20])), &limits()).unwrap();
    assert!(!old.tensors[0].is_complete());
    assert_eq!(old.warnings[0].kind, WarningKind::Unreadable);
    let error = |bytes| ggml::read(&section(bytes), &limits()).unwrap_err().to_string();
    assert_eq!(error(legacy(b"tjgg", 3, 2, &[0; 17])), "ggml file needs 18 bytes; only 17 are there");
    assert_eq!(error(legacy(b"tjgg", 9, 2, &[])), "ggml file has the unknown version 9");
    assert_eq!(error(legacy(b"tjgg", 3, 77, &[])), "tensor `w` has the unknown dtype `77`");
}

#[test]
fn bundles_that_are_none_are_refused() {
    assert!(matches!(
        executorch::read(&section(&b"\0\0\0\0TFL3xxxx"[..]), &limits()),
        Err(FormatError::BadMagic { .. })
    ));
    assert!(matches!(litertlm::read(&section(&b"LITERTLX"[..]), &limits()), Err(FormatError::BadMagic { .. })));
    let broken = [&b"LITERTLM\x01\0\0\0\0\0\0\0\0\0\0\0\0\0\0\0"[..], &40u64.to_le_bytes(), &[0; 16]].concat();
    assert_eq!(litertlm::read(&section(broken), &limits()).unwrap().warnings[0].kind, WarningKind::Unreadable);
    assert!(mediapipe::read(&section(&b"PK"[..]), &limits()).is_err());
}

proptest! {
    #[test]
    fn any_bytes_end(magic in 0usize..9, bytes in proptest::collection::vec(any::<u8>(), 0..600)) {
        let magics: [&[u8]; 9] = [b"", b"\x0c\0\0\0ET12eh00", b"LITERTLM", b"lmgg", b"tjgg\x03\0\0\0", b"{L\0\0\0\0\0\0\0\x01a", b"<net>", b"tree\n", b"\x08\x07"];
        let bytes = [magics[magic], &bytes].concat();
        let section = section(bytes.clone());
        let _ = (coreml::read(&section, &limits()), executorch::read(&section, &limits()), litertlm::read(&section, &limits()));
        let _ = (ggml::read(&section, &limits()), xgboost::read(&section, &limits()), lightgbm::read(&section, &limits()));
        let _ = (nemo::read(&section, &limits()), mediapipe::read(&section, &limits()), tar::members(&section, &limits()));
        let files = [("m.xml", bytes.as_slice()), ("m.pdiparams", &bytes), ("m.pdmodel", &bytes), ("m.bin", &bytes)];
        let _ = openvino::read(&folder(&files), "m.xml", &limits());
        let _ = paddle::read(&folder(&files), "m.pdiparams", &limits());
    }

    #[test]
    fn damaged_archives_never_panic(changes in proptest::collection::vec((any::<prop::sample::Index>(), any::<u8>()), 1..4)) {
        for mut bytes in [
            [member("model_config.yaml", b'0', b"target: x.Y"), member("b", b'x', b"9 path=c\n")].concat(),
            legacy(b"tjgg", 3, 2, &[0; 18]),
            xml("<layer name='a' type='Const' version='opset1'><data element_type='f32' shape='1' offset='0' size='4'/></layer>"),
        ] {
            for (index, byte) in &changes {
                let at = index.index(bytes.len());
                bytes[at] = *byte;
            }
            let _ = nemo::read(&section(bytes.clone()), &limits());
            let _ = ggml::read(&section(bytes.clone()), &limits());
            let _ = openvino::read(&folder(&[("m.xml", &bytes), ("m.bin", &[0; 4])]), "m.xml", &limits());
        }
    }
}
