use proptest::prelude::*;

use super::*;

/// A single file with `levels` levels of `layers` layers, attention where said, OpenCLIP or CLIP.
pub(super) fn single(levels: u64, layers: u64, attention: &[bool], open: bool) -> Contents {
    let mut names: Vec<(String, Vec<u64>)> = Vec::new();
    let unet = "model.diffusion_model.";
    let residual = |names: &mut Vec<(String, Vec<u64>)>, before: &str| {
        for (part, shape) in [
            ("in_layers.0.weight", &[4u64][..]),
            ("in_layers.2.weight", &[4, 4, 3, 3]),
            ("emb_layers.1.bias", &[4]),
            ("out_layers.0.weight", &[4]),
            ("out_layers.3.weight", &[4, 4, 3, 3]),
            ("skip_connection.weight", &[4, 4, 1, 1]),
        ] {
            names.push((format!("{before}.{part}"), shape.to_vec()));
        }
    };
    let attends = |names: &mut Vec<(String, Vec<u64>)>, before: &str| {
        for part in
            ["norm.weight", "transformer_blocks.0.attn2.to_k.weight", "transformer_blocks.1.ff.net.0.proj.weight"]
        {
            names.push((format!("{before}.{part}"), vec![4, 4]));
        }
        names.push((format!("{before}.proj_in.weight"), if open { vec![4, 4] } else { vec![4, 4, 1, 1] }));
    };
    for (name, shape) in [
        ("input_blocks.0.0.weight", &[4u64, 4, 3, 3][..]),
        ("time_embed.0.weight", &[16, 4]),
        ("time_embed.2.weight", &[16, 16]),
        ("out.0.weight", &[4]),
        ("out.2.weight", &[4, 4, 3, 3]),
    ] {
        names.push((format!("{unet}{name}"), shape.to_vec()));
    }
    for level in 0..levels {
        let with = attention[level as usize % attention.len()];
        for layer in 0..layers {
            let block = 1 + level * (layers + 1) + layer;
            residual(&mut names, &format!("{unet}input_blocks.{block}.0"));
            if with {
                attends(&mut names, &format!("{unet}input_blocks.{block}.1"));
            }
        }
        if level + 1 < levels {
            names.push((format!("{unet}input_blocks.{}.0.op.weight", (level + 1) * (layers + 1)), vec![4, 4, 3, 3]));
        }
        for layer in 0..=layers {
            let block = level * (layers + 1) + layer;
            let with = attention[(levels - 1 - level) as usize % attention.len()];
            residual(&mut names, &format!("{unet}output_blocks.{block}.0"));
            if with {
                attends(&mut names, &format!("{unet}output_blocks.{block}.1"));
            }
            if layer == layers && level + 1 < levels {
                let place = if with { 2 } else { 1 };
                names.push((format!("{unet}output_blocks.{block}.{place}.conv.weight"), vec![4, 4, 3, 3]));
            }
        }
    }
    residual(&mut names, &format!("{unet}middle_block.0"));
    attends(&mut names, &format!("{unet}middle_block.1"));
    residual(&mut names, &format!("{unet}middle_block.2"));
    for side in ["encoder", "decoder"] {
        let vae = format!("first_stage_model.{side}");
        for (part, shape) in [
            ("conv_in.weight", &[4u64, 4, 3, 3][..]),
            ("conv_out.weight", &[4, 4, 3, 3]),
            ("norm_out.bias", &[4]),
            ("mid.block_1.norm1.weight", &[4]),
            ("mid.block_2.conv2.weight", &[4, 4, 3, 3]),
            ("mid.attn_1.norm.weight", &[4]),
            ("mid.attn_1.q.weight", &[4, 4, 1, 1]),
            ("mid.attn_1.proj_out.weight", &[4, 4, 1, 1]),
            ("mid.attn_1.proj_out.bias", &[4]),
        ] {
            names.push((format!("{vae}.{part}"), shape.to_vec()));
        }
        for level in 0..levels {
            let (way, change) = if side == "encoder" { ("down", "downsample") } else { ("up", "upsample") };
            names.push((format!("{vae}.{way}.{level}.block.0.conv1.weight"), vec![4, 4, 3, 3]));
            names.push((format!("{vae}.{way}.{level}.{change}.conv.bias"), vec![4]));
        }
    }
    if open {
        let text = "cond_stage_model.model.";
        for (part, shape) in [
            ("positional_embedding", &[7u64, 4][..]),
            ("token_embedding.weight", &[9, 4]),
            ("ln_final.weight", &[4]),
            ("transformer.resblocks.0.attn.in_proj_weight", &[12, 4]),
            ("transformer.resblocks.0.attn.in_proj_bias", &[12]),
            ("transformer.resblocks.0.attn.out_proj.weight", &[4, 4]),
            ("transformer.resblocks.0.ln_1.weight", &[4]),
            ("transformer.resblocks.0.mlp.c_fc.weight", &[8, 4]),
        ] {
            names.push((format!("{text}{part}"), shape.to_vec()));
        }
    } else {
        let text = "cond_stage_model.transformer.text_model.";
        for (part, shape) in [
            ("embeddings.position_embedding.weight", &[7u64, 4][..]),
            ("embeddings.token_embedding.weight", &[9, 4]),
            ("encoder.layers.0.mlp.fc1.weight", &[8, 4]),
        ] {
            names.push((format!("{text}{part}"), shape.to_vec()));
        }
    }
    let tensors = names.iter().map(|(name, shape)| tensor(name, shape)).collect();
    Contents { tensors, ..Contents::default() }
}

proptest! {
    #![proptest_config(ProptestConfig { cases: 8, ..ProptestConfig::default() })]

    #[test]
    fn single_files_become_folders_and_single_files_again(
        levels in 1u64..5, layers in 1u64..3, attention in prop::collection::vec(any::<bool>(), 1..4), open: bool,
    ) {
        there_and_back(&single(levels, layers, &attention, open), NamingKind::Diffusers);
    }
}

#[test]
fn each_component_has_its_folder_and_configuration() {
    let done = run(&single(2, 1, &[true, false], false), NamingKind::Diffusers).unwrap();
    let folders: Vec<(&str, &str)> = done.components.iter().map(|part| (part.folder.as_str(), part.stem)).collect();
    let stem = "diffusion_pytorch_model";
    assert_eq!(folders, [("text_encoder", "model"), ("unet", stem), ("vae", stem)]);
    let unet = &done.documents["unet/config.json"];
    assert_eq!(unet["down_block_types"], serde_json::json!(["CrossAttnDownBlock2D", "DownBlock2D"]));
    assert_eq!(unet["up_block_types"], serde_json::json!(["UpBlock2D", "CrossAttnUpBlock2D"]));
    assert_eq!(unet["cross_attention_dim"], 4);
    for path in ["model_index.json", "vae/config.json", "text_encoder/config.json", "scheduler/scheduler_config.json"] {
        assert!(done.documents.contains_key(path), "{path}");
    }
}

#[test]
fn points_of_the_autoencoder_are_matrices_in_the_folder() {
    let done = written(&run(&single(1, 1, &[true], false), NamingKind::Diffusers).unwrap());
    let expected: &[u64] = &[4, 4];
    assert_eq!(shapes(&done)["vae.encoder.mid_block.attentions.0.to_q.weight"], expected);
    assert_eq!(shapes(&done)["vae.decoder.mid_block.attentions.0.to_out.0.weight"], expected);
}

#[test]
fn what_training_needs_is_left_out_with_one_note() {
    let mut source = single(1, 1, &[true], false);
    for number in 0..50 {
        source.tensors.push(tensor(&format!("model_ema.diffusion_model{number}"), &[1]));
    }
    source.tensors.push(tensor("alphas_cumprod", &[10]));
    source.tensors.push(tensor("alphas_cumprod_prev", &[10]));
    let done = run(&source, NamingKind::Diffusers).unwrap();
    let notes: Vec<&String> = done.notes.iter().filter(|note| note.contains("model_ema")).collect();
    assert_eq!(notes.len(), 1);
    assert!(notes[0].starts_with("50 tensors are left out"), "{notes:?}");
}

#[test]
fn the_last_layer_of_the_whole_tower_is_left_out() {
    let mut source = single(1, 1, &[true], true);
    for layer in 1..24 {
        source.tensors.push(tensor(&format!("cond_stage_model.model.transformer.resblocks.{layer}.ln_1.weight"), &[4]));
    }
    source.tensors.push(tensor("cond_stage_model.model.text_projection", &[4, 4]));
    let done = run(&source, NamingKind::Diffusers).unwrap();
    assert_eq!(done.documents["text_encoder/config.json"]["num_hidden_layers"], 23);
    assert!(done.notes.iter().any(|note| note.contains("resblocks.23.ln_1.weight")), "{:?}", done.notes);
}
