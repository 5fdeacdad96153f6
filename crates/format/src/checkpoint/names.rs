//! What the names of tensors say: modules, repeated layers, buffers, families.

use crate::dtype::Dtype;
use crate::tensor::Tensor;

/// Last parts of names that are state, not parameters: statistics, indices, constants of a layer.
const BUFFERS: &[&str] = &[
    "running_mean",
    "running_var",
    "num_batches_tracked",
    "position_ids",
    "token_type_ids",
    "inv_freq",
    "original_inv_freq",
    "masked_bias",
    "relative_position_index",
    "attn_mask",
    "causal_mask",
    "attention_mask",
    "rotary_emb",
    "anchors",
    "anchor_points",
    "rope_freqs",
    "pos_enc",
];

/// Whether a tensor is a buffer: something that the model keeps but does not train.
///
/// Files do not say it; names and integer types do, as far as they can.
#[must_use]
pub fn is_buffer(tensor: &Tensor) -> bool {
    let last = tensor.name.rsplit(['.', '/']).next().unwrap_or(&tensor.name);
    let counts = matches!(tensor.dtype, Dtype::Bool | Dtype::I64 | Dtype::U64 | Dtype::Text);
    // GPT-2 kept its causal mask as `attn.bias`, a square of ones.
    let mask = last == "bias" && tensor.name.ends_with("attn.bias") && tensor.shape.len() == 4;
    counts
        || mask
        || BUFFERS.contains(&last)
        || tensor.name.contains("batch_stats/")
        || tensor.name.starts_with("batch_stats.")
}

/// The module that a tensor belongs to: its name without the last part.
#[must_use]
pub fn module_of(name: &str) -> &str {
    name.rfind(['.', '/']).and_then(|at| name.get(..at)).unwrap_or("")
}

/// A name with its first layer number replaced by `*`, and that number; `None` without one.
#[must_use]
pub fn fold_layers(name: &str) -> Option<(String, u64)> {
    let mut at = 0;
    for part in name.split(['.', '/']) {
        if !part.is_empty() && part.len() < 10 && part.bytes().all(|byte| byte.is_ascii_digit()) {
            let number = part.parse().ok()?;
            let (before, after) = (name.get(..at)?, name.get(at + part.len()..)?);
            return Some((format!("{before}*{after}"), number));
        }
        at += part.len() + 1;
    }
    None
}

/// Families, by names that only they have; all parts of one line must occur somewhere among the names.
const FAMILIES: &[(&str, &[&str])] = &[
    ("stable-diffusion", &["model.diffusion_model.input_blocks.", "first_stage_model."]),
    ("stable-diffusion", &["model.diffusion_model.input_blocks."]),
    ("stable-diffusion", &["down_blocks.0.", "mid_block.", "up_blocks.0.", "time_embedding."]),
    ("stable-diffusion-3", &["joint_blocks.0."]),
    ("flux", &["double_blocks.0.", "single_blocks.0."]),
    ("whisper", &["decoder.blocks.0.cross_attn.", "encoder.blocks.0.attn."]),
    ("whisper", &["encoder_attn.", "encoder.conv1.", "encoder.conv2.", "decoder.embed_positions"]),
    ("wav2vec2", &["feature_extractor.conv_layers.0.", "masked_spec_embed"]),
    ("wav2vec2", &["feature_extractor.conv_layers.0.", "encoder.pos_conv_embed."]),
    ("bert", &["encoder.layer.0.attention.self.query", "embeddings.token_type_embeddings"]),
    ("roberta", &["roberta.encoder.layer.0."]),
    ("vit", &["encoder.layer.0.attention.attention.query", "embeddings.patch_embeddings"]),
    ("clip", &["text_model.encoder.layers.0.", "vision_model.encoder.layers.0."]),
    ("t5", &["block.0.layer.0.SelfAttention."]),
    ("gpt2", &["h.0.attn.c_attn."]),
    ("mixtral", &["block_sparse_moe.experts.0."]),
    ("qwen3_moe", &["mlp.experts.", "self_attn.q_norm"]),
    ("qwen2_moe", &["mlp.experts.", "mlp.shared_expert"]),
    ("mixtral", &["mlp.experts.gate_up_proj", "self_attn.q_proj"]),
    ("llama", &["layers.0.self_attn.q_proj", "layers.0.mlp.gate_proj"]),
    ("gpt_neox", &["gpt_neox.layers.0."]),
    ("bert", &["bert/encoder/layer_0/attention/"]),
    ("resnet", &["layer1.0.conv1.", "layer4.0.conv1.", "bn1."]),
    ("resnet", &["resnet.embedder.embedder.convolution.", "resnet.encoder.stages.0."]),
    ("yolo", &["model.0.conv.", "model.22.cv2."]),
    ("yolo", &["model.0.conv.", "model.23.cv2."]),
    ("yolo", &["model.0.conv.", ".dfl.conv."]),
];

/// Numbers of layers that [`FAMILIES`] asks for.
const NUMBERS: [u32; 2] = [22, 23];

/// The family whose names these are.
pub(super) fn family(tensors: &[Tensor]) -> Option<&'static str> {
    // The first layers and experts tell; the others repeat them.
    let repeats = |part: &str| part.parse().is_ok_and(|number: u32| number > 0 && !NUMBERS.contains(&number));
    let first = |name: &&str| !name.split(['.', '/']).any(repeats);
    let names: Vec<&str> = tensors.iter().map(|tensor| tensor.name.as_str()).filter(first).take(20_000).collect();
    let occurs = |wanted: &&str| names.iter().any(|name| name.contains(wanted));
    FAMILIES.iter().find(|(_, parts)| parts.iter().all(occurs)).map(|(family, _)| *family)
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::tensor::Stored;

    #[test]
    fn layers_fold_at_their_first_number() {
        assert_eq!(
            fold_layers("model.layers.12.mlp.experts.3.w1"),
            Some(("model.layers.*.mlp.experts.3.w1".to_owned(), 12))
        );
        assert_eq!(fold_layers("h.0"), Some(("h.*".to_owned(), 0)));
        assert_eq!(fold_layers("conv1.weight"), None);
        assert_eq!(module_of("a.b.weight"), "a.b");
        assert_eq!(module_of("params/Dense_0/kernel"), "params/Dense_0");
        assert_eq!(module_of("x"), "");
    }

    #[test]
    fn mixtures_are_told_by_split_and_by_stacked_experts() {
        let of = |names: &[&str]| {
            let tensor = |name: &&str| Tensor::plain(*name, Dtype::F32, vec![1], Stored::inline(&[]));
            family(&names.iter().map(tensor).collect::<Vec<_>>())
        };
        let attention = "model.layers.0.self_attn.q_proj.weight";
        assert_eq!(of(&[attention, "model.layers.0.block_sparse_moe.experts.0.w1.weight"]), Some("mixtral"));
        assert_eq!(of(&[attention, "model.layers.0.mlp.experts.gate_up_proj"]), Some("mixtral"));
        assert_eq!(of(&["model.layers.1.block_sparse_moe.experts.0.w1.weight"]), None);
        assert_eq!(of(&["model.0.conv.weight", "model.22.cv2.0.0.conv.weight"]), Some("yolo"));
    }

    #[test]
    fn statistics_are_buffers_and_weights_are_not() {
        let tensor = |name: &str, dtype, shape: &[u64]| Tensor::plain(name, dtype, shape.to_vec(), Stored::inline(&[]));
        assert!(is_buffer(&tensor("bn1.running_mean", Dtype::F32, &[4])));
        assert!(is_buffer(&tensor("h.0.attn.bias", Dtype::F32, &[1, 1, 8, 8])));
        assert!(is_buffer(&tensor("embeddings.position_ids", Dtype::I64, &[1, 8])));
        assert!(!is_buffer(&tensor("h.0.attn.bias", Dtype::F32, &[8])));
        assert!(!is_buffer(&tensor("fc.weight", Dtype::F16, &[8])));
    }
}
