use weighthouse_format::source::MemoryFolder;
use weighthouse_format::{Dtype, Section};

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

#[test]
fn layers_that_are_alike_are_folded() {
    let tensor = |name: String, shape: &[u64]| {
        let stored = weighthouse_format::tensor::Stored::inline(&[]);
        Tensor::plain(name, Dtype::F32, shape.to_vec(), stored)
    };
    let mut tensors = vec![tensor("embed.weight".to_owned(), &[10, 4])];
    // As text sorts them: 0, 1, 10, 11, 2, …
    let mut numbers: Vec<String> = (0..12).map(|number: u32| number.to_string()).collect();
    numbers.sort();
    tensors.extend(numbers.iter().map(|number| tensor(format!("layers.{number}.w"), &[4, 4])));
    tensors.push(tensor("layers.12.w".to_owned(), &[4, 5]));
    let tree = tree(&tensors);
    assert_eq!(tree.elements, 40 + 12 * 16 + 20);
    let layers = &tree.children[1];
    let names: Vec<(&str, u64, u64)> =
        layers.children.iter().map(|layer| (layer.name.as_str(), layer.repeats, layer.elements)).collect();
    assert_eq!(names, [("0–11", 12, 192), ("12", 1, 20)]);
}

#[test]
fn very_deep_names_do_not_overflow_the_stack() {
    let stored = weighthouse_format::tensor::Stored::inline(&[]);
    let deep = Tensor::plain("a.".repeat(2000), Dtype::F32, vec![1], stored);
    assert_eq!(tree([&deep]).tensors, 1);
}
