//! Configurations of a pipeline's components, from the shapes of their tensors.

use std::collections::BTreeMap;

use serde_json::{Map, Value, json};

use crate::error::FormatError;

use super::{Version, extent, unet, vae};
use crate::remap::count;
use crate::remap::rules::Made;
use crate::remap::shape_of;

/// Release of diffusers whose keys these are.
const DIFFUSERS: &str = "0.30.0";

/// All documents, by path; `made` has the names of the folder, component first.
pub(super) fn all(
    made: &[Made],
    version: Version,
    notes: &mut Vec<String>,
) -> Result<BTreeMap<String, Value>, FormatError> {
    let any = |begin: &str| made.iter().any(|made| made.tensor.name.starts_with(begin));
    let mut found = BTreeMap::from([("unet/config.json".to_owned(), unet_config(made, version, notes)?)]);
    if any("vae.") {
        found.insert("vae/config.json".to_owned(), vae_config(made, version, notes)?);
    }
    for folder in ["text_encoder", "text_encoder_2"] {
        if any(&format!("{folder}.")) {
            found.insert(format!("{folder}/config.json"), text_config(made, folder, version)?);
        }
    }
    found.insert("scheduler/scheduler_config.json".to_owned(), scheduler(version, notes));
    found.insert("model_index.json".to_owned(), index(version, &any));
    Ok(found)
}

fn unet_config(made: &[Made], version: Version, notes: &mut Vec<String>) -> Result<Value, FormatError> {
    let plan = unet::Plan::of_folder(made)?;
    let mut widths = Vec::new();
    for level in 0..plan.down.len() {
        widths.push(extent(made, &format!("unet.down_blocks.{level}.resnets.0.conv1.weight"), 0)?);
    }
    let attention = made.iter().find(|made| made.tensor.name.ends_with(".attn2.to_k.weight"));
    let context = attention.and_then(|made| made.tensor.shape.get(1)).copied();
    let linear = made.iter().any(|made| made.tensor.name.ends_with(".proj_in.weight") && made.tensor.shape.len() == 2);
    let heads =
        if linear { json!(widths.iter().map(|width| (width / 64).max(1)).collect::<Vec<_>>()) } else { json!(8) };
    let depth =
        |level: usize| count(made, &format!("unet.down_blocks.{level}.attentions.0.transformer_blocks.#")).max(1);
    let depths: Vec<u64> = (0..plan.down.len()).map(depth).collect();
    let depths = if depths.iter().all(|depth| *depth == 1) { json!(1) } else { json!(depths) };
    let kinds = |attends: &[bool], way: &str| -> Vec<String> {
        attends.iter().map(|attends| format!("{}{way}Block2D", if *attends { "CrossAttn" } else { "" })).collect()
    };
    let mut config = json!({
        "_class_name": "UNet2DConditionModel",
        "_diffusers_version": DIFFUSERS,
        "sample_size": match version { Version::One => 64, Version::Two => 96, Version::Xl => 128 },
        "in_channels": extent(made, "unet.conv_in.weight", 1)?,
        "out_channels": extent(made, "unet.conv_out.weight", 0)?,
        "center_input_sample": false,
        "flip_sin_to_cos": true,
        "freq_shift": 0,
        "down_block_types": kinds(&plan.down, "Down"),
        "up_block_types": kinds(&plan.up, "Up"),
        "block_out_channels": widths,
        "layers_per_block": plan.layers,
        "attention_head_dim": heads,
        "use_linear_projection": linear,
        "transformer_layers_per_block": depths,
        "norm_num_groups": groups(&widths, "unet", notes),
        "norm_eps": 1e-5,
        "act_fn": "silu",
        "downsample_padding": 1,
        "mid_block_scale_factor": 1,
    });
    if let Value::Object(map) = &mut config {
        if let Some(context) = context {
            map.insert("cross_attention_dim".to_owned(), context.into());
        }
        if let Some([_, into]) = shape_of(made, "unet.add_embedding.linear_1.weight") {
            // Six numbers of sizes and crops, each embedded, and the pooled text.
            let pooled = shape_of(made, "text_encoder_2.text_projection.weight").and_then(|shape| shape.first());
            let width = pooled.and_then(|pooled| into.checked_sub(*pooled)).filter(|rest| rest.is_multiple_of(6));
            map.insert("addition_embed_type".to_owned(), "text_time".into());
            map.insert("addition_time_embed_dim".to_owned(), width.map_or(256, |rest| rest / 6).into());
            map.insert("projection_class_embeddings_input_dim".to_owned(), (*into).into());
        }
        if let Some([_, into]) = shape_of(made, "unet.class_embedding.linear_1.weight") {
            map.insert("class_embed_type".to_owned(), "projection".into());
            map.insert("projection_class_embeddings_input_dim".to_owned(), (*into).into());
        }
        if let Some([classes, _]) = shape_of(made, "unet.class_embedding.weight") {
            map.insert("num_class_embeds".to_owned(), (*classes).into());
        }
    }
    Ok(config)
}

fn vae_config(made: &[Made], version: Version, notes: &mut Vec<String>) -> Result<Value, FormatError> {
    let levels = vae::Plan::of_folder(made)?.levels;
    let mut widths = Vec::new();
    for level in 0..levels {
        widths.push(extent(made, &format!("vae.encoder.down_blocks.{level}.resnets.0.conv1.weight"), 0)?);
    }
    let kinds = |name: &str| (0..levels).map(|_| name.to_owned()).collect::<Vec<_>>();
    Ok(json!({
        "_class_name": "AutoencoderKL",
        "_diffusers_version": DIFFUSERS,
        "in_channels": extent(made, "vae.encoder.conv_in.weight", 1)?,
        "out_channels": extent(made, "vae.decoder.conv_out.weight", 0)?,
        "latent_channels": extent(made, "vae.decoder.conv_in.weight", 1)?,
        "down_block_types": kinds("DownEncoderBlock2D"),
        "up_block_types": kinds("UpDecoderBlock2D"),
        "block_out_channels": widths,
        "layers_per_block": count(made, "vae.encoder.down_blocks.0.resnets.#"),
        "norm_num_groups": groups(&widths, "vae", notes),
        "act_fn": "silu",
        "sample_size": match version { Version::One => 512, Version::Two => 768, Version::Xl => 1024 },
        "scaling_factor": if version == Version::Xl { 0.130_25 } else { 0.182_15 },
        "use_quant_conv": shape_of(made, "vae.quant_conv.weight").is_some(),
        "use_post_quant_conv": shape_of(made, "vae.post_quant_conv.weight").is_some(),
    }))
}

fn text_config(made: &[Made], folder: &str, version: Version) -> Result<Value, FormatError> {
    let name = |rest: &str| format!("{folder}.text_model.{rest}");
    let width = extent(made, &name("embeddings.token_embedding.weight"), 1)?;
    let projection = shape_of(made, &format!("{folder}.text_projection.weight"));
    let open = version == Version::Two || folder == "text_encoder_2";
    Ok(json!({
        "model_type": "clip_text_model",
        "architectures": [if projection.is_some() { "CLIPTextModelWithProjection" } else { "CLIPTextModel" }],
        "vocab_size": extent(made, &name("embeddings.token_embedding.weight"), 0)?,
        "max_position_embeddings": extent(made, &name("embeddings.position_embedding.weight"), 0)?,
        "hidden_size": width,
        "intermediate_size": extent(made, &name("encoder.layers.0.mlp.fc1.weight"), 0)?,
        "num_hidden_layers": count(made, &name("encoder.layers.#")),
        "num_attention_heads": (width / 64).max(1),
        "projection_dim": projection.and_then(|shape| shape.first().copied()).unwrap_or(width),
        "hidden_act": if open { "gelu" } else { "quick_gelu" },
        "layer_norm_eps": 1e-5,
        "attention_dropout": 0.0,
        "initializer_factor": 1.0,
        "initializer_range": 0.02,
        // The published configurations say these, and transformers pools by them as they did.
        "bos_token_id": 0,
        "eos_token_id": 2,
        "pad_token_id": 1,
    }))
}

fn scheduler(version: Version, notes: &mut Vec<String>) -> Value {
    let class = if version == Version::Xl { "EulerDiscreteScheduler" } else { "PNDMScheduler" };
    if version == Version::Two {
        notes.push("the 768-pixel model of Stable Diffusion 2 is assumed, which predicts velocity".to_owned());
    }
    let mut config = json!({
        "_class_name": class,
        "_diffusers_version": DIFFUSERS,
        "beta_start": 0.000_85,
        "beta_end": 0.012,
        "beta_schedule": "scaled_linear",
        "num_train_timesteps": 1000,
        "steps_offset": 1,
        "trained_betas": null,
        "prediction_type": if version == Version::Two { "v_prediction" } else { "epsilon" },
        "timestep_spacing": "leading",
    });
    if let Value::Object(map) = &mut config
        && version != Version::Xl
    {
        map.insert("set_alpha_to_one".to_owned(), false.into());
        map.insert("skip_prk_steps".to_owned(), true.into());
    }
    config
}

fn index(version: Version, any: &impl Fn(&str) -> bool) -> Value {
    let xl = version == Version::Xl;
    let none = json!([null, null]);
    let mut index = Map::new();
    let mut put = |key: &str, value: Value| index.insert(key.to_owned(), value);
    put("_class_name", if xl { "StableDiffusionXLPipeline" } else { "StableDiffusionPipeline" }.into());
    put("_diffusers_version", DIFFUSERS.into());
    put("unet", json!(["diffusers", "UNet2DConditionModel"]));
    put("vae", if any("vae.") { json!(["diffusers", "AutoencoderKL"]) } else { none.clone() });
    put("text_encoder", if any("text_encoder.") { json!(["transformers", "CLIPTextModel"]) } else { none.clone() });
    put("tokenizer", json!(["transformers", "CLIPTokenizer"]));
    put("scheduler", json!(["diffusers", if xl { "EulerDiscreteScheduler" } else { "PNDMScheduler" }]));
    if xl {
        put("text_encoder_2", json!(["transformers", "CLIPTextModelWithProjection"]));
        put("tokenizer_2", json!(["transformers", "CLIPTokenizer"]));
        put("force_zeros_for_empty_prompt", true.into());
    } else {
        put("safety_checker", none.clone());
        put("requires_safety_checker", false.into());
    }
    put("feature_extractor", none.clone());
    put("image_encoder", none);
    Value::Object(index)
}

/// Groups of the normalisations: 32 in all published models, fewer where the widths do not allow it.
fn groups(widths: &[u64], folder: &str, notes: &mut Vec<String>) -> u64 {
    let common = widths.iter().copied().fold(32, gcd).max(1);
    if common != 32 {
        notes.push(format!(
            "the groups of the normalisations of `{folder}` are not in the weights; {common} are assumed"
        ));
    }
    common
}

fn gcd(mut one: u64, mut other: u64) -> u64 {
    while other != 0 {
        (one, other) = (other, one % other);
    }
    one
}
