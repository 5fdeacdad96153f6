use weighthouse_format::Section;
use weighthouse_format::source::MemoryFolder;

use super::*;

fn safetensors(tensors: &[(&str, &[f32])]) -> Vec<u8> {
    let (mut at, mut entries, mut data) = (0, Vec::new(), Vec::new());
    for (name, values) in tensors {
        let end = at + values.len() * 4;
        let shape = [1, values.len()];
        entries.push(format!("{name:?}:{{\"dtype\":\"F32\",\"shape\":{shape:?},\"data_offsets\":[{at},{end}]}}"));
        data.extend(values.iter().flat_map(|value| value.to_le_bytes()));
        at = end;
    }
    let json = format!("{{{}}}", entries.join(","));
    let mut file = (json.len() as u64).to_le_bytes().to_vec();
    file.extend_from_slice(json.as_bytes());
    file.extend(data);
    file
}

fn folder(files: &[(&str, Vec<u8>)]) -> MemoryFolder {
    MemoryFolder::new(files.iter().map(|(path, bytes)| Section::of_bytes(*path, bytes.clone())).collect())
}

#[test]
fn values_that_are_odd_become_warnings() {
    let bytes = safetensors(&[
        ("zero", &[0.0, 0.0]),
        ("same", &[2.0, 2.0]),
        ("nan", &[1.0, f32::NAN]),
        ("one", &[1.0, 2.0]),
        ("copy", &[1.0, 2.0]),
    ]);
    let folder = folder(&[("m.safetensors", bytes)]);
    let options = Options { stats: true, hash: true };
    let found = inspect(&folder, None, options, &|_, _| {}).unwrap();
    let messages: Vec<&str> =
        found.checkpoint.contents.warnings.iter().map(|warning| warning.message.as_str()).collect();
    assert_eq!(
        messages,
        [
            "tensor `zero` is all zeros",
            "tensor `same` is 2 everywhere",
            "tensor `nan` has 1 NaN and 0 infinite values",
            "tensor `copy` has the same values as `one`",
        ]
    );
    let json = json(&found, "m");
    assert_eq!(json["tensors"][3]["stats"]["mean"], 1.5);
    assert_eq!(json["tensors"][3]["sha256"], json["tensors"][4]["sha256"]);
    assert_eq!(json["parameters"]["total"], 10);
}

#[test]
fn the_card_gives_license_and_base() {
    let card = b"---\nlicense: mit\nbase_model: [a/b]\n---\n# x".to_vec();
    let folder = folder(&[("README.md", card), ("m.safetensors", safetensors(&[("w", &[1.0])]))]);
    let found = inspect(&folder, None, Options::default(), &|_, _| {}).unwrap();
    assert_eq!((found.license().as_deref(), found.base_models()), (Some("mit"), vec!["a/b".to_owned()]));
    assert!(found.reads.is_empty());
}
