use proptest::prelude::*;
use serde_json::json;

use super::*;

const PATHS: &[&str] = &[
    "down_blocks.0.attentions.0.transformer_blocks.0.attn1.to_q",
    "down_blocks.0.attentions.0.transformer_blocks.0.attn2.to_out.0",
    "mid_block.resnets.1.conv1",
    "up_blocks.1.attentions.0.transformer_blocks.0.ff.net.0.proj",
];

/// An adapter of kohya's scripts with these ranks and alphas.
fn kohya(modules: &[(u64, Option<f32>)], dora: bool) -> Contents {
    let mut tensors = Vec::new();
    for ((rank, alpha), path) in modules.iter().zip(PATHS) {
        let before = format!("lora_unet_{}", path.replace('.', "_"));
        let convolution = path.ends_with("conv1");
        let (down, up): (&[u64], &[u64]) =
            if convolution { (&[*rank, 3, 2, 2], &[5, *rank, 1, 1]) } else { (&[*rank, 3], &[5, *rank]) };
        tensors.push(tensor(&format!("{before}.lora_down.weight"), down));
        tensors.push(tensor(&format!("{before}.lora_up.weight"), up));
        if dora {
            let shape: &[u64] = if convolution { &[5, 1, 1, 1] } else { &[5, 1] };
            tensors.push(tensor(&format!("{before}.dora_scale"), shape));
        }
        if let Some(alpha) = alpha {
            let name = format!("{before}.alpha");
            tensors.push(Tensor::plain(name, Dtype::F32, Vec::new(), Stored::inline(&alpha.to_le_bytes())));
        }
    }
    Contents { tensors, ..Contents::default() }
}

proptest! {
    #![proptest_config(ProptestConfig { cases: 16, ..ProptestConfig::default() })]

    #[test]
    fn adapters_go_three_ways_and_back_with_their_strength(
        modules in prop::collection::vec((1u64..5, (1u16..64).prop_map(|alpha| Some(f32::from(alpha) / 4.0))), 1..5),
        dora: bool,
    ) {
        let source = kohya(&modules, dora);
        let peft = there_and_back(&source, NamingKind::Peft);
        let diffusers = written(&run(&peft, NamingKind::DiffusersLora).unwrap());
        let back = written(&run(&diffusers, NamingKind::Kohya).unwrap());
        prop_assert_eq!(of_contents(&back), of_contents(&source));
    }
}

#[test]
fn without_an_alpha_the_strength_is_one() {
    let done = run(&kohya(&[(4, None), (2, None)], false), NamingKind::Peft).unwrap();
    let config = &done.documents["adapter_config.json"];
    let alpha = |path: &str| config["alpha_pattern"].get(path).unwrap_or(&config["lora_alpha"]).as_f64();
    let rank = |path: &str| config["rank_pattern"].get(path).unwrap_or(&config["r"]).as_f64();
    for path in &PATHS[..2] {
        assert_eq!(alpha(path), rank(path), "{config}");
    }
    assert_eq!(config["target_modules"], json!(PATHS[..2]));
}

#[test]
fn root_scaled_adapters_keep_their_strength() {
    let mut source = contents(&[
        ("base_model.model.mid_block.attentions.0.to_q.lora_A.weight", &[4, 3]),
        ("base_model.model.mid_block.attentions.0.to_q.lora_B.weight", &[5, 4]),
    ]);
    source.metadata.insert("adapter".to_owned(), json!({"r": 4, "lora_alpha": 3, "use_rslora": true}));
    let done = written(&run(&source, NamingKind::Kohya).unwrap());
    // 3 / √4 of PEFT is 6 / 4 here.
    let alpha = &of_contents(&done)["lora_unet_mid_block_attentions_0_to_q.alpha"].1;
    assert_eq!(alpha.as_slice(), 6f32.to_le_bytes());
}

#[test]
fn patterns_stand_for_the_ends_of_paths() {
    let names = ["a.to_q", "a.b.to_q", "a.not_to_q"].map(|path| format!("base_model.model.transformer_blocks.{path}"));
    let pairs: Vec<(String, &[u64])> = names
        .iter()
        .flat_map(|name| {
            [(format!("{name}.lora_A.weight"), &[4u64, 3][..]), (format!("{name}.lora_B.weight"), &[5, 4])]
        })
        .collect();
    let pairs: Vec<(&str, &[u64])> = pairs.iter().map(|(name, shape)| (name.as_str(), *shape)).collect();
    let mut source = contents(&pairs);
    let pattern = json!({"^transformer_blocks\\.a\\.to_q": 8, "b.to_q": 2});
    source.metadata.insert("adapter".to_owned(), json!({"r": 4, "lora_alpha": 1, "alpha_pattern": pattern}));
    let done = of_contents(&written(&run(&source, NamingKind::Kohya).unwrap()));
    for (path, alpha) in [("a_to_q", 8f32), ("a_b_to_q", 2.0), ("a_not_to_q", 1.0)] {
        assert_eq!(done[&format!("lora_transformer_transformer_blocks_{path}.alpha")].1, alpha.to_le_bytes(), "{path}");
    }
}

#[test]
fn underscores_that_no_word_explains_need_the_base() {
    let names = ["lora_unet_my_new_block_to_q.lora_down.weight", "lora_unet_my_new_block_to_q.lora_up.weight"];
    let source = contents(&[(names[0], &[1, 2]), (names[1], &[2, 1])]);
    assert!(refusal(&source, NamingKind::Peft).contains("give the base model"));
    let (folder, limits) = (MemoryFolder::default(), Limits::default());
    let base = [tensor("unet.my_new.block.to_q.weight", &[2, 2])];
    let input = Input { contents: &source, folder: &folder, limits: &limits, base: Some(&base) };
    let done = written(&remap(&input, NamingKind::DiffusersLora).unwrap());
    assert!(shapes(&done).contains_key("unet.my_new.block.to_q.lora_A.weight"));
}

#[test]
fn numbered_blocks_of_xl_have_the_names_of_levels() {
    let path = "lora_unet_input_blocks_4_1_transformer_blocks_0_attn1_to_k";
    let names = [format!("{path}.lora_down.weight"), format!("{path}.lora_up.weight")];
    let done =
        written(&run(&contents(&[(&names[0], &[1, 2]), (&names[1], &[2, 1])]), NamingKind::DiffusersLora).unwrap());
    assert!(
        shapes(&done).contains_key("unet.down_blocks.1.attentions.0.transformer_blocks.0.attn1.to_k.lora_A.weight")
    );
}

#[test]
fn first_adapters_of_diffusers_are_read() {
    let before = "unet.mid_block.attentions.0.transformer_blocks.0.attn1.processor.to_out_lora";
    let names = [format!("{before}.down.weight"), format!("{before}.up.weight")];
    let mut source = contents(&[(&names[0], &[1, 2]), (&names[1], &[2, 1])]);
    source.tensors.push(tensor(
        "text_encoder.text_model.encoder.layers.0.self_attn.q_proj.lora_linear_layer.down.weight",
        &[1, 2],
    ));
    source
        .tensors
        .push(tensor("text_encoder.text_model.encoder.layers.0.self_attn.q_proj.lora_linear_layer.up.weight", &[2, 1]));
    source.tensors.push(tensor("unet.mid_block.resnets.0.conv1.lora.down.weight", &[1, 2, 3, 3]));
    source.tensors.push(tensor("unet.mid_block.resnets.0.conv1.lora.up.weight", &[2, 1, 1, 1]));
    let done = written(&run(&source, NamingKind::Kohya).unwrap());
    assert!(
        shapes(&done)
            .contains_key("lora_unet_mid_block_attentions_0_transformer_blocks_0_attn1_to_out_0.lora_up.weight")
    );
    assert!(shapes(&done).contains_key("lora_te_text_model_encoder_layers_0_self_attn_q_proj.alpha"));
}

#[test]
fn halves_of_a_module_and_strange_parts_are_named() {
    let path = "lora_unet_mid_block_attentions_0_proj_in";
    let half = format!("{path}.lora_down.weight");
    assert!(refusal(&contents(&[(&half, &[1, 2])]), NamingKind::Peft).contains("up matrix"));
    let other = format!("{path}.hada_w1_a");
    assert!(refusal(&contents(&[(&other, &[1, 2])]), NamingKind::Peft).contains("hada_w1_a"));
    let up = format!("{path}.lora_up.weight");
    assert!(refusal(&contents(&[(&half, &[1, 2]), (&up, &[2, 3])]), NamingKind::Peft).contains("do not fit"));
    let alpha = format!("{path}.alpha");
    assert!(
        refusal(&contents(&[(&half, &[1, 2]), (&up, &[2, 1]), (&alpha, &[3])]), NamingKind::Peft)
            .contains("one number")
    );
}
