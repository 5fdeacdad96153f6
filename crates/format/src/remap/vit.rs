//! Vision transformers: transformers and timm, whose query, key and value are one matrix.

use serde_json::{Value, json};

use crate::error::FormatError;

use super::resnet::labels;
use super::rules::{Made, Table, Way, refused};
use super::{Draft, Input, count, shape_of};

/// Names in timm by width and depth.
const KNOWN: &[(&str, u64, u64)] =
    &[("tiny", 192, 12), ("small", 384, 12), ("base", 768, 12), ("large", 1024, 24), ("huge", 1280, 32)];

/// Left timm, right transformers; `before` is `vit.` where there is a head.
fn table(before: &str) -> Table {
    let mut table = Table::default();
    let layer = format!("{before}encoder.layer.#");
    let attention = |name: &str| format!("{layer}.attention.attention.{name}.*").into();
    table
        .same("cls_token", format!("{before}embeddings.cls_token"))
        .same("pos_embed", format!("{before}embeddings.position_embeddings"))
        .same("mask_token", format!("{before}embeddings.mask_token"))
        .same("patch_embed.proj.*", format!("{before}embeddings.patch_embeddings.projection.*"))
        .same("blocks.#.norm1.*", format!("{layer}.layernorm_before.*"))
        .same("blocks.#.norm2.*", format!("{layer}.layernorm_after.*"))
        .fused("blocks.#.attn.qkv.*", [attention("query"), attention("key"), attention("value")])
        .same("blocks.#.attn.proj.*", format!("{layer}.attention.output.dense.*"))
        .same("blocks.#.mlp.fc1.*", format!("{layer}.intermediate.dense.*"))
        .same("blocks.#.mlp.fc2.*", format!("{layer}.output.dense.*"))
        .same("norm.*", format!("{before}layernorm.*"))
        .same("head.*", "classifier.*")
        .drop(Way::Backward, format!("{before}pooler.*"), "timm pools the class token without a layer");
    table
}

/// From timm to transformers.
pub(super) fn to_hf(input: &Input<'_>, made: Vec<Made>, draft: &mut Draft) -> Result<(), FormatError> {
    let sizes = Sizes::of(&made)?;
    let stated = &input.contents.architecture.config;
    let heads = stated.get("model_args").and_then(|arguments| arguments.get("num_heads")).and_then(Value::as_u64);
    let heads = heads.unwrap_or_else(|| {
        // All published ones but the huge one have 64 numbers to a head.
        let heads = if sizes.width == 1280 { 16 } else { (sizes.width / 64).max(1) };
        if !sizes.width.is_multiple_of(64) {
            draft.notes.push(format!("the number of heads is not in the weights; {heads} is assumed"));
        }
        heads
    });
    let classifies = shape_of(&made, "head.weight").is_some();
    let made = table(if classifies { "vit." } else { "" }).apply(Way::Forward, made, &mut draft.notes)?;
    let mut config = json!({
        "model_type": "vit",
        "architectures": [if classifies { "ViTForImageClassification" } else { "ViTModel" }],
        "hidden_size": sizes.width,
        "num_hidden_layers": sizes.depth,
        "num_attention_heads": heads,
        "intermediate_size": sizes.inner,
        "image_size": sizes.image,
        "patch_size": sizes.patch,
        "num_channels": sizes.channels,
        "hidden_act": "gelu",
        "layer_norm_eps": 1e-6,
        "qkv_bias": sizes.bias,
        "hidden_dropout_prob": 0.0,
        "attention_probs_dropout_prob": 0.0,
    });
    if let Value::Object(map) = &mut config
        && let Some(classes) = sizes.classes
    {
        map.extend(labels(classes));
    }
    draft.documents.insert("config.json".to_owned(), config);
    draft.whole(made);
    Ok(())
}

/// From transformers to timm.
pub(super) fn to_timm(input: &Input<'_>, made: Vec<Made>, draft: &mut Draft) -> Result<(), FormatError> {
    let before = if made.iter().any(|made| made.tensor.name.starts_with("vit.")) { "vit." } else { "" };
    let made = table(before).apply(Way::Backward, made, &mut draft.notes)?;
    let sizes = Sizes::of(&made)?;
    let known = KNOWN.iter().find(|(_, width, depth)| (*width, *depth) == (sizes.width, sizes.depth));
    let size = known.map_or("base", |(name, _, _)| name);
    let mut config = json!({
        "architecture": format!("vit_{size}_patch{}_{}", sizes.patch, sizes.image),
        "num_classes": sizes.classes.unwrap_or(0),
        "num_features": sizes.width,
        "global_pool": "token",
        "pretrained_cfg": {
            "custom_load": false, "input_size": [sizes.channels, sizes.image, sizes.image], "fixed_input_size": true,
            "interpolation": "bicubic", "crop_pct": 0.9, "crop_mode": "center",
            "mean": [0.5, 0.5, 0.5], "std": [0.5, 0.5, 0.5],
            "num_classes": sizes.classes.unwrap_or(0), "first_conv": "patch_embed.proj", "classifier": "head",
        },
    });
    if let Value::Object(map) = &mut config
        && known.is_none()
    {
        // The name stands for a published size; the arguments say the real one.
        map.insert("architecture".to_owned(), json!("vit_base_patch16_224"));
        let ratio = sizes.inner as f64 / sizes.width.max(1) as f64;
        let heads = input.contents.architecture.config.get("num_attention_heads").and_then(Value::as_u64);
        let arguments = json!({
            "embed_dim": sizes.width, "depth": sizes.depth, "mlp_ratio": ratio,
            "num_heads": heads.unwrap_or((sizes.width / 64).max(1)), "patch_size": sizes.patch, "img_size": sizes.image,
        });
        map.insert("model_args".to_owned(), arguments);
    }
    draft.documents.insert("config.json".to_owned(), config);
    draft.whole(made);
    Ok(())
}

/// Sizes by the names and shapes of timm.
struct Sizes {
    width: u64,
    depth: u64,
    inner: u64,
    patch: u64,
    image: u64,
    channels: u64,
    bias: bool,
    classes: Option<u64>,
}

impl Sizes {
    fn of(made: &[Made]) -> Result<Self, FormatError> {
        let Some([width, channels, patch, _]) = shape_of(made, "patch_embed.proj.weight") else {
            return Err(refused("`patch_embed.proj.weight` is no convolution of patches, or is not there".to_owned()));
        };
        let Some([_, tokens, _]) = shape_of(made, "pos_embed") else {
            return Err(refused("`pos_embed` has not three axes, or is not there".to_owned()));
        };
        let side = tokens.saturating_sub(u64::from(shape_of(made, "cls_token").is_some())).isqrt();
        let inner = shape_of(made, "blocks.0.mlp.fc1.weight").and_then(|shape| shape.first().copied()).unwrap_or(0);
        Ok(Self {
            width: *width,
            depth: count(made, "blocks.#"),
            inner,
            patch: *patch,
            image: side.saturating_mul(*patch),
            channels: *channels,
            bias: shape_of(made, "blocks.0.attn.qkv.bias").is_some(),
            classes: shape_of(made, "head.weight").and_then(|shape| shape.first().copied()),
        })
    }
}
