//! Where underscores stand for dots: names of modules that have underscores of their own.

/// Words with underscores in the names of modules of diffusers, CLIP and the first Stable Diffusion, and of decoders.
const JOINED: &[&str] = &[
    "down_blocks",
    "up_blocks",
    "mid_block",
    "input_blocks",
    "output_blocks",
    "middle_block",
    "transformer_blocks",
    "single_transformer_blocks",
    "to_q",
    "to_k",
    "to_v",
    "to_out",
    "to_qkv",
    "to_add_out",
    "add_q_proj",
    "add_k_proj",
    "add_v_proj",
    "proj_in",
    "proj_out",
    "proj_mlp",
    "time_emb_proj",
    "time_embedding",
    "time_text_embed",
    "add_embedding",
    "class_embedding",
    "timestep_embedder",
    "guidance_embedder",
    "text_embedder",
    "context_embedder",
    "x_embedder",
    "linear_1",
    "linear_2",
    "conv_shortcut",
    "conv_in",
    "conv_out",
    "norm_out",
    "norm1_context",
    "ff_context",
    "in_layers",
    "out_layers",
    "emb_layers",
    "skip_connection",
    "time_embed",
    "label_emb",
    "text_model",
    "text_projection",
    "self_attn",
    "q_proj",
    "k_proj",
    "v_proj",
    "o_proj",
    "out_proj",
    "token_embedding",
    "position_embedding",
    "layer_norm1",
    "layer_norm2",
    "final_layer_norm",
    "gate_proj",
    "up_proj",
    "down_proj",
    "lm_head",
    "embed_tokens",
];

/// Words without.
const PLAIN: &[&str] = &[
    "attentions",
    "resnets",
    "downsamplers",
    "upsamplers",
    "attn1",
    "attn2",
    "attn",
    "ff",
    "net",
    "proj",
    "conv",
    "conv1",
    "conv2",
    "encoder",
    "decoder",
    "layers",
    "mlp",
    "fc1",
    "fc2",
    "embeddings",
    "op",
    "out",
    "norm1",
    "linear",
    "model",
];

/// The path with dots; `None` when a part of it is no known word.
pub(super) fn dotted(joined: &str) -> Option<String> {
    let parts: Vec<&str> = joined.split('_').collect();
    let mut out: Vec<String> = Vec::new();
    let mut at = 0;
    while let Some(part) = parts.get(at) {
        if !part.is_empty() && part.bytes().all(|byte| byte.is_ascii_digit()) {
            out.push((*part).to_owned());
            at += 1;
            continue;
        }
        // The longest word that begins here; none has more than four parts.
        let joined = (2..=4).rev().find_map(|len| {
            let word = parts.get(at..at + len)?.join("_");
            JOINED.contains(&word.as_str()).then_some((word, len))
        });
        let (word, len) = joined.or_else(|| PLAIN.contains(part).then(|| ((*part).to_owned(), 1)))?;
        out.push(word);
        at += len;
    }
    Some(out.join("."))
}

#[cfg(test)]
mod tests {
    use super::dotted;

    #[test]
    fn known_words_keep_their_underscores() {
        for (joined, path) in [
            (
                "down_blocks_0_attentions_0_transformer_blocks_0_attn1_to_q",
                "down_blocks.0.attentions.0.transformer_blocks.0.attn1.to_q",
            ),
            (
                "mid_block_attentions_0_transformer_blocks_0_attn2_to_out_0",
                "mid_block.attentions.0.transformer_blocks.0.attn2.to_out.0",
            ),
            (
                "up_blocks_1_attentions_2_transformer_blocks_0_ff_net_0_proj",
                "up_blocks.1.attentions.2.transformer_blocks.0.ff.net.0.proj",
            ),
            ("text_model_encoder_layers_11_self_attn_out_proj", "text_model.encoder.layers.11.self_attn.out_proj"),
            ("single_transformer_blocks_3_proj_mlp", "single_transformer_blocks.3.proj_mlp"),
        ] {
            assert_eq!(dotted(joined).as_deref(), Some(path));
        }
        assert_eq!(dotted("some_new_block_0"), None);
        assert_eq!(dotted("down_blocks__0"), None);
    }
}
