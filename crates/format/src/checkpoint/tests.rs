use super::*;
use crate::source::{MemoryFolder, Section};

fn safetensors(tensors: &[(&str, &str, &[u64], u64)]) -> Vec<u8> {
    let mut at = 0;
    let mut entries = Vec::new();
    for (name, dtype, shape, bytes) in tensors {
        entries.push(format!(
            "{name:?}:{{\"dtype\":\"{dtype}\",\"shape\":{shape:?},\"data_offsets\":[{at},{}]}}",
            at + bytes
        ));
        at += bytes;
    }
    let json = format!("{{{}}}", entries.join(","));
    let mut file = (json.len() as u64).to_le_bytes().to_vec();
    file.extend_from_slice(json.as_bytes());
    file.resize(file.len() + at as usize, 0);
    file
}

fn folder(files: &[(&str, Vec<u8>)]) -> MemoryFolder {
    MemoryFolder::new(files.iter().map(|(path, bytes)| Section::of_bytes(*path, bytes.clone())).collect())
}

fn of(files: &[(&str, Vec<u8>)]) -> Checkpoint {
    read(&folder(files), &Limits::default()).unwrap()
}

fn names(checkpoint: &Checkpoint) -> Vec<&str> {
    checkpoint.contents.tensors.iter().map(|tensor| tensor.name.as_str()).collect()
}

#[test]
fn a_model_folder_is_weights_and_configuration() {
    let checkpoint = of(&[
        ("config.json", br#"{"model_type":"bert","architectures":["BertModel"],"hidden_size":4}"#.to_vec()),
        ("model.safetensors", safetensors(&[("a.weight", "F32", &[2, 2], 16), ("a.running_mean", "F32", &[2], 8)])),
        ("model.fp16.safetensors", safetensors(&[("a.weight", "F16", &[2, 2], 8)])),
        ("README.md", b"# card".to_vec()),
        ("code.py", b"".to_vec()),
    ]);
    assert_eq!(names(&checkpoint), ["a.weight", "a.running_mean"]);
    assert_eq!(checkpoint.contents.formats, [Format::Safetensors, Format::HfModel]);
    assert_eq!(checkpoint.contents.architecture.class.as_deref(), Some("BertModel"));
    let parameters = checkpoint.parameters();
    assert_eq!((parameters.total, parameters.buffers), (4, 2));
    assert_eq!(checkpoint.others.len(), 1);
    assert_eq!(checkpoint.others[0].files, ["model.fp16.safetensors"]);
    assert_eq!(checkpoint.contents.code[0].name, "code.py");
    assert_eq!(checkpoint.card.as_deref(), Some("README.md"));
}

#[test]
fn shards_are_joined_and_compared_with_their_index() {
    let index = br#"{"weight_map":{"a":"model-00001-of-00003.safetensors","c":"model-00003-of-00003.safetensors"}}"#;
    let checkpoint = of(&[
        ("model-00001-of-00003.safetensors", safetensors(&[("a", "U8", &[1], 1)])),
        ("model-00002-of-00003.safetensors", safetensors(&[("b", "U8", &[1], 1), ("a", "U8", &[1], 1)])),
        ("model.safetensors.index.json", index.to_vec()),
    ]);
    assert_eq!(names(&checkpoint), ["a", "b", "a"]);
    let messages: Vec<&str> = checkpoint.contents.warnings.iter().map(|warning| warning.message.as_str()).collect();
    assert_eq!(
        messages,
        [
            "1 of 3 shards are missing: 3",
            "1 tensors of the index are in no shard: `c`",
            "1 tensors are not in the index: `b`",
            "tensor `a` occurs more than once",
        ]
    );
}

#[test]
fn components_of_a_pipeline_keep_their_folder_as_prefix() {
    let index = br#"{"_class_name":"StableDiffusionPipeline","_diffusers_version":"0.42","unet":["diffusers","U"],"vae":["diffusers","V"]}"#;
    let checkpoint = of(&[
        ("model_index.json", index.to_vec()),
        ("unet/diffusion_pytorch_model.safetensors", safetensors(&[("w", "U8", &[1], 1)])),
        ("vae/diffusion_pytorch_model.safetensors", safetensors(&[("w", "U8", &[1], 1)])),
        ("other/model.safetensors", safetensors(&[("w", "U8", &[1], 1)])),
    ]);
    assert_eq!(names(&checkpoint), ["unet.w", "vae.w"]);
    assert_eq!(checkpoint.contents.architecture.family.as_deref(), Some("stable-diffusion"));
    assert_eq!(checkpoint.others[0].files, ["other/model.safetensors"]);
    assert!(checkpoint.contents.formats.contains(&Format::Diffusers));
}

#[test]
fn a_broken_file_does_not_hide_the_others() {
    let mut broken = safetensors(&[("a", "U8", &[1], 1)]);
    broken.push(0);
    let files = [("broken.safetensors", broken), ("good.safetensors", safetensors(&[("a", "U8", &[1], 1)]))];
    let checkpoint = of(&files);
    assert_eq!(names(&checkpoint), ["a"]);
    assert_eq!(checkpoint.contents.warnings[0].message, "1 bytes follow the end of the last tensor");
    let alone = read_file(&folder(&files), "broken.safetensors", &Limits::default());
    assert_eq!(alone.unwrap_err().to_string(), "`broken.safetensors`: 1 bytes follow the end of the last tensor");
    assert!(matches!(read_file(&folder(&files), "no", &Limits::default()), Err(FormatError::NoFile { .. })));
}

proptest::proptest! {
    #[test]
    fn sniffing_any_bytes_ends(bytes in proptest::collection::vec(proptest::prelude::any::<u8>(), 0..300)) {
        sniff(&Section::of_bytes("a", bytes), &Limits::default()).unwrap();
    }
}
