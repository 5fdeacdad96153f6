//! What the metadata says of the model.

use serde_json::Value;

use crate::contents::Contents;
use crate::gguf::types::file_type;

/// Sizes: words of transformers, and the keys that follow the architecture's name.
const SIZES: &[(&str, &str)] = &[
    ("hidden_size", "embedding_length"),
    ("num_hidden_layers", "block_count"),
    ("num_attention_heads", "attention.head_count"),
    ("num_key_value_heads", "attention.head_count_kv"),
    ("head_dim", "attention.key_length"),
    ("intermediate_size", "feed_forward_length"),
    ("moe_intermediate_size", "expert_feed_forward_length"),
    ("max_position_embeddings", "context_length"),
    ("vocab_size", "vocab_size"),
    ("num_experts", "expert_count"),
    ("num_experts_per_tok", "expert_used_count"),
    ("num_shared_experts", "expert_shared_count"),
    ("sliding_window", "attention.sliding_window"),
    ("q_lora_rank", "attention.q_lora_rank"),
    ("kv_lora_rank", "attention.kv_lora_rank"),
    ("num_decoder_layers", "decoder_block_count"),
    ("state_size", "ssm.state_size"),
];

/// Architectures whose names differ from `model_type` of transformers.
const FAMILIES: &[(&str, &str)] = &[
    ("command-r", "cohere"),
    ("cohere2", "cohere2"),
    ("deepseek2", "deepseek_v2"),
    ("gptneox", "gpt_neox"),
    ("gpt-oss", "gpt_oss"),
    ("granitemoe", "granitemoe"),
    ("jina-bert-v2", "bert"),
    ("nomic-bert", "nomic_bert"),
    ("modern-bert", "modernbert"),
    ("phi2", "phi"),
    ("qwen2moe", "qwen2_moe"),
    ("qwen2vl", "qwen2_vl"),
    ("qwen3moe", "qwen3_moe"),
    ("qwen3next", "qwen3_next"),
    ("qwen3vl", "qwen3_vl"),
    ("starcoder", "gpt_bigcode"),
    ("gemma3", "gemma3_text"),
    ("t5encoder", "t5"),
];

/// Fills in the architecture, and spells the file type.
pub(super) fn describe(contents: &mut Contents) {
    let metadata = &contents.metadata;
    if let Some(name) = metadata.get("general.file_type").and_then(Value::as_u64).and_then(file_type) {
        contents.metadata.insert("general.file_type_name".to_owned(), name.into());
    }
    let metadata = &contents.metadata;
    let Some(name) = metadata.get("general.architecture").and_then(Value::as_str) else { return };
    let architecture = &mut contents.architecture;
    let family = FAMILIES.iter().find(|(ggml, _)| *ggml == name).map_or(name, |(_, family)| family);
    architecture.family = Some(family.to_owned());
    let prefix = format!("{name}.");
    for (key, value) in metadata.iter().filter(|(key, _)| key.starts_with(&prefix)) {
        architecture.config.insert(key.clone(), value.clone());
    }
    for (word, key) in SIZES {
        if let Some(size) = metadata.get(&format!("{prefix}{key}")).and_then(Value::as_u64) {
            architecture.sizes.insert((*word).to_owned(), size);
        }
    }
    // Most writers leave the vocabulary's size to its list.
    if !architecture.sizes.contains_key("vocab_size") {
        let tokens = metadata.get("tokenizer.ggml.tokens");
        let listed = tokens.and_then(Value::as_array).map(|tokens| tokens.len() as u64);
        let counted = tokens.and_then(|tokens| tokens.get("count")).and_then(Value::as_u64);
        if let Some(size) = listed.or(counted) {
            architecture.sizes.insert("vocab_size".to_owned(), size);
        }
    }
}
