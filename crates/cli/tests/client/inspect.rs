//! `wh inspect`: the same answer near and far, headers only, and nothing that a file says reaches the terminal raw.

use std::fmt::Write as _;
use std::fs::File;
use std::io::Write as _;
use std::path::Path;

use crate::world::{World, code, text};

/// A safetensors file of bf16 tensors whose data is a hole.
fn shard(path: &Path, tensors: &[(String, [u64; 2])]) {
    let (mut json, mut at) = (String::from("{"), 0);
    for (name, [rows, columns]) in tensors {
        let end = at + rows * columns * 2;
        let comma = if at == 0 { "" } else { "," };
        let name = serde_json::to_string(name).unwrap();
        let _ = write!(
            json,
            "{comma}{name}:{{\"dtype\":\"BF16\",\"shape\":[{rows},{columns}],\"data_offsets\":[{at},{end}]}}"
        );
        at = end;
    }
    json.push('}');
    let mut file = File::create(path).unwrap();
    file.write_all(&(json.len() as u64).to_le_bytes()).unwrap();
    file.write_all(json.as_bytes()).unwrap();
    file.set_len(8 + json.len() as u64 + at).unwrap();
}

/// A decoder of 80 layers in 30 shards, as large models are published, with small matrices.
fn large_model(folder: &Path) {
    std::fs::create_dir_all(folder).unwrap();
    let parts = ["self_attn.q_proj", "self_attn.k_proj", "self_attn.v_proj", "self_attn.o_proj", "mlp.gate_proj"];
    let parts = parts.iter().chain(&["mlp.up_proj", "mlp.down_proj", "input_layernorm", "post_attention_layernorm"]);
    let names: Vec<String> = (0..80)
        .flat_map(|layer| parts.clone().map(move |part| format!("model.layers.{layer}.{part}.weight")))
        .collect();
    for (number, names) in names.chunks(24).enumerate() {
        let tensors: Vec<_> = names.iter().map(|name| (name.clone(), [64, 64])).collect();
        shard(&folder.join(format!("model-{:05}-of-00030.safetensors", number + 1)), &tensors);
    }
    let config = r#"{"model_type":"llama","architectures":["LlamaForCausalLM"],"hidden_size":64}"#;
    std::fs::write(folder.join("config.json"), config).unwrap();
    std::fs::write(folder.join("README.md"), "---\nlicense: mit\n---\n").unwrap();
}

#[test]
fn a_checkpoint_on_a_hub_is_inspected_by_its_headers_alone() {
    let world = World::new();
    let folder = world.path("large");
    large_model(&folder);
    let near = world.json(&world.url(), &["inspect", folder.to_str().unwrap()]);
    assert_eq!(near["schema"], "weighthouse.inspect/1");
    assert_eq!(near["parameters"]["total"], 720 * 64 * 64);
    assert_eq!((&near["architecture"]["family"], &near["license"]), (&"llama".into(), &"mit".into()));
    assert_eq!(near["warnings"], serde_json::json!([]));

    world.json(&world.url(), &["push", folder.to_str().unwrap(), "admin/large", "--create"]);
    let far = world.json(&world.url(), &["inspect", "hub:admin/large"]);
    assert_eq!(far["tensors"], near["tensors"]);
    // The headers of a model of 100 GB are as long as these; its data is not read, whatever its length.
    let wire = far["wire_bytes"].as_u64().unwrap();
    assert!(wire < 2 << 20, "{wire} bytes");

    let one = world.json(&world.url(), &["inspect", "hub:admin/large@main:model-00002-of-00030.safetensors"]);
    assert_eq!(one["tensors"].as_array().unwrap().len(), 24);
    let hashed = world.json(&world.url(), &["inspect", "hub:admin/large:model-00001-of-00030.safetensors", "--hash"]);
    assert_eq!(hashed["tensors"][0]["sha256"].as_str().unwrap().len(), 64);

    let missing = world.client(&world.url(), &["inspect", "hub:admin/none"]).output().unwrap();
    assert_eq!(code(&missing), 4, "{}", text(&missing.stderr));
}

#[test]
fn the_first_screen_answers_and_shows_no_name_raw() {
    let world = World::new();
    let path = world.path("odd.safetensors");
    let name = "layers.0.\u{1b}[31mred\u{202e}.weight".to_owned();
    shard(&path, &[("embed.weight".to_owned(), [8, 4]), (name, [4, 4])]);
    let run = |arguments: &[&str]| {
        let done = world.program(&[&["inspect", path.to_str().unwrap()], arguments].concat()).output().unwrap();
        assert!(done.status.success(), "{}", text(&done.stderr));
        text(&done.stdout)
    };
    for arguments in [&[][..], &["--tensors", "."], &["--stats"], &["--arch"], &["--hash"]] {
        let shown = run(arguments);
        assert!(!shown.contains(['\u{1b}', '\u{202e}']), "{arguments:?}: {shown:?}");
        assert!(shown.contains("48 in 2 tensors (BF16 48)"), "{arguments:?}: {shown}");
    }
    assert!(run(&["--tensors", "embed"]).contains("embed.weight  BF16   [8, 4]"), "{}", run(&["--tensors", "embed"]));
    assert!(run(&[]).contains("has control characters"));
}

#[test]
fn what_is_no_checkpoint_is_told_with_a_way_out() {
    let world = World::new();
    let text_file = world.path("notes.txt");
    std::fs::write(&text_file, "hello").unwrap();
    for (target, exit, wanted) in [
        (text_file.to_str().unwrap(), 9, "match no known format"),
        ("no/such-folder", 4, "hint: for a repository of a hub write `hub:no/such-folder`"),
        ("hub:a/b/c", 2, "hint: write NAMESPACE/NAME"),
    ] {
        let done = world.program(&["inspect", target]).output().unwrap();
        assert_eq!(code(&done), exit, "{target}: {}", text(&done.stderr));
        assert!(text(&done.stderr).contains(wanted), "{target}: {}", text(&done.stderr));
    }
    let wrong = world.program(&["inspect", text_file.to_str().unwrap(), "--tensors", "("]).output().unwrap();
    assert_eq!(code(&wrong), 2);
}
