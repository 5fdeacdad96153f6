use proptest::prelude::*;

use super::*;

/// A ResNet of torchvision.
fn resnet(depths: &[u64], bottleneck: bool, head: bool) -> Contents {
    let mut tensors = vec![tensor("conv1.weight", &[4, 3, 2, 2])];
    let norm = |module: &str| {
        ["weight", "bias", "running_mean", "running_var"].map(|leaf| tensor(&format!("{module}.{leaf}"), &[4]))
    };
    tensors.extend(norm("bn1"));
    for (stage, depth) in depths.iter().enumerate() {
        for block in 0..*depth {
            let before = format!("layer{}.{block}", stage + 1);
            for number in 1..=if bottleneck { 3 } else { 2 } {
                tensors.push(tensor(&format!("{before}.conv{number}.weight"), &[4, 4, 1, 1]));
                tensors.extend(norm(&format!("{before}.bn{number}")));
            }
            if block == 0 {
                tensors.push(tensor(&format!("{before}.downsample.0.weight"), &[4, 4, 1, 1]));
                tensors.extend(norm(&format!("{before}.downsample.1")));
            }
        }
    }
    if head {
        tensors.extend([tensor("fc.weight", &[5, 4]), tensor("fc.bias", &[5])]);
    }
    Contents { tensors, ..Contents::default() }
}

/// A vision transformer of timm.
fn vit(layers: u64, width: u64) -> Contents {
    let mut tensors = vec![
        tensor("cls_token", &[1, 1, width]),
        tensor("pos_embed", &[1, 5, width]),
        tensor("patch_embed.proj.weight", &[width, 3, 2, 2]),
        tensor("patch_embed.proj.bias", &[width]),
    ];
    for layer in 0..layers {
        let parts: [(&str, &[u64]); 8] = [
            ("norm1.weight", &[width]),
            ("attn.qkv.weight", &[3 * width, width]),
            ("attn.qkv.bias", &[3 * width]),
            ("attn.proj.weight", &[width, width]),
            ("norm2.bias", &[width]),
            ("mlp.fc1.weight", &[2 * width, width]),
            ("mlp.fc2.weight", &[width, 2 * width]),
            ("mlp.fc2.bias", &[width]),
        ];
        tensors.extend(parts.map(|(part, shape)| tensor(&format!("blocks.{layer}.{part}"), shape)));
    }
    tensors.extend([tensor("norm.weight", &[width]), tensor("head.weight", &[5, width])]);
    Contents { tensors, ..Contents::default() }
}

/// A Whisper of openai-whisper.
fn whisper(layers: u64, width: u64) -> Contents {
    let mut tensors = vec![
        tensor("encoder.conv1.weight", &[width, 3, 3]),
        tensor("encoder.conv2.bias", &[width]),
        tensor("encoder.positional_embedding", &[6, width]),
        tensor("encoder.ln_post.weight", &[width]),
        tensor("decoder.token_embedding.weight", &[11, width]),
        tensor("decoder.positional_embedding", &[7, width]),
        tensor("decoder.ln.bias", &[width]),
    ];
    for side in ["encoder", "decoder"] {
        for layer in 0..layers {
            let before = format!("{side}.blocks.{layer}");
            for attention in if side == "encoder" { &["attn"][..] } else { &["attn", "cross_attn"] } {
                for part in ["query", "key", "value", "out"] {
                    tensors.push(tensor(&format!("{before}.{attention}.{part}.weight"), &[width, width]));
                }
                tensors.push(tensor(&format!("{before}.{attention}_ln.weight"), &[width]));
            }
            tensors.push(tensor(&format!("{before}.mlp.0.weight"), &[4 * width, width]));
            tensors.push(tensor(&format!("{before}.mlp.2.weight"), &[width, 4 * width]));
            tensors.push(tensor(&format!("{before}.mlp_ln.weight"), &[width]));
        }
    }
    Contents { tensors, ..Contents::default() }
}

/// Experts in the names of files.
fn experts(family: &str, layers: u64, experts: u64) -> Contents {
    let (block, parts) = if family == "mixtral" {
        ("block_sparse_moe", ["w1", "w2", "w3"])
    } else {
        ("mlp", ["gate_proj", "down_proj", "up_proj"])
    };
    let mut tensors = vec![tensor("model.embed_tokens.weight", &[5, 4])];
    for layer in 0..layers {
        let before = format!("model.layers.{layer}");
        tensors.push(tensor(&format!("{before}.self_attn.q_norm.weight"), &[2]));
        tensors.push(tensor(&format!("{before}.{block}.gate.weight"), &[experts, 4]));
        for expert in 0..experts {
            for (number, part) in parts.iter().enumerate() {
                let shape: &[u64] = if number == 1 { &[4, 3] } else { &[3, 4] };
                tensors.push(tensor(&format!("{before}.{block}.experts.{expert}.{part}.weight"), shape));
            }
        }
    }
    let mut contents = Contents { tensors, ..Contents::default() };
    contents.architecture.family = Some(family.to_owned());
    contents
}

proptest! {
    #![proptest_config(ProptestConfig { cases: 12, ..ProptestConfig::default() })]

    #[test]
    fn resnets_go_to_transformers_and_back(
        depths in prop::collection::vec(1u64..3, 1..5), bottleneck: bool, head: bool,
    ) {
        let there = there_and_back(&resnet(&depths, bottleneck, head), NamingKind::Hf);
        let known = |name: &str| name.starts_with("resnet.") || name.starts_with("classifier.1.");
        let all = there.tensors.iter().all(|tensor| known(&tensor.name));
        prop_assert!(all);
    }

    #[test]
    fn vision_transformers_go_to_transformers_and_back(layers in 1u64..4, width in 1u64..5) {
        let mut source = vit(layers, width);
        source.formats.push(crate::identity::Format::Timm);
        let there = there_and_back(&source, NamingKind::Hf);
        let expected: &[u64] = &[width, width];
        prop_assert_eq!(shapes(&there)["vit.encoder.layer.0.attention.attention.key.weight"], expected);
    }

    #[test]
    fn whispers_go_to_transformers_and_back(layers in 1u64..4, width in 1u64..5) {
        there_and_back(&whisper(layers, width), NamingKind::Hf);
    }

    #[test]
    fn experts_are_stacked_and_split_again(layers in 1u64..3, number in 1u64..12, family in 0usize..3) {
        let source = experts(["mixtral", "qwen2_moe", "qwen3_moe"][family], layers, number);
        let mut there = run(&source, NamingKind::HfMemory).map(|there| written(&there)).unwrap();
        let expected: &[u64] = &[number, 6, 4];
        prop_assert_eq!(shapes(&there)["model.layers.0.mlp.experts.gate_up_proj"], expected);
        there.architecture.family = source.architecture.family.clone();
        let back = written(&run(&there, NamingKind::Hf).unwrap());
        prop_assert_eq!(of_contents(&back), of_contents(&source));
    }
}

#[test]
fn query_key_and_value_are_thirds_in_this_order() {
    let source = vit(1, 2);
    let there = written(&run(&source, NamingKind::Hf).unwrap());
    let (fused, found) = (of_contents(&source), of_contents(&there));
    let parts = ["query", "key", "value"].map(|part| format!("vit.encoder.layer.0.attention.attention.{part}.weight"));
    let joined: Vec<u8> = parts.iter().flat_map(|part| found[part].1.clone()).collect();
    assert_eq!(joined, fused["blocks.0.attn.qkv.weight"].1);
}

#[test]
fn sizes_of_a_resnet_stand_in_its_configuration() {
    let there = run(&resnet(&[2, 1], true, true), NamingKind::Hf).unwrap();
    let config = &there.documents["config.json"];
    assert_eq!(config["depths"], serde_json::json!([2, 1]));
    assert_eq!(config["layer_type"], "bottleneck");
    assert_eq!(config["id2label"].as_object().map(serde_json::Map::len), Some(5));
}

#[test]
fn dims_of_a_whisper_stand_beside_its_weights() {
    let there = written(&run(&whisper(2, 3), NamingKind::Hf).unwrap());
    let back = run(&there, NamingKind::OpenAiWhisper).unwrap();
    let envelope = back.envelope.unwrap();
    assert_eq!(envelope.key, "model_state_dict");
    let dims = &envelope.beside["dims"];
    for (key, value) in [("n_mels", 3), ("n_audio_ctx", 6), ("n_audio_layer", 2), ("n_vocab", 11), ("n_text_ctx", 7)] {
        assert_eq!(dims[key], value, "{key}");
    }
}

#[test]
fn a_head_that_is_no_copy_is_not_lost_silently() {
    let mut there = written(&run(&whisper(1, 2), NamingKind::Hf).unwrap());
    there.tensors.push(tensor("proj_out.weight", &[11, 2]));
    assert!(refusal(&there, NamingKind::OpenAiWhisper).contains("`proj_out.weight`"));
    let embedding = there.tensors.iter().find(|tensor| tensor.name.ends_with("embed_tokens.weight")).unwrap().clone();
    there.tensors.last_mut().unwrap().pieces = embedding.pieces;
    let done = run(&there, NamingKind::OpenAiWhisper).unwrap();
    assert!(done.notes.iter().any(|note| note.contains("`proj_out.weight` is left out")), "{:?}", done.notes);
}

#[test]
fn a_gap_among_experts_is_named() {
    let mut source = experts("mixtral", 1, 3);
    source.tensors.retain(|tensor| !tensor.name.contains("experts.1."));
    assert!(refusal(&source, NamingKind::HfMemory).contains("expert 1"));
    let mut source = experts("mixtral", 1, 3);
    source.tensors.retain(|tensor| !tensor.name.contains("experts.1.w3"));
    assert!(refusal(&source, NamingKind::HfMemory).contains("experts.1.w3.weight"));
}

#[test]
fn names_of_wrappers_come_off() {
    let bert = [
        ("encoder.layer.0.attention.self.query.weight", &[2u64, 2][..]),
        ("embeddings.token_type_embeddings.weight", &[2, 2]),
    ];
    for wrap in ["module.{}", "module._orig_mod.{}", "model.{}", "state_dict.model.{}", "_fsdp_wrapped_module.{}"] {
        let names: Vec<String> = bert.iter().map(|(name, _)| wrap.replace("{}", name)).collect();
        let wrapped: Vec<(&str, &[u64])> =
            names.iter().zip(bert).map(|(name, (_, shape))| (name.as_str(), shape)).collect();
        let done = written(&run(&contents(&wrapped), NamingKind::Hf).unwrap());
        assert_eq!(
            shapes(&done).into_keys().collect::<Vec<_>>(),
            bert.map(|(name, _)| name).into_iter().rev().collect::<Vec<_>>()
        );
    }
}

#[test]
fn what_a_model_calls_itself_stays() {
    // Decoders and YOLO begin with `model.` by themselves.
    let decoder = contents(&[
        ("model.layers.0.self_attn.q_proj.weight", &[2, 2]),
        ("model.layers.0.mlp.gate_proj.weight", &[2, 2]),
    ]);
    assert_eq!(shapes(&written(&run(&decoder, NamingKind::Hf).unwrap())), shapes(&decoder));
    let yolo = contents(&[("model.0.conv.weight", &[2, 2, 1, 1]), ("model.22.dfl.conv.weight", &[1, 2, 1, 1])]);
    assert_eq!(naming(&yolo).kind, NamingKind::Unknown);
    assert_eq!(shapes(&written(&run(&yolo, NamingKind::Unknown).unwrap())), shapes(&yolo));
}

#[test]
fn every_naming_can_stay_what_it_is_and_is_spelled_both_ways() {
    for kind in NamingKind::ALL {
        assert_eq!(NamingKind::parse(kind.as_str()), Some(*kind));
        let naming = super::super::Naming { kind: *kind, family: None };
        assert!(targets(&naming).contains(kind), "{kind}");
    }
}
