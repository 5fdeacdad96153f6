//! A `config.json` out of a GGUF file's metadata, in the words that transformers 4 and 5 both read.

use serde_json::{Map, Value as Json, json};

use crate::data::Elements;
use crate::dtype::Dtype;
use crate::error::FormatError;
use crate::gguf::families::restore::{Stored, broken, has};
use crate::gguf::families::rope::stretched;
use crate::gguf::families::table::Family;
use crate::gguf::metadata::{self, Value};

/// Sizes that tensors are laid out by.
pub(super) struct Facts {
    prefix: String,
    pub(super) heads: u64,
    pub(super) kv_heads: u64,
    hidden: u64,
    head_dim: u64,
    blocks: u64,
    experts: u64,
    /// Rows of the embedding.
    rows: u64,
}

/// Words of transformers for sizes, and the keys that follow the architecture; all must be there.
const SIZES: &[(&str, &str)] = &[
    ("num_hidden_layers", "block_count"),
    ("max_position_embeddings", "context_length"),
    ("hidden_size", "embedding_length"),
    ("intermediate_size", "feed_forward_length"),
    ("num_attention_heads", "attention.head_count"),
];

/// The same in the words of GPT-2.
const GPT2_SIZES: &[(&str, &str)] = &[
    ("n_layer", "block_count"),
    ("n_positions", "context_length"),
    ("n_embd", "embedding_length"),
    ("n_inner", "feed_forward_length"),
    ("n_head", "attention.head_count"),
];

impl Facts {
    pub(super) fn of(stored: &Stored<'_>, family: &Family) -> Result<Self, FormatError> {
        let mut facts = Self {
            prefix: format!("{}.", family.arch),
            heads: 0,
            kv_heads: 0,
            hidden: 0,
            head_dim: 0,
            blocks: 0,
            experts: 0,
            rows: 0,
        };
        facts.heads = facts.needed(stored, "attention.head_count")?;
        facts.kv_heads = match facts.find(stored, "attention.head_count_kv") {
            None => facts.heads,
            Some(_) => facts.needed(stored, "attention.head_count_kv")?,
        };
        facts.hidden = facts.needed(stored, "embedding_length")?;
        facts.blocks = facts.needed(stored, "block_count")?;
        facts.head_dim = match facts.count(stored, "attention.key_length") {
            Some(size) => size,
            None => facts.hidden / facts.heads,
        };
        facts.experts = facts.count(stored, "expert_count").unwrap_or(0);
        let embedding = stored.tensors.iter().find(|tensor| tensor.name == "token_embd.weight");
        facts.rows = match embedding.map(|tensor| tensor.shape.as_slice()) {
            Some(&[rows, _]) => rows,
            _ => return Err(broken("there is no embedding of tokens")),
        };
        Ok(facts)
    }

    fn find<'a>(&self, stored: &Stored<'a>, key: &str) -> Option<&'a Value> {
        metadata::find(stored.metadata, &format!("{}{key}", self.prefix))
    }

    fn count(&self, stored: &Stored<'_>, key: &str) -> Option<u64> {
        self.find(stored, key).and_then(Value::as_u64)
    }

    fn needed(&self, stored: &Stored<'_>, key: &str) -> Result<u64, FormatError> {
        let count = self.count(stored, key).filter(|&count| count > 0 && count <= u64::from(u32::MAX));
        count.ok_or_else(|| broken(format!("`{}{key}` is missing or no size", self.prefix)))
    }

    fn float(&self, stored: &Stored<'_>, key: &str) -> Option<f64> {
        self.find(stored, key).and_then(Value::as_f64).filter(|number| number.is_finite())
    }

    fn needed_float(&self, stored: &Stored<'_>, key: &str) -> Result<f64, FormatError> {
        self.float(stored, key).ok_or_else(|| broken(format!("`{}{key}` is missing or no number", self.prefix)))
    }
}

/// The configuration.
pub(super) fn of(
    stored: &Stored<'_>,
    family: &Family,
    facts: &Facts,
    dtype: Dtype,
    notes: &mut Vec<String>,
) -> Result<Map<String, Json>, FormatError> {
    let mut out = Map::new();
    let experts = family.arch == "llama" && facts.experts > 0;
    let (class, kind) = match experts {
        true => ("MixtralForCausalLM", "mixtral"),
        false => (family.class, family.model_types.first().copied().unwrap_or_default()),
    };
    let mut put = |word: &str, value: Json| {
        out.insert(word.to_owned(), value);
    };
    put("architectures", json!([class]));
    put("model_type", kind.into());
    put("vocab_size", facts.rows.into());
    let torch = match dtype {
        Dtype::F16 => "float16",
        Dtype::BF16 => "bfloat16",
        _ => "float32",
    };
    put("torch_dtype", torch.into());
    let encoder = family.arch == "bert";
    let sizes = if family.arch == "gpt2" { GPT2_SIZES } else { SIZES };
    for (word, key) in sizes {
        put(word, facts.needed(stored, key)?.into());
    }
    if !encoder {
        put("tie_word_embeddings", (!has(stored.tensors, family, "output", ".weight")).into());
    }
    // Families have numbers of their own for these, which may lie outside of a small vocabulary.
    for (word, key) in [("bos", "bos"), ("eos", "eos"), ("pad", "padding")] {
        let id = |key: &str| {
            let value = metadata::find(stored.metadata, &format!("tokenizer.ggml.{key}_token_id"));
            value.and_then(Value::as_u64).filter(|&id| id < facts.rows)
        };
        let value = match (word, id(key), id("eot")) {
            ("eos", Some(eos), Some(turn)) if turn != eos => json!([eos, turn]),
            // Encoders have marks, which are no beginnings and ends to transformers.
            ("bos" | "eos", ..) if encoder => Json::Null,
            (_, id, _) => json!(id),
        };
        put(&format!("{word}_token_id"), value);
    }
    match family.arch {
        "gpt2" => put("layer_norm_epsilon", facts.needed_float(stored, "attention.layer_norm_epsilon")?.into()),
        "bert" => {
            put("layer_norm_eps", facts.needed_float(stored, "attention.layer_norm_epsilon")?.into());
            let types = stored.tensors.iter().find(|tensor| tensor.name == "token_types.weight");
            put("type_vocab_size", types.and_then(|tensor| tensor.shape.first()).copied().unwrap_or(1).into());
        }
        _ => {
            put("num_key_value_heads", facts.kv_heads.into());
            put("rms_norm_eps", facts.needed_float(stored, "attention.layer_norm_rms_epsilon")?.into());
            put("head_dim", facts.head_dim.into());
            put("rope_theta", facts.float(stored, "rope.freq_base").unwrap_or(10_000.0).into());
            for (word, value) in of_family(stored, family, facts)? {
                put(&word, value);
            }
            if let Some(scaling) = scaling(stored, family, facts)? {
                put("rope_scaling", scaling);
            }
        }
    }
    if family.arch == "llama" {
        put("attention_bias", has(stored.tensors, family, "blk.{}.attn_q", ".bias").into());
        if !experts {
            put("mlp_bias", has(stored.tensors, family, "blk.{}.ffn_up", ".bias").into());
        }
        notes.extend(experts.then(|| "the file does not say which windows a Mixtral sees".to_owned()));
    }
    Ok(out)
}

/// What single families say besides.
fn of_family(stored: &Stored<'_>, family: &Family, facts: &Facts) -> Result<Vec<(String, Json)>, FormatError> {
    let mut out: Vec<(String, Json)> = Vec::new();
    let mut put = |word: &str, value: Json| out.push((word.to_owned(), value));
    if facts.experts > 0 {
        let word = if family.arch == "llama" { "num_local_experts" } else { "num_experts" };
        put(word, facts.experts.into());
        put("num_experts_per_tok", facts.needed(stored, "expert_used_count")?.into());
        if family.arch == "llama" {
            put("sliding_window", Json::Null);
        } else {
            put("moe_intermediate_size", facts.needed(stored, "expert_feed_forward_length")?.into());
            put("norm_topk_prob", (family.arch == "qwen3moe").into());
        }
        if family.arch == "qwen2moe" {
            let size = facts.needed(stored, "expert_shared_feed_forward_length")?;
            put("shared_expert_intermediate_size", size.into());
        }
    }
    // What the loader scales attention by.
    let scalar = match facts.blocks {
        46 | 62 => facts.hidden / facts.heads,
        _ => facts.head_dim,
    };
    match family.arch {
        "gemma2" | "gemma3" => {
            put("query_pre_attn_scalar", scalar.into());
            put("sliding_window", facts.count(stored, "attention.sliding_window").into());
            put("final_logit_softcapping", facts.float(stored, "final_logit_softcapping").into());
            put("attn_logit_softcapping", facts.float(stored, "attn_logit_softcapping").into());
        }
        "phi3" => {
            let window = facts.count(stored, "attention.sliding_window").filter(|&window| window > 0);
            put("sliding_window", window.into());
            if let Some(original) = facts.count(stored, "rope.scaling.original_context_length") {
                put("original_max_position_embeddings", original.into());
            }
            if let Some(part) = facts.count(stored, "rope.dimension_count").filter(|&part| part != facts.head_dim) {
                put("partial_rotary_factor", (part as f64 / facts.head_dim.max(1) as f64).into());
            }
        }
        _ => {}
    }
    if family.arch == "gemma3" {
        put("rope_local_base_freq", facts.float(stored, "rope.freq_base_swa").unwrap_or(10_000.0).into());
        put("sliding_window_pattern", 6.into());
    }
    Ok(out)
}

/// How rotations are stretched.
fn scaling(stored: &Stored<'_>, family: &Family, facts: &Facts) -> Result<Option<Json>, FormatError> {
    let factors = |name: &str| -> Result<Option<Vec<f32>>, FormatError> {
        let Some(tensor) = stored.tensors.iter().find(|tensor| tensor.name == name) else { return Ok(None) };
        if tensor.dtype != Dtype::F32 || tensor.elements() > facts.head_dim {
            return Err(broken(format!("`{name}` is no list of factors for a head of {}", facts.head_dim)));
        }
        let bytes = Elements::new(stored.folder, tensor, stored.limits)?.read_all()?;
        Ok(Some(bytes.as_chunks::<4>().0.iter().map(|bytes| f32::from_le_bytes(*bytes)).collect()))
    };
    if let Some(found) = factors("rope_freqs.weight")? {
        let theta = facts.float(stored, "rope.freq_base").unwrap_or(10_000.0);
        let Some((factor, original)) = stretched(&found, theta, facts.head_dim) else {
            let detail = "`rope_freqs.weight` does not scale as Llama 3 does".to_owned();
            return Err(FormatError::Unsupported { what: "this rotation in transformers", detail });
        };
        return Ok(Some(json!({
            "rope_type": "llama3", "factor": factor, "low_freq_factor": 1.0, "high_freq_factor": 4.0,
            "original_max_position_embeddings": original,
        })));
    }
    if family.arch == "phi3"
        && let (Some(long), Some(short)) = (factors("rope_factors_long.weight")?, factors("rope_factors_short.weight")?)
    {
        return Ok(Some(json!({"type": "longrope", "long_factor": long, "short_factor": short})));
    }
    let kind = facts.find(stored, "rope.scaling.type").and_then(Value::as_text);
    let factor = facts.float(stored, "rope.scaling.factor");
    Ok(match (kind, factor) {
        (Some("linear"), Some(factor)) => Some(json!({"rope_type": "linear", "type": "linear", "factor": factor})),
        (Some("yarn"), Some(factor)) => {
            let mut scaling = json!({"rope_type": "yarn", "type": "yarn", "factor": factor});
            for (word, key) in [
                ("attention_factor", "rope.scaling.yarn_attn_factor"),
                ("beta_fast", "rope.scaling.yarn_beta_fast"),
                ("beta_slow", "rope.scaling.yarn_beta_slow"),
            ] {
                if let (Some(number), Some(map)) = (facts.float(stored, key), scaling.as_object_mut()) {
                    map.insert(word.to_owned(), number.into());
                }
            }
            let original = facts.count(stored, "rope.scaling.original_context_length");
            if let (Some(original), Some(map)) = (original, scaling.as_object_mut()) {
                map.insert("original_max_position_embeddings".to_owned(), original.into());
            }
            Some(scaling)
        }
        _ => None,
    })
}
