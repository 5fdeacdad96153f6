use super::*;
use crate::source::{MemoryFolder, Section};
use crate::zip::made::Made;

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

/// A tensor of four bytes in opcodes, over the first storage.
const TENSOR: &[u8] = b"ctorch._utils\n_rebuild_tensor_v2\n((U\x07storagectorch\nByteStorage\nU\x010U\x03cpuK\x04tQK\0(K\x04t(K\x01t\x89ccollections\nOrderedDict\n)RtR";

/// A torch file of one tensor of four bytes.
fn torch_zip(name: &str) -> Vec<u8> {
    let name = [&[b'U', name.len() as u8], name.as_bytes()].concat();
    let pickle = [&b"\x80\x02}"[..], &name, TENSOR, b"s."].concat();
    Made::default().add("m/data.pkl", &pickle).add("m/version", b"3\n").add("m/data/0", &[0; 4]).finish()
}

/// The state of an optimizer of torch: one group, and the step.
fn optimizer(step: u8) -> Vec<u8> {
    let pickle = [
        &b"\x80\x02}(U\x05state}K\0}U\x04stepK"[..],
        &[step],
        b"ssU\x0cparam_groups]}(U\x02lrG\x3f\x50\x62\x4d\xd2\xf1\xa9\xfcU\x06params]K\0auau.",
    ];
    Made::default().add("m/data.pkl", &pickle.concat()).add("m/version", b"3\n").finish()
}

/// GGUF with one tensor `w` of 32 elements.
fn gguf(kind: u32, bytes: usize) -> Vec<u8> {
    let mut file =
        [&b"GGUF\x03\0\0\0\x01\0\0\0\0\0\0\0\0\0\0\0\0\0\0\0\x01\0\0\0\0\0\0\0w\x01\0\0\0\x20\0\0\0\0\0\0\0"[..]]
            .concat();
    file.extend(kind.to_le_bytes());
    file.extend(0u64.to_le_bytes());
    file.resize(file.len().next_multiple_of(32) + bytes, 0);
    file
}

/// What `flax.serialization.to_bytes` writes of one array `w` of four bytes.
fn flax() -> Vec<u8> {
    b"\x81\xa1w\xc7\x0f\x01\x93\x91\x04\xa5uint8\xc4\x04\0\0\0\0".to_vec()
}

/// An array of four bytes.
fn npy() -> Vec<u8> {
    let header = b"{'descr': '|u1', 'fortran_order': False, 'shape': (4,)}\n";
    [&b"\x93NUMPY\x01\0"[..], &(header.len() as u16).to_le_bytes(), header, &[0; 4]].concat()
}

fn messages(checkpoint: &Checkpoint) -> Vec<&str> {
    checkpoint.contents.warnings.iter().map(|warning| warning.message.as_str()).collect()
}

fn others(checkpoint: &Checkpoint) -> Vec<&str> {
    checkpoint.others.iter().flat_map(|other| &other.files).map(String::as_str).collect()
}

/// File of the chosen weights.
fn chosen(checkpoint: &Checkpoint) -> &str {
    checkpoint.contents.tensors[0].place().map_or("", |(file, _)| file)
}

#[test]
fn a_folder_of_training_is_its_newest_step_until_the_end_is_saved() {
    let step = |number: u8, digits: &str| {
        [
            (format!("checkpoint-{digits}/model.safetensors"), safetensors(&[("w", "U8", &[4], 4)])),
            (format!("checkpoint-{digits}/optimizer.pt"), optimizer(number)),
            (format!("checkpoint-{digits}/config.json"), br#"{"model_type":"bert"}"#.to_vec()),
            (format!("checkpoint-{digits}/trainer_state.json"), format!("{{\"global_step\":{digits}}}").into_bytes()),
        ]
    };
    let steps = [step(5, "500"), step(10, "1000")].concat();
    let mut files: Vec<(&str, Vec<u8>)> = steps.iter().map(|(path, bytes)| (path.as_str(), bytes.clone())).collect();
    let checkpoint = of(&files);
    assert_eq!(chosen(&checkpoint), "checkpoint-1000/model.safetensors");
    assert_eq!(others(&checkpoint), ["checkpoint-500/model.safetensors"]);
    assert_eq!(checkpoint.contents.optimizer.as_ref().unwrap().step, Some(10));
    assert_eq!(checkpoint.contents.metadata["trainer_state"]["global_step"], 1000);
    assert!(checkpoint.contents.formats.contains(&Format::HfTrainer));
    assert_eq!(checkpoint.parameters().total, 4);

    files.push(("model.safetensors", safetensors(&[("w", "U8", &[4], 4)])));
    files.push(("config.json", br#"{"model_type":"bert"}"#.to_vec()));
    let checkpoint = of(&files);
    assert_eq!(chosen(&checkpoint), "model.safetensors");
    assert_eq!(others(&checkpoint).len(), 2);
    // The state of a step is not the state at the end.
    assert_eq!(checkpoint.contents.optimizer, None);
}

#[test]
fn an_optimizer_of_other_weights_is_not_taken() {
    let training = |name: &str| {
        let name = [&[b'U', name.len() as u8], name.as_bytes()].concat();
        let pickle = [
            &b"\x80\x02}(U\x05model}"[..],
            &name,
            TENSOR,
            b"sU\x09optimizer}(U\x05state}K\0}U\x04stepK\x03ssU\x0cparam_groups]}U\x06params]K\0asauu.",
        ];
        Made::default().add("m/data.pkl", &pickle.concat()).add("m/version", b"3\n").add("m/data/0", &[0; 4]).finish()
    };
    let with =
        |name| of(&[("model.safetensors", safetensors(&[("w", "U8", &[4], 4)])), ("train.ckpt", training(name))]);
    assert_eq!(with("w").contents.optimizer.and_then(|optimizer| optimizer.step), Some(3));
    let other = with("other");
    assert_eq!((other.contents.optimizer.is_none(), others(&other)), (true, vec!["train.ckpt"]));
}

#[test]
fn an_optimizer_in_a_folder_beside_the_weights_belongs_to_them() {
    let weights = || safetensors(&[("w", "U8", &[4], 4)]);
    let checkpoint = of(&[("step/model/model.safetensors", weights()), ("step/optimizer/state.pt", optimizer(4))]);
    assert_eq!(checkpoint.contents.optimizer.and_then(|optimizer| optimizer.step), Some(4));
    let elsewhere = of(&[("a/model/model.safetensors", weights()), ("b/optimizer/state.pt", optimizer(4))]);
    assert_eq!(elsewhere.contents.optimizer, None);
}

#[test]
fn variants_of_a_pipeline_and_its_single_file_are_not_counted_again() {
    let index = br#"{"_class_name":"StableDiffusionPipeline","_diffusers_version":"0.42","unet":["diffusers","U"],"vae":["diffusers","V"]}"#;
    let weights = |dtype, bytes| safetensors(&[("w", dtype, &[2], bytes)]);
    let checkpoint = of(&[
        ("model_index.json", index.to_vec()),
        ("unet/diffusion_pytorch_model.fp16.safetensors", weights("F16", 4)),
        ("unet/diffusion_pytorch_model.safetensors", weights("F32", 8)),
        ("unet/diffusion_pytorch_model.bin", torch_zip("w")),
        ("v1-5-pruned.safetensors", weights("F32", 8)),
        ("vae/diffusion_pytorch_model.fp16.safetensors", weights("F16", 4)),
    ]);
    assert_eq!(names(&checkpoint), ["unet.w", "vae.w"]);
    assert_eq!(chosen(&checkpoint), "unet/diffusion_pytorch_model.safetensors");
    let parameters = checkpoint.parameters();
    assert_eq!((parameters.total, parameters.by_dtype[&Dtype::F16]), (4, 2));
    assert_eq!(checkpoint.others.len(), 3, "{:?}", checkpoint.others);
}

#[test]
fn modules_of_sentence_transformers_are_joined_and_exports_are_not() {
    let modules = br#"[{"idx":0,"path":"","type":"sentence_transformers.models.Transformer"},
        {"idx":1,"path":"1_Pooling","type":"sentence_transformers.models.Pooling"},
        {"idx":2,"path":"2_Dense","type":"sentence_transformers.models.Dense"}]"#;
    let weights = || safetensors(&[("w", "U8", &[1], 1)]);
    let files = [
        ("1_Pooling/config.json", b"{\"word_embedding_dimension\":4}".to_vec()),
        ("2_Dense/model.safetensors", weights()),
        ("config.json", br#"{"model_type":"bert"}"#.to_vec()),
        ("model.safetensors", weights()),
        ("modules.json", modules.to_vec()),
        ("onnx/model.safetensors", weights()),
        ("pytorch_model.bin", torch_zip("w")),
    ];
    let checkpoint = of(&files);
    let mut found = names(&checkpoint);
    found.sort_unstable();
    assert_eq!(found, ["2_Dense.w", "w"]);
    assert_eq!(checkpoint.contents.architecture.family.as_deref(), Some("bert"));
    assert_eq!(others(&checkpoint), ["pytorch_model.bin", "onnx/model.safetensors"]);
}

#[test]
fn of_several_quantisations_the_most_precise_is_the_model() {
    let checkpoint = of(&[
        ("model-F16-00001-of-00002.gguf", gguf(1, 64)),
        ("model-Q4_0.gguf", gguf(2, 18)),
        ("model-Q8_0.gguf", gguf(8, 34)),
        ("mmproj-model-f32.gguf", gguf(0, 128)),
    ]);
    assert_eq!(chosen(&checkpoint), "model-F16-00001-of-00002.gguf");
    assert_eq!(checkpoint.parameters().total, 32);
    assert_eq!(others(&checkpoint).len(), 3);
    assert_eq!(messages(&checkpoint), ["1 of 2 shards are missing: 2"]);
}

#[test]
fn the_same_weights_in_four_formats_count_once() {
    let checkpoint = of(&[
        ("consolidated.safetensors", safetensors(&[("other", "U8", &[4], 4)])),
        ("flax_model.msgpack", flax()),
        ("model-00001-of-00002.safetensors", safetensors(&[("w", "U8", &[4], 4)])),
        ("model.safetensors", safetensors(&[("w", "U8", &[4], 4)])),
        ("pytorch_model.bin", torch_zip("w")),
        ("weights.npy", npy()),
    ]);
    assert_eq!((names(&checkpoint), chosen(&checkpoint)), (vec!["w"], "model.safetensors"));
    assert_eq!(checkpoint.parameters().total, 4);
    let formats: Vec<Format> = checkpoint.others.iter().map(|other| other.format).collect();
    for format in [Format::Safetensors, Format::TorchZip, Format::Flax, Format::Npy] {
        assert!(formats.contains(&format), "{format} in {formats:?}: {:?}", messages(&checkpoint));
    }
    assert_eq!(others(&checkpoint).len(), 5);
}

#[test]
fn packed_words_count_as_the_parameters_they_stand_for() {
    let config = br#"{"model_type":"llama","quantization_config":{"quant_method":"gptq","bits":4}}"#;
    let checkpoint = of(&[
        ("config.json", config.to_vec()),
        (
            "model.safetensors",
            safetensors(&[
                ("a.qweight", "I32", &[2, 16], 128),
                ("a.scales", "F16", &[1, 16], 32),
                ("norm.weight", "F16", &[16], 32),
            ]),
        ),
    ]);
    let parameters = checkpoint.parameters();
    assert_eq!((parameters.total, parameters.buffers), (16 * 16 + 16, 16));
    assert_eq!(parameters.by_dtype[&Dtype::I32], 256);
}
