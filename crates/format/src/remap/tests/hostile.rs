use serde_json::json;

use super::*;

#[test]
fn what_cannot_be_said_is_refused_with_what_can() {
    let bert = contents(&[
        ("bert.encoder.layer.0.attention.self.query.weight", &[2, 2]),
        ("bert.embeddings.token_type_embeddings.weight", &[2, 2]),
    ]);
    let text = refusal(&bert, NamingKind::Timm);
    assert!(text.contains("hf names of bert can become hf, mlx; not timm"), "{text}");
}

#[test]
fn a_tensor_without_a_name_on_the_other_side_is_named() {
    let mut resnet = vec![("conv1.weight", &[2u64, 3, 1, 1][..]), ("bn1.weight", &[2])];
    resnet.extend([
        ("layer1.0.conv1.weight", &[2u64, 2, 1, 1][..]),
        ("layer1.0.conv2.weight", &[2, 2, 1, 1]),
        ("layer1.0.bn1.weight", &[2]),
    ]);
    resnet.push(("layer1.0.se.fc1.weight", &[2, 2]));
    assert!(refusal(&contents(&resnet), NamingKind::Hf).contains("`layer1.0.se.fc1.weight`"));
}

#[test]
fn names_that_become_one_are_both_named() {
    let twice = contents(&[("a._orig_mod.weight", &[1]), ("a.weight", &[1])]);
    let text = refusal(&twice, NamingKind::Unknown);
    assert!(text.contains("`a._orig_mod.weight`") && text.contains("`a.weight`"), "{text}");
}

#[test]
fn shapes_that_lie_are_errors() {
    let vit = |fused: &[u64], patch: &[u64], positions: &[u64]| {
        contents(&[("pos_embed", positions), ("patch_embed.proj.weight", patch), ("blocks.0.attn.qkv.weight", fused)])
    };
    let (patch, positions): (&[u64], &[u64]) = (&[4, 3, 2, 2], &[1, 4, 4]);
    assert!(run(&vit(&[12, 4], patch, positions), NamingKind::Hf).is_ok());
    for broken in [
        vit(&[13, 4], patch, positions),
        vit(&[], patch, positions),
        vit(&[0, 4], patch, positions),
        vit(&[12, 4], &[4, 3], positions),
        vit(&[12, 4], patch, &[4]),
    ] {
        assert!(run(&broken, NamingKind::Hf).is_err());
    }
}

#[test]
fn extents_that_overflow_are_errors() {
    let huge = 1u64 << 62;
    let lie = |name: &str, shape: &[u64]| Tensor::plain(name, Dtype::F32, shape.to_vec(), Stored::inline(&[]));
    let tree = Contents { tensors: vec![lie("a.query.kernel", &[1, huge, 8])], ..Contents::default() };
    assert!(run(&tree, NamingKind::Hf).is_err());
    let words = vec![lie("a.weight", &[huge, huge]), lie("a.scales", &[huge, 1]), lie("a.biases", &[huge, 1])];
    let mut mlx = Contents { tensors: words, ..Contents::default() };
    mlx.tensors[0].dtype = Dtype::U32;
    mlx.metadata.insert("format".to_owned(), "mlx".into());
    mlx.metadata.insert("quantization".to_owned(), json!({"bits": 4, "group_size": u64::MAX}));
    assert!(run(&mlx, NamingKind::Hf).is_err());
}

#[test]
fn huge_numbers_in_names_cost_nothing() {
    let unet = contents(&[
        ("model.diffusion_model.input_blocks.0.0.weight", &[4, 4, 1, 1]),
        ("model.diffusion_model.input_blocks.999999999.0.in_layers.0.weight", &[4]),
    ]);
    assert!(run(&unet, NamingKind::Diffusers).is_err());
    let vae = contents(&[
        ("model.diffusion_model.input_blocks.1.0.in_layers.0.weight", &[4]),
        ("first_stage_model.decoder.up.999999999.block.0.norm1.weight", &[4]),
    ]);
    assert!(run(&vae, NamingKind::Diffusers).is_err());
    let expert = contents(&[
        ("model.layers.0.block_sparse_moe.experts.0.w1.weight", &[2, 2]),
        ("model.layers.0.block_sparse_moe.experts.999999999.w2.weight", &[2, 2]),
    ]);
    assert!(refusal(&expert, NamingKind::HfMemory).contains("999999999"));
    let lie = Tensor::plain(
        "model.layers.0.mlp.experts.gate_up_proj",
        Dtype::F32,
        vec![u64::MAX / 8, 1, 1],
        Stored::inline(&[]),
    );
    let mut stacked = contents(&[("model.layers.0.mlp.gate.weight", &[2, 2])]);
    stacked.tensors.push(lie);
    assert!(run(&stacked, NamingKind::Hf).is_err());
}

#[test]
fn kept_configurations_of_a_stranger_write_no_other_paths() {
    let mut source = diffusion::single(1, 1, &[true], false);
    let kept = json!({"../evil.json": {"a": 1}, "unet/config.json": [1], "vae/config.json": {"_class_name": "Kept"}});
    source.metadata.insert("weighthouse.diffusers".to_owned(), kept.to_string().into());
    let done = run(&source, NamingKind::Diffusers).unwrap();
    assert!(done.documents.keys().all(|path| !path.contains("..")), "{:?}", done.documents.keys());
    assert_eq!(done.documents["unet/config.json"]["_class_name"], "UNet2DConditionModel");
    assert_eq!(done.documents["vae/config.json"]["_class_name"], "Kept");
}

#[test]
fn any_list_of_names_is_answered() {
    // Pieces of all schemes, joined in all ways: no panic, whatever is asked for.
    let parts = [
        "lora_unet_",
        "unet.",
        "model.diffusion_model.",
        "blocks.0.",
        "layers.0.",
        "x",
        ".lora_A.weight",
        "experts.1.w1.weight",
        "kernel",
        ".alpha",
    ];
    for one in parts {
        for two in parts {
            for three in parts {
                let name = format!("{one}{two}{three}");
                let source = contents(&[(&name, &[2, 2]), ("pos_embed", &[1]), (two, &[])]);
                for kind in NamingKind::ALL {
                    let _ = run(&source, *kind);
                }
            }
        }
    }
}
